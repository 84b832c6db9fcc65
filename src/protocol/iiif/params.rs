//! The four parameters of an image request: region, size, rotation, quality and format (§4 of every version).

use crate::encode::BUILT;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Num;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::plan::Adjust;
use crate::plan::Curve;
use crate::plan::Region;
use crate::plan::Scale;
use crate::plan::Tone;
use crate::plan::View;
use crate::protocol::iiif::wrong;
use crate::protocol::whole;
use crate::raster::Format;

/// Reads the parameters by the rules of `version`. `more` lets the qualities of IIIF_EXTENSIONS in.
pub fn view(
    version: u8,
    more: bool,
    (region, size): (&str, &str),
    rotation: &str,
    file: &str,
) -> Result<View> {
    let (scale, enlarge) = scale(version, size)?;
    let (mirror, degrees) = turn(rotation)?;
    let (quality, suffix) = file
        .rsplit_once('.')
        .ok_or_else(|| wrong("QUALITY.FORMAT such as default.jpg", file))?;
    Ok(View {
        region: self::region(region)?,
        scale,
        enlarge,
        strict: true,
        adjust: Adjust {
            layers: None,
            mirror,
            degrees,
            ..self::quality(quality, more)?
        },
        format: format(suffix)?,
        quality: None,
        compression: None,
    })
}

/// Whether a segment could be a region, right or wrong.
pub fn looks_like_region(text: &str) -> bool {
    matches!(text, "full" | "square") || text.starts_with("pct:") || text.matches(',').count() == 3
}

/// Whether a segment could be a quality and format.
pub fn looks_like_quality(text: &str) -> bool {
    text.split_once('.')
        .is_some_and(|(quality, _)| self::quality(quality, true).is_ok())
}

fn region(text: &str) -> Result<Region> {
    match text {
        "full" => return Ok(Region::Full),
        "square" => return Ok(Region::Square),
        _ => {}
    }
    let bad = || wrong("region: full, square, X,Y,W,H or pct:X,Y,W,H", text);
    if let Some(percent) = text.strip_prefix("pct:") {
        let numbers: Option<Vec<Num>> = percent
            .split(',')
            .map(|n| Num::new(number(n)?.value() / 100.0))
            .collect();
        let share: [Num; 4] = numbers.and_then(|n| n.try_into().ok()).ok_or_else(bad)?;
        if share.iter().any(|n| n.value() < 0.0) {
            return Err(bad());
        }
        return Ok(Region::Share(share));
    }
    let numbers: Vec<u32> = text
        .split(',')
        .map(|n| whole(n, "a region"))
        .collect::<Result<_>>()
        .map_err(|_| bad())?;
    match numbers.as_slice() {
        [_, _, 0, _] | [_, _, _, 0] => Err(Error::Malformed(format!("region \"{text}\" is empty"))),
        &[x, y, w, h] => Ok(Region::Pixels(Rect::new(x, y, w, h))),
        _ => Err(bad()),
    }
}

/// A decimal number without sign, exponent or blanks.
fn number(text: &str) -> Option<Num> {
    text.bytes()
        .all(|b| b.is_ascii_digit() || b == b'.')
        .then(|| Num::parse(text))
        .flatten()
}

/// The size and whether it may be larger than the region: with `^` in version 3, always in version 2.
fn scale(version: u8, text: &str) -> Result<(Scale, bool)> {
    let bad = || {
        wrong(
            if version >= 3 {
                "size: max, W, or ,H or W,H or !W,H or pct:N, with ^ before it to enlarge"
            } else {
                "size: full, W, or ,H or W,H or !W,H or pct:N"
            },
            text,
        )
    };
    let (size, enlarge) = match text.strip_prefix('^') {
        Some(size) if version >= 3 => (size, true),
        Some(_) => return Err(bad()),
        None => (text, version < 3),
    };
    let side = |n: &str| match whole(n, "a size") {
        Ok(0) | Err(_) => Err(bad()),
        Ok(n) => Ok(n),
    };
    let scale = if size == "max" || (size == "full" && version < 3) {
        Scale::Max
    } else if let Some(percent) = size.strip_prefix("pct:") {
        let share = number(percent).and_then(|n| Num::new(n.value() / 100.0));
        Scale::Share(share.filter(|n| n.value() > 0.0).ok_or_else(bad)?)
    } else if let Some(bounds) = size.strip_prefix('!') {
        let (w, h) = bounds.split_once(',').ok_or_else(bad)?;
        Scale::Within(Size::new(side(w)?, side(h)?))
    } else {
        match size.split_once(',').ok_or_else(bad)? {
            ("", h) => Scale::Height(side(h)?),
            (w, "") => Scale::Width(side(w)?),
            (w, h) => Scale::Exact(Size::new(side(w)?, side(h)?)),
        }
    };
    Ok((scale, enlarge))
}

