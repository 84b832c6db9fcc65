//! Context tables: the context of a decision by the neighbours of its sample (T.800 Annex D.3). 0 to 8 are for zero
//! coding, 9 to 13 for signs, 14 to 16 for refinement, followed by two more.
//!
//! Computed from the rules at compile time.

#![expect(
    clippy::indexing_slicing,
    reason = "computed when compiling: a wrong index does not build"
)]

use crate::codec::jp2::block::BandOrientation;
use crate::codec::jp2::mq::Contexts;

/// Refinement: first, with a significant neighbour, and later.
pub(super) const REFINE: u32 = 14;
/// Run-length: whether a column has a significant sample.
pub(super) const RUN: u32 = 17;
/// The uniform context.
pub(super) const UNIFORM: u32 = 18;

/// The initial states (T.800 Table D.7).
pub(super) const FIRST: Contexts = {
    let mut rows = [0; 19];
    rows[0] = 4;
    rows[RUN as usize] = 3;
    rows[UNIFORM as usize] = 46;
    Contexts::new(rows)
};

/// The zero coding contexts of a sub-band, by the significant neighbours of a sample: bits 0 to 3 are the corners,
/// followed by below, right, left and above.
pub(super) fn zero_table(band: BandOrientation) -> &'static [u8; 256] {
    static TABLES: [[u8; 256]; 3] = [
        zero_contexts(BandOrientation::Ll),
        zero_contexts(BandOrientation::Hl),
        zero_contexts(BandOrientation::Hh),
    ];
    match band {
        BandOrientation::Ll | BandOrientation::Lh => &TABLES[0],
        BandOrientation::Hl => &TABLES[1],
        BandOrientation::Hh => &TABLES[2],
    }
}

/// T.800 Table D.1, by the eight neighbours.
const fn zero_contexts(band: BandOrientation) -> [u8; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let across = (at >> 5 & 1) + (at >> 6 & 1);
        let down = (at >> 4 & 1) + (at >> 7 & 1);
        let corners = (at & 1) + (at >> 1 & 1) + (at >> 2 & 1) + (at >> 3 & 1);
        let (h, v) = if matches!(band, BandOrientation::Hl) {
            (down, across)
        } else {
            (across, down)
        };
        table[at] = if matches!(band, BandOrientation::Hh) {
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

/// T.800 Tables D.2 and D.3: the context of a sign, and in bit 7 whether to invert the decision. Indexed by which of
/// the neighbours below, right, left and above are significant and, from bit 4 on, which are negative.
pub(super) static SIGNS: [u8; 256] = signs();

const fn signs() -> [u8; 256] {
    const fn share(at: usize, from: u32) -> i32 {
        match (at >> from & 1, at >> (from + 4) & 1) {
            (0, _) => 0,
            (_, 0) => 1,
            _ => -1,
        }
    }
    let mut table = [0; 256];
    let mut at = 0;
    while at < 256 {
        let v = share(at, 0) + share(at, 3);
        let h = share(at, 1) + share(at, 2);
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
