//! The properties of samples in the tags of a TIFF directory, before they are interpreted as a layout.
//!
//! Unsupported values are rejected here by name.

use crate::error::Error;
use crate::error::Result;
use crate::raster::Colour;
use crate::raster::SampleFormat;
use crate::source::tiff::compression::Compression;
use crate::source::tiff::ifd::Ifd;
use crate::source::tiff::input::Input;
use crate::source::tiff::writer::Software;
use crate::source::tiff::ycbcr::Ycbcr;

/// The TIFF predictor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predictor {
    /// Samples are stored directly.
    None,
    /// Differences from the previous pixel (TIFF 6.0 §14).
    Difference,
    /// Byte differences of floating point, with the bytes of a row sorted by significance (TIFF Technical Note 3).
    Float,
}

/// The conversion of stored colours to samples.
#[derive(Clone, Debug)]
pub enum ColourTransform {
    /// None.
    Keep,
    /// Swaps minimum and maximum.
    Invert,
    /// One channel is an index into a palette.
    Palette(Box<[[u8; 3]]>),
    /// None: the samples are palette indices, which are stored with other channels.
    Index,
    /// Luma and chroma, outside JPEG.
    Ycbcr(Box<Ycbcr>),
    /// L*, a*, b*, the latter two signed (TIFF 6.0 §23).
    Lab,
    /// 16-bit L*, a*, b* as in ICC profiles of version 2: 0xff00 is 100.
    IccLab,
}

/// The index of a sample after the colours, and its number in ExtraSamples.
pub(super) type Extra = (usize, u64);

/// The sample tags of a directory.
pub(super) struct SampleTags {
    pub compression: Compression,
    /// PhotometricInterpretation.
    pub photometric: u64,
    /// Samples per pixel.
    pub stored: usize,
    /// Bits per sample.
    pub bits: u8,
    /// SampleFormat.
    pub format: u64,
    pub kind: SampleFormat,
}

impl SampleTags {
    pub fn read(ifd: &Ifd, input: &Input, writer: Software) -> Result<SampleTags> {
        let packing = ifd
            .numbers(input, 50674, 2)?
            .and_then(|numbers| numbers.get(1).copied());
        let (code, options) = (first(ifd, input, 259, 1)?, first(ifd, input, 292, 0)?);
        let compression = Compression::of(code, options, packing.unwrap_or(0))?;
        // a file that gives the colour but not the number of channels has exactly those that it needs
        let needed = match first(ifd, input, 262, 1)? {
            2 | 6 | 8 | 9 => 3,
            5 => 4,
            _ => 1,
        };
        let channels = first(ifd, input, 277, needed)?;
        let stored = usize::try_from(channels).unwrap_or(0);
        if !(1..=1024).contains(&stored) {
            return Err(Error::Unsupported(format!(
                "{channels} channels are not supported"
            )));
        }
        let bits = bits(ifd, input, channels)?;
        let usual = match compression {
            Compression::Ccitt(_) => 0,
            _ if stored < 3 => 1,
            _ => 2,
        };
        let photometric = first(ifd, input, 262, usual)?;
        let compression = match compression {
            Compression::Jpeg2000(luma) => Compression::Jpeg2000(luma.by(writer, photometric == 6)),
            other => other,
        };
        let format = same(ifd, input, 339, channels)?.unwrap_or(1);
        Ok(SampleTags {
            compression,
            photometric,
            stored,
            bits,
            format,
            kind: kind(format, bits, photometric)?,
        })
    }

    pub fn is_complex(&self) -> bool {
        matches!(self.format, 5 | 6)
    }

    pub fn predictor(&self, ifd: &Ifd, input: &Input) -> Result<Predictor> {
        let predictor = match self.compression.predicts() {
            true => first(ifd, input, 317, 1)?,
            false => 1,
        };
        match (predictor, self.bits) {
            (1, _) => Ok(Predictor::None),
            (2, 8 | 16 | 32 | 64) => Ok(Predictor::Difference),
            (3, 16 | 24 | 32 | 64) if self.format == 3 => Ok(Predictor::Float),
            (other, bits) => Err(Error::Unsupported(format!(
                "predictor {other} with samples of {bits} bits is not supported"
            ))),
        }
    }

