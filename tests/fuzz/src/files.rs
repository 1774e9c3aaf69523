//! Files of strangers: weights, arrays, pictures, cards.

use std::io::Write;
use std::path::Path;
use svertka::io::card::Card;
use svertka::io::images::{self, Picture};
use svertka::io::npy::{self, Array, ArrayData};
use svertka::io::preprocess::{Input, prepare};
use svertka::io::weights::WeightFile;
use tempfile::NamedTempFile;

/// Opcodes and globals of pickles, marks of zip archives.
#[rustfmt::skip]
pub const PICKLE: &[&str] = &[
    "PK\x01\x02", "PK\x03\x04", "PK\x05\x06", "PK\x06\x06", "archive/data.pkl", "archive/data/0", "archive/version",
    "ctorch._utils\n_rebuild_tensor_v2\n", "ctorch._utils\n_rebuild_parameter\n", "ctorch\nFloatStorage\n",
    "ccollections\nOrderedDict\n", "cbuiltins\nset\n", "X\x07\0\0\0storage", "X\x01\0\0\0w", "X\x03\0\0\0cpu", "}", "]", ")",
    "(", "t", "R", "Q", "q\0", "h\0", "u", "s", "e", ".", "\u{2}", "K\x01", "M\x01\x01", "J\x01\0\0\0", "\x07", "N", "2", "0",
];

#[rustfmt::skip]
pub const CARD: &[&str] = &[
    "weights: ", "labels: ", "preprocessing:\n", "  size: ", "  mean: [0.5]\n", "  std: [0]\n", "  scale: ", "variants:\n",
    "accuracy:\n", "  filter: nearest\n", "  layout: ", ": &a ", ": *a\n", "<<: *a\n", "!!binary ", "[4294967295, 1]",
    ".inf", ".nan", "-1", "1e309", "? ", "- ", "|\n", "{", "}", "[", "]", "\u{feff}",
];

/// Calls `f` with a file that holds these bytes.
fn with_file(bytes: &[u8], f: impl FnOnce(&Path)) {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(bytes).expect("it is written");
    f(file.path());
}

/// Every tensor of a weight file is read.
///
/// # Panics
/// If one has not as many values as its shape says.
pub fn weights(bytes: &[u8]) {
    with_file(bytes, |path| {
        let file = match WeightFile::open(path) {
            Ok(file) => file,
            Err(error) => return drop(error.to_string()),
        };
        for name in file.names() {
            let shape = file.shape(&name).expect("listed").to_vec();
            file.dtype(&name).expect("listed");
            match file.read(&name) {
                Ok(values) => assert_eq!(values.len(), shape.iter().product::<usize>(), "{name}"),
                Err(error) => drop(error.to_string()),
            }
            file.release(&name);
        }
    });
}

/// # Panics
/// If an array has not as many values as its shape says.
pub fn array(bytes: &[u8]) {
    with_file(bytes, |path| {
        for array in [npy::read(path), npy::read_npz(path, None), npy::read_npz(path, Some("x"))] {
            match array {
                Ok(array) => assert_eq!(len(&array), array.shape.iter().product::<usize>()),
                Err(error) => drop(error.to_string()),
            }
        }
    });
}

fn len(array: &Array) -> usize {
    match &array.data {
        ArrayData::F32(values) => values.len(),
        ArrayData::U8(values) => values.len(),
        ArrayData::I64(values) => values.len(),
    }
}

/// # Panics
/// If a picture has not as many values as its sizes say.
pub fn picture(bytes: &[u8]) {
    with_file(bytes, |path| match images::read(path) {
        Ok(picture) => {
            assert_eq!(picture.pixels().len(), picture.width() * picture.height() * picture.channels());
        }
        Err(error) => drop(error.to_string()),
    });
}

/// A card, and pictures prepared as it says.
pub fn card(bytes: &[u8]) {
    with_file(bytes, |path| {
        let card = match Card::read(path) {
            Ok(card) => card,
            Err(error) => return drop(error.to_string()),
        };
        card.weights_path();
        for how in [&card.preprocessing, &card.for_variant("small").preprocessing] {
            let picture = Picture::new(9, 7, 3, (0..9 * 7 * 3).collect());
            if let Err(error) = prepare(path, Input::Picture(picture), how, &[3, 8, 8], None) {
                error.to_string();
            }
        }
    });
}
