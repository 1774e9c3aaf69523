//! Steps that go down the picture together, a band of rows at a time, so that of what lies between them only some rows are in
//! memory. (Depth-first processing: Goetschalckx and Verhelst 2019, "Breaking high-resolution CNN bandwidth barriers with
//! enhanced depth-first execution"; here each kernel does the tasks that it does without, so that rows that neighbouring bands
//! share are kept, not computed again, and all bits are the same.)
//!
//! A *stage* is done in *waves*. In each wave each of its steps, one behind the other, does an equal share of its tasks, as
//! far as their operands are made. A value that only steps of the stage touch has a *strip* of memory: for each channel block
//! as many positions as are there at the same time, at most, in a ring. All of this is known beforehand: a stage is a list of
//! *turns*, each some tasks of a step, with the places where its values would begin then.
//!
//! Large values are made so to save memory ([`choose`]). Smaller ones are made so where they stay in the own cache of the core
//! that does a sample alone ([`near`]); threads that share a sample do these steps one behind the other on whole values, of
//! which each has its part in its own cache, and need not wait for each other in every turn.

mod check;
mod choose;
mod flow;
mod near;
mod ring;

use super::{ALIGNMENT, Buffer, BufferId, Place, Plan, Step, View, arena};
use crate::kernels::Layout;
use crate::kernels::bands::{Bands, Planes};
use flow::{Flow, Outline, Paths};
use std::ops::Range;

/// Steps that go down the picture together.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Stage {
    pub steps: Range<usize>,
    pub strips: Vec<Strip>,
    /// How often each step, at most, does some of its tasks before any goes on.
    pub waves: usize,
    /// What is done, in this order.
    pub turns: Vec<Turn>,
    /// Whether it is for threads that do a sample alone, by the kernels [`Step::banded`].
    pub alone: bool,
}

/// The memory of a value of which only some rows are there at a time.
#[derive(Clone, Copy, Debug, PartialEq, Hash)]
pub struct Strip {
    pub buffer: BufferId,
    /// Blocks of channels.
    pub blocks: usize,
    /// Of each block, as many positions as are there at the same time: the next lies where the first of them lay.
    pub ring: usize,
    /// Positions of each block that there is memory for: behind those of the ring, its first ones once more, for tasks that
    /// go on over its end.
    pub positions: usize,
    /// Bytes of a position.
    pub vector: usize,
}

/// Some tasks of a step.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Turn {
    pub step: usize,
    /// Of a sample.
    pub tasks: Range<usize>,
    /// For each of the step's values, so many bytes before its memory position 0 would lie.
    pub before: Vec<usize>,
    /// What is copied when they are done.
    pub echoes: Vec<Echo>,
}

/// Positions that are copied within each of some blocks of a strip, from the begin of its ring behind its end or back.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct Echo {
    pub strip: Strip,
    pub blocks: Range<usize>,
    /// The positions in memory.
    pub from: usize,
    pub to: usize,
    pub count: usize,
}

impl Echo {
    /// Bytes of a block that are copied.
    pub fn block_bytes(&self) -> usize {
        self.count * self.strip.vector
    }

    /// Byte offsets of what is copied of a block, and of where it is copied to, in the strip.
    pub fn offsets(&self, block: usize) -> [usize; 2] {
        [self.from, self.to].map(|at| (block * self.strip.positions + at) * self.strip.vector)
    }

    /// Whether it copies enough for more than one thread.
    pub fn is_worth_splitting(&self) -> bool {
        self.block_bytes() * self.blocks.len() > SPLIT_BYTES
    }
}

/// Bytes that one thread copies before another would be awake.
const SPLIT_BYTES: usize = 256 << 10;

impl Stage {
    /// Values of a step at most.
    pub fn most_values(&self) -> usize {
        self.turns.iter().map(|turn| turn.before.len()).max().unwrap_or(0)
    }

    /// Bytes of the strips, and of the same values as a whole.
    pub fn bytes(&self, plan: &Plan) -> [usize; 2] {
        bytes(plan, &self.steps, &self.strips)
    }
}

