//! Bodies, lists, and runs of comments of several lines.

use super::Answer;
use crate::lsp::context::{Token, tokens};
use crate::lsp::view::View;
use gen_lsp_types::*;

pub fn answer(view: &View, _: FoldingRangeParams) -> Answer<Option<Vec<FoldingRange>>> {
    let (text, lines) = (view.text(), view.texts.lines(view.file));
    let mut found = Vec::new();
    let mut open = Vec::new();
    // First and last line of the comments that stand below each other.
    let mut comments: Option<(usize, usize)> = None;
    for (token, range) in tokens(text) {
        let line = lines.line(range.start);
        match token {
            Token::Open => open.push(line),
            // The closing bracket stays to be seen.
            Token::Close => {
                found.extend(open.pop().filter(|first| first + 1 < line).map(|first| fold(first, line - 1, None)))
            }
            Token::Comment
                if text[..range.start].rsplit('\n').next().is_some_and(|before| before.trim().is_empty()) =>
            {
                match &mut comments {
                    Some((_, last)) if *last + 1 == line => *last = line,
                    _ => found.extend(comments.replace((line, line)).and_then(comment)),
                }
            }
            _ => {}
        }
    }
    found.extend(comments.and_then(comment));
    found.sort_by_key(|fold| (fold.start_line, fold.end_line));
    Ok(Some(found))
}

fn comment((first, last): (usize, usize)) -> Option<FoldingRange> {
    (first < last).then(|| fold(first, last, Some(FoldingRangeKind::Comment)))
}

fn fold(first: usize, last: usize, kind: Option<FoldingRangeKind>) -> FoldingRange {
    FoldingRange { start_line: first as u32, end_line: last as u32, kind, ..FoldingRange::default() }
}
