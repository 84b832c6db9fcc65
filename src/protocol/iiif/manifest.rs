//! `ID/manifest.json`: IIIF Presentation API 3.0 and 2.1. Label and rights of an image, a file of pages or a sequence, with a
//! canvas for each picture; a folder is a Collection.
//!
//! Canvases have the size of their pictures and are painted by this server's image service.

use crate::geometry::Size;
use crate::protocol::Description;
use crate::protocol::Members;
use crate::protocol::ProtocolSettings;
use crate::protocol::address::segment;
use crate::protocol::iiif::info::licence;
use crate::protocol::iiif::info::rights;
use crate::source::Header;
use serde_json::Value;
use serde_json::json;

/// The contexts (3.0 §4.6, 2.1 §4.6).
const CONTEXTS: [&str; 2] = [
    "http://iiif.io/api/presentation/2/context.json",
    "http://iiif.io/api/presentation/3/context.json",
];

/// Longest side of a thumbnail, in pixels.
const THUMBNAIL: u32 = 400;

/// Texts of a file that are shown unchanged, with their English labels.
const SHOWN: [(&str, &str); 7] = [
    ("creator", "Creator"),
    ("date", "Date"),
    ("comment", "Comment"),
    ("software", "Software"),
    ("keywords", "Keywords"),
    ("make", "Camera maker"),
    ("model", "Camera model"),
];

/// Members of version 3 that a sidecar file may add to a manifest.
const NOTED: [&str; 12] = [
    "label",
    "summary",
    "metadata",
    "requiredStatement",
    "rights",
    "provider",
    "homepage",
    "seeAlso",
    "rendering",
    "navDate",
    "viewingDirection",
    "behavior",
];

/// A request for a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestRequest {
    /// Version of the Presentation API, 2 or 3.
    pub version: u8,
    /// Version of the Image API of its images, 1 to 3.
    pub images: u8,
    /// The address of the image or folder, without a trailing slash.
    pub id: String,
}

impl ManifestRequest {
    /// The address of the document itself.
    fn address(&self) -> String {
        format!("{}/manifest.json", self.id)
    }
}

/// A picture of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// The suffix of the address; empty for a single picture.
    pub tail: String,
    /// The label.
    pub label: String,
    /// Size in pixels.
    pub size: Size,
}

/// An entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderEntry {
    /// The name in identifiers.
    pub name: String,
    /// Whether it is a folder.
    pub folder: bool,
}

/// The manifest of the pictures of one work. `name` is the label if the file has no title; `notes` are its sidecar files, of
/// which the first takes precedence.
pub fn manifest(
    asked: &ManifestRequest,
    name: &str,
    header: &Header,
    canvases: &[Canvas],
    settings: &ProtocolSettings,
    notes: &[Members],
) -> Description {
    let mut work = about(name, header, settings);
    for members in notes.iter().rev() {
        for (key, value) in members {
            if NOTED.contains(&key.as_str()) {
                work.insert(key.clone(), languages(key, value));
            }
        }
    }
    let members = match asked.version {
        2 => manifest_2(asked, &work, canvases),
        _ => manifest_3(asked, work, canvases),
    };
    described(asked, members)
}

/// The Collection of a folder.
pub fn collection(asked: &ManifestRequest, name: &str, entries: &[FolderEntry]) -> Description {
    let address = |entry: &FolderEntry| format!("{}/{}/manifest.json", asked.id, segment(&entry.name));
    let items = |entry: &FolderEntry| match (asked.version, entry.folder) {
        (2, folder) => json!({
            "@id": address(entry), "@type": if folder { "sc:Collection" } else { "sc:Manifest" }, "label": entry.name,
        }),
        (_, folder) => json!({
            "id": address(entry), "type": if folder { "Collection" } else { "Manifest" }, "label": plain(&entry.name),
        }),
    };
    let items: Vec<_> = entries.iter().map(items).collect();
    let members = match asked.version {
        2 => json!({ "@id": asked.address(), "@type": "sc:Collection", "label": name, "members": items }),
        _ => json!({ "id": asked.address(), "type": "Collection", "label": plain(name), "items": items }),
    };
    described(asked, members)
}

