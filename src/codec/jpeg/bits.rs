//! Reads entropy-coded bytes as bits (T.81 F.2.2.5) from any position of a file, and writes them.
//!
//! A marker ends the data; zeros follow, as in other decoders.

use crate::codec::read_at::ReadAt;
use crate::error::Error;

/// Bytes before the next one that are kept, to compute the position of a bit.
const BEHIND: usize = 64;

/// The bits of a file from a position on.
pub struct BitReader<'a> {
    from: &'a dyn ReadAt,
    /// Bytes of the file, starting at `start`.
    buffer: Vec<u8>,
    start: u64,
    /// Index of the next byte in the buffer.
    next: usize,
    /// Bytes per read.
    chunk: usize,
    /// The next bits, left-aligned.
    acc: u64,
    /// How many of them are from the file; negative if zeros after a marker were consumed.
    left: i32,
    /// The next byte is a marker or the end of the file.
    stopped: bool,
    failed: Option<Error>,
}

/// A marker that ends entropy-coded data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// RST0–RST7.
    Restart(u8),
    /// Any other marker, or the end of the file.
    Other,
}

impl<'a> BitReader<'a> {
    /// Starts at the byte `at`; reads `chunk` bytes at a time.
    pub fn new(from: &'a dyn ReadAt, at: u64, chunk: usize) -> BitReader<'a> {
        BitReader {
            from,
            buffer: Vec::new(),
            start: at,
            next: 0,
            chunk: chunk.max(BEHIND),
            acc: 0,
            left: 0,
            stopped: false,
            failed: None,
        }
    }

    /// Moves to another position, within the buffer if possible.
    pub fn seek(&mut self, at: u64, chunk: usize) {
        self.chunk = chunk.max(BEHIND);
        (self.acc, self.left, self.stopped) = (0, 0, false);
        let offset = at
            .checked_sub(self.start)
            .and_then(|offset| usize::try_from(offset).ok());
        match offset {
            Some(offset) if offset < self.buffer.len() => self.next = offset,
            _ => {
                self.buffer.clear();
                (self.start, self.next) = (at, 0);
            }
        }
    }

    /// The error that reading the file caused, if any.
    pub fn failure(&mut self) -> Option<Error> {
        self.failed.take()
    }

    /// Whether more bits were consumed than there are before the marker.
    pub fn is_dry(&self) -> bool {
        self.left < 0
    }

    /// At least 32 of the next bits, left-aligned.
    #[inline]
    pub fn peek(&mut self) -> u64 {
        if self.left < 32 {
            self.fill();
        }
        self.acc
    }

    /// Consumes up to 32 bits.
    #[inline]
    pub fn skip(&mut self, bits: u32) {
        self.acc = self.acc.checked_shl(bits).unwrap_or(0);
        self.left = self.left.saturating_sub_unsigned(bits);
    }

    #[inline]
    fn fill(&mut self) {
        if let Some(Ok(bytes)) = self.buffer.get(self.next..self.next + 8).map(<[u8; 8]>::try_from) {
            let word = u64::from_be_bytes(bytes);
            // no byte is 0xff
            let plain = (!word).wrapping_sub(0x0101_0101_0101_0101) & word & 0x8080_8080_8080_8080 == 0;
            if plain && let Ok(left) = u32::try_from(self.left) {
                self.acc |= word >> left;
                let taken = (64 - left) / 8;
                self.next += taken as usize;
                self.left += (taken * 8).cast_signed();
                return;
            }
        }
        self.fill_slowly();
    }

    fn fill_slowly(&mut self) {
        while self.left <= 48 && !self.stopped {
            let Some(byte) = self.at(0) else {
                self.stopped = true;
                return;
            };
            if byte == 0xff {
                let mut offset = 1;
                while self.at(offset) == Some(0xff) {
                    offset += 1;
                }
                if self.at(offset) != Some(0) {
                    self.stopped = true;
                    return;
                }
                self.next += offset;
            }
            self.next += 1;
            self.acc |= u64::from(byte) << (56 - self.left);
            self.left += 8;
        }
    }

    /// The byte at this distance.
    fn at(&mut self, ahead: usize) -> Option<u8> {
        if self.next + ahead >= self.buffer.len() {
            self.more();
        }
        self.buffer.get(self.next + ahead).copied()
    }

    /// Reads more bytes.
    fn more(&mut self) {
        let kept = self.next.saturating_sub(BEHIND);
        self.buffer.drain(..kept);
        self.next -= kept;
        self.start += kept as u64;
        let at = self.start + self.buffer.len() as u64;
        let left = usize::try_from(self.from.len().saturating_sub(at)).unwrap_or(usize::MAX);
        let had = self.buffer.len();
        self.buffer.resize(had + left.min(self.chunk), 0);
        let read = self.from.read(at, self.buffer.get_mut(had..).unwrap_or_default());
        if let Err(error) = read {
            self.buffer.truncate(had);
            self.failed = Some(error);
        }
    }

    /// The position of the next bit: offset of the byte in the file, and 0–7 bits of it that are consumed; the
    /// position of the marker once dry.
    pub fn place(&self) -> (u64, u8) {
        let mut left = u32::try_from(self.left).unwrap_or(0);
        let mut next = self.next;
        let before = |next: usize| next.checked_sub(1).and_then(|at| self.buffer.get(at)).copied();
        while left > 0 {
            if before(next) == Some(0) && before(next - 1) == Some(0xff) {
                next -= 1;
                while before(next - 1) == Some(0xff) {
                    next -= 1;
                }
            }
            next = next.saturating_sub(1);
            if left < 8 {
                return (self.start + next as u64, u8::try_from(8 - left).unwrap_or(0));
            }
            left -= 8;
        }
        (self.start + next as u64, 0)
    }

    /// Finds the next marker, whatever precedes it; the position is then at the marker.
    pub fn marker(&mut self) -> Marker {
        (self.acc, self.left) = (0, 0);
        self.stopped = true;
        loop {
            if self.next >= self.buffer.len() {
                self.more();
            }
            let rest = self.buffer.get(self.next..).unwrap_or_default();
            if rest.is_empty() {
                return Marker::Other;
            }
            let Some(skipped) = memchr::memchr(0xff, rest) else {
                self.next = self.buffer.len();
                continue;
            };
            self.next += skipped;
            match self.at(1) {
                None => return Marker::Other,
                Some(0xff) => self.next += 1,
                Some(0) => self.next += 2,
                Some(marker @ 0xd0..=0xd7) => return Marker::Restart(marker & 7),
                Some(0xc0..) => return Marker::Other,
                // not a marker that is valid here
                Some(_) => self.next += 2,
            }
        }
    }

    /// Skips the marker that was found.
    pub fn pass(&mut self) {
        self.next += 2;
        self.stopped = false;
    }
}

/// Interprets the first 1–16 of these bits as a difference of that category: those that begin with 0 are negative,
/// all zeros being the lowest (T.81 F.2.2.1).
#[inline]
pub fn extend(bits: u64, category: u32) -> i32 {
    let value = i32::try_from(bits >> (64 - category)).unwrap_or(0);
    let least = 1 << (category - 1);
    if value < least {
        value - 2 * least + 1
    } else {
        value
    }
}

/// A bit writer.
#[derive(Debug, Default)]
pub struct BitWriter {
    out: Vec<u8>,
    acc: u64,
    /// Bits in `acc`, below 32 between calls; right-aligned.
    held: u32,
}

impl BitWriter {
    /// Appends to these bytes.
    pub fn after(out: Vec<u8>) -> BitWriter {
        BitWriter {
            out,
            ..BitWriter::default()
        }
    }

