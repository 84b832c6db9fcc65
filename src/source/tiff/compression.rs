//! Compression schemes by their TIFF numbers; errors name the unsupported ones.

use crate::codec::ccitt::CcittCoding;
use crate::error::Error;
use crate::error::Result;
use crate::source::tiff::writer::Software;

/// The compression scheme of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Uncompressed.
    None,
    /// Runs of bytes (TIFF 6.0 §9).
    PackBits,
    /// NeXT's 2-bit grey scheme.
    Next,
    /// ThunderScan's 4-bit grey scheme.
    Thunder,
    /// Facsimile coding (TIFF 6.0 §10–11).
    Ccitt(CcittCoding),
    /// A JBIG stream.
    Jbig,
    /// LZW.
    Lzw,
    /// A zlib stream.
    Deflate,
    /// An xz stream.
    Lzma,
    /// A Zstandard frame.
    Zstd,
    /// A JPEG stream, abbreviated or not.
    Jpeg,
    /// The scan of a JPEG stream, whose tables are stored elsewhere.
    OldJpeg,
    /// A WebP picture.
    Webp,
    /// A JPEG XL codestream.
    Jxl,
    /// A LERC blob.
    Lerc(Packing),
    /// Logarithmic luminance and chromaticity; decodes to 8-bit grey or RGB.
    LogLuv(LogCoding),
    /// A zlib stream of logarithmic codes; decodes to linear values.
    PixarLog,
    /// A JPEG 2000 codestream or file.
    Jpeg2000(Luma),
    /// A PNG stream.
    Png,
}

/// Whether the components of a JPEG 2000 codestream are luma and chroma.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Luma {
    /// No, or the scheme leaves it to PhotometricInterpretation.
    Never,
    /// Scheme 33003: yes for Aperio, no for others, who use it for any lossless codestream.
    Aperio,
    /// Scheme 33004: yes for libvips, no for Bio-Formats (whose encoder is JJ2000) and tifffile.
    OfThree,
    /// Yes.
    Always,
}

impl Luma {
    /// Whether they are, for a picture by this writer, which PhotometricInterpretation calls YCbCr or not.
    pub fn by(self, writer: Software, ycbcr: bool) -> Luma {
        match (self, writer) {
            (_, Software::BioFormats) => Luma::Never,
            (Luma::Aperio, Software::Aperio) => Luma::Always,
            (Luma::Aperio | Luma::Never, _) if ycbcr => Luma::OfThree,
            (Luma::Aperio, _) => Luma::Never,
            (Luma::OfThree, Software::Tifffile) if !ycbcr => Luma::Never,
            (luma, _) => luma,
        }
    }
}

/// The LogLuv encoding of coloured pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogCoding {
    /// 32 bits per pixel, each row in byte-wise runs.
    Runs,
    /// 24 bits per pixel.
    Packed,
}

/// The additional compression of a LERC blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Nothing.
    None,
    /// A zlib stream.
    Deflate,
    /// A Zstandard frame.
    Zstd,
}

impl Compression {
    /// The scheme for the tag's value, with T4Options and the second value of LercParameters.
    pub fn of(code: u64, options: u64, packing: u64) -> Result<Compression> {
        let found = Compression::numbered(code, options, packing)?;
        if found.traits().rare && !cfg!(feature = "rare") {
            return Err(Error::Unsupported(format!(
                "compression {code} needs a build with the feature rare"
            )));
        }
        Ok(found)
    }

