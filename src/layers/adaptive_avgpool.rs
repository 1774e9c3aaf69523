//! Average pooling to a given output size.

use super::window::{grid, per_dim_text, slide, spread, unravel};
use super::*;
use std::ops::Range;

const SPEC: LayerSpec = LayerSpec {
    keyword: "adaptive_avgpool",
    doc: "Average pooling to a given size: y[c, i] = mean of x[c, j] for floor(i * in / out) <= j < \
          ceil((i + 1) * in / out) in each dimension (as in PyTorch).",
    params: &[ParamDecl::required("size", Kind::PerDim, "output size: `7x7`; `7` in all dimensions")],
};

/// `adaptive_avgpool 7x7`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdaptiveAvgPool {
    /// One for each spatial dimension, or a single one for all.
    pub size: Vec<usize>,
}

impl AdaptiveAvgPool {
    pub(super) const ENTRIES: &[Entry] =
        &[Entry { spec: &SPEC, make: |args| Ok(AdaptiveAvgPool { size: args.dims("size") }.into()) }];

    /// The input positions of each output position, row-major, for an input that was checked.
    pub fn seen(&self, input: &[usize]) -> Vec<Vec<usize>> {
        let out = self.out(input);
        (0..out.iter().product()).map(|position| regions(position, input, &out)).collect()
    }

    /// Output sizes for an input whose shape was checked.
    fn out(&self, input: &[usize]) -> Vec<usize> {
        spread(&self.size, input.len()).expect("checked by the shape rule")
    }

    /// The input positions of one dimension whose mean is output position `i` of `out`.
    pub fn region(i: usize, input: usize, out: usize) -> Range<usize> {
        i * input / out..((i + 1) * input).div_ceil(out)
    }
}

/// The shape rule of the adaptive pools.
pub(super) fn adaptive_shape(size: &[usize], input: &TensorType) -> Result<TensorType, ShapeError> {
    let out = spread(size, input.spatial().len())?;
    for (out, size) in out.iter().zip(input.spatial()) {
        checked_product([out, size], "a dimension").map_err(|error| error.param("size"))?;
    }
    Ok(input.with_dims([vec![input.channels()], out].concat()))
}

/// The input positions of an output position.
pub(super) fn regions(position: usize, input: &[usize], out: &[usize]) -> Vec<usize> {
    let at = unravel(position, out);
    let of_dims: Vec<Vec<usize>> =
        (0..out.len()).map(|d| AdaptiveAvgPool::region(at[d], input[d], out[d]).collect()).collect();
    grid(input, &of_dims)
}

/// As a plain pool, if all regions are equal and touch without overlap.
pub(super) fn adaptive_lowering(input: &[usize], out: &[usize], pool: impl FnOnce(Window) -> Op) -> Lowering {
    if out == input {
        return Lowering::Identity;
    }
    let divide = input.iter().zip(out).all(|(input, out)| input.is_multiple_of(*out));
    let kernel = || input.iter().zip(out).map(|(input, out)| input / out).collect::<Vec<_>>();
    if divide { Lowering::As(pool(Window::whole(&kernel()))) } else { Lowering::Keep }
}

/// The largest region and the mean stride, rounded down.
pub(super) fn adaptive_window(input: &[usize], out: Vec<usize>) -> ResolvedWindow {
    // A region starts at most 1 - common / out behind a whole position.
    let largest = |(&input, &out): (&usize, &usize)| (input + out - gcd(input, out)).div_ceil(out);
    ResolvedWindow {
        kernel: input.iter().zip(&out).map(largest).collect(),
        stride: input.iter().zip(&out).map(|(input, out)| (input / out).max(1)).collect(),
        dilation: vec![1; out.len()],
        pads: vec![(0, 0); out.len()],
        skip: vec![0; out.len()],
        out,
    }
}

impl Layer for AdaptiveAvgPool {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        self.size.iter().try_for_each(|&size| check_size("an output size", size))
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        adaptive_shape(&self.size, inputs[0])
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], accumulate: Accumulate) -> Tensor {
        let x = inputs[0];
        let out = self.out(x.spatial());
        let mean = |values: &[f32], (): &()| (accumulate.sum(values) / values.len() as f64) as f32;
        slide(x, &out, |p| (regions(p, x.spatial(), &out), ()), mean)
    }

    fn magnitude(&self, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
        magnitude_of_sums(self, inputs, params)
    }

    fn lower(&self, inputs: &[&TensorType]) -> Lowering {
        let input = inputs[0].spatial();
        adaptive_lowering(input, &self.out(input), |window| AvgPool { window, count_pad: true }.into())
    }

    /// Where the regions differ in size, the largest one and the mean stride, rounded down.
    fn window(&self, inputs: &[&TensorType]) -> Option<ResolvedWindow> {
        let input = inputs[0].spatial();
        Some(adaptive_window(input, self.out(input)))
    }
}

impl fmt::Display for AdaptiveAvgPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "adaptive_avgpool {}", per_dim_text(&self.size))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn pool<const R: usize>(size: [usize; R]) -> Op {
        make("adaptive_avgpool", &[("size", dims(size))])
    }

    #[test]
    fn regions_overlap_where_sizes_do_not_divide() {
        // floor(5i / 3) and ceil(5(i + 1) / 3) give [0, 2), [1, 4), [3, 5).
        let x = Tensor::new([1, 1, 5], vec![1.0, 2.0, 3.0, 4.0, 5.0]);
        assert_close(eval(&pool([3]), &[&x], &[]).data(), &[1.5, 3.0, 4.5]);
        assert_eq!(lower(&pool([3]), &[1, 5]), Lowering::Keep);
        let window = pool([3]).layer().unwrap().window(&[&ty(&[1, 5])]).unwrap();
        assert_eq!((window.kernel, window.stride), (vec![3], vec![1]));
    }

    #[test]
    fn larger_outputs_repeat_values() {
        let x = Tensor::new([1, 1, 1, 2], vec![1.0, 2.0]);
        let y = eval(&pool([2, 3]), &[&x], &[]);
        assert_close(y.data(), &[1.0, 1.5, 2.0, 1.0, 1.5, 2.0]);
    }

    #[test]
    fn lowers_to_a_plain_pool() {
        let op = pool([2]);
        let Lowering::As(plain) = lower(&op, &[1, 4, 6]) else { panic!("does not lower") };
        assert_eq!(text(&plain), "avgpool 2x3");
        let x = Tensor::new([1, 1, 4, 6], (0..24).map(|v| (v * v) as f32).collect());
        assert_eq!(eval(&plain, &[&x], &[]), eval(&op, &[&x], &[]));
        assert_eq!(lower(&pool([7, 7]), &[512, 7, 7]), Lowering::Identity);
    }

    #[test]
    fn shapes() {
        assert_eq!(shape(&pool([6]), &[&[3, 13, 9]]), Ok(vec![3, 6, 6]));
        assert_eq!(shape(&pool([6, 5]), &[&[3, 13, 9]]), Ok(vec![3, 6, 5]));
        assert_eq!(shape(&pool([6, 5]), &[&[3, 13]]), Err("E0301"));
        assert_eq!(shape(&pool([6]), &[&[3]]), Err("E0301"));
        assert_eq!(shape(&pool([usize::MAX]), &[&[3, 2]]), Err("E0303"));
        assert_eq!(
            (text(&pool([6, 6])), text(&pool([6, 5]))),
            ("adaptive_avgpool 6".into(), "adaptive_avgpool 6x5".into())
        );
    }
}