    /// The meaning of the first samples, their number, and the other samples with their ExtraSamples.
    pub fn colours(&self, ifd: &Ifd, input: &Input) -> Result<(Colour, usize, Vec<Extra>)> {
        let stored = self.stored;
        let colour = match (self.photometric, self.compression) {
            (32844, Compression::LogLuv(_)) => Colour::Grey,
            (32845, Compression::LogLuv(_)) => Colour::Rgb,
            (other, Compression::LogLuv(_)) => {
                return Err(Error::Unsupported(format!(
                    "photometric interpretation {other} in LogLuv is not supported"
                )));
            }
            (photometric, _) => colour(photometric, self.bits, self.kind)?,
        };
        let colours = if self.photometric == 3 {
            1
        } else {
            colour.channels()
        };
        let extra = ifd.numbers(input, 338, stored as u64)?.unwrap_or_default();
        let extra: Vec<Extra> = (colours..stored).zip(extra).collect();
        // three or more bands without a meaning are shown as in iipsrv: the first three as red, green and blue
        let is_bands = self.photometric <= 1 && !self.is_complex() && stored >= 3;
        let (colour, colours) = if is_bands && extra.iter().take(2).all(|(_, kind)| *kind == 0) {
            (Colour::Rgb, 3)
        } else {
            (colour, colours)
        };
        if stored < colours {
            return Err(Error::Corrupt(format!(
                "{stored} channels where colour needs {colours}"
            )));
        }
        Ok((colour, colours, extra))
    }

    /// The colour transform, and whether the components of JPEG are YCbCr.
    pub fn turn(
        &self,
        ifd: &Ifd,
        input: &Input,
        writer: Software,
        separate: bool,
    ) -> Result<(ColourTransform, bool)> {
        let (compression, bits, kind) = (self.compression, self.bits, self.kind);
        let jpeg = matches!(compression, Compression::Jpeg | Compression::OldJpeg);
        // Planar JPEG is luma and chroma if the writer gives the subsampling; Bio-Formats writes planes of red, green
        // and blue under that name.
        let rgb_planes = jpeg && separate && (writer == Software::BioFormats || ifd.field(530).is_none());
        let ranged_jpeg = compression == Compression::OldJpeg && Ycbcr::of(ifd, input)?.is_ranged();
        let jpeg_ycbcr = self.photometric == 6 && jpeg && !separate && !ranged_jpeg;
        let turn = match self.photometric {
            0 => ColourTransform::Invert,
            3 => ColourTransform::Palette(palette(ifd, input, bits)?),
            5 => inks(ifd, input, bits)?,
            6 if rgb_planes => ColourTransform::Keep,
            6 if compression == Compression::OldJpeg && !separate => match ranged_jpeg {
                // the decoder upsamples chroma
                true => ColourTransform::Ycbcr(Box::new(Ycbcr::of(ifd, input)?.whole())),
                false => ColourTransform::Keep,
            },
            6 if !jpeg_ycbcr && !compression.is_picture() || separate => {
                ColourTransform::Ycbcr(Box::new(Ycbcr::of(ifd, input)?))
            }
            8 if kind == SampleFormat::Unsigned => ColourTransform::Lab,
            9 if bits == 16 && kind == SampleFormat::Unsigned => ColourTransform::IccLab,
            _ => ColourTransform::Keep,
        };
        Ok((turn, jpeg_ycbcr))
    }

    /// `Unsupported` for unsupported forms of luma and chroma.
    pub fn check_ycbcr(&self, turn: &ColourTransform, predictor: Predictor, separate: bool) -> Result<()> {
        let ColourTransform::Ycbcr(ycbcr) = turn else {
            return Ok(());
        };
        let plain = predictor == Predictor::None && self.stored == 3;
        if self.bits == 8 && (ycbcr.block == (1, 1) || plain || separate) {
            return Ok(());
        }
        Err(Error::Unsupported(format!(
            "YCbCr of {} bits in {} channels and blocks of {:?}, with a predictor, is not supported",
            self.bits, self.stored, ycbcr.block
        )))
    }
}

/// The first value of a tag.
pub(super) fn first(ifd: &Ifd, input: &Input, tag: u16, default: u64) -> Result<u64> {
    Ok(ifd.first(input, tag)?.unwrap_or(default))
}

/// The sample format for a value of SampleFormat.
fn kind(format: u64, bits: u8, photometric: u64) -> Result<SampleFormat> {
    let grey = matches!(photometric, 0 | 1 | 4);
    // L*a*b* defines itself what is signed, and inks and chroma are never negative
    let plain = grey || photometric == 2;
    let unsupported = |what: String| Err(Error::Unsupported(format!("{what} not supported")));
    match (format, bits) {
        (2, ..=64) if plain => Ok(SampleFormat::Signed),
        (1 | 2 | 4, ..=64) => Ok(SampleFormat::Unsigned),
        (3, 16 | 24 | 32 | 64) => Ok(SampleFormat::Float),
        (5, 16 | 32 | 64) if grey => Ok(SampleFormat::Signed),
        (6, 32 | 64 | 128) if grey => Ok(SampleFormat::Float),
        (5 | 6, _) => unsupported(format!(
            "complex samples of {bits} bits in photometric {photometric} are"
        )),
        (3, _) => unsupported(format!("floating point of {bits} bits is")),
        (1..=4, _) => unsupported(format!("samples of {bits} bits are")),
        (other, _) => unsupported(format!("sample format {other} is")),
    }
}

