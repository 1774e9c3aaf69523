//! PNG and JPEG pictures.

use super::write::write_atomically;
use super::{IoError, foreign};
use image::metadata::Orientation;
use image::{DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageFormat, ImageReader, Limits};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, Write};
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

/// The format by a file's first bytes; its name does not matter.
pub(super) fn sniff(start: &[u8]) -> Option<ImageFormat> {
    match start {
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(ImageFormat::Png),
        [0xff, 0xd8, 0xff, ..] => Some(ImageFormat::Jpeg),
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
    let of_png = match format {
        ImageFormat::Png => png_orientation(&mut file).map_err(IoError::system(path, "read"))?,
        _ => None,
    };
    let name = if format == ImageFormat::Png { "PNG" } else { "JPEG" };
    let malformed = |error| IoError::malformed(path, name, error);
    let mut reader = ImageReader::with_format(file, format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_PIXELS * MAX_PIXEL_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(malformed)?;
    let (width, height) = decoder.dimensions();
    let found = u64::from(width) * u64::from(height);
    within(path, "picture", "pixels", found, max_pixels)?;
    if found == 0 {
        return Err(IoError::malformed(path, name, format!("it has {width}x{height} pixels")));
    }
    let orientation = match of_png {
        Some(orientation) => orientation,
        None => decoder.orientation().map_err(malformed)?,
    };
    let mut image = DynamicImage::from_decoder(decoder).map_err(malformed)?;
    image.apply_orientation(orientation);
    Ok(eight_bits(image))
}

fn within(path: &Path, what: &'static str, unit: &'static str, found: u64, limit: u64) -> Result<(), IoError> {
    if found <= limit { Ok(()) } else { Err(IoError::TooLarge { path: path.to_owned(), what, unit, found, limit }) }
}

/// The orientation that the chunk `eXIf` of a PNG gives. It may stand behind the pixels, where the decoder does not
/// look for it. Leaves the file at its start.
fn png_orientation(file: &mut (impl Read + Seek)) -> io::Result<Option<Orientation>> {
    let mut found = None;
    file.seek(io::SeekFrom::Start(8))?;
    let mut header = [0; 8];
    while file.read_exact(&mut header).is_ok() {
        let [a, b, c, d, kind @ ..] = header;
        let length = u32::from_be_bytes([a, b, c, d]);
        if &kind == b"eXIf" {
            let mut exif = Vec::new();
            file.take(MAX_EXIF_BYTES.min(length.into())).read_to_end(&mut exif)?;
            found = Orientation::from_exif_chunk(&exif);
            break;
        }
        // The chunk and its checksum.
        file.seek_relative(i64::from(length) + 4)?;
    }
    file.rewind()?;
    Ok(found)
}

fn eight_bits(image: DynamicImage) -> Picture {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let color = image.color();
    let (channels, pixels) = match (color.has_color(), color.has_alpha()) {
        (false, false) => (1, image.into_luma8().into_raw()),
        (true, false) => (3, image.into_rgb8().into_raw()),
        (false, true) => (1, on_black::<2>(&image.into_luma_alpha8().into_raw())),
        (true, true) => (3, on_black::<4>(&image.into_rgba8().into_raw())),
    };
    Picture::new(width, height, channels, pixels)
}

/// Composites pixels of `N` channels, the last of them opacity, on black: each value times opacity, rounded.
fn on_black<const N: usize>(pixels: &[u8]) -> Vec<u8> {
    let opaque = |value: u8, alpha: u8| ((u32::from(value) * u32::from(alpha) + 127) / 255) as u8;
    let blend = |pixel: &[u8; N]| -> [u8; N] { pixel.map(|value| opaque(value, pixel[N - 1])) };
    pixels.as_chunks::<N>().0.iter().flat_map(|pixel| blend(pixel).into_iter().take(N - 1)).collect()
}

/// Writes a picture as PNG.
pub fn write_png(path: &Path, picture: &Picture) -> Result<(), IoError> {
    write_atomically(path, |out| png_to(picture, out))
}

/// The bytes of a PNG.
#[cfg(feature = "cli")]
pub(crate) fn encode_png(picture: &Picture) -> Vec<u8> {
    let mut bytes = Vec::new();
    png_to(picture, &mut bytes).expect("memory can be written, and no side is 2^31 pixels long");
    bytes
}

fn png_to(picture: &Picture, out: impl Write) -> io::Result<()> {
    let color = if picture.channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let side = |size: usize| u32::try_from(size).map_err(|_| io::Error::other("a PNG has at most 2^31 pixels a side"));
    image::codecs::png::PngEncoder::new(out)
        .write_image(&picture.pixels, side(picture.width)?, side(picture.height)?, color)
        .map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::NamedTempFile;

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = io::Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn file(content: &[u8]) -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    fn png(image: impl Into<DynamicImage>) -> Picture {
        read(file(&encoded(image, ImageFormat::Png)).path()).unwrap()
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
        let rgba = image::RgbaImage::from_raw(2, 1, vec![200, 100, 51, 255, 200, 100, 51, 128]).unwrap();
        assert_eq!(png(rgba), Picture::new(2, 1, 3, vec![200, 100, 51, 100, 50, 26]));
        let grey_alpha = image::GrayAlphaImage::from_raw(2, 1, vec![200, 0, 9, 255]).unwrap();
        assert_eq!(png(grey_alpha), Picture::new(2, 1, 1, vec![0, 9]));
        let deep = image::ImageBuffer::<image::Luma<u16>, _>::from_raw(3, 1, vec![0u16, 0x8000, 0xffff]).unwrap();
        assert_eq!(png(deep), Picture::new(3, 1, 1, vec![0, 128, 255]));
        let deep = image::ImageBuffer::<image::Rgba<u16>, _>::from_raw(1, 1, vec![0xffffu16, 0x8000, 0, 0x8000]);
        assert_eq!(png(deep.unwrap()), Picture::new(1, 1, 3, vec![128, 64, 0]));
    }

    #[test]
    fn the_content_counts_and_not_the_name() {
        let grey = image::GrayImage::from_pixel(8, 4, image::Luma([90]));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("really-a-jpeg.png");
        std::fs::write(&path, encoded(grey, ImageFormat::Jpeg)).unwrap();
        let picture = read(&path).unwrap();
        assert_eq!((picture.width, picture.height, picture.channels), (8, 4, 1));
        assert!(picture.pixels.iter().all(|&value| value.abs_diff(90) <= 1));
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
        let small = encoded(image::GrayImage::new(10, 10), ImageFormat::Png);
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
        let noise = image::RgbImage::from_fn(9, 7, |x, y| image::Rgb([(x * 31) as u8, (y * 57) as u8, (x * y) as u8]));
        for format in [ImageFormat::Png, ImageFormat::Jpeg] {
            let bytes = encoded(noise.clone(), format);
            for length in 8..bytes.len() - 20 {
                let cut = read(file(&bytes[..length]).path());
                assert!(format == ImageFormat::Jpeg || cut.is_err(), "{length} bytes");
            }
            for position in 8..bytes.len() {
                let mut damaged = bytes.clone();
                damaged[position] ^= 0xff;
                let _ = read(file(&damaged).path());
            }
        }
    }
}
