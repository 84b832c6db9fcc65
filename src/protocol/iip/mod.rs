//! The Internet Imaging Protocol 1.0.5, as iipsrv speaks it: `NAME=VALUE&…`, from left to right.
//!
//! Two tables: commands that change the request, and commands that end and answer it.

mod changes;
mod objects;

pub use crate::protocol::iip::objects::Object;
pub use crate::protocol::iip::objects::Objects;
pub use crate::protocol::iip::objects::answer;
pub use crate::protocol::iip::objects::names as objects;

use crate::encode::Compression;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Num;
use crate::geometry::Size;
use crate::http::Http;
use crate::plan::Adjust;
use crate::plan::Region;
use crate::plan::Scale;
use crate::plan::TileName;
use crate::plan::Treatment;
use crate::plan::View;
use crate::protocol::Address;
use crate::protocol::Ask;
use crate::protocol::Failure;
use crate::protocol::Protocol;
use crate::protocol::Request;
use crate::protocol::Settings;
use crate::protocol::by_path;
use crate::protocol::decode;
use crate::protocol::iip::changes::CHANGES;
use crate::protocol::numbers;
use crate::protocol::numbers::cut;
use crate::protocol::short;
use crate::raster::Format;
use crate::source::sequence::with_view;
use std::borrow::Cow;

/// The body of an error: `Error/LEN:CLASS KIND ARGUMENT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Class and kind, such as `2 2`.
    pub code: &'static str,
    /// What it is about.
    pub argument: String,
}

impl Fault {
    /// The body, CRLF included; LEN counts the bytes between the colon and the CRLF.
    pub fn body(&self) -> String {
        let text = format!("{} {}", self.code, self.argument.replace(['\r', '\n'], " "));
        format!("Error/{}:{text}\r\n", text.len())
    }
}

/// A rectangle of tiles: columns of `first` to `last`, rows of `first` to `last`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TileRange {
    /// Level from the smallest.
    pub level: u32,
    /// Index of the top left tile.
    pub first: u32,
    /// Index of the bottom right tile.
    pub last: u32,
    /// Quality that was asked for.
    pub quality: Option<i16>,
    /// What is done to the pixels.
    pub adjust: Adjust,
}

/// Samples that are asked for as numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Those from one pixel to another, the last aside, along a row, or along a column where both have one x.
    Profile {
        /// Level from the smallest.
        level: u32,
        /// Column and row.
        from: (u32, u32),
        /// Column and row; the same for one pixel.
        to: (u32, u32),
    },
    /// That of one pixel of a tile.
    Spectrum {
        /// Level from the smallest.
        level: u32,
        /// Index of the tile.
        tile: u32,
        /// Column in the tile.
        x: u32,
        /// Row in the tile.
        y: u32,
    },
}

/// What the commands read so far have said.
#[derive(Default)]
struct Commands {
    image: Option<String>,
    objects: Vec<Object>,
    width: Option<u32>,
    height: Option<u32>,
    region: Option<[Num; 4]>,
    quality: Option<i16>,
    compression: Option<Compression>,
    /// Horizontal and vertical angle.
    view: Option<[u32; 2]>,
    /// What is done to the pixels.
    adjust: Adjust,
    /// Channels of MINMAX as they were called; every channel without a number.
    ranges: Vec<(Option<u32>, Num, Num)>,
    unknown: Option<String>,
    unknown_object: Option<String>,
}

/// Commands that send an answer.
#[derive(Clone, Copy)]
enum Action {
    Tile(Format),
    TileOfView,
    Tiles,
    Export,
    Profile,
    Spectrum,
    Path(Protocol),
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
    let acts = ACTIONS.iter().map(|(name, _)| *name);
    acts.chain(CHANGES.iter().map(|(name, _)| *name))
}

/// Those of `IIP-opt-comm`: optional in the protocol, and carried out.
pub(in crate::protocol::iip) fn optional_commands() -> impl Iterator<Item = &'static str> {
    let acts = ACTIONS.iter().filter(|(_, act)| !matches!(act, Action::Path(_)));
    let changes = CHANGES.iter().map(|(name, _)| *name);
    // every server has the first two; the last is accepted and has no effect
    let changes = changes.filter(|name| !["FIF", "OBJ", "ICC"].contains(name));
    acts.map(|(name, _)| *name).chain(changes)
}

