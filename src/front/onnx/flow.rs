//! Values of the network as ONNX sees them: the value of a graph node, its axes permuted, split and joined.
//!
//! A transposition, a reshape or a squeeze computes nothing. It changes the [`Flow`] alone, and where operators cancel each
//! other, or say together what one layer says (mix channels, flatten, take a value whose channels come last), nothing is
//! left of them. [`Importer::plain`](super::walk::Importer::plain) makes layers of what remains.

use super::Refusal;
use super::constant::Number;
use crate::ir::NodeId;
use crate::layers::Over;
use crate::tensor::{Batch, TensorType};
use std::cmp::Reverse;
use std::ops::Range;

/// The value of `node`, seen through `axes`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    pub node: NodeId,
    pub axes: Vec<Axis>,
}

/// Parts of dimensions in row-major order, the outermost first; an axis of size 1 has none.
pub type Axis = Vec<Atom>;

/// Part of a dimension of the node's value: its index there is the sum of `stride * i` over all atoms of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Atom {
    /// 0 is the batch.
    pub dim: usize,
    pub stride: usize,
    pub size: Size,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Size {
    /// The batch, where it is open.
    Batch,
    /// At least 2.
    Known(usize),
}

impl Atom {
    /// A whole dimension; none if its size is 1.
    fn whole(dim: usize, size: usize) -> Axis {
        if size == 1 { Vec::new() } else { vec![Atom { dim, stride: 1, size: Size::Known(size) }] }
    }
}

/// The axis of the batch.
fn batch_axis(ty: &TensorType) -> Axis {
    match ty.batch {
        Batch::Symbolic(_) => vec![Atom { dim: 0, stride: 1, size: Size::Batch }],
        Batch::Fixed(size) => Atom::whole(0, size),
    }
}

/// The axis that is dimension `dim` of a value, counted with the batch.
pub fn whole_axis(ty: &TensorType, dim: usize) -> Axis {
    if dim == 0 { batch_axis(ty) } else { Atom::whole(dim, ty.dims[dim - 1]) }
}

/// How many elements an axis has, which is a number, or one times the batch.
pub fn size(axis: &[Atom]) -> Number {
    let known = axis.iter().filter_map(|atom| if let Size::Known(size) = atom.size { Some(size as f64) } else { None });
    let product = known.product();
    match axis.iter().any(|atom| atom.size == Size::Batch) {
        true => Number { constant: 0.0, batch: product },
        false => Number::from(product),
    }
}

/// The size of an axis that does not depend on the batch.
pub fn known_size(axis: &[Atom]) -> Option<usize> {
    size(axis).known().map(|size| size as usize)
}

/// Joins neighbours that are neighbours in their dimension too.
pub fn joined(axis: &mut Axis) {
    let mut at = 1;
    while at < axis.len() {
        let (outer, inner) = (axis[at - 1], axis[at]);
        match (outer.size, inner.size) {
            (Size::Known(a), Size::Known(b)) if outer.dim == inner.dim && outer.stride == inner.stride * b => {
                axis[at - 1] = Atom { size: Size::Known(a * b), ..inner };
                axis.remove(at);
            }
            _ => at += 1,
        }
    }
}

impl Flow {
    /// A node's value as it is.
    pub fn of(node: NodeId, ty: &TensorType) -> Flow {
        Flow { node, axes: (0..=ty.dims.len()).map(|dim| whole_axis(ty, dim)).collect() }
    }

    pub fn rank(&self) -> usize {
        self.axes.len()
    }

    /// The shape that ONNX sees.
    pub fn shape(&self) -> Vec<Number> {
        self.axes.iter().map(|axis| size(axis)).collect()
    }

    /// The shape in words.
    pub fn text(&self) -> String {
        let size = |number: &Number| match number.known() {
            Some(size) => format!("{size}"),
            None if number.batch == 1.0 => "N".into(),
            None => format!("{} * N", number.batch),
        };
        format!("[{}]", self.shape().iter().map(size).collect::<Vec<_>>().join(", "))
    }

    /// What all elements along these axes are of the node's value, if a layer can take them together.
    pub fn over(&self, axes: impl IntoIterator<Item = usize>, ty: &TensorType) -> Option<Over> {
        let mut found: Axis = axes.into_iter().flat_map(|axis| self.axes[axis].clone()).collect();
        found.sort_by_key(|atom| (atom.dim, Reverse(atom.stride)));
        joined(&mut found);
        let dims = |over: &Over| over.range(&ty.dims).ok();
        let whole = |dims: Range<usize>| dims.flat_map(|dim| whole_axis(ty, dim + 1)).collect::<Axis>();
        Over::ALL.into_iter().find(|over| dims(over).is_some_and(|dims| whole(dims) == found))
    }

