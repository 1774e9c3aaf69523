//! Free sizes: spatial sizes of a model's inputs that have a name and may be given anew, for which the model is built
//! again.

use super::{Graph, NodeId};
use crate::layers::Op;
use std::collections::HashMap;
use std::fmt::Write;

/// A free size of an input. Several of the same name are the same size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreeSize {
    pub name: String,
    /// Index of the input.
    pub input: usize,
    /// Index among the dimensions of a sample: above 0, since weights depend on the channels.
    pub dim: usize,
}

/// Names of free sizes with their values, each name once.
pub type Sizes = Vec<(String, usize)>;

/// Why shapes give no sizes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    #[error("the model has {expected} inputs, {found} were given")]
    Count { expected: usize, found: usize },
    #[error("input `{name}` has {found:?} for a sample, the model takes {expected}")]
    Shape { name: String, expected: String, found: Vec<usize> },
    #[error("the size `{name}` cannot be both {first} and {second}")]
    Two { name: String, first: usize, second: usize },
}

impl Graph {
    /// The name of a dimension of an input, where it is free.
    pub fn free_size(&self, input: usize, dim: usize) -> Option<&str> {
        let at = self.free.binary_search_by_key(&(input, dim), |free| (free.input, free.dim)).ok()?;
        Some(&self.free[at].name)
    }

    /// The free sizes, as they are.
    pub fn sizes(&self) -> Sizes {
        let values = self.free.iter().map(|free| (&free.name, self[self.inputs[free.input]].ty.dims[free.dim]));
        each_once(values).expect("a checked graph has one value for each name")
    }

    /// Sizes that tell what depends on them: multiples of what networks divide by, and their neighbours, of which those
    /// differ that are rounded; for each name another one.
    pub fn other_sizes(&self) -> Vec<Sizes> {
        const DIVIDED: usize = 32;
        const MORE: [usize; 5] = [DIVIDED - 1, DIVIDED + 1, DIVIDED + DIVIDED / 4, 2 * DIVIDED, 3 * DIVIDED];
        const TIMES: [usize; 2] = [2, 3];
        let sizes = self.sizes();
        let of = |f: &dyn Fn(usize, usize) -> usize| -> Sizes {
            sizes.iter().enumerate().map(|(at, (name, size))| (name.clone(), f(at, *size))).collect()
        };
        let near =
            (0..MORE.len()).map(|turn| of(&|at, size| size.next_multiple_of(DIVIDED) + MORE[(at + turn) % MORE.len()]));
        let far = (0..TIMES.len()).map(|turn| of(&|at, size| size.saturating_mul(TIMES[(at + turn) % TIMES.len()])));
        near.chain(far).collect()
    }

    /// The free sizes of a model that takes samples of these dimensions, one list for each input.
    ///
    /// # Errors
    /// Where there are no such sizes.
    pub fn sizes_for(&self, samples: &[&[usize]]) -> Result<Sizes, SizeError> {
        if samples.len() != self.inputs.len() {
            return Err(SizeError::Count { expected: self.inputs.len(), found: samples.len() });
        }
        samples.iter().enumerate().try_for_each(|(input, sample)| self.check_sample(input, sample))?;
        each_once(self.free.iter().map(|free| (&free.name, samples[free.input][free.dim])))
    }

    fn check_sample(&self, input: usize, sample: &[usize]) -> Result<(), SizeError> {
        let node = &self[self.inputs[input]];
        let known = &node.ty.dims;
        let fits = |dim: usize| match self.free_size(input, dim) {
            Some(_) => sample[dim] > 0,
            None => sample[dim] == known[dim],
        };
        if sample.len() == known.len() && (0..known.len()).all(fits) {
            return Ok(());
        }
        let name = node.origin.path.clone();
        Err(SizeError::Shape { name, expected: self.input_shape(input), found: sample.to_vec() })
    }

    /// The shape of a value, for people: of an input with the names of its free sizes, `[N, 3, H = 224, W = 224]`.
    pub fn shape_of(&self, id: NodeId) -> String {
        let input = match self[id].op {
            Op::Input => self.inputs.iter().position(|&input| input == id),
            _ => None,
        };
        input.map_or_else(|| self[id].ty.to_string(), |input| self.input_shape(input))
    }

    fn input_shape(&self, input: usize) -> String {
        let ty = &self[self.inputs[input]].ty;
        let mut text = format!("[{}", ty.batch);
        for (dim, size) in ty.dims.iter().enumerate() {
            let _ = match self.free_size(input, dim) {
                Some(name) => write!(text, ", {name} = {size}"),
                None => write!(text, ", {size}"),
            };
        }
        text + "]"
    }

