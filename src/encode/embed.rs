//! Embeds metadata into complete JPEG and WebP files without touching the pixels.
//!
//! The files may be stored tiles of untrusted masters; broken ones are `Corrupt`.

use crate::codec::jpeg::stream::APP0;
use crate::codec::jpeg::stream::APP1;
use crate::codec::jpeg::stream::APP2;
use crate::codec::jpeg::stream::MarkerSegment;
use crate::codec::jpeg::stream::MarkerSegments;
use crate::codec::jpeg::stream::SOI;
use crate::codec::jpeg::stream::SOS;
use crate::encode::Tags;
use crate::encode::ifd;
use crate::encode::upright;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Num;
use crate::raster::Density;

/// Start of an APP2 segment with a part of a profile (ICC.1:2022 annex B.4), before its number and the count.
const ICC: &[u8] = b"ICC_PROFILE\0";

/// Bytes of a profile per segment: 65535 less the length, the name and two numbers.
const PART: usize = 65535 - 2 - 12 - 2;

/// Identifiers of EXIF (EXIF 2.32 §4.7.2) and XMP segments (XMP part 3 §1.1.3).
const EXIF: &[u8] = b"Exif\0\0";
const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";

/// Embeds the tags into a complete JPEG stream.
///
/// A density adds or replaces the JFIF header, in whole pixels per inch; it is omitted if JFIF does not allow the components
/// (RGB, four components). An existing profile is removed, because it has not been checked; a profile of more than 255 parts
/// (16 MB) is omitted. EXIF and XMP replace existing ones; XMP that is too long for a segment is omitted. All other segments
/// stay unchanged.
pub fn jpeg(coded: Vec<u8>, tags: &Tags) -> Result<Vec<u8>> {
    let exif = ifd::exif(tags)?;
    let xmp = tags.xmp.map(upright).unwrap_or_default();
    let nothing = tags.icc.is_none() && tags.density.is_none() && exif.is_empty() && xmp.is_empty();
    if nothing && !holds_profile(&coded) {
        return Ok(coded);
    }
    let notes: Vec<(&[u8], &[u8])> = [(EXIF, &*exif), (XMP, &*xmp)]
        .into_iter()
        .filter(|(name, block)| !block.is_empty() && 2 + name.len() + block.len() <= 65535)
        .collect();
    let density = match tags.density {
        Some(density) if allows_jfif(&coded)? => Some(density),
        _ => None,
    };
    let icc = tags.icc.filter(|icc| icc.len() <= 255 * PART);
    let dropped = |segment: &MarkerSegment| {
        density.is_some() && segment.is_jfif()
            || is_profile(segment)
            || segment.marker == APP1 && notes.iter().any(|(name, _)| segment.payload.starts_with(name))
    };

    let extra = icc.map_or(0, |icc| icc.len() + icc.len().div_ceil(PART) * 18);
    let extra = extra + exif.len() + xmp.len() + 72;
    let mut out = Vec::with_capacity(coded.len() + extra + 18);
    out.extend_from_slice(&[0xff, SOI]);
    if let Some(density) = density {
        push_jfif(&mut out, density);
    }
    let (mut icc, mut rest) = (icc, Some(&notes));
    for segment in MarkerSegments::of(&coded)? {
        let segment = segment?;
        if segment.marker != APP0 {
            for (name, block) in rest.take().into_iter().flatten() {
                push_note(&mut out, name, block);
            }
            push_icc(&mut out, icc.take().unwrap_or_default());
        }
        if !dropped(&segment) {
            out.extend_from_slice(segment.whole);
        }
        if segment.marker == SOS {
            out.extend_from_slice(segment.rest);
            return Ok(out);
        }
    }
    Err(Error::Corrupt("jpeg stream has no scan".into()))
}

/// Whether the segment is a part of a profile.
fn is_profile(segment: &MarkerSegment) -> bool {
    segment.marker == APP2 && segment.payload.starts_with(ICC)
}

