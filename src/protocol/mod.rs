//! The four protocols: each parses requests and describes images without opening them.
//!
//! Errors are reported in the form of the protocol of the request.

mod address;
pub mod deepzoom;
pub mod iiif;
pub mod iip;
mod numbers;
mod tiles;
pub mod zoomify;

pub use crate::protocol::address::Address;
pub use crate::protocol::address::segment;
pub use crate::protocol::iiif::Naming;

use crate::error::Error;
use crate::error::Result;
use crate::http::Http;
use crate::http::Method;
use crate::plan::PlanLimits;
use crate::plan::View;
use crate::source::Header;
use percent_encoding::percent_decode;
use std::borrow::Cow;

/// A protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Internet Imaging Protocol 1.0.5.
    Iip,
    /// IIIF Image API 3.0, 2.1 and 1.1.
    Iiif,
    /// Microsoft DeepZoom.
    DeepZoom,
    /// Zoomify.
    Zoomify,
}

impl Protocol {
    /// The name in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Protocol::Iip => "iip",
            Protocol::Iiif => "iiif",
            Protocol::DeepZoom => "deepzoom",
            Protocol::Zoomify => "zoomify",
        }
    }

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

/// A row of `URI_MAP`: the protocol below a prefix of request paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The prefix, without slashes around it; empty for all paths.
    pub prefix: String,
    /// A protocol.
    pub protocol: Protocol,
    /// The only version of IIIF below the prefix; `None` for all.
    pub iiif_version: Option<u8>,
}

impl Mount {
    /// A row by the name of the protocol, in any case; `IIIF1`, `IIIF2` and `IIIF3` are versions of IIIF.
    pub fn named(prefix: &str, name: &str) -> Option<Mount> {
        let version = ["IIIF1", "IIIF2", "IIIF3"]
            .iter()
            .zip(1..)
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, version)| version);
        let protocol = match version {
            Some(_) => Protocol::Iiif,
            None => Protocol::named(name)?,
        };
        Some(Mount {
            prefix: prefix.into(),
            protocol,
            iiif_version: version,
        })
    }
}

/// Members of a JSON object.
pub type Members = serde_json::Map<String, serde_json::Value>;

/// Settings of the protocols.
#[derive(Clone, Debug)]
pub struct ProtocolSettings {
    /// Prefixes of request paths with their protocols, the longest first.
    pub uri_map: Vec<Mount>,
    /// Whether paths are mapped: if so, a path without a row and without a query is a 404.
    pub mapped: bool,
    /// Public address of the images; empty for the address of the request.
    pub base_url: String,
    /// Whether to trust the headers of proxies for scheme, host and path.
    pub trust_proxy: bool,
    /// Whether scripts of other sites may read answers.
    pub cors: bool,
    /// Default IIIF version.
    pub iiif_version: u8,
    /// Members added to every info.json.
    pub iiif_extra: Members,
    /// Rights of images without a rights statement.
    pub copyright: String,
    /// The number of the first channel in MINMAX; `None` decides by the given numbers.
    pub first_channel: Option<u32>,
    /// Whether the additional qualities of IIIF_EXTENSIONS are enabled.
    pub iiif_extensions: bool,
    /// Whether manifests are enabled.
    pub manifests: bool,
}

/// A parsed request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// The image; `None` for requests to the server itself.
    pub image: Option<String>,
    /// The requested content.
    pub ask: Ask,
}

/// Kinds of requested content.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// A picture.
    Picture(View),
    /// IIP: a picture by CVT, which has a file name for saving.
    Export(View),
    /// IIP: a rectangle of tiles in one answer.
    Tiles(iip::TileRange),
    /// IIP: samples as numbers.
    Measure(iip::Measure),
    /// IIP: metadata lines.
    Objects(Vec<iip::Object>),
    /// IIIF: a picture with links to its profile and canonical address.
    Image {
        /// The pixels.
        view: View,
        /// Version and address.
        naming: Naming,
        /// Whether the Accept header selected the format (version 1).
        negotiated: bool,
    },
    /// IIIF: info.json.
    Info {
        /// Version and address.
        naming: Naming,
        /// Whether JSON-LD was requested.
        linked: bool,
    },
    /// IIIF: manifest.json of an image or a folder.
    Manifest(iiif::ManifestRequest),
    /// DeepZoom: the .dzi file.
    Dzi,
    /// Zoomify: ImageProperties.xml.
    Properties,
    /// A redirect.
    Redirect(Redirect),
    /// The page that names the server.
    Nothing,
}

