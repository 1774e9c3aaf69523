//! Packed weights and tables of a session.

use super::SessionError;
use super::buffer::AlignedBuffer;
use super::packed;
use crate::backend;
use crate::ir::weights::WeightSource;
use crate::kernels::{Constant, Used};
use crate::schedule::{ALIGNMENT, Plan, Step};
use memmap2::Mmap;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of a chunk for small constants. What is left of it is never touched.
const CHUNK: usize = 32 << 20;

/// The constants of all steps, side by side in few buffers, of which some may be those of other sessions.
pub struct Constants {
    /// For each step.
    places: Vec<Vec<Place>>,
    /// Those that are made of weights.
    made: HashMap<Made, Place>,
    bytes: usize,
}

/// A piece of memory with constants side by side; nothing in it changes once they are packed.
enum Chunk {
    /// Constants lie in the first `used` bytes.
    Own { memory: AlignedBuffer, used: usize },
    /// A file of [`packed`].
    Mapped(Mmap),
}

impl Chunk {
    fn bytes(&self) -> &[u8] {
        match self {
            Chunk::Own { memory, used } => &memory.bytes()[..*used],
            Chunk::Mapped(map) => map,
        }
    }
}

/// Bytes of the constants of each step.
pub type Sizes = Vec<Vec<usize>>;

#[derive(Clone)]
struct Place {
    chunk: Arc<Chunk>,
    offset: usize,
    bytes: usize,
}

/// The weights that a constant is made of, and which one of its step it is.
type Made = (Vec<String>, usize);

impl Place {
    fn content(&self) -> &[u8] {
        &self.chunk.bytes()[self.offset..self.offset + self.bytes]
    }
}

impl Constants {
    /// Those of the file in which the weights are kept packed, which is written if need be; else packed now. What `others`
    /// have packed is in memory already: beside them nothing is kept.
    ///
    /// # Errors
    /// As [`Constants::pack`], and where that file cannot be written.
    pub fn new(
        plan: &Plan,
        weights: &dyn WeightSource,
        threads: usize,
        limit: usize,
        others: &[&Constants],
    ) -> Result<Constants, SessionError> {
        let kept = weights.kept().filter(|_| others.is_empty());
        let Some(kept) = kept else { return Constants::pack(plan, weights, threads, limit, others) };
        let file = packed::File::new(plan, &kept, &sizes(plan, weights, limit)?);
        if let Some(map) = file.open(threads) {
            return Ok(Constants::mapped(plan, &file, map));
        }
        let packed = Constants::pack(plan, weights, threads, limit, &[])?;
        file.write(packed.places.iter().flatten().map(Place::content))?;
        // Another process may have deleted it meanwhile.
        Ok(file.open(threads).map_or(packed, |map| Constants::mapped(plan, &file, map)))
    }

    fn mapped(plan: &Plan, file: &packed::File, map: Mmap) -> Constants {
        let chunk = Arc::new(Chunk::Mapped(map));
        let place = |place: &Range<usize>| Place { chunk: chunk.clone(), offset: place.start, bytes: place.len() };
        Constants::of_places(plan, file.places.iter().map(|of_step| of_step.iter().map(place).collect()).collect())
    }

    /// Packs step by step; what a weight file has cached of a step's weights is given back behind it, and
    /// while many are packed. What `others` have packed from the same weights in the same way is theirs and these's.
    ///
    /// # Errors
    /// Where more than `limit` bytes would be needed, or the system gives none.
    fn pack(
        plan: &Plan,
        weights: &dyn WeightSource,
        threads: usize,
        limit: usize,
        others: &[&Constants],
    ) -> Result<Constants, SessionError> {
        let mut packer = Packer { chunks: Vec::new(), filling: None, threads };
        let mut places = Vec::new();
        let mut bytes = 0;
        for step in &plan.steps {
            let params = backend::params(plan, step, weights);
            let constants = step.kernel.constants(&params);
            bytes += constants.iter().map(Constant::bytes).sum::<usize>();
            if bytes > limit {
                return Err(SessionError::Memory { what: "weights", bytes, limit });
            }
            let used = || backend::release(plan, step, weights);
            let pack = |(index, constant)| {
                let known = made(plan, step, index).into_iter().flat_map(|made| places_of(&made, others));
                packer.add(constant, &known.collect::<Vec<_>>(), &used)
            };
            places.push(constants.iter().enumerate().map(pack).collect::<Result<Vec<_>, _>>()?);
            used();
        }
        Ok(packer.finish(plan, places))
    }

    fn of_places(plan: &Plan, places: Vec<Vec<Place>>) -> Constants {
        let bytes = places.iter().flatten().map(|place| place.bytes).sum();
        let mut made = HashMap::new();
        for (step, places) in plan.steps.iter().zip(&places) {
            for (index, place) in places.iter().enumerate() {
                made.extend(self::made(plan, step, index).map(|key| (key, place.clone())));
            }
        }
        Constants { places, made, bytes }
    }

