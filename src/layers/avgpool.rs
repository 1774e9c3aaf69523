//! Average pooling.

use super::window::{POOL_PARAMS, dims_text, slide};
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "avgpool",
    doc: "Average pooling: the mean over k of x[c, stride * p + dilation * k - pad]. Padding counts as zeros unless \
          `count_pad false`; what hangs over the padded input under `ceil` never counts (as in PyTorch).",
    params: &{
        let [kernel, stride, dilation, pad, ceil] = POOL_PARAMS;
        let doc = "the divisor counts the padding (PyTorch's count_include_pad)";
        [kernel, stride, dilation, pad, ceil, ParamDecl::named("count_pad", Kind::Bool, "true", doc)]
    },
};

/// `avgpool 2x2`
#[derive(Clone, Debug, PartialEq)]
pub struct AvgPool {
    pub window: Window,
    /// The divisor is the number of taps inside the padded input; otherwise of those inside the input.
    pub count_pad: bool,
}

impl AvgPool {
    pub(super) const ENTRIES: &[Entry] = &[Entry {
        spec: &SPEC,
        make: |args| Ok(AvgPool { window: Window::from_args(args)?, count_pad: args.flag("count_pad") }.into()),
    }];
}

impl AvgPool {
    /// What the sum of each output position (row-major) is divided by, for an input that was checked.
    pub fn divisors(&self, input: &[usize]) -> Vec<f32> {
        let window = self.window.resolve(input).expect("checked by the shape rule");
        let positions = window.out.iter().product();
        (0..positions).map(|p| self.divisor(&window, p, input) as f32).collect()
    }

    fn divisor(&self, window: &ResolvedWindow, position: usize, input: &[usize]) -> usize {
        if self.count_pad { window.padded_taps(position, input) } else { window.seen_taps(position, input) }
    }
}

impl Layer for AvgPool {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let window = self.window.resolve_pool(inputs[0].spatial())?;
        Ok(inputs[0].with_dims([vec![inputs[0].channels()], window.out].concat()))
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], accumulate: Accumulate) -> Tensor {
        let x = inputs[0];
        let window = self.window.resolve(x.spatial()).expect("checked by the shape rule");
        let seen = |p| {
            let positions: Vec<usize> = window.taps(p, x.spatial()).into_iter().map(|(_, index)| index).collect();
            (positions, self.divisor(&window, p, x.spatial()))
        };
        slide(x, &window.out, seen, |values, &divisor| (accumulate.sum(values) / divisor as f64) as f32)
    }

    fn magnitude(&self, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
        magnitude_of_sums(self, inputs, params)
    }

    fn window(&self, inputs: &[&TensorType]) -> Option<ResolvedWindow> {
        self.window.resolve(inputs[0].spatial()).ok()
    }
}

impl fmt::Display for AvgPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "avgpool {}", dims_text(&self.window.kernel))?;
        self.window.fmt_options(f, &self.window.kernel)?;
        if !self.count_pad {
            f.write_str(", count_pad false")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn pool(more: &[(&'static str, ArgValue)]) -> Op {
        make("avgpool", &[&[("kernel", dims([3])), ("stride", dims([2]))], more].concat())
    }

    fn averages(op: &Op, x: &[f32]) -> Vec<f32> {
        eval(op, &[&Tensor::new([1, 1, x.len()], x.to_vec())], &[]).into_data()
    }

    #[test]
    fn defaults() {
        let op = make("avgpool", &[("kernel", dims([2, 2]))]);
        assert_eq!(text(&op), "avgpool 2x2");
        assert_eq!(shape(&op, &[&[3, 5, 4]]), Ok(vec![3, 2, 2]));
        let x = Tensor::new([1, 1, 2, 2], vec![1.0, 2.0, 3.0, 5.0]);
        assert_eq!(eval(&op, &[&x], &[]).data(), [2.75]);
        assert_eq!(text(&pool(&[("count_pad", ArgValue::Bool(false))])), "avgpool 3, stride 2, count_pad false");
    }

    #[test]
    fn padding_counts_by_default() {
        let options = [("pad", ArgValue::Pad(PadArg::All(1))), ("count_pad", ArgValue::Bool(false))];
        assert_close(&averages(&pool(&options[..1]), &[3.0, 6.0, 9.0]), &[3.0, 5.0]);
        let op = pool(&options);
        assert_close(&averages(&op, &[3.0, 6.0, 9.0]), &[4.5, 7.5]);
    }

    /// Input of 4, padded to 6: the windows begin at 0, 2, 4; the last one sees one value, one zero of padding
    /// and one place behind, which does not count.
    #[test]
    fn what_hangs_over_never_counts() {
        let options = [("pad", ArgValue::Pad(PadArg::All(1))), ("ceil", ArgValue::Bool(true))];
        assert_close(&averages(&pool(&options), &[3.0, 6.0, 9.0, 12.0]), &[3.0, 9.0, 6.0]);
        let op = pool(&[&options[..], &[("count_pad", ArgValue::Bool(false))]].concat());
        assert_close(&averages(&op, &[3.0, 6.0, 9.0, 12.0]), &[4.5, 9.0, 12.0]);
    }

    #[test]
    fn bad_sizes() {
        assert_eq!(shape(&pool(&[("pad", ArgValue::Pad(PadArg::All(2)))]), &[&[1, 9]]), Err("E0306"));
        assert_eq!(shape(&pool(&[]), &[&[1, 9, 9]]), Err("E0301"));
    }
}
