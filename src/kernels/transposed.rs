//! Transposed convolution: for each phase of the output (see [`Phase`]) an ordinary convolution, direct or channelwise,
//! that writes every `stride`-th position. Phases whose code is equal share it.
//!
//! A task does a part of one phase. Parts that a kernel does as one block follow each other, so that weights are read
//! once, then the same ones of the next phase, because they read the same input. What follows each other is one call of the
//! phase's kernel, with operands of its own, which are written to scratch memory.

use super::bands::{Descent, Planes, Unit, around, rows_of_unit};
use super::interleave::{Part, Places};
use super::nest::{self, KernelNest};
use super::{Constant, Family, Layout, Lowered, NodeView, Target, Why, channelwise, conv, rows};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa, NestBuilder, Word};
use crate::ir::weights::Values;
use crate::layers::{Conv, ConvTranspose, Op, Phase, ResolvedWindow, Window};
use std::borrow::Cow;
use std::fmt;

/// Every decision about one transposed convolution that its code depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    /// The different kernels of the phases.
    pub kernels: Vec<PhaseCode>,
    pub phases: usize,
    /// Parts of a phase that follow each other.
    pub parts_of_block: usize,
    /// Operands of the epilogue: 0 or 1.
    pub residuals: usize,
    /// Where it goes down the picture with others: the positions of the output.
    pub banded: Option<usize>,
}

/// The kernel of a phase.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PhaseCode {
    Direct(conv::Code),
    Channelwise(channelwise::Code),
}

/// What the phases are made of, in order.
#[derive(Clone, Hash, PartialEq)]
pub struct Tables {
    phases: Vec<PhaseTables>,
    /// Of the whole kernel.
    taps: usize,
    /// Bytes of an output position.
    pixel: usize,
}

#[derive(Clone, Debug, Hash, PartialEq)]
struct PhaseTables {
    /// Index of its kernel.
    kernel: usize,
    /// Its first output position.
    place: usize,
    /// The taps of its window, as positions in the whole kernel.
    taps: Vec<usize>,
    rows: rows::Tables,
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} phases", self.phases.len())
    }
}

/// Bytes that a tile's output may take, from its first position on.
const MAX_REACH: usize = 1 << 30;
/// Output positions of a tile at most.
const MAX_PIXELS: usize = 32;

/// Makes the conf of a transposed convolution.
///
/// # Errors
/// Why this kernel cannot do it.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, Why> {
    let Op::ConvTranspose(transposed) = node.op else { return Err(Why::unfit("not a transposed convolution")) };
    if !transposed.output_major {
        return Err("its weights are not ordered by output channel".into());
    }
    let ConvTranspose { channels, groups, bias, .. } = *transposed;
    // Each phase, but for its window.
    let conv = Conv { channels, groups, bias, window: Window::whole(&[1]), weights: None };
    let (mut kernels, mut phases, mut input, mut spread) = (Vec::new(), Vec::new(), Layout::Blocked, None);
    for of_dims in combinations(transposed, node.inputs[0].ty.spatial()) {
        let part = part(&of_dims, node, transposed, target);
        let (code, rows) = match conv::interleaved(node, &conv, part.clone(), target) {
            Ok((conf, layout)) => {
                input = layout;
                (PhaseCode::Direct(conf.code), conf.tables)
            }
            Err(_) => {
                let (conf, sources) = channelwise::interleaved(node, &conv, part, target);
                spread = sources;
                (PhaseCode::Channelwise(conf.code), conf.tables)
            }
        };
        let kernel = kernels.iter().position(|known| *known == code).unwrap_or_else(|| {
            kernels.push(code);
            kernels.len() - 1
        });
        let out = node.output.spatial();
        let place = of_dims.iter().zip(out).fold(0, |place, (phase, size)| place * size + phase.start);
        phases.push(PhaseTables { kernel, place, taps: transposed.window_taps(&of_dims), rows });
    }
    let parts_of_block = kernels.iter().map(PhaseCode::parts_of_block).min().unwrap_or(1);
    let code =
        Code { kernels, phases: phases.len(), parts_of_block, residuals: node.epilogue.operands(), banded: None };
    let taps = transposed.window.kernel.iter().product();
    let kernel = super::Conf { code, tables: Tables { phases, taps, pixel: target.lanes * 4 } }.into();
    Ok(Lowered { kernel, inputs: vec![input], output: Layout::Blocked, spread, padded: None })
}

