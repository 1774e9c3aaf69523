//! NumPy arrays: `.npy` files and the `.npz` archives that hold several.
//!
//! Format: <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>. The header is a Python literal.
//! Only the one dictionary that NumPy writes is parsed: readers of literals of any kind recurse as deep as these nest.

use super::IoError;
use super::write::write_atomically;
use super::zip::Archive;
use half::f16;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

const NPY: &str = ".npy";
const NPZ: &str = ".npz";
pub(super) const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// The largest array, in bytes, both as stored (uncompressed) and in memory, and the largest archive.
pub const MAX_ARRAY_BYTES: u64 = 2 << 30;

/// NumPy's own limit on what its reader takes for a header without being told that it is trusted.
const MAX_HEADER_BYTES: usize = 10_000;

/// As in NumPy 2.
const MAX_DIMENSIONS: usize = 64;

/// An array in row-major (C) order.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    pub shape: Vec<usize>,
    pub data: ArrayData,
}

/// The elements of an [`Array`], as many as the product of its shape.
#[derive(Clone, Debug, PartialEq)]
pub enum ArrayData {
    /// From f16, f32 and f64 (rounded to nearest: to infinity beyond f32).
    F32(Vec<f32>),
    U8(Vec<u8>),
    /// From i8, i16, i32 and i64.
    I64(Vec<i64>),
}

/// Reads a `.npy` file with one array.
pub fn read(path: &Path) -> Result<Array, IoError> {
    let (file, length) = super::open(path)?;
    read_opened(path, file, length)
}

/// The same of a file that is open already.
pub(super) fn read_opened(path: &Path, mut file: File, length: u64) -> Result<Array, IoError> {
    let size_of_values = |header: &Header| {
        let available = length.saturating_sub(header.bytes);
        if available == header.values {
            return Ok(());
        }
        let reason = format!("{header} takes {} bytes, but {available} follow the header", header.values);
        Err(IoError::malformed(path, NPY, reason))
    };
    read_array(path, NPY, &mut file, MAX_ARRAY_BYTES, size_of_values)
}

/// Reads one array of a `.npz` archive: the one of this name, or the only one, whatever its name. Entries may be stored or deflated.
pub fn read_npz(path: &Path, name: Option<&str>) -> Result<Array, IoError> {
    let (file, length) = super::open(path)?;
    read_npz_opened(path, file, length, name)
}

/// The same of a file that is open already.
pub(super) fn read_npz_opened(path: &Path, file: File, length: u64, name: Option<&str>) -> Result<Array, IoError> {
    read_npz_at_most(path, file, length, name, MAX_ARRAY_BYTES)
}

fn read_npz_at_most(path: &Path, file: File, length: u64, name: Option<&str>, limit: u64) -> Result<Array, IoError> {
    within(path, "archive", length, limit)?;
    let mut bytes = Vec::new();
    file.take(length).read_to_end(&mut bytes).map_err(IoError::system(path, "read"))?;
    let archive = Archive::read(path, NPZ, &bytes)?;
    let content = archive.content(choose(path, &archive, name)?, limit)?;
    read_array(path, NPZ, &mut content.bytes(&bytes), limit, |_| Ok(()))
}

/// The name of the entry to read.
fn choose<'a>(path: &Path, archive: &'a Archive<'_>, name: Option<&str>) -> Result<&'a str, IoError> {
    let arrays: Vec<(&str, &str)> =
        archive.names().filter_map(|entry| Some((entry.strip_suffix(NPY)?, entry))).collect();
    let found = match &arrays[..] {
        [only] => Some(only),
        _ => arrays.iter().find(|(array, _)| Some(*array) == name),
    };
    found.map(|(_, entry)| *entry).ok_or_else(|| {
        let names: Vec<String> = arrays.iter().map(|(array, _)| format!("{array:?}")).collect();
        let wanted = name.map_or("say which array to read".to_owned(), |name| format!("no array {name:?}"));
        IoError::unsupported(path, format!("{wanted}; the archive holds: {}", names.join(", ")))
    })
}

