//! Where a name stands: in the file, and in all files that share it.

use super::{Answer, Around};
use crate::front::text::names::{DeclarationId, Meaning};
use crate::front::text::stop::Stop;
use crate::front::text::syntax::Kept;
use crate::lsp::analysis::Texts;
use crate::lsp::view::View;
use crate::source::Span;
use gen_lsp_types::*;

pub fn answer(view: &View, around: &Around, params: ReferenceParams) -> Answer<Option<Vec<Location>>> {
    let offset = view.offset(params.text_document_position_params.position);
    let Some(id) = view.texts.names.declared_at(view.file, offset) else { return Ok(None) };
    let declaration = view.location(view.texts.names.declaration(id).span);
    let mut found: Vec<Location> = Vec::new();
    if view.texts.sources.of_zoo(view.texts.names.declaration(id).span.file).is_some() {
        found.extend(own(view.texts, id).map(|span| view.location(span)));
    } else {
        for (texts, id) in sharing(view, around, id) {
            let other = View { file: texts.root(), texts: &texts, encoding: view.encoding };
            found.extend(own(&texts, id).map(|span| other.location(span)));
        }
    }
    if !params.context.include_declaration {
        found.retain(|location| *location != declaration);
    }
    found.sort_by(|a, b| (a.uri.as_ref(), a.range).cmp(&(b.uri.as_ref(), b.range)));
    found.dedup();
    Ok(Some(found))
}

/// Where something is named in files of the user's.
fn own(texts: &Texts, id: DeclarationId) -> impl Iterator<Item = Span> {
    texts.names.places(id).filter(|span| texts.sources.of_zoo(span.file).is_none())
}

/// The models in which something is declared, with its handle in each.
pub fn sharing(view: &View, around: &Around, id: DeclarationId) -> Vec<(Texts, DeclarationId)> {
    let span = view.texts.names.declaration(id).span;
    let uri = view.texts.uri(span.file);
    let users = around.users(uri);
    // A text in no folder is shared with nobody.
    let users = if users.is_empty() {
        vec![Texts::read(uri, view.text(), around.open.clone(), &Stop::default(), &mut Kept::default())]
    } else {
        users
    };
    let found = users.into_iter().filter_map(|texts| {
        let file = texts.find(uri)?;
        let own = texts.names.at(file, span.range().start).filter(|found| found.span.range() == span.range())?;
        let Meaning::Declares(id) = own.meaning else { return None };
        Some((texts, id))
    });
    found.collect()
}

pub fn highlights(view: &View, params: DocumentHighlightParams) -> Answer<Option<Vec<DocumentHighlight>>> {
    let offset = view.offset(params.text_document_position_params.position);
    let Some(id) = view.texts.names.declared_at(view.file, offset) else { return Ok(None) };
    let own = view.texts.names.places(id).filter(|span| span.file == view.file);
    Ok(Some(own.map(|span| DocumentHighlight { range: view.range(span), kind: None }).collect()))
}
