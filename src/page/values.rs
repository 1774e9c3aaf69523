//! What a page holds of the values of a network: few maps of each layer, in eight bits, and the numbers behind some units.

use super::base64::{encode, of_numbers};
use super::unit::{Source, Unit};
use crate::io::images::{Picture, encode_png};
use crate::ir::weights::{self, WeightSource};
use crate::ir::{Graph, NodeId, Verified};
use crate::layers::Op;
use crate::tensor::Tensor;
use serde::Serialize;

/// A network with what is known of its numbers.
pub struct Numbers<'a> {
    pub graph: &'a Verified<Graph>,
    pub weights: Option<&'a dyn WeightSource>,
    /// The value of each node, of one sample.
    pub values: Option<&'a [Tensor]>,
}

/// The numbers that a page holds.
#[derive(Serialize)]
pub struct Values {
    /// By node.
    maps: Vec<Option<Maps>>,
    /// By node, where they are few: everything.
    exact: Option<Vec<Exact>>,
    /// By node, otherwise: units of the strongest maps, or filters where there is no input.
    units: Vec<Vec<Unit>>,
}

/// The strongest channels of a value.
#[derive(Serialize)]
struct Maps {
    channels: Vec<usize>,
    /// The mean magnitude of each.
    strengths: Vec<f32>,
    /// Where each has its largest magnitude, and the value there.
    best: Vec<Vec<usize>>,
    peaks: Vec<f32>,
    /// Size of a map as it is kept, and how many positions a pixel stands for in each direction.
    height: usize,
    width: usize,
    scale: usize,
    /// What black and white stand for.
    low: f32,
    high: f32,
    /// A PNG with the maps below one another; none of single positions.
    sheet: Option<String>,
}

/// All values of a node, and its weights, as base64 of f32.
#[derive(Default, Serialize)]
struct Exact {
    value: Option<String>,
    weight: Option<String>,
    bias: Option<String>,
}

/// A page holds all numbers where they are no more than this.
const WHOLE: usize = 1 << 18;
/// Bytes of all maps, and of all units.
const MAP_BYTES: usize = 1_200_000;
const UNIT_BYTES: usize = 400_000;
/// The longer side of a map, and maps of a layer, from fine to coarse.
const GRAINS: [(usize, usize); 11] =
    [(64, 16), (56, 16), (48, 16), (40, 16), (32, 16), (28, 16), (24, 12), (20, 10), (16, 8), (12, 6), (8, 4)];
/// Units of a layer at most.
const UNITS: usize = 8;

impl Values {
    pub fn new(numbers: &Numbers) -> Values {
        let graph = numbers.graph;
        let is_whole = count(numbers) <= WHOLE;
        let maps: Vec<Option<Maps>> = numbers.values.map_or_else(|| graph.ids().map(|_| None).collect(), maps);
        let units = |(id, maps): (NodeId, &Option<Maps>)| match is_whole {
            true => Vec::new(),
            false => units_of(numbers, id, maps.as_ref()),
        };
        let mut units: Vec<Vec<Unit>> = graph.ids().zip(&maps).map(units).collect();
        keep_in_turn(&mut units, UNIT_BYTES);
        Values { exact: is_whole.then(|| graph.ids().map(|id| exact(numbers, id)).collect()), units, maps }
    }
}

/// Numbers of all values and weights.
fn count(numbers: &Numbers) -> usize {
    let values = numbers.values.into_iter().flatten().map(|value| value.data().len());
    let weights = numbers.weights.map_or(&[][..], |_| &numbers.graph.params).iter().map(|param| param.elements());
    values.chain(weights).fold(0, usize::saturating_add)
}