/// Reads the header and, once `check` has accepted it, the values.
fn read_array(
    path: &Path,
    format: &'static str,
    source: &mut dyn Read,
    limit: u64,
    check: impl FnOnce(&Header) -> Result<(), IoError>,
) -> Result<Array, IoError> {
    let header = Header::read(path, format, source)?;
    within(path, "array", header.values.max(header.memory), limit)?;
    check(&header)?;
    // Grows with what arrives: a header that promises more than there is takes no memory for it.
    let mut bytes = Vec::new();
    let read = source.take(header.values.saturating_add(1)).read_to_end(&mut bytes);
    read.map_err(|error| IoError::malformed(path, format, error))?;
    if bytes.len() as u64 != header.values {
        let than = if bytes.len() as u64 > header.values { "more" } else { "fewer" };
        return Err(IoError::malformed(path, format, format!("{than} than the {} bytes of {header}", header.values)));
    }
    let data = header.element.decode(bytes, header.big_endian);
    let data = if header.fortran { data.transposed(&header.shape) } else { data };
    Ok(Array { shape: header.shape, data })
}

fn within(path: &Path, what: &'static str, found: u64, limit: u64) -> Result<(), IoError> {
    if found <= limit {
        return Ok(());
    }
    Err(IoError::TooLarge { path: path.to_owned(), what, unit: "bytes", found, limit })
}

/// Writes f32 values, row-major, as `.npy`.
///
/// # Panics
/// If `data` does not hold exactly the product of `shape`.
pub fn write(path: &Path, shape: &[usize], data: &[f32]) -> Result<(), IoError> {
    assert_eq!(shape.iter().product::<usize>(), data.len(), "shape {shape:?}");
    write_parts(path, shape, std::iter::once(Ok(data)))
}

/// The same of values that come in parts, one after the other.
///
/// # Errors
/// What the system refuses, and of a part; where there are more or fewer values than the product of `shape`.
pub fn write_parts<P: AsRef<[f32]>>(
    path: &Path,
    shape: &[usize],
    parts: impl Iterator<Item = io::Result<P>>,
) -> Result<(), IoError> {
    let mut missing = shape.iter().product::<usize>();
    write_atomically(path, |out| {
        out.write_all(&header(shape))?;
        for part in parts {
            let part = part?;
            let values = part.as_ref();
            let too_many = || io::Error::other("more values than the shape has");
            missing = missing.checked_sub(values.len()).ok_or_else(too_many)?;
            values.iter().try_for_each(|value| out.write_all(&value.to_le_bytes()))?;
        }
        if missing == 0 { Ok(()) } else { Err(io::Error::other("fewer values than the shape has")) }
    })
}

/// What stands before the values of an array of f32: version 1.0, whose length has 16 bits, padded so that the values
/// begin at a multiple of 64 bytes, as NumPy writes it.
fn header(shape: &[usize]) -> Vec<u8> {
    let sizes: Vec<String> = shape.iter().map(usize::to_string).collect();
    let (sizes, comma) = (sizes.join(", "), if shape.len() == 1 { "," } else { "" });
    let dictionary = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({sizes}{comma}), }}");
    let before = MAGIC.len() + 4;
    let length = (before + dictionary.len() + 1).next_multiple_of(64) - before;
    let mut bytes = [&MAGIC[..], &[1, 0]].concat();
    bytes.extend((length as u16).to_le_bytes());
    bytes.extend(format!("{dictionary:<width$}\n", width = length - 1).into_bytes());
    bytes
}

/// The stored element types that are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Element {
    F16,
    F32,
    F64,
    U8,
    I8,
    I16,
    I32,
    I64,
}

impl Element {
    /// From the part of a type string behind the byte order, such as `f4`.
    fn parse(kind: &str) -> Option<Element> {
        Some(match kind {
            "f2" => Element::F16,
            "f4" => Element::F32,
            "f8" => Element::F64,
            "u1" => Element::U8,
            "i1" => Element::I8,
            "i2" => Element::I16,
            "i4" => Element::I32,
            "i8" => Element::I64,
            _ => return None,
        })
    }

