//! Properties of parser and formatter over random models: a random tree, printed with random blanks, line breaks
//! and comments, parses to itself, and still does after formatting.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::fmt::Write;
use svertka::diagnostic::render;
use svertka::front::text::syntax::ast::*;
use svertka::front::text::syntax::format::format;
use svertka::front::text::syntax::parser::parse;
use svertka::source::{FileId, SourceMap, Span};

fn source(text: &str) -> (SourceMap, FileId) {
    let mut sources = SourceMap::default();
    let file = sources.add("random.cnn", text);
    (sources, file)
}

fn parsed(text: &str) -> Result<File, TestCaseError> {
    let (sources, file) = source(text);
    parse(&sources, file).map_err(|errors| TestCaseError::fail(format!("{}\n{text}", render(&errors, &sources, false))))
}

fn formatted(text: &str) -> Result<String, TestCaseError> {
    let (sources, file) = source(text);
    format(&sources, file)
        .map_err(|errors| TestCaseError::fail(format!("{}\n{text}", render(&errors, &sources, false))))
}

/// The tree without its spans: the `Debug` form with each `Span { ... }` cut out.
fn without_spans(file: &File) -> String {
    let debug = format!("{file:?}");
    let mut parts = debug.split("Span {");
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |kept, part| kept + part.split_once('}').map_or("", |(_, rest)| rest))
}

/// Characters of the language, and a few of its words.
const ANY_TEXT: &str = "([a-zA-Z0-9_x .,:|=#\"(){}\\[\\]\n*+-]|net \\{|block A\\(|if | as | x )*";

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, rng_seed: RngSeed::Fixed(1), ..ProptestConfig::default() })]

    #[test]
    fn printing_parsing_and_formatting_agree(items in prop::collection::vec(item(), 0..5), noise: u64) {
        let span = Span::new(source("").1, 0..0);
        let tree = File { items, span };
        let text = Printer::print(&tree, noise);
        let read = parsed(&text)?;
        prop_assert_eq!(without_spans(&read), without_spans(&tree), "\n{}", text);

        let once = formatted(&text)?;
        prop_assert_eq!(without_spans(&parsed(&once)?), without_spans(&tree), "\n{}\n{}", text, once);
        prop_assert_eq!(&formatted(&once)?, &once, "\n{}", text);
        prop_assert_eq!(once.matches('#').count(), text.matches('#').count(), "a comment got lost\n{}\n{}", text, once);
    }

    #[test]
    fn any_text_gives_a_tree_or_errors(text in ANY_TEXT) {
        let (sources, file) = source(&text);
        if let Err(errors) = parse(&sources, file) {
            prop_assert!(!errors.is_empty());
            render(&errors, &sources, false);
        }
    }
}

// ---- Random trees ----------------------------------------------------------------------------------------------

fn no_span() -> Span {
    Span::new(source("").1, 0..0)
}

/// A word that may be a name.
fn name() -> impl Strategy<Value = Ident> {
    prop_oneof!["[a-zA-Z_][a-zA-Z0-9_]{0,5}", "(conv|bias|input_|netx|x1|in_)"]
        .prop_filter("reserved", |word| !RESERVED.contains(&word.as_str()))
        .prop_map(|text| Ident { text, span: no_span() })
}

const RESERVED: [&str; 33] = [
    "x", "then", "as", "if", "else", "in", "and", "or", "not", "true", "false", "use", "const", "model", "input",
    "defaults", "block", "net", "variant", "rename", "allow", "seq", "residual", "project", "concat", "add", "mul",
    "grow", "gate", "for", "from", "aux", "output",
];

/// The name of an input, an output or a value: any word.
fn word() -> impl Strategy<Value = Ident> {
    prop_oneof![4 => name(), 1 => prop::sample::select(&RESERVED[..]).prop_map(|word| Ident {
        text: word.to_string(),
        span: no_span(),
    })]
}

/// The name of a parameter, constant or loop variable.
fn variable() -> impl Strategy<Value = Ident> {
    param_name().prop_filter("stands in front of a step", |name| name.text != "aux")
}

/// The name of a layer's parameter: also most reserved words.
fn param_name() -> impl Strategy<Value = Ident> {
    prop_oneof![4 => name(), 1 => prop::sample::select(&RESERVED[11..]).prop_map(|word| Ident {
        text: word.to_string(),
        span: no_span(),
    })]
}

fn path() -> impl Strategy<Value = Ident> {
    "[a-z0-9_]{1,4}(\\.[a-z0-9_]{1,3}){0,3}".prop_map(|text| Ident { text, span: no_span() })
}

