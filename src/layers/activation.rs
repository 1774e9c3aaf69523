//! Pointwise activations: one type, one keyword for each function.

use super::*;

/// y = f(x), element by element.
#[derive(Clone, Copy, Debug)]
pub enum Activation {
    Relu,
    Relu6,
    /// Slope for negative inputs.
    LeakyRelu(f32),
    /// Inputs up to this become 0.
    ThresholdedRelu(f32),
    /// Minus the limit on the far left.
    Elu(f32),
    Selu,
    /// Minus the limit on the far left; above 0.
    Celu(f32),
    Gelu,
    GeluTanh,
    Silu,
    HardSwish,
    Mish,
    Softplus,
    Softsign,
    Tanh,
    Sigmoid,
    HardSigmoid {
        slope: f64,
        offset: f64,
    },
    /// Infinite where there is no limit.
    Clip {
        low: f32,
        high: f32,
    },
    Affine {
        scale: f32,
        shift: f32,
    },
    Exp,
    Sqrt,
    Abs,
    Reciprocal,
}

/// Of selu (Klambauer et al. 2017, section 2): values of mean 0 and variance 1 keep them.
pub(crate) const SELU_SCALE: f64 = 1.050_700_987_355_480_5;
pub(crate) const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;

impl Activation {
    /// `hard_sigmoid` without arguments.
    pub const HARD_SIGMOID: Activation = Activation::HardSigmoid { slope: 1.0 / 6.0, offset: 0.5 };

    /// What tells it from others: its kind, and the bits of its numbers.
    fn key(&self) -> (std::mem::Discriminant<Activation>, [u64; 2]) {
        use Activation::*;
        let numbers: [f64; 2] = match *self {
            LeakyRelu(number) | ThresholdedRelu(number) | Elu(number) | Celu(number) => [number.into(), 0.0],
            HardSigmoid { slope: a, offset: b } => [a, b],
            Clip { low: a, high: b } | Affine { scale: a, shift: b } => [a.into(), b.into()],
            Relu | Relu6 | Selu | Gelu | GeluTanh | Silu | HardSwish | Mish | Softplus | Softsign | Tanh | Sigmoid
            | Exp | Sqrt | Abs | Reciprocal => [0.0; 2],
        };
        (std::mem::discriminant(self), numbers.map(f64::to_bits))
    }
}

