//! `svertka bench` and `svertka peak` through the real binary. What is measured is never looked at, only its form.

use crate::common::lab::Lab;
use std::path::Path;
use svertka::bench::report::Report;

impl Lab {
    fn write(&self, name: &str, content: &str) -> String {
        std::fs::write(self.folder().join(name), content).unwrap();
        self.path(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder().join(name)).unwrap()
    }

    fn report(&self, name: &str) -> Report {
        Report::from_json(&self.read(name)).unwrap()
    }

    /// `svertka bench` with few runs, in one process beside that of the command.
    fn bench(&self, args: &[&str], code: i32) -> (String, String) {
        self.bench_in(1, args, code)
    }

    fn bench_in(&self, processes: usize, args: &[&str], code: i32) -> (String, String) {
        let processes = format!("--processes={processes}");
        let few = ["bench", "--min-time", "0", "--runs", "3", "--warmup", "1", &processes];
        self.run(&[&few, args].concat(), code)
    }
}

#[test]
fn intervals_are_over_processes_that_take_turns() {
    let lab = Lab::new();
    let json = lab.path("r.json");
    let args = ["models/lenet5.cnn", "--compare", "models/lenet5.cnn:tanh", "--random-weights", "--json", &json];
    let (out, err) = lab.bench_in(3, &args, 0);
    assert!(out.contains("median runs of 3 processes") && out.contains("over 3 processes"), "{out}");
    assert_eq!(err.matches("random weights with seed 1").count(), 2, "once for each network: {err}");
    let report = lab.report("r.json");
    for result in &report.results {
        let (median, processes) = (result.median, &result.processes);
        assert_eq!((median.processes, processes.len(), result.steady.runs), (3, 3, 3));
        assert!(median.low.unwrap() <= median.value && median.value <= median.high.unwrap(), "{median:?}");
        assert_eq!(processes.iter().map(|process| process.runs).sum::<usize>(), result.steady.runs);
        assert_eq!(result.weights, "random, seed 1");
        assert!(processes.iter().all(|process| process.clock_gflops.unwrap() > 0.0), "{processes:?}");
    }
    let ratio = report.comparisons[0].ratio;
    assert!(ratio.processes == 3 && ratio.low.unwrap() <= ratio.high.unwrap(), "{ratio:?}");
    // One process has no interval, and it is said.
    let (out, _) = lab.bench(&args, 0);
    assert!(out.contains("nothing is known of what differs between processes"), "{out}");
    let report = lab.report("r.json");
    assert!(report.results[0].median.low.is_none() && report.comparisons[0].ratio.low.is_none());
}

/// Each measures them, and has bounds at its own clock.
#[test]
fn steps_are_those_of_all_processes() {
    let lab = Lab::new();
    let json = lab.path("r.json");
    let args = ["models/lenet5.cnn", "--per-layer", "--threads", "2", "--json", &json];
    let (out, _) = lab.bench_in(2, &args, 0);
    assert!(out.contains("medians over 2 processes, of which each has bounds at its own clock"), "{out}");
    let report = lab.report("r.json");
    let profile = report.results[0].profile.as_ref().unwrap();
    assert!(profile.steps.iter().all(|step| step.time.runs == 4), "two of each: {profile:?}");
    assert!(profile.clock > 0.0 && profile.steps.iter().all(|step| step.distance > 1.0 - 1e-9), "{profile:?}");
    let parts = profile.occupation.map(|o| o.work_s + o.serial_s + o.uneven_s + o.absent_s + o.handover_s).unwrap();
    assert!((parts - 2.0 * profile.occupation.unwrap().time_s).abs() < 1e-9, "{profile:?}");
}

/// Of whole numbers an instruction makes two products in a lane at the least.
#[test]
fn products_of_whole_numbers_are_bound_as_such() {
    let lab = Lab::new();
    let (eight, json) = (lab.path("w8.safetensors"), lab.path("r.json"));
    lab.run(&["quantize", "models/lenet5.cnn", "--calibrate", "models/pictures/digit_7.png", "-o", &eight], 0);
    lab.bench(&["models/lenet5.cnn", "--weights", &eight, "--per-layer", "--json", &json], 0);
    let report = lab.report("r.json");
    assert_eq!(report.results[0].weights, "w8.safetensors");
    let steps = &report.results[0].profile.as_ref().unwrap().steps;
    let whole: Vec<_> = steps.iter().filter(|step| step.flops > 0 && step.kernel.contains("u8")).collect();
    assert!(!whole.is_empty(), "{steps:?}");
    assert!(whole.iter().all(|step| step.own_flops > 0 && 2 * step.own_flops <= step.flops), "{whole:?}");
    assert!(steps.iter().all(|step| step.distance > 1.0 - 1e-9 && step.peak_share < 1.0 + 1e-9), "{steps:?}");
}

