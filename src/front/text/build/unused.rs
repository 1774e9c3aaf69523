//! What was written and has no effect: each is warned of, since nothing that an author writes is to be dropped without
//! a word.
//!
//! | code | name | what it is about |
//! | --- | --- | --- |
//! | W0801 | `unused_parameter` | a parameter of a block or model that no expression names |
//! | W0802 | `unused_constant` | a constant that no expression names |
//! | W0803 | `unused_block` | a block that nothing calls |
//! | W0804 | `unused_defaults` | defaults of a layer that the file does not have |
//! | W0805 | `unused_rename` | a rename of what no weight's name holds |
//! | W0806 | `unused_allow` | a permission for what nothing was to be warned of |
//! | W0807 | `unused_projection` | a `project` of which the condition never holds |
//! | W0808 | `unused_value` | a value that is named and never read by `from` |
//! | W0809 | `unused_input` | an input that no layer reads |
//! | W0810 | `unused_layer` | a layer whose value nothing reads |
//! | W0811 | `input_as_output` | an output that is an input as it is |
//!
//! The first four, and values, are questions about the text; the others are asked of all variants together. What
//! begins with `_` is meant to be unused.

use super::Program;
use crate::diagnostic::Diagnostic;
use crate::front::text::syntax::ast::{
    Arg, Body, Call, Expr, ExprKind, Ident, Label, LabelPart, Param, Step, StepKind,
};
use crate::ir::{Graph, NodeId};
use crate::layers::Op;
use crate::source::{FileId, Span};
use std::collections::{HashMap, HashSet};

/// A kind of thing that may be without effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    Parameter,
    Constant,
    Block,
    Defaults,
    Rename,
    Allow,
    Projection,
    Value,
    Input,
    Layer,
    InputAsOutput,
}

/// All kinds, with the code and the name of their warning.
pub const WARNINGS: [(Kind, &str, &str); 11] = [
    (Kind::Parameter, "W0801", "unused_parameter"),
    (Kind::Constant, "W0802", "unused_constant"),
    (Kind::Block, "W0803", "unused_block"),
    (Kind::Defaults, "W0804", "unused_defaults"),
    (Kind::Rename, "W0805", "unused_rename"),
    (Kind::Allow, "W0806", "unused_allow"),
    (Kind::Projection, "W0807", "unused_projection"),
    (Kind::Value, "W0808", "unused_value"),
    (Kind::Input, "W0809", "unused_input"),
    (Kind::Layer, "W0810", "unused_layer"),
    (Kind::InputAsOutput, "W0811", "input_as_output"),
];

/// Something that was written and has no effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Unused {
    pub kind: Kind,
    pub name: String,
    pub span: Span,
}

impl Unused {
    pub fn new(kind: Kind, name: &Ident) -> Unused {
        Unused { kind, name: name.text.clone(), span: name.span }
    }

