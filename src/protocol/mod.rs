//! The four protocols: each parses a name and describes an image.
//!
//! Knows words and the forms of descriptions. Opens nothing, decodes nothing. What goes wrong is told in the way of the
//! protocol that was spoken.

pub mod deepzoom;
pub mod iiif;
pub mod iip;
pub mod zoomify;

use crate::error::Error;
use crate::error::Result;
use crate::http::Http;
use crate::http::Method;
use crate::plan::Limits;
use crate::plan::View;
use crate::source::Header;
use percent_encoding::percent_decode;
use std::borrow::Cow;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Internet Imaging Protocol 1.0.5.
    Iip,
    /// IIIF Image API 2.1 and 3.0.
    Iiif,
    /// Microsoft DeepZoom.
    DeepZoom,
    /// Zoomify.
    Zoomify,
}

impl Protocol {
    /// The protocol with this name, in any case.
    pub fn named(name: &str) -> Option<Protocol> {
        let all = [
            ("IIP", Protocol::Iip),
            ("IIIF", Protocol::Iiif),
            ("DeepZoom", Protocol::DeepZoom),
            ("Zoomify", Protocol::Zoomify),
        ];
        all.iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, protocol)| *protocol)
    }
}

/// What the protocols need to know of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Prefixes of request paths and what is spoken below them, the longest first.
    pub uri_map: Vec<(String, Protocol)>,
    /// Public address of the images; empty for the request's own.
    pub base_url: String,
    /// IIIF version when the client asks for none.
    pub iiif_version: u8,
    /// Members added to every info.json.
    pub iiif_extra: serde_json::Map<String, serde_json::Value>,
    /// Rights of images that carry none.
    pub copyright: String,
}

/// What was asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Which image; `None` when the question is about the server.
    pub image: Option<String>,
    /// What of it.
    pub ask: Ask,
}

/// The kinds of question.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// Pixels in a file.
    Picture(View),
    /// Pixels in a file that a browser may offer to save under a name: IIP's CVT.
    Export(View),
    /// IIP: a rectangle of tiles in one answer.
    Tiles(iip::TileRange),
    /// IIP: samples as numbers.
    Measure(iip::Measure),
    /// IIP: metadata lines.
    Objects(Vec<iip::Object>),
    /// IIIF: info.json in this version, for this id.
    Info {
        /// 2 or 3.
        version: u8,
        /// The address that names the image.
        id: String,
    },
    /// DeepZoom: the .dzi file.
    Dzi,
    /// Zoomify: ImageProperties.xml.
    Properties,
    /// Another address.
    Redirect(String),
    /// Nothing: the page that names the server.
    Nothing,
}

/// What went wrong, and in which protocol.
#[derive(Debug)]
pub struct Failure {
    /// The protocol that was spoken.
    pub protocol: Protocol,
    /// What went wrong.
    pub error: Error,
    /// IIP: class, kind and argument of the error body, where the error alone does not tell.
    pub iip: Option<iip::Fault>,
}

impl Failure {
    /// A failure that the error tells completely.
    pub fn new(protocol: Protocol, error: Error) -> Self {
        Failure {
            protocol,
            error,
            iip: None,
        }
    }
}

/// Reads a request: the path after a matching prefix of `URI_MAP`, else the query string, else a POST's body.
pub fn parse(http: &Http, settings: &Settings) -> std::result::Result<(Protocol, Request), Failure> {
    if let Some((protocol, prefix, rest)) = mapped(http, settings) {
        let path = decode(rest, false);
        let address = Address {
            http,
            settings,
            prefix: Some(prefix),
            encoded: rest,
        };
        let parsed = path.and_then(|path| match protocol {
            Protocol::Iip => Err(Error::Malformed("IIP is asked in a query string".into())),
            other => by_path(other, &path, &address),
        });
        return match (protocol, parsed) {
            (Protocol::Iip, _) => iip::parse(rest, http, settings),
            (_, parsed) => Ok((protocol, parsed.map_err(|error| Failure::new(protocol, error))?)),
        };
    }
    let query = http.var("QUERY_STRING").filter(|query| !query.is_empty());
    let body = || (http.method() == Method::Post).then_some(http.body.as_slice());
    iip::parse(query.or_else(body).unwrap_or_default(), http, settings)
}

