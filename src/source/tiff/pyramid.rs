//! Which directories are levels of the first picture.
//!
//! Knows tags of sizes and tiles; what the samples are is `layout`'s business. Directories that are no levels (other
//! pages, thumbnails, masks, whatever is not tiled) are passed over; a chain that cannot be followed is an error.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::source::tiff::Limits;
use crate::source::tiff::ifd::Array;
use crate::source::tiff::ifd::Ifd;
use crate::source::tiff::ifd::Prologue;
use crate::source::tiff::input::Input;
use crate::source::tiff::layout::Compression;
use crate::source::tiff::layout::Layout;
use std::collections::HashSet;

/// The bit of NewSubfileType that says: a transparency mask.
const MASK: u64 = 4;

/// More SubIFDs than this are not looked at.
const MAX_SUBIFDS: u64 = 256;

/// One tiled picture of the file.
#[derive(Debug)]
pub struct Image {
    /// Width and height, not zero.
    pub size: Size,
    /// Of a tile, not zero.
    pub tile: Size,
    /// What a tile holds.
    pub layout: Layout,
    /// Bytes of a tile once no longer coded.
    pub tile_bytes: u64,
    /// JPEGTables, without which a JPEG stream stands alone.
    pub tables: Option<Vec<u8>>,
    offsets: Array,
    counts: Option<Array>,
}

impl Image {
    /// From a directory. `Error::Unsupported` for what is not served, `Error::Corrupt` for what contradicts itself,
    /// `Error::TooLarge` for tiles beyond the limits.
    fn of(ifd: &Ifd, input: &Input, limits: &Limits) -> Result<Image> {
        let size = size(ifd, input, 256, 257)?.ok_or_else(|| Error::Corrupt("no width or height".into()))?;
        let Some(tile) = self::size(ifd, input, 322, 323)? else {
            return Err(Error::Unsupported("striped TIFF is not served yet".into()));
        };
        let layout = Layout::of(ifd, input)?;
        let tile_bytes = match &layout.ycbcr {
            Some(ycbcr) => ycbcr.bytes(tile.w, tile.h),
            None => tile.area().saturating_mul(layout.stored as u64),
        };
        if tile_bytes.max(tile.area().saturating_mul(layout.channels() as u64)) > limits.max_tile_bytes {
            return Err(Error::TooLarge(format!(
                "tiles of {}x{} pixels take more than {} bytes",
                tile.w, tile.h, limits.max_tile_bytes
            )));
        }
        // Some writers put the tiles' places where those of strips belong.
        let array = |tag, other| Ok::<_, Error>(ifd.array(tag)?.or(ifd.array(other)?));
        let offsets = array(324, 273)?.ok_or_else(|| Error::Corrupt("no tile offsets".into()))?;
        let counts = array(325, 279)?;
        if counts.is_none() && layout.compression != Compression::None {
            return Err(Error::Corrupt("no tile byte counts".into()));
        }
        let tables = match layout.compression {
            Compression::Jpeg => ifd.bytes(input, 347, limits.max_tag_bytes).map(Vec::from),
            _ => None,
        };
        Ok(Image {
            size,
            tile,
            layout,
            tile_bytes,
            tables,
            offsets,
            counts,
        })
    }

    /// Where the coded bytes of the tile lie: offset and length; `None` for a tile that was never written.
    /// `Error::Corrupt` when there are none for it in the file, or absurdly many.
    pub fn place(&self, input: &Input, col: u32, row: u32) -> Result<Option<(u64, u64)>> {
        let across = u64::from(self.size.grid(self.tile).w);
        let index = u64::from(row) * across + u64::from(col);
        let at = self.offsets.entry(input, index)?;
        let len = match &self.counts {
            Some(counts) => counts.entry(input, index)?,
            None => self.tile_bytes,
        };
        if at == 0 || len == 0 {
            return Ok(None);
        }
        if self.layout.compression == Compression::None {
            return Ok(Some((at, len.min(self.tile_bytes))));
        }
        // No scheme needs twice the bytes; a small tile may carry a profile or the like.
        if len > self.tile_bytes.saturating_mul(2).saturating_add(1 << 20) {
            return Err(Error::Corrupt(format!(
                "a tile of {} bytes is coded in {len}",
                self.tile_bytes
            )));
        }
        Ok(Some((at, len)))
    }

    /// Whether this is a smaller one of `full`: of the same shape, give or take a pixel for each rounding, with the
    /// same channels.
    fn is_level_of(&self, full: &Image) -> bool {
        self.layout.colours == full.layout.colours
            && self.layout.alpha() == full.layout.alpha()
            && is_reduced(self.size, full.size)
    }
}

/// Whether `small` is `full` divided by some factor, each side rounded up or down (perhaps several times over).
fn is_reduced(small: Size, full: Size) -> bool {
    if small.w > full.w || small.h > full.h || small == full {
        return false;
    }
    let near = |a: u32, whole: u32, b: u32, other: u32| {
        // b should be other * a / whole; a itself is off by less than a pixel, and so is b.
        let (a, whole, b, other) = (u64::from(a), u64::from(whole), u64::from(b), u64::from(other));
        let low = (other * (a - 1) / whole).saturating_sub(1);
        let high = (other * (a + 1)).div_ceil(whole) + 1;
        (low..=high).contains(&b)
    };
    if full.w >= full.h {
        near(small.w, full.w, small.h, full.h)
    } else {
        near(small.h, full.h, small.w, full.w)
    }
}

/// Two sides from two tags; `None` when one is not there.
fn size(ifd: &Ifd, input: &Input, w: u16, h: u16) -> Result<Option<Size>> {
    let (Some(w), Some(h)) = (ifd.first(input, w)?, ifd.first(input, h)?) else {
        return Ok(None);
    };
    match (u32::try_from(w), u32::try_from(h)) {
        (Ok(w @ 1..), Ok(h @ 1..)) => Ok(Some(Size::new(w, h))),
        _ => Err(Error::Corrupt(format!("a size of {w}x{h}"))),
    }
}

/// The first directory, its picture and the smaller levels of it, the largest first.
pub fn levels(input: &Input, prologue: Prologue, limits: &Limits) -> Result<(Ifd, Vec<Image>)> {
    let mut seen = HashSet::from([prologue.first]);
    let first = Ifd::read(input, prologue, prologue.first)?;
    let full = Image::of(&first, input, limits)?;
    let mut starts = first.numbers(input, 330, MAX_SUBIFDS)?.unwrap_or_default();
    starts.push(first.next);
    let mut images = vec![full];
    for start in starts {
        let mut at = start;
        while at != 0 && seen.len() < limits.max_ifds {
            if !seen.insert(at) {
                return Err(Error::Corrupt(format!("the directory at {at} follows itself")));
            }
            let ifd = Ifd::read(input, prologue, at)?;
            at = ifd.next;
            if ifd.first(input, 254).ok().flatten().unwrap_or(0) & MASK != 0 {
                continue;
            }
            let (Ok(image), Some(full)) = (Image::of(&ifd, input, limits), images.first()) else {
                continue;
            };
            if image.is_level_of(full) && images.iter().all(|other| other.size != image.size) {
                images.push(image);
            }
        }
    }
    images.sort_by_key(|image| std::cmp::Reverse(image.size.area()));
    Ok((first, images))
}
