//! TIFF output (TIFF 6.0, Technical Note 2): one picture in strips, little-endian, with its directory at the end.
//!
//! Neither pyramids nor BigTIFF: files of 4 GB and more are refused.

use crate::codec::deflate;
use crate::codec::jpeg;
use crate::codec::jpeg::JpegStyle;
use crate::codec::lzw;
use crate::codec::webp;
use crate::codec::zstd;
use crate::encode::Depth;
use crate::encode::Output;
use crate::encode::Tags;
use crate::encode::TiffCompression;
use crate::encode::ifd;
use crate::encode::ifd::IfdField;
use crate::encode::upright;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Alpha;
use crate::raster::Layout;
use crate::raster::Meaning;
use crate::raster::Picture;
use crate::raster::Raster;
use crate::raster::Samples;

/// Maximum number of pixels of a strip.
const STRIP_PIXELS: u32 = 1 << 17;

/// Rows of all strips except the last for a picture of width `w`.
pub fn strip_rows(w: u32) -> u32 {
    let fitting = STRIP_PIXELS / w.max(1) / jpeg::ROWS;
    fitting.max(1).saturating_mul(jpeg::ROWS)
}

/// Encodes every layout of 8 bits; alpha is an unassociated extra sample, which JPEG does not support.
pub fn encode(picture: &Picture, output: Output, tags: &Tags) -> Result<Vec<u8>> {
    let mut writer = TiffWriter::new(picture.size, SampleShape::of(picture.layout, output), output);
    for strip in strips(picture, output)? {
        writer.push(&strip);
    }
    writer.finish(tags)
}

/// Encodes the strips of a picture, or of a band that consists of whole strips.
pub fn strips(picture: &Picture, output: Output) -> Result<Vec<Vec<u8>>> {
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
    let high = strip_rows(picture.size.w) as usize;
    let strips = picture.data.chunks(row * high);
    strips
        .map(|rows| strip(rows, picture.size.w, picture.layout, output))
        .collect()
}

/// Encodes a strip of whole rows.
fn strip(rows: &[u8], w: u32, layout: Layout, output: Output) -> Result<Vec<u8>> {
    let channels = layout.channels();
    let row = w as usize * channels;
    let high = u32::try_from(rows.len() / row.max(1)).unwrap_or(u32::MAX);
    let size = Size::new(w, high);
    let level = u8::try_from(output.quality.clamp(1, 100)).unwrap_or(1);
    match output.compression {
        TiffCompression::None => Ok(rows.to_vec()),
        TiffCompression::Jpeg => jpeg::encode(rows, size, layout, level, JpegStyle::default()),
        TiffCompression::Webp => webp::encode(rows, size, layout, output.quality),
        _ => packed(differences(rows, row, channels), output),
    }
}

/// The format of the samples of a file.
#[derive(Clone, Debug)]
pub struct SampleShape {
    /// 1 or 3.
    colours: u16,
    /// Samples per pixel.
    channels: u16,
    /// Whether the sample after the colours is unassociated alpha.
    alpha: bool,
    /// Bits per sample.
    bits: u16,
    /// The range of every floating-point channel; empty for integers.
    ranges: Vec<(f64, f64)>,
    /// SampleFormat: 1 unsigned, 2 signed, 3 floating point.
    format: u16,
}

impl SampleShape {
    /// Of samples of any depth; floating point may represent integers of `signed` bits.
    fn of_raster(raster: &Raster, meaning: &Meaning, signed: Option<u8>) -> SampleShape {
        let (bits, format) = match (&raster.samples, signed) {
            (Samples::U8(_), _) => (8, 1),
            (Samples::U16(_), _) => (16, 1),
            (Samples::U32(_), _) => (32, 1),
            (Samples::F32(_), Some(..=8)) => (8, 2),
            (Samples::F32(_), Some(..=16)) => (16, 2),
            (Samples::F32(_), Some(_)) => (32, 2),
            (Samples::F32(_), None) => (32, 3),
        };
        let range = |channel| meaning.ranges.get(channel).copied().unwrap_or((0.0, 1.0));
        SampleShape {
            colours: if meaning.colour.channels() == 1 { 1 } else { 3 },
            channels: raster.channels.into(),
            alpha: meaning.alpha != Alpha::None,
            bits,
            ranges: (0..raster.channels.into())
                .filter(|_| format != 1)
                .map(range)
                .collect(),
            format,
        }
    }

