//! What pages are made from, without a browser.

use super::show;
use crate::common::lab::Lab;
use serde_json::Value;
use svertka::layers::Accumulate;
use svertka::{Model, Weights, interp};

const MODEL: &str = "model small
input image: f32[N, 2, H = 4, W = 4]
allow small_field
block Pair(c) { a: conv 3x3, c, half, bias | relu }
net {
  one: residual { Pair(2) }
  two: Pair(4) | maxpool 2x2
  three: conv 1x1, 3, groups 1 | global_avgpool | fc: dense 2
}
";

/// The data of a page of that name.
pub fn data(page: &str, name: &str) -> Value {
    let start = format!("<script id=\"data-{name}\" type=\"application/json\">");
    let json = page.split_once(&start).unwrap().1.split_once("</script>").unwrap().0;
    serde_json::from_str(json).unwrap()
}

fn page(args: &[&str]) -> String {
    let lab = Lab::new();
    std::fs::write(lab.path("small.cnn"), MODEL).unwrap();
    let image: Vec<f32> = (0..32).map(|i| (i as f32 * 0.7).sin()).collect();
    svertka::io::npy::write(lab.path("image.npy").as_ref(), &[1, 2, 4, 4], &image).unwrap();
    let (model, image) = (lab.path("small.cnn"), lab.path("image.npy"));
    let name = |arg: &&str| match *arg {
        "MODEL" => model.clone(),
        "IMAGE" => image.clone(),
        other => other.to_owned(),
    };
    let args: Vec<String> = args.iter().map(name).collect();
    show(&lab, &args.iter().map(String::as_str).collect::<Vec<_>>())
}

#[test]
fn a_small_network() {
    let mut network = data(&page(&["MODEL"]), "network");
    network["texts"][0]["name"] = "small.cnn".into();
    insta::assert_snapshot!(lines(&network, 0));
}

/// Only of what is made of the same place of its inputs it is said.
#[test]
fn layers_that_mix_places_or_channels_are_not_said_to_read_each_for_itself() {
    let lab = Lab::new();
    let text = "model each
input image: f32[N, 4, 8, 8]
allow small_field
net {
  residual { conv 3x3, 4, half | bn | relu | prelu } | dropout | scale
  channel_shuffle 2 | softmax | lrn 3 | group_norm 2 | instance_norm | l2_norm | adaptive_avgpool 8x8
  avgpool 3x3, half, stride 1 | permute (1, 3, 2)
}
";
    std::fs::write(lab.path("each.cnn"), text).unwrap();
    let network = data(&show(&lab, &[&lab.path("each.cnn")]), "network");
    let said =
        |node: &Value| Some((node["layer"].as_str()?.split(' ').next()?.to_owned(), node["how"].as_str()?.into()));
    let said: Vec<(String, String)> = network["nodes"].as_array().unwrap().iter().filter_map(said).collect();
    let each = ["bn", "relu", "prelu", "add", "dropout", "scale"].map(|layer| (layer.into(), "each".into()));
    let window = [("conv".to_owned(), "sum".to_owned()), ("avgpool".into(), "mean".into())];
    assert_eq!(said, [&window[..1], &each, &window[1..]].concat());
}

/// JSON with what is short on one line.
fn lines(value: &Value, depth: usize) -> String {
    let short = value.to_string();
    let indent = "  ".repeat(depth + 1);
    let inner = |parts: Vec<String>| parts.iter().map(|part| format!("\n{indent}{part}")).collect::<Vec<_>>().join(",");
    match value {
        _ if short.len() < 100 => short,
        Value::Array(items) => format!("[{}]", inner(items.iter().map(|item| lines(item, depth + 1)).collect())),
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| format!("{name:?}: {}", lines(value, depth + 1));
            format!("{{{}}}", inner(fields.iter().map(field).collect()))
        }
        _ => short,
    }
}

