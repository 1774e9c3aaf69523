//! Compiled objects, linked into programs of other languages, against sessions in memory. Tests are ignored
//! where a compiler or an emulator is absent.

use crate::common::*;
use std::path::{Path, PathBuf};
use std::process::Command;
use svertka::aot::{self, Artifacts, Cpu, Emit, OwnMemory, Weights};
use svertka::codegen::Isa;
use svertka::interp;
use svertka::ir::{FreeSize, Graph, Verified};
use svertka::kernels::Target;
use svertka::kernels::bands::Bands;
use svertka::kernels::tuning::Choices;
use svertka::layers::*;
use svertka::quant;
use svertka::runtime::library::Library;
use svertka::runtime::{Engine, Forced, Session};
use svertka::schedule::{self, Edges, Plan};
use svertka::tensor::{Batch, DType, Half, Quantisation, Tensor, TensorType};
use svertka::{BoundWeights, Model};

const SEED: u64 = 7;
/// Rows and columns of Winograd's output tiles.
const WINOGRAD: [usize; 2] = [4, 4];
/// Rows of the bands of pairs of layers.
const BAND: usize = 2;

/// Layers of every kernel family, a residual, a concatenation, a gate, two outputs.
fn small_network() -> Verified<Graph> {
    let window = |kernel, stride| Window {
        kernel: vec![kernel; 2],
        stride: vec![stride; 2],
        dilation: vec![1; 2],
        padding: Padding::Half,
        ceil: false,
    };
    let conv = |channels, kernel, groups| {
        Op::from(Conv { channels, window: window(kernel, 1), groups, bias: true, weights: None })
    };
    let mobile = Mobile {
        expanded: 24,
        kernel: 3,
        stride: 1,
        activation: Activation::Silu,
        squeeze: Some((6, Activation::Relu)),
        channels: 20,
        norm: true,
        shown: false,
    };
    let transposed = ConvTranspose {
        channels: 20,
        window: window(3, 2),
        output_padding: vec![1; 2],
        groups: 1,
        bias: false,
        output_major: false,
    };
    let parts = [
        Part::Layer(conv(20, 3, 1)),
        Part::Layer(Activation::Relu.into()),
        Part::Residual(vec![conv(20, 3, 20), Activation::Silu.into()]),
        Part::Mobile(mobile),
        Part::Layer(MaxPool { window: window(3, 2) }.into()),
        Part::Concat(vec![vec![conv(12, 1, 1)], vec![conv(8, 5, 1)]]),
        Part::Output,
        Part::Gate(Activation::Sigmoid, Each::Channel, false),
        Part::Layer(LocalResponseNorm { size: 3, alpha: 0.1, beta: 0.75, k: 1.5, longer: Side::Front }.into()),
        Part::Layer(transposed.into()),
        Part::Layer(BatchNorm { eps: 1e-3, affine: true }.into()),
        Part::Layer(Pad { sides: PadArg::All(1), channels: (0, 0), fill: Fill::Reflect }.into()),
        Part::Layer(Upsample { scale: vec![2, 2], mode: Interpolation::Nearest }.into()),
        Part::Layer(Dense { features: 11, bias: true, flatten: true }.into()),
        Part::Layer(Softmax::CHANNELS.into()),
    ];
    // Of the dense layer these stay so.
    in_halves(network(&[3, 17, 13], &parts), Some(Half::Bf16))
}

/// A network that takes any size, with pairs of layers and Winograd convolutions.
fn sized_network([height, width]: [usize; 2]) -> Verified<Graph> {
    let window = |kernel| Window {
        kernel: vec![kernel; 2],
        stride: vec![1; 2],
        dilation: vec![1; 2],
        padding: Padding::Half,
        ceil: false,
    };
    let conv = |channels, kernel| {
        Part::Layer(Conv { channels, window: window(kernel), groups: 1, bias: true, weights: None }.into())
    };
    let parts = [
        conv(20, 3),
        Part::Layer(Activation::Relu.into()),
        conv(24, 1),
        Part::Layer(MaxPool { window: window(3) }.into()),
        conv(12, 5),
        Part::Output,
        Part::Layer(GlobalAvgPool.into()),
        Part::Layer(Dense { features: 11, bias: true, flatten: true }.into()),
    ];
    let mut graph = network(&[3, height, width], &parts).into_inner();
    graph.free = [("H", 1), ("W", 2)].map(|(name, dim)| FreeSize { name: name.into(), input: 0, dim }).into();
    crate::common::verified(graph)
}

/// Those that `sizes.c` knows, the usual one first.
const SIZES: [[usize; 2]; 3] = [[17, 13], [20, 11], [8, 30]];

