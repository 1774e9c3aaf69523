//! The directory and the entries of a zip archive in memory: what NumPy and PyTorch keep arrays in.
//!
//! Format: PKWARE's APPNOTE 6.3.10, sections 4.3.7 (local header), 4.3.12 (central directory), 4.3.14 to 4.3.16 (its
//! end) and 4.5.3 (sizes of 64 bits). An archive may claim anything: readers that believe it reserve memory for as many
//! entries as it says it has.

use super::IoError;
use flate2::Crc;
use flate2::read::DeflateDecoder;
use std::collections::BTreeMap;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

/// Of a directory with more entries than this nothing is read.
const MAX_ENTRIES: u64 = 100_000;

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const LOCATOR_64: &[u8] = b"PK\x06\x07";

const END_BYTES: usize = 22;
const LOCATOR_64_BYTES: usize = 20;

const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// An archive whose directory was read and found to lie within it.
pub(super) struct Archive<'a> {
    path: &'a Path,
    format: &'static str,
    bytes: &'a [u8],
    entries: BTreeMap<String, Entry>,
}

struct Entry {
    encrypted: bool,
    method: u16,
    crc: u32,
    /// Where its content stands in the archive, as compressed.
    stored: Range<usize>,
    /// Bytes of the uncompressed content, as the directory claims.
    size: u64,
}

/// The uncompressed content of an entry.
pub(super) enum Content {
    /// Stands in the archive as it is.
    Stored(Range<usize>),
    Inflated(Vec<u8>),
}

impl Content {
    /// The bytes themselves; `archive` is what the archive was read from.
    pub(super) fn bytes<'a>(&'a self, archive: &'a [u8]) -> &'a [u8] {
        match self {
            Content::Stored(range) => &archive[range.clone()],
            Content::Inflated(bytes) => bytes,
        }
    }
}

