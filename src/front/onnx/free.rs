//! Sizes of positions that a file leaves open become free sizes of the network, if it is the same at all sizes.
//!
//! The file is read at several sizes, each with all its numbers known. Where that gives the same layers, and numbers that
//! differ are one expression of the sizes, the text says that expression. It is built at each of the sizes, and must give
//! what the file gives there, or be refused where the file is.

use super::Options;
use super::constant::{Bytes, External};
use super::proto::Model;
use super::walk::{self, Found, Free, Samples, View};
use crate::diagnostic::Diagnostic;
use crate::front::text::write::{Said, Written};
use crate::ir::{Graph, Node, NodeId, Sizes};
use crate::layers::Op;
use crate::tensor::MAX_DIMS;
use std::collections::HashMap;

/// Sizes of positions by default, of inputs with one, two and three dimensions of them: for pictures and clips, and for what
/// needs longer ones.
const DEFAULTS: [[usize; MAX_DIMS - 1]; 3] = [[224, 224, 64], [1024, 1024, 112], [16384, 4096, 224]];

/// A network at the sizes that it has by default.
pub struct Network {
    pub found: Found,
    /// The same at other sizes; `None` where the file has none.
    others: Vec<(Sizes, Option<Graph>)>,
    /// What depends on the sizes.
    pub said: Said,
}

/// Why there is no network of free sizes.
pub enum Failure {
    /// There is one for given sizes only, for this reason.
    Fixed(String),
    /// There is none at all.
    Refused(Vec<Diagnostic>),
}

/// Reads the file at several sizes. `None` if it leaves none open.
///
/// # Errors
/// Why the sizes cannot be free, or why there is no network.
pub fn read<'a>(
    model: &'a Model<'a>,
    file: &'a Bytes,
    external: &'a mut dyn External,
    options: &'a Options,
) -> Result<Option<Network>, Failure> {
    let inputs =
        model.graph.iter().flat_map(|graph| &graph.inputs).filter_map(|input| input.ty.tensor.as_ref()?.shape.as_ref());
    if !inputs.into_iter().any(|shape| shape.dims.iter().skip(1).any(|dim| dim.value.is_none())) {
        return Ok(None);
    }
    let mut at = |of: HashMap<String, usize>, others: [usize; MAX_DIMS - 1], samples: Samples| {
        let free = Free { of, others };
        walk::walk(model, file, &mut *external, options, View { samples, free: Some(&free) })
    };
    let given: HashMap<String, usize> = options.sizes.iter().cloned().collect();
    let tries = DEFAULTS.iter().flat_map(|&size| [(size, Samples::First), (size, Samples::None)]);
    let mut first = None;
    let found = tries.into_iter().find_map(|(size, samples)| match at(given.clone(), size, samples) {
        Ok(found) => Some((found, samples)),
        Err(errors) => {
            first.get_or_insert(errors);
            None
        }
    });
    let Some((found, samples)) = found else {
        let errors = first.unwrap_or_default();
        let is_of_size = errors.iter().all(|error| error.code == "E0805");
        return if is_of_size { Ok(None) } else { Err(Failure::Refused(errors)) };
    };
    if found.graph.free.is_empty() {
        return Ok(None);
    }
    let other = |sizes: Sizes| {
        let graph = at(sizes.iter().cloned().collect(), DEFAULTS[0], samples).ok().map(|found| found.graph);
        (sizes, graph)
    };
    let others: Vec<(Sizes, Option<Graph>)> = found.graph.other_sizes().into_iter().map(other).collect();
    let known: Vec<(&Sizes, &Graph)> =
        others.iter().filter_map(|(sizes, graph)| Some((sizes, graph.as_ref()?))).collect();
    if known.is_empty() {
        return Err(Failure::Fixed("it is refused at all others that were tried".into()));
    }
    let said = expressions(&found.graph, &known).map_err(Failure::Fixed)?;
    Ok(Some(Network { found, others, said }))
}

