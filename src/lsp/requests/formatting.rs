//! The standard layout.

use crate::front::text::stop::Stop;
use crate::front::text::syntax::format::format_until;
use crate::io::text::MAX_TEXT_BYTES;
use crate::lsp::position::{Encoding, Lines};
use crate::lsp::worker::Layout;
use crate::source::SourceMap;
use gen_lsp_types::TextEdit;

/// What gives a text the standard layout, one edit of what differs; nothing where it has errors in its syntax, or is too
/// large.
pub fn layout(text: &str, encoding: Encoding, stop: &Stop) -> Layout {
    if text.len() as u64 > MAX_TEXT_BYTES {
        return Ok(None);
    }
    let mut sources = SourceMap::default();
    let file = sources.add("", text);
    let new = format_until(&sources, file, stop);
    if stop.is_due() {
        return Err("this text takes too long to be laid out".into());
    }
    Ok(new.ok().map(|new| difference(text, &new, encoding).into_iter().collect()))
}

fn difference(old: &str, new: &str, encoding: Encoding) -> Option<TextEdit> {
    let start = common(old.chars().zip(new.chars()));
    let [old_rest, new_rest] = [&old[start..], &new[start..]];
    let end = common(old_rest.chars().rev().zip(new_rest.chars().rev()));
    if old_rest.len() == end && new_rest.len() == end {
        return None;
    }
    let range = Lines::of(old).range(old, start..old.len() - end, encoding);
    Some(TextEdit { range, new_text: new_rest[..new_rest.len() - end].into() })
}

/// How many bytes are the same.
fn common(pairs: impl Iterator<Item = (char, char)>) -> usize {
    pairs.take_while(|(a, b)| a == b).map(|(a, _)| a.len_utf8()).sum()
}
