//! PNG files (PNG third edition), decoded whole: 8 or 16 bits, grey or colour, with or without alpha.
//!
//! Palettes and fewer bits are widened to 8. The first picture of an animation is shown.

use crate::codec;
use crate::error::Result;
use crate::geometry::Num;
use crate::geometry::Size;
use crate::raster::Alpha;
use crate::raster::Colour;
use crate::raster::Density;
use crate::raster::Kind;
use crate::raster::Meaning;
use crate::raster::Metadata;
use crate::raster::Raster;
use crate::source::Header;
use crate::source::Level;
use crate::source::Set;
use crate::source::tiff;
use crate::source::whole::MAX_BYTES;
use crate::source::whole::Whole;
use crate::store::Blob;
use crate::store::Reader;
use png::BitDepth;
use png::ColorType;
use png::Info;
use png::Unit;
use std::io::BufReader;
use std::sync::Arc;

/// Keywords (PNG §11.3.3.1) and their names as IIP objects.
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

/// Bytes before the first chunk.
const SIGNATURE: u64 = 8;

/// Chunks among which that with EXIF is looked for.
const MAX_CHUNKS: usize = 4096;

/// Opens a file and says which EXIF orientation it has. `TooLarge` beyond the limit of files that are decoded as wholes,
/// `Corrupt` when it is damaged.
pub fn open(file: Arc<dyn Blob>) -> Result<(Whole, u64)> {
    let reader = codec::png::start(BufReader::new(Reader::new(file.clone())), MAX_BYTES)?;
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
    let (exif, orientation) = exif(&*file)
        .and_then(|(at, len)| tiff::exif(file.clone(), at, len))
        .unwrap_or((Metadata::default(), 1));
    let header = Header {
        levels: vec![Level { size, tile: size }],
        channels: u8::try_from(meaning.ranges.len()).unwrap_or(u8::MAX),
        bits: if wide { 16 } else { 8 },
        kind: Kind::Unsigned,
        meaning,
        stored: None,
        metadata: metadata(info).or(exif),
        version: file.version(),
        set: Set::default(),
        scalable: false,
    };
    Ok((Whole::new(file, header, decode)?, orientation))
}

/// Where the EXIF block lies in the file, and how long it is (PNG §11.3.4.2).
fn exif(file: &dyn Blob) -> Option<(u64, u64)> {
    let mut at = SIGNATURE;
    for _ in 0..MAX_CHUNKS {
        let mut start = [0; 8];
        file.read_at(at, &mut start).ok()?;
        let [l0, l1, l2, l3, name @ ..] = start;
        let len = u64::from(u32::from_be_bytes([l0, l1, l2, l3]));
        match &name {
            b"eXIf" => return Some((at + 8, len)),
            b"IEND" => return None,
            // and a checksum
            _ => at += 8 + len + 4,
        }
    }
    None
}

fn decode(bytes: &[u8], _: &Header) -> Result<Raster> {
    codec::png::decode(bytes, Size::new(u32::MAX, u32::MAX), MAX_BYTES)
}

fn metadata(info: &Info) -> Metadata {
    let plain = info.uncompressed_latin1_text.iter();
    let plain = plain.map(|chunk| (chunk.keyword.as_str(), Some(chunk.text.clone())));
    let packed = info.compressed_latin1_text.iter();
    let packed = packed.map(|chunk| (chunk.keyword.as_str(), chunk.get_text().ok()));
    let wide = info.utf8_text.iter();
    let wide = wide.map(|chunk| (chunk.keyword.as_str(), chunk.get_text().ok()));
    let mut found = Metadata {
        icc: info.icc_profile.as_deref().map(Into::into),
        density: density(info),
        ..Metadata::default()
    };
    for (keyword, text) in plain.chain(packed).chain(wide) {
        let Some(text) = text else { continue };
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
    use crate::source::Source;
    use crate::source::Tile;
    use crate::source::tiff::build::EXIF;
    use crate::source::tiff::build::Temp;
    use png::Encoder;
    use png::PixelDimensions;

    const FIRST: Tile = Tile {
        level: 0,
        col: 0,
        row: 0,
    };

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

    fn whole(bytes: &[u8]) -> Result<Whole> {
        super::open(Temp::new(bytes).open()).map(|(whole, _)| whole)
    }

    #[test]
    fn samples_are_those_of_the_file() {
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
            assert_eq!(found.read(FIRST).unwrap().samples, Samples::U8(half.to_vec()));
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
            assert_eq!(found.read(FIRST).unwrap().samples, Samples::U16(wide));
        }
        let palette = file(
            ColorType::Indexed,
            BitDepth::Two,
            &[0b00_01_10_11, 0, 0x55, 0x40, 0, 0],
        );
        let Samples::U8(samples) = whole(&palette).unwrap().read(FIRST).unwrap().samples else {
            panic!("8 bits expected")
        };
        assert_eq!(samples[..12], [0, 0, 0, 10, 20, 30, 200, 100, 50, 1, 2, 3]);
    }

    #[test]
    fn texts_packet_and_density_are_found() {
        let found = whole(&file(ColorType::Grayscale, BitDepth::Eight, &[9; 15])).unwrap();
        let metadata = &found.header().metadata;
        assert_eq!(metadata.text("creator"), Some("Zo\u{eb}"));
        assert_eq!(metadata.xmp.as_deref(), Some(&b"<x/>"[..]));
        let density = metadata.density.unwrap();
        assert_eq!((density.x.value(), density.y.value()), (11811.0, 2835.0));
    }

    #[test]
    fn exif_fills_gaps_before_and_behind_the_picture() {
        let plain = file(ColorType::Grayscale, BitDepth::Eight, &[9; 15]);
        let name = [b"eXIf", EXIF].concat();
        let len = (EXIF.len() as u32).to_be_bytes();
        let chunk = [&len[..], &name, &crc(&name).to_be_bytes()].concat();
        // behind IHDR, and before IEND
        for at in [33, plain.len() - 12] {
            let (before, behind) = plain.split_at(at);
            let with = [before, &chunk, behind].concat();
            let (whole, orientation) = super::open(Temp::new(&with).open()).unwrap();
            let metadata = &whole.header().metadata;
            assert_eq!((orientation, metadata.text("make")), (6, Some("Abc")));
            assert_eq!(metadata.text("creator"), Some("Zo\u{eb}"));
        }
        assert_eq!(super::open(Temp::new(&plain).open()).unwrap().1, 1);
    }

    #[test]
    fn damage_is_an_error() {
        let bytes = file(ColorType::Rgb, BitDepth::Eight, &[9; 45]);
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0xff;
            for wrong in [&wrong[..], &bytes[..at]] {
                let read = whole(wrong).and_then(|found| found.read(FIRST));
                assert!(
                    !matches!(read, Err(Error::Io(_) | Error::Outside(_))),
                    "{at}: {read:?}"
                );
            }
        }
        let mut large = bytes.clone();
        large[16..24].copy_from_slice(&[0, 0, 200, 0, 0, 0, 200, 0]);
        // the sum of the header would be wrong
        let crc = crc(&large[12..29]);
        large[29..33].copy_from_slice(&crc.to_be_bytes());
        assert!(matches!(whole(&large), Err(Error::TooLarge(_))));
    }

    /// PNG Annex D.
    fn crc(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        !bytes
            .iter()
            .fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
    }
}
