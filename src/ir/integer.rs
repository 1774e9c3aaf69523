//! Layers on whole numbers: which there are, and the constants of their arithmetic.
//!
//! A number q of scale s and zero point z stands for (q - z) * s. Products of whole numbers are added exactly, in 32 bits,
//! and the sum, as f32, is multiplied by m, a quotient of scales that is computed in f64 and rounded to f32 once. Each
//! operation is an IEEE operation of its own: nothing is fused or reordered, so that there is one result. It is rounded to
//! the nearest whole number, the even one of two; z is added, and it is kept within what the activation behind the layer
//! can give.

use super::{Epilogue, Graph, Node, NodeId};
use crate::layers::{Activation, Each, Op};
use crate::tensor::{DType, Quantisation};

/// What a layer that reads or makes whole numbers computes. Its operands are of the given quantisations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Integer {
    /// [`Quantisation::quantise`] of each element.
    Quantise(Quantisation),
    /// [`Quantisation::real`] of each element.
    Dequantise(Quantisation),
    /// A convolution or dense layer: a = sum of (x - z) w + b for each output channel c, and then a m\[c\], to which
    /// (r - z) m is added where there is a residual r.
    Product { input: Quantisation, residual: Option<Quantisation>, output: Output },
    /// (a - z) m + (b - z) m.
    Sum { operands: [Quantisation; 2], output: Range },
    /// (a - z) (b - z) m, where b may have fewer numbers.
    Gate { operands: [Quantisation; 2], output: Range },
    /// A pointwise function, or the same value in other whole numbers: see [`table`].
    Table { activation: Activation, input: Quantisation, output: Quantisation },
    /// The sum of x - z over a window, times an m that has the number of positions in it.
    Mean { input: Quantisation, output: Range },
    /// Numbers that pass as they are, or the largest of some.
    Move,
}

/// Weights that an instruction for pairs of bytes multiplies and adds together: those of channels 2i and 2i + 1 at one tap.
/// `row` has one output channel's, `[channel][tap]`, from the channel of number `first` on.
pub fn pairs<T: Copy>(row: &[T], first: usize, taps: usize) -> impl Iterator<Item = [T; 2]> {
    let both = row[first_pair(first, taps)..].chunks_exact(2 * taps).map(move |both| both.split_at(taps));
    both.flat_map(|(even, odd)| even.iter().zip(odd).map(|(&a, &b)| [a, b]))
}

/// Where [`pairs`] begin in a row: a first channel of an odd number belongs to the one before the row.
pub fn first_pair(first: usize, taps: usize) -> usize {
    first % 2 * taps
}

/// The largest sum of two paired weights of one sign, with which the sum of their products with whole numbers up to `top`
/// has 16 bits.
pub fn most_of_pair(top: u8) -> i16 {
    i16::MAX / i16::from(top)
}

/// Whether products of all pairs of a row can be added in 16 bits: see [`pairs`] and [`most_of_pair`].
pub fn pairs_fit(row: &[i8], first: usize, taps: usize, top: u8) -> bool {
    let sums = |[a, b]: [i8; 2]| {
        let of_sign = |sign: i16| (sign * i16::from(a)).max(0) + (sign * i16::from(b)).max(0);
        of_sign(1).max(of_sign(-1))
    };
    pairs(row, first, taps).map(sums).fold(0, i16::max) <= most_of_pair(top)
}

/// What becomes of a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    Whole(Range),
    /// It stays f32, as it is.
    Real,
}

impl Output {
    /// What a factor of sums is divided by.
    pub fn scale(&self) -> f32 {
        match self {
            Output::Whole(range) => range.quantisation.scale(),
            Output::Real => 1.0,
        }
    }
}

/// Whole numbers that a layer can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    pub quantisation: Quantisation,
    pub low: u8,
    pub high: u8,
}

impl Range {
    /// All numbers.
    pub fn whole(quantisation: Quantisation) -> Range {
        Range { quantisation, low: 0, high: quantisation.top() }
    }

