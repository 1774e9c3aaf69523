//! The formatter: lays out the tokens of a file again. It decides about blanks, indentation and long lines; which
//! tokens there are, and the line breaks in lists and between steps, stay as the author wrote them.

use super::kept::Kept;
use super::parser::{self, Rule};
use super::scan::{self, Piece, Scan};
use crate::diagnostic::Diagnostic;
use crate::front::text::stop::Stop;
use crate::source::{FileId, SourceMap};
use pest::iterators::Pair;
use std::collections::HashSet;
use std::ops::Range;

/// Longer lines are broken where they can be.
pub const MAX_WIDTH: usize = 100;

const INDENT: usize = 2;

/// Formats one file of `sources`: two blanks of indentation, one around operators and `|`, at most one empty line,
/// comments kept. A body written on one line stays there if the line fits in [`MAX_WIDTH`]; longer lines break at
/// their bodies, then before `|`. Formatting twice gives the same text.
///
/// # Errors
/// The syntax errors of the file, as [`parser::parse`] gives them.
pub fn format(sources: &SourceMap, file: FileId) -> Result<String, Vec<Diagnostic>> {
    format_until(sources, file, &Stop::default())
}

/// As [`format()`], until `stop` is due: what there is by then is of no use.
pub fn format_until(sources: &SourceMap, file: FileId, stop: &Stop) -> Result<String, Vec<Diagnostic>> {
    parser::recover(sources, file, stop, &mut Kept::default()).complete()?;
    let text = &sources.file(file).text;
    let tokens = tokens(&scan::scan(file, text), text, stop);
    let mut printer = Printer { tokens, open: Vec::new(), out: String::new() };
    for range in printer.written_lines() {
        if stop.is_due() {
            break;
        }
        printer.line(range);
    }
    Ok(printer.out)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Syntax(Rule),
    Comment,
}

use Kind::{Comment, Syntax};

struct Token<'a> {
    kind: Kind,
    text: &'a str,
    /// A bracket that belongs to the word before it: `f(`, `n[`.
    attached: bool,
    /// Newlines before it.
    newlines: usize,
}

impl Token<'_> {
    fn is(&self, rule: Rule) -> bool {
        self.kind == Syntax(rule)
    }

    fn opens(&self) -> bool {
        matches!(self.kind, Syntax(Rule::lparen | Rule::lbracket | Rule::lbrace))
    }

    fn closes(&self) -> bool {
        matches!(self.kind, Syntax(Rule::rparen | Rule::rbracket | Rule::rbrace))
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// The leaves of the syntax, and the comments, in the order of the text.
fn tokens<'a>(scan: &Scan, text: &'a str, stop: &Stop) -> Vec<Token<'a>> {
    let mut ranges: Vec<(Range<usize>, Kind)> = scan.comments.iter().map(|range| (range.clone(), Comment)).collect();
    let mut attached = HashSet::new();
    for piece in scan.items.iter().flat_map(|item| item.pieces(&scan.text)) {
        if stop.is_due() {
            break;
        }
        let pair = parser::pairs(&piece.text).expect("the file has been parsed");
        leaves(pair, &piece, &mut ranges, &mut attached);
    }
    ranges.sort_by_key(|(range, _)| range.start);
    let mut end = 0;
    let token = |(range, kind): (Range<usize>, Kind)| {
        let newlines = text[end..range.start].matches('\n').count();
        end = range.end;
        Token { kind, text: text[range.clone()].trim_end(), attached: attached.contains(&range.start), newlines }
    };
    ranges.into_iter().map(token).collect()
}

