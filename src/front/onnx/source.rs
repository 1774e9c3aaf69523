//! Files that `svertka export` wrote: the text that they were made from, which stands in their metadata.
//!
//! It is not believed. The text is built and exported again with the file's weights; only if that gives the very bytes of
//! the file, the network is that text.

use super::Import;
use super::constant::{Bytes, Const, External};
use super::proto;
use super::weights::{Weight, Weights};
use crate::export;
use crate::front::text::build::{self, NoFiles};
use crate::ir::{Graph, Verified};
use crate::source::SourceMap;
use std::collections::HashMap;
use std::io::{self, Write};

/// The network as the text that the file was made from, if it has one that stands alone, holds without `-D` and `--aux`, and gives the
/// same file again.
pub fn find(model: &proto::Model, file: &Bytes, external: &mut dyn External) -> Option<Import> {
    let entry = |key: &str| model.metadata.iter().find(|entry| entry.key == key).map(|entry| entry.value);
    let (text, arguments) = (entry("svertka.source")?, entry("svertka.arguments")?);
    let arguments: serde_json::Value = serde_json::from_str(arguments).ok()?;
    let plain = arguments["define"].as_array().is_none_or(Vec::is_empty) && arguments["aux"] != true;
    if !plain || entry("svertka.uses").is_some() {
        return None;
    }
    let variant = arguments["variant"].as_str().map(String::from);
    let mut sources = SourceMap::default();
    let root = sources.add("model.cnn", text);
    let mut options = build::Options { variant: variant.clone(), ..build::Options::default() };
    let program = build::load(&mut sources, root, &options, &mut NoFiles).ok()?;
    let graph = build::build(&mut sources, &program, &options).ok()?;
    let weights = weights(model, &graph, file, external)?;
    let is_same = |other: Option<&Verified<Graph>>| {
        let metadata: Vec<(&str, String)> =
            model.metadata.iter().map(|entry| (entry.key, entry.value.to_string())).collect();
        let written = export::export(&graph, other, &metadata).ok()?;
        let mut rest = Rest { expected: (**file).as_ref() };
        (written.write(&weights, &mut rest, None).is_ok() && rest.expected.is_empty()).then_some(())
    };
    // As the exporter does: so much larger that what depends on the sizes differs.
    let mut larger = |factor: usize| {
        let define = |(name, size): (String, usize)| Some((name, size.checked_mul(factor)?.to_string()));
        options.defines = graph.sizes().into_iter().map(define).collect::<Option<_>>()?;
        build::build(&mut sources, &program, &options).ok()
    };
    let other = if graph.free.is_empty() { None } else { export::LARGER.into_iter().find_map(&mut larger) };
    is_same(other.as_ref()).or_else(|| is_same(None))?;
    Some(Import { text: text.to_string(), sources, program, graph, variant, weights, notes: Vec::new() })
}

/// The file's constants that have the names of weights.
fn weights(model: &proto::Model, graph: &Graph, file: &Bytes, external: &mut dyn External) -> Option<Weights> {
    let tensors = model.graph.as_ref()?.initializers.iter();
    let by_name: HashMap<&str, &proto::Tensor> = tensors.map(|tensor| (tensor.name, tensor)).collect();
    let mut weights = Weights::default();
    for param in graph.params.iter().filter(|param| param.is_read()) {
        let constant = Const::of_tensor(by_name.get(&*param.name)?, file, external).ok()?;
        let weight = Weight::of(&constant);
        if weight.count() != param.elements() {
            return None;
        }
        weights.insert(param.name.clone(), weight);
    }
    Some(weights)
}

/// What is still to be written, if all is as it was.
struct Rest<'a> {
    expected: &'a [u8],
}

impl Write for Rest<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.expected = self.expected.strip_prefix(bytes).ok_or(io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
