//! What all kernels' loop nests have in common: the loop over tasks and the pointers of the operands.

use crate::codegen::{CodeError, CodeModule, FuncId, NestBuilder, Word};

/// Size of an [`super::Operand`].
const OPERAND: i32 = 16;

/// Defines the kernel function `name(operands, begin, end)`.
pub fn define(name: &str, module: &mut CodeModule, build: impl FnOnce(&mut NestBuilder)) -> Result<FuncId, CodeError> {
    module.define_kernel(name, build)
}

/// Calls the function with this index.
pub fn call_one_of(nest: &mut NestBuilder, index: Word, functions: &[FuncId], args: &[Word]) {
    match functions {
        [] => {}
        [only] => nest.call(*only, args),
        [first, others @ ..] => nest.if_else(
            index,
            |nest| {
                let index = nest.add_imm(index, -1);
                call_one_of(nest, index, others, args);
            },
            |nest| nest.call(*first, args),
        ),
    }
}

/// Calls the first tile for each run of positions of a row, and the second for those that are left; `call` is given the tile
/// and the first position.
pub fn for_runs(
    nest: &mut NestBuilder,
    columns: usize,
    run: usize,
    [tile, rest]: [Option<FuncId>; 2],
    call: impl Fn(&mut NestBuilder, FuncId, Word),
) {
    let runs = columns / run;
    if let Some(tile) = tile {
        nest.repeat(runs, |nest, index| {
            let first = nest.mul_imm(index, run as i64);
            call(nest, tile, first);
        });
    }
    if let Some(rest) = rest {
        let first = nest.iconst((runs * run) as i64);
        call(nest, rest, first);
    }
}

/// The `index`-th part of `total` things in parts of `size`: first, and one past the last.
pub fn part(nest: &mut NestBuilder, index: Word, size: usize, total: usize) -> [Word; 2] {
    let begin = nest.mul_imm(index, size as i64);
    let end = nest.add_imm(begin, size as i64);
    let total = nest.iconst(total as i64);
    [begin, nest.smin(end, total)]
}

/// Helpers over [`NestBuilder`], for functions made by [`define`].
pub trait KernelNest {
    /// Runs `body(sample, task)` for the tasks that the function was asked to do, of `tasks` for each sample.
    fn for_tasks(&mut self, tasks: usize, body: impl FnOnce(&mut Self, Word, Word));
    /// Runs `body(line, [first, last])` for the tasks that the function was asked to do, where each line of `tasks`
    /// tasks is one sample or a part of it; a line's tasks are done together.
    fn for_lines(&mut self, tasks: usize, body: impl FnOnce(&mut Self, Word, [Word; 2]));
    /// Address of the given sample of an operand.
    fn sample_pointer(&mut self, operand: usize, sample: Word) -> Word;
    /// The same, where the number of the operand is known at run time.
    fn sample_pointer_of(&mut self, operand: Word, sample: Word) -> Word;
    /// Address of an operand that is the same for all samples.
    fn constant_pointer(&mut self, operand: usize) -> Word;
    /// Runs `body` for 0, 1, ... below `count`.
    fn repeat(&mut self, count: usize, body: impl FnOnce(&mut Self, Word));
}

impl KernelNest for NestBuilder<'_, '_> {
    fn for_tasks(&mut self, tasks: usize, body: impl FnOnce(&mut Self, Word, Word)) {
        let (begin, end) = (self.arg(1), self.arg(2));
        self.for_range(begin, end, |nest, index| {
            let (sample, task) = (nest.div_imm(index, tasks as i64), nest.rem_imm(index, tasks as i64));
            body(nest, sample, task);
        });
    }

    fn for_lines(&mut self, tasks: usize, body: impl FnOnce(&mut Self, Word, [Word; 2])) {
        let (begin, end) = (self.arg(1), self.arg(2));
        let first_line = self.div_imm(begin, tasks as i64);
        let behind = self.add_imm(end, tasks as i64 - 1);
        let last_line = self.div_imm(behind, tasks as i64);
        self.for_range(first_line, last_line, |nest, line| {
            let start = nest.mul_imm(line, tasks as i64);
            let (first, last) = (nest.sub(begin, start), nest.sub(end, start));
            let (zero, all) = (nest.iconst(0), nest.iconst(tasks as i64));
            let part = [nest.smax(first, zero), nest.smin(last, all)];
            body(nest, line, part);
        });
    }

    fn sample_pointer(&mut self, operand: usize, sample: Word) -> Word {
        let operands = self.arg(0);
        sample_at(self, operands, operand as i32 * OPERAND, sample)
    }

    fn sample_pointer_of(&mut self, operand: Word, sample: Word) -> Word {
        let operand = self.offset_by(self.arg(0), operand, OPERAND.into());
        sample_at(self, operand, 0, sample)
    }

    fn constant_pointer(&mut self, operand: usize) -> Word {
        let operands = self.arg(0);
        self.load(operands, operand as i32 * OPERAND)
    }

    fn repeat(&mut self, count: usize, body: impl FnOnce(&mut Self, Word)) {
        let begin = self.iconst(0);
        if count == 1 {
            body(self, begin);
        } else {
            let end = self.iconst(count as i64);
            self.for_range(begin, end, body);
        }
    }
}

/// Address of the given sample of the operand that lies so many bytes behind an address.
fn sample_at(nest: &mut NestBuilder, operands: Word, offset: i32, sample: Word) -> Word {
    let (data, stride) = (nest.load(operands, offset), nest.load(operands, offset + 8));
    let offset = nest.mul(sample, stride);
    nest.add(data, offset)
}
