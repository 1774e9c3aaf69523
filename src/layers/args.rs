//! Declared parameters of layers, and arguments that have been checked against them.

use super::{Change, Padding};
use std::ops::Range;
use std::sync::Arc;

/// What a layer's parameter accepts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// A positive integer.
    Int,
    /// An integer, 0 or above.
    Count,
    /// Positive sizes, one for each spatial dimension; one number stands for 1-D.
    Dims,
    /// One positive number for all spatial dimensions, or one for each: `2`, `2x1`, `(2, 1)`.
    PerDim,
    /// One number above 0 for all spatial dimensions, or one for each: `1.5`, `(1.5, 2)`.
    Factors,
    /// One number, 0 or above, for all spatial dimensions, or one for each: `1`, `(0, 1)`.
    Counts,
    /// `valid`, `half`, `same`, a number for all sides, one for each dimension, or one for each side.
    /// The three words may stand alone, without the parameter's name.
    Pad,
    /// `true` or `false`; the name alone means true.
    Bool,
    /// A finite number.
    Float,
    /// Two integers `a..b`, 0 or above: from the first up to but without the second.
    Range,
    /// One of these words; each may stand alone, without the parameter's name.
    Word(&'static [&'static str]),
    /// Fixed weights: a nested list of numbers.
    Weights,
}

/// A parameter of a layer.
#[derive(Clone, Copy, Debug)]
pub struct ParamDecl {
    pub name: &'static str,
    pub kind: Kind,
    /// Parameters that may be given by position, in the order of the declarations.
    pub positional: bool,
    /// As written in the language; `None` if it must be given, `Some("")` if it may be absent.
    pub default: Option<&'static str>,
    pub doc: &'static str,
}

impl ParamDecl {
    /// A parameter that must be given, by position or by name.
    pub const fn required(name: &'static str, kind: Kind, doc: &'static str) -> ParamDecl {
        ParamDecl { name, kind, positional: true, default: None, doc }
    }

    /// A parameter that may be given by position or by name.
    pub const fn positional(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> ParamDecl {
        ParamDecl { name, kind, positional: true, default: Some(default), doc }
    }

    /// A parameter that may be given by name only.
    pub const fn named(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> ParamDecl {
        ParamDecl { name, kind, positional: false, default: Some(default), doc }
    }
}

/// A keyword, its meaning and its parameters.
#[derive(Debug)]
pub struct LayerSpec {
    pub keyword: &'static str,
    /// One sentence with the formula, for the reference page.
    pub doc: &'static str,
    pub params: &'static [ParamDecl],
}

impl LayerSpec {
    pub fn param(&self, name: &str) -> Option<&'static ParamDecl> {
        self.params.iter().find(|p| p.name == name)
    }
}

/// An argument whose kind has been checked.
#[derive(Clone, Debug, PartialEq)]
pub enum ArgValue {
    Int(usize),
    Dims(Vec<usize>),
    Pad(PadArg),
    Bool(bool),
    Float(f64),
    Factors(Vec<f64>),
    Word(&'static str),
    Range(Range<usize>),
    /// Row-major values and the shape of the nested list.
    Weights(Arc<[f32]>, Vec<usize>),
}

/// Padding before the rank of the kernel is known.
#[derive(Clone, Debug, PartialEq)]
pub enum PadArg {
    Valid,
    Half,
    Same,
    All(usize),
    /// One number a dimension, or front and back of each dimension.
    List(Vec<usize>),
}

/// Arguments of one layer, checked against its [`LayerSpec`]: kinds fit, mandatory ones are there, written
/// defaults are filled in.
#[derive(Clone, Debug, Default)]
pub struct Args {
    values: Vec<(&'static str, ArgValue)>,
}

/// Why arguments that fit one by one do not fit together.
#[derive(Clone, Debug, PartialEq)]
pub struct ArgError {
    pub param: &'static str,
    pub message: String,
    pub help: Option<String>,
    /// Those that the help says.
    pub changes: Vec<Change>,
}

impl ArgError {
    pub fn new(param: &'static str, message: impl Into<String>) -> Self {
        ArgError { param, message: message.into(), help: None, changes: Vec::new() }
    }

    pub fn help(self, help: impl Into<String>) -> Self {
        ArgError { help: Some(help.into()), ..self }
    }

    /// Adds the changes that the help says.
    pub fn changes(self, changes: impl Into<Vec<Change>>) -> Self {
        ArgError { changes: changes.into(), ..self }
    }
}

impl Args {
    /// The written defaults of a layer; parameters that must be given, or may be absent, are not in it.
    ///
    /// # Panics
    /// If a declaration has a default that its kind does not accept; a test reads the defaults of all layers.
    pub fn defaults(spec: &LayerSpec) -> Args {
        let mut args = Args::default();
        for param in spec.params {
            if let Some(text) = param.default.filter(|text| !text.is_empty()) {
                let value = parse_default(param.kind, text);
                args.set(param.name, value.unwrap_or_else(|| panic!("default of {} {}", spec.keyword, param.name)));
            }
        }
        args
    }