fn sized_plans(options: &aot::Options, bands: Bands) -> Vec<Plan> {
    let target = target(Isa::detect().into(), options);
    let force_chain = target.force_chain.filter(|_| bands == Bands::WhereLarge);
    let target = Target { bands, force_chain, ..target };
    SIZES.map(|size| schedule::plan(sized_network(size), target)).into()
}

pub fn options(cpu: &str, emit: &[Emit], weights: Weights) -> aot::Options {
    let (name, cpu) = ("net".into(), Cpu::named(cpu).unwrap());
    aot::Options { name, cpu, emit: emit.to_vec(), weights, own_memory: None, memory_limit: usize::MAX }
}

/// Compiles a graph for an instruction set of a CPU.
fn compile(graph: &Verified<Graph>, isa: impl Into<Isa>, options: &aot::Options) -> Artifacts {
    let plan = schedule::plan(graph.clone(), target(isa.into(), options));
    aot::compile(&plan, &weights(SEED), options).unwrap()
}

/// As sessions have it, but with the Winograd convolutions, the pairs of layers and the layers of several samples that small
/// networks are not chosen for.
fn target(isa: Isa, options: &aot::Options) -> Target {
    Target {
        force_winograd: Some(WINOGRAD),
        force_chain: Some(BAND),
        force_joint: true,
        ..Target::of(isa, options.cpu.architecture())
    }
}

/// A directory with the artifacts and a program that uses them.
pub struct Build {
    directory: tempfile::TempDir,
}

impl Build {
    pub fn new(artifacts: &Artifacts) -> Build {
        let directory = tempfile::tempdir().unwrap();
        artifacts.files.iter().for_each(|(name, bytes)| std::fs::write(directory.path().join(name), bytes).unwrap());
        Build { directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Compiles `tests/aot/SOURCE` against the static library `libLIBRARY.a` into `program`.
    pub fn compile_c(&self, cc: &str, source: &str, library: &str, flags: &[&str]) {
        let mut command = Command::new(cc);
        command.args([
            "-std=c11",
            "-D_GNU_SOURCE",
            "-O1",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pthread",
            "-Wl,--fatal-warnings",
        ]);
        command.args(flags).arg(source_path(source)).arg("-I").arg(self.directory.path());
        command.arg("-o").arg(self.path("program")).arg(self.path(&format!("lib{library}.a"))).arg("-lm");
        output(&mut command);
    }

    fn write_inputs(&self, inputs: &[Tensor]) {
        let raw: Vec<u8> = inputs.iter().flat_map(|tensor| bytemuck::cast_slice(tensor.data())).copied().collect();
        std::fs::write(self.path("inputs"), raw).unwrap();
    }

    /// Runs the driver on inputs; the outputs' values.
    pub fn drive(&self, emulator: Option<&str>, mode: &str, inputs: &[Tensor], weights: Option<&str>) -> Vec<f32> {
        self.write_inputs(inputs);
        bytemuck::pod_collect_to_vec(&self.run(emulator, mode, inputs[0].batch(), weights))
    }

    /// Runs the driver on the file of inputs; what it writes.
    fn run(&self, emulator: Option<&str>, mode: &str, batch: usize, weights: Option<&str>) -> Vec<u8> {
        let mut command = match emulator {
            Some(emulator) => Command::new(emulator),
            None => Command::new(self.path("program")),
        };
        command.args(emulator.map(|_| self.path("program")));
        command.arg(mode).arg(batch.to_string()).arg(self.path("inputs"));
        command.args(weights.map(|name| self.path(name)));
        output(&mut command)
    }
}

fn source_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/aot").join(name)
}

/// What a command writes to standard output; it must succeed.
fn output(command: &mut Command) -> Vec<u8> {
    let result = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(result.status.success(), "{command:?}\n{}{}", text(&result.stdout), text(&result.stderr));
    result.stdout
}

fn session(graph: &Verified<Graph>, isa: impl Into<Isa>, inputs: &[Tensor]) -> Vec<f32> {
    let options = svertka::runtime::Options {
        engine: Engine::Jit(isa.into().on_host().unwrap()),
        forced: Forced { winograd: Some(WINOGRAD), chain: Some(BAND), joint: true, ..Forced::default() },
        ..Default::default()
    };
    let outputs = Session::new(graph.clone(), &weights(SEED), &options).unwrap().run(inputs).unwrap();
    outputs.into_iter().flat_map(Tensor::into_data).collect()
}

pub fn assert_same_bits(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.to_bits(), expected.to_bits(), "value {index}: {found}, expected {expected}");
    }
}

pub const LIBRARY: [Emit; 2] = [Emit::Static, Emit::Header];

