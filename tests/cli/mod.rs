//! The command line through the real binary.

mod arguments;
mod cards;
mod check;
#[cfg(unix)]
mod codes;
mod export;
mod folder;
mod machines;
mod products;
mod quantize;
mod sizes;
#[cfg(unix)]
mod started;
mod streams;
mod zoo;

use assert_cmd::Command;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use svertka::io::{npy, testdata};

fn svertka(args: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::cargo_bin("svertka").unwrap();
    // Without what the user's own machine was tuned to.
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("XDG_CACHE_HOME", cache).args(args);
    command
}

/// Runs it, checks the exit code, and gives standard output and standard error.
fn run(args: &[impl AsRef<OsStr> + std::fmt::Debug], code: i32) -> (String, String) {
    let output = svertka(args).output().unwrap();
    let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(code), "svertka {args:?}\n{out}\n{err}");
    (out, err)
}

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

/// Every engine and instruction set that this machine can run.
fn engines() -> Vec<Vec<&'static str>> {
    let isas = svertka::codegen::Isa::available();
    let names = ["clif", "avx2", "avx512"];
    let jit = names.into_iter().filter(|n| isas.iter().any(|i| i.to_string() == *n)).map(|n| vec!["--isa", n]);
    jit.chain([vec!["--engine", "portable"], vec!["--engine", "interp"]]).collect()
}

#[test]
fn reads_the_digit_in_a_picture() {
    for engine in engines() {
        for digit in 0..10 {
            let picture = format!("models/pictures/digit_{digit}.png");
            let args = [&["run", "models/lenet5.cnn", "--input", picture.as_str()], engine.as_slice()].concat();
            let (out, _) = run(&args, 0);
            let probability = out.trim().strip_prefix(&format!("digit_{digit}.png: {digit}  "));
            let probability: f32 = probability.unwrap_or_else(|| panic!("{engine:?}: {out}")).parse().unwrap();
            assert!((0.9..=1.0).contains(&probability), "{engine:?}: {out}");
        }
    }
}

const LENET: &str = "models/lenet5.cnn";
const SEVEN: &str = "models/pictures/digit_7.png";
/// What is printed of it.
const IS_SEVEN: &str = "digit_7.png: 7  0.9998\n";

#[test]
fn packed_weights_are_kept_in_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    let packed = folder.path().join("packed").display().to_string();
    let files = || std::fs::read_dir(&packed).unwrap().count();
    for _ in 0..2 {
        assert_eq!(run(&["run", LENET, "--input", SEVEN, "--packed", &packed], 0).0, IS_SEVEN);
        assert_eq!(files(), 1);
    }
    let bench = ["bench", LENET, "--packed", &packed, "--runs", "1", "--min-time", "0", "--engine", "portable"];
    run(&bench, 0);
    assert_eq!(files(), 2, "the portable engine packs in another order");
    let file = write(folder.path(), "file", "");
    let (_, err) = run(&["run", LENET, "--input", SEVEN, "--packed", &file], 1);
    assert!(err.contains(&file), "{err}");
}

#[test]
fn several_pictures_are_a_batch() {
    let (out, _) = run(
        &[
            "run",
            "models/lenet5.cnn:tanh",
            "--input",
            "models/pictures/digit_3.png",
            "models/pictures/digit_7.png",
            "--top",
            "2",
        ],
        0,
    );
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines.len(), 6, "{out}");
    assert_eq!((lines[0], lines[3]), ("digit_3.png:", "digit_7.png:"));
    assert!(lines[1].trim_start().starts_with('3') && lines[4].trim_start().starts_with('7'), "{out}");
}