/// Collects the leaves of a piece under `pair`, and the places of attached brackets.
fn leaves(
    pair: Pair<'_, Rule>,
    piece: &Piece,
    leaves_at: &mut Vec<(Range<usize>, Kind)>,
    attached: &mut HashSet<usize>,
) {
    let (start, end) = (pair.as_span().start(), pair.as_span().end());
    let range = piece.place(start)..piece.place(end);
    let rule = pair.as_rule();
    let parts: Vec<Pair<Rule>> = pair.into_inner().collect();
    match rule {
        Rule::params | Rule::sizes | Rule::paren_args | Rule::operands | Rule::index => {
            attached.insert(range.start);
        }
        Rule::label | Rule::tap => {
            attached.extend(parts.iter().skip(1).map(|part| piece.place(part.as_span().start())));
        }
        Rule::interpolation => {
            // Its braces are laid out like parentheses.
            leaves_at.push((range.start..range.start + 1, Syntax(Rule::lparen)));
            leaves_at.push((range.end - 1..range.end, Syntax(Rule::rparen)));
            return leaves(parts[1].clone(), piece, leaves_at, attached);
        }
        Rule::EOI => return,
        _ if parts.is_empty() && piece.holds(start) => leaves_at.push((range, Syntax(rule))),
        _ => {}
    }
    parts.into_iter().for_each(|part| leaves(part, piece, leaves_at, attached));
}

/// An open bracket.
struct Open {
    /// Of the line on which it was opened.
    indent: usize,
    is_body: bool,
}

struct Printer<'a> {
    tokens: Vec<Token<'a>>,
    open: Vec<Open>,
    out: String,
}

