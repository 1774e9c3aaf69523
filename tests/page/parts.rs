//! Graph, text, search, times: what is selected is selected everywhere.

use crate::browser::evaluate;
use crate::lab::Lab;
use crate::show;
use std::collections::BTreeMap;

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
        const key = key => document.querySelector('.box.selected').dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
        location.hash = '#first.b/0/3,4'; await wait(); note('address');
        document.querySelector('[data-line=\"0.6\"]').click(); await wait(); note('line');
        key('ArrowLeft'); await wait(); note('left');
        key('ArrowLeft'); await wait();
        seen.closed = [String(view.open.has(blocks.findIndex(b => b.path === 'second')))];
        key('ArrowRight'); key('ArrowDown'); await wait(); note('down');
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
    assert_eq!(seen["found"].len(), 2, "{seen:?}");
    assert_eq!(seen["search"][0], "second.b", "{seen:?}");
}

#[test]
#[cfg_attr(not(tool = "chromium"), ignore = "needs chromium")]
fn times_lead_to_layers() {
    let lab = Lab::new();
    let args =
        ["bench", "models/lenet5.cnn", "--per-layer", "--min-time", "0", "--runs", "2", "--warmup", "0", "--json"];
    lab.run(&[&args[..], &[&lab.path("r.json")]].concat(), 0);
    let page = show(&lab, &["models/lenet5.cnn", "--bench", &lab.path("r.json")]);
    let script = "(async () => {
        const steps = times.results[0].profile.steps, at = steps.findIndex(step => step.layer === 'fc2');
        document.querySelector(`#times .roofline [data-step=\"${at}\"]`).dispatchEvent(new MouseEvent('click', { bubbles: true }));
        await new Promise(done => setTimeout(done, 50));
        return [location.hash, document.querySelector('#times .chosen span').textContent, String(steps.every(step => nodeOfStep(step) >= 0))];
    })()";
    let seen: Vec<String> = evaluate(&page, script);
    assert_eq!(seen, ["#fc2", "fc2", "true"]);
    let (_, err) = lab.run(&["show", "models/vgg.cnn", "--bench", &lab.path("r.json"), "-o", &lab.path("x.html")], 1);
    assert!(err.contains("r.json: no result for vgg.cnn; it has lenet5.cnn"), "{err}");
    assert!(!std::path::Path::new(&lab.path("x.html")).exists());
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
