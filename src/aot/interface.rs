//! What a C program sees of a compiled model; the generated functions and the header are both made from it.

use super::constants::{self, Constants};
use super::{AotError, Options, OwnMemory, Weights};
use crate::ir::Graph;
use crate::schedule::{ALIGNMENT, Cut, Plan};
use crate::tensor::{Batch, DType, Quantisation, TensorType};

pub(super) struct Interface {
    /// Prefix of all public names.
    pub name: String,
    /// What `NAME_version` returns.
    pub version: String,
    /// What depends on the sizes of the inputs; the usual ones first.
    pub sizes: Vec<Size>,
    /// Bytes of scratch memory for one thread, a multiple of [`ALIGNMENT`].
    pub scratch: usize,
    pub own_memory: Option<OwnMemory>,
    /// Size of the weight file, header included; `None` for embedded weights.
    pub weight_file: Option<usize>,
    pub fingerprint: u64,
}

/// The network at one size. All have the same inputs and outputs but for their shapes.
pub(super) struct Size {
    /// What stands behind the model's name in the names of its functions: nothing, or `_320x480`.
    pub suffix: String,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// Smallest and largest batch.
    pub batch: (usize, usize),
    /// Bytes of the arena for one sample, a multiple of [`ALIGNMENT`].
    pub arena: usize,
    /// See [`Plan::joint`]; a multiple of [`ALIGNMENT`].
    pub joint: usize,
    /// See [`Interface::scratch`].
    scratch: usize,
    /// See [`Plan::split_above`].
    pub split_above: usize,
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

    /// What its elements stand for, where they are whole numbers.
    pub fn quantisation(&self) -> Option<Quantisation> {
        if let DType::U8(quantisation) = self.ty.dtype { Some(quantisation) } else { None }
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
    /// Of plans for the same network at several sizes, of which there is at least one.
    ///
    /// # Errors
    /// Where they are not.
    pub fn new(plans: &[Plan], constants: &Constants, options: &Options) -> Result<Interface, AotError> {
        let (name, cpu, target) = (&options.name, options.cpu.name, plans[0].target);
        let fingerprint = constants::fingerprint(plans, constants);
        let version = format!(
            "{name} for {cpu} ({}), plan {fingerprint:016x}, svertka {}",
            target.isa,
            env!("CARGO_PKG_VERSION")
        );
        let scratch = plans.iter().map(|plan| plan.scratch().next_multiple_of(ALIGNMENT)).max().unwrap_or(0);
        let mut sizes: Vec<Size> = Vec::new();
        for plan in plans {
            let size = Size::new(plan, sizes.is_empty(), scratch);
            if sizes.iter().any(|other| other.suffix == size.suffix || other.is_like(plan)) {
                return Err(AotError::SameSize(shown_sizes(&plan.graph)));
            }
            if sizes.first().is_some_and(|usual| usual.ports() != size.ports()) {
                return Err(AotError::OtherPorts(shown_sizes(&plan.graph)));
            }
            sizes.push(size);
        }
        Ok(Interface {
            name: name.to_string(),
            version,
            sizes,
            scratch,
            own_memory: options.own_memory,
            weight_file: (options.weights == Weights::File).then_some(constants::HEADER_BYTES + constants.bytes.len()),
            fingerprint,
        })
    }

    /// The network at its usual size.
    pub fn usual(&self) -> &Size {
        &self.sizes[0]
    }

    /// Bytes of work memory that suffice at every size.
    pub fn largest_memory_bytes(&self, OwnMemory { batch, threads }: OwnMemory) -> usize {
        self.sizes.iter().map(|size| size.memory_bytes(batch, threads)).max().unwrap_or(0)
    }

    /// The public name of a function.
    pub fn public(&self, function: &str) -> String {
        format!("{}_{function}", self.name)
    }
}

impl Size {
    fn new(plan: &Plan, usual: bool, scratch: usize) -> Size {
        let graph = &plan.graph;
        let port = |name: &str, ty: &TensorType| Port { name: name.to_string(), ty: ty.clone() };
        let inputs = graph.inputs.iter().zip(plan.input_types());
        let outputs = graph.outputs.iter().zip(plan.output_types());
        Size {
            suffix: if usual { String::new() } else { format!("_{}", shown_sizes(graph)) },
            inputs: inputs.map(|(&id, ty)| port(&graph[id].origin.path, ty)).collect(),
            outputs: outputs.map(|(output, ty)| port(&output.name, ty)).collect(),
            batch: batches(graph, plan, scratch),
            arena: plan.arena,
            joint: plan.joint,
            scratch,
            split_above: plan.split_above(),
        }
    }

    /// Bytes of the work memory.
    pub fn memory_bytes(&self, batch: usize, threads: usize) -> usize {
        let slots = Cut::new(batch, threads).slots;
        let values = self.arena.saturating_mul(slots).saturating_add(self.joint.saturating_mul(batch));
        values.saturating_add(self.scratch.saturating_mul(threads))
    }

    /// The name of a function of this size, behind that of the model and `_`.
    pub fn function(&self, function: &str) -> String {
        match self.suffix.strip_prefix('_') {
            None => function.to_string(),
            Some(size) => format!("{size}_{function}"),
        }
    }

    /// Whether the plan is for this size.
    fn is_like(&self, plan: &Plan) -> bool {
        plan.input_types().eq(self.inputs.iter().map(|port| &port.ty))
    }

    /// What is the same at all sizes: names, numbers of dimensions, and types of elements.
    fn ports(&self) -> Vec<(&str, usize, DType)> {
        let ports = self.inputs.iter().chain(&self.outputs);
        ports.map(|port| (port.name.as_str(), port.ty.dims.len(), port.ty.dtype)).collect()
    }
}

/// The values of the free sizes, for names: `320x480`.
pub(super) fn shown_sizes(graph: &Graph) -> String {
    let sizes = graph.sizes().into_iter().map(|(_, size)| size.to_string());
    sizes.collect::<Vec<_>>().join("x")
}

/// The smallest and the largest number of threads.
pub(super) const THREADS: (usize, usize) = (1, 1024);

/// The smallest and the largest batch: the model's own, or as many as no size in bytes and no count of tasks overflows.
fn batches(graph: &Graph, plan: &Plan, scratch: usize) -> (usize, usize) {
    let fixed = graph.inputs.iter().find_map(|&id| match graph[id].ty.batch {
        Batch::Fixed(batch) => Some(batch),
        Batch::Symbolic(_) => None,
    });
    let tasks = plan.steps.iter().map(|step| step.kernel.tasks().max(step.kernel_of_turns().tasks()));
    let bytes = plan.buffers.iter().map(|buffer| buffer.bytes);
    let largest = tasks.chain(bytes).fold(plan.arena_bytes(), usize::max);
    let of_threads = scratch.saturating_mul(THREADS.1).min(i64::MAX as usize / 2);
    let limit = (i64::MAX as usize - of_threads) / largest.max(1);
    fixed.map_or((1, limit), |batch| (batch, batch.min(limit)))
}
