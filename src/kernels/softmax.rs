//! Softmax over the channels; the lanes are positions.

use super::long::{CHAIN, Total};
use super::math;
use super::nest::{self, KernelNest};
use super::{Conf, Constant, Family, Layout, Lowered, NodeView, Target};
use crate::codegen::vector::{R, V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa};
use crate::ir::weights::Values;
use crate::layers::Op;

/// Every decision about one softmax.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub lanes: usize,
    pub channels: usize,
    pub positions: usize,
}

/// Makes the conf of a softmax.
///
/// # Errors
/// Why this kernel cannot do it.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, String> {
    if !matches!(node.op, Op::Softmax(_)) {
        return Err("not a softmax".into());
    }
    if node.epilogue != Default::default() {
        return Err("has no epilogue".into());
    }
    let (channels, positions) = (node.output.channels(), node.inputs[0].positions());
    let code = Code { lanes: target.lanes, channels, positions };
    let kernel = Conf { code, tables: () }.into();
    Ok(Lowered { kernel, inputs: vec![Layout::Nchw], output: Layout::Nchw, spread: None })
}

impl Code {
    /// Vectors of positions.
    fn strips(&self) -> usize {
        self.positions.div_ceil(self.lanes)
    }
}

impl Family for Code {
    type Tables = ();

    fn name(&self) -> String {
        format!("softmax_f32_{}p", self.lanes)
    }

    fn tasks(&self) -> usize {
        self.strips()
    }

    fn constants<'a>(&'a self, _: &'a (), _params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        vec![]
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let rest = self.positions % self.lanes;
        let full = module.define_tile(&format!("{name}_tile"), isa, 2, &mut |asm| self.emit(asm, self.lanes))?;
        let last = match rest {
            0 => full,
            _ => module.define_tile(&format!("{name}_tail"), isa, 2, &mut |asm| self.emit(asm, rest))?,
        };
        nest::define(name, module, |nest| {
            nest.for_tasks(self.tasks(), |nest, sample, strip| {
                let bytes = (self.lanes * 4) as i64;
                let (out, input) = (nest.sample_pointer(0, sample), nest.sample_pointer(1, sample));
                let (out, input) = (nest.offset_by(out, strip, bytes), nest.offset_by(input, strip, bytes));
                let from_last = nest.add_imm(strip, 1 - self.strips() as i64);
                nest.if_else(from_last, |nest| nest.call(full, &[input, out]), |nest| nest.call(last, &[input, out]));
            });
        })
    }
}

impl Code {
    /// Emits the tile `(input, output)`: all channels of `count` positions.
    fn emit(&self, asm: &mut dyn VectorAsm, count: usize) {
        let (largest, x) = (asm.vec(), asm.vec());
        asm.splat(largest, f32::NEG_INFINITY);
        self.for_channels(asm, |asm, input, _| {
            asm.load_first(x, input.at(0), count);
            asm.max_nan(largest, largest, x);
        });
        let total = Total::new(asm);
        self.for_channels(asm, |asm, input, out| {
            asm.load_first(x, input.at(0), count);
            self.emit_exp(asm, x, largest);
            asm.store_first(out.at(0), x, count);
            if self.channels > CHAIN {
                total.add(asm, x);
            } else {
                asm.add(total.sum(), total.sum(), x);
            }
        });
        let sum = total.end(asm);
        self.for_channels(asm, |asm, _, out| {
            asm.load_first(x, out.at(0), count);
            asm.div(x, x, sum);
            asm.store_first(out.at(0), x, count);
        });
    }

    /// x = e^(x - largest)
    fn emit_exp(&self, asm: &mut dyn VectorAsm, x: V, largest: V) {
        asm.sub(x, x, largest);
        math::exp(asm, &[x]);
    }

    /// Runs `body(asm, input, output)` for each channel.
    fn for_channels(&self, asm: &mut dyn VectorAsm, mut body: impl FnMut(&mut dyn VectorAsm, R, R)) {
        let [counter, input, out] = [0; 3].map(|_| asm.int());
        asm.copy_int(input, asm.arg(0));
        asm.copy_int(out, asm.arg(1));
        asm.set_int(counter, self.channels as i64);
        let channels = asm.loop_begin(counter);
        body(asm, input, out);
        asm.add_imm(input, (self.positions * 4) as i64);
        asm.add_imm(out, (self.positions * 4) as i64);
        asm.loop_end(channels);
        [counter, input, out].into_iter().for_each(|r| asm.free_int(r));
    }
}
