//! The values of expressions.

use crate::tensor::TensorType;
use std::fmt;
use std::rc::Rc;

/// How deep lists may be nested; keeps every walk over a value shallow.
pub const MAX_LIST_DEPTH: u32 = 8;

/// What an expression evaluates to.
#[derive(Clone, Debug)]
pub enum Value {
    Int(i64),
    Float(f64),
    Bool(bool),
    Str(Rc<str>),
    /// `3x3`
    Dims(Rc<[i64]>),
    List(Rc<List>),
    /// A bare name that stands for itself: a layer, a block, `none`, `half`.
    Word(Rc<str>),
    /// `1..n`, both ends included.
    Range(i64, i64),
    /// `in`: a value flowing through the network, of which only the sizes are known.
    Tensor(TensorType),
}

/// Items and the depth of their nesting; 1 where no item is a list.
#[derive(Debug)]
pub struct List {
    pub items: Vec<Value>,
    depth: u32,
}

impl List {
    /// `None` above [`MAX_LIST_DEPTH`].
    pub fn new(items: Vec<Value>) -> Option<List> {
        let inner = items.iter().map(|v| if let Value::List(list) = v { list.depth } else { 0 }).max();
        let depth = inner.unwrap_or(0) + 1;
        (depth <= MAX_LIST_DEPTH).then_some(List { items, depth })
    }
}

impl Value {
    /// With its article, for messages: `this is a list`.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Int(_) => "an integer",
            Value::Float(_) => "a fractional number",
            Value::Bool(_) => "true or false",
            Value::Str(_) => "a text",
            Value::Dims(_) => "a size such as `3x3`",
            Value::List(_) => "a list",
            Value::Word(_) => "a word",
            Value::Range(..) => "a range",
            Value::Tensor(_) => "the block's input",
        }
    }

    /// The value with its kind: `3x3, a size`.
    pub fn described(&self) -> String {
        match self {
            Value::Word(word) => format!("the word `{word}`"),
            Value::Bool(value) => format!("`{value}`"),
            Value::Int(value) => format!("the integer {value}"),
            Value::Float(value) => format!("the number {value:?}"),
            Value::Dims(_) => format!("the size {self}"),
            Value::List(_) => format!("the list {self}"),
            Value::Range(..) => format!("the range {self}"),
            Value::Str(_) => format!("the text {self}"),
            Value::Tensor(_) => "the block's input, a tensor".into(),
        }
    }

    /// The number, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(v) => Some(*v as f64),
            Value::Float(v) => Some(*v),
            _ => None,
        }
    }
}

/// How many items of a list are printed.
const PRINTED_ITEMS: usize = 8;

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Int(v) => write!(f, "{v}"),
            Value::Float(v) => write!(f, "{v:?}"),
            Value::Bool(v) => write!(f, "{v}"),
            Value::Str(v) => write!(f, "{:?}", shortened(v)),
            Value::Word(v) => f.write_str(&shortened(v)),
            Value::Range(from, to) => write!(f, "{from}..{to}"),
            Value::Tensor(ty) => write!(f, "{ty}"),
            Value::Dims(dims) => {
                let dims: Vec<String> = dims.iter().map(i64::to_string).collect();
                f.write_str(&dims.join("x"))
            }
            Value::List(list) => {
                let shown = list.items.iter().take(PRINTED_ITEMS).map(|item| match item {
                    Value::List(inner) if inner.depth > 1 => "[..]".into(),
                    other => other.to_string(),
                });
                let more = if list.items.len() > PRINTED_ITEMS { ", .." } else { "" };
                write!(f, "[{}{more}]", shown.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn shortened(text: &str) -> String {
    const LENGTH: usize = 40;
    match text.char_indices().nth(LENGTH) {
        Some((end, _)) => format!("{}..", &text[..end]),
        None => text.into(),
    }
}

/// `1,000,000`
pub fn grouped(n: u128) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn long_values_are_printed_shortly() {
        let list = List::new((0..100).map(Value::Int).collect()).unwrap();
        assert_eq!(Value::List(Rc::new(list)).to_string(), "[0, 1, 2, 3, 4, 5, 6, 7, ..]");
    }
}
