//! The functions of steps that go down the picture together: see [`Stage`].
//!
//! What a stage does is in *records* in read-only data, one for each of its turns and one for each echo behind them. Its
//! function goes through those of the turns, and calls for each the function of its step.

use super::steps::{emit_split, frame};
use crate::codegen::{CodeError, CodeModule, FuncId, Linkage, NestBuilder, Word};
use crate::schedule::{Echo, Place, Plan, Stage, Turn};

/// Byte offsets in the record of a turn.
pub(super) mod turn {
    /// Offset of the step's function in the table of the stage's.
    pub const STEP: i32 = 0;
    /// The first task, of a sample.
    pub const FIRST: i32 = 8;
    /// How many.
    pub const TASKS: i32 = 16;
    /// Offset of the record of its first echo, and one past that of its last.
    pub const ECHOES: i32 = 24;
    pub const ECHOES_END: i32 = 32;
    /// See [`before`].
    const BEFORE: i32 = 40;

    /// For each of the step's values, so many bytes before its memory position 0 would lie.
    pub fn before(value: usize) -> i32 {
        BEFORE + 8 * value as i32
    }
}

/// Byte offsets in the record of an echo, and in the task that it becomes.
mod echo {
    /// Offsets in a sample's arena of what is copied of the first block, and of where to; in a task the addresses.
    pub const FROM: i32 = 0;
    pub const TO: i32 = 8;
    /// Bytes of a block that are copied.
    pub const BYTES: i32 = 16;
    /// From one block to the next.
    pub const STRIDE: i32 = 24;
    pub const TASK_BYTES: u32 = 32;
    pub const BLOCKS: i32 = 32;
    /// Whether they are worth several threads.
    pub const SPLIT: i32 = 40;
    pub const BYTES_OF_RECORD: usize = 48;
}

/// The records of a stage: those of the turns, then those of the echoes.
struct Records {
    words: Vec<usize>,
    /// Bytes of the record of a turn.
    turn_bytes: usize,
}

impl Records {
    fn new(plan: &Plan, stage: &Stage) -> Records {
        let turn_bytes = turn::before(stage.most_values()) as usize;
        let (mut words, mut echoes) = (Vec::new(), Vec::new());
        let mut end = stage.turns.len() * turn_bytes;
        for Turn { step, tasks, before, echoes: of_turn } in &stage.turns {
            let begin = end;
            end += of_turn.len() * echo::BYTES_OF_RECORD;
            words.extend([8 * (step - stage.steps.start), tasks.start, tasks.len(), begin, end]);
            words.extend(before);
            words.resize(words.len().next_multiple_of(turn_bytes / 8), 0);
            echoes.extend(of_turn.iter().flat_map(|echo| echo_record(plan, echo)));
        }
        words.extend(echoes);
        Records { words, turn_bytes }
    }

    fn bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|&word| (word as u64).to_le_bytes()).collect()
    }
}

fn echo_record(plan: &Plan, echo: &Echo) -> [usize; echo::BYTES_OF_RECORD / 8] {
    let Place::Arena(strip) = plan.buffers[echo.strip.buffer.0].place else { unreachable!("strips lie in the arena") };
    let [from, to] = echo.offsets(echo.blocks.start).map(|offset| strip + offset);
    let split = usize::from(echo.is_worth_splitting());
    [from, to, echo.block_bytes(), echo.strip.block_bytes(), echo.blocks.len(), split]
}

/// What the function of a stage calls.
pub(super) struct Functions {
    /// `turn(frame, record)` of each step.
    pub turns: Vec<FuncId>,
    /// `step(frame)` of each where threads that share the samples call these in the place of the turns.
    pub whole: Vec<FuncId>,
    /// That of [`define_copy`].
    pub copy: FuncId,
}

/// Defines `void NAME(frame)`, which does a stage.
pub(super) fn define(
    module: &mut CodeModule,
    name: &str,
    plan: &Plan,
    stage: &Stage,
    functions: &Functions,
) -> Result<FuncId, CodeError> {
    let (whole, records) = (&functions.whole, Records::new(plan, stage));
    if whole.is_empty() {
        return define_turns(module, name, plan, stage, functions, &records);
    }
    let turns = define_turns(module, &format!("{name}.turns"), plan, stage, functions, &records)?;
    module.define_nest(name, Linkage::Local, 1, |n| {
        let (frame, zero) = (n.arg(0), n.iconst(0));
        let parallel_for = n.load(frame, frame::PARALLEL_FOR);
        let shared = n.differ(parallel_for, zero);
        n.if_else(shared, |n| whole.iter().for_each(|&step| n.call(step, &[frame])), |n| n.call(turns, &[frame]));
    })
}

