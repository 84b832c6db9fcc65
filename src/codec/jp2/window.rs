//! A window of a codestream: which code-blocks it needs, and the way from coefficients to samples.
//!
//! How a block is read and decoded is the business of `cells`; those that a neighbouring window needs as well are
//! handed out to be held.

use crate::codec::jp2::Blocks;
use crate::codec::jp2::Codestream;
use crate::codec::jp2::Name;
use crate::codec::jp2::Planes;
use crate::codec::jp2::cells::Coded;
use crate::codec::jp2::cells::Job;
use crate::codec::jp2::cells::Work;
use crate::codec::jp2::cells::each_cell;
use crate::codec::jp2::grid::Area;
use crate::codec::jp2::grid::Band;
use crate::codec::jp2::grid::Component;
use crate::codec::jp2::grid::Resolution;
use crate::codec::jp2::grid::halved;
use crate::codec::jp2::grid::tile_area;
use crate::codec::jp2::markers::Coding;
use crate::codec::jp2::markers::Component as Said;
use crate::codec::jp2::packets::Index;
use crate::codec::jp2::wavelet::Number;
use crate::codec::jp2::wavelet::Plane;
use crate::codec::jp2::wavelet::bands;
use crate::codec::jp2::wavelet::combine;
use crate::crew::each;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::recent::Made;
use std::ops;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;

/// So many samples are worth another thread: some milliseconds.
const WORTH: usize = 64 << 10;

/// From here to the double a float holds the whole numbers, and no others.
const EXACT: f32 = 8_388_608.0;

/// Decodes `rect`, which lies inside the image with so many halvings.
pub fn decode(
    stream: &Codestream,
    reduction: u8,
    rect: Rect,
    layers: u16,
    blocks: &dyn Blocks,
) -> Result<Decoded> {
    let siz = &stream.main.siz;
    let (left, top) = (halved(siz.start.0, reduction), halved(siz.start.1, reduction));
    let window = Area {
        x0: left + rect.x,
        y0: top + rect.y,
        x1: left + rect.x + rect.w,
        y1: top + rect.y + rect.h,
    };
    let (across, down) = siz.grid();
    // tiles overlap the window where their first point times 2^reduction does; one more on either side is looked at
    let first = |edge: u32, start: u32, side: u32| {
        let point = (u64::from(edge) << reduction).saturating_sub(1 << reduction);
        let index = point.saturating_sub(u64::from(start)) / u64::from(side);
        u32::try_from(index).unwrap_or(u32::MAX)
    };
    let columns = first(window.x0, siz.tile_start.0, siz.tile.w)
        ..(first(window.x1, siz.tile_start.0, siz.tile.w) + 2).min(across);
    let rows = first(window.y0, siz.tile_start.1, siz.tile.h)
        ..(first(window.y1, siz.tile_start.1, siz.tile.h) + 2).min(down);
    let numbers = rows.flat_map(|row| columns.clone().map(move |column| row * across + column));
    let tiles = numbers.filter_map(|number| {
        let tile = u16::try_from(number).ok()?;
        let part = tile_area(siz, tile)
            .map(|x| halved(x, reduction), |y| halved(y, reduction))
            .meet(window);
        let stored = stream.main.parts.binary_search_by_key(&tile, |part| part.tile);
        // a tile that is not there is 0 in every component
        (!part.is_empty() && stored.is_ok()).then_some((tile, part))
    });
    let tiles: Vec<(u16, Area)> = tiles.collect();
    let samples = window.len() * siz.components.len();
    let tiles = share(tiles, samples, |(number, part)| {
        let index = stream.index(number)?;
        let tile = Tile {
            number,
            index: &index,
            stream,
            reduction,
            layers: layers.min(index.style.layers),
            blocks,
        };
        tile.decode(part)
    })?;
    Ok(Decoded {
        window,
        ranges: siz.components.iter().map(Range::of).collect(),
        tiles,
    })
}

/// A window after the wavelet transform.
pub struct Decoded {
    window: Area,
    /// Of each component.
    ranges: Vec<Range>,
    tiles: Vec<Part>,
}

/// What one tile of the codestream shows of a window.
struct Part {
    area: Area,
    /// Whether the first three components are transformed together.
    mct: bool,
    /// Of each component, and how far its samples lie apart.
    samples: Vec<(Samples, (u32, u32))>,
}

/// Samples of one component, of either transform.
enum Samples {
    Whole(Plane<i32>),
    Real(Plane<f32>),
}

