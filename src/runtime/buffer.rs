//! Memory aligned for vectors.

/// A cache line; see [`crate::schedule::ALIGNMENT`].
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([u8; 64]);

/// Zeroed bytes, aligned to 64.
pub struct AlignedBuffer {
    lines: Vec<Line>,
}

impl AlignedBuffer {
    /// At least `bytes` bytes.
    ///
    /// # Errors
    /// The allocator's, where there is not enough memory.
    pub fn zeroed(bytes: usize) -> Result<AlignedBuffer, std::collections::TryReserveError> {
        let mut lines = Vec::new();
        let count = bytes.div_ceil(size_of::<Line>());
        lines.try_reserve_exact(count)?;
        lines.resize(count, Line([0; 64]));
        Ok(AlignedBuffer { lines })
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<AlignedBuffer, std::collections::TryReserveError> {
        let mut buffer = AlignedBuffer::zeroed(bytes.len())?;
        buffer.bytes_mut()[..bytes.len()].copy_from_slice(bytes);
        Ok(buffer)
    }

    /// In bytes, a multiple of 64.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        size_of_val(self.lines.as_slice())
    }

    fn bytes_mut(&mut self) -> &mut [u8] {
        let (pointer, len) = (self.lines.as_mut_ptr().cast(), size_of_val(self.lines.as_slice()));
        // SAFETY: the lines are initialised, contiguous, and any byte pattern is a valid `Line` and `u8`.
        unsafe { std::slice::from_raw_parts_mut(pointer, len) }
    }

    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.lines.as_mut_ptr().cast()
    }

    /// For memory that is only read through the pointer.
    pub fn as_ptr(&self) -> *const u8 {
        self.lines.as_ptr().cast()
    }
}
