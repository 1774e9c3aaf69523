//! Generated code for the kernels of [`integer`](super::integer) that work through a block of channels, or through one
//! channel, from its first position to its last.

use super::bands::{Descent, Planes, Unit};
use super::integer::{Code, Number, Work};
use super::nest::{self, KernelNest, Part, Parts};
use super::requantise::{Real, Rounding};
use super::{Layout, pad};
use crate::codegen::vector::{Mem, R, V, VectorAsm, repeat};
use crate::codegen::{Bytes, CodeError, CodeModule, FuncId, Isa, NestBuilder, Word};
use crate::ir::integer::{Integer, Range, multiplier};
use crate::tensor::Quantisation;

/// Arguments of a tile.
const ARGUMENTS: usize = 3;

/// Vectors of positions that a loop's body does.
const UNROLL: usize = 4;

/// Words of a channel in the table of a copy: where it goes, in bytes; the number of its operand; where it is there, and the
/// bytes from one position to the next.
const COPY_WORDS: usize = 4;

/// What only the generated code of a copy reads.
pub fn table(code: &Code) -> Option<Vec<i64>> {
    let Work::Copy { channels, inputs, output } = &code.work else { return None };
    let planes = code.planes();
    let words = |&(to, operand, from): &(usize, usize, usize)| {
        let (to, _) = code.place(*output, to, planes.output);
        let (from, step) = code.place(inputs[operand], from, planes.input);
        [to, 1 + operand, from, step].map(|word| word as i64)
    };
    Some(channels.iter().flat_map(words).collect())
}

/// The kernel function.
pub fn generate(code: &Code, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
    match &code.work {
        Work::Copy { channels, inputs, output } => {
            generate_copy(code, [channels.len(), inputs.len()], *output, name, isa, module)
        }
        Work::Pad(padded) => pad::generate(code, pad::Frame { lanes: code.lanes, padded }, name, isa, module),
        _ => match &code.padded {
            Some(padded) => generate_rows(code, pad::Frame { lanes: code.lanes, padded }, name, isa, module),
            None => generate_elements(code, name, isa, module),
        },
    }
}

/// Positions of a block that a part has all of, or none.
fn unit(code: &Code) -> usize {
    code.lanes.max(UNROLL)
}

/// How tasks share the positions of a block.
pub fn parts(code: &Code) -> Parts {
    let steps = match (&code.work, &code.padded) {
        (Work::Pad(padded), _) => pad::steps(&padded.sizes),
        (_, Some(padded)) => padded.inner[1],
        (Work::Elements { .. } | Work::Gate { .. }, None) => code.positions.div_ceil(unit(code)),
        (Work::Copy { .. }, _) if code.planes.is_some() => code.positions.div_ceil(unit(code)),
        _ => 1,
    };
    match code.planes {
        None => Parts::new(steps, code.blocks()),
        Some(_) => Parts::units(steps),
    }
}

/// Whether the work can be done some rows at a time.
pub fn goes_down(code: &Code) -> bool {
    match code.work {
        // What is added lies as the output does.
        Work::Elements { integer: Integer::Sum { .. }, .. } => code.padded.is_none(),
        Work::Elements { .. } | Work::Gate { .. } | Work::Copy { .. } => true,
        Work::Pad(padded) => padded.sizes[0] == 1,
        Work::Product { .. } | Work::Mean { .. } | Work::Max { .. } => false,
    }
}

/// See [`super::Kernel::descent`].
pub fn descent(code: &Code) -> Descent {
    let of_steps = |steps: std::ops::Range<usize>| match (&code.work, &code.padded) {
        (Work::Pad(padded), _) => pad::unit(padded, steps),
        (_, Some(padded)) => {
            let columns = padded.inner[2];
            Unit { reads: steps.start * columns..steps.end * columns, writes: padded.around(steps) }
        }
        _ => {
            let positions = steps.start * unit(code)..code.positions.min(steps.end * unit(code));
            Unit { reads: positions.clone(), writes: positions }
        }
    };
    let tasks = if let Work::Copy { channels, .. } = &code.work { channels.len() } else { code.blocks() };
    Descent { tasks, units: parts(code).each().map(of_steps).collect() }
}

