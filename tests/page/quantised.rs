//! The page of `svertka quantize`.

use super::access::{CONTRAST, TOO_WIDE};
use super::browser::evaluate;
use super::data::data;
use super::devtools::Tab;
use crate::common::lab::Lab;
use serde_json::{Value, json};

const LENET: &str = "models/lenet5.cnn";
const WEIGHTS: &str = "models/weights/lenet5_relu.safetensors";

/// What quantising LeNet-5 printed as JSON, and the page. `weights` is the name of its weight file in the lab.
fn quantise(lab: &Lab, weights: &str, more: &[&str]) -> (Value, String) {
    let path = lab.folder().join(weights);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::copy(WEIGHTS, &path).unwrap();
    let pictures: Vec<String> = (0..10).map(|digit| format!("models/pictures/digit_{digit}.png")).collect();
    let (weights, w8, html) = (path.display().to_string(), lab.path("w8.safetensors"), lab.path("page.html"));
    let mut args = vec!["quantize", LENET, "--weights", &weights, "-o", &w8, "--html", &html, "--format", "json"];
    args.extend(more);
    args.push("--calibrate");
    args.extend(pictures.iter().map(String::as_str));
    let (out, _) = lab.run(&args, 0);
    (serde_json::from_str(&out).unwrap(), std::fs::read_to_string(html).unwrap())
}

#[test]
fn the_page_has_what_is_printed_and_the_parts_of_the_network() {
    let lab = Lab::new();
    let more = ["--keep", "conv1", "--keep", "fc3", "--method", "percentile", "--activation-bits", "7"];
    let (printed, page) = quantise(&lab, "w.safetensors", &more);
    let report = data(&page, "report");
    let of = |layers: &Value, names: &[&str]| {
        let of_layer = |layer: &Value| names.iter().map(|&name| layer[name].clone()).collect::<Vec<Value>>();
        layers.as_array().unwrap().iter().map(of_layer).collect::<Vec<_>>()
    };
    let (mut shown, printed) = (report["layers"].clone(), &printed);
    for layer in shown.as_array_mut().unwrap() {
        layer["form"] = if layer["int8"] == true { "int8".into() } else { "f32".into() };
        layer["value_snr_db"] = layer["snr_db"]["value"].clone();
    }
    let ratios = ["reason", "value_snr_db", "weights_snr_db", "input_snr_db", "form"];
    assert_eq!(of(&shown, &ratios), of(&printed["layers"], &ratios));
    assert_eq!(of(&shown, &["name"]), of(&printed["layers"], &["layer"]));
    // The first layer reads what it reads in f32, and nothing else is lost in it.
    let exact: Vec<bool> =
        report["layers"].as_array().unwrap().iter().map(|layer| layer["snr_db"]["exact"] == true).collect();
    assert_eq!(exact, [true, false, false, false, false]);
    assert_eq!([&report["examples"], &report["agreeing"]], [&printed["examples"], &printed["agreeing"]]);
    // LeCun et al. 1998, with all maps of C3 connected.
    let weights = [150, 2400, 48_000, 10_080, 840];
    let macs = [117_600, 240_000, 48_000, 10_080, 840];
    let pairs: Vec<Vec<Value>> = weights.iter().zip(macs).map(|(&w, m)| vec![json!(w), json!(m)]).collect();
    assert_eq!(of(&shown, &["weights", "macs"]), pairs);
    let sum = |numbers: &[u64]| json!(numbers.iter().sum::<u64>());
    assert_eq!([&report["weights"], &report["macs"]], [&sum(&weights), &sum(&macs)]);
    let size = |path: &str| json!({ "file": path, "bytes": std::fs::metadata(path).unwrap().len() });
    let files = [size(&lab.path("w.safetensors")), size(&lab.path("w8.safetensors"))];
    assert_eq!([&report["before"], &report["after"]], [&files[0], &files[1]]);
    assert_eq!(report["method"], "percentile, 0.01 % outside at each end");
    assert_eq!([&report["activation_bits"], &report["budget"]], [&json!(7), &Value::Null]);
    for outside in ["src=", "href=", "@import", "fetch(", "https:"] {
        assert!(!page.contains(outside), "{outside}");
    }
}

