//! The reference of the language, made from the tables in the code.

use super::build::FUNCTIONS;
use super::forms::{FORMS, Form};
use crate::diagnostic::codes::{self, Examples};
use crate::layers;
use std::fmt::Write;

/// Markdown: layers, functions, forms, and codes.
pub fn page() -> String {
    let mut page = layers::reference_page();
    page.push_str("\n# Functions\n\n| function | meaning |\n| --- | --- |\n");
    for function in FUNCTIONS {
        let _ = writeln!(page, "| `{}` | {} |", function.usage, function.doc);
    }
    page.push_str("\n# Items, steps and combinators\n");
    for Form { usage, doc, example, .. } in FORMS {
        let _ = write!(page, "\n## `{usage}`\n\n{}.\n", capital(doc));
        if !example.is_empty() {
            let _ = write!(page, "\n```\n{example}```\n");
        }
    }
    page.push_str("\n# Codes of errors and warnings\n");
    for explained in codes::all() {
        let _ = write!(page, "\n## {}: {}\n", explained.code, explained.title);
        if !explained.text.is_empty() {
            let _ = write!(page, "\n{}\n", explained.text);
        }
        let [wrong, right] = explained.examples.both();
        let head = match explained.examples {
            Examples::Texts(_) => String::new(),
            Examples::Commands(_) => format!("{}:\n\n", explained.examples.title()),
        };
        let _ = write!(page, "\n{head}```\n{wrong}```\n\nBetter:\n\n```\n{right}```\n");
    }
    page
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// A line for each layer, function and form.
pub fn overview() -> String {
    let line = |usage: &str, doc: &str| format!("  {usage:<28} {}\n", first_sentence(doc));
    let layers = layers::entries().map(|entry| line(entry.spec.keyword, entry.spec.doc));
    let functions = FUNCTIONS.iter().map(|function| line(function.usage, function.doc));
    let forms = FORMS.iter().map(|form| line(form.name, form.doc));
    format!(
        "Layers\n{}\nFunctions\n{}\nItems, steps and combinators\n{}\n`svertka layers NAME` says more of one.\n",
        layers.collect::<String>(),
        functions.collect::<String>(),
        forms.collect::<String>(),
    )
}

/// Without whom it is of, which stands in parentheses.
fn first_sentence(doc: &str) -> &str {
    let is_year = |text: &str| {
        text.split(|c: char| !c.is_alphanumeric()).any(|word| word.len() == 4 && word.parse::<u16>().is_ok())
    };
    let source = doc.match_indices(" (").find(|(at, _)| is_year(doc[*at..].split(')').next().unwrap_or_default()));
    let doc = source.map_or(doc, |(at, _)| &doc[..at]);
    let end = doc.match_indices(['.', ';']).find(|(at, _)| doc[at + 1..].starts_with(' '));
    end.map_or(doc, |(at, _)| &doc[..at]).trim_end_matches('.')
}

/// What is said of a layer, a function or a form.
pub fn entry(name: &str) -> Option<String> {
    let layer =
        || layers::entries().find(|entry| entry.spec.keyword == name).map(|entry| layers::reference_entry(entry.spec));
    let function = || {
        let function = FUNCTIONS.iter().find(|function| function.name == name)?;
        Some(format!("{}\n\n{}.\n", function.usage, capital(function.doc)))
    };
    let form = || {
        let form = FORMS.iter().find(|form| form.name == name)?;
        let example: String = form.example.lines().map(|line| format!("    {line}\n")).collect();
        let example = if example.is_empty() { example } else { format!("\nFor example\n\n{example}") };
        Some(format!("{}\n\n{}.\n{example}", form.usage, capital(form.doc)))
    };
    layer().or_else(form).or_else(function)
}

/// Everything that [`entry`] knows.
pub fn names() -> impl Iterator<Item = &'static str> {
    let layers = layers::entries().map(|entry| entry.spec.keyword);
    layers.chain(FUNCTIONS.iter().map(|function| function.name)).chain(FORMS.iter().map(|form| form.name))
}
