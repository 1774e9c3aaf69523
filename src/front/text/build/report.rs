//! Collects diagnostics: each mistake once, however many copies of a block repeat it.

use super::value::grouped;
use crate::diagnostic::{Diagnostic, Identity};
use std::collections::HashMap;

/// Stands for an error that has been reported: whoever meets it in place of a value keeps quiet and passes it on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reported;

/// More errors than anybody reads.
const MAX_SHOWN: usize = 100;
/// Including repetitions; far more copies than that tell nothing new.
const MAX_REPORTED: usize = 1_000;

#[derive(Default)]
pub struct Report {
    diagnostics: Vec<Diagnostic>,
    /// Index of the diagnostic and how many times it was repeated.
    seen: HashMap<Identity, (usize, u128)>,
    total: usize,
}

impl Report {
    pub fn add(&mut self, diagnostic: Diagnostic) -> Reported {
        if self.is_full() {
            return Reported;
        }
        self.total += 1;
        let next = (self.diagnostics.len(), 0);
        let (index, repeated) = self.seen.entry(diagnostic.identity()).or_insert(next);
        if *index == next.0 {
            self.diagnostics.push(diagnostic);
        } else {
            *repeated += 1;
        }
        Reported
    }

    /// Whether going on would only pile up messages.
    pub fn is_full(&self) -> bool {
        self.diagnostics.len() >= MAX_SHOWN || self.total >= MAX_REPORTED
    }

    pub fn finish(mut self) -> Vec<Diagnostic> {
        for (index, repeated) in self.seen.into_values().filter(|(_, repeated)| *repeated > 0) {
            let copies = if repeated == 1 { "copy" } else { "copies" };
            let note = format!("the same in {} further {copies}", grouped(repeated));
            self.diagnostics[index].notes.push(note);
        }
        self.diagnostics
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::{SourceMap, Span};

    #[test]
    fn repeated_mistakes_are_counted() {
        let file = SourceMap::default().add("a.cnn", "x y");
        let mut report = Report::default();
        for (code, start, message) in [
            ("E0201", 0, "message of 3x3"),
            ("E0201", 0, "message of 5x5"),
            ("E0201", 2, "message of 3x3"),
            ("E0202", 0, "message of 3x3"),
            ("E0201", 0, "message of 3x3"),
            ("E0201", 0, "another message"),
        ] {
            report.add(Diagnostic::error(code, message).at(Span::new(file, start..start + 1), ""));
        }
        let notes: Vec<_> = report.finish().into_iter().map(|d| d.notes).collect();
        assert_eq!(notes, [vec!["the same in 2 further copies".to_string()], vec![], vec![], vec![]]);
    }
}
