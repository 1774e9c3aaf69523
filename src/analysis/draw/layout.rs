//! Where the boxes of a drawing go: layers by the longest path from the inputs, order within a layer by the median of
//! the neighbours above, arrows that skip layers led past the boxes in lanes of their own (Sugiyama, Tagawa and Toda
//! 1981), positions as near to those of the neighbours as the order allows. A long network goes on in further columns,
//! so that it fits on a slide.

use super::{Drawing, Shape};
use std::collections::HashMap;

pub const LINE: f64 = 16.0;
const GAP_X: f64 = 28.0;
const GAP_Y: f64 = 34.0;
/// Between two columns.
const GUTTER: f64 = 56.0;
pub const MARGIN: f64 = 24.0;
/// Height of the title, and of the arrows that enter a column from above.
const HEAD: f64 = 30.0;
/// Average width of a character of 12 px sans-serif.
const CHARACTER: f64 = 6.6;
/// Width over height of a slide.
const SLIDE: f64 = 16.0 / 9.0;
const MAX_COLUMNS: usize = 12;
/// Times that positions are improved, downwards and upwards in turn.
const SWEEPS: usize = 12;

/// A thing in a layer: a box, or the place where a long arrow passes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Item {
    Shape(usize),
    Pass(usize),
}

type Layers = Vec<Vec<Item>>;

pub struct Layout {
    pub layers: Layers,
    /// Centre of each shape, and of each pass of each arrow by layer.
    pub shapes: Vec<(f64, f64)>,
    pub passes: Vec<Vec<(f64, f64)>>,
    /// Where arrows enter a column from above, by the shape that they all come from.
    pub entries: HashMap<usize, Entry>,
    pub size: (f64, f64),
}

/// How arrows come from the end of one column to the next one.
pub struct Entry {
    pub at: (f64, f64),
    /// The line between the columns on which they go up.
    pub lane: f64,
}

pub fn width(shape: &Shape) -> f64 {
    let longest = shape.lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    longest as f64 * CHARACTER + 24.0
}

pub fn height(shape: &Shape) -> f64 {
    shape.lines.len() as f64 * LINE + 12.0
}

impl Layout {
    pub fn new(drawing: &Drawing) -> Layout {
        let ranks = ranks(drawing);
        let layers = ordered(drawing, &ranks);
        let links = links(drawing, &layers);
        let x = aligned(drawing, &layers, &links);
        let columns = columns(drawing, &layers, &x);
        let mut layout = Layout {
            layers,
            shapes: vec![(0.0, 0.0); drawing.shapes.len()],
            passes: vec![Vec::new(); drawing.arrows.len()],
            entries: HashMap::new(),
            size: (0.0, 0.0),
        };
        layout.place(drawing, &x, &columns);
        layout
    }

    fn place(&mut self, drawing: &Drawing, x: &[Vec<f64>], columns: &[Column]) {
        let top = MARGIN + HEAD;
        let mut left = MARGIN;
        for (index, column) in columns.iter().enumerate() {
            let mut y = top;
            for rank in column.first..=column.last {
                let tall = layer_height(drawing, &self.layers[rank]);
                for (item, &x) in self.layers[rank].iter().zip(&x[rank]) {
                    let centre = (left + x - column.left, y + tall / 2.0);
                    match item {
                        Item::Shape(s) => self.shapes[*s] = centre,
                        Item::Pass(arrow) => self.passes[*arrow].push(centre),
                    }
                }
                y += tall + GAP_Y;
            }
            if index > 0 {
                let from = self.layers[column.first - 1][0];
                let heads = &x[column.first];
                let middle = (heads[0] + heads[heads.len() - 1]) / 2.0;
                let at = (left + middle - column.left, top - HEAD / 2.0);
                let Item::Shape(from) = from else { unreachable!("columns end with a shape") };
                self.entries.insert(from, Entry { at, lane: left - GUTTER / 2.0 });
            }
            self.size.1 = self.size.1.max(y - GAP_Y + MARGIN);
            left += column.width + GUTTER;
        }
        self.size.0 = left - GUTTER + MARGIN;
    }
}

/// Length of the longest path from an input to each shape.
fn ranks(drawing: &Drawing) -> Vec<usize> {
    let mut ranks = vec![0; drawing.shapes.len()];
    for &(from, to) in &drawing.arrows {
        // Arrows come in the topological order of the boxes they lead to.
        ranks[to] = ranks[to].max(ranks[from] + 1);
    }
    ranks
}

