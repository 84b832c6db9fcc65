//! One picture of a file: the geometry of its tiles or strips, from its directory, and the location of their bytes.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::limits;
use crate::limits::FLOOR;
use crate::raster::Alpha;
use crate::raster::Colour;
use crate::source::Decoding;
use crate::source::Grid;
use crate::source::Level;
use crate::source::tiff::Limits;
use crate::source::tiff::QUICK;
use crate::source::tiff::compression::Compression;
use crate::source::tiff::ifd::Array;
use crate::source::tiff::ifd::Ifd;
use crate::source::tiff::input::Input;
use crate::source::tiff::layout::BlockLayout;
use crate::source::tiff::layout::ColourTransform;
use crate::source::tiff::restarts::Restarts;
use crate::source::tiff::writer::Software;

/// Larger tiles are presented as several smaller ones.
const MAX_SHOWN: u32 = 4096;

/// Approximate bytes of a band.
const BAND_BYTES: u64 = 8 << 20;

/// The rows of a band are a multiple of this, except at the end of a strip: up to four rows share chroma.
const BAND_ROWS: u32 = 16;

/// One picture of the file, in tiles or in strips: a strip is treated as a tile as wide as the picture.
#[derive(Debug)]
pub struct Image {
    /// Width and height, not zero.
    pub size: Size,
    /// The size of a tile, not zero.
    pub tile: Size,
    /// Whether tiles are strips, the last of which ends with the picture.
    pub strips: bool,
    /// The layout of a tile.
    pub layout: BlockLayout,
    /// Whether the samples are stored exactly as they are output, except for byte order.
    pub plain: bool,
    /// Columns and rows of tiles.
    grid: Size,
    /// Whether a tile is within the limits.
    fits: bool,
    offsets: Array,
    counts: Option<Array>,
    /// The index of its tiles, if they are restart intervals of a JPEG stream.
    restarts: Option<Restarts>,
    /// The transparency mask, of the same size.
    pub mask: Option<Box<Image>>,
}

impl Image {
    /// Reads a directory of a file by this writer. `Error::Unsupported` if the picture is not supported,
    /// `Error::Corrupt` if tags are contradictory, `Error::Limit` if tiles exceed the limits.
    pub fn of(ifd: &Ifd, input: &Input, limits: &Limits, writer: Software) -> Result<Image> {
        let size = size(ifd, input, 256, 257)?.ok_or_else(|| Error::Corrupt("no width or height".into()))?;
        let tile = self::size(ifd, input, 322, 323)?;
        let strips = tile.is_none();
        let tile = match tile {
            Some(tile) => tile,
            None => strip(ifd, input, size)?,
        };
        let mut layout = BlockLayout::of(ifd, input, writer)?;
        let restarts = match (writer, layout.compression) {
            (Software::Hamamatsu, Compression::Jpeg) if strips => Restarts::of(ifd, input, size)?,
            _ => None,
        };
        let (strips, tile) = match &restarts {
            Some(restarts) => {
                layout.head = Some(restarts.head.clone());
                (false, restarts.tile)
            }
            None => (strips, tile),
        };
        // Some writers store the offsets of tiles in the tags of strips.
        let array = |tag, other| Ok::<_, Error>(ifd.array(tag)?.or(ifd.array(other)?));
        let offsets = array(324, 273)?.ok_or_else(|| Error::Corrupt("no tile offsets".into()))?;
        let counts = array(325, 279)?;
        let mut image = Image {
            size,
            tile,
            strips,
            plain: layout.compression == Compression::None && !layout.reversed && layout.is_straight(),
            layout,
            grid: size.grid(tile),
            fits: false,
            offsets,
            counts,
            restarts,
            mask: None,
        };
        image.check_counts(limits)?;
        image.fits = image.check(tile, limits).is_ok();
        let one = image.grid.area() == 1;
        if image.counts.is_none() && image.layout.compression != Compression::None && !(strips && one) {
            return Err(Error::Corrupt("no tile byte counts".into()));
        }
        if image.in_order(limits) {
            image.check(image.band(limits), limits)?;
        } else if !image.by_position() {
            image.check(tile, limits)?;
        }
        Ok(image)
    }

