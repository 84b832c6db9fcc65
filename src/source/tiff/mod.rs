//! TIFF and BigTIFF pyramids (TIFF 6.0, its technical notes, BigTIFF).
//!
//! A file is opened once and shared: reading takes `&self`, and threads never wait for each other. A tile costs one
//! positioned read; only the parts of the arrays of tile offsets that are in use are kept in memory. `codec` has the
//! compression schemes, `ifd` the directories, `layout` the meaning of samples.

mod bands;
mod block;
#[cfg(test)]
pub(crate) mod build;
mod compression;
mod floats;
mod ifd;
mod image;
mod input;
#[cfg(test)]
mod kinds;
mod layout;
mod mask;
mod metadata;
mod ojpeg;
mod pyramid;
#[cfg(feature = "rare")]
mod rare;
#[cfg(not(feature = "rare"))]
#[path = "no_rare.rs"]
mod rare;
mod restarts;
mod sample_tags;
mod sums;
mod unpack;
mod writer;
mod ycbcr;

use crate::codec::jpeg;
use crate::codec::webp;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::limits;
pub use crate::limits::Limits;
use crate::raster::Alpha;
use crate::raster::Colour;
use crate::raster::Format;
use crate::raster::Metadata;
use crate::raster::Raster;
use crate::raster::SampleFormat;
use crate::raster::Samples;
use crate::raster::gather;
use crate::raster::strip;
use crate::source::Grid;
use crate::source::Header;
use crate::source::Piece;
use crate::source::Set;
use crate::source::Source;
use crate::source::Take;
use crate::source::Tile;
use crate::source::Window;
use crate::source::cache::NoCache;
use crate::source::cache::Part;
use crate::source::cache::TileCache;
use crate::source::derived::decoded_bytes;
use crate::source::derived::stored_bytes;
use crate::source::tiff::block::jpeg_colour;
use crate::source::tiff::compression::Compression;
use crate::source::tiff::ifd::Ifd;
use crate::source::tiff::ifd::Prologue;
use crate::source::tiff::image::Image;
use crate::source::tiff::input::Input;
use crate::source::tiff::layout::BlockLayout;
use crate::source::tiff::pyramid::Pages;
use crate::source::tiff::unpack::absent;
use crate::source::tiff::unpack::settle;
use crate::source::tiff::unpack::unpack;
use crate::source::tiff::unpack::weave;
use crate::source::window;
use crate::store::Blob;
use crate::uninit;
use std::cell::Cell;
use std::sync::Arc;

/// An open file.
#[derive(Debug)]
pub struct Tiff {
    input: Input,
    limits: Limits,
    header: Header,
    /// One image for each level of the header.
    images: Vec<Image>,
}

/// Buffers that a thread reuses from tile to tile.
#[derive(Default)]
struct TileScratch {
    coded: Vec<u8>,
    plain: Vec<u8>,
}

impl TileScratch {
    /// Keeps the buffers for the next tile, unless they are large.
    fn leave(self) {
        if self.coded.capacity().max(self.plain.capacity()) <= MAX_KEPT {
            SCRATCH.set(self);
        }
    }
}

/// Maximum pixels of a tile that most schemes decode in a few milliseconds.
const QUICK: u64 = 1 << 18;

/// Maximum decoded bytes of a tile that is read without checking whether the file holds any of it.
const SMALL: u64 = 1 << 20;

/// Decoded bytes of a level above which its range of values is estimated from parts, this many across and down.
const EXTENT_WHOLE: u64 = 12 << 20;
const EXTENT_PARTS: u32 = 4;
/// Side of such a part in pixels.
const EXTENT_SIDE: u32 = 128;

/// Buffers of more bytes are freed after use.
const MAX_KEPT: usize = 4 << 20;

thread_local! {
    static SCRATCH: Cell<TileScratch> = Cell::default();
}

impl Tiff {
    /// Reads the directories of an open file. Errors: `Missing` when it is not a TIFF, `Unsupported` when it cannot
    /// be served, `TooLarge` beyond the limits, `Corrupt` otherwise.
    pub fn open(file: Arc<dyn Blob>, limits: &Limits) -> Result<Tiff> {
        Tiff::open_page(file, 0, limits)
    }

