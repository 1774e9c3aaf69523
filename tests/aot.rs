//! Compiled objects, linked into programs of other languages, against sessions in memory. Tests skip with a message
//! where a compiler or an emulator is absent.

#[allow(dead_code)]
mod common;

use common::*;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use svertka::aot::{self, AotError, Artifacts, Cpu, Emit, Weights};
use svertka::codegen::Isa;
use svertka::interp;
use svertka::ir::Graph;
use svertka::kernels::Target;
use svertka::layers::*;
use svertka::runtime::{Engine, Session};
use svertka::schedule;
use svertka::tensor::Tensor;

const SEED: u64 = 7;

/// Layers of every kernel family, a residual, a concatenation, a gate, two outputs.
fn small_network() -> Graph {
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
    let parts = [
        Part::Layer(conv(20, 3, 1)),
        Part::Layer(Activation::Relu.into()),
        Part::Residual(vec![conv(20, 3, 20), Activation::Silu.into()]),
        Part::Layer(MaxPool { window: window(3, 2) }.into()),
        Part::Concat(vec![vec![conv(12, 1, 1)], vec![conv(8, 5, 1)]]),
        Part::Output,
        Part::Gate(Activation::Sigmoid),
        Part::Layer(LocalResponseNorm { size: 3, alpha: 0.1, beta: 0.75, k: 1.5 }.into()),
        Part::Layer(Upsample { scale: vec![2, 2], mode: Interpolation::Nearest }.into()),
        Part::Layer(Dense { features: 11, bias: true, flatten: true }.into()),
        Part::Layer(Softmax.into()),
    ];
    network(&[3, 17, 13], &parts)
}

fn options(cpu: &str, emit: &[Emit], weights: Weights) -> aot::Options {
    aot::Options { name: "net".into(), cpu: Cpu::named(cpu).unwrap(), emit: emit.to_vec(), weights }
}

/// Compiles a graph for an instruction set of a CPU.
fn compile(graph: &Graph, isa: Isa, options: &aot::Options) -> Artifacts {
    let plan = schedule::plan(graph.clone(), Target::of(isa, options.cpu.architecture()));
    aot::compile(&plan, &weights(SEED), options).unwrap()
}

/// A directory with the artifacts and a program that uses them.
struct Build {
    directory: tempfile::TempDir,
}

