//! How many layers a text makes at least, counted without making them: what has to be known before a text of
//! ten lines becomes 10^12 layers.
//!
//! Counts that depend on a block's arguments, and what stands under `if`, are taken as nothing, so that the
//! estimate is never too high.

use super::scope::Global;
use super::value::Value;
use super::{Builder, Found};
use crate::front::text::syntax::ast::{BinaryOp, Block, Body, Call, Expr, ExprKind, Step, StepKind};
use crate::layers;

impl<'a> Builder<'a> {
    pub fn estimate_block(&mut self, block: &'a Block) -> u128 {
        if let Some(known) = self.estimates.get(&block.name.span) {
            return *known;
        }
        // A block that calls itself is refused when it is expanded.
        self.estimates.insert(block.name.span, 0);
        let params: Vec<&str> = block.params.iter().map(|p| p.name.text.as_str()).collect();
        let layers = self.estimate_body(&block.body, &params);
        self.estimates.insert(block.name.span, layers);
        layers
    }

    /// The variables of the running block; an estimate does not look at their values.
    pub fn local_names(&self) -> Vec<&'a str> {
        self.frames.last().into_iter().flat_map(|f| f.vars.iter().map(|(name, _)| *name)).collect()
    }

    /// `unknown` are the variables whose values are not looked at.
    pub fn estimate_body(&mut self, body: &'a Body, unknown: &[&'a str]) -> u128 {
        let mut unknown = unknown.to_vec();
        let mut layers = 0u128;
        for step in body.lines.iter().flat_map(|line| &line.steps) {
            if let StepKind::Const(item) = &step.kind {
                unknown.push(&item.name.text);
            }
            layers = layers.saturating_add(self.estimate_step(step, &unknown));
        }
        layers
    }

    fn estimate_step(&mut self, step: &'a Step, unknown: &[&'a str]) -> u128 {
        match &step.kind {
            StepKind::Call(call) => self.estimate_call(call, unknown),
            StepKind::Repeat { count, call } => {
                let copies = self.constant(count, unknown).and_then(|n| u128::try_from(n).ok()).unwrap_or(0);
                copies.saturating_mul(self.estimate_call(call, unknown))
            }
            StepKind::Seq(body)
            | StepKind::Group(body)
            | StepKind::Residual { body, .. }
            | StepKind::Branches(_, body)
            | StepKind::Grow(body)
            | StepKind::Gate(body) => self.estimate_body(body, unknown),
            StepKind::For { names, iter, body } => {
                let passes = self.passes(iter, unknown);
                if passes == 0 {
                    return 0;
                }
                let inner: Vec<&str> = unknown.iter().copied().chain(names.iter().map(|n| n.text.as_str())).collect();
                passes.saturating_mul(self.estimate_body(body, &inner))
            }
            _ => 0,
        }
    }

    pub fn estimate_call(&mut self, call: &'a Call, unknown: &[&'a str]) -> u128 {
        let name = call.name.text.as_str();
        if unknown.contains(&name) || self.globals.contains_key(&(None, name)) {
            return 0;
        }
        match self.program.block(name, call.name.span.file).map(Found::any) {
            Some(block) => self.estimate_block(block),
            None => u128::from(layers::find(name).is_some()),
        }
    }

    fn passes(&self, iter: &Expr, unknown: &[&str]) -> u128 {
        let ExprKind::Range(from, to) = &iter.kind else { return 0 };
        match (self.constant(from, unknown), self.constant(to, unknown)) {
            (Some(from), Some(to)) => u128::try_from(i128::from(to) - i128::from(from) + 1).unwrap_or(0),
            _ => 0,
        }
    }

    /// The value of an expression of integers, constants and parameters of the model.
    fn constant(&self, expr: &Expr, unknown: &[&str]) -> Option<i64> {
        match &expr.kind {
            ExprKind::Int(v) => Some(*v),
            ExprKind::Name(name) => match self.global(name, unknown)? {
                Value::Int(v) => Some(*v),
                _ => None,
            },
            ExprKind::Index(base, index) => {
                let ExprKind::Name(name) = &base.kind else { return None };
                let index = usize::try_from(self.constant(index, unknown)?).ok()?;
                match self.global(name, unknown)? {
                    Value::List(list) => match list.items.get(index)? {
                        Value::Int(v) => Some(*v),
                        _ => None,
                    },
                    _ => None,
                }
            }
            ExprKind::Binary(BinaryOp::Mul, a, b) => self.constant(a, unknown)?.checked_mul(self.constant(b, unknown)?),
            ExprKind::Binary(BinaryOp::Add, a, b) => self.constant(a, unknown)?.checked_add(self.constant(b, unknown)?),
            _ => None,
        }
    }

    fn global<'s>(&'s self, name: &'s str, unknown: &[&str]) -> Option<&'s Value> {
        match self.globals.get(&(None, name))? {
            Global::Done(Ok(value)) if !unknown.contains(&name) => Some(value),
            _ => None,
        }
    }
}
