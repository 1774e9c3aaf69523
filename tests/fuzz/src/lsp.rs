//! The language server: random edits of a text, and what there is to ask of it.

use crate::mutate::Random;
use crate::session;

/// Longer texts take a server long, twice.
const MOST: usize = 4096;
const EDITS: usize = 8;

/// The edits follow from the text.
///
/// # Panics
/// If a request fails because of a defect, or is answered otherwise than by a server that has seen the last text only.
pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]);
    let seed = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let mut random = Random::new(seed);
    session::edit(text.into_owned(), EDITS, &mut |n| random.below(n));
}
