//! `svertka help` and `svertka layers`: the reference of the language and of what the commands say.

use super::{Cli, Failure, Outcome, print_raw};
use crate::diagnostic::{codes, nearest};
use crate::front::text::reference;
use clap::CommandFactory;

#[derive(clap::Args)]
pub struct HelpArgs {
    /// A command, a code such as `E0312`, a warning such as `even_kernel`, or a word of the language such as `conv`
    topic: Option<String>,
}

#[derive(clap::Args)]
pub struct LayersArgs {
    /// A layer, function or combinator
    name: Option<String>,
    /// The whole reference as Markdown
    #[arg(long, conflicts_with = "name")]
    markdown: bool,
}

pub fn help(args: &HelpArgs) -> Outcome {
    let Some(topic) = args.topic.as_deref() else {
        return print_raw(&Cli::command().render_long_help().to_string());
    };
    let command = || {
        let mut cli = Cli::command();
        cli.build();
        Some(cli.find_subcommand_mut(topic)?.render_long_help().to_string())
    };
    let code = || codes::find(topic).map(|explained| explained.page());
    match command().or_else(code).or_else(|| reference::entry(topic)) {
        Some(text) => print_raw(&text),
        None => Err(unknown(topic)),
    }
}

pub fn layers(args: &LayersArgs) -> Outcome {
    match &args.name {
        None if args.markdown => print_raw(&reference::page()),
        None => print_raw(&reference::overview()),
        Some(name) => print_raw(&reference::entry(name).ok_or_else(|| unknown(name))?),
    }
}

fn unknown(topic: &str) -> Failure {
    let cli = Cli::command();
    let commands = cli.get_subcommands().map(|command| command.get_name().to_owned());
    let codes = codes::all().flat_map(|explained| [Some(explained.code), explained.warning()]).flatten();
    let known: Vec<String> = commands.chain(codes.chain(reference::names()).map(str::to_owned)).collect();
    let help = match nearest(topic, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`svertka help` lists the commands, `svertka layers` the words of the language".into(),
    };
    Failure::usage(format!("there is nothing to say of `{topic}`\nhelp: {help}"))
}