/// Numbers of a small network are all there, and are those of the interpreter.
#[test]
fn all_numbers_of_a_small_network() {
    let page = page(&["MODEL", "--input", "IMAGE", "--seed", "3"]);
    let (values, model) = (data(&page, "values"), Model::parse(MODEL).unwrap());
    let image: Vec<f32> = (0..32).map(|i| (i as f32 * 0.7).sin()).collect();
    let image = svertka::Tensor::new([1, 2, 4, 4], image);
    let weights = model.bind(&Weights::random(3)).unwrap();
    interp::run_observed(model.graph(), &weights, &[image], Accumulate::F64, &mut |id, value| {
        let shown = floats(values["exact"][id.0 as usize]["value"].as_str().unwrap());
        assert_eq!(shown.len(), value.data().len());
        assert!(shown.iter().zip(value.data()).all(|(a, b)| (a - b).abs() < 1e-5), "{id:?}");
        let maps = &values["maps"][id.0 as usize];
        let strengths: Vec<f64> = serde_json::from_value(maps["strengths"].clone()).unwrap();
        assert!(strengths.is_sorted_by(|a, b| a >= b), "{strengths:?}");
    });
}

#[test]
fn large_pictures_are_made_smaller() {
    let lab = Lab::new();
    svertka::io::npy::write(lab.path("image.npy").as_ref(), &[1, 2, 1200, 900], &vec![1.0; 2 * 1200 * 900]).unwrap();
    std::fs::write(lab.path("small.cnn"), MODEL).unwrap();
    let given = data(&show(&lab, &[&lab.path("small.cnn"), "--input", &lab.path("image.npy")]), "given");
    let png = bytes(given["picture"]["png"].as_str().unwrap());
    assert_eq!(png[16..24], [0, 0, 1, 300 - 256, 0, 0, 1, 400 - 256].map(|byte: u16| byte as u8), "width and height");
}

fn floats(text: &str) -> Vec<f32> {
    bytes(text).as_chunks::<4>().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()
}

/// Of base64.
fn bytes(text: &str) -> Vec<u8> {
    let digit = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let bits =
        text.trim_end_matches('=').bytes().flat_map(|letter| (0..6).rev().map(move |bit| digit(letter) >> bit & 1));
    let bits: Vec<u8> = bits.collect();
    bits.chunks_exact(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | bit)).collect()
}

#[test]
fn what_cannot_be_shown_is_said() {
    let lab = Lab::new();
    let output = lab.path("page.html");
    let refused = |args: &[&str], code: i32| lab.run(&[&["show", "-o", &output], args].concat(), code).1;
    let two = ["--input", "models/pictures/digit_1.png", "models/pictures/digit_2.png"];
    let err = refused(&[&["models/lenet5.cnn"], &two[..]].concat(), 2);
    assert!(err.contains("a page shows one sample, and here are 2"), "{err}");
    let fixed = std::fs::read_to_string("models/lenet5.cnn").unwrap().replace("f32[N,", "f32[2,");
    std::fs::write(lab.path("fixed.cnn"), fixed).unwrap();
    let err = refused(&[&[&*lab.path("fixed.cnn")], &two[..2]].concat(), 2);
    assert!(err.contains("a page shows one sample, and the model takes 2 at once"), "{err}");
    let text = "model m\ninput a: f32[N, 1, 28, 28]\ninput b: f32[N, 1, 28, 28]\nnet {\n  add {\n    from a\n    from b\n  }\n}\n";
    std::fs::write(lab.path("two.cnn"), text).unwrap();
    let [one, other] = [1, 2].map(|digit| format!("b=models/pictures/digit_{digit}.png"));
    let three = ["--engine", "interp", "--input", "a=models/pictures/digit_1.png", &one, &other];
    let err = refused(&[&[&*lab.path("two.cnn")], &three[..]].concat(), 1);
    assert!(err.contains("1 and 2"), "{err}");
    let (_, err) = lab.run(&[&["run", &lab.path("two.cnn")], &three[..]].concat(), 1);
    assert!(err.contains("1 and 2"), "{err}");
    let small = ["models/lenet5.cnn", "--input", "models/pictures/digit_1.png", "--memory-limit", "0"];
    assert!(refused(&small, 1).contains("raise it with --memory-limit"));
    assert!(refused(&["models/lenet5.cnn", "--weights", "none.safetensors"], 1).contains("none.safetensors"));
    assert!(!std::path::Path::new(&output).exists());
}
