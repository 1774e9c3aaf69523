//! Memory aligned for vectors.

use memmap2::{MmapMut, MmapRaw};
use std::io;

/// Bytes of a buffer that is worth large pages: values and packed weights of a network are more than a core can find
/// without searching, and the transforms of Winograd convolution go from page to page.
const LARGE: usize = 512 << 10;

/// Bytes of a large page of x86-64.
const LARGE_PAGE: usize = 2 << 20;

/// Zeroed bytes, aligned to whole cache lines, more than the widest vector needs.
///
/// The system gives the memory when it is touched, that of larger buffers in large pages where it has them.
///
/// In builds with debug assertions a buffer lies between pages that nobody may touch, and ends or begins at one: a kernel
/// that reads or writes beside it faults.
pub struct AlignedBuffer {
    map: MmapRaw,
    /// Where the buffer is in the mapping, in bytes.
    offset: usize,
    len: usize,
}

impl AlignedBuffer {
    /// At least `bytes` bytes.
    ///
    /// # Errors
    /// The system's, where there is not enough memory.
    pub fn zeroed(bytes: usize) -> io::Result<AlignedBuffer> {
        let len = bytes.max(1).checked_next_multiple_of(64).ok_or(io::ErrorKind::OutOfMemory)?;
        match len {
            _ if cfg!(debug_assertions) => Self::between_guards(len),
            LARGE.. => Self::in_large_pages(len),
            _ => Ok(AlignedBuffer { map: MmapMut::map_anon(len)?.into(), offset: 0, len }),
        }
    }

    /// Large pages are whole and aligned. What lies around them is never touched, and takes no memory.
    fn in_large_pages(len: usize) -> io::Result<AlignedBuffer> {
        let whole = len.checked_next_multiple_of(LARGE_PAGE).and_then(|whole| whole.checked_add(LARGE_PAGE));
        let map = MmapRaw::from(MmapMut::map_anon(whole.ok_or(io::ErrorKind::OutOfMemory)?)?);
        let offset = before_large_page(map.as_ptr().addr());
        #[cfg(target_os = "linux")]
        // A wish; a system without large pages refuses it.
        let _ = map.advise_range(memmap2::Advice::HugePage, offset, len.next_multiple_of(LARGE_PAGE));
        Ok(AlignedBuffer { map, offset, len })
    }

    /// At the end of its pages, or at their begin: so that both are met, every other size.
    fn between_guards(len: usize) -> io::Result<AlignedBuffer> {
        let page = region::page::size();
        let pages = len.checked_next_multiple_of(page).filter(|pages| pages.checked_add(2 * page).is_some());
        let pages = pages.ok_or(io::ErrorKind::OutOfMemory)?;
        let map = MmapRaw::from(MmapMut::map_anon(pages + 2 * page)?);
        for guard in [0, page + pages] {
            // SAFETY: the page is of a mapping made just now, of which nobody has an address yet.
            unsafe { region::protect(map.as_ptr().wrapping_add(guard), page, region::Protection::NONE) }
                .map_err(io::Error::other)?;
        }
        let offset = if (len / 64).is_multiple_of(2) { page + pages - len } else { page };
        Ok(AlignedBuffer { map, offset, len })
    }

    /// In bytes, a multiple of 64.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn bytes(&self) -> &[u8] {
        // SAFETY: as below, and nobody writes through a pointer to memory that is shared.
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.len) }
    }

    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: `offset` and `len` lie in the part of the mapping that may be accessed, which the system filled with
        // zeros and of which `self` gives away no other reference.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr(), self.len) }
    }

    pub fn as_mut_ptr(&mut self) -> *mut u8 {
        self.map.as_mut_ptr().wrapping_add(self.offset)
    }

    /// For memory that is only read through the pointer.
    pub fn as_ptr(&self) -> *const u8 {
        self.map.as_ptr().wrapping_add(self.offset)
    }
}

/// Bytes from an address to the first large page that begins there or behind it.
fn before_large_page(address: usize) -> usize {
    address.next_multiple_of(LARGE_PAGE) - address
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(debug_assertions)]
    #[test]
    fn a_buffer_is_aligned_and_zero_and_lies_at_a_guard() {
        let page = region::page::size();
        for bytes in [0, 1, 64, 65, 128, page, page + 64, 5 * page + 128] {
            let mut buffer = AlignedBuffer::zeroed(bytes).unwrap();
            assert!(buffer.len() >= bytes && buffer.len() < bytes + 65);
            assert!(buffer.bytes_mut().iter().all(|&byte| byte == 0));
            let (begin, len) = (buffer.as_ptr().addr(), buffer.len());
            assert_eq!(begin % 64, 0);
            let beside = if len / 64 % 2 == 0 { begin + len } else { begin - page };
            let beside = region::query(std::ptr::without_provenance::<u8>(beside)).unwrap();
            assert!(!beside.is_readable() && !beside.is_writable(), "{bytes} bytes");
        }
    }

    /// Where the system gives aligned memory by itself, the next test cannot tell.
    #[test]
    fn large_pages_are_aligned() {
        let page = LARGE_PAGE;
        assert_eq!(
            [0, 1, 4096, page - 1, page, page + 64].map(before_large_page),
            [0, page - 1, page - 4096, 1, 0, page - 64]
        );
    }

    #[test]
    fn large_pages_are_whole() {
        for bytes in [64, LARGE, LARGE_PAGE, 2 * LARGE_PAGE + 64] {
            let mut buffer = AlignedBuffer::in_large_pages(bytes).unwrap();
            assert_eq!((buffer.len(), buffer.as_ptr().addr() % LARGE_PAGE), (bytes, 0));
            assert!(buffer.bytes_mut().iter().all(|&byte| byte == 0));
            assert!(buffer.offset + bytes.next_multiple_of(LARGE_PAGE) <= buffer.map.len());
        }
    }

    #[test]
    fn what_no_machine_has_is_refused() {
        assert!(AlignedBuffer::in_large_pages(usize::MAX - LARGE_PAGE).is_err());
        assert!(AlignedBuffer::zeroed(usize::MAX).is_err());
        assert!(AlignedBuffer::zeroed(usize::MAX - 4096).is_err());
    }
}
