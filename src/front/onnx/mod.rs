//! ONNX files (<https://onnx.ai>), read and written.
//!
//! [`import`] walks the nodes in topological order, each by the rule of its operator. A value is a constant, which is
//! computed with there and then (`fold`; sizes may depend on the batch), or a `Flow`: the value of a node
//! of the graph under construction, seen through permuted, split and joined axes. What no layer says is refused, by name
//! and all at once, and nothing is guessed: an attribute that a rule never asked for refuses its node.
//!
//! | file | concern |
//! | --- | --- |
//! | [`wire`] | protocol buffers: fields of messages, in place |
//! | [`proto`] | the messages of a model file |
//! | [`constant`] | tensors that are known, and files beside the model |
//! | `fold` | computing with them |
//! | `functions` | nodes in the place of calls |
//! | `inputs` | types of inputs |
//! | `free` | sizes that the file leaves open |
//! | `flow` | values of the network as ONNX sees them |
//! | `call` | a node as its operator's rule sees it |
//! | `walk` | from inputs to outputs; what is refused, and which cut would help |
//! | `plain` | layers that bring axes in order |
//! | `patterns` | several nodes that are one layer |
//! | `ops` | the operators, a file for each few that belong together |
//! | `whole` | values in whole numbers |
//! | [`weights`] | what layers get of the file's constants |
//! | `names` | what layers are called |
//! | [`source`] | files of our own, which have their text with them |
//! | [`encode`], [`fields`] | messages that are written, and the numbers of their fields |
//!
//! What its codes mean is in [`codes`](crate::diagnostic::codes).

mod call;
pub mod constant;
pub mod encode;
pub mod fields;
mod flow;
mod fold;
mod free;
mod functions;
mod inputs;
mod names;
mod ops;
mod patterns;
mod plain;
pub mod proto;
pub mod source;
mod walk;
pub mod weights;
mod whole;
pub mod wire;

use crate::diagnostic::Diagnostic;
use crate::front::text::build::Program;
use crate::front::text::write::{self, Form, Said, Written};
use crate::io::bind::BoundWeights;
use crate::io::weights::WeightFile;
use crate::ir::{Graph, NodeId, Verified};
use crate::layers::ShapeError;
use crate::quant::{self, Folded, Given, WholeFile};
use crate::source::SourceMap;
use bumpalo::Bump;
use constant::{Bytes, External};
use proto::Model;
use source::Arguments;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use walk::{Found, Samples, View};
use weights::Weights;

/// Why an operator, a constant or a value cannot be taken, in words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(String);

impl Refusal {
    pub fn new(message: impl Into<String>) -> Refusal {
        Refusal(message.into())
    }
}

impl From<ShapeError> for Refusal {
    fn from(error: ShapeError) -> Refusal {
        Refusal(error.message)
    }
}

/// What to import.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Values that become the outputs; the file's own if there are none.
    pub cut: Vec<String>,
    /// Whether there is nobody who could choose such values: no message speaks of them.
    pub whole: bool,
    /// Sizes that the file leaves open, by the names that it gives them, or `INPUT.AXIS`.
    pub sizes: Vec<(String, usize)>,
    /// The network's name where the file has none.
    pub name: String,
    /// How much structure the text is to have.
    pub form: Form,
    /// Whether a file that was made from a text may be that text again, also a variant of it, or with arguments.
    pub own_text: bool,
}

/// An imported network.
pub struct Import {
    /// It in the language.
    pub text: String,
    /// The text, for messages with places in it.
    pub sources: SourceMap,
    /// The text's items.
    pub program: Program,
    /// The graph that the text builds, which is the imported one.
    pub graph: Verified<Graph>,
    /// What the graph is of the text.
    pub arguments: Arguments,
    /// By the graph's names, in f32. A file of ours with whole numbers holds none for layers that norms were folded into.
    pub weights: Weights,
    /// The weight file with which it computes on whole numbers, where the file says that some of it does.
    pub whole: Option<Arc<WholeFile>>,
    /// What is not as the file has it, for people.
    pub notes: Vec<String>,
}

