//! The packed weights of a 1x1 convolution times one number for each input channel of a sample: a gate before the
//! convolution, where that is less work than multiplying its input.

use super::nest::{self, KernelNest};
use super::{Constant, Family, Lowered, NodeView, Target, Why, conv};
use crate::codegen::vector::{V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa};
use crate::ir::weights::Values;

/// Every decision: those of the convolution whose weights these are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub conv: conv::Code,
}

/// The schedule alone makes this kernel: it does no layer.
pub fn lower(_node: &NodeView, _target: &Target) -> Result<Lowered, Why> {
    Err("scales weights only".into())
}

impl Code {
    /// f32 of the weights of one sample.
    pub fn elements(&self) -> usize {
        self.conv.weight_bytes() / 4
    }

    /// Input channels, each with one row of weights in every vector group.
    pub(crate) fn channels(&self) -> usize {
        self.conv.channels_in()
    }

    /// Vectors of one row of weights.
    pub(crate) fn vectors(&self) -> usize {
        self.conv.tile.vectors
    }
}

impl Family for Code {
    type Tables = ();

    fn name(&self) -> String {
        format!("scale_weights_f32_{}c", self.conv.lanes)
    }

    fn tasks(&self) -> usize {
        self.conv.vector_groups()
    }

    fn constants<'a>(&'a self, _: &'a (), params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        vec![Constant::Packed(self.conv.pack_weights(&params[0]))]
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let tile = module.define_tile(&format!("{name}_tile"), isa, 3, &mut |asm| self.emit(asm))?;
        nest::define(name, module, |nest| {
            nest.for_tasks(self.tasks(), |nest, sample, group| {
                let (out, gate) = (nest.sample_pointer(0, sample), nest.sample_pointer(1, sample));
                let out = nest.offset_by(out, group, self.conv.weight_group());
                let weights = nest.constant_pointer(2);
                let weights = nest.offset_by(weights, group, self.conv.weight_group());
                nest.call(tile, &[weights, gate, out]);
            });
        })
    }
}

impl Code {
    /// Emits the tile `(weights, gate, output)`: one vector group.
    fn emit(&self, asm: &mut dyn VectorAsm) {
        let [weights, gate, out] = [0, 1, 2].map(|index| asm.arg(index));
        let factor = asm.vec();
        let row: Vec<V> = (0..self.vectors()).map(|_| asm.vec()).collect();
        let counter = asm.int();
        asm.set_int(counter, self.channels() as i64);
        let channels = asm.loop_begin(counter);
        asm.broadcast(factor, gate.at(0));
        for (index, &w) in row.iter().enumerate() {
            let offset = (index * self.conv.lanes * 4) as i64;
            asm.load(w, weights.at(offset));
            asm.mul(w, w, factor);
            asm.store(out.at(offset), w);
        }
        asm.add_imm(gate, 4);
        asm.add_imm(weights, self.conv.weight_stride());
        asm.add_imm(out, self.conv.weight_stride());
        asm.loop_end(channels);
    }
}
