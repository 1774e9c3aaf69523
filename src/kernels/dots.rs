//! Convolutions and dense layers of one group on whole numbers, with dot products of four bytes (`vpdpbusd`, whose sums do
//! not saturate), or, where there are none, with products of halves (`vpmaddwd`), which are exact too.
//!
//! The input has its padding around it already, so that windows look alike everywhere. A tile makes the sums of a run of
//! positions and one or two blocks of output channels, which stay in registers; sums begin with the bias, less the weights
//! times the zero point of the input.

use super::nest::{self, KernelNest};
use super::requantise::{self, Ends};
use super::{Conf, Constant, Family, Layout, Lowered, NodeView, Target, Why};
use crate::codegen::vector::{Mem, R, V, VectorAsm, repeat};
use crate::codegen::{Bytes, CodeError, CodeModule, FuncId, Isa, NestBuilder, Word};
use crate::ir::integer::Integer;
use crate::ir::weights::Values;
use crate::layers::Op;
use crate::tensor::Quantisation;

/// Every decision about one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    /// Output channels of a block.
    lanes: usize,
    pub(super) products: Products,
    /// Input and output channels, and blocks of them.
    pub(super) inputs: usize,
    pub(super) in_blocks: usize,
    pub(super) out_blocks: usize,
    pub(super) channels: usize,
    pub(super) window: Geometry,
    input: Quantisation,
    pub(super) ends: Ends,
    /// Positions of a tile.
    pub(super) run: usize,
}

/// Zeros around the input of a convolution, in whole numbers: rows and columns in front, and the sizes with them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Padded {
    pub front: [usize; 2],
    pub sizes: [usize; 2],
    pub zero_point: u8,
}

/// What one instruction multiplies and adds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Products {
    /// Four bytes of each lane, to sums.
    Bytes,
    /// Two halves of each lane: of four channels the even ones, then the odd ones. Another instruction adds them.
    Halves,
}

impl Products {
    /// What tiles of a target have.
    pub fn of(target: &Target) -> Result<Products, Why> {
        match target.bytes {
            Bytes::None => Err(Why::unfit("no vectors of bytes")),
            Bytes::Vectors => Ok(Products::Halves),
            Bytes::Dots | Bytes::Tables => Ok(Products::Bytes),
        }
    }

    pub fn in_words(self) -> &'static str {
        match self {
            Products::Bytes => "four bytes",
            Products::Halves => "two halves",
        }
    }

    /// For names of kernels.
    pub fn name(self, lanes: usize) -> String {
        match (self, lanes) {
            (Products::Bytes, 8) => "dots_avx_vnni".into(),
            (Products::Bytes, _) => "dots_avx512_vnni".into(),
            (Products::Halves, _) => format!("halves_{}", super::lanes::isa(lanes)),
        }
    }
}

/// Blocks of output channels of a tile.
const BLOCKS: usize = 2;

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
    let (products, lanes) = (Products::of(target)?, target.lanes);
    let ty = node.inputs[0].ty;
    let (layout, inputs, (front, window)) = match node.op {
        Op::Conv(conv) if conv.groups == 1 => {
            let window = conv.window.resolve(ty.spatial()).expect("verified");
            (Layout::Blocked, ty.channels(), Geometry::of(&window, ty.spatial())?)
        }
        Op::Conv(_) => return Err(Why::unfit("groups")),
        // Whole blocks are read, which there must be.
        _ if ty.elements() == ty.channels() => (Layout::Blocked, ty.channels(), ([0; 2], Geometry::point())),
        _ if !ty.elements().is_multiple_of(lanes) => return Err("no whole blocks".into()),
        _ => (Layout::Nchw, ty.elements(), ([0; 2], Geometry::point())),
    };
    let channels = node.output.channels();
    let (flat, sizes, columns) = (window.is_flat(), window.input, window.out[1]);
    // What a tile needs beside its sums, while it makes them and behind.
    let others = if products == Products::Bytes { BLOCKS + 1 } else { 4 };
    let run = (target.registers - others.max(requantise::REGISTERS)) / BLOCKS;
    let code = Code {
        lanes,
        products,
        inputs,
        in_blocks: inputs.div_ceil(lanes),
        out_blocks: channels.div_ceil(lanes),
        channels,
        window,
        input,
        ends: Ends { residual, output },
        run: run.min(columns),
    };
    if code.reach() > i64::from(i32::MAX) {
        return Err("offsets beyond 32 bits".into());
    }
    let pads = !flat && sizes.as_slice() != two(ty.spatial()).as_slice();
    let padded = pads.then_some(Padded { front, sizes, zero_point: input.zero_point() });
    let kernel = Conf { code, tables: () }.into();
    Ok(Lowered { kernel, inputs: vec![layout], output: Layout::Blocked, spread: None, padded })
}

