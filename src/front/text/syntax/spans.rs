//! The places of a tree, to be changed: the same words elsewhere are the same tree there.

use super::ast::*;
use crate::source::Span;

/// Has places in a text.
pub trait Spans {
    /// Shows each of them.
    fn each(&mut self, see: &mut impl FnMut(&mut Span));
}

impl Spans for Span {
    fn each(&mut self, see: &mut impl FnMut(&mut Span)) {
        see(self);
    }
}

impl<T: Spans> Spans for Option<T> {
    fn each(&mut self, see: &mut impl FnMut(&mut Span)) {
        self.iter_mut().for_each(|part| part.each(see));
    }
}

impl<T: Spans> Spans for Vec<T> {
    fn each(&mut self, see: &mut impl FnMut(&mut Span)) {
        self.iter_mut().for_each(|part| part.each(see));
    }
}

impl<T: Spans> Spans for Box<T> {
    fn each(&mut self, see: &mut impl FnMut(&mut Span)) {
        (**self).each(see);
    }
}

/// The fields with places, and those without.
macro_rules! spans {
    ($($node:ident { $($part:ident),* } $({ $($plain:ident),* })?;)*) => {$(
        impl Spans for $node {
            fn each(&mut self, see: &mut impl FnMut(&mut Span)) {
                let $node { $($part,)* $($($plain: _,)*)? } = self;
                $($part.each(see);)*
            }
        }
    )*};
}

spans! {
    Ident { span } { text };
    Item { kind, span };
    Const { name, value };
    Block { name, params, body };
    Param { name, default };
    Size { name, value };
    Body { lines, span };
    Line { steps, span };
    Step { label, kind, alias, span };
    Label { parts, span };
    Project { cond, body };
    Call { name, args, span } { parens };
    Arg { name, value, span };
    Expr { kind, span };
}

impl Spans for ItemKind {
    fn each(&mut self, see: &mut impl FnMut(&mut Span)) {
        match self {
            ItemKind::Use { path: _, path_span } => see(path_span),
            ItemKind::Const(constant) => constant.each(see),
            ItemKind::Model { name, params } => {
                name.each(see);
                params.each(see);
            }
            ItemKind::Input { name, dtype, dims } => {
                name.each(see);
                dtype.each(see);
                dims.each(see);
            }
            ItemKind::Defaults { layer, args } => {
                layer.each(see);
                args.each(see);
            }
            ItemKind::Block(block) => block.each(see),
            ItemKind::Net(body) => body.each(see),
            ItemKind::Variant { name, model, args } => {
                name.each(see);
                model.each(see);
                args.each(see);
            }
            ItemKind::Rename { from, to } => {
                from.each(see);
                to.each(see);
            }
            ItemKind::Allow(names) => names.each(see),
        }
    }
}

impl Spans for LabelPart {
    fn each(&mut self, see: &mut impl FnMut(&mut Span)) {
        match self {
            LabelPart::Text(_) => {}
            LabelPart::Expr(expr) => expr.each(see),
        }
    }
}

impl Spans for StepKind {
    fn each(&mut self, see: &mut impl FnMut(&mut Span)) {
        match self {
            StepKind::Call(call) => call.each(see),
            StepKind::Repeat { count, call } => {
                count.each(see);
                call.each(see);
            }
            StepKind::Seq(body)
            | StepKind::Group(body)
            | StepKind::Branches(_, body)
            | StepKind::Grow(body)
            | StepKind::Gate(body) => body.each(see),
            StepKind::Residual { cond, body, project } => {
                cond.each(see);
                body.each(see);
                project.each(see);
            }
            StepKind::For { names, iter, body } => {
                names.each(see);
                iter.each(see);
                body.each(see);
            }
            StepKind::If { cond, then, otherwise } => {
                cond.each(see);
                then.each(see);
                otherwise.each(see);
            }
            StepKind::From(label) => label.each(see),
            StepKind::Aux(step) => step.each(see),
            StepKind::Output(name) => name.each(see),
            StepKind::Const(constant) => constant.each(see),
        }
    }
}

impl Spans for ExprKind {
    fn each(&mut self, see: &mut impl FnMut(&mut Span)) {
        match self {
            ExprKind::Int(_)
            | ExprKind::Float(_)
            | ExprKind::Bool(_)
            | ExprKind::Str(_)
            | ExprKind::Dims(_)
            | ExprKind::Name(_) => {}
            ExprKind::Field(of, name) => {
                of.each(see);
                name.each(see);
            }
            ExprKind::Index(left, right) | ExprKind::Range(left, right) | ExprKind::Binary(_, left, right) => {
                left.each(see);
                right.each(see);
            }
            ExprKind::Call(name, args) => {
                name.each(see);
                args.each(see);
            }
            ExprKind::List(parts) | ExprKind::Then(parts) => parts.each(see),
            ExprKind::Unary(_, operand) => operand.each(see),
            ExprKind::Cond { cond, then, otherwise } => {
                cond.each(see);
                then.each(see);
                otherwise.each(see);
            }
        }
    }
}
