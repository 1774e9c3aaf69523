//! The dimensions of a sample in another order.

use super::window::unravel;
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "permute",
    doc: "The dimensions of a sample in another order, as PyTorch's permute and ONNX's Transpose count them, the batch being 0 \
          and not moved: `permute (2, 3, 1)` brings the channels of [N, C, H, W] to the end.",
    params: &[ParamDecl::required("order", Kind::Counts, "each dimension once, 1 being the channels: `(1, 3, 2)`")],
};

/// `permute (2, 3, 1)`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Permute {
    /// For each dimension of the output that of the input; 1 is the first of a sample.
    pub order: Vec<usize>,
}

impl Permute {
    pub(super) const ENTRIES: &[Entry] = &[Entry {
        spec: &SPEC,
        make: |args| {
            let permute = Permute { order: args.dims("order") };
            permute.check().map_err(|error| ArgError::new("order", error.message))?;
            Ok(permute.into())
        },
    }];

    /// For each dimension of the output's sample, counted from 0, that of the input.
    pub fn sources(&self) -> Vec<usize> {
        self.order.iter().map(|dim| dim - 1).collect()
    }
}

impl Layer for Permute {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        let mut sorted = self.order.clone();
        sorted.sort_unstable();
        let error =
            || ShapeError::new("E0216", format!("{:?} does not name each dimension from 1 on once", self.order));
        (!sorted.is_empty() && sorted.into_iter().eq(1..=self.order.len())).then_some(()).ok_or_else(error)
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let (rank, given) = (inputs[0].dims.len(), self.order.len());
        if rank != given {
            let message = format!("an order of {given} dimensions for an input of {rank} behind the batch");
            return Err(ShapeError::new("E0301", message).param("order"));
        }
        Ok(inputs[0].with_dims(self.sources().iter().map(|&dim| inputs[0].dims[dim]).collect::<Vec<_>>()))
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        let (x, sources) = (inputs[0], self.sources());
        let own = &x.shape()[1..];
        let dims: Vec<usize> = sources.iter().map(|&dim| own[dim]).collect();
        let sample: usize = dims.iter().product();
        let value = |index: usize| {
            let mut at = vec![0; own.len()];
            unravel(index % sample, &dims).into_iter().zip(&sources).for_each(|(place, &dim)| at[dim] = place);
            let source = at.iter().zip(own).fold(index / sample, |source, (place, size)| source * size + place);
            x.data()[source]
        };
        Tensor::new([&[x.batch()], &dims[..]].concat(), (0..x.data().len()).map(value).collect())
    }

    fn lower(&self, _inputs: &[&TensorType]) -> Lowering {
        if self.order.is_sorted() { Lowering::Identity } else { Lowering::Keep }
    }
}

impl fmt::Display for Permute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let order: Vec<String> = self.order.iter().map(usize::to_string).collect();
        write!(f, "{} ({})", SPEC.keyword, order.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn permute(order: &[usize]) -> Op {
        make("permute", &[("order", ArgValue::Dims(order.to_vec()))])
    }

    #[test]
    fn dimensions_change_places() {
        let x = Tensor::new([2, 2, 1, 3], (0..12).map(|v| v as f32).collect());
        let y = eval(&permute(&[2, 3, 1]), &[&x], &[]);
        assert_eq!(y.shape(), [2, 1, 3, 2]);
        assert_eq!(y.data(), [0.0, 3.0, 1.0, 4.0, 2.0, 5.0, 6.0, 9.0, 7.0, 10.0, 8.0, 11.0]);
        assert_eq!(eval(&permute(&[3, 1, 2]), &[&y], &[]), x);
    }

    #[test]
    fn texts_and_shapes() {
        assert_eq!(text(&permute(&[3, 1, 2])), "permute (3, 1, 2)");
        assert_eq!(shape(&permute(&[3, 1, 2]), &[&[5, 6, 7]]), Ok(vec![7, 5, 6]));
        assert_eq!(shape(&permute(&[2, 1]), &[&[5, 6, 7]]), Err("E0301"));
        for order in [&[][..], &[0, 1], &[1, 1], &[2, 3]] {
            assert!(try_make("permute", &[("order", ArgValue::Dims(order.to_vec()))]).is_err(), "{order:?}");
        }
        assert_eq!(lower(&permute(&[1, 2]), &[3, 4]), Lowering::Identity);
    }
}
