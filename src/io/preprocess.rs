//! From a picture or an array to the input of a network.
//!
//! The arithmetic is torchvision's: `ToTensor` divides by 255 in f32, `Normalize` subtracts the mean and divides by
//! the standard deviation, each step rounded.

use super::card::{Colour, Filter, Preprocessing};
use super::images::{self, Picture};
use super::npy::{self, Array, ArrayData};
use super::resize::resize;
use super::weights::WeightFile;
use super::{IoError, foreign, safetensors};
use crate::tensor::Tensor;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

/// The largest tensor that is made, in elements: 4 GiB.
const MAX_ELEMENTS: usize = 1 << 30;

/// The largest picture that is made by resizing, and the largest intermediate one.
const MAX_RESIZED_PIXELS: u64 = 16 << 20;

/// Fewer pixels a side are no picture: such a size is taken for channels where the layout is not given.
const MIN_SIDE: usize = 5;

/// What a file can hold for a network.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    Picture(Picture),
    Array(Array),
}

impl Input {
    /// Reads a PNG, JPEG, `.npy`, `.npz` or safetensors file, told apart by their first bytes. `array` names one of the
    /// arrays of an archive; where it holds only one, that is read whatever its name.
    pub fn read(path: &Path, array: Option<&str>) -> Result<Input, IoError> {
        let mut start = Vec::new();
        // Opened once: what a pipe gives is gone afterwards.
        let (mut file, length) = super::open(path)?;
        let read = (&mut file).take(foreign::START_BYTES as u64).read_to_end(&mut start).and_then(|_| file.rewind());
        read.map_err(IoError::system(path, "read"))?;
        if images::sniff(&start).is_some() {
            images::read_opened(path, file, length).map(Input::Picture)
        } else if start.starts_with(npy::MAGIC) {
            npy::read_opened(path, file, length).map(Input::Array)
        } else if start.starts_with(b"PK\x03\x04") {
            npy::read_npz_opened(path, file, length, array).map(Input::Array)
        } else if safetensors::begins(&start) {
            read_tensor(path, &file, array).map(Input::Array)
        } else {
            let neither = "neither PNG, JPEG, .npy, .npz nor safetensors";
            Err(IoError::unsupported(path, foreign::explain(&start, neither)))
        }
    }
}

/// A tensor of a safetensors file: the one of this name, or the only one.
fn read_tensor(path: &Path, file: &File, name: Option<&str>) -> Result<Array, IoError> {
    let file = WeightFile::of_file(path, file, None)?;
    let names = file.names();
    let name = match &names[..] {
        [only] => only,
        _ => names.iter().find(|tensor| Some(tensor.as_str()) == name).ok_or_else(|| {
            let wanted = name.map_or("say which tensor to read".to_owned(), |name| format!("no tensor {name:?}"));
            IoError::unsupported(path, format!("{wanted}; the file holds: {}", names.join(", ")))
        })?,
    };
    let shape = file.shape(name).expect("the name is of the file").to_vec();
    Ok(Array { shape, data: ArrayData::F32(file.read(name)?.into_owned()) })
}

/// The meaning of the dimensions of a u8 array: N pictures, C channels, height, width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    Hw,
    Nhw,
    Hwc,
    Chw,
    Nhwc,
    Nchw,
}

impl Layout {
    pub const ALL: [Layout; 6] = [Layout::Hw, Layout::Nhw, Layout::Hwc, Layout::Chw, Layout::Nhwc, Layout::Nchw];

    /// Its spelling on the command line, such as `NHWC`.
    pub fn name(self) -> &'static str {
        match self {
            Layout::Hw => "HW",
            Layout::Nhw => "NHW",
            Layout::Hwc => "HWC",
            Layout::Chw => "CHW",
            Layout::Nhwc => "NHWC",
            Layout::Nchw => "NCHW",
        }
    }

    /// `None` where the number of dimensions or of channels (1 or 3) is wrong.
    fn pictures(self, shape: &[usize]) -> Option<Pictures> {
        let (count, channels, height, width) = match (self, shape) {
            (Layout::Hw, &[height, width]) => (1, 1, height, width),
            (Layout::Nhw, &[count, height, width]) => (count, 1, height, width),
            (Layout::Hwc, &[height, width, channels]) | (Layout::Chw, &[channels, height, width]) => {
                (1, channels, height, width)
            }
            (Layout::Nhwc, &[count, height, width, channels]) | (Layout::Nchw, &[count, channels, height, width]) => {
                (count, channels, height, width)
            }
            _ => return None,
        };
        let planar = channels > 1 && matches!(self, Layout::Chw | Layout::Nchw);
        matches!(channels, 1 | 3).then_some(Pictures { count, channels, height, width, planar })
    }
}

