//! Layers that move values.

use super::Refusal;
use super::builder::Site;
use super::call::Call;
use super::layers::{Steps, reshape, shuffled};
use crate::layers::{BlockOrder, ChannelSlice, DepthToSpace, SpaceToDepth, Subsample, Unflatten};

/// <https://onnx.ai/onnx/operators/onnx__Slice.html>
pub fn channel_slice(site: &mut Site, layer: &ChannelSlice) -> Steps {
    Ok(slice(site, &[(1, layer.channels.start, layer.channels.end, 1)]).into())
}

pub fn subsample(site: &mut Site, layer: &Subsample) -> Steps {
    let sizes = site.input_type(0).spatial();
    let [step, at] = layer.per_dim(sizes.len()).expect("the graph was verified");
    let axes: Vec<_> = sizes.iter().enumerate().map(|(d, &size)| (d + 2, at[d], size, step[d])).collect();
    Ok(slice(site, &axes).into())
}

/// Of each axis: its number, the first index, the one behind the last, and the step.
fn slice(site: &mut Site, axes: &[(usize, usize, usize, usize)]) -> Call {
    let mut list = |role: &str, of: fn(&(usize, usize, usize, usize)) -> usize| {
        let values: Vec<i64> = axes.iter().map(|axis| of(axis) as i64).collect();
        site.integers(role, &values)
    };
    let lists = [list("starts", |a| a.1), list("ends", |a| a.2), list("axes", |a| a.0), list("steps", |a| a.3)];
    Call::new("Slice", [site.input(0)].into_iter().chain(lists).collect::<Vec<_>>())
}

/// <https://onnx.ai/onnx/operators/onnx__DepthToSpace.html>, which has square blocks of two dimensions.
pub fn depth_to_space(site: &mut Site, layer: &DepthToSpace) -> Steps {
    let input = site.input_type(0);
    let rank = input.spatial().len();
    let block: Vec<usize> = (0..rank).map(|d| *layer.block.get(d).unwrap_or(&layer.block[0])).collect();
    if let [a, b] = block[..]
        && a == b
    {
        let mode = if layer.order == BlockOrder::Crd { "CRD" } else { "DCR" };
        let call = Call::new("DepthToSpace", [site.input(0)]);
        return Ok(call.int("blocksize", a as i64).word("mode", mode).into());
    }
    let channels = &[input.channels() / block.iter().product::<usize>()];
    let (split, channel, place) = match layer.order {
        BlockOrder::Crd => ([channels, &block[..], input.spatial()].concat(), 1, 2),
        BlockOrder::Dcr => ([&block[..], channels, input.spatial()].concat(), 1 + rank, 1),
    };
    let axes: Vec<usize> = [channel].into_iter().chain((0..rank).flat_map(|d| [2 + rank + d, place + d])).collect();
    turned(site, &split, &axes)
}

/// <https://onnx.ai/onnx/operators/onnx__SpaceToDepth.html>, which has square blocks of two dimensions in one order.
pub fn space_to_depth(site: &mut Site, layer: &SpaceToDepth) -> Steps {
    let input = site.input_type(0);
    let rank = input.spatial().len();
    let block: Vec<usize> = (0..rank).map(|d| *layer.block.get(d).unwrap_or(&layer.block[0])).collect();
    if let &[a, b] = &block[..]
        && a == b
        && (layer.order == BlockOrder::Dcr || site.is_free())
    {
        let call = Call::new("SpaceToDepth", [site.input(0)]).int("blocksize", a as i64);
        if layer.order == BlockOrder::Dcr {
            return Ok(call.into());
        }
        let (sizes, channels) = (site.own_sizes(), site.node.ty.channels());
        let x = site.value(call, &sizes);
        return Ok(shuffled(site, x, &sizes, channels, a * b).into());
    }
    let pairs = input.spatial().iter().zip(&block).flat_map(|(size, block)| [size / block, *block]);
    let split: Vec<usize> = [input.channels()].into_iter().chain(pairs).collect();
    let (outer, places) = ((0..rank).map(|d| 2 + 2 * d), (0..rank).map(|d| 3 + 2 * d));
    let axes: Vec<usize> = match layer.order {
        BlockOrder::Crd => [1].into_iter().chain(places).chain(outer).collect(),
        BlockOrder::Dcr => places.chain([1]).chain(outer).collect(),
    };
    turned(site, &split, &axes)
}

/// The operand as `split`, with its axes (1 is the first behind the batch) in this order, as what the layer gives.
fn turned(site: &mut Site, split: &[usize], axes: &[usize]) -> Steps {
    let x = site.input(0);
    let call = reshape(site, x, "split", split);
    let x = site.value(call, split);
    let dims: Vec<usize> = axes.iter().map(|axis| split[axis - 1]).collect();
    let x = site.value(Call::new("Transpose", [x]).ints("perm", [0].into_iter().chain(axes.iter().copied())), &dims);
    let joined = site.node.ty.dims.clone();
    Ok(reshape(site, x, "shape", &joined).into())
}

/// Where the map's sizes depend on free ones, they are those of a value before, times or by whole numbers.
pub fn unflatten(site: &mut Site, _layer: &Unflatten) -> Steps {
    let x = site.input(0);
    let [channels, positions @ ..] = &site.own_sizes()[..] else { unreachable!("a value has channels") };
    if positions.iter().all(Option::is_some) && (channels.is_some() || site.node.ty.dims.len() > 1) {
        let dims: Vec<i64> =
            [channels].into_iter().chain(positions).map(|size| size.map_or(-1, |size| size as i64)).collect();
        let shape = site.integers("shape", &[&[0], &dims[..]].concat());
        return Ok(Call::new("Reshape", [x, shape]).into());
    }
    let scaled =
        site.scaled().ok_or_else(|| Refusal::of_sizes("its sizes, which are no multiples or parts of others,"))?;
    let mut sizes = site.list(Call::new("Shape", [scaled.value]).int("start", 2));
    for (operator, role, by) in [("Mul", "times", scaled.times), ("Div", "parts", scaled.parts)] {
        if by.iter().any(|&by| by != 1) {
            let by = site.integers(role, &by);
            sizes = site.list(Call::new(operator, [sizes, by]));
        }
    }
    let front = site.integers("front", &[0, channels.map_or(-1, |size| size as i64)]);
    let shape = site.list(Call::new("Concat", [front, sizes]).int("axis", 0));
    Ok(Call::new("Reshape", [x, shape]).into())
}
