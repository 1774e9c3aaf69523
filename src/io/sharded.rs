//! A weight file that was cut into several: an index in JSON (`*.safetensors.index.json`) names the file of each tensor.
//!
//! The files stand beside the index. It may have come from a stranger, so names that lead elsewhere are refused, as
//! are links that do; only where the index itself is a link (as in the cache of Hugging Face), they may lead to the
//! folder that it leads to.

use super::weights::{self, Tensors};
use super::{IoError, text};
use ::safetensors::tensor::Dtype;
use serde::Deserialize;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

const FORMAT: &str = "weight index";

/// As for the header of one file, which says as much.
const MAX_INDEX_BYTES: u64 = 16 << 20;

const MAX_FILES: usize = 1000;

#[derive(Deserialize)]
struct Index {
    /// The file of each tensor.
    weight_map: BTreeMap<String, String>,
}

pub(super) struct File {
    files: Vec<Box<dyn Tensors>>,
    bytes: u64,
    /// Which of the files each tensor is in.
    file_of: BTreeMap<String, usize>,
}

/// Whether a file is JSON. A safetensors file begins with the length of its header, whose first byte can be a brace
/// too, but then the brace of the header follows.
pub(super) fn begins(bytes: &[u8]) -> bool {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    text.trim_ascii_start().starts_with(b"{") && !super::safetensors::begins(bytes)
}

impl File {
    /// Opens every file of the index that holds `bytes`, once.
    pub(super) fn read(path: &Path, bytes: &[u8], key: Option<&str>) -> Result<File, IoError> {
        let malformed = |reason: String| IoError::malformed(path, FORMAT, reason);
        let text = text::of_bytes(path, bytes, MAX_INDEX_BYTES)?;
        let index: Index = serde_json::from_str(&text).map_err(|error| {
            malformed(format!("{error}; the index of a weight file names the file of each tensor in \"weight_map\""))
        })?;
        let mut names: Vec<&String> = index.weight_map.values().collect();
        names.sort();
        names.dedup();
        if names.len() > MAX_FILES {
            let (what, unit, found) = ("weight index", "files", names.len() as u64);
            return Err(IoError::TooLarge { path: path.to_owned(), what, unit, found, limit: MAX_FILES as u64 });
        }
        let mut bytes = 0;
        let open = |name: &&String| {
            let path = beside(path, name)?;
            let map = weights::map(&path)?;
            bytes += map.len() as u64;
            weights::tensors(&path, map, key)
        };
        let files = names.iter().map(open).collect::<Result<Vec<_>, _>>()?;
        let number = |name: &String| names.binary_search(&name).expect("one of those that were collected");
        let file_of: BTreeMap<String, usize> =
            index.weight_map.iter().map(|(tensor, name)| (tensor.clone(), number(name))).collect();
        if let Some((tensor, &file)) = file_of.iter().find(|(tensor, file)| files[**file].find(tensor).is_none()) {
            return Err(malformed(format!("{:?} does not hold {tensor:?}, which the index says it does", names[file])));
        }
        for (file, tensors) in files.iter().enumerate() {
            let is_elsewhere = |tensor: &String| file_of.get(tensor).is_some_and(|other| *other != file);
            if let Some(tensor) = tensors.names().into_iter().find(is_elsewhere) {
                let other = names[file_of[&tensor]];
                return Err(malformed(format!("both {:?} and {other:?} hold {tensor:?}", names[file])));
            }
        }
        Ok(File { files, bytes, file_of })
    }

    /// Of all files together.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn of(&self, name: &str) -> Option<&dyn Tensors> {
        self.file_of.get(name).map(|&file| &*self.files[file])
    }
}

/// The path of a file of an index.
fn beside(index: &Path, name: &str) -> Result<PathBuf, IoError> {
    let refused = |why: &str| {
        let reason = format!("its file {name:?} {why}; the files of an index stand beside it");
        IoError::malformed(index, FORMAT, reason)
    };
    let is_plain = matches!(&Path::new(name).components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
    if !is_plain || name.contains(['/', '\\']) {
        return Err(refused("is no name of a file"));
    }
    let path = index.with_file_name(name);
    let real = |path: &Path| path.canonicalize().map_err(IoError::system(path, "open"));
    let (file, real_index) = (real(&path)?, real(index)?);
    let folder = real(index.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new(".")))?;
    if file.parent() != Some(&folder) && file.parent() != real_index.parent() {
        return Err(refused("is a link that leads elsewhere"));
    }
    Ok(path)
}

impl Tensors for File {
    fn names(&self) -> Vec<String> {
        self.file_of.keys().cloned().collect()
    }

    fn find(&self, name: &str) -> Option<(&[usize], Dtype)> {
        self.of(name)?.find(name)
    }

    fn values(&self, name: &str) -> Option<Cow<'_, [f32]>> {
        self.of(name)?.values(name)
    }

    fn integers(&self, name: &str) -> Option<Vec<i32>> {
        self.of(name)?.integers(name)
    }

    fn halves(&self, name: &str) -> Option<Cow<'_, [u16]>> {
        self.of(name)?.halves(name)
    }

    fn release(&self, name: &str) {
        self.of(name).into_iter().for_each(|file| file.release(name));
    }
}

#[cfg(test)]
mod tests {
    use super::super::weights::WeightFile;
    use super::*;
    use std::fs;

