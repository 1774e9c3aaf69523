//! Element by element: activations, addition and multiplication (also of one number a channel or position), batch norms and
//! scales that were not folded into a convolution.

use super::bands::{Descent, Planes, Unit, parts, rows_of_unit};
use super::epilogue::{Epilogue, Residual, activate, with_slopes};
use super::nest::{self, KernelNest};
use super::{Conf, Constant, Family, Layout, Lowered, NodeView, Target, Why};
use crate::codegen::vector::{V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa, NestBuilder, Word};
use crate::ir;
use crate::ir::weights::Values;
use crate::layers::{Activation, Each, Op};
use std::hash::{Hash, Hasher};
use std::ops::Range;

/// Every decision about one pointwise kernel that its code depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub lanes: usize,
    pub channels: usize,
    pub positions: usize,
    pub function: Function,
    /// Operands of the layer.
    pub operands: usize,
    pub epilogue: Epilogue,
    /// Where it goes down the picture with others, some positions of all blocks at a time.
    pub planes: Option<Planes>,
}

/// What the constants are made with beside the parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tables {
    /// Of a batch norm, whose last two parameters are the mean and the variance.
    pub eps: Option<f64>,
}

impl Hash for Tables {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.eps.map(f64::to_bits).hash(state);
    }
}

/// What is computed from the operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Function {
    Activation(Activation),
    /// The sum of the first operand and the second, which has a number for each of these.
    Add(Each),
    /// Their product.
    Mul(Each),
    /// A scale and a shift for each channel.
    Affine,
    /// A slope for each channel, where the operand is below 0.
    Slopes,
}

/// Positions of a task at least: for fewer, calls take longer than what they do.
const LEAST_POSITIONS: usize = 64;

/// Makes the conf of an element-by-element layer.
///
/// # Errors
/// Why this kernel cannot do it.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, Why> {
    let each = || Each::of(node.inputs[0].ty, node.inputs[1].ty).expect("verified");
    let function = match node.op {
        Op::Activation(activation) => Function::Activation(*activation),
        Op::Add(_) => Function::Add(each()),
        Op::Mul(_) => Function::Mul(each()),
        Op::BatchNorm(_) | Op::Scale(_) => Function::Affine,
        Op::PRelu(_) => Function::Slopes,
        _ => return Err(Why::unfit("not element by element")),
    };
    let eps = if let Op::BatchNorm(norm) = node.op { Some(norm.eps) } else { None };
    let code = Code {
        lanes: target.lanes,
        channels: node.output.channels(),
        positions: node.output.spatial().iter().product(),
        function,
        operands: node.inputs.len(),
        epilogue: node.epilogue.clone(),
        planes: None,
    };
    let inputs = vec![Layout::Blocked; code.operands];
    let kernel = Conf { code, tables: Tables { eps } }.into();
    Ok(Lowered { kernel, inputs, output: Layout::Blocked, spread: None, padded: None })
}

impl Code {
    fn vector(&self) -> i64 {
        (self.lanes * 4) as i64
    }

    fn blocks(&self) -> usize {
        self.channels.div_ceil(self.lanes)
    }

    /// Vectors of constants that each block has.
    pub(crate) fn constant_vectors(&self) -> usize {
        match self.function {
            Function::Affine => 2,
            Function::Slopes => 1,
            Function::Activation(_) | Function::Add(_) | Function::Mul(_) => 0,
        }
    }

    /// Vectors of the second operand from one block to the next: its only channel is the first lane of the only block.
    pub(crate) fn second_vectors(&self, each: Each) -> usize {
        match each {
            Each::Element => self.planes().output,
            Each::Channel => 1,
            Each::Position | Each::Sample => 0,
        }
    }

    /// Positions of a task.
    fn task_positions(&self) -> usize {
        self.planes.map_or(self.positions, |_| rows_of_unit(self.positions).max(LEAST_POSITIONS))
    }

    /// Positions of a block in memory.
    fn planes(&self) -> Planes {
        self.planes.unwrap_or(Planes { input: self.positions, output: self.positions })
    }

    /// See [`super::Kernel::banded`].
    pub(super) fn banded(&self, planes: Planes) -> Code {
        Code { planes: Some(planes), ..self.clone() }
    }

    /// See [`super::Kernel::descent`].
    pub(super) fn descent(&self) -> Descent {
        let unit = |of_unit: Range<usize>| Unit { reads: of_unit.clone(), writes: of_unit };
        Descent { tasks: self.blocks(), units: parts(self.positions, self.task_positions()).map(unit).collect() }
    }

