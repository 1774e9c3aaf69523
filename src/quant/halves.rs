//! Weights in 16 bits: nothing else of a network changes.

use super::file::Stored;
use crate::ir::weights::{WeightSource, values};
use crate::ir::{Graph, ParamId};
use crate::tensor::Half;

/// What became of the weights of a layer.
#[derive(Clone, Debug)]
pub struct Halved {
    /// The tensor in the weight file.
    pub name: String,
    /// The squares of the weights over those of their errors, in decibels; `None` where there are no errors.
    pub snr_db: Option<f64>,
    squares: f64,
    errors: f64,
}

/// A number beyond the largest of a type.
#[derive(Clone, Debug, PartialEq)]
pub struct Beyond {
    pub name: String,
    pub value: f32,
}

/// All tensors of a weight file of which the kernels of convolutions and dense layers have 16 bits, each with its error;
/// what is few (biases, norms) stays f32.
///
/// # Errors
/// The first weight that would become infinite.
pub fn halve(graph: &Graph, weights: &dyn WeightSource, half: Half) -> Result<(Vec<Stored>, Vec<Halved>), Beyond> {
    let (mut stored, mut halved) = (Vec::new(), Vec::new());
    for (index, param) in graph.params.iter().enumerate().filter(|(_, param)| param.is_read()) {
        let values = values(graph, ParamId(index as u32), weights);
        let (dtype, bytes) = match param.dims.len() {
            1 => (safetensors::Dtype::F32, values.iter().flat_map(|value| value.to_le_bytes()).collect()),
            _ => {
                let bits = narrow(&param.name, &values, half)?;
                halved.push(compare(&param.name, &values, &bits, half));
                (dtype(half), bits.iter().flat_map(|bits| bits.to_le_bytes()).collect())
            }
        };
        stored.push((param.name.clone(), dtype, param.dims.clone(), bytes));
    }
    Ok((stored, halved))
}

/// Of all weights together, in decibels; `None` where there are no errors.
pub fn snr_db(halved: &[Halved]) -> Option<f64> {
    let sum = |of: fn(&Halved) -> f64| halved.iter().map(of).sum();
    decibels(sum(|one| one.squares), sum(|one| one.errors))
}

fn dtype(half: Half) -> safetensors::Dtype {
    match half {
        Half::F16 => safetensors::Dtype::F16,
        Half::Bf16 => safetensors::Dtype::BF16,
    }
}

fn narrow(name: &str, values: &[f32], half: Half) -> Result<Vec<u16>, Beyond> {
    let narrow = |&value: &f32| {
        let bits = half.narrow(value);
        match value.is_finite() && half.widen(bits).is_infinite() {
            true => Err(Beyond { name: name.to_owned(), value }),
            false => Ok(bits),
        }
    };
    values.iter().map(narrow).collect()
}

fn compare(name: &str, values: &[f32], bits: &[u16], half: Half) -> Halved {
    let squares = values.iter().map(|&value| f64::from(value).powi(2)).sum();
    let error = |(&value, &bits): (&f32, &u16)| (f64::from(half.widen(bits)) - f64::from(value)).powi(2);
    let errors = values.iter().zip(bits).map(error).sum();
    Halved { name: name.to_owned(), snr_db: decibels(squares, errors), squares, errors }
}

fn decibels(squares: f64, errors: f64) -> Option<f64> {
    (errors > 0.0).then(|| 10.0 * (squares / errors).log10())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_rounded_and_their_error_is_known() {
        let bits = narrow("w", &[1.0, -0.5, 1.0 + 1.0 / 2048.0, 65504.0], Half::F16).unwrap();
        assert_eq!(bits, [0x3c00, 0xb800, 0x3c00, 0x7bff]);
        let halved = compare(
            "w",
            &[0.5, 1.0 + 1.0 / 256.0],
            &narrow("w", &[0.5, 1.0 + 1.0 / 256.0], Half::Bf16).unwrap(),
            Half::Bf16,
        );
        let expected = 10.0 * ((0.25 + (257f64 / 256.0).powi(2)) * 65536.0).log10();
        assert!((halved.snr_db.unwrap() - expected).abs() < 1e-9, "{halved:?}");
        assert_eq!(compare("w", &[0.5], &narrow("w", &[0.5], Half::F16).unwrap(), Half::F16).snr_db, None);
    }

    #[test]
    fn numbers_beyond_the_largest_are_told() {
        assert_eq!(narrow("w", &[1.0, -65520.0], Half::F16), Err(Beyond { name: "w".into(), value: -65520.0 }));
        assert!(narrow("w", &[65519.0, f32::INFINITY], Half::F16).is_ok());
        assert!(narrow("w", &[3.4e38], Half::Bf16).is_err());
    }
}
