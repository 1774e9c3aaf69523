//! Largest numbers and means of windows of whole numbers: generated code.
//!
//! The input has what counts for nothing around it, so that windows look alike everywhere.

use super::bands::{Descent, Planes};
use super::geometry::Geometry;
use super::nest::{self, KernelNest, Part, Parts};
use super::requantise::{Narrow, Rounding};
use super::{Conf, Constant, Family, Layout, Lowered, NodeView, Target, Why, integer, lanes};
use crate::codegen::vector::{R, V, VectorAsm, repeat};
use crate::codegen::{Bytes, CodeError, CodeModule, FuncId, Isa, NestBuilder, Word};
use crate::ir::integer::{Integer, Range};
use crate::ir::weights::Values;
use crate::layers::{AvgPool, Op, Window};
use crate::tensor::Quantisation;

/// Every decision about one kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub(super) lanes: usize,
    pub(super) blocks: usize,
    /// With the input as it is around padded.
    pub(super) window: Geometry,
    pub(super) does: Does,
    /// Positions of a tile.
    pub(super) run: usize,
    /// Where not all positions of a block are in memory: see [`super::bands`].
    planes: Option<Planes>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Does {
    Max,
    /// With the number of positions that each output's sum is divided by.
    Mean {
        input: Quantisation,
        output: Range,
        divisors: Vec<usize>,
    },
}

/// Positions of a tile at most.
const RUN: usize = 8;

/// Columns of a window that are unrolled at most.
const UNROLLED: usize = 7;

/// Makes the kernel of a pool on whole numbers.
///
/// # Errors
/// Why this kernel cannot do it.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, Why> {
    let Some(integer) = node.integer else { return Err(Why::unfit("not on whole numbers")) };
    if target.bytes < Bytes::Vectors {
        return Err(Why::unfit("no vectors of bytes"));
    }
    let ty = node.inputs[0].ty;
    let spatial = ty.spatial();
    let whole = || AvgPool { window: Window::whole(spatial), count_pad: true };
    let (window, does) = match (integer, node.op) {
        (Integer::Mean { input, output }, op) => {
            let pool = match op {
                Op::AvgPool(pool) => pool.clone(),
                Op::AdaptiveAvgPool(_) if node.output.spatial().iter().any(|&size| size > 1) => {
                    return Err(Why::unfit("windows of several sizes"));
                }
                _ => whole(),
            };
            let divisors = pool.divisors(spatial).into_iter().map(|divisor| divisor as usize).collect();
            (pool.window, Does::Mean { input, output, divisors })
        }
        (Integer::Move, Op::MaxPool(pool)) => (pool.window.clone(), Does::Max),
        (Integer::Move, Op::GlobalMaxPool(_)) => (whole().window, Does::Max),
        _ => return Err(Why::unfit("no pool")),
    };
    let (front, window) = Geometry::of(&window.resolve(spatial).expect("verified"), spatial)?;
    let (lanes, blocks) = (target.lanes, ty.channels().div_ceil(target.lanes));
    let padded = window.padded(front, spatial, does.nothing());
    let window = window.merged();
    let code = Code { lanes, blocks, run: RUN.min(window.out[2]), window, does, planes: None };
    if blocks * code.window.seen() * lanes > i32::MAX as usize {
        return Err("offsets beyond 32 bits".into());
    }
    let kernel = Conf { code, tables: () }.into();
    Ok(Lowered { kernel, inputs: vec![Layout::Blocked], output: Layout::Blocked, spread: None, padded })
}

impl Does {
    /// What counts for nothing: every window has a number beside it.
    fn nothing(&self) -> u8 {
        match self {
            Does::Max => 0,
            Does::Mean { input, .. } => input.zero_point(),
        }
    }
}

impl Family for Code {
    type Tables = ();

    fn name(&self) -> String {
        let what = if self.does == Does::Max { "max" } else { "mean" };
        format!("{what}_u8_{}c{}_{}", self.lanes, self.run, lanes::isa(self.lanes))
    }

    fn tasks(&self) -> usize {
        self.parts().count() * self.blocks
    }

