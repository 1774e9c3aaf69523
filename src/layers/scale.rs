//! A factor for each channel, perhaps with a summand.

use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "scale",
    doc: "y[c] = x[c] * weight[c], with `bias` + bias[c]: two numbers for each channel. `affine` has two for all of them.",
    params: &[ParamDecl::named("bias", Kind::Bool, "false", "add a bias to each channel")],
};

/// `scale bias`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    pub bias: bool,
}

impl Scale {
    pub(super) const ENTRIES: &[Entry] =
        &[Entry { spec: &SPEC, make: |args| Ok(Scale { bias: args.flag("bias") }.into()) }];
}

impl Layer for Scale {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        Ok(inputs[0].clone())
    }

    fn params(&self, inputs: &[&TensorType]) -> Vec<ParamSpec> {
        let param = |role, init| ParamSpec { role, dims: vec![inputs[0].channels()], fixed: None, init };
        let bias = self.bias.then(|| param("bias", Init::Small));
        [param("weight", Init::NearOne)].into_iter().chain(bias).collect()
    }

    fn eval(&self, inputs: &[&Tensor], params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        let mut y = inputs[0].clone();
        for n in 0..y.batch() {
            for c in 0..y.channels() {
                let (weight, bias) = (f64::from(params[0][c]), params.get(1).map_or(0.0, |bias| f64::from(bias[c])));
                y.plane_mut(n, c).iter_mut().for_each(|x| *x = (f64::from(*x) * weight + bias) as f32);
            }
        }
        y
    }

    fn magnitude(&self, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
        magnitude_of_sums(self, inputs, params)
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.bias { "scale bias" } else { "scale" })
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn each_channel_has_its_own() {
        let x = Tensor::new([1, 2, 2], vec![1.0, 2.0, 3.0, 4.0]);
        let plain = make("scale", &[]);
        assert_eq!((text(&plain), param_dims(&plain, &[&[2, 2]])), ("scale".into(), vec![("weight", vec![2])]));
        assert_eq!(eval(&plain, &[&x], &[&[2.0, -1.0]]).data(), [2.0, 4.0, -3.0, -4.0]);
        let biased = make("scale", &[("bias", ArgValue::Bool(true))]);
        assert_eq!(text(&biased), "scale bias");
        assert_eq!(eval(&biased, &[&x], &[&[2.0, -1.0], &[0.5, 1.0]]).data(), [2.5, 4.5, -2.0, -3.0]);
        assert_eq!(shape(&biased, &[&[2, 2]]), Ok(vec![2, 2]));
    }
}
