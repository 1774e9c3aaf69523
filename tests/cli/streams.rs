//! Standard streams, pipes, links and permissions.

use super::*;
use std::fs;
use std::process::{Output, Stdio};

pub fn system(args: &[&str]) -> std::process::Command {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_svertka"));
    let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/cache");
    command.current_dir(env!("CARGO_MANIFEST_DIR")).env("XDG_CACHE_HOME", cache).args(args);
    command
}

/// A device of which every write fails as on a full disk.
fn full() -> fs::File {
    fs::OpenOptions::new().write(true).open("/dev/full").unwrap()
}

/// The writing end of a pipe that nobody reads any more.
fn reader_gone() -> Stdio {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    writer.into()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
#[cfg_attr(not(tool = "full"), ignore = "needs /dev/full")]
fn a_full_standard_output_is_no_success() {
    let printing: [&[&str]; 8] = [
        &["summary", LENET],
        &["run", LENET, "--input", SEVEN],
        &["run", LENET, "--input", SEVEN, "--output", "-"],
        &["verify", LENET],
        &["check", LENET],
        &["graph", LENET],
        &["completions", "bash"],
        &["--help"],
    ];
    for args in printing {
        let Output { status, stderr, .. } = system(args).stdout(full()).output().unwrap();
        assert_eq!(status.code(), Some(1), "{args:?}");
        assert!(text(&stderr).contains("cannot write: No space left on device"), "{args:?}: {}", text(&stderr));
    }
}

#[test]
#[cfg_attr(not(tool = "full"), ignore = "needs /dev/full")]
fn files_are_written_before_their_report_fails() {
    let full = full();
    let folder = tempfile::tempdir().unwrap();
    let (to, json) = (folder.path().display().to_string(), folder.path().join("r.json").display().to_string());
    let quick = ["--min-time", "0", "--runs", "1", "--warmup", "0"];
    for args in [&["compile", LENET, "-o", &to][..], &[&["bench", LENET, "--json", &json], &quick[..]].concat()] {
        let status = system(args).stdout(full.try_clone().unwrap()).stderr(Stdio::null()).status().unwrap();
        assert_eq!(status.code(), Some(1), "{args:?}");
    }
    for name in ["lenet5.o", "lenet5.h", "liblenet5.a", "r.json"] {
        assert!(folder.path().join(name).is_file(), "{name}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    for args in [&["summary", LENET][..], &["run", LENET, "--input", SEVEN, "--output", "-"], &["--help"]] {
        let Output { status, stderr, .. } = system(args).stdout(reader_gone()).output().unwrap();
        assert_eq!((status.code(), text(&stderr)), (Some(0), ""), "{args:?}");
    }
}

#[test]
fn work_goes_on_when_the_reader_of_its_messages_goes_away() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().display().to_string();
    let status = system(&["compile", LENET, "-o", &to]).stdout(reader_gone()).status().unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(["lenet5.o", "lenet5.h", "liblenet5.a"].iter().all(|name| folder.path().join(name).exists()));
}

#[test]
#[cfg_attr(not(tool = "full"), ignore = "needs /dev/full")]
fn messages_that_nobody_can_read_end_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let y = folder.path().join("y.npy").display().to_string();
    let picture = "models/pictures/coffee_224.png";
    let cases: [(&[&str], i32); 3] = [
        (&["run", LENET], 2),
        (&["run", "models/squeezenet.cnn:squeezenet1_1", "--seed", "3", "--input", picture, "--output", &y], 0),
        (&["check", "no/such.cnn"], 1),
    ];
    for (args, code) in cases {
        assert_eq!(system(args).stderr(reader_gone()).status().unwrap().code(), Some(code), "{args:?}");
        assert_eq!(system(args).stderr(full()).status().unwrap().code(), Some(code), "{args:?}");
    }
    assert!(Path::new(&y).exists());
}

#[test]
fn a_dash_is_standard_input() {
    let model = fs::read("models/lenet5.cnn").unwrap();
    let piped = |args: &[&str], input: &[u8], code: i32| {
        let output = svertka(args).write_stdin(input).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", text(&output.stderr));
        (output.stdout, text(&output.stderr).to_string())
    };
    assert_eq!(text(&piped(&["check", "-"], &model, 0).0), "-: ok\n");
    assert_eq!(text(&piped(&["check", "/dev/stdin"], &model, 0).0), "/dev/stdin: ok\n");
    assert_eq!(piped(&["fmt", "-"], &model, 0).0, model);
    assert_eq!(text(&piped(&["fmt", "-"], b"model m\nnet{relu}\n", 0).0), "model m\nnet { relu }\n");
    let picture = fs::read(SEVEN).unwrap();
    assert_eq!(text(&piped(&["run", LENET, "--input", "-"], &picture, 0).0), "-: 7  0.9998\n");
    let weights = fs::read("models/weights/lenet5_relu.safetensors").unwrap();
    assert_eq!(text(&piped(&["run", LENET, "--weights", "-", "--input", SEVEN], &weights, 0).0), IS_SEVEN);
    let (array, _) = piped(&["run", LENET, "--input", SEVEN, "--output", "-"], b"", 0);
    assert!(array.starts_with(b"\x93NUMPY"));
    let (out, _) = piped(&["verify", LENET, "--input", SEVEN, "--expected", "-"], &array, 0);
    assert!(text(&out).contains("output output, stored"), "{}", text(&out));
    assert!(!Path::new("-").exists(), "no file of this name");
    let (_, err) = piped(&["run", "-", "--seed", "1", "--input", "-"], &model, 1);
    assert!(err.contains("standard input can be read once only"), "{err}");
    let (_, err) = piped(&["run", LENET, "--input", SEVEN, "--output", "-", "--top", "3"], b"", 2);
    assert!(err.contains("standard output takes one array"), "{err}");
}

