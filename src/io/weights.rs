//! Weight files: named tensors, read as f32.

use super::{IoError, foreign, pytorch, safetensors, sharded};
use crate::hash::{fnv1a, hash_of};
use crate::quant::{Stored, WholeFile};
use crate::tensor::{Half, Tensor};
use ::safetensors::tensor::Dtype;
use memmap2::Mmap;
use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::fs::File;
#[cfg(unix)]
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// An open weight file. It is mapped into memory: whoever replaces it meanwhile must do so by renaming another file
/// over it, not by writing into it.
pub struct WeightFile {
    path: PathBuf,
    tensors: Box<dyn Tensors>,
    stamp: Option<u64>,
    /// `None` of tensors in memory.
    size: Option<u64>,
}

/// The tensors of a file, whatever its format.
pub(super) trait Tensors: Send + Sync {
    /// In the order of the file.
    fn names(&self) -> Vec<String>;

    /// Shape and stored element type.
    fn find(&self, name: &str) -> Option<(&[usize], Dtype)>;

    /// The values of a tensor, or `None` where its type is not one of the floating-point types taken.
    fn values(&self, name: &str) -> Option<Cow<'_, [f32]>>;

    /// The values of a tensor of I8, U8 or I32.
    fn integers(&self, _name: &str) -> Option<Vec<i32>> {
        None
    }

    /// The bits of a tensor of F16 or BF16.
    fn halves(&self, _name: &str) -> Option<Cow<'_, [u16]>> {
        None
    }

    /// Gives back the memory that holds the tensor's part of the file.
    fn release(&self, name: &str);

    fn metadata(&self) -> Option<&HashMap<String, String>> {
        None
    }

    /// What the file has besides tensors: names, and what stands under them.
    fn objects(&self) -> &[(String, String)] {
        &[]
    }
}

impl WeightFile {
    /// Opens a safetensors file, what PyTorch's `torch.save` wrote, or the index of a file that was cut into several,
    /// told apart by their first bytes, and checks what it says of its tensors; no values are read yet.
    pub fn open(path: &Path) -> Result<WeightFile, IoError> {
        WeightFile::open_dictionary(path, None)
    }

    /// As [`open`](Self::open). Of the dictionaries of tensors in what `torch.save` wrote, `key` names one: its key or,
    /// where it stands in others, their keys joined by dots. Without it there must be only one.
    pub fn open_dictionary(path: &Path, key: Option<&str>) -> Result<WeightFile, IoError> {
        WeightFile::of_file(path, &super::open(path)?.0, key)
    }

    /// The same of a file that is open already.
    pub(super) fn of_file(path: &Path, file: &File, key: Option<&str>) -> Result<WeightFile, IoError> {
        let map = map_file(path, file)?;
        let path = path.to_owned();
        if sharded::begins(&map) {
            let tensors = sharded::File::read(&path, &map, key)?;
            let size = Some(tensors.bytes());
            return Ok(WeightFile { path, tensors: Box::new(tensors), stamp: None, size });
        }
        let stamp = stamp(file, &map).map(|stamp| hash_of(&(stamp, key)));
        let size = Some(map.len() as u64);
        let tensors = tensors(&path, map, key)?;
        Ok(WeightFile { path, tensors, stamp, size })
    }

    /// Tensors in memory, as if they stood in a file.
    pub fn of_tensors(tensors: Arc<Vec<(String, Tensor)>>) -> WeightFile {
        WeightFile { path: "tensors".into(), tensors: Box::new(Loose(tensors)), stamp: None, size: None }
    }

    /// The weights of a network on whole numbers, as if they stood in a file at `path`.
    pub fn of_whole(path: &Path, whole: Arc<WholeFile>) -> WeightFile {
        let index = whole.tensors.iter().enumerate().map(|(index, (name, ..))| (name.clone(), index)).collect();
        let metadata = whole.metadata();
        let tensors = Box::new(Whole { whole, index, metadata });
        WeightFile { path: path.to_owned(), tensors, stamp: None, size: None }
    }

    /// Where it lies, as messages name it.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes of the file, or of the files that an index names; `None` of tensors in memory.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// A hash that changes when the file is written; `None` where only its tensors could tell.
    pub fn stamp(&self) -> Option<u64> {
        self.stamp
    }

    /// The names of all tensors in the order of the file.
    pub fn names(&self) -> Vec<String> {
        self.tensors.names()
    }

