//! The state that the commands of a query build up, and its conversion to a request.

use crate::encode::TiffCompression;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Num;
use crate::geometry::Size;
use crate::plan::Adjust;
use crate::plan::Region;
use crate::plan::Scale;
use crate::plan::TileName;
use crate::plan::Treatment;
use crate::plan::View;
use crate::protocol::Ask;
use crate::protocol::Failure;
use crate::protocol::Protocol;
use crate::protocol::ProtocolSettings;
use crate::protocol::Request;
use crate::protocol::iip::Fault;
use crate::protocol::iip::Measure;
use crate::protocol::iip::TileRange;
use crate::protocol::iip::objects::Object;
use crate::protocol::numbers;
use crate::protocol::numbers::cut;
use crate::protocol::short;
use crate::raster::Format;
use crate::source::sequence::with_view;
use std::borrow::Cow;

/// The state after the commands parsed so far.
#[derive(Default)]
pub(in crate::protocol::iip) struct Commands {
    pub(in crate::protocol::iip) image: Option<String>,
    pub(in crate::protocol::iip) objects: Vec<Object>,
    pub(in crate::protocol::iip) width: Option<u32>,
    pub(in crate::protocol::iip) height: Option<u32>,
    pub(in crate::protocol::iip) region: Option<[Num; 4]>,
    pub(in crate::protocol::iip) quality: Option<i16>,
    pub(in crate::protocol::iip) compression: Option<TiffCompression>,
    /// Horizontal and vertical angle in degrees.
    pub(in crate::protocol::iip) view: Option<[u32; 2]>,
    /// Processing of the pixels.
    pub(in crate::protocol::iip) adjust: Adjust,
    /// Ranges of MINMAX by channel number as given; without a number for all channels.
    pub(in crate::protocol::iip) ranges: Vec<(Option<u32>, Num, Num)>,
    pub(in crate::protocol::iip) unknown: Option<String>,
    pub(in crate::protocol::iip) unknown_object: Option<String>,
}

/// Commands that send an answer.
#[derive(Clone, Copy)]
pub(in crate::protocol::iip) enum Action {
    Tile(Format),
    TileOfView,
    Tiles,
    Export,
    Profile,
    Spectrum,
    Path(Protocol),
}

impl Commands {
    /// An IIIF picture with the processing and quality of the commands before it.
    pub(in crate::protocol::iip) fn before(&self, request: Request, settings: &ProtocolSettings) -> Request {
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

    /// The request with the effects of the commands before it.
    pub(in crate::protocol::iip) fn built(&self, request: Request, settings: &ProtocolSettings) -> Request {
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

    /// Processing of the pixels. By default MINMAX counts channels from 0 if one of them is 0 or all are addressed, as in iipsrv
    /// 1.3, and otherwise from 1, as in 1.1.
    fn adjusted(&self, settings: &ProtocolSettings) -> Adjust {
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
                // channel 0 does not exist when counting from 1
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

    /// The identifier of the image or of the requested view.
    fn named(&self, image: String) -> String {
        match self.view {
            Some(view) => with_view(&image, view),
            None => image,
        }
    }

    pub(in crate::protocol::iip) fn act(
        mut self,
        act: Action,
        value: &str,
        settings: &ProtocolSettings,
    ) -> std::result::Result<Request, Failure> {
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
                let (resolution, range) = cut(value, ',');
                let (first, last) = cut(range, '-');
                let (resolution, first, last) = (count(resolution)?, count(first)?, count(last)?);
                Ok(Ask::Tiles(TileRange {
                    resolution,
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

    /// The picture of CVT in a format.
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

    /// The request of a query without a command that requests an answer.
    pub(in crate::protocol::iip) fn finish(self, query: &[u8]) -> std::result::Result<Request, Failure> {
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
    let (resolution, line) = cut(text, ':');
    let (from, to) = cut(line, '-');
    let point = |text| -> Result<(u32, u32)> {
        let (x, y) = cut(text, ',');
        Ok((count(x)?, count(y)?))
    };
    Ok(Measure::Profile {
        resolution: count(resolution)?,
        from: point(from)?,
        to: point(to)?,
    })
}

/// `LEVEL,TILE,X,Y`.
fn spectrum(text: &str) -> Result<Measure> {
    let (resolution, rest) = cut(text, ',');
    let (tile, pixel) = cut(rest, ',');
    let (x, y) = cut(pixel, ',');
    Ok(Measure::Spectrum {
        resolution: count(resolution)?,
        tile: count(tile)?,
        x: count(x)?,
        y: count(y)?,
    })
}

/// An index of a level, tile or pixel, from 0. Errors: `Outside` if it is too large for any image, `Malformed` if it is no
/// number.
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

pub(in crate::protocol::iip) fn lookup<T: Copy>(
    table: &[(&'static str, T)],
    name: &str,
) -> Option<(&'static str, T)> {
    table
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .copied()
}

/// Name and value of a part of a query, still percent-encoded. A part without `=` is both, as in iipsrv.
pub(in crate::protocol::iip) fn split(part: &[u8]) -> (Cow<'_, str>, &[u8]) {
    let (name, value) = match part.iter().position(|&b| b == b'=') {
        Some(at) => (
            part.get(..at).unwrap_or_default(),
            part.get(at + 1..).unwrap_or_default(),
        ),
        None => (part, part),
    };
    (String::from_utf8_lossy(name), value)
}

pub(in crate::protocol::iip) fn malformed(error: Error) -> Failure {
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
