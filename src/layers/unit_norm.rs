//! Division by the norm of elements that belong together.

use super::moments::call_text;
use super::over::OVER;
use super::*;

const EPS: ParamDecl = ParamDecl::named("eps", Kind::Float, "1e-12", "the least that is divided by");

const L1: LayerSpec = LayerSpec {
    keyword: "l1_norm",
    doc: "y[i] = x[i] / max(sum over j of |x[j]|, eps), over the channels at each position, or what `over` says.",
    params: &[OVER, EPS],
};

const L2: LayerSpec = LayerSpec {
    keyword: "l2_norm",
    doc: "y[i] = x[i] / max(sqrt(sum over j of x[j]^2), eps), over the channels at each position, or what `over` says \
          (PyTorch's normalize). The sum is one in f32: infinite, so that y is 0, where some x is above 1.8e19.",
    params: &[OVER, EPS],
};

/// `l2_norm`, `l1_norm over positions`
#[derive(Clone, Debug, PartialEq)]
pub struct UnitNorm {
    pub norm: LpNorm,
    pub over: Over,
    pub eps: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LpNorm {
    /// The sum of the magnitudes.
    L1,
    /// The root of the sum of the squares.
    L2,
}

impl UnitNorm {
    pub(super) const ENTRIES: &[Entry] = &[
        Entry { spec: &L1, make: |args| UnitNorm::make(args, LpNorm::L1) },
        Entry { spec: &L2, make: |args| UnitNorm::make(args, LpNorm::L2) },
    ];

    fn make(args: &Args, norm: LpNorm) -> Result<Op, ArgError> {
        let eps = args.float("eps");
        match (eps as f32) < f32::MIN_POSITIVE {
            true => Err(ArgError::new("eps", format!("eps is {eps:?}; it must be above 0 in f32"))),
            false => Ok(UnitNorm { norm, over: Over::of(args), eps }.into()),
        }
    }
}

impl Layer for UnitNorm {
    fn spec(&self) -> &'static LayerSpec {
        if self.norm == LpNorm::L1 { &L1 } else { &L2 }
    }

    fn check(&self) -> Result<(), ShapeError> {
        check_finite("eps", self.eps)?;
        match (self.eps as f32) < f32::MIN_POSITIVE {
            true => Err(ShapeError::new("E0216", format!("eps is {:?}; it must be above 0 in f32", self.eps))),
            false => Ok(()),
        }
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        self.over.range(&inputs[0].dims).map(|_| inputs[0].clone())
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], accumulate: Accumulate) -> Tensor {
        self.over.runs(&inputs[0].shape()[1..]).map(inputs[0], |_, x| {
            let norm = match self.norm {
                LpNorm::L1 => accumulate.sum(&x.iter().map(|x| x.abs()).collect::<Vec<_>>()),
                LpNorm::L2 => f64::from(accumulate.dot(0.0, x, x)).sqrt(),
            };
            // A norm that is no number stays none.
            let norm = if norm < self.eps { self.eps } else { norm };
            x.iter().map(|&x| (f64::from(x) / norm) as f32).collect()
        })
    }
}

impl fmt::Display for UnitNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let eps = (self.eps != 1e-12).then(|| format!("eps {:?}", self.eps));
        f.write_str(&call_text(self.spec().keyword, [self.over.text(), eps]))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn norms_become_one() {
        let x = Tensor::new([1, 2, 2], vec![3.0, 0.0, -4.0, 0.0]);
        assert_close(eval(&make("l2_norm", &[]), &[&x], &[]).data(), &[0.6, 0.0, -0.8, 0.0]);
        assert_close(eval(&make("l1_norm", &[]), &[&x], &[]).data(), &[3.0 / 7.0, 0.0, -4.0 / 7.0, 0.0]);
        let op = make("l2_norm", &[("over", ArgValue::Word("width")), ("eps", ArgValue::Float(3.5))]);
        assert_eq!(text(&op), "l2_norm over width, eps 3.5");
        assert_close(eval(&op, &[&x], &[]).data(), &[3.0 / 3.5, 0.0, -1.0, 0.0]);
        let none = Tensor::new([1, 2], vec![f32::NAN, 1.0]);
        assert!(eval(&make("l2_norm", &[]), &[&none], &[]).data()[1].is_nan());
    }

    #[test]
    fn eps_is_above_zero() {
        for eps in [0.0, -1.0, 1e-50] {
            assert!(try_make("l1_norm", &[("eps", ArgValue::Float(eps))]).is_err());
            let op = Op::from(UnitNorm { norm: LpNorm::L2, over: Over::Channels, eps });
            assert_eq!(shape(&op, &[&[4]]), Err("E0216"));
        }
        assert_eq!(
            (text(&make("l1_norm", &[])), shape(&make("l2_norm", &[]), &[&[4]])),
            ("l1_norm".into(), Ok(vec![4]))
        );
    }
}
