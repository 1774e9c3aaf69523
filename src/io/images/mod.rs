//! PNG and JPEG pictures.

mod jpeg;
mod orientation;
mod png;

use super::write::write_atomically;
use super::{IoError, foreign};
use orientation::Orientation;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

/// The largest picture that is read.
pub const MAX_PIXELS: u64 = 64 << 20;

/// Bytes of a pixel of the largest kind, four channels of 16 bits.
const MAX_PIXEL_BYTES: u64 = 8;

/// The largest file that is read, which the decoder of JPEG keeps in memory as a whole.
const MAX_FILE_BYTES: u64 = MAX_PIXELS * MAX_PIXEL_BYTES;

/// The orientation stands at the start of EXIF data, which can hold much else.
const MAX_EXIF_BYTES: u64 = 64 << 10;

/// A picture of 8 bits a channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    width: usize,
    height: usize,
    channels: usize,
    pixels: Vec<u8>,
}

impl Picture {
    /// `pixels` holds rows from top to bottom, in each the pixels from left to right, in each the channels.
    ///
    /// # Panics
    /// If `channels` is not 1 (grey) or 3 (RGB), a side is 0, or `pixels` is not `height * width * channels` long.
    pub fn new(width: usize, height: usize, channels: usize, pixels: Vec<u8>) -> Picture {
        assert!(matches!(channels, 1 | 3) && !pixels.is_empty(), "{width}x{height}, {channels} channels");
        assert_eq!(height * width * channels, pixels.len(), "{width}x{height}, {channels} channels");
        Picture { width, height, channels, pixels }
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn height(&self) -> usize {
        self.height
    }

    /// 1 (grey) or 3 (RGB).
    pub fn channels(&self) -> usize {
        self.channels
    }

    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    pub fn into_pixels(self) -> Vec<u8> {
        self.pixels
    }
}

/// A picture as its file has it, of 1 channel (grey) or 3 (RGB).
struct Decoded {
    width: usize,
    height: usize,
    channels: usize,
    pixels: Vec<u8>,
    orientation: Orientation,
}

impl Decoded {
    fn upright(self) -> Picture {
        let Decoded { width, height, channels, pixels, orientation } = self;
        let (width, height, pixels) = match channels {
            1 => orientation.turn::<1>(width, height, pixels),
            _ => orientation.turn::<3>(width, height, pixels),
        };
        Picture::new(width, height, channels, pixels)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Format {
    Png,
    Jpeg,
}

/// The format by a file's first bytes; its name does not matter.
pub(super) fn sniff(start: &[u8]) -> Option<Format> {
    match start {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Format::Png),
        [0xff, 0xd8, 0xff, ..] => Some(Format::Jpeg),
        _ => None,
    }
}

/// Reads a PNG or JPEG of at most [`MAX_PIXELS`]: grey stays grey, palettes and CMYK become RGB, 16 bits are rounded
/// to 8, transparent pixels are laid on black. Where the file notes in EXIF how it was held by the camera, it is turned
/// upright, as viewers show it.
pub fn read(path: &Path) -> Result<Picture, IoError> {
    let (file, length) = super::open(path)?;
    read_opened(path, file, length)
}

/// The same of a file that is open already.
pub(super) fn read_opened(path: &Path, file: File, length: u64) -> Result<Picture, IoError> {
    read_at_most(path, file, length, MAX_PIXELS)
}

/// The same of the bytes of a file; `name` is for messages.
pub fn decode(name: &Path, bytes: &[u8]) -> Result<Picture, IoError> {
    read_at_most(name, io::Cursor::new(bytes), bytes.len() as u64, MAX_PIXELS)
}

fn read_at_most(path: &Path, file: impl Read + Seek, length: u64, max_pixels: u64) -> Result<Picture, IoError> {
    within(path, "picture", "bytes", length, MAX_FILE_BYTES)?;
    let mut file = BufReader::new(file);
    let start = file.fill_buf().map_err(IoError::system(path, "read"))?;
    let Some(format) = sniff(start) else {
        return Err(IoError::unsupported(path, foreign::explain(start, "neither PNG nor JPEG")));
    };
    let name = if format == Format::Png { "PNG" } else { "JPEG" };
    let malformed = |error: String| IoError::malformed(path, name, error);
    let check = |width: usize, height: usize| {
        let found = (width as u64).saturating_mul(height as u64);
        within(path, "picture", "pixels", found, max_pixels)?;
        if found == 0 { Err(malformed(format!("it has {width}x{height} pixels"))) } else { Ok(()) }
    };
    let decoded = match format {
        Format::Png => png::decode(file, check, malformed)?,
        Format::Jpeg => jpeg::decode(file, check, malformed)?,
    };
    Ok(decoded.upright())
}

fn within(path: &Path, what: &'static str, unit: &'static str, found: u64, limit: u64) -> Result<(), IoError> {
    if found <= limit { Ok(()) } else { Err(IoError::TooLarge { path: path.to_owned(), what, unit, found, limit }) }
}

/// Writes a picture as PNG.
pub fn write_png(path: &Path, picture: &Picture) -> Result<(), IoError> {
    write_atomically(path, |out| png::encode(picture, out))
}

/// The bytes of a PNG.
#[cfg(feature = "cli")]
pub(crate) fn encode_png(picture: &Picture) -> Vec<u8> {
    let mut bytes = Vec::new();
    png::encode(picture, &mut bytes).expect("memory can be written, and no side is 2^31 pixels long");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use ::png::{BitDepth, ColorType, Encoder};
    use tempfile::NamedTempFile;

    const GREY_JPEG: &[u8] = include_bytes!("../../../tests/fuzz/corpus/picture/grey.jpg");

    /// A PNG of pixels of these bits, one row.
    fn row(color: ColorType, depth: BitDepth, pixels: &[u8]) -> Vec<u8> {
        let bits = color.samples() * depth as usize;
        encoded((pixels.len() * 8 / bits) as u32, 1, color, depth, pixels)
    }

    fn encoded(width: u32, height: u32, color: ColorType, depth: BitDepth, pixels: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, width, height);
        encoder.set_color(color);
        encoder.set_depth(depth);
        encoder.write_header().unwrap().write_image_data(pixels).unwrap();
        bytes
    }

