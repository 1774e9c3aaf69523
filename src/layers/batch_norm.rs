//! Batch normalisation with the statistics of training.

use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "bn",
    doc: "Batch normalisation at inference: y[c] = (x[c] - running_mean[c]) / sqrt(running_var[c] + eps) * weight[c] + \
          bias[c] (Ioffe and Szegedy 2015).",
    params: &[ParamDecl::named("eps", Kind::Float, "1e-5", "what is added to the variance")],
};

/// `bn eps 1e-3`
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    pub eps: f64,
}

impl BatchNorm {
    pub(super) const ENTRIES: &[Entry] = &[Entry { spec: &SPEC, make: |args| BatchNorm::new(args).map(Op::from) }];

    fn new(args: &Args) -> Result<BatchNorm, ArgError> {
        let eps = args.float("eps");
        if eps < 0.0 {
            return Err(ArgError::new("eps", format!("eps is {eps:?}; it must not be negative")));
        }
        Ok(BatchNorm { eps })
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
        roles.map(|(role, init)| ParamSpec { role, dims: dims.clone(), fixed: None, init }).into()
    }

    fn eval(&self, inputs: &[&Tensor], params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        let &[weight, bias, mean, variance] = params else { unreachable!("four parameters") };
        let mut y = inputs[0].clone();
        for n in 0..y.batch() {
            for c in 0..y.channels() {
                let [weight, bias, mean, variance] = [weight, bias, mean, variance].map(|param| f64::from(param[c]));
                let deviation = (variance + self.eps).sqrt();
                for value in y.plane_mut(n, c) {
                    *value = ((f64::from(*value) - mean) / deviation * weight + bias) as f32;
                }
            }
        }
        y
    }

    /// x * scale + (bias - mean * scale)
    fn magnitude(&self, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
        let &[weight, bias, mean, variance] = params else { unreachable!("four parameters") };
        let mut y = inputs[0].clone();
        for n in 0..y.batch() {
            for c in 0..y.channels() {
                let [weight, bias, mean, variance] = [weight, bias, mean, variance].map(|param| f64::from(param[c]));
                let scale = weight.abs() / (variance + self.eps).sqrt();
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
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn defaults() {
        let op = make("bn", &[]);
        assert_eq!(op, Op::from(BatchNorm { eps: 1e-5 }));
        assert_eq!(
            (text(&op), text(&make("bn", &[("eps", ArgValue::Float(1e-3))]))),
            ("bn".into(), "bn eps 0.001".into())
        );
        let roles: Vec<_> = param_dims(&op, &[&[4, 3, 3]]);
        assert_eq!(roles, ["weight", "bias", "running_mean", "running_var"].map(|role| (role, vec![4])));
        assert!(try_make("bn", &[("eps", ArgValue::Float(-1.0))]).is_err());
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
