//! `svertka quantize`, and the commands that take what it writes.

use super::*;

/// LeNet-5 in eight bits, calibrated on the pictures of digits, with more arguments.
fn quantise(more: &[&str]) -> (tempfile::TempDir, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("w8.safetensors").display().to_string();
    let pictures: Vec<String> = (0..10).map(|digit| format!("models/pictures/digit_{digit}.png")).collect();
    let mut args = vec!["quantize", LENET, "-o", &file, "--calibrate"];
    args.extend(pictures.iter().map(String::as_str));
    let (out, _) = run(&[&args, more].concat(), 0);
    (folder, file, out)
}

#[test]
fn digits_are_read_on_whole_numbers_by_every_engine() {
    for more in
        [&["--method", "min-max"][..], &["--activation-bits", "7"], &["--method", "percentile"], &["--unpaired"], &[]]
    {
        let (_folder, file, out) = quantise(more);
        assert!(out.contains("for 10 of 10 examples, 100.0 %"), "{out}");
        let of_engine = |engine: Vec<&str>| {
            let args =
                [&["run", LENET, "--weights", file.as_str(), "--input", SEVEN, "--top", "10"][..], &engine].concat();
            run(&args, 0).0
        };
        let found: Vec<String> = engines().into_iter().map(of_engine).collect();
        assert!(found[0].lines().nth(1).unwrap().trim().starts_with('7'), "{}", found[0]);
        assert!(found.iter().all(|text| *text == found[0]), "{found:?}");
    }
}

/// LeNet-5's convolutions are 5x5: one channel, then six. Dense layers are rounded as ever.
#[test]
fn pairs_of_weights_have_sums_of_their_own() {
    let [plain, paired] = [&["--unpaired"][..], &[]].map(|more| {
        let (_folder, file, _) = quantise(more);
        let weights = svertka::io::weights::WeightFile::open(Path::new(&file)).unwrap();
        ["conv1", "conv2", "fc1"].map(|layer| weights.read_integers(&format!("{layer}.weight")).unwrap())
    });
    let largest = |weights: &[i32]| {
        let sums = weights.chunks(50).flat_map(|both| (0..25).map(|tap| (both[tap] + both[tap + 25]).abs()));
        sums.max().unwrap()
    };
    assert!(largest(&plain[1]) > 128 && largest(&paired[1]) <= 128, "{} {}", largest(&plain[1]), largest(&paired[1]));
    assert_eq!([&plain[0], &plain[2]], [&paired[0], &paired[2]]);
}

#[test]
fn layers_are_kept_in_f32() {
    let (_folder, file, out) = quantise(&["--keep", "fc3", "--keep", "conv1", "--format", "json"]);
    let report: serde_json::Value = serde_json::from_str(&out).unwrap();
    let forms: Vec<&str> =
        report["layers"].as_array().unwrap().iter().map(|layer| layer["form"].as_str().unwrap()).collect();
    assert_eq!(forms, ["f32", "int8", "int8", "int8", "f32"]);
    assert_eq!(report["agreeing"], 10);
    run(&["verify", LENET, "--weights", &file, "--input", SEVEN], 0);
    let weights = svertka::io::weights::WeightFile::open(Path::new(&file)).unwrap();
    let types = ["conv1", "conv2", "fc1", "fc3"].map(|layer| weights.dtype(&format!("{layer}.weight")).unwrap());
    assert_eq!(types, ["F32", "I8", "I8", "F32"]);
    let (_, err) = run(&["quantize", LENET, "--calibrate", SEVEN, "-o", &file, "--keep", "fc9"], 1);
    assert!(err.contains("no layer `fc9`") && err.contains("did you mean `fc"), "{err}");
}

#[test]
fn an_option_of_another_method_is_refused() {
    let (folder, _, out) = quantise(&["--method", "percentile", "--outside", "1"]);
    assert!(out.contains("conv1   int8"), "{out}");
    let file = folder.path().join("other.safetensors").display().to_string();
    let (_, err) = run(&["quantize", LENET, "--calibrate", SEVEN, "-o", &file, "--outside", "1"], 2);
    assert!(err.contains("add `--method percentile`"), "{err}");
}

#[test]
fn commands_that_have_no_use_for_whole_numbers_say_so() {
    let (_folder, file, _) = quantise(&[]);
    for verb in [&["show", LENET, "-o", "-"][..], &["quantize", LENET, "--calibrate", SEVEN, "-o", "-"]] {
        let (_, err) = run(&[verb, &["--weights", file.as_str()]].concat(), 1);
        assert!(
            err.contains(
                "weights of eight bits, which only run, verify, bench, tune, explain, compile and export take"
            ),
            "{err}"
        );
    }
    let (_, err) = run(&["run", "models/mlp.cnn", "--weights", &file, "--input", SEVEN], 1);
    assert!(err.contains("w8.safetensors"), "{err}");
}

