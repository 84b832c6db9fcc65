//! JPEG files: windows are read through an index where the coding allows it; other files are decoded whole.
//!
//! Levels are the scales at which the library decodes; `derived` adds smaller ones. Samples have 8 or 16 bits.

mod metadata;

use crate::codec::jpeg;
use crate::codec::jpeg::lines;
use crate::codec::jpeg::scan::HALVINGS;
use crate::codec::jpeg::scan::Scan;
use crate::codec::jpeg::stream;
use crate::codec::jpeg::stream::Frame;
use crate::codec::jpeg::stream::MarkerSegments;
use crate::codec::read_at::FileRange;
use crate::codec::read_at::ReadAt;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::limits::Limits;
use crate::raster::Alpha;
use crate::raster::Colour;
use crate::raster::Meaning;
use crate::raster::Metadata;
use crate::raster::Raster;
use crate::raster::SampleFormat;
use crate::raster::Samples;
use crate::raster::widened;
use crate::source::Effort;
use crate::source::Grid;
use crate::source::Header;
use crate::source::Level;
use crate::source::Set;
use crate::source::Source;
use crate::source::Take;
use crate::source::Tile;
use crate::source::Window;
use crate::source::cache::TileCache;
use crate::source::level::LevelShared;
use crate::source::level::Parts;
use crate::source::level::Progress;
use crate::source::tiff;
use crate::source::whole::Whole;
use crate::source::window;
use crate::store::Blob;
use std::sync::Arc;

/// Size of the tiles that the header announces.
const TILE: Size = Size::new(256, 256);

/// Bytes of a file searched for its first scan header: at first, and at most.
const HEAD: (u64, u64) = (64 << 10, 64 << 20);

/// Maximum pixels per byte: a block takes at least one bit.
const DENSEST: u64 = 64 * 8;

/// Pixels that any file may lack: truncated files are shown up to where they end.
const MISSING: u64 = 4 << 20;

/// A file with an index.
pub struct Jpeg {
    file: FileRange,
    scan: Scan,
    header: Header,
    index: Arc<LevelShared>,
    inverted: bool,
}

/// Opens a file with an index, or as one that is decoded whole. Errors: `Unsupported` for processes that no decoder
/// knows, `TooLarge` when the file must be decoded whole and is too large for that, `Corrupt` without a picture.
pub fn open(file: Arc<dyn Blob>, limits: &Limits) -> Result<Box<dyn Source>> {
    let part = FileRange::whole(file);
    let head = head(&part)?;
    let head = lines::with_height(&head, &part)?;
    let frame = stream::frame(&head)?;
    if !(jpeg::bypasses_library(&frame) && matches!(frame.components, 1 | 3 | 4)) {
        jpeg::check(&frame)?;
    }
    let indexed = Scan::of(&head).map(|scan| (scan, Arc::new(index(frame.size))));
    let levels = match &indexed {
        Some((_, index)) => halvings(frame.size, index),
        None => vec![Level {
            grid: Grid::Strips,
            ..Level::tiled(frame.size, frame.size)
        }],
    };
    let header = header(&part, &head, &frame, levels, limits);
    let most = part.len.saturating_mul(DENSEST).saturating_add(MISSING);
    if frame.size.area() > most {
        let Size { w, h } = frame.size;
        return Err(Error::Corrupt(format!(
            "jpeg of {w}x{h} pixels in {} bytes",
            part.len
        )));
    }
    let Some((scan, index)) = indexed else {
        jpeg::check_blocks(&frame, part.len)?;
        let whole = Whole::new(part.file, header, decode, limits)?;
        return Ok(Box::new(whole));
    };
    Ok(Box::new(Jpeg {
        inverted: is_inverted(&head, &header),
        file: part,
        scan,
        header,
        index,
    }))
}

/// The header of a file with these levels, from the bytes before its first scan.
fn header(file: &FileRange, head: &[u8], frame: &Frame, levels: Vec<Level>, limits: &Limits) -> Header {
    let colour = match frame.components {
        1 => Colour::Grey,
        3 => Colour::Rgb,
        _ => Colour::Cmyk,
    };
    let mut meaning = Meaning::bytes(colour, Alpha::None);
    if frame.bits > 8 {
        meaning.ranges.fill((0.0, 65535.0));
    }
    let exif = metadata::exif(head);
    let exif = exif.and_then(|(start, len)| tiff::exif(file.file.clone(), start, len));
    let (exif, orientation) = exif.unwrap_or((Metadata::default(), 1));
    Header {
        levels,
        channels: frame.components,
        bits: frame.bits,
        kind: SampleFormat::Unsigned,
        meaning,
        stored: None,
        metadata: metadata::metadata(head, exif).within(limits.metadata),
        version: file.file.version(),
        set: Set::default(),
        scalable: false,
        orientation,
    }
}

impl Jpeg {
    /// Decodes a tile.
    fn tile(&self, tile: Tile) -> Result<Raster> {
        let rect = tile.rect(&self.header.levels);
        let (rect, halvings) =
            (rect.zip(u32::try_from(tile.level).ok())).ok_or_else(|| window::outside(tile))?;
        let mut raster = self.scan.read(&self.file, rect, halvings)?;
        if self.scan.is_indexed() {
            self.index.progress.done();
        }
        if self.inverted {
            invert(&mut raster);
        }
        Ok(raster)
    }
}