/// Bytes of strips between some steps, and of the same values as a whole.
fn bytes(plan: &Plan, steps: &Range<usize>, strips: &[Strip]) -> [usize; 2] {
    let whole = |strip: &Strip| {
        let steps = plan.steps[steps.clone()].iter();
        let view = steps.map(|step| &step.output).find(|view| view.buffer == strip.buffer);
        strip.blocks * strip.vector * view.map_or(0, View::positions)
    };
    [strips.iter().map(Strip::bytes).sum(), strips.iter().map(whole).sum()]
}

impl Strip {
    pub fn bytes(&self) -> usize {
        self.blocks * self.block_bytes()
    }

    pub fn block_bytes(&self) -> usize {
        self.positions * self.vector
    }
}

impl Plan {
    /// The stage that begins with a step.
    pub fn stage_from(&self, step: usize) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.steps.start == step)
    }

    /// Whether a step is done together with others.
    pub fn in_stage(&self, step: usize) -> bool {
        self.stages.iter().any(|stage| stage.steps.contains(&step))
    }

    /// The memory of a buffer of which only some rows are there.
    pub fn strip(&self, buffer: BufferId) -> Option<&Strip> {
        self.stages.iter().flat_map(|stage| &stage.strips).find(|strip| strip.buffer == buffer)
    }

    /// Bytes of a view in memory, in the given layout.
    pub fn view_bytes(&self, view: &View, layout: Layout) -> usize {
        let all = view.bytes(layout, self.target.lanes);
        self.strip(view.buffer).map_or(all, |strip| all / view.positions() * strip.positions)
    }
}

/// Arenas above this are worth bands, in bytes. U-Net at 1088x1920, whose arena has 574 MiB, took 1.00 times as much of a core's
/// time in them on one thread, with 319 MiB, HED at 1080x1920 1.03 times; U-Net on two threads 1.02 to 1.05 times, with more
/// places where one waits for the other.
const LARGE: usize = 256 << 20;

/// Waves in which a step would do all of its tasks if it had not to wait for others. With more, strips are smaller, and
/// weights are read more often.
const WAVES: usize = 16;

/// The same in the stages that were chosen: the first with which they take little more memory than with the last.
const TRIED_WAVES: [usize; 3] = [16, 24, 32];

/// Makes stages where the target asks for them, or values take much memory otherwise. Lifetimes must be set; offsets are
/// still free, and no value lies where another one was.
pub fn run(plan: &mut Plan) {
    let stages = stages(plan);
    if stages.is_empty() {
        return;
    }
    let whole = plan.clone();
    stages.into_iter().for_each(|stage| apply(plan, stage));
    if let Err(fault) = check::check(plan) {
        debug_assert!(false, "{fault:?}");
        // With all in memory it is right in any case.
        *plan = whole;
    }
}

fn stages(plan: &Plan) -> Vec<Stage> {
    let before = arena_of(plan.buffers.clone());
    match plan.target.bands {
        Bands::Never => Vec::new(),
        Bands::WhereLarge if before <= LARGE => near::stages(plan),
        Bands::Alone(waves) => near::everywhere(plan, waves),
        Bands::Always(waves) => {
            let paths = Paths::new(plan);
            let outlines = outlines(plan, &paths, paths.runs(), waves);
            of_outlines(plan, &paths, outlines)
        }
        Bands::WhereLarge => {
            let paths = Paths::new(plan);
            let outlines = in_few_waves(plan, &paths, &choose::stages(plan, &paths));
            // What is left to the cost of more calls.
            let gains = 5 * arena_with(plan, &outlines) < 4 * before;
            if gains { of_outlines(plan, &paths, outlines) } else { Vec::new() }
        }
    }
}

/// Of steps that go down the picture together, in so many waves.
fn outlines(plan: &Plan, paths: &Paths, steps: impl Iterator<Item = Range<usize>>, waves: usize) -> Vec<Outline> {
    steps.filter_map(|steps| Flow::new(plan, paths, steps).outline(waves)).collect()
}

fn of_outlines(plan: &Plan, paths: &Paths, outlines: Vec<Outline>) -> Vec<Stage> {
    outlines.into_iter().map(|outline| Flow::new(plan, paths, outline.steps.clone()).stage(outline)).collect()
}

