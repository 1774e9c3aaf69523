//! A graph as a text that a person would have written: the way back from [`build`](super::build).
//!
//! | step | file | what comes of it |
//! | --- | --- | --- |
//! | 1 | `tidy` | one way to say what can be said in several |
//! | 2 | `series`, `lines` | branches that begin and end together: residual, grow, gate, add, mul, concat |
//! | 3 | `nest` | labels, from the paths that layers have |
//! | 4 | `blocks`, `skeleton`, `unify` | groups of the same structure as calls of one block |
//! | 5 | `roll` | calls behind each other as repetitions |
//! | 6 | `inline` | blocks of one call in its place |
//! | 7 | `print` | the text |
//!
//! Nothing is believed: the text is built, and must give the graph that it was written from, with the same names of
//! weights. Where it does not, or a step finds no words, the next simpler form is tried. The simplest, `flat`, has a line
//! for each chain of layers.

mod blocks;
mod call;
mod flat;
mod inline;
mod lines;
mod nest;
mod print;
mod proof;
mod roll;
mod series;
mod skeleton;
#[cfg(test)]
mod testing;
mod tidy;
mod tree;
mod unify;

use super::build::Program;
use crate::diagnostic::Diagnostic;
use crate::ir::{Graph, NodeId, Verified};
use crate::source::SourceMap;
use nest::Paths;
use std::collections::HashMap;
use std::fmt;
use tree::Body;

/// How much structure a text has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// A line for each chain of layers.
    Flat,
    /// Branches as such, and layers below the labels of their paths.
    Nested,
    /// Also blocks and repetitions.
    #[default]
    Rolled,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Form::Flat => "flat",
            Form::Nested => "nested without blocks",
            Form::Rolled => "nested",
        })
    }
}

/// A text, and what it builds.
pub struct Written {
    pub text: String,
    /// The text, for messages with places in it.
    pub sources: SourceMap,
    /// The text's items.
    pub program: Program,
    /// The graph that the text builds, which is the one that it was written from.
    pub graph: Verified<Graph>,
    pub form: Form,
    /// Names of weights that have another one in the text: that of the graph, and that of the text.
    pub renamed: Vec<(String, String)>,
    /// The nodes of the graph that it was written from, in the order of its own; those behind the last are lists within
    /// lists.
    order: Vec<NodeId>,
}

impl Written {
    /// Where the nodes of the graph that it was written from are in its own.
    pub fn places(&self) -> HashMap<NodeId, NodeId> {
        self.order.iter().enumerate().map(|(place, &id)| (id, NodeId(place as u32))).collect()
    }
}

/// Layers whose arguments depend on free sizes, in words that say how.
pub type Said = HashMap<NodeId, String>;

/// Writes a graph whose nodes are all needed, in the given form or the best that says it. The paths of layers are their
/// labels; of those with weights, the ones that `is_named` takes are to be kept, others may get another name. Where the graph
/// has free sizes, `said` are the layers that depend on them.
///
/// # Errors
/// Where the language cannot say the network.
pub fn write(
    graph: &Graph,
    said: &Said,
    form: Form,
    is_named: &dyn Fn(&str) -> bool,
) -> Result<Written, Vec<Diagnostic>> {
    let nested = || Nested::of(graph, said, is_named);
    if let Some(nested) = (form > Form::Flat).then(nested).flatten() {
        let forms = [Form::Rolled, Form::Nested].into_iter().filter(|&simpler| simpler <= form);
        if let Some(written) = forms.into_iter().find_map(|form| nested.write(form, is_named)) {
            return Ok(written);
        }
    }
    let flat::Flat { text, order } = flat::write(graph, said);
    let order = proof::Order::new(graph, &order).expect("each layer is in one chain");
    proof::prove(text, graph, order, Form::Flat, &|_| false)
}

/// A network as steps below labels.
struct Nested {
    graph: Graph,
    net: Body,
    /// The layers as the text makes them.
    order: Vec<NodeId>,
}

impl Nested {
    fn of(graph: &Graph, said: &Said, is_named: &dyn Fn(&str) -> bool) -> Option<Nested> {
        let mut graph = graph.clone();
        tidy::padding(&mut graph);
        let steps = series::steps(&mut graph, said)?;
        let order = tree::order(&steps);
        let net = Paths::new(&graph, is_named).nest(steps);
        Some(Nested { graph, net, order })
    }

    fn write(&self, form: Form, is_named: &dyn Fn(&str) -> bool) -> Option<Written> {
        let mut net = self.net.clone();
        let mut blocks = match form {
            Form::Rolled => blocks::roll_up(&self.graph, &mut net),
            _ => Vec::new(),
        };
        inline::inline(&mut net, &mut blocks);
        blocks.iter_mut().map(|block| &mut block.body).chain([&mut net]).for_each(|body| print::shorten(body, false));
        let text = print::print(&self.graph, &blocks, &net);
        proof::prove(text, &self.graph, proof::Order::new(&self.graph, &self.order)?, form, is_named).ok()
    }
}