    /// `Error::Limit` if a pixel has too many samples, or the image too many tiles.
    fn check_counts(&self, limits: &Limits) -> Result<()> {
        let stored = self.layout.stored as u64;
        limits::check("stored samples of a pixel:", "SAMPLES", stored, limits.samples)?;
        let tiles = self.grid.area().saturating_mul(self.planes() as u64);
        limits::check("tiles of a level:", "TILES", tiles, limits.tiles)
    }

    /// `Error::Limit` if `size` takes more bytes than a tile may.
    pub fn check(&self, size: Size, limits: &Limits) -> Result<()> {
        let part = size.w <= self.tile.w && size.h <= self.tile.h;
        if self.fits && part || self.layout.bytes(size).max(self.layout.memory(size)) <= limits.tile_bytes {
            return Ok(());
        }
        let name = if self.strips { "strips" } else { "tiles" };
        Err(Error::Limit(format!(
            "{name} of {}x{} pixels take more than the {} bytes of LIMIT_TILE_BYTES",
            size.w, size.h, limits.tile_bytes
        )))
    }

    /// Whether it consists of one strip large enough for bands, or of several that are too large for memory, and can
    /// be decoded from top to bottom.
    pub fn in_order(&self, limits: &Limits) -> bool {
        let long = self.grid.area() == 1 && self.layout.memory(self.tile) > FLOOR;
        self.strips
            && !self.by_position()
            && self.layout.compression.is_streamed()
            && (long || self.check(self.tile, limits).is_err())
    }

    /// The size of a band, if strips are decoded from top to bottom.
    pub fn band(&self, limits: &Limits) -> Size {
        let some = Size::new(self.size.w, BAND_ROWS);
        let bytes = self.layout.bytes(some).max(self.layout.memory(some)).max(1);
        let times = (BAND_BYTES.min(limits.tile_bytes) / bytes).max(1);
        let rows = u32::try_from(times).unwrap_or(1).saturating_mul(BAND_ROWS);
        Size::new(self.size.w, rows.min(self.tile.h))
    }

    /// Its entry in the header of the source.
    pub fn level(&self, limits: &Limits) -> Level {
        let grid = match self.strips {
            true if self.by_position() => Grid::Rows,
            true if self.in_order(limits) => Grid::Order,
            true => Grid::Strips,
            // tiles too large for clients
            false if self.tile.w.max(self.tile.h) > MAX_SHOWN || self.layout.head.is_some() => Grid::Strips,
            false => Grid::Tiles,
        };
        let is_slow = self.layout.compression.is_slow();
        let decoding = if self.strips || self.tile.area() > QUICK || is_slow {
            Decoding::Usual
        } else {
            Decoding::Quick
        };
        Level {
            grid,
            decoding,
            ..Level::tiled(self.size, self.tile)
        }
    }

    /// The number of separately stored planes.
    fn planes(&self) -> usize {
        if self.layout.separate {
            self.layout.stored
        } else {
            1
        }
    }

    /// Decoded bytes of the tiles present in the file; `u64::MAX` if their offsets cannot be read.
    pub fn present(&self, input: &Input) -> u64 {
        let mut bytes = 0u64;
        for row in 0..self.grid.h {
            let all = self.layout.memory(self.cell(row));
            for col in 0..self.grid.w {
                match self.is_absent(input, col, row) {
                    Some(true) => {}
                    Some(false) => bytes = bytes.saturating_add(all),
                    None => return u64::MAX,
                }
            }
        }
        bytes
    }

    /// Whether the file contains none of the tiles that a rectangle touches.
    pub fn is_vacant(&self, input: &Input, rect: Rect) -> bool {
        let (cols, rows) = rect.cells(self.tile);
        let mut cells = rows.flat_map(|row| cols.clone().map(move |col| (col, row)));
        cells.all(|(col, row)| self.is_absent(input, col, row) == Some(true))
    }

