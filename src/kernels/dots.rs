//! Convolutions and dense layers on whole numbers, with dot products of four bytes (`vpdpbusd`, whose sums do
//! not saturate), or, where there are none, with products of halves (`vpmaddwd`), which are exact too.
//!
//! The input has its padding around it already, so that windows look alike everywhere. A tile makes the sums of a run of
//! positions, or of several whole rows, and up to four blocks of output channels, which stay in registers; sums begin with
//! the bias, less the weights times the zero point of the input. Of several groups of channels, a tile reads the blocks that
//! have the inputs of its outputs, with zeros for weights where one meets what another group reads. A dense layer reads a
//! map in blocks of channels as it lies: as a window of all positions.

use super::bands::{Descent, Planes};
use super::fetch::Fetch;
use super::geometry::{Cursor, Geometry, Padded};
use super::nest::{self, KernelNest, Part, Parts};
use super::pad::{Filler, Frame};
use super::requantise::{self, Ends, further};
use super::{Conf, Constant, Family, Layout, Lowered, NodeView, Target, Value, Why};
use crate::codegen::vector::{Mem, R, V, VectorAsm, repeat};
use crate::codegen::{Bytes, CodeError, CodeModule, FuncId, Isa, NestBuilder, Word};
use crate::ir::integer::{self, Integer};
use crate::ir::weights::Values;
use crate::layers::Op;
use crate::machine::LINE;
use crate::machine::costs::NEAR_WHOLE_WEIGHTS;
use crate::tensor::Quantisation;
use std::ops::Range;

/// Every decision about one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    /// Output channels of a block.
    lanes: usize,
    pub(super) products: Products,
    pub(super) channels: Channels,
    /// Blocks of output channels of a tile, and of input channels that it reads.
    pub(super) blocks: usize,
    pub(super) reads: usize,
    pub(super) window: Geometry,
    input: Quantisation,
    pub(super) ends: Ends,
    /// What is around the output.
    pub(super) padded: Option<Padded>,
    /// Positions of a row that a tile has, and rows: one, or several whole ones.
    pub(super) run: usize,
    pub(super) rows: usize,
    /// Where not all positions of a block are in memory: see [`super::bands`].
    planes: Option<Planes>,
}

/// Channels in groups, and in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Channels {
    lanes: usize,
    pub groups: usize,
    pub inputs: usize,
    pub outputs: usize,
}

impl Channels {
    pub fn in_blocks(&self) -> usize {
        self.inputs.div_ceil(self.lanes)
    }

    pub fn out_blocks(&self) -> usize {
        self.outputs.div_ceil(self.lanes)
    }

    /// Input and output channels of a group.
    fn of_group(&self) -> [usize; 2] {
        [self.inputs, self.outputs].map(|channels| channels / self.groups)
    }

    /// How many output blocks a tile has: some where they read the same inputs.
    fn blocks(&self, products: Products) -> usize {
        let all = match products {
            Products::Bytes => [2].as_slice(),
            // What takes bytes apart, or multiplies by ones, is done once for more of them.
            Products::Pairs | Products::Halves => &[4, 2],
        };
        let together = |blocks: &usize| match self.groups {
            1 => *blocks <= self.out_blocks().max(2),
            _ => self.of_group()[1].is_multiple_of(blocks * self.lanes),
        };
        all.iter().copied().find(together).unwrap_or(1)
    }

    /// Input blocks of which the first output channel of a tile of so many blocks reads the first one, up to the last
    /// channel's last.
    fn read(&self, tile: usize, blocks: usize) -> Range<usize> {
        let [inputs, outputs] = self.of_group();
        let (first, end) = (tile * blocks * self.lanes, (tile + 1) * blocks * self.lanes);
        let last = end.min(self.outputs) - 1;
        first / outputs * inputs / self.lanes..((last / outputs + 1) * inputs).div_ceil(self.lanes)
    }

    /// Of weights `[output][input of its group][tap]`, and inputs up to `top`.
    fn pairs_fit(&self, weights: &[i8], top: u8) -> bool {
        let [inputs, outputs] = self.of_group();
        let len = weights.len() / self.outputs;
        let mut rows = weights.chunks(len).enumerate();
        rows.all(|(o, row)| integer::pairs_fit(row, o / outputs * inputs, len / inputs, top))
    }

