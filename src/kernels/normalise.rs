//! Values less their mean, divided by their deviation, or divided by their norm: of elements that belong together.
//!
//! The lanes are channels. They are added up where channels belong together: all of each position, or groups of them with
//! all their positions; else each lane is a channel for itself.
//!
//! Three passes over what is in the nearest cache, if it is not too large: the mean; the mean of the squares of the
//! distances from it, which do not cancel; the result. A norm needs the last two.

mod tile;

use super::nest::{self, KernelNest};
use super::{Conf, Constant, Family, Layout, Lowered, NodeView, Number, Target, Why};
use crate::codegen::{CodeError, CodeModule, FuncId, Isa};
use crate::ir::weights::Values;
use crate::layers::{LpNorm, Op, Over, Runs, gcd};
pub(crate) use tile::{Join, Tile};

/// Every decision about one normalisation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    pub lanes: usize,
    pub channels: usize,
    pub positions: usize,
    pub extent: Extent,
    pub measure: Measure,
    pub weights: Weights,
}

/// What belongs together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Extent {
    /// The channels of each position.
    Channels,
    /// Positions of each channel.
    Positions(Runs),
    /// So many channels with all their positions.
    Groups(usize),
}

/// What the values are divided by, and the summand or the least of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Measure {
    /// Less their mean before.
    Deviation(Number),
    Norm(LpNorm, Number),
}

/// A factor and a summand for each of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weights {
    None,
    Channels,
    /// Places in a run of positions.
    Places,
    /// Elements of a sample.
    Elements,
}

/// Makes the conf of a normalisation.
///
/// # Errors
/// Why this kernel cannot do it.
pub fn lower(node: &NodeView, target: &Target) -> Result<Lowered, Why> {
    let (channels, positions) = (node.output.channels(), node.inputs[0].positions());
    let dims = &node.output.dims;
    let (extent, measure, weights) = match node.op {
        Op::LayerNorm(norm) => {
            let extent = extent(norm.over, dims);
            let weights = match extent {
                Extent::Channels => Weights::Channels,
                Extent::Positions(_) => Weights::Places,
                Extent::Groups(_) => Weights::Elements,
            };
            (extent, deviation(norm.eps), if norm.affine { weights } else { Weights::None })
        }
        Op::InstanceNorm(norm) => {
            let weights = if norm.affine { Weights::Channels } else { Weights::None };
            (extent(Over::Positions, dims), deviation(norm.eps), weights)
        }
        Op::GroupNorm(norm) => {
            let weights = if norm.affine { Weights::Channels } else { Weights::None };
            (Extent::Groups(channels / norm.groups), deviation(norm.eps), weights)
        }
        Op::UnitNorm(norm) => {
            (extent(norm.over, dims), Measure::Norm(norm.norm, (norm.eps as f32).into()), Weights::None)
        }
        _ => return Err(Why::unfit("not a normalisation")),
    };
    if node.epilogue != Default::default() {
        return Err(Why::unfit("has no epilogue"));
    }
    let code = Code { lanes: target.lanes, channels, positions, extent, measure, weights };
    let kernel = Conf { code, tables: () }.into();
    Ok(Lowered { kernel, inputs: vec![Layout::Blocked], output: Layout::Blocked, spread: None, padded: None })
}

fn deviation(eps: f64) -> Measure {
    Measure::Deviation((eps as f32).into())
}

fn extent(over: Over, dims: &[usize]) -> Extent {
    let Runs { outer, count, inner } = over.runs(dims);
    match over {
        Over::Channels => Extent::Channels,
        Over::All => Extent::Groups(dims[0]),
        _ => Extent::Positions(Runs { outer: outer / dims[0], count, inner }),
    }
}

/// How the tasks lie: rows of strips, each a tile.
pub(crate) struct Tasks {
    pub rows: usize,
    pub strips: usize,
    /// Bytes from one row, and from one strip, to the next: of values, and of weights.
    pub row: (i64, i64),
    pub strip: (i64, i64),
}

impl Code {
    /// Positions that are done side by side: their sums do not wait for each other.
    const SETS: usize = 4;

    fn blocks(&self) -> usize {
        self.channels.div_ceil(self.lanes)
    }

    fn vector(&self) -> i64 {
        (self.lanes * 4) as i64
    }

    /// Bytes of a block of channels.
    pub(crate) fn plane(&self) -> i64 {
        self.positions as i64 * self.vector()
    }

    /// Channels of the groups that a task has, where one alone does not fill blocks of channels.
    fn span(&self, group: usize) -> usize {
        match group {
            _ if group == self.channels => group,
            _ => (group / gcd(group, self.lanes) * self.lanes).min(self.channels),
        }
    }

    /// Values that belong together.
    pub(crate) fn count(&self) -> usize {
        match self.extent {
            Extent::Channels => self.channels,
            Extent::Positions(runs) => runs.count,
            Extent::Groups(group) => group * self.positions,
        }
    }

    fn sets(&self) -> usize {
        let side_by_side = match self.extent {
            // Long sums have totals, for which there are no registers.
            Extent::Channels if self.blocks() > super::long::CHAIN => 1,
            Extent::Positions(runs) if runs.count > super::long::CHAIN => 1,
            Extent::Channels => self.positions,
            Extent::Positions(runs) => runs.inner,
            Extent::Groups(_) => 1,
        };
        side_by_side.min(Code::SETS)
    }

    /// Bytes of the weights of a vector of values: factors, then summands.
    pub(crate) fn weight_bytes(&self) -> i64 {
        match self.weights {
            Weights::None => 0,
            Weights::Places => 8,
            Weights::Channels | Weights::Elements => 2 * self.vector(),
        }
    }

