//! Each output position is a weighted sum of a few input positions of the same channel: other sizes, padding, cropping,
//! and adaptive pooling whose windows differ in size, which may also be for the largest position instead of a sum. The weights are products of one factor for each dimension, so that
//! a sum over rows of sums over columns needs a list of taps for each row and each column only.

use super::bands::{Descent, Planes, Unit, parts, rows_of_unit};
use super::epilogue::Epilogue;
use super::long::{CHAIN, Total};
use super::nest::{self, KernelNest, part};
use super::{Conf, Constant, Family, Layout, Lowered, NodeView, Number, Target, Why};
use crate::codegen::vector::{R, V, VectorAsm};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa};
use crate::ir::weights::Values;
use crate::layers::{AdaptiveAvgPool, Fill, Filter, Op, Pad, Resize};
use std::fmt;
use std::ops::Range;

/// Every decision about one resampling that its code depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub lanes: usize,
    pub blocks: usize,
    pub input_positions: usize,
    /// Output rows: all dimensions but the last, flattened.
    pub rows: usize,
    /// Output columns, in the last dimension.
    pub columns: usize,
    /// Positions are copied: no list has more than one tap, all weigh 1, and this is where there is none.
    pub fill: Option<Number>,
    /// The positions' largest is taken, and not their sum.
    pub largest: bool,
    /// Rows and columns together have more terms than one chain may add.
    pub long: bool,
    pub epilogue: Epilogue,
    /// What is in memory, where that is not all, and tasks go down the image: see [`super::bands`].
    pub planes: Option<Planes>,
}

/// What the output is made of.
#[derive(Clone, PartialEq, Hash)]
pub struct Tables {
    /// For each output row, the input rows as positions of their first columns, and for each column the input columns.
    pub rows: Vec<Taps>,
    pub columns: Vec<Taps>,
}

/// Input positions and their weights.
pub type Taps = Vec<(usize, Number)>;

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows, {} columns", self.rows.len(), self.columns.len())
    }
}

/// Makes the conf of a resampling layer.
///
/// # Errors
/// Why this kernel cannot do it.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, Why> {
    let (input, out) = (node.inputs[0].ty.spatial(), node.output.spatial());
    let tables = match node.op {
        Op::Resize(resize) => Tables::new(input, out, |d, i| resize.sources(d, i, input[d], out[d])),
        Op::Crop(crop) => {
            let ranges = crop.ranges(input).expect("verified");
            Tables::new(input, out, |d, i| vec![(ranges[d].start + i, 1.0)])
        }
        Op::AdaptiveAvgPool(_) | Op::AdaptiveMaxPool(_) => Tables::new(input, out, |d, i| {
            let region = AdaptiveAvgPool::region(i, input[d], out[d]);
            let weight = 1.0 / region.len() as f32;
            region.map(|position| (position, weight)).collect()
        }),
        Op::Pad(pad) if pad.channels == (0, 0) => {
            let amounts = pad.amounts(input.len()).expect("verified");
            Tables::new(input, out, |d, i| {
                let position = pad.fill.source(i, amounts[d + 1].0, input[d]);
                position.map(|p| (p, 1.0)).into_iter().collect()
            })
        }
        _ => return Err(Why::unfit("not a resampling of positions")),
    };
    let fill = match node.op {
        Op::Pad(Pad { fill: Fill::Constant(value), .. }) => Some((*value).into()),
        Op::Pad(_) | Op::Crop(_) | Op::Resize(Resize { filter: Filter::Nearest(_), .. }) => Some(0.0.into()),
        _ => None,
    };
    let largest = matches!(node.op, Op::AdaptiveMaxPool(_));
    let code = Code {
        fill,
        largest,
        lanes: target.lanes,
        blocks: node.output.channels().div_ceil(target.lanes),
        input_positions: node.inputs[0].positions(),
        rows: tables.rows.len(),
        columns: tables.columns.len(),
        long: !largest && [&tables.rows, &tables.columns].map(|lists| longest(lists)).iter().sum::<usize>() > CHAIN,
        epilogue: node.epilogue.clone(),
        planes: None,
    };
    let kernel = Conf { code, tables }.into();
    Ok(Lowered { kernel, inputs: vec![Layout::Blocked], output: Layout::Blocked, spread: None, padded: None })
}

