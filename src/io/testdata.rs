//! Where tests find real weights and pictures: committed ones, and others that are too large for that.
//!
//! Tests that need the latter say `#[cfg_attr(not(test_data), ignore = "needs the test data")]`; the build script sets the
//! condition. So they are counted as ignored where the data are absent, and none passes by not running.

use std::path::{Path, PathBuf};

/// The file or folder `name` among the committed data.
pub fn committed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// The file or folder `name` in the folder of large test data: `SVERTKA_DATA`, else `../shared/data` beside the crate.
///
/// # Panics
/// If it is absent.
pub fn shared(name: &str) -> PathBuf {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("SVERTKA_DATA").map_or_else(beside, PathBuf::from).join(name);
    assert!(path.exists(), "{} is absent (SVERTKA_DATA names the folder of large test data)", path.display());
    path
}
