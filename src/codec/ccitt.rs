//! CCITT facsimile coding (ITU-T T.4 and T.6) in TIFF: decodes bytes to rows of bits, where black is 1.
//!
//! The most significant bit of a byte comes first. The uncompressed mode is treated as damage.

#![expect(
    clippy::indexing_slicing,
    reason = "tables have an entry for every value of their index; `above` ends with entries at the width"
)]

use crate::error::Error;
use crate::error::Result;
use std::sync::LazyLock;

/// The coding scheme.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CcittCoding {
    /// One-dimensional rows (T.4 §4.1) without end-of-line codes.
    ModifiedHuffman {
        /// Each row starts at a multiple of this many bytes.
        align_bytes: u8,
    },
    /// Rows after end-of-line codes (T.4).
    Group3 {
        /// Rows may be two-dimensional (T.4 §4.2), as a tag bit after each end-of-line code says.
        two_dimensional: bool,
    },
    /// Two-dimensional rows (T.6).
    Group4,
}

/// White runs of 0–63 pixels (T.4 table 2).
#[rustfmt::skip]
const WHITE: [&str; 64] = [
    "00110101", "000111", "0111", "1000", "1011", "1100", "1110", "1111", "10011", "10100", "00111", "01000",
    "001000", "000011", "110100", "110101", "101010", "101011", "0100111", "0001100", "0001000", "0010111", "0000011",
    "0000100", "0101000", "0101011", "0010011", "0100100", "0011000", "00000010", "00000011", "00011010", "00011011",
    "00010010", "00010011", "00010100", "00010101", "00010110", "00010111", "00101000", "00101001", "00101010",
    "00101011", "00101100", "00101101", "00000100", "00000101", "00001010", "00001011", "01010010", "01010011",
    "01010100", "01010101", "00100100", "00100101", "01011000", "01011001", "01011010", "01011011", "01001010",
    "01001011", "00110010", "00110011", "00110100",
];

/// Black runs of 0–63 pixels (T.4 table 2).
#[rustfmt::skip]
const BLACK: [&str; 64] = [
    "0000110111", "010", "11", "10", "011", "0011", "0010", "00011", "000101", "000100", "0000100", "0000101",
    "0000111", "00000100", "00000111", "000011000", "0000010111", "0000011000", "0000001000", "00001100111",
    "00001101000", "00001101100", "00000110111", "00000101000", "00000010111", "00000011000", "000011001010",
    "000011001011", "000011001100", "000011001101", "000001101000", "000001101001", "000001101010", "000001101011",
    "000011010010", "000011010011", "000011010100", "000011010101", "000011010110", "000011010111", "000001101100",
    "000001101101", "000011011010", "000011011011", "000001010100", "000001010101", "000001010110", "000001010111",
    "000001100100", "000001100101", "000001010010", "000001010011", "000000100100", "000000110111", "000000111000",
    "000000100111", "000000101000", "000001011000", "000001011001", "000000101011", "000000101100", "000001011010",
    "000001100110", "000001100111",
];

/// White runs of 64, 128, … 1728 pixels, before the rest of the run (T.4 table 3a).
#[rustfmt::skip]
const WHITE_MAKE_UP: [&str; 27] = [
    "11011", "10010", "010111", "0110111", "00110110", "00110111", "01100100", "01100101", "01101000", "01100111",
    "011001100", "011001101", "011010010", "011010011", "011010100", "011010101", "011010110", "011010111",
    "011011000", "011011001", "011011010", "011011011", "010011000", "010011001", "010011010", "011000", "010011011",
];

/// Black runs of 64, 128, … 1728 pixels (T.4 table 3a).
#[rustfmt::skip]
const BLACK_MAKE_UP: [&str; 27] = [
    "0000001111", "000011001000", "000011001001", "000001011011", "000000110011", "000000110100", "000000110101",
    "0000001101100", "0000001101101", "0000001001010", "0000001001011", "0000001001100", "0000001001101",
    "0000001110010", "0000001110011", "0000001110100", "0000001110101", "0000001110110", "0000001110111",
    "0000001010010", "0000001010011", "0000001010100", "0000001010101", "0000001011010", "0000001011011",
    "0000001100100", "0000001100101",
];

/// Runs of 1792, 1856, … 2560 pixels of either colour (T.4 table 3b).
#[rustfmt::skip]
const COMMON_MAKE_UP: [&str; 13] = [
    "00000001000", "00000001100", "00000001101", "000000010010", "000000010011", "000000010100", "000000010101",
    "000000010110", "000000010111", "000000011100", "000000011101", "000000011110", "000000011111",
];

