//! The inside of a block as coordinates, for pages that open and close blocks.

use super::layout::{Layout, MARGIN, width};
use super::{Drawing, TooLarge};
use serde::Serialize;

/// Boxes below one another, and the ways of the arrows between them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Level {
    pub width: f64,
    pub height: f64,
    /// For each box the middle, top and bottom, and its width.
    pub boxes: Vec<(Spot, f64)>,
    pub arrows: Vec<Arrow>,
}

/// An arrow from box to box, past others.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Arrow {
    pub from: usize,
    pub to: usize,
    /// The boxes that it leaves and reaches, and between them its straight ways past others.
    pub way: Vec<Spot>,
}

/// Middle, top and bottom.
pub type Spot = (f64, f64, f64);

impl Level {
    /// # Errors
    /// Where there is too much to be laid out.
    pub fn new(drawing: &Drawing) -> Result<Level, TooLarge> {
        let layout = Layout::of_one_column(drawing)?;
        let above = layout.spots.iter().flatten().map(|spot| spot.top).fold(f64::MAX, f64::min) - MARGIN;
        let tenth = |x: f64| (x * 10.0).round() / 10.0;
        let spot = |&(rank, index): &(usize, usize)| {
            let spot = layout.spots[rank][index];
            (tenth(spot.x), tenth(spot.top - above), tenth(spot.bottom - above))
        };
        let boxes = drawing.shapes.iter().zip(&layout.shapes).map(|(shape, place)| (spot(place), tenth(width(shape))));
        let arrows = drawing.arrows.iter().zip(&layout.routes);
        Ok(Level {
            width: tenth(layout.size.0),
            height: tenth(layout.size.1 - above),
            boxes: boxes.collect(),
            arrows: arrows.map(|(&(from, to), way)| Arrow { from, to, way: way.iter().map(spot).collect() }).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::net;
    use super::*;

    #[test]
    fn everything_lies_below_one_another() {
        let block = "residual { conv 3x3, 8, half | relu | conv 3x3, 8, half }\n";
        let drawing = Drawing::of_graph(&net("8, 16, 16", &block.repeat(12)));
        let level = Level::new(&drawing).unwrap();
        assert_eq!((level.boxes.len(), level.arrows.len()), (drawing.shapes.len(), drawing.arrows.len()));
        for Arrow { from, to, way } in &level.arrows {
            assert_eq!([way[0], way[way.len() - 1]], [*from, *to].map(|index| level.boxes[index].0));
            assert!(way.is_sorted_by(|(_, _, bottom), (_, top, _)| bottom < top), "downwards");
        }
        let ((x, top, bottom), width) = level.boxes[0];
        assert!(top == MARGIN && x >= MARGIN + width / 2.0 - 0.1 && bottom < level.height);
    }
}
