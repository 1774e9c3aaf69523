//! Text files.

use super::IoError;
use std::io::Read;
use std::path::Path;

/// The longest model file, card or label file that is read, in bytes.
pub const MAX_TEXT_BYTES: u64 = 1 << 20;

/// Reads a UTF-8 file of at most [`MAX_TEXT_BYTES`], without the byte order mark that some editors put before it.
pub fn read(path: &Path) -> Result<String, IoError> {
    read_at_most(path, MAX_TEXT_BYTES)
}

/// Reads a UTF-8 file of at most `limit` bytes.
pub fn read_at_most(path: &Path, limit: u64) -> Result<String, IoError> {
    let (file, length): (Box<dyn Read>, u64) = match super::open_pipe(path)? {
        Some(pipe) => (pipe, 0),
        None => super::open(path).map(|(file, length)| (Box::new(file) as Box<dyn Read>, length))?,
    };
    let mut bytes = Vec::new();
    // One byte more than allowed shows a file that has grown since it was opened.
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(IoError::system(path, "read"))?;
    let found = length.max(bytes.len() as u64);
    if found > limit {
        return Err(too_large(path, found, limit));
    }
    decode(path, bytes)
}

/// The same of a file that holds `bytes`.
pub(super) fn of_bytes(path: &Path, bytes: &[u8], limit: u64) -> Result<String, IoError> {
    let found = bytes.len() as u64;
    if found > limit { Err(too_large(path, found, limit)) } else { decode(path, bytes.to_vec()) }
}

fn too_large(path: &Path, found: u64, limit: u64) -> IoError {
    IoError::TooLarge { path: path.to_owned(), what: "text", unit: "bytes", found, limit }
}

fn decode(path: &Path, bytes: Vec<u8>) -> Result<String, IoError> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(IoError::unsupported(path, "this text is UTF-16; save it as UTF-8"));
    }
    let mut text = String::from_utf8(bytes)
        .map_err(|error| IoError::NotUtf8 { path: path.to_owned(), offset: error.utf8_error().valid_up_to() })?;
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    Ok(text)
}

const BYTE_ORDER_MARK: char = '\u{feff}';

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), content).unwrap();
        file
    }

    #[test]
    fn reads_up_to_the_limit() {
        let text = file("свёртка".as_bytes());
        assert_eq!(read_at_most(text.path(), 14).unwrap(), "свёртка");
        let error = read_at_most(text.path(), 13).unwrap_err().to_string();
        assert_eq!(error, format!("{}: text is 14 bytes, the limit is 13", text.path().display()));
    }

    #[test]
    fn names_the_first_byte_that_is_not_utf8() {
        let error = read(file(b"conv\xff").path()).unwrap_err();
        assert!(matches!(error, IoError::NotUtf8 { offset: 4, .. }), "{error}");
    }

    #[test]
    fn a_byte_order_mark_is_no_text() {
        assert_eq!(read(file("\u{feff}a\u{feff}".as_bytes()).path()).unwrap(), "a\u{feff}");
        let utf16 = file(b"\xff\xfea\0");
        assert!(read(utf16.path()).unwrap_err().to_string().ends_with("this text is UTF-16; save it as UTF-8"));
    }

    #[test]
    fn refuses_what_is_not_a_regular_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read(folder.path()), Err(IoError::NotRegular { .. })));
        assert!(matches!(read(&folder.path().join("absent")), Err(IoError::System { action: "open", .. })));
        if cfg!(unix) {
            assert!(matches!(read(Path::new("/dev/zero")), Err(IoError::NotRegular { .. })));
        }
    }
}
