//! Winograd convolution F(m x n, 3x3) on whole numbers, exactly, with m and n of 2 or 4: 16, 24 or 36 products for each pair
//! of channels and 4, 8 or 16 outputs, which have 9 each by definition.
//!
//! The transform of the input adds and subtracts bytes, that of the weights multiplies them by whole numbers (see
//! `transform`): both fit 16 bits, at most (8^2 + 2^2) * 255 and 7^2 * 127. Their products are added modulo 2^32, and so is
//! the transform of the output. It gives the sum of the definition times 4, 48 or 576: an odd number, which its inverse
//! modulo 2^32 undoes, and a power of two. Of the sum times that power the highest bits must not be lost (`Centre`); no
//! matter what was lost before.
//!
//! A task takes a group of tiles through all stages, for some panels of output channels. In the memory of its thread are
//! the *strip*, of one row of tiles and one block of channels the transform along columns, `[frequency][column][lane]`; V,
//! the transform of the input, `[frequency][channel block][tile][lane]`, in halves; and M, the products of V and a panel of
//! weights, `[frequency][block of the panel][tile][lane]`.

mod nest;
mod tiles;
mod transform;

use super::bands::{Descent, Planes, Unit, parts};
use super::geometry::{Geometry, Padded};
use super::nest::{self as loops, KernelNest, Order, size_of_task};
use super::requantise::Ends;
use super::winograd::{BAND_TASKS, GROUPS, odd_lines, shared_out};
use super::{Conf, Constant, Family, Kernel, Layout, Lowered, NodeView, Target, Why, dots};
use crate::codegen::{Bytes, CodeError, CodeModule, FuncId, Isa};
use crate::ir::integer::Integer;
use crate::ir::weights::Values;
use crate::layers::Op;
use crate::machine::Machine;
use crate::machine::costs::{WHOLE_OUTPUT, WINOGRAD_EXPOSED, exposed};
use crate::tensor::Quantisation;
use std::ops::Range;
use tiles::COLUMNS;
use transform::{Form, MAX_SIZE};

/// Every decision about one convolution. Pairs are of rows and columns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    lanes: usize,
    pub(super) channels_in: usize,
    pub(super) channels_out: usize,
    /// Tiles' outputs.
    pub(super) forms: [Form; 2],
    /// Of the input with what is around it, and of the output.
    input: [usize; 2],
    out: [usize; 2],
    /// Tiles of a group; the last groups may have fewer.
    pub(super) group: [usize; 2],
    /// Blocks of output channels of a panel; the last may have fewer.
    vectors: usize,
    /// Tiles of a register tile.
    run: usize,
    /// An instruction multiplies halves and adds the products to sums.
    dots: bool,
    /// Panels that one task multiplies.
    task_panels: usize,
    numbers: Quantisation,
    pub(super) ends: Ends,
    /// Where not all positions of a block are in memory: see [`super::bands`].
    planes: Option<Planes>,
}

/// Bytes of a half.
const HALF: usize = 2;

/// Makes the kernel of a 3x3 convolution on whole numbers.
///
/// # Errors
/// Why this kernel cannot do it, or is not expected to be faster than that of the direct sum.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, Why> {
    let problem = Problem::new(node, target)?;
    let best =
        problem.forms(target).into_iter().next().ok_or("sums of too large weights, or offsets beyond 32 bits")?;
    if target.force_winograd.is_none() {
        best.expect_faster(node, target)?;
    }
    Ok(problem.lowered(best))
}

/// The kernels of all sizes of tiles, those with the least estimated time first, whether or not they are expected to be
/// faster than the direct sum.
pub fn candidates(node: &NodeView, target: &Target) -> Vec<Lowered> {
    let Ok(problem) = Problem::new(node, target) else { return Vec::new() };
    problem.forms(target).into_iter().map(|code| problem.lowered(code)).collect()
}

struct Problem<'a> {
    channels: [usize; 2],
    /// Rows and columns of padding in front, in the last two places; of the input, and of the output.
    front: [usize; 3],
    input: [usize; 2],
    out: [usize; 2],
    numbers: Quantisation,
    ends: Ends,
    weights: &'a [i8],
}

