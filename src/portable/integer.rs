//! Layers on whole numbers.

use super::memory::Pointer;
use super::{LANES, tasks};
use crate::ir::integer::{Integer, Output, Range, multiplier};
use crate::kernels::integer::{Code, Number, Reads, Work};
use crate::kernels::spans::{Span, Spans};
use crate::kernels::{Layout, Operand};
use crate::tensor::Quantisation;

/// Channels of a block.
const L: usize = LANES;

/// # Safety
/// As for [`super::run`].
pub unsafe fn run(code: &Code, operands: &[Operand], begin: usize, end: usize) {
    for (sample, task) in tasks(crate::kernels::Family::tasks(code), begin, end) {
        let at = |operand: usize| Pointer::sample(operands, operand, sample);
        let block = task * code.positions * L;
        // SAFETY: the caller's contract, for the task's block of the output.
        unsafe {
            match &code.work {
                Work::Elements { integer, input } => elements(code, *integer, *input, task, operands, &at),
                Work::Gate { integer, each } => gate(code, *integer, *each, task, &at),
                Work::Product { integer, spans, inputs, groups } => {
                    let reads = code.reads(*inputs, *groups);
                    let first = match reads {
                        Reads::Own => task,
                        Reads::Shared(channels) => code.first_read(*inputs, *groups, channels, task),
                    };
                    let product = Product { code, spans, reads, first, block: task };
                    product.run(*integer, operands, &at);
                }
                Work::Mean { integer, spans, .. } => mean(*integer, spans, task, operands, &at),
                Work::Max { spans } => {
                    let mut to = at(0).at(block as i64);
                    let from = at(1).at((task * spans.positions() * L) as i64);
                    windows(spans, |position, window| {
                        let mut most = [0u8; L];
                        let larger = |x: [u8; L]| (0..L).for_each(|l| most[l] = most[l].max(x[l]));
                        seen(spans, window, from, larger);
                        to = at(0).at((block + position * L) as i64);
                        to.write(most);
                    });
                }
                Work::Pad(_) => unreachable!("only kernels with tiles want numbers around their input"),
                Work::Copy { channels, inputs, output } => {
                    let (to, operand, from) = channels[task];
                    let address = |layout: Layout, channel: usize, position: usize| match layout {
                        Layout::Nchw => channel * code.positions + position,
                        Layout::Blocked => (channel / L * code.positions + position) * L + channel % L,
                    };
                    for p in 0..code.positions {
                        let x: u8 = at(1 + operand).at(address(inputs[operand], from, p) as i64).read();
                        at(0).at(address(*output, to, p) as i64).write(x);
                    }
                }
            }
        }
    }
}

/// Whole numbers of sums in f32, as [`Range::round`] gives them.
#[derive(Clone, Copy)]
struct Rounding {
    low: f32,
    high: f32,
    zero: i32,
}

/// Added to a number of small magnitude, it leaves the nearest whole one, the even one of two, in the last bits.
const ROUND: f32 = 12_582_912.0;

impl Rounding {
    fn of(range: Range) -> Rounding {
        let zero = i32::from(range.quantisation.zero_point());
        let limit = |limit: u8| (i32::from(limit) - zero) as f32;
        Rounding { low: limit(range.low), high: limit(range.high), zero }
    }

    /// Both limits are whole, so that it is the same to round before or behind them. NaN becomes the lower one.
    #[inline(always)]
    fn round(self, y: f32) -> u8 {
        let y = y.max(self.low).min(self.high) + ROUND;
        (y.to_bits().wrapping_sub(ROUND.to_bits()) as i32 + self.zero) as u8
    }
}

fn zero(q: Quantisation) -> i32 {
    q.zero_point().into()
}

