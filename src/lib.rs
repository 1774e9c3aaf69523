//! svertka compiles a text description of a convolutional network into vectorised CPU kernels.
//!
//! # The pipeline
//!
//! ```text
//! text --syntax--> ast --ir::build--> Graph --passes--> Graph --schedule--> Plan --codegen--> machine code
//!                                       |                                     |
//!                                     interp (the judge)                   portable (no JIT)
//! ```
//!
//! # Invariants
//!
//! Modules import only from modules above them in this file. `syntax` knows no layer's name. `codegen` knows no
//! graph. `interp` shares only `layers` and `ir` with the compiled path. A pass never emits code; a kernel never
//! decides. Files are read and written in `io`, `cli` and `runtime` only. After a graph has passed `ir::verify`,
//! nothing behind it may fail on account of the model.

pub mod source;

pub mod diagnostic;
pub mod tensor;

pub mod syntax;

pub mod layers;

pub mod ir;

pub mod interp;

pub mod analysis;

pub mod passes;

pub mod codegen;

pub mod kernels;

pub mod schedule;

pub mod backend;

pub mod portable;

pub mod runtime;

pub mod io;

pub mod cli;
