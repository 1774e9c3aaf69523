//! A drawing as SVG.

use super::layout::{LINE, Layout, MARGIN, PORT, Place, Spot, Turn, width};
use super::{Drawing, Shape, TooLarge};
use std::fmt::Write;

/// Of the disc of a port.
const RADIUS: f64 = 9.0;
/// Colours of ports, in turn.
const PORTS: [&str; 6] = ["#0e9384", "#c11574", "#6938ef", "#b54708", "#026aa2", "#4d7c0f"];
/// Between the heads of arrows that reach one box.
const HEADS: f64 = 16.0;
/// Radius of the corners of arrows that lead into the next column.
const CORNER: f64 = 8.0;

pub fn render(drawing: &Drawing) -> Result<String, TooLarge> {
    let layout = Layout::new(drawing)?;
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
    let ends = ends(drawing, &layout);
    for (route, end) in layout.routes.iter().zip(ends).filter(|(route, _)| !route.is_empty()) {
        let path = path(&layout, route, end);
        let _ = writeln!(
            svg,
            "<path d=\"{path}\" fill=\"none\" stroke=\"#98a2b3\" stroke-width=\"1.4\" marker-end=\"url(#a)\"/>"
        );
    }
    for ((shape, &(rank, index)), ports) in drawing.shapes.iter().zip(&layout.shapes).zip(&layout.ports) {
        let spot = &layout.spots[rank][index];
        draw_shape(&mut svg, shape, spot);
        draw_ports(&mut svg, shape, spot, ports);
    }
    Ok(svg + "</svg>\n")
}

fn draw_shape(svg: &mut String, shape: &Shape, &Spot { x, top, bottom }: &Spot) {
    let (w, h) = (width(shape), bottom - top);
    let _ = writeln!(
        svg,
        "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" rx=\"8\" fill=\"{}\" stroke=\"#667085\"/>",
        x - w / 2.0,
        top,
        shape.kind.colour()
    );
    for (index, line) in shape.lines.iter().enumerate() {
        let at = top + LINE * (index as f64 + 1.0) + 2.0;
        let style = if index == 0 { "font-weight=\"600\" fill=\"#101828\"" } else { "fill=\"#475467\"" };
        let _ =
            writeln!(svg, "<text x=\"{x:.1}\" y=\"{at:.1}\" text-anchor=\"middle\" {style}>{}</text>", escape(line));
    }
}

/// At the right edge of a box: a number for what leaves it, and one for what reaches it, in the colour of that number.
fn draw_ports(svg: &mut String, shape: &Shape, spot: &Spot, [leave, reach]: &[Vec<usize>; 2]) {
    let edge = spot.x + width(shape) / 2.0;
    let count = (leave.len() + reach.len()) as f64;
    let ports = leave.iter().map(|number| (number, true)).chain(reach.iter().map(|number| (number, false)));
    for (place, (number, leaves)) in ports.enumerate() {
        let y = (spot.top + spot.bottom) / 2.0 + (place as f64 - (count - 1.0) / 2.0) * 2.0 * RADIUS;
        let (colour, x) = (PORTS[(number - 1) % PORTS.len()], edge + PORT - RADIUS);
        // Where the arrow ends, and which way it does.
        let (tip, back) = if leaves { (x - RADIUS - 1.0, -9.0) } else { (edge + 1.0, 9.0) };
        let _ = writeln!(
            svg,
            "<g class=\"port\"><path d=\"M{edge:.1} {y:.1} H{x:.1}\" stroke=\"{colour}\" stroke-width=\"1.6\"/>\
             <path d=\"M{tip:.1} {y:.1} l{back} -4.5 v9 z\" fill=\"{colour}\"/>\
             <circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{RADIUS}\" fill=\"{colour}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"10\" font-weight=\"600\" \
             fill=\"#ffffff\">{number}</text></g>",
            y + 3.5
        );
    }
}

