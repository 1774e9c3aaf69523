//! Turns channels and positions into one dimension.

use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "flatten",
    doc: "[N, C, H, W] to [N, C * H * W], in row-major order; what a `dense` layer after convolutions needs.",
    params: &[],
};

/// [N, C, ...] to [N, C * ...]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flatten;

impl Flatten {
    pub(super) const ENTRIES: &[Entry] = &[Entry { spec: &SPEC, make: |_| Ok(Flatten.into()) }];
}

impl Layer for Flatten {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        Ok(inputs[0].with_dims([checked_product(&inputs[0].dims, "the flattened input")?]))
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        let features = inputs[0].shape()[1..].iter().product();
        inputs[0].clone().reshaped([inputs[0].batch(), features])
    }

    fn lower(&self, inputs: &[&TensorType]) -> Lowering {
        if inputs[0].spatial().is_empty() { Lowering::Identity } else { Lowering::Keep }
    }
}

impl fmt::Display for Flatten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SPEC.keyword)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn keeps_the_order() {
        let x = Tensor::new([2, 2, 1, 2], (0..8).map(|v| v as f32).collect());
        let y = eval(&make("flatten", &[]), &[&x], &[]);
        assert_eq!((y.shape(), y.data()), (&[2, 4][..], x.data()));
    }

    #[test]
    fn shapes() {
        let op = make("flatten", &[]);
        assert_eq!(shape(&op, &[&[16, 5, 5]]), Ok(vec![400]));
        assert_eq!(shape(&op, &[&[usize::MAX, 2]]), Err("E0303"));
        assert_eq!(lower(&op, &[400]), Lowering::Identity);
        assert_eq!(lower(&op, &[400, 1]), Lowering::Keep);
    }
}
