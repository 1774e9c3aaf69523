//! Where the boxes of a drawing go: layers by the longest path from the inputs, order within a layer by the median of
//! the neighbours above, arrows that skip layers led past the boxes in lanes of their own (Sugiyama, Tagawa and Toda
//! 1981), positions as near to those of the neighbours as the order allows. A long network goes on in further columns,
//! so that it fits on a slide; an arrow past boxes that would lead from one column into another is not drawn, but has a
//! port at each of its ends.

use super::{Drawing, Shape, TooLarge};
use std::collections::{BTreeMap, HashMap, HashSet};

pub const LINE: f64 = 16.0;
const GAP_X: f64 = 24.0;
const GAP_Y: f64 = 34.0;
/// Between two columns, without the lanes in it.
const GUTTER: f64 = 48.0;
/// Between the lanes of a gutter.
const LANE: f64 = 7.0;
pub const MARGIN: f64 = 24.0;
/// Height of the title, and of the arrows that enter a column from above.
const HEAD: f64 = 40.0;
/// Average width of a character of 12 px sans-serif.
const CHARACTER: f64 = 6.6;
/// Room for a port beside a box.
pub const PORT: f64 = 40.0;
/// What spans no more layers never has ports.
const SHORT: usize = 8;
/// A drawing that is no higher need not be shown larger.
const TALL: f64 = 800.0;
/// Width over height of a slide.
const SLIDE: f64 = 16.0 / 9.0;
const MAX_COLUMNS: usize = 12;
/// Times that positions are improved, downwards and upwards in turn.
const SWEEPS: usize = 40;

/// Layer, and index in it.
pub type Place = (usize, usize);

pub struct Layout {
    /// The place of each shape.
    pub shapes: Vec<Place>,
    /// The places that each arrow visits, from shape to shape; none of one that has ports.
    pub routes: Vec<Vec<Place>>,
    /// For each shape the numbers of the ports at its right: those of arrows that leave it, then of those that reach it.
    /// Arrows that leave one shape have the same number.
    pub ports: Vec<[Vec<usize>; 2]>,
    pub spots: Vec<Vec<Spot>>,
    /// Where the things in the last layer of a column go on in the next one.
    pub turns: HashMap<Place, Turn>,
    pub size: (f64, f64),
}

/// A box, or a straight way past the boxes of a layer.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    pub x: f64,
    pub top: f64,
    pub bottom: f64,
}

/// A way from the end of one column to the beginning of the next: down to `bottom`, right to `lane`, up to `top`, right
/// to `x`.
#[derive(Clone, Copy, Debug)]
pub struct Turn {
    pub bottom: f64,
    pub lane: f64,
    pub top: f64,
    pub x: f64,
}

/// A thing in a layer: a box, or the place where a long arrow passes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Item {
    Shape(usize),
    Pass(usize),
}

type Layers = Vec<Vec<Item>>;

pub fn width(shape: &Shape) -> f64 {
    let longest = shape.lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    longest as f64 * CHARACTER + 24.0
}

pub fn height(shape: &Shape) -> f64 {
    shape.lines.len() as f64 * LINE + 12.0
}

/// Boxes, and places where arrows pass boxes, that a drawing may have. An arrow may pass as many as there are boxes.
const MAX_ITEMS: usize = 1 << 20;

impl Layout {
    /// As large on a slide as can be.
    pub fn new(drawing: &Drawing) -> Result<Layout, TooLarge> {
        Layout::in_columns(drawing, MAX_COLUMNS)
    }

    /// All boxes below one another.
    pub fn of_one_column(drawing: &Drawing) -> Result<Layout, TooLarge> {
        Layout::in_columns(drawing, 1)
    }

    fn in_columns(drawing: &Drawing, most: usize) -> Result<Layout, TooLarge> {
        let ranks = ranks(drawing);
        let passes: usize = drawing.arrows.iter().map(|&(from, to)| ranks[to] - ranks[from] - 1).sum();
        if drawing.shapes.len() + passes > MAX_ITEMS {
            return Err(TooLarge { boxes: drawing.shapes.len(), passes });
        }
        let span = |&(from, to): &(usize, usize)| ranks[to] - ranks[from];
        let longer = |limit: usize| drawing.arrows.iter().map(|arrow| span(arrow) > limit).collect::<Vec<bool>>();
        let mut limit = drawing.arrows.iter().map(span).max().unwrap_or(0);
        let mut draft = Draft::new(drawing, &ranks, &longer(limit), most);
        // The longest arrows first, until the others allow for columns.
        while !draft.is_clean && limit > SHORT {
            limit = (limit / 2).max(SHORT);
            draft = Draft::new(drawing, &ranks, &longer(limit), most);
        }
        let ported = draft.between_columns(drawing, &ranks, &longer(limit));
        if ported != longer(limit) {
            draft = Draft::new(drawing, &ranks, &ported, most);
        }
        Ok(draft.layout(drawing, &ported))
    }

