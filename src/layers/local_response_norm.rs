//! Local response normalisation across channels.

use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "lrn",
    doc: "Local response normalisation: y[c] = x[c] / (k + alpha / size * s)^beta with s the sum of x[i]^2 over the \
          `size` channels i around c, from c - floor(size / 2) on (as in PyTorch and Caffe). AlexNet's paper \
          (Krizhevsky et al. 2012, section 3.3) has k = 2, n = 5 and an alpha of 1e-4 that is not divided by n: \
          `lrn 5, alpha 5e-4, k 2`.",
    params: &[
        ParamDecl::required("size", Kind::Int, "channels of the window"),
        ParamDecl::named("alpha", Kind::Float, "1e-4", "factor of the mean square"),
        ParamDecl::named("beta", Kind::Float, "0.75", "exponent"),
        ParamDecl::named("k", Kind::Float, "1.0", "summand"),
    ],
};

/// `lrn 5, alpha 5e-4, k 2`
#[derive(Clone, Debug, PartialEq)]
pub struct LocalResponseNorm {
    pub size: usize,
    pub alpha: f64,
    pub beta: f64,
    pub k: f64,
}

impl LocalResponseNorm {
    pub(super) const ENTRIES: &[Entry] = &[Entry {
        spec: &SPEC,
        make: |args| {
            let [alpha, beta, k] = ["alpha", "beta", "k"].map(|name| args.float(name));
            Ok(LocalResponseNorm { size: args.int("size"), alpha, beta, k }.into())
        },
    }];
}

impl Layer for LocalResponseNorm {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        // Any number above that of the channels is as good.
        check_size("the number of channels", self.size.min(MAX_ELEMENTS))?;
        [self.alpha, self.beta, self.k]
            .into_iter()
            .try_for_each(|number| check_finite("a factor or summand", number))?;
        // The power of a number that is not above 0 is a matter of taste, and powers differ in it.
        if self.alpha < 0.0 || (self.k as f32) < f32::MIN_POSITIVE {
            let message = "what is raised to `beta` must be above 0: `alpha` at least 0, `k` above it";
            return Err(ShapeError::new("E0216", message));
        }
        Ok(())
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        Ok(inputs[0].clone())
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], accumulate: Accumulate) -> Tensor {
        let (front, back) = (self.size / 2, (self.size - 1) / 2);
        map_channels(inputs[0], |x| {
            let normalise = |c: usize| {
                let window = &x[c.saturating_sub(front)..c.saturating_add(back).saturating_add(1).min(x.len())];
                let squares = f64::from(accumulate.dot(0.0, window, window));
                (f64::from(x[c]) / (self.k + self.alpha / self.size as f64 * squares).powf(self.beta)) as f32
            };
            (0..x.len()).map(normalise).collect()
        })
    }
}

impl fmt::Display for LocalResponseNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lrn {}", self.size)?;
        for (name, value, default) in [("alpha", self.alpha, 1e-4), ("beta", self.beta, 0.75), ("k", self.k, 1.0)] {
            if value != default {
                write!(f, ", {name} {value:?}")?;
            }
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
        let op = make("lrn", &[("size", int(5))]);
        assert_eq!(op, Op::from(LocalResponseNorm { size: 5, alpha: 1e-4, beta: 0.75, k: 1.0 }));
        assert_eq!(text(&op), "lrn 5");
        let paper = make("lrn", &[("size", int(5)), ("alpha", ArgValue::Float(5e-4)), ("k", ArgValue::Float(2.0))]);
        assert_eq!(text(&paper), "lrn 5, alpha 0.0005, k 2.0");
        assert_eq!(shape(&op, &[&[3, 4, 4]]), Ok(vec![3, 4, 4]));
    }

    #[test]
    fn what_is_raised_to_a_power_is_above_0() {
        let lrn = |k, alpha| Op::from(LocalResponseNorm { size: 3, alpha, beta: 0.5, k });
        for op in [lrn(0.0, 1.0), lrn(-1.0, 1.0), lrn(1e-40, 1.0), lrn(1.0, -1.0)] {
            assert_eq!(shape(&op, &[&[3, 4, 4]]), Err("E0216"), "{}", text(&op));
        }
    }

    /// An even window has one more channel in front.
    #[test]
    fn windows_over_channels() {
        let given = |size| {
            let one = |name| (name, ArgValue::Float(1.0));
            make("lrn", &[("size", int(size)), ("alpha", ArgValue::Float(size as f64)), one("beta"), one("k")])
        };
        let x = Tensor::new([1, 3, 1], vec![1.0, 2.0, 3.0]);
        assert_close(eval(&given(3), &[&x], &[]).data(), &[1.0 / 6.0, 2.0 / 15.0, 3.0 / 14.0]);
        assert_close(eval(&given(2), &[&x], &[]).data(), &[1.0 / 2.0, 2.0 / 6.0, 3.0 / 14.0]);
        assert_close(eval(&given(usize::MAX), &[&x], &[]).data(), &[1.0 / 15.0, 2.0 / 15.0, 3.0 / 15.0]);
    }
}
