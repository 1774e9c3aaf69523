//! Arguments in any order, and what is found before long work begins.

use super::*;

#[test]
fn the_model_may_stand_behind_several_values() {
    for args in [
        &["run", "--input", SEVEN, LENET][..],
        &["run", "--input", SEVEN, LENET, "--isa", "clif"],
        &["run", "--isa", "clif", "--input", SEVEN, "--", LENET],
        &["run", LENET, "--input", SEVEN],
    ] {
        assert_eq!(run(args, 0).0, IS_SEVEN, "{args:?}");
    }
    let three = "models/pictures/digit_3.png";
    let (out, _) = run(&["run", "--input", three, SEVEN, LENET], 0);
    assert_eq!(out.lines().count(), 2, "{out}");
    let folder = tempfile::tempdir().unwrap();
    let y = folder.path().join("y.npy").display().to_string();
    run(&["run", "--output", &y, "--input", SEVEN, LENET], 0);
    run(&["verify", "--input", SEVEN, "--expected", &y, LENET], 0);
    let (_, err) = run(&["run", "--input", SEVEN], 2);
    assert!(err.contains("<MODEL>"), "{err}");
}

#[test]
fn every_missing_item_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let empty = write(folder.path(), "empty.cnn", "");
    let (_, err) = run(&["check", &empty], 1);
    for item in ["model", "input", "net"] {
        assert!(err.contains(&format!("there is no `{item}` in this file")), "{item}: {err}");
    }
    assert!(!err.contains("further"), "{err}");
}

#[test]
fn words_of_the_language_name_inputs_outputs_and_values() {
    let folder = tempfile::tempdir().unwrap();
    for word in ["x", "in", "input", "output", "from", "then", "if", "net", "aux"] {
        let text =
            format!("model m\ninput {word}: f32[N, 3]\nnet {{ relu as {word}_ | from {word}_ | output {word} }}\n");
        let file = write(folder.path(), "m.cnn", text);
        assert_eq!(run(&["check", &file], 0).1, "", "{word}");
        let text = format!("model m\ninput a: f32[N, 3]\ninput {word}: f32[N, 3]\nnet {{ from {word} | relu }}\n");
        let file = write(folder.path(), "m.cnn", text);
        let (_, err) = run(&["check", &file], 0);
        assert!(err.contains("nothing reads the input `a`"), "{word}: {err}");
    }
    let text = "model m(input = 4, output = 2)\ninput x: f32[N, input]\nblock B(model) { fc: dense model }\nnet { B(output) }\n";
    let file = write(folder.path(), "m.cnn", text);
    assert_eq!(run(&["check", &file], 0).1, "");
}

#[test]
fn one_file_takes_one_output() {
    let folder = tempfile::tempdir().unwrap();
    let text = "model m\ninput x: f32[N, 3]\nnet { relu | output a | sigmoid | output b }\n";
    let file = write(folder.path(), "m.cnn", text);
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (x, y) = (path("x.npy"), path("y.npy"));
    npy::write(Path::new(&x), &[1, 3], &[1.0; 3]).unwrap();
    let output = |name: &str, file: &str| format!("{name}={file}");
    let run_with = |a: &str, b: &str, code| {
        run(&["run", &file, "--input", &x, "--output", &output("a", a), "--output", &output("b", b)], code)
    };
    let (_, err) = run_with(&y, &y, 2);
    assert!(err.contains("two outputs cannot both be written to"), "{err}");
    run_with(&y, &path("z.npy"), 0);
    run_with("/dev/null", "/dev/null", 0);
    let (_, err) = run_with("-", "-", 2);
    assert!(err.contains("standard output takes one array"), "{err}");
}

#[test]
fn compile_makes_its_folder() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("new/lib");
    run(&["compile", LENET, "-o", to.to_str().unwrap()], 0);
    assert!(["lenet5.o", "lenet5.h", "liblenet5.a"].iter().all(|name| to.join(name).is_file()));
}

#[test]
fn what_is_asked_for_twice_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let (out, _) = run(&["compile", LENET, "-o", folder.path().to_str().unwrap(), "--emit", "obj,header,obj"], 0);
    let files: Vec<bool> = out.lines().map(|line| line.contains("lenet5.o")).collect();
    assert_eq!(files, [true, false], "{out}");
}

