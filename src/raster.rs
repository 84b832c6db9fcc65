//! Pixels and their description: [`Raster`] as a source stores them, [`Picture`] as an encoder takes them.
//!
//! Rows run from the top, channels are interleaved, nothing is padded.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Num;
use crate::geometry::Size;
use crate::limits::METADATA;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

/// Samples of one depth.
#[derive(Clone, Debug, PartialEq)]
pub enum Samples {
    /// 0–255.
    U8(Vec<u8>),
    /// 0–65535.
    U16(Vec<u16>),
    /// 0–2^32−1.
    U32(Vec<u32>),
    /// Any finite value; [`Meaning::ranges`] has the nominal range.
    F32(Vec<f32>),
}

impl Samples {
    /// Number of samples.
    pub fn len(&self) -> usize {
        match self {
            Samples::U8(v) => v.len(),
            Samples::U16(v) => v.len(),
            Samples::U32(v) => v.len(),
            Samples::F32(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        match self {
            Samples::U8(v) => v.len(),
            Samples::U16(v) => v.len() * 2,
            Samples::U32(v) => v.len() * 4,
            Samples::F32(v) => v.len() * 4,
        }
    }

    /// The samples as bytes, in native byte order.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Samples::U8(v) => v,
            Samples::U16(v) => bytemuck::cast_slice_mut(v),
            Samples::U32(v) => bytemuck::cast_slice_mut(v),
            Samples::F32(v) => bytemuck::cast_slice_mut(v),
        }
    }
}

/// Stored samples: `size.w * size.h * channels` of them, row by row, channels interleaved.
#[derive(Clone, Debug, PartialEq)]
pub struct Raster {
    /// Width and height.
    pub size: Size,
    /// Samples per pixel.
    pub channels: u8,
    /// The samples.
    pub samples: Samples,
}

/// The sample format in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleFormat {
    /// Unsigned integers.
    Unsigned,
    /// Signed integers.
    Signed,
    /// Floating point.
    Float,
}

/// The colour space of the first channels of a raster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// One channel, black is the minimum.
    Grey,
    /// Red, green, blue.
    Rgb,
    /// CIE 1976 L*a*b*. In 8 and 16 bits L* (0–100) fills the range, and a* and b* are stored in units of 1 and 1/256 with an
    /// offset of 128 and 32768. In floating point all three are stored as they are.
    Lab,
    /// Cyan, magenta, yellow, black; the minimum is no ink.
    Cmyk,
}

impl Colour {
    /// Samples per pixel.
    pub const fn channels(self) -> usize {
        match self {
            Colour::Grey => 1,
            Colour::Rgb | Colour::Lab => 3,
            Colour::Cmyk => 4,
        }
    }
}

/// The meaning of the channel after the colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpha {
    /// No alpha; extra channels, if any, are dropped on output.
    None,
    /// Unassociated: colours are not multiplied by it.
    Straight,
    /// Associated: colours are multiplied by it.
    Premultiplied,
}

/// The meaning of a raster's channels: colours, then alpha if there is any, then channels without one.
#[derive(Clone, Debug, PartialEq)]
pub struct Meaning {
    /// The colour space of the first channels.
    pub colour: Colour,
    /// The channel after them.
    pub alpha: Alpha,
    /// Nominal minimum and maximum of every channel: finite, minimum < maximum.
    pub ranges: Vec<(f64, f64)>,
}

impl Raster {
    /// Serialises header and samples in native byte order, for caches on this machine.
    pub fn to_bytes(&self) -> Vec<u8> {
        let (kind, samples): (u8, &[u8]) = match &self.samples {
            Samples::U8(samples) => (1, samples),
            Samples::U16(samples) => (2, bytemuck::cast_slice(samples)),
            Samples::U32(samples) => (4, bytemuck::cast_slice(samples)),
            Samples::F32(samples) => (5, bytemuck::cast_slice(samples)),
        };
        let sides = [self.size.w.to_ne_bytes(), self.size.h.to_ne_bytes()].concat();
        [&sides, &[self.channels, kind][..], samples].concat()
    }

    /// The inverse of [`Raster::to_bytes`]; `None` when the bytes are not a raster.
    pub fn from_bytes(bytes: &[u8]) -> Option<Raster> {
        let (w, bytes) = bytes.split_first_chunk()?;
        let (h, bytes) = bytes.split_first_chunk()?;
        let (&[channels, kind], bytes) = bytes.split_first_chunk()?;
        let samples = match kind {
            1 => Samples::U8(bytes.into()),
            2 => Samples::U16(numbers(bytes, u16::from_ne_bytes)),
            4 => Samples::U32(numbers(bytes, u32::from_ne_bytes)),
            5 => Samples::F32(numbers(bytes, f32::from_ne_bytes)),
            _ => return None,
        };
        let size = Size::new(u32::from_ne_bytes(*w), u32::from_ne_bytes(*h));
        let fits = size.area().checked_mul(channels.into()) == Some(samples.len() as u64);
        fits.then_some(Raster {
            size,
            channels,
            samples,
        })
    }
}

