//! From text to syntax tree: runs the grammar over each item and turns its pairs into nodes.

mod expr;
mod pieces;

use super::ast::*;
use super::kept::Kept;
use super::scan::{self, MAX_ERRORS, MAX_NESTING, Piece};
use crate::diagnostic::Diagnostic;
use crate::diagnostic::attempt::Attempt;
use crate::front::text::stop::Stop;
use crate::source::{FileId, SourceMap, Span};
use pest::Parser;
use pest::iterators::Pair;
use std::iter::Peekable;
use std::num::NonZeroUsize;

/// The grammar's rules; their documentation is the reference of the syntax.
#[derive(pest_derive::Parser)]
#[grammar = "grammar/svertka.pest"]
pub(super) struct Grammar;

/// How many operators may lie on the way from an expression to one of its operands. Whatever recurses over an
/// expression relies on it.
pub const MAX_OPERATORS: usize = 256;

/// Bounds time and memory of the grammar for one piece: about 100 calls are needed for one number in a list.
const CALL_LIMIT: NonZeroUsize = NonZeroUsize::new(10_000_000).unwrap();

/// So many bytes of a file are read again behind mistakes.
const MAX_AGAIN: usize = 1 << 18;

/// Parses one file of `sources`.
///
/// # Errors
/// All syntax errors (`E0101`) and exceeded limits (`E0501`) of the file, up to a maximum number.
pub fn parse(sources: &SourceMap, file: FileId) -> Result<File, Vec<Diagnostic>> {
    recover(sources, file, &Stop::default(), &mut Kept::default()).complete()
}

/// As [`parse`]; also gives the tree of a text with errors, without the lines that are in error. Brackets that are not
/// closed are closed where their item ends. The rest of a text is not read when `stop` is due, nor what is in `kept`.
pub fn recover(sources: &SourceMap, file: FileId, stop: &Stop, kept: &mut Kept) -> Attempt<File> {
    let text = &sources.file(file).text;
    let scan = scan::scan(file, text);
    let mut builder = Builder::new(file, kept);
    let items = pieces::parse_items(&scan, &mut builder, stop);
    let mut errors = scan.errors;
    errors.append(&mut builder.errors);
    Attempt { made: File { items, span: Span::new(file, 0..text.len()) }, errors }
}

/// The tokens and rules of one item.
pub(super) fn pairs(text: &str) -> Result<Pair<'_, Rule>, Box<pest::error::Error<Rule>>> {
    // Process-wide in pest, but every caller sets the same value.
    pest::set_call_limit(Some(CALL_LIMIT));
    let mut pairs = Grammar::parse(Rule::item, text).map_err(Box::new)?;
    Ok(pairs.next().expect("`item` gives one pair"))
}

/// Whether a model, a block or a variant may have this name.
pub fn is_item_name(word: &str) -> bool {
    is_name(Rule::name, word)
}

/// Whether a parameter, a constant or a value may have this name.
pub fn is_variable_name(word: &str) -> bool {
    is_name(Rule::variable_name, word)
}

/// Whether a word has a meaning of its own.
pub fn is_keyword(word: &str) -> bool {
    is_name(Rule::word, word) && !is_item_name(word)
}

/// Whether a word is what one of the rules for names takes; if not, it is reserved there.
pub(super) fn is_name(rule: Rule, word: &str) -> bool {
    Grammar::parse(rule, word).is_ok_and(|pairs| pairs.as_str() == word)
}

/// Builds nodes from pairs. What the grammar guarantees is taken for granted; what it cannot say (the size of
/// numbers, the depth of trees) is checked, reported in `errors`, and replaced by a placeholder.
struct Builder<'k> {
    file: FileId,
    kept: &'k mut Kept,
    /// What is read. Brackets that it does not close have no place behind it.
    piece: Piece,
    /// Bytes that the grammar was given.
    read: usize,
    /// Bytes that it may be given again.
    again: usize,
    /// The rest of the file is not read.
    given_up: bool,
    /// `else if` nests in the tree without a bracket; so many are open around the current body.
    else_ifs: usize,
    errors: Vec<Diagnostic>,
}

