//! The product of a value and a gate.

use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "mul",
    doc: "y = x * g, element by element, or with one factor for each channel, position or sample; written as \
          `mul { ... }`, one branch a line, or as `gate { ... }` for x * g(x) (squeeze and excitation: Hu et al. 2018; \
          spatial attention: Woo et al. 2018).",
    params: &[],
};

/// y = x * g: the second operand is of x's shape, or has one channel, or one position, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mul;

impl Mul {
    /// Made by combinators only, so no keyword.
    pub(super) const ENTRIES: &[Entry] = &[];
}

impl Layer for Mul {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn arity(&self) -> Option<usize> {
        Some(2)
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let [x, gate] = [inputs[0], inputs[1]];
        if Each::of(x, gate).is_none() {
            let message = format!("a gate of shape {gate} does not fit a value of shape {x}");
            return Err(ShapeError::new("E0313", message).help(Each::help(x)));
        }
        Ok(x.clone())
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        stretch::zip(inputs[0], inputs[1], |x, factor| x * factor)
    }
}

impl fmt::Display for Mul {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SPEC.keyword)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn element_by_element() {
        let x = Tensor::new([1, 1, 3], vec![1.0, 2.0, 3.0]);
        let gate = Tensor::new([1, 1, 3], vec![2.0, 0.5, f32::NAN]);
        assert_close(eval(&Mul.into(), &[&x, &gate], &[]).data(), &[2.0, 1.0, f32::NAN]);
    }

    #[test]
    fn one_factor_for_each_channel() {
        let x = Tensor::new([2, 2, 2], (1..=8).map(|v| v as f32).collect());
        for shape in [vec![2, 2], vec![2, 2, 1]] {
            let gate = Tensor::new(shape, vec![1.0, 10.0, 100.0, 0.0]);
            let y = eval(&Mul.into(), &[&x, &gate], &[]);
            assert_eq!(y.data(), [1.0, 2.0, 30.0, 40.0, 500.0, 600.0, 0.0, 0.0]);
        }
    }

    #[test]
    fn one_factor_for_each_position() {
        let x = Tensor::new([1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let y = eval(&Mul.into(), &[&x, &Tensor::new([1, 1, 2], vec![10.0, 100.0])], &[]);
        assert_eq!(y.data(), [10.0, 200.0, 30.0, 400.0]);
        let y = eval(&Mul.into(), &[&x, &Tensor::new([1, 1, 1], vec![2.0])], &[]);
        assert_eq!(y.data(), [2.0, 4.0, 6.0, 8.0]);
    }

    #[test]
    fn gates_must_fit() {
        assert_eq!(shape(&Mul.into(), &[&[3, 4, 4], &[3, 1, 1]]), Ok(vec![3, 4, 4]));
        assert_eq!(shape(&Mul.into(), &[&[3, 4, 4], &[1, 4, 4]]), Ok(vec![3, 4, 4]));
        assert_eq!(shape(&Mul.into(), &[&[3, 4, 4], &[2, 4, 4]]), Err("E0313"));
        assert_eq!(shape(&Mul.into(), &[&[3, 4, 4], &[3, 1, 4]]), Err("E0313"));
        assert_eq!(shape(&Mul.into(), &[&[3, 1, 1], &[3, 4, 4]]), Err("E0313"));
    }
}