#[test]
#[cfg_attr(not(test_data), ignore = "needs the test data")]
fn a_photograph_of_the_right_size_is_taken_as_it_is() {
    let weights = testdata::shared("imagenet/mobilenet_v2_imagenet.safetensors");
    let picture = testdata::shared("imagenet/chelsea_cat_224.png");
    let (weights, picture) = (weights.display().to_string(), picture.display().to_string());
    let (out, _) =
        run(&["run", "models/mobilenet_v2.cnn", "--weights", &weights, "--input", &picture, "--top", "5"], 0);
    let lines: Vec<Vec<&str>> = out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines.len(), 6, "{out}");
    assert_eq!(lines[1][..2], ["Egyptian", "cat"]);
    assert!((lines[1][2].parse::<f32>().unwrap() - 0.7166).abs() < 1e-4, "{out}");
}

/// Rows of a [200, 10] array whose largest element is at the label.
fn right(logits: &[f32], labels: &[u8]) -> usize {
    let best = |row: &[f32]| (0..10).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap() as u8;
    logits.chunks(10).zip(labels).filter(|(row, label)| best(row) == **label).count()
}

fn floats(path: &Path) -> (Vec<usize>, Vec<f32>) {
    let array = npy::read(path).unwrap();
    match array.data {
        npy::ArrayData::F32(values) => (array.shape, values),
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_hundred_digits_agree_with_the_reference_on_every_engine() {
    let data = testdata::committed("digits");
    let images = data.join("mnist_test200_images_u8.npy");
    let labels = match npy::read(&data.join("mnist_test200_labels.npy")).unwrap().data {
        npy::ArrayData::U8(labels) => labels,
        other => panic!("{other:?}"),
    };
    let folder = tempfile::tempdir().unwrap();
    for (model, weights, stem, expected_right) in [
        ("models/lenet5.cnn", "models/weights/lenet5_relu.safetensors", "lenet5_relu_maxpool", 199),
        ("models/lenet5.cnn:tanh", "models/weights/lenet5_tanh.safetensors", "lenet5_tanh_avgpool", 198),
    ] {
        let (_, expected) = floats(&data.join(format!("{stem}_mnist_test200_logits.npy")));
        let scale = expected.iter().fold(0f32, |m, x| m.max(x.abs()));
        for engine in engines() {
            let out = folder.path().join("out.npy").display().to_string();
            let input = images.display().to_string();
            let args = ["run", model, "--weights", weights, "--input", &input, "--output", &out];
            run(&[&args, engine.as_slice()].concat(), 0);
            let (shape, found) = floats(Path::new(&out));
            assert_eq!(shape, [200, 10]);
            let largest = found.iter().zip(&expected).fold(0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(largest <= 1e-5 * scale, "{model} {engine:?}: {largest} of {scale}");
            assert_eq!(right(&found, &labels), expected_right, "{model} {engine:?}");
        }
    }
}

#[test]
fn verbose_prints_the_times_up_to_ready() {
    let (_, err) = run(&["run", "models/lenet5.cnn", "--input", "models/pictures/digit_1.png", "-v"], 0);
    for part in ["parse and check", "generate code", "pack weights", "ready after", "run"] {
        assert!(err.contains(part), "{part}: {err}");
    }
}

#[test]
fn check_reports_every_error_of_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let net = |line: &str| format!("model m\ninput image: f32[N, 1, 8, 8]\nnet {{\n  {line}\n}}\n");
    let one = write(folder.path(), "one.cnn", net("c: konv 3x3, 4 | d: conv 3x3, 4, stride 0"));
    let two = write(folder.path(), "two.cnn", net("c: conv 9x9, 4"));
    let (_, err) = run(&["check", "models/lenet5.cnn:lenet5"], 1);
    assert!(err.contains("E0218") && err.contains("`relu` and `tanh`"), "{err}");
    let (out, _) = run(&["check", "models/lenet5.cnn:tanh", "zoo:resnet50"], 0);
    assert!(out.contains("models/lenet5.cnn:tanh: ok") && out.contains("zoo:resnet50: ok"), "{out}");
    let (out, err) = run(&["check", "models/lenet5.cnn", &one, &two], 1);
    assert!(out.contains("models/lenet5.cnn: ok"));
    for code in ["E0211", "E0216", "E0302"] {
        assert!(err.contains(code), "{code} in {err}");
    }
}

#[test]
fn check_warns_and_can_be_told_not_to() {
    let folder = tempfile::tempdir().unwrap();
    let model = "model m\ninput image: f32[N, 1, 9, 9]\nnet { conv: conv 2x2, 3 }\n";
    let file = write(folder.path(), "even.cnn", model);
    let (out, err) = run(&["check", &file], 0);
    assert!(out.ends_with("even.cnn: ok, 1 warning\n") && err.contains("warning[W0701]"), "{out}{err}");
    run(&["check", "--strict", &file], 1);
    let (out, err) = run(&["check", "--strict", "--allow", "even_kernel", &file], 0);
    assert!(out.ends_with("even.cnn: ok\n") && err.is_empty(), "{out}{err}");
    let (out, err) = run(&["summary", &file, "--format", "json"], 0);
    assert!(out.trim_end().ends_with('}') && err.contains("warning[W0701]"), "{out}{err}");
    let (_, err) = run(&["summary", &file, "--allow", "evn_kernel"], 2);
    assert!(err.contains("a similar value exists: 'even_kernel'"), "{err}");
}

#[test]
fn fmt_rewrites_in_place_and_check_only_tells() {
    let folder = tempfile::tempdir().unwrap();
    let text = "model m\ninput image: f32[N, 1, 8, 8]\nnet{conv 3x3,4|relu}\n";
    let file = write(folder.path(), "m.cnn", text);
    let (_, err) = run(&["fmt", "--check", &file], 1);
    assert!(err.contains("not in the standard layout"));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
    run(&["fmt", &file], 0);
    assert!(std::fs::read_to_string(&file).unwrap().contains("conv 3x3, 4 | relu"));
    run(&["fmt", "--check", &file], 0);
}

#[test]
fn explain_names_kernels_and_fusions() {
    let (out, _) = run(&["explain", "models/lenet5.cnn", "--isa", "clif", "--verbose"], 0);
    for part in ["conv_direct_f32_4c", "`relu` fused into conv1", "arena at", "pool_max"] {
        assert!(out.contains(part), "{part} in {out}");
    }
    let (out, _) = run(&["explain", "models/lenet5.cnn", "--isa", "avx2"], 0);
    assert!(out.contains("conv1: conv 5x5, 6, pad 2, bias + relu  1x28x28 nchw"), "{out}");
    assert!(out.lines().all(|line| line.chars().count() <= 160), "{out}");
    let (out, _) = run(&["explain", "models/lenet5.cnn", "--layer", "fc1"], 0);
    assert!(out.contains("fc1") && !out.contains("conv1: conv"), "{out}");
    let (_, err) = run(&["explain", "models/lenet5.cnn", "--layer", "fc9"], 1);
    assert!(err.contains("no layer `fc9`"), "{err}");
}

#[test]
fn summary_counts_lenet() {
    let (out, _) = run(&["summary", "models/lenet5.cnn"], 0);
    for part in ["61,706", "416,520", "receptive field  16"] {
        assert!(out.contains(part), "{part} in {out}");
    }
    let (json, _) = run(&["summary", "models/lenet5.cnn", "--format", "json"], 0);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&json["parameters"], &json["macs"]), (&61706.into(), &416520.into()));
    let (csv, _) = run(&["summary", "models/lenet5.cnn", "--format", "csv"], 0);
    assert_eq!(csv.lines().count(), 13, "a head, and a line for each of 12 layers: {csv}");
    let (yaml, _) = run(&["summary", "models/lenet5.cnn", "--format", "yaml"], 0);
    assert!(yaml.contains("parameters: 61706"), "{yaml}");
}

