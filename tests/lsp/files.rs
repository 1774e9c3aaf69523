//! Models of several files.

use super::editor::Editor;
use super::requests::{hinted, with};
use gen_lsp_types as lsp;
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// A block in another file, of which one is open and changed, and one lies on the disk.
#[test]
fn files_that_are_used() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().canonicalize().unwrap();
    let uri = |name: &str| format!("file://{}/{name}", root.display());
    let blocks = "block Unit(c) { conv: conv 3x3, c, half }\nconst wide = 8\n";
    let model = "use \"blocks.cnn\"\nmodel m\ninput image: f32[N, 3, 8, 8]\nnet { a: Unit(wide) }\n";
    fs::write(root.join("blocks.cnn"), blocks).unwrap();
    fs::write(root.join("other.cnn"), model.replace("model m", "model other")).unwrap();
    let mut editor = Editor::start();
    editor.open(&uri("net.cnn"), model);
    assert!(editor.found(&uri("net.cnn")).is_empty());
    // What is wrong in a used file is said of that file.
    editor.open(&uri("blocks.cnn"), &blocks.replace("conv 3x3, c", "conv 3x3, d"));
    let found = editor.found(&uri("net.cnn"));
    assert!(found.is_empty(), "{found:?}");
    assert_eq!(editor.diagnostics[&uri("blocks.cnn")].len(), 1);
    editor.replace(&uri("blocks.cnn"), blocks);
    assert!(editor.found(&uri("blocks.cnn")).is_empty(), "a file of blocks has no net, and needs none");
    let _ = editor.found(&uri("net.cnn"));
    // Its shapes are those of a model that uses it.
    assert!(hinted(&mut editor, &uri("blocks.cnn"), blocks).contains("half <8x8x8>"));
    let place = json!({ "textDocument": { "uri": uri("net.cnn") }, "position": { "line": 3, "character": 10 } });
    let answer = editor.request::<lsp::DefinitionRequest>(place.clone());
    let Some(lsp::DefinitionResponse::Definition(lsp::Definition::Location(found))) = answer else { panic!() };
    assert_eq!((found.uri.as_ref(), found.range.start.line), (uri("blocks.cnn").as_str(), 0));
    let edit = editor.request::<lsp::RenameRequest>(with(place, "newName", json!("Cell"))).unwrap();
    let mut files: Vec<_> = edit.changes.unwrap().into_iter().map(|(uri, edits)| (uri.0, edits.len())).collect();
    files.sort();
    assert_eq!(files, [(uri("blocks.cnn"), 1), (uri("net.cnn"), 1), (uri("other.cnn"), 1)]);
    // What was said of a file goes with the text that said it.
    editor.replace(&uri("blocks.cnn"), "block Unit(c) { }\nconst wide = 8\n");
    editor.close(&uri("blocks.cnn"));
    assert!(editor.found(&uri("net.cnn")).is_empty());
}

/// Files on the disk, in a folder of their own.
struct Folder {
    root: PathBuf,
    _folder: tempfile::TempDir,
}

impl Folder {
    fn of(files: &[(&str, &str)]) -> Folder {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        files.iter().for_each(|(name, text)| fs::write(root.join(name), text).unwrap());
        Folder { root, _folder: folder }
    }

    fn uri(&self, name: &str) -> String {
        format!("file://{}/{name}", self.root.display())
    }

    /// In the editor.
    fn open(&self, editor: &mut Editor, name: &str) {
        editor.open(&self.uri(name), &fs::read_to_string(self.root.join(name)).unwrap());
    }

    /// The files in which a name changes, with the number of places.
    fn renamed(&self, editor: &mut Editor, name: &str, (line, character): (u32, u32)) -> Result<String, String> {
        let place = json!({ "line": line, "character": character });
        let params = json!({ "textDocument": { "uri": self.uri(name) }, "position": place, "newName": "other" });
        let edit: lsp::WorkspaceEdit = serde_json::from_value(editor.ask("textDocument/rename", params)?).unwrap();
        let short = |uri: &lsp::Uri| uri.as_ref().rsplit('/').next().unwrap().to_string();
        let files = edit.changes.unwrap().into_iter();
        let mut files: Vec<String> = files.map(|(uri, edits)| format!("{} {}", short(&uri), edits.len())).collect();
        files.sort();
        Ok(files.join(", "))
    }
}

const HEAD: &str = "model m\ninput image: f32[N, 3, 8, 8]\n";

