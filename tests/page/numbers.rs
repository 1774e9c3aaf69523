//! Receptive fields, values and their sums.

use super::browser::evaluate;
use super::show;
use crate::common::lab::Lab;
use serde::Deserialize;
use std::path::Path;
use svertka::interp;
use svertka::layers::Accumulate;
use svertka::model::split_variant;
use svertka::tensor::Tensor;
use svertka::{Model, ModelOptions, Seen, Weights};

/// What the page shows of a layer at an address that names no unit: of the one that it chooses.
#[derive(Debug, Deserialize)]
struct Shown {
    name: String,
    channel: usize,
    at: Vec<usize>,
    /// First and last row, first and last column.
    field: Option<[i64; 4]>,
    /// The sum of the numbers shown, and the value that was computed.
    sum: Option<f64>,
    value: Option<f64>,
}

/// Goes to every layer as its address does.
const VISIT: &str = "(async () => {
    const shown = [], numbers = text => text.split(',').map(Number);
    for (const { name } of nodes) {
        history.replaceState(null, '', '#' + encodeURI(name));
        follow();
        const field = $('field')?.dataset, sum = $('made').hidden ? undefined : $('sum')?.dataset;
        shown.push({ name, channel: state.channel, at: state.at,
            field: field && nodes[state.node].field.local?.length ? [...numbers(field.rows), ...numbers(field.columns)] : null,
            sum: sum?.sum === undefined ? null : Number(sum.sum), value: sum?.value === undefined ? null : Number(sum.value) });
        await pixels(state.node);
    }
    return shown;
})()";

struct Case {
    model: Model,
    values: Vec<Tensor>,
    shown: Vec<Shown>,
    page: String,
}

/// A page of a model on a picture, visited everywhere, beside what the interpreter says.
fn case(name: &str, picture: &str, defines: &[(&str, &str)], weights: Option<u64>) -> Case {
    let (path, variant) = split_variant(name.as_ref());
    let options = variant.into_iter().fold(ModelOptions::default(), ModelOptions::variant);
    let options = defines.iter().fold(options, |options, (name, value)| options.define(*name, *value));
    let model = options.open(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let picture = format!("models/pictures/{picture}.png");
    let defines: Vec<String> = defines.iter().map(|(name, value)| format!("-D{name}={value}")).collect();
    let seed = weights.map(|seed| format!("--seed={seed}"));
    let mut args = vec![name, "--input", &picture];
    args.extend(defines.iter().chain(&seed).map(String::as_str));
    let page = show(&Lab::new(), &args);

    let input = model.inputs().next().unwrap().0.to_owned();
    let x = model.read_input(&input, &Path::new(env!("CARGO_MANIFEST_DIR")).join(&picture), None).unwrap();
    let bound = model.bind(&weights.map_or_else(Weights::of_card, Weights::random)).unwrap();
    let mut values = Vec::new();
    interp::run_observed(model.graph(), &bound, &[x], Accumulate::F64, &mut |_, value| values.push(value.clone()));
    let shown: Vec<Shown> = evaluate(&page, VISIT);
    assert_eq!(shown.len(), values.len());
    Case { model, values, shown, page }
}

impl Case {
    /// The rectangles are those of the library.
    fn check_fields(&self) -> usize {
        let is_layer =
            |shown: &&Shown| !shown.name.contains('~') && self.model.inputs().all(|(name, _)| name != shown.name);
        let checked = self.shown.iter().filter(is_layer).map(|shown| {
            let seen = self.model.receptive_field(&shown.name, &shown.at).unwrap();
            let expected = match &seen {
                Seen::Local(ranges) if ranges.len() == 2 => {
                    Some([ranges[0].start, ranges[0].end - 1, ranges[1].start, ranges[1].end - 1])
                }
                _ => None,
            };
            assert_eq!(shown.field, expected, "{} at {:?}", shown.name, shown.at);
        });
        checked.count()
    }

    /// Values are the interpreter's, and the sums of what is shown give them.
    fn check_sums(&self) -> usize {
        let mut sums = 0;
        for (shown, value) in self.shown.iter().zip(&self.values) {
            let sizes = value.spatial();
            let at = sizes.iter().zip(&shown.at).fold(0, |index, (size, at)| index * size + at);
            let expected = f64::from(value.plane(0, shown.channel)[at]);
            let largest = value.data().iter().fold(1.0f64, |most, &x| most.max(f64::from(x.abs())));
            for found in [shown.sum, shown.value].into_iter().flatten() {
                let difference = (found - expected).abs();
                assert!(difference <= 1e-5 * largest, "{}: {found} is not {expected}", shown.name);
            }
            sums += usize::from(shown.sum.is_some());
        }
        sums
    }
}

#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn lenet5_on_a_digit() {
    let case = case("models/lenet5.cnn", "digit_7", &[], None);
    assert_eq!(case.check_fields(), 5);
    assert_eq!(case.check_sums(), 5);
    assert!(case.shown.iter().filter(|shown| shown.value.is_some()).count() >= 11, "{:?}", case.shown);
    assert!(case.page.len() < 700_000, "{}", case.page.len());
    // All its numbers are there: any unit can be asked for.
    let all: Vec<(usize, f64)> = evaluate(
        &case.page,
        "[...Array(16).keys()].map(c => { history.replaceState(null, '', `#conv2/${c}/3,8`); follow(); \
         return [state.channel, Number($('sum').dataset.sum)]; })",
    );
    // Keys move on a map again and again, and leave no trail of addresses.
    let moved: (Vec<usize>, usize) = evaluate(
        &case.page,
        "(async () => { history.replaceState(null, '', '#conv2/3/3,8'); follow(); const trail = history.length, wait = () => new Promise(done => setTimeout(done, 50)); \
         await wait(); document.querySelector('#maps .large').focus(); \
         for (const key of ['ArrowDown', 'ArrowDown', 'ArrowLeft']) { document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true })); await wait(); } \
         return [state.at, history.length - trail]; })()",
    );
    assert_eq!(moved, (vec![5, 7], 0));
    let conv2 = case.shown.iter().position(|shown| shown.name == "conv2").unwrap();
    for (n, (channel, sum)) in all.into_iter().enumerate() {
        let expected = f64::from(case.values[conv2].plane(0, n)[3 * 10 + 8]);
        assert!(channel == n && (sum - expected).abs() < 1e-5, "{channel}: {sum} is not {expected}");
    }
}