#[test]
fn graph_draws_every_stage_in_every_format() {
    for stage in ["source", "fused", "plan"] {
        for (format, part) in [("dot", "digraph"), ("svg", "</svg>"), ("mermaid", "flowchart TD")] {
            let (out, _) = run(&["graph", "models/resnet.cnn:resnet18", "--stage", stage, "--format", format], 0);
            assert!(out.contains(part) && out.contains("layer4.1.conv2"), "{stage} {format}: {out}");
        }
    }
}

#[test]
fn compile_writes_a_library_and_its_header() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().display().to_string();
    run(&["compile", "models/lenet5.cnn", "-o", &to, "--cpu", "x86-64-v3", "--emit", "static,header,asm"], 0);
    for file in ["liblenet5.a", "lenet5.h", "lenet5.s"] {
        assert!(folder.path().join(file).exists(), "{file}");
    }
    let (_, err) = run(&["compile", "models/lenet5.cnn", "-o", &to, "--cpu", "z80"], 2);
    assert!(err.contains("z80") && err.contains("znver4") && err.contains("aarch64-generic"), "{err}");
}

/// A model with 45 MB of weights, so that writing takes a while.
const LARGE: &str = "models/resnet.cnn:resnet18";

#[test]
fn a_folder_that_cannot_be_written_is_told() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let (_, err) = run(&["compile", "models/lenet5.cnn", "-o", "/proc"], 1);
    assert!(err.contains("/proc: cannot write"), "{err}");
    let (_, err) = run(&["compile", "models/lenet5.cnn", "-o", "/proc/no/such"], 1);
    assert!(err.contains("/proc/no/such: cannot create"), "{err}");
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "file", "");
    let (_, err) = run(&["compile", "models/lenet5.cnn", "-o", &file], 1);
    assert!(err.contains("file: cannot write: not a directory"), "{err}");
}