impl<'a> Problem<'a> {
    fn new(node: &NodeView<'a>, target: &Target) -> Result<Problem<'a>, Why> {
        let (Some(Integer::Product { input: numbers, residual, output }), Op::Conv(conv)) = (node.integer, node.op)
        else {
            return Err(Why::unfit("no convolution on whole numbers"));
        };
        let ty = node.inputs[0].ty;
        let &[height, width] = ty.spatial() else { return Err(Why::unfit("not of two dimensions")) };
        if target.bytes == Bytes::None {
            return Err(Why::unfit("no vectors of bytes"));
        }
        let resolved = conv.window.resolve(ty.spatial()).expect("verified");
        let ones = |values: &[usize]| values.iter().all(|&v| v == 1);
        if conv.groups > 1 || resolved.kernel != [3, 3] || !ones(&resolved.stride) || !ones(&resolved.dilation) {
            return Err(Why::unfit("not 3x3 of stride 1, dilation 1 and one group"));
        }
        let (front, window) = Geometry::of(&resolved, ty.spatial())?;
        Ok(Problem {
            channels: [ty.channels(), node.output.channels()],
            front,
            input: [height, width],
            out: [window.out[1], window.out[2]],
            numbers,
            ends: Ends { residual, output },
            weights: node.weights.ok_or("its weights are not known")?,
        })
    }

    /// The kernels of all tiles whose sums can be told from their multiples, those with the least estimated time first.
    fn forms(&self, target: &Target) -> Vec<Code> {
        let [two, four] = Form::ALL;
        let pairs = [[two, two], [two, four], [four, two], [four, four]];
        // Tests have each of them.
        let forced = target.force_winograd.map(|[rows, columns]| pairs[rows % 2 * 2 + columns % 2]);
        let pairs = forced.map_or(pairs.to_vec(), |forms| vec![forms]);
        let largest = self.weights.chunks(9 * self.channels[0]).map(magnitude).max().unwrap_or(0);
        let codes = pairs.into_iter().flat_map(|forms| GROUPS.map(|most| self.code(target, forms, most)));
        let sure = codes.filter(|code| {
            let shifted = (largest * i64::from(self.numbers.top()) / 2 + 1) << code.scale()[1];
            shifted < 1 << 31 && code.reach() <= i64::from(i32::MAX)
        });
        let mut codes: Vec<Code> = sure.collect();
        codes.sort_by_cached_key(|code| code.cycles(target));
        codes.dedup();
        codes
    }

    /// Of groups of at most so many tiles.
    fn code(&self, target: &Target, forms: [Form; 2], most: usize) -> Code {
        let [channels_in, channels_out] = self.channels;
        let vectors = (target.plain_registers / 8).min(channels_out.div_ceil(target.lanes));
        let dots = target.bytes >= Bytes::Dots;
        // Beside the sums a register tile has the weights of its blocks, numbers of a tile, and a product.
        let run = (target.plain_registers - vectors - 1 - usize::from(!dots)) / vectors;
        let tiles = [0, 1].map(|d| self.out[d].div_ceil(forms[d].outputs()));
        let mut code = Code {
            lanes: target.lanes,
            channels_in,
            channels_out,
            forms,
            input: [0, 1].map(|d| (tiles[d] * forms[d].outputs() + 2).max(self.front[1 + d] + self.input[d])),
            out: self.out,
            group: shared_out(tiles, most),
            vectors,
            run,
            dots,
            task_panels: 0,
            numbers: self.numbers,
            ends: self.ends,
            planes: None,
        };
        // Where there are few groups of tiles, tasks share them and do different output channels.
        code.task_panels = size_of_task(code.panels(), code.all_groups(), Order::Lines);
        code
    }

    fn lowered(&self, code: Code) -> Lowered {
        let ([height, width], number) = (code.input, self.numbers.zero_point());
        let inner = [1, self.input[0], self.input[1]];
        let padded = Padded { inner, front: self.front, sizes: [1, height, width], number };
        let padded = (code.input != self.input).then_some(padded);
        let kernel = Conf { code, tables: () }.into();
        Lowered { kernel, inputs: vec![Layout::Blocked], output: Layout::Blocked, spread: None, padded }
    }
}

/// The sum of the magnitudes of weights.
fn magnitude(weights: &[i8]) -> i64 {
    weights.iter().map(|&w| i64::from(w.unsigned_abs())).sum()
}

/// What a channel's sums lie around: half of what they would be if all numbers were the largest. Sums less this are at
/// most half of `magnitude` times the largest number.
struct Centre(i32);

impl Centre {
    fn of(weights: &[i8], numbers: Quantisation) -> Centre {
        let sum: i64 = weights.iter().map(|&w| i64::from(w)).sum();
        Centre((sum * i64::from(numbers.top()) / 2) as i32)
    }
}

impl Code {
    /// Describes all that was decided, for measurements.
    pub(super) fn decision(&self) -> String {
        let [rows, columns] = self.forms.map(Form::outputs);
        format!("winograd {rows}x{columns}, groups of {}x{} tiles", self.group[0], self.group[1])
    }

