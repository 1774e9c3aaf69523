//! Inputs of a model from files, or random ones.

use super::arguments::name_and_file;
use super::{Failure, Outcome};
use crate::io::card::Preprocessing;
use crate::io::npy::{Array, ArrayData};
use crate::io::preprocess::{Input, Layout, own_dims, prepare};
use crate::ir::{Graph, NodeId, Sizes};
use crate::model::Model;
use crate::tensor::{Batch, Tensor};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct InputArgs {
    /// Pictures (PNG, JPEG) or arrays (.npy, .npz, safetensors; of several arrays in a file, the one with the input's
    /// name), `-` for standard input; several files make a batch. For a model of several inputs: `--input name=FILE`
    /// for each
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub input: Vec<OsString>,
    /// Meaning of the dimensions of u8 arrays, where their shape does not tell
    #[arg(long, value_parser = parse_layout, value_name = "HW|NHW|HWC|CHW|NHWC|NCHW")]
    pub layout: Option<Layout>,
    /// Neither resize nor crop pictures, as the model's card says: take them in their own size, for which the model is
    /// compiled where its sizes are free
    #[arg(long)]
    pub keep_size: bool,
}

pub(super) fn parse_layout(text: &str) -> Result<Layout, String> {
    let known = || Layout::ALL.iter().map(|l| l.name()).collect::<Vec<_>>().join(", ");
    Layout::ALL
        .into_iter()
        .find(|l| l.name().eq_ignore_ascii_case(text))
        .ok_or_else(|| format!("expected one of {}", known()))
}

/// The files of each input of the model.
pub struct Files {
    pub tensors: Vec<Tensor>,
    /// For each sample, the file it came from, where that is clear.
    pub names: Vec<String>,
}

/// The inputs that the arguments name; `None` where they name none. Where its sizes are free and `-D` gives none, the model
/// is built anew for those that files have of their own.
pub fn read(args: &InputArgs, model: &mut Model) -> Result<Option<Files>, Failure> {
    if args.input.is_empty() {
        return Ok(None);
    }
    let preprocessing = model.card().map(|card| card.preprocessing.clone()).unwrap_or_default();
    let of_input = files_of_inputs(&args.input, model.graph())?;
    let contents = contents(&of_input, model.graph())?;
    let sizes = own_sizes(args, model, &preprocessing, &contents)?;
    if sizes.iter().any(|size| !model.graph().sizes().contains(size)) {
        model.resize(&sizes)?;
    }
    if args.keep_size {
        check_kept(args, model.graph(), &contents)?;
    }
    let mut names = Vec::new();
    let mut tensors = Vec::new();
    for (index, (&id, contents)) in model.graph().inputs.iter().zip(contents).enumerate() {
        let (ty, files) = (&model.graph()[id].ty, &of_input[index]);
        let parts = files
            .iter()
            .zip(contents)
            .map(|(file, content)| Ok(prepare(file, content.input, &preprocessing, &ty.dims, args.layout)?));
        let parts = parts.collect::<Result<Vec<Tensor>, Failure>>()?;
        if index == 0 {
            names = files.iter().zip(&parts).flat_map(|(file, part)| sample_names(file, part.batch())).collect();
        }
        tensors.push(join(parts));
    }
    Ok(Some(Files { tensors, names }))
}

/// A file that was read.
struct Content<'a> {
    file: &'a Path,
    input: Input,
}

impl Content<'_> {
    /// Pictures may be resized; arrays of numbers are what they are.
    fn is_picture(&self) -> bool {
        !matches!(self.input, Input::Array(Array { data: ArrayData::F32(_), .. }))
    }
}

/// The files of each input.
fn contents<'a>(files: &'a [Vec<PathBuf>], graph: &Graph) -> Result<Vec<Vec<Content<'a>>>, Failure> {
    let of_input = |(&id, files): (&NodeId, &'a Vec<PathBuf>)| {
        let name = &graph[id].origin.path;
        files.iter().map(|file| Ok(Content { file, input: Input::read(file, Some(name))? })).collect()
    };
    graph.inputs.iter().zip(files).map(of_input).collect()
}

/// The free sizes that files have of their own: arrays of numbers, and pictures that are not brought to another size.
fn own_sizes(
    args: &InputArgs,
    model: &Model,
    how: &Preprocessing,
    contents: &[Vec<Content>],
) -> Result<Sizes, Failure> {
    let graph = model.graph();
    let resizes = how.resizes() && !args.keep_size;
    let mut found: Vec<(&str, usize, &Path)> = Vec::new();
    for free in graph.free.iter().filter(|free| !model.defines(&free.name)) {
        let known = &graph[graph.inputs[free.input]].ty.dims;
        for content in contents[free.input].iter().filter(|content| !(resizes && content.is_picture())) {
            let Some(own) = own_dims(&content.input, known, args.layout) else { continue };
            let (name, size) = (free.name.as_str(), own[free.dim]);
            match found.iter().find(|(known, ..)| *known == name) {
                Some((_, first, file)) if *first != size => {
                    let (one, other) = (file.display(), content.file.display());
                    let message = format!("{one} has {name} = {first}, {other} has {name} = {size}");
                    return Err(Failure::input(format!("{message}: what runs together has one size")));
                }
                Some(_) => {}
                None => found.push((name, size, content.file)),
            }
        }
    }
    Ok(found.into_iter().map(|(name, size, _)| (name.to_string(), size)).collect())
}

