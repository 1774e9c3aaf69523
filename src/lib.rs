//! svertka compiles a text description of a convolutional network into vectorised CPU kernels.
//!
//! ```no_run
//! use svertka::{Model, Options, TensorView, Weights};
//!
//! fn main() -> Result<(), svertka::Error> {
//!     let model = Model::open("models/resnet.cnn:resnet50")?;
//!     let mut session = model.compile(&Weights::file("resnet50.safetensors"), &Options::default())?;
//!     let pixels = vec![0.0; 3 * 224 * 224]; // as the network was trained to take them
//!     let image = TensorView::new(&[1, 3, 224, 224], &pixels)?;
//!     let scores = session.run(&[image])?;
//!     println!("{:?}", model.classes(&scores[0])?[0][0]);
//!     Ok(())
//! }
//! ```
//!
//! A [`Model`] is a text that was read and checked. [`Model::compile`] makes a [`Session`] of it, which computes outputs of
//! inputs, also in place ([`Session::run_into`]); [`Session::fork`] gives another one for another thread on the same packed
//! weights. [`Model::interpret`] says what is right, slowly. Every function reports what is wrong as an [`Error`]; that of a
//! text holds its [`Diagnostic`]s.
//!
//! # Features
//!
//! | feature | what it brings |
//! | --- | --- |
//! | `cli` (default) | the command, measuring, and the two below |
//! | `lsp` (default) | the language server; with `cli`, `svertka lsp` |
//! | `pictures` | [`Model::read_input`]: PNG, JPEG and arrays, prepared as the model's card says |
//! | `tables` | summaries as tables of text |
//!
//! # The pipeline
//!
//! What follows is for who changes svertka. The modules below are no part of what a program may rely on, and stand in the
//! documentation that `RUSTDOCFLAGS="--cfg internals" cargo doc` makes.
//!
//! ```text
//! text, ONNX --front--> Graph --passes--> Graph --schedule--> Plan --kernels, codegen--> machine code
//!                         |                                    |                         |
//!                       interp (the judge)                  portable                 runtime: in process
//!                       analysis (figures)                  (no code generation)     aot: object files
//!                       export (ONNX)
//! ```
//!
//! | module | what it is |
//! | --- | --- |
//! | [`source`], [`diagnostic`] | texts, spans, messages |
//! | [`hash`] | names of what is kept in files |
//! | [`layers`] | one file a layer: parameters, shape rule, reference evaluation, lowering |
//! | [`ir`] | the graph and its invariants |
//! | [`front`] | from outside to the graph: `text` has the tree, parser, formatter and builder of the language, `onnx` the reader of ONNX files |
//! | [`interp`] | the reference interpreter |
//! | [`analysis`] | parameters, multiply-accumulates, receptive fields |
//! | [`passes`] | one file a rewriting of the graph |
//! | [`codegen`] | vector assembler (CLIF, AVX2, AVX-512), loop nests, modules in memory and as objects |
//! | [`machine`] | what is known of CPUs: caches, rates, costs |
//! | [`kernels`] | one file a kernel family: conf, packing, code |
//! | [`schedule`] | kernels, layouts and memory of a network: the plan |
//! | [`portable`] | the plan on portable vectors |
//! | [`runtime`] | sessions, also for free sizes, and threads |
//! | [`export`] | ONNX models |
//! | [`aot`] | object files, libraries, headers |
//! | [`io`] | files: weights, arrays, pictures, model cards |
//! | [`quant`] | networks on whole numbers: which layers, calibration, their weight files |
//! | [`page`] | pages to look at networks with |
//! | [`mod@bench`] | measuring networks, their steps and the machine |
//! | [`model`], [`error`] | the front door: from a file to a session |
//! | [`lsp`] | the language server, a file a request |
//! | [`cli`] | the command line, a file a verb |
//!
//! # Invariants
//!
//! Modules import only from modules above them in this table. `front::text::syntax` knows no layer's name. `codegen` knows no
//! graph. `interp` shares only `layers` and `ir` with the compiled path. A pass never emits code; a kernel never
//! decides. Files are read and written in `io`, `model`, `lsp`, `cli` and `runtime` only (`machine` and
//! `bench` read what the system says of the machine).
//!
//! Whoever reads a graph asks for [`ir::Verified`], which [`ir::verify`] alone makes: nothing behind it may fail on account
//! of the model. A kernel is code and tables ([`kernels::Family`]): a function is generated from the former alone, and
//! shared where it is equal. Code runs in process for an instruction set that was detected ([`codegen::HostIsa`]). The
//! caller's floating-point mode is left as it is: kernels set theirs and restore it. The bits of results do not depend on the
//! [`machine`](machine::Machine) that a plan is for: what changes how sums are rounded is decided by the instruction set alone,
//! or by [`kernels::tuning`]. What products of bf16 round ([`tensor::Products`]) a pass puts into the graph and takes out
//! again: a network is of f32, or of whole numbers, until it is planned. Terms are added in f32 in chains of
//! `kernels::long::CHAIN`, or of one kernel row of a block of channels where that is longer.

