//! What the samples of a tile are and how they are packed, from the tags of its directory.
//!
//! Reads no tile. Whatever is not served is named here, so that what gets past needs no second look.

use crate::error::Error;
use crate::error::Result;
use crate::source::Alpha;
use crate::source::tiff::ifd::Ifd;
use crate::source::tiff::input::Input;
use crate::source::tiff::ycbcr::Ycbcr;

/// How the bytes of a tile are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// LZW.
    Lzw,
    /// A zlib stream.
    Deflate,
    /// A JPEG stream, abbreviated or not.
    Jpeg,
    /// A Zstandard frame.
    Zstd,
    /// A WebP picture.
    Webp,
}

impl Compression {
    fn of(code: u64) -> Result<Compression> {
        Ok(match code {
            1 => Compression::None,
            5 => Compression::Lzw,
            7 => Compression::Jpeg,
            8 | 32946 => Compression::Deflate,
            50000 => Compression::Zstd,
            50001 => Compression::Webp,
            _ => {
                let name = match code {
                    2..=4 => "CCITT",
                    6 => "JPEG of the old style",
                    9 | 10 | 34661 => "JBIG",
                    32773 => "PackBits",
                    33003 | 33005 | 34712 => "JPEG 2000",
                    34676 | 34677 => "SGI LogLuv",
                    34887 => "LERC",
                    34925 => "LZMA",
                    50002 | 52546 => "JPEG XL",
                    _ => "unknown",
                };
                return Err(Error::Unsupported(format!(
                    "compression {code} ({name}) is not served yet"
                )));
            }
        })
    }
}

/// From the bytes of a tile to samples.
#[derive(Clone, Debug)]
pub struct Layout {
    /// How the bytes are coded.
    pub compression: Compression,
    /// Samples are differences to the pixel before (TIFF 6.0 §14).
    pub predictor: bool,
    /// Samples a pixel as stored.
    pub stored: usize,
    /// How many of them, from the first, are colours: 1 or 3.
    pub colours: usize,
    /// Which sample is alpha, and what kind of it.
    pub alpha: Option<(usize, Alpha)>,
    /// White is 0.
    pub invert: bool,
    /// Luma and chroma, not inside JPEG.
    pub ycbcr: Option<Box<Ycbcr>>,
    /// The stored components of JPEG tiles are YCbCr.
    pub jpeg_ycbcr: bool,
}

impl Layout {
    /// From a directory. `Error::Unsupported` names what is not served, `Error::Corrupt` what contradicts itself.
    pub fn of(ifd: &Ifd, input: &Input) -> Result<Layout> {
        let first = |tag, default| Ok::<u64, Error>(ifd.first(input, tag)?.unwrap_or(default));
        let compression = Compression::of(first(259, 1)?)?;
        let jpeg = compression == Compression::Jpeg;
        let channels = first(277, 1)?;
        let stored = usize::try_from(channels).unwrap_or(0);
        if !(1..=64).contains(&stored) {
            return Err(Error::Unsupported(format!("{channels} channels are not served")));
        }
        let bits = ifd.numbers(input, 258, channels)?.unwrap_or_else(|| vec![1]);
        if let Some(other) = bits.iter().find(|bits| **bits != 8) {
            return Err(Error::Unsupported(format!(
                "samples of {other} bits are not served yet"
            )));
        }
        let formats = ifd.numbers(input, 339, channels)?.unwrap_or_default();
        if let Some(other) = formats.iter().find(|format| !matches!(format, 1 | 4)) {
            return Err(Error::Unsupported(format!(
                "sample format {other} is not served yet"
            )));
        }
        if stored > 1 && first(284, 1)? != 1 {
            return Err(Error::Unsupported(
                "channels in separate planes are not served yet".into(),
            ));
        }
        if !jpeg && first(266, 1)? != 1 {
            return Err(Error::Unsupported("fill order 2 is not served yet".into()));
        }
        let predictor = match compression {
            Compression::Lzw | Compression::Deflate | Compression::Zstd => first(317, 1)?,
            _ => 1,
        };
        if !matches!(predictor, 1 | 2) {
            return Err(Error::Unsupported(format!(
                "predictor {predictor} is not served yet"
            )));
        }
        let photometric = first(262, if stored < 3 { 1 } else { 2 })?;
        let colours = match photometric {
            0 | 1 => 1,
            2 | 6 => 3,
            other => {
                let name = match other {
                    3 => "palette",
                    4 => "transparency mask",
                    5 => "separated",
                    8..=10 => "CIELAB",
                    32803 => "colour filter array",
                    32844 | 32845 => "LogLuv",
                    _ => "unknown",
                };
                return Err(Error::Unsupported(format!(
                    "photometric interpretation {other} ({name}) is not served yet"
                )));
            }
        };
        if stored < colours {
            return Err(Error::Corrupt(format!(
                "{stored} channels where colour needs {colours}"
            )));
        }
        let fits = match compression {
            Compression::Jpeg => stored == colours,
            Compression::Webp => matches!(stored, 3 | 4) && photometric == 2,
            _ => photometric != 6 || stored == colours,
        };
        if !fits {
            return Err(Error::Unsupported(format!(
                "{stored} channels with photometric interpretation {photometric} in {compression:?} are not served yet"
            )));
        }
        let ycbcr = match photometric {
            6 if !jpeg => Some(Box::new(Ycbcr::of(ifd, input)?)),
            _ => None,
        };
        if predictor == 2 && ycbcr.as_ref().is_some_and(|ycbcr| ycbcr.block != (1, 1)) {
            return Err(Error::Unsupported(
                "a predictor on subsampled YCbCr is not served".into(),
            ));
        }
        let extra = ifd.numbers(input, 338, channels)?.unwrap_or_default();
        let alpha = (colours..stored)
            .zip(extra)
            .find_map(|(sample, kind)| match kind {
                1 => Some((sample, Alpha::Premultiplied)),
                2 => Some((sample, Alpha::Straight)),
                _ => None,
            });
        Ok(Layout {
            compression,
            predictor: predictor == 2,
            stored,
            colours,
            alpha,
            invert: photometric == 0,
            ycbcr,
            jpeg_ycbcr: photometric == 6,
        })
    }