impl<'a> Archive<'a> {
    /// Reads the directory. `path` and `format` are for messages.
    pub(super) fn read(path: &'a Path, format: &'static str, bytes: &'a [u8]) -> Result<Archive<'a>, IoError> {
        let malformed = |reason: String| IoError::malformed(path, format, reason);
        let (start, count) = directory(bytes)
            .ok_or_else(|| malformed("it has no zip directory at its end; it may be incomplete".into()))?;
        if count > MAX_ENTRIES {
            let (what, unit) = ("zip directory", "entries");
            return Err(IoError::TooLarge { path: path.to_owned(), what, unit, found: count, limit: MAX_ENTRIES });
        }
        let mut entries = BTreeMap::new();
        let mut header = bytes.get(start..).unwrap_or_default();
        for index in 0..count {
            let entry = Entry::read(bytes, &mut header);
            let (name, entry) =
                entry.ok_or_else(|| malformed(format!("entry {index} of its zip directory is damaged")))?;
            if entries.insert(name.clone(), entry).is_some() {
                return Err(malformed(format!("its zip directory has {name:?} twice")));
            }
        }
        Ok(Archive { path, format, bytes, entries })
    }

    /// The names of all entries in alphabetical order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The content of an entry that is stored or deflated and has at most `limit` bytes.
    pub(super) fn content(&self, name: &str, limit: u64) -> Result<Content, IoError> {
        let malformed = |reason: String| IoError::malformed(self.path, self.format, reason);
        let entry = self.entries.get(name).ok_or_else(|| malformed(format!("it has no entry {name:?}")))?;
        if entry.size > limit {
            let (what, unit) = ("archive entry", "bytes");
            return Err(IoError::TooLarge { path: self.path.to_owned(), what, unit, found: entry.size, limit });
        }
        match entry.method {
            _ if entry.encrypted => Err(IoError::unsupported(self.path, format!("{name:?} is encrypted"))),
            STORED if entry.size == entry.stored.len() as u64 => Ok(Content::Stored(entry.stored.clone())),
            STORED => Err(malformed(format!("the size of {name:?} is given as two different numbers"))),
            DEFLATED => {
                let inflated = inflate(entry, &self.bytes[entry.stored.clone()]);
                inflated.map(Content::Inflated).map_err(|error| malformed(format!("cannot inflate {name:?}: {error}")))
            }
            method => {
                let reason = format!("{name:?} is compressed by method {method}; accepted: stored, deflated");
                Err(IoError::unsupported(self.path, reason))
            }
        }
    }
}

/// Where the central directory begins, and how many entries it has.
fn directory(bytes: &[u8]) -> Option<(usize, u64)> {
    // A comment of at most 65,535 bytes may stand behind the end record, and must then reach the end of the file.
    let earliest = bytes.len().saturating_sub(END_BYTES + usize::from(u16::MAX));
    let latest = bytes.len().checked_sub(END_BYTES)?;
    let is_end = |&at: &usize| {
        bytes[at..].starts_with(END) && u16_at(bytes, at + 20).map(usize::from) == Some(bytes.len() - at - END_BYTES)
    };
    let end = (earliest..=latest).rev().find(is_end)?;
    let locator = end.checked_sub(LOCATOR_64_BYTES).filter(|&at| bytes[at..].starts_with(LOCATOR_64));
    match locator {
        Some(locator) => {
            let end = u64_at(bytes, locator + 8).and_then(|at| usize::try_from(at).ok())?;
            let record = bytes.get(end..).filter(|record| record.starts_with(END_64))?;
            Some((usize::try_from(u64_at(record, 48)?).ok()?, u64_at(record, 32)?))
        }
        None => Some((u32_at(bytes, end + 16)? as usize, u16_at(bytes, end + 10)?.into())),
    }
}

impl Entry {
    /// Reads the entry at the start of `header`, moves `header` behind it, and gives its name too.
    fn read(archive: &[u8], header: &mut &[u8]) -> Option<(String, Entry)> {
        let bytes = header.strip_prefix(CENTRAL).map(|_| *header)?;
        let length = |at| u16_at(bytes, at).map(usize::from);
        let (name, rest) = bytes.get(46..)?.split_at_checked(length(28)?)?;
        let (extra, rest) = rest.split_at_checked(length(30)?)?;
        *header = rest.get(length(32)?..)?;
        let mut wide = wide_sizes(extra);
        let mut size = |at| match u32_at(bytes, at)? {
            u32::MAX => wide.next(),
            size => Some(size.into()),
        };
        // The order in which the 64-bit field gives those that do not fit.
        let (size, compressed, offset) = (size(24)?, size(20)?, size(42)?);
        let entry = Entry {
            encrypted: u16_at(bytes, 8)? & 1 != 0,
            method: u16_at(bytes, 10)?,
            crc: u32_at(bytes, 16)?,
            stored: content_range(archive, offset, compressed)?,
            size,
        };
        Some((String::from_utf8_lossy(name).into_owned(), entry))
    }
}

/// The numbers of the extra field for sizes of 64 bits.
fn wide_sizes(mut extra: &[u8]) -> impl Iterator<Item = u64> {
    let mut field: &[u8] = &[];
    while let (Some(id), Some(length)) = (u16_at(extra, 0), u16_at(extra, 2)) {
        let Some((content, rest)) = extra[4..].split_at_checked(length.into()) else { break };
        if id == 1 {
            field = content;
            break;
        }
        extra = rest;
    }
    field.as_chunks().0.iter().map(|&bytes| u64::from_le_bytes(bytes))
}

/// The `length` bytes behind the local header at `offset`, whose own sizes may be left open.
fn content_range(archive: &[u8], offset: u64, length: u64) -> Option<Range<usize>> {
    let offset = usize::try_from(offset).ok()?;
    let header = archive.get(offset..).filter(|header| header.starts_with(LOCAL))?;
    let start = offset + 30 + usize::from(u16_at(header, 26)?) + usize::from(u16_at(header, 28)?);
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    (end <= archive.len()).then_some(start..end)
}

/// Decompresses an entry and checks its length and checksum. Memory grows with what arrives, up to the claimed size.
fn inflate(entry: &Entry, compressed: &[u8]) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut source = DeflateDecoder::new(compressed).take(entry.size.saturating_add(1));
    source.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    if bytes.len() as u64 != entry.size {
        return Err(format!("it does not have {} bytes", entry.size));
    }
    let mut crc = Crc::new();
    crc.update(&bytes);
    if crc.sum() == entry.crc { Ok(bytes) } else { Err("its checksum is wrong".into()) }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|&bytes| u16::from_le_bytes(bytes))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|&bytes| u32::from_le_bytes(bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|&bytes| u64::from_le_bytes(bytes))
}

/// A writer for tests.
#[cfg(test)]
pub(super) mod testing {
    use super::*;
    use flate2::Compression;
    use flate2::read::DeflateEncoder;

