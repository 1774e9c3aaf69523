//! Layers on whole numbers with windows of any kind: which taps of a window lie in the input, and generated code that makes
//! one position of a block after the other. It is what is left where no kernel is faster.

use super::integer::{Code, Reads, Work};
use super::nest::{self, KernelNest};
use super::requantise::{Ends, Narrow, Rounding};
use super::rows::{RowBytes, RowDim, RowShape};
use crate::codegen::vector::{Mem, R, V, VectorAsm, repeat};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa, NestBuilder, Word};
use crate::ir::integer::Integer;
use crate::layers::{AdaptiveAvgPool, ResolvedWindow};

/// What windows see, dimension by dimension; there are three, the first of which may be of size 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spans {
    /// Sizes of the input and of the kernel.
    pub input: [usize; 3],
    pub kernel: [usize; 3],
    /// The distance of two taps.
    pub step: [usize; 3],
    /// For each output position of a dimension.
    pub spans: [Vec<Span>; 3],
}

/// The taps of a window in one dimension that lie in the input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    pub first_tap: usize,
    /// The position under it.
    pub start: usize,
    pub count: usize,
}

impl Spans {
    pub(super) fn of_window(window: &ResolvedWindow, input: &[usize]) -> Spans {
        let span = |d: usize, at: usize| {
            let taps = window.inside(d, at, input[d]);
            let start = window.positions(d, at, input[d]).next().unwrap_or(0);
            Span { first_tap: taps.start, start, count: taps.len() }
        };
        let of_dim = |d: usize| (0..window.out[d]).map(|at| span(d, at)).collect();
        Spans::new(input, &window.kernel, &window.dilation, (0..input.len()).map(of_dim).collect())
    }

    pub(super) fn adaptive(input: &[usize], out: &[usize]) -> Spans {
        let span = |d: usize, at: usize| {
            let region = AdaptiveAvgPool::region(at, input[d], out[d]);
            Span { first_tap: 0, start: region.start, count: region.len() }
        };
        let of_dim = |d: usize| (0..out[d]).map(|at| span(d, at)).collect();
        Spans::new(input, input, &vec![1; input.len()], (0..input.len()).map(of_dim).collect())
    }

    /// Everything at one position.
    pub(super) fn point() -> Spans {
        Spans::new(&[], &[], &[], Vec::new())
    }

    fn new(input: &[usize], kernel: &[usize], step: &[usize], spans: Vec<Vec<Span>>) -> Spans {
        let missing = 3 - input.len();
        let three = |sizes: &[usize]| std::array::from_fn(|d| if d < missing { 1 } else { sizes[d - missing] });
        let one = vec![Span { first_tap: 0, start: 0, count: 1 }];
        let mut spans = spans.into_iter();
        let spans = std::array::from_fn(|d| if d < missing { one.clone() } else { spans.next().expect("as many") });
        Spans { input: three(input), kernel: three(kernel), step: three(step), spans }
    }

    pub fn positions(&self) -> usize {
        self.input.iter().product()
    }

    pub fn taps(&self) -> usize {
        self.kernel.iter().product()
    }

    /// The output positions as rows of one element each.
    fn rows(&self) -> RowShape {
        let dim = |d: usize| RowDim {
            count: self.spans[d].len(),
            input_step: self.step[d] * behind(&self.input, d),
            kernel_step: behind(&self.kernel, d),
        };
        let count = self.spans.iter().map(Vec::len).product();
        RowShape { count, plain: false, dims: (0..3).map(dim).collect() }
    }

    /// As [`RowShape::locate`] reads it: for each dimension and each of its positions, how far the first tap's input and weights
    /// are, and the number of taps.
    fn table(&self, bytes: RowBytes) -> Vec<i64> {
        let words = |d: usize, span: &Span| {
            let far = |index: usize, sizes: &[usize; 3], bytes: i64| (index * behind(sizes, d)) as i64 * bytes;
            let (input, weights) =
                (far(span.start, &self.input, bytes.input), far(span.first_tap, &self.kernel, bytes.weights));
            [input, weights, span.count as i64]
        };
        (0..3).flat_map(|d| self.spans[d].iter().flat_map(move |span| words(d, span))).collect()
    }
}

/// The product of the sizes behind a dimension.
fn behind(sizes: &[usize; 3], d: usize) -> usize {
    sizes[d + 1..].iter().product()
}

/// A layer with windows.
struct Windows<'a> {
    code: &'a Code,
    spans: &'a Spans,
    rows: RowShape,
    bytes: RowBytes,
}

/// The kernel function; nothing where the layer has no windows.
pub(super) fn generate(
    code: &Code,
    name: &str,
    isa: Isa,
    module: &mut CodeModule,
) -> Result<Option<FuncId>, CodeError> {
    let Some(windows) = Windows::of(code) else { return Ok(None) };
    let tile = module.define_tile(&format!("{name}_position"), isa, 6, &mut |asm| windows.emit(asm))?;
    let kernel = nest::define(name, module, |nest| {
        nest.for_tasks(code.blocks(), |nest, sample, block| windows.emit_block(nest, sample, block, tile));
    });
    kernel.map(Some)
}