/// Whether the model takes the pictures in their own size.
fn check_kept(args: &InputArgs, graph: &Graph, contents: &[Vec<Content>]) -> Outcome {
    for (&id, contents) in graph.inputs.iter().zip(contents) {
        for content in contents.iter().filter(|content| content.is_picture()) {
            let known = &graph[id].ty.dims;
            if let Some(own) = own_dims(&content.input, known, args.layout).filter(|own| own != known) {
                let (file, shape) = (content.file.display(), graph.shape_of(id));
                let message = format!("{file}: its own size is {}x{}, the model takes {shape}", own[1], own[2]);
                return Err(Failure::input(format!("{message}; without --keep-size pictures are brought to it")));
            }
        }
    }
    Ok(())
}

fn sample_names(file: &Path, batch: usize) -> Vec<String> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    match batch {
        1 => vec![name.to_string()],
        _ => (0..batch).map(|n| format!("{name}[{n}]")).collect(),
    }
}

/// Which files belong to which input of the model.
fn files_of_inputs(given: &[OsString], graph: &Graph) -> Result<Vec<Vec<PathBuf>>, Failure> {
    let names: Vec<&str> = graph.inputs.iter().map(|&id| graph[id].origin.path.as_str()).collect();
    let mut files: Vec<Vec<PathBuf>> = vec![Vec::new(); names.len()];
    for word in given {
        let of_name = |(name, file)| Some((names.iter().position(|n| *n == name)?, file));
        let named = name_and_file(word).and_then(of_name);
        match named {
            Some((index, file)) => files[index].push(file.into()),
            None if names.len() == 1 => files[0].push(word.into()),
            None => {
                let file = word.to_string_lossy();
                let message = format!("the model has the inputs {}; write `--input NAME={file}`", names.join(", "));
                return Err(Failure::usage(message));
            }
        }
    }
    match files.iter().position(Vec::is_empty) {
        Some(missing) => {
            Err(Failure::usage(format!("no file for the input `{0}`; write `--input {0}=FILE`", names[missing])))
        }
        None => Ok(files),
    }
}

/// Stacks samples along the batch.
fn join(parts: Vec<Tensor>) -> Tensor {
    let batch = parts.iter().map(Tensor::batch).sum::<usize>();
    let shape = [&[batch], &parts[0].shape()[1..]].concat();
    Tensor::new(shape, parts.into_iter().flat_map(Tensor::into_data).collect())
}

/// Samples of a run: as many as the model has, if it says so, else as many as were asked for, else one.
///
/// # Errors
/// Where both differ.
pub fn batch(given: Option<u16>, graph: &Graph) -> Result<usize, Failure> {
    let own = graph.inputs.iter().find_map(|&id| match graph[id].ty.batch {
        Batch::Fixed(batch) => Some(batch),
        Batch::Symbolic(_) => None,
    });
    match (own, given.map(usize::from)) {
        (Some(own), Some(given)) if own != given => {
            Err(Failure::usage(format!("the model has a batch of {own}; leave out `--batch {given}`")))
        }
        (own, given) => Ok(own.or(given).unwrap_or(1)),
    }
}

/// Values in [-1, 1) that depend on the seed only.
///
/// # Errors
/// Where they are more than the limit of memory, in bytes.
pub fn random(graph: &Graph, batch: usize, seed: u64, limit: usize) -> Result<Vec<Tensor>, Failure> {
    let elements = graph.inputs.iter().map(|&id| graph[id].ty.elements().saturating_mul(batch));
    let bytes = elements.fold(0, usize::saturating_add).saturating_mul(4);
    if bytes > limit {
        let limit = format!("above the limit of {limit} bytes (raise it with --memory-limit)");
        return Err(Failure::input(format!("random inputs of {bytes} bytes: {limit}")));
    }
    let mut state = seed;
    let mut draw = || {
        // Knuth's MMIX generator; its high bits are good enough for test inputs.
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    let tensors = graph.inputs.iter().map(|&id| {
        let shape = graph[id].ty.shape(batch);
        let len = shape.iter().product();
        Tensor::new(shape, std::iter::repeat_with(&mut draw).take(len).collect())
    });
    Ok(tensors.collect())
}