    /// The most input blocks that a tile reads.
    fn most_read(&self, blocks: usize) -> usize {
        let tiles = self.out_blocks().div_ceil(blocks);
        (0..tiles).map(|tile| self.read(tile, blocks).len()).max().expect("a tile")
    }
}

/// What one instruction multiplies and adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Products {
    /// Four bytes of each lane, to sums.
    Bytes,
    /// Two bytes of each half, where sums of their products fit: see [`integer::pairs_fit`]. Another instruction adds the
    /// halves of each lane, and another one these to sums.
    Pairs,
    /// Two halves of each lane: of four channels the even ones, then the odd ones. Another instruction adds them.
    Halves,
}

impl Products {
    /// What tiles of a target have for such weights, whose pairs `fit` or do not.
    fn of(target: &Target, fit: impl FnOnce() -> bool) -> Result<Products, Why> {
        match target.bytes {
            Bytes::None => Err(Why::unfit("no vectors of bytes")),
            Bytes::Vectors if target.isa != Isa::Clif && fit() => Ok(Products::Pairs),
            Bytes::Vectors => Ok(Products::Halves),
            Bytes::Dots | Bytes::Tables | Bytes::Bf16 => Ok(Products::Bytes),
        }
    }

    pub fn in_words(self) -> &'static str {
        match self {
            Products::Bytes => "four bytes",
            Products::Pairs => "two bytes, twice",
            Products::Halves => "two halves",
        }
    }

    /// For names of kernels.
    pub fn name(self, lanes: usize) -> String {
        match (self, lanes) {
            (Products::Bytes, 8) => "dots_avx_vnni".into(),
            (Products::Bytes, _) => "dots_avx512_vnni".into(),
            (Products::Pairs, _) => format!("pairs_{}", super::lanes::isa(lanes)),
            (Products::Halves, _) => format!("halves_{}", super::lanes::isa(lanes)),
        }
    }
}

/// Channels whose bytes are broadcast together.
const QUAD: usize = 4;

/// Makes the kernel of a convolution or dense layer on whole numbers.
///
/// # Errors
/// Why this kernel cannot do it.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, Why> {
    let Some(Integer::Product { input, residual, output }) = node.integer else {
        return Err(Why::unfit("no sum of products"));
    };
    let weights = node.weights.ok_or("its weights are not known")?;
    let lanes = target.lanes;
    let ty = node.inputs[0].ty;
    let (layout, inputs, padded, window) = match node.op {
        Op::Conv(conv) if conv.groups == ty.channels() && conv.groups == conv.channels => {
            return Err(Why::unfit("each channel by itself"));
        }
        Op::Conv(conv) => {
            let resolved = conv.window.resolve(ty.spatial()).expect("verified");
            let (front, window) = Geometry::of(&resolved, ty.spatial())?;
            let padded = window.padded(front, ty.spatial(), input.zero_point());
            (Layout::Blocked, ty.channels(), padded, window)
        }
        _ => {
            let (layout, inputs, window) = of_all(&node.inputs[0], lanes);
            (layout, inputs, None, window)
        }
    };
    let groups = if let Op::Conv(conv) = node.op { conv.groups } else { 1 };
    let channels = Channels { lanes, groups, inputs, outputs: node.output.channels() };
    let products = Products::of(target, || channels.pairs_fit(weights, input.top()))?;
    // What a tile needs beside its sums, while it makes them and behind.
    let blocks = channels.blocks(products);
    let others = match products {
        Products::Bytes => blocks + 1,
        Products::Pairs => 3,
        Products::Halves => 4,
    };
    let most = (target.registers - others.max(requantise::REGISTERS)) / blocks;
    // Positions of rows that lie apart are not one long row.
    let kept = node.padded.filter(|padded| fits(&window, padded, most));
    let window = if kept.is_some() { window } else { window.merged() };
    let [_, rows, columns] = window.out;
    let code = Code {
        lanes,
        products,
        channels,
        blocks,
        reads: channels.most_read(blocks),
        window,
        input,
        ends: Ends { residual, output },
        padded: kept,
        run: most.min(columns),
        rows: (most / columns).clamp(1, rows),
        planes: None,
    };
    if code.reach() > i64::from(i32::MAX) {
        return Err("offsets beyond 32 bits".into());
    }
    let kernel = Conf { code, tables: () }.into();
    Ok(Lowered { kernel, inputs: vec![layout], output: Layout::Blocked, spread: None, padded })
}

