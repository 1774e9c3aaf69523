//! The plan in words and numbers, for `svertka explain` and for golden files.

use super::bound::{self, Bound};
use super::{Joint, Place, Plan, Stage, Step, View};
use crate::diagnostic::nearest;
use crate::ir::{Epilogue, Node, NodeId};
use crate::kernels::tuning::Verdict;
use crate::kernels::{Layout, Target};
use crate::layers::Op;
use crate::machine::Known;
use crate::tensor::Products;
use std::collections::HashMap;
use std::fmt::Write;

/// There is no layer of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no layer `{name}`{}{}", if *fused { " after fusion" } else { "" }, near.as_ref().map_or(String::new(), |near| format!("; did you mean `{near}`?")))]
pub struct UnknownLayer {
    /// As it was given.
    pub name: String,
    /// What may have been meant.
    pub near: Option<String>,
    /// Whether it was looked for among what fusion leaves.
    pub fused: bool,
}

impl UnknownLayer {
    /// A name that none of `known` is.
    pub fn new<'a>(name: &str, known: impl IntoIterator<Item = &'a str>, fused: bool) -> UnknownLayer {
        let named = known.into_iter().filter(|path| !path.is_empty());
        UnknownLayer { name: name.to_owned(), near: nearest(name, named).map(str::to_owned), fused }
    }
}

/// Whether a path is that of a layer, or below it.
pub fn is_below(path: &str, layer: &str) -> bool {
    path.strip_prefix(layer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// A plan in words; of the nodes whose path begins with `layer` alone, if it is given.
#[derive(Clone, Copy)]
pub struct Explanation<'p> {
    plan: &'p Plan,
    layer: Option<&'p str>,
}

/// What is told of a step.
struct Told<'p> {
    index: usize,
    step: &'p Step,
    /// Where the choice of its kernel comes from.
    verdict: Option<&'p Verdict>,
    bound: Bound,
}

impl<'p> Explanation<'p> {
    /// Of the layer, and of all below its path.
    ///
    /// # Errors
    /// Where none is left of this name: fusion may have taken it.
    pub fn new(plan: &'p Plan, layer: Option<&'p str>) -> Result<Explanation<'p>, UnknownLayer> {
        let paths = || plan.graph.nodes.iter().map(|node| node.origin.path.as_str());
        match layer {
            Some(layer) if !paths().any(|path| is_below(path, layer)) => Err(UnknownLayer::new(layer, paths(), true)),
            _ => Ok(Explanation { plan, layer }),
        }
    }

    /// A line a step: what it does, on what, with which kernel, and under it the reason of a choice between kernels.
    pub fn short(self) -> String {
        let mut lines = vec![["", "does", "reads", "writes", "kernel", "work", "cycles", "bound"].map(String::from)];
        let mut reasons: Vec<Vec<String>> = vec![Vec::new()];
        for told in self.steps() {
            lines.push(row(self.plan, &told));
            let Told { step, verdict, .. } = told;
            let choice = verdict.map(|verdict| format!("choice: {}", describe(verdict)));
            let refusals = step.refusals.iter().filter(|refusal| refusal.is_choice()).map(|r| format!("not {r}"));
            let more = step.nodes().skip(1).map(|node| format!("and {}", fused(&self.plan.graph[node])));
            reasons.push(more.chain(choice).chain(joint(step)).chain(refusals).collect());
        }
        let widths: [usize; 8] =
            std::array::from_fn(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0));
        let mut text = self.title();
        text.push('\n');
        for (line, reasons) in lines.iter().zip(&reasons) {
            let cells = line.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
                0 | 5 | 6 => format!("{cell:>width$}"),
                _ => format!("{cell:width$}"),
            });
            let _ = writeln!(text, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
            reasons.iter().for_each(|reason| {
                let _ = writeln!(text, "{:width$}  {reason}", "", width = widths[0]);
            });
        }
        text.push_str(&legend(&self.plan.target));
        text
    }

    /// All passes' notes, and all decisions about each step.
    pub fn whole(self) -> String {
        let mut text = self.title();
        text.push_str("\npasses\n");
        for note in self.plan.notes.iter().filter(|note| self.wanted(&note.path)) {
            let verdict = if note.done { "" } else { "not done: " };
            let _ = writeln!(text, "  {}: {}: {verdict}{}", note.pass, name(&note.path), note.text);
        }
        text.push_str("\nsteps\n");
        self.steps().for_each(|told| explain_step(self.plan, &told, &mut text));
        text
    }

    fn title(self) -> String {
        let Plan { graph, target, steps, .. } = self.plan;
        let arena = bytes(self.plan.arena_bytes());
        let (name, isa, machine) = (&graph.name, target.isa, target.machine.name);
        let mut text =
            format!("{name} for {isa}, machine {machine}: {} steps, arena {arena} per sample\n", steps.len());
        text.push_str(&rounded(self.plan));
        self.plan.stages.iter().for_each(|stage| text.push_str(&together(self.plan, stage)));
        text
    }

    fn wanted(self, path: &str) -> bool {
        self.layer.is_none_or(|layer| is_below(path, layer))
    }

    fn steps(&self) -> impl Iterator<Item = Told<'p>> {
        let (plan, all_weights) = (self.plan, bound::all_weights(self.plan));
        let verdicts: HashMap<NodeId, &Verdict> =
            plan.verdicts.iter().map(|(node, verdict)| (*node, verdict)).collect();
        let wanted = |step: &Step| step.nodes().any(|node| self.wanted(&plan.graph[node].origin.path));
        let told = plan.steps.iter().enumerate().filter(move |(_, step)| wanted(step));
        told.map(move |(index, step)| {
            let verdict = verdicts.get(&step.node).copied().filter(|_| step.purpose.is_none());
            Told { index, step, verdict, bound: Bound::new(plan, step, all_weights) }
        })
    }
}