    /// The sizes of a tensor, row-major.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.find(name).map(|(shape, _)| shape)
    }

    /// The stored element type as safetensors spells it, for example `F32` or `I64`.
    pub fn dtype(&self, name: &str) -> Option<String> {
        self.tensors.find(name).map(|(_, dtype)| dtype.to_string())
    }

    /// What the file says of itself, such as its architecture and preprocessing.
    pub fn metadata(&self) -> Option<&HashMap<String, String>> {
        self.tensors.metadata()
    }

    /// Names under which the file has what is no tensor that can be read, such as a quantised one, and what that is.
    pub(super) fn objects(&self) -> &[(String, String)] {
        self.tensors.objects()
    }

    /// The values of a tensor, row-major: borrowed from the file where it stores them so and as aligned f32, else
    /// converted from f32, f16, bf16 or f64 (rounded to nearest). Other types, and f64 that are infinite in f32, are
    /// errors here, not in [`open`](Self::open), since published files hold counters that no network needs.
    pub fn read(&self, name: &str) -> Result<Cow<'_, [f32]>, IoError> {
        let missing = || IoError::Missing { path: self.path.clone(), what: "tensor", name: name.to_owned() };
        let (_, dtype) = self.tensors.find(name).ok_or_else(missing)?;
        let values = self.tensors.values(name).ok_or_else(|| {
            let reason = format!("tensor {name:?} is stored as {dtype}; accepted: F32, F16, BF16, F64");
            IoError::unsupported(&self.path, reason)
        })?;
        if dtype == Dtype::F64 && values.iter().any(|value| value.is_infinite()) {
            let reason = format!("tensor {name:?} holds f64 that are infinite, or beyond f32 (3.4e38)");
            return Err(IoError::unsupported(&self.path, reason));
        }
        Ok(values)
    }

    /// The whole numbers of a tensor of I8, U8 or I32, row-major.
    pub fn read_integers(&self, name: &str) -> Result<Vec<i32>, IoError> {
        let missing = || IoError::Missing { path: self.path.clone(), what: "tensor", name: name.to_owned() };
        let (_, dtype) = self.tensors.find(name).ok_or_else(missing)?;
        self.tensors.integers(name).ok_or_else(|| {
            let reason = format!("tensor {name:?} is stored as {dtype}; accepted: I8, U8, I32");
            IoError::unsupported(&self.path, reason)
        })
    }

    /// The type of a tensor's numbers, where that is one of 16 bits.
    pub fn half(&self, name: &str) -> Option<Half> {
        match self.tensors.find(name)? {
            (_, Dtype::F16) => Some(Half::F16),
            (_, Dtype::BF16) => Some(Half::Bf16),
            _ => None,
        }
    }

    /// The bits of a tensor of numbers of 16 bits, row-major; `None` where they are not stored side by side.
    pub fn halves(&self, name: &str) -> Option<Cow<'_, [u16]>> {
        self.tensors.halves(name)
    }

    /// Gives back the memory that holds a tensor's part of the file; it can still be read, from the file again.
    pub fn release(&self, name: &str) {
        self.tensors.release(name);
    }
}

/// Tensors in memory.
struct Loose(Arc<Vec<(String, Tensor)>>);

impl Loose {
    fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.0.iter().find(|(found, _)| found == name).map(|(_, tensor)| tensor)
    }
}

impl Tensors for Loose {
    fn names(&self) -> Vec<String> {
        self.0.iter().map(|(name, _)| name.clone()).collect()
    }

    fn find(&self, name: &str) -> Option<(&[usize], Dtype)> {
        self.tensor(name).map(|tensor| (tensor.shape(), Dtype::F32))
    }

    fn values(&self, name: &str) -> Option<Cow<'_, [f32]>> {
        self.tensor(name).map(|tensor| tensor.data().into())
    }

    fn release(&self, _name: &str) {}
}

/// Tensors of a network on whole numbers, in memory.
struct Whole {
    whole: Arc<WholeFile>,
    index: HashMap<String, usize>,
    metadata: HashMap<String, String>,
}

impl Whole {
    fn tensor(&self, name: &str) -> Option<&Stored> {
        self.index.get(name).map(|&index| &self.whole.tensors[index])
    }
}

impl Tensors for Whole {
    fn names(&self) -> Vec<String> {
        self.whole.tensors.iter().map(|(name, ..)| name.clone()).collect()
    }

    fn find(&self, name: &str) -> Option<(&[usize], Dtype)> {
        self.tensor(name).map(|(_, dtype, dims, _)| (&dims[..], *dtype))
    }

