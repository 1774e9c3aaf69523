//! The safetensors format: a JSON header, then the values, mapped into memory.

use super::IoError;
use super::weights::Tensors;
use ::safetensors::tensor::{Dtype, Metadata, TensorInfo};
use ::safetensors::{SafeTensorError, SafeTensors};
use half::{bf16, f16};
use memmap2::Mmap;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

const FORMAT: &str = "safetensors";

/// Real headers take about 100 bytes a tensor; the parser needs many times a header's length.
const MAX_HEADER_BYTES: u64 = 16 << 20;

/// Bytes of the little-endian header length at the start of the file.
const PREFIX: usize = 8;

/// Whether a file that starts with these bytes can be one: the length of the header, then its brace.
pub(super) fn begins(start: &[u8]) -> bool {
    start.get(8) == Some(&b'{')
}

pub(super) struct File {
    map: Mmap,
    /// Its offsets lie inside the map: checked by [`SafeTensors::read_metadata`].
    header: Metadata,
    values_start: usize,
}

impl File {
    pub(super) fn read(path: &Path, map: Mmap) -> Result<File, IoError> {
        let length = map.len() as u64;
        check_length(path, &map, length)?;
        let (header_bytes, header) = SafeTensors::read_metadata(&map).map_err(|error| explain(path, error, length))?;
        Ok(File { map, header, values_start: PREFIX + header_bytes })
    }

    /// Where the values are in the file.
    fn bytes(&self, info: &TensorInfo) -> Range<usize> {
        let (start, end) = info.data_offsets;
        self.values_start + start..self.values_start + end
    }
}

impl Tensors for File {
    fn names(&self) -> Vec<String> {
        self.header.offset_keys()
    }

    fn find(&self, name: &str) -> Option<(&[usize], Dtype)> {
        self.header.info(name).map(|info| (&info.shape[..], info.dtype))
    }

    fn values(&self, name: &str) -> Option<Cow<'_, [f32]>> {
        let info = self.header.info(name)?;
        floats(info.dtype, &self.map[self.bytes(info)])
    }

    fn integers(&self, name: &str) -> Option<Vec<i32>> {
        let info = self.header.info(name)?;
        integers(info.dtype, &self.map[self.bytes(info)])
    }

    fn halves(&self, name: &str) -> Option<Cow<'_, [u16]>> {
        let info = self.header.info(name)?;
        halves(info.dtype, &self.map[self.bytes(info)])
    }

    fn release(&self, name: &str) {
        self.header.info(name).into_iter().for_each(|info| forget(&self.map, self.bytes(info)));
    }

    fn metadata(&self) -> Option<&HashMap<String, String>> {
        self.header.metadata().as_ref()
    }
}

/// Lets the system take back the memory of a part of a mapped file; it is read from the file again when it is touched.
pub(super) fn forget(map: &Mmap, bytes: Range<usize>) {
    // SAFETY: the map is a read-only map of a file, of which no page was written: it gives the same bytes as before.
    #[cfg(unix)]
    let _ = unsafe { map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
    #[cfg(not(unix))]
    let _ = (map, bytes);
}

/// Little-endian elements as f32, or `None` where their type is not one of the floating-point types taken.
pub(super) fn floats(dtype: Dtype, bytes: &[u8]) -> Option<Cow<'_, [f32]>> {
    match dtype {
        Dtype::F32 => Some(match bytemuck::try_cast_slice(bytes) {
            Ok(values) if cfg!(target_endian = "little") => Cow::Borrowed(values),
            _ => super::decode(bytes, f32::from_le_bytes).into(),
        }),
        Dtype::F16 => Some(super::decode(bytes, |b| f16::from_le_bytes(b).to_f32()).into()),
        Dtype::BF16 => Some(super::decode(bytes, |b| bf16::from_le_bytes(b).to_f32()).into()),
        Dtype::F64 => Some(super::decode(bytes, |b| f64::from_le_bytes(b) as f32).into()),
        _ => None,
    }
}

/// The bits of little-endian elements of 16 bits.
pub(super) fn halves(dtype: Dtype, bytes: &[u8]) -> Option<Cow<'_, [u16]>> {
    if !matches!(dtype, Dtype::F16 | Dtype::BF16) {
        return None;
    }
    Some(match bytemuck::try_cast_slice(bytes) {
        Ok(bits) if cfg!(target_endian = "little") => Cow::Borrowed(bits),
        _ => super::decode(bytes, u16::from_le_bytes).into(),
    })
}

/// Little-endian whole numbers, or `None` where their type is not one of those taken.
pub(super) fn integers(dtype: Dtype, bytes: &[u8]) -> Option<Vec<i32>> {
    match dtype {
        Dtype::I8 => Some(bytes.iter().map(|&byte| i32::from(byte as i8)).collect()),
        Dtype::U8 => Some(bytes.iter().map(|&byte| i32::from(byte)).collect()),
        Dtype::I32 => Some(super::decode(bytes, i32::from_le_bytes)),
        _ => None,
    }
}

/// Checks the header's length first, so that the message can give both numbers.
fn check_length(path: &Path, map: &[u8], length: u64) -> Result<(), IoError> {
    let Some(prefix) = map.first_chunk::<PREFIX>() else {
        return Err(IoError::malformed(path, FORMAT, format!("it ends after {length} bytes, before its header")));
    };
    let header = u64::from_le_bytes(*prefix);
    if header > length - PREFIX as u64 {
        let reason = format!("its header should take {header} bytes, but the file has {length} bytes in all");
        return Err(IoError::malformed(path, FORMAT, reason));
    }
    if header > MAX_HEADER_BYTES {
        let (what, unit) = ("header", "bytes");
        return Err(IoError::TooLarge { path: path.to_owned(), what, unit, found: header, limit: MAX_HEADER_BYTES });
    }
    Ok(())
}

fn explain(path: &Path, error: SafeTensorError, length: u64) -> IoError {
    let reason = match error {
        SafeTensorError::InvalidOffset(name) => {
            format!("the values of tensor {name:?} overlap those of another one or leave a gap")
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            format!("its {length} bytes are not what the header declares: it is truncated or has bytes at the end")
        }
        SafeTensorError::TensorInvalidInfo => "a tensor's shape and type do not fill its byte range".to_owned(),
        other => other.to_string(),
    };
    IoError::malformed(path, FORMAT, reason)
}
