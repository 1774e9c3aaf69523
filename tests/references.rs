//! Every layer with every argument against PyTorch, on the interpreter and on every engine and instruction set.
//!
//! The references in tests/pytorch/references/ were written by tests/pytorch/references.py. They judge what the
//! interpreter cannot, since it shares it with the compiled path: shape rules, windows, the derivation of weights. One
//! trial for each model and way to run it; `cargo test --test references conv` runs those of one model.

use libtest_mimic::{Arguments, Failed, Trial};
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use svertka::codegen::Isa;
use svertka::diagnostic::render;
use svertka::front::text::build::{self, Loader};
use svertka::interp;
use svertka::io::weights::WeightFile;
use svertka::ir::weights::WeightSource;
use svertka::ir::{Graph, Param, ParamSource, Verified};
use svertka::layers::{self, Accumulate, Entry, Op};
use svertka::runtime::{Engine, Forced, Options, Session};
use svertka::source::SourceMap;
use svertka::tensor::Tensor;

fn main() {
    let of_models = files().into_iter().flat_map(|path| ways().into_iter().map(move |way| trial(path.clone(), way)));
    let coverage = [
        Trial::test("every_layer_has_a_reference", every_layer_has_a_reference),
        Trial::test("every_argument_has_a_reference", every_argument_has_a_reference),
    ];
    libtest_mimic::run(&Arguments::from_args(), of_models.chain(coverage).collect()).exit();
}

/// Who computes the outputs.
#[derive(Clone, Copy)]
enum Way {
    Interpreter(Accumulate),
    Engine(Engine, Kernels),
}

#[derive(Clone, Copy, Debug)]
enum Kernels {
    /// None whose rounding errors are larger than those of the layers' own sums.
    Exact,
    Fastest,
    /// Those that are never the fastest at such sizes: Winograd's, pairs of layers in bands of two rows.
    Forced,
}

/// All of them, the instruction sets that this machine has not among them: those are emulated.
fn ways() -> Vec<Way> {
    let native = Isa::available().into_iter().map(Engine::Jit);
    let emulated = [Isa::Avx2, Isa::Avx512].map(Engine::Emulated);
    let engines = native.chain([Engine::Portable]).chain(emulated);
    let kernels = [Kernels::Exact, Kernels::Fastest, Kernels::Forced];
    let of_engine = |engine| kernels.map(|kernels| Way::Engine(engine, kernels));
    let interpreter = [Accumulate::F64, Accumulate::F32].map(Way::Interpreter);
    interpreter.into_iter().chain(engines.flat_map(of_engine)).collect()
}

impl Way {
    fn name(self) -> String {
        match self {
            Way::Interpreter(accumulate) => format!("interpreter {accumulate:?}"),
            Way::Engine(engine, kernels) => format!("{engine:?} {kernels:?}"),
        }
    }

    /// The largest error that is allowed, relative to the largest output of the channel.
    fn tolerance(self) -> f32 {
        match self {
            Way::Interpreter(Accumulate::F64) => 1e-6,
            Way::Interpreter(Accumulate::F32) | Way::Engine(_, Kernels::Exact) => 1e-5,
            Way::Engine(..) => 1e-4,
        }
    }

    fn run(self, graph: &Verified<Graph>, weights: &Reference, inputs: &[Tensor]) -> Vec<Tensor> {
        let (engine, kernels) = match self {
            Way::Interpreter(accumulate) => return interp::run(graph, weights, inputs, accumulate),
            Way::Engine(engine, kernels) => (engine, kernels),
        };
        let options = Options { engine, threads: 2, ..Options::default() };
        let options = match kernels {
            Kernels::Exact => Options { exact: true, ..options },
            Kernels::Fastest => options,
            Kernels::Forced => {
                Options { forced: Forced { winograd: Some([4, 4]), chain: Some(2), ..Forced::default() }, ..options }
            }
        };
        Session::new(graph.clone(), weights, &options).unwrap().run(inputs).unwrap()
    }
}

/// Inputs, weights and outputs by their names in the model.
struct Reference(WeightFile);

impl Reference {
    fn tensor(&self, name: &str) -> Tensor {
        let shape = self.0.shape(name).unwrap_or_else(|| panic!("no tensor {name}"));
        Tensor::new(shape, self.0.read(name).unwrap().into_owned())
    }

    /// The names of all that the graph takes from the file.
    fn names(graph: &Verified<Graph>) -> BTreeSet<String> {
        let inputs = graph.inputs.iter().map(|&id| graph[id].origin.path.clone());
        let weights = graph.params.iter().filter(|param| param.source == ParamSource::File);
        let outputs = graph.outputs.iter().map(|output| output.name.clone());
        inputs.chain(weights.map(|param| param.name.clone())).chain(outputs).collect()
    }
}

impl WeightSource for Reference {
    fn values<'a>(&'a self, param: &Param) -> Cow<'a, [f32]> {
        assert_eq!(self.0.shape(&param.name), Some(&param.dims[..]), "{}", param.name);
        self.0.read(&param.name).unwrap()
    }
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pytorch/references");
    let mut files: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "cnn"));
    files.sort();
    assert!(!files.is_empty());
    files
}

/// For models that use no other file.
struct NoFiles;

impl Loader for NoFiles {
    fn load(&mut self, _path: &str) -> Result<String, String> {
        Err("references use no files".into())
    }
}

fn read(path: &Path) -> Verified<Graph> {
    let mut sources = SourceMap::default();
    let root = sources.add(path.display().to_string(), std::fs::read_to_string(path).unwrap());
    let options = build::Options::default();
    let program = build::load(&mut sources, root, &options, &mut NoFiles);
    let graph = program.and_then(|program| build::build(&mut sources, &program, &options));
    graph.unwrap_or_else(|errors| panic!("{}", render(&errors, &sources, false)))
}