    /// Of all constants, without what lies between them.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Which pieces of memory they lie in: address and bytes of each.
    pub fn chunks(&self) -> HashMap<*const u8, usize> {
        let chunks = self.places.iter().flatten().map(|place| &place.chunk);
        chunks.map(|chunk| (chunk.bytes().as_ptr(), chunk.bytes().len())).collect()
    }

    /// Address and bytes of each of a step's constants, in the order of its kernel's operands.
    pub fn of_step(&self, step: usize) -> impl Iterator<Item = (*const u8, usize)> {
        self.places[step].iter().map(|place| (place.content().as_ptr(), place.bytes))
    }
}

/// How large the constants of each step will be.
///
/// # Errors
/// Where they are more than `limit` bytes together.
fn sizes(plan: &Plan, weights: &dyn WeightSource, limit: usize) -> Result<Sizes, SessionError> {
    let mut bytes = 0;
    let of_step = |step: &Step| {
        let params = backend::params(plan, step, weights);
        let sizes: Vec<usize> = step.kernel.constants(&params).iter().map(Constant::bytes).collect();
        drop(params);
        backend::release(plan, step, weights);
        bytes += sizes.iter().sum::<usize>();
        if bytes > limit { Err(SessionError::Memory { what: "weights", bytes, limit }) } else { Ok(sizes) }
    };
    plan.steps.iter().map(of_step).collect()
}

/// `None` for tables, which are made of no weights.
fn made(plan: &Plan, step: &Step, index: usize) -> Option<Made> {
    let names = step.params.iter().map(|&id| plan.graph[id].name.clone()).collect::<Vec<_>>();
    (!names.is_empty()).then_some((names, index))
}

fn places_of<'a>(made: &Made, others: &[&'a Constants]) -> Vec<&'a Place> {
    others.iter().filter_map(|other| other.made.get(made)).collect()
}

/// Constants that are being packed.
struct Packer {
    chunks: Vec<(AlignedBuffer, usize)>,
    /// The chunk that small constants go to.
    filling: Option<usize>,
    threads: usize,
}

/// Where a constant is.
enum Packed {
    /// In a chunk of this number, from this byte on.
    Here {
        chunk: usize,
        offset: usize,
        bytes: usize,
    },
    Shared(Place),
}

impl Packer {
    fn add(&mut self, constant: &Constant, known: &[&Place], used: &Used) -> Result<Packed, SessionError> {
        let bytes = constant.bytes();
        let chunk = self.reserve(bytes)?;
        let (memory, filled) = &mut self.chunks[chunk];
        let offset = filled.next_multiple_of(ALIGNMENT);
        let own = &mut memory.bytes_mut()[offset..offset + bytes];
        constant.write(own, self.threads, used);
        match known.iter().find(|place| place.content() == own) {
            Some(&place) => {
                own.fill(0);
                self.chunks.pop_if(|(_, filled)| *filled == 0);
                self.filling = self.filling.filter(|&chunk| chunk < self.chunks.len());
                Ok(Packed::Shared(place.clone()))
            }
            None => {
                // A chunk with an empty constant is in use too.
                *filled = (offset + bytes).max(1);
                Ok(Packed::Here { chunk, offset, bytes })
            }
        }
    }

    /// The number of the chunk that is being filled, or of one of its own for what would leave much of a chunk empty.
    fn reserve(&mut self, bytes: usize) -> Result<usize, SessionError> {
        if bytes > CHUNK / 2 {
            return self.add_chunk(bytes);
        }
        let fits = |chunk: &usize| {
            let (memory, filled) = &self.chunks[*chunk];
            filled.next_multiple_of(ALIGNMENT) + bytes <= memory.len()
        };
        let chunk = match self.filling.filter(fits) {
            Some(chunk) => chunk,
            None => self.add_chunk(CHUNK)?,
        };
        self.filling = Some(chunk);
        Ok(chunk)
    }

    fn add_chunk(&mut self, bytes: usize) -> Result<usize, SessionError> {
        let memory = AlignedBuffer::zeroed(bytes).map_err(|_| SessionError::Allocation)?;
        self.chunks.push((memory, 0));
        Ok(self.chunks.len() - 1)
    }

    fn finish(self, plan: &Plan, packed: Vec<Vec<Packed>>) -> Constants {
        let chunks = self.chunks.into_iter().map(|(memory, used)| Arc::new(Chunk::Own { memory, used }));
        let chunks: Vec<Arc<Chunk>> = chunks.collect();
        let place = |packed| match packed {
            Packed::Here { chunk, offset, bytes } => Place { chunk: chunks[chunk].clone(), offset, bytes },
            Packed::Shared(place) => place,
        };
        Constants::of_places(plan, packed.into_iter().map(|step| step.into_iter().map(place).collect()).collect())
    }
}
