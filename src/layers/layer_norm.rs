//! Normalisation of the channels at each position.

use super::moments::{EPS, affine, affine_params, check_eps, eps, moments};
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "layer_norm",
    doc: "y[c] = (x[c] - mean) / sqrt(variance + eps) * weight[c] + bias[c], with mean and variance over the channels, at \
          each position (Ba, Kiros and Hinton 2016; ConvNeXt's LayerNorm2d).",
    params: &[EPS, ParamDecl::named("affine", Kind::Bool, "true", "whether there are weights")],
};

/// `layer_norm eps 1e-6`
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    pub eps: f64,
    pub affine: bool,
}

impl LayerNorm {
    pub(super) const ENTRIES: &[Entry] =
        &[Entry { spec: &SPEC, make: |args| Ok(LayerNorm { eps: eps(args)?, affine: args.flag("affine") }.into()) }];
}

impl Layer for LayerNorm {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        check_eps(self.eps)
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        Ok(inputs[0].clone())
    }

    fn params(&self, inputs: &[&TensorType]) -> Vec<ParamSpec> {
        affine_params(self.affine, inputs[0].channels())
    }

    fn eval(&self, inputs: &[&Tensor], params: &[&[f32]], accumulate: Accumulate) -> Tensor {
        map_channels(inputs[0], |x| {
            let (mean, deviation) = moments(x, self.eps, accumulate);
            let of_channel = |(c, &x): (usize, &f32)| {
                let (weight, bias) = affine(params, c);
                ((f64::from(x) - mean) / deviation * weight + bias) as f32
            };
            x.iter().enumerate().map(of_channel).collect()
        })
    }

    /// x * scale + (bias - mean * scale), where the mean is a sum as well.
    fn magnitude(&self, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
        map_channels(inputs[0], |x| {
            let (_, deviation) = moments(x, self.eps, Accumulate::F64);
            let mean = x.iter().map(|&x| f64::from(x.abs())).sum::<f64>() / x.len() as f64;
            let of_channel = |(c, &x): (usize, &f32)| {
                let (weight, bias) = affine(params, c);
                ((f64::from(x).abs() + mean) / deviation * weight.abs() + bias.abs()) as f32
            };
            x.iter().enumerate().map(of_channel).collect()
        })
    }
}

impl fmt::Display for LayerNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let eps = if self.eps == 1e-5 { String::new() } else { format!("eps {:?}", self.eps) };
        let affine = if self.affine { "" } else { "affine false" };
        let options: Vec<&str> = [&eps[..], affine].into_iter().filter(|option| !option.is_empty()).collect();
        write!(f, "layer_norm{}{}", if options.is_empty() { "" } else { " " }, options.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn each_position_is_normalised() {
        let op = make("layer_norm", &[("eps", ArgValue::Float(1.0))]);
        // Means 2 and 10, variances 0 and 3.
        let x = Tensor::new([1, 4, 2], vec![2.0, 13.0, 2.0, 9.0, 2.0, 9.0, 2.0, 9.0]);
        let y = eval(&op, &[&x], &[&[2.0, 2.0, 1.0, 1.0], &[0.5, 0.0, 0.0, 0.0]]);
        assert_close(y.data(), &[0.5, 3.5, 0.0, -1.0, 0.0, -0.5, 0.0, -0.5]);
    }

    #[test]
    fn options() {
        let op = make("layer_norm", &[]);
        assert_eq!((text(&op), &op), ("layer_norm".into(), &LayerNorm { eps: 1e-5, affine: true }.into()));
        assert_eq!(param_dims(&op, &[&[6, 3, 3]]), ["weight", "bias"].map(|role| (role, vec![6])));
        let op = make("layer_norm", &[("affine", ArgValue::Bool(false)), ("eps", ArgValue::Float(1e-6))]);
        assert_eq!(text(&op), "layer_norm eps 1e-6, affine false");
        assert_eq!(param_dims(&op, &[&[6]]), []);
        assert!(try_make("layer_norm", &[("eps", ArgValue::Float(-1.0))]).is_err());
    }
}