/// Bits of the longest run code.
const MAX_CODE_BITS: u32 = 13;

/// Lookup by the next bits: length of the code in bits, 0 if invalid, and the pixels.
type RunTable = [(u8, u16); 1 << MAX_CODE_BITS];

static RUNS: LazyLock<Box<[RunTable; 2]>> = LazyLock::new(|| {
    let mut tables = Box::new([[(0, 0); 1 << MAX_CODE_BITS]; 2]);
    for (table, [short, long]) in tables
        .iter_mut()
        .zip([[&WHITE[..], &WHITE_MAKE_UP], [&BLACK, &BLACK_MAKE_UP]])
    {
        let codes = short.iter().zip(0..);
        let codes = codes.chain(long.iter().zip((64..).step_by(64)));
        for (code, pixels) in codes.chain(COMMON_MAKE_UP.iter().zip((1792..).step_by(64))) {
            let bits = code.len().to_le_bytes()[0];
            let first = usize::from_str_radix(code, 2).unwrap_or(0) << (MAX_CODE_BITS as usize - code.len());
            let all = 1 << (MAX_CODE_BITS as usize - code.len());
            table[first..first + all].fill((bits, pixels));
        }
    }
    tables
});

/// The position of the next change relative to the row above (T.4 table 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Pass mode: skips both changes above.
    Pass,
    /// Horizontal mode: two runs follow.
    Horizontal,
    /// Vertical mode: this far to the right of the change above.
    Vertical(i8),
    /// An invalid code.
    Invalid,
}

static MODES: [(Mode, u32); 128] = {
    let mut modes = [(Mode::Invalid, 0); 128];
    let mut bits = 0;
    while bits < 128 {
        modes[bits as usize] = mode(bits);
        bits += 1;
    }
    modes
};

/// The mode of the next 7 bits, and its length.
const fn mode(bits: u32) -> (Mode, u32) {
    match bits {
        0b100_0000.. => (Mode::Vertical(0), 1),
        0b011_0000.. => (Mode::Vertical(1), 3),
        0b010_0000.. => (Mode::Vertical(-1), 3),
        0b001_0000.. => (Mode::Horizontal, 3),
        0b000_1000.. => (Mode::Pass, 4),
        0b000_0110.. => (Mode::Vertical(2), 6),
        0b000_0100.. => (Mode::Vertical(-2), 6),
        0b000_0011 => (Mode::Vertical(3), 7),
        0b000_0010 => (Mode::Vertical(-3), 7),
        _ => (Mode::Invalid, 0),
    }
}

/// Decodes `rows` rows of `width` pixels, each starting on a byte boundary, into `scratch`, which grows as needed,
/// and returns them.
///
/// Rows after the end of the stream are white. After an invalid code, the rest of the row is white; decoding
/// continues at the next end-of-line code, or ends if the scheme has none. `Error::Corrupt` if there is not a single
/// row.
pub fn decode<'a>(
    data: &[u8],
    coding: CcittCoding,
    width: u32,
    rows: u32,
    scratch: &'a mut Vec<u8>,
) -> Result<&'a mut [u8]> {
    let line = (width as usize).div_ceil(8);
    scratch.clear();
    scratch.resize(line * rows as usize, 0);
    let mut decoder = RowDecoder::new(data, coding, width);
    for row in scratch.chunks_exact_mut(line.max(1)) {
        decoder.row(row)?;
    }
    Ok(scratch)
}

/// Decodes the rows of a stream one by one, with the same result as [`decode`].
pub struct RowDecoder<D> {
    data: D,
    coding: CcittCoding,
    width: u32,
    /// Position of the next bit; `None` once decoding has ended.
    at: Option<usize>,
    /// A row was decoded.
    has_row: bool,
    /// Positions where the colour changes in the row above, ended by entries at the width.
    above: Vec<u32>,
    /// Those of the current row.
    changes: Vec<u32>,
}

impl<D: AsRef<[u8]>> RowDecoder<D> {
    /// A decoder at the start of a stream of rows of `width` pixels.
    pub fn new(data: D, coding: CcittCoding, width: u32) -> Self {
        RowDecoder {
            data,
            coding,
            width,
            at: Some(0),
            has_row: false,
            above: vec![width; 4],
            changes: Vec::new(),
        }
    }

