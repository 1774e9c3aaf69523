//! Functions of a file: each call gives way to the nodes of the function, with the names of the call in the place of the
//! function's own.
//!
//! A function is called by domain, name and overload, also where ONNX has an operator of that name. Its nodes see its
//! operands, attributes and each other only, and mean the operators of the versions that it imports itself. Values and nodes
//! are called after the call that they come from, so that layers have names as if there were no functions.

use super::names::joined;
use super::proto::{Attribute, Budget, Function, MAX_NODES, Model, Node, Opset};
use super::walk::title;
use crate::diagnostic::Diagnostic;
use bumpalo::Bump;
use std::collections::{HashMap, HashSet};

/// The operator sets that are known.
const OPSETS: std::ops::RangeInclusive<i64> = 7..=28;

/// Calls within calls: modules nest a tenth as deep.
const MAX_DEPTH: usize = 64;

/// Bytes of a value in the lists and tables that name it, at most.
const ENTRY_BYTES: usize = 96;

/// The same model without calls, each node with the version of the operators that it means. `arena` keeps the names that
/// this makes.
///
/// # Errors
/// Functions that call themselves, expand to more than a file may hold, or are not called as they are declared; versions
/// that are not known.
pub fn inlined<'a>(mut model: Model<'a>, arena: &'a Bump) -> Result<Model<'a>, Diagnostic> {
    let Some(graph) = &mut model.graph else { return Ok(model) };
    let nodes = std::mem::take(&mut graph.nodes);
    // Also those that are only read: a value that nobody makes must not become one of a function's.
    let of_nodes = nodes.iter().flat_map(|node| node.inputs.iter().chain(&node.outputs)).copied();
    let of_constants = graph.initializers.iter().map(|tensor| tensor.name);
    let of_borders = graph.inputs.iter().chain(&graph.outputs).map(|value| value.name);
    let taken = of_nodes.chain(of_constants).chain(of_borders).collect();
    let mut inliner = Inliner {
        functions: known(&model.functions)?,
        arena,
        taken,
        paths: HashSet::new(),
        numbers: HashMap::new(),
        nodes: Vec::new(),
        steps: 0,
        budget: Budget::default(),
        open: Vec::new(),
    };
    for node in nodes {
        let path = node.name;
        inliner.node(node, path, &model.opsets)?;
    }
    graph.nodes = inliner.nodes;
    Ok(model)
}

fn error(function: &Function, what: &str) -> Diagnostic {
    Diagnostic::error("E0810", format!("the function {} {what}", name_of(function)))
}

fn name_of(function: &Function) -> String {
    match function.domain {
        "" => format!("`{}`", function.name),
        domain => format!("`{domain}.{}`", function.name),
    }
}

/// A function, and what is to be known of it for each call.
#[derive(Clone, Copy)]
struct Known<'f, 'a> {
    function: &'f Function<'a>,
    /// What all names of its nodes begin with, if they are paths of modules: the path of the first call, of which the function
    /// was made, or of a module in it.
    base: Option<&'a str>,
}

type Functions<'f, 'a> = HashMap<[&'a str; 3], Known<'f, 'a>>;

fn known<'f, 'a>(functions: &'f [Function<'a>]) -> Result<Functions<'f, 'a>, Diagnostic> {
    let mut known = HashMap::new();
    for function in functions {
        let base = base(&function.nodes);
        if known.insert(function.key(), Known { function, base }).is_some() {
            return Err(error(function, "is there twice"));
        }
        check(function)?;
    }
    Ok(known)
}

/// Whether each value of a function is an operand or made once, and each that is read or given is there.
fn check(function: &Function) -> Result<(), Diagnostic> {
    let mut values: HashSet<&str> = HashSet::new();
    let made = function.nodes.iter().flat_map(|node| &node.outputs).filter(|name| !name.is_empty());
    if let Some(twice) = function.inputs.iter().chain(made).find(|&&name| !values.insert(name)) {
        return Err(error(function, &format!("makes the value `{twice}` twice")));
    }
    let read = function.nodes.iter().flat_map(|node| &node.inputs).filter(|name| !name.is_empty());
    match read.chain(&function.outputs).find(|&name| !values.contains(name)) {
        Some(missing) => Err(error(function, &format!("reads the value `{missing}`, which is none of its own"))),
        None => Ok(()),
    }
}