fn expr() -> BoxedStrategy<Expr> {
    let of = |kind: ExprKind| Expr { kind, span: no_span() };
    let leaf = prop_oneof![
        (0..=i64::MAX).prop_map(ExprKind::Int),
        (0..100i64).prop_map(ExprKind::Int),
        (0.0..1e30).prop_map(ExprKind::Float),
        any::<bool>().prop_map(ExprKind::Bool),
        "[a-z |#{(,]{0,5}".prop_map(ExprKind::Str),
        prop::collection::vec(0..100i64, 2..4).prop_map(ExprKind::Dims),
        variable().prop_map(|name| ExprKind::Name(name.text)),
        Just(ExprKind::Name("in".to_string())),
    ];
    let node = move |inner: BoxedStrategy<Expr>| {
        let boxed = || inner.clone().prop_map(Box::new);
        let list = |size| prop::collection::vec(inner.clone(), size);
        prop_oneof![
            (boxed(), name()).prop_map(|(of, field)| ExprKind::Field(of, field)),
            (boxed(), boxed()).prop_map(|(of, index)| ExprKind::Index(of, index)),
            (name(), list(0..3)).prop_map(|(function, args)| ExprKind::Call(function, args)),
            list(0..4).prop_map(ExprKind::List),
            (prop_oneof![Just(UnaryOp::Neg), Just(UnaryOp::Not)], boxed())
                .prop_map(|(op, operand)| ExprKind::Unary(op, operand)),
            (prop::sample::select(&BINARY[..]), boxed(), boxed())
                .prop_map(|((op, ..), left, right)| ExprKind::Binary(op, left, right)),
            (boxed(), boxed(), boxed()).prop_map(|(cond, then, otherwise)| ExprKind::Cond { cond, then, otherwise }),
            list(2..4).prop_map(ExprKind::Then),
            (boxed(), boxed()).prop_map(|(start, end)| ExprKind::Range(start, end)),
        ]
    };
    leaf.prop_map(of).prop_recursive(4, 16, 3, move |inner| node(inner.boxed()).prop_map(of)).boxed()
}

fn arg() -> impl Strategy<Value = Arg> {
    (prop::option::of(param_name()), expr()).prop_map(|(name, value)| Arg { name, value, span: no_span() })
}

fn call() -> impl Strategy<Value = Call> {
    let args = prop::collection::vec(arg(), 0..4);
    (name(), args, any::<bool>()).prop_map(|(name, args, parens)| Call { name, args, parens, span: no_span() })
}

fn label() -> impl Strategy<Value = Label> {
    // Two texts side by side would be one.
    let text = || "[a-z0-9_]{1,4}".prop_map(LabelPart::Text);
    let expr = || expr().prop_map(LabelPart::Expr);
    let parts = prop_oneof![
        prop::sample::select(&RESERVED[..]).prop_map(|word| vec![LabelPart::Text(word.to_string())]),
        text().prop_map(|text| vec![text]),
        (text(), expr()).prop_map(|(text, expr)| vec![text, expr]),
        (expr(), text(), expr()).prop_map(|(first, text, last)| vec![first, text, last]),
    ];
    parts.prop_map(|parts| Label { parts, span: no_span() })
}

/// What `from` takes.
fn tap() -> impl Strategy<Value = Label> {
    let text = |pattern: &'static str| pattern.prop_map(LabelPart::Text);
    let expr = || expr().prop_map(LabelPart::Expr);
    let parts = prop_oneof![
        2 => word().prop_map(|name| vec![LabelPart::Text(name.text)]),
        1 => text("[a-z0-9_]{1,4}(\\.[a-z0-9_]{1,3}){0,3}").prop_map(|text| vec![text]),
        1 => (text("[a-z0-9]{1,3}\\.[a-z]{0,2}"), expr()).prop_map(|(text, last)| vec![text, last]),
        1 => (expr(), text("(\\.[a-z0-9]{1,3}){1,2}")).prop_map(|(first, text)| vec![first, text]),
    ];
    parts.prop_map(|parts| Label { parts, span: no_span() })
}