    /// Decodes the next row into `row`, which must be 0. `Error::Corrupt` if there is not a single row.
    pub fn row(&mut self, row: &mut [u8]) -> Result<()> {
        if let Some(at) = self.at {
            let mut bits = CodeBits {
                data: self.data.as_ref(),
                at,
            };
            let more = next(
                &mut bits,
                self.coding,
                self.width,
                (&mut self.above, &mut self.changes),
                |width, changes| {
                    paint(row, width, changes);
                    self.has_row = true;
                },
            );
            self.at = more.then_some(bits.at);
        }
        if self.has_row {
            return Ok(());
        }
        Err(Error::Corrupt("CCITT stream holds no row".into()))
    }
}

/// Passes the next row's changes to `paint`, if there is one; returns whether another may follow.
fn next(
    bits: &mut CodeBits,
    coding: CcittCoding,
    width: u32,
    (above, changes): (&mut Vec<u32>, &mut Vec<u32>),
    paint: impl FnOnce(u32, &[u32]),
) -> bool {
    changes.clear();
    let whole = match coding {
        CcittCoding::ModifiedHuffman { align_bytes } => {
            bits.align(align_bytes.into());
            one_dimensional_row(bits, width, changes)
        }
        CcittCoding::Group3 { two_dimensional } => {
            if !bits.line() {
                return false;
            }
            // A tag after the end-of-line code selects one of the two codings (T.4 §4.2.2).
            if two_dimensional && bits.take(1) == 0 {
                two_dimensional_row(bits, width, above, changes)
            } else {
                one_dimensional_row(bits, width, changes)
            }
        }
        CcittCoding::Group4 => two_dimensional_row(bits, width, above, changes),
    };
    if !whole && changes.len() % 2 == 1 {
        changes.pop();
    }
    let marked = matches!(coding, CcittCoding::Group3 { .. });
    if !whole && changes.is_empty() && !marked {
        return false;
    }
    paint(width, changes);
    if !(whole || marked && bits.find_line()) {
        return false;
    }
    changes.extend([width; 4]);
    std::mem::swap(above, changes);
    true
}

/// Decodes a one-dimensional row; returns whether it is complete. `changes`: positions where the colour changes,
/// starting with white.
fn one_dimensional_row(bits: &mut CodeBits, width: u32, changes: &mut Vec<u32>) -> bool {
    let tables = &**RUNS;
    let mut at = 0;
    while at < width {
        match run(bits, &tables[changes.len() % 2]) {
            Some(length) => at = at.saturating_add(length).min(width),
            None => return false,
        }
        changes.push(at);
    }
    true
}

/// Decodes a two-dimensional row; returns whether it is complete (T.4 §4.2.1.3). An empty run above counts as two
/// changes at one position, as in the encoders that write such runs (and libtiff).
fn two_dimensional_row(bits: &mut CodeBits, width: u32, above: &[u32], changes: &mut Vec<u32>) -> bool {
    let tables = &**RUNS;
    let mut at = 0;
    let mut index = 0;
    // lower bound of b1: `at` at the start of the row, afterwards just past it
    let mut least = 0;
    while at < width {
        // b1: the first change above, right of `at`, to the opposite colour; the last ones above are at the width.
        let colour = changes.len() % 2;
        index = index.max(1) - 1;
        index += usize::from(index % 2 != colour);
        while above[index] < least {
            index += 2;
        }
        let word = bits.word();
        let (mode, length) = MODES[(word >> 57) as usize];
        bits.skip(length);
        match mode {
            Mode::Vertical(by) => {
                let to = above[index].checked_add_signed(by.into());
                let Some(to) = to.filter(|to| *to >= at && *to <= width) else {
                    return false;
                };
                at = to;
                changes.push(at);
            }
            Mode::Pass => at = above[index + 1].max(at),
            Mode::Horizontal => {
                let Some(lengths) = two_runs(bits, word << length, [&tables[colour], &tables[1 - colour]])
                else {
                    return false;
                };
                for length in lengths {
                    at = at.saturating_add(length).min(width);
                    changes.push(at);
                }
            }
            Mode::Invalid => return false,
        }
        least = at + 1;
    }
    true
}

/// The lengths of two runs by these tables; `word` holds the next bits.
#[inline]
fn two_runs(bits: &mut CodeBits, mut word: u64, tables: [&RunTable; 2]) -> Option<[u32; 2]> {
    let mut lengths = [0; 2];
    for (length, table) in lengths.iter_mut().zip(tables) {
        // usually a single code, within the bits already read
        let (used, pixels) = table[(word >> (64 - MAX_CODE_BITS)) as usize];
        if (1..64).contains(&pixels) {
            word <<= used;
            bits.skip(used.into());
            *length = u32::from(pixels);
        } else {
            *length = run(bits, table)?;
            word = bits.word();
        }
    }
    Some(lengths)
}