/// Whether tiles of at most so many positions can write a map with something around it, at the cost of few tiles that are
/// not full at the ends of rows.
fn fits(window: &Geometry, padded: &Padded, most: usize) -> bool {
    let [planes, rows, columns] = window.out;
    let tiles = if most >= columns { rows.div_ceil(most / columns) } else { rows * columns.div_ceil(most) };
    let of_one_row = (rows * columns).div_ceil(most);
    planes == 1 && padded.sizes[0] == 1 && rows > 1 && 10 * tiles <= 11 * of_one_row
}

/// How a dense layer reads its operand, which may be a map: the layout, the channels, and a window of all its positions.
fn of_all(value: &Value, lanes: usize) -> (Layout, usize, Geometry) {
    let (channels, elements) = (value.channels(), value.ty.elements());
    let positions = elements / channels;
    // Weights for channels that blocks have and the map has not would be read for nothing.
    let fills = channels.is_multiple_of(if channels < lanes { QUAD } else { lanes });
    if positions > 1 && elements.is_multiple_of(lanes) && (value.layout == Layout::Nchw || !fills) {
        return (Layout::Nchw, elements, Geometry::point());
    }
    let taps = [1, positions, 1];
    (Layout::Blocked, channels, Geometry { input: taps, kernel: taps, ..Geometry::point() })
}

impl Code {
    fn tiles(&self) -> usize {
        self.channels.out_blocks().div_ceil(self.blocks)
    }

    fn parts(&self) -> Parts {
        // Where there is more input than weights, each thread reads its own part of it.
        let input = self.channels.in_blocks() * self.window.seen() * self.lanes;
        let tasks = if input >= self.weight_bytes() { 1 } else { self.tiles() };
        self.window.parts_of(self.planes, [self.rows, self.run], tasks)
    }

    /// Positions of a block in memory.
    fn planes(&self) -> Planes {
        let output = self.out_sizes().iter().product();
        self.planes.unwrap_or(Planes { input: self.window.seen(), output })
    }

    /// See [`super::Kernel::banded`].
    pub(super) fn banded(&self, planes: Planes) -> Option<Code> {
        // What is added lies as the output does.
        let alike = self.padded.is_none() || self.ends.residual.is_none();
        (alike && self.window.goes_down()).then(|| Code { planes: Some(planes), ..self.clone() })
    }

    /// See [`super::Kernel::descent`].
    pub(super) fn descent(&self) -> Option<Descent> {
        let mut descent = self.window.descent([self.rows, self.run], self.tiles());
        if let Some(padded) = &self.padded {
            let columns = self.window.out[2];
            let of_rows = |writes: &Range<usize>| padded.around(writes.start / columns..writes.end / columns);
            descent.units.iter_mut().for_each(|unit| unit.writes = of_rows(&unit.writes));
        }
        self.planes.map(|_| descent)
    }

    /// The first input block that a tile reads, of which there are as many behind as it reads.
    fn first_read(&self, tile: usize) -> usize {
        self.channels.read(tile, self.blocks).start.min(self.channels.in_blocks() - self.reads)
    }

    /// Quads of channels of a block: fewer where there is one block that is not full.
    fn quads(&self) -> usize {
        if self.channels.in_blocks() == 1 { self.channels.inputs.div_ceil(QUAD) } else { self.lanes / QUAD }
    }

    /// Bytes of a vector of the output.
    fn vector(&self) -> usize {
        self.ends.vector(self.lanes)
    }

    /// Bytes of the weights of four input channels and one block of output channels.
    fn unit(&self) -> usize {
        let of_weight = if self.is_wide() { 2 } else { 1 };
        of_weight * QUAD * self.lanes
    }

    /// Whether weights are halves in memory, and not bytes: unless each is read once, where memory is what takes the time.
    fn is_wide(&self) -> bool {
        self.products == Products::Halves && self.window.positions() > 1
    }

    /// Bytes of the weights of one block of output channels.
    fn weights_of_block(&self) -> usize {
        self.reads * self.window.taps() * self.quads() * self.unit()
    }

    /// Describes what was decided where there may be another kernel.
    pub(super) fn decision(&self) -> Option<String> {
        (self.window.kernel == [1, 3, 3]).then(|| format!("direct {}x{}", self.rows * self.run, self.blocks))
    }