    /// Samples a pixel that are given: the colours, and alpha if there is one.
    pub fn channels(&self) -> usize {
        self.colours + usize::from(self.alpha.is_some())
    }

    /// What the last of them is.
    pub fn alpha(&self) -> Alpha {
        self.alpha.map_or(Alpha::None, |(_, kind)| kind)
    }

    /// Whether stored samples, once no longer coded, are what is given.
    pub fn as_is(&self) -> bool {
        !self.predictor && !self.invert && self.ycbcr.is_none() && self.channels() == self.stored
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tiff::build::Entry;
    use crate::source::tiff::build::Temp;
    use crate::source::tiff::build::single;
    use crate::source::tiff::build::tags;
    use crate::source::tiff::build::with;
    use crate::source::tiff::ifd::Prologue;

    fn layout(channels: u64, photometric: u64, more: &[Entry]) -> Result<Layout> {
        let file = Temp::new(&single(&[], |at| {
            with(tags((16, 16), channels, photometric, vec![at]), more)
        }));
        let input = file.input();
        let prologue = Prologue::read(&input)?;
        Layout::of(&Ifd::read(&input, prologue, prologue.first)?, &input)
    }

    #[test]
    fn what_is_not_served_is_named() {
        let cases: [(u64, u64, Entry, &str); 14] = [
            (
                1,
                1,
                (259, 3, vec![32773]),
                "compression 32773 (PackBits) is not served yet",
            ),
            (
                1,
                1,
                (259, 3, vec![999]),
                "compression 999 (unknown) is not served yet",
            ),
            (1, 1, (258, 3, vec![16]), "samples of 16 bits are not served yet"),
            (
                3,
                2,
                (258, 3, vec![8, 8, 16]),
                "samples of 16 bits are not served yet",
            ),
            (1, 1, (339, 3, vec![3]), "sample format 3 is not served yet"),
            (
                3,
                2,
                (284, 3, vec![2]),
                "channels in separate planes are not served yet",
            ),
            (1, 1, (266, 3, vec![2]), "fill order 2 is not served yet"),
            (
                1,
                3,
                (1, 3, vec![1]),
                "photometric interpretation 3 (palette) is not served yet",
            ),
            (
                4,
                5,
                (1, 3, vec![1]),
                "photometric interpretation 5 (separated) is not served yet",
            ),
            (
                3,
                8,
                (1, 3, vec![1]),
                "photometric interpretation 8 (CIELAB) is not served yet",
            ),
            (3, 6, (317, 3, vec![2]), ""),
            (100, 2, (1, 3, vec![1]), "100 channels are not served"),
            (
                4,
                2,
                (259, 3, vec![7]),
                "4 channels with photometric interpretation 2 in Jpeg are not served yet",
            ),
            (
                1,
                1,
                (259, 3, vec![50001]),
                "1 channels with photometric interpretation 1 in Webp are not served yet",
            ),
        ];
        for (channels, photometric, entry, text) in cases {
            let found = layout(channels, photometric, &[entry])
                .err()
                .map_or(String::new(), |e| e.to_string());
            assert_eq!(found, text);
        }
        let deflated = |more| layout(1, 1, &[(259, 3, vec![8]), more]);
        assert!(
            matches!(deflated((317, 3, vec![3])), Err(Error::Unsupported(text)) if text.contains("predictor 3"))
        );
        assert!(deflated((317, 3, vec![2])).unwrap().predictor);
        let subsampled = layout(3, 6, &[(259, 3, vec![5]), (317, 3, vec![2])]);
        assert!(matches!(subsampled, Err(Error::Unsupported(text)) if text.contains("subsampled")));
    }

    #[test]
    fn extra_samples_are_alpha_or_dropped() {
        let of = |channels, photometric, extra| {
            let layout = layout(channels, photometric, &[(338, 3, extra)]).unwrap();
            (layout.channels(), layout.alpha(), layout.as_is())
        };
        assert_eq!(of(4, 2, vec![2]), (4, Alpha::Straight, true));
        assert_eq!(of(4, 2, vec![1]), (4, Alpha::Premultiplied, true));
        assert_eq!(of(4, 2, vec![0]), (3, Alpha::None, false));
        assert_eq!(of(4, 2, vec![]), (3, Alpha::None, false));
        assert_eq!(of(5, 2, vec![0, 2]), (4, Alpha::Straight, false));
        assert_eq!(of(2, 1, vec![2]), (2, Alpha::Straight, true));
        assert_eq!(of(3, 2, vec![2]), (3, Alpha::None, true));
    }

    #[test]
    fn too_few_channels_for_the_colour_are_corrupt() {
        assert!(matches!(layout(2, 2, &[]), Err(Error::Corrupt(_))));
        assert!(matches!(layout(1, 6, &[]), Err(Error::Corrupt(_))));
    }
}
