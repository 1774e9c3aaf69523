//! The outline: items, and the labels within them.

use super::Answer;
use crate::front::text::syntax::ast::{Body, Ident, Item, ItemKind, Step, StepKind};
use crate::lsp::view::View;
use crate::source::Span;
use gen_lsp_types::*;

pub fn answer(view: &View, _: DocumentSymbolParams) -> Answer<Option<DocumentSymbolResponse>> {
    let symbols = view.items().filter_map(|item| of_item(view, item)).collect();
    Ok(Some(DocumentSymbolResponse::DocumentSymbolList(symbols)))
}

fn of_item(view: &View, item: &Item) -> Option<DocumentSymbol> {
    let named = |name: &Ident, kind| symbol(view, &name.text, kind, item.span, name.span);
    Some(match &item.kind {
        ItemKind::Const(constant) => named(&constant.name, SymbolKind::Constant),
        ItemKind::Model { name, .. } => named(name, SymbolKind::Module),
        ItemKind::Input { name, .. } => named(name, SymbolKind::Variable),
        ItemKind::Variant { name, .. } => named(name, SymbolKind::Object),
        ItemKind::Block(block) => {
            DocumentSymbol { children: within(view, &block.body), ..named(&block.name, SymbolKind::Class) }
        }
        ItemKind::Net(body) => {
            let word = Span { end: item.span.start + "net".len() as u32, ..item.span };
            DocumentSymbol {
                children: within(view, body),
                ..symbol(view, "net", SymbolKind::Function, item.span, word)
            }
        }
        ItemKind::Use { .. } | ItemKind::Defaults { .. } | ItemKind::Rename { .. } | ItemKind::Allow(_) => return None,
    })
}

fn within(view: &View, body: &Body) -> Option<Vec<DocumentSymbol>> {
    let mut found = Vec::new();
    collect(view, body, &mut found);
    (!found.is_empty()).then_some(found)
}

/// Steps without a label are passed through.
fn collect(view: &View, body: &Body, found: &mut Vec<DocumentSymbol>) {
    for step in body.lines.iter().flat_map(|line| &line.steps) {
        let step = if let StepKind::Aux(inner) = &step.kind { inner } else { step };
        let Some(label) = &step.label else {
            step.bodies().into_iter().for_each(|body| collect(view, body, found));
            continue;
        };
        let mut children = Vec::new();
        step.bodies().into_iter().for_each(|body| collect(view, body, &mut children));
        let symbol = symbol(view, view.slice(label.span), SymbolKind::Field, step.span, label.span);
        let children = (!children.is_empty()).then_some(children);
        found.push(DocumentSymbol { detail: detail(view, step), children, ..symbol });
    }
}

fn detail(view: &View, step: &Step) -> Option<String> {
    match &step.kind {
        StepKind::Call(call) | StepKind::Repeat { call, .. } => Some(view.slice(call.name.span).into()),
        _ => None,
    }
}

fn symbol(view: &View, name: &str, kind: SymbolKind, whole: Span, name_span: Span) -> DocumentSymbol {
    let (range, selection) = (view.range(whole), view.range(name_span));
    DocumentSymbol::new(name.into(), None, kind, None, None, range, selection, None)
}