#[test]
fn measurements_of_this_cpu_are_not_those_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().to_str().unwrap();
    let args = ["compile", LENET, "-o", to, "--emit", "obj", "--cpu", "x86-64-v3", "--tuned"];
    let (_, err) = run(&[&args[..], &["t.json"]].concat(), 2);
    assert!(err.contains("measured on this CPU, which `--cpu x86-64-v3` is not"), "{err}");
    run(&[&args[..], &["none"]].concat(), 0);
}

#[test]
fn graph_writes_what_the_ending_says() {
    let folder = tempfile::tempdir().unwrap();
    let draw = |name: &str, more: &[&str]| {
        let file = folder.path().join(name).display().to_string();
        run(&[&["graph", LENET, "-o", &file], more].concat(), 0);
        std::fs::read_to_string(file).unwrap()
    };
    assert!(draw("x.svg", &[]).contains("</svg>") && draw("x.SVG", &[]).contains("</svg>"));
    assert!(draw("x.mmd", &[]).starts_with("flowchart") && draw("x.dot", &[]).starts_with("digraph"));
    assert!(draw("x.txt", &[]).starts_with("digraph") && draw("x.svg", &["--format", "dot"]).starts_with("digraph"));
}

#[test]
fn explain_names_layers_without_labels() {
    let folder = tempfile::tempdir().unwrap();
    let text =
        "model m\ninput x: f32[N, 3, 32, 32]\nnet { conv 3x3, 8 | relu | concat {\n sigmoid\n maxpool 1x1\n} }\n";
    let file = write(folder.path(), "m.cnn", text);
    let (out, _) = run(&["explain", &file, "--verbose"], 0);
    assert!(out.contains("`relu` fused into `conv 3x3, 8`"), "{out}");
    for line in out.lines() {
        assert!(!line.ends_with("into ") && !line.contains("into :") && !line.contains("of  "), "{line}");
    }
}

/// Of a machine that would measure for long: nothing is measured.
#[test]
fn what_cannot_be_written_or_compared_is_found_first() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent/r").display().to_string();
    let report = folder.path().join("r.json").display().to_string();
    let quick = ["--min-time", "0", "--runs", "1", "--warmup", "0"];
    let (out, err) = run(&[&["bench", LENET, "--json", "-"], &quick[..]].concat(), 0);
    serde_json::from_str::<serde_json::Value>(&out).expect("nothing but JSON on standard output");
    assert!(err.contains("samples/s"), "{err}");
    std::fs::write(&report, out).unwrap();
    let slow = ["--min-time", "80000"];
    for output in ["--json", "--csv", "--html"] {
        let (_, err) = run(&[&["bench", LENET, output, &absent], &slow[..]].concat(), 1);
        assert!(err.contains("absent/r: cannot write"), "{err}");
    }
    let (_, err) = run(&[&["bench", LENET, "--batch", "7", "--baseline", &report], &slow[..]].concat(), 1);
    assert!(err.contains("no result with the same model") && err.contains("lenet5.cnn, jit"), "{err}");
    let (_, err) = run(&[&["tune", LENET, "--tuned", "/proc/no/such"], &slow[..]].concat(), 1);
    assert!(err.contains("/proc/no: cannot create"), "{err}");
    let (_, err) = run(&["graph", LENET, "-o", &absent], 1);
    assert!(err.contains("absent/r: cannot write"), "{err}");
}

#[test]
fn a_tolerance_that_accepts_everything_is_refused() {
    for number in ["nan", "inf", "-1"] {
        let tolerance = format!("--tolerance={number}");
        let (_, err) = run(&["verify", LENET, "--seed", "1", &tolerance], 2);
        assert!(err.contains("expected a number of at least 0"), "{err}");
    }
}

