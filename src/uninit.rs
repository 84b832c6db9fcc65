//! Uninitialised buffers: memory that is written before it is read, without zeroing it first.
//!
//! [`UninitBuf`] counts the bytes written, and only those can be read.

use bytemuck::AnyBitPattern;
use std::collections::TryReserveError;
use std::hint::black_box;
use std::mem::MaybeUninit;

/// A buffer of bytes with an initialised prefix.
pub struct UninitBuf<'a> {
    all: &'a mut [MaybeUninit<u8>],
    filled: usize,
}

/// The most bytes that [`UninitBuf::put_some`] and [`UninitBuf::repeat_some`] add at once.
pub const WIDE: usize = 128;

impl<'a> UninitBuf<'a> {
    /// A buffer over all of this memory, with nothing written.
    pub fn new(all: &'a mut [MaybeUninit<u8>]) -> UninitBuf<'a> {
        UninitBuf { all, filled: 0 }
    }

    /// The number of bytes written.
    pub fn filled(&self) -> usize {
        self.filled
    }

    /// The number of bytes that still fit.
    pub fn left(&self) -> usize {
        self.all.len() - self.filled
    }

    fn rest(&mut self) -> &mut [MaybeUninit<u8>] {
        self.all.get_mut(self.filled..).unwrap_or_default()
    }

    /// The address of the next byte.
    pub fn place(&mut self) -> *mut u8 {
        self.rest().as_mut_ptr().cast()
    }

    /// Appends as many of the bytes as fit.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        let rest = self.rest();
        let len = rest.len().min(bytes.len());
        // SAFETY: both are at least `count` long, and no other code has a pointer to the buffer.
        #[expect(unsafe_code, reason = "no slice of bytes before they are there")]
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), rest.as_mut_ptr().cast(), len);
        }
        self.filled += len;
    }

    /// Appends a byte `count` times, or as often as it fits.
    #[inline]
    pub fn repeat(&mut self, byte: u8, count: usize) {
        let rest = self.rest();
        let len = rest.len().min(count);
        let places = rest.get_mut(..len).unwrap_or_default();
        places.fill(MaybeUninit::new(byte));
        self.filled += len;
    }

    /// Appends the first `count` of these bytes. All of them are written if there is space; the next append
    /// overwrites the rest. A copy of fixed length needs no loop.
    #[inline(always)]
    pub fn put_some(&mut self, bytes: &[u8; WIDE], count: usize) {
        match self.rest().first_chunk_mut::<WIDE>() {
            Some(to) if count <= WIDE => {
                for (to, byte) in to.iter_mut().zip(bytes) {
                    to.write(*byte);
                }
                self.filled += count;
            }
            _ => self.put(bytes.get(..count).unwrap_or(bytes)),
        }
    }

    /// Appends a byte `count` times, at most [`WIDE`], in the same way.
    #[inline(always)]
    pub fn repeat_some(&mut self, byte: u8, count: usize) {
        self.put_some(&[byte; WIDE], count);
    }

    /// Zeroes the unwritten part and lets `write` fill it from the start; `write` returns the number of bytes filled.
    pub fn by<E>(&mut self, write: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<(), E> {
        let rest = self.rest();
        rest.fill(MaybeUninit::new(0));
        // SAFETY: the same memory for the same lifetime; every byte of it was just written.
        #[expect(unsafe_code, reason = "for those who want a slice of bytes")]
        let zeros = unsafe { std::slice::from_raw_parts_mut(rest.as_mut_ptr().cast::<u8>(), rest.len()) };
        let len = zeros.len();
        self.filled += write(zeros)?.min(len);
        Ok(())
    }

    /// Lets `read` fill the unwritten part from the start; it returns the part that it filled. Anything but a prefix
    /// of the given buffer counts as nothing.
    pub fn read<E>(
        &mut self,
        read: impl for<'b> FnOnce(&'b mut [MaybeUninit<u8>]) -> Result<&'b mut [u8], E>,
    ) -> Result<(), E> {
        let rest = self.rest();
        let (place, len) = (rest.as_ptr().addr(), rest.len());
        let got = read(rest)?;
        if got.as_ptr().addr() == place && got.len() <= len {
            self.filled += got.len();
        }
        Ok(())
    }

    /// Lets C code fill the unwritten part from the start: `write` gets its address and length, and returns the
    /// number of bytes written.
    ///
    /// # Safety
    /// `write` must initialise as many bytes as it returns, and write none beyond the given length.
    #[expect(unsafe_code, reason = "the promise is the caller's")]
    pub unsafe fn raw<E>(&mut self, write: impl FnOnce(*mut u8, usize) -> Result<usize, E>) -> Result<(), E> {
        let left = self.left();
        let got = write(self.place(), left)?;
        self.filled += got.min(left);
        Ok(())
    }
}

/// Bytes from which on the system is asked first whether it provides the memory; that takes some microseconds.
const MANY: usize = 4 << 20;

/// `count` zeros. An error, rather than an abort, if the system refuses the memory.
pub fn zeros<T: Clone + Default>(count: usize) -> Result<Vec<T>, TryReserveError> {
    if count.saturating_mul(size_of::<T>()) >= MANY {
        // zero pages that are never written take no memory, and only `vec!` can ask for them
        black_box(reserved::<T>(count)?);
    }
    Ok(vec![T::default(); count])
}

fn reserved<T>(count: usize) -> Result<Vec<T>, TryReserveError> {
    let mut values = Vec::new();
    values.try_reserve_exact(count)?;
    Ok(values)
}

