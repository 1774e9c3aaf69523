//! Names: variables of blocks, parameters of the model, constants, words.

use super::report::Reported;
use super::value::Value;
use super::{Builder, Flow, Found};
use crate::diagnostic::Diagnostic;
use crate::front::text::syntax::ast::{Block, Expr};
use crate::layers::{self, Kind};
use crate::source::{FileId, Span};
use std::collections::HashMap;

/// A value, or the mark of an error that has been reported in its place.
pub type Evaluated = Result<Value, Reported>;

/// A constant or a parameter of the model; evaluated when first asked for, so that their order does not matter.
pub enum Global<'a> {
    Pending(&'a Expr),
    /// Being evaluated; whoever asks for it now is part of a circle.
    Busy,
    Done(Evaluated),
}

/// With the file where the name holds, if it is not all of them.
pub type GlobalName<'a> = (Option<FileId>, &'a str);

pub type Globals<'a> = HashMap<GlobalName<'a>, Global<'a>>;

/// Values named by `as`, each with the place of its name. A hash finds them, since a large file may name thousands; how
/// many there can be, the length of the text bounds, for no loop keeps the names of its passes.
#[derive(Default)]
pub struct Named<'a> {
    /// In the order in which they were named.
    names: Vec<&'a str>,
    values: HashMap<&'a str, (Flow, Span)>,
}

impl<'a> Named<'a> {
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// # Errors
    /// The place where another value was given this name.
    pub fn insert(&mut self, name: &'a str, value: Flow, span: Span) -> Result<(), Span> {
        if let Some((_, earlier)) = self.values.get(name) {
            return Err(*earlier);
        }
        self.names.push(name);
        self.values.insert(name, (value, span));
        Ok(())
    }

    pub fn get(&self, name: &str) -> Option<Flow> {
        self.values.get(name).map(|(value, _)| *value)
    }

    /// The latest first.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.names.iter().rev().copied()
    }

    /// Forgets all but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        for name in self.names.drain(len..) {
            self.values.remove(name);
        }
    }
}

/// A running call of a block, or the net.
pub struct Frame<'a> {
    /// `None` for the net.
    pub block: Option<&'a Block>,
    /// Label path of the call, for messages.
    pub path: String,
    /// The call; `None` for the net.
    pub call: Option<Span>,
    /// Parameters first, then local constants and loop variables, innermost last.
    pub vars: Vec<(&'a str, Evaluated)>,
    /// Where in `vars` those of the innermost body begin.
    pub scope: usize,
    pub named: Named<'a>,
    pub input: Flow,
    /// The sizes on the way from the input to here: name of the step and dimensions behind it.
    pub trail: Vec<(String, Vec<usize>)>,
    /// While the arguments of a repeat are evaluated: number of the copy.
    pub copy: Option<usize>,
}

