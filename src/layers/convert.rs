//! The same values in elements of another type.

use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "convert",
    doc: "y = x in elements of another type. Made where layers on whole numbers meet others, so no keyword.",
    params: &[],
};

/// y = x: the types of operand and value say what is rounded to what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convert;

impl Convert {
    /// Made by passes only.
    pub(super) const ENTRIES: &[Entry] = &[];
}

impl Layer for Convert {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        Ok(inputs[0].clone())
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        inputs[0].clone()
    }
}

impl fmt::Display for Convert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SPEC.keyword)
    }
}
