//! A pyramid whose samples are a formula of (x, y, level), for tests of the layers above a source.
//!
//! Channel c of pixel (x, y) of level l is `(x * 3 + y * 5 + l * 17 + c * 40) mod 256`: see [`sample`].

use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Alpha;
use crate::raster::Colour;
use crate::raster::Meaning;
use crate::raster::Metadata;
use crate::raster::Raster;
use crate::raster::SampleFormat;
use crate::raster::Samples;
use crate::source::Header;
use crate::source::Level;
use crate::source::Set;
use crate::source::Source;
use crate::source::Take;
use crate::source::Tile;
use crate::source::Window;
use crate::source::cache::TileCache;
use crate::source::window;
use crate::store::Version;

/// The value of a sample.
pub type Formula = fn(x: u32, y: u32, level: usize, channel: u8) -> u8;

/// The default formula.
pub fn sample(x: u32, y: u32, level: usize, channel: u8) -> u8 {
    let level = u64::try_from(level).unwrap_or(0);
    let value = u64::from(x) * 3 + u64::from(y) * 5 + level * 17 + u64::from(channel) * 40;
    u8::try_from(value % 256).unwrap_or(0)
}

/// A pyramid without a file.
pub struct Synthetic {
    header: Header,
    formula: Formula,
}

impl Synthetic {
    /// A pyramid of 8-bit pixels with these levels (full size first) and 1 (grey), 3 (RGB) or 4 (RGB and straight
    /// alpha) channels.
    pub fn new(levels: Vec<Level>, channels: u8, formula: Formula) -> Self {
        let header = Header {
            levels,
            channels,
            bits: 8,
            kind: SampleFormat::Unsigned,
            meaning: Meaning::bytes(
                if channels < 3 { Colour::Grey } else { Colour::Rgb },
                if channels == 4 {
                    Alpha::Straight
                } else {
                    Alpha::None
                },
            ),
            stored: None,
            metadata: Metadata::default(),
            version: Version::File {
                mtime_ns: 1_000_000_000_000_000_000,
                ctime_ns: 1_000_000_000_000_000_000,
                // large enough for every limit on expansion
                len: 1 << 40,
                inode: 1,
            },
            set: Set::default(),
            scalable: false,
            orientation: 1,
        };
        Synthetic { header, formula }
    }

    /// A pyramid whose levels are halved and rounded down until the last fits in one tile.
    pub fn halving(size: Size, tile: Size, channels: u8) -> Self {
        let mut levels = vec![Level::tiled(size, tile)];
        let mut at = size;
        while at.w > tile.w || at.h > tile.h {
            at = Size::new((at.w / 2).max(1), (at.h / 2).max(1));
            levels.push(Level::tiled(at, tile));
        }
        Synthetic::new(levels, channels, sample)
    }

    /// The header, to change metadata or version before use.
    pub fn header_mut(&mut self) -> &mut Header {
        &mut self.header
    }

    fn tile(&self, tile: Tile) -> Result<Raster> {
        let rect = tile
            .rect(&self.header.levels)
            .ok_or_else(|| window::outside(tile))?;
        let channels = self.header.channels;
        let mut data = Vec::new();
        for y in rect.y..rect.y + rect.h {
            for x in rect.x..rect.x + rect.w {
                data.extend((0..channels).map(|c| (self.formula)(x, y, tile.level, c)));
            }
        }
        Ok(Raster {
            size: rect.size(),
            channels,
            samples: Samples::U8(data),
        })
    }
}

impl Source for Synthetic {
    fn header(&self) -> &Header {
        &self.header
    }

    fn read(&self, window: Window, keep: &dyn TileCache, take: &mut Take) -> Result<()> {
        window::of_tiles(&self.header.levels, window, keep, take, |tile| self.tile(tile))
    }
}
