//! `svertka export`.

use super::*;
use std::collections::HashMap;
use std::fs;
use svertka::front::onnx::proto;

const NET: &str = "\
use \"lib/blocks.cnn\"
model m(c = 4)
input x: f32[N, 3, 8, 8]
net { stem: conv 3x3, c | B(40) }
variant wide = m(c = 8)
";
const BLOCKS: &str = "block B(c) { conv: conv 3x3, c | relu }\n";

/// A folder with a model that uses another file.
fn folder() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("lib")).unwrap();
    write(folder.path(), "lib/blocks.cnn", BLOCKS);
    let model = write(folder.path(), "m.cnn", NET);
    (folder, model)
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(String::from).collect()
}

fn metadata(bytes: &[u8]) -> HashMap<String, String> {
    let model = proto::Model::parse(bytes).unwrap();
    model.metadata.iter().map(|entry| (entry.key.into(), entry.value.into())).collect()
}

#[test]
fn a_model_holds_the_text_that_it_is_made_from() {
    let (folder, model) = folder();
    let to = folder.path().join("m.onnx").display().to_string();
    run(&words(&format!("export {model}:wide -D c=5 --random-weights -o {to}")), 0);
    let bytes = fs::read(&to).unwrap();
    let metadata = metadata(&bytes);
    assert_eq!(metadata["svertka.source"], NET);
    assert_eq!(metadata["svertka.arguments"], r#"{"aux":false,"define":[["c","5"]],"variant":"wide"}"#);
    assert_eq!(metadata["svertka.uses"], serde_json::json!({ "lib/blocks.cnn": BLOCKS }).to_string());
    let streamed = svertka(&words(&format!("export {model}:wide -D c=5 --random-weights -o -"))).output().unwrap();
    assert!(streamed.status.success() && streamed.stdout == bytes);
}

/// What comes back is the text with all that it uses, and what it was given is said.
#[test]
fn a_model_comes_back_as_the_text_that_it_is_made_from() {
    let (folder, model) = folder();
    let path = |name: &str| folder.path().join(name).display().to_string();
    for given in ["", " -D c=5", ":wide", ":wide -D c=5", " --aux"] {
        let to = path("m.onnx");
        run(&words(&format!("export {model}{given} --seed 1 -o {to}")), 0);
        let (out, _) = run(&words(&format!("import {to} -o {} --name again", path("back"))), 0);
        assert_eq!(out, format!("{}{given}: 3 layers\n", path("back/again.cnn")));
        assert_eq!(fs::read_to_string(path("back/again.cnn")).unwrap(), NET);
        assert_eq!(fs::read_to_string(path("back/lib/blocks.cnn")).unwrap(), BLOCKS);
        run(&words(&format!("summary {}{given}", path("back/again.cnn"))), 0);
    }
    write(folder.path(), "back/lib/blocks.cnn", "# Somebody's own.");
    let (_, err) = run(&words(&format!("import {} -o {}", path("m.onnx"), path("back"))), 2);
    assert!(err.contains("another text of this name"), "{err}");
    let (_, err) = run(&words(&format!("import {} -o {} --name lib/blocks", path("m.onnx"), path("other"))), 2);
    assert!(err.contains("give the files another name"), "{err}");
}

#[test]
fn weights_are_the_cards_or_asked_for() {
    let (folder, model) = folder();
    let to = folder.path().join("m.onnx").display().to_string();
    let (_, err) = run(&words(&format!("export {model} -o {to}")), 1);
    assert!(err.contains("no weights") && !Path::new(&to).exists(), "{err}");
    run(&words(&format!("export {LENET} -o {to}")), 0);
    let bytes = fs::read(&to).unwrap();
    let onnx = proto::Model::parse(&bytes).unwrap().graph.unwrap();
    let weights = svertka::io::weights::WeightFile::open(Path::new("models/weights/lenet5_relu.safetensors")).unwrap();
    for name in weights.names() {
        let tensor = onnx.initializers.iter().find(|tensor| tensor.name == name).unwrap();
        let expected: Vec<u8> = weights.read(&name).unwrap().iter().flat_map(|value| value.to_le_bytes()).collect();
        assert!(tensor.raw.unwrap().bytes() == expected, "{name}");
    }
}

#[test]
fn weights_in_a_file_of_their_own() {
    let (folder, model) = folder();
    let to = folder.path().join("m.onnx");
    let export = format!("export {model} --seed 2 --external -o");
    let (out, _) = run(&words(&format!("{export} {}", to.display())), 0);
    assert_eq!(out, format!("{}, with its weights in {}.data\n", to.display(), to.display()));
    let bytes = fs::read(&to).unwrap();
    let onnx = proto::Model::parse(&bytes).unwrap().graph.unwrap();
    let apart: Vec<&str> = onnx.initializers.iter().filter(|tensor| tensor.location == 1).map(|t| t.name).collect();
    assert_eq!(apart, ["conv.weight"]);
    assert_eq!(fs::read(folder.path().join("m.onnx.data")).unwrap().len(), 4 * 40 * 4 * 9);
    // What comes back is the very text.
    let back = folder.path().join("back");
    run(&words(&format!("import {} -o {}", to.display(), back.display())), 0);
    assert_eq!(fs::read_to_string(back.join("m.cnn")).unwrap(), fs::read_to_string(&model).unwrap());
    run(&words(&format!("{export} -")), 2);
    // Where the second file cannot be written, the first stays what it was.
    let data = folder.path().join("m.onnx.data");
    fs::remove_file(&data).unwrap();
    fs::create_dir(&data).unwrap();
    fs::write(&to, "before").unwrap();
    let (_, err) = run(&words(&format!("{export} {}", to.display())), 1);
    assert!(err.contains("m.onnx.data"), "{err}");
    assert_eq!(fs::read(&to).unwrap(), b"before");
}

/// Sizes stay free where every layer lets them; else they are fixed with a note, or by request.
#[test]
fn free_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("m.onnx").display().to_string();
    let dims = |net: &str, more: &str| {
        let text = format!("model m\ninput x: f32[N, 3, H = 32, W = 48]\nnet {{ conv 3x3, 4, stride 2 | {net} }}");
        let model = write(folder.path(), "m.cnn", text);
        let (_, err) = run(&words(&format!("export {model} --seed 1 -o {to}{more}")), 0);
        let bytes = fs::read(&to).unwrap();
        let onnx = proto::Model::parse(&bytes).unwrap().graph.unwrap();
        let dims = &onnx.inputs[0].ty.tensor.as_ref().unwrap().shape.as_ref().unwrap().dims;
        let dims: Vec<String> =
            dims.iter().map(|dim| dim.value.map_or(dim.name.into(), |size| size.to_string())).collect();
        (dims.join(" "), err.lines().filter(|line| line.contains("sizes")).collect::<String>())
    };
    assert_eq!(dims("maxpool 2x2", ""), ("N 3 H W".into(), String::new()));
    assert_eq!(dims("maxpool 2x2", " --fixed-sizes"), ("N 3 32 48".into(), String::new()));
    for net in ["adaptive_avgpool 3", "maxpool 2x2 | resize (H, W), bilinear", "layer_norm over all, affine false"] {
        assert_eq!(dims(net, " -D W=64"), ("N 3 H W".into(), String::new()), "{net}");
    }
    let (dims, note) = dims("adaptive_maxpool 3", " -D W=64");
    assert_eq!(dims, "N 3 32 64");
    assert_eq!(
        note,
        "note[E0901]: sizes are fixed, H = 32, W = 64: `adaptive_maxpool 3` cannot be said in ONNX: its regions would depend on \
         the free sizes of the input"
    );
}