    /// An archive of stored entries as PyTorch writes it: content aligned to 64 bytes, sizes behind the content, and
    /// a 64-bit end record.
    pub fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
        written(entries, STORED)
    }

    /// The same, compressed.
    pub fn deflated(entries: &[(&str, &[u8])]) -> Vec<u8> {
        written(entries, DEFLATED)
    }

    fn written(entries: &[(&str, &[u8])], method: u16) -> Vec<u8> {
        let (mut bytes, mut directory) = (Vec::new(), Vec::new());
        for (name, content) in entries {
            let offset = bytes.len() as u32;
            let mut compressor = DeflateEncoder::new(*content, Compression::default());
            let mut stored = content.to_vec();
            if method == DEFLATED {
                stored.clear();
                compressor.read_to_end(&mut stored).unwrap();
            }
            let mut crc = Crc::new();
            crc.update(content);
            let sizes = [crc.sum(), stored.len() as u32, content.len() as u32].map(u32::to_le_bytes).concat();
            let name_length = (name.len() as u16).to_le_bytes();
            let padding = (bytes.len() + 30 + name.len() + 4).next_multiple_of(64) - (bytes.len() + 34 + name.len());
            let padding_length = (padding as u16).to_le_bytes();
            let extra_length = (padding as u16 + 4).to_le_bytes();
            let start = [0, 0, 8, 8, method as u8, 0, 0, 0, 0, 0];
            bytes.extend([LOCAL, &start, &[0; 12], &name_length, &extra_length, name.as_bytes(), b"FB"].concat());
            bytes.extend([&padding_length[..], &vec![b'Z'; padding], &stored, b"PK\x07\x08", &sizes].concat());
            directory.extend([CENTRAL, &[0, 0], &start, &sizes, &name_length, &[0; 12]].concat());
            directory.extend([&offset.to_le_bytes(), name.as_bytes()].concat());
        }
        let at = bytes.len() as u64;
        bytes.extend(&directory);
        bytes.extend(end(entries.len() as u64, directory.len() as u64, at));
        bytes
    }

    /// What stands behind a directory of `count` entries and `length` bytes that begins at `at`.
    pub fn end(count: u64, length: u64, at: u64) -> Vec<u8> {
        let end_64 = [44, 0x1e_001e, 0, count, count, length, at];
        let mut bytes = END_64.to_vec();
        bytes.extend(end_64[..1].iter().flat_map(|n| n.to_le_bytes()));
        bytes.extend((end_64[1] as u32).to_le_bytes());
        bytes.extend(end_64[2..].iter().flat_map(|n| n.to_le_bytes()));
        bytes.extend([LOCATOR_64, &[0; 4], &(at + length).to_le_bytes(), &[1, 0, 0, 0]].concat());
        bytes.extend([END, &[0; 4], &[(count as u16).to_le_bytes(); 2].concat()].concat());
        bytes.extend([length as u32, at as u32].map(u32::to_le_bytes).concat());
        bytes.extend([0, 0]);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{archive, end};
    use super::*;

    fn read(bytes: &[u8]) -> Result<Archive<'_>, IoError> {
        Archive::read(Path::new("a.zip"), ".zip", bytes)
    }

    fn error_of(bytes: &[u8]) -> String {
        read(bytes).err().expect("an error").to_string()
    }

    #[test]
    fn reads_what_pytorch_writes() {
        let bytes = archive(&[("a/x", b"12"), ("a/empty", b""), ("a/y", &[3; 100])]);
        let archive = read(&bytes).unwrap();
        assert_eq!(archive.names().collect::<Vec<_>>(), ["a/empty", "a/x", "a/y"]);
        for (name, expected) in [("a/x", &b"12"[..]), ("a/empty", b""), ("a/y", &[3; 100])] {
            let content = archive.content(name, 100).unwrap();
            assert!(matches!(&content, Content::Stored(range) if range.start % 64 == 0), "{name}");
            assert_eq!(content.bytes(&bytes), expected, "{name}");
        }
        let error = |name, limit| archive.content(name, limit).err().expect("an error").to_string();
        assert_eq!(error("a/y", 99), "a.zip: archive entry is 100 bytes, the limit is 99");
        assert_eq!(error("b", 99), r#"a.zip: not a valid .zip file: it has no entry "b""#);
    }

    #[test]
    fn sizes_of_64_bits_stand_in_an_extra_field() {
        let bytes = archive(&[("x", b"12")]);
        let central = bytes.windows(4).position(|at| at == CENTRAL).unwrap();
        let (before, header) = bytes.split_at(central);
        let wide = |size: u64, compressed: u64, offset: u64| {
            let mut header = header[..47].to_vec();
            header[20..28].fill(0xff);
            header[42..46].fill(0xff);
            header[30] = 33;
            let numbers = [size, compressed, offset].map(u64::to_le_bytes).concat();
            header.extend([&[9, 9, 1, 0, 0, 1, 0, 24, 0], &numbers[..]].concat());
            [before, &header, &end(1, header.len() as u64, central as u64)].concat()
        };
        let good = wide(2, 2, 0);
        let archive = read(&good).unwrap();
        assert_eq!(archive.content("x", 2).unwrap().bytes(&good), b"12");
        for (compressed, offset) in [(u64::MAX, 0), (2, u64::MAX), (1 << 32, 0), (2, 1)] {
            assert!(error_of(&wide(2, compressed, offset)).contains("entry 0 of its zip directory is damaged"));
        }
        let lying = wide(1, 2, 0);
        assert!(read(&lying).unwrap().content("x", 2).is_err());
    }

    #[test]
    fn a_directory_is_not_believed() {
        let bytes = archive(&[("x", b"12")]);
        let record = bytes.windows(4).position(|at| at == END_64).unwrap();
        let claiming = |field: usize, value: u64| {
            let mut bytes = bytes.clone();
            bytes[record + field..][..8].copy_from_slice(&value.to_le_bytes());
            bytes
        };
        let (count, start) = (32, 48);
        assert!(error_of(&claiming(count, 2)).contains("entry 1 of its zip directory is damaged"));
        assert!(error_of(&claiming(count, u64::MAX)).contains("zip directory is 18446744073709551615 entries"));
        assert!(error_of(&claiming(start, u64::MAX)).contains("entry 0 of its zip directory is damaged"));
        assert!(error_of(&archive(&[("x", b"1"), ("x", b"2")])).contains(r#"has "x" twice"#));
        assert!(error_of(b"").contains("no zip directory"));
    }
}