    pub(super) fn check_sizes(&self) -> Result<(), String> {
        let place = |free: &FreeSize| (free.input, free.dim);
        if let Some(pair) = self.free.windows(2).find(|pair| place(&pair[0]) >= place(&pair[1])) {
            return Err(format!("the free size {} is not behind those before it", pair[1].name));
        }
        let value = |free: &FreeSize| {
            let ty = self.inputs.get(free.input).map(|&id| &self[id].ty).filter(|_| free.dim > 0)?;
            ty.dims.get(free.dim).copied()
        };
        if let Some(free) = self.free.iter().find(|free| value(free).is_none()) {
            return Err(format!("the free size {} is no spatial size of an input", free.name));
        }
        let values = self.free.iter().filter_map(|free| Some((&free.name, value(free)?)));
        each_once(values).map(|_| ()).map_err(|error| error.to_string())
    }
}

/// Each name with its one value, in the order in which names come first.
fn each_once<'a>(values: impl Iterator<Item = (&'a String, usize)>) -> Result<Sizes, SizeError> {
    let mut known = HashMap::new();
    let mut sizes = Sizes::new();
    for (name, value) in values {
        match known.insert(name, value) {
            None => sizes.push((name.clone(), value)),
            Some(first) if first == value => {}
            Some(first) => return Err(SizeError::Two { name: name.clone(), first, second: value }),
        }
    }
    Ok(sizes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Output, verify};
    use crate::tensor::{Batch, DType, TensorType};

    /// `a: [N, 3, H = 8, W = 6]`, `b: [N, 1, H = 8, 5]`.
    fn graph() -> Graph {
        let ty =
            |dims: &[usize]| TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: dims.to_vec() };
        let mut graph = Graph::default();
        let node = graph.add_input("a", ty(&[3, 8, 6]));
        graph.add_input("b", ty(&[1, 8, 5]));
        graph.outputs.push(Output { name: "y".into(), node });
        let free = [("H", 0, 1), ("W", 0, 2), ("H", 1, 1)];
        graph.free = free.map(|(name, input, dim)| FreeSize { name: name.into(), input, dim }).into();
        graph
    }

    #[test]
    fn shapes_give_sizes() {
        let graph = graph();
        assert_eq!(graph.sizes(), [("H".to_string(), 8), ("W".to_string(), 6)]);
        let shapes = [0, 1].map(|input| graph.shape_of(graph.inputs[input]));
        assert_eq!(shapes, ["[N, 3, H = 8, W = 6]", "[N, 1, H = 8, 5]"]);
        let sizes = graph.sizes_for(&[&[3, 10, 12], &[1, 10, 5]]).unwrap();
        assert_eq!(sizes, [("H".to_string(), 10), ("W".to_string(), 12)]);
        let error = |samples: &[&[usize]]| graph.sizes_for(samples).unwrap_err().to_string();
        assert_eq!(error(&[&[3, 8, 6]]), "the model has 2 inputs, 1 were given");
        assert_eq!(error(&[&[3, 8, 6], &[1, 9, 5]]), "the size `H` cannot be both 8 and 9");
        let shape = "input `b` has [1, 8, 6] for a sample, the model takes [N, 1, H = 8, 5]";
        assert_eq!(error(&[&[3, 8, 6], &[1, 8, 6]]), shape);
        for sample in [&[3, 0, 6][..], &[4, 8, 6], &[3, 8], &[]] {
            assert!(error(&[sample, &[1, 8, 5]]).starts_with("input `a` has "), "{sample:?}");
        }
    }

    #[test]
    fn free_sizes_are_sizes_of_inputs() {
        assert!(verify(graph()).is_ok());
        let error = |free: &[(&str, usize, usize)]| {
            let mut graph = graph();
            graph.free = free.iter().map(|&(name, input, dim)| FreeSize { name: name.into(), input, dim }).collect();
            verify(graph).unwrap_err().to_string()
        };
        for (input, dim) in [(2, 1), (0, 0), (0, 3)] {
            assert!(error(&[("X", input, dim)]).contains("is no spatial size"), "{input} {dim}");
        }
        assert!(error(&[("H", 0, 1), ("H", 0, 2)]).contains("cannot be both 8 and 6"));
        assert!(error(&[("W", 0, 2), ("H", 0, 1)]).contains("not behind"));
    }
}
