//! MaxPool (1, 8, 10, 11, 12, 22), AveragePool (1, 7, 10, 11, 19, 22), GlobalAveragePool, GlobalMaxPool (1, 22), LpPool (1, 2,
//! 11, 18, 22), GlobalLpPool (1, 2, 22).

use super::Rules;
use super::window::window;
use crate::front::onnx::Refusal;
use crate::front::onnx::call::{Call, Outputs};
use crate::front::onnx::flow::Flow;
use crate::front::onnx::walk::Importer;
use crate::ir::NodeId;
use crate::layers::{AvgPool, Fill, GlobalAvgPool, GlobalMaxPool, LpPool, MaxPool, Op, Pad, PadArg, Padding, Window};
use crate::tensor::TensorType;

pub const RULES: Rules = &[
    ("MaxPool", max_pool),
    ("AveragePool", average_pool),
    ("GlobalAveragePool", |importer, call| global(importer, call, GlobalAvgPool.into())),
    ("GlobalMaxPool", |importer, call| global(importer, call, GlobalMaxPool.into())),
    ("LpPool", norm_pool),
    ("GlobalLpPool", global_norm_pool),
];

fn global(importer: &mut Importer, call: &Call, op: Op) -> Outputs {
    let input = importer.plain(&call.flow(0)?.clone())?;
    let node = importer.layer(op, &[input])?;
    Ok(vec![Flow::of(node, importer.ty(node)).into()])
}

/// The operand, and the window over it.
fn pool(importer: &mut Importer, call: &Call) -> Result<(NodeId, Window), Refusal> {
    let input = importer.plain(&call.flow(0)?.clone())?;
    let kernel = call.sizes("kernel_shape")?.ok_or_else(|| Refusal::new("attribute `kernel_shape` is missing"))?;
    let ceil = call.flag("ceil_mode", false)?;
    let window = window(call, kernel, importer.ty(input).spatial())?;
    Ok((input, Window { ceil, ..window }))
}

/// Powers that the layer has.
fn power(call: &Call) -> Result<usize, Refusal> {
    let p = call.int("p", 2)?;
    let known = usize::try_from(p).ok().filter(|p| (1..=LpPool::MAX_P).contains(p));
    known.ok_or_else(|| Refusal::new(format!("attribute `p` is {p}; known are 1 to {}", LpPool::MAX_P)))
}

fn norm_pool(importer: &mut Importer, call: &Call) -> Outputs {
    let p = power(call)?;
    let (input, window) = pool(importer, call)?;
    let (input, window) = match is_too_wide(&window, importer.ty(input)) {
        true => padded_before(importer, input, window)?,
        false => (input, window),
    };
    let node = importer.layer(LpPool { window, p }, &[input])?;
    Ok(vec![Flow::of(node, importer.ty(node)).into()])
}

fn global_norm_pool(importer: &mut Importer, call: &Call) -> Outputs {
    let p = power(call)?;
    let input = importer.plain(&call.flow(0)?.clone())?;
    let window = Window::whole(importer.ty(input).spatial());
    let node = importer.layer(LpPool { window, p }, &[input])?;
    Ok(vec![Flow::of(node, importer.ty(node)).into()])
}

fn max_pool(importer: &mut Importer, call: &Call) -> Outputs {
    call.int("storage_order", 0)?;
    if call.node.outputs.len() > 1 {
        return Err(Refusal::new("the indices of the largest elements are asked for"));
    }
    let (input, window) = pool(importer, call)?;
    let node = importer.layer(MaxPool { window }, &[input])?;
    Ok(vec![Flow::of(node, importer.ty(node)).into()])
}

fn average_pool(importer: &mut Importer, call: &Call) -> Outputs {
    let count_pad = call.flag("count_include_pad", false)?;
    let (input, window) = pool(importer, call)?;
    let ty = importer.ty(input).clone();
    // Without padding both are the same, and the language's default is shorter.
    let unpadded = window.resolve(ty.spatial())?.pads.iter().all(|&pad| pad == (0, 0));
    let plain = AvgPool { window, count_pad: count_pad || unpadded };
    let (input, layer) = if count_pad && is_too_wide(&plain.window, &ty) {
        let (input, window) = padded_before(importer, input, plain.window)?;
        (input, AvgPool { window, ..plain })
    } else {
        (input, plain)
    };
    let node = importer.layer(layer, &[input])?;
    Ok(vec![Flow::of(node, importer.ty(node)).into()])
}

/// Whether a window could lie in the padding alone, which a pool here refuses.
fn is_too_wide(window: &Window, ty: &TensorType) -> bool {
    let resolved = window.resolve(ty.spatial());
    resolved.is_ok_and(|resolved| {
        resolved.pads.iter().enumerate().any(|(dim, pad)| pad.0.max(pad.1) > resolved.effective(dim) / 2)
    })
}

/// Zeros that count may as well stand there before.
fn padded_before(importer: &mut Importer, input: NodeId, window: Window) -> Result<(NodeId, Window), Refusal> {
    if window.ceil {
        return Err(Refusal::new("padding of more than half of the kernel together with `ceil_mode`"));
    }
    let resolved = window.resolve(importer.ty(input).spatial())?;
    let sides = PadArg::List(resolved.pads.iter().flat_map(|&(front, back)| [front, back]).collect());
    let padded = importer.layer(Pad { sides, channels: (0, 0), fill: Fill::ZEROS }, &[input])?;
    Ok((padded, Window { padding: Padding::Valid, ..window }))
}
