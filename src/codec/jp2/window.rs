//! A window of a codestream: which code-blocks it needs, their bytes, and the way from coefficients to samples.
//!
//! Reads each byte that is needed once; what lies close together is read in one go.

use crate::codec::jp2::Codestream;
use crate::codec::jp2::Planes;
use crate::codec::jp2::block;
use crate::codec::jp2::block::Block;
use crate::codec::jp2::block::Scratch;
use crate::codec::jp2::block::Segment;
use crate::codec::jp2::bytes::Bytes;
use crate::codec::jp2::grid::Area;
use crate::codec::jp2::grid::Band;
use crate::codec::jp2::grid::Cell;
use crate::codec::jp2::grid::Chunk;
use crate::codec::jp2::grid::Component;
use crate::codec::jp2::grid::Resolution;
use crate::codec::jp2::grid::halved;
use crate::codec::jp2::grid::tile_area;
use crate::codec::jp2::packets::Index;
use crate::codec::jp2::wavelet::Number;
use crate::codec::jp2::wavelet::Plane;
use crate::codec::jp2::wavelet::bands;
use crate::codec::jp2::wavelet::combine;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use std::cell::Cell as Kept;
use std::sync::OnceLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// Bytes between two chunks that are read along rather than skipped.
const GAP: u64 = 4 << 10;

thread_local! {
    static SCRATCH: Kept<Scratch> = Kept::default();
}

/// Threads that decode code-blocks now.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// So many samples are worth another thread: some milliseconds.
const WORTH: usize = 64 << 10;

/// One of [`BUSY`], for as long as it lives.
struct Busy;

impl Busy {
    /// `None` when every core decodes already.
    fn hire() -> Option<Busy> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let more = |busy: usize| (busy < cores).then_some(busy + 1);
        let hired = BUSY.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        hired.is_ok().then(|| Busy)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Does the work on this thread and on up to so many others, as long as cores are left that do not decode.
fn crew(others: usize, work: impl Fn() + Sync) {
    let work = &work;
    BUSY.fetch_add(1, Ordering::Relaxed);
    let _own = Busy;
    std::thread::scope(|scope| {
        for busy in (0..others).map_while(|_| Busy::hire()) {
            scope.spawn(move || {
                work();
                drop(busy);
            });
        }
        work();
    });
}

/// The samples of `rect`, which lies inside the image with so many halvings.
pub fn read(stream: &Codestream, reduction: u8, rect: Rect, layers: u16) -> Result<Planes> {
    let siz = &stream.main.siz;
    let (left, top) = (halved(siz.start.0, reduction), halved(siz.start.1, reduction));
    let window = Area {
        x0: left + rect.x,
        y0: top + rect.y,
        x1: left + rect.x + rect.w,
        y1: top + rect.y + rect.h,
    };
    let mut planes = vec![vec![0; window.len()]; siz.components.len()];
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
    for row in rows {
        for column in columns.clone() {
            let tile = u16::try_from(row * across + column).unwrap_or(u16::MAX);
            let part = tile_area(siz, tile)
                .map(|x| halved(x, reduction), |y| halved(y, reduction))
                .meet(window);
            let stored = stream.main.parts.binary_search_by_key(&tile, |part| part.tile);
            // a tile that is not there is 0 in every component
            if !part.is_empty() && stored.is_ok() {
                let index = stream.index(tile)?;
                let of = Tile {
                    index: &index,
                    stream,
                    reduction,
                    layers,
                };
                of.read(part, window, &mut planes)?;
            }
        }
    }
    Ok(planes)
}

/// One tile as a window sees it.
struct Tile<'a> {
    index: &'a Index,
    stream: &'a Codestream,
    reduction: u8,
    layers: u16,
}

/// Samples of one component, of either transform.
enum Samples {
    Whole(Plane<i32>),
    Real(Plane<f32>),
}