impl Source for Jpeg {
    fn header(&self) -> &Header {
        &self.header
    }

    fn read(&self, window: Window, keep: &dyn TileCache, take: &mut Take) -> Result<()> {
        window::of_tiles(&self.header.levels, window, keep, take, |tile| self.tile(tile))
    }
}

/// The effort of building an index: all codes of the picture are read, half of the work of decoding.
fn index(size: Size) -> LevelShared {
    LevelShared {
        part: None,
        effort: Effort::shared(size.area() / 2),
        base: None,
        then: Parts::Tiles,
        otherwise: Parts::Tiles,
        progress: Progress::default(),
    }
}

/// Full size and its halvings, until the picture fits into a tile.
fn halvings(size: Size, index: &Arc<LevelShared>) -> Vec<Level> {
    let needed = |halvings: &u32| {
        let larger = size.halved_up(halvings.saturating_sub(1));
        *halvings == 0 || larger.w > TILE.w || larger.h > TILE.h
    };
    let level = |halvings| Level {
        parts: Parts::Shared(index.clone()),
        ..Level::tiled(size.halved_up(halvings), TILE)
    };
    (0..=HALVINGS).take_while(needed).map(level).collect()
}

/// The bytes of a file up to its first scan header, or those that were searched if none was found.
fn head(from: &dyn ReadAt) -> Result<Vec<u8>> {
    let mut len = HEAD.0;
    loop {
        let size = from.len().min(len);
        let mut bytes = vec![0; usize::try_from(size).unwrap_or(0)];
        from.read(0, &mut bytes)?;
        let scan = MarkerSegments::of(&bytes)?
            .filter_map(Result::ok)
            .find(|segment| segment.marker == stream::SOS)
            .map(|segment| segment.rest.len());
        if let Some(rest) = scan {
            bytes.truncate(bytes.len() - rest);
            return Ok(bytes);
        }
        if size == from.len() || len >= HEAD.1 {
            return Ok(bytes);
        }
        len *= 8;
    }
}

/// Whether ink is stored inverted, as Adobe's programs do; an Adobe marker identifies them.
fn is_inverted(head: &[u8], header: &Header) -> bool {
    let adobe = |segment: &Result<stream::MarkerSegment>| matches!(segment, Ok(s) if s.adobe().is_some());
    header.channels == 4 && MarkerSegments::of(head).is_ok_and(|mut segments| segments.any(|s| adobe(&s)))
}

fn invert(raster: &mut Raster) {
    raster
        .samples
        .bytes_mut()
        .iter_mut()
        .for_each(|byte| *byte = !*byte);
}

/// Widens samples of fewer bits to 8 or 16 bits.
fn widen(raster: &mut Raster, bits: u8) {
    match &mut raster.samples {
        Samples::U8(samples) if bits < 8 => {
            let wide = |sample: u8| u8::try_from(widened(sample.into(), bits, 8)).unwrap_or(u8::MAX);
            samples.iter_mut().for_each(|sample| *sample = wide(*sample));
        }
        Samples::U16(samples) => {
            samples
                .iter_mut()
                .for_each(|sample| *sample = widened((*sample).into(), bits, 16));
        }
        _ => {}
    }
}

/// Decodes a whole file. Missing data are filled in by the decoder.
fn decode(bytes: &[u8], header: &Header) -> Result<Raster> {
    let bytes = &*lines::with_height(bytes, &bytes)?;
    let ended;
    let stream = if stream::frame(bytes)?.ended {
        bytes
    } else {
        ended = [bytes, &[0xff, stream::EOI]].concat();
        &ended
    };
    let mut raster = jpeg::decode(stream, header.size())?;
    widen(&mut raster, header.bits);
    if is_inverted(bytes, header) {
        invert(&mut raster);
    }
    Ok(raster)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::cache::NoCache;
    use crate::source::tiff::build::Temp;

    #[test]
    fn twelve_bits_are_widened_to_sixteen() {
        // one flat block, 8 steps of 64, coded with the tables of the standard: 101 1000, 1010
        let table = [64; 64];
        let stream = [
            &[0xff, 0xd8, 0xff, 0xdb, 0, 67, 0][..],
            &table,
            &[0xff, 0xc1, 0, 11, 12, 0, 8, 0, 8, 1, 1, 0x11, 0],
            &[0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0, 0xb1, 0x5f, 0xff, 0xd9],
        ]
        .concat();
        let source = open(Temp::new(&stream).open(), &Limits::default()).unwrap();
        assert_eq!(source.header().bits, 12);
        assert_eq!(source.header().meaning.ranges, [(0.0, 65535.0)]);
        let tile = Tile {
            level: 0,
            col: 0,
            row: 0,
        };
        // 2048 + 64 of 4095, scaled to 65535
        assert_eq!(
            window::tile(&*source, tile, &NoCache).unwrap().samples,
            Samples::U16(vec![33800; 64])
        );
    }
}
