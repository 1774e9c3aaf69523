//! Rounding of weights one after the other, by what the sum of their products loses.
//!
//! Inputs vary together, so that what one weight loses others make good. With errors e the sum is off by the square root of
//! e' H e, where H is the covariance of the inputs. H = C' D C, C triangular with ones on its diagonal, makes a sum of
//! squares of it, each of which is as small as can be when weights are rounded in turn: what a row of C says of the errors
//! before it is added to a weight, and then it is rounded. It is the method of GPTQ (Frantar et al. 2022, arXiv 2210.17323),
//! which is that of the nearest plane (Babai 1986).

use super::moments::{Block, Unit, inputs};
use crate::tensor::Quantisation;

/// The part of the mean variance that is added to each: the examples do not tell all.
const UNSEEN: f64 = 0.01;

/// The largest whole number that a weight becomes.
const MOST: f64 = i8::MAX as f64;

/// How the weights of inputs that are looked at together are rounded.
pub struct Compensated {
    /// Inputs in the order of rounding.
    order: Vec<usize>,
    /// For each of them, whether it and the next are a pair.
    paired: Vec<bool>,
    /// C without its diagonal, and D.
    rows: Vec<Vec<f64>>,
    squares: Vec<f64>,
}

impl Compensated {
    /// For inputs that are such whole numbers, whose own rounding is noise in each of them.
    pub fn new(block: &Block, input: Quantisation) -> Compensated {
        let of_row: Vec<usize> = inputs(&block.units).collect();
        let variances: Vec<f64> = block.rows.iter().map(|row| row[row.len() - 1]).collect();
        let step = f64::from(input.scale());
        let noise = step * step / 12.0 + UNSEEN * variances.iter().sum::<f64>() / variances.len() as f64;
        let units = largest_first(block, &variances);
        let paired = units.iter().flat_map(|unit| [unit.len() == 2, false].into_iter().take(unit.len())).collect();
        let places = units.concat();
        let covariance = |i: usize, j: usize| block.rows[i.max(j)][i.min(j)] + if i == j { noise } else { 0.0 };
        let row = |(k, &i): (usize, &usize)| places[..=k].iter().map(|&j| covariance(i, j)).collect();
        let mut rows: Vec<Vec<f64>> = places.iter().enumerate().map(row).collect();
        let squares = take_apart(&mut rows);
        Compensated { order: places.iter().map(|&place| of_row[place]).collect(), paired, rows, squares }
    }

    /// The same of which no error is made good: what that costs shows how good a scale is, in next to no time.
    pub fn alone(&self) -> Compensated {
        let (order, paired, squares) = (self.order.clone(), self.paired.clone(), self.squares.clone());
        Compensated { rows: vec![Vec::new(); order.len()], order, paired, squares }
    }

    /// What errors cost, by input: the mean square of the sum of their products.
    pub fn cost(&self, error: impl Fn(usize) -> f64) -> f64 {
        let errors: Vec<f64> = self.order.iter().map(|&input| error(input)).collect();
        let of_row = |k: usize| self.squares[k] * squared(errors[k] + dot(&self.rows[k], &errors[..k]));
        (0..errors.len()).map(of_row).sum()
    }

    /// Rounds weights that are given in steps, by input, and says what it costs. Pairs of one sign become `most_of_pair`
    /// together at most.
    pub fn round(&self, weight: impl Fn(usize) -> f64, most_of_pair: i16, rounded: &mut [i8]) -> f64 {
        let (mut errors, mut cost) = (Vec::with_capacity(self.order.len()), 0.0);
        while errors.len() < self.order.len() {
            let k = errors.len();
            let target = |k: usize| Target {
                real: weight(self.order[k]) + dot(&self.rows[k], &errors),
                square: self.squares[k],
            };
            let first = target(k);
            let (found, len) = match self.paired[k] {
                false => ([first.nearest([-MOST, MOST]); 2], 1),
                true => {
                    let passed_on = self.rows[k + 1].get(k).copied().unwrap_or(0.0);
                    let (second, real) = (target(k + 1), weight(self.order[k]));
                    let behind = |q: f64| Target { real: second.real + passed_on * (real - q), ..second };
                    (nearest_pair(first, behind, most_of_pair.into()), 2)
                }
            };
            for &(q, lost) in &found[..len] {
                let input = self.order[errors.len()];
                errors.push(weight(input) - q);
                rounded[input] = q as i8;
                cost += lost;
            }
        }
        cost
    }
}

