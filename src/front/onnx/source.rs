//! Files that `svertka export` wrote: the text that they were made from, which stands in their metadata with the texts that
//! it uses and what it was given.
//!
//! None of it is believed. The text is built and exported again with the file's weights; only if that gives the very bytes of
//! the file, the network is that text.

use super::Import;
use super::constant::{Bytes, Const, External};
use super::proto;
use super::weights::{Weight, Weights};
use crate::export::{self, Apart};
use crate::front::text::build::{self, Loader};
use crate::ir::{Graph, Verified};
use crate::source::{SourceFile, SourceMap};
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

/// Keys of the metadata: the text, what of it and with what, and the texts that it uses.
const SOURCE: &str = "svertka.source";
const ARGUMENTS: &str = "svertka.arguments";
const USES: &str = "svertka.uses";

/// What a network is of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Arguments {
    /// The variant; the defaults of the model's parameters if none.
    pub variant: Option<String>,
    /// Parameters of the model and free sizes by name, each with its value as written.
    pub define: Vec<(String, String)>,
    /// Whether the `aux` outputs are there.
    pub aux: bool,
}

impl std::fmt::Display for Arguments {
    /// As the commands take it behind the text's path.
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        self.variant.iter().try_for_each(|variant| write!(f, ":{variant}"))?;
        self.define.iter().try_for_each(|(name, value)| write!(f, " -D {name}={value}"))?;
        if self.aux { f.write_str(" --aux") } else { Ok(()) }
    }
}

/// The metadata of a network that is this of a text.
pub fn metadata(sources: &SourceMap, arguments: &Arguments) -> Vec<(&'static str, String)> {
    let [root, ..] = sources.files() else { return Vec::new() };
    let folder = root.name.rsplit_once('/').map_or(String::new(), |(folder, _)| format!("{folder}/"));
    let name = |file: &SourceFile| file.name.strip_prefix(&folder).unwrap_or(&file.name).to_string();
    let used: BTreeMap<String, &str> = sources.used().map(|file| (name(file), file.text.as_str())).collect();
    let used = (!used.is_empty()).then(|| (USES, json!(used).to_string()));
    [(SOURCE, root.text.clone()), (ARGUMENTS, json!(arguments).to_string())].into_iter().chain(used).collect()
}

/// The network as the text that the file was made from, if it gives the same file again.
pub fn find(model: &proto::Model, file: &Bytes, external: &mut dyn External) -> Option<Import> {
    let entry = |key: &str| model.metadata.iter().find(|entry| entry.key == key).map(|entry| entry.value);
    let text = entry(SOURCE)?;
    let arguments: Arguments = serde_json::from_str(entry(ARGUMENTS)?).ok()?;
    let mut uses = entry(USES).map_or(Ok(Uses::default()), serde_json::from_str).ok()?;
    let mut sources = SourceMap::default();
    let root = sources.add("model.cnn", text);
    let mut options = build::Options {
        variant: arguments.variant.clone(),
        defines: arguments.define.clone(),
        aux: arguments.aux,
        ..build::Options::default()
    };
    let program = build::load(&mut sources, root, &options, &mut uses).ok()?;
    let graph = build::build(&mut sources, &program, &options).ok()?;
    let weights = weights(model, &graph, file, external)?;
    let apart = apart(model);
    let is_same = |others: &[Verified<Graph>]| {
        let metadata: Vec<(&str, String)> =
            model.metadata.iter().map(|entry| (entry.key, entry.value.to_string())).collect();
        let written = export::export(&graph, others, &metadata).ok()?;
        let mut rest = Rest { expected: (**file).as_ref() };
        // Weights in a file of their own are these very ones: where each lies there stands in the model.
        let mut values = io::sink();
        let apart = apart.map(|name| Apart { name, out: &mut values });
        (written.write(&weights, &mut rest, apart).is_ok() && rest.expected.is_empty()).then_some(())
    };
    let others = export::at_other_sizes(&graph, |sizes| {
        options.defines.truncate(arguments.define.len());
        options.defines.extend(sizes.iter().map(|(name, size)| (name.clone(), size.to_string())));
        build::build(&mut sources, &program, &options).ok()
    });
    is_same(&others).or_else(|| is_same(&[]))?;
    Some(Import { text: text.to_string(), sources, program, graph, arguments, weights, notes: Vec::new() })
}

/// The texts that a text uses, by their paths.
#[derive(Default, serde::Deserialize)]
struct Uses(BTreeMap<String, String>);

impl Loader for Uses {
    fn load(&mut self, path: &str) -> Result<String, String> {
        self.0.get(path).cloned().ok_or_else(|| "the ONNX file does not have it".into())
    }
}

/// The file that weights lie in which are not in the model's own.
fn apart<'a>(model: &'a proto::Model) -> Option<&'a str> {
    let mut entries = model.graph.iter().flat_map(|graph| &graph.initializers).flat_map(|tensor| &tensor.external);
    entries.find(|entry| entry.key == "location").map(|entry| entry.value)
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
