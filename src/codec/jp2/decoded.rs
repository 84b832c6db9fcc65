//! A window after the wavelet transform: converts it to samples, some rows at a time.
//!
//! Undoes the component transforms: colour, level shift and clamping (T.800 Annex G).

use crate::codec::jp2::Planes;
use crate::codec::jp2::grid::Area;
use crate::codec::jp2::plane::Number;
use crate::codec::jp2::plane::Plane;
use crate::codec::jp2::siz::Component;
use crate::error::Error;
use crate::error::Result;
use std::ops;

/// From this number to its double, a float holds exactly the integers.
const EXACT: f32 = 8_388_608.0;

/// A window after the wavelet transform.
pub struct Decoded {
    pub(super) window: Area,
    /// For each component.
    pub(super) ranges: Vec<ValueRange>,
    /// Whether each component was decoded.
    pub(super) wanted: Vec<bool>,
    pub(super) tiles: Vec<DecodedTile>,
}

/// The part of a window from one tile of the codestream.
pub(super) struct DecodedTile {
    /// Whether the first three components are transformed together.
    pub mct: bool,
    pub components: Vec<Shown>,
}

/// The part of a window from one component of a tile.
pub(super) struct Shown {
    pub samples: ComponentSamples,
    /// The subsampling step.
    pub step: (u32, u32),
    /// The area in the window; may be empty.
    pub area: Area,
}

/// Samples of one component, of either transform.
pub(super) enum ComponentSamples {
    Whole(Plane<i32>),
    Real(Plane<f32>),
}

impl ComponentSamples {
    /// The rows that cover an area.
    fn rows(&self, area: Area, down: u32) -> ComponentSamples {
        let (first, last) = (area.y0 / down, area.y1.saturating_sub(1) / down);
        match self {
            ComponentSamples::Whole(plane) => ComponentSamples::Whole(plane.rows(first, last)),
            ComponentSamples::Real(plane) => ComponentSamples::Real(plane.rows(first, last)),
        }
    }
}

impl Decoded {
    /// Whether the codestream has none of the tiles that the window touches: all samples are equal.
    pub fn is_vacant(&self) -> bool {
        self.tiles.is_empty()
    }

    /// The samples of `rows`, counted from the top of the window: those rows of each component, and nothing of
    /// components that were not decoded.
    pub fn rows(&self, rows: ops::Range<u32>) -> Result<Planes> {
        let band = Area {
            y0: self.window.y0 + rows.start,
            y1: self.window.y0 + rows.end,
            ..self.window
        }
        .meet(self.window);
        shown(self, band)
    }
}

/// The samples of the rows `band` of the window.
#[multiversion::multiversion(targets("x86_64+avx+avx2+bmi1+bmi2+lzcnt+popcnt"))]
fn shown(decoded: &Decoded, band: Area) -> Result<Planes> {
    let plane = |is_wanted: &bool| vec![0; if *is_wanted { band.len() } else { 0 }];
    let mut planes: Planes = decoded.wanted.iter().map(plane).collect();
    for tile in &decoded.tiles {
        let parts = tile.components.iter().map(|shown| shown.area.meet(band));
        let parts: Vec<Area> = parts.collect();
        if parts.iter().all(|part| part.is_empty()) {
            continue;
        }
        let shown = tile.components.iter().zip(&parts);
        let mut samples: Vec<ComponentSamples> = shown
            .map(|(shown, part)| shown.samples.rows(*part, shown.step.1))
            .collect();
        if tile.mct {
            untwist(&mut samples)?;
        }
        let samples = samples.iter().zip(&tile.components).zip(parts);
        for (((samples, Shown { step, .. }), part), (&range, plane)) in
            samples.zip(decoded.ranges.iter().zip(&mut planes))
        {
            match samples {
                ComponentSamples::Whole(from) => {
                    place(from, *step, part, band, plane, move |v| range.whole(v))
                }
                ComponentSamples::Real(from) if range.half <= 1 << 15 => {
                    place(from, *step, part, band, plane, move |v| range.small(v));
                }
                ComponentSamples::Real(from) => place(from, *step, part, band, plane, move |v| range.real(v)),
            }
        }
    }
    Ok(planes)
}

