//! `svertka show`: a page to look into a network with.

use super::args::{EngineArgs, ModelArgs};
use super::input::{self, Files, InputArgs};
use super::weights::{Missing, WeightArgs};
use super::{Failure, Outcome, bench, model, progress, tell};
use crate::bench::html;
use crate::bench::report::Report;
use crate::interp;
use crate::io::write::{check_writable, is_stdout, write_atomically};
use crate::ir::weights::WeightSource;
use crate::ir::{Graph, NodeId, Output, verify};
use crate::layers::{Accumulate, Op};
use crate::model::{BoundWeights, Model};
use crate::page::{Network, Numbers, Page, SHOW, Sandbox, Shown, Values, json};
use crate::runtime::{check_inputs, check_interpreter};
use crate::tensor::{Batch, Tensor};
use serde::Serialize;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    engine: EngineArgs,
    #[command(flatten)]
    weights: WeightArgs,
    #[command(flatten)]
    input: InputArgs,
    /// Times to be shown too: what `svertka bench --json` wrote, best with `--per-layer`
    #[arg(long, value_name = "FILE")]
    bench: Option<PathBuf>,
    /// File to write, `-` for standard output; by default the network's name with .html, in this folder
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// What was given to be looked at, and what is missing.
#[derive(Serialize)]
struct Given {
    /// The name of the input's file.
    input: Option<String>,
    weights: bool,
    random: bool,
    picture: Option<Shown>,
    classes: Vec<(String, f32)>,
}

/// Bytes of all times.
const MAX_TIMES: usize = 4 << 20;
/// The likeliest classes that are shown.
const CLASSES: usize = 10;

pub fn run(args: &Args) -> Outcome {
    args.engine.options()?;
    args.output.as_deref().map_or(Ok(()), check_writable)?;
    let mut model = model::load(&args.model)?;
    let output = args.output.clone().unwrap_or_else(|| format!("{}.html", model.graph().name).into());
    check_writable(&output)?;
    let times = args.bench.as_ref().map(|path| times(args, &model, path)).transpose()?;
    let files = input::read(&args.input, &mut model)?;
    let html = page(args, &model, files, times)?;
    let write = || write_atomically(&output, |out| out.write_all(html.as_bytes()));
    progress::during("writing the page", write)?;
    if !is_stdout(&output) {
        tell(&format!("{}: {} bytes; open it in a browser", output.display(), html.len()));
    }
    Ok(())
}

fn page(args: &Args, model: &Model, files: Option<Files>, times: Option<Report>) -> Result<String, Failure> {
    if let Some(files) = &files {
        check_sample(model.graph(), &files.tensors)?;
    }
    let weights = weights(args, model)?;
    let values =
        files.as_ref().zip(weights.as_ref()).map(|(files, weights)| values(args, model, weights, &files.tensors));
    let values = values.transpose()?;
    let network = Network::new(model.graph(), Some(model.sources())).map_err(Failure::input)?;
    let numbers = Numbers {
        graph: model.graph(),
        weights: weights.as_ref().map(|weights| weights as &dyn WeightSource),
        values: values.as_deref(),
    };
    let values = progress::during("drawing what it computes", || json(&Values::new(&numbers)));
    let data = [
        ("network", json(&network)),
        ("values", values),
        ("times", times_of(args, times, &network)?),
        ("sandbox", json(&Sandbox::default())),
        ("given", json(&given(args, model, files.as_ref(), &numbers)?)),
    ];
    let (body, style, scripts) = SHOW;
    let title = format!("{} - svertka", model.graph().name);
    Ok(Page { title: &title, body, style, scripts, data: &data }.to_html())
}

/// The results for this model in a file of `svertka bench`.
fn times(args: &Args, model: &Model, path: &Path) -> Result<Report, Failure> {
    let mut report = bench::read_report(path)?;
    let name = bench::setting_name(&args.model.model);
    let known: Vec<String> = report.results.iter().map(|result| result.setting.model.clone()).collect();
    report.results.retain(|result| result.setting.model == name);
    if report.results.is_empty() {
        let known = if known.is_empty() { "none at all".into() } else { known.join(", ") };
        return Err(Failure::input(format!("{}: no result for {name}; it has {known}", path.display())));
    }
    let hash = bench::model_hash(model);
    report.results.retain(|result| result.model_hash == hash);
    if report.results.is_empty() {
        let advice = "give the -D that it was measured with, or measure again";
        return Err(Failure::input(format!("{}: its {name} is another network; {advice}", path.display())));
    }
    Ok(report)
}

