//! What golden files cannot say: names, options, limits, and that no text makes the builder fail.

use super::*;
use crate::diagnostic::render;

fn graph_with(text: &str, options: &Options) -> Result<Verified<Graph>, String> {
    let mut sources = SourceMap::default();
    let root = sources.add("test.cnn", text);
    let built =
        load(&mut sources, root, options, &mut NoFiles).and_then(|program| build(&mut sources, &program, options));
    built.map_err(|errors| render(&errors, &sources, false))
}

fn graph(net: &str) -> Verified<Graph> {
    let text = format!("model m\ninput image: f32[N, 4, 8, 8]\n{net}");
    graph_with(&text, &Options::default()).unwrap_or_else(|errors| panic!("{errors}"))
}

/// Names of the weights of all convolutions.
fn weights(net: &str) -> Vec<String> {
    graph(net).into_inner().params.into_iter().map(|p| p.name).filter(|n| n.ends_with("weight")).collect()
}

/// The error that a text gives, with its code in front.
fn error(net: &str, options: &Options) -> String {
    graph_with(&format!("model m(n = 1)\ninput image: f32[N, 4, 8, 8]\n{net}"), options).unwrap_err()
}

#[test]
fn seq_numbers_its_children() {
    let steps = "conv 1x1, 4 | relu | conv 1x1, 4";
    assert_eq!(weights(&format!("net {{ seq {{ {steps} }} }}")), ["0.weight", "2.weight"]);
    assert_eq!(weights(&format!("net {{ a: seq {{ {steps} }} }}")), ["a.0.weight", "a.2.weight"]);
    assert_eq!(weights(&format!("net {{ a: seq {{ relu | seq {{ {steps} }} }} }}")), ["a.1.0.weight", "a.1.2.weight"]);
}

#[test]
fn a_label_stands_in_place_of_the_number() {
    assert_eq!(
        weights("net { a: seq { conv 1x1, 4 | b: conv 1x1, 4 | conv 1x1, 4 } }"),
        ["a.0.weight", "a.b.weight", "a.2.weight"]
    );
}

#[test]
fn loops_and_conditions_continue_the_numbers() {
    assert_eq!(
        weights("net { seq { relu | for i in 1..2 { conv 1x1, 4 } | if true { conv 1x1, 4 } | { conv 1x1, 4 } } }"),
        ["1.weight", "2.weight", "3.weight", "4.weight"]
    );
    assert_eq!(
        weights("block A(f) { seq { f | if false { relu } | conv 1x1, 4 } }\nnet { a: A(none) | b: A(relu) }"),
        ["a.0.weight", "b.1.weight"]
    );
}

#[test]
fn copies_are_numbered() {
    assert_eq!(weights("net { a: 2 x conv 1x1, 4 }"), ["a.0.weight", "a.1.weight"]);
    assert_eq!(weights("net { seq { relu | 2 x conv 1x1, 4 } }"), ["1.weight", "2.weight"]);
    assert_eq!(weights("block A { 2 x conv 1x1, 4 }\nnet { a: A }"), ["a.0.weight", "a.1.weight"]);
}

#[test]
fn unlabelled_parts_add_no_component() {
    assert_eq!(
        weights("block A { residual { c: conv 1x1, 4 } }\nnet { A | b: A | g: gate { d: conv 1x1, 4 } }"),
        ["c.weight", "b.c.weight", "g.d.weight"]
    );
}

#[test]
fn then_chooses_by_copy() {
    let graph = graph("net { 3 x conv 1x1, 8 then 4 then 2, bias }");
    let channels: Vec<usize> = graph.nodes.iter().skip(1).map(|n| n.ty.channels()).collect();
    assert_eq!(channels, [8, 4, 2]);
}

#[test]
fn flags_and_words_come_before_variables() {
    let graph = graph("net { const bias = 3 | const half = 5 | conv 3x3, bias + half, half, bias }");
    assert_eq!(graph.nodes[1].op.layer().unwrap().to_string(), "conv 3x3, 8, half, bias");
}

