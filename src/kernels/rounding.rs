//! Rounds a value to bf16, which convolutions and dense layers then multiply two channels at a time.
//!
//! Blocks keep their channels and have half the bytes: what lies in a lane of f32 of the rounded value is a pair of channels.
//! Those behind the last channel are 0, because the last one may share its lane with one of them.

use super::nest::{self, KernelNest};
use super::{Conf, Constant, Family, Layout, Lowered, NodeView, Target, Why};
use crate::codegen::vector::{V, VectorAsm, repeat};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa};
use crate::ir::weights::Values;
use crate::layers::Op;
use crate::tensor::DType;

/// Every decision about one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    lanes: usize,
    /// Vectors of f32 whose lanes are all channels: those of all blocks, or of all but the last.
    full: usize,
    /// Vectors of the last block, of which so many lanes are channels.
    last: (usize, usize),
}

/// Vectors of f32 of a task; an even number.
const RUN: usize = 256;

/// Makes the kernel of a conversion to bf16.
///
/// # Errors
/// That it is none.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, Why> {
    if !matches!(node.op, Op::Convert(_)) || node.output.dtype != DType::Bf16 {
        return Err(Why::unfit("no conversion to bf16"));
    }
    let (channels, positions) = (node.output.channels(), node.inputs[0].positions());
    let (blocks, rest) = (channels / target.lanes, channels % target.lanes);
    let last = if rest > 0 { (positions, rest) } else { (0, 0) };
    let code = Code { lanes: target.lanes, full: blocks * positions, last };
    // Of one position nothing is read behind the last channel, so that both layouts are the same.
    let input = if positions == 1 { node.inputs[0].layout } else { Layout::Blocked };
    let kernel = Conf { code, tables: () }.into();
    Ok(Lowered { kernel, inputs: vec![input], output: Layout::Blocked, spread: None, padded: None })
}

/// Vectors that one tile rounds, of so many lanes each.
type Run = (usize, usize);

impl Code {
    /// Tasks of [`RUN`] full vectors.
    fn runs(&self) -> usize {
        self.full / RUN
    }

    /// What is left behind these, a task each, with the first vector: full ones, and those of the last block.
    fn ends(&self) -> Vec<(usize, Run)> {
        let (begin, rest) = (self.runs() * RUN, self.full % RUN);
        let ends = [(begin, (rest, self.lanes)), (self.full, self.last)];
        ends.into_iter().filter(|(_, (vectors, _))| *vectors > 0).collect()
    }

    /// Emits the tile `(input, output)`.
    fn emit(&self, asm: &mut dyn VectorAsm, (vectors, lanes): Run) {
        let [from, to] = [0, 1].map(|arg| asm.arg(arg));
        let [first, second] = [(); 2].map(|()| asm.vec());
        let vector = (4 * self.lanes) as i64;
        let load = |asm: &mut dyn VectorAsm, dst: V, index: i64| asm.load_first(dst, from.at(index * vector), lanes);
        repeat(asm, vectors / 2, &mut |asm| {
            load(asm, first, 0);
            load(asm, second, 1);
            asm.narrow_to_bf16(first, first, second);
            asm.store(to.at(0), first);
            asm.add_imm(from, 2 * vector);
            asm.add_imm(to, vector);
        });
        if vectors % 2 == 1 {
            load(asm, first, 0);
            asm.narrow_to_bf16(first, first, first);
            asm.store_first(to.at(0), first, self.lanes / 2);
        }
        [first, second].into_iter().for_each(|v| asm.free(v));
    }
}

impl Family for Code {
    type Tables = ();

    fn name(&self) -> String {
        format!("round_bf16_{}c", self.lanes)
    }

    fn tasks(&self) -> usize {
        self.runs() + self.ends().len()
    }

    fn constants<'a>(&'a self, (): &'a (), _params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        Vec::new()
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let mut tile = |number: usize, run: Run| {
            module.define_tile(&format!("{name}_tile{number}"), isa, 2, &mut |asm| self.emit(asm, run))
        };
        let ends = self.ends();
        let whole = if self.runs() > 0 { Some(tile(0, (RUN, self.lanes))?) } else { None };
        let tiles: Result<Vec<FuncId>, CodeError> = (1..).zip(&ends).map(|(number, end)| tile(number, end.1)).collect();
        let tiles = tiles?;
        nest::define(name, module, |nest| {
            nest.for_tasks(self.tasks(), |nest, sample, task| {
                let (out, input) = (nest.sample_pointer(0, sample), nest.sample_pointer(1, sample));
                let vector = (4 * self.lanes) as i64;
                let runs = nest.iconst(self.runs() as i64);
                let number = nest.sub(task, runs);
                let is_run = nest.less(task, runs);
                nest.if_else(
                    is_run,
                    |nest| {
                        let Some(whole) = whole else { return };
                        let input = nest.offset_by(input, task, RUN as i64 * vector);
                        let out = nest.offset_by(out, task, RUN as i64 * vector / 2);
                        nest.call(whole, &[input, out]);
                    },
                    |nest| {
                        for (index, (&(first, _), &tile)) in ends.iter().zip(&tiles).enumerate() {
                            let other = nest.add_imm(number, -(index as i64));
                            let [input, out] = [(input, vector), (out, vector / 2)]
                                .map(|(pointer, bytes)| nest.add_imm(pointer, first as i64 * bytes));
                            nest.if_else(other, |_| (), |nest| nest.call(tile, &[input, out]));
                        }
                    },
                );
            });
        })
    }
}