impl Network {
    /// Whether a text gives the same at all sizes.
    ///
    /// # Errors
    /// Where it does not.
    pub fn check(&self, written: &Written) -> Result<(), String> {
        self.others.iter().try_for_each(|(sizes, graph)| {
            written.agrees(sizes, graph.as_ref()).map_err(|reason| format!("at {}, {reason}", text(sizes)))
        })
    }

    /// The sizes by default, of which some were given, in words.
    pub fn note(&self) -> String {
        let sizes = self.found.graph.sizes();
        format!("sizes that the file leaves open are free: {} where nothing else is said", text(&sizes))
    }
}

/// Sizes in words.
fn text(sizes: &Sizes) -> String {
    sizes.iter().map(|(name, size)| format!("{name} = {size}")).collect::<Vec<_>>().join(", ")
}

/// The layers whose numbers differ, with expressions in their place.
fn expressions(graph: &Graph, others: &[(&Sizes, &Graph)]) -> Result<Said, String> {
    let all = || [graph].into_iter().chain(others.iter().map(|(_, graph)| *graph));
    let own = graph.sizes();
    let sizes: Vec<&Sizes> = [&own].into_iter().chain(others.iter().map(|(sizes, _)| *sizes)).collect();
    if all().any(|other| other.nodes.len() != graph.nodes.len() || other.outputs != graph.outputs) {
        return Err("other sizes make other layers".into());
    }
    let mut said = Said::new();
    for id in graph.ids() {
        let nodes: Vec<&Node> = all().map(|graph| &graph[id]).collect();
        if nodes.iter().any(|node| node.inputs != nodes[0].inputs || node.params != nodes[0].params) {
            return Err(format!("other sizes make another layer of {}", nodes[0].name()));
        }
        let texts: Vec<String> = nodes.iter().map(|node| in_full(node)).collect();
        if texts.iter().all(|text| *text == texts[0]) {
            continue;
        }
        let before: Vec<&[usize]> = all().map(|graph| of_input(graph, id)).collect();
        let text = expressed(&texts, &Variables { sizes: &sizes, before: &before });
        said.insert(id, text.ok_or_else(|| format!("{} depends on the sizes: {}", nodes[0].name(), texts.join("; ")))?);
    }
    Ok(said)
}

/// The positions of what flows into a layer.
fn of_input(graph: &Graph, id: NodeId) -> &[usize] {
    graph[id].inputs.first().map_or(&[], |&input| graph[input].ty.spatial())
}

/// A layer's text with one number for each dimension, also where they are equal.
fn in_full(node: &Node) -> String {
    let Some(layer) = node.op.layer() else { return String::new() };
    let text = layer.to_string();
    let Some((keyword, rest)) = text.split_once(' ') else { return text };
    let rank = node.ty.spatial().len();
    let (first, more) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
    let is_list = first.bytes().all(|byte| byte.is_ascii_digit() || byte == b'x');
    let numbers: Vec<&str> = first.split('x').collect();
    let each = |numbers: &[&str]| format!("{keyword} ({}){more}", numbers.join(", "));
    match (&node.op, &numbers[..]) {
        (Op::Resize(_) | Op::Upsample(_), [one]) if is_list => each(&vec![*one; rank]),
        (Op::Pad(_) | Op::Crop(_), [one]) if is_list => each(&vec![*one; 2 * rank]),
        (Op::Resize(_) | Op::Upsample(_) | Op::Unflatten(_), [_, _, ..]) if is_list => each(&numbers),
        _ => text,
    }
}

/// What numbers may be expressions of, at several sizes.
struct Variables<'v> {
    sizes: &'v [&'v Sizes],
    /// Positions of the layer's operand.
    before: &'v [&'v [usize]],
}

impl Variables<'_> {
    /// Names with their values.
    fn all(&self) -> Vec<(String, Vec<usize>)> {
        let of_size =
            |at: usize| (self.sizes[0][at].0.clone(), self.sizes.iter().map(|sizes| sizes[at].1).collect::<Vec<_>>());
        let own: &[&str] = match self.before[0].len() {
            1 => &["l"],
            2 => &["h", "w"],
            3 => &["d", "h", "w"],
            _ => &[],
        };
        let of_input =
            |(dim, name): (usize, &&str)| (format!("in.{name}"), self.before.iter().map(|dims| dims[dim]).collect());
        (0..self.sizes[0].len()).map(of_size).chain(own.iter().enumerate().map(of_input)).collect()
    }
}

