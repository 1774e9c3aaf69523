//! Windows over positions, and over channels.

use super::builder::{Site, Step};
use super::call::Call;
use super::layers::{Steps, pads, reshape, resolved};
use crate::layers::{AdaptiveAvgPool, AvgPool, LocalResponseNorm, MaxPool, ResolvedWindow};

/// The attributes of a window, its padding in numbers.
pub fn window(call: Call, window: &ResolvedWindow) -> Call {
    let front = window.pads.iter().map(|&(front, _)| front);
    let back = window.pads.iter().map(|&(_, back)| back);
    let call = call.ints("kernel_shape", window.kernel.iter().copied()).ints("strides", window.stride.iter().copied());
    let call = if is_dilated(window) { call.ints("dilations", window.dilation.iter().copied()) } else { call };
    call.ints("pads", front.chain(back))
}

fn is_dilated(window: &ResolvedWindow) -> bool {
    window.dilation.iter().any(|&distance| distance != 1)
}

/// How far the last window of each dimension hangs over the padded input, which `ceil` lets it.
fn overhang(window: &ResolvedWindow, input: &[usize]) -> Vec<usize> {
    let reach = |d: usize| (window.out[d] - 1) * window.stride[d] + window.effective(d);
    let padded = |d: usize| input[d] + window.pads[d].0 + window.pads[d].1;
    (0..input.len()).map(|d| reach(d).saturating_sub(padded(d))).collect()
}

/// Whether ONNX's size under `ceil_mode`, ceil((input + pads - effective) / stride) + 1, is the window's. It is one more
/// where the last window would start behind the input, which svertka (as PyTorch) leaves out, and some engines too; and
/// it is said for windows only that fit into the padded input.
fn agrees_on_ceil(window: &ResolvedWindow, input: &[usize]) -> bool {
    let room = |d: usize| (input[d] + window.pads[d].0 + window.pads[d].1).checked_sub(window.effective(d));
    (0..input.len()).all(|d| room(d).is_some_and(|room| room.div_ceil(window.stride[d]) + 1 == window.out[d]))
}

/// The window, and whether ONNX is to round its size up. Where that would give another size, what hangs over is padding.
fn rounded(mut window: ResolvedWindow, input: &[usize]) -> (ResolvedWindow, bool) {
    let overhang = overhang(&window, input);
    if overhang.iter().all(|&size| size == 0) {
        return (window, false);
    }
    if agrees_on_ceil(&window, input) {
        return (window, true);
    }
    window.pads.iter_mut().zip(overhang).for_each(|((_, back), over)| *back += over);
    (window, false)
}

/// Whether less is padded than there are taps, which engines demand of a pooling; here, the dilated window counts.
fn is_taken(window: &ResolvedWindow) -> bool {
    window.pads.iter().zip(&window.kernel).all(|(&(front, back), &taps)| front.max(back) < taps)
}

/// The operand with all that the windows see beside it, as a node of its own. `value` is what it is padded with, zeros if
/// none is given.
fn padded(site: &mut Site, window: &mut ResolvedWindow, value: Option<f64>) -> String {
    let ty = site.input_type(0);
    let over = overhang(window, ty.spatial());
    window.pads.iter_mut().zip(over).for_each(|((_, back), over)| *back += over);
    let sizes = ty.spatial().iter().zip(&window.pads).map(|(size, (front, back))| size + front + back);
    let dims: Vec<usize> = [ty.channels()].into_iter().chain(sizes).collect();
    let amounts = [&[(0, 0)], &window.pads[..]].concat();
    window.pads.fill((0, 0));
    let x = site.input(0);
    let call = pads(site, x, &amounts, value);
    site.value(call, &dims)
}

/// <https://onnx.ai/onnx/operators/onnx__MaxPool.html>
pub fn max(site: &mut Site, layer: &MaxPool) -> Steps {
    let (mut resolved, ceil) = rounded(resolved(site, layer), site.input_type(0).spatial());
    let x = if is_taken(&resolved) { site.input(0) } else { padded(site, &mut resolved, Some(f64::NEG_INFINITY)) };
    Ok(window(Call::new("MaxPool", [x]), &resolved).flag("ceil_mode", ceil).into())
}

/// What hangs over never counts, but older engines count it with the padding. Where both are there, the mean of all taps
/// of an operand that is padded beforehand is corrected, by a constant at each position.
/// <https://onnx.ai/onnx/operators/onnx__AveragePool.html>
pub fn average(site: &mut Site, layer: &AvgPool) -> Steps {
    let ty = site.input_type(0);
    let resolved = resolved(site, layer);
    let hangs_over = overhang(&resolved, ty.spatial()).iter().any(|&size| size > 0);
    let is_padded = resolved.pads.iter().any(|&pads| pads != (0, 0));
    let count_pad = layer.count_pad && !hangs_over;
    let (mut window, ceil) = rounded(resolved, ty.spatial());
    if is_taken(&window) && !(hangs_over && layer.count_pad && is_padded) {
        let call = average_call(site.input(0), &window);
        return Ok(call.flag("ceil_mode", ceil).flag("count_include_pad", count_pad).into());
    }
    let x = padded(site, &mut window, None);
    let mean = site.value(average_call(x, &window), &site.node.ty.dims);
    let taps: usize = window.kernel.iter().product();
    let factors: Vec<f32> = layer.divisors(ty.spatial()).iter().map(|divisor| taps as f32 / divisor).collect();
    let factors = site.floats("factors", site.node.ty.spatial(), &factors);
    Ok(Call::new("Mul", [mean, factors]).into())
}

