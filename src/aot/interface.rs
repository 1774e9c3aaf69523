//! What a C program sees of a compiled model; the generated functions and the header are both made from it.

use super::constants::{self, Constants};
use super::{Options, OwnMemory, Weights};
use crate::ir::{Graph, NodeId};
use crate::schedule::{ALIGNMENT, Plan};
use crate::tensor::{Batch, TensorType};

pub(super) struct Interface {
    /// Prefix of all public names.
    pub name: String,
    /// What `NAME_version` returns.
    pub version: String,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// Smallest and largest batch.
    pub batch: (usize, usize),
    /// Bytes of the arena for one sample, a multiple of [`ALIGNMENT`].
    pub arena: usize,
    /// Bytes of scratch memory for one thread, a multiple of [`ALIGNMENT`].
    pub scratch: usize,
    pub own_memory: Option<OwnMemory>,
    /// Size of the weight file, header included; `None` for embedded weights.
    pub weight_file: Option<usize>,
    pub fingerprint: u64,
}

/// An input or an output.
pub(super) struct Port {
    pub name: String,
    pub ty: TensorType,
}

impl Port {
    /// The shape, with 0 for a batch that is free.
    pub fn shape(&self) -> Vec<usize> {
        match self.ty.batch {
            Batch::Fixed(batch) => self.ty.shape(batch),
            Batch::Symbolic(_) => self.ty.shape(0),
        }
    }
}

/// What functions return, besides 0: name and text, from 1 on.
pub(super) const ERRORS: [(&str, &str); 13] = [
    ("CPU", "the CPU or the operating system lacks an instruction set that the code was compiled for"),
    ("WEIGHTS_SIZE", "the weights are missing or have another size than those of this model"),
    ("WEIGHTS_ALIGNMENT", "the weights are not aligned to 64 bytes"),
    ("WEIGHTS_FORMAT", "the weights are not a weight file of a version that this code reads"),
    ("WEIGHTS_MODEL", "the weights were packed for another model, CPU or compiler version"),
    ("CONTEXT", "the context was not made ready by a successful call of the init function"),
    ("BATCH", "the batch is not one that the model can run"),
    ("MEMORY_ALIGNMENT", "the work memory is not aligned to 64 bytes"),
    ("THREADS", "the number of threads is not one that the model can run on"),
    ("MEMORY", "no work memory was given, and the library has none of its own for so many samples or threads"),
    ("NULL", "the context, the array of inputs or outputs, or a pointer in one of these arrays is NULL"),
    ("WEIGHTS_CHECKSUM", "the weights are damaged: their checksum is not the one that was written with them"),
    ("WEIGHTS_EMBEDDED", "weights were given, but those of this model are in the object: pass NULL and 0"),
];

/// What the text of any other code is.
pub(super) const NO_ERROR: &str = "not a code of this model";

/// The code of an error of [`ERRORS`].
pub(super) fn code(name: &str) -> i64 {
    ERRORS.iter().position(|error| error.0 == name).expect("errors are named as in the table") as i64 + 1
}

impl Interface {
    pub fn new(plan: &Plan, constants: &Constants, options: &Options) -> Interface {
        let (name, cpu, graph) = (&options.name, options.cpu.name, &plan.graph);
        let fingerprint = constants::fingerprint(plan, constants);
        let version = format!(
            "{name} for {cpu} ({}), plan {fingerprint:016x}, svertka {}",
            plan.target.isa,
            env!("CARGO_PKG_VERSION")
        );
        let port = |name: &str, id: NodeId| Port { name: name.to_string(), ty: graph[id].ty.clone() };
        Interface {
            name: name.to_string(),
            version,
            inputs: graph.inputs.iter().map(|&id| port(&graph[id].origin.path, id)).collect(),
            outputs: graph.outputs.iter().map(|output| port(&output.name, output.node)).collect(),
            batch: batches(graph, plan),
            arena: plan.arena_bytes(1),
            scratch: scratch(plan),
            own_memory: options.own_memory,
            weight_file: (options.weights == Weights::File).then_some(constants::HEADER_BYTES + constants.bytes.len()),
            fingerprint,
        }
    }

    /// Bytes of the work memory.
    pub fn memory_bytes(&self, batch: usize, threads: usize) -> usize {
        self.arena.saturating_mul(batch).saturating_add(self.scratch.saturating_mul(threads))
    }

    /// The public name of a function.
    pub fn public(&self, function: &str) -> String {
        format!("{}_{function}", self.name)
    }
}

/// The smallest and the largest number of threads.
pub(super) const THREADS: (usize, usize) = (1, 1024);

/// Bytes of scratch memory for one thread.
fn scratch(plan: &Plan) -> usize {
    plan.scratch().next_multiple_of(ALIGNMENT)
}

/// The smallest and the largest batch: the model's own, or as many as no size in bytes and no count of tasks overflows.
fn batches(graph: &Graph, plan: &Plan) -> (usize, usize) {
    let fixed = graph.inputs.iter().find_map(|&id| match graph[id].ty.batch {
        Batch::Fixed(batch) => Some(batch),
        Batch::Symbolic(_) => None,
    });
    let tasks = plan.steps.iter().map(|step| step.kernel.tasks());
    let bytes = plan.buffers.iter().map(|buffer| buffer.elements * 4);
    let largest = tasks.chain(bytes).fold(plan.arena_bytes(1), usize::max);
    let of_threads = scratch(plan).saturating_mul(THREADS.1).min(i64::MAX as usize / 2);
    let limit = (i64::MAX as usize - of_threads) / largest.max(1);
    fixed.map_or((1, limit), |batch| (batch, batch.min(limit)))
}
