//! The tile `(input, output, weights, scratch)` of a normalisation.

use super::{Code, Measure, Weights};
use crate::codegen::vector::{Mem, R, V, VectorAsm};
use crate::kernels::lanes::across;
use crate::kernels::long::{CHAIN, Every, Total};
use crate::layers::{LpNorm, Runs};

/// What a tile does: blocks of channels, of each a walk over positions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tile {
    pub blocks: usize,
    /// Lanes of the last block that are channels, if others must not be added.
    pub tail: Option<usize>,
    /// Positions of a block that belong together, and bytes from one to the next.
    pub walk: (usize, i64),
    /// Neighbouring positions of which each has its own mean.
    pub sets: usize,
    pub join: Join,
}

/// Whose sums are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Join {
    /// Each lane is for itself.
    Apart,
    /// Those of all blocks and lanes.
    All,
    /// So many groups of so many channels, block after block.
    Groups { groups: usize, channels: usize },
}

/// Where the next vectors of values, of the output and of the weights lie.
struct Place {
    input: R,
    out: R,
    weights: R,
}

/// Mean (where there is one) and factor of each set.
struct Moments {
    means: Vec<V>,
    factors: Vec<V>,
}

impl Code {
    pub(super) fn tile_of_channels(&self, sets: usize) -> Tile {
        Tile { blocks: self.blocks(), tail: self.tail(self.channels), walk: (1, 0), sets, join: Join::All }
    }

    pub(super) fn tile_of_positions(&self, runs: Runs, sets: usize) -> Tile {
        let walk = (runs.count, runs.inner as i64 * self.vector());
        Tile { blocks: 1, tail: None, walk, sets, join: Join::Apart }
    }

    pub(super) fn tile_of_groups(&self, group: usize, channels: usize) -> Tile {
        let (join, tail) = match group {
            _ if group == channels => (Join::All, self.tail(channels)),
            _ => (Join::Groups { groups: channels / group, channels: group }, None),
        };
        let walk = (self.positions, self.vector());
        Tile { blocks: channels.div_ceil(self.lanes), tail, walk, sets: 1, join }
    }

    fn tail(&self, channels: usize) -> Option<usize> {
        Some(channels % self.lanes).filter(|&tail| tail > 0)
    }

    /// Bytes of memory for itself: a vector for each set; or sums, means and factors of all channels, with room for a
    /// vector behind them.
    pub(super) fn tile_scratch(&self, tile: &Tile) -> usize {
        match tile.join {
            Join::Groups { .. } => 3 * self.row_bytes(tile) as usize,
            Join::Apart | Join::All => 64 * Code::SETS,
        }
    }

    fn row_bytes(&self, tile: &Tile) -> i64 {
        (tile.blocks as i64 + 1) * self.vector()
    }

    /// Vectors of a walk that are done in one pass, each with its own sum: a single chain waits for each addition.
    fn unroll(&self, tile: &Tile) -> usize {
        let (times, step) = tile.walk;
        let near = step * Code::SETS as i64 <= i64::from(i32::MAX);
        if tile.sets == 1 && near { times.min(Code::SETS) } else { 1 }
    }

    pub(super) fn emit(&self, asm: &mut dyn VectorAsm, tile: &Tile) {
        let means = match self.measure {
            Measure::Deviation(_) => self.emit_sums(asm, tile, &[]),
            Measure::Norm(..) => Vec::new(),
        };
        self.finish(asm, tile, &means, 1, |asm, code, mean| code.divide(asm, mean));
        let factors = self.emit_sums(asm, tile, &means);
        self.finish(asm, tile, &factors, 2, |asm, code, factor| code.emit_factor(asm, factor));
        self.emit_results(asm, tile, &Moments { means, factors });
    }

    /// v / the number of values that belong together
    fn divide(&self, asm: &mut dyn VectorAsm, v: V) {
        let count = asm.vec();
        asm.splat(count, self.count() as f32);
        asm.div(v, v, count);
        asm.free(count);
    }

