//! Files that `svertka export` wrote: the text that they were made from, which stands in their metadata with the texts that
//! it uses and what it was given.
//!
//! None of it is believed. The text is built and exported again with the file's weights; only if that gives the very bytes of
//! the file, the network is that text.

use super::constant::{Bytes, Const, External};
use super::fields::tensor;
use super::proto;
use super::weights::{Weight, Weights};
use super::{Import, bound};
use crate::export::{self, Apart};
use crate::front::text::build::{self, Loader};
use crate::io::IoError;
use crate::io::bind::BoundWeights;
use crate::io::weights::WeightFile;
use crate::ir::weights::WeightSource;
use crate::ir::{Graph, Param, Verified};
use crate::quant::{self, Stored, WholeFile};
use crate::source::{SourceFile, SourceMap};
use safetensors::Dtype;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

/// Keys of the metadata: the text, what of it and with what, and the texts that it uses.
const SOURCE: &str = "svertka.source";
const ARGUMENTS: &str = "svertka.arguments";
const USES: &str = "svertka.uses";
/// What whole numbers stand for, which a weight file says of values.
const WHOLE: &str = "svertka.whole";

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

/// What a weight file says of whole numbers of values.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
struct OfValues {
    activation_bits: u8,
    /// Scale and zero point by what their keys begin with.
    values: BTreeMap<String, (f32, u8)>,
}

const ZERO_POINT: &str = "_zero_point";

/// The metadata of a network on whole numbers, whose weight file this is.
///
/// # Errors
/// Where it cannot be read.
pub fn of_whole(file: &WeightFile) -> Result<(&'static str, String), IoError> {
    let names = file.names();
    let keys = names.iter().filter_map(|name| name.strip_suffix(ZERO_POINT));
    let value = |key: &str| {
        let scale = file.read(&format!("{key}_scale"))?.first().copied().unwrap_or(0.0);
        let zero = file.read_integers(&format!("{key}{ZERO_POINT}"))?.first().copied().unwrap_or(0);
        Ok((key.to_owned(), (scale, zero as u8)))
    };
    let values = keys.map(value).collect::<Result<_, IoError>>()?;
    let bits = file.metadata().and_then(|metadata| metadata.get(quant::ACTIVATION_BITS)?.parse().ok());
    Ok((WHOLE, json!(OfValues { activation_bits: bits.unwrap_or(8), values }).to_string()))
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
    let mut constants = Constants::new(model, file, external)?;
    let own = Own::of(&graph, &mut constants, entry(WHOLE))?;
    let apart = apart(model);
    let is_same = |others: &[Verified<Graph>]| {
        let metadata: Vec<(&str, String)> =
            model.metadata.iter().map(|entry| (entry.key, entry.value.to_string())).collect();
        let written = export::export(own.network(&graph), others, &metadata).ok()?;
        let mut rest = Rest { expected: (**file).as_ref() };
        // Weights in a file of their own are these very ones: where each lies there stands in the model.
        let mut values = io::sink();
        let apart = apart.map(|name| Apart { name, out: &mut values });
        (written.write(own.weights(), &mut rest, apart).is_ok() && rest.expected.is_empty()).then_some(())
    };
    let others = export::at_other_sizes(&graph, |sizes| {
        options.defines.truncate(arguments.define.len());
        options.defines.extend(sizes.iter().map(|(name, size)| (name.clone(), size.to_string())));
        own.network_of(build::build(&mut sources, &program, &options).ok()?)
    });
    is_same(&others).or_else(|| is_same(&[]))?;
    let (weights, whole) = own.parts();
    Some(Import { text: text.to_string(), sources, program, graph, arguments, weights, whole, notes: Vec::new() })
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

/// The weights of a network that is a text.
enum Own {
    Real(Weights),
    /// Those of whole numbers, and the network that they make of it.
    Whole(Arc<WholeFile>, Box<Verified<Graph>>, BoundWeights),
}

impl Own {
    /// The file's constants that have the names of weights; `whole` is what it says of whole numbers.
    fn of(graph: &Verified<Graph>, constants: &mut Constants, whole: Option<&str>) -> Option<Own> {
        let Some(whole) = whole else { return constants.real(graph).map(Own::Real) };
        let of_values: OfValues = serde_json::from_str(whole).ok()?;
        let mut tensors = constants.whole()?;
        for (key, (scale, zero)) in of_values.values {
            tensors.push((format!("{key}_scale"), Dtype::F32, vec![1], scale.to_le_bytes().into()));
            tensors.push((format!("{key}{ZERO_POINT}"), Dtype::U8, vec![1], vec![zero]));
        }
        let of_all = |tensors| Arc::new(WholeFile { tensors, activation_bits: of_values.activation_bits });
        let file = WeightFile::of_whole(Path::new(WHOLE), of_all(tensors.clone()));
        tensors.extend(constants.stored(&quant::load(graph, &file).ok()?.0)?);
        let whole = of_all(tensors);
        let (network, bound) = bound(graph, &whole).ok()?;
        Some(Own::Whole(whole, Box::new(network), bound))
    }

    fn network<'a>(&'a self, graph: &'a Verified<Graph>) -> &'a Verified<Graph> {
        match self {
            Own::Real(_) => graph,
            Own::Whole(_, network, _) => network,
        }
    }

    /// The same at any sizes.
    fn network_of(&self, graph: Verified<Graph>) -> Option<Verified<Graph>> {
        match self {
            Own::Real(_) => Some(graph),
            Own::Whole(_, _, bound) => Some(quant::load(&graph, bound.file()).ok()?.0),
        }
    }

    fn weights(&self) -> &dyn WeightSource {
        match self {
            Own::Real(weights) => weights,
            Own::Whole(_, _, bound) => bound,
        }
    }

    /// Those in f32, and those of whole numbers.
    fn parts(self) -> (Weights, Option<Arc<WholeFile>>) {
        match self {
            Own::Real(weights) => (weights, None),
            Own::Whole(whole, ..) => (Weights::default(), Some(whole)),
        }
    }
}

/// The constants of a file by their names.
struct Constants<'c> {
    by_name: BTreeMap<&'c str, &'c proto::Tensor<'c>>,
    file: &'c Bytes,
    external: &'c mut dyn External,
}