fn row<T: Copy>(table: &[(&'static str, T)], name: &str) -> Option<(&'static str, T)> {
    table
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .copied()
}

/// Reads a query, still percent-encoded.
pub fn parse(
    query: &[u8],
    http: &Http,
    settings: &Settings,
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
        if let Some((_, act)) = row(ACTIONS, &name) {
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
                        // pictures of IIIF are what was said before: what follows is for others
                        let request = commands.before(request, settings);
                        parts.try_for_each(|part| commands.follow(part))?;
                        Ok(commands.built(request, settings))
                    });
                return Ok((protocol, request.map_err(|error| Failure::new(protocol, error))?));
            }
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

/// Name and value of a part of a query, still percent-encoded. What has no `=` is both, as in iipsrv.
fn split(part: &[u8]) -> (Cow<'_, str>, &[u8]) {
    let (name, value) = match part.iter().position(|&b| b == b'=') {
        Some(at) => (
            part.get(..at).unwrap_or_default(),
            part.get(at + 1..).unwrap_or_default(),
        ),
        None => (part, part),
    };
    (String::from_utf8_lossy(name), value)
}

/// A path without the commands that follow it (`…/9/1_0.jpg&GAM=2`), and those.
pub fn tail(path: &[u8]) -> (&[u8], &[u8]) {
    let known = |at: &usize| {
        let part = path.get(at + 1..).unwrap_or_default();
        let part = part.split(|&b| b == b'&').next().unwrap_or_default();
        row(CHANGES, &split(part).0).is_some()
    };
    let ands = path
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'&')
        .map(|(at, _)| at);
    match ands.into_iter().find(known) {
        Some(at) => path.split_at(at),
        None => (path, &[]),
    }
}

/// The request with what these commands change.
pub fn changed(request: Request, tail: &[u8], settings: &Settings) -> Result<Request> {
    if tail.is_empty() {
        return Ok(request);
    }
    let mut commands = Commands::default();
    let mut parts = tail.split(|&b| b == b'&').filter(|part| !part.is_empty());
    parts.try_for_each(|part| commands.follow(part))?;
    Ok(commands.built(request, settings))
}

fn malformed(error: Error) -> Failure {
    let fault = Fault {
        code: "2 1",
        argument: error.public().into(),
    };
    Failure {
        protocol: Protocol::Iip,
        error,
        iip: Some(fault),
    }
}

fn fault(code: &'static str, argument: impl Into<String>) -> Failure {
    let argument = argument.into();
    let error = Error::Malformed(format!("IIP error {code} {}", short(&argument)));
    Failure {
        protocol: Protocol::Iip,
        error,
        iip: Some(Fault { code, argument }),
    }
}

impl Commands {
    /// A command after a path. Clients put other things there: time stamps, keys.
    fn follow(&mut self, part: &[u8]) -> Result<()> {
        let (name, encoded) = split(part);
        match row(CHANGES, &name) {
            Some((_, change)) if !encoded.is_empty() => change(self, &decode(encoded, true)?),
            _ => Ok(()),
        }
    }

    fn change(&mut self, name: &str, value: &str) -> Result<()> {
        match row(CHANGES, name) {
            // `NAME=` says nothing
            Some(_) if value.is_empty() => Ok(()),
            Some((_, change)) => change(self, value),
            None => {
                self.unknown = Some(name.into());
                Ok(())
            }
        }
    }

    /// A picture of IIIF with what the commands before it said of samples and quality.
    fn before(&self, request: Request, settings: &Settings) -> Request {
        let ask = match request.ask {
            Ask::Image {
                view,
                naming,
                negotiated,
            } => {
                let adjust = self.adjusted(settings);
                let plain = view.adjust.samples == Treatment::default();
                Ask::Image {
                    view: View {
                        adjust: Adjust {
                            samples: if plain {
                                adjust.samples
                            } else {
                                view.adjust.samples
                            },
                            equalise: view.adjust.equalise || adjust.equalise,
                            layers: adjust.layers,
                            ..view.adjust
                        },
                        quality: self.quality,
                        compression: self.compression,
                        ..view
                    },
                    naming,
                    negotiated,
                }
            }
            other => other,
        };
        Request { ask, ..request }
    }

    /// The request with what the commands before it said.
    fn built(&self, request: Request, settings: &Settings) -> Request {
        Request {
            image: request.image.map(|image| self.named(image)),
            ask: match request.ask {
                Ask::Picture(view) => Ask::Picture(View {
                    adjust: self.adjusted(settings),
                    ..view
                }),
                Ask::Export(view) => Ask::Export(View {
                    adjust: self.adjusted(settings),
                    ..view
                }),
                Ask::Tiles(range) => Ask::Tiles(TileRange {
                    adjust: self.adjusted(settings),
                    ..range
                }),
                other => other,
            },
        }
    }

    /// What is done to the pixels. Where nothing else is said, MINMAX counts channels from 0 when one of them is 0 or
    /// all of them are meant, as iipsrv 1.3 does, and else from 1, as 1.1 does.
    fn adjusted(&self, settings: &Settings) -> Adjust {
        let from_0 = || {
            self.ranges
                .iter()
                .any(|(channel, ..)| matches!(channel, None | Some(0)))
        };
        let first = settings.first_channel.unwrap_or_else(|| u32::from(!from_0()));
        let mut adjust = self.adjust.clone();
        for (channel, low, high) in &self.ranges {
            let channel = match channel {
                None => Some(None),
                // a channel before the first is none
                Some(channel) => channel
                    .checked_sub(first)
                    .map(|channel| usize::try_from(channel).ok()),
            };
            adjust
                .samples
                .ranges
                .extend(channel.map(|channel| (channel, *low, *high)));
        }
        adjust
    }