/// A task is a part of a block.
fn generate_elements(code: &Code, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
    let parts = parts(code);
    let [whole, rest] = of_parts(code);
    let tiles = define_each([whole, rest], |positions| BlockTiles::define(code, positions, name, isa, module))?;
    nest::define(name, module, |nest| {
        nest::for_parts(nest, parts, code.blocks(), |nest, sample, block, part| {
            let first = part.map(|[first, _]| nest.mul_imm(first, unit(code) as i64));
            let args = code.pointers(nest, sample, block, first);
            call_of_part(nest, code, part, tiles, |nest, tiles| tiles.call(code, nest, block, &args));
        });
    })
}

/// A task is some rows of a block, and what is around them.
fn generate_rows(
    code: &Code,
    frame: pad::Frame,
    name: &str,
    isa: Isa,
    module: &mut CodeModule,
) -> Result<FuncId, CodeError> {
    let [_, rows, columns] = frame.padded.inner;
    let tiles = BlockTiles::define(code, columns, name, isa, module)?;
    let filler = pad::Filler::define(frame, name, isa, module)?;
    nest::define(name, module, |nest| {
        nest::for_parts(nest, parts(code), code.blocks(), |nest, sample, block, part| {
            let out = nest.sample_pointer(0, sample);
            let plane = code.planes.map_or(frame.padded.positions(), |planes| planes.output);
            let out = nest.offset_by(out, block, (plane * code.lanes) as i64);
            let out = filler.fill(nest, out, part);
            nest::repeat_part(nest, rows, part, |nest, row| {
                let first = nest.mul_imm(row, columns as i64);
                let mut args = code.pointers(nest, sample, block, Some(first));
                args[0] = nest.offset_by(out, row, filler.row());
                tiles.call(code, nest, block, &args);
            });
        });
    })
}

/// The tiles of so many positions: of any block, and of the last one, which may have fewer channels.
#[derive(Clone, Copy, PartialEq)]
struct BlockTiles {
    any: FuncId,
    last: FuncId,
}

impl BlockTiles {
    fn define(
        code: &Code,
        positions: usize,
        name: &str,
        isa: Isa,
        module: &mut CodeModule,
    ) -> Result<BlockTiles, CodeError> {
        let mut define = |kind: &str, last: bool| {
            let tile = Tile { code, positions, last };
            module.define_tile(&format!("{name}_{kind}_{positions}"), isa, ARGUMENTS, &mut |asm| tile.emit(asm))
        };
        let any = define("block", false)?;
        // Only these know channels that are missing.
        let differs = code.reads_rows() && !code.channels.is_multiple_of(code.lanes);
        Ok(BlockTiles { any, last: if differs { define("last", true)? } else { any } })
    }

    fn call(self, code: &Code, nest: &mut NestBuilder, block: Word, args: &[Word]) {
        if self.any == self.last {
            return nest.call(self.any, args);
        }
        let end = nest.iconst(code.blocks() as i64 - 1);
        let full = nest.less(block, end);
        nest.if_else(full, |nest| nest.call(self.any, args), |nest| nest.call(self.last, args));
    }
}

/// Positions of a block that parts have, and that the last one has.
fn of_parts(code: &Code) -> [usize; 2] {
    let parts = parts(code);
    let of_part = parts.size() * unit(code);
    let rest = code.positions - (parts.count() - 1) * of_part;
    [if parts.count() == 1 { rest } else { of_part }, rest]
}

/// Tiles of so many positions, one where these are the same.
fn define_each<T: Copy>(
    [whole, rest]: [usize; 2],
    mut define: impl FnMut(usize) -> Result<T, CodeError>,
) -> Result<[T; 2], CodeError> {
    let tile = define(whole)?;
    Ok([tile, if rest == whole { tile } else { define(rest)? }])
}

