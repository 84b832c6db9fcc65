//! Reads the bit streams in the segments of a high-throughput code-block (T.814 clause 7.1).

#![expect(
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "indices are remainders by the length of the table or checked beside; casts take the lower bits on purpose"
)]

/// The three streams of a clean-up segment, two of them unstuffed into `ahead` and `back`. `None` if the segment's
/// suffix is invalid.
pub(super) fn streams<'a>(
    data: &'a [u8],
    ahead: &'a mut Plain,
    back: &'a mut Plain,
) -> Option<(BitCursor<'a>, Mel<'a>, BitCursor<'a>)> {
    let (rest, [nibble, last]) = data.split_last_chunk::<2>()?;
    let suffix = usize::from(*last) << 4 | usize::from(nibble & 15);
    let start = data.len().checked_sub(suffix)?;
    let (magsgn, shared) = rest.split_at_checked(start)?;
    let mel = Mel {
        data: shared,
        last: nibble | 15,
        next: 0,
        byte: 0,
        left: 0,
        state: 0,
        run: 0,
        one: false,
    };
    // The upper half of the last byte but one comes first; its lower half counts as 15.
    let half = u64::from(nibble >> 4);
    let len = if half & 7 == 7 { 3 } else { 4 };
    let vlc = backward(shared, (half & ((1 << len) - 1), len), nibble | 15, back);
    Some((forward(magsgn, 0xFF, ahead), mel, vlc))
}

/// A stream without bit stuffing, least significant bit first. A block takes less than 30 bits per sample.
pub(super) type Plain = [u8; PLAIN];

pub(super) const PLAIN: usize = STREAM + 16;

/// Limit of positions in a stream, in bytes.
const STREAM: usize = 16384;

/// A position in such a stream.
#[derive(Clone, Copy)]
pub(super) struct BitCursor<'a> {
    bytes: &'a Plain,
    /// Bytes of the stream; the sixteen after it are equal and repeat forever.
    len: usize,
    /// Position in bits.
    pub(super) place: u32,
}

impl BitCursor<'_> {
    /// The next bit.
    pub(super) fn bit(&mut self) -> bool {
        self.place += 1;
        self.load(self.place - 1) & 1 != 0
    }

    /// At least [`LOADED`] bits from `place` on.
    #[inline(always)]
    pub(super) fn load(&self, place: u32) -> u64 {
        self.eight(place as usize / 8) >> (place % 8)
    }

    /// Eight bytes, the first one least significant.
    #[inline(always)]
    fn eight(&self, at: usize) -> u64 {
        let eight = self.bytes[at.min(self.len) % STREAM..].first_chunk::<8>();
        eight.map_or(0, |eight| u64::from_le_bytes(*eight))
    }
}

pub(super) const LOADED: u32 = 57;

/// Reads a stream sequentially.
#[derive(Clone, Copy)]
pub(super) struct HtReader<'a> {
    stream: BitCursor<'a>,
    /// The next byte to read.
    next: usize,
    bits: u64,
    /// Number of valid bits; those above are also correct, or 0.
    count: u32,
}

impl<'a> HtReader<'a> {
    /// Starts at the first bit.
    pub(super) fn new(stream: BitCursor<'a>) -> HtReader<'a> {
        HtReader {
            stream,
            next: 0,
            bits: 0,
            count: 0,
        }
    }

    /// Ensures that at least 56 bits are available.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        self.bits |= self.stream.eight(self.next) << self.count;
        self.next += (63 - self.count) as usize / 8;
        self.count |= 56;
    }

    #[inline(always)]
    pub(super) fn peek(&self) -> u32 {
        self.bits as u32
    }

    #[inline(always)]
    pub(super) fn skip(&mut self, count: u32) {
        self.bits >>= count;
        self.count -= count;
    }

    /// The next bits, at most 31.
    #[inline(always)]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        let value = self.peek() & ((1 << count) - 1);
        self.skip(count);
        value
    }
}

/// Unstuffs a stream from its first byte on, padded with `end`: the byte after 0xFF has seven bits.
pub(super) fn forward<'a>(data: &[u8], end: u8, plain: &'a mut Plain) -> BitCursor<'a> {
    let mut writer = HtWriter {
        plain,
        len: 0,
        bits: 0,
        left: 0,
    };
    let mut data = data;
    let mut last = 0;
    while let Some((&byte, rest)) = data.split_first() {
        if let Some((four, rest)) = data.split_first_chunk::<4>()
            && last != 0xFF
            && !four.contains(&0xFF)
        {
            writer.four(u32::from_le_bytes(*four));
            data = rest;
            continue;
        }
        writer.byte(byte, if last == 0xFF { 7 } else { 8 });
        (last, data) = (byte, rest);
    }
    writer.end(end)
}

