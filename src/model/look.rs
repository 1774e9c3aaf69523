//! Looking into a model: drawings, what its layers see, and their values.

use super::{Model, Weights};
use crate::analysis::draw::{Drawing, Format};
use crate::analysis::receptive_field::{Axis, Field, receptive_field};
use crate::error::Error;
use crate::io::IoError;
use crate::ir::{Graph, Node, NodeId, Output, Verified, verify};
use crate::kernels::Target;
use crate::kernels::tuning::Choices;
use crate::runtime::{Options, Session, check_planning};
use crate::schedule;
use std::ops::Range;

/// Which form of a network is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// As it is written.
    Source,
    /// After fusion.
    Fused,
    /// As kernels.
    Plan,
}

/// What of the input a position of a layer's value sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seen {
    /// These positions, by spatial dimension; such as lie outside of the input are padding.
    Local(Vec<Range<i64>>),
    /// The whole input.
    Whole,
    /// No single window describes it: paths of different strides meet.
    Differs,
}

impl Model {
    /// A drawing of the network.
    ///
    /// # Errors
    /// Where it is too large to be drawn as SVG, or its kernels take more memory than the options allow.
    pub fn draw(&self, stage: Stage, format: Format, options: &Options) -> Result<String, Error> {
        check_planning(self.graph(), options.memory_limit)?;
        let drawing = drawing(self.graph().clone(), stage, options.target(), &Choices::default());
        Ok(drawing.render(format)?)
    }

    /// What of the input one position of a layer's value sees; `position` has a number for each spatial dimension of the
    /// value. A block's value is that of its last layer.
    ///
    /// # Errors
    /// Where there is no such layer, or its value no such position.
    pub fn receptive_field(&self, layer: &str, position: &[usize]) -> Result<Seen, Error> {
        let id = self.layer(layer)?;
        let sizes = self.graph()[id].ty.spatial();
        if sizes.len() != position.len() || sizes.iter().zip(position).any(|(size, at)| at >= size) {
            let (layer, sizes, position) = (layer.to_owned(), sizes.to_vec(), position.to_vec());
            return Err(Error::Position { layer, sizes, position });
        }
        let seen =
            |axes: &[Axis]| axes.iter().zip(position).map(|(axis, &at)| axis.seen_by(at)).collect::<Option<Vec<_>>>();
        Ok(match receptive_field(self.graph()).of(id) {
            Field::Whole => Seen::Whole,
            Field::Differs => Seen::Differs,
            // None where its ends do not fit in 64 bits.
            Field::Local(axes) => seen(axes).map_or(Seen::Differs, Seen::Local),
        })
    }

    /// As [`Model::compile`], of a session whose outputs are the values of these layers, each under the name given here.
    /// A block's value is that of its last layer. What no such value needs is not computed.
    ///
    /// # Errors
    /// As [`Model::compile`], and where there is no such layer.
    pub fn compile_values(&self, layers: &[&str], weights: &Weights, options: &Options) -> Result<Session, Error> {
        let output = |name: &&str| Ok(Output { name: (*name).to_owned(), node: self.layer(name)? });
        let outputs = layers.iter().map(output).collect::<Result<Vec<Output>, Error>>()?;
        if outputs.is_empty() {
            return Err(self.unknown_layer(""));
        }
        let graph = Graph { outputs, ..self.graph().clone().into_inner() };
        let graph = verify(graph).expect("layers can be outputs");
        let weights = self.bind(weights)?;
        if let Some(path) = weights.whole() {
            let reason = "it has weights of eight bits, with which the values of layers cannot be asked for".to_owned();
            return Err(IoError::Unsupported { path: path.to_owned(), reason }.into());
        }
        Ok(Session::new(graph, &weights, options)?)
    }

    /// The last layer of this path, or below it.
    fn layer(&self, name: &str) -> Result<NodeId, Error> {
        let graph = self.graph();
        let named =
            |node: &Node| node.op.layer().is_some() && !name.is_empty() && schedule::is_below(&node.origin.path, name);
        graph.ids().rev().find(|&id| named(&graph[id])).ok_or_else(|| self.unknown_layer(name))
    }

    fn unknown_layer(&self, name: &str) -> Error {
        let layers = self.graph().nodes.iter().filter(|node| node.op.layer().is_some());
        schedule::UnknownLayer::new(name, layers.map(|node| node.origin.path.as_str()), false).into()
    }
}

/// A network at a stage, with kernels for `target`.
pub(crate) fn drawing(graph: Verified<Graph>, stage: Stage, target: Target, choices: &Choices) -> Drawing {
    match stage {
        Stage::Source => Drawing::of_graph(&graph),
        Stage::Fused => Drawing::of_graph(&schedule::fuse(graph, target).0),
        Stage::Plan => schedule::plan_tuned(graph, target, choices).drawing(),
    }
}
