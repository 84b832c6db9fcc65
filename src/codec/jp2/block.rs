//! One code-block of JPEG 2000: the bytes of its coding passes in, its quantised coefficients out (T.800 Annex D).
//!
//! Knows no packets, no step sizes and no wavelet: where the bytes lie, what a coefficient is worth and where it
//! belongs is the caller's, and so is a region of interest.

#![expect(
    clippy::indexing_slicing,
    reason = "indices are remainders by the length of the table, or computed when compiling"
)]

use crate::codec::jp2::mq::Contexts;
use crate::codec::jp2::mq::Mq;
use crate::error::Error;
use crate::error::Result;

/// The style bits of a code-block (T.800 Table A.19, T.814 Table A.4).
pub mod style {
    /// Significance and refinement passes below the fourth bit-plane are raw bits.
    pub const BYPASS: u8 = 1;
    /// Contexts start afresh with each pass.
    pub const RESET: u8 = 2;
    /// Each pass ends its codeword segment.
    pub const TERMALL: u8 = 4;
    /// Contexts do not look into the stripe below.
    pub const CAUSAL: u8 = 8;
    /// Segments end in a way that betrays errors; nothing changes for a decoder.
    pub const PREDICTABLE: u8 = 0x10;
    /// Four known bits follow each clean-up pass.
    pub const SYMBOLS: u8 = 0x20;
    /// The block is coded by the high-throughput coder.
    pub const HT: u8 = 0x40;
}

/// The most samples a block holds (T.800 Table A.18).
pub const SAMPLES: usize = 4096;

/// The longest side of a block.
pub const SIDE: u32 = 1024;

/// More bit-planes than this do not fit the output with its fractional bit.
const PLANES: u8 = 30;

/// Sub-band orientation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Band {
    /// Low-pass both ways.
    Ll,
    /// High-pass across, low-pass down.
    Hl,
    /// Low-pass across, high-pass down.
    Lh,
    /// High-pass both ways.
    Hh,
}

/// A run of coding passes that ends in a terminated codeword segment.
pub struct Segment<'a> {
    /// How many passes.
    pub passes: u8,
    /// Its bytes, in order; several where it goes on from layer to layer.
    pub pieces: &'a [&'a [u8]],
}

/// A code-block as its packets describe it.
pub struct Block<'a> {
    /// Width in samples, 1 to `SIDE`.
    pub w: u32,
    /// Height in samples, 1 to `SIDE`; at most `SAMPLES` in all.
    pub h: u32,
    /// Which sub-band it is of.
    pub band: Band,
    /// Bits of `style`.
    pub style: u8,
    /// Magnitude bit-planes coded: those of the sub-band less the missing ones.
    pub planes: u8,
    /// From the first pass on.
    pub segments: &'a [Segment<'a>],
}

/// Memory that a thread keeps from block to block.
pub struct Scratch {
    flags: Box<Flags>,
    columns: Box<Columns>,
    bytes: Vec<u8>,
}

impl Scratch {
    /// About 50 kB.
    pub fn new() -> Scratch {
        Scratch {
            flags: Box::new([0; FLAGS]),
            columns: Box::new([[0; 4]; COLUMNS]),
            bytes: Vec::new(),
        }
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Scratch::new()
    }
}

