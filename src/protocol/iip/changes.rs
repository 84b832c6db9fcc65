//! The commands that change the request: names and meanings of the values.
//!
//! Values are parsed as in iipsrv: the leading number counts, unknown words are ignored. Values for which iipsrv shows
//! nonsense are errors: negative sizes, a gamma of 0, a contrast that is no number, a matrix without numbers.

use crate::encode::TiffCompression;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Num;
use crate::plan::Curve;
use crate::plan::Matrix;
use crate::plan::Tone;
use crate::plan::quarters;
use crate::process::Affine;
use crate::process::colourmap::ColourMap;
use crate::process::convolve::Kernel;
use crate::protocol::decode;
use crate::protocol::iip::Object;
use crate::protocol::iip::commands::Commands;
use crate::protocol::iip::commands::lookup;
use crate::protocol::iip::commands::split;
use crate::protocol::numbers;
use crate::protocol::short;
use crate::protocol::whole;
use crate::source::sequence::FIRST;

impl Commands {
    /// Parses a command after a path. Clients also append time stamps and keys there.
    pub(in crate::protocol::iip) fn follow(&mut self, part: &[u8]) -> Result<()> {
        let (name, encoded) = split(part);
        match lookup(CHANGES, &name) {
            Some((_, change)) if !encoded.is_empty() => change(self, &decode(encoded, true)?),
            _ => Ok(()),
        }
    }

    pub(in crate::protocol::iip) fn change(&mut self, name: &str, value: &str) -> Result<()> {
        match lookup(CHANGES, name) {
            // `NAME=` without a value is ignored
            Some(_) if value.is_empty() => Ok(()),
            Some((_, change)) => change(self, value),
            None => {
                self.unknown = Some(name.into());
                Ok(())
            }
        }
    }
}

/// The effect of a command's value on the request.
pub(in crate::protocol::iip) type Change = fn(&mut Commands, &str) -> Result<()>;

