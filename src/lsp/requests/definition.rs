//! Where a name is declared, a value made, a file begins.

use super::Answer;
use crate::front::text::names::Meaning;
use crate::front::text::syntax::ast::{ItemKind, StepKind};
use crate::lsp::analysis::Model;
use crate::lsp::view::View;
use crate::lsp::zoo;
use crate::model;
use crate::source::{Span, ZOO_PATH};
use gen_lsp_types::*;

pub fn answer(view: &View, model: &Model, params: DefinitionParams) -> Answer<Option<DefinitionResponse>> {
    let offset = view.offset(params.text_document_position_params.position);
    let span = used_file(view, offset).or_else(|| declared(view, offset)).or_else(|| made(view, model, offset));
    if let Some(file) = span.and_then(|span| view.texts.sources.of_zoo(span.file)) {
        zoo::write(file)?;
    }
    Ok(span.map(|span| DefinitionResponse::Definition(Definition::Location(view.location(span)))))
}

/// The beginning of the file that is used at a place.
fn used_file(view: &View, offset: usize) -> Option<Span> {
    let path = view.items().find_map(|item| match &item.kind {
        ItemKind::Use { path, path_span } if holds(*path_span, offset) => Some(path),
        _ => None,
    })?;
    if let Some(name) = path.strip_prefix(ZOO_PATH) {
        let file = model::zoo::find(name).ok()?.file;
        let (id, _) = view.texts.files().find(|(id, _)| view.texts.sources.of_zoo(*id) == Some(file))?;
        return Some(Span::new(id, 0..0));
    }
    let own = &view.texts.sources.file(view.file).name;
    let folder = own.rsplit_once('/').map_or("", |(folder, _)| folder);
    let (file, _) = view.texts.files().find(|(id, _)| {
        let name = &view.texts.sources.file(*id).name;
        name.strip_prefix(folder).is_some_and(|below| below.trim_start_matches('/') == path.trim_start_matches("./"))
    })?;
    Some(Span::new(file, 0..0))
}

fn declared(view: &View, offset: usize) -> Option<Span> {
    match view.texts.names.at(view.file, offset)?.meaning {
        Meaning::Declares(id) | Meaning::Names(id) => Some(view.texts.names.declaration(id).span),
        _ => None,
    }
}

/// Where the value was made that `from` takes.
fn made(view: &View, model: &Model, offset: usize) -> Option<Span> {
    let takes = |kind: &StepKind| matches!(kind, StepKind::From(path) if holds(path.span, offset));
    let step = view.steps().into_iter().find(|step| takes(&step.kind))?;
    let (shown, passage) = model.passage(step.span)?;
    shown.graph[passage.output].origin.span
}

pub fn holds(span: Span, offset: usize) -> bool {
    span.range().start <= offset && offset <= span.range().end
}
