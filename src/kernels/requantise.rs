//! What becomes of sums, in tiles on whole numbers: vectors of 32 bits to f32, and those to bytes.

use super::Constant;
use crate::codegen::vector::{Mem, V, VectorAsm};
use crate::ir::integer::{Output, Range, multiplier};
use crate::ir::weights::Values;
use crate::tensor::Quantisation;

/// What is done with the sums of products of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ends {
    pub residual: Option<Quantisation>,
    pub output: Output,
}

/// Vectors beside the sums that [`Ends::store`] needs at most.
pub const REGISTERS: usize = 4;

/// Vectors that are made bytes together.
const TOGETHER: usize = 4;

impl Ends {
    /// Bytes of a vector of the output.
    pub fn vector(&self, lanes: usize) -> usize {
        if self.output == Output::Real { 4 * lanes } else { lanes }
    }

    /// What the sums of a layer need, whose input has these numbers: the weights as `pack` lays them out, and for each of so many
    /// channels, of which those behind the layer's have zeros, what its sum begins with and what it is multiplied by.
    pub fn constants(
        &self,
        params: &[Values],
        input: Quantisation,
        channels: usize,
        pack: impl FnOnce(&[i8]) -> Vec<u8>,
    ) -> Vec<Constant<'static>> {
        let (weights, scales) = params[0].weights_i8().expect("weights of whole numbers");
        let bias = params.get(1).map(|bias| bias.bias_i32().expect("a bias of whole numbers"));
        let of_channels = weights.chunks(weights.len() / scales.len()).enumerate();
        let mut begin: Vec<i32> = of_channels
            .map(|(c, weights)| begin(weights, bias.map_or(0, |bias| bias[c]), input.zero_point()))
            .collect();
        let factor = |&scale: &f32| multiplier([input.scale(), scale], self.output.scale());
        let mut factors: Vec<f32> = scales.iter().map(factor).collect();
        begin.resize(channels, 0);
        factors.resize(channels, 0.0);
        vec![Constant::U8(pack(weights)), Constant::I32(begin), Constant::F32(factors)]
    }

    /// Stores the values of sums, which are changed, side by side from `out`; residuals lie side by side too.
    pub fn store(&self, asm: &mut dyn VectorAsm, sums: &[V], factors: Mem, out: Mem, residual: Mem) {
        let m = asm.vec();
        asm.load(m, factors);
        for &sum in sums {
            asm.int_to_float(sum, sum);
            asm.mul(sum, sum, m);
        }
        asm.free(m);
        match self.output {
            Output::Real => {
                let step = 4 * asm.lanes();
                sums.iter().enumerate().for_each(|(p, &sum)| asm.store(further(out, p * step), sum));
            }
            Output::Whole(range) => {
                if let Some(numbers) = self.residual {
                    add_residual(asm, sums, numbers, range, residual);
                }
                let rounding = Rounding::new(asm, range);
                rounding.store(asm, sums, out);
                rounding.free(asm);
            }
        }
    }
}

/// What the sum of a channel begins with, whose products are of numbers with their zero point.
fn begin(weights: &[i8], bias: i32, zero_point: u8) -> i32 {
    let sum: i32 = weights.iter().map(|&w| i32::from(w)).sum();
    bias.wrapping_sub(sum.wrapping_mul(zero_point.into()))
}

/// So many bytes behind.
pub fn further(mem: Mem, bytes: usize) -> Mem {
    mem.base.at(i64::from(mem.offset) + bytes as i64)
}

fn add_residual(asm: &mut dyn VectorAsm, sums: &[V], numbers: Quantisation, range: Range, at: Mem) {
    let real = Real::new(asm, numbers, Some(multiplier([numbers.scale(), 1.0], range.quantisation.scale())));
    let r = asm.vec();
    let lanes = asm.lanes();
    for (p, &sum) in sums.iter().enumerate() {
        real.load(asm, r, further(at, p * lanes));
        asm.add(sum, sum, r);
    }
    asm.free(r);
    real.free(asm);
}

/// What makes real numbers of bytes: (q - z) m.
pub struct Real {
    /// -z, where z is not 0.
    zero: Option<V>,
    m: Option<V>,
}

impl Real {
    /// `m` is 1 if it is not given.
    pub fn new(asm: &mut dyn VectorAsm, numbers: Quantisation, m: Option<f32>) -> Real {
        let zero = -i32::from(numbers.zero_point());
        let mut splat = |bits: u32| {
            let v = asm.vec();
            asm.splat_bits(v, bits);
            v
        };
        let zero = (zero != 0).then(|| splat(zero as u32));
        Real { zero, m: m.map(|m| splat(m.to_bits())) }
    }