/// Whether the stream has a profile before the scan.
fn holds_profile(coded: &[u8]) -> bool {
    MarkerSegments::of(coded).is_ok_and(|segments| {
        let mut segments = segments.map_while(std::result::Result::ok);
        segments.any(|segment| is_profile(&segment))
    })
}

/// Whether a decoder takes the components for grey or YCbCr, the only ones that JFIF allows.
fn allows_jfif(coded: &[u8]) -> Result<bool> {
    let (mut jfif, mut adobe, mut components) = (false, None, &[][..]);
    for segment in MarkerSegments::of(coded)? {
        let segment = segment?;
        jfif |= segment.is_jfif();
        adobe = adobe.or(segment.adobe());
        if matches!(segment.marker, 0xc0..=0xc2) {
            components = segment.payload.get(6..).unwrap_or_default();
        }
    }
    // three bytes per component, the first is its identifier
    Ok(match components {
        [_, _, _] => true,
        [a, _, _, b, _, _, c, _, _] => {
            jfif || adobe.map_or([*a, *b, *c] != *b"RGB", |transform| transform == 1)
        }
        _ => false,
    })
}

/// A JFIF header without thumbnail (JFIF 1.02 p. 5).
fn push_jfif(out: &mut Vec<u8>, density: Density) {
    let inch = |v: Num| whole(v.value() * 0.0254).to_be_bytes();
    out.extend_from_slice(b"\xff\xe0\0\x10JFIF\0\x01\x02\x01");
    out.extend_from_slice(&inch(density.x));
    out.extend_from_slice(&inch(density.y));
    out.extend_from_slice(&[0, 0]);
}

/// The nearest whole number from 1 to 65535.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped before"
)]
fn whole(value: f64) -> u16 {
    value.round().clamp(1.0, 65535.0) as u16
}

/// Appends an APP1 segment; the caller has checked its length.
fn push_note(out: &mut Vec<u8>, name: &[u8], block: &[u8]) {
    let len = u16::try_from(2 + name.len() + block.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&[0xff, APP1]);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(block);
}

/// Appends a profile in at most 255 segments.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a part fits a segment, and there are at most 255"
)]
fn push_icc(out: &mut Vec<u8>, icc: &[u8]) {
    let count = icc.len().div_ceil(PART) as u8;
    for (number, part) in (1u8..=255).zip(icc.chunks(PART)) {
        out.extend_from_slice(&[0xff, APP2]);
        out.extend_from_slice(&((2 + ICC.len() + 2 + part.len()) as u16).to_be_bytes());
        out.extend_from_slice(ICC);
        out.extend_from_slice(&[number, count]);
        out.extend_from_slice(part);
    }
}

/// VP8X flag: the file has a profile (RFC 9649 §2.7.1).
const HAS_ICC: u8 = 0x20;
/// VP8X flag: the file has alpha.
const HAS_ALPHA: u8 = 0x10;
/// VP8X flag: the file has EXIF.
const HAS_EXIF: u8 = 0x08;
/// VP8X flag: the file has XMP.
const HAS_XMP: u8 = 0x04;

