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
