//! The transforms of F(2, 3) and F(4, 3) in one dimension, on whole numbers (Lavin and Gray 2015, "Fast algorithms for
//! convolutional neural networks", sections 4.1 and 4.3). What has fractions there is multiplied until it has none: each
//! frequency of the weights by a number of its own, which those of the output make up for, and these by [`Form::scale`].

use crate::codegen::vector::{V, VectorAsm};

/// Frequencies in one dimension at most.
pub const MAX_SIZE: usize = 6;

/// Outputs of a tile in one dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    Two,
    Four,
}

impl Form {
    pub const ALL: [Form; 2] = [Form::Two, Form::Four];

    pub fn outputs(self) -> usize {
        match self {
            Form::Two => 2,
            Form::Four => 4,
        }
    }

    /// Inputs of a tile, and frequencies.
    pub fn size(self) -> usize {
        self.outputs() + 2
    }

    /// Outputs are so many times what they are by definition.
    pub fn scale(self) -> u32 {
        match self {
            Form::Two => 2,
            Form::Four => 24,
        }
    }

    /// G w: at most 3 and 7 times as large as w. Behind the frequencies are zeros.
    pub fn weights(self, [a, b, c]: [i16; 3]) -> [i16; MAX_SIZE] {
        match self {
            Form::Two => [2 * a, a + b + c, a - b + c, 2 * c, 0, 0],
            Form::Four => [a, -(a + b + c), -(a - b + c), a + 2 * b + 4 * c, a - 2 * b + 4 * c, c],
        }
    }

    /// B^T x of halves: calls `store(frequency, value)`, and frees them. No sum on the way is larger than 8 times x. Takes
    /// four registers.
    pub fn input(self, asm: &mut dyn VectorAsm, x: &[V], store: &mut dyn FnMut(&mut dyn VectorAsm, usize, V)) {
        match self {
            Form::Two => input_of_two(asm, x, store),
            Form::Four => input_of_four(asm, x, store),
        }
        x.iter().for_each(|&v| asm.free(v));
    }

    /// A^T of words, in some of their registers; frees the others. Takes two registers.
    pub fn output(self, asm: &mut dyn VectorAsm, m: &[V]) -> Vec<V> {
        match (self, m) {
            (Form::Two, &[a, b, c, d]) => {
                asm.add_bits(a, a, b);
                asm.add_bits(a, a, c);
                asm.sub_bits(b, b, c);
                asm.sub_bits(b, b, d);
                [c, d].into_iter().for_each(|v| asm.free(v));
                vec![a, b]
            }
            (Form::Four, &[a, b, c, d, e, f]) => output_of_four(asm, [a, b, c, d, e, f]),
            _ => unreachable!("a value for each frequency"),
        }
    }

    /// Instructions of [`Form::input`] and [`Form::output`].
    pub fn instructions(self) -> [usize; 2] {
        match self {
            Form::Two => [4, 4],
            Form::Four => [20, 24],
        }
    }
}

type Store<'a> = dyn FnMut(&mut dyn VectorAsm, usize, V) + 'a;

fn input_of_two(asm: &mut dyn VectorAsm, x: &[V], store: &mut Store) {
    let value = asm.vec();
    asm.sub_halves(value, x[0], x[2]);
    store(asm, 0, value);
    asm.add_halves(value, x[1], x[2]);
    store(asm, 1, value);
    asm.sub_halves(value, x[2], x[1]);
    store(asm, 2, value);
    asm.sub_halves(value, x[1], x[3]);
    store(asm, 3, value);
    asm.free(value);
}

/// The points are 0, 1, -1, 2, -2 and infinity.
fn input_of_four(asm: &mut dyn VectorAsm, x: &[V], store: &mut Store) {
    let [value, even, odd, far] = [(); 4].map(|()| asm.vec());
    let four_times = |asm: &mut dyn VectorAsm, dst: V, a: V| {
        asm.add_halves(dst, a, a);
        asm.add_halves(dst, dst, dst);
    };
    four_times(asm, even, x[2]);
    asm.sub_halves(even, x[4], even);
    four_times(asm, odd, x[1]);
    asm.sub_halves(odd, x[3], odd);
    asm.add_halves(value, even, odd);
    store(asm, 1, value);
    asm.sub_halves(value, even, odd);
    store(asm, 2, value);
    asm.sub_halves(even, x[4], x[2]);
    asm.sub_halves(odd, x[3], x[1]);
    asm.add_halves(odd, odd, odd);
    asm.add_halves(value, even, odd);
    store(asm, 3, value);
    asm.sub_halves(value, even, odd);
    store(asm, 4, value);
    asm.sub_halves(far, x[0], x[2]);
    four_times(asm, far, far);
    asm.add_halves(value, far, even);
    store(asm, 0, value);
    asm.add_halves(odd, odd, odd);
    asm.sub_halves(value, x[5], x[3]);
    asm.sub_halves(value, value, odd);
    store(asm, 5, value);
    [value, even, odd, far].into_iter().for_each(|v| asm.free(v));
}

/// 24 A^T, less what the weights' frequencies were multiplied by: 4, 6, 6, 24, 24, 1.
fn output_of_four(asm: &mut dyn VectorAsm, [a, b, c, d, e, f]: [V; 6]) -> Vec<V> {
    let [near, far] = [(); 2].map(|()| asm.vec());
    // b and c become their sum and difference, four times; d and e too, once.
    asm.sub_bits(near, b, c);
    asm.add_bits(b, b, c);
    asm.shl(b, b, 2);
    asm.shl(near, near, 2);
    asm.sub_bits(far, d, e);
    asm.add_bits(d, d, e);
    // 6 a + 4 (b + c) + d + e
    asm.shl(c, a, 1);
    asm.shl(a, a, 2);
    asm.add_bits(a, a, c);
    asm.add_bits(a, a, b);
    asm.add_bits(a, a, d);
    // 4 (b + c) + 4 (d + e)
    asm.shl(d, d, 2);
    asm.add_bits(d, d, b);
    // 4 (b - c) + 2 (d - e)
    asm.shl(far, far, 1);
    asm.add_bits(b, near, far);
    // 4 (b - c) + 8 (d - e) + 24 f
    asm.shl(far, far, 2);
    asm.add_bits(near, near, far);
    asm.shl(e, f, 3);
    asm.shl(f, f, 4);
    asm.add_bits(f, f, e);
    asm.add_bits(f, f, near);
    [c, e, near, far].into_iter().for_each(|v| asm.free(v));
    vec![a, b, d, f]
}

/// The number whose product with an odd one is 1 modulo 2^32, by Newton's method.
pub fn inverse(odd: u32) -> u32 {
    (0..5).fold(odd, |x, _| x.wrapping_mul(2u32.wrapping_sub(odd.wrapping_mul(x))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inverses_undo_products() {
        for odd in [1u32, 3, 9, 0xffff_ffff] {
            assert_eq!(odd.wrapping_mul(inverse(odd)), 1);
        }
    }
}