impl Samples {
    /// The rows that show an area.
    fn rows(&self, area: Area, down: u32) -> Samples {
        match self {
            Samples::Whole(plane) => Samples::Whole(plane.rows(area.y0 / down, (area.y1 - 1) / down)),
            Samples::Real(plane) => Samples::Real(plane.rows(area.y0 / down, (area.y1 - 1) / down)),
        }
    }
}

impl Decoded {
    /// The samples of `rows`, counted from the top of the window: for each component so many rows of its width.
    pub fn rows(&self, rows: ops::Range<u32>) -> Result<Planes> {
        let band = Area {
            y0: self.window.y0 + rows.start,
            y1: self.window.y0 + rows.end,
            ..self.window
        }
        .meet(self.window);
        let mut planes = vec![vec![0; band.len()]; self.ranges.len()];
        for tile in &self.tiles {
            let part = tile.area.meet(band);
            if part.is_empty() {
                continue;
            }
            let samples = tile.samples.iter();
            let mut samples: Vec<Samples> = samples.map(|(all, step)| all.rows(part, step.1)).collect();
            if tile.mct {
                untwist(&mut samples)?;
            }
            let parts = samples.iter().zip(&tile.samples).zip(&self.ranges);
            for (((samples, (_, step)), range), plane) in parts.zip(&mut planes) {
                match samples {
                    Samples::Whole(from) => place(from, *step, part, band, plane, |v| range.whole(v)),
                    Samples::Real(from) if range.half <= 1 << 15 => {
                        place(from, *step, part, band, plane, |v| range.small(v));
                    }
                    Samples::Real(from) => place(from, *step, part, band, plane, |v| range.real(v)),
                }
            }
        }
        Ok(planes)
    }
}

/// The values of a component.
struct Range {
    /// Half of their number; beyond 31 bits there are none.
    half: i32,
    /// What is added to a sample: half of the range if the values have no sign (T.800 G.1.2).
    shift: i32,
}

impl Range {
    fn of(component: &Said) -> Range {
        let half = 1 << (component.bits.clamp(1, 31) - 1);
        let shift = if component.signed { 0 } else { half };
        Range { half, shift }
    }

    fn whole(&self, value: i32) -> i32 {
        value.clamp(-self.half, self.half - 1) + self.shift
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "it becomes the nearest integer there is"
    )]
    fn real(&self, value: f32) -> i32 {
        self.whole((value + 0.5).floor() as i32)
    }

    /// The same for values of up to 16 bits.
    #[expect(
        clippy::cast_possible_wrap,
        clippy::cast_precision_loss,
        reason = "whole numbers of up to 17 bits"
    )]
    fn small(&self, value: f32) -> i32 {
        let (up, most) = (self.half as f32, (2 * self.half - 1) as f32);
        let positive = if value + up > 0.0 { value + up } else { 0.0 };
        let fit = if positive < most { positive } else { most };
        // the last place of such a number is 1: it is rounded to the nearest
        ((fit + EXACT).to_bits() - EXACT.to_bits()) as i32 - self.half + self.shift
    }
}

/// One tile as a window sees it.
struct Tile<'a> {
    number: u16,
    index: &'a Index,
    stream: &'a Codestream,
    reduction: u8,
    layers: u16,
    blocks: &'a dyn Blocks,
}