impl Printer<'_> {
    /// The lines as the author broke them, but a body with a line break in it breaks at both its braces too.
    fn written_lines(&self) -> Vec<Range<usize>> {
        let mut breaks: Vec<usize> = (1..self.tokens.len()).filter(|&at| self.tokens[at].newlines > 0).collect();
        for (open, close) in self.bodies() {
            if self.tokens[open + 1..=close].iter().any(|token| token.newlines > 0) {
                let after_comment = self.tokens[open + 1].kind == Comment && self.tokens[open + 1].newlines == 0;
                breaks.extend([open + 1 + usize::from(after_comment), close]);
            }
        }
        split(0..self.tokens.len(), breaks)
    }

    /// The braces of all bodies.
    fn bodies(&self) -> Vec<(usize, usize)> {
        let mut open = Vec::new();
        let mut bodies = Vec::new();
        for (at, token) in self.tokens.iter().enumerate() {
            if token.is(Rule::lbrace) {
                open.push(at);
            } else if token.is(Rule::rbrace) {
                bodies.extend(open.pop().map(|start| (start, at)));
            }
        }
        bodies
    }

    /// Prints tokens that make one line, or more if it is too long.
    fn line(&mut self, range: Range<usize>) {
        let indent = self.indent(range.clone());
        let mut pieces = vec![range.clone()];
        if indent + self.width(range.clone()) > MAX_WIDTH {
            pieces = split(range.clone(), self.body_breaks(range.clone()));
            if pieces.len() == 1 {
                pieces = split(range.clone(), self.pipe_breaks(range.clone(), indent));
            }
        }
        if let [whole] = pieces.as_slice() {
            return self.print(whole.clone(), indent);
        }
        pieces.into_iter().for_each(|piece| self.line(piece));
    }

    /// The indentation of the line that `range` makes.
    fn indent(&self, range: Range<usize>) -> usize {
        let first = range.start;
        let closing = self.tokens[range].iter().take_while(|token| token.closes()).count();
        if closing > 0 {
            return self.open[self.open.len() - closing].indent;
        }
        if self.goes_on(first) { self.inner_indent() + INDENT } else { self.inner_indent() }
    }

    /// The indentation inside the innermost open bracket.
    fn inner_indent(&self) -> usize {
        self.open.last().map_or(0, |open| open.indent + INDENT)
    }

    /// Whether the line that begins with token `first` continues the one before.
    fn goes_on(&self, first: usize) -> bool {
        let token = &self.tokens[first];
        if token.kind == Comment || self.open.last().is_some_and(|open| !open.is_body) {
            return false;
        }
        let previous = self.tokens[..first].iter().rev().find(|token| token.kind != Comment);
        token.is(Rule::pipe) || previous.is_some_and(|previous| previous.is(Rule::comma))
    }

    /// Where to break the outermost bodies of a line: behind `{` and before `}`.
    fn body_breaks(&self, range: Range<usize>) -> Vec<usize> {
        let mut breaks = Vec::new();
        let mut open = Vec::new();
        for at in range {
            if self.tokens[at].is(Rule::lbrace) {
                open.push(at);
            } else if self.tokens[at].is(Rule::rbrace)
                && let Some(start) = open.pop()
                && open.is_empty()
                && start + 1 < at
            {
                breaks.extend([start + 1, at]);
            }
        }
        breaks
    }

    /// Where to break a line before `|`, filling each line as far as it goes.
    fn pipe_breaks(&self, range: Range<usize>, indent: usize) -> Vec<usize> {
        let mut depth = 0i32;
        let mut pipes = Vec::new();
        for at in range.start + 1..range.end {
            depth += i32::from(self.tokens[at - 1].opens()) - i32::from(self.tokens[at - 1].closes());
            if depth <= 0 && self.tokens[at].is(Rule::pipe) {
                pipes.push(at);
            }
        }
        let mut breaks = Vec::new();
        let (mut start, mut indent) = (range.start, indent);
        for (i, &pipe) in pipes.iter().enumerate() {
            let end = pipes.get(i + 1).copied().unwrap_or(range.end);
            if indent + self.width(start..end) > MAX_WIDTH {
                breaks.push(pipe);
                (start, indent) = (pipe, self.inner_indent() + INDENT);
            }
        }
        breaks
    }

    /// Columns that tokens take on one line, without a comment at the end.
    fn width(&self, range: Range<usize>) -> usize {
        let tokens = range.clone().filter(|&at| self.tokens[at].kind != Comment);
        tokens.map(|at| self.tokens[at].width() + usize::from(at > range.start && self.blank_before(at))).sum()
    }

    /// Whether a blank stands between a token and the one before it on the same line.
    fn blank_before(&self, at: usize) -> bool {
        use Rule::*;
        let (Syntax(left), Syntax(right)) = (self.tokens[at - 1].kind, self.tokens[at].kind) else { return true };
        match (left, right) {
            (lbrace, rbrace) | (lparen | lbracket | dots | minus, _) => false,
            (_, comma | colon | rparen | rbracket | dots | field) => false,
            _ => !self.tokens[at].attached,
        }
    }

    fn print(&mut self, range: Range<usize>, indent: usize) {
        if self.empty_line_before(range.start) {
            self.out.push('\n');
        }
        self.out.push_str(&" ".repeat(indent));
        for at in range.clone() {
            let token = &self.tokens[at];
            if at > range.start && token.kind == Comment {
                self.out.push_str("  ");
            } else if at > range.start && self.blank_before(at) {
                self.out.push(' ');
            }
            self.out.push_str(token.text);
            if token.opens() {
                self.open.push(Open { indent, is_body: token.is(Rule::lbrace) });
            } else if token.closes() {
                self.open.pop();
            }
        }
        self.out.push('\n');
    }

    fn empty_line_before(&self, at: usize) -> bool {
        let token = &self.tokens[at];
        let after_opening = at == 0 || self.tokens[at - 1].opens();
        token.newlines > 1 && !after_opening && !token.closes() && !token.is(Rule::pipe)
    }
}

/// Cuts a range before each of `breaks`, which may hold the range's ends and may repeat itself.
fn split(range: Range<usize>, mut breaks: Vec<usize>) -> Vec<Range<usize>> {
    breaks.push(range.end);
    breaks.sort_unstable();
    let mut start = range.start;
    let mut pieces = Vec::new();
    for at in breaks {
        if at > start {
            pieces.push(start..at);
            start = at;
        }
    }
    pieces
}
