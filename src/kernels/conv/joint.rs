//! Layers of one output position that read many weights, of several samples at a time: the samples are the columns of the
//! tile, so that each weight is read once for all of them. The packed weights are those of the code for one sample, and each
//! sum is made in the same order, so that a sample's bits do not depend on how many it is computed with.

use super::cut::Map;
use super::{Code, Interleave, Problem, Tile};
use crate::kernels::Target;
use crate::kernels::taps::segments_of;
use crate::machine::costs::FAR_WEIGHTS;

/// How many samples are taken at a time, most first; what is left goes one by one.
pub const JOINT: [usize; 3] = [8, 4, 2];

/// Bytes from one sample to the next.
#[derive(Clone, Copy, Debug)]
pub struct Strides {
    pub input: usize,
    pub output: usize,
}

impl Problem {
    /// Whether several samples at a time are worth a tile that suits them.
    pub(super) fn is_joint(&self, target: &Target) -> bool {
        self.reads_far_weights_once(target) && self.alone
    }

    /// Whether a sample reads each weight once, and all of them are too many to stay near until the next one.
    pub(super) fn reads_far_weights_once(&self, target: &Target) -> bool {
        let taps: usize = self.window.kernel.iter().product();
        let one_position = self.window.out.iter().all(|&size| size == 1);
        let weights = (self.channels_in * self.channels_out).saturating_mul(taps * 4);
        one_position && self.groups == 1 && is_far(weights, target)
    }
}

fn is_far(weights: usize, target: &Target) -> bool {
    target.force_joint || weights >= FAR_WEIGHTS
}

/// As [`Tile::all`], those first that are fastest for the most samples; of equally fast ones those that read the most weights
/// side by side: a sample by itself adds to no more sums than a row of weights has vectors, and waits for each.
pub(super) fn tiles(target: &Target, out_blocks: usize, block: usize, kernel: usize) -> Vec<Tile> {
    let mut tiles = Tile::all(target, Map::once(JOINT[0]), out_blocks, block, kernel);
    let cycles = |tile: &Tile| tile.row_cycles(JOINT[0], tile.vectors);
    let slower = |a: &Tile, b: &Tile| (cycles(a) * b.vectors).cmp(&(cycles(b) * a.vectors));
    tiles.sort_by(|a, b| slower(a, b).then(b.vectors.cmp(&a.vectors)));
    tiles
}

impl Code {
    /// Whether [`Code::joint`] is worth it.
    pub fn is_joint(&self, target: &Target) -> bool {
        let one_position = self.rows.count * self.columns == 1 && self.groups == 1 && self.interleave.is_none();
        let alone = !self.gated && self.epilogue.operands() == 0;
        one_position && alone && is_far(self.weight_bytes(), target)
    }

    /// The code for so many samples at a time, which lie at these distances; `None` where it cannot reach them all.
    pub fn joint(&self, samples: usize, strides: Strides, target: &Target) -> Option<Code> {
        let pixel = self.input.pixel_stride as usize;
        let reach = strides.input.max(strides.output).checked_mul(samples)?;
        if !strides.input.is_multiple_of(pixel) || reach > i32::MAX as usize / 2 {
            return None;
        }
        let pixels = self.tile.joint_pixels(target).min(samples);
        if pixels == 1 {
            // A tile that was chosen for one sample reads the weights once for each.
            return None;
        }
        let tile = Tile { pixels, ..self.tile };
        let mut code = self.clone();
        code.tile = tile;
        code.columns = samples;
        code.window.stride = strides.input / pixel;
        code.segments = segments_of(&vec![self.segments[0].columns[0]; samples], tile.pixels);
        code.epilogue = code.epilogue.with_step(strides.output);
        // All rows, of which there is one, begin at the output's only position.
        code.interleave = Some(Interleave { positions: 1, rows: vec![0; self.rows.dims.len()] });
        Some(code)
    }
}

impl Tile {
    /// Pixels that this many vectors leave registers for.
    fn joint_pixels(&self, target: &Target) -> usize {
        let registers = if self.embedded { target.registers } else { target.plain_registers };
        (registers - self.vectors - usize::from(!self.embedded)) / self.vectors
    }
}
