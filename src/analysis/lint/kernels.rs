//! Rules about the kernels of convolutions.

use super::{Finding, Subject};
use crate::diagnostic::{Fix, Help};
use crate::front::text::build::param_of_word;
use crate::front::text::syntax::ast::{Arg, ExprKind};
use crate::ir::NodeId;
use crate::layers::{Conv, Layer, Op, Padding};

/// Pictures of this side and more may have large kernels behind their first layer.
const LARGE_PICTURE: usize = 128;

impl Subject<'_, '_> {
    fn convolutions(&self) -> impl Iterator<Item = (NodeId, &Conv)> {
        self.graph.ids().filter_map(|id| match &self.graph[id].op {
            Op::Conv(conv) => Some((id, conv)),
            _ => None,
        })
    }

    fn is_depthwise(&self, id: NodeId, conv: &Conv) -> bool {
        let input = self.graph.operand_types(&self.graph[id])[0];
        conv.groups > 1 && conv.group_in(input) == 1
    }

    /// The call with another kernel, where its own is written in numbers.
    fn with_kernel(&self, node: NodeId, kernel: &str) -> Option<Fix> {
        let place = self.place(node)?.call.kernel()?;
        Some(Fix::replace(format!("take {kernel}"), place, kernel).maybe())
    }

    /// Several layers of 3x3 in place of one, in the simplest case.
    fn in_layers(&self, node: NodeId, conv: &Conv, layers: usize) -> Option<Fix> {
        let place = self.place(node)?;
        let plain = conv.window.stride == [1, 1] && !matches!(conv.window.padding, Padding::All(_) | Padding::Sides(_));
        let known = |arg: &Arg| match &arg.value.kind {
            ExprKind::Int(_) | ExprKind::Dims(_) | ExprKind::Bool(_) => true,
            ExprKind::Name(word) => param_of_word(conv.spec(), word).is_some(),
            _ => false,
        };
        let kernel = place.call.kernel().filter(|_| plain && place.call.args.iter().all(known))?;
        let mut small = conv.clone();
        small.window.kernel = vec![3, 3];
        let more = format!(" | relu | {small}").repeat(layers - 1);
        let (open, close) = if place.step.label.is_some() { ("seq { ", " }") } else { ("", "") };
        let edits =
            [(place.call.span.before(), open.into()), (kernel, "3x3".into()), (place.call.span.behind(), more + close)];
        Some(Fix::new(format!("take {layers} convolutions of 3x3"), edits).maybe())
    }

    /// For each node, whether a convolution comes before it.
    fn behind_convolutions(&self) -> Vec<bool> {
        let mut behind = vec![false; self.graph.nodes.len()];
        for id in self.graph.ids() {
            let is_behind = |input: &NodeId| behind[input.0 as usize] || is_convolution(&self.graph[*input].op);
            behind[id.0 as usize] = self.graph[id].inputs.iter().any(is_behind);
        }
        behind
    }
}

fn is_convolution(op: &Op) -> bool {
    matches!(op, Op::Conv(_) | Op::ConvTranspose(_))
}

/// Without a middle, the output lies half a position beside the input, and `half` pads make it one larger.
pub fn even(subject: &Subject) -> Vec<Finding> {
    let even = subject.convolutions().filter(|(_, conv)| conv.window.kernel.iter().any(|k| k.is_multiple_of(2)));
    let finding = |(node, conv): (NodeId, &Conv)| Finding {
        node,
        message: "a kernel of even size".into(),
        label: format!("{} has no middle: the output is moved by half a position", size(&conv.window.kernel)),
        help: {
            let odd = size(&conv.window.kernel.iter().map(|k| k | 1).collect::<Vec<_>>());
            Help::new(format!("take {odd}")).fix(subject.with_kernel(node, &odd))
        },
    };
    even.map(finding).collect()
}

