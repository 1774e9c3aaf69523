//! Turns features into channels of positions.

use super::window::dims_text;
use super::*;
use crate::tensor::MAX_DIMS;

const SPEC: LayerSpec = LayerSpec {
    keyword: "unflatten",
    doc: "[N, C * H * W] to [N, C, H, W], in row-major order: from a `dense` layer to a map, as in decoders and generators. \
          Only the sizes of the map are given, and the channels follow.",
    params: &[ParamDecl::required("size", Kind::Dims, "the sizes of the map: `4x4`; `4` for 1-D")],
};

/// `unflatten 4x4`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unflatten {
    pub size: Vec<usize>,
}

impl Unflatten {
    pub(super) const ENTRIES: &[Entry] =
        &[Entry { spec: &SPEC, make: |args| Ok(Unflatten { size: args.dims("size") }.into()) }];
}

impl Layer for Unflatten {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        if self.size.len() >= MAX_DIMS {
            let message = format!("a map of {} dimensions; there are at most {}", self.size.len(), MAX_DIMS - 1);
            return Err(ShapeError::new("E0217", message).param("size"));
        }
        self.size.iter().try_for_each(|&size| check_size("a size", size))
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        if !inputs[0].spatial().is_empty() {
            let message = format!("the input {} has spatial dimensions already", inputs[0]);
            return Err(ShapeError::new("E0305", message).help("`unflatten` takes what `dense` or `flatten` gives"));
        }
        let positions = checked_product(&self.size, "a map").map_err(|error| error.param("size"))?;
        let features = inputs[0].channels();
        if !features.is_multiple_of(positions) {
            let message = format!("{features} features do not divide into maps of {}", dims_text(&self.size));
            let help = format!("a multiple of {positions} features is needed");
            return Err(ShapeError::new("E0308", message).param("size").help(help));
        }
        Ok(inputs[0].with_dims([&[features / positions], &self.size[..]].concat()))
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        let channels = inputs[0].channels() / self.size.iter().product::<usize>();
        inputs[0].clone().reshaped([&[inputs[0].batch(), channels], &self.size[..]].concat())
    }

    fn lower(&self, _inputs: &[&TensorType]) -> Lowering {
        if self.size.is_empty() { Lowering::Identity } else { Lowering::Keep }
    }
}

impl fmt::Display for Unflatten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unflatten {}", dims_text(&self.size))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn undoes_flatten() {
        let op = make("unflatten", &[("size", dims([2, 3]))]);
        assert_eq!(text(&op), "unflatten 2x3");
        let x = Tensor::new([2, 2, 2, 3], (0..24).map(|v| v as f32).collect());
        assert_eq!(eval(&op, &[&eval(&make("flatten", &[]), &[&x], &[])], &[]), x);
    }

    #[test]
    fn shapes() {
        let op = make("unflatten", &[("size", dims([4, 4]))]);
        assert_eq!(shape(&op, &[&[8192]]), Ok(vec![512, 4, 4]));
        assert_eq!(shape(&op, &[&[100]]), Err("E0308"));
        assert_eq!(shape(&op, &[&[16, 1, 1]]), Err("E0305"));
    }
}
