//! TIFF output (TIFF 6.0, Technical Note 2): one picture in strips, little-endian, its directory at the end.
//!
//! Knows no pyramid and no BigTIFF: a file of 4 GB is refused.

use crate::codec::deflate;
use crate::codec::jpeg;
use crate::codec::lzw;
use crate::codec::webp;
use crate::codec::zstd;
use crate::encode::Compression;
use crate::encode::Output;
use crate::encode::Tags;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Num;
use crate::geometry::Size;
use crate::raster::Layout;
use crate::raster::Picture;

/// A strip is as high as such a number of bytes allows.
const STRIP_BYTES: u64 = 1 << 18;

/// Rows of a strip are a multiple of this: a JPEG strip has whole blocks of 4:2:0.
const ROWS: u32 = 16;

/// Encodes every layout with 8 bits; alpha is an unassociated extra sample, which JPEG cannot hold.
pub fn encode(picture: &Picture, output: Output, tags: &Tags) -> Result<Vec<u8>> {
    let channels = picture.layout.channels();
    let row = picture.size.w as usize * channels;
    let expected = row as u64 * u64::from(picture.size.h);
    if expected == 0 || picture.data.len() as u64 != expected {
        return Err(Error::Corrupt(format!(
            "{}x{} pixels take {expected} bytes, got {}",
            picture.size.w,
            picture.size.h,
            picture.data.len()
        )));
    }
    let mut writer = Writer::new(picture.size, picture.layout, output);
    for rows in picture.data.chunks(row * writer.rows as usize) {
        writer.strip(rows)?;
    }
    writer.finish(tags)
}

/// A file that grows by strips.
struct Writer {
    size: Size,
    layout: Layout,
    compression: Compression,
    quality: i16,
    /// Rows of every strip but the last.
    rows: u32,
    file: Vec<u8>,
    offsets: Vec<u64>,
    counts: Vec<u64>,
}

impl Writer {
    fn new(size: Size, layout: Layout, output: Output) -> Writer {
        let row = u64::from(size.w) * layout.channels() as u64;
        let fitting = u32::try_from(STRIP_BYTES / row.max(1)).unwrap_or(u32::MAX);
        Writer {
            size,
            layout,
            compression: output.compression,
            quality: output.quality,
            rows: (fitting / ROWS).max(1) * ROWS,
            // where the directory is will be known at the end
            file: b"II\x2a\0\0\0\0\0".to_vec(),
            offsets: Vec::new(),
            counts: Vec::new(),
        }
    }

    /// Adds a strip of whole rows.
    fn strip(&mut self, rows: &[u8]) -> Result<()> {
        let channels = self.layout.channels();
        let row = self.size.w as usize * channels;
        let high = u32::try_from(rows.len() / row.max(1)).unwrap_or(u32::MAX);
        let size = Size::new(self.size.w, high);
        let level = u8::try_from(self.quality.clamp(1, 100)).unwrap_or(1);
        let coded = match self.compression {
            Compression::None => rows.to_vec(),
            Compression::Lzw => lzw::encode(&differences(rows, row, channels))?,
            Compression::Deflate => deflate::deflate(&differences(rows, row, channels), level)?,
            Compression::Zstd => zstd::encode(&differences(rows, row, channels), level)?,
            Compression::Jpeg => jpeg::encode(rows, size, self.layout, level)?,
            Compression::Webp => webp::encode(rows, size, self.layout, self.quality)?,
        };
        self.align();
        self.offsets.push(self.file.len() as u64);
        self.counts.push(coded.len() as u64);
        self.file.extend_from_slice(&coded);
        Ok(())
    }

    /// Offsets are even (TIFF 6.0 p. 15).
    fn align(&mut self) {
        if self.file.len() % 2 == 1 {
            self.file.push(0);
        }
    }

