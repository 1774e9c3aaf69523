//! Generated code that puts a number around the positions of a block: around a copy of a map, or around what another kernel
//! writes.

use super::bands::{Planes, Unit};
use super::bytes::{parts, vectors};
use super::geometry::Padded;
use super::integer::Code;
use super::nest::{self, KernelNest, Part};
use crate::codegen::vector::{R, V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa, NestBuilder, Word};
use std::ops::Range;

/// A map of bytes in blocks of channels, with what is around it.
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    pub lanes: usize,
    pub padded: &'a Padded,
}

/// Steps of a block that tasks share: planes, or rows where there is one plane.
pub fn steps(sizes: &[usize; 3]) -> usize {
    if sizes[0] > 1 { sizes[0] } else { sizes[1] }
}

/// What is read and written for some rows of a copy.
pub fn unit(padded: &Padded, rows: Range<usize>) -> Unit {
    let Padded { front, inner, sizes, .. } = padded;
    let within = |row: usize| row.saturating_sub(front[1]).min(inner[1]);
    Unit {
        reads: within(rows.start) * inner[2]..within(rows.end) * inner[2],
        writes: rows.start * sizes[2]..rows.end * sizes[2],
    }
}

/// The kernel function, see [`Work::Pad`](super::integer::Work::Pad).
pub fn generate(code: &Code, frame: Frame, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
    let Padded { inner, front, sizes, .. } = frame.padded;
    let tile = module.define_tile(&format!("{name}_rows"), isa, 5, &mut |asm| frame.emit_copy(asm))?;
    nest::define(name, module, |nest| {
        nest::for_parts(nest, parts(code), code.blocks(), |nest, sample, block, part| {
            let [to, from] = [(0, sizes), (1, inner)].map(|(operand, sizes)| {
                let pointer = nest.sample_pointer(operand, sample);
                let whole = sizes.iter().product();
                let plane = code.planes.map_or(whole, |Planes { input, output }| [output, input][operand]);
                nest.offset_by(pointer, block, frame.bytes(&[plane]))
            });
            let copy = |nest: &mut NestBuilder, to: Word, from: Word, part: Part| {
                let (to, first, rows) = frame.rows(nest, to, part);
                let from = nest.offset_by(from, first, frame.bytes(&inner[2..]));
                nest.call(tile, &[&[to, from][..], &rows].concat());
            };
            if sizes[0] == 1 {
                return copy(nest, to, from, part);
            }
            nest::repeat_part(nest, sizes[0], part, |nest, plane| {
                let to = nest.offset_by(to, plane, frame.bytes(&sizes[1..]));
                let own = nest.add_imm(plane, -(front[0] as i64));
                let planes = nest.iconst(inner[0] as i64);
                // What lies in front is a large number without a sign.
                let is_within = nest.less(own, planes);
                let within = |nest: &mut NestBuilder| {
                    let from = nest.offset_by(from, own, frame.bytes(&inner[1..]));
                    copy(nest, to, from, None);
                };
                let fill = |nest: &mut NestBuilder| {
                    let [all, none] = [sizes[1], 0].map(|rows| nest.iconst(rows as i64));
                    nest.call(tile, &[to, from, all, none, none]);
                };
                nest.if_else(is_within, within, fill);
            });
        });
    })
}

