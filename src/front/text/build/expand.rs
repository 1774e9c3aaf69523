//! Bodies and their steps: what flows from one to the next, and under which names.

use super::combine::keyword_span;
use super::report::Reported;
use super::value::{Value, grouped};
use super::{Builder, Flow, Output};
use crate::diagnostic::{Diagnostic, Fix};
use crate::front::text::syntax::ast::{Body, Const, Expr, Ident, Label, Line, Step, StepKind};
use crate::source::Span;

impl<'a> Builder<'a> {
    /// All lines of a body as one sequence. Names made inside end with it.
    pub fn body(&mut self, body: &'a Body, x: Flow) -> Flow {
        self.nested(body.span, |builder| {
            builder.scoped(|builder| body.lines.iter().fold(x, |x, line| builder.steps(line, x)))
        })
    }

    /// One line by itself, as a branch.
    pub fn branch(&mut self, line: &'a Line, x: Flow) -> Flow {
        self.scoped(|builder| builder.steps(line, x))
    }

    fn steps(&mut self, line: &'a Line, x: Flow) -> Flow {
        line.steps.iter().fold(x, |x, step| self.step(step, x))
    }

    fn scoped<T>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let frame = self.frame();
        let (vars, named) = (frame.vars.len(), frame.named.len());
        let outer = std::mem::replace(&mut frame.scope, vars);
        let result = f(self);
        let frame = self.frame();
        frame.vars.truncate(vars);
        frame.named.truncate(named);
        frame.scope = outer;
        result
    }

    pub fn step(&mut self, step: &'a Step, x: Flow) -> Flow {
        self.charge(1, step.span)?;
        let first = self.graph.nodes.len();
        let y = self.step_kind(step, x);
        if let (Ok(output), false) = (y, self.aside) {
            self.passages.meet(step.span, &self.graph, x.ok(), output, first);
        }
        if let Some(alias) = &step.alias {
            self.name_value(alias, y);
        }
        y
    }

    fn step_kind(&mut self, step: &'a Step, x: Flow) -> Flow {
        let label = step.label.as_ref();
        match &step.kind {
            StepKind::Call(call) => self.call(call, label, None, x),
            StepKind::Repeat { count, call } => self.repeat(count, call, step, x),
            StepKind::Seq(body) => {
                self.part(label, "seq", |builder, path| builder.within(path, Some(0), |builder| builder.body(body, x)))
            }
            StepKind::Group(body) => self.transparent(label, |builder| builder.body(body, x)),
            StepKind::For { names, iter, body } => {
                self.transparent(label, |builder| builder.for_loop(names, iter, body, x))
            }
            StepKind::If { cond, then, otherwise } => match self.condition(cond)? {
                true => self.transparent(label, |builder| builder.body(then, x)),
                false => match otherwise {
                    Some(body) => self.transparent(label, |builder| builder.body(body, x)),
                    None => x,
                },
            },
            StepKind::Residual { .. } | StepKind::Branches(..) | StepKind::Grow(_) | StepKind::Gate(_) => {
                self.combinator(step, x)
            }
            StepKind::From(path) => self.from(path),
            StepKind::Aux(inner) => {
                self.aux(step, inner, x);
                x
            }
            StepKind::Output(name) => {
                self.output(name, x);
                x
            }
            StepKind::Const(item) => {
                self.local_const(item);
                x
            }
        }
    }

    /// A step whose children are children of what encloses it, unless it is labelled.
    fn transparent(&mut self, label: Option<&'a Label>, f: impl FnOnce(&mut Self) -> Flow) -> Flow {
        match label {
            None => f(self),
            Some(_) => self.part(label, "", |builder, path| builder.within(path, None, f)),
        }
    }

    /// Adds a link to the chain of shapes where the shape changes.
    pub fn trace(&mut self, name: String, id: super::NodeId) {
        let dims = self.graph[id].ty.dims.clone();
        let trail = &mut self.frame().trail;
        if trail.last().is_none_or(|(_, last)| *last != dims) {
            trail.push((name, dims));
        }
    }

    pub fn label_value(&mut self, expr: &'a Expr) -> Result<String, Reported> {
        match self.eval(expr)? {
            Value::Int(v) => Ok(v.to_string()),
            Value::Str(text) | Value::Word(text) => Ok(text.to_string()),
            other => Err(self.wrong_kind("an integer or a word", &other, expr.span)),
        }
    }

    fn for_loop(&mut self, names: &'a [Ident], iter: &'a Expr, body: &'a Body, x: Flow) -> Flow {
        let items = self.eval(iter)?;
        let count = match &items {
            Value::Range(from, to) => (i128::from(*to) - i128::from(*from) + 1).max(0) as u128,
            Value::List(list) => list.items.len() as u128,
            other => {
                let reported = self.wrong_kind("a range such as `1..4`, or a list,", other, iter.span);
                return Err(reported);
            }
        };
        self.check_loop(count, iter.span)?;
        if count > 0 {
            let mut unknown = self.local_names();
            unknown.extend(names.iter().map(|n| n.text.as_str()));
            let per_pass = self.estimate_body(body, &unknown);
            self.check_copies(count, per_pass, iter.span, "passes of this loop")?;
        }
        // check_loop has bounded the count.
        self.times(count as usize, x, |builder, i, x| {
            let item = match &items {
                Value::Range(from, _) => Value::Int(from + i as i64),
                Value::List(list) => list.items[i].clone(),
                _ => return Err(Reported),
            };
            builder.pass(names, item, iter.span, body, x)
        })
    }

    /// Applies `f` to the flowing value again and again, unless a limit is reached.
    pub fn times(&mut self, count: usize, x: Flow, f: impl Fn(&mut Self, usize, Flow) -> Flow) -> Flow {
        let mut y = x;
        for i in 0..count {
            if self.halted {
                return Err(Reported);
            }
            y = f(self, i, y);
        }
        y
    }

    /// One pass of a loop.
    fn pass(&mut self, names: &'a [Ident], item: Value, span: Span, body: &'a Body, x: Flow) -> Flow {
        let values = match (names, item) {
            ([_], item) => vec![item],
            (names, Value::List(row)) if row.items.len() == names.len() => row.items.clone(),
            (names, other) => {
                let needed = format!("a list of rows of {} values each", names.len());
                return Err(self.wrong_kind(&needed, &other, span));
            }
        };
        self.scoped(|builder| {
            for (name, value) in names.iter().zip(values) {
                builder.declare(&name.text, Ok(value), name.span);
            }
            builder.body(body, x)
        })
    }

    /// Refuses a loop that would exceed the limit on steps, before it runs.
    pub fn check_loop(&mut self, count: u128, span: Span) -> Result<(), Reported> {
        let rest = self.limits.steps.saturating_sub(self.steps) as u128;
        if count <= rest {
            return Ok(());
        }
        let error = Diagnostic::error("E0502", format!("a loop of {} passes", grouped(count)));
        let limit = format!("the limit is {} steps for a whole model", grouped(self.limits.steps as u128));
        Err(self.halt(error.at(span, limit)))
    }

    fn local_const(&mut self, item: &'a Const) {
        let value = self.eval(&item.value);
        let scope = self.frame().scope;
        if self.frame().vars[scope..].iter().any(|(name, _)| *name == item.name.text) {
            let error = Diagnostic::error("E0210", format!("the constant `{}` is defined twice", item.name.text));
            self.error(error.at(item.name.span, "this body has it already"));
        }
        self.declare(&item.name.text, value, item.name.span);
    }

    fn output(&mut self, name: &Ident, value: Flow) {
        if !self.output_names.insert(name.text.clone()) {
            let error = Diagnostic::error("E0322", format!("two outputs have the name `{}`", name.text));
            self.error(error.at(name.span, "this is the second"));
        }
        if let Ok(node) = value {
            self.graph.outputs.push(Output { name: name.text.clone(), node });
        }
    }

    /// `aux label: step`. Built in any case, so that its mistakes are seen, and taken back if it is not wanted.
    fn aux(&mut self, step: &'a Step, inner: &'a Step, x: Flow) {
        let Some(label) = &inner.label else {
            let error = Diagnostic::error("E0324", "an aux branch needs a label, which names its output")
                .at(keyword_span(self.sources, step, "aux"), "this branch has none")
                .help(Fix::replace("write `aux NAME: ..`", inner.span.before(), "NAME: ").with_placeholders());
            self.error(error);
            return;
        };
        let (before, outputs, elements) = (self.mark(), self.graph.outputs.len(), self.weight_elements);
        let mark = self.frame().trail.len();
        let aside = self.aside;
        self.aside |= !self.aux;
        let value = self.scoped(|builder| builder.step(inner, x));
        self.aside = aside;
        self.frame().trail.truncate(mark);
        // What may not be built, nothing else reads.
        self.taps.truncate(before.taps);
        if self.aux {
            if let Ok(text) = self.label(label) {
                self.output(&Ident { text, span: label.span }, value);
            }
            return;
        }
        self.check_weight_names(before.nodes);
        self.counted.truncate(before.counted);
        self.graph.left_out.extend(self.graph.params.drain(before.params..).map(|param| param.name));
        let left_out = self.graph.nodes[before.nodes..].iter().flat_map(|node| &node.inputs);
        self.uses.aside.extend(left_out);
        self.graph.nodes.truncate(before.nodes);
        for output in self.graph.outputs.drain(outputs..) {
            self.output_names.remove(&output.name);
        }
        self.weight_elements = elements;
    }
}