    /// The whole file.
    fn finish(mut self, tags: &Tags) -> Result<Vec<u8>> {
        // WebP has no grey
        let colours: u64 = if self.layout == Layout::Grey && self.compression != Compression::Webp {
            1
        } else {
            3
        };
        let alpha = u64::from(self.layout == Layout::Rgba);
        let channels = colours + alpha;
        let photometric = match (colours, self.compression) {
            (1, _) => 1,
            (_, Compression::Jpeg) => 6,
            _ => 2,
        };
        let mut fields = vec![
            Field::long(256, self.size.w),
            Field::long(257, self.size.h),
            Field::shorts(258, &vec![8; usize::try_from(channels).unwrap_or(1)]),
            Field::shorts(259, &[self.compression.tag()]),
            Field::shorts(262, &[photometric]),
            Field::longs(273, std::mem::take(&mut self.offsets)),
            Field::shorts(277, &[channels]),
            Field::long(278, self.rows),
            Field::longs(279, std::mem::take(&mut self.counts)),
            Field::shorts(284, &[1]),
        ];
        if let Some(density) = tags.density {
            let inch = |v: Num| rational(v.value() * 0.0254);
            fields.push(Field::new(282, 5, vec![inch(density.x)]));
            fields.push(Field::new(283, 5, vec![inch(density.y)]));
            fields.push(Field::shorts(296, &[2]));
        }
        if self.compression.is_predicted() {
            fields.push(Field::shorts(317, &[2]));
        }
        if alpha > 0 {
            fields.push(Field::shorts(338, &[2]));
        }
        if photometric == 6 {
            fields.push(Field::shorts(530, &[2, 2]));
        }
        if let Some(icc) = tags.icc {
            fields.push(Field::bytes(34675, 7, icc));
        }
        fields.sort_by_key(|field| field.tag);
        self.directory(&fields)?;
        Ok(self.file)
    }

    /// Writes the values that are longer than four bytes, then the directory, and where it is into the header.
    fn directory(&mut self, fields: &[Field]) -> Result<()> {
        let large = |_| Error::TooLarge("a tiff file of 4 GB is too large".into());
        let mut entries = Vec::with_capacity(fields.len() * 12);
        for field in fields {
            entries.extend_from_slice(&field.tag.to_le_bytes());
            entries.extend_from_slice(&field.kind.to_le_bytes());
            entries.extend_from_slice(&u32::try_from(field.count).map_err(large)?.to_le_bytes());
            let value = field.value()?;
            if value.len() <= 4 {
                entries.extend_from_slice(&value);
                entries.resize(entries.len() + 4 - value.len(), 0);
            } else {
                self.align();
                entries.extend_from_slice(&u32::try_from(self.file.len()).map_err(large)?.to_le_bytes());
                self.file.extend_from_slice(&value);
            }
        }
        self.align();
        let at = u32::try_from(self.file.len()).map_err(large)?.to_le_bytes();
        if let Some(place) = self.file.get_mut(4..8) {
            place.copy_from_slice(&at);
        }
        let count = u16::try_from(fields.len()).unwrap_or(u16::MAX);
        self.file.extend_from_slice(&count.to_le_bytes());
        self.file.extend_from_slice(&entries);
        self.file.extend_from_slice(&[0; 4]);
        Ok(())
    }
}

/// A field of the directory (TIFF 6.0 p. 14).
struct Field {
    tag: u16,
    /// 1 byte, 3 short, 4 long, 5 rational (numerator in the upper half), 7 bytes of any meaning.
    kind: u16,
    count: usize,
    values: Vec<u64>,
    raw: Vec<u8>,
}

impl Field {
    fn new(tag: u16, kind: u16, values: Vec<u64>) -> Field {
        Field {
            tag,
            kind,
            count: values.len(),
            values,
            raw: Vec::new(),
        }
    }

    fn long(tag: u16, value: u32) -> Field {
        Field::longs(tag, vec![value.into()])
    }

    fn longs(tag: u16, values: Vec<u64>) -> Field {
        Field::new(tag, 4, values)
    }

    fn shorts(tag: u16, values: &[u64]) -> Field {
        Field::new(tag, 3, values.to_vec())
    }

    fn bytes(tag: u16, kind: u16, raw: &[u8]) -> Field {
        Field {
            tag,
            kind,
            count: raw.len(),
            values: Vec::new(),
            raw: raw.to_vec(),
        }
    }

    /// The bytes of the values; `TooLarge` when one is out of range.
    fn value(&self) -> Result<Vec<u8>> {
        let mut out = self.raw.clone();
        let large = |_| Error::TooLarge("a tiff file of 4 GB is too large".into());
        for &value in &self.values {
            match self.kind {
                3 => out.extend_from_slice(&u16::try_from(value).map_err(large)?.to_le_bytes()),
                5 => {
                    out.extend_from_slice(&u32::try_from(value >> 32).map_err(large)?.to_le_bytes());
                    out.extend_from_slice(&u32::try_from(value & 0xffff_ffff).map_err(large)?.to_le_bytes());
                }
                _ => out.extend_from_slice(&u32::try_from(value).map_err(large)?.to_le_bytes()),
            }
        }
        Ok(out)
    }
}

/// A positive number as a fraction with four decimals, numerator in the upper half.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped before"
)]
fn rational(value: f64) -> u64 {
    let numerator = (value * 10_000.0).round().clamp(1.0, f64::from(u32::MAX)) as u64;
    numerator << 32 | 10_000
}

