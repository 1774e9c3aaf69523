//! From the syntax tree to the checked graph.
//!
//! [`Program::load`](load) parses a file and those it uses; [`build`] expands the blocks of one variant into an
//! [`ir::Graph`](crate::ir::Graph). All mistakes are reported in one run: an error leaves a mark in place of a value,
//! and whoever meets the mark passes it on without a message of its own.
//!
//! | file | concern |
//! | --- | --- |
//! | `files` | `use`, duplicate items |
//! | `params` | parameters of the model, `-D`, variants, inputs |
//! | `scope`, `eval`, `functions`, `value` | names and expressions |
//! | `args` | arguments against declared parameters |
//! | `expand` | bodies and steps |
//! | `names` | labels, paths, `as` and `from` |
//! | `calls` | layers, blocks, repeats |
//! | `combine` | residual, concat, add, mul, grow, gate |
//! | `estimate` | how many layers a text makes, before it makes them |
//! | `passages` | what flows through each step |
//! | `report` | each mistake once |
//! | `unused` | what was written and has no effect |
//! | `idle` | how that is taken away |
//!
//! What its codes mean, and examples of them, is in [`codes`](crate::diagnostic::codes).

mod args;
mod calls;
mod combine;
mod estimate;
mod eval;
mod expand;
mod files;
mod functions;
pub mod idle;
mod names;
mod params;
pub mod passages;
mod report;
mod scope;
pub mod unused;
mod value;

pub use args::param_of_word;
pub use files::{Found, Program};
pub use functions::FUNCTIONS;

use crate::diagnostic::attempt::Attempt;
use crate::diagnostic::{Diagnostic, Fix, Help, Label, Severity};
use crate::front::text::places::Places;
use crate::front::text::stop::Stop;
use crate::front::text::syntax::Kept;
use crate::front::text::syntax::ast::{Block, Body, Expr, ExprKind, StepKind};
use crate::ir::{Allow, Graph, Node, NodeId, Origin, Output, Param, ParamId, ParamSource, Rename, Verified, verify};
use crate::layers::{ArgValue, Change, Op, ParamDecl};
use crate::source::{FileId, SourceMap, Span};
use crate::tensor::{Batch, MAX_DIMS, TensorType};
use args::LayerArgs;
use files::Input;
use names::{Naming, Taps};
use passages::Passages;
use report::{Report, Reported};
use scope::{Frame, Globals, Named};
use std::collections::{HashMap, HashSet};
use unused::{Unused, Uses};
pub(crate) use value::grouped;

/// What to build.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The variant; the defaults of the model's parameters if none.
    pub variant: Option<String>,
    /// Parameters of the model by name, each with its value as written; they win over the variant.
    pub defines: Vec<(String, String)>,
    /// Whether to build the `aux` outputs.
    pub aux: bool,
    pub limits: Limits,
    /// Whether to go on.
    pub stop: Stop,
}

/// Bounds on the work that a text may cause. All may be raised.
#[derive(Clone, Debug)]
pub struct Limits {
    pub layers: usize,
    /// Steps, expressions and list items evaluated; of all variants together in [`check`].
    pub steps: usize,
    /// Nesting of expressions, bodies and calls taken together; bounds the use of the stack.
    pub depth: usize,
    /// Bytes of all files together.
    pub text: usize,
    /// Items of a list.
    pub list: usize,
    /// Elements of a value of one sample, and of all weights: what planning and packing may take memory for.
    pub elements: usize,
    /// A single size of a value, for which tables may have an entry for each position or channel.
    pub size: usize,
}

impl Limits {
    /// Which limit a value is above, in words.
    fn excess(&self, ty: &TensorType) -> Option<String> {
        if ty.dims.iter().any(|&size| size > self.size) {
            return Some(format!("the limit is {} for each size", grouped(self.size as u128)));
        }
        let fits = ty.checked_elements().is_some_and(|elements| elements <= self.elements);
        (!fits).then(|| format!("the limit is {} elements", grouped(self.elements as u128)))
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            layers: 100_000,
            steps: 10_000_000,
            depth: 200,
            text: 1 << 20,
            list: 1_000_000,
            elements: 1 << 31,
            size: 1 << 26,
        }
    }
}

