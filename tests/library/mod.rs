//! svertka as a program of others sees it: without the command, from outside of the tree, by its public names alone.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use svertka::{
    DrawingFormat, Error, Model, ModelOptions, Options, RunError, Seen, Stage, Tensor, TensorView, TensorViewMut,
    Weights,
};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

const TEXT: &str = "model tiny(classes = 3)
input image: f32[N, 2, 5, 5]
net { conv: conv 3x3, 8, bias | relu | global_avgpool | fc: dense classes }";

fn image(batch: usize) -> Tensor {
    Tensor::new([batch, 2, 5, 5], (0..batch * 50).map(|i| (i as f32 * 0.37).sin()).collect())
}

/// A crate of its own is built against this one as `cargo add` would do it, and reads a digit.
#[test]
fn a_program_outside_of_the_tree() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = include_str!("program/manifest.toml").replace("ROOT", ROOT);
    fs::create_dir(folder.path().join("src")).unwrap();
    fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
    fs::write(folder.path().join("src/main.rs"), include_str!("program/main.rs")).unwrap();
    fs::copy(Path::new(ROOT).join("Cargo.lock"), folder.path().join("Cargo.lock")).unwrap();
    // What was built for the tests serves the program as well.
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--offline", "--", ROOT])
        .env("CARGO_TARGET_DIR", target)
        .env_remove("RUSTFLAGS")
        .current_dir(folder.path())
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(out, "7\n", "{err}");
}

#[test]
fn runs_on_memory_that_is_anothers() {
    let model = Model::parse(TEXT).unwrap();
    let weights = Weights::random(3);
    let mut session = model.compile(&weights, &Options::default()).unwrap();
    let image = image(2);
    let view = TensorView::new(image.shape(), image.data()).unwrap();
    let expected = session.run(&[&image]).unwrap();
    let mut scores = [0.0; 6];
    session.run_into(&[view], &mut [TensorViewMut::new(&[2, 3], &mut scores).unwrap()]).unwrap();
    assert_eq!(scores, *expected[0].data());
    let judged = model.interpret(&weights, &[view]).unwrap();
    let differences = judged[0].data().iter().zip(&scores).map(|(a, b)| (a - b).abs());
    assert!(differences.fold(0.0, f32::max) < 1e-5);
    assert_eq!(session.inputs().map(|(name, ty)| format!("{name} {ty}")).collect::<Vec<_>>(), ["image [N, 2, 5, 5]"]);
    assert_eq!(model.outputs().map(|(_, ty)| ty.to_string()).collect::<Vec<_>>(), ["[N, 3]"]);
}

#[test]
fn forks_run_at_the_same_time_on_the_same_weights() {
    let model = Model::parse(TEXT).unwrap();
    let mut session = model.compile(&Weights::random(1), &Options { threads: 2, ..Options::default() }).unwrap();
    let expected = Arc::new(session.run(&[image(3)]).unwrap());
    let forks: Vec<_> = (0..3).map(|_| session.fork().unwrap()).collect();
    // They live on without the first.
    drop(session);
    let run = |mut fork: svertka::Session| {
        let expected = expected.clone();
        thread::spawn(move || (0..50).for_each(|_| assert_eq!(fork.run(&[image(3)]).unwrap(), *expected)))
    };
    let threads: Vec<_> = forks.into_iter().map(run).collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn weights_are_given_by_name_and_checked() {
    let model = ModelOptions::default().define("classes", "2").parse(TEXT).unwrap();
    let shapes: Vec<(String, Vec<usize>)> = model.weights().map(|(name, dims)| (name.into(), dims.into())).collect();
    let names: Vec<&str> = shapes.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["conv.weight", "conv.bias", "fc.weight", "fc.bias"]);
    let zeros = |(name, dims): &(String, Vec<usize>)| (name.clone(), Tensor::zeros(dims.clone()));
    let mut tensors: Vec<(String, Tensor)> = shapes.iter().map(zeros).collect();
    tensors[3].1 = Tensor::new([2], vec![0.5, 1.5]);
    let mut session = model.compile(&Weights::tensors(tensors.clone()), &Options::default()).unwrap();
    assert_eq!(session.run(&[image(1)]).unwrap()[0].data(), [0.5, 1.5]);
    tensors[0].0 = "conv.wait".into();
    let error = model.compile(&Weights::tensors(tensors), &Options::default()).err().unwrap().to_string();
    assert!(error.starts_with("tensors: the weights do not fit the model") && error.contains("conv.wait"), "{error}");
}

#[test]
fn errors_say_what_is_wrong_and_hold_it_as_data() {
    let error = Model::parse(&TEXT.replace("relu", "rely")).err().unwrap();
    assert!(error.to_string().contains("did you mean `relu`?"), "{error}");
    let Error::Model(error) = error else { panic!("{error}") };
    assert_eq!(error.diagnostics[0].code, "E0211");
    assert_eq!(error.sources.slice(error.diagnostics[0].labels[0].span), "rely");
    let model = Model::parse(TEXT).unwrap();
    let error = model.compile(&Weights::of_card(), &Options::default()).err().unwrap();
    assert_eq!(error.to_string(), "model: no weights: none are given, and a text has no card");
    let limited = Options { memory_limit: 100, ..Options::default() };
    let error = model.compile(&Weights::random(1), &limited).err().unwrap().to_string();
    assert!(error.contains("above the limit of 100 bytes") && !error.contains("--"), "{error}");
    let mut session = model.compile(&Weights::random(1), &Options::default()).unwrap();
    let wrong = session.run(&[Tensor::zeros([1, 2, 5, 6])]).unwrap_err();
    assert!(matches!(wrong, RunError::InputShape { .. }), "{wrong}");
    assert!(TensorView::new(&[2, 3], &[0.0; 5]).is_err());
    assert!(Model::open("nowhere.cnn").err().unwrap().to_string().starts_with("nowhere.cnn: cannot open"));
}

