//! What sessions of one network have in common.

use super::session::{Compiled, Session, SessionError};
use crate::schedule::{Explanation, Plan, UnknownLayer};
use crate::tensor::TensorType;
use std::sync::Arc;

/// Code and packed weights of a compiled network, to be shared by threads: each makes a [`Session`] of its own.
#[derive(Clone)]
pub struct Network(pub(super) Arc<Compiled>);

const _: () = {
    const fn can_be_shared<T: Send + Sync>() {}
    can_be_shared::<Network>();
};

impl Network {
    /// A session on `threads` threads, the caller's included, with memory for values of its own.
    ///
    /// # Errors
    /// As [`Session::fork`].
    pub fn session(&self, threads: usize) -> Result<Session, SessionError> {
        match self.0.code.emulation() {
            Some(_) => Err(SessionError::Watched),
            None => Session::of(self.0.clone(), threads),
        }
    }

    /// Name and type of each input, in the order in which runs take them.
    pub fn inputs(&self) -> impl ExactSizeIterator<Item = (&str, &TensorType)> {
        self.0.plan.graph.input_types()
    }

    /// Name and type of each output, in the order in which runs give them.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = (&str, &TensorType)> {
        let Plan { graph, outputs, .. } = &self.0.plan;
        graph.outputs.iter().zip(outputs).map(|(output, view)| (output.name.as_str(), &view.ty))
    }

    /// Which kernels were chosen, what was fused, and why, a line a step: of a layer and all below its path, or of the whole
    /// network. With `whole` everything about each step, and what the passes did and refused.
    ///
    /// # Errors
    /// Where none is left of this name: fusion may have taken it.
    pub fn explain(&self, layer: Option<&str>, whole: bool) -> Result<String, UnknownLayer> {
        let explanation = Explanation::new(&self.0.plan, layer)?;
        Ok(if whole { explanation.whole() } else { explanation.short() })
    }

    /// Bytes of packed weights and tables.
    pub fn constant_bytes(&self) -> usize {
        self.0.constants.bytes()
    }

    /// Bytes that the values between layers take in each session, for each sample that is under way: as many as there are
    /// threads, or samples in a smaller batch. Of the last layers, where all samples do them together, the few values are
    /// there for each sample of the batch.
    pub fn arena_bytes(&self) -> usize {
        self.0.plan.arena_bytes()
    }
}
