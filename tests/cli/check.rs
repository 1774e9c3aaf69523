//! What is found in model texts, for people and for programs, and mended.

use super::*;

const WRONG: &str =
    "model m\ninput image: f32[N, 3, 8, 8]\nnet {\n  a: conv 3x3, 8, hlaf | ReLU\n  flatten | fc: dense 10\n}\n";

#[test]
fn what_the_messages_say_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "m.cnn", WRONG);
    let (out, err) = run(&["check", "--fix", &file], 0);
    assert!(out.ends_with("m.cnn: ok, 1 warning\n"), "{out}");
    for line in ["m.cnn:4: did you mean `half`?", "m.cnn:4: it is written `relu`"] {
        assert!(err.contains(line), "{err}");
    }
    let mended = WRONG.replace("hlaf", "half").replace("ReLU", "relu");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), mended);
    // A mistake that comes to light where one was mended.
    let foreign = WRONG.replace("conv 3x3, 8, hlaf | ReLU", "Conv2d 3x3, 8 -> ReLU").replace("dense", "linear");
    let file = write(folder.path(), "foreign.cnn", foreign);
    run(&["check", "--fix", &file], 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), mended.replace(", half", ""));
    let left = write(folder.path(), "left.cnn", WRONG.replace("ReLU", "xyz"));
    let (_, err) = run(&["check", "--fix", &left], 1);
    assert!(err.contains("E0211") && !err.contains("E0212"), "{err}");
    let (_, err) = run(&["check", "--fix", "models"], 2);
    assert!(err.contains("--fix changes model texts in files"), "{err}");
}

/// What makes another network is offered, and left to the author; a size of another rank is only written otherwise.
#[test]
fn shapes_are_brought_together_by_the_author() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("net.cnn").display().to_string();
    let model = |net: &str| format!("model m\ninput image: f32[N, 3, 8, 8]\nnet {{\n{net}\n}}\n");
    let fix = ["check", "--fix", "--allow", "counted_name", &file];
    for (wrong, right) in [("conv 3, 8", "conv 3x3, 8"), ("conv channels 8, kernel 3", "conv channels 8, kernel 3x3")] {
        write(folder.path(), "net.cnn", model(wrong));
        run(&fix, 0);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), model(right));
    }
    for (wrong, right) in [
        ("fc: dense 10", "flatten | fc: dense 10"),
        (
            "residual {\n  a: conv 3x3, 8, stride 2, half\n}",
            "residual {\n  a: conv 3x3, 8, stride 2, half\n} project { downsample: seq { conv 1x1, 8, stride 2 | bn } }",
        ),
        (
            "residual { a: conv 1x1, 8 } project if in.c > 3 { b: conv 1x1, 8 }",
            "residual { a: conv 1x1, 8 } project if in.c > 3 or not same_shape { b: conv 1x1, 8 }",
        ),
        (
            "add {\n  a: conv 1x1, 8\n  b: conv 1x1, 4  # narrow\n}",
            "add {\n  a: conv 1x1, 8\n  b: conv 1x1, 4 | conv 1x1, 8  # narrow\n}",
        ),
    ] {
        write(folder.path(), "net.cnn", model(wrong));
        run(&fix, 1);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), model(wrong));
        let (out, _) = run(&["check", "--format", "json", &file], 1);
        let found: serde_json::Value = serde_json::from_str(&out).unwrap();
        let fix = &found[0]["diagnostics"][0]["help"][0]["fixes"][0];
        assert_eq!(fix["applicability"], "MaybeIncorrect", "{out}");
        let [edit] = fix["edits"].as_array().unwrap().as_slice() else { panic!("{out}") };
        let [start, end] = ["start", "end"].map(|side| edit[side]["byte"].as_u64().unwrap() as usize);
        let mut text = model(wrong);
        text.replace_range(start..end, edit["new"].as_str().unwrap());
        assert_eq!(text, model(right));
        write(folder.path(), "net.cnn", text);
        run(&["check", &file], 0);
    }
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
    let fix = &second["help"][0]["fixes"][0];
    assert_eq!(fix["applicability"], "MachineApplicable");
    let edit = &fix["edits"][0];
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

#[test]
fn codes_warnings_words_and_commands_are_explained() {
    let (out, _) = run(&["layers"], 0);
    let cut =
        out.lines().find(|line| line.ends_with("et al") || line.matches('(').count() != line.matches(')').count());
    assert_eq!(cut, None);
    let (out, _) = run(&["help", "e0312"], 0);
    assert!(out.starts_with("E0312: values that are added differ in shape\n") && out.contains("project"), "{out}");
    assert!(run(&["help", "even_kernel"], 0).0.starts_with("W0701"));
    assert_eq!(run(&["help", "conv"], 0).0, run(&["layers", "conv"], 0).0);
    assert!(run(&["layers", "residual"], 0).0.contains("For example"));
    assert!(run(&["layers", "round8"], 0).0.starts_with("round8(x)"));
    let (out, _) = run(&["help", "compile"], 0);
    assert!(out.contains("--weights-in") && run(&["help"], 0).0.contains("compile"), "{out}");
    let (out, _) = run(&["layers"], 0);
    for word in ["conv_transpose", "max(a, b, ...)", "gate"] {
        assert!(out.contains(word), "{word}: {out}");
    }
    assert_eq!(run(&["layers", "--markdown"], 0).0, std::fs::read_to_string("grammar/reference.md").unwrap());
    let (_, err) = run(&["help", "E9999"], 2);
    assert!(err.contains("there is nothing to say of `E9999`"), "{err}");
    let (_, err) = run(&["layers", "cnov"], 2);
    assert!(err.contains("did you mean `conv`?"), "{err}");
}