fn step() -> BoxedStrategy<Step> {
    let plain = prop_oneof![
        4 => call().prop_map(StepKind::Call),
        1 => (expr(), call()).prop_map(|(count, call)| StepKind::Repeat { count, call }),
        1 => tap().prop_map(StepKind::From),
        1 => word().prop_map(StepKind::Output),
        1 => (variable(), expr()).prop_map(|(name, value)| StepKind::Const(Const { name, value })),
    ];
    labelled(plain.boxed())
        .prop_recursive(3, 24, 4, |inner| {
            let body = || body(inner.clone());
            let names = prop::collection::vec(variable(), 1..3);
            let kind = prop_oneof![
                body().prop_map(StepKind::Seq),
                body().prop_map(StepKind::Group),
                (prop::sample::select(&Join::ALL[..]), body()).prop_map(|(join, body)| StepKind::Branches(join, body)),
                body().prop_map(StepKind::Grow),
                body().prop_map(StepKind::Gate),
                (prop::option::of(expr()), body(), prop::option::of((prop::option::of(expr()), body()))).prop_map(
                    |(cond, body, project)| {
                        let project = project.map(|(cond, body)| Project { cond, body });
                        StepKind::Residual { cond, body, project }
                    }
                ),
                (names, expr(), body()).prop_map(|(names, iter, body)| StepKind::For { names, iter, body }),
                (expr(), body(), prop::option::of(prop_oneof![body(), else_if(expr(), body())]))
                    .prop_map(|(cond, then, otherwise)| StepKind::If { cond, then, otherwise }),
            ];
            labelled(kind.boxed())
        })
        .boxed()
}

/// `if` alone in an `else` body.
fn else_if(cond: impl Strategy<Value = Expr>, body: impl Strategy<Value = Body>) -> impl Strategy<Value = Body> {
    (cond, body).prop_map(|(cond, then)| {
        let kind = StepKind::If { cond, then, otherwise: None };
        let step = Step { label: None, kind, alias: None, span: no_span() };
        Body { lines: vec![Line { steps: vec![step], span: no_span() }], span: no_span() }
    })
}

fn labelled(kind: BoxedStrategy<StepKind>) -> BoxedStrategy<Step> {
    (prop::option::of(label()), kind, prop::option::of(word()), prop::bool::weighted(0.1))
        .prop_map(|(label, kind, alias, aux)| {
            let step = Step { label, kind, alias, span: no_span() };
            let wrapped =
                |step| Step { label: None, kind: StepKind::Aux(Box::new(step)), alias: None, span: no_span() };
            if aux { wrapped(step) } else { step }
        })
        .boxed()
}

fn body(step: BoxedStrategy<Step>) -> impl Strategy<Value = Body> {
    let line = prop::collection::vec(step, 1..4).prop_map(|steps| Line { steps, span: no_span() });
    prop::collection::vec(line, 0..4).prop_map(|lines| Body { lines, span: no_span() })
}

fn params() -> impl Strategy<Value = Vec<Param>> {
    let param = (variable(), prop::option::of(expr())).prop_map(|(name, default)| Param { name, default });
    prop::collection::vec(param, 0..3)
}

fn size() -> impl Strategy<Value = Size> {
    (prop::option::of(variable()), expr()).prop_map(|(name, value)| Size { name, value })
}

fn item() -> impl Strategy<Value = Item> {
    let args = |size| prop::collection::vec(arg(), size);
    let kind = prop_oneof![
        "[a-z/.# ]{0,9}".prop_map(|path| ItemKind::Use { path, path_span: no_span() }),
        (variable(), expr()).prop_map(|(name, value)| ItemKind::Const(Const { name, value })),
        (name(), params()).prop_map(|(name, params)| ItemKind::Model { name, params }),
        (word(), name(), prop::collection::vec(size(), 1..4)).prop_map(|(name, dtype, dims)| ItemKind::Input {
            name,
            dtype,
            dims
        }),
        (name(), args(1..3)).prop_map(|(layer, args)| ItemKind::Defaults { layer, args }),
        (name(), params(), body(step())).prop_map(|(name, params, body)| ItemKind::Block(Block { name, params, body })),
        body(step()).prop_map(ItemKind::Net),
        (name(), name(), args(0..3)).prop_map(|(name, model, args)| ItemKind::Variant { name, model, args }),
        (path(), path()).prop_map(|(from, to)| ItemKind::Rename { from, to }),
        prop::collection::vec(name(), 1..4).prop_map(ItemKind::Allow),
    ];
    kind.prop_map(|kind| Item { kind, span: no_span() })
}

