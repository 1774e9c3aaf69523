//! `svertka quantize`: weights of eight bits, with which a network computes on whole numbers, or of 16, which change
//! nothing else.

use super::args::{MemoryArgs, ModelArgs};
use super::input::{self, InputArgs};
use super::outputs::{check_outputs, print_beside};
use super::progress::Progress;
use super::weights::{Missing, WeightArgs};
use super::{Failure, Outcome, model};
use crate::analysis::figures;
use crate::bench::table::table;
use crate::io::preprocess::Layout;
use crate::io::write::{is_stdout, write_atomically};
use crate::model::{BoundWeights, Model};
use crate::quant::html::{self, About, WeightsOf};
use crate::quant::{self, Beyond, Halved, LayerReport, Method, Quantised, Wishes};
use crate::runtime::check_calibration;
use crate::tensor::{Half, Tensor};
use clap::ValueEnum;
use serde::Serialize;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    weights: WeightArgs,
    /// Examples of what the network will see, from which the ranges of values are taken: pictures (PNG, JPEG) or arrays
    /// (.npy, .npz, safetensors). For a model of several inputs: `--calibrate name=FILE` for each
    #[arg(long, num_args = 1.., value_name = "FILE", required_unless_present = "weights_type")]
    calibrate: Vec<OsString>,
    /// Weights of 16 bits in the place of eight: they are rounded, and all is computed in f32 as before. Dense layers,
    /// which wait for their weights from memory, take 0.5 to 0.6 of the time, and the file half the bytes
    #[arg(long, value_enum, value_name = "TYPE", conflicts_with_all = [
        "calibrate", "layout", "method", "outside", "keep", "budget", "activation_bits", "unpaired", "html",
    ])]
    weights_type: Option<WeightsType>,
    /// Meaning of the dimensions of u8 arrays, where their shape does not tell
    #[arg(long, value_parser = input::parse_layout, value_name = "HW|NHW|HWC|CHW|NHWC|NCHW")]
    layout: Option<Layout>,
    /// Weight file to write (safetensors), which the other commands take by --weights
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Write a page that shows what each layer lost, and how much of the work and of the weights it has
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
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
    /// Bits of values between layers
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u8).range(7..=8))]
    activation_bits: u8,
    /// Round each weight by itself. Otherwise, of convolutions that have no Winograd, weights of one sign of channels 2i and
    /// 2i + 1 become 128 together at most, so that the sum of their products has 16 bits: processors without dot products of
    /// bytes are up to 1.3 times as fast then, and the weights lose 1 dB
    #[arg(long)]
    unpaired: bool,
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
enum WeightsType {
    /// 11 bits of precision, numbers up to 65504
    F16,
    /// 8 bits of precision, the range of f32
    Bf16,
}

