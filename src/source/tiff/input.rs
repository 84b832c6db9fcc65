//! The open file: positioned reads and byte order.
//!
//! No locks: any number of threads read concurrently.

use crate::error::Result;
use crate::store::Blob;
use crate::store::Version;
use crate::store::beyond;
use crate::uninit;
use crate::uninit::UninitBuf;
use std::sync::Arc;

/// The byte order of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteOrder {
    /// `II`: least significant byte first.
    Little,
    /// `MM`: most significant byte first.
    Big,
}

impl ByteOrder {
    /// The byte order of this machine.
    pub const fn of_machine() -> ByteOrder {
        if cfg!(target_endian = "big") {
            ByteOrder::Big
        } else {
            ByteOrder::Little
        }
    }

    /// The unsigned number in the first `width` (0–8) bytes of `bytes`; missing bytes are 0.
    pub fn number(self, bytes: &[u8], width: usize) -> u64 {
        let step = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        let bytes = bytes.get(..width.min(8)).unwrap_or(bytes);
        match self {
            ByteOrder::Little => bytes.iter().rev().fold(0, step),
            ByteOrder::Big => bytes.iter().fold(0, step),
        }
    }
}

/// Bytes that are read and decoded at a time if not all may be needed.
const STEP: u64 = 128 << 10;

/// A master, or a part of one.
#[derive(Debug)]
pub struct Input {
    blob: Arc<dyn Blob>,
    /// Offset and length of the part.
    start: u64,
    len: u64,
}

impl Input {
    /// The whole master.
    pub fn new(blob: Arc<dyn Blob>) -> Input {
        let len = blob.len();
        Input { blob, start: 0, len }
    }

    /// The `len` bytes from `start` as a separate input; `None` if they are outside the file.
    pub fn part(self, start: u64, len: u64) -> Option<Input> {
        let part = self.holds(start, len).then_some(self)?;
        Some(Input { start, len, ..part })
    }

    /// The version of the file that was opened.
    pub fn version(&self) -> Version {
        self.blob.version()
    }

    /// Length in bytes at opening.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether the `len` bytes at `at` are inside the file.
    pub fn holds(&self, at: u64, len: u64) -> bool {
        at.checked_add(len).is_some_and(|end| end <= self.len())
    }

    /// Reads the `len` bytes at `at` into `kept`, whose memory is reused. `Error::Corrupt` if the file ends before.
    pub fn read<'a>(&self, at: u64, len: u64, kept: &'a mut Vec<u8>) -> Result<&'a mut [u8]> {
        uninit::refilled(kept, self.check(at, len)?, |buf| self.put(at, len, buf))
    }

    /// Reads the `len` bytes at `at` into new memory. `Error::Corrupt` if the file ends before; nothing is allocated
    /// then.
    pub fn take(&self, at: u64, len: u64) -> Result<Vec<u8>> {
        uninit::filled(self.check(at, len)?, |buf| self.put(at, len, buf))
    }

    /// Fills `part` with the bytes at `at`. `Error::Corrupt` if the file ends before.
    pub fn fill(&self, at: u64, part: &mut [u8]) -> Result<()> {
        self.check(at, part.len() as u64)?;
        self.blob.read_at(self.start.saturating_add(at), part)
    }

    /// Appends the `len` bytes at `at` to the buffer, as far as they fit. `Error::Corrupt` if the file ends before.
    pub fn put(&self, at: u64, len: u64, buf: &mut UninitBuf) -> Result<()> {
        let size = self.check(at, len)?.min(buf.left());
        self.blob.append_at(self.start.saturating_add(at), size, buf)
    }

    /// Passes the `len` bytes at `at` to `take` in pieces, each in `kept`, with a flag for the last. `take` returns
    /// how many bytes it has used; the rest is passed again followed by more; 0 ends the loop. Data used at once
    /// stays in the processor's caches. `Error::Corrupt` if the file ends before.
    pub fn pieces(
        &self,
        at: u64,
        len: u64,
        kept: &mut Vec<u8>,
        mut take: impl FnMut(&[u8], bool) -> usize,
    ) -> Result<()> {
        self.check(at, len)?;
        let end = at.saturating_add(len);
        let mut at = at;
        while at < end {
            let piece = (end - at).min(STEP);
            let bytes = self.read(at, piece, kept)?;
            let used = (take(bytes, at + piece == end) as u64).min(piece);
            if used == 0 {
                break;
            }
            at += used;
        }
        Ok(())
    }

    /// Announces blocks, by offset and length, that will be read soon.
    pub fn prefetch(&self, blocks: &mut dyn Iterator<Item = (u64, u64)>) -> Result<()> {
        let range = |(at, len): (u64, u64)| {
            let start = self.start.saturating_add(at);
            start..start.saturating_add(len)
        };
        self.blob.prefetch(&mut blocks.map(range))
    }

    /// Announces the blocks of this length that are inside the file.
    pub fn prefetch_at(&self, starts: impl IntoIterator<Item = u64>, len: u64) -> Result<()> {
        let block = |at: u64| (at, len.min(self.len.saturating_sub(at)));
        self.prefetch(&mut starts.into_iter().map(block))
    }

    fn check(&self, at: u64, len: u64) -> Result<usize> {
        let size = usize::try_from(len).ok().filter(|_| self.holds(at, len));
        size.ok_or_else(|| beyond(at, len))
    }
}

/// Whether all numbers are finite.
pub fn all_finite(values: &[f32]) -> bool {
    // branch-free, so vectorised
    values.iter().fold(true, |all, value| all & value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::source::tiff::build::Temp;
    use std::fs::File;

    #[test]
    fn numbers_follow_the_byte_order_and_missing_bytes_are_zero() {
        assert_eq!(ByteOrder::Little.number(&[1, 2, 3, 4], 4), 0x0403_0201);
        assert_eq!(ByteOrder::Big.number(&[1, 2, 3, 4], 2), 0x0102);
        assert_eq!(ByteOrder::Big.number(&[0xff; 8], 8), u64::MAX);
        assert_eq!(ByteOrder::Little.number(&[], 4), 0);
    }

    #[test]
    fn reads_are_exact_or_errors() {
        let file = Temp::new(b"0123456789");
        let input = file.input();
        let mut scratch = vec![7; 100];
        assert_eq!(input.read(2, 3, &mut scratch).unwrap(), b"234");
        assert_eq!(input.take(0, 10).unwrap(), b"0123456789");
        assert_eq!(input.take(10, 0).unwrap(), b"");
        assert!(matches!(input.take(5, 6), Err(Error::Corrupt(_))));
        assert!(matches!(
            input.read(u64::MAX, 2, &mut scratch),
            Err(Error::Corrupt(_))
        ));
        assert!(matches!(input.take(0, u64::MAX), Err(Error::Corrupt(_))));
    }

    #[test]
    fn a_file_cut_short_after_opening_is_an_error() {
        let file = Temp::new(&[1; 100]);
        let input = file.input();
        File::options()
            .write(true)
            .open(file.path())
            .unwrap()
            .set_len(50)
            .unwrap();
        assert!(matches!(input.take(40, 20), Err(Error::Corrupt(_))));
        assert!(matches!(
            input.read(40, 20, &mut Vec::new()),
            Err(Error::Corrupt(_))
        ));
    }
}