/// A u8 array read as pictures. Two layouts that give equal ones mean the same.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Pictures {
    count: usize,
    channels: usize,
    height: usize,
    width: usize,
    /// Each channel is a plane of its own; otherwise the channels of a pixel are neighbours.
    planar: bool,
}

impl fmt::Display for Pictures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.channels == 1 { "grey" } else { "colour" };
        let plural = if self.count == 1 { "" } else { "s" };
        write!(f, "{} {kind} picture{plural} of {}x{}", self.count, self.height, self.width)
    }
}

impl Pictures {
    fn get(&self, bytes: &[u8], n: usize) -> Picture {
        let plane = self.height * self.width;
        let sample = &bytes[n * plane * self.channels..][..plane * self.channels];
        let pixels = if self.planar {
            (0..plane).flat_map(|at| sample[at..].iter().step_by(plane)).copied().collect()
        } else {
            sample.to_vec()
        };
        Picture::new(self.width, self.height, self.channels, pixels)
    }
}

/// The sizes that a network takes.
#[derive(Clone, Copy)]
struct Target {
    channels: usize,
    height: usize,
    width: usize,
}

/// Makes the input of a network that takes samples of the shape `dims` (`[C, H, W]` for pictures).
///
/// Pictures and u8 arrays are resized and cropped as `how` says, unless they have the network's size, and normalised. For
/// a network of another size than that of `how`, the last step makes that size, and `resize` before a crop keeps its
/// proportion to it. Grey pictures are repeated for networks
/// of three channels, and colour is reduced to luma for networks of one. f32 arrays are fed as they are: `[N, ..dims]`,
/// or `dims` for a batch of one. `layout` says how a u8 array is to be read where its shape does not tell.
///
/// `path` is where the input was read from, for messages.
pub fn prepare(
    path: &Path,
    input: Input,
    how: &Preprocessing,
    dims: &[usize],
    layout: Option<Layout>,
) -> Result<Tensor, IoError> {
    match input {
        Input::Picture(picture) => {
            let target = target(path, dims)?;
            batch(path, 1, how, target, |_| picture.clone())
        }
        Input::Array(Array { shape, data: ArrayData::F32(values) }) => as_it_is(path, shape, values, dims),
        Input::Array(Array { shape, data: ArrayData::U8(bytes) }) => {
            let target = target(path, dims)?;
            let pictures = interpret(path, &shape, layout, how, target)?;
            batch(path, pictures.count, how, target, |n| pictures.get(&bytes, n))
        }
        Input::Array(Array { data: ArrayData::I64(_), .. }) => {
            let reason = "holds signed integers; pixels are x.astype('uint8'), prepared values x.astype('float32')";
            Err(IoError::input(path, reason))
        }
    }
}

/// The dimensions that a sample has, `[C, H, W]` for pictures, if it is neither resized nor cropped; `None` where they are
/// unclear, of which [`prepare`] tells more. `dims` are the network's, whose number and channels are not the file's choice.
pub fn own_dims(input: &Input, dims: &[usize], layout: Option<Layout>) -> Option<Vec<usize>> {
    let sized = |height, width| (dims.len() == 3).then(|| vec![dims[0], height, width]);
    match input {
        Input::Picture(picture) => sized(picture.height(), picture.width()),
        Input::Array(Array { shape, data: ArrayData::F32(_) }) => {
            let batch = shape.len().checked_sub(dims.len())?;
            (batch < 2).then(|| shape[batch..].to_vec())
        }
        Input::Array(Array { shape, data: ArrayData::U8(_) }) => {
            let all = Layout::ALL.into_iter().filter(|all| layout.is_none_or(|layout| layout == *all));
            let pictures = all.filter_map(|layout| layout.pictures(shape));
            let mut sizes = pictures.map(|p| (p.height, p.width)).filter(|&(h, w)| h.min(w) >= MIN_SIDE);
            let first = sizes.next()?;
            sizes.all(|other| other == first).then(|| sized(first.0, first.1))?
        }
        Input::Array(Array { data: ArrayData::I64(_), .. }) => None,
    }
}