#[test]
fn a_name_changes_where_it_is_the_same() {
    let net = |uses: &str, width: &str| format!("{uses}{HEAD}net {{ a: conv 3x3, {width} }}\n");
    let folder = Folder::of(&[
        ("lib.cnn", "const width = 8\nconst depth = width // 4\n"),
        ("middle.cnn", "use \"lib.cnn\"\nblock Pair { a: conv 3x3, width | b: conv 1x1, width }\n"),
        // Uses it through another file.
        ("far.cnn", &net("use \"middle.cnn\"\n", "width")),
        ("near.cnn", &net("use \"lib.cnn\"\n", "width + depth")),
        // Uses the file, and not the name.
        ("beside.cnn", &net("use \"lib.cnn\"\n", "depth")),
        // Has one of its own, and speaks of the file.
        ("own.cnn", &net("# as in lib.cnn\nconst width = 16\n", "width")),
        // Of the same name, nearer than it.
        ("local.cnn", &net("use \"lib.cnn\"\nblock B(width) { conv 1x1, width }\n", "depth")),
    ]);
    let mut editor = Editor::start();
    folder.open(&mut editor, "lib.cnn");
    let all = "far.cnn 1, lib.cnn 2, middle.cnn 2, near.cnn 1";
    assert_eq!(folder.renamed(&mut editor, "lib.cnn", (0, 6)).as_deref(), Ok(all));
    folder.open(&mut editor, "far.cnn");
    assert_eq!(folder.renamed(&mut editor, "far.cnn", (3, 19)).as_deref(), Ok(all));
    folder.open(&mut editor, "own.cnn");
    assert_eq!(folder.renamed(&mut editor, "own.cnn", (1, 6)).as_deref(), Ok("own.cnn 2"));
    folder.open(&mut editor, "local.cnn");
    assert_eq!(folder.renamed(&mut editor, "local.cnn", (1, 8)).as_deref(), Ok("local.cnn 2"));
}

/// A file may name what the files that it is used with define, in each model another one.
#[test]
fn a_name_that_is_another_one_elsewhere_stays() {
    let files = |uses: &str| format!("{uses}use \"part.cnn\"\n{HEAD}net {{ a: Part() }}\n");
    let folder = Folder::of(&[
        ("one.cnn", "const width = 8\n"),
        ("two.cnn", "const width = 16\n"),
        ("part.cnn", "block Part { conv 3x3, width }\n"),
        ("a.cnn", &files("use \"one.cnn\"\n")),
    ]);
    let mut editor = Editor::start();
    folder.open(&mut editor, "one.cnn");
    assert_eq!(folder.renamed(&mut editor, "one.cnn", (0, 6)).as_deref(), Ok("one.cnn 1, part.cnn 1"));
    fs::write(folder.root.join("b.cnn"), files("use \"two.cnn\"\n")).unwrap();
    let refused = folder.renamed(&mut editor, "one.cnn", (0, 6)).unwrap_err();
    assert_eq!(refused, "`width` in part.cnn is another one where b.cnn uses it");
}

#[test]
fn a_path_is_replaced_up_to_its_closing_quote() {
    let folder = Folder::of(&[("lib.cnn", "const width = 8\n"), ("net.cnn", "use \"old.cnn\" # a \"remark\"\n")]);
    let mut editor = Editor::start();
    folder.open(&mut editor, "net.cnn");
    let mut range = |character: u32| {
        let place = json!({ "line": 0, "character": character });
        let params = json!({ "textDocument": { "uri": folder.uri("net.cnn") }, "position": place });
        let answer = editor.request::<lsp::CompletionRequest>(params);
        let Some(lsp::CompletionResponse::CompletionItemList(items)) = answer else { panic!("a list") };
        let item = items.into_iter().find(|item| item.label == "lib.cnn").expect("the other file");
        let Some(lsp::CompletionItemTextEdit::TextEdit(edit)) = item.text_edit else { panic!("an edit") };
        (edit.range.start.character, edit.range.end.character)
    };
    assert_eq!([range(5), range(8), range(12)], [(5, 12); 3]);
    editor.replace(&folder.uri("net.cnn"), "use \"o\nmodel \"\n");
    let params = json!({ "textDocument": { "uri": folder.uri("net.cnn") }, "position": { "line": 0, "character": 6 } });
    let answer: Value = editor.ask("textDocument/completion", params).unwrap();
    let item = answer.as_array().unwrap().iter().find(|item| item["label"] == "lib.cnn").unwrap();
    assert_eq!(item["textEdit"]["range"]["end"], json!({ "line": 0, "character": 6 }), "no quote closes it");
}
