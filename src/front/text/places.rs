//! Where things stand in a text, for who says how to change it.

use super::build::Program;
use super::syntax::ast::{Arg, Body, Call, ExprKind, Item, ItemKind, Project, Step, StepKind};
use crate::diagnostic::{Fix, Help};
use crate::source::Span;
use std::cell::OnceCell;
use std::collections::HashMap;

/// The steps of a program by their places; looked for when first asked about.
pub struct Places<'a> {
    program: &'a Program,
    steps: OnceCell<Steps<'a>>,
}

#[derive(Default)]
struct Steps<'a> {
    calls: HashMap<Span, Place<'a>>,
    /// By the places of their bodies.
    projections: HashMap<Span, Projection<'a>>,
}

/// The second path of a residual.
#[derive(Clone, Copy)]
pub struct Projection<'a> {
    pub project: &'a Project,
    /// The path beside it.
    pub main: &'a Body,
    /// Whether the residual has a condition of its own.
    pub conditional: bool,
}

/// A step that is a call, once or repeated.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    pub step: &'a Step,
    pub call: &'a Call,
    /// The variable of the innermost loop around it.
    pub variable: Option<&'a str>,
}

impl<'a> Places<'a> {
    pub fn of(program: &'a Program) -> Places<'a> {
        Places { program, steps: OnceCell::new() }
    }

    pub fn call(&self, span: Span) -> Option<Place<'a>> {
        self.steps().calls.get(&span).copied()
    }

    pub fn calls(&self) -> impl Iterator<Item = &Place<'a>> {
        self.steps().calls.values()
    }

    /// The projection with this body.
    pub fn projection(&self, body: Span) -> Option<Projection<'a>> {
        self.steps().projections.get(&body).copied()
    }

    fn steps(&self) -> &Steps<'a> {
        self.steps.get_or_init(|| {
            let mut steps = Steps::default();
            for item in self.items() {
                match &item.kind {
                    ItemKind::Net(body) => steps.body(body, None),
                    ItemKind::Block(block) => steps.body(&block.body, None),
                    _ => {}
                }
            }
            steps
        })
    }

    /// Of all files.
    pub fn items(&self) -> impl Iterator<Item = &'a Item> + use<'a> {
        self.program.files.iter().flat_map(|file| &file.items)
    }

    /// The item of any file around a place.
    pub fn item(&self, inside: Span) -> Option<&'a Item> {
        self.items().find(|item| item.span.file == inside.file && item.span.range().contains(&inside.range().start))
    }
}

impl<'a> Steps<'a> {
    fn body(&mut self, body: &'a Body, variable: Option<&'a str>) {
        body.lines.iter().flat_map(|line| &line.steps).for_each(|step| self.step(step, variable));
    }

    fn step(&mut self, step: &'a Step, variable: Option<&'a str>) {
        let variable = match &step.kind {
            StepKind::For { names, .. } => names.first().map(|name| name.text.as_str()),
            _ => variable,
        };
        match &step.kind {
            StepKind::Call(call) | StepKind::Repeat { call, .. } => {
                self.calls.insert(call.span, Place { step, call, variable });
            }
            StepKind::Aux(inner) => self.step(inner, variable),
            StepKind::Residual { cond, body: main, project: Some(project) } => {
                let projection = Projection { project, main, conditional: cond.is_some() };
                self.projections.insert(project.body.span, projection);
            }
            _ => {}
        }
        step.bodies().into_iter().for_each(|body| self.body(body, variable));
    }
}

impl Call {
    /// The argument that has a name, or is a word alone.
    pub fn argument(&self, name: &str) -> Option<&Arg> {
        self.args.iter().find(|arg| match &arg.name {
            Some(known) => known.text == name,
            None => matches!(&arg.value.kind, ExprKind::Name(word) if word == name),
        })
    }

    /// The kernel, where it is written in numbers.
    pub fn kernel(&self) -> Option<Span> {
        let first = || self.args.iter().find(|arg| arg.name.is_none());
        let value = &self.argument("kernel").or_else(first)?.value;
        matches!(value.kind, ExprKind::Int(_) | ExprKind::Dims(_)).then_some(value.span)
    }

    /// One more argument behind the others.
    pub fn with(&self, title: impl Into<String>, argument: &str) -> Fix {
        let last = self.args.last().map(|arg| arg.span);
        let comma = if last.is_some() { ", " } else { " " };
        Fix::replace(title, last.unwrap_or(self.name.span).behind(), format!("{comma}{argument}"))
    }

    /// Without one of the arguments.
    pub fn without(&self, title: impl Into<String>, argument: &Arg) -> Fix {
        let args = &self.args;
        let at = args.iter().position(|arg| arg.span == argument.span).unwrap_or(0);
        let span = match (at.checked_sub(1).and_then(|before| args.get(before)), args.get(at + 1)) {
            (Some(before), _) => before.span.behind().to(argument.span),
            (None, Some(next)) => argument.span.before().to(next.span.before()),
            (None, None) => self.name.span.behind().to(argument.span),
        };
        Fix::replace(title, span, "")
    }
}

impl Place<'_> {
    /// A label for a step that has none, or in place of that which it has.
    pub fn label(&self) -> Fix {
        let (place, new) = match &self.step.label {
            Some(label) => (label.span, "NAME"),
            None => (self.step.span.before(), "NAME: "),
        };
        Fix::replace("label this step", place, new).with_placeholders()
    }

    /// The variable of the loop in the label; `None` where there is no loop.
    pub fn numbered(&self) -> Option<Fix> {
        let variable = format!("{{{}}}", self.variable?);
        let title = format!("write `{variable}` into the label");
        Some(match &self.step.label {
            Some(label) => Fix::replace(title, label.span.behind(), variable).maybe(),
            None => Fix::replace(title, self.step.span.before(), format!("NAME{variable}: ")).with_placeholders(),
        })
    }

    /// A name for the value, if it has none.
    pub fn named(&self, title: String, name: &str) -> Option<Fix> {
        let nameless = self.step.alias.is_none();
        nameless.then(|| Fix::replace(title, self.step.span.behind(), format!(" as {name}")).maybe())
    }
}

/// That a warning may be silenced in the text, behind those that are, or on a line of its own behind the inputs.
pub fn permission(program: &Program, lint: &str) -> Help {
    let title = format!("if it is meant: `allow {lint}`");
    let items = || program.files.first().into_iter().flat_map(|file| file.items.iter().rev());
    let last = |is: fn(&ItemKind) -> bool| items().find(|item| is(&item.kind)).map(|item| item.span.behind());
    let more = last(|kind| matches!(kind, ItemKind::Allow(_))).map(|allows| (allows, format!(", {lint}")));
    let first = || {
        let head = last(|kind| matches!(kind, ItemKind::Model { .. } | ItemKind::Input { .. }))?;
        Some((head, format!("\nallow {lint}")))
    };
    let fix = more.or_else(first).map(|(place, new)| Fix::replace(title.as_str(), place, new).maybe());
    Help::new(title).fix(fix)
}
