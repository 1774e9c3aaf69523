//! Machine code: a module of functions, the loop nests that Cranelift compiles, and the vector tiles they call.
//!
//! A tile is written once, against [`vector::VectorAsm`]; `clif` turns it into a Cranelift function of 128-bit
//! vectors, `x64` into finished bytes of 256-bit or 512-bit code. [`module::CodeModule`] holds both kinds and gives
//! them out as code in memory or as an object file.

mod clif;
pub mod emulated;
pub mod emulator;
mod error;
mod isa;
mod mode;
pub mod module;
pub mod nest;
mod target;
#[cfg(test)]
mod tests;
pub mod vector;
pub mod x64;

pub use error::CodeError;
pub use isa::{Bytes, HostIsa, Isa};
pub use module::{CodeModule, FunctionText, JitCode};
pub use nest::NestBuilder;

/// A 64-bit integer or address in a nest.
pub use cranelift::prelude::Value as Word;
pub use cranelift_module::{DataId, FuncId, Linkage};
