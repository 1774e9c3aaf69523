//! Normalisation of each channel of each sample.

use super::moments::{EPS, affine_params, call_text, check_eps, eps, eps_text, normalised, normalised_magnitude};
use super::window::flat_error;
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "instance_norm",
    doc: "y[c] = (x[c] - mean[c]) / sqrt(variance[c] + eps) * weight[c] + bias[c], with mean and variance over the \
          positions of each channel of each sample (Ulyanov, Vedaldi and Lempitsky 2016).",
    params: &[EPS, ParamDecl::named("affine", Kind::Bool, "false", "whether there are weights")],
};

/// `instance_norm affine`
#[derive(Clone, Debug, PartialEq)]
pub struct InstanceNorm {
    pub eps: f64,
    pub affine: bool,
}

impl InstanceNorm {
    pub(super) const ENTRIES: &[Entry] =
        &[Entry { spec: &SPEC, make: |args| Ok(InstanceNorm { eps: eps(args)?, affine: args.flag("affine") }.into()) }];
}

impl Layer for InstanceNorm {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        check_eps(self.eps)
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        if inputs[0].spatial().is_empty() { Err(flat_error()) } else { Ok(inputs[0].clone()) }
    }

    fn params(&self, inputs: &[&TensorType]) -> Vec<ParamSpec> {
        affine_params(self.affine, &[inputs[0].channels()])
    }

    fn eval(&self, inputs: &[&Tensor], params: &[&[f32]], accumulate: Accumulate) -> Tensor {
        let runs = Over::Positions.runs(&inputs[0].shape()[1..]);
        runs.map(inputs[0], |c, x| normalised(x, self.eps, params, |_| c, accumulate))
    }

    fn magnitude(&self, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
        let runs = Over::Positions.runs(&inputs[0].shape()[1..]);
        runs.map(inputs[0], |c, x| normalised_magnitude(x, self.eps, params, |_| c))
    }
}

impl fmt::Display for InstanceNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let affine = self.affine.then(|| "affine".into());
        f.write_str(&call_text(SPEC.keyword, [eps_text(self.eps), affine]))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn each_plane_is_normalised() {
        let op = make("instance_norm", &[("eps", ArgValue::Float(1.0)), ("affine", ArgValue::Bool(true))]);
        assert_eq!(text(&op), "instance_norm eps 1.0, affine");
        // Means 2 and 10, variances 0 and 3.
        let x = Tensor::new([1, 2, 4], vec![2.0, 2.0, 2.0, 2.0, 13.0, 9.0, 9.0, 9.0]);
        let y = eval(&op, &[&x], &[&[1.0, 2.0], &[0.5, 0.0]]);
        assert_close(y.data(), &[0.5, 0.5, 0.5, 0.5, 3.0, -1.0, -1.0, -1.0]);
    }

    #[test]
    fn options() {
        let op = make("instance_norm", &[]);
        assert_eq!((text(&op), &op), ("instance_norm".into(), &InstanceNorm { eps: 1e-5, affine: false }.into()));
        assert_eq!(param_dims(&op, &[&[6, 3]]), []);
        assert_eq!(shape(&op, &[&[6]]), Err("E0301"));
    }
}
