//! info.json: IIIF Image API 3.0 §5, 2.1 §5, 1.1 §5.
//!
//! Sizes are those of stored levels, scale factors those of levels with stored tiles. Sidecar files may add members but not
//! override technical ones.

use crate::geometry::Size;
use crate::plan::PlanLimits;
use crate::plan::shift;
use crate::protocol::Description;
use crate::protocol::Members;
use crate::protocol::ProtocolSettings;
use crate::protocol::iiif::CONTEXT_1;
use crate::protocol::iiif::CONTEXT_2;
use crate::protocol::iiif::CONTEXT_3;
use crate::protocol::iiif::EXTENSIONS;
use crate::protocol::iiif::Naming;
use crate::protocol::iiif::canonical::profile;
use crate::raster::Colour;
use crate::raster::Format;
use crate::source::Header;
use serde_json::Value;
use serde_json::json;

/// Members that only the server sets: clients use them to request pictures.
const OWN: [&str; 22] = [
    "@context",
    "id",
    "@id",
    "type",
    "@type",
    "protocol",
    "profile",
    "width",
    "height",
    "maxWidth",
    "maxHeight",
    "maxArea",
    "sizes",
    "tiles",
    "extraFormats",
    "extraQualities",
    "extraFeatures",
    "scale_factors",
    "tile_width",
    "tile_height",
    "formats",
    "qualities",
];

/// The document and its media type: JSON-LD if requested (`linked`). `notes` are added after IIIF_EXTRA_INFO; the first takes
/// precedence.
pub fn info(
    naming: &Naming,
    linked: bool,
    header: &Header,
    limits: &PlanLimits,
    settings: &ProtocolSettings,
    notes: &[Members],
) -> Description {
    let mut info = match naming.version {
        0..=1 => info_1(naming, header, limits, settings),
        2 => info_2(naming, header, limits, settings),
        _ => info_3(naming, header, limits, settings),
    };
    add(&mut info, &settings.iiif_extra);
    for members in notes.iter().rev() {
        add(&mut info, members);
    }
    let media_type = match (linked, naming.version) {
        (false, _) => "application/json",
        (true, 0..=1) => "application/ld+json",
        (true, 2) => "application/ld+json;profile=\"http://iiif.io/api/image/2/context.json\"",
        (true, _) => "application/ld+json;profile=\"http://iiif.io/api/image/3/context.json\"",
    };
    // 2.1 §5: plain JSON links to its context
    let context = (!linked && naming.version == 2).then(|| {
        format!("<{CONTEXT_2}>;rel=\"http://www.w3.org/ns/json-ld#context\";type=\"application/ld+json\"")
    });
    Description {
        media_type,
        links: context,
        text: format!("{:#}", Value::Object(info)),
    }
}

/// Adds or replaces members; lists such as services are joined.
fn add(info: &mut Members, members: &Members) {
    for (key, value) in members.iter().filter(|(key, _)| !OWN.contains(&key.as_str())) {
        match (info.get_mut(key), value) {
            (Some(Value::Array(list)), Value::Array(more)) => list.extend(more.iter().cloned()),
            _ => {
                info.insert(key.clone(), value.clone());
            }
        }
    }
}

fn info_3(naming: &Naming, header: &Header, limits: &PlanLimits, settings: &ProtocolSettings) -> Members {
    let mut info = Members::new();
    let mut put = |key: &str, value: Value| info.insert(key.into(), value);
    put("@context", json!(CONTEXT_3));
    put("id", json!(naming.id));
    put("type", json!("ImageService3"));
    put("protocol", json!("http://iiif.io/api/image"));
    put("profile", json!("level2"));
    put("width", json!(header.size().w));
    put("height", json!(header.size().h));
    for (key, limit) in bounds(limits) {
        put(key, json!(limit));
    }
    put("sizes", sizes(header, limits));
    put("tiles", tiles(header, limits));
    put("preferredFormats", json!([preferred(header).suffix()]));
    let more: Vec<_> = Format::built()
        .filter(|format| !matches!(format, Format::Jpeg | Format::Png))
        .map(|format| format.suffix())
        .collect();
    if !more.is_empty() {
        put("extraFormats", json!(more));
    }
    put("extraQualities", json!(qualities(header, settings)));
    let mut features = vec![
        "canonicalLinkHeader",
        "mirroring",
        "profileLinkHeader",
        "rotationArbitrary",
    ];
    if limits.upscaling {
        features.push("sizeUpscaling");
    }
    put("extraFeatures", json!(features));
    // §5.6: rights is one of a set of addresses; version 3 has no member for free text
    if let Some(uri) = rights(settings, header).and_then(licence) {
        put("rights", json!(uri));
    }
    if let Some(service) = physical(naming, header) {
        put("service", json!([service]));
    }
    info
}

