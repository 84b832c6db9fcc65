//! TIFF and BigTIFF: tiled pyramids of 8-bit grey, RGB and YCbCr (TIFF 6.0, its technical notes, BigTIFF).
//!
//! A file is opened once and shared: reading takes `&self`, and no thread waits for another. A tile costs one
//! positioned read of its coded bytes; of the arrays that say where tiles lie only the parts asked for are in memory.
//! Schemes of compression are `codec`'s business, what is in a directory `ifd`'s, what samples mean `layout`'s.

mod ifd;
mod input;
mod layout;
mod metadata;
mod pyramid;
mod unpack;
mod ycbcr;

use crate::codec::deflate;
use crate::codec::jpeg;
use crate::codec::lzw;
use crate::codec::webp;
use crate::codec::zstd;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::raster::Format;
use crate::raster::Raster;
use crate::raster::Samples;
use crate::source::Alpha;
use crate::source::Colour;
use crate::source::Header;
use crate::source::Kind;
use crate::source::Level;
use crate::source::Source;
use crate::source::Tile;
use crate::source::tiff::ifd::Prologue;
use crate::source::tiff::input::Input;
use crate::source::tiff::layout::Compression;
use crate::source::tiff::layout::Layout;
use crate::source::tiff::pyramid::Image;
use crate::source::tiff::unpack::unpack;
use std::cell::Cell;
use std::path::Path;

/// What a file may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a decoded tile.
    pub max_tile_bytes: u64,
    /// Directories that are looked at; levels further on are not found.
    pub max_ifds: usize,
    /// Bytes of one tag (profile, XMP packet, text); longer ones are left out.
    pub max_tag_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_tile_bytes: 256 << 20,
            max_ifds: 1024,
            max_tag_bytes: 16 << 20,
        }
    }
}

/// An open file.
#[derive(Debug)]
pub struct Tiff {
    input: Input,
    header: Header,
    /// One for each level of the header.
    images: Vec<Image>,
}

/// Memory that a thread keeps from tile to tile.
#[derive(Default)]
struct Scratch {
    coded: Vec<u8>,
    plain: Vec<u8>,
}

/// Larger than this it is given back.
const MAX_KEPT: usize = 4 << 20;

thread_local! {
    static SCRATCH: Cell<Scratch> = Cell::default();
}

impl Tiff {
    /// Opens a file and reads its directories. `Error::Missing` when it is not there or not a TIFF,
    /// `Error::Unsupported` when it is not served, `Error::TooLarge` beyond the limits, `Error::Corrupt` otherwise.
    pub fn open(path: &Path, limits: &Limits) -> Result<Tiff> {
        let input = Input::open(path)?;
        let prologue = Prologue::read(&input)?;
        let (first, images) = pyramid::levels(&input, prologue, limits)?;
        let layout = images.first().map(|image| &image.layout);
        let layout = layout.ok_or_else(|| Error::Corrupt("no picture".into()))?;
        let channels = layout.channels();
        let header = Header {
            levels: images
                .iter()
                .map(|image| Level {
                    size: image.size,
                    tile: image.tile,
                })
                .collect(),
            channels: u8::try_from(channels).unwrap_or(u8::MAX),
            bits: 8,
            kind: Kind::Unsigned,
            colour: if layout.colours == 3 {
                Colour::Rgb
            } else {
                Colour::Grey
            },
            alpha: layout.alpha(),
            range: metadata::range(&first, &input, channels),
            stored: stored(layout),
            metadata: metadata::metadata(&first, &input, limits.max_tag_bytes),
            version: input.version(),
        };
        Ok(Tiff {
            input,
            header,
            images,
        })
    }

    fn find(&self, tile: Tile) -> Result<(&Image, Rect)> {
        let rect = tile.rect(&self.header.levels);
        self.images.get(tile.level).zip(rect).ok_or_else(|| {
            Error::Outside(format!(
                "no tile {},{} in level {}",
                tile.col, tile.row, tile.level
            ))
        })
    }
}

impl Source for Tiff {
    fn header(&self) -> &Header {
        &self.header
    }

