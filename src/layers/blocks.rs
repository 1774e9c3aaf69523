//! Blocks of positions that are channels of a coarser grid: what `depth_to_space` and `space_to_depth` share.

use super::window::unravel;
use super::*;

pub(super) const BLOCK: ParamDecl =
    ParamDecl::required("size", Kind::PerDim, "size of a block in all dimensions, or `2x1`");
pub(super) const ORDER: ParamDecl = ParamDecl::named(
    "order",
    Kind::Word(&["crd", "dcr"]),
    "crd",
    "how the channels of the coarser grid are numbered: `crd`, c * B + b, for channel c and place b of the B places of a \
     block, as PyTorch does; `dcr`, b * C + c, for C channels",
);

/// How channels of the coarser grid are numbered: for each channel the places of a block, or the other way. The names are
/// those of ONNX: column, row, depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockOrder {
    /// c * B + b
    Crd,
    /// b * C + c
    Dcr,
}

impl BlockOrder {
    pub(super) fn from_args(args: &Args) -> BlockOrder {
        if args.word("order") == "crd" { BlockOrder::Crd } else { BlockOrder::Dcr }
    }

    /// The coarser grid's channel for channel `c` of `channels` and place `b` of `places`.
    pub fn channel(self, (c, channels): (usize, usize), (b, places): (usize, usize)) -> usize {
        match self {
            BlockOrder::Crd => c * places + b,
            BlockOrder::Dcr => b * channels + c,
        }
    }

    pub(super) fn suffix(self) -> &'static str {
        if self == BlockOrder::Crd { "" } else { ", dcr" }
    }
}

/// The coordinates of every place in a block, in row-major order.
pub fn block_places(block: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    (0..block.iter().product()).map(|place| unravel(place, block))
}

/// Calls `f(coarse channel, coarse position, channel, position)` for all pairs of elements of one sample that are the same,
/// where `channels` and `fine` are the channels and sizes of the finer grid.
pub(super) fn for_pairs(
    order: BlockOrder,
    block: &[usize],
    channels: usize,
    fine: &[usize],
    mut f: impl FnMut(usize, usize, usize, usize),
) {
    let coarse: Vec<usize> = fine.iter().zip(block).map(|(size, block)| size / block).collect();
    let index = |at: &[usize], dims: &[usize]| at.iter().zip(dims).fold(0, |index, (at, size)| index * size + at);
    for position in 0..fine.iter().product() {
        let at = unravel(position, fine);
        let [outer, inner]: [Vec<usize>; 2] = [|a: usize, b: usize| a / b, |a: usize, b: usize| a % b]
            .map(|split| at.iter().zip(block).map(|(&at, &block)| split(at, block)).collect());
        let place = (index(&inner, block), block.iter().product());
        for c in 0..channels {
            f(order.channel((c, channels), place), index(&outer, &coarse), c, position);
        }
    }
}
