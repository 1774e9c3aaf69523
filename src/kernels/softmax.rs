//! Softmax and its logarithm, of values in ONNX's order. Runs whose elements are neighbours are done one by one, their
//! elements in the lanes; of others the lanes are runs.
//!
//! Three passes over what is in the nearest cache, if it is not too large: the largest; the powers, and their sum; the
//! quotients.

use super::lanes::across;
use super::long::{CHAIN, Every, Total};
use super::math;
use super::nest::{self, KernelNest};
use super::{Conf, Constant, Family, Layout, Lowered, NodeView, Target, Why};
use crate::codegen::vector::{R, V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa, NestBuilder, Word};
use crate::ir::weights::Values;
use crate::layers::{Op, Runs};

/// Vectors that are done together at most: more would share no more of the constants that matters.
const MOST_VECTORS: usize = 6;

/// Every decision about one softmax.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub lanes: usize,
    pub runs: Runs,
    pub log: bool,
    /// Vectors that are done together, whose powers do not wait for each other.
    pub vectors: usize,
}

/// Makes the conf of a softmax.
///
/// # Errors
/// Why this kernel cannot do it.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, Why> {
    let Op::Softmax(softmax) = node.op else { return Err(Why::unfit("not a softmax")) };
    if node.epilogue != Default::default() {
        return Err(Why::unfit("has no epilogue"));
    }
    let runs = softmax.over.runs(&node.output.dims);
    let vectors = match runs {
        // Each has a power and two registers for that, beside a largest, a sum, a total and constants.
        Runs { inner: 1, .. } => ((target.registers - 5) / 3).min(MOST_VECTORS),
        Runs { count, .. } if count > CHAIN => 1,
        // Each has a largest and a sum of its own.
        _ => ((target.registers - 1) / 5).min(MOST_VECTORS),
    };
    let code = Code { lanes: target.lanes, runs, log: softmax.log, vectors };
    let kernel = Conf { code, tables: () }.into();
    Ok(Lowered { kernel, inputs: vec![Layout::Nchw], output: Layout::Nchw, spread: None, padded: None })
}

/// Vectors one behind the other, of which the last may have fewer elements.
#[derive(Clone, Copy)]
struct Step {
    vectors: usize,
    last: usize,
}

impl Code {
    /// Whether the lanes are elements of one run.
    pub(crate) fn is_along(&self) -> bool {
        self.runs.inner == 1
    }

    /// Elements that a step can hold.
    fn width(&self) -> usize {
        self.vectors * self.lanes
    }

    /// Tasks of the runs of one outer number.
    pub(crate) fn strips(&self) -> usize {
        if self.is_along() { 1 } else { self.runs.inner.div_ceil(self.width()) }
    }

    /// Bytes from the runs of one outer number to those of the next, from a strip to the next, and from a step to the next.
    pub(crate) fn steps(&self) -> [i64; 3] {
        let Runs { count, inner, .. } = self.runs;
        let width = (self.width() * 4) as i64;
        [(count * inner * 4) as i64, width, if self.is_along() { width } else { (inner * 4) as i64 }]
    }

    /// So many of the elements that remain in one step.
    fn step(&self, elements: usize) -> Step {
        let vectors = elements.div_ceil(self.lanes);
        Step { vectors, last: elements - (vectors - 1) * self.lanes }
    }

    /// The steps of a tile of `elements` in the lanes, and how often each is done.
    fn parts(&self, elements: usize) -> Vec<(Step, usize)> {
        if !self.is_along() {
            return vec![(self.step(elements), self.runs.count)];
        }
        let (full, rest) = (elements / self.width(), elements % self.width());
        let full = (full > 0).then(|| (self.step(self.width()), full));
        full.into_iter().chain((rest > 0).then(|| (self.step(rest), 1))).collect()
    }

    /// Whether one chain of additions would be too long.
    fn is_long(&self) -> bool {
        let terms = if self.is_along() { self.runs.count.div_ceil(self.width()) } else { self.runs.count };
        terms > CHAIN
    }
}

impl Family for Code {
    type Tables = ();

