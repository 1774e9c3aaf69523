//! `svertka graph`: the network as a picture.

use super::args::{EngineArgs, ModelArgs};
use super::{Failure, Outcome, model as arguments, print, progress};
use crate::analysis::draw;
use crate::io::write::{check_writable, write_atomically};
use crate::kernels::tuning::Choices;
use crate::model::{self, drawing};
use crate::runtime::check_planning;
use clap::ValueEnum;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    engine: EngineArgs,
    /// As written, after fusion, or as kernels
    #[arg(long, value_enum, default_value = "source")]
    stage: Stage,
    /// Where none is given, the one that the ending of the file says: .svg, .mmd; else dot
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// File to write; standard output where none is given
    #[arg(short, long)]
    output: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Stage {
    Source,
    Fused,
    Plan,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Dot,
    Svg,
    Mermaid,
}

pub fn run(args: &Args) -> Outcome {
    let format = args.format.map_or_else(|| Format::of_file(args.output.as_deref()), Ok)?;
    let Some(options) = args.engine.options()? else {
        return Err(Failure::usage("the interpreter has no plan; choose another engine"));
    };
    if let Some(path) = &args.output {
        check_writable(path)?;
    }
    let graph = arguments::load(&args.model)?.graph().clone();
    check_planning(&graph, options.memory_limit)?;
    let target = options.target();
    let (stage, choices) = match args.stage {
        Stage::Source => (model::Stage::Source, Choices::default()),
        Stage::Fused => (model::Stage::Fused, Choices::default()),
        Stage::Plan => (model::Stage::Plan, args.engine.tuned().choices),
    };
    let format = match format {
        Format::Dot => draw::Format::Dot,
        Format::Svg => draw::Format::Svg,
        Format::Mermaid => draw::Format::Mermaid,
    };
    let draw = || drawing(graph, stage, target, &choices).render(format);
    let text = progress::during("drawing", draw).map_err(Failure::input)?;
    match &args.output {
        Some(path) => Ok(write_atomically(path, |out| out.write_all(text.as_bytes()))?),
        None => print(&text),
    }
}

impl Format {
    /// What the ending of a file's name says.
    fn of_file(path: Option<&Path>) -> Result<Format, Failure> {
        let ending = path.and_then(Path::extension).map(OsStr::to_ascii_lowercase).unwrap_or_default();
        match ending.to_str() {
            Some("svg") => Ok(Format::Svg),
            Some("mmd" | "mermaid") => Ok(Format::Mermaid),
            Some(other @ ("png" | "jpg" | "jpeg" | "pdf" | "html")) => {
                let message = "a graph is written as .svg, .mmd or .dot, from which other programs make the rest";
                Err(Failure::usage(format!("no graph is written as .{other}: {message}")))
            }
            _ => Ok(Format::Dot),
        }
    }
}