/// Two are equal where they give the same bits, so that they can stand in the key of generated code.
impl PartialEq for Activation {
    fn eq(&self, other: &Activation) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Activation {}

impl std::hash::Hash for Activation {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

const fn spec(keyword: &'static str, doc: &'static str, params: &'static [ParamDecl]) -> LayerSpec {
    LayerSpec { keyword, doc, params }
}

const fn plain(keyword: &'static str, doc: &'static str) -> LayerSpec {
    spec(keyword, doc, &[])
}

const RELU: LayerSpec = plain("relu", "y = max(x, 0) (Nair and Hinton 2010).");
const RELU6: LayerSpec = plain("relu6", "y = min(max(x, 0), 6) (Krizhevsky 2010).");
const LEAKY_RELU: LayerSpec = spec(
    "leaky_relu",
    "y = x for x >= 0, slope * x below (Maas et al. 2013).",
    &[ParamDecl::positional("slope", Kind::Float, "0.01", "factor for negative inputs")],
);
const THRESHOLDED_RELU: LayerSpec = spec(
    "thresholded_relu",
    "y = x for x > alpha, 0 up to it (Konda et al. 2014).",
    &[ParamDecl::positional("alpha", Kind::Float, "1.0", "the threshold")],
);
const ELU: LayerSpec = spec(
    "elu",
    "y = x for x > 0, alpha * (exp(x) - 1) below (Clevert et al. 2015).",
    &[ParamDecl::positional("alpha", Kind::Float, "1.0", "minus the limit on the far left")],
);
const SELU: LayerSpec = plain(
    "selu",
    "y = 1.0507 * elu(x) with an alpha of 1.6733: values of mean 0 and variance 1 keep them (Klambauer et al. 2017).",
);
const CELU: LayerSpec = spec(
    "celu",
    "y = x for x > 0, alpha * (exp(x / alpha) - 1) below: an elu whose slope has no step (Barron 2017).",
    &[ParamDecl::positional("alpha", Kind::Float, "1.0", "minus the limit on the far left, above 0")],
);
const GELU: LayerSpec = spec(
    "gelu",
    "y = x * (1 + erf(x / sqrt(2))) / 2; with `tanh`, y = x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2 \
     (Hendrycks and Gimpel 2016).",
    &[ParamDecl::named("approximate", Kind::Word(&["none", "tanh"]), "none", "which of the two")],
);
const SILU: LayerSpec = plain("silu", "y = x * sigmoid(x), also called swish (Ramachandran et al. 2017).");
const HARD_SWISH: LayerSpec = plain("hard_swish", "y = x * min(max(x + 3, 0), 6) / 6 (Howard et al. 2019).");
const MISH: LayerSpec = plain("mish", "y = x * tanh(ln(1 + exp(x))) (Misra 2019).");
const SOFTPLUS: LayerSpec = plain("softplus", "y = ln(1 + exp(x)) (Dugas et al. 2000).");
const SOFTSIGN: LayerSpec = plain("softsign", "y = x / (1 + |x|) (Bergstra et al. 2009).");
const TANH: LayerSpec = plain("tanh", "y = tanh(x).");
const SIGMOID: LayerSpec = plain("sigmoid", "y = 1 / (1 + exp(-x)).");
const HARD_SIGMOID: LayerSpec = spec(
    "hard_sigmoid",
    "y = min(max(slope * x + offset, 0), 1); without arguments min(max(x + 3, 0), 6) / 6 (Courbariaux et al. 2015, \
     Howard et al. 2019).",
    &[
        ParamDecl::positional("slope", Kind::Float, "0.16666666666666666", "factor of x, above 0"),
        ParamDecl::positional("offset", Kind::Float, "0.5", "what is added to the product"),
    ],
);
const CLIP: LayerSpec = spec(
    "clip",
    "y = min(max(x, low), high); without a limit that is not given.",
    &[
        ParamDecl::positional("low", Kind::Float, "", "the least value"),
        ParamDecl::positional("high", Kind::Float, "", "the largest value"),
    ],
);
const AFFINE: LayerSpec = spec(
    "affine",
    "y = scale * x + shift, with two numbers for all values. `scale` has weights for each channel.",
    &[
        ParamDecl::required("scale", Kind::Float, "factor of x"),
        ParamDecl::positional("shift", Kind::Float, "0.0", "what is added to the product"),
    ],
);
const EXP: LayerSpec = plain("exp", "y = exp(x).");
const SQRT: LayerSpec = plain("sqrt", "y = sqrt(x), NaN for x < 0.");
const ABS: LayerSpec = plain("abs", "y = |x|.");
const RECIPROCAL: LayerSpec = plain("reciprocal", "y = 1 / x.");

impl Activation {
    pub(super) const ENTRIES: &[Entry] = &[
        Entry { spec: &RELU, make: |_| Ok(Op::Activation(Activation::Relu)) },
        Entry { spec: &RELU6, make: |_| Ok(Op::Activation(Activation::Relu6)) },
        Entry {
            spec: &LEAKY_RELU,
            make: |args| single(args, "slope").map(|slope| Activation::LeakyRelu(slope).into()),
        },
        Entry {
            spec: &THRESHOLDED_RELU,
            make: |args| single(args, "alpha").map(|alpha| Activation::ThresholdedRelu(alpha).into()),
        },
        Entry { spec: &ELU, make: |args| single(args, "alpha").map(|alpha| Activation::Elu(alpha).into()) },
        Entry { spec: &SELU, make: |_| Ok(Op::Activation(Activation::Selu)) },
        Entry { spec: &CELU, make: |args| Activation::celu(args).map(Op::from) },
        Entry {
            spec: &GELU,
            make: |args| {
                Ok(if args.word("approximate") == "tanh" { Activation::GeluTanh } else { Activation::Gelu }.into())
            },
        },
        Entry { spec: &SILU, make: |_| Ok(Op::Activation(Activation::Silu)) },
        Entry { spec: &HARD_SWISH, make: |_| Ok(Op::Activation(Activation::HardSwish)) },
        Entry { spec: &MISH, make: |_| Ok(Op::Activation(Activation::Mish)) },
        Entry { spec: &SOFTPLUS, make: |_| Ok(Op::Activation(Activation::Softplus)) },
        Entry { spec: &SOFTSIGN, make: |_| Ok(Op::Activation(Activation::Softsign)) },
        Entry { spec: &TANH, make: |_| Ok(Op::Activation(Activation::Tanh)) },
        Entry { spec: &SIGMOID, make: |_| Ok(Op::Activation(Activation::Sigmoid)) },
        Entry { spec: &HARD_SIGMOID, make: |args| Activation::hard_sigmoid(args).map(Op::from) },
        Entry { spec: &CLIP, make: |args| Activation::clip(args).map(Op::from) },
        Entry { spec: &AFFINE, make: |args| Activation::affine(args).map(Op::from) },
        Entry { spec: &EXP, make: |_| Ok(Op::Activation(Activation::Exp)) },
        Entry { spec: &SQRT, make: |_| Ok(Op::Activation(Activation::Sqrt)) },
        Entry { spec: &ABS, make: |_| Ok(Op::Activation(Activation::Abs)) },
        Entry { spec: &RECIPROCAL, make: |_| Ok(Op::Activation(Activation::Reciprocal)) },
    ];

