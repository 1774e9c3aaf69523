//! Moves channels between values, layouts and grids of positions: layout conversion, concatenation of what could not be
//! written in place, channel shuffle, zero channels, the spread input of small groups; positions that become channels,
//! and the other way; dimensions in another order.
//!
//! A task moves a row of positions of a group of channels that lie together in the output, so that their memory stays in
//! the nearest cache meanwhile: whole vectors where the order allows it, else one element after the other.

use super::bands::{Descent, Planes, Unit, parts};
use super::nest::{self, KernelNest};
use super::{Constant, Family, Layout, Lowered, NodeView, Target, Value, Why};
use crate::codegen::vector::{R, V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa, NestBuilder};
use crate::ir::weights::Values;
use crate::layers::{BlockOrder, Op, block_places};
use crate::tensor::TensorType;
use std::fmt;
use std::ops::Range;

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
    /// The first position that is read, and the first that is written.
    pub first: [usize; 2],
    /// Elements that lie side by side in input and output, and are moved together.
    pub run: usize,
}

impl Move {
    /// From the first position on.
    pub fn channel(to: usize, from: Option<Source>) -> Move {
        Move { to, from, first: [0, 0], run: 1 }
    }
}

/// Which positions each move takes, from its first ones on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Walk {
    /// All of them.
    pub count: usize,
    /// Those of a row; the last row may be shorter.
    pub row: usize,
    pub read: Steps,
    pub written: Steps,
}

/// Positions of a row where rows are not those of a grid: with a block of channels of input and output they fill a part of
/// the nearest cache.
const ROW: usize = 128;

/// How a walk goes through the positions of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Steps {
    /// Positions of a channel.
    pub positions: usize,
    /// From one position of a row to the next.
    pub column: usize,
    /// From one row to the next.
    pub row: usize,
}

impl Walk {
    /// All positions as they are.
    pub fn all(positions: usize) -> Walk {
        let steps = Steps { positions, column: 1, row: ROW };
        Walk { count: positions, row: ROW, read: steps, written: steps }
    }
}

/// Every decision about one permutation that its code depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub shape: Shape,
    /// The kinds of entries in the table, each once.
    pub kinds: Vec<Kind>,
    /// Groups of channels.
    pub groups: usize,
    /// Tasks follow each other row by row, not group by group: see [`super::bands`].
    pub by_rows: bool,
}

/// Operands and output of a permutation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    pub walk: Walk,
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
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, Why> {
    let source = |channel| Some(Source { operand: 0, channel });
    let inputs: Vec<Layout> = node.inputs.iter().map(|v| v.layout).collect();
    let positions = node.output.spatial().iter().product();
    let shape = Shape { walk: Walk::all(positions), lanes: target.lanes, output: Layout::Blocked, inputs };
    let conf = match node.op {
        Op::ChannelShuffle(shuffle) => {
            let channels = node.output.channels();
            Conf::new(shape, moves((0..channels).map(|c| source(shuffle.source(c, channels)))))
        }
        Op::ChannelSlice(slice) => Conf::new(shape, moves(slice.channels.clone().map(source))),
        Op::Pad(pad) => {
            let (front, back) = pad.channels;
            if node.inputs[0].positions() != positions {
                return Err("pads positions too".into());
            }
            let middle = (0..node.inputs[0].channels()).map(source);
            let zeros = |n| std::iter::repeat_n(None, n);
            Conf::new(shape, moves(zeros(front).chain(middle).chain(zeros(back))))
        }
        Op::DepthToSpace(layer) => {
            let grid = Grid { coarse: node.inputs[0].ty, fine: node.output, way: Way::ToFine };
            grid.conf(shape, &layer.block, grid.blocks(&layer.block, layer.order))
        }
        Op::SpaceToDepth(layer) => {
            let grid = Grid { coarse: node.output, fine: node.inputs[0].ty, way: Way::ToCoarse };
            grid.conf(shape, &layer.block, grid.blocks(&layer.block, layer.order))
        }
        Op::Subsample(layer) => {
            let [step, at] = layer.per_dim(node.output.spatial().len()).expect("verified");
            let grid = Grid { coarse: node.output, fine: node.inputs[0].ty, way: Way::ToCoarse };
            grid.conf(shape, &step, (0..node.output.channels()).map(|c| (c, c, at.clone())).collect())
        }
        Op::Permute(permute) => {
            let turn = Turn { input: &node.inputs[0].ty.dims, sources: permute.sources() };
            turn.conf(shape)
        }
        // The input is the row-major output.
        Op::Unflatten(_) => {
            Conf::reorder(&Value { ty: node.output, layout: Layout::Nchw }, Layout::Blocked, target.lanes)
        }
        Op::Flatten(_) => {
            // The output is the row-major input: its channels are the elements.
            Conf::reorder(&node.inputs[0], Layout::Nchw, target.lanes)
        }
        _ => return Err("moves more than channels".into()),
    };
    if node.epilogue != Default::default() {
        return Err(Why::unfit("has no epilogue"));
    }
    let Shape { inputs, output, .. } = conf.code.shape.clone();
    Ok(Lowered { inputs, output, kernel: conf.into(), spread: None, padded: None })
}

