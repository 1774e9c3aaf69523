//! `--products bf16`.

use super::{LENET, SEVEN, run};

#[test]
fn what_cannot_be_asked_for_is_told_with_the_way_out() {
    let bf16 = &["--products", "bf16"];
    let instructions = "products of bf16 need a CPU with AVX512_BF16";
    for (args, part) in [
        (&["explain", LENET, "--machine", "znver4", "--exact"][..], "which `exact` asks for; leave out one of the two"),
        (&["explain", LENET, "--machine", "znver3"], instructions),
        (&["explain", LENET, "--machine", "znver4", "--isa", "avx2"], instructions),
        (&["explain", LENET, "--isa", "clif"], instructions),
        (&["run", LENET, "--input", SEVEN, "--isa", "clif"], instructions),
        (&["run", LENET, "--input", SEVEN, "--engine", "portable"], "`--products bf16` goes with `--engine jit`"),
        (&["run", LENET, "--input", SEVEN, "--engine", "interp"], "`--products bf16` goes with `--engine jit`"),
        (&["verify", LENET, "--checked", "--isa", "avx2"], instructions),
        (&["compile", LENET, "-o", "nowhere", "--cpu", "znver3"], instructions),
        (&["compile", LENET, "-o", "nowhere", "--cpu", "znver4", "--isa", "avx2"], instructions),
        (&["compile", LENET, "-o", "nowhere", "--cpu", "znver4", "--exact"], "leave out one of the two"),
    ] {
        let (_, err) = run(&[args, bf16].concat(), 2);
        assert!(err.contains(part), "{args:?}: {err}");
    }
    // Values of bf16 are no whole numbers at the edge of a network.
    let folder = tempfile::tempdir().unwrap();
    let compile = ["compile", "models/mlp.cnn", "--random-weights", "--cpu", "znver4", "--bytes", "-o"];
    let (_, err) = run(&[&compile, &[folder.path().to_str().unwrap()][..], bf16].concat(), 2);
    assert!(err.contains("this network computes in f32"), "{err}");
    let (_, err) = run(&["explain", LENET, "--products", "f16"], 2);
    assert!(err.contains("[possible values: f32, bf16]"), "{err}");
}

/// What is planned for a named machine is the same everywhere.
#[test]
fn plans_with_products_of_bf16_are_explained() {
    let (out, _) = run(&["explain", LENET, "--machine", "znver4", "--products", "bf16"], 0);
    insta::assert_snapshot!(out);
    let (out, _) = run(&["explain", LENET, "--machine", "emeraldrapids", "--products", "bf16", "--verbose"], 0);
    for part in [
        "2 times as long as those of f32",
        "conv2: not done: multiplies numbers of f32: a group has fewer input channels than half a block",
    ] {
        assert!(out.contains(part), "{out}");
    }
}

/// On any machine, in the emulator.
#[test]
fn products_of_bf16_are_verified_in_the_emulator() {
    let args = ["verify", LENET, "--checked", "--isa", "avx512", "--products", "bf16", "--input", SEVEN];
    let (out, _) = run(&args, 0);
    assert!(out.contains("no access outside the operands of a step"), "{out}");
    assert!(out.contains("all within 1e-4: channels relative to their terms, outputs within 1e-1 relative"), "{out}");
}
