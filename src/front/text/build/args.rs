//! Arguments of calls against the parameters that a layer, block or model declares.

use super::eval::not_integer;
use super::report::Reported;
use super::scope::PAD_WORDS;
use super::value::{Value, grouped};
use super::{Builder, Given};
use crate::diagnostic::{Diagnostic, Fix, Help};
use crate::front::text::syntax::ast::{Arg, BinaryOp, Call, Expr, ExprKind, Param};
use crate::layers::{self, ArgValue, Args, Kind, LayerSpec, PadArg, ParamDecl};
use crate::source::Span;
use std::sync::Arc;

/// The checked arguments of a layer, and where they are written.
pub struct LayerArgs<'a> {
    pub args: Args,
    pub call: &'a Call,
    places: Vec<(&'static str, Span)>,
}

impl<'a> LayerArgs<'a> {
    /// The argument of a parameter; `None` where a default of the layer holds.
    pub fn place(&self, param: &str) -> Option<Span> {
        self.places.iter().find(|(name, _)| *name == param).map(|(_, span)| *span)
    }

    /// The same, if it is one of the call.
    pub fn argument(&self, param: &str) -> Option<&'a Arg> {
        let place = self.place(param)?;
        self.call.args.iter().find(|arg| arg.span == place)
    }
}