/// Every position of a coarse grid is one of a fine one, in which they lie some steps apart.
struct Grid<'a> {
    coarse: &'a TensorType,
    fine: &'a TensorType,
    way: Way,
}

/// From the positions of which grid to those of which.
#[derive(Clone, Copy)]
enum Way {
    ToFine,
    ToCoarse,
}

impl Grid<'_> {
    /// `step`: in the fine grid, for each dimension or for all. `pairs`: a channel of the coarse grid, the channel of the
    /// fine grid that has the same values, and where the first of them is there.
    fn conf(&self, shape: Shape, step: &[usize], pairs: Vec<(usize, usize, Vec<usize>)>) -> Conf {
        // Where there is one position, nobody goes from one to the next.
        let sizes = self.coarse.spatial().iter().enumerate();
        let step: Vec<usize> = sizes.map(|(d, &size)| if size == 1 { 1 } else { of_dim(step, d) }).collect();
        let planes = self.planes(&step);
        let of_pair = |(coarse, fine, at): &(usize, usize, Vec<usize>)| {
            let (coarse, fine, at) = (*coarse, *fine, index(at, self.fine.spatial()));
            let source = |channel| Some(Source { operand: 0, channel });
            planes.iter().map(move |plane| match self.way {
                Way::ToFine => Move { to: fine, from: source(coarse), first: [plane[0], plane[1] + at], run: 1 },
                Way::ToCoarse => Move { to: coarse, from: source(fine), first: [plane[1] + at, plane[0]], run: 1 },
            })
        };
        let mut moves: Vec<Move> = pairs.iter().flat_map(of_pair).collect();
        moves.sort_by_key(|&Move { to, first, .. }| (to / shape.lanes, first, to));
        let channels = if let Way::ToFine = self.way { self.fine } else { self.coarse }.channels();
        // Blocks of few channels would be empty for the most part.
        let output = if channels < shape.lanes { Layout::Nchw } else { Layout::Blocked };
        Conf::new(Shape { walk: self.walk(&step), output, ..shape }, moves)
    }

    /// Through the last two dimensions.
    fn walk(&self, step: &[usize]) -> Walk {
        let (coarse, fine) = (self.coarse.spatial(), self.fine.spatial());
        let last = coarse.len() - 1;
        let (count, row, fine_row) = match last.checked_sub(1) {
            None => (coarse[0], ROW, ROW * step[0]),
            Some(rows) => (coarse[rows] * coarse[last], coarse[last], step[rows] * fine[last]),
        };
        let coarse = Steps { positions: coarse.iter().product(), column: 1, row };
        let fine = Steps { positions: fine.iter().product(), column: step[last], row: fine_row };
        match self.way {
            Way::ToFine => Walk { count, row, read: coarse, written: fine },
            Way::ToCoarse => Walk { count, row, read: fine, written: coarse },
        }
    }

    /// In both grids, where each plane of the last two dimensions begins.
    fn planes(&self, step: &[usize]) -> Vec<[usize; 2]> {
        let (coarse, fine) = (self.coarse.spatial(), self.fine.spatial());
        let outer = coarse.len().saturating_sub(2);
        let begin = vec![[0, 0]];
        let planes = (0..outer).fold(begin, |planes, d| {
            let next = |[c, f]: [usize; 2]| (0..coarse[d]).map(move |i| [c * coarse[d] + i, f * fine[d] + i * step[d]]);
            planes.into_iter().flat_map(next).collect()
        });
        let [size, fine_size] = [coarse, fine].map(|sizes| sizes[outer..].iter().product::<usize>());
        planes.into_iter().map(|[c, f]| [c * size, f * fine_size]).collect()
    }

    /// The channels of places in blocks, with those of the fine grid.
    fn blocks(&self, block: &[usize], order: BlockOrder) -> Vec<(usize, usize, Vec<usize>)> {
        let block: Vec<usize> = (0..self.fine.spatial().len()).map(|d| of_dim(block, d)).collect();
        let places: Vec<Vec<usize>> = block_places(&block).collect();
        let channels = self.fine.channels();
        let of_channel = |c: usize| {
            let count = places.len();
            let places = places.iter().enumerate();
            places.map(move |(b, at)| (order.channel((c, channels), (b, count)), c, at.clone()))
        };
        (0..channels).flat_map(of_channel).collect()
    }
}