    /// Of a picture; WebP has no grey.
    pub fn of(layout: Layout, output: Output) -> SampleShape {
        let colours = if layout == Layout::Grey && output.compression != TiffCompression::Webp {
            1
        } else {
            3
        };
        let alpha = layout == Layout::Rgba;
        SampleShape {
            colours,
            channels: colours + u16::from(alpha),
            alpha,
            bits: 8,
            ranges: Vec::new(),
            format: 1,
        }
    }
}

/// Encodes samples of any depth with all channels; JPEG and WebP are not supported. If the image has signed integers of
/// `signed` bits, floating-point samples are written as signed integers of 8, 16 or 32 bits.
#[expect(
    clippy::cast_possible_truncation,
    reason = "casts end at the least and the greatest integer"
)]
pub fn deep(
    raster: &Raster,
    meaning: &Meaning,
    signed: Option<u8>,
    output: Output,
    tags: &Tags,
) -> Result<Vec<u8>> {
    let shape = SampleShape::of_raster(raster, meaning, signed);
    let channels = usize::from(raster.channels);
    let expected = raster.size.area() * channels as u64;
    let whole =
        expected > 0 && raster.samples.len() as u64 == expected && channels >= usize::from(shape.colours);
    if !whole || output.coder().depth != Depth::Any {
        return Err(Error::Corrupt(format!("{channels} channels are not written so")));
    }
    let strips = Strips {
        width: raster.size.w,
        channels,
        predicted: output.compression.is_predicted(),
        output,
    };
    let mut writer = TiffWriter::new(raster.size, shape, output);
    match (&raster.samples, signed) {
        (Samples::U8(samples), _) => strips.write(samples, &mut writer)?,
        (Samples::U16(samples), _) => strips.write(samples, &mut writer)?,
        (Samples::U32(samples), _) => strips.write(samples, &mut writer)?,
        (Samples::F32(samples), None) => strips.write(samples, &mut writer)?,
        (Samples::F32(samples), Some(..=8)) => strips.write(&nearest(samples, |v| v as i8), &mut writer)?,
        (Samples::F32(samples), Some(..=16)) => strips.write(&nearest(samples, |v| v as i16), &mut writer)?,
        (Samples::F32(samples), Some(_)) => strips.write(&nearest(samples, |v| v as i32), &mut writer)?,
    }
    writer.finish(tags)
}

/// Rounds samples to the nearest integers by a saturating cast.
fn nearest<T>(samples: &[f32], cast: impl Fn(f32) -> T) -> Vec<T> {
    samples.iter().map(|value| cast(value.round())).collect()
}

/// A sample type that can be written.
trait WriteSample: Copy {
    /// Whether the predictor applies to the type: not to floating point.
    const PREDICTED: bool;

    /// The wrapping difference to the sample on its left.
    fn minus(self, left: Self) -> Self;

    /// Appends its bytes in little-endian order.
    fn append(self, bytes: &mut Vec<u8>);
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl WriteSample for $type {
            const PREDICTED: bool = true;

            fn minus(self, left: Self) -> Self {
                self.wrapping_sub(left)
            }

            fn append(self, bytes: &mut Vec<u8>) {
                bytes.extend_from_slice(&self.to_le_bytes());
            }
        }
    )*};
}

integers!(u8, u16, u32, i8, i16, i32);

impl WriteSample for f32 {
    const PREDICTED: bool = false;

    fn minus(self, _: Self) -> Self {
        self
    }

    fn append(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.to_le_bytes());
    }
}

/// Converts samples of any depth to strips.
struct Strips {
    width: u32,
    channels: usize,
    /// Whether the compression has a predictor.
    predicted: bool,
    output: Output,
}

impl Strips {
    /// Compresses all strips and adds them to the file.
    fn write<T: WriteSample>(&self, samples: &[T], writer: &mut TiffWriter) -> Result<()> {
        let row = self.width as usize * self.channels;
        for rows in samples.chunks(row * strip_rows(self.width) as usize) {
            let mut bytes = Vec::with_capacity(size_of_val(rows));
            for row in rows.chunks(row) {
                self.append(row, &mut bytes);
            }
            writer.push(&packed(bytes, self.output)?);
        }
        Ok(())
    }

    /// Appends the bytes of a row, with differences if the compression has a predictor.
    fn append<T: WriteSample>(&self, row: &[T], bytes: &mut Vec<u8>) {
        if !(self.predicted && T::PREDICTED) {
            row.iter().for_each(|sample| sample.append(bytes));
            return;
        }
        let (first, right) = row.split_at(self.channels.min(row.len()));
        first.iter().for_each(|sample| sample.append(bytes));
        for (sample, left) in right.iter().zip(row) {
            sample.minus(*left).append(bytes);
        }
    }
}