fn info_2(naming: &Naming, header: &Header, limits: &PlanLimits, settings: &ProtocolSettings) -> Members {
    let mut info = Members::new();
    let mut put = |key: &str, value: Value| info.insert(key.into(), value);
    put("@context", json!(CONTEXT_2));
    put("@id", json!(naming.id));
    put("protocol", json!("http://iiif.io/api/image"));
    put("width", json!(header.size().w));
    put("height", json!(header.size().h));
    put("sizes", sizes(header, limits));
    put("tiles", tiles(header, limits));
    let mut features = vec![
        "baseUriRedirect",
        "canonicalLinkHeader",
        "jsonldMediaType",
        "mirroring",
        "profileLinkHeader",
        "regionByPct",
        "regionByPx",
        "regionSquare",
        "rotationArbitrary",
        "rotationBy90s",
        "sizeByConfinedWh",
        "sizeByDistortedWh",
        "sizeByH",
        "sizeByPct",
        "sizeByW",
        "sizeByWh",
    ];
    if settings.cors {
        features.push("cors");
    }
    if limits.upscaling {
        features.push("sizeAboveFull");
    }
    let formats: Vec<_> = Format::built().map(|format| format.suffix()).collect();
    let mut detail = Members::new();
    detail.insert("formats".into(), json!(formats));
    detail.insert(
        "qualities".into(),
        json!([&["default"][..], &qualities(header, settings)].concat()),
    );
    detail.insert("supports".into(), json!(features));
    for (key, limit) in bounds(limits) {
        detail.insert(key.into(), json!(limit));
    }
    put("profile", json!([profile(2), detail]));
    match rights(settings, header) {
        Some(uri) if uri.starts_with("http") && !uri.contains(char::is_whitespace) => {
            put("license", json!(uri));
        }
        Some(text) => {
            put("attribution", json!(text));
        }
        None => {}
    }
    if let Some(service) = physical(naming, header) {
        put("service", service);
    }
    info
}

fn info_1(naming: &Naming, header: &Header, limits: &PlanLimits, settings: &ProtocolSettings) -> Members {
    let mut info = Members::new();
    let mut put = |key: &str, value: Value| info.insert(key.into(), value);
    put("@context", json!(CONTEXT_1));
    put("@id", json!(naming.id));
    put("width", json!(header.size().w));
    put("height", json!(header.size().h));
    // a single tile size
    if let Some((tile, factors)) = grids(header, limits).into_iter().next() {
        put("scale_factors", json!(factors));
        put("tile_width", json!(tile.w));
        put("tile_height", json!(tile.h));
    }
    let formats: Vec<_> = Format::built().map(|format| format.suffix()).collect();
    put("formats", json!(formats));
    let mut qualities = vec!["native"];
    if header.meaning.colour != Colour::Grey {
        qualities.push("color");
    }
    qualities.extend(["grey", "bitonal"]);
    if settings.iiif_extensions {
        qualities.extend(EXTENSIONS);
    }
    put("qualities", json!(qualities));
    put("profile", json!(profile(1)));
    info
}

/// The rights statement of the image or of the configuration.
pub(in crate::protocol::iiif) fn rights<'a>(
    settings: &'a ProtocolSettings,
    header: &'a Header,
) -> Option<&'a str> {
    let own = header.metadata.text("rights").map(str::trim);
    [own, Some(settings.copyright.trim())]
        .into_iter()
        .flatten()
        .find(|text| !text.is_empty())
}