fn exact(numbers: &Numbers, id: NodeId) -> Exact {
    let node = &numbers.graph[id];
    let is_sum = matches!(node.op, Op::Conv(_) | Op::Dense(_));
    let param = |at: usize| {
        let (source, param) = (numbers.weights.filter(|_| is_sum)?, *node.params.get(at)?);
        Some(of_numbers(&*weights::values(numbers.graph, param, source)))
    };
    let value = numbers.values.map(|values| of_numbers(values[id.0 as usize].data()));
    Exact { value, weight: param(0), bias: param(1) }
}

/// Bytes in the page.
fn bytes(data: &impl Serialize) -> usize {
    super::json(data).len() + 1
}

/// Keeps the first unit of each layer, then the second of each, as long as there is room.
fn keep_in_turn(units: &mut [Vec<Unit>], mut room: usize) {
    for rank in 0..UNITS {
        for units in units.iter_mut().filter(|units| units.len() > rank) {
            let taken = bytes(&units[rank]);
            match room.checked_sub(taken) {
                Some(left) => room = left,
                None => units.truncate(rank),
            }
        }
    }
}

fn units_of(numbers: &Numbers, id: NodeId, maps: Option<&Maps>) -> Vec<Unit> {
    let Some(source) = Source::new(numbers, id) else { return Vec::new() };
    match maps {
        Some(maps) => {
            let of = maps.channels.iter().zip(&maps.best).take(UNITS);
            of.filter_map(|(&channel, at)| source.unit(channel, Some(at))).collect()
        }
        None => {
            (0..numbers.graph[id].ty.channels()).take(UNITS).filter_map(|channel| source.unit(channel, None)).collect()
        }
    }
}

/// The maps of all nodes, as fine as there is room for.
fn maps(values: &[Tensor]) -> Vec<Option<Maps>> {
    let strengths: Vec<Vec<(usize, f32)>> = values.iter().map(strengths).collect();
    let pixels = |&(side, most): &(usize, usize)| {
        let of = |value: &Tensor| Grain::new(value, side).pixels() * value.channels().min(most);
        values.iter().map(of).fold(0, usize::saturating_add)
    };
    let all = |(side, most): (usize, usize)| -> Vec<Option<Maps>> {
        values
            .iter()
            .zip(&strengths)
            .map(|(value, strengths)| Maps::new(value, &strengths[..strengths.len().min(most)], side))
            .collect()
    };
    let last = GRAINS.len() - 1;
    // Pixels are never packed into a fifth of a byte on the average.
    let fine = GRAINS.iter().position(|grain| pixels(grain) <= 5 * MAP_BYTES).unwrap_or(last);
    let mut candidates = GRAINS[fine..last].iter().map(|&grain| all(grain));
    candidates.find(|maps| bytes(maps) <= MAP_BYTES).unwrap_or_else(|| {
        let mut room = MAP_BYTES;
        let mut fits = |maps: &Maps| room.checked_sub(bytes(maps)).inspect(|&left| room = left).is_some();
        all(GRAINS[last]).into_iter().map(|maps| maps.filter(&mut fits)).collect()
    })
}

/// The channels of a value with their mean magnitudes, the strongest first.
fn strengths(value: &Tensor) -> Vec<(usize, f32)> {
    let mean = |channel: usize| {
        let plane = value.plane(0, channel);
        (plane.iter().map(|x| f64::from(x.abs())).sum::<f64>() / plane.len().max(1) as f64) as f32
    };
    let mut channels: Vec<(usize, f32)> = (0..value.channels()).map(|channel| (channel, mean(channel))).collect();
    channels.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    channels
}

/// How a map is kept: its last two dimensions, at the middle of the others, in squares of `scale`.
pub struct Grain {
    height: usize,
    width: usize,
    scale: usize,
    /// Places in the middle of the dimensions before, and how many values lie before them.
    middle: Vec<usize>,
    offset: usize,
}

