//! The coding passes of a code-block, bit-plane by bit-plane (T.800 Annex D).

#![expect(
    clippy::indexing_slicing,
    reason = "indices are remainders by the length of the table, or computed when compiling"
)]

use crate::codec::jp2::block::CodeBlock;
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

/// Memory that is reused from block to block.
pub(super) struct EbcotScratch {
    groups: [ColumnGroup; GROUPS],
    near: [u8; PLACES],
    minus: [u8; PLACES],
    values: [u32; PLACES],
}

impl EbcotScratch {
    /// About 120 kB.
    pub(super) fn new() -> EbcotScratch {
        EbcotScratch {
            groups: [ColumnGroup::default(); GROUPS],
            near: [0; PLACES],
            minus: [0; PLACES],
            values: [0; PLACES],
        }
    }
}

/// Decodes a block of at most 4096 samples, 1024 by 1024, and 30 bit-planes into `out`, as specified by
/// `block::decode`. `bytes` is a scratch buffer for joining the pieces of a segment.
pub(super) fn decode(
    block: &CodeBlock,
    scratch: &mut EbcotScratch,
    bytes: &mut Vec<u8>,
    out: &mut [i32],
) -> Result<()> {
    let (w, h) = (block.w as usize, block.h as usize);
    let mut grid = BlockState {
        w,
        h,
        across: w.div_ceil(16),
        zero: zero_table(block.band),
        groups: &mut scratch.groups,
        near: &mut scratch.near,
        minus: &mut scratch.minus,
        values: &mut scratch.values,
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

/// Decodes the passes of all segments in order (T.800 D.3, D.4, D.6).
fn passes<const CAUSAL: bool>(block: &CodeBlock, grid: &mut BlockState, bytes: &mut Vec<u8>) -> Result<()> {
    let mut contexts = FIRST;
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
            [piece] => *piece,
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
                (1, false) => grid.refinement::<_, CAUSAL>(&mut coded, &mut contexts, plane),
                (1, true) => grid.refinement::<_, CAUSAL>(&mut bits, &mut contexts, plane),
                _ => {
                    grid.cleanup::<CAUSAL>(&mut coded, &mut contexts, plane);
                    // The four bits 1010 (D.5); if they are wrong, so is everything that follows.
                    if block.style & style::SYMBOLS != 0
                        && (0..4).fold(0, |bits, _| bits << 1 | coded.bit(&mut contexts, UNIFORM)) != 0b1010
                    {
                        return Ok(());
                    }
                }
            }
            if block.style & style::RESET != 0 {
                contexts = FIRST;
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

/// A source of decisions for a pass.
trait DecisionSource: Copy {
    /// Whether bits are raw: signs are then not predicted.
    const RAW: bool;
    fn bit(&mut self, contexts: &mut Contexts, which: u32) -> u32;
    #[inline(always)]
    fn fair(&mut self, contexts: &mut Contexts, which: u32) -> u32 {
        self.bit(contexts, which)
    }
}

impl DecisionSource for Mq<'_> {
    const RAW: bool = false;
    #[inline(always)]
    fn bit(&mut self, contexts: &mut Contexts, which: u32) -> u32 {
        Mq::bit(self, contexts, which)
    }
    #[inline(always)]
    fn fair(&mut self, contexts: &mut Contexts, which: u32) -> u32 {
        Mq::fair(self, contexts, which)
    }
}

/// The bits of a raw segment, most significant first; the byte after 0xFF has seven (T.800 D.6). Past the end are 1
/// bits.
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

impl DecisionSource for Raw<'_> {
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

/// Sixteen columns of a stripe, four samples high. In each word bit 4j + k is sample k, from the top, of column j.
#[derive(Clone, Copy, Default)]
struct ColumnGroup {
    significant: u64,
    /// Visited by the significance pass of this bit-plane.
    seen: u64,
    /// Refined at least once.
    refined: u64,
}

/// Groups with a border: one additional group per stripe, and one stripe above and below. At most 517 are used, by
/// 4x1024.
const GROUPS: usize = 1024;

/// The first sample of each column.
const TOPS: u64 = 0x1111_1111_1111_1111;
/// The last sample of each column.
const ENDS: u64 = TOPS << 3;

/// Sample slots, in scan order, four for every column whether the block reaches that far or not; with a border like
/// the groups. At most 12312 are used, by 1024x4.
const PLACES: usize = 1 << 14;

/// The state of a block during decoding.
struct BlockState<'a> {
    w: usize,
    h: usize,
    /// Groups per stripe.
    across: usize,
    zero: &'static [u8; 256],
    groups: &'a mut [ColumnGroup; GROUPS],
    near: &'a mut [u8; PLACES],
    minus: &'a mut [u8; PLACES],
    values: &'a mut [u32; PLACES],
}

/// A group as visited by a pass.
struct Visit {
    /// Index in `groups`.
    number: usize,
    /// The slot of its first sample.
    first: usize,
    /// The samples inside the block.
    inside: u64,
}

impl BlockState<'_> {
    fn clear(&mut self) {
        let stripes = self.stripes();
        let clear = (stripes + 2) * (self.across + 1) + 1;
        self.groups
            .iter_mut()
            .take(clear)
            .for_each(|group| *group = ColumnGroup::default());
        let clear = (stripes + 2) * self.stride();
        self.near.iter_mut().take(clear).for_each(|near| *near = 0);
        self.minus.iter_mut().take(clear).for_each(|minus| *minus = 0);
        self.values.iter_mut().take(clear).for_each(|value| *value = 0);
    }

    /// Writes signed values in rows.
    fn write(&self, out: &mut [i32]) {
        let signed = |coded: u32| {
            let sign = (coded as i32) >> 31;
            ((coded & 0x7FFF_FFFF) as i32 ^ sign) - sign
        };
        let stripes = self.values.chunks_exact(self.stride()).skip(1);
        for (rows, values) in out.chunks_mut(self.w * 4).zip(stripes) {
            let columns = &values.as_chunks::<4>().0[1..=self.w];
            let (upper, lower) = rows.split_at_mut(rows.len().min(self.w * 2));
            let (a, b) = upper.split_at_mut(self.w.min(upper.len()));
            let (c, d) = lower.split_at_mut(self.w.min(lower.len()));
            // all rows of a full stripe in one loop, which is vectorised
            if d.len() == self.w {
                let rows = a.iter_mut().zip(b).zip(c.iter_mut().zip(d));
                for (((a, b), (c, d)), column) in rows.zip(columns) {
                    (*a, *b) = (signed(column[0]), signed(column[1]));
                    (*c, *d) = (signed(column[2]), signed(column[3]));
                }
                continue;
            }
            for (k, row) in [a, b, c].into_iter().enumerate() {
                for (value, column) in row.iter_mut().zip(columns) {
                    *value = signed(column[k]);
                }
            }
        }
    }

    fn stripes(&self) -> usize {
        self.h.div_ceil(4)
    }

    /// The distance of a slot from the same one in the next stripe.
    fn stride(&self) -> usize {
        (self.w + 2) * 4
    }

    #[inline(always)]
    fn visit(&self, stripe: usize, group: usize) -> Visit {
        let (rows, columns) = (self.h - stripe * 4, self.w - group * 16);
        let rows = if rows >= 4 {
            u64::MAX
        } else {
            TOPS * ((1 << rows) - 1)
        };
        let columns = if columns >= 16 {
            u64::MAX
        } else {
            (1 << (columns * 4)) - 1
        };
        Visit {
            number: (stripe + 1) * (self.across + 1) + group + 1,
            first: (stripe + 1) * self.stride() + (group * 16 + 1) * 4,
            inside: rows & columns,
        }
    }

    /// The samples of a group with a significant neighbour.
    fn around<const CAUSAL: bool>(&self, at: usize) -> u64 {
        let word = |at: usize| self.groups[at % GROUPS].significant;
        let stride = self.across + 1;
        let column = |at: usize| {
            let own = word(at);
            let below = if CAUSAL { 0 } else { word(at + stride) & TOPS };
            let vertical = own << 1 & !TOPS | own >> 1 & !ENDS | word(at - stride) >> 3 & TOPS | below << 3;
            (vertical, vertical | own)
        };
        let (vertical, all) = column(at);
        vertical | all << 4 | all >> 4 | column(at - 1).1 >> 60 | column(at + 1).1 << 60
    }

    /// Makes the sample at a slot significant: updates its neighbours and decodes its sign (D.3.2).
    #[inline(always)]
    fn appear<S: DecisionSource, const CAUSAL: bool>(
        &mut self,
        source: &mut S,
        contexts: &mut Contexts,
        at: usize,
        plane: u32,
    ) {
        let (k, stride) = (at % 4, self.stride());
        let above = if k == 0 { at - stride + 3 } else { at - 1 };
        let below = if k == 3 { at + stride - 3 } else { at + 1 };
        let near = &mut self.near;
        let own = near[at % PLACES];
        if !CAUSAL || k != 0 {
            near[(above - 4) % PLACES] |= 1;
            near[above % PLACES] |= 0x10;
            near[(above + 4) % PLACES] |= 2;
        }
        near[(at - 4) % PLACES] |= 0x20;
        near[(at + 4) % PLACES] |= 0x40;
        near[(below - 4) % PLACES] |= 4;
        near[below % PLACES] |= 0x80;
        near[(below + 4) % PLACES] |= 8;
        let negative = if S::RAW {
            source.bit(contexts, 0)
        } else {
            let minus = |at: usize| self.minus[at % PLACES];
            let minus = minus(below) | minus(at + 4) << 1 | minus(at - 4) << 2 | minus(above) << 3;
            let sign = u32::from(SIGNS[usize::from(own >> 4 | minus << 4)]);
            source.fair(contexts, sign) ^ sign >> 7
        };
        self.minus[at % PLACES] = u8::from(negative != 0);
        self.values[at % PLACES] = 3 << plane | negative << 31;
    }

    /// D.3.1: samples that are not significant but have a significant neighbour.
    #[inline(never)]
    fn significance<S: DecisionSource, const CAUSAL: bool>(
        &mut self,
        kept: &mut S,
        contexts: &mut Contexts,
        plane: u32,
    ) {
        let mut source = *kept;
        for stripe in 0..self.stripes() {
            for group in 0..self.across {
                let visit = self.visit(stripe, group);
                let group = self.groups[visit.number % GROUPS];
                let open = !group.significant & visit.inside;
                let mut todo = self.around::<CAUSAL>(visit.number) & open;
                let (mut seen, mut new) = (todo, 0);
                while todo != 0 {
                    let p = todo.trailing_zeros();
                    todo &= todo - 1;
                    let at = visit.first + p as usize;
                    let which = self.zero[self.near[at % PLACES] as usize];
                    if source.fair(contexts, u32::from(which)) != 0 {
                        self.appear::<_, CAUSAL>(&mut source, contexts, at, plane);
                        new |= 1 << p;
                        let later = LATER[p as usize % 4] << p & open;
                        todo |= later;
                        seen |= later;
                    }
                }
                let group = &mut self.groups[visit.number % GROUPS];
                group.significant |= new;
                group.seen = seen;
            }
        }
        *kept = source;
    }

    /// D.3.3: one more bit of samples that were significant before this bit-plane.
    #[inline(never)]
    fn refinement<S: DecisionSource, const CAUSAL: bool>(
        &mut self,
        kept: &mut S,
        contexts: &mut Contexts,
        plane: u32,
    ) {
        let mut source = *kept;
        let half = 1 << plane;
        for stripe in 0..self.stripes() {
            for group in 0..self.across {
                let visit = self.visit(stripe, group);
                let group = &mut self.groups[visit.number % GROUPS];
                let mut todo = group.significant & !group.seen;
                if todo == 0 {
                    continue;
                }
                let refined = group.refined;
                group.refined |= todo;
                let near = self.around::<CAUSAL>(visit.number) & !refined;
                while todo != 0 {
                    let p = todo.trailing_zeros();
                    todo &= todo - 1;
                    let which = REFINE + (near >> p & 1) as u32 + 2 * (refined >> p & 1) as u32;
                    let bit = source.fair(contexts, which);
                    let value = &mut self.values[(visit.first + p as usize) % PLACES];
                    *value = value.wrapping_sub(half) + (bit << (plane + 1));
                }
            }
        }
        *kept = source;
    }

    /// D.3.4: all samples not visited by another pass of this bit-plane; whole columns at once if nothing nearby is
    /// significant. Ends the bit-plane.
    #[inline(never)]
    fn cleanup<const CAUSAL: bool>(&mut self, kept: &mut Mq, contexts: &mut Contexts, plane: u32) {
        let mut source = *kept;
        for stripe in 0..self.stripes() {
            for group in 0..self.across {
                let visit = self.visit(stripe, group);
                let group = self.groups[visit.number % GROUPS];
                let mut todo = !(group.significant | group.seen) & visit.inside;
                let mut new = 0;
                let mut near = self.around::<CAUSAL>(visit.number) | !todo;
                while todo != 0 {
                    let mut p = todo.trailing_zeros();
                    let found = if near >> (p & !3) & 15 == 0 {
                        if source.bit(contexts, RUN) == 0 {
                            todo &= !(15 << p);
                            continue;
                        }
                        let upper = source.fair(contexts, UNIFORM);
                        let k = upper << 1 | source.fair(contexts, UNIFORM);
                        todo &= !(15 >> (3 - k) << p);
                        p += k;
                        true
                    } else {
                        todo &= todo - 1;
                        let at = visit.first + p as usize;
                        let which = self.zero[self.near[at % PLACES] as usize];
                        source.fair(contexts, u32::from(which)) != 0
                    };
                    if found {
                        let at = visit.first + p as usize;
                        self.appear::<_, CAUSAL>(&mut source, contexts, at, plane);
                        new |= 1 << p;
                        near |= 0xFF << (p & !3);
                    }
                }
                let group = &mut self.groups[visit.number % GROUPS];
                group.significant |= new;
                group.seen = 0;
            }
        }
        *kept = source;
    }
}

/// The neighbours of sample k of a column that follow it in the scan, within the same stripe.
const LATER: [u64; 4] = [0b11_0010, 0b11_1010, 0b11_1010, 0b01_1000];
