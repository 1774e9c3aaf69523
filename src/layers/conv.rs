//! Convolution of any rank with stride, dilation, groups, padding and bias.

use super::window::{dims_text, unravel};
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "conv",
    doc: "Convolution (cross-correlation, as in all deep-learning frameworks): \
          y[o, p] = bias[o] + sum over c, k of weight[o, c, k] * x[c, stride * p + dilation * k - pad], \
          c running over the input channels of o's group.",
    params: &[
        ParamDecl {
            name: "kernel",
            kind: Kind::Dims,
            positional: true,
            default: None,
            doc: "kernel size, `3x3`; `3` for 1-D",
        },
        ParamDecl { name: "channels", kind: Kind::Int, positional: true, default: None, doc: "output channels" },
        ParamDecl {
            name: "stride",
            kind: Kind::PerDim,
            positional: false,
            default: Some("1"),
            doc: "step of the window",
        },
        ParamDecl {
            name: "dilation",
            kind: Kind::PerDim,
            positional: false,
            default: Some("1"),
            doc: "distance of the kernel's taps",
        },
        ParamDecl {
            name: "groups",
            kind: Kind::Int,
            positional: false,
            default: Some("1"),
            doc: "independent groups of channels",
        },
        ParamDecl {
            name: "pad",
            kind: Kind::Pad,
            positional: false,
            default: Some("valid"),
            doc: "zeros around the input",
        },
        ParamDecl {
            name: "bias",
            kind: Kind::Bool,
            positional: false,
            default: Some("false"),
            doc: "add a bias to each output channel",
        },
        ParamDecl {
            name: "weights",
            kind: Kind::Weights,
            positional: false,
            default: Some(""),
            doc: "fixed weights [kernel], the same for every pair of channels of a group",
        },
    ],
};

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
        let kernel = args.dims("kernel");
        let rank = kernel.len();
        let window = Window {
            stride: args.per_dim("stride", rank)?,
            dilation: args.per_dim("dilation", rank)?,
            padding: args.pad("pad", rank)?,
            kernel,
            ceil: false,
        };
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

    fn shape(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let input = inputs[0];
        let window = self.window.resolve(input.spatial())?;
        if !input.channels().is_multiple_of(self.groups) {
            let message = format!("{} input channels do not divide into {} groups", input.channels(), self.groups);
            return Err(ShapeError::new("E0304", message).param("groups"));
        }
        let dims: Vec<usize> = std::iter::once(self.channels).chain(window.out).collect();
        Ok(input.with_dims(dims))
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
        match accumulate {
            Accumulate::F32 => self.eval_in::<f32>(inputs[0], params),
            Accumulate::F64 => self.eval_in::<f64>(inputs[0], params),
        }
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

impl Conv {
    fn eval_in<A: Real>(&self, x: &Tensor, params: &[&[f32]]) -> Tensor {
        let (weight, bias) = (params[0], params.get(1));
        let window = self.window.resolve(x.spatial()).expect("checked by the shape rule");
        let (group_in, group_out) = (x.channels() / self.groups, self.channels / self.groups);
        let taps: usize = self.window.kernel.iter().product();
        let shape = [vec![x.batch(), self.channels], window.out.clone()].concat();
        let mut y = Tensor::zeros(shape);
        for n in 0..x.batch() {
            for o in 0..self.channels {
                let group = o / group_out;
                for (p, out) in y.plane_mut(n, o).iter_mut().enumerate() {
                    let at = unravel(p, &window.out);
                    let mut sum = bias.map_or(A::ZERO, |b| A::from_f32(b[o]));
                    for c in 0..group_in {
                        let plane = x.plane(n, group * group_in + c);
                        window.visit(&at, x.spatial(), |k, index| {
                            sum = sum + A::from_f32(weight[(o * group_in + c) * taps + k]) * A::from_f32(plane[index]);
                        });
                    }
                    *out = sum.to_f32();
                }
            }
        }
        y
    }
}

impl fmt::Display for Conv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "conv {}, {}", dims_text(&self.window.kernel), self.channels)?;
        self.window.fmt_options(f)?;
        if self.groups != 1 {
            write!(f, ", groups {}", self.groups)?;
        }
        if self.bias {
            f.write_str(", bias")?;
        }
        if self.weights.is_some() {
            f.write_str(", weights [..]")?;
        }
        Ok(())
    }
}