/// Decodes `block` into `out`, row by row without gaps, `w` times `h` values: signed, with one fractional bit. A
/// sample that is not 0 holds the bits decoded for it and half of the last bit-plane that was.
///
/// Passes that are missing leave what is there; damage gives wrong values, never a failure. `Error::Unsupported` for
/// more than 30 bit-planes, `Error::Corrupt` for a shape that no block has, for raw and coded passes in one segment,
/// or when `out` is too short.
pub fn decode(block: &Block, scratch: &mut Scratch, out: &mut [i32]) -> Result<()> {
    let (w, h) = (block.w as usize, block.h as usize);
    if !(1..=SIDE).contains(&block.w) || !(1..=SIDE).contains(&block.h) || w * h > SAMPLES {
        return Err(Error::Corrupt(format!("jpeg 2000 code-block of {w}x{h}")));
    }
    let Some(out) = out.get_mut(..w * h) else {
        return Err(Error::Corrupt(format!(
            "jpeg 2000 code-block of {w}x{h} into {} samples",
            out.len()
        )));
    };
    if block.segments.is_empty() || block.planes == 0 {
        out.fill(0);
        return Ok(());
    }
    if block.style & style::HT != 0 {
        return Err(Error::Unsupported("high-throughput jpeg 2000".into()));
    }
    if block.planes > PLANES {
        return Err(Error::Unsupported(format!(
            "jpeg 2000 with {} bit-planes",
            block.planes
        )));
    }
    let Scratch {
        flags,
        columns,
        bytes,
    } = scratch;
    let mut grid = Grid {
        w,
        h,
        zero: zero_table(block.band),
        flags,
        columns,
    };
    grid.clear();
    if block.style & style::CAUSAL != 0 {
        passes::<true>(block, &mut grid, bytes)?;
    } else {
        passes::<false>(block, &mut grid, bytes)?;
    }
    grid.write(out);
    Ok(())
}

/// Context numbers: 0 to 8 zero coding, 9 to 13 signs, then these.
const REFINE: u32 = 14;
const RUN: u32 = 17;
const UNIFORM: u32 = 18;

/// The first states (T.800 Table D.7).
const FIRST: [u8; 19] = {
    let mut rows = [0; 19];
    rows[0] = 4;
    rows[RUN as usize] = 3;
    rows[UNIFORM as usize] = 46;
    rows
};

/// Goes through the passes of all segments in order (T.800 D.3, D.4, D.6).
fn passes<const CAUSAL: bool>(block: &Block, grid: &mut Grid, bytes: &mut Vec<u8>) -> Result<()> {
    let mut contexts = Contexts::new(FIRST);
    let mut plane = u32::from(block.planes) - 1;
    // 0 significance, 1 refinement, 2 clean-up; the first bit-plane has only the last.
    let mut kind = 2;
    let raw_from = if block.style & style::BYPASS != 0 {
        plane.saturating_sub(3)
    } else {
        0
    };
    for segment in block.segments {
        let data = match segment.pieces {
            [piece] => piece,
            pieces => {
                bytes.clear();
                pieces.iter().for_each(|piece| bytes.extend_from_slice(piece));
                &bytes[..]
            }
        };
        let raw = kind < 2 && plane < raw_from;
        let mut coded = Mq::new(data);
        let mut bits = Raw::new(data);
        for _ in 0..segment.passes {
            if raw != (kind < 2 && plane < raw_from) {
                return Err(Error::Corrupt(
                    "jpeg 2000 segment with raw and coded passes".into(),
                ));
            }
            match (kind, raw) {
                (0, false) => grid.significance::<_, CAUSAL>(&mut coded, &mut contexts, plane),
                (0, true) => grid.significance::<_, CAUSAL>(&mut bits, &mut contexts, plane),
                (1, false) => grid.refinement(&mut coded, &mut contexts, plane),
                (1, true) => grid.refinement(&mut bits, &mut contexts, plane),
                _ => {
                    grid.cleanup::<CAUSAL>(&mut coded, &mut contexts, plane);
                    // The four bits 1010 (D.5); once they are wrong, so is all that follows.
                    if block.style & style::SYMBOLS != 0
                        && (0..4).fold(0, |bits, _| bits << 1 | coded.bit(&mut contexts, UNIFORM)) != 0b1010
                    {
                        return Ok(());
                    }
                }
            }
            if block.style & style::RESET != 0 {
                contexts = Contexts::new(FIRST);
            }
            kind += 1;
            if kind == 3 {
                kind = 0;
                match plane.checked_sub(1) {
                    Some(below) => plane = below,
                    None => return Ok(()),
                }
            }
        }
    }
    Ok(())
}

/// Where the decisions of a pass come from.
trait Source: Copy {
    /// Whether the bits are there as they are: then a sign is not predicted.
    const RAW: bool;
    fn bit(&mut self, contexts: &mut Contexts, which: u32) -> u32;
}