#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn resnet18() {
    let case = case("models/resnet.cnn:resnet18", "coffee_224", &[("H", "64"), ("W", "64")], Some(1));
    assert!(case.check_fields() > 40);
    assert_eq!(case.check_sums(), 21);
    assert!(case.page.len() < 2_000_000, "{}", case.page.len());
}

#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn googlenet() {
    let case = case("models/googlenet.cnn", "coffee_224", &[("H", "64"), ("W", "64")], Some(1));
    assert!(case.check_fields() > 100);
    assert_eq!(case.check_sums(), 58);
    assert!(case.page.len() < 2_000_000, "{}", case.page.len());
}

#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn unet() {
    let case = case("models/unet.cnn:unet_small", "coffee_224", &[("size", "64")], Some(1));
    assert!(case.check_fields() > 20);
    assert_eq!(case.check_sums(), 23);
    assert!(case.page.len() < 2_000_000, "{}", case.page.len());
}

/// Of several inputs that are seen at once no window is drawn; without positions there is nothing to draw.
#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn inputs_are_told_apart() {
    let lab = Lab::new();
    let text = "model m
input a: f32[N, 2, 9, 9]
input b: f32[N, 2, 5, 7]
input c: f32[N, 4]
allow small_field
net {
  from b | pooled: conv 3x3, 2 | gate: global_avgpool
  left: mul {
    from a
    from gate
  } | output left
  from b | alone: conv 3x3, 2 | output alone
  from c | flat: relu | output flat
}
";
    std::fs::write(lab.path("m.cnn"), text).unwrap();
    let page = show(&lab, &[&lab.path("m.cnn")]);
    let seen: Vec<[String; 2]> = evaluate(
        &page,
        "['left', 'alone', 'flat'].map(name => { history.replaceState(null, '', '#' + name); follow(); \
         return [$('seen').textContent, $('seen').querySelector('svg')?.getAttribute('viewBox') ?? '']; })",
    );
    assert!(seen[0][0].contains("several inputs: a, b") && seen[0][0].contains("are left out"), "{seen:?}");
    assert!(
        seen[1][0].contains("sees rows") && seen[1][1].ends_with(" 7.233333333333333 5.233333333333333"),
        "{seen:?}"
    );
    assert!(seen[2][0].contains("has no positions") && seen[2][1].is_empty(), "{seen:?}");
}

/// What is missing is said, and what needs none of it is there.
#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn without_input_or_weights_the_page_shows_what_it_can() {
    let says = |args: &[&str]| -> Vec<String> {
        let page = show(&Lab::new(), args);
        evaluate(
            &page,
            "(history.replaceState(null, '', '#layer2.0.conv1'), follow(), await pixels(state.node), \
                         ['seen', 'maps', 'made'].map(id => $(id).textContent))",
        )
    };
    let nothing = says(&["models/resnet.cnn:resnet18"]);
    assert!(nothing[0].contains("sees rows") && nothing[0].contains("no picture"), "{nothing:?}");
    assert!(nothing[1].contains("without --input PICTURE and --weights FILE"), "{nothing:?}");
    assert!(nothing[2].contains("without --input PICTURE and --weights FILE"), "{nothing:?}");
    let weights = says(&["models/resnet.cnn:resnet18", "--seed", "1"]);
    assert!(weights[1].contains("without --input PICTURE:"), "{weights:?}");
    assert!(weights[2].contains("The filter of channel 0, of 4 of its 64 channels"), "{weights:?}");
    let picture = says(&["models/resnet.cnn:resnet18", "--input", "models/pictures/coffee_224.png"]);
    assert!(picture[0].contains("coffee_224.png, as the network takes it"), "{picture:?}");
    assert!(picture[1].contains("without --weights FILE:"), "{picture:?}");
}
