//! The Internet Imaging Protocol 1.0.5 with the extensions of iipsrv: `NAME=VALUE&…`, from left to right.
//!
//! Two tables: commands that change the request, and commands that request an answer and end the query.

mod changes;
mod commands;
mod objects;

pub use crate::protocol::iip::objects::Object;
pub use crate::protocol::iip::objects::Objects;
pub use crate::protocol::iip::objects::answer;
pub use crate::protocol::iip::objects::names as objects;

use crate::error::Result;
use crate::http::Http;
use crate::plan::Adjust;
use crate::protocol::Address;
use crate::protocol::Ask;
use crate::protocol::Failure;
use crate::protocol::Protocol;
use crate::protocol::ProtocolSettings;
use crate::protocol::Request;
use crate::protocol::by_path;
use crate::protocol::decode;
use crate::protocol::iip::changes::CHANGES;
use crate::protocol::iip::commands::Action;
use crate::protocol::iip::commands::Commands;
use crate::protocol::iip::commands::lookup;
use crate::protocol::iip::commands::malformed;
use crate::protocol::iip::commands::split;
use crate::raster::Format;

/// The body of an error: `Error/LEN:CLASS KIND ARGUMENT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Class and kind, such as `2 2`.
    pub code: &'static str,
    /// The argument.
    pub argument: String,
}

impl Fault {
    /// The body including CRLF; LEN counts the bytes between the colon and the CRLF.
    pub fn body(&self) -> String {
        let text = format!("{} {}", self.code, self.argument.replace(['\r', '\n'], " "));
        format!("Error/{}:{text}\r\n", text.len())
    }
}

/// A rectangle of tiles, from the column and row of `first` to those of `last`, inclusive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileRange {
    /// 0 is the smallest level.
    pub resolution: u32,
    /// Index of the top left tile.
    pub first: u32,
    /// Index of the bottom right tile.
    pub last: u32,
    /// Requested quality.
    pub quality: Option<i16>,
    /// Processing of the pixels.
    pub adjust: Adjust,
}

/// A request for samples as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// A profile along a row, or along a column if both pixels have the same x. `to` is excluded unless it equals `from`.
    Profile {
        /// 0 is the smallest level.
        resolution: u32,
        /// Column and row.
        from: (u32, u32),
        /// Column and row; the same for one pixel.
        to: (u32, u32),
    },
    /// The samples of one pixel of a tile.
    Spectrum {
        /// 0 is the smallest level.
        resolution: u32,
        /// Index of the tile.
        tile: u32,
        /// Column in the tile.
        x: u32,
        /// Row in the tile.
        y: u32,
    },
}

static ACTIONS: &[(&str, Action)] = &[
    ("JTL", Action::Tile(Format::Jpeg)),
    ("PTL", Action::Tile(Format::Png)),
    ("WTL", Action::Tile(Format::Webp)),
    ("ATL", Action::Tile(Format::Avif)),
    ("TTL", Action::Tile(Format::Tiff)),
    ("JTLS", Action::TileOfView),
    ("TIL", Action::Tiles),
    ("CVT", Action::Export),
    ("PFL", Action::Profile),
    ("SPECTRA", Action::Spectrum),
    ("IIIF", Action::Path(Protocol::Iiif)),
    ("DEEPZOOM", Action::Path(Protocol::DeepZoom)),
    ("ZOOMIFY", Action::Path(Protocol::Zoomify)),
];

/// The names of all commands.
pub fn commands() -> impl Iterator<Item = &'static str> {
    let actions = ACTIONS.iter().map(|(name, _)| *name);
    actions.chain(CHANGES.iter().map(|(name, _)| *name))
}

/// The commands of `IIP-opt-comm`: optional in the protocol, and supported.
pub(in crate::protocol::iip) fn optional_commands() -> impl Iterator<Item = &'static str> {
    let actions = ACTIONS.iter().filter(|(_, act)| !matches!(act, Action::Path(_)));
    let changes = CHANGES.iter().map(|(name, _)| *name);
    // the first two are mandatory; the last is accepted without effect
    let changes = changes.filter(|name| !["FIF", "OBJ", "ICC"].contains(name));
    actions.map(|(name, _)| *name).chain(changes)
}

/// Parses a query, still percent-encoded.
pub fn parse(
    query: &[u8],
    http: &Http,
    settings: &ProtocolSettings,
) -> std::result::Result<(Protocol, Request), Failure> {
    if query.is_empty() {
        return Ok((
            Protocol::Iip,
            Request {
                image: None,
                ask: Ask::Nothing,
            },
        ));
    }
    let mut commands = Commands::default();
    let mut parts = query.split(|&b| b == b'&').filter(|part| !part.is_empty());
    while let Some(part) = parts.next() {
        let (name, encoded) = split(part);
        let value = decode(encoded, true).map_err(malformed)?;
        if let Some((_, act)) = lookup(ACTIONS, &name) {
            if let Action::Path(protocol) = act {
                // clients append time stamps to a path
                let path = encoded.split(|&b| b == b'?').next().unwrap_or_default();
                let address = Address {
                    http,
                    settings,
                    mount: None,
                    encoded: path.into(),
                };
                let request = decode(path, address.plus())
                    .and_then(|path| by_path(protocol, &path, &address))
                    .and_then(|request| {
                        // IIIF pictures take the processing of earlier commands only
                        let request = commands.before(request, settings);
                        parts.try_for_each(|part| commands.follow(part))?;
                        Ok(commands.built(request, settings))
                    });
                return Ok((protocol, request.map_err(|error| Failure::new(protocol, error))?));
            }
            // an action without a value is answered like a query without an action
            if value.is_empty() {
                break;
            }
            return commands
                .act(act, &value, settings)
                .map(|request| (Protocol::Iip, request));
        }
        commands.change(&name, &value).map_err(malformed)?;
    }
    commands.finish(query).map(|request| (Protocol::Iip, request))
}

/// Splits a path from the commands that follow it (`…/9/1_0.jpg&GAM=2`).
pub fn tail(path: &[u8]) -> (&[u8], &[u8]) {
    let known = |at: &usize| {
        let part = path.get(at + 1..).unwrap_or_default();
        let part = part.split(|&b| b == b'&').next().unwrap_or_default();
        lookup(CHANGES, &split(part).0).is_some()
    };
    let ampersands = path
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'&')
        .map(|(at, _)| at);
    match ampersands.into_iter().find(known) {
        Some(at) => path.split_at(at),
        None => (path, &[]),
    }
}

/// The request with the effects of these commands.
pub fn changed(request: Request, tail: &[u8], settings: &ProtocolSettings) -> Result<Request> {
    if tail.is_empty() {
        return Ok(request);
    }
    let mut commands = Commands::default();
    let mut parts = tail.split(|&b| b == b'&').filter(|part| !part.is_empty());
    parts.try_for_each(|part| commands.follow(part))?;
    Ok(commands.built(request, settings))
}