/// The most taps of a list.
fn longest(lists: &[Taps]) -> usize {
    lists.iter().map(Vec::len).max().unwrap_or(0)
}

impl Tables {
    /// `taps(dimension, output position)` gives input positions and weights.
    fn new(input: &[usize], out: &[usize], taps: impl Fn(usize, usize) -> Vec<(usize, f32)>) -> Tables {
        let of_dim = |d: usize| (0..out[d]).map(|i| taps(d, i)).collect::<Vec<_>>();
        let last = out.len().saturating_sub(1);
        let mut rows = vec![vec![(0, 1.0)]];
        for (d, size) in input.iter().enumerate().take(last) {
            let extend = |list: &[(usize, f32)], inner: &[(usize, f32)]| -> Vec<(usize, f32)> {
                let with = |&(at, weight): &(usize, f32)| inner.iter().map(move |&(i, w)| (at * size + i, weight * w));
                list.iter().flat_map(with).collect()
            };
            let of_dim = of_dim(d);
            rows = rows.iter().flat_map(|list| of_dim.iter().map(move |inner| extend(list, inner))).collect();
        }
        let columns = if out.is_empty() { vec![vec![(0, 1.0)]] } else { of_dim(last) };
        let width = input.last().copied().unwrap_or(1);
        let numbers = |list: Vec<(usize, f32)>, step: usize| -> Taps {
            list.into_iter().map(|(at, weight)| (at * step, weight.into())).collect()
        };
        Tables {
            rows: rows.into_iter().map(|list| numbers(list, width)).collect(),
            columns: columns.into_iter().map(|list| numbers(list, 1)).collect(),
        }
    }
}

impl Code {
    fn vector(&self) -> i64 {
        (self.lanes * 4) as i64
    }

    /// Output positions.
    pub(crate) fn positions(&self) -> usize {
        self.rows * self.columns
    }

    /// Rows of a task.
    fn task_rows(&self) -> usize {
        self.planes.map_or(self.rows, |_| rows_of_unit(self.rows))
    }

    /// Positions of a block in memory.
    fn planes(&self) -> Planes {
        let all = Planes { input: self.input_positions, output: self.positions() };
        self.planes.unwrap_or(all)
    }

    /// See [`super::Kernel::banded`].
    pub(super) fn banded(&self, planes: Planes) -> Code {
        Code { planes: Some(planes), ..self.clone() }
    }

    /// See [`super::Kernel::descent`].
    pub(super) fn descent(&self, tables: &Tables) -> Descent {
        let width = tables.columns.iter().flatten().map(|&(at, _)| at + 1).max().unwrap_or(0);
        let unit = |of_unit: Range<usize>| {
            let first_columns = || tables.rows[of_unit.clone()].iter().flatten().map(|&(at, _)| at);
            let reads = match (first_columns().min(), first_columns().max()) {
                (Some(first), Some(last)) => first..last + width,
                _ => 0..0,
            };
            Unit { reads, writes: of_unit.start * self.columns..of_unit.end * self.columns }
        };
        Descent { tasks: self.blocks, units: parts(self.rows, self.task_rows()).map(unit).collect() }
    }

