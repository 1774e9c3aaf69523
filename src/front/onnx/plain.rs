//! Layers that bring the axes of a value in order, where an operator needs it as ONNX has it.

use super::Refusal;
use super::constant::Number;
use super::flow::{Atom, Flow, Size, joined, known_size, size, whole_axis};
use super::walk::Importer;
use crate::ir::NodeId;
use crate::layers::{BlockOrder, ChannelShuffle, DepthToSpace, Flatten, Op, Permute, SpaceToDepth, Unflatten};
use crate::tensor::{Batch, MAX_DIMS, TensorType};

impl Importer<'_> {
    /// A node whose value has ONNX's axes: the batch, then the others as its dimensions. The same one for all who ask.
    ///
    /// # Errors
    /// If no layer brings it in that order.
    pub fn plain(&mut self, flow: &Flow) -> Result<NodeId, Refusal> {
        if let Some(&known) = self.plain.get(flow) {
            return Ok(known);
        }
        let node = self.in_order(flow)?;
        self.plain.insert(flow.clone(), node);
        Ok(node)
    }

    /// The same value of a layer that mixes its channels, where that is all that was done to them: what follows could make
    /// an order of it for which there is no layer.
    pub fn mixed(&mut self, flow: &Flow) -> Flow {
        let ty = self.ty(flow.node).clone();
        let is_mixed = flow.rank() == ty.dims.len() + 1 && is_batch(flow, &ty) && shuffled(flow, &ty).is_some();
        let node = if is_mixed { self.plain(flow).ok() } else { None };
        node.map_or_else(|| flow.clone(), |node| Flow::of(node, self.ty(node)))
    }

    fn in_order(&mut self, flow: &Flow) -> Result<NodeId, Refusal> {
        let ty = self.ty(flow.node).clone();
        if flow.rank() < 2 || !is_batch(flow, &ty) {
            return Err(Refusal::new(format!("a value of shape {}, whose first axis is not the batch", flow.text())));
        }
        let dims: Option<Vec<usize>> = flow.axes[1..].iter().map(|axis| known_size(axis)).collect();
        let dims = dims.ok_or_else(|| Refusal::new(format!("a value of shape {}", flow.text())))?;
        if flow.in_order(&ty) {
            return self.with_sizes(flow, &ty, &dims);
        }
        if let Some(groups) = shuffled(flow, &ty) {
            let node = self.reorder(ChannelShuffle { groups }, &[flow.node])?;
            let mut straight = flow.clone();
            straight.axes[1] = whole_axis(&ty, 1);
            return self.plain(&Flow { node, ..straight });
        }
        if let Some(layer) = blocks(flow, &ty) {
            return self.reorder(layer, &[flow.node]);
        }
        let refused =
            || Refusal::new(format!("a value of shape {} whose axes stand in another order than {ty}", flow.text()));
        let (parts, order) = turned(flow, &ty).ok_or_else(refused)?;
        let split = self.with_sizes(flow, &ty, &parts)?;
        let node = self.layer(Permute { order }, &[split])?;
        let ty = self.ty(node).clone();
        self.with_sizes(&Flow::of(node, &ty), &ty, &dims)
    }

    /// The same elements in the same order, under other sizes.
    ///
    /// # Errors
    /// If there are too many of them.
    pub fn with_sizes(&mut self, flow: &Flow, ty: &TensorType, dims: &[usize]) -> Result<NodeId, Refusal> {
        match dims {
            _ if dims == ty.dims => Ok(flow.node),
            [_] => self.reorder(Flatten, &[flow.node]),
            [_, size @ ..] => {
                let flat = if ty.spatial().is_empty() { flow.node } else { self.reorder(Flatten, &[flow.node])? };
                self.reorder(Unflatten { size: size.to_vec() }, &[flat])
            }
            [] => Err(Refusal::new(format!("{ty} in the shape of {}", flow.text()))),
        }
    }

    /// A node whose value is all elements of a sample in one dimension, and the order in which ONNX has them where that is
    /// another: sizes and strides, the outermost first.
    ///
    /// # Errors
    /// If the flow has other axes than the batch and one more, or not all elements in the second.
    pub fn features(&mut self, flow: &Flow) -> Result<(NodeId, Vec<(usize, usize)>), Refusal> {
        let ty = self.ty(flow.node).clone();
        let wrong =
            || Refusal::new(format!("a value of shape {}, where samples of one dimension are needed", flow.text()));
        let [batch, features] = &flow.axes[..] else { return Err(wrong()) };
        let whole = known_size(features) == Some(ty.elements());
        if *batch != whole_axis(&ty, 0) || !whole || features.iter().any(|atom| atom.dim == 0) {
            return Err(wrong());
        }
        let flat = ty.spatial().iter().all(|&size| size == 1);
        let node = if flat { flow.node } else { self.reorder(Flatten, &[flow.node])? };
        let place = |atom: &Atom| {
            let behind: usize = ty.dims[atom.dim..].iter().product();
            let Size::Known(size) = atom.size else { unreachable!("only the batch is open") };
            (size, atom.stride * behind)
        };
        Ok((node, features.iter().map(place).collect()))
    }
}