impl Tile<'_> {
    /// Decodes a part of the window, which the tile covers.
    fn decode(&self, part: Area) -> Result<Part> {
        let needs = self
            .index
            .components
            .iter()
            .map(|component| self.need(component, part))
            .collect::<Result<Vec<_>>>()?;
        let components = self.index.components.iter().zip(&needs);
        let jobs: Vec<_> = (0..).zip(components.zip(self.coefficients(&needs)?)).collect();
        let sum = needs.iter().map(|need| need.len()).sum();
        let samples = share(jobs, sum, |(number, ((component, need), bands))| {
            let samples = if self.coding(number)?.reversible {
                Samples::Whole(self.component(component, *need, &bands)?)
            } else {
                Samples::Real(self.component(component, *need, &bands)?)
            };
            Ok((samples, component.step))
        })?;
        Ok(Part {
            area: part,
            mct: self.index.style.mct,
            samples,
        })
    }

    fn coding(&self, number: usize) -> Result<&Coding> {
        let coding = self.index.style.coding.get(number);
        coding.ok_or_else(|| Error::Corrupt("a component without coding style".into()))
    }

    /// The resolution that is shown, as its index.
    fn top(&self, component: &Component) -> Result<usize> {
        let few = || Error::Unsupported("a tile has fewer resolutions than the image".into());
        (component.resolutions.len() - 1)
            .checked_sub(usize::from(self.reduction))
            .ok_or_else(few)
    }

    /// The samples of a component that a part of the window shows.
    fn need(&self, component: &Component, part: Area) -> Result<Area> {
        let top = self.top(component)?;
        let whole = component.resolutions.get(top).map(|r| r.area).unwrap_or_default();
        let (across, down) = component.step;
        let mut area = Area {
            x0: part.x0 / across,
            y0: part.y0 / down,
            x1: (part.x1 - 1) / across + 1,
            y1: (part.y1 - 1) / down + 1,
        };
        // a subsampled component may begin behind the window's edge: then its first sample is shown there
        area.x0 = area.x0.min(whole.x1.saturating_sub(1)).max(whole.x0);
        area.y0 = area.y0.min(whole.y1.saturating_sub(1)).max(whole.y0);
        area.x1 = area.x1.max(area.x0 + 1);
        area.y1 = area.y1.max(area.y0 + 1);
        Ok(area.meet(whole))
    }

    /// Calls `f` with each band that `need` takes, its resolution's block sides, and what of it is needed; the smallest
    /// resolution first.
    fn visit<'a>(
        &self,
        number: usize,
        component: &'a Component,
        need: Area,
        mut f: impl FnMut(&'a Resolution, &'a Band, Area),
    ) -> Result<()> {
        let reach = reach(self.coding(number)?);
        for (level, (resolution, wide)) in self.widths(component, need, reach)?.into_iter().enumerate() {
            for (band, area) in resolution.bands.iter().zip(parts(level, wide)) {
                f(resolution, band, area.meet(band.area));
            }
        }
        Ok(())
    }

    /// For each resolution up to the shown one what is made of it, from the smallest.
    fn widths<'a>(
        &self,
        component: &'a Component,
        need: Area,
        reach: u32,
    ) -> Result<Vec<(&'a Resolution, Area)>> {
        let top = self.top(component)?;
        let mut all = Vec::new();
        let mut need = need;
        for (level, resolution) in component.resolutions.iter().enumerate().take(top + 1).rev() {
            if level == 0 {
                all.push((resolution, need));
            } else {
                let wide = need.grown(reach, resolution.area);
                let [low, ..] = bands(wide);
                need = low;
                all.push((resolution, wide));
            }
        }
        all.reverse();
        Ok(all)
    }

    /// One component, transformed back from its bands.
    fn component<T: Number>(
        &self,
        component: &Component,
        need: Area,
        bands: &[Plane<i32>],
    ) -> Result<Plane<T>> {
        let mut bands = bands.iter();
        let mut shown: Plane<T> = Plane::default();
        for (resolution, wide) in self.widths(component, need, T::REACH)? {
            let mut steps = resolution.bands.iter().map(|band| band.step);
            let mut next = || steps.next().and_then(|step| Some((bands.next()?, step)));
            shown = match (next(), next(), next()) {
                (Some(hl), Some(lh), Some(hh)) => combine(wide, &shown, [hl, lh, hh]),
                (Some(low), ..) => low.0.scaled(low.1),
                _ => Plane::default(),
            };
        }
        Ok(shown)
    }

    /// The coefficients of each component that are needed, by its bands, the smallest resolution first; on as many
    /// threads as have nothing else to do here.
    fn coefficients(&self, needs: &[Area]) -> Result<Vec<Vec<Plane<i32>>>> {
        let mut all: Vec<Vec<Mutex<Plane<i32>>>> = needs.iter().map(|_| Vec::new()).collect();
        let mut jobs = Vec::new();
        let components = self.index.components.iter().zip(needs).zip(&mut all);
        for (number, ((component, need), planes)) in components.enumerate() {
            let coding = self.coding(number)?;
            let roi = self.index.style.roi.get(number).copied().unwrap_or(0);
            self.visit(number, component, *need, |resolution, band, area| {
                let own = band.inner(area, 2 * reach(coding));
                each_cell(band, resolution, area, |place, cell, whole| {
                    jobs.push(Job {
                        name: Name {
                            tile: self.number,
                            component: u16::try_from(number).unwrap_or(u16::MAX),
                            band: u16::try_from(planes.len()).unwrap_or(u16::MAX),
                            place,
                            layers: self.layers,
                        },
                        shared: whole.meet(own) != whole,
                        need: whole.meet(area),
                        edge: reach(coding) + 1,
                        coding,
                        band,
                        roi,
                        cell,
                        whole,
                    });
                });
                planes.push(Mutex::new(Plane::new(area)));
            })?;
        }
        let chunks = jobs.iter().flat_map(|job| job.chunks(self.index));
        let coded = Coded::new(&*self.stream.from, chunks.map(|c| (c.at, c.len)).collect());
        let work = Work {
            index: self.index,
            coded: &coded,
            strict: self.stream.strict,
        };
        let samples = jobs.iter().map(|job| job.whole.len()).sum();
        share(jobs, samples, |job| {
            let gone = || Error::Corrupt("no such band".into());
            let planes = all.get(usize::from(job.name.component));
            let plane = planes.and_then(|planes| planes.get(usize::from(job.name.band)));
            let plane = plane.ok_or_else(gone)?;
            let lock = || plane.lock().unwrap_or_else(PoisonError::into_inner);
            if !job.shared {
                return work
                    .decode(&job, |values| job.place(values, &mut lock()))
                    .map(|_| ());
            }
            let packed = self.blocks.block(job.name, &mut |held| {
                let given = match held.filter(|held| job.is_in(held)) {
                    Some(held) => held,
                    None => work
                        .decode(&job, |values| job.packed(values))?
                        .unwrap_or_default(),
                };
                let held = job.worth_holding(&given);
                Ok(Made { given, held })
            })?;
            job.unpack(&packed, &mut lock());
            Ok(())
        })?;
        let plane = |plane: Mutex<Plane<i32>>| plane.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(all
            .into_iter()
            .map(|planes| planes.into_iter().map(plane).collect())
            .collect())
    }
}

