//! Winograd convolution F(m x n, r x s) for kernels of stride 1: a tile of m x n outputs costs (m + r - 1)(n + s - 1)
//! multiplications for each pair of channels, not m n r s (see `transform` for the formula and its source). A
//! dimension in which the kernel has one tap, or the tile one output, is not transformed: F(1x2, 3x3) takes two thirds of
//! the multiplications with 12 numbers in the place of 9 weights, where F(2x2, 3x3) has 16 and F(4x4, 3x3) 36, which is
//! what counts where there are many weights and few outputs.
//!
//! A task takes a group of tiles through all three stages: transform of the input to V, one matrix product M = V U
//! for each frequency, transform of M to the output. V and M lie in the thread's scratch memory as
//! `[frequency][channel block][tile][lane]`. The weights are transformed when they are packed.
//!
//! Where tiles do not cover the output exactly, the last in a dimension is smaller (see `dim`): its frequencies are
//! the first ones of the others, on the same weights.
//!
//! Rounding errors are larger than those of the direct sum, the more so the larger tiles are. Where that must not be,
//! kernels are asked to be exact.
//!
//! # Range
//!
//! V is up to 310 times larger than the input, and M and the sums behind it up to 23,900 times larger than `channels * x *
//! w` with the largest input x and weight w (the tests of `transform` hold both). A group of tiles that reads anything of
//! 2^64 or more, a NaN or an infinity, is noticed while its input is transformed (`stages::Range`). Each of its outputs
//! is then a tile by itself: F(1x1, r x s) takes the first r and s frequencies of the same weights, and reads the inputs
//! that the direct sum reads and no others. These are taken times 2^-40 (so that what is below 1e-26 counts as zero in such a
//! group), and the sums times 2^40. Hence a NaN or an infinity makes NaN of the outputs that see it, in every channel, and of no
//! others; and nothing overflows that the direct sum could give, whatever x, as long as `channels * w` is below 4e7:
//! 23,900 * 4e7 * 2^128 * 2^-40 is below 2^128, and so is 23,900 * 4e7 * 2^64.

mod dim;
mod groups;
mod nest;
mod product;
mod stages;
mod table;
mod transform;
mod weights;

use super::bands::{Descent, Planes, Unit, parts};
use super::epilogue::Epilogue;
use super::nest::{Order, size_of_task};
use super::packing::{self, Packing};
use super::{Conf, Constant, Family, Kernel, Layout, Lowered, NodeView, Target, Why, conv};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa};
use crate::ir::weights::Values;
use crate::layers::{Op, ResolvedWindow};
use crate::machine::costs::{
    self, DIRECT_EXPOSED, FAR_VALUE, STRIP_BYTES, WINOGRAD_EXPOSED, WINOGRAD_NEAR, WINOGRAD_TRANSFORM, WINOGRAD_VALUES,
    exposed,
};
use crate::machine::{Machine, STANDARD};
use dim::Dim;
use groups::Rows;
use nest::{Functions, NestEmitter};
use stages::{FRAME_BYTES, Stages};
use std::ops::Range;
use transform::{Coefficients, MAX_FREQUENCIES};
use weights::WeightTransform;

/// Every decision about one convolution. Pairs are of rows and columns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub lanes: usize,
    pub channels_in: usize,
    pub channels_out: usize,
    /// Images of a sample: positions of the dimensions before rows and columns, in which the kernel has one tap.
    pub images: usize,
    pub dims: [Dim; 2],
    /// Tiles of a group; the last groups may have fewer.
    pub group: [usize; 2],
    /// The product of one frequency for one group of tiles.
    pub product: product::Conf,
    /// Panels of the product that one task multiplies.
    pub task_panels: usize,
    pub epilogue: Epilogue,
    pub bias: bool,
    /// What is in memory of the one image, where that is not all: see [`super::bands`].
    pub planes: Option<Planes>,
}