    pub fn set(&mut self, name: &'static str, value: ArgValue) {
        self.values.retain(|(n, _)| *n != name);
        self.values.push((name, value));
    }

    pub fn get(&self, name: &str) -> Option<&ArgValue> {
        self.values.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
    }

    /// # Panics
    /// These accessors panic where the argument is absent or of another kind: the layer asks for what its own
    /// declaration promised.
    pub fn int(&self, name: &str) -> usize {
        match self.get(name) {
            Some(ArgValue::Int(v)) => *v,
            other => unreachable!("{name}: {other:?}"),
        }
    }

    pub fn int_or(&self, name: &str, default: usize) -> usize {
        self.get(name).map_or(default, |_| self.int(name))
    }

    pub fn dims(&self, name: &str) -> Vec<usize> {
        match self.get(name) {
            Some(ArgValue::Dims(v)) => v.clone(),
            other => unreachable!("{name}: {other:?}"),
        }
    }

    /// One value for each of `rank` dimensions; a single one is repeated.
    pub fn per_dim(&self, name: &'static str, rank: usize) -> Result<Vec<usize>, ArgError> {
        let dims = self.dims(name);
        match dims.len() {
            1 => Ok(vec![dims[0]; rank]),
            n if n == rank => Ok(dims),
            n => Err(ArgError::new(name, format!("{name} has {n} values, the kernel has {rank} dimensions"))),
        }
    }

    /// The padding of a kernel of `rank` dimensions.
    pub fn pad(&self, name: &'static str, rank: usize) -> Result<Padding, ArgError> {
        match self.get(name) {
            Some(ArgValue::Pad(PadArg::Valid)) => Ok(Padding::Valid),
            Some(ArgValue::Pad(PadArg::Half)) => Ok(Padding::Half),
            Some(ArgValue::Pad(PadArg::Same)) => Ok(Padding::Same),
            Some(ArgValue::Pad(PadArg::All(n))) => Ok(Padding::All(*n)),
            Some(ArgValue::Pad(PadArg::List(list))) => {
                sides(list, rank).map(Padding::Sides).ok_or_else(|| pad_list_error(name, list.len(), rank))
            }
            other => unreachable!("{name}: {other:?}"),
        }
    }

    pub fn flag(&self, name: &str) -> bool {
        match self.get(name) {
            Some(ArgValue::Bool(v)) => *v,
            other => unreachable!("{name}: {other:?}"),
        }
    }

    pub fn float(&self, name: &str) -> f64 {
        match self.get(name) {
            Some(ArgValue::Float(v)) => *v,
            other => unreachable!("{name}: {other:?}"),
        }
    }

    pub fn range(&self, name: &str) -> Range<usize> {
        match self.get(name) {
            Some(ArgValue::Range(v)) => v.clone(),
            other => unreachable!("{name}: {other:?}"),
        }
    }

    pub fn word(&self, name: &str) -> &'static str {
        match self.get(name) {
            Some(ArgValue::Word(v)) => v,
            other => unreachable!("{name}: {other:?}"),
        }
    }
}

/// Reads a default as a declaration writes it.
fn parse_default(kind: Kind, text: &str) -> Option<ArgValue> {
    let positive = |text: &str| text.parse().ok().filter(|&n: &usize| n > 0);
    match kind {
        Kind::Int => positive(text).map(ArgValue::Int),
        Kind::Count => text.parse().ok().map(ArgValue::Int),
        Kind::Dims | Kind::PerDim => text.split('x').map(positive).collect::<Option<_>>().map(ArgValue::Dims),
        Kind::Counts => text.parse().ok().map(|n| ArgValue::Dims(vec![n])),
        Kind::Pad => Some(ArgValue::Pad(match text {
            "valid" => PadArg::Valid,
            "half" => PadArg::Half,
            "same" => PadArg::Same,
            number => PadArg::All(number.parse().ok()?),
        })),
        Kind::Bool => text.parse().ok().map(ArgValue::Bool),
        Kind::Float => text.parse().ok().map(ArgValue::Float),
        Kind::Word(words) => words.iter().find(|w| **w == text).map(|w| ArgValue::Word(w)),
        Kind::Factors | Kind::Range | Kind::Weights => None,
    }
}

/// Front and back of each dimension from one number, or two, for each.
pub(super) fn sides(list: &[usize], rank: usize) -> Option<Vec<(usize, usize)>> {
    match list.len() {
        n if n == rank => Some(list.iter().map(|&p| (p, p)).collect()),
        n if n == 2 * rank => Some(list.chunks(2).map(|p| (p[0], p[1])).collect()),
        _ => None,
    }
}

fn pad_list_error(name: &'static str, found: usize, rank: usize) -> ArgError {
    ArgError::new(name, format!("{found} numbers of padding for a kernel of {rank} dimensions"))
        .help("give one number for all sides, one for each dimension, or front and back of each dimension")
}