    /// Scale and shift of each channel of a block side by side: `[block][2][lane]`.
    fn pack_affine(&self, eps: Option<f64>, params: &[Values<'_>]) -> Vec<f32> {
        let (affine, statistics) = params.split_at(params.len() - if eps.is_some() { 2 } else { 0 });
        let value = |params: &[Values], index: usize, c: usize| params.get(index).map(|values| f64::from(values[c]));
        let mut packed = vec![0.0; self.blocks() * 2 * self.lanes];
        for c in 0..self.channels {
            let (gamma, beta) = (value(affine, 0, c).unwrap_or(1.0), value(affine, 1, c).unwrap_or(0.0));
            let (mean, variance) = (value(statistics, 0, c).unwrap_or(0.0), value(statistics, 1, c).unwrap_or(1.0));
            let scale = gamma / (variance + eps.unwrap_or(0.0)).sqrt();
            let shift = beta - mean * scale;
            let at = c / self.lanes * 2 * self.lanes + c % self.lanes;
            (packed[at], packed[at + self.lanes]) = (scale as f32, shift as f32);
        }
        packed
    }

    /// The slope of each channel, of which there may be one for all.
    fn pack_slopes(&self, slopes: &[f32]) -> Vec<f32> {
        let channels = self.blocks() * self.lanes;
        (0..channels).map(|c| slopes[c.min(slopes.len() - 1)]).collect()
    }
}

fn suffix(each: Each) -> &'static str {
    match each {
        Each::Element => "",
        Each::Channel => "_channels",
        Each::Position => "_positions",
        Each::Sample => "_samples",
    }
}

impl Family for Code {
    type Tables = Tables;

    fn name(&self) -> String {
        let function = match self.function {
            Function::Activation(activation) => {
                activation.to_string().replace(|c: char| !c.is_ascii_alphanumeric(), "_")
            }
            Function::Add(each) => format!("add{}", suffix(each)),
            Function::Mul(each) => format!("mul{}", suffix(each)),
            Function::Affine => "affine".into(),
            Function::Slopes => "slopes".into(),
        };
        format!("pointwise_{function}_f32_{}c", self.lanes)
    }

    fn tasks(&self) -> usize {
        self.blocks() * self.positions.div_ceil(self.task_positions())
    }

    /// All are read before anything is stored.
    fn may_overwrite(&self, _index: usize) -> bool {
        true
    }

    fn constants<'a>(&'a self, tables: &'a Tables, params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        match self.function {
            Function::Affine => vec![Constant::F32(self.pack_affine(tables.eps, params))],
            Function::Slopes => vec![Constant::F32(self.pack_slopes(&params[0]))],
            Function::Activation(_) | Function::Add(_) | Function::Mul(_) => vec![],
        }
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let mut tile = |suffix: &str, positions: usize| {
            module.define_tile(&format!("{name}_{suffix}"), isa, 4, &mut |asm| self.emit(asm, positions))
        };
        let whole = tile("tile", self.task_positions())?;
        let last = match self.positions % self.task_positions() {
            0 => None,
            rest => Some(tile("last", rest)?),
        };
        nest::define(name, module, |nest| self.generate_nest(nest, whole, last))
    }
}

impl Code {
    /// With the tile of a task, and that of the last one, where it has fewer positions.
    fn generate_nest(&self, nest: &mut NestBuilder, whole: FuncId, last: Option<FuncId>) {
        let (blocks, of_task) = (self.blocks() as i64, self.task_positions() as i64);
        let Planes { input, output } = self.planes();
        let [in_bytes, out_bytes] = [input, output].map(|plane| plane as i64 * self.vector());
        nest.for_tasks(self.tasks(), |nest, sample, task| {
            let (index, block) = match self.planes {
                None => (None, task),
                Some(_) => (Some(nest.div_imm(task, blocks)), nest.rem_imm(task, blocks)),
            };
            // The first position of the task.
            let at = |nest: &mut NestBuilder, pointer: Word| match index {
                None => pointer,
                Some(index) => nest.offset_by(pointer, index, of_task * self.vector()),
            };
            let value = |nest: &mut NestBuilder, operand: usize, bytes: i64| {
                let pointer = nest.sample_pointer(operand, sample);
                nest.offset_by(pointer, block, bytes)
            };
            let out = value(nest, 0, out_bytes);
            let out = at(nest, out);
            let first = value(nest, 1, in_bytes);
            let first = at(nest, first);
            let residual = match self.epilogue.operands() {
                0 => out,
                _ => {
                    let pointer = value(nest, 1 + self.operands, out_bytes);
                    at(nest, pointer)
                }
            };
            let second = match self.function {
                Function::Activation(_) => out,
                Function::Add(each) | Function::Mul(each) => {
                    let pointer = value(nest, 2, self.second_vectors(each) as i64 * self.vector());
                    if matches!(each, Each::Element | Each::Position) { at(nest, pointer) } else { pointer }
                }
                Function::Affine | Function::Slopes => {
                    let pointer = nest.constant_pointer(1 + self.operands + self.epilogue.operands());
                    nest.offset_by(pointer, block, self.constant_vectors() as i64 * self.vector())
                }
            };
            let arguments = [first, second, out, residual];
            match (index, last) {
                (Some(index), Some(last)) => {
                    let whole_tasks = (self.positions / self.task_positions()) as i64;
                    let behind = nest.add_imm(index, -whole_tasks);
                    let call = |tile: FuncId| move |nest: &mut NestBuilder| nest.call(tile, &arguments);
                    nest.if_else(behind, call(whole), call(last));
                }
                _ => nest.call(whole, &arguments),
            }
        });
    }

