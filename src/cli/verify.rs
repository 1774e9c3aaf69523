//! `svertka verify`: the compiled model against the interpreter, layer by layer, and against stored outputs.

use super::args::{EngineArgs, ModelArgs};
use super::arguments::name_and_file;
use super::weights::{Missing, WeightArgs};
use super::{Failure, Outcome, checked, input, model, print, progress};
use crate::interp::{self, ChannelError, distance};
use crate::io::npy::{Array, ArrayData};
use crate::io::preprocess::Input;
use crate::ir::{Graph, Output};
use crate::layers::Accumulate;
use crate::runtime::{Options, StepDone, check_interpreter, check_packing, check_planning};
use crate::tensor::{Products, Tensor};
use std::ffi::OsString;
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
    input: input::InputArgs,
    /// Outputs that the inputs are known to give (.npy, .npz, safetensors; of several arrays in a file, the one with the
    /// output's name). For a model of several outputs: one file with all, or `--expected name=FILE` for each
    #[arg(long, num_args = 1.., value_name = "FILE", requires = "input")]
    expected: Vec<OsString>,
    /// Run the tiles (the innermost, vectorised functions) in an emulator of their instructions, which reports every read
    /// and write outside the operands of a step. For avx2 and avx512, on any CPU. Takes hundreds of times as long as a
    /// run: some seconds for a billion multiply-accumulates
    #[arg(long)]
    checked: bool,
    /// Samples of random input; the model's own number where it has one, else 1
    #[arg(long, conflicts_with = "input", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Option<u16>,
    /// Largest difference allowed: of outputs, relative to the largest magnitude; of each channel of a layer, taken by
    /// itself, relative to the largest sum of the magnitudes of its terms. By default what is promised; with `--products bf16`
    /// outputs are compared with those of products of f32, and may differ by 0.1
    #[arg(long, value_parser = tolerance)]
    tolerance: Option<f32>,
}

/// Nothing is above NaN or infinity, so that they would accept everything.
fn tolerance(text: &str) -> Result<f32, String> {
    let number: Result<f32, _> = text.parse();
    number.ok().filter(|number| number.is_finite() && *number >= 0.0).ok_or("expected a number of at least 0".into())
}

pub fn run(args: &Args) -> Outcome {
    let options = if args.checked { Some(checked::options(&args.engine)?) } else { args.engine.options()? };
    let Some(options) = options else {
        return Err(Failure::usage("the interpreter is what the others are compared with; choose another engine"));
    };
    let mut model = model::load(&args.model)?;
    let inputs = match input::read(&args.input, &mut model)? {
        Some(files) => files.tensors,
        None => {
            let batch = input::batch(args.batch, model.graph())?;
            input::random(model.graph(), batch, args.weights.seed(), options.memory_limit)?
        }
    };
    let stored = read_expected(&args.expected, model.graph(), inputs[0].batch())?;
    let weights = args.weights.choose_any(&model, Missing::Random)?;
    let network = weights.network(&model);
    // Those of the outputs, and those from which each layer is judged.
    check_packing(network, options.memory_limit)?;
    check_planning(network, options.memory_limit)?;
    check_interpreter(network, inputs[0].batch(), 2, options.memory_limit)?;
    let mut session = args.engine.tuned().session(network.clone(), &weights, &options)?;
    let interpret = || interp::run(network, &weights, &inputs, Accumulate::F64);
    let expected = progress::during("computing what is right", interpret);
    let mut found: Vec<Option<Tensor>> = vec![None; session.plan().graph.nodes.len()];
    let mut keep =
        |done: &StepDone| done.values().into_iter().for_each(|(node, value)| found[node.0 as usize] = Some(value));
    let run = || session.run_collected(&inputs, &mut keep);
    let outputs = progress::during("running", run).map_err(checked::failure)?;
    progress::during("running on large numbers", || checked::run_large(&mut session, &inputs))?;
    checked::report(&session)?;
    let graph = &session.plan().graph;
    let judge = || interp::channel_errors(graph, &weights, &inputs, found);
    let errors = progress::during("judging each layer", judge);
    let layers = graph.ids().zip(errors).filter_map(|(node, error)| Some(Row::Layer(graph[node].name(), error?)));
    let mut rows: Vec<Row> = layers.collect();
    for (index, (output, found)) in graph.outputs.iter().zip(&outputs).enumerate() {
        let name = format!("output {}", output.name);
        if let Some(stored) = stored.get(index) {
            rows.push(Row::Output(format!("{name}, stored"), Difference::new(found, stored)));
        }
        rows.push(Row::Output(name, Difference::new(found, &expected[index])));
    }
    report(&rows, args.tolerance.map_or_else(|| Tolerance::promised(&options), Tolerance::both))
}