/// In a mount namespace of its own, where the system allows one.
#[test]
#[cfg_attr(not(tool = "unshare"), ignore = "needs unshare, with mounts")]
fn a_full_disk_is_told_and_leaves_no_half_of_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let disk = folder.path().display().to_string();
    let on_small_disk = |then: &str, args: &[&str]| {
        let script = format!("mount -t tmpfs -o size=200k tmpfs \"$0\" || exit 77; {then}");
        let mut command = std::process::Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, &disk]).args(args);
        command.current_dir(env!("CARGO_MANIFEST_DIR")).output()
    };
    let svertka = env!("CARGO_BIN_EXE_svertka");
    for emit in ["obj", "header,shared"] {
        let script = "\"$@\"; code=$?; ls -A \"$0\"; exit $code";
        let args = [svertka, "compile", "models/lenet5.cnn", "-o", &disk, "--emit", emit];
        let output = on_small_disk(script, &args).unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{out}\n{err}");
        assert!(err.contains("No space left on device"), "{err}");
        let files: Vec<&str> = out.lines().filter(|line| !line.contains("bytes")).collect();
        assert_eq!(files, if emit == "obj" { vec![] } else { vec!["lenet5.h"] });
    }
}

/// Whenever it is killed, what is in the folder is whole.
#[test]
fn a_killed_compile_leaves_only_whole_files() {
    kill_compile("embed");
    kill_compile("file");
}

/// With the weights in this place.
fn kill_compile(place: &str) {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    for folder in [&whole, &killed] {
        std::fs::create_dir(folder).unwrap();
    }
    let compile = |to: &Path| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_svertka"));
        command.args(["compile", LARGE, "--random-weights", "--emit", "obj,header", "--weights-in", place, "-o"]);
        command.arg(to);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        command
    };
    let start = std::time::Instant::now();
    assert!(compile(&whole).status().unwrap().success());
    let time = start.elapsed();
    for part in [6, 8, 9] {
        let mut child = compile(&killed).spawn().unwrap();
        std::thread::sleep(time * part / 10);
        child.kill().unwrap();
        child.wait().unwrap();
        for entry in std::fs::read_dir(&killed).unwrap() {
            let file = entry.unwrap();
            let expected = std::fs::read(whole.join(file.file_name())).expect("no file of another name");
            assert!(std::fs::read(file.path()).unwrap() == expected, "{file:?}");
        }
    }
}

