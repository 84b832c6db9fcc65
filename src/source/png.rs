//! PNG files (PNG third edition): 8 or 16 bits, grey or colour, with or without alpha. Large files are decoded from
//! top to bottom, small and interlaced ones as a whole.
//!
//! Palettes and samples of fewer bits are expanded to 8 bits. Of an animation the default image is shown.

mod chunks;

use crate::codec;
use crate::error::Result;
use crate::geometry::Num;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::limits;
use crate::limits::Limits;
use crate::raster::Alpha;
use crate::raster::Colour;
use crate::raster::Density;
use crate::raster::Meaning;
use crate::raster::Metadata;
use crate::raster::Raster;
use crate::raster::SampleFormat;
use crate::source::Grid;
use crate::source::Header;
use crate::source::Level;
use crate::source::Piece;
use crate::source::Set;
use crate::source::Source;
use crate::source::Take;
use crate::source::Window;
use crate::source::cache::TileCache;
use crate::source::png::chunks::PngChunks;
use crate::source::tiff;
use crate::source::whole::MAX_BYTES;
use crate::source::whole::Whole;
use crate::source::window;
use crate::store::Blob;
use crate::store::BlobReader;
use png::BitDepth;
use png::ColorType;
use png::Info;
use png::Unit;
use std::io::BufReader;
use std::sync::Arc;

/// Keywords (PNG §11.3.3.1) and the names of their IIP objects.
const TEXTS: [(&str, &str); 7] = [
    ("Title", "title"),
    ("Description", "description"),
    ("Author", "creator"),
    ("Copyright", "rights"),
    ("Creation Time", "date"),
    ("Software", "software"),
    ("Comment", "comment"),
];

/// The keyword of an XMP packet (XMP part 3 §1.1.5).
const XMP: &str = "XML:com.adobe.xmp";

/// Maximum decoded bytes of a picture that is decoded as a whole for each request.
const SMALL: u64 = 16 << 20;

/// Decoded bytes per band of a larger picture.
const BAND: u64 = 4 << 20;

/// Bytes read from the file at once.
const STEP: usize = 64 << 10;

/// A picture that is decoded from top to bottom.
struct PngRows {
    file: Arc<dyn Blob>,
    header: Header,
}

impl Source for PngRows {
    fn header(&self) -> &Header {
        &self.header
    }

    /// Decodes the level in bands. A part of it, which is requested only without space for temporary files, is cut
    /// from the whole.
    fn read(&self, window: Window, keep: &dyn TileCache, take: &mut Take) -> Result<()> {
        let size = self.header.size();
        if window != Window::new(0, Rect::of(size)) {
            return window::of_tiles(&self.header.levels, window, keep, take, |_| {
                let bytes = self.file.take(0, self.file.len())?;
                decode(&bytes, &self.header)
            });
        }
        let mut reader = start(&self.file)?;
        let row = (decoded(&self.header) / u64::from(size.h.max(1))).max(1);
        let rows = u32::try_from((BAND / row).max(1)).unwrap_or(u32::MAX);
        codec::png::in_bands(&mut reader, rows, &mut |raster, top| {
            let rect = Rect::new(0, top, raster.size.w, raster.size.h);
            take(Piece::Pixels(raster), rect)
        })
    }
}

/// Decoded size in bytes.
fn decoded(header: &Header) -> u64 {
    let pixel = u64::from(header.channels) * u64::from(header.bits.div_ceil(8));
    header.size().area().saturating_mul(pixel)
}

fn start(file: &Arc<dyn Blob>) -> Result<png::Reader<BufReader<BlobReader>>> {
    let reader = BufReader::with_capacity(STEP, BlobReader::new(file.clone()));
    codec::png::start(reader, MAX_BYTES)
}