    /// # Errors
    /// If `perm` is no permutation of its axes.
    pub fn transposed(&self, perm: &[usize]) -> Result<Flow, Refusal> {
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..self.rank()) {
            return Err(Refusal::new(format!("{perm:?} is no permutation of the axes of {}", self.text())));
        }
        Ok(Flow { node: self.node, axes: perm.iter().map(|&axis| self.axes[axis].clone()).collect() })
    }

    /// The same elements in the same order under other sizes.
    ///
    /// # Errors
    /// If they are not as many, or an axis would hold part of the batch.
    pub fn reshaped(&self, sizes: &[Number]) -> Result<Flow, Refusal> {
        let refused =
            || Refusal::new(format!("{} does not become another shape by splitting and joining axes", self.text()));
        // The elements that are left, the innermost last.
        let mut left: Axis = self.axes.iter().rev().flat_map(|axis| axis.iter().rev().copied()).collect();
        let mut axes = Vec::new();
        for &wanted in sizes {
            let mut axis = Vec::new();
            while size(&axis) != wanted {
                let atom = left.pop().ok_or_else(refused)?;
                let taken = [&axis[..], &[atom]].concat();
                if fits(size(&taken), wanted) {
                    axis = taken;
                    continue;
                }
                // Only part of it.
                let (Some(missing), Size::Known(whole)) = (ratio(wanted, size(&axis)), atom.size) else {
                    return Err(refused());
                };
                if missing < 2 || !whole.is_multiple_of(missing) {
                    return Err(refused());
                }
                let inner = whole / missing;
                axis.push(Atom { stride: atom.stride * inner, size: Size::Known(missing), ..atom });
                left.push(Atom { size: Size::Known(inner), ..atom });
            }
            joined(&mut axis);
            axes.push(axis);
        }
        if left.is_empty() { Ok(Flow { node: self.node, axes }) } else { Err(refused()) }
    }

    /// The same elements along fewer axes: the first ones behind the batch become one.
    pub fn of_rank(&self, rank: usize) -> Flow {
        let (more, rest) = self.axes[1..].split_at(self.rank() - rank + 1);
        let mut first = more.concat();
        joined(&mut first);
        Flow { node: self.node, axes: [&[self.axes[0].clone(), first], rest].concat() }
    }

    /// Whether its axes are the node's dimensions in their order, but for sizes of 1 that are there or not.
    pub fn in_order(&self, ty: &TensorType) -> bool {
        let mut atoms: Axis = self.axes.concat();
        joined(&mut atoms);
        let mut whole: Axis = Flow::of(self.node, ty).axes.concat();
        joined(&mut whole);
        atoms == whole
    }
}

/// Whether `wanted` is a multiple of `part`.
fn fits(part: Number, wanted: Number) -> bool {
    ratio(wanted, part).is_some()
}

/// `whole / part`, if that is a whole number; a multiple of the batch is one of a number too.
fn ratio(whole: Number, part: Number) -> Option<usize> {
    let (whole, part) = match (whole.known(), part.known()) {
        (Some(whole), Some(part)) => (whole, part),
        (None, None) => (whole.batch, part.batch),
        (None, Some(part)) => (whole.batch, part),
        (Some(_), None) => return None,
    };
    (part > 0.0 && whole % part == 0.0 && whole / part <= usize::MAX as f64).then(|| (whole / part) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensor::DType;

    fn flow(dims: &[usize]) -> (Flow, TensorType) {
        let ty = TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: dims.to_vec() };
        (Flow::of(NodeId(0), &ty), ty)
    }

    fn sizes(sizes: &[usize]) -> Vec<Number> {
        let rest = sizes.iter().map(|&size| Number::from(size as f64));
        [Number::N].into_iter().chain(rest).collect()
    }

    #[test]
    fn reshapes_that_join_and_split_again_leave_nothing() {
        let (x, ty) = flow(&[6, 4, 4]);
        let y = x.reshaped(&sizes(&[2, 3, 16])).unwrap().reshaped(&sizes(&[6, 2, 2, 1, 4])).unwrap();
        assert_eq!(y.reshaped(&sizes(&[6, 4, 4])), Ok(x.clone()));
        assert!(y.in_order(&ty) && x.in_order(&ty));
    }

    #[test]
    fn transpositions_cancel() {
        let (x, ty) = flow(&[3, 5, 7]);
        let last = x.transposed(&[0, 2, 3, 1]).unwrap();
        assert_eq!(last.text(), "[N, 5, 7, 3]");
        assert!(!last.in_order(&ty));
        assert_eq!(last.transposed(&[0, 3, 1, 2]), Ok(x.clone()));
        assert!(x.transposed(&[0, 1, 1, 2]).is_err());
    }

    #[test]
    fn shuffled_channels_are_parts_in_another_order() {
        let (x, ty) = flow(&[6, 2, 2]);
        let y = x.reshaped(&sizes(&[2, 3, 2, 2])).unwrap().transposed(&[0, 2, 1, 3, 4]).unwrap();
        let y = y.reshaped(&sizes(&[6, 2, 2])).unwrap();
        assert!(!y.in_order(&ty));
        let atom = |stride, size| Atom { dim: 1, stride, size: Size::Known(size) };
        assert_eq!(y.axes[1], [atom(1, 3), atom(3, 2)]);
    }

    #[test]
    fn the_batch_is_joined_but_not_split() {
        let (x, _) = flow(&[4, 3]);
        let rows = x.reshaped(&[Number { constant: 0.0, batch: 4.0 }, 3.0.into()]).unwrap();
        assert_eq!(rows.text(), "[4 * N, 3]");
        assert_eq!(rows.reshaped(&sizes(&[4, 3])), Ok(x.clone()));
        assert!(x.reshaped(&[2.0.into(), Number { constant: 0.0, batch: 6.0 }]).is_err());
        assert!(x.reshaped(&sizes(&[5, 3])).is_err() && x.reshaped(&sizes(&[4])).is_err());
    }
}