impl From<WeightsType> for Half {
    fn from(weights: WeightsType) -> Half {
        match weights {
            WeightsType::F16 => Half::F16,
            WeightsType::Bf16 => Half::Bf16,
        }
    }
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
    check_outputs(&outputs(args))?;
    let mut model = model::load(&args.model)?;
    if let Some(weights) = args.weights_type {
        return halve(args, &model, weights.into());
    }
    let files = InputArgs { input: args.calibrate.clone(), layout: args.layout, keep_size: false };
    let Some(files) = input::read(&files, &mut model)? else {
        return Err(Failure::usage("nothing to calibrate with; give examples with --calibrate"));
    };
    let weights = args.weights.choose(&model, Missing::Refused)?;
    check_calibration(model.graph(), files.tensors[0].batch().min(TOGETHER), args.memory.limit())?;
    let wishes = Wishes {
        method,
        activation_bits: args.activation_bits,
        paired: !args.unpaired,
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
    let bytes = quant::write(&args.output, &stored, Some(args.activation_bits))?;
    if let Some(path) = &args.html {
        let before = before(&model, &weights);
        let after = WeightsOf { file: (!is_stdout(&args.output)).then(|| named(&args.output)), bytes };
        let html = html::page(&quantised, &About { name: &model.graph().name, wishes: &wishes, before, after });
        write_atomically(path, |out| out.write_all(html.as_bytes()))?;
    }
    drop(progress);
    let text = match args.format {
        Format::Table => text(&quantised),
        Format::Json => json(&quantised),
    };
    print_beside(&outputs(args), &text)
}

/// The files to write.
fn outputs(args: &Args) -> Vec<&Path> {
    [Some(&args.output), args.html.as_ref()].into_iter().flatten().map(PathBuf::as_path).collect()
}

fn named(path: &Path) -> String {
    path.display().to_string()
}

/// The weights in f32: their file, or else all of them together.
fn before(model: &Model, weights: &BoundWeights) -> WeightsOf {
    let all = || 4 * figures(model.graph()).parameters;
    let (file, bytes) = weights.file().map_or_else(|| (None, all()), |(path, bytes)| (Some(named(path)), bytes));
    WeightsOf { file, bytes }
}

/// Writes weights of 16 bits.
fn halve(args: &Args, model: &Model, half: Half) -> Outcome {
    let weights = args.weights.choose(model, Missing::Refused)?;
    let (stored, halved) = quant::halve(model.graph(), &weights, half).map_err(|Beyond { name, value }| {
        let way_out = "`--weights-type bf16` has the range of f32";
        Failure::input(format!("{}: {name:?} holds {value:?}, beyond {half}; {way_out}", model.name()))
    })?;
    quant::write(&args.output, &stored, None)?;
    let text = match args.format {
        Format::Table => halves_text(&halved, half),
        Format::Json => halves_json(&halved, half),
    };
    print_beside(&outputs(args), &text)
}

fn halves_text(halved: &[Halved], half: Half) -> String {
    let decibels = |snr: Option<f64>| snr.map_or("exact".to_owned(), |snr| format!("{snr:.1}"));
    let rows = halved.iter().map(|one| vec![one.name.clone(), half.to_string(), decibels(one.snr_db)]);
    let all =
        quant::snr_db(halved).map_or("nothing was rounded".to_owned(), |snr| format!("{snr:.1} dB of all together"));
    format!("{}\n\nsignal to noise of the weights: {all}", table(2, &["weights", "type", "dB"], rows))
}

fn halves_json(halved: &[Halved], half: Half) -> String {
    let weights = halved.iter().map(|one| HalvedJson { name: &one.name, snr_db: one.snr_db }).collect();
    let json = HalvesJson { schema_version: 1, weights_type: half.to_string(), snr_db: quant::snr_db(halved), weights };
    serde_json::to_string_pretty(&json).expect("numbers and strings")
}

#[derive(Serialize)]
struct HalvesJson<'h> {
    schema_version: u32,
    weights_type: String,
    /// `None` where nothing was rounded.
    snr_db: Option<f64>,
    weights: Vec<HalvedJson<'h>>,
}

#[derive(Serialize)]
struct HalvedJson<'h> {
    name: &'h str,
    snr_db: Option<f64>,
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
    let decibels = |value: Option<f64>| match value {
        None => String::new(),
        Some(f64::INFINITY) => "exact".into(),
        Some(value) => format!("{value:.1}"),
    };
    let row = |layer: &LayerReport| {
        let form = layer.kept.as_ref().map_or("int8".to_owned(), |why| format!("f32: {why}"));
        let ratios = [layer.weights_snr_db, layer.input_snr_db, Some(layer.snr_db)].map(decibels);
        [&[layer.name.clone(), form][..], &ratios].concat()
    };
    let columns = ["layer", "form", "weights dB", "input dB", "value dB"];
    let table = table(2, &columns, quantised.layers.iter().map(row));
    let measured = &quantised.measured;
    let (agreeing, samples) = (measured.agreeing, measured.samples);
    let part = 100.0 * agreeing as f64 / samples as f64;
    format!(
        "{table}\n\nsignal to noise: of a layer's sums by the rounding of its weights, of what it reads, and of its value with all errors\n\
         before it\n\
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
    /// `null` where it is infinite: there are no errors.
    value_snr_db: f64,
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