/// Sizes of two dimensions.
pub(super) fn two(sizes: &[usize]) -> Vec<usize> {
    [&vec![1; 2 - sizes.len()], sizes].concat()
}

/// A window in two dimensions, with its padding as part of the input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Geometry {
    pub input: [usize; 2],
    pub kernel: [usize; 2],
    pub out: [usize; 2],
    pub stride: [usize; 2],
    pub dilation: [usize; 2],
}

impl Geometry {
    /// Whether all positions are one row, whatever the sizes.
    pub fn is_flat(&self) -> bool {
        self.kernel == [1; 2] && self.input == self.out && self.out[0] == 1
    }

    fn point() -> Geometry {
        let ones = [1; 2];
        Geometry { input: ones, kernel: ones, out: ones, stride: ones, dilation: ones }
    }

    pub fn positions(&self) -> usize {
        self.out[0] * self.out[1]
    }

    /// With what is in front of the input.
    pub fn of(window: &crate::layers::ResolvedWindow, sizes: &[usize]) -> Result<([usize; 2], Geometry), Why> {
        if sizes.len() > 2 {
            return Err("three dimensions".into());
        }
        let (mut geometry, mut fronts) = (Geometry::point(), [0; 2]);
        let missing = 2 - sizes.len();
        for (d, &size) in sizes.iter().enumerate() {
            let origin = window.origin(d, 0);
            if origin > 0 {
                return Err("positions in front that no window sees".into());
            }
            let front = origin.unsigned_abs() as usize;
            let last = (window.out[d] - 1) * window.stride[d] + (window.kernel[d] - 1) * window.dilation[d] + 1;
            let to = missing + d;
            (fronts[to], geometry.input[to]) = (front, last.max(front + size));
            (geometry.kernel[to], geometry.out[to]) = (window.kernel[d], window.out[d]);
            (geometry.stride[to], geometry.dilation[to]) = (window.stride[d], window.dilation[d]);
        }
        // Where each window is one position, all of them are one row.
        if geometry.kernel == [1; 2] && geometry.stride == [1; 2] && fronts == [0; 2] && geometry.input == geometry.out
        {
            let all = [1, geometry.out[0] * geometry.out[1]];
            (geometry.input, geometry.out) = (all, all);
        }
        Ok((fronts, geometry))
    }
}

impl Code {
    /// Groups of output blocks, each a task for each sample.
    fn groups(&self) -> usize {
        self.out_blocks.div_ceil(BLOCKS)
    }

    /// Quads of channels of a block: fewer where there is one block that is not full.
    fn quads(&self) -> usize {
        if self.in_blocks == 1 { self.inputs.div_ceil(QUAD) } else { self.lanes / QUAD }
    }

    fn taps(&self) -> usize {
        self.window.kernel[0] * self.window.kernel[1]
    }

    /// Bytes of a vector of the output.
    fn vector(&self) -> usize {
        self.ends.vector(self.lanes)
    }

    /// Bytes of the weights of four input channels and one block of output channels.
    fn unit(&self) -> usize {
        match self.products {
            Products::Bytes => QUAD * self.lanes,
            Products::Halves => 2 * QUAD * self.lanes,
        }
    }

    /// Bytes of the weights of one block of output channels.
    fn weights_of_block(&self) -> usize {
        self.in_blocks * self.taps() * self.quads() * self.unit()
    }

    /// No distance within an operand is larger.
    fn reach(&self) -> i64 {
        let input = self.in_blocks * self.window.input[0] * self.window.input[1] * self.lanes;
        let output = self.out_blocks * self.window.positions() * 4 * self.lanes;
        (input.max(output).max(self.out_blocks * self.weights_of_block())) as i64
    }