#[test]
fn arguments_that_nothing_would_heed_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().join("lib").display().to_string();
    for (args, why) in [
        (&["verify", LENET, "--input", SEVEN, "--batch", "3"][..], "cannot be used with '--batch"),
        (&["run", LENET, "--input", SEVEN, "--engine", "interp", "--isa", "clif"], "`--isa` goes with `--engine jit`"),
        (&["verify", LENET, "--engine", "portable", "--isa", "clif"], "`--isa` goes with `--engine jit`"),
        (&["run", LENET, "--input", SEVEN, "--engine", "interp", "--threads", "2"], "`--threads` goes with"),
        (&["run", LENET, "--input", SEVEN, "--engine", "portable", "--tuned", "t"], "`--tuned` goes with"),
        (&["compile", LENET, "-o", &to, "--batch", "2"], "add `--memory library`"),
        (&["compile", LENET, "-o", &to, "--threads", "2"], "add `--memory library`"),
        (&["compile", LENET, "-o", "-"], "`-o` names a folder"),
        (&["compile", LENET, "-o", &to, "--cpu", "foo"], "foo"),
        (&["compile", LENET, "-o", &to, "--name", "3d"], "cannot be the prefix of C names"),
        (&["verify", LENET, "-D", "N=3", "--batch", "2"], "the model has a batch of 3; leave out `--batch 2`"),
    ] {
        let (_, err) = run(args, 2);
        assert!(err.contains(why), "{args:?}: {err}");
    }
    assert!(!Path::new(&to).exists());
    for verb in ["verify", "bench"] {
        let quick: &[&str] = if verb == "bench" { &["--min-time", "0", "--runs", "1", "--warmup", "0"] } else { &[] };
        run(&[&[verb, LENET, "-D", "N=3"], quick].concat(), 0);
    }
}

#[test]
fn a_projection_that_is_never_reached_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let text = "model m\ninput x: f32[N, 3, 4, 4]\nnet { residual if false { relu } project if true { sigmoid } }\n";
    let file = write(folder.path(), "m.cnn", text);
    let (_, err) = run(&["check", &file, "--strict"], 1);
    assert!(err.contains("W0807"), "{err}");
}

/// Three lines that would take gigabytes: what is above the limit is refused before it is taken.
#[test]
fn memory_is_counted_before_it_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    for (input, net, what) in [
        ("f32[N, 1, 60000000]", "maxpool 3", "tables of the kernels of"),
        ("f32[N, 1000000]", "dense 2000, bias false", "weights of the model of 8000000000 bytes"),
        ("f32[N, 1, 16000, 16000]", "relu", "random inputs of 1024000000 bytes"),
    ] {
        let file = write(folder.path(), "m.cnn", format!("model m\ninput x: {input}\nnet {{ {net} }}\n"));
        for verb in ["verify", "bench"] {
            let (_, err) = run(&[verb, &file, "--memory-limit", "900"], 1);
            assert!(err.contains("above the limit of 943718400 bytes (raise it with --memory-limit)"), "{err}");
            assert!(err.contains(what) || err.contains("random inputs"), "{err}");
        }
        if what.starts_with("tables") {
            for verb in ["explain", "graph", "summary"] {
                let stage: &[&str] = if verb == "graph" { &["--stage", "plan"] } else { &[] };
                let (_, err) = run(&[&[verb, &file, "--memory-limit", "900"], stage].concat(), 1);
                assert!(err.contains(what), "{err}");
            }
        }
        if what.starts_with("weights") {
            let output = |verb| folder.path().join(verb).display().to_string();
            for (verb, what) in [("compile", what), ("export", "largest weight of 8000000000 bytes")] {
                let args = [verb, &file, "-o", &output(verb), "--random-weights", "--memory-limit", "900"];
                let (_, err) = run(&args, 1);
                assert!(err.contains(what), "{err}");
            }
        }
    }
}

/// All values of all layers are kept by who judges them, the inputs among them.
#[test]
fn values_of_the_interpreter_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    let text = "model m\ninput x: f32[N, 16, 125, 125]\nnet { relu | relu | relu }\n";
    let (file, input) = (write(folder.path(), "m.cnn", text), folder.path().join("x.npy"));
    let (_, err) = run(&["verify", &file, "--memory-limit", "7"], 1);
    assert!(err.contains("values of the interpreter of 8000000 bytes: above the limit of 7340032 bytes"), "{err}");
    run(&["verify", &file, "--memory-limit", "8"], 0);
    npy::write(&input, &[1, 16, 125, 125], &[0.0; 250_000]).unwrap();
    let args = ["run", &file, "--engine", "interp", "--input", input.to_str().unwrap(), "--output", "-"];
    let (_, err) = run(&[&args[..], &["--memory-limit", "3"]].concat(), 1);
    assert!(err.contains("values of the interpreter of 4000000 bytes"), "{err}");
}