    /// For each output row the byte offset of its list, and then that of the columns' lists; then all lists: their length,
    /// then pairs of byte offset and weight (its bits in the lower half of the word). Those of the columns lie one behind
    /// the other.
    fn table(&self, Tables { rows, columns }: &Tables) -> Vec<i64> {
        let mut table = vec![0; self.rows + 1];
        for (index, list) in rows.iter().chain(columns).enumerate() {
            if index <= self.rows {
                table[index] = (table.len() * 8) as i64;
            }
            table.push(list.len() as i64);
            table.extend(list.iter().flat_map(|&(at, weight)| [at as i64 * self.vector(), weight.word()]));
        }
        table
    }
}

impl Family for Code {
    type Tables = Tables;

    fn name(&self) -> String {
        format!("resample_f32_{}c", self.lanes)
    }

    fn tasks(&self) -> usize {
        self.blocks * self.rows.div_ceil(self.task_rows())
    }

    fn constants<'a>(&'a self, tables: &'a Tables, _params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        vec![Constant::I64(self.table(tables))]
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let tile = module.define_tile(&format!("{name}_tile"), isa, 5, &mut |asm| self.emit(asm))?;
        let planes = self.planes();
        let (row_bytes, out_bytes) = (self.columns as i64 * self.vector(), planes.output as i64 * self.vector());
        nest::define(name, module, |nest| {
            nest.for_tasks(self.tasks(), |nest, sample, task| {
                let blocks = self.blocks as i64;
                let ([begin, end], block) = match self.planes {
                    None => ([0, self.rows as i64].map(|row| nest.iconst(row)), task),
                    Some(_) => {
                        let index = nest.div_imm(task, blocks);
                        (part(nest, index, self.task_rows(), self.rows), nest.rem_imm(task, blocks))
                    }
                };
                let out = nest.sample_pointer(0, sample);
                let out = nest.offset_by(out, block, out_bytes);
                let input = nest.sample_pointer(1, sample);
                let input = nest.offset_by(input, block, planes.input as i64 * self.vector());
                let residual = match self.epilogue.operands() {
                    0 => out,
                    _ => {
                        let pointer = nest.sample_pointer(2, sample);
                        nest.offset_by(pointer, block, out_bytes)
                    }
                };
                let table = nest.constant_pointer(2 + self.epilogue.operands());
                let columns = nest.iconst(self.rows as i64 * 8);
                let columns = nest.add(table, columns);
                let columns = nest.load(columns, 0);
                let columns = nest.add(table, columns);
                nest.for_range(begin, end, |nest, row| {
                    let entry = nest.offset_by(table, row, 8);
                    let list = nest.load(entry, 0);
                    let list = nest.add(table, list);
                    let out = nest.offset_by(out, row, row_bytes);
                    let residual = nest.offset_by(residual, row, row_bytes);
                    nest.call(tile, &[input, out, residual, list, columns]);
                });
            });
        })
    }
}

impl Code {
    /// Emits the tile `(input, output, residual, list of the row, lists of the columns)`: a row of one block.
    fn emit(&self, asm: &mut dyn VectorAsm) {
        let [out, residual, row, columns] = [1, 2, 3, 4].map(|index| asm.arg(index));
        let counter = asm.int();
        asm.set_int(counter, self.columns as i64);
        let looped = asm.loop_begin(counter);
        let [list, line, behind] = [0; 3].map(|_| asm.int());
        asm.copy_int(list, row);
        asm.copy_int(behind, columns);
        let sum = match self.fill {
            Some(fill) => self.emit_copy(asm, fill.get(), [list, line, behind]),
            None => self.emit_sum(asm, [list, line, behind]),
        };
        [list, line].into_iter().for_each(|r| asm.free_int(r));
        self.epilogue.finish(asm, &[sum], out, residual, self.lanes);
        asm.add_imm(out, self.vector());
        asm.add_imm(residual, self.vector());
        asm.copy_int(columns, behind);
        asm.free_int(behind);
        asm.loop_end(looped);
    }