    /// Bytes of all packed weights.
    pub(super) fn weight_bytes(&self) -> usize {
        self.channels.out_blocks() * self.weights_of_block()
    }

    /// Vector instructions of one sample beside loads and stores of products.
    pub(super) fn instructions(&self) -> usize {
        let quads = self.window.positions() * self.window.taps() * self.reads * self.quads();
        // What is done once for the blocks of a tile, and for each of them.
        let (shared, each) = match self.products {
            Products::Bytes => (0, 1),
            Products::Pairs => (0, 3),
            Products::Halves => (2, 4),
        };
        quads * (self.tiles() * shared + self.channels.out_blocks() * each)
    }

    /// No distance within an operand is larger.
    fn reach(&self) -> i64 {
        let (in_blocks, out_blocks) = (self.channels.in_blocks(), self.channels.out_blocks());
        let input = in_blocks * self.window.seen() * self.lanes;
        let output = out_blocks * self.out_sizes().iter().product::<usize>() * 4 * self.lanes;
        (input.max(output).max(self.weight_bytes())) as i64
    }

    /// `[tile][input block][plane of taps][row][column][quad][block of the tile][lane][4]`; halves have the even channels of a
    /// quad, `[lane][2]`, before the odd ones.
    fn pack(&self, weights: &[i8]) -> Vec<u8> {
        let (taps, quads, lanes, unit) = (self.window.taps(), self.quads(), self.lanes, self.unit());
        let (blocks, out_blocks, [inputs, outputs]) =
            (self.blocks, self.channels.out_blocks(), self.channels.of_group());
        let mut packed = vec![0; out_blocks * self.weights_of_block()];
        for (o, of_output) in weights.chunks(taps * inputs).enumerate() {
            let (block, tile) = (o / lanes, o / lanes / blocks);
            let width = blocks.min(out_blocks - tile * blocks);
            let of_tile = tile * blocks * self.weights_of_block();
            let first = o / outputs * inputs - self.first_read(tile) * lanes;
            for (c, of_input) in of_output.chunks(taps).enumerate() {
                let c = first + c;
                let (in_block, quad) = (c / lanes, c % lanes / QUAD);
                let place = match self.products {
                    Products::Bytes | Products::Pairs => o % lanes * QUAD + c % QUAD,
                    Products::Halves => (c % 2 * lanes + o % lanes) * 2 + c % QUAD / 2,
                };
                for (tap, &w) in of_input.iter().enumerate() {
                    let quad = (in_block * taps + tap) * quads + quad;
                    let of_unit = &mut packed[of_tile + (quad * width + block % blocks) * unit..][..unit];
                    match self.is_wide() {
                        true => of_unit[2 * place..][..2].copy_from_slice(&i16::from(w).to_le_bytes()),
                        false => of_unit[place] = w as u8,
                    }
                }
            }
        }
        packed
    }
}

impl Family for Code {
    type Tables = ();

    fn name(&self) -> String {
        let products = self.products.name(self.lanes);
        format!("conv_u8_{}c{}x{}_{products}", self.lanes, self.rows * self.run, self.blocks)
    }

    fn tasks(&self) -> usize {
        self.parts().count() * self.tiles()
    }

