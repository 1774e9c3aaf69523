//! Values less their mean, divided by their deviation: over the channels of each position, where the lanes are channels
//! that are added up too, or over the positions of each channel, where each lane is a channel for itself.
//!
//! Three passes over what is in the nearest cache, if it is not too large: the mean; the mean of the squares of the
//! distances from it, which do not cancel; the result.

use super::long::{Every, Total};
use super::nest::{self, KernelNest};
use super::{Conf, Constant, Family, Layout, Lowered, NodeView, Number, Target};
use crate::codegen::vector::{R, V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa};
use crate::ir::weights::Values;
use crate::layers::Op;

/// Every decision about one normalisation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub lanes: usize,
    pub channels: usize,
    pub positions: usize,
    /// What mean and deviation are taken over.
    pub over: Over,
    pub eps: Number,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Over {
    /// Of each position.
    Channels,
    /// Of each channel.
    Positions,
}

/// Makes the conf of a normalisation.
///
/// # Errors
/// Why this kernel cannot do it.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, String> {
    let (over, eps) = match node.op {
        Op::LayerNorm(norm) => (Over::Channels, norm.eps),
        Op::InstanceNorm(norm) => (Over::Positions, norm.eps),
        _ => return Err("not a normalisation".into()),
    };
    if node.epilogue != Default::default() {
        return Err("has no epilogue".into());
    }
    let (channels, positions) = (node.output.channels(), node.inputs[0].positions());
    let code = Code { lanes: target.lanes, channels, positions, over, eps: (eps as f32).into() };
    let kernel = Conf { code, tables: () }.into();
    Ok(Lowered { kernel, inputs: vec![Layout::Blocked], output: Layout::Blocked, spread: None })
}

impl Code {
    fn blocks(&self) -> usize {
        self.channels.div_ceil(self.lanes)
    }

    fn vector(&self) -> i64 {
        (self.lanes * 4) as i64
    }

    /// Vectors that one mean is taken of, and bytes from one to the next.
    pub(crate) fn terms(&self) -> (usize, i64) {
        match self.over {
            Over::Channels => (self.blocks(), self.positions as i64 * self.vector()),
            Over::Positions => (self.positions, self.vector()),
        }
    }

    /// Values that one mean is taken of.
    pub(crate) fn count(&self) -> usize {
        match self.over {
            Over::Channels => self.channels,
            Over::Positions => self.positions,
        }
    }

    /// Bytes from the first vector of a task to that of the next, in values and in constants.
    pub(crate) fn task_steps(&self) -> (i64, i64) {
        match self.over {
            Over::Channels => (self.vector(), 0),
            Over::Positions => (self.positions as i64 * self.vector(), 2 * self.vector()),
        }
    }

    /// Bytes from the weights of one vector to those of the next.
    pub(crate) fn weight_step(&self) -> i64 {
        if self.over == Over::Channels { 2 * self.vector() } else { 0 }
    }

    /// Lanes of the last vector that are channels, where others must not be added.
    pub(crate) fn tail(&self) -> usize {
        if self.over == Over::Channels { self.channels % self.lanes } else { 0 }
    }
}

impl Family for Code {
    type Tables = ();

    fn name(&self) -> String {
        let over = if self.over == Over::Channels { "channels" } else { "positions" };
        format!("normalise_{over}_f32_{}c", self.lanes)
    }

    fn tasks(&self) -> usize {
        match self.over {
            Over::Channels => self.positions,
            Over::Positions => self.blocks(),
        }
    }

    /// A vector of its own.
    fn scratch(&self) -> usize {
        64
    }

    /// The last pass reads each element before it writes it.
    fn may_overwrite(&self, _index: usize) -> bool {
        true
    }

    /// For each block of channels their weights, then their biases.
    fn constants<'a>(&'a self, _: &'a (), params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        let mut packed = vec![0.0; self.blocks() * 2 * self.lanes];
        for c in 0..self.channels {
            let at = c / self.lanes * 2 * self.lanes + c % self.lanes;
            (packed[at], packed[at + self.lanes]) = match params {
                [weight, bias] => (weight[c], bias[c]),
                _ => (1.0, 0.0),
            };
        }
        vec![Constant::F32(packed)]
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let tile = module.define_tile(&format!("{name}_tile"), isa, 4, &mut |asm| self.emit(asm))?;
        let (step, weight_step) = self.task_steps();
        nest::define(name, module, |nest| {
            nest.for_tasks(self.tasks(), |nest, sample, task| {
                let (out, input) = (nest.sample_pointer(0, sample), nest.sample_pointer(1, sample));
                let (out, input) = (nest.offset_by(out, task, step), nest.offset_by(input, task, step));
                let weights = nest.constant_pointer(2);
                let weights = nest.offset_by(weights, task, weight_step);
                let scratch = nest.constant_pointer(3);
                nest.call(tile, &[input, out, weights, scratch]);
            });
        })
    }
}