#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn a_c_program_gets_the_bits_of_a_session() {
    let graph = small_network();
    for isa in Isa::available() {
        for pie in ["-pie", "-no-pie"] {
            let build = Build::new(&compile(&graph, isa, &options("native", &LIBRARY, Weights::Embed)));
            build.compile_c("cc", "driver.c", "net", &[pie]);
            for batch in [1, 3, 40] {
                let inputs = inputs(&graph, batch, SEED);
                let expected = session(&graph, isa, &inputs);
                assert_same_bits(&build.drive(None, "serial", &inputs, None), &expected);
                assert_same_bits(&build.drive(None, "parallel", &inputs, None), &expected);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[test]
#[cfg_attr(not(all(tool = "cc", tool = "avx2")), ignore = "needs cc and AVX2")]
fn a_generic_cpu_gets_the_same_bits() {
    let graph = small_network();
    let inputs = inputs(&graph, 2, SEED);
    let build = Build::new(&compile(&graph, Isa::Avx2, &options("x86-64-v3", &LIBRARY, Weights::Embed)));
    build.compile_c("cc", "driver.c", "net", &[]);
    assert_same_bits(&build.drive(None, "serial", &inputs, None), &session(&graph, Isa::Avx2, &inputs));
}

#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn weights_can_lie_in_a_file() {
    let graph = small_network();
    let inputs = inputs(&graph, 2, SEED);
    let artifacts = compile(&graph, Isa::detect(), &options("native", &LIBRARY, Weights::File));
    let build = Build::new(&artifacts);
    build.compile_c("cc", "driver.c", "net", &[]);
    let found = build.drive(None, "serial", &inputs, Some("net.weights"));
    assert_same_bits(&found, &session(&graph, Isa::detect(), &inputs));

    build.compile_c("cc", "errors.c", "net", &[]);
    output(Command::new(build.path("program")).arg(build.path("net.weights")));
}

#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn one_object_serves_several_sizes() {
    for (place, bands) in [(Weights::Embed, Bands::Always(8)), (Weights::File, Bands::WhereLarge)] {
        let options = options("native", &LIBRARY, place);
        let plans = sized_plans(&options, bands);
        assert_eq!(plans.iter().all(|plan| plan.stages.is_empty()), bands == Bands::WhereLarge);
        let build = Build::new(&aot::compile_sizes(&plans, &weights(SEED), &options).unwrap());
        build.compile_c("cc", "sizes.c", "net", &[]);
        for size @ [height, width] in SIZES {
            let graph = sized_network(size);
            let inputs = inputs(&graph, 3, SEED);
            build.write_inputs(&inputs);
            let mut command = Command::new(build.path("program"));
            command.args([&format!("{height}x{width}"), "3"]).arg(build.path("inputs"));
            command.args((place == Weights::File).then(|| build.path("net.weights")));
            let found: Vec<f32> = bytemuck::pod_collect_to_vec(&output(&mut command));
            assert_same_bits(&found, &session(&graph, Isa::detect(), &inputs));
        }
    }
}

#[test]
fn weights_that_sizes_read_alike_are_there_once() {
    let options = options("native", &[], Weights::File);
    let plans = sized_plans(&options, Bands::WhereLarge);
    let bytes = |plans: &[Plan]| {
        let artifacts = aot::compile_sizes(plans, &weights(SEED), &options).unwrap();
        let (_, file) = artifacts.files.into_iter().next().unwrap();
        (file.len(), u64::from_le_bytes(file[16..24].try_into().unwrap()))
    };
    let one: Vec<_> = plans.iter().map(|plan| bytes(std::slice::from_ref(plan))).collect();
    let all = bytes(&plans);
    let largest = one.iter().map(|(bytes, _)| *bytes).max().unwrap();
    let sum: usize = one.iter().map(|(bytes, _)| *bytes).sum();
    assert!(largest <= all.0 && all.0 < sum, "{one:?}, together {all:?}");
    assert!(one.iter().all(|(_, fingerprint)| *fingerprint != all.1), "the fingerprint is that of all");
    assert_ne!(bytes(&plans[..2]).1, all.1);
}

#[test]
fn plans_that_are_no_sizes_of_one_network_are_refused() {
    let options = options("native", &LIBRARY, Weights::Embed);
    let refused = |plans: &[Plan]| aot::compile_sizes(plans, &weights(SEED), &options).unwrap_err().to_string();
    let plans = sized_plans(&options, Bands::WhereLarge);
    let twice = [plans[0].clone(), plans[1].clone(), plans[1].clone()];
    assert_eq!(refused(&twice), "the size 20x11 is there twice");
    assert_eq!(refused(&[plans[0].clone(), plans[0].clone()]), "the size 17x13 is there twice");
    let target = target(Isa::detect().into(), &options);
    let other = schedule::plan(single(Softmax::CHANNELS, &[3, 4, 5]).unwrap(), target);
    assert!(refused(&[plans[0].clone(), other]).contains("other inputs or outputs"));
    if Isa::detect() != Isa::Clif.on_host().unwrap() {
        let other =
            schedule::plan(sized_network(SIZES[1]), Target { ..Target::of(Isa::Clif, options.cpu.architecture()) });
        assert!(refused(&[plans[0].clone(), other]).contains("another target"));
    }
}

#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn embedded_weights_take_no_others() {
    let build = Build::new(&compile(&small_network(), Isa::detect(), &options("native", &LIBRARY, Weights::Embed)));
    build.compile_c("cc", "errors.c", "net", &[]);
    output(&mut Command::new(build.path("program")));
}