/// Embeds profile, EXIF and XMP into a complete WebP file and replaces existing ones; the file becomes an extended one (RFC
/// 9649 §2.7). WebP stores a density only in EXIF.
pub fn webp(coded: Vec<u8>, tags: &Tags) -> Result<Vec<u8>> {
    let exif = ifd::exif(tags)?;
    let xmp = tags.xmp.map(upright).unwrap_or_default();
    let icc = tags.icc.unwrap_or_default();
    let given = [
        (b"ICCP", icc, HAS_ICC),
        (b"EXIF", &exif, HAS_EXIF),
        (b"XMP ", &xmp, HAS_XMP),
    ]
    .map(|(name, block, flag)| (name, block, if block.is_empty() { 0 } else { flag }));
    let new = given.iter().fold(0, |flags, (_, _, flag)| flags | flag);
    if new == 0 {
        return Ok(coded);
    }
    let broken = || Error::Corrupt("WebP data is truncated or invalid".into());
    let (body, _) = match coded.as_slice() {
        [b'R', b'I', b'F', b'F', a, b, c, d, rest @ ..] => {
            let len = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
            rest.split_at_checked(len).ok_or_else(broken)?
        }
        _ => return Err(broken()),
    };
    let chunks = body.strip_prefix(b"WEBP").ok_or_else(broken)?;
    let (first, after) = chunk(chunks).ok_or_else(broken)?;
    let (mut head, rest) = match first.name {
        b"VP8X" => (*first.payload.first_chunk().ok_or_else(broken)?, after),
        _ => (extended_head(&first).ok_or_else(broken)?, chunks),
    };
    let [flags, ..] = &mut head;
    *flags |= new;

    let mut out = Vec::with_capacity(coded.len() + icc.len() + exif.len() + xmp.len() + 48);
    out.extend_from_slice(b"RIFF\0\0\0\0WEBP");
    push_chunk(&mut out, b"VP8X", &head)?;
    let push = |out: &mut Vec<u8>, before: bool| {
        let mut due = given
            .iter()
            .filter(|(name, _, flag)| *flag > 0 && (*name == b"ICCP") == before);
        due.try_for_each(|(name, block, _)| push_chunk(out, name, block))
    };
    push(&mut out, true)?;
    let mut rest = rest;
    while !rest.is_empty() {
        let (chunk, after) = chunk(rest).ok_or_else(broken)?;
        if !given
            .iter()
            .any(|(name, _, flag)| *flag > 0 && *name == chunk.name)
        {
            push_chunk(&mut out, chunk.name, chunk.payload)?;
        }
        rest = after;
    }
    push(&mut out, false)?;
    let len = u32::try_from(out.len() - 8).map_err(|_| broken())?;
    if let Some(field) = out.get_mut(4..8) {
        field.copy_from_slice(&len.to_le_bytes());
    }
    Ok(out)
}

/// A chunk of a RIFF file.
struct RiffChunk<'a> {
    name: &'a [u8; 4],
    payload: &'a [u8],
}

/// The first chunk of `bytes`, and the rest after its padding (which the last chunk may lack).
fn chunk(bytes: &[u8]) -> Option<(RiffChunk<'_>, &[u8])> {
    let (name, rest) = bytes.split_first_chunk::<4>()?;
    let (len, rest) = rest.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*len) as usize;
    let (payload, rest) = rest.split_at_checked(len)?;
    Some((
        RiffChunk { name, payload },
        rest.get(len % 2..).unwrap_or_default(),
    ))
}

/// Writes a chunk, padded to an even length.
fn push_chunk(out: &mut Vec<u8>, name: &[u8; 4], payload: &[u8]) -> Result<()> {
    let len = u32::try_from(payload.len()).map_err(|_| Error::Corrupt("webp chunk of 4 GB".into()))?;
    out.extend_from_slice(name);
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(payload);
    if payload.len() % 2 == 1 {
        out.push(0);
    }
    Ok(())
}

