//! Dropout, which does nothing at inference.

use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "dropout",
    doc: "y = x at inference (Srivastava et al. 2014); it keeps its number in a `seq` and documents the training.",
    params: &[ParamDecl::positional("p", Kind::Float, "0.5", "probability of a zero in training; not used")],
};

/// `dropout 0.2`
#[derive(Clone, Debug, PartialEq)]
pub struct Dropout {
    pub p: f64,
}

impl Dropout {
    pub(super) const ENTRIES: &[Entry] = &[Entry { spec: &SPEC, make: |args| Dropout::new(args).map(Op::from) }];

    fn new(args: &Args) -> Result<Dropout, ArgError> {
        let p = args.float("p");
        if !(0.0..=1.0).contains(&p) {
            return Err(ArgError::new("p", format!("{p:?} is no probability")).help("give a number from 0 to 1"));
        }
        Ok(Dropout { p })
    }
}

impl Layer for Dropout {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn check(&self) -> Result<(), ShapeError> {
        match (0.0..=1.0).contains(&self.p) {
            true => Ok(()),
            false => Err(ShapeError::new("E0216", format!("{:?} is no probability", self.p))),
        }
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        Ok(inputs[0].clone())
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], _accumulate: Accumulate) -> Tensor {
        inputs[0].clone()
    }

    fn lower(&self, _inputs: &[&TensorType]) -> Lowering {
        Lowering::Identity
    }
}

impl fmt::Display for Dropout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("dropout")?;
        if self.p != 0.5 {
            write!(f, " {:?}", self.p)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn does_nothing() {
        let op = make("dropout", &[]);
        let x = Tensor::new([1, 2], vec![1.0, f32::INFINITY]);
        assert_eq!(eval(&op, &[&x], &[]), x);
        assert_eq!(lower(&op, &[2]), Lowering::Identity);
        assert_eq!(
            (text(&op), text(&make("dropout", &[("p", ArgValue::Float(0.2))]))),
            ("dropout".into(), "dropout 0.2".into())
        );
    }

    #[test]
    fn the_probability_is_checked() {
        assert!(try_make("dropout", &[("p", ArgValue::Float(1.0))]).is_ok());
        assert!(try_make("dropout", &[("p", ArgValue::Float(20.0))]).is_err());
    }
}