/// What is measured of the machine, for which 128 MiB are read, is none of the network's.
#[test]
#[cfg(target_os = "linux")]
fn memory_is_that_of_a_process_that_does_nothing_else() {
    let lab = Lab::new();
    let json = lab.path("r.json");
    lab.bench(&["models/lenet5.cnn", "zoo:alexnet", "models/lenet5.cnn", "--per-layer", "--json", &json], 0);
    let memory: Vec<u64> = lab.report("r.json").results.iter().map(|result| result.peak_rss_bytes >> 20).collect();
    assert!(memory[0] > 0 && memory[0] < 100 && memory[1] > 200, "{memory:?} MiB");
    assert!(memory[2] < 100, "after a large one: {memory:?} MiB");
}

#[test]
#[cfg(target_os = "linux")]
fn threads_keep_their_cores_unless_they_are_not_to() {
    let lab = Lab::new();
    let json = lab.path("r.json");
    let allowed = svertka::bench::pin::allowed();
    let (out, _) = lab.bench(&["models/lenet5.cnn", "--json", &json], 0);
    let report = lab.report("r.json");
    let cores = &report.results[0].cores;
    assert_eq!(report.results[0].weights, "lenet5_relu.safetensors");
    assert!(cores.len() == 1 && allowed.contains(&cores[0]), "{cores:?} of {allowed:?}");
    assert!(out.contains(&format!("1 thread: on core {}; ", cores[0])), "{out}");
    assert!(report.load.is_some() && report.results[0].disturbance.preempted.is_some(), "{report:?}");
    let (out, _) = lab.bench(&["models/lenet5.cnn", "--no-pin", "--json", &json], 0);
    assert!(out.contains("1 thread: not pinned; "), "{out}");
    // There are not as many.
    lab.bench(&["models/lenet5.cnn", "--threads", "1000", "--runs", "1", "--json", &json], 2);
    let many = (allowed.len() + 1).to_string();
    lab.bench(&["models/lenet5.cnn", "--threads", &many, "--json", &json], 0);
    assert_eq!(lab.report("r.json").results[0].cores, [0; 0]);
}

/// Then the process cannot be started again with the same input.
#[test]
fn what_can_be_read_once_is_measured_in_one_process() {
    let lab = Lab::new();
    let json = lab.path("r.json");
    let mut command = assert_cmd::Command::cargo_bin("svertka").unwrap();
    command.args(["bench", "-", "--min-time", "0", "--runs", "2", "--json", &json]);
    let output = command.write_stdin(std::fs::read("models/lenet5.cnn").unwrap()).output().unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && err.contains("measured in one process"), "{err}");
    assert_eq!(lab.report("r.json").results[0].processes.len(), 1);
}

/// Of the process that measures, once.
#[test]
fn what_is_wrong_is_said_once() {
    let lab = Lab::new();
    let wrong = lab.write("wrong.safetensors", "no weights");
    let (_, err) = lab.bench_in(3, &["models/lenet5.cnn", "--weights", &wrong], 1);
    assert_eq!(err.matches("wrong.safetensors").count(), 1, "{err}");
    let (_, err) = lab.bench(&["models/lenet5.cnn", "--contender", "{}"], 2);
    assert!(err.contains("missing field `model`"), "{err}");
}