    /// Of a sum that by which is multiplied.
    fn emit_factor(&self, asm: &mut dyn VectorAsm, sum: V) {
        if matches!(self.measure, Measure::Deviation(_)) {
            self.divide(asm, sum);
        }
        let x = asm.vec();
        match self.measure {
            Measure::Deviation(eps) => {
                asm.splat(x, eps.get());
                asm.add(sum, sum, x);
                asm.sqrt(sum, sum);
            }
            Measure::Norm(norm, eps) => {
                if norm == LpNorm::L2 {
                    asm.sqrt(sum, sum);
                }
                asm.splat(x, eps.get());
                asm.max(sum, x, sum);
            }
        }
        asm.splat(x, 1.0);
        asm.div(sum, x, sum);
        asm.free(x);
    }

    /// Makes of sums what `f` says: of those in registers, or of those of groups, which are in memory, for each channel in
    /// the given row.
    fn finish(
        &self,
        asm: &mut dyn VectorAsm,
        tile: &Tile,
        sums: &[V],
        row: i64,
        f: impl Fn(&mut dyn VectorAsm, &Code, V),
    ) {
        let Join::Groups { groups, channels } = tile.join else {
            return sums.iter().for_each(|&sum| f(asm, self, sum));
        };
        let [counter, inner, from, to] = [0; 4].map(|_| asm.int());
        let [sum, x] = [0; 2].map(|_| asm.vec());
        [from, to].into_iter().for_each(|r| asm.copy_int(r, asm.arg(3)));
        asm.add_imm(to, row * self.row_bytes(tile));
        asm.set_int(counter, groups as i64);
        let of_groups = asm.loop_begin(counter);
        asm.splat(sum, 0.0);
        asm.set_int(inner, channels as i64);
        let of_channels = asm.loop_begin(inner);
        asm.broadcast(x, from.at(0));
        asm.add(sum, sum, x);
        asm.add_imm(from, 4);
        asm.loop_end(of_channels);
        f(asm, self, sum);
        // Whole vectors: what is too much is the next group's, or behind the last.
        asm.set_int(inner, channels.div_ceil(self.lanes) as i64);
        let of_vectors = asm.loop_begin(inner);
        asm.store(to.at(0), sum);
        asm.add_imm(to, self.vector());
        asm.loop_end(of_vectors);
        asm.add_imm(to, 4 * channels as i64 - channels.next_multiple_of(self.lanes) as i64 * 4);
        asm.loop_end(of_groups);
        [counter, inner, from, to].into_iter().for_each(|r| asm.free_int(r));
        [sum, x].into_iter().for_each(|v| asm.free(v));
    }