    /// Bytes of one element in the file and in [`ArrayData`].
    fn bytes(self) -> (u64, u64) {
        match self {
            Element::F16 => (2, 4),
            Element::F32 => (4, 4),
            Element::F64 => (8, 4),
            Element::U8 => (1, 1),
            Element::I8 => (1, 8),
            Element::I16 => (2, 8),
            Element::I32 => (4, 8),
            Element::I64 => (8, 8),
        }
    }

    fn decode(self, mut bytes: Vec<u8>, big_endian: bool) -> ArrayData {
        if big_endian {
            bytes.chunks_exact_mut(self.bytes().0 as usize).for_each(<[u8]>::reverse);
        }
        match self {
            Element::F16 => ArrayData::F32(super::decode(&bytes, |b| f16::from_le_bytes(b).to_f32())),
            Element::F32 => ArrayData::F32(super::decode(&bytes, f32::from_le_bytes)),
            Element::F64 => ArrayData::F32(super::decode(&bytes, |b| f64::from_le_bytes(b) as f32)),
            Element::U8 => ArrayData::U8(bytes),
            Element::I8 => ArrayData::I64(super::decode(&bytes, |b| i8::from_le_bytes(b).into())),
            Element::I16 => ArrayData::I64(super::decode(&bytes, |b| i16::from_le_bytes(b).into())),
            Element::I32 => ArrayData::I64(super::decode(&bytes, |b| i32::from_le_bytes(b).into())),
            Element::I64 => ArrayData::I64(super::decode(&bytes, i64::from_le_bytes)),
        }
    }
}

impl ArrayData {
    /// From column-major (Fortran) to row-major order.
    fn transposed(self, shape: &[usize]) -> ArrayData {
        match self {
            ArrayData::F32(values) => ArrayData::F32(transposed(&values, shape)),
            ArrayData::U8(values) => ArrayData::U8(transposed(&values, shape)),
            ArrayData::I64(values) => ArrayData::I64(transposed(&values, shape)),
        }
    }
}

fn transposed<T: Copy>(values: &[T], shape: &[usize]) -> Vec<T> {
    let strides: Vec<usize> = shape.iter().scan(1, |next, size| Some(std::mem::replace(next, *next * size))).collect();
    super::gather(values, shape, &strides)
}

/// What stands before the values of a `.npy` file.
#[derive(Debug)]
struct Header {
    element: Element,
    big_endian: bool,
    fortran: bool,
    shape: Vec<usize>,
    /// The length of the header itself, magic number and all.
    bytes: u64,
    /// Bytes of the values in the file.
    values: u64,
    /// Bytes of the values in memory.
    memory: u64,
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of shape {:?}", self.shape)
    }
}

impl Header {
    fn read(path: &Path, format: &'static str, source: &mut dyn Read) -> Result<Header, IoError> {
        let malformed = |reason: String| IoError::malformed(path, format, reason);
        let short = |error| malformed(format!("the header is cut short ({error})"));
        let mut start = [0; 8];
        source.read_exact(&mut start).map_err(short)?;
        if !start.starts_with(MAGIC) {
            return Err(malformed(format!("it begins with {}", super::first_bytes(&start))));
        }
        let (length, prefix) = match start[6] {
            1 => (u32::from(u16::from_le_bytes(read_array_of(source).map_err(short)?)), 10),
            2 | 3 => (u32::from_le_bytes(read_array_of(source).map_err(short)?), 12),
            version => return Err(malformed(format!("its version is {version}; accepted: 1, 2, 3"))),
        };
        let length = length as usize;
        if length > MAX_HEADER_BYTES {
            return Err(malformed(format!("its header takes {length} bytes; accepted: {MAX_HEADER_BYTES}")));
        }
        let mut text = vec![0; length];
        source.read_exact(&mut text).map_err(short)?;
        let text = String::from_utf8_lossy(&text);
        let fields = Fields::parse(&text).ok_or_else(|| malformed(format!("cannot read its header {text:?}")))?;
        let (element, big_endian) = element(path, fields.descr)?;
        let count = checked_elements(&fields.shape)
            .and_then(|count| count.checked_mul(8).map(|_| count))
            .ok_or_else(|| malformed(format!("its shape {:?} is too large", fields.shape)))?;
        let (stored, held) = element.bytes();
        Ok(Header {
            element,
            big_endian,
            fortran: fields.fortran,
            shape: fields.shape,
            bytes: (prefix + length) as u64,
            values: count * stored,
            memory: count * held,
        })
    }
}

