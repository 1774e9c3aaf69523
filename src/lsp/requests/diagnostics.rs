//! What is wrong or odd, as the editor shows it.

use crate::diagnostic::{Diagnostic, Label, Severity};
use crate::lsp::analysis::{Model, Texts};
use crate::lsp::position::Encoding;
use crate::lsp::view::View;
use gen_lsp_types as lsp;
use std::collections::HashMap;

/// The code of what says that building was given up, which is no mistake of the author's.
const GIVEN_UP: &str = "E0510";

/// What there is to say of each file of a model; also of those of which there is nothing to say.
pub fn by_file(texts: &Texts, model: &Model, encoding: Encoding) -> HashMap<lsp::Uri, Vec<lsp::Diagnostic>> {
    let view = View { texts, file: texts.root(), encoding };
    let mut found: HashMap<lsp::Uri, Vec<lsp::Diagnostic>> =
        texts.files().map(|(_, uri)| (uri.clone(), Vec::new())).collect();
    for diagnostic in &model.diagnostics {
        let file = primary(&view, diagnostic).map_or(texts.root(), |label| label.span.file);
        found.entry(texts.uri(file).clone()).or_default().push(shown(&view, diagnostic));
    }
    found.values_mut().for_each(|found| found.sort_by_key(|diagnostic| diagnostic.range));
    found
}

/// The place where it is shown: in a file of the user's.
pub fn primary<'d>(view: &View, diagnostic: &'d Diagnostic) -> Option<&'d Label> {
    diagnostic.labels.iter().find(|label| view.texts.sources.of_zoo(label.span.file).is_none())
}

pub fn shown(view: &View, diagnostic: &Diagnostic) -> lsp::Diagnostic {
    let primary = primary(view, diagnostic);
    let others = diagnostic.labels.iter().filter(|label| primary.is_none_or(|primary| !std::ptr::eq(*label, primary)));
    let related = others.map(|label| lsp::DiagnosticRelatedInformation {
        location: view.location(label.span),
        message: label.text.clone(),
    });
    let related: Vec<_> = related.collect();
    lsp::Diagnostic {
        range: primary.map_or_else(lsp::Range::default, |label| view.range(label.span)),
        severity: Some(match diagnostic.severity {
            _ if diagnostic.code == GIVEN_UP => lsp::DiagnosticSeverity::Information,
            Severity::Error => lsp::DiagnosticSeverity::Error,
            Severity::Warning => lsp::DiagnosticSeverity::Warning,
        }),
        code: Some(lsp::Code::String(diagnostic.code.into())),
        source: Some("svertka".into()),
        message: lsp::Message::String(message(diagnostic)),
        tags: is_unused(diagnostic).then(|| vec![lsp::DiagnosticTag::Unnecessary]),
        related_information: (!related.is_empty()).then_some(related),
        ..lsp::Diagnostic::default()
    }
}

/// What has no effect is shown faint.
fn is_unused(diagnostic: &Diagnostic) -> bool {
    diagnostic.code.starts_with("W08")
}

/// What is wrong, in a line; what is to be seen at its place; facts, and ways out.
fn message(diagnostic: &Diagnostic) -> String {
    let label = diagnostic.labels.first().map(|label| label.text.clone()).filter(|text| !text.is_empty());
    let notes = diagnostic.notes.iter().map(|note| format!("note: {note}"));
    let help = diagnostic.help.iter().map(|help| format!("help: {}", help.text));
    [diagnostic.message.clone()].into_iter().chain(label).chain(notes).chain(help).collect::<Vec<_>>().join("\n")
}
