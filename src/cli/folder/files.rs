//! Which pictures there are.

use super::super::Failure;
use crate::io::IoError;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// Files of a folder that are taken, by the ends of their names. A list names files of any kind.
const PICTURES: [&str; 3] = ["png", "jpg", "jpeg"];

/// Pictures of one run, at most.
const MAX_FILES: usize = 100_000_000;

/// Whether inputs name many files at once: a folder, or a text that lists them.
pub fn is_meant(inputs: &[OsString]) -> bool {
    inputs.iter().map(Path::new).any(|path| path.is_dir() || is_list(path))
}

fn is_list(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "txt")
}

/// All files: those of folders and of the folders in them in the order of their names, those of a list in its order.
pub fn list(inputs: &[OsString]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in inputs.iter().map(PathBuf::from) {
        if path.is_dir() {
            let before = files.len();
            walk(&path, &mut files)?;
            if files.len() == before {
                let kinds = PICTURES.join(", ");
                return Err(Failure::input(format!("{}: no pictures in this folder ({kinds})", path.display())));
            }
        } else if is_list(&path) {
            of_list(&path, &mut files)?;
        } else {
            files.push(path);
        }
    }
    if files.is_empty() {
        return Err(Failure::usage("no pictures; give a folder, or a list (.txt) with a file on each line"));
    }
    Ok(files)
}

/// The pictures below a folder. Links to folders are not followed, so that no circle is walked.
fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let failed = IoError::system(&folder, "read");
        let entries: Result<Vec<_>, _> = fs::read_dir(&folder).and_then(Iterator::collect).map_err(failed);
        let mut entries: Vec<fs::DirEntry> = entries?;
        entries.sort_by_key(fs::DirEntry::file_name);
        let mut below = Vec::new();
        for entry in entries {
            let (path, kind) = (entry.path(), entry.file_type().map_err(IoError::system(&folder, "read"))?);
            if kind.is_dir() {
                below.push(path);
            } else if is_picture(&path) {
                push(files, path)?;
            }
        }
        folders.extend(below.into_iter().rev());
    }
    Ok(())
}

fn push(files: &mut Vec<PathBuf>, path: PathBuf) -> Result<(), Failure> {
    if files.len() == MAX_FILES {
        return Err(Failure::input(format!("more than {MAX_FILES} pictures; take them in parts")));
    }
    files.push(path);
    Ok(())
}

fn is_picture(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    PICTURES.iter().any(|known| extension == *known)
}

/// The files of a list, a path on each line, from where the command runs; lines that are empty or begin with `#` are none.
fn of_list(list: &Path, files: &mut Vec<PathBuf>) -> Result<(), Failure> {
    let bytes = fs::read(list).map_err(IoError::system(list, "read"))?;
    for line in bytes.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if !line.is_empty() && !line.starts_with(b"#") {
            push(files, path_of(line))?;
        }
    }
    Ok(())
}

#[cfg(unix)]
fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    std::ffi::OsStr::from_bytes(bytes).into()
}

#[cfg(not(unix))]
fn path_of(bytes: &[u8]) -> PathBuf {
    String::from_utf8_lossy(bytes).into_owned().into()
}

/// A path as tables have it: its text, or where it is none, with the bytes that are no text spelt out.
pub fn shown(path: &Path) -> String {
    match path.to_str() {
        Some(text) => text.to_string(),
        None => path.as_os_str().as_encoded_bytes().escape_ascii().to_string(),
    }
}