/// Mirroring, and a clockwise turn in degrees, below 360.
fn turn(text: &str) -> Result<(bool, Num)> {
    let (angle, mirror) = match text.strip_prefix('!') {
        Some(angle) => (angle, true),
        None => (text, false),
    };
    number(angle)
        .filter(|degrees| degrees.value() <= 360.0)
        .and_then(|degrees| Num::new(degrees.value() % 360.0))
        .map(|degrees| (mirror, degrees))
        .ok_or_else(|| {
            wrong(
                "rotation: 0 to 360 degrees, with ! before it to mirror first",
                text,
            )
        })
}

/// The qualities of IIIF_EXTENSIONS, as iipsrv names them.
pub const EXTENSIONS: [&str; 4] = ["negative", "stretch", "equalization", "log"];

/// What is done to colours.
fn quality(text: &str, more: bool) -> Result<Adjust> {
    let mut adjust = Adjust::default();
    match text {
        "default" | "native" | "color" | "colour" => {}
        "gray" | "grey" => adjust.tone = Tone::Grey,
        "bitonal" => adjust.tone = Tone::Bitonal,
        "negative" if more => adjust.samples.invert = true,
        "stretch" if more => adjust.samples.stretch = true,
        "equalization" if more => adjust.equalise = true,
        "log" if more => adjust.samples.curve = Some(Curve::Logarithm),
        _ if more => {
            return Err(wrong(
                &format!(
                    "quality: default, color, gray, bitonal, {}",
                    EXTENSIONS.join(", ")
                ),
                text,
            ));
        }
        _ => return Err(wrong("quality: default, color, gray or bitonal", text)),
    }
    Ok(adjust)
}

fn format(text: &str) -> Result<Format> {
    let built: Vec<_> = BUILT.iter().map(|format| format.suffix()).collect();
    match Format::named(text) {
        Some(format) if BUILT.contains(&format) => Ok(format),
        Some(_) => Err(Error::Unsupported(format!(
            "{text} output is not built: {} are",
            built.join(", ")
        ))),
        None => Err(wrong(&format!("format: {}", built.join(", ")), text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regions_are_read_by_the_letter() {
        assert_eq!(region("full").unwrap(), Region::Full);
        assert_eq!(region("1,2,3,4").unwrap(), Region::Pixels(Rect::new(1, 2, 3, 4)));
        assert!(matches!(region("pct:10,20.5,30,40").unwrap(), Region::Share(_)));
        for text in [
            "",
            "FULL",
            "1,2,3",
            "1,2,3,4,5",
            "-1,2,3,4",
            "1,2,0,4",
            "1.5,2,3,4",
            "pct:1,2,3",
            "pct:-1,2,3,4",
            "pct:nan,1,1,1",
            "pct:1e2,0,1,1",
            " 1,2,3,4",
        ] {
            assert!(region(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_differ_between_the_versions() {
        assert_eq!(scale(3, "max").unwrap(), (Scale::Max, false));
        assert_eq!(scale(3, "^200,").unwrap(), (Scale::Width(200), true));
        assert_eq!(scale(2, "200,").unwrap(), (Scale::Width(200), true));
        assert_eq!(scale(2, "full").unwrap(), (Scale::Max, true));
        assert!(scale(3, "full").is_err());
        assert!(scale(2, "^200,").is_err());
        for text in [
            "", ",", "0,", "!10,", "!,10", "pct:", "pct:0", "pct:-5", "1,2,3", "abc", "-5,", "10,x", "+5,",
        ] {
            assert!(scale(3, text).is_err(), "{text}");
        }
    }

    #[test]
    fn rotations_are_degrees_with_an_optional_mirror() {
        let degrees = |text| {
            turn(text)
                .map(|(mirror, degrees)| (mirror, degrees.value()))
                .unwrap()
        };
        assert_eq!(degrees("!90"), (true, 90.0));
        assert_eq!(degrees("360"), (false, 0.0));
        assert_eq!(degrees("0.0"), (false, 0.0));
        assert_eq!(degrees("22.50"), (false, 22.5));
        for text in ["", "-90", "361", "x", "90!", "1e1", "360.1"] {
            assert!(matches!(turn(text), Err(Error::Malformed(_))), "{text}");
        }
    }
}
