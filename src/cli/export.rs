//! `svertka export`: ONNX models.

use super::args::{MemoryArgs, ModelArgs};
use super::model;
use super::weights::{Missing, WeightArgs};
use super::{Failure, Outcome, print, progress, tell};
use crate::diagnostic::Diagnostic;
use crate::export::{self, Apart, MAX_INSIDE};
use crate::front::onnx::source::{self, Arguments};
use crate::io::write::{check_writable, is_stdout, write_atomically};
use crate::ir::weights::WeightSource;
use crate::ir::{Graph, Verified};
use crate::model::{BoundWeights, Model, split_variant, zoo};
use crate::runtime::check_largest_weight;
use std::io;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    weights: WeightArgs,
    /// File to write, `-` for standard output
    #[arg(short, long, value_name = "MODEL.onnx")]
    output: PathBuf,
    /// Write the weights into a file of their own beside the model, MODEL.onnx.data, which goes where the model goes;
    /// above 1.8 GB, where ONNX files end, this is done anyway
    #[arg(long)]
    external: bool,
    /// Fix the sizes of the inputs as they are, though the model leaves them free
    #[arg(long)]
    fixed_sizes: bool,
    #[command(flatten)]
    memory: MemoryArgs,
}

pub fn run(args: &Args) -> Outcome {
    if args.external {
        name_of(&args.output)?;
    }
    check_writable(&args.output)?;
    let mut model = model::load(&args.model)?;
    check_largest_weight(model.graph(), args.memory.limit())?;
    let weights = args.weights.choose_any(&model, Missing::Refused)?;
    let graph = weights.network(&model).clone();
    let others = at_other_sizes(args, &mut model, &weights)?;
    let onnx = convert(args, &model, &weights, (&graph, &others))?;
    let apart = args.external || onnx.length() > MAX_INSIDE;
    let name = apart.then(|| name_of(&args.output)).transpose()?;
    let write = || match name {
        Some(name) => write_apart(&args.output, name, &onnx, &weights),
        None => Ok(write_atomically(&args.output, |out| onnx.write(&weights, out, None))?),
    };
    progress::during("writing", write)
}

/// The name of a model file that has its weights beside it.
fn name_of(path: &Path) -> Result<&str, Failure> {
    path.file_name().and_then(|name| name.to_str()).filter(|_| !is_stdout(path)).ok_or_else(|| {
        let message = "weights in a file of their own need a model file with a name in UTF-8, which both files have";
        Failure::usage(format!("{}: {message}; give one with --output", path.display()))
    })
}

/// The graph for other inputs, which show what depends on the sizes; none where they are not free.
fn at_other_sizes(args: &Args, model: &mut Model, weights: &BoundWeights) -> Result<Vec<Verified<Graph>>, Failure> {
    let sizes = model.sizes();
    if args.fixed_sizes || sizes.is_empty() {
        return Ok(Vec::new());
    }
    let graph = model.graph().clone();
    let others = export::at_other_sizes(&graph, |sizes| {
        model.resize(sizes).ok()?;
        weights.network_of(model.graph().clone()).ok()
    });
    model.resize(&sizes)?;
    if others.is_empty() {
        tell(&format!("note: sizes are fixed, {}: the model takes none of the others that were tried", text(&sizes)));
    }
    Ok(others)
}

/// Sizes in words.
fn text(sizes: &[(String, usize)]) -> String {
    sizes.iter().map(|(name, size)| format!("{name} = {size}")).collect::<Vec<_>>().join(", ")
}

/// With free sizes where ONNX can say that; else they are fixed, and why is said.
fn convert<'g>(
    args: &Args,
    model: &Model,
    weights: &BoundWeights,
    (graph, others): (&'g Verified<Graph>, &'g [Verified<Graph>]),
) -> Result<export::Model<'g>, Failure> {
    let metadata = metadata(args, model, weights)?;
    let errors = match export::export(graph, others, &metadata) {
        Ok(onnx) => return Ok(onnx),
        Err(errors) => errors,
    };
    let fail = |errors: Vec<_>| Failure::Diagnosed(model::diagnostics(&errors, model.sources()));
    if others.is_empty() {
        return Err(fail(errors));
    }
    let onnx = export::export(graph, &[], &metadata).map_err(fail)?;
    let Diagnostic { code, message, .. } = &errors[0];
    tell(&format!("note[{code}]: sizes are fixed, {}: {message}", text(&model.sizes())));
    Ok(onnx)
}

/// What the model is made from, so that the very text can be had back.
fn metadata(args: &Args, model: &Model, weights: &BoundWeights) -> Result<Vec<(&'static str, String)>, Failure> {
    let variant = match zoo::named(args.model.model.as_ref()) {
        Some(entry) => entry.ok().and_then(|entry| entry.variant),
        None => split_variant(&args.model.model).1,
    };
    let arguments = Arguments { variant, define: args.model.define.clone(), aux: args.model.aux };
    let whole = weights.whole_file().map(source::of_whole).transpose()?;
    Ok(source::metadata(model.sources(), &arguments).into_iter().chain(whole).collect())
}

/// Both files take their places once both are whole, the model last: it says where what is where in the other.
fn write_apart(path: &Path, name: &str, onnx: &export::Model, weights: &dyn WeightSource) -> Outcome {
    let data = format!("{name}.data");
    let beside = path.with_file_name(&data);
    write_atomically(path, |out| {
        let both = |values: &mut dyn io::Write| onnx.write(weights, out, Some(Apart { name: &data, out: values }));
        write_atomically(&beside, both).map_err(io::Error::other)
    })?;
    print(&format!("{}, with its weights in {}\n", path.display(), beside.display()))
}
