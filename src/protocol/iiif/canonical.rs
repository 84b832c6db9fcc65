//! The Link header of a picture: its canonical address (3.0 §4.7, 2.1 §4.7) and the level of compliance.

use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::plan::Adjust;
use crate::plan::Enlarge;
use crate::plan::Excess;
use crate::plan::PlanLimits;
use crate::plan::Scale;
use crate::plan::Tone;
use crate::plan::View;
use crate::protocol::iiif::Naming;
use crate::raster::Colour;
use crate::source::Header;

/// The level of compliance, by version.
pub const fn profile(version: u8) -> &'static str {
    match version {
        0..=1 => "http://library.stanford.edu/iiif/image-api/1.1/compliance.html#level2",
        2 => "http://iiif.io/api/image/2/level2.json",
        _ => "http://iiif.io/api/image/3/level2.json",
    }
}

/// The Link header of a picture. Version 1.1 has no canonical address.
pub fn links(view: &View, naming: &Naming, header: &Header, limits: &PlanLimits) -> Result<String> {
    let profile = format!("<{}>;rel=\"profile\"", profile(naming.version));
    if naming.version < 2 {
        return Ok(profile);
    }
    let (region, size) = view.region_and_size(header, limits)?;
    Ok(format!(
        "<{}/{}/{}/{}/{}.{}>;rel=\"canonical\", {profile}",
        naming.id,
        self::region(region, header.size()),
        self::size(region.size(), size, naming.version, limits),
        turn(view),
        quality(&view.adjust, header),
        view.format.suffix()
    ))
}

fn region(region: Rect, full: Size) -> String {
    if region == Rect::of(full) {
        return "full".into();
    }
    let Rect { x, y, w, h } = region;
    format!("{x},{y},{w},{h}")
}

/// The canonical size parameter of a region of size `region` shown at `size`.
fn size(region: Size, size: Size, version: u8, limits: &PlanLimits) -> String {
    let Size { w, h } = size;
    let by = |scale: Scale| {
        let kind = (Enlarge::Allowed, Excess::Cut);
        scale.apply(region, region, kind, limits).ok()
    };
    if version < 3 {
        return match size == region {
            true => "full".into(),
            false if by(Scale::Width(w)) == Some(size) => format!("{w},"),
            false => format!("{w},{h}"),
        };
    }
    if by(Scale::Max) == Some(size) {
        return "max".into();
    }
    let larger = if w > region.w || h > region.h { "^" } else { "" };
    format!("{larger}{w},{h}")
}

fn turn(view: &View) -> String {
    let mirror = if view.adjust.mirror { "!" } else { "" };
    // the shortest form: no trailing zeros, one zero before the decimal point
    format!("{mirror}{}", view.adjust.degrees.value())
}

fn quality(adjust: &Adjust, header: &Header) -> &'static str {
    let samples = &adjust.samples;
    match adjust.tone {
        _ if samples.invert => "negative",
        _ if samples.stretch => "stretch",
        _ if adjust.equalise => "equalization",
        _ if samples.curve.is_some() => "log",
        Tone::Native => "default",
        Tone::Grey if header.meaning.colour == Colour::Grey => "default",
        Tone::Grey => "gray",
        Tone::Bitonal => "bitonal",
    }
}
