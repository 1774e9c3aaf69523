//! The packed weights and tables of all steps in one piece of memory, and the file that can hold it.

use crate::backend;
use crate::hash::{hash_of, xxh64};
use crate::ir::weights::WeightSource;
use crate::schedule::{ALIGNMENT, Plan};

/// Packed constants.
pub(super) struct Constants {
    /// All of them, each at a multiple of [`ALIGNMENT`] bytes.
    pub bytes: Vec<u8>,
    /// For each step, where its constants begin.
    pub offsets: Vec<Vec<usize>>,
}

impl Constants {
    pub fn pack(plan: &Plan, weights: &dyn WeightSource) -> Constants {
        let mut bytes = Vec::new();
        let mut offsets = Vec::new();
        for step in &plan.steps {
            let mut of_step = Vec::new();
            let params = backend::params(plan, step, weights);
            for constant in step.kernel.constants(&params) {
                of_step.push(bytes.len());
                bytes.extend_from_slice(&constant.to_bytes());
                bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
            }
            offsets.push(of_step);
        }
        Constants { bytes, offsets }
    }
}

/// The first bytes of a weight file: `SVERTKAW`.
pub(super) const MAGIC: u64 = u64::from_le_bytes(*b"SVERTKAW");
/// Of the weight file's format.
pub(super) const VERSION: u64 = 2;
/// Bytes before the constants.
pub(super) const HEADER_BYTES: usize = ALIGNMENT;
/// Where in the header its fields are, each of 64 bits, little-endian.
pub(super) mod field {
    pub const MAGIC: i32 = 0;
    pub const VERSION: i32 = 8;
    pub const FINGERPRINT: i32 = 16;
    /// Bytes of the whole file.
    pub const BYTES: i32 = 24;
    /// [`xxh64`](crate::hash::xxh64) of the constants.
    pub const CHECKSUM: i32 = 32;
}

/// A weight file: the header (the fields in their order, zeros), then the constants.
pub(super) fn weight_file(constants: &Constants, fingerprint: u64) -> Vec<u8> {
    let bytes = HEADER_BYTES + constants.bytes.len();
    let fields = [MAGIC, VERSION, fingerprint, bytes as u64, xxh64::hash(&constants.bytes)];
    let mut file = Vec::with_capacity(bytes);
    fields.iter().for_each(|field| file.extend(field.to_le_bytes()));
    file.resize(HEADER_BYTES, 0);
    file.extend_from_slice(&constants.bytes);
    file
}

/// A hash of everything that the code and the layout of the constants depend on, but not of the weights' values: the
/// weights of a model trained anew fit the old code.
pub(super) fn fingerprint(plan: &Plan, constants: &Constants) -> u64 {
    let steps = plan.steps.iter().map(|step| (&step.kernel, step.views().collect::<Vec<_>>()));
    let steps: Vec<_> = steps.zip(&constants.offsets).collect();
    let compiler = ("svertka", env!("CARGO_PKG_VERSION"));
    hash_of(&(compiler, plan.target, constants.bytes.len(), steps, &plan.buffers, &plan.outputs))
}