/// What takes a model takes an ONNX file, with the weights in it.
#[test]
fn an_exported_model_is_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let onnx = folder.path().join("digits.onnx").display().to_string();
    run(&words(&format!("export {LENET} -o {onnx}")), 0);
    let pixels: Vec<f32> = (0..784).map(|at| (at as f32 * 0.1).sin()).collect();
    let input = folder.path().join("x.npy");
    svertka::io::npy::write(&input, &[1, 1, 28, 28], &pixels).unwrap();
    let scores = |model: &str| {
        let output = folder.path().join("y.npy");
        run(&words(&format!("run {model} --input {} --output {}", input.display(), output.display())), 0);
        fs::read(output).unwrap()
    };
    assert_eq!(scores(&onnx), scores(LENET));
    assert_eq!(run(&words(&format!("check {onnx}")), 0).0, format!("{onnx}: ok\n"));
    assert!(run(&words(&format!("verify {onnx}")), 0).0.contains("all within 1e-4"));
    assert!(run(&words(&format!("summary {onnx}")), 0).0.contains("61,706"));
    let (_, err) = run(&words(&format!("run {onnx}:relu --input {}", input.display())), 1);
    assert!(err.contains("an ONNX file has no variants"), "{err}");
    let whole = fs::read(&onnx).unwrap();
    fs::write(&onnx, &whole[..whole.len() / 2]).unwrap();
    let (_, err) = run(&words(&format!("summary {onnx}")), 1);
    assert!(err.contains("this network is not imported") && err.contains("E0801"), "{err}");
}

/// What a file was exported from comes back as it was, unless the file says something else.
#[test]
fn an_exported_model_is_imported_as_its_text() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let onnx = place("m.onnx");
    let import = |more: &str| {
        let (out, _) = run(&words(format!("import {onnx} -o {} {more}", place("m")).trim_end()), 0);
        (out, fs::read_to_string(place("m/m.cnn")).unwrap())
    };
    let mini = "models/densenet.cnn:densenet_mini";
    run(&words(&format!("export {mini} -o {onnx} --seed 1")), 0);
    let (out, text) = import("");
    assert_eq!(text, fs::read_to_string("models/densenet.cnn").unwrap());
    assert!(out.contains("m.cnn:densenet_mini: "), "{out}");
    let (_, text) = import("--flat --input H=56,W=56");
    assert!(text.contains("features_denseblock1_denselayer1_conv1: conv 1x1"), "{text}");

    run(&words(&format!("export {LENET} -o {onnx}")), 0);
    assert_eq!(import("").1, fs::read_to_string(LENET).unwrap());
    let mut lying = fs::read(&onnx).unwrap();
    let at = lying.windows(4).position(|word| word == b"relu").unwrap();
    lying[at..at + 4].copy_from_slice(b"silu");
    fs::write(&onnx, lying).unwrap();
    let (_, text) = import("--nested");
    assert!(text.contains("conv1: conv 5x5, 6") && !text.contains("silu"), "{text}");
}
