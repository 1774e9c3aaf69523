//! The transforms of Winograd convolution F(m x m, 3x3): their matrices, and the code that applies them.
//!
//! y = A^T [(G g G^T) * (B^T d B)] A, element by element inside the brackets (Lavin and Gray 2015, "Fast algorithms
//! for convolutional neural networks", section 4). The matrices are those of the Toom-Cook algorithm, which
//! multiplies polynomials by their values at some points and infinity, transposed.

use crate::codegen::vector::{R, V, VectorAsm};

/// Taps of the kernel in one dimension.
pub const KERNEL: usize = 3;

/// The points beside infinity; behind 0 they come in pairs of p and -p. Small powers of two keep the matrices'
/// elements exact and alike in size.
const POINTS: [f64; 7] = [0.0, 1.0, -1.0, 2.0, -2.0, 0.5, -0.5];

/// The frequency whose value is added to every output: that of the point 1.
pub const ONE: usize = 1;

/// Matrices of one dimension.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrices {
    /// B^T: `[frequency][input]`; rows 2k - 1 and 2k belong to a pair of points.
    input: Vec<Vec<f32>>,
    /// G: `[frequency][tap]`
    pub weight: Vec<[f64; KERNEL]>,
    /// A^T: `[output][frequency]`
    output: Vec<Vec<f32>>,
}

impl Matrices {
    /// For `m` outputs: 2, 4 or 6.
    pub fn new(m: usize) -> Matrices {
        let points = &POINTS[..m + KERNEL - 2];
        let others = |j: usize| points.iter().enumerate().filter(move |&(l, _)| l != j).map(|(_, &p)| p);
        let mut input: Vec<Vec<f32>> = (0..points.len()).map(|j| polynomial(others(j), points.len() + 1)).collect();
        input.push(polynomial(points.iter().copied(), points.len() + 1));
        let mut weight: Vec<[f64; KERNEL]> = Vec::new();
        for (j, p) in points.iter().enumerate() {
            let scale: f64 = others(j).map(|q| p - q).product();
            weight.push([1.0, *p, p * p].map(|power| power / scale));
        }
        weight.push([0.0, 0.0, 1.0]);
        let row = |i: usize| {
            let powers = points.iter().map(|p| p.powi(i as i32) as f32);
            powers.chain([f32::from(i + 1 == m)]).collect()
        };
        Matrices { input, weight, output: (0..m).map(row).collect() }
    }

    /// The elements that multiply, as the code reads them: each once, in all `lanes`.
    pub fn table(&self, lanes: usize) -> Vec<f32> {
        self.coefficients().into_iter().flat_map(|c| std::iter::repeat_n(c, lanes)).collect()
    }

    fn coefficients(&self) -> Vec<f32> {
        let mut all: Vec<f32> = self.input.iter().chain(&self.output).flatten().copied().collect();
        all.retain(|c| ![0.0, 1.0].contains(c));
        all.sort_by(f32::total_cmp);
        all.dedup();
        all
    }
}

/// Coefficients of the product of (x - root), from x^0 on, filled up to `len`.
fn polynomial(roots: impl Iterator<Item = f64>, len: usize) -> Vec<f32> {
    let mut coefficients = vec![0.0; len];
    coefficients[0] = 1.0;
    for root in roots {
        for i in (0..len).rev() {
            let lower = if i == 0 { 0.0 } else { coefficients[i - 1] };
            coefficients[i] = lower - root * coefficients[i];
        }
    }
    coefficients.into_iter().map(|c| c as f32).collect()
}

/// Emits products of the matrices and vectors of registers.
pub struct Emitter<'a> {
    pub matrices: &'a Matrices,
    /// Address of [`Matrices::table`].
    pub table: R,
}

