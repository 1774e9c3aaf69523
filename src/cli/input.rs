//! Inputs of a model from files, or random ones.

use super::Failure;
use super::arguments::name_and_file;
use crate::error::Error;
use crate::io::preprocess::Layout;
use crate::ir::Graph;
use crate::model::Model;
use crate::tensor::Tensor;
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
}

fn parse_layout(text: &str) -> Result<Layout, String> {
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

/// The inputs that the arguments name; `None` where they name none.
pub fn read(args: &InputArgs, model: &Model) -> Result<Option<Files>, Failure> {
    if args.input.is_empty() {
        return Ok(None);
    }
    let of_input = files_of_inputs(&args.input, model.graph())?;
    let mut names = Vec::new();
    let mut tensors = Vec::new();
    for (index, ((name, _), files)) in model.inputs().zip(&of_input).enumerate() {
        let parts = files.iter().map(|file| model.read_input(name, file, args.layout));
        let parts = parts.collect::<Result<Vec<Tensor>, Error>>()?;
        if index == 0 {
            names = files.iter().zip(&parts).flat_map(|(file, part)| sample_names(file, part.batch())).collect();
        }
        tensors.push(join(parts));
    }
    Ok(Some(Files { tensors, names }))
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

/// Values in [-1, 1) that depend on the seed only.
pub fn random(graph: &Graph, batch: usize, seed: u64) -> Vec<Tensor> {
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
    tensors.collect()
}
