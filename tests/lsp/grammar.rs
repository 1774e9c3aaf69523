//! The grammar of TextMate knows the words that the language has: it is made from the tables here.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use svertka::front::text::build::FUNCTIONS;
use svertka::front::text::syntax::{ITEM_KEYWORDS, is_keyword};
use svertka::layers::{self, Kind};

/// Words of expressions that are operators there.
const OPERATORS: [&str; 4] = ["and", "or", "not", "in"];
/// Words of expressions that are values.
const VALUES: [&str; 3] = ["true", "false", "none"];

/// The words of the pest grammar that have a meaning of their own: `"word" ~ !word_char`.
pub fn keywords() -> BTreeSet<&'static str> {
    let words = include_str!("../../grammar/svertka.pest").split('"').filter(|word| is_keyword(word));
    words.collect()
}

fn any<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let words: BTreeSet<&str> = words.into_iter().collect();
    words.into_iter().collect::<Vec<_>>().join("|")
}

/// The words that layers take as arguments.
fn words() -> BTreeSet<&'static str> {
    let params = layers::entries().flat_map(|entry| entry.spec.params);
    let words = params.flat_map(|param| match param.kind {
        Kind::Word(words) => words,
        Kind::Pad => &["valid", "half", "same"],
        _ => &[],
    });
    words.copied().chain(VALUES).collect()
}

/// Patterns of a line each; the first that matches wins.
fn textmate() -> Value {
    let named = |name: &str, pattern: String| json!({ "name": format!("{name}.svertka"), "match": pattern });
    let captured = |pattern: &str, names: &[&str]| {
        let captures = names.iter().enumerate();
        let captures = captures.map(|(at, name)| ((at + 1).to_string(), json!({ "name": format!("{name}.svertka") })));
        json!({ "match": pattern, "captures": captures.collect::<serde_json::Map<_, _>>() })
    };
    let control = keywords()
        .into_iter()
        .filter(|word| !ITEM_KEYWORDS.contains(word) && !OPERATORS.contains(word) && !VALUES.contains(word));
    let params = layers::entries().flat_map(|entry| entry.spec.params).map(|param| param.name);
    let layers = any(layers::entries().map(|entry| entry.spec.keyword));
    json!({
        "name": "svertka",
        "scopeName": "source.svertka",
        "patterns": [
            named("comment.line.number-sign", "#.*$".into()),
            named("string.quoted.double", "\"[^\"\\n]*\"?".into()),
            captured(r"^(block)\s+([A-Za-z_]\w*)", &["keyword.other", "entity.name.type"]),
            captured(r"^(model|variant)\s+([A-Za-z_]\w*)", &["keyword.other", "entity.name.namespace"]),
            captured(r"^(input)\s+(\w+)\s*:\s*(\w+)", &["keyword.other", "variable.parameter", "storage.type"]),
            captured(r"^(defaults)\s+(\w+)", &["keyword.other", "support.function.layer"]),
            named("keyword.other", format!(r"^({})\b|\bconst\b", any(ITEM_KEYWORDS))),
            captured(r"((?:[\w-]|\{[^{}|]*\})+)(:)", &["entity.name.label", "punctuation.separator"]),
            named("constant.numeric", r"\b\d+(x\d+)+\b|\b\d+(\.\d+)?([eE][+-]?\d+)?\b".into()),
            captured(&format!(r",\s*({})\b(?!\s*[,)\n|]|\()", any(params)), &["variable.parameter"]),
            named("support.function.builtin", format!(r"\b({})(?=\()", any(FUNCTIONS.iter().map(|f| f.name)))),
            named("constant.language", format!(r"(?<=[,(=]\s|[,(=])({})\b|\b({})\b", any(words()), any(VALUES))),
            named("support.function.layer", format!(r"\b({layers})\b")),
            named("constant.language", format!(r"\b({})\b", any(words()))),
            named("keyword.operator.word", format!(r"\b({})\b", any(OPERATORS))),
            named("keyword.control", format!(r"\b({})\b", any(control))),
            named("keyword.operator", r"\||->|\.\.|[=!<>]=|//|[-+*/%<>=]".into()),
        ],
    })
}

#[test]
fn the_textmate_grammar_is_that_of_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("grammar/vscode/syntaxes/svertka.tmLanguage.json");
    let grammar = serde_json::to_string_pretty(&textmate()).unwrap() + "\n";
    if std::env::var_os("SVERTKA_BLESS").is_some() {
        std::fs::write(&path, &grammar).unwrap();
    }
    let known = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(known == grammar, "{} is out of date; SVERTKA_BLESS=1 writes it anew", path.display());
}
