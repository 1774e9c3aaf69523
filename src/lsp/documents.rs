//! The texts that are open in the editor, and the names under which files are known.

use super::position::{Encoding, Lines};
use crate::front::text::build::Loader;
use crate::model::FolderLoader;
use gen_lsp_types::{TextDocumentContentChangeEvent, Uri};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// `text` after a change of it.
pub fn changed(text: &str, change: TextDocumentContentChangeEvent, encoding: Encoding) -> String {
    match change {
        TextDocumentContentChangeEvent::TextDocumentContentChangeWholeDocument(whole) => whole.text,
        TextDocumentContentChangeEvent::TextDocumentContentChangePartial(part) => {
            let lines = Lines::of(text);
            let [start, end] = [part.range.start, part.range.end].map(|place| lines.offset(text, place, encoding));
            let end = end.max(start);
            [&text[..start], &part.text, &text[end..]].concat()
        }
    }
}

/// The path of a file; `None` for what is in none, such as a text that was never saved.
pub fn path_of(uri: &Uri) -> Option<PathBuf> {
    let path = uri.as_ref().strip_prefix("file://")?;
    let path = &path[path.find('/')?..];
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((&byte, behind)) = rest.split_first() {
        let escaped = (byte == b'%').then(|| behind.get(..2)).flatten().and_then(|hex| std::str::from_utf8(hex).ok());
        match escaped.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[2..];
            }
            None => {
                bytes.push(byte);
                rest = behind;
            }
        }
    }
    let path = String::from_utf8(bytes).ok()?;
    // On Windows: `/c:/models`.
    let drive = path.as_bytes().get(2) == Some(&b':') && cfg!(windows);
    Some(PathBuf::from(if drive { &path[1..] } else { &path }))
}

pub fn uri_of(path: &Path) -> Uri {
    let mut uri = String::from("file://");
    let path = path.to_string_lossy().replace('\\', "/");
    if !path.starts_with('/') {
        uri.push('/');
    }
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => uri.push(char::from(byte)),
            _ => uri.push_str(&format!("%{byte:02X}")),
        }
    }
    Uri(uri)
}

/// The texts of open files by their paths, as they were at some moment, under the names that the editor has for them.
pub type Open = Arc<HashMap<PathBuf, (Uri, Arc<str>)>>;

/// Loads files from the folder of a model, those that are open as they are in the editor.
pub struct OpenLoader {
    pub open: Open,
    pub folder: PathBuf,
    pub disk: FolderLoader,
}

impl Loader for OpenLoader {
    fn load(&mut self, path: &str) -> Result<String, String> {
        match self.open.get(&self.folder.join(path)) {
            Some((_, text)) => Ok(text.to_string()),
            None => self.disk.load(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_escaped_and_back() {
        let path = Path::new("/tmp/a b/\u{441}%.cnn");
        let uri = uri_of(path);
        assert_eq!(uri.as_ref(), "file:///tmp/a%20b/%D1%81%25.cnn");
        assert_eq!(path_of(&uri).as_deref(), Some(path));
        assert_eq!(path_of(&Uri("file://host/a%2".into())).as_deref(), Some(Path::new("/a%2")));
        assert_eq!(path_of(&Uri("untitled:1".into())), None);
    }
}