/// One phase for each dimension, in all ways.
fn combinations(transposed: &ConvTranspose, input: &[usize]) -> Vec<Vec<Phase>> {
    let sizes = transposed.resolve(input).expect("verified");
    sizes.into_iter().enumerate().fold(vec![Vec::new()], |combinations, (dim, size)| {
        let phases: Vec<Phase> = transposed.phases(dim, size).collect();
        let extend =
            |outer: Vec<Phase>| phases.iter().map(move |&phase| [&outer[..], &[phase]].concat()).collect::<Vec<_>>();
        combinations.into_iter().flat_map(extend).collect()
    })
}

/// The convolution of a phase.
fn part(phases: &[Phase], node: &NodeView, transposed: &ConvTranspose, target: &Target) -> Part {
    // Where no tap meets the phase, one that sees nothing: all of its positions are padding.
    let origin = |phase: &Phase| if phase.taps == 0 { -(phase.count as i64) } else { phase.origin };
    let mut window = ResolvedWindow {
        kernel: phases.iter().map(|phase| phase.taps.max(1)).collect(),
        stride: vec![1; phases.len()],
        dilation: phases.iter().map(|phase| phase.dilation).collect(),
        pads: phases.iter().map(|phase| (origin(phase).min(0).unsigned_abs() as usize, 0)).collect(),
        skip: phases.iter().map(|phase| origin(phase).max(0) as usize).collect(),
        out: phases.iter().map(|phase| phase.count).collect(),
    };
    let mut input = node.inputs[0].ty.spatial().to_vec();
    let out = node.output.spatial();
    let behind = |d: usize| out[d + 1..].iter().product::<usize>();
    let steps: Vec<usize> = transposed.window.stride.iter().enumerate().map(|(d, stride)| stride * behind(d)).collect();
    let reach = steps.last().map_or(0, |&step| step.min(node.output.elements())) * MAX_PIXELS * target.lanes * 4;
    if reach > MAX_REACH {
        // Each column is a row of its own.
        window = window.with_column();
        input.push(1);
    }
    Part { window, input, places: Places { positions: out.iter().product(), steps } }
}

/// Words of a phase in the table, before the offsets of its constants: the index of its kernel, its kernel's tasks, and the
/// byte offset of its first output position.
const ENTRY_WORDS: usize = 3;
/// Where they are.
const KERNEL: i32 = 0;
const TASKS: i32 = 8;
const PLACE: i32 = 16;
const CONSTANTS: i32 = ENTRY_WORDS as i32 * 8;
/// Bytes of an operand.
const OPERAND: i64 = 16;

impl Code {
    /// Operands of a phase's kernel: output, input, residual, constants, scratch memory.
    fn operands(&self) -> usize {
        self.constants_operand() + self.constants_of_phase() + 1
    }

    /// Index of the first operand of a phase's kernel that is a constant; here the table of phases stands there, and the
    /// constants of all phases behind it.
    pub(crate) fn constants_operand(&self) -> usize {
        2 + self.residuals
    }

    pub(crate) fn constants_of_phase(&self) -> usize {
        match self.kernels[0] {
            PhaseCode::Direct(_) => 3,
            PhaseCode::Channelwise(_) => 2,
        }
    }

    /// Words of a phase in the table.
    pub(crate) fn entry_words(&self) -> usize {
        ENTRY_WORDS + self.constants_of_phase()
    }

    /// Bytes of the operands of a phase's kernel in scratch memory, before its own.
    fn operand_bytes(&self) -> usize {
        (self.operands() * OPERAND as usize).next_multiple_of(64)
    }

    /// Blocks of parts of one phase, at most.
    fn blocks(&self) -> usize {
        let parts = self.kernels.iter().map(PhaseCode::tasks).max().unwrap_or(0);
        parts.div_ceil(self.parts_of_block)
    }

    /// See [`super::Kernel::banded`].
    pub(super) fn banded(&self, planes: Planes, tables: &Tables) -> Option<Code> {
        let direct = self.kernels.iter().map(PhaseCode::direct).collect::<Option<Vec<&conv::Code>>>()?;
        let interleave = direct[0].interleave.as_ref()?;
        let (step, positions) = (*interleave.rows.first()?, interleave.positions);
        // Each phase has one row of those of a step.
        if tables.phases.iter().any(|phase| phase.place >= step) {
            return None;
        }
        let most = direct.iter().map(|code| code.rows.count).max().expect("one at least");
        let task_rows = direct.iter().map(|code| code.block_rows).fold(rows_of_unit(most), usize::min).max(1);
        let kernels = direct.iter().map(|code| Some(PhaseCode::Direct(code.in_rows(planes, task_rows)?)));
        let kernels = kernels.collect::<Option<Vec<PhaseCode>>>()?;
        let parts_of_block = kernels.iter().map(PhaseCode::parts_of_block).min().unwrap_or(1);
        let parts_of_block = parts_of_block.min(most.div_ceil(task_rows * FEWEST_UNITS));
        Some(Code { kernels, parts_of_block, banded: Some(positions), ..self.clone() })
    }

