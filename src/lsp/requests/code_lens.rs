//! The totals of the network above `net`, and of each variant.

use super::{Answer, macs, short};
use crate::front::text::syntax::ast::ItemKind;
use crate::lsp::analysis::{Model, Totals};
use crate::lsp::view::View;
use gen_lsp_types::*;

pub fn answer(view: &View, model: &Model, _: CodeLensParams) -> Answer<Option<Vec<CodeLens>>> {
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
        let command = Command { title: title(totals), ..Command::default() };
        Some(CodeLens { range: view.range(item.span), command: Some(command), data: None })
    });
    Ok(Some(lenses.collect()))
}

/// `25.6 M parameters · 4.1 GMAC`
fn title(totals: &Totals) -> String {
    format!("{} parameters · {}", short(totals.parameters), macs(totals.macs))
}