    fn constants<'a>(&'a self, (): &'a (), params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        let channels = self.channels.out_blocks() * self.lanes;
        let constants = self.ends.constants(params, self.input, channels, |weights| self.pack(weights));
        let Ok([weights, Constant::I32(begin), Constant::F32(factors)]) = <[Constant; 3]>::try_from(constants) else {
            unreachable!("weights, beginnings, factors")
        };
        let factors: Vec<i32> = factors.into_iter().map(|factor| factor.to_bits() as i32).collect();
        let blocks = begin.chunks(self.lanes).zip(factors.chunks(self.lanes));
        vec![weights, Constant::I32(blocks.flat_map(|(begin, factors)| [begin, factors].concat()).collect())]
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let mut tiles = Vec::new();
        let out_blocks = self.channels.out_blocks();
        let left = out_blocks % self.blocks;
        for (blocks, is_met) in [(self.blocks, out_blocks >= self.blocks), (left, left > 0)] {
            for [rows, run] in [[self.rows, self.run], self.rest()] {
                let used = rows * run > 0 && is_met;
                let tile_name = format!("{name}_{blocks}x{rows}x{run}");
                let tile = Tile { code: self, blocks, rows, run };
                tiles.push(if used {
                    Some(module.define_tile(&tile_name, isa, 6, &mut |asm| tile.emit(asm))?)
                } else {
                    None
                });
            }
        }
        let frame = |padded| Frame { lanes: self.lanes, padded };
        let filler = self.padded.as_ref().map(|padded| Filler::define(frame(padded), name, isa, module)).transpose()?;
        nest::define(name, module, |nest| {
            nest::for_parts(nest, self.parts(), self.tiles(), |nest, sample, number, part| {
                let whole = nest.iconst((out_blocks / self.blocks) as i64);
                let full = nest.less(number, whole);
                let tiles_of = |nest: &mut NestBuilder, tiles: [Option<FuncId>; 2], blocks: usize| {
                    let out = self.emit_output(nest, [sample, number], part, filler.as_ref(), blocks);
                    self.emit_positions(nest, [sample, number], part, out, tiles);
                };
                nest.if_else(
                    full,
                    |nest| tiles_of(nest, [tiles[0], tiles[1]], self.blocks),
                    |nest| tiles_of(nest, [tiles[2], tiles[3]], left),
                );
            });
        })
    }
}

impl Code {
    /// Rows and positions of a tile of what is left.
    fn rest(&self) -> [usize; 2] {
        let [_, rows, columns] = self.window.out;
        if self.rows > 1 { [rows % self.rows, columns] } else { [1, columns % self.run] }
    }

    /// Bytes of the next tile's weights that are fetched for each position of this one, where they come from far away.
    fn fetched(&self) -> usize {
        let far = self.weight_bytes() > NEAR_WHOLE_WEIGHTS;
        if far { (self.blocks * self.weights_of_block()).div_ceil(self.window.positions()) } else { 0 }
    }

    /// The first input block that a tile reads.
    fn emit_first_read(&self, nest: &mut NestBuilder, number: Word) -> Word {
        let [inputs, outputs] = self.channels.of_group();
        let first = nest.mul_imm(number, (self.blocks * self.lanes) as i64);
        let group = nest.div_imm(first, outputs as i64);
        let channel = nest.mul_imm(group, inputs as i64);
        let block = nest.div_imm(channel, self.lanes as i64);
        let last = nest.iconst((self.channels.in_blocks() - self.reads) as i64);
        nest.smin(block, last)
    }

    /// Sizes of the output in memory.
    fn out_sizes(&self) -> &[usize; 3] {
        self.padded.as_ref().map_or(&self.window.out, |padded| &padded.sizes)
    }

    /// Bytes of a block of the output.
    fn out_block(&self) -> usize {
        self.planes().output * self.vector()
    }

    /// Positions of a block in memory of what is added.
    fn residual_plane(&self) -> usize {
        // Around that there is nothing.
        if self.padded.is_some() { self.window.positions() } else { self.planes().output }
    }

    /// Fills what is around the output of a tile of so many blocks, or around a part of it. Where the first position lies.
    fn emit_output(
        &self,
        nest: &mut NestBuilder,
        [sample, number]: [Word; 2],
        part: Part,
        filler: Option<&Filler>,
        blocks: usize,
    ) -> Word {
        let out = nest.sample_pointer(0, sample);
        let out = nest.offset_by(out, number, (self.blocks * self.out_block()) as i64);
        let Some(filler) = filler else { return out };
        let rows = part.map(|steps| {
            let rows = nest.iconst(self.window.out[1] as i64);
            steps.map(|step| {
                let row = nest.mul_imm(step, self.rows as i64);
                nest.smin(row, rows)
            })
        });
        let first = filler.fill(nest, out, rows);
        for block in 1..blocks {
            let block = nest.add_imm(out, (block * self.out_block()) as i64);
            filler.fill(nest, block, rows);
        }
        first
    }