/// The value that GDAL and tifffile assign to samples that were never written: the text of GDAL_NODATA, if samples
/// can have it.
pub(super) fn nodata(ifd: &Ifd, input: &Input, kind: SampleFormat, bits: u8) -> Option<f64> {
    let text = ifd.bytes(input, 42113, 64);
    let text = text.as_deref().and_then(|bytes| str::from_utf8(bytes).ok());
    let value = text.and_then(|text| text.trim_matches(['\0', ' ']).parse().ok());
    let most = f64::from(bits).exp2();
    let fits = |value: &f64| match kind {
        SampleFormat::Unsigned => value.fract() == 0.0 && (0.0..most).contains(value),
        SampleFormat::Signed => value.fract() == 0.0 && (-most / 2.0..most / 2.0).contains(value),
        SampleFormat::Float => true,
    };
    value.filter(fits)
}

/// The value of a tag that has the same one for every channel.
fn same(ifd: &Ifd, input: &Input, tag: u16, channels: u64) -> Result<Option<u64>> {
    let values = ifd.numbers(input, tag, channels)?.unwrap_or_default();
    match values.split_first() {
        Some((first, others)) if others.iter().any(|other| other != first) => Err(Error::Unsupported(
            format!("channels that differ in tag {tag} ({values:?}) are not supported"),
        )),
        first => Ok(first.map(|(first, _)| *first)),
    }
}

/// BitsPerSample, 1–128.
fn bits(ifd: &Ifd, input: &Input, channels: u64) -> Result<u8> {
    let bits = same(ifd, input, 258, channels)?.unwrap_or(1);
    u8::try_from(bits)
        .ok()
        .filter(|bits| (1..=128).contains(bits))
        .ok_or_else(|| Error::Unsupported(format!("samples of {bits} bits are not supported")))
}

/// The colour for a value of PhotometricInterpretation.
fn colour(photometric: u64, bits: u8, kind: SampleFormat) -> Result<Colour> {
    let lab = matches!(
        (kind, bits),
        (SampleFormat::Unsigned, 8 | 16) | (SampleFormat::Float, _)
    );
    match photometric {
        0 | 1 | 4 => Ok(Colour::Grey),
        2 | 6 | 34892 => Ok(Colour::Rgb),
        3 if kind == SampleFormat::Unsigned && bits <= 16 => Ok(Colour::Rgb),
        5 => Ok(Colour::Cmyk),
        8 | 9 if lab => Ok(Colour::Lab),
        other => {
            let name = match other {
                3 => "palette",
                8..=10 => "CIELAB",
                32803 => "colour filter array",
                32844 | 32845 => "LogLuv",
                _ => "unknown",
            };
            Err(Error::Unsupported(format!(
                "photometric interpretation {other} ({name}) of {bits} bits is not supported"
            )))
        }
    }
}

/// ColorMap: all red, all green, all blue, of 16 bits each (TIFF 6.0 p. 37). If every value is below 256, the writer
/// meant 8 bits.
fn palette(ifd: &Ifd, input: &Input, bits: u8) -> Result<Box<[[u8; 3]]>> {
    let count = 1usize << bits.min(16);
    let map = ifd.numbers(input, 320, 3 * count as u64)?.unwrap_or_default();
    if map.len() < 3 * count {
        return Err(Error::Corrupt(format!(
            "a palette of {} values for {bits} bits",
            map.len()
        )));
    }
    let shift = if map.iter().all(|value| *value < 256) {
        0
    } else {
        8
    };
    let value = |at: usize| map.get(at).map_or(0, |value| (value >> shift).to_le_bytes()[0]);
    Ok((0..count)
        .map(|index| [value(index), value(count + index), value(2 * count + index)])
        .collect())
}

/// Names of the standard inks (TIFF 6.0 §16, InkNames), in lower case.
const INKS: &[u8] = b"cyan\0magenta\0yellow\0black";

/// Cyan, magenta, yellow and black, also in an unnamed ink set of another kind; with some writers, DotRange says that
/// no ink is the maximum (TIFF 6.0 §16).
fn inks(ifd: &Ifd, input: &Input, bits: u8) -> Result<ColourTransform> {
    let set = ifd.first(input, 332)?.unwrap_or(1);
    let names = ifd.bytes(input, 333, 256);
    let names = names.as_deref().unwrap_or_default();
    let usual = names.is_empty() || names.to_ascii_lowercase().starts_with(INKS);
    if set != 1 && !usual {
        return Err(Error::Unsupported(
            "inks that are not cyan, magenta, yellow and black are not supported".into(),
        ));
    }
    let dots = ifd.numbers(input, 336, 2)?.unwrap_or_default();
    let turned = matches!(*dots, [none, full] if full == 0 && none >> bits.min(63) == 0 && none > 0);
    Ok(if turned {
        ColourTransform::Invert
    } else {
        ColourTransform::Keep
    })
}