#[test]
fn aux_outputs_are_built_on_demand() {
    let text = "model m\ninput image: f32[N, 4, 8, 8]\nnet { a: conv 1x1, 4 | aux b: conv 1x1, 2 | c: conv 1x1, 4 }";
    let names = |aux| {
        let graph = graph_with(text, &Options { aux, ..Options::default() }).unwrap();
        let outputs: Vec<String> = graph.outputs.iter().map(|o| o.name.clone()).collect();
        (graph.nodes.len(), outputs)
    };
    assert_eq!(names(false), (3, vec!["output".into()]));
    assert_eq!(names(true), (4, vec!["output".into(), "b".into()]));
}

#[test]
fn values_from_outside_win() {
    let text =
        "model m(n = 1, k = 3x3)\ninput image: f32[N, n, H, 8]\nnet { conv k, n + 1 }\nvariant v = m(2, k = 1x1)";
    let run = |variant: Option<&str>, defines: &[(&str, &str)]| {
        let defines = defines.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let options = Options { variant: variant.map(String::from), defines, ..Options::default() };
        graph_with(text, &options).map(|graph| graph.nodes[1].ty.to_string())
    };
    assert_eq!(run(None, &[("H", "8")]).unwrap(), "[N, 2, 6, 6]");
    assert_eq!(run(Some("v"), &[("H", "8")]).unwrap(), "[N, 3, 8, 8]");
    assert_eq!(run(Some("v"), &[("H", "9"), ("n", "5"), ("N", "4")]).unwrap(), "[4, 6, 9, 8]");
}

#[test]
fn limits_can_be_raised_and_lowered() {
    let options = |layers, steps| {
        let limits = Limits { layers, steps, ..Limits::default() };
        Options { limits, ..Options::default() }
    };
    assert!(error("net { 11 x relu }", &options(11, 10_000)).contains("E0509"));
    assert!(error("net { for i in 1..20 { if n == 1 { relu } } }", &options(11, 10_000)).contains("E0509"));
    assert!(error("net { for i in 1..90 { } | relu }", &options(11, 100)).contains("E0502"));
    let text = "model m\ninput image: f32[N, 4]\nnet { 150000 x relu }";
    let nodes = graph_with(text, &options(200_000, 10_000_000)).map(|g| g.nodes.len());
    assert_eq!(nodes, Ok(150_001));
}

/// A large flat file names every value that has two readers; finding one takes no longer for it.
#[test]
fn thousands_of_values_have_names() {
    let mut text = String::from("net {\nidentity as v0\n");
    for i in 1..6000 {
        text += &format!("from v{} | residual {{ from v{} }} as v{i}\n", i - 1, i / 2);
    }
    assert_eq!(graph(&(text + "}")).nodes.len(), 2 + 5999);
}

#[test]
fn steps_without_labels_are_counted_where_names_would_be_the_same() {
    assert_eq!(weights("net { conv 1x1, 4 | relu | conv 1x1, 4 }"), ["conv1.weight", "conv2.weight"]);
    assert_eq!(weights("block A(c) { d: conv 1x1, c }\nnet { A(4) | A(2) }"), ["A1.d.weight", "A2.d.weight"]);
    // One alone, and those whose names differ, keep them; so does an `aux` branch, built or not.
    assert_eq!(weights("net { conv 1x1, 4 | a: conv 1x1, 4 }"), ["weight", "a.weight"]);
    let aux = "net { conv 1x1, 4 | aux a: { conv 1x1, 2 | conv 1x1, 2 } | b: conv 1x1, 4 }";
    assert_eq!(weights(aux), ["weight", "b.weight"]);
    // The names of a layer do not depend on those behind it, but for the first of several.
    let more = "net { conv 1x1, 4 | conv 1x1, 4 | dense: conv 1x1, 4 | conv 1x1, 4 }";
    assert_eq!(weights(more), ["conv1.weight", "conv2.weight", "dense.weight", "conv3.weight"]);
    // With counts they would have the names of what is below another.
    let below = "net { concat {\n conv 1x1, 4 | residual { conv 1x1, 4 | conv 1x1, 4 }\n conv 1x1, 4\n } }";
    let expected = ["conv1.weight", "residual1.conv1.weight", "residual1.conv2.weight", "conv2.weight"];
    assert_eq!(weights(below), expected);
}

#[test]
fn labels_take_bounded_memory() {
    let options = |steps| Options { limits: Limits { steps, ..Limits::default() }, ..Options::default() };
    assert!(error("net { for i in 1..900000 { a{i}: seq { } } }", &options(10_000_000)).contains("E0506"));
}