    /// The name of the warning, as `allow` takes it.
    pub fn lint(&self) -> &'static str {
        self.entry().1
    }

    fn entry(&self) -> (&'static str, &'static str) {
        let (_, code, lint) = WARNINGS[self.kind as usize];
        (code, lint)
    }

    pub fn warning(&self) -> Diagnostic {
        let name = &self.name;
        let (message, label, help) = match self.kind {
            Kind::Parameter => (
                format!("the parameter `{name}` is never used"),
                "no expression names it",
                format!("remove it, or call it `_{name}` if it is meant to do nothing"),
            ),
            Kind::Constant => (
                format!("the constant `{name}` is never used"),
                "no expression names it",
                format!("remove it, or call it `_{name}` if it is meant to do nothing"),
            ),
            Kind::Block => (
                format!("the block `{name}` is never used"),
                "nothing calls it",
                format!("remove it, or call it `_{name}` if it is meant to do nothing"),
            ),
            Kind::Defaults => (
                format!("defaults for `{name}`, which this file does not use"),
                "they hold for the calls of this file, and there are none",
                "remove them".into(),
            ),
            Kind::Rename => (
                format!("no weight's name holds `{name}`"),
                "this renames nothing",
                "name whole components, as in `rename norm1 -> norm.1`, or remove it".into(),
            ),
            Kind::Allow => {
                (format!("nothing is to be warned of by `{name}`"), "this silences nothing", "remove it".into())
            }
            Kind::Projection => (
                "this projection is never built".into(),
                "its condition never holds; where none is written, that the shape changes",
                "remove it, or write `project if true { .. }` to build it in any case, or `add { .. }` for a sum of branches".into(),
            ),
            Kind::Value => (
                format!("the value `{name}` is never read"),
                "no `from` names it",
                format!("remove it, or call it `_{name}` if it is meant to do nothing"),
            ),
            Kind::Input => (
                format!("nothing reads the input `{name}`"),
                "not even as an output",
                format!("read it with `from {name}`, or remove it"),
            ),
            Kind::Layer => (
                match name.as_str() {
                    "" => "nothing reads what this layer computes".into(),
                    name => format!("nothing reads what `{name}` computes"),
                },
                "it is left out of the compiled network",
                "read it further on, give it with `output NAME`, or remove it".into(),
            ),
            Kind::InputAsOutput => (
                format!("the output `{name}` is an input of the model as it is"),
                "no layer is between the two",
                "put `output` behind the layer whose value it is to be".into(),
            ),
        };
        let (code, lint) = self.entry();
        let warning = Diagnostic::warning(code, message).at(self.span, label).help(help);
        match self.kind {
            Kind::Allow => warning,
            _ => warning.help(format!("if it is meant: `allow {lint}`")),
        }
    }
}

/// What the variants of a model were seen to do with what is written.
#[derive(Default)]
pub struct Uses {
    /// By kind and place: the name, and whether any variant used it. What no variant met is not here.
    met: HashMap<(Kind, Span), (String, bool)>,
    /// Nodes of the current variant that are read by `aux` branches which were taken back.
    pub aside: HashSet<NodeId>,
}

impl Uses {
    pub fn meet(&mut self, kind: Kind, span: Span, name: &str, used: bool) {
        self.met.entry((kind, span)).or_insert_with(|| (name.into(), false)).1 |= used;
    }

    /// Notes what can be seen of the graph of a variant, which has just been built.
    pub fn of_graph(&mut self, graph: &Graph, program: &Program) {
        let aside = std::mem::take(&mut self.aside);
        let users = graph.users();
        let outputs: HashSet<NodeId> = graph.outputs.iter().map(|output| output.node).collect();
        for id in graph.ids() {
            let node = &graph[id];
            let Some(span) = node.origin.span else { continue };
            let kind = if node.op == Op::Input { Kind::Input } else { Kind::Layer };
            let used = !users[id.0 as usize].is_empty() || outputs.contains(&id) || aside.contains(&id);
            self.meet(kind, span, &node.origin.path, used);
            if kind == Kind::Input {
                for output in graph.outputs.iter().filter(|output| output.node == id) {
                    self.meet(Kind::InputAsOutput, span, &output.name, false);
                }
            }
        }
        for (from, _) in &program.renames {
            let names = graph.params.iter().map(|param| &param.name).chain(&graph.left_out);
            let made = program.renames.iter().map(|(_, to)| &to.text);
            let used = names.chain(made).any(|name| holds(name, &from.text));
            self.meet(Kind::Rename, from.span, &from.text, used);
        }
    }

    /// What was met and never used.
    fn idle(self) -> impl Iterator<Item = Unused> {
        let met = self.met.into_iter().filter(|(_, (_, used))| !used);
        met.map(|((kind, span), (name, _))| Unused { kind, name, span })
    }

    /// The projections that were never built, in the order of the text.
    pub fn projections(self) -> Vec<Unused> {
        let mut unused: Vec<Unused> = self.idle().filter(|item| item.kind == Kind::Projection).collect();
        unused.sort_by_key(|item| item.span);
        unused
    }

    /// What of `program` has no effect, in the order of the text.
    pub fn unused(self, program: &Program) -> Vec<Unused> {
        let mut unused: Vec<Unused> = self.idle().collect();
        unused.extend(of_text(program));
        unused.retain(|item| !item.name.starts_with('_'));
        unused.sort_by_key(|item| (item.span, item.kind));
        unused
    }
}

