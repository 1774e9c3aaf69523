//! The layer that does nothing.

use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "identity",
    doc: "y = x: a branch without layers, or a place that keeps its number in a `seq`.",
    params: &[],
};

/// y = x
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity;

impl Identity {
    pub(super) const ENTRIES: &[Entry] = &[Entry { spec: &SPEC, make: |_| Ok(Identity.into()) }];
}

impl Layer for Identity {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        Ok(inputs[0].clone())
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        inputs[0].clone()
    }

    fn lower(&self, _inputs: &[&TensorType]) -> Lowering {
        Lowering::Identity
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SPEC.keyword)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn does_nothing() {
        let x = Tensor::new([1, 1, 2], vec![1.0, -2.0]);
        assert_eq!(eval(&make("identity", &[]), &[&x], &[]), x);
        assert_eq!(lower(&make("identity", &[]), &[1, 2]), Lowering::Identity);
        assert_eq!(shape(&make("identity", &[]), &[&[1, 2]]), Ok(vec![1, 2]));
    }
}
