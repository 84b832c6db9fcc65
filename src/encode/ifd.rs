//! Writes little-endian TIFF directories (TIFF 6.0 §2) for TIFF files and for EXIF in other formats.

use crate::encode::Tags;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Num;
use crate::raster::Detail;
use crate::raster::Details;

/// The header of a file, before the offset of its first directory.
pub const HEADER: [u8; 8] = *b"II\x2a\0\0\0\0\0";

/// Names of texts and their tags (TIFF 6.0, EXIF 2.32 §4.6.4).
const TEXTS: [(u16, &str); 8] = [
    (269, "title"),
    (270, "description"),
    (271, "make"),
    (272, "model"),
    (305, "software"),
    (306, "date"),
    (315, "creator"),
    (33432, "rights"),
];

/// Maximum length of an embedded text in bytes: the whole block must fit a JPEG segment.
const MAX_TEXT: usize = 6000;

/// A field of a directory.
pub struct IfdField {
    tag: u16,
    /// Field type: 2 ASCII, 3 short, 4 long, 5 rational, 7 undefined, 12 double.
    kind: u16,
    count: usize,
    value: Vec<u8>,
}

impl IfdField {
    /// One 32-bit number.
    pub fn long(tag: u16, value: u32) -> IfdField {
        IfdField::bytes(tag, 4, 1, value.to_le_bytes().to_vec())
    }

    /// 32-bit numbers; `TooLarge` if one does not fit.
    pub fn longs(tag: u16, values: &[u64]) -> Result<IfdField> {
        let mut value = Vec::with_capacity(values.len() * 4);
        for &number in values {
            value.extend_from_slice(&offset(number)?.to_le_bytes());
        }
        Ok(IfdField::bytes(tag, 4, values.len(), value))
    }

    /// 16-bit numbers.
    pub fn shorts(tag: u16, values: &[u16]) -> IfdField {
        let value = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        IfdField::bytes(tag, 3, values.len(), value)
    }

    /// 64-bit floating-point numbers.
    pub fn floats(tag: u16, values: &[f64]) -> IfdField {
        let value = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        IfdField::bytes(tag, 12, values.len(), value)
    }

    /// A positive number as a fraction with four decimals.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped before"
    )]
    fn rational(tag: u16, value: f64) -> IfdField {
        let numerator = (value * 10_000.0).round().clamp(1.0, f64::from(u32::MAX)) as u32;
        let value = [numerator.to_le_bytes(), 10_000u32.to_le_bytes()].concat();
        IfdField::bytes(tag, 5, 1, value)
    }

    /// Bytes of type undefined.
    pub fn raw(tag: u16, value: &[u8]) -> IfdField {
        IfdField::bytes(tag, 7, value.len(), value.to_vec())
    }

    /// A NUL-terminated text in UTF-8, which most readers accept.
    fn text(tag: u16, text: &str) -> IfdField {
        let value = [text.as_bytes(), b"\0"].concat();
        IfdField::bytes(tag, 2, value.len(), value)
    }

    fn detail(detail: &Detail) -> IfdField {
        IfdField::bytes(
            detail.tag,
            detail.kind,
            detail.count as usize,
            detail.value.clone(),
        )
    }

    fn bytes(tag: u16, kind: u16, count: usize, value: Vec<u8>) -> IfdField {
        IfdField {
            tag,
            kind,
            count,
            value,
        }
    }
}

/// A file offset; `TooLarge` from 4 GB on.
fn offset(at: u64) -> Result<u32> {
    u32::try_from(at).map_err(|_| Error::TooLarge("a tiff file of 4 GB is too large".into()))
}

/// Writes values that do not fit their entries, then the directory; returns its offset.
pub fn push(file: &mut Vec<u8>, mut fields: Vec<IfdField>) -> Result<u32> {
    fields.sort_by_key(|field| field.tag);
    let mut entries = Vec::with_capacity(fields.len() * 12);
    for field in &fields {
        entries.extend_from_slice(&field.tag.to_le_bytes());
        entries.extend_from_slice(&field.kind.to_le_bytes());
        entries.extend_from_slice(&offset(field.count as u64)?.to_le_bytes());
        if field.value.len() <= 4 {
            entries.extend_from_slice(&field.value);
            entries.resize(entries.len() + 4 - field.value.len(), 0);
        } else {
            align(file);
            entries.extend_from_slice(&offset(file.len() as u64)?.to_le_bytes());
            file.extend_from_slice(&field.value);
        }
    }
    align(file);
    let at = offset(file.len() as u64)?;
    let count = u16::try_from(fields.len()).unwrap_or(u16::MAX);
    file.extend_from_slice(&count.to_le_bytes());
    file.extend_from_slice(&entries);
    file.extend_from_slice(&[0; 4]);
    Ok(at)
}

