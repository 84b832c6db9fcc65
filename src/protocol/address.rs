//! The entry point of a request, and the public address of an image.
//!
//! Headers of proxies are used only with `TRUST_PROXY=1`.

use crate::http::Http;
use crate::protocol::Mount;
use crate::protocol::ProtocolSettings;
use crate::protocol::decode;
use percent_encoding::AsciiSet;
use percent_encoding::CONTROLS;
use percent_encoding::percent_encode;
use percent_encoding::utf8_percent_encode;
use std::borrow::Cow;

/// Characters that are invalid in an address (RFC 3986 §2) and always escaped; all others stay as the client sent them.
const UNSAFE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Characters to encode in a path that arrived decoded.
const PATH: &AsciiSet = &UNSAFE.add(b'%').add(b'?').add(b'#').add(b'[').add(b']');

/// Characters to encode in a query, where a plus is a space and an ampersand ends a value.
const QUERY: &AsciiSet = &PATH.add(b'+').add(b'&');

/// Characters to encode in a segment of a path.
const SEGMENT: &AsciiSet = &QUERY.add(b'/');

/// The entry point of a request.
#[derive(Clone)]
pub struct Address<'a> {
    /// The request.
    pub http: &'a Http,
    /// The settings.
    pub settings: &'a ProtocolSettings,
    /// The row of `URI_MAP` that matched; `None` in a query string.
    pub mount: Option<&'a Mount>,
    /// The rest of the path, as the client encoded it.
    pub encoded: Cow<'a, [u8]>,
}

/// The row of `URI_MAP` that matches the start of the request's path, and the rest without the query. The path is REQUEST_URI
/// or, without it, SCRIPT_NAME and PATH_INFO, which arrive decoded (RFC 3875 §4.1).
pub fn mapped<'a>(http: &'a Http, settings: &'a ProtocolSettings) -> Option<Address<'a>> {
    let below = |path: &[u8]| {
        let path = path.split(|&b| b == b'?').next()?.strip_prefix(b"/")?;
        settings.uri_map.iter().find_map(|mount| {
            let rest = path.strip_prefix(mount.prefix.as_bytes())?;
            let rest = if mount.prefix.is_empty() {
                rest
            } else {
                rest.strip_prefix(b"/")?
            };
            (!rest.is_empty()).then(|| (mount, path.len() - rest.len() + 1, rest.len()))
        })
    };
    let address = |path: Cow<'a, [u8]>| {
        let (mount, start, length) = below(&path)?;
        let cut = start..start + length;
        let encoded = match path {
            Cow::Borrowed(path) => Cow::Borrowed(path.get(cut)?),
            Cow::Owned(path) => Cow::Owned(path.get(cut)?.to_vec()),
        };
        Some(Address {
            http,
            settings,
            mount: Some(mount),
            encoded,
        })
    };
    if let Some(uri) = http.var("REQUEST_URI").filter(|uri| !uri.is_empty()) {
        return address(Cow::Borrowed(origin_form(uri)));
    }
    let info = http.var("PATH_INFO").unwrap_or_default();
    let script = http.var("SCRIPT_NAME").unwrap_or_default();
    [[script, info].concat(), info.to_vec()]
        .into_iter()
        .find_map(|path| address(Cow::Owned(percent_encode(&path, PATH).to_string().into_bytes())))
}

/// Whether the path is that of the server itself: `/`, or a name that ends in `.fcgi`.
pub fn is_program(http: &Http) -> bool {
    let uri = http.var("REQUEST_URI").or_else(|| http.var("SCRIPT_NAME"));
    let uri = origin_form(uri.unwrap_or_default());
    let path = uri.split(|&b| b == b'?').next().unwrap_or_default();
    matches!(path, b"" | b"/" | b"*") || path.ends_with(b".fcgi")
}

/// Path and query of an address that may start with scheme and host (RFC 9112 §3.2.2).
fn origin_form(uri: &[u8]) -> &[u8] {
    let start = [&b"http://"[..], b"https://"]
        .iter()
        .find_map(|scheme| uri.strip_prefix(*scheme));
    start.map_or(uri, |rest| {
        let slash = rest.iter().position(|&b| b == b'/');
        slash.and_then(|at| rest.get(at..)).unwrap_or(b"/")
    })
}