    fn celu(args: &Args) -> Result<Activation, ArgError> {
        let alpha = single(args, "alpha")?;
        possible(Activation::Celu(alpha), "alpha")
    }

    fn hard_sigmoid(args: &Args) -> Result<Activation, ArgError> {
        let (slope, offset) = (args.float("slope"), args.float("offset"));
        // Files of f32 mean the sixth when they say what is next to it.
        let slope = if slope as f32 == (1.0f64 / 6.0) as f32 { 1.0 / 6.0 } else { slope };
        possible(Activation::HardSigmoid { slope, offset }, "slope")
    }

    fn clip(args: &Args) -> Result<Activation, ArgError> {
        let limit = |name, none| args.get(name).map_or(Ok(none), |_| single(args, name));
        let (low, high) = (limit("low", f32::NEG_INFINITY)?, limit("high", f32::INFINITY)?);
        possible(Activation::Clip { low, high }, "low")
    }

    fn affine(args: &Args) -> Result<Activation, ArgError> {
        Ok(Activation::Affine { scale: single(args, "scale")?, shift: single(args, "shift")? })
    }

    /// The function itself, evaluated in f64 and rounded once. NaN gives NaN.
    pub fn apply(self, x: f32) -> f32 {
        self.evaluate(x.into()) as f32
    }

    /// By how much the function enlarges small differences at most: no less than its steepest slope. `None` where that
    /// has no bound: behind a sum, whose rounding error could then become any, such a function is not fused.
    pub fn steepness(self) -> Option<f32> {
        use Activation::*;
        match self {
            LeakyRelu(slope) => Some(slope.abs().max(1.0)),
            Elu(alpha) => Some(alpha.abs().max(1.0)),
            Selu => Some((SELU_SCALE * SELU_ALPHA) as f32),
            Affine { scale, .. } => Some(scale.abs()),
            HardSigmoid { slope, .. } => Some(slope as f32),
            HardSwish => Some(1.5),
            Gelu | GeluTanh | Silu | Mish => Some(1.13),
            Relu | Relu6 | Celu(_) | Softplus | Softsign | Tanh | Sigmoid | Clip { .. } | Abs => Some(1.0),
            ThresholdedRelu(_) | Exp | Sqrt | Reciprocal => None,
        }
    }

