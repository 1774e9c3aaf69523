//! Generated code that puts a number around the positions of a block.

use super::bytes::{parts, vectors};
use super::integer::Code;
use super::nest::{self, KernelNest, Part};
use crate::codegen::vector::{R, V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa, NestBuilder, Word};

/// See [`Work::Pad`](super::integer::Work::Pad).
pub struct Pad<'a> {
    pub code: &'a Code,
    pub front: [usize; 3],
    pub input: [usize; 3],
    pub output: [usize; 3],
    pub number: u8,
}

/// Steps of a block that tasks share: planes, or rows where there is one plane.
pub fn steps(output: &[usize; 3]) -> usize {
    if output[0] > 1 { output[0] } else { output[1] }
}

/// The kernel function.
pub fn generate(pad: &Pad, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
    let Pad { code, front, input, output, .. } = *pad;
    let tile = module.define_tile(&format!("{name}_rows"), isa, 5, &mut |asm| pad.emit(asm))?;
    nest::define(name, module, |nest| {
        nest::for_parts(nest, parts(code), code.blocks(), |nest, sample, block, part| {
            let [to, from] = [(0, output), (1, input)].map(|(operand, sizes)| {
                let pointer = nest.sample_pointer(operand, sample);
                nest.offset_by(pointer, block, pad.bytes(&sizes))
            });
            if output[0] == 1 {
                let (to, from, rows) = pad.emit_rows(nest, to, from, part);
                return nest.call(tile, &[&[to, from][..], &rows].concat());
            }
            nest::repeat_part(nest, output[0], part, |nest, plane| {
                let to = nest.offset_by(to, plane, pad.bytes(&[output[1], output[2]]));
                let inner = nest.add_imm(plane, -(front[0] as i64));
                let planes = nest.iconst(input[0] as i64);
                // What lies in front is a large number without a sign.
                let is_within = nest.less(inner, planes);
                let copy = |nest: &mut NestBuilder| {
                    let from = nest.offset_by(from, inner, pad.bytes(&[input[1], input[2]]));
                    let (to, from, rows) = pad.emit_rows(nest, to, from, None);
                    nest.call(tile, &[&[to, from][..], &rows].concat());
                };
                let fill = |nest: &mut NestBuilder| {
                    let [all, none] = [output[1], 0].map(|rows| nest.iconst(rows as i64));
                    nest.call(tile, &[to, from, all, none, none]);
                };
                nest.if_else(is_within, copy, fill);
            });
        });
    })
}

impl Pad<'_> {
    /// Of positions.
    fn bytes(&self, sizes: &[usize]) -> i64 {
        (sizes.iter().product::<usize>() * self.code.lanes) as i64
    }

    /// Where a part of a plane's rows begins in the output and in the input, and how many of them are in front of the input,
    /// within, and behind.
    fn emit_rows(&self, nest: &mut NestBuilder, to: Word, from: Word, part: Part) -> (Word, Word, [Word; 3]) {
        let (front, input, output) = (self.front[1], self.input[1], self.output[1]);
        let Some([begin, end]) = part else {
            return (to, from, [front, input, output - front - input].map(|rows| nest.iconst(rows as i64)));
        };
        let [first, last] = [front, front + input].map(|row| nest.iconst(row as i64));
        // Both ends of the rows within, as far as this part has them.
        let [first, last] = [first, last].map(|row| {
            let row = nest.smax(row, begin);
            nest.smin(row, end)
        });
        let rows = [[begin, first], [first, last], [last, end]].map(|[from, to]| nest.sub(to, from));
        let inner = nest.add_imm(first, -(front as i64));
        let to = nest.offset_by(to, begin, self.bytes(&[self.output[2]]));
        (to, nest.offset_by(from, inner, self.bytes(&[self.input[2]])), rows)
    }

    /// The tile `(output, input, rows in front, rows of the input, rows behind)`.
    fn emit(&self, asm: &mut dyn VectorAsm) {
        let [out, from, before, rows, behind] = std::array::from_fn(|index| asm.arg(index));
        let [around, v] = [(); 2].map(|()| asm.vec());
        asm.splat_bits(around, u32::from(self.number) * 0x101_0101);
        let fill = |asm: &mut dyn VectorAsm, positions: usize| self.fill(asm, around, positions);
        counted(asm, before, &mut |asm| fill(asm, self.output[2]));
        counted(asm, rows, &mut |asm| {
            fill(asm, self.front[2]);
            vectors(asm, self.input[2] * self.code.lanes, &[out, from], &mut |asm, offset, words| {
                asm.load_first(v, from.at(offset as i64), words);
                asm.store_first(out.at(offset as i64), v, words);
            });
            fill(asm, self.output[2] - self.front[2] - self.input[2]);
        });
        counted(asm, behind, &mut |asm| fill(asm, self.output[2]));
    }

    fn fill(&self, asm: &mut dyn VectorAsm, around: V, positions: usize) {
        let out = asm.arg(0);
        vectors(asm, positions * self.code.lanes, &[out], &mut |asm, offset, words| {
            asm.store_first(out.at(offset as i64), around, words);
        });
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
