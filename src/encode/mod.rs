//! Encodes a [`Picture`] into the bytes of a file, metadata included.

pub mod bands;
pub mod embed;
pub mod gif;
pub mod ifd;
pub mod jpeg;
pub mod png;
pub mod tiff;

#[cfg(avif)]
use crate::codec;
use crate::codec::jpeg::Style;
use crate::codec::webp;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Density;
use crate::raster::Details;
use crate::raster::Format;
use crate::raster::Meaning;
use crate::raster::Picture;
use crate::raster::Raster;

/// A format with its settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Output {
    /// The file format.
    pub format: Format,
    /// Quality or level in the format's own scale, already clamped: JPEG 1–100, PNG deflate level 0–9, TIFF that of
    /// its compression (Deflate 1–9, Zstd 1–19, JPEG 1–100, WebP −1–100). 0 where there is none.
    pub quality: i16,
    /// What JPEG streams are like.
    pub style: Style,
    /// How a TIFF file is compressed; `None` of the others.
    pub compression: Compression,
    /// Whether the client asked for the quality: then a stored tile may not be passed through as it is.
    pub asked: bool,
    /// Whether all that is known of the picture is embedded; else profile and resolution only.
    pub told: bool,
    /// Whether samples of more than 8 bits are kept as they are.
    pub deep: bool,
}

impl Output {
    /// Whether a tile takes no more than a few milliseconds.
    pub fn is_quick(&self) -> bool {
        match (self.format, self.compression) {
            (Format::Jpeg, _) | (Format::Tiff, Compression::None | Compression::Lzw | Compression::Jpeg) => {
                true
            }
            (Format::Png | Format::Tiff, Compression::None | Compression::Deflate | Compression::Zstd) => {
                self.quality <= 2
            }
            _ => false,
        }
    }
}

/// How the strips of a TIFF file are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Not at all.
    None,
    /// LZW with horizontal differences.
    Lzw,
    /// Deflate with horizontal differences.
    Deflate,
    /// JPEG.
    Jpeg,
    /// WebP.
    Webp,
    /// Zstandard with horizontal differences.
    Zstd,
}

impl Compression {
    /// In the order of TIFF_COMPRESSION, with the names that QLT takes.
    const ALL: [(&'static str, Compression); 6] = [
        ("none", Compression::None),
        ("lzw", Compression::Lzw),
        ("deflate", Compression::Deflate),
        ("jpeg", Compression::Jpeg),
        ("webp", Compression::Webp),
        ("zstd", Compression::Zstd),
    ];

    /// The one with this name, in any case.
    pub fn named(name: &str) -> Option<Compression> {
        let row = Compression::ALL
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name));
        row.map(|(_, compression)| *compression)
    }

    /// The one with this number of TIFF_COMPRESSION.
    pub fn numbered(number: usize) -> Option<Compression> {
        Compression::ALL.get(number).map(|(_, compression)| *compression)
    }

    /// Whether it needs 8 bits a sample and loses some of them.
    pub const fn is_lossy(self) -> bool {
        matches!(self, Compression::Jpeg | Compression::Webp)
    }

    /// The value of the tag (TIFF 6.0 p. 30, Technical Note 2, libtiff's register).
    const fn tag(self) -> u16 {
        match self {
            Compression::None => 1,
            Compression::Lzw => 5,
            Compression::Deflate => 8,
            Compression::Jpeg => 7,
            Compression::Webp => 50001,
            Compression::Zstd => 50000,
        }
    }

    const fn is_predicted(self) -> bool {
        matches!(self, Compression::Lzw | Compression::Deflate | Compression::Zstd)
    }
}

/// What is embedded in a file.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tags<'a> {
    /// ICC profile of the pixels.
    pub icc: Option<&'a [u8]>,
    /// Resolution of the view, pixels per metre.
    pub density: Option<Density>,
    /// XMP packet.
    pub xmp: Option<&'a [u8]>,
    /// Named texts, as in [`crate::raster::Metadata`].
    pub texts: &'a [(&'static str, String)],
    /// What EXIF says beyond them.
    pub details: Option<&'a Details>,
    /// Rights, where the texts have none.
    pub rights: Option<&'a str>,
}

