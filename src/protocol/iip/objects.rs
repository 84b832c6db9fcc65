//! OBJ: metadata in lines, under the names of iipsrv 1.1 and of its successors.

use crate::protocol::ProtocolSettings;
use crate::protocol::iip;
use crate::protocol::iip::Fault;
use crate::raster::Colour;
use crate::raster::Metadata;
use crate::raster::SampleFormat;
use crate::source::Header;
use crate::source::Level;
use crate::source::Page;
use crate::source::sequence::FIRST;
use std::fmt::Write;

/// An object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// `IIP,1.0`.
    Protocol,
    /// `IIP-server`.
    Server,
    /// `IIP-opt-comm`.
    Commands,
    /// `IIP-opt-obj`.
    Objects,
    /// `Basic-info`.
    Basic,
    /// `Max-size`.
    MaxSize,
    /// `Max-size` of a picture that is rotated by 90 or 270 degrees.
    TurnedSize,
    /// `Tile-size`.
    TileSize,
    /// `Resolution-number`.
    LevelCount,
    /// `Resolutions`.
    Levels,
    /// `Bits-per-channel`.
    Bits,
    /// `Colorspace,…`.
    Colourspace,
    /// `Min-Max-sample-values`.
    Range,
    /// `Horizontal-views`.
    HorizontalViews,
    /// `Vertical-views`.
    VerticalViews,
    /// `DPI`.
    Density,
    /// `Summary-info`.
    Summary,
    /// `Metadata`.
    Metadata,
    /// `Stack`.
    Stack,
    /// `XMP`.
    Xmp,
    /// A text: the requested name, and the name in [`Metadata`].
    Text(&'static str, &'static str),
}

/// Names in lower case.
static NAMES: &[(&str, Object)] = &[
    ("iip,1.0", Object::Protocol),
    ("iip-server", Object::Server),
    ("iip-opt-comm", Object::Commands),
    ("iip-opt-obj", Object::Objects),
    ("basic-info", Object::Basic),
    ("max-size", Object::MaxSize),
    ("tile-size", Object::TileSize),
    ("resolution-number", Object::LevelCount),
    ("resolutions", Object::Levels),
    ("bits-per-channel", Object::Bits),
    ("min-max-sample-values", Object::Range),
    ("horizontal-views", Object::HorizontalViews),
    ("vertical-views", Object::VerticalViews),
    ("dpi", Object::Density),
    ("summary-info", Object::Summary),
    ("metadata", Object::Metadata),
    ("stack", Object::Stack),
    ("xmp", Object::Xmp),
    ("rights", Object::Text("rights", "rights")),
    ("title", Object::Text("title", "title")),
    ("description", Object::Text("description", "description")),
    ("creator", Object::Text("creator", "creator")),
    ("keywords", Object::Text("keywords", "keywords")),
    ("comment", Object::Text("comment", "comment")),
    ("date", Object::Text("date", "date")),
    ("software", Object::Text("software", "software")),
    ("make", Object::Text("make", "make")),
    ("model", Object::Text("model", "model")),
    ("scale", Object::Text("scale", "scale")),
    // the words of iipsrv 1.1
    ("copyright", Object::Text("copyright", "rights")),
    ("subject", Object::Text("subject", "description")),
    ("author", Object::Text("author", "creator")),
    ("create-dtm", Object::Text("create-dtm", "date")),
    ("app-name", Object::Text("app-name", "software")),
];

/// The names of all objects in lower case, except `colorspace`, which takes parameters.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().map(|(name, _)| *name)
}

/// The texts of `Summary-info`, under both names.
static SUMMARY: &[(&str, &str)] = &[
    ("copyright", "rights"),
    ("subject", "description"),
    ("author", "creator"),
    ("create-dtm", "date"),
    ("app-name", "software"),
];

impl Object {
    /// The object with this name, in any case.
    pub fn parse(name: &str) -> Option<Object> {
        let name = name.to_ascii_lowercase();
        if name.starts_with("colorspace") {
            return Some(Object::Colourspace);
        }
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, object)| *object)
    }

    /// Whether it needs no image.
    pub fn is_of_server(&self) -> bool {
        matches!(
            self,
            Object::Protocol | Object::Server | Object::Commands | Object::Objects
        )
    }
}

/// An answer to a list of objects.
#[derive(Debug, PartialEq)]
pub struct Objects {
    /// The media type.
    pub media_type: &'static str,
    /// The body.
    pub body: Vec<u8>,
}

/// Answers the objects in order; a single text of the newer vocabulary is answered without its name. `Err` if the image has
/// none of the objects.
pub fn answer(
    objects: &[Object],
    header: Option<&Header>,
    settings: &ProtocolSettings,
) -> Result<Objects, Fault> {
    if let (&[object], Some(header)) = (objects, header)
        && let Some(bare) = bare(object, header, settings)
    {
        return bare;
    }
    let mut text = String::new();
    for object in objects {
        // writing to a String cannot fail
        let _ = line(&mut text, *object, header, settings);
    }
    if text.is_empty() {
        return Err(Fault {
            code: "2 1",
            argument: "the image has none of these objects".into(),
        });
    }
    Ok(Objects {
        media_type: "application/vnd.netfpx",
        body: text.into_bytes(),
    })
}

