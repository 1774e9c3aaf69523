//! Ahead-of-time compilation: a plan becomes an object file and what a C program needs to use it.
//!
//! The object holds the same kernels as a session in memory, the packed weights (or they lie in a file beside it), and
//! the functions that the header declares. Its work memory, values and scratch memory for each thread, is the caller's
//! or, if so asked, its own. Inputs and outputs are of the types that the plan has at its edges ([`crate::schedule::Edges`]):
//! f32, or whole numbers of eight bits, whose meaning the header states. It has no undefined symbols, its code is
//! position-independent, and all global symbols begin with the model's name. The same plan and weights give the same bytes.

mod archive;
mod checksum;
mod constants;
pub mod cpu;
mod entry;
mod header;
mod interface;
mod link;
mod machine;
mod stages;
mod steps;

pub use cpu::{Cpu, NATIVE, UnknownCpu};

use crate::backend;
use crate::codegen::{CodeError, CodeModule, FunctionText};
use crate::ir::weights::WeightSource;
use crate::kernels::Target;
use crate::schedule::Plan;
use constants::Constants;
use interface::Interface;
use std::str::FromStr;

/// A kind of file to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Emit {
    /// `NAME.o`
    Object,
    /// `NAME.h`
    Header,
    /// `libNAME.a`
    Static,
    /// `libNAME.so`
    Shared,
    /// `NAME.clif`: the functions in Cranelift's intermediate language.
    Clif,
    /// `NAME.s`: the functions as assembly, to be read by people.
    Assembly,
}

impl Emit {
    /// All kinds, with the names by which they are asked for.
    pub const ALL: [(&str, Emit); 6] = [
        ("obj", Emit::Object),
        ("header", Emit::Header),
        ("static", Emit::Static),
        ("shared", Emit::Shared),
        ("clif", Emit::Clif),
        ("asm", Emit::Assembly),
    ];
}

/// No kind of file has this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind of file `{0}`: expected one of obj, header, static, shared, clif, asm")]
pub struct UnknownEmit(String);

impl FromStr for Emit {
    type Err = UnknownEmit;

    fn from_str(name: &str) -> Result<Emit, UnknownEmit> {
        let known = Emit::ALL.into_iter().find(|kind| kind.0 == name);
        known.map(|kind| kind.1).ok_or_else(|| UnknownEmit(name.to_string()))
    }
}

/// Where the packed weights go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// Into the object's read-only data.
    Embed,
    /// Into the file `NAME.weights`, which the program maps or reads.
    File,
}

/// What to make.
#[derive(Clone, Debug)]
pub struct Options {
    /// Prefix of all public names and of the files': a C identifier.
    pub name: String,
    /// The CPU that the code is for; the plan is made for its [`Cpu::target`], or for a narrower instruction set.
    pub cpu: Cpu,
    /// What is made, in this order; a kind that is named again is made once.
    pub emit: Vec<Emit>,
    pub weights: Weights,
    /// Memory that the library has for runs to which the caller gives none.
    pub own_memory: Option<OwnMemory>,
    /// Bytes that the packed weights take at most.
    pub memory_limit: usize,
}

/// What the work memory of a library suffices for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnMemory {
    /// Samples of a run at most.
    pub batch: usize,
    /// Threads at most.
    pub threads: usize,
}

/// Finished files, by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Artifacts {
    pub files: Vec<(String, Vec<u8>)>,
}

/// Why a plan was not compiled.
#[derive(Debug, thiserror::Error)]
pub enum AotError {
    #[error("`{0}` cannot be the prefix of C names: it takes letters, digits and underscores, no digit first")]
    Name(String),
    #[error("the plan was made for {plan}, which {cpu} does not run")]
    Target { plan: String, cpu: &'static str },
    #[error("{bytes} bytes of weights are too many for an object file (at most {MAX_EMBEDDED}): put them into a file")]
    Weights { bytes: usize },
    #[error("the model cannot run {batch} samples on {threads} threads: batches are {smallest} to {largest}, threads 1 to {most}", smallest = .batches.0, largest = .batches.1, most = interface::THREADS.1)]
    OwnMemory { batch: usize, threads: usize, batches: (usize, usize) },
    #[error(
        "work memory of {bytes} bytes is too much for an object file (at most {MAX_EMBEDDED}): leave it to the caller"
    )]
    OwnMemoryBytes { bytes: usize },
    #[error("the plan for the size {0} was made for another target")]
    OtherTarget(String),
    #[error("the size {0} is there twice")]
    SameSize(String),
    #[error("the network has other inputs or outputs, or others of their types, at the size {0}")]
    OtherPorts(String),
    #[error("packed weights of {bytes} bytes: above the limit of {limit} bytes")]
    Memory { bytes: usize, limit: usize },
    #[error("cannot link a shared library: `{linker}`: {cause}")]
    Linker { linker: String, cause: String },
    #[error(transparent)]
    Code(#[from] CodeError),
}

/// Code reaches data within 2 GiB of it; half of that leaves room for the program around it.
const MAX_EMBEDDED: usize = 1 << 30;

/// Whether public names may begin with `name`.
///
/// # Errors
/// Where it is no name of C.
pub fn check_name(name: &str) -> Result<(), AotError> {
    if is_c_identifier(name) { Ok(()) } else { Err(AotError::Name(name.into())) }
}

