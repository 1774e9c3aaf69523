//! JPEG: its decoder, and the orientation that its EXIF data give.

use super::{Decoded, Orientation};
use std::io::Read;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Decodes a file; grey stays grey, all else becomes RGB. `check` is asked with width and height before pixels are made.
pub fn decode<E>(
    mut file: impl Read,
    check: impl FnOnce(usize, usize) -> Result<(), E>,
    malformed: impl Fn(String) -> E,
) -> Result<Decoded, E> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).map_err(|error| malformed(error.to_string()))?;
    // Our own limit is one of pixels.
    let options = DecoderOptions::default().set_strict_mode(false).set_max_width(usize::MAX).set_max_height(usize::MAX);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&bytes[..]), options);
    decoder.decode_headers().map_err(|error| malformed(error.to_string()))?;
    let (width, height) = decoder.dimensions().expect("the headers are decoded");
    check(width, height)?;
    let is_grey = decoder.input_colorspace() == Some(ColorSpace::Luma);
    let (color, channels) = if is_grey { (ColorSpace::Luma, 1) } else { (ColorSpace::RGB, 3) };
    decoder.set_options(options.jpeg_set_out_colorspace(color));
    let orientation = decoder.exif().and_then(|exif| Orientation::of_exif(exif)).unwrap_or_default();
    let pixels = decoder.decode().map_err(|error| malformed(error.to_string()))?;
    Ok(Decoded { width, height, channels, pixels, orientation })
}
