//! The totals of the network above `net`, and of each variant, and the way to their pages.

use super::{Answer, Workspace, macs, short};
use crate::front::text::syntax::ast::ItemKind;
use crate::lsp::analysis::{Model, Totals};
use crate::lsp::documents::path_of;
use crate::lsp::view::View;
use gen_lsp_types::*;

pub fn answer(view: &View, workspace: &Workspace, model: &Model) -> Answer<Option<Vec<CodeLens>>> {
    if view.file != view.texts.root() {
        return Ok(None);
    }
    let of = |variant: Option<&str>| model.totals.iter().find(|totals| totals.variant.as_deref() == variant);
    let lenses = view.items().filter_map(|item| {
        let totals = match &item.kind {
            ItemKind::Net(_) => of(None)?,
            ItemKind::Variant { name, .. } => of(Some(&name.text))?,
            _ => return None,
        };
        let told = Command { title: title(totals), ..Command::default() };
        let range = view.range(item.span);
        let lens = move |command| CodeLens { range, command: Some(command), data: None };
        Some([Some(told), show(view, workspace, totals)].into_iter().flatten().map(lens))
    });
    Ok(Some(lenses.flatten().collect()))
}

/// Opens the page of a network, in an editor that can.
fn show(view: &View, workspace: &Workspace, totals: &Totals) -> Option<Command> {
    let uri = view.texts.uri(view.file);
    // The page is made of the file.
    let can = workspace.has(SHOW) && path_of(uri).is_some();
    let arguments = vec![uri.as_ref().into(), totals.variant.clone().into()];
    can.then(|| Command {
        title: "show".into(),
        command: SHOW.into(),
        arguments: Some(arguments),
        ..Command::default()
    })
}

/// The command of an editor that takes a file, by its URI, and the name of a variant or null.
const SHOW: &str = "svertka.show";

/// `25.6 M parameters · 4.1 GMAC`
fn title(totals: &Totals) -> String {
    format!("{} parameters · {}", short(totals.parameters), macs(totals.macs))
}