#[test]
fn several_models_are_measured_and_written() {
    let lab = Lab::new();
    let (json, csv) = (lab.path("r.json"), lab.path("r.csv"));
    let models = ["models/lenet5.cnn", "models/lenet5.cnn:tanh"];
    let files = ["--batch", "2", "--threads", "2", "--json", &json, "--csv", &csv];
    let (out, err) = lab.bench(&[&models[..], &files].concat(), 0);
    for part in ["lenet5.cnn:tanh", "batch 2, 2 threads", "P99.9", "samples/s", "first run", "peak RSS"] {
        assert!(out.contains(part), "{part} in {out}");
    }
    assert!(!err.contains('\r'), "no progress line where nobody watches: {err}");
    let report = lab.report("r.json");
    assert_eq!(report.results.len(), 2);
    let result = &report.results[1];
    assert_eq!((result.setting.model.as_str(), result.steady.runs, result.macs), ("lenet5.cnn:tanh", 3, 2 * 416_520));
    assert!(result.phases.first_run_s > 0.0 && result.profile.is_none() && report.peak.is_none());
    assert_ne!(result.model_hash, report.results[0].model_hash);
    assert_eq!(lab.read("r.csv").lines().count(), 3);
}

#[test]
fn layers_are_profiled_on_every_engine() {
    let lab = Lab::new();
    for engine in [&["--isa", "clif"][..], &[], &["--engine", "portable"]] {
        let json = lab.path("r.json");
        let args = [&["models/lenet5.cnn", "--per-layer", "--json", &json], engine].concat();
        let (out, _) = lab.bench(&args, 0);
        for part in ["time/bound", "conv2", "maxpool", "whole network / sum of bounds"] {
            assert!(out.contains(part), "{part} in {out}");
        }
        let report = lab.report("r.json");
        let profile = report.results[0].profile.as_ref().unwrap();
        let flops: u64 = profile.steps.iter().map(|step| step.flops).sum();
        assert_eq!(flops, 2 * report.results[0].macs);
        assert!(profile.steps.iter().all(|step| step.bound_s > 0.0 && step.time.runs == 3));
    }
    let schema = std::fs::read_to_string("benches/format.md").unwrap();
    for field in fields(&serde_json::from_str(&lab.read("r.json")).unwrap()) {
        assert!(schema.contains(&format!("`{field}`")), "`{field}` is not documented");
    }
}

#[test]
fn the_time_of_threads_is_accounted_for_and_others_are_simulated() {
    let lab = Lab::new();
    let json = lab.path("r.json");
    let args = ["models/lenet5.cnn", "--per-layer", "--threads", "2", "--batch", "3", "--simulate", "1,4"];
    let (out, _) = lab.bench(&[&args[..], &["--json", &json]].concat(), 0);
    for part in ["2 threads take", "% is work", "handover", "simulated from the steps' times on one thread"] {
        assert!(out.contains(part), "{part} in {out}");
    }
    let report = lab.report("r.json");
    let profile = report.results[0].profile.as_ref().unwrap();
    let simulated: Vec<usize> = profile.simulated.iter().map(|run| run.threads).collect();
    assert_eq!((profile.occupation.unwrap().threads, simulated), (2, vec![1, 4]));
    assert!(profile.steps.iter().all(|step| step.occupation.is_some_and(|o| o.alone_s > 0.0 && o.work_s > 0.0)));
    // One thread as simulated is the sum of the steps of one thread.
    let alone_s: f64 = profile.steps.iter().map(|step| step.occupation.unwrap().alone_s).sum();
    let one = profile.simulated[0];
    assert!((one.time_s - alone_s).abs() < 1e-9 && one.serial_s == 0.0, "{one:?}, {alone_s}");
    let schema = std::fs::read_to_string("benches/format.md").unwrap();
    for field in fields(&serde_json::from_str(&lab.read("r.json")).unwrap()) {
        assert!(schema.contains(&format!("`{field}`")), "`{field}` is not documented");
    }
    // Without those, nothing is said of threads.
    let (out, _) = lab.bench(&["models/lenet5.cnn", "--simulate", "2"], 0);
    assert!(out.contains("times as fast") && !out.contains("% is work"), "{out}");
    for wrong in ["0", "2,", "x", "2000"] {
        assert!(lab.bench(&["models/lenet5.cnn", "--simulate", wrong], 2).1.contains("--simulate"));
    }
}

/// The names of all fields in a JSON value.
fn fields(value: &serde_json::Value) -> Vec<String> {
    match value {
        serde_json::Value::Object(entries) => {
            entries.iter().flat_map(|(name, value)| [vec![name.clone()], fields(value)].concat()).collect()
        }
        serde_json::Value::Array(values) => values.iter().flat_map(fields).collect(),
        _ => Vec::new(),
    }
}

