//! What is being written at the cursor. A text that is being written seldom has a tree there, so that this looks at its words.

use std::ops::Range;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Token {
    Open,
    Close,
    Comma,
    Pipe,
    Newline,
    Comment,
    Text,
    Word,
    Number,
    /// A character of its own.
    Sign,
}

/// The words and signs of any text, without blanks.
pub fn tokens(text: &str) -> impl Iterator<Item = (Token, Range<usize>)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        at += text[at..].len() - text[at..].trim_start_matches([' ', '\t', '\r', '\u{feff}']).len();
        let (token, length) = token(&text[at..])?;
        let start = at;
        at += length;
        Some((token, start..at))
    })
}

fn token(rest: &str) -> Option<(Token, usize)> {
    let first = rest.chars().next()?;
    let line = rest.find('\n').unwrap_or(rest.len());
    let until = |is: fn(char) -> bool| rest.find(|c| !is(c)).unwrap_or(rest.len());
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    Some(match first {
        '(' | '[' | '{' => (Token::Open, 1),
        ')' | ']' | '}' => (Token::Close, 1),
        ',' => (Token::Comma, 1),
        '|' => (Token::Pipe, 1),
        '\n' => (Token::Newline, 1),
        '#' => (Token::Comment, line),
        '"' => (Token::Text, rest[1..line].find('"').map_or(line, |end| end + 2)),
        '0'..='9' => (Token::Number, until(is_word)),
        c if is_word(c) => (Token::Word, until(is_word)),
        c => (Token::Sign, c.len_utf8()),
    })
}

/// What may be written at the cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place<'a> {
    /// A name of the author's own, a comment, a text.
    Free,
    /// The path behind `use`.
    Path,
    Item,
    Step,
    /// What is called by `defaults`, or repeated.
    Callee {
        layers_only: bool,
    },
    Value,
    /// A value that was named or labelled.
    From,
    /// A size of `in`.
    Field,
    Lint,
    Model,
    /// An argument of a call.
    Argument(Call<'a>),
}

/// A call that is being written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call<'a> {
    pub callee: &'a str,
    /// Whether it is a function of an expression.
    pub is_function: bool,
    /// Arguments before this one.
    pub index: usize,
    /// The first word of the argument, if something follows it: the name of a parameter, perhaps.
    pub name: Option<&'a str>,
}

/// A bracket that is open at the cursor, or the file.
#[derive(Default)]
struct Frame<'a> {
    open: &'a str,
    /// The word that the bracket follows directly.
    callee: Option<Word<'a>>,
    /// The tokens in front of the bracket in its own line or list.
    before: Vec<Word<'a>>,
    commas: usize,
    /// Tokens in front of the first comma.
    head: Vec<Word<'a>>,
    /// Tokens since the last comma.
    segment: Vec<Word<'a>>,
}

#[derive(Clone, Copy, PartialEq)]
struct Word<'a> {
    token: Token,
    text: &'a str,
    end: usize,
}

impl<'a> Frame<'a> {
    fn push(&mut self, word: Word<'a>) {
        if self.commas == 0 {
            self.head.push(word);
        }
        self.segment.push(word);
    }

    fn end_line(&mut self) {
        self.commas = 0;
        self.head.clear();
        self.segment.clear();
    }

    fn is_list(&self) -> bool {
        matches!(self.open, "(" | "[")
    }
}

/// What is being written at an offset, and the brackets around it.
pub fn place(text: &str, offset: usize) -> Place<'_> {
    let (stack, inside) = frames(text, offset);
    let [outer @ .., frame] = stack.as_slice() else { return Place::Free };
    match inside {
        Some(Token::Text) if frame.segment.last().is_some_and(|word| word.text == "use") => return Place::Path,
        Some(_) => return Place::Free,
        None => {}
    }
    if let [.., of, dot] = frame.segment.as_slice()
        && (of.text, dot.text) == ("in", ".")
    {
        return Place::Field;
    }
    match frame.open {
        "(" => in_parentheses(frame),
        "[" => Place::Value,
        "{" if frame.callee.is_some() => Place::Value,
        "{" => step(frame),
        _ if outer.is_empty() => item(frame),
        _ => Place::Free,
    }
}

/// The innermost call around an offset.
pub fn call(text: &str, offset: usize) -> Option<Call<'_>> {
    let (stack, _) = frames(text, offset);
    stack.iter().rev().find_map(|frame| {
        let place = match frame.open {
            "(" => in_parentheses(frame),
            "[" => return None,
            "{" => step(frame),
            _ => item(frame),
        };
        if let Place::Argument(call) = place { Some(call) } else { None }
    })
}

