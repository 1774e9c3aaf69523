//! The sizes of the value behind a step: where it changes them, and at the end of a line.

use super::{Answer, sizes};
use crate::front::text::syntax::ast::{Body, ItemKind, Step, StepKind};
use crate::lsp::analysis::{Model, Shown};
use crate::lsp::view::View;
use gen_lsp_types::*;

pub fn answer(view: &View, model: &Model, params: InlayHintParams) -> Answer<Option<Vec<InlayHint>>> {
    let Some(shown) = &model.shown else { return Ok(None) };
    let mut hints = Hints { view, shown, range: params.range, found: Vec::new() };
    for item in view.items() {
        match &item.kind {
            ItemKind::Net(body) => hints.body(body),
            ItemKind::Block(block) => hints.body(&block.body),
            _ => {}
        }
    }
    Ok(Some(hints.found))
}

struct Hints<'a> {
    view: &'a View<'a>,
    shown: &'a Shown,
    range: Range,
    found: Vec<InlayHint>,
}

impl Hints<'_> {
    fn body(&mut self, body: &Body) {
        let range = self.view.range(body.span);
        if range.end < self.range.start || self.range.end < range.start {
            return;
        }
        for line in &body.lines {
            for (at, step) in line.steps.iter().enumerate() {
                self.step(step, at + 1 == line.steps.len());
            }
        }
    }

    fn step(&mut self, step: &Step, is_last: bool) {
        step.bodies().into_iter().for_each(|body| self.body(body));
        match &step.kind {
            StepKind::Aux(inner) => return self.step(inner, is_last),
            StepKind::Const(_) | StepKind::Output(_) => return,
            _ => {}
        }
        let Some(passage) = self.shown.passages.of(step.span) else { return };
        let dims = &self.shown.graph[passage.output].ty.dims;
        let is_same = passage.input.is_some_and(|input| self.shown.graph[input].ty.dims == *dims);
        let position = self.view.position(step.span.range().end);
        if is_same && !is_last || position < self.range.start || self.range.end < position {
            return;
        }
        let times = if passage.varies { format!(", first of {}", passage.times) } else { String::new() };
        self.found.push(InlayHint {
            label: Label::String(format!("{}{times}", sizes(dims))),
            kind: Some(InlayHintKind::Type),
            padding_left: Some(true),
            ..InlayHint::new(position, Label::String(String::new()), None, None, None, None, None, None)
        });
    }
}
