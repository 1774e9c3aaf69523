//! Syntax errors in words: what the grammar expected, what it found, and the usual ways out.

use super::letters;
use super::parser::{Rule, is_name};
use super::scan::ITEM_KEYWORDS;
use crate::diagnostic::{Diagnostic, Fix, Help};
use crate::layers;
use crate::source::{FileId, Span};
use pest::error::{Error, ErrorVariant, InputLocation};
use std::ops::Range;

/// Where in `text`, the item, the grammar got stuck.
pub fn position(error: &Error<Rule>, text: &str) -> usize {
    let (InputLocation::Pos(at) | InputLocation::Span((at, _))) = error.location;
    if might_be_label(error) {
        return text[..at].trim_end_matches(is_word).len();
    }
    at + text[at..].len() - text[at..].trim_start_matches(BLANKS).len()
}

/// A word with which no step begins could still be a label, so that the grammar got stuck only behind it.
fn might_be_label(error: &Error<Rule>) -> bool {
    matches!(&error.variant, ErrorVariant::ParsingError { positives, .. } if positives.contains(&Rule::label_text)
        && !positives.contains(&Rule::pipe))
}

const BLANKS: [char; 3] = [' ', '\t', '\r'];

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// Whether the limit on calls or on the stack was met.
pub fn is_limit(error: &Error<Rule>) -> bool {
    !matches!(error.variant, ErrorVariant::ParsingError { .. })
}

/// Translates an error at a place of an item.
pub fn diagnostic(error: &Error<Rule>, item: &Item, at: usize) -> Diagnostic {
    let Item { text, file, offset, .. } = *item;
    let found = token(&text[at..]);
    let span = Span::new(file, offset + at..offset + at + found.len());
    let ErrorVariant::ParsingError { positives, .. } = &error.variant else {
        // The limit on calls or on the stack.
        return Diagnostic::error("E0501", "this is too large to be parsed").at(span, "given up here");
    };
    let shown = if found.is_empty() { "the end of the line".to_string() } else { format!("`{found}`") };
    let expected = if might_be_label(error) { LAYER.to_string() } else { expected(positives) };
    let mut diagnostic =
        Diagnostic::error("E0101", format!("expected {expected}, found {shown}")).at(span, "unexpected here");
    diagnostic.help.extend(letters::help(item, at).or_else(|| way_out(item, at, found, positives)));
    diagnostic
}

/// The text of an item, and where it stands.
pub struct Item<'a> {
    pub text: &'a str,
    /// What follows it in the file.
    pub behind: &'a str,
    pub file: FileId,
    pub offset: usize,
}

impl Item<'_> {
    /// That something else is to stand in a part of the item.
    pub fn replace(&self, title: impl Into<String>, range: Range<usize>, new: impl Into<String>) -> Fix {
        Fix::replace(title, Span::new(self.file, self.offset + range.start..self.offset + range.end), new)
    }
}

/// The word, number or character at the start of `text`; empty at the end of a line.
fn token(text: &str) -> &str {
    let word = text.len() - text.trim_start_matches(is_word).len();
    let length = match text.chars().next() {
        None | Some('\n') => 0,
        Some('"') => text[1..].find('"').map_or(text.len(), |end| end + 2),
        Some(first) => word.max(first.len_utf8()),
    };
    &text[..length]
}

/// `a, b or c`
fn expected(rules: &[Rule]) -> String {
    let mut words: Vec<&str> = rules.iter().map(|&rule| in_words(rule)).collect();
    if words.iter().any(|&word| word != OPERATOR) {
        // An operator is possible behind any value: the rest says more.
        words.retain(|&word| word != OPERATOR);
    }
    if rules.contains(&Rule::pipe) {
        words.push(END);
    }
    words.sort_by_key(|word| (word.starts_with('`'), *word));
    words.dedup();
    match words.split_last() {
        Some((last, [])) => last.to_string(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "something else".to_string(),
    }
}

const END: &str = "the end of the line";
const OPERATOR: &str = "an operator";
const LAYER: &str = "a layer or a label";
const VALUE: &str = "a value";

fn in_words(rule: Rule) -> &'static str {
    use Rule::*;
    match rule {
        EOI => END,
        item | use_item | const_item | model_item | input_item | defaults_item | block_item | net_item
        | variant_item | rename_item | allow_item => "an item",
        name | variable_name | word | ident | tap | tap_text => "a name",
        path => "a weight's name, such as `norm.1`",
        param => "a parameter",
        param_name | arg | args | named => "an argument",
        string => "a text in quotes",
        line | step | label | call | repeat_step => LAYER,
        or_op | and_op | dot | comparator | dots | add_op | mul_op | index | field | kw_then | kw_if => OPERATOR,
        params | paren_args | lparen | operands => "`(`",
        body | lbrace | interpolation => "`{`",
        sizes | lbracket => "`[`",
        rparen => "`)`",
        rbracket => "`]`",
        rbrace => "`}`",
        comma => "`,`",
        colon | label_text => "`:`",
        equals => "`=`",
        pipe => "`|`",
        arrow => "`->`",
        alias | kw_as => "`as`",
        project | kw_project => "`project`",
        kw_else | else_if => "`else`",
        condition => "`if`",
        kw_in => "`in`",
        kw_x => "`x`",
        _ => VALUE,
    }
}

