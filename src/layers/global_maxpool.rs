//! Maximum over all positions.

use super::global_avgpool::{global_shape, map_planes};
use super::maxpool::larger;
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "global_maxpool",
    doc: "y[c] = max over all positions p of x[c, p]; NaN wins. The spatial sizes become 1.",
    params: &[],
};

/// [N, C, ...] to [N, C, 1, ...]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalMaxPool;

impl GlobalMaxPool {
    pub(super) const ENTRIES: &[Entry] = &[Entry { spec: &SPEC, make: |_| Ok(GlobalMaxPool.into()) }];
}

impl Layer for GlobalMaxPool {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        global_shape(inputs[0])
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        map_planes(inputs[0], |plane| plane.iter().copied().fold(f32::NEG_INFINITY, larger))
    }

    fn lower(&self, inputs: &[&TensorType]) -> Lowering {
        Lowering::As(MaxPool { window: Window::whole(inputs[0].spatial()) }.into())
    }

    fn window(&self, inputs: &[&TensorType]) -> Option<ResolvedWindow> {
        Window::whole(inputs[0].spatial()).resolve(inputs[0].spatial()).ok()
    }
}

impl fmt::Display for GlobalMaxPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SPEC.keyword)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn maxima_and_the_pool_that_it_lowers_to() {
        let op = make("global_maxpool", &[]);
        let x = Tensor::new([1, 2, 1, 3], vec![-1.0, -2.0, -6.0, -1.0, f32::NAN, 4.0]);
        assert_close(eval(&op, &[&x], &[]).data(), &[-1.0, f32::NAN]);
        let Lowering::As(pool) = lower(&op, &[2, 1, 3]) else { panic!("does not lower") };
        assert_eq!(text(&pool), "maxpool 1x3");
        assert_close(eval(&pool, &[&x], &[]).data(), &[-1.0, f32::NAN]);
    }

    #[test]
    fn shapes() {
        assert_eq!(shape(&make("global_maxpool", &[]), &[&[5, 7, 9]]), Ok(vec![5, 1, 1]));
        assert_eq!(shape(&make("global_maxpool", &[]), &[&[5]]), Err("E0301"));
    }
}