/// Whether a dotted name holds the components of another.
fn holds(name: &str, part: &str) -> bool {
    format!(".{name}.").contains(&format!(".{part}."))
}

/// What nothing in the text names. Of blocks and constants in used files, other models may make use.
fn of_text(program: &Program) -> Vec<Unused> {
    let mut names = Names::default();
    for item in &program.consts {
        names.expr(&item.value);
    }
    let params = program.model.iter().flat_map(|model| &model.params);
    params.filter_map(|param| param.default.as_ref()).for_each(|default| names.expr(default));
    program.variants.iter().for_each(|variant| names.args(&variant.args));
    program.inputs.iter().flat_map(|input| &input.dims).for_each(|dim| names.expr(dim));
    program.defaults.iter().for_each(|defaults| names.args(&defaults.args));
    for block in program.blocks.values() {
        names.block(&block.params, &block.body);
    }
    if let Some(net) = &program.net {
        names.scoped(|names| names.body(&net.body));
    }
    let root = program.end.map(|end| end.file);
    let of_root = |name: &&Ident| Some(name.span.file) == root;
    let unnamed = |name: &&Ident| !names.free.contains(name.text.as_str());
    let blocks = program.blocks.values().map(|block| (Kind::Block, &block.name));
    let consts = program.consts.iter().map(|item| (Kind::Constant, &item.name));
    let params = program.model.iter().flat_map(|model| &model.params).map(|param| (Kind::Parameter, &param.name));
    let globals = blocks.chain(consts).chain(params).filter(|(_, name)| of_root(name) && unnamed(name));
    let defaults = program.defaults.iter().map(|defaults| &defaults.layer);
    let lent = |layer: &&Ident| program.lent.iter().any(|(file, _)| *file == layer.span.file);
    let defaults =
        defaults.filter(|layer| !lent(layer) && !names.words.contains(&(layer.span.file, layer.text.as_str())));
    let found = globals.chain(defaults.map(|layer| (Kind::Defaults, layer)));
    let found: Vec<Unused> = found.map(|(kind, name)| Unused::new(kind, name)).collect();
    let tapped =
        |item: &Unused| item.kind == Kind::Value && (names.taps_any || names.tapped.contains(item.name.as_str()));
    found.into_iter().chain(names.unused.iter().filter(|item| !tapped(item)).cloned()).collect()
}

