//! Normalisation of each channel of each sample.

use super::moments::{EPS, affine, affine_params, check_eps, eps, moments};
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

    /// Each plane of x, with its channel, as `f` has it.
    fn map_planes(x: &Tensor, f: impl Fn(usize, &[f32]) -> Vec<f32>) -> Tensor {
        let mut y = x.clone();
        for n in 0..x.batch() {
            (0..x.channels()).for_each(|c| y.plane_mut(n, c).copy_from_slice(&f(c, x.plane(n, c))));
        }
        y
    }
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
        affine_params(self.affine, inputs[0].channels())
    }

    fn eval(&self, inputs: &[&Tensor], params: &[&[f32]], accumulate: Accumulate) -> Tensor {
        InstanceNorm::map_planes(inputs[0], |c, x| {
            let ((mean, deviation), (weight, bias)) = (moments(x, self.eps, accumulate), affine(params, c));
            x.iter().map(|&x| ((f64::from(x) - mean) / deviation * weight + bias) as f32).collect()
        })
    }

    /// As of `layer_norm`.
    fn magnitude(&self, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
        InstanceNorm::map_planes(inputs[0], |c, x| {
            let ((_, deviation), (weight, bias)) = (moments(x, self.eps, Accumulate::F64), affine(params, c));
            let mean = x.iter().map(|&x| f64::from(x.abs())).sum::<f64>() / x.len() as f64;
            x.iter().map(|&x| ((f64::from(x).abs() + mean) / deviation * weight.abs() + bias.abs()) as f32).collect()
        })
    }
}

impl fmt::Display for InstanceNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let eps = if self.eps == 1e-5 { String::new() } else { format!("eps {:?}", self.eps) };
        let affine = if self.affine { "affine" } else { "" };
        let options: Vec<&str> = [&eps[..], affine].into_iter().filter(|option| !option.is_empty()).collect();
        write!(f, "instance_norm{}{}", if options.is_empty() { "" } else { " " }, options.join(", "))
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