/// Opens a file. Errors: `TooLarge` beyond the limits, `Corrupt` for a damaged file.
pub fn open(file: Arc<dyn Blob>, limits: &Limits) -> Result<Box<dyn Source>> {
    let reader = start(&file)?;
    let info = reader.info();
    let (colour, depth) = reader.output_color_type();
    let (colour, alpha) = match colour {
        ColorType::Grayscale | ColorType::Indexed => (Colour::Grey, Alpha::None),
        ColorType::GrayscaleAlpha => (Colour::Grey, Alpha::Straight),
        ColorType::Rgb => (Colour::Rgb, Alpha::None),
        ColorType::Rgba => (Colour::Rgb, Alpha::Straight),
    };
    let mut meaning = Meaning::bytes(colour, alpha);
    let wide = depth == BitDepth::Sixteen;
    if wide {
        meaning.ranges.fill((0.0, 65535.0));
    }
    let size = Size::new(info.width, info.height);
    let is_named = |keyword: &str| keyword == XMP || TEXTS.iter().any(|(known, _)| *known == keyword);
    let read = |at: u64, to: &mut [u8]| file.read_at(at, to).is_ok();
    let chunks = PngChunks::read(read, is_named, limits);
    let (exif, orientation) = chunks
        .exif
        .and_then(|(at, len)| tiff::exif(file.clone(), at, len))
        .unwrap_or((Metadata::default(), 1));
    let mut level = Level::tiled(size, size);
    level.grid = Grid::Strips;
    let mut header = Header {
        levels: vec![level],
        channels: u8::try_from(meaning.ranges.len()).unwrap_or(u8::MAX),
        bits: if wide { 16 } else { 8 },
        kind: SampleFormat::Unsigned,
        meaning,
        stored: None,
        metadata: metadata(info, chunks).or(exif),
        version: file.version(),
        set: Set::default(),
        scalable: false,
        orientation,
    };
    if info.interlaced || decoded(&header) <= SMALL {
        let whole = Whole::new(file, header, decode, limits)?;
        return Ok(Box::new(whole));
    }
    // deflate cannot expand further, in bands either
    let most = limits.in_memory(file.len());
    limits::check("decoded bytes:", "EXPANSION", decoded(&header), most)?;
    header
        .levels
        .iter_mut()
        .for_each(|level| level.grid = Grid::Order);
    Ok(Box::new(PngRows { file, header }))
}

fn decode(bytes: &[u8], _: &Header) -> Result<Raster> {
    codec::png::decode(bytes, Size::new(u32::MAX, u32::MAX), MAX_BYTES)
}

fn metadata(info: &Info, chunks: PngChunks) -> Metadata {
    let mut found = Metadata {
        icc: chunks.icc,
        density: density(info),
        left_out: chunks.left_out,
        ..Metadata::default()
    };
    for (keyword, text) in chunks.texts {
        if keyword == XMP {
            found.xmp = Some(text.into_bytes().into());
            continue;
        }
        let name = TEXTS.iter().find(|(known, _)| *known == keyword);
        let text = text.trim();
        if let Some((_, name)) = name
            && !text.is_empty()
            && found.text(name).is_none()
        {
            found.texts.push((name, text.into()));
        }
    }
    found
}

