//! The rows of a table that is not finished: a file beside it, `TABLE.part`, with an [`Identity`] on its first line and a
//! row on each of the others, in the order in which they were made. A line that is not whole is no row.

use super::super::{Failure, Outcome};
use super::Sink;
use super::files::shown;
use super::row::{Identity, Row};
use crate::io::IoError;
use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

pub struct Journal {
    path: PathBuf,
    /// At its end, and locked: one process writes it at a time.
    file: File,
    rows: Vec<Row>,
}

impl Journal {
    /// Opens the journal of a table, with the rows of a run that was stopped.
    ///
    /// # Errors
    /// Where it cannot be read or written, another process writes it, or its rows are of another model, other weights or
    /// other settings.
    pub fn open(table: &Path, identity: &Identity) -> Result<Journal, Failure> {
        let path = PathBuf::from([table.as_os_str(), ".part".as_ref()].join("".as_ref()));
        let failed = |error| Failure::from(IoError::system(&path, "open")(error));
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Failure::input(format!("{}: another process is writing this table", path.display())));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let mut journal = Journal { path, file, rows: Vec::new() };
        journal.read(identity)?;
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
        let mut counts: HashMap<&str, usize> = HashMap::new();
        self.rows.iter().for_each(|row| *counts.entry(&row.path).or_default() += 1);
        let mut take = |file: &PathBuf| match counts.get_mut(shown(file).as_str()) {
            Some(count) if *count > 0 => {
                *count -= 1;
                true
            }
            _ => false,
        };
        files.iter().map(&mut take).collect()
    }

    /// The rows in the order of the files, which all have one.
    pub fn rows(&mut self, files: &[PathBuf]) -> Result<Vec<Row>, Failure> {
        let mut of_path: HashMap<String, VecDeque<Row>> = HashMap::new();
        for row in std::mem::take(&mut self.rows) {
            of_path.entry(row.path.clone()).or_default().push_back(row);
        }
        let row = |file: &PathBuf| of_path.get_mut(&shown(file)).and_then(VecDeque::pop_front);
        let rows: Option<Vec<Row>> = files.iter().map(row).collect();
        rows.ok_or_else(|| Failure::input(format!("{}: rows are missing", self.path.display())))
    }

    /// Deletes it, once the table is written.
    pub fn remove(self) -> Outcome {
        Ok(std::fs::remove_file(&self.path).map_err(IoError::system(&self.path, "delete"))?)
    }
}

impl Sink for Journal {
    fn take(&mut self, _: usize, row: Row) -> Outcome {
        self.write(&row)?;
        self.rows.push(row);
        Ok(())
    }
}