const BINARY: [(BinaryOp, &str, u8); 14] = [
    (BinaryOp::Or, "or", 2),
    (BinaryOp::And, "and", 3),
    (BinaryOp::Eq, "==", 5),
    (BinaryOp::Ne, "!=", 5),
    (BinaryOp::Lt, "<", 5),
    (BinaryOp::Le, "<=", 5),
    (BinaryOp::Gt, ">", 5),
    (BinaryOp::Ge, ">=", 5),
    (BinaryOp::Add, "+", 7),
    (BinaryOp::Sub, "-", 7),
    (BinaryOp::Mul, "*", 8),
    (BinaryOp::Div, "/", 8),
    (BinaryOp::FloorDiv, "//", 8),
    (BinaryOp::Rem, "%", 8),
];

// ---- Printing with noise ---------------------------------------------------------------------------------------

/// Prints a tree with random blanks, line breaks and comments wherever the language allows them, and with the
/// parentheses that precedence demands and random others. Levels of precedence: 0 `then`, 1 `if else`, 2 `or`,
/// 3 `and`, 4 `not`, 5 comparison, 6 `..`, 7 sum, 8 product, 9 `-`, 10 postfix.
struct Printer {
    out: String,
    noise: u64,
    /// Open `(` and `[` since the innermost `{`: there a line break means nothing.
    lists: usize,
}

impl Printer {
    fn print(tree: &File, noise: u64) -> String {
        let mut printer = Printer { out: String::new(), noise, lists: 0 };
        for item in &tree.items {
            printer.item(&item.kind);
            printer.line_end();
        }
        printer.out
    }