    /// Whether no plane of a tile was ever written; `None` if that cannot be read.
    fn is_absent(&self, input: &Input, col: u32, row: u32) -> Option<bool> {
        for plane in 0..self.planes() {
            match self.place(input, col, row, plane) {
                Ok(None) => {}
                Ok(Some(_)) => return Some(false),
                Err(_) => return None,
            }
        }
        Some(true)
    }

    /// Whether any rectangle can be read without reading the rest.
    pub fn by_position(&self) -> bool {
        let ycbcr = matches!(self.layout.turn, ColourTransform::Ycbcr(_));
        self.strips && self.layout.compression == Compression::None && !ycbcr
    }

    /// Width and height of a stored tile, including any part beyond the picture's edge.
    pub fn cell(&self, row: u32) -> Size {
        if !self.strips {
            return self.tile;
        }
        let above = row.saturating_mul(self.tile.h);
        Size::new(self.tile.w, self.tile.h.min(self.size.h.saturating_sub(above)))
    }

    /// The coded bytes of a plane of the tile (plane 0 unless planar): offset and length; `None` for a tile that was
    /// never written. `Error::Corrupt` if they are outside the file, or absurdly many.
    pub fn place(&self, input: &Input, col: u32, row: u32, plane: usize) -> Result<Option<(u64, u64)>> {
        let before = (plane as u64).saturating_mul(self.grid.area());
        let index = before.saturating_add(u64::from(row) * u64::from(self.grid.w) + u64::from(col));
        if let Some(restarts) = &self.restarts {
            return restarts.place(input, index).map(Some);
        }
        if let Some(whole) = self.layout.old_jpeg.as_ref().and_then(|old| old.whole) {
            return Ok(Some(whole));
        }
        let arrays = [Some(&self.offsets), self.counts.as_ref()].into_iter().flatten();
        input.prefetch(&mut arrays.filter_map(|array| array.unread(input, index)))?;
        let at = self.offsets.entry(input, index)?;
        let bytes = self.layout.bytes(self.cell(row));
        let plain = self.layout.compression == Compression::None;
        let alone = self.strips && self.grid.area() == 1 && !self.layout.separate;
        let rest = input.len().saturating_sub(at);
        let len = match &self.counts {
            Some(counts) => counts.entry(input, index)?,
            None if plain => bytes,
            None => rest,
        };
        // some writers omit the length of an only strip
        let len = if len == 0 && alone { rest } else { len };
        if at == 0 || len == 0 {
            return Ok(None);
        }
        if plain {
            return Ok(Some((at, len.min(bytes))));
        }
        // No scheme needs twice the bytes; a small tile may contain a profile or the like.
        let most = bytes.saturating_mul(2).saturating_add(1 << 20);
        if alone {
            return Ok(Some((at, len.min(most).min(rest.max(1)))));
        }
        if len > most {
            return Err(Error::Corrupt(format!(
                "a tile of {bytes} bytes is coded in {len}"
            )));
        }
        Ok(Some((at, len)))
    }

    /// Whether this is a smaller version of `full`: the same shape, within a pixel for each rounding, and the same
    /// channels.
    pub fn is_level_of(&self, full: &Image) -> bool {
        self.layout.meaning.colour == full.layout.meaning.colour
            && self.layout.meaning.alpha == full.layout.meaning.alpha
            && self.layout.channels() == full.layout.channels()
            && self.layout.depth() == full.layout.depth()
            && (self.strips == full.strips || full.restarts.is_some())
            && is_reduced(self.size, full.size)
    }

    /// The size of a level of `full` that was padded to whole tiles, as by Philips and Ventana: `full` halved
    /// repeatedly, and smaller than the levels before.
    pub fn padded_level_of(&self, full: &Image, last: Size) -> Option<Size> {
        let alike = !self.strips && !full.strips && self.tile == full.tile && self.size != full.size;
        if !alike || self.layout.meaning != full.layout.meaning || self.layout.depth() != full.layout.depth()
        {
            return None;
        }
        let halved = |halvings: u32| {
            let side = |side: u32| u64::from(side).div_ceil(1 << halvings);
            Size::new(
                u32::try_from(side(full.size.w)).unwrap_or(1),
                u32::try_from(side(full.size.h)).unwrap_or(1),
            )
        };
        let padded = |size: Size| {
            let grid = size.grid(self.tile);
            (grid.w.checked_mul(self.tile.w), grid.h.checked_mul(self.tile.h))
        };
        let wanted = (Some(self.size.w), Some(self.size.h));
        (1..32)
            .map(halved)
            .find(|size| size.area() < last.area() && padded(*size) == wanted)
    }

