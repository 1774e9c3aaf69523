//! Moves whole channels between values and layouts: layout conversion, concatenation of what could not be written
//! in place, channel shuffle, zero channels, the spread input of small groups.
//!
//! A task moves some positions of a group of channels that lie together in the output, so that their memory stays in
//! the nearest cache meanwhile: whole vectors where the order allows it, else one element after the other.

use super::nest::{self, KernelNest};
use super::{Constant, Family, Layout, Lowered, NodeView, Target, Value};
use crate::codegen::vector::{R, V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa, NestBuilder};
use crate::ir::weights::Values;
use crate::layers::Op;
use std::fmt;

/// Where a channel of the output comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Source {
    pub operand: usize,
    pub channel: usize,
}

/// One channel of the output and what it becomes; `None` is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Move {
    pub to: usize,
    pub from: Option<Source>,
}

/// Every decision about one permutation that its code depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub shape: Shape,
    /// The kinds of entries in the table, each once.
    pub kinds: Vec<Kind>,
    /// Groups of channels.
    pub groups: usize,
}

/// Operands and output of a permutation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    pub positions: usize,
    pub lanes: usize,
    pub output: Layout,
    /// Layout of each operand.
    pub inputs: Vec<Layout>,
}

/// Which channels go where.
#[derive(Clone, PartialEq, Hash)]
pub struct Tables {
    /// Channels of the output that are written.
    pub channels: Vec<Move>,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} channels", self.channels.len())
    }
}

pub type Conf = super::Conf<Code>;

/// Makes the conf of a layer that only moves channels.
///
/// # Errors
/// Why this kernel cannot do it.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, String> {
    let source = |channel| Some(Source { operand: 0, channel });
    let inputs: Vec<Layout> = node.inputs.iter().map(|v| v.layout).collect();
    let positions = node.output.spatial().iter().product();
    let shape = Shape { positions, lanes: target.lanes, output: Layout::Blocked, inputs };
    let conf = match node.op {
        Op::ChannelShuffle(shuffle) => {
            let channels = node.output.channels();
            Conf::new(shape, moves((0..channels).map(|c| source(shuffle.source(c, channels)))))
        }
        Op::ChannelSlice(slice) => Conf::new(shape, moves(slice.channels.clone().map(source))),
        Op::Pad(pad) => {
            let (front, back) = pad.channels;
            if node.inputs[0].positions() != shape.positions {
                return Err("pads positions too".into());
            }
            let middle = (0..node.inputs[0].channels()).map(source);
            let zeros = |n| std::iter::repeat_n(None, n);
            Conf::new(shape, moves(zeros(front).chain(middle).chain(zeros(back))))
        }
        Op::Flatten(_) => {
            // The output is the row-major input: its channels are the elements.
            Conf::reorder(&node.inputs[0], Layout::Nchw, target.lanes)
        }
        _ => return Err("moves more than channels".into()),
    };
    if node.epilogue != Default::default() {
        return Err("has no epilogue".into());
    }
    let Shape { inputs, output, .. } = conf.code.shape.clone();
    Ok(Lowered { inputs, output, kernel: conf.into(), spread: None })
}

/// The channels of the output in order.
fn moves(sources: impl Iterator<Item = Option<Source>>) -> Vec<Move> {
    sources.enumerate().map(|(to, from)| Move { to, from }).collect()
}

impl Conf {
    pub fn new(shape: Shape, channels: Vec<Move>) -> Conf {
        let mut kinds = Vec::new();
        let groups = groups(&channels, shape.lanes);
        for entry in groups.clone().flat_map(|group| shape.entries(group)) {
            if !kinds.contains(&entry.kind) {
                kinds.push(entry.kind);
            }
        }
        let groups = groups.count();
        Conf { code: Code { shape, kinds, groups }, tables: Tables { channels } }
    }

    /// Copies a value into another layout.
    pub fn reorder(value: &Value, output: Layout, lanes: usize) -> Conf {
        let shape = Shape { positions: value.positions(), lanes, output, inputs: vec![value.layout] };
        Conf::new(shape, moves((0..value.channels()).map(|channel| Some(Source { operand: 0, channel }))))
    }
}

/// The moves in groups: those of a block of channels of the output.
fn groups(channels: &[Move], lanes: usize) -> impl Iterator<Item = &[Move]> + Clone {
    channels.chunk_by(move |a, b| a.to / lanes == b.to / lanes)
}

impl Shape {
    /// Byte offset of a channel's first element, and bytes from one position to the next.
    pub(crate) fn place(&self, layout: Layout, channel: usize) -> (i64, i64) {
        match layout {
            Layout::Nchw => ((channel * self.positions * 4) as i64, 4),
            Layout::Blocked => {
                let (block, lane) = (channel / self.lanes, channel % self.lanes);
                (((block * self.positions * self.lanes + lane) * 4) as i64, (self.lanes * 4) as i64)
            }
        }
    }

