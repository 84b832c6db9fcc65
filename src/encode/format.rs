//! The table of output formats. A format without a row does not compile.

use crate::codec::webp;
use crate::encode::Output;
use crate::encode::Tags;
use crate::encode::avif;
use crate::encode::coder::Coder;
use crate::encode::coder::Depth;
use crate::encode::coder::JPEG_CODER;
use crate::encode::coder::PLAIN;
use crate::encode::coder::WEBP_CODER;
use crate::encode::embed;
use crate::encode::gif;
use crate::encode::jpeg;
use crate::encode::png;
use crate::encode::tiff;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Format;
use crate::raster::Meaning;
use crate::raster::Picture;
use crate::raster::Raster;

type Deep = fn(&Raster, &Meaning, Option<u8>, Output, &Tags) -> Result<Vec<u8>>;
type Transcode = fn(&[u8], Size, Output) -> Result<Option<Vec<u8>>>;

/// A row of the table.
pub(in crate::encode) struct FormatRow {
    /// Suffixes without the dot, in lower case; the first is the preferred one.
    suffixes: &'static [&'static str],
    media_type: &'static str,
    /// Approximate upper bound of the file's bytes for every two pixels of 8 bits.
    pair_bytes: u64,
    /// The method of writing bands; `None` if the format needs the whole picture.
    pub bands: Option<Bands>,
    /// `None` if it depends on the compression.
    coder: Option<Coder>,
    /// Encodes 8-bit pixels.
    pub encode: fn(&Picture, Output, &Tags) -> Result<Vec<u8>>,
    /// Encodes samples of any depth; the arguments are those of [`crate::encode::deep`].
    pub deep: Deep,
    /// Transcodes a complete file to another quality without decoding its pixels; `None` if that is not possible.
    pub transcode: Transcode,
    /// Embeds tags into a complete file.
    pub tag: fn(Vec<u8>, &Tags) -> Result<Vec<u8>>,
}

/// Methods of assembling a file from bands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::encode) enum Bands {
    /// JPEG streams are joined.
    Jpeg,
    /// Rows of PNG are compressed in order.
    Png,
    /// Strips of TIFF are independent.
    Tiff,
}

const JPEG: FormatRow = FormatRow {
    suffixes: &["jpg", "jpeg"],
    media_type: "image/jpeg",
    pair_bytes: 1,
    bands: Some(Bands::Jpeg),
    coder: Some(JPEG_CODER),
    encode: |picture, output, tags| embed::jpeg(jpeg::encode(picture, output.quality, output.style)?, tags),
    deep: shallow,
    transcode: |coded, size, output| jpeg::requantise(coded, size, output.quality, output.style),
    tag: embed::jpeg,
};

const PNG: FormatRow = FormatRow {
    suffixes: &["png"],
    media_type: "image/png",
    pair_bytes: 6,
    bands: Some(Bands::Png),
    coder: Some(Coder {
        default: |defaults| defaults.png_level,
        quality: (0, 9),
        depth: Depth::Sixteen,
        work: 2,
        pixel_bytes: 4,
        ..PLAIN
    }),
    encode: |picture, output, tags| png::encode(picture, output.quality, tags),
    deep: |raster, meaning, _, output, tags| png::deep(raster, meaning, output.quality, tags),
    transcode: by_its_pixels,
    tag: untagged,
};

const WEBP: FormatRow = FormatRow {
    suffixes: &["webp"],
    media_type: "image/webp",
    pair_bytes: 1,
    bands: None,
    coder: Some(WEBP_CODER),
    encode: |picture, output, tags| {
        let coded = webp::encode(&picture.data, picture.size, picture.layout, output.quality)?;
        embed::webp(coded, tags)
    },
    deep: shallow,
    transcode: by_its_pixels,
    tag: embed::webp,
};

const AVIF: FormatRow = FormatRow {
    suffixes: &["avif"],
    media_type: "image/avif",
    pair_bytes: 1,
    bands: None,
    coder: Some(Coder {
        default: |defaults| defaults.avif_quality,
        quality: (-1, 100),
        depth: Depth::Eight,
        longest_side: Some(32_768),
        // they take about a second on one core, two or three if lossless
        most_pixels: Some(1 << 23),
        work: 30,
        pixel_bytes: 24,
        ..PLAIN
    }),
    encode: |picture, output, tags| avif::encode(picture, output.quality, tags),
    deep: shallow,
    transcode: by_its_pixels,
    tag: untagged,
};

