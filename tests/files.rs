//! Files as people have them: weight files and pictures, whole, of other kinds, and damaged.

use assert_cmd::Command;
use std::path::{Path, PathBuf};
use svertka::io::IoError;
use svertka::io::card::Card;
use svertka::io::images::{self, Picture};
use svertka::io::npy;
use svertka::io::weights::WeightFile;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Runs the small model of the weight files here with these arguments, and gives exit code, what was written to
/// `--output`, and standard error.
fn run(arguments: &[&str]) -> (Option<i32>, Vec<u8>, String) {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("y.npy");
    let mut command = Command::cargo_bin("svertka").unwrap();
    command.current_dir(data("weights")).args(["run", "m.cnn", "--input", "x.npy", "--engine", "interp", "--output"]);
    let done = command.arg(&output).args(arguments).output().unwrap();
    let error = String::from_utf8(done.stderr).unwrap();
    (done.status.code(), std::fs::read(&output).unwrap_or_default(), error)
}

fn output_of(arguments: &[&str]) -> (Vec<u8>, String) {
    let (code, output, error) = run(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {error}");
    (output, error)
}

fn error_of(arguments: &[&str]) -> String {
    let (code, _, error) = run(arguments);
    assert_eq!(code, Some(1), "{arguments:?}: {error}");
    error
}

#[test]
fn every_checkpoint_gives_the_same_output() {
    let (expected, _) = output_of(&["--weights", "zip.pth"]);
    let files = [
        "legacy.pth",
        "python2.pth",
        "args_namespace.pth",
        "np_scalar.pth",
        "optim.pth",
        "device.pth",
        "defaultdict.pth",
        "extras_2.pth",
        "extras_3.pth",
        "extras_4.pth",
        "extras_5.pth",
        "extras_legacy_2.pth",
        "extras_legacy_3.pth",
        "extras_legacy_4.pth",
        "extras_legacy_5.pth",
        "rebuilt.pth",
    ];
    for file in files {
        let (output, error) = output_of(&["--weights", file]);
        assert_eq!((output == expected, error.as_str()), (true, ""), "{file}");
    }
}

#[test]
fn prefixes_come_off_in_every_format_with_a_note() {
    let mut outputs = Vec::new();
    for (file, note) in [
        ("prefix_module.safetensors", "without `module`"),
        ("prefix_model.safetensors", "without the prefix `model.`"),
        ("prefix__orig_mod.safetensors", "without `_orig_mod`"),
        ("prefix_model.pth", "without the prefix `model.`"),
        ("prefix__orig_mod.pth", "without `_orig_mod`"),
    ] {
        let (output, error) = output_of(&["--weights", file]);
        assert_eq!(error, format!("note: {file}: names are taken {note}\n"));
        outputs.push(output);
    }
    for file in ["model.safetensors.index.json", "wrap_ema.pth", "wrap_net.pth", "wrap_params_ema.pth"] {
        let (output, error) = output_of(&["--weights", file]);
        assert_eq!(error, "", "{file}");
        outputs.push(output);
    }
    outputs.dedup();
    assert_eq!(outputs.len(), 1, "all hold the same weights");
}

#[test]
fn one_of_several_dictionaries_is_chosen() {
    let (expected, _) = output_of(&["--weights", "zip.pth"]);
    assert_eq!(output_of(&["--weights", "two.pth", "--weights-key", "ema.module"]).0, expected);
    assert_ne!(output_of(&["--weights", "two.pth", "--weights-key", "model"]).0, expected);
    let error = error_of(&["--weights", "two.pth"]);
    let list = "    \"model\" (8 tensors)\n    \"ema.module\" (8 tensors)\n";
    let what = "it has 2 dictionaries of tensors; name one of them:";
    let help = "help: which one is said by --weights-key NAME\n";
    assert_eq!(error, format!("error: two.pth: {what}\n{list}{help}"));
    let error = error_of(&["--weights", "prefix_model.safetensors", "--weights-key", "model"]);
    assert!(error.contains("name none"), "{error}");
    let (code, _, error) = run(&["--weights-key", "model"]);
    assert_eq!((code, error.contains("give that with --weights")), (Some(2), true), "{error}");
}

#[test]
fn what_is_no_weight_file_is_named_with_the_way_out() {
    let folder = tempfile::tempdir().unwrap();
    let made: [(&str, &[u8], &str); 7] = [
        ("lfs.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 12345\n", "git lfs pull"),
        ("page.pth", b"<!DOCTYPE html><html>404</html>", "an HTML page"),
        ("x.onnx", b"\x08\x07\x12\x07pytorch", "ONNX, which is not read yet"),
        ("x.h5", b"\x89HDF\r\n\x1a\n\0\0\0\0", "HDF5, as Keras writes it"),
        ("x.pth.gz", b"\x1f\x8b\x08\0\0\0\0\0", "compressed by gzip; unpack it first"),
        ("empty.pth", b"", "it is empty"),
        ("config.json", b"{\"layers\": 3}", "weight_map"),
    ];
    for (name, content, expected) in made {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        let error = error_of(&["--weights", path.to_str().unwrap()]);
        assert!(error.contains(expected) && error.contains(name), "{error}");
    }
    let model = "torch.save(torch.load(FILE, weights_only=False)";
    for (name, expected) in [
        ("before_0_1_10.tar", "a tar archive of PyTorch before 0.1.10"),
        ("arrays.npz", "it is a NumPy archive (.npz)"),
        ("arrays.pkl", "it is a Python pickle, but not one of torch.save"),
        ("x.npy", "it is a NumPy array (.npy)"),
        (
            "whole_model.pth",
            &format!(
                "it holds a whole model (an object made by \"nets.Net\"), which only the program that saved it can load; there, save its state dict: {model}.state_dict(), ...)"
            ),
        ),
        ("whole_model_within.pth", &format!("{model}[\"model\"].state_dict(), ...)")),
        ("whole_model_legacy.pth", "it holds a whole model (an object made by \"nets.Net\")"),
        ("quantised.pth", "d.weight: an object made by \"torch._utils._rebuild_qtensor\""),
    ] {
        let error = error_of(&["--weights", name]);
        assert!(error.contains(expected), "{name}: {error}");
    }
}

/// The colour at the middle of each quarter: above left, above right, below left, below right.
fn quarters(picture: &Picture) -> [[u8; 3]; 4] {
    let (width, height) = (picture.width(), picture.height());
    [(1, 1), (3, 1), (1, 3), (3, 3)].map(|(x, y)| {
        let at = (y * height / 4 * width + x * width / 4) * picture.channels();
        std::array::from_fn(|channel| picture.pixels()[at + channel.min(picture.channels() - 1)])
    })
}

const COLOURS: [[u8; 3]; 4] = [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]];