    /// Positions of a block in memory.
    fn planes(&self) -> Planes {
        let all = |sizes: &[usize; 2]| sizes.iter().product();
        self.planes.unwrap_or(Planes { input: all(&self.input), output: all(&self.out) })
    }

    /// See [`super::Kernel::banded`].
    pub(super) fn banded(&self, planes: Planes) -> Code {
        // A band has few groups of tiles: tasks share them, and do different output channels.
        let chunks = BAND_TASKS.div_ceil(self.groups(1)).max(self.chunks());
        Code { planes: Some(planes), task_panels: self.panels().div_ceil(chunks), ..self.clone() }
    }

    /// See [`super::Kernel::descent`].
    pub(super) fn descent(&self) -> Option<Descent> {
        let ([_, columns], [_, out_columns], outputs) = (self.input, self.out, self.forms[0].outputs());
        let unit = |tiles: Range<usize>| {
            let (start, end) = (tiles.start * outputs, tiles.end * outputs);
            Unit {
                reads: start * columns..(end + 2) * columns,
                writes: start * out_columns..end.min(self.out[0]) * out_columns,
            }
        };
        let units = parts(self.tiles(0), self.group[0]).map(unit).collect();
        self.planes.map(|_| Descent { tasks: self.groups(1) * self.chunks(), units })
    }

    fn in_blocks(&self) -> usize {
        self.channels_in.div_ceil(self.lanes)
    }

    fn out_blocks(&self) -> usize {
        self.channels_out.div_ceil(self.lanes)
    }

    fn panels(&self) -> usize {
        self.out_blocks().div_ceil(self.vectors)
    }

    /// Blocks of the last panel.
    fn last_vectors(&self) -> usize {
        self.out_blocks() - (self.panels() - 1) * self.vectors
    }

    fn tiles(&self, d: usize) -> usize {
        self.out[d].div_ceil(self.forms[d].outputs())
    }

    fn groups(&self, d: usize) -> usize {
        self.tiles(d).div_ceil(self.group[d])
    }

    fn all_groups(&self) -> usize {
        self.groups(0) * self.groups(1)
    }

    fn frequencies(&self) -> usize {
        self.forms[0].size() * self.forms[1].size()
    }

    /// What the transforms multiply sums by: an odd number, and the power of two.
    fn scale(&self) -> [u32; 2] {
        let scale = self.forms[0].scale() * self.forms[1].scale();
        [scale >> scale.trailing_zeros(), scale.trailing_zeros()]
    }

    /// Tiles of a full group.
    fn of_group(&self) -> usize {
        self.group[0] * self.group[1]
    }

    /// Tiles of a group of the last rows, with columns as in a full one.
    fn of_last(&self) -> usize {
        (self.tiles(0) - (self.groups(0) - 1) * self.group[0]) * self.group[1]
    }

    /// Parts of the panels.
    fn chunks(&self) -> usize {
        self.panels().div_ceil(self.task_panels)
    }

    /// Pairs of channels of a block that are multiplied: fewer where there is one block that is not full.
    fn pairs(&self) -> usize {
        if self.in_blocks() == 1 { self.channels_in.div_ceil(2) } else { self.lanes / 2 }
    }

    /// Bytes from one frequency of the strip to the next. The last vector of a row of tiles reads a column more.
    fn strip_stride(&self) -> usize {
        (self.forms[1].outputs() * self.group[1] + 2 + COLUMNS) * self.lanes * HALF
    }

    fn strip_bytes(&self) -> usize {
        odd_lines((self.forms[0].size() * self.strip_stride()) as i64) as usize
    }