fn read_array_of<const N: usize>(source: &mut dyn Read) -> std::io::Result<[u8; N]> {
    let mut bytes = [0; N];
    source.read_exact(&mut bytes).map(|()| bytes)
}

/// The number of elements. An empty array must not hide sizes whose product overflows, hence the `max`.
fn checked_elements(shape: &[usize]) -> Option<u64> {
    shape.iter().try_fold(1u64, |product, &size| product.checked_mul(size.max(1) as u64))?;
    Some(shape.iter().map(|&size| size as u64).product())
}

fn element(path: &Path, descr: &str) -> Result<(Element, bool), IoError> {
    let known = descr.split_at_checked(1).and_then(|(order, kind)| {
        let element = Element::parse(kind)?;
        matches!(order, "<" | ">" | "|" | "=").then_some((element, order == ">"))
    });
    known.ok_or_else(|| {
        let spelt = type_name(descr).map_or(String::new(), |name| format!(" ({name})"));
        let reason =
            format!("dtype '{}'{spelt} is not supported; convert with x.astype('float32')", descr.escape_debug());
        IoError::unsupported(path, reason)
    })
}

/// NumPy's name of a type string that is not taken.
fn type_name(descr: &str) -> Option<&'static str> {
    Some(match descr.get(1..)? {
        "b1" => "bool",
        "u2" => "uint16",
        "u4" => "uint32",
        "u8" => "uint64",
        "f16" => "longdouble",
        "c8" => "complex64",
        "c16" => "complex128",
        "O" => "object",
        kind if kind.starts_with('U') => "str",
        kind if kind.starts_with('S') => "bytes",
        kind if kind.starts_with('V') => "void",
        _ => return None,
    })
}

/// The three entries of a header's dictionary.
#[derive(Debug)]
struct Fields<'a> {
    descr: &'a str,
    fortran: bool,
    shape: Vec<usize>,
}

impl<'a> Fields<'a> {
    /// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }` with its entries in any order.
    fn parse(text: &'a str) -> Option<Fields<'a>> {
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        while !rest.is_empty() {
            let (key, after) = quoted(rest)?;
            let value = after.trim_start().strip_prefix(':')?.trim_start();
            rest = match key {
                "descr" => assign(&mut descr, described(value)?)?,
                "fortran_order" => assign(&mut fortran, boolean(value)?)?,
                "shape" => assign(&mut shape, tuple(value)?)?,
                _ => return None,
            };
            rest = rest.trim_start();
            rest = if rest.is_empty() { rest } else { rest.strip_prefix(',')?.trim_start() };
        }
        Some(Fields { descr: descr?, fortran: fortran?, shape: shape? })
    }
}

/// Fills the slot of an entry and gives the text behind it; `None` where it has a value already.
fn assign<'a, T>(slot: &mut Option<T>, (value, rest): (T, &'a str)) -> Option<&'a str> {
    slot.replace(value).is_none().then_some(rest)
}

/// A type string, or the list that describes a structured type, which serves the error message only.
fn described(text: &str) -> Option<(&str, &str)> {
    quoted(text).or_else(|| text.starts_with('[').then(|| text.split_at_checked(text.rfind(']')? + 1))?)
}

fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|first| matches!(first, '\'' | '"'))?;
    text[1..].split_once(quote)
}

fn boolean(text: &str) -> Option<(bool, &str)> {
    let is_false = text.strip_prefix("False").map(|rest| (false, rest));
    is_false.or_else(|| text.strip_prefix("True").map(|rest| (true, rest)))
}