/// The pairs inside a pair, without punctuation and keywords.
type Parts<'i> = Peekable<Box<dyn Iterator<Item = Pair<'i, Rule>> + 'i>>;

fn parts(pair: Pair<'_, Rule>) -> Parts<'_> {
    let parts: Box<dyn Iterator<Item = _>> = Box::new(pair.into_inner().filter(|part| !is_fixed(part.as_rule())));
    parts.peekable()
}

/// Whether a token says nothing that its surrounding rule does not say. (`aux` does, and which branches are joined.)
#[rustfmt::skip]
fn is_fixed(rule: Rule) -> bool {
    use Rule::*;
    matches!(
        rule,
        kw_use | kw_const | kw_model | kw_input | kw_defaults | kw_block | kw_net | kw_variant | kw_rename
        | kw_allow | kw_seq | kw_residual | kw_project | kw_grow | kw_gate | kw_for | kw_in | kw_if | kw_else
        | kw_from | kw_output | kw_as | kw_x | kw_then
        | lparen | rparen | lbracket | rbracket | lbrace | rbrace
        | comma | colon | equals | pipe | arrow | dots | EOI
    )
}

/// The next part, which the grammar guarantees.
fn next<'i>(parts: &mut Parts<'i>) -> Pair<'i, Rule> {
    parts.next().expect("the grammar guarantees this part")
}

fn next_if<'i>(parts: &mut Parts<'i>, rule: Rule) -> Option<Pair<'i, Rule>> {
    parts.next_if(|part| part.as_rule() == rule)
}

// Items.
impl<'k> Builder<'k> {
    fn new(file: FileId, kept: &'k mut Kept) -> Self {
        let piece = Piece { text: String::new(), head: 0, range: 0..0 };
        Builder { file, kept, piece, read: 0, again: MAX_AGAIN, given_up: false, else_ifs: 0, errors: Vec::new() }
    }

    fn is_done(&self) -> bool {
        self.given_up || self.errors.len() >= MAX_ERRORS
    }

    fn item(&mut self, pair: Pair<Rule>) -> Item {
        let pair = next(&mut parts(pair));
        let span = self.span(&pair);
        let rule = pair.as_rule();
        let mut parts = parts(pair);
        let kind = match rule {
            Rule::use_item => self.use_item(&mut parts),
            Rule::const_item => ItemKind::Const(self.constant(&mut parts)),
            Rule::model_item => ItemKind::Model { name: self.ident(next(&mut parts)), params: self.params(&mut parts) },
            Rule::input_item => self.input(&mut parts),
            Rule::defaults_item => {
                ItemKind::Defaults { layer: self.ident(next(&mut parts)), args: self.args(next(&mut parts)) }
            }
            Rule::block_item => ItemKind::Block(Block {
                name: self.ident(next(&mut parts)),
                params: self.params(&mut parts),
                body: self.body(next(&mut parts)),
            }),
            Rule::net_item => ItemKind::Net(self.body(next(&mut parts))),
            Rule::variant_item => self.variant(&mut parts),
            Rule::rename_item => {
                ItemKind::Rename { from: self.ident(next(&mut parts)), to: self.ident(next(&mut parts)) }
            }
            Rule::allow_item => ItemKind::Allow(parts.map(|name| self.ident(name)).collect()),
            rule => unreachable!("{rule:?} is no item"),
        };
        Item { kind, span }
    }

    fn use_item(&self, parts: &mut Parts) -> ItemKind {
        let string = next(parts);
        ItemKind::Use { path: unquote(string.as_str()), path_span: self.span(&string) }
    }

    fn constant(&mut self, parts: &mut Parts) -> Const {
        Const { name: self.ident(next(parts)), value: self.expr(next(parts), 0) }
    }