    pub(crate) fn tasks_of(&self) -> Tasks {
        let vector = self.vector();
        let of_channels = if self.weights == Weights::Channels { self.weight_bytes() } else { 0 };
        match self.extent {
            Extent::Channels => {
                let (sets, strips) = (self.sets(), self.positions.div_ceil(self.sets()));
                Tasks { rows: 1, strips, row: (0, 0), strip: (sets as i64 * vector, 0) }
            }
            Extent::Positions(Runs { outer, count, inner }) => {
                let row = (count * inner) as i64 * vector;
                let (sets, strips) = (self.sets(), inner.div_ceil(self.sets()));
                // Weights of channels are those of whole planes, which are rows then.
                Tasks { rows: self.blocks() * outer, strips, row: (row, of_channels), strip: (sets as i64 * vector, 0) }
            }
            Extent::Groups(group) => {
                let span = self.span(group);
                let blocks = (span / self.lanes) as i64;
                let strip = (blocks * self.plane(), blocks * of_channels);
                Tasks { rows: 1, strips: self.channels.div_ceil(span), row: (0, 0), strip }
            }
        }
    }

    /// The tile of all strips of a row but the last, and that of the last.
    pub(crate) fn tiles(&self) -> [Tile; 2] {
        let last = |all: usize, each: usize| if all.is_multiple_of(each) { each } else { all % each };
        match self.extent {
            Extent::Channels => {
                [self.sets(), last(self.positions, self.sets())].map(|sets| self.tile_of_channels(sets))
            }
            Extent::Positions(runs) => {
                [self.sets(), last(runs.inner, self.sets())].map(|sets| self.tile_of_positions(runs, sets))
            }
            Extent::Groups(group) => {
                let span = self.span(group);
                [span, last(self.channels, span)].map(|channels| self.tile_of_groups(group, channels))
            }
        }
    }
}

impl Family for Code {
    type Tables = ();

    fn name(&self) -> String {
        let over = match self.extent {
            Extent::Channels => "channels",
            Extent::Positions(_) => "positions",
            Extent::Groups(_) => "groups",
        };
        let measure = match self.measure {
            Measure::Deviation(_) => "normalise",
            Measure::Norm(..) => "norm",
        };
        format!("{measure}_{over}_f32_{}c", self.lanes)
    }

    fn tasks(&self) -> usize {
        let Tasks { rows, strips, .. } = self.tasks_of();
        rows * strips
    }

    fn scratch(&self) -> usize {
        self.tiles().iter().map(|tile| self.tile_scratch(tile)).max().unwrap_or(0)
    }

    /// The last pass reads each element before it writes it.
    fn may_overwrite(&self, _index: usize) -> bool {
        true
    }

    /// Each vector's factors, then its summands.
    fn constants<'a>(&'a self, _: &'a (), params: &'a [Values<'a>]) -> Vec<Constant<'a>> {
        let [weight, bias] = params else { return vec![Constant::F32(Vec::new())] };
        let packed = match self.weights {
            Weights::None => Vec::new(),
            Weights::Places => weight.iter().zip(bias.iter()).flat_map(|(&weight, &bias)| [weight, bias]).collect(),
            Weights::Channels => self.packed(weight, bias, 1),
            Weights::Elements => self.packed(weight, bias, self.positions),
        };
        vec![Constant::F32(packed)]
    }

    fn generate(&self, name: &str, isa: Isa, module: &mut CodeModule) -> Result<FuncId, CodeError> {
        let [full, last] = self.tiles();
        let mut define = |part: &str, tile: &Tile| {
            module.define_tile(&format!("{name}_{part}"), isa, 4, &mut |asm| self.emit(asm, tile))
        };
        let Tasks { rows, strips, row, strip } = self.tasks_of();
        let last_tile = define("last", &last)?;
        let tile = if full == last || strips == 1 { last_tile } else { define("tile", &full)? };
        nest::define(name, module, |nest| {
            nest.for_tasks(rows * strips, |nest, sample, task| {
                let (of_row, of_strip) = match (rows, strips) {
                    (1, _) => (nest.iconst(0), task),
                    (_, 1) => (task, nest.iconst(0)),
                    _ => (nest.div_imm(task, strips as i64), nest.rem_imm(task, strips as i64)),
                };
                let (out, input) = (nest.sample_pointer(0, sample), nest.sample_pointer(1, sample));
                let (weights, scratch) = (nest.constant_pointer(2), nest.constant_pointer(3));
                let values = [(out, row.0, strip.0), (input, row.0, strip.0), (weights, row.1, strip.1)];
                let [out, input, weights] = values.map(|(pointer, row, strip)| {
                    let pointer = nest.offset_by(pointer, of_row, row);
                    nest.offset_by(pointer, of_strip, strip)
                });
                let args = [input, out, weights, scratch];
                if tile == last_tile {
                    return nest.call(tile, &args);
                }
                let from_last = nest.add_imm(of_strip, 1 - strips as i64);
                nest.if_else(from_last, |nest| nest.call(tile, &args), |nest| nest.call(last_tile, &args));
            });
        })
    }
}

impl Code {
    /// Weights of `positions` places of each channel, block by block.
    fn packed(&self, weight: &[f32], bias: &[f32], positions: usize) -> Vec<f32> {
        let mut packed = vec![0.0; self.blocks() * positions * 2 * self.lanes];
        for (index, (&weight, &bias)) in weight.iter().zip(bias).enumerate() {
            let (channel, position) = (index / positions, index % positions);
            let vector = channel / self.lanes * positions + position;
            let at = vector * 2 * self.lanes + channel % self.lanes;
            (packed[at], packed[at + self.lanes]) = (weight, bias);
        }
        packed
    }
}