/// The checksum of a weight file is that of a common tool, and the length is that of the file.
#[test]
fn a_weight_file_states_its_length_and_checksum() {
    let artifacts = compile(&small_network(), Isa::detect(), &options("native", &[], Weights::File));
    let (name, bytes) = &artifacts.files[0];
    assert_eq!(name, "net.weights");
    let field = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
    assert_eq!(field(24), bytes.len() as u64);
    assert_eq!(field(32), svertka::hash::xxh64::hash(&bytes[64..]));
}

#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn the_library_can_have_the_work_memory() {
    let graph = small_network();
    let own_memory = Some(OwnMemory { batch: 2, threads: 1 });
    let options = aot::Options { own_memory, ..options("native", &LIBRARY, Weights::Embed) };
    let build = Build::new(&compile(&graph, Isa::detect(), &options));
    build.compile_c("cc", "driver.c", "net", &[]);
    for batch in [1, 2] {
        let inputs = inputs(&graph, batch, SEED);
        assert_same_bits(&build.drive(None, "own", &inputs, None), &session(&graph, Isa::detect(), &inputs));
    }
    build.write_inputs(&inputs(&graph, 3, SEED));
    let result = Command::new(build.path("program")).args(["own", "3"]).arg(build.path("inputs")).output().unwrap();
    assert!(String::from_utf8_lossy(&result.stderr).contains("no work memory was given"), "{result:?}");
}

#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn inputs_are_told_apart_and_a_fixed_batch_is_kept() {
    let fixed = |dims: &[usize]| TensorType { batch: Batch::Fixed(2), ..input_type(dims) };
    let mut graph = Graph { name: "two".into(), ..Graph::default() };
    let (a, b) = (graph.add_input("a", fixed(&[3, 4, 5])), graph.add_input("b", fixed(&[6, 4, 5])));
    let both = graph.add_layer(Concat, &[a, b], "both").unwrap();
    crate::common::output(&mut graph, both);
    let graph = crate::common::verified(graph);
    let build = Build::new(&compile(&graph, Isa::detect(), &options("native", &LIBRARY, Weights::Embed)));
    build.compile_c("cc", "driver.c", "net", &[]);
    let inputs = inputs(&graph, 2, SEED);
    assert_same_bits(&build.drive(None, "serial", &inputs, None), &session(&graph, Isa::detect(), &inputs));

    let mut other_batch = Command::new(build.path("program"));
    let result = other_batch.args(["serial", "1"]).arg(build.path("inputs")).output().unwrap();
    assert!(String::from_utf8_lossy(&result.stderr).contains("does not run this batch"), "{result:?}");
}

/// Products below the smallest normal number, with enough elements that a step is split.
#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn denormals_are_flushed_on_every_thread() {
    let graph = single(Activation::LeakyRelu(0.1), &[2, 500]).unwrap();
    let build = Build::new(&compile(&graph, Isa::Clif, &options("native", &LIBRARY, Weights::Embed)));
    build.compile_c("cc", "driver.c", "net", &[]);
    let batch = 500;
    let inputs = [Tensor::new([batch, 2, 500], vec![-2e-38; batch * 1000])];
    for mode in ["serial", "parallel"] {
        let found = build.drive(None, mode, &inputs, None);
        assert!(found.iter().all(|&value| value == 0.0), "{mode}");
    }
}

#[test]
#[cfg_attr(not(tool = "nm"), ignore = "needs nm")]
fn the_object_is_alone_and_shows_only_its_prefix() {
    for (cpu, weights) in
        [("x86-64-v2", Weights::Embed), ("x86-64-v4", Weights::File), ("aarch64-generic", Weights::Embed)]
    {
        let cpu = options(cpu, &[Emit::Object], weights);
        let build = Build::new(&compile(&small_network(), cpu.cpu.isa, &cpu));
        let text = String::from_utf8(output(Command::new("nm").arg(build.path("net.o")))).unwrap();
        let mut public = 0;
        for line in text.lines() {
            let mut words = line.split_whitespace().rev();
            let (name, kind) = (words.next().unwrap(), words.next().unwrap());
            assert_ne!(kind, "U", "{name} is undefined");
            if kind.chars().all(char::is_uppercase) {
                assert!(name.starts_with("net_") && kind == "T", "{line}");
                public += 1;
            }
        }
        assert_eq!(public, 17);
    }
}

