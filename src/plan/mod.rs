//! Turns a request into a plan: a [`View`] is what was asked, a [`Plan`] is what will be done.
//!
//! Arithmetic over a view and an image's header. This module defines every rounding rule of the server; the layers
//! below a plan do not know the protocol.

mod adjust;
mod cost;
mod key;
mod placing;
mod resolve;
mod scale;
mod steps;
mod tiles;

pub use crate::plan::adjust::Adjust;
pub use crate::plan::adjust::Curve;
pub use crate::plan::adjust::Matrix;
pub use crate::plan::adjust::Treatment;
pub use crate::plan::key::Identity;
pub use crate::plan::key::Key;
pub use crate::plan::key::Reading;
pub use crate::plan::placing::Placing;
pub use crate::plan::scale::Scale;
pub use crate::plan::steps::quarters;
pub use crate::plan::tiles::TileName;
pub use crate::plan::tiles::deepzoom_top;
pub use crate::plan::tiles::shift;
pub use crate::plan::tiles::zoomify_sizes;

use crate::encode::Defaults;
use crate::encode::Output;
use crate::encode::TiffCompression;
use crate::geometry::Num;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::process::Chain;
use crate::process::Op;
use crate::process::Watermark;
use crate::raster::Density;
use crate::raster::Format;
use crate::source::Header;
use crate::source::Tile;
use crate::source::Window;
use std::sync::Arc;

/// The requested part of the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Region {
    /// All of it.
    Full,
    /// The largest centred square.
    Square,
    /// Left, top and size in pixels of level 0. Left and top may be negative; the region is clipped to the image.
    Pixels(i32, i32, Size),
    /// Left, top, width, height as fractions of the image's sides; each is rounded to whole pixels.
    Share([Num; 4]),
    /// A named tile, at its own scale.
    Tile(TileName),
}

impl From<Rect> for Region {
    fn from(rect: Rect) -> Region {
        let place = |at| i32::try_from(at).unwrap_or(i32::MAX);
        Region::Pixels(place(rect.x), place(rect.y), rect.size())
    }
}

/// Whether an answer may be larger than the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Enlarge {
    /// Not allowed: IIIF 3.0 without `^`.
    Refused,
    /// Requested explicitly: IIIF 3.0 with `^`.
    Asked,
    /// Allowed without a request: IIIF 2.1, IIP.
    Allowed,
}

/// Treatment of sizes beyond the limits or larger than the region.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Excess {
    /// Always reduced: IIP.
    Cut,
    /// Reduced if beyond the limits: IIIF, as in iipsrv.
    Limited,
    /// An error: IIIF, strictly.
    Refused,
}

/// Colour conversion of the answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tone {
    /// Unchanged.
    #[default]
    Native,
    /// Grey.
    Grey,
    /// Black and white.
    Bitonal,
}

/// A request, independent of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// The requested part of the image.
    pub region: Region,
    /// Size of the answer before rotation.
    pub scale: Scale,
    /// Whether the answer may be larger than the region.
    pub enlarge: Enlarge,
    /// Treatment of sizes that are not allowed.
    pub excess: Excess,
    /// Changes to the pixels.
    pub adjust: Adjust,
    /// The answer's format.
    pub format: Format,
    /// Requested quality, on the format's own scale.
    pub quality: Option<i16>,
    /// Requested compression, for TIFF.
    pub compression: Option<TiffCompression>,
}

impl View {
    /// The whole image at full size.
    pub fn full(format: Format) -> View {
        View {
            region: Region::Full,
            scale: Scale::Max,
            enlarge: Enlarge::Allowed,
            excess: Excess::Cut,
            adjust: Adjust::default(),
            format,
            quality: None,
            compression: None,
        }
    }

    /// One tile.
    pub fn tile(name: TileName, format: Format) -> View {
        View {
            region: Region::Tile(name),
            ..View::full(format)
        }
    }
}

/// Treatment of every answer, from the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Finish {
    /// Whether colours are converted from the image's profile to sRGB.
    pub srgb: bool,
    /// Maximum size of an embedded ICC profile in bytes; `None` for no limit.
    pub max_icc: Option<usize>,
    /// Whether stored tiles are sent unchanged.
    pub passthrough: bool,
    /// Rights statement for images without one.
    pub rights: String,
}

/// Limits and defaults from the configuration.
#[derive(Clone, Debug)]
pub struct PlanLimits {
    /// Maximum width of an answer in pixels; `None` for no limit.
    pub max_width: Option<u32>,
    /// Maximum height of an answer in pixels; `None` for no limit.
    pub max_height: Option<u32>,
    /// Maximum number of pixels of an answer; `None` for no limit.
    pub max_pixels: Option<u64>,
    /// Whether answers may be larger than the source.
    pub upscaling: bool,
    /// Number of the filter: [`Filter::numbered`](crate::process::Filter::numbered).
    pub interpolation: u8,
    /// Format settings for requests that give none.
    pub defaults: Defaults,
    /// Whether the JPEG quality of `defaults` also applies to stored tiles.
    pub recode: bool,
    /// Background behind transparent pixels in formats without alpha.
    pub background: [u8; 3],
    /// Watermark on answers.
    pub watermark: Option<Arc<Watermark>>,
    /// Treatment of every answer.
    pub finish: Arc<Finish>,
}

