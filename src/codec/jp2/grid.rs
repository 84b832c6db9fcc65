//! The geometry of a tile: its samples, sub-bands, precincts and code-blocks (ITU-T T.800 Annex B).
//!
//! Pure arithmetic; all coordinates are absolute: those of the reference grid, divided as the standard specifies.

use crate::codec::jp2::block::BandOrientation as Kind;
use crate::codec::jp2::coding::Coding;
use crate::codec::jp2::coding::CodingStyle;
use crate::codec::jp2::coding::Quantisation;
use crate::codec::jp2::siz::Siz;
use crate::error::Error;
use crate::error::Result;

/// Maximum number of code-blocks and precincts of a tile, for a codestream of any length.
const MAX_CELLS: u64 = 4 << 20;

/// The same for short codestreams: a constant, and an amount per byte.
const CELLS: (u64, u64) = (128 << 10, 16);

/// Code-blocks that take as much memory as a precinct.
const PRECINCT: u64 = 4;

/// A rectangle from its upper left corner to its lower right one, exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Area {
    /// Left.
    pub x0: u32,
    /// Top.
    pub y0: u32,
    /// Right, exclusive.
    pub x1: u32,
    /// Bottom, exclusive.
    pub y1: u32,
}

impl Area {
    /// Columns.
    pub fn w(self) -> u32 {
        self.x1.saturating_sub(self.x0)
    }

    /// Rows.
    pub fn h(self) -> u32 {
        self.y1.saturating_sub(self.y0)
    }

    /// Whether it is empty.
    pub fn is_empty(self) -> bool {
        self.w() == 0 || self.h() == 0
    }

    /// The intersection; may be empty.
    pub fn meet(self, other: Area) -> Area {
        Area {
            x0: self.x0.max(other.x0),
            y0: self.y0.max(other.y0),
            x1: self.x1.min(other.x1),
            y1: self.y1.min(other.y1),
        }
    }

    /// Maps the edges: x by the first function, y by the second.
    pub fn map(self, x: impl Fn(u32) -> u32, y: impl Fn(u32) -> u32) -> Area {
        Area {
            x0: x(self.x0),
            y0: y(self.y0),
            x1: x(self.x1),
            y1: y(self.y1),
        }
    }

    /// Grown by `by` on each side, clipped to `within`.
    pub fn grown(self, by: u32, within: Area) -> Area {
        Area {
            x0: self.x0.saturating_sub(by),
            y0: self.y0.saturating_sub(by),
            x1: self.x1.saturating_add(by),
            y1: self.y1.saturating_add(by),
        }
        .meet(within)
    }

    /// Number of samples.
    pub fn len(self) -> usize {
        self.w() as usize * self.h() as usize
    }
}

/// `value / 2^shift`, rounded up.
pub fn halved(value: u32, shift: u8) -> u32 {
    let up = (1u64 << shift.min(40)) - 1;
    u32::try_from((u64::from(value) + up) >> shift.min(40)).unwrap_or(u32::MAX)
}

/// A code-block as described by packet headers.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    /// First and last of its chunks; `NONE` if it has none.
    pub chunks: (u32, u32),
    /// Bit-planes that are all zero.
    pub zero: u8,
    /// Coding passes so far.
    pub passes: u16,
    /// Bits of lengths (T.800 B.10.7.1).
    pub lblock: u8,
    /// Whether it uses the high-throughput coder; `None` until its first bytes are read.
    pub throughput: Option<bool>,
}

/// No chunk.
pub const NONE: u32 = u32::MAX;

/// The bytes of a code-block in one layer.
#[derive(Clone, Copy, Debug)]
pub struct Chunk {
    /// Offset in the codestream.
    pub at: u64,
    /// Number of bytes.
    pub len: u32,
    /// The next chunk of the same block.
    pub next: u32,
    /// Quality layer.
    pub layer: u16,
    /// Coding passes.
    pub passes: u8,
    /// Whether a new codeword segment begins.
    pub opens: bool,
}

/// One sub-band.
#[derive(Clone, Debug)]
pub struct Band {
    /// Orientation.
    pub kind: Kind,
    /// Its samples.
    pub area: Area,
    /// Code-blocks: first column and row in the grid from 0, and the end.
    pub cells: Area,
    /// Magnitude bit-planes, without region of interest.
    pub planes: u8,
    /// Quantisation step; 1 when reversible.
    pub step: f32,
    /// In rows.
    pub blocks: Vec<Cell>,
}

impl Band {
    /// The part of an area of the band that is at least `by` from its edges, except at the edges of the band.
    pub fn inner(&self, area: Area, by: u32) -> Area {
        let start = |at: u32, end: u32| if at <= end { end } else { at.saturating_add(by) };
        let end = |at: u32, end: u32| if at >= end { end } else { at.saturating_sub(by) };
        Area {
            x0: start(area.x0, self.area.x0),
            y0: start(area.y0, self.area.y0),
            x1: end(area.x1, self.area.x1),
            y1: end(area.y1, self.area.y1),
        }
    }
}