#[test]
fn the_same_plan_gives_the_same_bytes() {
    let emit: Vec<Emit> = Emit::ALL.iter().map(|kind| kind.1).filter(|&kind| kind != Emit::Shared).collect();
    for cpu in ["x86-64-v2", "x86-64-v3", "x86-64-v4", "aarch64-generic"] {
        let options = options(cpu, &emit, Weights::File);
        let first = compile(&small_network(), options.cpu.isa, &options);
        let second = compile(&small_network(), options.cpu.isa, &options);
        assert!(first == second, "{cpu}");
        assert_eq!(first.files.len(), 6);
        assert!(first.files.iter().all(|(_, bytes)| !bytes.is_empty()));
    }
}

/// Processes differ in the order of their hash tables, addresses and temporary names.
#[test]
fn two_processes_write_the_same_files() {
    let compile = || {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_svertka"));
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        command.args(["compile", "models/lenet5.cnn", "--tuned", "none", "--weights-in", "file", "-o"]);
        output(command.arg(folder.path()).args(["--emit", "obj,header,static,clif,asm"]));
        let mut files: Vec<(PathBuf, Vec<u8>)> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| (path.strip_prefix(folder.path()).unwrap().into(), std::fs::read(&path).unwrap()))
            .collect();
        files.sort();
        files
    };
    let first = compile();
    assert_eq!(first.len(), 6);
    assert!(first == compile());
}

#[test]
fn what_cannot_be_compiled_is_refused() {
    let graph = single(Softmax::CHANNELS, &[4]).unwrap();
    let plan = schedule::plan(graph, Cpu::named("x86-64-v4").unwrap().target());
    let message = |options: &aot::Options| aot::compile(&plan, &weights(SEED), options).unwrap_err().to_string();
    let narrower = options("x86-64-v3", &LIBRARY, Weights::Embed);
    assert_eq!(message(&narrower), "the plan was made for avx512, which x86-64-v3 does not run");
    let bad = aot::Options { name: "3d-net".into(), ..options("x86-64-v4", &LIBRARY, Weights::Embed) };
    assert!(message(&bad).starts_with("`3d-net` cannot be the prefix of C names"));
    assert!(Cpu::named("i386").unwrap_err().to_string().contains("x86-64-v3"));
    assert_eq!("shared".parse(), Ok(Emit::Shared));
    assert!("exe".parse::<Emit>().unwrap_err().to_string().contains("obj, header"));
}

/// Sessions and libraries of the same plan, as `bench --compare-aot` runs them, on one thread and on two.
#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn a_shared_library_is_loaded_and_gives_the_bits_of_a_session() {
    let graph = small_network();
    let inputs = inputs(&graph, 5, SEED);
    for isa in Isa::available() {
        let build = Build::new(&compile(&graph, isa, &options("native", &[Emit::Shared], Weights::Embed)));
        for threads in [1, 2] {
            // SAFETY: it was compiled just now.
            let library = unsafe { Library::open(&build.path("libnet.so"), "net", threads) };
            let mut library = library.unwrap();
            let outputs = library.run(&inputs).unwrap();
            let found: Vec<f32> = outputs.into_iter().flat_map(Tensor::into_data).collect();
            assert_same_bits(&found, &session(&graph, isa, &inputs));
            for shape in [vec![], vec![5], vec![0, 3, 17, 13], vec![5, 3, 13, 17]] {
                library.run(&[Tensor::zeros(shape)]).unwrap_err();
            }
            library.run(&[]).unwrap_err();
        }
    }
}

#[test]
#[cfg_attr(not(all(tool = "cc", tool = "python3")), ignore = "needs cc and python3")]
fn a_shared_library_is_loaded_by_python() {
    let graph = small_network();
    let artifacts = compile(&graph, Isa::detect(), &options("native", &[Emit::Shared], Weights::Embed));
    assert_eq!(artifacts, compile(&graph, Isa::detect(), &options("native", &[Emit::Shared], Weights::Embed)));
    let build = Build::new(&artifacts);
    let inputs = inputs(&graph, 2, SEED);
    build.write_inputs(&inputs);
    let mut python = Command::new("python3");
    python.arg(source_path("python/run.py")).arg(build.path("libnet.so")).arg("net").arg(build.path("inputs"));
    let found = output(&mut python);
    let found: Vec<f32> = String::from_utf8(found).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert_same_bits(&found, &session(&graph, Isa::detect(), &inputs));

    let mut python = Command::new("python3");
    python.arg(source_path("python/errors.py")).arg(build.path("libnet.so")).arg("net").arg(build.path("inputs"));
    output(&mut python);
}

