//! Expressions, from what binds loosest to what binds tightest.

use super::*;

// `depth` counts the operators above.
impl Builder<'_> {
    pub(super) fn expr(&mut self, pair: Pair<Rule>, depth: usize) -> Expr {
        let span = self.span(&pair);
        let text = pair.as_str();
        let kind = match pair.as_rule() {
            Rule::int => ExprKind::Int(self.int(text, span)),
            Rule::float => ExprKind::Float(self.float(text, span)),
            Rule::dims => ExprKind::Dims(text.split('x').map(|size| self.int(size, span)).collect()),
            Rule::boolean => ExprKind::Bool(text == "true"),
            Rule::string => ExprKind::Str(unquote(text)),
            Rule::variable => ExprKind::Name(text.to_string()),
            Rule::function => {
                let mut parts = parts(pair);
                ExprKind::Call(self.ident(next(&mut parts)), self.exprs(next(&mut parts), depth))
            }
            Rule::list => ExprKind::List(self.exprs(pair, depth)),
            Rule::tuple if has_comma(&pair) => ExprKind::List(self.exprs(pair, depth)),
            Rule::tuple => self.expr(next(&mut parts(pair)), depth).kind,
            _ => return self.operation(pair, depth),
        };
        Expr { kind, span }
    }

    fn exprs(&mut self, pair: Pair<Rule>, depth: usize) -> Vec<Expr> {
        parts(pair).map(|part| self.expr(part, depth)).collect()
    }

    /// One level of precedence: operands and the operators between, before or behind them.
    fn operation(&mut self, pair: Pair<Rule>, depth: usize) -> Expr {
        let span = self.span(&pair);
        let rule = pair.as_rule();
        let parts: Vec<Pair<Rule>> = parts(pair).collect();
        let depth = depth + parts.len() - 1;
        if depth > MAX_OPERATORS {
            let message = format!("this expression has more than {MAX_OPERATORS} operators inside each other");
            self.errors.push(Diagnostic::error("E0501", message).at(span, "too deep"));
            return Expr { kind: ExprKind::Int(0), span };
        }
        let single = parts.len() == 1;
        let mut parts = parts.into_iter();
        match rule {
            Rule::negation | Rule::sign => self.prefixed(parts, depth),
            Rule::postfix => self.postfixed(parts, depth),
            Rule::choice => self.choice(parts, depth),
            Rule::expr if !single => Expr { kind: ExprKind::Then(parts.map(|p| self.expr(p, depth)).collect()), span },
            Rule::range if !single => {
                let mut end = || Box::new(self.expr(parts.next().expect("a range has two ends"), depth));
                Expr { kind: ExprKind::Range(end(), end()), span }
            }
            _ => self.binary(parts, depth),
        }
    }

    /// `a + b - c`, from the left.
    fn binary<'i>(&mut self, mut parts: impl Iterator<Item = Pair<'i, Rule>>, depth: usize) -> Expr {
        let mut left = self.expr(parts.next().expect("an operand"), depth);
        while let (Some(op), Some(right)) = (parts.next(), parts.next()) {
            let right = self.expr(right, depth);
            let span = left.span.to(right.span);
            left = Expr { kind: ExprKind::Binary(binary_op(op.as_str()), Box::new(left), Box::new(right)), span };
        }
        left
    }

    /// `- - a`, `not a`: the innermost operator stands last.
    fn prefixed<'i>(&mut self, parts: impl DoubleEndedIterator<Item = Pair<'i, Rule>>, depth: usize) -> Expr {
        let mut parts = parts.rev();
        let operand = self.expr(parts.next().expect("an operand"), depth);
        parts.fold(operand, |operand, op| {
            let span = self.span(&op).to(operand.span);
            let op = if op.as_rule() == Rule::minus { UnaryOp::Neg } else { UnaryOp::Not };
            Expr { kind: ExprKind::Unary(op, Box::new(operand)), span }
        })
    }

    /// `a[0].b`
    fn postfixed<'i>(&mut self, mut parts: impl Iterator<Item = Pair<'i, Rule>>, depth: usize) -> Expr {
        let operand = self.expr(parts.next().expect("an operand"), depth);
        parts.fold(operand, |operand, part| {
            let part_span = self.span(&part);
            let span = operand.span.to(part_span);
            let kind = if part.as_rule() == Rule::field {
                let name = Ident {
                    text: part.as_str()[1..].to_string(),
                    span: Span { start: part_span.start + 1, ..part_span },
                };
                ExprKind::Field(Box::new(operand), name)
            } else {
                ExprKind::Index(Box::new(operand), Box::new(self.expr(next(&mut self::parts(part)), depth)))
            };
            Expr { kind, span }
        })
    }

    /// `a if c else b if d else e`, from the right.
    fn choice<'i>(&mut self, parts: impl DoubleEndedIterator<Item = Pair<'i, Rule>>, depth: usize) -> Expr {
        let mut parts = parts.rev();
        let mut otherwise = self.expr(parts.next().expect("an operand"), depth);
        while let (Some(cond), Some(then)) = (parts.next(), parts.next()) {
            let (cond, then) = (Box::new(self.expr(cond, depth)), Box::new(self.expr(then, depth)));
            let span = then.span.to(otherwise.span);
            otherwise = Expr { kind: ExprKind::Cond { cond, then, otherwise: Box::new(otherwise) }, span };
        }
        otherwise
    }

    fn int(&mut self, text: &str, span: Span) -> i64 {
        text.parse().unwrap_or_else(|_| {
            let message = format!("`{text}` is too large, the largest integer is {}", i64::MAX);
            self.errors.push(Diagnostic::error("E0101", message).at(span, "too large"));
            0
        })
    }

    fn float(&mut self, text: &str, span: Span) -> f64 {
        let value = text.parse().unwrap_or(f64::INFINITY);
        if value.is_infinite() {
            let message = format!("`{text}` is too large, the largest number is {:e}", f64::MAX);
            self.errors.push(Diagnostic::error("E0101", message).at(span, "too large"));
        }
        value
    }
}

fn binary_op(text: &str) -> BinaryOp {
    match text {
        "+" => BinaryOp::Add,
        "-" => BinaryOp::Sub,
        "*" => BinaryOp::Mul,
        "/" => BinaryOp::Div,
        "//" => BinaryOp::FloorDiv,
        "%" => BinaryOp::Rem,
        "==" => BinaryOp::Eq,
        "!=" => BinaryOp::Ne,
        "<" => BinaryOp::Lt,
        "<=" => BinaryOp::Le,
        ">" => BinaryOp::Gt,
        ">=" => BinaryOp::Ge,
        "and" => BinaryOp::And,
        "or" => BinaryOp::Or,
        op => unreachable!("{op} is no operator between two values"),
    }
}
