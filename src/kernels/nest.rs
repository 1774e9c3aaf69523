//! What all kernels' loop nests have in common: the loop over tasks and the pointers of the operands.

use super::TASKS;
use super::bands::{parts, rows_of_unit};
use crate::codegen::{CodeError, CodeModule, FuncId, NestBuilder, Word};
use std::ops::Range;

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

/// Steps of a loop that tasks share: each does `size` of them that follow each other, the last what is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Parts {
    steps: usize,
    size: usize,
}

/// The steps that a task does: first, and one past the last. All of them where there is no such pair.
pub type Part = Option<[Word; 2]>;

/// How the tasks of several lines of steps follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// All of a line, then those of the next.
    Lines,
    /// The first part of each line, then the second.
    Parts,
}

/// The largest size of a task, of `most` steps at most, with which two threads have equal shares of `lines` lines of so many
/// steps, or the most equal ones that they can: up to a sixteenth. A thread's share is of tasks that follow each other (see
/// `runtime::threads`): of seven, one of two threads has four.
pub fn even_size(steps: usize, most: usize, lines: usize, order: Order) -> usize {
    let unequal = |size: usize| {
        let parts = steps.div_ceil(size);
        let first = parts * lines / 2;
        let done = match order {
            Order::Lines => first / parts * steps + (first % parts * size).min(steps),
            Order::Parts => {
                let before = first / lines * size;
                lines * before.min(steps) + first % lines * size.min(steps.saturating_sub(before))
            }
        };
        let all = lines * steps;
        (2 * done.max(all - done) - all) * 16 / all.max(1)
    };
    // Among many, those near the largest are equal enough.
    (most.saturating_sub(64).max(1)..=most.max(1)).rev().min_by_key(|&size| unequal(size)).expect("one step")
}

/// [`even_size`] with as many tasks of all lines as make [`TASKS`], if there are as many steps, or more for equal shares.
pub fn size_of_task(steps: usize, lines: usize, order: Order) -> usize {
    even_size(steps, steps.div_ceil(TASKS.div_ceil(lines)), lines, order)
}

impl Parts {
    /// Of `tasks` lines: see [`size_of_task`].
    pub fn new(steps: usize, tasks: usize) -> Parts {
        Parts { steps, size: size_of_task(steps, tasks, Order::Parts) }
    }

    /// As many as there are units of a picture, for kernels that go down it: see [`super::bands`].
    pub fn units(steps: usize) -> Parts {
        Parts { steps, size: rows_of_unit(steps) }
    }

    /// The steps of each.
    pub fn each(&self) -> impl Iterator<Item = Range<usize>> {
        parts(self.steps, self.size)
    }

    /// Steps of each but the last.
    pub fn size(&self) -> usize {
        self.size
    }

    pub fn count(&self) -> usize {
        self.steps.div_ceil(self.size).max(1)
    }
}

/// Runs `body(sample, task, part)` for each of `tasks` tasks of each part, one part behind the other, so that what a thread
/// has written is near when it reads it.
pub fn for_parts(
    nest: &mut NestBuilder,
    parts: Parts,
    tasks: usize,
    body: impl FnOnce(&mut NestBuilder, Word, Word, Part),
) {
    nest.for_tasks(parts.count() * tasks, |nest, sample, index| {
        if parts.count() == 1 {
            return body(nest, sample, index, None);
        }
        let (number, task) = (nest.div_imm(index, tasks as i64), nest.rem_imm(index, tasks as i64));
        let part = part(nest, number, parts.size, parts.steps);
        body(nest, sample, task, Some(part));
    });
}

/// Runs `body` for 0, 1, ... below `count`, or for those of a part.
pub fn repeat_part(nest: &mut NestBuilder, count: usize, part: Part, body: impl FnOnce(&mut NestBuilder, Word)) {
    match part {
        None => nest.repeat(count, body),
        Some([begin, end]) => nest.for_range(begin, end, body),
    }
}

/// Calls the first tile for each run of positions of a row, and the second for those that are left, or for those of a part of
/// the runs; `call` is given the tile and the first position.
pub fn for_runs(
    nest: &mut NestBuilder,
    columns: usize,
    run: usize,
    [tile, rest]: [Option<FuncId>; 2],
    part: Part,
    call: impl Fn(&mut NestBuilder, FuncId, Word),
) {
    let runs = columns / run;
    let whole = nest.iconst(runs as i64);
    if let Some(tile) = tile {
        let full = part.map(|[begin, end]| [begin, nest.smin(end, whole)]);
        repeat_part(nest, runs, full, |nest, index| {
            let first = nest.mul_imm(index, run as i64);
            call(nest, tile, first);
        });
    }
    let Some(rest) = rest else { return };
    let behind = |nest: &mut NestBuilder| {
        let first = nest.iconst((runs * run) as i64);
        call(nest, rest, first);
    };
    match part {
        None => behind(nest),
        Some([_, end]) => {
            let is_last = nest.less(whole, end);
            nest.if_else(is_last, behind, |_| ());
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_have_equal_shares() {
        // 28 rows in tasks of 4 are 16 and 12, in tasks of 3 15 and 13.
        assert_eq!(even_size(28, 4, 1, Order::Lines), 2);
        assert_eq!(even_size(112, 14, 1, Order::Lines), 14);
        assert_eq!(even_size(10, 2, 1, Order::Lines), 1);
        // Nobody has fewer than 5 of 9: in tasks of 2 neither.
        assert_eq!(even_size(9, 2, 1, Order::Lines), 2);
        // Three lines of 16: 6, 6 and 4 would be 22 and 26.
        assert_eq!(even_size(16, 6, 3, Order::Lines), 4);
        assert_eq!(even_size(7, 2, 9, Order::Parts), 1);
        // 22 and 20 of 42 are equal enough.
        assert_eq!(even_size(14, 5, 3, Order::Parts), 5);
        assert_eq!(even_size(1, 0, 5, Order::Parts), 1);
    }
}