    /// The weighted sum of the rows' sums. Takes the list of the row, a free register, and the lists of the columns, behind
    /// whose first the last is then, if the row has taps.
    fn emit_sum(&self, asm: &mut dyn VectorAsm, [list, line, behind]: [R; 3]) -> V {
        let (sum, columns) = (Sum::new(asm, self), asm.arg(4));
        self.for_taps(asm, list, |asm, offset| {
            asm.copy_int(line, asm.arg(0));
            asm.add_int(line, offset);
            asm.copy_int(behind, columns);
            let (of_row, weight) = (self.emit_columns(asm, behind, line), asm.vec());
            asm.broadcast(weight, list.at(WEIGHT));
            sum.add_product(asm, of_row, weight);
            asm.free(of_row);
            asm.free(weight);
        });
        sum.end(asm)
    }

    /// The value under the only taps, or `fill`. As [`Code::emit_sum`].
    fn emit_copy(&self, asm: &mut dyn VectorAsm, fill: f32, [list, line, behind]: [R; 3]) -> V {
        let value = asm.vec();
        asm.splat(value, fill);
        self.for_taps(asm, list, |asm, offset| {
            asm.copy_int(line, offset);
            asm.add_int(line, asm.arg(0));
            self.for_taps(asm, behind, |asm, offset| {
                asm.add_int(offset, line);
                asm.load(value, offset.at(0));
            });
        });
        value
    }

    /// The sum of the weighted columns of the list, which `list` is behind then, from the input's row at `line`.
    fn emit_columns(&self, asm: &mut dyn VectorAsm, list: R, line: R) -> V {
        let sum = Sum::new(asm, self);
        let (x, weight) = (asm.vec(), asm.vec());
        self.for_taps(asm, list, |asm, offset| {
            asm.add_int(offset, line);
            asm.load(x, offset.at(0));
            asm.broadcast(weight, list.at(WEIGHT));
            sum.add_product(asm, x, weight);
        });
        asm.free(x);
        asm.free(weight);
        sum.end(asm)
    }

    /// Emits `body(asm, offset)` for each tap of a list, in which `list` advances: it is behind the list at the end.
    fn for_taps(&self, asm: &mut dyn VectorAsm, list: R, mut body: impl FnMut(&mut dyn VectorAsm, R)) {
        let [count, offset] = [0; 2].map(|_| asm.int());
        asm.load_int(count, list.at(0));
        asm.add_imm(list, 8);
        let any = asm.if_nonzero(count);
        let taps = asm.loop_begin(count);
        asm.load_int(offset, list.at(0));
        body(asm, offset);
        asm.add_imm(list, 16);
        asm.loop_end(taps);
        asm.end_if(any);
        [count, offset].into_iter().for_each(|r| asm.free_int(r));
    }
}

/// A sum of products, or the largest of them without their weights.
enum Sum {
    Short(V),
    /// Of more terms than one chain may add.
    Long(Total),
    Largest(V),
}

impl Sum {
    /// Of nothing.
    fn new(asm: &mut dyn VectorAsm, code: &Code) -> Sum {
        if code.long {
            return Sum::Long(Total::new(asm));
        }
        let sum = asm.vec();
        asm.splat(sum, if code.largest { f32::NEG_INFINITY } else { 0.0 });
        if code.largest { Sum::Largest(sum) } else { Sum::Short(sum) }
    }

    /// Adds x * weight; x is lost.
    fn add_product(&self, asm: &mut dyn VectorAsm, x: V, weight: V) {
        match self {
            Sum::Short(sum) => asm.fma(*sum, x, weight),
            Sum::Largest(largest) => asm.max_nan(*largest, *largest, x),
            Sum::Long(total) => {
                asm.mul(x, x, weight);
                total.add(asm, x);
            }
        }
    }

    fn end(self, asm: &mut dyn VectorAsm) -> V {
        match self {
            Sum::Short(sum) | Sum::Largest(sum) => sum,
            Sum::Long(total) => total.end(asm),
        }
    }
}

/// Where the weight of a tap stands, from the tap on.
const WEIGHT: i64 = 8;
