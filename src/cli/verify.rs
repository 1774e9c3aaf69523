//! `svertka verify`: the compiled model against the interpreter, layer by layer, and against stored outputs.

use super::args::{EngineArgs, ModelArgs};
use super::arguments::name_and_file;
use super::weights::{Missing, WeightArgs};
use super::{Failure, Outcome, checked, input, model, print};
use crate::interp;
use crate::io::npy::{Array, ArrayData};
use crate::io::preprocess::Input;
use crate::ir::{Graph, NodeId, Output};
use crate::layers::Accumulate;
use crate::runtime::Options;
use crate::tensor::Tensor;
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
    /// Samples of random input, where no input is given
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    batch: u16,
    /// Largest difference allowed, relative to the largest magnitude of a value. By default what is promised for outputs,
    /// and ten times that for the layers before them, whose sums may cancel
    #[arg(long)]
    tolerance: Option<f32>,
}

pub fn run(args: &Args) -> Outcome {
    let model = model::load(&args.model)?;
    let options = if args.checked { Some(checked::options(&args.engine)?) } else { args.engine.options()? };
    let Some(options) = options else {
        return Err(Failure::usage("the interpreter is what the others are compared with; choose another engine"));
    };
    let weights = args.weights.choose(&model, Missing::Random)?;
    let inputs = match input::read(&args.input, &model)? {
        Some(files) => files.tensors,
        None => input::random(&model.graph, args.batch.into(), args.weights.seed()),
    };
    let stored = read_expected(&args.expected, &model.graph, inputs[0].batch())?;
    let expected = interp::run(&model.graph, weights.as_ref(), &inputs, Accumulate::F64);
    let mut session = args.engine.tuned().session(model.graph, weights.as_ref(), &options)?;
    // The interpreter runs the fused graph too, so that each of its values can be compared.
    let reference = interp::run_all(&session.plan().graph, weights.as_ref(), &inputs, Accumulate::F64);
    let mut found: Vec<(NodeId, Difference)> = Vec::new();
    let outputs = session
        .run_observed(&inputs, &mut |done| {
            for (node, value) in done.values() {
                found.push((node, Difference::new(&value, &reference[node.0 as usize])));
            }
        })
        .map_err(checked::failure)?;
    checked::report(&session)?;
    let graph = &session.plan().graph;
    let of_output = args.tolerance.unwrap_or(tolerance(&options));
    let of_layer = args.tolerance.unwrap_or(LAYER_TOLERANCE * of_output);
    let layer =
        |(node, difference): (NodeId, Difference)| Row { name: graph[node].name(), difference, tolerance: of_layer };
    let mut rows: Vec<Row> = found.into_iter().map(layer).collect();
    for (index, (output, found)) in graph.outputs.iter().zip(&outputs).enumerate() {
        let name = format!("output {}", output.name);
        if let Some(stored) = stored.get(index) {
            let (name, difference) = (format!("{name}, stored"), Difference::new(found, stored));
            rows.push(Row { name, difference, tolerance: of_output });
        }
        rows.push(Row { name, difference: Difference::new(found, &expected[index]), tolerance: of_output });
    }
    report(&rows, of_output)
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

/// How much further than an output a layer inside of the network may be off: with random weights, layers whose sums
/// cancel came to 1.4 times the promise, while the outputs behind them kept it.
const LAYER_TOLERANCE: f32 = 10.0;

/// The promise of the README, for outputs.
fn tolerance(options: &Options) -> f32 {
    if options.exact { 1e-5 } else { 1e-4 }
}

/// How far a value is from the expected one.
struct Difference {
    absolute: f32,
    /// Relative to the largest magnitude of the expected value; infinite where NaN or infinities differ.
    relative: f32,
    /// The most floats that lie between two elements, one end counted; elements near zero, where sums have cancelled,
    /// are far apart by this measure. `None` where NaN or infinities differ.
    ulps: Option<u32>,
}

impl Difference {
    fn new(found: &Tensor, expected: &Tensor) -> Difference {
        let scale = expected.data().iter().filter(|x| x.is_finite()).fold(0f32, |m, x| m.max(x.abs()));
        let pairs = found.data().iter().zip(expected.data());
        let absolute = pairs.map(|(&a, &b)| distance(a, b)).fold(0.0, f32::max);
        let relative = if absolute == 0.0 { 0.0 } else { absolute / scale.max(f32::MIN_POSITIVE) };
        let pairs = found.data().iter().zip(expected.data());
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

fn distance(a: f32, b: f32) -> f32 {
    if a == b || (a.is_nan() && b.is_nan()) {
        0.0
    } else if a.is_finite() && b.is_finite() {
        (a - b).abs()
    } else {
        f32::INFINITY
    }
}

/// A layer or an output, and how far it is off.
struct Row {
    name: String,
    difference: Difference,
    /// Relative difference that is allowed.
    tolerance: f32,
}

/// Prints all rows, and fails with the first that is above its tolerance.
fn report(rows: &[Row], of_output: f32) -> Outcome {
    let mut text = format!("{:<48} {:>12} {:>12} {:>12}\n", "layer", "largest", "relative", "ULP");
    let outside = |row: &Row| row.difference.relative > row.tolerance;
    for row in rows {
        let Difference { absolute, relative, ulps } = row.difference;
        let ulps = ulps.map_or("-".to_string(), |ulps| ulps.to_string());
        let mark = if outside(row) { "  <-- above the tolerance" } else { "" };
        text += &format!("{:<48} {absolute:>12.3e} {relative:>12.3e} {ulps:>12}{mark}\n", row.name);
    }
    print(&text)?;
    match rows.iter().find(|row| outside(row)) {
        None => print(&format!("all within tolerance, outputs within {of_output:e} of what is expected")),
        Some(row) => Err(Failure::input(format!(
            "{} is the first layer above the tolerance of {:e}: {:.3e}",
            row.name, row.tolerance, row.difference.relative
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