/// Maps samples of any depth to samples of the same depth: `$make` is an expression over the slice `$numbers`.
macro_rules! any_depth {
    ($samples:expr, $numbers:ident => $make:expr) => {
        match $samples {
            Samples::U8($numbers) => Samples::U8($make),
            Samples::U16($numbers) => Samples::U16($make),
            Samples::U32($numbers) => Samples::U32($make),
            Samples::F32($numbers) => Samples::F32($make),
        }
    };
}
pub(crate) use any_depth;

/// Rows of a raster, or of strips stacked from top to bottom.
pub type Strip<'a> = (Cow<'a, Raster>, Range<u32>);

/// All rows of a raster.
pub fn strip(raster: Raster) -> Strip<'static> {
    let rows = 0..raster.size.h;
    (Cow::Owned(raster), rows)
}

/// The rows of strips; `numbers` selects the depth. `Corrupt` when the strips differ in width, depth or channels, or when
/// there are none.
pub fn lines<'a, S>(
    strips: &'a [Strip],
    numbers: impl Fn(&'a Samples) -> Option<&'a [S]>,
) -> Result<Vec<&'a [S]>> {
    let unlike = || Error::Corrupt("strips of one picture differ in size, depth or channels".into());
    let (model, _) = strips.first().ok_or_else(unlike)?;
    let row = model.size.w as usize * usize::from(model.channels);
    let mut lines = Vec::new();
    for (raster, rows) in strips {
        let range = rows.start as usize * row..rows.end as usize * row;
        let alike = (raster.size.w, raster.channels) == (model.size.w, model.channels)
            && raster.samples.len() == row * raster.size.h as usize;
        let numbers = numbers(&raster.samples).filter(|_| alike && !range.is_empty());
        let numbers = numbers
            .and_then(|numbers| numbers.get(range))
            .ok_or_else(unlike)?;
        lines.extend(numbers.chunks_exact(row));
    }
    Ok(lines)
}

/// The rows of strips of this depth; see [`lines`].
macro_rules! lines_of {
    ($depth:ident, $strips:expr) => {
        lines($strips, |samples| match samples {
            Samples::$depth(numbers) => Some(numbers.as_slice()),
            _ => None,
        })
    };
}
pub(crate) use lines_of;

/// Joins strips into one raster. `Corrupt` as in [`lines`], and when there are no samples.
pub fn gather(mut strips: Vec<Strip>) -> Result<Raster> {
    let missing = || Error::Corrupt("a picture without rows".into());
    let (model, rows) = strips.first().ok_or_else(missing)?;
    let count = model.size.area() * u64::from(model.channels);
    let is_whole = *rows == (0..model.size.h) && count == model.samples.len() as u64;
    if strips.len() == 1 && is_whole && count > 0 {
        return strips
            .pop()
            .map(|(raster, _)| raster.into_owned())
            .ok_or_else(missing);
    }
    let samples = match &model.samples {
        Samples::U8(_) => Samples::U8(lines_of!(U8, &strips)?.concat()),
        Samples::U16(_) => Samples::U16(lines_of!(U16, &strips)?.concat()),
        Samples::U32(_) => Samples::U32(lines_of!(U32, &strips)?.concat()),
        Samples::F32(_) => Samples::F32(lines_of!(F32, &strips)?.concat()),
    };
    let high = strips.iter().map(|(_, rows)| rows.end - rows.start).sum();
    Ok(Raster {
        size: Size::new(model.size.w, high),
        channels: model.channels,
        samples,
    })
}

/// Numbers of `N` bytes; an incomplete last one is dropped.
fn numbers<const N: usize, T>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|bytes| number(*bytes)).collect()
}

impl Meaning {
    /// The meaning of 8-bit samples that use their whole range.
    pub fn bytes(colour: Colour, alpha: Alpha) -> Meaning {
        let channels = colour.channels() + usize::from(alpha != Alpha::None);
        Meaning {
            colour,
            alpha,
            ranges: vec![(0.0, 255.0); channels],
        }
    }
}