// What a program may rely on is documented whole; of the rest, what needs it.
#![cfg_attr(internals, allow(missing_docs))]

pub mod analysis;
#[cfg_attr(not(internals), doc(hidden))]
pub mod aot;
#[cfg_attr(not(internals), doc(hidden))]
pub mod backend;
#[cfg(feature = "cli")]
#[cfg_attr(not(internals), doc(hidden))]
pub mod bench;
#[cfg(feature = "cli")]
#[cfg_attr(not(internals), doc(hidden))]
pub mod cli;
#[cfg_attr(not(internals), doc(hidden))]
pub mod codegen;
pub mod diagnostic;
pub mod error;
#[cfg_attr(not(internals), doc(hidden))]
pub mod export;
#[cfg_attr(not(internals), doc(hidden))]
pub mod front;
#[cfg_attr(not(internals), doc(hidden))]
pub mod hash;
#[cfg_attr(not(internals), doc(hidden))]
pub mod interp;
pub mod io;
#[cfg_attr(not(internals), doc(hidden))]
pub mod ir;
#[cfg_attr(not(internals), doc(hidden))]
pub mod kernels;
#[cfg_attr(not(internals), doc(hidden))]
pub mod layers;
#[cfg(feature = "lsp")]
#[cfg_attr(not(internals), doc(hidden))]
pub mod lsp;
#[cfg_attr(not(internals), doc(hidden))]
pub mod machine;
pub mod model;
#[cfg(feature = "cli")]
#[cfg_attr(not(internals), doc(hidden))]
pub mod page;
#[cfg_attr(not(internals), doc(hidden))]
pub mod passes;
#[cfg_attr(not(internals), doc(hidden))]
pub mod portable;
#[cfg_attr(not(internals), doc(hidden))]
pub mod quant;
pub mod runtime;
#[cfg_attr(not(internals), doc(hidden))]
pub mod schedule;
pub mod source;
pub mod tensor;

pub use analysis::draw::Format as DrawingFormat;
pub use analysis::summary::{self, Summary};
pub use codegen::{HostIsa, Isa};
pub use diagnostic::{Diagnostic, Label, Severity};
pub use error::{Error, ModelError};
pub use front::text::build::Limits;
pub use io::IoError;
pub use io::bind::Misfit;
pub use io::card::{self, Card};
#[cfg(feature = "pictures")]
pub use io::preprocess::Layout;
pub use model::{BoundWeights, Class, Findings, Model, ModelOptions, Seen, SharedBytes, Stage, Weights, check};
pub use runtime::{BuildTimes, Engine, Network, Options, RunError, Session, SessionError};
pub use source::{FileId, SourceFile, SourceMap, Span};
pub use tensor::{
    AsTensor, AsTensorMut, Batch, DType, LengthError, Products, Quantisation, Tensor, TensorType, TensorView,
    TensorViewMut,
};