/// Makes the conf of a convolution.
///
/// # Errors
/// Why this kernel cannot do it, or is not expected to be faster than the direct one.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, Why> {
    let problem = Problem::new(node, target)?;
    if target.exact {
        return Err("its rounding errors are larger (--exact)".into());
    }
    let form = match target.force_winograd {
        Some(m) => problem.forced(m, target),
        None => problem.fastest(target)?,
    };
    let conf = problem.on_machine(form.m(), target);
    if !conf.has_short_offsets() {
        return Err("too many channels or columns".into());
    }
    Ok(lowered(conf))
}

fn lowered(code: Code) -> Lowered {
    let (inputs, output) = (vec![Layout::Blocked], Layout::Blocked);
    let kernel = Conf { code, tables: () }.into();
    Lowered { kernel, inputs, output, spread: None, padded: None }
}

/// The kernels with the least estimated times, whether or not the direct one is expected to be faster; none where
/// `lower` would refuse, or is told what to take.
pub fn candidates(node: &NodeView, target: &Target) -> Vec<Lowered> {
    let Ok(problem) = Problem::new(node, target) else { return Vec::new() };
    if target.exact || target.force_winograd.is_some() {
        return Vec::new();
    }
    let forms = problem.forms(target);
    let mut confs: Vec<Code> = forms.iter().take(FORMS).map(|form| problem.on_machine(form.m(), target)).collect();
    if let Some(best) = forms.first() {
        confs.extend(problem.groups(best.m(), &MACHINE_GROUPS, target));
    }
    confs.retain(Code::has_short_offsets);
    confs.into_iter().map(lowered).collect()
}

/// Sizes of tiles that are candidates.
const FORMS: usize = 5;

struct Problem<'a> {
    node: &'a NodeView<'a>,
    /// Of rows and columns, as the input's size.
    window: ResolvedWindow,
    input: [usize; 2],
    images: usize,
    channels_out: usize,
    bias: bool,
}

