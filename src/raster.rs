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
    /// Any finite value; the nominal range is the image's business.
    F32(Vec<f32>),
}

impl Samples {
    /// How many samples.
    pub fn len(&self) -> usize {
        match self {
            Samples::U8(v) => v.len(),
            Samples::U16(v) => v.len(),
            Samples::U32(v) => v.len(),
            Samples::F32(v) => v.len(),
        }
    }

    /// Whether there is none.
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

    /// The memory itself, numbers in the machine's order of bytes.
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
    /// Samples a pixel.
    pub channels: u8,
    /// The samples.
    pub samples: Samples,
}

/// What the samples are in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleFormat {
    /// Unsigned integers.
    Unsigned,
    /// Signed integers.
    Signed,
    /// Floating point.
    Float,
}

/// What the first channels of a raster mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// One channel, black is the minimum.
    Grey,
    /// Red, green, blue.
    Rgb,
    /// CIE 1976 L*, a*, b*. In 8 and 16 bits L* fills the range (0–100), a* and b* are offset by 128: 128 and 32768
    /// mean 0, a unit is 1 and 256. In floating point all three are as they are.
    Lab,
    /// Cyan, magenta, yellow and black: the minimum is no ink.
    Cmyk,
}

impl Colour {
    /// Samples a pixel.
    pub const fn channels(self) -> usize {
        match self {
            Colour::Grey => 1,
            Colour::Rgb | Colour::Lab => 3,
            Colour::Cmyk => 4,
        }
    }
}

/// What the channel after the colours is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpha {
    /// No alpha; extra channels, if any, are dropped on output.
    None,
    /// Colours are not multiplied by it.
    Straight,
    /// Colours are multiplied by it already.
    Premultiplied,
}

/// What the channels of a raster mean: the colours first, then alpha if there is any; what follows has no meaning.
#[derive(Clone, Debug, PartialEq)]
pub struct Meaning {
    /// The first channels.
    pub colour: Colour,
    /// The next.
    pub alpha: Alpha,
    /// Nominal minimum and maximum of every channel, finite, the minimum below the maximum.
    pub ranges: Vec<(f64, f64)>,
}

impl Raster {
    /// Head and samples as they are in memory: for programs on this machine.
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

    /// The reverse; `None` when the bytes are not of a raster.
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

/// Makes samples of samples of any depth, which stays: `$make` of the numbers that are called `$numbers`.
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

/// Rows of a raster. Strips of one window lie one below the other.
pub type Strip<'a> = (Cow<'a, Raster>, Range<u32>);

/// All rows of a raster.
pub fn strip(raster: Raster) -> Strip<'static> {
    let rows = 0..raster.size.h;
    (Cow::Owned(raster), rows)
}

/// The rows of strips whose samples are what `numbers` takes. `Corrupt` when they differ in width, depth or channels, or
/// are missing.
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

/// The rows of strips of this depth: [`lines`].
macro_rules! lines_of {
    ($depth:ident, $strips:expr) => {
        lines($strips, |samples| match samples {
            Samples::$depth(numbers) => Some(numbers.as_slice()),
            _ => None,
        })
    };
}
pub(crate) use lines_of;

/// Strips in one piece; `Corrupt` as [`lines`] has it, and when there is no sample.
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

/// Numbers of `N` bytes; a rest that is too short is left out.
fn numbers<const N: usize, T>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks().0.iter().map(|bytes| number(*bytes)).collect()
}

impl Meaning {
    /// Of 8-bit samples that use their whole range.
    pub fn bytes(colour: Colour, alpha: Alpha) -> Meaning {
        let channels = colour.channels() + usize::from(alpha != Alpha::None);
        Meaning {
            colour,
            alpha,
            ranges: vec![(0.0, 255.0); channels],
        }
    }
}

/// A value of `from` bits in `to` bits, 8 or 16: the full range becomes the full range, rounded to the nearest; what
/// is wider loses its lowest bits.
pub fn widened(value: u32, from: u8, to: u8) -> u16 {
    let full = |bits: u8| (1u64 << bits) - 1;
    let wide = match from {
        _ if from == to => u64::from(value),
        17.. => u64::from(value) >> (from - 16),
        _ => (u64::from(value) * full(to) + full(from) / 2) / full(from),
    };
    u16::try_from(wide).unwrap_or(u16::MAX)
}

/// What the channels of a [`Picture`] mean.
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
    /// Bytes a pixel.
    pub const fn channels(self) -> usize {
        match self {
            Layout::Grey => 1,
            Layout::Rgb => 3,
            Layout::Rgba => 4,
        }
    }
}

/// What every encoder takes: 8 bits a sample, `size.w * size.h * layout.channels()` bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width and height.
    pub size: Size,
    /// Meaning of the channels.
    pub layout: Layout,
    /// Row by row, channels interleaved.
    pub data: Vec<u8>,
}

/// A file format of answers, or of a stored tile.
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

/// Pixels per metre, across and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Density {
    /// Across, > 0.
    pub x: Num,
    /// Down, > 0.
    pub y: Num,
}

/// What a file says about its picture; all of it may be absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// ICC profile as stored.
    pub icc: Option<Arc<[u8]>>,
    /// XMP packet as stored.
    pub xmp: Option<Arc<[u8]>>,
    /// Resolution of level 0.
    pub density: Option<Density>,
    /// Named texts in the order of the file, such as (`description`, …): the names are those of the IIP objects.
    pub texts: Vec<(&'static str, String)>,
    /// What EXIF says beyond that.
    pub details: Details,
    /// What is in the file and not here, and the setting that it is beyond.
    pub left_out: Vec<(&'static str, &'static str)>,
}

/// Entries of the directories of EXIF but for what is true of one file only: sizes, places in it, how it is coded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// How and when the picture was taken (EXIF 2.32 §4.6.5).
    pub taking: Vec<Detail>,
    /// Where (§4.6.6).
    pub place: Vec<Detail>,
}

/// An entry of a directory.
#[derive(Clone, Debug, PartialEq)]
pub struct Detail {
    /// Its number.
    pub tag: u16,
    /// The type of its values, as in TIFF.
    pub kind: u16,
    /// How many there are.
    pub count: u32,
    /// The values, the least significant byte first.
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

    /// The same without a profile, a packet or texts that take more than `most` bytes together with those before them.
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

    /// With what `other` knows besides.
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

/// A text as files store it: up to the first NUL, without blanks at the ends; UTF-8, or else Latin-1.
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
