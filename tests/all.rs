//! The tests of what the library and the command promise, one module for each subject, in one program: linking it is
//! what building many takes most of its time for. `cargo test --test all zoo::` runs those of one module.

mod activations;
mod aot;
mod bands;
mod bench;
mod bf16;
mod bounds;
mod build;
mod cli;
mod common;
mod differential;
mod examples;
mod export;
mod files;
mod format;
mod graphs;
mod import;
mod integers;
mod library;
#[cfg(feature = "lsp")]
mod lsp;
mod machines;
mod malformed;
mod neon;
mod packed;
mod page;
mod portable;
mod sizes;
mod sums;
mod syntax;
mod tuning;
mod winograd;
mod write;
mod zoo;