impl Emitter<'_> {
    /// Calls `store(frequency, value)` with the elements of B^T x. Inputs that are `None` are zero. Takes three
    /// registers.
    pub fn input(&self, asm: &mut dyn VectorAsm, x: &[Option<V>], store: &mut dyn FnMut(&mut dyn VectorAsm, usize, V)) {
        let rows = &self.matrices.input;
        let terms = |row: &[f32]| row.iter().zip(x).filter_map(|(&c, &v)| Some((c, v?))).collect::<Vec<_>>();
        let last = rows.len() - 1;
        let single = |asm: &mut dyn VectorAsm, f: usize, store: &mut dyn FnMut(&mut dyn VectorAsm, usize, V)| {
            let value = self.sum(asm, terms(&rows[f]));
            store(asm, f, value);
            asm.free(value);
        };
        single(asm, 0, store);
        for f in (1..last).step_by(2) {
            // The values at p and -p are the even part plus and minus the odd part.
            let part = |sign: f32| -> Vec<f32> {
                rows[f].iter().zip(&rows[f + 1]).map(|(&a, &b)| if a == sign * b { a } else { 0.0 }).collect()
            };
            let (even, odd) = (self.sum(asm, terms(&part(1.0))), self.sum(asm, terms(&part(-1.0))));
            let value = asm.vec();
            asm.add(value, even, odd);
            store(asm, f, value);
            asm.sub(value, even, odd);
            store(asm, f + 1, value);
            [even, odd, value].into_iter().for_each(|v| asm.free(v));
        }
        single(asm, last, store);
    }

    /// The first `count` elements of A^T x; gives the registers of `x` back. Takes `count` registers, at least one.
    pub fn output(&self, asm: &mut dyn VectorAsm, mut x: Vec<V>, count: usize) -> Vec<V> {
        // Columns of p and -p are equal or opposite: sum and difference of their values are enough.
        for f in (1..x.len() - 1).step_by(2) {
            let difference = asm.vec();
            asm.sub(difference, x[f], x[f + 1]);
            asm.add(x[f], x[f], x[f + 1]);
            asm.free(x[f + 1]);
            x[f + 1] = difference;
        }
        let last = x.len() - 1;
        let used = |i: usize, f: usize| f == 0 || f == last || f % 2 == 1 - i % 2;
        let rows = self.matrices.output[..count].iter().enumerate();
        let sums = rows.map(|(i, row)| {
            // A row's element for -p is that for p, or its opposite where the difference counts.
            let of = |f: usize| if f > 0 && f < last { row[f - (f + 1) % 2] } else { row[f] };
            self.sum(asm, (0..=last).filter(|&f| used(i, f)).map(|f| (of(f), x[f])).collect())
        });
        let sums = sums.collect();
        x.into_iter().for_each(|v| asm.free(v));
        sums
    }

    /// A fresh register with the sum of coefficient * value.
    fn sum(&self, asm: &mut dyn VectorAsm, mut terms: Vec<(f32, V)>) -> V {
        terms.retain(|&(c, _)| c != 0.0);
        // What is added without a multiplication comes first.
        terms.sort_by_key(|&(c, _)| c != 1.0);
        let sum = asm.vec();
        let Some((&(first, x), rest)) = terms.split_first() else {
            asm.splat(sum, 0.0);
            return sum;
        };
        if first == 1.0 {
            asm.copy(sum, x);
        } else {
            asm.load(sum, self.coefficient(asm, first));
            asm.mul(sum, sum, x);
        }
        for &(c, x) in rest {
            match c {
                1.0 => asm.add(sum, sum, x),
                -1.0 => asm.sub(sum, sum, x),
                _ => asm.fma_load(sum, x, self.coefficient(asm, c)),
            }
        }
        sum
    }

    fn coefficient(&self, asm: &dyn VectorAsm, value: f32) -> crate::codegen::vector::Mem {
        let index = self.matrices.coefficients().iter().position(|&c| c == value).expect("in the table");
        self.table.at((index * asm.lanes() * 4) as i32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_give_the_convolution() {
        let g = [0.3, -1.7, 0.9];
        for m in [2, 4, 6] {
            let matrices = Matrices::new(m);
            let d: Vec<f64> = (0..m + 2).map(|i| ((i * i) as f64 * 0.7).sin()).collect();
            let value = |f: usize| -> f64 {
                let u: f64 = matrices.weight[f].iter().zip(g).map(|(a, b)| a * b).sum();
                let v: f64 = matrices.input[f].iter().zip(&d).map(|(&a, b)| f64::from(a) * b).sum();
                u * v
            };
            for (i, row) in matrices.output.iter().enumerate() {
                let found: f64 = row.iter().enumerate().map(|(f, &a)| f64::from(a) * value(f)).sum();
                let expected: f64 = (0..3).map(|k| g[k] * d[i + k]).sum();
                assert!((found - expected).abs() < 1e-12, "F({m}, 3), output {i}: {found}, not {expected}");
            }
        }
    }

    #[test]
    fn matrices_of_four_are_those_of_the_paper() {
        let matrices = Matrices::new(4);
        assert_eq!(matrices.input[0], [4.0, 0.0, -5.0, 0.0, 1.0, 0.0]);
        assert_eq!(matrices.input[4], [0.0, 2.0, -1.0, -2.0, 1.0, 0.0]);
        assert_eq!(matrices.output[3], [0.0, 1.0, -1.0, 8.0, -8.0, 1.0]);
        assert_eq!(matrices.weight[3], [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0]);
    }
}
