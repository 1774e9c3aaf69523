//! One file a request: what is asked, of which view, and the answer.

pub mod code_actions;
pub mod code_lens;
pub mod completion;
pub mod definition;
pub mod diagnostics;
pub mod folding;
pub mod formatting;
pub mod hover;
pub mod inlay_hints;
pub mod references;
pub mod rename;
pub mod semantic_tokens;
pub mod signature_help;
pub mod symbols;

use super::analysis::Texts;
use super::documents::{Open, path_of, uri_of};
use super::position::Encoding;
use crate::front::text::stop::Stop;
use crate::front::text::syntax::Kept;
use crate::io::text;
use gen_lsp_types::*;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An answer, or why there is none, in words.
pub type Answer<T> = Result<T, String>;

/// What the server does, as the protocol says it.
pub fn capabilities(encoding: Encoding) -> ServerCapabilities {
    let words = |words: &[&str]| Some(words.iter().map(|word| word.to_string()).collect());
    let sync = TextDocumentSyncOptions {
        open_close: Some(true),
        change: Some(TextDocumentSyncKind::Incremental),
        ..TextDocumentSyncOptions::default()
    };
    let tokens = SemanticTokensOptions {
        legend: semantic_tokens::legend(),
        full: Some(Full::Bool(true)),
        ..SemanticTokensOptions::default()
    };
    let actions =
        CodeActionOptions { code_action_kinds: Some(vec![CodeActionKind::QuickFix]), ..CodeActionOptions::default() };
    ServerCapabilities {
        position_encoding: Some(encoding.kind()),
        text_document_sync: Some(TextDocumentSync::Options(sync)),
        completion_provider: Some(CompletionOptions {
            trigger_characters: words(&["|", "{", ":", ",", "(", ".", "\"", " "]),
            ..CompletionOptions::default()
        }),
        signature_help_provider: Some(SignatureHelpOptions {
            trigger_characters: words(&["(", ",", " "]),
            ..SignatureHelpOptions::default()
        }),
        hover_provider: Some(HoverProvider::Bool(true)),
        definition_provider: Some(DefinitionProvider::Bool(true)),
        references_provider: Some(ReferencesProvider::Bool(true)),
        document_highlight_provider: Some(DocumentHighlightProvider::Bool(true)),
        document_symbol_provider: Some(DocumentSymbolProvider::Bool(true)),
        document_formatting_provider: Some(DocumentFormattingProvider::Bool(true)),
        folding_range_provider: Some(FoldingRangeProvider::Bool(true)),
        inlay_hint_provider: Some(InlayHintProvider::Bool(true)),
        code_lens_provider: Some(CodeLensOptions::default()),
        code_action_provider: Some(CodeActionProvider::CodeActionOptions(actions)),
        rename_provider: Some(RenameProvider::RenameOptions(RenameOptions {
            prepare_provider: Some(true),
            ..RenameOptions::default()
        })),
        semantic_tokens_provider: Some(SemanticTokensProvider::SemanticTokensOptions(tokens)),
        ..ServerCapabilities::default()
    }
}

/// What the editor has said of itself.
pub struct Workspace {
    folders: Vec<PathBuf>,
    /// Whether what is put in may have places to be filled.
    pub snippets: bool,
    /// Commands of the editor's own: `{ "commands": ["svertka.show"] }` among its initialisation options.
    commands: Vec<String>,
}

impl Workspace {
    pub fn of(params: &Value) -> Workspace {
        let folders = params.get("workspaceFolders").and_then(Value::as_array).into_iter().flatten();
        let uris = folders.map(|folder| &folder["uri"]).chain(params.get("rootUri"));
        let folders = uris.filter_map(|uri| path_of(&Uri(uri.as_str()?.into()))).collect();
        let snippets = "/capabilities/textDocument/completion/completionItem/snippetSupport";
        let commands = params.pointer("/initializationOptions/commands").and_then(Value::as_array);
        let commands = commands.into_iter().flatten().filter_map(|command| Some(command.as_str()?.to_owned()));
        let snippets = params.pointer(snippets) == Some(&Value::Bool(true));
        Workspace { folders, snippets, commands: commands.collect() }
    }

