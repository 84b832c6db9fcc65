//! Coded bytes that are read by position: in memory, or in ranges of a file.
//!
//! Reads are positioned, so that one open file serves all threads.

use crate::error::Error;
use crate::error::Result;
use crate::store::Blob;
use std::ops::Range;
use std::sync::Arc;

/// Bytes with random access.
pub trait ReadAt: Send + Sync {
    /// Length in bytes.
    fn len(&self) -> u64;

    /// Fills `to` from position `at`. `Corrupt` if the bytes end before.
    fn read(&self, at: u64, to: &mut [u8]) -> Result<()>;

    /// Announces ranges that will be read soon; remote files are fetched in advance.
    fn prefetch(&self, ranges: &mut dyn Iterator<Item = Range<u64>>) -> Result<()> {
        let _ = ranges;
        Ok(())
    }

    /// Whether there are no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn short() -> Error {
    Error::Corrupt("the codestream ends early".into())
}

impl ReadAt for &[u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn read(&self, at: u64, to: &mut [u8]) -> Result<()> {
        let at = usize::try_from(at).map_err(|_| short())?;
        let from = at.checked_add(to.len()).and_then(|end| self.get(at..end));
        to.copy_from_slice(from.ok_or_else(short)?);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        ReadAt::len(&self.as_slice())
    }

    fn read(&self, at: u64, to: &mut [u8]) -> Result<()> {
        ReadAt::read(&self.as_slice(), at, to)
    }
}

/// A part of a file: `len` bytes from `start`.
#[derive(Debug)]
pub struct FileRange {
    /// The file.
    pub file: Arc<dyn Blob>,
    /// Offset of its first byte.
    pub start: u64,
    /// Length in bytes.
    pub len: u64,
}

impl FileRange {
    /// A whole file.
    pub fn whole(file: Arc<dyn Blob>) -> FileRange {
        let len = file.len();
        FileRange { file, start: 0, len }
    }
}

impl ReadAt for FileRange {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, at: u64, to: &mut [u8]) -> Result<()> {
        let end = at.checked_add(to.len() as u64);
        if end.is_none_or(|end| end > self.len) {
            return Err(short());
        }
        self.file.read_at(self.start.saturating_add(at), to)
    }

    fn prefetch(&self, ranges: &mut dyn Iterator<Item = Range<u64>>) -> Result<()> {
        let place = |at: u64| self.start.saturating_add(at.min(self.len));
        let mut ranges = ranges.map(|range| place(range.start)..place(range.end));
        self.file.prefetch(&mut ranges)
    }
}

/// Several ranges of a file, concatenated.
pub struct FileRanges {
    from: FileRange,
    /// The start of each range here and in the file.
    starts: Vec<(u64, u64)>,
    len: u64,
}

impl FileRanges {
    /// The ranges with these offsets and lengths.
    pub fn new(from: FileRange, pieces: &[(u64, u64)]) -> FileRanges {
        let mut len = 0_u64;
        let starts = pieces.iter().map(|piece| {
            let start = (len, piece.0);
            len = len.saturating_add(piece.1);
            start
        });
        FileRanges {
            from,
            starts: starts.collect(),
            len,
        }
    }
}

impl ReadAt for FileRanges {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self, mut at: u64, mut to: &mut [u8]) -> Result<()> {
        while !to.is_empty() {
            let after = self.starts.partition_point(|(start, _)| *start <= at);
            let piece = after.checked_sub(1).and_then(|piece| self.starts.get(piece));
            let (start, place) = piece.ok_or_else(short)?;
            let end = self.starts.get(after).map_or(self.len, |next| next.0);
            let left = usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX);
            if left == 0 {
                return Err(short());
            }
            let (now, rest) = to.split_at_mut(left.min(to.len()));
            self.from.read(place.saturating_add(at - start), now)?;
            at += now.len() as u64;
            to = rest;
        }
        Ok(())
    }
}

/// Bytes of read-ahead.
const AHEAD: usize = 8 << 10;

/// Reads sequentially from a position, with a small buffer.
pub struct Cursor<'a> {
    from: &'a dyn ReadAt,
    buffer: Vec<u8>,
    start: u64,
    /// Position of the next byte.
    pub at: u64,
    /// The end of reading.
    pub end: u64,
}

impl<'a> Cursor<'a> {
    /// Reads from `at` up to `end`.
    pub fn new(from: &'a dyn ReadAt, at: u64, end: u64) -> Self {
        Cursor {
            from,
            buffer: Vec::new(),
            start: 0,
            at,
            end,
        }
    }

    /// The byte at this distance, without consuming it; `Corrupt` at the end.
    pub fn peek(&mut self, ahead: u64) -> Result<u8> {
        let at = self.at.saturating_add(ahead);
        if at >= self.end {
            return Err(short());
        }
        let inside = at
            .checked_sub(self.start)
            .and_then(|offset| usize::try_from(offset).ok())
            .and_then(|offset| self.buffer.get(offset));
        if let Some(byte) = inside {
            return Ok(*byte);
        }
        let left = usize::try_from(self.end - at).unwrap_or(AHEAD).min(AHEAD);
        self.buffer.resize(left, 0);
        self.start = at;
        if let Err(error) = self.from.read(at, &mut self.buffer) {
            self.buffer.clear();
            return Err(error);
        }
        self.buffer.first().copied().ok_or_else(short)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8> {
        let byte = self.peek(0)?;
        self.at += 1;
        Ok(byte)
    }
}
