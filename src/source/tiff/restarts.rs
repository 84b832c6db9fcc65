//! Reads the restart intervals of one large JPEG stream as tiles: Hamamatsu's NDPI stores a level in one strip, with
//! an index of the offsets of its intervals (tags as described by tifffile).
//!
//! The size in the frame header is ignored: it is missing above 65,535 pixels.

use crate::codec::jpeg::stream::DRI;
use crate::codec::jpeg::stream::MarkerSegments;
use crate::codec::jpeg::stream::SOI;
use crate::codec::jpeg::stream::SOS;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::source::tiff::ifd::Array;
use crate::source::tiff::ifd::Ifd;
use crate::source::tiff::input::Input;
use std::sync::Arc;

/// Offsets of the intervals from the start of the strip; and their upper halves in files beyond 4 GB.
const STARTS: u16 = 65426;
const STARTS_ABOVE: u16 = 65432;

/// Maximum number of bytes before the first interval.
const MAX_HEAD: u64 = 1 << 16;

/// The intervals of a strip.
#[derive(Debug)]
pub struct Restarts {
    /// The size of an interval.
    pub tile: Size,
    /// The header to put before an interval, with the interval's size in its frame header.
    pub head: Arc<[u8]>,
    /// Start and end of the strip.
    start: u64,
    end: u64,
    starts: Array,
    above: Option<Array>,
}

impl Restarts {
    /// For a picture of this size in one strip; `None` if it has no index, or one that does not fit.
    pub fn of(ifd: &Ifd, input: &Input, size: Size) -> Result<Option<Restarts>> {
        let (Some(starts), Some(start), Some(len)) =
            (ifd.array(STARTS)?, ifd.first(input, 273)?, ifd.first(input, 279)?)
        else {
            return Ok(None);
        };
        let first = starts.entry(input, 0)?;
        if first > MAX_HEAD {
            return Ok(None);
        }
        let Some((tile, head)) = head(&input.take(start, first)?, size) else {
            return Ok(None);
        };
        let fits = starts.len() == size.grid(tile).area();
        Ok(fits.then_some(Restarts {
            tile,
            head: head.into(),
            start,
            end: start.saturating_add(len),
            starts,
            above: ifd.array(STARTS_ABOVE)?,
        }))
    }

    /// The bytes of an interval: offset and length. `Error::Corrupt` if the index does not ascend.
    pub fn place(&self, input: &Input, index: u64) -> Result<(u64, u64)> {
        let start = |index| {
            let above = match &self.above {
                Some(above) if above.len() == self.starts.len() => above.entry(input, index)?,
                _ => 0,
            };
            let start = self.starts.entry(input, index)? | above.min(u64::from(u32::MAX)) << 32;
            Ok::<u64, Error>(self.start.saturating_add(start))
        };
        let at = start(index)?;
        let end = if index + 1 < self.starts.len() {
            start(index + 1)?
        } else {
            self.end
        };
        match end.checked_sub(at) {
            Some(len @ 1..) => Ok((at, len)),
            _ => Err(Error::Corrupt(format!(
                "restart interval {index} ends before it begins"
            ))),
        }
    }
}

/// The size of the intervals of a stream with this header, and the header of a stream of one interval.
fn head(stream: &[u8], size: Size) -> Option<(Size, Vec<u8>)> {
    let mut out = vec![0xff, SOI];
    let (mut unit, mut frame, mut interval) = (None, None, 0);
    for segment in MarkerSegments::of(stream).ok()? {
        let segment = segment.ok()?;
        match segment.marker {
            DRI => interval = u32::from(u16::from_be_bytes(*segment.payload.first_chunk()?)),
            0xc0 | 0xc1 => {
                let factors = segment.payload.get(6..)?.as_chunks::<3>().0.iter();
                let largest = |shift: u8| factors.clone().map(|[_, factors, _]| factors >> shift & 15).max();
                unit = Some(Size::new(8 * u32::from(largest(4)?), 8 * u32::from(largest(0)?)));
                // after the marker, the length and the precision
                frame = Some(out.len() + 5);
                out.extend_from_slice(segment.whole);
            }
            _ => out.extend_from_slice(segment.whole),
        }
        if segment.marker == SOS {
            break;
        }
    }
    let unit = unit.filter(|unit| unit.area() > 0)?;
    let across = size.w.div_ceil(unit.w);
    // an interval is a part of a row of MCUs, or some whole rows
    let (columns, rows) = match interval {
        0 => return None,
        part if part <= across && across.is_multiple_of(part) => (part, 1),
        whole if whole.is_multiple_of(across) => (across, whole / across),
        _ => return None,
    };
    let tile = Size::new(columns * unit.w, rows * unit.h);
    let side = |side: u32| u16::try_from(side).ok().map(u16::to_be_bytes);
    let sides = [side(tile.h)?, side(tile.w)?].concat();
    let at = frame?;
    out.get_mut(at..at + 4)?.copy_from_slice(&sides);
    Some((tile, out))
}
