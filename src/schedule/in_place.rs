//! Lets steps write over operands that nobody needs any more.

use super::{Buffer, BufferId, Place, Plan, Step, View};

/// Gives the outputs of steps the buffers of operands that die there, where the kernel allows it and both have the
/// same layout. Lifetimes must be set; arena offsets are still free.
pub fn run(plan: &mut Plan) {
    // Which buffer is there in the place of each. Steps that come before the one that first writes a buffer do not refer
    // to it, so that one walk reaches all.
    let mut instead: Vec<BufferId> = (0..plan.buffers.len()).map(BufferId).collect();
    for index in 0..plan.steps.len() {
        plan.steps[index].views_mut().for_each(|view| view.buffer = instead[view.buffer.0]);
        if let Some((output, operand)) = overwritten(plan, index) {
            plan.buffers[operand.0].live.1 = plan.buffers[output.0].live.1;
            // Nothing refers to it any more.
            plan.buffers[output.0].live = (usize::MAX, 0);
            plan.buffers[output.0].bytes = 0;
            instead[output.0] = operand;
            plan.steps[index].views_mut().for_each(|view| view.buffer = instead[view.buffer.0]);
        }
    }
    let others = plan.outputs.iter_mut().chain(plan.values.iter_mut().flatten());
    others.for_each(|view| view.buffer = instead[view.buffer.0]);
}

/// The buffer of a step's output, and that of an operand that it may be written over.
fn overwritten(plan: &Plan, index: usize) -> Option<(BufferId, BufferId)> {
    // Those of a stage read and write the same values by turns.
    if plan.in_stage(index) {
        return None;
    }
    let Step { kernel, output, inputs, .. } = &plan.steps[index];
    let buffer = |view: &View| &plan.buffers[view.buffer.0];
    let whole = |view: &View| {
        let Buffer { place, bytes, .. } = buffer(view);
        matches!(place, Place::Arena(_)) && view.offset == 0 && *bytes == buffer(output).bytes
    };
    if !whole(output) || buffer(output).live.0 != index {
        return None;
    }
    let dies = |view: &View| buffer(view).live.1 == index && view.buffer != output.buffer;
    let same = |view: &View| {
        (view.layout, view.padded) == (output.layout, output.padded)
            && view.ty.dims == output.ty.dims
            && view.ty.dtype.bytes() == output.ty.dtype.bytes()
    };
    let mut candidates = inputs.iter().enumerate();
    let found = candidates.find(|(i, view)| {
        let only = inputs.iter().filter(|other| other.buffer == view.buffer).count() == 1;
        kernel.may_overwrite(*i) && whole(view) && dies(view) && same(view) && only
    });
    found.map(|(_, view)| (output.buffer, view.buffer))
}

#[cfg(test)]
mod tests {
    use crate::codegen::Isa;
    use crate::ir::{Graph, Output, verify};
    use crate::kernels::Target;
    use crate::layers::{Activation, Add, Softmax};
    use crate::schedule::{Place, Plan, plan};
    use crate::tensor::{Batch, DType, TensorType};

    /// relu(tanh(x)) + x, on maps of 64 channels.
    fn sum(again: bool) -> Plan {
        let mut graph = Graph::default();
        let ty = TensorType { dtype: DType::F32, batch: Batch::Symbolic("N".into()), dims: vec![64, 4, 4] };
        let x = graph.add_input("x", ty);
        let a = graph.add_layer(Softmax::CHANNELS, &[x], "a").unwrap();
        let b = graph.add_layer(Activation::Tanh, &[a], "b").unwrap();
        let c = graph.add_layer(Activation::Gelu, &[a], "c").unwrap();
        let sum = graph.add_layer(Add, &[b, c], "sum").unwrap();
        let last = if again { graph.add_layer(Add, &[sum, a], "again").unwrap() } else { sum };
        let end = graph.add_layer(Softmax::CHANNELS, &[last], "end").unwrap();
        graph.outputs.push(Output { name: "y".into(), node: end });
        plan(verify(graph).unwrap(), Target::new(Isa::Clif))
    }

    /// Values that have memory of their own.
    fn buffers(plan: &Plan) -> usize {
        let used = |place| matches!(place, Place::Arena(_));
        plan.buffers.iter().filter(|b| used(b.place) && b.live.0 <= b.live.1).count()
    }

    #[test]
    fn a_dying_operand_is_overwritten_and_one_that_is_read_later_is_not() {
        let (short, long) = (sum(false), sum(true));
        let map = 64 * 4 * 4 * 4;
        // tanh reads `a`, which gelu needs; gelu with the sum overwrites the operand that is not needed again, and so does
        // all behind it.
        assert_eq!(short.arena, 2 * map, "{:?}", short.buffers);
        assert_eq!(long.arena, 2 * map, "{:?}", long.buffers);
        assert!(buffers(&short) < short.steps.len());
    }
}
