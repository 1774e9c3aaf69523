//! What PyTorch's `torch.save` writes of a state dict since version 1.6: a zip archive with a pickle that describes
//! the tensors, and an entry for each of their storages.
//!
//! Format: <https://docs.pytorch.org/docs/stable/notes/serialization.html>. Storages are stored uncompressed and
//! aligned, so that tensors can be borrowed from the mapped file. Its checksums are not computed, which would mean
//! to read all of it.

mod pickle;
#[cfg(test)]
mod tests;

use super::IoError;
use super::safetensors::{floats, forget};
use super::zip::{Archive, Content};
use ::safetensors::tensor::Dtype;
use memmap2::Mmap;
use pickle::{Pickle, Value, View, shortened};
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

const FORMAT: &str = "PyTorch weight";

/// The pickle of a tensor takes about 200 bytes.
const MAX_PICKLE_BYTES: u64 = 16 << 20;

/// The storages of a file may take as many bytes as the file and, where they are compressed, this many more.
const MAX_INFLATED_BYTES: u64 = 2 << 30;

/// The first bytes of a zip archive.
const ZIP: &[u8] = b"PK\x03\x04";

/// The first bytes of a file of PyTorch before 1.6: the pickle of a number of 10 bytes.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

/// Under what names training scripts save the state dict among other things.
const WRAPPERS: [&str; 3] = ["state_dict", "model_state_dict", "model"];

/// How deep a state dict is looked for.
const MAX_WRAPPERS: usize = 4;

/// What `torch.nn.DataParallel` puts before each name.
const PARALLEL: &str = "module.";

/// Whether a file is what `torch.save` writes, also that which is refused. No safetensors file begins so: its header
/// would be longer than is accepted.
pub(super) fn is_pytorch(bytes: &[u8]) -> bool {
    bytes.starts_with(ZIP) || bytes.starts_with(LEGACY)
}

pub(super) struct File {
    map: Mmap,
    storages: Vec<Content>,
    names: Vec<String>,
    tensors: HashMap<String, Tensor>,
}

/// A tensor that was found to lie within its storage.
#[derive(Debug)]
pub(super) struct Tensor {
    pub(super) dtype: Dtype,
    pub(super) shape: Vec<usize>,
    /// In elements, where they are not those of row-major order without gaps.
    strides: Option<Vec<usize>>,
    /// Index in [`File::storages`].
    storage: usize,
    /// From its first element to its last one.
    bytes: Range<usize>,
}

impl File {
    pub(super) fn read(path: &Path, map: Mmap) -> Result<File, IoError> {
        if map.starts_with(LEGACY) {
            let reason = "it was written by PyTorch before 1.6 or in its format; convert it with \
                          torch.save(torch.load(...), ..., _use_new_zipfile_serialization=True)";
            return Err(IoError::unsupported(path, reason));
        }
        let malformed = |reason: String| IoError::malformed(path, FORMAT, reason);
        let archive = Archive::read(path, FORMAT, &map)?;
        let folder = folder(&archive).ok_or_else(|| malformed("its archive has no data.pkl".to_owned()))?;
        refuse_torchscript(path, &archive, folder)?;
        refuse_big_endian(path, &archive, folder, &map)?;
        let pickle = archive.content(&format!("{folder}/data.pkl"), MAX_PICKLE_BYTES)?;
        // A copy, since all that is checked depends on it and the mapped file may change.
        let pickle = pickle.bytes(&map).to_vec();
        let pickle = pickle::read(&pickle).map_err(malformed)?;
        let mut storages = Storages::new(&archive, folder, &map);
        let (mut names, mut tensors) = (Vec::new(), HashMap::new());
        for (name, view) in state_dict(&pickle).map_err(malformed)? {
            let (storage, bytes) = storages.load(view.storage.key)?;
            let tensor = Tensor::of_view(view, storage, bytes);
            let tensor = tensor.map_err(|reason| malformed(format!("tensor {} {reason}", shortened(name))))?;
            if tensors.insert(name.to_owned(), tensor).is_some() {
                return Err(malformed(format!("two tensors are named {}", shortened(name))));
            }
            names.push(name.to_owned());
        }
        let storages = storages.loaded;
        Ok(File { map, storages, names, tensors })
    }