    fn file(content: &[u8]) -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    fn png(bytes: &[u8]) -> Picture {
        read(file(bytes).path()).unwrap()
    }

    #[test]
    fn reads_photographs() {
        // The means are Pillow's.
        for (name, side, channels, expected) in
            [("coffee_224", 224, 3, 94.58226376488095), ("digit_3", 28, 1, 44.71811224489796)]
        {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pictures");
            let picture = read(&folder.join(format!("{name}.png"))).unwrap();
            assert_eq!((picture.width, picture.height, picture.channels), (side, side, channels), "{name}");
            let sum: u64 = picture.pixels.iter().map(|&value| u64::from(value)).sum();
            assert!((sum as f64 / picture.pixels.len() as f64 - expected).abs() < 1e-9, "{name}: {sum}");
        }
    }

    #[test]
    fn alpha_is_laid_on_black_and_16_bits_become_8() {
        let eight = |color, pixels: &[u8]| png(&row(color, BitDepth::Eight, pixels));
        let rgba = eight(ColorType::Rgba, &[200, 100, 51, 255, 200, 100, 51, 128]);
        assert_eq!(rgba, Picture::new(2, 1, 3, vec![200, 100, 51, 100, 50, 26]));
        assert_eq!(eight(ColorType::GrayscaleAlpha, &[200, 0, 9, 255]), Picture::new(2, 1, 1, vec![0, 9]));
        let sixteen = |color, values: &[u16]| {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
            png(&row(color, BitDepth::Sixteen, &bytes))
        };
        let grey = sixteen(ColorType::Grayscale, &[0, 0x8000, 0xffff]);
        assert_eq!(grey, Picture::new(3, 1, 1, vec![0, 128, 255]));
        let rgba = sixteen(ColorType::Rgba, &[0xffff, 0x8000, 0, 0x8000]);
        assert_eq!(rgba, Picture::new(1, 1, 3, vec![128, 64, 0]));
    }

