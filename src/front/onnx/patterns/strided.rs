//! Values as PyTorch's `as_strided` has them: all elements in one row, of which a table of places says which go where. The
//! places of a sample are those of the first, so many elements further on.

use crate::front::onnx::constant::{Const, Number};
use crate::front::onnx::flow::Flow;
use crate::front::onnx::fold;
use crate::front::onnx::proto::Node;
use crate::front::onnx::walk::Importer;

/// The value of a Gather that takes all elements in their order, in another shape.
pub fn find<'a>(importer: &Importer<'a>, node: &'a Node<'a>) -> Option<Flow> {
    let [row, index] = node.inputs[..] else { return None };
    let axis = node.attributes.iter().find(|attribute| attribute.name == "axis").map_or(0, |axis| axis.int);
    let row = importer.flow(row).filter(|row| row.rank() == 1 && axis == 0)?;
    let Places { step, first } = places(importer, index)?;
    let in_order = first.values().ok()?.into_iter().eq((0..first.count()).map(|place| place as f64));
    if !in_order || step != first.count() as f64 || first.dims.first() != Some(&1) {
        return None;
    }
    let sizes = first.dims[1..].iter().map(|&size| Number::from(size as f64));
    row.reshaped(&[Number::N].into_iter().chain(sizes).collect::<Vec<_>>()).ok()
}

/// A table of places whose first axis is that of the samples.
struct Places {
    /// From one sample to the next.
    step: f64,
    /// Of the first sample, which has an axis of size 1.
    first: Const,
}

fn places<'a>(importer: &Importer<'a>, name: &str) -> Option<Places> {
    let node = importer.producers.get(name)?;
    match (node.operator, &node.inputs[..]) {
        ("Range", &[start, limit, step]) => {
            let counts = importer.number(start) == Some(0.0) && importer.number(step) == Some(1.0);
            let to_batch = importer.constant(limit)?.numbers().ok()?[..] == [Number::N];
            (counts && to_batch).then(|| Places { step: 1.0, first: Const::ints([0]) })
        }
        ("Cast", &[of]) => places(importer, of),
        ("Unsqueeze", &[of, axes]) => {
            let Places { step, first } = places(importer, of)?;
            let axes = importer.constant(axes)?.integers().ok()?;
            let rank = first.dims.len() + axes.len();
            let behind = first.count() == 1 && axes.iter().all(|&axis| axis >= 1 && axis < rank as i64);
            behind.then(|| Some(Places { step, first: first.reshaped(vec![1; rank]).ok()? }))?
        }
        ("Mul", _) => {
            let (of, factor) = importer.both(node).into_iter().find_map(|(a, b)| Some((a, importer.number(b)?)))?;
            let Places { step, first } = places(importer, of)?;
            Some(Places { step: step * factor, first: fold::unary(&first, |place| place * factor).ok()? })
        }
        ("Add", _) => {
            let (of, more) = importer.both(node).into_iter().find_map(|(a, b)| Some((a, importer.constant(b)?)))?;
            let Places { step, first } = places(importer, of)?;
            let fits = more.dims.len() < first.dims.len() || more.dims.first() == Some(&1);
            let first = fold::binary(&first, more, fold::add).ok().filter(|_| fits)?;
            Some(Places { step, first })
        }
        _ => None,
    }
}