/// Unstuffs a stream from its last byte backwards, padded with zeros: a byte that ends in seven 1 bits has seven bits
/// if the next one is greater than 0x8F. `first` is bits that precede the stream, and their number; `last` is the
/// byte that they come from.
pub(super) fn backward<'a>(data: &[u8], first: (u64, u32), last: u8, plain: &'a mut Plain) -> BitCursor<'a> {
    let mut writer = HtWriter {
        plain,
        len: 0,
        bits: first.0,
        left: first.1,
    };
    let mut data = data;
    let mut last = last;
    while let Some((&byte, rest)) = data.split_last() {
        if let Some((rest, four)) = data.split_last_chunk::<4>()
            && !four.iter().any(|byte| byte & 0x7F == 0x7F)
        {
            writer.four(u32::from_be_bytes(*four));
            last = four[0];
            data = rest;
            continue;
        }
        writer.byte(byte, if last > 0x8F && byte & 0x7F == 0x7F { 7 } else { 8 });
        (last, data) = (byte, rest);
    }
    writer.end(0)
}

/// Writes a stream. Bytes that do not fit are dropped: no block needs them.
struct HtWriter<'a> {
    plain: &'a mut Plain,
    len: usize,
    /// Bits of an incomplete byte.
    bits: u64,
    left: u32,
}

impl<'a> HtWriter<'a> {
    #[inline(always)]
    fn put(&mut self, len: usize) {
        if let Some(eight) = self.plain.get_mut(self.len..self.len + 8) {
            eight.copy_from_slice(&self.bits.to_le_bytes());
            self.len += len;
        }
        self.bits >>= 8 * len;
    }

    #[inline(always)]
    fn four(&mut self, four: u32) {
        self.bits |= u64::from(four) << self.left;
        self.put(4);
    }

    #[inline(always)]
    fn byte(&mut self, byte: u8, bits: u32) {
        self.bits |= (u64::from(byte) & ((1 << bits) - 1)) << self.left;
        self.left += bits;
        if self.left >= 8 {
            self.left -= 8;
            self.put(1);
        }
    }

    /// Ends the stream, padded with `byte`.
    fn end(mut self, byte: u8) -> BitCursor<'a> {
        self.bits |= u64::from(byte) << self.left;
        self.put(1);
        self.len = self.len.min(STREAM);
        self.plain[self.len..][..16].fill(byte);
        BitCursor {
            bytes: self.plain,
            len: self.len,
            place: 0,
        }
    }
}

/// The adaptive run-length decoder for rare events.
pub(super) struct Mel<'a> {
    data: &'a [u8],
    /// The byte after `data`; 1 bits follow.
    last: u8,
    next: usize,
    byte: u8,
    left: u32,
    state: u8,
    run: u32,
    one: bool,
}

impl Mel<'_> {
    /// Whether the event occurs.
    #[inline(always)]
    pub(super) fn event(&mut self) -> bool {
        if self.run == 0 && !self.one {
            self.refill();
        }
        if self.run > 0 {
            self.run -= 1;
            return false;
        }
        self.one = false;
        true
    }

    fn refill(&mut self) {
        /// log2 of the run lengths by state (T.814 clause 7.3).
        const EXPONENTS: [u8; 13] = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5];
        let exponent = EXPONENTS[usize::from(self.state) % 13];
        if self.bit() == 1 {
            self.run = 1 << exponent;
            self.state = (self.state + 1).min(12);
        } else {
            self.run = (0..exponent).fold(0, |run, _| run << 1 | self.bit());
            self.state = self.state.saturating_sub(1);
            self.one = true;
        }
    }

    /// Most significant bit first; the byte after 0xFF has seven.
    fn bit(&mut self) -> u32 {
        if self.left == 0 {
            self.left = if self.byte == 0xFF { 7 } else { 8 };
            self.byte = match self.next.checked_sub(self.data.len()) {
                None => self.data[self.next],
                Some(0) => self.last,
                Some(_) => 0xFF,
            };
            self.next += 1;
        }
        self.left -= 1;
        u32::from(self.byte) >> self.left & 1
    }
}
