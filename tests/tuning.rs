//! Choices by measurement: every candidate computes what the estimated choice does, and `svertka tune` keeps its file.
//! What is measured is never looked at.

use crate::common::lab::Lab;
use crate::common::*;
use proptest::prelude::*;
use svertka::codegen::Isa;
use svertka::interp;
use svertka::kernels::Target;
use svertka::kernels::tuning::Choices;
use svertka::layers::{Accumulate, Conv, Padding, Window};
use svertka::runtime::{Engine, Options, Session};
use svertka::schedule::{offers, plan, plan_tuned};

fn conv() -> impl Strategy<Value = (Vec<usize>, Conv)> {
    let kernel = prop_oneof![2 => Just(1usize), 4 => Just(3), 1 => Just(5)];
    (1usize..150, 1usize..30, 1usize..30, 1usize..80, kernel, 1usize..3).prop_map(
        |(channels_in, height, width, channels, kernel, stride)| {
            let (kernel, stride, dilation) = (vec![kernel; 2], vec![stride; 2], vec![1; 2]);
            let window = Window { kernel, stride, dilation, padding: Padding::Half, ceil: false };
            (vec![channels_in, height, width], Conv { channels, window, groups: 1, bias: true, weights: None })
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Behind a convolution, for the first one reads another layout.
    #[test]
    fn every_candidate_keeps_the_promise((dims, op) in conv(), seed: u64) {
        let (mut graph, x) = graph_of(&dims);
        let first = Window { kernel: vec![1; 2], stride: vec![1; 2], dilation: vec![1; 2], padding: Padding::Valid, ceil: false };
        let first = Conv { channels: dims[0], window: first, groups: 1, bias: false, weights: None };
        let a = graph.add_layer(first, &[x], "a").unwrap();
        let b = graph.add_layer(op, &[a], "b").unwrap();
        output(&mut graph, b);
        let graph = verified(graph);
        let (inputs, weights) = (inputs(&graph, 2, seed), weights(seed));
        let expected = interp::run(&graph, &weights, &inputs, Accumulate::F64);
        for exact in [false, true] {
            for isa in Isa::available() {
                let options = Options { engine: Engine::Jit(isa), exact, ..Options::default() };
                let offers = offers(&plan(graph.clone(), options.target()));
                let rounds = offers.iter().map(|offer| offer.candidates.len()).max().unwrap_or(0);
                for round in 0..rounds {
                    let candidate = |offer: &svertka::schedule::Offer| {
                        Some((offer.key.clone(), offer.candidates.get(round)?.clone()))
                    };
                    let choices: Choices = offers.iter().filter_map(candidate).collect();
                    let run = |threads| {
                        let options = Options { threads, ..options };
                        let mut session = Session::tuned(graph.clone(), &weights, &options, &choices).unwrap();
                        let verdicts = &session.plan().verdicts;
                        assert!(!verdicts.is_empty() && verdicts.iter().all(|(_, verdict)| verdict.changes()));
                        session.run(&inputs).unwrap()
                    };
                    let found = run(1);
                    let distance = difference(&found[0], &expected[0]);
                    assert!(distance <= if exact { 1e-5 } else { 1e-4 }, "{isa}, {choices:?}: {distance}");
                    assert_eq!(run(2), found, "{isa}, {choices:?}: two threads give other bits");
                }
            }
        }
    }
}

/// A network whose second layer has Winograd candidates.
fn small() -> svertka::ir::Verified<svertka::ir::Graph> {
    let (mut graph, x) = graph_of(&[16, 20, 20]);
    let window =
        || Window { kernel: vec![3; 2], stride: vec![1; 2], dilation: vec![1; 2], padding: Padding::Half, ceil: false };
    let conv = || Conv { channels: 16, window: window(), groups: 1, bias: true, weights: None };
    let a = graph.add_layer(conv(), &[x], "a").unwrap();
    let b = graph.add_layer(conv(), &[a], "b").unwrap();
    // Direct, exact or not.
    let window =
        Window { kernel: vec![3; 2], stride: vec![2; 2], dilation: vec![1; 2], padding: Padding::Half, ceil: false };
    let c = graph.add_layer(Conv { channels: 16, window, groups: 1, bias: true, weights: None }, &[b], "c").unwrap();
    output(&mut graph, c);
    verified(graph)
}

#[test]
fn only_offered_candidates_are_taken() {
    let target = Target::new(Isa::detect());
    let estimated = plan(small(), target);
    let offers = offers(&estimated);
    let choices: Choices = offers.iter().map(|offer| (offer.key.clone(), "winograd 99x99".to_string())).collect();
    let plan = plan_tuned(small(), target, &choices);
    assert!(
        plan.verdicts.len() == 3 && plan.verdicts.iter().all(|(_, verdict)| !verdict.offered),
        "{:?}",
        plan.verdicts
    );
    let kernels = |plan: &svertka::schedule::Plan| plan.steps.iter().map(|s| s.kernel.clone()).collect::<Vec<_>>();
    assert_eq!(kernels(&plan), kernels(&estimated));
}

/// The keys of exact plans are others, and Winograd is no candidate there whatever the choices say.
#[test]
fn exact_plans_stay_exact() {
    let target = Target { exact: true, ..Target::new(Isa::detect()) };
    let all = offers(&plan(small(), target));
    assert!(all.iter().all(|offer| offer.candidates.iter().all(|decision| decision.starts_with("direct"))), "{all:?}");
    let inexact = offers(&plan(small(), Target { exact: false, ..target }));
    assert!(inexact.iter().any(|offer| offer.candidates.iter().any(|decision| decision.starts_with("winograd"))));
    assert!(inexact.iter().all(|offer| all.iter().all(|other| offer.key != other.key)));
}

const LENET: &str = "models/lenet5.cnn";
const TUNE: [&str; 4] = ["tune", LENET, "--min-time", "0"];
const EXPLAIN: [&str; 2] = ["explain", LENET];

impl Lab {
    /// The digit in a picture, and what was said beside it.
    fn digit(&self, args: &[&str]) -> String {
        let run = ["run", LENET, "--input", "models/pictures/digit_3.png"];
        let (out, err) = self.run(&[&run, args].concat(), 0);
        assert!(out.starts_with("digit_3.png: 3 "), "{out}");
        err
    }

    fn kept(&self) -> std::path::PathBuf {
        let mut files = std::fs::read_dir(self.folder().join("cache/svertka")).unwrap();
        files.next().unwrap().unwrap().path()
    }
}

#[test]
fn what_is_tuned_is_kept_and_followed() {
    let lab = Lab::new();
    assert!(!lab.run(&EXPLAIN, 0).0.contains("measured"));
    let (out, _) = lab.run(&TUNE, 0);
    assert!(out.contains("all steps: ") && out.contains(&lab.kept().display().to_string()), "{out}");
    let (out, err) = lab.run(&EXPLAIN, 0);
    assert!(out.contains("choice: direct") && out.contains(": measured") && err.is_empty(), "{out}{err}");
    assert!(!lab.run(&[&EXPLAIN[..], &["--tuned", "none"]].concat(), 0).0.contains("measured"));
    assert!(!lab.digit(&[]).contains("warning"));
    // The same choices give the same object, and none are followed for another CPU.
    let object = |args: &[&str]| {
        let folder = tempfile::tempdir().unwrap();
        let (_, err) =
            lab.run(&[&["compile", LENET, "--emit", "obj", "-o", folder.path().to_str().unwrap()], args].concat(), 0);
        assert!(!err.contains("warning"), "{err}");
        std::fs::read(std::fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path()).unwrap()
    };
    assert!(object(&[]) == object(&[]));
    assert!(object(&["--cpu", "x86-64-v3"]) == object(&["--cpu", "x86-64-v3", "--tuned", "none"]));
}

/// A file without decisions is none.
#[test]
fn a_network_without_choices_leaves_no_file() {
    let lab = Lab::new();
    let (model, file) = (lab.path("pool.cnn"), lab.path("t.json"));
    std::fs::write(&model, "model m\ninput x: f32[N, 4, 8, 8]\nnet { maxpool 2x2, stride 2 }\n").unwrap();
    let (out, _) = lab.run(&["tune", &model, "--min-time", "0", "--tuned", &file], 0);
    assert!(out.contains("no layer leaves a choice") && out.contains("there is nothing to keep: "), "{out}");
    assert!(!std::path::Path::new(&file).exists());
    // Beside one that has some it is no harm, and what was found before stays.
    let (out, _) = lab.run(&["tune", &model, LENET, "--min-time", "0", "--tuned", &file], 0);
    assert!(out.contains("no layer leaves a choice") && out.contains("kept in "), "{out}");
    let before = std::fs::read_to_string(&file).unwrap();
    let (out, _) = lab.run(&["tune", &model, "--min-time", "0", "--tuned", &file], 0);
    assert!(out.contains("t.json is as it was") && std::fs::read_to_string(&file).unwrap() == before, "{out}");
}

/// As those of `svertka bench` do.
#[test]
#[cfg(target_os = "linux")]
fn threads_keep_their_cores_while_they_are_measured() {
    let lab = Lab::new();
    let allowed = svertka::bench::pin::allowed();
    let tune = |more: &[&str]| lab.run(&[&TUNE[..], &["--tuned", "none"], more].concat(), 0).0;
    let out = tune(&[]);
    assert!(allowed.iter().any(|core| out.contains(&format!("on core {core}; "))), "{allowed:?} {out}");
    assert!(tune(&["--no-pin"]).contains("not pinned; "));
    if let [first, second, ..] = allowed[..] {
        let out = tune(&["--threads", "2"]);
        assert!(out.contains("on cores "), "{first}, {second}: {out}");
    }
}

#[test]
fn tuning_adds_to_the_file_that_is_named() {
    let lab = Lab::new();
    let file = lab.path("t.json");
    let count = || std::fs::read_to_string(&file).unwrap().matches("decision").count();
    lab.run(&[&TUNE[..], &["--tuned", &file]].concat(), 0);
    let before = count();
    lab.run(&[&TUNE[..], &["--tuned", &file, "--exact"]].concat(), 0);
    assert!(before > 0 && count() > before && !lab.folder().join("cache").exists());
    let (out, _) = lab.run(&[&TUNE[..], &["--tuned", "none"]].concat(), 0);
    assert!(!out.contains("kept"), "{out}");
    std::fs::write(&file, "my poem").unwrap();
    let (_, err) = lab.run(&[&TUNE[..], &["--tuned", &file]].concat(), 1);
    assert!(err.contains("not replaced") && std::fs::read_to_string(&file).unwrap() == "my poem", "{err}");
    let (_, err) = lab.run(&[&TUNE[..], &["--engine", "interp"]].concat(), 2);
    assert!(err.contains("only generated code"), "{err}");
}

#[test]
fn files_of_no_use_are_passed_over_with_a_warning() {
    let lab = Lab::new();
    lab.run(&TUNE, 0);
    let kept = lab.kept();
    let text = std::fs::read_to_string(&kept).unwrap();
    let start = text.find("\"decision\": \"").unwrap();
    let other = format!(
        "{}\"decision\": \"winograd 9x9\"{}",
        &text[..start],
        &text[start + text[start..].find('\n').unwrap()..]
    );
    for (broken, why) in [
        (text.replace("\"cpu\": \"", "\"cpu\": \"another "), "of another CPU, another "),
        (text.replace("\"schema_version\": 1", "\"schema_version\": 77"), "of another version"),
        (text.replace("\"svertka\": \"", "\"svertka\": \"99."), "of another version of svertka, 99."),
        (text[..text.len() / 2].to_string(), "not a file of `svertka tune`"),
        (String::new(), "not a file of `svertka tune`"),
        ("{\"choices\": [1e999, ".repeat(1000), "not a file of `svertka tune`"),
        (text.replace("\"decision\"", "\"descision\""), "not a file of `svertka tune`"),
        (other, "`winograd 9x9` is no choice for layer `"),
    ] {
        assert_ne!(broken, text);
        std::fs::write(&kept, broken).unwrap();
        let err = lab.digit(&[]);
        assert!(err.contains("warning: ") && err.contains(why) && err.contains("--tuned none"), "{why}: {err}");
        assert!(err.contains(&kept.display().to_string()), "{err}");
        assert!(!lab.digit(&["--tuned", "none"]).contains("warning"));
    }
    // It is replaced by one that is of use.
    std::fs::write(&kept, "").unwrap();
    assert!(lab.run(&TUNE, 0).1.contains("it will be replaced"));
    assert!(!lab.digit(&[]).contains("warning"));
    assert!(lab.digit(&["--tuned", &lab.path("absent")]).contains("absent"));
}

#[test]
fn folders_that_are_in_the_way_are_reported() {
    let lab = Lab::new();
    lab.run(&TUNE, 0);
    let kept = lab.kept();
    std::fs::remove_file(&kept).unwrap();
    std::fs::create_dir(&kept).unwrap();
    assert!(lab.digit(&[]).contains("warning: "));
    let (out, err) = lab.run(&TUNE, 1);
    assert!(out.is_empty() && err.contains(&kept.display().to_string()), "nothing is measured in vain: {out}{err}");
    // No folder can be made below a file.
    std::fs::write(lab.path("file"), "").unwrap();
    let (_, err) = lab.run(&[&TUNE[..], &["--tuned", &lab.path("file/t.json")]].concat(), 1);
    assert!(err.contains("file"), "{err}");
}