impl<'a> Problem<'a> {
    fn new(node: &'a NodeView, target: &Target) -> Result<Problem<'a>, Why> {
        let Op::Conv(conv) = node.op else { return Err(Why::unfit("not a convolution")) };
        let spatial = node.inputs[0].ty.spatial();
        let window = conv.window.resolve(spatial).expect("verified");
        let ones = |values: &[usize]| values.iter().all(|&v| v == 1);
        if conv.groups > 1 || !ones(&window.stride) || !ones(&window.dilation) {
            return Err(Why::unfit("not of stride 1, dilation 1 and one group"));
        }
        if node.gated || node.mean {
            return Err("it takes no gate and makes no mean".into());
        }
        let Some(outer) = spatial.len().checked_sub(2) else { return Err(Why::unfit("not of two dimensions")) };
        if ones(&window.kernel) {
            return Err(Why::unfit("a kernel of one tap"));
        }
        if !ones(&window.kernel[..outer]) {
            return Err(Why::unfit("a kernel of more than two dimensions"));
        }
        for (kernel, pads) in window.kernel.iter().zip(&window.pads) {
            if *kernel == 1 && *pads != (0, 0) {
                return Err("padding where the kernel has one tap".into());
            }
        }
        let window = window.from_dim(outer);
        if let Some(taps) = window.kernel.iter().find(|&&taps| taps > most_frequencies(&window, target)) {
            return Err(format!("{taps} taps are too many").into());
        }
        let (images, input) = (spatial[..outer].iter().product(), [spatial[outer], spatial[outer + 1]]);
        Ok(Problem { node, window, input, images, channels_out: conv.channels, bias: conv.bias })
    }

    /// The tiles with the least estimated time, if that is below the estimate of the direct kernel.
    fn fastest(&self, target: &Target) -> Result<Code, Why> {
        let direct = match conv::lower(self.node, target)?.kernel {
            Kernel::Conv(Conf { code: conf, .. }) => {
                let stream = conf.weight_bytes() / STANDARD.memory_rate();
                costs::direct(conf.cycles()) + exposed(DIRECT_EXPOSED, stream, conf.cycles())
            }
            other => unreachable!("{other:?}"),
        };
        let Some(best) = self.forms(target).into_iter().next() else { return Err("the output is too small".into()) };
        if best.cycles() < direct {
            return Ok(best);
        }
        let thousands = |cycles: usize| cycles.div_ceil(1000);
        Err(format!(
            "estimated at {} thousand cycles, the direct kernel at {}",
            thousands(best.cycles()),
            thousands(direct)
        )
        .into())
    }

    /// All sizes of tiles, each in its best groups, those with the least estimated time first.
    fn forms(&self, target: &Target) -> Vec<Code> {
        let sizes = |d: usize| 1..=self.largest(d, target);
        let tiles = sizes(0).flat_map(|rows| sizes(1).map(move |columns| [rows, columns])).filter(|&m| m != [1, 1]);
        let mut confs: Vec<Code> = tiles.map(|m| self.best_group(m, target)).collect();
        confs.sort_by_cached_key(Code::cycles);
        confs
    }

    /// The largest tile of a dimension that errors, registers and the output allow.
    fn largest(&self, d: usize, target: &Target) -> usize {
        let taps = self.window.kernel[d];
        if taps == 1 {
            return 1;
        }
        let fits =
            |m: usize| m + taps - 1 <= most_frequencies(&self.window, target) && 2 * m + taps <= target.registers;
        (1..=MAX_OUTPUTS.min(self.window.out[d])).rev().find(|&m| fits(m)).unwrap_or(1)
    }

    /// Tiles of `m` outputs, or of the nearest size that is possible.
    fn forced(&self, m: [usize; 2], target: &Target) -> Code {
        self.best_group([0, 1].map(|d| m[d].min(self.largest(d, target))), target)
    }

    /// Tiles of `m` outputs in the groups with the least estimated time.
    fn best_group(&self, m: [usize; 2], target: &Target) -> Code {
        self.groups(m, &GROUPS, target).into_iter().min_by_key(Code::cycles).expect("there are groups")
    }

    /// Tiles of `m` outputs in the groups that are expected to be the fastest on this machine, on one thread and on two.
    fn on_machine(&self, m: [usize; 2], target: &Target) -> Code {
        // Bands of a wide picture go down it by groups: each row more is one of all layers around it.
        let fits = |conf: &Code| conf.group[0] == 1 || conf.dims[1].output <= NARROW;
        let confs = self.groups(m, &MACHINE_GROUPS, target).into_iter().filter(fits);
        confs.min_by_key(|conf| conf.cost(&target.machine)).expect("there are groups")
    }

    /// Tiles of `m` outputs in groups of at most so many tiles.
    fn groups(&self, m: [usize; 2], most: &[usize], target: &Target) -> Vec<Code> {
        let tiles = self.dims(m).each_ref().map(Dim::tiles);
        let mut groups: Vec<[usize; 2]> = most.iter().map(|&most| shared_out(tiles, most)).collect();
        groups.dedup();
        groups.into_iter().map(|group| self.conf(m, group, target)).collect()
    }

    fn dims(&self, m: [usize; 2]) -> [Dim; 2] {
        [0, 1].map(|d| Dim {
            taps: self.window.kernel[d],
            m: m[d],
            input: self.input[d],
            pad: self.window.pads[d].0,
            output: self.window.out[d],
        })
    }

    /// Tiles of `m` outputs, in groups of `group` tiles.
    fn conf(&self, m: [usize; 2], group: [usize; 2], target: &Target) -> Code {
        let channels_in = self.node.inputs[0].channels();
        let dims = self.dims(m);
        let of_image: usize = (0..2).map(|d| dims[d].tiles().div_ceil(group[d])).product();
        let tiles = group[0] * group[1];
        let product = product::Conf::new(target, channels_in, self.channels_out, tiles, tiles);
        // Where there are few groups of tiles, tasks share them and do different output channels.
        let task_panels = size_of_task(product.panels(), self.images * of_image, Order::Lines);
        Code {
            lanes: target.lanes,
            channels_in,
            channels_out: self.channels_out,
            images: self.images,
            dims,
            group,
            task_panels,
            product,
            epilogue: self.node.epilogue.clone(),
            bias: self.bias,
            planes: None,
        }
    }
}

/// Frequencies of each dimension at most.
fn most_frequencies(window: &ResolvedWindow, target: &Target) -> usize {
    match window.kernel.iter().all(|&taps| taps > 1) {
        true if target.deep => MAX_FREQUENCIES_OF_DEEP,
        true => MAX_FREQUENCIES_OF_BOTH,
        false => MAX_FREQUENCIES,
    }
}

/// Rows and columns of a group of at most `most` tiles, shared out evenly.
pub(super) fn shared_out([rows, columns]: [usize; 2], most: usize) -> [usize; 2] {
    let even = |total: usize, most: usize| total.div_ceil(total.div_ceil(most));
    if columns > most { [1, even(columns, most)] } else { [even(rows, most / columns), columns] }
}

/// Tiles of a group that are considered where forms are compared: few, whose V and M stay in the second-level cache, up to
/// as many as the weights, which each group reads anew, are worth.
pub(super) const GROUPS: [usize; 5] = [64, 40, 28, 20, 14];

/// The same where groups are chosen for a machine.
const MACHINE_GROUPS: [usize; 8] = [128, 100, 64, 40, 28, 20, 14, 10];

/// Columns of pictures that have groups of several rows of tiles, with which the bands of U-Net at 1088x1920 took 1.28 times
/// the memory. Wider ones have more tiles in a row than the smallest groups of [`MACHINE_GROUPS`].
const NARROW: usize = 112;

/// Frequencies of each dimension at most where both are transformed: their errors multiply. F(4x4, 7x3), with 10 of
/// them, measured 6e-5 of the largest output, the forms of 8 below 1e-5.
const MAX_FREQUENCIES_OF_BOTH: usize = 8;

/// The same in deep networks. F(4x4, 3x3) has a quarter of the error of F(6x6, 3x3): through the 151 convolutions of
/// ResNet-152 it adds nothing to the error of direct sums, where the larger forms trebled it.
const MAX_FREQUENCIES_OF_DEEP: usize = 6;

/// Outputs of a tile in one dimension at most.
const MAX_OUTPUTS: usize = 6;

impl Code {
    /// Describes all that was decided.
    pub(super) fn decision(&self) -> String {
        let ([rows, columns], [height, width]) = (&self.dims, self.group);
        format!("winograd {}x{}, groups of {height}x{width} tiles", rows.m, columns.m)
    }

