//! The coding passes of a code-block, bit-plane by bit-plane (T.800 Annex D).
//!
//! Knows the contexts of a sample by its neighbours, not what they mean to the arithmetic decoder, nor where the bytes
//! come from.

#![expect(
    clippy::indexing_slicing,
    reason = "indices are remainders by the length of the table, or computed when compiling"
)]

use crate::codec::jp2::block::Block;
use crate::codec::jp2::block::style;
use crate::codec::jp2::contexts::FIRST;
use crate::codec::jp2::contexts::REFINE;
use crate::codec::jp2::contexts::RUN;
use crate::codec::jp2::contexts::SIGNS;
use crate::codec::jp2::contexts::UNIFORM;
use crate::codec::jp2::contexts::zero_table;
use crate::codec::jp2::mq::Contexts;
use crate::codec::jp2::mq::Mq;
use crate::error::Error;
use crate::error::Result;

/// Memory that is kept from block to block.
pub(super) struct Scratch {
    flags: Flags,
    columns: Columns,
}

impl Scratch {
    /// 80 kB.
    pub(super) fn new() -> Scratch {
        Scratch {
            flags: [0; FLAGS],
            columns: [[0; 4]; FLAGS],
        }
    }
}

/// Decodes a block of at most 4096 samples, 1024 by 1024, and 30 bit-planes into `out`, as `block::decode` describes.
/// `bytes` is put to use where a segment lies in pieces.
pub(super) fn decode(
    block: &Block,
    scratch: &mut Scratch,
    bytes: &mut Vec<u8>,
    out: &mut [i32],
) -> Result<()> {
    let (w, h) = (block.w as usize, block.h as usize);
    let Scratch { flags, columns } = scratch;
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

/// Magnitudes with one fractional bit, the sign in bit 31: of the column of the flags in the same place.
type Columns = [[u32; 4]; FLAGS];

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
        self.columns
            .iter_mut()
            .take(words)
            .for_each(|column| *column = [0; 4]);
    }

    /// Signed and in rows.
    fn write(&self, out: &mut [i32]) {
        for (stripe, rows) in out.chunks_mut(self.w * 4).enumerate() {
            let columns = self
                .columns
                .iter()
                .skip((stripe + 1) * (self.w + 2) + 1)
                .take(self.w);
            for (k, row) in rows.chunks_exact_mut(self.w).enumerate() {
                for (value, column) in row.iter_mut().zip(columns.clone()) {
                    let coded = column[k % 4];
                    let sign = (coded as i32) >> 31;
                    *value = ((coded & 0x7FFF_FFFF) as i32 ^ sign) - sign;
                }
            }
        }
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
        let stripes = self.stripes();
        let Grid {
            w,
            h,
            zero,
            flags,
            columns,
        } = self;
        let (w, stride) = (*w, *w + 2);
        let fresh = 3 << plane;
        for stripe in 0..stripes {
            let inside = inside(*h, stripe);
            let from = (stripe + 1) * stride + 1;
            for i in from..from + w {
                let mut word = flags[i % FLAGS];
                if word & SIGNIFICANT == 0 {
                    continue;
                }
                let sides = word | word >> 2;
                let rows = sides | word >> 1;
                let mut todo = (rows | sides >> 3 | rows >> 6) & !(word >> SELF) & inside;
                if todo == 0 {
                    continue;
                }
                while todo != 0 {
                    let k3 = todo.trailing_zeros();
                    let which = zero[(word >> k3) as usize % 512];
                    word |= 1 << (VISITED + k3);
                    if source.bit(contexts, u32::from(which)) != 0 {
                        let negative =
                            sign::<S, CAUSAL>(&mut source, contexts, flags, stride, i, &mut word, k3);
                        columns[i % FLAGS][k3 as usize / 3 % 4] = fresh | negative << 31;
                        todo |= (8 << k3) & !(word >> SELF) & inside;
                    }
                    todo &= todo - 1;
                }
                flags[i % FLAGS] = word;
            }
        }
        *kept = source;
    }

    /// D.3.3: one bit more of those that were significant before this bit-plane.
    #[inline(never)]
    fn refinement<S: Source>(&mut self, kept: &mut S, contexts: &mut Contexts, plane: u32) {
        let mut source = *kept;
        let stripes = self.stripes();
        let Grid {
            w, flags, columns, ..
        } = self;
        let (w, stride) = (*w, *w + 2);
        let half = 1 << plane;
        for stripe in 0..stripes {
            let from = (stripe + 1) * stride + 1;
            for i in from..from + w {
                let word = flags[i % FLAGS];
                let mut todo = word >> SELF & !(word >> VISITED) & EACH;
                if todo == 0 {
                    continue;
                }
                flags[i % FLAGS] |= todo << REFINED;
                let column = &mut columns[i % FLAGS];
                while todo != 0 {
                    let k3 = todo.trailing_zeros();
                    let which = if word >> (REFINED + k3) & 1 != 0 {
                        REFINE + 2
                    } else {
                        REFINE + u32::from(word >> k3 & 0o757 != 0)
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
        let stripes = self.stripes();
        let Grid {
            w,
            h,
            zero,
            flags,
            columns,
        } = self;
        let (w, stride) = (*w, *w + 2);
        let fresh = 3 << plane;
        for stripe in 0..stripes {
            let inside = inside(*h, stripe);
            let from = (stripe + 1) * stride + 1;
            for i in from..from + w {
                let mut word = flags[i % FLAGS];
                let mut todo = !(word >> SELF | word >> VISITED) & inside;
                if word & (SIGNIFICANT | EACH << VISITED) == 0 && inside == EACH {
                    if source.bit(contexts, RUN) == 0 {
                        continue;
                    }
                    let upper = source.bit(contexts, UNIFORM);
                    let k = upper << 1 | source.bit(contexts, UNIFORM);
                    let negative =
                        sign::<_, CAUSAL>(&mut source, contexts, flags, stride, i, &mut word, 3 * k);
                    columns[i % FLAGS][k as usize % 4] = fresh | negative << 31;
                    todo = EACH << (3 * k + 3) & EACH;
                }
                while todo != 0 {
                    let k3 = todo.trailing_zeros();
                    let which = zero[(word >> k3) as usize % 512];
                    if source.bit(contexts, u32::from(which)) != 0 {
                        let negative =
                            sign::<_, CAUSAL>(&mut source, contexts, flags, stride, i, &mut word, k3);
                        columns[i % FLAGS][k3 as usize / 3 % 4] = fresh | negative << 31;
                    }
                    todo &= todo - 1;
                }
                flags[i % FLAGS] = word & !(EACH << VISITED);
            }
        }
        *kept = source;
    }
}

/// The samples of a stripe that lie in a block of that height, at 3k.
fn inside(h: usize, stripe: usize) -> u32 {
    if stripe * 4 + 4 <= h {
        EACH
    } else {
        EACH >> (3 * (4 - h % 4))
    }
}

/// The sign of sample k (at `k3`, three times k) of a column that has just become significant; returns it, and tells
/// the neighbours (T.800 D.3.2). `word` is that of the column, at `i` but not yet in its place.
#[inline(always)]
fn sign<S: Source, const CAUSAL: bool>(
    source: &mut S,
    contexts: &mut Contexts,
    flags: &mut Flags,
    stride: usize,
    i: usize,
    word: &mut u32,
    k3: u32,
) -> u32 {
    let at = |i: usize| i % FLAGS;
    let negative = if S::RAW {
        source.bit(contexts, 0)
    } else {
        let above = *word
            >> if k3 == 0 {
                ABOVE_NEGATIVE
            } else {
                NEGATIVE - 3 + k3
            };
        let below = *word
            >> if k3 == 9 {
                BELOW_NEGATIVE
            } else {
                NEGATIVE + 3 + k3
            };
        let left = flags[at(i - 1)] >> (NEGATIVE + k3);
        let right = flags[at(i + 1)] >> (NEGATIVE + k3);
        let near = *word >> k3 & 0xAA | above & 1 | (left & 1) << 2 | (right & 1) << 4 | (below & 1) << 6;
        let sign = u32::from(SIGNS[near as usize % 256]);
        source.bit(contexts, sign) ^ sign >> 7
    };
    *word |= 1 << (SELF + k3) | negative << (NEGATIVE + k3);
    flags[at(i - 1)] |= 1 << (SELF + 1 + k3);
    flags[at(i + 1)] |= 1 << (SELF - 1 + k3);
    if k3 == 0 && !CAUSAL {
        flags[at(i - stride)] |= 1 << 16 | negative << BELOW_NEGATIVE;
        flags[at(i - stride - 1)] |= 1 << 17;
        flags[at(i - stride + 1)] |= 1 << 15;
    }
    if k3 == 9 {
        flags[at(i + stride)] |= 1 << 1 | negative << ABOVE_NEGATIVE;
        flags[at(i + stride - 1)] |= 1 << 2;
        flags[at(i + stride + 1)] |= 1;
    }
    negative
}
