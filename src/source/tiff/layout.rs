//! The layout of the samples in a block (a tile or a strip), from the tags of its directory.
//!
//! Unsupported layouts are rejected here by name, so that later code need not check again.

use crate::codec::BlockShape;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Alpha;
use crate::raster::Colour;
use crate::raster::Meaning;
use crate::raster::SampleFormat;
use crate::raster::Samples;
use crate::source::tiff::compression::Compression;
use crate::source::tiff::ifd::Ifd;
use crate::source::tiff::input::ByteOrder;
use crate::source::tiff::input::Input;
use crate::source::tiff::ojpeg::OldJpeg;
pub use crate::source::tiff::sample_tags::ColourTransform;
use crate::source::tiff::sample_tags::Extra;
pub use crate::source::tiff::sample_tags::Predictor;
use crate::source::tiff::sample_tags::SampleTags;
use crate::source::tiff::sample_tags::first;
use crate::source::tiff::sample_tags::nodata;
use crate::source::tiff::writer::Software;
use crate::uninit;
use crate::uninit::UninitBuf;
use std::sync::Arc;

/// Limit of JPEGTables: four tables of each kind take 3 KiB.
const MAX_TABLES: u64 = 1 << 20;

/// How the bytes of a block map to samples.
#[derive(Clone, Debug)]
pub struct BlockLayout {
    /// The compression scheme.
    pub compression: Compression,
    /// The bits of every byte are reversed, before decompression.
    pub reversed: bool,
    /// Byte order of a sample.
    pub order: ByteOrder,
    /// The sample format.
    pub kind: SampleFormat,
    /// Bits per sample, 1–64; up to 128 for complex samples.
    pub bits: u8,
    /// Samples are complex: two numbers of this format, of which the magnitude is output.
    pub complex: bool,
    /// The predictor.
    pub predictor: Predictor,
    /// Stored samples per pixel.
    pub stored: usize,
    /// The stored samples that are output, in this order: the colours, alpha if there is one, and those without a
    /// meaning.
    pub picks: Vec<usize>,
    /// The colour transform.
    pub turn: ColourTransform,
    /// The meaning of the output channels.
    pub meaning: Meaning,
    /// Channels are planar, one block of one channel each ([`BlockLayout::plane`]).
    pub separate: bool,
    /// The stored components of JPEG blocks are YCbCr.
    pub jpeg_ycbcr: bool,
    /// JPEGTables, without which a JPEG stream is complete.
    pub tables: Option<Vec<u8>>,
    /// What old-style JPEG blocks share.
    pub old_jpeg: Option<Box<OldJpeg>>,
    /// For a plane of chroma: how many pixels across and down may share a sample.
    pub shared: Option<(usize, usize)>,
    /// The header of the JPEG stream whose restart intervals are the blocks.
    pub head: Option<Arc<[u8]>>,
    /// The stored value of every sample in a block that was never written, clamped to the sample format.
    pub absent: f64,
    /// The value of GDAL_NODATA, if samples can have it.
    pub nodata: Option<f64>,
    /// Whether the file does not state the range of its samples.
    pub open: bool,
}

/// The type of the output samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SampleType {
    /// 1–8 bits, scaled to 8.
    U8,
    /// 9–16 bits, scaled to 16.
    U16,
    /// 17–32 bits, unscaled.
    U32,
    /// Everything else.
    F32,
}

impl SampleType {
    fn of(kind: SampleFormat, bits: u8) -> SampleType {
        match (kind, bits) {
            (SampleFormat::Unsigned, 0..=8) => SampleType::U8,
            (SampleFormat::Unsigned, 9..=16) => SampleType::U16,
            (SampleFormat::Unsigned, 17..=32) => SampleType::U32,
            _ => SampleType::F32,
        }
    }

    fn bytes(self) -> u64 {
        match self {
            SampleType::U8 => 1,
            SampleType::U16 => 2,
            SampleType::U32 | SampleType::F32 => 4,
        }
    }
}

/// The kind of alpha, and the sample that holds it.
fn alpha(extra: &[Extra]) -> (Alpha, Option<usize>) {
    let found = extra.iter().find_map(|(sample, kind)| match kind {
        1 => Some((Alpha::Premultiplied, Some(*sample))),
        2 => Some((Alpha::Straight, Some(*sample))),
        _ => None,
    });
    found.unwrap_or((Alpha::None, None))
}

