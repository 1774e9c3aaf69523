//! Arguments that several verbs share.

use super::arguments::is_typed;
use super::tuned::{Source, Tuned};
use super::weights::WeightArgs;
use super::{Failure, Outcome};
use crate::analysis::lint;
use crate::bench::machine;
use crate::codegen::{HostIsa, Isa};
use crate::kernels::Target;
use crate::machine::Known;
use crate::runtime::{Engine, Options};
use crate::tensor::Products;
use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};
use std::ffi::{OsStr, OsString};

/// Which model, and with which parameters.
#[derive(Args)]
pub struct ModelArgs {
    /// Model file, with a variant behind a colon: `models/resnet.cnn:resnet50`; `-` for standard input
    pub model: OsString,
    /// Value of a parameter of the model
    #[arg(short = 'D', value_name = "NAME=VALUE", value_parser = parse_define)]
    pub define: Vec<(String, String)>,
    /// Build the auxiliary outputs too
    #[arg(long)]
    pub aux: bool,
}

/// How models are measured, each given by its name.
#[derive(Args)]
pub struct MeasureArgs {
    /// Value of a parameter of the models
    #[arg(short = 'D', value_name = "NAME=VALUE", value_parser = parse_define)]
    define: Vec<(String, String)>,
    /// Build the auxiliary outputs too
    #[arg(long)]
    aux: bool,
    #[command(flatten)]
    pub engine: EngineArgs,
    #[command(flatten)]
    pub weights: WeightArgs,
    /// Samples of one run; the model's own number where it has one, else 1
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    pub batch: Option<u16>,
}

impl MeasureArgs {
    pub fn model(&self, name: &OsStr) -> ModelArgs {
        ModelArgs { model: name.into(), define: self.define.clone(), aux: self.aux }
    }
}

/// Which rules of thumb are passed over.
#[derive(Args)]
pub struct LintArgs {
    /// Do not give this warning, for example `even_kernel`
    #[arg(long, value_name = "LINT", value_parser = PossibleValuesParser::new(lint::names()), hide_possible_values = true)]
    pub allow: Vec<String>,
}

/// How much memory may be taken.
#[derive(Args, Clone)]
pub struct MemoryArgs {
    /// Limit of memory in MiB, for each of these by itself: what planning keeps of the kernels; packed weights with the
    /// kernels' tables; the values between layers of the samples under way, one for
    /// each thread, and those of the last layers for all samples; the working memory of all threads; all values and
    /// weights of the interpreter. Not counted are files, inputs, outputs
    #[arg(long, default_value_t = 8192, value_name = "MIB", env = "SVERTKA_MEMORY_LIMIT")]
    memory_limit: u32,
}

impl MemoryArgs {
    /// In bytes.
    pub fn limit(&self) -> usize {
        (self.memory_limit as usize) << 20
    }
}

/// How to run it.
#[derive(Args, Clone)]
pub struct EngineArgs {
    /// Vector instructions of the generated code
    #[arg(long, value_enum, default_value = "auto", env = "SVERTKA_ISA")]
    pub isa: IsaArg,
    /// Who does the work
    #[arg(long, value_enum, default_value = "jit", env = "SVERTKA_ENGINE")]
    pub engine: EngineArg,
    /// Threads; as many as there are cores for this process (by affinity and control group) where none are given, but 1
    /// for `bench`
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1024), env = "SVERTKA_THREADS")]
    pub threads: Option<u16>,
    /// Only kernels that compute the sums of the layers' definitions: without Winograd convolution
    #[arg(long)]
    pub exact: bool,
    #[command(flatten)]
    pub products: ProductsArgs,
    #[command(flatten)]
    pub memory: MemoryArgs,
    /// File with the choices of `svertka tune`, which writes it and which the other commands read; `none` for neither.
    /// The one of this CPU in the user's folder for caches where nothing is given
    #[arg(long, value_name = "FILE|none", env = "SVERTKA_TUNED")]
    pub tuned: Option<OsString>,
}

/// In what layers multiply.
#[derive(clap::Args, Clone, Default)]
pub struct ProductsArgs {
    /// In what convolutions and dense layers multiply. With bf16 their inputs and weights are rounded to eight bits of
    /// precision (each is off by at most 2^-8 of itself, 0.4 %), and sums are f32. For CPUs with AVX512_BF16: twice the
    /// products from Zen 4 on, half of them on Intel's, as `explain` says. Taken for what is then faster on the former:
    /// depthwise and transposed convolutions, those that Winograd does, and those of few input channels stay f32
    #[arg(long, value_enum, default_value = "f32")]
    products: ProductsArg,
}