/// Runs `call` with the tile of a part, or that of the last one.
fn call_of_part<T: Copy + PartialEq>(
    nest: &mut NestBuilder,
    code: &Code,
    part: Part,
    [whole, rest]: [T; 2],
    call: impl Fn(&mut NestBuilder, T),
) {
    match part {
        Some([_, end]) if whole != rest => {
            // The last part is the one behind which there is nothing.
            let steps = nest.iconst(code.positions.div_ceil(unit(code)) as i64);
            let before = nest.less(end, steps);
            nest.if_else(before, |nest| call(nest, whole), |nest| call(nest, rest));
        }
        _ => call(nest, whole),
    }
}

/// A task is a channel, or a part of it.
fn generate_copy(
    code: &Code,
    [channels, inputs]: [usize; 2],
    output: Layout,
    name: &str,
    isa: Isa,
    module: &mut CodeModule,
) -> Result<FuncId, CodeError> {
    let (_, out_step) = code.place(output, 0, 0);
    let (parts, [of_part, rest]) = (parts(code), of_parts(code));
    let tiles = define_each([of_part, rest], |positions| {
        module.define_tile(&format!("{name}_channel_{positions}"), isa, ARGUMENTS, &mut |asm| {
            let [to, from, from_step] = std::array::from_fn(|index| asm.arg(index));
            stream(asm, positions, &[(to, out_step)], &mut |asm, count| {
                for index in 0..count {
                    asm.copy_byte(to.at((index * out_step) as i64), from.at(0));
                    asm.add_int(from, from_step);
                }
            });
        })
    })?;
    nest::define(name, module, |nest| {
        let table = nest.constant_pointer(1 + inputs);
        nest::for_parts(nest, parts, channels, |nest, sample, channel, part| {
            let entry = nest.offset_by(table, channel, 8 * COPY_WORDS as i64);
            let [to, operand, from, step] = [0, 8, 16, 24].map(|word| nest.load(entry, word));
            let (out, input) = (nest.sample_pointer(0, sample), nest.sample_pointer_of(operand, sample));
            let (to, from) = (nest.add(out, to), nest.add(input, from));
            let [to, from] = match part {
                None => [to, from],
                Some([first, _]) => {
                    let first = nest.mul_imm(first, unit(code) as i64);
                    let before = nest.mul(first, step);
                    [nest.offset_by(to, first, out_step as i64), nest.add(from, before)]
                }
            };
            call_of_part(nest, code, part, tiles, |nest: &mut NestBuilder, tile| nest.call(tile, &[to, from, step]));
        });
    })
}

/// Where the elements of a block are in memory.
#[derive(Clone, Copy)]
enum Reach {
    /// So many bytes from one block to the next, and from one position to the next.
    Sample { block: usize, position: usize },
    /// The same for all samples, or memory of the thread.
    Constant,
}

impl Code {
    /// Where a channel is in a layout of which a block has so many positions in memory, and the bytes from one position to the
    /// next.
    fn place(&self, layout: Layout, channel: usize, plane: usize) -> (usize, usize) {
        match layout {
            Layout::Nchw => (channel * plane, 1),
            Layout::Blocked => (channel / self.lanes * plane * self.lanes + channel % self.lanes, self.lanes),
        }
    }

    /// Positions of a block in memory.
    fn planes(&self) -> Planes {
        self.planes.unwrap_or(Planes { input: self.positions, output: self.positions })
    }

    /// Whether the input is row-major, so that the tile gathers the channels of a block.
    pub fn reads_rows(&self) -> bool {
        matches!(self.work, Work::Elements { integer: Integer::Quantise(_), input: Layout::Nchw })
    }