    /// Outputs of a tile.
    fn m(&self) -> [usize; 2] {
        self.dims.each_ref().map(|dim| dim.m)
    }

    /// Estimated cycles of one sample on the [`STANDARD`] machine, by which forms are compared.
    fn cycles(&self) -> usize {
        self.cycles_on(&STANDARD)
    }

    /// Estimated cycles of one sample on a machine: products, transforms, and reading the weights once for each group of
    /// tiles.
    fn cycles_on(&self, machine: &Machine) -> usize {
        let products = self.products(|tiles| self.product.cycles(tiles));
        let groups = self.all_groups();
        // V and M of a group that is too large leave the second-level cache and come back.
        let blocks = self.in_blocks() + self.task_panels * self.product.vectors;
        let values = self.frequencies() * blocks * self.block_stride() as usize;
        let far = values.saturating_sub(machine.stays_second() / 8 * WINOGRAD_VALUES);
        let moved = 2 * groups * far / machine.third_rate();
        // Of the weights, what finds room beside V and M is read again from there.
        let (weights, again) = (self.weight_bytes(), groups - 1);
        let near = weights.min(machine.stays_second().saturating_sub(values));
        let stream = weights / machine.memory_rate() + again * (weights - near) / machine.again_rate(weights);
        let near = again * near / machine.second_rate() * WINOGRAD_NEAR / 5;
        products + self.transform_cycles() + moved + near + exposed(WINOGRAD_EXPOSED, stream, products)
    }

    /// By which groups are compared: estimated cycles of one sample on one thread, and those of both of two.
    fn cost(&self, machine: &Machine) -> usize {
        let (one, tasks) = (self.cycles_on(machine), self.task_count());
        let half = tasks / 2;
        one + 2 * self.part_of(one, 0..half).max(self.part_of(one, half..tasks))
    }

