//! Max pooling.

use super::window::{POOL_PARAMS, dims_text, slide};
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "maxpool",
    doc: "Max pooling: y[c, p] = max over k of x[c, stride * p + dilation * k - pad]. Padding never wins; NaN does.",
    params: &POOL_PARAMS,
};

/// `maxpool 3x3, stride 2, pad 1`
#[derive(Clone, Debug, PartialEq)]
pub struct MaxPool {
    pub window: Window,
}

impl MaxPool {
    pub(super) const ENTRIES: &[Entry] =
        &[Entry { spec: &SPEC, make: |args| Ok(MaxPool { window: Window::from_args(args)? }.into()) }];
}

/// The larger of two; NaN if either is.
pub(super) fn larger(a: f32, b: f32) -> f32 {
    if b > a || b.is_nan() { b } else { a }
}

impl Layer for MaxPool {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let window = self.window.resolve_pool(inputs[0].spatial())?;
        Ok(inputs[0].with_dims([vec![inputs[0].channels()], window.out].concat()))
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        let x = inputs[0];
        let window = self.window.resolve(x.spatial()).expect("checked by the shape rule");
        let positions = |p| window.taps(p, x.spatial()).into_iter().map(|(_, index)| index).collect();
        slide(
            x,
            &window.out,
            |p| (positions(p), ()),
            |values, ()| values.iter().copied().fold(f32::NEG_INFINITY, larger),
        )
    }

    fn window(&self, inputs: &[&TensorType]) -> Option<ResolvedWindow> {
        self.window.resolve(inputs[0].spatial()).ok()
    }
}

impl fmt::Display for MaxPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "maxpool {}", dims_text(&self.window.kernel))?;
        self.window.fmt_options(f, &self.window.kernel)
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn the_stride_defaults_to_the_kernel() {
        let op = make("maxpool", &[("kernel", dims([2, 3]))]);
        assert_eq!(text(&op), "maxpool 2x3");
        assert_eq!(shape(&op, &[&[5, 8, 8]]), Ok(vec![5, 4, 2]));
        let Op::MaxPool(pool) = op else { unreachable!() };
        assert_eq!(pool.window.stride, [2, 3]);
    }

    #[test]
    fn prints_all_options() {
        let given = [
            ("kernel", dims([3, 3])),
            ("stride", dims([1])),
            ("dilation", dims([2])),
            ("pad", ArgValue::Pad(PadArg::Half)),
            ("ceil", ArgValue::Bool(true)),
        ];
        assert_eq!(text(&make("maxpool", &given)), "maxpool 3x3, stride 1, dilation 2, half, ceil");
    }

    #[test]
    fn padding_never_wins_and_not_a_number_does() {
        let pad = ("pad", ArgValue::Pad(PadArg::All(1)));
        let op = make("maxpool", &[("kernel", dims([3])), ("stride", dims([2])), pad]);
        let x = Tensor::new([1, 2, 4], vec![-3.0, -2.0, -1.0, -4.0, 1.0, f32::NAN, 5.0, 6.0]);
        assert_close(eval(&op, &[&x], &[]).data(), &[-2.0, -1.0, f32::NAN, f32::NAN]);
        let lowest = Tensor::new([1, 1, 1], vec![f32::NEG_INFINITY]);
        assert_eq!(eval(&op, &[&lowest], &[]).data(), [f32::NEG_INFINITY]);
    }

    #[test]
    fn the_last_window_may_hang_over() {
        let op = make("maxpool", &[("kernel", dims([2, 2])), ("ceil", ArgValue::Bool(true))]);
        let x = Tensor::new([1, 1, 3, 3], (1..=9).map(|v| v as f32).collect());
        assert_eq!(eval(&op, &[&x], &[]).data(), [5.0, 6.0, 8.0, 9.0]);
    }

    #[test]
    fn bad_sizes() {
        let op = make("maxpool", &[("kernel", dims([3, 3]))]);
        assert_eq!(shape(&op, &[&[1, 2, 9]]), Err("E0302"));
        assert_eq!(shape(&op, &[&[8]]), Err("E0301"));
        let wide = make("maxpool", &[("kernel", dims([3, 3])), ("pad", ArgValue::Pad(PadArg::All(2)))]);
        assert_eq!(shape(&wide, &[&[1, 9, 9]]), Err("E0306"));
    }
}