impl Frame<'_> {
    /// Of positions.
    fn bytes(&self, sizes: &[usize]) -> i64 {
        (sizes.iter().product::<usize>() * self.lanes) as i64
    }

    /// Where a part of a plane's rows begins, the first row within that it has, and how many of its rows are in front of those
    /// within, are within, and are behind.
    fn rows(&self, nest: &mut NestBuilder, plane: Word, part: Part) -> (Word, Word, [Word; 3]) {
        let Padded { front: [_, front, _], inner: [_, inner, _], sizes: [_, all, _], .. } = *self.padded;
        let Some([begin, end]) = part else {
            let rows = [front, inner, all - front - inner].map(|rows| nest.iconst(rows as i64));
            return (plane, nest.iconst(0), rows);
        };
        let [first, last] = [front, front + inner].map(|row| nest.iconst(row as i64));
        // Both ends of the rows within, as far as this part has them.
        let [first, last] = [first, last].map(|row| {
            let row = nest.smax(row, begin);
            nest.smin(row, end)
        });
        let rows = [[begin, first], [first, last], [last, end]].map(|[from, to]| nest.sub(to, from));
        let to = nest.offset_by(plane, begin, self.bytes(&self.padded.sizes[2..]));
        (to, nest.add_imm(first, -(front as i64)), rows)
    }

    /// The tile `(output, input, rows in front, rows within, rows behind)`.
    fn emit_copy(&self, asm: &mut dyn VectorAsm) {
        let [out, from, before, rows, behind] = std::array::from_fn(|index| asm.arg(index));
        let v = asm.vec();
        self.emit(asm, out, [before, rows, behind], &mut |asm| {
            vectors(asm, self.padded.inner[2] * self.lanes, &[out, from], &mut |asm, offset, words| {
                asm.load_first(v, from.at(offset as i64), words);
                asm.store_first(out.at(offset as i64), v, words);
            });
        });
    }

    /// Fills so many rows in front, what is around so many rows, which `row` takes the pointer through, and rows behind.
    fn emit(&self, asm: &mut dyn VectorAsm, out: R, rows: [R; 3], row: &mut dyn FnMut(&mut dyn VectorAsm)) {
        let around = asm.vec();
        asm.splat_bits(around, u32::from(self.padded.number) * 0x101_0101);
        let [front, columns] = [self.padded.front[2], self.padded.sizes[2]];
        let fill = |asm: &mut dyn VectorAsm, positions: usize| self.fill(asm, out, around, positions);
        counted(asm, rows[0], &mut |asm| fill(asm, columns));
        counted(asm, rows[1], &mut |asm| {
            fill(asm, front);
            row(asm);
            fill(asm, columns - front - self.padded.inner[2]);
        });
        counted(asm, rows[2], &mut |asm| fill(asm, columns));
        asm.free(around);
    }

    fn fill(&self, asm: &mut dyn VectorAsm, out: R, around: V, positions: usize) {
        vectors(asm, positions * self.lanes, &[out], &mut |asm, offset, words| {
            asm.store_first(out.at(offset as i64), around, words);
        });
    }
}

/// What fills the frame of maps of one plane, of which another kernel writes what is within.
#[derive(Clone, Copy)]
pub struct Filler<'a> {
    frame: Frame<'a>,
    tile: FuncId,
}

impl<'a> Filler<'a> {
    pub fn define(frame: Frame<'a>, name: &str, isa: Isa, module: &mut CodeModule) -> Result<Filler<'a>, CodeError> {
        let tile = module.define_tile(&format!("{name}_frame"), isa, 4, &mut |asm| {
            let [out, before, rows, behind] = std::array::from_fn(|index| asm.arg(index));
            frame.emit(asm, out, [before, rows, behind], &mut |asm| {
                asm.add_imm(out, frame.bytes(&frame.padded.inner[2..]))
            });
        })?;
        Ok(Filler { frame, tile })
    }

    /// Bytes from one row to the next.
    pub fn row(&self) -> i64 {
        self.frame.bytes(&self.frame.padded.sizes[2..])
    }

    /// Fills what is beside some of the rows within a block, and what is in front of the first and behind the last if these
    /// are among them; of all rows where there is no part. Returns where what is within begins.
    pub fn fill(&self, nest: &mut NestBuilder, block: Word, part: Part) -> Word {
        let padded = self.frame.padded;
        let part = part.map(|[begin, end]| {
            let Padded { front: [_, front, _], inner: [_, inner, _], sizes: [_, all, _], .. } = *padded;
            let behind = all - front - inner;
            // 0 for the first row within, 1 for those behind it.
            let one = nest.iconst(1);
            let is_later = nest.smin(begin, one);
            let begin = nest.offset_by(begin, is_later, front as i64);
            let rows = nest.iconst(inner as i64);
            let left = nest.sub(rows, end);
            let is_earlier = nest.smin(left, one);
            let end = nest.add_imm(end, (front + behind) as i64);
            [begin, nest.offset_by(end, is_earlier, -(behind as i64))]
        });
        let (to, _, rows) = self.frame.rows(nest, block, part);
        nest.call(self.tile, &[&[to][..], &rows].concat());
        nest.add_imm(block, (padded.first() * self.frame.lanes) as i64)
    }
}

/// Runs `body` so many times, which may be none.
fn counted(asm: &mut dyn VectorAsm, times: R, body: &mut dyn FnMut(&mut dyn VectorAsm)) {
    let some = asm.if_nonzero(times);
    let looped = asm.loop_begin(times);
    body(asm);
    asm.loop_end(looped);
    asm.end_if(some);
}
