//! Errors and warnings as data, and the one renderer that prints them.
//!
//! Codes: `E01xx` syntax, `E02xx` names and values, `E03xx` shapes and structure, `E04xx` weights,
//! `E05xx` limits, `E06xx` files and the command line, `E08xx` ONNX files, `E09xx` export;
//! `W` is a warning with a lint's name.

#[cfg_attr(not(internals), doc(hidden))]
pub mod attempt;
#[cfg_attr(not(internals), doc(hidden))]
pub mod codes;
#[cfg_attr(not(internals), doc(hidden))]
pub mod fix;
#[cfg_attr(not(internals), doc(hidden))]
pub mod report;

use crate::source::{SourceMap, Span};
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use std::borrow::Cow;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// There is no network.
    Error,
    /// There is one, and something in the text is odd or without effect.
    Warning,
}

/// A place in the source with a text beside it. The first label of a diagnostic is the primary one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// Where.
    pub span: Span,
    /// What is to be seen there; may be empty.
    pub text: String,
}

/// A way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Help {
    /// In words.
    pub text: String,
    /// The changes that it says, one of which is to be made; none where what to write is the author's to know.
    pub fixes: Vec<Fix>,
}

/// A change of texts that is a way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// What it does, in words.
    pub title: String,
    /// Apart from each other.
    pub edits: Vec<Edit>,
    /// Whether it may be made unasked.
    pub applicability: Applicability,
}

/// How sure it is that a change is the one that is meant. The names are those of rustc:
/// <https://doc.rust-lang.org/rustc/json.html>.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applicability {
    /// What was meant is known: `svertka check --fix` writes it.
    MachineApplicable,
    /// It is one of several that may be meant, or makes another network: the author chooses.
    MaybeIncorrect,
    /// It holds names or numbers in place of those that the author knows.
    HasPlaceholders,
}

impl Applicability {
    /// As rustc writes it.
    pub fn name(self) -> &'static str {
        match self {
            Applicability::MachineApplicable => "MachineApplicable",
            Applicability::MaybeIncorrect => "MaybeIncorrect",
            Applicability::HasPlaceholders => "HasPlaceholders",
        }
    }
}

/// A change of a source text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// What is replaced; where it is empty, something is put in.
    pub span: Span,
    /// What stands there afterwards.
    pub text: String,
}

impl Help {
    /// A way out in words.
    pub fn new(text: impl Into<String>) -> Help {
        Help { text: text.into(), fixes: Vec::new() }
    }

    /// Adds a change that it says.
    pub fn fix(mut self, fix: impl Into<Option<Fix>>) -> Help {
        self.fixes.extend(fix.into());
        self
    }
}

impl From<String> for Help {
    fn from(text: String) -> Help {
        Help::new(text)
    }
}

impl From<&str> for Help {
    fn from(text: &str) -> Help {
        Help::new(text)
    }
}

impl From<Fix> for Help {
    fn from(fix: Fix) -> Help {
        Help::new(fix.title.clone()).fix(fix)
    }
}

impl Fix {
    /// Several changes at once, each a place and what stands there afterwards; what was meant is known.
    pub fn new<T: Into<String>>(title: impl Into<String>, edits: impl IntoIterator<Item = (Span, T)>) -> Fix {
        let edits = edits.into_iter().map(|(span, text)| Edit { span, text: text.into() });
        Fix { title: title.into(), edits: edits.collect(), applicability: Applicability::MachineApplicable }
    }

    /// Writes `new` in place of what is at `span`; what was meant is known.
    pub fn replace(title: impl Into<String>, span: Span, new: impl Into<String>) -> Fix {
        Fix::new(title, [(span, new)])
    }

    /// That it may not be what is meant.
    pub fn maybe(self) -> Fix {
        Fix { applicability: Applicability::MaybeIncorrect, ..self }
    }

    /// That parts of what it writes stand for others.
    pub fn with_placeholders(self) -> Fix {
        Fix { applicability: Applicability::HasPlaceholders, ..self }
    }
}

/// One message to the author of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// For example `E0312`.
    pub code: &'static str,
    /// What is wrong, in one line.
    pub message: String,
    /// Places, the primary one first.
    pub labels: Vec<Label>,
    /// Facts: the path of blocks, the chain of shapes.
    pub notes: Vec<String>,
    /// Ways out.
    pub help: Vec<Help>,
}