    /// In the order of the state dict.
    pub(super) fn names(&self) -> Vec<String> {
        self.names.clone()
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// The values of a tensor, or `None` where its type is not one of the floating-point types taken.
    pub(super) fn values(&self, tensor: &Tensor) -> Option<Cow<'_, [f32]>> {
        let values = floats(tensor.dtype, &self.storages[tensor.storage].bytes(&self.map)[tensor.bytes.clone()])?;
        Some(match &tensor.strides {
            Some(strides) => super::gather(&values, &tensor.shape, strides).into(),
            None => values,
        })
    }

    pub(super) fn release(&self, tensor: &Tensor) {
        if let Content::Stored(range) = &self.storages[tensor.storage] {
            let bytes = &tensor.bytes;
            forget(&self.map, range.start + bytes.start..range.start + bytes.end);
        }
    }
}

/// The folder in which the archive has all its entries; it is named after the file that was first written.
fn folder<'a>(archive: &'a Archive<'_>) -> Option<&'a str> {
    archive.names().find_map(|name| name.strip_suffix("/data.pkl").filter(|folder| !folder.contains('/')))
}

fn refuse_torchscript(path: &Path, archive: &Archive<'_>, folder: &str) -> Result<(), IoError> {
    let of_code = |name: &str| {
        let name = name.strip_prefix(folder).and_then(|name| name.strip_prefix('/'));
        name.is_some_and(|name| name == "constants.pkl" || name.starts_with("code/"))
    };
    if !archive.names().any(of_code) {
        return Ok(());
    }
    let reason = "it is a TorchScript program, not a state dict; convert it with \
                  torch.save(torch.jit.load(...).state_dict(), ...)";
    Err(IoError::unsupported(path, reason))
}

/// The entry that tells the byte order is absent before PyTorch 2.1.
fn refuse_big_endian(path: &Path, archive: &Archive<'_>, folder: &str, map: &Mmap) -> Result<(), IoError> {
    let name = format!("{folder}/byteorder");
    if !archive.names().any(|entry| entry == name) {
        return Ok(());
    }
    match archive.content(&name, 16)?.bytes(map) {
        b"little" => Ok(()),
        b"big" => Err(IoError::unsupported(path, "its values are big-endian; save it on a little-endian machine")),
        other => Err(IoError::malformed(path, FORMAT, format!("its byte order is '{}'", other.escape_ascii()))),
    }
}

/// The storages that tensors are in, each loaded once.
struct Storages<'a> {
    archive: &'a Archive<'a>,
    folder: &'a str,
    map: &'a Mmap,
    loaded: Vec<Content>,
    /// Index in `loaded`.
    by_key: HashMap<String, usize>,
    /// Bytes that those to come may take.
    budget: u64,
}

impl<'a> Storages<'a> {
    fn new(archive: &'a Archive<'a>, folder: &'a str, map: &'a Mmap) -> Storages<'a> {
        let budget = map.len() as u64 + MAX_INFLATED_BYTES;
        Storages { archive, folder, map, loaded: vec![], by_key: HashMap::new(), budget }
    }

    /// Index and length in bytes of a storage.
    fn load(&mut self, key: &str) -> Result<(usize, usize), IoError> {
        let index = match self.by_key.get(key) {
            Some(&index) => index,
            None => {
                let content = self.archive.content(&format!("{}/data/{key}", self.folder), self.budget)?;
                self.budget -= content.bytes(self.map).len() as u64;
                self.loaded.push(content);
                self.by_key.insert(key.to_owned(), self.loaded.len() - 1);
                self.loaded.len() - 1
            }
        };
        Ok((index, self.loaded[index].bytes(self.map).len()))
    }
}

