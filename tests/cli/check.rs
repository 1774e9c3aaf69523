//! What is found in model texts, for people and for programs, and mended.

use super::*;

const WRONG: &str = "model m\ninput image: f32[N, 3, 8, 8]\nnet {\n  a: conv 3x3, 8, hlaf | ReLU\n  fc: dense 10\n}\n";

#[test]
fn what_the_messages_say_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "m.cnn", WRONG);
    let (out, err) = run(&["check", "--fix", &file], 0);
    assert!(out.ends_with("m.cnn: ok, 1 warning\n"), "{out}");
    for line in ["m.cnn:4: did you mean `half`?", "m.cnn:4: it is written `relu`", "m.cnn:5: add `flatten` before it"] {
        assert!(err.contains(line), "{err}");
    }
    let mended = WRONG.replace("hlaf", "half").replace("ReLU", "relu").replace("fc:", "flatten | fc:");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), mended);
    let left = write(folder.path(), "left.cnn", WRONG.replace("ReLU", "xyz"));
    let (_, err) = run(&["check", "--fix", &left], 1);
    assert!(err.contains("E0211") && !err.contains("E0305"), "{err}");
    let (_, err) = run(&["check", "--fix", "models"], 2);
    assert!(err.contains("--fix changes model texts in files"), "{err}");
}

#[test]
fn programs_are_told_where_and_what_to_write() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "m.cnn", WRONG);
    let absent = folder.path().join("absent.cnn").display().to_string();
    let (out, err) = run(&["check", "--format", "json", &file, LENET, &absent], 1);
    assert_eq!(err, "error: 2 files have errors\n");
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    let [first, second] = found[0]["diagnostics"].as_array().unwrap().as_slice() else { panic!("{out}") };
    assert_eq!(
        (&found[0]["file"], &first["code"], &second["code"]),
        (&file.as_str().into(), &"E0212".into(), &"E0211".into())
    );
    let edit = &second["help"][0]["edits"][0];
    assert_eq!(
        (&edit["new"], &edit["start"]["line"], &edit["start"]["column"]),
        (&"relu".into(), &4.into(), &26.into())
    );
    let place = &first["places"][0];
    assert_eq!((&place["start"]["line"], &place["end"]["column"]), (&4.into(), &23.into()));
    assert_eq!(found[1]["diagnostics"].as_array().unwrap().len(), 0);
    assert_eq!(found[2]["diagnostics"][0]["code"], "E0602");

    let (out, _) = run(&["check", "--format", "sarif", &file], 1);
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    let run_ = &found["runs"][0];
    assert_eq!(run_["tool"]["driver"]["rules"], serde_json::json!([{ "id": "E0211" }, { "id": "E0212" }]));
    let replacement = &run_["results"][1]["fixes"][0]["artifactChanges"][0]["replacements"][0];
    assert_eq!(replacement["insertedContent"]["text"], "relu");
    assert_eq!(replacement["deletedRegion"]["startColumn"], 26);

    let (out, _) = run(&["check", "--format", "github", &file], 1);
    let first = out.lines().next().unwrap();
    assert!(
        first.starts_with("::error file=") && first.contains(",line=4,endLine=4,col=19,endColumn=23,title=E0212::"),
        "{out}"
    );
    assert_eq!(out.lines().count(), 2, "{out}");
}