    /// What some tasks, which one thread does, take of so many cycles of a sample: it transforms the input of a group for the
    /// first of the group's tasks that it does.
    fn part_of(&self, cycles: usize, tasks: Range<usize>) -> usize {
        let (blocks, chunks) = (self.in_blocks(), self.chunks());
        let input = self.transform_cycles() * blocks / (blocks + self.product.out_blocks);
        // Of a row of tiles of one group.
        let lines = self.images * self.groups(1) * self.dims[0].tiles();
        let (input, rest) = (input / lines, (cycles - input) / (lines * chunks));
        let of_task = |task: usize| {
            let row = task / chunks / self.groups(1) % self.groups(0);
            let transforms = task == tasks.start || task.is_multiple_of(chunks);
            let rows = (self.dims[0].tiles() - row * self.group[0]).min(self.group[0]);
            rows * (rest + if transforms { input } else { 0 })
        };
        tasks.clone().map(of_task).sum()
    }

    /// Of the transforms of one sample: two steps, each as many vectors as it writes.
    fn transform_cycles(&self) -> usize {
        let [rows, columns] = &self.dims;
        let vectors = self.frequencies() + columns.m.min(rows.m) * rows.size().max(columns.size());
        let tiles = self.images * rows.tiles() * columns.tiles();
        tiles * (self.in_blocks() + self.product.out_blocks) * vectors * WINOGRAD_TRANSFORM
    }

    /// Groups of tiles of one sample.
    fn all_groups(&self) -> usize {
        self.images * self.groups_of_image()
    }

    /// The products of all frequencies and groups of one sample, of which each takes what `of_tiles` gives.
    fn products(&self, of_tiles: impl Fn(usize) -> usize) -> usize {
        let of_group = |rows: Rows| -> usize {
            let parts = self.parts().map(|[a, b]| a.len() * b.len());
            parts.zip(self.runs(rows)).map(|(frequencies, (_, tiles))| frequencies * of_tiles(tiles)).sum()
        };
        let inner = (self.groups(0) - 1) * of_group(Rows::Inner);
        self.images * self.groups(1) * (inner + of_group(Rows::Last))
    }

    /// The least cycles of one sample: the products as if no register tile lost any, `starts` multiply-adds in a cycle, and
    /// the transforms.
    pub fn least_cycles(&self, starts: usize) -> usize {
        let vectors = self.channels_in * self.product.out_blocks;
        self.products(|tiles| tiles * vectors / starts) + self.transform_cycles()
    }

    /// Multiply-adds of vectors of one sample, as if no register tile lost any.
    pub fn multiplications(&self) -> usize {
        self.products(|tiles| tiles * self.channels_in * self.product.out_blocks)
    }

    /// Bytes of all packed weights, and how often one sample reads them: once for each group of tiles.
    pub fn weights_read(&self) -> (usize, usize) {
        (self.weight_bytes(), self.all_groups())
    }

    fn weight_bytes(&self) -> usize {
        self.frequencies() * self.product.out_blocks * self.product.column_bytes() as usize
    }

    fn frequencies(&self) -> usize {
        self.dims[0].size() * self.dims[1].size()
    }

    /// Whether all offsets in the code's memory operands are of 32 bits: frequencies of V and M, rows of a tile.
    fn has_short_offsets(&self) -> bool {
        let rows = self.dims[0].size() as i64 * self.input_row().max(self.output_row());
        (self.scratch() as i64).max(rows) <= i64::from(i32::MAX)
    }

    /// Groups of tiles in one dimension.
    fn groups(&self, d: usize) -> usize {
        self.dims[d].tiles().div_ceil(self.group[d])
    }

    fn groups_of_image(&self) -> usize {
        self.groups(0) * self.groups(1)
    }

    /// Tasks of a group of tiles.
    fn chunks(&self) -> usize {
        self.product.panels().div_ceil(self.task_panels)
    }

    /// Tasks of a sample.
    fn task_count(&self) -> usize {
        self.images * self.groups_of_image() * self.chunks()
    }

    fn in_blocks(&self) -> usize {
        self.channels_in.div_ceil(self.lanes)
    }

    fn vector(&self) -> i64 {
        (self.lanes * 4) as i64
    }

    /// Bytes of a row of one block of the input, and of the output.
    fn input_row(&self) -> i64 {
        self.dims[1].input as i64 * self.vector()
    }

    fn output_row(&self) -> i64 {
        self.dims[1].output as i64 * self.vector()
    }

