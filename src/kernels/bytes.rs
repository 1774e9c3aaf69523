//! Generated code for the kernels of [`integer`](super::integer) that work through a block of channels, or through one
//! channel, from its first position to its last.

use super::Layout;
use super::integer::{Code, Number, Work};
use super::nest::{self, KernelNest};
use super::requantise::{Real, Rounding};
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
    let words = |&(to, operand, from): &(usize, usize, usize)| {
        let (to, _) = code.place(*output, to);
        let (from, step) = code.place(inputs[operand], from);
        [to, 1 + operand, from, step].map(|word| word as i64)
    };
    Some(channels.iter().flat_map(words).collect())
}

/// The kernel function.
pub fn generate(code: &Code, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
    if let Work::Copy { channels, inputs, output } = &code.work {
        return generate_copy(code, [channels.len(), inputs.len()], *output, name, isa, module);
    }
    let tile = |module: &mut CodeModule, name: &str, last: bool| {
        module.define_tile(name, isa, ARGUMENTS, &mut |asm| Tile { code, last }.emit(asm))
    };
    let first = tile(module, &format!("{name}_block"), false)?;
    // Only this one knows channels that are missing in the last block.
    let differs = code.reads_rows() && !code.channels.is_multiple_of(code.lanes);
    let last = if differs { Some(tile(module, &format!("{name}_last"), true)?) } else { None };
    nest::define(name, module, |nest| {
        nest.for_tasks(code.blocks(), |nest, sample, block| {
            let args = code.pointers(nest, sample, block);
            let Some(last) = last else { return nest.call(first, &args) };
            let end = nest.iconst(code.blocks() as i64 - 1);
            let full = nest.less(block, end);
            nest.if_else(full, |nest| nest.call(first, &args), |nest| nest.call(last, &args));
        });
    })
}

/// A task is a channel.
fn generate_copy(
    code: &Code,
    [channels, inputs]: [usize; 2],
    output: Layout,
    name: &str,
    isa: Isa,
    module: &mut CodeModule,
) -> Result<FuncId, CodeError> {
    let (_, step) = code.place(output, 0);
    let tile = module.define_tile(&format!("{name}_channel"), isa, ARGUMENTS, &mut |asm| {
        let [to, from, from_step] = std::array::from_fn(|index| asm.arg(index));
        stream(asm, code.positions, &[(to, step)], &mut |asm, count| {
            for index in 0..count {
                asm.copy_byte(to.at((index * step) as i64), from.at(0));
                asm.add_int(from, from_step);
            }
        });
    })?;
    nest::define(name, module, |nest| {
        let table = nest.constant_pointer(1 + inputs);
        nest.for_tasks(channels, |nest, sample, channel| {
            let entry = nest.offset_by(table, channel, 8 * COPY_WORDS as i64);
            let [to, operand, from, step] = [0, 8, 16, 24].map(|word| nest.load(entry, word));
            let (out, input) = (nest.sample_pointer(0, sample), nest.sample_pointer_of(operand, sample));
            let (to, from) = (nest.add(out, to), nest.add(input, from));
            nest.call(tile, &[to, from, step]);
        });
    })
}

/// Elements of a block in memory.
#[derive(Clone, Copy)]
enum Reach {
    /// So many bytes for each of so many positions and each lane.
    Positions(usize, usize),
    /// A vector of one byte a lane.
    Vector,
    /// The same for all blocks, so many bytes for each sample.
    Sample,
    /// The same for all samples too, or memory of the thread.
    Constant,
}

impl Code {
    /// Where a channel is in a layout, and the bytes from one position to the next.
    fn place(&self, layout: Layout, channel: usize) -> (usize, usize) {
        match layout {
            Layout::Nchw => (channel * self.positions, 1),
            Layout::Blocked => (channel / self.lanes * self.positions * self.lanes + channel % self.lanes, self.lanes),
        }
    }

    /// Whether the input is row-major, so that the tile gathers the channels of a block.
    pub fn reads_rows(&self) -> bool {
        matches!(self.work, Work::Elements { integer: Integer::Quantise(_), input: Layout::Nchw })
    }

