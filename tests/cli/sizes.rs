//! Models whose sizes are free, on arrays and pictures of other sizes.

use super::*;

const MODEL: &str = "model m\ninput image: f32[N, 1, H = 8, W = 8]\nallow small_field\n\
                     net { c: conv 3x3, 2 | relu | d: conv 3x3, 3 | global_avgpool }\n";

fn array(folder: &Path, name: &str, shape: &[usize]) -> String {
    let path = folder.join(name);
    let values: Vec<f32> = (0..shape.iter().product()).map(|i: usize| (i as f32 * 0.3).sin()).collect();
    npy::write(&path, shape, &values).unwrap();
    path.display().to_string()
}

/// What the model gives for these arguments, and for what standard error has beside the note on weights.
fn output(folder: &Path, args: &[&str]) -> Vec<u8> {
    let to = folder.join("out.npy").display().to_string();
    run(&[&["run", "--seed", "1", "--output", &to], args].concat(), 0);
    std::fs::read(to).unwrap()
}

#[test]
fn arrays_are_taken_in_their_own_size() {
    let folder = tempfile::tempdir().unwrap();
    let model = write(folder.path(), "m.cnn", MODEL);
    let usual = array(folder.path(), "usual.npy", &[2, 1, 8, 8]);
    let larger = array(folder.path(), "larger.npy", &[1, 12, 10]);
    let own = output(folder.path(), &[&model, "--input", &larger]);
    assert_eq!(own, output(folder.path(), &[&model, "--input", &larger, "-D", "H=12", "-D", "W=10"]));
    assert_eq!(own, output(folder.path(), &[&model, "--input", &larger, "-D", "H=12"]));
    for engine in engines() {
        run(&[&["run", &model, "--seed", "1", "--input", &larger], engine.as_slice()].concat(), 0);
    }
    let (out, _) = run(&["verify", &model, "--input", &larger], 0);
    assert!(out.contains("all within"), "{out}");

    let error = |args: &[&str]| run(&[&["run", &model, "--seed", "1"], args].concat(), 1).1;
    let fixed = error(&["--input", &larger, "-D", "H=9"]);
    assert!(fixed.contains("its shape is [1, 12, 10], the model takes [N, 1, 9, 10]"), "{fixed}");
    let two = error(&["--input", &usual, &larger, "--top", "1"]);
    assert!(two.contains("usual.npy has H = 8, ") && two.contains("larger.npy has H = 12"), "{two}");
    let small = array(folder.path(), "small.npy", &[1, 1, 4, 12]);
    let small = error(&["--input", &small]);
    assert!(small.contains("error[E0302]") && small.contains("d: conv 3x3, 3"), "{small}");
    let channels = array(folder.path(), "channels.npy", &[1, 2, 9, 8]);
    assert!(error(&["--input", &channels]).contains("the model takes [N, 1, 9, 8]"));
}

#[test]
fn pictures_are_brought_to_the_size_unless_they_keep_theirs() {
    let folder = tempfile::tempdir().unwrap();
    let model = write(folder.path(), "m.cnn", MODEL);
    let run_on_seven = |more: &[&str]| output(folder.path(), &[&[&model, "--input", SEVEN], more].concat());
    // Without a card there is nothing to bring them to.
    let own = run_on_seven(&[]);
    assert_eq!(own, run_on_seven(&["--keep-size"]));
    assert_eq!(own, run_on_seven(&["-D", "H=28", "-D", "W=28"]));
    let (_, err) = run(&["run", &model, "--seed", "1", "--input", SEVEN, "-D", "H=30"], 1);
    assert!(err.contains("a picture of 28x28, the model takes 30x28"), "{err}");

    write(folder.path(), "m.yaml", "preprocessing: {resize: 10, crop: 8}\n");
    let published = run_on_seven(&[]);
    assert_ne!(published, own);
    assert_eq!(own, run_on_seven(&["--keep-size"]));
    assert_eq!(published, run_on_seven(&["-D", "H=8"]));
    let larger = run_on_seven(&["-D", "H=16", "-D", "W=12"]);
    assert!(larger != published && larger != own);
    let (_, err) = run(&["run", &model, "--seed", "1", "--input", SEVEN, "--keep-size", "-D", "H=8"], 1);
    assert!(err.contains("its own size is 28x28, the model takes [N, 1, H = 8, W = 28]"), "{err}");
}

#[test]
fn every_verb_takes_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let model = write(folder.path(), "m.cnn", MODEL);
    let (out, _) = run(&["summary", &model, "-D", "H=20"], 0);
    assert!(out.contains("m, input 1x20x8 (free: H, W)") || out.contains("(free: H, W)"), "{out}");
    let (out, _) = run(&["graph", &model, "--stage", "source", "-D", "H=20", "-o", "-"], 0);
    assert!(out.contains("H = 20"), "{out}");
    run(&["explain", &model, "-D", "H=20"], 0);
    run(&["check", &model], 0);
    run(&["bench", &model, "-D", "H=20", "--min-time", "0", "--runs", "1", "--warmup", "0"], 0);
    let to = folder.path().display().to_string();
    run(&["compile", &model, "--seed", "1", "-D", "H=20", "-o", &to], 0);
    let header = std::fs::read_to_string(folder.path().join("m.h")).unwrap();
    assert!(header.contains("[N, 1, 20, 8]"), "{header}");
    let (_, err) = run(&["summary", &model, "-D", "h=20"], 1);
    assert!(err.contains("the model has no parameter `h`") && err.contains("`H`"), "{err}");
}

#[test]
fn compile_takes_several_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let model = write(folder.path(), "m.cnn", MODEL);
    let to = folder.path().join("out").display().to_string();
    let compile = |more: &[&str], code| run(&[&["compile", &model, "--seed", "1", "-o", &to], more].concat(), code).1;
    compile(&["--size", "H=12,W=9", "--size", "H=20"], 0);
    let header = std::fs::read_to_string(folder.path().join("out/m.h")).unwrap();
    for function in ["m_run(", "m_12x9_run(", "m_12x9_memory_bytes(", "m_20x8_run_parallel(", "m_20x8_output_shape("] {
        assert!(header.contains(function), "{function}\n{header}");
    }
    assert!(header.contains("image: f32 [N, 1, 12, 9]") && !header.contains('@'), "{header}");
    for (sizes, code, message) in [
        (&["--size", "H=12", "--size", "H=12,W=8"][..], 1, "the size 12x8 is there twice"),
        (&["--size", "H=8"], 1, "the size 8x8 is there twice"),
        (&["--size", "h=12"], 2, "`h` is no free size of the model; these are H, W"),
        (&["--size", "12"], 2, "expected NAME=VALUE"),
        (&["--size", "H=4"], 1, "error[E0302]"),
    ] {
        let error = compile(sizes, code);
        assert!(error.contains(message), "{error}");
    }
    let flat = MODEL.replace("global_avgpool", "flatten | fc: dense 2");
    write(folder.path(), "m.cnn", flat);
    assert!(compile(&["--size", "H=12"], 1).contains("the weight `fc.weight` has another shape"));
}
