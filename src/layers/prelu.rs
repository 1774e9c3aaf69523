//! A rectifier whose slopes are learnt.

use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "prelu",
    doc: "y[c] = x[c] for x[c] >= 0, weight[c] * x[c] below (He et al. 2015); `leaky_relu` has a slope that is given.",
    params: &[ParamDecl::named("shared", Kind::Bool, "false", "one weight for all channels")],
};

/// `prelu shared`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PRelu {
    pub shared: bool,
}

impl PRelu {
    pub(super) const ENTRIES: &[Entry] =
        &[Entry { spec: &SPEC, make: |args| Ok(PRelu { shared: args.flag("shared") }.into()) }];
}

impl Layer for PRelu {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        Ok(inputs[0].clone())
    }

    fn params(&self, inputs: &[&TensorType]) -> Vec<ParamSpec> {
        let slopes = if self.shared { 1 } else { inputs[0].channels() };
        vec![ParamSpec { role: "weight", dims: vec![slopes], fixed: None, init: Init::Small }]
    }

    fn eval(&self, inputs: &[&Tensor], params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        let mut y = inputs[0].clone();
        for n in 0..y.batch() {
            for c in 0..y.channels() {
                let slope = params[0][if self.shared { 0 } else { c }];
                y.plane_mut(n, c).iter_mut().filter(|x| **x < 0.0).for_each(|x| *x *= slope);
            }
        }
        y
    }
}

impl fmt::Display for PRelu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.shared { "prelu shared" } else { "prelu" })
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn slopes_below_0() {
        let x = Tensor::new([1, 2, 2], vec![-1.0, 2.0, -3.0, f32::NAN]);
        let own = make("prelu", &[]);
        assert_eq!((text(&own), param_dims(&own, &[&[2, 2]])), ("prelu".into(), vec![("weight", vec![2])]));
        assert_close(eval(&own, &[&x], &[&[0.5, -1.0]]).data(), &[-0.5, 2.0, 3.0, f32::NAN]);
        let shared = make("prelu", &[("shared", ArgValue::Bool(true))]);
        assert_eq!(
            (text(&shared), param_dims(&shared, &[&[2, 2]])),
            ("prelu shared".into(), vec![("weight", vec![1])])
        );
        assert_close(eval(&shared, &[&x], &[&[0.5]]).data(), &[-0.5, 2.0, -1.5, f32::NAN]);
    }
}
