//! Steps as a text.

use super::call::{Call, Defaults};
use super::tree::{Block, Body, Group, Join, Kind, Step};
use crate::front::text::syntax::format::MAX_WIDTH;
use crate::ir::Graph;
use crate::layers;
use crate::tensor::Batch;
use std::collections::{BTreeMap, HashSet};
use std::fmt::Write;

const INDENT: usize = 2;

struct Printer<'a> {
    blocks: &'a [Block],
    defaults: Defaults,
}

/// A whole file.
pub fn print(graph: &Graph, blocks: &[Block], net: &Body) -> String {
    let mut calls = Vec::new();
    blocks.iter().map(|block| &block.body).chain([net]).for_each(|body| collect(body, &mut calls));
    let printer = Printer { blocks, defaults: defaults(&calls) };
    let mut text = format!("model {}\n", graph.name);
    text += &inputs(graph);
    text += &printer.default_lines();
    for block in blocks {
        text += "\n";
        let params: Vec<String> =
            block.params.iter().map(|param| named(&param.name, param.default.as_deref())).collect();
        let params = if params.is_empty() { String::new() } else { format!("({})", params.join(", ")) };
        let head = format!("block {}{params} ", block.name);
        text += &head;
        text += &printer.braces(&block.body, 0, head.len());
        text += "\n";
    }
    text += "\nnet {\n";
    text += &printer.lines(net, INDENT);
    text += "\n}\n";
    text
}

/// `input image: f32[N, 3, H = 224, W = 224]`, a line for each. A size that another input has already stands there by its
/// name.
pub fn inputs(graph: &Graph) -> String {
    let mut known = HashSet::new();
    let mut text = String::new();
    for (index, &id) in graph.inputs.iter().enumerate() {
        let ty = &graph[id].ty;
        let batch = match &ty.batch {
            Batch::Symbolic(name) => name.clone(),
            Batch::Fixed(size) => size.to_string(),
        };
        let mut size = |(dim, size): (usize, &usize)| match graph.free_size(index, dim) {
            Some(name) if known.insert(name) => format!("{name} = {size}"),
            Some(name) => name.to_string(),
            None => size.to_string(),
        };
        let sizes: Vec<String> = [batch].into_iter().chain(ty.dims.iter().enumerate().map(&mut size)).collect();
        let _ = writeln!(text, "input {}: {}[{}]", graph[id].origin.path, ty.dtype, sizes.join(", "));
    }
    text
}

fn named(name: &str, value: Option<&str>) -> String {
    value.map_or(name.to_string(), |value| format!("{name} = {value}"))
}

fn collect<'a>(body: &'a Body, calls: &mut Vec<&'a Call>) {
    for step in body {
        if let Kind::Layer(call) = &step.kind {
            calls.push(call);
        }
        step.bodies().iter().for_each(|body| collect(body, calls));
    }
}

/// Steps in fewer words: without labels that are the number of a step anyway, and braces around one join.
pub fn shorten(body: &mut Body, numbered: bool) {
    for step in body {
        if let Kind::Group(Group { numbered: false, body, .. }) = &mut step.kind
            && let [Step { label: None, alias: None, kind: Kind::Join(..), .. }] = &body[..]
            && let Some(join) = body.pop()
        {
            step.kind = join.kind;
        }
        let counts = match &step.kind {
            Kind::Layer(_) | Kind::Block(..) | Kind::Join(..) => true,
            Kind::Group(group) => group.numbered,
            _ => false,
        };
        step.label.take_if(|_| numbered && counts);
        let inner = matches!(&step.kind, Kind::Group(group) if group.numbered);
        step.bodies_mut().iter_mut().for_each(|body| shorten(body, inner));
    }
}

/// Words and flags that most layers of a keyword have, where there are some.
fn defaults(calls: &[&Call]) -> Defaults {
    const FEWEST: usize = 3;
    let mut counts: BTreeMap<(&'static str, &'static str), BTreeMap<&str, usize>> = BTreeMap::new();
    for call in calls {
        for (param, value) in call.spec.params.iter().zip(&call.args) {
            let is_word = matches!(param.kind, layers::Kind::Bool | layers::Kind::Pad | layers::Kind::Float);
            if let (true, false, Some(value)) = (is_word, param.positional, value) {
                *counts.entry((call.spec.keyword, param.name)).or_default().entry(value).or_default() += 1;
            }
        }
    }
    let usual = |((keyword, param), values): ((&'static str, &'static str), BTreeMap<&str, usize>)| {
        let all: usize = values.values().sum();
        let (value, count) = values.into_iter().max_by_key(|(_, count)| *count)?;
        let own = layers::find(keyword)?.spec.param(param)?.default;
        let is_literal = !value.starts_with(|c: char| c.is_ascii_alphabetic())
            || ["true", "false", "half", "same", "valid"].contains(&value);
        let says = Some(value) != own && is_literal && all >= FEWEST && 2 * count > all;
        says.then(|| ((keyword, param), value.to_string()))
    };
    counts.into_iter().filter_map(usual).collect()
}

