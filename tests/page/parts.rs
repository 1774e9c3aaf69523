//! Graph, text, search, times: what is selected is selected everywhere.

use super::browser::evaluate;
use super::data::data;
use super::show;
use crate::common::lab::Lab;
use serde_json::Value;
use std::collections::BTreeMap;

/// Few runs.
const BENCH: [&str; 8] = ["bench", "--per-layer", "--min-time", "0", "--runs", "2", "--warmup", "0"];

/// A model, written by somebody who means harm where a text takes it.
const HOSTILE: &str = "# </script><script>alert(1)</script> <img src=x onerror=alert(2)>
model hostile
input image: f32[N, 1, 8, 8]
block Pair(c) { a: conv 3x3, c, half | relu | b: conv 3x3, c, half }
net {
  first: residual { Pair(1) }
  second: Pair(2) | relu
}
";

#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn graph_and_text_are_linked_both_ways() {
    let lab = Lab::new();
    std::fs::write(lab.path("hostile.cnn"), HOSTILE).unwrap();
    let page = show(&lab, &[&lab.path("hostile.cnn"), "--seed", "1"]);
    assert_eq!(page.matches("<script>alert").count(), 0);
    let script = "(async () => {
        const seen = {}, wait = () => new Promise(done => setTimeout(done, 50));
        const note = name => { seen[name] = [$('selected').textContent, decodeURIComponent(location.hash),
            [...document.querySelectorAll('.marked')].map(line => line.dataset.line).join(),
            document.querySelector('.box.selected')?.getAttribute('aria-label') ?? '']; };
        const key = key => document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
        location.hash = '#first.b/0/3,4'; await wait(); note('address');
        document.querySelector('[data-line=\"0.6\"]').click(); await wait(); note('line');
        document.querySelector('.box.selected').focus();
        const press = async (name, note_as) => { key(name); await wait(); note(note_as); };
        const isOpen = () => String(view.open.has(blocks.findIndex(b => b.path === 'second')));
        await press('ArrowUp', 'up'); seen.closed = [isOpen()];
        await press('ArrowRight', 'right'); seen.opened = [isOpen()];
        await press('ArrowDown', 'down');
        await press('ArrowLeft', 'left');
        await press('ArrowLeft', 'left again'); seen.closedAgain = [isOpen()];
        await press('Home', 'home');
        document.querySelector('.box[aria-label^=\"first.a\"]').dispatchEvent(new MouseEvent('click', { bubbles: true })); await wait(); note('click');
        $('search').value = 'second conv'; find(); seen.found = [...$('found').children].map(item => item.textContent.trim());
        $('search').dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowDown' }));
        $('search').dispatchEvent(new KeyboardEvent('keydown', { key: 'Enter' })); await wait(); note('search');
        location.hash = '#nothing/of/the/kind'; await wait(); note('unknown');
        return seen;
    })()";
    let seen: BTreeMap<String, Vec<String>> = evaluate(&page, script);
    assert_eq!(seen["address"][..3], ["first.b", "#first.b/0/3,4", "0.3"], "{seen:?}");
    assert!(seen["address"][3].starts_with("first.b, conv 3x3, 1, half, 1 by 8 by 8"), "{seen:?}");
    assert_eq!(seen["line"][..3], ["~relu", "#~relu", "0.6"], "{seen:?}");
    assert_eq!(seen["unknown"][0], "first.a", "{seen:?}");
    assert_eq!(seen["click"][..3], ["first.a", "#first.a", "0.3"], "{seen:?}");
    for (key, selected) in [("up", "second"), ("down", "second.a"), ("left", "second"), ("home", "image")] {
        assert_eq!(seen[key][0], selected, "the focus goes with what is selected: {seen:?}");
    }
    assert_eq!([&seen["closed"][0], &seen["opened"][0], &seen["closedAgain"][0]], ["false", "true", "false"]);
    assert_eq!(seen["found"].len(), 2, "{seen:?}");
    assert_eq!(seen["search"][0], "second.b", "{seen:?}");
}

