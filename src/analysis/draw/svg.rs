//! A layered drawing (Sugiyama, Tagawa and Toda 1981): layers by the longest path from the inputs, order within a
//! layer by the median of the neighbours above, arrows that skip layers led past the boxes in lanes of their own.

use super::{Drawing, Shape};
use std::fmt::Write;

const LINE: f64 = 16.0;
const GAP_X: f64 = 28.0;
const GAP_Y: f64 = 34.0;
const MARGIN: f64 = 24.0;
/// Average width of a character of 12 px sans-serif.
const CHARACTER: f64 = 6.6;

/// A thing in a layer: a box, or the place where a long arrow passes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Item {
    Shape(usize),
    Pass(usize),
}

struct Layout {
    layers: Vec<Vec<Item>>,
    /// Centre of each shape, and of each pass of each arrow by layer.
    shapes: Vec<(f64, f64)>,
    passes: Vec<Vec<(f64, f64)>>,
    size: (f64, f64),
}

pub fn render(drawing: &Drawing) -> String {
    let layout = Layout::new(drawing);
    let (width, height) = layout.size;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\">\n\
         <title>{}</title>\n\
         <defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path d=\"M0 0 8 4 0 8z\" fill=\"#667085\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n",
        escape(&drawing.title)
    );
    for (index, &(from, to)) in drawing.arrows.iter().enumerate() {
        let path = layout.path(drawing, index, from, to);
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"#98a2b3\" stroke-width=\"1.4\" marker-end=\"url(#a)\"/>"
        );
    }
    for (index, (shape, &(x, y))) in drawing.shapes.iter().zip(&layout.shapes).enumerate() {
        let _ = writeln!(svg, "<g data-shape=\"{index}\">");
        draw_shape(&mut svg, shape, x, y);
        svg.push_str("</g>\n");
    }
    svg + "</svg>\n"
}

fn draw_shape(svg: &mut String, shape: &Shape, x: f64, y: f64) {
    let (w, h) = (width(shape), height(shape));
    let _ = writeln!(
        svg,
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"8\" fill=\"{}\" stroke=\"#667085\"/>",
        x - w / 2.0,
        y - h / 2.0,
        shape.kind.colour()
    );
    for (index, line) in shape.lines.iter().enumerate() {
        let at = y - h / 2.0 + LINE * (index as f64 + 1.0) + 2.0;
        let style = if index == 0 { "font-weight=\"600\" fill=\"#101828\"" } else { "fill=\"#475467\"" };
        let _ =
            writeln!(svg, "<text x=\"{x:.1}\" y=\"{at:.1}\" text-anchor=\"middle\" {style}>{}</text>", escape(line));
    }
}

fn width(shape: &Shape) -> f64 {
    let longest = shape.lines.iter().map(|line| line.chars().count()).max().unwrap_or(0);
    longest as f64 * CHARACTER + 24.0
}

