//! The products of Winograd convolution: for each frequency, a matrix `[tiles, channels in]` of the transformed input
//! times the matrix `[channels in, channels out]` of the transformed weights.
//!
//! A register tile holds `pixels` x `vectors` sums. One function does all tiles of a run for one *panel*: the weights
//! of all input channels for `vectors` vectors of output channels. While it does, it prefetches the next panel and
//! its tiles of the next frequency, for both come from far away.

use super::super::Target;
use super::super::taps::split;
use super::odd_lines;
use crate::codegen::vector::{Mem, R, V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa};
use crate::kernels::fetch::Fetch;
use crate::kernels::long::{CHAIN, Every};
use crate::machine::costs::{WIDE_VECTORS, WINOGRAD_LATENCY, WINOGRAD_TILE};
use crate::machine::{LINE, STANDARD};

/// What all products of a convolution have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Conf {
    pub lanes: usize,
    pub channels_in: usize,
    /// Vectors of output channels.
    pub out_blocks: usize,
    /// Vectors of a panel; the last may have fewer.
    pub vectors: usize,
    /// Vector registers.
    pub registers: usize,
    /// Bytes from one block of channels of V to the next, and the same of M.
    pub block_stride: i64,
    /// Bytes from one frequency of V to the next.
    pub v_stride: i64,
}

/// Panels are never wider than these: more vectors leave too few pixels. Of 16 registers, 3 x 3 measured slower than
/// 6 x 2 even where it divides the tiles better.
fn max_vectors(target: &Target) -> usize {
    match target.isa {
        Isa::Avx512 => WIDE_VECTORS,
        _ if target.registers > 16 => 4,
        _ => 2,
    }
}

impl Conf {
    /// The panel that is fastest for runs of `tiles` tiles, out of `group` tiles that lie side by side.
    pub fn new(target: &Target, channels_in: usize, channels_out: usize, tiles: usize, group: usize) -> Conf {
        let out_blocks = channels_out.div_ceil(target.lanes);
        let block_stride = (group * target.lanes * 4) as i64;
        let conf = |vectors: usize| Conf {
            lanes: target.lanes,
            channels_in,
            out_blocks,
            vectors,
            registers: target.registers,
            block_stride,
            v_stride: odd_lines(channels_in.div_ceil(target.lanes) as i64 * block_stride),
        };
        let confs = (1..=max_vectors(target).min(out_blocks)).map(conf);
        confs.min_by_key(|conf| conf.cycles(tiles)).expect("there is an output channel")
    }

    /// Pixels of a register tile at most. One vector has its pixels as operands without a register between.
    fn max_pixels(&self, vectors: usize) -> usize {
        let element = usize::from(vectors > 1);
        (self.registers - vectors - element) / vectors
    }

    /// Estimated cycles of one frequency on the [`STANDARD`] machine, where as many loads start in a cycle as FMAs.
    pub fn cycles(&self, tiles: usize) -> usize {
        let starts = STANDARD.fma(Isa::Avx2);
        let step =
            |pixels: usize, vectors: usize| (pixels * vectors).max(pixels + vectors).max(starts * WINOGRAD_LATENCY);
        let panel = |vectors: usize| -> usize {
            let runs = split(tiles, self.max_pixels(vectors));
            runs.into_iter().map(|pixels| step(pixels, vectors) * self.channels_in / starts + WINOGRAD_TILE).sum()
        };
        let rest = match self.out_blocks % self.vectors {
            0 => 0,
            vectors => panel(vectors),
        };
        panel(self.vectors) * (self.out_blocks / self.vectors) + rest
    }

    pub fn panels(&self) -> usize {
        self.out_blocks.div_ceil(self.vectors)
    }

    /// Vectors of the last panel.
    fn last_vectors(&self) -> usize {
        self.out_blocks - (self.panels() - 1) * self.vectors
    }

    /// Bytes of the weights of one vector of output channels. Panels lie one after the other, each
    /// `[channel in][vector][lane]`.
    pub fn column_bytes(&self) -> i64 {
        (self.channels_in * self.lanes * 4) as i64
    }

    fn vector(&self) -> i64 {
        (self.lanes * 4) as i64
    }

    /// Pixels of a full register tile and vectors, as in a kernel's name.
    pub fn describe(&self) -> String {
        format!("{}x{}", self.max_pixels(self.vectors), self.vectors)
    }

    /// Functions `(V, panel, M, next panel)` for a run of `tiles` tiles: one for full panels, and one for the last
    /// where it differs.
    pub fn generate(
        &self,
        name: &str,
        isa: Isa,
        tiles: usize,
        module: &mut CodeModule,
    ) -> Result<[FuncId; 2], CodeError> {
        let mut define = |vectors: usize| {
            let name = format!("{name}_product{tiles}x{vectors}");
            module.define_tile(&name, isa, 4, &mut |asm| self.emit(asm, tiles, vectors))
        };
        let full = define(self.vectors)?;
        let last = if self.last_vectors() == self.vectors { full } else { define(self.last_vectors())? };
        Ok([full, last])
    }