/// Gives the texts of used files.
pub trait Loader {
    /// The text of the file at `path`: below the folder of the root file, components separated by `/`, none of
    /// them `..`. The implementation sees to symbolic links.
    ///
    /// # Errors
    /// Why it cannot be read, in words.
    fn load(&mut self, path: &str) -> Result<String, String>;
}

/// For texts that stand alone.
pub struct NoFiles;

impl Loader for NoFiles {
    fn load(&mut self, _path: &str) -> Result<String, String> {
        Err("this text is in no folder, so it cannot use files".into())
    }
}

/// Parses a model and, through the loader, the files that it uses.
///
/// # Errors
/// All syntax errors, all items defined twice, and what is wrong with a `use`.
pub fn load(
    sources: &mut SourceMap,
    root: FileId,
    options: &Options,
    loader: &mut dyn Loader,
) -> Result<Program, Vec<Diagnostic>> {
    Program::load(sources, root, options, loader, &mut Kept::default()).complete()
}

/// Builds one variant.
///
/// # Errors
/// Every mistake of the model, in the order of discovery.
pub fn build(
    sources: &mut SourceMap,
    program: &Program,
    options: &Options,
) -> Result<Verified<Graph>, Vec<Diagnostic>> {
    Ok(build_and_warn(sources, program, options)?.0)
}

/// As [`build`]; also the warnings about what this variant leaves out although it is written and nothing in the text of
/// this variant says so: projections that no residual has built. `allow` silences them.
///
/// # Errors
/// As [`build`].
pub fn build_and_warn(
    sources: &mut SourceMap,
    program: &Program,
    options: &Options,
) -> Result<(Verified<Graph>, Vec<Diagnostic>), Vec<Diagnostic>> {
    let mut uses = Uses::default();
    let built = build_counted(sources, program, options, &mut uses).0.complete()?;
    let graph = built.graph.expect("what is built without an error is a graph");
    let unused = uses.projections().into_iter();
    let loud = unused.filter(|item| !graph.allows.iter().any(|allow| allow.lint == item.lint()));
    let warnings = loud.map(|item| item.warning(None)).filter(|found| concerns_author(sources, found)).collect();
    Ok((graph, warnings))
}

/// Whether something is wrong, or odd in a file of the author's: what is odd in the zoo is not the author's to change.
pub fn concerns_author(sources: &SourceMap, found: &Diagnostic) -> bool {
    let own = |label: &Label| sources.of_zoo(label.span.file).is_none();
    found.severity == Severity::Error || found.labels.first().is_none_or(own)
}

/// A variant, as far as it could be built.
#[derive(Debug, Default)]
pub struct Built {
    /// `None` where there is no input, or nothing behind it. What could be built in spite of an error may have another
    /// output than the text says.
    pub graph: Option<Verified<Graph>>,
    pub passages: Passages,
    /// Whether nothing in it is wrong.
    pub whole: bool,
}

/// Also tells how many steps were taken, and notes in `uses` what the graph does not show of them.
fn build_counted(
    sources: &mut SourceMap,
    program: &Program,
    options: &Options,
    uses: &mut Uses,
) -> (Attempt<Built>, usize) {
    let defines = match params::parse_defines(sources, &options.defines) {
        Ok(defines) => defines,
        Err(errors) => return (Attempt { made: Built::default(), errors }, 0),
    };
    let mut builder = Builder::new(sources, program, options, uses);
    builder.program(&defines, options.variant.as_deref());
    let Builder { graph, report, passages, steps, .. } = builder;
    let errors = report.finish();
    let whole = errors.is_empty();
    let graph = match whole {
        true => Some(verify(graph).expect("the builder makes nothing else than graphs")),
        false => unfinished(graph),
    };
    (Attempt { made: Built { graph, passages, whole }, errors }, steps)
}

/// What there is of a graph, with its last value for an output where it has none.
fn unfinished(mut graph: Graph) -> Option<Verified<Graph>> {
    let last = graph.ids().last()?;
    if graph.outputs.is_empty() {
        graph.outputs.push(Output { name: "output".into(), node: last });
    }
    verify(graph).ok()
}