pub(in crate::protocol::iip) static CHANGES: &[(&str, Change)] = &[
    ("FIF", |commands, value| {
        commands.image = Some(value.into());
        Ok(())
    }),
    ("OBJ", |commands, value| {
        match Object::parse(value) {
            Some(Object::MaxSize) if quarters(commands.adjust.degrees).is_some_and(|n| n % 2 == 1) => {
                commands.objects.push(Object::TurnedSize);
            }
            Some(object) => commands.objects.push(object),
            None => commands.unknown_object = Some(value.to_ascii_lowercase()),
        }
        Ok(())
    }),
    ("WID", |commands, value| {
        commands.width = side("WID", value)?;
        Ok(())
    }),
    ("HEI", |commands, value| {
        commands.height = side("HEI", value)?;
        Ok(())
    }),
    ("RGN", |commands, value| {
        // anything other than four numbers, and an empty region, is the whole image
        let numbers: Vec<Num> = numbers::list(value).map(decimal).collect();
        commands.region = match numbers.as_slice() {
            &[x, y, w, h, ..] if w.value() > 0.0 && h.value() > 0.0 => Some([x, y, w, h]),
            _ => None,
        };
        Ok(())
    }),
    ("QLT", |commands, value| {
        (commands.compression, commands.quality) = quality(value);
        Ok(())
    }),
    // the view of a sequence, or the page of a file; a single image has one view, which every value selects
    ("SDS", |commands, value| {
        let mut angles = numbers::list(value).map(|angle| {
            numbers::count(angle).ok_or_else(|| Error::Malformed("the image has no such view".into()))
        });
        let [horizontal, vertical] = FIRST;
        commands.view = Some([
            angles.next().transpose()?.unwrap_or(horizontal),
            angles.next().transpose()?.unwrap_or(vertical),
        ]);
        Ok(())
    }),
    ("ROT", |commands, value| {
        let (mirror, degrees) = match value.strip_prefix('!') {
            Some(degrees) => (true, degrees),
            None => (false, value),
        };
        // other angles are ignored
        let degrees = numbers::int(degrees).unwrap_or(0).rem_euclid(360);
        let right = i16::try_from(degrees).ok().filter(|degrees| degrees % 90 == 0);
        commands.adjust.degrees = Num::new(right.unwrap_or(0).into()).unwrap_or_default();
        commands.adjust.mirror = mirror;
        Ok(())
    }),
    // IIP 1.0.5 §2.2.1.1: anticlockwise rotation, then mirroring about a horizontal (0) or vertical (90) axis
    ("RFM", |commands, value| {
        let (angle, axis) = match value.split_once(',') {
            Some((angle, axis)) => (angle, Some(axis)),
            None => (value, None),
        };
        let angle = right_angle(angle, "RFM")?.value();
        // mirroring first inverts the rotation; a horizontal axis is a vertical one with a rotation by 180 degrees
        let (mirror, degrees) = match axis {
            None => (false, 360.0 - angle),
            Some("90") => (true, angle),
            Some("0") => (true, angle + 180.0),
            Some(other) => return Err(wrong("an axis of RFM", "0 or 90", other)),
        };
        commands.adjust.mirror = mirror;
        commands.adjust.degrees = Num::new(degrees % 360.0).unwrap_or_default();
        Ok(())
    }),
    ("COL", |commands, value| {
        commands.adjust.tone = match value.to_ascii_lowercase().as_str() {
            "grey" | "gray" => Tone::Grey,
            "binary" => Tone::Bitonal,
            _ => commands.adjust.tone,
        };
        Ok(())
    }),
    ("CNT", |commands, value| {
        match value.to_ascii_lowercase().as_str() {
            // -1 stretches in iipsrv 1.1, and clients use it
            "stretch" | "st" | "-1" => commands.adjust.samples.stretch = true,
            "equalization" | "equalisation" | "eq" => commands.adjust.equalise = true,
            _ => {
                let factor = numbers::decimal(value).filter(|factor| factor.value() >= 0.0);
                let wrong = || wrong("CNT", "a number from 0, stretch or equalization", value);
                commands.adjust.samples.contrast = Some(factor.ok_or_else(wrong)?);
            }
        }
        Ok(())
    }),
    ("GAM", |commands, value| {
        commands.adjust.samples.curve = Some(match value.to_ascii_lowercase().as_str() {
            "log" | "logarithm" => Curve::Logarithm,
            _ => {
                let exponent = numbers::decimal(value).filter(|exponent| exponent.value() > 0.0);
                Curve::Power(exponent.ok_or_else(|| wrong("GAM", "a number above 0 or log", value))?)
            }
        });
        Ok(())
    }),
    ("MINMAX", |commands, value| {
        if let Some((channel, range)) = value.split_once(':')
            && let Some((low, high)) = range.split_once(',')
        {
            let channel = match channel.trim() {
                "-" => None,
                number => Some(numbers::count(number).unwrap_or(u32::MAX)),
            };
            commands.ranges.push((channel, decimal(low), decimal(high)));
        }
        Ok(())
    }),
    ("CTW", |commands, value| {
        commands.adjust.samples.matrix = matrix(value)?;
        Ok(())
    }),
    ("SHD", |commands, value| {
        let light = value.split_once(',').filter(|(_, angle)| !angle.is_empty());
        commands.adjust.samples.light = light.map(|(azimuth, angle)| [decimal(azimuth), decimal(angle)]);
        Ok(())
    }),
    ("CMP", |commands, value| {
        commands.adjust.samples.map = ColourMap::named(value);
        Ok(())
    }),
    ("INV", |commands, _| {
        commands.adjust.samples.invert = true;
        Ok(())
    }),
    ("CNV", |commands, value| {
        commands.adjust.samples.kernel = kernel(value);
        Ok(())
    }),
    // IIP 1.0.5 §2.2.1.1, FlashPix 1.0.1 §7.2: from -20 (blur) to 20 (sharpen)
    ("FTR", |commands, value| {
        let filter = Num::parse(value).filter(|filter| filter.value().abs() <= 20.0);
        commands.adjust.samples.filter =
            filter.ok_or_else(|| wrong("FTR", "a number from -20 to 20", value))?;
        Ok(())
    }),
    // IIP 1.0.5 §2.2.1.1: in units of the image's height, unlike RGN, which is in fractions of each side as in iipsrv
    ("ROI", |commands, value| {
        let shown: [Num; 4] = decimals(value, "ROI")?;
        if shown.iter().any(|n| n.value() < 0.0) {
            return Err(wrong("ROI", "numbers from 0", value));
        }
        commands.adjust.placing.shown = Some(shown);
        Ok(())
    }),
    ("AFN", |commands, value| {
        commands.adjust.placing.map = affine(value)?;
        Ok(())
    }),
    ("RAR", |commands, value| {
        let shape = Num::parse(value).filter(|shape| (0.001..=1000.0).contains(&shape.value()));
        commands.adjust.placing.shape =
            Some(shape.ok_or_else(|| wrong("RAR", "a number from 0.001 to 1000", value))?);
        Ok(())
    }),
    // IIP 1.0.5: the JPEG tables of the file to encode with. Answers always have their own tables.
    ("CIN", |_, value| match whole(value, "CIN")? {
        1..=255 => Ok(()),
        _ => Err(wrong("CIN", "a number from 1 to 255", value)),
    }),
    ("LYR", |commands, value| {
        let layers = numbers::count(value).filter(|&layers| layers > 0);
        commands.adjust.layers = layers.map(|layers| u16::try_from(layers).unwrap_or(u16::MAX));
        Ok(())
    }),
    ("ICC", |_, _| Ok(())),
];