    /// All positions of the output blocks of a tile, or those of a part, by that of a run and that of what is left of a row.
    fn emit_positions(
        &self,
        nest: &mut NestBuilder,
        [sample, number]: [Word; 2],
        part: Part,
        out: Word,
        tiles: [Option<FuncId>; 2],
    ) {
        let residuals = usize::from(self.ends.residual.is_some());
        let tile_bytes = (self.blocks * self.residual_plane()) as i64;
        let input = nest.sample_pointer(1, sample);
        let input = if self.reads == self.channels.in_blocks() {
            input
        } else {
            let first = self.emit_first_read(nest, number);
            nest.offset_by(input, first, (self.planes().input * self.lanes) as i64)
        };
        let residual = match residuals {
            0 => out,
            _ => {
                let pointer = nest.sample_pointer(2, sample);
                nest.offset_by(pointer, number, tile_bytes * self.lanes as i64)
            }
        };
        let constant = |nest: &mut NestBuilder, index: usize, bytes: usize| {
            let pointer = nest.constant_pointer(2 + residuals + index);
            nest.offset_by(pointer, number, (self.blocks * bytes) as i64)
        };
        let weights = constant(nest, 0, self.weights_of_block());
        let ends = constant(nest, 1, 8 * self.lanes);
        let next = nest.add_imm(weights, (self.blocks * self.weights_of_block()) as i64);
        let window = &self.window;
        let cursors = [
            window.of_input(input, self.lanes),
            Cursor::new(out, self.out_sizes(), self.vector()),
            window.of_output(residual, self.lanes),
            window.of_output(next, self.fetched()),
        ];
        window.for_runs(nest, [self.rows, self.run], tiles, part, &cursors, |nest, tile, at| {
            nest.call(tile, &[at[0], weights, at[1], at[2], ends, at[3]]);
        });
    }
}

/// The tile `(input, weights, output, residual, ends, next)` of a run of positions, or of some rows, and some blocks. Ends
/// are what sums begin with and what they are multiplied by, of each block; next is this tile's share of the next one's
/// weights.
struct Tile<'a> {
    code: &'a Code,
    blocks: usize,
    rows: usize,
    run: usize,
}