/// The mistakes of all variants, and what `lint` says of those without any, each once; where there are no mistakes, also
/// what has no effect in any variant. If `options.variant` is one, of that alone, without what other variants may use.
pub fn check(
    sources: &mut SourceMap,
    root: FileId,
    options: &Options,
    loader: &mut dyn Loader,
    lint: &mut dyn FnMut(&Verified<Graph>) -> Vec<Diagnostic>,
) -> (Vec<Diagnostic>, Vec<Unused>) {
    match load(sources, root, options, loader) {
        Ok(program) => check_variants(sources, &program, options, lint, &mut |_, _| {}),
        Err(errors) => (errors, Vec::new()),
    }
}

/// As [`check`], of files that were loaded; `see` is shown each variant, that without a name first, also those with mistakes.
pub fn check_variants(
    sources: &mut SourceMap,
    program: &Program,
    options: &Options,
    lint: &mut dyn FnMut(&Verified<Graph>) -> Vec<Diagnostic>,
    see: &mut dyn FnMut(Option<&str>, Built),
) -> (Vec<Diagnostic>, Vec<Unused>) {
    let mut uses = Uses::default();
    let mut all: Vec<Diagnostic> = Vec::new();
    let mut known = HashSet::new();
    let default = program.has_defaults(options) || program.variants.is_empty();
    let all_variants = || default.then_some(None).into_iter().chain(program.variants().into_iter().map(Some));
    let one = options.variant.clone();
    let variants: Vec<_> = if one.is_some() { vec![one.clone()] } else { all_variants().collect() };
    let mut options = options.clone();
    for variant in variants {
        options.variant = variant.clone();
        let (Attempt { made, errors }, steps) = build_counted(sources, program, &options, &mut uses);
        options.limits.steps = options.limits.steps.saturating_sub(steps);
        let found = match &made.graph {
            Some(graph) if errors.is_empty() => {
                uses.of_graph(graph, program, &options.stop);
                lint(graph)
            }
            _ => errors,
        };
        see(variant.as_deref(), made);
        for mut found in found {
            if !known.insert(found.identity()) {
                continue;
            }
            if let Some(name) = &variant {
                found.notes.push(format!("in variant `{name}`"));
            }
            all.push(found);
        }
    }
    let wrong = all.iter().any(|found| found.severity == Severity::Error);
    (all, if wrong || one.is_some() { Vec::new() } else { uses.unused(program) })
}

/// A value on its way through the network, or the mark of an error that has been reported in its place.
type Flow = Result<NodeId, Reported>;

/// The argument of a layer: which parameter, checked value, place.
#[derive(Clone)]
struct Given {
    decl: &'static ParamDecl,
    value: Result<ArgValue, Reported>,
    span: Span,
}

/// The state of one build.
struct Builder<'a> {
    sources: &'a SourceMap,
    program: &'a Program,
    limits: &'a Limits,
    aux: bool,
    graph: Graph,
    report: Report,
    globals: Globals<'a>,
    /// The globals that are being evaluated: each needs the next.
    evaluating: Vec<&'a str>,
    /// By file and layer.
    defaults: HashMap<(FileId, &'a str), Vec<Given>>,
    inputs: Vec<(&'a str, Flow)>,
    /// The calls that are being expanded, the net first.
    frames: Vec<Frame<'a>>,
    naming: Naming<'a>,
    taps: Taps,
    /// Whether a label names weights.
    labelled: bool,
    /// The first nodes of the steps that have a count in their path.
    counted: Vec<usize>,
    weight_elements: usize,
    uses: &'a mut Uses,
    output_names: HashSet<String>,
    /// Fewest layers of each block.
    estimates: HashMap<Span, u128>,
    passages: Passages,
    places: Places<'a>,
    /// Within an `aux` branch that will be taken back.
    aside: bool,
    stop: &'a Stop,
    /// Calls of [`charge`](Builder::charge).
    charges: usize,
    steps: usize,
    depth: usize,
    /// A limit was reached: nothing more is expanded.
    halted: bool,
}

/// Where a new node comes from.
struct Site<'s> {
    path: String,
    span: Span,
    args: Option<&'s LayerArgs<'s>>,
}

