//! Depthwise convolution on whole numbers, with dot products of four bytes, or with products of halves where there are none.
//!
//! Four positions of a block of channels are 64 bytes side by side. Put in the order of channels they are, for each
//! channel, four neighbours of a row, of which one instruction adds the products with up to four taps. Outputs whose
//! windows begin elsewhere in the same four positions have their taps elsewhere in the vector of weights: a *pattern*. With
//! halves it is one position at a time, and a pattern is a tap.

use super::bands::{Descent, Planes};
use super::dots::Products;
use super::geometry::Geometry;
use super::nest::{self, KernelNest, Part, Parts};
use super::requantise::{self, Ends};
use super::{Conf, Constant, Family, Layout, Lowered, NodeView, Target, Why};
use crate::codegen::vector::{Mem, V, VectorAsm, repeat};
use crate::codegen::{Bytes, CodeError, CodeModule, FuncId, Isa, NestBuilder, Word};
use crate::ir::integer::Integer;
use crate::ir::weights::Values;
use crate::layers::Op;
use crate::tensor::Quantisation;

/// Every decision about one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    /// Channels of a block.
    lanes: usize,
    /// Four neighbours are multiplied at a time, for which bytes must be moved; else one, as a half.
    quads: bool,
    /// Vectors of a tile.
    registers: usize,
    pub(super) channels: usize,
    pub(super) blocks: usize,
    /// With the input as it is around padded.
    pub(super) window: Geometry,
    input: Quantisation,
    pub(super) ends: Ends,
    /// Positions of a tile.
    pub(super) run: usize,
    /// Where not all positions of a block are in memory: see [`super::bands`].
    planes: Option<Planes>,
}

/// Bytes of a lane, which are neighbours where bytes are multiplied.
const QUAD: usize = 4;

/// Positions of a tile at most: enough that sums do not wait for each other.
const MAX_RUN: usize = 16;

/// Instructions of a tile that add products, at most.
const MAX_PRODUCTS: usize = 1000;

/// The columns of taps whose weights meet four neighbours.
type Pattern = [Option<usize>; QUAD];

/// Four neighbours, from a position on, and the outputs of a tile with the pattern that they have there.
pub(super) struct Load {
    position: usize,
    uses: Vec<(usize, Pattern)>,
}

/// Makes the kernel of a depthwise convolution on whole numbers.
///
/// # Errors
/// Why this kernel cannot do it.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, Why> {
    let (Some(Integer::Product { input, residual, output }), Op::Conv(conv)) = (node.integer, node.op) else {
        return Err(Why::unfit("no convolution on whole numbers"));
    };
    let (ty, channels) = (node.inputs[0].ty, node.output.channels());
    if conv.groups == 1 || conv.groups != channels || channels != ty.channels() {
        return Err(Why::unfit("not depthwise"));
    }
    let quads = target.bytes >= Bytes::Tables;
    if target.bytes == Bytes::None {
        return Err(Why::unfit("no vectors of bytes"));
    }
    let (lanes, registers) = (target.lanes, target.registers);
    let resolved = conv.window.resolve(ty.spatial()).expect("verified");
    let (front, mut window) = Geometry::of(&resolved, ty.spatial())?;
    if window.kernel == [1; 3] {
        return Err("a tap alone".into());
    }
    // Loads of four positions may begin at the last one that a window sees.
    let last = (window.out[2] - 1) * window.stride[2] + (window.kernel[2] - 1) * window.dilation[2];
    window.input[2] = window.input[2].max(last + if quads { QUAD } else { 1 });
    let blocks = channels.div_ceil(lanes);
    let ends = Ends { residual, output };
    let mut code = Code { lanes, quads, registers, channels, blocks, window, input, ends, run: MAX_RUN, planes: None };
    code.cut()?;
    let padded = code.window.padded(front, ty.spatial(), input.zero_point());
    let kernel = Conf { code, tables: () }.into();
    Ok(Lowered { kernel, inputs: vec![Layout::Blocked], output: Layout::Blocked, spread: None, padded })
}