/// Each level of a chain of blocks doubles what the next one makes.
#[test]
fn doubling_is_refused_before_it_is_done() {
    let mut text = String::from("block B0 { relu }\n");
    for i in 1..60 {
        text += &format!("block B{i} {{ if n == 1 {{ B{0} | B{0} }} else {{ relu }} }}\n", i - 1);
    }
    assert!(error(&(text + "net { B59 }"), &Options::default()).contains("E0509"));
}

/// A list that holds itself twice, again and again, has few items but many paths.
#[test]
fn shared_lists_are_cheap() {
    let mut text = String::from("const a0 = [1, 2]\n");
    for i in 1..40 {
        text += &format!("const a{i} = [a{0}, a{0}]\n", i - 1);
    }
    assert!(error(&(text + "net { conv 1x1, 4, weights a39 }"), &Options::default()).contains("E0505"));
    let rows = "const a = [1]\nconst b = [a, a]\nconst c = [b, b]\n";
    assert!(error(&format!("{rows}net {{ conv 1x1, 4, weights c }}"), &Options::default()).contains("E0217"));
}

/// The deepest nesting that the limits allow, of the steps that need most stack, on half of a test's stack.
#[test]
fn the_deepest_nesting_fits_the_stack() {
    let open = "residual { concat { gate { a: seq { for i in 1..1 { if true { a: { ";
    let close = " } } } } } } }";
    let mut text = format!("block B0 {{ {}{}{} }}\n", open.repeat(8), "relu", close.repeat(8));
    for i in 1..8 {
        let inner = format!("B{}(f = 1 + (2 * (3 + n)))", i - 1);
        text += &format!("block B{i}(f = 0) {{ {}{inner}{} }}\n", open.repeat(8), close.repeat(8));
    }
    text = text.replace("block B0 {", "block B0(f = 0) {") + "net { B7 }";
    let run = move || error(&text, &Options::default());
    let errors = std::thread::Builder::new().stack_size(1 << 20).spawn(run).unwrap().join().unwrap();
    assert!(errors.contains("E0505"), "{errors}");
}

/// Texts with random changes of their words: none may panic or run long, and what is accepted must verify.
#[test]
fn no_text_makes_the_builder_fail() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let models = ["ir", "diagnostics"].iter().flat_map(|sub| std::fs::read_dir(folder.join(sub)).unwrap());
    let mut paths: Vec<_> = models.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "cnn"));
    paths.sort();
    let texts: Vec<String> = paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let words: Vec<Vec<&str>> = texts.iter().map(|text| split(text)).collect();
    let limits = Limits { layers: 1000, steps: 50_000, ..Limits::default() };
    let mut random = 1u64;
    for round in 0..3000 {
        let mut text = words[round % words.len()].clone();
        for _ in 0..1 + next(&mut random) % 3 {
            mutate(&mut text, &words, &mut random);
        }
        let options = Options { aux: round % 2 == 0, limits: limits.clone(), ..Options::default() };
        // What is built is verified.
        let _ = graph_with(&text.concat(), &options);
    }
}

/// Words, numbers, blanks and single signs.
fn split(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let same = |c: char| c.is_alphanumeric() && first.is_alphanumeric() || c == ' ' && first == ' ';
        let len = rest.find(|c| !same(c)).unwrap_or(rest.len()).max(first.len_utf8());
        parts.push(&rest[..len]);
        rest = &rest[len..];
    }
    parts
}

fn mutate<'a>(text: &mut Vec<&'a str>, words: &[Vec<&'a str>], random: &mut u64) {
    if text.is_empty() {
        return;
    }
    let at = next(random) as usize % text.len();
    let other = &words[next(random) as usize % words.len()];
    let word = other[next(random) as usize % other.len()];
    match next(random) % 5 {
        0 => {
            text.remove(at);
        }
        1 => text.insert(at, word),
        2 => text[at] = ["0", "-1", "9223372036854775807", "4294967296", "none", "in"][next(random) as usize % 6],
        _ => text[at] = word,
    }
}

/// A linear congruential generator (L'Ecuyer 1999, table 4, modulus 2^64).
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(3_935_559_000_370_003_845).wrapping_add(1);
    *state >> 33
}
