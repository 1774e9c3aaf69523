//! The standard layout.

use super::Answer;
use crate::front::text::stop::Stop;
use crate::front::text::syntax::format::format_until;
use crate::lsp::analysis::Texts;
use crate::lsp::view::View;
use crate::source::Span;
use gen_lsp_types::*;

/// The document in the standard layout; `None` where it has errors in its syntax, or is too large.
pub fn layout(texts: &Texts, stop: &Stop) -> Answer<Option<String>> {
    if texts.tree(texts.root()).is_none() {
        return Ok(None);
    }
    let layout = format_until(&texts.sources, texts.root(), stop).ok();
    if stop.is_due() { Err("this text takes too long to be laid out".into()) } else { Ok(layout) }
}

/// One edit of what differs.
pub fn answer(view: &View, layout: Option<String>) -> Answer<Option<Vec<TextEdit>>> {
    let Some(new) = layout else { return Ok(None) };
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