impl Code {
    /// Finds the positions of a tile: all of a row, or equal parts of it.
    fn cut(&mut self) -> Result<(), Why> {
        let columns = self.window.out[2];
        self.run = MAX_RUN.min(columns);
        let others = (self.patterns().len() + 2).max(requantise::REGISTERS);
        let room = self.registers.saturating_sub(others).max(1);
        self.run = columns.div_ceil(columns.div_ceil(self.run.min(room)));
        let products: usize = self.row(self.run).iter().map(|load| load.uses.len()).sum();
        if products * self.window.kernel[1] > MAX_PRODUCTS || self.patterns().len() + self.run + 2 > self.registers {
            return Err("many taps".into());
        }
        let reach = self.blocks * self.lanes * self.window.seen().max(4 * self.window.positions());
        if reach > i32::MAX as usize {
            return Err("offsets beyond 32 bits".into());
        }
        Ok(())
    }

    /// Neighbours that are multiplied together.
    fn together(&self) -> usize {
        if self.quads { QUAD } else { 1 }
    }

    /// How a tile of so many positions adds the products of a row of taps.
    pub(super) fn row(&self, run: usize) -> Vec<Load> {
        let cost = |row: &[Load]| row.iter().map(|load| 1 + load.uses.len()).sum::<usize>();
        let [own, shared] = [self.own_loads(run), self.shared_loads(run)];
        if cost(&own) <= cost(&shared) { own } else { shared }
    }

    /// The position under each tap of an output.
    fn seen(&self, output: usize) -> impl Iterator<Item = (usize, usize)> {
        let (stride, dilation) = (self.window.stride[2], self.window.dilation[2]);
        (0..self.window.kernel[2]).map(move |tap| (tap, output * stride + tap * dilation))
    }

    /// Loads that begin where the window of an output does, and serve those outputs too that see no more.
    fn own_loads(&self, run: usize) -> Vec<Load> {
        let mut loads: Vec<Load> = Vec::new();
        for output in 0..run {
            let last = self.seen(output).last().map_or(0, |(_, position)| position);
            let first = output * self.window.stride[2];
            let whole =
                loads.last().is_some_and(|load| load.position <= first && last < load.position + self.together());
            let mut from = if whole { loads.len() - 1 } else { loads.len() };
            for (tap, position) in self.seen(output) {
                if from < loads.len() && position >= loads[from].position + self.together() {
                    from = loads.len();
                }
                if from == loads.len() {
                    loads.push(Load { position, uses: Vec::new() });
                }
                loads[from].add(output, tap, position);
            }
        }
        loads
    }

    /// Loads that lie side by side.
    fn shared_loads(&self, run: usize) -> Vec<Load> {
        let mut loads: Vec<Load> = Vec::new();
        for (output, (tap, position)) in (0..run).flat_map(|output| self.seen(output).map(move |seen| (output, seen))) {
            let start = position / self.together() * self.together();
            let known = loads.iter().position(|load| load.position == start);
            let index = known.unwrap_or(loads.len());
            if known.is_none() {
                loads.push(Load { position: start, uses: Vec::new() });
            }
            loads[index].add(output, tap, position);
        }
        loads
    }

    /// Positions of the tiles of a row: those of a run, and what is left.
    fn runs(&self) -> [usize; 2] {
        [self.run, self.window.out[2] % self.run]
    }

    /// All that the tiles use.
    fn patterns(&self) -> Vec<Pattern> {
        let of_run = |run: usize| self.row(run).into_iter().flat_map(|load| load.uses).map(|(_, pattern)| pattern);
        let mut patterns: Vec<Pattern> = self.runs().into_iter().flat_map(of_run).collect();
        patterns.sort_unstable();
        patterns.dedup();
        patterns
    }

    /// Bytes of a vector.
    fn vector(&self) -> usize {
        QUAD * self.lanes
    }

