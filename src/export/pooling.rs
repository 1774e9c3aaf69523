//! Windows over positions, and over channels.

use super::Refusal;
use super::builder::{Site, Size, Step};
use super::call::Call;
use super::layers::{Steps, pads, reshape, reshape_back};
use super::regions;
use crate::layers::{
    AdaptiveAvgPool, AvgPool, Layer, LocalResponseNorm, LpPool, MaxPool, Padding, Reduce, Reduced, Reduction,
    ResolvedWindow, Window,
};

/// The window for the sizes of the operand.
pub fn resolved(site: &Site, layer: &impl Layer) -> ResolvedWindow {
    layer.window(&[site.input_type(0)]).expect("the graph was verified")
}

/// The attributes of a window, its padding in numbers where these do not depend on free sizes.
pub fn window(site: &Site, call: Call, window: &Window, resolved: &ResolvedWindow) -> Result<Call, Refusal> {
    let call = call.ints("kernel_shape", resolved.kernel.iter().copied());
    let call = call.ints("strides", resolved.stride.iter().copied());
    let call = if is_dilated(resolved) { call.ints("dilations", resolved.dilation.iter().copied()) } else { call };
    match (leaves_padding(site, window), has_gaps(resolved)) {
        (false, _) => {
            let front = resolved.pads.iter().map(|&(front, _)| front);
            let back = resolved.pads.iter().map(|&(_, back)| back);
            Ok(call.ints("pads", front.chain(back)))
        }
        (true, false) => Ok(call.word("auto_pad", "SAME_UPPER")),
        // Engines refuse it, or pad by less than nothing.
        (true, true) => Err(Refusal::of_sizes("the padding of windows with gaps in or between them")),
    }
}

/// Whether ONNX is to find the padding, since it depends on free sizes. That of `same` does not where windows move by 1,
/// or see one position.
fn leaves_padding(site: &Site, window: &Window) -> bool {
    let moves = window.kernel.iter().zip(&window.stride).any(|(&size, &step)| size != 1 && step != 1);
    site.is_free() && window.padding == Padding::Same && moves
}

