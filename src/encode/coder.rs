//! Limits and costs of encoders, and the table of TIFF compressions.

use crate::codec::jpeg::JpegStyle;

/// Limits and costs of an encoder.
#[derive(Clone, Copy, Debug)]
pub struct Coder {
    /// Selects the default quality from the settings.
    pub default: fn(&Defaults) -> i16,
    /// Minimum and maximum quality or level; 0 and 0 without one.
    pub quality: (i16, i16),
    /// Supported sample depth.
    pub depth: Depth,
    /// Whether it supports alpha.
    pub alpha: bool,
    /// Longest side in pixels; `None` without limit.
    pub longest_side: Option<u32>,
    /// Maximum number of pixels; `None` without limit.
    pub most_pixels: Option<u64>,
    /// Additional work per pixel in units of encoding a pixel of JPEG.
    pub work: u64,
    /// Bytes of memory per pixel when it encodes the whole picture.
    pub pixel_bytes: u64,
}

/// Samples that an encoder writes at their depth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// 8 bits only.
    Eight,
    /// Unsigned samples up to 16 bits of one to four channels.
    Sixteen,
    /// All samples of a raster.
    Any,
}

/// Defaults of settings that a request may override.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Defaults {
    /// JPEG quality, 1–100.
    pub jpeg_quality: i16,
    /// Chroma sampling of JPEG, and whether it is progressive.
    pub jpeg_style: JpegStyle,
    /// PNG deflate level, 0–9.
    pub png_level: i16,
    /// Whether PNG keeps 16 bits.
    pub deep_png: bool,
    /// WebP quality, 0–100, or −1 for lossless.
    pub webp_quality: i16,
    /// AVIF quality, 0–100, or −1 for lossless.
    pub avif_quality: i16,
    /// Compression of TIFF.
    pub tiff_compression: TiffCompression,
    /// Its level or quality; `None` is the default of the compression.
    pub tiff_quality: Option<i16>,
}

impl Default for Defaults {
    /// The defaults of the table of settings.
    fn default() -> Self {
        Defaults {
            jpeg_quality: 75,
            jpeg_style: JpegStyle::default(),
            png_level: 1,
            deep_png: false,
            webp_quality: 50,
            avif_quality: 50,
            tiff_compression: TiffCompression::Deflate,
            tiff_quality: None,
        }
    }
}

/// A lossless coder without a quality, limits or a buffer of its own.
pub(in crate::encode) const PLAIN: Coder = Coder {
    default: |_| 0,
    quality: (0, 0),
    depth: Depth::Any,
    alpha: true,
    longest_side: None,
    most_pixels: None,
    work: 0,
    pixel_bytes: 0,
};

/// The common properties of TIFF compressions.
const COMPRESSED: Coder = Coder {
    work: 2,
    pixel_bytes: 2,
    ..PLAIN
};

pub(in crate::encode) const JPEG_CODER: Coder = Coder {
    default: |defaults| defaults.jpeg_quality,
    quality: (1, 100),
    depth: Depth::Eight,
    alpha: false,
    longest_side: Some(65_500),
    work: 0,
    pixel_bytes: 4,
    ..PLAIN
};

pub(in crate::encode) const WEBP_CODER: Coder = Coder {
    default: |defaults| defaults.webp_quality,
    quality: (-1, 100),
    depth: Depth::Eight,
    longest_side: Some(16_383),
    work: 8,
    pixel_bytes: 8,
    ..PLAIN
};

/// The compression of the strips of a TIFF file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TiffCompression {
    /// Uncompressed.
    None,
    /// LZW with horizontal differencing.
    Lzw,
    /// Deflate with horizontal differencing.
    Deflate,
    /// JPEG.
    Jpeg,
    /// WebP.
    Webp,
    /// Zstandard with horizontal differencing.
    Zstd,
}

/// A row of the table of compressions.
struct CompressionRow {
    /// The name in QLT.
    name: &'static str,
    /// The value of the tag (TIFF 6.0 p. 30, Technical Note 2, libtiff's register).
    tag: u16,
    /// Whether it uses horizontal differencing (predictor 2).
    predicted: bool,
    coder: Coder,
}

impl TiffCompression {
    /// All compressions in the order of TIFF_COMPRESSION.
    const ALL: [TiffCompression; 6] = [
        TiffCompression::None,
        TiffCompression::Lzw,
        TiffCompression::Deflate,
        TiffCompression::Jpeg,
        TiffCompression::Webp,
        TiffCompression::Zstd,
    ];

    const fn row(self) -> &'static CompressionRow {
        match self {
            TiffCompression::None => &CompressionRow {
                name: "none",
                tag: 1,
                predicted: false,
                coder: PLAIN,
            },
            TiffCompression::Lzw => &CompressionRow {
                name: "lzw",
                tag: 5,
                predicted: true,
                coder: COMPRESSED,
            },
            TiffCompression::Deflate => &CompressionRow {
                name: "deflate",
                tag: 8,
                predicted: true,
                coder: Coder {
                    default: |_| 1,
                    quality: (1, 9),
                    ..COMPRESSED
                },
            },
            TiffCompression::Jpeg => &CompressionRow {
                name: "jpeg",
                tag: 7,
                predicted: false,
                coder: Coder {
                    work: 2,
                    pixel_bytes: 2,
                    ..JPEG_CODER
                },
            },
            TiffCompression::Webp => &CompressionRow {
                name: "webp",
                tag: 50001,
                predicted: false,
                coder: WEBP_CODER,
            },
            TiffCompression::Zstd => &CompressionRow {
                name: "zstd",
                tag: 50000,
                predicted: true,
                coder: Coder {
                    default: |_| 1,
                    quality: (1, 19),
                    ..COMPRESSED
                },
            },
        }
    }

    /// The compression with this name, in any case.
    pub fn named(name: &str) -> Option<TiffCompression> {
        let mut all = TiffCompression::ALL.into_iter();
        all.find(|known| known.row().name.eq_ignore_ascii_case(name))
    }

    /// The compression with this number of TIFF_COMPRESSION.
    pub fn numbered(number: usize) -> Option<TiffCompression> {
        TiffCompression::ALL.get(number).copied()
    }

    /// Limits and costs of its encoder.
    pub(in crate::encode) const fn coder(self) -> &'static Coder {
        &self.row().coder
    }

    /// The value of the tag.
    pub(in crate::encode) const fn tag(self) -> u16 {
        self.row().tag
    }

    /// Whether it uses horizontal differencing (predictor 2).
    pub(in crate::encode) const fn is_predicted(self) -> bool {
        self.row().predicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_and_number_finds_its_compression() {
        for compression in TiffCompression::ALL {
            assert_eq!(TiffCompression::named(compression.row().name), Some(compression));
        }
        assert_eq!(TiffCompression::numbered(5), Some(TiffCompression::Zstd));
        assert_eq!(TiffCompression::numbered(6), None);
    }

    #[test]
    fn defaults_are_within_the_range_of_their_coder() {
        for coder in TiffCompression::ALL.iter().map(|one| one.coder()) {
            let (low, high) = coder.quality;
            assert!((low..=high).contains(&(coder.default)(&Defaults::default())));
        }
    }
}