/// The whole values that `fill` wrote, at most `count`.
pub fn filled<T: AnyBitPattern, E: From<TryReserveError>>(
    count: usize,
    fill: impl FnOnce(&mut UninitBuf) -> Result<(), E>,
) -> Result<Vec<T>, E> {
    let mut values = Vec::new();
    append(&mut values, count, fill)?;
    Ok(values)
}

/// Like [`filled`] for bytes, in memory that does not start at a multiple of 32 bytes, if possible.
///
/// Some libraries bypass the processor's caches for aligned addresses (measured: libjpeg-turbo, 10-25% of the time of
/// a colour tile, and as much again for the code that reads it next).
pub fn filled_unaligned<E: From<TryReserveError>>(
    count: usize,
    fill: impl FnOnce(&mut UninitBuf) -> Result<(), E>,
) -> Result<Vec<u8>, E> {
    let is_off = |values: &Vec<u8>| !values.as_ptr().addr().is_multiple_of(32);
    let mut values = reserved(count)?;
    if !is_off(&values) {
        // The distance of neighbours on the heap of glibc is the requested size plus 8 bytes, rounded up to a
        // multiple of 16: after one of these two sizes, the next block is unaligned.
        let next = reserved(count.saturating_add(16))?;
        let last = reserved(count)?;
        values = [next, last].into_iter().find(is_off).unwrap_or(values);
    }
    append(&mut values, count, fill)?;
    Ok(values)
}

/// Fills a buffer that is reused.
pub fn refilled<E: From<TryReserveError>>(
    kept: &mut Vec<u8>,
    count: usize,
    fill: impl FnOnce(&mut UninitBuf) -> Result<(), E>,
) -> Result<&mut [u8], E> {
    kept.clear();
    // reserves more than needed, so that it rarely grows
    kept.try_reserve(count)?;
    append(kept, count, fill)?;
    Ok(kept)
}

fn append<T: AnyBitPattern, E: From<TryReserveError>>(
    values: &mut Vec<T>,
    count: usize,
    fill: impl FnOnce(&mut UninitBuf) -> Result<(), E>,
) -> Result<(), E> {
    values.try_reserve_exact(count)?;
    let spare = values.spare_capacity_mut();
    let spare = spare.get_mut(..count).unwrap_or_default();
    let bytes = size_of_val(spare);
    // SAFETY: the same memory for the same lifetime; uninitialised bytes can be of any type.
    #[expect(unsafe_code, reason = "values are filled byte by byte")]
    let all = unsafe { std::slice::from_raw_parts_mut(spare.as_mut_ptr().cast::<MaybeUninit<u8>>(), bytes) };
    let mut buf = UninitBuf::new(all);
    fill(&mut buf)?;
    let filled = buf.filled / size_of::<T>().max(1);
    // SAFETY: `UninitBuf` counts only bytes written, from the first on; any bit pattern is a valid value of this
    // type, and there are at most `count` values, for which memory was reserved after the existing ones.
    #[expect(unsafe_code, reason = "memory without zeros")]
    unsafe {
        values.set_len(values.len() + filled);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize, fill: impl FnOnce(&mut UninitBuf)) -> Vec<u8> {
        filled(len, |buf| {
            fill(buf);
            Ok::<(), TryReserveError>(())
        })
        .unwrap()
    }

    #[test]
    fn appended_bytes_are_there_and_excess_is_cut() {
        let got = bytes(5, |buf| {
            buf.put(b"ab");
            buf.repeat(b'c', 2);
            assert_eq!((buf.filled(), buf.left()), (4, 1));
            buf.put(b"de");
            buf.repeat(b'f', 3);
        });
        assert_eq!(got, b"abccd");
        assert_eq!(bytes(9, |buf| buf.put(b"ab")), b"ab");
    }

    #[test]
    fn only_the_first_of_many_bytes_are_there() {
        for len in [0, 1, 100, 128, 129, 300] {
            let got = bytes(len, |buf| {
                buf.put_some(&[1; WIDE], 3);
                buf.repeat_some(2, 4);
                buf.repeat_some(3, WIDE);
            });
            let wanted = [&[1; 3][..], &[2; 4], &[3; WIDE]].concat();
            assert_eq!(got, wanted[..len.min(wanted.len())], "{len}");
        }
    }

    #[test]
    fn foreign_code_fills_it_from_the_start_or_not_at_all() {
        let got = bytes(4, |buf| {
            buf.put(&[7]);
            let write = |rest: &mut [u8]| {
                assert_eq!(rest, [0; 3]);
                rest[..2].fill(9);
                Ok::<_, ()>(2)
            };
            buf.by(write).unwrap();
            assert_eq!(buf.by(|_| Err::<usize, _>("no")), Err("no"));
            // other memory
            buf.read(|_| Ok::<_, ()>(Box::leak(Box::new([1u8])))).unwrap();
        });
        assert_eq!(got, [7, 9, 9]);
    }

    #[test]
    fn values_are_whole() {
        let got: Vec<u16> = filled(3, |buf| {
            buf.put(&[1, 1, 2, 2, 3]);
            Ok::<(), TryReserveError>(())
        })
        .unwrap();
        assert_eq!(got, [0x0101, 0x0202]);
        for count in [0, 1, 196_608, 196_616, 196_624] {
            let put = |buf: &mut UninitBuf| {
                buf.repeat(3, count);
                Ok::<(), TryReserveError>(())
            };
            assert_eq!(filled_unaligned(count, put).unwrap(), vec![3; count]);
        }
        let mut kept = vec![5; 100];
        let got = refilled(&mut kept, 2, |buf| {
            buf.put(b"xyz");
            Ok::<(), TryReserveError>(())
        });
        assert_eq!(got.unwrap(), b"xy");
    }
}
