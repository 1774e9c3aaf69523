//! Model cards and weights: what is taken when none is named.

use super::*;
use std::fs;

/// A folder with a copy of LeNet and, under the given name, its card with this text before it.
fn folder_with(card: Option<&str>, before: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("a.cnn");
    fs::copy(LENET, &model).unwrap();
    if let Some(name) = card {
        let weights = format!("weights: {}/models/weights/lenet5_relu.safetensors\n", env!("CARGO_MANIFEST_DIR"));
        let preprocessing = "preprocessing: {mean: [0.1307], std: [0.3081], colour: grey}\n";
        write(folder.path(), name, format!("{before}{weights}{preprocessing}labels: names.txt\n"));
        let names = ["null", "1", "2", "3", "4", "5", "6", "7", "8", "9"].join("\n");
        write(folder.path(), "names.txt", format!("{before}{names}\n"));
    }
    (folder, model.display().to_string())
}

#[test]
fn either_extension_names_a_card() {
    for name in ["a.yaml", "a.yml"] {
        let (_folder, model) = folder_with(Some(name), "");
        assert_eq!(run(&["run", &model, "--input", SEVEN], 0), (IS_SEVEN.into(), String::new()), "{name}");
    }
    let (folder, model) = folder_with(Some("a.yaml"), "");
    write(folder.path(), "a.yml", "title: another\n");
    for verb in [&["run", &model, "--input", SEVEN][..], &["verify", &model], &["summary", &model]] {
        let (_, err) = run(verb, 1);
        assert!(err.contains("a.yml is a card of the same model; remove one of them"), "{err}");
    }
}

#[test]
fn a_byte_order_mark_is_part_of_no_text() {
    let (folder, model) = folder_with(Some("a.yaml"), "\u{feff}");
    let text = fs::read_to_string(&model).unwrap();
    fs::write(&model, format!("\u{feff}{text}")).unwrap();
    let (out, _) = run(&["run", &model, "--input", SEVEN, "--top", "10"], 0);
    assert!(out.starts_with("digit_7.png:\n  7 ") && out.contains("\n  null "), "{out:?}");
    let suite = write(folder.path(), "suite.yaml", "\u{feff}- models: [a.cnn]\n");
    run(&["bench", "--suite", &suite, "--min-time", "0", "--runs", "1", "--warmup", "0"], 0);
}

/// Blocks in a used file lie beside the link or beside its target, as the card does.
#[cfg(unix)]
#[test]
fn a_linked_model_brings_its_card_and_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::os::unix::fs::symlink(fs::canonicalize(LENET).unwrap(), path("link.cnn")).unwrap();
    let link = path("link.cnn").display().to_string();
    assert_eq!(run(&["run", &link, "--input", SEVEN], 0), (IS_SEVEN.into(), String::new()));
    fs::create_dir(path("real")).unwrap();
    write(&path("real"), "blocks.cnn", "block B { relu }\n");
    write(&path("real"), "m.cnn", "use \"blocks.cnn\"\nmodel m\ninput x: f32[N, 3]\nnet { B }\n");
    std::os::unix::fs::symlink("real/m.cnn", path("m.cnn")).unwrap();
    run(&["check", &path("m.cnn").display().to_string()], 0);
}

#[test]
fn what_needs_weights_asks_for_them() {
    let (folder, model) = folder_with(None, "");
    let to = folder.path().join("lib").display().to_string();
    for args in [&["run", &model, "--input", SEVEN][..], &["compile", &model, "-o", &to]] {
        let (_, err) = run(args, 1);
        for part in ["a.cnn: no weights", "no card ", "a.yaml", "--weights", "--random-weights"] {
            assert!(err.contains(part), "{args:?}: {part} in {err}");
        }
        for way_out in [&["--random-weights"][..], &["--seed", "3"]] {
            let (_, err) = run(&[args, way_out].concat(), 0);
            assert!(err.contains("note: no weight file given; random weights with seed "), "{err}");
        }
    }
    write(folder.path(), "a.yaml", "title: no weights here\n");
    let (_, err) = run(&["run", &model, "--input", SEVEN], 1);
    assert!(err.contains("a.yaml names none"), "{err}");
    let (_, err) = run(&["verify", &model], 0);
    assert!(err.contains("random weights with seed 1"), "{err}");
    let (_, err) = run(&["bench", &model, "--min-time", "0", "--runs", "1", "--warmup", "0"], 0);
    assert!(err.contains("random weights with seed 1"), "{err}");
    let (_, err) = run(&["run", LENET, "--input", SEVEN, "--weights", "w", "--random-weights"], 2);
    assert!(err.contains("cannot be used with"), "{err}");
    // The weights of this model are part of its text.
    run(&["run", "models/edges.cnn", "--input", "models/pictures/coffee_224.png", "--output", "/dev/null"], 0);
}

/// What a card says and nothing takes is told.
#[test]
fn labels_and_variants_that_do_not_fit_are_warned_of() {
    let (_folder, model) = folder_with(Some("a.yaml"), "variants: {tanhh: {title: x}}\n");
    let (_, err) = run(&["run", &model, "--input", SEVEN], 1);
    assert!(err.contains("variants.tanhh: unknown field `title`"), "{err}");
    let (folder, model) = folder_with(Some("a.yaml"), "variants: {tanhh: {}}\n");
    write(folder.path(), "names.txt", "zero\none\n");
    let (out, err) = run(&["run", &model, "--input", SEVEN], 0);
    assert!(out.contains("class 7"), "{out}");
    assert!(err.contains("a.yaml: the model has no variant `tanhh`; did you mean `tanh`?"), "{err}");
    assert!(err.contains("a.yaml: 2 labels for 10 classes, which are shown by their numbers"), "{err}");
}

/// A label, and a name in a message, that would clear the screen.
#[test]
fn strings_of_strangers_do_no_harm_to_a_terminal() {
    let (folder, model) = folder_with(Some("a.yaml"), "");
    write(folder.path(), "names.txt", "\u{1b}[2J\u{9b}2Jx\n".repeat(10));
    let (out, _) = run(&["run", &model, "--input", SEVEN], 0);
    assert_eq!(out, "digit_7.png: \\u{1b}[2J\\u{9b}2Jx  0.9998\n");
    let card = "weights: \"\\e[2J\"\n";
    write(folder.path(), "a.yaml", card);
    let text = "model m\ninput x: f32[N, 3]\nnet { # \u{1b}[2J\n dense \"\u{1b}[2J\" }\n";
    let file = write(folder.path(), "b\u{1b}[2J.cnn", text);
    for args in [&["run", &model, "--input", SEVEN][..], &["check", &file], &["run", &file, "--input", SEVEN]] {
        let output = svertka(args).env("CLICOLOR_FORCE", "1").output().unwrap();
        let shown = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(!output.status.success() && !shown.contains("\u{1b}[2J") && shown.contains("[2J"), "{shown:?}");
    }
}
