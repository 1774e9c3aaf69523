//! Rewriting the graph before it is scheduled: one file a pass, and the pipeline as a list.
//!
//! After each pass, values that nothing reads any more are removed and the graph is verified.

mod concat_in_place;
mod fold_batch_norm;
mod fuse_epilogue;
mod lower;
mod merge_groups;
mod sweep;

use crate::ir::{self, Graph};

/// What the passes must know of the target.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Channels of a block: a slice of a concatenation can be written in place at multiples of it.
    pub channel_block: usize,
    /// Only kernels that compute the sums of the layers' definitions are wanted.
    pub exact: bool,
}

/// Something that a pass did or refused to do, for `svertka explain`.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    pub pass: &'static str,
    /// Path of the node.
    pub path: String,
    pub done: bool,
    pub text: String,
}

/// The notes of all passes.
#[derive(Clone, Debug, Default)]
pub struct Report {
    pub notes: Vec<Note>,
    pass: &'static str,
}

impl Report {
    fn done(&mut self, path: &str, text: impl Into<String>) {
        self.notes.push(Note { pass: self.pass, path: path.into(), done: true, text: text.into() });
    }

    fn refused(&mut self, path: &str, text: impl Into<String>) {
        self.notes.push(Note { pass: self.pass, path: path.into(), done: false, text: text.into() });
    }
}

type Pass = fn(&mut Graph, &Config, &mut Report);

/// All passes in order.
pub const PIPELINE: &[(&str, Pass)] = &[
    ("lower", lower::run),
    ("merge groups", merge_groups::run),
    ("fold batch norm", fold_batch_norm::run),
    ("fuse epilogue", fuse_epilogue::run),
    ("concat in place", concat_in_place::run),
];

/// Runs the whole pipeline.
///
/// # Panics
/// If a pass breaks the graph: a defect, not an error of the model.
pub fn run(graph: &mut Graph, config: &Config) -> Report {
    run_until(graph, config, PIPELINE.len())
}

/// Runs the first `count` passes.
pub fn run_until(graph: &mut Graph, config: &Config, count: usize) -> Report {
    let mut report = Report::default();
    for (name, pass) in &PIPELINE[..count] {
        report.pass = name;
        pass(graph, config, &mut report);
        sweep::run(graph);
        if let Err(error) = ir::verify(graph) {
            panic!("pass `{name}` broke the graph: {error}\n{}", ir::print(graph));
        }
    }
    report
}
