//! The four protocols: each parses requests and describes images, without opening them.
//!
//! Errors are reported in the form of the protocol that was spoken.

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

/// What is spoken.
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
    /// Its name in lower case.
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

/// A row of `URI_MAP`: what is spoken below a prefix of request paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// The prefix, without slashes around it; empty for all paths.
    pub prefix: String,
    /// What is spoken.
    pub protocol: Protocol,
    /// The only version of IIIF that is spoken there; `None` for all.
    pub iiif_version: Option<u8>,
}

impl Mount {
    /// A row by the protocol's name, in any case: `IIIF1`, `IIIF2` and `IIIF3` are versions of IIIF.
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

/// What the protocols need to know of the configuration.
#[derive(Clone, Debug)]
pub struct ProtocolSettings {
    /// Prefixes of request paths and what is spoken below them, the longest first.
    pub uri_map: Vec<Mount>,
    /// Whether paths are mapped at all: one that no row has, and that asks for nothing in a query, leads nowhere then.
    pub mapped: bool,
    /// Public address of the images; empty for the request's own.
    pub base_url: String,
    /// Whether what a proxy says of scheme, host and path is believed.
    pub trust_proxy: bool,
    /// Whether answers may be read by scripts of other sites.
    pub cors: bool,
    /// IIIF version when the client asks for none.
    pub iiif_version: u8,
    /// Members added to every info.json.
    pub iiif_extra: Members,
    /// Rights of images that carry none.
    pub copyright: String,
    /// The number of the first channel in MINMAX; `None` goes by the numbers that are given.
    pub first_channel: Option<u32>,
    /// Whether pictures are also given inverted, stretched, equalised and by their logarithm.
    pub iiif_extensions: bool,
    /// Whether manifests are written.
    pub manifests: bool,
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
    /// IIIF: pixels in a file that says which version was spoken and what its usual address is.
    Image {
        /// The pixels.
        view: View,
        /// Version and address.
        naming: Naming,
        /// Whether the Accept header chose the format (version 1).
        negotiated: bool,
    },
    /// IIIF: info.json.
    Info {
        /// Version and address.
        naming: Naming,
        /// Whether JSON-LD was asked for by name.
        linked: bool,
    },
    /// IIIF: manifest.json of an image or a folder.
    Manifest(iiif::ManifestRequest),
    /// DeepZoom: the .dzi file.
    Dzi,
    /// Zoomify: ImageProperties.xml.
    Properties,
    /// Another address.
    Redirect(Redirect),
    /// Nothing: the page that names the server.
    Nothing,
}

/// Where a request is sent on to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// The address.
    pub to: String,
    /// Whether it takes the place of the one that was asked (301), or only answers it (303).
    pub forever: bool,
}

/// What went wrong, and in which protocol.
#[derive(Debug)]
pub struct Failure {
    /// The protocol that was spoken.
    pub protocol: Protocol,
    /// What went wrong.
    pub error: Error,
    /// IIP: class, kind and argument of the error body, where the error alone does not say it.
    pub iip: Option<iip::Fault>,
}

impl Failure {
    /// A failure that the error describes completely.
    pub fn new(protocol: Protocol, error: Error) -> Self {
        Failure {
            protocol,
            error,
            iip: None,
        }
    }
}

/// Reads a request: the path after a matching prefix of `URI_MAP`, else the query string, else a POST's body.
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

/// Reads what follows a prefix, or `IIIF=`, `DeepZoom=`, `Zoomify=` in a query. `path` is decoded.
fn by_path(protocol: Protocol, path: &str, address: &Address) -> Result<Request> {
    match protocol {
        Protocol::Iiif => iiif::parse(path, address),
        Protocol::DeepZoom => deepzoom::parse(path),
        Protocol::Zoomify => zoomify::parse(path),
        Protocol::Iip => Err(Error::Malformed("IIP is asked in a query string".into())),
    }
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

/// Text from a request as it may be put into a message: one line, not long.
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
    /// What the Link header says.
    pub links: Option<String>,
    /// The body.
    pub text: String,
}

/// Answers a question about an image that needs no pixels; `None` for the others. `notes` are members that are added to
/// an info.json, those of the image before those of its directory.
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