impl<'a> Builder<'a> {
    fn new(sources: &'a SourceMap, program: &'a Program, options: &'a Options, uses: &'a mut Uses) -> Builder<'a> {
        Builder {
            sources,
            program,
            limits: &options.limits,
            aux: options.aux,
            graph: Graph::default(),
            report: Report::default(),
            globals: HashMap::new(),
            evaluating: Vec::new(),
            defaults: HashMap::new(),
            inputs: Vec::new(),
            frames: Vec::new(),
            naming: Naming::default(),
            taps: Taps::default(),
            labelled: false,
            counted: Vec::new(),
            weight_elements: 0,
            uses,
            output_names: HashSet::new(),
            estimates: HashMap::new(),
            passages: Passages::default(),
            places: Places::of(program),
            aside: false,
            stop: &options.stop,
            charges: 0,
            steps: 0,
            depth: 0,
            halted: false,
        }
    }

    fn program(&mut self, defines: &'a [(String, Expr)], variant: Option<&str>) {
        self.parameters(defines, variant);
        self.file_defaults();
        self.model_inputs();
        let renames = self.program.renames.iter();
        self.graph.renames =
            renames.map(|(from, to)| Rename { from: from.text.clone(), to: to.text.clone() }).collect();
        let allows = self.program.allows.iter();
        self.graph.allows = allows.map(|name| Allow { lint: name.text.clone(), span: name.span }).collect();
        match &self.program.net {
            Some(net) if net.body.lines.is_empty() => {
                self.error(Diagnostic::error("E0320", "the net is empty").at(net.span, "there is no layer in it"));
            }
            Some(net) => self.net(&net.body),
            None => {
                let new = "\nnet {\n  conv1: conv 3x3, 16 | relu\n}\n";
                self.missing("net", "write `net { conv1: conv 3x3, 16 | relu | .. }`", (self.program.end, new));
            }
        }
    }

    /// Reports an item that every model needs, and where it could stand.
    fn missing(&mut self, item: &str, help: &str, (place, new): (Option<Span>, &str)) {
        let error = Diagnostic::error("E0320", format!("there is no `{item}` in this file"));
        let error = match self.program.end {
            Some(end) => error.at(end, "the file ends here"),
            None => error,
        };
        let fix = place.map(|place| Fix::replace(format!("add `{item}`"), place, new).with_placeholders());
        self.error(error.help(Help::new(help).fix(fix)));
    }

    fn net(&mut self, body: &'a Body) {
        let input = self.inputs.first().map_or(Err(Reported), |(_, input)| *input);
        self.frames.push(self.new_frame(None, None, input));
        let main = self.within(String::new(), None, |builder| builder.body(body, input));
        self.frames.pop();
        self.check_weight_names(0);
        if self.labelled {
            let counted = self.counted.iter().map(|&node| self.graph.nodes[node].origin.path.clone());
            self.graph.counted = counted.collect();
        }
        let last_step = body.lines.last().and_then(|line| line.steps.last()).map(|step| &step.kind);
        let Ok(node) = main else { return };
        if matches!(last_step, Some(StepKind::Output(_))) {
            self.graph.outputs.rotate_right(1);
            return;
        }
        self.graph.outputs.insert(0, Output { name: "output".into(), node });
        if !self.output_names.insert("output".into()) {
            let error = Diagnostic::error("E0322", "two outputs have the name `output`")
                .at(body.span, "the last value of the net has this name unless it is given another")
                .help(Help::new("end the net with `output NAME`, or give the earlier output another name").fix(
                    body.lines.last().map(|last| {
                        let new = " | output NAME";
                        Fix::replace("end the net with `output NAME`", last.span.behind(), new).with_placeholders()
                    }),
                ));
            self.error(error);
        }
    }

    fn new_frame(&self, block: Option<&'a Block>, call: Option<Span>, input: Flow) -> Frame<'a> {
        let trail = input.iter().map(|&id| ("in".to_string(), self.graph[id].ty.dims.clone())).collect();
        let path = self.naming.path.clone();
        let named = Named::default();
        Frame { block, path, call, vars: Vec::new(), scope: 0, named, input, trail, copy: None }
    }

    /// Reports an error together with the calls that led to it.
    fn error(&mut self, mut diagnostic: Diagnostic) -> Reported {
        let calls = self.frames.iter().rev().filter_map(|frame| self.call_note(frame));
        let notes: Vec<String> = calls.take(MAX_CALL_NOTES).collect();
        diagnostic.notes.splice(0..0, notes);
        let reported = self.report.add(diagnostic);
        self.halted |= self.report.is_full();
        reported
    }

    /// `in net.layer2.0 (resnet.cnn:20), called with c = 128, s = 2`
    fn call_note(&self, frame: &Frame) -> Option<String> {
        let dot = if frame.path.is_empty() { "" } else { "." };
        let mut note = format!("in net{dot}{} ({})", frame.path, self.sources.place(frame.call?));
        let params = frame.block?.params.len();
        let values = frame.vars.iter().take(params).filter_map(|(name, value)| Some((name, value.as_ref().ok()?)));
        let values: Vec<String> = values.map(|(name, value)| format!("{name} = {value}")).collect();
        if !values.is_empty() {
            note += &format!(", called with {}", values.join(", "));
        }
        Some(note)
    }

    /// Reports an error after which nothing more is expanded.
    fn halt(&mut self, diagnostic: Diagnostic) -> Reported {
        let reported = self.error(diagnostic);
        self.halted = true;
        reported
    }

    /// Counts work against the limit on steps.
    fn charge(&mut self, steps: usize, span: Span) -> Result<(), Reported> {
        if self.halted {
            return Err(Reported);
        }
        self.steps = self.steps.saturating_add(steps);
        self.charges += 1;
        if self.charges.is_multiple_of(CHARGES_TO_LOOK) && self.stop.is_due() {
            let error = Diagnostic::error("E0510", "this model was not built to its end");
            return Err(self.halt(error.at(span, "given up here")));
        }
        if self.steps <= self.limits.steps {
            return Ok(());
        }
        let message = format!("this model takes more than {} steps to build", grouped(self.limits.steps as u128));
        let error = Diagnostic::error("E0502", message).at(span, "the limit is reached here");
        Err(self.halt(error.help("do the loops around this place run as often as they should?")))
    }

    /// Counts the items of a list that is walked.
    fn charge_items(&mut self, value: &value::Value, span: Span) -> Result<(), Reported> {
        match value {
            value::Value::List(list) => self.charge(list.items.len(), span),
            _ => Ok(()),
        }
    }

    /// Runs `f` one level deeper.
    fn nested<T>(&mut self, span: Span, f: impl FnOnce(&mut Self) -> Result<T, Reported>) -> Result<T, Reported> {
        self.charge(1, span)?;
        if self.depth >= self.limits.depth {
            let message = format!("expressions, bodies and calls are nested more than {} deep", self.limits.depth);
            return Err(self.halt(Diagnostic::error("E0505", message).at(span, "this is too deep")));
        }
        self.depth += 1;
        let result = f(self);
        self.depth -= 1;
        result
    }

    /// Adds a node with its weights, after all checks.
    fn add(&mut self, op: Op, inputs: Vec<NodeId>, site: Site) -> Flow {
        self.check_layers(site.span)?;
        let types: Vec<_> = inputs.iter().map(|&id| self.graph[id].ty.clone()).collect();
        let types: Vec<_> = types.iter().collect();
        // Only inputs of the model have no layer, and they are not added here.
        let layer = op.layer().ok_or(Reported)?;
        let ty = match layer.shape(&types) {
            Ok(ty) => ty,
            Err(problem) => {
                let written = problem.param.and_then(|p| site.args?.place(p));
                let shapes: Vec<String> = types.iter().map(|ty| ty.to_string()).collect();
                let label = match shapes.as_slice() {
                    [one] => format!("the input is {one}"),
                    all => format!("the inputs are {}", all.join(" and ")),
                };
                let error = Diagnostic::error(problem.code, problem.message).at(written.unwrap_or(site.span), label);
                let changes = problem.changes.into_iter();
                let fault = problem.param.zip(written);
                let fixes = site.args.into_iter().flat_map(|args| changes.clone().map(move |change| (args, change)));
                let fixes = fixes.filter_map(|(args, change)| self.change(change, args, fault)).collect();
                let help = problem.help.map(|text| Help { text, fixes });
                let mut error = error;
                error.help.extend(help.or_else(|| self.missing_batch(problem.code, types[0])));
                return Err(self.shape_error(error));
            }
        };
        if let Some(excess) = self.limits.excess(&ty) {
            let message = format!("this value is too large: one sample is {ty}");
            let error = Diagnostic::error("E0503", message).at(site.span, excess);
            return Err(self.shape_error(error));
        }
        let specs = layer.params(&types);
        let params = specs.into_iter().map(|spec| self.weight(spec, &site)).collect::<Result<Vec<_>, _>>()?;
        let origin = Origin { path: site.path, span: Some(site.span) };
        Ok(self.graph.add_node(Node::new(op, inputs, params, ty, origin)))
    }

    /// What a layer says of its call, where it can be done; `fault` is the argument at fault.
    fn change(&self, change: Change, args: &LayerArgs, fault: Option<(&str, Span)>) -> Option<Fix> {
        let call = args.call;
        match change {
            Change::Before(layer) => {
                let title = format!("put `{layer}` before it");
                Some(Fix::replace(title, self.step_start(call.span), format!("{layer} | ")).maybe())
            }
            Change::Value(value) => {
                let (name, place) = fault?;
                let named = self.sources.slice(place).starts_with(name);
                let written = if named { format!("{name} {value}") } else { value.clone() };
                Some(Fix::replace(format!("write `{value}`"), place, written))
            }
            Change::Argument(param, argument) => {
                args.place(param).is_none().then(|| call.with(format!("add `{argument}`"), argument).maybe())
            }
            Change::Example(argument) => Some(call.with(format!("add `{argument}`"), argument).with_placeholders()),
            Change::Without(param) => {
                let argument = args.argument(param)?;
                let title = format!("leave `{}` out", self.sources.slice(argument.span));
                Some(call.without(title, argument).maybe())
            }
            Change::Word(param, word) => {
                let argument = args.argument(param)?;
                Some(Fix::replace(format!("write `{word}`"), argument.span, word).maybe())
            }
        }
    }

    /// What to say where a layer does not find the spatial sizes that it needs, of a value with a fixed batch.
    fn missing_batch(&self, code: &str, ty: &TensorType) -> Option<Help> {
        let Batch::Fixed(batch) = ty.batch else { return None };
        let text =
            format!("the first size of an input is the batch: if {batch} are channels, write `f32[N, {batch}, ..]`");
        let few = self.program.inputs.iter().filter(|input| input.dims.len() <= MAX_DIMS);
        let fixed = |input: &'a Input| input.dims.first().filter(|dim| !matches!(dim.kind, ExprKind::Name(_)));
        let first = few.into_iter().find_map(fixed).map(|batch| batch.span.before());
        let fix = first.map(|place| Fix::replace("put the batch before the sizes: `N`", place, "N, ").maybe());
        (code == "E0301").then(|| Help::new(text).fix(fix))
    }

    /// Where the step of a call begins, at its label if it has one.
    fn step_start(&self, call: Span) -> Span {
        let before = self.sources.file(call.file).text[..call.start as usize].trim_end();
        let start = before.strip_suffix(':').map_or(call.start as usize, |label| {
            label.trim_end_matches(|c: char| c.is_alphanumeric() || "_{}.".contains(c)).len()
        });
        Span::new(call.file, start..start)
    }

    fn weight(&mut self, spec: crate::layers::ParamSpec, site: &Site) -> Result<ParamId, Reported> {
        let name = if site.path.is_empty() { spec.role.into() } else { format!("{}.{}", site.path, spec.role) };
        let elements = spec.dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d));
        let total = elements.and_then(|n| self.weight_elements.checked_add(n)).filter(|n| *n <= self.limits.elements);
        let Some(total) = total else {
            let limit = grouped(self.limits.elements as u128);
            let message = format!("the model has more than {limit} weights");
            let label = format!("`{name}` has the shape {:?}", spec.dims);
            return Err(self.halt(Diagnostic::error("E0504", message).at(site.span, label)));
        };
        self.weight_elements = total;
        self.charge(spec.fixed.as_ref().map_or(0, |values| values.len()), site.span)?;
        let source = spec.fixed.map_or(ParamSource::File, ParamSource::Fixed);
        Ok(self.graph.add_param(Param { name, dims: spec.dims, source, init: spec.init }))
    }
}

/// After so many the time is looked at.
const CHARGES_TO_LOOK: usize = 64;
/// Calls shown for one error, innermost first.
const MAX_CALL_NOTES: usize = 4;

#[cfg(test)]
mod tests;