impl<'c> Constants<'c> {
    fn new(model: &'c proto::Model, file: &'c Bytes, external: &'c mut dyn External) -> Option<Constants<'c>> {
        let tensors = model.graph.as_ref()?.initializers.iter();
        Some(Constants { by_name: tensors.map(|tensor| (tensor.name, tensor)).collect(), file, external })
    }

    fn find(&mut self, name: &str) -> Option<Const> {
        Const::of_tensor(self.by_name.get(name)?, self.file, self.external).ok()
    }

    /// All weights of a network in f32.
    fn real(&mut self, graph: &Graph) -> Option<Weights> {
        let mut weights = Weights::default();
        for param in graph.params.iter().filter(|param| param.is_read()) {
            let weight = Weight::of(&self.find(&param.name)?);
            if weight.count() != param.elements() {
                return None;
            }
            weights.insert(param.name.clone(), weight);
        }
        Some(weights)
    }

    /// The same, as they stand in a weight file.
    fn stored(&mut self, network: &Graph) -> Option<Vec<Stored>> {
        let weights = self.real(network)?;
        let read = network.params.iter().filter(|param| param.is_read());
        let stored = |param: &Param| {
            let bytes = weights.values(param).iter().flat_map(|value| value.to_le_bytes()).collect();
            (param.name.clone(), Dtype::F32, param.dims.clone(), bytes)
        };
        Some(read.map(stored).collect())
    }

    /// Weights and biases in whole numbers, with the scales of the former.
    fn whole(&mut self) -> Option<Vec<Stored>> {
        let is_weight = |name: &&&str| !name.ends_with(ZERO_POINT);
        let of_kind = |element: i64| move |(_, tensor): &(&&str, &&proto::Tensor)| tensor.data_type == element;
        let names = |element: i64| self.by_name.iter().filter(of_kind(element)).map(|(name, _)| name);
        let [bytes, words]: [Vec<String>; 2] = [tensor::INT8, tensor::INT32]
            .map(|of| names(of).filter(is_weight).map(|name| (*name).to_owned()).collect());
        let mut stored = Vec::new();
        for name in bytes {
            let (weight, scale) = (self.find(&name)?, self.find(&format!("{name}_scale"))?);
            let values = weight.floats().iter().map(|&value| value as i8 as u8).collect();
            let scales = scale.floats().iter().flat_map(|value| value.to_le_bytes()).collect();
            stored.push((format!("{name}_scale"), Dtype::F32, scale.dims, scales));
            stored.push((name, Dtype::I8, weight.dims.clone(), values));
        }
        for name in words {
            let bias = self.find(&name)?;
            let values = bias.integers().ok()?.iter().flat_map(|&value| (value as i32).to_le_bytes()).collect();
            stored.push((name, Dtype::I32, bias.dims.clone(), values));
        }
        Some(stored)
    }
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