impl BlockLayout {
    /// Reads a directory of a file by this writer. `Error::Unsupported` names unsupported properties,
    /// `Error::Corrupt` contradictions.
    pub fn of(ifd: &Ifd, input: &Input, writer: Software) -> Result<BlockLayout> {
        let tags = SampleTags::read(ifd, input, writer)?;
        let (compression, kind, bits, stored) = (tags.compression, tags.kind, tags.bits, tags.stored);
        let predictor = tags.predictor(ifd, input)?;
        let (colour, colours, extra) = tags.colours(ifd, input)?;
        let separate = stored > 1 && first(ifd, input, 284, 1)? == 2;
        let (turn, jpeg_ycbcr) = tags.turn(ifd, input, writer, separate)?;
        tags.check_ycbcr(&turn, predictor, separate)?;
        let (alpha, place) = alpha(&extra);
        // a matrix may use the bands after the colours; the colour conversion does not know them
        let whole =
            matches!(turn, ColourTransform::Keep | ColourTransform::Invert) && stored <= usize::from(u8::MAX);
        let others = (colours..stored).filter(|sample| whole && place != Some(*sample));
        let tables = match compression {
            Compression::Jpeg => ifd.bytes(input, 347, MAX_TABLES).map(Vec::from),
            _ => None,
        };
        let nodata = nodata(ifd, input, kind, bits);
        let mut layout = BlockLayout {
            compression,
            reversed: !compression.has_own_order() && first(ifd, input, 266, 1)? == 2,
            order: ifd.order(),
            kind,
            bits,
            complex: tags.is_complex(),
            predictor,
            stored,
            picks: (0..colours).chain(place).chain(others).collect(),
            turn,
            meaning: Meaning {
                colour,
                alpha,
                ranges: Vec::new(),
            },
            separate,
            jpeg_ycbcr,
            tables,
            old_jpeg: None,
            shared: None,
            head: None,
            absent: nodata.unwrap_or(if writer.is_of_slides() && kind == SampleFormat::Unsigned {
                f64::from(bits).exp2() - 1.0
            } else {
                0.0
            }),
            nodata,
            open: false,
        };
        layout.fits()?;
        if compression == Compression::OldJpeg {
            layout.old_jpeg = Some(Box::new(OldJpeg::of(ifd, input, stored)?));
        }
        (layout.meaning.ranges, layout.open) = layout.ranges(ifd, input);
        Ok(layout)
    }

    /// Checks that the scheme supports such samples.
    fn fits(&self) -> Result<()> {
        let stored = if self.separate { 1 } else { self.stored };
        let holds = match self.compression {
            scheme if self.complex => scheme.is_plain(),
            // more than 8 bits means lossless
            Compression::Jpeg => {
                self.kind == SampleFormat::Unsigned
                    && (8..=16).contains(&self.bits)
                    && (1..=4).contains(&stored)
            }
            Compression::OldJpeg => self.bits == 8 && matches!(stored, 1 | 3) && !self.separate,
            Compression::Jpeg2000(_) => self.bits <= 16,
            Compression::Webp => self.bits == 8 && matches!(stored, 1 | 3 | 4),
            Compression::Png => {
                self.kind == SampleFormat::Unsigned
                    && matches!(self.bits, 8 | 16)
                    && (1..=4).contains(&stored)
            }
            Compression::Ccitt(_) | Compression::Jbig => (stored, self.bits) == (1, 1),
            Compression::Next => (stored, self.bits) == (1, 2),
            Compression::Thunder => (stored, self.bits) == (1, 4),
            Compression::Jxl => matches!(
                (self.kind, self.bits),
                (SampleFormat::Unsigned, ..=16) | (SampleFormat::Float, 32)
            ),
            Compression::Lerc(_) => matches!(
                (self.kind, self.bits),
                (_, 8 | 16 | 32) | (SampleFormat::Float, 64)
            ),
            Compression::PixarLog => {
                let whole = match &self.turn {
                    ColourTransform::Ycbcr(ycbcr) => ycbcr.block == (1, 1),
                    _ => true,
                };
                whole
                    && matches!(
                        (self.kind, self.bits),
                        (SampleFormat::Unsigned, 8 | 16) | (SampleFormat::Float, 32)
                    )
            }
            Compression::LogLuv(_) => !self.separate && stored == self.meaning.colour.channels(),
            Compression::None
            | Compression::PackBits
            | Compression::Lzw
            | Compression::Deflate
            | Compression::Lzma
            | Compression::Zstd => true,
        };
        if holds {
            return Ok(());
        }
        Err(Error::Unsupported(format!(
            "{stored} channels of {} bits in {:?} are not supported",
            self.bits, self.compression
        )))
    }

