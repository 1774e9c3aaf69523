//! What has to be settled before the grammar reads a text: where comments are, which newlines end a line, where
//! the items of the file lie, and whether the brackets match and are not nested too deeply.

use crate::diagnostic::Diagnostic;
use crate::source::{FileId, Span};
use std::ops::Range;

/// How deeply brackets of all kinds may be nested. The parser and everything behind it recurse over the nesting.
pub const MAX_NESTING: usize = 64;

/// After so many syntax errors the rest of a file is not read.
pub const MAX_ERRORS: usize = 30;

/// The words that begin an item.
pub const ITEM_KEYWORDS: [&str; 10] =
    ["use", "const", "model", "input", "defaults", "block", "net", "variant", "rename", "allow"];

/// A scanned text. All ranges are in bytes of the original text.
pub struct Scan {
    /// The text, byte for byte in place, in which comments and newlines that end nothing are blanks.
    pub text: String,
    /// Comments, each from its `#` to the end of its line.
    pub comments: Vec<Range<usize>>,
    pub items: Vec<Item>,
    pub errors: Vec<Diagnostic>,
}

/// A line outside all brackets, with the bodies that begin on it.
pub struct Item {
    pub range: Range<usize>,
    /// The brace that opens its body, and the newlines that end lines directly in it.
    body: Option<(usize, Vec<usize>)>,
    /// Its brackets are in error, which has been reported.
    pub broken: bool,
    /// What closes the brackets that are open at its end; `None` where they are nested too deeply for any reader.
    pub closing: Option<String>,
}

/// A part of an item that the grammar reads by itself, as an item.
pub struct Piece {
    pub text: String,
    /// What stands before it so that it is one.
    pub head: usize,
    /// What it is of the text.
    pub range: Range<usize>,
}

impl Item {
    /// What the grammar is to read: an item with a body without its lines, and then these, each by itself as a `net`, or some
    /// [together](Piece::join). So the grammar never works for long between two pieces, a mistake costs no more than the
    /// reading of its own again, and neither does a change. Nothing where brackets are nested too deeply for any reader.
    pub fn pieces(&self, text: &str) -> Vec<Piece> {
        let (Some(closing), Range { start, end }) = (&self.closing, self.range.clone()) else { return Vec::new() };
        let Some((open, newlines)) = &self.body else {
            return vec![Piece { text: format!("{}{closing}", &text[start..end]), head: 0, range: start..end }];
        };
        let header = Piece { text: format!("{}}}", &text[start..=*open]), head: 0, range: start..*open + 1 };
        let mut pieces = vec![header];
        let mut from = open + 1;
        let mut lines = |to: usize, closing: &str| {
            if to < end && text[from..to].trim_ascii().is_empty() {
                return;
            }
            let text = format!("{NET}{}{closing}", &text[from..to]);
            pieces.push(Piece { text, head: NET.len(), range: from..to });
            from = to;
        };
        newlines.iter().for_each(|&newline| lines(newline, "\n}"));
        lines(end, closing);
        pieces
    }
}

const NET: &str = "net {";

impl Piece {
    /// Lines of a body, one behind the other, as one piece.
    pub fn join(pieces: &[Piece], text: &str) -> Option<Piece> {
        let (first, last) = (pieces.first()?, pieces.last()?);
        let closing = &last.text[last.head + last.range.len()..];
        let range = first.range.start..last.range.end;
        Some(Piece { text: format!("{NET}{}{closing}", &text[range.clone()]), head: NET.len(), range })
    }

    /// Where a place of it is in the text; where there is none, the nearest.
    pub fn place(&self, at: usize) -> usize {
        (self.range.start + at.saturating_sub(self.head)).min(self.range.end)
    }

    /// Whether it holds a place of its text, rather than what was put around it.
    pub fn holds(&self, at: usize) -> bool {
        (self.head..self.head + self.range.len()).contains(&at)
    }
}

/// Scans a text.
pub fn scan(file: FileId, text: &str) -> Scan {
    let lexemes = lex(text);
    let whole = Scanner::new(file, text, false).run(&lexemes);
    if whole.stack.is_empty() {
        return whole.finish();
    }
    // Some bracket is never closed. An item's keyword at the start of a line then most likely begins an item.
    Scanner::new(file, text, true).run(&lexemes).finish()
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Open,
    Close,
    Comma,
    Pipe,
    Newline,
    Comment,
    UnclosedString,
    Other,
}

struct Lexeme {
    kind: Kind,
    range: Range<usize>,
}

fn lex(text: &str) -> Vec<Lexeme> {
    let bytes = text.as_bytes();
    let mut lexemes = Vec::new();
    let mut start = if text.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
    while start < bytes.len() {
        if matches!(bytes[start], b' ' | b'\t' | b'\r') {
            start += 1;
            continue;
        }
        let (kind, length) = lexeme(&bytes[start..]);
        lexemes.push(Lexeme { kind, range: start..start + length });
        start += length;
    }
    lexemes
}