/// Defines `void NAME(frame)`, which goes through the records of a stage.
fn define_turns(
    module: &mut CodeModule,
    name: &str,
    plan: &Plan,
    stage: &Stage,
    Functions { turns, copy, .. }: &Functions,
    records: &Records,
) -> Result<FuncId, CodeError> {
    let turn_bytes = records.turn_bytes as i64;
    let data = module.define_data(&format!("{name}.records"), 8, records.bytes())?;
    module.define_nest(name, Linkage::Local, 1, |n| {
        let (frame, records) = (n.arg(0), n.data_address(data));
        let functions = n.stack(8 * turns.len() as u32);
        for (index, &function) in turns.iter().enumerate() {
            let address = n.function_address(function);
            n.store(address, functions, 8 * index as i32);
        }
        let (zero, end) = (n.iconst(0), n.iconst(turn_bytes * stage.turns.len() as i64));
        n.for_range_step(zero, end, turn_bytes, |n, at| {
            let record = n.add(records, at);
            let step = n.load(record, turn::STEP);
            let place = n.add(functions, step);
            let function = n.load(place, 0);
            n.call_address(function, &[frame, record]);
            let (begin, end) = (n.load(record, turn::ECHOES), n.load(record, turn::ECHOES_END));
            n.for_range_step(begin, end, echo::BYTES_OF_RECORD as i64, |n, at| {
                let record = n.add(records, at);
                emit_echo(n, plan.arena, record, *copy);
            });
        });
    })
}

/// Does an echo, of each of the frame's samples.
fn emit_echo(n: &mut NestBuilder, arena_bytes: usize, record: Word, copy: FuncId) {
    let task = n.stack(echo::TASK_BYTES);
    for field in [echo::BYTES, echo::STRIDE] {
        let word = n.load(record, field);
        n.store(word, task, field);
    }
    let (blocks, worth) = (n.load(record, echo::BLOCKS), n.load(record, echo::SPLIT));
    let (zero, samples, arena) = (n.iconst(0), n.load(n.arg(0), frame::SAMPLES), n.load(n.arg(0), frame::ARENA));
    let worth = n.differ(worth, zero);
    n.for_range(zero, samples, |n, sample| {
        let of_sample = n.offset_by(arena, sample, arena_bytes as i64);
        for field in [echo::FROM, echo::TO] {
            let offset = n.load(record, field);
            let address = n.add(of_sample, offset);
            n.store(address, task, field);
        }
        emit_split(n, copy, task, blocks, worth);
    });
}

/// Bytes that are copied at a time, as long as there are so many. Vectors are of four bytes or a multiple.
const COPIED: i64 = 16;

/// Defines `void copy(task, worker, begin, end)`: copies within each of these blocks.
pub(super) fn define_copy(module: &mut CodeModule) -> Result<FuncId, CodeError> {
    module.define_nest("copy", Linkage::Local, 4, |n| {
        let [task, begin, end] = [n.arg(0), n.arg(2), n.arg(3)];
        let [from, to, bytes, stride] =
            [echo::FROM, echo::TO, echo::BYTES, echo::STRIDE].map(|field| n.load(task, field));
        n.for_range(begin, end, |n, block| {
            let before = n.mul(block, stride);
            let (from, to, zero) = (n.add(from, before), n.add(to, before), n.iconst(0));
            let mask = n.iconst(-COPIED);
            let many = n.and(bytes, mask);
            n.for_range_step(zero, many, COPIED, |n, at| {
                let (from, to) = (n.add(from, at), n.add(to, at));
                for word in (0..COPIED as i32).step_by(8) {
                    let copied = n.load(from, word);
                    n.store(copied, to, word);
                }
            });
            n.for_range_step(many, bytes, 4, |n, at| {
                let (from, to) = (n.add(from, at), n.add(to, at));
                n.copy_half(from, to);
            });
        });
    })
}