    /// Nominal minimum and maximum of the output channels: SMinSampleValue and SMaxSampleValue, or for signed samples
    /// and floating point GDAL's statistics; by default the full range of integers, and 0–1 for floating point. Also
    /// returns whether the file is silent.
    fn ranges(&self, ifd: &Ifd, input: &Input) -> (Vec<(f64, f64)>, bool) {
        let most = f64::from(self.bits).exp2();
        let whole = match (self.kind, self.depth()) {
            (_, SampleType::U8) => (0.0, 255.0),
            (_, SampleType::U16) => (0.0, 65535.0),
            (SampleFormat::Unsigned, _) => (0.0, most - 1.0),
            (SampleFormat::Signed, _) if self.complex => (0.0, most.sqrt() / std::f64::consts::SQRT_2),
            (SampleFormat::Signed, _) => (-most / 2.0, most / 2.0 - 1.0),
            (SampleFormat::Float, _) => (0.0, 1.0),
        };
        let channels = self.meaning.colour.channels();
        if self.meaning.colour == Colour::Lab && self.depth() == SampleType::F32 {
            let others = self.picks.len().saturating_sub(3);
            let all = [(0.0, 100.0), (-128.0, 127.0), (-128.0, 127.0)].into_iter();
            return (all.chain(std::iter::repeat_n(whole, others)).collect(), false);
        }
        let values_of = |tag| ifd.floats(input, tag, self.stored as u64).unwrap_or_default();
        let (mut low, mut high) = (values_of(340), values_of(341));
        if low.is_empty() && high.is_empty() && self.depth() == SampleType::F32 {
            (low, high) = statistics(ifd, input, self.stored);
        }
        let open = low.is_empty() && high.is_empty();
        let channel = |index: usize| {
            // The values in the file refer to stored samples.
            let at = |values: &[f64]| {
                let value = values.get(index).or(values.last())?;
                let scale = match self.depth() {
                    SampleType::U8 | SampleType::U16 => whole.1 / (most - 1.0),
                    _ => 1.0,
                };
                Some(value * scale)
            };
            let range = (at(&low).unwrap_or(whole.0), at(&high).unwrap_or(whole.1));
            let ordered = range.0.is_finite() && range.1.is_finite() && range.0 < range.1;
            if ordered { range } else { whole }
        };
        let others = self.picks.get(self.colour_picks()..).unwrap_or_default();
        (
            (0..channels).chain(others.iter().copied()).map(channel).collect(),
            open,
        )
    }

    /// How many of the picked samples are colours (one for a palette, which gives three channels).
    pub fn colour_picks(&self) -> usize {
        match self.turn {
            ColourTransform::Palette(_) => 1,
            _ => self.meaning.colour.channels(),
        }
    }

    /// Output channels per pixel: the colours, alpha if there is one, and those without a meaning.
    pub fn channels(&self) -> usize {
        self.meaning.colour.channels() + self.picks.len() - self.colour_picks()
    }

    /// The type of the output samples.
    pub fn depth(&self) -> SampleType {
        match self.turn {
            ColourTransform::Palette(_) => SampleType::U8,
            _ if matches!(self.compression, Compression::LogLuv(_)) => SampleType::U8,
            _ => SampleType::of(self.kind, self.bits),
        }
    }

    /// Whether decompressed samples are output unchanged.
    pub fn as_is(&self) -> bool {
        self.predictor == Predictor::None && self.bits == 8 && !self.reversed && self.is_straight()
    }

