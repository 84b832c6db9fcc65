//! Finds the packets of a tile and their order (ITU-T T.800 Annex B.9 and B.12).
//!
//! Bodies are not read; the result is the location of the bytes of every code-block. If the file lists the lengths of
//! packets (PLT), the headers of a long tile are read by precinct, as windows need them.

use crate::codec::jp2::coding::CodingStyle;
use crate::codec::jp2::coding::Progression;
use crate::codec::jp2::grid::Area;
use crate::codec::jp2::grid::Cell;
use crate::codec::jp2::grid::Chunk;
use crate::codec::jp2::grid::NONE;
use crate::codec::jp2::grid::Resolution;
use crate::codec::jp2::grid::TileComponent;
use crate::codec::jp2::grid::components;
use crate::codec::jp2::grid::tile_area;
use crate::codec::jp2::markers::Main;
use crate::codec::jp2::markers::TileHeader;
use crate::codec::jp2::packet_header::Contribution;
use crate::codec::jp2::packet_header::Trees;
use crate::codec::jp2::packet_header::contributions;
use crate::codec::jp2::parts::TilePart;
use crate::codec::read_at::Cursor;
use crate::codec::read_at::ReadAt;
use crate::error::Error;
use crate::error::Result;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::ops::Range;

/// The marker before a packet (T.800 A.8.1).
const SOP: [u8; 2] = [0xff, 0x91];

/// The marker after the header of a packet (T.800 A.8.2).
const EPH: [u8; 2] = [0xff, 0x92];

/// Maximum number of chunks of one tile.
const MAX_CHUNKS: usize = 16 << 20;

/// Bytes of a tile that are read at once even if the file lists the lengths of packets.
const AT_ONCE: u64 = 256 << 10;

/// Bytes of a packet that are announced: its header, and all of a small one.
const HEADER: u64 = 64 << 10;

/// The packet index of a tile.
#[derive(Clone, Debug)]
pub struct PacketIndex {
    /// Components with their code-blocks.
    pub components: Vec<TileComponent>,
    /// The chunks that code-blocks refer to.
    pub chunks: Vec<Chunk>,
    /// Coding parameters of the tile.
    pub style: CodingStyle,
    /// Whether packets were missing or unreadable.
    pub damaged: bool,
    /// The packets of precincts whose headers were not read yet, by layer (T.800 A.7.3).
    unread: HashMap<PrecinctPlace, Vec<Range<u64>>>,
}

impl PacketIndex {
    /// Reads the headers of every packet of a tile. Packets after damage are left out. If `partial`, and the packet
    /// lengths of a long tile are listed (PLT), none is read yet.
    pub fn read(from: &dyn ReadAt, main: &Main, tile: u16, partial: bool) -> Result<PacketIndex> {
        let mut whole = main.parts_of(tile).iter().map(|part| part.start..part.end);
        let short = whole.clone().map(|part| part.end - part.start).sum::<u64>() <= AT_ONCE;
        if short {
            from.prefetch(&mut whole)?;
        }
        let TileHeader {
            style,
            packed,
            parts,
            lengths,
        } = main.tile(from, tile)?;
        let mut index = PacketIndex {
            components: components(&main.siz, &style, tile, from.len())?,
            chunks: Vec::new(),
            style,
            damaged: false,
            unread: HashMap::new(),
        };
        let area = tile_area(&main.siz, tile);
        if partial && packed.is_empty() && !short && !main.truncated {
            index.unread = index.listed(area, &parts, &lengths).unwrap_or_default();
        }
        if !index.is_partial() {
            index.walk(from, area, &packed, parts)?;
        }
        Ok(index)
    }

    /// Whether packets of some precincts were not read.
    pub fn is_partial(&self) -> bool {
        !self.unread.is_empty()
    }

