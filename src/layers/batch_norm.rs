//! Batch normalisation with the statistics of training.

use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "bn",
    doc: "Batch normalisation at inference: y[c] = (x[c] - running_mean[c]) / sqrt(running_var[c] + eps) * weight[c] + \
          bias[c] (Ioffe and Szegedy 2015).",
    params: &[
        ParamDecl::named("eps", Kind::Float, "1e-5", "what is added to the variance"),
        ParamDecl::named("affine", Kind::Bool, "true", "has a weight and a bias; without them they are 1 and 0"),
    ],
};

/// `bn eps 1e-3`
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    pub eps: f64,
    /// Has a weight and a bias.
    pub affine: bool,
}

impl BatchNorm {
    pub(super) const ENTRIES: &[Entry] = &[Entry { spec: &SPEC, make: |args| BatchNorm::new(args).map(Op::from) }];

    fn new(args: &Args) -> Result<BatchNorm, ArgError> {
        let eps = args.float("eps");
        if eps < 0.0 {
            return Err(ArgError::new("eps", format!("eps is {eps:?}; it must not be negative")));
        }
        Ok(BatchNorm { eps, affine: args.flag("affine") })
    }

    /// Of one channel: weight, bias, mean and 1 / sqrt(variance + eps).
    fn of_channel(&self, params: &[&[f32]], c: usize) -> [f64; 4] {
        let (affine, statistics) = params.split_at(params.len() - 2);
        let [weight, bias] = [(0, 1.0), (1, 0.0)].map(|(i, none)| affine.get(i).map_or(none, |p| f64::from(p[c])));
        let [mean, variance] = [0, 1].map(|i| f64::from(statistics[i][c]));
        [weight, bias, mean, (variance + self.eps).sqrt()]
    }
}

impl Layer for BatchNorm {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        check_finite("eps", self.eps)?;
        match self.eps < 0.0 {
            true => Err(ShapeError::new("E0216", format!("eps is {:?}; it must not be negative", self.eps))),
            false => Ok(()),
        }
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        Ok(inputs[0].clone())
    }

    fn params(&self, inputs: &[&TensorType]) -> Vec<ParamSpec> {
        let roles = [
            ("weight", Init::NearOne),
            ("bias", Init::Small),
            ("running_mean", Init::Small),
            ("running_var", Init::NearOne),
        ];
        let dims = vec![inputs[0].channels()];
        let first = if self.affine { 0 } else { 2 };
        roles.map(|(role, init)| ParamSpec { role, dims: dims.clone(), fixed: None, init })[first..].into()
    }

    fn eval(&self, inputs: &[&Tensor], params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        let mut y = inputs[0].clone();
        for n in 0..y.batch() {
            for c in 0..y.channels() {
                let [weight, bias, mean, deviation] = self.of_channel(params, c);
                for value in y.plane_mut(n, c) {
                    *value = ((f64::from(*value) - mean) / deviation * weight + bias) as f32;
                }
            }
        }
        y
    }

    /// x * scale + (bias - mean * scale)
    fn magnitude(&self, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
        let mut y = inputs[0].clone();
        for n in 0..y.batch() {
            for c in 0..y.channels() {
                let [weight, bias, mean, deviation] = self.of_channel(params, c);
                let scale = weight.abs() / deviation;
                let terms = |x: f32| (f64::from(x).abs() + mean.abs()) * scale + bias.abs();
                y.plane_mut(n, c).iter_mut().for_each(|value| *value = terms(*value) as f32);
            }
        }
        y
    }
}

impl fmt::Display for BatchNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bn")?;
        if self.eps != 1e-5 {
            write!(f, " eps {:?}", self.eps)?;
        }
        match (self.affine, self.eps != 1e-5) {
            (true, _) => Ok(()),
            (false, with_eps) => write!(f, "{} affine false", if with_eps { "," } else { "" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn defaults() {
        let op = make("bn", &[]);
        assert_eq!(op, Op::from(BatchNorm { eps: 1e-5, affine: true }));
        assert_eq!(
            (text(&op), text(&make("bn", &[("eps", ArgValue::Float(1e-3))]))),
            ("bn".into(), "bn eps 0.001".into())
        );
        let roles: Vec<_> = param_dims(&op, &[&[4, 3, 3]]);
        assert_eq!(roles, ["weight", "bias", "running_mean", "running_var"].map(|role| (role, vec![4])));
        assert!(try_make("bn", &[("eps", ArgValue::Float(-1.0))]).is_err());
    }

    #[test]
    fn without_weight_and_bias() {
        let op = make("bn", &[("eps", ArgValue::Float(1.0)), ("affine", ArgValue::Bool(false))]);
        assert_eq!(text(&op), "bn eps 1.0, affine false");
        assert_eq!(text(&make("bn", &[("affine", ArgValue::Bool(false))])), "bn affine false");
        assert_eq!(param_dims(&op, &[&[2, 1]]), ["running_mean", "running_var"].map(|role| (role, vec![2])));
        let x = Tensor::new([1, 2, 1], vec![5.0, 1.0]);
        assert_eq!(eval(&op, &[&x], &[&[1.0, 2.0], &[3.0, 0.0]]).data(), [2.0, -1.0]);
    }

    #[test]
    fn normalises_each_channel() {
        let op = make("bn", &[("eps", ArgValue::Float(1.0))]);
        let x = Tensor::new([2, 2, 1], vec![5.0, 1.0, 7.0, 2.0]);
        let params: [&[f32]; 4] = [&[2.0, 1.0], &[0.5, 0.0], &[1.0, 2.0], &[3.0, 0.0]];
        assert_eq!(eval(&op, &[&x], &params).data(), [4.5, -1.0, 6.5, 0.0]);
        assert_eq!(shape(&op, &[&[2]]), Ok(vec![2]));
    }
}