    /// Whether outputs leave the second-level cache: tiles ask for the lines that the next one of their row writes.
    fn is_written_afar(&self) -> bool {
        self.output_image() as usize * self.product.out_blocks > FAR_VALUE
    }

    /// Bytes of an image in one block of the input, and of the output.
    fn input_image(&self) -> i64 {
        self.dims[0].input as i64 * self.input_row()
    }

    fn output_image(&self) -> i64 {
        self.dims[0].output as i64 * self.output_row()
    }

    /// Bytes of a block of the input, and of the output.
    fn input_plane(&self) -> i64 {
        self.planes.map_or(self.images as i64 * self.input_image(), |planes| planes.input as i64 * self.vector())
    }

    fn output_plane(&self) -> i64 {
        self.planes.map_or(self.images as i64 * self.output_image(), |planes| planes.output as i64 * self.vector())
    }

    /// See [`super::Kernel::banded`].
    pub(super) fn banded(&self, planes: Planes) -> Option<Code> {
        // A band has few groups of tiles: tasks share them, and do different output channels.
        let chunks = BAND_TASKS.div_ceil(self.groups(1)).max(self.chunks());
        let task_panels = self.product.panels().div_ceil(chunks);
        (self.images == 1).then(|| Code { planes: Some(planes), task_panels, ..self.clone() })
    }

    /// See [`super::Kernel::descent`].
    pub(super) fn descent(&self) -> Descent {
        let [rows, columns] = &self.dims;
        let seen = |tile: usize| {
            let (span, start) = (rows.span(tile), tile * rows.m);
            (start + span.first).saturating_sub(rows.pad)..(start + span.last).saturating_sub(rows.pad)
        };
        let unit = |tiles: Range<usize>| {
            let seen = tiles.clone().map(seen).reduce(|a, b| a.start.min(b.start)..a.end.max(b.end)).expect("tiles");
            let made = tiles.start * rows.m..(tiles.end * rows.m).min(rows.output);
            let of_rows = |of: Range<usize>, width: usize| of.start * width..of.end * width;
            Unit { reads: of_rows(seen, columns.input), writes: of_rows(made, columns.output) }
        };
        let units = parts(rows.tiles(), self.group[0]).map(unit).collect();
        Descent { tasks: self.groups(1) * self.chunks(), units }
    }

    /// Bytes of one block of channels of a group of tiles.
    fn block_stride(&self) -> i64 {
        self.product.block_stride
    }

    /// Bytes from one frequency of V to the next.
    fn v_stride(&self) -> i64 {
        self.product.v_stride
    }

    /// Bytes from one frequency of M to the next.
    fn m_stride(&self) -> i64 {
        odd_lines((self.task_panels * self.product.vectors) as i64 * self.block_stride())
    }

    /// Bytes from one row of the strip to the next: an input column of its tiles, padding or not, is one vector.
    /// Where rows are not transformed, V is the strip.
    fn strip_stride(&self) -> i64 {
        match self.dims[1].is_plain() {
            true => self.v_stride(),
            false => self.strip_row(self.strip_tiles()),
        }
    }

    /// The same of so many tiles.
    fn strip_row(&self, tiles: usize) -> i64 {
        let columns = &self.dims[1];
        odd_lines((tiles * columns.m + columns.taps - 1) as i64 * self.vector())
    }

    /// Tiles side by side that are transformed together, at most: a strip of them stays in the first-level cache while V
    /// goes to the second.
    fn strip_tiles(&self) -> usize {
        if self.dims[1].is_plain() {
            return self.group[1];
        }
        let bytes = |tiles: usize| self.dims[0].size() as i64 * self.strip_row(tiles);
        let most = (1..=self.group[1]).rev().find(|&tiles| bytes(tiles) <= STRIP_BYTES).unwrap_or(1);
        self.group[1].div_ceil(self.group[1].div_ceil(most))
    }

    fn strip_bytes(&self) -> i64 {
        if self.dims[1].is_plain() { 0 } else { self.dims[0].size() as i64 * self.strip_stride() }
    }

