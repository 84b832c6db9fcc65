//! The packets of a tile (ITU-T T.800 Annex B.9 to B.12): their order, and what their headers say of each
//! code-block.
//!
//! Bodies are not read; the result is the location of the bytes of every code-block. Where the lengths of packets are
//! told (PLT), the headers of a long tile are read by precinct, as windows need them.

use crate::codec::jp2::block::style;
use crate::codec::jp2::bytes::Bytes;
use crate::codec::jp2::bytes::Cursor;
use crate::codec::jp2::grid::Area;
use crate::codec::jp2::grid::Cell;
use crate::codec::jp2::grid::Chunk;
use crate::codec::jp2::grid::Component;
use crate::codec::jp2::grid::NONE;
use crate::codec::jp2::grid::components;
use crate::codec::jp2::grid::tile_area;
use crate::codec::jp2::markers::Head;
use crate::codec::jp2::markers::Main;
use crate::codec::jp2::markers::Progression;
use crate::codec::jp2::markers::Style;
use crate::codec::jp2::parts::Part;
use crate::error::Error;
use crate::error::Result;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::ops::Range;

/// Chunks of one tile.
const MAX_CHUNKS: usize = 16 << 20;

/// Bytes of a tile that are worth going through at once, wherever its packets are said to lie.
const AT_ONCE: u64 = 256 << 10;

/// Bytes of a packet that are announced: its header, and all of a small one.
const HEADER: u64 = 64 << 10;

/// A tile whose packets were found.
#[derive(Clone, Debug)]
pub struct Index {
    /// Components with their code-blocks.
    pub components: Vec<Component>,
    /// What code-blocks refer to.
    pub chunks: Vec<Chunk>,
    /// Coding of the tile.
    pub style: Style,
    /// Whether packets were missing or could not be read.
    pub damaged: bool,
    /// Where the packets of precincts lie whose headers were not read yet, layer by layer (T.800 A.7.3).
    unread: HashMap<Place, Vec<Range<u64>>>,
}

