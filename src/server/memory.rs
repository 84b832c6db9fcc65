//! How the C library's allocator treats the memory of tiles.
//!
//! Left to itself glibc gives a tile's buffers back to the kernel after each request and takes them anew for the next,
//! page by page: a third of the time of an uncompressed 16-bit tile, half of that of an export. And it gives every thread
//! a heap of its own, whose freed pages no other thread uses: with one for each core a mixed load takes 182 MB at its peak
//! instead of 268, and 68 MB instead of 136 after it, in the same time (2 cores, a cache of 50 MB).

#[cfg(target_env = "gnu")]
use crate::work::busy::cores;

/// The size of a tile in bytes: each thread's arena keeps at least this much freed memory.
#[cfg(target_env = "gnu")]
const TILE: usize = 4 << 20;

/// Two rows of the tiles of a wide image, in bytes: about a band of an export. Larger blocks are returned to the
/// kernel at once.
#[cfg(target_env = "gnu")]
const BAND: usize = 16 << 20;

/// Freed memory that all arenas keep together, in bytes, if that is more: with few cores, a large window of a JPEG
/// 2000 file fits as well.
#[cfg(target_env = "gnu")]
const KEPT: usize = 64 << 20;

/// Returns unused memory to the kernel, for an idle server. Does nothing if the C library is not glibc.
pub fn trim() {
    #[cfg(target_env = "gnu")]
    // SAFETY: returns free pages; no pointer is passed, and other threads may allocate meanwhile.
    #[expect(unsafe_code, reason = "malloc_trim of the C library")]
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Keeps freed memory for the next request: 64 MB divided by the cores, but at least 4 MB per thread; limits the
/// arenas to the number of cores, at least two. Does nothing if the C library is not glibc.
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
