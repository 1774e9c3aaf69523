//! Networks on whole numbers against what PyTorch and numpy give, bit for bit.
//!
//! The references in tests/pytorch/integers/ were written by tests/pytorch/integers.py.

use proptest::prelude::*;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use svertka::aot::{self, Cpu, Emit};
use svertka::codegen::Bytes;
use svertka::io::weights::WeightFile;
use svertka::ir::{Graph, Verified};
use svertka::kernels::Target;
use svertka::kernels::bands::Bands;
use svertka::layers::Accumulate;
use svertka::machine::KNOWN;
use svertka::quant::{self, Method, Quantised, Structure, Values, Wishes};
use svertka::runtime::Forced;
use svertka::runtime::library::Library;
use svertka::schedule;
use svertka::tensor::Quantisation;
use svertka::{Engine, Isa, Model, ModelOptions, Options, Session, Tensor, Weights, interp};
use target_lexicon::Architecture;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pytorch/integers").join(name)
}

/// The model, its weights, inputs, and for each output its name and what it must be.
struct Reference {
    model: Model,
    weights: Weights,
    inputs: Vec<Tensor>,
    outputs: Vec<(String, Tensor)>,
}

fn reference() -> Reference {
    let model = Model::open(file("integers.cnn")).unwrap();
    let values = WeightFile::open(&file("integers.values.safetensors")).unwrap();
    let tensor = |name: &str| Tensor::new(values.shape(name).unwrap(), values.read(name).unwrap().into_owned());
    let inputs = model.inputs().map(|(name, _)| tensor(name)).collect();
    let outputs = model.outputs().map(|(name, _)| (name.to_owned(), tensor(name))).collect();
    Reference { model, weights: Weights::file(file("integers.weights.safetensors")), inputs, outputs }
}

