//! `svertka import`: an ONNX file as a text of the language, a weight file, of eight bits where it is quantised, and a card.

use super::{Failure, Outcome, print, progress, tell};
use crate::front::onnx;
use crate::front::text::write::Form;
use crate::io;
use crate::io::write::{check_folder, create_folder, folder_of, write_atomically};
use crate::model::{split_variant, zoo};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// ONNX file
    model: PathBuf,
    /// Folder to write to; it is made if need be
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    /// Value that becomes an output, in place of the file's own outputs; all behind it is left out
    #[arg(long, value_name = "VALUE", num_args = 1..)]
    cut: Vec<String>,
    /// Sizes that the file leaves open, by its names for them: `H=320,W=320`, or `image.2=320` by input and axis. They stay
    /// free, with these values by default (224 where none is given), if the network is the same at all sizes
    #[arg(long, value_name = "NAME=SIZE,..", value_delimiter = ',', value_parser = size)]
    input: Vec<(String, usize)>,
    /// The simplest text: a line for each chain of layers
    #[arg(long, conflicts_with = "nested")]
    flat: bool,
    /// Blocks, branches and labels, as far as they are found; this is the default
    #[arg(long)]
    nested: bool,
    /// Name of the files and of the model; that of the ONNX file where none is given
    #[arg(long)]
    name: Option<String>,
}

fn size(text: &str) -> Result<(String, usize), String> {
    let wrong = || format!("expected NAME=SIZE, not `{text}`");
    let (name, size) = text.split_once('=').ok_or_else(wrong)?;
    let size = size.parse().ok().filter(|&size| size > 0).ok_or_else(wrong)?;
    Ok((name.to_string(), size))
}

/// Whether a word names a text of the language, with a variant or not.
fn is_text(word: &Path) -> bool {
    let (path, _) = split_variant(word.as_os_str());
    zoo::named(word).is_some() || path.extension().is_some_and(|extension| extension == "cnn")
}

pub fn run(args: &Args) -> Outcome {
    if is_text(&args.model) {
        let message = "import reads ONNX files, and this is a text already";
        return Err(Failure::usage(format!("{}: {message}", args.model.display())));
    }
    check_folder(&args.output)?;
    let form = if args.flat { Form::Flat } else { Form::default() };
    let options = onnx::Options {
        cut: args.cut.clone(),
        sizes: args.input.clone(),
        name: String::new(),
        whole: false,
        form,
        own_text: form == Form::default(),
    };
    let import = read(&args.model, &options)?;
    let stem = || args.model.file_stem().map(|stem| stem.to_string_lossy().into_owned());
    let name = args.name.clone().or_else(stem).ok_or_else(|| Failure::usage("give the files a name with --name"))?;
    create_folder(&args.output)?;
    write_used(&import, &args.output, &name)?;
    let weights = (&import.weights, import.whole.as_deref());
    let write = || io::onnx::write(&import.text, &import.graph, weights, &args.output, &name);
    let path = progress::during("writing", write)?;
    let layers = import.graph.nodes.len() - import.graph.inputs.len();
    print(&format!("{}{}: {layers} layers", path.display(), import.arguments))
}

/// Reads an ONNX file, and says what is not as the file has it.
fn read(path: &Path, options: &onnx::Options) -> Result<onnx::Import, Failure> {
    let import = progress::during("reading the model", || crate::model::import(path, options))?;
    import.notes.iter().for_each(|note| tell(&format!("note: {}: {note}", path.display())));
    Ok(import)
}

/// Writes the texts that the text uses, if they are not there already.
fn write_used(import: &onnx::Import, folder: &Path, name: &str) -> Outcome {
    for used in import.sources.used() {
        let path = folder.join(&used.name);
        if used.name == format!("{name}.cnn") {
            let message = format!("the text uses a `{}` itself; give the files another name with --name", used.name);
            return Err(Failure::usage(message));
        }
        match fs::read_to_string(&path) {
            Ok(text) if text == used.text => continue,
            Err(error) if error.kind() == ErrorKind::NotFound => create_folder(folder_of(&path))?,
            _ => {
                let message = "there is another text of this name, which is not what the network uses";
                return Err(Failure::usage(format!("{}: {message}; choose another folder", path.display())));
            }
        }
        write_atomically(&path, |out| out.write_all(used.text.as_bytes()))?;
    }
    Ok(())
}
