//! Element by element: activations, addition and multiplication (also of one number a channel or position), batch norms and
//! scales that were not folded into a convolution.

use super::epilogue::{Epilogue, Residual, activate, with_slopes};
use super::nest::{self, KernelNest};
use super::{Conf, Constant, Family, Layout, Lowered, NodeView, Target, Why};
use crate::codegen::vector::{V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa};
use crate::ir;
use crate::ir::weights::Values;
use crate::layers::{Activation, Each, Op};
use std::hash::{Hash, Hasher};

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
            Each::Element => self.positions,
            Each::Channel => 1,
            Each::Position | Each::Sample => 0,
        }
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
        self.blocks()
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
        let tile = module.define_tile(&format!("{name}_tile"), isa, 4, &mut |asm| self.emit(asm))?;
        let block_bytes = self.positions as i64 * self.vector();
        nest::define(name, module, |nest| {
            nest.for_tasks(self.tasks(), |nest, sample, block| {
                let out = nest.sample_pointer(0, sample);
                let out = nest.offset_by(out, block, block_bytes);
                let first = nest.sample_pointer(1, sample);
                let first = nest.offset_by(first, block, block_bytes);
                let residual = match self.epilogue.operands() {
                    0 => out,
                    _ => {
                        let pointer = nest.sample_pointer(1 + self.operands, sample);
                        nest.offset_by(pointer, block, block_bytes)
                    }
                };
                let second = match self.function {
                    Function::Activation(_) => out,
                    Function::Add(each) | Function::Mul(each) => {
                        let pointer = nest.sample_pointer(2, sample);
                        nest.offset_by(pointer, block, self.second_vectors(each) as i64 * self.vector())
                    }
                    Function::Affine | Function::Slopes => {
                        let pointer = nest.constant_pointer(1 + self.operands + self.epilogue.operands());
                        nest.offset_by(pointer, block, self.constant_vectors() as i64 * self.vector())
                    }
                };
                nest.call(tile, &[first, second, out, residual]);
            });
        })
    }
}

impl Code {
    /// Positions of one pass of the tile's loop.
    fn unroll(&self) -> usize {
        let function = match self.function {
            Function::Activation(activation) => vec![ir::Epilogue::Activation(activation)],
            _ => vec![],
        };
        self.epilogue.group().min(Epilogue::new(&function).group())
    }

    /// Emits the tile `(first, second, output, residual)`: all positions of one block.
    fn emit(&self, asm: &mut dyn VectorAsm) {
        let unroll = self.unroll();
        let (passes, rest) = (self.positions / unroll, self.positions % unroll);
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