/// Objects that are complete documents if they are requested alone.
fn bare(object: Object, header: &Header, settings: &ProtocolSettings) -> Option<Result<Objects, Fault>> {
    let nothing = |name: &str| {
        Err(Fault {
            code: "2 1",
            argument: format!("the image has no {name}"),
        })
    };
    let text = |media_type, body: String| {
        Ok(Objects {
            media_type,
            body: body.into_bytes(),
        })
    };
    match object {
        Object::Metadata => Some(text(
            "application/json",
            format!("{}\r\n", metadata(&header.metadata, settings)),
        )),
        Object::Stack if header.set.stack.is_empty() => Some(nothing("stack")),
        Object::Stack => Some(text(
            "application/json",
            format!("{}\r\n", stack(&header.set.stack)),
        )),
        Object::Xmp => Some(match &header.metadata.xmp {
            Some(xmp) => Ok(Objects {
                media_type: "application/xml",
                body: xmp.to_vec(),
            }),
            None => nothing("xmp"),
        }),
        Object::Text(asked, name) if asked == name => Some(match value(name, &header.metadata, settings) {
            Some(value) => text("text/plain; charset=utf-8", format!("{value}\r\n")),
            None => nothing(name),
        }),
        Object::Text(asked, name) if value(name, &header.metadata, settings).is_none() => {
            Some(nothing(asked))
        }
        _ => None,
    }
}

/// A text of the image; rights may come from the configuration.
fn value<'a>(name: &str, metadata: &'a Metadata, settings: &'a ProtocolSettings) -> Option<&'a str> {
    let configured = (name == "rights").then_some(settings.copyright.as_str());
    metadata.text(name).or(configured).filter(|text| !text.is_empty())
}

fn metadata(metadata: &Metadata, settings: &ProtocolSettings) -> String {
    let mut map = serde_json::Map::new();
    for (name, text) in &metadata.texts {
        map.insert((*name).into(), text.as_str().into());
    }
    if let Some(rights) = value("rights", metadata, settings) {
        map.insert("rights".into(), rights.into());
    }
    format!("{:#}", serde_json::Value::Object(map))
}

/// The pages of a file: numbers for SDS, names and scales.
fn stack(pages: &[Page]) -> String {
    let page = |(id, page): (usize, &Page)| {
        let mut map = serde_json::Map::new();
        map.insert("id".into(), id.to_string().into());
        map.insert("name".into(), page.name.clone().unwrap_or_default().into());
        map.insert("scale".into(), page.scale.unwrap_or(1.0).into());
        serde_json::Value::Object(map)
    };
    let pages = pages.iter().enumerate().map(page).collect();
    serde_json::Value::Array(pages).to_string()
}

/// The angles of a sequence; a single image has the default one.
fn angles(angles: &[u32], usual: u32) -> String {
    if angles.is_empty() {
        return usual.to_string();
    }
    let angles: Vec<String> = angles.iter().map(u32::to_string).collect();
    angles.join(" ")
}

fn line(
    out: &mut String,
    object: Object,
    header: Option<&Header>,
    settings: &ProtocolSettings,
) -> std::fmt::Result {
    match (object, header) {
        (Object::Protocol, _) => out.write_str("IIP:1.0\r\n"),
        (Object::Server, _) => out.write_str("IIP-server:3.65\r\n"),
        (Object::Commands, _) => {
            let names: Vec<_> = iip::optional_commands().collect();
            write!(out, "IIP-opt-comm:{}\r\n", names.join(" "))
        }
        (Object::Objects, _) => out.write_str(concat!(
            "IIP-opt-obj:Horizontal-views Vertical-views Tile-size Bits-per-channel ",
            "Min-Max-sample-values Resolutions\r\n"
        )),
        (_, None) => Ok(()),
        (object, Some(header)) => image_line(out, object, header, settings),
    }
}