    #[test]
    fn palettes_and_few_bits_become_8() {
        assert_eq!(png(&row(ColorType::Grayscale, BitDepth::Two, &[0b00_01_10_11])).pixels, [0, 85, 170, 255]);
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(ColorType::Indexed);
        encoder.set_palette(vec![1, 2, 3, 200, 100, 50]);
        encoder.set_trns(vec![255, 128]);
        encoder.write_header().unwrap().write_image_data(&[0, 1]).unwrap();
        assert_eq!(png(&bytes), Picture::new(2, 1, 3, vec![1, 2, 3, 100, 50, 25]));
    }

    #[test]
    fn the_content_counts_and_not_the_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("really-a-jpeg.png");
        std::fs::write(&path, GREY_JPEG).unwrap();
        let picture = read(&path).unwrap();
        assert_eq!((picture.width, picture.height, picture.channels), (5, 7, 1));
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        for channels in [1, 3] {
            let picture = Picture::new(5, 2, channels, (0..10 * channels as u8).map(|i| i * 8).collect());
            write_png(&path, &picture).unwrap();
            assert_eq!(read(&path).unwrap(), picture);
        }
    }

    #[test]
    fn other_files_are_named_with_their_first_bytes() {
        let unknown = file(b"GIF!9a\x01\x00\x01\x00");
        let error = read(unknown.path()).unwrap_err().to_string();
        let expected = r"neither PNG nor JPEG: it begins with the bytes 47 49 46 21 39 61 01 00 'GIF!9a\x01\x00'";
        assert_eq!(error, format!("{}: {expected}", unknown.path().display()));
        assert!(read(file(b"").path()).unwrap_err().to_string().ends_with("it begins with nothing: it is empty"));
    }

    #[test]
    fn the_length_of_a_file_is_limited_before_it_is_read() {
        let jpeg = file(b"\xff\xd8\xff\xe0");
        jpeg.as_file().set_len(MAX_FILE_BYTES + 1).unwrap();
        assert!(matches!(read(jpeg.path()), Err(IoError::TooLarge { unit: "bytes", .. })));
    }

    #[test]
    fn the_number_of_pixels_is_limited_before_they_are_decoded() {
        let small = encoded(10, 10, ColorType::Grayscale, BitDepth::Eight, &[0; 100]);
        let error = read_at_most(Path::new("p"), file(&small).reopen().unwrap(), 1 << 10, 99).unwrap_err().to_string();
        assert!(error.ends_with("picture is 100 pixels, the limit is 99"), "{error}");
        // 2^31 - 1 pixels a side, claimed in a valid header of a file of a few bytes.
        let mut claim = small.clone();
        claim[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
        let checksum = crc32(&claim[12..29]);
        claim[29..33].copy_from_slice(&checksum.to_be_bytes());
        let error = read(file(&claim).path()).unwrap_err();
        assert!(matches!(error, IoError::TooLarge { .. } | IoError::Malformed { .. }), "{error}");
    }

    /// As in the PNG specification, appendix D.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc, &byte| {
            (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { 0xedb8_8320 ^ (crc >> 1) } else { crc >> 1 })
        })
    }

    #[test]
    fn damaged_files_are_errors_or_pictures() {
        let noise: Vec<u8> = (0..63u8).flat_map(|at| [at % 9 * 31, at / 9 * 42, (at % 9) * (at / 9)]).collect();
        let png = encoded(9, 7, ColorType::Rgb, BitDepth::Eight, &noise);
        for (format, bytes) in [(Format::Png, &png[..]), (Format::Jpeg, GREY_JPEG)] {
            for length in 8..bytes.len() - 20 {
                let cut = read(file(&bytes[..length]).path());
                assert!(format == Format::Jpeg || cut.is_err(), "{length} bytes");
            }
            for position in 8..bytes.len() {
                let mut damaged = bytes.to_vec();
                damaged[position] ^= 0xff;
                let _ = read(file(&damaged).path());
            }
        }
    }
}