/// The folder that paths have in common; `None` if some are none.
fn base<'a>(nodes: &[Node<'a>]) -> Option<&'a str> {
    let folder = |node: &Node<'a>| node.name.starts_with('/').then(|| node.name.rsplit_once('/')).flatten();
    let mut folders = nodes.iter().map(|node| folder(node).map(|(folder, _)| folder));
    let first = folders.next()??;
    folders.try_fold(first, |base, folder| {
        let (folder, mut base) = (folder?, base);
        while relative(folder, base).is_none() {
            base = base.rsplit_once('/').map_or("", |(outer, _)| outer);
        }
        Some(base)
    })
}

/// What follows a folder in a path.
fn relative<'n>(path: &'n str, folder: &str) -> Option<&'n str> {
    path.strip_prefix(folder).filter(|rest| rest.is_empty() || rest.starts_with('/'))
}

struct Inliner<'f, 'a> {
    functions: Functions<'f, 'a>,
    arena: &'a Bump,
    /// Names of values.
    taken: HashSet<&'a str>,
    /// Paths of calls.
    paths: HashSet<String>,
    /// The last number behind each name that two values, or two paths, would have; those of values begin with a `/`.
    numbers: HashMap<String, usize>,
    nodes: Vec<Node<'a>>,
    /// Nodes and calls so far.
    steps: usize,
    budget: Budget,
    /// The functions that are being taken apart, the outermost first.
    open: Vec<&'f Function<'a>>,
}

/// A call, from inside of the function.
struct Inside<'c, 'a> {
    known: Known<'c, 'a>,
    /// What the values of the function are outside; "" for operands that are left out.
    values: HashMap<&'a str, &'a str>,
    attributes: HashMap<&'a str, &'c Attribute<'a>>,
    /// What the names of its own come behind.
    path: String,
}

