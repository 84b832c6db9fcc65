//! PNG files (PNG third edition), decoded as wholes: 8 or 16 bits, grey or colour, with or without alpha.
//!
//! Palettes and fewer bits are widened to 8. The first picture of an animation is shown.

use crate::error::Error;
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
use crate::raster::Samples;
use crate::source::Header;
use crate::source::Level;
use crate::source::Set;
use crate::source::Version;
use crate::source::whole::MAX_BYTES;
use crate::source::whole::Whole;
use png::BitDepth;
use png::ColorType;
use png::Decoder;
use png::DecodingError;
use png::Info;
use png::Limits;
use png::Reader;
use png::Transformations;
use png::Unit;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Cursor;
use std::io::ErrorKind;
use std::io::Seek;

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

/// Opens a file. `TooLarge` beyond the limit of files that are decoded as wholes, `Corrupt` when it is damaged.
pub fn open(file: File) -> Result<Whole> {
    let version = Version::of(&file.metadata()?);
    let reader = start(BufReader::new(file.try_clone()?))?;
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
    let header = Header {
        levels: vec![Level { size, tile: size }],
        channels: u8::try_from(meaning.ranges.len()).unwrap_or(u8::MAX),
        bits: if wide { 16 } else { 8 },
        kind: Kind::Unsigned,
        meaning,
        stored: None,
        metadata: metadata(info),
        version,
        set: Set::default(),
    };
    Whole::new(file, header, decode)
}

fn start<R: BufRead + Seek>(from: R) -> Result<Reader<R>> {
    let bytes = usize::try_from(MAX_BYTES).unwrap_or(usize::MAX);
    let mut decoder = Decoder::new_with_limits(from, Limits { bytes });
    decoder.set_transformations(Transformations::EXPAND);
    decoder.read_info().map_err(failure)
}

fn decode(bytes: &[u8], header: &Header) -> Result<Raster> {
    let mut reader = start(Cursor::new(bytes))?;
    let len = reader.output_buffer_size().filter(|len| *len as u64 <= MAX_BYTES);
    let mut data = vec![0; len.ok_or_else(|| Error::TooLarge("the PNG picture is too large".into()))?];
    let done = reader.next_frame(&mut data).map_err(failure)?;
    let samples = match done.bit_depth {
        BitDepth::Sixteen => {
            Samples::U16(data.as_chunks().0.iter().map(|pair| u16::from_be_bytes(*pair)).collect())
        }
        _ => Samples::U8(data),
    };
    Ok(Raster {
        size: Size::new(done.width, done.height),
        channels: header.channels,
        samples,
    })
}

fn failure(error: DecodingError) -> Error {
    match error {
        DecodingError::IoError(error) if error.kind() != ErrorKind::UnexpectedEof => Error::Io(error),
        DecodingError::LimitsExceeded => Error::TooLarge("the PNG picture is too large".into()),
        _ => Error::Corrupt("PNG stream does not decode".into()),
    }
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