    /// All register tiles of a run, one after the other.
    fn emit(&self, asm: &mut dyn VectorAsm, tiles: usize, vectors: usize) {
        let runs = split(tiles, self.max_pixels(vectors));
        // Each register tile prefetches its share of the next panel.
        let lines = (self.lanes * vectors * self.vector() as usize).div_ceil(LINE * runs.len());
        let (largest, repeat) = (runs[0], runs.iter().filter(|&&pixels| pixels == runs[0]).count());
        self.emit_repeated(asm, largest, repeat, vectors, lines);
        if repeat < runs.len() {
            self.emit_repeated(asm, largest - 1, runs.len() - repeat, vectors, lines);
        }
    }

    fn emit_repeated(&self, asm: &mut dyn VectorAsm, pixels: usize, repeat: usize, vectors: usize, lines: usize) {
        let (v, m) = (asm.arg(0), asm.arg(2));
        let advance = |asm: &mut dyn VectorAsm| {
            asm.add_imm(v, pixels as i64 * self.vector());
            asm.add_imm(m, pixels as i64 * self.vector());
        };
        if repeat == 1 {
            self.emit_tile(asm, pixels, vectors, lines);
            return advance(asm);
        }
        let count = asm.int();
        asm.set_int(count, repeat as i64);
        let looped = asm.loop_begin(count);
        self.emit_tile(asm, pixels, vectors, lines);
        advance(asm);
        asm.loop_end(looped);
        asm.free_int(count);
    }

    /// One register tile.
    fn emit_tile(&self, asm: &mut dyn VectorAsm, pixels: usize, vectors: usize, lines: usize) {
        let (input, weights, next) = (asm.int(), asm.int(), asm.arg(3));
        asm.copy_int(input, asm.arg(0));
        asm.copy_int(weights, asm.arg(1));
        let sums: Vec<Vec<V>> = (0..pixels).map(|_| (0..vectors).map(|_| asm.vec()).collect()).collect();
        sums.iter().flatten().for_each(|&sum| asm.splat(sum, 0.0));
        let (blocks, tail) = (self.channels_in / self.lanes, self.channels_in % self.lanes);
        // Of many channels, totals wait in M.
        let totals = (self.channels_in > CHAIN).then(|| Every::chain(asm, self.lanes));
        if totals.is_some() {
            self.for_places(asm, &sums, |asm, sum, m| asm.store(m, sum));
        }
        let total = |asm: &mut dyn VectorAsm, store: bool| {
            let total = asm.vec();
            self.for_places(asm, &sums, |asm, sum, m| {
                asm.load(total, m);
                asm.add(sum, sum, total);
                if store {
                    asm.store(m, sum);
                    asm.splat(sum, 0.0);
                }
            });
            asm.free(total);
        };
        if blocks > 0 {
            let count = asm.int();
            asm.set_int(count, blocks as i64);
            let looped = asm.loop_begin(count);
            let v_lines = (pixels * self.vector() as usize).div_ceil(LINE);
            let fetches =
                [Fetch::new(next, 0, lines, self.lanes), Fetch::new(input, self.v_stride, v_lines, self.lanes)];
            self.emit_channels(asm, &sums, input, weights, self.lanes, &fetches);
            fetches[0].pass(asm);
            asm.add_imm(input, self.block_stride);
            asm.add_imm(weights, (self.lanes * vectors) as i64 * self.vector());
            totals.iter().for_each(|every| every.pass(asm, |asm| total(asm, true)));
            asm.loop_end(looped);
            asm.free_int(count);
        }
        self.emit_channels(asm, &sums, input, weights, tail, &[]);
        if let Some(every) = totals {
            every.end(asm);
            total(asm, false);
        }
        self.for_places(asm, &sums, |asm, sum, m| {
            asm.store(m, sum);
            asm.free(sum);
        });
        [input, weights].into_iter().for_each(|r| asm.free_int(r));
    }

    /// `channels` channels of one block, unrolled.
    fn emit_channels(
        &self,
        asm: &mut dyn VectorAsm,
        sums: &[Vec<V>],
        input: R,
        weights: R,
        channels: usize,
        fetches: &[Fetch],
    ) {
        let row: Vec<V> = sums[0].iter().map(|_| asm.vec()).collect();
        let element = (row.len() > 1).then(|| asm.vec());
        for channel in 0..channels {
            fetches.iter().for_each(|fetch| fetch.step(asm, channel));
            for (v, &weight) in row.iter().enumerate() {
                asm.load(weight, weights.at((channel * row.len() + v) as i64 * self.vector()));
            }
            for (p, pixel) in sums.iter().enumerate() {
                let x = input.at((p as i64 * self.vector()) + channel as i64 * 4);
                match element {
                    Some(element) => {
                        asm.broadcast(element, x);
                        row.iter().zip(pixel).for_each(|(&w, &sum)| asm.fma(sum, w, element));
                    }
                    None => row.iter().zip(pixel).for_each(|(&w, &sum)| asm.fma_broadcast(sum, w, x)),
                }
            }
        }
        row.into_iter().chain(element).for_each(|v| asm.free(v));
    }

    /// Calls `f(asm, sum, its place in M)` for every sum.
    fn for_places(&self, asm: &mut dyn VectorAsm, sums: &[Vec<V>], mut f: impl FnMut(&mut dyn VectorAsm, V, Mem)) {
        let m = asm.int();
        asm.copy_int(m, asm.arg(2));
        for v in 0..sums[0].len() {
            for (p, pixel) in sums.iter().enumerate() {
                f(asm, pixel[v], m.at(p as i64 * self.vector()));
            }
            asm.add_imm(m, self.block_stride);
        }
        asm.free_int(m);
    }
}