/// The document with its context first.
fn described(asked: &ManifestRequest, members: Value) -> Description {
    let [two, three] = CONTEXTS;
    let context = if asked.version == 2 { two } else { three };
    let mut all = Members::new();
    all.insert("@context".into(), json!(context));
    if let Value::Object(members) = members {
        all.extend(members);
    }
    Description {
        media_type: if asked.version == 2 {
            "application/ld+json;profile=\"http://iiif.io/api/presentation/2/context.json\""
        } else {
            "application/ld+json;profile=\"http://iiif.io/api/presentation/3/context.json\""
        },
        links: None,
        text: format!("{:#}", Value::Object(all)),
    }
}

/// A text without a language.
fn plain(text: &str) -> Value {
    json!({ "none": [text] })
}

/// A member of a sidecar file; plain texts are converted to language maps (3.0 §4).
fn languages(key: &str, value: &Value) -> Value {
    match (key, value) {
        ("label" | "summary", Value::String(text)) => plain(text),
        ("metadata", Value::Array(rows)) => rows.iter().map(row).collect(),
        ("requiredStatement", one) => row(one),
        (_, other) => other.clone(),
    }
}

fn row(row: &Value) -> Value {
    let text = |key: &str| match row.get(key) {
        Some(Value::String(text)) => plain(text),
        Some(other) => other.clone(),
        None => plain(""),
    };
    json!({ "label": text("label"), "value": text("value") })
}

/// Metadata of the file as members of version 3.
fn about(name: &str, header: &Header, settings: &ProtocolSettings) -> Members {
    let said = |name: &str| {
        header
            .metadata
            .text(name)
            .map(str::trim)
            .filter(|text| !text.is_empty())
    };
    let mut work = Members::new();
    work.insert("label".into(), plain(said("title").unwrap_or(name)));
    if let Some(text) = said("description") {
        work.insert("summary".into(), plain(text));
    }
    let mut rows: Vec<Value> = SHOWN
        .iter()
        .filter_map(|(name, label)| Some(json!({ "label": { "en": [label] }, "value": plain(said(name)?) })))
        .collect();
    let Size { w, h } = header.size();
    let size = format!("{w} × {h} pixels");
    rows.push(json!({ "label": { "en": ["Size"] }, "value": plain(&size) }));
    work.insert("metadata".into(), rows.into());
    if let Some(text) = rights(settings, header) {
        match licence(text) {
            Some(uri) => work.insert("rights".into(), json!(uri)),
            None => work.insert(
                "requiredStatement".into(),
                json!({ "label": { "en": ["Rights"] }, "value": plain(text) }),
            ),
        };
    }
    work
}

/// The image service of a picture in a manifest.
fn service(asked: &ManifestRequest, id: &str) -> Value {
    let level = format!("http://iiif.io/api/image/{}/level2.json", asked.images);
    match (asked.version, asked.images) {
        (2, 3) => json!({ "@context": "http://iiif.io/api/image/3/context.json", "@id": id, "id": id,
            "type": "ImageService3", "profile": "level2" }),
        (2, version) => {
            json!({ "@context": format!("http://iiif.io/api/image/{version}/context.json"), "@id": id, "profile": level })
        }
        (_, 3) => json!({ "id": id, "type": "ImageService3", "profile": "level2" }),
        (_, version) => json!({ "@id": id, "@type": format!("ImageService{version}"), "profile": level }),
    }
}

/// Address and size of a thumbnail.
fn thumbnail(id: &str, size: Size) -> (String, Size) {
    let longest = size.w.max(size.h).max(1);
    let side = |side: u32| {
        let small = u64::from(side) * u64::from(THUMBNAIL) / u64::from(longest);
        u32::try_from(small).unwrap_or(THUMBNAIL).max(1)
    };
    let small = if longest <= THUMBNAIL {
        size
    } else {
        Size::new(side(size.w), side(size.h))
    };
    (format!("{id}/full/{},{}/0/default.jpg", small.w, small.h), small)
}