    /// Opens one of several pictures in a file, counted from 0. `Error::Missing` when there is no such page.
    pub fn open_page(file: Arc<dyn Blob>, page: usize, limits: &Limits) -> Result<Tiff> {
        let input = Input::new(file);
        let prologue = Prologue::read(&input)?;
        let Pages { first, images, pages } = pyramid::page(&input, prologue, page, limits)?;
        let layout = images.first().map(|image| &image.layout);
        let layout = layout.ok_or_else(|| Error::Corrupt("no picture".into()))?;
        let mask = images.first().is_some_and(|image| image.mask.is_some());
        let channels = layout.channels() + usize::from(mask);
        let mut meaning = layout.meaning.clone();
        if mask {
            meaning.alpha = Alpha::Straight;
            let range = (0.0, mask::opaque(layout));
            meaning
                .ranges
                .insert(meaning.colour.channels().min(meaning.ranges.len()), range);
        }
        let mut header = Header {
            levels: images.iter().map(|image| image.level(limits)).collect(),
            channels: u8::try_from(channels).unwrap_or(u8::MAX),
            bits: if layout.complex { 32 } else { layout.bits },
            kind: if layout.complex {
                SampleFormat::Float
            } else {
                layout.kind
            },
            meaning,
            stored: if mask { None } else { stored(layout) },
            metadata: metadata::metadata(&first, &input, prologue, limits.metadata),
            version: input.version(),
            scalable: false,
            orientation: first.first(&input, 274).ok().flatten().unwrap_or(1),
            set: Set {
                stack: if pages.len() > 1 { pages } else { Vec::new() },
                ..Set::default()
            },
        };
        let most = limits.in_bands(header.version.bytes());
        for (index, image) in images.iter().enumerate() {
            if stored_bytes(&header, index) > most
                && let Some(level) = header.levels.get_mut(index)
            {
                level.present = image.present(&input);
            }
        }
        let mut tiff = Tiff {
            input,
            limits: *limits,
            header,
            images,
        };
        let extent = tiff.extent();
        for (range, found) in tiff.header.meaning.ranges.iter_mut().zip(extent) {
            *range = found.unwrap_or(*range);
        }
        Ok(tiff)
    }

    /// The ranges of signed samples in the smallest level, or in parts of it, if the file gives none: one range for
    /// all colours, and one for each extra channel. `None` for other samples, and where they cannot be read.
    fn extent(&self) -> Vec<Option<(f64, f64)>> {
        let Some((level, image)) = self.images.iter().enumerate().next_back() else {
            return Vec::new();
        };
        let layout = &image.layout;
        if layout.kind != SampleFormat::Signed || layout.complex || !layout.open {
            return Vec::new();
        }
        let channels = usize::from(self.header.channels).max(1);
        let colours = self.header.meaning.colour.channels();
        let alpha = (self.header.meaning.alpha != Alpha::None).then_some(colours);
        let mut ends = vec![(f64::INFINITY, f64::NEG_INFINITY); channels];
        // bytes that may be decoded for this
        let mut left = self.limits.in_bands(self.header.version.bytes());
        for rect in self.extent_parts(image.size) {
            let window = Window::new(level, rect);
            let read = || {
                let effort = self.header.effort(window, &NoCache);
                left = left.checked_sub(decoded_bytes(&self.header, effort.pixels))?;
                window::raster(self, window, &NoCache).ok()
            };
            let Some(Samples::F32(values)) = self
                .vacant(image, rect)
                .or_else(read)
                .map(|raster| raster.samples)
            else {
                continue;
            };
            for (at, value) in values.iter().map(|value| f64::from(*value)).enumerate() {
                let channel = at % channels;
                let place = if channel < colours { 0 } else { channel };
                if let Some((low, high)) = ends.get_mut(place).filter(|_| Some(value) != layout.nodata) {
                    (*low, *high) = (low.min(value), high.max(value));
                }
            }
        }
        let range = |channel: usize| {
            let place = if channel < colours { 0 } else { channel };
            let (low, high) = ends.get(place).copied().filter(|_| alpha != Some(channel))?;
            (low <= high).then_some((low, if low < high { high } else { low + 1.0 }))
        };
        (0..channels).map(range).collect()
    }

    /// The parts of a level of this size that [`Tiff::extent`] reads.
    fn extent_parts(&self, size: Size) -> Vec<Rect> {
        let is_small = decoded_bytes(&self.header, size.area()) <= EXTENT_WHOLE;
        let parts = if is_small { 1 } else { EXTENT_PARTS };
        let most = if is_small { u32::MAX } else { EXTENT_SIDE };
        let (w, h) = (size.w / parts, size.h / parts);
        let part = |(x, y)| Rect::new(x * w, y * h, w.clamp(1, most), h.clamp(1, most));
        let places = (0..parts).flat_map(|y| (0..parts).map(move |x| (x, y)));
        places.map(part).collect()
    }

    /// The name of the compression of level 0.
    pub fn scheme(&self) -> String {
        let compression = self.images.first().map(|image| image.layout.compression);
        let name = compression.map(|compression| format!("{compression:?}"));
        let name = name.as_deref().and_then(|name| name.split('(').next());
        name.unwrap_or_default().into()
    }

    fn find(&self, tile: Tile) -> Result<(&Image, Rect)> {
        let rect = tile.rect(&self.header.levels);
        let found = self.images.get(tile.level).zip(rect);
        found.ok_or_else(|| window::outside(tile))
    }

