//! Random edits of models: the server never fails, and its answers are those of one that has seen the text only.

use super::editor::Editor;
use super::session;
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use serde_json::json;
use std::time::{Duration, Instant};

const URI: &str = "untitled:net";

const MODELS: [&str; 4] = [
    include_str!("../../models/resnet.cnn"),
    include_str!("../../models/googlenet.cnn"),
    include_str!("../../models/densenet.cnn"),
    include_str!("../../models/unet.cnn"),
];

/// `LSP_SESSIONS=1000` for more of them.
#[test]
fn random_edits_leave_no_trace() {
    let sessions = std::env::var("LSP_SESSIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    for seed in 0..sessions {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&u64::to_le_bytes(seed));
        let mut random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
        let mut below = |n: usize| random.next_u64() as usize % n.max(1);
        let text = MODELS[below(MODELS.len())];
        session::edit(text.into(), 16, &mut below);
    }
}

/// A model of 500 lines, each edit of which is answered with diagnostics, hints and a hover.
/// `cargo test --release --test all lsp::random::edits_of_500 -- --ignored --nocapture`
#[test]
#[ignore = "measures, and says what it found"]
fn edits_of_500_lines() {
    let mut text = String::from("model m\ninput image: f32[N, 3, 64, 64]\ndefaults conv half\nnet {\n");
    for i in 0..490 {
        text += &format!("  stage{i}: conv 3x3, {}, groups 1 | bn{i}: bn | relu  # a line\n", 8 + i % 3);
    }
    text += "  global_avgpool | fc: dense 10\n}\n";
    let mut editor = Editor::start();
    editor.open(URI, &text);
    let range = json!({ "start": { "line": 0, "character": 0 }, "end": { "line": 60, "character": 0 } });
    let mut times: Vec<Duration> = (0..41)
        .map(|i| {
            let line = 10 + 10 * i;
            let place = json!({ "line": line, "character": 2 });
            let start = Instant::now();
            editor.change(URI, json!({ "start": place, "end": place }), "a");
            let document = json!({ "uri": URI });
            let hints = editor.send("textDocument/inlayHint", json!({ "textDocument": document, "range": range }));
            let hover = editor.send("textDocument/hover", json!({ "textDocument": document, "position": place }));
            assert!(editor.answer(hints).is_ok_and(|hints| !hints.as_array().unwrap().is_empty()));
            assert!(editor.answer(hover).is_ok_and(|hover| hover.is_object()));
            start.elapsed()
        })
        .collect();
    times.sort();
    println!("{} lines: median {:?}, longest {:?}", text.lines().count(), times[20], times[40]);
}