/// One resolution of a component.
#[derive(Clone, Debug)]
pub struct Resolution {
    /// Its samples.
    pub area: Area,
    /// log2 of the precincts' sides at this resolution.
    pub precinct: (u8, u8),
    /// Precincts: first column and row in the grid from 0, and the end.
    pub precincts: Area,
    /// log2 of the code-blocks' sides.
    pub block: (u8, u8),
    /// LL for the smallest resolution, else HL, LH, HH.
    pub bands: Vec<Band>,
}

impl Resolution {
    /// The numbers of the precincts that contain an area of a band.
    pub fn touched(&self, band: &Band, area: Area) -> impl Iterator<Item = usize> + use<> {
        let shift = u8::from(band.kind != Kind::Ll);
        let sides = (
            self.precinct.0.saturating_sub(shift),
            self.precinct.1.saturating_sub(shift),
        );
        let all = self.precincts;
        let area = if area.is_empty() { Area::default() } else { area };
        let columns = (area.x0 >> sides.0).max(all.x0)..halved(area.x1, sides.0).min(all.x1);
        let rows = (area.y0 >> sides.1).max(all.y0)..halved(area.y1, sides.1).min(all.y1);
        rows.flat_map(move |row| {
            let first = (row - all.y0) as usize * all.w() as usize;
            columns
                .clone()
                .map(move |column| first + (column - all.x0) as usize)
        })
    }

    /// The code-blocks of a band in a precinct, as columns and rows of the band's grid of cells.
    pub fn cells(&self, band: &Band, column: u32, row: u32) -> Area {
        let shift = u8::from(band.kind != Kind::Ll);
        // a precinct's sides in code-blocks
        let sides = (
            u32::from(self.precinct.0 - shift - self.block.0),
            u32::from(self.precinct.1 - shift - self.block.1),
        );
        let edge = |index: u32, side: u32| u32::try_from(u64::from(index) << side).unwrap_or(u32::MAX);
        Area {
            x0: edge(column, sides.0),
            y0: edge(row, sides.1),
            x1: edge(column + 1, sides.0),
            y1: edge(row + 1, sides.1),
        }
        .meet(band.cells)
    }
}

/// One component of a tile.
#[derive(Clone, Debug)]
pub struct TileComponent {
    /// Reference grid points per sample.
    pub step: (u32, u32),
    /// From the smallest.
    pub resolutions: Vec<Resolution>,
}

/// The part of the reference grid that a tile covers.
pub fn tile_area(siz: &Siz, tile: u16) -> Area {
    let (across, _) = siz.grid();
    let (column, row) = (u32::from(tile) % across, u32::from(tile) / across);
    let edge = |first: u32, side: u32, index: u32, low: u32, high: u32| {
        let at = u64::from(first) + u64::from(side) * u64::from(index);
        u32::try_from(at).unwrap_or(u32::MAX).clamp(low, high)
    };
    let x = |index| edge(siz.tile_start.0, siz.tile.w, index, siz.start.0, siz.end.0);
    let y = |index| edge(siz.tile_start.1, siz.tile.h, index, siz.start.1, siz.end.1);
    Area {
        x0: x(column),
        y0: y(row),
        x1: x(column + 1),
        y1: y(row + 1),
    }
}

/// The components of a tile with all resolutions, bands and code-blocks. `TooLarge` if there are too many code-blocks
/// for a codestream of `len` bytes.
pub fn components(siz: &Siz, style: &CodingStyle, tile: u16, len: u64) -> Result<Vec<TileComponent>> {
    let area = tile_area(siz, tile);
    let most = len.saturating_mul(CELLS.1).saturating_add(CELLS.0).min(MAX_CELLS);
    let mut cells = BlockCount { count: 0, most };
    (siz.components.iter().enumerate())
        .map(|(number, component)| {
            let (across, down) = component.step;
            let area = area.map(|x| x.div_ceil(across), |y| y.div_ceil(down));
            let resolutions = resolutions(style, number, component.bits, area, &mut cells)?;
            Ok(TileComponent {
                step: component.step,
                resolutions,
            })
        })
        .collect()
}

/// Counts code-blocks before memory is allocated for them.
struct BlockCount {
    count: u64,
    most: u64,
}

impl BlockCount {
    fn add(&mut self, count: u64) -> Result<()> {
        self.count = self.count.saturating_add(count);
        if self.count <= self.most {
            return Ok(());
        }
        Err(Error::TooLarge(format!(
            "a tile of more than {} code-blocks in a codestream of this length",
            self.most
        )))
    }
}

/// The resolutions of a component of a tile, from the smallest.
fn resolutions(
    style: &CodingStyle,
    number: usize,
    bits: u8,
    area: Area,
    cells: &mut BlockCount,
) -> Result<Vec<Resolution>> {
    let missing = || Error::Corrupt("a component without coding style".into());
    let coding = style.coding.get(number).ok_or_else(missing)?;
    let quantisation = style.quantisation.get(number).ok_or_else(missing)?;
    let described = ComponentParams {
        coding,
        quantisation,
        bits,
        area,
    };
    (0..=coding.levels)
        .zip(&coding.precincts)
        .map(|(level, &precinct)| described.resolution(level, precinct, cells))
        .collect()
}

