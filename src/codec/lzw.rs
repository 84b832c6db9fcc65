//! LZW in TIFF and GIF: bytes in, bytes out.
//!
//! Codes have 9 to 12 bits, most significant first; 256 clears the table, 257 ends, and the width grows one code
//! early (TIFF 6.0 §13). Before TIFF 5, the least significant bit came first, and the width grew only when necessary:
//! the first code of a stream, which is always 256, distinguishes the two.

#![expect(
    clippy::indexing_slicing,
    reason = "a code has 12 bits, the table 4096 places; there is enough space for output before each copy"
)]

use crate::codec::pull::Pull;
use crate::codec::pull::Pulled;
use crate::error::Error;
use crate::error::Result;
use crate::work;
use std::cell::RefCell;
use std::io;
use std::io::BufRead;
use std::io::Read;

const CLEAR: usize = 256;
const END: usize = 257;
const CODES: usize = 4096;

/// Bytes copied at once; most strings are shorter.
const STEP: usize = 16;

/// Space after the output: the longest string, rounded up to steps.
const SLACK: usize = CODES + STEP;

/// The location of the string of each code in the buffer: its start in the upper bits, its length in the lower 16; 0
/// for the two special codes. A string is the previous string and the byte that follows it in the output, so all
/// strings are already there, and the table needs no bytes of its own.
type Strings = [u64; CODES];

thread_local! {
    static STRINGS: RefCell<Box<Strings>> = RefCell::new(Box::new(std::array::from_fn(
        |code| if code < CLEAR { pack(code, 1) } else { 0 },
    )));
}

/// Decodes at most `len` bytes into `scratch`, which grows as needed, and returns them.
///
/// A longer stream is cut at `len`; a shorter one, with or without its end code, yields what it contains. `Error::Corrupt`
/// for an invalid code.
pub fn decode<'a>(data: &[u8], len: usize, scratch: &'a mut Vec<u8>) -> Result<&'a mut [u8]> {
    let needed = CLEAR.saturating_add(len).saturating_add(SLACK);
    if scratch.len() < needed {
        scratch.resize(needed, 0);
    }
    let old = is_old(data);
    let got = STRINGS.with(|strings| {
        let strings = &mut strings.borrow_mut();
        if old {
            fill::<true>(data, len, strings, scratch)
        } else {
            fill::<false>(data, len, strings, scratch)
        }
    })?;
    Ok(&mut scratch[CLEAR..CLEAR + got])
}

/// Decodes on demand, with the same result for undamaged streams.
pub fn reader(mut from: impl BufRead) -> io::Result<impl Read> {
    let old = is_old(from.fill_buf()?);
    let mut decoder = if old {
        weezl::decode::Decoder::new(weezl::BitOrder::Lsb, 8)
    } else {
        weezl::decode::Decoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8)
    };
    Ok(Pull::new(from, move |coded, out| {
        let result = decoder.decode_bytes(coded, out);
        let status = result.status.map_err(|_| wrong())?;
        Ok(Pulled {
            used: result.consumed_in,
            made: result.consumed_out,
            ended: matches!(status, weezl::LzwStatus::Done),
        })
    }))
}

fn wrong() -> Error {
    Error::Corrupt("LZW stream is damaged".into())
}

/// Whether the stream dates from before TIFF 5. The first nine bits are 256: a 1 followed by eight zeros, or in the
/// old bit order a zero byte followed by 1.
fn is_old(data: &[u8]) -> bool {
    data.first() == Some(&0) && data.get(1).is_some_and(|second| second & 1 == 1)
}

/// Decodes up to `len` bytes; `out` begins with the 256 one-byte strings and ends with `SLACK`. Returns the number of
/// bytes.
fn fill<const OLD: bool>(data: &[u8], len: usize, strings: &mut Strings, out: &mut [u8]) -> Result<usize> {
    for (byte, place) in out.iter_mut().take(CLEAR).enumerate() {
        *place = byte.to_le_bytes()[0];
    }

    let mut codes = Codes::<OLD>::new(data);
    let end = CLEAR + len;
    let mut at = CLEAR;
    'table: while at < end {
        codes.width = 9;
        let mut next = END + 1;
        // The first code after a clear adds no string.
        match codes.next() {
            Some(first @ 0..CLEAR) => out[at] = first.to_le_bytes()[0],
            Some(CLEAR) => continue,
            Some(END) | None => break,
            Some(_) => return Err(wrong()),
        }
        let mut before = pack(at, 1);
        at += 1;
        while at < end {
            let Some(code) = codes.next() else {
                break 'table;
            };
            if code >= next {
                // Valid only for the string that this code completes: the previous string and its own first byte.
                if code > next || next >= CODES {
                    return Err(wrong());
                }
                let (start, length) = unpack(before);
                copy(out, start, at, length);
                out[at + length] = out[at];
                before = pack(at, length + 1);
                strings[next] = before;
                at += length + 1;
            } else {
                let (start, length) = unpack(strings[code]);
                match code {
                    _ if length > 0 => {}
                    END => break 'table,
                    _ => continue 'table,
                }
                copy(out, start, at, length);
                if next < CODES {
                    strings[next] = before + 1;
                }
                before = pack(at, length);
                at += length;
            }
            next += 1;
            codes.grow(next);
        }
    }
    Ok(at.min(end) - CLEAR)
}