    /// The packets of these precincts that were not read.
    pub fn unread<'a>(
        &'a self,
        places: &'a BTreeSet<PrecinctPlace>,
    ) -> impl Iterator<Item = PrecinctPlace> + 'a {
        let places = places.iter().copied();
        places.filter(|place| self.unread.contains_key(place))
    }

    /// Announces the unread packets of these precincts.
    pub fn announce(&self, from: &dyn ReadAt, places: &BTreeSet<PrecinctPlace>) -> Result<()> {
        let packets = self.unread(places).filter_map(|place| self.unread.get(&place));
        let mut heads = packets
            .flatten()
            .map(|packet| packet.start..packet.end.min(packet.start.saturating_add(HEADER)));
        from.prefetch(&mut heads)
    }

    /// Reads the headers of the packets of these precincts. Packets after damage in a precinct are left out.
    pub fn complete(&mut self, from: &dyn ReadAt, places: &BTreeSet<PrecinctPlace>) -> Result<()> {
        for place in places {
            let Some(packets) = self.unread.remove(place) else {
                continue;
            };
            let mut precinct = Precinct::default();
            for (layer, packet) in (0..).zip(packets) {
                let mut body = Cursor::new(from, packet.start, packet.end);
                match self.packet(layer, *place, &mut precinct, &mut body, None) {
                    Ok(()) if body.at == packet.end => {}
                    Ok(()) | Err(Error::Corrupt(_)) => {
                        self.damaged = true;
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// The packets of each precinct by their lengths; `None` unless these fill the tile-parts exactly.
    fn listed(
        &self,
        area: Area,
        parts: &[TilePart],
        lengths: &[Vec<u32>],
    ) -> Option<HashMap<PrecinctPlace, Vec<Range<u64>>>> {
        let mut packets = Vec::new();
        for (part, lengths) in parts.iter().zip(lengths) {
            let mut at = part.start;
            for len in lengths {
                let end = at.checked_add(u64::from(*len))?;
                packets.push(at..end);
                at = end;
            }
            if at != part.end {
                return None;
            }
        }
        let mut packets = packets.into_iter();
        let mut found: HashMap<PrecinctPlace, Vec<Range<u64>>> = HashMap::new();
        for progression in self.progressions() {
            let all = self.places(progression, area);
            let layers = 0..progression.end.0.min(self.style.layers);
            let whole = in_order(&all, progression.order, layers, &mut |layer, place| {
                let layers = found.entry(place).or_default();
                if layers.len() > usize::from(layer) {
                    return Ok(true);
                }
                layers.extend(packets.next());
                Ok(layers.len() > usize::from(layer))
            });
            if !matches!(whole, Ok(true)) {
                return None;
            }
        }
        packets.next().is_none().then_some(found)
    }

    /// Reads all packets sequentially.
    fn walk(&mut self, from: &dyn ReadAt, area: Area, packed: &[u8], parts: Vec<TilePart>) -> Result<()> {
        let precincts = self.components.iter().map(|component| {
            let counts = component
                .resolutions
                .iter()
                .map(|resolution| resolution.precincts.len());
            counts
                .map(|count| (0..count).map(|_| Precinct::default()).collect())
                .collect()
        });
        let mut walk = PacketWalk {
            from,
            precincts: precincts.collect(),
            packed: (!packed.is_empty()).then(|| Cursor::new(&packed, 0, packed.len() as u64)),
            body: Cursor::new(from, 0, 0),
            parts: parts.into_iter(),
            index: self,
        };
        for progression in walk.index.progressions() {
            let all = walk.index.places(progression, area);
            let layers = 0..progression.end.0.min(walk.index.style.layers);
            let read = in_order(&all, progression.order, layers, &mut |layer, place| {
                walk.packet(layer, place)
            });
            match read {
                Ok(true) => {}
                Ok(false) => break,
                Err(Error::Corrupt(_)) => {
                    walk.index.damaged = true;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The progression order changes, or the default progression.
    fn progressions(&self) -> Vec<Progression> {
        let whole = Progression {
            start: (0, 0),
            end: (u16::MAX, u8::MAX, u16::MAX),
            order: self.style.order,
        };
        let changes = &self.style.changes;
        if changes.is_empty() {
            vec![whole]
        } else {
            changes.clone()
        }
    }

    /// Approximate memory in bytes.
    pub fn bytes(&self) -> usize {
        let resolutions = self
            .components
            .iter()
            .flat_map(|component| &component.resolutions);
        let cells: usize = resolutions
            .flat_map(|resolution| &resolution.bands)
            .map(|band| band.blocks.len())
            .sum();
        let unread = self.unread.len() * (size_of::<PrecinctPlace>() + size_of::<Range<u64>>() * 2);
        cells * size_of::<Cell>() + self.chunks.capacity() * size_of::<Chunk>() + unread
    }
}

/// Calls `visit` with each layer and place of a progression, in its order, until it returns that there are no more;
/// returns whether it never did. `places` are in order apart from the layer.
fn in_order(
    all: &[PrecinctPlace],
    order: u8,
    layers: Range<u16>,
    visit: &mut dyn FnMut(u16, PrecinctPlace) -> Result<bool>,
) -> Result<bool> {
    let groups: Vec<&[PrecinctPlace]> = match order {
        0 => vec![all],
        // RLCP: all layers of a resolution before the next
        1 => all.chunk_by(|a, b| a.1 == b.1).collect(),
        _ => all.chunks(1).collect(),
    };
    for group in groups {
        for layer in layers.clone() {
            for place in group {
                if !visit(layer, *place)? {
                    return Ok(false);
                }
            }
        }
    }
    Ok(true)
}

/// The state of a precinct between layers.
#[derive(Default)]
struct Precinct {
    /// Number of layers read.
    layers: u16,
    /// For each band.
    trees: Vec<Trees>,
}

struct PacketWalk<'a> {
    from: &'a dyn ReadAt,
    index: &'a mut PacketIndex,
    /// By component and resolution.
    precincts: Vec<Vec<Vec<Precinct>>>,
    packed: Option<Cursor<'a>>,
    /// The position in the current tile-part.
    body: Cursor<'a>,
    parts: std::vec::IntoIter<TilePart>,
}

/// A packet without its layer: component, resolution, precinct.
pub type PrecinctPlace = (usize, usize, usize);

fn gone() -> Error {
    Error::Corrupt("no such precinct".into())
}

impl PacketWalk<'_> {
    /// Reads one packet, unless it was read before; false if the file has no more.
    fn packet(&mut self, layer: u16, place: PrecinctPlace) -> Result<bool> {
        let (number, level, which) = place;
        let precinct = (self.precincts.get_mut(number))
            .and_then(|levels| levels.get_mut(level)?.get_mut(which))
            .ok_or_else(gone)?;
        if precinct.layers > layer {
            return Ok(true);
        }
        precinct.layers = layer + 1;
        while self.body.at >= self.body.end {
            let Some(part) = self.parts.next() else {
                // headers stored elsewhere may continue without bodies
                if self.packed.as_ref().is_some_and(|header| header.at < header.end) {
                    break;
                }
                self.index.damaged = true;
                return Ok(false);
            };
            self.body = Cursor::new(self.from, part.start, part.end);
        }
        self.index
            .packet(layer, place, precinct, &mut self.body, self.packed.as_mut())?;
        Ok(true)
    }
}

impl PacketIndex {
    /// The precincts of a progression in its order (T.800 B.12.1).
    fn places(&self, progression: Progression, tile: Area) -> Vec<PrecinctPlace> {
        let components = progression.start.1..progression.end.2;
        let resolutions = progression.start.0..progression.end.1;
        let mut all = Vec::new();
        for (number, component) in self.components.iter().enumerate() {
            if !components.contains(&u16::try_from(number).unwrap_or(u16::MAX)) {
                continue;
            }
            for (level, resolution) in component.resolutions.iter().enumerate() {
                if !resolutions.contains(&u8::try_from(level).unwrap_or(u8::MAX)) {
                    continue;
                }
                let halvings = component.resolutions.len() - 1 - level;
                let corners = corners(resolution, halvings, component.step, tile);
                let (c, r) = (number as u64, level as u64);
                all.extend(corners.enumerate().map(|(precinct, (x, y))| {
                    let key = match progression.order {
                        0 | 1 => [r, c, 0, 0],
                        2 => [r, y, x, c],
                        3 => [y, x, c, r],
                        _ => [c, y, x, r],
                    };
                    (key, (number, level, precinct))
                }));
            }
        }
        // stable: precincts with the same key keep their order
        all.sort_by_key(|(key, _)| *key);
        all.into_iter().map(|(_, place)| place).collect()
    }

    /// Reads one packet, whose header may be elsewhere.
    fn packet<'a>(
        &mut self,
        layer: u16,
        place: PrecinctPlace,
        precinct: &mut Precinct,
        body: &mut Cursor<'a>,
        mut packed: Option<&mut Cursor<'a>>,
    ) -> Result<()> {
        let (number, level, which) = place;
        skip(body, SOP, 6)?;
        let component = self.components.get_mut(number).ok_or_else(gone)?;
        let style = self.style.coding.get(number).ok_or_else(gone)?.style;
        let resolution = component.resolutions.get_mut(level).ok_or_else(gone)?;
        let areas = cells(resolution, which);
        if precinct.trees.is_empty() {
            let trees = areas.iter().map(|area| Trees::new(area.w(), area.h()));
            precinct.trees = trees.collect();
        }
        let header = packed.as_deref_mut().unwrap_or(&mut *body);
        let contributions = contributions(header, resolution, &areas, &mut precinct.trees, layer, style)?;
        skip(packed.unwrap_or(&mut *body), EPH, 2)?;
        if layer + 1 >= self.style.layers {
            precinct.trees = Vec::new();
        }
        self.take(layer, place, contributions, body)
    }

    /// Appends the contributions of a packet's body to the code-blocks.
    fn take(
        &mut self,
        layer: u16,
        (number, level, _): PrecinctPlace,
        contributions: Vec<Contribution>,
        body: &mut Cursor,
    ) -> Result<()> {
        let component = self.components.get_mut(number).ok_or_else(gone)?;
        let resolution = component.resolutions.get_mut(level).ok_or_else(gone)?;
        for of in contributions {
            let at = body.at;
            let band = resolution.bands.get_mut(of.band).ok_or_else(gone)?;
            let cell = band.blocks.get_mut(of.block).ok_or_else(gone)?;
            // a truncated body is useless, and nothing can follow it
            if at + u64::from(of.len) > body.end {
                self.damaged = true;
                body.at = body.end;
                return Ok(());
            }
            body.at += u64::from(of.len);
            let number = u32::try_from(self.chunks.len()).unwrap_or(NONE);
            if self.chunks.len() >= MAX_CHUNKS {
                return Err(Error::TooLarge("too many code-blocks in one tile".into()));
            }
            self.chunks.push(Chunk {
                at,
                len: of.len,
                next: NONE,
                layer,
                passes: of.passes,
                opens: of.opens,
            });
            if let Some(last) = self.chunks.get_mut(cell.chunks.1 as usize) {
                last.next = number;
            } else {
                cell.chunks.0 = number;
            }
            cell.chunks.1 = number;
        }
        Ok(())
    }
}

/// The corners of the precincts of a resolution on the reference grid, row by row; one that begins before the tile
/// counts from the tile's edge. `step` is that of the component.
fn corners(
    resolution: &Resolution,
    halvings: usize,
    step: (u32, u32),
    tile: Area,
) -> impl Iterator<Item = (u64, u64)> {
    let corner = move |index: u32, side: u8, samples: u32, step: u32, edge: u32| {
        let at = u64::from(index) << side;
        if at < u64::from(samples) {
            u64::from(edge)
        } else {
            (at << halvings).saturating_mul(u64::from(step))
        }
    };
    let (all, area, (wide, high)) = (resolution.precincts, resolution.area, resolution.precinct);
    (all.y0..all.y1).flat_map(move |row| {
        let y = corner(row, high, area.y0, step.1, tile.y0);
        (all.x0..all.x1).map(move |column| (corner(column, wide, area.x0, step.0, tile.x0), y))
    })
}

/// The code-blocks of a precinct in each band of a resolution.
fn cells(resolution: &Resolution, precinct: usize) -> Vec<Area> {
    let across = resolution.precincts.w().max(1) as usize;
    let at = |index: usize, first: u32| u32::try_from(index).unwrap_or(0) + first;
    let column = at(precinct % across, resolution.precincts.x0);
    let row = at(precinct / across, resolution.precincts.y0);
    let bands = resolution.bands.iter();
    bands.map(|band| resolution.cells(band, column, row)).collect()
}

/// Skips a marker segment of `len` bytes, if there is one.
fn skip(from: &mut Cursor, marker: [u8; 2], len: u64) -> Result<()> {
    if from.at + len <= from.end && from.peek(0)? == marker[0] && from.peek(1)? == marker[1] {
        from.at += len;
    }
    Ok(())
}