/// Writes the line of an object that describes an image; nothing if the image has no such property.
fn image_line(
    out: &mut String,
    object: Object,
    header: &Header,
    settings: &ProtocolSettings,
) -> std::fmt::Result {
    let full = header.size();
    let set = &header.set;
    match object {
        Object::Basic => [
            Object::Server,
            Object::MaxSize,
            Object::LevelCount,
            Object::Colourspace,
        ]
        .into_iter()
        .try_for_each(|object| line(out, object, Some(header), settings)),
        Object::MaxSize => write!(out, "Max-size:{} {}\r\n", full.w, full.h),
        Object::TurnedSize => write!(out, "Max-size:{} {}\r\n", full.h, full.w),
        Object::TileSize => {
            let tile = header.levels.first().map_or(full, |level| level.tile);
            write!(out, "Tile-size:{} {}\r\n", tile.w, tile.h)
        }
        Object::LevelCount => write!(out, "Resolution-number:{}\r\n", header.counted().len()),
        Object::Levels => write!(out, "Resolutions:{}\r\n", level_sizes(header)),
        Object::Bits => write!(out, "Bits-per-channel:{}\r\n", header.bits),
        Object::Colourspace => {
            let last = header.counted().len().saturating_sub(1);
            write!(out, "Colorspace,0-{last},0:{}\r\n", planes(header.meaning.colour))
        }
        // clients count words: a trailing space would count as half a channel
        Object::Range => write!(out, "Min-Max-sample-values: {}\r\n", sample_ranges(header)),
        Object::HorizontalViews => {
            let angles = angles(&set.horizontal, FIRST[0]);
            write!(out, "Horizontal-views:{angles}\r\n")
        }
        Object::VerticalViews => write!(out, "Vertical-views:{}\r\n", angles(&set.vertical, FIRST[1])),
        Object::Density => {
            let density = header.metadata.density;
            let [x, y] = density.map_or([0.0; 2], |density| [density.x.value(), density.y.value()]);
            write!(out, "DPI:{x:.6} {y:.6}\r\n")
        }
        Object::Summary => SUMMARY
            .iter()
            .try_for_each(|&(asked, name)| text_line(out, asked, name, header, settings)),
        Object::Text(asked, name) => text_line(out, asked, name, header, settings),
        Object::Metadata => write!(out, "{}\r\n", metadata(&header.metadata, settings)),
        Object::Stack if !set.stack.is_empty() => write!(out, "{}\r\n", stack(&set.stack)),
        Object::Stack | Object::Xmp => Ok(()),
        Object::Protocol | Object::Server | Object::Commands | Object::Objects => Ok(()),
    }
}

/// Writes a text of the image's metadata with its length.
fn text_line(
    out: &mut String,
    asked: &str,
    name: &str,
    header: &Header,
    settings: &ProtocolSettings,
) -> std::fmt::Result {
    match value(name, &header.metadata, settings) {
        Some(text) => write!(out, "{asked}/{}:{text}\r\n", text.len()),
        None => Ok(()),
    }
}

/// The sizes of all levels, from the smallest.
fn level_sizes(header: &Header) -> String {
    let size = |level: &Level| format!("{} {}", level.size.w, level.size.h);
    let sizes: Vec<String> = header.counted().iter().rev().map(size).collect();
    sizes.join(",")
}

/// Whether colours are calibrated, the colour space, the number of planes, and the planes.
fn planes(colour: Colour) -> &'static str {
    match colour {
        Colour::Grey => "0 0 1 1 0",
        Colour::Rgb | Colour::Cmyk => "0 0 3 3 0 1 2",
        Colour::Lab => "1 0 4 3 0 1 2",
    }
}

/// The least and the greatest value of each channel, in the samples of the file, which are scaled up to 8 or 16 bits on
/// reading.
fn sample_ranges(header: &Header) -> String {
    let max = f64::from((1u32 << header.bits.min(16)) - 1);
    let unit = match (header.kind, header.bits) {
        (SampleFormat::Unsigned, 0..=7) => max / 255.0,
        (SampleFormat::Unsigned, 9..=15) => max / 65535.0,
        _ => 1.0,
    };
    let pair = |(low, high): &(f64, f64)| format!("{}  {}", digits(low * unit), digits(high * unit));
    let pairs: Vec<String> = header.meaning.ranges.iter().map(pair).collect();
    pairs.join("  ")
}

/// Formats a number like `%.9g` in C.
fn digits(value: f64) -> String {
    let science = format!("{value:.8e}");
    let (mantissa, exponent) = science.split_once('e').unwrap_or((&science, "0"));
    let short = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    match exponent.parse::<i32>() {
        Ok(exponent @ -4..=8) => short(&format!("{value:.*}", usize::try_from(8 - exponent).unwrap_or(0))),
        Ok(exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{}e{sign}{:02}", short(mantissa), exponent.abs())
        }
        Err(_) => science,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_nine_digits_at_most() {
        // the output of printf for %.9g
        let cases = [
            (0.0, "0"),
            (255.0, "255"),
            (-32768.0, "-32768"),
            (0.1, "0.1"),
            (1.0 / 3.0, "0.333333333"),
            (4_294_967_295.0, "4.2949673e+09"),
            (-3.402_823_466e38, "-3.40282347e+38"),
            (0.000_012_5, "1.25e-05"),
            (999_999_999.9, "1e+09"),
            (100_000_000.0, "100000000"),
        ];
        for (value, text) in cases {
            assert_eq!(digits(value), text);
        }
    }
}