/// The VP8X payload for a simple file with this chunk: flags, three zeros, width − 1 and height − 1.
fn extended_head(pixels: &RiffChunk) -> Option<[u8; 10]> {
    let (flags, w, h) = match (pixels.name, pixels.payload) {
        // RFC 6386 §9.1: frame tag, start code, 14 bits of width and of height under 2 bits of scale.
        (b"VP8 ", [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..]) => {
            let side = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
            (0, side(*w0, *w1).checked_sub(1)?, side(*h0, *h1).checked_sub(1)?)
        }
        // RFC 9649 §3.4: signature, 14 bits of width − 1, 14 of height − 1, one of alpha.
        (b"VP8L", [0x2f, a, b, c, d, ..]) => {
            let bits = u32::from_le_bytes([*a, *b, *c, *d]);
            let flags = if bits >> 28 & 1 == 1 { HAS_ALPHA } else { 0 };
            (flags, bits & 0x3fff, bits >> 14 & 0x3fff)
        }
        _ => return None,
    };
    let ([w0, w1, w2, _], [h0, h1, h2, _]) = (w.to_le_bytes(), h.to_le_bytes());
    Some([flags, 0, 0, 0, w0, w1, w2, h0, h1, h2])
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test pictures are small")]
mod tests {
    use super::*;
    use crate::codec::jpeg::JpegStyle;
    use crate::codec::jpeg::StreamColour;
    use crate::codec::jpeg::decode;
    use crate::codec::jpeg::encode;
    use crate::codec::jpeg::merge;
    use crate::geometry::Size;
    use crate::raster::Layout;
    use proptest::prelude::*;

    const SIZE: Size = Size::new(20, 10);

    fn stream() -> Vec<u8> {
        encode(&[90; 600], SIZE, Layout::Rgb, 75, JpegStyle::default()).unwrap()
    }

    fn density(x: f64, y: f64) -> Option<Density> {
        let num = |v| Num::new(v).unwrap();
        Some(Density { x: num(x), y: num(y) })
    }

    fn segments(stream: &[u8]) -> Vec<MarkerSegment<'_>> {
        MarkerSegments::of(stream).unwrap().map(|s| s.unwrap()).collect()
    }

    /// Reassembles the profile.
    fn profile(stream: &[u8]) -> Vec<u8> {
        let parts: Vec<&[u8]> = segments(stream)
            .iter()
            .filter(|s| s.marker == APP2)
            .map(|s| s.payload.strip_prefix(ICC).unwrap())
            .collect();
        for (i, part) in parts.iter().enumerate() {
            assert_eq!((usize::from(part[0]), usize::from(part[1])), (i + 1, parts.len()));
        }
        parts.iter().flat_map(|part| &part[2..]).copied().collect()
    }

    #[test]
    fn no_tags_change_nothing() {
        assert_eq!(jpeg(stream(), &Tags::default()).unwrap(), stream());
        assert_eq!(webp(vec![1, 2], &Tags::default()).unwrap(), [1, 2]);
    }

    #[test]
    fn the_density_is_whole_pixels_per_inch_in_one_jfif_header_at_the_start() {
        let tags = |x, y| Tags {
            density: density(x, y),
            ..Tags::default()
        };
        let tagged = jpeg(stream(), &tags(11811.0, 2834.6)).unwrap();
        let headers: Vec<_> = segments(&tagged)
            .into_iter()
            .filter(MarkerSegment::is_jfif)
            .collect();
        assert_eq!(headers.len(), 1);
        assert_eq!(
            headers[0].payload,
            [b"JFIF\0\x01\x02\x01", &[1, 44, 0, 72, 0, 0][..]].concat()
        );
        assert_eq!(segments(&tagged)[0].payload, headers[0].payload);
        assert_eq!(decode(&tagged, SIZE).unwrap(), decode(&stream(), SIZE).unwrap());
        let extreme = jpeg(stream(), &tags(1e300, 0.001)).unwrap();
        assert_eq!(segments(&extreme)[0].payload[8..12], [255, 255, 0, 1]);
    }

    #[test]
    fn rgb_gets_no_jfif_header() {
        let rgb = merge(None, &stream(), StreamColour::Rgb).unwrap();
        let tags = Tags {
            density: density(3000.0, 3000.0),
            ..Tags::default()
        };
        assert_eq!(jpeg(rgb.clone(), &tags).unwrap(), rgb);
        let tags = Tags {
            icc: Some(b"icc"),
            ..tags
        };
        let tagged = jpeg(rgb.clone(), &tags).unwrap();
        assert_eq!(decode(&tagged, SIZE).unwrap(), decode(&rgb, SIZE).unwrap());
        assert_eq!(profile(&tagged), b"icc");
    }

    #[test]
    fn a_profile_is_split_and_replaces_the_old_one() {
        let long: Vec<u8> = (0..PART * 2 + 7).map(|i| (i / 9) as u8).collect();
        let tag = |stream, icc: &[u8]| {
            jpeg(
                stream,
                &Tags {
                    icc: Some(icc),
                    ..Tags::default()
                },
            )
            .unwrap()
        };
        let tagged = tag(stream(), &long);
        assert_eq!(profile(&tagged), long);
        assert!(segments(&tagged)[0].is_jfif(), "the JFIF header stays first");
        assert_eq!(decode(&tagged, SIZE).unwrap(), decode(&stream(), SIZE).unwrap());
        assert_eq!(tag(tagged, b"short"), tag(stream(), b"short"));
        let exact = tag(stream(), &long[..PART]);
        assert_eq!(segments(&exact).iter().filter(|s| s.marker == APP2).count(), 1);
    }

    #[test]
    fn other_segments_stay_and_an_unchecked_profile_is_removed() {
        let icc = Tags {
            icc: Some(b"old"),
            ..Tags::default()
        };
        let note = [0xff, 0xe1, 0, 4, 1, 2];
        let mut noted = jpeg(stream(), &icc).unwrap();
        noted.splice(2..2, note);
        let tags = Tags {
            density: density(1000.0, 1000.0),
            ..Tags::default()
        };
        let tagged = jpeg(noted, &tags).unwrap();
        assert_eq!(profile(&tagged), b"");
        assert!(tagged.windows(6).any(|w| w == note));
        let stripped = jpeg(jpeg(stream(), &icc).unwrap(), &Tags::default()).unwrap();
        assert_eq!(stripped, stream());
    }

    #[test]
    fn exif_and_xmp_occur_once_before_the_profile_and_long_xmp_is_omitted() {
        let tags = Tags {
            icc: Some(b"icc"),
            xmp: Some(b"<x tiff:Orientation='3'/>"),
            rights: Some("ours"),
            ..Tags::default()
        };
        let tagged = jpeg(stream(), &tags).unwrap();
        let exif = [EXIF, &ifd::exif(&tags).unwrap()].concat();
        let notes: Vec<_> = segments(&tagged)
            .iter()
            .filter(|s| s.marker == APP1)
            .map(|s| s.payload.to_vec())
            .collect();
        assert_eq!(notes, [exif, [XMP, b"<x tiff:Orientation='1'/>"].concat()]);
        assert!(segments(&tagged)[0].is_jfif());
        assert_eq!(profile(&tagged), b"icc");
        assert_eq!(jpeg(tagged.clone(), &tags).unwrap(), tagged);
        assert_eq!(decode(&tagged, SIZE).unwrap(), decode(&stream(), SIZE).unwrap());
        let long = vec![b' '; 65_535];
        let tags = Tags {
            xmp: Some(&long),
            ..Tags::default()
        };
        assert_eq!(
            segments(&jpeg(stream(), &tags).unwrap()).len(),
            segments(&stream()).len()
        );
    }

    #[test]
    fn exif_and_xmp_are_the_last_chunks_of_webp() {
        let lossy: &[u8] = &[0, 0, 0, 0x9d, 0x01, 0x2a, 44, 1, 200, 0x40, 9];
        let tags = Tags {
            xmp: Some(b"<x/>"),
            rights: Some("ours"),
            ..Tags::default()
        };
        let exif = ifd::exif(&tags).unwrap();
        let head: &[u8] = &[0x0c, 0, 0, 0, 43, 1, 0, 199, 0, 0];
        let wanted = riff(&[
            (b"VP8X", head),
            (b"VP8 ", lossy),
            (b"EXIF", &exif),
            (b"XMP ", b"<x/>"),
        ]);
        let tagged = webp(riff(&[(b"VP8 ", lossy)]), &tags).unwrap();
        assert_eq!(tagged, wanted);
        assert_eq!(webp(tagged, &tags).unwrap(), wanted);
    }

    fn riff(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut out = b"RIFF\0\0\0\0WEBP".to_vec();
        for (name, payload) in chunks {
            push_chunk(&mut out, name, payload).unwrap();
        }
        let len = out.len() as u32 - 8;
        out[4..8].copy_from_slice(&len.to_le_bytes());
        out
    }

    #[test]
    fn a_simple_webp_becomes_an_extended_one() {
        let tags = Tags {
            icc: Some(b"odd"),
            ..Tags::default()
        };
        // 300 x 200, lossy; 300 x 200 with alpha, lossless.
        let lossy: &[u8] = &[0, 0, 0, 0x9d, 0x01, 0x2a, 44, 1, 200, 0x40, 9];
        let lossless: &[u8] = &[0x2f, 0x2b, 0xc1, 0x31, 0x10, 9];
        for (name, pixels, flags) in [(b"VP8 ", lossy, 0x20), (b"VP8L", lossless, 0x30)] {
            let head: &[u8] = &[flags, 0, 0, 0, 43, 1, 0, 199, 0, 0];
            let wanted = riff(&[(b"VP8X", head), (b"ICCP", b"odd"), (name, pixels)]);
            let tagged = webp(riff(&[(name, pixels)]), &tags).unwrap();
            assert_eq!(tagged, wanted);
            assert_eq!(webp(tagged, &tags).unwrap(), wanted);
        }
        let head: &[u8] = &[0x1c, 0, 0, 0, 43, 1, 0, 199, 0, 0];
        let rich = riff(&[
            (b"VP8X", head),
            (b"ALPH", b"a"),
            (b"VP8 ", lossy),
            (b"EXIF", b"e"),
        ]);
        let tagged = webp(rich, &tags).unwrap();
        assert_eq!(tagged[20], 0x3c);
        assert!(tagged.windows(4).any(|w| w == b"EXIF"));
    }

    #[test]
    fn broken_files_are_corrupt() {
        let tags = Tags {
            icc: Some(b"icc"),
            density: density(1.0, 1.0),
            xmp: Some(b"<x/>"),
            rights: Some("ours"),
            ..Tags::default()
        };
        for bad in [
            &b""[..],
            b"RIFF",
            b"RIFF\xff\0\0\0WEBP",
            &riff(&[]),
            &riff(&[(b"VP8 ", b"123")]),
        ] {
            assert!(
                matches!(webp(bad.to_vec(), &tags), Err(Error::Corrupt(_))),
                "{bad:?}"
            );
        }
        for kept in 0..100 {
            assert!(
                matches!(jpeg(stream()[..kept].to_vec(), &tags), Err(Error::Corrupt(_))),
                "{kept}"
            );
        }
    }

    proptest! {
        #[test]
        fn damaged_files_never_panic(at: prop::sample::Index, value: u8, cut: prop::sample::Index) {
            let tags = Tags { icc: Some(b"icc"), density: density(1.0, 1.0), xmp: Some(b"<x/>"), rights: Some("ours"), ..Tags::default() };
            let lossy: &[u8] = &[0, 0, 0, 0x9d, 0x01, 0x2a, 44, 1, 200, 0x40, 9];
            for whole in [stream(), riff(&[(b"VP8 ", lossy), (b"EXIF", b"e")])] {
                let mut damaged = whole.clone();
                let at = at.index(damaged.len());
                damaged[at] = value;
                damaged.truncate(damaged.len().min(cut.index(damaged.len() * 2)));
                let _ = jpeg(damaged.clone(), &tags);
                let _ = webp(damaged, &tags);
            }
        }
    }
}