    /// Bytes from one block of V to the next. A tile more: behind the last one, what is stored with it.
    fn v_block(&self) -> usize {
        (self.of_group() + 1) * self.lanes * HALF
    }

    fn v_stride(&self) -> usize {
        odd_lines((self.in_blocks() * self.v_block()) as i64) as usize
    }

    /// Bytes from one block of M to the next.
    fn m_block(&self) -> usize {
        self.of_group() * self.lanes * 4
    }

    fn m_stride(&self) -> usize {
        odd_lines((self.vectors * self.m_block()) as i64) as usize
    }

    /// Bytes of the weights of one frequency and one block of output channels.
    fn weights_of_block(&self) -> usize {
        self.in_blocks() * self.pairs() * 4 * self.lanes
    }

    /// No distance within an operand or the memory of a thread is larger.
    fn reach(&self) -> i64 {
        let input = self.in_blocks() * self.input[0] * self.input[1] * self.lanes;
        let output = self.out_blocks() * self.out[0] * self.out[1] * 4 * self.lanes;
        input.max(output).max(self.weights_read().0).max(self.scratch()) as i64
    }

    /// `[panel][frequency][input block][pair of channels][block of the panel][lane][2]`
    fn pack(&self, weights: &[i8]) -> Vec<u8> {
        let (lanes, pairs, of_block) = (self.lanes, self.pairs(), self.weights_of_block());
        let mut packed = vec![0; self.frequencies() * self.out_blocks() * of_block];
        let [rows, columns] = self.forms.map(Form::size);
        for (o, of_output) in weights.chunks(9 * self.channels_in).enumerate() {
            let (block, panel) = (o / lanes, o / lanes / self.vectors);
            let vectors = self.vectors.min(self.out_blocks() - panel * self.vectors);
            let of_panel = panel * self.vectors * self.frequencies() * of_block;
            for (c, taps) in of_output.as_chunks().0.iter().enumerate() {
                let pair = c / lanes * pairs + c % lanes / 2;
                let at = of_panel + ((pair * vectors + block % self.vectors) * lanes + o % lanes) * 4 + c % 2 * HALF;
                let values = transformed(self.forms, taps);
                for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
                    let at = at + (row * columns + column) * vectors * of_block;
                    packed[at..at + HALF].copy_from_slice(&values[row][column].to_le_bytes());
                }
            }
        }
        packed
    }

    /// For each block what is added to the multiples of its sums, and to the sums behind: `[block][2][lane]`.
    fn beginnings(&self, weights: &[i8], begin: &[i32]) -> Vec<i32> {
        let mut beginnings = vec![0; 2 * begin.len()];
        for (o, weights) in weights.chunks(9 * self.channels_in).enumerate() {
            let Centre(centre) = Centre::of(weights, self.numbers);
            let at = o / self.lanes * 2 * self.lanes + o % self.lanes;
            beginnings[at] = centre.wrapping_neg() << self.scale()[1];
            beginnings[at + self.lanes] = begin[o].wrapping_add(centre);
        }
        beginnings
    }

    /// Vector instructions of one sample beside loads and stores of products.
    fn instructions(&self) -> usize {
        let [rows, columns] = self.forms;
        let of_product = if self.dots { 1 } else { 2 };
        let products = self.frequencies() * self.in_blocks() * self.pairs() * of_product * self.out_blocks();
        let [input, output] = [0, 1].map(|side| {
            let each = |form: Form, others: usize| form.instructions()[side] + others;
            let (moved, back) = (2 * rows.size(), rows.size() + rows.outputs());
            match side {
                0 => columns.outputs() / COLUMNS * each(rows, moved) + rows.size() * each(columns, 2 * columns.size()),
                _ => {
                    let ends = columns.size() + columns.outputs() * WHOLE_OUTPUT;
                    columns.size() * each(rows, back) + rows.outputs() * each(columns, ends)
                }
            }
        });
        self.tiles(0) * self.tiles(1) * (products + self.in_blocks() * input + self.out_blocks() * output)
    }

    /// Estimated cycles of one sample: a V that leaves the second-level cache comes back for each panel.
    fn cycles(&self, target: &Target) -> usize {
        let ((bytes, times), v) = (self.weights_read(), self.frequencies() * self.v_stride());
        let (machine, panels) = (&target.machine, self.all_groups() * self.panels());
        let moved = if v > machine.stays_second() { panels * v / machine.third_rate() } else { 0 };
        cycles(self.least_cycles(target), (bytes, times), machine) + moved
    }