    /// The tile's arguments: output, input, and what else there is, of a block from one of its positions on.
    fn pointers(&self, nest: &mut NestBuilder, sample: Word, block: Word, first: Option<Word>) -> Vec<Word> {
        let (lanes, Planes { input, output }) = (self.lanes, self.planes());
        let of = |bytes: usize, plane: usize| Reach::Sample { block: bytes * lanes * plane, position: bytes * lanes };
        let (read, written) = (of(1, input), of(1, output));
        let reaches = match &self.work {
            Work::Elements { integer: Integer::Quantise(_), input: Layout::Nchw } => {
                let rows = Reach::Sample { block: 4 * lanes * input, position: 4 };
                vec![written, rows, Reach::Constant]
            }
            Work::Elements { integer: Integer::Quantise(_), .. } => vec![written, of(4, input)],
            Work::Elements { integer: Integer::Dequantise(_), .. } => vec![of(4, output), read],
            Work::Elements { integer: Integer::Table { .. }, .. } => vec![written, read, Reach::Constant],
            Work::Gate { each, .. } => {
                let second = match each {
                    Number::OfElement => written,
                    Number::OfChannel => Reach::Sample { block: lanes, position: 0 },
                    Number::OfPosition => Reach::Sample { block: 0, position: lanes },
                    Number::OfSample => Reach::Sample { block: 0, position: 0 },
                };
                vec![written, read, second]
            }
            _ => vec![written, read, written],
        };
        let pointer = |(operand, reach): (usize, Reach)| {
            let Reach::Sample { block: of_block, position } = reach else { return nest.constant_pointer(operand) };
            let pointer = nest.sample_pointer(operand, sample);
            let pointer = nest.offset_by(pointer, block, of_block as i64);
            first.map_or(pointer, |first| nest.offset_by(pointer, first, position as i64))
        };
        let mut pointers: Vec<Word> = reaches.into_iter().enumerate().map(pointer).collect();
        // Those that a tile has no use for are any.
        pointers.resize(ARGUMENTS, pointers[0]);
        pointers
    }
}

/// The tile of so many positions of one block; the last may have fewer channels.
struct Tile<'a> {
    code: &'a Code,
    positions: usize,
    last: bool,
}

