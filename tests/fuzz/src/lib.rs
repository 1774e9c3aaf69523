//! Fuzz targets: functions of bytes that return where all is well and panic where something is wrong.
//!
//! `cargo run -p svertka-fuzz` replays the corpora and then mutates them; see `main.rs` for its settings. Bytes that
//! made a target fail belong into `corpus/TARGET/`, where they are tried first ever after.

#[path = "../../common/values.rs"]
mod common;
#[allow(dead_code, reason = "the tests of the server use more of it")]
#[path = "../../lsp/editor.rs"]
mod editor;
mod encoder;
mod files;
mod graph;
mod lsp;
pub mod memory;
pub mod mutate;
mod onnx;
mod packed;
#[path = "../../lsp/session.rs"]
mod session;
mod text;
mod tuning;

/// What is fuzzed.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Files and folders in the repository whose contents the target takes, beside its own corpus.
    pub seeds: &'static [&'static str],
    /// The extensions of those of them that are meant.
    pub extensions: &'static [&'static str],
    /// What inputs are made of: put into mutated ones here and there.
    pub dictionary: &'static [&'static str],
    /// How often CI runs it.
    pub executions: u64,
}

pub const TARGETS: &[Target] = &[
    Target {
        name: "text",
        run: text::run,
        seeds: &["models", "tests/golden", "tests/pytorch/references"],
        extensions: &["cnn"],
        dictionary: text::DICTIONARY,
        executions: 10_000,
    },
    Target {
        name: "lsp",
        run: lsp::run,
        seeds: &["models", "tests/golden/warnings"],
        extensions: &["cnn"],
        dictionary: text::DICTIONARY,
        executions: 50,
    },
    Target { name: "graph", run: graph::run, seeds: &[], extensions: &[], dictionary: &[], executions: 2_000 },
    Target {
        name: "safetensors",
        run: files::weights,
        seeds: &["tests/pytorch/references/pools.safetensors"],
        extensions: &["safetensors"],
        dictionary: &[
            "\"dtype\":\"F32\"",
            "\"shape\":[",
            "\"data_offsets\":[0,",
            "18446744073709551615",
            "__metadata__",
        ],
        executions: 20_000,
    },
    Target {
        name: "pytorch",
        run: files::weights,
        seeds: &[],
        extensions: &[],
        dictionary: files::PICKLE,
        executions: 20_000,
    },
    Target {
        name: "npy",
        run: files::array,
        seeds: &["tests/data/digits/mnist_test200_labels.npy"],
        extensions: &["npy"],
        dictionary: &["'descr': '<f4'", "'fortran_order': True", "'shape': (", "4294967296", "\x01\x00", "PK\x03\x04"],
        executions: 20_000,
    },
    Target {
        name: "picture",
        run: files::picture,
        seeds: &["models/pictures"],
        extensions: &["png", "jpg"],
        dictionary: &["IHDR", "IDAT", "PLTE", "tRNS", "eXIf", "Exif\0\0II*\0"],
        executions: 5_000,
    },
    Target {
        name: "card",
        run: files::card,
        seeds: &["models"],
        extensions: &["yaml"],
        dictionary: files::CARD,
        executions: 5_000,
    },
    Target {
        name: "onnx",
        run: onnx::run,
        seeds: &["tests/data/onnx"],
        extensions: &["onnx"],
        dictionary: onnx::DICTIONARY,
        executions: 10_000,
    },
    Target { name: "encoder", run: encoder::run, seeds: &[], extensions: &[], dictionary: &[], executions: 20_000 },
    Target { name: "tuning", run: tuning::run, seeds: &[], extensions: &[], dictionary: &[], executions: 500 },
    Target { name: "packed", run: packed::run, seeds: &[], extensions: &[], dictionary: &[], executions: 5_000 },
];