/// A reader of codes.
struct Codes<'a, const OLD: bool> {
    data: &'a [u8],
    /// Position of the next code, and the number of bits.
    bit: usize,
    bits: usize,
    /// Bits of the next code.
    width: usize,
}

impl<'a, const OLD: bool> Codes<'a, OLD> {
    fn new(data: &'a [u8]) -> Self {
        Codes {
            data,
            bit: 0,
            bits: data.len() * 8,
            width: 9,
        }
    }

    /// The next code; `None` at the end of the bytes.
    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        if self.bit + self.width > self.bits {
            return None;
        }
        let code = code::<OLD>(self.data, self.bit, self.width);
        self.bit += self.width;
        Some(code)
    }

    /// Widens codes if `next`, the next index of the table, requires it.
    #[inline(always)]
    fn grow(&mut self, next: usize) {
        if next == (1 << self.width) - usize::from(!OLD) && self.width < 12 {
            self.width += 1;
        }
    }
}

/// The `width` bits from `bit` on, which must exist.
#[inline(always)]
fn code<const OLD: bool>(data: &[u8], bit: usize, width: usize) -> usize {
    let byte = bit / 8;
    if OLD {
        let part = |i: usize| u32::from(data.get(byte + i).copied().unwrap_or(0)) << (8 * i);
        let word = part(0) | part(1) | part(2);
        return (word >> (bit % 8)) as usize & ((1 << width) - 1);
    }
    let word = match data.get(byte..byte + 4) {
        Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]),
        _ => {
            let part = |i: usize| u32::from(data.get(byte + i).copied().unwrap_or(0));
            part(0) << 24 | part(1) << 16 | part(2) << 8
        }
    };
    ((word << (bit % 8)) >> (32 - width)) as usize & (CODES - 1)
}

#[inline(always)]
fn pack(start: usize, length: usize) -> u64 {
    (start as u64) << 16 | length as u64
}

#[inline(always)]
fn unpack(string: u64) -> (usize, usize) {
    ((string >> 16) as usize, (string & 0xffff) as usize)
}

/// Copies `length` bytes and up to `STEP - 1` more, which later strings overwrite.
#[inline(always)]
fn copy(out: &mut [u8], start: usize, at: usize, length: usize) {
    out.copy_within(start..start + STEP, at);
    let mut done = STEP;
    while done < length {
        out.copy_within(start + done..start + done + STEP, at + done);
        done += STEP;
    }
}

/// Encodes in the bit order of TIFF, most significant first.
pub fn encode(data: &[u8]) -> Result<Vec<u8>> {
    weezl::encode::Encoder::with_tiff_size_switch(weezl::BitOrder::Msb, 8)
        .encode(data)
        .map_err(|_| Error::Unsupported("lzw encoding failed".into()))
}

/// Bytes that are encoded between checks for cancellation: some milliseconds.
const PIECE: usize = 1 << 16;

