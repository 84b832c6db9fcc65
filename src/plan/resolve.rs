//! Resolves a view against an image: the level and window to read, and the steps.

use crate::encode::Depth;
use crate::encode::Output;
use crate::encode::TiffCompression;
use crate::error::Error;
use crate::error::Result;
use crate::fingerprint;
use crate::geometry::Num;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::plan::Enlarge;
use crate::plan::Excess;
use crate::plan::Plan;
use crate::plan::PlanLimits;
use crate::plan::Region;
use crate::plan::Scale;
use crate::plan::View;
use crate::plan::scale::confine;
use crate::plan::scale::side;
use crate::plan::steps::quarters;
use crate::plan::steps::steps;
use crate::plan::tiles;
use crate::plan::tiles::Place;
use crate::process;
use crate::process::Chain;
use crate::process::Crop;
use crate::process::Filter;
use crate::process::Op;
use crate::process::rotate;
use crate::raster::Alpha;
use crate::raster::Format;
use crate::raster::SampleFormat;
use crate::source::Header;
use crate::source::Level;
use crate::source::Tile;
use crate::source::Window;

/// One pixel in the units of [`Crop`].
const ONE: i64 = 1 << 16;

/// A large answer gets one watermark per tile that it could be assembled from, or per square of this side in pixels
/// if tiles are smaller.
const CELL: u32 = 256;

impl View {
    /// Makes a plan. Errors: `Outside` (no such tile), `Malformed` (empty region, size that is not allowed),
    /// `TooLarge` (more pixels than the limits allow).
    pub fn resolve(&self, header: &Header, limits: &PlanLimits) -> Result<Plan> {
        let output = self.output(limits);
        let (window, sizing, size) = self.sizing(header, output, limits)?;
        let chain = self.adjust.samples.chain(header)?;
        let kept = self.adjust.placing.visible_part(header, window);
        let (window, chain) = with_margin(header, window, chain);
        let window = Window {
            layers: self.adjust.layers,
            ..window
        };
        let mut plan = Plan {
            window,
            ops: steps(
                header,
                (sizing, size),
                &self.adjust,
                (chain, kept),
                output,
                limits,
            ),
            output,
            finish: limits.finish.clone(),
        };
        let answer = plan.size();
        self.check(&plan, size, answer, limits)?;
        if let Some(watermark) = &limits.watermark {
            // The seed ignores format and quality: two answers of the same pixels with different marks could be
            // compared to find them.
            let seed = fingerprint::of(&(window, size, answer));
            let cell = tiles::base_tile(header);
            let cell = Size::new(cell.w.max(CELL), cell.h.max(CELL));
            plan.ops.extend(watermark.marks(answer, cell, seed).map(Op::Mark));
        }
        plan.output.full_metadata = self.is_whole_answer(header, window, answer);
        if self.keeps_depth(header, &plan, limits) {
            plan.ops.retain(|op| *op != Op::Eight);
        }
        Ok(plan)
    }

    /// The window to read, the step that resizes it to the requested size, and that size.
    fn sizing(
        &self,
        header: &Header,
        output: Output,
        limits: &PlanLimits,
    ) -> Result<(Window, Option<Op>, Size)> {
        let (region, size) = match self.place(header, limits)? {
            Place::Stored(tile) => return tile_input(header, tile),
            Place::Region(region, size) => (region, size),
        };
        if self.adjust.placing.moves() {
            let (window, map) = self.adjust.placing.window(header, region, size)?;
            let place = Op::Place {
                map,
                to: size,
                background: (!output.coder().alpha).then_some(limits.background),
            };
            return Ok((window, Some(place), size));
        }
        match tiles::showing(header, region, size) {
            Some(window) => {
                let fit = (size != window.rect.size()).then_some(Op::Fit(size));
                Ok((window, fit, size))
            }
            None => region_input(header, region, size, limits),
        }
    }

