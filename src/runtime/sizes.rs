//! Sessions of a network whose sizes are free.

use super::{Options, RunError, Session, SessionError};
use crate::ir::weights::WeightSource;
use crate::ir::{Graph, Param, SizeError, Sizes, Verified};
use crate::kernels::tuning::Choices;
use crate::tensor::Tensor;
use std::collections::HashMap;
use std::num::NonZeroUsize;

/// Builds the graph of a network for other values of its free sizes.
///
/// # Errors
/// Why it does not take them, in words.
pub type Build<'a> = dyn FnMut(&Sizes) -> Result<Verified<Graph>, String> + Send + 'a;

/// A network that is compiled for each size that it is given. Of the sessions, those used last are kept: at most
/// `capacity`, and as many as have packed weights within the limit of memory. All read the same weights; those that
/// kernels for several sizes read in the same order are packed once, and those of the first size are kept in a file where
/// that was asked for.
pub struct Sessions<'a> {
    graph: Verified<Graph>,
    build: Box<Build<'a>>,
    weights: &'a dyn WeightSource,
    options: Options,
    choices: Choices,
    capacity: NonZeroUsize,
    /// The one used last stands last.
    kept: Vec<(Sizes, Session)>,
}

/// Why a network could not be run at a size.
#[derive(Debug, thiserror::Error)]
pub enum SizedError {
    /// The inputs have no such sizes.
    #[error(transparent)]
    Sizes(#[from] SizeError),
    /// What [`Build`] says.
    #[error("{0}")]
    Network(String),
    /// A weight that depends on the sizes.
    #[error("the weight `{0}` has another shape, or none, at the usual size: weights were read for that")]
    Weight(String),
    /// It could not be compiled.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The run was refused.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl<'a> Sessions<'a> {
    /// Of the network that is `graph` at its usual sizes, for which the weights were found. Nothing is compiled yet.
    pub fn new(
        graph: Verified<Graph>,
        build: impl FnMut(&Sizes) -> Result<Verified<Graph>, String> + Send + 'a,
        weights: &'a dyn WeightSource,
        options: &Options,
        capacity: NonZeroUsize,
    ) -> Sessions<'a> {
        let (build, choices) = (Box::new(build), Choices::default());
        Sessions { graph, build, weights, options: *options, choices, capacity, kept: Vec::new() }
    }

    /// With kernels that were found to be fast by measuring.
    pub fn tuned(self, choices: Choices) -> Sessions<'a> {
        Sessions { choices, ..self }
    }

    /// Computes the outputs, as [`Session::run`] does, of inputs of any size that the network takes.
    ///
    /// # Errors
    /// Where it takes no such inputs, or could not be compiled for them.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<Vec<Tensor>, SizedError> {
        let samples: Vec<&[usize]> = inputs.iter().map(|input| input.shape().get(1..).unwrap_or_default()).collect();
        let sizes = self.graph.sizes_for(&samples)?;
        Ok(self.session(&sizes)?.run(inputs)?)
    }

    /// The session for these sizes, compiled now if none is kept.
    ///
    /// # Errors
    /// Where the network does not take them, or could not be compiled.
    pub fn session(&mut self, sizes: &Sizes) -> Result<&mut Session, SizedError> {
        let entry = match self.kept.iter().position(|(kept, _)| kept == sizes) {
            Some(at) => self.kept.remove(at),
            None => {
                // The oldest goes first, so that it and the new one are never held together.
                if self.kept.len() == self.capacity.get() {
                    self.kept.remove(0);
                }
                (sizes.clone(), self.compile(sizes)?)
            }
        };
        self.kept.push(entry);
        while self.kept.len() > 1 && self.constant_bytes() > self.options.memory_limit {
            self.kept.remove(0);
        }
        Ok(&mut self.kept.last_mut().expect("just pushed").1)
    }

    /// The sizes whose sessions are kept, those used last at the end.
    pub fn kept(&self) -> impl ExactSizeIterator<Item = &Sizes> {
        self.kept.iter().map(|(sizes, _)| sizes)
    }

    /// Bytes of packed weights and tables of all that are kept; what they share counts once.
    pub fn constant_bytes(&self) -> usize {
        let chunks: HashMap<_, _> = self.kept.iter().flat_map(|(_, session)| session.constant_chunks()).collect();
        chunks.values().sum()
    }

    fn compile(&mut self, sizes: &Sizes) -> Result<Session, SizedError> {
        let usual = self.graph.sizes() == *sizes;
        let graph = if usual { self.graph.clone() } else { (self.build)(sizes).map_err(SizedError::Network)? };
        check_weights(&self.graph, &graph)?;
        let kept: Vec<&Session> = self.kept.iter().map(|(_, session)| session).collect();
        Ok(Session::beside(&kept, graph, self.weights, &self.options, &self.choices)?)
    }
}

/// Whether all weights that `other` reads are known from `graph`: a source has been checked to hold those.
pub fn check_weights(graph: &Graph, other: &Graph) -> Result<(), SizedError> {
    let known: HashMap<&str, &Param> = read(graph).map(|param| (param.name.as_str(), param)).collect();
    let is_known = |param: &Param| known.get(param.name.as_str()).is_some_and(|known| known.dims == param.dims);
    match read(other).find(|param| !is_known(param)) {
        None => Ok(()),
        Some(param) => Err(SizedError::Weight(param.name.clone())),
    }
}

