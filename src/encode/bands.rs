//! Encodes JPEG, PNG and TIFF band by band: a picture of any height takes the memory of a few bands and of the encoded file.

use crate::codec;
use crate::codec::jpeg::join::Join;
use crate::encode::Output;
use crate::encode::Tags;
use crate::encode::embed;
use crate::encode::format::Bands;
use crate::encode::jpeg;
use crate::encode::png;
use crate::encode::tiff;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Layout;
use crate::raster::Picture;

/// Approximate number of pixels of a band; it has at least the rows that its format needs.
const PIXELS: u32 = 1 << 20;

/// Rows of all bands except the last; `None` for formats that need the whole picture.
pub fn rows(size: Size, output: Output) -> Option<u32> {
    let least = match output.format.row().bands? {
        // every scan of progressive JPEG covers the whole picture
        Bands::Jpeg if output.style.progressive => return None,
        Bands::Jpeg | Bands::Png => codec::jpeg::ROWS,
        Bands::Tiff => tiff::strip_rows(size.w),
    };
    let fitting = PIXELS / size.w.max(1) / least;
    Some(fitting.max(1).saturating_mul(least))
}

/// A band, encoded as far as possible without the others.
pub struct EncodedBand {
    layout: Layout,
    parts: Vec<Vec<u8>>,
}

impl EncodedBand {
    /// The layout of its pixels.
    pub fn layout(&self) -> Layout {
        self.layout
    }
}

/// Encodes a band, in any order and on any thread.
pub fn code(band: Picture, output: Output) -> Result<EncodedBand> {
    Ok(EncodedBand {
        layout: band.layout,
        parts: match output.format.row().bands {
            Some(Bands::Jpeg) => vec![jpeg::encode(&band, output.quality, output.style)?],
            Some(Bands::Tiff) => tiff::strips(&band, output)?,
            // PNG rows depend on the rows above
            Some(Bands::Png) => vec![band.data],
            None => return Err(unbanded(output)),
        },
    })
}

/// Assembles a file from bands.
pub enum BandWriter {
    /// Joins the streams of bands.
    Jpeg(Join, Vec<u8>),
    /// Compresses rows in order.
    Png(Box<png::PngWriter>),
    /// Concatenates strips.
    Tiff(tiff::TiffWriter),
}

impl BandWriter {
    /// Starts a file of `size` in the layout of its first band.
    pub fn begin(size: Size, first: &EncodedBand, output: Output, tags: &Tags) -> Result<BandWriter> {
        match output.format.row().bands {
            Some(Bands::Jpeg) => {
                let height = u16::try_from(size.h)
                    .map_err(|_| Error::TooLarge("jpeg is at most 65500 high".into()))?;
                Ok(BandWriter::Jpeg(Join::new(height), Vec::new()))
            }
            Some(Bands::Png) => {
                let stream = png::PngWriter::begin(size, first.layout, output.quality, tags)?;
                Ok(BandWriter::Png(Box::new(stream)))
            }
            Some(Bands::Tiff) => Ok(BandWriter::Tiff(tiff::TiffWriter::new(
                size,
                tiff::SampleShape::of(first.layout, output),
                output,
            ))),
            None => Err(unbanded(output)),
        }
    }

    /// Adds the next band.
    pub fn push(&mut self, piece: EncodedBand) -> Result<()> {
        for part in piece.parts {
            match self {
                BandWriter::Jpeg(join, file) => join.push(&part, file)?,
                BandWriter::Png(stream) => stream.push(&part)?,
                BandWriter::Tiff(writer) => writer.push(&part),
            }
        }
        Ok(())
    }

    /// Completes the file.
    pub fn finish(self, tags: &Tags) -> Result<Vec<u8>> {
        match self {
            BandWriter::Jpeg(join, mut file) => {
                join.finish(&mut file);
                embed::jpeg(file, tags)
            }
            BandWriter::Png(stream) => stream.finish(),
            BandWriter::Tiff(writer) => writer.finish(tags),
        }
    }
}