/// The list of layers found, as a reader of the screen is told of it.
#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn the_search_says_what_it_finds_and_what_is_chosen() {
    let lab = Lab::new();
    let many = "model many\ninput image: f32[N, 1, 8, 8]\nnet { 60 x relu | last: conv 3x3, 2 }\n";
    std::fs::write(lab.path("many.cnn"), many).unwrap();
    let page = show(&lab, &[&lab.path("many.cnn"), "--seed", "1"]);
    let script = "(async () => {
        const field = $('search'), list = $('found'), wait = () => new Promise(done => setTimeout(done, 50));
        const told = () => {
            const active = field.getAttribute('aria-activedescendant'), options = [...list.children];
            const chosen = options.filter(option => option.getAttribute('aria-selected') === 'true');
            return [field.getAttribute('aria-expanded'), String(options.length), active ?? '', chosen.map(option => option.id).join(),
                $('more').textContent, String(!$('popup').hidden)].join(' | ');
        };
        const type = text => { field.value = text; field.dispatchEvent(new Event('input')); };
        const press = key => field.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true, cancelable: true }));
        const said = [field.getAttribute('role'), list.getAttribute('role'), String(field.getAttribute('aria-controls') === list.id)];
        const roles = () => [...new Set([...list.children].map(option => option.getAttribute('role')))].join();
        type('relu'); said.push(told(), roles());
        press('ArrowUp'); said.push(told());
        press('ArrowDown'); press('ArrowDown'); said.push(told());
        type('conv'); said.push(told());
        type('nothing of the kind'); said.push(told());
        press('ArrowDown'); said.push(told());
        type('relu'); press('Escape'); said.push(told(), field.value);
        type('last'); field.dispatchEvent(new Event('blur')); said.push(told());
        field.dispatchEvent(new Event('focus')); said.push(told());
        press('Enter'); await wait(); said.push(told(), $('selected').textContent);
        return said;
    })()";
    let said: Vec<String> = evaluate(&page, script);
    let expected = [
        "combobox",
        "listbox",
        "true",
        "true | 40 | found-0 | found-0 | and 20 more | true",
        "option",
        "true | 40 | found-39 | found-39 | and 20 more | true",
        "true | 40 | found-1 | found-1 | and 20 more | true",
        "true | 1 | found-0 | found-0 |  | true",
        "false | 0 |  |  | no such layer | true",
        "false | 0 |  |  | no such layer | true",
        "false | 0 |  |  |  | false",
        "",
        "false | 1 |  | found-0 |  | false",
        "true | 1 | found-0 | found-0 |  | true",
        "false | 0 |  |  |  | false",
        "last",
    ];
    assert_eq!(said, expected);
}

#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn times_lead_to_layers() {
    let lab = Lab::new();
    lab.run(&[&BENCH[..], &["models/lenet5.cnn", "--json", &lab.path("r.json")]].concat(), 0);
    let page = show(&lab, &["models/lenet5.cnn", "--bench", &lab.path("r.json")]);
    let script = "(async () => {
        const steps = times.results[0].profile.steps, at = steps.findIndex(step => step.layer === 'fc2');
        document.querySelector(`#times .roofline [data-step=\"${at}\"]`).dispatchEvent(new MouseEvent('click', { bubbles: true }));
        await new Promise(done => setTimeout(done, 50));
        return [location.hash, document.querySelector('#times .chosen span').textContent, String(steps.every(step => step.node >= 0))];
    })()";
    let seen: Vec<String> = evaluate(&page, script);
    assert_eq!(seen, ["#fc2", "fc2", "true"]);
    let pools: Vec<String> = evaluate(
        &page,
        "times.results[0].profile.steps.filter(step => step.layer.startsWith('maxpool')).map(step => nodes[step.node].name)",
    );
    assert_eq!(pools, ["~maxpool", "~maxpool.2"], "steps of one name are those of different layers");
    let report =
        std::fs::read_to_string(lab.path("r.json")).unwrap().replace("\"model_hash\": \"", "\"model_hash\": \"0");
    std::fs::write(lab.path("other.json"), report).unwrap();
    let args = ["show", "models/lenet5.cnn", "--bench", &lab.path("other.json"), "-o", &lab.path("x.html")];
    let (_, err) = lab.run(&args, 1);
    assert!(err.contains("other.json: its lenet5.cnn is another network"), "{err}");
    let (_, err) = lab.run(&["show", "models/vgg.cnn", "--bench", &lab.path("r.json"), "-o", &lab.path("x.html")], 1);
    assert!(err.contains("r.json: no result for vgg.cnn; it has lenet5.cnn"), "{err}");
    assert!(!std::path::Path::new(&lab.path("x.html")).exists());
}

