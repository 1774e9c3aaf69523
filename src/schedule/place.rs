//! Chooses kernels and layouts node by node, and gives every value a buffer.

use super::{ALIGNMENT, Buffer, BufferId, Edges, Place, Plan, Step, View, views};
use crate::ir::{self, Epilogue, Graph, NodeId, ParamId, Verified};
use crate::kernels::tuning::{self, Choices, Verdict};
use crate::kernels::{self, Kernel, Layout, Lowered, NodeView, Padded, Refusal, Target, Value, Why, permute};
use crate::layers::Op;
use crate::machine::costs::split_work;
use crate::tensor::{DType, TensorType};
use std::collections::HashMap;

const BF16: &str = "what reads bf16 takes it as it was made";

/// Makes the steps and buffers of a graph; arena offsets are still 0.
pub fn place(graph: Verified<Graph>, target: Target, choices: &Choices, edges: Edges) -> Plan {
    let values = vec![None; graph.nodes.len()];
    let given = given(&graph, edges);
    let mut placer = Placer {
        graph: &graph,
        target,
        choices,
        readers: graph.users(),
        outputs: first_outputs(&given),
        means: means(&graph),
        steps: vec![],
        buffers: vec![],
        values,
        reordered: HashMap::new(),
        pairs: HashMap::new(),
        verdicts: vec![],
    };
    for (index, &input) in graph.inputs.iter().enumerate() {
        let ty = placer.taken(input, edges);
        let buffer = placer.add_buffer(Place::Input(index), ty.bytes());
        placer.values[input.0 as usize] = Some(View { buffer, offset: 0, layout: Layout::Nchw, ty, padded: None });
    }
    for id in graph.ids().filter(|&id| !matches!(graph[id].op, Op::Input)) {
        placer.place_node(id);
    }
    let outputs = given.iter().enumerate().map(|(index, &id)| placer.place_output(index, id)).collect();
    let Placer { steps, mut buffers, values, verdicts, .. } = placer;
    set_lifetimes(&mut buffers, &steps);
    Plan {
        target,
        notes: Vec::new(),
        steps,
        stages: Vec::new(),
        buffers,
        arena: 0,
        joint_from: 0,
        joint: 0,
        outputs,
        values,
        verdicts,
        graph,
    }
}

struct Placer<'a> {
    graph: &'a Graph,
    target: Target,
    choices: &'a Choices,
    /// Nodes that read each value.
    readers: Vec<Vec<NodeId>>,
    /// Which output of the model each value is, the first where it is several.
    outputs: HashMap<NodeId, usize>,
    /// For nodes whose kernels make a second value beside their own, that one's node.
    means: HashMap<NodeId, NodeId>,
    steps: Vec<Step>,
    buffers: Vec<Buffer>,
    values: Vec<Option<View>>,
    /// Values that were copied into a second layout.
    reordered: HashMap<(NodeId, Layout), View>,
    /// For layers whose operand is made by a convolution that they alone read: that node, and the kernel that does both,
    /// or why there is none.
    pairs: HashMap<NodeId, (NodeId, Result<Lowered, Why>)>,
    verdicts: Vec<(NodeId, Verdict)>,
}