/// The items of each layer, in order from left to right.
fn ordered(drawing: &Drawing, ranks: &[usize]) -> Layers {
    let count = ranks.iter().max().map_or(1, |rank| rank + 1);
    let mut layers = vec![Vec::new(); count];
    for (shape, &rank) in ranks.iter().enumerate() {
        layers[rank].push(Item::Shape(shape));
    }
    for (arrow, &(from, to)) in drawing.arrows.iter().enumerate() {
        layers[ranks[from] + 1..ranks[to]].iter_mut().for_each(|layer| layer.push(Item::Pass(arrow)));
    }
    let mut above_shape = vec![Vec::new(); drawing.shapes.len()];
    for (arrow, &(from, to)) in drawing.arrows.iter().enumerate() {
        let last = if ranks[from] + 1 == ranks[to] { Item::Shape(from) } else { Item::Pass(arrow) };
        above_shape[to].push(last);
    }
    for rank in 1..count {
        let above: HashMap<Item, usize> = layers[rank - 1].iter().copied().zip(0..).collect();
        let median = |item: &Item| {
            let passing = |arrow: usize| [Item::Pass(arrow), Item::Shape(drawing.arrows[arrow].0)];
            let mut positions: Vec<usize> = match item {
                Item::Pass(arrow) => passing(*arrow).iter().find_map(|i| above.get(i).copied()).into_iter().collect(),
                Item::Shape(s) => above_shape[*s].iter().map(|item| above[item]).collect(),
            };
            positions.sort_unstable();
            positions.get(positions.len() / 2).copied().unwrap_or(0)
        };
        layers[rank].sort_by_cached_key(median);
    }
    layers
}

/// For each layer, which items of it (first) are joined to which of the next layer.
type Links = Vec<Vec<(usize, usize)>>;

fn links(drawing: &Drawing, layers: &Layers) -> Links {
    let places: Vec<HashMap<Item, usize>> =
        layers.iter().map(|layer| layer.iter().copied().zip(0..).collect()).collect();
    let mut links = vec![Vec::new(); layers.len()];
    let rank_of = |shape: usize| places.iter().position(|layer| layer.contains_key(&Item::Shape(shape)));
    let ranks: Vec<usize> = (0..drawing.shapes.len()).map(|shape| rank_of(shape).expect("placed")).collect();
    for (arrow, &(from, to)) in drawing.arrows.iter().enumerate() {
        let mut last = places[ranks[from]][&Item::Shape(from)];
        for rank in ranks[from]..ranks[to] {
            let item = if rank + 1 == ranks[to] { Item::Shape(to) } else { Item::Pass(arrow) };
            let next = places[rank + 1][&item];
            links[rank].push((last, next));
            last = next;
        }
    }
    links
}

/// The centre of each item of each layer.
fn aligned(drawing: &Drawing, layers: &Layers, links: &Links) -> Vec<Vec<f64>> {
    let gaps: Vec<Vec<f64>> = layers.iter().map(|layer| gaps(drawing, layer)).collect();
    let mut x: Vec<Vec<f64>> =
        layers.iter().zip(&gaps).map(|(layer, gaps)| spread(&vec![(0.0, 1.0); layer.len()], gaps)).collect();
    for sweep in 0..SWEEPS {
        let down = sweep % 2 == 0;
        let ranks: Vec<usize> = if down { (1..layers.len()).collect() } else { (0..layers.len() - 1).rev().collect() };
        for rank in ranks {
            let other = if down { rank - 1 } else { rank + 1 };
            let mut neighbours = vec![Vec::new(); layers[rank].len()];
            for &(above, below) in &links[rank.min(other)] {
                let (mine, theirs) = if down { (below, above) } else { (above, below) };
                neighbours[mine].push(theirs);
            }
            let wanted = |(index, near): (usize, &Vec<usize>)| {
                wish(layers[rank][index], near, &layers[other], &x[other]).unwrap_or((x[rank][index], 0.1))
            };
            let wanted: Vec<(f64, f64)> = neighbours.iter().enumerate().map(wanted).collect();
            x[rank] = spread(&wanted, &gaps[rank]);
        }
    }
    x
}