/// Encodes numbers below `1 << bits` (2–8 bits) in the bit order of GIF, least significant first (GIF89a appendix F).
/// Ends early if the request is cancelled.
pub fn encode_gif(mut data: &[u8], bits: u8) -> Result<Vec<u8>> {
    let failed = || Error::Unsupported("lzw encoding failed".into());
    let mut encoder = weezl::encode::Encoder::new(weezl::BitOrder::Lsb, bits.clamp(2, 8));
    encoder.finish();
    let (mut out, mut piece) = (Vec::new(), vec![0; PIECE]);
    loop {
        work::lend()?;
        let coded = encoder.encode_bytes(data, &mut piece);
        data = data.get(coded.consumed_in..).unwrap_or_default();
        out.extend_from_slice(piece.get(..coded.consumed_out).unwrap_or_default());
        match coded.status {
            Ok(weezl::LzwStatus::Done) => return Ok(out),
            Ok(weezl::LzwStatus::Ok) => {}
            Ok(weezl::LzwStatus::NoProgress) | Err(_) => return Err(failed()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    /// A simple encoder (TIFF 6.0 p. 60) that clears its table at `full` codes, or never if that is too many.
    fn encode(data: &[u8], full: usize) -> Vec<u8> {
        let mut bits: Vec<bool> = Vec::new();
        let mut put = |code: usize, width: usize| bits.extend((0..width).rev().map(|b| code >> b & 1 == 1));
        let mut table: HashMap<(usize, u8), usize> = HashMap::new();
        let (mut width, mut next) = (9, END + 1);
        put(CLEAR, width);
        let mut string = usize::from(data[0]);
        for &byte in &data[1..] {
            if let Some(&longer) = table.get(&(string, byte)) {
                string = longer;
                continue;
            }
            put(string, width);
            if next < CODES {
                table.insert((string, byte), next);
                next += 1;
                if next == 1 << width && width < 12 {
                    width += 1;
                }
            }
            if next == full {
                put(CLEAR, width);
                table.clear();
                (width, next) = (9, END + 1);
            }
            string = usize::from(byte);
        }
        put(string, width);
        next += 1;
        if next == 1 << width && width < 12 {
            width += 1;
        }
        put(END, width);
        let byte = |bits: &[bool]| {
            bits.iter()
                .enumerate()
                .map(|(i, &b)| u8::from(b) << (7 - i))
                .sum()
        };
        bits.chunks(8).map(byte).collect()
    }

    fn noise(len: usize, values: u32) -> Vec<u8> {
        let mut seed = 1u32;
        let mut step = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 16) % values
        };
        (0..len).map(|_| step() as u8).collect()
    }

    #[test]
    fn every_width_and_every_way_of_clearing_comes_back_exactly() {
        let mut scratch = Vec::new();
        for values in [1, 2, 3, 17, 256] {
            for len in [1, 2, 3, 100, 5_000, 100_000] {
                let data = noise(len, values);
                for full in [259, 300, 511, 512, 513, 4094, 4095, usize::MAX] {
                    let coded = encode(&data, full);
                    assert!(
                        decode(&coded, len, &mut scratch).unwrap() == data,
                        "{values} {len} {full}"
                    );
                }
            }
        }
    }

    #[test]
    fn encoding_round_trips() {
        let mut scratch = Vec::new();
        for (len, values) in [(0, 1), (1, 1), (9_000, 3), (100_000, 256)] {
            let data = noise(len, values);
            let coded = super::encode(&data).unwrap();
            assert_eq!(decode(&coded, len, &mut scratch).unwrap(), data);
        }
    }

    #[test]
    fn a_stream_that_libtiff_wrote_is_read() {
        // 24 by 4 grey samples x / 3 + y, by tiffcp -c lzw.
        #[rustfmt::skip]
        let coded = [
            0x80, 0x00, 0x20, 0x40, 0x18, 0x20, 0x0a, 0x0c, 0x03, 0x84, 0x01, 0x21, 0x40, 0x58, 0x60, 0x1a,
            0x1c, 0x07, 0x88, 0x41, 0x00, 0x30, 0x60, 0x14, 0x20, 0x07, 0x0a, 0x02, 0x43, 0x00, 0xb0, 0xe0,
            0x34, 0x40, 0x0e, 0x08, 0x90, 0x45, 0x22, 0xd1, 0x88, 0xd4, 0x72, 0x3d, 0x20, 0x04, 0x02, 0x65,
            0x52, 0x38, 0x5c, 0x36, 0x1f, 0x10, 0x94, 0x4a, 0x81, 0x20, 0xa9, 0xa4, 0x04,
        ];
        let data: Vec<u8> = (0..96).map(|i| (i % 24 / 3 + i / 24) as u8).collect();
        assert_eq!(decode(&coded, 96, &mut Vec::new()).unwrap(), data);
    }

    #[test]
    fn a_longer_stream_is_cut_and_a_shorter_one_gives_what_it_has() {
        let mut scratch = Vec::new();
        let data = noise(9_000, 5);
        let coded = encode(&data, 4094);
        for len in [0, 1, 2, 4_999, 8_999] {
            assert_eq!(decode(&coded, len, &mut scratch).unwrap(), &data[..len]);
        }
        assert_eq!(decode(&coded, 9_001, &mut scratch).unwrap(), data);
        let part = decode(&coded[..coded.len() / 2], 9_000, &mut scratch).unwrap();
        assert!(part.len() > 4_000 && data.starts_with(part));
        assert!(decode(&[], 10, &mut scratch).unwrap().is_empty());
    }

    #[test]
    fn streams_in_the_old_order_of_bits_are_read() {
        let mut scratch = Vec::new();
        for values in [1, 3, 256] {
            for len in [1, 300, 20_000] {
                let data = noise(len, values);
                // GIF has the same codes.
                let coded = encode_gif(&data, 8).unwrap();
                assert!(
                    decode(&coded, len, &mut scratch).unwrap() == data,
                    "{values} {len}"
                );
            }
        }
    }

    #[test]
    fn codes_that_cannot_be_there_are_errors() {
        let mut scratch = Vec::new();
        // Clear, followed by 258, which is undefined.
        assert!(decode(&[0x80, 0x40, 0x80], 10, &mut scratch).is_err());
        // Clear, 'a', then 259 where 258 is the next code.
        assert!(decode(&[0x80, 0x0c, 0x30, 0x30], 10, &mut scratch).is_err());
    }

    #[test]
    fn no_damage_makes_it_panic() {
        let mut scratch = Vec::new();
        let data = noise(3_000, 3);
        let coded = encode(&data, usize::MAX);
        for at in 0..coded.len() {
            for flip in [1, 0x10, 0xff] {
                let mut wrong = coded.clone();
                wrong[at] ^= flip;
                let _ = decode(&wrong, data.len(), &mut scratch);
            }
        }
    }
}