const TIFF: FormatRow = FormatRow {
    suffixes: &["tif", "tiff"],
    media_type: "image/tiff",
    pair_bytes: 8,
    bands: Some(Bands::Tiff),
    coder: None,
    encode: tiff::encode,
    deep: tiff::deep,
    transcode: by_its_pixels,
    tag: untagged,
};

const GIF: FormatRow = FormatRow {
    suffixes: &["gif"],
    media_type: "image/gif",
    pair_bytes: 6,
    bands: None,
    coder: Some(Coder {
        depth: Depth::Eight,
        longest_side: Some(65_535),
        work: 4,
        pixel_bytes: 4,
        ..PLAIN
    }),
    encode: |picture, _, tags| gif::encode(picture, tags),
    deep: shallow,
    transcode: by_its_pixels,
    tag: untagged,
};

fn shallow(_: &Raster, _: &Meaning, _: Option<u8>, output: Output, _: &Tags) -> Result<Vec<u8>> {
    let name = output.format.suffix();
    Err(Error::Unsupported(format!("{name} has 8 bits")))
}

fn by_its_pixels(_: &[u8], _: Size, _: Output) -> Result<Option<Vec<u8>>> {
    Ok(None)
}

fn untagged(coded: Vec<u8>, _: &Tags) -> Result<Vec<u8>> {
    Ok(coded)
}

/// Maps the formats, in this order, to their rows.
macro_rules! rows {
    ($($format:ident => $row:ident),*) => {
        impl Format {
            /// All formats, the best known first.
            const ALL: &[Format] = &[$(Format::$format),*];

            pub(in crate::encode) const fn row(self) -> &'static FormatRow {
                match self {
                    $(Format::$format => &$row),*
                }
            }
        }
    };
}

rows!(Jpeg => JPEG, Png => PNG, Webp => WEBP, Avif => AVIF, Tiff => TIFF, Gif => GIF);

impl Format {
    /// The formats that this build writes, the best known first.
    pub fn built() -> impl Iterator<Item = Format> {
        Format::ALL.iter().copied().filter(|format| format.is_built())
    }

    /// Whether this build writes the format: AVIF needs libavif.
    pub const fn is_built(self) -> bool {
        !matches!(self, Format::Avif) || cfg!(avif)
    }

    /// The format with this suffix, in any case.
    pub fn named(suffix: &str) -> Option<Format> {
        let has = |format: &Format| {
            let mut known = format.row().suffixes.iter();
            known.any(|known| known.eq_ignore_ascii_case(suffix))
        };
        Format::ALL.iter().copied().find(has)
    }

    /// The media type.
    pub const fn media_type(self) -> &'static str {
        self.row().media_type
    }

    /// The name in metrics and documentation: the media type after `image/`.
    pub fn name(self) -> &'static str {
        let media_type = self.media_type();
        media_type.strip_prefix("image/").unwrap_or(media_type)
    }

    /// The preferred suffix, without the dot.
    pub const fn suffix(self) -> &'static str {
        match self.row().suffixes {
            [usual, ..] => usual,
            [] => "",
        }
    }
}

impl Output {
    /// Limits and costs of the encoder: those of the format, or of the compression inside.
    pub fn coder(&self) -> &'static Coder {
        let row = self.format.row();
        row.coder.as_ref().unwrap_or(self.compression.coder())
    }

    /// Approximate upper bound of the bytes of a file with `pixels` pixels of 8 bits.
    pub fn file_bytes(&self, pixels: u64) -> u64 {
        pixels.saturating_mul(self.format.row().pair_bytes) / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::coder::Defaults;

    #[test]
    fn every_suffix_finds_its_row() {
        for format in Format::ALL {
            for suffix in format.row().suffixes {
                assert_eq!(Format::named(&suffix.to_uppercase()), Some(*format));
            }
        }
        assert_eq!(Format::named("bmp"), None);
    }

    #[test]
    fn defaults_are_within_the_range_of_their_coder() {
        for coder in Format::ALL
            .iter()
            .filter_map(|format| format.row().coder.as_ref())
        {
            let (low, high) = coder.quality;
            assert!((low..=high).contains(&(coder.default)(&Defaults::default())));
        }
    }
}
