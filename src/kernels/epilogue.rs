//! Work fused behind a kernel's own: residual addition and activations, shared by all kernels.

use super::math;
use crate::codegen::vector::{Compare, Mem, R, V, VectorAsm};
use crate::ir;
use crate::layers::Activation;

/// What happens to each output vector before it is stored, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Epilogue {
    items: Vec<Item>,
}

/// One step of an [`Epilogue`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Item {
    Add,
    Activation(Activation),
}

impl Epilogue {
    /// At most one of the items may be an addition: kernels take one residual operand.
    pub fn new(items: &[ir::Epilogue]) -> Epilogue {
        let items = items.iter().map(|item| match item {
            ir::Epilogue::Add { .. } => Item::Add,
            ir::Epilogue::Activation(activation) => Item::Activation(*activation),
        });
        Epilogue { items: items.collect() }
    }

    /// Operands that the epilogue reads: 0 or 1.
    pub fn operands(&self) -> usize {
        self.items.iter().filter(|i| **i == Item::Add).count()
    }

    /// Whether one register beside the value is enough.
    pub fn is_light(&self) -> bool {
        self.items.iter().all(|item| match item {
            Item::Add => true,
            Item::Activation(a) => matches!(a, Activation::Relu | Activation::Relu6),
        })
    }

    /// Changes `value`; `residual` is the memory of the residual operand. Takes one more register if
    /// [light](Epilogue::is_light), up to seven if not.
    pub fn apply(&self, asm: &mut dyn VectorAsm, value: V, residual: Mem) {
        for item in &self.items {
            match item {
                Item::Add => {
                    let other = asm.vec();
                    asm.load(other, residual);
                    asm.add(value, value, other);
                    asm.free(other);
                }
                Item::Activation(a) => activate(asm, *a, value),
            }
        }
    }

    /// Applies itself to a row of vectors that lie side by side, stores them and gives their registers back.
    pub fn finish(&self, asm: &mut dyn VectorAsm, row: &[V], out: R, residual: R) {
        let offset = |asm: &dyn VectorAsm, p: usize| (p * asm.lanes() * 4) as i32;
        if self.is_light() {
            for (p, &value) in row.iter().enumerate() {
                let at = offset(asm, p);
                self.apply(asm, value, residual.at(at));
                asm.store(out.at(at), value);
                asm.free(value);
            }
            return;
        }
        // The epilogue needs the registers of the row: it waits in the output.
        for (p, &value) in row.iter().enumerate() {
            let at = offset(asm, p);
            asm.store(out.at(at), value);
            asm.free(value);
        }
        let value = asm.vec();
        for p in 0..row.len() {
            let at = offset(asm, p);
            asm.load(value, out.at(at));
            self.apply(asm, value, residual.at(at));
            asm.store(out.at(at), value);
        }
        asm.free(value);
    }

    /// What happens, in order; for the portable engine.
    pub(crate) fn items(&self) -> &[Item] {
        &self.items
    }

    /// The items' names, for `explain`.
    pub fn describe(&self) -> String {
        let names: Vec<String> = self
            .items
            .iter()
            .map(|item| match item {
                Item::Add => "add".to_string(),
                Item::Activation(a) => a.to_string(),
            })
            .collect();
        names.join(" + ")
    }
}

/// value = f(value). The order of the operands of `max` and `min` keeps NaN.
pub fn activate(asm: &mut dyn VectorAsm, activation: Activation, value: V) {
    match activation {
        Activation::Relu => with_constant(asm, 0.0, |asm, zero| asm.max(value, zero, value)),
        Activation::Relu6 => {
            with_constant(asm, 0.0, |asm, zero| asm.max(value, zero, value));
            with_constant(asm, 6.0, |asm, six| asm.min(value, six, value));
        }
        Activation::LeakyRelu(slope) => leaky_relu(asm, slope, value),
        Activation::Sigmoid => math::sigmoid(asm, value, value),
        Activation::Tanh => math::tanh(asm, value),
        Activation::Silu => {
            let gate = asm.vec();
            math::sigmoid(asm, gate, value);
            asm.mul(value, value, gate);
            asm.free(gate);
        }
        Activation::HardSigmoid => hard_sigmoid(asm, value),
        Activation::HardSwish => {
            let x = asm.vec();
            asm.copy(x, value);
            hard_sigmoid(asm, value);
            asm.mul(value, value, x);
            asm.free(x);
        }
        Activation::Gelu => math::gelu(asm, value),
    }
}

fn leaky_relu(asm: &mut dyn VectorAsm, slope: f32, value: V) {
    let (scaled, zero) = (asm.vec(), asm.vec());
    asm.splat(scaled, slope);
    asm.mul(scaled, scaled, value);
    asm.splat(zero, 0.0);
    asm.select(Compare::Ge, value, value, zero, value, scaled);
    asm.free(scaled);
    asm.free(zero);
}

/// min(max(x + 3, 0), 6) / 6
fn hard_sigmoid(asm: &mut dyn VectorAsm, value: V) {
    with_constant(asm, 3.0, |asm, three| asm.add(value, value, three));
    with_constant(asm, 0.0, |asm, zero| asm.max(value, zero, value));
    with_constant(asm, 6.0, |asm, six| {
        asm.min(value, six, value);
        asm.div(value, value, six);
    });
}

fn with_constant(asm: &mut dyn VectorAsm, value: f32, f: impl FnOnce(&mut dyn VectorAsm, V)) {
    let constant = asm.vec();
    asm.splat(constant, value);
    f(asm, constant);
    asm.free(constant);
}