    /// The function itself, in f64.
    pub fn evaluate(self, x: f64) -> f64 {
        use Activation::*;
        match self {
            Relu => clamp(x, 0.0, f64::INFINITY),
            Relu6 => clamp(x, 0.0, 6.0),
            LeakyRelu(slope) if x < 0.0 => f64::from(slope) * x,
            ThresholdedRelu(alpha) if x <= alpha.into() => 0.0,
            Elu(alpha) if x < 0.0 => f64::from(alpha) * x.exp_m1(),
            Celu(alpha) if x < 0.0 => f64::from(alpha) * (x / f64::from(alpha)).exp_m1(),
            LeakyRelu(_) | ThresholdedRelu(_) | Elu(_) | Celu(_) => x,
            Selu if x < 0.0 => SELU_SCALE * SELU_ALPHA * x.exp_m1(),
            Selu => SELU_SCALE * x,
            // 1 + erf(y) would cancel for negative y, as would 1 + tanh(y).
            Gelu => 0.5 * x * libm::erfc(-x / std::f64::consts::SQRT_2),
            GeluTanh => x / (1.0 + (-(8.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x * x * x)).exp()),
            Silu => x / (1.0 + (-x).exp()),
            HardSwish => x * clamp(x + 3.0, 0.0, 6.0) / 6.0,
            Mish => x * x.exp().ln_1p().tanh(),
            Softplus => clamp(x, 0.0, f64::INFINITY) + (-x.abs()).exp().ln_1p(),
            Softsign => x / (1.0 + x.abs()),
            Tanh => x.tanh(),
            Sigmoid => 1.0 / (1.0 + (-x).exp()),
            HardSigmoid { slope, offset } => clamp(slope * x + offset, 0.0, 1.0),
            Clip { low, high } => clamp(x, low.into(), high.into()),
            Affine { scale, shift } => f64::from(scale) * x + f64::from(shift),
            Exp => x.exp(),
            Sqrt => x.sqrt(),
            Abs => x.abs(),
            Reciprocal => 1.0 / x,
        }
    }

    /// The sum of the magnitudes of what the function adds up: its rounding error is in proportion to that.
    pub fn terms(self, x: f64) -> f64 {
        match self {
            Activation::Affine { scale, shift } => (f64::from(scale) * x).abs() + f64::from(shift).abs(),
            // Three is a number of f32; where others cross 0 seldom is.
            Activation::HardSigmoid { offset, .. } if self != Activation::HARD_SIGMOID => {
                self.evaluate(x) + 2.0 * offset.abs()
            }
            other => other.evaluate(x).abs(),
        }
    }
}

/// A number that is one in f32 too.
fn single(args: &Args, name: &'static str) -> Result<f32, ArgError> {
    let number = args.float(name) as f32;
    let error = || ArgError::new(name, format!("the {name} does not fit in f32"));
    number.is_finite().then_some(number).ok_or_else(error)
}

/// An activation whose numbers fit together; if not, `param` is at fault.
fn possible(activation: Activation, param: &'static str) -> Result<Activation, ArgError> {
    activation.check().map_err(|error| ArgError::new(param, error.message))?;
    Ok(activation)
}

/// Keeps NaN, unlike `f64::max`.
fn clamp(x: f64, low: f64, high: f64) -> f64 {
    if x < low {
        low
    } else if x > high {
        high
    } else {
        x
    }
}

impl Layer for Activation {
    fn spec(&self) -> &'static LayerSpec {
        match self {
            Activation::Relu => &RELU,
            Activation::Relu6 => &RELU6,
            Activation::LeakyRelu(_) => &LEAKY_RELU,
            Activation::ThresholdedRelu(_) => &THRESHOLDED_RELU,
            Activation::Elu(_) => &ELU,
            Activation::Selu => &SELU,
            Activation::Celu(_) => &CELU,
            Activation::Gelu | Activation::GeluTanh => &GELU,
            Activation::Silu => &SILU,
            Activation::HardSwish => &HARD_SWISH,
            Activation::Mish => &MISH,
            Activation::Softplus => &SOFTPLUS,
            Activation::Softsign => &SOFTSIGN,
            Activation::Tanh => &TANH,
            Activation::Sigmoid => &SIGMOID,
            Activation::HardSigmoid { .. } => &HARD_SIGMOID,
            Activation::Clip { .. } => &CLIP,
            Activation::Affine { .. } => &AFFINE,
            Activation::Exp => &EXP,
            Activation::Sqrt => &SQRT,
            Activation::Abs => &ABS,
            Activation::Reciprocal => &RECIPROCAL,
        }
    }