    /// `Error::TooLarge` when the answer has more pixels than the limits or its format allow.
    fn check(&self, plan: &Plan, size: Size, answer: Size, limits: &PlanLimits) -> Result<()> {
        let area = plan.window.rect.size().area().max(size.area()).max(answer.area());
        let (coder, name) = (plan.output.coder(), self.format.suffix());
        let too_long = coder
            .longest_side
            .filter(|side| answer.w > *side || answer.h > *side);
        let too_many = coder.most_pixels.filter(|most| answer.area() > *most);
        let why = if area > limits.max_area() {
            format!("{area} pixels are too many for one answer")
        } else if let Some(side) = too_long {
            format!("{name} is at most {side} pixels wide and high")
        } else if let Some(most) = too_many {
            let pixels = answer.area();
            format!("{pixels} pixels are too many for {name}, at most {most}")
        } else {
            return Ok(());
        };
        Err(Error::TooLarge(why))
    }

    /// The region in pixels of level 0, and its size in the answer before rotation.
    pub fn region_and_size(&self, header: &Header, limits: &PlanLimits) -> Result<(Rect, Size)> {
        match self.place(header, limits)? {
            Place::Region(region, size) => Ok((region, size)),
            Place::Stored(_) => Err(Error::Malformed("a tile is no region".into())),
        }
    }

    fn place(&self, header: &Header, limits: &PlanLimits) -> Result<Place> {
        let full = self.adjust.placing.full(header);
        let rect = match self.region {
            Region::Tile(name) => return name.place(header),
            Region::Full => Rect::of(full),
            Region::Square => square(full),
            Region::Pixels(x, y, size) => cut(full, (x, y), size).ok_or_else(|| {
                let Size { w, h } = size;
                Error::Malformed(format!("region {x},{y},{w},{h} is empty or outside the image"))
            })?,
            Region::Share(share) => share_of(full, share)
                .ok_or_else(|| Error::Malformed("region is empty or outside the image".into()))?,
        };
        if let (Scale::Within(bound), Region::Full) = (self.scale, self.region)
            && self.excess != Excess::Cut
            && self.enlarge == Enlarge::Refused
            && limits.upscaling
            && bound.w > full.w
            && bound.h > full.h
        {
            // The IIIF validator requires this error, and iipsrv gives it; regions are allowed, because clients
            // request tiles at the edges this way. IIIF Image API 3.0 §4.2 would return the image's own size.
            return Err(Error::Malformed(format!(
                "the image is {}x{}: a larger size must be requested with ^",
                full.w, full.h
            )));
        }
        let mut size = self
            .scale
            .apply(rect.size(), full, (self.enlarge, self.excess), limits)?;
        // a tile requested by one side: at the edges its proportions are those of the level
        let fits = |other: Size| match self.scale {
            Scale::Width(w) => other.w == w && limits.allow(other),
            Scale::Height(h) => other.h == h && limits.allow(other),
            _ => false,
        };
        if rect != Rect::of(full) && !self.adjust.placing.moves() {
            size = tiles::expected(header, rect, fits).unwrap_or(size);
        }
        Ok(Place::Region(rect, self.turnable(size, limits)?))
    }

    /// The size whose rotated bounding box is within the limits: `max` is reduced, other sizes are refused.
    fn turnable(&self, size: Size, limits: &PlanLimits) -> Result<Size> {
        let whole = rotate::around(size, self.adjust.degrees);
        if quarters(self.adjust.degrees).is_some() || limits.allow(whole) {
            return Ok(size);
        }
        let angle = self.adjust.degrees.value();
        if self.scale != Scale::Max {
            return Err(Error::TooLarge(format!(
                "turned by {angle} degrees it is {}x{}, beyond the limit",
                whole.w, whole.h
            )));
        }
        // the box grows with the picture, apart from rounding
        let bound = confine(whole, limits);
        let smaller = Size::new(
            side(size.w, bound.w.min(whole.w), whole.w),
            side(size.h, bound.h.min(whole.h), whole.h),
        );
        let shave = |size: Size, by: u32| {
            Size::new(size.w.saturating_sub(by).max(1), size.h.saturating_sub(by).max(1))
        };
        (0..4)
            .map(|by| shave(smaller, by))
            .find(|&size| limits.allow(rotate::around(size, self.adjust.degrees)))
            .ok_or_else(|| Error::TooLarge(format!("turned by {angle} degrees it is beyond the limit")))
    }