/// How the inputs of a layer vary together is more than its weights.
#[test]
fn what_calibration_gathers_is_counted() {
    let folder = tempfile::tempdir().unwrap();
    let file = write(folder.path(), "m.cnn", "model m\ninput x: f32[N, 65536]\nnet { dense 1 }\n");
    let [input, to] = ["x.npy", "w8.safetensors"].map(|name| folder.path().join(name).display().to_string());
    npy::write(Path::new(&input), &[1, 65536], &[0.0; 65536]).unwrap();
    let args = ["quantize", &file, "--random-weights", "--calibrate", &input, "-o", &to, "--memory-limit"];
    let (_, err) = run(&[&args[..], &["64"]].concat(), 1);
    assert!(err.contains("values and their moments of 69") && err.contains("--memory-limit"), "{err}");
    run(&[&args[..], &["70"]].concat(), 0);
}

/// One output channel, which is packed as those of a whole vector.
#[test]
fn compiled_weights_are_counted_as_they_are_packed() {
    let folder = tempfile::tempdir().unwrap();
    let text = "model m\ninput x: f32[N, 4096, 7, 7]\nnet { conv 7x7, 1 }\n";
    let (file, to) = (write(folder.path(), "m.cnn", text), folder.path().join("to").display().to_string());
    let args = ["compile", &file, "--random-weights", "--cpu", "x86-64-v4", "-o", &to, "--memory-limit"];
    let (_, err) = run(&[&args[..], &["2"]].concat(), 1);
    assert!(err.contains("packed weights of ") && err.contains("(raise it with --memory-limit)"), "{err}");
    run(&[&args[..], &["64"]].concat(), 0);
}

/// Each as slow as it could be, had it begun: the model is none, or nothing is measured.
#[test]
fn what_cannot_be_done_is_said_before_any_work() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let file = write(folder.path(), "file", "");
    let (inside, to) = (format!("{file}/in"), path("to"));
    let spatial = write(folder.path(), "s.cnn", "model s\ninput x: f32[N, 3, 8, 8]\nnet { conv 3x3, 4 }\n");
    let fixed = write(folder.path(), "f.cnn", "model f\ninput x: f32[4, 8]\nnet { dense 2 }\n");
    let (none, slow) = ("no/such.cnn", ["--min-time", "80000"]);
    let cases: &[(&[&str], i32, &str)] = &[
        (&["compile", none, "-o", &inside], 1, "in: cannot create: not a directory"),
        (&["compile", none, "-o", &file], 1, "file: cannot write: not a directory"),
        (&["compile", none, "-o", &to, "--cpu", "x86-64-v3", "--tuned", "t"], 2, "measured on this CPU"),
        (&["compile", none, "-o", &to, "--cpu", "x86-64-v3", "--isa", "avx512"], 1, "which x86-64-v3 does not run"),
        (&["compile", none, "-o", &to, "--batch", "2"], 2, "add `--memory library`"),
        (&["compile", LENET, "-o", &to, "--weights", none, "--size", "H=3"], 2, "`H` is no free size"),
        (&["compile", &fixed, "-o", &to, "--memory", "library", "--batch", "2"], 2, "the model has a batch of 4"),
        (&["export", none, "-o", "-", "--external"], 2, "need a model file with a name"),
        (&["export", none, "-o", &inside], 1, "in: cannot write"),
        (&["import", "no/such.onnx", "-o", &inside], 1, "in: cannot create"),
        (&["import", none, "-o", &to], 2, "import reads ONNX files"),
        (&["show", none, "-o", &inside], 1, "in: cannot write"),
        (&["graph", none, "-o", &path("g.png")], 2, "no graph is written as .png"),
        (&["graph", none, "--engine", "interp"], 2, "choose another engine"),
        (&["explain", none, "--engine", "interp"], 2, "choose another engine"),
        (&["summary", none, "--diff", none, "--format", "csv"], 2, "goes with the formats"),
        (&["run", none], 2, "nothing to run on"),
        (&["run", none, "--input", SEVEN, "--engine", "interp", "--isa", "avx2"], 2, "`--isa` goes with"),
        (&["run", LENET, "--input", none, "--output", &inside], 1, "in: cannot write"),
        (&["run", LENET, "--input", none, "--output", "no=x.npy"], 2, "no output `no`"),
        (&["run", &spatial, "--input", none, "--top", "3"], 1, "is not a classification"),
        (&["run", none, "--input", SEVEN, "--engine", "interp", "--packed", &to], 2, "`--packed` goes with"),
        (&["run", LENET, "--input", "models/pictures", "--verbose"], 2, "`--verbose` goes with"),
        (&["verify", none, "--engine", "interp"], 2, "choose another engine"),
        (&["verify", none, "--checked", "--engine", "portable"], 2, "`--checked` goes with"),
        (&["verify", LENET, "--input", SEVEN, "--expected", none, "--weights", none], 1, "such.cnn"),
        (&["quantize", none, "--calibrate", SEVEN, "-o", &inside], 1, "in: cannot write"),
        (&["quantize", none, "--calibrate", SEVEN, "-o", &to, "--outside", "1"], 2, "add `--method percentile`"),
        (&["quantize", LENET, "--calibrate", SEVEN, "-o", &to, "--keep", "conv9"], 1, "no layer `conv9`"),
        (&["check", "--fix", &spatial, "-"], 2, "--fix changes model texts in files"),
        (&[&["tune", LENET, none], &slow[..]].concat(), 1, "such.cnn: cannot open"),
        (&[&["tune", LENET, "--engine", "portable"], &slow[..]].concat(), 2, "choose --engine jit"),
        (&[&["tune", LENET, "zoo:resnet51"], &slow[..]].concat(), 1, "no network of this name"),
        (&[&["bench", LENET, "models/resnet.cnn:no", "--per-layer"], &slow[..]].concat(), 1, "no variant `no`"),
        (&[&["bench", LENET, "--compare", none], &slow[..]].concat(), 1, "such.cnn: cannot open"),
        (&[&["bench", LENET, "--engine", "interp"], &slow[..]].concat(), 2, "choose another engine"),
        (&[&["bench", LENET, "--engine", "portable", "--compare-aot"], &slow[..]].concat(), 2, "choose --engine jit"),
        (&[&["bench", LENET, "--json", &to, "--csv", &to], &slow[..]].concat(), 2, "two files cannot both be"),
        (
            &[&["bench", LENET, "--isa", "clif", "--compare-isa", "clif,clif"], &slow[..]].concat(),
            2,
            "leave `--isa` out",
        ),
    ];
    for (args, code, why) in cases {
        let (_, err) = run(args, *code);
        assert!(err.contains(why), "{args:?}: {err}");
    }
    let mut left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["f.cnn", "file", "s.cnn"], "nothing was written");
}