    fn input(&mut self, parts: &mut Parts) -> ItemKind {
        let name = self.ident(next(parts));
        let dtype = self.ident(next(parts));
        let dims = self::parts(next(parts)).map(|size| self.size(size)).collect();
        ItemKind::Input { name, dtype, dims }
    }

    fn size(&mut self, pair: Pair<Rule>) -> Size {
        let mut parts = parts(pair);
        let name = next_if(&mut parts, Rule::variable_name).map(|name| self.ident(name));
        Size { name, value: self.expr(next(&mut parts), 0) }
    }

    fn variant(&mut self, parts: &mut Parts) -> ItemKind {
        let name = self.ident(next(parts));
        let model = self.ident(next(parts));
        let args = parts.next().map_or_else(Vec::new, |args| self.args(args));
        ItemKind::Variant { name, model, args }
    }

    fn params(&mut self, parts: &mut Parts) -> Vec<Param> {
        let Some(params) = next_if(parts, Rule::params) else { return Vec::new() };
        self::parts(params).map(|param| self.param(param)).collect()
    }

    fn param(&mut self, pair: Pair<Rule>) -> Param {
        let mut parts = parts(pair);
        Param { name: self.ident(next(&mut parts)), default: parts.next().map(|value| self.expr(value, 0)) }
    }
}