/// Whether there are positions between or within windows that none sees.
fn has_gaps(window: &ResolvedWindow) -> bool {
    is_dilated(window) || window.stride.iter().zip(&window.kernel).any(|(step, size)| step > size)
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

/// Whether it is for every size of the input: the last window starts within the input, wherever that ends.
fn always_agrees_on_ceil(window: &ResolvedWindow) -> bool {
    (0..window.kernel.len()).all(|d| window.stride[d] + window.pads[d].1 <= window.effective(d))
}

/// Whether ONNX is to round the size up. Where that would give another size, what hangs over becomes padding.
fn round(site: &Site, window: &Window, resolved: &mut ResolvedWindow, input: &[usize]) -> Result<bool, Refusal> {
    if site.is_free() && window.ceil {
        let agrees = always_agrees_on_ceil(resolved) && window.padding != Padding::Same;
        return agrees.then_some(true).ok_or_else(|| Refusal::of_sizes("whether its last window is one"));
    }
    let over = overhang(resolved, input);
    if agrees_on_ceil(resolved, input) || over.iter().all(|&size| size == 0) {
        return Ok(over.iter().any(|&size| size > 0));
    }
    resolved.pads.iter_mut().zip(over).for_each(|((_, back), over)| *back += over);
    Ok(false)
}

/// Whether less is padded than there are taps, which engines demand of a pooling; here, the dilated window counts.
fn is_taken(site: &Site, window: &Window, resolved: &ResolvedWindow) -> bool {
    let less = resolved.pads.iter().zip(&resolved.kernel).all(|(&(front, back), &taps)| front.max(back) < taps);
    less || leaves_padding(site, window)
}

/// The operand padded by a node of its own, with zeros if no value is given.
fn padded(site: &mut Site, window: &mut ResolvedWindow, value: Option<f64>) -> String {
    let amounts = [&[(0, 0)], &window.pads[..]].concat();
    let pad = |(size, &(front, back)): (Size, &(usize, usize))| size.map(|size| size + front + back);
    let sizes: Vec<Size> = site.sizes(0).into_iter().zip(&amounts).map(pad).collect();
    window.pads.fill((0, 0));
    let x = site.input(0);
    let call = pads(site, x, &amounts, value);
    site.value(call, &sizes)
}

/// <https://onnx.ai/onnx/operators/onnx__MaxPool.html>
pub fn max(site: &mut Site, layer: &MaxPool) -> Steps {
    if site.sees_all() {
        return Ok(Call::new("GlobalMaxPool", site.inputs()).into());
    }
    let mut resolved = resolved(site, layer);
    let ceil = round(site, &layer.window, &mut resolved, site.input_type(0).spatial())?;
    let x = match is_taken(site, &layer.window, &resolved) {
        true => site.input(0),
        false => padded(site, &mut resolved, Some(f64::NEG_INFINITY)),
    };
    let call = window(site, Call::new("MaxPool", [x]), &layer.window, &resolved)?;
    Ok(call.flag("ceil_mode", ceil).into())
}

/// What hangs over never counts, but older engines count it with the padding: where both may be there, the padding is made
/// before. <https://onnx.ai/onnx/operators/onnx__AveragePool.html>
pub fn average(site: &mut Site, layer: &AvgPool) -> Steps {
    if site.sees_all() {
        return Ok(Call::new("GlobalAveragePool", site.inputs()).into());
    }
    let (mut resolved, mut input) = (resolved(site, layer), site.input_type(0).spatial().to_vec());
    let over = overhang(&resolved, &input);
    let hangs_over = layer.window.ceil && (site.is_free() || over.iter().any(|&size| size > 0));
    let is_padded = resolved.pads.iter().any(|&pads| pads != (0, 0));
    let mut x = site.input(0);
    if hangs_over && is_padded && layer.count_pad {
        input.iter_mut().zip(&resolved.pads).for_each(|(size, (front, back))| *size += front + back);
        x = padded(site, &mut resolved, None);
    }
    let ceil = round(site, &layer.window, &mut resolved, &input)?;
    if !is_taken(site, &layer.window, &resolved) {
        let reason = "it averages over windows with no fewer steps beside the input than a kernel has taps";
        return Err(Refusal::new(reason, "pad less, or leave `ceil` out"));
    }
    let call = Call::new("AveragePool", [x]).since(if is_dilated(&resolved) { 19 } else { super::OPSET });
    let call = window(site, call, &layer.window, &resolved)?.flag("ceil_mode", ceil);
    Ok(call.flag("count_include_pad", layer.count_pad && !hangs_over).into())
}

/// An average pooling where the regions are equal; else the mean of each dimension's regions in turn, as a product with a
/// constant matrix.
pub fn adaptive_average(site: &mut Site, _layer: &AdaptiveAvgPool) -> Steps {
    let (input, out) = (site.input_type(0).spatial(), site.node.ty.spatial());
    if out.iter().all(|&size| size == 1) {
        return Ok(Call::new("GlobalAveragePool", site.inputs()).into());
    }
    if site.is_free() {
        return regions::average(site);
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

/// Gaps and `ceil` are known from version 18 on. <https://onnx.ai/onnx/operators/onnx__LpPool.html>
pub fn norm(site: &mut Site, layer: &LpPool) -> Steps {
    let mut resolved = resolved(site, layer);
    let ceil = round(site, &layer.window, &mut resolved, site.input_type(0).spatial())?;
    let x = match is_taken(site, &layer.window, &resolved) {
        true => site.input(0),
        false => padded(site, &mut resolved, None),
    };
    let call = Call::new("LpPool", [x]).since(if ceil || is_dilated(&resolved) { 18 } else { super::OPSET });
    let call = window(site, call, &layer.window, &resolved)?.int("p", layer.p as i64);
    Ok(if ceil { call.flag("ceil_mode", true) } else { call }.into())
}

/// A pooling where the regions are equal. Else their positions are gathered first, in each dimension some of them twice in
/// those that are shorter than the longest.
pub fn adaptive_max(site: &mut Site) -> Steps {
    let (input, out) = (site.input_type(0).spatial(), site.node.ty.spatial());
    if out.iter().all(|&size| size == 1) {
        return Ok(Call::new("GlobalMaxPool", site.inputs()).into());
    }
    if site.is_free() {
        return Err(Refusal::of_sizes("its regions"));
    }
    let (mut x, mut dims, mut kernel) = (site.input(0), site.input_type(0).dims.clone(), Vec::new());
    for (d, (&input, &out)) in input.iter().zip(out).enumerate() {
        let regions = || (0..out).map(|i| AdaptiveAvgPool::region(i, input, out));
        let longest = regions().map(|region| region.len()).max().unwrap_or(1);
        kernel.push(longest);
        if longest * out == input {
            continue;
        }
        let places = regions().flat_map(|region| (0..longest).map(move |k| (region.start + k).min(region.end - 1)));
        let places: Vec<i64> = places.map(|place| place as i64).collect();
        let places = site.integers(&format!("places{d}"), &places);
        dims[d + 1] = longest * out;
        x = site.value(Call::new("Gather", [x, places]).int("axis", d as i64 + 2), &dims);
    }
    Ok(Call::new("MaxPool", [x]).ints("kernel_shape", kernel.clone()).ints("strides", kernel).into())
}

/// From version 18 on the axes of all are an operand. <https://onnx.ai/onnx/operators/onnx__ReduceMean.html>
pub fn reduce(site: &mut Site, layer: &Reduce) -> Steps {
    let rank = site.input_type(0).spatial().len() as i64;
    let axes: Vec<i64> = match layer.over {
        Reduced::Channels => vec![1],
        Reduced::Positions => (2..rank + 2).collect(),
    };
    let axes = site.integers("axes", &axes);
    let call = |operator, version| Ok(Call::new(operator, [site.input(0), axes]).since(version).into());
    match layer.how {
        Reduction::Mean => call("ReduceMean", 18),
        Reduction::Sum => call("ReduceSum", 13),
        Reduction::Max => call("ReduceMax", 18),
        Reduction::Min => call("ReduceMin", 18),
    }
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

/// <https://onnx.ai/onnx/operators/onnx__LRN.html>. Its window of an even size has one more channel behind, and
/// engines take images and odd sizes only: else from the definition, the windows as those of a pooling over
/// [1, C, positions].
pub fn local_response_norm(site: &mut Site, layer: &LocalResponseNorm) -> Steps {
    if layer.size % 2 == 1 && site.input_type(0).spatial().len() == 2 {
        let call = Call::new("LRN", site.inputs()).int("size", layer.size as i64);
        return Ok(call.float("alpha", layer.alpha).float("beta", layer.beta).float("bias", layer.k).into());
    }
    let (sizes, channels) = (site.sizes(0), site.input_type(0).channels());
    let plane = [
        Some(1),
        Some(channels),
        if site.is_free() { None } else { Some(site.input_type(0).spatial().iter().product()) },
    ];
    let square = site.value(Call::new("Mul", [site.input(0), site.input(0)]), &sizes);
    let call = reshape(site, square, "plane", &plane);
    let square = site.value(call, &plane);
    // A wider window has nothing more to see, and a narrower one is what engines take.
    let size = layer.size.min(2 * channels);
    let (front, back) = LocalResponseNorm { size, ..layer.clone() }.reach();
    let pads = [front, 0, back, 0];
    let call = Call::new("AveragePool", [square]).ints("kernel_shape", [size, 1]).ints("pads", pads);
    let mean = site.value(call.flag("count_include_pad", true), &plane);
    let call = reshape_back(site, mean);
    let mean = site.value(call, &sizes);
    let scale = site.scalar("alpha", layer.alpha * (size as f64 / layer.size as f64));
    let scaled = site.value(Call::new("Mul", [mean, scale]), &sizes);
    let k = site.scalar("k", layer.k);
    let sum = site.value(Call::new("Add", [scaled, k]), &sizes);
    let beta = site.scalar("beta", layer.beta);
    let divisor = site.value(Call::new("Pow", [sum, beta]), &sizes);
    Ok(Call::new("Div", [site.input(0), divisor]).into())
}