impl<'f, 'a> Inliner<'f, 'a> {
    /// Adds a node, or those that its call stands for. Where it stands, it has another name maybe; the operator sets are
    /// imported there.
    fn node(&mut self, node: Node<'a>, there: &str, opsets: &[Opset<'a>]) -> Result<(), Diagnostic> {
        if let Some(&Known { function, base }) = self.functions.get(&node.key()) {
            // The module of the call and that of the first one are as deep.
            let depth = if there.starts_with('/') { there.matches('/').count() } else { usize::MAX };
            let base = base.map(|base| base.match_indices('/').nth(depth).map_or(base, |(end, _)| &base[..end]));
            return self.call(Known { function, base }, &node);
        }
        let version = if node.is_onnx() { version(opsets, self.open.last().copied())? } else { 0 };
        self.nodes.push(Node { version, ..node });
        Ok(())
    }

    fn call(&mut self, known: Known<'f, 'a>, call: &Node<'a>) -> Result<(), Diagnostic> {
        let function = known.function;
        if let Some(first) = self.open.iter().position(|open| open.key() == function.key()) {
            let names: Vec<String> = self.open[first..].iter().chain([&function]).map(|open| name_of(open)).collect();
            return Err(error(function, "calls itself").note(names.join(" calls ")));
        }
        if self.open.len() >= MAX_DEPTH {
            return Err(error(function, &format!("is called within {MAX_DEPTH} others")));
        }
        // Its name is the beginning of others, and kept; so is a table of its operands and attributes.
        let entries = function.inputs.len() + function.defaults.len() + call.attributes.len();
        self.spend(function, 4 * call.name.len() + entries * ENTRY_BYTES)?;
        let mut inside = self.inside(known, call)?;
        self.results(&mut inside, call)?;
        self.open.push(function);
        for node in &function.nodes {
            let copy = self.copied(node, &mut inside)?;
            self.node(copy, node.name, &function.opsets)?;
        }
        self.open.pop();
        Ok(())
    }

    /// Counts a node or call and the bytes that it takes, before it takes them.
    fn spend(&mut self, function: &Function, bytes: usize) -> Result<(), Diagnostic> {
        self.steps += 1;
        if self.steps > MAX_NODES {
            return Err(error(function, &format!("and others make more than {MAX_NODES} nodes of the file's")));
        }
        let enough = self.budget.spend(bytes + size_of::<Node>(), 0);
        enough.map_err(|_| error(function, "and others make more names and attributes than fit in 64 MiB"))
    }

    /// The operands and attributes of a call.
    fn inside<'c>(&mut self, known: Known<'c, 'a>, call: &'c Node<'a>) -> Result<Inside<'c, 'a>, Diagnostic> {
        let function = known.function;
        let wrong = |what: String| error(function, &what).note(format!("node {}", title(call)));
        let counts = [("operands", &call.inputs, &function.inputs), ("results", &call.outputs, &function.outputs)];
        for (kind, given, declared) in counts {
            if given.len() > declared.len() {
                return Err(wrong(format!("is called with {} {kind}, and has {}", given.len(), declared.len())));
            }
        }
        let defaults = function.defaults.iter().map(|default| (default.name, default));
        let mut attributes: HashMap<&str, &Attribute> = defaults.collect();
        for given in &call.attributes {
            if !function.attributes.contains(&given.name) && !attributes.contains_key(given.name) {
                return Err(wrong(format!("is called with `{}`, which is none of its attributes", given.name)));
            }
            attributes.insert(given.name, given);
        }
        let operands = call.inputs.iter().copied().chain(std::iter::repeat(""));
        let values = function.inputs.iter().copied().zip(operands).collect();
        let path = self.path(match call.name {
            "" => call.operator.to_lowercase(),
            name => joined(name.trim_start_matches('/')),
        });
        Ok(Inside { known, values, attributes, path })
    }

    /// A path, with a number where another call has it.
    fn path(&mut self, path: String) -> String {
        let path = numbered(&mut self.numbers, path, |path| self.paths.contains(path));
        self.paths.insert(path.clone());
        path
    }

    /// Gives what the function makes the names that the call has for it. A result may be an operand, or another result.
    fn results(&mut self, inside: &mut Inside<'_, 'a>, call: &Node<'a>) -> Result<(), Diagnostic> {
        let function = inside.known.function;
        for (&own, &outside) in function.outputs.iter().zip(&call.outputs).filter(|(_, outside)| !outside.is_empty()) {
            match inside.values.get(own) {
                Some(&"") => {
                    let what = format!("is called without the operand `{own}`, which is one of its results");
                    return Err(error(function, &what).note(format!("node {}", title(call))));
                }
                Some(&value) => {
                    self.spend(function, 0)?;
                    let version = *OPSETS.start();
                    let (inputs, outputs) = (vec![value], vec![outside]);
                    self.nodes.push(Node { operator: "Identity", inputs, outputs, version, ..Node::default() });
                }
                None => drop(inside.values.insert(own, outside)),
            }
        }
        Ok(())
    }

    /// A node of a function as it is for a call.
    fn copied(&mut self, node: &Node<'a>, inside: &mut Inside<'_, 'a>) -> Result<Node<'a>, Diagnostic> {
        let (name, module) = inside.names(node);
        let values = node.inputs.iter().chain(&node.outputs);
        let new = values.map(|name| 2 * (name.len() + inside.path.len()) + ENTRY_BYTES).sum::<usize>();
        let given = node.attributes.iter().filter_map(|of| inside.given(of));
        let lists = given.map(Attribute::memory).sum::<usize>();
        self.spend(inside.known.function, 2 * name.len() + new + lists)?;
        let attributes = node.attributes.iter().filter_map(|of| inside.attribute(of)).collect();
        let name = &*self.arena.alloc_str(&name);
        let (module, own) = match module {
            Some(length) => (&name[..length], name[length..].trim_start_matches('.')),
            None => (name, node.operator),
        };
        let inputs = node.inputs.iter().map(|value| self.value(value, inside)).collect();
        let outputs = node.outputs.iter().map(|value| self.value(value, inside)).collect();
        let Node { operator, domain, overload, version, .. } = *node;
        let scope = Some((module, own));
        Ok(Node { name, operator, domain, inputs, outputs, attributes, overload, scope, version })
    }

    /// A function's value by its name outside.
    fn value(&mut self, own: &'a str, inside: &mut Inside<'_, 'a>) -> &'a str {
        if own.is_empty() {
            return own;
        }
        if let Some(outside) = inside.values.get(own) {
            return outside;
        }
        let name = format!("/{}/{}", inside.path, inside.relative(own));
        let free = numbered(&mut self.numbers, name, |name| self.taken.contains(name));
        let free = &*self.arena.alloc_str(&free);
        self.taken.insert(free);
        inside.values.insert(own, free);
        free
    }
}

/// A name, with a number where it is taken.
fn numbered(numbers: &mut HashMap<String, usize>, name: String, is_taken: impl Fn(&str) -> bool) -> String {
    if !is_taken(&name) {
        return name;
    }
    let number = numbers.entry(name.clone()).or_insert(1);
    loop {
        *number += 1;
        let free = format!("{name}_{number}");
        if !is_taken(&free) {
            return free;
        }
    }
}

impl<'a> Inside<'_, 'a> {
    /// What an attribute of a node of the function is; `None` if it is one of the call's, which leaves it out.
    fn given<'s>(&'s self, of: &'s Attribute<'a>) -> Option<&'s Attribute<'a>> {
        if of.reference.is_empty() { Some(of) } else { self.attributes.get(of.reference).copied() }
    }

    /// A copy of it, by the node's name for it.
    fn attribute(&self, of: &Attribute<'a>) -> Option<Attribute<'a>> {
        self.given(of).map(|given| Attribute { name: of.name, ..given.clone() })
    }

    /// A path from the function's module on; there a part may begin with the one before it, as [`joined`] has it.
    fn relative<'n>(&self, name: &'n str) -> &'n str {
        let Some((base, rest)) = self.known.base.and_then(|base| Some((base, relative(name, base)?))) else {
            return name.trim_start_matches('/');
        };
        let rest = rest.trim_start_matches('/');
        let (_, last) = base.rsplit_once('/').unwrap_or_default();
        rest.strip_prefix(last).and_then(|rest| rest.strip_prefix('.')).unwrap_or(rest)
    }

    /// What to call a node of the function. How much of that is its module, if its name is a path, which tells of one.
    fn names(&self, node: &Node) -> (String, Option<usize>) {
        let own = match node.name {
            "" => node.operator.to_lowercase(),
            name => joined(self.relative(name)),
        };
        let name = format!("{}.{own}", self.path);
        let module = self.known.base.map(|_| name.rfind('.').unwrap_or(name.len()));
        (name, module)
    }
}

/// The version of ONNX's operators that a function or the file itself means.
fn version(opsets: &[Opset], function: Option<&Function>) -> Result<i64, Diagnostic> {
    let of = || function.map_or("the file".to_string(), |function| format!("the function {}", name_of(function)));
    let found = opsets.iter().rev().find(|opset| opset.is_onnx()).map(|opset| opset.version);
    match found {
        Some(version) if OPSETS.contains(&version) => Ok(version),
        Some(version) => {
            let known = format!("known are {} to {}", OPSETS.start(), OPSETS.end());
            let error = Diagnostic::error("E0804", format!("operator set {version} in {}: {known}", of()));
            Err(error.help("onnx.version_converter brings a model to another one"))
        }
        None => {
            Err(Diagnostic::error("E0804", format!("{} does not say which version of ONNX's operators it means", of())))
        }
    }
}