impl Source for Mq<'_> {
    const RAW: bool = false;
    #[inline(always)]
    fn bit(&mut self, contexts: &mut Contexts, which: u32) -> u32 {
        Mq::bit(self, contexts, which)
    }
}

/// The bits of a segment without arithmetic coding, the highest of each byte first; the byte after 0xFF has seven
/// (T.800 D.6). Past the end come 1 bits.
#[derive(Clone, Copy)]
struct Raw<'a> {
    data: &'a [u8],
    next: usize,
    byte: u32,
    left: u32,
}

impl<'a> Raw<'a> {
    fn new(data: &'a [u8]) -> Raw<'a> {
        Raw {
            data,
            next: 0,
            byte: 0,
            left: 0,
        }
    }
}

impl Source for Raw<'_> {
    const RAW: bool = true;
    #[inline(always)]
    fn bit(&mut self, _: &mut Contexts, _: u32) -> u32 {
        if self.left == 0 {
            self.left = if self.byte == 0xFF && self.next > 0 { 7 } else { 8 };
            self.byte = self.data.get(self.next).map_or(0xFF, |&byte| u32::from(byte));
            self.next += usize::from(self.next < self.data.len());
        }
        self.left = (self.left - 1) % 8;
        self.byte >> self.left & 1
    }
}

/// A word for each column of four samples, with a border all around: a stripe has `w + 2` words, and there is one
/// stripe more above and below. At most 3284 are used, by 819x5.
const FLAGS: usize = 4096;

/// The bits of a word. Sample 0 is the topmost; all that is "of sample k" is 3k higher than that of sample 0.
///
/// 0 to 17: who is significant among three columns by six rows, this column and its four rows in the middle; row by
/// row from the top and from left to right. So the nine from bit 3k on are sample k and its neighbours.
/// 18 (of sample 0): visited in this bit-plane. 19: refined before. 20: negative. 30: the sample above this column is
/// negative. 31: the one below is.
type Flags = [u32; FLAGS];

const SIGNIFICANT: u32 = 0o777777;
/// One bit for each sample, at 3k.
const EACH: u32 = 0o1111;
const SELF: u32 = 4;
const VISITED: u32 = 18;
const REFINED: u32 = 19;
const NEGATIVE: u32 = 20;
const ABOVE_NEGATIVE: u32 = 30;
const BELOW_NEGATIVE: u32 = 31;

/// Columns of four samples, stripe by stripe. At most 1638 are used, by 819x5.
const COLUMNS: usize = 2048;

/// Magnitudes with one fractional bit, the sign in bit 31.
type Columns = [[u32; 4]; COLUMNS];

/// A block while it is decoded.
struct Grid<'a> {
    w: usize,
    h: usize,
    zero: &'static [u8; 512],
    flags: &'a mut Flags,
    columns: &'a mut Columns,
}

