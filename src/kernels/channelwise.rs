//! Convolution in which each output lane reads its own input lanes: depthwise convolution, where the input is
//! taken as it is, and convolution of small groups, whose input channels were spread by a permute kernel so that
//! vector `m` of an output block holds the `m`-th input channel of each lane's group.
//!
//! An input vector is loaded once for a row of the tile and used under every kernel column that meets it.

use super::epilogue::Epilogue;
use super::nest::{self, KernelNest};
use super::permute::Source;
use super::taps::{Rows, Segment, limit_columns, segments};
use super::{Constant, Family, Kernel, Layout, Lowered, NodeView, Target};
use crate::codegen::vector::{R, V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa, NestBuilder, Word};
use crate::ir::weights::Values;
use crate::layers::{Conv, Op};

/// Every decision about one channelwise convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct Conf {
    pub lanes: usize,
    pub channels: usize,
    /// Input channels of one group: input vectors for each output vector.
    pub multiplicity: usize,
    pub rows: Rows,
    pub kernel_rows: usize,
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub pad: usize,
    /// Size of the last input dimension, and of all.
    pub input_columns: usize,
    pub input_positions: usize,
    pub columns: usize,
    pub segments: Vec<Segment>,
    pub epilogue: Epilogue,
    pub bias: bool,
}

/// Makes the conf of a convolution in groups.
///
/// # Errors
/// Why this kernel cannot do it.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, String> {
    let Op::Conv(conv) = node.op else { return Err("not a convolution".into()) };
    let input = &node.inputs[0];
    if conv.groups == 1 {
        return Err("one group".into());
    }
    let multiplicity = conv.group_in(input.ty);
    let conf = conf(node, conv, multiplicity, target);
    let kernel = Kernel::Channelwise(conf);
    if multiplicity == 1 && conv.channels == conv.groups {
        return Ok(Lowered { inputs: vec![Layout::Blocked], output: Layout::Blocked, kernel, spread: None });
    }
    let spread = spread(conv, multiplicity, target.lanes);
    Ok(Lowered { inputs: vec![Layout::Blocked], output: Layout::Blocked, kernel, spread: Some(spread) })
}

/// The input channel that each channel of the spread input holds.
fn spread(conv: &Conv, multiplicity: usize, lanes: usize) -> Vec<Source> {
    let group_out = conv.channels / conv.groups;
    let blocks = conv.channels.div_ceil(lanes);
    let channel = |index: usize| {
        let (vector, lane) = (index / lanes, index % lanes);
        let (block, member) = (vector / multiplicity, vector % multiplicity);
        // Lanes behind the last channel repeat it: what they compute is padding.
        let out = (block * lanes + lane).min(conv.channels - 1);
        Source { operand: 0, channel: out / group_out * multiplicity + member }
    };
    (0..blocks * multiplicity * lanes).map(channel).collect()
}

fn conf(node: &NodeView, conv: &Conv, multiplicity: usize, target: &Target) -> Conf {
    let spatial = node.inputs[0].ty.spatial();
    let (window, input) = limit_columns(conv.window.resolve(spatial).expect("verified"), spatial);
    let dim = window.out.len() - 1;
    // Beside the sums: one register for each kernel column and one for the input, or one for a weight only.
    let by_input = target.registers.saturating_sub(window.kernel[dim] + 1);
    let pixels = if by_input >= 4 { by_input } else { target.registers - 1 };
    Conf {
        lanes: target.lanes,
        channels: conv.channels,
        multiplicity,
        rows: Rows::new(&window, &input),
        kernel_rows: window.kernel[..dim].iter().product(),
        kernel: window.kernel[dim],
        stride: window.stride[dim],
        dilation: window.dilation[dim],
        pad: window.pads[dim].0,
        input_columns: input[dim],
        input_positions: input.iter().product(),
        columns: window.out[dim],
        segments: segments(&window, input[dim], pixels),
        epilogue: node.epilogue.clone(),
        bias: conv.bias,
    }
}

impl Conf {
    fn vector(&self) -> i64 {
        (self.lanes * 4) as i64
    }

    fn blocks(&self) -> usize {
        self.channels.div_ceil(self.lanes)
    }

    pub(crate) fn taps(&self) -> usize {
        self.kernel_rows * self.kernel
    }