/// What a file of times says is text, and numbers that no chart can hold are left out of it.
#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn hostile_times_are_only_shown() {
    let lab = Lab::new();
    lab.run(&[&BENCH[..], &["models/lenet5.cnn", "--json", &lab.path("r.json")]].concat(), 0);
    let mut report: Value = serde_json::from_str(&std::fs::read_to_string(lab.path("r.json")).unwrap()).unwrap();
    let hostile = "<img src=x onerror=\"errors.push('it ran')\">";
    report["peak"]["memory"][0]["level"] = hostile.into();
    report["peak"]["fma"][0]["isa"] = hostile.into();
    let steps = &mut report["results"][0]["profile"]["steps"];
    steps[0]["kernel"] = hostile.into();
    (steps[1]["flops"], steps[1]["bytes"]) = (1.into(), 0.into());
    for figure in ["flops", "own_flops", "elements"] {
        steps[2][figure] = 0.into();
    }
    let all = steps.as_array().unwrap().len();
    std::fs::write(lab.path("r.json"), report.to_string()).unwrap();
    let page = show(&lab, &["models/lenet5.cnn", "--bench", &lab.path("r.json")]);
    let seen: (usize, usize, String) = evaluate(
        &page,
        "[document.images.length, document.querySelectorAll('#times circle').length, $('times').textContent]",
    );
    assert_eq!((seen.0, seen.1), (0, all - 2));
    assert_eq!(seen.2.matches("<img").count(), 2, "{}", seen.2);
}

#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn every_step_of_a_profile_has_its_layer_in_the_graph() {
    let lab = Lab::new();
    let text = "model m\ninput x: f32[N, 4, 8, 8]\nnet { a: conv 3x3, 8, half | relu | d: conv 3x3, 8, groups 4 }\n";
    std::fs::write(lab.path("m.cnn"), text).unwrap();
    lab.run(&[&BENCH[..], &[&lab.path("m.cnn"), "--html", &lab.path("m.html")]].concat(), 0);
    let script = "steps().map((step, at) => { history.replaceState(null, '', `#0.${at}`); followAddress(); \
                  return [step.layer, document.querySelector('.box.selected').getAttribute('aria-label')]; })";
    let seen: Vec<[String; 2]> = evaluate(&std::fs::read_to_string(lab.path("m.html")).unwrap(), script);
    assert!(seen.len() > 3, "some only prepare: {seen:?}");
    assert!(seen.iter().all(|[layer, label]| label.starts_with(layer.as_str())), "{seen:?}");
}

/// Maps and numbers share what room there is, so that of every layer something is kept.
#[test]
fn the_numbers_of_a_deep_network_have_room() {
    let picture = ["--input", "models/pictures/coffee_224.png", "--seed", "1", "-DH=64", "-DW=64"];
    let page = show(&Lab::new(), &[&["models/densenet.cnn:densenet201"], &picture[..]].concat());
    assert!(page.len() < 2_250_000, "{}", page.len());
    let (values, network) = (data(&page, "values"), data(&page, "network"));
    let (units, nodes) = (values["units"].as_array().unwrap(), network["nodes"].as_array().unwrap());
    for (units, node) in units.iter().zip(nodes) {
        assert_eq!(units.as_array().unwrap().is_empty(), node["how"].is_null(), "{}", node["name"]);
    }
    assert!(values["maps"].as_array().unwrap().iter().all(|maps| !maps.is_null()));
}

/// What a page costs that has no picture: large networks stay quick.
#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn large_networks_are_shown_in_little() {
    for name in ["resnet.cnn:resnet152", "densenet.cnn:densenet201", "efficientnet.cnn:efficientnet_b7"] {
        let page = show(&Lab::new(), &[&format!("models/{name}")]);
        assert!(page.len() < 800_000, "{name}: {}", page.len());
        let [all, boxes]: [usize; 2] =
            evaluate(&page, "[nodes.length, document.querySelectorAll('#graph .box').length]");
        assert!(all > 500 && boxes < 40, "{name}: {boxes} of {all}");
    }
}
