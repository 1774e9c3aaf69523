//! Ways out that can be taken at once: the edits of diagnostics, and permissions for warnings.

use super::{Answer, diagnostics};
use crate::diagnostic::codes;
use crate::diagnostic::{Diagnostic, Edit, Severity};
use crate::front::text::syntax::ast::ItemKind;
use crate::lsp::analysis::Model;
use crate::lsp::view::View;
use crate::source::Span;
use gen_lsp_types::*;

pub fn answer(view: &View, model: &Model, params: CodeActionParams) -> Answer<Option<Vec<CodeActionResponse>>> {
    let wanted = |only: &Vec<CodeActionKind>| {
        only.iter().any(|kind| *kind == CodeActionKind::QuickFix || *kind == CodeActionKind::Empty)
    };
    if !params.context.only.as_ref().is_none_or(wanted) {
        return Ok(None);
    }
    let (start, end) = (view.offset(params.range.start), view.offset(params.range.end));
    let here = |diagnostic: &&Diagnostic| {
        let span = diagnostics::primary(view, diagnostic).map(|label| label.span).filter(|span| span.file == view.file);
        span.is_some_and(|span| span.range().start <= end && start <= span.range().end)
    };
    let found = model.diagnostics.iter().filter(here);
    let actions = found.flat_map(|diagnostic| fixes(view, diagnostic).chain(permission(view, diagnostic)));
    Ok(Some(actions.map(CodeActionResponse::CodeAction).collect()))
}

fn fixes<'a>(view: &'a View, diagnostic: &'a Diagnostic) -> impl Iterator<Item = CodeAction> + use<'a> {
    let own = |edit: &Edit| view.texts.sources.of_zoo(edit.span.file).is_none();
    let helps = diagnostic.help.iter().filter(move |help| !help.edits.is_empty() && help.edits.iter().all(own));
    helps.map(|help| {
        let edits = help.edits.iter().map(|edit| (edit.span, edit.text.as_str()));
        action(view, diagnostic, help.text.clone(), edits.collect())
    })
}

fn action(view: &View, diagnostic: &Diagnostic, title: String, edits: Vec<(Span, &str)>) -> CodeAction {
    CodeAction {
        title,
        kind: Some(CodeActionKind::QuickFix),
        diagnostics: Some(vec![diagnostics::shown(view, diagnostic)]),
        is_preferred: (diagnostic.severity == Severity::Error).then_some(true),
        edit: Some(WorkspaceEdit { changes: Some(view.edits(edits)), ..WorkspaceEdit::default() }),
        ..CodeAction::default()
    }
}

/// `allow NAME`, behind those that there are, or on a line of its own behind the inputs.
fn permission(view: &View, diagnostic: &Diagnostic) -> Option<CodeAction> {
    if diagnostic.severity == Severity::Error {
        return None;
    }
    let lint = codes::find(diagnostic.code)?.warning()?;
    let root = View { file: view.texts.root(), texts: view.texts, encoding: view.encoding };
    let last = |is: fn(&ItemKind) -> bool| root.items().filter(|item| is(&item.kind)).last().map(|item| item.span);
    let (place, new) = match last(|kind| matches!(kind, ItemKind::Allow(_))) {
        Some(allows) => (allows, format!(", {lint}")),
        None => {
            (last(|kind| matches!(kind, ItemKind::Model { .. } | ItemKind::Input { .. }))?, format!("\nallow {lint}"))
        }
    };
    let behind = Span { start: place.end, ..place };
    Some(CodeAction {
        is_preferred: None,
        ..action(view, diagnostic, format!("if it is meant: `allow {lint}`"), vec![(behind, &new)])
    })
}
