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
use super::idle::Changes;
use crate::diagnostic::{Diagnostic, Help};
use crate::front::text::names::{self, Declaration, DeclarationId, Meaning, Names};
use crate::front::text::stop::Stop;
use crate::front::text::syntax::ast::{Ident, ItemKind};
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

    /// `changes` are those that `help` says; `None` where they are not asked for.
    pub fn warning(&self, changes: Option<&Changes>) -> Diagnostic {
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
        let fixes = changes.map(|changes| changes.about(self)).unwrap_or_default();
        let warning = Diagnostic::warning(code, message).at(self.span, label).help(Help { text: help, fixes });
        match changes {
            Some(changes) if self.kind != Kind::Allow => warning.help(changes.permission(lint)),
            _ => warning,
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
    /// When `stop` is due, renames count as used.
    pub fn of_graph(&mut self, graph: &Graph, program: &Program, stop: &Stop) {
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
            let used = stop.is_due() || names.chain(made).any(|name| holds(name, &from.text));
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
    let names = Names::of(program);
    let root = program.end.map(|end| end.file);
    let defaults: HashSet<Span> = program.defaults.iter().map(|defaults| defaults.layer.span).collect();
    let mut named: HashSet<DeclarationId> = HashSet::new();
    // By file.
    let mut called: HashSet<(FileId, &str)> = HashSet::new();
    for word in names.occurrences().iter().filter(|word| !defaults.contains(&word.span) && !names.is_given(word)) {
        match word.meaning {
            Meaning::Names(id) => {
                named.insert(id);
                called.insert((word.span.file, &names.declaration(id).name));
            }
            Meaning::Layer(spec) => {
                called.insert((word.span.file, spec.keyword));
            }
            _ => {}
        }
    }
    let is_file = |scope: Span| program.files.iter().any(|file| file.span == scope);
    // Of a model that is used, only blocks and constants are of use.
    let foreign = program.files.iter().skip(1).flat_map(|file| &file.items);
    let foreign = foreign.filter(|item| matches!(item.kind, ItemKind::Net(_))).map(|item| item.span);
    let foreign: Vec<Span> = foreign.collect();
    let is_foreign =
        |at: Span| foreign.iter().any(|net| net.file == at.file && net.range().contains(&at.range().start));
    let kind = |declared: &Declaration| match declared.kind {
        names::Kind::Block => Some(Kind::Block),
        names::Kind::Constant => Some(Kind::Constant),
        names::Kind::Parameter => Some(Kind::Parameter).filter(|_| !declared.scope.is_some_and(is_file)),
        names::Kind::Value => Some(Kind::Value).filter(|_| !names.is_tapped(&declared.name)),
        _ => None,
    };
    let unnamed = names.ids().filter(|id| !named.contains(id)).map(|id| names.declaration(id));
    let unused = unnamed.filter_map(|declared| {
        let of_root = declared.scope.is_some() || Some(declared.span.file) == root;
        // A size of an input has said what it is for.
        let is_size = declared.scope.is_none() && program.is_free(&declared.name);
        let kind = kind(declared).filter(|_| of_root && !is_size && !is_foreign(declared.span))?;
        Some(Unused { kind, name: declared.name.clone(), span: declared.span })
    });
    let unused: Vec<Unused> = unused.collect();
    let lent = |layer: &&Ident| program.lent.iter().any(|(file, _)| *file == layer.span.file);
    let idle = program.defaults.iter().map(|defaults| &defaults.layer);
    let idle = idle.filter(|layer| !lent(layer) && !called.contains(&(layer.span.file, layer.text.as_str())));
    unused.into_iter().chain(idle.map(|layer| Unused::new(Kind::Defaults, layer))).collect()
}