fn assert_equal(found: &[Tensor], expected: &[(String, Tensor)]) {
    assert_eq!(found.len(), expected.len());
    for (found, (name, expected)) in found.iter().zip(expected) {
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn the_interpreter_computes_them_exactly() {
    let Reference { model, weights, inputs, outputs } = reference();
    assert_equal(&model.interpret(&weights, &inputs).unwrap(), &outputs);
}

fn bands() -> impl Strategy<Value = Bands> {
    prop_oneof![Just(Bands::WhereLarge), (1usize..9).prop_map(Bands::Always)]
}

/// All that run here, the instruction sets that this machine has not in an emulator of their tiles.
fn engines() -> Vec<Engine> {
    let native = Isa::available().into_iter().map(Engine::Jit);
    native.chain([Engine::Portable, Engine::Emulated(Isa::Avx2), Engine::Emulated(Isa::Avx512)]).collect()
}

#[test]
fn every_engine_computes_them_exactly() {
    let Reference { model, weights, inputs, outputs } = reference();
    for engine in engines() {
        for threads in 1..=3 {
            let options = Options { engine, threads, ..Options::default() };
            let mut session = model.compile(&weights, &options).unwrap();
            assert_equal(&session.run(&inputs).unwrap(), &outputs);
        }
    }
}

#[test]
fn what_does_not_fit_is_told() {
    let model = Model::open(file("integers.cnn")).unwrap();
    let other =
        Model::parse("model m\ninput image: f32[N, 6, 9, 11]\nnet { plain: seq { a: conv 3x3, 8, half, bias } }")
            .unwrap();
    let weights = Weights::file(file("integers.weights.safetensors"));
    assert!(model.bind(&weights).is_ok());
    let error = other.bind(&weights).err().unwrap().to_string();
    assert!(error.contains("has eight bits, and is the weight of no convolution"), "{error}");
    let error = model.compile_values(&["plain.a"], &weights, &Options::default()).err().unwrap().to_string();
    assert!(error.contains("weights of eight bits"), "{error}");
}

/// A step of a network of which all layers compute on whole numbers; it keeps channels and sizes that others need.
fn step() -> impl Strategy<Value = String> {
    let conv = (1usize..=3, 1usize..=3, 1usize..=2, prop::sample::select(vec![1usize, 2, 3, 4, 12]), any::<bool>());
    let conv = conv.prop_map(|(height, width, dilation, groups, bias)| {
        let bias = if bias { ", bias" } else { "" };
        format!("conv {height}x{width}, 12, dilation {dilation}, groups {groups}, pad {dilation}{bias}")
    });
    let conv = (conv, limit()).prop_map(|(conv, limit)| conv + limit);
    let rest = prop::sample::select(vec![
        "maxpool 2x2, stride 1, pad 1",
        "maxpool 3x2, stride 2x1, pad 1",
        "avgpool 2x2, stride 1, pad 1, count_pad false",
        "avgpool 3x3, stride 2, pad 1",
        "adaptive_avgpool 3x4",
        "adaptive_avgpool 7x3 | relu",
        "channel_shuffle 3",
        "conv 3x3, 12, stride 2, pad 1, groups 12 | relu",
        "conv 5x5, 12, half, groups 12, bias | relu6",
        "conv 5x3, 12, stride 2x1, pad 2x1, groups 12",
        "conv 1x9, 12, half, groups 12",
        "conv 3x3, 12, stride 2, pad 1 | relu",
        "conv 3x3, 24, half, groups 12 | relu | conv 3x3, 12, half, groups 12",
        "conv 1x1, 64 | relu | conv 3x3, 64, half, groups 2, bias | relu | conv 1x1, 12",
        "conv 1x1, 60 | relu | conv 3x3, 40, half, groups 5 | relu | conv 1x1, 12",
        "conv 1x1, 96 | relu | conv 3x3, 144, half, groups 3, bias | conv 1x1, 12",
        "conv 1x1, 24 | relu | conv 3x3, 72, half, groups 24 | relu | conv 1x1, 12",
        "conv 1x1, 40 | relu | conv 3x3, 40, half, groups 40 | silu | conv 1x1, 12",
        "residual { conv 3x3, 12, half, groups 12 | relu } | relu",
        "residual { conv 3x3, 12, half, groups 2 } | relu",
        "avgpool 3x3, stride 1x2, pad 1, count_pad false",
        "residual { conv 3x3, 12, half | relu | conv 1x1, 12, bias } | relu",
        "residual { conv 3x3, 12, half } project { conv 1x1, 12 }",
        "residual { conv 3x3, 12, half, bias } | relu",
        "conv 3x3, 33, pad 2, bias | relu | conv 3x3, 12, half",
        "conv 1x1, 35 | silu | conv 3x3, 35, half, groups 35 | conv 1x1, 12",
        "silu | conv 3x2, 12, pad (2, 1, 0, 2)",
        "conv 5x3, 20, stride 2x1, pad 2x1 | relu | maxpool 3x3, stride 1, pad 1 | conv 1x1, 12",
        "conv 3x3, 70, pad (1, 2, 0, 3) | conv 3x3, 12, pad (2, 0, 1, 2), bias | relu6",
        "residual { conv 1x1, 12 | relu6 } | relu",
        "gate { global_avgpool | conv 1x1, 3 | silu | conv 1x1, 12, bias | sigmoid }",
        "gate { conv 3x3, 1, half | sigmoid }",
        "concat { conv 1x1, 5 | relu\n identity\n conv 3x3, 3, half } | conv 1x1, 12",
        "concat { slice 0..4\n conv 1x1, 8 | relu } | channel_shuffle 2",
        "concat { slice 1..6\n conv 1x1, 7 | relu }",
    ]);
    prop_oneof![conv, rest.prop_map(str::to_owned)]
}

/// What stands behind a convolution.
fn limit() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        " | relu",
        " | relu6",
        " | clip -0.5, 1.5",
        " | silu",
        " | hard_swish",
        " | gelu",
        " | tanh",
    ])
}