/// Kind and length of the lexeme at the start of `bytes`.
fn lexeme(bytes: &[u8]) -> (Kind, usize) {
    let until = |stop: &[u8]| bytes.iter().skip(1).position(|b| stop.contains(b)).map_or(bytes.len(), |n| n + 1);
    match bytes[0] {
        b'(' | b'[' | b'{' => (Kind::Open, 1),
        b')' | b']' | b'}' => (Kind::Close, 1),
        b',' => (Kind::Comma, 1),
        b'|' => (Kind::Pipe, 1),
        b'\n' => (Kind::Newline, 1),
        b'#' => (Kind::Comment, until(b"\n")),
        b'"' => match until(b"\"\n") {
            end if bytes.get(end) == Some(&b'"') => (Kind::Other, end + 1),
            end => (Kind::UnclosedString, end),
        },
        _ => (Kind::Other, until(b" \t\r\n([{}]),|#\"")),
    }
}

/// A body that was perhaps not closed where its author thinks.
struct Suspect {
    open: usize,
    close: usize,
    /// Of the line of `close`.
    indent: usize,
}

struct Scanner<'a> {
    file: FileId,
    source: &'a str,
    /// Whether an item's keyword at the start of a line ends whatever is open.
    cut: bool,
    text: Vec<u8>,
    /// Where each line begins, and behind the blanks at its beginning.
    lines: Vec<(usize, usize)>,
    comments: Vec<Range<usize>>,
    items: Vec<Item>,
    errors: Vec<Diagnostic>,
    /// Open brackets.
    stack: Vec<usize>,
    /// The first body whose closing brace begins a line further left than its own: what is never closed may be it.
    suspect: Option<Suspect>,
    item_start: Option<usize>,
    item_body: Option<(usize, Vec<usize>)>,
    item_broken: bool,
    item_too_deep: bool,
    /// Newlines since the last lexeme that counts; whether they end a line, the next one decides.
    newlines: Vec<usize>,
    after_comma: bool,
    end: usize,
}

/// Where each line begins, and behind the blanks at its beginning.
fn lines(text: &[u8]) -> Vec<(usize, usize)> {
    let newlines = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    let blanks = |start: usize| text[start..].iter().take_while(|byte| byte.is_ascii_whitespace() && **byte != b'\n');
    std::iter::once(0).chain(newlines).map(|start| (start, start + blanks(start).count())).collect()
}

impl<'a> Scanner<'a> {
    fn new(file: FileId, source: &'a str, cut: bool) -> Self {
        let mut text = source.as_bytes().to_vec();
        if source.starts_with('\u{feff}') {
            text[..'\u{feff}'.len_utf8()].fill(b' ');
        }
        Scanner {
            file,
            source,
            cut,
            lines: lines(&text),
            text,
            comments: Vec::new(),
            items: Vec::new(),
            errors: Vec::new(),
            stack: Vec::new(),
            suspect: None,
            item_start: None,
            item_body: None,
            item_broken: false,
            item_too_deep: false,
            newlines: Vec::new(),
            after_comma: false,
            end: 0,
        }
    }

    fn run(mut self, lexemes: &[Lexeme]) -> Self {
        for lexeme in lexemes {
            if self.errors.len() == MAX_ERRORS {
                break;
            }
            match lexeme.kind {
                Kind::Newline => self.newlines.push(lexeme.range.start),
                Kind::Comment => {
                    self.text[lexeme.range.clone()].fill(b' ');
                    self.comments.push(lexeme.range.clone());
                }
                _ => self.visible(lexeme),
            }
        }
        self
    }

    fn visible(&mut self, lexeme: &Lexeme) {
        let start = lexeme.range.start;
        self.end_line(lexeme);
        self.item_start.get_or_insert(start);
        match lexeme.kind {
            Kind::Open => self.open(start),
            Kind::Close => self.close(start),
            Kind::UnclosedString => self.fail(
                Diagnostic::error("E0101", "this string is not closed on its line")
                    .at(self.span(lexeme.range.clone()), "expected a closing `\"`"),
            ),
            _ => {}
        }
        self.after_comma = lexeme.kind == Kind::Comma;
        self.end = lexeme.range.end;
    }

    /// Decides about the newlines before `next`.
    fn end_line(&mut self, next: &Lexeme) {
        let newlines = std::mem::take(&mut self.newlines);
        if self.cut && !self.stack.is_empty() && self.begins_item(next, newlines.last()) {
            self.unclosed(next.range.clone());
            self.end_item();
            return;
        }
        let in_list = self.stack.last().is_some_and(|&open| self.text[open] != b'{');
        if in_list || self.after_comma || next.kind == Kind::Pipe {
            newlines.iter().for_each(|&at| self.text[at] = b' ');
        } else if self.stack.is_empty() && !newlines.is_empty() {
            self.end_item();
        } else if let ([open], Some((body, lines))) = (self.stack.as_slice(), &mut self.item_body)
            && open == body
        {
            lines.extend(newlines.last());
        }
    }