/// The length of a run: any number of make-up codes and a terminating one below 64.
fn run(bits: &mut CodeBits, table: &RunTable) -> Option<u32> {
    let mut length = 0u32;
    loop {
        let (used, pixels) = table[bits.peek(MAX_CODE_BITS) as usize];
        if used == 0 {
            return None;
        }
        bits.skip(used.into());
        length = length.saturating_add(pixels.into());
        if pixels < 64 {
            return Some(length);
        }
    }
}

/// Sets the black pixels of a white row.
fn paint(row: &mut [u8], width: u32, changes: &[u32]) {
    for pair in changes.chunks(2) {
        let start = pair[0];
        let end = pair.get(1).copied().unwrap_or(width).min(width);
        if start >= end {
            continue;
        }
        let (first, last) = (start as usize / 8, (end as usize - 1) / 8);
        let head = 0xff >> (start % 8);
        let tail = 0xff << (7 - (end - 1) % 8);
        if first == last {
            row[first] |= head & tail;
        } else {
            row[first] |= head;
            row[first + 1..last].fill(0xff);
            row[last] |= tail;
        }
    }
}

/// A bit reader; after the end of the stream, all bits are zero.
struct CodeBits<'a> {
    data: &'a [u8],
    /// Position of the next bit.
    at: usize,
}