impl Diagnostic {
    /// An error without a place yet.
    pub fn error(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic {
            severity: Severity::Error,
            code,
            message: message.into(),
            labels: Vec::new(),
            notes: Vec::new(),
            help: Vec::new(),
        }
    }

    /// A warning without a place yet.
    pub fn warning(code: &'static str, message: impl Into<String>) -> Self {
        Diagnostic { severity: Severity::Warning, ..Self::error(code, message) }
    }

    /// Adds a labelled place; the first one added is the primary one.
    pub fn at(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Adds a fact.
    pub fn note(mut self, text: impl Into<String>) -> Self {
        self.notes.push(text.into());
        self
    }

    /// Adds a way out.
    pub fn help(mut self, help: impl Into<Help>) -> Self {
        self.help.push(help.into());
        self
    }

    /// Adds a way out that is taken by writing `new` in place of what is at `span`; what was meant is known.
    pub fn fix(self, text: impl Into<String>, span: Span, new: impl Into<String>) -> Self {
        self.help(Fix::replace(text, span, new))
    }

    /// What makes it the same mistake as another, met in another copy of a block or in another variant: code, place and
    /// message, whatever sizes the message names.
    pub fn identity(&self) -> Identity {
        (self.code, self.labels.first().map(|label| label.span), without_sizes(&self.message))
    }

    /// Adds `did you mean` help where one of `known` is close to `name`, which stands at `span`, or in no text.
    pub fn did_you_mean<'a>(
        self,
        name: &str,
        span: impl Into<Option<Span>>,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let known: Vec<&str> = known.into_iter().collect();
        let Some(best) = nearest(name, known.iter().copied()) else { return self };
        let help = format!("did you mean `{best}`?");
        let Some(span) = span.into() else { return self.help(help) };
        let fix = Fix::replace(help, span, best);
        let others = known.iter().any(|known| *known != best && is_slip(name, known));
        self.help(if is_slip(name, best) && !others { fix } else { fix.maybe() })
    }
}

/// Whether a name is another one but for a slip of the hand: one letter too many, too few or wrong, or two swapped. Who
/// writes another number means another thing.
fn is_slip(name: &str, meant: &str) -> bool {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    strsim::osa_distance(name, meant) <= 1 && digits(name) == digits(meant)
}

/// See [`Diagnostic::identity`].
pub type Identity = (&'static str, Option<Span>, String);

/// A message with one mark in place of each number or size, such as `0.5`, `3x3` or `[8, 32, 32]`.
fn without_sizes(message: &str) -> String {
    let mut text = String::new();
    let mut rest = message;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, number) = rest.split_at(start);
        let end = number.find(|c: char| !c.is_ascii_digit() && !".,x ".contains(c)).unwrap_or(number.len());
        let size = number[..end].trim_end_matches(|c: char| !c.is_ascii_digit());
        text.push_str(before);
        text.push('#');
        rest = &number[size.len()..];
    }
    text + rest
}

/// The candidate most similar to `name`, if any is close enough to be a misspelling (Jaro-Winkler above 0.8).
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// A text as a terminal may show it, whatever strangers have put into it: escape sequences and other control characters
/// but line ends and tabs, and what turns the direction of writing, are spelt out.
pub fn harmless(text: &str) -> Cow<'_, str> {
    if !text.chars().any(does_harm) {
        return Cow::Borrowed(text);
    }
    let shown = |c: char| if does_harm(c) { c.escape_unicode().to_string() } else { c.to_string() };
    Cow::Owned(text.chars().map(shown).collect())
}