/// # Safety
/// As for [`super::run`].
unsafe fn elements(
    code: &Code,
    integer: Integer,
    layout: Layout,
    block: usize,
    operands: &[Operand],
    at: &impl Fn(usize) -> Pointer,
) {
    let first = block * code.positions * L;
    // SAFETY: the caller's; a block of the output, and the same elements of operands.
    let each = |f: &mut dyn FnMut(i64) -> [u8; L]| unsafe {
        for p in 0..code.positions {
            let index = (first + p * L) as i64;
            let y = f(index);
            at(0).at(index).write(y);
        }
    };
    // SAFETY: the caller's.
    unsafe {
        match integer {
            Integer::Quantise(q) if layout == Layout::Nchw => quantise_rows(code, q, block, at),
            Integer::Quantise(q) => each(&mut |index| {
                let x: [f32; L] = at(1).at(4 * index).read();
                x.map(|x| quantise(q, x))
            }),
            Integer::Dequantise(q) => {
                for p in 0..code.positions {
                    let index = (first + p * L) as i64;
                    let x: [u8; L] = at(1).at(index).read();
                    at(0).at(4 * index).write(x.map(|x| (i32::from(x) - zero(q)) as f32 * q.scale()));
                }
            }
            Integer::Table { .. } => {
                let table: [u8; 256] = Pointer::constant(operands, 2).read();
                each(&mut |index| {
                    let x: [u8; L] = at(1).at(index).read();
                    x.map(|x| table[usize::from(x)])
                });
            }
            Integer::Sum { operands: [a, b], output } => {
                let m = [a, b].map(|q| multiplier([q.scale(), 1.0], output.quantisation.scale()));
                let rounding = Rounding::of(output);
                each(&mut |index| {
                    let (x, y): ([u8; L], [u8; L]) = (at(1).at(index).read(), at(2).at(index).read());
                    let of = |x: u8, q: Quantisation| (i32::from(x) - zero(q)) as f32;
                    std::array::from_fn(|l| rounding.round(of(x[l], a) * m[0] + of(y[l], b) * m[1]))
                });
            }
            _ => unreachable!("not element by element"),
        }
    }
}

/// As [`Quantisation::quantise`].
#[inline(always)]
fn quantise(q: Quantisation, x: f32) -> u8 {
    let (zero, top) = (f32::from(q.zero_point()), f32::from(q.top()));
    let steps = (x / q.scale()).max(-zero).min(top - zero) + ROUND;
    (steps.to_bits().wrapping_sub(ROUND.to_bits()) as i32 + i32::from(q.zero_point())) as u8
}

/// # Safety
/// As for [`super::run`].
unsafe fn quantise_rows(code: &Code, q: Quantisation, block: usize, at: &impl Fn(usize) -> Pointer) {
    for lane in 0..L.min(code.channels - block * L) {
        for p in 0..code.positions {
            // SAFETY: the caller's; element of a channel that there is.
            unsafe {
                let x: f32 = at(1).at(4 * ((block * L + lane) * code.positions + p) as i64).read();
                at(0).at(((block * code.positions + p) * L + lane) as i64).write(quantise(q, x));
            }
        }
    }
}

/// # Safety
/// As for [`super::run`].
unsafe fn gate(code: &Code, integer: Integer, each: Number, block: usize, at: &impl Fn(usize) -> Pointer) {
    let Integer::Gate { operands: [a, b], output } = integer else { unreachable!("a gate") };
    let m = multiplier([a.scale(), b.scale()], output.quantisation.scale());
    let rounding = Rounding::of(output);
    for p in 0..code.positions {
        let index = ((block * code.positions + p) * L) as i64;
        // SAFETY: the caller's; a block of the output, the same of the first operand, and what the second has for it.
        unsafe {
            let x: [u8; L] = at(1).at(index).read();
            let y: [u8; L] = match each {
                Number::OfElement => at(2).at(index).read(),
                Number::OfChannel => at(2).at((block * L) as i64).read(),
                Number::OfPosition => [at(2).at((p * L) as i64).read(); L],
                Number::OfSample => [at(2).read(); L],
            };
            let product = |l: usize| (i32::from(x[l]) - zero(a)) * (i32::from(y[l]) - zero(b));
            at(0).at(index).write::<[u8; L]>(std::array::from_fn(|l| rounding.round(product(l) as f32 * m)));
        }
    }
}

/// Calls `f` with each output position and its window.
fn windows(spans: &Spans, mut f: impl FnMut(usize, [Span; 3])) {
    let [depths, rows, columns] = &spans.spans;
    let mut position = 0;
    for &depth in depths {
        for &row in rows {
            for &column in columns {
                f(position, [depth, row, column]);
                position += 1;
            }
        }
    }
}