fn as_it_is(path: &Path, mut shape: Vec<usize>, values: Vec<f32>, dims: &[usize]) -> Result<Tensor, IoError> {
    if shape == dims {
        shape.insert(0, 1);
    }
    if shape.is_empty() || shape[1..] != *dims || values.is_empty() {
        return Err(IoError::input(path, format!("its shape is {shape:?}, the model takes {}", batched(dims))));
    }
    Ok(Tensor::new(shape, values))
}

/// `[N, C, H, W]` with the numbers of `dims`.
fn batched(dims: &[usize]) -> String {
    let sizes: String = dims.iter().map(|size| format!(", {size}")).collect();
    format!("[N{sizes}]")
}

fn target(path: &Path, dims: &[usize]) -> Result<Target, IoError> {
    match *dims {
        [channels @ (1 | 3), height, width] => Ok(Target { channels, height, width }),
        _ => Err(IoError::input(
            path,
            format!("the model takes {}, which is no picture of 1 or 3 channels; give a float32 array", batched(dims)),
        )),
    }
}

/// Finds the one reading of a u8 array that can be fed.
fn interpret(
    path: &Path,
    shape: &[usize],
    layout: Option<Layout>,
    how: &Preprocessing,
    target: Target,
) -> Result<Pictures, IoError> {
    let fail = |reason: String| Err(IoError::input(path, format!("an array of shape {shape:?} {reason}")));
    if shape.contains(&0) {
        return fail("is empty".to_owned());
    }
    if let Some(layout) = layout {
        let refused = || format!("is not {} with 1 or 3 channels", layout.name());
        return layout.pictures(shape).map_or_else(|| fail(refused()), Ok);
    }
    let readings: Vec<(Layout, Pictures)> = Layout::ALL
        .into_iter()
        .filter_map(|layout| Some((layout, layout.pictures(shape)?)))
        .filter(|(_, pictures)| plausible(pictures, how, target))
        .collect();
    let Some((_, first)) = readings.first() else {
        let Target { channels, height, width } = target;
        return fail(format!("holds no pictures for a model that takes {}", batched(&[channels, height, width])));
    };
    if readings.iter().any(|(_, other)| other != first) {
        let names: Vec<String> = readings.iter().map(|(layout, p)| format!("{} ({p})", layout.name())).collect();
        return fail(format!("can be read as {}; say which with the layout option", names.join(" or ")));
    }
    Ok(*first)
}

fn plausible(pictures: &Pictures, how: &Preprocessing, target: Target) -> bool {
    let fits = |side: usize, wanted: usize| side == wanted || (how.resizes() && side >= MIN_SIDE);
    fits(pictures.height, target.height) && fits(pictures.width, target.width)
}

fn batch(
    path: &Path,
    count: usize,
    how: &Preprocessing,
    target: Target,
    picture: impl Fn(usize) -> Picture,
) -> Result<Tensor, IoError> {
    let shape = [count, target.channels, target.height, target.width];
    let elements = shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
    let Some(elements) = elements.filter(|&elements| elements <= MAX_ELEMENTS) else {
        return Err(IoError::input(path, format!("gives a tensor of {shape:?}, the limit is {MAX_ELEMENTS} elements")));
    };
    let tables = tables(path, how, target.channels)?;
    let mut values = Vec::with_capacity(elements);
    for n in 0..count {
        let picture = fitted(path, picture(n), how, target)?;
        for (c, table) in tables.iter().enumerate() {
            let channel = match (picture.channels(), how.colour) {
                (1, _) => 0,
                (_, Colour::Bgr) => 2 - c,
                _ => c,
            };
            let pixels = picture.pixels()[channel..].iter().step_by(picture.channels());
            values.extend(pixels.map(|&pixel| table[usize::from(pixel)]));
        }
    }
    Ok(Tensor::new(shape, values))
}

/// For each channel what each of the 256 values of a pixel becomes.
fn tables(path: &Path, how: &Preprocessing, channels: usize) -> Result<Vec<[f32; 256]>, IoError> {
    let per_channel = |name: &str, values: &[f32], absent: f32| match values.len() {
        0 => Ok(vec![absent; channels]),
        1 => Ok(vec![values[0]; channels]),
        n if n == channels => Ok(values.to_vec()),
        n => Err(IoError::input(path, format!("the model takes {channels} channels, but `{name}` has {n} values"))),
    };
    let (mean, std) = (per_channel("mean", &how.mean, 0.0)?, per_channel("std", &how.std, 1.0)?);
    // Rounded once, from f64: the same f32 as a division by 255 where the scale is 1/255.
    let scaled = |pixel: usize| (pixel as f64 * how.scale) as f32;
    let table = |(mean, std): (&f32, &f32)| std::array::from_fn(|pixel| (scaled(pixel) - mean) / std);
    Ok(mean.iter().zip(&std).map(table).collect())
}