#[test]
fn a_digit_by_the_models_card() {
    let model = Model::open(Path::new(ROOT).join("models/lenet5.cnn")).unwrap();
    let picture = Path::new(ROOT).join("models/pictures/digit_7.png");
    let image = model.read_input("image", &picture, None).unwrap();
    let mut session = model.compile(&Weights::of_card(), &Options::default()).unwrap();
    let classes = model.classes(&session.run(&[&image]).unwrap()[0]).unwrap();
    assert_eq!((classes[0][0].label.as_deref(), classes[0][0].probability > 0.99), (Some("7"), true));
    assert!(model.read_input("picture", &picture, None).is_err());
    let decoded = model.decode_input("image", Path::new("seven"), &fs::read(&picture).unwrap()).unwrap();
    assert_eq!(decoded, image);
    let error = model.decode_input("image", Path::new("seven"), b"7").unwrap_err().to_string();
    assert!(error.starts_with("seven: "), "{error}");
    let black = model.pixels_input("image", Path::new("black"), &[28, 28], vec![0; 784], None).unwrap();
    assert!(black.data().iter().all(|value| (value + 0.1307 / 0.3081).abs() < 1e-6));
    assert!(model.pixels_input("image", Path::new("black"), &[28, 28], vec![0; 783], None).is_err());
    assert_eq!(model.summary().parameters, 61_706);
}

#[test]
fn values_of_layers_are_outputs() {
    let model = Model::parse(TEXT).unwrap();
    let (weights, options) = (Weights::random(1), Options::default());
    let mut session = model.compile_values(&["conv", "fc", "conv"], &weights, &options).unwrap();
    let values = session.run(&[image(2)]).unwrap();
    assert_eq!(session.outputs().map(|(name, _)| name.to_owned()).collect::<Vec<_>>(), ["conv", "fc", "conv"]);
    assert_eq!((values[0].shape(), &values[2]), (&[2, 8, 3, 3][..], &values[0]));
    let whole = model.compile(&weights, &options).unwrap().run(&[image(2)]).unwrap();
    let differences = whole[0].data().iter().zip(values[1].data()).map(|(a, b)| (a - b).abs());
    assert!(differences.fold(0.0, f32::max) < 1e-6);
    for (layers, expected) in [(&["con"][..], "no layer `con`; did you mean `conv`?"), (&[], "no layer ``")] {
        let error = model.compile_values(layers, &weights, &options).err().unwrap();
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn a_model_is_looked_at() {
    let model = Model::parse(TEXT).unwrap();
    assert_eq!(model.receptive_field("conv", &[0, 2]).unwrap(), Seen::Local(vec![0..3, 2..5]));
    assert_eq!(model.receptive_field("fc", &[]).unwrap(), Seen::Whole);
    let error = model.receptive_field("conv", &[0, 3]).unwrap_err().to_string();
    assert_eq!(error, "the value of `conv` has spatial sizes [3, 3], and so no position [0, 3]");
    let options = Options::default();
    for (stage, shown) in [(Stage::Source, "relu"), (Stage::Fused, "+ relu"), (Stage::Plan, "conv")] {
        let drawing = model.draw(stage, DrawingFormat::Mermaid, &options).unwrap();
        assert!(drawing.starts_with("flowchart") && drawing.contains(shown), "{drawing}");
    }
    let network = model.compile(&Weights::random(1), &options).unwrap().network();
    assert!(network.explain(Some("conv"), false).unwrap().contains("kernel"));
    let error = network.explain(Some("con"), true).unwrap_err().to_string();
    assert_eq!(error, "no layer `con` after fusion; did you mean `conv`?");
}

#[test]
fn sessions_of_a_network_have_their_own_number_of_threads() {
    let network = Model::parse(TEXT).unwrap().compile(&Weights::random(1), &Options::default()).unwrap().network();
    let expected = network.session(1).unwrap().run(&[image(9)]).unwrap();
    let inputs = image(9);
    let mut scores = vec![0.0; 27];
    let mut session = network.session(3).unwrap();
    // SAFETY: nine samples of 2x5x5 values and of 3 scores, in memory of their own.
    unsafe { session.run_addresses(9, &[inputs.data().as_ptr()], &[scores.as_mut_ptr()]) }.unwrap();
    assert_eq!(scores, expected[0].data());
    // SAFETY: refused before any address is used.
    let refused = unsafe { session.run_addresses(9, &[], &[scores.as_mut_ptr()]) };
    assert_eq!(refused, Err(RunError::InputCount { expected: 1, found: 0 }));
    assert!(network.session(0).is_err());
}

#[test]
fn files_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.cnn");
    fs::write(&path, TEXT.replace("3x3", "2x2")).unwrap();
    let report = svertka::check(&path, &[]).unwrap();
    assert!(!report.has_errors() && report.diagnostics.iter().any(|found| found.code == "W0701"));
    assert!(svertka::check(&path, &["even_kernel".to_owned()]).unwrap().diagnostics.iter().all(|d| d.code != "W0701"));
    fs::write(&path, TEXT.replace("relu", "rely")).unwrap();
    let report = svertka::check(&path, &[]).unwrap();
    assert!(report.has_errors() && report.render(false).contains("did you mean `relu`?"));
    let report = svertka::check(folder.path().join("m.cnn:small"), &[]).unwrap();
    assert_eq!(report.diagnostics[0].code, "E0218", "{}", report.render(false));
    assert!(svertka::check("zoo:resnet50", &[]).unwrap().diagnostics.is_empty());
    assert!(svertka::check("zoo:resnet5", &[]).unwrap_err().to_string().contains("resnet"));
}
