//! PNG: its decoder and encoder, and the orientation that its EXIF data give.

use super::{Decoded, MAX_EXIF_BYTES, MAX_PIXEL_BYTES, MAX_PIXELS, Orientation, Picture};
use ::png::{BitDepth, ColorType, Decoder, Encoder, Limits, Transformations};
use std::io::{self, BufRead, Read, Seek, Write};

/// Decodes a file; palettes become RGB, 16 bits are rounded to 8, transparent pixels are laid on black. `check` is asked
/// with width and height before pixels are made.
pub fn decode<E>(
    mut file: impl BufRead + Seek,
    check: impl FnOnce(usize, usize) -> Result<(), E>,
    malformed: impl Fn(String) -> E,
) -> Result<Decoded, E> {
    let orientation = orientation(&mut file).map_err(|error| malformed(error.to_string()))?.unwrap_or_default();
    let failed = |error: png::DecodingError| malformed(error.to_string());
    let limits = Limits { bytes: (MAX_PIXELS * MAX_PIXEL_BYTES) as usize };
    let mut decoder = Decoder::new_with_limits(file, limits);
    decoder.set_transformations(Transformations::EXPAND);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    let (width, height) = decoder.read_header_info().map_err(failed)?.size();
    let (width, height) = (width as usize, height as usize);
    check(width, height)?;
    let mut reader = decoder.read_info().map_err(failed)?;
    let (color, depth) = reader.output_color_type();
    let size = reader.output_buffer_size().ok_or_else(|| malformed("its pixels do not fit into memory".into()))?;
    let mut pixels = vec![0; size];
    reader.next_frame(&mut pixels).map_err(failed)?;
    if depth == BitDepth::Sixteen {
        pixels = pixels.as_chunks().0.iter().map(|&bytes| eight_bits(u16::from_be_bytes(bytes))).collect();
    }
    let (channels, pixels) = match color {
        ColorType::Grayscale => (1, pixels),
        ColorType::GrayscaleAlpha => (1, on_black::<2>(&pixels)),
        ColorType::Rgba => (3, on_black::<4>(&pixels)),
        ColorType::Rgb | ColorType::Indexed => (3, pixels),
    };
    Ok(Decoded { width, height, channels, pixels, orientation })
}

/// Rounded: 65,535 becomes 255.
fn eight_bits(value: u16) -> u8 {
    ((u32::from(value) + 128) / 257) as u8
}

/// Composites pixels of `N` channels, the last of them opacity, on black: each value times opacity, rounded.
fn on_black<const N: usize>(pixels: &[u8]) -> Vec<u8> {
    let opaque = |value: u8, alpha: u8| ((u32::from(value) * u32::from(alpha) + 127) / 255) as u8;
    let blend = |pixel: &[u8; N]| -> [u8; N] { pixel.map(|value| opaque(value, pixel[N - 1])) };
    pixels.as_chunks::<N>().0.iter().flat_map(|pixel| blend(pixel).into_iter().take(N - 1)).collect()
}

/// The orientation that the chunk `eXIf` gives. It may stand behind the pixels, where the decoder does not look for it.
/// Leaves the file at its start.
fn orientation(file: &mut (impl Read + Seek)) -> io::Result<Option<Orientation>> {
    let mut found = None;
    file.seek(io::SeekFrom::Start(8))?;
    let mut header = [0; 8];
    while file.read_exact(&mut header).is_ok() {
        let [a, b, c, d, kind @ ..] = header;
        let length = u32::from_be_bytes([a, b, c, d]);
        if &kind == b"eXIf" {
            let mut exif = Vec::new();
            file.take(MAX_EXIF_BYTES.min(length.into())).read_to_end(&mut exif)?;
            found = Orientation::of_exif(&exif);
            break;
        }
        // The chunk and its checksum.
        file.seek_relative(i64::from(length) + 4)?;
    }
    file.rewind()?;
    Ok(found)
}

/// Writes a picture.
pub fn encode(picture: &Picture, out: impl Write) -> io::Result<()> {
    let side = |size: usize| u32::try_from(size).map_err(|_| io::Error::other("a PNG has at most 2^31 pixels a side"));
    let mut encoder = Encoder::new(out, side(picture.width)?, side(picture.height)?);
    encoder.set_color(if picture.channels == 1 { ColorType::Grayscale } else { ColorType::Rgb });
    encoder.set_depth(BitDepth::Eight);
    encoder.write_header()?.write_image_data(&picture.pixels).map_err(io::Error::other)
}