#[test]
fn scores_that_are_no_numbers_have_no_class() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.display().to_string()
    };
    let model = write("scores.cnn", b"model scores\ninput image: f32[N, 3]\nnet { identity }\n");
    let values = [f32::NAN, 1.0, f32::INFINITY].iter().flat_map(|value| value.to_le_bytes());
    let input = write("scores.npy", &[npy_header("<f4", "(1, 3)"), values.collect()].concat());
    let (out, _) = run(&["run", &model, "--input", &input], 0);
    assert!(out.contains("no class: 2 of 3 scores are NaN or infinite"), "{out}");
}

#[test]
fn verify_compares_layer_by_layer() {
    for engine in engines().iter().filter(|e| !e.contains(&"interp")) {
        let args = [&["verify", "models/lenet5.cnn", "--batch", "3"], engine.as_slice()].concat();
        let (out, _) = run(&args, 0);
        assert!(out.contains("fc3") && out.contains("all within"), "{out}");
    }
    let (_, err) = run(&["verify", "models/lenet5.cnn", "--tolerance", "1e-30"], 1);
    assert!(err.contains("is the first layer above the tolerance"), "{err}");
}

#[test]
fn verify_takes_stored_inputs_and_outputs() {
    let data = testdata::committed("digits");
    let path = |name: &str| data.join(name).display().to_string();
    let (images, logits) = (path("mnist_test200_images_u8.npy"), path("lenet5_relu_maxpool_mnist_test200_logits.npy"));
    let weights = "models/weights/lenet5_relu.safetensors";
    let args = ["verify", "models/lenet5.cnn", "--weights", weights];
    let (out, _) = run(&[&args[..], &["--input", &images, "--expected", &logits]].concat(), 0);
    assert!(out.contains("ULP") && out.contains(", stored "), "{out}");

    // The outputs of the other variant: every layer agrees, the stored outputs do not.
    let other = path("lenet5_tanh_avgpool_mnist_test200_logits.npy");
    let (_, err) = run(&[&args[..], &["--input", &images, "--expected", &other]].concat(), 1);
    assert!(err.contains(", stored is the first layer above the tolerance"), "{err}");

    // Input and output in one file, safetensors or npz, by their names.
    let folder = tempfile::tempdir().unwrap();
    let image: Vec<f32> = (0..784).map(|i| (i % 13) as f32 / 13.0).collect();
    let input = folder.path().join("x.npy");
    npy::write(&input, &[1, 1, 28, 28], &image).unwrap();
    let output = folder.path().join("y.npy");
    let (input, output) = (input.display().to_string(), output.display().to_string());
    run(&["run", "models/lenet5.cnn", "--weights", weights, "--input", &input, "--output", &output], 0);
    let (_, scores) = floats(Path::new(&output));
    let (x, y) = (bytemuck::cast_slice(&image), bytemuck::cast_slice(&scores));
    let tensor = |shape: Vec<usize>, data| safetensors::tensor::TensorView::new(safetensors::Dtype::F32, shape, data);
    let tensors = [("image", tensor(vec![1, 1, 28, 28], x).unwrap()), ("output", tensor(vec![1, 10], y).unwrap())];
    let sample = write(folder.path(), "sample.safetensors", safetensors::serialize(tensors, None).unwrap());
    let (out, _) = run(&[&args[..], &["--input", &sample, "--expected", &sample]].concat(), 0);
    assert!(out.contains("output output, stored"), "{out}");

    let cases: &[(&str, &str, i32, &str)] = &[
        (&images, &output, 1, "has shape [1, 10], the output `output` has [200, 10]"),
        (&sample, &images, 1, "has shape [200, 28, 28]"),
        (&sample, "/no/such.npy", 1, "/no/such.npy"),
    ];
    for (input, expected, code, part) in cases {
        let (_, err) = run(&[&args[..], &["--input", input, "--expected", expected]].concat(), *code);
        assert!(err.contains(part), "{part} in {err}");
    }
    let (_, err) = run(&[&args[..], &["--expected", &output]].concat(), 2);
    assert!(err.contains("--input"), "{err}");
}