    /// `[group][input block][row of taps][column][quad][block of the group][lane][4]`; halves have the even channels of a
    /// quad, `[lane][2]`, before the odd ones.
    fn pack(&self, weights: &[i8]) -> Vec<u8> {
        let (taps, quads, lanes, unit) = (self.taps(), self.quads(), self.lanes, self.unit());
        let mut packed = vec![0; self.out_blocks * self.weights_of_block()];
        for (index, &w) in weights.iter().enumerate() {
            let (o, c, tap) = (index / taps / self.inputs, index / taps % self.inputs, index % taps);
            let (block, group) = (o / lanes, o / lanes / BLOCKS);
            let width = BLOCKS.min(self.out_blocks - group * BLOCKS);
            let quad = (c / lanes * taps + tap) * quads + c % lanes / QUAD;
            let of_group = group * BLOCKS * self.weights_of_block();
            let of_unit = of_group + (quad * width + block % BLOCKS) * unit;
            match self.products {
                Products::Bytes => packed[of_unit + o % lanes * QUAD + c % QUAD] = w as u8,
                Products::Halves => {
                    let half = (c % 2 * lanes + o % lanes) * 2 + c % QUAD / 2;
                    packed[of_unit + 2 * half..][..2].copy_from_slice(&i16::from(w).to_le_bytes());
                }
            }
        }
        packed
    }
}

impl Family for Code {
    type Tables = ();

    fn name(&self) -> String {
        format!("conv_u8_{}c{}x{BLOCKS}_{}", self.lanes, self.run, self.products.name(self.lanes))
    }

    fn tasks(&self) -> usize {
        self.groups()
    }

    fn constants<'a>(&'a self, (): &'a (), params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        self.ends.constants(params, self.input, self.out_blocks * self.lanes, |weights| self.pack(weights))
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let mut tiles = Vec::new();
        for blocks in [BLOCKS, 1] {
            for run in [self.run, self.window.out[1] % self.run] {
                let used =
                    run > 0 && if blocks == 1 { self.out_blocks % BLOCKS == 1 } else { self.out_blocks >= BLOCKS };
                let tile_name = format!("{name}_{blocks}x{run}");
                let tile = Tile { code: self, blocks, run };
                tiles.push(if used {
                    Some(module.define_tile(&tile_name, isa, 6, &mut |asm| tile.emit(asm))?)
                } else {
                    None
                });
            }
        }
        nest::define(name, module, |nest| {
            nest.for_tasks(self.groups(), |nest, sample, group| {
                let whole = nest.iconst((self.out_blocks / BLOCKS) as i64);
                let full = nest.less(group, whole);
                let pair = [tiles[0], tiles[1]];
                let single = [tiles[2], tiles[3]];
                nest.if_else(
                    full,
                    |nest| self.emit_group(nest, sample, group, pair),
                    |nest| self.emit_group(nest, sample, group, single),
                );
            });
        })
    }
}

impl Code {
    /// All positions of one group of output blocks, by the tile of a run and that of what is left of a row.
    fn emit_group(&self, nest: &mut NestBuilder, sample: Word, group: Word, tiles: [Option<FuncId>; 2]) {
        let residuals = usize::from(self.ends.residual.is_some());
        let group_bytes = (BLOCKS * self.window.positions()) as i64;
        let out = nest.sample_pointer(0, sample);
        let out = nest.offset_by(out, group, group_bytes * self.vector() as i64);
        let input = nest.sample_pointer(1, sample);
        let residual = match residuals {
            0 => out,
            _ => {
                let pointer = nest.sample_pointer(2, sample);
                nest.offset_by(pointer, group, group_bytes * self.lanes as i64)
            }
        };
        let constant = |nest: &mut NestBuilder, index: usize, bytes: usize| {
            let pointer = nest.constant_pointer(2 + residuals + index);
            nest.offset_by(pointer, group, (BLOCKS * bytes) as i64)
        };
        let weights = constant(nest, 0, self.weights_of_block());
        let (bias, factors) = (constant(nest, 1, 4 * self.lanes), constant(nest, 2, 4 * self.lanes));
        let columns = self.window.out[1];
        nest.repeat(self.window.out[0], |nest, row| {
            let input = nest.offset_by(input, row, (self.window.stride[0] * self.window.input[1] * self.lanes) as i64);
            let out = nest.offset_by(out, row, (columns * self.vector()) as i64);
            let residual = nest.offset_by(
                residual,
                row,
                (columns * if residuals == 0 { self.vector() } else { self.lanes }) as i64,
            );
            let call = |nest: &mut NestBuilder, tile: FuncId, first: Word| {
                let at =
                    |nest: &mut NestBuilder, pointer: Word, bytes: usize| nest.offset_by(pointer, first, bytes as i64);
                let x = at(nest, input, self.window.stride[1] * self.lanes);
                let (y, r) = (at(nest, out, self.vector()), at(nest, residual, self.lanes));
                nest.call(tile, &[x, weights, y, r, bias, factors]);
            };
            nest::for_runs(nest, columns, self.run, tiles, call);
        });
    }
}

