//! The files that come along, as an editor can open them: written to the user's folder for caches when one looks at them.

use crate::io::write::{cache_folder, create_folder, write_atomically};
use crate::model::zoo;
use gen_lsp_types::Uri;
use std::path::PathBuf;

use super::documents::uri_of;

/// Where a file is to be found.
pub fn uri(file: &str) -> Uri {
    path(file).map_or_else(|| Uri(format!("{}:{file}", zoo::ZOO)), |path| uri_of(&path))
}

/// Writes a file, and those that it uses, where they are not there already.
///
/// # Errors
/// Where the folder for caches cannot be written, in words.
pub fn write(file: &str) -> Result<(), String> {
    let text = zoo::text_of(file).ok_or("there is no such file in the zoo")?;
    for (file, text) in [(file, text)].into_iter().chain(zoo::used(text)) {
        let path = path(file).ok_or("there is no home folder")?;
        if std::fs::read_to_string(&path).is_ok_and(|known| known == text) {
            continue;
        }
        let written = create_folder(path.parent().expect("it lies in a folder"));
        let written = written.and_then(|()| write_atomically(&path, |out| out.write_all(text.as_bytes())));
        written.map_err(|error| error.to_string())?;
    }
    Ok(())
}

fn path(file: &str) -> Option<PathBuf> {
    Some(cache_folder()?.join(zoo::ZOO).join(file))
}
