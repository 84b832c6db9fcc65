//! info.json: IIIF Image API 3.0 §5, 2.1 §5.
//!
//! Everything that is listed is true: sizes are those of stored levels, scale factors those whose tiles are stored.

use crate::plan::Limits;
use crate::plan::shift;
use crate::protocol::Description;
use crate::protocol::Settings;
use crate::protocol::iiif::CONTEXT_2;
use crate::protocol::iiif::CONTEXT_3;
use crate::source::Header;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

/// The document, and its media type.
pub fn info(version: u8, id: &str, header: &Header, limits: &Limits, settings: &Settings) -> Description {
    let three = version >= 3;
    let mut info = if three {
        head_3(id, settings, header)
    } else {
        head_2(id, settings, header)
    };
    let full = header.size();
    info.insert("width".into(), json!(full.w));
    info.insert("height".into(), json!(full.h));
    if three && let Some(side) = limits.max_side {
        info.insert("maxWidth".into(), json!(side));
        info.insert("maxHeight".into(), json!(side));
    }
    info.insert("sizes".into(), sizes(header, limits));
    info.insert("tiles".into(), tiles(header));
    if three {
        features_3(&mut info, limits);
    } else {
        info.insert("profile".into(), profile_2(limits));
    }
    for (key, value) in &settings.iiif_extra {
        info.insert(key.clone(), value.clone());
    }
    let media_type = if three {
        "application/ld+json;profile=\"http://iiif.io/api/image/3/context.json\""
    } else {
        "application/ld+json;profile=\"http://iiif.io/api/image/2/context.json\""
    };
    Description {
        media_type,
        text: serde_json::to_string_pretty(&info).unwrap_or_default(),
    }
}

fn rights<'a>(settings: &'a Settings, header: &'a Header) -> Option<&'a str> {
    let own = header.metadata.text("rights").filter(|text| !text.is_empty());
    own.or(Some(settings.copyright.as_str()).filter(|text| !text.is_empty()))
}

fn head_3(id: &str, settings: &Settings, header: &Header) -> Map<String, Value> {
    let mut info = Map::new();
    info.insert("@context".into(), json!(CONTEXT_3));
    info.insert("id".into(), json!(id));
    info.insert("type".into(), json!("ImageService3"));
    info.insert("protocol".into(), json!("http://iiif.io/api/image"));
    info.insert("profile".into(), json!("level2"));
    // §5.6: rights is a URI; free text has no place in version 3
    let uri = rights(settings, header).filter(|text| text.starts_with("http") && !text.contains(' '));
    if let Some(uri) = uri {
        info.insert("rights".into(), json!(uri));
    }
    info
}

fn head_2(id: &str, settings: &Settings, header: &Header) -> Map<String, Value> {
    let mut info = Map::new();
    info.insert("@context".into(), json!(CONTEXT_2));
    info.insert("@id".into(), json!(id));
    info.insert("protocol".into(), json!("http://iiif.io/api/image"));
    if let Some(text) = rights(settings, header) {
        info.insert("attribution".into(), json!(text));
    }
    info
}

/// Smallest first; levels that may be asked for whole.
fn sizes(header: &Header, limits: &Limits) -> Value {
    let fits = |side: u32| limits.max_side.is_none_or(|max| side <= max);
    let sizes = header
        .levels
        .iter()
        .rev()
        .map(|level| level.size)
        .filter(|size| fits(size.w) && fits(size.h));
    sizes
        .map(|size| json!({"width": size.w, "height": size.h}))
        .collect()
}

/// One entry per tile size, as the standard demands, with the factors of the levels that have it.
fn tiles(header: &Header) -> Value {
    let mut entries: Vec<(u32, u32, Vec<u64>)> = Vec::new();
    for level in &header.levels {
        let Some(halvings) = shift(header.size(), level.size) else {
            continue;
        };
        let factor = 1u64 << halvings;
        match entries
            .iter_mut()
            .find(|(w, h, _)| (*w, *h) == (level.tile.w, level.tile.h))
        {
            Some((_, _, factors)) if factors.contains(&factor) => {}
            Some((_, _, factors)) => factors.push(factor),
            None => entries.push((level.tile.w, level.tile.h, vec![factor])),
        }
    }
    let entry =
        |(w, h, factors): (u32, u32, Vec<u64>)| json!({"width": w, "height": h, "scaleFactors": factors});
    entries.into_iter().map(entry).collect()
}

fn features_3(info: &mut Map<String, Value>, limits: &Limits) {
    info.insert("preferredFormats".into(), json!(["jpg"]));
    info.insert("extraFormats".into(), json!(["png"]));
    info.insert("extraQualities".into(), json!(["color", "gray", "bitonal"]));
    let mut features = vec!["mirroring", "regionSquare"];
    if limits.upscaling {
        features.push("sizeUpscaling");
    }
    info.insert("extraFeatures".into(), json!(features));
}

fn profile_2(limits: &Limits) -> Value {
    let mut features = vec!["mirroring", "regionSquare"];
    if limits.upscaling {
        features.push("sizeAboveFull");
    }
    let mut detail = json!({
        "formats": ["jpg", "png"],
        "qualities": ["default", "color", "gray", "bitonal"],
        "supports": features,
    });
    if let (Some(side), Some(detail)) = (limits.max_side, detail.as_object_mut()) {
        detail.insert("maxWidth".into(), json!(side));
        detail.insert("maxHeight".into(), json!(side));
    }
    json!(["http://iiif.io/api/image/2/level2.json", detail])
}
