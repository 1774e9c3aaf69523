//! `run` on folders and lists of pictures.

use super::*;
use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

/// A folder of pictures of digits: two at the top, one below, one that is none, and a text.
fn pictures() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("more")).unwrap();
    for name in ["b.png", "a.PNG", "more/c.png"] {
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(SEVEN), folder.path().join(name)).unwrap();
    }
    fs::write(folder.path().join("d.png"), b"\x89PNG\r\n\x1a\nno more").unwrap();
    fs::write(folder.path().join("notes.md"), "nothing").unwrap();
    folder
}

fn at(folder: &tempfile::TempDir, name: &str) -> String {
    folder.path().join(name).display().to_string()
}

#[test]
fn a_folder_gives_a_row_for_each_picture_in_the_order_of_their_names() {
    let (folder, results) = (pictures(), tempfile::tempdir().unwrap());
    let (input, table) = (at(&folder, ""), at(&results, "labels.csv"));
    let (_, warning) = run(&["run", LENET, "--input", &input, "--jobs", "3", "--output", &table], 0);
    assert!(warning.contains("warning: 1 of 4 pictures have no class"), "{warning}");
    let rows = fs::read_to_string(&table).unwrap();
    let rows: Vec<&str> = rows.lines().collect();
    assert_eq!(rows[0], "path,class,label,probability,error");
    for (row, name) in rows[1..].iter().zip(["a.PNG", "b.png", "d.png", "more/c.png"]) {
        assert!(row.starts_with(&at(&folder, name)), "{row}");
        assert!(if name == "d.png" { row.contains(",,,") } else { row.contains(",7,") }, "{row}");
    }
    assert_eq!(rows.len(), 5);
    let left: Vec<_> = fs::read_dir(results.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["labels.csv"]);
}

#[test]
fn without_a_table_a_line_for_each_picture_is_printed_in_order() {
    let folder = pictures();
    let list = at(&folder, "list.txt");
    let names = ["more/c.png", "a.PNG", "none.png", "a.PNG"].map(|name| at(&folder, name));
    fs::write(&list, format!("# digits\n{}\n\n{}\r\n{}\n{}", names[0], names[1], names[2], names[3])).unwrap();
    let (text, _) = run(&["run", LENET, "--input", &list], 0);
    for (line, name) in text.lines().zip(&names) {
        assert!(line.starts_with(name.as_str()), "{text}");
    }
    assert_eq!(text.lines().count(), 4);
    assert!(text.lines().nth(2).unwrap().contains("No such file"), "{text}");
    let (top, _) = run(&["run", LENET, "--input", &list, "--top", "2"], 0);
    assert_eq!(top.lines().count(), 4 + 3 * 2);
}