/// Everything that a weight file holds.
fn tensors(path: &Path) -> Vec<(String, String, Vec<usize>, Vec<i64>)> {
    let file = svertka::io::weights::WeightFile::open(path).unwrap();
    let mut names = file.names();
    names.sort_unstable();
    let tensor = |name: String| {
        let dtype = file.dtype(&name).unwrap();
        let values = match &*dtype {
            "F32" => file.read(&name).unwrap().iter().map(|value| value.to_bits().into()).collect(),
            _ => file.read_integers(&name).unwrap().into_iter().map(i64::from).collect(),
        };
        let shape = file.shape(&name).unwrap().to_vec();
        (name, dtype, shape, values)
    };
    names.into_iter().map(tensor).collect()
}

/// An array of so many numbers from -1 to 1.
fn array(path: &Path, shape: &[usize]) -> String {
    let values: Vec<f32> = (0..shape.iter().product()).map(|at: usize| (at as f32 * 0.37).sin()).collect();
    svertka::io::npy::write(path, shape, &values).unwrap();
    path.display().to_string()
}

/// Norms, sizes that are free, branches, a gate, and layers that stay f32.
const NET: &str = "\
model m
input x: f32[N, 3, H = 16, W = 12]
net {
  stem: conv 3x3, 8, stride 2, half | bn | relu
  residual { a: conv 3x3, 8, half | bn | relu | b: conv 3x3, 8, half | bn } | relu
  gate { global_avgpool | down: conv 1x1, 4, bias | relu | up: conv 1x1, 8, bias | sigmoid }
  concat { left: conv 1x1, 4\n right: conv 3x3, 4, half } | silu
  bn | last: conv_transpose 2x2, 4, stride 2, bias | global_avgpool | head: dense 3
}
";

/// What comes back from ONNX is the same text with the same weight file, and the file gives what both give.
#[test]
fn whole_numbers_go_into_onnx_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let net = super::write(folder.path(), "m.cnn", NET);
    let (digit, wide) =
        (array(&folder.path().join("d.npy"), &[2, 1, 28, 28]), array(&folder.path().join("x.npy"), &[2, 3, 16, 12]));
    let lenet = ["--weights", "models/weights/lenet5_relu.safetensors"];
    for (model, input, weights, more) in [
        (LENET, &digit, &lenet[..], &[][..]),
        (LENET, &digit, &lenet, &["--keep", "conv2"]),
        (LENET, &digit, &lenet, &["--activation-bits", "7"]),
        (&net, &wide, &["--seed", "3"], &[]),
        (&net, &wide, &["--seed", "3"], &["--keep", "stem", "--keep", "left", "--activation-bits", "7"]),
    ] {
        let (w8, onnx, y) = (place("w8.safetensors"), place("m.onnx"), place("y.npy"));
        run(&[&["quantize", model, "--calibrate", input, "-o", &w8], weights, more].concat(), 0);
        let (_, err) = run(&["export", model, "--weights", &w8, "-o", &onnx], 0);
        assert!(!err.contains("sizes are fixed"), "{err}");
        let (out, err) = run(&["import", &onnx, "-o", &place("back"), "--name", "back"], 0);
        assert!(out.contains("layers") && !err.contains("note"), "{out}{err}");
        let read = |path: &str| std::fs::read_to_string(path).unwrap();
        assert_eq!(read(&place("back/back.cnn")), read(model));
        assert_eq!(tensors(Path::new(&place("back/back.safetensors"))), tensors(Path::new(&w8)), "{model} {more:?}");
        let scores = |args: &[&str]| {
            run(&[&["run", "--input", input, "--output", &y, "--engine", "interp"], args].concat(), 0);
            std::fs::read(&y).unwrap()
        };
        let expected = scores(&[model, "--weights", &w8]);
        assert!(scores(&[&onnx]) == expected && scores(&[&place("back/back.cnn")]) == expected, "{model} {more:?}");
        // Read as one of somebody else's, it is a text of its own, and computes the same.
        let bytes = std::fs::read(&onnx).unwrap();
        std::fs::write(&onnx, renamed(bytes)).unwrap();
        let (_, err) = run(&["import", &onnx, "-o", &place("other"), "--name", "other"], 0);
        assert!(!err.contains("f32"), "{err}");
        assert!(scores(&[&place("other/other.cnn")]) == expected, "{model} {more:?}");
    }
}

/// A model whose text is not to be found.
fn renamed(mut bytes: Vec<u8>) -> Vec<u8> {
    let at = bytes.windows(14).position(|word| word == b"svertka.source").unwrap();
    bytes[at] = b'S';
    bytes
}

#[test]
fn object_files_take_f32_or_bytes() {
    let (folder, file, _) = quantise(&[]);
    let header = |more: &[&str]| {
        let to = folder.path().display().to_string();
        run(&[&["compile", LENET, "--weights", &file, "--tuned", "none", "-o", &to], more].concat(), 0);
        std::fs::read_to_string(folder.path().join("lenet5.h")).unwrap()
    };
    assert!(header(&[]).contains("inputs[0]  image: f32 [N, 1, 28, 28], 784 elements a sample\n"));
    let bytes = header(&["--bytes"]);
    assert!(bytes.contains("inputs[0]  image: uint8_t [N, 1, 28, 28]") && bytes.contains(": f32 [N, 10]"), "{bytes}");
    let (_, err) = run(&["compile", LENET, "--bytes", "-o", &folder.path().display().to_string()], 2);
    assert!(err.contains("this network computes in f32"), "{err}");
}