    /// See [`super::Kernel::descent`], with the positions of the output.
    pub(super) fn descent(&self, positions: usize, tables: &Tables) -> Option<Descent> {
        let direct = self.kernels.iter().map(PhaseCode::direct).collect::<Option<Vec<&conv::Code>>>()?;
        // All phases have as many rows in a task, and as many positions from one row to the next.
        let rows = self.parts_of_block * direct[0].task_rows;
        let step = *direct[0].interleave.as_ref()?.rows.first()?;
        let unit = |block: usize| {
            let first = block * rows;
            let of_phase = tables.phases.iter().map(|phase| {
                let code = direct[phase.kernel];
                let end = code.rows.count.min(first + rows);
                phase.rows.rows.needed_by(first..end, code.input_columns())
            });
            Unit { reads: around(of_phase), writes: first * step..positions.min((first + rows) * step) }
        };
        Some(Descent { tasks: self.phases * self.parts_of_block, units: (0..self.blocks()).map(unit).collect() })
    }

    /// Phase and part of a task of a sample.
    pub(crate) fn task(&self, task: usize) -> (usize, usize) {
        let (line, part) = (task / self.parts_of_block, task % self.parts_of_block);
        (line % self.phases, line / self.phases * self.parts_of_block + part)
    }
}

/// Units of a picture at least, where it has as many rows: bands end where units do.
const FEWEST_UNITS: usize = 64;

impl PhaseCode {
    fn direct(&self) -> Option<&conv::Code> {
        match self {
            PhaseCode::Direct(code) => Some(code),
            PhaseCode::Channelwise(_) => None,
        }
    }

    pub(crate) fn tasks(&self) -> usize {
        match self {
            PhaseCode::Direct(code) => code.tasks(),
            PhaseCode::Channelwise(code) => code.tasks(),
        }
    }

    /// Its tasks that follow each other.
    fn parts_of_block(&self) -> usize {
        match self {
            PhaseCode::Direct(code) => code.tasks_of_block(),
            PhaseCode::Channelwise(_) => 1,
        }
    }

    fn name(&self) -> String {
        match self {
            PhaseCode::Direct(code) => code.name(),
            PhaseCode::Channelwise(code) => code.name(),
        }
    }

    fn scratch(&self) -> usize {
        match self {
            PhaseCode::Direct(code) => code.scratch(),
            PhaseCode::Channelwise(code) => code.scratch(),
        }
    }

    fn may_overwrite(&self, index: usize) -> bool {
        match self {
            PhaseCode::Direct(code) => code.may_overwrite(index),
            PhaseCode::Channelwise(code) => code.may_overwrite(index),
        }
    }

    fn constants<'a>(&'a self, rows: &'a rows::Tables, params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        match self {
            PhaseCode::Direct(code) => code.constants(rows, params),
            PhaseCode::Channelwise(code) => code.constants(rows, params),
        }
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        match self {
            PhaseCode::Direct(code) => code.generate(name, isa, module),
            PhaseCode::Channelwise(code) => code.generate(name, isa, module),
        }
    }
}

impl PhaseTables {
    /// The weights of the phase, of those of the layer, and its bias.
    fn params<'a>(&self, params: &'a [Values<'a>], taps: usize) -> Vec<Values<'a>> {
        let all = params[0].base().chunks_exact(taps);
        let weights: Vec<f32> = all.flat_map(|kernel| self.taps.iter().map(|&tap| kernel[tap])).collect();
        let weights = Values::new(Cow::Owned(weights), params[0].factors().map(<[f64]>::to_vec));
        let bias = params[1..].iter().map(|bias| Values::new(Cow::Borrowed(&**bias), None));
        [weights].into_iter().chain(bias).collect()
    }
}

/// Constants of all phases one behind the other, and where each begins, in bytes.
enum Joined {
    F32(Vec<f32>),
    I64(Vec<i64>),
}

impl Joined {
    fn push(&mut self, constant: &Constant) -> i64 {
        let bytes = constant.to_bytes();
        match self {
            Joined::F32(all) => append(all, bytemuck::cast_slice(&bytes)),
            Joined::I64(all) => append(all, &bytemuck::pod_collect_to_vec(&bytes)),
        }
    }
}

/// Appends at a multiple of 64 bytes, and gives the byte offset.
fn append<T: Copy + Default>(all: &mut Vec<T>, values: &[T]) -> i64 {
    all.resize(all.len().next_multiple_of(64 / size_of::<T>()), T::default());
    let offset = size_of_val(&all[..]);
    all.extend_from_slice(values);
    offset as i64
}

impl Family for Code {
    type Tables = Tables;