/// Where a vector of values, of the output and of the weights lie, and how many of its lanes are channels.
struct Place {
    input: R,
    out: R,
    weights: R,
    count: usize,
}

impl Code {
    /// Emits the tile `(input, output, weights, scratch)`: all that shares one mean, or the channels of a block.
    fn emit(&self, asm: &mut dyn VectorAsm) {
        let mean = self.emit_mean(asm, None);
        let factor = self.emit_mean(asm, Some(mean));
        let x = asm.vec();
        asm.splat(x, self.eps.get());
        asm.add(factor, factor, x);
        asm.sqrt(factor, factor);
        asm.splat(x, 1.0);
        asm.div(factor, x, factor);
        let (weight, bias) = (asm.vec(), asm.vec());
        self.for_terms(asm, |asm, place| {
            asm.load(x, place.input.at(0));
            asm.sub(x, x, mean);
            asm.mul(x, x, factor);
            asm.load(weight, place.weights.at(0));
            asm.load(bias, place.weights.at(self.vector()));
            asm.horner(x, weight, bias);
            asm.store(place.out.at(0), x);
        });
    }

    /// The mean, or that of the squares of the distances from one.
    fn emit_mean(&self, asm: &mut dyn VectorAsm, from: Option<V>) -> V {
        let (x, part, total) = (asm.vec(), asm.vec(), Total::new(asm));
        asm.splat(part, 0.0);
        let every = Every::chain(asm, 1);
        let scratch = asm.arg(3);
        if let Some(mean) = from {
            asm.store(scratch.at(0), mean);
        }
        self.for_terms(asm, |asm, place| {
            asm.load_first(x, place.input.at(0), place.count);
            match from {
                None => asm.add(part, part, x),
                Some(mean) if place.count == self.lanes => {
                    asm.sub(x, x, mean);
                    asm.fma(part, x, x);
                }
                Some(_) => {
                    // What is no channel is 0, and its distance must be.
                    let mean = asm.vec();
                    asm.load_first(mean, scratch.at(0), place.count);
                    asm.sub(x, x, mean);
                    asm.fma(part, x, x);
                    asm.free(mean);
                }
            }
            every.pass(asm, |asm| total.add(asm, part));
        });
        total.add(asm, part);
        every.end(asm);
        let sum = total.end(asm);
        if self.over == Over::Channels {
            asm.store(scratch.at(0), sum);
            asm.broadcast(sum, scratch.at(0));
            for lane in 1..self.lanes as i64 {
                asm.broadcast(x, scratch.at(4 * lane));
                asm.add(sum, sum, x);
            }
        }
        asm.splat(x, self.count() as f32);
        asm.div(sum, sum, x);
        asm.free(x);
        asm.free(part);
        sum
    }

    /// Emits `body` for each vector.
    fn for_terms(&self, asm: &mut dyn VectorAsm, mut body: impl FnMut(&mut dyn VectorAsm, Place)) {
        let [counter, input, out, weights] = [0; 4].map(|_| asm.int());
        [(input, 0), (out, 1), (weights, 2)].into_iter().for_each(|(r, arg)| asm.copy_int(r, asm.arg(arg)));
        let ((terms, step), tail) = (self.terms(), self.tail());
        let full = terms - usize::from(tail > 0);
        if full > 0 {
            asm.set_int(counter, full as i64);
            let looped = asm.loop_begin(counter);
            body(asm, Place { input, out, weights, count: self.lanes });
            asm.add_imm(input, step);
            asm.add_imm(out, step);
            asm.add_imm(weights, self.weight_step());
            asm.loop_end(looped);
        }
        if tail > 0 {
            body(asm, Place { input, out, weights, count: tail });
        }
        [counter, input, out, weights].into_iter().for_each(|r| asm.free_int(r));
    }
}
