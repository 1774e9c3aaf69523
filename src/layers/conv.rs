//! Convolution of any rank with stride, dilation, groups, padding and bias.

use super::window::{DILATION, KERNEL, dims_text};
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "conv",
    doc: "Convolution (cross-correlation, as in all deep-learning frameworks): \
          y[o, p] = bias[o] + sum over c, k of weight[o, c, k] * x[c, stride * p + dilation * k - pad], \
          c running over the input channels of o's group.",
    params: &[
        KERNEL,
        ParamDecl::required("channels", Kind::Int, "output channels"),
        ParamDecl::named("stride", Kind::PerDim, "1", "step of the window"),
        DILATION,
        ParamDecl::named("groups", Kind::Int, "1", "independent groups of channels"),
        ParamDecl::named("pad", Kind::Pad, "valid", "zeros around the input"),
        ParamDecl::named("bias", Kind::Bool, "false", "add a bias to each output channel"),
        ParamDecl::named(
            "weights",
            Kind::Weights,
            "",
            "fixed weights [kernel], the same for every pair of channels of a group",
        ),
    ],
};

/// The most elements that fixed weights may have when repeated for all pairs of channels: 64 MiB.
const MAX_FIXED: usize = 1 << 24;

/// `conv 3x3, 64, stride 2, half`
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    pub channels: usize,
    pub window: Window,
    pub groups: usize,
    pub bias: bool,
    /// Values of one kernel, row-major, used for all channels.
    pub weights: Option<Arc<[f32]>>,
}

impl Conv {
    pub(super) const ENTRIES: &[Entry] = &[Entry { spec: &SPEC, make: |args| Conv::new(args).map(Op::from) }];

    fn new(args: &Args) -> Result<Conv, ArgError> {
        let window = Window::from_args(args)?;
        let (channels, groups) = (args.int("channels"), args.int("groups"));
        if !channels.is_multiple_of(groups) {
            return Err(ArgError::new(
                "groups",
                format!("{channels} output channels do not divide into {groups} groups"),
            ));
        }
        let weights = match args.get("weights") {
            Some(ArgValue::Weights(_, shape)) if *shape != window.kernel => {
                let message =
                    format!("the weights are {}, the kernel is {}", dims_text(shape), dims_text(&window.kernel));
                return Err(ArgError::new("weights", message));
            }
            Some(ArgValue::Weights(values, _)) => Some(values.clone()),
            _ => None,
        };
        Ok(Conv { channels, window, groups, bias: args.flag("bias"), weights })
    }

    /// Input channels of one group.
    pub fn group_in(&self, input: &TensorType) -> usize {
        input.channels() / self.groups
    }
}