impl Tile<'_> {
    fn emit(&self, asm: &mut dyn VectorAsm) {
        let [x, weights] = [0, 1].map(|arg| asm.arg(arg));
        let of_block = |asm: &mut dyn VectorAsm| (0..self.positions()).map(|_| asm.vec()).collect();
        let sums: Vec<Vec<V>> = (0..self.blocks).map(|_| of_block(asm)).collect();
        for (block, sums) in sums.iter().enumerate() {
            asm.load(sums[0], asm.arg(4).at((block * 8 * self.code.lanes) as i64));
            sums[1..].iter().for_each(|&sum| asm.copy(sum, sums[0]));
        }
        let code = self.code;
        let kernel = code.window.kernel;
        let [plane, row] = [0, 1].map(|d| (code.window.step(d) * code.lanes) as i64);
        let input_block = (code.planes().input * code.lanes) as i64;
        repeat(asm, code.reads, &mut |asm| {
            repeat(asm, kernel[0], &mut |asm| {
                repeat(asm, kernel[1], &mut |asm| {
                    let fetch = self.fetch(asm);
                    self.emit_row(asm, x, weights, &sums, fetch);
                    fetch.pass(asm);
                    asm.add_imm(x, row);
                    asm.add_imm(weights, (kernel[2] * code.quads() * self.blocks * code.unit()) as i64);
                });
                asm.add_imm(x, plane - kernel[1] as i64 * row);
            });
            asm.add_imm(x, input_block - kernel[0] as i64 * plane);
        });
        for (block, sums) in sums.into_iter().enumerate() {
            self.finish(asm, block, sums);
        }
    }

    fn positions(&self) -> usize {
        self.rows * self.run
    }

    /// Some of the next tile's weights, with each row of taps.
    fn fetch(&self, asm: &mut dyn VectorAsm) -> Fetch {
        let [planes, rows, columns] = self.code.window.kernel;
        let times = self.code.reads * planes * rows;
        let lines = (self.code.fetched() * self.positions()).div_ceil(LINE * times);
        Fetch::new(asm.arg(5), 0, lines, columns * self.code.quads())
    }

    /// The products of one row of taps and one block of input channels.
    fn emit_row(&self, asm: &mut dyn VectorAsm, x: R, weights: R, sums: &[Vec<V>], fetch: Fetch) {
        let code = self.code;
        for (column, quad) in
            (0..code.window.kernel[2]).flat_map(|column| (0..code.quads()).map(move |quad| (column, quad)))
        {
            let step = column * code.quads() + quad;
            fetch.step(asm, step);
            let first = step * self.blocks * code.unit();
            let at = |p: usize| {
                let [_, down, across] = code.window.stride;
                let row = p / self.run * down * code.window.input[2];
                let position = row + p % self.run * across + column * code.window.dilation[2];
                x.at((position * code.lanes + quad * QUAD) as i64)
            };
            match code.products {
                Products::Bytes => self.add_bytes(asm, &at, weights, first, sums),
                Products::Pairs => self.add_pairs(asm, &at, weights, first, sums),
                Products::Halves => self.add_halves(asm, &at, weights, first, sums),
            }
        }
    }

    /// Adds the products of four channels of the run.
    fn add_bytes(&self, asm: &mut dyn VectorAsm, x: &dyn Fn(usize) -> Mem, weights: R, first: usize, sums: &[Vec<V>]) {
        let w: Vec<V> = (0..self.blocks).map(|_| asm.vec()).collect();
        let bytes = asm.vec();
        for (block, &w) in w.iter().enumerate() {
            asm.load(w, weights.at((first + block * self.code.unit()) as i64));
        }
        for p in 0..self.positions() {
            asm.broadcast(bytes, x(p));
            sums.iter().zip(&w).for_each(|(sums, &w)| asm.dot_bytes(sums[p], bytes, w));
        }
        w.into_iter().chain([bytes]).for_each(|v| asm.free(v));
    }

    fn add_pairs(&self, asm: &mut dyn VectorAsm, x: &dyn Fn(usize) -> Mem, weights: R, first: usize, sums: &[Vec<V>]) {
        let [bytes, product, ones] = [(); 3].map(|()| asm.vec());
        asm.splat_bits(ones, 0x0001_0001);
        for p in 0..self.positions() {
            asm.broadcast(bytes, x(p));
            for (block, sums) in sums.iter().enumerate() {
                let at = weights.at((first + block * self.code.unit()) as i64);
                asm.multiply_bytes_load(product, bytes, at);
                asm.multiply_halves(product, product, ones);
                asm.add_bits(sums[p], sums[p], product);
            }
        }
        [bytes, product, ones].into_iter().for_each(|v| asm.free(v));
    }

    fn add_halves(&self, asm: &mut dyn VectorAsm, x: &dyn Fn(usize) -> Mem, weights: R, first: usize, sums: &[Vec<V>]) {
        let [even, odd, product, low] = [(); 4].map(|()| asm.vec());
        asm.splat_bits(low, 0x00ff_00ff);
        for p in 0..self.positions() {
            asm.broadcast(odd, x(p));
            asm.and(even, odd, low);
            asm.shr_halves(odd, odd, 8);
            for (block, sums) in sums.iter().enumerate() {
                let of_unit = first + block * self.code.unit();
                for (index, halves) in [even, odd].into_iter().enumerate() {
                    let at = weights.at((of_unit + index * self.code.unit() / 2) as i64);
                    if self.code.is_wide() {
                        asm.multiply_halves_load(product, halves, at);
                    } else {
                        asm.load_signed_halves(product, at);
                        asm.multiply_halves(product, product, halves);
                    }
                    asm.add_bits(sums[p], sums[p], product);
                }
            }
        }
        [even, odd, product, low].into_iter().for_each(|v| asm.free(v));
    }

    /// Makes values of sums, and stores them.
    fn finish(&self, asm: &mut dyn VectorAsm, block: usize, sums: Vec<V>) {
        let [out, residual, all_ends] = [2, 3, 4].map(|arg| asm.arg(arg));
        let code = self.code;
        let factors = all_ends.at(((2 * block + 1) * 4 * code.lanes) as i64);
        let residual = residual.at((block * code.residual_plane() * code.lanes) as i64);
        let out = out.at((block * code.out_block()) as i64);
        // Rows lie side by side, unless something is around them.
        let together = if code.padded.is_some() { self.run } else { sums.len() };
        for (row, sums) in sums.chunks(together).enumerate() {
            let out = further(out, row * code.out_sizes()[2] * code.vector());
            let residual = further(residual, row * together * code.lanes);
            code.ends.store(asm, sums, factors, out, residual);
        }
        sums.into_iter().for_each(|sum| asm.free(sum));
    }
}