    /// Multiplications of vectors of one sample, each of all pairs in one.
    pub fn multiplications(&self) -> usize {
        let of_tile = self.frequencies() * self.in_blocks() * self.pairs() * self.out_blocks();
        self.tiles(0) * self.tiles(1) * of_tile
    }

    /// The least cycles of one sample.
    pub fn least_cycles(&self, target: &Target) -> usize {
        self.instructions() / target.machine.whole(target.isa, self.dots)
    }

    /// Bytes of all packed weights, and how often one sample reads them: once for each group of tiles.
    pub fn weights_read(&self) -> (usize, usize) {
        (self.frequencies() * self.out_blocks() * self.weights_of_block(), self.all_groups())
    }

    /// Unless the direct sum is expected to take fewer cycles.
    fn expect_faster(&self, node: &NodeView, target: &Target) -> Result<(), Why> {
        let Kernel::Dots(direct) = dots::lower(node, target)?.kernel else { unreachable!("of another family") };
        let arithmetic = direct.code.instructions() / target.machine.whole(target.isa, self.dots);
        let other = cycles(arithmetic, (direct.code.weight_bytes(), 1), &target.machine);
        let [own, other] = [self.cycles(target), other].map(|cycles| cycles.div_ceil(1000));
        match own < other {
            true => Ok(()),
            false => Err(format!("estimated at {own} thousand cycles, the direct sum at {other}").into()),
        }
    }
}

/// Estimated cycles, of which weights of some bytes take those that are read so many times.
fn cycles(arithmetic: usize, (bytes, times): (usize, usize), machine: &Machine) -> usize {
    let stream = bytes / machine.memory_rate() + (times - 1) * bytes / machine.third_rate();
    arithmetic + exposed(WINOGRAD_EXPOSED, stream, arithmetic)
}

/// G w G^T, of the rows of taps w: rows of frequencies, each as long as there may be.
fn transformed([along_rows, along_columns]: [Form; 2], taps: &[i8; 9]) -> [[i16; MAX_SIZE]; MAX_SIZE] {
    let row = |r: usize| along_columns.weights(std::array::from_fn(|c| taps[3 * r + c].into()));
    let rows = [row(0), row(1), row(2)];
    let columns: [[i16; MAX_SIZE]; MAX_SIZE] = std::array::from_fn(|c| along_rows.weights(rows.map(|row| row[c])));
    std::array::from_fn(|r| columns.map(|column| column[r]))
}

impl Family for Code {
    type Tables = ();

    fn name(&self) -> String {
        let (lanes, run, vectors) = (self.lanes, self.run, self.vectors);
        let ([m, n], isa) = (self.forms.map(Form::outputs), super::lanes::isa(lanes));
        format!("conv_winograd_u8_{lanes}c{run}x{vectors}_f{m}x{n}_3x3_{isa}")
    }

    fn tasks(&self) -> usize {
        self.all_groups() * self.chunks()
    }

    fn scratch(&self) -> usize {
        self.strip_bytes() + self.frequencies() * (self.v_stride() + self.m_stride())
    }

    fn constants<'a>(&'a self, (): &'a (), params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        let channels = self.out_blocks() * self.lanes;
        let mut constants = self.ends.constants(params, self.numbers, channels, |weights| self.pack(weights));
        let (weights, _) = params[0].weights_i8().expect("weights of whole numbers");
        if let Constant::I32(begin) = &mut constants[1] {
            *begin = self.beginnings(weights, begin);
        }
        constants
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let functions = nest::Functions::define(self, name, isa, module)?;
        loops::define(name, module, |nest| {
            nest.for_tasks(self.tasks(), |nest, sample, index| functions.task(self, nest, sample, index));
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transformed_weights_fit() {
        assert_eq!(transformed([Form::Two; 2], &[127; 9])[1][1], 9 * 127);
        assert_eq!(transformed([Form::Four; 2], &[-127; 9])[3][3], -49 * 127);
        let taps = [0, 0, 0, 0, 0, 1, 0, 0, 0];
        assert_eq!(transformed([Form::Two, Form::Four], &taps)[1], [0, -1, -1, 4, 4, 1]);
    }
}