    /// The image, or the view of it that was asked for.
    fn named(&self, image: String) -> String {
        match self.view {
            Some(view) => with_view(&image, view),
            None => image,
        }
    }

    fn act(mut self, act: Action, value: &str, settings: &Settings) -> std::result::Result<Request, Failure> {
        let image = self.image.clone().ok_or_else(|| fault("1 3", "FIF"))?;
        let ask = self.ask(act, value).map_err(malformed)?;
        if let (Action::TileOfView, &[x, _, _, y, ..]) =
            (act, numbers::list(value).collect::<Vec<_>>().as_slice())
        {
            self.view = Some([count(x).map_err(malformed)?, count(y).map_err(malformed)?]);
        }
        let request = Request {
            image: Some(image),
            ask,
        };
        Ok(self.built(request, settings))
    }

    fn ask(&self, act: Action, value: &str) -> Result<Ask> {
        let tile = |level, index, format| {
            let view = View::tile(TileName::Iip { level, index }, format);
            Ask::Picture(View {
                quality: self.quality,
                compression: self.compression,
                ..view
            })
        };
        match act {
            Action::Tile(format) => {
                let (level, index) = cut(value, ',');
                Ok(tile(count(level)?, count(index)?, format))
            }
            Action::TileOfView => match numbers::list(value).collect::<Vec<_>>().as_slice() {
                &[_, level, index, _, ..] => Ok(tile(count(level)?, count(index)?, Format::Jpeg)),
                other => Err(Error::Malformed(format!(
                    "JTLS takes four numbers, got {}",
                    other.len()
                ))),
            },
            Action::Tiles => {
                let (level, range) = cut(value, ',');
                let (first, last) = cut(range, '-');
                let (level, first, last) = (count(level)?, count(first)?, count(last)?);
                Ok(Ask::Tiles(TileRange {
                    level,
                    first,
                    last: last.max(first),
                    quality: self.quality,
                    adjust: Adjust::default(),
                }))
            }
            Action::Export => Ok(Ask::Export(self.export(value))),
            Action::Profile => profile(value).map(Ask::Measure),
            Action::Spectrum => spectrum(value).map(Ask::Measure),
            Action::Path(_) => Err(Error::Malformed("a path is not a command's value".into())),
        }
    }

    /// The picture that CVT asks for in a format.
    fn export(&self, format: &str) -> View {
        let scale = match (self.width, self.height) {
            (None, None) => Scale::Image,
            (Some(w), None) => Scale::Width(w),
            (None, Some(h)) => Scale::Height(h),
            (Some(w), Some(h)) => Scale::Within(Size::new(w, h)),
        };
        View {
            region: self.region.map_or(Region::Full, Region::Share),
            scale,
            quality: self.quality,
            compression: self.compression,
            ..View::full(Format::named(format).unwrap_or(Format::Jpeg))
        }
    }

    /// What a query without an acting command means.
    fn finish(self, query: &[u8]) -> std::result::Result<Request, Failure> {
        let about_server = self.objects.iter().all(Object::is_of_server);
        if !self.objects.is_empty() && (self.image.is_some() || about_server) {
            return Ok(Request {
                image: self.image.clone().map(|image| self.named(image)),
                ask: Ask::Objects(self.objects),
            });
        }
        if !self.objects.is_empty() {
            return Err(fault("1 3", "FIF"));
        }
        if let Some(object) = self.unknown_object {
            return Err(fault("3 2", object));
        }
        if let Some(name) = self
            .unknown
            .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric()))
        {
            return Err(fault("2 2", name));
        }
        Err(fault("2 1", short(&String::from_utf8_lossy(query))))
    }
}

/// `LEVEL:X,Y-X,Y`, or `LEVEL:X,Y` for one pixel.
fn profile(text: &str) -> Result<Measure> {
    let (level, line) = cut(text, ':');
    let (from, to) = cut(line, '-');
    let point = |text| -> Result<(u32, u32)> {
        let (x, y) = cut(text, ',');
        Ok((count(x)?, count(y)?))
    };
    Ok(Measure::Profile {
        level: count(level)?,
        from: point(from)?,
        to: point(to)?,
    })
}

/// `LEVEL,TILE,X,Y`.
fn spectrum(text: &str) -> Result<Measure> {
    let (level, rest) = cut(text, ',');
    let (tile, pixel) = cut(rest, ',');
    let (x, y) = cut(pixel, ',');
    Ok(Measure::Spectrum {
        level: count(level)?,
        tile: count(tile)?,
        x: count(x)?,
        y: count(y)?,
    })
}

/// A number of something that the image may have: levels, tiles and pixels count from 0. `Outside` when it is larger than
/// any of them, `Malformed` when it is none.
fn count(text: &str) -> Result<u32> {
    numbers::count(text).ok_or_else(|| {
        let why = format!("the image has no {}", short(text));
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        if digits {
            Error::Outside(why)
        } else {
            Error::Malformed(why)
        }
    })
}
