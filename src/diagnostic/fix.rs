//! Texts changed as ways out say.

use super::{Applicability, Diagnostic, Edit, Severity};
use crate::source::FileId;
use std::ops::Range;

/// `text` after edits of it, which do not overlap.
///
/// # Panics
/// If one reaches beyond the text, or into another.
pub fn apply(text: &str, edits: &[Edit]) -> String {
    let mut edits: Vec<&Edit> = edits.iter().collect();
    edits.sort_by_key(|edit| edit.span);
    let mut new = String::with_capacity(text.len());
    let mut done = 0;
    for Edit { span, text: replacement } in edits {
        new.push_str(&text[done..span.range().start]);
        new.push_str(replacement);
        done = span.range().end;
    }
    new + &text[done..]
}

/// A text in which ways out were taken.
pub struct Mended {
    pub text: String,
    /// The line in which each was taken, as the text was then, and its words.
    pub taken: Vec<(usize, String)>,
}

/// What is wrong with a text, and its handle.
pub type Found = (FileId, Vec<Diagnostic>);

/// Takes the ways out that are known to be meant: after each, what it was for must be gone, and what it wrote must be
/// understood. What was hidden behind a mistake may come to light. Of the files that the text uses none is changed.
pub fn mend(mut text: String, check: &mut dyn FnMut(&str) -> Found) -> Mended {
    let mut taken = Vec::new();
    let mut found = check(&text);
    // One that does not end, because two undo each other, is not known; a text of this many mistakes is not either.
    while taken.len() < MOST {
        let (root, diagnostics) = &found;
        let ways = diagnostics.iter().flat_map(|diagnostic| {
            diagnostic.help.iter().flat_map(|help| &help.fixes).map(move |fix| (diagnostic, fix))
        });
        let mut ways = ways.filter(|(_, fix)| {
            let sure = fix.applicability == Applicability::MachineApplicable;
            sure && fix.edits.iter().all(|edit| edit.span.file == *root)
        });
        let next = ways.find_map(|(diagnostic, fix)| {
            let new = apply(&text, &fix.edits);
            let after = check(&new);
            let line = text[..fix.edits.first()?.span.range().start].matches('\n').count() + 1;
            mends(diagnostic, &fix.edits, diagnostics, &after).then(|| (new, after, (line, fix.title.clone())))
        });
        let Some((new, after, way)) = next else { break };
        (text, found) = (new, after);
        taken.push(way);
    }
    Mended { text, taken }
}

/// Ways out that are taken in one text.
const MOST: usize = 1000;

fn mends(diagnostic: &Diagnostic, edits: &[Edit], before: &[Diagnostic], (root, after): &Found) -> bool {
    let same = |found: &&Diagnostic| found.code == diagnostic.code && found.message == diagnostic.message;
    let count = |found: &[Diagnostic], is: &dyn Fn(&&Diagnostic) -> bool| found.iter().filter(is).count();
    // Behind a mistake in the syntax others of it are hidden, which the parser does not reach; never more than one.
    let syntax = |found: &&Diagnostic| found.code.starts_with("E01");
    let changed = changed(edits);
    // A layer that is now known may still not fit its input (E03xx), which could not be seen before.
    let misread = |found: &&Diagnostic| found.severity == Severity::Error && !found.code.starts_with("E03");
    let wrong_there = after.iter().filter(misread).any(|found| {
        let place = found.labels.first().filter(|label| label.span.file == *root).map(|label| label.span.range());
        place.is_some_and(|place| changed.iter().any(|range| range.start < place.end && place.start < range.end))
    });
    count(after, &same) < count(before, &same) && count(after, &syntax) <= count(before, &syntax) && !wrong_there
}

/// Where the new parts lie in the new text.
fn changed(edits: &[Edit]) -> Vec<Range<usize>> {
    let mut edits: Vec<&Edit> = edits.iter().collect();
    edits.sort_by_key(|edit| edit.span);
    let mut longer = 0isize;
    let range = |edit: &Edit| {
        let start = edit.span.range().start.strict_add_signed(longer);
        longer += edit.text.len() as isize - edit.span.range().len() as isize;
        start..start + edit.text.len()
    };
    edits.into_iter().map(range).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{SourceMap, Span};

    fn edits(text: &str, changes: &[(Range<usize>, &str)]) -> Vec<Edit> {
        let file = SourceMap::default().add("a", text);
        let edit =
            |(range, text): &(Range<usize>, &str)| Edit { span: Span::new(file, range.clone()), text: (*text).into() };
        changes.iter().map(edit).collect()
    }

    #[test]
    fn edits_are_applied_in_any_order() {
        let text = "abcdef";
        let edits = edits(text, &[(4..5, ""), (0..1, "xyz"), (3..3, "+")]);
        assert_eq!(apply(text, &edits), "xyzbc+df");
        assert_eq!(changed(&edits), [0..3, 5..6, 7..7]);
    }

    /// Two ways out of which each leads to the other's mistake.
    #[test]
    fn what_does_not_mend_is_not_taken() {
        let mut check = |text: &str| {
            let file = SourceMap::default().add("a", text);
            let other = if text == "a" { "b" } else { "a" };
            let span = Span::new(file, 0..1);
            (file, vec![Diagnostic::error("E0201", format!("no {text}")).at(span, "").fix("other", span, other)])
        };
        let Mended { text, taken } = mend("a".into(), &mut check);
        assert_eq!((text.as_str(), taken.len()), ("a", 0));
    }
}