/// A weight with what makes good the errors before it, and what the square of its own costs.
#[derive(Clone, Copy)]
struct Target {
    real: f64,
    square: f64,
}

impl Target {
    /// The nearest whole number within limits, and what it costs.
    fn nearest(self, [low, high]: [f64; 2]) -> (f64, f64) {
        let q = self.real.round_ties_even().clamp(low, high);
        (q, self.cost(q))
    }

    fn cost(self, q: f64) -> f64 {
        self.square * squared(self.real - q)
    }
}

/// The best two numbers that, where they have one sign, are `most` together at most. The second's target depends on the first
/// number.
fn nearest_pair(first: Target, second: impl Fn(f64) -> Target, most: f64) -> [(f64, f64); 2] {
    let beside = |q: f64| {
        let low = if q < 0.0 { f64::max(-MOST, -most - q) } else { -MOST };
        let high = if q > 0.0 { f64::min(MOST, most - q) } else { MOST };
        [(q, first.cost(q)), second(q).nearest([low, high])]
    };
    let cost = |both: &[(f64, f64); 2]| both[0].1 + both[1].1;
    let (nearest, _) = first.nearest([-MOST, MOST]);
    let mut best = beside(nearest);
    if best[1].0 == second(nearest).nearest([-MOST, MOST]).0 {
        return best;
    }
    let mut q = nearest;
    while q != 0.0 && first.cost(q - q.signum()) < cost(&best) {
        q -= q.signum();
        let other = beside(q);
        if cost(&other) < cost(&best) {
            best = other;
        }
    }
    best
}

/// Places of the units of a block: what is rounded first has most to make its errors good.
fn largest_first(block: &Block, variances: &[f64]) -> Vec<Vec<usize>> {
    let mut next = 0;
    let mut place = || {
        next += 1;
        next - 1
    };
    let by_variance = |a: &usize, b: &usize| variances[*b].total_cmp(&variances[*a]);
    let unit = |&(_, second): &Unit| {
        let mut places = vec![place()];
        places.extend(second.map(|_| place()));
        places.sort_by(by_variance);
        places
    };
    let mut units: Vec<Vec<usize>> = block.units.iter().map(unit).collect();
    units.sort_by(|a, b| by_variance(&a[0], &b[0]));
    units
}

/// Makes C without its diagonal of the rows of C' D C up to theirs, and gives D.
fn take_apart(rows: &mut [Vec<f64>]) -> Vec<f64> {
    let mut squares = vec![0.0; rows.len()];
    for k in (0..rows.len()).rev() {
        let (above, row) = rows.split_at_mut(k);
        let row = &mut row[0];
        squares[k] = row.pop().expect("the diagonal");
        for (other, x) in above.iter_mut().zip(&*row) {
            let factor = x / squares[k];
            other.iter_mut().zip(&*row).for_each(|(h, y)| *h -= factor * y);
        }
        row.iter_mut().for_each(|x| *x /= squares[k]);
    }
    squares
}

fn squared(x: f64) -> f64 {
    x * x
}