impl Tile<'_> {
    fn emit(&self, asm: &mut dyn VectorAsm) {
        match &self.code.work {
            Work::Elements { integer, input } => match *integer {
                Integer::Quantise(to) if *input == Layout::Nchw => self.quantise_rows(asm, to),
                Integer::Quantise(to) => self.quantise(asm, to),
                Integer::Dequantise(from) => self.dequantise(asm, from),
                Integer::Sum { operands, output } => self.sum(asm, operands, output),
                _ => self.look_up(asm),
            },
            Work::Gate { integer: Integer::Gate { operands, output }, each } => {
                self.gate(asm, *operands, *output, *each)
            }
            _ => unreachable!("not one of those that can be generated"),
        }
    }

    /// Runs `body` on all positions, some at a time, and stores what it leaves in vectors as bytes.
    fn rounded(
        &self,
        asm: &mut dyn VectorAsm,
        range: Range,
        from: &[(R, usize)],
        body: &mut dyn FnMut(&mut dyn VectorAsm, usize, V),
    ) {
        let (out, lanes) = (asm.arg(0), self.code.lanes);
        let rounding = Rounding::new(asm, range);
        let values: Vec<V> = (0..UNROLL).map(|_| asm.vec()).collect();
        let pointers = [&[(out, lanes)], from].concat();
        stream(asm, self.positions, &pointers, &mut |asm, count| {
            values[..count].iter().enumerate().for_each(|(index, &value)| body(asm, index, value));
            rounding.store(asm, &values[..count], out.at(0));
        });
    }

    fn quantise(&self, asm: &mut dyn VectorAsm, to: Quantisation) {
        let (from, lanes) = (asm.arg(1), self.code.lanes);
        let limits = Limits::new(asm, to);
        self.rounded(asm, Range::whole(to), &[(from, 4 * lanes)], &mut |asm, index, y| {
            asm.load(y, from.at((4 * index * lanes) as i64));
            limits.steps(asm, y);
        });
    }

    fn dequantise(&self, asm: &mut dyn VectorAsm, from: Quantisation) {
        let (out, x, lanes) = (asm.arg(0), asm.arg(1), self.code.lanes);
        let real = Real::new(asm, from, Some(from.scale()));
        let y = asm.vec();
        stream(asm, self.positions, &[(out, 4 * lanes), (x, lanes)], &mut |asm, count| {
            for index in 0..count {
                real.load(asm, y, x.at((index * lanes) as i64));
                asm.store(out.at((4 * index * lanes) as i64), y);
            }
        });
    }

    fn sum(&self, asm: &mut dyn VectorAsm, operands: [Quantisation; 2], output: Range) {
        let (lanes, pointers) = (self.code.lanes, [asm.arg(1), asm.arg(2)]);
        let m = |q: Quantisation| multiplier([q.scale(), 1.0], output.quantisation.scale());
        let reals = operands.map(|q| Real::new(asm, q, Some(m(q))));
        let other = asm.vec();
        self.rounded(asm, output, &pointers.map(|pointer| (pointer, lanes)), &mut |asm, index, y| {
            let at = |pointer: R| pointer.at((index * lanes) as i64);
            reals[0].load(asm, y, at(pointers[0]));
            reals[1].load(asm, other, at(pointers[1]));
            asm.add(y, y, other);
        });
    }

    fn gate(&self, asm: &mut dyn VectorAsm, operands: [Quantisation; 2], output: Range, each: Number) {
        let (lanes, [a, b]) = (self.code.lanes, [asm.arg(1), asm.arg(2)]);
        let reals = operands.map(|q| Real::new(asm, q, None));
        let [m, gate] = [(); 2].map(|()| asm.vec());
        asm.splat(m, multiplier([operands[0].scale(), operands[1].scale()], output.quantisation.scale()));
        let low_byte = (!matches!(each, Number::OfElement | Number::OfChannel)).then(|| {
            let mask = asm.vec();
            asm.splat_bits(mask, 0xff);
            mask
        });
        let load = |asm: &mut dyn VectorAsm, at: Mem| match low_byte {
            None => reals[1].load(asm, gate, at),
            Some(mask) => {
                asm.broadcast(gate, at);
                asm.and(gate, gate, mask);
                reals[1].convert(asm, gate);
            }
        };
        let moves = matches!(each, Number::OfElement | Number::OfPosition);
        if !moves {
            load(asm, b.at(0));
        }
        let pointers = [(a, lanes), (b, lanes)];
        self.rounded(asm, output, &pointers[..1 + usize::from(moves)], &mut |asm, index, y| {
            reals[0].load(asm, y, a.at((index * lanes) as i64));
            if moves {
                load(asm, b.at((index * lanes) as i64));
            }
            // Whole numbers of 17 bits: the first product is exact.
            asm.mul(y, y, gate);
            asm.mul(y, y, m);
        });
    }

    fn look_up(&self, asm: &mut dyn VectorAsm) {
        let (out, x, table) = (asm.arg(0), asm.arg(1), asm.arg(2));
        if self.code.bytes < Bytes::Tables {
            return stream(asm, self.positions, &[(out, self.code.lanes), (x, self.code.lanes)], &mut |asm, count| {
                let bytes = (0..count * self.code.lanes).map(|byte| byte as i64);
                bytes.for_each(|byte| asm.look_up_byte(out.at(byte), x.at(byte), table));
            });
        }
        let parts = std::array::from_fn(|part| {
            let v = asm.vec();
            asm.load(v, table.at((part * 4 * asm.lanes()) as i64));
            v
        });
        let v = asm.vec();
        let bytes = self.positions * self.code.lanes;
        vectors(asm, bytes, &[out, x], &mut |asm, offset, words| {
            asm.load_first(v, x.at(offset as i64), words);
            asm.look_up(v, v, parts);
            asm.store_first(out.at(offset as i64), v, words);
        });
    }

    /// Four channels at a time: their bytes of a position are a word.
    fn quantise_rows(&self, asm: &mut dyn VectorAsm, to: Quantisation) {
        let Code { lanes, channels, .. } = *self.code;
        let all = self.code.planes().input;
        let positions = self.positions;
        let channels = if self.last { channels % lanes } else { lanes };
        let [out, from, words] = std::array::from_fn(|index| asm.arg(index));
        let limits = Limits::new(asm, to);
        let [zero, high, word, y] = [(); 4].map(|()| asm.vec());
        asm.splat_bits(zero, to.zero_point().into());
        asm.splat(high, f32::from(to.top()) - f32::from(to.zero_point()));
        let some = |asm: &mut dyn VectorAsm, count: usize| {
            for quad in 0..channels.div_ceil(4) {
                for index in 0..4.min(channels - 4 * quad) {
                    let v = if index == 0 { word } else { y };
                    asm.load_first(v, from.at(0), count);
                    asm.add_imm(from, 4 * all as i64);
                    limits.steps(asm, v);
                    asm.min(v, v, high);
                    asm.float_to_int(v, v);
                    asm.add_bits(v, v, zero);
                    if index > 0 {
                        asm.shl(v, v, 8 * index as u8);
                        asm.or(word, word, v);
                    }
                }
                asm.store(words.at(0), word);
                for p in 0..count {
                    asm.copy_word(out.at((p * lanes + 4 * quad) as i64), words.at(4 * p as i64));
                }
            }
            asm.add_imm(from, -((4 * channels * all) as i64));
        };
        repeat(asm, positions / lanes, &mut |asm| {
            some(asm, lanes);
            asm.add_imm(out, (lanes * lanes) as i64);
            asm.add_imm(from, 4 * lanes as i64);
        });
        if !positions.is_multiple_of(lanes) {
            some(asm, positions % lanes);
        }
    }
}

