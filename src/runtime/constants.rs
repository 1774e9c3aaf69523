//! Packed weights and tables of a session.

use super::SessionError;
use super::buffer::AlignedBuffer;
use crate::backend;
use crate::ir::weights::WeightSource;
use crate::kernels::{Constant, Used};
use crate::schedule::{ALIGNMENT, Plan};

/// Bytes of a chunk for small constants. What is left of it is never touched.
const CHUNK: usize = 32 << 20;

/// The constants of all steps, side by side in few buffers.
pub struct Constants {
    chunks: Vec<AlignedBuffer>,
    /// The chunk that small constants go to, and how many of its bytes are used.
    filling: Option<usize>,
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
    /// Packs step by step; what a weight file has cached of a step's weights is given back behind it, and
    /// while many are packed.
    ///
    /// # Errors
    /// Where more than `limit` bytes would be needed, or the system gives none.
    pub fn pack(
        plan: &Plan,
        weights: &dyn WeightSource,
        threads: usize,
        limit: usize,
    ) -> Result<Constants, SessionError> {
        let mut packed = Constants { chunks: Vec::new(), filling: None, used: 0, places: Vec::new(), bytes: 0 };
        for step in &plan.steps {
            let params = backend::params(plan, step, weights);
            let constants = step.kernel.constants(&params);
            packed.bytes += constants.iter().map(Constant::bytes).sum::<usize>();
            if packed.bytes > limit {
                return Err(SessionError::Memory { what: "weights", bytes: packed.bytes, limit });
            }
            let used = || backend::release(plan, step, weights);
            let places = constants.iter().map(|constant| packed.add(constant, threads, &used));
            let places = places.collect::<Result<_, _>>()?;
            packed.places.push(places);
            used();
        }
        Ok(packed)
    }

    fn add(&mut self, constant: &Constant, threads: usize, used: &Used) -> Result<Place, SessionError> {
        let place = self.reserve(constant.bytes())?;
        let memory = self.chunks[place.chunk].bytes_mut();
        constant.write(&mut memory[place.offset..place.offset + place.bytes], threads, used);
        Ok(place)
    }

    /// Room in the chunk that is being filled, or in one of its own for what would leave much of a chunk empty.
    fn reserve(&mut self, bytes: usize) -> Result<Place, SessionError> {
        if bytes > CHUNK / 2 {
            return Ok(Place { chunk: self.add_chunk(bytes)?, offset: 0, bytes });
        }
        let chunk = match self.filling {
            Some(chunk) if self.used + bytes <= self.chunks[chunk].len() => chunk,
            _ => {
                self.used = 0;
                self.add_chunk(CHUNK)?
            }
        };
        self.filling = Some(chunk);
        let place = Place { chunk, offset: self.used, bytes };
        self.used = (self.used + bytes).next_multiple_of(ALIGNMENT);
        Ok(place)
    }

    fn add_chunk(&mut self, bytes: usize) -> Result<usize, SessionError> {
        self.chunks.push(AlignedBuffer::zeroed(bytes).map_err(|_| SessionError::Allocation)?);
        Ok(self.chunks.len() - 1)
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
