//! The input as a picture.

use super::base64::encode;
use super::values::Grain;
use crate::io::card::{Colour, Preprocessing};
use crate::io::images::{Picture, encode_png};
use crate::tensor::Tensor;
use serde::Serialize;

/// An input as it can be looked at.
#[derive(Serialize)]
pub struct Shown {
    /// In base64, with at most [`SIDE`] pixels in each direction.
    png: String,
}

const SIDE: usize = 512;

impl Shown {
    /// What a network sees, with the colours that the picture had before it was normalised; numbers that were never a
    /// picture's are shown between their ends. `None` where it is no picture: a flat one, or one of a clip.
    pub fn new(x: &Tensor, how: &Preprocessing) -> Option<Shown> {
        let &[channels, _, _] = &x.shape()[1..] else { return None };
        let shown: Vec<usize> = match (channels, how.colour) {
            (3, Colour::Bgr) => vec![2, 1, 0],
            (3, _) => vec![0, 1, 2],
            (1.., _) => vec![0],
            _ => return None,
        };
        let of =
            |list: &[f32], channel: usize, without: f32| list.get(channel).or(list.first()).copied().unwrap_or(without);
        let raw = |channel: usize, x: f32| {
            (f64::from(x) * f64::from(of(&how.std, channel, 1.0)) + f64::from(of(&how.mean, channel, 0.0))) / how.scale
        };
        let grain = Grain::new(x, SIDE);
        let plane = |&channel: &usize| grain.shrunk(x.plane(0, channel)).iter().map(|&x| raw(channel, x)).collect();
        let planes: Vec<Vec<f64>> = shown.iter().map(plane).collect();
        let all = || planes.iter().flatten().copied().filter(|x| x.is_finite());
        let (low, high) = (all().fold(f64::MAX, f64::min), all().fold(f64::MIN, f64::max));
        let (low, high) = if low > -0.5 && high < 255.5 { (0.0, 255.0) } else { (low, high) };
        let grey = |x: f64| ((x - low) / (high - low).max(f64::MIN_POSITIVE) * 255.0).round() as u8;
        let pixels = (0..grain.pixels()).flat_map(|at| planes.iter().map(move |plane| plane[at])).map(grey).collect();
        let (height, width) = grain.size();
        Some(Shown { png: encode(&encode_png(&Picture::new(width, height, shown.len(), pixels))) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_come_back() {
        let how = Preprocessing { mean: vec![0.5], std: vec![0.25], colour: Colour::Bgr, ..Preprocessing::default() };
        let pixels = [10.0f32, 20.0, 30.0, 40.0, 50.0, 255.0];
        let x = Tensor::new([1, 3, 1, 2], pixels.map(|x| (x / 255.0 - 0.5) / 0.25).to_vec());
        let shown = Shown::new(&x, &how).unwrap();
        let expected = Picture::new(2, 1, 3, vec![50, 30, 10, 255, 40, 20]);
        assert_eq!(shown.png, encode(&encode_png(&expected)));
        assert!(Shown::new(&Tensor::zeros([1, 3, 2]), &how).is_none());
    }
}
