//! Finds the tile-parts of a codestream: by the lengths listed in its main header (TLM, ITU-T T.800 A.7.1), else by
//! following the lengths in their own headers (A.4.2).
//!
//! Of these headers, only the number of decomposition levels is read.

use crate::codec::jp2::segments::COC;
use crate::codec::jp2::segments::COD;
use crate::codec::jp2::segments::EOC;
use crate::codec::jp2::segments::SOD;
use crate::codec::jp2::segments::SOT;
use crate::codec::jp2::siz::Siz;
use crate::codec::read_at::ReadAt;
use crate::error::Error;
use crate::error::Result;
use std::ops::Range;

/// Bytes of a SOT marker segment.
const SOT_BYTES: u64 = 12;
/// Maximum number of tile-parts of a file.
const MAX_PARTS: usize = 1 << 20;
/// Maximum number of segments of a tile-part's header.
const MAX_SEGMENTS: usize = 1024;

/// One tile-part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TilePart {
    /// The tile.
    pub tile: u16,
    /// Its index among all tile-parts of the file.
    pub number: u32,
    /// Start of its header, after SOT.
    pub start: u64,
    /// End, exclusive.
    pub end: u64,
}

impl TilePart {
    /// Whether its header is at the expected position.
    pub fn check(&self, from: &dyn ReadAt) -> Result<()> {
        let mut sot = [0; 12];
        from.read(self.start.saturating_sub(SOT_BYTES), &mut sot)?;
        let [m1, m0, _, _, i1, i0, ..] = sot;
        if (u16::from_be_bytes([m1, m0]), u16::from_be_bytes([i1, i0])) != (SOT, self.tile) {
            return Err(Error::Corrupt(
                "no tile-part where the main header names one".into(),
            ));
        }
        Ok(())
    }
}

/// All tile-parts.
#[derive(Debug, PartialEq, Eq)]
pub struct TileParts {
    /// Those of a tile are in order.
    pub all: Vec<TilePart>,
    /// Whether the last one is truncated.
    pub truncated: bool,
    /// The fewest wavelet decompositions in a tile-part header; `None` if none overrides the main header.
    pub levels: Option<u8>,
}

impl TileParts {
    /// The tile-parts listed in numbered segments of the main header (Table A.32); the first starts at the start of
    /// `range`. `None` unless they fill the range, except for the last marker. Their own headers are not read.
    pub fn listed(mut segments: Vec<(u8, Vec<u8>)>, range: Range<u64>, siz: &Siz) -> Option<TileParts> {
        segments.sort_by_key(|(number, _)| *number);
        let (across, down) = siz.grid();
        let mut all = Vec::new();
        let mut at = range.start;
        for (_, bytes) in segments {
            let (sizes, entries) = bytes.split_first()?;
            let index = usize::from(sizes >> 4 & 3);
            let length = if sizes & 0x40 == 0 { 2 } else { 4 };
            let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
            for entry in entries.chunks(index + length) {
                let (tile, len) = entry.split_at_checked(index)?;
                let count = u32::try_from(all.len()).ok()?;
                // without an index, every tile has one part, in order
                let tile = if index == 0 { count } else { number(tile) };
                let end = at + u64::from(number(len));
                let fits = tile < across * down
                    && len.len() == length
                    && end >= at + SOT_BYTES + 2
                    && all.len() < MAX_PARTS;
                let start = at + SOT_BYTES;
                let tile = u16::try_from(tile).ok().filter(|_| fits)?;
                all.push(TilePart {
                    tile,
                    number: count,
                    start,
                    end,
                });
                at = end;
            }
        }
        let filled = !all.is_empty() && (range.end == at || range.end == at + 2);
        all.sort_by_key(|part| (part.tile, part.number));
        filled.then_some(TileParts {
            all,
            truncated: false,
            levels: None,
        })
    }

    /// Follows the tile-parts from the first SOT.
    pub fn follow(from: &dyn ReadAt, mut at: u64, siz: &Siz) -> Result<TileParts> {
        let (across, down) = siz.grid();
        let mut parts = Vec::new();
        let mut truncated = true;
        let mut fewest: Option<u8> = None;
        while let Some(rest) = from.len().checked_sub(at).filter(|rest| *rest >= 2) {
            // and the marker after it
            let mut sot = [0; 14];
            let present = usize::try_from(rest).unwrap_or(14).min(14);
            from.read(at, sot.get_mut(..present).unwrap_or_default())?;
            let [m1, m0, _, _, i1, i0, l3, l2, l1, l0, _, _, next @ ..] = sot;
            match u16::from_be_bytes([m1, m0]) {
                SOT if present >= 12 => {}
                EOC => {
                    truncated = false;
                    break;
                }
                // not a tile-part: the parts before it are used
                _ => break,
            }
            let tile = u16::from_be_bytes([i1, i0]);
            let len = u64::from(u32::from_be_bytes([l3, l2, l1, l0]));
            let end = if len == 0 { from.len() } else { at + len };
            if u32::from(tile) >= across * down || (len > 0 && len < 14) || parts.len() >= MAX_PARTS {
                break;
            }
            let part = TilePart {
                tile,
                number: u32::try_from(parts.len()).unwrap_or(u32::MAX),
                start: at + SOT_BYTES,
                end: end.min(from.len()),
            };
            if u16::from_be_bytes(next) != SOD
                && let Some(levels) = levels(from, part, siz.components.len())?
            {
                fewest = Some(fewest.map_or(levels, |fewest| fewest.min(levels)));
            }
            parts.push(part);
            if len == 0 {
                truncated = false;
                break;
            }
            at = end;
        }
        if parts.is_empty() {
            return Err(Error::Corrupt("no tile-part".into()));
        }
        parts.sort_by_key(|part| (part.tile, part.number));
        Ok(TileParts {
            all: parts,
            truncated,
            levels: fewest,
        })
    }
}

