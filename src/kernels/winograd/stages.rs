//! The tiles of the transforms. Both transform first along columns, from row to row, then along rows; between the two
//! steps the values lie in memory of the thread, a strip of columns for the input and a patch for the output.
//!
//! The first step of the input looks at every value it reads: see [`Range`].

use super::Code;
use super::dim::Span;
use super::transform::{Coefficients, Emitter, Matrices};
use crate::codegen::vector::{R, V, VectorAsm};

/// Where the two guards lie before the patch (see [`Range`]): that of whole blocks of channels, and behind it that of a
/// last block with channels that are none. Before them is the address of the bias, which finds no room among the
/// arguments.
pub const GUARDS: i64 = 64;

/// Bytes before the patch.
pub const FRAME_BYTES: i64 = GUARDS + 2 * 64;

/// What is known of the inputs of some tiles.
///
/// A sum of squares is finite where all of its terms are below 2^64 in magnitude, and not where one is NaN or infinite.
/// So one FMA a vector tells whether any input of a group of tiles is none of these. Of such a group, each output is
/// made by itself (see `NestEmitter::single_outputs`), from inputs that are made smaller at first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// Nothing: the sums of squares, times 0, are added to the guard.
    Unknown,
    /// They are below 2^64.
    Known,
    /// They may be anything.
    Any,
}

/// What inputs that may be anything are multiplied by, and the sums of their products by its inverse: 2^-40.
const SMALLER: f32 = 1.0 / (1u64 << 40) as f32;

/// Emits the tiles of a convolution.
pub struct Stages<'a> {
    pub conf: &'a Code,
    pub coefficients: &'a Coefficients,
}

