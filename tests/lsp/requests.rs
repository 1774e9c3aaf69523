//! Every kind of request, on small texts.

use super::editor::Editor;
use gen_lsp_types as lsp;
use insta::assert_snapshot;
use serde_json::{Value, json};
use std::fmt::Write;

const URI: &str = "file:///models/net.cnn";

const MODEL: &str = "\
model small(path = Unit, width = 16, classes = 10)
input image: f32[N, 3, H = 32, W = 32]
defaults conv half

const widths = [width, 2 * width]

block Unit(c, s = 1, mid = c // 2) {
  residual {
    conv1: conv 1x1, mid | bn1: bn | relu
    conv2: conv 3x3, c, stride s
  } project { down: conv 1x1, c, stride s } | relu
}

net {
  stem: conv 3x3, width, bias as early | relu
  for c in widths { stage{c}: 2 x path(c, 2 then 1) }
  concat {
    conv 1x1, 8
    from stem | maxpool 4x4
  }
  global_avgpool | fc: dense classes
}
variant wide = small(width = 32)
variant plain = small(path = Plain)
block Plain(c, s = 1) { conv: conv 3x3, c, stride s }
";

fn opened(text: &str) -> Editor {
    let mut editor = Editor::start();
    editor.open(URI, text);
    editor
}

fn document() -> Value {
    json!({ "textDocument": { "uri": URI } })
}

/// Where a part of a text begins, `skip` bytes on.
fn position(text: &str, part: &str, skip: usize) -> Value {
    let at = text.find(part).unwrap_or_else(|| panic!("{part}")) + skip;
    let line = text[..at].matches('\n').count();
    let column = at - text[..at].rfind('\n').map_or(0, |end| end + 1);
    json!({ "line": line, "character": column })
}

fn at(text: &str, part: &str, skip: usize) -> Value {
    json!({ "textDocument": { "uri": URI }, "position": position(text, part, skip) })
}

/// What stands at a range of a text.
fn under(text: &str, range: lsp::Range) -> &str {
    let offset = |position: lsp::Position| {
        let line: usize = text.split_inclusive('\n').take(position.line as usize).map(str::len).sum();
        line + position.character as usize
    };
    &text[offset(range.start)..offset(range.end)]
}

fn whole() -> Value {
    json!({ "start": { "line": 0, "character": 0 }, "end": { "line": 10000, "character": 0 } })
}

pub fn with(mut params: Value, key: &str, value: Value) -> Value {
    params[key] = value;
    params
}

/// A text with its hints.
pub fn hinted(editor: &mut Editor, uri: &str, text: &str) -> String {
    let params = json!({ "textDocument": { "uri": uri }, "range": whole() });
    let mut hints = editor.request::<lsp::InlayHintRequest>(params).unwrap_or_default();
    hints.sort_by_key(|hint| std::cmp::Reverse(hint.position));
    let mut lines: Vec<String> = text.lines().map(String::from).collect();
    for hint in hints {
        let lsp::Label::String(label) = hint.label else { panic!("parts") };
        lines[hint.position.line as usize].insert_str(hint.position.character as usize, &format!(" <{label}>"));
    }
    lines.join("\n")
}

/// The text after edits of it.
fn edited(text: &str, edits: &[lsp::TextEdit]) -> String {
    let mut edits = edits.to_vec();
    edits.sort_by_key(|edit| std::cmp::Reverse(edit.range.start));
    let mut text = text.to_string();
    for edit in edits {
        let old = under(&text, edit.range);
        let start = old.as_ptr() as usize - text.as_ptr() as usize;
        text.replace_range(start..start + old.len(), &edit.new_text);
    }
    text
}

fn said(diagnostics: &[lsp::Diagnostic]) -> String {
    let mut text = String::new();
    for found in diagnostics {
        let lsp::Message::String(message) = &found.message else { panic!("markup") };
        let lsp::Range { start, end } = found.range;
        let place = format!("{}:{}-{}:{}", start.line, start.character, end.line, end.character);
        let _ = writeln!(
            text,
            "{place} {:?} {:?} {:?}\n{message}",
            found.severity.as_ref().unwrap(),
            found.code,
            found.tags
        );
        for related in found.related_information.iter().flatten() {
            let _ = writeln!(text, "  at {}: {}", related.location.range.start.line, related.message);
        }
    }
    text
}