/// A sample's dimensions in another order.
struct Turn<'a> {
    input: &'a [usize],
    /// For each dimension of the output that of the input.
    sources: Vec<usize>,
}

impl Turn<'_> {
    /// A move for each channel of the output, and for each place of what is not walked: the channels of the input, where
    /// they become positions, and outer dimensions. Layouts are such that what moves lies side by side, where it can.
    fn conf(&self, shape: Shape) -> Conf {
        let (dims, lanes) = (self.sources.len(), shape.lanes);
        let (blocked, rows) = (Layout::Blocked, Layout::Nchw);
        // The dimension of the output of which a block is moved at once.
        let (input, output, run) = match (self.sources[0], self.sources[dims - 1]) {
            (0, _) if self.size(0) >= lanes => (blocked, blocked, Some(0)),
            (_, 0) => (blocked, rows, Some(dims - 1)),
            (first, _) if first == dims - 1 => (rows, blocked, Some(0)),
            _ => (rows, rows, None),
        };
        // Those of positions in both, of which the last two are walked.
        let inner: Vec<usize> = (1..dims).filter(|&dim| self.sources[dim] != 0).collect();
        let walked = &inner[inner.len().saturating_sub(2)..];
        let outer = (0..dims).filter(|dim| !walked.contains(dim));
        let places = outer.fold(vec![vec![0; dims]], |places, dim| {
            let step = if run == Some(dim) { lanes } else { 1 };
            let each = |at: Vec<usize>| {
                (0..self.size(dim)).step_by(step).map(move |i| [&at[..dim], &[i], &at[dim + 1..]].concat())
            };
            places.into_iter().flat_map(each).collect()
        });
        let length = |at: &[usize]| run.map_or(1, |dim| lanes.min(self.size(dim) - at[dim]));
        let mut moves: Vec<Move> = places.iter().map(|at| Move { run: length(at), ..self.of_place(at) }).collect();
        moves.sort_by_key(|&Move { to, first, .. }| (to / lanes, first, to));
        Conf::new(Shape { walk: self.walk(walked), output, inputs: vec![input], ..shape }, moves)
    }

    /// The size of a dimension of the output.
    fn size(&self, dim: usize) -> usize {
        self.input[self.sources[dim]]
    }

    fn of_place(&self, at: &[usize]) -> Move {
        let mut own = vec![0; at.len()];
        at.iter().zip(&self.sources).for_each(|(&place, &dim)| own[dim] = place);
        let out: Vec<usize> = (0..at.len()).map(|dim| self.size(dim)).collect();
        let first = [index(&own[1..], &self.input[1..]), index(&at[1..], &out[1..])];
        Move { to: at[0], from: Some(Source { operand: 0, channel: own[0] }), first, run: 1 }
    }

    /// Through up to two dimensions of the output.
    fn walk(&self, walked: &[usize]) -> Walk {
        let sizes: Vec<usize> = (0..self.sources.len()).map(|dim| self.size(dim)).collect();
        let stride = |sizes: &[usize], dim: usize| sizes[dim + 1..].iter().product::<usize>();
        let positions = |sizes: &[usize]| sizes[1..].iter().product::<usize>();
        let steps = |sizes: &[usize], strides: &[usize]| match *strides {
            [row, column] => Steps { positions: positions(sizes), column, row },
            [column] => Steps { positions: positions(sizes), column, row: ROW * column },
            _ => Steps { positions: positions(sizes), column: 1, row: ROW },
        };
        let read: Vec<usize> = walked.iter().map(|&dim| stride(self.input, self.sources[dim])).collect();
        let written: Vec<usize> = walked.iter().map(|&dim| stride(&sizes, dim)).collect();
        let count = walked.iter().map(|&dim| sizes[dim]).product();
        let row = if let [_, last] = *walked { sizes[last] } else { ROW };
        Walk { count, row, read: steps(self.input, &read), written: steps(&sizes, &written) }
    }
}

