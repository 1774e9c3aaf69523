//! The transforms of Winograd convolution in one dimension, F(m, r): their matrices, and the code that applies them.
//!
//! y = A^T [(G g) * (B^T d)], element by element inside the brackets; in two dimensions each matrix is applied to
//! columns and then to rows (Lavin and Gray 2015, "Fast algorithms for convolutional neural networks", section 4). The
//! matrices are those of the Toom-Cook algorithm, which multiplies polynomials by their values at some points and at
//! infinity, transposed. The value at one of them is a *frequency*: F(m, r) has m + r - 1.

use crate::codegen::vector::{Mem, R, V, VectorAsm};

/// The points beside infinity, by their number less one. Behind 0 they come in pairs of p and -p. All are short binary
/// fractions, which keeps the matrices' elements exact. Those of a set lie around 1, so that their powers are alike in
/// size: found by a search for the least rounding error of random convolutions. It is 2.4 times smaller than with
/// 0, 1, -1, 2, -2 of Lavin and Gray, and 3.6 times smaller than with those, 1/2, -1/2, 4, -4 (for such sets see
/// Barabasz, Anderson, Soodhalter and Gregg 2020, "Error analysis and improving the accuracy of Winograd convolution for
/// deep neural networks").
const POINTS: [&[f64]; 9] = [
    &[0.0],
    &[0.0, 1.0],
    &[0.0, 1.0, -1.0],
    &[0.0, 0.75, -0.75, 2.0],
    &[0.0, 0.625, -0.625, 1.5, -1.5],
    &[0.0, 0.5, -0.5, 1.0, -1.0, 3.0],
    &[0.0, 0.5, -0.5, 1.0, -1.0, 2.0, -2.0],
    &[0.0, 0.375, -0.375, 0.875, -0.875, 1.5, -1.5, 4.0],
    &[0.0, 0.375, -0.375, 0.75, -0.75, 1.25, -1.25, 2.5, -2.5],
];

/// Frequencies at most.
pub const MAX_FREQUENCIES: usize = POINTS.len() + 1;

/// The first frequency of a pair of points: before come infinity and 0.
const FIRST_PAIR: usize = 2;

/// Matrices of one dimension. Frequencies are in the order infinity, points of the whole tile.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrices {
    /// B^T: `[frequency][input]`
    input: Vec<Vec<f32>>,
    /// G: `[frequency][tap]`
    pub weight: Vec<Vec<f64>>,
    /// A^T: `[output][frequency]`
    output: Vec<Vec<f32>>,
}

impl Matrices {
    /// F(m, taps) on the transformed weights of F(whole, taps), of which it takes the first frequencies. `m` is at
    /// most `whole`.
    ///
    /// # Panics
    /// If there are not enough points.
    pub fn new(m: usize, whole: usize, taps: usize) -> Matrices {
        if whole == 1 {
            return Matrices::plain(taps);
        }
        let points = POINTS[whole + taps - 3];
        let (points, more) = points.split_at(m + taps - 2);
        let size = m + taps - 1;
        let others = |j: usize| points.iter().enumerate().filter(move |&(l, _)| l != j).map(|(_, &p)| p);
        let distance = |p: f64, roots: &mut dyn Iterator<Item = f64>| roots.map(|q| p - q).product::<f64>();
        let mut input = vec![polynomial(points.iter().copied(), 1.0, size)];
        let mut weight = vec![(0..taps).map(|k| f64::from(u8::from(k + 1 == taps))).collect()];
        for (j, &p) in points.iter().enumerate() {
            // What the weights are divided by on account of the whole's further points.
            let extra = distance(p, &mut more.iter().copied());
            let scale = extra * distance(p, &mut others(j));
            input.push(polynomial(others(j), extra, size));
            weight.push((0..taps).map(|k| p.powi(k as i32) / scale).collect());
        }
        let row = |i: usize| {
            let powers = points.iter().map(|p| p.powi(i as i32) as f32);
            std::iter::once(f32::from(i + 1 == m)).chain(powers).collect()
        };
        Matrices { input, weight, output: (0..m).map(row).collect() }
    }

    /// F(1, taps): the sum of products as it stands, a frequency a tap.
    fn plain(taps: usize) -> Matrices {
        let unit = |i: usize| (0..taps).map(move |k| u8::from(k == i));
        let input = (0..taps).map(|i| unit(i).map(f32::from).collect()).collect();
        let weight = (0..taps).map(|i| unit(i).map(f64::from).collect()).collect();
        Matrices { input, weight, output: vec![vec![1.0; taps]] }
    }

    /// Frequencies, and inputs of a tile.
    pub fn size(&self) -> usize {
        self.input.len()
    }

    pub fn outputs(&self) -> usize {
        self.output.len()
    }

    /// Whether frequencies `f` and `f + 1` belong to points p and -p.
    fn is_pair(&self, f: usize) -> bool {
        f >= FIRST_PAIR && f.is_multiple_of(2) && f + 1 < self.size()
    }