/// Where an item wants to be because of its neighbours in one direction, and how much. The chain of boxes is to be
/// straight above all, then the lanes.
fn wish(item: Item, near: &[usize], others: &[Item], x: &[f64]) -> Option<(f64, f64)> {
    let mean = |near: &[usize]| near.iter().map(|&i| x[i]).sum::<f64>() / near.len() as f64;
    let boxes: Vec<usize> = near.iter().copied().filter(|&i| matches!(others[i], Item::Shape(_))).collect();
    match (item, boxes.len(), near.len()) {
        (_, _, 0) => None,
        (Item::Shape(_), 1, _) => Some((mean(&boxes), 100.0)),
        (Item::Shape(_), _, _) => Some((mean(near), 20.0)),
        (Item::Pass(_), 0, _) => Some((mean(near), 10.0)),
        (Item::Pass(_), _, _) => Some((mean(near), 0.1)),
    }
}

/// The least distance of each item of a layer from the one before it; 0 for the first.
fn gaps(drawing: &Drawing, layer: &[Item]) -> Vec<f64> {
    let between = |pair: &[Item]| half(drawing, &pair[0]) + GAP_X + half(drawing, &pair[1]);
    std::iter::once(0.0).chain(layer.windows(2).map(between)).collect()
}

fn half(drawing: &Drawing, item: &Item) -> f64 {
    match item {
        Item::Shape(s) => width(&drawing.shapes[*s]) / 2.0,
        Item::Pass(_) => 0.0,
    }
}

/// The positions with the least weighted squares of distances from those `wanted` (position, weight), in which
/// neighbours keep their `gaps`: an isotonic regression, by pooling adjacent violators (Barlow et al. 1972).
fn spread(wanted: &[(f64, f64)], gaps: &[f64]) -> Vec<f64> {
    let mut offset = 0.0;
    let mut offsets = Vec::new();
    // Weighted sum, weight, members.
    let mut pools: Vec<(f64, f64, usize)> = Vec::new();
    for (&(position, weight), gap) in wanted.iter().zip(gaps) {
        offset += gap;
        offsets.push(offset);
        pools.push(((position - offset) * weight, weight, 1));
        while let [.., (sum, weight, members), last] = &pools[..] {
            if sum / weight <= last.0 / last.1 {
                break;
            }
            let merged = (sum + last.0, weight + last.1, members + last.2);
            pools.truncate(pools.len() - 2);
            pools.push(merged);
        }
    }
    let levels = pools.iter().flat_map(|&(sum, weight, members)| std::iter::repeat_n(sum / weight, members));
    levels.zip(offsets).map(|(level, offset)| level + offset).collect()
}

/// Layers that stand below each other.
#[derive(Clone, Copy)]
struct Column {
    first: usize,
    last: usize,
    left: f64,
    width: f64,
    height: f64,
}

/// The columns in which the drawing is shown largest on a slide.
fn columns(drawing: &Drawing, layers: &Layers, x: &[Vec<f64>]) -> Vec<Column> {
    let whole = column(drawing, layers, x, 0, layers.len() - 1);
    let scale = |columns: &[Column]| {
        let width = columns.iter().map(|c| c.width + GUTTER).sum::<f64>();
        let height = columns.iter().map(|c| c.height).fold(0.0, f64::max) + HEAD + MARGIN;
        (SLIDE / width).min(1.0 / height)
    };
    let candidates = (1..=MAX_COLUMNS).map(|count| cut(drawing, layers, x, whole.height / count as f64));
    candidates
        .reduce(|best, other| if scale(&other) > scale(&best) { other } else { best })
        .expect("one column or more")
}

/// Ends each column behind the first box that stands alone in its layer and below `height`.
fn cut(drawing: &Drawing, layers: &Layers, x: &[Vec<f64>], height: f64) -> Vec<Column> {
    let mut columns = Vec::new();
    let (mut first, mut filled) = (0, 0.0);
    for (rank, layer) in layers.iter().enumerate() {
        filled += layer_height(drawing, layer);
        let ends = matches!(layer[..], [Item::Shape(_)]) && filled >= height;
        if ends || rank + 1 == layers.len() {
            columns.push(column(drawing, layers, x, first, rank));
            (first, filled) = (rank + 1, 0.0);
        } else {
            filled += GAP_Y;
        }
    }
    columns
}