/// The value range of a component.
#[derive(Clone, Copy)]
pub(super) struct ValueRange {
    /// Half of the number of values; beyond 31 bits there is no clamping.
    half: i32,
    /// The level shift: half of the range for unsigned values (T.800 G.1.2).
    shift: i32,
}

impl ValueRange {
    pub fn of(component: &Component) -> ValueRange {
        let half = 1 << (component.bits.clamp(1, 31) - 1);
        let shift = if component.signed { 0 } else { half };
        ValueRange { half, shift }
    }

    #[inline(always)]
    fn whole(self, value: i32) -> i32 {
        value.max(-self.half).min(self.half - 1) + self.shift
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "it becomes the nearest integer there is"
    )]
    #[inline(always)]
    fn real(self, value: f32) -> i32 {
        self.whole((value + 0.5).floor() as i32)
    }

    /// Converts values of up to 16 bits.
    #[expect(
        clippy::cast_possible_wrap,
        clippy::cast_precision_loss,
        reason = "whole numbers of up to 17 bits"
    )]
    #[inline(always)]
    fn small(self, value: f32) -> i32 {
        let (up, most) = (self.half as f32, (2 * self.half - 1) as f32);
        let positive = if value + up > 0.0 { value + up } else { 0.0 };
        let fit = if positive < most { positive } else { most };
        // the last bit of such a number is worth 1, so it is rounded to the nearest
        ((fit + EXACT).to_bits() - EXACT.to_bits()) as i32 - self.half + self.shift
    }
}

/// Undoes the component transform of the first three (T.800 Annex G).
#[inline(always)]
fn untwist(samples: &mut [ComponentSamples]) -> Result<()> {
    let unlike = || Error::Corrupt("components that are transformed together differ".into());
    match samples {
        [
            ComponentSamples::Whole(y),
            ComponentSamples::Whole(u),
            ComponentSamples::Whole(v),
            ..,
        ] if y.area == u.area && u.area == v.area => {
            for ((y, u), v) in y.data.iter_mut().zip(&mut u.data).zip(&mut v.data) {
                let green = y.wrapping_sub(u.wrapping_add(*v) >> 2);
                (*y, *u, *v) = (v.wrapping_add(green), green, u.wrapping_add(green));
            }
            Ok(())
        }
        [
            ComponentSamples::Real(y),
            ComponentSamples::Real(b),
            ComponentSamples::Real(r),
            ..,
        ] if y.area == b.area && b.area == r.area => {
            for ((y, b), r) in y.data.iter_mut().zip(&mut b.data).zip(&mut r.data) {
                let (luma, blue, red) = (*y, *b, *r);
                *y = luma + 1.402 * red;
                *b = luma - 0.344_13 * blue - 0.714_14 * red;
                *r = luma + 1.772 * blue;
            }
            Ok(())
        }
        _ => Err(unlike()),
    }
}

/// Copies a part of the window from a component, replicating subsampled samples.
#[inline(always)]
fn place<T: Number>(
    from: &Plane<T>,
    (across, down): (u32, u32),
    part: Area,
    window: Area,
    to: &mut [i32],
    fit: impl Fn(T) -> i32,
) {
    if from.area.is_empty() || part.is_empty() {
        return;
    }
    let width = window.w() as usize;
    let alike = across == 1 && from.area.x0 <= part.x0;
    for y in part.y0..part.y1 {
        let row = (y / down).clamp(from.area.y0, from.area.y1 - 1);
        let start = (y - window.y0) as usize * width + (part.x0 - window.x0) as usize;
        let to = to.get_mut(start..start + part.w() as usize).unwrap_or_default();
        if alike && let Some(own) = from.row(row, part.x0).get(..to.len()) {
            for (to, from) in to.iter_mut().zip(own) {
                *to = fit(*from);
            }
            continue;
        }
        let row = from.row(row, from.area.x0);
        for (x, to) in (part.x0..part.x1).zip(to) {
            let column = (x / across).clamp(from.area.x0, from.area.x1 - 1) - from.area.x0;
            if let Some(from) = row.get(column as usize) {
                *to = fit(*from);
            }
        }
    }
}
