//! Work fused behind a kernel's own: residual addition and activations, shared by all kernels.

use super::math::{self, Logistic};
use super::taps::split;
use crate::codegen::vector::{Compare, Mem, R, V, VectorAsm};
use crate::ir;
use crate::layers::Activation;

/// What happens to each output vector before it is stored, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Epilogue {
    items: Vec<Item>,
    /// Positions of the output, and of the residual operand, from one vector of a row to the next.
    step: usize,
}

impl Default for Epilogue {
    fn default() -> Epilogue {
        Epilogue { items: Vec::new(), step: 1 }
    }
}

/// One step of an [`Epilogue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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
        Epilogue { items: items.collect(), ..Epilogue::default() }
    }

    /// The same for rows whose vectors lie `step` positions from each other.
    pub fn with_step(self, step: usize) -> Epilogue {
        Epilogue { step, ..self }
    }

    /// Nothing but stores, to the same places.
    pub fn without_items(&self) -> Epilogue {
        Epilogue::default().with_step(self.step)
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

    /// Applies itself to a row of vectors, stores their first `lanes` lanes and gives their
    /// registers back. Takes one register beside them if [light](Epilogue::is_light); if not, all that a tile has: the
    /// row must be all that the tile holds.
    pub fn finish(&self, asm: &mut dyn VectorAsm, row: &[V], out: R, residual: R, lanes: usize) {
        self.finish_and(asm, row, out, residual, lanes, &mut |_, _| {});
    }

    /// As [`Epilogue::finish`], and calls `use_values(asm, values)` with finished vectors before they are stored: with
    /// each one once. That may take two registers.
    pub fn finish_and(
        &self,
        asm: &mut dyn VectorAsm,
        row: &[V],
        out: R,
        residual: R,
        lanes: usize,
        use_values: &mut dyn FnMut(&mut dyn VectorAsm, &[V]),
    ) {
        if self.is_light() {
            self.apply(asm, row, Residual { base: residual, first: 0, lanes });
            use_values(asm, row);
        }
        for (p, &value) in row.iter().enumerate() {
            let at = self.vector(asm, out, p);
            asm.store_first(at, value, lanes);
            asm.free(value);
        }
        if !self.is_light() {
            self.rework_and(asm, row.len(), out, residual, lanes, use_values);
        }
    }

    /// Applies itself to `count` vectors that wait in the output, where they lie side by side. Takes up to fourteen
    /// registers.
    pub fn rework(&self, asm: &mut dyn VectorAsm, count: usize, out: R, residual: R, lanes: usize) {
        self.rework_and(asm, count, out, residual, lanes, &mut |_, _| {});
    }

    fn rework_and(
        &self,
        asm: &mut dyn VectorAsm,
        count: usize,
        out: R,
        residual: R,
        lanes: usize,
        use_values: &mut dyn FnMut(&mut dyn VectorAsm, &[V]),
    ) {
        let mut first = 0;
        for size in split(count, self.group()) {
            let values: Vec<V> = (0..size).map(|_| asm.vec()).collect();
            values.iter().enumerate().for_each(|(i, &v)| asm.load_first(v, self.vector(asm, out, first + i), lanes));
            self.apply(asm, &values, Residual { base: residual, first, lanes });
            use_values(asm, &values);
            for (i, &value) in values.iter().enumerate() {
                asm.store_first(self.vector(asm, out, first + i), value, lanes);
                asm.free(value);
            }
            first += size;
        }
    }

    /// Vectors that are best taken together, and that fourteen registers are enough for.
    pub fn group(&self) -> usize {
        self.items.iter().map(group).min().unwrap_or(MAX_GROUP)
    }

    /// Changes `values`. Takes one more register if [light](Epilogue::is_light); if not, those that [`Epilogue::group`]
    /// values leave of fourteen.
    pub fn apply(&self, asm: &mut dyn VectorAsm, values: &[V], residual: Residual) {
        for item in &self.items {
            match item {
                Item::Add => {
                    let other = asm.vec();
                    for (i, &value) in values.iter().enumerate() {
                        let at = self.vector(asm, residual.base, residual.first + i);
                        asm.load_first(other, at, residual.lanes);
                        asm.add(value, value, other);
                    }
                    asm.free(other);
                }
                Item::Activation(a) => activate(asm, *a, values),
            }
        }
    }

    /// The vector with this index of the row that begins at `base`.
    fn vector(&self, asm: &dyn VectorAsm, base: R, index: usize) -> Mem {
        base.at((index * self.step * asm.lanes() * 4) as i64)
    }

    /// See [`Epilogue::with_step`].
    pub(crate) fn step(&self) -> usize {
        self.step
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

/// Vectors that share constants and hide each other's latency.
const MAX_GROUP: usize = 4;

/// See [`Epilogue::group`].
fn group(item: &Item) -> usize {
    match item {
        Item::Activation(Activation::Sigmoid | Activation::Silu) => math::LOGISTIC_GROUP,
        Item::Activation(Activation::Gelu) => math::GELU_GROUP,
        _ => MAX_GROUP,
    }
}

/// The residual operand of values that are in registers: vectors that lie side by side.
#[derive(Clone, Copy, Debug)]
pub struct Residual {
    pub base: R,
    /// Index of the first vector.
    pub first: usize,
    /// Lanes that may be touched.
    pub lanes: usize,
}

/// value = f(value) for each value, as in [`Epilogue::apply`]. The order of the operands of `max` and `min` keeps NaN.
pub fn activate(asm: &mut dyn VectorAsm, activation: Activation, values: &[V]) {
    match activation {
        Activation::Relu => at_least(asm, values, 0.0),
        Activation::Relu6 => {
            at_least(asm, values, 0.0);
            at_most(asm, values, 6.0);
        }
        Activation::LeakyRelu(slope) => leaky_relu(asm, slope, values),
        Activation::Sigmoid => math::logistic(asm, Logistic::Sigmoid, values),
        Activation::Silu => math::logistic(asm, Logistic::Silu, values),
        Activation::Tanh => values.iter().for_each(|&value| math::tanh(asm, value)),
        Activation::HardSigmoid => hard_sigmoid(asm, values, values),
        Activation::HardSwish => {
            let factors: Vec<V> = values.iter().map(|_| asm.vec()).collect();
            hard_sigmoid(asm, &factors, values);
            for (factor, &value) in factors.into_iter().zip(values) {
                asm.mul(value, value, factor);
                asm.free(factor);
            }
        }
        Activation::Gelu => math::gelu(asm, values),
    }
}

fn leaky_relu(asm: &mut dyn VectorAsm, slope: f32, values: &[V]) {
    let [factor, zero, scaled] = [0; 3].map(|_| asm.vec());
    asm.splat(factor, slope);
    asm.splat(zero, 0.0);
    for &value in values {
        asm.mul(scaled, factor, value);
        asm.select(Compare::Ge, value, value, zero, value, scaled);
    }
    [factor, zero, scaled].into_iter().for_each(|v| asm.free(v));
}

/// to = min(max(value + 3, 0), 6) / 6. As value / 6 + 1 / 2 it would cancel close to -3; six times the rounded 1 / 6 is 1.
fn hard_sigmoid(asm: &mut dyn VectorAsm, to: &[V], values: &[V]) {
    with_constant(asm, 3.0, |asm, three| to.iter().zip(values).for_each(|(&to, &value)| asm.add(to, value, three)));
    at_least(asm, to, 0.0);
    at_most(asm, to, 6.0);
    with_constant(asm, 1.0 / 6.0, |asm, sixth| to.iter().for_each(|&to| asm.mul(to, to, sixth)));
}

fn at_least(asm: &mut dyn VectorAsm, values: &[V], low: f32) {
    with_constant(asm, low, |asm, low| values.iter().for_each(|&value| asm.max(value, low, value)));
}

fn at_most(asm: &mut dyn VectorAsm, values: &[V], high: f32) {
    with_constant(asm, high, |asm, high| values.iter().for_each(|&value| asm.min(value, high, value)));
}

fn with_constant(asm: &mut dyn VectorAsm, value: f32, f: impl FnOnce(&mut dyn VectorAsm, V)) {
    let constant = asm.vec();
    asm.splat(constant, value);
    f(asm, constant);
    asm.free(constant);
}