/// Compresses the bytes of a strip losslessly.
fn packed(bytes: Vec<u8>, output: Output) -> Result<Vec<u8>> {
    let level = u8::try_from(output.quality.clamp(1, 100)).unwrap_or(1);
    match output.compression {
        TiffCompression::Lzw => lzw::encode(&bytes),
        TiffCompression::Deflate => deflate::deflate(&bytes, level),
        TiffCompression::Zstd => zstd::encode(&bytes, level),
        _ => Ok(bytes),
    }
}

/// Writes a file strip by strip.
pub struct TiffWriter {
    size: Size,
    shape: SampleShape,
    compression: TiffCompression,
    file: Vec<u8>,
    offsets: Vec<u64>,
    counts: Vec<u64>,
}

impl TiffWriter {
    /// Starts a file.
    pub fn new(size: Size, shape: SampleShape, output: Output) -> TiffWriter {
        TiffWriter {
            size,
            shape,
            compression: output.compression,
            // placeholder for the offset of the directory
            file: ifd::HEADER.to_vec(),
            offsets: Vec::new(),
            counts: Vec::new(),
        }
    }

    /// Adds the next strip.
    pub fn push(&mut self, strip: &[u8]) {
        ifd::align(&mut self.file);
        self.offsets.push(self.file.len() as u64);
        self.counts.push(strip.len() as u64);
        self.file.extend_from_slice(strip);
    }

    /// Completes the file.
    pub fn finish(mut self, tags: &Tags) -> Result<Vec<u8>> {
        let SampleShape {
            colours,
            channels,
            bits,
            ref ranges,
            format,
            ..
        } = self.shape;
        let photometric = match (colours, self.compression) {
            (1, _) => 1,
            (_, TiffCompression::Jpeg) => 6,
            _ => 2,
        };
        let mut fields = ifd::metadata_fields(&mut self.file, tags)?;
        fields.extend([
            IfdField::long(256, self.size.w),
            IfdField::long(257, self.size.h),
            IfdField::shorts(258, &vec![bits; channels.into()]),
            IfdField::shorts(259, &[self.compression.tag()]),
            IfdField::shorts(262, &[photometric]),
            IfdField::longs(273, &self.offsets)?,
            IfdField::shorts(277, &[channels]),
            IfdField::long(278, strip_rows(self.size.w)),
            IfdField::longs(279, &self.counts)?,
            IfdField::shorts(284, &[1]),
        ]);
        if self.compression.is_predicted() && format != 3 {
            fields.push(IfdField::shorts(317, &[2]));
        }
        if channels > colours {
            // the first may be unassociated alpha, the others are unspecified
            let mut extra = vec![0; (channels - colours).into()];
            if let Some(first) = extra.first_mut().filter(|_| self.shape.alpha) {
                *first = 2;
            }
            fields.push(IfdField::shorts(338, &extra));
        }
        if !ranges.is_empty() {
            fields.push(IfdField::shorts(339, &vec![format; channels.into()]));
            let ends = |pick: fn(&(f64, f64)) -> f64| ranges.iter().map(pick).collect::<Vec<f64>>();
            fields.push(IfdField::floats(340, &ends(|range| range.0)));
            fields.push(IfdField::floats(341, &ends(|range| range.1)));
        }
        if photometric == 6 {
            fields.push(IfdField::shorts(530, &[2, 2]));
        }
        if let Some(icc) = tags.icc {
            fields.push(IfdField::raw(34675, icc));
        }
        if let Some(xmp) = tags.xmp {
            fields.push(IfdField::raw(700, &upright(xmp)));
        }
        let at = ifd::push(&mut self.file, fields)?;
        ifd::point(&mut self.file, at);
        Ok(self.file)
    }
}