/// One text for several that differ in numbers.
fn expressed(texts: &[String], variables: &Variables) -> Option<String> {
    let parts: Vec<Vec<&str>> = texts.iter().map(|text| parts(text)).collect();
    let count = parts[0].len();
    if parts.iter().any(|parts| parts.len() != count) {
        return None;
    }
    let variables = variables.all();
    let part = |at: usize| {
        let values: Vec<&str> = parts.iter().map(|parts| parts[at]).collect();
        if values.iter().all(|value| *value == values[0]) {
            return Some(values[0].to_string());
        }
        let numbers: Vec<usize> = values.iter().map(|value| value.parse().ok()).collect::<Option<_>>()?;
        variables.iter().find_map(|(name, of)| expression(name, of, &numbers))
    };
    (0..count).map(part).collect()
}

/// A text in runs of digits and of others.
fn parts(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.bytes().next() {
        let of_kind = |byte: u8| byte.is_ascii_digit() == first.is_ascii_digit();
        let (part, more) = rest.split_at(rest.bytes().position(|byte| !of_kind(byte)).unwrap_or(rest.len()));
        parts.push(part);
        rest = more;
    }
    parts
}

/// Numbers as an expression of a size: itself, a multiple, a part rounded down or up, with a number more or less.
fn expression(name: &str, of: &[usize], numbers: &[usize]) -> Option<String> {
    const LARGEST_FACTOR: usize = 64;
    const LARGEST_PART: usize = 256;
    let fits = |f: &dyn Fn(usize) -> Option<usize>| of.iter().zip(numbers).all(|(&x, &y)| f(x) == Some(y));
    if of.windows(2).all(|pair| pair[0] == pair[1]) {
        return None;
    }
    if let Some(factor) = (1..=LARGEST_FACTOR).find(|&factor| fits(&|x| x.checked_mul(factor))) {
        return Some(if factor == 1 { name.to_string() } else { format!("{factor} * {name}") });
    }
    // Networks halve: what fits a few sizes by chance comes last.
    let parts = || (1..=LARGEST_PART.ilog2()).map(|halvings| 1 << halvings).chain(2..=LARGEST_PART);
    for part in parts() {
        if fits(&|x| Some(x / part)) {
            return Some(format!("{name} // {part}"));
        }
        if fits(&|x| Some(x.div_ceil(part))) {
            return Some(format!("ceil({name} / {part})"));
        }
    }
    // What was divided, and then made larger again.
    for part in parts() {
        let multiple = |divided: fn(usize, usize) -> usize| {
            let factor =
                numbers[0].checked_div(divided(of[0], part)).filter(|factor| (2..=LARGEST_FACTOR).contains(factor))?;
            fits(&|x| divided(x, part).checked_mul(factor)).then_some(factor)
        };
        if let Some(factor) = multiple(|x, part| x / part) {
            return Some(format!("{factor} * ({name} // {part})"));
        }
        if let Some(factor) = multiple(usize::div_ceil) {
            return Some(format!("{factor} * ceil({name} / {part})"));
        }
    }
    for part in 1..=LARGEST_PART {
        // Where floor((x + more) / part) fits, for whole `more`: more than one would be a guess.
        let low = of.iter().zip(numbers).map(|(&x, &y)| (part * y) as i64 - x as i64).max()?;
        let high = of.iter().zip(numbers).map(|(&x, &y)| (part * (y + 1)) as i64 - 1 - x as i64).min()?;
        if low == high {
            let shifted = if low < 0 { format!("{name} - {}", -low) } else { format!("{name} + {low}") };
            return Some(if part == 1 { shifted } else { format!("({shifted}) // {part}") });
        }
    }
    None
}