/// The parameters of a component of a tile.
struct ComponentParams<'a> {
    coding: &'a Coding,
    quantisation: &'a Quantisation,
    /// Bits per sample.
    bits: u8,
    /// Its area at full size.
    area: Area,
}

impl ComponentParams<'_> {
    /// Resolution `level`, 0 being the smallest, for precincts whose sides have these logarithms (B.6).
    fn resolution(&self, level: u8, precinct: (u8, u8), cells: &mut BlockCount) -> Result<Resolution> {
        let levels = self.coding.levels;
        let down = levels - level;
        let area = self.area.map(|x| halved(x, down), |y| halved(y, down));
        let precincts = grid(area, precinct);
        cells.add(cells_of(precincts).saturating_mul(PRECINCT))?;
        let shift = u8::from(level > 0);
        let block = (
            self.coding.block.0.min(precinct.0 - shift.min(precinct.0)),
            self.coding.block.1.min(precinct.1 - shift.min(precinct.1)),
        );
        // the bands, the number of decompositions that led to them (B-15), and the index of the first among all bands
        let (kinds, depth, first): (&[Kind], _, _) = match level {
            0 => (&[Kind::Ll], levels, 0),
            _ => (
                &[Kind::Hl, Kind::Lh, Kind::Hh],
                down + 1,
                usize::from(level) * 3 - 2,
            ),
        };
        let bands = kinds.iter().zip(first..);
        Ok(Resolution {
            area,
            precinct,
            precincts,
            block,
            bands: bands
                .map(|(&kind, index)| self.band((kind, index), depth, block, cells))
                .collect::<Result<_>>()?,
        })
    }

    /// A band after `depth` decompositions, for blocks whose sides have these logarithms.
    fn band(
        &self,
        (kind, index): (Kind, usize),
        depth: u8,
        block: (u8, u8),
        cells: &mut BlockCount,
    ) -> Result<Band> {
        let area = subband(self.area, kind, depth);
        let grid = grid(area, block);
        let count = cells_of(grid);
        cells.add(count)?;
        let (exponent, mantissa) = self.exponent(index, depth)?;
        Ok(Band {
            kind,
            area,
            cells: grid,
            planes: (self.quantisation.guard + exponent).saturating_sub(1),
            step: self.step(kind, exponent, mantissa),
            blocks: vec![
                Cell {
                    chunks: (NONE, NONE),
                    zero: 0,
                    passes: 0,
                    lblock: 3,
                    throughput: None,
                };
                usize::try_from(count).unwrap_or(0)
            ],
        })
    }

    /// Exponent and mantissa of the quantisation step of a band (E-5).
    fn exponent(&self, index: usize, depth: u8) -> Result<(u8, u16)> {
        let steps = &self.quantisation.steps;
        if self.quantisation.derived {
            let (exponent, mantissa) = steps.first().copied().unwrap_or_default();
            return Ok(((exponent + depth).saturating_sub(self.coding.levels), mantissa));
        }
        let short = || Error::Corrupt("fewer quantisation steps than bands".into());
        steps.get(index).copied().ok_or_else(short)
    }

    /// The quantisation step (E-3).
    fn step(&self, kind: Kind, exponent: u8, mantissa: u16) -> f32 {
        if self.coding.reversible {
            return 1.0;
        }
        let gain = match kind {
            Kind::Ll => 0,
            Kind::Hl | Kind::Lh => 1,
            Kind::Hh => 2,
        };
        let range = i32::from(self.bits) + gain - i32::from(exponent);
        2f32.powi(range) * (1.0 + f32::from(mantissa) / 2048.0)
    }
}

/// The area of a band for these samples at full size (B-15).
fn subband(area: Area, kind: Kind, depth: u8) -> Area {
    let half = |high: bool| {
        move |value: u32| {
            let less = if high && depth > 0 { 1u64 << (depth - 1) } else { 0 };
            let up = (1u64 << depth) - 1;
            u32::try_from((u64::from(value) + up).saturating_sub(less) >> depth).unwrap_or(0)
        }
    };
    let across = half(matches!(kind, Kind::Hl | Kind::Hh));
    let upright = half(matches!(kind, Kind::Lh | Kind::Hh));
    area.map(across, upright)
}

/// The cells of a grid that an area touches; the cells' sides have these logarithms.
fn grid(area: Area, sides: (u8, u8)) -> Area {
    if area.is_empty() {
        return Area::default();
    }
    Area {
        x0: area.x0 >> sides.0,
        y0: area.y0 >> sides.1,
        x1: halved(area.x1, sides.0),
        y1: halved(area.y1, sides.1),
    }
}

fn cells_of(grid: Area) -> u64 {
    u64::from(grid.w()) * u64::from(grid.h())
}
