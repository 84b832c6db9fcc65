//! FlashPix views of an image (IIP 1.0.5 §2.2.1.1, FlashPix 1.0.1 §7.2): a window of another aspect ratio, an affine
//! map, and a rectangle outside which the image is hidden.
//!
//! Coordinates are in units of the image's height: x is 0 to width / height, y is 0 to 1.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Num;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::process::Affine;
use crate::source::Header;
use crate::source::Window;

/// A FlashPix view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Placing {
    /// The visible rectangle of the image: left, top, width, height.
    pub shown: Option<[Num; 4]>,
    /// Maps a position in the answer to one in the image.
    pub map: Option<Affine>,
    /// Aspect ratio of the answer, width / height > 0.
    pub shape: Option<Num>,
}

impl Placing {
    /// Whether the answer is more than a scaled region of the image.
    pub fn moves(&self) -> bool {
        self.map.is_some() || self.shape.is_some()
    }

    /// Size of the whole answer in pixels of level 0.
    pub fn full(&self, header: &Header) -> Size {
        let full = header.size();
        match self.shape {
            Some(shape) => Size::new(pixels(shape.value() * f64::from(full.h)).max(1), full.h),
            None => full,
        }
    }

    /// The window to read for `region` of the whole answer at `size`, and the map from the answer's pixels to the
    /// window's. Errors: `Malformed` when it shows nothing of the image, or maps everything to one point.
    pub fn window(&self, header: &Header, region: Rect, size: Size) -> Result<(Window, Affine)> {
        let full = header.size();
        let map @ [a, b, c, d, e, f] = self.map_of(full, region, size);
        let step = (a * e - b * d).abs().sqrt();
        if !step.is_normal() || map.iter().any(|part| !part.is_finite()) {
            return Err(Error::Malformed("AFN maps the image to a point".into()));
        }
        let coarse = |width: u32| f64::from(full.w) / f64::from(width) <= step * 1.000_001;
        let index = header
            .levels
            .iter()
            .rposition(|level| coarse(level.size.w))
            .unwrap_or(0);
        let level = header.levels.get(index).map_or(full, |level| level.size);
        let (across, down) = (
            f64::from(level.w) / f64::from(full.w),
            f64::from(level.h) / f64::from(full.h),
        );
        let (w, h) = (f64::from(size.w), f64::from(size.h));
        let corners = [(0.0, 0.0), (w, 0.0), (0.0, h), (w, h)];
        let beyond = || Error::Malformed("the view shows no part of the image".into());
        let columns = corners.map(|(x, y)| (a * x + b * y + c) * across);
        let rows = corners.map(|(x, y)| (d * x + e * y + f) * down);
        let (x, wide) = covered(columns, level.w).ok_or_else(beyond)?;
        let (y, high) = covered(rows, level.h).ok_or_else(beyond)?;
        let map = [
            a * across,
            b * across,
            c * across - f64::from(x),
            d * down,
            e * down,
            f * down - f64::from(y),
        ];
        let nums = map.map(|part| Num::new(part).unwrap_or_default());
        let window = Window {
            level: index,
            rect: Rect::new(x, y, wide, high),
            layers: None,
        };
        Ok((window, Affine(nums)))
    }

    /// The map from pixels of the answer, which shows `region` at `size`, to pixels of level 0.
    fn map_of(&self, full: Size, region: Rect, size: Size) -> [f64; 6] {
        let height = f64::from(full.h);
        let [a, b, c, d, e, f] = self
            .map
            .map_or([1.0, 0.0, 0.0, 0.0, 1.0, 0.0], |map| map.0.map(Num::value));
        let (sx, sy) = (
            f64::from(region.w) / f64::from(size.w),
            f64::from(region.h) / f64::from(size.h),
        );
        let (left, top) = (f64::from(region.x), f64::from(region.y));
        [
            a * sx,
            b * sy,
            a * left + b * top + c * height,
            d * sx,
            e * sy,
            d * left + e * top + f * height,
        ]
    }

    /// The visible part of a window, in the window's pixels, empty when all of it is hidden; `None` when all of it is
    /// visible. Edges are rounded to the nearest pixel.
    pub fn visible_part(&self, header: &Header, window: Window) -> Option<Rect> {
        let [x, y, w, h] = self.shown?.map(Num::value);
        let full = header.size();
        let level = header.levels.get(window.level)?.size;
        let inner = window.rect;
        let span = |start: f64, length: f64, full: u32, side: u32, first: u32, size: u32| {
            let scale = f64::from(header.size().h) * f64::from(side) / f64::from(full);
            let low = pixels((start * scale).round()).saturating_sub(first).min(size);
            let high = pixels(((start + length) * scale).round())
                .saturating_sub(first)
                .min(size);
            (low, high.saturating_sub(low))
        };
        let (left, wide) = span(x, w, full.w, level.w, inner.x, inner.w);
        let (top, high) = span(y, h, full.h, level.h, inner.y, inner.h);
        let kept = if wide == 0 || high == 0 {
            Rect::new(0, 0, 0, 0)
        } else {
            Rect::new(left, top, wide, high)
        };
        (kept != Rect::of(inner.size())).then_some(kept)
    }
}

/// The first pixel and the number of pixels that these positions cover along a side, with two more at either end for
/// interpolation; `None` when they are outside.
fn covered(places: [f64; 4], side: u32) -> Option<(u32, u32)> {
    let low = places.into_iter().fold(f64::INFINITY, f64::min);
    let high = places.into_iter().fold(f64::NEG_INFINITY, f64::max);
    let first = pixels(low.floor() - 2.0).min(side);
    let end = pixels(high.ceil() + 2.0).min(side);
    (end > first).then_some((first, end - first))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "casts of floating point stop at the ends of the range"
)]
fn pixels(length: f64) -> u32 {
    length as u32
}
