//! PNG output (PNG 3rd edition), including tags.

use crate::encode::Tags;
use crate::encode::ifd;
use crate::encode::upright;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Num;
use crate::geometry::Size;
use crate::raster::Layout;
use crate::raster::Meaning;
use crate::raster::Picture;
use crate::raster::Raster;
use crate::raster::Samples;
use png::BitDepth;
use png::ColorType;
use png::Compression;
use png::DeflateCompression;
use png::Encoder;
use png::EncodingError;
use png::Info;
use png::PixelDimensions;
use png::StreamWriter;
use png::Unit;
use png::text_metadata::ITXtChunk;
use std::borrow::Cow;
use std::cell::RefCell;
use std::io;
use std::io::Write;
use std::rc::Rc;

/// Encodes every layout of 8 bits. `level` 0 stores, 1 is a fast Huffman coder for PNG, 2–9 are levels of deflate with the
/// best filter for each row. The profile goes into iCCP, the density into pHYs (whole pixels per metre), XMP into iTXt and
/// the texts into eXIf.
pub fn encode(picture: &Picture, level: i16, tags: &Tags) -> Result<Vec<u8>> {
    let info = info(picture.size, picture.layout, tags)?;
    let mut file = Vec::with_capacity(picture.data.len() / 2 + 1024);
    let write = |file: &mut Vec<u8>| {
        let mut writer = encoder(file, info, level)?.write_header()?;
        writer.write_image_data(&picture.data)?;
        writer.finish()
    };
    write(&mut file).map_err(failed)?;
    Ok(file)
}

/// Encodes 16 bits in the layouts of [`encode`], and grey with alpha.
pub fn deep(raster: &Raster, meaning: &Meaning, level: i16, tags: &Tags) -> Result<Vec<u8>> {
    let Samples::U16(samples) = &raster.samples else {
        return Err(Error::Unsupported("png has 16 bits at most".into()));
    };
    let mut info = info(raster.size, Layout::Grey, tags)?;
    info.bit_depth = BitDepth::Sixteen;
    info.color_type = match (meaning.colour.channels(), raster.channels) {
        (1, 1) => ColorType::Grayscale,
        (1, 2) => ColorType::GrayscaleAlpha,
        (_, 3) => ColorType::Rgb,
        (_, 4) => ColorType::Rgba,
        _ => return Err(Error::Unsupported("png has one to four channels".into())),
    };
    let data: Vec<u8> = samples.iter().flat_map(|v| v.to_be_bytes()).collect();
    let mut file = Vec::with_capacity(data.len() / 2 + 1024);
    let write = |file: &mut Vec<u8>| {
        let mut writer = encoder(file, info, level)?.write_header()?;
        writer.write_image_data(&data)?;
        writer.finish()
    };
    write(&mut file).map_err(failed)?;
    Ok(file)
}

/// Encoding fails only if the length of the pixels does not match the size.
fn failed(_: EncodingError) -> Error {
    Error::Unsupported("png encoding failed".into())
}

/// The chunks before the pixels.
fn info(size: Size, layout: Layout, tags: &Tags) -> Result<Info<'static>> {
    let mut info = Info::with_size(size.w, size.h);
    info.bit_depth = BitDepth::Eight;
    info.color_type = match layout {
        Layout::Grey => ColorType::Grayscale,
        Layout::Rgb => ColorType::Rgb,
        Layout::Rgba => ColorType::Rgba,
    };
    info.icc_profile = tags.icc.map(|icc| icc.to_vec().into());
    info.pixel_dims = tags.density.map(|density| PixelDimensions {
        xppu: whole(density.x),
        yppu: whole(density.y),
        unit: Unit::Meter,
    });
    let exif = ifd::exif(tags)?;
    info.exif_metadata = Some(exif.into()).filter(|exif: &Cow<[u8]>| !exif.is_empty());
    if let Some(xmp) = tags.xmp {
        // a packet must be UTF-8 (XMP part 3 §1.1.5); others are omitted
        if let Ok(xmp) = String::from_utf8(upright(xmp)) {
            info.utf8_text.push(ITXtChunk::new("XML:com.adobe.xmp", xmp));
        }
    }
    Ok(info)
}

fn encoder<W: Write>(
    file: W,
    info: Info<'static>,
    level: i16,
) -> std::result::Result<Encoder<'static, W>, EncodingError> {
    let mut encoder = Encoder::with_info(file, info)?;
    match u8::try_from(level.clamp(0, 9)) {
        Ok(0) => encoder.set_compression(Compression::NoCompression),
        Ok(level @ 2..) => encoder.set_deflate_compression(DeflateCompression::Level(level)),
        _ => encoder.set_compression(Compression::Fast),
    }
    Ok(encoder)
}