    /// Decodes a tile. Tiles that were never written have the value of GDAL_NODATA in every sample, or 0.
    fn tile(&self, tile: Tile) -> Result<Raster> {
        let (image, rect) = self.find(tile)?;
        let size = rect.size();
        image.check(image.cell(tile.row), &self.limits)?;
        let samples = each_plane(&image.layout, |layout, plane| {
            self.block(image, layout, plane, tile, size)
        })?;
        self.with_mask(image, channels(image, size, samples), rect)
    }

    /// `Error::Limit` when a window has more decoded bytes than the file may have in memory, in a level that claims
    /// more than its bytes justify. [`derived::check_worth`] bounds the work of a whole answer before it starts; this
    /// bounds the memory of each piece, and knows which tiles the file has.
    ///
    /// [`derived::check_worth`]: crate::source::derived::check_worth
    fn check_memory(&self, level: usize, size: Size) -> Result<()> {
        let len = self.header.version.bytes();
        let most = self.limits.in_bands(len);
        let present = self.header.levels.get(level).map_or(0, |level| level.present);
        if present <= most || stored_bytes(&self.header, level) <= most {
            return Ok(());
        }
        let bytes = decoded_bytes(&self.header, size.area());
        limits::check(
            "decoded bytes of a window:",
            "EXPANSION",
            bytes,
            self.limits.in_memory(len),
        )
    }

    /// The pixel that fills a window for which the file holds no data; `None` when it may hold some.
    fn vacant(&self, image: &Image, rect: Rect) -> Option<Raster> {
        if image.mask.is_some() || !image.is_vacant(&self.input, rect) {
            return None;
        }
        let one = Size::new(1, 1);
        let samples = each_plane(&image.layout, |layout, _| Ok(absent(layout, one))).ok()?;
        Some(channels(image, one, samples))
    }
}

/// Reads the first directory of the EXIF block of `len` bytes at `start` in a file: its metadata and Orientation (1
/// by default). `None` when it is damaged.
pub fn exif(file: Arc<dyn Blob>, start: u64, len: u64) -> Option<(Metadata, u64)> {
    let input = Input::new(file).part(start, len)?;
    let prologue = Prologue::read(&input).ok()?;
    let ifd = Ifd::read(&input, prologue, prologue.first).ok()?;
    let orientation = ifd.first(&input, 274).ok().flatten().unwrap_or(1);
    Some((metadata::metadata(&ifd, &input, prologue, len), orientation))
}

impl Source for Tiff {
    fn header(&self) -> &Header {
        &self.header
    }

    /// Uncompressed strips are read by position: the cost depends on the window, not on the height of the strips.
    fn read(&self, window: Window, keep: &dyn TileCache, take: &mut Take) -> Result<()> {
        let (index, rect) = (window.level, window.rect);
        let none = || Error::Outside("no such level".into());
        let (image, level) = (self.images.get(index).zip(self.header.levels.get(index))).ok_or_else(none)?;
        if level.grid == Grid::Order && rect == Rect::of(image.size) {
            return bands::read(image, &self.input, &self.limits, &mut |raster, at| {
                take(Piece::Pixels(self.with_mask(image, raster, at)?), at)
            });
        }
        // a small tile is read as fast as it is checked
        let is_small = decoded_bytes(&self.header, rect.size().area()) <= SMALL
            && window.tile(&self.header.levels).is_some();
        if !is_small && let Some(pixel) = self.vacant(image, rect) {
            return take(Piece::Vacant(pixel), rect);
        }
        self.check_memory(index, rect.size())?;
        if image.by_position() {
            let raster = self.rows(image, rect)?;
            return take(Piece::Pixels(self.with_mask(image, raster, rect)?), rect);
        }
        self.prefetch(image, rect)?;
        let decode = |tile| self.tile(tile);
        let sliver = |tile, part| self.sliver(tile, part, keep);
        window::of_parts(&self.header.levels, window, keep, take, decode, sliver)
    }

    fn coded(&self, tile: Tile, format: Format) -> Result<Option<Vec<u8>>> {
        let (image, rect) = self.find(tile)?;
        if rect.size() != image.tile || stored(&image.layout) != Some(format) {
            return Ok(None);
        }
        let Some((at, len)) = image.place(&self.input, tile.col, tile.row, 0)? else {
            return Ok(None);
        };
        let bytes = self.input.take(at, len)?;
        match format {
            Format::Jpeg if !jpeg::is_browser_compatible(&bytes) => Ok(None),
            Format::Jpeg => {
                jpeg::merge(image.layout.tables.as_deref(), &bytes, jpeg_colour(&image.layout)).map(Some)
            }
            _ if webp::measure(&bytes) == Some(image.tile) => Ok(Some(bytes)),
            _ => Err(Error::Corrupt("WebP tile is damaged or of another size".into())),
        }
    }
}