    /// Elements that multiply.
    fn coefficients(&self) -> impl Iterator<Item = f32> {
        self.input.iter().chain(&self.output).flatten().copied().filter(|c| ![0.0, 1.0].contains(c))
    }
}

/// `scale` times the coefficients of the product of (x - root), from x^0 on, filled up to `len`.
fn polynomial(roots: impl Iterator<Item = f64>, scale: f64, len: usize) -> Vec<f32> {
    let mut coefficients = vec![0.0; len];
    coefficients[0] = scale;
    for root in roots {
        for i in (0..len).rev() {
            let lower = if i == 0 { 0.0 } else { coefficients[i - 1] };
            coefficients[i] = lower - root * coefficients[i];
        }
    }
    coefficients.into_iter().map(|c| c as f32).collect()
}

/// The numbers that the code of some matrices multiplies by, each once.
#[derive(Clone, Debug)]
pub struct Coefficients(Vec<f32>);

impl Coefficients {
    pub fn of<'a>(matrices: impl IntoIterator<Item = &'a Matrices>) -> Coefficients {
        let mut all: Vec<f32> = matrices.into_iter().flat_map(Matrices::coefficients).collect();
        all.sort_by(f32::total_cmp);
        all.dedup();
        Coefficients(all)
    }

    /// As the code reads them: each in all `lanes`.
    pub fn table(&self, lanes: usize) -> Vec<f32> {
        self.0.iter().flat_map(|&c| std::iter::repeat_n(c, lanes)).collect()
    }
}

/// Emits products of one dimension's matrices and vectors of registers.
pub struct Emitter<'a> {
    pub matrices: &'a Matrices,
    pub coefficients: &'a Coefficients,
    /// Address of [`Coefficients::table`].
    pub table: R,
}

impl Emitter<'_> {
    /// Calls `store(frequency, value)` with the elements of B^T x. Inputs that are `None` are zero. Takes three
    /// registers.
    pub fn input(&self, asm: &mut dyn VectorAsm, x: &[Option<V>], store: &mut dyn FnMut(&mut dyn VectorAsm, usize, V)) {
        let rows = &self.matrices.input;
        let terms = |row: &[f32]| row.iter().zip(x).filter_map(|(&c, &v)| Some((c, v?))).collect::<Vec<_>>();
        let mut f = 0;
        while f < rows.len() {
            if !self.matrices.is_pair(f) || !alike(&rows[f], &rows[f + 1]) {
                let value = self.sum(asm, terms(&rows[f]));
                store(asm, f, value);
                asm.free(value);
                f += 1;
                continue;
            }
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
            f += 2;
        }
    }

    /// The elements of A^T x; gives the registers of `x` back. Takes as many registers as there are outputs.
    pub fn output(&self, asm: &mut dyn VectorAsm, mut x: Vec<V>) -> Vec<V> {
        if self.matrices.size() == 1 {
            return x;
        }
        let firsts: Vec<usize> = (0..x.len()).filter(|&f| self.matrices.is_pair(f)).collect();
        // Columns of p and -p are equal or opposite: sum and difference of their values are enough.
        for &f in &firsts {
            let difference = asm.vec();
            asm.sub(difference, x[f], x[f + 1]);
            asm.add(x[f], x[f], x[f + 1]);
            asm.free(x[f + 1]);
            x[f + 1] = difference;
        }
        let sums = self.matrices.output.iter().enumerate().map(|(i, row)| {
            let terms = (0..x.len()).map(|f| match f {
                // Even powers of p and -p are equal, odd ones opposite.
                _ if firsts.contains(&f) => (if i % 2 == 0 { row[f] } else { 0.0 }, x[f]),
                _ if f > 0 && firsts.contains(&(f - 1)) => (if i % 2 == 0 { 0.0 } else { row[f - 1] }, x[f]),
                _ => (row[f], x[f]),
            });
            self.sum(asm, terms.collect())
        });
        let sums = sums.collect();
        x.into_iter().for_each(|v| asm.free(v));
        sums
    }

    /// A fresh register with the sum of coefficient * value.
    fn sum(&self, asm: &mut dyn VectorAsm, mut terms: Vec<(f32, V)>) -> V {
        terms.retain(|&(c, _)| c != 0.0);
        // What is added without a multiplication comes first.
        terms.sort_by_key(|&(c, _)| if c == 1.0 { 0 } else { 2 - usize::from(c == -1.0) });
        let sum = asm.vec();
        let rest = match terms[..] {
            [] => {
                asm.splat(sum, 0.0);
                &[][..]
            }
            [(1.0, x), (1.0, y), ..] => {
                asm.add(sum, x, y);
                &terms[2..]
            }
            [(1.0, x), (-1.0, y), ..] => {
                asm.sub(sum, x, y);
                &terms[2..]
            }
            [(1.0, x), ..] => {
                asm.copy(sum, x);
                &terms[1..]
            }
            [(c, x), ..] => {
                asm.load(sum, self.coefficient(asm, c));
                asm.mul(sum, sum, x);
                &terms[1..]
            }
        };
        for &(c, x) in rest {
            match c {
                1.0 => asm.add(sum, sum, x),
                -1.0 => asm.sub(sum, sum, x),
                _ => asm.fma_load(sum, x, self.coefficient(asm, c)),
            }
        }
        sum
    }

    fn coefficient(&self, asm: &dyn VectorAsm, value: f32) -> Mem {
        let index = self.coefficients.0.iter().position(|&c| c == value).expect("in the table");
        self.table.at((index * asm.lanes() * 4) as i64)
    }
}