fn assert_upright(name: &str, tolerance: u8) {
    let picture = images::read(&data("pictures").join(name)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!((picture.width(), picture.height(), picture.channels()), (32, 16, 3), "{name}");
    let found = quarters(&picture);
    let off = found.as_flattened().iter().zip(COLOURS.as_flattened()).map(|(a, b)| a.abs_diff(*b)).max();
    assert!(off <= Some(tolerance), "{name}: {found:?}");
}

#[test]
fn pictures_are_turned_upright() {
    for orientation in 1..=8 {
        assert_upright(&format!("orientation_{orientation}.jpg"), 3);
        assert_upright(&format!("orientation_{orientation}.png"), 0);
    }
    assert_upright("orientation_last.png", 0);
}

#[test]
fn a_turned_digit_is_read() {
    let mut command = Command::cargo_bin("svertka").unwrap();
    let picture = |name: &str| data("pictures").join(name);
    command.current_dir(env!("CARGO_MANIFEST_DIR")).args(["run", "models/lenet5.cnn", "--engine", "interp", "--input"]);
    let done = command.args(["upright.jpg", "exif3.jpg", "exif8.jpg"].map(picture)).output().unwrap();
    let out = String::from_utf8(done.stdout).unwrap();
    let classes: Vec<&str> = out.lines().filter_map(|line| line.split_whitespace().nth(1)).collect();
    assert_eq!(classes, ["7"; 3], "{out}");
}

#[test]
fn pictures_of_other_kinds_are_read_or_named() {
    assert_upright("palette.png", 0);
    assert_upright("progressive.jpg", 3);
    assert_upright("cmyk.jpg", 3);
    let grey = |name: &str| {
        let picture = images::read(&data("pictures").join(name)).unwrap();
        assert_eq!(picture.channels(), 1, "{name}");
        picture.pixels()[0]
    };
    assert_eq!((grey("grey_16.png"), grey("bilevel.png")), (128, 255));
    // Red, the first colour of the palette, is transparent, and transparent pixels are black.
    let transparent = images::read(&data("pictures/palette_transparent.png")).unwrap();
    assert_eq!(transparent.channels(), 3);
    for (name, kind) in [("webp", "a WebP"), ("gif", "a GIF"), ("bmp", "a BMP"), ("tiff", "a TIFF")] {
        let error = images::read(&data("pictures").join(format!("picture.{name}"))).unwrap_err().to_string();
        assert!(error.ends_with(&format!("it is {kind} picture, neither PNG nor JPEG")), "{error}");
    }
}

/// Reads a file and says whether it could be.
type Reader = fn(&Path) -> bool;

/// A small file of every format that is read, and how it is read.
fn formats() -> [(&'static str, Reader); 16] {
    [
        ("weights/prefix_model.safetensors", weights),
        ("weights/rebuilt.pth", weights),
        ("weights/two.pth", |path| read_all(WeightFile::open_dictionary(path, Some("ema.module")))),
        ("weights/extras_2.pth", weights),
        ("weights/extras_4.pth", weights),
        ("weights/legacy.pth", weights),
        ("weights/python2.pth", weights),
        ("weights/extras_legacy_5.pth", weights),
        ("weights/model.safetensors.index.json", weights),
        ("weights/x.npy", |path| npy::read(path).is_ok()),
        ("weights/arrays.npz", |path| npy::read_npz(path, None).is_ok()),
        ("pictures/palette_transparent.png", picture),
        ("pictures/orientation_last.png", picture),
        ("pictures/orientation_6.jpg", picture),
        ("pictures/progressive.jpg", picture),
        ("../../models/lenet5.yaml", |path| Card::read(path).is_ok()),
    ]
}

fn weights(path: &Path) -> bool {
    read_all(WeightFile::open(path))
}

/// Reads all tensors of a weight file that could be opened.
fn read_all(file: Result<WeightFile, IoError>) -> bool {
    let Ok(file) = file else { return false };
    for name in file.names() {
        if let Ok(values) = file.read(&name) {
            assert_eq!(values.len(), file.shape(&name).unwrap().iter().product::<usize>(), "{name}");
        }
        file.release(&name);
    }
    true
}

fn picture(path: &Path) -> bool {
    let Ok(picture) = images::read(path) else { return false };
    assert_eq!(picture.pixels().len(), picture.width() * picture.height() * picture.channels());
    true
}

/// A folder in which damaged files are put, beside the files that an index names.
fn workplace() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] {
        std::fs::copy(data("weights").join(part), folder.path().join(part)).unwrap();
    }
    folder
}

