//! Layers on whole numbers, by their definition: see [`crate::ir::integer`].
//!
//! Tensors hold the whole numbers themselves, which f32 can.

use crate::ir::integer::{Integer, Output, multiplier, table};
use crate::ir::{Graph, Node, NodeId};
use crate::layers::{Accumulate, AdaptiveAvgPool, AvgPool, Conv, Op, ResolvedWindow, Window};
use crate::tensor::{Quantisation, Tensor};

/// The value of a node.
pub(super) fn evaluate<'v>(
    graph: &Graph,
    node: &Node,
    integer: &Integer,
    read: impl Fn(NodeId) -> &'v Tensor,
    batch: usize,
) -> Tensor {
    let operands: Vec<&Tensor> = node.operands().iter().map(|&id| read(id)).collect();
    let shape = node.ty.shape(batch);
    let x = operands[0];
    match *integer {
        Integer::Quantise(q) => map(x, |x| q.quantise(x).into()),
        Integer::Dequantise(q) => map(x, |x| q.real(x as u8)),
        Integer::Table { activation, input, output } => {
            let table = table(activation, input, output);
            map(x, |x| table[x as usize].into())
        }
        Integer::Product { input, residual, output } => {
            let residual = residual.map(|q| (q, read(*node.inputs.last().expect("verified"))));
            let sums = sums(graph, node, &whole(x, input), x);
            rescale_sums(graph, node, &sums, input, residual, output, shape)
        }
        Integer::Sum { operands: [a, b], output } => {
            let [m_a, m_b] = [a, b].map(|q| multiplier([q.scale(), 1.0], output.quantisation.scale()));
            let pairs = whole(x, a).into_iter().zip(whole(operands[1], b));
            let sums = pairs.map(|(a, b)| output.round(a as f32 * m_a + b as f32 * m_b).into());
            Tensor::new(shape, sums.collect())
        }
        Integer::Gate { operands: [a, b], output } => {
            let m = multiplier([a.scale(), b.scale()], output.quantisation.scale());
            let (a, b) = (map(x, |x| x - zero(a)), map(operands[1], |x| x - zero(b)));
            let product = node.op.layer().expect("no input").eval(&[&a, &b], &[], Accumulate::F64);
            map(&product, |y| output.round(y * m).into())
        }
        Integer::Mean { input, output } => {
            let (sums, counts) = window_sums(node, x, input);
            let scale = output.quantisation.scale();
            let m: Vec<f32> = counts.iter().map(|&count| mean_multiplier(input, count, scale)).collect();
            let means = sums.iter().enumerate().map(|(i, &sum)| output.round(sum as f32 * m[i % m.len()]).into());
            Tensor::new(shape, means.collect())
        }
        Integer::Move => node.op.layer().expect("no input").eval(&operands, &[], Accumulate::F64),
    }
}

/// What the sum over `count` positions is multiplied by.
fn mean_multiplier(input: Quantisation, count: usize, scale: f32) -> f32 {
    (f64::from(input.scale()) / (f64::from(scale) * count as f64)) as f32
}

fn map(x: &Tensor, f: impl Fn(f32) -> f32) -> Tensor {
    Tensor::new(x.shape(), x.data().iter().map(|&x| f(x)).collect())
}

fn zero(q: Quantisation) -> f32 {
    q.zero_point().into()
}

/// x - z.
fn whole(x: &Tensor, q: Quantisation) -> Vec<i32> {
    x.data().iter().map(|&x| x as i32 - i32::from(q.zero_point())).collect()
}

/// The sums of a convolution or dense layer, with the bias, in the order of its value.
fn sums(graph: &Graph, node: &Node, values: &[i32], x: &Tensor) -> Vec<i32> {
    let (weights, _) = graph[node.params[0]].weights_i8().expect("verified");
    let bias = |o: usize| node.params.get(1).map_or(0, |&bias| graph[bias].bias_i32().expect("verified")[o]);
    match &node.op {
        Op::Conv(conv) => convolution(conv, values, x, weights, bias),
        _ => {
            let len = weights.len() / node.ty.channels();
            let rows = || weights.chunks(len).enumerate();
            values
                .chunks(len)
                .flat_map(|x| rows().map(move |(o, row)| (o, row, x)))
                .map(|(o, row, x)| bias(o) + dot(row, x))
                .collect()
        }
    }
}

