//! The four parameters of an image request: region, size, rotation, quality and format (§4 of every version).

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Num;
use crate::geometry::Size;
use crate::plan::Adjust;
use crate::plan::Curve;
use crate::plan::Enlarge;
use crate::plan::Excess;
use crate::plan::Region;
use crate::plan::Scale;
use crate::plan::Tone;
use crate::plan::View;
use crate::protocol::iiif::wrong;
use crate::protocol::numbers;
use crate::protocol::short;
use crate::protocol::whole;
use crate::raster::Format;

/// Rules for parsing the parameters.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// 1, 2 or 3.
    pub version: u8,
    /// Whether to accept only the exact syntax of that version, as in `IIIF1`, `IIIF2` and `IIIF3` of `URI_MAP`. Otherwise
    /// the keywords of all versions are accepted in any case, and numbers as in iipsrv (`protocol::numbers`).
    pub strict: bool,
    /// Whether the qualities of IIIF_EXTENSIONS are accepted.
    pub more: bool,
}

/// Parses the parameters.
pub fn view(rules: Rules, (region, size): (&str, &str), rotation: &str, file: &str) -> Result<View> {
    let (scale, enlarge) = scale(rules, size)?;
    let (mirror, degrees) = turn(rules, rotation)?;
    let (quality, suffix) = match file.rsplit_once('.') {
        Some(parts) => parts,
        None if !rules.strict => (file, "jpg"),
        None => return Err(wrong("QUALITY.FORMAT such as default.jpg", file)),
    };
    Ok(View {
        region: self::region(rules, region)?,
        scale,
        enlarge,
        excess: if rules.strict {
            Excess::Refused
        } else {
            Excess::Limited
        },
        adjust: Adjust {
            layers: None,
            mirror,
            degrees,
            ..self::quality(rules, quality)?
        },
        format: format(rules, suffix)?,
        quality: None,
        compression: None,
    })
}

/// Whether a segment could be a region, valid or not.
pub fn looks_like_region(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    matches!(text.as_str(), "full" | "square") || text.starts_with("pct:") || text.matches(',').count() >= 3
}

/// Whether a segment could be a quality and format.
pub fn looks_like_quality(text: &str) -> bool {
    let rules = Rules {
        version: 3,
        strict: false,
        more: true,
    };
    text.split_once('.')
        .is_some_and(|(quality, _)| self::quality(rules, quality).is_ok())
}

/// A word for comparison: in lower case unless the rules are strict.
fn word(rules: Rules, text: &str) -> String {
    if rules.strict {
        text.into()
    } else {
        text.to_ascii_lowercase()
    }
}

fn region(rules: Rules, text: &str) -> Result<Region> {
    let bad = || wrong("region: full, square, X,Y,W,H or pct:X,Y,W,H", text);
    let empty = || Error::Malformed(format!("region \"{}\" is empty", short(text)));
    let word = word(rules, text);
    let (numbers, percent) = match word.as_str() {
        "full" => return Ok(Region::Full),
        "square" => return Ok(Region::Square),
        word => match word.strip_prefix("pct:") {
            Some(numbers) => (numbers, true),
            None => (word, false),
        },
    };
    let numbers: Vec<Num> = if rules.strict {
        let numbers = numbers.split(',').map(|text| match percent {
            true => number(text),
            false => whole(text, "a region").ok().and_then(|n| Num::new(f64::from(n))),
        });
        numbers.collect::<Option<_>>().ok_or_else(bad)?
    } else {
        let numbers = numbers::list(numbers).map(|text| numbers::decimal(text).unwrap_or_default());
        numbers.collect()
    };
    let [x, y, w, h] = <[Num; 4]>::try_from(numbers).map_err(|_| bad())?;
    if w.value() <= 0.0 || h.value() <= 0.0 {
        return Err(empty());
    }
    if percent {
        let share = |n: Num| Num::new(n.value() / 100.0).unwrap_or_default();
        return Ok(Region::Share([x, y, w, h].map(share)));
    }
    Ok(Region::Pixels(
        pixel(x),
        pixel(y),
        Size::new(length(w), length(h)),
    ))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "casts of floating point stop at the ends of the range"
)]
fn pixel(at: Num) -> i32 {
    at.value().round() as i32
}

/// At least 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts of floating point stop at the ends of the range"
)]
fn length(length: Num) -> u32 {
    (length.value().round() as u32).max(1)
}

/// A decimal number without sign, exponent or spaces.
fn number(text: &str) -> Option<Num> {
    text.bytes()
        .all(|b| b.is_ascii_digit() || b == b'.')
        .then(|| Num::parse(text))
        .flatten()
}