/// Brings a picture to the height and width of the model. One that has them already has been prepared before.
fn fitted(path: &Path, picture: Picture, how: &Preprocessing, target: Target) -> Result<Picture, IoError> {
    let mut picture = picture;
    if target.channels == 1 || how.colour == Colour::Grey {
        picture = grey(picture);
    }
    if (picture.height(), picture.width()) == (target.height, target.width) {
        return Ok(picture);
    }
    let Steps { resize, crop, size } = Steps::new(how, target);
    if let Some(sides) = resize {
        let [height, width] = covering(&picture, sides);
        picture = resized(path, picture, height, width, how.filter)?;
    }
    if let Some(sides) = crop {
        picture = cropped(path, &picture, sides)?;
    }
    if let Some([height, width]) = size {
        picture = resized(path, picture, height, width, how.filter)?;
    }
    let (height, width) = (picture.height(), picture.width());
    if (height, width) == (target.height, target.width) {
        return Ok(picture);
    }
    let wanted = format!("{}x{}", target.height, target.width);
    Err(IoError::input(
        path,
        format!(
            "a picture of {height}x{width}, the model takes {wanted} (height x width); \
             `resize`, `crop` or `size` in the model card's preprocessing can bring it there"
        ),
    ))
}

/// Luma as Pillow computes it from RGB: the weights of ITU-R BT.601 in 16-bit fixed point, rounded.
fn grey(picture: Picture) -> Picture {
    if picture.channels() == 1 {
        return picture;
    }
    let luma = |&[r, g, b]: &[u8; 3]| {
        ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
    };
    let pixels = picture.pixels().as_chunks().0.iter().map(luma).collect();
    Picture::new(picture.width(), picture.height(), 1, pixels)
}

/// What is done to a picture, in this order; heights and widths.
struct Steps {
    /// Resize to the smallest that covers this.
    resize: Option<[u64; 2]>,
    crop: Option<[usize; 2]>,
    size: Option<[u64; 2]>,
}

impl Steps {
    /// What was published, brought to the size of a network.
    fn new(how: &Preprocessing, target: Target) -> Steps {
        let sides = [target.height as u64, target.width as u64];
        let resize = how.resize.map(|side| u64::from(side.get()));
        match (how.size, how.crop.map(|side| u64::from(side.get()))) {
            (Some(_), crop) => {
                let crop = crop.map(|side| [side as usize; 2]);
                Steps { resize: resize.map(|side| [side; 2]), crop, size: Some(sides) }
            }
            (None, Some(crop)) => {
                // Rounded to the nearest.
                let in_proportion = |resize: u64| sides.map(|side| ((resize * side + crop / 2) / crop).max(1));
                Steps { resize: resize.map(in_proportion), crop: Some([target.height, target.width]), size: None }
            }
            (None, None) => Steps { resize: resize.map(|side| [side; 2]), crop: None, size: None },
        }
    }
}

/// Height and width of the smallest picture of the same proportions that covers a rectangle, with the longer side rounded
/// down; for a square this is torchvision's `Resize(side)`.
fn covering(picture: &Picture, [height, width]: [u64; 2]) -> [u64; 2] {
    let (old_height, old_width) = (picture.height() as u64, picture.width() as u64);
    match old_height.saturating_mul(width) <= old_width.saturating_mul(height) {
        true => [height, (height.saturating_mul(old_width) / old_height).max(1)],
        false => [(width.saturating_mul(old_height) / old_width).max(1), width],
    }
}

fn resized(path: &Path, picture: Picture, height: u64, width: u64, filter: Filter) -> Result<Picture, IoError> {
    // Along the rows first, which makes a picture of the new width and the old height.
    let largest = width.saturating_mul(height.max(picture.height() as u64));
    if largest > MAX_RESIZED_PIXELS {
        let (old_height, old_width) = (picture.height(), picture.width());
        let step = format!("resizing {old_height}x{old_width} to {height}x{width} (height x width)");
        return Err(IoError::input(path, format!("{step} takes {largest} pixels, the limit is {MAX_RESIZED_PIXELS}")));
    }
    Ok(resize(&picture, width as usize, height as usize, filter))
}

