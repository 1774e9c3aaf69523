//! The sum of two values.

use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "add",
    doc: "y = x1 + x2, element by element; written as `add { ... }`, one branch a line, of which all but the largest \
          may have one number for each channel, position or sample, or as `residual { ... }` for x + f(x).",
    params: &[],
};

/// y = x1 + x2: the second operand is of the first one's shape, or has one channel, or one position, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Add;

impl Add {
    /// Made by combinators only, so no keyword.
    pub(super) const ENTRIES: &[Entry] = &[];
}

impl Layer for Add {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn arity(&self) -> Option<usize> {
        Some(2)
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let [a, b] = [inputs[0], inputs[1]];
        if Each::of(a, b).is_none() {
            return Err(ShapeError::new("E0312", format!("a sum of values that differ in shape: {a} and {b}")));
        }
        Ok(a.clone())
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        stretch::zip(inputs[0], inputs[1], |a, b| a + b)
    }

    fn magnitude(&self, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
        magnitude_of_sums(self, inputs, params)
    }
}

impl fmt::Display for Add {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SPEC.keyword)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn adds_elements() {
        let a = Tensor::new([1, 3], vec![1.0, 2.0, f32::INFINITY]);
        let b = Tensor::new([1, 3], vec![10.0, 20.0, f32::NEG_INFINITY]);
        assert_close(eval(&Add.into(), &[&a, &b], &[]).data(), &[11.0, 22.0, f32::NAN]);
    }

    #[test]
    fn adds_a_number_for_each_channel_or_position() {
        let x = Tensor::new([1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let sum = |shape: &[usize], values: &[f32]| {
            eval(&Add.into(), &[&x, &Tensor::new(shape, values.to_vec())], &[]).into_data()
        };
        assert_eq!(sum(&[1, 2, 1], &[10.0, 20.0]), [11.0, 12.0, 23.0, 24.0]);
        assert_eq!(sum(&[1, 1, 2], &[10.0, 20.0]), [11.0, 22.0, 13.0, 24.0]);
        assert_eq!(sum(&[1, 1, 1], &[10.0]), [11.0, 12.0, 13.0, 14.0]);
    }

    #[test]
    fn shapes_must_agree() {
        assert_eq!(shape(&Add.into(), &[&[3, 4, 4], &[3, 4, 4]]), Ok(vec![3, 4, 4]));
        assert_eq!(shape(&Add.into(), &[&[3, 4, 4], &[3, 2, 2]]), Err("E0312"));
        assert_eq!(shape(&Add.into(), &[&[3], &[3, 1, 1]]), Ok(vec![3]));
        assert_eq!(shape(&Add.into(), &[&[3, 4, 4], &[3, 1, 1]]), Ok(vec![3, 4, 4]));
        assert_eq!(shape(&Add.into(), &[&[3, 1, 1], &[3, 4, 4]]), Err("E0312"));
    }
}