/// Calls `f` with the tap and the input position of each tap of a window.
#[inline(always)]
fn taps(spans: &Spans, [depth, row, column]: [Span; 3], mut f: impl FnMut(usize, usize)) {
    let place = |d: usize, span: Span, i: usize| (span.first_tap + i, span.start + i * spans.step[d]);
    for i in 0..depth.count {
        let (tap, at) = place(0, depth, i);
        for j in 0..row.count {
            let (row_tap, row_at) = place(1, row, j);
            let (tap, at) = (tap * spans.kernel[1] + row_tap, at * spans.input[1] + row_at);
            for k in 0..column.count {
                let (column_tap, column_at) = place(2, column, k);
                f(tap * spans.kernel[2] + column_tap, at * spans.input[2] + column_at);
            }
        }
    }
}

/// Calls `f` with what a window sees of a block.
///
/// # Safety
/// The block can be read.
#[inline(always)]
unsafe fn seen(spans: &Spans, window: [Span; 3], block: Pointer, mut f: impl FnMut([u8; L])) {
    // SAFETY: the caller's; taps lie in the input.
    taps(spans, window, |_, at| f(unsafe { block.at((at * L) as i64).read() }));
}

/// # Safety
/// As for [`super::run`].
unsafe fn mean(integer: Integer, spans: &Spans, block: usize, operands: &[Operand], at: &impl Fn(usize) -> Pointer) {
    let Integer::Mean { input, output } = integer else { unreachable!("a mean") };
    let (rounding, zero) = (Rounding::of(output), zero(input));
    let from = at(1).at((block * spans.positions() * L) as i64);
    let positions: usize = spans.spans.iter().map(Vec::len).product();
    windows(spans, |position, window| {
        let mut sums = [0i32; L];
        // SAFETY: the caller's; a block of the input, of the output, and the factor of the position.
        unsafe {
            seen(spans, window, from, |x| (0..L).for_each(|l| sums[l] += i32::from(x[l]) - zero));
            let m: f32 = Pointer::constant(operands, 2).at(4 * position as i64).read();
            let y: [u8; L] = sums.map(|sum| rounding.round(sum as f32 * m));
            at(0).at(((block * positions + position) * L) as i64).write(y);
        }
    });
}

/// Positions of a row whose sums are made together, where their windows see the same taps.
const TOGETHER: usize = 4;

/// A convolution or dense layer, for one block of output channels.
struct Product<'a> {
    code: &'a Code,
    spans: &'a Spans,
    reads: Reads,
    /// The first block of the input that it reads.
    first: usize,
    block: usize,
}