/// What products of bf16 are asked for, and what they cost or save; nothing where they are not.
fn rounded(plan: &Plan) -> String {
    if plan.target.products != Products::Bf16 {
        return String::new();
    }
    let graph = &plan.graph;
    let layers: Vec<NodeId> =
        graph.ids().filter(|&id| matches!(graph[id].op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_))).collect();
    let pairs = layers.iter().filter(|&&id| bound::multiplies_bf16(graph, id)).count();
    let (all, machine) = (layers.len(), plan.target.machine);
    format!(
        "products of bf16 in {pairs} of {all} convolutions and dense layers (bf16x2), each factor off by 2^-8 of itself at most; \
         by the rates of {} they take {} times as long as those of f32\n",
        machine.name,
        machine.pairs()
    )
}

/// What steps that go down the picture together save.
fn together(plan: &Plan, stage: &Stage) -> String {
    let (steps, [strips, whole]) = (&stage.steps, stage.bytes(plan));
    let (who, place) = match stage.alone {
        true => (", where a thread does a sample alone,", "stay near"),
        false => ("", "are in memory"),
    };
    format!(
        "steps {} to {} go down the picture together{who} in {} bands: {} of the {} between them {place}\n",
        steps.start,
        steps.end - 1,
        stage.waves,
        bytes(strips),
        bytes(whole)
    )
}

fn legend(&Target { isa, machine, .. }: &Target) -> String {
    let (name, fma, loads) = (machine.name, machine.fma(isa), machine.loads(isa));
    let [second, third, memory] = [machine.second_rate(), machine.third_rate(), machine.memory_rate()];
    let source = Known::named(name).map_or(String::new(), |known| format!(" ({})", known.source));
    let rates = format!(
        "{fma} multiply-adds and {loads} loads of vectors a cycle, {second} bytes from L2, {third} from L3, {memory} from memory;
machine {name}{source}"
    );
    format!(
        "
kernels: family, element type, 16c for 16 channels a vector and 28x1 for pixels and vectors of a tile, window; f4x4
are the outputs of a Winograd tile. Channels lie in blocks of a vector, or plane by plane: `nchw`.
work: million multiplications, or bytes moved, of a sample.
cycles: thousands that a core takes for it at best; bound: for what, multiply-adds (compute) or bytes from L1, L2, L3
or memory, and how many times as long as for the other. tanh, exp and the like are not counted. Taken are
{rates}.
--verbose says everything.
"
    )
}

fn row(plan: &Plan, &Told { index, step, bound, .. }: &Told) -> [String; 8] {
    let first = step.nodes().next().expect("a step makes a value");
    let reads: Vec<String> = step.inputs.iter().map(sizes).collect();
    let work = match step.work {
        0 => String::new(),
        work => format!("{:.3}", work as f64 / 1e6),
    };
    [
        index.to_string(),
        fused(&plan.graph[first]) + &purpose(step),
        reads.join(" and "),
        sizes(&step.output),
        step.kernel.name(),
        work,
        format!("{:.1}", bound.cycles() as f64 / 1e3),
        limit(bound),
    ]
}

/// What the bound is made of, in thousand cycles.
fn cycles(bound: Bound) -> String {
    let [compute, values, weights] =
        [bound.compute, bound.values, bound.weights].map(|cycles| format!("{:.1}", cycles as f64 / 1e3));
    format!(
        "{}: {compute} thousand cycles of a core for arithmetic, {values} for values, {weights} for weights",
        limit(bound)
    )
}