impl Grid<'_> {
    fn stripes(&self) -> usize {
        self.h.div_ceil(4)
    }

    fn clear(&mut self) {
        let words = (self.w + 2) * (self.stripes() + 2);
        self.flags.iter_mut().take(words).for_each(|word| *word = 0);
        let columns = self.w * self.stripes();
        self.columns
            .iter_mut()
            .take(columns)
            .for_each(|column| *column = [0; 4]);
    }

    /// The samples of a stripe that lie in the block, at 3k.
    fn inside(&self, stripe: usize) -> u32 {
        if stripe * 4 + 4 <= self.h {
            EACH
        } else {
            EACH >> (3 * (4 - self.h % 4))
        }
    }

    /// Signed and in rows.
    fn write(&self, out: &mut [i32]) {
        for (stripe, rows) in out.chunks_mut(self.w * 4).enumerate() {
            let columns = self.columns.iter().skip(stripe * self.w).take(self.w);
            for (k, row) in rows.chunks_exact_mut(self.w).enumerate() {
                for (value, column) in row.iter_mut().zip(columns.clone()) {
                    let coded = column[k % 4];
                    let sign = (coded as i32) >> 31;
                    *value = ((coded & 0x7FFF_FFFF) as i32 ^ sign) - sign;
                }
            }
        }
    }

    /// The sign of sample k (at `k3`, three times k) of a word that has just become significant; returns it, and
    /// tells the neighbours (T.800 D.3.2). `flags` is the word `i` itself, not yet in its place.
    #[inline(always)]
    fn sign<S: Source, const CAUSAL: bool>(
        &mut self,
        source: &mut S,
        contexts: &mut Contexts,
        i: usize,
        flags: &mut u32,
        k3: u32,
    ) -> u32 {
        let stride = self.w + 2;
        let word = |i: usize| i % FLAGS;
        let negative = if S::RAW {
            source.bit(contexts, 0)
        } else {
            let above = if k3 == 0 {
                *flags >> ABOVE_NEGATIVE
            } else {
                *flags >> (NEGATIVE - 3 + k3)
            };
            let below = if k3 == 9 {
                *flags >> BELOW_NEGATIVE
            } else {
                *flags >> (NEGATIVE + 3 + k3)
            };
            let left = self.flags[word(i - 1)] >> (NEGATIVE + k3);
            let right = self.flags[word(i + 1)] >> (NEGATIVE + k3);
            let at = *flags >> k3 & 0xAA | above & 1 | (left & 1) << 2 | (right & 1) << 4 | (below & 1) << 6;
            let sign = u32::from(SIGNS[at as usize % 256]);
            source.bit(contexts, sign) ^ sign >> 7
        };
        *flags |= 1 << (SELF + k3) | negative << (NEGATIVE + k3);
        self.flags[word(i - 1)] |= 1 << (SELF + 1 + k3);
        self.flags[word(i + 1)] |= 1 << (SELF - 1 + k3);
        if k3 == 0 && !CAUSAL {
            self.flags[word(i - stride)] |= 1 << 16 | negative << BELOW_NEGATIVE;
            self.flags[word(i - stride - 1)] |= 1 << 17;
            self.flags[word(i - stride + 1)] |= 1 << 15;
        }
        if k3 == 9 {
            self.flags[word(i + stride)] |= 1 << 1 | negative << ABOVE_NEGATIVE;
            self.flags[word(i + stride - 1)] |= 1 << 2;
            self.flags[word(i + stride + 1)] |= 1;
        }
        negative
    }

    /// D.3.1: the samples that are not significant but have a neighbour that is.
    #[inline(never)]
    fn significance<S: Source, const CAUSAL: bool>(
        &mut self,
        kept: &mut S,
        contexts: &mut Contexts,
        plane: u32,
    ) {
        let mut source = *kept;
        let fresh = 3 << plane;
        for stripe in 0..self.stripes() {
            let inside = self.inside(stripe);
            let from = (stripe + 1) * (self.w + 2) + 1;
            for x in 0..self.w {
                let i = from + x;
                let mut flags = self.flags[i % FLAGS];
                if flags & SIGNIFICANT == 0 {
                    continue;
                }
                let sides = flags | flags >> 2;
                let rows = sides | flags >> 1;
                let open = !flags >> SELF & inside;
                let mut todo = (rows | sides >> 3 | rows >> 6) & open;
                if todo == 0 {
                    continue;
                }
                while todo != 0 {
                    let k3 = todo.trailing_zeros();
                    let zero = self.zero[(flags >> k3) as usize % 512];
                    flags |= 1 << (VISITED + k3);
                    if source.bit(contexts, u32::from(zero)) != 0 {
                        let negative = self.sign::<S, CAUSAL>(&mut source, contexts, i, &mut flags, k3);
                        self.columns[(stripe * self.w + x) % COLUMNS][k3 as usize / 3 % 4] =
                            fresh | negative << 31;
                        todo |= (8 << k3) & open;
                    }
                    todo &= todo - 1;
                }
                self.flags[i % FLAGS] = flags;
            }
        }
        *kept = source;
    }

    /// D.3.3: one bit more of those that were significant before this bit-plane.
    #[inline(never)]
    fn refinement<S: Source>(&mut self, kept: &mut S, contexts: &mut Contexts, plane: u32) {
        let mut source = *kept;
        let half = 1 << plane;
        for stripe in 0..self.stripes() {
            let from = (stripe + 1) * (self.w + 2) + 1;
            for x in 0..self.w {
                let i = from + x;
                let flags = self.flags[i % FLAGS];
                let mut todo = flags >> SELF & !(flags >> VISITED) & EACH;
                if todo == 0 {
                    continue;
                }
                self.flags[i % FLAGS] |= todo << REFINED;
                let column = &mut self.columns[(stripe * self.w + x) % COLUMNS];
                while todo != 0 {
                    let k3 = todo.trailing_zeros();
                    let which = if flags >> (REFINED + k3) & 1 != 0 {
                        REFINE + 2
                    } else {
                        REFINE + u32::from(flags >> k3 & 0o757 != 0)
                    };
                    let bit = source.bit(contexts, which);
                    let value = &mut column[k3 as usize / 3 % 4];
                    *value = value.wrapping_sub(half) + (bit << (plane + 1));
                    todo &= todo - 1;
                }
            }
        }
        *kept = source;
    }

    /// D.3.4: all samples that no pass of this bit-plane has seen, whole columns of them at once where none is near
    /// anything significant. Ends the bit-plane.
    #[inline(never)]
    fn cleanup<const CAUSAL: bool>(&mut self, kept: &mut Mq, contexts: &mut Contexts, plane: u32) {
        let mut source = *kept;
        let fresh = 3 << plane;
        for stripe in 0..self.stripes() {
            let inside = self.inside(stripe);
            let from = (stripe + 1) * (self.w + 2) + 1;
            for x in 0..self.w {
                let i = from + x;
                let at = (stripe * self.w + x) % COLUMNS;
                let mut flags = self.flags[i % FLAGS];
                let mut todo = !(flags >> SELF | flags >> VISITED) & inside;
                if flags & (SIGNIFICANT | EACH << VISITED) == 0 && inside == EACH {
                    if source.bit(contexts, RUN) == 0 {
                        continue;
                    }
                    let upper = source.bit(contexts, UNIFORM);
                    let k = upper << 1 | source.bit(contexts, UNIFORM);
                    let negative = self.sign::<_, CAUSAL>(&mut source, contexts, i, &mut flags, 3 * k);
                    self.columns[at][k as usize % 4] = fresh | negative << 31;
                    todo = EACH << (3 * k + 3) & EACH;
                }
                while todo != 0 {
                    let k3 = todo.trailing_zeros();
                    let zero = self.zero[(flags >> k3) as usize % 512];
                    if source.bit(contexts, u32::from(zero)) != 0 {
                        let negative = self.sign::<_, CAUSAL>(&mut source, contexts, i, &mut flags, k3);
                        self.columns[at][k3 as usize / 3 % 4] = fresh | negative << 31;
                    }
                    todo &= todo - 1;
                }
                self.flags[i % FLAGS] = flags & !(EACH << VISITED);
            }
        }
        *kept = source;
    }
}

