//! Expressions.

use super::Builder;
use super::functions::{self, Failure};
use super::report::Reported;
use super::scope::Evaluated;
use super::value::{List, MAX_LIST_DEPTH, Value, grouped};
use crate::diagnostic::{Diagnostic, Fix, Help};
use crate::front::text::syntax::ast::{BinaryOp, Expr, ExprKind, Ident, UnaryOp};
use crate::source::Span;
use crate::tensor::TensorType;
use std::cmp::Ordering;
use std::rc::Rc;

impl<'a> Builder<'a> {
    pub fn eval(&mut self, expr: &'a Expr) -> Evaluated {
        self.nested(expr.span, |builder| builder.eval_kind(expr))
    }

    fn eval_kind(&mut self, expr: &'a Expr) -> Evaluated {
        match &expr.kind {
            ExprKind::Int(v) => Ok(Value::Int(*v)),
            ExprKind::Float(v) => Ok(Value::Float(*v)),
            ExprKind::Bool(v) => Ok(Value::Bool(*v)),
            ExprKind::Str(v) => Ok(Value::Str(v.as_str().into())),
            ExprKind::Dims(dims) => Ok(Value::Dims(dims.as_slice().into())),
            ExprKind::Name(name) if name == "in" => self.input_type(expr.span).map(Value::Tensor),
            ExprKind::Name(name) => self.name(name, expr.span),
            ExprKind::Field(base, field) => self.field(base, field),
            ExprKind::Index(base, index) => self.index(base, index),
            ExprKind::Call(name, args) => self.function(name, args, expr.span),
            ExprKind::List(items) => self.list(items, expr.span),
            ExprKind::Unary(op, operand) => self.unary(*op, operand),
            ExprKind::Binary(op @ (BinaryOp::And | BinaryOp::Or), a, b) => self.logical(*op, a, b),
            ExprKind::Binary(op, a, b) => self.binary(*op, a, b, expr.span),
            ExprKind::Cond { cond, then, otherwise } => {
                let branch = if self.condition(cond)? { then } else { otherwise };
                self.eval(branch)
            }
            ExprKind::Then(values) => self.then(values, expr.span),
            ExprKind::Range(from, to) => {
                let (from, to) = (self.integer(from), self.integer(to));
                Ok(Value::Range(from?, to?))
            }
        }
    }

    /// An expression that must be an integer.
    pub fn integer(&mut self, expr: &'a Expr) -> Result<i64, Reported> {
        match self.eval(expr)? {
            Value::Int(v) => Ok(v),
            Value::Float(v) => Err(self.error(not_integer(v, expr.span, self.sources.slice(expr.span)))),
            other => Err(self.wrong_kind("an integer", &other, expr.span)),
        }
    }

    /// An expression that must be true or false.
    pub fn condition(&mut self, expr: &'a Expr) -> Result<bool, Reported> {
        match self.eval(expr)? {
            Value::Bool(v) => Ok(v),
            other => Err(self.wrong_kind("a condition, true or false,", &other, expr.span)),
        }
    }

    pub fn wrong_kind(&mut self, needed: &str, found: &Value, span: Span) -> Reported {
        let message = format!("{needed} is needed here");
        self.error(Diagnostic::error("E0203", message).at(span, format!("this is {}", found.described())))
    }

    fn failure(&mut self, (code, message): Failure, span: Span) -> Reported {
        self.error(Diagnostic::error(code, message).at(span, ""))
    }

    /// The type of `in`.
    fn input_type(&mut self, span: Span) -> Result<TensorType, Reported> {
        match self.frames.last().map(|f| f.input) {
            Some(input) => Ok(self.graph[input?].ty.clone()),
            None => {
                let error = Diagnostic::error("E0201", "`in` is known only inside of blocks and the net");
                Err(self.error(error.at(span, "there is no input here")))
            }
        }
    }

