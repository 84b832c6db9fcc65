//! Metadata from the application segments of a JPEG file.
//!
//! No pixel depends on it: damaged or incomplete segments are ignored.

use crate::codec::jpeg::stream;
use crate::codec::jpeg::stream::MarkerSegment;
use crate::codec::jpeg::stream::MarkerSegments;
use crate::geometry::Num;
use crate::raster::Density;
use crate::raster::Metadata;
use crate::raster::text;

/// Prefix of an APP2 segment with a part of a profile (ICC.1:2022 B.4).
const ICC: &[u8] = b"ICC_PROFILE\0";

/// Prefix of an APP1 segment with an XMP packet (XMP part 3 §1.1.3).
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

/// Prefix of an APP1 segment with an EXIF block (EXIF 2.32 §4.7.2).
const EXIF: &[u8] = b"Exif\0\0";

/// Offset and length of the EXIF block in the bytes before the first scan.
pub fn exif(head: &[u8]) -> Option<(u64, u64)> {
    let mut segments = MarkerSegments::of(head).ok()?.filter_map(Result::ok);
    segments.find_map(|segment| {
        let block = segment
            .payload
            .strip_prefix(EXIF)
            .filter(|_| segment.marker == stream::APP1)?;
        let start = head.len() - segment.rest.len() - block.len();
        Some((start as u64, block.len() as u64))
    })
}

/// Profile, XMP packet, density and comment from the bytes before the first scan; missing fields are taken from
/// `from`, the fields of EXIF.
pub fn metadata(head: &[u8], from: Metadata) -> Metadata {
    let segments: Vec<MarkerSegment> = match MarkerSegments::of(head) {
        Ok(segments) => segments.filter_map(Result::ok).collect(),
        Err(_) => Vec::new(),
    };
    let payload = |marker: u8, start: &[u8]| {
        let mut found = segments.iter().filter(|segment| segment.marker == marker);
        found.find_map(|segment| segment.payload.strip_prefix(start))
    };
    let comment = payload(stream::COM, b"")
        .map(text)
        .filter(|text| !text.is_empty());
    let own = Metadata {
        icc: profile(&segments).map(Into::into),
        xmp: payload(stream::APP1, XMP).map(Into::into),
        density: payload(stream::APP0, b"JFIF\0").and_then(density),
        texts: comment.map(|text| ("comment", text)).into_iter().collect(),
        ..Metadata::default()
    };
    own.or(from)
}

/// The parts of the profile, concatenated in order; `None` when one is missing or repeated.
fn profile(segments: &[MarkerSegment]) -> Option<Vec<u8>> {
    let parts = segments.iter().filter(|segment| segment.marker == stream::APP2);
    let mut parts: Vec<&[u8]> = parts
        .filter_map(|segment| segment.payload.strip_prefix(ICC))
        .collect();
    parts.sort_by_key(|part| part.first().copied());
    let mut profile = Vec::new();
    for (number, part) in (1u16..).zip(&parts) {
        let [found, count, data @ ..] = part else {
            return None;
        };
        if u16::from(*found) != number || usize::from(*count) != parts.len() {
            return None;
        }
        profile.extend_from_slice(data);
    }
    (!profile.is_empty()).then_some(profile)
}

/// Pixels per metre in a JFIF header, which begins after its name (JFIF 1.02 p. 5); `None` without a unit.
fn density(header: &[u8]) -> Option<Density> {
    let [_, _, unit, x1, x0, y1, y0, ..] = *header else {
        return None;
    };
    let per_metre = match unit {
        1 => 1.0 / 0.0254,
        2 => 100.0,
        _ => return None,
    };
    let side = |bytes| Num::new(f64::from(u16::from_be_bytes(bytes)) * per_metre).filter(|n| n.value() > 0.0);
    Some(Density {
        x: side([x1, x0])?,
        y: side([y1, y0])?,
    })
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test streams are small")]
mod tests {
    use super::*;

    fn segment(marker: u8, parts: &[&[u8]]) -> Vec<u8> {
        let payload = parts.concat();
        let len = u16::try_from(payload.len() + 2).unwrap().to_be_bytes();
        [&[0xff, marker][..], &len, &payload].concat()
    }

    fn metadata_of(segments: &[Vec<u8>]) -> Metadata {
        metadata(
            &[&[0xff, stream::SOI][..], &segments.concat()].concat(),
            Metadata::default(),
        )
    }

    #[test]
    fn profile_parts_are_joined_in_order() {
        let part = |number, count, data: &[u8]| segment(stream::APP2, &[ICC, &[number, count], data]);
        let icc = |parts: &[Vec<u8>]| metadata_of(parts).icc.map(|icc| icc.to_vec());
        assert_eq!(
            icc(&[
                part(2, 2, b"cd"),
                segment(stream::APP2, &[b"MPF\0"]),
                part(1, 2, b"ab")
            ]),
            Some(b"abcd".to_vec())
        );
        assert_eq!(icc(&[part(1, 2, b"ab")]), None);
        assert_eq!(icc(&[part(1, 2, b"ab"), part(1, 2, b"ab")]), None);
        assert_eq!(icc(&[part(0, 1, b"ab")]), None);
        assert_eq!(icc(&[segment(stream::APP2, &[ICC])]), None);
    }

    #[test]
    fn exif_fills_missing_fields() {
        let head = [
            vec![0xff, stream::SOI],
            segment(stream::APP1, &[XMP, b"<x/>"]),
            segment(stream::APP1, &[EXIF, b"MM*"]),
            segment(stream::COM, &[b"a hill"]),
        ]
        .concat();
        let (start, len) = exif(&head).unwrap();
        assert_eq!(head[start as usize..][..len as usize], *b"MM*");
        let other = || Metadata {
            xmp: Some(b"no"[..].into()),
            texts: vec![("make", "Leica".into()), ("comment", "none".into())],
            ..Metadata::default()
        };
        let found = metadata(&head, other());
        assert_eq!(found.xmp.as_deref(), Some(&b"<x/>"[..]));
        assert_eq!(
            (found.text("make"), found.text("comment")),
            (Some("Leica"), Some("a hill"))
        );
        assert_eq!(metadata(&head[..2], other()), other());
    }

    #[test]
    fn xmp_comment_and_density_are_read() {
        let found = metadata_of(&[
            segment(stream::APP0, &[b"JFIF\0", &[1, 2, 1, 1, 44, 0, 100, 0, 0]]),
            segment(stream::APP1, &[b"Exif\0\0"]),
            segment(stream::APP1, &[XMP, b"<x/>"]),
            segment(stream::COM, &[b" a caf\xe9 \0"]),
        ]);
        assert_eq!(found.xmp.as_deref(), Some(&b"<x/>"[..]));
        assert_eq!(found.text("comment"), Some("a caf\u{e9}"));
        let density = found.density.unwrap();
        assert_eq!(
            (density.x.value().round(), density.y.value().round()),
            (11811.0, 3937.0)
        );
        for unit in [0, 3] {
            let header = [1, 2, unit, 0, 1, 0, 1, 0, 0];
            assert_eq!(
                metadata_of(&[segment(stream::APP0, &[b"JFIF\0", &header])]).density,
                None
            );
        }
    }
}
