//! The plan: which kernel does which node, in which layout, where every value lies, and how work is split.
//!
//! A [`Plan`] is data. All of its sizes are for one sample; each sample that is under way has an arena of its own, see
//! [`Cut`], and each of the batch has memory for the steps that all do together.

mod arena;
mod bands;
mod bound;
mod cut;
mod drawing;
mod explain;
mod in_place;
mod joint;
mod memory;
mod offers;
mod place;
mod views;

pub use bands::{Echo, Stage, Strip, Turn};
pub use cut::Cut;
pub use explain::{Explanation, UnknownLayer, is_below};
pub use joint::{Joint, Pass};
pub use memory::{planning_bytes, weight_bytes};
pub use offers::{Offer, offers};

use crate::ir::{Graph, NodeId, ParamId, Verified};
use crate::kernels::tuning::{Choices, Verdict};
use crate::kernels::{self, Kernel, Layout, Padded, Refusal, Target, Value};
use crate::layers::Op;
use crate::machine::LINE;
use crate::machine::costs::split_work;
use crate::passes::{self, Config, Note, Report, Rounds};
use crate::tensor::{DType, Products, TensorType};

/// Handle of a [`Buffer`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub usize);

/// Memory of one or more values.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Buffer {
    pub place: Place,
    /// Of one sample; in the arena a multiple of [`ALIGNMENT`].
    pub bytes: usize,
    /// First step that writes it and last step that reads it.
    pub live: (usize, usize),
}

/// Where a buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The caller's input with this index, row-major.
    Input(usize),
    /// The caller's output with this index, row-major.
    Output(usize),
    /// Offset in bytes in the arena of a sample that is under way.
    Arena(usize),
    /// Offset in bytes in what each sample of the batch has for the steps that all do together.
    Joint(usize),
}

impl Buffer {
    /// Whether any step touches it.
    pub fn is_used(&self) -> bool {
        self.live.0 <= self.live.1
    }
}

/// A value in memory.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct View {
    pub buffer: BufferId,
    /// In bytes, within a sample of the buffer.
    pub offset: usize,
    pub layout: Layout,
    pub ty: TensorType,
    /// What is around it in memory, of which the offset is the begin.
    pub padded: Option<Padded>,
}

impl View {
    /// Positions of a channel in memory.
    pub fn positions(&self) -> usize {
        self.padded.map_or_else(|| self.ty.spatial().iter().product(), |padded| padded.positions())
    }

    /// Positions in memory of the value's own, in their order.
    pub fn places(&self) -> Vec<usize> {
        self.padded.map_or_else(|| (0..self.positions()).collect(), |padded| padded.places())
    }

    /// Bytes of a sample in memory, in a layout.
    pub fn bytes(&self, layout: Layout, lanes: usize) -> usize {
        let (all, own) = (self.positions(), self.ty.spatial().iter().product::<usize>());
        layout.bytes(&self.ty, lanes) / own * all
    }
}

/// One kernel call.
#[derive(Clone, Debug)]
pub struct Step {
    /// The node whose value is made, or made ready for its reader.
    pub node: NodeId,
    pub kernel: Kernel,
    /// Those that do it for several samples at a time, the most first.
    pub joint: Vec<Joint>,
    /// The kernel of its turns in a [`Stage`] that threads do by themselves; those that share a sample call the other.
    pub banded: Option<Kernel>,
    pub output: View,
    /// Operands of the layer, then those of the epilogue.
    pub inputs: Vec<View>,
    /// A second value that the kernel writes, and its node; its operand comes behind the inputs.
    pub beside: Option<(NodeId, View)>,
    /// The node before, whose value the kernel makes too and nobody else sees; the inputs are that node's.
    pub chained: Option<NodeId>,
    /// Parameters that the kernel packs.
    pub params: Vec<ParamId>,
    /// Multiply-accumulates of one sample, or bytes moved where these are more; of all nodes that the kernel does.
    pub work: u64,
    /// Work of so much is left to one thread.
    pub least_split: u64,
    /// What the step is for, where it is not the node itself.
    pub purpose: Option<&'static str>,
    /// Why kernels that would have been preferred were not taken.
    pub refusals: Vec<Refusal>,
}

impl Step {
    /// The values that the kernel reads and writes, in the order of its operands: output, inputs, second output.
    pub fn views(&self) -> impl Iterator<Item = &View> {
        let beside = self.beside.iter().map(|(_, view)| view);
        [&self.output].into_iter().chain(&self.inputs).chain(beside)
    }

    fn views_mut(&mut self) -> impl Iterator<Item = &mut View> {
        let beside = self.beside.iter_mut().map(|(_, view)| view);
        [&mut self.output].into_iter().chain(&mut self.inputs).chain(beside)
    }

    /// The kernel that does its tasks in the turns of a stage.
    pub fn kernel_of_turns(&self) -> &Kernel {
        self.banded.as_ref().unwrap_or(&self.kernel)
    }

