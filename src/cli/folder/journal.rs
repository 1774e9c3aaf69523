//! What is done of a run that is not finished: a file, `NAME.part`, with an [`Identity`] on its first line and a row on each
//! of the others, in the order in which they were made. A line that is not whole is no row.
//!
//! Where arrays are wanted, `NAME.values` beside it has as many values for each row, in the same order. They are written
//! before their row, so that those without a row are at the end, and are written again.

use super::super::{Failure, Outcome};
use super::files::shown;
use super::row::{Identity, Row};
use super::{Made, Sink};
use crate::io::IoError;
use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

pub struct Journal {
    path: PathBuf,
    /// At its end, and locked: one process writes it at a time.
    file: File,
    rows: Vec<Row>,
    values: Option<Values>,
}

/// For each file, which row is its.
pub type Places = Vec<usize>;

/// The values of the rows.
struct Values {
    path: PathBuf,
    file: File,
    /// Of a row.
    count: usize,
}

impl Journal {
    /// Opens the journal of this name, with the rows of a run that was stopped, and room for `values` with each.
    ///
    /// # Errors
    /// Where it cannot be read or written, another process writes it, or its rows are of another model, other weights or
    /// other settings.
    pub fn open(name: &Path, values: usize, identity: &Identity) -> Result<Journal, Failure> {
        let beside = |end: &str| PathBuf::from([name.as_os_str(), end.as_ref()].join("".as_ref()));
        let path = beside(".part");
        let file = locked(&path)?;
        let is_new = file.metadata().is_ok_and(|metadata| metadata.len() == 0);
        let mut journal = Journal { path, file, rows: Vec::new(), values: None };
        journal.read(identity)?;
        if values > 0 {
            let path = beside(".values");
            let values = Values { file: open(&path)?, path, count: values };
            if is_new && values.file.metadata().is_ok_and(|metadata| metadata.len() > 0) {
                let text = "is there already, and is not of this run: delete it, or give another --output";
                return Err(Failure::input(format!("{} {text}", values.path.display())));
            }
            values.keep(journal.rows.len(), &journal.path)?;
            journal.values = Some(values);
        }
        Ok(journal)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads what is there, cuts off a line that is not whole, and writes the identity where there is none.
    fn read(&mut self, identity: &Identity) -> Outcome {
        let read_failed = |error| Failure::from(IoError::system(&self.path, "read")(error));
        let (mut reader, mut line, mut whole) = (BufReader::new(&self.file), Vec::new(), 0);
        for number in 1.. {
            line.clear();
            let length = reader.read_until(b'\n', &mut line).map_err(read_failed)?;
            if line.last() != Some(&b'\n') {
                break;
            }
            let known = match number {
                1 => serde_json::from_slice(&line).map(|found: Identity| found == *identity),
                _ => serde_json::from_slice(&line).map(|row| self.rows.push(row)).map(|()| true),
            };
            let path = self.path.display();
            match known {
                Ok(true) => whole += length as u64,
                Ok(false) => {
                    let wrong = "has rows of another model, other weights or other settings";
                    return Err(Failure::input(format!(
                        "{path} {wrong}; delete it to begin anew, or give another --output"
                    )));
                }
                Err(error) => {
                    let error = format!("{path}, line {number}: {error}");
                    return Err(Failure::input(format!("{error}; delete it to begin anew, or give another --output")));
                }
            }
        }
        let at_end = self.file.set_len(whole).and_then(|()| self.file.seek(SeekFrom::End(0)));
        at_end.map_err(IoError::system(&self.path, "write"))?;
        if whole == 0 { self.write(identity) } else { Ok(()) }
    }

    fn write(&mut self, line: &impl serde::Serialize) -> Outcome {
        let mut bytes = serde_json::to_vec(line).expect("texts and numbers");
        bytes.push(b'\n');
        Ok(self.file.write_all(&bytes).map_err(IoError::system(&self.path, "write"))?)
    }

    /// Which files have a row. A file that a list names twice has two.
    pub fn done(&self, files: &[PathBuf]) -> Vec<bool> {
        self.placed(files).map(|place| place.is_some()).collect()
    }

    /// The rows of the files, which all have one.
    pub fn places(&self, files: &[PathBuf]) -> Result<Places, Failure> {
        let places: Option<Places> = self.placed(files).collect();
        places.ok_or_else(|| Failure::input(format!("{}: rows are missing", self.path.display())))
    }

    fn placed(&self, files: &[PathBuf]) -> impl Iterator<Item = Option<usize>> {
        let mut of_path: HashMap<&str, VecDeque<usize>> = HashMap::new();
        for (place, row) in self.rows.iter().enumerate() {
            of_path.entry(&row.path).or_default().push_back(place);
        }
        files.iter().map(move |file| of_path.get_mut(shown(file).as_str()).and_then(VecDeque::pop_front))
    }

    pub fn row(&self, place: usize) -> &Row {
        &self.rows[place]
    }

    /// Some of the values of a row.
    pub fn values(&self, place: usize, range: Range<usize>) -> io::Result<Vec<f32>> {
        match &self.values {
            Some(values) => values.read(place, range),
            None => Ok(Vec::new()),
        }
    }

    /// Deletes it, once all is written.
    pub fn remove(self) -> Outcome {
        // First what says which values there are: values without it are no one's.
        let paths = [Some(self.path), self.values.map(|values| values.path)];
        for path in paths.into_iter().flatten() {
            std::fs::remove_file(&path).map_err(IoError::system(&path, "delete"))?;
        }
        Ok(())
    }
}

impl Sink for Journal {
    fn take(&mut self, _: usize, made: Made) -> Outcome {
        if let Some(values) = &mut self.values {
            values
                .file
                .write_all(bytemuck::cast_slice(&made.values))
                .map_err(IoError::system(&values.path, "write"))?;
        }
        self.write(&made.row)?;
        self.rows.push(made.row);
        Ok(())
    }
}

impl Values {
    fn place(&self, row: usize) -> u64 {
        row as u64 * (self.count * size_of::<f32>()) as u64
    }

