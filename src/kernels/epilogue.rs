//! Work fused behind a kernel's own: residual addition and activations, shared by all kernels.

use super::math::{self, Logistic};
use super::taps::split;
use crate::codegen::vector::{Compare, Mem, R, V, VectorAsm};
use crate::ir;
use crate::layers::{Activation, SELU_ALPHA, SELU_SCALE};

/// What happens to each output vector before it is stored, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Epilogue {
    items: Vec<Item>,
    /// Bytes of the output, and of the residual operand, from one vector of a row to the next, where they do not lie side
    /// by side.
    step: Option<usize>,
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

    /// The same for rows whose vectors lie `step` bytes from each other.
    pub fn with_step(self, step: usize) -> Epilogue {
        Epilogue { step: Some(step), ..self }
    }

    /// Nothing but stores, to the same places.
    pub fn without_items(&self) -> Epilogue {
        Epilogue { items: Vec::new(), step: self.step }
    }

    /// Operands that the epilogue reads: 0 or 1.
    pub fn operands(&self) -> usize {
        self.items.iter().filter(|i| **i == Item::Add).count()
    }

    /// `add, relu`
    pub fn words(&self) -> String {
        let word = |item: &Item| match item {
            Item::Add => "add".to_string(),
            Item::Activation(activation) => activation.to_string(),
        };
        self.items.iter().map(word).collect::<Vec<_>>().join(", ")
    }

    /// Whether one register beside the value is enough.
    pub fn is_light(&self) -> bool {
        self.items.iter().all(|item| match item {
            Item::Add => true,
            Item::Activation(a) => {
                use Activation::*;
                matches!(a, Relu | Relu6 | Clip { .. } | Affine { .. } | Abs | Sqrt)
            }
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
        base.at((index * self.step(asm.lanes())) as i64)
    }

    /// Bytes from one vector of a row to the next: see [`Epilogue::with_step`].
    pub(crate) fn step(&self, lanes: usize) -> usize {
        self.step.unwrap_or(lanes * 4)
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
    use Activation::*;
    match item {
        Item::Activation(Sigmoid | Silu) => math::LOGISTIC_GROUP,
        Item::Activation(Gelu) => math::GELU_GROUP,
        Item::Activation(Tanh) => math::TANH_GROUP,
        Item::Activation(GeluTanh) => math::GELU_TANH_GROUP,
        Item::Activation(Exp | Elu(_) | Selu | Celu(_) | Softplus | Mish) => math::EXP_GROUP,
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

/// value = f(value) for each value, as in [`Epilogue::apply`]. NaN stays.
pub fn activate(asm: &mut dyn VectorAsm, activation: Activation, values: &[V]) {
    match activation {
        Activation::Relu => at_least(asm, values, 0.0),
        Activation::Relu6 => clip(asm, values, 0.0, 6.0),
        Activation::LeakyRelu(slope) => leaky_relu(asm, slope, values),
        Activation::ThresholdedRelu(alpha) => thresholded_relu(asm, alpha, values),
        Activation::Elu(alpha) => math::elu(asm, math::Elu { rate: 1.0, low: alpha, high: 1.0 }, values),
        Activation::Celu(alpha) => math::elu(asm, math::Elu { rate: 1.0 / alpha, low: alpha, high: 1.0 }, values),
        Activation::Selu => math::elu(asm, SELU, values),
        Activation::Gelu => math::gelu(asm, values),
        Activation::GeluTanh => math::gelu_tanh(asm, values),
        Activation::Silu => math::logistic(asm, Logistic::Silu, values),
        Activation::HardSwish => {
            let factors: Vec<V> = values.iter().map(|_| asm.vec()).collect();
            hard_sigmoid(asm, (1.0 / 6.0, 0.5), &factors, values);
            for (factor, &value) in factors.into_iter().zip(values) {
                asm.mul(value, value, factor);
                asm.free(factor);
            }
        }
        Activation::Mish => math::mish(asm, values),
        Activation::Softplus => math::softplus(asm, values),
        Activation::Softsign => softsign(asm, values),
        Activation::Tanh => math::tanh(asm, values),
        Activation::Sigmoid => math::logistic(asm, Logistic::Sigmoid, values),
        Activation::HardSigmoid { slope, offset } => hard_sigmoid(asm, (slope, offset), values, values),
        Activation::Clip { low, high } => clip(asm, values, low, high),
        Activation::Affine { scale, shift } => affine(asm, values, scale, shift),
        Activation::Exp => math::exp(asm, values),
        Activation::Sqrt => values.iter().for_each(|&value| asm.sqrt(value, value)),
        Activation::Abs => absolute(asm, values, values),
        Activation::Reciprocal => {
            with_constant(asm, 1.0, |asm, one| values.iter().for_each(|&value| asm.div(value, one, value)));
        }
    }
}

const SELU: math::Elu = math::Elu { rate: 1.0, low: (SELU_SCALE * SELU_ALPHA) as f32, high: SELU_SCALE as f32 };

fn leaky_relu(asm: &mut dyn VectorAsm, slope: f32, values: &[V]) {
    with_constant(asm, slope, |asm, slope| with_slopes(asm, slope, values));
}

/// value = value * slope where it is below 0.
pub(super) fn with_slopes(asm: &mut dyn VectorAsm, slopes: V, values: &[V]) {
    let [zero, scaled] = [0; 2].map(|_| asm.vec());
    asm.splat(zero, 0.0);
    for &value in values {
        asm.mul(scaled, slopes, value);
        asm.select(Compare::Ge, value, value, zero, value, scaled);
    }
    [zero, scaled].into_iter().for_each(|v| asm.free(v));
}

fn thresholded_relu(asm: &mut dyn VectorAsm, alpha: f32, values: &[V]) {
    let [threshold, zero] = [0; 2].map(|_| asm.vec());
    asm.splat(threshold, alpha);
    asm.splat(zero, 0.0);
    values.iter().for_each(|&value| asm.select(Compare::Le, value, value, threshold, zero, value));
    [threshold, zero].into_iter().for_each(|v| asm.free(v));
}

/// to = min(max(value + offset / slope, 0) * slope, 1). As value * slope + offset it would cancel close to where it
/// becomes 0, which is -3 in hard_swish.
fn hard_sigmoid(asm: &mut dyn VectorAsm, (slope, offset): (f64, f64), to: &[V], values: &[V]) {
    with_constant(asm, (offset / slope) as f32, |asm, constant| {
        to.iter().zip(values).for_each(|(&to, &value)| asm.add(to, value, constant));
    });
    at_least(asm, to, 0.0);
    with_constant(asm, slope as f32, |asm, slope| to.iter().for_each(|&to| asm.mul(to, to, slope)));
    at_most(asm, to, 1.0);
}

/// value / (1 + |value|)
fn softsign(asm: &mut dyn VectorAsm, values: &[V]) {
    let sums: Vec<V> = values.iter().map(|_| asm.vec()).collect();
    absolute(asm, &sums, values);
    with_constant(asm, 1.0, |asm, one| sums.iter().for_each(|&sum| asm.add(sum, sum, one)));
    for (sum, &value) in sums.into_iter().zip(values) {
        asm.div(value, value, sum);
        asm.free(sum);
    }
}

/// value * scale + shift, with one register.
fn affine(asm: &mut dyn VectorAsm, values: &[V], scale: f32, shift: f32) {
    if scale != 1.0 {
        with_constant(asm, scale, |asm, scale| values.iter().for_each(|&value| asm.mul(value, value, scale)));
    }
    if shift != 0.0 {
        with_constant(asm, shift, |asm, shift| values.iter().for_each(|&value| asm.add(value, value, shift)));
    }
}

fn absolute(asm: &mut dyn VectorAsm, to: &[V], values: &[V]) {
    let mask = asm.vec();
    asm.splat_bits(mask, 0x7fff_ffff);
    to.iter().zip(values).for_each(|(&to, &value)| asm.and(to, value, mask));
    asm.free(mask);
}

fn clip(asm: &mut dyn VectorAsm, values: &[V], low: f32, high: f32) {
    if low > f32::NEG_INFINITY {
        at_least(asm, values, low);
    }
    if high < f32::INFINITY {
        at_most(asm, values, high);
    }
}

fn at_least(asm: &mut dyn VectorAsm, values: &[V], low: f32) {
    with_constant(asm, low, |asm, low| values.iter().for_each(|&value| asm.at_least(value, value, low)));
}

fn at_most(asm: &mut dyn VectorAsm, values: &[V], high: f32) {
    with_constant(asm, high, |asm, high| values.iter().for_each(|&value| asm.at_most(value, value, high)));
}

fn with_constant(asm: &mut dyn VectorAsm, value: f32, f: impl FnOnce(&mut dyn VectorAsm, V)) {
    let constant = asm.vec();
    asm.splat(constant, value);
    f(asm, constant);
    asm.free(constant);
}
