//! `svertka show`: a page to look into a network with.

use super::args::ModelArgs;
use super::{Failure, Outcome, model, tell};
use crate::io::write::{check_writable, is_stdout, write_atomically};
use crate::model::Model;
use crate::page::{Network, Page, SHOW, json};
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// File to write, `-` for standard output; by default the model's name with .html, in this folder
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn run(args: &Args) -> Outcome {
    let model = model::load(&args.model)?;
    let output = args.output.clone().unwrap_or_else(|| format!("{}.html", model.graph().name).into());
    check_writable(&output)?;
    let html = page(&model)?;
    write_atomically(&output, |out| out.write_all(html.as_bytes()))?;
    if !is_stdout(&output) {
        tell(&format!("{}: {} bytes; open it in a browser", output.display(), html.len()));
    }
    Ok(())
}

fn page(model: &Model) -> Result<String, Failure> {
    let network = Network::new(model.graph(), model.sources()).map_err(Failure::input)?;
    let (body, style, scripts) = SHOW;
    let title = format!("{} - svertka", model.graph().name);
    let data = [("network", json(&network))];
    Ok(Page { title: &title, body, style, scripts, data: &data }.to_html())
}
