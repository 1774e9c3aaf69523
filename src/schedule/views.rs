//! Values that are a part of another one's memory, so that nothing is copied.

use super::View;
use crate::kernels::Layout;
use crate::layers::Op;
use crate::tensor::TensorType;

/// Where the value of a layer, which is of type `ty`, is found in the memory of its operand; `None` where it must be made.
pub fn of(op: &Op, ty: &TensorType, operand: &View, lanes: usize) -> Option<View> {
    let positions = ty.spatial().iter().product::<usize>();
    let row_major = operand.layout == Layout::Nchw || operand.ty.spatial().iter().all(|&size| size == 1);
    let (first, layout) = match op {
        Op::ChannelSlice(slice) => (slice.channels.start, operand.layout),
        Op::Flatten(_) | Op::Unflatten(_) if row_major => (0, Layout::Nchw),
        _ => return None,
    };
    let bytes = ty.dtype.bytes();
    let offset = operand.offset + first * positions * bytes;
    // One position is the same in both layouts, and may be read in whole blocks.
    let readable = positions > 1 || offset.is_multiple_of(lanes * bytes);
    let found = readable && (layout == Layout::Nchw || first.is_multiple_of(lanes));
    found.then(|| View { buffer: operand.buffer, offset, layout, ty: ty.clone(), padded: None })
}

#[cfg(test)]
mod tests {
    use crate::codegen::Isa;
    use crate::ir::{Graph, Output, verify};
    use crate::kernels::Target;
    use crate::layers::{Activation, Add, ChannelSlice, Concat, Flatten, Softmax};
    use crate::schedule::{Plan, plan};
    use crate::tensor::{Batch, DType, TensorType};

    /// The sum of both halves of an activation: row-major where a softmax makes it, else in blocks of four channels.
    fn halves(row_major: bool, middle: usize) -> Plan {
        halves_of(row_major, middle, 4)
    }

    fn halves_of(row_major: bool, middle: usize, size: usize) -> Plan {
        let mut graph = Graph::default();
        let dims = vec![2 * middle, size, size];
        let ty = TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims };
        let x = graph.add_input("x", ty);
        let x = match row_major {
            true => graph.add_layer(Softmax::CHANNELS, &[x], "softmax").unwrap(),
            false => graph.add_layer(Activation::Tanh, &[x], "tanh").unwrap(),
        };
        let [a, b] = [0..middle, middle..2 * middle]
            .map(|channels| graph.add_layer(ChannelSlice { channels }, &[x], "slice").unwrap());
        let node = graph.add_layer(Add, &[a, b], "sum").unwrap();
        graph.outputs.push(Output { name: "y".into(), node });
        plan(verify(graph).unwrap(), Target::new(Isa::Clif))
    }

    fn copies(plan: &Plan) -> usize {
        let name = |step: &crate::schedule::Step| plan.graph[step.node].origin.path.clone();
        plan.steps.iter().filter(|step| step.purpose.is_none() && name(step) == "slice").count()
    }

    #[test]
    fn channels_are_copied_only_where_blocks_would_be_torn() {
        assert_eq!([(true, 8), (true, 7), (false, 8), (false, 4)].map(|(r, m)| copies(&halves(r, m))), [0; 4]);
        assert_eq!(copies(&halves(false, 6)), 1, "the first half begins with a block");
        // One position is read in whole blocks.
        assert_eq!([8, 6].map(|middle| copies(&halves_of(true, middle, 1))), [0, 1]);
    }

    #[test]
    fn only_what_lies_row_by_row_is_flat_where_it_lies() {
        let steps = |row_major: bool, size: usize| {
            let mut graph = Graph::default();
            let dims = vec![6, size, size];
            let ty = TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims };
            let x = graph.add_input("x", ty);
            let x = match row_major {
                true => graph.add_layer(Softmax::CHANNELS, &[x], "softmax").unwrap(),
                false => graph.add_layer(Activation::Tanh, &[x], "tanh").unwrap(),
            };
            let flat = graph.add_layer(Flatten, &[x], "flat").unwrap();
            let node = graph.add_layer(Activation::Relu, &[flat], "relu").unwrap();
            graph.outputs.push(Output { name: "y".into(), node });
            let plan = plan(verify(graph).unwrap(), Target::new(Isa::Clif));
            plan.steps.iter().filter(|step| plan.graph[step.node].origin.path == "flat").count()
        };
        assert_eq!([(true, 3), (false, 3), (false, 1)].map(|(row_major, size)| steps(row_major, size)), [0, 1, 0]);
    }

    /// Its kernel writes into the concatenation.
    #[test]
    fn a_slice_that_is_part_of_a_concatenation_is_copied_once() {
        let mut graph = Graph::default();
        let ty = TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: vec![16, 4, 4] };
        let x = graph.add_input("x", ty);
        let x = graph.add_layer(Activation::Tanh, &[x], "tanh").unwrap();
        let slice = graph.add_layer(ChannelSlice { channels: 0..8 }, &[x], "slice").unwrap();
        let relu = graph.add_layer(Activation::Relu, &[x], "relu").unwrap();
        let node = graph.add_layer(Concat, &[slice, relu], "concat").unwrap();
        graph.outputs.push(Output { name: "y".into(), node });
        let plan = plan(verify(graph).unwrap(), Target::new(Isa::Clif));
        let copied = |step: &crate::schedule::Step| step.purpose.is_some_and(|purpose| purpose.contains("in place"));
        assert_eq!((copies(&plan), plan.steps.iter().filter(|step| copied(step)).count()), (1, 0));
    }
}
