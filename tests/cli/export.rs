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
