//! Decodes a window of a codestream: selects the code-blocks, and transforms coefficients into samples.
//!
//! `cells` reads and decodes a block; blocks that a neighbouring window needs too are returned, so that the caller
//! can cache them.

use crate::codec::jp2::BlockName;
use crate::codec::jp2::Blocks;
use crate::codec::jp2::Codestream;
use crate::codec::jp2::block::style;
use crate::codec::jp2::cells::BlockJob;
use crate::codec::jp2::cells::CodedBytes;
use crate::codec::jp2::cells::TileWork;
use crate::codec::jp2::cells::each_cell;
use crate::codec::jp2::coding::Coding;
use crate::codec::jp2::coefficients::Coefficients;
use crate::codec::jp2::decoded::ComponentSamples;
use crate::codec::jp2::decoded::Decoded;
use crate::codec::jp2::decoded::DecodedTile;
use crate::codec::jp2::decoded::Shown;
use crate::codec::jp2::decoded::ValueRange;
use crate::codec::jp2::grid::Area;
use crate::codec::jp2::grid::Band;
use crate::codec::jp2::grid::Resolution;
use crate::codec::jp2::grid::TileComponent;
use crate::codec::jp2::grid::halved;
use crate::codec::jp2::grid::tile_area;
use crate::codec::jp2::packets::PacketIndex;
use crate::codec::jp2::packets::PrecinctPlace;
use crate::codec::jp2::plane::Number;
use crate::codec::jp2::plane::Plane;
use crate::codec::jp2::siz::Component;
use crate::codec::jp2::siz::Siz;
use crate::codec::jp2::wavelet::bands;
use crate::codec::jp2::wavelet::combine;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::work::parallel::each;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::OnceLock;

/// Samples of the arithmetic coder that justify another thread: some milliseconds of work.
const SAMPLES_PER_THREAD: usize = 64 << 10;

/// Samples that the high-throughput coder decodes in the time of one of the arithmetic coder.
const THROUGHPUT_SPEED: usize = 8;

/// Samples that are transformed in that time.
const TRANSFORM_SPEED: usize = 16;

/// Rows that are transformed together: those of one component fit a core's cache, and few are computed twice.
const ROWS: u32 = 256;

/// Decodes `rect`, which is inside the image halved `reduction` times.
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
    let tiles = tiles(stream, reduction, window);
    let coding = stream.main.style.coding.iter();
    let styles = coding.fold(0, |all, coding| all | coding.style);
    let components = stream.wanted.iter().filter(|is_wanted| **is_wanted).count();
    let samples = window.len() * components / speed(styles);
    let tiles = share(tiles, samples, |(number, parts)| {
        let mut tile = WindowTile {
            number,
            index: stream.index(number)?,
            stream,
            reduction,
            layers,
            blocks,
        };
        if tile.index.is_partial() {
            let places = tile.places(&parts)?;
            tile.index = stream.completed(number, tile.index, &places)?;
        }
        tile.decode(&parts)
    })?;
    let tiles = tiles.into_iter().flatten().collect();
    Ok(Decoded {
        window,
        ranges: siz.components.iter().map(ValueRange::of).collect(),
        wanted: stream.wanted.clone(),
        tiles,
    })
}

/// The tiles that the window touches, with the area of each of their components.
fn tiles(stream: &Codestream, reduction: u8, window: Area) -> Vec<(u16, Vec<Area>)> {
    let siz = &stream.main.siz;
    let (across, down) = siz.grid();
    // a pixel shows the sample at or before it, or the first one, which may be in another tile
    let most = (siz.components.iter()).fold((1, 1), |most: (u32, u32), component| {
        (most.0.max(component.step.0), most.1.max(component.step.1))
    });
    let near = |(from, to): (u32, u32), by: u32, start: u32, side: u32, count: u32| {
        // the tiles that may contain samples from..to of the halved image, and one more: with tiles of 256 halved
        // once, 120..130 touches 0 and 1, and 0..3 are examined
        let index = |edge: u32| {
            let point = (u64::from(edge) << reduction).saturating_sub(1 << reduction);
            let index = point.saturating_sub(u64::from(start)) / u64::from(side);
            u32::try_from(index).unwrap_or(u32::MAX)
        };
        index(from.saturating_sub(by))..index(to.saturating_add(by)).saturating_add(2).min(count)
    };
    let (corner, side) = (siz.tile_start, siz.tile);
    let columns = near((window.x0, window.x1), most.0, corner.0, side.w, across);
    let rows = near((window.y0, window.y1), most.1, corner.1, side.h, down);
    let numbers = rows.flat_map(|row| columns.clone().map(move |column| row * across + column));
    let tiles = numbers.filter_map(|number| {
        let tile = u16::try_from(number).ok()?;
        let parts = shown(siz, tile, reduction, window, &stream.wanted);
        let stored = stream.main.parts.binary_search_by_key(&tile, |part| part.tile);
        // a tile that is missing is 0 in every component
        (parts.iter().any(|part| !part.is_empty()) && stored.is_ok()).then_some((tile, parts))
    });
    tiles.collect()
}