/// The same steps in as few waves as leave the arena not much larger than it could be.
fn in_few_waves(plan: &Plan, paths: &Paths, steps: &[Range<usize>]) -> Vec<Outline> {
    let with = |waves: usize| -> (usize, Vec<Outline>) {
        let outlines = outlines(plan, paths, steps.iter().cloned(), waves);
        (arena_with(plan, &outlines), outlines)
    };
    let mut all = TRIED_WAVES.map(with).into_iter();
    let least = all.as_slice().iter().map(|(bytes, _)| *bytes).min().unwrap_or(0);
    all.find(|(bytes, _)| 5 * bytes <= 6 * least).map_or(Vec::new(), |(_, outlines)| outlines)
}

fn arena_of(mut buffers: Vec<Buffer>) -> usize {
    arena::assign(&mut buffers, Place::Arena)
}

fn arena_with(plan: &Plan, outlines: &[Outline]) -> usize {
    let mut buffers = plan.buffers.clone();
    outlines.iter().for_each(|Outline { steps, strips, .. }| resize(plan, steps, strips, &mut buffers));
    arena_of(buffers)
}

/// The blocks of its buffer that a view has lanes of; where rows of a channel follow each other, each channel is one. `plane`
/// are the positions of a block in memory.
fn blocks(view: &View, plane: usize, lanes: usize) -> Range<usize> {
    let of_block = match view.layout {
        Layout::Blocked => lanes,
        Layout::Nchw => 1,
    };
    let first = view.offset / (of_block * plane * view.ty.dtype.bytes());
    first..first + view.ty.channels().div_ceil(of_block)
}

/// Gives the buffers that a stage touches their sizes and lifetimes.
fn resize(plan: &Plan, steps: &Range<usize>, strips: &[Strip], buffers: &mut [Buffer]) {
    for view in plan.steps[steps.clone()].iter().flat_map(Step::views) {
        let live = &mut buffers[view.buffer.0].live;
        *live = (live.0.min(steps.start), live.1.max(steps.end - 1));
    }
    for strip in strips {
        buffers[strip.buffer.0].bytes = strip.bytes().next_multiple_of(ALIGNMENT);
    }
}

/// Gives the steps their kernels, and the values their strips.
fn apply(plan: &mut Plan, stage: Stage) {
    let mut buffers = std::mem::take(&mut plan.buffers);
    // Where threads may share the sample, the whole value lies in the place of the strip.
    let strips = if stage.alone { &[] } else { &stage.strips[..] };
    resize(plan, &stage.steps, strips, &mut buffers);
    plan.buffers = buffers;
    let strip = |buffer: BufferId| stage.strips.iter().find(|strip| strip.buffer == buffer);
    let plane = |view: &View| strip(view.buffer).map_or(view.positions(), |strip| strip.positions);
    for step in &mut plan.steps[stage.steps.clone()] {
        let planes = Planes { input: plane(&step.inputs[0]), output: plane(&step.output) };
        let banded = step.kernel.banded(planes).expect("as with all positions");
        if stage.alone {
            step.banded = Some(banded);
        } else {
            step.kernel = banded;
        }
        for view in step.views_mut() {
            if let Some(strip) = strip(view.buffer) {
                view.offset = view.offset / view.positions() * strip.positions;
            }
        }
    }
    let hidden = |view: &View| strip(view.buffer).is_some();
    plan.values.iter_mut().filter(|value| value.as_ref().is_some_and(hidden)).for_each(|value| *value = None);
    plan.stages.push(stage);
}

#[cfg(test)]
mod tests {
    use super::super::plan;
    use super::*;
    use crate::analysis::testing::model;
    use crate::backend;
    use crate::codegen::Isa;
    use crate::ir::weights::RandomWeights;
    use crate::kernels::{Code, Target};
    use std::collections::HashSet;
    use target_lexicon::Architecture;

