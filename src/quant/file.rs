//! Weight files of networks on whole numbers.

use super::apply::{Applied, Layer, Values, apply};
use super::structure::{Structure, prepare};
use crate::io::IoError;
use crate::io::weights::WeightFile;
use crate::ir::weights::{WeightSource, values};
use crate::ir::{Graph, NodeId, ParamId, Verified};
use crate::layers::Op;
use crate::tensor::Quantisation;
use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

/// What the names of scales of weights end with.
const WEIGHT_SCALE: &str = ".weight_scale";

/// What the names of scales end with of values that are put side by side in a quantisation of their own.
const OUTPUT_SCALE: &str = ".output_scale";

/// What the names of scales of values end with that are rounded before others are added to them.
const VALUE_SCALE: &str = ".value_scale";

/// The key of a file's metadata under which the number of bits of values stands.
pub const ACTIVATION_BITS: &str = "activation_bits";

/// Whether a file has weights of eight bits.
pub fn is_quantised(file: &WeightFile) -> bool {
    file.names().iter().any(|name| name.ends_with(WEIGHT_SCALE))
}

/// The network that a file makes of one in f32, and the names in the file that it was made of.
///
/// # Errors
/// What is missing in the file, or does not fit the network.
pub fn load(graph: &Verified<Graph>, file: &WeightFile) -> Result<(Verified<Graph>, HashSet<String>), IoError> {
    let eight_bits = |name: &str| file.dtype(name).as_deref() == Some("I8");
    let rounded = |stem: &str| file.shape(&format!("{stem}{VALUE_SCALE}")).is_some();
    let parted = |name: &str| file.shape(&format!("{name}{OUTPUT_SCALE}")).is_some();
    let structure = Structure::with_own(&prepare(graph), &eight_bits, &rounded, &parted);
    let mut reading = Reading { file, used: HashSet::new(), top: top(file)? };
    let mut values = Values::default();
    for id in structure.ids() {
        if structure.is_product(id) {
            values.layers.insert(id, reading.layer(&structure, id)?);
        }
        let class = structure.class(id);
        if structure.is_whole(id) && !values.quantisations.contains_key(&class) {
            values.quantisations.insert(class, reading.quantisation(&structure.keys(class))?);
        }
    }
    let used = reading.used;
    if let Some(name) = file.names().iter().find(|name| eight_bits(name) && !used.contains(*name)) {
        let reason =
            format!("{name:?} has eight bits, and is the weight of no convolution or dense layer of the model");
        return Err(IoError::unsupported(file.path(), reason));
    }
    let Applied { graph, .. } = apply(&structure, &values).map_err(|error| {
        IoError::unsupported(file.path(), format!("its whole numbers do not fit the model: {error}"))
    })?;
    Ok((graph, used))
}

/// The largest whole number of a value.
fn top(file: &WeightFile) -> Result<u8, IoError> {
    match file.metadata().and_then(|metadata| metadata.get(ACTIVATION_BITS)).map(String::as_str) {
        None | Some("8") => Ok(u8::MAX),
        Some("7") => Ok(i8::MAX as u8),
        Some(other) => {
            Err(IoError::unsupported(file.path(), format!("{ACTIVATION_BITS:?} is {other:?}; accepted: \"7\", \"8\"")))
        }
    }
}

struct Reading<'f> {
    file: &'f WeightFile,
    used: HashSet<String>,
    top: u8,
}