/// A library that is linked and loaded on the way.
#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn ahead_of_time_code_takes_turns_with_code_in_memory() {
    let lab = Lab::new();
    let json = lab.path("r.json");
    let args = ["models/lenet5.cnn", "--compare-aot", "--threads", "2", "--batch", "3", "--per-layer", "--json", &json];
    let (out, _) = lab.bench(&args, 0);
    assert!(out.contains("B lenet5.cnn, aot ") && out.contains("A lenet5.cnn, jit "), "{out}");
    let report = lab.report("r.json");
    let profiled: Vec<bool> = report.results.iter().map(|result| result.profile.is_some()).collect();
    assert_eq!((profiled, report.comparisons.len()), (vec![true, false], 1));
    assert!(report.results[1].phases.first_run_s > 0.0);
}

#[test]
fn two_instruction_sets_or_models_take_turns() {
    let lab = Lab::new();
    let json = lab.path("r.json");
    let (out, _) = lab.bench(&["models/lenet5.cnn", "--compare-isa", "clif,clif", "--json", &json], 0);
    assert!(out.contains("times as long as A, in one process"), "{out}");
    let report = lab.report("r.json");
    let comparison = &report.comparisons[0];
    assert_eq!((comparison.a, comparison.b, report.results.len()), (0, 1, 2));
    let (out, _) = lab.bench(&["models/lenet5.cnn", "--compare", "models/lenet5.cnn:tanh"], 0);
    assert!(out.contains("B lenet5.cnn:tanh, "), "{out}");
}

#[test]
fn a_baseline_is_held_or_missed() {
    let lab = Lab::new();
    let json = lab.path("now.json");
    lab.bench_in(2, &["models/lenet5.cnn", "--json", &json], 0);
    let with_medians = |name: &str, seconds: &[f64]| {
        let mut report = lab.report("now.json");
        let process = |&median_s: &f64| svertka::bench::report::ProcessRuns { runs: 1, median_s, clock_gflops: None };
        report.results[0].processes = seconds.iter().map(process).collect();
        lab.write(name, &report.to_json())
    };
    let compare = |baseline: &str, code| {
        lab.bench_in(4, &["models/lenet5.cnn", "--baseline", baseline, "--fail-if-slower", "5%"], code)
    };
    let slow = with_medians("slow.json", &[1e6, 1.1e6, 0.9e6]);
    let (out, _) = compare(&slow, 0);
    assert!(out.contains("now/baseline") && out.contains("slower by 5 %?") && out.contains("not slower"), "{out}");
    let fast = with_medians("fast.json", &[1e-12, 1.1e-12, 0.9e-12]);
    let (out, err) = compare(&fast, 1);
    assert!(out.contains("slower") && err.contains("more than 5 % slower than the baseline: lenet5.cnn"), "{err}");
    // In the mean it was far faster, but any process of it might have taken any time.
    let any = with_medians("any.json", &[1e-12, 1e6]);
    assert!(compare(&any, 0).0.contains("not sure"));
    // Without the option nothing fails.
    lab.bench(&["models/lenet5.cnn", "--baseline", &fast], 0);
    let one = with_medians("one.json", &[1e-12]);
    let (_, err) = compare(&one, 1);
    assert!(err.contains("the baseline has one process of lenet5.cnn") && err.contains("--processes"), "{err}");
    let (_, err) = lab.bench(&["models/lenet5.cnn", "--baseline", &fast, "--fail-if-slower", "5"], 2);
    assert!(err.contains("`--processes` of 2 or more"), "{err}");
    let (_, err) = lab.bench(&["models/lenet5.cnn", "--batch", "2", "--baseline", &slow], 1);
    assert!(err.contains("no result with the same model"), "{err}");
    let other =
        lab.write("other.json", &lab.read("now.json").replacen("\"schema_version\": 4", "\"schema_version\": 99", 1));
    let (_, err) = lab.bench(&["models/lenet5.cnn", "--baseline", &other], 1);
    assert!(err.contains("other.json: schema version 99"), "{err}");
}

