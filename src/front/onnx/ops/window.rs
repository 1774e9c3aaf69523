//! Kernel, strides, dilations and padding of convolutions and pools.

use crate::front::onnx::Refusal;
use crate::front::onnx::call::Call;
use crate::layers::{Padding, Window};

/// The window of a node over an input of spatial size `input`. Padding is in numbers where these are the same for all sizes.
///
/// # Errors
/// If the numbers do not go together, or padding is negative.
pub fn window(call: &Call, kernel: Vec<usize>, input: &[usize]) -> Result<Window, Refusal> {
    let rank = kernel.len();
    if rank != input.len() {
        return Err(Refusal::new(format!("a kernel of {rank} dimensions on an input of {}", input.len())));
    }
    let (stride, dilation) = (of_rank(call, "strides", rank)?, of_rank(call, "dilations", rank)?);
    let pads = match (call.text("auto_pad", "NOTSET")?, pads(call, rank)?) {
        ("NOTSET", pads) => pads,
        ("VALID", _) => vec![(0, 0); rank],
        ("SAME_UPPER", _) if stride.iter().any(|&stride| stride > 1) && !call.flag("ceil_mode", false)? => {
            return Ok(Window { kernel, stride, dilation, padding: Padding::Same, ceil: false });
        }
        ("SAME_UPPER", _) => (0..rank).map(|d| same(input[d], kernel[d], stride[d], dilation[d], false)).collect(),
        ("SAME_LOWER", _) => (0..rank).map(|d| same(input[d], kernel[d], stride[d], dilation[d], true)).collect(),
        (other, _) => return Err(Refusal::new(format!("attribute `auto_pad` is `{other}`"))),
    };
    let padding = padding(pads, &kernel, &dilation);
    Ok(Window { kernel, stride, dilation, padding, ceil: false })
}

/// One size for each dimension, by default 1.
pub fn of_rank(call: &Call, name: &'static str, rank: usize) -> Result<Vec<usize>, Refusal> {
    let sizes = call.sizes(name)?.unwrap_or(vec![1; rank]);
    match sizes.len() {
        length if length == rank => Ok(sizes),
        length => Err(Refusal::new(format!("{length} {name} for a kernel of {rank} dimensions"))),
    }
}

/// Padding as ONNX lists it: all fronts, then all backs.
pub fn pads(call: &Call, rank: usize) -> Result<Vec<(usize, usize)>, Refusal> {
    let Some(list) = call.ints("pads")? else { return Ok(vec![(0, 0); rank]) };
    let sizes: Option<Vec<usize>> = list.iter().map(|&pad| usize::try_from(pad).ok()).collect();
    let sizes = sizes.ok_or_else(|| Refusal::new(format!("attribute `pads` is {list:?}, and negative")))?;
    if sizes.len() != 2 * rank {
        return Err(Refusal::new(format!("{} pads for a kernel of {rank} dimensions", sizes.len())));
    }
    Ok((0..rank).map(|dim| (sizes[dim], sizes[rank + dim])).collect())
}

/// As much as gives ceil(input / stride) outputs, the odd one behind, or in front if `lower`.
fn same(input: usize, kernel: usize, stride: usize, dilation: usize, lower: bool) -> (usize, usize) {
    let reach = (input.div_ceil(stride).saturating_sub(1)).saturating_mul(stride);
    let effective = (kernel - 1).saturating_mul(dilation).saturating_add(1);
    let total = reach.saturating_add(effective).saturating_sub(input);
    let (less, more) = (total / 2, total - total / 2);
    if lower { (more, less) } else { (less, more) }
}

/// In the words of the language, where they say it.
pub fn padding(pads: Vec<(usize, usize)>, kernel: &[usize], dilation: &[usize]) -> Padding {
    let half = |dim: usize| (kernel[dim] - 1).saturating_mul(dilation[dim]).saturating_add(1) / 2;
    if pads.iter().all(|&pad| pad == (0, 0)) {
        Padding::Valid
    } else if pads.iter().enumerate().all(|(dim, &pad)| pad == (half(dim), half(dim))) {
        Padding::Half
    } else if pads.iter().all(|&pad| pad == (pads[0].0, pads[0].0)) {
        Padding::All(pads[0].0)
    } else {
        Padding::Sides(pads)
    }
}
