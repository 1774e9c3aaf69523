//! Packed weights that are kept in files.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use svertka::codegen::Isa;
use svertka::io::weights::WeightFile;
use svertka::quant;
use svertka::runtime::{Engine, Options};
use svertka::tensor::Half;
use svertka::{Error, Model, Tensor, Weights};

const MODEL: &str = "models/lenet5.cnn:relu";
const WEIGHTS: &str = "models/weights/lenet5_relu.safetensors";

/// A folder for packed weights, which is not there yet, beside a weight file that was written just now.
struct Kept {
    folder: tempfile::TempDir,
}

impl Kept {
    fn new() -> Kept {
        let kept = Kept { folder: tempfile::tempdir().unwrap() };
        kept.write(&fs::read(WEIGHTS).unwrap());
        kept
    }

    fn weights(&self) -> PathBuf {
        self.folder.path().join("w.safetensors")
    }

    fn write(&self, bytes: &[u8]) {
        fs::write(self.weights(), bytes).unwrap();
    }

    fn packed(&self) -> PathBuf {
        self.folder.path().join("kept").join("packed")
    }

    /// The packed files, with what tells one file from another one of the same name.
    fn files(&self) -> Vec<(PathBuf, u64)> {
        let entries = fs::read_dir(self.packed()).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> = entries.map(|entry| (entry.path(), entry.metadata().unwrap().ino())).collect();
        files.sort();
        files
    }

    /// With weights that were written long ago.
    fn run(&self, options: &Options) -> Vec<f32> {
        run(&Weights::file(WEIGHTS).packed_in(self.packed()), options)
    }
}

fn run(weights: &Weights, options: &Options) -> Vec<f32> {
    try_run(weights, options).unwrap()
}

fn try_run(weights: &Weights, options: &Options) -> Result<Vec<f32>, Error> {
    let mut session = Model::open(MODEL)?.compile(weights, options)?;
    let input = Tensor::new([2, 1, 28, 28], (0..2 * 784).map(|i| (i as f32 * 0.37).sin()).collect());
    Ok(session.run(&[input])?.remove(0).into_data())
}

#[test]
fn weights_that_are_kept_packed_give_the_same_bits() {
    let engines = Isa::available().into_iter().map(Engine::Jit).chain([Engine::Portable]);
    let kept = Kept::new();
    let mut files = 0;
    for engine in engines.chain([Engine::Emulated(Isa::Avx2)]) {
        let options = Options { engine, ..Options::default() };
        let expected = run(&Weights::file(WEIGHTS), &options);
        assert_eq!(kept.run(&options), expected, "{engine:?}: packed now");
        let found = kept.files();
        files = files.max(found.len());
        for threads in [1, 2] {
            assert_eq!(kept.run(&Options { threads, ..options }), expected, "{engine:?}: packed before");
        }
        assert_eq!(kept.files(), found, "nothing is written again");
    }
    assert!(files > 1, "each instruction set has a file of its own");
}

/// Files are written, and their sums made, in pieces of 4 MiB.
#[test]
fn files_of_several_pieces_are_found_again() {
    let kept = Kept::new();
    let model = Model::parse("model m\ninput x: f32[N, 1111]\nnet { a: dense 1203 | b: dense 999 }").unwrap();
    let x = Tensor::new([1, 1111], (0..1111).map(|i| (i as f32 * 0.37).sin()).collect());
    let run = |weights: Weights, threads| {
        let mut session = model.compile(&weights, &Options { threads, ..Options::default() }).unwrap();
        session.run(std::slice::from_ref(&x)).unwrap().remove(0).into_data()
    };
    let expected = run(Weights::random(1), 1);
    let mut found = Vec::new();
    for threads in [1, 1, 2, 3] {
        assert_eq!(run(Weights::random(1).packed_in(kept.packed()), threads), expected);
        found.push(kept.files());
    }
    assert!(fs::metadata(&found[0][0].0).unwrap().len() > 2 << 22);
    assert!(found.windows(2).all(|two| two[0] == two[1]), "nothing is written again");
}