#[test]
fn capabilities() {
    let editor = Editor::start();
    assert_snapshot!(serde_json::to_string_pretty(&editor.capabilities).unwrap());
    let said = json!({ "capabilities": { "general": { "positionEncodings": ["utf-16", "utf-8"] } } });
    assert_eq!(Editor::with(said).capabilities["positionEncoding"], "utf-8");
}

#[test]
fn inlay_hints() {
    assert_snapshot!(hinted(&mut opened(MODEL), URI, MODEL));
}

#[test]
fn code_lenses() {
    let lenses = opened(MODEL).request::<lsp::CodeLensRequest>(document()).unwrap();
    let shown =
        lenses.iter().map(|lens| format!("{}: {}\n", lens.range.start.line, lens.command.as_ref().unwrap().title));
    assert_snapshot!(shown.collect::<String>());
}

/// Only an editor that says that it has the command gets lenses which call it, and only for files.
#[test]
fn lenses_that_show_a_network() {
    let options = json!({ "commands": ["svertka.show", "svertka.other"] });
    for (options, uri, shown) in [
        (json!({}), URI, 0),
        (options.clone(), "untitled:net", 0),
        (json!({ "commands": 3 }), URI, 0),
        (options, URI, 3),
    ] {
        let mut editor = Editor::with(json!({ "capabilities": {}, "initializationOptions": options }));
        editor.open(uri, MODEL);
        let document = json!({ "textDocument": { "uri": uri } });
        let lenses = editor.request::<lsp::CodeLensRequest>(document).unwrap();
        let commands =
            lenses.iter().filter_map(|lens| lens.command.as_ref()).filter(|command| !command.command.is_empty());
        let commands: Vec<_> = commands.map(|command| (command.command.as_str(), command.arguments.clone())).collect();
        assert_eq!((lenses.len(), commands.len()), (3 + shown, shown), "{options} {uri}");
        let of = |variant: Value| ("svertka.show", Some(vec![json!(URI), variant]));
        let all = [of(Value::Null), of(json!("wide")), of(json!("plain"))];
        assert!(commands.iter().all(|command| all.contains(command)), "{commands:?}");
    }
}

#[test]
fn hover() {
    let mut editor = opened(MODEL);
    let mut text = String::new();
    for (part, skip) in [
        ("conv1: conv", 0),
        ("conv1: conv", 8),
        ("conv 3x3, width", 12),
        ("stride s", 1),
        ("stride s", 7),
        ("2 x path", 5),
        ("residual", 0),
        ("concat", 0),
        ("widths {", 2),
        ("Unit(c", 0),
        ("early", 0),
        ("from stem", 6),
        ("global_avgpool", 0),
        ("fc: dense", 0),
        ("wide =", 0),
        ("3x3", 0),
        ("half", 0),
        ("net {", 0),
    ] {
        let hover = editor.request::<lsp::HoverRequest>(at(MODEL, part, skip));
        let _ = writeln!(text, "# {part}, {skip}");
        let Some(hover) = hover else { continue };
        let lsp::Contents::MarkupContent(said) = hover.contents else { panic!("marked strings") };
        let _ = writeln!(text, "[{}]\n{}\n", under(MODEL, hover.range.unwrap()), said.value);
    }
    assert_snapshot!(text);
}

#[test]
fn diagnostics_and_code_actions() {
    let text = "model m\ninput image: f32[N, 3, 32, 32]\nnet {\n  a: conv 3x3, 8, strid 2\n  b: conv 2x2, 8\n}\n";
    let mut editor = opened(text);
    let found = editor.found(URI);
    assert_snapshot!("diagnostics", said(&found));
    let params = with(with(document(), "range", whole()), "context", json!({ "diagnostics": [] }));
    let actions = editor.request::<lsp::CodeActionRequest>(params.clone()).unwrap();
    let mended = apply(text, &actions, "did you mean `stride`?");
    editor.replace(URI, &mended);
    let left = editor.found(URI);
    assert_snapshot!("warnings", said(&left));
    let actions = editor.request::<lsp::CodeActionRequest>(params.clone()).unwrap();
    // Each way out has a title, and none is put before the others where a person is to choose.
    let titles = |action: &lsp::CodeActionResponse| match action {
        lsp::CodeActionResponse::CodeAction(action) => (action.title.clone(), action.is_preferred),
        other => panic!("{other:?}"),
    };
    let titles: Vec<_> = actions.iter().map(titles).collect();
    assert_eq!(titles, [("take 3x3".into(), None), ("if it is meant: `allow even_kernel`".into(), None)]);
    assert!(apply(&mended, &actions, "take 3x3").contains("b: conv 3x3, 8"));
    let allowed = apply(&mended, &actions, "if it is meant: `allow even_kernel`");
    editor.replace(URI, &allowed);
    assert_snapshot!("allowed", format!("{allowed}\n{}", said(&editor.found(URI))));
    let refactorings = with(params, "context", json!({ "diagnostics": [], "only": ["refactor"] }));
    assert_eq!(editor.request::<lsp::CodeActionRequest>(refactorings), None);
}