    fn field(&mut self, base: &'a Expr, field: &Ident) -> Evaluated {
        let ty = match self.eval(base)? {
            Value::Tensor(ty) => ty,
            other => {
                let error = Diagnostic::error("E0207", format!("{} has no fields", other.described()));
                return Err(self.error(error.at(field.span, "only `in` has fields: c, h, w, l, rank")));
            }
        };
        let size = match (field.text.as_str(), ty.spatial()) {
            ("c", _) => ty.channels(),
            ("rank", spatial) => spatial.len(),
            ("l", [l]) => *l,
            ("h", [h, _] | [_, h, _]) => *h,
            ("w", [_, w] | [_, _, w]) => *w,
            ("d", [d, _, _]) => *d,
            (name @ ("l" | "h" | "w" | "d"), spatial) => {
                let message = format!("`in.{name}` does not exist for an input with {} spatial sizes", spatial.len());
                return Err(self.error(Diagnostic::error("E0207", message).at(field.span, format!("`in` is {ty}"))));
            }
            (name, _) => {
                let error = Diagnostic::error("E0207", format!("`in` has no field `{name}`"));
                let help =
                    "the fields are c (channels), h and w (or l in 1-D, d in 3-D), and rank (spatial dimensions)";
                return Err(self.error(error.at(field.span, "unknown field").help(help)));
            }
        };
        // Sizes of values in the graph are below MAX_ELEMENTS.
        Ok(Value::Int(size as i64))
    }

    fn index(&mut self, base: &'a Expr, index: &'a Expr) -> Evaluated {
        let (list, at) = (self.eval(base), self.integer(index));
        let (list, at) = (list?, at?);
        let (len, item) = match &list {
            Value::List(list) => (list.items.len(), usize::try_from(at).ok().and_then(|i| list.items.get(i).cloned())),
            Value::Dims(dims) => {
                (dims.len(), usize::try_from(at).ok().and_then(|i| dims.get(i)).map(|&v| Value::Int(v)))
            }
            other => return Err(self.wrong_kind("a list", other, base.span)),
        };
        item.ok_or_else(|| {
            let range = match len {
                0 => "the list is empty".to_string(),
                1 => "it has one item, with index 0".to_string(),
                n => format!("it has {n} items, with indices 0 to {}", n - 1),
            };
            let error = Diagnostic::error("E0205", format!("index {at} is outside of the list"));
            self.error(error.at(index.span, format!("this is {at}")).at(base.span, range))
        })
    }

    fn function(&mut self, name: &Ident, args: &'a [Expr], span: Span) -> Evaluated {
        let values: Vec<Evaluated> = args.iter().map(|arg| self.eval(arg)).collect();
        let Some(function) = functions::find(&name.text) else {
            let known = || functions::FUNCTIONS.iter().map(|f| f.name);
            let error = Diagnostic::error("E0206", format!("unknown function `{}`", name.text))
                .at(name.span, "there is no such function")
                .did_you_mean(&name.text, name.span, known());
            let list = format!("the functions are {}", known().collect::<Vec<_>>().join(", "));
            return Err(self.error(if error.help.is_empty() { error.help(list) } else { error }));
        };
        let values = values.into_iter().collect::<Result<Vec<_>, _>>()?;
        if values.len() < function.arity.0 || values.len() > function.arity.1 {
            let message = format!("`{}` does not take {} arguments", name.text, values.len());
            let error = Diagnostic::error("E0206", message).at(span, "");
            return Err(self.error(error.help(format!("write {}: {}", function.usage, function.doc))));
        }
        for value in &values {
            self.charge_items(value, span)?;
        }
        (function.apply)(&values).map_err(|failure| self.failure(failure, span))
    }

    fn list(&mut self, items: &'a [Expr], span: Span) -> Evaluated {
        if items.len() > self.limits.list {
            let message =
                format!("a list of {} items; the limit is {}", items.len(), grouped(self.limits.list as u128));
            return Err(self.error(Diagnostic::error("E0506", message).at(span, "")));
        }
        let values: Vec<Evaluated> = items.iter().map(|item| self.eval(item)).collect();
        let values = values.into_iter().collect::<Result<Vec<_>, _>>()?;
        List::new(values).map(|list| Value::List(Rc::new(list))).ok_or_else(|| {
            let message = format!("lists are nested more than {MAX_LIST_DEPTH} deep");
            self.error(Diagnostic::error("E0505", message).at(span, ""))
        })
    }

