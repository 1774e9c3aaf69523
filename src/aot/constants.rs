//! The packed weights and tables of all steps in one piece of memory, and the file that can hold it.

use crate::backend;
use crate::hash::hash_of;
use crate::ir::weights::WeightSource;
use crate::schedule::{ALIGNMENT, Plan};

/// Packed constants.
pub(super) struct Constants {
    /// All of them, each at a multiple of [`ALIGNMENT`] bytes.
    pub bytes: Vec<u8>,
    /// For each step, where its constants begin.
    pub offsets: Vec<Vec<usize>>,
}

impl Constants {
    pub fn pack(plan: &Plan, weights: &dyn WeightSource) -> Constants {
        let mut bytes = Vec::new();
        let mut offsets = Vec::new();
        for step in &plan.steps {
            let mut of_step = Vec::new();
            let params = backend::params(plan, step, weights);
            for constant in step.kernel.constants(&params) {
                of_step.push(bytes.len());
                bytes.extend_from_slice(&constant.to_bytes());
                bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
            }
            offsets.push(of_step);
        }
        Constants { bytes, offsets }
    }
}

/// The first bytes of a weight file: `SVERTKAW`.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"SVERTKAW");
/// Of the weight file's format.
pub(super) const VERSION: u64 = 1;
/// Bytes before the constants.
pub(super) const HEADER_BYTES: usize = ALIGNMENT;
/// Where in the header its fields are, each of 64 bits, little-endian.
pub(super) mod field {
    pub const MAGIC: i32 = 0;
    pub const VERSION: i32 = 8;
    pub const FINGERPRINT: i32 = 16;
}

/// A weight file: the header (magic, version, the plan's fingerprint, zeros), then the constants.
pub(super) fn weight_file(constants: &Constants, fingerprint: u64) -> Vec<u8> {
    let mut file: Vec<u8> = [MAGIC, VERSION, fingerprint].iter().flat_map(|field| field.to_le_bytes()).collect();
    file.resize(HEADER_BYTES, 0);
    file.extend_from_slice(&constants.bytes);
    file
}

/// A hash of everything that the code and the layout of the constants depend on, but not of the weights' values: the
/// weights of a model trained anew fit the old code.
pub(super) fn fingerprint(plan: &Plan, constants: &Constants) -> u64 {
    let steps = plan.steps.iter().map(|step| (&step.kernel, step.views().collect::<Vec<_>>()));
    let steps: Vec<_> = steps.zip(&constants.offsets).collect();
    let compiler = ("svertka", env!("CARGO_PKG_VERSION"));
    hash_of(&(compiler, plan.target, constants.bytes.len(), steps, &plan.buffers, &plan.outputs))
}
