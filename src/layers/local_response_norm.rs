//! Local response normalisation across channels.

use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "lrn",
    doc: "Local response normalisation: y[c] = x[c] / (k + alpha / size * s)^beta with s the sum of x[i]^2 over the \
          `size` channels i around c. AlexNet's paper (Krizhevsky et al. 2012, section 3.3) has k = 2, n = 5 and an \
          alpha of 1e-4 that is not divided by n: `lrn 5, alpha 5e-4, k 2`. A window of an even size has one more channel \
          in front of c (as in PyTorch and Caffe), or with `longer back` behind it (as in ONNX). The sum is one in f32: \
          infinite, so that y is 0, where some x is above 1.8e19.",
    params: &[
        ParamDecl::required("size", Kind::Int, "channels of the window"),
        ParamDecl::named("alpha", Kind::Float, "1e-4", "factor of the mean square"),
        ParamDecl::named("beta", Kind::Float, "0.75", "exponent"),
        ParamDecl::named("k", Kind::Float, "1.0", "summand"),
        ParamDecl::named(
            "longer",
            Kind::Word(&["front", "back"]),
            "front",
            "on which side of c an even window has one channel more",
        ),
    ],
};

/// `lrn 5, alpha 5e-4, k 2`
#[derive(Clone, Debug, PartialEq)]
pub struct LocalResponseNorm {
    pub size: usize,
    pub alpha: f64,
    pub beta: f64,
    pub k: f64,
    /// Of an even window; of an odd one it is the default.
    pub longer: Side,
}

/// Channels before another, or behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Side {
    #[default]
    Front,
    Back,
}

impl LocalResponseNorm {
    pub(super) const ENTRIES: &[Entry] =
        &[Entry { spec: &SPEC, make: |args| LocalResponseNorm::new(args).map(Op::from) }];

    fn new(args: &Args) -> Result<LocalResponseNorm, ArgError> {
        let [alpha, beta, k] = ["alpha", "beta", "k"].map(|name| args.float(name));
        let (size, longer) = (args.int("size"), if args.word("longer") == "back" { Side::Back } else { Side::Front });
        let lrn = LocalResponseNorm { size, alpha, beta, k, longer };
        lrn.check_longer().map_err(|message| ArgError::new("longer", message))?;
        Ok(lrn)
    }

    /// An odd window is as long on both sides.
    fn check_longer(&self) -> Result<(), String> {
        match self.longer {
            Side::Back if self.size % 2 == 1 => {
                Err(format!("a window of {} channels is as long on both sides", self.size))
            }
            _ => Ok(()),
        }
    }

    /// Channels in front of and behind the one that is normalised.
    pub fn reach(&self) -> (usize, usize) {
        let (longer, shorter) = (self.size / 2, (self.size - 1) / 2);
        if self.longer == Side::Front { (longer, shorter) } else { (shorter, longer) }
    }
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
        self.check_longer().map_err(|message| ShapeError::new("E0216", message))?;
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
        let (front, back) = self.reach();
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
        if self.longer == Side::Back { f.write_str(", longer back") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn defaults() {
        let op = make("lrn", &[("size", int(5))]);
        assert_eq!(op, Op::from(LocalResponseNorm { size: 5, alpha: 1e-4, beta: 0.75, k: 1.0, longer: Side::Front }));
        assert_eq!(text(&op), "lrn 5");
        let paper = make("lrn", &[("size", int(5)), ("alpha", ArgValue::Float(5e-4)), ("k", ArgValue::Float(2.0))]);
        assert_eq!(text(&paper), "lrn 5, alpha 0.0005, k 2.0");
        assert_eq!(shape(&op, &[&[3, 4, 4]]), Ok(vec![3, 4, 4]));
    }

    #[test]
    fn what_is_raised_to_a_power_is_above_0() {
        let lrn = |k, alpha| Op::from(LocalResponseNorm { size: 3, alpha, beta: 0.5, k, longer: Side::Front });
        for op in [lrn(0.0, 1.0), lrn(-1.0, 1.0), lrn(1e-40, 1.0), lrn(1.0, -1.0)] {
            assert_eq!(shape(&op, &[&[3, 4, 4]]), Err("E0216"), "{}", text(&op));
        }
    }

    /// An even window has one more channel in front, unless it is said to be behind.
    #[test]
    fn windows_over_channels() {
        let lrn = |size, longer| {
            let (one, longer) = (|name| (name, ArgValue::Float(1.0)), ("longer", ArgValue::Word(longer)));
            try_make(
                "lrn",
                &[("size", int(size)), ("alpha", ArgValue::Float(size as f64)), one("beta"), one("k"), longer],
            )
        };
        let given = |size| lrn(size, "front").unwrap();
        let x = Tensor::new([1, 3, 1], vec![1.0, 2.0, 3.0]);
        assert_close(eval(&given(3), &[&x], &[]).data(), &[1.0 / 6.0, 2.0 / 15.0, 3.0 / 14.0]);
        assert_close(eval(&given(2), &[&x], &[]).data(), &[1.0 / 2.0, 2.0 / 6.0, 3.0 / 14.0]);
        let back = lrn(2, "back").unwrap();
        assert_eq!(text(&back), "lrn 2, alpha 2.0, beta 1.0, longer back");
        assert_close(eval(&back, &[&x], &[]).data(), &[1.0 / 6.0, 2.0 / 14.0, 3.0 / 10.0]);
        assert_eq!(lrn(3, "back").unwrap_err().param, "longer");
        assert_close(eval(&given(usize::MAX), &[&x], &[]).data(), &[1.0 / 15.0, 2.0 / 15.0, 3.0 / 15.0]);
    }
}
