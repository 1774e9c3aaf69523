//! Ways out that can be taken at once.

use super::{Answer, diagnostics};
use crate::diagnostic::{Applicability, Diagnostic, Edit, Severity};
use crate::lsp::analysis::Model;
use crate::lsp::view::View;
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
    let actions = found.flat_map(|diagnostic| fixes(view, diagnostic));
    Ok(Some(actions.map(CodeActionResponse::CodeAction).collect()))
}

/// The changes of texts that are the author's.
fn fixes<'a>(view: &'a View, diagnostic: &'a Diagnostic) -> impl Iterator<Item = CodeAction> + use<'a> {
    let own = |edit: &Edit| view.texts.sources.of_zoo(edit.span.file).is_none();
    let fixes = diagnostic.help.iter().flat_map(|help| &help.fixes).filter(move |fix| fix.edits.iter().all(own));
    fixes.map(|fix| {
        let sure = fix.applicability == Applicability::MachineApplicable;
        CodeAction {
            title: fix.title.clone(),
            kind: Some(CodeActionKind::QuickFix),
            diagnostics: Some(vec![diagnostics::shown(view, diagnostic)]),
            is_preferred: (sure && diagnostic.severity == Severity::Error).then_some(true),
            edit: Some(WorkspaceEdit {
                changes: Some(view.edits(fix.edits.iter().map(|edit| (edit.span, edit.text.as_str())))),
                ..WorkspaceEdit::default()
            }),
            ..CodeAction::default()
        }
    })
}
