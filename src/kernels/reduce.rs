//! One number of all channels of a position, or of all positions of a channel.
//!
//! Reduced channels, the blocks of a position are taken together lane by lane, then the lanes; what is in the last block
//! behind the channels is left out. Reduced positions each lane is a channel for itself.

use super::long::{CHAIN, Every, Total};
use super::nest::{self, KernelNest};
use super::{Conf, Constant, Family, Layout, Lowered, NodeView, TASKS, Target, Why};
use crate::codegen::vector::{R, V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa};
use crate::ir::weights::Values;
use crate::layers::{Op, Reduced, Reduction};

/// Every decision about one reduction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub lanes: usize,
    pub channels: usize,
    pub positions: usize,
    pub how: Reduction,
    pub over: Reduced,
}

/// Vectors that are made at once, so that none waits for itself.
const UNROLL: usize = 4;

/// Makes the conf of a reduction.
///
/// # Errors
/// Why this kernel cannot do it.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, Why> {
    let Op::Reduce(reduce) = node.op else { return Err(Why::unfit("not a reduction")) };
    if node.epilogue != Default::default() {
        return Err(Why::unfit("has no epilogue"));
    }
    let input = &node.inputs[0];
    let code = Code {
        lanes: target.lanes,
        channels: input.channels(),
        positions: input.positions(),
        how: reduce.how,
        over: reduce.over,
    };
    let kernel = Conf { code, tables: () }.into();
    Ok(Lowered { kernel, inputs: vec![Layout::Blocked], output: Layout::Blocked, spread: None, padded: None })
}

impl Code {
    fn vector(&self) -> i64 {
        (self.lanes * 4) as i64
    }

    fn is_sum(&self) -> bool {
        matches!(self.how, Reduction::Mean | Reduction::Sum)
    }

    /// What nothing is reduced to.
    pub(crate) fn start(&self) -> f32 {
        if self.is_sum() { 0.0 } else { f32::NEG_INFINITY }
    }

    /// Blocks of which all lanes are channels.
    pub(crate) fn full_blocks(&self) -> usize {
        self.channels / self.lanes
    }

    /// Vectors that are taken together lane by lane, and bytes from one to the next.
    pub(crate) fn terms(&self) -> (usize, i64) {
        match self.over {
            Reduced::Channels => (self.full_blocks(), self.positions as i64 * self.vector()),
            Reduced::Positions => (self.positions, self.vector()),
        }
    }

    /// What a sum is divided by for a mean.
    pub(crate) fn count(&self) -> usize {
        match self.over {
            Reduced::Channels => self.channels,
            Reduced::Positions => self.positions,
        }
    }

    /// Whether a sum has more terms than one chain may add.
    fn is_long(&self) -> bool {
        self.is_sum() && self.terms().0 > CHAIN
    }

    /// Positions of a task at most, where each is one for itself.
    pub(crate) fn chunk(&self) -> usize {
        self.positions.div_ceil(TASKS)
    }
}

impl Family for Code {
    type Tables = ();

    fn name(&self) -> String {
        let over = if self.over == Reduced::Channels { "channels" } else { "positions" };
        format!("reduce_{}_{over}_f32_{}c", self.how.word(), self.lanes)
    }

    fn tasks(&self) -> usize {
        match self.over {
            Reduced::Channels => self.positions.div_ceil(self.chunk()),
            Reduced::Positions => self.channels.div_ceil(self.lanes),
        }
    }

    /// Some vectors of its own.
    fn scratch(&self) -> usize {
        UNROLL * 64
    }

    fn constants<'a>(&'a self, _: &'a (), _params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        vec![]
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        match self.over {
            Reduced::Channels => self.generate_channels(name, isa, module),
            Reduced::Positions => self.generate_positions(name, isa, module),
        }
    }
}

impl Code {
    fn generate_channels(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let (last, step) = (self.tasks() as i64 - 1, self.chunk() as i64 * self.vector());
        let rest = self.positions - last as usize * self.chunk();
        let mut tile = |suffix: &str, positions: usize| {
            module.define_tile(&format!("{name}_{suffix}"), isa, 3, &mut |asm| self.emit_channels(asm, positions))
        };
        let full = tile("tile", self.chunk())?;
        let tail = if rest == self.chunk() { full } else { tile("tail", rest)? };
        nest::define(name, module, |nest| {
            nest.for_tasks(self.tasks(), |nest, sample, task| {
                let (out, input) = (nest.sample_pointer(0, sample), nest.sample_pointer(1, sample));
                let (out, input) = (nest.offset_by(out, task, step), nest.offset_by(input, task, step));
                let scratch = nest.constant_pointer(2);
                let from_last = nest.add_imm(task, -last);
                let args = [input, out, scratch];
                nest.if_else(from_last, |nest| nest.call(full, &args), |nest| nest.call(tail, &args));
            });
        })
    }

    fn generate_positions(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let tile = module.define_tile(&format!("{name}_tile"), isa, 2, &mut |asm| self.emit_positions(asm))?;
        nest::define(name, module, |nest| {
            nest.for_tasks(self.tasks(), |nest, sample, block| {
                let (out, input) = (nest.sample_pointer(0, sample), nest.sample_pointer(1, sample));
                let out = nest.offset_by(out, block, self.vector());
                let input = nest.offset_by(input, block, self.positions as i64 * self.vector());
                nest.call(tile, &[input, out]);
            });
        })
    }

