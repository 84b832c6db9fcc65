//! PNG streams (PNG third edition) to samples: 8 or 16 bits, palettes and fewer bits widened to 8.
//!
//! The first picture of an animation is what is decoded.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Raster;
use crate::raster::Samples;
use png::BitDepth;
use png::Decoder;
use png::DecodingError;
use png::Limits;
use png::Reader;
use png::Transformations;
use std::io::BufRead;
use std::io::Cursor;
use std::io::ErrorKind;
use std::io::Seek;

/// Reads what comes before the samples, of which there may be so many bytes. `Corrupt` when it is damaged.
pub fn start<R: BufRead + Seek>(from: R, most: u64) -> Result<Reader<R>> {
    let bytes = usize::try_from(most).unwrap_or(usize::MAX);
    let mut decoder = Decoder::new_with_limits(from, Limits { bytes });
    decoder.set_transformations(Transformations::EXPAND);
    decoder.read_info().map_err(failure)
}

/// Decodes a stream to grey or colour, with or without alpha. `Corrupt` when it is damaged or larger than `limit` in
/// either direction, `TooLarge` when its samples take more than `most` bytes.
pub fn decode(bytes: &[u8], limit: Size, most: u64) -> Result<Raster> {
    let mut reader = start(Cursor::new(bytes), most)?;
    let size = Size::new(reader.info().width, reader.info().height);
    if size.w > limit.w || size.h > limit.h {
        return Err(Error::Corrupt(format!(
            "PNG picture of {}x{} where at most {}x{} are expected",
            size.w, size.h, limit.w, limit.h
        )));
    }
    let len = reader.output_buffer_size().filter(|len| *len as u64 <= most);
    let mut data = vec![0; len.ok_or_else(|| Error::TooLarge("the PNG picture is too large".into()))?];
    let done = reader.next_frame(&mut data).map_err(failure)?;
    let samples = match done.bit_depth {
        BitDepth::Sixteen => Samples::U16(
            data.as_chunks()
                .0
                .iter()
                .map(|pair| u16::from_be_bytes(*pair))
                .collect(),
        ),
        _ => Samples::U8(data),
    };
    Ok(Raster {
        size: Size::new(done.width, done.height),
        channels: u8::try_from(done.color_type.samples()).unwrap_or(u8::MAX),
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
