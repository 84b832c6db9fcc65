//! Decodes PNG streams (PNG third edition) to samples: 8 or 16 bits; palettes and smaller depths are expanded to 8.
//!
//! Of an animation, the first picture is decoded.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Raster;
use crate::raster::Samples;
use crate::uninit;
use png::BitDepth;
use png::ColorType;
use png::Decoder;
use png::DecodingError;
use png::Limits;
use png::Reader;
use png::Transformations;
use std::io::BufRead;
use std::io::Cursor;
use std::io::ErrorKind;
use std::io::Seek;

/// Reads the chunks before the samples, which may take `most` bytes. `Corrupt` if damaged.
pub fn start<R: BufRead + Seek>(from: R, most: u64) -> Result<Reader<R>> {
    let bytes = usize::try_from(most).unwrap_or(usize::MAX);
    let mut decoder = Decoder::new_with_limits(from, Limits { bytes });
    decoder.set_transformations(Transformations::EXPAND);
    // they may inflate to any length; `source::png` reads them within limits
    decoder.set_ignore_iccp_chunk(true);
    decoder.set_ignore_text_chunk(true);
    let reader = decoder.read_info().map_err(failure)?;
    let info = reader.info();
    let entries = info.palette.as_deref().unwrap_or_default();
    // PNG §11.2.2; the library would panic at the first row
    if info.color_type == ColorType::Indexed && !entries.len().is_multiple_of(3) {
        return Err(Error::Corrupt("PNG palette with an incomplete entry".into()));
    }
    Ok(reader)
}

/// Decodes a stream to grey or colour, with or without alpha. `Corrupt` if it is damaged or larger than `limit` in
/// either direction, `TooLarge` if its samples take more than `most` bytes.
pub fn decode(bytes: &[u8], limit: Size, most: u64) -> Result<Raster> {
    let mut reader = start(Cursor::new(bytes), most)?;
    let size = Size::new(reader.info().width, reader.info().height);
    if size.w > limit.w || size.h > limit.h {
        return Err(Error::Corrupt(format!(
            "PNG picture of {}x{} where at most {}x{} are expected",
            size.w, size.h, limit.w, limit.h
        )));
    }
    if reader.info().interlaced {
        return whole(reader, most);
    }
    let mut all = None;
    in_bands(&mut reader, size.h, &mut |raster, _| {
        all = Some(raster);
        Ok(())
    })?;
    all.ok_or_else(|| Error::Corrupt("PNG picture without rows".into()))
}

/// Decodes a picture whose rows are not in order.
fn whole<R: BufRead + Seek>(mut reader: Reader<R>, most: u64) -> Result<Raster> {
    let len = reader.output_buffer_size().filter(|len| *len as u64 <= most);
    let mut data = uninit::zeros(len.ok_or_else(too_large)?)?;
    let done = reader.next_frame(&mut data).map_err(failure)?;
    let mut samples = empty(done.bit_depth, 0);
    append(&mut samples, &data);
    Ok(Raster {
        size: Size::new(done.width, done.height),
        channels: u8::try_from(done.color_type.samples()).unwrap_or(u8::MAX),
        samples,
    })
}

/// Decodes a non-interlaced picture from top to bottom: passes bands of `rows` rows with the index of their first row
/// to `take`.
pub fn in_bands<R: BufRead + Seek>(
    reader: &mut Reader<R>,
    rows: u32,
    take: &mut dyn FnMut(Raster, u32) -> Result<()>,
) -> Result<()> {
    let size = Size::new(reader.info().width, reader.info().height);
    let (colour, depth) = reader.output_color_type();
    let channels = u8::try_from(colour.samples()).unwrap_or(u8::MAX);
    for top in (0..size.h).step_by(rows.max(1) as usize) {
        let size = Size::new(size.w, rows.max(1).min(size.h - top));
        let count = size.area().saturating_mul(channels.into());
        let count = usize::try_from(count).map_err(|_| too_large())?;
        let mut samples = empty(depth, count);
        for _ in 0..size.h {
            let row = reader.next_row().map_err(failure)?;
            let row = row.ok_or_else(|| Error::Corrupt("PNG picture ends early".into()))?;
            append(&mut samples, row.data());
        }
        if samples.len() != count {
            return Err(Error::Corrupt("PNG rows differ from the header".into()));
        }
        let raster = Raster {
            size,
            channels,
            samples,
        };
        take(raster, top)?;
    }
    // checks the end of the stream
    match reader.next_row().map_err(failure)? {
        None => Ok(()),
        Some(_) => Err(Error::Corrupt("PNG picture has too many rows".into())),
    }
}

/// An empty buffer for `count` samples.
fn empty(depth: BitDepth, count: usize) -> Samples {
    match depth {
        BitDepth::Sixteen => Samples::U16(Vec::with_capacity(count)),
        _ => Samples::U8(Vec::with_capacity(count)),
    }
}

fn append(samples: &mut Samples, row: &[u8]) {
    match samples {
        Samples::U16(samples) => {
            samples.extend(row.as_chunks().0.iter().map(|pair| u16::from_be_bytes(*pair)))
        }
        Samples::U8(samples) => samples.extend_from_slice(row),
        Samples::U32(_) | Samples::F32(_) => {}
    }
}

fn too_large() -> Error {
    Error::TooLarge("the PNG picture is too large".into())
}

fn failure(error: DecodingError) -> Error {
    match error {
        DecodingError::IoError(error) if error.kind() != ErrorKind::UnexpectedEof => Error::Io(error),
        DecodingError::LimitsExceeded => too_large(),
        _ => Error::Corrupt("PNG stream does not decode".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_palette_with_an_incomplete_entry_is_an_error() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/corrupt/palette-length.png");
        let result = decode(&std::fs::read(path).unwrap(), Size::new(16, 16), 1 << 20);
        let Err(Error::Corrupt(what)) = result else {
            panic!("an error expected");
        };
        assert_eq!(what, "PNG palette with an incomplete entry");
    }
}