/// Sums are made in another way of few bytes, and of several pieces by several threads.
#[test]
fn damage_is_found_in_small_files_and_in_each_piece_of_large_ones() {
    let few = "model m\ninput x: f32[N, 1]\nnet { a: scale }";
    let many = "model m\ninput x: f32[N, 1111]\nnet { a: dense 1203 | b: dense 999 }";
    for (text, bytes, stride) in [(few, 64..=240, 8), (many, (2 << 22)..=(3 << 22), 1 << 21)] {
        let kept = Kept::new();
        let (model, weights) = (Model::parse(text).unwrap(), Weights::random(1).packed_in(kept.packed()));
        // Packed without wide blocks of channels.
        let options = Options { engine: Engine::Portable, ..Options::default() };
        let compile = |threads| model.compile(&weights, &Options { threads, ..options }).map(drop).unwrap();
        compile(1);
        let (path, _) = kept.files().remove(0);
        let whole = fs::read(&path).unwrap();
        assert!(bytes.contains(&(whole.len() - 64)), "{}", whole.len());
        for (at, threads) in (64..whole.len()).step_by(stride).zip([1, 2, 3].into_iter().cycle()) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            fs::write(&path, damaged).unwrap();
            compile(threads);
            assert!(fs::read(&path).unwrap() == whole, "byte {at} of {}, {threads} threads", whole.len());
        }
    }
}

#[test]
fn files_that_are_not_whole_are_made_anew() {
    let kept = Kept::new();
    let options = Options::default();
    let expected = kept.run(&options);
    let [(path, _)] = &kept.files()[..] else { panic!("one file") };
    let whole = fs::read(path).unwrap();
    let changed = |at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        bytes
    };
    let flips = (0..64).chain((64..whole.len()).step_by(1 + whole.len() / 50)).map(changed);
    let others = [vec![], whole[..whole.len() - 1].to_vec(), [&whole[..], &[0]].concat(), vec![0; whole.len()]];
    for bytes in flips.chain(others) {
        fs::write(path, &bytes).unwrap();
        assert_eq!(kept.run(&options), expected);
        assert!(fs::read(path).unwrap() == whole, "it is whole again");
    }
}

#[test]
fn other_weights_are_not_taken_for_these() {
    let kept = Kept::new();
    let (options, trained) = (Options::default(), fs::read(WEIGHTS).unwrap());
    // The same names and sizes, another value.
    let mut other = trained.clone();
    let last = other.len() - 2;
    other[last] ^= 0x40;
    let expected = kept.run(&options);
    for (bytes, same) in [(&trained, true), (&other, false), (&trained, true)] {
        kept.write(bytes);
        let found = run(&Weights::file(kept.weights()).packed_in(kept.packed()), &options);
        assert_eq!(found == expected, same);
        assert_eq!(found, run(&Weights::file(kept.weights()), &options));
    }
    let random = |seed| run(&Weights::random(seed).packed_in(kept.packed()), &options);
    assert_ne!(random(1), random(2));
    assert_eq!(random(1), run(&Weights::random(1), &options));
}

/// What is made of the same weights.
#[test]
fn other_models_of_the_same_weights_are_not_taken_for_these() {
    let kept = Kept::new();
    let weights = kept.folder.path().join("bn.safetensors");
    let names = ["c.weight", "b.weight", "b.bias", "b.running_mean", "b.running_var"];
    let lengths = [2 * 9, 2, 2, 2, 2];
    let (mut header, mut values) = (Vec::new(), Vec::new());
    for (name, length) in names.iter().zip(lengths) {
        let shape = if length > 2 { "[2,1,3,3]" } else { "[2]" };
        let start = values.len() * 4;
        header.push(format!(
            r#""{name}":{{"dtype":"F32","shape":{shape},"data_offsets":[{start},{}]}}"#,
            start + length * 4
        ));
        values.extend((0..length).map(|i| 0.1 + i as f32 * 0.01));
    }
    let header = format!("{{{}}}", header.join(","));
    let bytes: Vec<u8> = values.iter().flat_map(|v: &f32| v.to_le_bytes()).collect();
    fs::write(&weights, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &bytes].concat()).unwrap();
    let text = |behind: &str| format!("model m\ninput x: f32[N, 1, 6, 6]\nnet {{ c: conv 3x3, 2 | b: bn{behind} }}");
    let run = |behind: &str, weights: Weights| {
        let model = Model::parse(&text(behind)).unwrap();
        let mut session = model.compile(&weights, &Options::default()).unwrap();
        session.run(&[Tensor::new([1, 1, 6, 6], (0..36).map(|i| i as f32).collect())]).unwrap().remove(0).into_data()
    };
    let mut seen: Vec<Vec<f32>> = Vec::new();
    for behind in ["", " eps 0.1", " | affine 2", " | affine 3", " | affine 3, 1"] {
        let plain = run(behind, Weights::file(&weights));
        assert_eq!(run(behind, Weights::file(&weights).packed_in(kept.packed())), plain, "{behind}");
        assert!(!seen.contains(&plain), "{behind}");
        seen.push(plain);
    }
}