    fn check(&self) -> Result<(), ShapeError> {
        let refuse = |message: String| Err(ShapeError::new("E0216", message));
        match *self {
            Activation::LeakyRelu(slope) => check_finite("the slope", slope.into()),
            Activation::ThresholdedRelu(alpha) | Activation::Elu(alpha) => check_finite("alpha", alpha.into()),
            Activation::Celu(alpha) if !alpha.is_normal() || alpha < 0.0 => {
                refuse(format!("alpha is {alpha:?}, and must be above 0"))
            }
            Activation::HardSigmoid { slope, offset } => {
                check_finite("the slope", slope)?;
                check_finite("the offset", offset)?;
                match (slope as f32).is_normal() && slope > 0.0 && ((offset / slope) as f32).is_finite() {
                    true => Ok(()),
                    false => refuse(format!(
                        "a slope of {slope:?} with an offset of {offset:?}: it must be above 0, and more of the offset"
                    )),
                }
            }
            Activation::Clip { low, high } if low.is_nan() || high.is_nan() || low > high => {
                refuse(format!("the least value, {low:?}, is above the largest, {high:?}"))
            }
            Activation::Clip { low: f32::NEG_INFINITY, high: f32::INFINITY } => {
                refuse("a clip needs `low`, `high` or both".into())
            }
            Activation::Clip { low, high } if low == f32::INFINITY || high == f32::NEG_INFINITY => {
                refuse(format!("values from {low:?} to {high:?}, where there are none"))
            }
            Activation::Affine { scale, shift } => {
                check_finite("the scale", scale.into())?;
                check_finite("the shift", shift.into())
            }
            _ => Ok(()),
        }
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        Ok(inputs[0].clone())
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        Tensor::new(inputs[0].shape(), inputs[0].data().iter().map(|&x| self.apply(x)).collect())
    }