    /// Bytes of the constants of a block: the order of channels, and `[plane of taps][row][pattern][lane][4]`.
    fn weights_of_block(&self) -> usize {
        self.vector() * (1 + self.rows() * self.patterns().len())
    }

    /// Rows of taps.
    fn rows(&self) -> usize {
        self.window.kernel[0] * self.window.kernel[1]
    }

    fn pack(&self, weights: &[i8]) -> Vec<u8> {
        let (patterns, rows, columns) = (self.patterns(), self.rows(), self.window.kernel[2]);
        let mut packed = vec![0; self.blocks * self.weights_of_block()];
        for (block, packed) in packed.chunks_mut(self.weights_of_block()).enumerate() {
            let (order, packed) = packed.split_at_mut(self.vector());
            order.iter_mut().enumerate().for_each(|(to, from)| *from = (to % QUAD * self.lanes + to / QUAD) as u8);
            for (index, vector) in packed.chunks_mut(self.vector()).enumerate() {
                let (row, pattern) = (index / patterns.len(), patterns[index % patterns.len()]);
                for lane in 0..self.lanes.min(self.channels - block * self.lanes) {
                    let first = ((block * self.lanes + lane) * rows + row) * columns;
                    let weight = |tap: Option<usize>| tap.map_or(0, |tap| weights[first + tap]);
                    let bytes = match self.quads {
                        true => pattern.map(|tap| weight(tap) as u8),
                        // The half above it meets none.
                        false => i32::from(weight(pattern[0])).to_le_bytes(),
                    };
                    vector[lane * QUAD..][..QUAD].copy_from_slice(&bytes);
                }
            }
        }
        packed
    }
}

impl Load {
    fn add(&mut self, output: usize, tap: usize, position: usize) {
        if self.uses.last().is_none_or(|&(last, _)| last != output) {
            self.uses.push((output, [None; QUAD]));
        }
        let (_, pattern) = self.uses.last_mut().expect("one was added");
        pattern[position - self.position] = Some(tap);
    }
}

impl Family for Code {
    type Tables = ();

    fn name(&self) -> String {
        let products = if self.quads { Products::Bytes } else { Products::Halves };
        format!("conv_depthwise_u8_{}c{}_{}", self.lanes, self.run, products.name(self.lanes))
    }

    fn tasks(&self) -> usize {
        self.parts().count() * self.blocks
    }

    fn constants<'a>(&'a self, (): &'a (), params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        self.ends.constants(params, self.input, self.blocks * self.lanes, |weights| self.pack(weights))
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let mut tiles = [None; 2];
        for (tile, run) in tiles.iter_mut().zip(self.runs()).filter(|(_, run)| *run > 0) {
            let name = format!("{name}_{run}");
            *tile = Some(module.define_tile(&name, isa, 6, &mut |asm| self.emit(asm, run))?);
        }
        nest::define(name, module, |nest| {
            nest::for_parts(nest, self.parts(), self.blocks, |nest, sample, block, part| {
                self.emit_block(nest, [sample, block], part, tiles);
            });
        })
    }
}

impl Code {
    fn parts(&self) -> Parts {
        self.window.parts_of(self.planes, [1, self.run], self.blocks)
    }

    /// See [`super::Kernel::banded`].
    pub(super) fn banded(&self, planes: Planes) -> Option<Code> {
        self.window.goes_down().then(|| Code { planes: Some(planes), ..self.clone() })
    }

    /// See [`super::Kernel::descent`].
    pub(super) fn descent(&self) -> Option<Descent> {
        self.planes.map(|_| self.window.descent([1, self.run], self.blocks))
    }