/// The zero coding contexts of a sub-band.
fn zero_table(band: Band) -> &'static [u8; 512] {
    static TABLES: [[u8; 512]; 3] = [
        zero_contexts(Band::Ll),
        zero_contexts(Band::Hl),
        zero_contexts(Band::Hh),
    ];
    match band {
        Band::Ll | Band::Lh => &TABLES[0],
        Band::Hl => &TABLES[1],
        Band::Hh => &TABLES[2],
    }
}

/// T.800 Table D.1, by the nine bits of a neighbourhood; the one in the middle does not count.
const fn zero_contexts(band: Band) -> [u8; 512] {
    let mut table = [0; 512];
    let mut at = 0;
    while at < 512 {
        let across = (at >> 3 & 1) + (at >> 5 & 1);
        let down = (at >> 1 & 1) + (at >> 7 & 1);
        let corners = (at & 1) + (at >> 2 & 1) + (at >> 6 & 1) + (at >> 8 & 1);
        let (h, v) = if matches!(band, Band::Hl) {
            (down, across)
        } else {
            (across, down)
        };
        table[at] = if matches!(band, Band::Hh) {
            match (corners, h + v) {
                (0, 0) => 0,
                (0, 1) => 1,
                (0, _) => 2,
                (1, 0) => 3,
                (1, 1) => 4,
                (1, _) => 5,
                (2, 0) => 6,
                (2, _) => 7,
                _ => 8,
            }
        } else {
            match (h, v, corners) {
                (2, _, _) => 8,
                (1, 0, 0) => 5,
                (1, 0, _) => 6,
                (1, _, _) => 7,
                (_, 2, _) => 4,
                (_, 1, _) => 3,
                (_, _, 0) => 0,
                (_, _, 1) => 1,
                _ => 2,
            }
        };
        at += 1;
    }
    table
}