/// Each sample less the one to its left (predictor 2, TIFF 6.0 §14); the first of a row stays.
fn differences(rows: &[u8], row: usize, channels: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.len());
    for row in rows.chunks(row.max(1)) {
        let (first, _) = row.split_at(channels.min(row.len()));
        out.extend_from_slice(first);
        let right = row.iter().skip(channels);
        out.extend(right.zip(row).map(|(v, left)| v.wrapping_sub(*left)));
    }
    out
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test pictures are small")]
mod tests {
    use super::*;
    use crate::geometry::Rect;
    use crate::raster::Density;
    use crate::raster::Format;
    use crate::raster::Samples;
    use crate::source::Source;
    use crate::source::Window;
    use crate::source::tiff::Limits;
    use crate::source::tiff::Tiff;
    use crate::source::tiff::build::Temp;
    use crate::source::window::Forgetful;

    fn output(compression: Compression, quality: i16) -> Output {
        Output {
            format: Format::Tiff,
            quality,
            compression,
            asked: false,
        }
    }

    fn drawn(layout: Layout, size: Size) -> Picture {
        let len = size.area() as usize * layout.channels();
        Picture {
            size,
            layout,
            data: (0..len).map(|i| (i / 11 + i % 7 * 3) as u8).collect(),
        }
    }

    /// As our own reader sees it.
    fn opened(file: &[u8]) -> Tiff {
        Tiff::open(Temp::new(file).open(), &Limits::default()).unwrap()
    }

    #[test]
    fn every_layout_in_every_compression_comes_back_exactly() {
        for size in [Size::new(1, 1), Size::new(61, 47), Size::new(900, 700)] {
            for layout in [Layout::Grey, Layout::Rgb, Layout::Rgba] {
                for compression in ["none", "lzw", "deflate", "webp", "zstd"] {
                    let picture = drawn(layout, size);
                    let output = output(Compression::named(compression).unwrap(), -1);
                    let tiff = opened(&encode(&picture, output, &Tags::default()).unwrap());
                    assert_eq!(tiff.header().size(), size);
                    let window = Window {
                        level: 0,
                        rect: Rect::of(size),
                    };
                    let raster = tiff.window(window, &Forgetful).unwrap();
                    let wanted: Vec<u8> = match usize::from(raster.channels) {
                        channels if channels == layout.channels() => picture.data,
                        _ => picture.data.iter().flat_map(|&v| [v, v, v]).collect(),
                    };
                    assert!(raster.samples == Samples::U8(wanted), "{layout:?} {compression}");
                }
            }
        }
    }

    #[test]
    fn strips_of_jpeg_are_as_one_jpeg() {
        let size = Size::new(700, 650);
        for layout in [Layout::Grey, Layout::Rgb] {
            let picture = drawn(layout, size);
            let file = encode(&picture, output(Compression::Jpeg, 80), &Tags::default()).unwrap();
            let window = Window {
                level: 0,
                rect: Rect::of(size),
            };
            let Samples::U8(found) = opened(&file).window(window, &Forgetful).unwrap().samples else {
                panic!("8 bits")
            };
            let sum: u64 = found
                .iter()
                .zip(&picture.data)
                .map(|(a, b)| u64::from(a.abs_diff(*b)))
                .sum();
            assert!(sum / (found.len() as u64) < 12, "{layout:?} {sum}");
        }
        let rgba = drawn(Layout::Rgba, size);
        assert!(encode(&rgba, output(Compression::Jpeg, 80), &Tags::default()).is_err());
    }

    #[test]
    fn profile_and_density_are_embedded() {
        let num = |v| Num::new(v).unwrap();
        let tags = Tags {
            icc: Some(b"profile"),
            density: Some(Density {
                x: num(11811.0236),
                y: num(2834.6457),
            }),
        };
        let picture = drawn(Layout::Rgb, Size::new(20, 10));
        let file = encode(&picture, output(Compression::Lzw, 0), &tags).unwrap();
        let tiff = opened(&file);
        let metadata = &tiff.header().metadata;
        assert_eq!(metadata.icc.as_deref(), tags.icc);
        let density = metadata.density.unwrap();
        assert!(
            (density.x.value() - 11811.0236).abs() < 0.01 && (density.y.value() - 2834.6457).abs() < 0.01
        );
    }

    #[test]
    fn a_picture_of_another_size_than_it_says_is_an_error() {
        let mut picture = drawn(Layout::Grey, Size::new(5, 5));
        picture.data.pop();
        assert!(encode(&picture, output(Compression::None, 0), &Tags::default()).is_err());
    }
}