/// Pads to an even offset (TIFF 6.0 p. 15).
pub fn align(file: &mut Vec<u8>) {
    if file.len() % 2 == 1 {
        file.push(0);
    }
}

/// Writes the offset of the first directory into the header.
pub fn point(file: &mut [u8], at: u32) {
    if let Some(place) = file.get_mut(4..8) {
        place.copy_from_slice(&at.to_le_bytes());
    }
}

/// The fields for density, texts and rights, without profile and XMP. Writes the sub-directories with comment and details.
pub fn metadata_fields(file: &mut Vec<u8>, tags: &Tags) -> Result<Vec<IfdField>> {
    let mut fields = Vec::new();
    if let Some(density) = tags.density {
        let inch = |v: Num| v.value() * 0.0254;
        fields.push(IfdField::rational(282, inch(density.x)));
        fields.push(IfdField::rational(283, inch(density.y)));
        fields.push(IfdField::shorts(296, &[2]));
    }
    let short = |text: &&str| !text.is_empty() && text.len() <= MAX_TEXT && !text.contains('\0');
    for (tag, name) in TEXTS {
        if let Some(text) = tags.text(name).filter(short) {
            fields.push(IfdField::text(tag, text));
        }
    }
    let details = |select: fn(&Details) -> &[Detail]| {
        let details = tags.details.map(select).unwrap_or_default();
        details.iter().map(IfdField::detail).collect::<Vec<_>>()
    };
    let mut exif = details(|details| &details.taking);
    if let Some(comment) = tags.text("comment").filter(short) {
        // UserComment begins with eight bytes for its encoding (EXIF 2.32 §4.6.5): zeros (undefined) unless it is ASCII
        let code: &[u8; 8] = if comment.is_ascii() {
            b"ASCII\0\0\0"
        } else {
            &[0; 8]
        };
        exif.retain(|field| field.tag != 37510);
        exif.push(IfdField::raw(37510, &[code, comment.as_bytes()].concat()));
    }
    if !exif.is_empty() {
        if exif.iter().all(|field| field.tag != 36864) {
            exif.push(IfdField::raw(36864, b"0232"));
        }
        fields.push(IfdField::long(34665, push(file, exif)?));
    }
    let gps = details(|details| &details.place);
    if !gps.is_empty() {
        fields.push(IfdField::long(34853, push(file, gps)?));
    }
    Ok(fields)
}

/// An EXIF block from its TIFF header on, without profile and XMP; empty if the tags have only a density. It contains neither
/// orientation nor size, because the pixels are final.
pub fn exif(tags: &Tags) -> Result<Vec<u8>> {
    let mut file = HEADER.to_vec();
    let fields = metadata_fields(&mut file, tags)?;
    if fields.iter().all(|field| matches!(field.tag, 282 | 283 | 296)) {
        return Ok(Vec::new());
    }
    let at = push(&mut file, fields)?;
    point(&mut file, at);
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::Density;
    use crate::source::tiff;
    use crate::source::tiff::build::Temp;

    #[test]
    fn a_block_contains_the_tags_and_is_empty_for_a_density_alone() {
        let num = |v| Num::new(v).unwrap();
        let density = Some(Density {
            x: num(11811.0236),
            y: num(5905.5118),
        });
        let lean = Tags {
            density,
            ..Tags::default()
        };
        assert!(exif(&lean).unwrap().is_empty());
        let texts = [
            ("description", "A hill.".to_string()),
            ("creator", "Zo\u{eb}".to_string()),
            ("rights", "own".to_string()),
            ("comment", "no flash".to_string()),
            ("software", "x".repeat(MAX_TEXT + 1)),
        ];
        let tags = Tags {
            texts: &texts,
            rights: Some("not this"),
            ..lean
        };
        let block = exif(&tags).unwrap();
        let file = Temp::new(&block);
        let (found, orientation) = tiff::exif(file.open(), 0, block.len() as u64).unwrap();
        for (name, text) in &texts[..4] {
            assert_eq!(found.text(name), Some(text.as_str()));
        }
        assert_eq!((found.text("software"), orientation), (None, 1));
        let found = found.density.unwrap();
        assert!((found.x.value() - 11811.0236).abs() < 0.01 && (found.y.value() - 5905.5118).abs() < 0.01);

        let rights = Tags {
            rights: Some("ours"),
            ..Tags::default()
        };
        let block = exif(&rights).unwrap();
        let (found, _) = tiff::exif(Temp::new(&block).open(), 0, block.len() as u64).unwrap();
        assert_eq!(found.text("rights"), Some("ours"));
    }
}