/// The table that the generated code reads.
pub(super) fn table(code: &Code) -> Option<Vec<i64>> {
    Windows::of(code).map(|windows| windows.spans.table(windows.bytes))
}

/// Bytes of memory that a call needs.
pub(super) fn scratch(code: &Code) -> usize {
    Windows::of(code).map_or(0, |windows| windows.rows.scratch())
}

impl Windows<'_> {
    fn of(code: &Code) -> Option<Windows<'_>> {
        let (spans, weights) = match &code.work {
            Work::Product { spans, inputs, groups, .. } => {
                (spans, code.reads(*inputs, *groups).pairs() * code.lanes * 4)
            }
            Work::Mean { spans, .. } | Work::Max { spans } => (spans, 0),
            _ => return None,
        };
        let bytes = RowBytes { input: code.lanes as i64, weights: weights as i64 };
        Some(Windows { code, spans, rows: spans.rows(), bytes })
    }

    /// Bytes of a block of the input.
    fn plane(&self) -> usize {
        self.spans.positions() * self.code.lanes
    }

    /// All positions of one block.
    fn emit_block(&self, nest: &mut NestBuilder, sample: Word, block: Word, tile: FuncId) {
        let Operands { input, weights, of_position, table } = self.emit_operands(nest, sample, block);
        let (of_table, scratch) = (nest.constant_pointer(table), (table + 1, 0));
        nest.repeat(self.rows.count, |nest, position| {
            let located = self.rows.locate(nest, of_table, position, input, self.bytes, scratch);
            let [out, residual, ends] =
                of_position.map(|(pointer, step)| nest.offset_by(pointer, position, step as i64));
            nest.call(tile, &[located.input, weights, out, residual, ends, located.taps]);
        });
    }

    fn emit_operands(&self, nest: &mut NestBuilder, sample: Word, block: Word) -> Operands {
        let Code { lanes, positions, .. } = *self.code;
        let of_block = |nest: &mut NestBuilder, operand: usize, bytes: usize| {
            let pointer = nest.sample_pointer(operand, sample);
            nest.offset_by(pointer, block, bytes as i64)
        };
        if let Work::Product { integer: Integer::Product { residual, output, .. }, inputs, groups, .. } =
            &self.code.work
        {
            let constants = 2 + usize::from(residual.is_some());
            let vector = Ends { residual: *residual, output: *output }.vector(lanes);
            let out = of_block(nest, 0, positions * vector);
            let residual = if residual.is_some() { of_block(nest, 2, positions * lanes) } else { out };
            let weights = self.bytes.weights * self.spans.taps() as i64;
            let [weights, ends] = [(0, weights), (1, 8 * lanes as i64)].map(|(index, bytes)| {
                let pointer = nest.constant_pointer(constants + index);
                nest.offset_by(pointer, block, bytes)
            });
            let input = self.emit_input(nest, sample, block, *inputs, *groups);
            let of_position = [(out, vector), (residual, lanes), (ends, 0)];
            return Operands { input, weights, of_position, table: constants + 2 };
        }
        let (out, input) = (of_block(nest, 0, positions * lanes), of_block(nest, 1, self.plane()));
        let mean = matches!(self.code.work, Work::Mean { .. });
        // What a work has no use for is any.
        let ends = if mean { nest.constant_pointer(2) } else { out };
        let of_position = [(out, lanes), (out, lanes), (ends, 4)];
        Operands { input, weights: out, of_position, table: 2 + usize::from(mean) }
    }

    /// Where the channels begin that a block of outputs reads: as [`Code::first_read`].
    fn emit_input(&self, nest: &mut NestBuilder, sample: Word, block: Word, inputs: usize, groups: usize) -> Word {
        let input = nest.sample_pointer(1, sample);
        let first = match self.code.reads(inputs, groups) {
            Reads::Own => block,
            Reads::Shared(_) if groups == 1 => return input,
            Reads::Shared(channels) => {
                let lanes = self.code.lanes as i64;
                let channel = nest.mul_imm(block, lanes);
                let group = nest.div_imm(channel, (self.code.channels / groups) as i64);
                let channel = nest.mul_imm(group, (inputs / groups) as i64);
                let (first, last) = (nest.div_imm(channel, lanes), self.code.last_read(inputs, channels));
                let last = nest.iconst(last as i64);
                nest.smin(first, last)
            }
        };
        nest.offset_by(input, first, self.plane() as i64)
    }

    /// The tile `(input, weights, output, residual, ends, taps)` of one position.
    fn emit(&self, asm: &mut dyn VectorAsm) {
        let [out, factors] = [2, 4].map(|arg| asm.arg(arg));
        let [value, seen] = [(); 2].map(|()| asm.vec());
        match &self.code.work {
            Work::Product { integer, inputs, groups, .. } => {
                self.emit_product(asm, *integer, self.code.reads(*inputs, *groups), [value, seen]);
            }
            Work::Mean { integer: Integer::Mean { input, output }, .. } => {
                let zero = asm.vec();
                asm.splat_bits(value, 0);
                asm.splat_bits(zero, -i32::from(input.zero_point()) as u32);
                self.emit_taps(asm, &mut |asm, x, _| {
                    asm.load_bytes(seen, x.at(0));
                    asm.add_bits(seen, seen, zero);
                    asm.add_bits(value, value, seen);
                });
                asm.int_to_float(value, value);
                asm.broadcast(seen, factors.at(0));
                asm.mul(value, value, seen);
                Rounding::new(asm, *output).store(asm, &[value], out.at(0));
            }
            _ => {
                asm.splat_bits(value, 0);
                self.emit_taps(asm, &mut |asm, x, _| {
                    asm.load_bytes(seen, x.at(0));
                    asm.max_bytes(value, value, seen);
                });
                Narrow::new(asm, None, None).store(asm, &[value], out.at(0));
            }
        }
    }

    fn emit_taps(&self, asm: &mut dyn VectorAsm, body: &mut dyn FnMut(&mut dyn VectorAsm, R, R)) {
        let (input, weights, taps) = (asm.arg(0), asm.arg(1), asm.arg(5));
        self.rows.emit_taps(asm, taps, [input, weights], self.bytes, body);
    }

    fn emit_product(&self, asm: &mut dyn VectorAsm, integer: Integer, reads: Reads, [sum, first]: [V; 2]) {
        let Integer::Product { input, residual, output } = integer else { unreachable!("a product") };
        let [out, added, ends] = [2, 3, 4].map(|arg| asm.arg(arg));
        let [second, zero] = [(); 2].map(|()| asm.vec());
        asm.load(sum, ends.at(0));
        asm.splat_bits(zero, u32::from((-i16::from(input.zero_point())) as u16) * 0x1_0001);
        let products = Products { reads, plane: self.plane(), registers: [sum, first, second, zero] };
        self.emit_taps(asm, &mut |asm, x, w| products.emit(asm, x, w));
        [first, second, zero].into_iter().for_each(|v| asm.free(v));
        let factors = ends.at(4 * self.code.lanes as i64);
        Ends { residual, output }.store(asm, &[sum], factors, out.at(0), added.at(0));
        asm.free(sum);
    }
}

