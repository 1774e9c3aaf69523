//! Average over all positions.

use super::window::flat_error;
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "global_avgpool",
    doc: "y[c] = mean over all positions p of x[c, p]. The spatial sizes become 1; `dense` and `conv 1x1` take that \
          as it is.",
    params: &[],
};

/// [N, C, ...] to [N, C, 1, ...]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalAvgPool;

impl GlobalAvgPool {
    pub(super) const ENTRIES: &[Entry] = &[Entry { spec: &SPEC, make: |_| Ok(GlobalAvgPool.into()) }];
}

/// The shape rule of the global pools.
pub(super) fn global_shape(input: &TensorType) -> Result<TensorType, ShapeError> {
    if input.spatial().is_empty() {
        return Err(flat_error());
    }
    checked_product(input.spatial(), "the window")?;
    Ok(input.with_dims([vec![input.channels()], vec![1; input.spatial().len()]].concat()))
}

/// y[n, c] = f(all values of x[n, c])
pub(super) fn map_planes(x: &Tensor, f: impl Fn(&[f32]) -> f32) -> Tensor {
    let planes = (0..x.batch()).flat_map(|n| (0..x.channels()).map(move |c| x.plane(n, c)));
    let data = planes.map(f).collect();
    Tensor::new([vec![x.batch(), x.channels()], vec![1; x.spatial().len()]].concat(), data)
}

impl Layer for GlobalAvgPool {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        global_shape(inputs[0])
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], accumulate: Accumulate) -> Tensor {
        map_planes(inputs[0], |plane| (accumulate.sum(plane) / plane.len() as f64) as f32)
    }

    fn magnitude(&self, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
        magnitude_of_sums(self, inputs, params)
    }

    fn lower(&self, inputs: &[&TensorType]) -> Lowering {
        let pool = AvgPool { window: Window::whole(inputs[0].spatial()), count_pad: true };
        Lowering::As(pool.into())
    }

    fn window(&self, inputs: &[&TensorType]) -> Option<ResolvedWindow> {
        Window::whole(inputs[0].spatial()).resolve(inputs[0].spatial()).ok()
    }
}

impl fmt::Display for GlobalAvgPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SPEC.keyword)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn spatial_sizes_become_one() {
        let op = make("global_avgpool", &[]);
        assert_eq!(shape(&op, &[&[5, 7, 9]]), Ok(vec![5, 1, 1]));
        assert_eq!(shape(&op, &[&[5, 7]]), Ok(vec![5, 1]));
        assert_eq!(shape(&op, &[&[5]]), Err("E0301"));
        assert_eq!(shape(&op, &[&[1, usize::MAX, 2]]), Err("E0303"));
    }

    #[test]
    fn means_and_the_pool_that_it_lowers_to() {
        let op = make("global_avgpool", &[]);
        let x = Tensor::new([1, 2, 1, 3], vec![1.0, 2.0, 6.0, -1.0, 0.0, 4.0]);
        assert_eq!(eval(&op, &[&x], &[]).data(), [3.0, 1.0]);
        let Lowering::As(pool) = lower(&op, &[2, 1, 3]) else { panic!("does not lower") };
        assert_eq!(text(&pool), "avgpool 1x3");
        assert_eq!(eval(&pool, &[&x], &[]), eval(&op, &[&x], &[]));
    }

    #[test]
    fn its_window_is_the_whole_input() {
        let window = make("global_avgpool", &[]).layer().unwrap().window(&[&ty(&[2, 7, 5])]).unwrap();
        assert_eq!((window.kernel, window.out), (vec![7, 5], vec![1, 1]));
    }
}