/// The registered address of a licence, if it is one (3.0 §5.6): these begin with http, not https.
pub(in crate::protocol::iiif) fn licence(text: &str) -> Option<String> {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"))?;
    let known = [
        "creativecommons.org/licenses/",
        "creativecommons.org/publicdomain/",
        "rightsstatements.org/vocab/",
    ];
    let known = known.iter().any(|place| rest.starts_with(place));
    (known && !rest.contains(char::is_whitespace)).then(|| format!("http://{rest}"))
}

/// PNG, if JPEG would lose information.
fn preferred(header: &Header) -> Format {
    match header.meaning.alpha {
        crate::raster::Alpha::None => Format::Jpeg,
        _ => Format::Png,
    }
}

/// Qualities in addition to `default`.
fn qualities(header: &Header, settings: &ProtocolSettings) -> Vec<&'static str> {
    let mut qualities = match header.meaning.colour {
        Colour::Rgb | Colour::Lab | Colour::Cmyk => vec!["color", "gray", "bitonal"],
        Colour::Grey => vec!["gray", "bitonal"],
    };
    if settings.iiif_extensions {
        qualities.extend(EXTENSIONS);
    }
    qualities
}

fn bounds(limits: &PlanLimits) -> impl Iterator<Item = (&'static str, u64)> {
    // maxHeight requires maxWidth
    let (w, h) = (limits.max_width, limits.max_height);
    let all = [
        ("maxWidth", w.or(h.map(|_| u32::MAX)).map(u64::from)),
        ("maxHeight", h.map(u64::from)),
        ("maxArea", limits.max_pixels),
    ];
    all.into_iter().filter_map(|(key, limit)| Some((key, limit?)))
}

/// Sizes of levels that may be requested whole, smallest first.
fn sizes(header: &Header, limits: &PlanLimits) -> Value {
    let levels = header.levels.iter().rev().map(|level| level.size);
    levels
        .filter(|size| limits.allow(*size))
        .map(|size| json!({"width": size.w, "height": size.h}))
        .collect()
}

/// One entry per tile size, as the standard requires.
fn tiles(header: &Header, limits: &PlanLimits) -> Value {
    grids(header, limits)
        .into_iter()
        .map(|(tile, factors)| json!({"width": tile.w, "height": tile.h, "scaleFactors": factors}))
        .collect()
}

/// Tile sizes, that of level 0 first, with the scale factors of their levels. Tile sizes beyond the limits are halved until
/// they fit.
fn grids(header: &Header, limits: &PlanLimits) -> Vec<(Size, Vec<u64>)> {
    let mut grids: Vec<(Size, Vec<u64>)> = Vec::new();
    for level in &header.levels {
        let Some(halvings) = shift(header.size(), level.size) else {
            continue;
        };
        let factor = 1u64 << halvings;
        let allowed = (0..32)
            .map(|by| level.tile.halved_up(by))
            .find(|tile| limits.allow(*tile));
        let Some(allowed) = allowed else {
            continue;
        };
        match grids.iter_mut().find(|(tile, _)| *tile == allowed) {
            Some((_, factors)) if factors.contains(&factor) => {}
            Some((_, factors)) => factors.push(factor),
            None => grids.push((allowed, vec![factor])),
        }
    }
    grids
}

/// The physical scale in centimetres per pixel, horizontally (IIIF registry of services, Physical Dimensions).
fn physical(naming: &Naming, header: &Header) -> Option<Value> {
    let density = header.metadata.density?.x.value();
    let scale = 100.0 / density;
    let (id, kind) = if naming.version >= 3 {
        ("id", "type")
    } else {
        ("@id", "@type")
    };
    (density > 0.0 && scale.is_finite()).then(|| {
        json!({
            "@context": "http://iiif.io/api/annex/services/physdim/1/context.json",
            id: format!("{}/info.json#physdim", naming.id),
            kind: "PhysicalDimensions",
            "profile": "http://iiif.io/api/annex/services/physdim",
            "physicalScale": scale,
            "physicalUnits": "cm",
        })
    })
}