fn height(shape: &Shape) -> f64 {
    shape.lines.len() as f64 * LINE + 12.0
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

impl Layout {
    fn new(drawing: &Drawing) -> Layout {
        let ranks = ranks(drawing);
        let layers = ordered(drawing, &ranks);
        let mut layout = Layout {
            layers,
            shapes: vec![(0.0, 0.0); drawing.shapes.len()],
            passes: vec![Vec::new(); drawing.arrows.len()],
            size: (0.0, 0.0),
        };
        layout.place(drawing);
        layout
    }

    /// Every layer is centred; its height is that of its tallest box.
    fn place(&mut self, drawing: &Drawing) {
        let item_width = |item: &Item| match item {
            Item::Shape(s) => width(&drawing.shapes[*s]),
            Item::Pass(_) => 12.0,
        };
        let layer_width =
            |layer: &Vec<Item>| layer.iter().map(item_width).sum::<f64>() + GAP_X * (layer.len() - 1) as f64;
        let total = self.layers.iter().map(layer_width).fold(0.0, f64::max);
        let mut y = MARGIN;
        for layer in &self.layers {
            let tallest = layer.iter().map(|item| match item {
                Item::Shape(s) => height(&drawing.shapes[*s]),
                Item::Pass(_) => 0.0,
            });
            let tall = tallest.fold(0.0, f64::max);
            let mut x = MARGIN + (total - layer_width(layer)) / 2.0;
            for item in layer {
                let centre = (x + item_width(item) / 2.0, y + tall / 2.0);
                match item {
                    Item::Shape(s) => self.shapes[*s] = centre,
                    Item::Pass(arrow) => self.passes[*arrow].push(centre),
                }
                x += item_width(item) + GAP_X;
            }
            y += tall + GAP_Y;
        }
        self.size = (total + 2.0 * MARGIN, y - GAP_Y + MARGIN);
    }

    /// From the bottom of one box to the top of another, through the passes.
    fn path(&self, drawing: &Drawing, arrow: usize, from: usize, to: usize) -> String {
        let (x0, y0) = self.shapes[from];
        let (x1, y1) = self.shapes[to];
        let start = (x0, y0 + height(&drawing.shapes[from]) / 2.0);
        let end = (x1, y1 - height(&drawing.shapes[to]) / 2.0);
        let mut path = format!("M{:.1} {:.1}", start.0, start.1);
        let mut last = start;
        for &point in self.passes[arrow].iter().chain([&end]) {
            let middle = (last.1 + point.1) / 2.0;
            let _ =
                write!(path, " C{:.1} {middle:.1} {:.1} {middle:.1} {:.1} {:.1}", last.0, point.0, point.0, point.1);
            last = point;
        }
        path
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
fn ordered(drawing: &Drawing, ranks: &[usize]) -> Vec<Vec<Item>> {
    let count = ranks.iter().max().map_or(1, |rank| rank + 1);
    let mut layers = vec![Vec::new(); count];
    for (shape, &rank) in ranks.iter().enumerate() {
        layers[rank].push(Item::Shape(shape));
    }
    for (arrow, &(from, to)) in drawing.arrows.iter().enumerate() {
        layers[ranks[from] + 1..ranks[to]].iter_mut().for_each(|layer| layer.push(Item::Pass(arrow)));
    }
    for rank in 1..count {
        let (above, below) = layers.split_at_mut(rank);
        let above = &above[rank - 1];
        below[0].sort_by(|a, b| median(drawing, above, a).total_cmp(&median(drawing, above, b)));
    }
    layers
}

/// The median position of an item's neighbours in the layer above, between 0 and 1.
fn median(drawing: &Drawing, above: &[Item], item: &Item) -> f64 {
    let ends = |arrow: usize| {
        let (from, _) = drawing.arrows[arrow];
        above.iter().position(|a| *a == Item::Shape(from) || *a == Item::Pass(arrow))
    };
    let mut positions: Vec<usize> = match item {
        Item::Pass(arrow) => ends(*arrow).into_iter().collect(),
        Item::Shape(s) => (0..drawing.arrows.len()).filter(|&a| drawing.arrows[a].1 == *s).filter_map(ends).collect(),
    };
    positions.sort_unstable();
    let middle = positions.get(positions.len() / 2).copied().unwrap_or(0);
    (middle as f64 + 0.5) / above.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::net;
    use super::*;

    #[test]
    fn boxes_of_a_layer_do_not_overlap() {
        let graph =
            net("8, 16, 16", "concat {\n conv 1x1, 8\n conv 3x3, 8, half | relu\n}\n residual { conv 3x3, 16, half }");
        let drawing = Drawing::of_graph(&graph);
        let layout = Layout::new(&drawing);
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
    fn arrows_lead_down() {
        let graph = net("8, 16, 16", "residual { conv 3x3, 8, half | relu | conv 3x3, 8, half }");
        let drawing = Drawing::of_graph(&graph);
        let layout = Layout::new(&drawing);
        assert!(drawing.arrows.iter().all(|&(from, to)| layout.shapes[from].1 < layout.shapes[to].1));
        assert!(layout.passes.iter().any(|passes| passes.len() == 3), "the shortcut passes three layers");
    }
}