/// The weights that come from a file.
fn read(graph: &Graph) -> impl Iterator<Item = &Param> {
    graph.params.iter().filter(|param| param.is_read())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::text::build::{self, NoFiles};
    use crate::interp;
    use crate::ir::weights::RandomWeights;
    use crate::layers::Accumulate;
    use crate::source::SourceMap;

    const WEIGHTS: RandomWeights = RandomWeights { seed: 1 };

    fn graph(net: &str, sizes: &Sizes) -> Result<Verified<Graph>, String> {
        let text = format!("model m\ninput image: f32[N, 2, H = 8, W = 6]\nnet {{ {net} }}");
        let mut sources = SourceMap::default();
        let root = sources.add("m.cnn", text);
        let defines = sizes.iter().map(|(name, size)| (name.clone(), size.to_string())).collect();
        let options = build::Options { defines, ..build::Options::default() };
        let program = build::load(&mut sources, root, &options, &mut NoFiles).unwrap();
        build::build(&mut sources, &program, &options).map_err(|errors| errors[0].message.clone())
    }

    fn sessions(net: &'static str, capacity: usize, memory_limit: usize) -> Sessions<'static> {
        let usual = graph(net, &Sizes::new()).unwrap();
        let options = Options { memory_limit, ..Options::default() };
        let capacity = NonZeroUsize::new(capacity).unwrap();
        Sessions::new(usual, move |sizes| graph(net, sizes), &WEIGHTS, &options, capacity)
    }

    fn input(batch: usize, height: usize, width: usize) -> Tensor {
        let values = (0..batch * 2 * height * width).map(|i| (i as f32 * 0.7).sin());
        Tensor::new([batch, 2, height, width], values.collect())
    }

    const NET: &str = "c: conv 3x3, 5 | relu | maxpool 2x2 | global_avgpool | fc: dense 3";

    #[test]
    fn every_size_is_computed_and_few_sessions_are_kept() {
        let mut sessions = sessions(NET, 2, 1 << 30);
        for (batch, height, width) in [(1, 8, 6), (2, 9, 17), (1, 9, 17), (3, 4, 4), (1, 8, 6)] {
            let input = input(batch, height, width);
            let sizes = vec![("H".to_string(), height), ("W".to_string(), width)];
            let graph = graph(NET, &sizes).unwrap();
            let expected = interp::run(&graph, &WEIGHTS, std::slice::from_ref(&input), Accumulate::F64);
            let found = sessions.run(&[input]).unwrap();
            assert!(found[0].data().iter().zip(expected[0].data()).all(|(a, b)| (a - b).abs() < 1e-4));
            assert_eq!(sessions.kept().last(), Some(&sizes));
        }
        let kept: Vec<usize> = sessions.kept().map(|sizes| sizes[0].1).collect();
        assert_eq!(kept, [4, 8]);
        sessions.run(&[input(1, 4, 4)]).unwrap();
        assert_eq!(
            sessions.kept().map(|sizes| sizes[0].1).collect::<Vec<_>>(),
            [8, 4],
            "the last used is kept longest"
        );
    }

    const LARGE: &str = "c: conv 3x3, 64, valid | relu | d: conv 1x1, 600 | global_avgpool | fc: dense 300";

    #[test]
    fn packed_weights_of_all_stay_within_the_limit() {
        let mut sessions = sessions(NET, 4, 1 << 30);
        for height in [8, 17, 31, 50] {
            sessions.run(&[input(1, height, 6)]).unwrap();
        }
        assert_eq!(sessions.kept().len(), 4);
        sessions.options.memory_limit = sessions.constant_bytes() - 1;
        let last = sessions.kept().last().unwrap().clone();
        sessions.session(&last).unwrap();
        assert!(sessions.kept().len() < 4 && sessions.constant_bytes() <= sessions.options.memory_limit);
        assert_eq!(sessions.kept().last(), Some(&last), "the one that is asked for is kept in any case");
    }

    /// And stays when the session that packed it is gone.
    #[test]
    fn what_sizes_read_alike_is_packed_once() {
        let mut sessions = sessions(LARGE, 2, 1 << 30);
        let mut outputs = Vec::new();
        for height in [20, 21, 22, 20] {
            outputs.push(sessions.run(&[input(1, height, 20)]).unwrap());
            let each = sessions.kept[0].1.constant_bytes();
            assert!(sessions.constant_bytes() < each * 3 / 2, "{} of {each}", sessions.constant_bytes());
        }
        assert_eq!(outputs[0], outputs[3]);
    }

    #[test]
    fn what_the_network_does_not_take_is_refused() {
        let mut small = sessions(NET, 1, 1 << 30);
        let mut error = |inputs: &[Tensor]| small.run(inputs).unwrap_err().to_string();
        assert_eq!(error(&[input(1, 2, 6)]), "a kernel of 3 does not fit into an input of 2");
        assert!(error(&[Tensor::zeros([1, 3, 8, 6])]).contains("the model takes [N, 2, H = 8, W = 6]"));
        assert!(error(&[Tensor::zeros([])]).contains("the model takes"));
        assert_eq!(error(&[]), "the model has 1 inputs, 0 were given");
        assert!(error(&[Tensor::zeros([0, 2, 8, 6])]).contains("has shape [0, 2, 8, 6]"));
        let mut flat = sessions("flatten | fc: dense 3", 1, 1 << 30);
        let error = flat.run(&[input(1, 9, 6)]).unwrap_err().to_string();
        assert!(error.starts_with("the weight `fc.weight` has another shape"), "{error}");
    }

    #[test]
    fn they_may_go_to_another_thread() {
        fn check<T: Send>() {}
        check::<Sessions>();
        check::<Session>();
    }
}
