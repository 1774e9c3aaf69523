//! Random edits of a text, in a server that must know what one knows that has seen the last text only.

use super::editor::Editor;
use serde_json::{Value, json};

const URI: &str = "untitled:net";

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

/// Whether a server has given up building the text: how far it came depends on the time that it had.
fn is_given_up(editor: &mut Editor) -> bool {
    editor.found(URI).iter().any(|found| found.code == Some(gen_lsp_types::Code::String("E0510".into())))
}

/// Types, deletes and undoes in a text, `edits` times, and compares the answers after every fourth. `below` draws numbers.
pub fn edit(mut text: String, edits: usize, below: &mut dyn FnMut(usize) -> usize) {
    let mut earlier = vec![text.clone()];
    let mut editor = Editor::start();
    editor.open(URI, &text);
    for edit in 0..edits {
        let start = boundary(&text, below(text.len() + 1));
        let most = [0, 1, 5, 40][below(4)];
        let end = boundary(&text, (start + below(most + 1)).min(text.len())).max(start);
        let piece = if below(3) == 0 { "" } else { PIECES[below(PIECES.len())] };
        if below(12) == 0 {
            text = earlier[below(earlier.len())].clone();
            editor.replace(URI, &text);
        } else {
            let range = json!({ "start": position(&text, start), "end": position(&text, end) });
            editor.change(URI, range, piece);
            text.replace_range(start..end, piece);
        }
        earlier.push(text.clone());
        let at = boundary(&text, below(text.len() + 1));
        if edit % 4 < 3 {
            // Asked of a text that is gone before it is built.
            editor
                .send("textDocument/hover", json!({ "textDocument": { "uri": URI }, "position": position(&text, at) }));
            continue;
        }
        let mut fresh = Editor::start();
        fresh.open(URI, &text);
        let (known, expected) = (answers(&mut editor, &text, at), answers(&mut fresh, &text, at));
        if !is_given_up(&mut editor) && !is_given_up(&mut fresh) {
            assert_eq!(known, expected, "at {at} of\n{text}");
            assert_eq!(editor.found(URI), fresh.found(URI), "of\n{text}");
        }
    }
}
