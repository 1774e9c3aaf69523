//! The grammar of tree-sitter reads what the compiler reads, and its colours know the words of the tables.

use super::grammar::keywords;
use insta::assert_snapshot;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use svertka::diagnostic::Diagnostic;
use svertka::front::text::build::FUNCTIONS;
use svertka::front::text::syntax::parser;
use svertka::layers;
use svertka::source::SourceMap;
use tree_sitter::{Language, Node, Parser, Query, QueryCursor, StreamingIterator};
use tree_sitter_language::LanguageFn;

const GRAMMAR: &str = include_str!("../../grammar/tree-sitter/grammar.js");
const HIGHLIGHTS: &str = include_str!("../../grammar/tree-sitter/queries/highlights.scm");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// As editors do it: compiles the parser, and loads it.
fn language() -> Language {
    static LANGUAGE: std::sync::OnceLock<Language> = std::sync::OnceLock::new();
    LANGUAGE.get_or_init(load).clone()
}

fn load() -> Language {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("svertka.so");
    let source = root().join("grammar/tree-sitter/src");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-std=c11", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror", "-I"])
        .arg(&source);
    cc.args([source.join("parser.c"), source.join("scanner.c")]).arg("-o").arg(&library);
    assert!(cc.status().unwrap().success());
    // SAFETY: the library has nothing that runs when it is loaded, and it is never unloaded; the symbol has this type in
    // every parser that tree-sitter generates.
    let language = unsafe {
        let library = std::mem::ManuallyDrop::new(libloading::Library::new(&library).unwrap());
        let symbol: unsafe extern "C" fn() -> *const () = *library.get(b"tree_sitter_svertka\0").unwrap();
        LanguageFn::from_raw(symbol)
    };
    language.into()
}

fn parsed(text: &str) -> tree_sitter::Tree {
    let mut parser = Parser::new();
    parser.set_language(&language()).unwrap();
    parser.parse(text, None).unwrap()
}

/// All model files below a folder.
fn models(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => models(&path, found),
            false if path.extension().is_some_and(|extension| extension == "cnn") => found.push(path),
            false => {}
        }
    }
}

fn is_well_formed(text: &str) -> bool {
    let mut sources = SourceMap::default();
    let file = sources.add("a.cnn", text);
    let limit = |error: &Diagnostic| error.code == "E0501";
    parser::parse(&sources, file).is_ok_and(|_| true)
        || parser::parse(&sources, file).is_err_and(|e| e.iter().all(limit))
}

#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn every_text_that_the_compiler_reads_is_read() {
    let mut files = Vec::new();
    ["models", "tests"].iter().for_each(|folder| models(&root().join(folder), &mut files));
    let mut read = 0;
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        if is_well_formed(&text) {
            read += 1;
            assert!(!parsed(&text).root_node().has_error(), "{}", file.display());
        }
    }
    assert!(read > 100);
}

/// Nodes with their texts, where they have no others in them.
fn outline(node: Node, text: &str, depth: usize, out: &mut String) {
    let leaf = if node.named_child_count() == 0 { &text[node.byte_range()] } else { "" };
    *out += format!("{}{} {leaf}", "  ".repeat(depth), node.kind()).trim_end();
    out.push('\n');
    let mut cursor = node.walk();
    node.named_children(&mut cursor).for_each(|child| outline(child, text, depth + 1, out));
}

#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn trees() {
    let text = "net {\n  conv 3x3,\n    8\n  # a comment\n    | relu\n\n  f(1,\n    2)\n  net: 3 x Unit(c, s = 2 then 1) as skip\n  \
        stage{i}: conv k, stride 2, pad (0, -1), c - 1\n  b-1: from a.b{i}\n  residual if a == 1 { relu } project { relu }\n}\n";
    let mut out = String::new();
    outline(parsed(text).root_node(), text, 0, &mut out);
    assert_snapshot!(out);
}

#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn colours() {
    let text = "model m(c = 8)\ninput image: f32[N, 3, H = 32, W]\nblock B(c) { conv 3x3, ceil(c), bias true }\n\
        net { x1: B(in.c) | from x1 as y }  # all\n";
    let tree = parsed(text);
    let query = Query::new(&language(), HIGHLIGHTS).unwrap();
    let mut cursor = QueryCursor::new();
    let mut captures = cursor.captures(&query, tree.root_node(), text.as_bytes());
    let mut found = Vec::new();
    while let Some((matched, at)) = captures.next() {
        let capture = matched.captures()[*at];
        found.push((capture.node.byte_range(), query.capture_names()[capture.index as usize]));
    }
    let line = |(range, name): &(std::ops::Range<usize>, &str)| format!("{:<12} {name}\n", &text[range.clone()]);
    assert_snapshot!(found.iter().map(line).collect::<String>());
    let mut places: Vec<_> = found.iter().map(|(range, _)| range.clone()).collect();
    places.dedup();
    assert_eq!(places.len(), found.len(), "one colour for each word");
}

/// The words in quotes between two marks.
fn quoted<'t>(text: &'t str, from: &str, to: &str) -> BTreeSet<&'t str> {
    let inner = text.split(from).nth(1).unwrap_or_default().split(to).next().unwrap_or_default();
    inner.split('"').skip(1).step_by(2).collect()
}

#[test]
fn the_words_are_those_of_the_tables() {
    assert_eq!(quoted(GRAMMAR, "KEYWORDS = [", "]"), keywords());
    let layers: BTreeSet<&str> = layers::entries().map(|entry| entry.spec.keyword).collect();
    let functions: BTreeSet<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
    assert_eq!(quoted(HIGHLIGHTS, "(call name: (identifier) @function.builtin\n", ")"), layers);
    assert_eq!(quoted(HIGHLIGHTS, "#not-any-of? @type\n", ")"), layers);
    assert_eq!(quoted(HIGHLIGHTS, "(function name: (identifier) @function.builtin\n", ")"), functions);
}

/// The generated parser belongs to the grammar beside it.
#[test]
#[cfg_attr(not(tool = "cc"), ignore = "needs cc")]
fn the_parser_has_the_rules_of_the_grammar() {
    let language = language();
    let rules = GRAMMAR.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": (").map(|(name, _)| name));
    let rules = rules.filter(|name| !name.starts_with([' ', '_']) && *name != "conflicts").collect::<Vec<_>>();
    assert!(rules.len() > 40);
    for rule in rules {
        assert_ne!(language.id_for_node_kind(rule, true), 0, "`{rule}`: `tree-sitter generate` makes the parser anew");
    }
    for word in keywords() {
        assert_ne!(language.id_for_node_kind(word, false), 0, "`{word}`");
    }
}
