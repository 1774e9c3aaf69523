//! Diagnostics for programs: JSON, SARIF, and the commands of GitHub's runners.

use super::{Diagnostic, Fix, Help, Severity};
use crate::source::{SourceMap, Span};
use serde_json::{Value, json};

/// What was found in one file.
pub struct Report<'a> {
    /// The file as it was named.
    pub file: &'a str,
    pub diagnostics: &'a [Diagnostic],
    /// The texts of their places.
    pub sources: &'a SourceMap,
}

/// One object a file: `{"file", "diagnostics": [{"severity", "code", "message", "places", "notes", "help"}]}`. Places have
/// bytes from 0, lines and columns from 1 (columns in characters); the first is what it is about. Each way out is
/// `{"text", "fixes": [{"title", "applicability", "edits"}]}`.
pub fn json(reports: &[Report]) -> String {
    let of_file = |report: &Report| {
        let diagnostics: Vec<Value> =
            report.diagnostics.iter().map(|found| diagnostic(found, report.sources)).collect();
        json!({ "file": report.file, "diagnostics": diagnostics })
    };
    pretty(&reports.iter().map(of_file).collect::<Vec<_>>().into())
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).expect("it has texts for keys")
}

fn diagnostic(found: &Diagnostic, sources: &SourceMap) -> Value {
    let places = found.labels.iter().map(|label| {
        let mut place = place(label.span, sources);
        place["text"] = label.text.as_str().into();
        place
    });
    let edit = |edit: &super::Edit| {
        let mut place = place(edit.span, sources);
        place["new"] = edit.text.as_str().into();
        place
    };
    let fix = |fix: &Fix| {
        let edits: Vec<Value> = fix.edits.iter().map(edit).collect();
        json!({ "title": fix.title, "applicability": fix.applicability.name(), "edits": edits })
    };
    let help = |help: &Help| {
        let fixes: Vec<Value> = help.fixes.iter().map(fix).collect();
        json!({ "text": help.text, "fixes": fixes })
    };
    json!({
        "severity": level(found),
        "code": found.code,
        "message": found.message,
        "places": places.collect::<Vec<_>>(),
        "notes": found.notes,
        "help": found.help.iter().map(help).collect::<Vec<_>>(),
    })
}

fn level(found: &Diagnostic) -> &'static str {
    match found.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

fn place(span: Span, sources: &SourceMap) -> Value {
    let point = |byte: u32| {
        let (line, column) = sources.line_column(Span { start: byte, end: byte, ..span });
        json!({ "byte": byte, "line": line, "column": column })
    };
    json!({ "file": sources.file(span.file).name, "start": point(span.start), "end": point(span.end) })
}

/// The Static Analysis Results Interchange Format, version 2.1.0: <https://docs.oasis-open.org/sarif/sarif/v2.1.0/>.
pub fn sarif(reports: &[Report]) -> String {
    let results =
        reports.iter().flat_map(|report| report.diagnostics.iter().map(|found| result(found, report.sources)));
    let driver = json!({
        "name": env!("CARGO_PKG_NAME"),
        "version": env!("CARGO_PKG_VERSION"),
        "rules": rules(reports),
    });
    pretty(&json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": driver },
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    }))
}

/// Each code once.
fn rules(reports: &[Report]) -> Vec<Value> {
    let mut codes: Vec<&str> = reports.iter().flat_map(|r| r.diagnostics.iter().map(|found| found.code)).collect();
    codes.sort_unstable();
    codes.dedup();
    codes.into_iter().map(|code| json!({ "id": code })).collect()
}

fn result(found: &Diagnostic, sources: &SourceMap) -> Value {
    let more = found.notes.iter().map(|note| format!("\nnote: {note}"));
    let more = more.chain(found.help.iter().map(|help| format!("\nhelp: {}", help.text)));
    let location = |label: &super::Label| {
        let mut location = json!({ "physicalLocation": {
            "artifactLocation": { "uri": sources.file(label.span.file).name },
            "region": region(label.span, sources),
        }});
        if !label.text.is_empty() {
            location["message"] = json!({ "text": label.text });
        }
        location
    };
    let mut locations = found.labels.iter().map(location);
    let mut result = json!({
        "ruleId": found.code,
        "level": level(found),
        "message": { "text": found.message.clone() + &more.collect::<String>() },
        "locations": locations.next().into_iter().collect::<Vec<_>>(),
    });
    let related: Vec<Value> = locations.collect();
    if !related.is_empty() {
        result["relatedLocations"] = related.into();
    }
    let fixes: Vec<Value> = found.help.iter().flat_map(|help| &help.fixes).map(|f| fix(f, sources)).collect();
    if !fixes.is_empty() {
        result["fixes"] = fixes.into();
    }
    result
}

fn fix(fix: &Fix, sources: &SourceMap) -> Value {
    let change = |edit: &super::Edit| {
        json!({
            "artifactLocation": { "uri": sources.file(edit.span.file).name },
            "replacements": [{
                "deletedRegion": region(edit.span, sources),
                "insertedContent": { "text": edit.text },
            }],
        })
    };
    let changes: Vec<Value> = fix.edits.iter().map(change).collect();
    json!({ "description": { "text": fix.title }, "artifactChanges": changes })
}

fn region(span: Span, sources: &SourceMap) -> Value {
    let (line, column) = sources.line_column(span);
    let (end_line, end_column) = sources.line_column(Span { start: span.end, ..span });
    json!({ "startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column })
}

/// Workflow commands, one a line, which GitHub shows beside the lines of a change:
/// <https://docs.github.com/en/actions/reference/workflows-and-actions/workflow-commands>.
pub fn github(reports: &[Report]) -> String {
    let of_report = |report: &Report| report.diagnostics.iter().map(|found| command(found, report)).collect::<String>();
    reports.iter().map(of_report).collect()
}

fn command(found: &Diagnostic, report: &Report) -> String {
    let place = match found.labels.first() {
        None => format!("file={}", property(report.file)),
        Some(label) => {
            let ((line, column), (end_line, end_column)) = (
                report.sources.line_column(label.span),
                report.sources.line_column(Span { start: label.span.end, ..label.span }),
            );
            let file = property(&report.sources.file(label.span.file).name);
            format!("file={file},line={line},endLine={end_line},col={column},endColumn={end_column}")
        }
    };
    let labels = found.labels.first().into_iter().map(|label| &label.text).filter(|text| !text.is_empty());
    let lines = [&found.message].into_iter().chain(labels).cloned();
    let lines = lines.chain(found.notes.iter().map(|note| format!("note: {note}")));
    let lines = lines.chain(found.help.iter().map(|help| format!("help: {}", help.text)));
    let text = lines.collect::<Vec<_>>().join("\n");
    format!("::{} {place},title={}::{}\n", level(found), found.code, data(&text))
}

fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}