    /// That behind an activation; `None` for one that does not only limit.
    pub fn behind(quantisation: Quantisation, activation: Activation) -> Option<Range> {
        let (low, high) = match activation {
            Activation::Relu => (0.0, f32::INFINITY),
            Activation::Relu6 => (0.0, 6.0),
            Activation::Clip { low, high } => (low, high),
            _ => return None,
        };
        let [low, high] = [low, high].map(|limit| quantisation.quantise(limit));
        Some(Range { quantisation, low, high })
    }

    /// The whole number for what was computed in f32.
    pub fn round(&self, y: f32) -> u8 {
        let y = f64::from(y.round_ties_even()) + f64::from(self.quantisation.zero_point());
        y.clamp(self.low.into(), self.high.into()) as u8
    }
}

/// A factor of sums: the product of scales over another, which are all as [`Quantisation::SCALES`].
pub fn multiplier(factors: [f32; 2], divisor: f32) -> f32 {
    (f64::from(factors[0]) * f64::from(factors[1]) / f64::from(divisor)) as f32
}

/// What a pointwise function makes of each whole number.
pub fn table(activation: Activation, input: Quantisation, output: Quantisation) -> [u8; 256] {
    let (scale, zero) = (f64::from(output.scale()), f64::from(output.zero_point()));
    std::array::from_fn(|q| {
        let x = (q as f64 - f64::from(input.zero_point())) * f64::from(input.scale());
        let y = (activation.evaluate(x) / scale).round_ties_even() + zero;
        // NaN, which counts as what is least, becomes 0.
        y.clamp(0.0, output.top().into()) as u8
    })
}

/// Products whose sum always fits 32 bits, beside a bias.
const MAX_SUM: u64 = i32::MAX as u64;

/// Whether sums of so many products of eight bits fit 32 bits, with room for a bias of [`MAX_BIAS`].
pub fn fits(terms: usize) -> bool {
    (terms as u64).saturating_mul(255 * 127) <= MAX_SUM - MAX_BIAS as u64
}

/// The largest magnitude of a bias that [`fits`] leaves room for.
pub const MAX_BIAS: i32 = 1 << 28;

/// Whether a node reads or makes whole numbers.
pub fn concerns(graph: &Graph, node: &Node) -> bool {
    let whole = |id: &NodeId| graph[*id].ty.dtype.is_whole();
    let weights = node.params.iter().any(|&param| graph[param].is_integer());
    let converts = matches!(node.op, Op::Convert(_)) && node.ty.dtype != DType::Bf16;
    node.ty.dtype.is_whole() || weights || node.inputs.iter().any(whole) || converts
}

/// What a node computes on whole numbers; `None` for one that neither reads nor makes any.
///
/// # Errors
/// Why nothing can be computed of what it has.
pub fn of(graph: &Graph, node: &Node) -> Result<Option<Integer>, String> {
    if !concerns(graph, node) {
        return Ok(None);
    }
    if node.gated || node.beside {
        return Err("a layer on whole numbers has a gate or makes a mean".into());
    }
    let integer = match &node.op {
        Op::Convert(_) => convert(graph, node)?,
        Op::Conv(_) | Op::Dense(_) => product(graph, node)?,
        Op::Add(_) | Op::Mul(_) => combination(graph, node)?,
        Op::Activation(activation) => {
            Integer::Table { activation: *activation, input: operand(graph, node, 0)?, output: value(node)? }
        }
        Op::AvgPool(_) | Op::GlobalAvgPool(_) | Op::AdaptiveAvgPool(_) => {
            let input = operand(graph, node, 0)?;
            let positions = graph[node.inputs[0]].ty.spatial().iter().product();
            if !fits(positions) {
                return Err("the mean of so many whole numbers does not fit 32 bits".into());
            }
            Integer::Mean { input, output: behind(graph, node)?.1 }
        }
        op if moves(op) => {
            if node.operands().iter().any(|&id| graph[id].ty.dtype != node.ty.dtype) {
                return Err("passes numbers on as another type".into());
            }
            Integer::Move
        }
        _ => return Err("there is no such layer on whole numbers".into()),
    };
    let fused =
        matches!(integer, Integer::Product { .. } | Integer::Sum { .. } | Integer::Gate { .. } | Integer::Mean { .. });
    if !fused && !node.epilogue.is_empty() {
        return Err("something is fused behind it, which it cannot do on whole numbers".into());
    }
    Ok(Some(integer))
}