/// The target of a redirect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The address.
    pub to: String,
    /// Whether the redirect is permanent (301) or see-other (303).
    pub forever: bool,
}

/// An error with the protocol of the request.
#[derive(Debug)]
pub struct Failure {
    /// The protocol of the request.
    pub protocol: Protocol,
    /// The error.
    pub error: Error,
    /// IIP: class, kind and argument of the error body, if the error alone does not determine them.
    pub iip: Option<iip::Fault>,
}

impl Failure {
    /// A failure described by the error alone.
    pub fn new(protocol: Protocol, error: Error) -> Self {
        Failure {
            protocol,
            error,
            iip: None,
        }
    }
}

/// Parses a request: the path after a matching prefix of `URI_MAP`, otherwise the query string or the body of a POST.
pub fn parse(http: &Http, settings: &ProtocolSettings) -> std::result::Result<(Protocol, Request), Failure> {
    if let Some(address) = address::mapped(http, settings)
        && let Some(mount) = address.mount
    {
        if mount.protocol == Protocol::Iip {
            return iip::parse(&address.encoded, http, settings);
        }
        let (path, commands) = match mount.protocol {
            Protocol::DeepZoom | Protocol::Zoomify => iip::tail(&address.encoded),
            Protocol::Iiif | Protocol::Iip => (&*address.encoded, &[][..]),
        };
        let request = decode(path, false)
            .and_then(|path| by_path(mount.protocol, &path, &address))
            .and_then(|request| iip::changed(request, commands, settings));
        return match request {
            Ok(request) => Ok((mount.protocol, request)),
            Err(error) => Err(Failure::new(mount.protocol, error)),
        };
    }
    let query = http.var("QUERY_STRING").filter(|query| !query.is_empty());
    if query.is_none() && settings.mapped && http.body.is_empty() && !address::is_program(http) {
        let error = Error::Missing("nothing is mapped to this path".into());
        return Err(Failure::new(Protocol::Iiif, error));
    }
    let body = || (http.method() == Method::Post).then_some(http.body.as_slice());
    iip::parse(query.or_else(body).unwrap_or_default(), http, settings)
}

/// Parses the part after a prefix, or after `IIIF=`, `DeepZoom=`, `Zoomify=` in a query. `path` is decoded.
fn by_path(protocol: Protocol, path: &str, address: &Address) -> Result<Request> {
    match protocol {
        Protocol::Iiif => iiif::parse(path, address),
        Protocol::DeepZoom => deepzoom::parse(path),
        Protocol::Zoomify => zoomify::parse(path),
        Protocol::Iip => Err(Error::Malformed("IIP commands belong in the query string".into())),
    }
}

/// Percent-decodes; with `plus`, `+` becomes a space as in a query string. Errors: NUL and invalid UTF-8.
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

/// Parses a whole number without sign; the error names its meaning.
fn whole(text: &str, what: &str) -> Result<u32> {
    // `parse` would accept a sign
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u32>() {
        Ok(value) if digits => Ok(value),
        _ => Err(Error::Malformed(format!(
            "{what} takes a whole number, got \"{}\"",
            short(text)
        ))),
    }
}

/// Text from a request, shortened to one line for a message.
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
    /// The Link header.
    pub links: Option<String>,
    /// The body.
    pub text: String,
}

/// Answers requests for descriptions of an image; `None` for requests that need pixels. `notes` are the members of sidecar
/// files for info.json, those of the image before those of its directory.
pub fn describe(
    ask: &Ask,
    header: &Header,
    limits: &PlanLimits,
    settings: &ProtocolSettings,
    notes: &[Members],
) -> Option<Description> {
    match ask {
        Ask::Info { naming, linked } => Some(iiif::info(naming, *linked, header, limits, settings, notes)),
        Ask::Dzi => Some(deepzoom::describe(header)),
        Ask::Properties => Some(zoomify::describe(header)),
        Ask::Manifest(_)
        | Ask::Picture(_)
        | Ask::Image { .. }
        | Ask::Export(_)
        | Ask::Tiles(_)
        | Ask::Measure(_)
        | Ask::Objects(_)
        | Ask::Redirect(_)
        | Ask::Nothing => None,
    }
}
