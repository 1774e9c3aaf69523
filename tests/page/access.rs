//! The page for everybody: by keys alone, for readers of the screen, in light and dark, on a phone.

use super::devtools::Tab;
use super::show;
use crate::common::lab::Lab;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// With all that a page can show: maps, numbers, classes, times.
fn whole_page() -> String {
    let lab = Lab::new();
    let bench = ["bench", "models/lenet5.cnn", "--per-layer", "--min-time", "0", "--runs", "1", "--warmup", "0"];
    lab.run(&[&bench[..], &["--json", &lab.path("r.json")]].concat(), 0);
    let picture = "models/pictures/digit_7.png";
    show(&lab, &["models/lenet5.cnn", "--input", picture, "--bench", &lab.path("r.json")])
}

/// Names things for messages, and what has the focus.
const TOOLS: &str = "
    const nameOf = e => e.tagName + (e.id ? '#' + e.id : '') + (e.getAttribute('class') ? '.' + e.getAttribute('class').split(' ')[0] : '')
        + (e.dataset?.toy ?? e.dataset?.lesson ?? e.dataset?.line ?? e.dataset?.step ?? '') + ' ' + e.textContent.trim().slice(0, 20);
    const visible = e => e.checkVisibility() && e.getClientRects().length > 0;
    const outlined = e => {
        const style = getComputedStyle(e), body = e.querySelector?.(':scope > rect.body');
        const edge = body && getComputedStyle(body).strokeWidth;
        return style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2 || parseFloat(edge) >= 2;
    };
";

#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn keys_reach_everything_and_the_focus_is_to_be_seen() {
    let mut tab = Tab::open(&whole_page(), 1400, "light");
    tab.evaluate(&format!("{TOOLS} Object.assign(globalThis, {{ nameOf, visible, outlined }}); go({{ node: 1 }})"));
    tab.evaluate("new Promise(done => setTimeout(done, 100))");
    let (mut reached, mut unseen) = (BTreeSet::new(), Vec::new());
    for _ in 0..200 {
        tab.press("Tab");
        let at = tab.evaluate("(() => { const e = document.activeElement; return e === document.body ? null : [nameOf(e), outlined(e)]; })()");
        let Value::Array(at) = at else { break };
        let name = at[0].as_str().unwrap().to_owned();
        if at[1] != true {
            unseen.push(name.clone());
        }
        reached.insert(name);
    }
    assert!(unseen.is_empty(), "no outline: {unseen:?}");
    let all = tab.evaluate(
        "[...document.querySelectorAll('button, select, input, [tabindex=\"0\"]')].filter(e => visible(e) && !e.disabled).map(nameOf)",
    );
    let all: BTreeSet<String> = serde_json::from_value(all).unwrap();
    assert_eq!(all.difference(&reached).collect::<Vec<_>>(), Vec::<&String>::new());
    assert!(reached.len() < 60, "as few stops as there are things: {}", reached.len());
    // What is many things has one stop, and arrows within.
    for (what, key, moved) in [
        (".lines [tabindex=\"0\"]", "ArrowDown", "document.activeElement.dataset.line"),
        (".graph .box.selected", "ArrowDown", "$('selected').textContent"),
        (".large", "ArrowRight", "location.hash"),
        (".picture", "ArrowRight", "location.hash"),
        (".stage", "ArrowRight", "String(toy.at)"),
    ] {
        tab.evaluate(&format!("document.querySelector('{what}').focus()"));
        let before = tab.evaluate(moved);
        tab.press(key);
        tab.evaluate("new Promise(done => setTimeout(done, 100))");
        assert_ne!(before, tab.evaluate(moved), "{what}");
        let kept = format!("document.activeElement.matches('{}')", what.split(' ').next().unwrap());
        let kept = format!("{kept} || !!document.activeElement.closest('{}')", what.split(' ').next().unwrap());
        assert_eq!(tab.evaluate(&kept), true, "{what} keeps the focus");
    }
    // A line leads to its layer.
    tab.evaluate("document.querySelector('.lines [tabindex=\"0\"]').focus()");
    tab.press("ArrowDown");
    tab.press("Enter");
    tab.evaluate("new Promise(done => setTimeout(done, 100))");
    assert_eq!(tab.evaluate("document.activeElement.classList.contains('marked')"), true);
}

#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn a_reader_of_the_screen_has_a_name_for_everything() {
    let mut tab = Tab::open(&whole_page(), 1400, "light");
    tab.evaluate("go({ node: 1 }); new Promise(done => setTimeout(done, 100))");
    let tree = tab.call("Accessibility.getFullAXTree", json!({}));
    let named = [
        "button",
        "combobox",
        "listbox",
        "option",
        "tree",
        "treeitem",
        "img",
        "image",
        "application",
        "group",
        "region",
        "textbox",
        "searchbox",
        "link",
        "heading",
        "figure",
        "Canvas",
    ];
    let (mut known, mut nameless) = (BTreeSet::new(), Vec::new());
    for node in tree["nodes"].as_array().unwrap() {
        let role = node["role"]["value"].as_str().unwrap_or("");
        if node["ignored"] == true || !named.contains(&role) {
            continue;
        }
        known.insert(role.to_owned());
        if node["name"]["value"].as_str().unwrap_or("").trim().is_empty() {
            nameless.push(format!("{role} {}", node["properties"]));
        }
    }
    assert!(nameless.is_empty(), "{nameless:#?}");
    for role in ["button", "combobox", "tree", "treeitem", "application", "heading", "region"] {
        assert!(known.contains(role), "{role}: {known:?}");
    }
}

