//! What PyTorch's `torch.save` writes: since version 1.6 a zip archive with a pickle that describes the tensors and an
//! entry for each of their storages, before that [all in one](legacy).
//!
//! Format: <https://docs.pytorch.org/docs/stable/notes/serialization.html>. Storages are stored uncompressed and
//! aligned, so that tensors can be borrowed from the mapped file. Its checksums are not computed, which would mean
//! to read all of it.

mod legacy;
mod pickle;
mod state_dict;
fn refused(path: &Path, refusal: state_dict::Refusal) -> IoError {
    match refusal {
        state_dict::Refusal::Nothing(reason) => IoError::unsupported(path, reason),
        state_dict::Refusal::Key(reason) => IoError::Dictionary { path: path.to_owned(), reason },
    }
}

#[cfg(test)]
mod tests;
mod value;

use super::IoError;
use super::safetensors::{floats, forget, halves};
use super::weights::Tensors;
use super::zip::{Archive, Content};
use ::safetensors::tensor::Dtype;
use memmap2::Mmap;
use state_dict::StateDict;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use value::{Pickle, View, shortened};

const FORMAT: &str = "PyTorch weight";

/// The pickle of a tensor takes about 200 bytes.
const MAX_PICKLE_BYTES: u64 = 16 << 20;

/// The storages of a file may take as many bytes as the file and, where they are compressed, this many more.
const MAX_INFLATED_BYTES: u64 = 2 << 30;

/// The first bytes of a zip archive.
const ZIP: &[u8] = b"PK\x03\x04";

/// Whether a file is an archive or a pickle.
pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(ZIP) || matches!(bytes, [0x80, 2..=5, ..])
}

pub(super) struct File {
    map: Mmap,
    saved: Saved,
}

/// The state dict of a file.
struct Saved {
    storages: Vec<Content>,
    names: Vec<String>,
    tensors: HashMap<String, Tensor>,
    /// What stands under names of the state dict and is no tensor that can be read.
    objects: Vec<(String, String)>,
}

/// A tensor that was found to lie within its storage.
#[derive(Debug)]
struct Tensor {
    dtype: Dtype,
    shape: Vec<usize>,
    /// In elements, where they are not those of row-major order without gaps.
    strides: Option<Vec<usize>>,
    /// Index in [`Saved::storages`].
    storage: usize,
    /// From its first element to its last one.
    bytes: Range<usize>,
}

impl File {
    /// Reads what describes the tensors. Of several dictionaries of tensors `key` names one.
    pub(super) fn read(path: &Path, map: Mmap, key: Option<&str>) -> Result<File, IoError> {
        if map.starts_with(ZIP) {
            return File::of_archive(path, map, key);
        }
        if !legacy::begins(&map) {
            let reason = "it is a Python pickle, but not one of torch.save; save its tensors with torch.save or as \
                          safetensors";
            return Err(IoError::unsupported(path, reason));
        }
        let pickles = legacy::pickles(&map);
        let (pickle, mut contents) = legacy::read(path, &map, &pickles)?;
        let load = |key: &str, _| {
            contents.remove(key).ok_or_else(|| malformed(path, format!("it has no storage {}", shortened(key))))
        };
        let saved = Saved::read(path, &map, &pickle, key, load)?;
        Ok(File { map, saved })
    }

    fn of_archive(path: &Path, map: Mmap, key: Option<&str>) -> Result<File, IoError> {
        let archive = Archive::read(path, FORMAT, &map)?;
        let folder = folder(&archive).ok_or_else(|| other_archive(path, &archive))?;
        refuse_torchscript(path, &archive, folder)?;
        refuse_big_endian(path, &archive, folder, &map)?;
        let pickle = archive.content(&format!("{folder}/data.pkl"), MAX_PICKLE_BYTES)?;
        // A copy, since all that is checked depends on it and the mapped file may change.
        let pickle = pickle.bytes(&map).to_vec();
        let pickle = pickle::read(&pickle).map_err(|reason| malformed(path, reason))?;
        let load = |key: &str, limit| archive.content(&format!("{folder}/data/{key}"), limit);
        let saved = Saved::read(path, &map, &pickle, key, load)?;
        Ok(File { map, saved })
    }
}

impl Tensors for File {
    /// In the order of the state dict.
    fn names(&self) -> Vec<String> {
        self.saved.names.clone()
    }

    fn find(&self, name: &str) -> Option<(&[usize], Dtype)> {
        self.saved.tensors.get(name).map(|tensor| (&tensor.shape[..], tensor.dtype))
    }

    fn values(&self, name: &str) -> Option<Cow<'_, [f32]>> {
        let tensor = self.saved.tensors.get(name)?;
        let storage = self.saved.storages[tensor.storage].bytes(&self.map);
        let values = floats(tensor.dtype, &storage[tensor.bytes.clone()])?;
        Some(match &tensor.strides {
            Some(strides) => super::gather(&values, &tensor.shape, strides).into(),
            None => values,
        })
    }

    fn halves(&self, name: &str) -> Option<Cow<'_, [u16]>> {
        let tensor = self.saved.tensors.get(name).filter(|tensor| tensor.strides.is_none())?;
        let storage = self.saved.storages[tensor.storage].bytes(&self.map);
        halves(tensor.dtype, &storage[tensor.bytes.clone()])
    }

    fn release(&self, name: &str) {
        let Some(tensor) = self.saved.tensors.get(name) else { return };
        if let Content::Stored(range) = &self.saved.storages[tensor.storage] {
            let bytes = &tensor.bytes;
            forget(&self.map, range.start + bytes.start..range.start + bytes.end);
        }
    }

    fn objects(&self) -> &[(String, String)] {
        &self.saved.objects
    }
}