impl Tiff {
    /// Reads a part of a tile, given as a rectangle of the level, without the tile's other rows; `None` where the
    /// samples are not stored as they are returned, or `keep` holds the tile.
    fn sliver(&self, tile: Tile, part: Rect, keep: &dyn TileCache) -> Result<Option<Raster>> {
        let (image, rect) = self.find(tile)?;
        let (layout, cell) = (&image.layout, image.cell(tile.row));
        if !image.plain || image.mask.is_some() || keep.holds(Part::Tile(tile)) {
            return Ok(None);
        }
        let place = image.place(&self.input, tile.col, tile.row, 0)?;
        let Some((at, _)) = place.filter(|(_, len)| *len == layout.bytes(cell)) else {
            return Ok(None);
        };
        image.check(cell, &self.limits)?;
        let line = layout.line(cell.w);
        let at = at.saturating_add(u64::from(part.y - rect.y) * line);
        let left = usize::try_from(layout.line(part.x - rect.x)).unwrap_or(usize::MAX);
        let mut scratch = SCRATCH.take();
        let rows = self.input.read(at, u64::from(part.h) * line, &mut scratch.coded);
        let samples = rows.and_then(|rows| {
            let rows = rows.get_mut(left..).unwrap_or_default();
            unpack(layout, rows, cell.w, part.size())
        });
        scratch.leave();
        Ok(Some(channels(image, part.size(), samples?)))
    }

    /// Adds the mask, if any, as alpha to the raster of a rectangle of a level.
    fn with_mask(&self, image: &Image, raster: Raster, rect: Rect) -> Result<Raster> {
        let Some(mask) = &image.mask else {
            return Ok(raster);
        };
        let alpha = self.part(mask, rect)?;
        mask::put(raster, &alpha, &image.layout)
    }

    /// Reads a rectangle of a picture, in strips or in tiles.
    fn part(&self, image: &Image, rect: Rect) -> Result<Raster> {
        if image.by_position() {
            return self.rows(image, rect);
        }
        let blank = channels(image, Size::new(0, 0), image.layout.blank(Size::new(0, 0)));
        let mut out = window::blank(rect.size(), &blank)?;
        let (cols, rows) = rect.cells(image.tile);
        for row in rows {
            for col in cols.clone() {
                let Some(cell) = Rect::cell(image.size, image.tile, col, row) else {
                    continue;
                };
                image.check(image.cell(row), &self.limits)?;
                let tile = Tile { level: 0, col, row };
                let samples = each_plane(&image.layout, |layout, plane| {
                    self.block(image, layout, plane, tile, cell.size())
                })?;
                window::put(&channels(image, cell.size(), samples), cell, &mut out, rect)?;
            }
        }
        Ok(out)
    }

    /// Announces the tiles of a window to the blob, if there are several.
    fn prefetch(&self, image: &Image, rect: Rect) -> Result<()> {
        let (cols, rows) = rect.cells(image.tile);
        if cols.len().saturating_mul(rows.len()) <= 1 {
            return Ok(());
        }
        let planes = if image.layout.separate {
            image.layout.picks.as_slice()
        } else {
            &[0]
        };
        let cells = rows.flat_map(|row| cols.clone().map(move |col| (col, row)));
        let blocks = cells.flat_map(|(col, row)| planes.iter().map(move |plane| (col, row, *plane)));
        self.input.prefetch(&mut blocks.filter_map(|(col, row, plane)| {
            let place = image.place(&self.input, col, row, plane);
            place.ok().flatten()
        }))
    }

    /// Decodes the upper left `size` of one block: a tile, or a plane of it.
    fn block(
        &self,
        image: &Image,
        layout: &BlockLayout,
        plane: usize,
        tile: Tile,
        size: Size,
    ) -> Result<Samples> {
        let cell = image.cell(tile.row);
        let Some((at, len)) = image.place(&self.input, tile.col, tile.row, plane)? else {
            return Ok(absent(layout, size));
        };
        if image.plain && size == cell && len == layout.bytes(cell) {
            return self.plain(layout, at, cell);
        }
        // a facsimile counts a quarter of its samples
        let share = if layout.bits < 8 { 4 } else { 1 };
        let most = self.limits.in_memory(len).saturating_mul(share);
        limits::check("decoded bytes of a tile:", "EXPANSION", layout.memory(cell), most)?;
        let mut scratch = SCRATCH.take();
        let TileScratch { coded, plain } = &mut scratch;
        let samples = if size == cell && block::in_pieces(layout) {
            block::of_pieces(layout, cell, |take| self.input.pieces(at, len, coded, take))
        } else {
            let coded = self.input.read(at, len, coded);
            coded.and_then(|coded| block::decode(layout, coded, cell, size, plain))
        };
        scratch.leave();
        samples
    }

    /// Reads the samples of a block that is [stored as it is returned](Image::plain).
    fn plain(&self, layout: &BlockLayout, at: u64, cell: Size) -> Result<Samples> {
        let mut samples = layout.filled(cell, |buf| self.input.put(at, layout.bytes(cell), buf))?;
        settle(layout, cell.w, &mut samples);
        Ok(samples)
    }