/// What an argument says, before it is evaluated.
enum Said<'a> {
    Value(&'a Expr),
    /// A flag's name alone.
    Flag,
    /// A word that the parameter accepts.
    Word(&'a str),
}

impl<'a> Builder<'a> {
    /// Checks the arguments of a layer; all mistakes are reported.
    pub fn layer_args(&mut self, spec: &'static LayerSpec, call: &'a Call) -> Result<LayerArgs<'a>, Reported> {
        let mut given = self.given_args(spec, &call.args)?;
        if let Some(defaults) = self.defaults.get(&(call.span.file, spec.keyword)) {
            let missing = defaults.iter().filter(|d| given.iter().all(|g| g.decl.name != d.decl.name));
            let missing: Vec<Given> = missing.cloned().collect();
            given.extend(missing);
        }
        let missing: Vec<&str> = spec
            .params
            .iter()
            .filter(|p| p.default.is_none() && given.iter().all(|g| g.decl.name != p.name))
            .map(|p| p.name)
            .collect();
        if !missing.is_empty() {
            let message = format!("`{}` needs {}", spec.keyword, quoted_list(&missing, "and"));
            let place = if missing.len() == 1 { "this argument is missing" } else { "these arguments are missing" };
            let error = Diagnostic::error("E0215", message).at(call.span, place);
            let names = missing.join(", ");
            let fix = call.with(format!("add {}", quoted_list(&missing, "and")), &names).with_placeholders();
            return Err(self.error(error.help(Help::new(usage(spec)).fix(fix))));
        }
        let mut args = Args::default();
        for decl in spec.params {
            if let Some(value) = default_value(decl) {
                args.set(decl.name, value);
            }
        }
        let mut places = Vec::new();
        for Given { decl, value, span } in given {
            args.set(decl.name, value?);
            places.push((decl.name, span));
        }
        Ok(LayerArgs { args, call, places })
    }

    /// The arguments as written, each with its declaration and checked value; an error if it is not known of
    /// each for which parameter it is.
    pub fn given_args(&mut self, spec: &'static LayerSpec, args: &'a [Arg]) -> Result<Vec<Given>, Reported> {
        let mut given: Vec<Given> = Vec::new();
        let mut unclear = None;
        let mut positional = spec.params.iter().filter(|p| p.positional);
        for arg in args {
            let (decl, said) = match self.declaration(spec, arg, &mut positional) {
                Ok(found) => found,
                Err(reported) => {
                    unclear = Some(reported);
                    continue;
                }
            };
            if let Some(first) = given.iter().find(|g| g.decl.name == decl.name) {
                let error = given_twice(decl.name, arg.span, first.span);
                self.error(error);
                continue;
            }
            let value = self.layer_value(spec, decl, said, arg.value.span);
            given.push(Given { decl, value, span: arg.span });
        }
        unclear.map_or(Ok(given), Err)
    }

    /// Which parameter an argument is for: by name, as a flag or word, else by position.
    fn declaration(
        &mut self,
        spec: &'static LayerSpec,
        arg: &'a Arg,
        positional: &mut impl Iterator<Item = &'static ParamDecl>,
    ) -> Result<(&'static ParamDecl, Said<'a>), Reported> {
        if let Some(name) = &arg.name {
            let decl = spec.param(&name.text);
            return decl.map(|d| (d, Said::Value(&arg.value))).ok_or_else(|| {
                let message = format!("`{}` has no parameter `{}`", spec.keyword, name.text);
                let error = Diagnostic::error("E0212", message).at(name.span, "unknown parameter");
                self.error(with_usage(
                    error.did_you_mean(&name.text, name.span, spec.params.iter().map(|p| p.name)),
                    spec,
                ))
            });
        }
        self.check_difference(|name| spec.param(name).is_some(), arg)?;
        if let ExprKind::Name(word) = &arg.value.kind {
            if let Some(found) = flag_or_word(spec, word) {
                return Ok(found);
            }
            self.check_bare_name(spec, word, arg.span)?;
        }
        positional.next().map(|decl| (decl, Said::Value(&arg.value))).ok_or_else(|| self.surplus(spec, arg))
    }

    /// `pad -1` is a difference to the grammar.
    fn check_difference(&mut self, is_param: impl Fn(&str) -> bool, arg: &'a Arg) -> Result<(), Reported> {
        let ExprKind::Binary(BinaryOp::Sub, left, right) = &arg.value.kind else { return Ok(()) };
        let ExprKind::Name(name) = &left.kind else { return Ok(()) };
        if arg.name.is_some() || !is_param(name) || self.variable(name, left.span).is_some() {
            return Ok(());
        }
        let help = format!("write a negative value in parentheses or behind `=`: `{name} (-1)`, `{name} = -1`");
        let error = Diagnostic::error("E0215", format!("`{name}` needs a value"))
            .at(arg.span, "this is read as a difference")
            .fix(help, arg.span, format!("{name} (-{})", self.sources.slice(right.span)));
        Err(self.error(error))
    }

    /// A bare name that is neither a variable nor any word was meant for the layer.
    fn check_bare_name(&mut self, spec: &'static LayerSpec, word: &'a str, span: Span) -> Result<(), Reported> {
        if word == "in" || self.variable(word, span).is_some() || self.is_word(word) {
            return Ok(());
        }
        if spec.param(word).is_some() {
            let error = Diagnostic::error("E0215", format!("`{word}` needs a value")).at(span, "there is none");
            let title = format!("write the value behind the name: `{word} ..`");
            let fix = Fix::replace(title, span.behind(), " VALUE").with_placeholders();
            return Err(self.error(error.help(fix)));
        }
        let known = self.known_names();
        let mut candidates: Vec<&str> = spec.params.iter().flat_map(words).collect();
        candidates.extend(spec.params.iter().map(|p| p.name));
        candidates.extend(known.iter().map(String::as_str));
        let error = Diagnostic::error("E0212", format!("`{}` has no flag `{word}`", spec.keyword))
            .at(span, "and no variable has this name")
            .did_you_mean(word, span, candidates);
        Err(self.error(with_usage(error, spec)))
    }

    /// A bare name that is no variable was meant to be one of the words of its parameter.
    fn check_word(
        &mut self,
        spec: &'static LayerSpec,
        decl: &'static ParamDecl,
        word: &'a str,
        span: Span,
    ) -> Result<(), Reported> {
        let takes_words = matches!(decl.kind, Kind::Pad | Kind::Word(_));
        let known = words(decl).contains(&word) || self.is_word(word) || self.variable(word, span).is_some();
        if !takes_words || known || word == "in" {
            return Ok(());
        }
        let message = format!("`{}` of `{}` takes {}", decl.name, spec.keyword, kind_text(decl.kind));
        let error = Diagnostic::error("E0203", message).at(span, "unknown word").did_you_mean(word, span, words(decl));
        Err(self.error(error))
    }

    fn surplus(&mut self, spec: &'static LayerSpec, arg: &'a Arg) -> Reported {
        let count = spec.params.iter().filter(|p| p.positional).count();
        let message = match count {
            0 => format!("`{}` takes no arguments by position", spec.keyword),
            1 => format!("`{}` takes one argument by position", spec.keyword),
            n => format!("`{}` takes {n} arguments by position", spec.keyword),
        };
        let error = Diagnostic::error("E0214", message).at(arg.span, "this is one too many");
        let layer = match &arg.value.kind {
            ExprKind::Name(name) => layers::find(name).map(|e| e.spec.keyword),
            _ => None,
        };
        self.error(match layer {
            Some(next) => {
                let help = format!("to apply `{next}` behind it, write `{} .. | {next}`", spec.keyword);
                match self.with_comma(arg.span) {
                    Some(span) => error.fix(help, span, format!(" | {next}")),
                    None => error.help(help),
                }
            }
            None => error.help(usage(spec)),
        })
    }

    /// An argument with the comma before it.
    fn with_comma(&self, arg: Span) -> Option<Span> {
        let before = &self.sources.file(arg.file).text[..arg.start as usize];
        let start = before.trim_end().strip_suffix(',')?.trim_end().len();
        Some(Span::new(arg.file, start..arg.end as usize))
    }

    fn layer_value(
        &mut self,
        spec: &'static LayerSpec,
        decl: &'static ParamDecl,
        said: Said<'a>,
        span: Span,
    ) -> Result<ArgValue, Reported> {
        if let Said::Value(Expr { kind: ExprKind::Name(word), .. }) = said {
            self.check_word(spec, decl, word, span)?;
        }
        let value = match said {
            Said::Flag => Value::Bool(true),
            Said::Word(word) => Value::Word(word.into()),
            Said::Value(expr) => self.eval(expr)?,
        };
        self.charge_items(&value, span)?;
        convert(decl, &value, self.limits.list).map_err(|problem| {
            let error = match problem {
                Problem::Range(message) => {
                    let message = format!("`{}` {message}", decl.name);
                    Diagnostic::error("E0216", message).at(span, format!("this is {value}"))
                }
                Problem::Kind => match value {
                    Value::Float(v) if decl.kind != Kind::Bool => {
                        let text = self.sources.slice(span);
                        let takes = format!("`{}` of `{}` takes {}", decl.name, spec.keyword, kind_text(decl.kind));
                        not_integer(v, span, text).note(takes)
                    }
                    _ => {
                        let message = format!("`{}` of `{}` takes {}", decl.name, spec.keyword, kind_text(decl.kind));
                        let error = Diagnostic::error("E0203", message);
                        error.at(span, format!("this is {}", value.described())).help(usage(spec))
                    }
                },
            };
            self.error(error)
        })
    }

    /// The arguments of a block or model, in the order of its parameters; `None` where a parameter is not given.
    /// The flag tells whether it is known of each argument for which parameter it is.
    pub fn assign(&mut self, owner: &str, params: &'a [Param], args: &'a [Arg]) -> (Vec<Option<&'a Arg>>, bool) {
        let mut clear = true;
        let mut given: Vec<Option<&Arg>> = vec![None; params.len()];
        let mut position = 0;
        for arg in args {
            if self.check_difference(|name| params.iter().any(|param| param.name.text == name), arg).is_err() {
                clear = false;
                continue;
            }
            let index = match &arg.name {
                Some(name) => params.iter().position(|p| p.name.text == name.text),
                None => Some(position),
            };
            position += usize::from(arg.name.is_none());
            match index.filter(|i| *i < params.len()) {
                None => {
                    self.unknown_argument(owner, params, arg);
                    clear = false;
                }
                Some(i) => match given[i] {
                    Some(first) => {
                        let error = given_twice(&params[i].name.text, arg.span, first.span);
                        self.error(error);
                    }
                    None => given[i] = Some(arg),
                },
            }
        }
        (given, clear)
    }

    fn unknown_argument(&mut self, owner: &str, params: &[Param], arg: &Arg) {
        let names: Vec<&str> = params.iter().map(|p| p.name.text.as_str()).collect();
        let signature = format!("it is declared as {owner}({})", names.join(", "));
        let error = match &arg.name {
            Some(name) => Diagnostic::error("E0212", format!("`{owner}` has no parameter `{}`", name.text))
                .at(name.span, "unknown parameter")
                .did_you_mean(&name.text, name.span, names.iter().copied()),
            None => {
                let message = match names.len() {
                    0 => format!("`{owner}` takes no arguments"),
                    1 => format!("`{owner}` takes one argument"),
                    n => format!("`{owner}` takes {n} arguments"),
                };
                Diagnostic::error("E0214", message).at(arg.span, "this is one too many")
            }
        };
        let error = if names.is_empty() { error } else { error.note(signature) };
        self.error(error);
    }
}