fn unbanded(output: Output) -> Error {
    let name = output.format.suffix();
    Error::Internal(format!("{name} is not written in bands"))
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test pictures are small")]
mod tests {
    use super::*;
    use crate::codec::jpeg::JpegStyle;
    use crate::encode::TiffCompression;
    use crate::encode::encode;
    use crate::raster::Format;

    fn drawn(layout: Layout, size: Size) -> Picture {
        let len = size.area() as usize * layout.channels();
        Picture {
            size,
            layout,
            data: (0..len).map(|i| (i / 11 + i % 7 * 3) as u8).collect(),
        }
    }

    /// The same picture in bands.
    fn banded(picture: &Picture, output: Output, rows: u32, tags: &Tags) -> Vec<u8> {
        let row = picture.size.w as usize * picture.layout.channels();
        let pieces = picture.data.chunks(row * rows as usize).map(|data| {
            let band = Picture {
                size: Size::new(picture.size.w, (data.len() / row) as u32),
                layout: picture.layout,
                data: data.to_vec(),
            };
            code(band, output).unwrap()
        });
        let mut writer = None;
        for piece in pieces {
            if writer.is_none() {
                writer = Some(BandWriter::begin(picture.size, &piece, output, tags).unwrap());
            }
            writer.as_mut().unwrap().push(piece).unwrap();
        }
        writer.unwrap().finish(tags).unwrap()
    }

    /// The pixels of a file by an independent decoder.
    fn pixels(file: &[u8], format: Format, size: Size) -> Vec<u8> {
        match format {
            Format::Jpeg => match codec::jpeg::decode(file, size).unwrap().samples {
                crate::raster::Samples::U8(data) => data,
                _ => panic!("8 bits"),
            },
            _ => {
                let mut reader = ::png::Decoder::new(std::io::Cursor::new(file))
                    .read_info()
                    .unwrap();
                let mut data = vec![0; reader.output_buffer_size().unwrap()];
                reader.next_frame(&mut data).unwrap();
                data
            }
        }
    }

    #[test]
    fn banded_and_whole_files_have_the_same_pixels() {
        let size = Size::new(301, 117);
        let tags = Tags {
            icc: Some(b"icc"),
            rights: Some("ours"),
            ..Tags::default()
        };
        for layout in [Layout::Grey, Layout::Rgb, Layout::Rgba] {
            let picture = drawn(layout, size);
            for format in [Format::Jpeg, Format::Png] {
                if format == Format::Jpeg && layout == Layout::Rgba {
                    continue;
                }
                for quality in [1, 6] {
                    let output = Output {
                        format,
                        quality,
                        compression: TiffCompression::None,
                        asked: false,
                        style: JpegStyle::default(),
                        full_metadata: true,
                    };
                    let whole = encode(&picture, output, &tags).unwrap();
                    let file = banded(&picture, output, 32, &tags);
                    assert!(
                        pixels(&file, format, size) == pixels(&whole, format, size),
                        "{layout:?} {format:?}"
                    );
                    assert!(
                        file.len() < whole.len() * 5 / 4 + 500,
                        "{} {}",
                        file.len(),
                        whole.len()
                    );
                }
            }
        }
    }

    #[test]
    fn the_height_of_a_band_fits_the_format() {
        let output = |format| Output {
            format,
            quality: 1,
            compression: TiffCompression::None,
            asked: false,
            style: JpegStyle::default(),
            full_metadata: false,
        };
        assert_eq!(rows(Size::new(65_000, 65_000), output(Format::Jpeg)), Some(16));
        assert_eq!(rows(Size::new(1000, 1000), output(Format::Png)), Some(1040));
        let strip = tiff::strip_rows(3000);
        assert_eq!(
            rows(Size::new(3000, 3000), output(Format::Tiff)).unwrap() % strip,
            0
        );
        assert_eq!(rows(Size::new(10, 10), output(Format::Webp)), None);
    }
}