/// Sizes in parentheses. Python 2 wrote an `L` behind long ones.
fn tuple(text: &str) -> Option<(Vec<usize>, &str)> {
    let (inside, rest) = text.strip_prefix('(')?.split_once(')')?;
    let inside = inside.trim();
    let inside = inside.strip_suffix(',').unwrap_or(inside);
    if inside.is_empty() {
        return Some((Vec::new(), rest));
    }
    let size = |size: &str| size.trim().trim_end_matches('L').parse().ok();
    let sizes: Vec<usize> = inside.split(',').map(size).collect::<Option<_>>()?;
    (sizes.len() <= MAX_DIMENSIONS).then_some((sizes, rest))
}

#[cfg(test)]
mod tests {
    use super::super::testdata;
    use super::super::zip::testing::{archive, deflated};
    use super::*;
    use tempfile::NamedTempFile;

    fn file(content: &[u8]) -> NamedTempFile {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    /// The bytes of a version 1 file.
    fn npy(dictionary: &str, values: &[u8]) -> Vec<u8> {
        let length = (dictionary.len() as u16).to_le_bytes();
        [&MAGIC[..], &[1, 0], &length, dictionary.as_bytes(), values].concat()
    }

    fn dictionary(descr: &str, fortran: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}")
    }

    fn parse(dictionary: &str, values: &[u8]) -> Result<Array, IoError> {
        read(file(&npy(dictionary, values)).path())
    }

    fn error_of(dictionary: &str, values: &[u8]) -> String {
        parse(dictionary, values).unwrap_err().to_string()
    }

    /// Makes an archive of entries.
    type Pack = fn(&[(&str, &[u8])]) -> Vec<u8>;

    /// An archive of arrays of one dimension.
    fn npz(arrays: &[(&str, &[f32])], pack: Pack) -> NamedTempFile {
        let entries = arrays.iter().map(|(name, values)| {
            let content = [&header(&[values.len()]), bytemuck::cast_slice::<f32, u8>(values)].concat();
            (format!("{name}{NPY}"), content)
        });
        let entries: Vec<(String, Vec<u8>)> = entries.collect();
        let entries: Vec<(&str, &[u8])> = entries.iter().map(|(name, content)| (&name[..], &content[..])).collect();
        file(&pack(&entries))
    }

    #[test]
    fn reads_real_digits_and_logits() {
        let digits = testdata::committed("digits");
        let images = read(&digits.join("mnist_test200_images_u8.npy")).unwrap();
        assert_eq!(images.shape, [200, 28, 28]);
        let ArrayData::U8(pixels) = images.data else { panic!("{:?}", images.data) };
        assert_eq!(pixels.len(), 200 * 28 * 28);
        let logits = read(&digits.join("lenet5_relu_maxpool_mnist_test200_logits.npy")).unwrap();
        let labels = read(&digits.join("mnist_test200_labels.npy")).unwrap();
        let (ArrayData::F32(logits), 200) = (logits.data, labels.shape[0]) else { panic!("{:?}", logits.shape) };
        let label = |n: usize| match &labels.data {
            ArrayData::U8(values) => i64::from(values[n]),
            ArrayData::I64(values) => values[n],
            ArrayData::F32(_) => panic!("labels are integers"),
        };
        let best = |row: &[f32]| (0..10).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as i64;
        let right = logits.chunks(10).enumerate().filter(|(n, row)| best(row) == label(*n)).count();
        assert_eq!(right, 199);
    }

    #[test]
    fn reads_every_type_in_both_byte_orders() {
        let floats = ArrayData::F32(vec![1.5, -2.0]);
        let integers = ArrayData::I64(vec![3, -4]);
        macro_rules! check {
            ($kind:literal, $expected:expr, $a:expr, $b:expr) => {
                for (order, values) in [
                    ("<", [$a.to_le_bytes(), $b.to_le_bytes()].concat()),
                    (">", [$a.to_be_bytes(), $b.to_be_bytes()].concat()),
                ] {
                    let array = parse(&dictionary(&format!("{order}{}", $kind), "False", "(2,)"), &values).unwrap();
                    assert_eq!(array, Array { shape: vec![2], data: $expected.clone() }, "{order}{}", $kind);
                }
            };
        }
        check!("f2", floats, f16::from_f32(1.5), f16::from_f32(-2.0));
        check!("f4", floats, 1.5f32, -2.0f32);
        check!("f8", floats, 1.5f64, -2.0f64);
        check!("i1", integers, 3i8, -4i8);
        check!("i2", integers, 3i16, -4i16);
        check!("i4", integers, 3i32, -4i32);
        check!("i8", integers, 3i64, -4i64);
        let bytes = parse(&dictionary("|u1", "False", "(2,)"), &[7, 255]).unwrap();
        assert_eq!(bytes.data, ArrayData::U8(vec![7, 255]));
    }

