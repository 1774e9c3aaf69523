//! A drawing as SVG.

use super::layout::{Entry, LINE, Layout, MARGIN, height, width};
use super::{Drawing, Shape};
use std::collections::HashSet;
use std::fmt::Write;

/// Radius of the corners of arrows that lead into the next column.
const CORNER: f64 = 8.0;

pub fn render(drawing: &Drawing) -> String {
    let layout = Layout::new(drawing);
    let (width, height) = layout.size;
    let title = escape(&drawing.title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" \
         height=\"{height:.0}\" font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\">\n\
         <title>{title}</title>\n\
         <defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"7\" markerHeight=\"7\" \
         orient=\"auto\"><path d=\"M0 0 8 4 0 8z\" fill=\"#667085\"/></marker></defs>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"{MARGIN}\" y=\"{:.0}\" font-size=\"16\" font-weight=\"600\" fill=\"#101828\">{title}</text>\n",
        MARGIN + 10.0
    );
    let mut entered = HashSet::new();
    for (index, &(from, to)) in drawing.arrows.iter().enumerate() {
        let entry = layout.entries.get(&from);
        if let Some(entry) = entry.filter(|_| entered.insert(from)) {
            draw_line(&mut svg, &between_columns(drawing, &layout, from, entry), "");
        }
        let start = entry.map_or_else(|| below(drawing, &layout, from), |entry| entry.at);
        draw_line(&mut svg, &path(drawing, &layout, start, index, to), " marker-end=\"url(#a)\"");
    }
    for (shape, &(x, y)) in drawing.shapes.iter().zip(&layout.shapes) {
        draw_shape(&mut svg, shape, x, y);
    }
    svg + "</svg>\n"
}

fn draw_line(svg: &mut String, path: &str, end: &str) {
    let _ = writeln!(svg, "<path d=\"{path}\" fill=\"none\" stroke=\"#98a2b3\" stroke-width=\"1.4\"{end}/>");
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

/// The middle of the lower edge of a box.
fn below(drawing: &Drawing, layout: &Layout, shape: usize) -> (f64, f64) {
    let (x, y) = layout.shapes[shape];
    (x, y + height(&drawing.shapes[shape]) / 2.0)
}

/// To the top of a box, through the passes of the arrow.
fn path(drawing: &Drawing, layout: &Layout, start: (f64, f64), arrow: usize, to: usize) -> String {
    let (x, y) = layout.shapes[to];
    let end = (x, y - height(&drawing.shapes[to]) / 2.0);
    let mut path = format!("M{:.1} {:.1}", start.0, start.1);
    let mut last = start;
    for &point in layout.passes[arrow].iter().chain([&end]) {
        let middle = (last.1 + point.1) / 2.0;
        let _ = write!(path, " C{:.1} {middle:.1} {:.1} {middle:.1} {:.1} {:.1}", last.0, point.0, point.0, point.1);
        last = point;
    }
    path
}

/// From the last box of a column down, to the right, up, and to where the next column is entered.
fn between_columns(drawing: &Drawing, layout: &Layout, from: usize, entry: &Entry) -> String {
    let (x, y) = below(drawing, layout, from);
    let (bottom, lane, (end, top)) = (y + MARGIN / 2.0, entry.lane, entry.at);
    let corners = [(x, bottom), (lane, bottom), (lane, top), (end, top)];
    let mut path = format!("M{x:.1} {y:.1}");
    let mut last = (x, y);
    for (index, &(cx, cy)) in corners.iter().enumerate() {
        let Some(&(nx, ny)) = corners.get(index + 1) else { break };
        let towards = |(fx, fy): (f64, f64)| {
            let length = (fx - cx).abs().max((fy - cy).abs());
            let part = if length == 0.0 { 0.0 } else { (CORNER / length).min(0.5) };
            (cx + (fx - cx) * part, cy + (fy - cy) * part)
        };
        let ((ax, ay), (bx, by)) = (towards(last), towards((nx, ny)));
        let _ = write!(path, " L{ax:.1} {ay:.1} Q{cx:.1} {cy:.1} {bx:.1} {by:.1}");
        last = (cx, cy);
    }
    let _ = write!(path, " L{end:.1} {top:.1}");
    path
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
