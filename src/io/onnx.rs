//! ONNX files and what lies beside them; imported networks as files.

use super::{IoError, weights, write::write_atomically};
use crate::front::onnx::constant::{Bytes, External};
use crate::front::onnx::weights::Weights;
use crate::ir::weights::WeightSource;
use crate::ir::{Graph, Param, ParamSource};
use crate::quant::WholeFile;
use serde_json::json;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Protocol buffers are no larger; larger models keep their tensors beside the file.
const MAX_BYTES: u64 = 2 << 30;

/// Numbers that are written together.
const PIECE: usize = 1 << 16;

/// A model file, read into memory: names in it must stay as they were checked.
///
/// # Errors
/// If it cannot be read, or is larger than any such file can be.
pub fn read(path: &Path) -> Result<Bytes, IoError> {
    let (file, length) = super::open(path)?;
    if length > MAX_BYTES {
        let limit = MAX_BYTES;
        return Err(IoError::TooLarge { path: path.to_owned(), what: "file", unit: "bytes", found: length, limit });
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES).read_to_end(&mut bytes).map_err(IoError::system(path, "read"))?;
    Ok(Arc::new(bytes))
}

/// The files beside a model: regular ones in its folder or below, to which no link leads. Each is mapped once.
pub struct Beside {
    folder: PathBuf,
    opened: HashMap<String, Bytes>,
}

impl Beside {
    pub fn new(model: &Path) -> Beside {
        Beside { folder: super::write::folder_of(model).to_owned(), opened: HashMap::new() }
    }
}

impl External for Beside {
    fn open(&mut self, location: &str) -> Result<Bytes, String> {
        if let Some(bytes) = self.opened.get(location) {
            return Ok(bytes.clone());
        }
        check_location(location)?;
        let file = open_beneath(&self.folder, location).map_err(|e| e.to_string())?;
        if !file.metadata().is_ok_and(|found| found.is_file()) {
            return Err("it is no regular file".into());
        }
        let map = weights::map_file(&self.folder.join(location), &file).map_err(|e| e.to_string())?;
        let bytes: Bytes = Arc::new(map);
        self.opened.insert(location.to_string(), bytes.clone());
        Ok(bytes)
    }
}

/// A path of names, without a way out of the folder.
fn check_location(location: &str) -> Result<(), String> {
    let names = Path::new(location).components().all(|part| matches!(part, Component::Normal(_)));
    match names && !location.is_empty() && !location.contains(['\\', '\0', ':']) {
        true => Ok(()),
        false => Err("it does not lie in the model's folder".into()),
    }
}

/// The kernel sees to it that no link is followed and the folder not left: openat2(2).
#[cfg(target_os = "linux")]
fn open_beneath(folder: &Path, location: &str) -> io::Result<File> {
    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
    let folder = rustix::fs::openat(CWD, folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // A pipe without a writer is not waited for.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    Ok(rustix::fs::openat2(folder, location, flags, Mode::empty(), resolve)?.into())
}

#[cfg(not(target_os = "linux"))]
fn open_beneath(folder: &Path, location: &str) -> io::Result<File> {
    let mut path = folder.to_owned();
    for part in Path::new(location).components() {
        path.push(part);
        if std::fs::symlink_metadata(&path)?.is_symlink() {
            return Err(io::Error::other("a link leads to it"));
        }
    }
    File::open(path)
}

/// Writes an imported network: `NAME.cnn`, `NAME.safetensors`, and the card `NAME.yaml` that joins them. The weights are
/// those of `whole` where it computes on whole numbers; in f32 they are converted one by one.
///
/// # Errors
/// What the system refuses.
pub fn write(
    text: &str,
    graph: &Graph,
    (weights, whole): (&Weights, Option<&WholeFile>),
    folder: &Path,
    name: &str,
) -> Result<PathBuf, IoError> {
    let path = folder.join(format!("{name}.cnn"));
    let file = folder.join(format!("{name}.safetensors"));
    match whole {
        Some(whole) => whole.write(&file)?,
        None => write_real(graph, weights, &file)?,
    }
    let card = format!("weights: {name}.safetensors\n");
    write_atomically(&folder.join(format!("{name}.yaml")), |out| out.write_all(card.as_bytes()))?;
    write_atomically(&path, |out| out.write_all(text.as_bytes()))?;
    Ok(path)
}

fn write_real(graph: &Graph, weights: &Weights, file: &Path) -> Result<(), IoError> {
    let params: Vec<&Param> = graph.params.iter().filter(|param| param.source == ParamSource::File).collect();
    write_atomically(file, |out| {
        out.write_all(&header(&params))?;
        params.iter().try_for_each(|param| {
            weights.values(param).chunks(PIECE).try_for_each(|piece| {
                let bytes: Vec<u8> = piece.iter().flat_map(|value| value.to_le_bytes()).collect();
                out.write_all(&bytes)
            })
        })
    })
}

/// The head of a safetensors file (<https://huggingface.co/docs/safetensors>) of f32 tensors in this order: the length of
/// what follows, and the types, shapes and places in JSON.
fn header(params: &[&Param]) -> Vec<u8> {
    let mut offset = 0;
    let entry = |param: &&Param| {
        let start = offset;
        offset += param.elements() * size_of::<f32>();
        let value = json!({ "dtype": "F32", "shape": param.dims, "data_offsets": [start, offset] });
        (param.name.clone(), value)
    };
    let entries: serde_json::Map<String, serde_json::Value> = params.iter().map(entry).collect();
    let mut text = serde_json::Value::Object(entries).to_string();
    // Numbers behind it are aligned.
    text.extend(std::iter::repeat_n(' ', text.len().next_multiple_of(8) - text.len()));
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(folder: &Path, location: &str) -> Result<Vec<u8>, String> {
        let bytes = Beside::new(&folder.join("model.onnx")).open(location)?;
        Ok((*bytes).as_ref().to_vec())
    }

    #[test]
    fn files_in_the_folder_are_read() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("parts")).unwrap();
        std::fs::write(folder.path().join("parts/a.data"), "abc").unwrap();
        assert_eq!(open(folder.path(), "parts/a.data").unwrap(), b"abc");
        for location in ["", "/etc/passwd", "../a", "parts/../a", "./..", "a\0b", "parts\\a.data", "C:a", "parts", "b"]
        {
            assert!(open(folder.path(), location).is_err(), "{location:?}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn links_are_not_followed() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(outside.path().join("secret"), "secret").unwrap();
        std::fs::write(folder.path().join("own"), "own").unwrap();
        let link = |target: &Path, name: &str| std::os::unix::fs::symlink(target, folder.path().join(name)).unwrap();
        link(&outside.path().join("secret"), "file");
        link(outside.path(), "folder");
        link(Path::new("own"), "inside");
        for location in ["file", "folder/secret", "inside"] {
            assert!(open(folder.path(), location).is_err(), "{location}");
        }
    }

    #[test]
    fn the_header_places_tensors_behind_each_other() {
        let param = |name: &str, dims: &[usize]| Param {
            name: name.into(),
            dims: dims.to_vec(),
            source: ParamSource::File,
            init: crate::layers::Init::Small,
        };
        let (a, b) = (param("b", &[2, 3]), param("a", &[1]));
        let mut file = header(&[&a, &b]);
        file.extend([0; 28]);
        let tensors = ::safetensors::SafeTensors::deserialize(&file).unwrap();
        assert_eq!(tensors.tensor("b").unwrap().shape(), [2, 3]);
        assert_eq!(tensors.tensor("a").unwrap().data(), [0; 4]);
    }
}
