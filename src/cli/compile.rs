//! `svertka compile`: object files, libraries and headers.

use super::args::{MemoryArgs, ModelArgs, ProductsArgs};
use super::arguments::is_typed;
use super::model;
use super::tuned::Source;
use super::weights::{Missing, WeightArgs};
use super::{Failure, Outcome, input, print, progress};
use crate::aot::{self, Artifacts, Cpu, Emit, OwnMemory};
use crate::codegen::Isa;
use crate::io::STREAM;
use crate::io::write::{check_folder, create_folder, write_atomically};
use crate::ir::{Graph, Sizes, Verified};
use crate::kernels::Target;
use crate::machine::{self, Known};
use crate::model::{BoundWeights, Model};
use crate::runtime::{check_packing, check_planning, check_weights};
use crate::schedule::{Edges, Plan};
use crate::tensor::DType;
use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Compile for these values of free sizes too, into the same object with the same weights; may be given several times
    #[arg(long, value_name = "NAME=VALUE,..", value_parser = parse_size)]
    size: Vec<Sizes>,
    #[command(flatten)]
    weights: WeightArgs,
    /// Folder to write to; it is made if need be
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// CPU to compile for; a wrong name lists those known
    #[arg(long, default_value = aot::NATIVE, value_parser = PossibleValuesParser::new(aot::cpu::names()), hide_possible_values = true, env = "SVERTKA_CPU")]
    cpu: String,
    /// Machine of the CPU's architecture to choose kernels for; the one of the CPU's name, or a generic one, where nothing is
    /// given, and a wrong name lists those known. Changes how long the code takes, not what it computes
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(machine::names()), hide_possible_values = true)]
    machine: Option<String>,
    /// What to make: obj, header, static, shared, clif, asm
    #[arg(long, value_delimiter = ',', default_value = "obj,header,static", value_name = "KIND,..")]
    emit: Vec<Emit>,
    /// Prefix of the public names and of the files; the name of the model or variant where none is given
    #[arg(long)]
    name: Option<String>,
    /// Weights inside the object, or in a file beside it that the program maps at start
    #[arg(long, value_enum, default_value = "embed")]
    weights_in: Place,
    /// A narrower instruction set than the CPU's widest
    #[arg(long)]
    isa: Option<Isa>,
    /// Whose memory a run works in: the caller's, or, where it gives none, the library's for --batch and --threads
    #[arg(long, value_enum, default_value = "caller")]
    memory: Memory,
    /// Samples that the library's memory suffices for; the model's own number where it has one, else 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    batch: Option<u16>,
    /// Threads that the library's memory suffices for; 1 where nothing is given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Only kernels that compute the sums of the layers' definitions: without Winograd convolution
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    products: ProductsArgs,
    /// File with the choices of `svertka tune`, or `none`; the one of this CPU in the user's folder for caches where
    /// nothing is given. Only for the CPU `native`
    #[arg(long, value_name = "FILE|none", env = "SVERTKA_TUNED")]
    tuned: Option<OsString>,
    /// Inputs and outputs are whole numbers of eight bits (uint8_t) where the network computes on such, with weights of
    /// `svertka quantize`, and f32 elsewhere; the header says which, and what they stand for
    #[arg(long)]
    bytes: bool,
    #[command(flatten)]
    memory_limit: MemoryArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum Place {
    Embed,
    File,
}

#[derive(Clone, Copy, ValueEnum)]
enum Memory {
    Caller,
    Library,
}

pub fn run(args: &Args) -> Outcome {
    let cpu = Cpu::named(&args.cpu).map_err(Failure::usage)?;
    args.name.as_deref().map_or(Ok(()), aot::check_name).map_err(Failure::usage)?;
    check_memory(args)?;
    if args.output == Path::new(STREAM) {
        return Err(Failure::usage(
            "`-o` names a folder, in which there will be several files; write `-o ./-` for one named `-`",
        ));
    }
    check_folder(&args.output)?;
    let choices = choices(args)?;
    let target = target(args, &cpu)?;
    aot::check(&args.emit, &cpu, target).map_err(Failure::input)?;
    let mut model = model::load(&args.model)?;
    let own_memory = own_memory(args, &model)?;
    let name = args.name.clone().unwrap_or_else(|| model.graph().name.clone());
    let graphs = graphs(&mut model, &args.size)?;
    let weights = args.weights.choose_any(&model, Missing::Refused)?;
    let graphs = graphs.into_iter().map(|graph| weights.network_of(graph)).collect::<Result<Vec<_>, _>>()?;
    let limit = args.memory_limit.limit();
    check_packing(&graphs[0], limit)?;
    graphs.iter().try_for_each(|graph| check_planning(graph, limit))?;
    let choices = choices.load();
    let edges = if args.bytes { Edges::Whole } else { Edges::Real };
    let plans: Vec<Plan> = graphs.into_iter().map(|graph| choices.plan(graph, target, edges)).collect();
    if args.bytes {
        check_bytes(&plans[0], &weights)?;
    }
    create_folder(&args.output)?;
    let place = match args.weights_in {
        Place::Embed => aot::Weights::Embed,
        Place::File => aot::Weights::File,
    };
    let options = aot::Options { name, cpu, emit: args.emit.clone(), weights: place, own_memory, memory_limit: limit };
    let compile = || aot::compile_sizes(&plans, &weights, &options);
    let artifacts = progress::during("compiling, and packing weights", compile)?;
    write(&args.output, &artifacts)
}