    fn unary(&mut self, op: UnaryOp, operand: &'a Expr) -> Evaluated {
        match (op, self.eval(operand)?) {
            (UnaryOp::Not, Value::Bool(v)) => Ok(Value::Bool(!v)),
            (UnaryOp::Not, other) => Err(self.wrong_kind("a condition, true or false,", &other, operand.span)),
            (UnaryOp::Neg, Value::Float(v)) => Ok(Value::Float(-v)),
            (UnaryOp::Neg, Value::Int(v)) => {
                v.checked_neg().map(Value::Int).ok_or_else(|| self.failure(functions::overflow(), operand.span))
            }
            (UnaryOp::Neg, other) => Err(self.wrong_kind("a number", &other, operand.span)),
        }
    }

    fn logical(&mut self, op: BinaryOp, a: &'a Expr, b: &'a Expr) -> Evaluated {
        let first = self.condition(a)?;
        let decided = first == (op == BinaryOp::Or);
        Ok(Value::Bool(if decided { first } else { self.condition(b)? }))
    }

    fn binary(&mut self, op: BinaryOp, a: &'a Expr, b: &'a Expr, span: Span) -> Evaluated {
        let (left, right) = (self.eval(a), self.eval(b));
        let (left, right) = (left?, right?);
        if matches!(op, BinaryOp::Eq | BinaryOp::Ne)
            && let Some(equal) = equal(&left, &right)
        {
            return Ok(Value::Bool(equal == (op == BinaryOp::Eq)));
        }
        let (Some(_), Some(_)) = (left.as_f64(), right.as_f64()) else {
            return Err(self.operand_error(op, (&left, a.span), (&right, b.span)));
        };
        arithmetic(op, &left, &right).map_err(|(code, message)| {
            let error = Diagnostic::error(code, message);
            self.error(error.at(span, format!("this is {left} {} {right}", symbol(op))))
        })
    }

    /// Names the operand that is no number, or both where they cannot be compared.
    fn operand_error(&mut self, op: BinaryOp, left: (&Value, Span), right: (&Value, Span)) -> Reported {
        let place = if left.0.as_f64().is_none() { left } else { right };
        let verb = match op {
            BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => "compare",
            _ => "compute",
        };
        let message = format!("cannot {verb} {} {} {}", left.0, symbol(op), right.0);
        let other = if place.1 == left.1 { right } else { left };
        self.error(
            Diagnostic::error("E0203", message)
                .at(place.1, format!("this is {}", place.0.described()))
                .at(other.1, format!("this is {}", other.0.described())),
        )
    }

    fn then(&mut self, values: &'a [Expr], span: Span) -> Evaluated {
        match self.frames.last().and_then(|f| f.copy) {
            // The parser gives at least two values.
            Some(copy) => self.eval(&values[copy.min(values.len() - 1)]),
            None => Err(self.error(
                Diagnostic::error("E0209", "`then` has a meaning only in the arguments of a repeat")
                    .at(span, "there are no copies here")
                    .help("write it in a call such as `3 x Block(64, 2 then 1)`"),
            )),
        }
    }
}

/// The error that a fractional number is where an integer must stand; `text` is what is written there.
pub fn not_integer(value: f64, span: Span, text: &str) -> Diagnostic {
    let help = Help::new("write `round(..)`, `floor(..)` or `ceil(..)`, or `//` for a division that rounds down");
    let rounded = |function: &str| {
        let new = format!("{function}({text})");
        Fix::replace(format!("write `{new}`"), span, new).maybe()
    };
    let division = text.match_indices('/').map(|(at, _)| span.start as usize + at);
    let division = match division.collect::<Vec<_>>()[..] {
        [at] => Some(Fix::replace("write `//`", Span::new(span.file, at..at + 1), "//").maybe()),
        _ => None,
    };
    let help = ["round", "floor", "ceil"].into_iter().fold(help, |help, function| help.fix(rounded(function)));
    Diagnostic::error("E0203", "an integer is needed here")
        .at(span, format!("this is {value:?}"))
        .help(help.fix(division))
}

fn symbol(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "+",
        BinaryOp::Sub => "-",
        BinaryOp::Mul => "*",
        BinaryOp::Div => "/",
        BinaryOp::FloorDiv => "//",
        BinaryOp::Rem => "%",
        BinaryOp::Eq => "==",
        BinaryOp::Ne => "!=",
        BinaryOp::Lt => "<",
        BinaryOp::Le => "<=",
        BinaryOp::Gt => ">",
        BinaryOp::Ge => ">=",
        BinaryOp::And => "and",
        BinaryOp::Or => "or",
    }
}