fn cropped(path: &Path, picture: &Picture, [rows, columns]: [usize; 2]) -> Result<Picture, IoError> {
    let (height, width, channels) = (picture.height(), picture.width(), picture.channels());
    if rows > height || columns > width {
        let reason = format!("a picture of {height}x{width} is too small to crop {rows}x{columns} from its centre");
        return Err(IoError::input(path, reason));
    }
    let (top, left) = (centred(height - rows), centred(width - columns));
    let row = |y: usize| &picture.pixels()[(y * width + left) * channels..][..columns * channels];
    let pixels = (top..top + rows).flat_map(row).copied().collect();
    Ok(Picture::new(columns, rows, channels, pixels))
}

/// Half of the margin, halves rounded to even, as torchvision's `CenterCrop` does.
fn centred(margin: usize) -> usize {
    margin / 2 + usize::from(margin % 4 == 3)
}

#[cfg(test)]
mod tests {
    use super::super::testdata;
    use super::*;
    use std::num::NonZeroU32;

    const NOWHERE: &str = "input";

    fn run(input: Input, how: &Preprocessing, dims: &[usize]) -> Result<Tensor, String> {
        prepare(Path::new(NOWHERE), input, how, dims, None).map_err(|error| error.to_string())
    }

    fn bytes(shape: &[usize]) -> Input {
        let data = (0..shape.iter().product()).map(|i: usize| (i * 7) as u8).collect();
        Input::Array(Array { shape: shape.to_vec(), data: ArrayData::U8(data) })
    }

    /// Pixels pass unchanged.
    fn raw() -> Preprocessing {
        Preprocessing { scale: 1.0, ..Preprocessing::default() }
    }

    fn pixels(side: u32) -> Option<NonZeroU32> {
        NonZeroU32::new(side)
    }

    /// The picture whose resized values Pillow 13.0 gave for the tests below.
    fn pattern() -> Picture {
        let value = |x: usize, y: usize, c: usize| ((x * 31 + y * 57 + c * 91 + x * y * 13) % 256) as u8;
        let at = |i: usize| value(i / 3 % 9, i / 27, i % 3);
        Picture::new(9, 7, 3, (0..9 * 7 * 3).map(at).collect())
    }

    fn resized_pattern(height: u64, width: u64, filter: Filter) -> Picture {
        resized(Path::new(NOWHERE), pattern(), height, width, filter).unwrap()
    }

    #[test]
    fn digits_are_normalised_as_by_torchvision() {
        let path = testdata::committed("digits/mnist_test200_images_u8.npy");
        let input = Input::read(&path, None).unwrap();
        let Input::Array(Array { data: ArrayData::U8(bytes), .. }) = input.clone() else { panic!("{input:?}") };
        let how = Preprocessing { mean: vec![0.1307], std: vec![0.3081], ..Preprocessing::default() };
        let tensor = prepare(&path, input, &how, &[1, 28, 28], None).unwrap();
        assert_eq!(tensor.shape(), [200, 1, 28, 28]);
        let expected: Vec<f32> = bytes.iter().map(|&x| (f32::from(x) / 255.0 - 0.1307) / 0.3081).collect();
        assert_eq!(tensor.data(), expected);
    }

    #[test]
    fn fashion_pictures_are_doubled_and_repeated() {
        let path = testdata::committed("fashion/fashion_mnist_test100_images_u8.npy");
        let input = Input::read(&path, None).unwrap();
        let Input::Array(Array { data: ArrayData::U8(bytes), .. }) = input.clone() else { panic!("{input:?}") };
        let size = Some([pixels(56).unwrap(); 2]);
        let how = Preprocessing { size, filter: Filter::Nearest, ..raw() };
        let tensor = prepare(&path, input, &how, &[3, 56, 56], None).unwrap();
        assert_eq!(tensor.shape(), [100, 3, 56, 56]);
        for (n, c) in [(0, 0), (57, 1), (99, 2)] {
            let doubled = (0..56 * 56).map(|i| f32::from(bytes[(n * 28 + i / 56 / 2) * 28 + i % 56 / 2]));
            assert!(tensor.plane(n, c).iter().copied().eq(doubled), "{n}, {c}");
        }
    }