/// The same on volumes.
fn volume_step() -> impl Strategy<Value = String> {
    let per_dim = |sizes: &[usize]| prop::collection::vec(prop::sample::select(sizes.to_vec()), 3);
    let window = (per_dim(&[1, 3]), per_dim(&[1, 1, 2]), per_dim(&[1, 1, 2]));
    let conv = (window, prop::sample::select(vec![1usize, 2, 12]), limit());
    let conv = conv.prop_map(|((kernel, stride, dilation), groups, limit)| {
        let [kernel, stride, dilation] = [kernel, stride, dilation].map(|sizes| {
            let sizes: Vec<String> = sizes.iter().map(usize::to_string).collect();
            sizes.join("x")
        });
        format!("conv {kernel}, 12, stride {stride}, dilation {dilation}, groups {groups}, half, bias{limit}")
    });
    let rest = prop::sample::select(vec![
        "maxpool 2x2x2, stride 1, pad 1",
        "maxpool 2x1x1, stride 1, pad 1x0x0",
        "conv 2x3x2, 12, stride 1x2x1, pad 1",
        "avgpool 2x3x2, stride 1, pad 1",
        "avgpool 3x1x1, stride 2x1x1, pad 1x0x0",
        "avgpool 2x2x2, stride 1, pad 1, count_pad false",
        "adaptive_avgpool 2x3x2",
        "adaptive_avgpool 3x2x5",
        "residual { conv 3x3x3, 12, half, groups 3 } | relu",
        "residual { conv 1x3x3, 20, half | relu | conv 3x1x1, 12, half } | relu",
        "residual { conv 3x3x3, 12, half, groups 12 } | relu",
        "conv 5x3x3, 12, half, groups 12 | relu6",
        "conv 3x1x1, 12, half, groups 12, bias",
        "conv 1x1x1, 32 | relu | conv 3x3x3, 32, half, groups 2 | relu | conv 1x1x1, 12, stride 1x2x1",
        "gate { global_avgpool | conv 1x1x1, 12 | sigmoid }",
        "concat { slice 0..4\n conv 3x1x1, 8, half | relu }",
        "channel_shuffle 4",
    ]);
    prop_oneof![conv, rest.prop_map(str::to_owned)]
}

/// A network with the numbers that it is quantised by and run on.
#[derive(Clone, Debug)]
struct Case {
    text: String,
    /// Sizes of a sample.
    dims: Vec<usize>,
    batch: usize,
    seed: u64,
    activation_bits: u8,
    paired: bool,
    method: Method,
    /// Whether values that are put side by side have quantisations of their own.
    parted: bool,
}

fn cases() -> impl Strategy<Value = Case> {
    let sizes = prop_oneof![3 => 5usize..12, 1 => 12usize..50];
    let sizes = (sizes, 5usize..12).prop_map(|(rows, columns)| vec![rows, columns]);
    let planar = (prop::collection::vec(step(), 1..5), sizes);
    let volume = (prop::collection::vec(volume_step(), 1..4), prop::collection::vec(3usize..7, 3));
    let methods = prop::sample::select(vec![Method::MinMax, Method::Percentile(1.0), Method::LeastSquares]);
    let ends = prop::sample::select(vec![
        "end: conv {one}, 5",
        "flatten | end: dense 5",
        "more: conv {one}, 32 | relu | flatten | dropout 0.2 | mid: dense 37, bias | relu | end: dense 5",
        "more: conv {one}, 7 | flatten | end: dense 5",
    ]);
    let bits = prop::sample::select(vec![(8, false), (8, true), (7, false)]);
    (prop_oneof![3 => planar, 1 => volume], ends, any::<u64>(), bits, 1usize..4, methods, any::<bool>()).prop_map(
        |((steps, sizes), end, seed, (activation_bits, paired), batch, method, parted)| {
            let (begin, one) = if sizes.len() == 2 { ("3x3", "1x1") } else { ("3x3x3", "1x1x1") };
            let end = end.replace("{one}", one);
            let steps = steps.iter().enumerate().map(|(i, step)| format!("s{i}: seq {{ {step} }} | "));
            let steps: String = steps.collect();
            let shown: Vec<String> = sizes.iter().map(usize::to_string).collect();
            let input = format!("input x: f32[N, 3, {}]", shown.join(", "));
            let text = format!("model m\n{input}\nnet {{ begin: conv {begin}, 12, half | {steps}{end} }}");
            Case { text, dims: [vec![3], sizes].concat(), batch, seed, activation_bits, paired, method, parted }
        },
    )
}

/// A network on whole numbers, with what it makes of an input.
struct Whole<'a> {
    graph: &'a Verified<Graph>,
    weights: &'a quant::Folded<'a>,
    inputs: &'a [Tensor],
    outputs: Vec<Tensor>,
}