impl Grain {
    pub fn new(value: &Tensor, side: usize) -> Grain {
        let spatial = value.spatial();
        let (before, [height, width]) = match spatial {
            [before @ .., height, width] => (before, [*height, *width]),
            [width] => (&[][..], [1, *width]),
            [] => (&[][..], [1, 1]),
        };
        let middle: Vec<usize> = before.iter().map(|size| size / 2).collect();
        let place = before.iter().zip(&middle).fold(0, |place, (size, at)| place * size + at);
        // A line may have as many pixels as eight sides of a square.
        let scale = if height == 1 { width.div_ceil(8 * side) } else { height.max(width).div_ceil(side) };
        Grain { height, width, scale, middle, offset: place * height * width }
    }

    /// Height and width of what is kept.
    pub fn size(&self) -> (usize, usize) {
        (self.height.div_ceil(self.scale), self.width.div_ceil(self.scale))
    }

    pub fn pixels(&self) -> usize {
        let (height, width) = self.size();
        height * width
    }

    fn slice<'v>(&self, value: &'v Tensor, channel: usize) -> &'v [f32] {
        &value.plane(0, channel)[self.offset..][..self.height * self.width]
    }

    /// The means of squares.
    pub fn shrunk(&self, plane: &[f32]) -> Vec<f32> {
        let mut pixels = Vec::with_capacity(self.pixels());
        for top in (0..self.height).step_by(self.scale) {
            for left in (0..self.width).step_by(self.scale) {
                let rows = top..(top + self.scale).min(self.height);
                let row = |y: usize| &plane[y * self.width..][left..(left + self.scale).min(self.width)];
                let (sum, count) = rows.flat_map(row).fold((0.0, 0.0), |(sum, count), x| (sum + x, count + 1.0));
                pixels.push(sum / count);
            }
        }
        pixels
    }

    /// Where the largest magnitude is.
    fn best(&self, plane: &[f32]) -> usize {
        let larger = |best: usize, at: usize| {
            if plane[at].abs() > plane[best].abs() || plane[best].is_nan() { at } else { best }
        };
        (0..plane.len()).fold(0, larger)
    }
}

impl Maps {
    /// `None` of values without elements.
    fn new(value: &Tensor, channels: &[(usize, f32)], side: usize) -> Option<Maps> {
        let grain = Grain::new(value, side);
        if grain.pixels() == 0 || channels.is_empty() {
            return None;
        }
        let planes: Vec<&[f32]> = channels.iter().map(|&(channel, _)| grain.slice(value, channel)).collect();
        let best: Vec<usize> = planes.iter().map(|plane| grain.best(plane)).collect();
        let pixels: Vec<f32> = planes.iter().flat_map(|plane| grain.shrunk(plane)).collect();
        let finite = || pixels.iter().copied().filter(|x| x.is_finite());
        let (low, high) = (finite().fold(0.0, f32::min), finite().fold(0.0, f32::max));
        let (height, width) = grain.size();
        let rank = value.spatial().len();
        let at = |best: &usize| match rank {
            0 => Vec::new(),
            1 => vec![*best],
            _ => [&grain.middle[..], &[best / grain.width, best % grain.width]].concat(),
        };
        Some(Maps {
            channels: channels.iter().map(|&(channel, _)| channel).collect(),
            strengths: channels.iter().map(|&(_, strength)| strength).collect(),
            peaks: planes.iter().zip(&best).map(|(plane, &at)| plane[at]).collect(),
            best: best.iter().map(at).collect(),
            sheet: (height * width > 1).then(|| sheet(&pixels, width, low, high)),
            height,
            width,
            scale: grain.scale,
            low,
            high,
        })
    }
}

/// Grey values between the ends.
fn sheet(pixels: &[f32], width: usize, low: f32, high: f32) -> String {
    let range = if high > low { high - low } else { 1.0 };
    let grey = |x: &f32| ((x - low) / range * 255.0).round() as u8;
    let grey: Vec<u8> = pixels.iter().map(grey).collect();
    encode(&encode_png(&Picture::new(width, grey.len() / width, 1, grey)))
}