impl<'a> Tags<'a> {
    /// The text with this name.
    pub fn text(&self, name: &str) -> Option<&'a str> {
        let own = self.texts.iter().find(|(known, _)| *known == name);
        let own = own.map(|(_, text)| text.as_str());
        own.or(self.rights.filter(|_| name == "rights"))
    }
}

/// An XMP packet that does not turn the picture, which stands upright or as it was asked: tiff:Orientation is 1.
fn upright(xmp: &[u8]) -> Vec<u8> {
    let mut packet = xmp.to_vec();
    for name in [
        &b"tiff:Orientation=\""[..],
        b"tiff:Orientation='",
        b"tiff:Orientation>",
    ] {
        let places: Vec<usize> = memchr::memmem::find_iter(xmp, name).collect();
        for at in places {
            if let Some(digit @ b'2'..=b'8') = packet.get_mut(at + name.len()) {
                *digit = b'1';
            }
        }
    }
    packet
}

/// What [`encode`] can make, the best known first.
#[cfg(avif)]
pub const BUILT: &[Format] = &[
    Format::Jpeg,
    Format::Png,
    Format::Webp,
    Format::Avif,
    Format::Tiff,
    Format::Gif,
];
/// What [`encode`] can make, the best known first.
#[cfg(not(avif))]
pub const BUILT: &[Format] = &[Format::Jpeg, Format::Png, Format::Webp, Format::Tiff, Format::Gif];

/// Encodes a picture. JPEG takes `Grey` and `Rgb`, and so does TIFF with JPEG; the others take every layout.
pub fn encode(picture: &Picture, output: Output, tags: &Tags) -> Result<Vec<u8>> {
    match output.format {
        Format::Jpeg => embed::jpeg(jpeg::encode(picture, output.quality, output.style)?, tags),
        Format::Png => png::encode(picture, output.quality, tags),
        Format::Webp => {
            let coded = webp::encode(&picture.data, picture.size, picture.layout, output.quality)?;
            embed::webp(coded, tags)
        }
        Format::Tiff => tiff::encode(picture, output, tags),
        Format::Gif => gif::encode(picture, tags),
        Format::Avif => avif(picture, output.quality, tags),
    }
}

#[cfg(avif)]
fn avif(picture: &Picture, quality: i16, tags: &Tags) -> Result<Vec<u8>> {
    let xmp = tags.xmp.map(upright).unwrap_or_default();
    let extras = codec::avif::Extras {
        icc: tags.icc.unwrap_or_default(),
        exif: &ifd::exif(tags)?,
        xmp: &xmp,
    };
    codec::avif::encode(&picture.data, picture.size, picture.layout, quality, extras)
}

#[cfg(not(avif))]
fn avif(_: &Picture, _: i16, _: &Tags) -> Result<Vec<u8>> {
    Err(Error::Unsupported("avif output is not built".into()))
}

/// Encodes samples of any depth, of which the first are what `meaning` says: TIFF all that a raster can hold, PNG 16 bits
/// of one to four channels. `signed` as `tiff::deep` has it.
pub fn deep(
    raster: &Raster,
    meaning: &Meaning,
    signed: Option<u8>,
    output: Output,
    tags: &Tags,
) -> Result<Vec<u8>> {
    match output.format {
        Format::Tiff => tiff::deep(raster, meaning, signed, output, tags),
        Format::Png => png::deep(raster, meaning, output.quality, tags),
        other => Err(Error::Unsupported(format!("{} has 8 bits", other.suffix()))),
    }
}

/// A complete file that was stored by someone else, at the asked quality: as it is when none was asked. `None` when that
/// takes its pixels.
pub fn again(coded: Vec<u8>, size: Size, output: Output) -> Result<Option<Vec<u8>>> {
    match output.format {
        _ if !output.asked => Ok(Some(coded)),
        Format::Jpeg => jpeg::again(&coded, size, output.quality, output.style),
        _ => Ok(None),
    }
}

/// Puts the tags into a complete file of `format` that was stored by someone else.
pub fn tag(coded: Vec<u8>, format: Format, tags: &Tags) -> Result<Vec<u8>> {
    match format {
        Format::Jpeg => embed::jpeg(coded, tags),
        Format::Webp => embed::webp(coded, tags),
        _ => Ok(coded),
    }
}