    /// The tile's arguments: output, input, and what else there is.
    fn pointers(&self, nest: &mut NestBuilder, sample: Word, block: Word) -> Vec<Word> {
        let positions = self.positions;
        let of_bytes = Reach::Positions(1, positions);
        let reaches = match &self.work {
            Work::Elements { integer: Integer::Quantise(_), input: Layout::Nchw } => {
                vec![of_bytes, Reach::Positions(4, positions), Reach::Constant]
            }
            Work::Elements { integer: Integer::Quantise(_), .. } => vec![of_bytes, Reach::Positions(4, positions)],
            Work::Elements { integer: Integer::Dequantise(_), .. } => vec![Reach::Positions(4, positions), of_bytes],
            Work::Elements { integer: Integer::Table { .. }, .. } => vec![of_bytes, of_bytes, Reach::Constant],
            Work::Gate { each, .. } => {
                let second = match each {
                    Number::OfElement => of_bytes,
                    Number::OfChannel => Reach::Vector,
                    Number::OfPosition | Number::OfSample => Reach::Sample,
                };
                vec![of_bytes, of_bytes, second]
            }
            Work::Pad { input, .. } => vec![of_bytes, Reach::Positions(1, input.iter().product())],
            _ => vec![of_bytes; 3],
        };
        let pointer = |(operand, reach): (usize, Reach)| {
            let of_sample = |nest: &mut NestBuilder| nest.sample_pointer(operand, sample);
            let bytes = match reach {
                Reach::Constant => return nest.constant_pointer(operand),
                Reach::Sample => return of_sample(nest),
                Reach::Vector => self.lanes,
                Reach::Positions(bytes, positions) => bytes * positions * self.lanes,
            };
            let pointer = of_sample(nest);
            nest.offset_by(pointer, block, bytes as i64)
        };
        let mut pointers: Vec<Word> = reaches.into_iter().enumerate().map(pointer).collect();
        // Those that a tile has no use for are any.
        pointers.resize(ARGUMENTS, pointers[0]);
        pointers
    }
}

/// The tile of one block; the last may have fewer channels.
struct Tile<'a> {
    code: &'a Code,
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
            Work::Pad { front, input, output, number } => pad(asm, self.code.lanes, *front, *input, *output, *number),
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
        stream(asm, self.code.positions, &pointers, &mut |asm, count| {
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
        stream(asm, self.code.positions, &[(out, 4 * lanes), (x, lanes)], &mut |asm, count| {
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
            return stream(
                asm,
                self.code.positions,
                &[(out, self.code.lanes), (x, self.code.lanes)],
                &mut |asm, count| {
                    let bytes = (0..count * self.code.lanes).map(|byte| byte as i64);
                    bytes.for_each(|byte| asm.look_up_byte(out.at(byte), x.at(byte), table));
                },
            );
        }
        let parts = std::array::from_fn(|part| {
            let v = asm.vec();
            asm.load(v, table.at((part * 4 * asm.lanes()) as i64));
            v
        });
        let v = asm.vec();
        let bytes = self.code.positions * self.code.lanes;
        vectors(asm, bytes, &[out, x], &mut |asm, offset, words| {
            asm.load_first(v, x.at(offset as i64), words);
            asm.look_up(v, v, parts);
            asm.store_first(out.at(offset as i64), v, words);
        });
    }

    /// Four channels at a time: their bytes of a position are a word.
    fn quantise_rows(&self, asm: &mut dyn VectorAsm, to: Quantisation) {
        let Code { lanes, channels, positions, .. } = *self.code;
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
                    asm.add_imm(from, 4 * positions as i64);
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
            asm.add_imm(from, -((4 * channels * positions) as i64));
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
fn vectors(
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

/// Puts a number around a block. What is behind a row and before the next lies side by side.
fn pad(asm: &mut dyn VectorAsm, lanes: usize, front: [usize; 3], input: [usize; 3], output: [usize; 3], number: u8) {
    let [out, from] = [asm.arg(0), asm.arg(1)];
    let [around, v] = [(); 2].map(|()| asm.vec());
    asm.splat_bits(around, u32::from(number) * 0x101_0101);
    let fill = |asm: &mut dyn VectorAsm, positions: usize| {
        vectors(asm, positions * lanes, &[out], &mut |asm, offset, words| {
            asm.store_first(out.at(offset as i64), around, words);
        });
    };
    let copy = |asm: &mut dyn VectorAsm| {
        vectors(asm, input[2] * lanes, &[out, from], &mut |asm, offset, words| {
            asm.load_first(v, from.at(offset as i64), words);
            asm.store_first(out.at(offset as i64), v, words);
        });
    };
    let [plane, row] = [output[1] * output[2], output[2]];
    let copy_plane = |asm: &mut dyn VectorAsm| {
        repeat(asm, input[1] - 1, &mut |asm| {
            copy(asm);
            fill(asm, row - input[2]);
        });
        copy(asm);
    };
    // From the end of a plane's last row to the first row of the next.
    let between = plane - (input[1] - 1) * row - input[2];
    let before = front[0] * plane + front[1] * row + front[2];
    fill(asm, before);
    repeat(asm, input[0] - 1, &mut |asm| {
        copy_plane(asm);
        fill(asm, between);
    });
    copy_plane(asm);
    fill(asm, output[0] * plane + between - before - input[0] * plane);
}

/// Bytes of memory that a call needs.
pub fn scratch(code: &Code) -> usize {
    if code.reads_rows() { 4 * code.lanes } else { 0 }
}