    fn name(&self) -> String {
        let (log, lanes) = (if self.log { "log_" } else { "" }, self.lanes);
        format!("{log}softmax_f32_{lanes}{}", if self.is_along() { "e" } else { "p" })
    }

    fn tasks(&self) -> usize {
        self.runs.outer * self.strips()
    }

    /// A vector of its own.
    fn scratch(&self) -> usize {
        64
    }

    /// What is added to the last vector of a run: its elements stay what they are, and no other lane is the largest.
    fn constants<'a>(&'a self, _: &'a (), _params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        let last = (self.runs.count - 1) % self.lanes;
        vec![Constant::F32((0..self.lanes).map(|lane| if lane > last { f32::NEG_INFINITY } else { 0.0 }).collect())]
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let mut tile = |part: &str, elements| {
            module.define_tile(&format!("{name}_{part}"), isa, 4, &mut |asm| self.emit(asm, &self.parts(elements)))
        };
        let (full, rest) = match self.is_along() {
            true => (self.runs.count, 0),
            false => (self.width(), self.runs.inner % self.width()),
        };
        let full = if rest == 0 || self.strips() > 1 { Some(tile("tile", full)?) } else { None };
        let last = if rest > 0 { Some(tile("tail", rest)?) } else { full };
        let (full, last) = (full.or(last), last.or(full));
        let tiles = full.zip(last).expect("there is one of the two at least");
        nest::define(name, module, |nest| {
            nest.for_tasks(self.tasks(), |nest, sample, task| self.generate_task(nest, sample, task, tiles));
        })
    }
}

impl Code {
    fn generate_task(&self, nest: &mut NestBuilder, sample: Word, task: Word, (full, last): (FuncId, FuncId)) {
        let [outer_step, strip_step, _] = self.steps();
        let strips = self.strips() as i64;
        let (outer, strip) = match strips {
            1 => (task, nest.iconst(0)),
            _ => (nest.div_imm(task, strips), nest.rem_imm(task, strips)),
        };
        let mut place = |operand| {
            let pointer = nest.sample_pointer(operand, sample);
            let pointer = nest.offset_by(pointer, outer, outer_step);
            nest.offset_by(pointer, strip, strip_step)
        };
        let (out, input) = (place(0), place(1));
        let args = [input, out, nest.constant_pointer(2), nest.constant_pointer(3)];
        if full == last {
            return nest.call(full, &args);
        }
        let from_last = nest.add_imm(strip, 1 - strips);
        nest.if_else(from_last, |nest| nest.call(full, &args), |nest| nest.call(last, &args));
    }

    /// Emits the tile `(input, output, what is added to the last vector, scratch)`.
    fn emit(&self, asm: &mut dyn VectorAsm, parts: &[(Step, usize)]) {
        let largest = self.emit_largest(asm, parts);
        let sums = self.emit_powers(asm, parts, &largest);
        let x = asm.vec();
        asm.splat(x, 1.0);
        for &sum in &sums {
            match self.log {
                true => math::ln(asm, sum),
                false => asm.div(sum, x, sum),
            }
        }
        self.for_steps(asm, parts, |asm, input, out, step| {
            for i in 0..step.vectors {
                let (at, count) = self.vector(step, i);
                let (largest, sum) = (largest[i % largest.len()], sums[i % sums.len()]);
                asm.load_first(x, if self.log { input } else { out }.at(at), count);
                if self.log {
                    asm.sub(x, x, largest);
                    asm.sub(x, x, sum);
                } else {
                    asm.mul(x, x, sum);
                }
                asm.store_first(out.at(at), x, count);
            }
        });
    }

    /// Place and elements of a vector of a step.
    fn vector(&self, step: Step, index: usize) -> (i64, usize) {
        let count = if index + 1 == step.vectors { step.last } else { self.lanes };
        ((index * self.lanes * 4) as i64, count)
    }

    /// Loads a vector of a run's, in whose other lanes nothing is the largest.
    fn load(&self, asm: &mut dyn VectorAsm, x: V, input: R, (at, count): (i64, usize)) {
        asm.load_first(x, input.at(at), count);
        if self.is_along() && count < self.lanes {
            let others = asm.vec();
            asm.load(others, asm.arg(2).at(0));
            asm.add(x, x, others);
            asm.free(others);
        }
    }