fn density(info: &Info) -> Option<Density> {
    let found = info.pixel_dims.filter(|dims| dims.unit == Unit::Meter)?;
    let side = |pixels: u32| Num::new(pixels.into()).filter(|_| pixels > 0);
    Some(Density {
        x: side(found.xppu)?,
        y: side(found.yppu)?,
    })
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test pictures are small")]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::raster::Samples;
    use crate::source::cache::NoCache;
    use crate::source::tiff::build::EXIF;
    use crate::source::tiff::build::Temp;
    use png::Encoder;
    use png::PixelDimensions;

    fn read(source: &dyn Source) -> Result<Samples> {
        let window = Window::new(0, Rect::of(source.header().size()));
        window::raster(source, window, &NoCache).map(|raster| raster.samples)
    }

    /// A file of 5 × 3 pixels.
    fn file(colour: ColorType, depth: BitDepth, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out, 5, 3);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        if colour == ColorType::Indexed {
            encoder.set_palette(vec![0, 0, 0, 10, 20, 30, 200, 100, 50, 1, 2, 3]);
        }
        encoder
            .add_text_chunk("Author".into(), "Zo\u{eb}".into())
            .unwrap();
        encoder.add_itxt_chunk(XMP.into(), "<x/>".into()).unwrap();
        encoder.set_pixel_dims(Some(PixelDimensions {
            xppu: 11811,
            yppu: 2835,
            unit: Unit::Meter,
        }));
        let mut writer = encoder.write_header().unwrap();
        writer.write_image_data(data).unwrap();
        writer.finish().unwrap();
        out
    }

    fn whole(bytes: &[u8]) -> Result<Box<dyn Source>> {
        super::open(Temp::new(bytes).open(), &Limits::default())
    }

    #[test]
    fn samples_match_the_file() {
        for (colour, channels, alpha) in [
            (ColorType::Grayscale, 1, Alpha::None),
            (ColorType::GrayscaleAlpha, 2, Alpha::Straight),
            (ColorType::Rgb, 3, Alpha::None),
            (ColorType::Rgba, 4, Alpha::Straight),
        ] {
            let bytes: Vec<u8> = (0..15 * channels * 2).map(|n| (n * 7) as u8).collect();
            let (half, _) = bytes.split_at(15 * channels);
            let found = whole(&file(colour, BitDepth::Eight, half)).unwrap();
            assert_eq!(usize::from(found.header().channels), channels);
            assert_eq!((found.header().bits, found.header().meaning.alpha), (8, alpha));
            assert_eq!(read(&*found).unwrap(), Samples::U8(half.to_vec()));
            let found = whole(&file(colour, BitDepth::Sixteen, &bytes)).unwrap();
            let wide = bytes
                .as_chunks()
                .0
                .iter()
                .map(|pair| u16::from_be_bytes(*pair))
                .collect();
            assert_eq!(
                (found.header().bits, found.header().meaning.ranges[0].1),
                (16, 65535.0)
            );
            assert_eq!(read(&*found).unwrap(), Samples::U16(wide));
        }
        let palette = file(
            ColorType::Indexed,
            BitDepth::Two,
            &[0b00_01_10_11, 0, 0x55, 0x40, 0, 0],
        );
        let Samples::U8(samples) = read(&*whole(&palette).unwrap()).unwrap() else {
            panic!("8 bits expected")
        };
        assert_eq!(samples[..12], [0, 0, 0, 10, 20, 30, 200, 100, 50, 1, 2, 3]);
    }

    #[test]
    fn a_large_picture_is_decoded_from_top_to_bottom_in_bands() {
        let (w, h) = (2100u32, 1500u32);
        let value = |at: usize| (at * 31 % 65_521) as u16;
        let mut samples: Vec<u16> = (0..(w * h * 4) as usize).map(value).collect();
        let mut out = Vec::new();
        let mut encoder = Encoder::new(&mut out, w, h);
        encoder.set_color(ColorType::Rgba);
        encoder.set_depth(BitDepth::Sixteen);
        encoder.set_compression(png::Compression::Fastest);
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_be_bytes()).collect();
        encoder.write_header().unwrap().write_image_data(&bytes).unwrap();
        let png = super::open(Temp::new(&out).open(), &Limits::default()).unwrap();
        assert_eq!(png.header().levels[0].grid, Grid::Order);
        let (mut got, mut bands) = (Vec::new(), 0);
        let all = Window::new(0, Rect::new(0, 0, w, h));
        png.read(all, &NoCache, &mut |piece, rect| {
            let raster = piece.raster(rect.size());
            assert_eq!(
                (raster.size, rect.y),
                (rect.size(), (got.len() / (w as usize * 4)) as u32)
            );
            let Samples::U16(band) = raster.samples else {
                panic!("16 bits expected")
            };
            assert!(band.len() as u64 * 2 <= BAND);
            got.extend(band);
            bands += 1;
            Ok(())
        })
        .unwrap();
        assert!(got == samples && bands > 4, "{bands}");
        let part = Window::new(0, Rect::new(0, h - 1, w, 1));
        let last = samples.split_off(samples.len() - w as usize * 4);
        assert_eq!(
            window::raster(&*png, part, &NoCache).unwrap().samples,
            Samples::U16(last)
        );
    }

    #[test]
    fn texts_xmp_and_density_are_read() {
        let found = whole(&file(ColorType::Grayscale, BitDepth::Eight, &[9; 15])).unwrap();
        let metadata = &found.header().metadata;
        assert_eq!(metadata.text("creator"), Some("Zo\u{eb}"));
        assert_eq!(metadata.xmp.as_deref(), Some(&b"<x/>"[..]));
        let density = metadata.density.unwrap();
        assert_eq!((density.x.value(), density.y.value()), (11811.0, 2835.0));
    }

    #[test]
    fn exif_before_and_after_the_picture_is_read() {
        let plain = file(ColorType::Grayscale, BitDepth::Eight, &[9; 15]);
        let name = [b"eXIf", EXIF].concat();
        let len = (EXIF.len() as u32).to_be_bytes();
        let chunk = [&len[..], &name, &crc(&name).to_be_bytes()].concat();
        // after IHDR, and before IEND
        for at in [33, plain.len() - 12] {
            let (before, after) = plain.split_at(at);
            let with = [before, &chunk, after].concat();
            let whole = super::open(Temp::new(&with).open(), &Limits::default()).unwrap();
            let metadata = &whole.header().metadata;
            assert_eq!(
                (whole.header().orientation, metadata.text("make")),
                (6, Some("Abc"))
            );
            assert_eq!(metadata.text("creator"), Some("Zo\u{eb}"));
        }
        assert_eq!(whole(&plain).unwrap().header().orientation, 1);
    }

    #[test]
    fn damaged_files_are_errors() {
        let bytes = file(ColorType::Rgb, BitDepth::Eight, &[9; 45]);
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0xff;
            for wrong in [&wrong[..], &bytes[..at]] {
                let read = whole(wrong).and_then(|found| read(&*found));
                assert!(
                    !matches!(read, Err(Error::Io(_) | Error::Outside(_))),
                    "{at}: {read:?}"
                );
            }
        }
        let mut large = bytes.clone();
        large[16..24].copy_from_slice(&[0, 0, 200, 0, 0, 0, 200, 0]);
        // the checksum of the changed header
        let crc = crc(&large[12..29]);
        large[29..33].copy_from_slice(&crc.to_be_bytes());
        assert!(matches!(whole(&large), Err(Error::Limit(_))));
    }

    /// CRC-32 (PNG Annex D).
    fn crc(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        !bytes
            .iter()
            .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
    }
}
