//! Models that use networks which come along.

use super::editor::Editor;
use gen_lsp_types as lsp;
use serde_json::{Value, json};

const URI: &str = "untitled:net";

const MODEL: &str = "\
use \"zoo:resnet18\"
model m
input image: f32[N, 3, 64, 64]
net { stem: conv 3x3, 64, half | stage: Unit(64, 1) }
";

fn at(line: u32, character: u32) -> Value {
    json!({ "textDocument": { "uri": URI }, "position": { "line": line, "character": character } })
}

#[test]
fn a_network_of_the_zoo_is_used() {
    let mut editor = Editor::start();
    editor.open(URI, MODEL);
    let found = editor.found(URI);
    assert!(found.is_empty(), "{found:?}");
    // Its shapes are those of the variant.
    let hover = editor.ask("textDocument/hover", at(3, 42)).unwrap();
    assert!(hover.to_string().contains("[N, 64, 64, 64]`"), "{hover}");
    editor.replace(URI, &MODEL.replace("resnet18", "resnet_18"));
    let found = editor.found(URI);
    assert_eq!((found.len(), found[0].range.start.line), (1, 0), "{found:?}");
    // A mistake that shows within it is said of the text that uses it.
    editor.replace(URI, &MODEL.replace("Unit(64, 1)", "flatten | Unit(64, 1)"));
    let found = editor.found(URI);
    assert!(!found.is_empty() && editor.diagnostics.iter().all(|(uri, said)| uri == URI || said.is_empty()));
}

#[test]
fn its_files_are_opened_and_not_changed() {
    let mut editor = Editor::start();
    editor.open(URI, MODEL);
    for (place, start) in [(at(0, 8), "# ResNet"), (at(3, 41), "block Unit")] {
        let answer = editor.request::<lsp::DefinitionRequest>(place);
        let Some(lsp::DefinitionResponse::Definition(lsp::Definition::Location(found))) = answer else { panic!() };
        let path = found.uri.as_ref().strip_prefix("file://").unwrap();
        assert!(path.ends_with("svertka/zoo/resnet.cnn"), "{path}");
        let text = std::fs::read_to_string(path).unwrap();
        assert!(text.lines().nth(found.range.start.line as usize).unwrap().starts_with(start), "{start}");
    }
    let refused = editor.ask("textDocument/prepareRename", at(3, 41)).unwrap_err();
    assert!(refused.contains("zoo"), "{refused}");
    let context = json!({ "includeDeclaration": true });
    let mut params = at(3, 41);
    params["context"] = context;
    let found = editor.request::<lsp::ReferencesRequest>(params).unwrap();
    assert_eq!(found.iter().map(|place| place.uri.as_ref()).collect::<Vec<_>>(), [URI]);
}

#[test]
fn its_names_are_completed_as_a_whole() {
    let mut editor = Editor::start();
    editor.open(URI, "use \"zoo:resnet\"\n");
    let answer = editor.request::<lsp::CompletionRequest>(at(0, 15));
    let Some(lsp::CompletionResponse::CompletionItemList(items)) = answer else { panic!("a list") };
    let item = items.iter().find(|item| item.label == "zoo:resnet50").expect("one of the zoo");
    let Some(lsp::CompletionItemTextEdit::TextEdit(edit)) = &item.text_edit else { panic!("an edit") };
    assert_eq!((edit.range.start.character, edit.range.end.character), (5, 15));
}