impl Tile<'_> {
    /// Puts the tile's `part` of the window in its place.
    fn read(&self, part: Area, window: Area, planes: &mut Planes) -> Result<()> {
        let needs = self
            .index
            .components
            .iter()
            .map(|component| self.need(component, part))
            .collect::<Result<Vec<_>>>()?;
        let mut chunks = Vec::new();
        for (number, (component, need)) in self.index.components.iter().zip(&needs).enumerate() {
            self.visit(number, component, *need, |resolution, band, area| {
                each_cell(band, resolution, area, |cell, _| {
                    chunks.extend(self.chunks(cell).map(|c| (c.at, c.len)))
                });
            })?;
        }
        let coded = Coded::read(&*self.stream.from, chunks)?;
        let bands = self.bands(&needs, &coded)?;
        let mut samples = Vec::new();
        for (number, (component, need)) in self.index.components.iter().zip(&needs).enumerate() {
            let bands = bands.get(number).map(Vec::as_slice).unwrap_or_default();
            samples.push(if self.coding(number)?.reversible {
                Samples::Whole(self.component(component, *need, bands)?)
            } else {
                Samples::Real(self.component(component, *need, bands)?)
            });
        }
        if self.index.style.mct {
            untwist(&mut samples)?;
        }
        for (number, (samples, plane)) in samples.into_iter().zip(planes).enumerate() {
            let component = self.index.components.get(number);
            let step = component.map_or((1, 1), |component| component.step);
            let Some(said) = self.stream.main.siz.components.get(number) else {
                continue;
            };
            let (low, high) = if said.signed {
                (-(1i64 << (said.bits - 1)), (1i64 << (said.bits - 1)) - 1)
            } else {
                (0, (1i64 << said.bits) - 1)
            };
            let shift = if said.signed { 0 } else { 1i64 << (said.bits - 1) };
            let fit = |value: i64| i32::try_from((value + shift).clamp(low, high)).unwrap_or(i32::MAX);
            match samples {
                Samples::Whole(from) => place(&from, step, part, window, plane, |v| fit(i64::from(v))),
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "a float becomes the nearest integer there is"
                )]
                Samples::Real(from) => {
                    place(
                        &from,
                        step,
                        part,
                        window,
                        plane,
                        |v| fit((v + 0.5).floor() as i64),
                    )
                }
            }
        }
        Ok(())
    }

    fn coding(&self, number: usize) -> Result<&crate::codec::jp2::markers::Coding> {
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
        let reach = if self.coding(number)?.reversible {
            i32::REACH
        } else {
            f32::REACH
        };
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

    /// The coefficients of every band that is needed, for each component those of the smallest resolution first; on as
    /// many threads as have nothing else to do here.
    fn bands(&self, needs: &[Area], coded: &Coded) -> Result<Vec<Vec<Plane<i32>>>> {
        let mut jobs = Vec::new();
        for (number, (component, need)) in self.index.components.iter().zip(needs).enumerate() {
            self.visit(number, component, *need, |resolution, band, area| {
                jobs.push((number, resolution, band, area));
            })?;
        }
        let done: Vec<OnceLock<Result<Plane<i32>>>> = jobs.iter().map(|_| OnceLock::new()).collect();
        // the largest come last: the threads begin there
        let left = AtomicUsize::new(jobs.len());
        let work = || {
            let mut scratch = SCRATCH.take();
            while let Ok(at) =
                left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
            {
                if let Some(((number, resolution, band, area), place)) =
                    jobs.get(at - 1).zip(done.get(at - 1))
                {
                    let _ = place.set(self.band(*number, resolution, band, *area, coded, &mut scratch));
                }
            }
            SCRATCH.set(scratch);
        };
        let samples: usize = jobs.iter().map(|(_, _, _, area)| area.len()).sum();
        crew(samples / WORTH, work);
        let mut all: Vec<Vec<Plane<i32>>> = needs.iter().map(|_| Vec::new()).collect();
        for ((number, ..), plane) in jobs.iter().zip(done) {
            let plane = plane
                .into_inner()
                .unwrap_or_else(|| Err(Error::Corrupt("a band was not decoded".into())))?;
            if let Some(planes) = all.get_mut(*number) {
                planes.push(plane);
            }
        }
        Ok(all)
    }

    /// The coefficients of an area of a band, with one fractional bit.
    fn band(
        &self,
        number: usize,
        resolution: &Resolution,
        band: &Band,
        area: Area,
        coded: &Coded,
        scratch: &mut Scratch,
    ) -> Result<Plane<i32>> {
        let style = self.coding(number)?.style;
        let roi = self.index.style.roi.get(number).copied().unwrap_or(0);
        let mut plane = Plane::new(area);
        let width = area.w() as usize;
        let mut values = Vec::new();
        let mut failed = None;
        each_cell(band, resolution, area.meet(band.area), |cell, whole| {
            let pieces: Vec<(&Chunk, &[u8])> = self
                .chunks(cell)
                .filter_map(|chunk| Some((chunk, coded.get(chunk.at, chunk.len)?)))
                .collect();
            let Some(planes) = (band.planes.saturating_add(roi))
                .checked_sub(cell.zero)
                .filter(|p| *p > 0)
            else {
                return;
            };
            if pieces.is_empty() {
                return;
            }
            let bytes: Vec<&[u8]> = pieces.iter().map(|(_, bytes)| *bytes).collect();
            let mut segments = Vec::new();
            let mut start = 0;
            let ends = (1..=pieces.len()).filter(|end| pieces.get(*end).is_none_or(|(chunk, _)| chunk.opens));
            for end in ends {
                let passes: u16 = pieces
                    .get(start..end)
                    .unwrap_or_default()
                    .iter()
                    .map(|(chunk, _)| u16::from(chunk.passes))
                    .sum();
                let passes = u8::try_from(passes).unwrap_or(u8::MAX);
                segments.push(Segment {
                    passes,
                    pieces: bytes.get(start..end).unwrap_or_default(),
                });
                start = end;
            }
            values.clear();
            values.resize(whole.len(), 0);
            let block = Block {
                w: whole.w(),
                h: whole.h(),
                band: band.kind,
                style,
                planes,
                segments: &segments,
            };
            if let Err(error) = block::decode(&block, scratch, &mut values) {
                failed = Some(error);
                return;
            }
            if roi > 0 {
                unshift(&mut values, roi);
            }
            let shared = whole.meet(area);
            for y in shared.y0..shared.y1 {
                let from = (y - whole.y0) as usize * whole.w() as usize + (shared.x0 - whole.x0) as usize;
                let to = (y - area.y0) as usize * width + (shared.x0 - area.x0) as usize;
                let len = shared.w() as usize;
                let (Some(from), Some(to)) = (values.get(from..from + len), plane.data.get_mut(to..to + len))
                else {
                    return;
                };
                to.copy_from_slice(from);
            }
        });
        match failed {
            Some(error) if self.stream.strict => Err(error),
            _ => Ok(plane),
        }
    }

    /// The chunks of a code-block in the layers that are shown.
    fn chunks(&self, cell: &Cell) -> impl Iterator<Item = &Chunk> {
        let mut at = cell.chunks.0;
        std::iter::from_fn(move || {
            let chunk = self.index.chunks.get(at as usize)?;
            at = chunk.next;
            Some(chunk)
        })
        .take_while(|chunk| chunk.layer < self.layers)
    }
}

