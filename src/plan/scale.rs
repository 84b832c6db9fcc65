//! The size of an answer, from the region's size and the request.
//!
//! Rounding: a side that is not given is rounded to the nearest pixel, and is at least 1.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Num;
use crate::geometry::Size;
use crate::plan::Enlarge;
use crate::plan::Excess;
use crate::plan::PlanLimits;

/// The requested size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scale {
    /// The size of the region, or as large as the limits allow.
    Max,
    /// The size of the image in the region's proportions: [`Scale::Within`] its size.
    Image,
    /// This width, with height in proportion.
    Width(u32),
    /// This height, with width in proportion.
    Height(u32),
    /// Exactly this size, regardless of proportions.
    Exact(Size),
    /// The largest size in proportion that fits into this box and the limits.
    Within(Size),
    /// This fraction of the region's sides; 1 is its own size.
    Share(Num),
}

impl Scale {
    /// The size of the answer for a region of `region` pixels (not empty) in an image of size `full`. Errors:
    /// `Malformed` for a size that is empty, or that is not allowed and must not be reduced.
    pub fn apply(
        self,
        region: Size,
        full: Size,
        (enlarge, excess): (Enlarge, Excess),
        limits: &PlanLimits,
    ) -> Result<Size> {
        let larger = enlarge != Enlarge::Refused && limits.upscaling;
        let within = |bound: Size| {
            let size = within(region, bound);
            let grown = size.w > region.w || size.h > region.h;
            confine(if grown && !larger { region } else { size }, limits)
        };
        let asked = match self {
            Scale::Max => return Ok(confine(region, limits)),
            Scale::Image => return Ok(within(full)),
            Scale::Within(bound) => return Ok(within(bound)),
            Scale::Width(w) => Size::new(w, side(region.h, w, region.w)),
            Scale::Height(h) => Size::new(side(region.w, h, region.h), h),
            Scale::Exact(size) => size,
            Scale::Share(share) => Size::new(part(region.w, share), part(region.h, share)),
        };
        if asked.w == 0 || asked.h == 0 {
            return Err(Error::Malformed(format!("size {}x{} is empty", asked.w, asked.h)));
        }
        if !larger && (asked.w > region.w || asked.h > region.h) {
            // without upscaling, sizes that only imply it fall back to the region's own
            return if enlarge == Enlarge::Allowed && excess != Excess::Refused {
                Ok(confine(region, limits))
            } else {
                Err(too_large(asked, region, limits))
            };
        }
        if limits.allow(asked) {
            return Ok(asked);
        }
        match (excess, self) {
            (Excess::Refused, _) => Err(Error::Malformed(format!(
                "size {}x{} is beyond the limit, {}",
                asked.w,
                asked.h,
                bounds(limits)
            ))),
            // both sides were given: each is limited on its own
            (Excess::Limited, Scale::Exact(_)) => {
                let most = |limit: Option<u32>| limit.unwrap_or(u32::MAX);
                let size = Size::new(
                    asked.w.min(most(limits.max_width)),
                    asked.h.min(most(limits.max_height)),
                );
                Ok(confine(size, limits))
            }
            _ => Ok(confine(asked, limits)),
        }
    }
}

fn too_large(asked: Size, region: Size, limits: &PlanLimits) -> Error {
    Error::Malformed(format!(
        "size {}x{} is larger than the region {}x{}{}",
        asked.w,
        asked.h,
        region.w,
        region.h,
        if limits.upscaling {
            ": a larger size must be requested with ^"
        } else {
            ", and nothing is enlarged here"
        }
    ))
}

/// The limits, for an error message.
fn bounds(limits: &PlanLimits) -> String {
    let named = |limit: Option<u64>, what| limit.map(|limit| format!("{what} {limit}"));
    let all = [
        named(limits.max_width.map(u64::from), "width"),
        named(limits.max_height.map(u64::from), "height"),
        named(limits.max_pixels, "area"),
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    all.join(", ")
}

/// Reduces `size` in proportion until it is within the limits.
pub fn confine(size: Size, limits: &PlanLimits) -> Size {
    let most = |limit: Option<u32>| limit.unwrap_or(u32::MAX);
    let bound = Size::new(most(limits.max_width), most(limits.max_height));
    let size = if size.w > bound.w || size.h > bound.h {
        within(size, bound)
    } else {
        size
    };
    match limits.max_pixels {
        Some(max) if size.area() > max => of_area(size, max),
        _ => size,
    }
}

/// The largest size in the proportions of `size` (rounded down) that covers at most `max` pixels.
fn of_area(size: Size, max: u64) -> Size {
    #[expect(
        clippy::cast_precision_loss,
        reason = "areas of pictures are below 2^53, and the result is checked"
    )]
    let share = (max as f64 / size.area() as f64).sqrt();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share of a side"
    )]
    let cut = |length: u32| ((f64::from(length) * share) as u32).max(1);
    let (w, h) = (cut(size.w), cut(size.h));
    // a side that is raised to one pixel reduces the other
    let left = |other: u32| u32::try_from(max / u64::from(other)).unwrap_or(u32::MAX).max(1);
    Size::new(w.min(left(h)), h.min(left(w)))
}