    fn name(&self) -> String {
        format!("transposed_{}phases_{}", self.phases, self.kernels[0].name())
    }

    fn tasks(&self) -> usize {
        self.phases * self.blocks() * self.parts_of_block
    }

    fn scratch(&self) -> usize {
        self.operand_bytes() + self.kernels.iter().map(PhaseCode::scratch).max().unwrap_or(0)
    }

    /// The residual operand.
    fn may_overwrite(&self, index: usize) -> bool {
        self.kernels.iter().all(|kernel| kernel.may_overwrite(index))
    }

    fn constants<'a>(&'a self, tables: &'a Tables, params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        let mut joined: Vec<Joined> = Vec::new();
        let mut table = Vec::new();
        for phase in &tables.phases {
            let (kernel, params) = (&self.kernels[phase.kernel], phase.params(params, tables.taps));
            table.extend([phase.kernel, kernel.tasks(), phase.place * tables.pixel].map(|word| word as i64));
            for (index, constant) in kernel.constants(&phase.rows, &params).iter().enumerate() {
                if joined.len() == index {
                    let words = matches!(constant, Constant::I64(_));
                    joined.push(if words { Joined::I64(Vec::new()) } else { Joined::F32(Vec::new()) });
                }
                table.push(joined[index].push(constant));
            }
        }
        let joined = joined.into_iter().map(|all| match all {
            Joined::F32(values) => Constant::F32(values),
            Joined::I64(values) => Constant::I64(values),
        });
        [Constant::I64(table)].into_iter().chain(joined).collect()
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let kernels = self.kernels.iter().enumerate();
        let kernels = kernels.map(|(index, kernel)| kernel.generate(&format!("{name}_phase{index}"), isa, module));
        let kernels = kernels.collect::<Result<Vec<FuncId>, CodeError>>()?;
        nest::define(name, module, |nest| {
            nest.for_lines(self.parts_of_block, |nest, line, parts| {
                let (phases, blocks) = (self.phases as i64, self.blocks() as i64);
                let (phase, block) = (nest.rem_imm(line, phases), nest.div_imm(line, phases));
                let (sample, block) = (nest.div_imm(block, blocks), nest.rem_imm(block, blocks));
                let parts = parts.map(|part| nest.offset_by(part, block, self.parts_of_block as i64));
                self.generate_call(nest, sample, phase, parts, &kernels);
            });
        })
    }
}

impl Code {
    /// Calls the kernel of a phase for parts of a sample, as far as it has so many.
    fn generate_call(&self, nest: &mut NestBuilder, sample: Word, phase: Word, parts: [Word; 2], kernels: &[FuncId]) {
        let (first, constants) = (self.constants_operand(), self.constants_of_phase());
        let entry = nest.constant_pointer(first);
        let entry = nest.offset_by(entry, phase, self.entry_words() as i64 * 8);
        let operands = nest.constant_pointer(first + constants + 1);
        let place = nest.load(entry, PLACE);
        let zero = nest.iconst(0);
        let set = |nest: &mut NestBuilder, index: usize, data: Word, stride: Word| {
            nest.store(data, operands, index as i32 * OPERAND as i32);
            nest.store(stride, operands, index as i32 * OPERAND as i32 + 8);
        };
        let given = nest.arg(0);
        for index in 0..first {
            let [data, stride] = [0, 8].map(|word| nest.load(given, index as i32 * OPERAND as i32 + word));
            // Output and residual begin at the phase's first position.
            let data = if index == 1 { data } else { nest.add(data, place) };
            set(nest, index, data, stride);
        }
        for index in 0..constants {
            let all = nest.constant_pointer(first + 1 + index);
            let offset = nest.load(entry, CONSTANTS + 8 * index as i32);
            let data = nest.add(all, offset);
            set(nest, first + index, data, zero);
        }
        let scratch = nest.add_imm(operands, self.operand_bytes() as i64);
        set(nest, first + constants, scratch, zero);
        let tasks = nest.load(entry, TASKS);
        let before = nest.mul(sample, tasks);
        let [begin, end] = parts.map(|part| {
            let part = nest.smin(part, tasks);
            nest.add(before, part)
        });
        let kernel = nest.load(entry, KERNEL);
        nest::call_one_of(nest, kernel, kernels, &[operands, begin, end]);
    }
}
