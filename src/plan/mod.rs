//! From words to a plan: a [`View`] is what was asked, a [`Plan`] is what will be done.
//!
//! Pure integer arithmetic over a view and an image's header: every rounding rule of the server is in this folder.
//! Nothing below a plan knows which protocol asked.

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

/// The part of the image that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Region {
    /// All of it.
    Full,
    /// The largest square in the middle.
    Square,
    /// Pixels of level 0, left and top of which may be negative; what lies outside is cut off.
    Pixels(i32, i32, Size),
    /// Left, top, width, height as fractions of the image's sides; each is rounded to whole pixels.
    Share([Num; 4]),
    /// A tile by name; the scale is the tile's own.
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
    /// No: IIIF 3.0 without `^`.
    Refused,
    /// It was asked for: `^`.
    Asked,
    /// It goes without saying: IIIF 2.1, IIP.
    Allowed,
}

/// What becomes of a size that may not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Excess {
    /// It is made smaller, by whatever rule: IIP.
    Cut,
    /// It is made smaller where it is beyond the limits: IIIF, as iipsrv does.
    Limited,
    /// It is an error: IIIF by the letter.
    Refused,
}

/// What becomes of the colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tone {
    /// As they are.
    #[default]
    Native,
    /// Grey.
    Grey,
    /// Black and white.
    Bitonal,
}

/// What was asked, by whichever protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct View {
    /// The part of the image.
    pub region: Region,
    /// How large the answer is, before turning.
    pub scale: Scale,
    /// Whether an answer larger than the region was wanted.
    pub enlarge: Enlarge,
    /// What becomes of a size that may not be.
    pub excess: Excess,
    /// Changes to the pixels.
    pub adjust: Adjust,
    /// The answer's format.
    pub format: Format,
    /// Quality that was asked for, in the format's own scale.
    pub quality: Option<i16>,
    /// Compression that was asked for, of TIFF.
    pub compression: Option<TiffCompression>,
}

impl View {
    /// The whole image in its own size.
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

/// What is done with every picture of a server, asked or not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Finish {
    /// Whether colours are converted to sRGB by the image's profile.
    pub srgb: bool,
    /// Largest ICC profile embedded, bytes; `None` is any size.
    pub max_icc: Option<usize>,
    /// Whether stored tiles are sent untouched.
    pub passthrough: bool,
    /// Rights of images that carry none.
    pub rights: String,
}

/// What the configuration allows.
#[derive(Clone, Debug)]
pub struct PlanLimits {
    /// Widest answer.
    pub max_width: Option<u32>,
    /// Highest answer.
    pub max_height: Option<u32>,
    /// Most pixels of an answer.
    pub max_pixels: Option<u64>,
    /// Whether answers may be larger than the source.
    pub upscaling: bool,
    /// [`Filter::numbered`](crate::process::Filter::numbered).
    pub interpolation: u8,
    /// Formats when a request says nothing of them.
    pub defaults: Defaults,
    /// Whether the JPEG quality of `defaults` holds for stored tiles, too.
    pub recode: bool,
    /// What shows through transparent pixels in formats without alpha.
    pub background: [u8; 3],
    /// What is laid over answers.
    pub watermark: Option<Arc<Watermark>>,
    /// What is done with all of them.
    pub finish: Arc<Finish>,
}

impl PlanLimits {
    /// Most pixels that one answer may read or write: eight times the largest answer (a level at most twice as large
    /// each way, and as much again), at least 2^24, so that stored tiles are answered whatever the limit, 2^30 at most.
    pub fn max_area(&self) -> u64 {
        let most = match (self.max_width, self.max_height) {
            (Some(w), Some(h)) => u64::from(w.max(h)).pow(2).saturating_mul(8),
            _ => 1 << 30,
        };
        most.clamp(1 << 24, 1 << 30)
    }

    /// Whether an answer may be as large as this.
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

/// What will be done: plain data. Equal plans of one image version give equal bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Plan {
    /// What is read.
    pub window: Window,
    /// What is done to it, in order.
    pub ops: Vec<Op>,
    /// What is made of it.
    pub output: Output,
    /// What is done with every picture.
    pub finish: Arc<Finish>,
}

impl Plan {
    /// The tile that is stored in the asked format, if no pixel has to be changed.
    pub fn as_stored(&self, header: &Header) -> Option<Tile> {
        let untouched = self.ops == [Op::Eight] && header.stored == Some(self.output.format);
        self.window.tile(&header.levels).filter(|_| untouched)
    }

    /// Whether the colours are other than those of the file, so that its profile says nothing of them.
    pub fn recolours(&self) -> bool {
        let recolours = |op: &Op| matches!(op, Op::Chain(_) | Op::Equalise);
        self.ops.iter().any(recolours)
    }

    /// Whether the first step works on samples as they are stored.
    pub fn chains(&self) -> bool {
        matches!(self.ops.first(), Some(Op::Chain(_)))
    }

    /// Whether samples keep their depth: none of the steps converts them to 8 bits.
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

    /// Pixels per metre of the answer: that of level 0 times the scale. Sides swap with odd quarter turns.
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