impl Product<'_> {
    /// # Safety
    /// As for [`super::run`].
    unsafe fn run(&self, integer: Integer, operands: &[Operand], at: &impl Fn(usize) -> Pointer) {
        let Integer::Product { input, residual, output } = integer else { unreachable!("a product") };
        let first = 2 + usize::from(residual.is_some());
        let [weights, ends] = [0, 1].map(|index| Pointer::constant(operands, first + index));
        // SAFETY: the caller's; one of each for all channels of the block.
        let (bias, factors): ([i32; L], [f32; L]) = unsafe {
            let ends = ends.at(8 * (self.block * L) as i64);
            (ends.read(), ends.at(4 * L as i64).read())
        };
        let ends = Ends { output, residual, factors, block: self.block * self.code.positions };
        let x = at(1).at((self.first * self.spans.positions() * L) as i64);
        let [depths, rows, columns] = &self.spans.spans;
        for (line, (&depth, &row)) in depths.iter().flat_map(|d| rows.iter().map(move |r| (d, r))).enumerate() {
            let mut column = 0;
            while column < columns.len() {
                let span = columns[column];
                let window = [depth, row, span];
                let position = line * columns.len() + column;
                let alike = self.reads != Reads::Own && columns[column..].len() >= TOGETHER && {
                    let next = &columns[column + 1..column + TOGETHER];
                    next.iter().all(|next| (next.first_tap, next.count) == (span.first_tap, span.count))
                };
                // SAFETY: the caller's; windows lie in the input.
                unsafe {
                    if alike {
                        let stride = columns[column + 1].start - span.start;
                        let mut sums = [bias; TOGETHER];
                        self.dense(&mut sums, window, stride, x, weights, zero(input));
                        (0..TOGETHER).for_each(|p| ends.finish(position + p, sums[p], at));
                        column += TOGETHER;
                    } else {
                        let mut sums = [bias];
                        match self.reads {
                            Reads::Shared(_) => self.dense(&mut sums, window, 0, x, weights, zero(input)),
                            Reads::Own => self.own(&mut sums[0], window, x, weights, zero(input)),
                        }
                        ends.finish(position, sums[0], at);
                        column += 1;
                    }
                }
            }
        }
    }

    /// Adds the products of all input channels, for windows that lie `stride` apart.
    ///
    /// # Safety
    /// As for [`super::run`]; the windows lie in the input.
    #[inline(always)]
    unsafe fn dense<const P: usize>(
        &self,
        sums: &mut [[i32; L]; P],
        window: [Span; 3],
        stride: usize,
        x: Pointer,
        weights: Pointer,
        zero: i32,
    ) {
        let (pairs, taps_in_all) = (self.reads.pairs(), self.spans.taps());
        let positions = self.spans.positions();
        taps(self.spans, window, |tap, at| {
            let row = weights.at((((self.block * taps_in_all + tap) * pairs) * 4 * L) as i64);
            for pair in 0..pairs {
                let (block, lane) = (2 * pair / L, 2 * pair % L);
                // SAFETY: the caller's; an odd number of channels has room for one more behind it, whose weights are 0.
                unsafe {
                    let w: [[i16; 2]; L] = row.at((pair * 4 * L) as i64).read();
                    for (p, sums) in sums.iter_mut().enumerate() {
                        let at = (block * positions + at + p * stride) * L + lane;
                        let x: [u8; 2] = x.at(at as i64).read();
                        let x = x.map(|x| (i32::from(x) - zero) as i16);
                        for l in 0..L {
                            let product = |i: usize| i32::from(w[l][i]) * i32::from(x[i]);
                            sums[l] += product(0) + product(1);
                        }
                    }
                }
            }
        });
    }

    /// Adds the products of each channel with its own weights.
    ///
    /// # Safety
    /// As for [`super::run`].
    unsafe fn own(&self, sums: &mut [i32; L], window: [Span; 3], x: Pointer, weights: Pointer, zero: i32) {
        let rows = weights.at((self.block * self.spans.taps() * 4 * L) as i64);
        // SAFETY: the caller's.
        taps(self.spans, window, |tap, at| unsafe {
            let (x, w): ([u8; L], [[i16; 2]; L]) = (x.at((at * L) as i64).read(), rows.at((tap * 4 * L) as i64).read());
            (0..L).for_each(|l| sums[l] += (i32::from(x[l]) - zero) * i32::from(w[l][0]));
        });
    }
}

/// What is done with sums.
struct Ends {
    output: Output,
    residual: Option<Quantisation>,
    factors: [f32; L],
    /// Positions of all blocks before this one.
    block: usize,
}

impl Ends {
    /// # Safety
    /// As for [`super::run`].
    #[inline(always)]
    unsafe fn finish(&self, position: usize, sums: [i32; L], at: &impl Fn(usize) -> Pointer) {
        let index = ((self.block + position) * L) as i64;
        let y: [f32; L] = std::array::from_fn(|l| sums[l] as f32 * self.factors[l]);
        // SAFETY: the caller's; a vector of the output, and the same of the residual.
        unsafe {
            match self.output {
                Output::Real => at(0).at(4 * index).write(y),
                Output::Whole(range) => {
                    let rounding = Rounding::of(range);
                    let mut y = y;
                    if let Some(q) = self.residual {
                        let m = multiplier([q.scale(), 1.0], range.quantisation.scale());
                        let r: [u8; L] = at(2).at(index).read();
                        (0..L).for_each(|l| y[l] += (i32::from(r[l]) - zero(q)) as f32 * m);
                    }
                    at(0).at(index).write(y.map(|y| rounding.round(y)));
                }
            }
        }
    }
}