    /// Emits the tile `(input, output, scratch)`: so many positions, each of all channels.
    fn emit_channels(&self, asm: &mut dyn VectorAsm, positions: usize) {
        let unroll = if self.is_long() { 1 } else { UNROLL };
        let (passes, rest) = (positions / unroll, positions % unroll);
        if passes > 0 {
            let counter = asm.int();
            asm.set_int(counter, passes as i64);
            let looped = asm.loop_begin(counter);
            self.emit_of_positions(asm, unroll);
            let bytes = unroll as i64 * self.vector();
            asm.add_imm(asm.arg(0), bytes);
            asm.add_imm(asm.arg(1), bytes);
            asm.loop_end(looped);
            asm.free_int(counter);
        }
        if rest > 0 {
            self.emit_of_positions(asm, rest);
        }
    }

    /// The next positions: their blocks lane by lane, then the lanes, then the channels of the last block.
    fn emit_of_positions(&self, asm: &mut dyn VectorAsm, count: usize) {
        let (terms, step) = self.terms();
        let at = |p: usize| p as i64 * self.vector();
        let (input, x) = (asm.int(), asm.vec());
        asm.copy_int(input, asm.arg(0));
        let values = self.emit_lanes(asm, input, count, terms, step);
        let (out, scratch) = (asm.arg(1), asm.arg(2));
        if terms > 0 {
            values.iter().enumerate().for_each(|(p, &value)| asm.store(scratch.at(at(p)), value));
            values.iter().enumerate().for_each(|(p, &value)| asm.broadcast(value, scratch.at(at(p))));
        }
        let others = if terms > 0 { 1..self.lanes } else { 0..0 };
        for lane in others {
            for (p, &value) in values.iter().enumerate() {
                asm.broadcast(x, scratch.at(at(p) + 4 * lane as i64));
                self.combine(asm, value, x);
            }
        }
        // Behind the loop the pointer is at the block that is not full.
        for lane in 0..self.channels % self.lanes {
            for (p, &value) in values.iter().enumerate() {
                asm.broadcast(x, input.at(at(p) + 4 * lane as i64));
                self.negate(asm, x);
                self.combine(asm, value, x);
            }
        }
        for (p, &value) in values.iter().enumerate() {
            self.finish(asm, value, x);
            asm.store(out.at(at(p)), value);
        }
        values.into_iter().for_each(|value| asm.free(value));
        asm.free(x);
        asm.free_int(input);
    }

    /// Emits the tile `(input, output)`: all positions of a block.
    fn emit_positions(&self, asm: &mut dyn VectorAsm) {
        let unroll = if self.is_long() { 1 } else { UNROLL.min(self.positions) };
        let (passes, rest) = (self.positions / unroll, self.positions % unroll);
        let (input, x) = (asm.int(), asm.vec());
        asm.copy_int(input, asm.arg(0));
        let values = self.emit_lanes(asm, input, unroll, passes, unroll as i64 * self.vector());
        for (p, &value) in values[..rest].iter().enumerate() {
            asm.load(x, input.at(p as i64 * self.vector()));
            self.negate(asm, x);
            self.combine(asm, value, x);
        }
        for &value in &values[1..] {
            self.combine(asm, values[0], value);
        }
        self.finish(asm, values[0], x);
        let out = asm.arg(1);
        asm.store(out.at(0), values[0]);
    }

    /// `count` vectors side by side, each of so many that are `step` bytes apart; the pointer moves behind them.
    fn emit_lanes(&self, asm: &mut dyn VectorAsm, input: R, count: usize, terms: usize, step: i64) -> Vec<V> {
        let values: Vec<V> = (0..count).map(|_| asm.vec()).collect();
        values.iter().for_each(|&value| asm.splat(value, self.start()));
        if terms == 0 {
            return values;
        }
        let totals: Vec<Total> = if self.is_long() { values.iter().map(|_| Total::new(asm)).collect() } else { vec![] };
        let add = |asm: &mut dyn VectorAsm| totals.iter().zip(&values).for_each(|(total, &part)| total.add(asm, part));
        let (counter, x) = (asm.int(), asm.vec());
        let every = Every::chain(asm, 1);
        asm.set_int(counter, terms as i64);
        let looped = asm.loop_begin(counter);
        for (p, &value) in values.iter().enumerate() {
            asm.load(x, input.at(p as i64 * self.vector()));
            self.negate(asm, x);
            self.combine(asm, value, x);
        }
        asm.add_imm(input, step);
        if !totals.is_empty() {
            every.pass(asm, add);
        }
        asm.loop_end(looped);
        every.end(asm);
        asm.free(x);
        asm.free_int(counter);
        if totals.is_empty() {
            return values;
        }
        add(asm);
        values.into_iter().for_each(|value| asm.free(value));
        totals.into_iter().map(|total| total.end(asm)).collect()
    }

    /// x = -x where the smallest is looked for, which is the largest then.
    fn negate(&self, asm: &mut dyn VectorAsm, x: V) {
        if self.how == Reduction::Min {
            let sign = asm.vec();
            asm.splat(sign, -0.0);
            asm.xor(x, x, sign);
            asm.free(sign);
        }
    }

    /// value = value and x in one
    fn combine(&self, asm: &mut dyn VectorAsm, value: V, x: V) {
        match self.is_sum() {
            true => asm.add(value, value, x),
            false => asm.max_nan(value, value, x),
        }
    }

    fn finish(&self, asm: &mut dyn VectorAsm, value: V, x: V) {
        if self.how == Reduction::Mean {
            asm.splat(x, self.count() as f32);
            asm.div(value, value, x);
        }
        self.negate(asm, value);
    }
}