#[test]
fn model_parameters_are_set_with_d() {
    let (_, err) = run(&["run", "models/lenet5.cnn", "-D", "classes=7", "--input", "models/pictures/digit_1.png"], 1);
    assert!(err.contains("fc3.weight: the model needs [7, 84], the file has [10, 84]"), "{err}");
    let (_, err) = run(&["explain", "models/lenet5.cnn", "-D", "clases=7"], 1);
    assert!(err.contains("did you mean `classes`?"), "{err}");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    run(&["run", "models/lenet5.cnn"], 2);
    run(&["frobnicate"], 2);
    run(&["run", "models/lenet5.cnn", "--threads", "0", "--input", "x.png"], 2);
    run(&["run", "models/lenet5.cnn", "-D", "classes", "--input", "x.png"], 2);
}

/// Bad input of every kind: exit code 1 and a message that names the file and the way out.
#[test]
fn bad_input_is_told_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let data = std::fs::read("models/weights/lenet5_relu.safetensors").unwrap();
    let truncated = write(folder.path(), "short.safetensors", &data[..data.len() / 2]);
    let not_weights = write(folder.path(), "text.safetensors", "hello");
    let not_picture = write(folder.path(), "no.png", "this is no picture");
    let doubles = write(folder.path(), "complex.npy", npy_header("<c8", "(1, 1, 28, 28)"));
    let huge = write(folder.path(), "huge.npy", npy_header("<f4", "(1099511627776, 1, 28, 28)"));
    let digit = "models/pictures/digit_1.png";
    let cases: &[(&[&str], &[&str])] = &[
        (&["run", "models/none.cnn", "--input", digit], &["models/none.cnn", "No such file"]),
        (&["run", "models/lenet5.cnn:relo", "--input", digit], &["relo", "did you mean `relu`?"]),
        (&["run", "models/lenet5.cnn", "--input", &not_picture], &["no.png"]),
        (&["run", "models/lenet5.cnn", "--input", &doubles], &["complex.npy", "c8", "float32"]),
        (&["run", "models/lenet5.cnn", "--input", &huge], &["huge.npy"]),
        (&["run", "models/lenet5.cnn", "--weights", &truncated, "--input", digit], &["short.safetensors"]),
        (&["run", "models/lenet5.cnn", "--weights", &not_weights, "--input", digit], &["text.safetensors"]),
        (&["run", "models/lenet5.cnn", "--input", digit, "--output", "/no/such/folder/y.npy"], &["/no/such/folder"]),
        (&["run", "models/lenet5.cnn", "--input", digit, "--memory-limit", "0"], &["limit", "--memory-limit"]),
    ];
    for (args, parts) in cases {
        let (_, err) = run(args, 1);
        parts.iter().for_each(|part| assert!(err.contains(part), "{args:?}: {part} in {err}"));
    }
}

/// An .npy file that ends after its header.
fn npy_header(dtype: &str, shape: &str) -> Vec<u8> {
    let header = format!("{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}");
    let header = format!("{header:<117}\n");
    [b"\x93NUMPY\x01\x00", &(header.len() as u16).to_le_bytes()[..], header.as_bytes()].concat()
}

#[test]
fn weights_that_do_not_fit_are_listed_together() {
    let weights = PathBuf::from("models/weights/lenet5_relu.safetensors").display().to_string();
    let args = ["run", "models/mobilenet_v2.cnn", "--weights", &weights, "--input", "models/pictures/coffee_224.png"];
    let (_, err) = run(&args, 1);
    for part in ["missing", "surplus", "more", "features.0.0.weight"] {
        assert!(err.contains(part), "{part} in {err}");
    }
}