/// What a shell makes of `<(..)` and `>(..)`, and of names that it redirects.
#[cfg(unix)]
#[test]
#[cfg_attr(not(tool = "mkfifo"), ignore = "needs mkfifo")]
fn pipes_have_names() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let pipe = pipe.display().to_string();
    let check = system(&["check", &pipe]).stdout(Stdio::piped()).spawn().unwrap();
    fs::write(&pipe, fs::read(LENET).unwrap()).unwrap();
    assert!(text(&check.wait_with_output().unwrap().stdout).ends_with("pipe: ok\n"));
    let mut run = system(&["run", LENET, "--input", SEVEN, "--output", &pipe]).spawn().unwrap();
    assert!(fs::read(&pipe).unwrap().starts_with(b"\x93NUMPY"));
    assert!(run.wait().unwrap().success());
    let output = system(&["run", LENET, "--input", SEVEN, "--output", "/dev/stdout"]).output().unwrap();
    assert!(output.stdout.starts_with(b"\x93NUMPY"));
    run_ok(&["run", LENET, "--input", SEVEN, "--output", "/dev/null"]);
}

fn run_ok(args: &[&str]) {
    run(args, 0);
}

#[cfg(unix)]
#[test]
fn links_and_permissions_are_kept() {
    use std::os::unix::fs::{PermissionsExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let model = write(folder.path(), "m.cnn", "model m\ninput x: f32[N, 3]\nnet{relu}\n");
    fs::set_permissions(&model, PermissionsExt::from_mode(0o600)).unwrap();
    symlink("m.cnn", path("link.cnn")).unwrap();
    run_ok(&["fmt", &path("link.cnn").display().to_string()]);
    assert!(fs::read_to_string(&model).unwrap().ends_with("net { relu }\n"));
    assert_eq!(fs::metadata(&model).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(fs::symlink_metadata(path("link.cnn")).unwrap().is_symlink());
    symlink("real.npy", path("out.npy")).unwrap();
    let out = path("out.npy").display().to_string();
    run_ok(&["run", LENET, "--input", SEVEN, "--output", &out]);
    assert!(fs::symlink_metadata(&out).unwrap().is_symlink() && path("real.npy").is_file());
    fs::set_permissions(path("real.npy"), PermissionsExt::from_mode(0o444)).unwrap();
    let (_, err) = run(&["run", LENET, "--input", SEVEN, "--output", &out], 1);
    assert!(err.contains("out.npy: cannot write: permission denied"), "{err}");
}

/// In a terminal of its own.
#[test]
#[cfg_attr(not(tool = "script"), ignore = "needs script")]
fn colours_follow_the_terminal_and_the_variables() {
    let folder = tempfile::tempdir().unwrap();
    let model = write(folder.path(), "bad.cnn", "model m\ninput x: f32[N, 3]\nnet { rel }\n");
    let coloured = |variables: &[(&str, &str)]| {
        let mut command = std::process::Command::new("script");
        command.args(["-qec", &format!("{} check {model}", env!("CARGO_BIN_EXE_svertka")), "/dev/null"]);
        for name in ["NO_COLOR", "CLICOLOR_FORCE"] {
            command.env_remove(name);
        }
        let output =
            command.env("TERM", "xterm").envs(variables.iter().copied()).stdin(Stdio::null()).output().unwrap();
        assert!(text(&output.stdout).contains("E0211"), "{output:?}");
        output.stdout.contains(&0x1b)
    };
    let cases: [(&[(&str, &str)], bool); 5] = [
        (&[], true),
        (&[("TERM", "dumb")], false),
        (&[("NO_COLOR", "1")], false),
        (&[("NO_COLOR", "")], true),
        (&[("TERM", "dumb"), ("CLICOLOR_FORCE", "1")], true),
    ];
    for (variables, expected) in cases {
        assert_eq!(coloured(variables), expected, "{variables:?}");
    }
}

/// What long commands do, each from its beginning: the line is asked for, so that none has to be long.
#[test]
fn long_work_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let [to, onnx, page, eight, tuned, table, back] =
        ["to", "l.onnx", "l.html", "l.int8", "t.json", "t.csv", "back"].map(path);
    let quick = ["--min-time", "0", "--runs", "1", "--warmup", "0"];
    let ready = ["reading the model", "reading weights", "compiling, and packing weights"];
    let cases: [(&[&str], &[&str]); 15] = [
        (&["check", LENET], &["checking"]),
        (&["summary", LENET], &["reading the model", "planning"]),
        (&["explain", LENET], &["reading the model", "planning"]),
        (&["graph", LENET], &["reading the model", "drawing"]),
        (&["run", LENET, "--input", SEVEN], &[&ready[..], &["running"]].concat()),
        (&["run", LENET, "--input", SEVEN, "--engine", "interp"], &["reading weights", "interpreting"]),
        (&["run", LENET, "--input", "models/pictures", "--output", &table], &["[", "% "]),
        (&["verify", LENET], &[&ready[..], &["computing what is right", "running", "judging each layer"]].concat()),
        (&["quantize", LENET, "--calibrate", SEVEN, "-o", &eight], &["reading weights", "[", "% "]),
        (&["show", LENET, "--input", SEVEN, "-o", &page], &[&ready[..], &["running", "writing the page"]].concat()),
        (
            &[&["bench", LENET, "--compare-aot"], &quick[..]].concat(),
            &["compiling a library", "the first run", "% [1/1]"],
        ),
        (&["tune", LENET, "--tuned", &tuned, "--min-time", "0"], &["reading weights", "% [1/1]"]),
        (&["compile", LENET, "-o", &to], &ready),
        (&["export", LENET, "-o", &onnx], &["reading weights", "writing"]),
        (&["import", &onnx, "-o", &back], &["reading the model", "writing"]),
    ];
    for (args, expected) in cases {
        let shown = svertka(&[args, &["--progress", "always"]].concat()).output().unwrap();
        assert!(shown.status.success(), "{args:?}: {}", text(&shown.stderr));
        let mut rest = text(&shown.stderr);
        for what in expected {
            let found = rest.find(what).unwrap_or_else(|| panic!("{args:?}: no `{what}` in {}", text(&shown.stderr)));
            rest = &rest[found..];
        }
        assert!(text(&shown.stderr).contains("\r\u{1b}[K"), "the line goes away");
        let quiet = svertka(&[args, &["--progress", "never"]].concat()).output().unwrap();
        assert!(!text(&quiet.stderr).contains('\r'), "{args:?}: {}", text(&quiet.stderr));
    }
}

#[test]
fn colours_can_be_forced_into_a_pipe() {
    let colour = |name: &str, value: &str| {
        let output = svertka(&["check", "no/such.cnn", "tests/golden/diagnostics/rank.cnn"]).env(name, value).output();
        output.unwrap().stderr.contains(&0x1b)
    };
    assert!(colour("CLICOLOR_FORCE", "1"));
    assert!(!colour("CLICOLOR_FORCE", "0") && !colour("CLICOLOR_FORCE", "") && !colour("TERM", "xterm"));
}

/// A file's name on Linux is bytes.
#[cfg(target_os = "linux")]
#[test]
fn names_need_not_be_utf8() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &[u8]| folder.path().join(OsString::from_vec(name.to_vec())).into_os_string();
    let (model, card, picture) = (path(b"m\xfe.cnn"), path(b"m\xfe.yaml"), path(b"p\xfe.png"));
    fs::copy(LENET, &model).unwrap();
    fs::copy(SEVEN, &picture).unwrap();
    let here = env!("CARGO_MANIFEST_DIR");
    let weights = format!("weights: {here}/models/weights/lenet5_relu.safetensors\n");
    fs::write(card, weights + "preprocessing: {mean: [0.1307], std: [0.3081], colour: grey}\n").unwrap();
    let word = |word: &str| OsString::from(word);
    let joined = |start: &str, end: &OsString| [start.as_bytes(), end.as_encoded_bytes()].concat();
    let joined = |start: &str, end: &OsString| OsString::from_vec(joined(start, end));
    let (out, _) = run(&[word("run"), model.clone(), word("--input"), picture.clone()], 0);
    assert_eq!(out, "p\u{fffd}.png: class 7  0.9998\n");
    let variant = OsString::from_vec([model.as_encoded_bytes(), b":tanh"].concat());
    let array = path(b"y\xfe.npy");
    let named = [joined("image=", &picture), joined("output=", &array)];
    run(&[word("run"), variant, word("--input"), named[0].clone(), word("--output"), named[1].clone()], 0);
    assert!(Path::new(&array).is_file());
    let layer = OsString::from_vec(b"l\xfe".to_vec());
    let (_, err) = run(&[word("explain"), model.clone(), word("--layer"), layer], 2);
    assert!(err.contains("not UTF-8: ") && err.contains("l\u{fffd}"), "{err}");
    for verb in ["check", "summary", "explain", "graph", "fmt", "verify"] {
        run(&[word(verb), model.clone()], 0);
    }
    let libraries = path(b"lib\xfe");
    run(&[word("compile"), model, word("-o"), libraries.clone()], 0);
    assert!(Path::new(&libraries).join("lenet5.o").is_file());
}