/// With the names of their variables: all that `svertka help` lists, and none else.
#[test]
fn options_that_have_variables_are_listed() {
    let (help, _) = run(&["help"], 0);
    let rule = help.split("Environment:").nth(1).expect("a part about the environment");
    let names = |text: &str| {
        let is_part = |c: char| c.is_ascii_uppercase() || c == '_';
        let words = text.split(|c: char| !is_part(c)).filter(|word| word.starts_with("SVERTKA_") && word.len() > 8);
        words.map(str::to_owned).collect::<std::collections::BTreeSet<_>>()
    };
    let commands = help.split("Commands:\n").nth(1).unwrap().lines().map_while(|line| line.strip_prefix("  "));
    let commands = commands.filter(|line| !line.starts_with(' ')).map(|line| line.split(' ').next().unwrap());
    let of_commands: std::collections::BTreeSet<String> =
        commands.flat_map(|command| names(&run(&["help", command], 0).0)).collect();
    assert_eq!(names(rule), of_commands);
    assert!(of_commands.len() > 10, "{of_commands:?}");
    assert!(run(&["man"], 0).0.contains("SVERTKA_CHECK_FORMAT"));
}

/// A wrong value is refused under the name of its variable, an empty one is none, and what a command or an engine does
/// not take from the environment it passes over.
#[test]
fn variables_are_as_good_as_what_is_typed() {
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().display().to_string();
    let with = |variables: &[(&str, &str)], args: &[&str]| {
        let output = svertka(args).envs(variables.iter().copied()).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), text)
    };
    let classify = ["run", LENET, "--input", SEVEN];
    for name in ["ISA", "ENGINE", "THREADS", "MEMORY_LIMIT", "JOBS", "COLOR", "PROGRESS"] {
        let name = format!("SVERTKA_{name}");
        let (code, text) = with(&[(&name, "?")], &classify);
        assert!(code == 2 && text.contains(&format!("{name}, which stands for --")), "{text}");
        let (code, text) = with(&[(&name, "")], &classify);
        assert_eq!((code, text.as_str()), (0, IS_SEVEN), "{name}");
    }
    let (code, text) = with(&[("SVERTKA_THREADS", "0")], &[&classify[..], &["--threads", "0"]].concat());
    assert!(code == 2 && !text.contains("SVERTKA_THREADS,"), "{text}");
    for (name, args) in [
        ("SVERTKA_CPU", &["compile", LENET, "-o", &to][..]),
        ("SVERTKA_CHECK_FORMAT", &["check", LENET]),
        ("SVERTKA_CHECK_STRICT", &["check", LENET]),
    ] {
        let (code, text) = with(&[(name, "?")], args);
        assert!(code == 2 && text.contains(&format!("{name}, which stands for --")), "{text}");
    }
    for (variables, args) in [
        (
            &[("SVERTKA_THREADS", "2"), ("SVERTKA_ISA", "clif"), ("SVERTKA_TUNED", "none")][..],
            &["--engine", "interp"][..],
        ),
        (&[("SVERTKA_ISA", "clif"), ("SVERTKA_TUNED", "none")], &["--engine", "portable"]),
        (&[("SVERTKA_JOBS", "2")], &[]),
    ] {
        assert_eq!(with(variables, &[&classify[..], args].concat()), (0, IS_SEVEN.into()), "{variables:?}");
    }
    let compile = ["compile", LENET, "-o", &to, "--emit", "obj"];
    let tuned = [("SVERTKA_TUNED", "no/such.json"), ("SVERTKA_CPU", "x86-64-v3")];
    assert_eq!(with(&tuned, &compile).0, 0, "tuned on another CPU");
    let quick = ["--min-time", "0", "--runs", "1", "--warmup", "0", "--compare-isa", "clif,clif"];
    assert_eq!(with(&[("SVERTKA_ISA", "clif")], &[&["bench", LENET], &quick[..]].concat()).0, 0);
    let (_, text) = with(&[("SVERTKA_CHECK_FORMAT", "sarif")], &["check", LENET]);
    assert!(text.contains("\"version\": \"2.1.0\""), "{text}");
    let odd = "tests/golden/warnings/even_kernel.cnn";
    assert_eq!((with(&[("SVERTKA_CHECK_STRICT", "1")], &["check", odd]).0, with(&[], &["check", odd]).0), (1, 0));
}