    /// Whether a lexeme is an item's keyword at the start of a line. `const` is a step as well, and a keyword with
    /// a colon is a label.
    fn begins_item(&self, lexeme: &Lexeme, newline: Option<&usize>) -> bool {
        let word = &self.source[lexeme.range.clone()];
        newline.is_some_and(|at| at + 1 == lexeme.range.start) && word != "const" && ITEM_KEYWORDS.contains(&word)
    }

    fn end_item(&mut self) {
        if let Some(start) = self.item_start.take() {
            // A body is closed on a line of its own, so that an error in front is not on it.
            let line = |closing: char| if closing == '}' { format!("\n{closing}") } else { closing.to_string() };
            let closing = self.stack.iter().rev().map(|&open| line(self.closing(open))).collect();
            let closing = (!self.item_too_deep).then_some(closing);
            let body = self.item_body.take();
            self.items.push(Item { range: start..self.end, body, broken: self.item_broken, closing });
        }
        self.item_broken = false;
        self.item_too_deep = false;
        self.suspect = None;
        self.stack.clear();
    }

    fn open(&mut self, at: usize) {
        self.item_too_deep |= self.stack.len() == MAX_NESTING;
        if self.stack.len() == MAX_NESTING && !self.item_broken {
            self.fail(
                Diagnostic::error("E0501", format!("brackets are nested more than {MAX_NESTING} deep"))
                    .at(self.span(at..at + 1), "one too many"),
            );
        }
        if self.stack.is_empty() && self.text[at] == b'{' {
            self.item_body.get_or_insert_with(|| (at, Vec::new()));
        }
        self.stack.push(at);
    }

    fn close(&mut self, at: usize) {
        let closing = char::from(self.text[at]);
        let matching = self.stack.iter().rposition(|&open| self.closing(open) == closing);
        match (matching, self.stack.last()) {
            (Some(depth), Some(&innermost)) => {
                if self.stack.len() > depth + 1 {
                    self.fail(
                        Diagnostic::error(
                            "E0101",
                            format!("expected `{}`, found `{closing}`", self.closing(innermost)),
                        )
                        .at(self.span(at..at + 1), "unexpected here")
                        .at(self.span(innermost..innermost + 1), "this is not closed"),
                    );
                }
                self.suspect(self.stack[depth], at);
                self.stack.truncate(depth);
            }
            _ => self.fail(
                Diagnostic::error("E0101", format!("unmatched `{closing}`"))
                    .at(self.span(at..at + 1), "nothing is open that this could close"),
            ),
        }
    }

    /// Remembers the first body that was closed by a brace too far left.
    fn suspect(&mut self, open: usize, close: usize) {
        let (indent, begins_line) = self.indent(close);
        if begins_line && self.text[open] == b'{' && indent < self.indent(open).0 {
            self.suspect.get_or_insert(Suspect { open, close, indent });
        }
    }

    /// The blanks with which the line of a place begins, and whether there is nothing else before the place.
    fn indent(&self, at: usize) -> (usize, bool) {
        let (start, end_of_blanks) = self.lines[self.lines.partition_point(|&(start, _)| start <= at) - 1];
        (end_of_blanks.min(at) - start, at <= end_of_blanks)
    }

    /// The bracket that closes the one at `open`.
    fn closing(&self, open: usize) -> char {
        match self.text[open] {
            b'(' => ')',
            b'[' => ']',
            _ => '}',
        }
    }

    /// Reports the innermost open bracket, noticed at `place`.
    fn unclosed(&mut self, place: Range<usize>) {
        let Some(&open) = self.stack.last() else { return };
        let closing = self.closing(open);
        let found = match &self.source[place.clone()] {
            "" => "the end of the file".to_string(),
            word => format!("`{word}`"),
        };
        let error = Diagnostic::error("E0101", format!("expected `{closing}`, found {found}"))
            .at(self.span(place), "unexpected here");
        let suspect =
            self.suspect.take().filter(|suspect| suspect.open > open && self.indent(open).0 == suspect.indent);
        self.fail(match suspect {
            Some(Suspect { open: inner, close, .. }) => error
                .at(self.span(inner..inner + 1), "this is not closed, as the lines are indented")
                .at(self.span(close..close + 1), "this closes it, but stands under the line of the outer one"),
            None => error.at(self.span(open..open + 1), "this is not closed"),
        });
    }

    fn fail(&mut self, error: Diagnostic) {
        self.item_broken = true;
        self.errors.push(error);
    }

    fn span(&self, range: Range<usize>) -> Span {
        Span::new(self.file, range)
    }

    fn finish(mut self) -> Scan {
        self.unclosed(self.end..self.end);
        self.end_item();
        let text = String::from_utf8(self.text).expect("only whole characters are blanked");
        Scan { text, comments: self.comments, items: self.items, errors: self.errors }
    }
}
