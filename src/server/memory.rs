//! How the C library's allocator treats the memory of tiles.
//!
//! Left to itself glibc gives a tile's buffers back to the kernel after each request and takes them anew for the next,
//! page by page: a third of the time of an uncompressed 16-bit tile, half of that of an export. And it gives every thread
//! a heap of its own, whose freed pages no other thread uses: with one for each core a mixed load takes 182 MB at its peak
//! instead of 268, and 68 MB instead of 136 after it, in the same time (2 cores, a cache of 50 MB).

#[cfg(target_env = "gnu")]
use crate::work::busy::cores;

/// What a tile takes, bytes: so much freed memory a thread's part of the heap keeps at least.
#[cfg(target_env = "gnu")]
const TILE: usize = 4 << 20;

/// Two rows of the tiles of a wide image, bytes: the bands of an export are about as large. Larger pieces go back at once.
#[cfg(target_env = "gnu")]
const BAND: usize = 16 << 20;

/// Freed memory that the parts of the heap keep together, if that is more, bytes: with few cores a large window of a
/// JPEG 2000 file finds its memory there, too.
#[cfg(target_env = "gnu")]
const KEPT: usize = 64 << 20;

/// Gives unused memory back to the kernel: for a server that has nothing to do. Does nothing where the C library is not
/// glibc.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: gives free pages back; no pointer is passed, and other threads may allocate meanwhile.
    #[expect(unsafe_code, reason = "malloc_trim of the C library")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Keeps freed memory for the next request: 64 MB shared out to the cores, but 4 MB for each thread at least; no more heaps
/// than cores, and two at least. Does nothing where the C library is not glibc.
pub fn keep_tiles() {
    #[cfg(target_env = "gnu")]
    {
        for (setting, value) in [
            (libc::M_MMAP_THRESHOLD, BAND),
            (libc::M_TRIM_THRESHOLD, TILE.max(KEPT / cores())),
            (libc::M_ARENA_MAX, cores().max(2)),
        ] {
            let value = value.try_into().unwrap_or(libc::c_int::MAX);
            // SAFETY: sets a number inside the allocator; no pointer is passed.
            #[expect(unsafe_code, reason = "mallopt of the C library")]
            unsafe {
                libc::mallopt(setting, value);
            }
        }
    }
}