/// The size and whether it may be larger than the region: with `^` in version 3, always in version 2.
fn scale(rules: Rules, text: &str) -> Result<(Scale, Enlarge)> {
    let Rules { version, strict, .. } = rules;
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
    let word = word(rules, text);
    let (size, enlarge) = match word.strip_prefix('^') {
        Some(size) if version >= 3 || !strict => (size, Enlarge::Asked),
        Some(_) => return Err(bad()),
        None if version < 3 => (&*word, Enlarge::Allowed),
        None => (&*word, Enlarge::Refused),
    };
    let side = |text: &str| {
        let side = if strict {
            whole(text, "a size").ok()
        } else {
            let side = numbers::int(text).filter(|&side| side <= i64::from(i32::MAX));
            side.and_then(|side| u32::try_from(side).ok())
        };
        side.filter(|&side| side > 0).ok_or_else(bad)
    };
    let full = version < 3 || !strict;
    let scale = if size == "max" || (size == "full" && full) {
        Scale::Max
    } else if let Some(percent) = size.strip_prefix("pct:") {
        let percent = if strict {
            number(percent)
        } else {
            numbers::decimal(percent)
        };
        let share = percent.and_then(|n| Num::new(n.value() / 100.0));
        Scale::Share(share.filter(|n| n.value() > 0.0).ok_or_else(bad)?)
    } else {
        let (within, sides) = match size.strip_prefix('!') {
            Some(sides) => (true, sides),
            None => (false, size),
        };
        match sides.split_once(',').ok_or_else(bad)? {
            ("", _) | (_, "") if within && strict => return Err(bad()),
            ("", h) => Scale::Height(side(h)?),
            (w, "") => Scale::Width(side(w)?),
            (w, h) if within => Scale::Within(Size::new(side(w)?, side(h)?)),
            (w, h) => Scale::Exact(Size::new(side(w)?, side(h)?)),
        }
    };
    Ok((scale, enlarge))
}

/// Mirroring, and clockwise rotation in degrees, below 360.
fn turn(rules: Rules, text: &str) -> Result<(bool, Num)> {
    let (angle, mirror) = match text.strip_prefix('!') {
        Some(angle) => (angle, true),
        None => (text, false),
    };
    let degrees = if rules.strict {
        number(angle)
    } else {
        numbers::decimal(angle)
    };
    degrees
        .filter(|degrees| (0.0..=360.0).contains(&degrees.value()))
        .and_then(|degrees| Num::new(degrees.value() % 360.0))
        .map(|degrees| (mirror, degrees))
        .ok_or_else(|| {
            wrong(
                "rotation: 0 to 360 degrees, with ! before it to mirror first",
                text,
            )
        })
}

/// The qualities of IIIF_EXTENSIONS, by their names in iipsrv.
pub const EXTENSIONS: [&str; 4] = ["negative", "stretch", "equalization", "log"];

