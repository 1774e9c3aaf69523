//! Lets a strided 1x1 convolution read only the positions that it uses: they are copied side by side first. The kernel
//! then joins rows, which are short behind a stride, to tiles of full width, and each cache line that it loads is used
//! whole.

use super::{Config, Report, split};
use crate::ir::{Graph, Node};
use crate::layers::{Conv, MaxPool, Op, Window};

pub fn run(graph: &mut Graph, _config: &Config, report: &mut Report) {
    split::run(graph, |graph, node| {
        let split = subsampled(graph, node)?;
        let input = graph[node.inputs[0]].name();
        report.done(&node.origin.path, format!("reads a copy of the positions of {input} that its stride leaves"));
        Some(split)
    });
}

/// Output channels for which the copy pays: each value that is copied saves loads in this many sums.
const MIN_CHANNELS: usize = 64;

/// A strided 1x1 convolution as a selection of positions, which is the largest of one each, and one without a stride.
fn subsampled(graph: &Graph, node: &Node) -> Option<(Op, Op)> {
    let Op::Conv(conv) = &node.op else { return None };
    let Conv { window, channels, groups: 1, .. } = conv else { return None };
    let resolved = window.resolve(graph[node.inputs[0]].ty.spatial()).expect("verified");
    let strided = resolved.stride.iter().any(|&stride| stride > 1);
    if !strided || !resolved.is_pointwise() || *channels < MIN_CHANNELS {
        return None;
    }
    let still = Window { stride: vec![1; window.rank()], ..window.clone() };
    Some((MaxPool { window: window.clone() }.into(), Conv { window: still, ..conv.clone() }.into()))
}
