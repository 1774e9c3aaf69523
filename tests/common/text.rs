//! Graphs of texts.

use svertka::front::text::build::{self, NoFiles};
use svertka::ir::{Graph, Verified};
use svertka::source::SourceMap;

/// The graph of a model's text.
pub fn model(text: &str) -> Verified<Graph> {
    let mut sources = SourceMap::default();
    let root = sources.add("model.cnn", text);
    let options = build::Options::default();
    let built = build::load(&mut sources, root, &options, &mut NoFiles)
        .and_then(|program| build::build(&mut sources, &program, &options));
    built.unwrap_or_else(|errors| panic!("{}", svertka::diagnostic::render(&errors, &sources, false)))
}