impl ProductsArgs {
    pub fn get(&self) -> Products {
        match self.products {
            ProductsArg::F32 => Products::F32,
            ProductsArg::Bf16 => Products::Bf16,
        }
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum ProductsArg {
    #[default]
    F32,
    Bf16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize, serde::Deserialize)]
pub enum IsaArg {
    /// The widest of this machine
    Auto,
    /// 128-bit vectors through Cranelift
    Clif,
    /// 256-bit vectors: AVX2, FMA and F16C
    Avx2,
    /// 512-bit vectors: AVX-512
    Avx512,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EngineArg {
    /// Code generated in memory
    Jit,
    /// Compiled-in portable vectors, for where no code may be generated
    Portable,
    /// The reference interpreter
    Interp,
}

pub fn parse_define(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_string(), value.trim().to_string())),
        _ => Err("expected NAME=VALUE, for example `classes=10`".into()),
    }
}

impl EngineArgs {
    /// Options of a session; `None` for the interpreter.
    ///
    /// # Errors
    /// Where this machine lacks the instruction set, or the engine does not heed what was given.
    pub fn options(&self) -> Result<Option<Options>, Failure> {
        self.options_on(self.threads.map_or_else(machine::cores, usize::from))
    }

    /// As [`options`](Self::options), on as many threads as the command decides.
    pub fn options_on(&self, threads: usize) -> Result<Option<Options>, Failure> {
        self.check()?;
        let engine = match self.engine {
            EngineArg::Jit => Engine::Jit(self.isa()?),
            EngineArg::Portable => Engine::Portable,
            EngineArg::Interp => return Ok(None),
        };
        let memory_limit = self.memory.limit();
        let (exact, products) = (self.exact, self.products.get());
        let options = Options { engine, threads, exact, products, memory_limit, ..Options::default() };
        options.target().check().map_err(Failure::usage)?;
        Ok(Some(options))
    }

    /// Arguments that the chosen engine would pass over.
    fn check(&self) -> Outcome {
        let tuned = self.tuned.as_deref().is_some_and(|tuned| is_typed(tuned, "SVERTKA_TUNED"));
        let threads = self.threads.is_some_and(|threads| is_typed(threads.to_string().as_ref(), "SVERTKA_THREADS"));
        let given = [
            (self.types_isa() && self.engine != EngineArg::Jit, "--isa", "jit"),
            (tuned && self.engine != EngineArg::Jit, "--tuned", "jit"),
            (threads && self.engine == EngineArg::Interp, "--threads", "jit` or `portable"),
            (self.products.get() == Products::Bf16 && self.engine != EngineArg::Jit, "--products bf16", "jit"),
        ];
        match given.iter().find(|(wrong, ..)| *wrong) {
            Some((_, name, engines)) => Err(Failure::usage(format!("`{name}` goes with `--engine {engines}`"))),
            None => Ok(()),
        }
    }

    /// What generated code is planned for on another machine.
    ///
    /// # Errors
    /// Where the machine lacks the instruction set, or what was given is of this one. What the environment says of this one is
    /// passed over.
    pub fn target_on(&self, known: &Known) -> Result<Target, Failure> {
        let engine = self.engine.to_possible_value().is_some_and(|engine| {
            self.engine != EngineArg::Jit && is_typed(engine.get_name().as_ref(), "SVERTKA_ENGINE")
        });
        let tuned = self.tuned.as_deref().is_some_and(|tuned| tuned != "none" && is_typed(tuned, "SVERTKA_TUNED"));
        if engine {
            return Err(Failure::usage("`--machine` goes with `--engine jit`"));
        }
        if tuned {
            return Err(Failure::usage(
                "--tuned: measured on this CPU, not on that of `--machine`; leave out one of the two",
            ));
        }
        let isa = self.wanted_isa().filter(|&isa| self.types_isa() || known.isa(Some(isa)).is_ok());
        let target = Target::on(known, isa).map_err(Failure::usage)?;
        let target = Target { exact: self.exact, products: self.products.get(), ..target };
        target.check().map_err(Failure::usage)?;
        Ok(target)
    }

    /// Whether an instruction set was asked for, not by the environment.
    pub fn types_isa(&self) -> bool {
        let name = self.isa.to_possible_value();
        self.isa != IsaArg::Auto && name.is_some_and(|name| is_typed(name.get_name().as_ref(), "SVERTKA_ISA"))
    }

    /// The instruction set that was asked for; `None` for the widest.
    fn wanted_isa(&self) -> Option<Isa> {
        match self.isa {
            IsaArg::Auto => None,
            IsaArg::Clif => Some(Isa::Clif),
            IsaArg::Avx2 => Some(Isa::Avx2),
            IsaArg::Avx512 => Some(Isa::Avx512),
        }
    }

    /// What was measured before for generated code.
    pub fn tuned(&self) -> Tuned {
        let source = match self.engine {
            EngineArg::Jit => Source::of(self.tuned.as_deref()),
            EngineArg::Portable | EngineArg::Interp => Source::None,
        };
        source.load()
    }

    fn isa(&self) -> Result<HostIsa, Failure> {
        let Some(isa) = self.wanted_isa() else { return Ok(Isa::detect()) };
        let names: Vec<String> = Isa::available().iter().map(HostIsa::to_string).collect();
        isa.on_host().ok_or_else(|| {
            Failure::usage(format!("this machine cannot run {isa} code; it can run: {}", names.join(", ")))
        })
    }
}