    /// A safetensors file of scalars, each with its position as its value.
    fn scalars(names: &[&str]) -> Vec<u8> {
        let entry = |(at, name): (usize, &&str)| {
            let (start, end) = (4 * at, 4 * at + 4);
            format!(r#""{name}":{{"dtype":"F32","shape":[],"data_offsets":[{start},{end}]}}"#)
        };
        let header = format!("{{{}}}", names.iter().enumerate().map(entry).collect::<Vec<_>>().join(","));
        let values: Vec<u8> = (0..names.len()).flat_map(|value| (value as f32).to_le_bytes()).collect();
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &values].concat()
    }

    /// A folder with two files, of the tensors `a`, `b` and `c`, and this index.
    fn folder(index: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("1.safetensors"), scalars(&["a"])).unwrap();
        fs::write(folder.path().join("2.safetensors"), scalars(&["b", "c"])).unwrap();
        let path = folder.path().join("w.safetensors.index.json");
        fs::write(&path, index).unwrap();
        (folder, path)
    }

    fn error_of(index: &str) -> String {
        let (_folder, path) = folder(index);
        WeightFile::open(&path).unwrap_err().to_string()
    }

    const GOOD: &str = r#"{"metadata": {"total_size": 12},
        "weight_map": {"a": "1.safetensors", "b": "2.safetensors", "c": "2.safetensors"}}"#;

    #[test]
    fn tensors_of_several_files_are_one_file() {
        for text in [GOOD.to_owned(), format!("\u{feff}\n{GOOD}")] {
            let (_folder, path) = folder(&text);
            let weights = WeightFile::open(&path).unwrap();
            assert_eq!(weights.names(), ["a", "b", "c"]);
            for (name, value) in [("a", 0.0), ("b", 0.0), ("c", 1.0)] {
                assert_eq!(*weights.read(name).unwrap(), [value], "{name}");
                weights.release(name);
            }
            assert_eq!((weights.shape("c"), weights.dtype("c").as_deref()), (Some(&[][..]), Some("F32")));
            assert!(weights.read("d").is_err());
        }
    }

    #[test]
    fn an_index_is_not_believed() {
        let cases = [
            (r#"{"weight_map": {"a": "../1.safetensors"}}"#, "is no name of a file"),
            (r#"{"weight_map": {"a": "/etc/passwd"}}"#, "is no name of a file"),
            (r#"{"weight_map": {"a": "x/1.safetensors"}}"#, "is no name of a file"),
            (r#"{"weight_map": {"a": ".."}}"#, "is no name of a file"),
            (r#"{"weight_map": {"a": ""}}"#, "is no name of a file"),
            (r#"{"weight_map": {"a": "x\\1.safetensors"}}"#, "is no name of a file"),
            (r#"{"weight_map": {"a": "3.safetensors"}}"#, "3.safetensors: cannot open"),
            (r#"{"weight_map": {"d": "1.safetensors"}}"#, r#""1.safetensors" does not hold "d""#),
            (r#"{"weight_map": {"a": "w.safetensors.index.json"}}"#, "neither safetensors nor a file of torch.save"),
            (r#"{"weight_map": {"a": 1}}"#, "invalid type"),
            (r#"{"layers": []}"#, "missing field `weight_map`"),
            ("{", "not a valid weight index file"),
        ];
        for (index, expected) in cases {
            let error = error_of(index);
            assert!(error.contains(expected), "{index}: {error}");
        }
        let many: Vec<String> = (0..1001).map(|n| format!(r#""t{n}": "f{n}""#)).collect();
        assert!(
            error_of(&format!(r#"{{"weight_map": {{{}}}}}"#, many.join(","))).contains("1001 files, the limit is 1000")
        );
    }

    /// What a pipe gives is gone afterwards.
    #[test]
    fn an_index_is_read_once() {
        let (_folder, path) = folder(GOOD);
        let opened = fs::File::open(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "{}").unwrap();
        assert_eq!(WeightFile::of_file(&path, &opened, None).unwrap().names(), ["a", "b", "c"]);
    }

    #[test]
    fn a_tensor_that_two_files_hold_is_an_error() {
        let (folder, path) = folder(GOOD);
        fs::write(folder.path().join("1.safetensors"), scalars(&["a", "b"])).unwrap();
        let error = WeightFile::open(&path).unwrap_err().to_string();
        assert!(error.ends_with(r#"both "1.safetensors" and "2.safetensors" hold "b""#), "{error}");
    }

    #[cfg(unix)]
    #[test]
    fn links_lead_nowhere_but_where_the_index_leads() {
        use std::os::unix::fs::symlink;
        let (blobs, real) = folder(GOOD);
        let elsewhere = tempfile::tempdir().unwrap();
        let link = |name: &str, to: &Path| symlink(to, elsewhere.path().join(name)).unwrap();
        for name in ["1.safetensors", "2.safetensors"] {
            link(name, &blobs.path().join(name));
        }
        link("linked.index.json", &real);
        let linked = WeightFile::open(&elsewhere.path().join("linked.index.json")).unwrap();
        assert_eq!(linked.names(), ["a", "b", "c"]);
        let own = elsewhere.path().join("own.index.json");
        fs::write(&own, GOOD).unwrap();
        let error = WeightFile::open(&own).unwrap_err().to_string();
        assert!(error.contains(r#""1.safetensors" is a link that leads elsewhere"#), "{error}");
    }
}