/// The value of a dimension, of one for each or of one for all.
fn of_dim(values: &[usize], dim: usize) -> usize {
    values.get(dim).copied().unwrap_or(values[0])
}

/// The row-major index of coordinates.
fn index(at: &[usize], sizes: &[usize]) -> usize {
    at.iter().zip(sizes).fold(0, |index, (at, size)| index * size + at)
}

/// The channels of the output in order.
fn moves(sources: impl Iterator<Item = Option<Source>>) -> Vec<Move> {
    sources.enumerate().map(|(to, from)| Move::channel(to, from)).collect()
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
        Conf { code: Code { shape, kinds, groups, by_rows: false }, tables: Tables { channels } }
    }

    /// See [`super::Kernel::banded`].
    pub(super) fn banded(&self, planes: Planes) -> Option<Conf> {
        let Code { shape, kinds, groups, .. } = &self.code;
        let from_begin = self.tables.channels.iter().all(|channel| channel.first == [0, 0] && channel.run == 1);
        let Walk { row, read, written, .. } = shape.walk;
        let straight = [read, written].iter().all(|steps| (steps.column, steps.row) == (1, ROW)) && row == ROW;
        let steps = |positions: usize, steps: Steps| Steps { positions, ..steps };
        let (read, written) = (steps(planes.input, read), steps(planes.output, written));
        let shape = Shape { walk: Walk { read, written, ..shape.walk }, ..shape.clone() };
        let code = Code { shape, kinds: kinds.clone(), groups: *groups, by_rows: true };
        (from_begin && straight).then(|| Conf { code, tables: self.tables.clone() })
    }

    /// Copies a value into another layout.
    pub fn reorder(value: &Value, output: Layout, lanes: usize) -> Conf {
        let shape = Shape { walk: Walk::all(value.positions()), lanes, output, inputs: vec![value.layout] };
        Conf::new(shape, moves((0..value.channels()).map(|channel| Some(Source { operand: 0, channel }))))
    }
}

