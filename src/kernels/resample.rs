//! Each output position is a weighted sum of a few input positions of the same channel: upsampling, zero padding,
//! and adaptive pooling whose windows differ in size.

use super::epilogue::Epilogue;
use super::nest::{self, KernelNest};
use super::{Conf, Constant, Family, Layout, Lowered, NodeView, Number, Target};
use crate::codegen::vector::VectorAsm;
use crate::codegen::{CodeError, CodeModule, FuncId, Isa};
use crate::ir::weights::Values;
use crate::layers::{AdaptiveAvgPool, Op};
use std::fmt;

/// Every decision about one resampling that its code depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub lanes: usize,
    pub blocks: usize,
    pub input_positions: usize,
    pub output_positions: usize,
    pub epilogue: Epilogue,
}

/// For each output position, the input positions and their weights.
#[derive(Clone, PartialEq, Hash)]
pub struct Taps(pub Vec<Vec<(usize, Number)>>);

impl fmt::Debug for Taps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.len())
    }
}

/// Makes the conf of a resampling layer.
///
/// # Errors
/// Why this kernel cannot do it.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, String> {
    let (input, out) = (node.inputs[0].ty.spatial(), node.output.spatial());
    let taps = match node.op {
        Op::Upsample(upsample) => product(input, out, |d, i| upsample.mode.sources(i, input[d], out[d] / input[d])),
        Op::AdaptiveAvgPool(_) => product(input, out, |d, i| {
            let region = AdaptiveAvgPool::region(i, input[d], out[d]);
            let weight = 1.0 / region.len() as f32;
            region.map(|position| (position, weight)).collect()
        }),
        Op::Pad(pad) if pad.channels == (0, 0) => {
            let amounts = pad.amounts(input.len()).expect("verified");
            product(input, out, |d, i| {
                let position = i.checked_sub(amounts[d + 1].0).filter(|&p| p < input[d]);
                position.map(|p| (p, 1.0)).into_iter().collect()
            })
        }
        _ => return Err("not a resampling of positions".into()),
    };
    let code = Code {
        lanes: target.lanes,
        blocks: node.output.channels().div_ceil(target.lanes),
        input_positions: node.inputs[0].positions(),
        output_positions: taps.0.len(),
        epilogue: node.epilogue.clone(),
    };
    let kernel = Conf { code, tables: taps }.into();
    Ok(Lowered { kernel, inputs: vec![Layout::Blocked], output: Layout::Blocked, spread: None })
}

/// Combines the taps of each dimension: `taps(dimension, output position)` gives input positions and weights.
fn product(input: &[usize], out: &[usize], taps: impl Fn(usize, usize) -> Vec<(usize, f32)>) -> Taps {
    let mut lists = vec![vec![(0, 1.0)]];
    for d in 0..out.len() {
        let of_dim: Vec<Vec<(usize, f32)>> = (0..out[d]).map(|i| taps(d, i)).collect();
        let extend = |list: &Vec<(usize, f32)>, inner: &Vec<(usize, f32)>| -> Vec<(usize, f32)> {
            list.iter()
                .flat_map(|&(at, weight)| inner.iter().map(move |&(i, w)| (at * input[d] + i, weight * w)))
                .collect()
        };
        lists = lists.iter().flat_map(|list| of_dim.iter().map(move |inner| extend(list, inner))).collect();
    }
    let numbers = |list: Vec<(usize, f32)>| list.into_iter().map(|(at, weight)| (at, weight.into())).collect();
    Taps(lists.into_iter().map(numbers).collect())
}

impl Code {
    fn vector(&self) -> i64 {
        (self.lanes * 4) as i64
    }

    /// For each output position the byte offset of its list; then the lists: their length, then pairs of byte offset
    /// and weight (its bits in the lower half of the word).
    fn table(&self, Taps(taps): &Taps) -> Vec<i64> {
        let mut table = vec![0; taps.len()];
        for (position, list) in taps.iter().enumerate() {
            table[position] = (table.len() * 8) as i64;
            table.push(list.len() as i64);
            table.extend(
                list.iter().flat_map(|&(at, weight)| [at as i64 * self.vector(), weight.get().to_bits().into()]),
            );
        }
        table
    }
}

impl Family for Code {
    type Tables = Taps;

    fn name(&self) -> String {
        format!("resample_f32_{}c", self.lanes)
    }

    fn tasks(&self) -> usize {
        self.blocks
    }

    fn constants<'a>(&'a self, taps: &'a Taps, _params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        vec![Constant::I64(self.table(taps))]
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let tile = module.define_tile(&format!("{name}_tile"), isa, 4, &mut |asm| self.emit(asm))?;
        let out_bytes = self.output_positions as i64 * self.vector();
        nest::define(name, module, |nest| {
            nest.for_tasks(self.tasks(), |nest, sample, block| {
                let out = nest.sample_pointer(0, sample);
                let out = nest.offset_by(out, block, out_bytes);
                let input = nest.sample_pointer(1, sample);
                let input = nest.offset_by(input, block, self.input_positions as i64 * self.vector());
                let residual = match self.epilogue.operands() {
                    0 => out,
                    _ => {
                        let pointer = nest.sample_pointer(2, sample);
                        nest.offset_by(pointer, block, out_bytes)
                    }
                };
                let table = nest.constant_pointer(2 + self.epilogue.operands());
                nest.repeat(self.output_positions, |nest, position| {
                    let entry = nest.offset_by(table, position, 8);
                    let list = nest.load(entry, 0);
                    let list = nest.add(table, list);
                    let out = nest.offset_by(out, position, self.vector());
                    let residual = nest.offset_by(residual, position, self.vector());
                    nest.call(tile, &[input, out, residual, list]);
                });
            });
        })
    }
}

impl Code {
    /// Emits the tile `(input, output, residual, list)`: one position of one block.
    fn emit(&self, asm: &mut dyn VectorAsm) {
        let (sum, weight, x) = (asm.vec(), asm.vec(), asm.vec());
        let (count, input, list) = (asm.int(), asm.int(), asm.arg(3));
        asm.splat(sum, 0.0);
        asm.load_int(count, list.at(0));
        asm.add_imm(list, 8);
        let any = asm.if_nonzero(count);
        let taps = asm.loop_begin(count);
        asm.load_int(input, list.at(0));
        asm.add_int(input, asm.arg(0));
        asm.broadcast(weight, list.at(8));
        asm.load(x, input.at(0));
        asm.fma(sum, x, weight);
        asm.add_imm(list, 16);
        asm.loop_end(taps);
        asm.end_if(any);
        asm.free(weight);
        asm.free(x);
        let (out, residual) = (asm.arg(1), asm.arg(2));
        self.epilogue.finish(asm, &[sum], out, residual, self.lanes);
    }
}