fn apply(text: &str, actions: &[lsp::CodeActionResponse], title: &str) -> String {
    let titled = |action: &&lsp::CodeActionResponse| matches!(action, lsp::CodeActionResponse::CodeAction(action) if action.title == title);
    let Some(lsp::CodeActionResponse::CodeAction(action)) = actions.iter().find(titled) else { panic!("{title}") };
    edited(text, &action.edit.as_ref().unwrap().changes.as_ref().unwrap()[&URI.into()])
}

#[test]
fn formatting() {
    let text = "model m\ninput image: f32[N,3,32,32]\nnet { conv 3x3,8|relu }\n";
    let mut editor = opened(text);
    let options = json!({ "tabSize": 2, "insertSpaces": true });
    let params = with(document(), "options", options);
    let edits = editor.request::<lsp::DocumentFormattingRequest>(params.clone()).unwrap();
    let new = edited(text, &edits);
    assert_snapshot!(new);
    editor.replace(URI, &new);
    assert_eq!(editor.request::<lsp::DocumentFormattingRequest>(params.clone()), Some(Vec::new()));
    editor.replace(URI, "net { conv 3x3, | }");
    assert_eq!(editor.request::<lsp::DocumentFormattingRequest>(params.clone()), None);
    // Asked for twice, and of a text that is gone before it is laid out.
    editor.replace(URI, text);
    let asked = [0; 2].map(|_| editor.send("textDocument/formatting", params.clone()));
    let answers = asked.map(|id| editor.answer(id).unwrap());
    assert!(answers[0] == answers[1] && answers[0][0]["newText"].is_string());
    editor.replace(URI, &text.repeat(100));
    let outdated = editor.send("textDocument/formatting", params.clone());
    editor.replace(URI, &new);
    assert_eq!(editor.answer(outdated), Err("the text has changed".into()));
    assert_eq!(editor.request::<lsp::DocumentFormattingRequest>(params), Some(Vec::new()));
}

/// A layout waits for no network, also where another text is built at the time.
#[test]
fn formatting_does_not_wait_for_networks() {
    let text = "net { conv 3x3,8|relu }\n";
    let mut editor = opened(text);
    let huge = "model m\ninput image: f32[N, 3, 8, 8]\n\
        net { for i in 1..300 { for j in 1..300 { for k in 1..100 { const a = max(i, j, k) } } } | relu }\n";
    editor.open("untitled:huge", huge);
    let lens = editor.send("textDocument/codeLens", json!({ "textDocument": { "uri": "untitled:huge" } }));
    let options = json!({ "tabSize": 2, "insertSpaces": true });
    let edits = editor.request::<lsp::DocumentFormattingRequest>(with(document(), "options", options)).unwrap();
    assert_eq!(edited(text, &edits), "net { conv 3x3, 8 | relu }\n");
    // Answered after that; what was answered before is not heard any more.
    assert!(editor.answer(lens).is_ok());
}