#[test]
fn what_does_not_go_with_a_folder_is_said_before_the_work() {
    let (folder, empty) = (pictures(), tempfile::tempdir().unwrap());
    let (input, nothing) = (at(&folder, ""), at(&empty, ""));
    let (table, array) = (at(&empty, "t.feather"), at(&empty, "t.npy"));
    for (arguments, code, expected) in [
        (vec!["--input", &nothing], 1, "no pictures in this folder"),
        (vec!["--jobs", "2"], 2, "give a folder, or a list"),
        (
            vec!["--input", &input, "--output", &table],
            2,
            "make a table of classes, .csv, .jsonl or .parquet, or an array",
        ),
        (vec!["--input", &input, "--output", "-"], 2, "without --output a line for each picture"),
        (vec!["--input", &input, "--output", "none=a.npy"], 2, "no output `none`; the model has output"),
        (vec!["--input", &input, "--output", &array, "--output", &array], 2, "two outputs cannot both be written"),
        (vec!["--input", &input, "--output", &array, "--top", "2"], 2, "an array has none: give a table"),
        (vec!["--input", &input, "--output", "a.csv", "--output", "b.csv"], 2, "leave out `--output b.csv`"),
        (vec!["--input", &input, "--engine", "interp"], 2, "goes with no folder"),
        (vec!["--input", &input, "--keep-size"], 2, "are brought to one size"),
    ] {
        let (_, error) = run(&[&["run", LENET][..], &arguments].concat(), code);
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
}

#[test]
fn an_array_has_the_outputs_of_each_picture_in_the_order_of_the_table() {
    let (folder, results) = (pictures(), tempfile::tempdir().unwrap());
    let [scores, alone, table, single] =
        ["scores.npy", "alone.npy", "labels.jsonl", "single.npy"].map(|name| at(&results, name));
    let input = at(&folder, "");
    run(&["run", LENET, "--input", &input, "--jobs", "3", "--output", &scores, "--output", &table], 0);
    run(&["run", LENET, "--input", SEVEN, "--output", &single], 0);
    let ((shape, values), (_, expected)) = (floats(scores.as_ref()), floats(single.as_ref()));
    assert_eq!(shape, [4, 10]);
    let rows = fs::read_to_string(&table).unwrap();
    for (values, row) in values.chunks(10).zip(rows.lines()) {
        match row.contains("d.png") {
            true => assert!(values.iter().all(|value| value.is_nan()), "{values:?}"),
            false => assert_eq!(values, expected),
        }
    }
    let (_, warning) = run(&["run", LENET, "--input", &input, "--output", &format!("output={alone}")], 0);
    assert!(warning.contains("warning: 1 of 4 pictures cannot be read; their values are NaN"), "{warning}");
    assert!(warning.contains("d.png"), "{warning}");
    assert_eq!(fs::read(&alone).unwrap(), fs::read(&scores).unwrap());
    assert_eq!(fs::read_dir(results.path()).unwrap().count(), 4);
}

/// Networks that classify nothing, of several outputs.
#[test]
fn arrays_are_of_any_output() {
    let (folder, results) = (pictures(), tempfile::tempdir().unwrap());
    let [model, features, sums] = ["maps.cnn", "features.npy", "sums.npy"].map(|name| at(&results, name));
    let text = "model maps\ninput x: f32[N, 1, 28, 28]\n\
        net {\n  conv 3x3, 2, half | output features\n  maxpool 2x2 | output small\n}\n";
    fs::write(&model, text).unwrap();
    let input = at(&folder, "");
    let [large, small] = [format!("features={features}"), format!("small={sums}")];
    run(&["run", &model, "--seed", "1", "--input", &input, "--output", &large, "--output", &small], 0);
    let ((shape, values), (pooled_shape, pooled)) = (floats(features.as_ref()), floats(sums.as_ref()));
    assert_eq!((&shape[..], &pooled_shape[..]), (&[4, 2, 28, 28][..], &[4, 2, 14, 14][..]));
    for (map, pooled) in values.chunks(784).zip(pooled.chunks(196)) {
        let largest = map[0].max(map[1]).max(map[28]).max(map[29]);
        assert!(largest == pooled[0] || largest.is_nan() && pooled[0].is_nan());
    }
}

#[test]
fn weights_of_eight_bits_are_taken_for_a_table_too() {
    let (folder, results) = (pictures(), tempfile::tempdir().unwrap());
    let (weights, table) = (at(&results, "w8.safetensors"), at(&results, "labels.csv"));
    run(&["quantize", LENET, "--calibrate", SEVEN, "-o", &weights], 0);
    run(&["run", LENET, "--weights", &weights, "--input", &at(&folder, ""), "--output", &table], 0);
    let rows = fs::read_to_string(&table).unwrap();
    assert_eq!(rows.lines().filter(|row| row.contains(",7,")).count(), 3, "{rows}");
}

/// Waits until a file has so many lines.
fn await_lines(path: &str, count: usize, child: &mut Child) {
    while fs::read_to_string(path).unwrap_or_default().lines().count() < count {
        assert!(child.try_wait().unwrap().is_none(), "it ended before");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
#[cfg_attr(not(tool = "mkfifo"), ignore = "needs mkfifo")]
fn a_run_that_was_killed_goes_on_where_it_was() {
    let (folder, results) = (pictures(), tempfile::tempdir().unwrap());
    let (pipe, list) = (at(&folder, "pipe.png"), at(&folder, "list.txt"));
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let names = ["a.PNG", "d.png", "pipe.png", "a.PNG"].map(|name| at(&folder, name));
    fs::write(&list, names.join("\n")).unwrap();
    let (table, part) = (at(&results, "labels.jsonl"), at(&results, "labels.jsonl.part"));
    let (scores, kept) = (at(&results, "scores.npy"), at(&results, "labels.jsonl.values"));
    let arguments = ["run", LENET, "--input", &list, "--jobs", "1", "--output", &table, "--output", &scores];

    // It waits at the pipe for ever.
    let mut child = streams::system(&arguments).stderr(Stdio::null()).spawn().unwrap();
    await_lines(&part, 3, &mut child);
    let (_, other) = run(&arguments, 1);
    assert!(other.contains("another process is writing what this is a part of"), "{other}");
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!Path::new(&table).exists());

    let (_, other) = run(&[&arguments[..], &["--top", "2"]].concat(), 1);
    assert!(other.contains("has rows of another model, other weights or other settings"), "{other}");
    let (_, other) = run(&arguments[..8], 1);
    assert!(other.contains("has rows of another model, other weights or other settings"), "{other}");
    // As if it had been killed within a row, whose values are there.
    let torn = [fs::read_to_string(&part).unwrap(), "{\"path\":\"a".into()].concat();
    fs::write(&part, torn).unwrap();
    let values = fs::read(&kept).unwrap();
    assert_eq!(values.len(), 2 * 40);
    // As if the disk had lost what was written last.
    fs::write(&kept, &values[..60]).unwrap();
    let (_, missing) = run(&arguments, 1);
    assert!(missing.contains("labels.jsonl.values: values of the rows in"), "{missing}");
    fs::write(&kept, [&values[..], &[1; 25]].concat()).unwrap();
    fs::remove_file(&pipe).unwrap();
    fs::copy(at(&folder, "b.png"), &pipe).unwrap();
    let (_, note) = run(&arguments, 0);
    assert!(note.contains("note: 2 of 4 pictures are in"), "{note}");
    let rows = fs::read_to_string(&table).unwrap();
    let rows: Vec<serde_json::Value> = rows.lines().map(|row| serde_json::from_str(row).unwrap()).collect();
    let paths: Vec<&str> = rows.iter().map(|row| row["path"].as_str().unwrap()).collect();
    assert_eq!(paths, names);
    assert!(rows[1]["error"].as_str().unwrap().contains("d.png"), "{}", rows[1]);
    let (shape, values) = floats(scores.as_ref());
    assert_eq!(shape, [4, 10]);
    for row in [0, 2, 3] {
        assert_eq!(rows[row]["classes"][0]["class"], 7);
        assert_eq!(values[row * 10..][..10], values[..10]);
    }
    assert!(values[0].is_finite() && values[10..20].iter().all(|value| value.is_nan()));
    assert!(!Path::new(&part).exists() && !Path::new(&kept).exists());
}
