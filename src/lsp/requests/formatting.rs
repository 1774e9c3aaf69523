//! The standard layout.

use super::Answer;
use crate::front::text::syntax::format::format;
use crate::lsp::view::View;
use crate::source::Span;
use gen_lsp_types::*;

/// One edit of what differs; nothing of a text that has errors in its syntax, or is too large.
pub fn answer(view: &View, _: DocumentFormattingParams) -> Answer<Option<Vec<TextEdit>>> {
    if view.tree().is_none() {
        return Ok(None);
    }
    let Ok(new) = format(&view.texts.sources, view.file) else { return Ok(None) };
    let old = view.text();
    let start = common(old.chars().zip(new.chars()));
    let [old_rest, new_rest] = [&old[start..], &new[start..]];
    let end = common(old_rest.chars().rev().zip(new_rest.chars().rev()));
    if old_rest.len() == end && new_rest.len() == end {
        return Ok(Some(Vec::new()));
    }
    let range = view.range(Span::new(view.file, start..old.len() - end));
    Ok(Some(vec![TextEdit { range, new_text: new_rest[..new_rest.len() - end].into() }]))
}

/// How many bytes are the same.
fn common(pairs: impl Iterator<Item = (char, char)>) -> usize {
    pairs.take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}