/// Horizontal differencing (predictor 2, TIFF 6.0 §14); the first sample of a row is unchanged.
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
    use crate::geometry::Num;
    use crate::geometry::Rect;
    use crate::raster::Colour;
    use crate::raster::Density;
    use crate::raster::Format;
    use crate::source::Source;
    use crate::source::Window;
    use crate::source::cache::NoCache;
    use crate::source::tiff::Limits;
    use crate::source::tiff::Tiff;
    use crate::source::tiff::build::Temp;
    use crate::source::window;

    fn output(compression: TiffCompression, quality: i16) -> Output {
        Output {
            format: Format::Tiff,
            quality,
            compression,
            asked: false,
            style: JpegStyle::default(),
            full_metadata: true,
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

    /// Opens the file with this crate's reader.
    fn opened(file: &[u8]) -> Tiff {
        Tiff::open(Temp::new(file).open(), &Limits::default()).unwrap()
    }

    #[test]
    fn every_layout_round_trips_in_every_compression() {
        for size in [Size::new(1, 1), Size::new(61, 47), Size::new(900, 700)] {
            for layout in [Layout::Grey, Layout::Rgb, Layout::Rgba] {
                for compression in ["none", "lzw", "deflate", "webp", "zstd"] {
                    let picture = drawn(layout, size);
                    let output = output(TiffCompression::named(compression).unwrap(), -1);
                    let tiff = opened(&encode(&picture, output, &Tags::default()).unwrap());
                    assert_eq!(tiff.header().size(), size);
                    let window = Window::new(0, Rect::of(size));
                    let raster = window::raster(&tiff, window, &NoCache).unwrap();
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
    fn every_depth_and_number_of_channels_round_trips() {
        let size = Size::new(301, 520);
        for channels in [1, 2, 3, 4, 6] {
            let len = size.area() as usize * channels;
            let numbers = || (0..len as u32).map(|i| i.wrapping_mul(2_654_435_761));
            for samples in [
                Samples::U16(numbers().map(|n| (n >> 16) as u16).collect()),
                Samples::U32(numbers().collect()),
                Samples::F32(numbers().map(|n| n as f32 / 1e9 - 1.5).collect()),
            ] {
                for compression in ["none", "lzw", "deflate", "zstd"] {
                    let colour = if channels < 3 { Colour::Grey } else { Colour::Rgb };
                    let alpha = if channels == 4 {
                        Alpha::Straight
                    } else {
                        Alpha::None
                    };
                    let meaning = Meaning {
                        colour,
                        alpha,
                        ranges: vec![(-1.5, 2.75); channels],
                    };
                    let raster = Raster {
                        size,
                        channels: channels as u8,
                        samples: samples.clone(),
                    };
                    let output = output(TiffCompression::named(compression).unwrap(), 1);
                    let tiff = opened(&deep(&raster, &meaning, None, output, &Tags::default()).unwrap());
                    let window = Window::new(0, Rect::of(size));
                    assert!(
                        window::raster(&tiff, window, &NoCache).unwrap() == raster,
                        "{channels} {compression}"
                    );
                    let found = &tiff.header().meaning;
                    assert_eq!((found.colour, found.alpha), (colour, alpha));
                    if matches!(samples, Samples::F32(_)) {
                        assert_eq!(found.ranges, meaning.ranges);
                    }
                }
            }
        }
    }

    #[test]
    fn jpeg_strips_equal_a_single_jpeg() {
        let size = Size::new(700, 650);
        for layout in [Layout::Grey, Layout::Rgb] {
            let picture = drawn(layout, size);
            let file = encode(&picture, output(TiffCompression::Jpeg, 80), &Tags::default()).unwrap();
            let window = Window::new(0, Rect::of(size));
            let Samples::U8(found) = window::raster(&opened(&file), window, &NoCache).unwrap().samples else {
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
        assert!(encode(&rgba, output(TiffCompression::Jpeg, 80), &Tags::default()).is_err());
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
            xmp: Some(b"<x/>"),
            rights: Some("ours"),
            ..Tags::default()
        };
        let picture = drawn(Layout::Rgb, Size::new(20, 10));
        let file = encode(&picture, output(TiffCompression::Lzw, 0), &tags).unwrap();
        let tiff = opened(&file);
        let metadata = &tiff.header().metadata;
        assert_eq!(metadata.icc.as_deref(), tags.icc);
        assert_eq!(metadata.xmp.as_deref(), tags.xmp);
        assert_eq!(metadata.text("rights"), tags.rights);
        let density = metadata.density.unwrap();
        assert!(
            (density.x.value() - 11811.0236).abs() < 0.01 && (density.y.value() - 2834.6457).abs() < 0.01
        );
    }

    #[test]
    fn a_picture_whose_size_does_not_match_its_data_is_an_error() {
        let mut picture = drawn(Layout::Grey, Size::new(5, 5));
        picture.data.pop();
        assert!(encode(&picture, output(TiffCompression::None, 0), &Tags::default()).is_err());
    }
}
