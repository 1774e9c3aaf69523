//! Folds a batch norm into the weights and bias of the convolution (also a transposed one) or dense layer in front of it:
//! gamma (w x + b - mean) / sqrt(var + eps) + beta is again a convolution (Jacob et al. 2018, "Quantization and
//! training of neural networks", section 3.2). The folded values are computed when the weights are packed.

use super::uses::Uses;
use super::{Config, Report};
use crate::ir::{Graph, NodeId, Norm, Param, ParamId, ParamSource};
use crate::layers::{Init, Op};

pub fn run(graph: &mut Graph, _config: &Config, report: &mut Report) {
    let mut uses = Uses::of(graph);
    for id in graph.ids() {
        uses.update(graph, id);
        let Op::BatchNorm(norm) = &graph[id].op else { continue };
        if !graph[id].epilogue.is_empty() {
            // It is a kernel's own work already.
            continue;
        }
        let eps = norm.eps;
        let producer = graph[id].inputs[0];
        let path = graph[id].origin.path.clone();
        match refusal(graph, producer, &uses) {
            Some(why) => report.refused(&path, why),
            None => {
                fold(graph, producer, id, eps);
                uses.replace(id, producer);
                report.done(&path, format!("folded into {}", graph[producer].name()));
            }
        }
    }
    uses.finish(graph);
}

/// Why the batch norm behind `producer` cannot be folded into it.
fn refusal(graph: &Graph, producer: NodeId, uses: &Uses) -> Option<String> {
    let node = &graph[producer];
    let name = node.op.layer().map_or("input".to_string(), |l| l.spec().keyword.to_string());
    match node.op {
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_) if uses.is_shared(producer) => {
            Some(format!("the value of {} is read elsewhere too", node.name()))
        }
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_) if !node.epilogue.is_empty() => {
            Some(format!("something else is fused into {} already", node.name()))
        }
        Op::Conv(_) | Op::ConvTranspose(_) | Op::Dense(_) => None,
        _ => Some(format!("it stands behind `{name}`, which has no weights to fold it into")),
    }
}

fn fold(graph: &mut Graph, producer: NodeId, norm: NodeId, eps: f64) {
    let &[gamma, beta, mean, variance] = graph[norm].params.as_slice() else { unreachable!("verified") };
    let norm_params = Norm { gamma, beta, mean, variance, eps };
    let weight = graph[producer].params[0];
    let bias = graph[producer].params.get(1).copied();
    let scaled = derive(graph, weight, "folded", ParamSource::Scaled { weight: Some(weight), norm: norm_params });
    let shifted = derive(graph, beta, "folded", ParamSource::Shifted { bias, norm: norm_params });
    let node = &mut graph[producer];
    node.params = vec![scaled, shifted];
    match &mut node.op {
        Op::Conv(conv) => conv.bias = true,
        Op::ConvTranspose(conv) => conv.bias = true,
        Op::Dense(dense) => dense.bias = true,
        _ => unreachable!("checked by `refusal`"),
    }
}

/// A parameter of the shape of `like`.
fn derive(graph: &mut Graph, like: ParamId, suffix: &str, source: ParamSource) -> ParamId {
    let Param { name, dims, .. } = &graph[like];
    let param = Param { name: format!("{name}.{suffix}"), dims: dims.clone(), source, init: Init::Small };
    graph.add_param(param)
}