    /// Whether a mask may become its alpha channel.
    pub fn takes_mask(&self) -> bool {
        matches!(self.layout.meaning.colour, Colour::Grey | Colour::Rgb)
            && self.layout.meaning.alpha == Alpha::None
            && self.layout.channels() < usize::from(u8::MAX)
    }
}

/// Whether `small` is `full` divided by some factor of at least 3/2, each side rounded up or down (perhaps
/// repeatedly): pages of a document differ by less.
pub fn is_reduced(small: Size, full: Size) -> bool {
    let (long, short) = (u64::from(full.w.max(full.h)), u64::from(small.w.max(small.h)));
    if small.w > full.w || small.h > full.h || short * 3 > long * 2 {
        return false;
    }
    let near = |a: u32, whole: u32, b: u32, other: u32| {
        // b should be other * a / whole; a is off by less than a pixel, and so is b.
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

/// The size of a strip: as wide as the picture, and RowsPerStrip high, by default the whole picture (TIFF 6.0 p. 39).
fn strip(ifd: &Ifd, input: &Input, size: Size) -> Result<Size> {
    let rows = ifd.first(input, 278)?.filter(|rows| *rows > 0);
    let rows = rows.and_then(|rows| u32::try_from(rows).ok()).unwrap_or(size.h);
    Ok(Size::new(size.w, rows.min(size.h)))
}

/// A size from two tags; `None` if one is missing.
fn size(ifd: &Ifd, input: &Input, w: u16, h: u16) -> Result<Option<Size>> {
    let (Some(w), Some(h)) = (ifd.first(input, w)?, ifd.first(input, h)?) else {
        return Ok(None);
    };
    match (u32::try_from(w), u32::try_from(h)) {
        (Ok(w @ 1..), Ok(h @ 1..)) => Ok(Some(Size::new(w, h))),
        _ => Err(Error::Corrupt(format!("a size of {w}x{h}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reduced(small: (u32, u32), full: (u32, u32)) -> bool {
        is_reduced(Size::new(small.0, small.1), Size::new(full.0, full.1))
    }

    #[test]
    fn a_level_has_the_same_shape_within_a_pixel_of_rounding() {
        for small in [
            (5000, 3750),
            (2500, 1875),
            (1250, 937),
            (1250, 938),
            (625, 469),
            (312, 234),
            (79, 59),
        ] {
            assert!(reduced(small, (10_000, 7_500)), "{small:?}");
            assert!(reduced((small.1, small.0), (7_500, 10_000)), "{small:?}");
        }
        for small in [
            (10_000, 7_500),
            (5000, 3700),
            (256, 256),
            (7_500, 5_000),
            (10_000, 3_750),
            (20_000, 15_000),
        ] {
            assert!(!reduced(small, (10_000, 7_500)), "{small:?}");
        }
        // Long and thin: the short side stops at one pixel.
        assert!(reduced((5, 1), (10_000, 10)));
        assert!(reduced((1, 1), (10_000, 10)));
        assert!(reduced((u32::MAX / 2, 1), (u32::MAX, 2)));
    }

    #[test]
    fn repeated_rounding_still_gives_a_level() {
        let mut state = 12345u32;
        for _ in 0..300 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let full = (state >> 12 & 0xffff | 1, state >> 4 & 0x7fff | 1);
            for up in [0, 1] {
                let mut at = full;
                while at != (1, 1) {
                    at = (((at.0 + up) / 2).max(1), ((at.1 + up) / 2).max(1));
                    assert!(at == full || reduced(at, full), "{at:?} of {full:?}");
                }
            }
        }
    }
}