fn wrong(command: &str, takes: &str, got: &str) -> Error {
    Error::Malformed(format!("{command} takes {takes}, got \"{}\"", short(got)))
}

fn right_angle(text: &str, command: &str) -> Result<Num> {
    let right = Num::parse(text).filter(|degrees| quarters(*degrees).is_some());
    right.ok_or_else(|| wrong(command, "0, 90, 180 or 270", text))
}

/// A side in pixels; 0, or a text without a number, leaves it unset. Negative numbers are errors.
fn side(command: &str, text: &str) -> Result<Option<u32>> {
    let side = numbers::count(text).ok_or_else(|| wrong(command, "a number from 0", text))?;
    Ok((side > 0).then_some(side))
}

/// A decimal number as in iipsrv: 0 if there is none.
fn decimal(text: &str) -> Num {
    numbers::decimal(text).unwrap_or_default()
}

/// Exactly N decimal numbers, separated by commas.
fn decimals<const N: usize>(text: &str, command: &str) -> Result<[Num; N]> {
    let numbers = row(text, command)?;
    let count = numbers.len();
    numbers.try_into().map_err(|_| {
        Error::Malformed(format!(
            "{command} takes {} numbers, got {count}",
            if N == 2 { "two" } else { "four" }
        ))
    })
}

/// Decimal numbers separated by commas.
fn row(text: &str, command: &str) -> Result<Vec<Num>> {
    let numbers = text.split(',').map(|number| Num::parse(number.trim()));
    numbers
        .collect::<Option<_>>()
        .ok_or_else(|| wrong(command, "numbers", text))
}

/// The text between optional brackets.
fn inside(text: &str) -> &str {
    let text = text.trim();
    text.strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text)
}

/// `[a,b;c,d]`, with or without brackets; sixteen numbers in one row without brackets are the matrix of IIP 1.0.5. `None` if
/// the brackets are empty; an error if there is no number.
fn matrix(text: &str) -> Result<Option<Matrix>> {
    const MOST: usize = 255;
    if !text.contains(['[', ';'])
        && let Ok(twist) = row(text, "CTW").and_then(|numbers| {
            <[Num; 16]>::try_from(numbers).map_err(|_| wrong("CTW", "sixteen numbers", text))
        })
    {
        return Ok(Some(Matrix::Twist(twist)));
    }
    let text = text.trim().trim_start_matches('[').trim_end_matches(']');
    let row = |row: &str| -> Vec<Num> { row.trim_end_matches(',').split(',').map(decimal).collect() };
    let rows: Vec<&str> = text.split(';').filter(|row| !row.trim().is_empty()).collect();
    if rows.is_empty() {
        return Ok(None);
    }
    if !text.contains(|c: char| c.is_ascii_digit()) {
        return Err(wrong("CTW", "numbers", text));
    }
    let rows: Vec<Vec<Num>> = rows.into_iter().map(row).collect();
    if rows.len() > MOST || rows.iter().any(|row| row.len() > MOST) {
        return Err(Error::Malformed(format!(
            "CTW takes at most {MOST} rows and columns"
        )));
    }
    Ok(Some(Matrix::Channels(rows)))
}

/// The two-dimensional part of the 4×4 matrix of IIP 1.0.5 in row-major order; `None` for the identity.
fn affine(text: &str) -> Result<Option<Affine>> {
    let [a, b, _, c, d, e, _, f, ..] = <[Num; 16]>::try_from(row(text, "AFN")?)
        .map_err(|numbers| Error::Malformed(format!("AFN takes sixteen numbers, got {}", numbers.len())))?;
    let map = [a, b, c, d, e, f];
    let idle = map.map(Num::value) == [1.0, 0.0, 0.0, 0.0, 1.0, 0.0];
    Ok((!idle).then_some(Affine(map)))
}

/// A name, or 9 or 25 numbers; `None` for anything else.
fn kernel(text: &str) -> Option<Kernel> {
    let text = inside(text);
    if let Some(kernel) = Kernel::named(text) {
        return Some(kernel);
    }
    let numbers = row(text, "CNV").ok()?;
    matches!(numbers.len(), 9 | 25).then_some(Kernel::Weights(numbers))
}

/// `q`, `comp:q` or `comp`; the quality is clamped to the format's scale later. Anything else is ignored.
fn quality(text: &str) -> (Option<TiffCompression>, Option<i16>) {
    let (name, number) = match text.split_once(':') {
        Some((name, number)) => (name, number),
        None => (text, text),
    };
    let number = numbers::int(number).map(|value| i16::try_from(value.clamp(-1, 1000)).unwrap_or(0));
    (TiffCompression::named(name), number)
}