    /// Bytes of the values between the two steps of the output's transform, and what is before them.
    fn patch_bytes(&self) -> i64 {
        odd_lines(FRAME_BYTES + (self.dims[0].m * self.dims[1].size()) as i64 * self.vector())
    }

    /// Elements of the weights of one vector of output channels and one frequency.
    fn column(&self) -> usize {
        self.product.column_bytes() as usize / 4
    }

    /// Output blocks of the tasks with this index among those of a group.
    fn blocks_of(&self, chunk: usize) -> Range<usize> {
        let blocks = self.task_panels * self.product.vectors;
        chunk * blocks..((chunk + 1) * blocks).min(self.product.out_blocks)
    }

    /// `[task][frequency]` of what the product reads; the last task may leave some at its end.
    fn pack_weights<'a>(&'a self, weight: &'a Values<'a>) -> Packing<'a> {
        let transform = WeightTransform::new(self);
        let rows = packing::Rows::new(weight, self.channels_in * self.dims[0].taps * self.dims[1].taps);
        let elements = self.frequencies() * self.blocks_of(0).len() * self.column();
        Packing::new([1, self.chunks(), elements], move |task, to, _| transform.pack(self, &rows, task, to[0]))
    }

    /// One value for each output channel; 0 behind the real ones.
    fn pack_bias(&self, bias: Option<&[f32]>) -> Vec<f32> {
        let mut packed = bias.unwrap_or_default().to_vec();
        packed.resize(self.product.out_blocks * self.lanes, 0.0);
        packed
    }

    /// The numbers of all transforms.
    fn coefficients(&self) -> Coefficients {
        let sizes = |dim: &Dim| [dim.sizes(), vec![1]].concat();
        let matrices = |dim: &Dim| sizes(dim).into_iter().map(|m| dim.matrices(m)).collect::<Vec<_>>();
        Coefficients::of(&self.dims.each_ref().map(matrices).concat())
    }
}

/// Tasks of a row of groups in bands, where there are as many panels.
pub const BAND_TASKS: usize = 4;

/// At least `bytes`, as an odd number of cache lines: frequencies then fall into different sets of the cache.
pub(super) fn odd_lines(bytes: i64) -> i64 {
    (bytes.unsigned_abs().div_ceil(64) | 1) as i64 * 64
}

impl Family for Code {
    type Tables = ();

    fn name(&self) -> String {
        let [rows, columns] = &self.dims;
        let tile = self.product.describe();
        let (m, n, r, s) = (rows.m, columns.m, rows.taps, columns.taps);
        format!("conv_winograd_f32_{}c{tile}_f{m}x{n}_{r}x{s}", self.lanes)
    }

    fn tasks(&self) -> usize {
        self.task_count()
    }

    fn scratch(&self) -> usize {
        let frequencies = self.frequencies() as i64 * (self.v_stride() + self.m_stride());
        (self.patch_bytes() + self.strip_bytes() + frequencies) as usize
    }

    /// The residual operand: a light epilogue reads it where it is about to store.
    fn may_overwrite(&self, index: usize) -> bool {
        index == 1 && self.epilogue.is_light()
    }