#[test]
fn completion() {
    let mut text = String::new();
    for (written, place) in [
        ("an item", "|"),
        ("a step", "block B(c) { relu }\nnet {\n  a: |\n}"),
        ("arguments of a layer", "net { conv 3x3, 8, | }"),
        ("words of a parameter", "net { resize | }"),
        ("of a named parameter", "net { conv 3x3, 8, pad | }"),
        ("arguments of a block", "block B(c, s = 1) { relu }\nconst wide = 8\nnet { B(8, | }"),
        ("values", "block B(c) {\n  const mid = 2 * |\n  relu\n}"),
        ("fields", "net { conv 1x1, in.| }"),
        ("from", "net {\n  stem: relu as early\n  from |\n}"),
        ("lints", "allow |"),
        ("defaults", "defaults |"),
        ("models", "model m(n = 1)\nvariant a = |"),
        ("a name of one's own", "block |"),
        ("a comment", "net { # |"),
    ] {
        let (before, behind) = place.split_once('|').unwrap();
        let document = format!("{before}{behind}");
        let mut editor = opened(&document);
        let line = before.matches('\n').count();
        let column = before.len() - before.rfind('\n').map_or(0, |end| end + 1);
        let position = json!({ "line": line, "character": column });
        let answer = editor.request::<lsp::CompletionRequest>(with(self::document(), "position", position));
        let Some(lsp::CompletionResponse::CompletionItemList(items)) = answer else { panic!("a list") };
        let _ = writeln!(text, "# {written}: {} in all", items.len());
        for item in items.iter().take(12) {
            let _ =
                writeln!(text, "{:?} {} ({})", item.kind.unwrap(), item.label, item.detail.as_deref().unwrap_or(""));
        }
    }
    assert_snapshot!(text);
}

#[test]
fn snippets_only_where_they_are_known() {
    for known in [true, false] {
        let said = json!({ "textDocument": { "completion": { "completionItem": { "snippetSupport": known } } } });
        let mut editor = Editor::with(json!({ "capabilities": said }));
        editor.open(URI, "");
        let position = json!({ "line": 0, "character": 0 });
        let answer = editor.request::<lsp::CompletionRequest>(with(document(), "position", position));
        let Some(lsp::CompletionResponse::CompletionItemList(items)) = answer else { panic!("a list") };
        assert_eq!(items.iter().any(|item| item.insert_text_format == Some(lsp::InsertTextFormat::Snippet)), known);
    }
}

#[test]
fn signature_help() {
    let mut text = String::new();
    for place in ["conv 3x3, |", "conv 3x3, 8, stride |", "2 x Unit(8, |", "conv 3x3, ceil(|", "Unit(s = |", "relu | |"]
    {
        let written = place.strip_suffix('|').unwrap();
        let document = format!("block Unit(c, s = 1) {{ relu }}\nnet {{ {written}");
        let column = document.len() - document.rfind('\n').unwrap() - 1;
        let position = json!({ "line": 1, "character": column });
        let help = opened(&document).request::<lsp::SignatureHelpRequest>(with(self::document(), "position", position));
        let _ = writeln!(text, "# {place}");
        let Some(help) = help else { continue };
        let _ = writeln!(text, "{} {:?}", help.signatures[0].label, help.active_parameter);
    }
    assert_snapshot!(text);
}

#[test]
fn definition_and_references() {
    let mut editor = opened(MODEL);
    let mut text = String::new();
    for (part, skip) in [
        ("path(c, 2", 0),
        ("path(c, 2", 5),
        ("mid | bn1", 0),
        ("stride s\n", 7),
        ("widths {", 0),
        ("from stem", 5),
        ("= Unit", 2),
        ("width = 32", 0),
        ("= small(path", 2),
    ] {
        let answer = editor.request::<lsp::DefinitionRequest>(at(MODEL, part, skip));
        let Some(lsp::DefinitionResponse::Definition(lsp::Definition::Location(found))) = answer else {
            panic!("{part}")
        };
        let _ = writeln!(text, "{part:?} is from {}: {}", found.range.start.line, under(MODEL, found.range));
        let context = json!({ "includeDeclaration": true });
        let references = editor.request::<lsp::ReferencesRequest>(with(at(MODEL, part, skip), "context", context));
        for found in references.unwrap_or_default() {
            let _ = writeln!(
                text,
                "  {}:{} {}",
                found.range.start.line,
                found.range.start.character,
                under(MODEL, found.range)
            );
        }
    }
    assert_snapshot!(text);
    let highlights = editor.request::<lsp::DocumentHighlightRequest>(at(MODEL, "width,", 0)).unwrap();
    assert_eq!(highlights.len(), MODEL.matches("width").count() - MODEL.matches("widths").count());
}