    /// A random number below `n` (a linear congruential generator, Knuth's MMIX constants).
    fn random(&mut self, n: u64) -> u64 {
        self.noise = self.noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.noise >> 33) % n
    }

    fn put(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// A token that touches neither word before nor behind.
    fn token(&mut self, text: &str) {
        self.space();
        self.put(text);
        self.space();
    }

    fn word(&mut self, text: &str) {
        self.blank();
        self.put(text);
        self.blank();
    }

    fn blank(&mut self) {
        self.put(" ");
        self.space();
    }

    /// Blanks or none; inside a list also line breaks and comments.
    fn space(&mut self) {
        match self.random(8) {
            0 => self.put(" "),
            1 => self.put("\t"),
            2 if self.lists > 0 => self.line_break(),
            _ => {}
        }
    }

    fn line_break(&mut self) {
        match self.random(4) {
            0 => self.put("  # a { comment |\r\n"),
            1 => self.put("\n\n\n  # own line\n"),
            2 => self.put("\r\n"),
            _ => self.put("\n"),
        }
    }

    /// At least one line break.
    fn line_end(&mut self) {
        for _ in 0..=self.random(3) {
            self.line_break();
        }
    }

    /// A line break or none.
    fn free_break(&mut self) {
        if self.random(3) == 0 {
            self.line_break();
        }
    }

    fn list<T>(&mut self, open: &str, items: &[T], close: &str, mut each: impl FnMut(&mut Self, &T)) {
        self.put(open);
        self.lists += 1;
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.token(",");
            }
            self.space();
            each(self, item);
            self.space();
        }
        self.lists -= 1;
        self.put(close);
    }

    fn item(&mut self, kind: &ItemKind) {
        match kind {
            ItemKind::Use { path, .. } => write!(self.out, "use \"{path}\"").unwrap(),
            ItemKind::Const(constant) => self.constant(constant),
            ItemKind::Model { name, params } => {
                self.put("model ");
                self.put(&name.text);
                self.params(params);
            }
            ItemKind::Input { name, dtype, dims } => {
                self.put("input ");
                self.put(&name.text);
                self.token(":");
                self.put(&dtype.text);
                self.list("[", dims, "]", |p, size| {
                    if let Some(name) = &size.name {
                        p.put(&name.text);
                        p.token("=");
                    }
                    p.expr(&size.value, 0);
                });
            }
            ItemKind::Defaults { layer, args } => {
                write!(self.out, "defaults {} ", layer.text).unwrap();
                self.bare_args(args);
            }
            ItemKind::Block(block) => {
                self.put("block ");
                self.put(&block.name.text);
                self.params(&block.params);
                self.body(&block.body);
            }
            ItemKind::Net(body) => {
                self.put("net");
                self.body(body);
            }
            ItemKind::Variant { name, model, args } => {
                write!(self.out, "variant {}", name.text).unwrap();
                self.token("=");
                self.put(&model.text);
                if !args.is_empty() {
                    self.list("(", args, ")", |p, arg| p.arg(arg));
                }
            }
            ItemKind::Rename { from, to } => write!(self.out, "rename {} -> {}", from.text, to.text).unwrap(),
            ItemKind::Allow(lints) => {
                self.put("allow ");
                for (i, lint) in lints.iter().enumerate() {
                    if i > 0 {
                        self.token(",");
                    }
                    self.put(&lint.text);
                }
            }
        }
    }

    fn constant(&mut self, constant: &Const) {
        self.put("const ");
        self.put(&constant.name.text);
        self.token("=");
        self.expr(&constant.value, 0);
    }

    fn params(&mut self, params: &[Param]) {
        if params.is_empty() {
            return;
        }
        self.list("(", params, ")", |p, param| {
            p.put(&param.name.text);
            if let Some(default) = &param.default {
                p.token("=");
                p.expr(default, 0);
            }
        });
    }

    fn body(&mut self, body: &Body) {
        let lists = std::mem::take(&mut self.lists);
        self.space();
        self.put("{");
        self.free_break();
        for (i, line) in body.lines.iter().enumerate() {
            if i > 0 {
                self.line_end();
            }
            for (j, step) in line.steps.iter().enumerate() {
                if j > 0 {
                    self.free_break();
                    self.token("|");
                }
                self.step(step);
            }
        }
        self.free_break();
        self.put("}");
        self.lists = lists;
    }

    fn step(&mut self, step: &Step) {
        if let StepKind::Aux(inner) = &step.kind {
            self.put("aux ");
            return self.step(inner);
        }
        if let Some(label) = &step.label {
            self.label(label);
            self.put(":");
            self.space();
        }
        self.kind(&step.kind);
        if let Some(alias) = &step.alias {
            self.word("as");
            self.put(&alias.text);
        }
    }

    fn label(&mut self, label: &Label) {
        for part in &label.parts {
            match part {
                LabelPart::Text(text) => self.put(text),
                LabelPart::Expr(expr) => {
                    let lists = std::mem::take(&mut self.lists);
                    self.put("{");
                    self.space();
                    self.expr(expr, 0);
                    self.space();
                    self.put("}");
                    self.lists = lists;
                }
            }
        }
    }

    fn kind(&mut self, kind: &StepKind) {
        match kind {
            StepKind::Call(call) => self.call(call),
            StepKind::Repeat { count, call } => {
                self.expr(count, 10);
                self.word("x");
                self.call(call);
            }
            StepKind::Seq(body) => self.block("seq", body),
            StepKind::Group(body) => self.body(body),
            StepKind::Branches(join, body) => self.block(join.keyword(), body),
            StepKind::Grow(body) => self.block("grow", body),
            StepKind::Gate(body) => self.block("gate", body),
            StepKind::Residual { cond, body, project } => {
                self.put("residual");
                if let Some(cond) = cond {
                    self.word("if");
                    self.expr(cond, 0);
                }
                self.body(body);
                if let Some(Project { cond, body }) = project {
                    self.put("project");
                    if let Some(cond) = cond {
                        self.word("if");
                        self.expr(cond, 0);
                    }
                    self.body(body);
                }
            }
            StepKind::For { names, iter, body } => {
                self.put("for ");
                match names.as_slice() {
                    [name] => self.put(&name.text),
                    names => self.list("(", names, ")", |p, name| p.put(&name.text)),
                }
                self.word("in");
                self.expr(iter, 0);
                self.body(body);
            }
            StepKind::If { cond, then, otherwise } => self.if_step(cond, then, otherwise.as_ref()),
            StepKind::From(path) => {
                self.put("from ");
                self.label(path);
            }
            StepKind::Output(name) => write!(self.out, "output {}", name.text).unwrap(),
            StepKind::Const(constant) => self.constant(constant),
            StepKind::Aux(_) => unreachable!("`aux` stands in front of the step"),
        }
    }

    fn block(&mut self, keyword: &str, body: &Body) {
        self.put(keyword);
        self.body(body);
    }

    fn if_step(&mut self, cond: &Expr, then: &Body, otherwise: Option<&Body>) {
        self.put("if ");
        self.expr(cond, 0);
        self.body(then);
        let Some(otherwise) = otherwise else { return };
        self.put("else");
        match otherwise.lines.as_slice() {
            [Line { steps, .. }] => match steps.as_slice() {
                [Step { label: None, alias: None, kind: StepKind::If { cond, then, otherwise }, .. }] => {
                    self.blank();
                    self.if_step(cond, then, otherwise.as_ref());
                }
                _ => self.body(otherwise),
            },
            _ => self.body(otherwise),
        }
    }

    fn call(&mut self, call: &Call) {
        self.put(&call.name.text);
        if call.parens {
            self.list("(", &call.args, ")", |p, arg| p.arg(arg));
        } else if !call.args.is_empty() {
            self.blank();
            self.bare_args(&call.args);
        }
    }

    fn bare_args(&mut self, args: &[Arg]) {
        for (i, arg) in args.iter().enumerate() {
            if i > 0 {
                self.token(",");
                self.free_break();
            }
            self.arg(arg);
        }
    }

    /// A value that begins with `-` needs the `=`.
    fn arg(&mut self, arg: &Arg) {
        let Some(name) = &arg.name else { return self.expr(&arg.value, 0) };
        self.put(&name.text);
        let start = self.out.len();
        self.expr(&arg.value, 0);
        let value = self.out.split_off(start);
        let equals = value.starts_with('-') || self.random(2) == 0;
        if equals {
            self.token("=")
        } else {
            self.blank()
        }
        self.put(&value);
    }

    /// Prints an expression where one of at least `level` is wanted.
    fn expr(&mut self, expr: &Expr, level: u8) {
        if level > precedence(expr) || self.random(10) == 0 {
            self.put("(");
            self.lists += 1;
            self.space();
            self.bare_expr(expr);
            self.space();
            self.lists -= 1;
            self.put(")");
        } else {
            self.bare_expr(expr);
        }
    }

    fn bare_expr(&mut self, expr: &Expr) {
        match &expr.kind {
            ExprKind::Int(value) => write!(self.out, "{value}").unwrap(),
            ExprKind::Float(value) => write!(self.out, "{value:?}").unwrap(),
            ExprKind::Bool(value) => write!(self.out, "{value}").unwrap(),
            ExprKind::Str(text) => write!(self.out, "\"{text}\"").unwrap(),
            ExprKind::Dims(sizes) => {
                let sizes: Vec<String> = sizes.iter().map(i64::to_string).collect();
                self.put(&sizes.join("x"));
            }
            ExprKind::Name(name) => self.put(name),
            ExprKind::Field(of, field) => {
                self.expr(of, 10);
                write!(self.out, ".{}", field.text).unwrap();
            }
            ExprKind::Index(of, index) => {
                self.expr(of, 10);
                self.list("[", &[index], "]", |p, index| p.expr(index, 0));
            }
            ExprKind::Call(function, args) => {
                self.put(&function.text);
                self.list("(", args, ")", |p, arg| p.expr(arg, 0));
            }
            ExprKind::List(items) if items.len() > 1 && self.random(2) == 0 => {
                self.list("(", items, ")", |p, item| p.expr(item, 0));
            }
            ExprKind::List(items) => self.list("[", items, "]", |p, item| p.expr(item, 0)),
            ExprKind::Unary(UnaryOp::Neg, operand) => {
                self.put("-");
                self.space();
                self.expr(operand, 9);
            }
            ExprKind::Unary(UnaryOp::Not, operand) => {
                self.put("not ");
                self.expr(operand, 4);
            }
            ExprKind::Binary(op, left, right) => {
                let (_, text, level) = BINARY.into_iter().find(|(other, ..)| other == op).expect("in the table");
                // Comparisons do not chain: both sides bind tighter.
                self.expr(left, if level == 5 { 6 } else { level });
                self.word(text);
                self.expr(right, level + 1);
            }
            ExprKind::Cond { cond, then, otherwise } => {
                self.expr(then, 2);
                self.word("if");
                self.expr(cond, 2);
                self.word("else");
                self.expr(otherwise, 1);
            }
            ExprKind::Then(values) => {
                for (i, value) in values.iter().enumerate() {
                    if i > 0 {
                        self.word("then");
                    }
                    self.expr(value, 1);
                }
            }
            ExprKind::Range(start, end) => {
                self.expr(start, 7);
                self.token("..");
                self.expr(end, 7);
            }
        }
    }
}

fn precedence(expr: &Expr) -> u8 {
    match &expr.kind {
        ExprKind::Then(_) => 0,
        ExprKind::Cond { .. } => 1,
        ExprKind::Unary(UnaryOp::Not, _) => 4,
        ExprKind::Range(..) => 6,
        ExprKind::Unary(UnaryOp::Neg, _) => 9,
        ExprKind::Binary(op, ..) => {
            BINARY.into_iter().find(|(other, ..)| other == op).map_or(10, |(_, _, level)| level)
        }
        _ => 10,
    }
}
