//! Encodes a [`Picture`] into the bytes of a file, including metadata.

mod avif;
pub mod bands;
mod coder;
pub mod embed;
pub mod format;
pub mod gif;
pub mod ifd;
pub mod jpeg;
pub mod png;
pub mod tiff;

use crate::codec::jpeg::JpegStyle;
pub use crate::encode::coder::Coder;
pub use crate::encode::coder::Defaults;
pub use crate::encode::coder::Depth;
pub use crate::encode::coder::TiffCompression;
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
    /// Quality or level on the format's scale, already clamped: JPEG 1–100, PNG deflate level 0–9, TIFF that of
    /// its compression (Deflate 1–9, Zstd 1–19, JPEG 1–100, WebP −1–100). 0 for formats without one.
    pub quality: i16,
    /// Subsampling and progressive mode of JPEG streams.
    pub style: JpegStyle,
    /// Compression of a TIFF file; `None` for other formats.
    pub compression: TiffCompression,
    /// Whether the client requested the quality, which excludes passing a stored tile through.
    pub asked: bool,
    /// Whether all metadata is embedded, or only profile and resolution.
    pub full_metadata: bool,
}

/// Metadata to embed in a file.
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
    /// Further EXIF tags.
    pub details: Option<&'a Details>,
    /// Rights if the texts have none.
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

/// The XMP packet with tiff:Orientation set to 1, because the pixels have their final orientation.
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

/// Encodes a picture. JPEG takes `Grey` and `Rgb`, and so does TIFF with JPEG; the others take every layout.
pub fn encode(picture: &Picture, output: Output, tags: &Tags) -> Result<Vec<u8>> {
    (output.format.row().encode)(picture, output, tags)
}

/// Encodes samples of any depth whose first channels have the given `meaning`: TIFF takes every raster, PNG 16 bits of one to
/// four channels. `signed` is that of `tiff::deep`.
pub fn deep(
    raster: &Raster,
    meaning: &Meaning,
    signed: Option<u8>,
    output: Output,
    tags: &Tags,
) -> Result<Vec<u8>> {
    (output.format.row().deep)(raster, meaning, signed, output, tags)
}

/// Transcodes a complete stored file to the requested quality, or returns it unchanged if none is requested. `None` if that
/// needs its pixels.
pub fn transcode(coded: Vec<u8>, size: Size, output: Output) -> Result<Option<Vec<u8>>> {
    if !output.asked {
        return Ok(Some(coded));
    }
    (output.format.row().transcode)(&coded, size, output)
}

/// Embeds the tags into a complete stored file of `format`.
pub fn tag(coded: Vec<u8>, format: Format, tags: &Tags) -> Result<Vec<u8>> {
    (format.row().tag)(coded, tags)
}
