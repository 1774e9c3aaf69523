//! Where tests find real weights and pictures.

use std::path::{Path, PathBuf};

/// The file or folder `name` in the folder of test data: `SVERTKA_DATA`, else `../shared/data` beside the crate.
/// `None`, with a message that the test skips, where it is absent.
pub fn shared(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("SVERTKA_DATA").map_or_else(beside, PathBuf::from).join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is absent (SVERTKA_DATA names the folder of test data)", path.display());
    None
}