/// Parses the quality.
fn quality(rules: Rules, text: &str) -> Result<Adjust> {
    let more = rules.more;
    // the words of version 1, and of neither
    let old = !rules.strict || rules.version < 2;
    let mut adjust = Adjust::default();
    match word(rules, text).as_str() {
        "default" | "color" => {}
        "native" | "colour" if old => {}
        "gray" => adjust.tone = Tone::Grey,
        "grey" if old => adjust.tone = Tone::Grey,
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

/// Parses the format; the standards know one suffix for each.
fn format(rules: Rules, text: &str) -> Result<Format> {
    let built: Vec<_> = Format::built().map(|format| format.suffix()).collect();
    match Format::named(text).filter(|format| !rules.strict || text == format.suffix()) {
        Some(format) if format.is_built() => Ok(format),
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

    const STRICT: Rules = Rules {
        version: 3,
        strict: true,
        more: false,
    };
    const PLAIN: Rules = Rules {
        strict: false,
        ..STRICT
    };

    #[test]
    fn strict_qualities_and_formats_are_those_of_the_version() {
        let parse = |rules, file| view(rules, ("full", "max"), "0", file).is_ok();
        for file in ["default.jpg", "color.png", "gray.tif", "bitonal.gif"] {
            assert!(parse(STRICT, file) && parse(PLAIN, file), "{file}");
        }
        for file in [
            "native.jpg",
            "grey.jpg",
            "colour.jpg",
            "default.jpeg",
            "default.JPG",
            "Default.jpg",
        ] {
            assert!(!parse(STRICT, file) && parse(PLAIN, file), "{file}");
        }
        let first = Rules { version: 1, ..STRICT };
        assert!(view(first, ("full", "full"), "0", "grey.jpg").is_ok());
    }

    #[test]
    fn strict_regions_follow_the_standard() {
        let region = |text| region(STRICT, text);
        assert_eq!(region("full").unwrap(), Region::Full);
        assert_eq!(region("1,2,3,4").unwrap(), Region::Pixels(1, 2, Size::new(3, 4)));
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
    fn plain_regions_are_parsed_as_in_iipsrv() {
        let region = |text| region(PLAIN, text);
        assert_eq!(region("Full").unwrap(), Region::Full);
        assert_eq!(region("SQUARE").unwrap(), Region::Square);
        let pixels = |x, y, w, h| Region::Pixels(x, y, Size::new(w, h));
        for (text, wanted) in [
            ("-50,-10,200,150", pixels(-50, -10, 200, 150)),
            ("10.5,10.2,100.9,100.1", pixels(11, 10, 101, 100)),
            (" 10,+10,100px,100,", pixels(10, 10, 100, 100)),
            ("a,1,0.2,9999999999", pixels(0, 1, 1, u32::MAX)),
        ] {
            assert_eq!(region(text).unwrap(), wanted, "{text}");
        }
        assert!(matches!(region("PCT:-5, 5%,50,50").unwrap(), Region::Share(_)));
        for text in [
            "",
            "fullx",
            " full",
            "1,2,3",
            "1,2,3,4,5",
            "1,2,0,4",
            "1,2,3,a",
            "1;2;3;4",
        ] {
            assert!(region(text).is_err(), "{text}");
        }
    }

    #[test]
    fn strict_sizes_differ_between_the_versions() {
        let scale = |version, text| scale(Rules { version, ..STRICT }, text);
        assert_eq!(scale(3, "max").unwrap(), (Scale::Max, Enlarge::Refused));
        assert_eq!(scale(3, "^200,").unwrap(), (Scale::Width(200), Enlarge::Asked));
        assert_eq!(scale(2, "200,").unwrap(), (Scale::Width(200), Enlarge::Allowed));
        assert_eq!(scale(2, "full").unwrap(), (Scale::Max, Enlarge::Allowed));
        assert!(scale(3, "full").is_err());
        assert!(scale(2, "^200,").is_err());
        for text in [
            "", ",", "0,", "!10,", "!,10", "pct:", "pct:0", "pct:-5", "1,2,3", "abc", "-5,", "10,x", "+5,",
        ] {
            assert!(scale(3, text).is_err(), "{text}");
        }
    }

    #[test]
    fn plain_sizes_of_both_versions_are_parsed_as_in_iipsrv() {
        let scale = |version, text| {
            let found = scale(Rules { version, ..PLAIN }, text);
            found.unwrap_or_else(|error| panic!("{text}: {error}"))
        };
        for (text, wanted) in [
            ("full", Scale::Max),
            ("MAX", Scale::Max),
            ("150.5,", Scale::Width(150)),
            (" 300,", Scale::Width(300)),
            (",80.5", Scale::Height(80)),
            ("100,100,", Scale::Exact(Size::new(100, 100))),
            ("100px,50", Scale::Exact(Size::new(100, 50))),
            ("!100,", Scale::Width(100)),
            ("!,100", Scale::Height(100)),
            ("! 9,9", Scale::Within(Size::new(9, 9))),
            ("Pct:50%", Scale::Share(Num::parse("0.5").unwrap())),
        ] {
            assert_eq!(scale(3, text), (wanted, Enlarge::Refused));
            assert_eq!(scale(2, text), (wanted, Enlarge::Allowed));
        }
        assert_eq!(scale(2, "^max"), (Scale::Max, Enlarge::Asked));
        for text in [
            "",
            ",",
            "0,",
            "100",
            "100, ",
            "100,abc",
            "max,",
            " max",
            "-5,",
            "99999999999,",
            "pct:-5",
            "pct:x",
        ] {
            assert!(self::scale(PLAIN, text).is_err(), "{text}");
        }
    }

    #[test]
    fn rotations_are_degrees_with_an_optional_mirror() {
        let degrees = |rules, text| {
            turn(rules, text)
                .map(|(mirror, degrees)| (mirror, degrees.value()))
                .unwrap()
        };
        for rules in [STRICT, PLAIN] {
            assert_eq!(degrees(rules, "!90"), (true, 90.0));
            assert_eq!(degrees(rules, "360"), (false, 0.0));
            assert_eq!(degrees(rules, "0.0"), (false, 0.0));
            assert_eq!(degrees(rules, "22.50"), (false, 22.5));
            for text in ["", "-90", "361", "x", "360.1", "!!9"] {
                assert!(matches!(turn(rules, text), Err(Error::Malformed(_))), "{text}");
            }
        }
        for text in ["90!", "1e1", " 90"] {
            assert!(turn(STRICT, text).is_err(), "{text}");
        }
        assert_eq!(degrees(PLAIN, "! 90x"), (true, 90.0));
    }

    #[test]
    fn a_plain_quality_ignores_case_and_needs_no_format() {
        let read = |rules, file| view(rules, ("full", "max"), "0", file);
        assert_eq!(
            read(PLAIN, "GRAY").unwrap(),
            read(STRICT, "gray.jpg")
                .map(|view| View {
                    excess: Excess::Limited,
                    ..view
                })
                .unwrap()
        );
        for file in ["gray", "Gray.jpg"] {
            assert!(read(STRICT, file).is_err(), "{file}");
        }
        for file in ["default.", " default.jpg", "default.jpgx", "jpg", ""] {
            assert!(read(PLAIN, file).is_err(), "{file}");
        }
    }
}