/// The largest size in the proportions of `size` that fits into `within`.
fn within(size: Size, within: Size) -> Size {
    let narrow = u64::from(within.w) * u64::from(size.h) <= u64::from(within.h) * u64::from(size.w);
    if narrow {
        Size::new(within.w, side(size.h, within.w, size.w).min(within.h))
    } else {
        Size::new(side(size.w, within.h, size.h).min(within.w), within.h)
    }
}

/// `length` * `to` / `from`, rounded to the nearest, at least 1 unless `to` is 0. `from` is not 0.
pub fn side(length: u32, to: u32, from: u32) -> u32 {
    let product = u64::from(length) * u64::from(to);
    let from = u64::from(from.max(1));
    u32::try_from((product + from / 2) / from)
        .unwrap_or(u32::MAX)
        .max(to.min(1))
}

/// `share` of `length`, rounded to the nearest, at least 1 for a positive share.
fn part(length: u32, share: Num) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to u32 before"
    )]
    let rounded = (f64::from(length) * share.value())
        .round()
        .clamp(0.0, f64::from(u32::MAX)) as u32;
    rounded.max(u32::from(share.value() > 0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: Size = Size::new(1000, 701);

    fn size(scale: Scale, enlarge: bool, strict: bool) -> Option<(u32, u32)> {
        let enlarge = if enlarge {
            Enlarge::Allowed
        } else {
            Enlarge::Refused
        };
        let excess = if strict { Excess::Refused } else { Excess::Cut };
        scale
            .apply(REGION, REGION, (enlarge, excess), &PlanLimits::default())
            .ok()
            .map(|s| (s.w, s.h))
    }

    #[test]
    fn the_missing_side_is_rounded_to_the_nearest_pixel() {
        assert_eq!(size(Scale::Width(300), false, true), Some((300, 210)));
        assert_eq!(size(Scale::Height(100), false, true), Some((143, 100)));
        assert_eq!(size(Scale::Width(1), false, true), Some((1, 1)));
        assert_eq!(
            size(Scale::Share(Num::parse("0.1").unwrap()), false, true),
            Some((100, 70))
        );
    }

    #[test]
    fn the_answer_fills_the_box_in_one_direction_and_fits_in_the_other() {
        assert_eq!(
            size(Scale::Within(Size::new(300, 300)), false, true),
            Some((300, 210))
        );
        assert_eq!(
            size(Scale::Within(Size::new(300, 100)), false, true),
            Some((143, 100))
        );
        assert_eq!(
            size(Scale::Within(Size::new(3000, 3000)), false, true),
            Some((1000, 701))
        );
        assert_eq!(
            size(Scale::Within(Size::new(2000, 3000)), true, true),
            Some((2000, 1402))
        );
    }

    #[test]
    fn sizes_that_are_not_allowed_are_refused_or_reduced() {
        assert_eq!(size(Scale::Width(1001), false, true), None);
        assert_eq!(size(Scale::Width(1001), true, true), Some((1001, 702)));
        assert_eq!(size(Scale::Width(6000), true, true), None);
        assert_eq!(size(Scale::Width(6000), true, false), Some((5000, 3505)));
        assert_eq!(size(Scale::Width(0), true, false), None);
        assert_eq!(size(Scale::Exact(Size::new(10, 0)), true, true), None);
    }

    #[test]
    fn limits_apply_to_given_sides_and_upscaling_to_the_request() {
        let limits = |upscaling| PlanLimits {
            max_width: Some(100),
            max_height: Some(100),
            upscaling,
            ..PlanLimits::default()
        };
        let full = Size::new(300, 200);
        let size = |scale: Scale, region, enlarge, upscaling| {
            let found = scale.apply(region, full, (enlarge, Excess::Limited), &limits(upscaling));
            found.ok().map(|size| (size.w, size.h))
        };
        let exact = Scale::Exact(Size::new(200, 150));
        assert_eq!(size(exact, full, Enlarge::Refused, true), Some((100, 100)));
        assert_eq!(
            size(Scale::Width(200), full, Enlarge::Refused, true),
            Some((100, 67))
        );
        let part = Size::new(50, 50);
        for (enlarge, upscaling, wanted) in [
            (Enlarge::Refused, true, None),
            (Enlarge::Asked, true, Some((80, 80))),
            (Enlarge::Allowed, true, Some((80, 80))),
            (Enlarge::Refused, false, None),
            (Enlarge::Asked, false, None),
            (Enlarge::Allowed, false, Some((50, 50))),
        ] {
            assert_eq!(size(Scale::Width(80), part, enlarge, upscaling), wanted);
        }
        assert_eq!(size(Scale::Image, part, Enlarge::Allowed, true), Some((100, 100)));
        assert_eq!(size(Scale::Image, part, Enlarge::Allowed, false), Some((50, 50)));
    }
}