impl Index {
    /// Reads the headers of every packet of a tile. What follows damage is left out. Of a long tile whose packets' lengths
    /// are told (PLT) none is read if it may be `partial`.
    pub fn read(from: &dyn Bytes, main: &Main, tile: u16, partial: bool) -> Result<Index> {
        let mut whole = main.parts_of(tile).iter().map(|part| part.start..part.end);
        let short = whole.clone().map(|part| part.end - part.start).sum::<u64>() <= AT_ONCE;
        if short {
            from.prefetch(&mut whole)?;
        }
        let Head {
            style,
            packed,
            parts,
            lengths,
        } = main.tile(from, tile)?;
        let mut index = Index {
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

    /// Whether there are precincts whose packets were not read.
    pub fn is_partial(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Those of some precincts that were not read.
    pub fn unread<'a>(&'a self, places: &'a BTreeSet<Place>) -> impl Iterator<Item = Place> + 'a {
        let places = places.iter().copied();
        places.filter(|place| self.unread.contains_key(place))
    }

    /// Announces the packets of these precincts, as far as they were not read.
    pub fn announce(&self, from: &dyn Bytes, places: &BTreeSet<Place>) -> Result<()> {
        let packets = self.unread(places).filter_map(|place| self.unread.get(&place));
        let mut heads = packets
            .flatten()
            .map(|packet| packet.start..packet.end.min(packet.start.saturating_add(HEADER)));
        from.prefetch(&mut heads)
    }

    /// Reads the headers of the packets of these precincts. What follows damage in a precinct is left out.
    pub fn complete(&mut self, from: &dyn Bytes, places: &BTreeSet<Place>) -> Result<()> {
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
        parts: &[Part],
        lengths: &[Vec<u32>],
    ) -> Option<HashMap<Place, Vec<Range<u64>>>> {
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
        let mut found: HashMap<Place, Vec<Range<u64>>> = HashMap::new();
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

    /// Reads all packets one after the other.
    fn walk(&mut self, from: &dyn Bytes, area: Area, packed: &[u8], parts: Vec<Part>) -> Result<()> {
        let precincts = self.components.iter().map(|component| {
            let counts = component.resolutions.iter().map(|of| of.precincts.len());
            counts
                .map(|count| (0..count).map(|_| Precinct::default()).collect())
                .collect()
        });
        let mut walk = Walk {
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

    /// The changes of the order, or the order of all.
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

    /// Memory that it takes, about.
    pub fn bytes(&self) -> usize {
        let resolutions = self
            .components
            .iter()
            .flat_map(|component| &component.resolutions);
        let cells: usize = resolutions
            .flat_map(|resolution| &resolution.bands)
            .map(|band| band.blocks.len())
            .sum();
        let unread = self.unread.len() * (size_of::<Place>() + size_of::<Range<u64>>() * 2);
        cells * size_of::<Cell>() + self.chunks.capacity() * size_of::<Chunk>() + unread
    }
}

/// Calls `visit` with each layer and place of a progression in its order, until it says that there are no more; whether it
/// never did. The order of places is that of everything but the layer.
fn in_order(
    all: &[Place],
    order: u8,
    layers: Range<u16>,
    visit: &mut dyn FnMut(u16, Place) -> Result<bool>,
) -> Result<bool> {
    let groups: Vec<&[Place]> = match order {
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

/// What is remembered of a precinct from layer to layer.
#[derive(Default)]
struct Precinct {
    /// Layers that were read.
    layers: u16,
    /// Inclusion and zero bit-planes, for each band.
    trees: Vec<(Tree, Tree)>,
}

struct Walk<'a> {
    from: &'a dyn Bytes,
    index: &'a mut Index,
    /// By component and resolution.
    precincts: Vec<Vec<Vec<Precinct>>>,
    packed: Option<Cursor<'a>>,
    /// In the tile-part that is being read.
    body: Cursor<'a>,
    parts: std::vec::IntoIter<Part>,
}

/// Which packet, the layer aside: component, resolution, precinct.
pub type Place = (usize, usize, usize);

fn gone() -> Error {
    Error::Corrupt("no such precinct".into())
}

impl Walk<'_> {
    /// Reads one packet, unless it was read before; false when the file has no more.
    fn packet(&mut self, layer: u16, place: Place) -> Result<bool> {
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
                // headers that lie elsewhere may go on without bodies
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

impl Index {
    /// The precincts of a progression in its order (T.800 B.12.1).
    fn places(&self, progression: Progression, tile: Area) -> Vec<Place> {
        let mut all = Vec::new();
        for (number, component) in self.components.iter().enumerate() {
            if !(progression.start.1..progression.end.2).contains(&u16::try_from(number).unwrap_or(u16::MAX))
            {
                continue;
            }
            let top = component.resolutions.len();
            for (level, resolution) in component.resolutions.iter().enumerate() {
                if !(progression.start.0..progression.end.1).contains(&u8::try_from(level).unwrap_or(u8::MAX))
                {
                    continue;
                }
                let down = top - 1 - level;
                // the corner of a precinct on the reference grid; one that begins before the tile counts from its edge
                let corner = |index: u32, side: u8, samples: u32, step: u32, edge: u32| {
                    let at = u64::from(index) << side;
                    if at < u64::from(samples) {
                        u64::from(edge)
                    } else {
                        (at << down).saturating_mul(u64::from(step))
                    }
                };
                let mut precinct = 0;
                for row in resolution.precincts.y0..resolution.precincts.y1 {
                    let y = corner(
                        row,
                        resolution.precinct.1,
                        resolution.area.y0,
                        component.step.1,
                        tile.y0,
                    );
                    for column in resolution.precincts.x0..resolution.precincts.x1 {
                        let x = corner(
                            column,
                            resolution.precinct.0,
                            resolution.area.x0,
                            component.step.0,
                            tile.x0,
                        );
                        let (c, r) = (number as u64, level as u64);
                        let key = match progression.order {
                            0 | 1 => [r, c, 0, 0],
                            2 => [r, y, x, c],
                            3 => [y, x, c, r],
                            _ => [c, y, x, r],
                        };
                        all.push((key, (number, level, precinct)));
                        precinct += 1;
                    }
                }
            }
        }
        // stable: precincts of one place stay in their order
        all.sort_by_key(|(key, _)| *key);
        all.into_iter().map(|(_, place)| place).collect()
    }

    /// Reads one packet, whose header may lie elsewhere.
    fn packet<'a>(
        &mut self,
        layer: u16,
        (number, level, which): Place,
        precinct: &mut Precinct,
        body: &mut Cursor<'a>,
        mut packed: Option<&mut Cursor<'a>>,
    ) -> Result<()> {
        if body.at + 6 <= body.end && body.peek(0)? == 0xff && body.peek(1)? == 0x91 {
            body.at += 6;
        }
        let component = self.components.get_mut(number).ok_or_else(gone)?;
        let style = self.style.coding.get(number).ok_or_else(gone)?.style;
        let resolution = component.resolutions.get_mut(level).ok_or_else(gone)?;
        let across = resolution.precincts.w().max(1) as usize;
        let at = |index: usize, first: u32| u32::try_from(index).unwrap_or(0) + first;
        let (column, row) = (
            at(which % across, resolution.precincts.x0),
            at(which / across, resolution.precincts.y0),
        );
        let areas: Vec<Area> = (resolution.bands.iter())
            .map(|band| resolution.cells(band, column, row))
            .collect();
        if precinct.trees.is_empty() {
            let tree = |cells: &Area| Tree::new(cells.w(), cells.h());
            precinct.trees = areas.iter().map(|cells| (tree(cells), tree(cells))).collect();
        }
        // the lengths of what follows the header, in its order
        let mut bodies: Vec<(usize, usize, u32, u8, bool)> = Vec::new();
        let mut bits = Bits::new(packed.as_deref_mut().unwrap_or(&mut *body));
        if bits.bit()? == 1 {
            for (which, ((band, trees), cells)) in (resolution.bands.iter_mut().zip(&mut precinct.trees))
                .zip(areas)
                .enumerate()
            {
                let stride = band.cells.w() as usize;
                for y in cells.y0..cells.y1 {
                    for x in cells.x0..cells.x1 {
                        let leaf = (x - cells.x0, y - cells.y0);
                        let index = (y - band.cells.y0) as usize * stride + (x - band.cells.x0) as usize;
                        let cell = band.blocks.get_mut(index).ok_or_else(gone)?;
                        contribution(
                            &mut bits,
                            cell,
                            trees,
                            leaf,
                            layer,
                            style,
                            |len, passes, opens| {
                                bodies.push((which, index, len, passes, opens));
                            },
                        )?;
                    }
                }
            }
        }
        bits.align()?;
        let header = packed.unwrap_or(&mut *body);
        if header.at + 2 <= header.end && header.peek(0)? == 0xff && header.peek(1)? == 0x92 {
            header.at += 2;
        }
        if layer + 1 >= self.style.layers {
            precinct.trees = Vec::new();
        }
        for (which, index, len, passes, opens) in bodies {
            let at = body.at;
            let band = resolution.bands.get_mut(which).ok_or_else(gone)?;
            let cell = band.blocks.get_mut(index).ok_or_else(gone)?;
            // a body that is cut off is no use, and nothing can follow it
            if at + u64::from(len) > body.end {
                self.damaged = true;
                body.at = body.end;
                return Ok(());
            }
            body.at += u64::from(len);
            let number = u32::try_from(self.chunks.len()).unwrap_or(NONE);
            if self.chunks.len() >= MAX_CHUNKS {
                return Err(Error::TooLarge("too many code-blocks in one tile".into()));
            }
            self.chunks.push(Chunk {
                at,
                len,
                next: NONE,
                layer,
                passes,
                opens,
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

/// What a packet header says of one code-block (T.800 B.10.4 to B.10.7): `found` gets length, passes, and whether a
/// codeword segment begins, for each.
fn contribution(
    bits: &mut Bits,
    cell: &mut Cell,
    (inclusion, zero): &mut (Tree, Tree),
    leaf: (u32, u32),
    layer: u16,
    coding: u8,
    mut found: impl FnMut(u32, u8, bool),
) -> Result<()> {
    let first = cell.passes == 0;
    let included = if first {
        inclusion.below(leaf, u32::from(layer) + 1, bits)?
    } else {
        bits.bit()? == 1
    };
    if !included {
        return Ok(());
    }
    if first {
        let mut planes = 1;
        while !zero.below(leaf, planes, bits)? {
            planes += 1;
            if planes > 80 {
                return Err(Error::Corrupt("more zero bit-planes than there can be".into()));
            }
        }
        cell.zero = u8::try_from(planes - 1).unwrap_or(u8::MAX);
    }
    let mut passes = bits.passes()?;
    while bits.bit()? == 1 {
        cell.lblock += 1;
        if cell.lblock > 32 {
            return Err(Error::Corrupt(
                "a code-block's length takes more than 32 bits".into(),
            ));
        }
    }
    let mut coding = coding;
    if coding & style::HT != 0 {
        if cell.throughput.is_none() {
            passes = first_cleanup(bits, cell, passes, coding, &mut found)?;
        }
        if cell.throughput != Some(false) {
            return sets(bits, cell, passes, &mut found);
        }
        coding &= style::PART1;
    }
    while passes > 0 {
        let (room, opens) = segment(cell.passes, coding);
        let now = passes.min(room);
        let len = bits.number(cell.lblock + log2(now))?;
        found(len, u8::try_from(now).unwrap_or(u8::MAX), opens);
        cell.passes += now;
        passes -= now;
    }
    Ok(())
}

/// The passes of a block none of whose bytes were seen yet (T.814 Annex B): sets of three without bytes are bit-planes
/// that are left out, and the first bytes say which coder the block is of. Gives the passes that are left.
fn first_cleanup(
    bits: &mut Bits,
    cell: &mut Cell,
    passes: u16,
    coding: u8,
    found: &mut impl FnMut(u32, u8, bool),
) -> Result<u16> {
    let mixed = coding & style::MIXED != 0;
    // up to the last clean-up pass, if there is one
    let head = passes.saturating_sub((cell.passes + passes - 1) % 3);
    let width = cell.lblock + log2(if head > 0 { head } else { passes });
    let mut len = bits.number(width)?;
    // where coders are mixed, the first bit of a clean-up pass's length is 0
    let marked = !mixed || cell.lblock > 3 && width <= 32 && len >> (width - 1) == 0;
    if head > 0 && len > 1 && marked {
        cell.throughput = Some(true);
        cell.passes += head;
        found(len, u8::try_from(head).unwrap_or(u8::MAX), true);
        return Ok(passes - head);
    }
    // else the length is that of a block of part 1, all of whose passes share a segment
    let more = (cell.lblock + log2(passes)).saturating_sub(width);
    len = len << more | bits.number(more)?;
    if len > 0 {
        if !mixed {
            return Err(Error::Corrupt("a clean-up pass of no length".into()));
        }
        cell.throughput = Some(false);
    }
    found(len, u8::try_from(passes).unwrap_or(u8::MAX), cell.passes == 0);
    cell.passes += passes;
    Ok(0)
}

/// The passes of a high-throughput block after its first clean-up pass: a segment for each clean-up pass, and one for
/// the two passes that refine it, which may go on in another layer.
fn sets(
    bits: &mut Bits,
    cell: &mut Cell,
    mut passes: u16,
    found: &mut impl FnMut(u32, u8, bool),
) -> Result<()> {
    while passes > 0 {
        let done = cell.passes % 3;
        let now = if done == 0 { 1 } else { passes.min(3 - done) };
        let len = bits.number(cell.lblock + log2(now))?;
        found(len, u8::try_from(now).unwrap_or(u8::MAX), done != 2);
        cell.passes += now;
        passes -= now;
    }
    Ok(())
}

/// After so many passes: how many more the codeword segment holds, and whether it begins here (T.800 Table D.9).
fn segment(passes: u16, coding: u8) -> (u16, bool) {
    if coding & style::TERMALL != 0 {
        return (1, true);
    }
    if coding & style::BYPASS == 0 {
        return (u16::MAX, passes == 0);
    }
    // four bit-planes in one segment, then raw significance and refinement together, and cleanup alone
    match passes.checked_sub(10) {
        None => (10 - passes, passes == 0),
        Some(after) => match after % 3 {
            0 => (2, true),
            1 => (1, false),
            _ => (1, true),
        },
    }
}

/// Of the logarithm to base 2 the whole part; 0 for 0.
fn log2(value: u16) -> u8 {
    u8::try_from(value.max(1).ilog2()).unwrap_or(0)
}

/// The bits of a packet header, with a zero stuffed behind each 0xff (T.800 B.10.1).
struct Bits<'a, 'b> {
    from: &'a mut Cursor<'b>,
    byte: u8,
    left: u8,
}

impl<'a, 'b> Bits<'a, 'b> {
    fn new(from: &'a mut Cursor<'b>) -> Self {
        Bits {
            from,
            byte: 0,
            left: 0,
        }
    }

    fn bit(&mut self) -> Result<u32> {
        if self.left == 0 {
            self.left = if self.byte == 0xff { 7 } else { 8 };
            self.byte = self.from.byte()?;
        }
        self.left -= 1;
        Ok(u32::from(self.byte >> self.left & 1))
    }

    fn number(&mut self, bits: u8) -> Result<u32> {
        if bits > 32 {
            return Err(Error::Corrupt("a length of more than 32 bits".into()));
        }
        (0..bits).try_fold(0, |number, _| Ok(number << 1 | self.bit()?))
    }

    /// Number of coding passes (T.800 Table B.4).
    fn passes(&mut self) -> Result<u16> {
        let mut passes = 1;
        for (bits, full) in [(1, 1), (1, 1), (2, 3), (5, 31), (7, 128)] {
            let more = self.number(bits)?;
            passes += more;
            if more < full {
                break;
            }
        }
        u16::try_from(passes).map_err(|_| Error::Corrupt("coding passes".into()))
    }

    /// Goes to the next byte; one that is stuffed behind 0xff belongs to the header.
    fn align(&mut self) -> Result<()> {
        self.left = 0;
        if self.byte == 0xff {
            self.from.byte()?;
        }
        Ok(())
    }
}

/// A tag tree (T.800 B.10.2).
#[derive(Debug)]
struct Tree {
    /// From the leaves to the root: columns, and where the level begins.
    levels: Vec<(u32, usize)>,
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// The value is at least this.
    low: u32,
    /// It is this.
    known: bool,
}

impl Tree {
    fn new(w: u32, h: u32) -> Tree {
        let mut levels = Vec::new();
        let mut count = 0;
        let (mut across, mut down) = (w, h);
        while across > 0 && down > 0 {
            levels.push((across, count));
            count += across as usize * down as usize;
            if across == 1 && down == 1 {
                break;
            }
            (across, down) = (across.div_ceil(2), down.div_ceil(2));
        }
        Tree {
            levels,
            nodes: vec![Node::default(); count],
        }
    }

    /// Whether the leaf's value is below the bound, reading as many bits as that takes.
    fn below(&mut self, leaf: (u32, u32), bound: u32, bits: &mut Bits) -> Result<bool> {
        let mut low = 0;
        let mut known = false;
        for (depth, (across, start)) in self.levels.iter().enumerate().rev() {
            let (x, y) = (leaf.0 >> depth, leaf.1 >> depth);
            let index = start + y as usize * *across as usize + x as usize;
            let node = self.nodes.get_mut(index);
            let node = node.ok_or_else(|| Error::Corrupt("no such code-block".into()))?;
            node.low = node.low.max(low);
            while node.low < bound && !node.known {
                if bits.bit()? == 1 {
                    node.known = true;
                } else {
                    node.low += 1;
                }
            }
            low = node.low;
            known = node.known;
        }
        Ok(known && low < bound)
    }
}