/// The area of the window that each component of a tile covers: a sample extends from its position on the reference
/// grid to the next one (T.800 B.2), even beyond the tile, and the image's first one also before its position. Empty
/// for components that are not wanted.
fn shown(siz: &Siz, tile: u16, reduction: u8, window: Area, wanted: &[bool]) -> Vec<Area> {
    let area = tile_area(siz, tile);
    let shown = |(component, is_wanted): (&Component, &bool)| {
        if !is_wanted {
            return Area::default();
        }
        let (across, down) = component.step;
        let x = |x: u32| halved(x.div_ceil(across), reduction);
        let y = |y: u32| halved(y.div_ceil(down), reduction);
        let own = area.map(x, y);
        if own.is_empty() {
            return own;
        }
        let start = |own: u32, first: u32, step: u32| match own {
            _ if own == first => 0,
            _ => own.saturating_mul(step),
        };
        Area {
            x0: start(own.x0, x(siz.start.0), across),
            y0: start(own.y0, y(siz.start.1), down),
            x1: own.x1.saturating_mul(across),
            y1: own.y1.saturating_mul(down),
        }
        .meet(window)
    };
    siz.components.iter().zip(wanted).map(shown).collect()
}

/// A tile with the parameters of a window.
struct WindowTile<'a> {
    number: u16,
    index: Arc<PacketIndex>,
    stream: &'a Codestream,
    reduction: u8,
    layers: u16,
    blocks: &'a dyn Blocks,
}