#[test]
fn only_layers_in_f32_leave_a_choice() {
    let tune = |more: &[&str]| {
        let (_folder, file, _) = quantise(more);
        run(&["tune", LENET, "--weights", &file, "--tuned", "none", "--min-time", "0.01"], 0).0
    };
    assert!(tune(&[]).contains("no layer leaves a choice: there are several kernels of convolutions"));
    assert!(tune(&["--keep", "conv2"]).contains("conv2"));
}

#[test]
fn weights_of_16_bits_are_written_with_their_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for (half, decibels) in [("f16", 70.0..76.0), ("bf16", 52.0..58.0)] {
        let file = path(half);
        let (out, _) = run(&["quantize", LENET, "--weights-type", half, "-o", &file, "--format", "json"], 0);
        let report: serde_json::Value = serde_json::from_str(&out).unwrap();
        let names: Vec<&str> =
            report["weights"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight", "fc3.weight"]);
        let snr = report["snr_db"].as_f64().unwrap();
        assert!(decibels.contains(&snr), "{half}: {snr}");
        let weights = svertka::io::weights::WeightFile::open(Path::new(&file)).unwrap();
        let types = ["conv1.weight", "fc1.weight", "fc1.bias"].map(|name| weights.dtype(name).unwrap());
        assert_eq!(types, [half.to_uppercase(), half.to_uppercase(), "F32".into()]);
        run(&["verify", LENET, "--weights", &file, "--input", SEVEN], 0);
        let (out, _) = run(&["run", LENET, "--weights", &file, "--input", SEVEN], 0);
        assert!(out.contains("digit_7.png: 7  0.9998"), "{out}");
    }
}

/// A network of one dense layer and its two weights: the paths of both.
fn two_weights(folder: &Path, values: [f32; 2]) -> [String; 2] {
    let [model, weights] = ["m.cnn", "w.safetensors"].map(|name| folder.join(name).display().to_string());
    std::fs::write(&model, "model m\ninput x: f32[N, 2]\nnet { fc: dense 1, bias=false }\n").unwrap();
    let header = r#"{"fc.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}}"#;
    let values: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(&weights, [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &values].concat()).unwrap();
    [model, weights]
}

#[test]
fn a_weight_that_is_no_finite_number_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let [model, weights] = two_weights(folder.path(), [1.0, f32::NAN]);
    let to = folder.path().join("w8.safetensors").display().to_string();
    let pictures = array(&folder.path().join("x.npy"), &[3, 2]);
    let args = ["quantize", &model, "--weights", &weights, "-o", &to, "--calibrate", &pictures];
    let (_, err) = run(&args, 1);
    assert!(err.contains("`fc` has a weight, after norms were folded into it, that is NaN"), "{err}");
    assert!(err.contains("`--keep fc` leaves the layer in f32") && !Path::new(&to).exists(), "{err}");
    run(&[&args[..], &["--keep", "fc"]].concat(), 0);
}

#[test]
fn weights_beyond_the_largest_number_of_16_bits_are_told() {
    let folder = tempfile::tempdir().unwrap();
    let [model, weights] = two_weights(folder.path(), [1.0, -7e4]);
    let to = folder.path().join("w16.safetensors").display().to_string();
    let args = ["quantize", &model, "--weights", &weights, "-o", &to, "--weights-type"];
    let (_, err) = run(&[&args[..], &["f16"]].concat(), 1);
    assert!(err.contains(r#""fc.weight" holds -70000.0, beyond f16; `--weights-type bf16` has"#), "{err}");
    assert!(!Path::new(&to).exists());
    run(&[&args[..], &["bf16"]].concat(), 0);
    let (_, err) = run(&[&args[..], &["bf16", "--calibrate", SEVEN]].concat(), 2);
    assert!(err.contains("cannot be used with"), "{err}");
}

#[test]
fn the_plan_of_a_weight_file_is_explained() {
    let (_folder, file, _) = quantise(&[]);
    let explain = |more: &[&str]| run(&[&["explain", LENET, "--tuned", "none"], more].concat(), 0).0;
    assert!(explain(&["--weights", &file]).contains("conv_u8_"));
    let plain = explain(&[]);
    assert!(plain.contains("conv_direct_f32_") && !plain.contains("u8"), "{plain}");
    assert!(explain(&["-D", "classes=5"]).contains("dense 5"), "the card's weights are of ten");
    let (_, err) = run(&["explain", LENET, "--weights", "nowhere.safetensors"], 1);
    assert!(err.contains("nowhere.safetensors"), "{err}");
}