fn average_call(x: String, resolved: &ResolvedWindow) -> Call {
    let since = if is_dilated(resolved) { 19 } else { super::OPSET };
    window(Call::new("AveragePool", [x]).since(since), resolved)
}

/// An average pooling where the regions are equal; else the mean of each dimension's regions in turn, as a product with a
/// constant matrix.
pub fn adaptive_average(site: &mut Site, _layer: &AdaptiveAvgPool) -> Steps {
    let (input, out) = (site.input_type(0).spatial(), site.node.ty.spatial());
    if out.iter().all(|&size| size == 1) {
        return Ok(Call::new("GlobalAveragePool", site.inputs()).into());
    }
    if input.iter().zip(out).all(|(input, out)| input.is_multiple_of(*out)) {
        let kernel: Vec<usize> = input.iter().zip(out).map(|(input, out)| input / out).collect();
        let call = Call::new("AveragePool", site.inputs()).ints("kernel_shape", kernel.clone());
        return Ok(call.ints("strides", kernel).into());
    }
    let mut dims = site.input_type(0).dims.clone();
    let mut step = Step::Same(site.input(0));
    for axis in 1..dims.len() {
        if dims[axis] != site.node.ty.dims[axis] {
            let x = site.done(step, &dims);
            step = means(site, x, &mut dims, axis).into();
        }
    }
    Ok(step)
}

/// The means of the regions of one axis, the value seen as matrices [before, size, behind].
fn means(site: &mut Site, x: String, dims: &mut [usize], axis: usize) -> Call {
    let (size, out) = (dims[axis], site.node.ty.dims[axis]);
    let mut matrix = vec![0.0; out * size];
    for (i, row) in matrix.chunks_mut(size).enumerate() {
        let region = AdaptiveAvgPool::region(i, size, out);
        let share = 1.0 / region.len() as f32;
        row[region].fill(share);
    }
    let matrix = site.floats("means", &[out, size], &matrix);
    let before: usize = dims[..axis].iter().product();
    let behind: usize = dims[axis + 1..].iter().product();
    let wide = [before, size, behind];
    let call = reshape(site, x, "matrices", &wide);
    let x = site.value(call, &wide);
    let x = site.value(Call::new("MatMul", [matrix, x]), &[before, out, behind]);
    dims[axis] = out;
    reshape(site, x, "shape", dims)
}

/// <https://onnx.ai/onnx/operators/onnx__LRN.html>. Its window of an even size begins one channel later than here, and
/// engines take images and odd sizes only: else from the definition, the windows as those of a pooling over
/// [1, C, positions].
pub fn local_response_norm(site: &mut Site, layer: &LocalResponseNorm) -> Steps {
    if layer.size % 2 == 1 && site.input_type(0).spatial().len() == 2 {
        let call = Call::new("LRN", site.inputs()).int("size", layer.size as i64);
        return Ok(call.float("alpha", layer.alpha).float("beta", layer.beta).float("bias", layer.k).into());
    }
    let ty = site.input_type(0);
    let plane = [1, ty.channels(), ty.spatial().iter().product()];
    let square = site.value(Call::new("Mul", [site.input(0), site.input(0)]), &ty.dims);
    let call = reshape(site, square, "plane", &plane);
    let square = site.value(call, &plane);
    // A wider window has nothing more to see, and a narrower one is what engines take.
    let size = layer.size.min(2 * plane[1]);
    let pads = [size / 2, 0, (size - 1) / 2, 0];
    let call = Call::new("AveragePool", [square]).ints("kernel_shape", [size, 1]).ints("pads", pads);
    let mean = site.value(call.flag("count_include_pad", true), &plane);
    let call = reshape(site, mean, "shape", &ty.dims);
    let mean = site.value(call, &ty.dims);
    let scale = site.scalar("alpha", layer.alpha * (size as f64 / layer.size as f64));
    let scaled = site.value(Call::new("Mul", [mean, scale]), &ty.dims);
    let k = site.scalar("k", layer.k);
    let sum = site.value(Call::new("Add", [scaled, k]), &ty.dims);
    let beta = site.scalar("beta", layer.beta);
    let divisor = site.value(Call::new("Pow", [sum, beta]), &ty.dims);
    Ok(Call::new("Div", [site.input(0), divisor]).into())
}