#[test]
fn what_has_changed_beside_the_program_is_told() {
    let lab = Lab::new();
    let json = lab.path("now.json");
    lab.bench_in(2, &["models/lenet5.cnn", "--json", &json], 0);
    let mut then = lab.report("now.json");
    then.machine.cpu = "another".into();
    then.results[0].model_hash = "0".into();
    then.results[0].disturbance.time_s = 1.0;
    then.results[0].disturbance.others = Some(0.75);
    for process in &mut then.results[0].processes {
        process.median_s = 1e-12;
    }
    let then = lab.write("then.json", &then.to_json());
    let args = ["models/lenet5.cnn", "--baseline", &then, "--fail-if-slower", "5"];
    // So many that a process which hardly had a core leaves no doubt.
    let (out, err) = lab.bench_in(4, &args, 1);
    assert!(err.contains("note: the machine is not that of the baseline: the CPU: then another"), "{err}");
    assert!(err.contains("it need not be the program's doing"), "{err}");
    for part in ["the model has changed", "then other processes had 0.75 of 1 core"] {
        assert!(out.contains(part), "{part} in {out}");
    }
}

#[test]
fn suites_are_run() {
    let lab = Lab::new();
    let model = std::fs::canonicalize("models/lenet5.cnn").unwrap();
    std::fs::copy(model, lab.path("lenet5.cnn")).unwrap();
    let suite =
        lab.write("suite.yaml", "- models: ['lenet5.cnn:relu']\n  batches: [1, 2]\n  threads: [1, 2]\n  runs: 2\n");
    let json = lab.path("r.json");
    lab.bench(&["--suite", &suite, "--json", &json], 0);
    let settings: Vec<_> = lab.report("r.json").results.iter().map(|r| (r.setting.batch, r.setting.threads)).collect();
    assert_eq!(settings, [(1, 1), (1, 2), (2, 1), (2, 2)]);
    assert_eq!(lab.report("r.json").results[0].steady.runs, 2);
}

#[test]
fn the_suite_of_classics_names_models_that_exist() {
    let entries = svertka::bench::suite::parse(&std::fs::read_to_string("models/classics.yaml").unwrap()).unwrap();
    let models: Vec<&String> = entries.iter().flat_map(|entry| &entry.models).collect();
    assert_eq!(models.len(), 17);
    let lab = Lab::new();
    for model in models {
        lab.run(&["explain", &format!("models/{model}")], 0);
    }
}

#[test]
fn mistakes_are_told_in_words() {
    let lab = Lab::new();
    let bad_suite = lab.write("bad.yaml", "- models: [a.cnn]\n  batchs: [1]\n");
    let no_json = lab.write("no.json", "[]");
    let model = "models/lenet5.cnn";
    let cases: &[(&[&str], i32, &str)] = &[
        (&["--suite", "/no/such/suite.yaml"], 1, "/no/such/suite.yaml"),
        (&["--suite", &bad_suite], 1, "unknown field `batchs`"),
        (&[model, "--baseline", &no_json], 1, "not a result of `svertka bench --json`"),
        (&[model, "--baseline", "/no/such.json"], 1, "/no/such.json"),
        (&["models/none.cnn"], 1, "models/none.cnn"),
        (&[model, "--html", "/no/such/folder/x.html"], 1, "/no/such/folder"),
        (&[model, "--engine", "interp"], 2, "choose another engine"),
        (&[], 2, "required"),
        (&[model, "--batch", "0"], 2, "--batch"),
        (&[model, "--threads", "0"], 2, "--threads"),
        (&[model, "--target-cv=-1"], 2, "percentage"),
        (&[model, "--fail-if-slower", "5"], 2, "--baseline"),
        (&[model, "--compare-isa", "clif"], 2, "two instruction sets"),
        (&[model, "--compare-aot", "--engine", "portable"], 2, "choose --engine jit"),
        (&[model, "--compare-isa", "clif,sse9"], 2, "sse9"),
        (&[model, "--suite", &bad_suite], 2, "cannot be used with"),
    ];
    for (args, code, part) in cases {
        let (_, err) = lab.bench(args, *code);
        assert!(err.contains(part), "{args:?}: {part} in {err}");
    }
    for (option, value) in [("--min-time", "soon"), ("--min-time", "-1"), ("--min-time", "inf"), ("--runs", "0")] {
        let (_, err) = lab.run(&["bench", model, &format!("{option}={value}")], 2);
        assert!(err.contains(option), "{option} {value}: {err}");
    }
}