    /// Tasks of a group of channels.
    pub(crate) fn chunks(&self) -> usize {
        self.positions.div_ceil(CHUNK)
    }

    /// What the calls of a group's tiles do.
    fn entries(&self, group: &[Move]) -> Vec<Entry> {
        if let Some(source) = self.whole_block(group) {
            let (input, output) =
                (self.place(Layout::Blocked, source.channel).0, self.place(self.output, group[0].to).0);
            return vec![Entry { kind: Kind::Vectors, operand: source.operand + 1, input, output }];
        }
        let entry = |&Move { to, from }: &Move| {
            let output = self.place(self.output, to).0;
            match from {
                None => Entry { kind: Kind::Zero, operand: 0, input: output, output },
                Some(Source { operand, channel }) => {
                    let layout = self.inputs[operand];
                    let (operand, input) = (operand + 1, self.place(layout, channel).0);
                    Entry { kind: Kind::Channel(layout), operand, input, output }
                }
            }
        };
        group.iter().map(entry).collect()
    }

    /// The first source of a group that is a block of one operand as it is.
    fn whole_block(&self, group: &[Move]) -> Option<Source> {
        let first = group[0].from?;
        let as_it_is = |(index, Move { to, from }): (usize, &Move)| {
            let source = Source { channel: first.channel + index, ..first };
            to % self.lanes == index && *from == Some(source)
        };
        let blocked = self.output == Layout::Blocked && self.inputs[first.operand] == Layout::Blocked;
        let whole = group.len() == self.lanes && first.channel.is_multiple_of(self.lanes);
        (blocked && whole && group.iter().enumerate().all(as_it_is)).then_some(first)
    }

    /// Bytes from one position to the next, of the input and of the output.
    pub(crate) fn steps(&self, kind: Kind) -> (i64, i64) {
        let step = |layout| self.place(layout, 0).1;
        match kind {
            Kind::Vectors => (step(Layout::Blocked), step(Layout::Blocked)),
            Kind::Zero => (step(self.output), step(self.output)),
            Kind::Channel(layout) => (step(layout), step(self.output)),
        }
    }
}

impl Code {
    /// For each group, where its entries begin, and one more such word; then the entries, of [`ENTRY_WORDS`] each:
    /// index of the kind, bytes of the operand in the array of operands, byte offset and step of the input, byte offset
    /// of the output.
    fn table(&self, Tables { channels }: &Tables) -> Vec<i64> {
        let (mut starts, mut entries) = (Vec::new(), Vec::new());
        let head = (self.groups + 1) * 8;
        for group in groups(channels, self.shape.lanes) {
            starts.push((head + entries.len() * 8) as i64);
            for Entry { kind, operand, input, output } in self.shape.entries(group) {
                let index = self.kinds.iter().position(|&k| k == kind).expect("one of the kinds");
                entries.extend([index as i64, operand as i64 * 16, input, self.shape.steps(kind).0, output]);
            }
        }
        starts.push((head + entries.len() * 8) as i64);
        starts.extend(entries);
        starts
    }
}

/// Positions of a task. With a block of channels of input and output they fill a part of the nearest cache.
pub(crate) const CHUNK: usize = 128;

/// How a tile moves some positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A channel, from this layout.
    Channel(Layout),
    /// Zeros into a channel.
    Zero,
    /// All channels of a block.
    Vectors,
}

/// One call of a tile.
struct Entry {
    kind: Kind,
    /// Index in the kernel's operands.
    operand: usize,
    /// Byte offsets.
    input: i64,
    output: i64,
}

/// Words of an entry in the table.
pub(crate) const ENTRY_WORDS: usize = 5;

impl Family for Code {
    type Tables = Tables;

    fn name(&self) -> String {
        format!("permute_f32_{}c", self.shape.lanes)
    }

    fn tasks(&self) -> usize {
        self.groups * self.shape.chunks()
    }

    fn constants<'a>(&'a self, tables: &'a Tables, _params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        vec![Constant::I64(self.table(tables))]
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let tiles = self.kinds.iter().enumerate().map(|(index, &kind)| {
            module.define_tile(&format!("{name}_tile{index}"), isa, 4, &mut |asm| self.emit(asm, kind))
        });
        let tiles = tiles.collect::<Result<Vec<FuncId>, CodeError>>()?;
        nest::define(name, module, |nest| self.generate_nest(nest, &tiles))
    }
}