/// Whether a layer gives some of the numbers that it takes, and no others.
pub fn moves(op: &Op) -> bool {
    matches!(
        op,
        Op::MaxPool(_)
            | Op::GlobalMaxPool(_)
            | Op::Concat(_)
            | Op::ChannelSlice(_)
            | Op::ChannelShuffle(_)
            | Op::Flatten(_)
    )
}

fn convert(graph: &Graph, node: &Node) -> Result<Integer, String> {
    match (graph[node.inputs[0]].ty.dtype, node.ty.dtype) {
        (DType::F32, DType::U8(to)) => Ok(Integer::Quantise(to)),
        (DType::U8(from), DType::F32) => Ok(Integer::Dequantise(from)),
        (DType::U8(input), DType::U8(output)) => {
            Ok(Integer::Table { activation: Activation::Affine { scale: 1.0, shift: 0.0 }, input, output })
        }
        (from, to) => Err(format!("nothing makes {to} of {from}")),
    }
}

fn product(graph: &Graph, node: &Node) -> Result<Integer, String> {
    let input = operand(graph, node, 0)?;
    let (weights, _) = graph[node.params[0]].weights_i8().ok_or("weights of f32 and an operand of whole numbers")?;
    let bias = node.params.get(1).map(|&bias| graph[bias].bias_i32().ok_or("a bias of f32 behind whole numbers"));
    let largest = bias.transpose()?.unwrap_or(&[]).iter().map(|b| b.unsigned_abs()).max().unwrap_or(0);
    if largest > MAX_BIAS.unsigned_abs() || !fits(weights.len() / graph[node.params[0]].dims[0]) {
        return Err("its sums may not fit 32 bits".into());
    }
    if node.ty.dtype == DType::F32 {
        let output = Output::Real;
        return match node.epilogue.is_empty() {
            true => Ok(Integer::Product { input, residual: None, output }),
            false => Err("something is fused behind sums that stay f32".into()),
        };
    }
    let (residual, range) = behind(graph, node)?;
    Ok(Integer::Product { input, residual, output: Output::Whole(range) })
}

fn combination(graph: &Graph, node: &Node) -> Result<Integer, String> {
    let operands = [operand(graph, node, 0)?, operand(graph, node, 1)?];
    let (residual, output) = behind(graph, node)?;
    if residual.is_some() {
        return Err("a second sum is fused behind it".into());
    }
    let [a, b] = [0, 1].map(|index| &graph[node.inputs[index]].ty);
    match node.op {
        Op::Mul(_) => Ok(Integer::Gate { operands, output }),
        _ if Each::of(a, b) == Some(Each::Element) => Ok(Integer::Sum { operands, output }),
        _ => Err("a sum of whole numbers of which one operand has fewer".into()),
    }
}

/// The residual and the range of what is fused behind a node: an addition, then an activation that only limits.
fn behind(graph: &Graph, node: &Node) -> Result<(Option<Quantisation>, Range), String> {
    let (mut residual, mut items) = (None, node.epilogue.as_slice());
    if let [Epilogue::Add { input }, rest @ ..] = items {
        (residual, items) = (Some(quantisation(graph[node.inputs[*input]].ty.dtype)?), rest);
    }
    let range = match items {
        [] => Some(Range::whole(value(node)?)),
        [Epilogue::Activation(activation)] => Range::behind(value(node)?, *activation),
        _ => None,
    };
    Ok((residual, range.ok_or("what is fused behind it is not done on whole numbers")?))
}

