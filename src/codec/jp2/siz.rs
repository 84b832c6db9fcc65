//! The SIZ segment (ITU-T T.800 A.5.1): the image, its tiles and its components on the reference grid.

use crate::codec::jp2::segments::SegmentFields;
use crate::codec::jp2::segments::corrupt;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;

/// Maximum number of components; more are unsupported.
const MAX_COMPONENTS: u16 = 1024;

/// One component (T.800 A.5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Component {
    /// Bits, 1–38.
    pub bits: u8,
    /// Whether values are signed.
    pub signed: bool,
    /// Reference grid points per sample, across and down, not 0.
    pub step: (u32, u32),
}

/// The image and its tiles on the reference grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Siz {
    /// Right and bottom edge of the image.
    pub end: (u32, u32),
    /// Left and top edge.
    pub start: (u32, u32),
    /// Size of a tile.
    pub tile: Size,
    /// Corner of the first tile.
    pub tile_start: (u32, u32),
    /// Never empty.
    pub components: Vec<Component>,
}

impl Siz {
    /// Reads the body of the segment.
    pub fn parse(body: &[u8]) -> Result<Siz> {
        let mut fields = SegmentFields(body);
        fields.u16()?;
        let end = (fields.u32()?, fields.u32()?);
        let start = (fields.u32()?, fields.u32()?);
        let tile = Size::new(fields.u32()?, fields.u32()?);
        let tile_start = (fields.u32()?, fields.u32()?);
        let count = fields.u16()?;
        if count == 0 || count > MAX_COMPONENTS {
            return Err(Error::Unsupported(format!(
                "{count} components are not supported"
            )));
        }
        let components = (0..count)
            .map(|_| {
                let depth = fields.u8()?;
                let step = (u32::from(fields.u8()?), u32::from(fields.u8()?));
                let bits = (depth & 0x7f) + 1;
                if step.0 == 0 || step.1 == 0 || bits > 38 {
                    return Err(corrupt(format!("a component of {bits} bits, step {step:?}")));
                }
                Ok(Component {
                    bits,
                    signed: depth & 0x80 != 0,
                    step,
                })
            })
            .collect::<Result<Vec<_>>>()?;
        let fits = |start: u32, end: u32, first: u32, side: u32| {
            side > 0 && start < end && end <= i32::MAX as u32 && first <= start && {
                u64::from(first) + u64::from(side) > u64::from(start)
            }
        };
        if !fits(start.0, end.0, tile_start.0, tile.w) || !fits(start.1, end.1, tile_start.1, tile.h) {
            return Err(corrupt("the image and its tiles do not meet"));
        }
        let siz = Siz {
            end,
            start,
            tile,
            tile_start,
            components,
        };
        let (across, down) = siz.grid();
        if u64::from(across) * u64::from(down) > 65_535 {
            return Err(corrupt(format!("{across}x{down} tiles")));
        }
        let none = |c: &Component| {
            start.0.div_ceil(c.step.0) >= end.0.div_ceil(c.step.0)
                || start.1.div_ceil(c.step.1) >= end.1.div_ceil(c.step.1)
        };
        if siz.components.iter().any(none) {
            return Err(corrupt("a component without samples"));
        }
        Ok(siz)
    }

    /// Columns and rows of tiles.
    pub fn grid(&self) -> (u32, u32) {
        let count = |end: u32, start: u32, side: u32| (end - start).div_ceil(side);
        (
            count(self.end.0, self.tile_start.0, self.tile.w),
            count(self.end.1, self.tile_start.1, self.tile.h),
        )
    }
}
