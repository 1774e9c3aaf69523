//! Joins values along the channels.

use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "concat",
    doc: "y = [x1, x2, ...] along the channels; written as `concat { ... }` with one branch a line, \
          or `grow { ... }` for [x, f(x)].",
    params: &[],
};

/// [x1, x2, ...] along dimension 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concat;

impl Concat {
    /// Made by combinators only, so no keyword.
    pub(super) const ENTRIES: &[Entry] = &[];
}

impl Layer for Concat {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn arity(&self) -> Option<usize> {
        None
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let first = inputs[0];
        if let Some(other) = inputs.iter().find(|t| t.spatial() != first.spatial() || t.batch != first.batch) {
            return Err(ShapeError::new("E0311", format!("branches of different sizes: {first} and {other}")));
        }
        let channels = inputs.iter().try_fold(0usize, |sum, t| sum.checked_add(t.channels()));
        let channels = channels.ok_or_else(|| ShapeError::new("E0303", "the channels do not fit in 64 bits"))?;
        Ok(first.with_dims([&[channels], first.spatial()].concat()))
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        let channels = inputs.iter().map(|x| x.channels()).sum();
        let mut data = Vec::new();
        for n in 0..inputs[0].batch() {
            for x in inputs {
                (0..x.channels()).for_each(|c| data.extend_from_slice(x.plane(n, c)));
            }
        }
        Tensor::new([&[inputs[0].batch(), channels], inputs[0].spatial()].concat(), data)
    }
}

impl fmt::Display for Concat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("concat")
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn channels_of_each_sample_are_joined() {
        let op = Op::from(Concat);
        let a = Tensor::new([2, 1, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let b = Tensor::new([2, 2, 2], (10..18).map(|v| v as f32).collect());
        let y = eval(&op, &[&a, &b], &[]);
        assert_eq!(y.shape(), [2, 3, 2]);
        assert_eq!(y.data(), [1.0, 2.0, 10.0, 11.0, 12.0, 13.0, 3.0, 4.0, 14.0, 15.0, 16.0, 17.0]);
        assert_eq!(shape(&op, &[&[1, 2], &[2, 2], &[3, 2]]), Ok(vec![6, 2]));
    }

    #[test]
    fn other_sizes_must_agree() {
        assert_eq!(shape(&Op::from(Concat), &[&[1, 2, 2], &[2, 2, 3]]), Err("E0311"));
        assert_eq!(shape(&Op::from(Concat), &[&[usize::MAX], &[1]]), Err("E0303"));
    }
}