    fn constants<'a>(&'a self, _: &'a (), params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        vec![
            Constant::Packed(self.pack_weights(&params[0])),
            Constant::F32(self.pack_bias(self.bias.then(|| &*params[1]))),
            Constant::F32(self.coefficients().table(self.lanes)),
            Constant::I64(self.table()),
        ]
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let stages = Stages { conf: self, coefficients: &self.coefficients() };
        let functions = Functions::define(&stages, name, isa, module)?;
        let emitter = NestEmitter { conf: self, functions };
        super::nest::define(name, module, |nest| emitter.emit(nest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codegen::x64::assemble;
    use crate::kernels::testing::with_convolution;
    use crate::machine::Known;
    use iced_x86::{Decoder, DecoderOptions, Mnemonic};

    /// Calls `f` with a convolution for AVX2.
    pub fn with_problem<T>(
        input: [usize; 3],
        channels: usize,
        kernel: [usize; 2],
        f: impl FnOnce(&Problem, &Target) -> T,
    ) -> T {
        let target = Target::of(Isa::Avx2, target_lexicon::Architecture::X86_64);
        with_convolution(input, channels, kernel, |node| f(&Problem::new(node, &target).unwrap(), &target))
    }

    #[test]
    fn many_weights_ask_for_small_tiles() {
        let tiles = |channels: usize, size: usize| {
            with_problem([channels, size, size], channels, [3, 3], |problem, target| {
                problem.fastest(target).unwrap().dims.map(|dim| dim.m)
            })
        };
        assert!(tiles(512, 7).iter().all(|&m| m <= 3), "{:?}", tiles(512, 7));
        assert!(tiles(64, 56).iter().all(|&m| m >= 4), "{:?}", tiles(64, 56));
    }

    /// With AVX-512 they are in a network that is larger than its caches, where F(2x2, 3x3) reads a third more.
    #[test]
    fn many_weights_and_few_outputs_ask_for_tiles_of_one_dimension() {
        let target = Target::of(Isa::Avx512, target_lexicon::Architecture::X86_64);
        let tiles = with_convolution([512, 7, 7], 512, [3, 3], |node| {
            let best = Problem::new(node, &target).unwrap().fastest(&target).unwrap();
            best.dims.map(|dim| dim.m)
        });
        assert_eq!(tiles, [1, 2]);
    }

    /// A large second level holds larger groups, which read the weights less often; what is computed stays the same.
    #[test]
    fn groups_are_of_the_machine_and_forms_are_not() {
        let conf = |name: &str| {
            let machine = Known::named(name).unwrap().machine;
            let target =
                Target { machine, deep: true, ..Target::of(Isa::Avx512, target_lexicon::Architecture::X86_64) };
            with_convolution([96, 35, 35], 96, [3, 3], |node| {
                let problem = Problem::new(node, &target).unwrap();
                problem.on_machine(problem.fastest(&target).unwrap().m(), &target)
            })
        };
        let (small, large) = (conf("skylake-avx512"), conf("emeraldrapids"));
        assert_eq!((small.dims.clone(), small.product.out_blocks), (large.dims.clone(), large.product.out_blocks));
        assert!(small.group[0] < large.group[0], "{:?} {:?}", small.group, large.group);
    }

    /// One panel of few output channels is one task of each group.
    #[test]
    fn two_threads_share_the_groups_of_tiles() {
        for (channels, size) in [(128, 28), (128, 14)] {
            with_problem([channels, size, size], 16, [3, 3], |problem, target| {
                let conf = problem.on_machine(problem.fastest(target).unwrap().m(), target);
                assert!(conf.task_count() > 1, "{conf:?}");
            });
        }
    }

    #[test]
    fn groups_of_wide_pictures_are_rows() {
        for (size, rows) in [([68, 120], 1), ([2, 113], 1), ([20, 20], 2)] {
            let of_rows = with_problem([64, size[0], size[1]], 64, [3, 3], |problem, target| {
                problem.on_machine([4, 4], target).group[0]
            });
            assert!(of_rows >= rows && (rows > 1 || of_rows == 1), "{size:?}: {of_rows}");
        }
    }

    #[test]
    fn offsets_are_checked() {
        with_problem([800_000, 20, 20], 8, [3, 3], |problem, target| {
            assert!(!problem.conf([4, 4], [5, 5], target).has_short_offsets());
        });
    }

    #[test]
    fn far_lines_are_asked_for_before_they_are_written() {
        let asked = |size: usize| {
            with_problem([64, size, size], 64, [3, 3], |problem, target| {
                let conf = problem.forced([4, 4], target);
                let stages = Stages { conf: &conf, coefficients: &conf.coefficients() };
                let code = assemble(target.isa, 6, &mut |asm| stages.output(asm, [4, 4], stages::Range::Known));
                let instructions = Decoder::new(64, &code, DecoderOptions::NONE).into_iter();
                instructions.filter(|instruction| instruction.mnemonic() == Mnemonic::Prefetchw).count()
            })
        };
        assert_eq!((asked(224), asked(56)), (16, 0));
    }

    #[test]
    fn few_channels_are_left_to_the_direct_kernel() {
        with_problem([8, 7, 7], 8, [3, 1], |problem, target| assert!(problem.fastest(target).is_err()));
    }
}