    fn place(&mut self, sizes: &[Vec<Size>], x: &[Vec<f64>], columns: &[Column]) {
        let turns = columns.iter().map(|column| column.turns).max().unwrap_or(0);
        let top = MARGIN + HEAD + LANE * turns as f64;
        let mut left = MARGIN;
        for column in columns {
            let mut y = top;
            for rank in column.first..=column.last {
                let tall = layer_height(&sizes[rank]);
                let spot = |(size, x): (&Size, &f64)| {
                    let (middle, half) = (y + tall / 2.0, if size.passes { tall } else { size.height } / 2.0);
                    Spot { x: left + x - column.left, top: middle - half, bottom: middle + half }
                };
                self.spots.push(sizes[rank].iter().zip(&x[rank]).map(spot).collect());
                y += tall + GAP_Y;
            }
            self.size.1 = self.size.1.max(y - GAP_Y + MARGIN + LANE * column.turns as f64);
            self.size.0 = left + column.width + MARGIN;
            left += column.width + column.gutter();
        }
    }

    /// Leads what stands at the end of each column into the next one, without crossings: what is further left goes
    /// lower, further right, and enters lower.
    fn turn(&mut self, columns: &[Column]) {
        let mut right = MARGIN;
        let ends: HashSet<usize> = columns.iter().map(|column| column.last).collect();
        let followers = self.followers(&ends);
        for column in &columns[..columns.len() - 1] {
            right += column.width;
            let (last, next) = (&self.spots[column.last], &self.spots[column.last + 1]);
            let deepest = last.iter().map(|spot| spot.bottom).fold(f64::MIN, f64::max);
            let highest = next.iter().map(|spot| spot.top).fold(f64::MAX, f64::min);
            for index in 0..last.len() {
                let (before, behind) = (LANE * index as f64, LANE * (last.len() - 1 - index) as f64);
                let followers = followers.get(&(column.last, index)).map_or(&[][..], |followers| followers);
                let x = followers.iter().map(|&to| next[to].x).collect::<Vec<_>>();
                let turn = Turn {
                    bottom: deepest + MARGIN / 2.0 + behind,
                    lane: right + GUTTER / 2.0 + behind,
                    top: highest - HEAD * 0.6 - before,
                    x: x.iter().sum::<f64>() / x.len().max(1) as f64,
                };
                self.turns.insert((column.last, index), turn);
            }
            right += column.gutter();
        }
    }

    /// For what stands in the given layers, the things of the next layer that arrows lead to; of those the boxes that end
    /// an arrow, if there are any.
    fn followers(&self, ranks: &HashSet<usize>) -> HashMap<Place, Vec<usize>> {
        let boxes: HashSet<Place> = self.shapes.iter().copied().collect();
        let (mut all, mut heads) = (HashMap::<Place, Vec<usize>>::new(), HashMap::<Place, Vec<usize>>::new());
        let steps = self.routes.iter().flat_map(|route| route.windows(2)).map(|step| (step[0], step[1]));
        for (from, to) in steps.filter(|((rank, _), _)| ranks.contains(rank)) {
            all.entry(from).or_default().push(to.1);
            if boxes.contains(&to) {
                heads.entry(from).or_default().push(to.1);
            }
        }
        all.extend(heads);
        all
    }
}

/// A layout whose columns are chosen, but where nothing has a place yet.
struct Draft {
    layers: Layers,
    routes: Vec<Vec<Place>>,
    sizes: Vec<Vec<Size>>,
    x: Vec<Vec<f64>>,
    columns: Vec<Column>,
    /// Whether columns end where one arrow leads on.
    is_clean: bool,
}

impl Draft {
    /// Without the arrows that have ports.
    fn new(drawing: &Drawing, ranks: &[usize], ported: &[bool], most: usize) -> Draft {
        let layers = ordered(drawing, ranks, ported);
        let routes = routes(drawing, &layers, ranks, ported);
        let sizes = sizes(drawing, &layers, ported);
        let x = aligned(&layers, &Links::new(&layers, &routes), &sizes);
        let (columns, is_clean) = columns(&layers, &sizes, &x, most);
        Draft { layers, routes, sizes, x, columns, is_clean }
    }