/// The stored outputs, in the order of the model's; none where no file is given.
fn read_expected(given: &[OsString], graph: &Graph, batch: usize) -> Result<Vec<Tensor>, Failure> {
    if given.is_empty() {
        return Ok(Vec::new());
    }
    let named = |word: &OsString| {
        let (name, file) = name_and_file(word)?;
        graph.outputs.iter().position(|output| output.name == name).map(|index| (index, PathBuf::from(file)))
    };
    let common: Vec<&OsString> = given.iter().filter(|word| named(word).is_none()).collect();
    if common.len() > 1 {
        return Err(Failure::usage("more than one file of expected outputs: write `--expected NAME=FILE` for each"));
    }
    let read = |(index, output): (usize, &Output)| {
        let of_output = given.iter().filter_map(named).find(|(named, _)| *named == index).map(|(_, file)| file);
        let file = of_output.or_else(|| common.first().map(PathBuf::from)).ok_or_else(|| {
            Failure::usage(format!("no file for the output `{0}`; write `--expected {0}=FILE`", output.name))
        })?;
        read_output(&file, &output.name, graph[output.node].ty.shape(batch))
    };
    graph.outputs.iter().enumerate().map(read).collect()
}

fn read_output(file: &Path, name: &str, shape: Vec<usize>) -> Result<Tensor, Failure> {
    let wrong = |what: String| Failure::input(format!("{}: {what}", file.display()));
    match Input::read(file, Some(name))? {
        Input::Array(Array { shape: found, data: ArrayData::F32(values) }) if found == shape => {
            Ok(Tensor::new(shape, values))
        }
        Input::Array(array) if array.shape != shape => {
            Err(wrong(format!("has shape {:?}, the output `{name}` has {shape:?}", array.shape)))
        }
        _ => Err(wrong("no array of floating-point numbers".into())),
    }
}

/// The largest errors that are allowed.
#[derive(Clone, Copy)]
struct Tolerance {
    layers: f32,
    outputs: f32,
}

impl Tolerance {
    /// The promise of the README. What products of bf16 are off by is no error of the layers, which are judged by their
    /// rounded factors, but adds up from layer to layer: the outputs are compared with those of products of f32.
    fn promised(options: &Options) -> Tolerance {
        match options.products {
            Products::Bf16 => Tolerance { layers: 1e-4, outputs: OF_BF16 },
            Products::F32 => Tolerance::both(if options.exact { 1e-5 } else { 1e-4 }),
        }
    }

    fn both(tolerance: f32) -> Tolerance {
        Tolerance { layers: tolerance, outputs: tolerance }
    }
}

/// More than what products of bf16 changed in the outputs of any network that was measured.
const OF_BF16: f32 = 0.1;

/// Of the largest element: what is smaller is near zero.
const NEAR_ZERO: f32 = 1e-3;

/// How far a value is from the expected one.
struct Difference {
    absolute: f32,
    /// Relative to the largest magnitude of the expected value; infinite where NaN or infinities differ.
    relative: f32,
    /// The most floats that lie between two elements, one end counted, without elements near zero: where sums have
    /// cancelled, this measure says nothing. `None` where NaN or infinities differ.
    ulps: Option<u32>,
}

impl Difference {
    fn new(found: &Tensor, expected: &Tensor) -> Difference {
        let scale = expected.data().iter().filter(|x| x.is_finite()).fold(0f32, |m, x| m.max(x.abs()));
        let pairs = found.data().iter().zip(expected.data());
        let absolute = pairs.map(|(&a, &b)| distance(a, b)).fold(0.0, f32::max);
        let relative = if absolute == 0.0 { 0.0 } else { absolute / scale.max(f32::MIN_POSITIVE) };
        let near_zero = |b: f32| b.abs() < scale * NEAR_ZERO;
        let pairs = found.data().iter().zip(expected.data()).filter(|(a, b)| !(a.is_finite() && near_zero(**b)));
        let ulps = pairs.map(|(&a, &b)| ulps(a, b)).try_fold(0, |most, ulps| Some(most.max(ulps?)));
        Difference { absolute, relative, ulps }
    }
}