/// What divides by a scale and keeps from what is below the least number, as NaN is.
struct Limits {
    scale: V,
    low: V,
}

impl Limits {
    fn new(asm: &mut dyn VectorAsm, to: Quantisation) -> Limits {
        let [scale, low] = [(); 2].map(|()| asm.vec());
        asm.splat(scale, to.scale());
        asm.splat(low, -f32::from(to.zero_point()));
        Limits { scale, low }
    }

    fn steps(&self, asm: &mut dyn VectorAsm, y: V) {
        asm.div(y, y, self.scale);
        asm.max(y, y, self.low);
    }
}

/// Runs `body` on `count` positions, at most [`UNROLL`] at a time. Pointers with their bytes of a position are moved on.
fn stream(
    asm: &mut dyn VectorAsm,
    count: usize,
    pointers: &[(R, usize)],
    body: &mut dyn FnMut(&mut dyn VectorAsm, usize),
) {
    repeat(asm, count / UNROLL, &mut |asm| {
        body(asm, UNROLL);
        pointers.iter().for_each(|&(pointer, step)| asm.add_imm(pointer, (UNROLL * step) as i64));
    });
    if !count.is_multiple_of(UNROLL) {
        body(asm, count % UNROLL);
    }
}

/// Runs `body(offset, words)` on the vectors of so many bytes, a multiple of four, the last of which may be a part of
/// one. Pointers are moved behind them.
pub(super) fn vectors(
    asm: &mut dyn VectorAsm,
    bytes: usize,
    pointers: &[R],
    body: &mut dyn FnMut(&mut dyn VectorAsm, usize, usize),
) {
    let vector = 4 * asm.lanes();
    let whole = bytes / vector;
    repeat(asm, whole / UNROLL, &mut |asm| {
        (0..UNROLL).for_each(|index| body(asm, index * vector, vector / 4));
        pointers.iter().for_each(|&pointer| asm.add_imm(pointer, (UNROLL * vector) as i64));
    });
    let behind = whole % UNROLL;
    (0..behind).for_each(|index| body(asm, index * vector, vector / 4));
    if !bytes.is_multiple_of(vector) {
        body(asm, behind * vector, bytes % vector / 4);
    }
    let moved = bytes - whole / UNROLL * UNROLL * vector;
    pointers.iter().filter(|_| moved > 0).for_each(|&pointer| asm.add_imm(pointer, moved as i64));
}

/// Bytes of memory that a call needs.
pub fn scratch(code: &Code) -> usize {
    if code.reads_rows() { 4 * code.lanes } else { 0 }
}