    fn values(&self, name: &str) -> Option<Cow<'_, [f32]>> {
        self.tensor(name).and_then(|(_, dtype, _, bytes)| safetensors::floats(*dtype, bytes))
    }

    fn integers(&self, name: &str) -> Option<Vec<i32>> {
        self.tensor(name).and_then(|(_, dtype, _, bytes)| safetensors::integers(*dtype, bytes))
    }

    fn release(&self, _name: &str) {}

    fn metadata(&self) -> Option<&HashMap<String, String>> {
        Some(&self.metadata)
    }
}

/// The tensors of one file, which is no index.
pub(super) fn tensors(path: &Path, map: Mmap, key: Option<&str>) -> Result<Box<dyn Tensors>, IoError> {
    if safetensors::begins(&map) {
        if key.is_some() {
            let reason = "it is a safetensors file, which has no dictionaries: name none".into();
            return Err(IoError::Dictionary { path: path.to_owned(), reason });
        }
        return Ok(Box::new(safetensors::File::read(path, map)?));
    }
    if pytorch::begins(&map) {
        return Ok(Box::new(pytorch::File::read(path, map, key)?));
    }
    let start = &map[..map.len().min(foreign::START_BYTES)];
    Err(IoError::unsupported(path, foreign::explain(start, "neither safetensors nor a file of torch.save")))
}

/// By size, times of the last change, place in the file system and some of the content. None is given for a file that was
/// changed just now: it could change again without another time.
#[cfg(unix)]
fn stamp(file: &File, map: &Mmap) -> Option<u64> {
    let metadata = file.metadata().ok()?;
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(metadata.ctime().try_into().ok()?);
    let last = changed.max(metadata.modified().ok()?);
    let settled = last.elapsed().is_ok_and(|age| age > SETTLED);
    let times = [metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec()];
    // Files of images that are made anew have all of these alike.
    let step = (map.len() / SAMPLES).max(SAMPLE);
    let samples: Vec<u64> = map.chunks(step).map(|chunk| fnv1a(&chunk[..chunk.len().min(SAMPLE)])).collect();
    settled.then(|| hash_of(&(metadata.len(), times, metadata.ino(), samples)))
}

/// Elsewhere, copies keep the times.
#[cfg(not(unix))]
fn stamp(_: &File, _: &Mmap) -> Option<u64> {
    None
}

/// Parts of a file that are looked at, and bytes of each.
const SAMPLES: usize = 64;
const SAMPLE: usize = 512;

/// Longer than the steps in which file systems tell time.
const SETTLED: Duration = Duration::from_secs(3);

pub(super) fn map(path: &Path) -> Result<Mmap, IoError> {
    map_file(path, &super::open(path)?.0)
}

pub(super) fn map_file(path: &Path, file: &File) -> Result<Mmap, IoError> {
    // SAFETY: The map is read only, and its bytes are only ever read as integers and floats, for which every
    // bit pattern is valid. What Rust cannot establish is that nobody changes the file meanwhile. What bounds and
    // shapes depend on (the header; the zip directory and the pickle) is therefore copied out once and never read
    // again: a program that overwrites the file in place can give wrong weights, but moves no access out of bounds.
    // One that truncates it ends this process with SIGBUS. Programs that replace a file by renaming, as
    // `write_atomically` does, leave the mapped one alone. Reading 100 MB of weights into memory that most runs
    // never touch twice would cost more than this is worth.
    unsafe { Mmap::map(file) }.map_err(IoError::system(path, "map"))
}