    /// Which of some arrows lead out of a column.
    fn between_columns(&self, drawing: &Drawing, ranks: &[usize], of: &[bool]) -> Vec<bool> {
        let crosses = |&(from, to): &(usize, usize)| {
            self.columns.iter().any(|column| (ranks[from]..ranks[to]).contains(&column.last))
        };
        drawing.arrows.iter().zip(of).map(|(arrow, of)| *of && crosses(arrow)).collect()
    }

    fn layout(self, drawing: &Drawing, ported: &[bool]) -> Layout {
        let mut layout = Layout {
            shapes: places(&self.layers, drawing.shapes.len()),
            routes: self.routes,
            ports: ports(drawing, ported),
            spots: Vec::new(),
            turns: HashMap::new(),
            size: (0.0, 0.0),
        };
        layout.place(&self.sizes, &self.x, &self.columns);
        layout.turn(&self.columns);
        layout
    }
}

/// See [`Layout::ports`].
fn ports(drawing: &Drawing, ported: &[bool]) -> Vec<[Vec<usize>; 2]> {
    let mut ports = vec![[Vec::new(), Vec::new()]; drawing.shapes.len()];
    let arrows = || drawing.arrows.iter().zip(ported).filter(|(_, ported)| **ported).map(|(arrow, _)| *arrow);
    let mut numbers: BTreeMap<usize, usize> = arrows().map(|(from, _)| (from, 0)).collect();
    numbers.values_mut().zip(1..).for_each(|(number, next)| *number = next);
    numbers.iter().for_each(|(&from, &number)| ports[from][0].push(number));
    arrows().for_each(|(from, to)| ports[to][1].push(numbers[&from]));
    ports
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

/// The thing in the layer before `rank` from which an arrow comes that has come as far.
fn before(drawing: &Drawing, ranks: &[usize], arrow: usize, rank: usize) -> Item {
    let (from, _) = drawing.arrows[arrow];
    if ranks[from] + 1 == rank { Item::Shape(from) } else { Item::Pass(arrow) }
}

/// The items of each layer, in order from left to right.
fn ordered(drawing: &Drawing, ranks: &[usize], ported: &[bool]) -> Layers {
    let count = ranks.iter().max().map_or(1, |rank| rank + 1);
    let mut layers = vec![Vec::new(); count];
    for (shape, &rank) in ranks.iter().enumerate() {
        layers[rank].push(Item::Shape(shape));
    }
    let mut into = vec![Vec::new(); drawing.shapes.len()];
    for (arrow, &(from, to)) in drawing.arrows.iter().enumerate().filter(|(arrow, _)| !ported[*arrow]) {
        layers[ranks[from] + 1..ranks[to]].iter_mut().for_each(|layer| layer.push(Item::Pass(arrow)));
        into[to].push(arrow);
    }
    for rank in 1..count {
        let above: HashMap<Item, usize> = layers[rank - 1].iter().copied().zip(0..).collect();
        let median = |item: &Item| {
            let arrows = match item {
                Item::Pass(arrow) => vec![*arrow],
                Item::Shape(s) => into[*s].clone(),
            };
            let mut positions: Vec<usize> =
                arrows.iter().map(|&arrow| above[&before(drawing, ranks, arrow, rank)]).collect();
            positions.sort_unstable();
            positions.get(positions.len() / 2).copied().unwrap_or(0)
        };
        layers[rank].sort_by_cached_key(median);
    }
    layers
}

/// The place of each shape.
fn places(layers: &Layers, shapes: usize) -> Vec<Place> {
    let mut places = vec![(0, 0); shapes];
    for (rank, layer) in layers.iter().enumerate() {
        for (index, item) in layer.iter().enumerate() {
            if let Item::Shape(s) = item {
                places[*s] = (rank, index);
            }
        }
    }
    places
}

fn routes(drawing: &Drawing, layers: &Layers, ranks: &[usize], ported: &[bool]) -> Vec<Vec<Place>> {
    let index: Vec<HashMap<Item, usize>> =
        layers.iter().map(|layer| layer.iter().copied().zip(0..).collect()).collect();
    let route = |(arrow, &(from, to)): (usize, &(usize, usize))| {
        if ported[arrow] {
            return Vec::new();
        }
        let ends = [(ranks[from], Item::Shape(from)), (ranks[to], Item::Shape(to))];
        let passes = (ranks[from] + 1..ranks[to]).map(|rank| (rank, Item::Pass(arrow)));
        let items = [ends[0]].into_iter().chain(passes).chain([ends[1]]);
        items.map(|(rank, item)| (rank, index[rank][&item])).collect()
    };
    drawing.arrows.iter().enumerate().map(route).collect()
}

#[derive(Clone, Copy)]
struct Size {
    width: f64,
    height: f64,
    passes: bool,
}

fn sizes(drawing: &Drawing, layers: &Layers, ported: &[bool]) -> Vec<Vec<Size>> {
    let mut beside = vec![0.0; drawing.shapes.len()];
    for (&(from, to), _) in drawing.arrows.iter().zip(ported).filter(|(_, ported)| **ported) {
        [from, to].into_iter().for_each(|shape| beside[shape] = 2.0 * PORT);
    }
    let size = |item: &Item| match item {
        Item::Shape(s) => {
            Size { width: width(&drawing.shapes[*s]) + beside[*s], height: height(&drawing.shapes[*s]), passes: false }
        }
        Item::Pass(_) => Size { width: 0.0, height: 0.0, passes: true },
    };
    layers.iter().map(|layer| layer.iter().map(size).collect()).collect()
}

fn layer_height(sizes: &[Size]) -> f64 {
    sizes.iter().map(|size| size.height).fold(0.0, f64::max)
}

/// What is joined to what in neighbouring layers, and how straight it wants to be.
struct Links {
    /// By layer and index: index in the layer above, weight.
    up: Vec<Vec<Vec<(usize, f64)>>>,
    down: Vec<Vec<Vec<(usize, f64)>>>,
}

impl Links {
    fn new(layers: &Layers, routes: &[Vec<Place>]) -> Links {
        let empty = || -> Vec<Vec<Vec<(usize, f64)>>> { layers.iter().map(|l| vec![Vec::new(); l.len()]).collect() };
        let is_box = |(rank, index): Place| matches!(layers[rank][index], Item::Shape(_));
        let steps = || routes.iter().flat_map(|route| route.windows(2)).map(|step| (step[0], step[1]));
        // Boxes that each thing leads to and comes from directly.
        let (mut out, mut into) = (HashMap::<Place, usize>::new(), HashMap::<Place, usize>::new());
        for (above, below) in steps() {
            *out.entry(above).or_default() += usize::from(is_box(below));
            *into.entry(below).or_default() += usize::from(is_box(above));
        }
        let mut links = Links { up: empty(), down: empty() };
        for (above, below) in steps() {
            let weight = weight(is_box(above).then(|| out[&above]), is_box(below).then(|| into[&below]));
            links.up[below.0][below.1].push((above.1, weight));
            links.down[above.0][above.1].push((below.1, weight));
        }
        links
    }
}

/// How much a link wants to be straight, given how many boxes the one above leads to directly and the one below comes
/// from (`None` if it is no box): a chain of boxes above all, then the ways past boxes; the ends of a shortcut beside
/// a chain hardly.
fn weight(above: Option<usize>, below: Option<usize>) -> f64 {
    match (above, below) {
        (Some(1), Some(1)) => 100.0,
        (Some(_), Some(_)) => 4.0,
        (None, None) => 10.0,
        (Some(boxes), None) | (None, Some(boxes)) => match boxes {
            0 => 10.0,
            1 => 0.1,
            _ => 4.0,
        },
    }
}

/// The centre of each item of each layer. The first sweeps look in their own direction only, to bring the chains into
/// line; the others balance both.
fn aligned(layers: &Layers, links: &Links, sizes: &[Vec<Size>]) -> Vec<Vec<f64>> {
    let gaps: Vec<Vec<f64>> = sizes.iter().map(|layer| gaps(layer)).collect();
    let start = |(layer, gaps): (&Vec<Item>, &Vec<f64>)| spread(&vec![(0.0, 1.0); layer.len()], gaps);
    let mut x: Vec<Vec<f64>> = layers.iter().zip(&gaps).map(start).collect();
    for sweep in 0..SWEEPS {
        let (down, both) = (sweep % 2 == 0, sweep > 1);
        let order: Vec<usize> = if down { (0..layers.len()).collect() } else { (0..layers.len()).rev().collect() };
        for rank in order {
            let wish = |index: usize| {
                let up = links.up[rank][index].iter().filter(|_| both || down).map(|&(i, w)| (x[rank - 1][i], w));
                let low = links.down[rank][index].iter().filter(|_| both || !down).map(|&(i, w)| (x[rank + 1][i], w));
                let (sum, weight) = up.chain(low).fold((0.0, 0.0), |(s, all), (x, w)| (s + x * w, all + w));
                if weight > 0.0 { (sum / weight, weight) } else { (x[rank][index], 0.01) }
            };
            let wishes: Vec<(f64, f64)> = (0..layers[rank].len()).map(wish).collect();
            x[rank] = spread(&wishes, &gaps[rank]);
        }
    }
    x
}

/// The least distance of each thing of a layer from the one before it; 0 for the first.
fn gaps(sizes: &[Size]) -> Vec<f64> {
    let between = |pair: &[Size]| match (pair[0].passes, pair[1].passes) {
        (true, true) => GAP_X / 2.0,
        _ => pair[0].width / 2.0 + GAP_X + pair[1].width / 2.0,
    };
    std::iter::once(0.0).chain(sizes.windows(2).map(between)).collect()
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
        while let [.., (sum, weight, members), last] = pools[..] {
            if sum / weight <= last.0 / last.1 {
                break;
            }
            pools.truncate(pools.len() - 2);
            pools.push((sum + last.0, weight + last.1, members + last.2));
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
    /// Ways that lead into the next column.
    turns: usize,
}

impl Column {
    fn gutter(&self) -> f64 {
        GUTTER + LANE * self.turns as f64
    }
}

/// The columns in which the drawing is shown largest on a slide. Shortcuts between columns are harder to follow, and
/// are only led there if that makes the drawing much larger.
fn columns(layers: &Layers, sizes: &[Vec<Size>], x: &[Vec<f64>], most: usize) -> (Vec<Column>, bool) {
    let scale = |columns: &[Column]| {
        let width = columns.iter().map(|c| c.width + c.gutter()).sum::<f64>();
        let height = columns.iter().map(|c| c.height).fold(0.0, f64::max) + HEAD + 2.0 * MARGIN;
        (SLIDE / width).min(1.0 / height)
    };
    let best = |cuts: &dyn Fn(&[Item]) -> bool| {
        let height = column(sizes, x, 0, layers.len() - 1).height;
        let candidates = (1..=most).map(|count| cut(layers, sizes, x, height / count as f64, cuts));
        candidates.map(|columns| (scale(&columns), columns)).reduce(|a, b| if b.0 > a.0 { b } else { a })
    };
    let is_box = |item: &&Item| matches!(item, Item::Shape(_));
    let clean = best(&|layer| matches!(layer, [Item::Shape(_)])).expect("there is one column or more");
    let any = best(&|layer| layer.iter().filter(is_box).count() == 1).expect("there is one column or more");
    if any.0.min(1.0 / TALL) > 1.5 * clean.0 { (any.1, false) } else { (clean.1, true) }
}

/// Ends each column at the first layer with `height` above it that may end one.
fn cut(
    layers: &Layers,
    sizes: &[Vec<Size>],
    x: &[Vec<f64>],
    height: f64,
    may_end: &dyn Fn(&[Item]) -> bool,
) -> Vec<Column> {
    let mut columns = Vec::new();
    let (mut first, mut filled) = (0, 0.0);
    for rank in 0..layers.len() {
        filled += layer_height(&sizes[rank]);
        let is_last = rank + 1 == layers.len();
        if is_last || (may_end(&layers[rank]) && filled >= height) {
            let turns = if is_last { 0 } else { layers[rank].len() };
            columns.push(Column { turns, ..column(sizes, x, first, rank) });
            (first, filled) = (rank + 1, 0.0);
        } else {
            filled += GAP_Y;
        }
    }
    columns
}

fn column(sizes: &[Vec<Size>], x: &[Vec<f64>], first: usize, last: usize) -> Column {
    let all = || (first..=last).flat_map(|rank| sizes[rank].iter().zip(&x[rank]));
    let left = all().map(|(size, x)| x - size.width / 2.0).fold(f64::MAX, f64::min);
    let right = all().map(|(size, x)| x + size.width / 2.0).fold(f64::MIN, f64::max);
    let heights = sizes[first..=last].iter().map(|layer| layer_height(layer));
    let height = heights.sum::<f64>() + GAP_Y * (last - first) as f64;
    Column { first, last, left, width: right - left, height, turns: 0 }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::net;
    use super::*;

    fn laid_out(body: &str) -> (Drawing, Layout) {
        let drawing = Drawing::of_graph(&net("8, 16, 16", body));
        let layout = Layout::new(&drawing).unwrap();
        (drawing, layout)
    }

    fn inception() -> (Drawing, Layout) {
        laid_out("concat {\n conv 1x1, 8\n conv 3x3, 8, half | relu\n}\n residual { conv 3x3, 16, half }")
    }

    const RESIDUAL: &str = "residual { conv 3x3, 8, half | relu | conv 3x3, 8, half }\n";

    fn spot(layout: &Layout, shape: usize) -> Spot {
        let (rank, index) = layout.shapes[shape];
        layout.spots[rank][index]
    }

    #[test]
    fn boxes_lie_apart_inside_the_picture() {
        let (drawing, layout) = inception();
        let bounds = |shape: usize| {
            let (spot, half) = (spot(&layout, shape), width(&drawing.shapes[shape]) / 2.0);
            assert!((spot.bottom - spot.top - height(&drawing.shapes[shape])).abs() < 1e-6);
            (spot.x - half, spot.x + half, spot.top, spot.bottom)
        };
        let (w, h) = layout.size;
        for a in 0..drawing.shapes.len() {
            let (left, right, top, bottom) = bounds(a);
            assert!(left > MARGIN - 0.1 && right < w - MARGIN + 0.1 && top > MARGIN && bottom < h - MARGIN + 0.1);
            let apart =
                |b: usize| bounds(b).0 > right || bounds(b).1 < left || bounds(b).2 > bottom || bounds(b).3 < top;
            assert!((0..a).all(apart), "box {a} overlaps another");
        }
    }

    #[test]
    fn the_main_path_and_the_shortcut_are_straight() {
        let (_, layout) = laid_out(RESIDUAL);
        let straight = |[from, to]: [Place; 2]| {
            let [from, to] = [from, to].map(|(rank, index)| layout.spots[rank][index].x);
            assert!((from - to).abs() < 2.0, "{from} to {to}");
        };
        let shortcut = layout.routes.iter().find(|route| route.len() > 2).expect("it passes layers");
        let chain = layout.routes.iter().filter(|route| route.len() == 2).map(|route| &route[..]);
        let steps = chain.chain([&shortcut[1..shortcut.len() - 1]]).flat_map(|way| way.windows(2));
        // Columns lie beside each other.
        steps.filter(|step| !layout.turns.contains_key(&step[0])).for_each(|step| straight([step[0], step[1]]));
    }

    #[test]
    fn arrows_lead_down_or_into_the_next_column() {
        let (_, layout) = laid_out(&RESIDUAL.repeat(8));
        assert!(layout.turns.len() > 1, "several columns");
        for step in layout.routes.iter().flat_map(|route| route.windows(2)) {
            let [from, to] = [step[0], step[1]].map(|(rank, index)| layout.spots[rank][index]);
            match layout.turns.get(&step[0]) {
                Some(turn) => assert!(from.x < turn.lane && turn.lane < to.x && turn.top < to.top),
                None => assert!(from.bottom < to.top),
            }
        }
        assert!(layout.size.0 > layout.size.1, "as a slide");
    }

    #[test]
    fn a_shortcut_over_everything_has_ports() {
        let (drawing, layout) = laid_out(&format!("residual {{\n{}}}", RESIDUAL.repeat(12)));
        assert!(!layout.turns.is_empty(), "several columns");
        let (input, sum) = (0, drawing.shapes.len() - 1);
        for (shape, ports) in layout.ports.iter().enumerate() {
            let expected = [[input].contains(&shape), [sum].contains(&shape)];
            assert_eq!(ports.clone().map(|ports| ports == [1]), expected, "{shape}");
        }
        let arrows = drawing.arrows.iter().zip(&layout.routes);
        arrows.for_each(|(&arrow, route)| assert_eq!(route.is_empty(), arrow == (input, sum)));
    }

    #[test]
    fn positions_are_the_nearest_that_keep_the_gaps() {
        assert_eq!(spread(&[(0.0, 1.0), (100.0, 1.0)], &[0.0, 10.0]), [0.0, 100.0]);
        assert_eq!(spread(&[(0.0, 1.0), (0.0, 1.0)], &[0.0, 10.0]), [-5.0, 5.0]);
        assert_eq!(spread(&[(0.0, 3.0), (0.0, 1.0)], &[0.0, 8.0]), [-2.0, 6.0]);
        assert_eq!(spread(&[(9.0, 1.0), (0.0, 1.0), (0.0, 1.0)], &[0.0, 1.0, 1.0]), [2.0, 3.0, 4.0]);
    }
}