impl Code {
    fn generate_nest(&self, nest: &mut NestBuilder, tiles: &[FuncId]) {
        let Shape { positions, lanes, output, .. } = self.shape;
        let out_step = self.shape.place(output, 0).1;
        nest.for_tasks(self.tasks(), |nest, sample, task| {
            let chunks = self.shape.chunks() as i64;
            let (group, chunk) = (nest.div_imm(task, chunks), nest.rem_imm(task, chunks));
            let position = nest.mul_imm(chunk, CHUNK as i64);
            let left = nest.mul_imm(position, -1);
            let left = nest.add_imm(left, positions as i64);
            let most = nest.iconst(CHUNK as i64);
            let count = nest.smin(left, most);
            let (passes, rest) = (nest.div_imm(count, lanes as i64), nest.rem_imm(count, lanes as i64));
            let out = nest.sample_pointer(0, sample);
            let out = nest.offset_by(out, position, out_step);
            let table = nest.constant_pointer(self.shape.inputs.len() + 1);
            let starts = nest.offset_by(table, group, 8);
            let [begin, end] = [0, 8].map(|offset| {
                let start = nest.load(starts, offset);
                nest.add(table, start)
            });
            nest.for_range_step(begin, end, ENTRY_WORDS as i64 * 8, |nest, entry| {
                let [kind, operand, input_offset, step, out_offset] = [0, 8, 16, 24, 32].map(|at| nest.load(entry, at));
                let operands = nest.arg(0);
                let operand = nest.add(operands, operand);
                let (data, stride) = (nest.load(operand, 0), nest.load(operand, 8));
                let input = [(sample, stride), (position, step)].into_iter().fold(data, |input, (index, bytes)| {
                    let offset = nest.mul(index, bytes);
                    nest.add(input, offset)
                });
                let input = nest.add(input, input_offset);
                let out = nest.add(out, out_offset);
                nest::call_one_of(nest, kind, tiles, &[input, out, passes, rest]);
            });
        });
    }

    /// Emits the tile `(input, output, passes, rest)`: as many times a vector's lanes of positions, then single ones.
    fn emit(&self, asm: &mut dyn VectorAsm, kind: Kind) {
        let x = asm.vec();
        if kind == Kind::Zero {
            asm.splat(x, 0.0);
        }
        let (passes, rest) = (asm.arg(2), asm.arg(3));
        self.emit_loop(asm, kind, self.shape.lanes, passes, x);
        self.emit_loop(asm, kind, 1, rest, x);
    }

    /// As many times as `count` says, `positions` positions.
    fn emit_loop(&self, asm: &mut dyn VectorAsm, kind: Kind, positions: usize, count: R, x: V) {
        let (input, out) = (asm.arg(0), asm.arg(1));
        let (step, out_step) = self.shape.steps(kind);
        let any = asm.if_nonzero(count);
        let looped = asm.loop_begin(count);
        if (step, out_step) == (4, 4) && positions == self.shape.lanes {
            if kind != Kind::Zero {
                asm.load(x, input.at(0));
            }
            asm.store(out.at(0), x);
        } else {
            for position in 0..positions as i64 {
                let (from, to) = (input.at(position * step), out.at(position * out_step));
                match kind {
                    Kind::Zero => asm.store_first(to, x, 1),
                    Kind::Channel(_) => asm.copy_word(to, from),
                    Kind::Vectors => {
                        asm.load(x, from);
                        asm.store(to, x);
                    }
                }
            }
        }
        asm.add_imm(input, positions as i64 * step);
        asm.add_imm(out, positions as i64 * out_step);
        asm.loop_end(looped);
        asm.end_if(any);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_blocks_move_as_vectors() {
        let channels = |first: usize| (0..8).map(move |i| Some(Source { operand: 0, channel: first + i }));
        let kinds = |sources: Vec<Option<Source>>, output| {
            let shape = Shape { positions: 5, lanes: 8, output, inputs: vec![Layout::Blocked] };
            Conf::new(shape, moves(sources.into_iter())).code.kinds
        };
        let (vectors, elements) = (Kind::Vectors, Kind::Channel(Layout::Blocked));
        assert_eq!(kinds(channels(8).collect(), Layout::Blocked), [vectors]);
        assert_eq!(kinds(channels(4).collect(), Layout::Blocked), [elements], "from two blocks");
        assert_eq!(kinds(channels(8).collect(), Layout::Nchw), [elements], "into planes");
        assert_eq!(kinds(channels(8).rev().collect(), Layout::Blocked), [elements], "in another order");
        assert_eq!(kinds(channels(8).take(7).collect(), Layout::Blocked), [elements], "a part of a block");
        let zeros = channels(8).take(4).chain([None; 4]).collect();
        assert_eq!(kinds(zeros, Layout::Blocked), [elements, Kind::Zero]);
    }
}