#[test]
fn no_threads_are_an_error() {
    let kept = Kept::new();
    let weights = Weights::file(kept.weights()).packed_in(kept.packed());
    let error = try_run(&weights, &Options { threads: 0, ..Options::default() }).unwrap_err().to_string();
    assert!(error.contains("at least one is needed"), "{error}");
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let kept = Kept::new();
    let file = kept.weights().join("packed");
    let weights = Weights::file(kept.weights()).packed_in(&file);
    let error = try_run(&weights, &Options::default()).unwrap_err().to_string();
    assert!(error.contains("w.safetensors") && error.contains("packed"), "{error}");
}

#[test]
fn the_limit_holds_for_weights_that_are_mapped() {
    let kept = Kept::new();
    let run = |memory_limit| {
        try_run(
            &Weights::file(kept.weights()).packed_in(kept.packed()),
            &Options { memory_limit, ..Options::default() },
        )
    };
    run(1 << 30).unwrap();
    let error = run(100_000).unwrap_err().to_string();
    assert!(error.contains("above the limit of 100000 bytes"), "{error}");
    assert!(Path::new(&kept.files()[0].0).is_file());
}

/// Weights that a file has in 16 bits stay so, in memory and in kept files, and give the bits that the same numbers give in
/// f32. Files of several types, and of the format of PyTorch, are told apart by what they hold.
#[test]
fn weights_of_16_bits_stay_so() {
    let model =
        Model::parse("model m\ninput x: f32[N, 700]\nnet { fc: dense 900, bias | relu | end: dense 3 }\n").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let inputs = [Tensor::new([5, 700], (0..3500).map(|i| (i as f32 * 0.37).sin()).collect())];
    let random = model.bind(&Weights::random(3)).unwrap();
    for stored_as in [Half::F16, Half::Bf16] {
        let (stored, _) = quant::halve(model.graph(), &random, stored_as).unwrap();
        let path = folder.path().join("half.safetensors");
        quant::write(&path, &stored, None).unwrap();
        let file = WeightFile::open(&path).unwrap();
        let wide = stored.iter().map(|(name, _, dims, _)| {
            let values = file.read(name).unwrap().into_owned();
            (name.clone(), Tensor::new(dims.clone(), values))
        });
        let wide = Weights::tensors(wide.collect::<Vec<_>>());
        let half = Weights::file(&path);
        for engine in Isa::available().into_iter().map(Engine::Jit).chain([Engine::Portable]) {
            let options = Options { engine, ..Options::default() };
            let [mut wide, mut half, mut kept] = [&wide, &half, &half.clone().packed_in(folder.path().join("kept"))]
                .map(|weights| model.compile(weights, &options).unwrap());
            let saved = wide.constant_bytes() - half.constant_bytes();
            let widens = engine.target().isa.widens(stored_as);
            assert_eq!(saved >= 700 * 900 * 2, widens, "{engine:?}: {saved} bytes are saved");
            let expected = wide.run(&inputs).unwrap();
            for session in [&mut half, &mut kept] {
                assert_eq!(session.run(&inputs).unwrap(), expected, "{engine:?}");
            }
        }
    }
}