#[test]
#[cfg_attr(not(tool = "aarch64"), ignore = "needs a cross compiler and an emulator for AArch64")]
fn aarch64_code_agrees_with_the_interpreter() {
    let graph = small_network();
    let build = Build::new(&compile(&graph, Isa::Clif, &options("aarch64-generic", &LIBRARY, Weights::Embed)));
    build.compile_c("aarch64-linux-gnu-gcc", "driver.c", "net", &["-static"]);
    let inputs = inputs(&graph, 40, SEED);
    let expected = interp::run(&graph, &weights(SEED), &inputs, Accumulate::F64);
    for mode in ["serial", "parallel"] {
        let mut found = build.drive(Some("qemu-aarch64"), mode, &inputs, None);
        for expected in &expected {
            let rest = found.split_off(expected.data().len());
            let difference = difference(&Tensor::new(expected.shape(), found), expected);
            assert!(difference <= 1e-4, "{mode}: {difference}");
            found = rest;
        }
        assert!(found.is_empty());
    }
}

/// A network on whole numbers, with the weights of a file that `svertka quantize` could have written.
struct Whole {
    model: Model,
    weights: BoundWeights,
    _file: tempfile::NamedTempFile,
}

/// Layers of every kernel family on whole numbers. The input is of eight bits, and so is an output; the other is sums that stay
/// f32.
fn whole_network() -> Whole {
    let text = "model m
input x: f32[N, 3, H = 13, W = 11]
net {
  concat { identity
 begin: conv 3x3, 9, half, bias | relu }
  groups: conv 3x3, 12, half, groups 3 | silu
  two: conv 3x2, 12, groups 2, pad 1
  deep: conv 3x3, 12, half, groups 12, bias | relu6
  residual { conv 1x1, 12 | relu | conv 3x3, 12, half } | relu
  maxpool 3x3, stride 2, pad 1
  gate { global_avgpool | conv 1x1, 12, bias | sigmoid }
  concat { slice 1..6
 conv 1x1, 7 | relu }
  channel_shuffle 3
  adaptive_avgpool 5x3 | output features
  end: conv 1x1, 5, bias
}
";
    let model = Model::parse(text).unwrap();
    let random = model.bind(&svertka::Weights::random(SEED)).unwrap();
    let examples = [inputs(model.graph(), 2, SEED)];
    let wishes = quant::Wishes {
        method: quant::Method::MinMax,
        activation_bits: 8,
        paired: true,
        keep: Default::default(),
        budget: None,
    };
    let found = quant::quantise(model.graph(), &random, &examples, &wishes, &mut |_, _| {}).unwrap();
    let folded = quant::Folded::new(model.graph(), &random);
    let file = tempfile::Builder::new().suffix(".safetensors").tempfile().unwrap();
    quant::write(file.path(), &quant::tensors(&found.structure, &found.values, &folded), Some(8)).unwrap();
    let weights = model.bind(&svertka::Weights::file(file.path())).unwrap();
    Whole { model, weights, _file: file }
}

impl Whole {
    fn graph(&self) -> &Verified<Graph> {
        self.weights.network(&self.model)
    }

    fn compile(&self, isa: Isa, options: &aot::Options, edges: Edges) -> Artifacts {
        let plan = schedule::plan_edges(self.graph().clone(), options.cpu.target_of(isa), &Choices::default(), edges);
        aot::compile(&plan, &self.weights, options).unwrap()
    }

    /// Inputs and what the interpreter makes of them.
    fn expected(&self, batch: usize) -> (Vec<Tensor>, Vec<f32>) {
        let inputs = inputs(self.graph(), batch, SEED + 1);
        let outputs = interp::run(self.graph(), &self.weights, &inputs, Accumulate::F32);
        (inputs, outputs.into_iter().flat_map(Tensor::into_data).collect())
    }

    /// What the caller gives and takes where the edges are on whole numbers: the input, and each output.
    fn types(&self) -> (TensorType, Vec<TensorType>) {
        let (target, choices) = (Target::new(Isa::Clif), Choices::default());
        let plan = schedule::plan_edges(self.graph().clone(), target, &choices, Edges::Whole);
        let input = plan.input_types().next().unwrap().clone();
        (input, plan.output_types().cloned().collect())
    }

    /// Runs a build for whole numbers on what stands for the inputs; the real numbers that its outputs stand for.
    fn drive_bytes(&self, build: &Build, emulator: Option<&str>, mode: &str, inputs: &[Tensor]) -> Vec<f32> {
        let (taken, given) = self.types();
        let bytes: Vec<u8> = inputs[0].data().iter().map(|&x| numbers(&taken).unwrap().quantise(x)).collect();
        std::fs::write(build.path("inputs"), bytes).unwrap();
        let mut found = build.run(emulator, mode, inputs[0].batch(), None);
        let mut outputs = Vec::new();
        for ty in &given {
            let rest = found.split_off(ty.elements() * ty.dtype.bytes() * inputs[0].batch());
            match numbers(ty) {
                Some(numbers) => outputs.extend(found.iter().map(|&q| numbers.real(q))),
                None => outputs.extend(bytemuck::pod_collect_to_vec::<u8, f32>(&found)),
            }
            found = rest;
        }
        outputs
    }
}