    /// Reads a rectangle of a picture in uncompressed strips.
    fn rows(&self, image: &Image, rect: Rect) -> Result<Raster> {
        let outside = || Error::Outside("no such rows".into());
        let (first, high) = (rect.y / image.tile.h, u64::from(image.tile.h));
        let end = u32::try_from(rect.bottom().div_ceil(high)).map_err(|_| outside())?;
        // pixels of less than a byte are read in groups of eight
        let left = rect.x % 8;
        let mut bands = Vec::new();
        for row in first..end {
            let cell = Rect::cell(image.size, image.tile, 0, row).ok_or_else(outside)?;
            let part = cell.meet(rect).ok_or_else(outside)?;
            let part = Rect::new(part.x - left, part.y, part.w + left, part.h);
            let samples = each_plane(&image.layout, |layout, plane| {
                let Some((at, _)) = image.place(&self.input, 0, row, plane)? else {
                    return Ok(absent(layout, part.size()));
                };
                let line = layout.line(image.size.w);
                let at = at.saturating_add(u64::from(part.y - cell.y).saturating_mul(line));
                let mut plain = self.columns(layout, at, line, part)?;
                block::decode(layout, &mut plain, part.size(), part.size(), &mut Vec::new())
            })?;
            bands.push(strip(channels(image, part.size(), samples)));
        }
        let wide = gather(bands)?;
        if left == 0 {
            return Ok(wide);
        }
        let mut out = window::blank(rect.size(), &wide)?;
        let place = Rect::new(rect.x - left, rect.y, rect.w + left, rect.h);
        window::put(&wide, place, &mut out, rect)?;
        Ok(out)
    }

    /// Reads the bytes of `part` from rows of `line` bytes, the first of which begins at `at`.
    fn columns(&self, layout: &BlockLayout, at: u64, line: u64, part: Rect) -> Result<Vec<u8>> {
        let at = at.saturating_add(layout.line(part.x));
        let wanted = layout.line(part.w);
        let whole = if wanted == line { u64::from(part.h) } else { 1 };
        let bytes = usize::try_from(wanted.saturating_mul(part.h.into())).unwrap_or(usize::MAX);
        let rows = u64::from(part.h.saturating_sub(1));
        if !self
            .input
            .holds(at, line.saturating_mul(rows).saturating_add(wanted))
        {
            return Err(Error::Corrupt(format!(
                "the rows at {at} reach beyond the end of the file"
            )));
        }
        let step = wanted.saturating_mul(whole);
        let count = u64::from(part.h) / whole.max(1);
        // inside the file, as checked above
        uninit::filled(bytes, |buf| {
            (0..count).try_for_each(|row| self.input.put(at + row * line, step, buf))
        })
    }
}

/// The raster of a picture without its mask.
fn channels(image: &Image, size: Size, samples: Samples) -> Raster {
    Raster {
        size,
        channels: u8::try_from(image.layout.channels()).unwrap_or(u8::MAX),
        samples,
    }
}

/// Joins the planes of a block, which `read` returns by layout and number; contiguous samples are a single plane.
fn each_plane(
    layout: &BlockLayout,
    read: impl Fn(&BlockLayout, usize) -> Result<Samples>,
) -> Result<Samples> {
    if !layout.separate {
        return read(layout, 0);
    }
    let planes = layout.picks.iter().enumerate();
    let planes: Result<Vec<Samples>> = planes
        .map(|(index, plane)| read(&layout.plane(index), *plane))
        .collect();
    weave(layout, planes?)
}