impl Printer<'_> {
    fn default_lines(&self) -> String {
        let mut keywords: Vec<&str> = self.defaults.keys().map(|(keyword, _)| *keyword).collect();
        keywords.sort_unstable();
        keywords.dedup();
        let line = |keyword: &str| {
            let spec = layers::find(keyword)?.spec;
            let value = |param: &layers::ParamDecl| self.defaults.get(&(spec.keyword, param.name)).cloned();
            let args = spec.params.iter().map(value).collect();
            let call = Call { spec, word: keyword.into(), args, is_activation: false, has_weights: false };
            Some(format!("defaults {}\n", call.print(&Defaults::new())))
        };
        keywords.into_iter().filter_map(line).collect()
    }

    /// `{ .. }` on one line if it fits behind `used` characters, else on several.
    fn braces(&self, body: &Body, indent: usize, used: usize) -> String {
        let inline = self.inline(body);
        if inline.len() + used + 4 <= MAX_WIDTH && !inline.contains('\n') {
            return format!("{{ {inline} }}");
        }
        format!("{{\n{}\n{}}}", self.lines(body, indent + INDENT), " ".repeat(indent))
    }

    /// All steps of a body on one line.
    fn inline(&self, body: &Body) -> String {
        body.iter().map(|step| self.step(step, 0, true)).collect::<Vec<_>>().join(" | ")
    }

    /// A line for each step with weights or a name; what has neither stands behind the one before.
    fn lines(&self, body: &Body, indent: usize) -> String {
        let mut lines: Vec<String> = Vec::new();
        let mut begun = false;
        for step in body {
            let text = self.step(step, indent, false);
            let is_light =
                matches!(&step.kind, Kind::Layer(call) if !call.has_weights) || matches!(step.kind, Kind::Output(_));
            let width = |line: &String| line.rsplit('\n').next().map_or(0, str::len);
            match lines.last_mut() {
                Some(line) if (is_light || begun) && width(line) + text.len() + 3 <= MAX_WIDTH => {
                    line.push_str(" | ");
                    line.push_str(&text);
                }
                _ => lines.push(format!("{}{text}", " ".repeat(indent))),
            }
            begun = matches!(step.kind, Kind::From(_));
        }
        lines.join("\n")
    }

    fn step(&self, step: &Step, indent: usize, inline: bool) -> String {
        let mut text = step.label.as_ref().map_or(String::new(), |label| format!("{label}: "));
        let braces = |body: &Body, used: usize| match inline {
            true => format!("{{ {} }}", self.inline(body)),
            false => self.braces(body, indent, indent + used),
        };
        match &step.kind {
            Kind::Layer(call) => text += &call.print(&self.defaults),
            Kind::Group(Group { numbered, body, .. }) => {
                text += if *numbered { "seq " } else { "" };
                text += &braces(body, text.len());
            }
            Kind::Join(join, bodies) => text += &self.join(*join, bodies, text.len(), indent, inline),
            Kind::Block(block, args) => text += &self.call(*block, args),
            Kind::Repeat { count, block, args } => {
                let arg = |arg: &super::tree::Then| match &arg.rest {
                    Some(rest) => format!("{} then {rest}", arg.first),
                    None => arg.first.clone(),
                };
                let args: Vec<String> = args.iter().map(arg).collect();
                let _ = write!(text, "{count} x {}", self.call(*block, &args));
            }
            Kind::Loop { prefix, from, to, block, args } => {
                let call = self.call(*block, args);
                let _ = write!(text, "for i in {from}..{to} {{ {prefix}{{i}}: {call} }}");
            }
            Kind::From(name) => {
                let _ = write!(text, "from {name}");
            }
            Kind::Output(name) => {
                let _ = write!(text, "output {name}");
            }
        }
        if let Some(alias) = &step.alias {
            let _ = write!(text, " as {alias}");
        }
        text
    }

    /// Arguments by place as long as they are said without a gap, then by name.
    fn call(&self, block: usize, args: &[String]) -> String {
        let Block { name, params, .. } = &self.blocks[block];
        let mut said = Vec::new();
        let mut gap = false;
        for (param, value) in params.iter().zip(args) {
            match (param.default.as_ref() == Some(value), gap) {
                (true, _) => gap = true,
                (false, false) => said.push(value.clone()),
                (false, true) => said.push(format!("{} = {value}", param.name)),
            }
        }
        if said.is_empty() { name.clone() } else { format!("{name}({})", said.join(", ")) }
    }

    fn join(&self, join: Join, bodies: &[Body], used: usize, indent: usize, inline: bool) -> String {
        let keyword = match join {
            Join::Add => "add ",
            Join::Mul => "mul ",
            Join::Concat => "concat ",
            Join::Residual { optional: false } => "residual ",
            Join::Residual { optional: true } => "residual if same_shape ",
            Join::Grow => "grow ",
            Join::Gate => "gate ",
        };
        let braces = |body: &Body, used: usize| match inline {
            true => format!("{{ {} }}", self.inline(body)),
            false => self.braces(body, indent, indent + used),
        };
        match (join, bodies) {
            (Join::Residual { .. }, [main, side]) => {
                let main = format!("{keyword}{}", braces(main, used + keyword.len()));
                let width = main.rsplit('\n').next().map_or(0, str::len);
                format!("{main} project {}", braces(side, width + 9))
            }
            (Join::Residual { .. } | Join::Grow | Join::Gate, [body]) => {
                format!("{keyword}{}", braces(body, used + keyword.len()))
            }
            _ => format!("{keyword}{}", self.branches(bodies, indent, inline)),
        }
    }

    /// Each on a line of its own, which may be broken before a `|`.
    fn branches(&self, bodies: &[Body], indent: usize, inline: bool) -> String {
        let indent = indent + INDENT;
        let branch = |body: &Body| match &body[..] {
            [] => format!("{}none\n", " ".repeat(indent)),
            steps => {
                let steps: Vec<String> = steps.iter().map(|step| self.step(step, indent, inline)).collect();
                format!("{}{}\n", " ".repeat(indent), steps.join(" | "))
            }
        };
        let branches: String = bodies.iter().map(branch).collect();
        format!("{{\n{branches}{}}}", " ".repeat(indent - INDENT))
    }
}