impl Layer for Conv {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        check_size("the number of output channels", self.channels)?;
        check_size("the number of groups", self.groups)?;
        if !self.channels.is_multiple_of(self.groups) {
            let message = format!("{} output channels do not divide into {} groups", self.channels, self.groups);
            return Err(ShapeError::new("E0217", message).param("groups"));
        }
        if self.window.ceil {
            return Err(ShapeError::new("E0217", "a convolution does not round its output size up"));
        }
        let taps = checked_product(&self.window.kernel, "the kernel")?;
        match &self.weights {
            Some(weights) if weights.len() != taps => {
                let message = format!("{} weights for a kernel of {taps}", weights.len());
                Err(ShapeError::new("E0217", message).param("weights"))
            }
            _ => Ok(()),
        }
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let input = inputs[0];
        let window = self.window.resolve(input.spatial())?;
        if !input.channels().is_multiple_of(self.groups) {
            let message = format!("{} input channels do not divide into {} groups", input.channels(), self.groups);
            return Err(ShapeError::new("E0304", message).param("groups"));
        }
        let pairs = [self.channels, self.group_in(input)];
        let weights = checked_product(pairs.iter().chain(&window.kernel), "the weights")?;
        if self.weights.is_some() && weights > MAX_FIXED {
            let message = format!("fixed weights repeated to {weights} elements; at most {MAX_FIXED}");
            return Err(ShapeError::new("E0303", message).param("weights"));
        }
        Ok(input.with_dims([vec![self.channels], window.out].concat()))
    }

    fn params(&self, inputs: &[&TensorType]) -> Vec<ParamSpec> {
        let group_in = self.group_in(inputs[0]);
        let taps: usize = self.window.kernel.iter().product();
        let dims = [vec![self.channels, group_in], self.window.kernel.clone()].concat();
        let fixed = self.weights.as_ref().map(|w| w.repeat(self.channels * group_in).into());
        let mut params = vec![ParamSpec { role: "weight", dims, fixed, init: Init::FanIn(group_in * taps) }];
        if self.bias {
            params.push(ParamSpec { role: "bias", dims: vec![self.channels], fixed: None, init: Init::Small });
        }
        params
    }

    fn eval(&self, inputs: &[&Tensor], params: &[&[f32]], accumulate: Accumulate) -> Tensor {
        let (x, weight, bias) = (inputs[0], params[0], params.get(1));
        let window = self.window.resolve(x.spatial()).expect("checked by the shape rule");
        let (group_in, group_out) = (x.channels() / self.groups, self.channels / self.groups);
        let kernel: usize = window.kernel.iter().product();
        let positions: usize = window.out.iter().product();
        let mut y = Tensor::zeros([vec![x.batch(), self.channels], window.out.clone()].concat());
        for p in 0..positions {
            let taps = window.taps(p, x.spatial());
            // What the window sees in one group of channels, padding included: [group_in, kernel].
            let mut patch = vec![0.0; group_in * kernel];
            for n in 0..x.batch() {
                for group in 0..self.groups {
                    for (c, values) in patch.chunks_mut(kernel).enumerate() {
                        let plane = x.plane(n, group * group_in + c);
                        taps.iter().for_each(|&(k, index)| values[k] = plane[index]);
                    }
                    for o in group * group_out..(group + 1) * group_out {
                        let row = &weight[o * patch.len()..][..patch.len()];
                        y.plane_mut(n, o)[p] = accumulate.dot(bias.map_or(0.0, |b| b[o]), row, &patch);
                    }
                }
            }
        }
        y
    }

    fn magnitude(&self, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
        magnitude_of_sums(self, inputs, params)
    }

    fn macs(&self, inputs: &[&TensorType]) -> u64 {
        let taps: usize = self.window.kernel.iter().product();
        let positions: usize = self.shape(inputs).map(|t| t.spatial().iter().product()).unwrap_or(0);
        [self.group_in(inputs[0]), taps, positions]
            .iter()
            .fold(self.channels as u64, |a, &b| a.saturating_mul(b as u64))
    }

    fn window(&self, inputs: &[&TensorType]) -> Option<ResolvedWindow> {
        self.window.resolve(inputs[0].spatial()).ok()
    }
}

impl fmt::Display for Conv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conv {}, {}", dims_text(&self.window.kernel), self.channels)?;
        self.window.fmt_options(f, &vec![1; self.window.rank()])?;
        if self.groups != 1 {
            write!(f, ", groups {}", self.groups)?;
        }
        if self.bias {
            f.write_str(", bias")?;
        }
        match &self.weights {
            Some(values) => write!(f, ", weights {}", nested_list(values, &self.window.kernel)),
            None => Ok(()),
        }
    }
}