    /// `[block][member of the group][kernel row][kernel column][lane]`, then one row of biases.
    fn pack(&self, weight: &[f32], bias: Option<&[f32]>) -> Vec<f32> {
        let (m, taps) = (self.multiplicity, self.taps());
        let mut packed = Vec::with_capacity(self.blocks() * (m * taps + 1) * self.lanes);
        for block in 0..self.blocks() {
            let value = |lane: usize, values: &[f32], index: usize, stride: usize| {
                let channel = block * self.lanes + lane;
                if channel < self.channels { values[channel * stride + index] } else { 0.0 }
            };
            for index in 0..m * taps {
                packed.extend((0..self.lanes).map(|lane| value(lane, weight, index, m * taps)));
            }
            packed.extend((0..self.lanes).map(|lane| bias.map_or(0.0, |b| value(lane, b, 0, 1))));
        }
        packed
    }

    /// Bytes of the weights and biases of one block.
    pub(crate) fn weight_block(&self) -> i64 {
        (self.multiplicity * self.taps() + 1) as i64 * self.vector()
    }

    /// The weights of a kernel row stay in registers.
    fn weights_fit(&self, registers: usize, pixels: usize) -> bool {
        pixels + self.kernel < registers
    }
}

impl Family for Conf {
    fn name(&self) -> String {
        let kind = if self.multiplicity == 1 { "depthwise" } else { "grouped" };
        let pixels = self.segments.iter().map(|s| s.pixels).max().unwrap_or(0);
        format!("conv_{kind}_f32_{}c{pixels}_{}x{}", self.lanes, self.kernel_rows, self.kernel)
    }

    fn tasks(&self) -> usize {
        self.blocks()
    }

    /// The residual operand: a light epilogue reads it where it is about to store.
    fn may_overwrite(&self, index: usize) -> bool {
        index == 1 && self.epilogue.is_light()
    }

