//! Packed weights and tables of a session.

use super::SessionError;
use super::buffer::AlignedBuffer;
use crate::backend;
use crate::ir::weights::WeightSource;
use crate::kernels::Constant;
use crate::schedule::{ALIGNMENT, Plan};

/// Memory is asked for in pieces of at least so many bytes. What is left of a piece is never touched.
const CHUNK: usize = 32 << 20;

/// The constants of all steps, side by side in few buffers.
pub struct Constants {
    chunks: Vec<AlignedBuffer>,
    /// Bytes used of the last chunk.
    used: usize,
    /// For each step.
    places: Vec<Vec<Place>>,
    bytes: usize,
}

#[derive(Clone, Copy)]
struct Place {
    chunk: usize,
    offset: usize,
    bytes: usize,
}

impl Constants {
    /// Packs step by step; what a weight file has cached of a step's weights is given back behind it.
    ///
    /// # Errors
    /// Where more than `limit` bytes would be needed, or the system gives none.
    pub fn pack(
        plan: &Plan,
        weights: &dyn WeightSource,
        threads: usize,
        limit: usize,
    ) -> Result<Constants, SessionError> {
        let mut packed = Constants { chunks: Vec::new(), used: 0, places: Vec::new(), bytes: 0 };
        for step in &plan.steps {
            let params = backend::params(plan, step, weights);
            let constants = step.kernel.family().constants(&params);
            packed.bytes += constants.iter().map(Constant::bytes).sum::<usize>();
            if packed.bytes > limit {
                return Err(SessionError::Memory { what: "weights", bytes: packed.bytes, limit });
            }
            let places = constants.iter().map(|constant| packed.add(constant, threads)).collect::<Result<_, _>>()?;
            packed.places.push(places);
            backend::release(plan, step, weights);
        }
        Ok(packed)
    }

    fn add(&mut self, constant: &Constant, threads: usize) -> Result<Place, SessionError> {
        let place = self.reserve(constant.bytes())?;
        let memory = self.chunks[place.chunk].bytes_mut();
        constant.write(&mut memory[place.offset..place.offset + place.bytes], threads);
        Ok(place)
    }

    fn reserve(&mut self, bytes: usize) -> Result<Place, SessionError> {
        let fits = self.chunks.last().is_some_and(|chunk| self.used + bytes <= chunk.len());
        if !fits {
            let chunk = AlignedBuffer::zeroed(bytes.max(CHUNK)).map_err(|_| SessionError::Allocation)?;
            self.chunks.push(chunk);
            self.used = 0;
        }
        let place = Place { chunk: self.chunks.len() - 1, offset: self.used, bytes };
        self.used = (self.used + bytes).next_multiple_of(ALIGNMENT);
        Ok(place)
    }

    /// Of all constants, without what lies between them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Address and bytes of each of a step's constants, in the order of its kernel's operands.
    pub fn of_step(&self, step: usize) -> impl Iterator<Item = (*const u8, usize)> {
        self.places[step].iter().map(|place| {
            let start = self.chunks[place.chunk].as_ptr().wrapping_add(place.offset);
            (start, place.bytes)
        })
    }
}