/// Where each arrow reaches its box: those that reach one beside each other, in the order in which they come, so that each
/// head is to be seen.
fn ends(drawing: &Drawing, layout: &Layout) -> Vec<f64> {
    let mut reach = vec![Vec::new(); drawing.shapes.len()];
    for (arrow, &(_, to)) in drawing.arrows.iter().enumerate().filter(|(arrow, _)| !layout.routes[*arrow].is_empty()) {
        reach[to].push(arrow);
    }
    let x = |(rank, index): Place| layout.spots[rank][index].x;
    let mut ends = vec![0.0; drawing.arrows.len()];
    for ((shape, &place), mut arrows) in drawing.shapes.iter().zip(&layout.shapes).zip(reach) {
        let from = |arrow: usize| x(layout.routes[arrow][layout.routes[arrow].len() - 2]);
        arrows.sort_by(|&a, &b| from(a).total_cmp(&from(b)));
        let others = arrows.len().saturating_sub(1) as f64;
        let gap = HEADS.min((width(shape) - 2.0 * HEADS).max(0.0) / others.max(1.0));
        for (at, arrow) in arrows.into_iter().enumerate() {
            ends[arrow] = x(place) + (at as f64 - others / 2.0) * gap;
        }
    }
    ends
}

/// From box to box, straight past other boxes, curved in between; to `end` on the last box.
fn path(layout: &Layout, route: &[Place], end: f64) -> String {
    let spot = |&(rank, index): &Place| layout.spots[rank][index];
    let start = spot(&route[0]);
    let mut at = (start.x, start.bottom);
    let mut path = format!("M{:.1} {:.1}", at.0, at.1);
    for step in route.windows(2) {
        if let Some(turn) = layout.turns.get(&step[0]) {
            path += &into_next_column(at, turn);
            at = (turn.x, turn.top);
        }
        let (next, is_last) = (spot(&step[1]), step[1] == route[route.len() - 1]);
        let (x, middle) = (if is_last { end } else { next.x }, (at.1 + next.top) / 2.0);
        let _ = write!(path, " C{:.1} {middle:.1} {x:.1} {middle:.1} {x:.1} {:.1}", at.0, next.top);
        if !is_last {
            let _ = write!(path, " V{:.1}", next.bottom);
        }
        at = (next.x, next.bottom);
    }
    path
}

/// Lines with round corners.
fn into_next_column(start: (f64, f64), turn: &Turn) -> String {
    let Turn { bottom, lane, top, x } = *turn;
    let ways = [start, (start.0, bottom), (lane, bottom), (lane, top), (x, top)];
    let mut path = String::new();
    for way in ways.windows(3) {
        let (corner, [from, to]) = (way[1], [way[0], way[2]].map(|end| towards(way[1], end)));
        let _ = write!(path, " L{:.1} {:.1} Q{:.1} {:.1} {:.1} {:.1}", from.0, from.1, corner.0, corner.1, to.0, to.1);
    }
    let _ = write!(path, " L{x:.1} {top:.1}");
    path
}

/// The point at which the rounding of a corner begins on the way to `end`.
fn towards(corner: (f64, f64), end: (f64, f64)) -> (f64, f64) {
    let (dx, dy) = (end.0 - corner.0, end.1 - corner.1);
    let part = (CORNER / dx.hypot(dy).max(CORNER)).min(0.5);
    (corner.0 + dx * part, corner.1 + dy * part)
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::net;
    use super::*;

    #[test]
    fn arrows_reach_a_box_beside_each_other() {
        let drawing =
            Drawing::of_graph(&net("8, 16, 16", "relu as x | conv 1x1, 8 | concat {\nsigmoid\nfrom x\nrelu\n}"));
        let layout = Layout::new(&drawing).unwrap();
        let ends = ends(&drawing, &layout);
        for (to, (shape, &(rank, index))) in drawing.shapes.iter().zip(&layout.shapes).enumerate() {
            let mut reached: Vec<f64> =
                drawing.arrows.iter().zip(&ends).filter(|((_, box_), _)| *box_ == to).map(|(_, &x)| x).collect();
            reached.sort_by(f64::total_cmp);
            let (middle, half) = (layout.spots[rank][index].x, width(shape) / 2.0);
            assert!(reached.iter().all(|x| (x - middle).abs() < half), "{reached:?}");
            assert!(reached.windows(2).all(|pair| pair[1] - pair[0] > HEADS / 2.0), "{reached:?}");
        }
        assert_eq!(ends.len(), drawing.arrows.len());
    }
}