    /// Two levels of a U-Net.
    pub const U: &str = "\
  a: conv 3x3, 16, half | relu | b: conv 3x3, 16, half | relu as skip | maxpool 2x2
  c: conv 3x3, 32, half | relu | d: conv 3x3, 32, dilation 2, half | relu
  concat { from skip
    upsample 2 | e: conv 3x3, 16, half }
  f: conv 3x3, 16, half | residual { g: conv 1x1, 16 | h: conv 3x3, 16, half } | i: conv 1x1, 2
";

    pub fn planned(size: [usize; 2], net: &str, bands: Bands) -> Plan {
        let [height, width] = size;
        let text = format!("model m\ninput x: f32[N, 3, {height}, {width}]\nnet {{\n{net}\n}}\n");
        plan(model(&text), Target { bands, ..Target::of(Isa::Avx2, Architecture::X86_64) })
    }

    #[test]
    fn little_is_copied_where_a_ring_ends() {
        let plan = planned([400, 20], U, Bands::Always(16));
        let [stage] = &plan.stages[..] else { panic!("{:?}", plan.stages) };
        assert_eq!(stage.steps, 0..plan.steps.len());
        let echoes = || stage.turns.iter().flat_map(|turn| &turn.echoes);
        let copied: usize = echoes().map(|echo| echo.blocks.len() * echo.block_bytes()).sum();
        let [_, whole] = stage.bytes(&plan);
        assert!(copied > 0 && 4 * copied < whole, "{copied} of {whole}");
        assert!(echoes().all(|echo| echo.from.max(echo.to) + echo.count <= echo.strip.positions));
    }

    #[test]
    fn large_values_alone_are_made_in_bands() {
        let arena = |size, bands| planned(size, U, bands).arena;
        assert!(planned([128, 128], U, Bands::WhereLarge).stages.is_empty(), "small");
        let [without, with] = [Bands::Never, Bands::WhereLarge].map(|bands| arena([4096, 4096], bands));
        assert!(without > LARGE && 3 * with < without, "{with} of {without}");
        let wide = planned([4096, 4096], U, Bands::WhereLarge);
        let [strips, whole] = wide.stages[0].bytes(&wide);
        assert!(strips <= with && strips < whole / 3, "{strips} of {whole}");
        // One value does not lie between steps.
        let one = planned([4500, 4500], "a: conv 3x3, 8, half", Bands::WhereLarge);
        assert!(one.stages.is_empty() || one.stages[0].steps.len() > 1);
    }

    /// Bytes of the constants of all steps, and the number of their functions.
    fn tables(plan: &Plan) -> (usize, usize) {
        let bytes = |step: &Step| -> usize {
            let params = backend::params(plan, step, &RandomWeights { seed: 1 });
            step.kernel.constants(&params).iter().map(|constant| constant.bytes()).sum()
        };
        let codes: HashSet<Code> = plan.steps.iter().map(|step| step.kernel.code()).collect();
        (plan.steps.iter().map(bytes).sum(), codes.len())
    }

    #[test]
    fn tables_grow_with_rows_and_columns_and_not_with_their_product() {
        let nets = [
            U,
            "avgpool 3x3, stride 1, pad 1, count_pad false",
            "conv 3x3, 16, half | avgpool 3x3, stride 2, pad 1, count_pad false",
            "resize (2 * in.h, 2 * in.w), bilinear",
            "conv 5x5, 24, stride 2, half | conv 3x3, 24, groups 24, half | conv 1x1, 8",
            "conv 3x3, 16, half | instance_norm | conv_transpose 2x2, 8, stride 2 | softmax",
        ];
        for (net, bands) in nets.iter().flat_map(|net| [Bands::Never, Bands::Always(16)].map(|bands| (net, bands))) {
            let [small, large] = [96, 768].map(|size| planned([size, size], net, bands));
            let (steps, [small, large]) = (large.steps.len(), [small, large].map(|plan| tables(&plan)));
            let grown = large.0.saturating_sub(small.0);
            // Some words for each row and column of each step.
            assert!(grown < steps * 100 * 2 * (768 - 96), "{net}: {grown} bytes more in {steps} steps");
            assert!(large.1 <= small.1 + 2, "{net}: {} functions and {}", small.1, large.1);
        }
    }
}