/// Writes a file row by row.
pub struct PngWriter {
    rows: StreamWriter<'static, SharedBuffer>,
    file: SharedBuffer,
}

/// Bytes of a chunk of the file.
const CHUNK: usize = 1 << 16;

impl PngWriter {
    /// Starts a file; the result equals [`encode`] of all rows at once except for the sizes of chunks.
    pub fn begin(size: Size, layout: Layout, level: i16, tags: &Tags) -> Result<PngWriter> {
        let info = info(size, layout, tags)?;
        let file = SharedBuffer::default();
        let writer = encoder(file.clone(), info, level).and_then(Encoder::write_header);
        let rows = writer.and_then(|writer| writer.into_stream_writer_with_size(CHUNK));
        Ok(PngWriter {
            rows: rows.map_err(failed)?,
            file,
        })
    }

    /// Adds rows.
    pub fn push(&mut self, rows: &[u8]) -> Result<()> {
        Ok(self.rows.write_all(rows)?)
    }

    /// Completes the file.
    pub fn finish(self) -> Result<Vec<u8>> {
        self.rows.finish().map_err(failed)?;
        Ok(self.file.0.take())
    }
}

/// A buffer that the crate writes to and another thread drains.
#[derive(Clone, Default)]
struct SharedBuffer(Rc<RefCell<Vec<u8>>>);

impl Write for SharedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The nearest whole number from 1 to 2^31 − 1, the maximum in PNG.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped before"
)]
fn whole(value: Num) -> u32 {
    value.value().round().clamp(1.0, f64::from(i32::MAX)) as u32
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test pictures are small")]
mod tests {
    use super::*;
    use crate::raster::Density;
    use png::Decoder;
    use std::io::Cursor;

    fn drawn(layout: Layout) -> Picture {
        let size = Size::new(61, 47);
        let len = size.area() as usize * layout.channels();
        Picture {
            size,
            layout,
            data: (0..len).map(|i| (i / 5 + i % 7) as u8).collect(),
        }
    }

    #[test]
    fn every_layout_and_level_is_lossless() {
        for layout in [Layout::Grey, Layout::Rgb, Layout::Rgba] {
            for level in -1..=10 {
                let picture = drawn(layout);
                let file = encode(&picture, level, &Tags::default()).unwrap();
                let mut reader = Decoder::new(Cursor::new(&file)).read_info().unwrap();
                let mut data = vec![0; reader.output_buffer_size().unwrap()];
                let frame = reader.next_frame(&mut data).unwrap();
                assert_eq!((frame.width, frame.height), (61, 47));
                assert_eq!(data, picture.data, "{layout:?} {level}");
                assert!(reader.info().icc_profile.is_none() && reader.info().pixel_dims.is_none());
            }
        }
    }

    #[test]
    fn a_higher_level_gives_a_smaller_file() {
        let len = |level| {
            encode(&drawn(Layout::Rgb), level, &Tags::default())
                .unwrap()
                .len()
        };
        assert!(len(0) > len(1) && len(1) >= len(6) && len(6) >= len(9));
    }

    #[test]
    fn profile_and_density_are_embedded() {
        let tags = Tags {
            icc: Some(b"profile"),
            density: Some(Density {
                x: Num::parse("11811.02").unwrap(),
                y: Num::parse("1e300").unwrap(),
            }),
            xmp: Some(b"<x tiff:Orientation=\"6\"/>"),
            rights: Some("ours"),
            ..Tags::default()
        };
        let file = encode(&drawn(Layout::Rgb), 1, &tags).unwrap();
        let reader = Decoder::new(Cursor::new(&file)).read_info().unwrap();
        let info = reader.info();
        assert_eq!(info.icc_profile.as_deref(), tags.icc);
        assert_eq!(
            info.utf8_text[0].get_text().unwrap(),
            "<x tiff:Orientation=\"1\"/>"
        );
        assert_eq!(info.exif_metadata.as_deref(), Some(&*ifd::exif(&tags).unwrap()));
        let dims = info.pixel_dims.unwrap();
        assert_eq!(
            (dims.xppu, dims.yppu, dims.unit),
            (11811, 0x7fff_ffff, Unit::Meter)
        );
    }

    #[test]
    fn a_picture_whose_size_does_not_match_its_data_is_an_error() {
        let mut picture = drawn(Layout::Grey);
        picture.data.pop();
        assert!(encode(&picture, 1, &Tags::default()).is_err());
    }
}