impl Placer<'_> {
    fn add_buffer(&mut self, place: Place, bytes: usize) -> BufferId {
        self.buffers.push(Buffer { place, bytes, live: (usize::MAX, 0) });
        BufferId(self.buffers.len() - 1)
    }

    /// A value of its own in the arena.
    fn add_value(&mut self, ty: &TensorType, layout: Layout) -> View {
        self.add_padded(ty, layout, None)
    }

    /// The same, with something around it.
    fn add_padded(&mut self, ty: &TensorType, layout: Layout, padded: Option<Padded>) -> View {
        let mut view = View { buffer: BufferId(0), offset: 0, layout, ty: ty.clone(), padded };
        // Whole vectors: one position in `Nchw` can then be read as `Blocked`.
        let bytes = view.bytes(layout, self.target.lanes).next_multiple_of(ALIGNMENT);
        view.buffer = self.add_buffer(Place::Arena(0), bytes);
        view
    }

    fn value(&self, id: NodeId) -> View {
        self.values[id.0 as usize].clone().expect("nodes are placed in topological order")
    }

    fn place_node(&mut self, id: NodeId) {
        let node = &self.graph[id];
        if matches!(node.op, Op::Concat(_)) {
            return self.place_concat(id);
        }
        if node.beside {
            // Placed with its operand.
            return;
        }
        if matches!(node.op, Op::Convert(_)) {
            // At an edge that is on whole numbers, an input is converted already, or an output is never read.
            let operand = self.value(node.inputs[0]);
            if operand.ty.dtype == node.ty.dtype {
                return self.finish_value(id, operand);
            }
            if self.readers[id.0 as usize].is_empty() && !self.outputs.contains_key(&id) {
                return;
            }
        }
        if self.chain(id) {
            // Placed with its reader.
            return;
        }
        if let Some(view) = self.part_of_operand(id) {
            self.values[id.0 as usize] = Some(view);
            return;
        }
        let (chained, lowered, refusals) = self.choose(id);
        let Lowered { kernel, inputs: layouts, output: layout, spread, padded } = lowered;
        let operands = self.graph[chained.unwrap_or(id)].operands();
        let mut inputs: Vec<View> =
            operands.iter().zip(layouts).map(|(&i, layout)| self.in_layout(i, layout)).collect();
        if let Some(channels) = spread {
            inputs[0] = self.spread(id, &inputs[0], channels);
        }
        if let Some(padded) = padded.filter(|_| inputs[0].padded != padded) {
            inputs[0] = self.pad(id, &inputs[0], padded);
        }
        let nodes = chained.into_iter().chain([id]);
        let mut params: Vec<ParamId> = nodes.clone().flat_map(|id| self.graph[id].params.clone()).collect();
        if let Some(gate) = node.gate() {
            let Kernel::Conv(conf) = &kernel else { unreachable!("no other kernel takes weights as an operand") };
            inputs.push(self.scale_weights(id, conf, gate, params.remove(0)));
        }
        for item in &node.epilogue {
            if let Epilogue::Add { input } = item {
                inputs.push(self.in_layout(node.inputs[*input], layout));
            }
        }
        let work = nodes.map(|id| self.work(id)).sum();
        let output = self.output_view(id, &kernel, layout);
        let beside = self.place_beside(id);
        self.steps.push(Step {
            node: id,
            kernel,
            joint: vec![],
            banded: None,
            output: output.clone(),
            inputs,
            beside,
            chained,
            params,
            work,
            least_split: split_work(self.target.lanes),
            purpose: None,
            refusals,
        });
        self.finish_value(id, output);
    }

    /// The value that the kernel of a node makes beside the node's own.
    fn place_beside(&mut self, id: NodeId) -> Option<(NodeId, View)> {
        let beside = *self.means.get(&id)?;
        let view = self.add_value(&self.graph[beside].ty, Layout::Blocked);
        self.values[beside.0 as usize] = Some(view.clone());
        Some((beside, view))
    }

    fn node_view<'v>(&'v self, id: NodeId, inputs: Vec<Value<'v>>) -> NodeView<'v> {
        node_view(self.graph, id, inputs, self.means.contains_key(&id))
    }

    /// What the only reader of a node's value needs around it, so that it is best written there at once.
    fn wanted_padding(&self, id: NodeId) -> Option<Padded> {
        let node = &self.graph[id];
        let &[reader] = &*self.readers[id.0 as usize] else { return None };
        let times = self.graph[reader].inputs.iter().filter(|&&input| input == id).count();
        let hidden = node.slice_of.is_none() && !self.outputs.contains_key(&id) && times == 1;
        let whole = matches!(node.ty.dtype, DType::U8(_)) && ir::integer::concerns(self.graph, &self.graph[reader]);
        let pointwise = match &self.graph[reader].op {
            Op::Conv(conv) => conv.window.resolve(node.ty.spatial()).expect("verified").is_pointwise(),
            Op::Dense(_) => true,
            _ => false,
        };
        if !hidden || !whole || pointwise || self.graph[reader].operands() != [id] {
            return None;
        }
        let view = self.node_view(reader, vec![Value { ty: &node.ty, layout: Layout::Blocked }]);
        let (chosen, _) = kernels::choose(&view, &self.target);
        tuning::follow(self.choices, &view, &self.target, chosen).0.padded
    }

    /// The kernel of a node, the node before it that the kernel does too, and why others were not taken.
    fn choose(&mut self, id: NodeId) -> (Option<NodeId>, Lowered, Vec<Refusal>) {
        let refusal = match self.pairs.remove(&id) {
            Some((first, Ok(lowered))) => return (Some(first), lowered, Vec::new()),
            Some((_, Err(why))) => Some(Refusal { family: "chain", why }),
            None => None,
        };
        let current = self.graph[id].operands().iter().map(|&i| self.value(i)).collect::<Vec<View>>();
        let padded = self.wanted_padding(id);
        let view = NodeView { padded, ..self.node_view(id, values(&current)) };
        let (chosen, refusals) = kernels::choose(&view, &self.target);
        let (lowered, verdict) = tuning::follow(self.choices, &view, &self.target, chosen);
        let changed = verdict.as_ref().is_some_and(Verdict::changes);
        self.verdicts.extend(verdict.map(|verdict| (id, verdict)));
        let refusals = if changed { Vec::new() } else { refusals };
        (None, lowered, refusal.into_iter().chain(refusals).collect())
    }

    /// Where a node's value is found in the memory of its operand; `None` where it must be made, or must lie elsewhere.
    fn part_of_operand(&self, id: NodeId) -> Option<View> {
        let node = &self.graph[id];
        let operand = self.values[node.operands().first()?.0 as usize].as_ref()?;
        let free = node.epilogue.is_empty() && node.slice_of.is_none();
        if free { views::of(&node.op, &node.ty, operand, self.target.lanes) } else { None }
    }

    /// Leaves a node to the kernel of the only node that reads it, if one kernel is to do both. Whether it did.
    fn chain(&mut self, id: NodeId) -> bool {
        let node = &self.graph[id];
        if matches!(self.pairs.get(&id), Some((_, Ok(_)))) {
            // Its own kernel does two nodes already.
            return false;
        }
        let &[reader] = &*self.readers[id.0 as usize] else { return false };
        let window = match &self.graph[reader].op {
            Op::Conv(conv) => conv.groups > 1,
            op => matches!(op, Op::MaxPool(_) | Op::AvgPool(_)),
        };
        let whole = [id, reader].iter().any(|&id| ir::integer::concerns(self.graph, &self.graph[id]));
        let hidden = !whole && node.slice_of.is_none() && !self.outputs.contains_key(&id);
        if !matches!(node.op, Op::Conv(_)) || !window || !hidden || self.graph[reader].operands() != [id] {
            return false;
        }
        let input = self.value(node.operands()[0]);
        let input = Value { ty: &input.ty, layout: input.layout };
        let between = Value { ty: &node.ty, layout: Layout::Blocked };
        let first = self.node_view(id, vec![input]);
        let second = self.node_view(reader, vec![between]);
        let lowered = kernels::chain::lower_pair(&first, &second, &self.target);
        let chained = lowered.is_ok();
        self.pairs.insert(reader, (id, lowered));
        chained
    }

    /// Where a kernel writes a node's value: into a slice, into an output of the model, or into a buffer of its own.
    fn output_view(&mut self, id: NodeId, kernel: &Kernel, layout: Layout) -> View {
        let node = &self.graph[id];
        if node.slice_of.is_some() && layout == Layout::Blocked {
            return self.slice_view(id);
        }
        let row_major = layout == Layout::Nchw || positions(&node.ty) == 1;
        match self.outputs.get(&id) {
            Some(&index) if row_major && kernel.writes_exactly() && self.readers[id.0 as usize].is_empty() => {
                let buffer = self.add_buffer(Place::Output(index), node.ty.bytes());
                View { buffer, offset: 0, layout: Layout::Nchw, ty: node.ty.clone(), padded: None }
            }
            _ => self.add_padded(&node.ty, layout, kernel.padded()),
        }
    }

    /// Records where a value is, and copies it into its slice if its kernel could not write there.
    fn finish_value(&mut self, id: NodeId, written: View) {
        let node = &self.graph[id];
        let mut view = written;
        if node.slice_of.is_some() && view.layout != Layout::Blocked {
            let slice = self.slice_view(id);
            self.reorder(id, &view, slice.clone(), "into its part of a concatenation");
            view = slice;
        }
        self.values[id.0 as usize] = Some(view);
    }

    /// The part of a concatenation that a node writes.
    fn slice_view(&mut self, id: NodeId) -> View {
        let node = &self.graph[id];
        let slice = node.slice_of.expect("only slices are asked for");
        let whole = self.concat_view(slice.concat);
        let offset = whole.offset + slice.channel * positions(&node.ty) * node.ty.dtype.bytes();
        View { buffer: whole.buffer, offset, layout: Layout::Blocked, ty: node.ty.clone(), padded: None }
    }

    /// Where a concatenation is. It may be part of another one, and that of a third: outer ones are given their memory
    /// first.
    fn concat_view(&mut self, id: NodeId) -> View {
        let outer = |&id: &NodeId| self.graph[id].slice_of.map(|slice| slice.concat);
        let unplaced = std::iter::successors(Some(id), outer).take_while(|id| self.values[id.0 as usize].is_none());
        for id in unplaced.collect::<Vec<_>>().into_iter().rev() {
            let view = match self.graph[id].slice_of {
                Some(_) => self.slice_view(id),
                None => self.add_value(&self.graph[id].ty, Layout::Blocked),
            };
            self.values[id.0 as usize] = Some(view);
        }
        self.value(id)
    }

    /// Copies the operands of a concatenation that were not written in place.
    fn place_concat(&mut self, id: NodeId) {
        let node = &self.graph[id];
        let whole = self.concat_view(id);
        let (mut inputs, mut channels, mut sources, mut first) = (Vec::new(), Vec::new(), Vec::new(), 0);
        for &operand in &node.inputs {
            let count = self.graph[operand].ty.channels();
            let in_place = self.graph[operand].slice_of.is_some_and(|s| s.concat == id);
            if !in_place {
                let from = inputs.len();
                let source = |channel| Some(permute::Source { operand: from, channel });
                sources.extend((0..count).map(|channel| (first + channel, from, channel)));
                channels.extend((0..count).map(|channel| permute::Move::channel(first + channel, source(channel))));
                inputs.push(self.value(operand));
            }
            first += count;
        }
        if inputs.is_empty() {
            return;
        }
        let shape = permute::Shape {
            walk: permute::Walk::all(positions(&node.ty)),
            lanes: self.target.lanes,
            output: whole.layout,
            inputs: inputs.iter().map(|v| v.layout).collect(),
        };
        let kernel = match whole.ty.dtype {
            DType::F32 => permute::Conf::new(shape, channels).into(),
            DType::U8(_) => kernels::integer::copy(&shape.inputs, sources, &value(&whole), &self.target).into(),
            DType::Bf16 => unreachable!("{BF16}"),
        };
        self.push_helper(id, kernel, whole, inputs, vec![], "copies what could not be written in place");
    }

    /// Multiplications of a sample, or bytes that are read and written if these are more.
    fn work(&self, id: NodeId) -> u64 {
        let moved = self.graph[id].inputs.iter().chain([&id]).map(|&id| self.graph[id].ty.bytes() as u64);
        self.graph.macs(id).max(moved.sum())
    }

    /// A step that is not the node itself, but makes something ready for it or its readers.
    fn push_helper(
        &mut self,
        node: NodeId,
        kernel: Kernel,
        output: View,
        inputs: Vec<View>,
        params: Vec<ParamId>,
        purpose: &'static str,
    ) {
        let moved = [&output].into_iter().chain(&inputs).map(|view| view.ty.bytes() as u64);
        let (work, purpose) = (moved.sum(), Some(purpose));
        let (beside, chained, refusals) = (None, None, vec![]);
        self.steps.push(Step {
            node,
            kernel,
            joint: vec![],
            banded: None,
            output,
            inputs,
            beside,
            chained,
            params,
            work,
            least_split: split_work(self.target.lanes),
            purpose,
            refusals,
        });
    }

    /// A node's value in a layout, copied if need be.
    fn in_layout(&mut self, id: NodeId, layout: Layout) -> View {
        let value = self.value(id);
        if value.layout == layout || self.same_memory(&value, layout) {
            return value;
        }
        if let Some(copy) = self.reordered.get(&(id, layout)) {
            return copy.clone();
        }
        let copy = self.add_value(&value.ty, layout);
        self.reorder(id, &value, copy.clone(), "changes the layout");
        self.reordered.insert((id, layout), copy.clone());
        copy
    }

    /// One position has the same order in both layouts, but only values in the arena have the padding that `Blocked`
    /// promises.
    fn same_memory(&self, value: &View, layout: Layout) -> bool {
        let in_arena = matches!(self.buffers[value.buffer.0].place, Place::Arena(_));
        positions(&value.ty) == 1 && (layout == Layout::Nchw || in_arena)
    }

    fn reorder(&mut self, id: NodeId, from: &View, to: View, purpose: &'static str) {
        let kernel = match from.ty.dtype {
            DType::F32 => permute::Conf::reorder(&value(from), to.layout, self.target.lanes).into(),
            DType::U8(_) => {
                let channels = (0..from.ty.channels()).map(|channel| (channel, 0, channel)).collect();
                kernels::integer::copy(&[from.layout], channels, &value(&to), &self.target).into()
            }
            DType::Bf16 => unreachable!("{BF16}"),
        };
        self.push_helper(id, kernel, to, vec![from.clone()], vec![], purpose);
    }

    /// Rearranges the channels of a grouped convolution's input.
    fn spread(&mut self, id: NodeId, input: &View, channels: Vec<permute::Source>) -> View {
        let ty = input.ty.with_dims([&[channels.len()], input.ty.spatial()].concat());
        let output = self.add_value(&ty, Layout::Blocked);
        let moves = channels.iter().enumerate().map(|(to, &from)| permute::Move::channel(to, Some(from)));
        let shape = permute::Shape {
            walk: permute::Walk::all(positions(&ty)),
            lanes: self.target.lanes,
            output: Layout::Blocked,
            inputs: vec![input.layout],
        };
        let kernel = permute::Conf::new(shape, moves.collect()).into();
        let purpose = "gives each lane the input channels of its group";
        self.push_helper(id, kernel, output.clone(), vec![input.clone()], vec![], purpose);
        output
    }

    /// Puts numbers that stand for 0 around the input of a convolution on whole numbers.
    fn pad(&mut self, id: NodeId, input: &View, padded: Padded) -> View {
        let output = self.add_padded(&input.ty, Layout::Blocked, Some(padded));
        let kernel = kernels::integer::pad(&input.ty, padded, &self.target).into();
        let purpose = "puts zeros around the input";
        self.push_helper(id, kernel, output.clone(), vec![input.clone()], vec![], purpose);
        output
    }

    /// A convolution's packed weights times the gate of each sample.
    fn scale_weights(&mut self, id: NodeId, conf: &kernels::conv::Conf, gate: NodeId, weights: ParamId) -> View {
        let code = kernels::scale::Code { conv: conf.code.clone() };
        let gate = self.in_layout(gate, Layout::Nchw);
        let ty = gate.ty.with_dims(vec![code.elements()]);
        let output = self.add_value(&ty, Layout::Nchw);
        let purpose = "multiplies the weights by the gate";
        self.push_helper(
            id,
            kernels::Conf { code, tables: () }.into(),
            output.clone(),
            vec![gate],
            vec![weights],
            purpose,
        );
        output
    }

    /// The type that an input has for the caller.
    fn taken(&self, input: NodeId, edges: Edges) -> TensorType {
        let ty = &self.graph[input].ty;
        match (edges, self.readers[input.0 as usize].as_slice()) {
            (Edges::Whole, &[reader]) if !self.outputs.contains_key(&input) => match self.graph[reader].op {
                Op::Convert(_) if self.graph[reader].ty.dtype.is_whole() => ty.with_dtype(self.graph[reader].ty.dtype),
                _ => ty.clone(),
            },
            _ => ty.clone(),
        }
    }

    /// Sees to it that the value of a node is written row-major into the caller's memory for an output of the model.
    fn place_output(&mut self, index: usize, id: NodeId) -> View {
        let value = self.value(id);
        if self.buffers[value.buffer.0].place == Place::Output(index) {
            return value;
        }
        let buffer = self.add_buffer(Place::Output(index), value.ty.bytes());
        let output = View { buffer, offset: 0, layout: Layout::Nchw, ty: value.ty.clone(), padded: None };
        self.reorder(id, &value, output.clone(), "writes an output of the model");
        output
    }
}

