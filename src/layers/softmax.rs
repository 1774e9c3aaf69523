//! Softmax over the channels.

use super::*;

const SPEC: LayerSpec = LayerSpec {
    keyword: "softmax",
    doc: "y[c] = exp(x[c]) / sum over i of exp(x[i]), over the channels, at each position; the largest x is \
          subtracted from all first, so that no exp overflows.",
    params: &[],
};

/// Softmax over dimension 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Softmax;

impl Softmax {
    pub(super) const ENTRIES: &[Entry] = &[Entry { spec: &SPEC, make: |_| Ok(Softmax.into()) }];
}

impl Layer for Softmax {
    fn spec(&self) -> &'static LayerSpec {
        &SPEC
    }

    fn rule(&self, inputs: &[&TensorType]) -> Result<TensorType, ShapeError> {
        Ok(inputs[0].clone())
    }

    fn eval(&self, inputs: &[&Tensor], _params: &[&[f32]], accumulate: Accumulate) -> Tensor {
        map_channels(inputs[0], |x| {
            let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let powers: Vec<f32> = x.iter().map(|&v| (f64::from(v) - f64::from(largest)).exp() as f32).collect();
            let sum = accumulate.sum(&powers);
            powers.iter().map(|&power| (f64::from(power) / sum) as f32).collect()
        })
    }
}

impl fmt::Display for Softmax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SPEC.keyword)
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
    fn not_a_number_and_infinity() {
        let op = make("softmax", &[]);
        let x = Tensor::new([2, 2], vec![f32::NAN, 1.0, f32::NEG_INFINITY, 1.0]);
        assert_close(eval(&op, &[&x], &[]).data(), &[f32::NAN, f32::NAN, 0.0, 1.0]);
    }
}