fn given_twice(name: &str, second: Span, first: Span) -> Diagnostic {
    Diagnostic::error("E0213", format!("`{name}` is given twice")).at(second, "again here").at(first, "first here")
}

/// The words that may stand alone for a parameter.
fn words(decl: &'static ParamDecl) -> Vec<&'static str> {
    match decl.kind {
        Kind::Bool => vec![decl.name],
        Kind::Pad => PAD_WORDS.to_vec(),
        Kind::Word(words) => words.to_vec(),
        _ => Vec::new(),
    }
}

/// The parameter that a word alone is an argument for: a flag, or one that takes the word.
pub fn param_of_word(spec: &'static LayerSpec, word: &str) -> Option<&'static ParamDecl> {
    spec.params.iter().find(|p| words(p).contains(&word))
}

fn flag_or_word<'a>(spec: &'static LayerSpec, word: &'a str) -> Option<(&'static ParamDecl, Said<'a>)> {
    let decl = param_of_word(spec, word)?;
    Some((decl, if decl.kind == Kind::Bool { Said::Flag } else { Said::Word(word) }))
}

/// `conv kernel, channels` and what may follow.
fn usage(spec: &LayerSpec) -> String {
    let (needed, optional): (Vec<&ParamDecl>, Vec<&ParamDecl>) = spec.params.iter().partition(|p| p.default.is_none());
    let names = |decls: &[&ParamDecl]| decls.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
    let mut text = match needed.is_empty() {
        true => format!("write `{}`", spec.keyword),
        false => format!("write `{} {}`", spec.keyword, names(&needed)),
    };
    if !optional.is_empty() {
        text += &format!(", and if need be {}", names(&optional));
    }
    text
}

/// Adds the usage where no better help is known.
fn with_usage(error: Diagnostic, spec: &LayerSpec) -> Diagnostic {
    if error.help.is_empty() { error.help(usage(spec)) } else { error }
}

fn kind_text(kind: Kind) -> String {
    match kind {
        Kind::Int => "a positive integer".into(),
        Kind::Count => "an integer, 0 or above".into(),
        Kind::Dims => "a size such as `3x3`, or `3` in 1-D".into(),
        Kind::PerDim => "a positive integer, or one for each dimension such as `2x1`".into(),
        Kind::Factors => "a number above 0, or one for each dimension such as `(1.5, 2)`".into(),
        Kind::Counts => "an integer, 0 or above, or one for each dimension such as `(0, 1)`".into(),
        Kind::Pad => "`valid`, `half`, `same`, a number, or a list of numbers".into(),
        Kind::Bool => "`true` or `false`".into(),
        Kind::Float => "a number".into(),
        Kind::Range => "a range such as `0..8`".into(),
        Kind::Word(words) => quoted_list(words, "or"),
        Kind::Weights => "a list of numbers, nested once for each dimension".into(),
    }
}

/// `` `a`, `b` and `c` ``
pub fn quoted_list(names: &[&str], last_word: &str) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{n}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} {last_word} {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// Why a value does not suit a parameter.
#[derive(Debug, PartialEq)]
enum Problem {
    /// It is of another kind.
    Kind,
    /// It is of the right kind, but, for example, `must be at least 1`.
    Range(String),
}

fn convert(decl: &ParamDecl, value: &Value, max_items: usize) -> Result<ArgValue, Problem> {
    match decl.kind {
        Kind::Int => integer(value, 1).map(ArgValue::Int),
        Kind::Count => integer(value, 0).map(ArgValue::Int),
        Kind::Dims | Kind::PerDim => integers(value, 1).map(ArgValue::Dims),
        Kind::Factors => factors(value).map(ArgValue::Factors),
        Kind::Counts => integers(value, 0).map(ArgValue::Dims),
        Kind::Pad => padding(value).map(ArgValue::Pad),
        Kind::Bool => match value {
            Value::Bool(v) => Ok(ArgValue::Bool(*v)),
            _ => Err(Problem::Kind),
        },
        Kind::Float => value.as_f64().map(ArgValue::Float).ok_or(Problem::Kind),
        Kind::Range => match value {
            Value::Range(from, to) => {
                Ok(ArgValue::Range(integer(&Value::Int(*from), 0)?..integer(&Value::Int(*to), 0)?))
            }
            _ => Err(Problem::Kind),
        },
        Kind::Word(words) => match value {
            Value::Word(word) => words.iter().find(|w| **w == &**word).map(|w| ArgValue::Word(w)).ok_or(Problem::Kind),
            _ => Err(Problem::Kind),
        },
        Kind::Weights => weights(value, max_items),
    }
}

fn integer(value: &Value, least: i64) -> Result<usize, Problem> {
    match value {
        Value::Int(v) if *v >= least => usize::try_from(*v).map_err(|_| Problem::Range("is too large".into())),
        Value::Int(_) => Err(Problem::Range(format!("must be at least {least}"))),
        _ => Err(Problem::Kind),
    }
}

/// One number or several: `3`, `3x3`, `(3, 3)`.
fn integers(value: &Value, least: i64) -> Result<Vec<usize>, Problem> {
    match value {
        Value::Dims(dims) => dims.iter().map(|&v| integer(&Value::Int(v), least)).collect(),
        Value::List(list) if list.items.is_empty() => Err(Problem::Range("must not be empty".into())),
        Value::List(list) => list.items.iter().map(|item| integer(item, least)).collect(),
        other => integer(other, least).map(|v| vec![v]),
    }
}

/// One number or several, all above 0: `2`, `1.5`, `2x1`, `(1.5, 2)`.
fn factors(value: &Value) -> Result<Vec<f64>, Problem> {
    let numbers: Option<Vec<f64>> = match value {
        Value::Dims(dims) => Some(dims.iter().map(|&n| n as f64).collect()),
        Value::List(list) => list.items.iter().map(Value::as_f64).collect(),
        other => other.as_f64().map(|number| vec![number]),
    };
    match numbers.ok_or(Problem::Kind)? {
        numbers if numbers.is_empty() => Err(Problem::Range("must not be empty".into())),
        numbers if numbers.iter().all(|number| *number > 0.0) => Ok(numbers),
        _ => Err(Problem::Range("must be above 0".into())),
    }
}

fn padding(value: &Value) -> Result<PadArg, Problem> {
    match value {
        Value::Word(word) => match &**word {
            "valid" => Ok(PadArg::Valid),
            "half" => Ok(PadArg::Half),
            "same" => Ok(PadArg::Same),
            _ => Err(Problem::Kind),
        },
        Value::Int(_) => integer(value, 0).map(PadArg::All),
        _ => integers(value, 0).map(PadArg::List),
    }
}

/// Row-major values and shape of a nested list that is a full array.
fn weights(value: &Value, max_items: usize) -> Result<ArgValue, Problem> {
    let mut shape = Vec::new();
    let mut level = value;
    while let Value::List(list) = level {
        shape.push(list.items.len());
        level = list.items.first().ok_or_else(|| Problem::Range("must not hold an empty list".into()))?;
    }
    let elements = shape.iter().try_fold(1usize, |a, &n| a.checked_mul(n)).filter(|n| *n <= max_items);
    if elements.is_none() {
        return Err(Problem::Range(format!("holds more than {} numbers", grouped(max_items as u128))));
    }
    let mut values = Vec::new();
    collect(value, &shape, &mut values)?;
    if shape.is_empty() { Err(Problem::Kind) } else { Ok(ArgValue::Weights(Arc::from(values), shape)) }
}

fn collect(value: &Value, shape: &[usize], values: &mut Vec<f32>) -> Result<(), Problem> {
    match (value, shape) {
        (Value::List(list), [len, inner @ ..]) if list.items.len() == *len => {
            list.items.iter().try_for_each(|item| collect(item, inner, values))
        }
        (Value::List(_), _) => Err(Problem::Range("must have rows of the same length".into())),
        (other, []) => {
            let number = other.as_f64().ok_or(Problem::Kind)? as f32;
            if !number.is_finite() {
                return Err(Problem::Range("holds a number too large for f32".into()));
            }
            values.push(number);
            Ok(())
        }
        (_, _) => Err(Problem::Range("must have rows of the same length".into())),
    }
}

/// The default of a declaration; `None` if there is none.
///
/// # Panics
/// If the declaration's own text does not fit its kind: the tests go through all of them.
fn default_value(decl: &ParamDecl) -> Option<ArgValue> {
    let text = decl.default.filter(|text| !text.is_empty())?;
    let value = match (decl.kind, text) {
        (Kind::Bool, _) => text.parse().map(Value::Bool).ok(),
        (Kind::Float, _) => text.parse().map(Value::Float).ok(),
        _ if text.starts_with(char::is_alphabetic) => Some(Value::Word(text.into())),
        _ => text.split('x').map(|n| n.parse()).collect::<Result<Vec<i64>, _>>().ok().map(|dims| match dims[..] {
            [n] => Value::Int(n),
            _ => Value::Dims(dims.into()),
        }),
    };
    let value = value.and_then(|value| convert(decl, &value, 0).ok());
    Some(value.unwrap_or_else(|| panic!("default `{text}` of parameter `{}`", decl.name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::front::text::build::value::List;
    use std::rc::Rc;

    #[test]
    fn every_default_fits_its_kind() {
        for decl in layers::entries().flat_map(|e| e.spec.params) {
            default_value(decl);
        }
    }

    /// Of two paddings the first declared takes the words.
    #[test]
    fn words_of_one_layer_do_not_collide() {
        for spec in layers::entries().map(|e| e.spec) {
            let paddings = spec.params.iter().filter(|p| p.kind == Kind::Pad).take(1);
            let others = spec.params.iter().filter(|p| p.kind != Kind::Pad);
            let mut all: Vec<&str> = paddings.chain(others).flat_map(words).collect();
            all.sort_unstable();
            assert!(all.windows(2).all(|pair| pair[0] != pair[1]), "{}: {all:?}", spec.keyword);
        }
    }

    fn list(items: Vec<Value>) -> Value {
        Value::List(Rc::new(List::new(items).unwrap()))
    }

    #[test]
    fn weights_are_full_arrays() {
        let row = |a, b| list(vec![Value::Int(a), Value::Float(b)]);
        let expected = ArgValue::Weights(vec![1.0, 0.5, 2.0, 0.25].into(), vec![2, 2]);
        assert_eq!(weights(&list(vec![row(1, 0.5), row(2, 0.25)]), 4), Ok(expected));
        for bad in [
            list(vec![row(1, 0.5), list(vec![Value::Int(1)])]),
            list(vec![row(1, 0.5), Value::Int(1)]),
            list(vec![Value::Int(1), row(1, 0.5)]),
            list(vec![]),
            list(vec![row(1, 1e300), row(1, 0.5)]),
            list(vec![row(1, 0.5), row(1, 0.5), row(1, 0.5)]),
        ] {
            assert!(matches!(weights(&bad, 4), Err(Problem::Range(_))), "{bad}");
        }
    }
}