/// Writes a new file: to write over one a thousand times takes a hundred times as long on ext4.
fn put(path: &Path, bytes: &[u8]) {
    let _ = std::fs::remove_file(path);
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn truncation_at_every_byte_is_an_error() {
    let folder = workplace();
    let path = folder.path().join("cut");
    for (name, read) in formats() {
        let bytes = std::fs::read(data(name)).unwrap();
        put(&path, &bytes);
        assert!(read(&path), "{name}");
        // A picture may lack what stands behind its pixels, and most of a JPEG; a card ends with any of its lines.
        let must_fail = if name.starts_with("weights/") { bytes.len() } else { 0 };
        for length in 0..bytes.len() {
            put(&path, &bytes[..length]);
            assert!(!read(&path) || length >= must_fail, "{name}: {length} bytes");
        }
    }
}

/// Marsaglia's xorshift: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % limit.max(1)
    }
}

/// Damages a file in one of the ways in which files are damaged or forged. `others` are pieced in.
fn damage(bytes: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    let at = random.below(bytes.len());
    match random.below(8) {
        _ if bytes.is_empty() => bytes.push(random.below(256) as u8),
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.below(256) as u8,
        2 => bytes[at] = bytes[at].wrapping_add([1, 255][random.below(2)]),
        3 => bytes.truncate(at),
        4 => drop(bytes.remove(at)),
        5 => bytes.insert(at, [0, 1, 0x7f, 0x80, 0xff, b'(', b'R', b'.'][random.below(8)]),
        6 => {
            let number = [0, 1, u32::MAX, i32::MAX as u32, 1 << 31, 1 << 20][random.below(6)].to_le_bytes();
            let end = bytes.len().min(at + 4);
            bytes[at..end].copy_from_slice(&number[..end - at]);
        }
        _ => {
            let other = &others[random.below(others.len())];
            let start = random.below(other.len());
            let part = &other[start..other.len().min(start + 1 + random.below(64))];
            let end = bytes.len().min(at + random.below(2) * part.len());
            bytes.splice(at..end, part.iter().copied());
        }
    }
}

/// Damaged files of every format are errors or values, never panics. `SVERTKA_DAMAGES` sets how many of each format.
#[test]
fn damaged_files_never_panic() {
    let rounds = std::env::var("SVERTKA_DAMAGES").map_or(2000, |rounds| rounds.parse().unwrap());
    let folder = workplace();
    let path = folder.path().join("damaged");
    let files: Vec<Vec<u8>> = formats().iter().map(|(name, _)| std::fs::read(data(name)).unwrap()).collect();
    let mut random = Random(0x5eed_5eed_5eed_5eed);
    for ((name, read), original) in formats().into_iter().zip(&files) {
        let mut reads = 0;
        for round in 0..rounds {
            let mut bytes = original.clone();
            for _ in 0..=random.below(4) {
                damage(&mut bytes, &files, &mut random);
            }
            put(&path, &bytes);
            match std::panic::catch_unwind(|| read(&path)) {
                Ok(is_read) => reads += usize::from(is_read),
                Err(_) => {
                    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("damaged");
                    std::fs::write(&kept, &bytes).unwrap();
                    panic!("round {round} of {name}: see {}", kept.display());
                }
            }
        }
        assert!(rounds < 1000 || reads > 0, "{name}: no damaged file was read, so little of the reader was tried");
    }
}