/// The frames that are open at an offset, the file first, and the comment or text that it is in. The word at the cursor
/// is left out.
fn frames(text: &str, offset: usize) -> (Vec<Frame<'_>>, Option<Token>) {
    let mut stack = vec![Frame::default()];
    let mut inside = None;
    let mut after_comma = false;
    let mut pending_newline = false;
    for (token, range) in tokens(text).take_while(|(_, range)| range.start < offset) {
        let ends_here = range.end >= offset;
        match token {
            Token::Comment | Token::Text
                if ends_here && !(token == Token::Text && closed(text, &range) && range.end == offset) =>
            {
                inside = Some(token);
            }
            Token::Word | Token::Number if ends_here => break,
            Token::Newline => {
                pending_newline |= !after_comma;
                continue;
            }
            Token::Comment => continue,
            _ => {}
        }
        // A line goes on where the next one begins with `|`.
        if std::mem::take(&mut pending_newline) && token != Token::Pipe {
            let frame = stack.last_mut().expect("the file is never closed");
            if !frame.is_list() {
                frame.end_line();
            }
        }
        if inside.is_some() {
            break;
        }
        after_comma = token == Token::Comma;
        visit(&mut stack, token, Word { token, text: &text[range.clone()], end: range.end }, range.start);
    }
    if pending_newline && let Some(frame) = stack.last_mut().filter(|frame| !frame.is_list()) {
        frame.end_line();
    }
    (stack, inside)
}

fn closed(text: &str, range: &Range<usize>) -> bool {
    range.len() > 1 && text[range.clone()].ends_with('"')
}

fn visit<'a>(stack: &mut Vec<Frame<'a>>, token: Token, word: Word<'a>, start: usize) {
    let frame = stack.last_mut().expect("the file is never closed");
    match token {
        Token::Open => {
            let callee = frame.segment.last().copied().filter(|last| last.token == Token::Word && last.end == start);
            let new = Frame { open: word.text, callee, before: frame.head.clone(), ..Frame::default() };
            stack.push(new);
        }
        Token::Close => {
            if stack.len() > 1 {
                stack.pop();
            }
            stack.last_mut().expect("the file is never closed").push(word);
        }
        Token::Comma => {
            frame.commas += 1;
            frame.segment.clear();
        }
        Token::Pipe => frame.end_line(),
        _ => frame.push(word),
    }
}

fn in_parentheses<'a>(frame: &Frame<'a>) -> Place<'a> {
    let first = frame.before.first().map_or("", |word| word.text);
    let declares = matches!(first, "block" | "model") && frame.before.len() == 2;
    let has_value = frame.segment.iter().any(|word| word.text == "=");
    match frame.callee {
        _ if declares => {
            if has_value {
                Place::Value
            } else {
                Place::Free
            }
        }
        // `for (k, c) in`
        None if frame.before.last().is_some_and(|word| word.text == "for") => Place::Free,
        None => Place::Value,
        Some(callee) => {
            let is_step = frame.before.last().is_some_and(|last| *last == callee) && is_call(&frame.before, first);
            Place::Argument(argument(frame, callee.text, !is_step))
        }
    }
}

/// Whether the last word of a line calls a layer or a block: nothing but a label or a count stands before it.
fn is_call(line: &[Word], first: &str) -> bool {
    let own = &line[..line.len() - 1];
    let before = own.last().map_or("", |word| word.text);
    own.is_empty() || matches!(before, ":" | "x" | "aux") || first == "variant" && before == "="
}

fn argument<'a>(frame: &Frame<'a>, callee: &'a str, is_function: bool) -> Call<'a> {
    let first = frame.segment.first().filter(|word| word.token == Token::Word);
    Call { callee, is_function, index: frame.commas, name: first.map(|word| word.text) }
}

fn item<'a>(frame: &Frame<'a>) -> Place<'a> {
    let words: Vec<&'a str> = frame.head.iter().map(|word| word.text).collect();
    match words.as_slice() {
        [] => Place::Item,
        ["allow", ..] => Place::Lint,
        ["defaults"] => Place::Callee { layers_only: true },
        ["defaults", layer, rest @ ..] => {
            let mut call = argument(frame, layer, false);
            // The first segment begins with what is called.
            call.name = if frame.commas == 0 { rest.first().copied() } else { call.name };
            Place::Argument(call)
        }
        ["variant", _, "="] => Place::Model,
        ["const", _, "=", ..] => Place::Value,
        _ => Place::Free,
    }
}