/// The moves in groups: those of a block of channels of the output.
fn groups(channels: &[Move], lanes: usize) -> impl Iterator<Item = &[Move]> + Clone {
    channels.chunk_by(move |a, b| a.to / lanes == b.to / lanes)
}

impl Shape {
    /// Bytes from one position to the next.
    fn step(&self, layout: Layout) -> i64 {
        match layout {
            Layout::Nchw => 4,
            Layout::Blocked => (self.lanes * 4) as i64,
        }
    }

    /// Byte offset of a position of a channel.
    fn place(&self, layout: Layout, channel: usize, position: usize, positions: usize) -> i64 {
        let of_channel = match layout {
            Layout::Nchw => channel * positions * 4,
            Layout::Blocked => (channel / self.lanes * positions * self.lanes + channel % self.lanes) * 4,
        };
        of_channel as i64 + position as i64 * self.step(layout)
    }

    /// Rows of a walk: the tasks of a group of channels.
    pub(crate) fn rows(&self) -> usize {
        self.walk.count.div_ceil(self.walk.row)
    }

    /// Bytes from one row of the output to the next.
    pub(crate) fn out_row(&self) -> i64 {
        self.walk.written.row as i64 * self.step(self.output)
    }

    /// What the calls of a group's tiles do.
    fn entries(&self, group: &[Move]) -> Vec<Entry> {
        group.chunk_by(|a, b| a.first == b.first).flat_map(|part| self.entries_of_part(part)).collect()
    }

    /// The same for moves from one first position to another.
    fn entries_of_part(&self, part: &[Move]) -> Vec<Entry> {
        let [read, written] = part[0].first;
        let input = |layout, channel| self.place(layout, channel, read, self.walk.read.positions);
        let output = |channel| self.place(self.output, channel, written, self.walk.written.positions);
        if let Some(Source { operand, channel }) = self.whole_block(part) {
            let (input, output) = (input(Layout::Blocked, channel), output(part[0].to));
            return vec![Entry { kind: Kind::Vectors, operand: operand + 1, input, output }];
        }
        let entry = |&Move { to, from, run, .. }: &Move| match from {
            None => Entry { kind: Kind::Zero, operand: 0, input: output(to), output: output(to) },
            Some(Source { operand, channel }) => {
                let layout = self.inputs[operand];
                let input = input(layout, channel);
                let kind = if run == 1 { Kind::Channel(layout) } else { Kind::Run(layout, run) };
                Entry { kind, operand: operand + 1, input, output: output(to) }
            }
        };
        part.iter().map(entry).collect()
    }

    /// The first source of moves that take a block of one operand as it is.
    fn whole_block(&self, group: &[Move]) -> Option<Source> {
        let first = group[0].from?;
        let as_it_is = |(index, Move { to, from, .. }): (usize, &Move)| {
            let source = Source { channel: first.channel + index, ..first };
            to % self.lanes == index && *from == Some(source)
        };
        let blocked = self.output == Layout::Blocked && self.inputs[first.operand] == Layout::Blocked;
        let whole = group.len() == self.lanes && first.channel.is_multiple_of(self.lanes);
        (blocked && whole && group.iter().enumerate().all(as_it_is)).then_some(first)
    }

    /// Bytes from one position of a row to the next, of the input and of the output.
    pub(crate) fn steps(&self, kind: Kind) -> (i64, i64) {
        let (read, written) = (self.walk.read.column as i64, self.walk.written.column as i64);
        (self.input_step(kind) * read, self.step(self.output) * written)
    }

    /// Bytes from one row of the input to the next.
    fn in_row(&self, kind: Kind) -> i64 {
        self.walk.read.row as i64 * self.input_step(kind)
    }

    fn input_step(&self, kind: Kind) -> i64 {
        self.step(match kind {
            Kind::Vectors => Layout::Blocked,
            Kind::Zero => self.output,
            Kind::Channel(layout) | Kind::Run(layout, _) => layout,
        })
    }