impl fmt::Debug for WeightFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WeightFile({})", self.path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of this header and these values.
    fn file(header: &str, values: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let length = (header.len() as u64).to_le_bytes();
        std::fs::write(file.path(), [&length, header.as_bytes(), values].concat()).unwrap();
        file
    }

    fn entry(name: &str, dtype: &str, shape: &str, start: usize, end: usize) -> String {
        format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{start},{end}]}}"#)
    }

    fn error_of(path: &Path) -> String {
        WeightFile::open(path).unwrap_err().to_string()
    }

    #[test]
    fn reads_a_trained_network() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/weights/lenet5_relu.safetensors");
        let weights = WeightFile::open(&path).unwrap();
        assert_eq!(weights.names().len(), 10);
        assert_eq!(weights.shape("conv1.weight"), Some(&[6, 1, 5, 5][..]));
        assert_eq!(weights.dtype("conv1.weight").as_deref(), Some("F32"));
        assert!(weights.metadata().is_some());
        let values = weights.read("fc3.weight").unwrap();
        assert!(matches!(values, Cow::Borrowed(_)));
        assert_eq!(values.len(), 840);
        assert!(values.iter().all(|value| value.is_finite() && value.abs() < 2.0));
        assert!(matches!(weights.read("fc4.weight"), Err(IoError::Missing { .. })));
    }

    #[test]
    fn an_unsupported_type_is_an_error_only_when_asked_for() {
        let header = format!("{{{},{}}}", entry("n", "I64", "[]", 0, 8), entry("w", "F32", "[1]", 8, 12));
        let file = file(&header, &[0; 12]);
        let weights = WeightFile::open(file.path()).unwrap();
        assert_eq!(*weights.read("w").unwrap(), [0.0]);
        let error = weights.read("n").unwrap_err().to_string();
        assert!(error.ends_with(r#"tensor "n" is stored as I64; accepted: F32, F16, BF16, F64"#), "{error}");
    }

    #[test]
    fn converts_every_floating_point_type_at_any_alignment() {
        let values = [
            &1.5f64.to_le_bytes()[..],
            &(-2.5f32).to_le_bytes(),
            &half::f16::from_f32(0.25).to_le_bytes(),
            &half::bf16::from_f32(3.0).to_le_bytes(),
        ];
        let entries = [
            entry("d", "F64", "[1]", 0, 8),
            entry("s", "F32", "[1]", 8, 12),
            entry("h", "F16", "[1]", 12, 14),
            entry("b", "BF16", "[1]", 14, 16),
        ];
        for padding in 0..8 {
            let header = format!("{{{}}}{}", entries.join(","), " ".repeat(padding));
            let file = file(&header, &values.concat());
            let weights = WeightFile::open(file.path()).unwrap();
            for (name, value) in [("d", 1.5), ("s", -2.5), ("h", 0.25), ("b", 3.0)] {
                assert_eq!(*weights.read(name).unwrap(), [value], "{name}");
            }
            let aligned = (header.len() + 8).is_multiple_of(4);
            assert_eq!(matches!(weights.read("s").unwrap(), Cow::Borrowed(_)), aligned);
            weights.release("s");
            assert_eq!(*weights.read("s").unwrap(), [-2.5], "read from the file again");
        }
    }

    #[test]
    fn doubles_beyond_f32_are_told() {
        for value in [3.5e38, -1e300, f64::INFINITY] {
            let header = format!("{{{}}}", entry("d", "F64", "[2]", 0, 16));
            let file = file(&header, &[1.0, value].map(f64::to_le_bytes).concat());
            let error = WeightFile::open(file.path()).unwrap().read("d").unwrap_err().to_string();
            assert!(error.ends_with(r#"tensor "d" holds f64 that are infinite, or beyond f32 (3.4e38)"#), "{error}");
        }
    }

    #[test]
    fn truncation_is_an_error_at_every_length() {
        let whole = file(&format!("{{{}}}", entry("w", "F32", "[2]", 0, 8)), &[0; 8]);
        let bytes = std::fs::read(whole.path()).unwrap();
        WeightFile::open(whole.path()).unwrap();
        for length in 0..bytes.len() {
            std::fs::write(whole.path(), &bytes[..length]).unwrap();
            let error = WeightFile::open(whole.path()).unwrap_err();
            // The length of the header alone does not tell what it is.
            assert!(length <= 8 || matches!(error, IoError::Malformed { .. }), "{length} bytes: {error}");
        }
        std::fs::write(whole.path(), [&bytes[..], b"more"].concat()).unwrap();
        assert!(error_of(whole.path()).contains("bytes at the end"));
    }

    #[test]
    fn inconsistent_headers_are_errors() {
        let cases = [
            (format!("{{{},{}}}", entry("a", "F32", "[2]", 0, 8), entry("b", "F32", "[1]", 4, 8)), "overlap"),
            (format!("{{{}}}", entry("a", "F32", "[3]", 0, 8)), "do not fill"),
            (format!("{{{}}}", entry("a", "F32", "[4294967296,4294967296]", 0, 8)), "overflow"),
            (format!("{{{}}}", entry("a", "F33", "[2]", 0, 8)), "F33"),
            (format!("{{\"a\":{}", "[".repeat(10_000)), "invalid JSON"),
            ("\u{7f}ELF".to_owned(), "neither safetensors nor a file of torch.save"),
        ];
        for (header, expected) in cases {
            let error = error_of(file(&header, &[0; 8]).path());
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn an_oversized_header_is_refused_before_it_is_parsed() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), [&[0xff; 8][..], b"{}"].concat()).unwrap();
        assert!(error_of(file.path()).contains("18446744073709551615 bytes"));
        std::fs::write(file.path(), [&(17u64 << 20).to_le_bytes()[..], b"{"].concat()).unwrap();
        file.as_file().set_len(18 << 20).unwrap();
        assert!(matches!(WeightFile::open(file.path()), Err(IoError::TooLarge { found: 17_825_792, .. })));
    }
}