    /// Whether decompressed samples are output unchanged, except for predictor, byte order and bit order.
    pub fn is_straight(&self) -> bool {
        let whole = matches!(
            (self.kind, self.bits),
            (SampleFormat::Unsigned, 8 | 16 | 32) | (SampleFormat::Float, 32)
        );
        whole
            && !self.complex
            && matches!(self.turn, ColourTransform::Keep)
            && !self.separate
            && self.picks.iter().copied().eq(0..self.stored)
    }

    /// Bytes of a decompressed row of pixels (not for subsampled YCbCr); of one plane if planar.
    pub fn line(&self, width: u32) -> u64 {
        let stored = if self.separate { 1 } else { self.stored as u64 };
        (u64::from(width) * stored * u64::from(self.bits)).div_ceil(8)
    }

    /// Bytes of a decompressed block; of one plane if planar.
    pub fn bytes(&self, block: Size) -> u64 {
        match &self.turn {
            ColourTransform::Ycbcr(ycbcr) if !self.separate => ycbcr.bytes(block.w, block.h),
            _ => self.line(block.w).saturating_mul(u64::from(block.h)),
        }
    }

    /// Bytes of the tables that it owns.
    pub fn held(&self) -> usize {
        let palette = match &self.turn {
            ColourTransform::Palette(colours) => colours.len() * 3,
            _ => 0,
        };
        palette + self.tables.as_ref().map_or(0, Vec::len)
    }

    /// Bytes of the output samples of a block.
    pub fn memory(&self, block: Size) -> u64 {
        let samples = block.area().saturating_mul(self.channels() as u64);
        samples.saturating_mul(self.depth().bytes())
    }

    /// The shape that a scheme with samples must decode to.
    pub fn shape(&self, block: Size) -> BlockShape {
        BlockShape {
            size: block,
            channels: self.stored,
            bits: self.bits,
            kind: self.kind,
            big: self.order == ByteOrder::Big,
        }
    }

    /// Zeroed memory for the output samples of a block.
    pub fn blank(&self, size: Size) -> Samples {
        let len = usize::try_from(size.area()).unwrap_or(0) * self.channels();
        match self.depth() {
            SampleType::U8 => Samples::U8(vec![0; len]),
            SampleType::U16 => Samples::U16(vec![0; len]),
            SampleType::U32 => Samples::U32(vec![0; len]),
            SampleType::F32 => Samples::F32(vec![0.0; len]),
        }
    }

    /// The output samples of a block as written by `fill`, in the order of this machine; fewer if it writes less.
    pub fn filled(&self, size: Size, fill: impl FnOnce(&mut UninitBuf) -> Result<()>) -> Result<Samples> {
        let len = usize::try_from(size.area()).unwrap_or(0) * self.channels();
        Ok(match self.depth() {
            SampleType::U8 => Samples::U8(uninit::filled(len, fill)?),
            SampleType::U16 => Samples::U16(uninit::filled(len, fill)?),
            SampleType::U32 => Samples::U32(uninit::filled(len, fill)?),
            SampleType::F32 => Samples::F32(uninit::filled(len, fill)?),
        })
    }

    /// The layout of the blocks that hold `picks[index]` alone, for planar channels. Its samples are as stored;
    /// [`weave`](crate::source::tiff::unpack::weave) combines all planes.
    pub fn plane(&self, index: usize) -> BlockLayout {
        let range = self.meaning.ranges.get(index).copied();
        BlockLayout {
            stored: 1,
            picks: vec![0],
            turn: match self.turn {
                ColourTransform::Palette(_) => ColourTransform::Index,
                _ => ColourTransform::Keep,
            },
            meaning: Meaning {
                colour: Colour::Grey,
                alpha: Alpha::None,
                ranges: range.into_iter().collect(),
            },
            separate: false,
            jpeg_ycbcr: false,
            shared: match &self.turn {
                ColourTransform::Ycbcr(ycbcr) if index > 0 && ycbcr.block != (1, 1) => Some(ycbcr.block),
                _ => None,
            },
            ..self.clone()
        }
    }
}

/// Maximum number of bytes of GDAL_METADATA that are searched.
const MAX_STATISTICS: u64 = 1 << 16;