    #[test]
    fn photographs_are_fed_plane_by_plane() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/pictures/coffee_224.png");
        let input = Input::read(&path, None).unwrap();
        let Input::Picture(picture) = input.clone() else { panic!("{input:?}") };
        let (mean, std) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
        let how = Preprocessing { mean: mean.to_vec(), std: std.to_vec(), ..Preprocessing::default() };
        let tensor = prepare(&path, input, &how, &[3, 224, 224], None).unwrap();
        for c in 0..3 {
            let expected = |at: usize| (f32::from(picture.pixels()[at * 3 + c]) / 255.0 - mean[c]) / std[c];
            assert!(tensor.plane(0, c).iter().copied().eq((0..224 * 224).map(expected)), "{c}");
        }
    }

    #[test]
    fn resizing_agrees_with_pillow() {
        let down = resized_pattern(3, 4, Filter::Bilinear);
        let expected = [
            84, 140, 142, 130, 133, 113, 124, 142, 131, 143, 131, 134, 155, 98, 139, 130, 131, 136, 112, 134, 116, 119,
            141, 128, 120, 130, 129, 123, 153, 156, 149, 146, 114, 124, 105, 114,
        ];
        assert_eq!(down.pixels(), expected);
        let up = resized_pattern(11, 12, Filter::Bilinear);
        let first_row = [
            0, 91, 182, 19, 110, 201, 43, 134, 225, 66, 157, 216, 89, 180, 47, 112, 203, 38, 136, 227, 62, 159, 218,
            85, 182, 49, 108, 205, 40, 131, 229, 64, 155, 248, 83, 174,
        ];
        assert_eq!(up.pixels()[..36], first_row);
        let nearest = resized_pattern(4, 5, Filter::Nearest);
        let first_row = [0, 91, 182, 62, 153, 244, 124, 215, 50, 186, 21, 112, 248, 83, 174];
        assert_eq!(nearest.pixels()[..15], first_row);
    }

    #[test]
    fn luma_agrees_with_pillow() {
        let colours = [
            ([255, 0, 0], 76),
            ([0, 255, 0], 150),
            ([0, 0, 255], 29),
            ([10, 20, 30], 18),
            ([200, 100, 50], 124),
            ([1, 2, 3], 2),
            ([255, 255, 255], 255),
        ];
        for (rgb, luma) in colours {
            assert_eq!(grey(Picture::new(1, 1, 3, rgb.to_vec())).pixels(), [luma], "{rgb:?}");
        }
    }

    #[test]
    fn resize_and_crop_follow_torchvision() {
        let grey = |width, height| Picture::new(width, height, 1, vec![0; width * height]);
        assert_eq!(covering(&grey(300, 200), [256; 2]), [256, 384]);
        assert_eq!(covering(&grey(200, 301), [256; 2]), [385, 256]);
        assert_eq!(covering(&grey(300, 200), [256, 512]), [341, 512]);
        assert_eq!(covering(&grey(300, 200), [512, 256]), [512, 768]);
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 7].map(centred), [0, 0, 1, 2, 2, 2, 3, 4]);
        let picture = Picture::new(4, 3, 1, (0..12).collect());
        assert_eq!(cropped(Path::new(NOWHERE), &picture, [2, 2]).unwrap().pixels(), [1, 2, 5, 6]);
        let how = Preprocessing { resize: pixels(6), crop: pixels(5), ..raw() };
        let tensor = run(Input::Picture(pattern()), &how, &[3, 5, 5]).unwrap();
        assert_eq!(tensor.shape(), [1, 3, 5, 5]);
    }

    /// Of 320, 366 are taken as 256 are of 224.
    #[test]
    fn other_sizes_keep_the_published_proportions() {
        let published = Preprocessing { resize: pixels(256), crop: pixels(224), ..raw() };
        let steps = |how: &Preprocessing, height, width| {
            let Steps { resize, crop, size } = Steps::new(how, Target { channels: 3, height, width });
            (resize, crop, size)
        };
        assert_eq!(steps(&published, 224, 224), (Some([256; 2]), Some([224; 2]), None));
        assert_eq!(steps(&published, 320, 448), (Some([366, 512]), Some([320, 448]), None));
        let size = Some([pixels(56).unwrap(); 2]);
        assert_eq!(steps(&Preprocessing { size, ..raw() }, 40, 64), (None, None, Some([40, 64])));
        assert_eq!(steps(&Preprocessing { resize: pixels(8), ..raw() }, 40, 64), (Some([8; 2]), None, None));
        let how = Preprocessing { resize: pixels(6), crop: pixels(5), ..raw() };
        let tensor = run(Input::Picture(pattern()), &how, &[3, 10, 8]).unwrap();
        assert_eq!(tensor.shape(), [1, 3, 10, 8]);
    }

    #[test]
    fn files_have_sizes_of_their_own() {
        let own = |input: &Input, dims: &[usize]| own_dims(input, dims, None);
        assert_eq!(own(&Input::Picture(pattern()), &[1, 4, 4]), Some(vec![1, 7, 9]));
        assert_eq!(own(&Input::Picture(pattern()), &[1, 4]), None);
        for shape in [&[9, 8][..], &[3, 9, 8], &[9, 8, 3], &[2, 9, 8, 3]] {
            assert_eq!(own(&bytes(shape), &[3, 4, 4]), Some(vec![3, 9, 8]), "{shape:?}");
        }
        assert_eq!(own(&bytes(&[9, 8, 7]), &[1, 4, 4]), Some(vec![1, 8, 7]));
        assert_eq!(own(&bytes(&[3, 3]), &[1, 4, 4]), None);
        let floats = |shape: &[usize]| Input::Array(Array { shape: shape.to_vec(), data: ArrayData::F32(Vec::new()) });
        assert_eq!(own(&floats(&[5, 2, 7]), &[2, 3]), Some(vec![2, 7]));
        assert_eq!(own(&floats(&[2, 7]), &[2, 3]), Some(vec![2, 7]));
        assert_eq!(own(&floats(&[7]), &[2, 3]), None);
        assert_eq!(own(&floats(&[1, 1, 2, 3]), &[2, 3]), None);
    }

    #[test]
    fn channels_are_ordered_repeated_and_reduced() {
        let rgb = || Input::Picture(Picture::new(1, 1, 3, vec![10, 20, 30]));
        let grey = || Input::Picture(Picture::new(1, 1, 1, vec![7]));
        let values = |input, colour, channels| {
            let how = Preprocessing { colour, ..raw() };
            run(input, &how, &[channels, 1, 1]).unwrap().into_data()
        };
        assert_eq!(values(rgb(), Colour::Rgb, 3), [10.0, 20.0, 30.0]);
        assert_eq!(values(rgb(), Colour::Bgr, 3), [30.0, 20.0, 10.0]);
        assert_eq!(values(rgb(), Colour::Grey, 3), [18.0; 3]);
        assert_eq!(values(rgb(), Colour::Rgb, 1), [18.0]);
        assert_eq!(values(grey(), Colour::Bgr, 3), [7.0; 3]);
        let how = Preprocessing { mean: vec![1.0, 2.0, 3.0], std: vec![2.0], colour: Colour::Bgr, ..raw() };
        assert_eq!(run(rgb(), &how, &[3, 1, 1]).unwrap().into_data(), [14.5, 9.0, 3.5]);
        let error = run(rgb(), &how, &[1, 1, 1]).unwrap_err();
        assert_eq!(error, "input: the model takes 1 channels, but `mean` has 3 values");
    }

    #[test]
    fn layouts_are_told_apart_by_their_shape() {
        for shape in [&[8, 6, 3][..], &[1, 8, 6, 3]] {
            let Input::Array(Array { data: ArrayData::U8(data), .. }) = bytes(shape) else { panic!() };
            let planes = (0..144).map(|i| f32::from(data[i % 48 * 3 + i / 48]));
            assert!(run(bytes(shape), &raw(), &[3, 8, 6]).unwrap().data().iter().copied().eq(planes), "{shape:?}");
        }
        let planar = run(bytes(&[2, 3, 8, 6]), &raw(), &[3, 8, 6]).unwrap();
        assert_eq!(planar.data()[1], 7.0);
        for shape in [&[8, 6][..], &[1, 8, 6], &[8, 6, 1], &[1, 1, 8, 6], &[1, 8, 6, 1]] {
            let tensor = run(bytes(shape), &raw(), &[1, 8, 6]).unwrap();
            assert_eq!((tensor.shape(), tensor.data()[1]), (&[1, 1, 8, 6][..], 7.0), "{shape:?}");
        }
        assert_eq!(run(bytes(&[5, 8, 6]), &raw(), &[1, 8, 6]).unwrap().batch(), 5);
        let how = Preprocessing { resize: pixels(8), crop: pixels(8), ..raw() };
        assert_eq!(run(bytes(&[16, 12, 3]), &how, &[3, 8, 8]).unwrap().batch(), 1);
    }

    #[test]
    fn an_ambiguous_shape_is_an_error_that_names_the_readings() {
        let error = run(bytes(&[3, 8, 6]), &raw(), &[3, 8, 6]).unwrap_err();
        let expected = "input: an array of shape [3, 8, 6] can be read as NHW (3 grey pictures of 8x6) \
                        or CHW (1 colour picture of 8x6); say which with the layout option";
        assert_eq!(error, expected);
        for (layout, count) in [(Layout::Nhw, 3), (Layout::Chw, 1)] {
            let path = Path::new(NOWHERE);
            let tensor = prepare(path, bytes(&[3, 8, 6]), &raw(), &[3, 8, 6], Some(layout)).unwrap();
            assert_eq!(tensor.batch(), count);
            let error = prepare(path, bytes(&[8, 6]), &raw(), &[3, 8, 6], Some(layout)).unwrap_err().to_string();
            assert!(error.contains("is not") && error.contains(layout.name()), "{error}");
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_errors() {
        for (input, dims, expected) in [
            (bytes(&[8, 7]), &[1, 8, 6][..], "shape [8, 7] holds no pictures for a model that takes [N, 1, 8, 6]"),
            (bytes(&[8, 6, 2]), &[1, 8, 6], "holds no pictures"),
            (bytes(&[0, 8, 6]), &[1, 8, 6], "is empty"),
            (bytes(&[8, 6]), &[4, 8, 6], "the model takes [N, 4, 8, 6], which is no picture of 1 or 3 channels"),
            (bytes(&[8, 6]), &[48], "the model takes [N, 48], which is no picture"),
            (Input::Picture(pattern()), &[3, 8, 6], "a picture of 7x9, the model takes 8x6 (height x width)"),
            (Input::Array(Array { shape: vec![1], data: ArrayData::I64(vec![1]) }), &[1], "signed integers"),
        ] {
            let error = run(input, &raw(), dims).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        let how = Preprocessing { crop: pixels(8), ..raw() };
        assert!(run(Input::Picture(pattern()), &how, &[3, 8, 8]).unwrap_err().contains("too small to crop 8x8"));
    }

    #[test]
    fn floats_are_fed_as_they_are() {
        let floats = |shape: &[usize]| {
            let data = ArrayData::F32((0..shape.iter().product()).map(|i: usize| i as f32).collect());
            Input::Array(Array { shape: shape.to_vec(), data })
        };
        assert_eq!(run(floats(&[2, 3]), &Preprocessing::default(), &[2, 3]).unwrap().shape(), [1, 2, 3]);
        let batch = run(floats(&[5, 2, 3]), &Preprocessing::default(), &[2, 3]).unwrap();
        assert_eq!((batch.shape(), batch.data()[29]), (&[5, 2, 3][..], 29.0));
        for shape in [&[][..], &[2], &[3, 2], &[0, 2, 3], &[1, 1, 2, 3]] {
            let error = run(floats(shape), &Preprocessing::default(), &[2, 3]).unwrap_err();
            assert_eq!(error, format!("input: its shape is {shape:?}, the model takes [N, 2, 3]"));
        }
    }

    #[test]
    fn memory_is_limited_before_it_is_taken() {
        let strip = Input::Picture(Picture::new(100_000, 1, 1, vec![0; 100_000]));
        let how = Preprocessing { resize: pixels(256), ..raw() };
        let error = run(strip, &how, &[1, 256, 256]).unwrap_err();
        assert!(error.contains("resizing 1x100000 to 256x25600000"), "{error}");
        let how = Preprocessing { size: Some([pixels(u32::MAX).unwrap(); 2]), ..raw() };
        assert!(run(Input::Picture(pattern()), &how, &[1, 8192, 4096]).unwrap_err().contains("the limit is"));
        let many = Input::Array(Array { shape: vec![1 << 20, 5, 5], data: ArrayData::U8(vec![0; 25 << 20]) });
        let how = Preprocessing { size: Some([pixels(224).unwrap(); 2]), ..raw() };
        assert!(run(many, &how, &[3, 224, 224]).unwrap_err().contains("gives a tensor of [1048576, 3, 224, 224]"));
    }

    #[test]
    fn files_are_told_apart_by_their_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("input");
        images::write_png(&path, &pattern()).unwrap();
        assert_eq!(Input::read(&path, None).unwrap(), Input::Picture(pattern()));
        npy::write(&path, &[1, 2], &[1.0, 2.0]).unwrap();
        assert!(matches!(Input::read(&path, None).unwrap(), Input::Array(_)));
        std::fs::write(&path, "PK\x03\x04").unwrap();
        assert!(Input::read(&path, None).unwrap_err().to_string().contains("not a valid .npz file"));
        std::fs::write(&path, "text").unwrap();
        assert!(Input::read(&path, None).unwrap_err().to_string().contains("the bytes 74 65 78 74 'text'"));
    }
}