fn step<'a>(frame: &Frame<'a>) -> Place<'a> {
    let label = frame.head.iter().rposition(|word| word.text == ":").map_or(0, |colon| colon + 1);
    let own = &frame.head[label..];
    let own = if own.first().is_some_and(|word| word.text == "aux") { &own[1..] } else { own };
    let words: Vec<&'a str> = own.iter().map(|word| word.text).collect();
    match words.as_slice() {
        [] => Place::Step,
        ["from", ..] => Place::From,
        ["const", _, "=", ..] | ["if", ..] | ["for", .., "in"] | ["residual" | "}", .., "if"] => Place::Value,
        ["const" | "output" | "for", ..] | [.., "as"] => Place::Free,
        ["residual" | "}" | "seq" | "concat" | "add" | "mul" | "grow" | "gate", ..] => Place::Step,
        [.., "x"] => Place::Callee { layers_only: false },
        [.., ")"] if frame.commas == 0 => Place::Free,
        all => {
            let start = all.iter().rposition(|word| *word == "x").filter(|at| *at > 0).map_or(0, |at| at + 1);
            let callee = own[start];
            if callee.token != Token::Word {
                return Place::Value;
            }
            let mut call = argument(frame, callee.text, false);
            call.name = if frame.commas == 0 { all.get(start + 1).copied() } else { call.name };
            Place::Argument(call)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Place<'_> {
        place(text, text.len())
    }

    fn argument<'a>(callee: &'a str, index: usize, name: Option<&'a str>) -> Place<'a> {
        Place::Argument(Call { callee, is_function: false, index, name })
    }

    #[test]
    fn steps_and_items() {
        for text in ["", "net { relu }\n", "net { relu }\nno", "const a = [1,\n2]\n"] {
            assert_eq!(at(text), Place::Item, "{text}");
        }
        for text in [
            "net { ",
            "net {\n  a: ",
            "net { relu | co",
            "net {\n relu\n",
            "net { residual { relu } project { ",
            "net { aux a: ",
        ] {
            assert_eq!(at(text), Place::Step, "{text}");
        }
        assert_eq!(at("net { # relu | "), Place::Free);
        assert_eq!(at("net { 3 x "), Place::Callee { layers_only: false });
        assert_eq!(at("defaults "), Place::Callee { layers_only: true });
        assert_eq!(at("use \"blo"), Place::Path);
        assert_eq!(at("allow even_kernel, "), Place::Lint);
        assert_eq!(at("variant a = "), Place::Model);
        assert_eq!(at("net { from "), Place::From);
        assert_eq!(at("net { conv 1x1, in."), Place::Field);
    }

    #[test]
    fn arguments_and_their_names() {
        assert_eq!(at("net { conv "), argument("conv", 0, None));
        assert_eq!(at("net { a: conv 3x3, 8,\n    str"), argument("conv", 2, None));
        assert_eq!(at("net { conv 3x3, 8, stride "), argument("conv", 2, Some("stride")));
        assert_eq!(at("net { 3 x Unit(8, s = "), argument("Unit", 1, Some("s")));
        assert_eq!(at("defaults conv half, "), argument("conv", 1, None));
        assert_eq!(at("variant b = m(n = "), argument("m", 0, Some("n")));
        let ceil = Call { callee: "ceil", is_function: true, index: 0, name: None };
        assert_eq!(at("net { conv 3x3, ceil("), Place::Argument(ceil));
        assert_eq!(call("net { conv 3x3, (1 + ", 20).map(|call| (call.callee, call.index)), Some(("conv", 1)));
    }

    #[test]
    fn values_and_own_names() {
        for text in ["block B(c = ", "const a = ", "net { if ", "net { a{", "net { for i in ", "net { conv [1, "] {
            assert_eq!(at(text), Place::Value, "{text}");
        }
        for text in ["block B(", "block B(c, ", "net { relu as ", "net { const ", "model "] {
            assert_eq!(at(text), Place::Free, "{text}");
        }
    }

    #[test]
    fn any_text_has_tokens() {
        for text in ["\"", "a\"b\nc", "\u{feff}net", "\u{441}\u{432} ]})", "1x1..2"] {
            let covered: usize = tokens(text).map(|(_, range)| range.len()).sum();
            assert!(covered <= text.len());
            (0..=text.len()).filter(|at| text.is_char_boundary(*at)).for_each(|at| {
                let _ = place(text, at);
            });
        }
    }
}