impl CodeBits<'_> {
    /// The next `count` bits, at most 16.
    #[inline(always)]
    fn peek(&self, count: u32) -> u32 {
        let byte = self.at / 8;
        let word = match self.data.get(byte..byte + 4) {
            Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]),
            _ => (byte..byte + 4).fold(0, |word, at| {
                word << 8 | self.data.get(at).map_or(0, |b| u32::from(*b))
            }),
        };
        (word << (self.at % 8)) >> (32 - count)
    }

    /// At least 57 of the next bits, left-aligned.
    #[inline(always)]
    fn word(&self) -> u64 {
        let byte = self.at / 8;
        let word = match self.data.get(byte..byte + 8) {
            Some(&[a, b, c, d, e, f, g, h]) => u64::from_be_bytes([a, b, c, d, e, f, g, h]),
            _ => (byte..byte + 8).fold(0, |word, at| {
                word << 8 | self.data.get(at).map_or(0, |b| u64::from(*b))
            }),
        };
        word << (self.at % 8)
    }

    #[inline(always)]
    fn skip(&mut self, count: u32) {
        self.at += count as usize;
    }

    fn take(&mut self, count: u32) -> u32 {
        let bits = self.peek(count);
        self.skip(count);
        bits
    }

    /// Remaining bits.
    fn left(&self) -> usize {
        (self.data.len() * 8).saturating_sub(self.at)
    }

    /// Skips to the next multiple of `bytes` bytes.
    fn align(&mut self, bytes: usize) {
        self.at = self.at.next_multiple_of(8 * bytes.max(1));
    }

    /// Skips an end-of-line code and the zeros before it, if present; returns whether a row follows. Two in
    /// succession are taken as the end of the page (T.4 §4.1.4: six).
    fn line(&mut self) -> bool {
        let start = self.at;
        if self.peek(11) == 0 {
            while self.peek(1) == 0 && self.left() > 0 {
                self.skip(1);
            }
            self.skip(1);
        }
        let marked = self.at > start;
        // in the two-dimensional scheme a tag bit follows each end-of-line code
        self.left() > 0 && !(marked && (self.peek(12) == 1 || self.peek(13) == 0b1_0000_0000_0001))
    }

    /// Skips to the next end-of-line code, with which the next row starts.
    fn find_line(&mut self) -> bool {
        while self.left() > 12 && self.peek(12) != 1 {
            self.skip(1);
        }
        self.left() > 12
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_code_begins_with_another() {
        for table in RUNS.iter() {
            let (mut codes, mut space) = (0, 0u32);
            let mut at = 0;
            while at < table.len() {
                let (bits, pixels) = table[at];
                let span = 1 << (MAX_CODE_BITS - u32::from(bits.max(1)));
                if bits > 0 {
                    assert!(
                        table[at..at + span].iter().all(|entry| *entry == (bits, pixels)),
                        "{at:b}"
                    );
                    (codes, space) = (codes + 1, space + span as u32);
                    at += span;
                } else {
                    at += 1;
                }
            }
            assert_eq!(codes, 64 + 27 + 13);
            // The remaining codes are the end-of-line code and its prefixes.
            assert!(space < 1 << MAX_CODE_BITS);
        }
    }

    #[test]
    fn rows_without_end_of_line_codes_are_byte_or_word_aligned() {
        // White 2, black 3, white 3: 0111 10 1000; black 8 after white 0: 00110101 000101.
        let data = [0b0111_1010, 0b0000_0000, 0b0011_0101, 0b0001_0100];
        let mut scratch = Vec::new();
        let rows = decode(
            &data,
            CcittCoding::ModifiedHuffman { align_bytes: 1 },
            8,
            2,
            &mut scratch,
        )
        .unwrap();
        assert_eq!(rows, [0b0011_1000, 0xff]);
        let words = [0b0111_1010, 0, 0b0011_0101, 0b0001_0100];
        assert_eq!(
            decode(
                &words,
                CcittCoding::ModifiedHuffman { align_bytes: 2 },
                8,
                2,
                &mut scratch
            )
            .unwrap(),
            [0b0011_1000, 0xff]
        );
    }

    #[test]
    fn two_dimensional_rows_refer_to_the_row_above() {
        // H white 2 black 3, V0 to the end; then VR1 VL1 V0; then P V0, which is white.
        let data: Vec<u8> = bits("001 0111 10 1  011 010 1  0001 1  000000000001000000000001");
        let mut scratch = Vec::new();
        let rows = decode(&data, CcittCoding::Group4, 8, 3, &mut scratch).unwrap();
        assert_eq!(rows, [0b0011_1000, 0b0001_0000, 0]);
        // The page ends early: the rest is white.
        assert_eq!(
            decode(&data, CcittCoding::Group4, 8, 5, &mut scratch).unwrap()[2..],
            [0, 0, 0]
        );
    }

    #[test]
    fn an_empty_run_counts_as_two_changes_for_the_row_below() {
        // runs of 0, 0, 5 and 3 and the rest; then past both changes at the start, runs of 2 and 4 and the rest
        let data = bits("001 00110101 0000110111 001 1100 10 1 0001 001 0111 011 1");
        let mut out = Vec::new();
        let found = decode(&data, CcittCoding::Group4, 16, 2, &mut out).unwrap();
        assert_eq!(found, [0b0000_0111, 0, 0b0011_1100, 0]);
    }

    #[test]
    fn decoding_resumes_at_the_next_end_of_line_code() {
        let line = "000000000001";
        let good = "0111 10 1000";
        let decoded = |text: &str, two_dimensional, rows| {
            let coding = CcittCoding::Group3 { two_dimensional };
            decode(&bits(text), coding, 8, rows, &mut Vec::new()).map(|rows| rows.to_vec())
        };
        let text = [line, good, line, "0111 000000001", "0000", line, good, line, line].concat();
        let rows = decoded(&text, false, 5).unwrap();
        // After the white run of 2, the damaged row is white.
        assert_eq!(rows, [0b0011_1000, 0, 0b0011_1000, 0, 0]);
        let both = [line, "1", good, line, "0", "011 010 1", line, "1", line, "1"].concat();
        let rows = decoded(&both, true, 3).unwrap();
        assert_eq!(rows, [0b0011_1000, 0b0001_0000, 0]);
    }

    #[test]
    fn an_empty_stream_is_corrupt_and_damage_never_panics() {
        let mut scratch = Vec::new();
        for coding in [
            CcittCoding::ModifiedHuffman { align_bytes: 1 },
            CcittCoding::Group3 {
                two_dimensional: false,
            },
            CcittCoding::Group3 {
                two_dimensional: true,
            },
            CcittCoding::Group4,
        ] {
            assert!(decode(&[], coding, 8, 1, &mut scratch).is_err());
            let mut seed = 1u32;
            for len in 0..2000 {
                let data: Vec<u8> = (0..len % 60)
                    .map(|_| {
                        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                        (seed >> 24) as u8
                    })
                    .collect();
                let _ = decode(&data, coding, 1 + len % 40, 7, &mut scratch);
            }
        }
    }

    fn bits(text: &str) -> Vec<u8> {
        let bits: Vec<u8> = text.bytes().filter(|b| *b != b' ').map(|b| b - b'0').collect();
        bits.chunks(8)
            .map(|byte| {
                byte.iter()
                    .enumerate()
                    .fold(0, |all, (i, bit)| all | bit << (7 - i))
            })
            .collect()
    }
}