/// Scales a value of `from` bits to `to` bits, 8 or 16. The full range maps to the full range, rounded to nearest; wider
/// values lose their lowest bits.
pub fn widened(value: u32, from: u8, to: u8) -> u16 {
    let full = |bits: u8| (1u64 << bits) - 1;
    let wide = match from {
        _ if from == to => u64::from(value),
        17.. => u64::from(value) >> (from - 16),
        _ => (u64::from(value) * full(to) + full(from) / 2) / full(from),
    };
    u16::try_from(wide).unwrap_or(u16::MAX)
}

/// The channels of a [`Picture`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Layout {
    /// One channel.
    Grey,
    /// Red, green, blue.
    Rgb,
    /// Red, green, blue and unassociated alpha.
    Rgba,
}

impl Layout {
    /// Bytes per pixel.
    pub const fn channels(self) -> usize {
        match self {
            Layout::Grey => 1,
            Layout::Rgb => 3,
            Layout::Rgba => 4,
        }
    }
}

/// The input of every encoder: 8 bits per sample, `size.w * size.h * layout.channels()` bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width and height.
    pub size: Size,
    /// The channels.
    pub layout: Layout,
    /// Row by row, channels interleaved.
    pub data: Vec<u8>,
}

/// The file format of an answer or of a stored tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// JPEG (ISO/IEC 10918-1).
    Jpeg,
    /// PNG.
    Png,
    /// WebP.
    Webp,
    /// AVIF.
    Avif,
    /// TIFF.
    Tiff,
    /// GIF.
    Gif,
}

/// Pixels per metre.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Density {
    /// Horizontal, > 0.
    pub x: Num,
    /// Vertical, > 0.
    pub y: Num,
}

/// The metadata of a file; all of it is optional.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// ICC profile as stored.
    pub icc: Option<Arc<[u8]>>,
    /// XMP packet as stored.
    pub xmp: Option<Arc<[u8]>>,
    /// Resolution of level 0.
    pub density: Option<Density>,
    /// Named texts in file order, such as (`description`, …); names are those of the IIP objects.
    pub texts: Vec<(&'static str, String)>,
    /// Other EXIF entries.
    pub details: Details,
    /// Metadata of the file that exceeded a limit, and the setting's name.
    pub left_out: Vec<(&'static str, &'static str)>,
}

/// Entries of the EXIF directories, without those that describe one file only: sizes, offsets, compression.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// The Exif IFD: how and when the picture was taken (EXIF 2.32 §4.6.5).
    pub taking: Vec<Detail>,
    /// The GPS IFD: where (§4.6.6).
    pub place: Vec<Detail>,
}

/// An entry of an EXIF directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Detail {
    /// Tag.
    pub tag: u16,
    /// Type of the values, as in TIFF.
    pub kind: u16,
    /// Number of values.
    pub count: u32,
    /// The values, little-endian.
    pub value: Vec<u8>,
}

impl Metadata {
    /// The text with this name.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, text)| text.as_str())
    }

    /// Drops the profile, the packet or texts that do not fit into `most` bytes together with those before them.
    pub fn within(mut self, most: u64) -> Metadata {
        let mut left = most;
        let mut fits = |len: usize| {
            let rest = left.checked_sub(len as u64);
            left = rest.unwrap_or(left);
            rest.is_some()
        };
        let mut left_out = Vec::new();
        let mut keeps = |what, len| {
            let fits = fits(len);
            if !fits {
                left_out.push((what, METADATA));
            }
            fits
        };
        self.icc = self.icc.filter(|icc| keeps("profile", icc.len()));
        self.xmp = self.xmp.filter(|xmp| keeps("XMP packet", xmp.len()));
        self.texts.retain(|(name, text)| keeps(name, text.len()));
        self.left_out.extend(left_out);
        self
    }

    /// Adds the fields of `other` that are missing here.
    pub fn or(mut self, other: Metadata) -> Metadata {
        for (name, text) in other.texts {
            if self.text(name).is_none() {
                self.texts.push((name, text));
            }
        }
        let own = self.details != Details::default();
        self.left_out.extend(other.left_out);
        Metadata {
            icc: self.icc.or(other.icc),
            xmp: self.xmp.or(other.xmp),
            density: self.density.or(other.density),
            texts: self.texts,
            details: if own { self.details } else { other.details },
            left_out: self.left_out,
        }
    }
}

/// Decodes a text as stored in files: up to the first NUL, trimmed; UTF-8, or else Latin-1.
pub fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    match std::str::from_utf8(bytes) {
        Ok(text) => text.trim().into(),
        Err(_) => bytes
            .iter()
            .map(|byte| char::from(*byte))
            .collect::<String>()
            .trim()
            .into(),
    }
}
