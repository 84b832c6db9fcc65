//! What the first directory says about its picture: profile, density, texts, range of the samples.
//!
//! None of it is needed to read a tile: whatever is damaged, absurd or longer than the limit is left out.

use crate::geometry::Num;
use crate::raster::Density;
use crate::raster::Metadata;
use crate::source::tiff::ifd::Ifd;
use crate::source::tiff::input::Input;

/// Tags of ASCII values, and their names as IIP objects.
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

/// Profile, XMP packet, density and texts; each of at most `max_bytes`.
pub fn metadata(ifd: &Ifd, input: &Input, max_bytes: u64) -> Metadata {
    let whole = |tag| {
        ifd.bytes(input, tag, max_bytes)
            .map(|bytes| bytes.into_owned().into())
    };
    let text = |(tag, name)| {
        let text = text(&ifd.bytes(input, tag, max_bytes)?);
        (!text.is_empty()).then_some((name, text))
    };
    Metadata {
        icc: whole(34675),
        xmp: whole(700),
        density: density(ifd, input),
        texts: TEXTS.into_iter().filter_map(text).collect(),
    }
}

/// Up to the first NUL, without blanks at the ends; UTF-8, or else Latin-1.
fn text(bytes: &[u8]) -> String {
    let bytes = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    match std::str::from_utf8(bytes) {
        Ok(text) => text.trim().into(),
        Err(_) => bytes
            .iter()
            .map(|byte| char::from(*byte))
            .collect::<String>()
            .trim()
            .into(),
    }
}

/// Pixels per metre from XResolution, YResolution and ResolutionUnit (inch when it is not there); `None` without unit.
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

/// SMinSampleValue and SMaxSampleValue of each of `channels` channels, where they make sense; else 0 and 255.
pub fn range(ifd: &Ifd, input: &Input, channels: usize) -> Vec<(f64, f64)> {
    let of = |tag| ifd.floats(input, tag, channels as u64).unwrap_or_default();
    let (low, high) = (of(340), of(341));
    let at = |values: &[f64], channel: usize| values.get(channel).or(values.last()).copied();
    let channel = |channel| {
        let range = (
            at(&low, channel).unwrap_or(0.0),
            at(&high, channel).unwrap_or(255.0),
        );
        if range.0.is_finite() && range.1.is_finite() && range.0 < range.1 {
            range
        } else {
            (0.0, 255.0)
        }
    };
    (0..channels).map(channel).collect()
}
