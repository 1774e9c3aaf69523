//! `svertka quantize`: weights of eight bits, with which a network computes on whole numbers.

use super::args::{MemoryArgs, ModelArgs};
use super::input::{self, InputArgs};
use super::progress::Progress;
use super::weights::{Missing, WeightArgs};
use super::{Failure, Outcome, model, print};
use crate::bench::table::table;
use crate::io::preprocess::Layout;
use crate::io::write::check_writable;
use crate::quant::{self, LayerReport, Method, Quantised, Wishes};
use crate::runtime::check_interpreter;
use crate::tensor::Tensor;
use clap::ValueEnum;
use serde::Serialize;
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    weights: WeightArgs,
    /// Examples of what the network will see, from which the ranges of values are taken: pictures (PNG, JPEG) or arrays
    /// (.npy, .npz, safetensors). For a model of several inputs: `--calibrate name=FILE` for each
    #[arg(long, num_args = 1.., value_name = "FILE", required = true)]
    calibrate: Vec<OsString>,
    /// Meaning of the dimensions of u8 arrays, where their shape does not tell
    #[arg(long, value_parser = input::parse_layout, value_name = "HW|NHW|HWC|CHW|NHWC|NCHW")]
    layout: Option<Layout>,
    /// Weight file to write (safetensors), which the other commands take by --weights
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// How the ranges of values are found
    #[arg(long, value_enum, default_value = "squares")]
    method: MethodArg,
    /// With `--method percentile`: how much of the values lies outside of the range at each end, in percent; 0.01 where
    /// nothing is given
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    outside: Option<f64>,
    /// Layer that stays f32, by what the names of its weights begin with
    #[arg(long, value_name = "LAYER")]
    keep: Vec<String>,
    /// Turn layers back to f32, the least exact first, until no more of the examples change their class: `0.5%`
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    budget: Option<f64>,
    /// Bits of values between layers. With 7, processors without dot products of eight bits have a faster instruction
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(7..=8))]
    activation_bits: u8,
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    #[command(flatten)]
    memory: MemoryArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum MethodArg {
    /// All that was seen
    MinMax,
    /// All but what is rare
    Percentile,
    /// The range with the least squared error
    Squares,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Table,
    Json,
}

fn percent(text: &str) -> Result<f64, String> {
    let number: Result<f64, _> = text.strip_suffix('%').unwrap_or(text).parse();
    let within = number.ok().filter(|number| (0.0..=100.0).contains(number));
    within.ok_or("expected a number of percent, 0 to 100".into())
}

/// Samples that are run together.
const TOGETHER: usize = 8;

pub fn run(args: &Args) -> Outcome {
    let method = method(args)?;
    check_writable(&args.output)?;
    let mut model = model::load(&args.model)?;
    let files = InputArgs { input: args.calibrate.clone(), layout: args.layout, keep_size: false };
    let Some(files) = input::read(&files, &mut model)? else {
        return Err(Failure::usage("nothing to calibrate with; give examples with --calibrate"));
    };
    let weights = args.weights.choose(&model, Missing::Refused)?;
    // Those in f32 are kept until those on whole numbers have been compared with them.
    check_interpreter(model.graph(), files.tensors[0].batch().min(TOGETHER), 2, args.memory.limit())?;
    let wishes = Wishes {
        method,
        activation_bits: args.activation_bits,
        keep: args.keep.iter().cloned().collect(),
        budget: args.budget.map(|percent| percent / 100.0),
    };
    let mut progress = Progress::new();
    let mut show = |part: f64, text: &str| progress.show_bar(part, text);
    let examples = examples(&files.tensors);
    let quantised = quant::quantise(model.graph(), &weights, &examples, &wishes, &mut show);
    let quantised = quantised.map_err(|message| Failure::input(format!("{}: {message}", model.name())))?;
    let folded = quant::Folded::new(model.graph(), &weights);
    let stored = quant::tensors(&quantised.structure, &quantised.values, &folded);
    quant::write(&args.output, &stored, args.activation_bits)?;
    drop(progress);
    match args.format {
        Format::Table => print(&text(&quantised)),
        Format::Json => print(&json(&quantised)),
    }
}

fn method(args: &Args) -> Result<Method, Failure> {
    match (args.method, args.outside) {
        (MethodArg::Percentile, outside) => Ok(Method::Percentile(outside.unwrap_or(0.01))),
        (_, Some(_)) => Err(Failure::usage("`--outside` says what is rare; add `--method percentile`")),
        (MethodArg::MinMax, None) => Ok(Method::MinMax),
        (MethodArg::Squares, None) => Ok(Method::LeastSquares),
    }
}

/// The samples, in parts that are run together.
fn examples(inputs: &[Tensor]) -> Vec<Vec<Tensor>> {
    let part = |input: &Tensor, first: usize| {
        let (batch, len) = (input.batch(), input.data().len() / input.batch());
        let last = (first + TOGETHER).min(batch);
        let shape = [&[last - first], &input.shape()[1..]].concat();
        Tensor::new(shape, input.data()[first * len..last * len].to_vec())
    };
    let starts = (0..inputs[0].batch()).step_by(TOGETHER);
    starts.map(|first| inputs.iter().map(|input| part(input, first)).collect()).collect()
}

fn text(quantised: &Quantised) -> String {
    let decibels = |value: Option<f64>| value.map_or(String::new(), |value| format!("{value:.1}"));
    let row = |layer: &LayerReport| {
        let form = layer.kept.as_ref().map_or("int8".to_owned(), |why| format!("f32: {why}"));
        let ratios = [layer.weights_snr_db, layer.input_snr_db, layer.snr_db].map(decibels);
        [&[layer.name.clone(), form][..], &ratios].concat()
    };
    let columns = ["layer", "form", "weights dB", "input dB", "value dB"];
    let table = table(2, &columns, quantised.layers.iter().map(row));
    let measured = &quantised.measured;
    let (agreeing, samples) = (measured.agreeing, measured.samples);
    let part = 100.0 * agreeing as f64 / samples as f64;
    format!(
        "{table}\n\nsignal to noise: of the weights, of what a layer reads, and of its value with all errors before it\n\
         the first output is largest at the same place as in f32 for {agreeing} of {samples} examples, {part:.1} %"
    )
}

#[derive(Serialize)]
struct Json<'q> {
    schema_version: u32,
    layers: Vec<JsonLayer<'q>>,
    examples: usize,
    agreeing: usize,
}

#[derive(Serialize)]
struct JsonLayer<'q> {
    layer: &'q str,
    form: &'static str,
    reason: Option<&'q str>,
    weights_snr_db: Option<f64>,
    input_snr_db: Option<f64>,
    value_snr_db: Option<f64>,
}

fn json(quantised: &Quantised) -> String {
    let layers = quantised.layers.iter().map(|layer| JsonLayer {
        layer: &layer.name,
        form: if layer.kept.is_some() { "f32" } else { "int8" },
        reason: layer.kept.as_deref(),
        weights_snr_db: layer.weights_snr_db,
        input_snr_db: layer.input_snr_db,
        value_snr_db: layer.snr_db,
    });
    let quant::Measured { samples, agreeing, .. } = quantised.measured;
    let json = Json { schema_version: 1, layers: layers.collect(), examples: samples, agreeing };
    serde_json::to_string_pretty(&json).expect("numbers and strings")
}