#[test]
fn rename() {
    let mut editor = opened(MODEL);
    for (part, new) in [("mid =", "middle"), ("Unit,", "Bottleneck"), ("width =", "w"), ("early", "x1")] {
        let edit = editor.request::<lsp::RenameRequest>(with(at(MODEL, part, 0), "newName", json!(new))).unwrap();
        let new_text = edited(MODEL, &edit.changes.unwrap()[&URI.into()]);
        assert_snapshot!(format!("rename_{new}"), new_text);
    }
    let mut refused = |part, skip, new| {
        let params = with(at(MODEL, part, skip), "newName", json!(new));
        editor.ask("textDocument/rename", params).unwrap_err()
    };
    assert_snapshot!(
        "refused",
        [
            refused("conv1: conv", 0, "conv3"),
            refused("image", 0, "picture"),
            refused("wide =", 0, "wider"),
            refused("mid =", 0, "c"),
            refused("mid =", 0, "a b"),
            refused("Unit,", 0, "net"),
            refused("c in", 0, "path"),
        ]
        .join("\n")
    );
    assert_eq!(editor.request::<lsp::RenameRequest>(with(at(MODEL, "relu", 0), "newName", json!("a"))), None);
    let range = editor.request::<lsp::PrepareRenameRequest>(at(MODEL, "early", 2)).unwrap();
    let lsp::PrepareRenameResult::Range(range) = range else { panic!("a range") };
    assert_eq!(under(MODEL, range), "early");
}

#[test]
fn symbols() {
    fn show(text: &mut String, depth: usize, symbols: &[lsp::DocumentSymbol]) {
        for symbol in symbols {
            let detail = symbol.detail.as_deref().unwrap_or_default();
            let _ = writeln!(text, "{:1$}{2} {detail} {3:?}", "", 2 * depth, symbol.name, symbol.kind);
            show(text, depth + 1, symbol.children.as_deref().unwrap_or_default());
        }
    }
    let answer = opened(MODEL).request::<lsp::DocumentSymbolRequest>(document());
    let Some(lsp::DocumentSymbolResponse::DocumentSymbolList(symbols)) = answer else { panic!("a list") };
    let mut text = String::new();
    show(&mut text, 0, &symbols);
    assert_snapshot!(text);
}

#[test]
fn folding() {
    let text = format!("# a comment\n# of two lines\n{MODEL}");
    let ranges = opened(&text).request::<lsp::FoldingRangeRequest>(document()).unwrap();
    let shown = ranges.iter().map(|range| format!("{}-{} {:?}\n", range.start_line, range.end_line, range.kind));
    assert_snapshot!(shown.collect::<String>());
}

#[test]
fn semantic_tokens() {
    let mut editor = opened(MODEL);
    let legend = editor.capabilities["semanticTokensProvider"]["legend"]["tokenTypes"].clone();
    let tokens = editor.request::<lsp::SemanticTokensRequest>(document()).unwrap().data;
    let (mut line, mut column, mut text) = (0, 0, String::new());
    for token in tokens {
        column = if token.delta_line > 0 { token.delta_start } else { column + token.delta_start };
        line += token.delta_line;
        let start = lsp::Position { line, character: column };
        let end = lsp::Position { line, character: column + token.length };
        let kind = legend[token.token_type as usize].as_str().unwrap();
        let _ = writeln!(
            text,
            "{line}: {} {kind} {}",
            under(MODEL, lsp::Range { start, end }),
            token.token_modifiers_bitset
        );
    }
    assert_snapshot!(text);
}

#[test]
fn columns_of_characters_outside_of_the_basic_plane() {
    let text = "model m # \u{1d54f}\ninput image: f32[N, 3, 8, 8]\nnet { relu # \u{1d54f}\u{e9}\n}\nvariant \u{1d54f}";
    let said = json!({ "capabilities": { "general": { "positionEncodings": ["utf-8"] } } });
    for (mut editor, end) in [(Editor::start(), 10), (Editor::with(said), 12)] {
        editor.open(URI, text);
        let found = editor.found(URI);
        assert_eq!((found[0].range.start.character, found[0].range.end.character), (8, end));
    }
}

#[test]
fn what_is_not_answered_is_refused() {
    let mut editor = opened(MODEL);
    assert!(editor.ask("textDocument/moniker", document()).unwrap_err().contains("not answered"));
    assert!(
        editor
            .ask("textDocument/hover", json!({ "textDocument": { "uri": "file:///a" } }))
            .unwrap_err()
            .contains("not open")
    );
    assert!(editor.ask("textDocument/hover", document()).unwrap_err().contains("missing field"));
    // Nonsense is passed over.
    editor.tell(gen_lsp_types::LspNotificationMethod::TextDocumentDidChange, json!({ "textDocument": 1 }));
    assert!(editor.found(URI).iter().all(|found| found.severity != Some(lsp::DiagnosticSeverity::Error)));
}