/// The fewest wavelet decompositions in the header of a tile-part (T.800 A.6.1, A.6.2).
fn levels(from: &dyn ReadAt, part: TilePart, components: usize) -> Result<Option<u8>> {
    let mut at = part.start;
    let mut fewest: Option<u8> = None;
    for _ in 0..MAX_SEGMENTS {
        let mut head = [0; 4];
        if at + 4 > part.end {
            break;
        }
        from.read(at, &mut head)?;
        let [m1, m0, l1, l0] = head;
        let end = at + 2 + u64::from(u16::from_be_bytes([l1, l0]));
        let place = match u16::from_be_bytes([m1, m0]) {
            SOD => break,
            // after style, order, layers and component transform
            COD => Some(9),
            // after the component and the style
            COC => Some(if components < 257 { 6 } else { 7 }),
            _ => None,
        };
        // a segment has at least its length field
        if end < at + 4 || end > part.end {
            break;
        }
        if let Some(place) = place.map(|place| at + place).filter(|place| *place < end) {
            let mut levels = [0];
            from.read(place, &mut levels)?;
            let [levels] = levels;
            fewest = Some(fewest.map_or(levels, |fewest| fewest.min(levels)));
        }
        at = end;
    }
    Ok(fewest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::jp2::siz::Component;
    use crate::geometry::Size;

    const SIZ: &Siz = &Siz {
        end: (20, 10),
        start: (0, 0),
        tile: Size::new(10, 10),
        tile_start: (0, 0),
        components: Vec::new(),
    };

    /// A tile-part with this header.
    fn part(tile: u8, header: &[u8]) -> Vec<u8> {
        let len = u8::try_from(12 + header.len() + 3).unwrap();
        let sot = [0xff, 0x90, 0, 10, 0, tile, 0, 0, 0, len, 0, 1];
        [&sot, header, &[0xff, 0x93, 7]].concat()
    }

    #[test]
    fn headers_of_tile_parts_say_how_often_tiles_are_halved() {
        let siz = Siz {
            components: vec![
                Component {
                    bits: 8,
                    signed: false,
                    step: (1, 1),
                };
                3
            ],
            ..SIZ.clone()
        };
        let plt = [0xff, 0x58, 0, 4, 0, 9];
        let cod = [0xff, 0x52, 0, 12, 0, 0, 0, 1, 0, 3, 4, 4, 0, 1];
        let coc = [0xff, 0x53, 0, 9, 2, 0, 2, 4, 4, 0, 1];
        let found = |headers: [&[u8]; 2]| {
            let [first, second] = headers;
            let stream = [part(0, first), part(1, second), vec![0xff, 0xd9]].concat();
            let found = TileParts::follow(&stream, 0, &siz).unwrap();
            assert_eq!((found.all.len(), found.truncated), (2, false));
            found.levels
        };
        assert_eq!(found([&[], &[]]), None);
        assert_eq!(found([&plt, &plt]), None);
        assert_eq!(found([&[], &cod]), Some(3));
        assert_eq!(found([&[&plt[..], &cod].concat(), &[]]), Some(3));
        assert_eq!(found([&[&cod[..], &coc].concat(), &plt]), Some(2));
        assert_eq!(found([&coc[..5], &[]]), None);
        assert_eq!(found([&[0xff, 0x58, 0, 0], &[]]), None);
    }

    #[test]
    fn parts_are_where_the_main_header_says() {
        let stream = [part(0, &[]), part(1, &[]), part(0, &[]), vec![0xff, 0xd9]].concat();
        let range = 0..stream.len() as u64;
        let listed_parts = |segments: &[&[u8]]| {
            let segments = segments.iter().map(|bytes| (bytes[0], bytes[1..].to_vec()));
            TileParts::listed(segments.collect(), range.clone(), SIZ)
        };
        let followed = TileParts::follow(&stream, 0, SIZ).unwrap();
        assert_eq!(followed.all.len(), 3);
        let ways: [&[&[u8]]; 3] = [
            &[&[0, 0x10, 0, 0, 15, 1, 0, 15, 0, 0, 15]],
            &[
                &[1, 0x60, 0, 0, 0, 0, 0, 15],
                &[0, 0x50, 0, 0, 0, 0, 15, 1, 0, 0, 0, 15],
            ],
            &[&[0, 0x20, 0, 0, 0, 15, 0, 1, 0, 15, 0, 0, 0, 15]],
        ];
        for way in ways {
            assert_eq!(listed_parts(way).as_ref(), Some(&followed));
        }
        for part in &followed.all {
            part.check(&stream).unwrap();
            assert!(TilePart { tile: 5, ..*part }.check(&stream).is_err());
            let start = part.start + 1;
            assert!(TilePart { start, ..*part }.check(&stream).is_err());
        }
        let wrong: [&[&[u8]]; 7] = [
            &[],
            &[&[0]],
            &[&[0, 0x10, 0, 0, 15, 1, 0, 15]],
            &[&[0, 0x10, 0, 0, 15, 1, 0, 15, 0, 0, 16]],
            &[&[0, 0x10, 0, 0, 15, 2, 0, 15, 0, 0, 15]],
            &[&[0, 0x10, 0, 0, 15, 1, 0, 15, 0, 0]],
            &[&[0, 0x00, 0, 13, 0, 15, 0, 17]],
        ];
        for wrong in wrong {
            assert_eq!(listed_parts(wrong), None, "{wrong:?}");
        }
    }
}