/// What the page shows of them.
fn times_of(args: &Args, times: Option<Report>, network: &Network) -> Result<String, Failure> {
    let times = json(&times.map(|report| html::times(&report, network)));
    let path = args.bench.as_deref().unwrap_or(Path::new(""));
    match times.len() {
        0..=MAX_TIMES => Ok(times),
        found => {
            Err(Failure::input(format!("{}: {found} bytes of times, a page has room for {MAX_TIMES}", path.display())))
        }
    }
}

/// The weights, if there are any: the page shows what can be shown without them.
fn weights(args: &Args, model: &Model) -> Result<Option<BoundWeights>, Failure> {
    let given = args.weights.weights.is_some() || args.weights.random_weights || args.weights.seed.is_some();
    let needed = model.weights().next().is_some();
    (given || model.has_weights() || !needed).then(|| args.weights.choose(model, Missing::Refused)).transpose()
}

fn check_sample(graph: &Graph, inputs: &[Tensor]) -> Result<(), Failure> {
    if let Some(Batch::Fixed(batch @ 2..)) = graph.input_types().map(|(_, ty)| &ty.batch).next() {
        return Err(Failure::usage(format!("a page shows one sample, and the model takes {batch} at once")));
    }
    match inputs[0].batch() {
        1 => Ok(check_inputs(graph, inputs).map(|_| ())?),
        found => Err(Failure::usage(format!("a page shows one sample, and here are {found}"))),
    }
}

/// The value of each node for one sample.
fn values(args: &Args, model: &Model, weights: &BoundWeights, inputs: &[Tensor]) -> Result<Vec<Tensor>, Failure> {
    let graph = model.graph();
    check_interpreter(graph, 1, 1, args.engine.memory.limit())?;
    let Some(options) = args.engine.options()? else {
        let mut values = Vec::with_capacity(graph.nodes.len());
        let mut keep = |_: NodeId, value: &Tensor| values.push(value.clone());
        let interpret = || interp::run_observed(graph, weights, inputs, Accumulate::F32, &mut keep);
        progress::during("interpreting", interpret);
        return Ok(values);
    };
    let ids = graph.ids().filter(|&id| !matches!(graph[id].op, Op::Input));
    let outputs = ids.map(|id| Output { name: format!("{}", id.0), node: id }).collect();
    let every = verify(Graph { outputs, ..graph.clone().into_inner() }).expect("all layers can be outputs");
    let mut session = args.engine.tuned().session(every, weights, &options)?;
    let mut results = progress::during("running", || session.run(inputs))?.into_iter();
    let of = |id: NodeId| match graph.inputs.iter().position(|&input| input == id) {
        Some(input) => inputs[input].clone(),
        None => results.next().expect("an output for each layer"),
    };
    Ok(graph.ids().map(of).collect())
}

fn given(args: &Args, model: &Model, files: Option<&Files>, numbers: &Numbers) -> Result<Given, Failure> {
    let preprocessing = model.card().map(|card| card.preprocessing.clone()).unwrap_or_default();
    let output = numbers.values.map(|values| &values[model.graph().outputs[0].node.0 as usize]);
    Ok(Given {
        input: files.and_then(|files| files.names.first().cloned()),
        weights: numbers.weights.is_some(),
        random: args.weights.random_weights || (args.weights.seed.is_some() && !model.has_weights()),
        picture: files.and_then(|files| Shown::new(&files.tensors[0], &preprocessing)),
        classes: output.map_or(Ok(Vec::new()), |output| classes(model, output))?,
    })
}

/// The likeliest classes; none where the output is no score for each.
fn classes(model: &Model, output: &Tensor) -> Result<Vec<(String, f32)>, Failure> {
    let scores = &output.shape()[1..];
    if scores[1..].iter().any(|&size| size != 1) || super::run::unusable_scores(output.data()).is_some() {
        return Ok(Vec::new());
    }
    let classes = model.classes(output)?.swap_remove(0).into_iter().take(CLASSES);
    Ok(classes
        .map(|class| (class.label.unwrap_or_else(|| format!("class {}", class.index)), class.probability))
        .collect())
}