/// What the elements of a type stand for, where they are whole numbers.
fn numbers(ty: &TensorType) -> Option<Quantisation> {
    if let DType::U8(numbers) = ty.dtype { Some(numbers) } else { None }
}

#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn whole_numbers_have_the_bits_of_the_interpreter() {
    let whole = whole_network();
    for isa in Isa::available() {
        for place in [Weights::Embed, Weights::File] {
            let file = (place == Weights::File).then_some("net.weights");
            let build = Build::new(&whole.compile(isa.into(), &options("native", &LIBRARY, place), Edges::Real));
            build.compile_c("cc", "driver.c", "net", &[]);
            for (batch, mode) in [(1, "serial"), (3, "parallel"), (40, "parallel")] {
                let (inputs, expected) = whole.expected(batch);
                assert_same_bits(&build.drive(None, mode, &inputs, file), &expected);
            }
            if place == Weights::File {
                build.compile_c("cc", "errors.c", "net", &[]);
                output(Command::new(build.path("program")).arg(build.path("net.weights")));
            }
        }
        let build = Build::new(&whole.compile(isa.into(), &options("native", &LIBRARY, Weights::Embed), Edges::Whole));
        build.compile_c("cc", "driver.c", "net", &[]);
        for (batch, mode) in [(1, "serial"), (3, "parallel")] {
            let (inputs, expected) = whole.expected(batch);
            assert_same_bits(&whole.drive_bytes(&build, None, mode, &inputs), &expected);
        }
    }
}

/// What the CPU need not have runs on this one where it has it: dot products of bytes, tables.
#[cfg(target_arch = "x86_64")]
#[test]
#[cfg_attr(not(all(tool = "cc", tool = "avx2")), ignore = "needs cc and AVX2")]
fn whole_numbers_have_the_same_bits_whatever_the_cpu_does_with_bytes() {
    let whole = whole_network();
    let (inputs, expected) = whole.expected(2);
    for cpu in ["x86-64-v2", "x86-64-v3", "alderlake", "x86-64-v4", "cascadelake", "icelake-server"] {
        let options = options(cpu, &[Emit::Static, Emit::Header, Emit::Assembly], Weights::Embed);
        let artifacts = whole.compile(options.cpu.isa, &options, Edges::Real);
        let assembly = &artifacts.files.iter().find(|(name, _)| name == "net.s").unwrap().1;
        let has = |word: &str| String::from_utf8_lossy(assembly).contains(word);
        let dots = matches!(cpu, "alderlake" | "cascadelake" | "icelake-server");
        assert_eq!((has("vpdpbusd"), has("vpermi2b")), (dots, cpu == "icelake-server"), "{cpu}");
        let own = Cpu::named("native").unwrap();
        if !runs(&own, options.cpu.target()) {
            continue;
        }
        let build = Build::new(&artifacts);
        build.compile_c("cc", "driver.c", "net", &[]);
        assert_same_bits(&build.drive(None, "serial", &inputs, None), &expected);
    }
}

/// Whether this CPU has what a target uses.
fn runs(cpu: &Cpu, target: Target) -> bool {
    let host = target.isa.on_host();
    cpu.isa >= target.isa && host.is_some_and(|host| host.bytes() >= target.bytes)
}

#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn whole_numbers_of_several_sizes_share_an_object() {
    let mut whole = whole_network();
    let options = options("native", &LIBRARY, Weights::Embed);
    let graphs = SIZES.map(|[height, width]| {
        whole.model.resize(&[("H".into(), height), ("W".into(), width)]).unwrap();
        whole.weights.network_of(whole.model.graph().clone()).unwrap()
    });
    let plans: Vec<Plan> = graphs.iter().map(|graph| schedule::plan(graph.clone(), options.cpu.target())).collect();
    let build = Build::new(&aot::compile_sizes(&plans, &whole.weights, &options).unwrap());
    build.compile_c("cc", "sizes.c", "net", &[]);
    for ([height, width], graph) in SIZES.into_iter().zip(&graphs) {
        let inputs = inputs(graph, 3, SEED);
        build.write_inputs(&inputs);
        let mut command = Command::new(build.path("program"));
        command.args([&format!("{height}x{width}"), "3"]).arg(build.path("inputs"));
        let found: Vec<f32> = bytemuck::pod_collect_to_vec(&output(&mut command));
        let expected = interp::run(graph, &whole.weights, &inputs, Accumulate::F32);
        let expected: Vec<f32> = expected.into_iter().flat_map(Tensor::into_data).collect();
        assert_same_bits(&found, &expected);
    }
}