    fn magnitude(&self, inputs: &[&Tensor], _params: &[&[f32]]) -> Tensor {
        Tensor::new(inputs[0].shape(), inputs[0].data().iter().map(|&x| self.terms(x.into()) as f32).collect())
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spec().keyword)?;
        match *self {
            Activation::LeakyRelu(number) | Activation::ThresholdedRelu(number) => write!(f, " {number:?}"),
            Activation::Elu(alpha) | Activation::Celu(alpha) if alpha != 1.0 => write!(f, " {alpha:?}"),
            Activation::GeluTanh => f.write_str(" tanh"),
            other if other == Activation::HARD_SIGMOID => Ok(()),
            Activation::HardSigmoid { slope, offset } => write!(f, " {slope:?}, {offset:?}"),
            // `high -1` would be a difference.
            Activation::Clip { low: f32::NEG_INFINITY, high } => write!(f, " high = {high:?}"),
            Activation::Clip { low, high: f32::INFINITY } => write!(f, " {low:?}"),
            Activation::Clip { low, high } => write!(f, " {low:?}, {high:?}"),
            Activation::Affine { scale, shift: 0.0 } => write!(f, " {scale:?}"),
            Activation::Affine { scale, shift } => write!(f, " {scale:?}, {shift:?}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaky_relu_reads_its_slope() {
        use super::testing::*;
        let op = make("leaky_relu", &[]);
        assert_eq!(op, Op::Activation(Activation::LeakyRelu(0.01)));
        assert_eq!(op.layer().unwrap().to_string(), "leaky_relu 0.01");
        assert!(try_make("leaky_relu", &[("slope", ArgValue::Float(1e39))]).is_err());
        assert_eq!(eval(&op, &[&Tensor::new([1, 2], vec![-100.0, 3.0])], &[]).data(), [-1.0, 3.0]);
        assert_eq!(shape(&op, &[&[2, 3]]), Ok(vec![2, 3]));
    }

    #[test]
    fn texts_say_what_differs_from_the_defaults() {
        use super::testing::*;
        let float = |name, value| (name, ArgValue::Float(value));
        let cases = [
            ("thresholded_relu", vec![float("alpha", -0.5)], "thresholded_relu -0.5"),
            ("elu", vec![], "elu"),
            ("celu", vec![float("alpha", 2.0)], "celu 2.0"),
            ("gelu", vec![], "gelu"),
            ("gelu", vec![("approximate", ArgValue::Word("tanh"))], "gelu tanh"),
            ("hard_sigmoid", vec![], "hard_sigmoid"),
            // The number of f32 next to a sixth.
            ("hard_sigmoid", vec![float("slope", 0.166_666_67)], "hard_sigmoid"),
            ("hard_sigmoid", vec![float("slope", 0.2)], "hard_sigmoid 0.2, 0.5"),
            ("clip", vec![float("low", -1.0), float("high", 1.0)], "clip -1.0, 1.0"),
            ("clip", vec![float("low", -1.0)], "clip -1.0"),
            ("clip", vec![float("high", -1.0)], "clip high = -1.0"),
            ("affine", vec![float("scale", 2.0)], "affine 2.0"),
            ("affine", vec![float("scale", 2.0), float("shift", -1.0)], "affine 2.0, -1.0"),
        ];
        for (keyword, arguments, expected) in cases {
            assert_eq!(text(&make(keyword, &arguments)), expected);
        }
    }

    #[test]
    fn numbers_that_make_no_function_are_refused() {
        use super::testing::*;
        let float = |name, value| (name, ArgValue::Float(value));
        let cases = [
            ("clip", vec![]),
            ("clip", vec![float("low", 1.0), float("high", 0.5)]),
            ("clip", vec![float("low", 1e39)]),
            ("celu", vec![float("alpha", 0.0)]),
            ("celu", vec![float("alpha", -1.0)]),
            ("hard_sigmoid", vec![float("slope", 0.0)]),
            ("hard_sigmoid", vec![float("slope", -0.2)]),
            ("hard_sigmoid", vec![float("slope", 1e-30), float("offset", 1e30)]),
            ("elu", vec![float("alpha", 1e39)]),
            ("affine", vec![float("scale", 1e39)]),
        ];
        for (keyword, arguments) in cases {
            assert!(try_make(keyword, &arguments).is_err(), "{keyword} {arguments:?}");
        }
    }

    #[test]
    fn known_values() {
        let cases = [
            (Activation::Elu(0.5), -1.0, -0.316_060_28),
            (Activation::Selu, 1.0, 1.050_701),
            (Activation::Celu(2.0), -2.0, -1.264_241_1),
            (Activation::ThresholdedRelu(1.0), 1.0, 0.0),
            (Activation::Mish, 1.0, 0.865_098_4),
            (Activation::Softplus, 0.0, std::f32::consts::LN_2),
            (Activation::Softsign, -3.0, -0.75),
            (Activation::GeluTanh, 1.0, 0.841_192),
            (Activation::HARD_SIGMOID, 1.0, 4.0 / 6.0),
            (Activation::HardSigmoid { slope: 0.2, offset: 0.5 }, 1.0, 0.7),
            (Activation::Clip { low: -1.0, high: 1.0 }, -3.0, -1.0),
            (Activation::Affine { scale: 2.0, shift: -1.0 }, 3.0, 5.0),
            (Activation::Exp, 1.0, std::f32::consts::E),
            (Activation::Sqrt, 2.0, std::f32::consts::SQRT_2),
            (Activation::Abs, -2.0, 2.0),
            (Activation::Reciprocal, -2.0, -0.5),
            (Activation::Relu, -1.0, 0.0),
            (Activation::Relu6, 7.5, 6.0),
            (Activation::LeakyRelu(0.1), -2.0, -0.2),
            (Activation::Sigmoid, 0.0, 0.5),
            (Activation::Silu, 1.0, 0.731_058_6),
            (Activation::HardSwish, 1.0, 4.0 / 6.0),
            (Activation::HARD_SIGMOID, -3.5, 0.0),
            (Activation::Gelu, 1.0, 0.841_344_7),
        ];
        for (activation, x, y) in cases {
            assert!((activation.apply(x) - y).abs() < 1e-6, "{activation}({x}) = {}", activation.apply(x));
            assert!(activation.apply(f32::NAN).is_nan(), "{activation}(NaN)");
        }
    }
}