    /// The nodes that the kernel does, in order.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<> {
        self.chained.into_iter().chain([self.node])
    }

    /// Whether the node's value is complete after this step.
    pub fn completes(&self, plan: &Plan) -> bool {
        self.purpose.is_none() && plan.values[self.node.0 as usize].as_ref() == Some(&self.output)
    }

    /// Whether so many samples have enough work for more than one thread to pay for waking it.
    pub fn worth_splitting(&self, samples: usize) -> bool {
        samples > self.split_above()
    }

    /// So many samples are left to one thread.
    pub fn split_above(&self) -> usize {
        split_above(self.work, self.least_split)
    }

    /// Whether so many of a sample's tasks have enough work for more than one thread.
    pub fn is_worth_splitting_tasks(&self, tasks: usize) -> bool {
        tasks > self.split_tasks_above()
    }

    /// So many of a sample's tasks in turns are left to one thread.
    pub fn split_tasks_above(&self) -> usize {
        let least =
            u128::from(self.least_split) * self.kernel_of_turns().tasks() as u128 / u128::from(self.work.max(1));
        usize::try_from(least).unwrap_or(usize::MAX)
    }
}

/// The most samples that are left to one thread, each with this much work, where it is left `least`.
fn split_above(work: u64, least: u64) -> usize {
    (least / work.max(1)) as usize
}

/// A network made ready for code.
#[derive(Clone, Debug)]
pub struct Plan {
    pub target: Target,
    /// The graph after all passes.
    pub graph: Verified<Graph>,
    pub notes: Vec<Note>,
    pub steps: Vec<Step>,
    /// Steps that go down the picture together, in order.
    pub stages: Vec<Stage>,
    pub buffers: Vec<Buffer>,
    /// Bytes of the arena for one sample.
    pub arena: usize,
    /// The first of the steps that all samples of a batch do together, one step after the other.
    pub joint_from: usize,
    /// Bytes that each sample of the batch has for these.
    pub joint: usize,
    /// Where the value of each output of the model lies, in the order of the graph's outputs.
    pub outputs: Vec<View>,
    /// For each node, where its value can be read after the step that made it; `None` for values that are not
    /// stored by themselves.
    pub values: Vec<Option<View>>,
    /// What the decisions of [`Choices`] did, for the nodes that have one.
    pub verdicts: Vec<(NodeId, Verdict)>,
}

/// Alignment of buffers and constants in bytes: a cache line, and the widest vector.
pub const ALIGNMENT: usize = LINE;

/// What a plan takes for its inputs and gives for its outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edges {
    /// Real numbers, f32, as the graph says.
    Real,
    /// Whole numbers of eight bits where the network makes such of an input and nothing else of it, and where it makes an
    /// output of such; else real ones.
    Whole,
}

/// Optimises and schedules a graph for a target.
pub fn plan(graph: Verified<Graph>, target: Target) -> Plan {
    plan_tuned(graph, target, &Choices::default())
}

/// As [`plan`], with kernels that were found to be fast by measuring. The same graph, target and choices give the same
/// plan.
pub fn plan_tuned(graph: Verified<Graph>, target: Target, choices: &Choices) -> Plan {
    plan_edges(graph, target, choices, Edges::Real)
}

/// As [`plan_tuned`], with edges as they are asked for. Sessions have real ones.
pub fn plan_edges(graph: Verified<Graph>, target: Target, choices: &Choices, edges: Edges) -> Plan {
    // Who asks for what the target cannot do has been told.
    let products = target.check().map_or(Products::F32, |()| target.products);
    let target = Target { products, ..target };
    let (graph, report) = fuse(graph, target);
    let target = Target { deep: depth(&graph) > SHALLOW, ..target };
    let mut plan = place::place(graph, target, choices, edges);
    plan.notes = report.notes;
    bands::run(&mut plan);
    in_place::run(&mut plan);
    joint::assign(&mut plan);
    plan
}

/// Runs the passes for a target.
pub fn fuse(graph: Verified<Graph>, target: Target) -> (Verified<Graph>, Report) {
    let deep = depth(&graph) > SHALLOW;
    let rounds = |graph: &Graph, id: NodeId| {
        let ty = graph[graph[id].inputs[0]].ty.with_dtype(DType::Bf16);
        let view = place::node_view(graph, id, vec![Value { ty: &ty, layout: Layout::Blocked }], false);
        kernels::rounds(&view, &Target { deep, ..target }).map_err(|why| why.to_string())
    };
    let rounds: Option<&Rounds> = if target.products == Products::Bf16 { Some(&rounds) } else { None };
    passes::run(graph, &Config { channel_block: target.lanes, exact: target.exact, rounds })
}

/// Convolutions and dense layers of a network, one behind the other, whose rounding errors may be large. VGG-19, the
/// deepest of the plain networks, has 19.
const SHALLOW: usize = 20;

/// Convolutions and dense layers on the longest way through a network.
fn depth(graph: &Graph) -> usize {
    let mut depths = vec![0; graph.nodes.len()];
    let deepest = |depths: &[usize], ids: &[NodeId]| ids.iter().map(|id| depths[id.0 as usize]).max().unwrap_or(0);
    for id in graph.ids() {
        let node = &graph[id];
        let layer = usize::from(matches!(node.op, Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_)));
        // What the epilogue adds does not pass through the layer.
        depths[id.0 as usize] = (deepest(&depths, node.operands()) + layer).max(deepest(&depths, &node.inputs));
    }
    depths.into_iter().max().unwrap_or(0)
}