/// Outputs that are sums of more inputs than their neighbours stand out of them in a pattern (Odena, Dumoulin and Olah 2016,
/// "Deconvolution and checkerboard artifacts", Distill, doi 10.23915/distill.00003).
pub fn uneven(subject: &Subject) -> Vec<Finding> {
    let finding = |node: NodeId| {
        let Op::ConvTranspose(conv) = &subject.graph[node].op else { return None };
        let (kernel, stride) = (&conv.window.kernel, &conv.window.stride);
        let even: Vec<usize> = kernel.iter().zip(stride).map(|(k, s)| k.next_multiple_of(*s)).collect();
        (even != *kernel).then(|| Finding {
            node,
            message: "a transposed convolution that overlaps unevenly".into(),
            label: format!(
                "{} is no multiple of the stride of {}: outputs differ in weight",
                size(kernel),
                size(stride)
            ),
            help: Help::new(format!("take {}, or `upsample` and a convolution", size(&even)))
                .fix(subject.with_kernel(node, &size(&even))),
        })
    };
    subject.graph.ids().filter_map(finding).collect()
}

/// Small pictures have their information in small neighbourhoods, and depth reaches the large ones more cheaply.
/// Depthwise convolutions are left alone: their cost is small beside that of the 1x1 convolutions around them.
pub fn large(subject: &Subject) -> Vec<Finding> {
    let input = subject.graph.inputs.first().map_or(&[][..], |&id| subject.graph[id].ty.spatial());
    if input.iter().any(|&size| size >= LARGE_PICTURE) {
        return Vec::new();
    }
    let behind = subject.behind_convolutions();
    let odd =
        |(id, conv): &(NodeId, &Conv)| is_large(conv) && behind[id.0 as usize] && !subject.is_depthwise(*id, conv);
    let large = subject.convolutions().filter(odd);
    let finding = |(node, conv): (NodeId, &Conv)| Finding {
        node,
        message: "a large kernel behind the first layer of a network for small pictures".into(),
        label: format!("{}, where the pictures are {}", size(&conv.window.kernel), size(input)),
        help: {
            let small = size(&vec![3; conv.window.rank()]);
            let why = "5x5 and more pay in the first layer, or on pictures of";
            Help::new(format!("take {small} ({why} {LARGE_PICTURE} and more)")).fix(subject.with_kernel(node, &small))
        },
    };
    large.map(finding).collect()
}

/// Large in two dimensions; 1x7 is a factor of such a kernel.
fn is_large(conv: &Conv) -> bool {
    conv.window.kernel.iter().filter(|&&k| k >= 5).count() >= 2
}

/// n convolutions of 3x3 see as much as one of 2 n + 1 (Simonyan and Zisserman 2015, section 2.3). Those that take
/// the place of one have its output channels in between. Depthwise ones are left alone here too.
pub fn replaceable(subject: &Subject) -> Vec<Finding> {
    subject.convolutions().filter_map(|(id, conv)| replacement(subject, id, conv)).collect()
}

fn replacement(subject: &Subject, node: NodeId, conv: &Conv) -> Option<Finding> {
    let input = subject.graph.operand_types(&subject.graph[node])[0];
    let (from, to) = (conv.group_in(input) as u128, (conv.channels / conv.groups) as u128);
    let kernel = &conv.window.kernel;
    let fits = is_large(conv) && kernel.len() == 2 && kernel[0] == kernel[1] && !kernel[0].is_multiple_of(2);
    if !fits || subject.is_depthwise(node, conv) || conv.weights.is_some() || conv.window.dilation != [1, 1] {
        return None;
    }
    let layers = kernel[0] / 2;
    let channels = conv.channels as u128;
    let now = channels * from * (kernel[0] as u128).pow(2);
    let then = channels * 9 * (from + (layers as u128 - 1) * to);
    (then < now).then(|| Finding {
        node,
        message: "a large kernel that several 3x3 would replace with fewer weights".into(),
        label: format!("{} has {now} weights, {layers} times 3x3 have {then}", size(kernel)),
        help: Help::new(format!(
            "take {layers} convolutions of 3x3: they see as much, with more non-linearities in between"
        ))
        .fix(subject.in_layers(node, conv, layers)),
    })
}

/// `5x5`
fn size(dims: &[usize]) -> String {
    dims.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}