    /// The largest of each run: one register for each vector of runs, or one for the run.
    fn emit_largest(&self, asm: &mut dyn VectorAsm, parts: &[(Step, usize)]) -> Vec<V> {
        let most = parts.iter().map(|(step, _)| step.vectors).max().unwrap_or(1);
        let mut largest: Vec<V> = (0..most).map(|_| asm.vec()).collect();
        largest.iter().for_each(|&v| asm.splat(v, f32::NEG_INFINITY));
        let x = asm.vec();
        self.for_steps(asm, parts, |asm, input, _, step| {
            for (i, &largest) in largest.iter().enumerate().take(step.vectors) {
                self.load(asm, x, input, self.vector(step, i));
                asm.max_nan(largest, largest, x);
            }
        });
        asm.free(x);
        if self.is_along() {
            let (first, scratch) = (largest[0], asm.arg(3).at(0));
            for other in largest.drain(1..) {
                asm.max_nan(first, first, other);
                asm.free(other);
            }
            across(asm, first, scratch, |asm, dst, a, b| asm.max_nan(dst, a, b));
        }
        largest
    }

    /// Writes the powers where they are wanted; their sums, in registers as of the largest.
    fn emit_powers(&self, asm: &mut dyn VectorAsm, parts: &[(Step, usize)], largest: &[V]) -> Vec<V> {
        let sums: Vec<V> = largest.iter().map(|_| asm.vec()).collect();
        sums.iter().for_each(|&sum| asm.splat(sum, 0.0));
        let totals: Vec<Total> = if self.is_long() { sums.iter().map(|_| Total::new(asm)).collect() } else { vec![] };
        let add = |asm: &mut dyn VectorAsm| totals.iter().zip(&sums).for_each(|(total, &sum)| total.add(asm, sum));
        let every = self.is_long().then(|| Every::chain(asm, 1));
        self.for_steps(asm, parts, |asm, input, out, step| {
            let powers: Vec<V> = (0..step.vectors).map(|_| asm.vec()).collect();
            for (i, &x) in powers.iter().enumerate() {
                self.load(asm, x, input, self.vector(step, i));
                asm.sub(x, x, largest[i % largest.len()]);
            }
            math::exp_below_one(asm, &powers);
            for (i, &x) in powers.iter().enumerate() {
                let (at, count) = self.vector(step, i);
                if !self.log {
                    asm.store_first(out.at(at), x, count);
                }
            }
            if self.is_along() {
                powers[1..].iter().for_each(|&x| asm.add(powers[0], powers[0], x));
            }
            sums.iter().zip(&powers).for_each(|(&sum, &x)| asm.add(sum, sum, x));
            powers.into_iter().for_each(|x| asm.free(x));
            if let Some(every) = &every {
                every.pass(asm, add);
            }
        });
        let sums: Vec<V> = match every {
            None => sums,
            Some(every) => {
                every.end(asm);
                add(asm);
                sums.into_iter().for_each(|sum| asm.free(sum));
                totals.into_iter().map(|total| total.end(asm)).collect()
            }
        };
        if self.is_along() {
            let scratch = asm.arg(3).at(0);
            across(asm, sums[0], scratch, |asm, dst, a, b| asm.add(dst, a, b));
        }
        sums
    }

    /// Emits `body(asm, input, output, step)` for all steps.
    fn for_steps(
        &self,
        asm: &mut dyn VectorAsm,
        parts: &[(Step, usize)],
        mut body: impl FnMut(&mut dyn VectorAsm, R, R, Step),
    ) {
        let [counter, input, out] = [0; 3].map(|_| asm.int());
        asm.copy_int(input, asm.arg(0));
        asm.copy_int(out, asm.arg(1));
        let [.., bytes] = self.steps();
        for &(step, times) in parts {
            asm.set_int(counter, times as i64);
            let steps = asm.loop_begin(counter);
            body(asm, input, out, step);
            asm.add_imm(input, bytes);
            asm.add_imm(out, bytes);
            asm.loop_end(steps);
        }
        [counter, input, out].into_iter().for_each(|r| asm.free_int(r));
    }
}
