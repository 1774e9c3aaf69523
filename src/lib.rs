//! svertka compiles a text description of a convolutional network into vectorised CPU kernels.
//!
//! # The pipeline
//!
//! ```text
//! text --front::text--> Graph --passes--> Graph --schedule--> Plan --kernels, codegen--> machine code
//!                         |                                    |                         |
//!                       interp (the judge)                  portable                 runtime: in process
//!                       analysis (figures)                  (no code generation)     aot: object files
//! ```
//!
//! | module | what it is |
//! | --- | --- |
//! | [`source`], [`diagnostic`] | texts, spans, messages |
//! | [`hash`] | names of what is kept in files |
//! | [`layers`] | one file a layer: parameters, shape rule, reference evaluation, lowering |
//! | [`ir`] | the graph and its invariants |
//! | [`front`] | from outside to the graph: `text` has the tree, parser, formatter and builder of the language |
//! | [`interp`] | the reference interpreter |
//! | [`analysis`] | parameters, multiply-accumulates, receptive fields |
//! | [`passes`] | one file a rewriting of the graph |
//! | [`codegen`] | vector assembler (CLIF, AVX2, AVX-512), loop nests, modules in memory and as objects |
//! | [`kernels`] | one file a kernel family: conf, packing, code |
//! | [`schedule`] | kernels, layouts and memory of a network: the plan |
//! | [`portable`] | the plan on portable vectors |
//! | [`runtime`] | sessions, also for free sizes, and threads |
//! | [`export`] | ONNX models |
//! | [`aot`] | object files, libraries, headers |
//! | [`io`] | files: weights, arrays, pictures, model cards |
//! | [`mod@bench`] | measuring networks, their steps and the machine |
//! | [`cli`] | the command line, a file a verb |
//!
//! # Invariants
//!
//! Modules import only from modules above them in this table. `front::text::syntax` knows no layer's name. `codegen` knows no
//! graph. `interp` shares only `layers` and `ir` with the compiled path. A pass never emits code; a kernel never
//! decides. Files are read and written in `io`, `cli` and `runtime` only (`bench` reads what the system says of the
//! machine).
//!
//! Whoever reads a graph asks for [`ir::Verified`], which [`ir::verify`] alone makes: nothing behind it may fail on account
//! of the model. A kernel is code and tables ([`kernels::Family`]): a function is generated from the former alone, and
//! shared where it is equal. Code runs in process for an instruction set that was detected ([`codegen::HostIsa`]). The
//! caller's floating-point mode is left as it is: kernels set theirs and restore it. Terms are added in f32 in chains of
//! `kernels::long::CHAIN`, or of one kernel row of a block of channels where that is longer.

pub mod source;

pub mod diagnostic;
pub mod hash;
pub mod tensor;

pub mod layers;

pub mod ir;

pub mod front;

pub mod interp;

pub mod analysis;

pub mod passes;

pub mod codegen;

pub mod kernels;

pub mod schedule;

pub mod backend;

pub mod export;

pub mod aot;

pub mod portable;

pub mod runtime;

pub mod io;

pub mod bench;

pub mod cli;
