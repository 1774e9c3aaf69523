//! Whether what a run is given is what the network takes.

use super::RunError;
use crate::ir::Graph;
use crate::tensor::{AsTensor, AsTensorMut, Batch, TensorType};

/// Whether a network takes so many samples.
pub fn batch(graph: &Graph, batch: usize) -> Result<(), RunError> {
    let fits = |ty: &TensorType| match ty.batch {
        Batch::Fixed(fixed) => batch == fixed,
        Batch::Symbolic(_) => batch > 0,
    };
    match graph.inputs.iter().find(|&&id| !fits(&graph[id].ty)) {
        None => Ok(()),
        Some(&id) => {
            let (name, expected) = (graph[id].origin.path.clone(), graph.shape_of(id));
            Err(RunError::Batch { name, expected, found: batch })
        }
    }
}

/// Whether these are the inputs of a network, all of one batch, which it gives.
pub fn inputs<I: AsTensor>(graph: &Graph, inputs: &[I]) -> Result<usize, RunError> {
    if inputs.len() != graph.inputs.len() {
        return Err(RunError::InputCount { expected: graph.inputs.len(), found: inputs.len() });
    }
    for ((&id, (name, ty)), input) in graph.inputs.iter().zip(graph.input_types()).zip(inputs) {
        let found = input.as_tensor().shape();
        let batch_fits = match &ty.batch {
            Batch::Fixed(n) => found.first() == Some(n),
            Batch::Symbolic(_) => found.first().is_some_and(|&n| n > 0),
        };
        if !batch_fits || found[1..] != ty.dims {
            let (name, found) = (name.to_owned(), found.to_vec());
            return Err(RunError::InputShape { name, expected: graph.shape_of(id), found });
        }
    }
    let mut batches = inputs.iter().map(|input| input.as_tensor().shape()[0]);
    let batch = batches.next().expect("a network has an input");
    batches.find(|&other| other != batch).map_or(Ok(batch), |other| Err(RunError::BatchSizes(batch, other)))
}

/// Checks how many values were given for each of the model's inputs or outputs; `None` where their number is wrong.
pub fn lengths<'a>(
    what: &'static str,
    batch: usize,
    ports: impl ExactSizeIterator<Item = (&'a String, &'a TensorType)>,
    given: impl ExactSizeIterator<Item = usize>,
) -> Option<Result<(), RunError>> {
    let check = |((name, ty), found): ((&String, &TensorType), usize)| match ty.elements().saturating_mul(batch) {
        expected if expected == found => Ok(()),
        expected => Err(RunError::Length { what, name: name.clone(), batch, expected, found }),
    };
    (ports.len() == given.len()).then(|| ports.zip(given).try_for_each(check))
}

/// Whether these can take the outputs, of these names and types, of so many samples.
pub fn outputs<'a, O: AsTensorMut>(
    expected: impl ExactSizeIterator<Item = (&'a str, &'a TensorType)>,
    outputs: &mut [O],
    batch: usize,
) -> Result<(), RunError> {
    if outputs.len() != expected.len() {
        return Err(RunError::OutputCount { expected: expected.len(), found: outputs.len() });
    }
    for ((name, ty), output) in expected.zip(outputs) {
        let output = output.as_tensor_mut();
        let found = output.shape();
        if found.first() != Some(&batch) || found[1..] != ty.dims {
            let (expected, found) = (ty.shape(batch), found.to_vec());
            return Err(RunError::OutputShape { name: name.to_owned(), expected, found });
        }
    }
    Ok(())
}