#[test]
fn nothing_is_written_where_the_page_cannot_be() {
    let lab = Lab::new();
    let (w8, taken) = (lab.path("w8.safetensors"), lab.path("taken"));
    std::fs::create_dir(&taken).unwrap();
    let seven = "models/pictures/digit_7.png";
    for (html, said, code) in [
        (&taken, "taken: not a regular file", 1),
        (&w8, "two files cannot both be written to", 2),
        (&lab.path("nowhere/page.html"), "nowhere/page.html", 1),
    ] {
        let (_, err) = lab.run(&["quantize", LENET, "--calibrate", seven, "-o", &w8, "--html", html], code);
        assert!(err.contains(said), "{err}");
        assert!(!std::path::Path::new(&w8).exists(), "{err}");
    }
    let halves = ["quantize", LENET, "--weights-type", "f16", "-o", &w8, "--html", &lab.path("page.html")];
    assert!(lab.run(&halves, 2).1.contains("cannot be used with"));
    // What is printed goes beside standard output where that takes the page.
    let (out, err) = lab.run(&["quantize", LENET, "--calibrate", seven, "-o", &w8, "--html", "-"], 0);
    assert!(out.starts_with("<!DOCTYPE html>") && out.trim_end().ends_with("</html>"), "{out}");
    assert!(err.contains("weights dB") && !out.contains("weights dB   input dB"), "{err}");
}

/// The name of the weight file would end the script and begin another one, if it could.
const HOSTILE: &str = "<img src=x onerror=errors.push(1)>&\"'<!--</script><script>errors.push(2)<";

#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn bars_are_as_high_as_numbers_are_and_names_are_texts() {
    let lab = Lab::new();
    let (_, page) = quantise(&lab, &format!("{HOSTILE}/w.safetensors"), &["--keep", "conv2"]);
    let report = data(&page, "report");
    let script = "(() => {
        const bars = look => [...document.querySelectorAll('.chart .' + look)].map(bar => bar.getBBox());
        const all = [...document.querySelectorAll('.chart g.item')].map(item => item.querySelector('.int8, .f32').getBBox());
        return {
            heights: all.map(box => box.height), forms: [bars('int8').length, bars('f32').length], left: all.map(box => box.x),
            dots: [bars('dot').length], parts: bars('part').map(box => box.height),
            names: [...document.querySelectorAll('.chart g.item > text')].map(text => text.textContent),
            figures: $('figures').textContent, rows: [...document.querySelectorAll('#layers tbody tr')].map(row => row.textContent),
        };
    })()";
    let shown: Value = evaluate(&page, script);
    let numbers = |value: &Value| -> Vec<f64> { serde_json::from_value(value.clone()).unwrap() };
    let layers = report["layers"].as_array().unwrap();
    let snr: Vec<f64> = layers.iter().map(|layer| layer["snr_db"]["value"].as_f64().unwrap()).collect();
    let heights = numbers(&shown["heights"]);
    let scale = heights[0] / snr[0];
    assert!(heights.iter().zip(&snr).all(|(height, db)| (height - scale * db).abs() < 0.01), "{heights:?} {snr:?}");
    assert!(numbers(&shown["left"]).is_sorted(), "in the order of the network: {}", shown["left"]);
    assert_eq!([&shown["forms"], &shown["dots"]], [&json!([4, 1]), &json!([8])]);
    let (parts, macs) = (numbers(&shown["parts"]), |at: usize| layers[at]["macs"].as_f64().unwrap());
    assert!((parts[0] / parts[2] - macs(0) / macs(1)).abs() < 0.01, "{parts:?}");
    assert_eq!(shown["names"], json!(["conv1", "conv2", "fc1", "fc2", "fc3"]));
    let figures = shown["figures"].as_str().unwrap();
    for part in ["10 examples", "100.0 %", "4 of 5", "242 KiB", HOSTILE, "w8.safetensors"] {
        assert!(figures.contains(part), "{part}: {figures}");
    }
    let rows: Vec<String> = serde_json::from_value(shown["rows"].clone()).unwrap();
    assert!(rows[1].contains("conv2") && rows[1].contains("f32: asked for"), "{rows:?}");
}

#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn it_is_read_in_light_and_dark_and_on_a_phone_and_buttons_select() {
    let weights = "a_name_without_any_place_to_break_it_at.safetensors";
    let (_, page) = quantise(&Lab::new(), weights, &["--keep", "conv1"]);
    for scheme in ["light", "dark"] {
        let mut tab = Tab::open(&page, 1400, scheme);
        tab.evaluate("location.hash = '#2'; new Promise(done => setTimeout(done, 100))");
        let (texts, low): (usize, Vec<String>) = serde_json::from_value(tab.evaluate(CONTRAST)).unwrap();
        assert!(low.is_empty() && texts > 60, "{scheme}, {texts}: {low:#?}");
    }
    let mut tab = Tab::open(&page, 360, "light");
    assert_eq!(tab.evaluate(TOO_WIDE), json!([]));
    let select = "document.querySelector('#layers [data-layer=\"3\"] button').focus()";
    tab.evaluate(select);
    tab.evaluate("document.activeElement.click(); new Promise(done => setTimeout(done, 100))");
    let selected = "[...document.querySelectorAll('.selected')].map(part => part.tagName + part.dataset.layer)";
    assert_eq!(tab.evaluate(selected), json!(["g3", "TR3"]));
}
