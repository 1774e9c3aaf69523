//! Memory aligned for vectors.

use memmap2::MmapMut;
use std::io;

/// Bytes of a buffer that are worth pages larger than the usual ones: two of x86-64's large pages.
const LARGE: usize = 4 << 20;

/// Zeroed bytes, aligned to a page: whole cache lines, and more than the widest vector needs.
///
/// The system gives the memory when it is touched, in large pages where it has them: weights and values of a network
/// are more than the usual pages that a core can find without searching.
pub struct AlignedBuffer {
    map: MmapMut,
}

impl AlignedBuffer {
    /// At least `bytes` bytes.
    ///
    /// # Errors
    /// The system's, where there is not enough memory.
    pub fn zeroed(bytes: usize) -> io::Result<AlignedBuffer> {
        let map = MmapMut::map_anon(bytes.max(1).next_multiple_of(64))?;
        #[cfg(target_os = "linux")]
        if bytes >= LARGE {
            // A wish; a system without large pages refuses it.
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Ok(AlignedBuffer { map })
    }

    /// In bytes, a multiple of 64.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.map.len()
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }

    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    /// For memory that is only read through the pointer.
    pub fn as_ptr(&self) -> *const u8 {
        self.map.as_ptr()
    }
}