/// What the bands of a resolution must cover, in their order.
fn parts(level: usize, wide: Area) -> impl Iterator<Item = Area> {
    let [ll, hl, lh, hh] = if level == 0 { [wide; 4] } else { bands(wide) };
    let all = if level == 0 { [ll; 3] } else { [hl, lh, hh] };
    all.into_iter()
}

/// Calls `f` with the code-blocks of a band that touch an area, and what each covers.
fn each_cell<'a>(band: &'a Band, resolution: &Resolution, area: Area, mut f: impl FnMut(&'a Cell, Area)) {
    if area.is_empty() {
        return;
    }
    let (wide, high) = resolution.block;
    let edge = |index: u32, side: u8| u32::try_from(u64::from(index) << side).unwrap_or(u32::MAX);
    for row in area.y0 >> high..halved(area.y1, high) {
        for column in area.x0 >> wide..halved(area.x1, wide) {
            let whole = Area {
                x0: edge(column, wide),
                y0: edge(row, high),
                x1: edge(column + 1, wide),
                y1: edge(row + 1, high),
            }
            .meet(band.area);
            let index = row
                .checked_sub(band.cells.y0)
                .zip(column.checked_sub(band.cells.x0));
            let cell = index.and_then(|(row, column)| {
                band.blocks
                    .get(row as usize * band.cells.w() as usize + column as usize)
            });
            if let Some(cell) = cell.filter(|_| !whole.is_empty()) {
                f(cell, whole);
            }
        }
    }
}

/// Coded bytes in memory.
struct Coded {
    /// Where each run begins, and its bytes; in order.
    runs: Vec<(u64, Vec<u8>)>,
}

impl Coded {
    fn read(from: &dyn Bytes, mut chunks: Vec<(u64, u32)>) -> Result<Coded> {
        chunks.sort_unstable();
        let mut spans: Vec<(u64, u64)> = Vec::new();
        for (at, len) in chunks {
            let end = at + u64::from(len);
            match spans.last_mut() {
                Some((_, last)) if at <= last.saturating_add(GAP) => *last = end.max(*last),
                _ => spans.push((at, end)),
            }
        }
        let runs = spans.into_iter().map(|(start, end)| {
            let mut bytes = vec![0; usize::try_from(end - start).unwrap_or(0)];
            from.read(start, &mut bytes)?;
            Ok((start, bytes))
        });
        Ok(Coded {
            runs: runs.collect::<Result<_>>()?,
        })
    }

    fn get(&self, at: u64, len: u32) -> Option<&[u8]> {
        let run = self
            .runs
            .partition_point(|(start, _)| *start <= at)
            .checked_sub(1)?;
        let (start, bytes) = self.runs.get(run)?;
        let from = usize::try_from(at - start).ok()?;
        bytes.get(from..from + len as usize)
    }
}

/// Takes the shift of a region of interest back (T.800 H.1): what is above the shift belongs to it. The lowest bit is
/// the half.
fn unshift(values: &mut [i32], shift: u8) {
    for value in values {
        let magnitude = value.unsigned_abs();
        if u32::from(shift) < 30 && magnitude >> (shift + 1) != 0 {
            let less = i32::try_from(magnitude >> shift).unwrap_or(0);
            *value = if *value < 0 { -less } else { less };
        }
    }
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