    /// Whether the answer is a picture of its own rather than a tile, and so carries all metadata. IIIF regions up to
    /// the size of a tile count as tiles, IIP regions never do.
    fn is_whole_answer(&self, header: &Header, window: Window, answer: Size) -> bool {
        let tile = header.levels.get(window.level).map(|level| level.tile);
        let fits = tile.is_some_and(|tile| answer.w <= tile.w && answer.h <= tile.h);
        match self.region {
            Region::Tile(_) => false,
            Region::Full | Region::Share(_) if self.excess == Excess::Cut => true,
            _ => !fits,
        }
    }

    /// Whether samples of more than 8 bits keep their depth: in lossless TIFF, and in PNG if configured.
    fn keeps_depth(&self, header: &Header, plan: &Plan, limits: &PlanLimits) -> bool {
        let meaning = &header.meaning;
        let held = match plan.output.coder().depth {
            Depth::Any => true,
            Depth::Sixteen => {
                let known = meaning.colour.channels() + usize::from(meaning.alpha != Alpha::None);
                limits.defaults.deep_png
                    && header.bits <= 16
                    && header.kind == SampleFormat::Unsigned
                    && known == usize::from(header.channels)
            }
            Depth::Eight => false,
        };
        held && process::keeps_depth(&plan.ops, meaning, header.bits, header.kind, header.channels)
    }

    fn output(&self, limits: &PlanLimits) -> Output {
        let defaults = &limits.defaults;
        let compression = match self.format {
            Format::Tiff => self.compression.unwrap_or(defaults.tiff_compression),
            _ => TiffCompression::None,
        };
        let own = match self.format {
            Format::Tiff if compression == defaults.tiff_compression => defaults.tiff_quality,
            _ => None,
        };
        let mut output = Output {
            format: self.format,
            quality: 0,
            style: defaults.jpeg_style,
            compression,
            asked: self.quality.is_some() || (limits.recode && self.format == Format::Jpeg),
            full_metadata: false,
        };
        let coder = output.coder();
        let (low, high) = coder.quality;
        let quality = self.quality.or(own);
        output.quality = quality
            .unwrap_or_else(|| (coder.default)(defaults))
            .clamp(low, high);
        output
    }
}

/// The window to read, the resizing step, and the size of the answer.
type ResizeInput = (Window, Option<Op>, Size);

/// Reads a stored tile.
fn tile_input(header: &Header, tile: Tile) -> Result<ResizeInput> {
    let rect = tile
        .rect(&header.levels)
        .ok_or_else(|| Error::Outside("the image has no such tile".into()))?;
    let window = Window::new(tile.level, rect);
    Ok((window, None, rect.size()))
}

/// Extends the window by the margin that the chain needs, within the level, and lets the chain cut it off again, so
/// that tiles join without seams.
fn with_margin(header: &Header, window: Window, chain: Option<Chain>) -> (Window, Option<Chain>) {
    let margin = chain.as_ref().map_or(0, Chain::margin);
    let (Some(mut chain), Some(level)) = (chain.clone(), header.levels.get(window.level)) else {
        return (window, chain);
    };
    let inner = window.rect;
    let (x, y) = (inner.x.saturating_sub(margin), inner.y.saturating_sub(margin));
    let end = |at: u32, length: u32, side: u32| at.saturating_add(length).saturating_add(margin).min(side);
    let (right, bottom) = (
        end(inner.x, inner.w, level.size.w),
        end(inner.y, inner.h, level.size.h),
    );
    let rect = Rect::new(x, y, right.saturating_sub(x), bottom.saturating_sub(y));
    if rect != inner {
        chain.cut = Some(Rect::new(inner.x - x, inner.y - y, inner.w, inner.h));
    }
    (Window { rect, ..window }, Some(chain))
}

/// Any region at any size, from the smallest level that is at least as fine as the answer.
fn region_input(header: &Header, region: Rect, size: Size, limits: &PlanLimits) -> Result<ResizeInput> {
    let full = header.size();
    let fine = |level: &Level| {
        u64::from(level.size.w) * u64::from(region.w) >= u64::from(size.w) * u64::from(full.w)
            && u64::from(level.size.h) * u64::from(region.h) >= u64::from(size.h) * u64::from(full.h)
    };
    let index = header.levels.iter().rposition(fine).unwrap_or(0);
    let level = header
        .levels
        .get(index)
        .ok_or_else(|| Error::Corrupt("no levels".into()))?
        .size;
    let across = Span::new(region.x, region.w, full.w, level.w);
    let down = Span::new(region.y, region.h, full.h, level.h);
    if let (Some((x, w)), Some((y, h))) = (across.whole(size.w), down.whole(size.h)) {
        return Ok((Window::new(index, Rect::new(x, y, w, h)), None, size));
    }
    let filter = Filter::numbered(limits.interpolation);
    let (x, w, left) = across.window(size.w, level.w, filter);
    let (y, h, top) = down.window(size.h, level.h, filter);
    let crop = Crop {
        x: left,
        y: top,
        w: across.length,
        h: down.length,
    };
    let rect = Rect::new(x, y, w, h);
    Ok((
        Window::new(index, rect),
        Some(Op::Resize {
            crop,
            to: size,
            filter,
        }),
        size,
    ))
}