    /// Positions of a tile that are moved in one pass of its loop.
    fn unrolled(&self) -> usize {
        let far = self.walk.read.column.max(self.walk.written.column) > 1 << 16;
        if far { 1 } else { self.lanes }
    }
}

impl Code {
    /// For each group, where its entries begin, and one more such word; then the entries, of [`ENTRY_WORDS`] each:
    /// index of the kind, bytes of the operand in the array of operands, byte offset of the input and bytes from one of its
    /// rows to the next, byte offset of the output.
    fn table(&self, Tables { channels }: &Tables) -> Vec<i64> {
        let (mut starts, mut entries) = (Vec::new(), Vec::new());
        let head = (self.groups + 1) * 8;
        for group in groups(channels, self.shape.lanes) {
            starts.push((head + entries.len() * 8) as i64);
            for Entry { kind, operand, input, output } in self.shape.entries(group) {
                let index = self.kinds.iter().position(|&k| k == kind).expect("one of the kinds");
                entries.extend([index as i64, operand as i64 * 16, input, self.shape.in_row(kind), output]);
            }
        }
        starts.push((head + entries.len() * 8) as i64);
        starts.extend(entries);
        starts
    }
}

/// How a tile moves some positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A channel, from this layout.
    Channel(Layout),
    /// Zeros into a channel.
    Zero,
    /// All channels of a block.
    Vectors,
    /// So many elements that lie side by side, from this layout.
    Run(Layout, usize),
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
        self.groups * self.shape.rows()
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
    /// See [`super::Kernel::descent`].
    pub(super) fn descent(&self) -> Descent {
        let unit = |positions: Range<usize>| Unit { reads: positions.clone(), writes: positions };
        Descent { tasks: self.groups, units: parts(self.shape.walk.count, self.shape.walk.row).map(unit).collect() }
    }

    fn generate_nest(&self, nest: &mut NestBuilder, tiles: &[FuncId]) {
        let (walk, unrolled) = (self.shape.walk, self.shape.unrolled() as i64);
        nest.for_tasks(self.tasks(), |nest, sample, task| {
            let inner = if self.by_rows { self.groups } else { self.shape.rows() } as i64;
            let (outer, inner) = (nest.div_imm(task, inner), nest.rem_imm(task, inner));
            let (group, row) = if self.by_rows { (inner, outer) } else { (outer, inner) };
            let done = nest.mul_imm(row, -(walk.row as i64));
            let left = nest.add_imm(done, walk.count as i64);
            let most = nest.iconst(walk.row as i64);
            let count = nest.smin(left, most);
            let (passes, rest) = (nest.div_imm(count, unrolled), nest.rem_imm(count, unrolled));
            let out = nest.sample_pointer(0, sample);
            let out = nest.offset_by(out, row, self.shape.out_row());
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
                let input = [(sample, stride), (row, step)].into_iter().fold(data, |input, (index, bytes)| {
                    let offset = nest.mul(index, bytes);
                    nest.add(input, offset)
                });
                let input = nest.add(input, input_offset);
                let out = nest.add(out, out_offset);
                nest::call_one_of(nest, kind, tiles, &[input, out, passes, rest]);
            });
        });
    }

    /// Emits the tile `(input, output, passes, rest)`: as many times several positions, then single ones.
    fn emit(&self, asm: &mut dyn VectorAsm, kind: Kind) {
        let x = asm.vec();
        if kind == Kind::Zero {
            asm.splat(x, 0.0);
        }
        let (passes, rest) = (asm.arg(2), asm.arg(3));
        self.emit_loop(asm, kind, self.shape.unrolled(), passes, x);
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
                    Kind::Run(_, count) => {
                        asm.load_first(x, from, count);
                        asm.store_first(to, x, count);
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
            let shape = Shape { walk: Walk::all(5), lanes: 8, output, inputs: vec![Layout::Blocked] };
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
