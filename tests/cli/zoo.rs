//! The networks that come along, and models begun with them.

use super::*;

#[test]
fn networks_of_the_zoo_go_anywhere() {
    let (out, _) = run(&["summary", "zoo:resnet50"], 0);
    assert!(out.contains("25,557,032"), "{out}");
    let (out, _) = run(&["zoo"], 0);
    for name in ["resnet50", "efficientnet_b0", "lenet5"] {
        assert!(out.contains(name), "{name}: {out}");
    }
    let (_, err) = run(&["summary", "zoo:resnet_50"], 1);
    assert!(err.contains("did you mean `zoo:resnet50`?"), "{err}");
    let (_, err) = run(&["run", "zoo:lenet5", "--input", SEVEN], 1);
    assert!(err.contains("no weights") && err.contains("--weights"), "{err}");
}

/// The commands of `svertka help`.
fn commands() -> Vec<String> {
    let (help, _) = run(&["help"], 0);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\nOptions").next().unwrap();
    let name = |line: &str| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')).map(str::to_owned);
    list.lines().filter_map(name).map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

/// Every command that takes a model takes one of the zoo, or says why not.
#[test]
fn no_command_misreads_networks_of_the_zoo() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let suite = write(folder.path(), "suite.yaml", "- models: [\"zoo:lenet5\"]\n");
    let [page, eight, tuned, onnx, to] = ["l.html", "l.int8", "l.json", "l.onnx", "l"].map(path);
    let quick = ["--min-time", "0", "--runs", "1", "--warmup", "0"];
    let (name, random) = ("zoo:lenet5", "--random-weights");
    let taken: [&[&str]; 15] = [
        &["check", name],
        &["fmt", "--check", name],
        &["summary", name, "--diff", "zoo:vgg16"],
        &["graph", name],
        &["show", name, "-o", &page],
        &["explain", name],
        &["run", name, random, "--input", SEVEN],
        &["verify", name],
        &["quantize", name, random, "--calibrate", SEVEN, "-o", &eight],
        &[&["bench", name, "--compare", "zoo:lenet5"], &quick[..]].concat(),
        &[&["bench", "--suite", &suite], &quick[..]].concat(),
        &["tune", name, "--min-time", "0", "--tuned", &tuned],
        &["compile", name, random, "-o", &to],
        &["export", name, random, "-o", &onnx],
        &["new", "mine", "--from", name],
    ];
    for args in taken {
        let output = svertka(args).current_dir(folder.path()).args(["--color", "never"]).output().unwrap();
        let absolute = args.contains(&SEVEN);
        let output = if absolute { svertka(args).output().unwrap() } else { output };
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let refused: [&[&str]; 2] = [&["import", name, "-o", &to], &["check", "--fix", name]];
    for args in refused {
        let (_, err) = run(args, 2);
        assert!(err.contains("zoo:lenet5: ") && err.contains("text"), "{args:?}: {err}");
    }
    let without = ["peak", "zoo", "layers", "help", "lsp", "completions", "man"];
    let known = |command: &String| taken.iter().chain(&refused).any(|args| args[0] == command);
    let missing: Vec<String> = commands().into_iter().filter(|name| !known(name)).collect();
    assert!(missing.iter().all(|name| without.contains(&name.as_str())), "{missing:?}");
    // What was exported is the same network, and its text is had back.
    run(&["import", &onnx, "-o", &path("back")], 0);
    let text = std::fs::read_to_string(path("back/l.cnn")).unwrap();
    assert_eq!(text, std::fs::read_to_string("models/lenet5.cnn").unwrap());
}

#[test]
fn texts_of_the_zoo_are_laid_out_on_standard_output() {
    let text = std::fs::read_to_string("models/resnet.cnn").unwrap();
    assert_eq!(run(&["fmt", "zoo:resnet50"], 0).0, text);
    let (_, err) = run(&["fmt", "zoo:resnet_50"], 1);
    assert!(err.contains("did you mean `zoo:resnet50`?"), "{err}");
    // A file of that name is another thing.
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "zoo:lenet5", "model  m\n");
    let here = |args: &[&str]| svertka(args).current_dir(folder.path()).output().unwrap();
    assert!(here(&["fmt", "zoo:lenet5"]).status.success());
    assert_eq!(here(&["check", "--fix", "zoo:lenet5"]).status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(folder.path().join("zoo:lenet5")).unwrap(), "model  m\n");
    assert!(here(&["fmt", "./zoo:lenet5"]).status.success());
    assert_eq!(std::fs::read_to_string(folder.path().join("zoo:lenet5")).unwrap(), "model m\n");
    for (file, message) in [("models/resnet.cnn:resnet50", "leave `:resnet50` out"), ("a.onnx", "texts have a layout")]
    {
        let (_, err) = run(&["fmt", file], 1);
        assert!(err.contains(message), "{err}");
    }
}

#[test]
fn a_model_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    let new = |args: &[&str]| {
        let args = [&["new"], args].concat();
        let output = svertka(&args).current_dir(folder.path()).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(new(&["mine"]), (Some(0), "mine.cnn\nsvertka summary mine.cnn\n".into()));
    let (out, err) = run(&["check", &folder.path().join("mine.cnn").display().to_string()], 0);
    assert!(out.ends_with("mine.cnn: ok\n"), "{out}{err}");
    assert!(new(&["mine"]).1.contains("there is such a file already"));
    let (_, text) = new(&["seg", "--from", "zoo:fcn_resnet50"]);
    assert_eq!(text.lines().last(), Some("svertka summary seg.cnn:fcn_resnet50"), "{text}");
    run(&["summary", &format!("{}:fcn_resnet50", folder.path().join("seg.cnn").display())], 0);
    let (code, text) = new(&["x y"]);
    assert!(code == Some(2) && text.contains("is no name"), "{text}");
    let (code, text) = new(&["net"]);
    assert!(code == Some(2) && text.contains("a word of the language"), "{text}");
    assert_eq!(new(&["z", "--from", "models/resnet.cnn"]).0, Some(2));
}