/// Reads what follows a prefix, or `IIIF=`, `DeepZoom=`, `Zoomify=` in a query. `path` is decoded.
fn by_path(protocol: Protocol, path: &str, address: &Address) -> Result<Request> {
    match protocol {
        Protocol::Iiif => iiif::parse(path, address),
        Protocol::DeepZoom => deepzoom::parse(path),
        Protocol::Zoomify => zoomify::parse(path),
        Protocol::Iip => Err(Error::Malformed("IIP is asked in a query string".into())),
    }
}

/// Where a request came in, to say where an image lies.
pub struct Address<'a> {
    /// The request.
    pub http: &'a Http,
    /// The settings.
    pub settings: &'a Settings,
    /// The prefix of `URI_MAP` that matched; `None` in a query string.
    pub prefix: Option<&'a str>,
    /// What followed it, as the client spelt it.
    pub encoded: &'a [u8],
}

/// The prefix of `URI_MAP` that REQUEST_URI starts with, and what follows it, without the query.
fn mapped<'a>(http: &'a Http, settings: &'a Settings) -> Option<(Protocol, &'a str, &'a [u8])> {
    let uri = http.var("REQUEST_URI")?;
    let path = uri.split(|&b| b == b'?').next()?.strip_prefix(b"/")?;
    settings.uri_map.iter().find_map(|(prefix, protocol)| {
        let rest = path.strip_prefix(prefix.as_bytes())?;
        let rest = if prefix.is_empty() {
            rest
        } else {
            rest.strip_prefix(b"/")?
        };
        (!rest.is_empty()).then_some((*protocol, prefix.as_str(), rest))
    })
}

/// Percent-decodes; `plus` turns `+` into a blank, as in a query string. NUL and what is not UTF-8 are errors.
pub fn decode(text: &[u8], plus: bool) -> Result<String> {
    let blanks: Cow<[u8]> = if plus && text.contains(&b'+') {
        text.iter()
            .map(|&b| if b == b'+' { b' ' } else { b })
            .collect::<Vec<u8>>()
            .into()
    } else {
        text.into()
    };
    let decoded = String::from_utf8(percent_decode(&blanks).collect())
        .map_err(|_| Error::Malformed("the request is not UTF-8".into()))?;
    if decoded.contains('\0') {
        return Err(Error::Malformed("the request contains a NUL".into()));
    }
    Ok(decoded)
}

/// A whole number without sign, or an error that says what it was for.
fn whole(text: &str, what: &str) -> Result<u32> {
    // a sign is not part of a whole number, although `parse` takes it
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(value) if digits => Ok(value),
        _ => Err(Error::Malformed(format!(
            "{what} takes a whole number, got \"{}\"",
            short(text)
        ))),
    }
}

/// Text from a request as it may stand in a message: one line, not long.
pub fn short(text: &str) -> String {
    text.chars()
        .take(100)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

/// A description of an image: media type and text.
pub struct Description {
    /// The media type.
    pub media_type: &'static str,
    /// The body.
    pub text: String,
}

/// Answers a question about an image that needs no pixels; `None` for the others.
pub fn describe(ask: &Ask, header: &Header, limits: &Limits, settings: &Settings) -> Option<Description> {
    match ask {
        Ask::Info { version, id } => Some(iiif::info(*version, id, header, limits, settings)),
        Ask::Dzi => Some(deepzoom::describe(header)),
        Ask::Properties => Some(zoomify::describe(header)),
        Ask::Picture(_)
        | Ask::Export(_)
        | Ask::Tiles(_)
        | Ask::Measure(_)
        | Ask::Objects(_)
        | Ask::Redirect(_)
        | Ask::Nothing => None,
    }
}