    fn constants(&self, params: &[Values<'_>]) -> Vec<Constant<'_>> {
        let row = self.input_columns as i64 * self.vector();
        vec![
            Constant::F32(self.pack(&params[0], self.bias.then(|| &*params[1]))),
            Constant::I64(self.rows.table(row, self.kernel as i64 * self.vector())),
        ]
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let tiles: Vec<FuncId> = self
            .segments
            .iter()
            .enumerate()
            .map(|(index, segment)| {
                module.define_tile(&format!("{name}_tile{index}"), isa, 5, &mut |asm| self.emit(asm, segment))
            })
            .collect::<Result<_, _>>()?;
        nest::define(name, module, |nest| self.generate_nest(nest, &tiles))
    }
}

impl Conf {
    fn generate_nest(&self, nest: &mut NestBuilder, tiles: &[FuncId]) {
        let residual = self.epilogue.operands();
        let block_bytes = (self.rows.len() * self.columns) as i64 * self.vector();
        let input_bytes = (self.multiplicity * self.input_positions) as i64 * self.vector();
        nest.for_tasks(self.tasks(), |nest, sample, block| {
            let out = nest.sample_pointer(0, sample);
            let out = nest.offset_by(out, block, block_bytes);
            let input = nest.sample_pointer(1, sample);
            let input = nest.offset_by(input, block, input_bytes);
            let residual = match residual {
                0 => out,
                _ => {
                    let pointer = nest.sample_pointer(2, sample);
                    nest.offset_by(pointer, block, block_bytes)
                }
            };
            let constants = 2 + self.epilogue.operands();
            let weights = nest.constant_pointer(constants);
            let weights = nest.offset_by(weights, block, self.weight_block());
            let table = nest.constant_pointer(constants + 1);
            self.generate_rows(nest, [input, weights, out, residual, table], tiles);
        });
    }

    fn generate_rows(&self, nest: &mut NestBuilder, pointers: [Word; 5], tiles: &[FuncId]) {
        let [input, weights, out, residual, table] = pointers;
        let row_bytes = self.columns as i64 * self.vector();
        nest.repeat(self.rows.len(), |nest, row| {
            let entry = nest.offset_by(table, row, 16);
            let (base, list) = (nest.load(entry, 0), nest.load(entry, 8));
            let (input, taps) = (nest.add(input, base), nest.add(table, list));
            let out = nest.offset_by(out, row, row_bytes);
            let residual = nest.offset_by(residual, row, row_bytes);
            for (segment, &tile) in self.segments.iter().zip(tiles) {
                nest.repeat(segment.repeat, |nest, index| {
                    let first = (segment.start * self.stride) as i64 - self.pad as i64;
                    let input = nest.add_imm(input, first * self.vector());
                    let input = nest.offset_by(input, index, (segment.pixels * self.stride) as i64 * self.vector());
                    let column = segment.start as i64 * self.vector();
                    let out = nest.add_imm(out, column);
                    let out = nest.offset_by(out, index, segment.pixels as i64 * self.vector());
                    let residual = nest.add_imm(residual, column);
                    let residual = nest.offset_by(residual, index, segment.pixels as i64 * self.vector());
                    nest.call(tile, &[input, weights, out, residual, taps]);
                });
            }
        });
    }

    /// Emits one tile: `(input, weights, out, residual, taps)`.
    fn emit(&self, asm: &mut dyn VectorAsm, segment: &Segment) {
        let sums: Vec<V> = (0..segment.pixels).map(|_| asm.vec()).collect();
        let (input, weights) = (asm.arg(0), asm.arg(1));
        asm.load(sums[0], weights.at((self.weight_block() - self.vector()) as i32));
        sums[1..].iter().for_each(|&sum| asm.copy(sum, sums[0]));
        let members = asm.int();
        asm.set_int(members, self.multiplicity as i64);
        let group = asm.loop_begin(members);
        self.emit_rows(asm, segment, &sums);
        asm.add_imm(input, self.input_positions as i64 * self.vector());
        asm.add_imm(weights, self.taps() as i64 * self.vector());
        asm.loop_end(group);
        let (out, residual) = (asm.arg(2), asm.arg(3));
        self.epilogue.finish(asm, &sums, out, residual);
    }

    fn emit_rows(&self, asm: &mut dyn VectorAsm, segment: &Segment, sums: &[V]) {
        let [taps, count, row_input, row_weights] = [0; 4].map(|_| asm.int());
        asm.copy_int(taps, asm.arg(4));
        asm.load_int(count, taps.at(0));
        let any = asm.if_nonzero(count);
        let rows = asm.loop_begin(count);
        asm.load_int(row_input, taps.at(8));
        asm.add_int(row_input, asm.arg(0));
        asm.load_int(row_weights, taps.at(16));
        asm.add_int(row_weights, asm.arg(1));
        asm.add_imm(taps, 16);
        if self.weights_fit(asm.registers(), sums.len()) {
            self.emit_by_input(asm, segment, sums, row_input, row_weights);
        } else {
            self.emit_by_tap(asm, segment, sums, row_input, row_weights);
        }
        asm.loop_end(rows);
        asm.end_if(any);
        [taps, count, row_input, row_weights].into_iter().for_each(|r| asm.free_int(r));
    }

    /// One kernel row: all its weights in registers, each input vector loaded once.
    fn emit_by_input(&self, asm: &mut dyn VectorAsm, segment: &Segment, sums: &[V], input: R, weights: R) {
        let row: Vec<V> = (0..self.kernel).map(|_| asm.vec()).collect();
        for (k, &w) in row.iter().enumerate() {
            asm.load(w, weights.at((k * self.lanes * 4) as i32));
        }
        let x = asm.vec();
        for column in 0..(segment.pixels - 1) * self.stride + (self.kernel - 1) * self.dilation + 1 {
            let users: Vec<(usize, usize)> = (0..segment.pixels)
                .flat_map(|p| (0..self.kernel).map(move |k| (p, k)))
                .filter(|&(p, k)| p * self.stride + k * self.dilation == column && segment.sees(p, k))
                .collect();
            if !users.is_empty() {
                asm.load(x, input.at((column * self.lanes * 4) as i32));
                users.iter().for_each(|&(p, k)| asm.fma(sums[p], x, row[k]));
            }
        }
        row.into_iter().chain([x]).for_each(|v| asm.free(v));
    }

    /// One kernel row, one weight at a time: for wide kernels.
    fn emit_by_tap(&self, asm: &mut dyn VectorAsm, segment: &Segment, sums: &[V], input: R, weights: R) {
        let w = asm.vec();
        for k in 0..self.kernel {
            asm.load(w, weights.at((k * self.lanes * 4) as i32));
            for (p, &sum) in sums.iter().enumerate().filter(|&(p, _)| segment.sees(p, k)) {
                asm.fma_load(sum, w, input.at(((p * self.stride + k * self.dilation) * self.lanes * 4) as i32));
            }
        }
        asm.free(w);
    }
}