fn trial(path: PathBuf, way: Way) -> Trial {
    let name = path.file_stem().unwrap().to_str().unwrap();
    Trial::test(format!("{name}, {}", way.name()), move || check(&path, way))
}

fn check(path: &Path, way: Way) -> Result<(), Failed> {
    let graph = read(path);
    let reference = Reference(WeightFile::open(&path.with_extension("safetensors")).unwrap());
    assert_eq!(Reference::names(&graph), reference.0.names().into_iter().collect());
    let inputs: Vec<Tensor> = graph.inputs.iter().map(|&id| reference.tensor(&graph[id].origin.path)).collect();
    let found = way.run(&graph, &reference, &inputs);
    let outputs = graph.outputs.iter().zip(&found);
    let failures = outputs.flat_map(|(output, found)| {
        let failures = differences(found, &reference.tensor(&output.name), way.tolerance());
        failures.into_iter().map(|failure| format!("{}, {failure}", output.name))
    });
    let failures: Vec<String> = failures.collect();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n").into()) }
}

/// The channels in which some value is too far from the expected one. Numbers that are not normal may be flushed.
fn differences(found: &Tensor, expected: &Tensor, tolerance: f32) -> Vec<String> {
    if found.shape() != expected.shape() {
        return vec![format!("shape: {:?}, not {:?}", found.shape(), expected.shape())];
    }
    let of_channel = |channel| {
        let planes = (0..expected.batch()).map(move |n| (found.plane(n, channel), expected.plane(n, channel)));
        let pairs = planes.flat_map(|(found, expected)| found.iter().copied().zip(expected.iter().copied()));
        let pairs: Vec<(f32, f32)> = pairs.collect();
        let largest = pairs.iter().fold(0.0f32, |largest, (_, expected)| largest.max(expected.abs()));
        let allowed = (tolerance * largest).max(f32::MIN_POSITIVE);
        let far = pairs.into_iter().find(|(found, expected)| (found - expected).abs() > allowed || found.is_nan());
        far.map(|(found, expected)| format!("channel {channel}: {found:e}, not {expected:e} (allowed: {allowed:e})"))
    };
    (0..expected.channels()).filter_map(of_channel).collect()
}

/// A layer that is added has no place here until this is answered: `None` where it is no layer.
fn keyword(op: &Op) -> Option<&'static str> {
    match op {
        // Passes alone convert; tests/integers.rs has references.
        Op::Input | Op::Convert(_) => None,
        Op::Conv(_)
        | Op::ConvTranspose(_)
        | Op::Dense(_)
        | Op::MaxPool(_)
        | Op::AvgPool(_)
        | Op::LpPool(_)
        | Op::AdaptiveAvgPool(_)
        | Op::AdaptiveMaxPool(_)
        | Op::GlobalAvgPool(_)
        | Op::GlobalMaxPool(_)
        | Op::Reduce(_)
        | Op::BatchNorm(_)
        | Op::Scale(_)
        | Op::LayerNorm(_)
        | Op::InstanceNorm(_)
        | Op::GroupNorm(_)
        | Op::UnitNorm(_)
        | Op::LocalResponseNorm(_)
        | Op::Activation(_)
        | Op::PRelu(_)
        | Op::Softmax(_)
        | Op::Dropout(_)
        | Op::Identity(_)
        | Op::Flatten(_)
        | Op::Pad(_)
        | Op::Crop(_)
        | Op::Upsample(_)
        | Op::Resize(_)
        | Op::ChannelShuffle(_)
        | Op::ChannelSlice(_)
        | Op::DepthToSpace(_)
        | Op::SpaceToDepth(_)
        | Op::Subsample(_)
        | Op::Unflatten(_)
        | Op::Permute(_)
        | Op::Concat(_)
        | Op::Add(_)
        | Op::Mul(_) => op.layer().map(|layer| layer.spec().keyword),
    }
}

/// What combinators make, which has no keyword of its own.
const COMBINED: [&str; 3] = ["concat", "add", "mul"];

fn every_layer_has_a_reference() -> Result<(), Failed> {
    let graphs: Vec<Verified<Graph>> = files().iter().map(|path| read(path)).collect();
    let found: BTreeSet<&str> = graphs.iter().flat_map(|graph| &graph.nodes).filter_map(|n| keyword(&n.op)).collect();
    let wanted: BTreeSet<&str> = layers::entries().map(|entry| entry.spec.keyword).chain(COMBINED).collect();
    assert_eq!(found, wanted, "add the layer to tests/pytorch/references.py");
    Ok(())
}

/// Arguments that may be left out are named in the references.
fn every_argument_has_a_reference() -> Result<(), Failed> {
    let texts: Vec<String> = files().iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let steps: Vec<&str> =
        texts.iter().flat_map(|text| text.split(['|', '{', '}', '\n', ':'])).map(str::trim).collect();
    let is_given = |entry: &Entry, name: &str| {
        let calls = steps.iter().filter_map(|step| step.strip_prefix(entry.spec.keyword));
        calls.into_iter().any(|arguments| arguments.split([' ', ',']).any(|word| word == name))
    };
    for entry in layers::entries() {
        let optional = entry.spec.params.iter().filter(|param| param.default.is_some());
        let missing: Vec<&str> = optional.map(|param| param.name).filter(|name| !is_given(entry, name)).collect();
        assert!(missing.is_empty(), "{}: add {missing:?} to tests/pytorch/references.py", entry.spec.keyword);
    }
    Ok(())
}
