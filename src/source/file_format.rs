//! Recognises file formats by their first bytes or their suffix, and opens files.

use crate::error::Result;
use crate::limits;
use crate::source::Source;
use crate::source::derived::Budget;
use crate::source::derived::DerivedLevels;
use crate::source::jp2;
use crate::source::jp2::Jp2;
use crate::source::jpeg;
use crate::source::oriented::Oriented;
use crate::source::png;
use crate::source::tiff::Tiff;
use crate::source::webp;
use crate::store::Blob;
use std::sync::Arc;

/// How masters are read.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The limits of derived levels.
    pub budget: Budget,
    /// Options of JPEG 2000.
    pub jp2: jp2::Jp2Options,
    /// Whether the orientation in the file is applied.
    pub upright: bool,
}

/// A file format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// TIFF and BigTIFF.
    Tiff,
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// WebP.
    Webp,
    /// JPEG 2000: JP2, JPX, JPH and bare codestreams.
    Jp2,
}

/// Each format with its suffixes.
pub const KINDS: [(FileFormat, &[&str]); 5] = [
    (
        FileFormat::Tiff,
        &["tif", "tiff", "ptif", "ptiff", "btf", "tf8", "svs"],
    ),
    (FileFormat::Jpeg, &["jpg", "jpeg"]),
    (FileFormat::Png, &["png"]),
    (FileFormat::Webp, &["webp"]),
    (
        FileFormat::Jp2,
        &["jp2", "jpx", "jpf", "jph", "j2k", "j2c", "jpc", "jhc"],
    ),
];

/// The number of bytes that identify the format.
const START: usize = 12;

impl FileFormat {
    /// The format of a file with these first bytes; `None` if unknown.
    pub fn of(start: &[u8]) -> Option<FileFormat> {
        match start {
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some(FileFormat::Tiff),
            [0xFF, 0xD8, ..] => Some(FileFormat::Jpeg),
            [0x89, b'P', b'N', b'G', ..] => Some(FileFormat::Png),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P'] => Some(FileFormat::Webp),
            [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] | [0xFF, 0x4F, 0xFF, 0x51, ..] => Some(FileFormat::Jp2),
            _ => None,
        }
    }

    /// The format for a file name, by its suffix, case-insensitive.
    pub fn named(name: &str) -> Option<FileFormat> {
        let (_, suffix) = name.rsplit_once('.')?;
        let has = |suffixes: &[&str]| suffixes.iter().any(|known| known.eq_ignore_ascii_case(suffix));
        KINDS
            .iter()
            .find(|(_, suffixes)| has(suffixes))
            .map(|(kind, _)| *kind)
    }
}

/// A master as stored, without derived levels.
pub struct Stored {
    /// The file format.
    pub kind: FileFormat,
    /// Its pyramid.
    pub source: Box<dyn Source>,
    /// The name of its compression.
    pub scheme: String,
}

/// Opens a master by its first bytes; `None` if it is not an image. `page` is the index of a picture in a TIFF file,
/// from 0.
pub fn open(blob: Arc<dyn Blob>, page: Option<u32>, options: &Options) -> Result<Option<Box<dyn Source>>> {
    let Some(stored) = stored(blob, page, options)? else {
        return Ok(None);
    };
    let derived = DerivedLevels::over(stored.source, &options.budget);
    Ok(Some(if options.upright {
        Oriented::over(derived)
    } else {
        derived
    }))
}

/// Opens a master as it is stored, without derived levels or orientation.
pub fn stored(blob: Arc<dyn Blob>, page: Option<u32>, options: &Options) -> Result<Option<Stored>> {
    let mut start = [0; START];
    let len = usize::try_from(blob.len()).unwrap_or(START).min(START);
    let start = start.get_mut(..len).unwrap_or_default();
    blob.read_at(0, start)?;
    let Some(kind) = FileFormat::of(start) else {
        return Ok(None);
    };
    let mut scheme = format!("{kind:?}");
    let limits = &options.budget.limits;
    let source: Box<dyn Source> = match kind {
        FileFormat::Tiff => {
            let page = usize::try_from(page.unwrap_or(0)).unwrap_or(usize::MAX);
            let tiff = Tiff::open_page(blob, page, limits)?;
            scheme = tiff.scheme();
            Box::new(tiff)
        }
        FileFormat::Jpeg => jpeg::open(blob, limits)?,
        FileFormat::Png => png::open(blob, limits)?,
        FileFormat::Webp => Box::new(webp::open(blob, limits)?),
        FileFormat::Jp2 => Box::new(Jp2::open(blob, options.jp2)?),
    };
    limits::check("pixels:", "PIXELS", source.header().size().area(), limits.pixels)?;
    Ok(Some(Stored { kind, source, scheme }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::source::tiff;

    #[test]
    fn suffixes_name_the_kind_in_any_case() {
        assert_eq!(FileFormat::named("a.b.TIF"), Some(FileFormat::Tiff));
        assert_eq!(FileFormat::named("x.jph"), Some(FileFormat::Jp2));
        for name in ["tif", "a.txt", "a.", ""] {
            assert_eq!(FileFormat::named(name), None, "{name}");
        }
    }

    #[test]
    fn files_shorter_than_a_signature_are_not_images() {
        let options = Options::default();
        for bytes in [&b""[..], b"I", b"RIFF\x01\0\0\0WEB"] {
            let file = tiff::build::Temp::new(bytes);
            assert!(open(file.open(), None, &options).unwrap().is_none());
        }
        let file = tiff::build::Temp::new(b"II*\0");
        assert!(matches!(
            open(file.open(), None, &options),
            Err(Error::Missing(_) | Error::Corrupt(_))
        ));
    }
}