    /// The sum of each set: of the values, or of the squares of their distances from the means, or of what makes the norm.
    /// Those of the channels of groups are in memory instead.
    fn emit_sums(&self, asm: &mut dyn VectorAsm, tile: &Tile, means: &[V]) -> Vec<V> {
        let unroll = self.unroll(tile);
        let parts: Vec<V> = (0..tile.sets * unroll).map(|_| asm.vec()).collect();
        let by_block = matches!(tile.join, Join::Groups { .. });
        let passes = tile.walk.0.div_ceil(unroll) * if by_block { 1 } else { tile.blocks };
        let long = passes > CHAIN;
        let totals: Vec<Total> = if long { (0..tile.sets).map(|_| Total::new(asm)).collect() } else { Vec::new() };
        let add = |asm: &mut dyn VectorAsm| {
            parts.iter().enumerate().for_each(|(i, &part)| totals[i / unroll].add(asm, part));
        };
        let every = long.then(|| Every::chain(asm, 1));
        let clear = |asm: &mut dyn VectorAsm| parts.iter().for_each(|&part| asm.splat(part, 0.0));
        // Of the parts of each set the first, or of its total.
        let end = |asm: &mut dyn VectorAsm| -> Vec<V> {
            if long {
                add(asm);
                return totals.iter().map(Total::sum).collect();
            }
            for set in parts.chunks(unroll) {
                set[1..].iter().for_each(|&other| asm.add(set[0], set[0], other));
            }
            parts.iter().copied().step_by(unroll).collect()
        };
        clear(asm);
        let of_block = by_block && !means.is_empty();
        let row = asm.int();
        asm.copy_int(row, asm.arg(3));
        self.for_blocks(asm, tile, |asm, place, lanes| {
            let own = if of_block { means } else { &[] };
            own.iter().for_each(|&mean| asm.load(mean, row.at(self.row_bytes(tile))));
            self.for_walk(asm, tile, place, |asm, place, vectors| {
                for set in 0..tile.sets {
                    for i in 0..vectors {
                        let at = set as i64 * self.vector() + i as i64 * tile.walk.1;
                        self.emit_term(asm, parts[set * unroll + i], place.input.at(at), means.get(set), (set, lanes));
                    }
                }
                if let Some(every) = &every {
                    every.pass(asm, add);
                }
            });
            if by_block {
                let sum = end(asm)[0];
                asm.store(row.at(0), sum);
                asm.add_imm(row, self.vector());
                clear(asm);
                totals.iter().for_each(|total| total.clear(asm));
            }
        });
        asm.free_int(row);
        if let Some(every) = every {
            every.end(asm);
        }
        let sums = end(asm);
        parts.iter().filter(|part| !sums.contains(part)).for_each(|&part| asm.free(part));
        totals.into_iter().for_each(|total| {
            total.end(asm);
        });
        if tile.join == Join::All {
            for (set, &sum) in sums.iter().enumerate() {
                let memory = asm.arg(3).at(64 * set as i64);
                across(asm, sum, memory, |asm, dst, a, b| asm.add(dst, a, b));
            }
        }
        sums
    }

    /// Adds what one vector gives to a sum.
    fn emit_term(&self, asm: &mut dyn VectorAsm, part: V, input: Mem, mean: Option<&V>, (set, lanes): (usize, usize)) {
        let x = asm.vec();
        asm.load_first(x, input, lanes);
        match (self.measure, mean) {
            (Measure::Deviation(_), None) => asm.add(part, part, x),
            (Measure::Deviation(_), Some(&mean)) => {
                if lanes == self.lanes {
                    asm.sub(x, x, mean);
                } else {
                    // What is no channel is 0, and its distance must be.
                    let (masked, memory) = (asm.vec(), asm.arg(3).at(64 * set as i64));
                    asm.store(memory, mean);
                    asm.load_first(masked, memory, lanes);
                    asm.sub(x, x, masked);
                    asm.free(masked);
                }
                asm.fma(part, x, x);
            }
            (Measure::Norm(LpNorm::L2, _), _) => asm.fma(part, x, x),
            (Measure::Norm(LpNorm::L1, _), _) => {
                let magnitude = asm.vec();
                asm.splat_bits(magnitude, 0x7fff_ffff);
                asm.and(x, x, magnitude);
                asm.add(part, part, x);
                asm.free(magnitude);
            }
        }
        asm.free(x);
    }

