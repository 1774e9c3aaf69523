//! Normalisation of the channels at each position, or of other elements that belong together.

use super::moments::{EPS, affine_params, call_text, check_eps, eps, eps_text, normalised, normalised_magnitude};
use super::over::OVER;
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "layer_norm",
    doc: "y[i] = (x[i] - mean) / sqrt(variance + eps) * weight[i] + bias[i], with mean and variance over the channels, at \
          each position (Ba, Kiros and Hinton 2016; ConvNeXt's LayerNorm2d), or over what `over` says; there is a weight \
          for each element of that.",
    params: &[OVER, EPS, ParamDecl::named("affine", Kind::Bool, "true", "whether there are weights")],
};

/// `layer_norm over all, eps 1e-6`
#[derive(Clone, Debug, PartialEq)]
pub struct LayerNorm {
    pub over: Over,
    pub eps: f64,
    pub affine: bool,
}

impl LayerNorm {
    pub(super) const ENTRIES: &[Entry] = &[Entry {
        spec: &SPEC,
        make: |args| Ok(LayerNorm { over: Over::of(args), eps: eps(args)?, affine: args.flag("affine") }.into()),
    }];
}

impl Layer for LayerNorm {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        check_eps(self.eps)
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        self.over.range(&inputs[0].dims).map(|_| inputs[0].clone())
    }

    fn params(&self, inputs: &[&TensorType]) -> Vec<ParamSpec> {
        let dims = &inputs[0].dims;
        let range = self.over.range(dims).expect("the shape rule asked");
        affine_params(self.affine, &dims[range])
    }

    fn eval(&self, inputs: &[&Tensor], params: &[&[f32]], accumulate: Accumulate) -> Tensor {
        let runs = self.over.runs(&inputs[0].shape()[1..]);
        runs.map(inputs[0], |_, x| normalised(x, self.eps, params, |i| i, accumulate))
    }

    fn magnitude(&self, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
        let runs = self.over.runs(&inputs[0].shape()[1..]);
        runs.map(inputs[0], |_, x| normalised_magnitude(x, self.eps, params, |i| i))
    }
}

impl fmt::Display for LayerNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let affine = (!self.affine).then(|| "affine false".into());
        f.write_str(&call_text(SPEC.keyword, [self.over.text(), eps_text(self.eps), affine]))
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
    fn what_is_said_is_normalised() {
        let op = |over| make("layer_norm", &[("eps", ArgValue::Float(1.0)), ("over", ArgValue::Word(over))]);
        assert_eq!(text(&op("all")), "layer_norm over all, eps 1.0");
        // Means 2 and 10, variances 0 and 3; and the mean 6, the variance 17.5.
        let x = Tensor::new([1, 2, 4], vec![2.0, 2.0, 2.0, 2.0, 13.0, 9.0, 9.0, 9.0]);
        let y = eval(&op("width"), &[&x], &[&[1.0, 2.0, 1.0, 1.0], &[0.5, 0.0, 0.0, 0.0]]);
        assert_close(y.data(), &[0.5, 0.0, 0.0, 0.0, 2.0, -1.0, -0.5, -0.5]);
        let (weight, bias) = ([0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0], [7.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let y = eval(&op("all"), &[&x], &[&weight, &bias]);
        let of = |x: f32| (x - 6.0) / 18.5f32.sqrt();
        assert_close(y.data(), &[7.0, of(2.0), of(2.0), of(2.0), of(13.0), of(9.0), of(9.0), 2.0 * of(9.0)]);
        assert_eq!(param_dims(&op("all"), &[&[6, 3, 5]]), ["weight", "bias"].map(|role| (role, vec![6, 3, 5])));
        assert_eq!(param_dims(&op("positions"), &[&[6, 3, 5]]), ["weight", "bias"].map(|role| (role, vec![3, 5])));
    }

    #[test]
    fn options() {
        let op = make("layer_norm", &[]);
        assert_eq!(
            (text(&op), &op),
            ("layer_norm".into(), &LayerNorm { over: Over::Channels, eps: 1e-5, affine: true }.into())
        );
        assert_eq!(param_dims(&op, &[&[6, 3, 3]]), ["weight", "bias"].map(|role| (role, vec![6])));
        let op = make("layer_norm", &[("affine", ArgValue::Bool(false)), ("eps", ArgValue::Float(1e-6))]);
        assert_eq!(text(&op), "layer_norm eps 1e-6, affine false");
        assert_eq!(param_dims(&op, &[&[6]]), []);
        assert!(try_make("layer_norm", &[("eps", ArgValue::Float(-1.0))]).is_err());
    }
}