#[test]
#[cfg_attr(not(all(tool = "cc", tool = "python3")), ignore = "needs cc and python3")]
fn python_is_told_which_bytes_a_library_takes() {
    let whole = whole_network();
    let options = options("native", &[Emit::Shared], Weights::Embed);
    let build = Build::new(&whole.compile(options.cpu.isa, &options, Edges::Whole));
    std::fs::write(build.path("inputs"), vec![7; 2 * whole.types().0.elements()]).unwrap();
    let mut python = Command::new("python3");
    python.arg(source_path("python/errors.py")).arg(build.path("libnet.so")).arg("net").arg(build.path("inputs"));
    output(&mut python);
}

/// Who hands over f32 must not be given what bytes stand for.
#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn a_library_of_bytes_is_not_run_on_f32() {
    let whole = whole_network();
    let options = options("native", &[Emit::Shared], Weights::Embed);
    for (edges, runs) in [(Edges::Real, true), (Edges::Whole, false)] {
        let build = Build::new(&whole.compile(options.cpu.isa, &options, edges));
        // SAFETY: it was compiled just now.
        let library = unsafe { Library::open(&build.path("libnet.so"), "net", 1) };
        assert_eq!(library.is_ok(), runs, "{edges:?}");
    }
}

#[test]
fn the_header_says_what_whole_numbers_stand_for() {
    let whole = whole_network();
    let options = options("native", &[Emit::Header], Weights::Embed);
    let header = |edges| String::from_utf8(whole.compile(Isa::Clif, &options, edges).files.remove(0).1).unwrap();
    let real = header(Edges::Real);
    assert!(real.contains("const float *const inputs[]") && !real.contains("NET_INPUT_0_SCALE"), "{real}");
    let bytes = header(Edges::Whole);
    let (taken, given) = whole.types();
    let [taken, given] = [&taken, &given[1]].map(|ty| numbers(ty).unwrap());
    for line in [
        format!("#define NET_INPUT_0_SCALE {:?}f\n", taken.scale()),
        format!("#define NET_INPUT_0_ZERO_POINT {}\n", taken.zero_point()),
        format!("#define NET_OUTPUT_1_SCALE {:?}f\n", given.scale()),
        format!("x: uint8_t [N, 3, 13, 11], 429 elements a sample, q for the number (q - {})", taken.zero_point()),
        "features: uint8_t [N, 12, 5, 3]".into(),
        "f32 [N, 5, 5, 3], 75 elements a sample\n".into(),
        "const uint8_t *const inputs[],\n    void *const outputs[]".into(),
    ] {
        assert!(bytes.contains(&line), "{line}\n{bytes}");
    }
    assert!(!bytes.contains("NET_OUTPUT_0_SCALE"));
}

#[test]
#[cfg_attr(not(tool = "aarch64"), ignore = "needs a cross compiler and an emulator for AArch64")]
fn whole_numbers_have_the_same_bits_on_aarch64() {
    let whole = whole_network();
    let options = options("aarch64-generic", &LIBRARY, Weights::Embed);
    for edges in [Edges::Real, Edges::Whole] {
        let build = Build::new(&whole.compile(Isa::Clif, &options, edges));
        build.compile_c("aarch64-linux-gnu-gcc", "driver.c", "net", &["-static"]);
        let (inputs, expected) = whole.expected(5);
        let emulator = Some("qemu-aarch64");
        let found = match edges {
            Edges::Real => build.drive(emulator, "parallel", &inputs, None),
            Edges::Whole => whole.drive_bytes(&build, emulator, "parallel", &inputs),
        };
        assert_same_bits(&found, &expected);
    }
}

/// A CPU without AVX runs code for x86-64-v2, and is told that it cannot run that for x86-64-v3.
#[cfg(target_arch = "x86_64")]
#[test]
#[cfg_attr(not(all(tool = "cc", tool = "qemu-x86_64")), ignore = "needs cc and qemu-x86_64")]
fn the_cpu_is_checked() {
    let graph = small_network();
    let inputs = inputs(&graph, 1, SEED);
    let emulated = |cpu: &str| {
        let options = options(cpu, &LIBRARY, Weights::Embed);
        let build = Build::new(&compile(&graph, options.cpu.isa, &options));
        build.compile_c("cc", "driver.c", "net", &["-static"]);
        build.write_inputs(&inputs);
        let mut command = Command::new("qemu-x86_64");
        command.args(["-cpu", "Nehalem"]).arg(build.path("program")).args(["serial", "1"]).arg(build.path("inputs"));
        command.output().unwrap()
    };
    let result = emulated("x86-64-v2");
    assert!(result.status.success(), "{}", String::from_utf8_lossy(&result.stderr));
    let result = emulated("x86-64-v3");
    assert!(String::from_utf8_lossy(&result.stderr).contains("lacks an instruction set"), "{result:?}");
}