// Bodies and steps.
impl Builder<'_> {
    fn body(&mut self, pair: Pair<Rule>) -> Body {
        let span = self.span(&pair);
        Body { lines: parts(pair).map(|line| self.line(line)).collect(), span }
    }

    fn line(&mut self, pair: Pair<Rule>) -> Line {
        let span = self.span(&pair);
        Line { steps: parts(pair).map(|step| self.step(step)).collect(), span }
    }

    /// `aux` stands in front of a whole step, label included.
    fn step(&mut self, pair: Pair<Rule>) -> Step {
        let whole = self.span(&pair);
        let mut parts = parts(pair);
        let aux = next_if(&mut parts, Rule::kw_aux).is_some();
        let start = parts.peek().map_or(whole.start, |part| self.span(part).start);
        let label = next_if(&mut parts, Rule::label).map(|label| self.label(label));
        let kind = self.kind(next(&mut parts));
        let alias = parts.next().map(|alias| self.ident(next(&mut self::parts(alias))));
        let step = Step { label, kind, alias, span: Span { start, ..whole } };
        if aux { Step { label: None, kind: StepKind::Aux(Box::new(step)), alias: None, span: whole } } else { step }
    }

    fn label(&mut self, pair: Pair<Rule>) -> Label {
        let span = self.span(&pair);
        let parts = parts(pair)
            .map(|part| match part.as_rule() {
                Rule::label_text => LabelPart::Text(part.as_str().to_string()),
                _ => LabelPart::Expr(self.expr(next(&mut self::parts(part)), 0)),
            })
            .collect();
        // Without the colon.
        Label { parts, span: Span { end: span.end - 1, ..span } }
    }

    fn tap(&mut self, pair: Pair<Rule>) -> Label {
        let span = self.span(&pair);
        let mut joined: Vec<LabelPart> = Vec::new();
        for part in parts(pair) {
            let text = part.as_str();
            match (joined.last_mut(), part.as_rule()) {
                (_, Rule::interpolation) => joined.push(LabelPart::Expr(self.expr(next(&mut self::parts(part)), 0))),
                (Some(LabelPart::Text(before)), _) => before.push_str(text),
                _ => joined.push(LabelPart::Text(text.to_string())),
            }
        }
        Label { parts: joined, span }
    }

    fn kind(&mut self, pair: Pair<Rule>) -> StepKind {
        let rule = pair.as_rule();
        if rule == Rule::call {
            return StepKind::Call(self.call(pair));
        }
        let mut parts = parts(pair);
        match rule {
            Rule::seq_step => StepKind::Seq(self.body(next(&mut parts))),
            Rule::group_step => StepKind::Group(self.body(next(&mut parts))),
            Rule::branches_step => StepKind::Branches(join(next(&mut parts).as_str()), self.body(next(&mut parts))),
            Rule::grow_step => StepKind::Grow(self.body(next(&mut parts))),
            Rule::gate_step => StepKind::Gate(self.body(next(&mut parts))),
            Rule::residual_step => self.residual(&mut parts),
            Rule::for_step => self.for_step(&mut parts),
            Rule::if_step => self.if_step(parts),
            Rule::from_step => StepKind::From(self.tap(next(&mut parts))),
            Rule::output_step => StepKind::Output(self.ident(next(&mut parts))),
            Rule::const_item => StepKind::Const(self.constant(&mut parts)),
            Rule::repeat_step => {
                StepKind::Repeat { count: self.expr(next(&mut parts), 0), call: self.call(next(&mut parts)) }
            }
            rule => unreachable!("{rule:?} is no step"),
        }
    }

    fn residual(&mut self, parts: &mut Parts) -> StepKind {
        let cond = next_if(parts, Rule::condition).map(|condition| self.condition(condition));
        let body = self.body(next(parts));
        let project = parts.next().map(|project| {
            let mut parts = self::parts(project);
            let cond = next_if(&mut parts, Rule::condition).map(|condition| self.condition(condition));
            Project { cond, body: self.body(next(&mut parts)) }
        });
        StepKind::Residual { cond, body, project }
    }

    fn condition(&mut self, pair: Pair<Rule>) -> Expr {
        self.expr(next(&mut parts(pair)), 0)
    }

    fn for_step(&mut self, parts: &mut Parts) -> StepKind {
        let names = std::iter::from_fn(|| next_if(parts, Rule::variable_name)).map(|name| self.ident(name)).collect();
        StepKind::For { names, iter: self.expr(next(parts), 0), body: self.body(next(parts)) }
    }

    /// The parts are those of an `if` or `else if` and all that follows it.
    fn if_step(&mut self, mut parts: Parts) -> StepKind {
        let cond = self.condition(next(&mut parts));
        let then = self.body(next(&mut parts));
        let otherwise = parts.next().map(|part| match part.as_rule() {
            Rule::else_if => self.else_if(part, parts),
            _ => self.body(part),
        });
        StepKind::If { cond, then, otherwise }
    }

    /// An `else` body that holds one `if` step, made of `pair` and the branches after it.
    fn else_if<'i>(&mut self, pair: Pair<'i, Rule>, rest: Parts<'i>) -> Body {
        let whole = self.span(&pair);
        if self.else_ifs == MAX_NESTING {
            let message = format!("more than {MAX_NESTING} `else if` belong to one `if`");
            self.errors.push(Diagnostic::error("E0501", message).at(whole, "one too many"));
            return Body { lines: Vec::new(), span: whole };
        }
        self.else_ifs += 1;
        let branches = parts(pair).chain(rest);
        let kind = self.if_step((Box::new(branches) as Box<dyn Iterator<Item = _>>).peekable());
        self.else_ifs -= 1;
        let StepKind::If { cond, then, otherwise } = &kind else { unreachable!("made by `if_step`") };
        let span = cond.span.to(otherwise.as_ref().unwrap_or(then).span);
        let step = Step { label: None, kind, alias: None, span };
        Body { lines: vec![Line { steps: vec![step], span }], span }
    }

    fn call(&mut self, pair: Pair<Rule>) -> Call {
        let span = self.span(&pair);
        let mut parts = parts(pair);
        let name = self.ident(next(&mut parts));
        let args = parts.next();
        let parens = args.as_ref().is_some_and(|args| args.as_rule() == Rule::paren_args);
        Call { name, args: args.map_or_else(Vec::new, |args| self.args(args)), parens, span }
    }

    fn args(&mut self, pair: Pair<Rule>) -> Vec<Arg> {
        parts(pair).map(|arg| self.arg(arg)).collect()
    }

    fn arg(&mut self, pair: Pair<Rule>) -> Arg {
        let span = self.span(&pair);
        let value = next(&mut parts(pair));
        if value.as_rule() != Rule::named {
            return Arg { name: None, value: self.expr(value, 0), span };
        }
        let mut named = parts(value);
        Arg { name: Some(self.ident(next(&mut named))), value: self.expr(next(&mut named), 0), span }
    }
}