/// `compute 3.1x`: what takes longest, and how many times as long as the other.
fn limit(bound: Bound) -> String {
    let over = bound.over().map_or(String::new(), |over| format!(" {over:.1}x"));
    bound.limit().to_string() + &over
}

/// A node with what is done behind it.
fn fused(node: &Node) -> String {
    let layer = node.op.layer().map_or("input".to_string(), |layer| layer.to_string());
    let behind = node.epilogue.iter().map(|item| match item {
        Epilogue::Activation(activation) => format!(" + {activation}"),
        Epilogue::Add { .. } => " + add".into(),
    });
    format!("{}: {layer}{}", name(&node.origin.path), behind.collect::<String>())
}

/// Its sizes without the batch, and how channels lie.
fn sizes(view: &View) -> String {
    dims(&view.ty.dims) + if view.layout == Layout::Nchw { " nchw" } else { "" }
}

/// `64x3x3`
fn dims(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

/// What is said of a step, in the order of the lines: the words in front of them, and what there is to say.
type Topic = (&'static str, fn(&Plan, &Told) -> Vec<String>);
const TOPICS: &[Topic] = &[
    ("kernel", |_, told| vec![told.step.kernel.name()]),
    ("", |_, told| {
        told.step.kernel.code().facts().into_iter().map(|(what, text)| format!("{what:12}{text}")).collect()
    }),
    ("reads", |plan, told| told.step.inputs.iter().map(|view| place(plan, view)).collect()),
    ("writes", |plan, told| {
        let beside = told.step.beside.iter().map(|(_, view)| view);
        [&told.step.output].into_iter().chain(beside).map(|view| place(plan, view)).collect()
    }),
    ("weights", |plan, told| weights(plan, told.step).into_iter().collect()),
    ("work", |plan, told| vec![work(plan, told.step)]),
    ("bound", |_, told| vec![cycles(told.bound)]),
    ("tasks", |_, told| vec![format!("{} of a sample", told.step.kernel.tasks())]),
    ("scratch", |_, told| match told.step.kernel.scratch() {
        0 => Vec::new(),
        scratch => vec![format!("{} of each thread", bytes(scratch))],
    }),
    ("batch", |_, told| {
        let joint = |Joint { samples, kernel }: &Joint| {
            format!("{samples} samples at a time: {}, {} tasks", kernel.name(), kernel.tasks())
        };
        told.step.joint.iter().map(joint).collect()
    }),
    ("not", |_, told| told.step.refusals.iter().map(ToString::to_string).collect()),
    ("choice", |_, told| told.verdict.map(describe).into_iter().collect()),
];

fn explain_step(plan: &Plan, told: &Told, text: &mut String) {
    let layers = told.step.nodes().map(|id| fused(&plan.graph[id]));
    let (index, purpose) = (told.index, purpose(told.step));
    let _ = writeln!(text, "\n{index:4}  {}{purpose}", layers.collect::<Vec<_>>().join(", then "));
    let lines = TOPICS.iter().flat_map(|(topic, tell)| tell(plan, told).into_iter().map(move |line| (*topic, line)));
    for (topic, line) in lines {
        let _ = match topic {
            "" => writeln!(text, "      {line}"),
            topic => writeln!(text, "      {topic:12}{line}"),
        };
    }
}

/// The parameters that are packed, and what they take as they are.
fn weights(plan: &Plan, step: &Step) -> Option<String> {
    let params = step.params.iter().map(|&id| &plan.graph[id]);
    let named: Vec<String> = params.clone().map(|param| format!("{} {}", param.name, dims(&param.dims))).collect();
    let size = params.map(|param| param.bytes()).fold(0, u64::saturating_add);
    (!named.is_empty()).then(|| format!("{}: {}", named.join(", "), bytes(size as usize)))
}

/// Of a sample: multiply-accumulates, or elements, and the bytes that are moved for them.
fn work(plan: &Plan, step: &Step) -> String {
    let values = step.views().fold(0u64, |sum, view| sum.saturating_add(view.ty.bytes() as u64));
    let moved = step.params.iter().fold(values, |sum, &id| sum.saturating_add(plan.graph[id].bytes()));
    format!("{:.3} million, {} read and written", step.work as f64 / 1e6, bytes(moved as usize))
}

/// For how many samples of a batch a step reads its weights once.
fn joint(step: &Step) -> Option<String> {
    let samples: Vec<String> = step.joint.iter().map(|joint| joint.samples.to_string()).collect();
    let (last, others) = samples.split_last()?;
    let others = if others.is_empty() { String::new() } else { others.join(", ") + " or " };
    Some(format!("at a batch: weights are read once for {others}{last} samples"))
}

/// Where the choice of a kernel comes from.
fn describe(verdict: &Verdict) -> String {
    let Verdict { analytic, decision, offered } = verdict;
    match offered {
        true if decision == analytic => format!("{decision}: measured, as estimated"),
        true => format!("{decision}: measured; estimated was {analytic}"),
        false => format!("{analytic}: estimated; what was measured is not offered: {decision}"),
    }
}

fn purpose(step: &Step) -> String {
    step.purpose.map_or(String::new(), |p| format!(" ({p})"))
}

fn place(plan: &Plan, view: &View) -> String {
    let buffer = &plan.buffers[view.buffer.0];
    let place = match buffer.place {
        Place::Input(i) => format!("input {i}"),
        Place::Output(i) => format!("output {i}"),
        Place::Arena(offset) => format!("arena at {}", offset + view.offset),
        Place::Joint(offset) => format!("memory of all samples at {}", offset + view.offset),
    };
    let strip = plan.strip(view.buffer).map(|strip| format!(", {} positions at a time", strip.positions));
    let lie = match view.layout {
        Layout::Nchw => "plane by plane",
        Layout::Blocked => "in blocks of channels",
    };
    let padded =
        view.padded.map_or(String::new(), |padded| format!(", {} positions with its padding", padded.positions()));
    format!("{}, {lie}{padded}: {place}{}", view.ty, strip.unwrap_or_default())
}

fn name(path: &str) -> &str {
    if path.is_empty() { "net" } else { path }
}

/// A size in bytes with a binary unit.
pub fn bytes(n: usize) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
        _ => format!("{:.1} MiB", n as f64 / 1_048_576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::testing::model;
    use crate::codegen::Isa;
    use target_lexicon::Architecture;

    /// Layers of most families.
    const MODEL: &str = "\
model all
input image: f32[N, 3, 64, 64]
defaults conv half
net {
  conv1: conv 7x7, 32, stride 2, bias | relu | maxpool 3x3, stride 2, pad 1
  conv2: conv 3x3, 64 | bn2: bn | relu
  residual { deep: conv 3x3, 64, groups 64 | relu6 | narrow: conv 1x1, 64, bias } | relu
  gate { global_avgpool | squeeze: conv 1x1, 8, bias | relu | expand: conv 1x1, 64, bias | sigmoid }
  concat {
    groups: conv 3x3, 32, groups 2
    up: conv_transpose 3x3, 32, stride 2, pad 1 | avgpool 2x2, stride 2, ceil
  }
  lrn 5 | channel_shuffle 4 | upsample 2
  layer_norm | softmax | reduce max, over positions | fc: dense 10, bias
}
";

    fn whole(layer: Option<&str>) -> String {
        let target = Target::on(Known::named("znver3").unwrap(), None).unwrap();
        let plan = crate::schedule::plan(model(MODEL), target);
        Explanation::new(&plan, layer).unwrap().whole()
    }

    #[test]
    fn everything_is_said_in_words() {
        let text = whole(None);
        insta::assert_snapshot!(text);
        for of_code in ["{", "Some(", "None", "::", "Code"] {
            assert!(!text.contains(of_code), "{of_code} in {text}");
        }
        assert!(whole(Some("fc")).lines().count() < text.lines().count() / 5);
    }

    /// Kernels that the model above has no layers for: a line for each, with what is said of it.
    #[test]
    fn rarer_kernels_are_described() {
        let text = "\
model rare
input image: f32[N, 8, 24, 24]
defaults conv half
net {
  wide: conv 3x3, 16, bias | maxpool 2x2, stride 2
  deep: conv 1x1, 24 | depthwise: conv 3x3, 24, stride 2, groups 24, bias
  square: conv 3x3, 16 | relu
  add { reduce max, over channels\n identity } | instance_norm | log_softmax
}
";
        let target = Target {
            force_chain: Some(2),
            force_winograd: Some([4, 4]),
            ..Target::of(Isa::Avx2, Architecture::X86_64)
        };
        let plan = crate::schedule::plan(model(text), target);
        insta::assert_snapshot!(described(&plan));
    }

    fn described(plan: &Plan) -> String {
        let facts = |step: &Step| step.kernel.code().facts().into_iter().map(|(what, text)| format!("; {what} {text}"));
        let line = |step: &Step| step.kernel.name() + &facts(step).collect::<String>() + "\n";
        plan.steps.iter().map(line).collect()
    }
}
