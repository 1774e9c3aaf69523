//! Folds a batch norm, or another scale and shift of each channel, into the weights and bias of what is in front of it:
//! gamma (w x + b - mean) / sqrt(var + eps) + beta is again a convolution (also a transposed one) or a dense layer (Jacob et al. 2018, "Quantization
//! and training of neural networks", section 3.2), or a batch norm or scale. The folded values are computed when the
//! weights are packed.

use super::uses::Uses;
use super::{Config, Report};
use crate::ir::{self, Graph, NodeId, Norm, Param, ParamId, ParamSource, Statistics};
use crate::layers::{Activation, Init, Op};

pub fn run(graph: &mut Graph, _config: &Config, report: &mut Report) {
    let mut uses = Uses::of(graph);
    for id in graph.ids() {
        uses.update(graph, id);
        if !matches!(graph[id].op, Op::BatchNorm(_) | Op::Scale(_) | Op::Activation(Activation::Affine { .. })) {
            continue;
        }
        if !graph[id].epilogue.is_empty() {
            // It is a kernel's own work already.
            continue;
        }
        let producer = graph[id].inputs[0];
        let path = graph[id].origin.path.clone();
        match refusal(graph, producer, &uses) {
            Some(why) => report.refused(&path, why),
            None => {
                fold(graph, producer, id);
                uses.replace(id, producer);
                report.done(&path, format!("folded into {}", graph[producer].name()));
            }
        }
    }
    uses.finish(graph);
}

/// Why what stands behind `producer` cannot be folded into it.
fn refusal(graph: &Graph, producer: NodeId, uses: &Uses) -> Option<String> {
    let node = &graph[producer];
    let (name, keyword) = (node.name(), node.op.layer().map_or("input", |layer| layer.spec().keyword));
    match node.op {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_) | Op::BatchNorm(_) | Op::Scale(_) => {}
        _ => return Some(format!("it stands behind `{keyword}`, which has no weights to fold it into")),
    }
    if ir::integer::concerns(graph, node) {
        return Some(format!("{name} computes on whole numbers"));
    }
    if uses.is_shared(producer) {
        return Some(format!("the value of {name} is read elsewhere too"));
    }
    (!node.epilogue.is_empty()).then(|| format!("something else is fused into {name} already"))
}

fn fold(graph: &mut Graph, producer: NodeId, id: NodeId) {
    let norm = norm_of(graph, id);
    let params = graph[producer].params.clone();
    // A batch norm's statistics stand behind its weight and bias, and stay.
    let own = if matches!(graph[producer].op, Op::BatchNorm(_)) { params.len() - 2 } else { params.len() };
    let (own, statistics) = params.split_at(own);
    let (weight, bias) = (own.first().copied(), own.get(1).copied());
    let scaled = match weight {
        Some(weight) => (graph[weight].name.clone(), graph[weight].dims.clone()),
        None => (format!("{}.weight", graph[producer].origin.path), vec![graph[producer].ty.channels()]),
    };
    let shifted = match norm.beta {
        Some(beta) => graph[beta].name.clone(),
        None => format!("{}.bias", graph[id].origin.path),
    };
    let channels = vec![graph[producer].ty.channels()];
    let scaled = derive(graph, scaled.0, scaled.1, ParamSource::Scaled { weight, norm });
    let shifted = derive(graph, shifted, channels, ParamSource::Shifted { bias, norm });
    let node = &mut graph[producer];
    node.params = [&[scaled, shifted], statistics].concat();
    match &mut node.op {
        Op::Conv(conv) => conv.bias = true,
        Op::ConvTranspose(conv) => conv.bias = true,
        Op::Dense(dense) => dense.bias = true,
        Op::BatchNorm(norm) => norm.affine = true,
        Op::Scale(scale) => scale.bias = true,
        _ => unreachable!("checked by `refusal`"),
    }
}

/// What a node does to each channel.
fn norm_of(graph: &mut Graph, id: NodeId) -> Norm {
    let params = graph[id].params.clone();
    match graph[id].op {
        Op::BatchNorm(ref norm) => {
            let (affine, statistics) = params.split_at(params.len() - 2);
            let statistics = Some(Statistics { mean: statistics[0], variance: statistics[1], eps: norm.eps });
            Norm { gamma: affine.first().copied(), beta: affine.get(1).copied(), statistics }
        }
        Op::Scale(_) => Norm { gamma: Some(params[0]), beta: params.get(1).copied(), statistics: None },
        Op::Activation(Activation::Affine { scale, shift }) => {
            let mut fixed = |role, value| {
                let (name, channels) = (format!("{}.{role}", graph[id].origin.path), graph[id].ty.channels());
                let source = ParamSource::Fixed(vec![value; channels].into());
                graph.add_param(Param { name, dims: vec![channels], source, init: Init::NearOne })
            };
            Norm { gamma: Some(fixed("scale", scale)), beta: Some(fixed("shift", shift)), statistics: None }
        }
        _ => unreachable!("checked by `run`"),
    }
}

fn derive(graph: &mut Graph, name: String, dims: Vec<usize>, source: ParamSource) -> ParamId {
    graph.add_param(Param { name: format!("{name}.folded"), dims, source, init: Init::Small })
}
