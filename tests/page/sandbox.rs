//! The sandbox: what it says of a layer is what a model with that layer says.

use super::browser::evaluate;
use super::show;
use crate::common::lab::Lab;
use serde::Deserialize;
use svertka::interp;
use svertka::layers::Accumulate;
use svertka::tensor::Tensor;
use svertka::{Error, Model, Weights};

#[derive(Deserialize)]
struct Shown {
    size: usize,
    inputs: usize,
    /// The layer as it would be written.
    text: String,
    /// Numbers of the formula: input, both paddings, extent, stride, output.
    formula: Option<Vec<f64>>,
    error: Option<String>,
    input: Vec<f32>,
    weights: Vec<f32>,
    output: Vec<f32>,
}

const PLAY: &str = "addresses.map(address => {
    history.replaceState(null, '', '#sandbox/' + address);
    follow();
    const formula = $('output-size')?.textContent.match(/\\d+/g).map(Number), result = outcome(), numbers = [];
    const all = (n, f) => Array.from({ length: n }, (_, i) => f(i)).flat(Infinity), side = f => all(toy.size, y => all(toy.size, x => f(y, x)));
    const taps = f => all(toy.kernel, y => all(toy.kernel, x => f(y, x)));
    return { size: toy.size, inputs: toy.inputs, text: $('toy-text').textContent, formula: formula?.toSpliced(5, 1),
        error: document.querySelector('.error b')?.textContent.slice(6, 11),
        input: all(toy.inputs, c => side((y, x) => toyInput(c, y, x))),
        weights: weighs() ? all(toy.outputs, o => all(toy.inputs, c => taps((y, x) => toyWeight(o, c, y, x)))) : [],
        output: result.error ? [] : all(outputs(), o => all(result.out, y => all(result.out, x => toyValue(o, y, x, result)))) };
})";

#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn layers_of_the_sandbox_are_those_of_the_language() {
    let page = show(&Lab::new(), &["models/lenet5.cnn"]);
    let mut addresses = Vec::new();
    for (n, layer) in ["conv", "maxpool", "avgpool"].into_iter().enumerate() {
        for (size, kernel, stride, dilation) in [(6, 3, 1, 1), (7, 2, 2, 1), (9, 3, 2, 2), (5, 4, 3, 1), (3, 5, 1, 2)] {
            for padding in ["valid", "half", "same", "pad 1"] {
                let channels = [1, 3, 2][(n + kernel) % 3];
                addresses
                    .push(format!("{layer}/{size}/{kernel}/{stride}/{dilation}/{padding}/{channels}/{channels}/0,0,0"));
            }
        }
    }
    let script = format!("(addresses => {PLAY})({})", serde_json::to_string(&addresses).unwrap());
    let shown: Vec<Shown> = evaluate(&page, &script);
    let errors = shown.iter().zip(&addresses).filter(|(shown, address)| !check(shown, address)).count();
    assert!((5..30).contains(&errors), "{errors} of them are errors");
}

/// Whatever an address says is brought to a place that there is.
#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn places_that_are_not_there() {
    let page = show(&Lab::new(), &["models/lenet5.cnn"]);
    let shown: Vec<Vec<usize>> = evaluate(
        &page,
        "['-1,-5,0', '9,9,9', 'x', '0,1,2'].map(at => { \
         history.replaceState(null, '', '#sandbox/conv/6/3/1/1/valid/1/1/' + at); follow(); return toy.at; })",
    );
    assert_eq!(shown, [[0, 0, 0], [0, 3, 3], [0, 0, 0], [0, 1, 2]]);
}

/// What stands under the numbers, and what they are for who does not see them.
#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn captions_say_what_they_stand_under() {
    let page = show(&Lab::new(), &["models/lenet5.cnn"]);
    let shown: Vec<Vec<[String; 2]>> = evaluate(
        &page,
        "['conv/6/3/1/1/valid/2/2/1,0,2', 'maxpool/6/3/1/1/valid/1/1/0,1,0'].map(address => { \
         history.replaceState(null, '', '#sandbox/' + address); follow(); \
         return [...document.querySelectorAll('#toy figure')].map(figure => \
         [figure.querySelector('figcaption').textContent, figure.querySelector('svg').getAttribute('aria-label')]); })",
    );
    let window = "6 by 6, the window at row";
    let expected = [
        vec![
            ["input channel 0".into(), format!("input channel 0, {window} 0, column 2")],
            ["kernel 1, 0".into(), "kernel of input channel 0".into()],
            ["input channel 1".into(), format!("input channel 1, {window} 0, column 2")],
            ["kernel 1, 1".into(), "kernel of input channel 1".into()],
            ["output channel 0".into(), "output channel 0, 4 by 4".into()],
            ["output channel 1".into(), "output channel 1, 4 by 4".into()],
        ],
        vec![
            ["input 6\u{d7}6".into(), format!("input channel 0, {window} 1, column 0")],
            ["output 4\u{d7}4".into(), "output channel 0, 4 by 4".into()],
        ],
    ];
    assert_eq!(shown, expected);
}

/// Whether it is a layer, and not an error.
fn check(shown: &Shown, address: &str) -> bool {
    let Shown { size, inputs, text, .. } = shown;
    let allow = "allow even_kernel, large_kernel, small_field";
    let label = if text.starts_with("conv") { "c: " } else { "" };
    let text = format!("model m\ninput x: f32[N, {inputs}, {size}, {size}]\n{allow}\nnet {{ {label}{text} }}\n");
    let model = match (Model::parse(&text), &shown.error) {
        (Ok(model), None) => model,
        (Err(Error::Model(error)), Some(code)) => {
            assert_eq!(error.diagnostics[0].code, *code, "{address}");
            return false;
        }
        (result, error) => {
            panic!("{address}: {error:?}, but {:?}", result.map(|_| ()).map_err(|error| error.to_string()))
        }
    };
    let dims = &model.outputs().next().unwrap().1.dims;
    let [input, front, behind, extent, stride, out] = shown.formula.as_deref().unwrap() else { panic!("{address}") };
    assert_eq!(((input + front + behind - extent) / stride).floor() + 1.0, *out, "{address}");
    assert_eq!(dims[1] as f64, *out, "{address}");

    let shape = model.weights().next().map(|(_, shape)| shape.to_vec());
    let weights = shape.map(|shape| ("c.weight".to_owned(), Tensor::new(shape, shown.weights.clone())));
    let bound = model.bind(&Weights::tensors(weights)).unwrap();
    let x = Tensor::new([1, *inputs, *size, *size], shown.input.clone());
    let expected = interp::run(model.graph(), &bound, &[x], Accumulate::F64);
    assert_eq!(expected[0].data().len(), shown.output.len(), "{address}");
    let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4;
    assert!(expected[0].data().iter().zip(&shown.output).all(near), "{address}: {:?}", shown.output);
    true
}