/// The format of a tile's coded bytes, if they show the same as its samples.
fn stored(layout: &BlockLayout) -> Option<Format> {
    let colours = match layout.meaning.colour {
        Colour::Grey => 1,
        Colour::Rgb => 3,
        Colour::Lab | Colour::Cmyk => return None,
    };
    let meant = layout.stored == colours + usize::from(layout.meaning.alpha != Alpha::None);
    match layout.compression {
        Compression::Jpeg if layout.head.is_some() => None,
        Compression::Jpeg if layout.as_is() && layout.stored == colours => Some(Format::Jpeg),
        Compression::Webp if layout.as_is() && meant && layout.meaning.alpha != Alpha::Premultiplied => {
            Some(Format::Webp)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Size;
    use crate::source::tiff::build::Build;
    use crate::source::tiff::build::FieldEntry;
    use crate::source::tiff::build::Temp;
    use crate::source::tiff::build::single;
    use crate::source::tiff::build::tags;
    use crate::source::tiff::build::with;
    use crate::source::tiff::input::ByteOrder;

    fn open(bytes: &[u8]) -> Result<Tiff> {
        Tiff::open(Temp::new(bytes).open(), &Limits::default())
    }

    fn read(tiff: &Tiff, tile: Tile) -> Result<Raster> {
        window::tile(tiff, tile, &NoCache)
    }

    fn tile(level: usize, col: u32, row: u32) -> Tile {
        Tile { level, col, row }
    }

    /// A file of three levels: deflated with a predictor, LZW without one, and uncompressed; with metadata.
    fn small() -> Vec<u8> {
        let mut build = Build::new(ByteOrder::Little, false);
        let samples: Vec<u8> = (0..256).map(|i| ((i * i) >> 5) as u8).collect();
        let deflated = miniz_oxide::deflate::compress_to_vec_zlib(&samples, 6);
        let d = build.blob(&deflated);
        // Clear, three literal codes of 9 bits, end.
        let l = build.blob(&[0x80, 0x0b, 0x05, 0x03, 0x20, 0x20]);
        let p = build.blob(&samples);
        let len = deflated.len() as u64;
        let last = build.ifd(&tags((8, 5), 1, 1, vec![p]), 0);
        let middle = with(
            tags((16, 10), 1, 1, vec![l]),
            &[(259, 3, vec![5]), (325, 4, vec![6])],
        );
        let middle = build.ifd(&middle, last);
        let full = with(
            tags((33, 20), 1, 1, vec![d, d, 0, d, d, d]),
            &[
                (259, 3, vec![8]),
                (270, 2, vec![65; 30]),
                (282, 5, vec![300 << 32 | 1]),
                (317, 3, vec![2]),
                (325, 4, vec![len, len, 0, len, len, len]),
                (34675, 7, vec![9; 40]),
            ],
        );
        let first = build.ifd(&full, middle);
        build.finish(first)
    }

    fn read_all(tiff: &Tiff) {
        for (index, level) in tiff.header().levels.iter().enumerate() {
            let (size, cell) = (level.size, level.tile);
            let grid = size.grid(cell);
            for (col, row) in
                (0..grid.h.min(50)).flat_map(|row| (0..grid.w.min(50)).map(move |col| (col, row)))
            {
                let tile = tile(index, col, row);
                if let Ok(raster) = read(tiff, tile) {
                    let expected = tile.rect(&tiff.header().levels).unwrap().size();
                    assert_eq!(raster.size, expected);
                    let area = usize::try_from(expected.area()).unwrap();
                    assert_eq!(raster.samples.len(), area * usize::from(raster.channels));
                }
                let _ = tiff.coded(tile, Format::Jpeg);
                let _ = tiff.coded(tile, Format::Webp);
            }
        }
    }

    #[test]
    fn tiles_are_read_clipped_and_blank_where_never_written() {
        let tiff = open(&small()).unwrap();
        let sizes: Vec<_> = tiff
            .header()
            .levels
            .iter()
            .map(|l| (l.size.w, l.size.h))
            .collect();
        assert_eq!(sizes, [(33, 20), (16, 10), (8, 5)]);
        assert_eq!(read(&tiff, tile(0, 0, 0)).unwrap().size, Size::new(16, 16));
        let sparse = read(&tiff, tile(0, 2, 0)).unwrap();
        assert_eq!(
            (sparse.size, sparse.samples),
            (Size::new(1, 16), Samples::U8(vec![0; 16]))
        );
        let cut = read(&tiff, tile(0, 2, 1)).unwrap();
        assert_eq!(
            (cut.size, cut.samples),
            (Size::new(1, 4), Samples::U8(vec![0, 8, 32, 72]))
        );
        assert!(matches!(read(&tiff, tile(0, 3, 0)), Err(Error::Outside(_))));
        assert!(matches!(read(&tiff, tile(3, 0, 0)), Err(Error::Outside(_))));
        assert!(
            matches!(read(&tiff, tile(1, 0, 0)), Err(Error::Corrupt(_))),
            "a tile of three bytes is accepted"
        );
        assert_eq!(tiff.coded(tile(0, 0, 0), Format::Jpeg).unwrap(), None);
    }

    #[test]
    fn windows_over_slivers_of_uncompressed_tiles_match_the_tiles() {
        let (side, picture) = (32, Rect::new(0, 0, 90, 80));
        // byte order, bits, sample format, predictor; whether parts can be read
        for (order, bits, format, predictor, parts) in [
            (ByteOrder::Little, 8, 1, 1, true),
            (ByteOrder::Little, 16, 1, 1, true),
            (ByteOrder::Big, 16, 1, 1, true),
            (ByteOrder::Big, 32, 1, 1, true),
            (ByteOrder::Big, 32, 3, 1, true),
            (ByteOrder::Little, 8, 1, 2, true),
            (ByteOrder::Little, 12, 1, 1, false),
        ] {
            let mut build = Build::new(order, false);
            let bytes = side * side * bits / 8;
            let tiles = (0..9u32).map(|n| {
                let data: Vec<u8> = (0..bytes).map(|i| (i * 7 + n * 31 + i / 50) as u8).collect();
                build.blob(&data)
            });
            let places: Vec<u64> = tiles.collect();
            let ifd = with(
                tags((90, 80), 1, 1, places),
                &[
                    (258, 3, vec![bits.into()]),
                    (317, 3, vec![predictor]),
                    (322, 3, vec![side.into()]),
                    (323, 3, vec![side.into()]),
                    (325, 4, vec![bytes.into(); 9]),
                    (339, 3, vec![format]),
                ],
            );
            let first = build.ifd(&ifd, 0);
            let tiff = open(&build.finish(first)).unwrap();
            let mut all: Option<Raster> = None;
            for (col, row) in (0..3).flat_map(|row| (0..3).map(move |col| (col, row))) {
                let raster = read(&tiff, tile(0, col, row)).unwrap();
                let rect = tile(0, col, row).rect(&tiff.header().levels).unwrap();
                let all = all.get_or_insert_with(|| window::blank(picture.size(), &raster).unwrap());
                window::put(&raster, rect, all, picture).unwrap();
            }
            let all = all.unwrap();
            for rect in [
                Rect::new(31, 30, 35, 36),
                Rect::new(63, 1, 27, 66),
                Rect::new(29, 63, 61, 17),
                Rect::new(40, 41, 9, 8),
            ] {
                let found = window::raster(&tiff, Window::new(0, rect), &NoCache).unwrap();
                let mut wanted = window::blank(rect.size(), &all).unwrap();
                window::put(&all, picture, &mut wanted, rect).unwrap();
                assert_eq!(found, wanted, "{order:?} {bits} {format} {predictor} {rect:?}");
                let corner = tile(0, rect.x / side, rect.y / side);
                let part = Rect::new(rect.x, rect.y, 1, 1);
                let part = tiff.sliver(corner, part, &NoCache).unwrap();
                assert_eq!(part.is_some(), parts, "{order:?} {bits} {format} {predictor}");
            }
        }
        let coded = open(&small()).unwrap();
        let part = coded.sliver(tile(0, 0, 0), Rect::new(0, 0, 1, 1), &NoCache);
        assert_eq!(part.unwrap(), None);
    }

    #[test]
    fn truncated_files_are_errors_or_read_without_panic() {
        let whole = small();
        let mut opened = 0;
        for len in 0..whole.len() {
            match open(&whole[..len]) {
                Ok(tiff) => {
                    opened += 1;
                    read_all(&tiff);
                }
                Err(error) => assert!(
                    matches!(error, Error::Corrupt(_) | Error::Missing(_)),
                    "{len}: {error}"
                ),
            }
        }
        // The directories are at the end of the file; only the very last word may be missing.
        assert!(opened <= 4, "{opened}");
    }

    #[test]
    fn files_with_one_changed_byte_never_panic() {
        let whole = small();
        for at in 0..whole.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut wrong = whole.clone();
                wrong[at] ^= flip;
                if let Ok(tiff) = open(&wrong) {
                    read_all(&tiff);
                }
            }
        }
    }

    #[test]
    fn tile_offsets_are_not_read_at_opening() {
        let mut build = Build::new(ByteOrder::Little, false);
        let million = with(
            tags((16_000, 16_000), 1, 1, vec![16; 1_000_000]),
            &[(325, 3, vec![256; 1_000_000])],
        );
        build.blob(&[7; 256]);
        let first = build.ifd(&million, 0);
        let bytes = build.finish(first);
        let tiff = open(&bytes).unwrap();
        assert_eq!(
            read(&tiff, tile(0, 999, 999)).unwrap().samples,
            Samples::U8(vec![7; 256])
        );
        // The same directory in a file that ends before the arrays opens, too; the first tile is an error.
        let mut short = bytes[..272].to_vec();
        let directory = bytes[usize::try_from(first).unwrap()..].to_vec();
        short[4..8].copy_from_slice(&272u32.to_le_bytes());
        short.extend(directory);
        let tiff = open(&short).unwrap();
        assert!(matches!(read(&tiff, tile(0, 999, 999)), Err(Error::Corrupt(_))));
    }

    #[test]
    fn uncompressed_tiles_need_no_counts_and_may_end_at_the_edge_of_the_picture() {
        let file = single(&[5; 256], |at| {
            with(tags((16, 2), 1, 1, vec![at]), &[(325, 4, vec![])])
        });
        assert_eq!(
            read(&open(&file).unwrap(), tile(0, 0, 0)).unwrap().samples,
            Samples::U8(vec![5; 32])
        );
        let file = single(&[5; 32], |at| {
            with(tags((16, 2), 1, 1, vec![at]), &[(325, 4, vec![32])])
        });
        assert_eq!(
            read(&open(&file).unwrap(), tile(0, 0, 0)).unwrap().samples,
            Samples::U8(vec![5; 32])
        );
    }

    #[test]
    fn offsets_and_counts_beyond_the_file_are_corrupt() {
        let read = |offset: u64, count: u64, compression: u64| {
            let more = [
                (324, 16, vec![offset]),
                (325, 16, vec![count]),
                (259, 3, vec![compression]),
            ];
            let file = single(&[0; 600], |at| with(tags((16, 16), 1, 1, vec![at]), &more));
            read(&open(&file).unwrap(), tile(0, 0, 0))
        };
        for compression in [1, 5, 7, 8, 50000] {
            for (offset, count) in [
                (1 << 40, 256),
                (u64::MAX, 256),
                (16, u64::MAX),
                (16, 100_000),
                (16, 1),
            ] {
                let found = read(offset, count, compression);
                let plain = compression == 1 && count > 256 && offset == 16;
                assert_eq!(found.is_ok(), plain, "{offset} {count} {compression}");
                assert!(plain || matches!(found, Err(Error::Corrupt(_))), "{found:?}");
            }
        }
    }

    #[test]
    fn missing_tiles_have_the_nodata_value_or_zero() {
        let read = |channels: u64, photometric: u64, more: &[FieldEntry]| {
            let bytes = single(&[], |_| {
                with(tags((16, 16), channels, photometric, vec![0]), more)
            });
            let samples = read(&open(&bytes).unwrap(), tile(0, 0, 0)).unwrap().samples;
            match samples {
                Samples::U8(v) => v[..v.len() / 256].iter().map(|v| f32::from(*v)).collect(),
                Samples::U16(v) => v[..v.len() / 256].iter().map(|v| f32::from(*v)).collect(),
                Samples::U32(v) => vec![v[0] as f32],
                Samples::F32(v) => vec![v[0]],
            }
        };
        let nodata = |text: &str| (42113, 2, text.bytes().chain([0]).map(u64::from).collect());
        let bits = |bits: u64, format: u64| [(258, 3, vec![bits]), (339, 3, vec![format])];
        assert_eq!(read(1, 1, &[]), [0.0]);
        assert_eq!(read(1, 0, &[]), [255.0]);
        assert_eq!(read(1, 0, &[nodata("55")]), [200.0]);
        assert_eq!(read(3, 2, &[nodata(" 7 ")]), [7.0; 3]);
        assert_eq!(
            read(
                3,
                2,
                &[
                    (284, 3, vec![2]),
                    (324, 4, vec![0; 3]),
                    (325, 4, vec![0; 3]),
                    nodata("7")
                ]
            ),
            [7.0; 3]
        );
        // zero is the middle of a* and b*
        assert_eq!(read(3, 8, &[]), [0.0, 128.0, 128.0]);
        let map = (0..768).map(|i| (i % 256 + i / 256) << 8).collect();
        assert_eq!(read(1, 3, &[(320, 3, map), nodata("4")]), [4.0, 5.0, 6.0]);
        // values outside the range of the samples
        for text in ["-1", "256", "1.5", "none", "nan", ""] {
            assert_eq!(read(1, 1, &[nodata(text)]), [0.0], "{text}");
        }
        assert_eq!(read(1, 1, &[&bits(4, 1)[..], &[nodata("15")]].concat()), [255.0]);
        assert_eq!(
            read(1, 1, &[&bits(12, 1)[..], &[nodata("2048")]].concat()),
            [32776.0]
        );
        assert_eq!(
            read(1, 1, &[&bits(32, 1)[..], &[nodata("70000")]].concat()),
            [70000.0]
        );
        assert_eq!(
            read(1, 1, &[&bits(16, 2)[..], &[nodata("-32768")]].concat()),
            [-32768.0]
        );
        assert_eq!(
            read(1, 1, &[&bits(32, 3)[..], &[nodata("-9999.5")]].concat()),
            [-9999.5]
        );
        assert_eq!(read(1, 1, &[&bits(32, 3)[..], &[nodata("nan")]].concat()), [0.0]);
    }

    #[test]
    fn indices_with_alpha_stay_indices_in_planes() {
        let map: Vec<u64> = (0..48).map(|i| (i * 5) << 8).collect();
        // index 3 and alpha 9 of 4 bits
        for (planar, blocks) in [
            (1, vec![vec![0x39; 256]]),
            (2, vec![vec![0x33; 128], vec![0x99; 128]]),
        ] {
            let mut build = Build::new(ByteOrder::Little, false);
            let at: Vec<u64> = blocks.iter().map(|block| build.blob(block)).collect();
            let counts = blocks.iter().map(|block| block.len() as u64).collect();
            let more = [
                (258, 3, vec![4; 2]),
                (284, 3, vec![planar]),
                (320, 3, map.clone()),
                (325, 4, counts),
                (338, 3, vec![2]),
            ];
            let first = build.ifd(&with(tags((16, 16), 2, 3, at), &more), 0);
            let tiff = open(&build.finish(first)).unwrap();
            let wanted = [15, 95, 175, 153].repeat(256);
            assert_eq!(read(&tiff, tile(0, 0, 0)).unwrap().samples, Samples::U8(wanted));
        }
    }
}