    /// All positions of one block, or those of a part, by the tile of a run and that of what is left of a row.
    fn emit_block(&self, nest: &mut NestBuilder, [sample, block]: [Word; 2], part: Part, tiles: [Option<FuncId>; 2]) {
        let residuals = usize::from(self.ends.residual.is_some());
        let vector = self.ends.vector(self.lanes);
        let operand = |nest: &mut NestBuilder, operand: usize, bytes: usize| {
            let pointer = nest.sample_pointer(operand, sample);
            nest.offset_by(pointer, block, bytes as i64)
        };
        let planes = self.window.planes(self.planes);
        let y = operand(nest, 0, planes.output * vector);
        let x = operand(nest, 1, planes.input * self.lanes);
        // Without one nobody reads it.
        let r = if residuals == 0 { y } else { operand(nest, 2, planes.output * self.lanes) };
        let constant = |nest: &mut NestBuilder, index: usize, bytes: usize| {
            let pointer = nest.constant_pointer(2 + residuals + index);
            nest.offset_by(pointer, block, bytes as i64)
        };
        let weights = constant(nest, 0, self.weights_of_block());
        let (begin, factors) = (constant(nest, 1, 4 * self.lanes), constant(nest, 2, 4 * self.lanes));
        let window = &self.window;
        let cursors = [window.of_input(x, self.lanes), window.of_output(y, vector), window.of_output(r, self.lanes)];
        window.for_runs(nest, [1, self.run], tiles, part, &cursors, |nest, tile, at| {
            nest.call(tile, &[at[0], weights, at[1], at[2], begin, factors]);
        });
    }

    /// The tile `(input, weights, output, residual, beginnings, factors)` of a run of positions.
    fn emit(&self, asm: &mut dyn VectorAsm, run: usize) {
        let [x, weights, out, residual, begin, factors] = std::array::from_fn(|index| asm.arg(index));
        let (patterns, row) = (self.patterns(), self.row(run));
        let sums: Vec<V> = (0..run).map(|_| asm.vec()).collect();
        asm.load(sums[0], begin.at(0));
        sums[1..].iter().for_each(|&sum| asm.copy(sum, sums[0]));
        // The order of channels, or the products that are still to be added.
        let [helper, seen] = [(); 2].map(|()| asm.vec());
        if self.quads {
            asm.load(helper, weights.at(0));
        }
        let w: Vec<V> = patterns.iter().map(|_| asm.vec()).collect();
        let [planes, rows, _] = self.window.kernel;
        repeat(asm, planes, &mut |asm| {
            for tap_row in 0..rows {
                for (index, &w) in w.iter().enumerate() {
                    asm.load(w, weights.at((self.vector() * (1 + tap_row * patterns.len() + index)) as i64));
                }
                for load in &row {
                    let at = x.at(((tap_row * self.window.step(1) + load.position) * self.lanes) as i64);
                    self.emit_load(asm, load, at, [helper, seen], &|pattern| w[index_of(&patterns, pattern)], &sums);
                }
            }
            asm.add_imm(x, (self.window.step(0) * self.lanes) as i64);
            asm.add_imm(weights, (self.vector() * rows * patterns.len()) as i64);
        });
        w.into_iter().chain([helper, seen]).for_each(|v| asm.free(v));
        self.ends.store(asm, &sums, factors.at(0), out.at(0), residual.at(0));
        sums.into_iter().for_each(|sum| asm.free(sum));
    }

    /// Adds the products of the neighbours at a place.
    fn emit_load(
        &self,
        asm: &mut dyn VectorAsm,
        load: &Load,
        at: Mem,
        [helper, seen]: [V; 2],
        weights: &dyn Fn(&Pattern) -> V,
        sums: &[V],
    ) {
        match self.quads {
            true => asm.permute_bytes(seen, helper, at),
            false => asm.load_bytes(seen, at),
        }
        for (output, pattern) in &load.uses {
            let (sum, w) = (sums[*output], weights(pattern));
            match self.quads {
                true => asm.dot_bytes(sum, seen, w),
                false => {
                    asm.multiply_halves(helper, seen, w);
                    asm.add_bits(sum, sum, helper);
                }
            }
        }
    }
}

fn index_of(patterns: &[Pattern], pattern: &Pattern) -> usize {
    patterns.binary_search(pattern).expect("they are sorted, and all of them")
}
