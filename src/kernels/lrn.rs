//! Local response normalisation across channels; the lanes are positions.

use super::long::{CHAIN, Total};
use super::math;
use super::nest::{self, KernelNest};
use super::{Conf, Constant, Family, Layout, Lowered, NodeView, Number, Target, Why};
use crate::codegen::vector::{V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa};
use crate::ir::weights::Values;
use crate::layers::Op;

/// Every decision about one normalisation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub lanes: usize,
    pub channels: usize,
    pub positions: usize,
    /// Channels in front of and behind the one that is normalised.
    pub reach: (usize, usize),
    /// alpha / size
    pub factor: Number,
    pub beta: Number,
    pub k: Number,
}

/// Makes the conf of a local response normalisation.
///
/// # Errors
/// Why this kernel cannot do it.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, Why> {
    let Op::LocalResponseNorm(lrn) = node.op else { return Err(Why::unfit("not a local response normalisation")) };
    if node.epilogue != Default::default() {
        return Err(Why::unfit("has no epilogue"));
    }
    let code = Code {
        lanes: target.lanes,
        channels: node.output.channels(),
        positions: node.inputs[0].positions(),
        reach: lrn.reach(),
        factor: ((lrn.alpha / lrn.size as f64) as f32).into(),
        beta: (lrn.beta as f32).into(),
        k: (lrn.k as f32).into(),
    };
    let kernel = Conf { code, tables: () }.into();
    Ok(Lowered { kernel, inputs: vec![Layout::Nchw], output: Layout::Nchw, spread: None, padded: None })
}

impl Code {
    pub(crate) fn plane(&self) -> i64 {
        (self.positions * 4) as i64
    }

    /// For each channel: byte offset of the first channel of its window, and the channels in it.
    fn table(&self) -> Vec<i64> {
        let window = |c: usize| {
            let first = c.saturating_sub(self.reach.0);
            let last = (c + self.reach.1).min(self.channels - 1);
            [first as i64 * self.plane(), (last - first + 1) as i64]
        };
        (0..self.channels).flat_map(window).collect()
    }
}

impl Family for Code {
    type Tables = ();

    fn name(&self) -> String {
        format!("lrn_f32_{}p", self.lanes)
    }

    fn tasks(&self) -> usize {
        self.channels
    }

    fn constants<'a>(&'a self, _: &'a (), _params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        vec![Constant::I64(self.table())]
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let tile = module.define_tile(&format!("{name}_tile"), isa, 4, &mut |asm| self.emit(asm))?;
        nest::define(name, module, |nest| {
            nest.for_tasks(self.tasks(), |nest, sample, channel| {
                let out = nest.sample_pointer(0, sample);
                let out = nest.offset_by(out, channel, self.plane());
                let input = nest.sample_pointer(1, sample);
                let center = nest.offset_by(input, channel, self.plane());
                let table = nest.constant_pointer(2);
                let entry = nest.offset_by(table, channel, 16);
                let (first, count) = (nest.load(entry, 0), nest.load(entry, 8));
                let window = nest.add(input, first);
                nest.call(tile, &[window, count, center, out]);
            });
        })
    }
}

impl Code {
    /// Emits the tile `(window, channels of the window, center, output)`: all positions of one channel.
    fn emit(&self, asm: &mut dyn VectorAsm) {
        let (passes, rest) = (self.positions / self.lanes, self.positions % self.lanes);
        if passes > 0 {
            let counter = asm.int();
            asm.set_int(counter, passes as i64);
            let positions = asm.loop_begin(counter);
            self.emit_positions(asm, self.lanes);
            [0, 2, 3].into_iter().for_each(|arg| asm.add_imm(asm.arg(arg), (self.lanes * 4) as i64));
            asm.loop_end(positions);
        }
        if rest > 0 {
            self.emit_positions(asm, rest);
        }
    }

    fn emit_positions(&self, asm: &mut dyn VectorAsm, count: usize) {
        let (total, x) = (Total::new(asm), asm.vec());
        let (channel, channels) = (asm.int(), asm.int());
        asm.copy_int(channel, asm.arg(0));
        asm.copy_int(channels, asm.arg(1));
        let window = asm.loop_begin(channels);
        asm.load_first(x, channel.at(0), count);
        if self.channels.min(self.reach.0.saturating_add(self.reach.1).saturating_add(1)) > CHAIN {
            asm.mul(x, x, x);
            total.add(asm, x);
        } else {
            asm.fma(total.sum(), x, x);
        }
        asm.add_imm(channel, self.plane());
        asm.loop_end(window);
        asm.free_int(channel);
        asm.free_int(channels);
        let sum = total.end(asm);
        let k = asm.vec();
        asm.splat(k, self.k.get());
        asm.splat(x, self.factor.get());
        asm.fma(k, sum, x);
        asm.copy(sum, k);
        asm.free(k);
        self.emit_power(asm, sum);
        asm.load_first(x, asm.arg(2).at(0), count);
        asm.div(x, x, sum);
        asm.store_first(asm.arg(3).at(0), x, count);
        asm.free(sum);
        asm.free(x);
    }

    /// v = v^beta
    fn emit_power(&self, asm: &mut dyn VectorAsm, v: V) {
        if self.beta.get() == 0.75 {
            // The papers' beta: sqrt(v) * sqrt(sqrt(v)), which also keeps NaN and infinity.
            let root = asm.vec();
            asm.sqrt(v, v);
            asm.sqrt(root, v);
            asm.mul(v, v, root);
            asm.free(root);
        } else {
            let beta = asm.vec();
            math::ln(asm, v);
            asm.splat(beta, self.beta.get());
            asm.mul(v, v, beta);
            asm.free(beta);
            math::exp(asm, &[v]);
        }
    }
}
