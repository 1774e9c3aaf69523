//! `svertka new` and `svertka zoo`: a model file to begin with.

use super::{Failure, Outcome, print};
use crate::front::text::syntax::parser::is_item_name;
use crate::io::write::write_atomically;
use crate::model::split_variant;
use crate::model::zoo::{self, ZOO};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// Name of the model, and of its file NAME.cnn
    name: String,
    /// A network of the zoo to begin with, for example `zoo:resnet50`; a small classifier of pictures where none is given
    #[arg(long, value_name = "zoo:NAME")]
    from: Option<OsString>,
}

/// What a model is begun with.
const STARTER: &str = "\
# A classifier of pictures: `svertka summary FILE` shows its shapes, `svertka layers` what else there is.
model NAME(width = 16, classes = 10)
input image: f32[N, 3, H = 32, W = 32]
defaults conv half

block Unit(c, s = 1) {
  residual {
    conv1: conv 3x3, c, stride s | bn1: bn | relu
    conv2: conv 3x3, c           | bn2: bn
  } project { down: conv 1x1, c, stride s }
  relu
}

net {
  stem: conv 3x3, width | norm: bn | relu
  stage1: 2 x Unit(width)
  stage2: 2 x Unit(2 * width, 2 then 1)
  stage3: 2 x Unit(4 * width, 2 then 1)
  global_avgpool
  fc: dense classes
}
";

pub fn run(args: &Args) -> Outcome {
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_ascii_alphabetic())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    if !is_name(&args.name) {
        return Err(Failure::usage(format!("`{}` is no name: letters, digits and `_`, a letter first", args.name)));
    }
    let (files, shown) = match &args.from {
        None if !is_item_name(&args.name) => {
            return Err(Failure::usage(format!("`{}` is a word of the language: a model has another name", args.name)));
        }
        None => {
            (vec![(format!("{}.cnn", args.name), STARTER.replace("NAME", &args.name))], format!("{}.cnn", args.name))
        }
        Some(from) => copied(&args.name, from)?,
    };
    if let Some((taken, _)) = files.iter().find(|(name, _)| Path::new(name).exists()) {
        return Err(Failure::input(format!("{taken}: there is such a file already")));
    }
    files
        .iter()
        .try_for_each(|(name, text)| write_atomically(&PathBuf::from(name), |out| out.write_all(text.as_bytes())))?;
    let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
    print(&format!("{}\nsvertka summary {shown}\n", names.join("\n")))
}

/// Names and texts: the network's, and those that it uses; then how it is called.
fn copied(name: &str, from: &OsString) -> Result<(Vec<(String, String)>, String), Failure> {
    let (path, network) = split_variant(from);
    let Some(network) = network.filter(|_| zoo::is_zoo(&path)) else {
        return Err(Failure::usage(format!(
            "--from takes a network of the zoo, `{ZOO}:NAME`; `svertka zoo` lists them"
        )));
    };
    let entry = zoo::find(&network)?;
    let used = zoo::used(entry.text).into_iter().map(|(name, text)| (name.to_string(), text.to_string()));
    let files = [(format!("{name}.cnn"), entry.text.to_string())].into_iter().chain(used).collect();
    let variant = entry.variant.map_or(String::new(), |variant| format!(":{variant}"));
    Ok((files, format!("{name}.cnn{variant}")))
}

/// Lists the networks, those of a file in a line.
pub fn list() -> Outcome {
    let line = |(title, names): (String, Vec<&'static str>)| format!("{title}\n  {}\n", names.join(", "));
    print(&zoo::families().into_iter().map(line).collect::<String>())
}
