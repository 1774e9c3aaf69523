//! Plans and libraries for named machines.

use super::run;

const LENET: &str = "models/lenet5.cnn";

#[test]
fn plans_for_other_machines_are_explained() {
    let explain = |more: &[&str]| run(&[&["explain", LENET], more].concat(), 0).0;
    let title = |more: &[&str]| explain(more).lines().next().unwrap().to_owned();
    assert!(title(&["--machine", "znver4"]).starts_with("lenet5 for avx512, machine znver4: "));
    assert!(title(&["--machine", "znver4", "--isa", "avx2"]).starts_with("lenet5 for avx2, machine znver4: "));
    assert!(title(&["--machine", "neoverse-v1"]).starts_with("lenet5 for clif, machine neoverse-v1: "));
    assert!(title(&["--machine", "generic"]).contains(", machine generic: "));
    let text = explain(&["--machine", "neoverse-v1"]);
    assert!(text.contains("4 multiply-adds and 3 loads of vectors a cycle, 32 bytes from L2, 9 from L3"), "{text}");
    assert!(explain(&["--machine", "znver3"]).contains("32 bytes from L2, 27 from L3, 4 from memory"));
    assert!(explain(&["--machine", "znver3", "--exact", "--verbose"]).contains("conv_direct_f32_8c"));
}

#[test]
fn what_no_machine_can_is_told() {
    for (more, part) in [
        (&["--machine", "znver33"][..], "a similar value exists: 'znver3'"),
        (&["--machine", "list"], "[possible values: generic, haswell,"),
        (
            &["--machine", "znver3", "--isa", "avx512"],
            "the machine znver3 has no avx512; its widest instruction set is avx2",
        ),
        (&["--machine", "apple-m", "--isa", "avx2"], "the machine apple-m has no avx2"),
        (&["--machine", "znver3", "--engine", "portable"], "`--machine` goes with `--engine jit`"),
        (&["--machine", "znver3", "--tuned", "tuned.json"], "not on that of `--machine`"),
    ] {
        let (_, err) = run(&[&["explain", LENET], more].concat(), 2);
        assert!(err.contains(part), "{more:?}: {err}");
    }
}

#[test]
fn libraries_are_made_for_machines_of_their_architecture() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().display().to_string();
    let compile = |more: &[&str], code: i32| {
        run(&[&["compile", LENET, "--emit", "obj", "--tuned", "none", "-o", &folder], more].concat(), code).1
    };
    compile(&["--cpu", "x86-64-v3", "--machine", "znver3"], 0);
    compile(&["--cpu", "aarch64-generic", "--machine", "neoverse-n1"], 0);
    compile(&["--cpu", "aarch64-generic", "--machine", "generic"], 0);
    let err = compile(&["--cpu", "x86-64-v3", "--machine", "neoverse-n1"], 2);
    assert!(err.contains("--machine neoverse-n1: no x86_64, which `--cpu x86-64-v3` is; name one that is"), "{err}");
    let err = compile(&["--cpu", "x86-64-v3", "--machine", "zen3"], 2);
    assert!(err.contains("znver3"), "{err}");
}