fn malformed(path: &Path, reason: impl ToString) -> IoError {
    IoError::malformed(path, FORMAT, reason)
}

/// What an archive is in which `torch.save` has no part.
fn other_archive(path: &Path, archive: &Archive<'_>) -> IoError {
    let any = |suffix: &str| archive.names().any(|name| name.ends_with(suffix));
    let reason = if any("model.weights.h5") {
        "it is a Keras model (.keras), which is not read; save its weights as safetensors"
    } else if any(".npy") {
        "it is a NumPy archive (.npz), which is not read as weights; convert it with \
         safetensors.numpy.save_file(dict(numpy.load(...)), ...)"
    } else {
        return malformed(path, "its archive has no data.pkl");
    };
    IoError::unsupported(path, reason)
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

impl Saved {
    /// Checks the tensors of a state dict. `load` gives a storage by its key, and gets the bytes that it may take.
    fn read(
        path: &Path,
        map: &Mmap,
        pickle: &Pickle<'_>,
        key: Option<&str>,
        load: impl FnMut(&str, u64) -> Result<Content, IoError>,
    ) -> Result<Saved, IoError> {
        let StateDict { tensors: views, objects } =
            state_dict::choose(pickle, key).map_err(|refusal| refused(path, refusal))?;
        let mut storages = Storages::new(map, load);
        let (mut names, mut tensors) = (Vec::new(), HashMap::new());
        for (name, view) in views {
            let (storage, bytes) = storages.load(view.storage.key)?;
            let tensor = Tensor::of_view(view, storage, bytes);
            let tensor = tensor.map_err(|reason| malformed(path, format!("tensor {} {reason}", shortened(name))))?;
            if tensors.insert(name.to_owned(), tensor).is_some() {
                return Err(malformed(path, format!("two tensors are named {}", shortened(name))));
            }
            names.push(name.to_owned());
        }
        let objects = objects.into_iter().map(|(name, what)| (name.to_owned(), what)).collect();
        Ok(Saved { storages: storages.loaded, names, tensors, objects })
    }
}

/// The storages that tensors are in, each loaded once.
struct Storages<'a, L> {
    map: &'a Mmap,
    load: L,
    loaded: Vec<Content>,
    /// Index in `loaded`.
    by_key: HashMap<String, usize>,
    /// Bytes that those to come may take.
    budget: u64,
}

impl<'a, L: FnMut(&str, u64) -> Result<Content, IoError>> Storages<'a, L> {
    fn new(map: &'a Mmap, load: L) -> Storages<'a, L> {
        let budget = map.len() as u64 + MAX_INFLATED_BYTES;
        Storages { map, load, loaded: vec![], by_key: HashMap::new(), budget }
    }

    /// Index and length in bytes of a storage.
    fn load(&mut self, key: &str) -> Result<(usize, usize), IoError> {
        let index = match self.by_key.get(key) {
            Some(&index) => index,
            None => {
                let content = (self.load)(key, self.budget)?;
                self.budget -= content.bytes(self.map).len() as u64;
                self.loaded.push(content);
                self.by_key.insert(key.to_owned(), self.loaded.len() - 1);
                self.loaded.len() - 1
            }
        };
        Ok((index, self.loaded[index].bytes(self.map).len()))
    }
}

impl Tensor {
    /// Checks a view against the length of its storage; `storage` is its index.
    fn of_view(view: &View<'_>, storage: usize, storage_bytes: usize) -> Result<Tensor, String> {
        let View { storage: described, dtype, offset, shape, strides } = view;
        let size = |dtype: Dtype| dtype.bitsize() / 8;
        if described.elements.checked_mul(size(described.dtype)) != Some(storage_bytes) {
            let (elements, dtype) = (described.elements, described.dtype);
            return Err(format!("has a storage of {elements} elements of {dtype}, but that has {storage_bytes} bytes"));
        }
        let available = storage_bytes / size(*dtype);
        let outside =
            || format!("of shape {shape:?}, strides {strides:?} and offset {offset} lies outside its storage");
        let elements = span(*offset, shape, strides).filter(|span| span.end <= available).ok_or_else(outside)?;
        // Otherwise a short file could describe more values than there is memory for.
        if shape.iter().product::<usize>() > available {
            return Err(format!("of shape {shape:?} repeats its elements; save it with .contiguous()"));
        }
        Ok(Tensor {
            dtype: *dtype,
            shape: shape.clone(),
            strides: (!is_contiguous(shape, strides)).then(|| strides.clone()),
            storage,
            bytes: elements.start * size(*dtype)..elements.end * size(*dtype),
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