/// Steps from one float to the other along all floats.
fn ulps(a: f32, b: f32) -> Option<u32> {
    // The order of the floats as integers, with both zeros at 0.
    let place = |x: f32| {
        let magnitude = i64::from(x.to_bits() & 0x7fff_ffff);
        if x.is_sign_negative() { -magnitude } else { magnitude }
    };
    match distance(a, b) {
        0.0 => Some(0),
        _ if a.is_finite() && b.is_finite() => u32::try_from((place(a) - place(b)).unsigned_abs()).ok(),
        _ => None,
    }
}

/// A layer or an output, and how far it is off.
enum Row {
    /// By itself: the others' errors are not its own.
    Layer(String, ChannelError),
    /// With all errors of the layers before.
    Output(String, Difference),
}

impl Row {
    fn name(&self) -> &str {
        match self {
            Row::Layer(name, _) | Row::Output(name, _) => name,
        }
    }

    /// What is held against the tolerance.
    fn error(&self) -> f32 {
        match self {
            Row::Layer(_, worst) => worst.error,
            Row::Output(_, difference) => difference.relative,
        }
    }

    fn tolerance(&self, of: Tolerance) -> f32 {
        match self {
            Row::Layer(..) => of.layers,
            Row::Output(..) => of.outputs,
        }
    }

    fn line(&self) -> String {
        let detail = match self {
            Row::Layer(_, worst) => format!("channel {}", worst.channel),
            Row::Output(_, Difference { absolute, ulps, .. }) => {
                let ulps = ulps.map_or("-".to_string(), |ulps| ulps.to_string());
                format!("{absolute:.3e}, {ulps} ULP")
            }
        };
        format!("{:<48} {:>12.3e}   {detail}", self.name(), self.error())
    }
}

/// Prints all rows, and fails with the first that is above the tolerance.
fn report(rows: &[Row], tolerance: Tolerance) -> Outcome {
    let mut text = format!("{:<48} {:>12}   {}\n", "layer, output", "relative", "worst channel, or largest difference");
    let outside = |row: &Row| row.error() > row.tolerance(tolerance);
    for row in rows {
        let mark = if outside(row) { "  <-- above the tolerance" } else { "" };
        text += &format!("{}{mark}\n", row.line());
    }
    print(&text)?;
    match rows.iter().find(|row| outside(row)) {
        None => {
            let Tolerance { layers, outputs } = tolerance;
            let other = if outputs == layers { String::new() } else { format!(" within {outputs:e}") };
            print(&format!(
                "all within {layers:e}: channels relative to their terms, outputs{other} relative to their largest element"
            ))
        }
        Some(row) => Err(Failure::input(format!(
            "{} is the first layer above the tolerance of {:e}: {:.3e}",
            row.name(),
            row.tolerance(tolerance),
            row.error()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_near_zero_are_not_counted_in_ulps() {
        let tensor = |values: [f32; 3]| Tensor::new([1, 3], values.to_vec());
        let difference = Difference::new(&tensor([1.0, 1e-7, 0.5]), &tensor([1.0, -1e-7, 0.5 - f32::EPSILON / 4.0]));
        assert_eq!(difference.ulps, Some(1));
    }

    #[test]
    fn neighbouring_floats_are_one_ulp_apart() {
        assert_eq!(ulps(1.0, 1.0 + f32::EPSILON), Some(1));
        assert_eq!(ulps(-1.0, -1.0 + f32::EPSILON / 2.0), Some(1));
        assert_eq!((ulps(0.0, -0.0), ulps(f32::NAN, f32::NAN)), (Some(0), Some(0)));
        // From the smallest denormal below zero to the smallest above: over zero.
        assert_eq!(ulps(-f32::from_bits(1), f32::from_bits(1)), Some(2));
        assert_eq!(ulps(-f32::MAX, f32::MAX), Some(2 * (f32::MAX.to_bits())));
        assert_eq!((ulps(1.0, f32::NAN), ulps(f32::INFINITY, f32::MAX)), (None, None));
    }

    #[test]
    fn differences_are_relative_to_the_largest_magnitude() {
        let tensor = |values: [f32; 3]| Tensor::new([1, 3], values.to_vec());
        let d = Difference::new(&tensor([1.0, -4.0, 0.5]), &tensor([1.0, -4.0, 0.25]));
        assert_eq!((d.absolute, d.relative, d.ulps), (0.25, 0.0625, Some(1 << 23)));
        let d = Difference::new(&tensor([f32::NAN, 0.0, 0.0]), &tensor([1.0, 0.0, 0.0]));
        assert_eq!((d.relative, d.ulps), (f32::INFINITY, None));
    }
}