/// Whether the files of these kinds can be made for a CPU on this machine, and code for `target` runs on it.
///
/// # Errors
/// Where there is no linker for a shared library, and where the CPU lacks the instructions.
pub fn check(emit: &[Emit], cpu: &Cpu, target: Target) -> Result<(), AotError> {
    if !cpu.runs(target) {
        return Err(AotError::Target { plan: target.isa.to_string(), cpu: cpu.name });
    }
    if emit.contains(&Emit::Shared) { link::check(cpu) } else { Ok(()) }
}

/// Compiles a plan and packs its weights. No file is written but by the link step of a shared library, in a temporary
/// directory.
///
/// # Errors
/// Where the name, the CPU or the weights' size do not allow what was asked for, or there is no linker.
pub fn compile(plan: &Plan, weights: &dyn WeightSource, options: &Options) -> Result<Artifacts, AotError> {
    compile_sizes(std::slice::from_ref(plan), weights, options)
}

/// The same for plans of one network at several sizes, the usual one first, and for one target. The names of the other
/// sizes' functions have the free sizes in them: `NAME_320x480_run`.
///
/// # Errors
/// As [`compile`], and where two plans are of the same size, or outputs are others at another size.
///
/// # Panics
/// Without a plan.
pub fn compile_sizes(plans: &[Plan], weights: &dyn WeightSource, options: &Options) -> Result<Artifacts, AotError> {
    let Options { name, cpu, .. } = options;
    check_name(name)?;
    if let Some(plan) = plans.iter().find(|plan| !cpu.runs(plan.target)) {
        return Err(AotError::Target { plan: plan.target.isa.to_string(), cpu: cpu.name });
    }
    if let Some(plan) = plans.iter().find(|plan| plan.target != plans[0].target) {
        return Err(AotError::OtherTarget(interface::shown_sizes(&plan.graph)));
    }
    let constants = Constants::pack(plans, weights, options.memory_limit)?;
    if options.weights == Weights::Embed && constants.bytes.len() > MAX_EMBEDDED {
        return Err(AotError::Weights { bytes: constants.bytes.len() });
    }
    let interface = Interface::new(plans, &constants, options)?;
    check_own_memory(&interface)?;
    let mut files = Vec::new();
    if options.weights == Weights::File {
        files.push((format!("{name}.weights"), constants::weight_file(&constants, interface.fingerprint)));
    }
    let code = generate(plans, &interface, constants, options)?;
    for (index, &kind) in options.emit.iter().enumerate() {
        if !options.emit[..index].contains(&kind) {
            files.push(code.file(kind, &interface, cpu)?);
        }
    }
    Ok(Artifacts { files })
}

fn check_own_memory(interface: &Interface) -> Result<(), AotError> {
    let Some(own @ OwnMemory { batch, threads }) = interface.own_memory else { return Ok(()) };
    let within = |number: usize, (smallest, largest): (usize, usize)| (smallest..=largest).contains(&number);
    let refused = interface.sizes.iter().find(|size| !within(batch, size.batch));
    if refused.is_some() || !within(threads, interface::THREADS) {
        let batches = refused.unwrap_or(interface.usual()).batch;
        return Err(AotError::OwnMemory { batch, threads, batches });
    }
    match interface.largest_memory_bytes(own) {
        bytes if bytes > MAX_EMBEDDED => Err(AotError::OwnMemoryBytes { bytes }),
        _ => Ok(()),
    }
}

fn is_c_identifier(name: &str) -> bool {
    let word = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    word && name.starts_with(|c: char| !c.is_ascii_digit())
}

/// A module that is finished.
struct Code {
    object: Vec<u8>,
    text: Vec<FunctionText>,
    /// The public functions.
    symbols: Vec<String>,
}

fn generate(plans: &[Plan], interface: &Interface, constants: Constants, options: &Options) -> Result<Code, CodeError> {
    let keep_text = options.emit.iter().any(|kind| matches!(kind, Emit::Clif | Emit::Assembly));
    let mut module = CodeModule::object(options.cpu.triple.clone(), options.cpu.preset, keep_text)?;
    let kernels = backend::generate_all(plans, &mut module)?;
    let symbols = entry::define(&mut module, interface, plans, &kernels, constants, &options.cpu)?;
    let text = module.text().to_vec();
    Ok(Code { object: module.finish_object()?, text, symbols })
}

impl Code {
    fn file(&self, kind: Emit, interface: &Interface, cpu: &Cpu) -> Result<(String, Vec<u8>), AotError> {
        let name = &interface.name;
        Ok(match kind {
            Emit::Object => (format!("{name}.o"), self.object.clone()),
            Emit::Header => (format!("{name}.h"), header::header(interface).into_bytes()),
            Emit::Static => (format!("lib{name}.a"), archive::archive(&self.object, &self.symbols)),
            Emit::Shared => {
                let file = format!("lib{name}.so");
                let library = link::shared_library(&self.object, &file, cpu)?;
                (file, library)
            }
            Emit::Clif => (format!("{name}.clif"), self.listing(|function| function.clif.as_deref()).into_bytes()),
            Emit::Assembly => (format!("{name}.s"), self.listing(|function| Some(&function.assembly)).into_bytes()),
        })
    }

    /// The functions one after the other, each under its name.
    fn listing(&self, text: impl Fn(&FunctionText) -> Option<&str>) -> String {
        let function = |function: &FunctionText| match text(function) {
            Some(text) => format!("; {}\n{text}\n", function.name),
            None => format!("; {}: machine code, not made by Cranelift\n\n", function.name),
        };
        self.text.iter().map(function).collect()
    }
}
