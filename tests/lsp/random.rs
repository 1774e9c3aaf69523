//! Random edits of models: the server never fails, and its answers are those of one that has seen the text only.

use crate::editor::Editor;
use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const URI: &str = "untitled:net";

const MODELS: [&str; 4] = [
    include_str!("../../models/resnet.cnn"),
    include_str!("../../models/googlenet.cnn"),
    include_str!("../../models/densenet.cnn"),
    include_str!("../../models/unet.cnn"),
];

/// Pieces that are put in.
const PIECES: [&str; 24] = [
    "|",
    "{",
    "}",
    "(",
    ")",
    ",",
    "\n",
    " ",
    ":",
    "conv 3x3, 8",
    "relu",
    "x",
    "3",
    "\"",
    "#",
    "net {",
    "block A(c) {",
    "from ",
    " as a",
    "use \"b.cnn\"",
    "residual {",
    "\u{1d54f}",
    "const a = ",
    "2 x ",
];

struct Random(TestRng);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0.next_u64() as usize % n.max(1)
    }
}

fn boundary(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

fn position(text: &str, at: usize) -> Value {
    let line_start = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let column: usize = text[line_start..at].chars().map(char::len_utf16).sum();
    json!({ "line": text[..at].matches('\n').count(), "character": column })
}

/// All that there is to ask, at a place of the text.
fn answers(editor: &mut Editor, text: &str, at: usize) -> Vec<(String, Result<Value, String>)> {
    let document = json!({ "uri": URI });
    let place = position(text, at);
    let range = json!({ "start": { "line": 0, "character": 0 }, "end": position(text, text.len()) });
    let of_text = json!({ "textDocument": document });
    let of_place = json!({ "textDocument": document, "position": place });
    let options = json!({ "tabSize": 2, "insertSpaces": true });
    let asked = [
        ("documentSymbol", of_text.clone()),
        ("foldingRange", of_text.clone()),
        ("semanticTokens/full", of_text.clone()),
        ("codeLens", of_text),
        ("formatting", json!({ "textDocument": document, "options": options })),
        ("inlayHint", json!({ "textDocument": document, "range": range })),
        ("codeAction", json!({ "textDocument": document, "range": range, "context": { "diagnostics": [] } })),
        ("hover", of_place.clone()),
        ("completion", of_place.clone()),
        ("signatureHelp", of_place.clone()),
        ("definition", of_place.clone()),
        ("documentHighlight", of_place.clone()),
        (
            "references",
            json!({ "textDocument": document, "position": place, "context": { "includeDeclaration": true } }),
        ),
        ("prepareRename", of_place),
        ("rename", json!({ "textDocument": document, "position": place, "newName": "other" })),
    ];
    asked
        .into_iter()
        .map(|(name, params)| {
            let method = format!("textDocument/{name}");
            let answer = editor.ask(&method, params);
            let defect = answer.as_ref().is_err_and(|error| error.contains("defect"));
            assert!(!defect, "{method} at {at} of\n{text}");
            (method, answer)
        })
        .collect()
}

/// Types, deletes and undoes in a model, `edits` times, and looks at the answers now and then.
fn session(seed: u64, edits: usize) {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut random = Random(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let mut text = MODELS[random.below(MODELS.len())].to_string();
    let mut earlier = vec![text.clone()];
    let mut editor = Editor::start();
    editor.open(URI, &text);
    for edit in 0..edits {
        let start = random.below(text.len() + 1);
        let start = boundary(&text, start);
        let most = [0, 1, 5, 40][random.below(4)];
        let end = boundary(&text, (start + random.below(most + 1)).min(text.len()));
        let piece = if random.below(3) == 0 { "" } else { PIECES[random.below(PIECES.len())] };
        if random.below(12) == 0 {
            text = earlier[random.below(earlier.len())].clone();
            editor.replace(URI, &text);
        } else {
            let range = json!({ "start": position(&text, start), "end": position(&text, end.max(start)) });
            editor.change(URI, range, piece);
            text.replace_range(start..end.max(start), piece);
        }
        earlier.push(text.clone());
        if edit % 4 == 3 {
            let at = random.below(text.len() + 1);
            let at = boundary(&text, at);
            let known = answers(&mut editor, &text, at);
            let mut fresh = Editor::start();
            fresh.open(URI, &text);
            assert_eq!(known, answers(&mut fresh, &text, at), "at {at} of\n{text}");
            assert_eq!(editor.found(URI), fresh.found(URI), "of\n{text}");
        }
    }
}

/// `LSP_SESSIONS=1000` for more of them.
#[test]
fn random_edits_leave_no_trace() {
    let sessions = std::env::var("LSP_SESSIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(4);
    (0..sessions).for_each(|seed| session(seed, 16));
}

/// A model of 500 lines, each edit of which is answered with diagnostics, hints and a hover.
/// `cargo test --release --test lsp edits_of_500 -- --ignored --nocapture`
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
