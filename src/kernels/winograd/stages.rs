//! The tiles of the transforms. Both transform first along columns, from row to row, then along rows; between the two
//! steps the values lie in memory of the thread, a strip of columns for the input and a patch for the output.

use super::Code;
use super::dim::Span;
use super::transform::{Coefficients, Emitter, Matrices};
use crate::codegen::vector::{R, V, VectorAsm};

/// Bytes before the patch: the address of the bias, which finds no room among the arguments.
pub const FRAME_BYTES: i64 = 64;

/// Emits the tiles of a convolution.
pub struct Stages<'a> {
    pub conf: &'a Code,
    pub coefficients: &'a Coefficients,
}

impl Stages<'_> {
    fn emitter<'m>(&'m self, matrices: &'m Matrices, table: R) -> Emitter<'m> {
        Emitter { matrices, coefficients: self.coefficients, table }
    }

    /// First step of the input, `(input, strip, columns, coefficients)`: a row of tiles, one input column after the
    /// other. The input pointer is that of the first row that is not padding.
    pub fn input_columns(&self, asm: &mut dyn VectorAsm, span: Span) {
        let (conf, matrices) = (self.conf, self.conf.dims[0].matrices(span.outputs));
        let (input, strip, columns) = (asm.arg(0), asm.arg(1), asm.arg(2));
        let (emitter, stride) = (self.emitter(&matrices, asm.arg(3)), conf.strip_stride());
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
        emitter.input(asm, &x, &mut |asm, f, value| asm.store(strip.at(f as i64 * stride), value));
        x.into_iter().flatten().for_each(|v| asm.free(v));
        asm.add_imm(input, conf.vector());
        asm.add_imm(strip, conf.vector());
        asm.loop_end(looped);
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

    /// Fills the strip, the first argument, with zeros: its columns of padding stay so.
    pub fn clear_strip(&self, asm: &mut dyn VectorAsm) {
        let (strip, count, zero) = (asm.arg(0), asm.int(), asm.vec());
        asm.splat(zero, 0.0);
        asm.set_int(count, self.conf.strip_bytes() / self.conf.vector());
        let looped = asm.loop_begin(count);
        asm.store(strip.at(0), zero);
        asm.add_imm(strip, self.conf.vector());
        asm.loop_end(looped);
    }

    /// Both steps of the output, `(M, output, residual, frame and patch, tiles, coefficients)`: a run of tiles of this
    /// many rows and columns of outputs.
    pub fn output(&self, asm: &mut dyn VectorAsm, outputs: [usize; 2]) {
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
            self.add_bias(asm, &values, patch);
            conf.epilogue.finish(asm, &values, out, residual, conf.lanes);
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