impl Reading<'_> {
    fn layer(&mut self, structure: &Structure, id: NodeId) -> Result<Layer, IoError> {
        let node = &structure.graph[id];
        let weight = &structure.graph[node.params[0]];
        let (stem, rows) = (structure.name(id), weight.dims[0]);
        let numbers = self.integers(&weight.name, &weight.dims)?;
        // Of the type's 256 numbers the least has no opposite.
        if numbers.iter().any(|&w| w == i32::from(i8::MIN)) {
            return Err(self.wrong(&weight.name, "holds -128; weights are -127 to 127"));
        }
        let scales = self.reals(&format!("{stem}{WEIGHT_SCALE}"), rows)?;
        if let Some(scale) = scales.iter().find(|scale| !Quantisation::SCALES.contains(scale)) {
            return Err(self.wrong(&format!("{stem}{WEIGHT_SCALE}"), &format!("holds {scale:?}, which is no scale")));
        }
        let name = format!("{stem}.bias");
        let has_bias = node.params.len() > 1 || self.file.shape(&name).is_some();
        let bias = has_bias.then(|| self.integers(&name, &[rows])).transpose()?;
        Ok(Layer {
            weight: numbers.iter().map(|&w| w as i8).collect(),
            scales: scales.into(),
            bias: bias.map(Arc::from),
        })
    }

    /// The one that all keys give.
    fn quantisation(&mut self, keys: &[String]) -> Result<Quantisation, IoError> {
        let mut found: Option<Quantisation> = None;
        for key in keys {
            let (scale_key, zero_key) = (format!("{key}_scale"), format!("{key}_zero_point"));
            let (scale, zero) = (self.reals(&scale_key, 1)?[0], self.integers(&zero_key, &[1])?[0]);
            let zero = u8::try_from(zero).map_err(|_| self.wrong(&zero_key, &format!("is {zero}, not 0 to 255")))?;
            let quantisation = Quantisation::new(scale, zero, self.top).ok_or_else(|| {
                self.wrong(&scale_key, &format!("is {scale:?}, with a zero point of {zero}: no numbers have these"))
            })?;
            if found.is_some_and(|found| found != quantisation) {
                let reason = format!("differs from {:?}, though both are of one value", format!("{}_scale", keys[0]));
                return Err(self.wrong(&scale_key, &reason));
            }
            found = Some(quantisation);
        }
        Ok(found.expect("each class has a key"))
    }

    fn integers(&mut self, name: &str, dims: &[usize]) -> Result<Vec<i32>, IoError> {
        self.check(name, dims)?;
        self.file.read_integers(name)
    }

    fn reals(&mut self, name: &str, len: usize) -> Result<Vec<f32>, IoError> {
        self.check(name, &[len])?;
        Ok(self.file.read(name)?.into_owned())
    }

    fn check(&mut self, name: &str, dims: &[usize]) -> Result<(), IoError> {
        let missing = || IoError::Missing { path: self.file.path().to_owned(), what: "tensor", name: name.to_owned() };
        let shape = self.file.shape(name).ok_or_else(missing)?;
        let sizes = |dims: &[usize]| dims.iter().copied().filter(|&size| size != 1).collect::<Vec<_>>();
        if sizes(shape) != sizes(dims) {
            return Err(self.wrong(name, &format!("has shape {shape:?}, the model needs {dims:?}")));
        }
        self.used.insert(name.to_owned());
        Ok(())
    }

    fn wrong(&self, name: &str, reason: &str) -> IoError {
        IoError::unsupported(self.file.path(), format!("tensor {name:?} {reason}"))
    }
}

/// A tensor to be written: name, element type as safetensors spells it, sizes and little-endian bytes.
pub type Stored = (String, safetensors::Dtype, Vec<usize>, Vec<u8>);

/// All tensors of the file that makes a network compute on these whole numbers.
pub fn tensors(structure: &Structure, whole: &Values, weights: &dyn WeightSource) -> Vec<Stored> {
    use safetensors::Dtype::{F32, I8, I32, U8};
    let mut stored: BTreeMap<String, Stored> = BTreeMap::new();
    let mut add =
        |name: String, dtype, dims: Vec<usize>, bytes| stored.insert(name.clone(), (name, dtype, dims, bytes));
    let reals = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    for id in structure.ids() {
        let node = &structure.graph[id];
        if structure.is_product(id) {
            let (stem, layer) = (structure.name(id), &whole.layers[&id]);
            let weight = &structure.graph[node.params[0]];
            add(weight.name.clone(), I8, weight.dims.clone(), layer.weight.iter().map(|&w| w as u8).collect());
            add(format!("{stem}{WEIGHT_SCALE}"), F32, vec![layer.scales.len()], reals(&layer.scales));
            if let Some(bias) = &layer.bias {
                let bytes = bias.iter().flat_map(|b| b.to_le_bytes()).collect();
                add(format!("{stem}.bias"), I32, vec![bias.len()], bytes);
            }
        } else if !matches!(node.op, Op::Input) {
            for param in read_params(structure, &node.params) {
                add(param.0, F32, param.1, reals(&values(&structure.graph, param.2, weights)));
            }
        }
    }
    for (&class, quantisation) in &whole.quantisations {
        for key in structure.keys(class) {
            add(format!("{key}_scale"), F32, vec![1], reals(&[quantisation.scale()]));
            add(format!("{key}_zero_point"), U8, vec![1], vec![quantisation.zero_point()]);
        }
    }
    stored.into_values().collect()
}

/// Name, sizes and handle of the weights of a file that parameters are made of.
fn read_params(structure: &Structure, params: &[ParamId]) -> Vec<(String, Vec<usize>, ParamId)> {
    let graph = &structure.graph;
    let mut todo = params.to_vec();
    let mut found = Vec::new();
    while let Some(id) = todo.pop() {
        if graph[id].is_read() {
            found.push((graph[id].name.clone(), graph[id].dims.clone(), id));
        }
        todo.extend(graph[id].source.parts());
    }
    found
}

/// Writes tensors as a safetensors file, and gives its size in bytes. `activation_bits` are those of values between layers
/// on whole numbers.
///
/// # Errors
/// What the system refuses.
pub fn write(path: &Path, stored: &[Stored], activation_bits: Option<u8>) -> Result<u64, IoError> {
    let metadata = activation_bits.map(|bits| [(ACTIVATION_BITS.to_owned(), bits.to_string())].into_iter().collect());
    let views = stored.iter().map(|(name, dtype, dims, bytes)| {
        let view = safetensors::tensor::TensorView::new(*dtype, dims.clone(), bytes);
        (name.as_str(), view.expect("bytes that fill the sizes"))
    });
    let bytes = safetensors::serialize(views, metadata).expect("names and sizes that were checked");
    crate::io::write::write_atomically(path, |to| to.write_all(&bytes))?;
    Ok(bytes.len() as u64)
}