#[test]
fn options_come_from_the_environment_too() {
    let given =
        |name, value| svertka(&["run", LENET, "--input", SEVEN, "--verbose"]).env(name, value).output().unwrap();
    let refused = given("SVERTKA_THREADS", "0");
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--threads"), "{refused:?}");
    let interpreted = given("SVERTKA_ENGINE", "interp");
    assert!(interpreted.status.success() && String::from_utf8_lossy(&interpreted.stderr).contains("interpret"));
}

#[test]
fn colours_are_as_they_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let wrong = write(folder.path(), "wrong.cnn", "model wrong");
    for (when, coloured) in [("always", true), ("never", false), ("auto", false)] {
        let (_, error) = run(&["summary", &wrong, "--color", when], 1);
        assert_eq!(error.contains('\u{1b}'), coloured, "{when}: {error}");
    }
}

#[test]
fn a_summary_says_what_changed_between_two_models() {
    let resnets = ["summary", "zoo:resnet18", "--diff", "zoo:resnet34"];
    let (text, _) = run(&resnets, 0);
    let figures: Vec<&str> =
        text.lines().find(|line| line.starts_with("parameters")).unwrap().split_whitespace().collect();
    assert_eq!(figures, ["parameters", "11,689,512", "21,797,672", "+86.5", "%"]);
    assert!(text.contains("\n+ layer1.2.conv1: conv 3x3, 64"), "{text}");
    let (json, _) = run(&[&resnets[..], &["--format", "json"]].concat(), 0);
    let found: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(found["removed"].as_array().unwrap().len(), 0);
    let (_, error) = run(&[&resnets[..], &["--format", "csv"]].concat(), 2);
    assert!(error.contains("goes with the formats table, json and yaml"), "{error}");
}