/// One axis of a region in pixels of a level, in units of 1/65536 pixel.
struct Span {
    start: i64,
    length: i64,
}

impl Span {
    /// `start` and `length` in level 0, whose side is `full`, converted to a level whose side is `side`.
    fn new(start: u32, length: u32, full: u32, side: u32) -> Span {
        let scaled = |v: u64| {
            let fixed =
                u128::from(v) * u128::from(side) * u128::from(ONE.unsigned_abs()) / u128::from(full.max(1));
            i64::try_from(fixed).unwrap_or(i64::MAX)
        };
        let from = scaled(u64::from(start));
        let to = scaled(u64::from(start) + u64::from(length));
        Span {
            start: from,
            length: (to - from).max(1),
        }
    }

    /// Start and length, if they are whole pixels and the length is `size`: nothing needs resampling.
    fn whole(&self, size: u32) -> Option<(u32, u32)> {
        let whole = self.start % ONE == 0 && self.length == i64::from(size) * ONE;
        whole.then_some((u32::try_from(self.start / ONE).ok()?, size))
    }

    /// First pixel and number of pixels to read, including those that the filter needs beyond the edges, and the
    /// start of the span relative to the first.
    fn window(&self, size: u32, side: u32, filter: Filter) -> (u32, u32, i64) {
        let reduction = self.length / (i64::from(size.max(1)) * ONE) + 1;
        let margin = reduction * filter.support() + 1;
        let first = (self.start / ONE - margin).max(0);
        let past = ((self.start + self.length + ONE - 1) / ONE + margin).min(i64::from(side));
        let pixels = |v: i64| u32::try_from(v).unwrap_or(0);
        (
            pixels(first),
            pixels((past - first).max(1)),
            self.start - first * ONE,
        )
    }
}

fn square(full: Size) -> Rect {
    let side = full.w.min(full.h);
    Rect::new((full.w - side) / 2, (full.h - side) / 2, side, side)
}

/// The part of a rectangle inside the image; `None` when empty.
fn cut(full: Size, (x, y): (i32, i32), size: Size) -> Option<Rect> {
    let span = |start: i32, length: u32, side: u32| {
        let (start, side) = (i64::from(start), i64::from(side));
        let end = start.saturating_add(i64::from(length)).min(side);
        let start = start.max(0);
        let length = u32::try_from(end - start).ok().filter(|&length| length > 0)?;
        Some((u32::try_from(start).ok()?, length))
    };
    let (left, wide) = span(x, size.w, full.w)?;
    let (top, high) = span(y, size.h, full.h)?;
    Some(Rect::new(left, top, wide, high))
}

/// Converts fractions of the sides to pixels: position and length are each rounded to the nearest, as in iipsrv, to
/// at least one pixel, then clipped to the image.
fn share_of(full: Size, share: [Num; 4]) -> Option<Rect> {
    let [x, y, w, h] = share.map(Num::value);
    if w <= 0.0 || h <= 0.0 || x >= 1.0 || y >= 1.0 || x + w <= 0.0 || y + h <= 0.0 {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "casts of floating point stop at the ends of the range"
    )]
    let pixels = |share: f64, side: u32| (share * f64::from(side)).round() as i32;
    let length = |share: f64, side: u32| u32::try_from(pixels(share, side)).unwrap_or(0).max(1);
    let last = |at: i32, side: u32| at.min(i32::try_from(side).map_or(i32::MAX, |side| side - 1));
    let place = (last(pixels(x, full.w), full.w), last(pixels(y, full.h), full.h));
    cut(full, place, Size::new(length(w, full.w), length(h, full.h)))
}