impl Build {
    fn new(artifacts: &Artifacts) -> Build {
        let directory = tempfile::tempdir().unwrap();
        artifacts.files.iter().for_each(|(name, bytes)| std::fs::write(directory.path().join(name), bytes).unwrap());
        Build { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Compiles `tests/aot/SOURCE` against the static library `libLIBRARY.a` into `program`.
    fn compile_c(&self, cc: &str, source: &str, library: &str, flags: &[&str]) {
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
        command.arg("-o").arg(self.path("program")).arg(self.path(&format!("lib{library}.a")));
        output(&mut command);
    }

    /// Runs the driver on inputs; the outputs' values.
    fn drive(&self, emulator: Option<&str>, mode: &str, inputs: &[Tensor], weights: Option<&str>) -> Vec<f32> {
        let raw: Vec<u8> = inputs.iter().flat_map(|tensor| bytemuck::cast_slice(tensor.data())).copied().collect();
        std::fs::write(self.path("inputs"), raw).unwrap();
        let mut command = match emulator {
            Some(emulator) => Command::new(emulator),
            None => Command::new(self.path("program")),
        };
        command.args(emulator.map(|_| self.path("program")));
        command.arg(mode).arg(inputs[0].batch().to_string()).arg(self.path("inputs"));
        command.args(weights.map(|name| self.path(name)));
        bytemuck::pod_collect_to_vec(&output(&mut command))
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

/// Whether a program is installed; says so where it is not.
fn present(program: &str) -> bool {
    let mut command = Command::new(program);
    let found = command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    if !found {
        eprintln!("skipped: `{program}` is not installed");
    }
    found
}

fn session(graph: &Graph, isa: Isa, inputs: &[Tensor]) -> Vec<f32> {
    let options = svertka::runtime::Options { engine: Engine::Jit(isa), ..Default::default() };
    let outputs = Session::new(graph.clone(), &weights(SEED), &options).unwrap().run(inputs).unwrap();
    outputs.into_iter().flat_map(Tensor::into_data).collect()
}

fn assert_same_bits(found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert_eq!(found.to_bits(), expected.to_bits(), "value {index}: {found}, expected {expected}");
    }
}

const LIBRARY: [Emit; 2] = [Emit::Static, Emit::Header];

#[test]
fn a_c_program_gets_the_bits_of_a_session() {
    if !present("cc") {
        return;
    }
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
fn a_generic_cpu_gets_the_same_bits() {
    if !present("cc") || !Isa::available().contains(&Isa::Avx2) {
        return;
    }
    let graph = small_network();
    let inputs = inputs(&graph, 2, SEED);
    let build = Build::new(&compile(&graph, Isa::Avx2, &options("x86-64-v3", &LIBRARY, Weights::Embed)));
    build.compile_c("cc", "driver.c", "net", &[]);
    assert_same_bits(&build.drive(None, "serial", &inputs, None), &session(&graph, Isa::Avx2, &inputs));
}

#[test]
fn weights_can_lie_in_a_file() {
    if !present("cc") {
        return;
    }
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

/// Products below the smallest normal number, with enough elements that a step is split.
#[test]
fn denormals_are_flushed_on_every_thread() {
    if !present("cc") {
        return;
    }
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
fn the_object_is_alone_and_shows_only_its_prefix() {
    if !present("nm") {
        return;
    }
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
        assert_eq!(public, 15);
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

#[test]
fn what_cannot_be_compiled_is_refused() {
    let graph = single(Softmax, &[4]).unwrap();
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

#[test]
fn a_shared_library_is_loaded_by_python() {
    if !present("cc") || !present("python3") {
        return;
    }
    let graph = small_network();
    let artifacts = compile(&graph, Isa::detect(), &options("native", &[Emit::Shared], Weights::Embed));
    assert_eq!(artifacts, compile(&graph, Isa::detect(), &options("native", &[Emit::Shared], Weights::Embed)));
    let build = Build::new(&artifacts);
    let inputs = inputs(&graph, 2, SEED);
    std::fs::write(build.path("inputs"), bytemuck::cast_slice(inputs[0].data())).unwrap();
    let mut python = Command::new("python3");
    python.arg(source_path("python/run.py")).arg(build.path("libnet.so")).arg("net").arg(build.path("inputs"));
    let found = output(&mut python);
    let found: Vec<f32> = String::from_utf8(found).unwrap().lines().map(|line| line.parse().unwrap()).collect();
    assert_same_bits(&found, &session(&graph, Isa::detect(), &inputs));
}

#[test]
fn a_missing_linker_is_an_error() {
    if cfg!(target_arch = "aarch64") || Command::new("aarch64-linux-gnu-gcc").arg("--version").output().is_ok() {
        eprintln!("skipped: the linker is installed");
        return;
    }
    let options = options("aarch64-generic", &[Emit::Shared], Weights::Embed);
    let plan = schedule::plan(small_network(), options.cpu.target());
    let error = aot::compile(&plan, &weights(SEED), &options).unwrap_err();
    assert!(matches!(&error, AotError::Linker { linker, .. } if linker == "aarch64-linux-gnu-gcc"), "{error}");
}

#[test]
fn aarch64_code_agrees_with_the_interpreter() {
    if !present("aarch64-linux-gnu-gcc") || !present("qemu-aarch64") {
        return;
    }
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
            assert!(difference <= 1e-5, "{mode}: {difference}");
            found = rest;
        }
        assert!(found.is_empty());
    }
}
