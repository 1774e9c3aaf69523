//! `svertka compile`: object files, libraries and headers.

use super::args::ModelArgs;
use super::{Failure, Outcome, model, print, weights};
use crate::aot::{self, Artifacts, Cpu, Emit};
use crate::codegen::Isa;
use crate::io::write::write_atomically;
use crate::kernels::Target;
use crate::schedule;
use clap::ValueEnum;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Weight file; the card's, or random weights, where none is given
    #[arg(long)]
    weights: Option<PathBuf>,
    /// Folder to write to; it must exist
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// CPU to compile for; a wrong name lists those known
    #[arg(long, default_value = "native")]
    cpu: String,
    /// What to make: obj, header, static, shared, clif, asm
    #[arg(long, value_delimiter = ',', default_value = "obj,header,static", value_name = "KIND,..")]
    emit: Vec<Emit>,
    /// Prefix of the public names and of the files; the name of the model or variant where none is given
    #[arg(long)]
    name: Option<String>,
    /// Weights inside the object, or in a file beside it that the program maps at start
    #[arg(long, value_enum, default_value = "embed")]
    weights_in: Place,
    /// A narrower instruction set than the CPU's widest
    #[arg(long)]
    isa: Option<Isa>,
    /// Seed of the random weights that are used where no file is given
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Place {
    Embed,
    File,
}

pub fn run(args: &Args) -> Outcome {
    let cpu = Cpu::named(&args.cpu).map_err(Failure::input)?;
    let model = model::load(&args.model)?;
    let weights = weights::choose(args.weights.as_deref(), &model, args.seed)?;
    let name = args.name.clone().unwrap_or_else(|| model.graph.name.clone());
    // The C interface has no scratch memory for each thread, so the kernels that need some are left out.
    let target = Target { exact: true, ..Target::of(args.isa.unwrap_or(cpu.isa), cpu.architecture()) };
    let plan = schedule::plan(model.graph, target);
    let place = match args.weights_in {
        Place::Embed => aot::Weights::Embed,
        Place::File => aot::Weights::File,
    };
    let options = aot::Options { name, cpu, emit: args.emit.clone(), weights: place };
    let artifacts = aot::compile(&plan, weights.as_ref(), &options).map_err(Failure::input)?;
    write(&args.output, &artifacts)
}

fn write(folder: &Path, artifacts: &Artifacts) -> Outcome {
    for (name, bytes) in &artifacts.files {
        let path = folder.join(name);
        write_atomically(&path, |out| out.write_all(bytes))?;
        print(&format!("{}  {} bytes", path.display(), bytes.len()));
    }
    Ok(())
}
