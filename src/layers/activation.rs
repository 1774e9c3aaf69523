//! Pointwise activations: one type, one keyword for each function.

use super::*;

/// y = f(x), element by element.
#[derive(Clone, Copy, Debug)]
pub enum Activation {
    Relu,
    Relu6,
    /// Slope for negative inputs.
    LeakyRelu(f32),
    Tanh,
    Sigmoid,
    Silu,
    HardSwish,
    HardSigmoid,
    Gelu,
}

impl Activation {
    /// What tells it from others: its kind, and the bits of its number.
    fn key(&self) -> (std::mem::Discriminant<Activation>, u32) {
        let number = if let Activation::LeakyRelu(slope) = self { slope.to_bits() } else { 0 };
        (std::mem::discriminant(self), number)
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

const fn plain(keyword: &'static str, doc: &'static str) -> LayerSpec {
    LayerSpec { keyword, doc, params: &[] }
}

const RELU: LayerSpec = plain("relu", "y = max(x, 0) (Nair and Hinton 2010).");
const RELU6: LayerSpec = plain("relu6", "y = min(max(x, 0), 6) (Krizhevsky 2010).");
const LEAKY_RELU: LayerSpec = LayerSpec {
    keyword: "leaky_relu",
    doc: "y = x for x >= 0, slope * x below (Maas et al. 2013).",
    params: &[ParamDecl::positional("slope", Kind::Float, "0.01", "factor for negative inputs")],
};
const TANH: LayerSpec = plain("tanh", "y = tanh(x).");
const SIGMOID: LayerSpec = plain("sigmoid", "y = 1 / (1 + exp(-x)).");
const SILU: LayerSpec = plain("silu", "y = x * sigmoid(x), also called swish (Ramachandran et al. 2017).");
const HARD_SWISH: LayerSpec = plain("hard_swish", "y = x * min(max(x + 3, 0), 6) / 6 (Howard et al. 2019).");
const HARD_SIGMOID: LayerSpec = plain("hard_sigmoid", "y = min(max(x + 3, 0), 6) / 6 (Howard et al. 2019).");
const GELU: LayerSpec = plain("gelu", "y = x * (1 + erf(x / sqrt(2))) / 2 (Hendrycks and Gimpel 2016).");

impl Activation {
    pub(super) const ENTRIES: &[Entry] = &[
        Entry { spec: &RELU, make: |_| Ok(Op::Activation(Activation::Relu)) },
        Entry { spec: &RELU6, make: |_| Ok(Op::Activation(Activation::Relu6)) },
        Entry { spec: &LEAKY_RELU, make: |args| Activation::leaky_relu(args).map(Op::from) },
        Entry { spec: &TANH, make: |_| Ok(Op::Activation(Activation::Tanh)) },
        Entry { spec: &SIGMOID, make: |_| Ok(Op::Activation(Activation::Sigmoid)) },
        Entry { spec: &SILU, make: |_| Ok(Op::Activation(Activation::Silu)) },
        Entry { spec: &HARD_SWISH, make: |_| Ok(Op::Activation(Activation::HardSwish)) },
        Entry { spec: &HARD_SIGMOID, make: |_| Ok(Op::Activation(Activation::HardSigmoid)) },
        Entry { spec: &GELU, make: |_| Ok(Op::Activation(Activation::Gelu)) },
    ];

    fn leaky_relu(args: &Args) -> Result<Activation, ArgError> {
        let slope = args.float("slope") as f32;
        if !slope.is_finite() {
            return Err(ArgError::new("slope", "the slope does not fit in f32"));
        }
        Ok(Activation::LeakyRelu(slope))
    }

    /// The function itself, evaluated in f64 and rounded once. NaN gives NaN.
    pub fn apply(self, x: f32) -> f32 {
        self.evaluate(x.into()) as f32
    }

    /// By how much the function enlarges small differences at most: no less than its steepest slope.
    pub fn steepness(self) -> f32 {
        match self {
            Activation::LeakyRelu(slope) => slope.abs().max(1.0),
            Activation::HardSwish => 1.5,
            Activation::Gelu | Activation::Silu => 1.13,
            Activation::Relu | Activation::Relu6 | Activation::Tanh | Activation::Sigmoid | Activation::HardSigmoid => {
                1.0
            }
        }
    }

    /// The function itself, in f64.
    pub fn evaluate(self, x: f64) -> f64 {
        match self {
            Activation::Relu => clamp(x, 0.0, f64::INFINITY),
            Activation::Relu6 => clamp(x, 0.0, 6.0),
            Activation::LeakyRelu(slope) => {
                if x >= 0.0 {
                    x
                } else {
                    f64::from(slope) * x
                }
            }
            Activation::Tanh => x.tanh(),
            Activation::Sigmoid => 1.0 / (1.0 + (-x).exp()),
            Activation::Silu => x / (1.0 + (-x).exp()),
            Activation::HardSwish => x * clamp(x + 3.0, 0.0, 6.0) / 6.0,
            Activation::HardSigmoid => clamp(x + 3.0, 0.0, 6.0) / 6.0,
            // 1 + erf(y) would cancel for negative y.
            Activation::Gelu => 0.5 * x * libm::erfc(-x / std::f64::consts::SQRT_2),
        }
    }
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
            Activation::Tanh => &TANH,
            Activation::Sigmoid => &SIGMOID,
            Activation::Silu => &SILU,
            Activation::HardSwish => &HARD_SWISH,
            Activation::HardSigmoid => &HARD_SIGMOID,
            Activation::Gelu => &GELU,
        }
    }

    fn check(&self) -> Result<(), ShapeError> {
        match self {
            Activation::LeakyRelu(slope) => check_finite("the slope", f64::from(*slope)),
            _ => Ok(()),
        }
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        Ok(inputs[0].clone())
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        Tensor::new(inputs[0].shape(), inputs[0].data().iter().map(|&x| self.apply(x)).collect())
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Activation::LeakyRelu(slope) => write!(f, "leaky_relu {slope:?}"),
            other => f.write_str(other.spec().keyword),
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
    fn known_values() {
        let cases = [
            (Activation::Relu, -1.0, 0.0),
            (Activation::Relu6, 7.5, 6.0),
            (Activation::LeakyRelu(0.1), -2.0, -0.2),
            (Activation::Sigmoid, 0.0, 0.5),
            (Activation::Silu, 1.0, 0.731_058_6),
            (Activation::HardSwish, 1.0, 4.0 / 6.0),
            (Activation::HardSigmoid, -3.5, 0.0),
            (Activation::Gelu, 1.0, 0.841_344_7),
        ];
        for (activation, x, y) in cases {
            assert!((activation.apply(x) - y).abs() < 1e-6, "{activation}({x}) = {}", activation.apply(x));
            assert!(activation.apply(f32::NAN).is_nan(), "{activation}(NaN)");
        }
    }
}
