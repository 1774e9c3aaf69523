//! The packed weights and tables of all steps in one piece of memory, and the file that can hold it.

use super::AotError;
use crate::backend;
use crate::hash::{hash_of, xxh64};
use crate::ir::weights::WeightSource;
use crate::schedule::{ALIGNMENT, Plan};
use std::collections::HashMap;
use std::ops::Range;

/// Packed constants of plans for the same network at several sizes.
pub(super) struct Constants {
    /// All of them, each at a multiple of [`ALIGNMENT`] bytes.
    pub bytes: Vec<u8>,
    /// For each plan and step, where its constants begin.
    pub offsets: Vec<Vec<Vec<usize>>>,
}

/// The weights that a constant is made of, and which one of its step it is.
type Made<'a> = (Vec<&'a str>, usize);

impl Constants {
    /// What several plans pack from the same weights in the same way is there once.
    ///
    /// # Errors
    /// Where it would be more than `limit` bytes.
    pub fn pack(plans: &[Plan], weights: &dyn WeightSource, limit: usize) -> Result<Constants, AotError> {
        let mut packed = Constants { bytes: Vec::new(), offsets: Vec::new() };
        let mut known: HashMap<Made, Vec<Range<usize>>> = HashMap::new();
        for plan in plans {
            // Within one plan nothing is shared: where things are must not depend on the values of weights.
            let mut new: Vec<(Made, Range<usize>)> = Vec::new();
            let mut offsets = Vec::new();
            for step in &plan.steps {
                let params = backend::params(plan, step, weights);
                let names: Vec<&str> = step.params.iter().map(|&id| plan.graph[id].name.as_str()).collect();
                let mut of_step = Vec::new();
                for (index, constant) in step.kernel.constants(&params).iter().enumerate() {
                    let bytes = packed.bytes.len().saturating_add(constant.bytes());
                    if bytes > limit {
                        return Err(AotError::Memory { bytes, limit });
                    }
                    let (made, bytes) = ((names.clone(), index), constant.to_bytes());
                    let mut same = known.get(&made).into_iter().flatten();
                    let shared = same.find(|range| packed.bytes[(*range).clone()] == *bytes);
                    let range = shared.cloned().unwrap_or_else(|| packed.add(&bytes));
                    of_step.push(range.start);
                    new.push((made, range));
                }
                offsets.push(of_step);
            }
            packed.offsets.push(offsets);
            new.into_iter().for_each(|(made, range)| known.entry(made).or_default().push(range));
        }
        Ok(packed)
    }

    fn add(&mut self, bytes: &[u8]) -> Range<usize> {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGNMENT), 0);
        begin..begin + bytes.len()
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
pub(super) fn fingerprint(plans: &[Plan], constants: &Constants) -> u64 {
    let of_plan = |(plan, offsets)| {
        let Plan { target, steps, stages, buffers, outputs, .. }: &Plan = plan;
        let steps = steps.iter().map(|step| (&step.kernel, step.views().collect::<Vec<_>>()));
        (target, steps.zip(offsets).collect::<Vec<_>>(), stages, buffers, outputs)
    };
    let plans: Vec<_> = plans.iter().zip(&constants.offsets).map(of_plan).collect();
    hash_of(&("svertka", env!("CARGO_PKG_VERSION"), constants.bytes.len(), plans))
}