/// The tile `(input, weights, output, residual, beginnings, factors)` of a run of positions and some blocks.
struct Tile<'a> {
    code: &'a Code,
    blocks: usize,
    run: usize,
}

impl Tile<'_> {
    fn emit(&self, asm: &mut dyn VectorAsm) {
        let [x, weights] = [0, 1].map(|arg| asm.arg(arg));
        let sums: Vec<Vec<V>> = (0..self.blocks).map(|_| (0..self.run).map(|_| asm.vec()).collect()).collect();
        for (block, sums) in sums.iter().enumerate() {
            asm.load(sums[0], asm.arg(4).at((block * 4 * self.code.lanes) as i64));
            sums[1..].iter().for_each(|&sum| asm.copy(sum, sums[0]));
        }
        let code = self.code;
        let row = code.window.dilation[0] * code.window.input[1] * code.lanes;
        repeat(asm, code.in_blocks, &mut |asm| {
            repeat(asm, code.window.kernel[0], &mut |asm| {
                self.emit_row(asm, x, weights, &sums);
                asm.add_imm(x, row as i64);
                asm.add_imm(weights, (code.window.kernel[1] * code.quads() * self.blocks * code.unit()) as i64);
            });
            asm.add_imm(
                x,
                (code.window.input[0] * code.window.input[1] * code.lanes) as i64
                    - (code.window.kernel[0] * row) as i64,
            );
        });
        for (block, sums) in sums.into_iter().enumerate() {
            self.finish(asm, block, sums);
        }
    }

    /// The products of one row of taps and one block of input channels.
    fn emit_row(&self, asm: &mut dyn VectorAsm, x: R, weights: R, sums: &[Vec<V>]) {
        let code = self.code;
        for (column, quad) in
            (0..code.window.kernel[1]).flat_map(|column| (0..code.quads()).map(move |quad| (column, quad)))
        {
            let first = (column * code.quads() + quad) * self.blocks * code.unit();
            let at = |p: usize| {
                let position = p * code.window.stride[1] + column * code.window.dilation[1];
                x.at((position * code.lanes + quad * QUAD) as i64)
            };
            match code.products {
                Products::Bytes => self.add_bytes(asm, &at, weights, first, sums),
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
        for p in 0..self.run {
            asm.broadcast(bytes, x(p));
            sums.iter().zip(&w).for_each(|(sums, &w)| asm.dot_bytes(sums[p], bytes, w));
        }
        w.into_iter().chain([bytes]).for_each(|v| asm.free(v));
    }

    fn add_halves(&self, asm: &mut dyn VectorAsm, x: &dyn Fn(usize) -> Mem, weights: R, first: usize, sums: &[Vec<V>]) {
        let [even, odd, product, low] = [(); 4].map(|()| asm.vec());
        asm.splat_bits(low, 0x00ff_00ff);
        for p in 0..self.run {
            asm.broadcast(odd, x(p));
            asm.and(even, odd, low);
            asm.shr_halves(odd, odd, 8);
            for (block, sums) in sums.iter().enumerate() {
                let of_unit = first + block * self.code.unit();
                for (index, halves) in [even, odd].into_iter().enumerate() {
                    let at = weights.at((of_unit + index * self.code.unit() / 2) as i64);
                    asm.multiply_halves_load(product, halves, at);
                    asm.add_bits(sums[p], sums[p], product);
                }
            }
        }
        [even, odd, product, low].into_iter().for_each(|v| asm.free(v));
    }

    /// Makes values of sums, and stores them.
    fn finish(&self, asm: &mut dyn VectorAsm, block: usize, sums: Vec<V>) {
        let [out, residual, factors] = [2, 3, 5].map(|arg| asm.arg(arg));
        let (ends, first) = (self.code.ends, block * self.code.window.positions());
        let (out, residual) =
            (out.at((first * ends.vector(self.code.lanes)) as i64), residual.at((first * self.code.lanes) as i64));
        ends.store(asm, sums, factors.at((block * 4 * self.code.lanes) as i64), out, residual);
    }
}
