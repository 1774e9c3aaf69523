//! Normalisation of groups of channels of each sample.

use super::moments::{EPS, affine_params, call_text, check_eps, eps, eps_text, normalised, normalised_magnitude};
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "group_norm",
    doc: "y[c] = (x[c] - mean) / sqrt(variance + eps) * weight[c] + bias[c], with mean and variance over all positions of \
          the channels of each group, of each sample (Wu and He 2018).",
    params: &[
        ParamDecl::required("groups", Kind::Int, "into how many groups the channels are divided"),
        EPS,
        ParamDecl::named("affine", Kind::Bool, "true", "whether there are weights"),
    ],
};

/// `group_norm 32`
#[derive(Clone, Debug, PartialEq)]
pub struct GroupNorm {
    pub groups: usize,
    pub eps: f64,
    pub affine: bool,
}

impl GroupNorm {
    pub(super) const ENTRIES: &[Entry] = &[Entry {
        spec: &SPEC,
        make: |args| Ok(GroupNorm { groups: args.int("groups"), eps: eps(args)?, affine: args.flag("affine") }.into()),
    }];

    fn runs(&self, x: &Tensor) -> Runs {
        Runs { outer: self.groups, count: x.shape()[1..].iter().product::<usize>() / self.groups, inner: 1 }
    }
}

impl Layer for GroupNorm {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        check_size("the number of groups", self.groups)?;
        check_eps(self.eps)
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        let channels = inputs[0].channels();
        if !channels.is_multiple_of(self.groups) {
            let message = format!("{channels} channels do not divide into {} groups", self.groups);
            return Err(ShapeError::new("E0304", message).param("groups"));
        }
        Ok(inputs[0].clone())
    }

    fn params(&self, inputs: &[&TensorType]) -> Vec<ParamSpec> {
        affine_params(self.affine, &[inputs[0].channels()])
    }

    fn eval(&self, inputs: &[&Tensor], params: &[&[f32]], accumulate: Accumulate) -> Tensor {
        let (runs, each) = (self.runs(inputs[0]), inputs[0].channels() / self.groups);
        let channel = |group: usize, i: usize| group * each + i / (runs.count / each);
        runs.map(inputs[0], |group, x| normalised(x, self.eps, params, |i| channel(group, i), accumulate))
    }

    fn magnitude(&self, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
        let (runs, each) = (self.runs(inputs[0]), inputs[0].channels() / self.groups);
        let channel = |group: usize, i: usize| group * each + i / (runs.count / each);
        runs.map(inputs[0], |group, x| normalised_magnitude(x, self.eps, params, |i| channel(group, i)))
    }
}

impl fmt::Display for GroupNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let affine = (!self.affine).then(|| "affine false".into());
        let options = [Some(self.groups.to_string()), eps_text(self.eps), affine];
        f.write_str(&call_text(SPEC.keyword, options))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn each_group_is_normalised() {
        let op = make("group_norm", &[("groups", int(2)), ("eps", ArgValue::Float(1.0))]);
        assert_eq!(text(&op), "group_norm 2, eps 1.0");
        // Means 2 and 10, variances 0 and 3.
        let x = Tensor::new([1, 4, 2], vec![2.0, 2.0, 2.0, 2.0, 13.0, 9.0, 9.0, 9.0]);
        let y = eval(&op, &[&x], &[&[1.0, 1.0, 2.0, 4.0], &[0.5, 0.0, 0.0, 0.0]]);
        assert_close(y.data(), &[0.5, 0.5, 0.0, 0.0, 3.0, -1.0, -2.0, -2.0]);
    }

    #[test]
    fn options() {
        let op = make("group_norm", &[("groups", int(3))]);
        assert_eq!((text(&op), &op), ("group_norm 3".into(), &GroupNorm { groups: 3, eps: 1e-5, affine: true }.into()));
        assert_eq!(param_dims(&op, &[&[6, 3, 5]]), ["weight", "bias"].map(|role| (role, vec![6])));
        assert_eq!((shape(&op, &[&[6]]), shape(&op, &[&[7, 3]])), (Ok(vec![6]), Err("E0304")));
    }
}
