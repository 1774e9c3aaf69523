//! The reference page of the layers, made from their declarations.

use super::*;
use std::fmt::Write;

/// Markdown: a section for each keyword with its meaning and a table of its parameters, then the layers that
/// only combinators make.
pub fn reference_page() -> String {
    let mut page = String::from(INTRODUCTION);
    for Entry { spec, .. } in entries() {
        let _ = write!(page, "\n## `{}`\n\n{}\n", spec.keyword, spec.doc);
        if !spec.params.is_empty() {
            page.push_str("\n| parameter | accepts | default | meaning |\n| --- | --- | --- | --- |\n");
            spec.params.iter().for_each(|param| page.push_str(&row(param)));
        }
    }
    page.push_str("\n## Made by combinators\n\n| layer | meaning |\n| --- | --- |\n");
    for op in [Op::from(Concat), Op::from(Add), Op::from(Mul)] {
        let spec = op.layer().expect("not an input").spec();
        let _ = writeln!(page, "| {} | {} |", spec.keyword, spec.doc);
    }
    page
}

/// What is said of one layer, for a terminal.
pub fn reference_entry(spec: &LayerSpec) -> String {
    let mut text = format!("{}\n\n{}\n", spec.keyword, spec.doc);
    for param in spec.params {
        let default = match param.default {
            None => "must be given".to_string(),
            Some("") => "may be left out".to_string(),
            Some(default) => format!("{default} if not given"),
        };
        let by = if param.positional { "by position or name" } else { "by name" };
        let accepts = accepts(param.kind).replace('`', "");
        let _ = write!(text, "\n  {}  {}\n      {accepts}; {by}; {default}\n", param.name, param.doc);
    }
    text
}

const INTRODUCTION: &str = "# Layers\n\n\
    Parameters in *italics* may be given by position, in the order of the table; all may be given by name.\n";

fn row(param: &ParamDecl) -> String {
    let name = if param.positional { format!("*{}*", param.name) } else { param.name.to_string() };
    let default = match param.default {
        None => "must be given".to_string(),
        Some("") => "none".to_string(),
        Some(text) => format!("`{text}`"),
    };
    format!("| {name} | {} | {default} | {} |\n", accepts(param.kind), param.doc)
}

fn accepts(kind: Kind) -> String {
    match kind {
        Kind::Int => "a positive integer".into(),
        Kind::Count => "an integer, 0 or above".into(),
        Kind::Dims => "sizes, one for each dimension: `3x3`".into(),
        Kind::PerDim => "a positive integer, or one for each dimension: `2x1`".into(),
        Kind::Factors => "a number above 0, or one for each dimension: `(1.5, 2)`".into(),
        Kind::Counts => "an integer, 0 or above, or one for each dimension: `(0, 1)`".into(),
        Kind::Pad => "`valid`, `half`, `same`, `1`, `(0, 1)`, `(0, 1, 0, 1)`".into(),
        Kind::Bool => "`true` or `false`; the name alone means `true`".into(),
        Kind::Float => "a number".into(),
        Kind::Range => "two integers `0..8`, 0 or above".into(),
        Kind::Word(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or "),
        Kind::Weights => "a nested list of numbers".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_keyword_and_parameter_is_on_the_page() {
        let page = reference_page();
        for Entry { spec, .. } in entries() {
            let section = page.split("\n## ").find(|s| s.starts_with(&format!("`{}`\n", spec.keyword)));
            let section = section.unwrap_or_else(|| panic!("no section {}", spec.keyword));
            assert!(section.contains(spec.doc));
            spec.params.iter().for_each(|param| assert!(section.contains(&row(param)), "{}", param.name));
        }
    }

    #[test]
    fn rows_have_four_cells() {
        let page = reference_page();
        let section = page.split("\n## ").find(|s| s.starts_with("`maxpool`")).unwrap();
        let rows: Vec<&str> = section.lines().filter(|line| line.starts_with('|')).collect();
        assert_eq!(rows.len(), 2 + 5);
        assert!(rows.iter().all(|row| row.matches('|').count() == 5), "{rows:?}");
        assert!(rows[2].starts_with("| *kernel* | sizes"), "{}", rows[2]);
        assert!(rows[3].contains("| none | step of the window; the kernel size if not given |"));
    }
}