impl Case {
    /// Of eight bits, by minimum and maximum.
    fn plain(text: String, dims: Vec<usize>, batch: usize) -> Case {
        let (seed, activation_bits, paired, method, parted) = (1, 8, false, Method::MinMax, false);
        Case { text, dims, batch, seed, activation_bits, paired, method, parted }
    }

    fn input(&self, shift: u64) -> Tensor {
        let shape = [vec![self.batch], self.dims.clone()].concat();
        let value = |i: u64| {
            let noise = (i ^ self.seed).wrapping_add(shift).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            (noise >> 40) as f32 / 8388608.0 - 1.0
        };
        let elements = shape.iter().product::<usize>() as u64;
        Tensor::new(shape, (0..elements).map(value).collect())
    }

    /// Quantises the network, of which all layers then compute on whole numbers, and gives it to `f`.
    fn with<T>(&self, f: impl FnOnce(&Whole) -> Result<T, TestCaseError>) -> Result<T, TestCaseError> {
        let Case { text, seed, activation_bits, paired, method, .. } = self.clone();
        let model = Model::parse(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let weights = model.bind(&Weights::random(seed)).unwrap();
        let wishes = Wishes { method, activation_bits, paired, keep: HashSet::new(), budget: None };
        let examples = [vec![self.input(1)]];
        let found = quant::quantise(model.graph(), &weights, &examples, &wishes, &mut |_, _| {}).unwrap();
        let folded = quant::Folded::new(model.graph(), &weights);
        let (structure, values) =
            if self.parted { parted(&found, &folded.graph) } else { (found.structure, found.values) };
        let graph = &quant::apply(&structure, &values).unwrap().graph;
        let real = graph.nodes.iter().filter(|node| !svertka::ir::integer::concerns(graph, node)).count();
        prop_assert_eq!(real, 1, "all but the input is on whole numbers: {}", svertka::ir::print(graph));
        let (weights, inputs) = (&folded, &[self.input(2)]);
        let outputs = interp::run(graph, weights, inputs, Accumulate::F32);
        f(&Whole { graph, weights, inputs, outputs })
    }
}

/// The same network where concatenations, and what reads them, have other quantisations than the values that they put side by
/// side.
fn parted(found: &Quantised, graph: &Verified<Graph>) -> (Structure, Values) {
    let structure = Structure::with_own(graph, &|_| true, &|_| false, &|_| true);
    let mut values = found.values.clone();
    for id in structure.ids().filter(|&id| structure.is_whole(id)) {
        let [before, now] = [&found.structure, &structure].map(|structure| structure.class(id));
        let q = found.values.quantisations[&before];
        let other = Quantisation::new(q.scale() * 0.75, q.zero_point() / 2 + 3, q.top()).unwrap();
        values.quantisations.insert(now, if now == before { q } else { other });
    }
    (structure, values)
}

/// All weights of eight bits with their scales, in some order: that of the features that a dense layer reads may become another.
fn weights_i8(graph: &Graph) -> Vec<(Vec<i8>, Vec<u32>)> {
    let bits = |scales: &[f32]| scales.iter().map(|scale| scale.to_bits()).collect();
    let weights = graph.params.iter().filter_map(|param| param.weights_i8());
    let sorted = |values: &[i8]| {
        let mut values = values.to_vec();
        values.sort_unstable();
        values
    };
    let mut found: Vec<_> = weights.map(|(values, scales)| (sorted(values), bits(scales))).collect();
    found.sort_unstable();
    found
}

/// With `SVERTKA_ONNX_CASES` set to a folder, a model is written there with what is made of its inputs, for
/// `tests/onnx/compare.py`.
fn leave_case(bytes: &[u8], whole: &Whole) {
    static CASES: AtomicUsize = AtomicUsize::new(0);
    let Some(folder) = std::env::var_os("SVERTKA_ONNX_CASES").map(PathBuf::from) else { return };
    let case = folder.join(format!("whole{}", CASES.fetch_add(1, Ordering::Relaxed)));
    std::fs::create_dir_all(&case).unwrap();
    std::fs::write(case.join("model.onnx"), bytes).unwrap();
    std::fs::write(case.join("graph.txt"), svertka::ir::print(whole.graph)).unwrap();
    for (name, tensors) in [("input", whole.inputs), ("output", &whole.outputs)] {
        for (index, tensor) in tensors.iter().enumerate() {
            let path = case.join(format!("{name}{index}.npy"));
            svertka::io::npy::write(&path, tensor.shape(), tensor.data()).unwrap();
        }
    }
}

/// Windows that hang over both sides of their input.
#[test]
fn maps_smaller_than_their_windows() {
    for (rows, columns) in [(1, 1), (1, 6), (2, 2), (3, 1)] {
        let layers =
            "begin: conv 3x3, 12, half | deep: conv 3x3, 12, half, groups 12 | max: maxpool 3x3, stride 1, pad 1";
        let text = format!(
            "model m\ninput x: f32[N, 3, {rows}, {columns}]\nnet {{ {layers} | wide: conv 5x5, 8, half | end: conv 1x1, 5 }}"
        );
        let dims = vec![3, rows, columns];
        let case = Case::plain(text, dims, 2);
        let result = case.with(|whole| {
            for engine in engines() {
                let options = Options { engine, ..Options::default() };
                let mut session = Session::new(whole.graph.clone(), whole.weights, &options).unwrap();
                prop_assert!(session.run(whole.inputs).unwrap() == whole.outputs, "{:?}", engine);
            }
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{rows} x {columns}: {error}"));
    }
}

/// Layers on whole numbers between which nothing but a band needs to be in memory, on any number of threads.
#[test]
fn each_kind_of_layer_goes_down_the_picture() {
    let kinds = [
        "conv 3x3, 24, half | relu",
        "conv 5x3, 24, stride 2, dilation 2, pad 3 | silu",
        "conv 1x1, 70 | relu | conv 3x1, 24, half",
        "conv 3x3, 24, half, groups 24 | relu6",
        "conv 3x3, 24, half, groups 3 | relu",
        "maxpool 3x3, stride 2, pad 1 | avgpool 2x2, stride 1, pad 1, count_pad false",
        "residual { conv 3x3, 24, half } | relu | residual { tanh } | conv 1x1, 24",
        "gate { conv 3x3, 1, half | sigmoid } | channel_shuffle 3",
        "concat { slice 1..6\n conv 1x1, 7 | relu }",
        "conv 3x3, 7, half as late | concat { conv 1x1, 5\n identity\n conv 1x1, 9 } | conv 5x5, 20, half | concat { identity\n from late }",
    ];
    for kind in kinds {
        let net = format!("begin: conv 3x3, 24, half | {kind} | end: conv 3x3, 5, half");
        let text = format!("model m\ninput x: f32[N, 3, 40, 14]\nnet {{ {net} }}");
        let case = Case::plain(text, vec![3, 40, 14], 2);
        let result = case.with(|whole| {
            for (isa, threads) in Isa::available().into_iter().flat_map(|isa| (1..5).map(move |n| (isa, n))) {
                let forced = Forced { bands: Bands::Always(5), ..Forced::default() };
                let options = Options { engine: Engine::Jit(isa), threads, forced, ..Options::default() };
                let mut session = Session::new(whole.graph.clone(), whole.weights, &options).unwrap();
                prop_assert!(session.run(whole.inputs).unwrap() == whole.outputs, "{:?}, {} threads", isa, threads);
                let plan = session.plan();
                let stages: Vec<_> = plan.stages.iter().map(|stage| stage.steps.clone()).collect();
                let all = matches!(&stages[..], [steps] if steps.len() == plan.steps.len());
                prop_assert!(all, "{:?} of {}", stages, plan.steps.len());
            }
            Ok(())
        });
        result.unwrap_or_else(|error| panic!("{kind}: {error}"));
    }
}

/// What `explain` says of kernels on whole numbers: a line for each.
#[test]
fn kernels_are_described() {
    let steps = [
        "maxpool 3x3, stride 2, pad 1",
        "conv 3x3, 12, half, groups 12 | relu",
        "residual { conv 1x1, 12 } | silu",
        "conv 3x3, 24, half, groups 3, bias | relu",
        "gate { global_avgpool | conv 1x1, 24, bias | sigmoid }",
        "concat { conv 1x1, 5 | relu\n identity } | channel_shuffle 29",
    ];
    let steps: String = steps.iter().enumerate().map(|(i, step)| format!("s{i}: seq {{ {step} }} | ")).collect();
    let text =
        format!("model m\ninput x: f32[N, 3, 9, 11]\nnet {{ begin: conv 3x3, 12, half | {steps}end: conv 1x1, 5 }}");
    let case = Case::plain(text, vec![3, 9, 11], 1);
    let described = |case: &Case, target: Target| {
        let line = |step: &schedule::Step| {
            let facts = step.kernel.code().facts().into_iter().map(|(what, text)| format!("; {what} {text}"));
            step.kernel.name() + &facts.collect::<String>() + "\n"
        };
        let plan = |whole: &Whole| schedule::plan(whole.graph.clone(), target);
        case.with(|whole| Ok(plan(whole).steps.iter().map(line).collect::<String>())).unwrap()
    };
    let of = |isa| Target::of(isa, Architecture::X86_64);
    let targets = [
        of(Isa::Avx2),
        Target { bytes: Bytes::Tables, ..of(Isa::Avx512) },
        Target { bytes: Bytes::None, ..of(Isa::Clif) },
    ];
    let found: Vec<String> = targets.into_iter().map(|target| described(&case, target)).collect();
    insta::assert_snapshot!(found.join("\n"));
    let fitting = Case { paired: true, ..case };
    let names = described(&fitting, of(Isa::Avx2));
    let points = |name: &&str| name.starts_with("conv_u8_") && name.contains("window 1 rows of 1,");
    let products: Vec<&str> = names.lines().filter(points).collect();
    assert!(products.len() > 3 && products.iter().all(|name| name.contains("_pairs_avx2")), "{names}");
}

/// What a layer needs around its input is written by the layer in front where nobody else reads that, and by a step of its
/// own where somebody does, and where tiles would be left half empty at the ends of rows.
#[test]
fn padding_is_written_by_the_layer_in_front() {
    let steps = |net: &str, size: usize| {
        let text = format!(
            "model m\ninput x: f32[N, 3, {size}, {size}]\nnet {{ begin: conv 3x3, 16, half | {net} | conv 1x1, 4 }}"
        );
        let case = Case::plain(text, vec![3, size, size], 1);
        let target = Target { bytes: Bytes::Dots, ..Target::of(Isa::Avx512, Architecture::X86_64) };
        let made = |whole: &Whole| {
            let steps = schedule::plan(whole.graph.clone(), target).steps;
            let around = |step: &schedule::Step| step.output.padded.map(|_| step.kernel.name());
            Ok(steps.iter().filter_map(around).collect::<Vec<_>>())
        };
        case.with(made).unwrap()
    };
    let quantise = "quantise_u8_16c_avx512";
    let dots = "conv_u8_16c14x2_dots_avx512_vnni";
    let pad = "pad_u8_16c_avx512";
    let depthwise = "conv 3x3, 32, half, groups 32";
    assert_eq!(steps(&format!("conv 1x1, 32 | relu6 | {depthwise}"), 28), [quantise, dots]);
    assert_eq!(steps(&format!("conv 1x1, 32 | silu | {depthwise}"), 28), [quantise, "table_u8_16c_avx512"]);
    assert_eq!(steps("conv 1x1, 32 | residual { conv 3x3, 32, half, groups 32 }", 28), [quantise, pad]);
    assert_eq!(steps(&format!("conv 1x1, 32 | relu6 | {depthwise}"), 9), [quantise, pad]);
}

/// Thousand cycles of arithmetic, at the least: an instruction has the products of four bytes or of two halves.
#[test]
fn what_bounds_a_layer_is_told_by_the_products_of_an_instruction() {
    let layers =
        "begin: conv 1x1, 32 | wide: conv 3x3, 32, half | deep: conv 3x3, 32, half, groups 32 | end: conv 1x1, 4";
    let text = format!("model m\ninput x: f32[N, 3, 16, 16]\nnet {{ {layers} }}");
    let case = Case::plain(text, vec![3, 16, 16], 1);
    let found = case.with(|whole| {
        let of = |bytes| {
            let target = Target { bytes, ..Target::of(Isa::Avx512, Architecture::X86_64) };
            let plan = schedule::plan(whole.graph.clone(), target);
            ["wide", "deep"].map(|layer| {
                let text = schedule::Explanation::new(&plan, Some(layer)).unwrap().whole();
                let bounds = text.lines().filter_map(|line| line.trim_start().strip_prefix("bound"));
                let mut cycles =
                    bounds.filter_map(|line| line.split(' ').rev().skip_while(|word| *word != "thousand").nth(1));
                cycles.next_back().unwrap().to_owned()
            })
        };
        Ok([Bytes::Vectors, Bytes::Dots, Bytes::Tables].map(of))
    });
    assert_eq!(found.unwrap(), [["20.5", "1.2"], ["18.4", "1.2"], ["18.4", "0.6"]]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// With 7 bits and 8, by any method, for any number of threads and samples, whatever tiles can do with bytes, planned for any machine,
    /// with and without bands.
    #[test]
    fn engines_and_interpreter_agree_bit_for_bit(
        case in cases(),
        threads in 1usize..4,
        bytes in prop::sample::select(vec![None, None, Some(Bytes::Dots), Some(Bytes::Vectors)]),
        winograd in prop::option::of([1usize..3, 1usize..3]),
        machine in prop::sample::select(KNOWN),
        bands in bands(),
    ) {
        case.with(|whole| {
            for engine in engines() {
                let forced = Forced { bytes, winograd, bands, machine: Some(machine.machine), ..Forced::default() };
                let options = Options { engine, threads, forced, ..Options::default() };
                let mut session = Session::new(whole.graph.clone(), whole.weights, &options).unwrap();
                let found = session.run(whole.inputs).unwrap();
                prop_assert!(found == whole.outputs, "{:?}, {:?}, {:?}", engine, bytes, bands);
            }
            Ok(())
        })?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 8, ..ProptestConfig::default() })]

    /// In ONNX and back, read as if somebody else had written it.
    #[test]
    fn exported_networks_come_back_bit_for_bit(case in cases()) {
        case.with(|whole| {
            let mut bytes = Vec::new();
            svertka::export::export(whole.graph, &[], &[]).unwrap().write(whole.weights, &mut bytes, None).unwrap();
            leave_case(&bytes, whole);
            let model = ModelOptions::default().read_onnx("m", std::sync::Arc::new(bytes), &mut |_| None).unwrap();
            let found = model.interpret(&Weights::of_card(), whole.inputs).unwrap();
            let text = &model.sources().files()[0].text;
            prop_assert!(found == whole.outputs, "{:?}\n{}", model.remarks(), text);
            let bound = model.bind(&Weights::of_card()).unwrap();
            let (found, expected) = (weights_i8(bound.network(&model)), weights_i8(whole.graph));
            let differing: Vec<_> = found.iter().zip(&expected).filter(|(a, b)| a != b).collect();
            prop_assert!(found == expected, "{} and {}, {:?}\n{}", found.len(), expected.len(), differing, text);
            Ok(())
        })?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 18, ..ProptestConfig::default() })]