/// Whether the first axis is that of the batch.
pub fn is_batch(flow: &Flow, ty: &TensorType) -> bool {
    match ty.batch {
        Batch::Symbolic(_) => flow.axes[0] == whole_axis(ty, 0),
        Batch::Fixed(batch) => size(&flow.axes[0]) == (batch as f64).into() && flow.axes[0] == whole_axis(ty, 0),
    }
}

/// The parts of dimensions that change their places, as sizes under which the node's value is to be seen, and their order.
fn turned(flow: &Flow, ty: &TensorType) -> Option<(Vec<usize>, Vec<usize>)> {
    let mut wanted: Vec<Atom> = flow.axes[1..].concat();
    joined(&mut wanted);
    let mut parts = wanted.clone();
    parts.sort_by_key(|atom| (atom.dim, std::cmp::Reverse(atom.stride)));
    let mut whole: Vec<Atom> = parts.clone();
    joined(&mut whole);
    let dims: Vec<Atom> = (1..=ty.dims.len()).flat_map(|dim| whole_axis(ty, dim)).collect();
    let sizes: Option<Vec<usize>> = parts.iter().map(|part| known_size(&[*part])).collect();
    let order = wanted.iter().map(|atom| Some(parts.iter().position(|part| part == atom)? + 1)).collect::<Option<_>>();
    let known = whole == dims && parts.len() <= MAX_DIMS;
    sizes.zip(order).filter(|_| known)
}

/// The groups whose channels are mixed, where that is all that was done: [N, g, C / g, ..] became [N, C / g, g, ..].
fn shuffled(flow: &Flow, ty: &TensorType) -> Option<usize> {
    let [Atom { dim: 1, stride: 1, size: Size::Known(inner) }, Atom { dim: 1, stride, size: Size::Known(groups) }] =
        flow.axes[1][..]
    else {
        return None;
    };
    let others =
        (2..flow.rank()).all(|axis| flow.rank() == ty.dims.len() + 1 && flow.axes[axis] == whole_axis(ty, axis));
    (stride == inner && inner * groups == ty.channels() && others).then_some(groups)
}

/// The layer that moves channels into blocks of positions, or blocks into channels, where exporters say that by a reshape, a
/// transposition and a reshape.
fn blocks(flow: &Flow, ty: &TensorType) -> Option<Op> {
    let whole = Flow::of(flow.node, ty);
    let [batch, channels, height, width] = whole.shape()[..] else { return None };
    let [_, to_channels, to_height, to_width] = flow.shape()[..] else { return None };
    let [channels, height, width] = [channels, height, width].map(|size| size.constant);
    let [to_channels, to_height, to_width] = [to_channels, to_height, to_width].map(|size| size.constant);
    let same = |split: &[f64], perm: &[usize]| {
        let sizes: Vec<Number> = split.iter().map(|&size| size.into()).collect();
        let split = whole.reshaped(&[&[batch], &sizes[..]].concat()).ok()?;
        let moved = split.transposed(perm).ok()?.reshaped(&flow.shape()).ok()?;
        (moved.axes == flow.axes).then_some(())
    };
    let r = to_height / height;
    if r > 1.0 && r.fract() == 0.0 && to_width == r * width {
        let layer = |order| DepthToSpace { block: vec![r as usize], order }.into();
        let crd = || same(&[to_channels, r, r, height, width], &[0, 1, 4, 2, 5, 3]).map(|()| layer(BlockOrder::Crd));
        let dcr = || same(&[r, r, to_channels, height, width], &[0, 3, 4, 1, 5, 2]).map(|()| layer(BlockOrder::Dcr));
        return crd().or_else(dcr);
    }
    let r = height / to_height;
    if r > 1.0 && r.fract() == 0.0 && width == r * to_width {
        let layer = |order| SpaceToDepth { block: vec![r as usize], order }.into();
        let split = [channels, to_height, r, to_width, r];
        let crd = || same(&split, &[0, 1, 3, 5, 2, 4]).map(|()| layer(BlockOrder::Crd));
        let dcr = || same(&split, &[0, 3, 5, 1, 2, 4]).map(|()| layer(BlockOrder::Dcr));
        return crd().or_else(dcr);
    }
    None
}
