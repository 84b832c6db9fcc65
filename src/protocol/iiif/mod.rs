//! IIIF Image API 3.0 and 2.1: `ID/info.json` and `ID/REGION/SIZE/ROTATION/QUALITY.FORMAT`.
//!
//! The identifier may hold slashes: the last four segments are the parameters.

mod info;
mod params;

pub use crate::protocol::iiif::info::info;

use crate::error::Error;
use crate::error::Result;
use crate::protocol::Address;
use crate::protocol::Ask;
use crate::protocol::Request;
use crate::protocol::short;

/// Media types of an info.json, by version.
pub const CONTEXT_2: &str = "http://iiif.io/api/image/2/context.json";
/// The context of version 3.
pub const CONTEXT_3: &str = "http://iiif.io/api/image/3/context.json";

/// Reads a decoded path.
pub fn parse(path: &str, address: &Address) -> Result<Request> {
    let path = path.split('?').next().unwrap_or_default();
    let version = version(address);
    if let Some(image) = path.strip_suffix("/info.json") {
        let id = id(address, "/info.json");
        return Ok(Request {
            image: Some(unescape(image)),
            ask: Ask::Info { version, id },
        });
    }
    let mut parts = path.rsplitn(5, '/');
    let mut next = || parts.next().unwrap_or_default();
    let (file, rotation, size, region, image) = (next(), next(), next(), next(), next());
    if image.is_empty() {
        return bare(path, address);
    }
    match params::view(version, region, size, rotation, file) {
        Ok(view) => Ok(Request {
            image: Some(unescape(image)),
            ask: Ask::Picture(view),
        }),
        // an identifier with slashes and nothing behind it has no region where a region would stand
        Err(_) if !params::looks_like_region(region) && !file.contains('.') => bare(path, address),
        Err(_) if !params::looks_like_region(region) && !params::looks_like_quality(file) => {
            bare(path, address)
        }
        Err(error) => Err(error),
    }
}

/// The identifier alone leads to its info.json (§2.1 of both versions).
fn bare(path: &str, address: &Address) -> Result<Request> {
    if path.is_empty() {
        return Err(Error::Malformed(
            "IIIF takes ID/REGION/SIZE/ROTATION/QUALITY.FORMAT or ID/info.json".into(),
        ));
    }
    let target = format!("{}/info.json", id(address, "").trim_end_matches('/'));
    Ok(Request {
        image: Some(unescape(path.trim_end_matches('/'))),
        ask: Ask::Redirect(target),
    })
}

/// Some proxies encode twice: `%252F` arrives here as `%2F`.
fn unescape(image: &str) -> String {
    image.replace("%2F", "/").replace("%2f", "/")
}

/// The version that the Accept header names by its context, else the configured one.
fn version(address: &Address) -> u8 {
    let accept = address.http.text("HTTP_ACCEPT").unwrap_or_default();
    if accept.contains(CONTEXT_3) {
        3
    } else if accept.contains(CONTEXT_2) {
        2
    } else {
        address.settings.iiif_version
    }
}

/// The address of the image as the client used it, without `tail`: X-IIIF-ID, or BASE_URL and the identifier, or
/// scheme, host and path of the request.
fn id(address: &Address, tail: &str) -> String {
    let Address {
        http,
        settings,
        prefix,
        encoded,
    } = address;
    if let Some(id) = http.text("HTTP_X_IIIF_ID").filter(|id| !id.is_empty()) {
        return id.strip_suffix(tail).unwrap_or(id).into();
    }
    let encoded = String::from_utf8_lossy(encoded);
    let encoded = encoded.split('?').next().unwrap_or_default();
    let name = encoded.strip_suffix(tail).unwrap_or(encoded);
    if !settings.base_url.is_empty() {
        return format!("{}{name}", settings.base_url);
    }
    let secure = matches!(http.text("HTTPS"), Some("on" | "ON" | "1"))
        || http.text("REQUEST_SCHEME") == Some("https")
        || http.text("HTTP_X_FORWARDED_PROTO") == Some("https");
    let scheme = if secure { "https" } else { "http" };
    let host = http.text("HTTP_HOST").filter(|host| !host.is_empty());
    let host = host.or_else(|| http.text("SERVER_NAME")).unwrap_or("localhost");
    let base = match prefix {
        Some("") => "/".into(),
        Some(prefix) => format!("/{prefix}/"),
        None => {
            let uri = http
                .text("REQUEST_URI")
                .or_else(|| http.text("SCRIPT_NAME"))
                .unwrap_or_default();
            let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
            if !query.to_ascii_lowercase().contains("iiif=")
                && path.len() > 1
                && http.var("REQUEST_URI").is_some()
            {
                // a rewrite in the web server: the path that the client used is the image's address
                return format!(
                    "{scheme}://{}{}",
                    clean(host),
                    path.strip_suffix(tail).unwrap_or(path)
                );
            }
            format!("{path}?IIIF=")
        }
    };
    format!("{scheme}://{}{base}{name}", clean(host))
}

/// A host name as it may stand in an address.
fn clean(host: &str) -> String {
    short(host)
        .chars()
        .filter(|c| !c.is_whitespace() && !"\"<>\\/".contains(*c))
        .collect()
}