/// What people most often mean by what was `found` in the item at `at`.
fn way_out(item: &Item, at: usize, found: &str, positives: &[Rule]) -> Option<Help> {
    let text = item.text;
    let before = &text[..at];
    let (trimmed, end) = (before.trim_end_matches(BLANKS).len(), at + found.len());
    let step = before.rsplit(['\n', '{', '|']).next().unwrap_or(before).trim();
    let replace = |help: &str, range: Range<usize>, new: &str| Some(item.replace(help, range, new).into());
    let here = |help: &str, new: &str| replace(help, at..end, new);
    let with = |help: &str, fix: Option<Fix>| Some(Help::new(help).fix(fix));
    match found {
        "=" if !step.is_empty() && step.chars().all(is_word) => Some(assigned(item, step, trimmed, end)),
        ">" if before.ends_with('-') => replace("a step is joined to the next one by `|`", at - 1..end, "|"),
        "^" => Some(power(item, at..end)),
        "*" if before.ends_with('*') => Some(power(item, at - 1..end)),
        word if positives.contains(&Rule::lbrace) && word.starts_with(is_word) && joined(step).is_some() => {
            let (keyword, single) = joined(step)?;
            let new = format!("{single} {{ from {word} }}");
            let help = format!(
                "`{keyword}` takes branches in braces, one a line; to take in the value `{word}`, write `{new}`"
            );
            let ends = text[end..].trim_start_matches(BLANKS).chars().next().is_none_or(|c| "\n|}".contains(c));
            let title = format!("write `{new}`");
            with(&help, ends.then(|| item.replace(title, trimmed - keyword.len()..end, new).maybe()))
        }
        "else" | "project" if before[..trimmed].ends_with('\n') => {
            let help = format!("`{found}` stands on the line of the closing brace: `}} {found} {{`");
            let brace = before.trim_end();
            with(&help, brace.ends_with('}').then(|| item.replace(&help, brace.len()..at, " ")))
        }
        "" if before.trim_end().ends_with('|') => {
            let help = "to go on in the next line, begin that line with `|`";
            let (pipe, blanks) = (before.trim_end().len() - 1, text[at..].len() - text[at..].trim_start().len());
            let new = format!("{}| ", &text[at..at + blanks]);
            replace(help, before[..pipe].trim_end().len()..at + blanks, &new)
        }
        "" if positives.contains(&Rule::lbrace) => {
            let help = "the opening brace stands on the same line";
            let brace = text.len() + item.behind.len() - item.behind.trim_start().len();
            let follows = text[at..].trim().is_empty() && item.behind.trim_start().starts_with('{');
            with(help, follows.then(|| item.replace(help, trimmed..brace, " ")))
        }
        "=" if positives.contains(&Rule::comparator) => here("a comparison is written `==`", "=="),
        ":" if before.ends_with(' ') => replace("the colon of a label follows it directly", trimmed..at, ""),
        ";" => here("a newline ends a line; no semicolon is needed", ""),
        "<" | ">" | "=" if positives.contains(&Rule::and_op) => {
            let help = "comparisons do not chain; join them with `and`";
            let middle = operand_behind(&before[..trimmed], ['<', '>', '=']);
            with(help, middle.map(|middle| item.replace(help, at..at, format!("and {middle} "))))
        }
        "&" | "!" => {
            let doubled = text[at..].starts_with("&&");
            let new = if found == "&" { "and" } else { "not " };
            replace("logic is written in words: `and`, `or`, `not`", at..end + usize::from(doubled), new)
        }
        "x" if positives.contains(&Rule::pipe) => {
            let help = "sizes are written without blanks, `3x3`; copies as `3 x Block`";
            let blanks = text[end..].len() - text[end..].trim_start_matches(BLANKS).len();
            let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
            let size = digit(before[..trimmed].chars().last()) && digit(text[end + blanks..].chars().next());
            with(help, size.then(|| item.replace(help, trimmed..end + blanks, "x")))
        }
        "\u{d7}" => here("write sizes with the letter x: `3x3`", "x"),
        "\u{a0}" => here("this is a no-break space; type an ordinary one", " "),
        "\u{201c}" | "\u{201d}" => {
            let help = "write straight quotes";
            let quoted = text[end..].split('\n').next()?.split(['\u{201c}', '\u{201d}']).next()?;
            let close = text[end + quoted.len()..].chars().next().filter(|c| "\u{201c}\u{201d}".contains(*c));
            let range = at..end + quoted.len() + close.map_or(0, char::len_utf8);
            with(help, close.map(|_| item.replace(help, range, format!("\"{quoted}\""))))
        }
        word if positives.contains(&Rule::comma) && word.starts_with(is_word) => {
            let new = if layers::find(word).is_some() { " | " } else { ", " };
            replace("arguments are separated by commas, steps by `|`", trimmed..at, new)
        }
        _ if before.trim().is_empty() => {
            let span = Span::new(item.file, item.offset + at..item.offset + end);
            Diagnostic::error("", "").did_you_mean(found, span, ITEM_KEYWORDS).help.pop()
        }
        word if word.starts_with(is_word) && is_reserved(word, positives) => {
            with(&format!("`{word}` is a reserved word; choose another name"), None)
        }
        _ => None,
    }
}