/// Follows the names of a text to where they are declared.
#[derive(Default)]
struct Names<'a> {
    /// What is declared around the place that is looked at, innermost last, and whether it has been named.
    declared: Vec<(Kind, &'a Ident, bool)>,
    /// Places in `declared` of what has this name, of values apart from others.
    places: HashMap<(bool, &'a str), Vec<usize>>,
    /// Names declared nowhere around their place: of globals, layers, blocks, words.
    free: HashSet<&'a str>,
    /// All words that may call something, with their files.
    words: HashSet<(FileId, &'a str)>,
    unused: Vec<Unused>,
    /// Last components of paths that `from` takes values by.
    tapped: HashSet<&'a str>,
    /// Whether one of them is computed.
    taps_any: bool,
}

impl<'a> Names<'a> {
    fn scoped(&mut self, inside: impl FnOnce(&mut Self)) {
        let mark = self.declared.len();
        inside(self);
        for (kind, name, named) in self.declared.drain(mark..) {
            self.places.get_mut(&(kind == Kind::Value, name.text.as_str())).and_then(Vec::pop);
            if !named {
                self.unused.push(Unused::new(kind, name));
            }
        }
    }

    fn declare(&mut self, kind: Kind, name: &'a Ident) {
        self.places.entry((kind == Kind::Value, &name.text)).or_default().push(self.declared.len());
        self.declared.push((kind, name, false));
    }

    fn block(&mut self, params: &'a [Param], body: &'a Body) {
        self.scoped(|names| {
            for param in params {
                param.default.iter().for_each(|default| names.expr(default));
                names.declare(Kind::Parameter, &param.name);
            }
            names.body(body);
        });
    }

    fn body(&mut self, body: &'a Body) {
        self.scoped(|names| body.lines.iter().flat_map(|line| &line.steps).for_each(|step| names.step(step)));
    }

    fn step(&mut self, step: &'a Step) {
        step.label.iter().for_each(|label| self.label(label));
        match &step.kind {
            StepKind::Call(call) => self.call(call),
            StepKind::Repeat { count, call } => {
                self.expr(count);
                self.call(call);
            }
            StepKind::Seq(body) | StepKind::Group(body) | StepKind::Grow(body) | StepKind::Gate(body) => {
                self.body(body);
            }
            // Values named in a branch end with it.
            StepKind::Branches(_, body) => {
                body.lines.iter().for_each(|line| {
                    self.scoped(|names| line.steps.iter().for_each(|step| names.step(step)));
                });
            }
            StepKind::Residual { cond, body, project } => {
                cond.iter().for_each(|cond| self.expr(cond));
                self.body(body);
                if let Some(project) = project {
                    project.cond.iter().for_each(|cond| self.expr(cond));
                    self.body(&project.body);
                }
            }
            StepKind::For { names: _, iter, body } => {
                // A loop may only count, and a row has values that one loop needs and another does not.
                self.expr(iter);
                self.body(body);
            }
            StepKind::If { cond, then, otherwise } => {
                self.expr(cond);
                self.body(then);
                otherwise.iter().for_each(|body| self.body(body));
            }
            StepKind::From(path) => self.path(path),
            StepKind::Aux(inner) => self.scoped(|names| names.step(inner)),
            StepKind::Output(_) => {}
            StepKind::Const(item) => {
                self.expr(&item.value);
                self.declare(Kind::Constant, &item.name);
            }
        }
        if let Some(alias) = &step.alias {
            self.declare(Kind::Value, alias);
        }
    }

    /// What `from` names: a value of this text, or one of any block or body, by its last component.
    fn path(&mut self, path: &'a Label) {
        self.label(path);
        match path.parts.as_slice() {
            [LabelPart::Text(name)] if !name.contains('.') => self.named(true, name),
            [.., LabelPart::Text(text)] if text.contains('.') => {
                self.tapped.extend(text.rsplit('.').next());
            }
            _ => self.taps_any = true,
        }
    }

    fn label(&mut self, label: &'a Label) {
        for part in &label.parts {
            if let LabelPart::Expr(expr) = part {
                self.expr(expr);
            }
        }
    }

    fn call(&mut self, call: &'a Call) {
        self.word(&call.name.text, call.name.span);
        self.args(&call.args);
    }

    fn args(&mut self, args: &'a [Arg]) {
        args.iter().for_each(|arg| self.expr(&arg.value));
    }

    fn word(&mut self, word: &'a str, span: Span) {
        self.words.insert((span.file, word));
        self.named(false, word);
    }

    /// Marks the innermost declaration of a value, or else of something else, of this name.
    fn named(&mut self, value: bool, name: &'a str) {
        match self.places.get(&(value, name)).and_then(|places| places.last()) {
            Some(&place) => self.declared[place].2 = true,
            None => {
                self.free.insert(name);
            }
        }
    }

    fn expr(&mut self, expr: &'a Expr) {
        match &expr.kind {
            ExprKind::Int(_) | ExprKind::Float(_) | ExprKind::Bool(_) | ExprKind::Str(_) | ExprKind::Dims(_) => {}
            ExprKind::Name(name) => self.word(name, expr.span),
            ExprKind::Field(of, _) | ExprKind::Unary(_, of) => self.expr(of),
            ExprKind::Index(a, b) | ExprKind::Binary(_, a, b) | ExprKind::Range(a, b) => {
                self.expr(a);
                self.expr(b);
            }
            ExprKind::Call(_, list) | ExprKind::List(list) | ExprKind::Then(list) => {
                list.iter().for_each(|item| self.expr(item));
            }
            ExprKind::Cond { cond, then, otherwise } => {
                for part in [cond, then, otherwise] {
                    self.expr(part);
                }
            }
        }
    }
}