impl<'a> Builder<'a> {
    /// # Panics
    /// Outside of the net; bodies are only expanded inside.
    pub fn frame(&mut self) -> &mut Frame<'a> {
        self.frames.last_mut().expect("a frame is pushed before its body is expanded")
    }

    /// The variable, parameter or constant of this name; `None` if there is none.
    pub fn variable(&mut self, name: &'a str, span: Span) -> Option<Evaluated> {
        if let Some(frame) = self.frames.last()
            && let Some((_, value)) = frame.vars.iter().rev().find(|(n, _)| *n == name)
        {
            return Some(value.clone());
        }
        let defined = self.program.const_file(name, span.file);
        if let Some(Found::Either(..)) = defined {
            return Some(Err(self.ambiguous("constants", name, span)));
        }
        let file = defined.map_or(span.file, Found::any);
        let own = self.globals.get_key_value(&(Some(file), name));
        let (&name, global) = own.or_else(|| self.globals.get_key_value(&(None, name)))?;
        match global {
            Global::Done(value) => Some(value.clone()),
            Global::Busy => Some(Err(self.circle(name.1, span))),
            Global::Pending(expr) => Some(self.evaluate_global(name, expr)),
        }
    }

    fn evaluate_global(&mut self, name: GlobalName<'a>, expr: &'a Expr) -> Evaluated {
        self.globals.insert(name, Global::Busy);
        self.evaluating.push(name.1);
        let value = self.eval(expr);
        self.evaluating.pop();
        self.globals.insert(name, Global::Done(value.clone()));
        value
    }

    /// Variants of a network that comes along each have a block or constant of this name.
    pub fn ambiguous(&mut self, kind: &str, name: &str, span: Span) -> Reported {
        let error = Diagnostic::error("E0210", format!("two {kind} are called `{name}` here"))
            .at(span, "each of the networks that are used has one")
            .help("use one of the networks in a file of its own, and name there what you take of it");
        self.error(error)
    }

    fn circle(&mut self, name: &'a str, span: Span) -> Reported {
        let chain: Vec<&str> = self.evaluating.iter().copied().skip_while(|n| *n != name).chain([name]).collect();
        let error = Diagnostic::error("E0208", format!("`{name}` is defined by itself"))
            .at(span, format!("to know this value, `{name}` must be known"))
            .note(chain.join(" needs "));
        self.error(error)
    }

    /// What a bare name in an expression stands for: a variable, else a word.
    pub fn name(&mut self, name: &'a str, span: Span) -> Evaluated {
        if let Some(value) = self.variable(name, span) {
            return value;
        }
        if self.is_word(name) {
            return Ok(Value::Word(name.into()));
        }
        let unknown = Diagnostic::error("E0201", format!("unknown name `{name}`"));
        Err(self.error(match name {
            "same_shape" => {
                unknown.at(span, "known only in the condition of a `residual`").help("write `residual if same_shape`")
            }
            _ => {
                let known = self.known_names();
                unknown.at(span, "no variable, parameter or constant has this name").did_you_mean(
                    name,
                    span,
                    known.iter().map(String::as_str),
                )
            }
        }))
    }

    /// Words stand for themselves: layers, blocks, `none`, and what layers accept as words.
    pub fn is_word(&self, name: &str) -> bool {
        let accepts = |kind: &Kind| match kind {
            Kind::Pad => PAD_WORDS.contains(&name),
            Kind::Word(words) => words.contains(&name),
            _ => false,
        };
        name == "none"
            || layers::find(name).is_some()
            || self.program.blocks.contains_key(name)
            || layers::entries().flat_map(|e| e.spec.params).any(|p| accepts(&p.kind))
    }

    /// Makes a local variable.
    pub fn declare(&mut self, name: &'a str, value: Evaluated, span: Span) {
        if self.frame().vars.len() >= MAX_LOCALS {
            let error = Diagnostic::error("E0506", format!("more than {MAX_LOCALS} names in one block"));
            self.halt(error.at(span, "this is one too many"));
            return;
        }
        self.frame().vars.push((name, value));
    }

    /// Names that an expression may use here, for suggestions.
    pub fn known_names(&self) -> Vec<String> {
        let vars = self.frames.last().into_iter().flat_map(|f| f.vars.iter().map(|(name, _)| *name));
        let globals = self.globals.keys().map(|(_, name)| *name);
        vars.chain(globals).chain(self.callables()).take(MAX_SUGGESTIONS).map(String::from).collect()
    }

    /// All layers and blocks.
    pub fn callables(&self) -> impl Iterator<Item = &'a str> {
        let blocks = self.program.blocks.keys().map(String::as_str);
        layers::entries().map(|e| e.spec.keyword).chain(blocks)
    }
}

/// Bounds the time that it takes to find a name.
const MAX_LOCALS: usize = 256;
/// Bounds the time that it takes to find a similar name.
pub const MAX_SUGGESTIONS: usize = 1000;
/// Words for padding that may stand without `pad`.
pub const PAD_WORDS: [&str; 3] = ["valid", "half", "same"];