/// The node whose value each output of the model gives.
fn given(graph: &Graph, edges: Edges) -> Vec<NodeId> {
    let node = |id: NodeId| match graph[id].op {
        Op::Convert(_) if edges == Edges::Whole => graph[id].inputs[0],
        _ => id,
    };
    graph.outputs.iter().map(|output| node(output.node)).collect()
}

/// The outputs of the model by the node that each gives, the first where it is several.
fn first_outputs(given: &[NodeId]) -> HashMap<NodeId, usize> {
    given.iter().enumerate().rev().map(|(index, &id)| (id, index)).collect()
}

/// What is made beside the values of other nodes, by those.
fn means(graph: &Graph) -> HashMap<NodeId, NodeId> {
    graph.ids().filter(|&id| graph[id].beside).map(|id| (graph[id].inputs[0], id)).collect()
}

/// A node with its operands where they are. `mean`: its kernel makes the mean of its value too.
pub fn node_view<'a>(graph: &'a Graph, id: NodeId, inputs: Vec<Value<'a>>, mean: bool) -> NodeView<'a> {
    let node = &graph[id];
    let integer = ir::integer::of(graph, node).expect("verified");
    NodeView {
        op: &node.op,
        inputs,
        output: &node.ty,
        gated: node.gated,
        mean,
        // On whole numbers, what is fused is part of that.
        epilogue: kernels::epilogue::Epilogue::new(if integer.is_some() { &[] } else { &node.epilogue }),
        integer,
        half: node.params.first().and_then(|&weight| graph[weight].half()),
        weights: node.params.first().and_then(|&weight| graph[weight].weights_i8()).map(|(weights, _)| weights),
        padded: None,
    }
}

/// Values as kernels see them.
pub fn values(views: &[View]) -> Vec<Value<'_>> {
    views.iter().map(value).collect()
}

fn value(view: &View) -> Value<'_> {
    Value { ty: &view.ty, layout: view.layout }
}

fn positions(ty: &TensorType) -> usize {
    ty.spatial().iter().product()
}

/// From the first step that writes a buffer to the last step that touches it.
fn set_lifetimes(buffers: &mut [Buffer], steps: &[Step]) {
    for (index, step) in steps.iter().enumerate() {
        for view in step.views() {
            let live = &mut buffers[view.buffer.0].live;
            *live = (live.0.min(index), live.1.max(index));
        }
    }
}