/// Reads a model file.
///
/// # Errors
/// Everything that is refused.
pub fn import(file: &Bytes, external: &mut dyn External, options: &Options) -> Result<Import, Vec<Diagnostic>> {
    let malformed = |e: wire::Malformed| {
        let error = Diagnostic::error("E0801", format!("no ONNX file, or a damaged one: {e}"));
        vec![error]
    };
    let model = Model::parse((**file).as_ref()).map_err(malformed)?;
    let as_it_is = options.own_text && options.cut.is_empty() && options.sizes.is_empty();
    if let Some(own) = as_it_is.then(|| source::find(&model, file, external)).flatten() {
        return Ok(own);
    }
    let arena = Bump::new();
    let model = functions::inlined(model, &arena).map_err(|error| vec![error])?;
    let why = match free::read(&model, file, external, options) {
        Ok(Some(network)) => {
            let written = write(&network.found, &network.said, options)?;
            match network.check(&written) {
                Ok(()) => {
                    let note = network.note();
                    return Ok(imported(network.found, written, vec![note], options));
                }
                Err(reason) => Some(reason),
            }
        }
        Ok(None) => None,
        Err(free::Failure::Fixed(reason)) => Some(reason),
        Err(free::Failure::Refused(mut errors)) => {
            let assumed =
                "sizes that the file leaves open are 224 here, those of clips 64; `--input NAME=SIZE` gives others";
            let last = errors.pop().map(|last| last.note(assumed));
            errors.extend(last);
            return Err(errors);
        }
    };
    let fixed = |reason: &String| format!("sizes that the file leaves open are fixed: {reason}");
    let found = with_sizes(&model, file, external, options).map_err(|errors| {
        let because = |error: Diagnostic| match (&why, error.code) {
            (Some(reason), "E0805") => error.note(format!("they cannot be free: {reason}")),
            _ => error,
        };
        errors.into_iter().map(because).collect::<Vec<_>>()
    })?;
    let written = write(&found, &Said::new(), options)?;
    Ok(imported(found, written, why.iter().map(fixed).collect(), options))
}

/// The file with all sizes known.
fn with_sizes(
    model: &Model,
    file: &Bytes,
    external: &mut dyn External,
    options: &Options,
) -> Result<Found, Vec<Diagnostic>> {
    let mut at = |samples| walk::walk(model, file, &mut *external, options, View { samples, free: None });
    at(Samples::First).or_else(|errors| {
        // A network may be for one sample only, and have no axis for them.
        at(Samples::None).map_err(|others| {
            let says_more = |errors: &[Diagnostic]| errors.iter().any(|error| error.code == "E0806");
            if says_more(&others) && !says_more(&errors) { others } else { errors }
        })
    })
}

fn write(found: &Found, said: &Said, options: &Options) -> Result<Written, Vec<Diagnostic>> {
    let is_named = |path: &str| !path.is_empty() && !found.invented.contains(path);
    write::write(&found.graph, said, options.form, &is_named).map_err(|errors| {
        let of = |e: Diagnostic| Diagnostic::error("E0809", "the language cannot say this network").note(e.message);
        errors.into_iter().map(of).collect::<Vec<_>>()
    })
}

fn imported(found: Found, written: Written, more: Vec<String>, options: &Options) -> Import {
    let place = written.places();
    let Written { text, sources, program, graph, form, renamed, .. } = written;
    let (mut weights, notes) = (found.weights, found.notes);
    let mut notes = [notes, more].concat();
    weights.rename(&renamed);
    let (whole, more) = whole_file(&found.said, &found.real, &weights, &graph, &place);
    notes.extend(more);
    if form < options.form {
        notes.push(format!("the text is {form}: one that is {} would build another network", options.form));
    }
    Import { text, sources, program, graph, arguments: Arguments::default(), weights, whole, notes }
}

/// The weight file of what can be had of a file's whole numbers, and what cannot. `place` is where nodes are in the graph.
fn whole_file(
    said: &HashMap<NodeId, quant::Said>,
    real: &HashSet<NodeId>,
    weights: &Weights,
    graph: &Verified<Graph>,
    place: &HashMap<NodeId, NodeId>,
) -> (Option<Arc<WholeFile>>, Vec<String>) {
    let values = said.iter().filter_map(|(id, said)| Some((*place.get(id)?, said.clone()))).collect();
    let real = real.iter().filter_map(|id| place.get(id).copied()).collect();
    let given = Given { values, real, weights: weights.stepped() };
    if given.values.is_empty() && given.weights.is_empty() {
        return (None, Vec::new());
    }
    let folded = Folded::new(graph, weights);
    let (taken, mut notes) = quant::take(graph, &folded, &given);
    let Some(taken) = taken else { return (None, notes) };
    let whole = Arc::new(WholeFile::of(&taken, &folded));
    match bound(graph, &whole) {
        Ok(_) => (Some(whole), notes),
        Err(reason) => {
            notes.push(format!("all layers are left in f32: {reason}"));
            (None, notes)
        }
    }
}

/// The network that whole numbers make of one in f32, with its weights.
///
/// # Errors
/// Why there is none, in words.
fn bound(graph: &Verified<Graph>, whole: &Arc<WholeFile>) -> Result<(Verified<Graph>, BoundWeights), String> {
    let file = WeightFile::of_whole(Path::new("its whole numbers"), whole.clone());
    let (network, served) = quant::load(graph, &file).map_err(|error| error.to_string())?;
    let bound = BoundWeights::bind_rest(&network, file, &served).map_err(|misfit| misfit.to_string())?;
    Ok((network, bound))
}