fn operand(graph: &Graph, node: &Node, index: usize) -> Result<Quantisation, String> {
    quantisation(graph[node.operands()[index]].ty.dtype)
}

fn value(node: &Node) -> Result<Quantisation, String> {
    quantisation(node.ty.dtype)
}

fn quantisation(dtype: DType) -> Result<Quantisation, String> {
    match dtype {
        DType::U8(quantisation) => Ok(quantisation),
        real => Err(format!("{real} and whole numbers in one layer")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantisation(scale: f32, zero_point: u8) -> Quantisation {
        Quantisation::new(scale, zero_point, 255).unwrap()
    }

    #[test]
    fn halves_are_rounded_to_even_numbers() {
        let range = Range::whole(quantisation(1.0, 10));
        assert_eq!([-0.5, 0.5, 1.5, 2.5, -1e30, 1e30].map(|y| range.round(y)), [10, 10, 12, 12, 0, 255]);
        let q = quantisation(0.5, 3);
        assert_eq!([0.25, 0.75, -1.5, -9.0, f32::INFINITY, f32::NAN].map(|x| q.quantise(x)), [3, 5, 0, 0, 255, 0]);
        assert_eq!((q.real(255), q.real(0), q.real(3)), (126.0, -1.5, 0.0));
    }

    #[test]
    fn limits_are_those_of_activations() {
        let q = quantisation(0.1, 7);
        let range = |activation| Range::behind(q, activation).map(|range| (range.low, range.high));
        assert_eq!(range(Activation::Relu), Some((7, 255)));
        assert_eq!(range(Activation::Relu6), Some((7, 67)));
        assert_eq!(range(Activation::Clip { low: -0.31, high: f32::INFINITY }), Some((4, 255)));
        assert_eq!(range(Activation::Silu), None);
    }

    #[test]
    fn tables_are_functions_of_real_numbers() {
        let table = table(Activation::Sigmoid, quantisation(0.1, 128), quantisation(1.0 / 256.0, 0));
        assert_eq!((table[0], table[128], table[138], table[255]), (0, 128, 187, 255));
        let top = Quantisation::new(1.0, 0, 127).unwrap();
        assert_eq!(super::table(Activation::Reciprocal, quantisation(1.0, 5), top)[5], 127);
    }

    /// 255 * 128 is below 2^15, 255 * 129 is not.
    #[test]
    fn pairs_fit_whose_products_have_16_bits() {
        let fit = |row: &[i8]| pairs_fit(row, 0, 1, 255);
        let rows: [&[i8]; 8] = [
            &[127, 1],
            &[-127, -1],
            &[64, 64],
            &[127, -127],
            &[1, 127, 127, 0],
            &[0, -2, 127, 2],
            &[-2, -127],
            &[-128],
        ];
        assert_eq!(rows.map(fit), [true, true, true, true, true, false, false, true]);
        assert_eq!([127, 128].map(|top| pairs_fit(&[127, 127], 0, 1, top)), [true, true]);
        assert!(!pairs_fit(&[127, 127], 0, 1, 130));
    }

    /// Pairs are of channels, at the same tap; the first of an odd number is the second of a pair.
    #[test]
    fn weights_are_paired_by_channels() {
        let row = [1, 2, 10, 20, 100, 120i8];
        let of = |first, taps| pairs(&row, first, taps).collect::<Vec<_>>();
        assert_eq!(of(4, 2), [[1, 10], [2, 20]]);
        assert_eq!(of(3, 2), [[10, 100], [20, 120]]);
        assert!(of(1, 6).is_empty() && of(0, 6).is_empty());
    }

    #[test]
    fn sums_that_fit_are_counted_with_their_bias() {
        // 58,022 products of 255 and 127 and a bias of 2^28 are 2^31 - 5,722.
        assert_eq!([0, 58_022, 58_023, usize::MAX].map(fits), [true, true, false, false]);
    }
}
