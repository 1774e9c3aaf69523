//! Packed weights in a file, which processes map together: ready without packing, and in memory once.
//!
//! The file has a header of 64 bytes (five words, little-endian: [`MAGIC`], [`VERSION`], the key, bytes of the whole file,
//! checksum; zeros), then the constants of all steps, each at a multiple of 64 bytes. Its name and its header hold the key,
//! a hash of all that its bytes depend on: the plan, this version of svertka, how its parameters are made, and which values
//! were read from outside. The checksum finds files that were torn or that rotted, not those that somebody forged.

use super::constants::Sizes;
use crate::hash::{hash_of, hash_of_bytes};
use crate::io::IoError;
use crate::io::write::{create_folder, folder_of, write_atomically};
use crate::ir::weights::{Kept, definition};
use crate::schedule::{ALIGNMENT, Plan};
use memmap2::{Mmap, MmapOptions};
use std::fs;
use std::io;
use std::path::PathBuf;

const MAGIC: u64 = u64::from_le_bytes(*b"SVERTKAP");
/// Of the format, and of the order in which kernels pack.
const VERSION: u64 = 2;
const HEADER: usize = ALIGNMENT;

/// Bytes that one thread hashes at a time.
const PIECE: usize = 4 << 20;

/// A file of packed weights, which may be there or not.
pub struct File {
    path: PathBuf,
    key: u64,
    /// Of the whole file.
    bytes: usize,
    /// For each step, where its constants lie.
    pub places: Vec<Vec<std::ops::Range<usize>>>,
}

impl File {
    /// For the constants of a plan, of these sizes.
    pub fn new(plan: &Plan, kept: &Kept, sizes: &Sizes) -> File {
        let mut bytes = HEADER;
        let mut place = |&size: &usize| {
            let start = bytes;
            bytes = (start + size).next_multiple_of(ALIGNMENT);
            start..start + size
        };
        let places = sizes.iter().map(|of_step| of_step.iter().map(&mut place).collect()).collect();
        let kernels: Vec<_> = plan.steps.iter().map(|step| &step.kernel).collect();
        let params = plan.steps.iter().flat_map(|step| &step.params).map(|&id| definition(&plan.graph, id));
        let params: Vec<u64> = params.collect();
        let key = hash_of(&(VERSION, env!("CARGO_PKG_VERSION"), plan.target, kernels, params, sizes, kept.weights));
        let name: String = plan.graph.name.chars().filter(|c| c.is_alphanumeric() || "_-".contains(*c)).collect();
        File { path: kept.folder.join(format!("{name}-{key:016x}.packed")), key, bytes, places }
    }

    /// Its bytes; `None` where it is not there, or is not what [`File::write`] would write: another file, a part of one, or
    /// a damaged one.
    pub fn open(&self, threads: usize) -> Option<Mmap> {
        let file = fs::File::open(&self.path).ok()?;
        if file.metadata().ok()?.len() != self.bytes as u64 {
            return None;
        }
        let mut options = MmapOptions::new();
        // SAFETY: the map is read only, and its bytes are read as floats and as the numbers of tables. `write` puts a whole
        // file in the place of another one and changes none, so that what is mapped stays as it is unless a stranger writes
        // into a file of svertka's.
        let map = unsafe { options.len(self.bytes).populate().map(&file) }.ok()?;
        let checksum = checksum(&map[HEADER..], threads);
        (map[..HEADER] == self.header(checksum)).then_some(map)
    }

    /// Writes it whole or not at all, and makes its folder.
    ///
    /// # Errors
    /// What the system refuses.
    pub fn write<'c>(&self, constants: impl Iterator<Item = &'c [u8]> + Clone) -> Result<(), IoError> {
        create_folder(folder_of(&self.path))?;
        let mut hashes = Vec::new();
        for_pieces(constants.clone(), &mut |piece| {
            hashes.push(hash_of_bytes(piece));
            Ok(())
        })
        .expect("hashing meets no obstacle");
        let header = self.header(hash_of(&hashes));
        write_atomically(&self.path, |to| {
            to.write_all(&header)?;
            for_pieces(constants, &mut |piece| to.write_all(piece))
        })
    }

    fn header(&self, checksum: u64) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let words = [MAGIC, VERSION, self.key, self.bytes as u64, checksum];
        header.chunks_exact_mut(8).zip(words).for_each(|(to, word)| to.copy_from_slice(&word.to_le_bytes()));
        header
    }
}

/// Calls `f` with one piece of the file's content after the other.
fn for_pieces<'c>(
    constants: impl Iterator<Item = &'c [u8]>,
    f: &mut dyn FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = Vec::with_capacity(PIECE);
    for constant in constants {
        let behind = constant.len().next_multiple_of(ALIGNMENT) - constant.len();
        for mut rest in [constant, &[0; ALIGNMENT][..behind]] {
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rest.len().min(PIECE - piece.len()));
                piece.extend_from_slice(now);
                rest = later;
                if piece.len() == PIECE {
                    f(&piece)?;
                    piece.clear();
                }
            }
        }
    }
    if piece.is_empty() { Ok(()) } else { f(&piece) }
}

/// A hash of the hashes of all pieces.
fn checksum(content: &[u8], threads: usize) -> u64 {
    let pieces: Vec<&[u8]> = content.chunks(PIECE).collect();
    let mut hashes = vec![0; pieces.len()];
    let share = pieces.len().div_ceil(threads.max(1)).max(1);
    let hash = |hashes: &mut [u64], pieces: &[&[u8]]| {
        hashes.iter_mut().zip(pieces).for_each(|(hash, piece)| *hash = hash_of_bytes(piece));
    };
    let mut shares = hashes.chunks_mut(share).zip(pieces.chunks(share));
    std::thread::scope(|scope| {
        let own = shares.next();
        shares.for_each(|(hashes, pieces)| {
            scope.spawn(move || hash(hashes, pieces));
        });
        own.into_iter().for_each(|(hashes, pieces)| hash(hashes, pieces));
    });
    hash_of(&hashes)
}