impl Builder<'_> {
    fn ident(&self, pair: Pair<Rule>) -> Ident {
        Ident { text: pair.as_str().to_string(), span: self.span(&pair) }
    }

    /// A rule's span may hold blanks at its end, where an optional part could have followed.
    fn span(&self, pair: &Pair<Rule>) -> Span {
        let start = pair.as_span().start();
        let end = start + pair.as_str().trim_end().len();
        Span::new(self.file, self.piece.place(start)..self.piece.place(end))
    }
}

fn unquote(string: &str) -> String {
    string[1..string.len() - 1].to_string()
}

fn has_comma(pair: &Pair<Rule>) -> bool {
    pair.clone().into_inner().any(|part| part.as_rule() == Rule::comma)
}

fn join(keyword: &str) -> Join {
    Join::ALL.into_iter().find(|join| join.keyword() == keyword).expect("the grammar guarantees one of them")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnostic::render;

    fn source(text: &str) -> (SourceMap, FileId) {
        let mut sources = SourceMap::default();
        let file = sources.add("t.cnn", text);
        (sources, file)
    }

    fn parsed(text: &str) -> Result<File, String> {
        let (sources, file) = source(text);
        parse(&sources, file).map_err(|errors| render(&errors, &sources, false))
    }

    fn steps(text: &str) -> Vec<Step> {
        let file = parsed(&format!("net {{\n{text}\n}}")).unwrap_or_else(|errors| panic!("{errors}"));
        let ItemKind::Net(body) = file.items.into_iter().next().unwrap().kind else { panic!("not a net") };
        body.lines.into_iter().flat_map(|line| line.steps).collect()
    }

    fn arg(text: &str) -> Arg {
        let StepKind::Call(mut call) = steps(&format!("f {text}")).remove(0).kind else { panic!("not a call") };
        assert_eq!(call.args.len(), 1);
        call.args.remove(0)
    }

    /// An expression with all parentheses.
    fn shape(expr: &Expr) -> String {
        let all = |list: &[Expr]| list.iter().map(shape).collect::<Vec<_>>();
        match &expr.kind {
            ExprKind::Int(value) => value.to_string(),
            ExprKind::Name(name) => name.clone(),
            ExprKind::Field(of, field) => format!("{}.{}", shape(of), field.text),
            ExprKind::Index(of, index) => format!("{}[{}]", shape(of), shape(index)),
            ExprKind::List(list) => format!("[{}]", all(list).join(", ")),
            ExprKind::Then(list) => format!("({})", all(list).join(" then ")),
            ExprKind::Unary(op, operand) => format!("({op:?} {})", shape(operand)),
            ExprKind::Binary(op, left, right) => format!("({} {op:?} {})", shape(left), shape(right)),
            ExprKind::Range(start, end) => format!("({} .. {})", shape(start), shape(end)),
            ExprKind::Cond { cond, then, otherwise } => {
                format!("({} if {} else {})", shape(then), shape(cond), shape(otherwise))
            }
            kind => format!("{kind:?}"),
        }
    }

    #[test]
    fn operators_bind_as_the_reference_says() {
        for (text, expected) in [
            ("a - b - c", "((a Sub b) Sub c)"),
            ("a + b * -c // d", "(a Add ((b Mul (Neg c)) FloorDiv d))"),
            ("-a[0].b", "(Neg a[0].b)"),
            ("1..n - 1", "(1 .. (n Sub 1))"),
            ("not a == b and c or d", "(((Not (a Eq b)) And c) Or d)"),
            ("a if b else c if d else e", "(a if b else (c if d else e))"),
            ("1 if a or b else 2 then 3", "((1 if (a Or b) else 2) then 3)"),
            ("(1 then 2)", "(1 then 2)"),
            ("(a + b) * c", "((a Add b) Mul c)"),
            ("(1,)", "[1]"),
            ("in.c / 2", "(in.c Div 2)"),
        ] {
            assert_eq!(shape(&arg(text).value), expected, "{text}");
        }
    }

    #[test]
    fn a_word_before_a_value_names_it() {
        for (text, name, value) in [
            ("stride 2 then 1", Some("stride"), "(2 then 1)"),
            ("pad (0, 1)", Some("pad"), "[0, 1]"),
            ("groups in.c", Some("groups"), "in.c"),
            ("act = none", Some("act"), "none"),
            ("input = -1", Some("input"), "(Neg 1)"),
            ("half", None, "half"),
            ("a - 1", None, "(a Sub 1)"),
            ("a == 1", None, "(a Eq 1)"),
            ("not a", None, "(Not a)"),
            ("a if b else c", None, "(a if b else c)"),
        ] {
            let arg = arg(text);
            assert_eq!(
                (arg.name.as_ref().map(|n| n.text.as_str()), shape(&arg.value).as_str()),
                (name, value),
                "{text}"
            );
        }
    }

    #[test]
    fn sizes_and_numbers_are_told_apart() {
        assert_eq!(arg("3x3").value.kind, ExprKind::Dims(vec![3, 3]));
        assert_eq!(arg("1x7x1").value.kind, ExprKind::Dims(vec![1, 7, 1]));
        assert_eq!(arg("1e-3").value.kind, ExprKind::Float(1e-3));
        assert_eq!(arg("0.5").value.kind, ExprKind::Float(0.5));
        assert_eq!(shape(&arg("1..2").value), "(1 .. 2)");
    }

    #[test]
    fn lines_end_where_they_should() {
        let lines = |text: &str| {
            let file = parsed(&format!("net {{{text}}}")).unwrap_or_else(|errors| panic!("{errors}"));
            let ItemKind::Net(body) = &file.items[0].kind else { panic!("not a net") };
            body.lines.iter().map(|line| line.steps.len()).collect::<Vec<_>>()
        };
        assert_eq!(lines("a | b\n c"), [2, 1]);
        assert_eq!(lines("\r\n a # x\r\n\r\n # y\r\n | b\r\n c\r\n"), [2, 1]);
        assert_eq!(lines("a(1,\n 2\n) | b\n\n c 1,\n 2"), [2, 1]);
        assert_eq!(lines(" seq { a | b\n c } | d"), [2]);
        assert!(lines("\n\n").is_empty());
    }

    #[test]
    fn labels_aliases_and_combinators() {
        let steps = steps(
            "block: seq { a } as p\n layer{i + 1}_{j}: n[0] x B(64, 2 then 1)\n aux aux1: Head\n 0: relu\n\
             _stem: relu\n\
             residual if c { a } project { b }\n if a {} else if b {} else { c }\n\
             for (k, c) in t { a } | from p | output q",
        );
        assert_eq!(steps[0].label.as_ref().unwrap().parts, [LabelPart::Text("block".into())]);
        assert_eq!(steps[0].alias.as_ref().unwrap().text, "p");
        assert_eq!(steps[1].label.as_ref().unwrap().parts.len(), 4);
        assert!(matches!(&steps[1].kind, StepKind::Repeat { call, .. } if call.parens && call.args.len() == 2));
        assert!(matches!(&steps[2].kind, StepKind::Aux(inner) if inner.label.is_some()));
        assert!(matches!(&steps[5].kind, StepKind::Residual { cond: Some(_), project: Some(_), .. }));
        let StepKind::If { otherwise: Some(body), .. } = &steps[6].kind else { panic!("no else") };
        assert!(matches!(&body.lines[0].steps[0].kind, StepKind::If { otherwise: Some(_), .. }));
        assert!(matches!(&steps[7].kind, StepKind::For { names, .. } if names.len() == 2));
    }

    #[test]
    fn spans_cover_what_was_written() {
        let text = "\u{feff}# ж\nnet {\n  aux a: conv 3x3,  c + 1   as p  # x\n}\n";
        let (sources, file) = source(text);
        let tree = parse(&sources, file).unwrap();
        let ItemKind::Net(body) = &tree.items[0].kind else { panic!("not a net") };
        let step = &body.lines[0].steps[0];
        assert_eq!(sources.slice(step.span), "aux a: conv 3x3,  c + 1   as p");
        let StepKind::Aux(inner) = &step.kind else { panic!("no aux") };
        assert_eq!(sources.slice(inner.span), "a: conv 3x3,  c + 1   as p");
        assert_eq!(sources.slice(inner.label.as_ref().unwrap().span), "a");
        let StepKind::Call(call) = &inner.kind else { panic!("no call") };
        assert_eq!(sources.slice(call.span), "conv 3x3,  c + 1");
        assert_eq!(sources.slice(call.args[1].value.span), "c + 1");
    }

    #[test]
    fn every_error_is_reported_at_its_place_with_a_way_out() {
        let errors = parsed(
            "net {\n  conv 3x3 $ | relu\n  bn |\n  relu\n  conv : relu\n  if a { relu }\n  else { relu }\n}\n\
             variant r50 resnet(1)\nconst x = 3\nnet { conv 3 x 3 }\nblok A { relu }\n\
             input i f32[N]\ndefaults conv 99999999999999999999\nrename a a.1\nnet { if a < b < c { relu } }\n",
        )
        .unwrap_err();
        insta::assert_snapshot!(errors);
    }

    #[test]
    fn unmatched_brackets_are_shown_with_their_partner() {
        let errors = parsed(
            "block A(c {\n  relu\n}\nblock B {\n  seq { f(1, 2 }\n  relu\nnet {\n  relu\n}\n}\n\
             use \"abc\nblock C { relu\n",
        )
        .unwrap_err();
        insta::assert_snapshot!(errors);
    }

    #[test]
    fn an_unindented_body_may_begin_lines_with_keywords() {
        let text = "net {\nconst a = 1\nblock: seq { relu }\nf(\nmodel = 1,\ninput 2\n)\n}";
        parsed(text).unwrap_or_else(|errors| panic!("{errors}"));
    }

    /// 1 MiB of each: all must end soon, on the small stack of a test's thread.
    #[test]
    fn hostile_texts_are_refused() {
        let refused = |text: String, unit: &str| {
            let (sources, file) = source(&text);
            let errors = parse(&sources, file).expect_err(unit);
            assert!((1..=2 * MAX_ERRORS).contains(&errors.len()), "{unit}: {} errors", errors.len());
        };
        let fill = |unit: &str| unit.repeat((1 << 20) / unit.len());
        for unit in [
            "1+",
            "not ",
            "-",
            "- (",
            "(",
            "[",
            "{",
            "a[",
            "f(",
            "1 if ",
            "1 if a else ",
            "[0]",
            "1 then ",
            "a.b",
            "a ",
        ] {
            refused(format!("const a = a{}1", fill(unit)), unit);
            refused(format!("net {{\nf a{}1\n}}", fill(unit)), unit);
        }
        for unit in [
            "seq {",
            "aux ",
            "a: ",
            "{a",
            "n x ",
            "if a {} else ",
            "for a in ",
            "| ",
            "f 1, ",
            "\"",
            "}",
            ")",
            "a{",
            "a {",
        ] {
            refused(format!("net {{\n{}\n}}", fill(unit)), unit);
        }
        for unit in ["net {\n", "net $\n", "}\n", "(\n", "net { f(\n", "\0", "ж", "x", "net {}\n$\n", "net {\n$\n}\n"]
        {
            refused(fill(unit), unit);
        }
        for unit in ["\n", "# comment\n", " ", "\r\n", "net {}\n"] {
            parsed(&fill(unit)).expect(unit);
        }
    }

    /// What the grammar is given: at most some times the text, however many mistakes there are, and wherever.
    #[test]
    fn mistakes_cost_no_more_than_their_surroundings() {
        let line = "  a: conv 3x3, 8 | relu\n";
        let wrong = "  conv 3x3 $\n";
        for every in [7, 100, 1000] {
            let lines = (0..4000).map(|at| if at % every == every - 1 { wrong } else { line });
            let text = format!("net {{\n{}}}\n", lines.collect::<String>());
            let (sources, file) = source(&text);
            let scan = scan::scan(file, &sources.file(file).text);
            let mut kept = Kept::default();
            let mut builder = Builder::new(file, &mut kept);
            let items = pieces::parse_items(&scan, &mut builder, &Stop::default());
            assert_eq!(builder.errors.len(), (4000 / every).min(MAX_ERRORS), "{every}");
            assert!(builder.read < 2 * text.len(), "{every}: {} of {}", builder.read, text.len());
            let ItemKind::Net(body) = &items[0].kind else { panic!("not a net") };
            let seen = if every == 1000 { 3996 } else { 50 };
            assert!(body.lines.len() >= seen, "{every}: {}", body.lines.len());
            let last = body.lines.last().unwrap();
            assert_eq!(sources.slice(last.span), line.trim());
        }
    }

    /// One line that holds all of the text.
    #[test]
    fn mistakes_in_a_long_line_are_not_all_looked_for() {
        let text = format!("net {{\n  seq {{\n{}  }}\n}}\n", "    conv 3x3 $\n".repeat(20_000));
        let (sources, file) = source(&text);
        let scan = scan::scan(file, &sources.file(file).text);
        let mut kept = Kept::default();
        let mut builder = Builder::new(file, &mut kept);
        pieces::parse_items(&scan, &mut builder, &Stop::default());
        assert!(!builder.errors.is_empty() && builder.read <= 2 * text.len() + MAX_AGAIN, "{}", builder.read);
    }

    #[test]
    fn reading_stops_when_it_is_told_to() {
        let (sources, file) = source(&format!("net {{\n{}}}\n", "  relu\n".repeat(1000)));
        let stop = Stop::default();
        stop.call();
        let Attempt { made, errors } = recover(&sources, file, &stop, &mut Kept::default());
        let ItemKind::Net(body) = &made.items[0].kind else { panic!("not a net") };
        assert!(body.lines.is_empty() && errors[0].code == "E0510");
    }

    #[test]
    fn limits_are_reached_without_an_overflow() {
        let nested = |open: &str, close: &str, n: usize| format!("{}1{}", open.repeat(n), close.repeat(n));
        parsed(&format!("const a = {}", nested("(", ")", MAX_NESTING))).unwrap();
        parsed(&format!("const a = {}", nested("f([", "])", MAX_NESTING / 2))).unwrap();
        parsed(&format!("const a = {}", nested("(", ")", MAX_NESTING + 1))).unwrap_err();
        parsed(&nested("net {\n", "}\n", 1).replace('1', &"seq {\n".repeat(63)).replace("}\n", &"}\n".repeat(64)))
            .unwrap();
        parsed(&format!("const a = {}", nested("-(", ")", MAX_NESTING))).unwrap();
        let sum = "1+".repeat(MAX_OPERATORS / 2);
        parsed(&format!("const a = {sum}1")).unwrap();
        parsed(&format!("const a = [{}]", format!("{sum}1,").repeat(100))).unwrap();
        parsed(&format!("const a = {sum}({sum}1)")).unwrap_err();
        let chain = |n: usize| format!("net {{\nif a {{}}{}\n}}", " else if a {}".repeat(n));
        parsed(&chain(MAX_NESTING)).unwrap();
        parsed(&chain(MAX_NESTING + 1)).unwrap_err();
    }
}