fn column(drawing: &Drawing, layers: &Layers, x: &[Vec<f64>], first: usize, last: usize) -> Column {
    let items = || (first..=last).flat_map(|rank| layers[rank].iter().zip(&x[rank]));
    let left = items().map(|(item, x)| x - half(drawing, item)).fold(f64::MAX, f64::min);
    let right = items().map(|(item, x)| x + half(drawing, item)).fold(f64::MIN, f64::max);
    let heights = layers[first..=last].iter().map(|layer| layer_height(drawing, layer));
    let height = heights.sum::<f64>() + GAP_Y * (last - first) as f64;
    Column { first, last, left, width: right - left, height }
}

fn layer_height(drawing: &Drawing, layer: &[Item]) -> f64 {
    let heights = layer.iter().map(|item| match item {
        Item::Shape(s) => height(&drawing.shapes[*s]),
        Item::Pass(_) => 0.0,
    });
    heights.fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::net;
    use super::*;

    fn laid_out(dims: &str, body: &str) -> (Drawing, Layout) {
        let drawing = Drawing::of_graph(&net(dims, body));
        let layout = Layout::new(&drawing);
        (drawing, layout)
    }

    fn inception() -> (Drawing, Layout) {
        let branches = "concat {\n conv 1x1, 8\n conv 3x3, 8, half | relu\n}\n residual { conv 3x3, 16, half }";
        laid_out("8, 16, 16", branches)
    }

    #[test]
    fn boxes_of_a_layer_do_not_overlap() {
        let (drawing, layout) = inception();
        for layer in &layout.layers {
            let mut right = f64::MIN;
            for item in layer {
                let Item::Shape(s) = item else { continue };
                let (x, half) = (layout.shapes[*s].0, width(&drawing.shapes[*s]) / 2.0);
                assert!(x - half > right, "box {s} overlaps the one before");
                right = x + half;
            }
        }
    }

    #[test]
    fn everything_lies_inside_the_picture() {
        let (drawing, layout) = inception();
        for (shape, &(x, y)) in drawing.shapes.iter().zip(&layout.shapes) {
            assert!(x - width(shape) / 2.0 >= MARGIN - 0.1 && x + width(shape) / 2.0 <= layout.size.0 - MARGIN + 0.1);
            assert!(y - height(shape) / 2.0 >= MARGIN - 0.1 && y + height(shape) / 2.0 <= layout.size.1 - MARGIN + 0.1);
        }
    }

    #[test]
    fn the_main_path_and_the_shortcut_are_straight() {
        let (drawing, layout) = laid_out("8, 16, 16", "residual { conv 3x3, 8, half | relu | conv 3x3, 8, half }");
        assert!(layout.entries.is_empty() || !layout.entries.contains_key(&1));
        let passes = layout.passes.iter().find(|passes| passes.len() == 3).expect("the shortcut passes three layers");
        assert!(passes.windows(2).all(|pair| (pair[0].0 - pair[1].0).abs() < 1.0), "{passes:?}");
        let boxes = &layout.shapes[1..drawing.shapes.len()];
        assert!(boxes.windows(2).all(|pair| (pair[0].0 - pair[1].0).abs() < 2.0), "{boxes:?}");
    }

    #[test]
    fn arrows_lead_down_or_into_the_next_column() {
        let body = "residual { conv 3x3, 8, half | relu | conv 3x3, 8, half }\n".repeat(8);
        let (drawing, layout) = laid_out("8, 16, 16", &body);
        assert!(layout.entries.len() > 1, "several columns");
        for &(from, to) in &drawing.arrows {
            let (start, end) = (layout.shapes[from], layout.shapes[to]);
            assert!(start.1 < end.1 || (layout.entries.contains_key(&from) && start.0 < end.0));
        }
        assert!(layout.size.0 > layout.size.1, "as a slide");
    }

    #[test]
    fn positions_are_the_nearest_that_keep_the_gaps() {
        assert_eq!(spread(&[(0.0, 1.0), (100.0, 1.0)], &[0.0, 10.0]), [0.0, 100.0]);
        assert_eq!(spread(&[(0.0, 1.0), (0.0, 1.0)], &[0.0, 10.0]), [-5.0, 5.0]);
        assert_eq!(spread(&[(0.0, 3.0), (0.0, 1.0)], &[0.0, 8.0]), [-2.0, 6.0]);
        assert_eq!(spread(&[(9.0, 1.0), (0.0, 1.0), (0.0, 1.0)], &[0.0, 1.0, 1.0]), [2.0, 3.0, 4.0]);
    }
}
