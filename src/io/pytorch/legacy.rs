//! The format of `torch.save` before PyTorch 1.6, which many published files still have.
//!
//! Five pickles one after the other: a magic number, the version of the format, facts of the machine (which
//! `torch.load` does not use either), what was saved, and the keys of the storages. Behind them stand the storages in
//! the order of these keys, each as the number of its elements (64 bits, little-endian) and the elements themselves.

use super::super::zip::Content;
use super::value::{Pickle, Storage, Value, shortened};
use super::{IoError, MAX_PICKLE_BYTES, malformed, pickle};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

/// The ten bytes of the magic number.
const MAGIC: &[u8] = b"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

const VERSION: i64 = 1001;

/// Whether a file begins with a pickle of the magic number. Its protocol, and in newer ones the length of a frame,
/// stand before that.
pub(super) fn begins(bytes: &[u8]) -> bool {
    let start = &bytes[..bytes.len().min(32)];
    start.windows(MAGIC.len()).any(|window| window == MAGIC)
}

/// The pickles of a file, copied, since all that is checked depends on them and the mapped file may change.
pub(super) fn pickles(map: &[u8]) -> Vec<u8> {
    let length = map.len().min(MAX_PICKLE_BYTES as usize);
    map[..length].to_vec()
}

/// What was saved, and where its storages stand in `map`. `pickles` are a copy of the start of `map`.
pub(super) fn read<'a>(
    path: &Path,
    map: &[u8],
    pickles: &'a [u8],
) -> Result<(Pickle<'a>, HashMap<&'a str, Content>), IoError> {
    let mut at = 0;
    let mut next = || {
        let pickle = pickle::read(&pickles[at..]).map_err(|reason| malformed(path, limited(reason, map, pickles)))?;
        at += pickle.length;
        Ok::<_, IoError>(pickle)
    };
    next()?;
    match next()?.root {
        Value::Int(VERSION) => {}
        Value::Int(other) => {
            return Err(IoError::unsupported(path, format!("version {other} of its format is not known")));
        }
        other => return Err(malformed(path, format!("{} stands where its version should", other.kind()))),
    }
    next()?;
    let saved = next()?;
    let keys = next()?;
    let storages = storages(map, at, &saved, &keys).map_err(|reason| malformed(path, reason))?;
    Ok((saved, storages))
}

/// Adds to what is wrong with a pickle that only so much of the file was searched for it.
fn limited(reason: String, map: &[u8], pickles: &[u8]) -> String {
    if pickles.len() == map.len() {
        return reason;
    }
    format!("{reason}; accepted: pickles of {} bytes", pickles.len())
}

/// Where the storages stand that begin `at` this byte.
fn storages<'a>(
    map: &[u8],
    mut at: usize,
    saved: &Pickle<'a>,
    keys: &Pickle<'a>,
) -> Result<HashMap<&'a str, Content>, String> {
    let Value::List(list) = keys.root else {
        return Err(format!("{} stands where the keys of its storages should", keys.root.kind()));
    };
    let mut storages = HashMap::new();
    for &key in &keys.lists[list] {
        let Value::Text(key) = key else { return Err(format!("the key of a storage is {}", key.kind())) };
        let storage = saved.storages.get(key).ok_or_else(|| format!("nothing describes storage {}", shortened(key)))?;
        let range = elements(map, at, storage)?;
        at = range.end;
        if storages.insert(key, Content::Stored(range)).is_some() {
            return Err(format!("it has two storages {}", shortened(key)));
        }
    }
    Ok(storages)
}

/// Where the elements of a storage stand whose number stands `at` this byte.
fn elements(map: &[u8], at: usize, storage: &Storage<'_>) -> Result<Range<usize>, String> {
    let Storage { dtype, key, elements } = storage;
    let what = || format!("storage {} of {elements} elements of {dtype}", shortened(key));
    let count = map.get(at..).and_then(|rest| rest.first_chunk()).map(|&bytes| u64::from_le_bytes(bytes));
    let start = at + 8;
    let end = elements.checked_mul(dtype.bitsize() / 8).and_then(|bytes| start.checked_add(bytes));
    match (count, end.filter(|&end| end <= map.len())) {
        (Some(count), _) if count != *elements as u64 => Err(format!("{} says that it has {count}", what())),
        (Some(_), Some(end)) => Ok(start..end),
        _ => Err(format!(
            "{} should begin at byte {at}, but the file ends at byte {}: it is truncated",
            what(),
            map.len()
        )),
    }
}