    fn constants<'a>(&'a self, (): &'a (), _params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        match &self.does {
            Does::Max => Vec::new(),
            Does::Mean { input, output, divisors } => {
                let m = |&count: &usize| integer::mean_multiplier(input.scale(), count, output.quantisation.scale());
                vec![Constant::F32(divisors.iter().map(m).collect())]
            }
        }
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let mut tiles = [None; 2];
        let runs = [self.run, self.window.out[2] % self.run];
        for (tile, run) in tiles.iter_mut().zip(runs).filter(|(_, run)| *run > 0) {
            *tile = Some(module.define_tile(&format!("{name}_{run}"), isa, 3, &mut |asm| self.emit(asm, run))?);
        }
        nest::define(name, module, |nest| {
            nest::for_parts(nest, self.parts(), self.blocks, |nest, sample, block, part| {
                self.emit_block(nest, [sample, block], part, tiles);
            });
        })
    }
}

impl Code {
    fn parts(&self) -> Parts {
        self.window.parts_of(self.planes, [1, self.run], self.blocks)
    }

    /// See [`super::Kernel::banded`].
    pub(super) fn banded(&self, planes: Planes) -> Option<Code> {
        self.window.goes_down().then(|| Code { planes: Some(planes), ..self.clone() })
    }

    /// See [`super::Kernel::descent`].
    pub(super) fn descent(&self) -> Option<Descent> {
        self.planes.map(|_| self.window.descent([1, self.run], self.blocks))
    }

    fn emit_block(&self, nest: &mut NestBuilder, [sample, block]: [Word; 2], part: Part, tiles: [Option<FuncId>; 2]) {
        let planes = self.window.planes(self.planes);
        let y = nest.sample_pointer(0, sample);
        let y = nest.offset_by(y, block, (planes.output * self.lanes) as i64);
        let x = nest.sample_pointer(1, sample);
        let x = nest.offset_by(x, block, (planes.input * self.lanes) as i64);
        let factors = if self.does == Does::Max { y } else { nest.constant_pointer(2) };
        let window = &self.window;
        let cursors = [window.of_input(x, self.lanes), window.of_output(y, self.lanes), window.of_output(factors, 4)];
        window.for_runs(nest, [1, self.run], tiles, part, &cursors, |nest, tile, at| nest.call(tile, at));
    }

    /// The tile `(input, output, factors)` of a run of positions.
    fn emit(&self, asm: &mut dyn VectorAsm, run: usize) {
        let [x, out, factors] = std::array::from_fn(|index| asm.arg(index));
        let values: Vec<V> = (0..run).map(|_| asm.vec()).collect();
        // No more than 32 bits hold, as is verified.
        let begin = (self.does.nothing() as usize * self.window.taps()) as i32;
        values.iter().for_each(|&value| asm.splat_bits(value, begin.wrapping_neg() as u32));
        self.emit_window(asm, x, &values);
        match &self.does {
            Does::Max => Narrow::new(asm, None, None).store(asm, &values, out.at(0)),
            Does::Mean { output, .. } => {
                let m = asm.vec();
                for (p, &value) in values.iter().enumerate() {
                    asm.int_to_float(value, value);
                    asm.broadcast(m, factors.at(4 * p as i64));
                    asm.mul(value, value, m);
                }
                asm.free(m);
                Rounding::new(asm, *output).store(asm, &values, out.at(0));
            }
        }
    }

    /// What the windows see, added or compared.
    fn emit_window(&self, asm: &mut dyn VectorAsm, x: R, values: &[V]) {
        let Geometry { kernel, stride, dilation, .. } = &self.window;
        let seen = asm.vec();
        let tap = |asm: &mut dyn VectorAsm, column: usize| {
            for (p, &value) in values.iter().enumerate() {
                asm.load_bytes(seen, x.at(((p * stride[2] + column * dilation[2]) * self.lanes) as i64));
                match self.does {
                    Does::Max => asm.max_bytes(value, value, seen),
                    Does::Mean { .. } => asm.add_bits(value, value, seen),
                }
            }
        };
        let looped = if kernel[2] > UNROLLED { kernel[2] / UNROLLED } else { 0 };
        let part = (UNROLLED * dilation[2] * self.lanes) as i64;
        let [plane, row] = [0, 1].map(|d| (self.window.step(d) * self.lanes) as i64);
        repeat(asm, kernel[0], &mut |asm| {
            repeat(asm, kernel[1], &mut |asm| {
                repeat(asm, looped, &mut |asm| {
                    (0..UNROLLED).for_each(|column| tap(asm, column));
                    asm.add_imm(x, part);
                });
                (0..kernel[2] - looped * UNROLLED).for_each(|column| tap(asm, column));
                asm.add_imm(x, row - looped as i64 * part);
            });
            asm.add_imm(x, plane - kernel[1] as i64 * row);
        });
        asm.free(seen);
    }
}