/// Whether all elements are equal or opposite.
fn alike(a: &[f32], b: &[f32]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.abs() == b.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_give_the_convolution() {
        let sizes = |taps: usize| (1..=MAX_FREQUENCIES + 1 - taps).map(move |whole| (taps, whole));
        for (taps, whole) in (2..=7).flat_map(sizes).chain([(1, 1)]) {
            let g: Vec<f64> = (0..taps).map(|k| ((k * 5 + 1) as f64).cos()).collect();
            let weight = Matrices::new(whole, whole, taps).weight;
            for m in 1..=whole {
                let matrices = Matrices::new(m, whole, taps);
                let d: Vec<f64> = (0..matrices.size()).map(|i| ((i * i) as f64 * 0.7).sin()).collect();
                let value = |f: usize| -> f64 {
                    let u: f64 = weight[f].iter().zip(&g).map(|(a, b)| a * b).sum();
                    let v: f64 = matrices.input[f].iter().zip(&d).map(|(&a, b)| f64::from(a) * b).sum();
                    u * v
                };
                for (i, row) in matrices.output.iter().enumerate() {
                    let found: f64 = row.iter().enumerate().map(|(f, &a)| f64::from(a) * value(f)).sum();
                    let expected: f64 = (0..taps).map(|k| g[k] * d[i + k]).sum();
                    // So near only if all elements of the f32 matrices are exact.
                    assert!(
                        (found - expected).abs() < 1e-10,
                        "F({m} of {whole}, {taps}), output {i}: {found}, not {expected}"
                    );
                }
            }
        }
    }

    /// How much larger than the inputs the transformed ones may be, and how much larger than the product of the largest
    /// input and the largest weight the sums of the output's transform. In one dimension, of whole and smaller tiles.
    fn growth(frequencies: usize) -> [f64; 2] {
        let (mut of_input, mut of_sums) = (0f64, 0f64);
        let tiles = (2..=frequencies).map(|taps| (frequencies + 1 - taps, taps));
        let all = tiles.flat_map(|(whole, taps)| (1..=whole).map(move |m| (m, whole, taps)));
        for (m, whole, taps) in all.filter(|(_, whole, _)| *whole <= super::super::MAX_OUTPUTS) {
            let Matrices { input, weight, output } = Matrices::new(m, whole, taps);
            let norm = |row: &Vec<f32>| row.iter().map(|&x| f64::from(x).abs()).sum::<f64>();
            let products: Vec<f64> =
                input.iter().zip(&weight).map(|(b, g)| norm(b) * g.iter().map(|x| x.abs()).sum::<f64>()).collect();
            of_input = input.iter().map(norm).fold(of_input, f64::max);
            of_sums = products.iter().copied().fold(of_sums, f64::max);
            let sum = |row: &Vec<f32>| row.iter().zip(&products).map(|(&a, p)| f64::from(a).abs() * p).sum::<f64>();
            of_sums = output.iter().map(sum).fold(of_sums, f64::max);
        }
        [of_input, of_sums]
    }

    /// What the range of inputs and weights is derived from, in which nothing overflows.
    #[test]
    fn transforms_enlarge_no_more_than_stated() {
        for frequencies in 2..=super::super::MAX_FREQUENCIES_OF_BOTH {
            let [input, sums] = growth(frequencies);
            assert!(input * input <= 310.0 && sums * sums <= 23_900.0, "{frequencies}: {input}, {sums}");
        }
        for frequencies in 2..=MAX_FREQUENCIES {
            let [input, sums] = growth(frequencies);
            assert!(input <= 310.0 && sums <= 23_900.0, "{frequencies}: {input}, {sums}");
        }
    }

    #[test]
    fn tiles_of_one_output_are_sums_as_they_stand() {
        let matrices = Matrices::new(1, 1, 3);
        assert_eq!(matrices.input, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]);
        assert_eq!(matrices.output, [[1.0; 3]]);
        assert_eq!(matrices.coefficients().count(), 0);
    }

    #[test]
    fn matrices_of_two_are_those_of_the_paper() {
        let matrices = Matrices::new(2, 2, 3);
        assert_eq!(matrices.input[1], [-1.0, 0.0, 1.0, 0.0]);
        assert_eq!(matrices.input[2], [0.0, 1.0, 1.0, 0.0]);
        assert_eq!(matrices.output[1], [1.0, 0.0, 1.0, -1.0]);
        assert_eq!(matrices.weight[2], [0.5, 0.5, 0.5]);
    }
}