    fn emit_results(&self, asm: &mut dyn VectorAsm, tile: &Tile, moments: &Moments) {
        let Moments { means, factors } = moments;
        let in_memory = matches!(tile.join, Join::Groups { .. });
        let [x, weight, bias] = [0; 3].map(|_| asm.vec());
        let row = asm.int();
        asm.copy_int(row, asm.arg(3));
        self.for_blocks(asm, tile, |asm, place, _| {
            if in_memory {
                means.iter().for_each(|&mean| asm.load(mean, row.at(self.row_bytes(tile))));
                factors.iter().for_each(|&factor| asm.load(factor, row.at(2 * self.row_bytes(tile))));
                asm.add_imm(row, self.vector());
            }
            if self.weights == Weights::Channels {
                asm.load(weight, place.weights.at(0));
                asm.load(bias, place.weights.at(self.vector()));
            }
            self.for_walk(asm, tile, place, |asm, place, vectors| {
                for i in 0..vectors {
                    self.load_weights(asm, place.weights.at(i as i64 * self.weight_bytes()), [weight, bias]);
                    for (set, &factor) in factors.iter().enumerate() {
                        let at = set as i64 * self.vector() + i as i64 * tile.walk.1;
                        asm.load(x, place.input.at(at));
                        if let Some(&mean) = means.get(set) {
                            asm.sub(x, x, mean);
                        }
                        asm.mul(x, x, factor);
                        if self.weights != Weights::None {
                            asm.horner(x, weight, bias);
                        }
                        asm.store(place.out.at(at), x);
                    }
                }
            });
        });
        asm.free_int(row);
        [x, weight, bias].into_iter().for_each(|v| asm.free(v));
    }

    /// The weights of one vector, where they differ from those of the next.
    fn load_weights(&self, asm: &mut dyn VectorAsm, memory: Mem, [weight, bias]: [V; 2]) {
        let second = |bytes: i64| memory.base.at(i64::from(memory.offset) + bytes);
        match self.weights {
            Weights::None | Weights::Channels => {}
            Weights::Places => {
                asm.broadcast(weight, memory);
                asm.broadcast(bias, second(4));
            }
            Weights::Elements => {
                asm.load(weight, memory);
                asm.load(bias, second(self.vector()));
            }
        }
    }

    /// Emits `body` for each block of channels, with the lanes that are some.
    fn for_blocks(
        &self,
        asm: &mut dyn VectorAsm,
        tile: &Tile,
        mut body: impl FnMut(&mut dyn VectorAsm, &Place, usize),
    ) {
        let [counter, input, out, weights] = [0; 4].map(|_| asm.int());
        [(input, 0), (out, 1), (weights, 2)].into_iter().for_each(|(r, arg)| asm.copy_int(r, asm.arg(arg)));
        let place = Place { input, out, weights };
        let full = tile.blocks - usize::from(tile.tail.is_some());
        // What the walk has not gone of the way to the next block.
        let rest = self.plane() - tile.walk.0 as i64 * tile.walk.1;
        if full > 0 {
            asm.set_int(counter, full as i64);
            let blocks = asm.loop_begin(counter);
            body(asm, &place, self.lanes);
            if tile.blocks > 1 {
                asm.add_imm(input, rest);
                asm.add_imm(out, rest);
            }
            if self.weights == Weights::Channels {
                asm.add_imm(weights, self.weight_bytes());
            }
            asm.loop_end(blocks);
        }
        if let Some(tail) = tile.tail {
            body(asm, &place, tail);
        }
        [counter, input, out, weights].into_iter().for_each(|r| asm.free_int(r));
    }

    /// Emits `body` for the vectors of a block, so many at once, and moves on.
    fn for_walk(
        &self,
        asm: &mut dyn VectorAsm,
        tile: &Tile,
        place: &Place,
        mut body: impl FnMut(&mut dyn VectorAsm, &Place, usize),
    ) {
        let ((times, step), unroll) = (tile.walk, self.unroll(tile));
        let weights = if self.weights == Weights::Channels { 0 } else { self.weight_bytes() };
        for (vectors, passes) in [(unroll, times / unroll), (times % unroll, 1)] {
            if vectors == 0 || passes == 0 {
                continue;
            }
            let counter = asm.int();
            asm.set_int(counter, passes as i64);
            let looped = asm.loop_begin(counter);
            body(asm, place, vectors);
            let moves = [(place.input, step), (place.out, step), (place.weights, weights)];
            for (pointer, step) in moves.into_iter().filter(|&(_, step)| step != 0) {
                asm.add_imm(pointer, step * vectors as i64);
            }
            asm.loop_end(looped);
            asm.free_int(counter);
        }
    }
}
