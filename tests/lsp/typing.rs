//! What is said while a text is being written.

use super::editor::Editor;
use super::requests::hinted;
use gen_lsp_types as lsp;
use insta::assert_snapshot;
use serde_json::{Value, json};

const URI: &str = "untitled:net";

/// Hints of what can be built stay, wherever the text is not finished.
#[test]
fn hints_stay_while_a_line_is_not_finished() {
    let head = "model m(c = 8)\ninput image: f32[N, 3, 32, 32]\nblock B(c) { a: conv 3x3, c, half | relu }\n";
    let mut editor = Editor::start();
    editor.open(URI, head);
    for (name, net) in [
        ("a_line_in_error", "net {\n  B(c)\n  conv 3x3,\n  maxpool 2x2\n}\n"),
        ("an_open_body", "net {\n  B(c)\n  concat {\n    conv 1x1, 8\n    conv 1x1, 4 | "),
        ("an_unknown_layer", "net {\n  B(c)\n  concat {\n    convolve 1x1, 8\n    conv 1x1, 4\n  }\n}\n"),
        ("a_shape_that_does_not_fit", "net {\n  B(c) | flatten\n  maxpool 2x2\n}\n"),
        ("another_item", "net {\n  B(c)\n}\nblock C(x = { relu }\n"),
    ] {
        let text = format!("{head}{net}");
        editor.replace(URI, &text);
        assert_snapshot!(name, hinted(&mut editor, URI, &text));
    }
}

/// 10^5 layers and far more than 10^7 steps: given up after a time, while the rest is answered.
#[test]
fn a_huge_text_does_not_block() {
    let text = "model m\ninput image: f32[N, 3, 32, 32]\n\
        net { for i in 1..300 { for j in 1..300 { for k in 1..100 { const a = max(i, j, k) } } } | relu }\n";
    let mut editor = Editor::start();
    editor.open(URI, text);
    let built = editor.send("textDocument/codeLens", json!({ "textDocument": { "uri": URI } }));
    // Needs the tree alone, and so is answered first.
    let start = std::time::Instant::now();
    let symbols = editor.ask("textDocument/documentSymbol", json!({ "textDocument": { "uri": URI } })).unwrap();
    assert_eq!(symbols.as_array().map(Vec::len), Some(3));
    let waited = start.elapsed();
    // Another text is built although this one is not.
    editor.replace(URI, "model m\ninput image: f32[N, 3, 32, 32]\nnet { relu }\n");
    assert_eq!(editor.answer(built), Err("the text has changed".into()));
    assert!(editor.found(URI).is_empty());
    editor.replace(URI, text);
    let found = editor.found(URI);
    let given_up = |found: &lsp::Diagnostic| found.severity == Some(lsp::DiagnosticSeverity::Information);
    assert!(found.iter().all(|one| given_up(one) || one.code == Some(lsp::Code::String("E0502".into()))), "{found:?}");
    assert!(!found.is_empty() && waited.as_secs() < 60);
}

#[test]
fn a_text_above_the_limit_is_not_read() {
    let mut editor = Editor::start();
    editor.open(URI, &"# a comment\n".repeat(100_000));
    let found = editor.found(URI);
    assert_eq!(found[0].code, Some(lsp::Code::String("E0501".into())));
    assert_eq!(editor.ask("textDocument/formatting", with_options(URI)), Ok(Value::Null));
}

fn with_options(uri: &str) -> Value {
    json!({ "textDocument": { "uri": uri }, "options": { "tabSize": 2, "insertSpaces": true } })
}

#[test]
fn cancelled_requests_are_answered_so() {
    let mut editor = Editor::start();
    editor.open(URI, "model m\ninput image: f32[N, 3, 32, 32]\nnet { for i in 1..9000000 { const a = i } | relu }\n");
    let id = editor.send("textDocument/codeLens", json!({ "textDocument": { "uri": URI } }));
    editor.tell(lsp::LspNotificationMethod::CancelRequest, json!({ "id": id }));
    // It may have been built in the meantime.
    let answer = editor.answer(id);
    assert!(answer.is_ok() || answer == Err("cancelled".into()));
}
