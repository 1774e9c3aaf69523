//! What the tests of the analyses share.

use crate::diagnostic;
use crate::front::text::build::{self, NoFiles, Options};
use crate::ir::{Graph, Verified};
use crate::source::SourceMap;

/// The graph of a model's text.
pub fn model(text: &str) -> Verified<Graph> {
    let mut sources = SourceMap::default();
    let root = sources.add("model.cnn", text);
    let options = Options::default();
    build::load(&mut sources, root, &options, &mut NoFiles)
        .and_then(|program| build::build(&mut sources, &program, &options))
        .unwrap_or_else(|errors| panic!("{}", diagnostic::render(&errors, &sources, false)))
}

/// A model with one input of these dimensions and this body, in which layers with weights get labels: `conv0`, `bn1`.
pub fn text(dims: &str, body: &str) -> String {
    let mut labels = 0..;
    let mut label = |word: &str| match word.trim() {
        keyword @ ("conv" | "conv_transpose" | "dense" | "bn") => {
            format!("{keyword}{}: {word}", labels.next().unwrap_or(0))
        }
        _ => word.into(),
    };
    let words = body.split_inclusive([' ', '\n']).map(&mut label);
    let body: String = words.collect();
    format!("model test\ninput signal: f32[N, {dims}]\nnet {{\n{body}\n}}\n")
}

/// The graph of [`text`].
pub fn net(dims: &str, body: &str) -> Verified<Graph> {
    model(&text(dims, body))
}

pub const LENET: &str = "\
model lenet5(classes = 10)
input image: f32[N, 1, 28, 28]
net {
  conv1: conv 5x5, 6, pad 2, bias  | relu | maxpool 2x2
  conv2: conv 5x5, 16, bias        | relu | maxpool 2x2
  flatten
  fc1: dense 120 | relu
  fc2: dense 84  | relu
  fc3: dense classes
}
";