/// Where the operands of a block begin.
struct Operands {
    input: Word,
    weights: Word,
    /// Output, residual and ends, with the bytes from one position to the next.
    of_position: [(Word, usize); 3],
    /// The number of the table's operand, behind which the thread's memory comes.
    table: usize,
}

/// The products of one tap: pairs of input channels with those of weights.
struct Products {
    reads: Reads,
    /// Bytes of a block of the input.
    plane: usize,
    /// The sum, two numbers, and what is added to them to take their zero point off, in halves.
    registers: [V; 4],
}

impl Products {
    /// Moves both pointers, and moves them back.
    fn emit(&self, asm: &mut dyn VectorAsm, x: R, w: R) {
        let [_, first, second, _] = self.registers;
        let (lanes, pair) = (asm.lanes(), 4 * asm.lanes());
        let Reads::Shared(channels) = self.reads else {
            asm.load_bytes(first, x.at(0));
            return self.multiply(asm, w.at(0));
        };
        let pairs = |asm: &mut dyn VectorAsm, channels: usize| {
            for channel in (0..channels).step_by(2) {
                asm.broadcast_byte(first, x.at(channel as i64));
                if channel + 1 < channels {
                    asm.broadcast_byte(second, x.at(channel as i64 + 1));
                    asm.shl(second, second, 16);
                    asm.or(first, first, second);
                }
                self.multiply(asm, w.at((channel / 2 * pair) as i64));
            }
        };
        let (whole, rest, weights) = (channels / lanes, channels % lanes, lanes / 2 * pair);
        repeat(asm, whole, &mut |asm| {
            pairs(asm, lanes);
            asm.add_imm(x, self.plane as i64);
            asm.add_imm(w, weights as i64);
        });
        pairs(asm, rest);
        asm.add_imm(x, -((whole * self.plane) as i64));
        asm.add_imm(w, -((whole * weights) as i64));
    }

    /// Adds the products of the halves of the first number. Where there is no second, its weight is 0.
    fn multiply(&self, asm: &mut dyn VectorAsm, weights: Mem) {
        let [sum, first, _, zero] = self.registers;
        asm.add_halves(first, first, zero);
        asm.multiply_halves_load(first, first, weights);
        asm.add_bits(sum, sum, first);
    }
}