/// The second range is that of <https://www.unicode.org/reports/tr9/#Directional_Formatting_Characters>.
fn does_harm(c: char) -> bool {
    (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Prints diagnostics in the order of their places, each in the form of rustc's messages. What is shown of texts does no
/// harm to a terminal; escape sequences are those of the colours alone.
pub fn render(diagnostics: &[Diagnostic], sources: &SourceMap, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by_key(|d| d.labels.first().map(|l| l.span));
    let rendered: Vec<String> = sorted.iter().map(|d| render_one(d, sources, &renderer)).collect();
    // The renderer spells out all but what lies between U+0080 and U+009F, which some terminals obey too.
    let harmless = |line: &str| line.split('\u{1b}').map(harmless).collect::<Vec<_>>().join("\u{1b}");
    harmless(&rendered.join("\n\n"))
}

fn render_one(diagnostic: &Diagnostic, sources: &SourceMap, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = level
        .primary_title(diagnostic.message.as_str())
        .id(diagnostic.code)
        .elements([] as [Snippet<'_, annotate_snippets::Annotation<'_>>; 0]);
    let mut files: Vec<_> = Vec::new();
    for label in &diagnostic.labels {
        if !files.contains(&label.span.file) {
            files.push(label.span.file);
        }
    }
    for id in files {
        let file = sources.file(id);
        let labels = diagnostic.labels.iter().enumerate().filter(|(_, l)| l.span.file == id);
        let spans = labels.clone().map(|(_, label)| label.span).reduce(Span::to).expect("the file of a label");
        // The renderer walks through all that it is given.
        let (shown, line) = file.around(spans.range());
        let annotations = labels.map(|(i, l)| {
            let kind = if i == 0 { AnnotationKind::Primary } else { AnnotationKind::Context };
            let range = l.span.range();
            kind.span(range.start - shown.start..range.end - shown.start).label(harmless(&l.text))
        });
        let snippet = Snippet::source(&file.text[shown.clone()]).line_start(line).path(harmless(&file.name));
        group = group.element(snippet.annotations(annotations));
    }
    for note in &diagnostic.notes {
        group = group.element(Level::NOTE.message(harmless(note)));
    }
    for help in &diagnostic.help {
        group = group.element(Level::HELP.message(harmless(&help.text)));
    }
    renderer.render(&[group])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escape_sequences_are_spelt_out() {
        assert_eq!(harmless("a\u{1b}[2J\r\u{9b}m\u{202e}\tb\n"), "a\\u{1b}[2J\\u{d}\\u{9b}m\\u{202e}\tb\n");
        let mut sources = SourceMap::default();
        let file = sources.add("a\u{1b}[1m.cnn", "x\u{1b}[31m \u{9b}2J");
        let text = "\u{1b}[2J\u{9b}2J";
        let found = Diagnostic::error("E0101", text).at(Span::new(file, 0..1), text).note(text).help(text);
        let shown = render(std::slice::from_ref(&found), &sources, false);
        assert!(!shown.contains(['\u{1b}', '\u{9b}']), "{shown:?}");
        let coloured = render(&[found], &sources, true);
        assert!(coloured.contains("\u{1b}[") && !coloured.contains("\u{1b}[2J"), "{coloured:?}");
        assert!(!coloured.contains("\u{1b}[31m \u{9b}") && !coloured.contains('\u{9b}'), "{coloured:?}");
    }

    #[test]
    fn only_slips_are_sure() {
        let file = SourceMap::default().add("a", "name");
        let sure = |name: &str, known: &[&'static str]| {
            let error = Diagnostic::error("E0201", "").did_you_mean(name, Span::new(file, 0..4), known.iter().copied());
            error.help.first().map(|help| help.fixes[0].applicability)
        };
        use Applicability::*;
        for (name, known, expected) in [
            ("rleu", &["relu"][..], Some(MachineApplicable)),
            ("chanels", &["channels", "stride"], Some(MachineApplicable)),
            ("skip1", &["skip2"], Some(MaybeIncorrect)),
            ("skp", &["skip", "skap"], Some(MaybeIncorrect)),
            ("linaer", &["bilinear"], Some(MaybeIncorrect)),
            ("relu", &["conv"], None),
        ] {
            assert_eq!(sure(name, known), expected, "{name}");
        }
    }

    #[test]
    fn sizes_do_not_make_a_mistake_another() {
        for (message, expected) in [
            ("no `net` in this file", "no `net` in this file"),
            ("a kernel of 3x3 on [N, 8, 2, 2]", "a kernel of # on [N, #]"),
            ("8 channels, 3 groups", "# channels, # groups"),
            ("it gives 0.5", "it gives #"),
        ] {
            assert_eq!(without_sizes(message), expected);
        }
    }
}
