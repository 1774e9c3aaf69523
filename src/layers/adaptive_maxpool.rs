//! Max pooling to a given output size.

use super::adaptive_avgpool::{adaptive_lowering, adaptive_shape, adaptive_window, regions};
use super::maxpool::larger;
use super::window::{per_dim_text, slide, spread};
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "adaptive_maxpool",
    doc: "Max pooling to a given size: y[c, i] = max of x[c, j] for floor(i * in / out) <= j < ceil((i + 1) * in / out) in \
          each dimension (as in PyTorch); NaN wins.",
    params: &[ParamDecl::required("size", Kind::PerDim, "output size: `7x7`; `7` in all dimensions")],
};

/// `adaptive_maxpool 7x7`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdaptiveMaxPool {
    /// One for each spatial dimension, or a single one for all.
    pub size: Vec<usize>,
}

impl AdaptiveMaxPool {
    pub(super) const ENTRIES: &[Entry] =
        &[Entry { spec: &SPEC, make: |args| Ok(AdaptiveMaxPool { size: args.dims("size") }.into()) }];

    fn out(&self, input: &[usize]) -> Vec<usize> {
        spread(&self.size, input.len()).expect("checked by the shape rule")
    }
}

impl Layer for AdaptiveMaxPool {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        self.size.iter().try_for_each(|&size| check_size("an output size", size))
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        adaptive_shape(&self.size, inputs[0])
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        let x = inputs[0];
        let out = self.out(x.spatial());
        let largest = |values: &[f32], (): &()| values.iter().copied().fold(f32::NEG_INFINITY, larger);
        slide(x, &out, |p| (regions(p, x.spatial(), &out), ()), largest)
    }

    fn lower(&self, inputs: &[&TensorType]) -> Lowering {
        let input = inputs[0].spatial();
        adaptive_lowering(input, &self.out(input), |window| MaxPool { window }.into())
    }

    /// Where the regions differ in size, the largest one and the mean stride, rounded down.
    fn window(&self, inputs: &[&TensorType]) -> Option<ResolvedWindow> {
        let input = inputs[0].spatial();
        Some(adaptive_window(input, self.out(input)))
    }
}

impl fmt::Display for AdaptiveMaxPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "adaptive_maxpool {}", per_dim_text(&self.size))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn pool<const R: usize>(size: [usize; R]) -> Op {
        make("adaptive_maxpool", &[("size", dims(size))])
    }

    #[test]
    fn regions_overlap_where_sizes_do_not_divide() {
        // [0, 2), [1, 4), [3, 5)
        let x = Tensor::new([1, 2, 5], vec![1.0, 3.0, 2.0, -1.0, -2.0, f32::NAN, 0.0, 1.0, 2.0, 0.0]);
        assert_close(eval(&pool([3]), &[&x], &[]).data(), &[3.0, 3.0, -1.0, f32::NAN, 2.0, 2.0]);
        assert_eq!(lower(&pool([3]), &[1, 5]), Lowering::Keep);
    }

    #[test]
    fn lowers_to_a_plain_pool() {
        let op = pool([2]);
        let Lowering::As(plain) = lower(&op, &[1, 4, 6]) else { panic!("does not lower") };
        assert_eq!((text(&plain), text(&op)), ("maxpool 2x3".into(), "adaptive_maxpool 2".into()));
        let x = Tensor::new([1, 1, 4, 6], (0..24).map(|v| (v * v % 7) as f32).collect());
        assert_eq!(eval(&plain, &[&x], &[]), eval(&op, &[&x], &[]));
        assert_eq!(lower(&pool([7, 7]), &[512, 7, 7]), Lowering::Identity);
        assert_eq!(shape(&pool([6, 5]), &[&[3, 13]]), Err("E0301"));
    }
}