    /// The same for libraries of the instruction sets of this machine.
    #[test]
    #[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
    fn libraries_and_interpreter_agree_bit_for_bit(
        case in cases(),
        threads in 1usize..4,
        isa in prop::sample::select(Isa::available()),
        bytes in prop::sample::select(vec![None, Some(Bytes::Dots), Some(Bytes::Vectors)]),
        bands in bands(),
    ) {
        case.with(|whole| {
            let folder = tempfile::tempdir().unwrap();
            let cpu = Cpu::named("native").unwrap();
            let target = cpu.target_of(isa.into());
            let bytes = bytes.map_or(target.bytes, |bytes| bytes.min(target.bytes));
            let target = Target { bytes, bands, ..target };
            let plan = schedule::plan(whole.graph.clone(), target);
            let (name, emit, weights) = ("net".to_owned(), vec![Emit::Shared], aot::Weights::Embed);
            let options = aot::Options { name, cpu, emit, weights, own_memory: None, memory_limit: usize::MAX };
            for (name, bytes) in aot::compile(&plan, whole.weights, &options).unwrap().files {
                std::fs::write(folder.path().join(name), bytes).unwrap();
            }
            // SAFETY: it was compiled just now.
            let library = unsafe { Library::open(&folder.path().join("libnet.so"), "net", threads) };
            let found = library.unwrap().run(whole.inputs).unwrap();
            prop_assert!(found == whole.outputs, "{}, {:?}, {:?}", isa, bytes, bands);
            Ok(())
        })?;
    }
}