    /// Positions of one pass of the tile's loop.
    fn unroll(&self) -> usize {
        let function = match self.function {
            Function::Activation(activation) => vec![ir::Epilogue::Activation(activation)],
            _ => vec![],
        };
        self.epilogue.group().min(Epilogue::new(&function).group())
    }

    /// Emits the tile `(first, second, output, residual)`: so many positions of one block.
    fn emit(&self, asm: &mut dyn VectorAsm, positions: usize) {
        let unroll = self.unroll();
        let (passes, rest) = (positions / unroll, positions % unroll);
        if passes > 0 {
            let counter = asm.int();
            asm.set_int(counter, passes as i64);
            let positions = asm.loop_begin(counter);
            self.emit_positions(asm, unroll);
            self.advance(asm, unroll);
            asm.loop_end(positions);
        }
        if rest > 0 {
            self.emit_positions(asm, rest);
        }
    }

    fn advance(&self, asm: &mut dyn VectorAsm, positions: usize) {
        let bytes = positions as i64 * self.vector();
        asm.add_imm(asm.arg(0), bytes);
        if let Function::Add(Each::Element | Each::Position) | Function::Mul(Each::Element | Each::Position) =
            self.function
        {
            asm.add_imm(asm.arg(1), bytes);
        }
        asm.add_imm(asm.arg(2), bytes);
        asm.add_imm(asm.arg(3), bytes);
    }

    fn emit_positions(&self, asm: &mut dyn VectorAsm, count: usize) {
        let [first, second, out, residual] = [0, 1, 2, 3].map(|arg| asm.arg(arg));
        let at = |p: usize| (p * self.lanes * 4) as i64;
        let values: Vec<V> = (0..count).map(|_| asm.vec()).collect();
        values.iter().enumerate().for_each(|(p, &x)| asm.load(x, first.at(at(p))));
        match self.function {
            Function::Activation(activation) => activate(asm, activation, &values),
            Function::Add(each) | Function::Mul(each) => {
                let y = asm.vec();
                for (p, &x) in values.iter().enumerate() {
                    match each {
                        Each::Element => asm.load(y, second.at(at(p))),
                        Each::Position => asm.broadcast(y, second.at(at(p))),
                        Each::Channel if p == 0 => asm.load(y, second.at(0)),
                        Each::Sample if p == 0 => asm.broadcast(y, second.at(0)),
                        Each::Channel | Each::Sample => {}
                    }
                    if let Function::Add(_) = self.function { asm.add(x, x, y) } else { asm.mul(x, x, y) }
                }
                asm.free(y);
            }
            Function::Affine => {
                let (scale, shift) = (asm.vec(), asm.vec());
                asm.load(scale, second.at(0));
                asm.load(shift, second.at(at(1)));
                values.iter().for_each(|&x| asm.horner(x, scale, shift));
                asm.free(scale);
                asm.free(shift);
            }
            Function::Slopes => {
                let slopes = asm.vec();
                asm.load(slopes, second.at(0));
                with_slopes(asm, slopes, &values);
                asm.free(slopes);
            }
        }
        self.epilogue.apply(asm, &values, Residual { base: residual, first: 0, lanes: self.lanes });
        for (p, x) in values.into_iter().enumerate() {
            asm.store(out.at(at(p)), x);
            asm.free(x);
        }
    }
}