fn dot(weights: &[i8], x: &[i32]) -> i32 {
    weights.iter().zip(x).map(|(&w, x)| i32::from(w) * x).sum()
}

/// As [`Conv`]'s own evaluation: padding is 0.
fn convolution(conv: &Conv, values: &[i32], x: &Tensor, weights: &[i8], bias: impl Fn(usize) -> i32) -> Vec<i32> {
    let window = conv.window.resolve(x.spatial()).expect("verified");
    let (group_in, group_out) = (x.channels() / conv.groups, conv.channels / conv.groups);
    let kernel: usize = window.kernel.iter().product();
    let (from, to): (usize, usize) = (x.spatial().iter().product(), window.out.iter().product());
    let mut sums = vec![0; x.batch() * conv.channels * to];
    for p in 0..to {
        let taps = window.taps(p, x.spatial());
        // What the window sees in one group of channels, padding included: [group_in, kernel].
        let mut patch = vec![0; group_in * kernel];
        for n in 0..x.batch() {
            for group in 0..conv.groups {
                for (c, seen) in patch.chunks_mut(kernel).enumerate() {
                    let plane = &values[(n * x.channels() + group * group_in + c) * from..][..from];
                    taps.iter().for_each(|&(k, index)| seen[k] = plane[index]);
                }
                for o in group * group_out..(group + 1) * group_out {
                    let row = &weights[o * patch.len()..][..patch.len()];
                    sums[(n * conv.channels + o) * to + p] = bias(o) + dot(row, &patch);
                }
            }
        }
    }
    sums
}

fn rescale_sums(
    graph: &Graph,
    node: &Node,
    sums: &[i32],
    input: Quantisation,
    residual: Option<(Quantisation, &Tensor)>,
    output: Output,
    shape: Vec<usize>,
) -> Tensor {
    let (_, scales) = graph[node.params[0]].weights_i8().expect("verified");
    let (range, divisor) = match output {
        Output::Whole(range) => (Some(range), range.quantisation.scale()),
        Output::Real => (None, 1.0),
    };
    let positions: usize = node.ty.spatial().iter().product();
    let value = |(i, &sum): (usize, &i32)| {
        let y = sum as f32 * multiplier([input.scale(), scales[i / positions % scales.len()]], divisor);
        let Some(range) = range else { return y };
        let added = residual.map(|(q, r)| (r.data()[i] - zero(q)) * multiplier([q.scale(), 1.0], divisor));
        range.round(added.map_or(y, |added| y + added)).into()
    };
    Tensor::new(shape, sums.iter().enumerate().map(value).collect())
}

/// The sums of a pool, in the order of its value, and the divisors of its positions.
fn window_sums(node: &Node, x: &Tensor, input: Quantisation) -> (Vec<i32>, Vec<usize>) {
    let values = whole(x, input);
    let spatial: &[usize] = x.spatial();
    let (seen, divisors) = match &node.op {
        Op::AvgPool(pool) => of_window(&pool.window.resolve(spatial).expect("verified"), pool, spatial),
        Op::AdaptiveAvgPool(pool) => of_regions(pool, spatial),
        _ => {
            let pool = AvgPool { window: Window::whole(spatial), count_pad: true };
            of_window(&pool.window.resolve(spatial).expect("verified"), &pool, spatial)
        }
    };
    let planes = values.chunks(spatial.iter().product());
    let sums = planes.flat_map(|plane| seen.iter().map(|seen| seen.iter().map(|&p| plane[p]).sum()));
    (sums.collect(), divisors)
}

type Seen = (Vec<Vec<usize>>, Vec<usize>);

fn of_window(window: &ResolvedWindow, pool: &AvgPool, spatial: &[usize]) -> Seen {
    let positions = 0..window.out.iter().product::<usize>();
    let seen = positions.map(|p| window.taps(p, spatial).into_iter().map(|(_, index)| index).collect());
    (seen.collect(), pool.divisors(spatial).into_iter().map(|divisor| divisor as usize).collect())
}

fn of_regions(pool: &AdaptiveAvgPool, spatial: &[usize]) -> Seen {
    let seen = pool.seen(spatial);
    let divisors = seen.iter().map(Vec::len).collect();
    (seen, divisors)
}
