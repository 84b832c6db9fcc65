//! IIIF Image API 3.0, 2.1 and 1.1: `ID/info.json` and `ID/REGION/SIZE/ROTATION/QUALITY.FORMAT`.
//!
//! Identifiers may contain slashes: the last four segments are the parameters.

mod accept;
mod canonical;
mod info;
mod manifest;
mod params;

pub use crate::protocol::iiif::canonical::links;
pub use crate::protocol::iiif::info::info;
pub use crate::protocol::iiif::manifest::Canvas;
pub use crate::protocol::iiif::manifest::FolderEntry;
pub use crate::protocol::iiif::manifest::ManifestRequest;
pub use crate::protocol::iiif::manifest::collection;
pub use crate::protocol::iiif::manifest::manifest;
pub use crate::protocol::iiif::params::EXTENSIONS;

use crate::error::Error;
use crate::error::Result;
use crate::protocol::Address;
use crate::protocol::Ask;
use crate::protocol::Redirect;
use crate::protocol::Request;
use crate::protocol::address;
use crate::protocol::iiif::accept::Accept;
use crate::protocol::iiif::params::Rules;
use crate::protocol::short;
use crate::raster::Format;

/// The context of version 1.1, which identifies its info.json.
pub const CONTEXT_1: &str = "http://library.stanford.edu/iiif/image-api/1.1/context.json";
/// The context of version 2.
pub const CONTEXT_2: &str = "http://iiif.io/api/image/2/context.json";
/// The context of version 3.
pub const CONTEXT_3: &str = "http://iiif.io/api/image/3/context.json";

/// Version and address of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naming {
    /// 1, 2 or 3.
    pub version: u8,
    /// The address that names the image.
    pub id: String,
}

/// Parses a decoded path.
pub fn parse(path: &str, address: &Address) -> Result<Request> {
    if path.ends_with('/')
        && let Some(target) = without_slash(path, address)
    {
        return Ok(target);
    }
    let accept = Accept::parse(address.http.text("HTTP_ACCEPT").unwrap_or_default());
    if let Some(image) = path.strip_suffix(INFO) {
        return Ok(description(image, address, &accept));
    }
    match described_set(path) {
        Some(image) if address.settings.manifests => Ok(manifest_of(image, address, &accept)),
        _ => picture(path, address, &accept),
    }
}

/// The version that the row of `URI_MAP` fixes, if any.
fn fixed_version(address: &Address) -> Option<u8> {
    address.mount.and_then(|mount| mount.iiif_version)
}

/// The version of an address, ignoring the Accept header.
fn version(address: &Address) -> u8 {
    fixed_version(address).unwrap_or(address.settings.iiif_version)
}

/// info.json of an image, in the version that the client prefers unless the row of `URI_MAP` fixes one.
fn description(image: &str, address: &Address, accept: &Accept) -> Request {
    let preferred = fixed_version(address).or(accept.version());
    let naming = Naming {
        version: preferred.unwrap_or(version(address)),
        id: address.id(image, 1),
    };
    Request {
        image: Some(image.into()),
        ask: Ask::Info {
            naming,
            linked: accept.linked(),
        },
    }
}

/// The image or folder whose manifest is at this path.
fn described_set(path: &str) -> Option<&str> {
    let rest = path.strip_suffix("manifest.json")?;
    rest.strip_suffix('/').or(rest.is_empty().then_some(""))
}

fn manifest_of(image: &str, address: &Address, accept: &Accept) -> Request {
    let version = version(address);
    Request {
        image: Some(image.into()),
        ask: Ask::Manifest(ManifestRequest {
            version: accept.presentation().unwrap_or(version).max(2),
            images: version,
            id: address.id(image, 1).trim_end_matches('/').into(),
        }),
    }
}

/// An image request: `{identifier}/{region}/{size}/{rotation}/{quality}.{format}`.
///
/// The Accept header does not select its version: an `<img>` cannot set it, and caches would need one entry for each.
fn picture(path: &str, address: &Address, accept: &Accept) -> Result<Request> {
    let mut parts = path.rsplitn(5, '/');
    let mut next = || parts.next().unwrap_or_default();
    let (file, rotation, size, region, image) = (next(), next(), next(), next(), next());
    if image.is_empty() {
        return bare(path, address);
    }
    let version = version(address);
    let rules = Rules {
        version,
        strict: fixed_version(address).is_some(),
        more: address.settings.iiif_extensions,
    };
    let negotiated = version < 2 && !file.contains('.');
    let suffix = match accept.prefers(Format::Png.media_type(), Format::Jpeg.media_type()) {
        _ if !negotiated => "",
        true => ".png",
        false => ".jpg",
    };
    let file = &format!("{file}{suffix}");
    match params::view(rules, (region, size), rotation, file) {
        Ok(view) => Ok(Request {
            image: Some(image.into()),
            ask: Ask::Image {
                view,
                naming: Naming {
                    version,
                    id: address.id(image, 4),
                },
                negotiated,
            },
        }),
        // a bare identifier with slashes has no valid region at the position of a region
        Err(_) if !params::looks_like_region(region) && !params::looks_like_quality(file) => {
            bare(path, address)
        }
        Err(error) => Err(error),
    }
}

/// The suffix of a request for the description.
const INFO: &str = "/info.json";

/// Redirects a picture or description with a trailing slash to the address without it.
fn without_slash(path: &str, address: &Address) -> Option<Request> {
    let path = path.trim_end_matches('/');
    let address = Address {
        encoded: address::bare(&address.encoded).into(),
        ..*address
    };
    let request = parse(path, &address).ok()?;
    let to = match &request.ask {
        Ask::Info { naming, .. } => format!("{}{INFO}", naming.id),
        Ask::Image { naming, .. } => {
            let image = request.image.as_deref().unwrap_or_default();
            let words = path.strip_prefix(image).unwrap_or_default();
            format!("{}{}", naming.id, address.spelt(words))
        }
        _ => return None,
    };
    Some(Request {
        ask: Ask::Redirect(Redirect { to, forever: true }),
        ..request
    })
}

/// Redirects the bare identifier to its info.json (§2.1 of every version).
fn bare(path: &str, address: &Address) -> Result<Request> {
    let image = path.trim_end_matches('/');
    if image.is_empty() {
        return Err(Error::Malformed(
            "IIIF takes ID/REGION/SIZE/ROTATION/QUALITY.FORMAT or ID/info.json".into(),
        ));
    }
    let target = format!("{}/info.json", address.id(path, 0).trim_end_matches('/'));
    Ok(Request {
        image: Some(image.into()),
        ask: Ask::Redirect(Redirect {
            to: target,
            forever: false,
        }),
    })
}

/// Formats a word of a request for a message.
fn wrong(what: &str, text: &str) -> Error {
    Error::Malformed(format!("\"{}\" is not a {what}", short(text)))
}