/// `[[1, 2], [3, 4]]`
fn nested_list(values: &[f32], dims: &[usize]) -> String {
    let items: Vec<String> = match dims {
        [] | [_] => values.iter().map(|v| format!("{v:?}")).collect(),
        [first, rest @ ..] => values.chunks(values.len() / first).map(|part| nested_list(part, rest)).collect(),
    };
    format!("[{}]", items.join(", "))
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    fn conv(text_args: &[(&'static str, ArgValue)]) -> Op {
        make("conv", text_args)
    }

    #[test]
    fn defaults() {
        let op = conv(&[("kernel", dims([3, 3])), ("channels", int(8))]);
        assert_eq!(op.layer().unwrap().to_string(), "conv 3x3, 8");
        assert_eq!(shape(&op, &[&[3, 10, 12]]), Ok(vec![8, 8, 10]));
        assert_eq!(param_dims(&op, &[&[3, 10, 12]]), [("weight", vec![8, 3, 3, 3])]);
    }

    #[test]
    fn prints_all_options() {
        let op = conv(&[
            ("kernel", dims([3, 1])),
            ("channels", int(8)),
            ("stride", dims([2])),
            ("dilation", dims([1, 2])),
            ("groups", int(2)),
            ("pad", ArgValue::Pad(PadArg::List(vec![1, 0]))),
            ("bias", ArgValue::Bool(true)),
            ("weights", ArgValue::Weights([1.0, -2.0, 0.5].into(), vec![3, 1])),
        ]);
        let text = "conv 3x1, 8, stride 2, dilation 1x2, pad (1, 1, 0, 0), groups 2, bias, \
                    weights [[1.0], [-2.0], [0.5]]";
        assert_eq!(op.layer().unwrap().to_string(), text);
    }

    #[test]
    fn a_filter_with_padding_stride_and_bias() {
        let op = conv(&[
            ("kernel", dims([3])),
            ("channels", int(1)),
            ("stride", dims([2])),
            ("pad", ArgValue::Pad(PadArg::All(1))),
            ("bias", ArgValue::Bool(true)),
        ]);
        let x = Tensor::new([1, 2, 4], vec![1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0]);
        let weight = [1.0, 2.0, 3.0, 0.0, 1.0, 0.0];
        // p = 0: 2*1 + 3*2 + 10; p = 1: 1*2 + 2*3 + 3*4 + 30
        let y = eval(&op, &[&x], &[&weight, &[0.5]]);
        assert_eq!((y.shape(), y.data()), (&[1, 1, 2][..], &[18.5, 50.5][..]));
    }

    #[test]
    fn groups_see_their_own_channels_only() {
        let op = conv(&[("kernel", dims([1, 1])), ("channels", int(4)), ("groups", int(2))]);
        let x = Tensor::new([2, 2, 1, 1], vec![1.0, 10.0, 2.0, 20.0]);
        let y = eval(&op, &[&x], &[&[1.0, 2.0, 3.0, 4.0]]);
        assert_eq!(y.data(), [1.0, 2.0, 30.0, 40.0, 2.0, 4.0, 60.0, 80.0]);
        assert_eq!(shape(&op, &[&[3, 4, 4]]), Err("E0304"));
    }

    #[test]
    fn dilation_takes_every_second_value() {
        let op = conv(&[("kernel", dims([2, 2])), ("channels", int(1)), ("dilation", dims([2]))]);
        let x = Tensor::new([1, 1, 3, 3], (1..=9).map(|v| v as f32).collect());
        assert_eq!(eval(&op, &[&x], &[&[1.0, 10.0, 100.0, 1000.0]]).data(), [9731.0]);
    }

    #[test]
    fn not_a_number_passes_through() {
        let op = conv(&[("kernel", dims([1])), ("channels", int(1))]);
        let y = eval(&op, &[&Tensor::new([1, 1, 3], vec![f32::NAN, f32::INFINITY, 1.0])], &[&[2.0]]);
        assert!(y.data()[0].is_nan());
        assert_eq!(y.data()[1..], [f32::INFINITY, 2.0]);
    }

    #[test]
    fn bad_arguments_and_sizes() {
        let arguments = |more: &[(&'static str, ArgValue)]| {
            try_make("conv", &[&[("kernel", dims([3, 3])), ("channels", int(6))], more].concat()).map_err(|e| e.param)
        };
        assert_eq!(arguments(&[("groups", int(4))]), Err("groups"));
        assert_eq!(arguments(&[("stride", dims([1, 1, 1]))]), Err("stride"));
        assert_eq!(arguments(&[("pad", ArgValue::Pad(PadArg::List(vec![1, 1, 1])))]), Err("pad"));
        assert_eq!(arguments(&[("weights", ArgValue::Weights([1.0].into(), vec![1]))]), Err("weights"));
        let op = conv(&[("kernel", dims([3, 3])), ("channels", int(usize::MAX))]);
        assert_eq!(shape(&op, &[&[3, 9, 9]]), Err("E0303"));
        assert_eq!(shape(&conv(&[("kernel", dims([3, 3])), ("channels", int(6))]), &[&[3]]), Err("E0301"));
    }

    #[test]
    fn fixed_weights_are_repeated_and_bounded() {
        let weights = ArgValue::Weights([1.0, 2.0].into(), vec![2]);
        let op = conv(&[("kernel", dims([2])), ("channels", int(4096)), ("weights", weights)]);
        assert_eq!(shape(&op, &[&[4096, 9]]), Err("E0303"));
        let input = ty(&[2, 9]);
        let params = op.layer().unwrap().params(&[&input]);
        assert_eq!(params[0].fixed.as_ref().unwrap().len(), 4096 * 2 * 2);
    }

    #[test]
    fn multiply_accumulates() {
        let op = conv(&[("kernel", dims([3, 3])), ("channels", int(8)), ("groups", int(2))]);
        let input = ty(&[4, 10, 12]);
        assert_eq!(op.layer().unwrap().macs(&[&input]), 8 * 2 * 9 * 8 * 10);
    }
}