    /// A tile that was never written is 0 in every channel.
    fn read(&self, tile: Tile) -> Result<Raster> {
        let (image, rect) = self.find(tile)?;
        let size = rect.size();
        let layout = &image.layout;
        let samples = match image.place(&self.input, tile.col, tile.row)? {
            None => vec![0; image_len(size, layout)],
            Some((at, len)) if len == image.tile_bytes && size == image.tile && is_plain(layout) => {
                self.input.take(at, len)?
            }
            Some((at, len)) => {
                let mut scratch = SCRATCH.take();
                let samples = self.decode(image, size, at, len, &mut scratch);
                if scratch.coded.capacity().max(scratch.plain.capacity()) <= MAX_KEPT {
                    SCRATCH.set(scratch);
                }
                samples?
            }
        };
        Ok(Raster {
            size,
            channels: self.header.channels,
            samples: Samples::U8(samples),
        })
    }

    fn coded(&self, tile: Tile, format: Format) -> Result<Option<Vec<u8>>> {
        let (image, rect) = self.find(tile)?;
        if rect.size() != image.tile || stored(&image.layout) != Some(format) {
            return Ok(None);
        }
        let Some((at, len)) = image.place(&self.input, tile.col, tile.row)? else {
            return Ok(None);
        };
        let bytes = self.input.take(at, len)?;
        match format {
            Format::Jpeg => {
                jpeg::merge(image.tables.as_deref(), &bytes, jpeg_colour(&image.layout)).map(Some)
            }
            _ if webp::measure(&bytes) == Some(image.tile) => Ok(Some(bytes)),
            _ => Err(Error::Corrupt("WebP tile is damaged or of another size".into())),
        }
    }
}

impl Tiff {
    /// The samples of the upper left `size` of the tile whose coded bytes lie here.
    fn decode(&self, image: &Image, size: Size, at: u64, len: u64, scratch: &mut Scratch) -> Result<Vec<u8>> {
        let Image { tile, layout, .. } = image;
        let Scratch { coded, plain } = scratch;
        let coded = self.input.read(at, len, coded)?;
        let bytes = usize::try_from(image.tile_bytes).unwrap_or(usize::MAX);
        let plain = match layout.compression {
            Compression::None => coded,
            Compression::Lzw => lzw::decode(coded, bytes, plain)?,
            Compression::Deflate => deflate::inflate(coded, bytes, plain)?,
            Compression::Zstd => zstd::decode(coded, bytes, plain)?,
            Compression::Webp => {
                let channels = u8::try_from(layout.stored).unwrap_or(u8::MAX);
                webp::decode(coded, *tile, channels, plain)?
            }
            Compression::Jpeg => {
                let stream = jpeg::merge(image.tables.as_deref(), coded, jpeg_colour(layout))?;
                return from_jpeg(jpeg::decode(&stream, *tile)?, layout, size);
            }
        };
        unpack(layout, plain, tile.w, size)
    }
}

/// Cut to `size`, and inverted if white is 0.
fn from_jpeg(raster: Raster, layout: &Layout, size: Size) -> Result<Vec<u8>> {
    let Raster {
        size: found,
        channels,
        samples: Samples::U8(mut samples),
    } = raster
    else {
        return Err(Error::Corrupt("a JPEG tile has more than 8 bits".into()));
    };
    if usize::from(channels) != layout.stored || found.w < size.w || found.h < size.h {
        return Err(Error::Corrupt(format!(
            "a JPEG tile has {channels} channels of {}x{}, expected {} of {}x{}",
            found.w, found.h, layout.stored, size.w, size.h
        )));
    }
    if found == size && layout.as_is() {
        return Ok(samples);
    }
    unpack(layout, &mut samples, found.w, size)
}

fn jpeg_colour(layout: &Layout) -> jpeg::Colour {
    match layout.colours {
        1 => jpeg::Colour::Grey,
        _ if layout.jpeg_ycbcr => jpeg::Colour::Ycbcr,
        _ => jpeg::Colour::Rgb,
    }
}

/// The format that a tile's coded bytes have, when they show what its samples do.
fn stored(layout: &Layout) -> Option<Format> {
    match layout.compression {
        Compression::Jpeg if layout.as_is() => Some(Format::Jpeg),
        Compression::Webp if layout.as_is() && layout.alpha() != Alpha::Premultiplied => Some(Format::Webp),
        _ => None,
    }
}

/// Whether the file holds the samples just as they are given.
fn is_plain(layout: &Layout) -> bool {
    layout.compression == Compression::None && layout.as_is()
}

fn image_len(size: Size, layout: &Layout) -> usize {
    usize::try_from(size.area())
        .unwrap_or(0)
        .saturating_mul(layout.channels())
}
