//! Pictures in other sizes, as Pillow makes them: first along the rows, then down the columns, in between rounded to 8 bits,
//! with weights in fixed point. Bilinear pictures are the same bit for bit; those for which newer versions of Pillow begin
//! with the columns differ by 1 at most.

use super::card::Filter;
use super::images::Picture;

/// Bits of a weight behind the point: with 8 of a pixel and a bit of room, a sum fits 32.
const BITS: u32 = 22;

/// The pixels that one new pixel is made of, along one axis.
struct Taps {
    first: usize,
    weights: Vec<i32>,
}

/// A picture of this size, of at least 1 a side.
pub fn resize(picture: &Picture, width: usize, height: usize, filter: Filter) -> Picture {
    let along = taps(picture.width(), width, filter);
    let wide = match picture.channels() {
        1 => rows::<1>(picture, &along),
        _ => rows::<3>(picture, &along),
    };
    let pixels = columns(&wide, width * picture.channels(), &taps(picture.height(), height, filter));
    Picture::new(width, height, picture.channels(), pixels)
}

fn taps(from: usize, to: usize, filter: Filter) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let of_position = |position: usize| {
        let centre = (position as f64 + 0.5) * scale;
        match filter {
            Filter::Nearest => Taps { first: (centre as usize).min(from - 1), weights: vec![1 << BITS] },
            Filter::Bilinear => bilinear(centre, scale, from),
        }
    };
    (0..to).map(of_position).collect()
}

/// A triangle, which widens where a picture shrinks, so that all of its pixels count.
fn bilinear(centre: f64, scale: f64, from: usize) -> Taps {
    let support = scale.max(1.0);
    // Conversions cut off what is behind the point, and what is below 0.
    let first = (centre - support + 0.5) as usize;
    let end = ((centre + support + 0.5) as usize).min(from);
    let narrowing = 1.0 / support;
    let weight = |at: usize| (1.0 - ((at as f64 - centre + 0.5) * narrowing).abs()).max(0.0);
    let weights: Vec<f64> = (first..end).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    let fixed = |weight: &f64| (0.5 + weight / sum * f64::from(1 << BITS)) as i32;
    Taps { first, weights: weights.iter().map(fixed).collect() }
}

/// Half of the last bit that is kept: sums begin with it, so that they are rounded.
const HALF: i32 = 1 << (BITS - 1);

fn rounded(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

fn rows<const CHANNELS: usize>(picture: &Picture, taps: &[Taps]) -> Vec<u8> {
    let mut made = Vec::with_capacity(picture.height() * taps.len() * CHANNELS);
    for row in picture.pixels().chunks_exact(picture.width() * CHANNELS) {
        let row = row.as_chunks::<CHANNELS>().0;
        for Taps { first, weights } in taps {
            let mut sums = [HALF; CHANNELS];
            for (pixel, weight) in row[*first..].iter().zip(weights) {
                sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += i32::from(value) * weight);
            }
            made.extend(sums.map(rounded));
        }
    }
    made
}

fn columns(pixels: &[u8], row: usize, taps: &[Taps]) -> Vec<u8> {
    let mut made = Vec::with_capacity(row * taps.len());
    let mut sums = vec![0; row];
    for Taps { first, weights } in taps {
        sums.fill(HALF);
        for (line, weight) in pixels[first * row..].chunks_exact(row).zip(weights) {
            sums.iter_mut().zip(line).for_each(|(sum, &value)| *sum += i32::from(value) * weight);
        }
        made.extend(sums.iter().map(|&sum| rounded(sum)));
    }
    made
}
