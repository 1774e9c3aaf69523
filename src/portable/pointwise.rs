//! Element by element: see [`crate::kernels::pointwise`].

use super::memory::Pointer;
use super::{LANES, epilogue, tasks};
use crate::kernels::pointwise::{Code, Function};
use crate::kernels::{Family, Operand};
use crate::layers::Each;
use wide::f32x8;

/// # Safety
/// As [`super::run`].
pub unsafe fn run(conf: &Code, operands: &[Operand], begin: usize, end: usize) {
    for (sample, block) in tasks(conf.tasks(), begin, end) {
        let value = |operand, vectors| Pointer::sample(operands, operand, sample).vector(block * vectors);
        let residual = epilogue::residual(&conf.epilogue, operands, 1 + conf.operands, sample);
        let residual = residual.vector(block * conf.positions);
        let call = Call { conf, out: value(0, conf.positions), first: value(1, conf.positions), residual };
        // SAFETY: the pointers are those of one task of the conf. Layers with two operands have a second value with a number
        // for each element, channel, position or sample; functions of each channel have vectors of constants for each.
        unsafe {
            match conf.function {
                Function::Activation(activation) => call.each(|x, _| epilogue::activate(activation, x)),
                Function::Add(each) => call.with(each, value(2, conf.second_vectors(each)), |x, y| x + y),
                Function::Mul(each) => call.with(each, value(2, conf.second_vectors(each)), |x, y| x * y),
                Function::Slopes => {
                    let slopes = constants(conf, operands, block).load();
                    call.each(|x, _| x.simd_ge(f32x8::ZERO).select(x, x * slopes));
                }
                Function::Affine => {
                    let packed = constants(conf, operands, block);
                    let (scale, shift) = (packed.load(), packed.vector(1).load());
                    call.each(|x, _| x.mul_add(scale, shift));
                }
            }
        }
    }
}

/// The constants of a block.
fn constants(conf: &Code, operands: &[Operand], block: usize) -> Pointer {
    let constants = 1 + conf.operands + conf.epilogue.operands();
    Pointer::constant(operands, constants).vector(conf.constant_vectors() * block)
}

/// One block.
struct Call<'a> {
    conf: &'a Code,
    out: Pointer,
    first: Pointer,
    residual: Pointer,
}

impl Call<'_> {
    /// out = epilogue(f(first, second)), where the second value has a number for `each` of these.
    ///
    /// # Safety
    /// The pointers must be those of one task of the conf.
    #[inline(always)]
    unsafe fn with(&self, each: Each, second: Pointer, f: impl Fn(f32x8, f32x8) -> f32x8) {
        // SAFETY: the caller's.
        unsafe {
            match each {
                Each::Element => self.each(|x, position| f(x, second.vector(position).load())),
                Each::Position => self.each(|x, position| f(x, second.vector(position).broadcast())),
                Each::Channel => {
                    let y = second.load();
                    self.each(|x, _| f(x, y));
                }
                Each::Sample => {
                    let y = second.broadcast();
                    self.each(|x, _| f(x, y));
                }
            }
        }
    }

    /// out = epilogue(f(first, position)) for all positions.
    ///
    /// # Safety
    /// The pointers must be those of one task of the conf.
    #[inline(always)]
    unsafe fn each(&self, f: impl Fn(f32x8, usize) -> f32x8) {
        for position in 0..self.conf.positions {
            // SAFETY: the caller's.
            unsafe {
                let value = f(self.first.vector(position).load(), position);
                let value = epilogue::apply(&self.conf.epilogue, value, self.residual.vector(position), LANES);
                self.out.vector(position).store(value);
            }
        }
    }
}