/// The ratio of contrast of each text and what is behind it: <https://www.w3.org/TR/WCAG22/#contrast-minimum>.
pub const CONTRAST: &str = "(() => {
    const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
    const rgba = colour => {
        canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = '#000'; canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
        const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
        return [r, g, b, a / 255];
    };
    const over = ([r, g, b, a], under) => [r, g, b].map((c, i) => a * c + (1 - a) * under[i]);
    const light = rgb => rgb.map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + [0.2126, 0.7152, 0.0722][i] * c, 0);
    const behind = e => {
        const layers = [];
        for (let at = e; at; at = at.parentElement) {
            const body = at.matches('g') ? [...at.querySelectorAll(':scope > rect.body, :scope > rect:not([class])')].pop() : null;
            if (body) { const style = getComputedStyle(body), [r, g, b, a] = rgba(style.fill); layers.push([r, g, b, a * style.fillOpacity]); }
            layers.push(rgba(getComputedStyle(at).backgroundColor));
        }
        return layers.reverse().reduce((under, layer) => over(layer, under), rgba(getComputedStyle(document.body).backgroundColor).slice(0, 3));
    };
    const low = new Map();
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    let texts = 0;
    while (walker.nextNode()) {
        const e = walker.currentNode.parentElement;
        if (!walker.currentNode.textContent.trim() || ['SCRIPT', 'STYLE', 'title', 'OPTION'].includes(e.tagName) || !e.checkVisibility() || e.disabled) continue;
        const style = getComputedStyle(e), back = behind(e), [r, g, b, a] = rgba(e instanceof SVGElement ? style.fill : style.color);
        let opacity = a; for (let at = e; at; at = at.parentElement) opacity *= getComputedStyle(at).opacity;
        const [x, y] = [light(over([r, g, b, opacity], back)), light(back)].sort((a, b) => b - a), ratio = (x + 0.05) / (y + 0.05);
        const size = parseFloat(style.fontSize), large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
        texts += 1;
        if (ratio < (large ? 3 : 4.5)) low.set(`${e.tagName}.${e.getAttribute('class') ?? ''} in ${e.parentElement.getAttribute('class') ?? e.parentElement.id}`, ratio.toFixed(2));
    }
    return [texts, [...low].map(pair => pair.join(' '))];
})()";

#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn texts_stand_out_in_light_and_in_dark() {
    let page = whole_page();
    for scheme in ["light", "dark"] {
        let mut tab = Tab::open(&page, 1400, scheme);
        for node in ["conv1", "fc1", "image"] {
            tab.evaluate(&format!("location.hash = '#{node}'; new Promise(done => setTimeout(done, 100))"));
            tab.evaluate("$('search').value = 'conv'; find()");
            let (texts, low): (usize, Vec<String>) = serde_json::from_value(tab.evaluate(CONTRAST)).unwrap();
            assert!(low.is_empty(), "{scheme}, {node}: {low:#?}");
            assert!(texts > 150, "{texts}");
        }
        assert_eq!(tab.evaluate("matchMedia('(prefers-color-scheme: dark)').matches"), scheme == "dark");
    }
}

/// What stands out to the right of a window of 360 pixels, and nothing around it scrolls.
pub const TOO_WIDE: &str = "[...document.body.querySelectorAll('*')].filter(e => {
    for (let at = e.parentElement; at; at = at.parentElement) if (getComputedStyle(at).overflowX !== 'visible') return false;
    return e.checkVisibility() && !e.closest('svg svg, svg *') && e.getBoundingClientRect().right > 360.5;
}).map(e => e.tagName + '#' + e.id + '.' + e.className + ' ' + e.getBoundingClientRect().right)";

#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn a_phone_needs_no_scrolling_aside() {
    let lab = Lab::new();
    let deep = show(&lab, &["models/resnet.cnn:resnet50"]);
    let wide = show(&lab, &["models/googlenet.cnn"]);
    for (page, nodes) in [(whole_page(), &["conv1", "fc1"][..]), (deep, &["layer3.4.conv2"]), (wide, &["inception3a"])]
    {
        let mut tab = Tab::open(&page, 360, "light");
        for node in nodes {
            tab.evaluate(&format!("location.hash = '#{node}'; new Promise(done => setTimeout(done, 100))"));
            assert_eq!(tab.evaluate(TOO_WIDE), json!([]), "{node}");
            assert_eq!(tab.evaluate("document.documentElement.scrollWidth"), 360, "{node}");
        }
    }
}