/// `name = ..` where a step was expected; the sign ends at `end`, and a blank or the name before it at `trimmed`.
fn assigned(item: &Item, name: &str, trimmed: usize, end: usize) -> Help {
    let rest = &item.text[end..];
    let value = rest.split(['\n', '|', '}']).next().unwrap_or(rest).trim();
    let step = trimmed - name.len()..end + rest.find(value).unwrap_or(0) + value.len();
    let named = format!("{value} as {name}");
    let is_call = !value.contains(['{', '#']) && !value.is_empty();
    Help::new(format!("a step is labelled by `{name}: ..`; a value is named where it is made, `.. as {name}`"))
        .fix(item.replace(format!("label the step: `{name}: ..`"), trimmed..end, ":"))
        .fix(is_call.then(|| item.replace(format!("name the value: `.. as {name}`"), step, named).maybe()))
}

/// An operator for powers, at a place of the item.
fn power(item: &Item, operator: Range<usize>) -> Help {
    let help = "there is no operator for powers: write `pow(x, y)`, or multiply";
    let (before, behind) = (&item.text[..operator.start], &item.text[operator.end..]);
    let base = before.trim_end_matches(BLANKS);
    let base = &base[base.trim_end_matches(is_operand).len()..];
    let start = operator.end + behind.len() - behind.trim_start_matches(BLANKS).len();
    let exponent = &item.text[start..];
    let exponent = &exponent[..exponent.len() - exponent.trim_start_matches(is_operand).len()];
    let rest = item.text[start + exponent.len()..].trim_start_matches(BLANKS);
    let whole = !base.is_empty() && !exponent.is_empty() && !rest.starts_with(['*', '^', '(', '[']);
    let range = before.trim_end_matches(BLANKS).len() - base.len()..start + exponent.len();
    let new = format!("pow({base}, {exponent})");
    Help::new(help).fix(whole.then(|| item.replace(format!("write `{new}`"), range, new)))
}

/// Of a name, a number or a field.
fn is_operand(c: char) -> bool {
    is_word(c) || c == '.'
}

/// The name, number or field at the end of a text, if one of the `signs` stands before it.
fn operand_behind(text: &str, signs: [char; 3]) -> Option<&str> {
    let left = text.trim_end_matches(is_operand);
    let operand = &text[left.len()..];
    (left.trim_end_matches(BLANKS).ends_with(signs) && !operand.is_empty()).then_some(operand)
}

/// The combinator of branches that a step begins with, and the one that joins a value with a single branch.
fn joined(step: &str) -> Option<(&str, &str)> {
    let keyword = step.rsplit(' ').next()?;
    let pairs = [("add", "residual"), ("mul", "gate"), ("concat", "grow")];
    pairs.into_iter().find(|(branches, _)| *branches == keyword)
}

/// Whether a name was expected that this word may not be.
fn is_reserved(word: &str, positives: &[Rule]) -> bool {
    let names = [Rule::name, Rule::variable_name].into_iter().filter(|rule| positives.contains(rule));
    names.map(|rule| is_name(rule, word)).any(|is_name| !is_name)
}