impl WindowTile<'_> {
    /// Decodes the components' parts of the window: first the blocks, then bands of rows.
    fn decode(&self, parts: &[Area]) -> Result<Vec<DecodedTile>> {
        let components = &self.index.components;
        let needs = (components.iter().zip(parts))
            .map(|(component, part)| self.need(component, *part))
            .collect::<Result<Vec<_>>>()?;
        let coefficients = self.coefficients(&needs)?;
        let seen = || parts.iter().filter(|part| !part.is_empty());
        let top = seen().map(|part| part.y0).min().unwrap_or(0);
        let end = seen().map(|part| part.y1).max().unwrap_or(0);
        let bands: Vec<Vec<Area>> = (top..end)
            .step_by(ROWS as usize)
            .map(|y0| {
                let y1 = y0.saturating_add(ROWS);
                let cut = |part: &Area| part.meet(Area { y0, y1, ..*part });
                parts.iter().map(cut).collect()
            })
            .collect();
        let jobs = bands.iter().flat_map(|parts| {
            let components = components.iter().zip(&coefficients).enumerate();
            components.zip(parts)
        });
        let sum: usize = needs.iter().map(|need| need.len()).sum();
        let shown = share(
            jobs.collect(),
            sum / TRANSFORM_SPEED,
            |((number, (component, coefficients)), part)| {
                let need = self.need(component, *part)?;
                let samples = if self.coding(number)?.reversible {
                    ComponentSamples::Whole(self.component(component, need, coefficients)?)
                } else {
                    ComponentSamples::Real(self.component(component, need, coefficients)?)
                };
                Ok(Shown {
                    samples,
                    step: component.step,
                    area: *part,
                })
            },
        )?;
        let mut shown = shown.into_iter();
        Ok(bands
            .iter()
            .map(|parts| DecodedTile {
                mct: self.index.style.mct,
                components: shown.by_ref().take(parts.len()).collect(),
            })
            .collect())
    }

    fn coding(&self, number: usize) -> Result<&Coding> {
        let coding = self.index.style.coding.get(number);
        coding.ok_or_else(|| Error::Corrupt("a component without coding style".into()))
    }

    /// The index of the resolution that is shown.
    fn top(&self, component: &TileComponent) -> Result<usize> {
        let few = || Error::Unsupported("a tile has fewer resolutions than the image".into());
        (component.resolutions.len() - 1)
            .checked_sub(usize::from(self.reduction))
            .ok_or_else(few)
    }

    /// The precincts that contain the components' parts of the window.
    fn places(&self, parts_of: &[Area]) -> Result<BTreeSet<PrecinctPlace>> {
        let mut all = BTreeSet::new();
        for (number, (component, part)) in self.index.components.iter().zip(parts_of).enumerate() {
            let need = self.need(component, *part)?;
            if need.is_empty() {
                continue;
            }
            let widths = self.widths(component, need, reach(self.coding(number)?))?;
            for (level, (resolution, wide)) in widths.into_iter().enumerate() {
                for (band, area) in resolution.bands.iter().zip(sub_band_areas(level, wide)) {
                    let touched = resolution.touched(band, area.meet(band.area));
                    all.extend(touched.map(|which| (number, level, which)));
                }
            }
        }
        Ok(all)
    }

    /// The samples of a component for a part of the window; none if that is empty.
    fn need(&self, component: &TileComponent, part: Area) -> Result<Area> {
        if part.is_empty() {
            return Ok(Area::default());
        }
        let top = self.top(component)?;
        let whole = component.resolutions.get(top).map(|r| r.area).unwrap_or_default();
        let (across, down) = component.step;
        // there is none before the first sample
        let (x0, y0) = ((part.x0 / across).max(whole.x0), (part.y0 / down).max(whole.y0));
        let area = Area {
            x0,
            y0,
            x1: ((part.x1 - 1) / across).max(x0) + 1,
            y1: ((part.y1 - 1) / down).max(y0) + 1,
        };
        Ok(area.meet(whole))
    }

    /// Calls `f` with each band that `need` depends on, its resolution's block sides, and the area needed; the
    /// smallest resolution first.
    fn visit<'a>(
        &self,
        number: usize,
        component: &'a TileComponent,
        need: Area,
        mut f: impl FnMut(&'a Resolution, &'a Band, Area),
    ) -> Result<()> {
        let reach = reach(self.coding(number)?);
        for (level, (resolution, wide)) in self.widths(component, need, reach)?.into_iter().enumerate() {
            for (band, area) in resolution.bands.iter().zip(sub_band_areas(level, wide)) {
                f(resolution, band, area.meet(band.area));
            }
        }
        Ok(())
    }

    /// For each resolution up to the shown one, from the smallest, the area needed.
    fn widths<'a>(
        &self,
        component: &'a TileComponent,
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

    /// One component, transformed from its bands.
    fn component<T: Number>(
        &self,
        component: &TileComponent,
        need: Area,
        bands: &[Coefficients],
    ) -> Result<Plane<T>> {
        let mut shown: Plane<T> = Plane::default();
        if need.is_empty() {
            return Ok(shown);
        }
        let mut bands = bands.iter();
        for (resolution, wide) in self.widths(component, need, T::REACH)? {
            let own: Vec<&Coefficients> = bands.by_ref().take(resolution.bands.len()).collect();
            shown = match own[..] {
                [hl, lh, hh] => combine(wide, &shown, [hl, lh, hh]),
                [low] => low.plane(wide.meet(low.area)),
                _ => Plane::default(),
            };
        }
        Ok(shown)
    }

    /// The required coefficients of each component, by bands, the smallest resolution first; uses idle threads.
    fn coefficients(&self, needs: &[Area]) -> Result<Vec<Vec<Coefficients>>> {
        let (jobs, all) = self.jobs(needs)?;
        let chunks = jobs.iter().flat_map(|job| job.chunks(&self.index));
        let coded = CodedBytes::new(&*self.stream.from, chunks.map(|c| (c.at, c.len)).collect())?;
        let work = TileWork {
            index: &self.index,
            coded: &coded,
            strict: self.stream.strict,
        };
        // most blocks at the edges are cached
        let samples = jobs
            .iter()
            .map(|job| job.need.len() / speed(job.coding.style))
            .sum();
        share(jobs, samples, |job| {
            let bands = all.get(usize::from(job.name.component));
            let band = bands.and_then(|bands| bands.get(usize::from(job.name.band)));
            let band = band.ok_or_else(|| Error::Internal("a code-block of no band".into()))?;
            self.decode_block(&work, &job, band)
        })?;
        Ok(all)
    }

    /// The required code-blocks, and the bands of each component for their coefficients.
    fn jobs(&self, needs: &[Area]) -> Result<(Vec<BlockJob<'_>>, Vec<Vec<Coefficients>>)> {
        let mut all: Vec<Vec<Coefficients>> = needs.iter().map(|_| Vec::new()).collect();
        let mut jobs = Vec::new();
        let components = self.index.components.iter().zip(needs).zip(&mut all);
        for (number, ((component, need), bands)) in components.enumerate() {
            if need.is_empty() {
                continue;
            }
            let coding = self.coding(number)?;
            let roi = self.index.style.roi.get(number).copied().unwrap_or(0);
            self.visit(number, component, *need, |resolution, band, area| {
                let own = band.inner(area, 2 * reach(coding));
                each_cell(band, resolution, area, |place, cell, whole| {
                    jobs.push(BlockJob {
                        name: BlockName {
                            tile: self.number,
                            component: u16::try_from(number).unwrap_or(u16::MAX),
                            band: u16::try_from(bands.len()).unwrap_or(u16::MAX),
                            place,
                            layers: self.layers.min(self.index.style.layers),
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
                bands.push(Coefficients::new(area, resolution.block, band.step));
            })?;
        }
        Ok((jobs, all))
    }

    /// Adds the coefficients of a block to its band: cached or decoded ones; the latter may be cached then.
    fn decode_block(&self, work: &TileWork, job: &BlockJob, band: &Coefficients) -> Result<()> {
        if !(job.shared && self.blocks.holds()) {
            work.decode(job)?.into_iter().for_each(|block| band.put(block));
            return Ok(());
        }
        self.blocks.block(job.name, &mut |held| {
            let held = held.filter(|held| job.is_in(held));
            let block = match &held {
                Some(held) => job.unpacked(held),
                None => work.decode(job)?,
            };
            let hold = job.worth_holding(held.as_deref(), block.as_ref());
            block.into_iter().for_each(|block| band.put(block));
            Ok(hold)
        })
    }
}

/// Applies `job` to all items and returns the results in order, on as many threads as `samples` justify.
fn share<I: Send, T: Send + Sync>(
    items: Vec<I>,
    samples: usize,
    job: impl Fn(I) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    let done: Vec<OnceLock<Result<T>>> = items.iter().map(|_| OnceLock::new()).collect();
    let others = (samples / SAMPLES_PER_THREAD).min(items.len().saturating_sub(1));
    // the largest come last, and the threads start there
    each(others, items.into_iter().zip(&done).rev(), |(item, done)| {
        let _ = done.set(job(item));
        Ok(())
    })?;
    let lost = || Err(Error::Corrupt("a part of a window was not decoded".into()));
    let done = done
        .into_iter()
        .map(|done| done.into_inner().unwrap_or_else(lost));
    done.collect()
}

/// Relative decoding speed of blocks of this style; 1 for the arithmetic coder.
fn speed(style: u8) -> usize {
    if style & style::HT == 0 {
        1
    } else {
        THROUGHPUT_SPEED
    }
}

/// The filter radius in samples.
fn reach(coding: &Coding) -> u32 {
    if coding.reversible { i32::REACH } else { f32::REACH }
}

/// The areas that the bands of a resolution must cover, in order.
fn sub_band_areas(level: usize, wide: Area) -> impl Iterator<Item = Area> {
    let [ll, hl, lh, hh] = if level == 0 { [wide; 4] } else { bands(wide) };
    let all = if level == 0 { [ll; 3] } else { [hl, lh, hh] };
    all.into_iter()
}