    pub fn load(&self, asm: &mut dyn VectorAsm, dst: V, mem: Mem) {
        asm.load_bytes(dst, mem);
        self.convert(asm, dst);
    }

    /// The same for whole numbers of 32 bits.
    pub fn convert(&self, asm: &mut dyn VectorAsm, v: V) {
        if let Some(zero) = self.zero {
            asm.add_bits(v, v, zero);
        }
        asm.int_to_float(v, v);
        if let Some(m) = self.m {
            asm.mul(v, v, m);
        }
    }

    pub fn free(self, asm: &mut dyn VectorAsm) {
        self.zero.into_iter().chain(self.m).for_each(|v| asm.free(v));
    }
}

/// What makes bytes of numbers in f32, as [`Range::round`] does. The upper limit is whole, so that it is the same to round
/// before or behind it; the lower one is that of bytes.
pub struct Rounding {
    high: V,
    narrow: Narrow,
}

impl Rounding {
    pub fn new(asm: &mut dyn VectorAsm, Range { quantisation, low, high }: Range) -> Rounding {
        let zero = quantisation.zero_point();
        let limit = asm.vec();
        asm.splat(limit, f32::from(high) - f32::from(zero));
        let unless_zero = |number: u8| (number > 0).then_some(number);
        Rounding { high: limit, narrow: Narrow::new(asm, unless_zero(zero), unless_zero(low)) }
    }

    /// Makes bytes of vectors, which are changed, and stores them side by side.
    pub fn store(&self, asm: &mut dyn VectorAsm, values: &[V], out: Mem) {
        for &y in values {
            asm.min(y, y, self.high);
            asm.float_to_int(y, y);
        }
        self.narrow.store(asm, values, out);
    }

    pub fn free(self, asm: &mut dyn VectorAsm) {
        asm.free(self.high);
        self.narrow.free(asm);
    }
}

/// What makes bytes of whole numbers that are at most 255, and of those below 0 none but 0.
pub struct Narrow {
    /// What is added before, in halves.
    zero: Option<V>,
    /// The lower limit, in bytes.
    low: Option<V>,
    /// Of the lanes, where vectors have more than 128 bits.
    order: Option<V>,
}

impl Narrow {
    pub fn new(asm: &mut dyn VectorAsm, zero: Option<u8>, low: Option<u8>) -> Narrow {
        let mut splat = |number: u8, times: u32| {
            let v = asm.vec();
            asm.splat_bits(v, u32::from(number) * times);
            v
        };
        let zero = zero.map(|zero| splat(zero, 0x1_0001));
        let low = low.map(|low| splat(low, 0x101_0101));
        Narrow { zero, low, order: order(asm) }
    }

    /// Makes bytes of vectors, which are changed, and stores them side by side.
    pub fn store(&self, asm: &mut dyn VectorAsm, values: &[V], out: Mem) {
        let lanes = asm.lanes();
        for (index, group) in values.chunks(TOGETHER).enumerate() {
            let of = |k: usize| group[k.min(group.len() - 1)];
            let first = of(0);
            for pair in [0, 2].into_iter().filter(|&pair| pair < group.len()) {
                asm.narrow_lanes(of(pair), of(pair), of(pair + 1));
                if let Some(zero) = self.zero {
                    asm.add_halves(of(pair), of(pair), zero);
                }
            }
            asm.narrow_halves(first, first, if group.len() > 2 { of(2) } else { first });
            if let Some(low) = self.low {
                asm.max_bytes(first, first, low);
            }
            if let Some(order) = self.order {
                asm.permute_lanes(first, order, first);
            }
            asm.store_first(further(out, index * TOGETHER * lanes), first, group.len() * lanes / 4);
        }
    }

    pub fn free(self, asm: &mut dyn VectorAsm) {
        self.zero.into_iter().chain(self.low).chain(self.order).for_each(|v| asm.free(v));
    }
}

/// The order of lanes of four vectors that were made narrow: each 128 bits have the same lanes of all four.
fn order(asm: &mut dyn VectorAsm) -> Option<V> {
    let groups = asm.lanes() / 4;
    if groups == 1 {
        return None;
    }
    let order: Vec<u32> = (0..asm.lanes()).map(|l| (l % groups * TOGETHER + l / groups) as u32).collect();
    let v = asm.vec();
    asm.set_lanes(v, &order);
    Some(v)
}