/// The tensors of a state dict, which may stand within another dictionary, by name and in order.
fn state_dict<'p, 'a>(pickle: &'p Pickle<'a>) -> Result<Vec<(&'a str, &'p View<'a>)>, String> {
    let mut found = pickle.root;
    for _ in 0..MAX_WRAPPERS {
        found = unwrapped(pickle, found).unwrap_or(found);
    }
    let Value::Dict(dict) = found else {
        return Err(format!("it holds {}, not a dictionary of tensors", found.kind()));
    };
    let tensor = |&(name, value): &_| match value {
        Value::Tensor(index) => Some((name, &pickle.tensors[index])),
        _ => None,
    };
    let mut tensors: Vec<_> = pickle.dicts[dict].iter().filter_map(tensor).collect();
    if tensors.is_empty() {
        let keys: Vec<String> = pickle.dicts[dict].iter().take(8).map(|(key, _)| shortened(key)).collect();
        return Err(format!("its dictionary has no tensors; it has: {}", keys.join(", ")));
    }
    if tensors.iter().all(|(name, _)| name.starts_with(PARALLEL)) {
        tensors.iter_mut().for_each(|(name, _)| *name = &name[PARALLEL.len()..]);
    }
    Ok(tensors)
}

/// The dictionary within `outer` under one of the names of a state dict.
fn unwrapped<'a>(pickle: &Pickle<'a>, outer: Value<'a>) -> Option<Value<'a>> {
    let Value::Dict(outer) = outer else { return None };
    let entries = &pickle.dicts[outer];
    let inner = |wrapper| entries.iter().find(|(key, value)| *key == wrapper && matches!(value, Value::Dict(_)));
    WRAPPERS.into_iter().find_map(inner).map(|&(_, value)| value)
}

impl Tensor {
    /// Checks a view against the length of its storage; `storage` is its index.
    fn of_view(view: &View<'_>, storage: usize, storage_bytes: usize) -> Result<Tensor, String> {
        let View { storage: described, offset, shape, strides } = view;
        let size = described.dtype.bitsize() / 8;
        if described.elements.checked_mul(size) != Some(storage_bytes) {
            let (elements, dtype) = (described.elements, described.dtype);
            return Err(format!("has a storage of {elements} elements of {dtype}, but that has {storage_bytes} bytes"));
        }
        let outside =
            || format!("of shape {shape:?}, strides {strides:?} and offset {offset} lies outside its storage");
        let elements =
            span(*offset, shape, strides).filter(|span| span.end <= described.elements).ok_or_else(outside)?;
        // Otherwise a short file could describe more values than there is memory for.
        if shape.iter().product::<usize>() > described.elements {
            return Err(format!("of shape {shape:?} repeats its elements; save it with .contiguous()"));
        }
        Ok(Tensor {
            dtype: described.dtype,
            shape: shape.clone(),
            strides: (!is_contiguous(shape, strides)).then(|| strides.clone()),
            storage,
            bytes: elements.start * size..elements.end * size,
        })
    }
}

/// From the first element of a view to behind its last one; `None` where that overflows.
fn span(offset: usize, shape: &[usize], strides: &[usize]) -> Option<Range<usize>> {
    // An empty tensor must not hide sizes whose product overflows, hence the `max`.
    shape.iter().try_fold(1usize, |product, &size| product.checked_mul(size.max(1)))?;
    if shape.contains(&0) {
        return Some(0..0);
    }
    let last = shape
        .iter()
        .zip(strides)
        .try_fold(offset, |last, (&size, &stride)| last.checked_add((size - 1).checked_mul(stride)?))?;
    Some(offset..last.checked_add(1)?)
}

/// Whether the elements stand in row-major order without gaps. The stride of a dimension of size 1 does not matter.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(&size, &stride)| {
        let fits = size == 1 || stride == expected;
        expected *= size;
        fits
    })
}