impl Plan {
    /// Bytes of scratch memory for each thread.
    pub fn scratch(&self) -> usize {
        let of_step = |step: &Step| step.kernel.scratch().max(step.kernel_of_turns().scratch());
        self.steps.iter().map(of_step).max().unwrap_or(0)
    }

    /// Bytes for the values of one sample.
    pub fn arena_bytes(&self) -> usize {
        self.arena + self.joint
    }

    /// Bytes for the values of a run: arenas for its slots, then what each sample has for the joint steps.
    pub fn value_bytes(&self, Cut { batch, slots, .. }: Cut) -> usize {
        self.arena.saturating_mul(slots).saturating_add(self.joint.saturating_mul(batch))
    }

    /// Types of the inputs, as they are taken.
    pub fn input_types(&self) -> impl Iterator<Item = &TensorType> {
        let value = |id: &NodeId| &self.values[id.0 as usize].as_ref().expect("inputs are the caller's").ty;
        self.graph.inputs.iter().map(value)
    }

    /// Types of the outputs, as they are given.
    pub fn output_types(&self) -> impl Iterator<Item = &TensorType> {
        self.outputs.iter().map(|view| &view.ty)
    }

    /// Bytes from one sample of a value to the next.
    pub fn stride(&self, view: &View) -> usize {
        let Buffer { place, bytes, .. } = self.buffers[view.buffer.0];
        match place {
            Place::Input(_) | Place::Output(_) => bytes,
            Place::Arena(_) => self.arena,
            Place::Joint(_) => self.joint,
        }
    }

    /// So many samples, if they go through the network by themselves, are left to one thread.
    pub fn split_above(&self) -> usize {
        let work = self.steps[..self.joint_from].iter().fold(0u64, |work, step| work.saturating_add(step.work));
        split_above(work, split_work(self.target.lanes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::verify;
    use crate::layers::{Add, Conv, Padding, Window};
    use crate::tensor::{Batch, DType, TensorType};

    #[test]
    fn depth_counts_layers_one_behind_the_other() {
        let ones = vec![1; 2];
        let window =
            Window { kernel: ones.clone(), stride: ones.clone(), dilation: ones, padding: Padding::Half, ceil: false };
        let conv = || Conv { channels: 8, window: window.clone(), groups: 1, bias: false, weights: None };
        let dims = vec![8, 5, 5];
        let mut graph = Graph::default();
        let x = graph.add_input("x", TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims });
        let first = graph.add_layer(conv(), &[x], "first").unwrap();
        let second = graph.add_layer(conv(), &[first], "second").unwrap();
        let project = graph.add_layer(conv(), &[x], "project").unwrap();
        let sum = graph.add_layer(Add, &[second, project], "sum").unwrap();
        graph.outputs.push(crate::ir::Output { name: "y".into(), node: sum });
        assert_eq!(depth(&graph), 2);
        let config = crate::passes::Config { channel_block: 8, exact: false, rounds: None };
        let (graph, _) = crate::passes::run(verify(graph).unwrap(), &config);
        // One of them now adds the other in its epilogue.
        assert_eq!(depth(&graph), 2);
    }

    fn planned(net: &str) -> Plan {
        let text = format!("model m\ninput x: f32[N, 8, 9, 9]\nnet {{ {net} }}\n");
        plan(crate::analysis::testing::model(&text), Target::new(crate::codegen::Isa::Clif))
    }

    #[test]
    fn many_layers_are_deep() {
        let deep = |layers: usize| planned(&format!("for i in 1..{layers} {{ c{{i}}: conv 1x1, 8 }}")).target.deep;
        assert_eq!([20, 21].map(deep), [false, true]);
    }

    #[test]
    fn little_work_is_left_to_one_thread() {
        let above = [0, 1, 33_000, 50_000, 100_000, 100_001].map(|work| split_above(work, split_work(4)));
        assert_eq!(above, [100_000, 100_000, 3, 2, 1, 0]);
        let plan = planned("conv: conv 3x3, 8, half | maxpool 3x3, stride 3 | flatten | many: dense 20000");
        let conv = plan.steps.iter().find(|step| plan.graph[step.node].origin.path == "conv").unwrap();
        assert_eq!((conv.work, conv.split_above()), (8 * 8 * 9 * 81, 2));
        assert!(!conv.worth_splitting(2) && conv.worth_splitting(3));
        // Of all steps, but for those that all samples do together.
        let alone: u64 = plan.steps[..plan.joint_from].iter().map(|step| step.work).sum();
        assert!((conv.work..2 * conv.work).contains(&alone), "{alone}");
        assert_eq!(plan.split_above(), (split_work(4) / alone) as usize);
        assert!(plan.joint_from < plan.steps.len() && plan.split_above() > 1);
    }
}
