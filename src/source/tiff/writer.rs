//! Identifies the program that wrote a file, because programs use some tags differently, and the directories of a
//! slide that show its label or the whole glass.
//!
//! Only the beginning of a text is read: a description may have megabytes.

use crate::source::tiff::ifd::Ifd;
use crate::source::tiff::input::Input;
use memchr::memmem::find;

/// Bytes read of a text.
const START: u64 = 4096;

/// Hamamatsu's SourceLens: magnification of the picture, -1 for the whole glass, -2 for a map of the scanned area.
const SOURCE_LENS: u16 = 65421;

/// Programs whose files are read differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Software {
    /// Any other.
    #[default]
    Other,
    /// Aperio ScanScope.
    Aperio,
    /// OME Bio-Formats.
    BioFormats,
    /// Hamamatsu NDPI.
    Hamamatsu,
    /// Leica SCN.
    Leica,
    /// Philips DP.
    Philips,
    /// The Python library tifffile.
    Tifffile,
    /// Trestle MedScan.
    Trestle,
    /// Ventana (Roche) iScan.
    Ventana,
}

impl Software {
    /// From a directory: the first of the file, or any that names its program.
    pub fn of(ifd: &Ifd, input: &Input) -> Software {
        let has = |tag, word: &[u8]| {
            ifd.start(input, tag, START)
                .is_some_and(|text| find(&text, word).is_some())
        };
        let begins = |tag, word: &[u8]| {
            ifd.start(input, tag, START)
                .is_some_and(|text| text.starts_with(word))
        };
        const DESCRIPTION: u16 = 270;
        const SOFTWARE: u16 = 305;
        const XMP: u16 = 700;
        if begins(DESCRIPTION, b"Aperio") || begins(SOFTWARE, b"Aperio") {
            Software::Aperio
        } else if has(SOFTWARE, b"Bio-Formats") {
            Software::BioFormats
        } else if ifd.field(65420).is_some() && ifd.field(SOURCE_LENS).is_some() {
            Software::Hamamatsu
        } else if has(DESCRIPTION, b"www.leica-microsystems.com/scn") {
            Software::Leica
        } else if begins(SOFTWARE, b"Philips") || has(DESCRIPTION, b"DPUfsImport") {
            Software::Philips
        } else if begins(SOFTWARE, b"tifffile") {
            Software::Tifffile
        } else if begins(SOFTWARE, b"MedScan") {
            Software::Trestle
        } else if begins(SOFTWARE, b"Ventana")
            || begins(SOFTWARE, b"ScanOutputManager")
            || has(XMP, b"<iScan")
        {
            Software::Ventana
        } else {
            Software::Other
        }
    }

    /// Whether it scans slides: the files also hold pictures of the glass, and areas that were not scanned are white.
    pub fn is_of_slides(self) -> bool {
        !matches!(self, Software::Other | Software::BioFormats | Software::Tifffile)
    }

    /// The name of what a directory of a slide shows, other than the scan.
    pub fn auxiliary(self, ifd: &Ifd, input: &Input) -> Option<&'static str> {
        if self == Software::Hamamatsu {
            let lens = ifd.floats(input, SOURCE_LENS, 1)?;
            return match lens.first()? {
                lens if *lens == -1.0 => Some("macro"),
                lens if *lens == -2.0 => Some("map"),
                _ => None,
            };
        }
        if !self.is_of_slides() {
            return None;
        }
        let text = ifd.start(input, 270, START)?.to_ascii_lowercase();
        // the first line of Aperio's description names the program
        let line = text
            .split(|byte| *byte == b'\n')
            .nth(usize::from(self == Software::Aperio))?;
        ["label", "macro", "thumbnail", "probability"]
            .into_iter()
            .find(|name| line.trim_ascii_start().starts_with(name.as_bytes()))
    }
}

/// Bytes read of the description of a Leica collection.
const MAX_COLLECTION: u64 = 1 << 20;

/// The directories of a Leica collection that show the whole glass or its label, by number in the chain: pictures as
/// large as the collection (as in OpenSlide), and supplemental ones.
pub fn leica(ifd: &Ifd, input: &Input) -> Vec<(usize, String)> {
    let text = ifd.start(input, 270, MAX_COLLECTION).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    fn value<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
        let tag = tag.split('>').next()?;
        let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
        rest.split('"').next()
    }
    let tags = |text: &'_ str, name: &str| -> Vec<String> {
        text.split(&format!("<{name}"))
            .skip(1)
            .map(|tag| format!(" {tag}"))
            .collect()
    };
    let side = |tag: &String| Some((value(tag, "sizeX")?.to_owned(), value(tag, "sizeY")?.to_owned()));
    let whole = tags(&text, "collection ").first().and_then(side);
    let number = |tag: &String| value(tag, "ifd")?.parse::<usize>().ok();
    let mut named = Vec::new();
    for image in tags(&text, "image ") {
        let own = image.split("</image>").next().unwrap_or_default();
        if whole.is_some() && tags(own, "view ").first().and_then(side) == whole {
            let directories = tags(own, "dimension ");
            named.extend(
                directories
                    .iter()
                    .filter_map(number)
                    .map(|ifd| (ifd, "macro".to_owned())),
            );
        }
    }
    for image in tags(&text, "supplementalImage ") {
        let name = value(&image, "type").unwrap_or("label").to_owned();
        named.extend(number(&image).map(|ifd| (ifd, name)));
    }
    named
}
