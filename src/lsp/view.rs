//! What a request looks at: a file, among the texts that it is read with.

use super::analysis::Texts;
use super::position::Encoding;
use crate::front::text::syntax::ast::{Body, File, Item, ItemKind, Step, StepKind};
use crate::source::{FileId, Span};
use gen_lsp_types::{Location, Position, Range, TextEdit, Uri};
use std::collections::HashMap;

pub struct View<'a> {
    pub texts: &'a Texts,
    pub file: FileId,
    pub encoding: Encoding,
}

impl<'a> View<'a> {
    pub fn text(&self) -> &'a str {
        &self.texts.sources.file(self.file).text
    }

    pub fn tree(&self) -> Option<&'a File> {
        self.texts.tree(self.file)
    }

    pub fn items(&self) -> impl Iterator<Item = &'a Item> + use<'a> {
        self.tree().into_iter().flat_map(|tree| &tree.items)
    }

    pub fn offset(&self, position: Position) -> usize {
        self.texts.lines(self.file).offset(self.text(), position, self.encoding)
    }

    pub fn position(&self, offset: usize) -> Position {
        self.texts.lines(self.file).position(self.text(), offset, self.encoding)
    }

    /// Of any file.
    pub fn range(&self, span: Span) -> Range {
        let text = &self.texts.sources.file(span.file).text;
        self.texts.lines(span.file).range(text, span.range(), self.encoding)
    }

    pub fn location(&self, span: Span) -> Location {
        Location { uri: self.texts.uri(span.file).clone(), range: self.range(span) }
    }

    pub fn slice(&self, span: Span) -> &'a str {
        self.texts.sources.slice(span)
    }

    /// Edits of any files, as the protocol has them.
    pub fn edits<'e>(&self, edits: impl IntoIterator<Item = (Span, &'e str)>) -> HashMap<Uri, Vec<TextEdit>> {
        let mut changes: HashMap<Uri, Vec<TextEdit>> = HashMap::new();
        for (span, text) in edits {
            let edit = TextEdit { range: self.range(span), new_text: text.into() };
            changes.entry(self.texts.uri(span.file).clone()).or_default().push(edit);
        }
        changes
    }

    /// All steps of the file, each before those within it.
    pub fn steps(&self) -> Vec<&'a Step> {
        let mut steps = Vec::new();
        for item in self.items() {
            match &item.kind {
                ItemKind::Net(body) => collect(body, &mut steps),
                ItemKind::Block(block) => collect(&block.body, &mut steps),
                _ => {}
            }
        }
        steps
    }
}

fn collect<'a>(body: &'a Body, steps: &mut Vec<&'a Step>) {
    for step in body.lines.iter().flat_map(|line| &line.steps) {
        steps.push(step);
        step.bodies().into_iter().for_each(|body| collect(body, steps));
        if let StepKind::Aux(inner) = &step.kind {
            steps.push(inner);
            inner.bodies().into_iter().for_each(|body| collect(body, steps));
        }
    }
}