#[test]
fn peaks_are_kept_and_broken_caches_ignored() {
    let lab = Lab::new();
    let (first, err) = lab.run(&["peak"], 0);
    assert!(first.contains("FMA, clif") && first.contains("read, DRAM") && err.is_empty(), "{first} {err}");
    assert_eq!(lab.run(&["peak"], 0), (first, String::new()), "the second time it is read");
    let kept = std::fs::read_dir(lab.folder().join("cache/svertka")).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(&kept).unwrap();
    let foreign = text.replace("\"cpu\": \"", "\"cpu\": \"another ");
    for broken in [&foreign, &text[..text.len() / 2], ""] {
        std::fs::write(&kept, broken).unwrap();
        let (_, err) = lab.run(&["peak"], 0);
        assert!(err.contains("not the peak of this machine; measuring anew"), "{err}");
        assert_ne!(std::fs::read_to_string(&kept).unwrap(), broken);
    }
    std::fs::write(&kept, "").unwrap();
    assert_eq!(lab.run(&["peak", "--fresh"], 0).1, "");
}

/// What the page shows in a browser.
fn show(page: &Path, hash: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let switches = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"];
    let quiet = ["--disable-background-networking", "--disable-component-update", "--disable-sync"];
    let output = std::process::Command::new("chromium")
        .args(switches)
        .args(quiet)
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(["--virtual-time-budget=5000", "--dump-dom"])
        .arg(format!("file://{}{hash}", page.display()))
        .output();
    String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
}

#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn the_page_shows_what_its_address_selects() {
    let lab = Lab::new();
    let html = lab.path("r.html");
    lab.bench(&["models/lenet5.cnn", "models/lenet5.cnn:tanh", "--html", &html], 0);
    let selected = |dom: &str| {
        let start = dom.find("id=\"selected\">").expect("a step is selected") + "id=\"selected\">".len();
        dom[start..].split('<').next().unwrap().to_string()
    };
    let dom = show(Path::new(&html), "");
    assert_eq!(selected(&dom), "0: conv1");
    for part in [
        "aria-label=\"roofline\"",
        "aria-label=\"time line\"",
        "aria-label=\"arena\"",
        "<td>fc3</td>",
        "data-node=\"3\"",
    ] {
        assert!(dom.contains(part), "{part} in {dom}");
    }
    let dom = show(Path::new(&html), "#1.2");
    assert_eq!(selected(&dom), "2: conv2");
    assert!(dom.contains(">lenet5.cnn:tanh, "), "{dom}");
    // The row of the table, the point, and the bar of the time line.
    assert!(dom.matches("class=\"item selected\" data-step=\"2\"").count() >= 3, "{dom}");
    assert_eq!(selected(&show(Path::new(&html), "#9.999")), "0: conv1");

    // Clicks, made by a script behind the page's own: on a row, a point, a bar, a buffer, a box of the graph.
    let clicked = |what: &str, script: &str| {
        let page = lab.read("r.html").replace("</body>", &format!("<script>{script}</script></body>"));
        let dom = show(Path::new(&lab.write(&format!("{what}.html"), &page)), "");
        (selected(&dom), dom)
    };
    let click = |selector: &str| {
        format!("document.querySelector('{selector}').dispatchEvent(new MouseEvent('click', {{ bubbles: true }}));")
    };
    for (part, what) in [
        ("steps", "[data-step=\"2\"]"),
        ("roofline", "[data-step=\"2\"]"),
        ("timeline", "[data-step=\"2\"]"),
        ("graph", "[aria-label^=\"conv2\"]"),
    ] {
        let (selected, dom) = clicked(part, &click(&format!("#{part} {what}")));
        assert_eq!(selected, "2: conv2", "{part}");
        assert!(dom.contains("<dt>bound</dt>"), "{dom}");
    }
    assert_ne!(clicked("arena", &click("#arena rect:last-of-type")).0, "0: conv1");
    // The slowest step comes first, and with a second click last.
    let times = |dom: &str| -> Vec<f64> {
        let rows = dom.split("<tr class=\"item").skip(1);
        rows.map(|row| row.split("<td>").nth(4).unwrap().split('<').next().unwrap().parse().unwrap()).collect()
    };
    let by_time = click("th[data-column=\"3\"]");
    let (_, down) = clicked("down", &by_time);
    assert!(times(&down).len() > 4 && times(&down).is_sorted_by(|a, b| a >= b), "{:?}", times(&down));
    assert!(times(&clicked("up", &by_time.repeat(2)).1).is_sorted());
}