/// STATISTICS_MINIMUM and STATISTICS_MAXIMUM of `samples` samples in GDAL_METADATA; only if both are present for all
/// of them.
fn statistics(ifd: &Ifd, input: &Input, samples: usize) -> (Vec<f64>, Vec<f64>) {
    let text = ifd.start(input, 42112, MAX_STATISTICS);
    let text = text
        .as_deref()
        .and_then(|bytes| str::from_utf8(bytes).ok())
        .unwrap_or_default();
    let values_of = |name: &str| {
        let value = |sample: usize| {
            let mut items = text.split("<Item ").filter_map(|item| item.split_once('>'));
            let place = format!("sample=\"{sample}\"");
            let item = items.find(|(head, _)| head.contains(name) && head.contains(&place))?;
            let value: f64 = item.1.split('<').next()?.trim().parse().ok()?;
            value.is_finite().then_some(value)
        };
        (0..samples).map(value).collect::<Option<Vec<f64>>>()
    };
    let pair = values_of("\"STATISTICS_MINIMUM\"").zip(values_of("\"STATISTICS_MAXIMUM\""));
    pair.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tiff::build::FieldEntry;
    use crate::source::tiff::build::Temp;
    use crate::source::tiff::build::single;
    use crate::source::tiff::build::tags;
    use crate::source::tiff::build::with;
    use crate::source::tiff::ifd::Prologue;

    fn layout(channels: u64, photometric: u64, more: &[FieldEntry]) -> Result<BlockLayout> {
        let file = Temp::new(&single(&[], |at| {
            with(tags((16, 16), channels, photometric, vec![at]), more)
        }));
        let input = file.input();
        let prologue = Prologue::read(&input)?;
        BlockLayout::of(
            &Ifd::read(&input, prologue, prologue.first)?,
            &input,
            Software::Other,
        )
    }

    #[cfg(feature = "rare")]
    #[test]
    fn errors_name_unsupported_properties() {
        let cases: [(u64, u64, FieldEntry, &str); 22] = [
            (
                3,
                2,
                (259, 3, vec![34676]),
                "photometric interpretation 2 in LogLuv is not supported",
            ),
            (
                4,
                32845,
                (259, 3, vec![34677]),
                "4 channels of 8 bits in LogLuv(Packed) are not supported",
            ),
            (
                1,
                1,
                (259, 3, vec![10]),
                "compression 10 (JBIG in colour, T.43) is not supported",
            ),
            (
                1,
                1,
                (259, 3, vec![32908]),
                "compression 32908 (PixarFilm) is not supported",
            ),
            (
                3,
                6,
                (259, 3, vec![32909]),
                "3 channels of 8 bits in PixarLog are not supported",
            ),
            (
                1,
                1,
                (259, 3, vec![999]),
                "compression 999 (unknown) is not supported",
            ),
            (1, 1, (258, 3, vec![65]), "samples of 65 bits are not supported"),
            (1, 1, (258, 3, vec![0]), "samples of 0 bits are not supported"),
            (
                3,
                2,
                (258, 3, vec![8, 8, 16]),
                "channels that differ in tag 258 ([8, 8, 16]) are not supported",
            ),
            (
                1,
                1,
                (339, 3, vec![3]),
                "floating point of 8 bits is not supported",
            ),
            (1, 1, (339, 3, vec![7]), "sample format 7 is not supported"),
            (
                1,
                1,
                (339, 3, vec![6]),
                "complex samples of 8 bits in photometric 1 are not supported",
            ),
            (
                1,
                32803,
                (1, 3, vec![1]),
                "photometric interpretation 32803 (colour filter array) of 8 bits is not supported",
            ),
            (
                3,
                8,
                (258, 3, vec![4; 3]),
                "photometric interpretation 8 (CIELAB) of 4 bits is not supported",
            ),
            (3, 6, (317, 3, vec![2]), ""),
            (
                3,
                6,
                (258, 3, vec![16; 3]),
                "YCbCr of 16 bits in 3 channels and blocks of (2, 2), with a predictor, is not supported",
            ),
            (2000, 2, (1, 3, vec![1]), "2000 channels are not supported"),
            (
                5,
                2,
                (259, 3, vec![7]),
                "5 channels of 8 bits in Jpeg are not supported",
            ),
            (
                1,
                1,
                (259, 3, vec![34661]),
                "1 channels of 8 bits in Jbig are not supported",
            ),
            (
                2,
                1,
                (259, 3, vec![50001]),
                "2 channels of 8 bits in Webp are not supported",
            ),
            (
                1,
                3,
                (258, 3, vec![17]),
                "photometric interpretation 3 (palette) of 17 bits is not supported",
            ),
            (
                1,
                3,
                (1, 3, vec![1]),
                "corrupt file: a palette of 0 values for 8 bits",
            ),
        ];
        for (channels, photometric, entry, text) in cases {
            let found = layout(channels, photometric, &[entry])
                .err()
                .map_or(String::new(), |e| e.to_string());
            assert_eq!(found, text);
        }
        let log = |more: &[FieldEntry]| {
            layout(1, 1, &[&[(259, 3, vec![32909])], more].concat()).map(|layout| layout.bits)
        };
        for (bits, format, served) in [
            (8, 1, true),
            (16, 1, true),
            (32, 3, true),
            (11, 1, false),
            (12, 1, false),
            (16, 2, false),
            (16, 3, false),
        ] {
            let found = log(&[(258, 3, vec![bits]), (339, 3, vec![format])]);
            assert_eq!(found.is_ok(), served, "{found:?}");
        }
        let deflated = |more| layout(1, 1, &[(259, 3, vec![8]), more]);
        assert!(
            matches!(deflated((317, 3, vec![3])), Err(Error::Unsupported(text)) if text.contains("predictor 3"))
        );
        assert_eq!(
            deflated((317, 3, vec![2])).unwrap().predictor,
            Predictor::Difference
        );
        let subsampled = layout(3, 6, &[(259, 3, vec![5]), (317, 3, vec![2])]);
        assert!(matches!(subsampled, Err(Error::Unsupported(text)) if text.contains("predictor")));
    }

    #[test]
    fn extra_samples_are_alpha_or_follow_it() {
        let alpha_of = |channels, photometric, extra| {
            let layout = layout(channels, photometric, &[(338, 3, extra)]).unwrap();
            (layout.channels(), layout.meaning.alpha, layout.as_is())
        };
        assert_eq!(alpha_of(4, 2, vec![2]), (4, Alpha::Straight, true));
        assert_eq!(alpha_of(4, 2, vec![1]), (4, Alpha::Premultiplied, true));
        assert_eq!(alpha_of(4, 2, vec![0]), (4, Alpha::None, true));
        assert_eq!(alpha_of(4, 2, vec![]), (4, Alpha::None, true));
        assert_eq!(alpha_of(5, 2, vec![0, 2]), (5, Alpha::Straight, false));
        assert_eq!(alpha_of(2, 1, vec![2]), (2, Alpha::Straight, true));
        assert_eq!(alpha_of(3, 1, vec![2, 0]), (3, Alpha::Straight, true));
        assert_eq!(alpha_of(5, 1, vec![0, 0, 0, 2]), (5, Alpha::Straight, false));
        assert_eq!(alpha_of(3, 2, vec![2]), (3, Alpha::None, true));
        assert_eq!(alpha_of(5, 5, vec![2]), (5, Alpha::Straight, true));
    }

    #[test]
    fn bands_without_a_meaning_are_shown_as_red_green_and_blue() {
        let colour = |channels, extra: Vec<u64>| {
            let layout = layout(channels, 1, &[(338, 3, extra)]).unwrap();
            layout.meaning.colour
        };
        assert_eq!(colour(2, vec![0]), Colour::Grey);
        assert_eq!(colour(3, vec![0, 0]), Colour::Rgb);
        assert_eq!(colour(6, vec![]), Colour::Rgb);
        assert_eq!(colour(4, vec![0, 0, 2]), Colour::Rgb);
        assert_eq!(colour(3, vec![2, 0]), Colour::Grey);
    }

    #[test]
    fn unusual_ink_sets_are_cmyk_by_name_or_without_names() {
        let set = (332, 3, vec![2]);
        let named = |names: &[u8]| (333, 2, names.iter().map(|byte| u64::from(*byte)).collect());
        assert_eq!(
            layout(4, 5, std::slice::from_ref(&set)).unwrap().meaning.colour,
            Colour::Cmyk
        );
        for (names, served) in [
            (&b"Cyan\0Magenta\0Yellow\0Black\0Orange\0"[..], true),
            (b"Cyan\0Magenta\0Yellow\0", false),
            (b"Orange\0Green\0Violet\0Black\0", false),
        ] {
            let found = layout(4, 5, &[set.clone(), named(names)]);
            assert_eq!(found.is_ok(), served, "{found:?}");
        }
    }

    #[test]
    fn a_colour_without_samples_per_pixel_has_the_channels_that_it_needs() {
        for (photometric, channels) in [(1, 1), (2, 3), (5, 4), (6, 3), (8, 3)] {
            let mut all = tags((16, 16), channels, photometric, vec![8]);
            all.retain(|(tag, ..)| *tag != 277);
            let file = Temp::new(&single(&[], |_| all));
            let input = file.input();
            let prologue = Prologue::read(&input).unwrap();
            let layout = BlockLayout::of(
                &Ifd::read(&input, prologue, prologue.first).unwrap(),
                &input,
                Software::Other,
            )
            .unwrap();
            assert_eq!(layout.stored as u64, channels, "{photometric}");
        }
    }

    #[test]
    fn too_few_channels_for_the_colour_are_corrupt() {
        assert!(matches!(layout(2, 2, &[]), Err(Error::Corrupt(_))));
        assert!(matches!(layout(1, 6, &[]), Err(Error::Corrupt(_))));
    }

    #[test]
    fn every_sample_format_has_a_type_and_a_range() {
        let type_of = |bits: u64, format: u64, more: &[FieldEntry]| {
            let more = [&[(258, 3, vec![bits]), (339, 3, vec![format])], more].concat();
            let layout = layout(1, 1, &more).unwrap();
            (layout.depth(), layout.meaning.ranges[0])
        };
        assert_eq!(type_of(1, 1, &[]), (SampleType::U8, (0.0, 255.0)));
        assert_eq!(type_of(8, 4, &[]), (SampleType::U8, (0.0, 255.0)));
        assert_eq!(type_of(9, 1, &[]), (SampleType::U16, (0.0, 65535.0)));
        assert_eq!(type_of(24, 1, &[]), (SampleType::U32, (0.0, 16_777_215.0)));
        assert_eq!(type_of(32, 1, &[]), (SampleType::U32, (0.0, 4_294_967_295.0)));
        assert_eq!(
            type_of(64, 1, &[]),
            (SampleType::F32, (0.0, 18_446_744_073_709_551_615.0))
        );
        assert_eq!(type_of(8, 2, &[]), (SampleType::F32, (-128.0, 127.0)));
        assert_eq!(type_of(16, 2, &[]), (SampleType::F32, (-32768.0, 32767.0)));
        assert_eq!(type_of(64, 3, &[]), (SampleType::F32, (0.0, 1.0)));
        let low_high =
            |low: f64, high: f64| [(340, 12, vec![low.to_bits()]), (341, 12, vec![high.to_bits()])];
        assert_eq!(
            type_of(32, 3, &low_high(-5.0, 7.5)),
            (SampleType::F32, (-5.0, 7.5))
        );
        assert_eq!(
            type_of(4, 1, &low_high(1.0, 10.0)),
            (SampleType::U8, (17.0, 170.0))
        );
        assert_eq!(type_of(32, 3, &low_high(7.0, 7.0)), (SampleType::F32, (0.0, 1.0)));
        assert_eq!(
            type_of(32, 3, &low_high(f64::NAN, 7.0)),
            (SampleType::F32, (0.0, 1.0))
        );
    }

    #[test]
    fn palettes_with_eight_bit_values_are_recognised() {
        let palette_of = |map: Vec<u64>| match layout(1, 3, &[(258, 3, vec![1]), (320, 3, map)]).unwrap().turn
        {
            ColourTransform::Palette(table) => table.to_vec(),
            other => panic!("{other:?}"),
        };
        assert_eq!(palette_of(vec![1, 2, 3, 4, 5, 255]), [[1, 3, 5], [2, 4, 255]]);
        assert_eq!(
            palette_of(vec![0, 65535, 256, 511, 0x80ff, 1]),
            [[0, 1, 128], [255, 1, 0]]
        );
    }
}