/// Equality of values that are not both numbers. A word equals only the same word, so that `act == none` can be
/// asked of anything. `None` where the two cannot be compared.
fn equal(a: &Value, b: &Value) -> Option<bool> {
    match (a, b) {
        (Value::Bool(a), Value::Bool(b)) => Some(a == b),
        (Value::Str(a), Value::Str(b)) => Some(a == b),
        (Value::Dims(a), Value::Dims(b)) => Some(a == b),
        (Value::Word(a), Value::Word(b)) => Some(a == b),
        (Value::Word(_), _) | (_, Value::Word(_)) => Some(false),
        _ => None,
    }
}

/// Both operands are numbers.
fn arithmetic(op: BinaryOp, a: &Value, b: &Value) -> Result<Value, Failure> {
    if let (Value::Int(a), Value::Int(b)) = (a, b) {
        return integers(op, *a, *b);
    }
    let (a, b) = (a.as_f64().unwrap_or(f64::NAN), b.as_f64().unwrap_or(f64::NAN));
    match op {
        BinaryOp::Add => functions::float(a + b),
        BinaryOp::Sub => functions::float(a - b),
        BinaryOp::Mul => functions::float(a * b),
        BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Rem if b == 0.0 => Err(division_by_zero()),
        BinaryOp::Div => functions::float(a / b),
        BinaryOp::FloorDiv => functions::float((a / b).floor()),
        BinaryOp::Rem => functions::float(a - b * (a / b).floor()),
        _ => Ok(Value::Bool(a.partial_cmp(&b).is_some_and(|order| holds(op, order)))),
    }
}

fn integers(op: BinaryOp, a: i64, b: i64) -> Result<Value, Failure> {
    if b == 0 && matches!(op, BinaryOp::Div | BinaryOp::FloorDiv | BinaryOp::Rem) {
        return Err(division_by_zero());
    }
    let result = match op {
        BinaryOp::Add => a.checked_add(b),
        BinaryOp::Sub => a.checked_sub(b),
        BinaryOp::Mul => a.checked_mul(b),
        // i64::MIN / -1 is the one quotient that does not fit.
        BinaryOp::Div => match a.checked_rem(b) {
            Some(0) => Some(a / b),
            Some(_) => return functions::float(a as f64 / b as f64),
            None => None,
        },
        BinaryOp::FloorDiv => a.checked_div_euclid(b).map(|q| if b < 0 && a.rem_euclid(b) != 0 { q - 1 } else { q }),
        BinaryOp::Rem => a.checked_rem_euclid(b).map(|r| if b < 0 && r != 0 { r + b } else { r }),
        _ => return Ok(Value::Bool(holds(op, a.cmp(&b)))),
    };
    result.map(Value::Int).ok_or_else(functions::overflow)
}

fn holds(op: BinaryOp, order: Ordering) -> bool {
    match op {
        BinaryOp::Eq => order.is_eq(),
        BinaryOp::Ne => order.is_ne(),
        BinaryOp::Lt => order.is_lt(),
        BinaryOp::Le => order.is_le(),
        BinaryOp::Gt => order.is_gt(),
        _ => order.is_ge(),
    }
}

fn division_by_zero() -> Failure {
    ("E0204", "division by zero".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(op: BinaryOp, a: i64, b: i64) -> String {
        match integers(op, a, b) {
            Ok(value) => value.to_string(),
            Err((code, _)) => code.into(),
        }
    }

    #[test]
    fn division_rounds_down_and_stays_exact() {
        use BinaryOp::*;
        assert_eq!(text(Div, 6, 3), "2");
        assert_eq!(text(Div, 1, 2), "0.5");
        for (a, b, quotient, rest) in [(7, 2, "3", "1"), (-7, 2, "-4", "1"), (7, -2, "-4", "-1"), (-7, -2, "3", "-1")] {
            assert_eq!((text(FloorDiv, a, b).as_str(), text(Rem, a, b).as_str()), (quotient, rest), "{a} {b}");
        }
        assert_eq!(text(Div, 1, 0), "E0204");
        for op in [Div, FloorDiv, Rem] {
            assert_eq!(text(op, i64::MIN, -1), "E0202", "{op:?}");
        }
        assert_eq!(text(Mul, i64::MAX, 2), "E0202");
    }
}