/// What to plan for.
fn target(args: &Args, cpu: &Cpu) -> Result<Target, Failure> {
    let products = args.products.get();
    let target = Target { exact: args.exact, products, ..cpu.target_of(args.isa.unwrap_or(cpu.isa)) };
    target.check().map_err(Failure::usage)?;
    let Some(name) = &args.machine else { return Ok(target) };
    let known = Known::named(name).map_err(Failure::usage)?;
    if known.architecture.is_some_and(|architecture| architecture != cpu.architecture()) {
        let (architecture, cpu) = (cpu.architecture(), &args.cpu);
        return Err(Failure::usage(format!(
            "--machine {name}: no {architecture}, which `--cpu {cpu}` is; name one that is, or leave it out"
        )));
    }
    Ok(Target { machine: known.machine, ..target })
}

/// Whether there is an input or output of whole numbers.
fn check_bytes(plan: &Plan, weights: &BoundWeights) -> Outcome {
    if plan.input_types().chain(plan.output_types()).any(|ty| ty.dtype != DType::F32) {
        return Ok(());
    }
    Err(Failure::usage(match weights.whole() {
        Some(path) => format!(
            "--bytes: with {} the network begins and ends with layers that stay f32, or with values that are no whole \
             numbers; leave it out",
            path.display()
        ),
        None => "--bytes: this network computes in f32; give weights of `svertka quantize`, or leave it out".into(),
    }))
}

fn check_memory(args: &Args) -> Outcome {
    match args.memory {
        Memory::Caller if args.batch.is_some() || args.threads.is_some() => Err(Failure::usage(
            "`--batch` and `--threads` say what the library's memory suffices for; add `--memory library`",
        )),
        _ => Ok(()),
    }
}

fn own_memory(args: &Args, model: &Model) -> Result<Option<OwnMemory>, Failure> {
    let threads = usize::from(args.threads.unwrap_or(1));
    match args.memory {
        Memory::Library => Ok(Some(OwnMemory { batch: input::batch(args.batch, model.graph())?, threads })),
        Memory::Caller => Ok(None),
    }
}

fn parse_size(text: &str) -> Result<Sizes, String> {
    let size = |part: &str| {
        let (name, value) = part.split_once('=')?;
        Some((name.trim().to_string(), value.trim().parse().ok()?))
    };
    let sizes: Option<Sizes> = text.split(',').map(size).collect();
    sizes.ok_or_else(|| "expected NAME=VALUE,.. with whole numbers, for example `H=320,W=480`".into())
}

/// The network at its usual size, then at others.
fn graphs(model: &mut Model, others: &[Sizes]) -> Result<Vec<Verified<Graph>>, Failure> {
    let usual = model.graph().clone();
    let free = usual.sizes();
    let mut graphs = vec![usual];
    for sizes in others {
        if let Some((name, _)) = sizes.iter().find(|(name, _)| free.iter().all(|(free, _)| free != name)) {
            let free: Vec<&str> = free.iter().map(|(name, _)| name.as_str()).collect();
            let free = if free.is_empty() { "it has none".into() } else { format!("these are {}", free.join(", ")) };
            return Err(Failure::usage(format!("--size: `{name}` is no free size of the model; {free}")));
        }
        model.resize(sizes)?;
        check_weights(&graphs[0], model.graph()).map_err(Failure::input)?;
        graphs.push(model.graph().clone());
    }
    Ok(graphs)
}

/// What was measured of this CPU, which another is not.
fn choices(args: &Args) -> Result<Source, Failure> {
    match (args.cpu == aot::NATIVE && args.machine.is_none(), Source::of(args.tuned.as_deref())) {
        (true, source) => Ok(source),
        (false, Source::Named(path)) if is_typed(path.as_os_str(), "SVERTKA_TUNED") => Err(Failure::usage(format!(
            "--tuned {}: measured on this CPU, which `{}` is not; leave out one of the two",
            path.display(),
            args.machine.as_ref().map_or(format!("--cpu {}", args.cpu), |machine| format!("--machine {machine}"))
        ))),
        (false, _) => Ok(Source::None),
    }
}

fn write(folder: &Path, artifacts: &Artifacts) -> Outcome {
    for (name, bytes) in &artifacts.files {
        write_atomically(&folder.join(name), |out| out.write_all(bytes))?;
    }
    let line = |(name, bytes): &(String, Vec<u8>)| format!("{}  {} bytes\n", folder.join(name).display(), bytes.len());
    print(&artifacts.files.iter().map(line).collect::<String>())
}