impl Stages<'_> {
    fn emitter<'m>(&'m self, matrices: &'m Matrices, table: R) -> Emitter<'m> {
        Emitter { matrices, coefficients: self.coefficients, table }
    }

    /// First step of the input, `(input, strip, columns, coefficients)` and, where the range is unknown, the guard: a
    /// row of tiles, one input column after the other. The input pointer is that of the first row that is not padding.
    pub fn input_columns(&self, asm: &mut dyn VectorAsm, span: Span, range: Range) {
        let (conf, matrices) = (self.conf, self.conf.dims[0].matrices(span.outputs));
        let (input, strip, columns) = (asm.arg(0), asm.arg(1), asm.arg(2));
        let (emitter, stride) = (self.emitter(&matrices, asm.arg(3)), conf.strip_stride());
        // The sum of squares, or the factor.
        let extra = asm.vec();
        asm.splat(extra, if range == Range::Any { SMALLER } else { 0.0 });
        let looped = asm.loop_begin(columns);
        let x: Vec<Option<V>> = (0..matrices.size())
            .map(|row| {
                (span.first..span.last).contains(&row).then(|| {
                    let x = asm.vec();
                    asm.load(x, input.at((row - span.first) as i64 * conf.input_row()));
                    x
                })
            })
            .collect();
        let real: Vec<V> = x.iter().copied().flatten().collect();
        match range {
            Range::Unknown => add_squares(asm, extra, &real),
            Range::Known => {}
            Range::Any => real.iter().for_each(|&x| asm.mul(x, x, extra)),
        }
        emitter.input(asm, &x, &mut |asm, f, value| asm.store(strip.at(f as i64 * stride), value));
        real.into_iter().for_each(|v| asm.free(v));
        asm.add_imm(input, conf.vector());
        asm.add_imm(strip, conf.vector());
        asm.loop_end(looped);
        if range == Range::Unknown {
            // 0, or NaN.
            let (guard, zero) = (asm.arg(4), asm.vec());
            asm.splat(zero, 0.0);
            asm.mul(extra, extra, zero);
            asm.load(zero, guard.at(0));
            asm.add(extra, extra, zero);
            asm.store(guard.at(0), extra);
            asm.free(zero);
        }
        asm.free(extra);
    }

    /// Second step of the input, `(strip, V, rows, tiles, coefficients)`: a run of tiles that have `outputs` columns of
    /// outputs; `rows` are those of the strip.
    pub fn input_rows(&self, asm: &mut dyn VectorAsm, outputs: usize) {
        let (conf, matrices) = (self.conf, self.conf.dims[1].matrices(outputs));
        let emitter = self.emitter(&matrices, asm.arg(4));
        let (strip, v, count) = (asm.int(), asm.int(), asm.int());
        let rows = asm.loop_begin(asm.arg(2));
        asm.copy_int(strip, asm.arg(0));
        asm.copy_int(v, asm.arg(1));
        asm.copy_int(count, asm.arg(3));
        let tiles = asm.loop_begin(count);
        let x: Vec<Option<V>> = load_all(asm, matrices.size(), strip, conf.vector()).into_iter().map(Some).collect();
        emitter.input(asm, &x, &mut |asm, f, value| asm.store(v.at(f as i64 * conf.v_stride()), value));
        x.into_iter().flatten().for_each(|v| asm.free(v));
        asm.add_imm(strip, outputs as i64 * conf.vector());
        asm.add_imm(v, conf.vector());
        asm.loop_end(tiles);
        asm.add_imm(asm.arg(0), conf.strip_stride());
        asm.add_imm(asm.arg(1), conf.dims[1].size() as i64 * conf.v_stride());
        asm.loop_end(rows);
    }

    /// `(strip, columns)`: fills columns of the strip, which are padding, with zeros.
    pub fn clear_columns(&self, asm: &mut dyn VectorAsm) {
        let (strip, columns, zero) = (asm.arg(0), asm.arg(1), asm.vec());
        asm.splat(zero, 0.0);
        let looped = asm.loop_begin(columns);
        for row in 0..self.conf.dims[0].size() {
            asm.store(strip.at(row as i64 * self.conf.strip_stride()), zero);
        }
        asm.add_imm(strip, self.conf.vector());
        asm.loop_end(looped);
    }

    /// Both steps of the output, `(M, output, residual, frame and patch, tiles, coefficients)`: a run of tiles of this
    /// many rows and columns of outputs.
    pub fn output(&self, asm: &mut dyn VectorAsm, outputs: [usize; 2], range: Range) {
        let conf = self.conf;
        let matrices = [0, 1].map(|d| conf.dims[d].matrices(outputs[d]));
        let [columns, rows] = [0, 1].map(|d| self.emitter(&matrices[d], asm.arg(5)));
        let (m, out, residual, patch) = (asm.arg(0), asm.arg(1), asm.arg(2), asm.arg(3));
        let size = matrices[1].size();
        let looped = asm.loop_begin(asm.arg(4));
        for f in 0..size {
            let stride = conf.dims[1].size() as i64 * conf.m_stride();
            let x = load_at(asm, matrices[0].size(), m, f as i64 * conf.m_stride(), stride);
            for (row, value) in columns.output(asm, x).into_iter().enumerate() {
                let position = (row * size + f) as i64 * conf.vector();
                asm.store(patch.at(FRAME_BYTES + position), value);
                asm.free(value);
            }
        }
        for row in 0..outputs[0] {
            let start = FRAME_BYTES + (row * size) as i64 * conf.vector();
            let x = load_at(asm, size, patch, start, conf.vector());
            let values = rows.output(asm, x);
            if range == Range::Any {
                let larger = asm.vec();
                asm.splat(larger, 1.0 / SMALLER);
                values.iter().for_each(|&value| asm.mul(value, value, larger));
                asm.free(larger);
            }
            self.add_bias(asm, &values, patch);
            conf.epilogue.finish(asm, &values, out, residual, conf.lanes);
            if conf.is_written_afar() {
                let next = (outputs[1]..2 * outputs[1]).map(|column| column as i64 * conf.vector());
                next.for_each(|offset| asm.prefetch_to_write(out.at(offset)));
            }
            asm.add_imm(out, conf.output_row());
            asm.add_imm(residual, conf.output_row());
        }
        let next = outputs[1] as i64 * conf.vector() - outputs[0] as i64 * conf.output_row();
        asm.add_imm(out, next);
        asm.add_imm(residual, next);
        asm.add_imm(m, conf.vector());
        asm.loop_end(looped);
    }

    fn add_bias(&self, asm: &mut dyn VectorAsm, values: &[V], frame: R) {
        if !self.conf.bias {
            return;
        }
        let (address, bias) = (asm.int(), asm.vec());
        asm.load_int(address, frame.at(0));
        asm.load(bias, address.at(0));
        values.iter().for_each(|&value| asm.add(value, value, bias));
        asm.free(bias);
        asm.free_int(address);
    }
}

/// Adds the squares of `values` to `sum`: in a chain of their own, which those of other columns need not wait for.
fn add_squares(asm: &mut dyn VectorAsm, sum: V, values: &[V]) {
    let Some((&first, rest)) = values.split_first() else { return };
    let squares = asm.vec();
    asm.mul(squares, first, first);
    rest.iter().for_each(|&value| asm.fma(squares, value, value));
    asm.add(sum, sum, squares);
    asm.free(squares);
}

fn load_all(asm: &mut dyn VectorAsm, count: usize, base: R, stride: i64) -> Vec<V> {
    load_at(asm, count, base, 0, stride)
}

/// `count` vectors, `stride` bytes apart.
fn load_at(asm: &mut dyn VectorAsm, count: usize, base: R, start: i64, stride: i64) -> Vec<V> {
    let load = |i: usize| {
        let x = asm.vec();
        asm.load(x, base.at(start + i as i64 * stride));
        x
    };
    (0..count).map(load).collect()
}