    #[test]
    fn brings_fortran_order_into_c_order() {
        // numpy.asfortranarray(numpy.arange(24, dtype='u1').reshape(2, 3, 4)) is stored as
        let stored = [0, 12, 4, 16, 8, 20, 1, 13, 5, 17, 9, 21, 2, 14, 6, 18, 10, 22, 3, 15, 7, 19, 11, 23];
        let array = parse(&dictionary("|u1", "True", "(2, 3, 4)"), &stored).unwrap();
        assert_eq!(array, Array { shape: vec![2, 3, 4], data: ArrayData::U8((0..24).collect()) });
    }

    #[test]
    fn reads_scalars_empty_arrays_and_every_version() {
        assert_eq!(parse(&dictionary("|u1", "False", "()"), &[9]).unwrap().shape, [0; 0]);
        assert_eq!(parse(&dictionary("|u1", "True", "(0, 3)"), &[]).unwrap().data, ArrayData::U8(vec![]));
        assert_eq!(parse("{'shape':(2L,),'descr':\"|u1\",'fortran_order':False}\n", &[1, 2]).unwrap().shape, [2]);
        for version in [2, 3] {
            let text = dictionary("|u1", "False", "(1,)");
            let length = (text.len() as u32).to_le_bytes();
            let bytes = [&MAGIC[..], &[version, 0], &length, text.as_bytes(), &[5]].concat();
            assert_eq!(read(file(&bytes).path()).unwrap().data, ArrayData::U8(vec![5]));
        }
    }

    #[test]
    fn names_the_type_that_is_not_supported() {
        let error = error_of(&dictionary("<c8", "False", "(1,)"), &[0; 8]);
        assert!(
            error.ends_with("dtype '<c8' (complex64) is not supported; convert with x.astype('float32')"),
            "{error}"
        );
        for descr in ["<u4", "|b1", "<U7", "|O", "", "<f", "ж4", "?f4"] {
            assert!(error_of(&dictionary(descr, "False", "(1,)"), &[0; 8]).contains("is not supported"), "{descr}");
        }
        let structured = "{'descr': [('a', '<f4'), ('b', '<f4')], 'fortran_order': False, 'shape': (1,), }";
        assert!(error_of(structured, &[0; 8]).contains("is not supported"));
    }

    #[test]
    fn shapes_are_checked_against_the_length_of_the_file() {
        for (shape, expected) in [
            ("(3,)", "takes 12 bytes, but 8 follow"),
            ("(1,)", "takes 4 bytes, but 8 follow"),
            ("(1099511627776,)", "array is 4398046511104 bytes, the limit is"),
            ("(4294967296, 4294967296)", "is too large"),
            ("(4294967296, 4294967296, 0)", "is too large"),
            ("(2305843009213693952,)", "is too large"),
            ("(-1,)", "cannot read its header"),
            ("(99999999999999999999,)", "cannot read its header"),
            ("(1.5,)", "cannot read its header"),
            ("2", "cannot read its header"),
        ] {
            let error = error_of(&dictionary("<f4", "False", shape), &[0; 8]);
            assert!(error.contains(expected), "{shape}: {error}");
        }
    }