/// Sums that processors can make side by side, in one order on all of them. The longer vector's rest counts for nothing.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let len = a.len().min(b.len());
    let (a, b) = (&a[..len], &b[..len]);
    let mut sums = [0.0; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        sums.iter_mut().zip(a.iter().zip(b)).for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::super::moments::units;
    use super::*;

    const INPUT: f32 = 0.5;

    /// Of inputs of one channel, or of pairs of channels.
    fn of(units: &[Unit], rows: &[&[f64]]) -> Compensated {
        let rows = rows.iter().map(|row| row.to_vec()).collect();
        Compensated::new(&Block { units: units.to_vec(), rows }, Quantisation::new(INPUT, 0, 255).unwrap())
    }

    fn rounded(how: &Compensated, weights: &[f64], most_of_pair: i16) -> Vec<i8> {
        let mut rounded = vec![0; weights.len()];
        how.round(|input| weights[input], most_of_pair, &mut rounded);
        rounded
    }

    const COVARIANCE: [&[f64]; 3] = [&[4.0], &[1.0, 9.0], &[-2.0, 3.0, 5.0]];

    #[test]
    fn what_errors_cost_is_the_square_of_their_sum() {
        let how = of(&units(0, 1, 3), &COVARIANCE);
        let errors = [0.5, -0.25, 1.0];
        let of_pair = |i: usize, j: usize| errors[i] * errors[j] * COVARIANCE[i.max(j)][i.min(j)];
        let sum: f64 = (0..9).map(|at| of_pair(at / 3, at % 3)).sum();
        let noise = f64::from(INPUT * INPUT) / 12.0 + UNSEEN * 6.0;
        let expected = sum + noise * errors.iter().map(|e| e * e).sum::<f64>();
        let found = how.cost(|input| errors[input]);
        assert!((found - expected).abs() < 1e-12, "{found} {expected}");
    }

    /// Rounding says what it costs, with pairs and without.
    #[test]
    fn the_cost_of_rounding_is_that_of_its_errors() {
        let weights = [100.4, 99.7, -3.5];
        for units in [units(0, 1, 3), units(0, 3, 1)] {
            let how = of(&units, &COVARIANCE);
            let mut rounded = vec![0; 3];
            let told = how.round(|input| weights[input], 128, &mut rounded);
            let found = how.cost(|input| weights[input] - f64::from(rounded[input]));
            assert!((told - found).abs() < 1e-9 * found, "{told} {found}");
        }
    }

    /// Two inputs that are all but the same: of 0.4 and 0.4 one becomes 1. Of two that have nothing to do with each other none.
    #[test]
    fn others_make_an_error_good() {
        let [same, other] = [0.999, 0.0].map(|both| of(&units(0, 1, 2), &[&[100.0], &[100.0 * both, 100.0]]));
        assert_eq!(rounded(&same, &[0.4, 0.4], 254).iter().sum::<i8>(), 1);
        assert_eq!(rounded(&same.alone(), &[0.4, 0.4], 254), [0, 0]);
        assert_eq!(rounded(&other, &[0.4, 0.4], 254), [0, 0]);
    }

    /// What a pair may not have goes to a third weight.
    #[test]
    fn others_make_good_what_pairs_may_not_have() {
        let how = of(&units(0, 3, 1), &[&[10.0], &[0.0, 10.0], &[9.9, 0.0, 9.9]]);
        let found = rounded(&how, &[100.0, 60.0, 5.0], 128);
        assert!(found[0] < 100 && found[2] > 5 && i16::from(found[0]) + i16::from(found[1]) <= 128, "{found:?}");
    }

    #[test]
    fn what_is_beyond_is_taken_from_both() {
        let how = of(&units(0, 2, 1), &[&[1.0], &[0.0, 1.0]]);
        let beyond = [[127, 127], [-127, -127], [127, 2], [-3, -127], [100, 31], [127, 1], [127, -127], [0, 127]];
        let fitting = [[64, 64], [-64, -64], [127, 1], [-2, -126], [99, 29], [127, 1], [127, -127], [0, 127]];
        assert_eq!(beyond.map(|pair| rounded(&how, &pair.map(f64::from), 128)), fitting);
        // The one whose input varies more keeps what it has.
        let how = of(&units(0, 2, 1), &[&[1.0], &[0.0, 1e6]]);
        assert_eq!(rounded(&how, &[100.0, 100.0], 128), [28, 100]);
    }
}
