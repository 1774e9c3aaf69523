//! Small convolutions and poolings to play with: their output sizes, paddings and errors, said by the layers themselves
//! for all arguments that the page offers.

use crate::layers::{AvgPool, Conv, Layer, MaxPool, Op, Padding, ShapeError, Window};
use crate::tensor::{Batch, DType, TensorType};
use serde::Serialize;
use std::collections::HashMap;

/// What the page offers, and what comes of it.
#[derive(Serialize)]
pub struct Sandbox {
    layers: &'static [&'static str],
    sizes: Vec<usize>,
    kernels: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    paddings: Vec<String>,
    channels: Vec<usize>,
    /// By layer, size, kernel, stride, dilation, padding: output size, padding in front and behind, as digits of base 16, the
    /// last first; or -1 less the number of an error.
    results: Vec<i64>,
    errors: Vec<Error>,
    /// By layer, channels of the output (of pools one), kernel, stride, dilation, padding: as it is written.
    texts: Vec<String>,
}

#[derive(PartialEq, Eq, Hash, Clone, Serialize)]
struct Error {
    code: &'static str,
    message: String,
    help: Option<String>,
}

const LAYERS: &[&str] = &["conv", "maxpool", "avgpool"];

fn paddings() -> [Padding; 5] {
    [Padding::Valid, Padding::Half, Padding::Same, Padding::All(1), Padding::All(2)]
}

impl Default for Sandbox {
    fn default() -> Sandbox {
        let numbers = |most: usize| (1..=most).collect::<Vec<usize>>();
        let mut sandbox = Sandbox {
            layers: LAYERS,
            sizes: (3..=9).collect(),
            kernels: numbers(5),
            strides: numbers(3),
            dilations: numbers(3),
            paddings: paddings().iter().map(Padding::to_string).collect(),
            channels: numbers(3),
            results: Vec::new(),
            errors: Vec::new(),
            texts: Vec::new(),
        };
        sandbox.fill();
        sandbox
    }
}

impl Sandbox {
    fn fill(&mut self) {
        let windows = self.windows();
        let mut known: HashMap<Error, usize> = HashMap::new();
        for layer in LAYERS {
            for &size in &self.sizes {
                let outcomes = windows.iter().map(|window| outcome(&layer_of(layer, window, 1), window, size));
                for outcome in outcomes {
                    self.results.push(match outcome {
                        Ok((out, front, back)) => (out + 16 * (front + 16 * back)) as i64,
                        Err(error) => {
                            let next = known.len();
                            -1 - *known.entry(error).or_insert(next) as i64
                        }
                    });
                }
            }
            let channels = if *layer == "conv" { &self.channels[..] } else { &[1] };
            let text = |&channels| windows.iter().map(move |window| text(&layer_of(layer, window, channels)));
            self.texts.extend(channels.iter().flat_map(text));
        }
        let mut errors: Vec<(Error, usize)> = known.into_iter().collect();
        errors.sort_by_key(|(_, number)| *number);
        self.errors = errors.into_iter().map(|(error, _)| error).collect();
    }

    /// All windows, the padding changing first.
    fn windows(&self) -> Vec<Window> {
        let mut windows = Vec::new();
        for &kernel in &self.kernels {
            for &stride in &self.strides {
                for &dilation in &self.dilations {
                    windows.extend(paddings().map(|padding| {
                        let [kernel, stride, dilation] = [kernel, stride, dilation].map(|n| vec![n; 2]);
                        Window { kernel, stride, dilation, padding, ceil: false }
                    }));
                }
            }
        }
        windows
    }
}

fn layer_of(name: &str, window: &Window, channels: usize) -> Op {
    let window = window.clone();
    match name {
        "maxpool" => MaxPool { window }.into(),
        "avgpool" => AvgPool { window, count_pad: true }.into(),
        _ => Conv { channels, window, groups: 1, bias: false, weights: None }.into(),
    }
}

fn text(op: &Op) -> String {
    op.layer().map_or_else(String::new, ToString::to_string)
}

/// Output size and padding, or what the layer says of an input of this size.
fn outcome(op: &Op, window: &Window, size: usize) -> Result<(usize, usize, usize), Error> {
    let input = TensorType { dtype: DType::F32, batch: Batch::Fixed(1), dims: vec![1, size, size] };
    let layer: &dyn Layer = op.layer().expect("none of them is an input");
    let said = |error: ShapeError| Error { code: error.code, message: error.message, help: error.help };
    let output = layer.shape(&[&input]).map_err(said)?;
    let (front, back) = window.resolve(&[size, size]).map_err(said)?.pads[0];
    Ok((output.spatial()[0], front, back))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_errors_are_those_of_the_layers() {
        let sandbox = Sandbox::default();
        let windows = sandbox.windows();
        let find = |text: &str, size: usize| {
            let layer = LAYERS.iter().position(|layer| text.starts_with(layer)).unwrap();
            let of =
                windows.iter().position(|window| super::text(&layer_of(LAYERS[layer], window, 1)) == text).unwrap();
            let result = sandbox.results[(layer * sandbox.sizes.len() + size - 3) * windows.len() + of];
            match usize::try_from(-1 - result) {
                Ok(error) => format!("{}: {}", sandbox.errors[error].code, sandbox.errors[error].message),
                Err(_) => format!("{} {} {}", result & 15, result >> 4 & 15, result >> 8),
            }
        };
        assert_eq!(find("conv 3x3, 1, half", 7), "7 1 1");
        assert_eq!(find("conv 2x2, 1, same", 7), "7 0 1");
        assert_eq!(find("conv 3x3, 1, stride 2, dilation 2", 9), "3 0 0");
        assert_eq!(find("maxpool 2x2", 7), "3 0 0");
        let error = "E0302: a kernel of 5 (dilated to 9) does not fit into an input of 3 padded to 5";
        assert_eq!(find("conv 5x5, 1, dilation 2, pad 1", 3), error);
        assert_eq!(find("avgpool 3x3, pad 2", 5), "E0306: a pool of 3 may pad by 1 at most, not by 2");
    }

    #[test]
    fn every_combination_is_there() {
        let sandbox = Sandbox::default();
        let windows = 5 * 3 * 3 * 5;
        assert_eq!(sandbox.results.len(), 3 * 7 * windows);
        assert_eq!(sandbox.texts.len(), (3 + 1 + 1) * windows);
        let bytes = serde_json::to_string(&sandbox).unwrap().len();
        assert!(bytes < 80_000, "{bytes}");
    }
}
