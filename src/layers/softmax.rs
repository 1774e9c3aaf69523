//! Softmax and its logarithm.

use super::over::OVER;
use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "softmax",
    doc: "y[i] = exp(x[i]) / sum over j of exp(x[j]), over the channels at each position, or what `over` says; the largest \
          x is subtracted from all first, so that no exp overflows.",
    params: &[OVER],
};

const LOG: LayerSpec = LayerSpec {
    keyword: "log_softmax",
    doc: "The logarithm of `softmax`: y[i] = x[i] - largest - ln(sum over j of exp(x[j] - largest)).",
    params: &[OVER],
};

/// `softmax over width`, `log_softmax`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax {
    pub over: Over,
    /// Whether its logarithm is wanted.
    pub log: bool,
}

impl Softmax {
    pub(super) const ENTRIES: &[Entry] = &[
        Entry { spec: &SPEC, make: |args| Ok(Softmax { over: Over::of(args), log: false }.into()) },
        Entry { spec: &LOG, make: |args| Ok(Softmax { over: Over::of(args), log: true }.into()) },
    ];
    /// That of a classifier.
    pub const CHANNELS: Softmax = Softmax { over: Over::Channels, log: false };
}

impl Layer for Softmax {
    fn spec(&self) -> &'static LayerSpec {
        if self.log { &LOG } else { &SPEC }
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        self.over.range(&inputs[0].dims).map(|_| inputs[0].clone())
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], accumulate: Accumulate) -> Tensor {
        self.over.runs(&inputs[0].shape()[1..]).map(inputs[0], |_, x| {
            let largest = f64::from(x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            let powers: Vec<f32> = x.iter().map(|&v| (f64::from(v) - largest).exp() as f32).collect();
            let sum = accumulate.sum(&powers);
            match self.log {
                false => powers.iter().map(|&power| (f64::from(power) / sum) as f32).collect(),
                true => x.iter().map(|&v| (f64::from(v) - largest - sum.ln()) as f32).collect(),
            }
        })
    }

    /// The sum, which is 1 at least, is rounded before its logarithm is taken.
    fn magnitude(&self, inputs: &[&Tensor], params: &[&[f32]]) -> Tensor {
        let mut y = absolute(&self.eval(inputs, params, Accumulate::F64));
        if self.log {
            y.data_mut().iter_mut().for_each(|y| *y += 1.0);
        }
        y
    }
}

impl fmt::Display for Softmax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.spec().keyword)?;
        self.over.text().map_or(Ok(()), |over| write!(f, " {over}"))
    }
}

#[cfg(test)]
mod tests {
    use super::testing::*;
    use super::*;

    #[test]
    fn each_position_sums_to_one() {
        let op = make("softmax", &[]);
        let x = Tensor::new([1, 2, 2], vec![0.0, 1000.0, 3f32.ln(), 1000.0]);
        assert_close(eval(&op, &[&x], &[]).data(), &[0.25, 0.5, 0.75, 0.5]);
        assert_eq!(shape(&op, &[&[10]]), Ok(vec![10]));
    }

    #[test]
    fn what_is_said_sums_to_one() {
        let op = |over| make("softmax", &[("over", ArgValue::Word(over))]);
        assert_eq!((text(&op("width")), text(&op("channels"))), ("softmax over width".into(), "softmax".into()));
        let x = Tensor::new([1, 2, 2], vec![0.0, 3f32.ln(), 1000.0, 1000.0]);
        assert_close(eval(&op("width"), &[&x], &[]).data(), &[0.25, 0.75, 0.5, 0.5]);
        assert_close(eval(&op("all"), &[&x], &[]).data(), &[0.0, 0.0, 0.5, 0.5]);
        assert_eq!((shape(&op("positions"), &[&[4]]), shape(&op("height"), &[&[4, 4]])), (Err("E0301"), Err("E0301")));
    }

    #[test]
    fn logarithms() {
        let op = make("log_softmax", &[]);
        let x = Tensor::new([1, 2, 2], vec![0.0, -1000.0, 3f32.ln(), 1000.0]);
        assert_close(eval(&op, &[&x], &[]).data(), &[0.25f32.ln(), -2000.0, 0.75f32.ln(), 0.0]);
        assert_eq!(text(&make("log_softmax", &[("over", ArgValue::Word("all"))])), "log_softmax over all");
    }

    #[test]
    fn not_a_number_and_infinity() {
        let op = make("softmax", &[]);
        let x = Tensor::new([2, 2], vec![f32::NAN, 1.0, f32::NEG_INFINITY, 1.0]);
        assert_close(eval(&op, &[&x], &[]).data(), &[f32::NAN, f32::NAN, 0.0, 1.0]);
    }
}