/// What `job` makes of each of the items, in their order, on as many threads as so many samples are worth.
fn share<I: Send, T: Send + Sync>(
    items: Vec<I>,
    samples: usize,
    job: impl Fn(I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let done: Vec<OnceLock<Result<T>>> = items.iter().map(|_| OnceLock::new()).collect();
    let others = (samples / WORTH).min(items.len().saturating_sub(1));
    // the largest come last: the threads begin there
    each(others, items.into_iter().zip(&done).rev(), |(item, done)| {
        let _ = done.set(job(item));
        Ok(())
    })?;
    let lost = || Err(Error::Corrupt("a part of a window was not decoded".into()));
    let done = done
        .into_iter()
        .map(|made| made.into_inner().unwrap_or_else(lost));
    done.collect()
}

/// Samples on either side that a sample depends on.
fn reach(coding: &Coding) -> u32 {
    if coding.reversible { i32::REACH } else { f32::REACH }
}

/// What the bands of a resolution must cover, in their order.
fn parts(level: usize, wide: Area) -> impl Iterator<Item = Area> {
    let [ll, hl, lh, hh] = if level == 0 { [wide; 4] } else { bands(wide) };
    let all = if level == 0 { [ll; 3] } else { [hl, lh, hh] };
    all.into_iter()
}

/// Takes the component transformation of the first three back (T.800 Annex G).
fn untwist(samples: &mut [Samples]) -> Result<()> {
    let unlike = || Error::Corrupt("components that are transformed together differ".into());
    match samples {
        [Samples::Whole(y), Samples::Whole(u), Samples::Whole(v), ..]
            if y.area == u.area && u.area == v.area =>
        {
            for ((y, u), v) in y.data.iter_mut().zip(&mut u.data).zip(&mut v.data) {
                let green = y.wrapping_sub(u.wrapping_add(*v) >> 2);
                (*y, *u, *v) = (v.wrapping_add(green), green, u.wrapping_add(green));
            }
            Ok(())
        }
        [Samples::Real(y), Samples::Real(b), Samples::Real(r), ..]
            if y.area == b.area && b.area == r.area =>
        {
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

/// Copies a part of the window out of a component, repeating the samples of a subsampled one.
fn place<T: Number>(
    from: &Plane<T>,
    (across, down): (u32, u32),
    part: Area,
    window: Area,
    to: &mut [i32],
    fit: impl Fn(T) -> i32,
) {
    if from.area.is_empty() {
        return;
    }
    let width = window.w() as usize;
    for y in part.y0..part.y1 {
        let row = from.row((y / down).clamp(from.area.y0, from.area.y1 - 1), from.area.x0);
        let start = (y - window.y0) as usize * width + (part.x0 - window.x0) as usize;
        let to = to.get_mut(start..start + part.w() as usize).unwrap_or_default();
        if across == 1 && row.len() == to.len() {
            for (to, from) in to.iter_mut().zip(row) {
                *to = fit(*from);
            }
            continue;
        }
        for (x, to) in (part.x0..part.x1).zip(to) {
            let column = (x / across).clamp(from.area.x0, from.area.x1 - 1) - from.area.x0;
            if let Some(from) = row.get(column as usize) {
                *to = fit(*from);
            }
        }
    }
}
