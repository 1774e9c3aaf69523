//! Fully connected layer.

use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "dense",
    doc: "Fully connected layer: y[o] = bias[o] + sum over i of weight[o, i] * x[i]. The input must be flat, or all \
          its spatial sizes 1, as `global_avgpool` leaves them.",
    params: &[
        ParamDecl::required("features", Kind::Int, "output features"),
        ParamDecl::named("bias", Kind::Bool, "true", "add a bias to each output feature"),
    ],
};

/// `dense 120`: [N, C] or [N, C, 1, 1] to [N, features]
#[derive(Clone, Debug, PartialEq)]
pub struct Dense {
    pub features: usize,
    pub bias: bool,
    /// The input may have any spatial sizes and counts as flattened. Not part of the language: `flatten` before a
    /// dense layer is fused into it.
    pub flatten: bool,
}

impl Dense {
    pub(super) const ENTRIES: &[Entry] = &[Entry {
        spec: &SPEC,
        make: |args| Ok(Dense { features: args.int("features"), bias: args.flag("bias"), flatten: false }.into()),
    }];
}

impl Layer for Dense {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        check_size("the number of output features", self.features)
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let input = inputs[0];
        if !self.flatten && input.spatial().iter().any(|&size| size != 1) {
            let message = format!("a dense layer needs a flat input, this one is {input}");
            let help = "add `flatten` before it, or `global_avgpool` to average over the positions";
            return Err(ShapeError::new("E0305", message)
                .help(help)
                .changes([Change::Before("flatten"), Change::Before("global_avgpool")]));
        }
        checked_product(input.dims.iter().chain([&self.features]), "the weights")?;
        Ok(input.with_dims([self.features]))
    }

    fn params(&self, inputs: &[&TensorType]) -> Vec<ParamSpec> {
        let input = inputs[0].elements();
        let (dims, init) = (vec![self.features, input], Init::FanIn(input));
        let mut params = vec![ParamSpec { role: "weight", dims, fixed: None, init }];
        if self.bias {
            params.push(ParamSpec { role: "bias", dims: vec![self.features], fixed: None, init: Init::Small });
        }
        params
    }

    fn eval(&self, inputs: &[&Tensor], params: &[&[f32]], accumulate: Accumulate) -> Tensor {
        let (weight, bias) = (params[0], params.get(1));
        let input: usize = inputs[0].shape()[1..].iter().product();
        let mut y = Vec::new();
        for x in inputs[0].data().chunks(input) {
            for (o, row) in weight.chunks(input).enumerate() {
                y.push(accumulate.dot(bias.map_or(0.0, |b| b[o]), row, x));
            }
        }
        Tensor::new([inputs[0].batch(), self.features], y)
    }

    fn magnitude(&self, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
        magnitude_of_sums(self, inputs, params)
    }

    fn macs(&self, inputs: &[&TensorType]) -> u64 {
        (self.features as u64).saturating_mul(inputs[0].elements() as u64)
    }
}

impl fmt::Display for Dense {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.flatten {
            f.write_str("flatten | ")?;
        }
        write!(f, "dense {}", self.features)?;
        if !self.bias {
            f.write_str(", bias false")?;
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
        let op = make("dense", &[("features", int(3))]);
        assert_eq!(op, Op::from(Dense { features: 3, bias: true, flatten: false }));
        assert_eq!(text(&op), "dense 3");
        assert_eq!(param_dims(&op, &[&[5]]), [("weight", vec![3, 5]), ("bias", vec![3])]);
        assert_eq!(op.layer().unwrap().macs(&[&ty(&[5])]), 15);
        assert_eq!(
            text(&make("dense", &[("features", int(3)), ("bias", ArgValue::Bool(false))])),
            "dense 3, bias false"
        );
    }

    #[test]
    fn takes_flat_inputs_only() {
        let op = make("dense", &[("features", int(3))]);
        assert_eq!(shape(&op, &[&[5]]), Ok(vec![3]));
        assert_eq!(shape(&op, &[&[5, 1, 1]]), Ok(vec![3]));
        assert_eq!(shape(&op, &[&[16, 5, 5]]), Err("E0305"));
        let error = op.layer().unwrap().shape(&[&ty(&[16, 5, 5])]).unwrap_err();
        assert!(error.help.unwrap().starts_with("add `flatten`"));
    }

    #[test]
    fn flattens_on_demand() {
        let op = Op::from(Dense { features: 1, bias: true, flatten: true });
        assert_eq!(text(&op), "flatten | dense 1");
        let x = Tensor::new([2, 2, 2], (1..=8).map(|v| v as f32).collect());
        let y = eval(&op, &[&x], &[&[1.0, 10.0, 100.0, 1000.0], &[0.5]]);
        assert_eq!((y.shape(), y.data()), (&[2, 1][..], &[4321.5, 8765.5][..]));
        assert_eq!(shape(&op, &[&[1 << 30, 1 << 30]]), Err("E0303"));
    }

    #[test]
    fn weights_are_rows_of_outputs() {
        let op = make("dense", &[("features", int(2)), ("bias", ArgValue::Bool(false))]);
        let y = eval(&op, &[&Tensor::new([1, 2], vec![1.0, 10.0])], &[&[1.0, 2.0, 3.0, 4.0]]);
        assert_eq!(y.data(), [21.0, 43.0]);
        assert_eq!(shape(&op, &[&[usize::MAX]]), Err("E0303"));
    }
}