fn manifest_3(asked: &ManifestRequest, work: Members, canvases: &[Canvas]) -> Value {
    let of = |part: &str, n: usize| format!("{}/{part}/{n}", asked.id);
    let small = |id: &str, size: Size| {
        let (address, Size { w, h }) = thumbnail(id, size);
        json!([{ "id": address, "type": "Image", "format": "image/jpeg", "width": w, "height": h,
            "service": [service(asked, id)] }])
    };
    let canvas = |(n, canvas): (usize, &Canvas)| {
        let (id, Size { w, h }) = (format!("{}{}", asked.id, canvas.tail), canvas.size);
        let body = json!({
            "id": format!("{id}/full/max/0/default.jpg"), "type": "Image", "format": "image/jpeg", "width": w, "height": h,
            "service": [service(asked, &id)],
        });
        let painted = json!({
            "id": of("annotation", n), "type": "Annotation", "motivation": "painting", "target": of("canvas", n),
            "body": body,
        });
        json!({
            "id": of("canvas", n), "type": "Canvas", "label": plain(&canvas.label), "width": w, "height": h,
            "thumbnail": small(&id, canvas.size),
            "items": [{ "id": of("page", n), "type": "AnnotationPage", "items": [painted] }],
        })
    };
    let items: Vec<_> = canvases.iter().enumerate().map(canvas).collect();
    let mut all = Members::new();
    all.insert("id".into(), json!(asked.address()));
    all.insert("type".into(), json!("Manifest"));
    all.extend(work);
    if let Some(first) = canvases.first() {
        let id = format!("{}{}", asked.id, first.tail);
        all.insert("thumbnail".into(), small(&id, first.size));
    }
    all.insert("items".into(), items.into());
    Value::Object(all)
}

/// Converts a text of version 3 to version 2, using its first language.
fn simple(value: &Value) -> Value {
    let texts = value.as_object().and_then(|languages| languages.values().next());
    match texts.and_then(Value::as_array).map(Vec::as_slice) {
        Some([one]) => one.clone(),
        Some(several) => several.into(),
        None => value.clone(),
    }
}

/// Adds metadata as members of version 2.
fn about_2(work: &Members, put: &mut impl FnMut(&str, Value) -> Option<Value>) {
    for (three, two) in [("label", "label"), ("summary", "description")] {
        if let Some(value) = work.get(three) {
            put(two, simple(value));
        }
    }
    let pair = |row: &Value| {
        let text = |key| row.get(key).map(simple).unwrap_or_default();
        json!({ "label": text("label"), "value": text("value") })
    };
    if let Some(rows) = work.get("metadata").and_then(Value::as_array) {
        put("metadata", rows.iter().map(pair).collect());
    }
    if let Some(statement) = work.get("requiredStatement") {
        put(
            "attribution",
            pair(statement).get("value").cloned().unwrap_or_default(),
        );
    }
    for (three, two) in [
        ("rights", "license"),
        ("viewingDirection", "viewingDirection"),
        ("navDate", "navDate"),
    ] {
        if let Some(value) = work.get(three) {
            put(two, value.clone());
        }
    }
}

fn manifest_2(asked: &ManifestRequest, work: &Members, canvases: &[Canvas]) -> Value {
    let of = |part: &str, n: usize| format!("{}/{part}/{n}", asked.id);
    let small = |id: &str, size: Size| {
        let (address, Size { w, h }) = thumbnail(id, size);
        json!({ "@id": address, "@type": "dctypes:Image", "format": "image/jpeg", "width": w, "height": h,
            "service": service(asked, id) })
    };
    let canvas = |(n, canvas): (usize, &Canvas)| {
        let (id, Size { w, h }) = (format!("{}{}", asked.id, canvas.tail), canvas.size);
        let full = if asked.images < 2 { "full" } else { "max" };
        let resource = json!({
            "@id": format!("{id}/full/{full}/0/default.jpg"), "@type": "dctypes:Image", "format": "image/jpeg",
            "width": w, "height": h, "service": service(asked, &id),
        });
        let painted = json!({
            "@id": of("annotation", n), "@type": "oa:Annotation", "motivation": "sc:painting", "on": of("canvas", n),
            "resource": resource,
        });
        json!({
            "@id": of("canvas", n), "@type": "sc:Canvas", "label": canvas.label, "width": w, "height": h,
            "thumbnail": small(&id, canvas.size), "images": [painted],
        })
    };
    let items: Vec<_> = canvases.iter().enumerate().map(canvas).collect();
    let mut all = Members::new();
    let mut put = |key: &str, value: Value| all.insert(key.into(), value);
    put("@id", json!(asked.address()));
    put("@type", json!("sc:Manifest"));
    about_2(work, &mut put);
    if let Some(first) = canvases.first() {
        let id = format!("{}{}", asked.id, first.tail);
        put("thumbnail", small(&id, first.size));
    }
    let sequence = json!({ "@id": of("sequence", 0), "@type": "sc:Sequence", "canvases": items });
    put("sequences", json!([sequence]));
    Value::Object(all)
}