    /// Keeps those of so many rows, and goes to their end.
    fn keep(&self, rows: usize, journal: &Path) -> Outcome {
        let mut file = &self.file;
        let end = self.place(rows);
        let found = file.seek(SeekFrom::End(0)).map_err(IoError::system(&self.path, "read"))?;
        if found < end {
            let (path, journal) = (self.path.display(), journal.display());
            let short = format!("{path}: values of the rows in {journal} are missing");
            return Err(Failure::input(format!("{short}; delete both to begin anew, or give another --output")));
        }
        let at_end = file.set_len(end).and_then(|()| file.seek(SeekFrom::End(0)));
        Ok(at_end.map(drop).map_err(IoError::system(&self.path, "write"))?)
    }

    fn read(&self, row: usize, range: Range<usize>) -> io::Result<Vec<f32>> {
        let (mut file, mut values) = (&self.file, vec![0.0; range.len()]);
        file.seek(SeekFrom::Start(self.place(row) + (range.start * size_of::<f32>()) as u64))?;
        file.read_exact(bytemuck::cast_slice_mut(&mut values))?;
        Ok(values)
    }
}

/// The file, opened and locked.
fn locked(path: &Path) -> Result<File, Failure> {
    loop {
        let file = open(path)?;
        match file.try_lock() {
            // Between the two a process that came to its end may have deleted it.
            Ok(()) if is_at(&file, path) => return Ok(file),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let name = path.display();
                return Err(Failure::input(format!("{name}: another process is writing what this is a part of")));
            }
            Err(TryLockError::Error(error)) => return Err(IoError::system(path, "open")(error).into()),
        }
    }
}

/// Whether this file has that path. Where it cannot be deleted while it is open, it has.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let of = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
    file.metadata().map(of).ok() == std::fs::metadata(path).map(of).ok()
}

#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    true
}

fn open(path: &Path) -> Result<File, Failure> {
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
    Ok(opened.map_err(IoError::system(path, "open"))?)
}
