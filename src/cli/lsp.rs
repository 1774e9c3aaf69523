//! `svertka lsp`: the language server, on standard input and output.

use super::{Failure, Outcome};
use lsp_server::Connection;

#[derive(clap::Args)]
pub struct Args {
    /// How the editor talks to it: some editors say so. There is no other way
    #[arg(long)]
    stdio: bool,
}

pub fn run(_: &Args) -> Outcome {
    let (connection, threads) = Connection::stdio();
    let served = crate::lsp::serve(&connection);
    // The threads end when nothing can be sent any more.
    drop(connection);
    let ended = threads.join();
    served.map_err(Failure::input)?;
    ended.map_err(Failure::input)
}