impl PlanLimits {
    /// Maximum pixels that one answer may read or write: eight times the square of the longer side limit (a level at most
    /// twice as large in each direction, and as much again), at least 2^24, so that stored tiles are served whatever
    /// the limit, and at most 2^30.
    pub fn max_area(&self) -> u64 {
        let most = match (self.max_width, self.max_height) {
            (Some(w), Some(h)) => u64::from(w.max(h)).pow(2).saturating_mul(8),
            _ => 1 << 30,
        };
        most.clamp(1 << 24, 1 << 30)
    }

    /// Whether an answer of this size is within the limits.
    pub fn allow(&self, size: Size) -> bool {
        self.max_width.is_none_or(|max| size.w <= max)
            && self.max_height.is_none_or(|max| size.h <= max)
            && self.max_pixels.is_none_or(|max| size.area() <= max)
    }
}

impl Default for PlanLimits {
    fn default() -> Self {
        PlanLimits {
            max_width: Some(5000),
            max_height: Some(5000),
            max_pixels: None,
            upscaling: true,
            interpolation: 1,
            defaults: Defaults::default(),
            recode: false,
            background: [255; 3],
            watermark: None,
            finish: Arc::default(),
        }
    }
}

/// The work for an answer, as plain data. Equal plans of one image version give equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// The window that is read.
    pub window: Window,
    /// The steps, in order.
    pub ops: Vec<Op>,
    /// The output format and its settings.
    pub output: Output,
    /// Treatment of every answer.
    pub finish: Arc<Finish>,
}

impl Plan {
    /// The tile to send as stored, if it has the requested format and no pixel changes.
    pub fn as_stored(&self, header: &Header) -> Option<Tile> {
        let untouched = self.ops == [Op::Eight] && header.stored == Some(self.output.format);
        self.window.tile(&header.levels).filter(|_| untouched)
    }

    /// Whether the colours differ from those of the file, so that its profile no longer applies.
    pub fn recolours(&self) -> bool {
        let recolours = |op: &Op| matches!(op, Op::Chain(_) | Op::Equalise);
        self.ops.iter().any(recolours)
    }

    /// Whether the first step works on stored samples.
    pub fn chains(&self) -> bool {
        matches!(self.ops.first(), Some(Op::Chain(_)))
    }

    /// Whether samples keep their depth: no step converts them to 8 bits.
    pub fn is_deep(&self) -> bool {
        !matches!(self.ops.first(), Some(Op::Chain(_) | Op::Eight))
    }

    /// Pixels read and pixels written.
    pub fn pixels(&self) -> u64 {
        let written = self.ops.iter().map(|op| match op {
            Op::Resize { to, .. } | Op::Rotate { to, .. } | Op::Place { to, .. } => to.area(),
            _ => 0,
        });
        self.window.rect.size().area() + written.sum::<u64>()
    }

    /// Width and height of the answer.
    pub fn size(&self) -> Size {
        self.ops
            .iter()
            .fold(self.window.rect.size(), |size, op| match op {
                Op::Resize { to, .. } | Op::Fit(to) | Op::Rotate { to, .. } | Op::Place { to, .. } => *to,
                Op::Chain(Chain { cut: Some(cut), .. }) => cut.size(),
                Op::Turn { quarters: 1 | 3, .. } => size.turned(),
                _ => size,
            })
    }

    /// Pixels per metre of the answer: those of level 0 times the scale. Odd quarter turns swap the axes.
    pub fn density(&self, header: &Header) -> Option<Density> {
        let density = header.metadata.density?;
        let full = header.size();
        let level = header.levels.get(self.window.level)?.size;
        let ratio = |part: u32, whole: u32| f64::from(part) / f64::from(whole.max(1));
        let mut x = density.x.value() * ratio(level.w, full.w);
        let mut y = density.y.value() * ratio(level.h, full.h);
        if let Some((crop, to)) = self.resized() {
            x *= f64::from(to.w) / crop.width();
            y *= f64::from(to.h) / crop.height();
        }
        if self
            .ops
            .iter()
            .any(|op| matches!(op, Op::Turn { quarters: 1 | 3, .. }))
        {
            std::mem::swap(&mut x, &mut y);
        }
        Some(Density {
            x: Num::new(x)?,
            y: Num::new(y)?,
        })
    }

    fn resized(&self) -> Option<(crate::process::Crop, Size)> {
        self.ops.iter().find_map(|op| match op {
            Op::Resize { crop, to, .. } => Some((*crop, *to)),
            _ => None,
        })
    }
}