    /// Appends the lowest `len` bits, at most 31; the bits above must be 0.
    #[inline]
    pub fn put(&mut self, bits: u32, len: u32) {
        self.acc = self.acc << len | u64::from(bits);
        self.held += len;
        if self.held >= 32 {
            self.held -= 32;
            let [.., a, b, c, d] = (self.acc >> self.held).to_be_bytes();
            for byte in [a, b, c, d] {
                self.out.push(byte);
                if byte == 0xff {
                    self.out.push(0);
                }
            }
        }
    }

    /// Fills the last byte with ones (T.81 F.1.2.3).
    pub fn finish(mut self) -> Vec<u8> {
        self.put(0x7f, 7);
        for shift in (8..=self.held).rev().step_by(8).map(|end| end - 8) {
            let [.., byte] = (self.acc >> shift).to_be_bytes();
            self.out.push(byte);
            if byte == 0xff {
                self.out.push(0);
            }
        }
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(bits: &[(u32, u32)]) -> Vec<u8> {
        let mut writer = BitWriter::default();
        for (bits, len) in bits {
            writer.put(*bits, *len);
        }
        writer.finish()
    }

    #[test]
    fn written_parts_are_read_from_any_position() {
        let parts: Vec<(u32, u32)> = (0..5000u32)
            .map(|n| {
                let len = 1 + n % 19;
                let bits = n.wrapping_mul(2_654_435_761) | if n % 5 == 0 { u32::MAX } else { 0 };
                (bits & ((1 << len) - 1), len)
            })
            .collect();
        let data = [written(&parts), vec![0xff, 0xd9, 1, 2]].concat();
        let from = &data[..];
        for chunk in [64, 100, 1 << 16] {
            let mut bits = BitReader::new(&from, 0, chunk);
            let mut places = Vec::new();
            for (wanted, len) in &parts {
                places.push(bits.place());
                assert_eq!(bits.peek() >> (64 - len), u64::from(*wanted));
                bits.skip(*len);
                assert!(!bits.is_dry());
            }
            for (&(at, gone), (wanted, len)) in places.iter().zip(&parts).rev().step_by(7) {
                bits.seek(at, chunk);
                bits.peek();
                bits.skip(gone.into());
                assert_eq!(bits.peek() >> (64 - len), u64::from(*wanted), "{at} {gone}");
            }
        }
    }

    #[test]
    fn categories_hold_what_the_standard_says() {
        for (bits, category, wanted) in [
            (0b0, 1, -1),
            (0b1, 1, 1),
            (0b00, 2, -3),
            (0b01, 2, -2),
            (0b10, 2, 2),
            (0, 15, -32767),
            (0x7fff, 15, 32767),
            (0x4000, 15, 16384),
            (0x8000, 16, 32768),
        ] {
            assert_eq!(extend(bits << (64 - category), category), wanted);
            assert_eq!(extend(bits << (64 - category) | 1, category), wanted);
        }
    }

    #[test]
    fn after_a_marker_there_are_zeros() {
        for end in [&[0xff, 0xd9][..], &[0xff, 0xff, 0xd0, 7], &[]] {
            let data = [&[0xab, 0xff, 0xff, 0x00, 0x12][..], end].concat();
            let from = &data[..];
            let mut bits = BitReader::new(&from, 0, 64);
            assert_eq!(bits.peek(), 0xab_ff12 << 40);
            bits.skip(24);
            assert!(!bits.is_dry());
            assert_eq!(bits.peek(), 0);
            bits.skip(1);
            assert!(bits.is_dry() && bits.place() == (data.len() as u64 - end.len() as u64, 0));
        }
    }

    #[test]
    fn markers_are_found_after_stuffed_and_stray_bytes() {
        let data = [0xff, 0x00, 1, 0xff, 0x01, 2, 0xff, 0xff, 0xd3, 0x80, 0xff, 0xd9];
        let from = &data[..];
        let mut bits = BitReader::new(&from, 0, 64);
        bits.peek();
        assert_eq!(bits.marker(), Marker::Restart(3));
        assert_eq!(bits.peek(), 0);
        bits.pass();
        assert_eq!(bits.peek(), 0x80 << 56);
        assert_eq!(bits.marker(), Marker::Other);
        assert_eq!(bits.marker(), Marker::Other);
    }
}