impl Address<'_> {
    /// The address of `image` (decoded), which `segments` segments of the request's path follow: X-IIIF-ID, or BASE_URL and the
    /// identifier, or scheme, host and path as the client used them. Escaped for JSON and header lines.
    pub fn id(&self, image: &str, segments: usize) -> String {
        let given = self.http.text("HTTP_X_IIIF_ID").filter(|id| !id.is_empty());
        if let Some(id) = given {
            return safe(id.strip_suffix("/info.json").unwrap_or(id));
        }
        let name = self.name(image, segments);
        if !self.settings.base_url.is_empty() {
            return format!("{}{name}", self.settings.base_url);
        }
        let UrlOrigin { scheme, host, prefix } = self.origin();
        let path = match self.mount {
            Some(mount) if mount.prefix.is_empty() => format!("/{name}"),
            Some(mount) => format!("/{}/{name}", mount.prefix),
            None => self.script(&name, segments),
        };
        format!("{scheme}://{host}{prefix}{}", safe(&path))
    }

    /// Whether `+` is a space: in a query, unless a web server rewrote a path to it.
    pub fn plus(&self) -> bool {
        let path = self
            .rewritten()
            .is_some_and(|path| path.ends_with(bare(&self.encoded)));
        self.mount.is_none() && !path
    }

    /// Words of a request in canonical encoding.
    pub fn spelt(&self, words: &str) -> String {
        utf8_percent_encode(words, if self.plus() { QUERY } else { PATH }).to_string()
    }

    /// The identifier as the client encoded it or, if that is unknown, in canonical encoding.
    fn name(&self, image: &str, segments: usize) -> String {
        let cut = without(&self.encoded, segments);
        match decode(cut, self.plus()) {
            Ok(decoded) if decoded == image => safe(&String::from_utf8_lossy(cut)),
            _ if self.plus() => utf8_percent_encode(image, QUERY).to_string(),
            _ => utf8_percent_encode(image, PATH).to_string(),
        }
    }

    /// The path of an image that was requested by a query: that of the program, or the one that a web server rewrote.
    fn script(&self, name: &str, segments: usize) -> String {
        match self.rewritten() {
            Some(path) => String::from_utf8_lossy(without(path, segments)).into_owned(),
            None => {
                let uri = self.http.var("REQUEST_URI").map(origin_form);
                let uri = uri.or_else(|| self.http.var("SCRIPT_NAME"));
                let path = uri.and_then(|uri| uri.split(|&b| b == b'?').next());
                format!(
                    "{}?IIIF={name}",
                    String::from_utf8_lossy(path.unwrap_or_default())
                )
            }
        }
    }

    /// The path of the request, if a web server rewrote it to the query.
    fn rewritten(&self) -> Option<&[u8]> {
        let uri = origin_form(self.http.var("REQUEST_URI")?);
        let mut parts = uri.splitn(2, |&b| b == b'?');
        let path = parts.next().unwrap_or_default();
        let query = parts.next().unwrap_or_default().to_ascii_lowercase();
        let own = query.windows(5).any(|part| part == b"iiif=");
        (!own && path.len() > 1).then_some(bare(path))
    }

    /// Scheme, host and the path prefix that a proxy removed.
    fn origin(&self) -> UrlOrigin {
        let text = |name: &str| self.http.text(name).filter(|value| !value.is_empty());
        let proxy = if self.settings.trust_proxy {
            Proxy::read(self.http)
        } else {
            Proxy::default()
        };
        let own = matches!(text("HTTPS"), Some("on" | "ON" | "1")) || text("REQUEST_SCHEME") == Some("https");
        let secure = proxy
            .proto
            .map_or(own, |proto| proto.eq_ignore_ascii_case("https"));
        let usual = if secure { "443" } else { "80" };
        let mut host = clean(
            &proxy
                .host
                .or_else(|| text("HTTP_HOST").map(String::from))
                .unwrap_or_else(|| {
                    let port = text("SERVER_PORT").filter(|port| *port != usual);
                    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
                    format!("{}{port}", text("SERVER_NAME").unwrap_or("localhost"))
                }),
        );
        let bare = host.rsplit_once(':').is_none_or(|(_, port)| port.ends_with(']'));
        if let Some(port) = proxy.port.filter(|port| bare && *port != usual) {
            host = format!("{host}:{}", clean(&port));
        }
        let prefix = proxy.prefix.unwrap_or_default();
        let prefix = prefix.trim_matches('/');
        UrlOrigin {
            scheme: if secure { "https" } else { "http" },
            host,
            prefix: if prefix.is_empty() {
                String::new()
            } else {
                safe(&format!("/{prefix}"))
            },
        }
    }
}

/// The beginning of an address.
struct UrlOrigin {
    scheme: &'static str,
    host: String,
    prefix: String,
}

/// The original request as forwarded by proxies: Forwarded (RFC 7239) takes precedence over the X-Forwarded headers, and the
/// proxy nearest to the client over others.
#[derive(Default)]
struct Proxy {
    proto: Option<String>,
    host: Option<String>,
    port: Option<String>,
    prefix: Option<String>,
}

impl Proxy {
    fn read(http: &Http) -> Proxy {
        let first = |name: &str| {
            let value = http.text(name)?.split(',').next()?.trim();
            (!value.is_empty()).then(|| value.to_string())
        };
        let forwarded = http.text("HTTP_FORWARDED").unwrap_or_default();
        let nearest = forwarded.split(',').next().unwrap_or_default();
        let part = |wanted: &str| {
            nearest.split(';').find_map(|pair| {
                let (name, value) = pair.split_once('=')?;
                let value = value.trim().trim_matches('"');
                (name.trim().eq_ignore_ascii_case(wanted) && !value.is_empty()).then(|| value.to_string())
            })
        };
        Proxy {
            proto: part("proto").or_else(|| first("HTTP_X_FORWARDED_PROTO")),
            host: part("host").or_else(|| first("HTTP_X_FORWARDED_HOST")),
            port: first("HTTP_X_FORWARDED_PORT"),
            prefix: first("HTTP_X_FORWARDED_PREFIX"),
        }
    }
}

/// Removes trailing slashes.
pub fn bare(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|&b| b != b'/').map_or(0, |at| at + 1);
    path.get(..end).unwrap_or_default()
}

/// Encodes a name as one segment of a path.
pub fn segment(name: &str) -> String {
    utf8_percent_encode(name, SEGMENT).to_string()
}

/// Removes the last segments of a path.
fn without(path: &[u8], segments: usize) -> &[u8] {
    (0..segments).fold(path, |path, _| {
        let slash = path.iter().rposition(|&b| b == b'/');
        slash.and_then(|at| path.get(..at)).unwrap_or_default()
    })
}

/// Escapes all characters that are invalid in an address.
fn safe(address: &str) -> String {
    utf8_percent_encode(address, UNSAFE).to_string()
}

/// A host name without characters that are invalid in an address.
fn clean(host: &str) -> String {
    host.chars()
        .filter(|c| c.is_ascii_alphanumeric() || ".-_~:[]%".contains(*c))
        .take(255)
        .collect()
}