    fn numbered(code: u64, options: u64, packing: u64) -> Result<Compression> {
        Ok(match code {
            1 => Compression::None,
            2 => Compression::Ccitt(CcittCoding::ModifiedHuffman { align_bytes: 1 }),
            3 => Compression::Ccitt(CcittCoding::Group3 {
                two_dimensional: options & 1 == 1,
            }),
            4 => Compression::Ccitt(CcittCoding::Group4),
            32771 => Compression::Ccitt(CcittCoding::ModifiedHuffman { align_bytes: 2 }),
            5 => Compression::Lzw,
            6 => Compression::OldJpeg,
            7 | 33007 => Compression::Jpeg,
            8 | 32946 | 50013 => Compression::Deflate,
            // the number of libtiff, and that of facsimile (RFC 3949 §5), where T.85 lists the options
            9 | 34661 => Compression::Jbig,
            32766 => Compression::Next,
            32773 => Compression::PackBits,
            32809 => Compression::Thunder,
            33003 => Compression::Jpeg2000(Luma::Aperio),
            33004 => Compression::Jpeg2000(Luma::OfThree),
            33005 | 34712 => Compression::Jpeg2000(Luma::Never),
            32909 => Compression::PixarLog,
            34676 => Compression::LogLuv(LogCoding::Runs),
            34677 => Compression::LogLuv(LogCoding::Packed),
            34925 => Compression::Lzma,
            34933 => Compression::Png,
            // and the numbers that libtiff used before these were assigned
            34926 | 50000 => Compression::Zstd,
            34927 | 50001 => Compression::Webp,
            50002 | 52546 => Compression::Jxl,
            34887 => Compression::Lerc(match packing {
                0 => Packing::None,
                1 => Packing::Deflate,
                2 => Packing::Zstd,
                other => {
                    return Err(Error::Unsupported(format!(
                        "LERC in packing {other} is not supported"
                    )));
                }
            }),
            _ => {
                let name = match code {
                    10 => "JBIG in colour, T.43",
                    22610 | 34934 => "JPEG XR",
                    32767 | 32769 | 32770 | 32772 | 34713 => "of a camera",
                    32895..=32898 => "IT8",
                    32908 => "PixarFilm",
                    32947 => "Kodak DCS",
                    34692 => "LuraDocument",
                    34715 => "JBIG2",
                    34718..=34720 => "MDI",
                    34892 => "lossy JPEG of DNG",
                    48124 => "Jetraw",
                    65000..=65002 => "EER",
                    _ => "unknown",
                };
                return Err(Error::Unsupported(format!(
                    "compression {code} ({name}) is not supported"
                )));
            }
        })
    }

    /// All other properties of a scheme in one place: a scheme that is missing does not compile.
    const fn traits(self) -> Traits {
        match self {
            Compression::None | Compression::PackBits => Traits {
                streamed: true,
                plain: true,
                ..OTHER
            },
            Compression::Lzw | Compression::Deflate | Compression::Zstd => Traits {
                predicted: true,
                streamed: true,
                plain: true,
                ..OTHER
            },
            Compression::Lzma => Traits {
                predicted: true,
                streamed: true,
                plain: true,
                slow: true,
                ..OTHER
            },
            Compression::Ccitt(_) => Traits {
                streamed: true,
                ..OTHER
            },
            Compression::Jbig => Traits {
                own_order: true,
                rare: true,
                ..OTHER
            },
            Compression::Jpeg | Compression::OldJpeg | Compression::Png => Traits {
                picture: true,
                own_order: true,
                ..OTHER
            },
            Compression::Webp => Traits {
                picture: true,
                ..OTHER
            },
            Compression::Jxl | Compression::Jpeg2000(_) => Traits {
                picture: true,
                own_order: true,
                slow: true,
                ..OTHER
            },
            Compression::Lerc(_) => OTHER,
            Compression::Next | Compression::Thunder | Compression::LogLuv(_) | Compression::PixarLog => {
                Traits { rare: true, ..OTHER }
            }
        }
    }

    /// Whether the predictor applies (as in libtiff): to the general-purpose schemes, which do not interpret samples.
    pub fn predicts(self) -> bool {
        self.traits().predicted
    }

    /// Whether the coded bytes have a fixed bit order, regardless of FillOrder (as in libtiff).
    pub fn has_own_order(self) -> bool {
        self.traits().own_order
    }

    /// Whether the coded bytes are an image format, which has colours of its own.
    pub fn is_picture(self) -> bool {
        self.traits().picture
    }

    /// Whether strips can be decoded from top to bottom, some rows at a time.
    pub fn is_streamed(self) -> bool {
        self.traits().streamed
    }

    /// Whether the scheme compresses bytes of any kind.
    pub fn is_plain(self) -> bool {
        self.traits().plain
    }

    /// Whether even a small tile takes more than some milliseconds.
    pub fn is_slow(self) -> bool {
        self.traits().slow
    }
}

/// The properties of a scheme that the reader needs.
struct Traits {
    predicted: bool,
    own_order: bool,
    picture: bool,
    streamed: bool,
    plain: bool,
    slow: bool,
    /// Requires the feature `rare`.
    rare: bool,
}

const OTHER: Traits = Traits {
    predicted: false,
    own_order: false,
    picture: false,
    streamed: false,
    plain: false,
    slow: false,
    rare: false,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_schemes_need_the_feature_and_errors_name_them() {
        let built = cfg!(feature = "rare");
        for code in [9, 32766, 32809, 32909, 34661, 34676, 34677] {
            let refused = Compression::of(code, 0, 0).err().map(|error| error.to_string());
            let named = format!("compression {code} needs a build with the feature rare");
            assert_eq!(refused, (!built).then_some(named));
        }
    }
}
