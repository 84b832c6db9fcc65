//! Metadata of the first directory: profile, resolution, texts.
//!
//! No tile depends on it: whatever is damaged, absurd or longer than the limit is ignored.

use crate::geometry::Num;
use crate::limits::METADATA;
use crate::raster::Density;
use crate::raster::Details;
use crate::raster::Metadata;
use crate::raster::text;
use crate::source::Page;
use crate::source::tiff::ifd::Ifd;
use crate::source::tiff::ifd::Prologue;
use crate::source::tiff::input::Input;

/// Longest name of a page, in bytes.
const MAX_NAME: u64 = 1024;

/// Tags of ASCII values, and their names as IIP objects; if two share a name, the first counts.
const TEXTS: [(u16, &str); 9] = [
    (269, "title"),
    (285, "title"),
    (270, "description"),
    (271, "make"),
    (272, "model"),
    (305, "software"),
    (306, "date"),
    (315, "creator"),
    (33432, "rights"),
];

/// Text tags of the EXIF directory (EXIF 2.32 §4.6.5) and their names.
const EXIF_TEXTS: [(u16, &str); 2] = [(36867, "date"), (36868, "date")];

/// Maximum number of bytes of the values of an EXIF directory: with the texts, it must fit a JPEG segment.
const MAX_DETAILS: usize = 3000;

/// Entries of the EXIF directory that apply to the file only: other directories, the compression, the colour space,
/// and whatever counts its pixels. MakerNote contains offsets that only its maker knows.
const OF_ONE_FILE: [u16; 15] = [
    34665, 34853, 37121, 37122, 37396, 37500, 40960, 40961, 40962, 40963, 40965, 41486, 41487, 41488, 41492,
];