    #[test]
    fn malformed_headers_are_errors() {
        let good = dictionary("<f4", "False", "(2,)");
        let nested = "(".repeat(5000);
        let twice = format!("{{'descr': '<f4', {}", &good[1..]);
        let open = "{'descr': '<f4";
        for text in ["", "{", "{}", "[]", "{'descr'", open, &nested, &good.replace("shape", "size"), &twice] {
            assert!(error_of(text, &[0; 8]).contains("cannot read its header"), "{text}");
        }
        let huge = [&MAGIC[..], &[2, 0], &u32::MAX.to_le_bytes()].concat();
        assert!(read(file(&huge).path()).unwrap_err().to_string().contains("its header takes 4294967295 bytes"));
        let error = read(file(b"\x89PNG\r\n\x1a\n").path()).unwrap_err().to_string();
        assert!(error.ends_with(r"it begins with the bytes 89 50 4e 47 0d 0a 1a 0a '\x89PNG\r\n\x1a\n'"), "{error}");
        let bytes = npy(&good, &[0; 8]);
        for length in 0..bytes.len() {
            assert!(matches!(read(file(&bytes[..length]).path()), Err(IoError::Malformed { .. })), "{length} bytes");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        let data = vec![0.0, -0.0, 1.5, f32::INFINITY, f32::MIN_POSITIVE / 2.0, 3.0];
        write(&path, &[1, 2, 3], &data).unwrap();
        assert_eq!(read(&path).unwrap(), Array { shape: vec![1, 2, 3], data: ArrayData::F32(data) });
        // NumPy pads the header so that the values are aligned.
        assert_eq!((std::fs::metadata(&path).unwrap().len() - 24) % 16, 0);
    }

    #[test]
    fn reads_archives_by_name() {
        for method in [archive as Pack, deflated] {
            let one = npz(&[("x", &[1.0, 2.0])], method);
            let expected = Array { shape: vec![2], data: ArrayData::F32(vec![1.0, 2.0]) };
            assert_eq!(read_npz(one.path(), None).unwrap(), expected);
            let two = npz(&[("x", &[1.0, 2.0]), ("y", &[3.0])], method);
            assert_eq!(read_npz(two.path(), Some("x")).unwrap(), expected);
            let error = read_npz(two.path(), None).unwrap_err().to_string();
            assert!(error.ends_with(r#"say which array to read; the archive holds: "x", "y""#), "{error}");
            let error = read_npz(two.path(), Some("z")).unwrap_err().to_string();
            assert!(error.contains(r#"no array "z""#), "{error}");
        }
    }

    #[test]
    fn an_archive_is_limited_by_its_uncompressed_size() {
        let zeros = vec![0.0; 1 << 16];
        let bomb = npz(&[("x", &zeros)], deflated);
        assert!(std::fs::metadata(bomb.path()).unwrap().len() < 1 << 12);
        let error =
            read_npz_at_most(bomb.path(), bomb.reopen().unwrap(), 1 << 12, None, 1 << 16).unwrap_err().to_string();
        assert!(error.contains("archive entry is 262272 bytes, the limit is 65536"), "{error}");
    }

    #[test]
    fn damaged_archives_are_errors() {
        let archive = npz(&[("x", &[1.0, 2.0])], deflated);
        let bytes = std::fs::read(archive.path()).unwrap();
        for length in 0..bytes.len() {
            assert!(read_npz(file(&bytes[..length]).path(), None).is_err(), "{length} bytes");
        }
        // Whatever single byte is wrong, reading ends without a panic.
        for position in 0..bytes.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut damaged = bytes.clone();
                damaged[position] ^= flip;
                let _ = read_npz(file(&damaged).path(), None);
            }
        }
    }

    #[test]
    fn refuses_encrypted_and_unusual_entries() {
        let bytes = std::fs::read(npz(&[("x", &[1.0])], archive).path()).unwrap();
        let central = bytes.windows(4).position(|at| at == b"PK\x01\x02").unwrap();
        let mut encrypted = bytes.clone();
        encrypted[central + 8] |= 1;
        let error = read_npz(file(&encrypted).path(), None).unwrap_err().to_string();
        assert!(error.contains(r#""x.npy" is encrypted"#), "{error}");
        let mut bzip2 = bytes.clone();
        bzip2[central + 10] = 12;
        assert!(read_npz(file(&bzip2).path(), None).unwrap_err().to_string().contains("is compressed by method 12"));
    }
}
