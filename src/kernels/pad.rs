//! Generated code that puts a number around the positions of a block, row by row.

use super::bytes::{parts, vectors};
use super::integer::Code;
use super::nest::{self, KernelNest};
use crate::codegen::vector::{V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa, NestBuilder};

/// See [`Work::Pad`](super::integer::Work::Pad).
pub struct Pad<'a> {
    pub code: &'a Code,
    pub front: [usize; 3],
    pub input: [usize; 3],
    pub output: [usize; 3],
    pub number: u8,
}

/// The kernel function. A step is a row of the output.
pub fn generate(pad: &Pad, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
    let Pad { code, front, input, output, .. } = *pad;
    let around = module.define_tile(&format!("{name}_around"), isa, 1, &mut |asm| pad.emit_around(asm))?;
    let within = module.define_tile(&format!("{name}_within"), isa, 2, &mut |asm| pad.emit_within(asm))?;
    let bytes = |sizes: [usize; 3]| (sizes.iter().product::<usize>() * code.lanes) as i64;
    nest::define(name, module, |nest| {
        nest::for_parts(nest, parts(code), code.blocks(), |nest, sample, block, part| {
            let [to, from] = [(0, output), (1, input)].map(|(operand, sizes)| {
                let pointer = nest.sample_pointer(operand, sample);
                nest.offset_by(pointer, block, bytes(sizes))
            });
            nest::repeat_part(nest, output[0] * output[1], part, |nest, row| {
                let to = nest.offset_by(to, row, bytes([1, 1, output[2]]));
                let place = [nest.div_imm(row, output[1] as i64), nest.rem_imm(row, output[1] as i64)];
                let inner = [0, 1].map(|d| nest.add_imm(place[d], -(front[d] as i64)));
                // What lies in front is a large number without a sign.
                let is_within = [0, 1].map(|d| {
                    let size = nest.iconst(input[d] as i64);
                    nest.less(inner[d], size)
                });
                let copy = |nest: &mut NestBuilder| {
                    let from = nest.offset_by(from, inner[0], bytes([1, input[1], input[2]]));
                    let from = nest.offset_by(from, inner[1], bytes([1, 1, input[2]]));
                    nest.call(within, &[to, from]);
                };
                let fill = |nest: &mut NestBuilder| nest.call(around, &[to]);
                nest.if_else(
                    is_within[0],
                    |nest| nest.if_else(is_within[1], copy, fill),
                    |nest| nest.call(around, &[to]),
                );
            });
        });
    })
}

impl Pad<'_> {
    fn fill(&self, asm: &mut dyn VectorAsm, around: V, positions: usize) {
        let out = asm.arg(0);
        vectors(asm, positions * self.code.lanes, &[out], &mut |asm, offset, words| {
            asm.store_first(out.at(offset as i64), around, words);
        });
    }

    fn number(&self, asm: &mut dyn VectorAsm) -> V {
        let around = asm.vec();
        asm.splat_bits(around, u32::from(self.number) * 0x101_0101);
        around
    }

    /// The tile `(output)` of a row that has no input.
    fn emit_around(&self, asm: &mut dyn VectorAsm) {
        let around = self.number(asm);
        self.fill(asm, around, self.output[2]);
    }

    /// The tile `(output, input)` of a row around one of the input.
    fn emit_within(&self, asm: &mut dyn VectorAsm) {
        let [out, from] = [asm.arg(0), asm.arg(1)];
        let (around, v) = (self.number(asm), asm.vec());
        self.fill(asm, around, self.front[2]);
        vectors(asm, self.input[2] * self.code.lanes, &[out, from], &mut |asm, offset, words| {
            asm.load_first(v, from.at(offset as i64), words);
            asm.store_first(out.at(offset as i64), v, words);
        });
        self.fill(asm, around, self.output[2] - self.front[2] - self.input[2]);
    }
}