/// Profile, XMP packet, resolution and texts; each of at most `max_bytes`.
pub fn metadata(ifd: &Ifd, input: &Input, prologue: Prologue, max_bytes: u64) -> Metadata {
    let whole = |tag| {
        ifd.bytes(input, tag, max_bytes)
            .map(|bytes| bytes.into_owned().into())
    };
    let all = TEXTS.into_iter().chain([(34675, "profile"), (700, "XMP packet")]);
    let is_long = |tag| ifd.field(tag).is_some_and(|field| field.len() > max_bytes);
    let left_out = all
        .filter(|(tag, _)| is_long(*tag))
        .map(|(_, name)| (name, METADATA))
        .collect();
    let exif = ifd.first(input, 34665).ok().flatten();
    let exif = exif.and_then(|at| Ifd::read(input, prologue, at).ok());
    let text = |ifd: &Ifd, tag| Some(text(&ifd.bytes(input, tag, max_bytes)?));
    let own = TEXTS.into_iter().map(|(tag, name)| (name, text(ifd, tag)));
    let of_exif = |exif: &Ifd| {
        let texts = EXIF_TEXTS.into_iter().map(|(tag, name)| (name, text(exif, tag)));
        texts
            .chain([("comment", comment(exif, input, max_bytes))])
            .collect()
    };
    let of_exif: Vec<_> = exif.as_ref().map(of_exif).unwrap_or_default();
    let scale = page(ifd, input).scale.map(|scale| scale.to_string());
    let mut texts: Vec<(&'static str, String)> = Vec::new();
    for (name, text) in own.chain(of_exif).chain([("scale", scale)]) {
        let Some(text) = text.filter(|text| !text.is_empty()) else {
            continue;
        };
        if texts.iter().all(|(known, _)| *known != name) {
            texts.push((name, text));
        }
    }
    Metadata {
        icc: whole(34675),
        xmp: whole(700),
        density: density(ifd, input),
        texts,
        left_out,
        details: Details {
            taking: exif
                .map(|exif| exif.details(input, MAX_DETAILS, |tag| !OF_ONE_FILE.contains(&tag)))
                .unwrap_or_default(),
            place: ifd
                .first(input, 34853)
                .ok()
                .flatten()
                .and_then(|at| Ifd::read(input, prologue, at).ok())
                .map(|gps| gps.details(input, MAX_DETAILS, |_| true))
                .unwrap_or_default(),
        },
    }
}

/// UserComment, if it is marked as ASCII or not marked at all (EXIF 2.32 §4.6.5).
fn comment(exif: &Ifd, input: &Input, max_bytes: u64) -> Option<String> {
    let bytes = exif.bytes(input, 37510, max_bytes)?;
    let (code, text) = bytes.split_at_checked(8)?;
    matches!(code, b"ASCII\0\0\0" | [0, 0, 0, 0, 0, 0, 0, 0]).then(|| crate::raster::text(text))
}

/// The name of a page: PageName, else DocumentName; and its StoNits (TIFF 6.0 p. 55, SGI's tag 37439).
pub fn page(ifd: &Ifd, input: &Input) -> Page {
    let name = |tag| Some(text(&ifd.bytes(input, tag, MAX_NAME)?)).filter(|name| !name.is_empty());
    let scale = ifd
        .floats(input, 37439, 1)
        .and_then(|values| values.first().copied());
    Page {
        name: name(285).or_else(|| name(269)),
        scale: scale.filter(|scale| scale.is_finite()),
    }
}

/// Pixels per metre from XResolution, YResolution and ResolutionUnit (inch by default); `None` without a unit.
fn density(ifd: &Ifd, input: &Input) -> Option<Density> {
    let units_per_metre = match ifd.first(input, 296).ok()?.unwrap_or(2) {
        2 => 1.0 / 0.0254,
        3 => 100.0,
        _ => return None,
    };
    let side = |tag| {
        let value = ifd.floats(input, tag, 1)?.first()? * units_per_metre;
        Num::new(value).filter(|_| value > 0.0)
    };
    let x = side(282)?;
    Some(Density {
        x,
        y: side(283).unwrap_or(x),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tiff::build::Build;
    use crate::source::tiff::build::FieldEntry;
    use crate::source::tiff::build::Temp;
    use crate::source::tiff::input::ByteOrder;

    fn ifd(tags: &[FieldEntry]) -> (Input, Ifd) {
        let mut build = Build::new(ByteOrder::Big, false);
        let first = build.ifd(&[&[(256, 3, vec![1])], tags].concat(), 0);
        let input = Temp::new(&build.finish(first)).input();
        let prologue = Prologue::read(&input).unwrap();
        let ifd = Ifd::read(&input, prologue, first).unwrap();
        (input, ifd)
    }

    fn found(tags: &[FieldEntry]) -> Metadata {
        let (input, ifd) = ifd(tags);
        let prologue = Prologue::read(&input).unwrap();
        metadata(&ifd, &input, prologue, 100)
    }

    fn ascii(text: &[u8]) -> Vec<u64> {
        text.iter().map(|byte| (*byte).into()).collect()
    }

    #[test]
    fn texts_have_the_names_of_iip_objects() {
        let found = found(&[
            (270, 2, ascii(b" A hill. \0")),
            (315, 2, ascii("Zo\u{eb}\0".as_bytes())),
            (306, 2, ascii(b"\0")),
            (305, 2, ascii(b"caf\xe9\0 and more")),
            (33432, 2, ascii(&[b'x'; 101])),
        ]);
        assert_eq!(found.text("description"), Some("A hill."));
        assert_eq!(found.text("creator"), Some("Zo\u{eb}"));
        assert_eq!(found.text("date"), None);
        assert_eq!(found.text("software"), Some("caf\u{e9}"));
        assert_eq!(found.text("rights"), None);
    }

    #[test]
    fn exif_fills_missing_fields_and_pages_have_names() {
        let mut build = Build::new(ByteOrder::Big, false);
        let gps = build.ifd(&[(1, 2, ascii(b"N\0"))], 0);
        let exif = [
            (33434, 5, vec![1 << 32 | 125]),
            (36867, 2, ascii(b"1999:12:31 23:59:59\0")),
            (37499, 7, vec![1; 3000 - 8 - 20 - 16]),
            (37500, 7, vec![1; 10]),
            (37510, 7, ascii(b"ASCII\0\0\0no flash")),
            // one entry too many
            (42033, 2, ascii(b"serial\0")),
        ];
        let exif = build.ifd(&exif, 0);
        let first = [
            (269, 2, ascii(b"Leaf\0")),
            (285, 2, ascii(b"Verso\0")),
            (34665, 4, vec![exif]),
            (34853, 4, vec![gps]),
            (37439, 12, vec![0.5f64.to_bits()]),
        ];
        let first = build.ifd(&first, 0);
        let input = Temp::new(&build.finish(first)).input();
        let prologue = Prologue::read(&input).unwrap();
        let ifd = Ifd::read(&input, prologue, first).unwrap();
        let found = metadata(&ifd, &input, prologue, 100);
        assert_eq!(found.text("title"), Some("Leaf"));
        assert_eq!(found.text("date"), Some("1999:12:31 23:59:59"));
        assert_eq!(found.text("comment"), Some("no flash"));
        assert_eq!(found.text("scale"), Some("0.5"));
        let tags = found.details.taking.iter().map(|detail| detail.tag);
        assert_eq!(tags.collect::<Vec<_>>(), [33434, 36867, 37500 - 1, 37510]);
        assert_eq!(found.details.taking[0].value, [1, 0, 0, 0, 125, 0, 0, 0]);
        assert_eq!(found.details.place[0].value, b"N\0");
        let page = page(&ifd, &input);
        assert_eq!((page.name.as_deref(), page.scale), (Some("Verso"), Some(0.5)));
    }

    #[test]
    fn profile_and_packet_are_kept_within_the_limit() {
        let found = found(&[
            (34675, 7, ascii(&[1, 0, 2, 0, 3])),
            (700, 1, vec![b'<'.into(); 101]),
        ]);
        assert_eq!(found.icc.as_deref(), Some(&[1, 0, 2, 0, 3][..]));
        assert_eq!(found.xmp, None);
    }

    #[test]
    fn density_is_in_pixels_per_metre() {
        let density = |unit: Vec<u64>, x: u64, y: u64| {
            let found = found(&[(282, 5, vec![x]), (283, 5, vec![y]), (296, 3, unit)]).density;
            found.map(|d| (d.x.value().round(), d.y.value().round()))
        };
        let value = |n: u64, d: u64| n << 32 | d;
        assert_eq!(
            density(vec![2], value(300, 1), value(600, 2)),
            Some((11811.0, 11811.0))
        );
        assert_eq!(
            density(vec![], value(72, 1), value(144, 1)),
            Some((2835.0, 5669.0))
        );
        assert_eq!(
            density(vec![3], value(100, 1), value(0, 1)),
            Some((10_000.0, 10_000.0))
        );
        assert_eq!(density(vec![1], value(1, 1), value(1, 1)), None);
        assert_eq!(density(vec![2], value(1, 0), value(1, 1)), None);
        assert_eq!(density(vec![2], value(0, 0), value(1, 1)), None);
    }
}