    /// Whether the editor has a command.
    pub fn has(&self, command: &str) -> bool {
        self.commands.iter().any(|known| known == command)
    }
}

/// The models around a file.
pub struct Around<'a> {
    pub workspace: &'a Workspace,
    pub open: Open,
}

/// Files of a folder that are looked into.
const MAX_NEIGHBOURS: usize = 1000;

impl Around<'_> {
    /// Everything in the workspace that is built with a file, the file itself first. What uses it lies in its folder or one
    /// around that, and so does what lies between them.
    pub fn users(&self, uri: &Uri) -> Vec<Texts> {
        let Some(path) = path_of(uri) else { return Vec::new() };
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
        let read = |path: PathBuf| {
            let (uri, text) = match self.open.get(&path) {
                Some((uri, text)) => (uri.clone(), text.clone()),
                None => (uri_of(&path), Arc::from(text::read(&path).ok()?)),
            };
            Some((name(&path)?, uri, text))
        };
        let mut others: Vec<(String, Uri, Arc<str>)> =
            self.neighbours(&path).into_iter().filter(|other| *other != path).filter_map(read).collect();
        let mut users: Vec<(Uri, Arc<str>)> = Vec::new();
        let mut named: Vec<String> = name(&path).into_iter().collect();
        while let Some(used) = named.pop() {
            for (name, uri, text) in others.extract_if(.., |(_, _, text)| text.contains(&used)) {
                named.push(name);
                users.push((uri, text));
            }
        }
        users.sort_by(|a, b| a.0.as_ref().cmp(b.0.as_ref()));
        let read_whole = |(other, text): (Uri, Arc<str>)| {
            Texts::read(&other, &text, self.open.clone(), &Stop::default(), &mut Kept::default())
        };
        let own = read(path).map(|(_, uri, text)| read_whole((uri, text)));
        own.into_iter().chain(users.into_iter().map(read_whole).filter(|texts| texts.find(uri).is_some())).collect()
    }

    /// Model files in the folder of one and those around it, as far as the workspace reaches.
    fn neighbours(&self, path: &Path) -> Vec<PathBuf> {
        let own = path.parent();
        let inside =
            |folder: &&Path| Some(*folder) == own || self.workspace.folders.iter().any(|w| folder.starts_with(w));
        let mut files: Vec<PathBuf> = Vec::new();
        for folder in path.ancestors().skip(1).take_while(inside) {
            let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).take(MAX_NEIGHBOURS);
            let models =
                entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "cnn"));
            files.extend(models);
        }
        files.extend(self.open.keys().filter(|open| !files.contains(open)).cloned().collect::<Vec<_>>());
        files.sort();
        files
    }
}

/// `128x28x28`
pub fn sizes(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

/// `25.6 M`
pub fn short(n: u64) -> String {
    let units = ["", " k", " M", " G", " T", " P", " E"];
    let (mut rest, mut unit) = (n as f64, 0);
    while rest >= 999.95 {
        rest /= 1000.0;
        unit += 1;
    }
    if unit == 0 { n.to_string() } else { format!("{:.*}{}", usize::from(rest < 99.95), rest, units[unit]) }
}

/// `4.1 GMAC`
pub fn macs(n: u64) -> String {
    let number = short(n);
    if number.contains(' ') { format!("{number}MAC") } else { format!("{number} MAC") }
}

pub fn markdown(value: String) -> MarkupContent {
    MarkupContent { kind: MarkupKind::Markdown, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown = [0, 999, 1000, 25_557_032, 99_960, 999_960, u64::MAX].map(short);
        assert_eq!(shown, ["0", "999", "1.0 k", "25.6 M", "100 k", "1.0 M", "18.4 E"]);
    }
}