/// T.800 Tables D.2 and D.3: the context of a sign, and in bit 7 whether the decision is to be turned over. By eight
/// bits, two for each neighbour from above, left, right and below: negative, significant.
static SIGNS: [u8; 256] = signs();

const fn signs() -> [u8; 256] {
    const fn share(at: usize, from: u32) -> i32 {
        match at >> from & 3 {
            2 => 1,
            3 => -1,
            _ => 0,
        }
    }
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let v = share(at, 0) + share(at, 6);
        let h = share(at, 2) + share(at, 4);
        let (h, v, turn) = if h < 0 || h == 0 && v < 0 {
            (-h, -v, 0x80)
        } else {
            (h, v, 0)
        };
        table[at] = turn
            | match (h.signum(), v.signum()) {
                (1, 1) => 13,
                (1, 0) => 12,
                (1, _) => 11,
                (_, 1) => 10,
                _ => 9,
            };
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const W: u32 = 9;
    const H: u32 = 7;

    /// The picture that the encoder (OpenJPEG 2.5.0) was given, without its level shift.
    fn picture() -> Vec<i32> {
        let at = |x: i32, y: i32| ((x * x * 7 + y * y * 13 + x * y * 5) / 3 + (x ^ y) * 9) % 256 - 128;
        (0..7).flat_map(|y| (0..9).map(move |x| at(x, y))).collect()
    }

    /// Passes and bytes of each segment, as in `22:122b58`.
    fn segments(text: &str) -> Vec<(u8, Vec<u8>)> {
        text.split_whitespace()
            .map(|segment| {
                let (passes, hex) = segment.split_once(':').unwrap_or_default();
                let bytes =
                    (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap_or(0));
                (passes.parse().unwrap_or(0), bytes.collect())
            })
            .collect()
    }

    /// Decodes with each segment cut into pieces of at most `piece` bytes.
    fn decoded(band: Band, style: u8, planes: u8, segments: &[(u8, Vec<u8>)], piece: usize) -> Vec<i32> {
        let pieces: Vec<Vec<&[u8]>> = segments
            .iter()
            .map(|(_, bytes)| bytes.chunks(piece).collect())
            .collect();
        let segments: Vec<Segment> = segments
            .iter()
            .zip(&pieces)
            .map(|(&(passes, _), pieces)| Segment { passes, pieces })
            .collect();
        let mut out = vec![i32::MIN; (W * H) as usize];
        let block = Block {
            w: W,
            h: H,
            band,
            style,
            planes,
            segments: &segments,
        };
        assert!(decode(&block, &mut Scratch::new(), &mut out).is_ok());
        out
    }

    const PLAIN: &str = "22:122b584cd6577b9a5903e25d1512fc0b7b854acaab1008cf186a3f7603468f066d44adf7e0ef954a0c0866e51fd1\
        a6acdefc391c4ab2df50968b0ead25e2c741c57f";

    #[test]
    fn decodes_every_style() {
        for (style, text) in [
            (0, PLAIN),
            (
                style::BYPASS,
                "10:122b584cd6577b9a5903e25d1512fc0b7b854acaab1008cf186a3f7603468f1f 2:40d8c0d26d51bd13 1:ff7f \
                2:fb3af3a8615176272a 1:ff7f 2:5222f2900ae03352 1:ff7f 2:68b3de68bddca776 1:ff7f",
            ),
            (
                style::RESET,
                "22:122db52065c2d3d9bd7c3483c35a490413093a0d4d382f07266cfa3ade594c2ccdbf2ab764d0fad0c08fea4bf7fa5166\
                782ca1344532dcfd49ea86411e0a63a0e2bf",
            ),
            (
                style::CAUSAL,
                "22:122b584cd6577b9a5903e25d1512fc0b6f854acaab1008cc186a3f7603468f066d44adf7e0ef954a0c0866e51fd1a6ac\
                defc391c4ab2df50968b0ead25e2c741c57f",
            ),
            (
                style::SYMBOLS,
                "22:122d32cdcd6577b9a5903e25d15125d641ec220acaab1008f703853bf7603468f0921d44adf7e0ef954a24fbfd6e51fd\
                1a6acdf5f7481c4ab2df5096db7d5ad25e2c741c573f",
            ),
            (
                style::BYPASS | style::TERMALL | style::CAUSAL,
                "1:122f 1:33679ac7 1:7f 1:2207b2c81f12e8a88f 1:cef38d527f 1:1de0ac403f 1:3f 1:61fc9f 1:698dd80d1a3c7f \
                1:ff7f 1:41 1:3630349b546f44d5 1:ff7f 1:fb 1:3af3a8615176272a 1:ff7f 1: 1:5222f2900ae03352 1:ff7f 1: \
                1:68b3de68bddca776 1:ff7f",
            ),
            (
                0x3F,
                "1:122d19 1:c082865c 1:00 1:1a0f57ebe1a41e1a24 1:cc77042191 1:199aa69c10 1:35 1:3f4861 \
                1:091e75bcb297ef 1:b6 1:41 1:3630349b546f44d5 1:b6 1:fb 1:3af3a8615176272a 1:b6 1: 1:5222f2900ae03352 \
                1:b6 1: 1:68b3de68bddca776 1:b6",
            ),
        ] {
            for piece in [1, 5, 1000] {
                let out = decoded(Band::Ll, style, 8, &segments(text), piece);
                let whole: Vec<i32> = out.iter().map(|value| value / 2).collect();
                assert_eq!(whole, picture(), "style {style:#x} in pieces of {piece}");
                assert!(
                    out.iter().all(|value| *value == 0 || value % 2 != 0),
                    "half of the last plane is added"
                );
            }
        }
    }

    /// The sub-bands of 18x14 samples of the same formula; sums of what undoes to the picture.
    #[test]
    fn contexts_follow_the_band() {
        let sum = |out: &[i32]| {
            out.iter().fold(0_u32, |sum, value| {
                sum.wrapping_mul(31).wrapping_add_signed(*value)
            })
        };
        for (band, planes, expected, text) in [
            (
                Band::Hl,
                8,
                3_066_072_175,
                "22:26b12e834515753a5f56ebae4a7c1761d87813a8185e0724a45347504759be158e7899e2f43ce4ee7b0b746b983e96bf\
                ec95ecb1770caace4fe72ad0ff82c3f4cb65f2",
            ),
            (
                Band::Lh,
                8,
                2_861_687_169,
                "22:00c12974bb3cecb1506825425ca234462a478090c155f8f87ce4fe91dd4ec8841353f265de96ee657e2bdac9c47579da\
                26fa10f015279aab33614ebc09093241a0a2fa5c",
            ),
            (
                Band::Hh,
                9,
                3_909_404_589,
                "25:3e632edb4191e540e9982eb20f3a909a20bf89413e9c02b57b139232d77b2b4f04a412abdd69f29040922d2346cdb347\
                5c9bc3de3362e61e5a99d72049b60ab960f52283ee5100",
            ),
        ] {
            assert_eq!(
                sum(&decoded(band, 0, planes, &segments(text), 1000)),
                expected,
                "{band:?}"
            );
        }
    }

    /// Whatever the number of passes, a sample is off by no more than the bit-planes that are missing.
    #[test]
    fn fewer_passes_give_a_coarser_picture() {
        for passes in 1..=22_u8 {
            let mut segments = segments(PLAIN);
            segments[0].0 = passes;
            let missing = 7 - (u32::from(passes) - 1) / 3;
            for (value, exact) in decoded(Band::Ll, 0, 8, &segments, 1000)
                .into_iter()
                .zip(picture())
            {
                assert!(
                    (value - 2 * exact).unsigned_abs() < 4 << missing,
                    "{value} for {exact} after {passes}"
                );
            }
        }
    }

    #[test]
    fn refuses_what_no_block_is() {
        let bytes: &[u8] = &[1, 2, 3];
        let segments = [Segment {
            passes: 12,
            pieces: &[bytes],
        }];
        let block = |w, h, style, planes| Block {
            w,
            h,
            band: Band::Ll,
            style,
            planes,
            segments: &segments,
        };
        let mut scratch = Scratch::new();
        let mut out = [0; SAMPLES];
        for (w, h) in [(0, 4), (4, 0), (1025, 1), (1, 1025), (64, 65)] {
            assert!(
                matches!(
                    decode(&block(w, h, 0, 8), &mut scratch, &mut out),
                    Err(Error::Corrupt(_))
                ),
                "{w}x{h}"
            );
        }
        assert!(matches!(
            decode(&block(8, 8, 0, 8), &mut scratch, &mut [0; 63]),
            Err(Error::Corrupt(_))
        ));
        assert!(matches!(
            decode(&block(8, 8, 0, 31), &mut scratch, &mut out),
            Err(Error::Unsupported(_))
        ));
        assert!(matches!(
            decode(&block(8, 8, style::BYPASS, 8), &mut scratch, &mut out),
            Err(Error::Corrupt(_))
        ));
        assert!(decode(&block(64, 64, 0, 30), &mut scratch, &mut out).is_ok());
    }

    /// Random bytes in random blocks: no panic, and nothing beyond the bit-planes. The memory is used again and again.
    #[test]
    fn takes_any_bytes() {
        let mut seed = 7_u32;
        let mut random = |below: u32| {
            seed ^= seed << 13;
            seed ^= seed >> 17;
            seed ^= seed << 5;
            (seed >> 8) % below
        };
        let mut scratch = Scratch::new();
        let mut out = [0; SAMPLES];
        for _ in 0..1500 {
            let widest = if random(4) == 0 { SIDE } else { 70 };
            let w = 1 + random(widest);
            let h = 1 + random((4096 / w).min(SIDE));
            let style = if random(2) == 0 {
                0
            } else {
                random(0x80).to_le_bytes()[0]
            };
            let planes = random(33).to_le_bytes()[0];
            let band = [Band::Ll, Band::Hl, Band::Lh, Band::Hh][random(4) as usize];
            let bytes: Vec<Vec<u8>> = (0..random(8))
                .map(|_| {
                    (0..random(900))
                        .map(|_| {
                            if random(9) == 0 {
                                0xFF
                            } else {
                                random(256).to_le_bytes()[0]
                            }
                        })
                        .collect()
                })
                .collect();
            let pieces: Vec<Vec<&[u8]>> = bytes.iter().map(|bytes| bytes.chunks(300).collect()).collect();
            let segments: Vec<Segment> = pieces
                .iter()
                .map(|pieces| Segment {
                    passes: random(40).to_le_bytes()[0],
                    pieces,
                })
                .collect();
            let block = Block {
                w,
                h,
                band,
                style,
                planes,
                segments: &segments,
            };
            if decode(&block, &mut scratch, &mut out).is_ok() {
                let most = (2_u64 << planes).max(1);
                let samples = &out[..(w * h) as usize];
                assert!(
                    samples.iter().all(|value| u64::from(value.unsigned_abs()) < most),
                    "{style:#x} {planes}"
                );
            }
        }
    }
}
