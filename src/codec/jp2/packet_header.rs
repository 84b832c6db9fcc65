//! Parses the header of a packet, which describes its contribution to each code-block (ITU-T T.800 B.10; T.814 Annex
//! B for the high-throughput coder).

use crate::codec::jp2::block::style;
use crate::codec::jp2::grid::Area;
use crate::codec::jp2::grid::Cell;
use crate::codec::jp2::grid::Resolution;
use crate::codec::read_at::Cursor;
use crate::error::Error;
use crate::error::Result;

/// The contribution of a packet to one code-block.
pub(super) struct Contribution {
    /// Index of the band in the resolution.
    pub band: usize,
    /// Index of the code-block in the band.
    pub block: usize,
    /// In bytes.
    pub len: u32,
    /// Coding passes.
    pub passes: u8,
    /// Whether it starts a codeword segment.
    pub opens: bool,
}

/// The tag trees of a precinct in one band.
#[derive(Debug)]
pub(super) struct Trees {
    /// The layer that first includes each code-block.
    inclusion: Tree,
    /// Zero bit-planes of each.
    zero: Tree,
}

impl Trees {
    /// For a precinct with this many code-blocks across and down.
    pub fn new(across: u32, down: u32) -> Trees {
        Trees {
            inclusion: Tree::new(across, down),
            zero: Tree::new(across, down),
        }
    }
}

/// Reads the header of a packet for the code-blocks `areas` of the bands of a resolution.
pub(super) fn contributions(
    from: &mut Cursor,
    resolution: &mut Resolution,
    areas: &[Area],
    trees: &mut [Trees],
    layer: u16,
    style: u8,
) -> Result<Vec<Contribution>> {
    let mut all = Vec::new();
    let mut bits = HeaderBits::new(from);
    if bits.bit()? == 0 {
        bits.align()?;
        return Ok(all);
    }
    let bands = resolution.bands.iter_mut().zip(trees).zip(areas);
    for (number, ((band, trees), area)) in bands.enumerate() {
        let stride = band.cells.w() as usize;
        for y in area.y0..area.y1 {
            for x in area.x0..area.x1 {
                let leaf = (x - area.x0, y - area.y0);
                let block = (y - band.cells.y0) as usize * stride + (x - band.cells.x0) as usize;
                let cell = band.blocks.get_mut(block).ok_or_else(gone)?;
                contribution(
                    &mut bits,
                    cell,
                    trees,
                    leaf,
                    layer,
                    style,
                    |len, passes, opens| {
                        all.push(Contribution {
                            band: number,
                            block,
                            len,
                            passes,
                            opens,
                        });
                    },
                )?;
            }
        }
    }
    bits.align()?;
    Ok(all)
}

fn gone() -> Error {
    Error::Corrupt("no such code-block".into())
}

/// Parses the part of a packet header for one code-block (T.800 B.10.4 to B.10.7): appends length, passes, and
/// whether a codeword segment starts, to `found`.
fn contribution(
    bits: &mut HeaderBits,
    cell: &mut Cell,
    Trees { inclusion, zero }: &mut Trees,
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
        let (left, opens) = segment(cell.passes, coding);
        let now = passes.min(left);
        let len = bits.number(cell.lblock + log2(now))?;
        found(len, u8::try_from(now).unwrap_or(u8::MAX), opens);
        cell.passes += now;
        passes -= now;
    }
    Ok(())
}

/// The passes of a block without bytes so far (T.814 Annex B): sets of three without bytes are omitted bit-planes,
/// and the first bytes determine the block's coder. Returns the remaining passes.
fn first_cleanup(
    bits: &mut HeaderBits,
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
    // if coders are mixed, the first bit of a clean-up pass's length is 0
    let marked = !mixed || cell.lblock > 3 && width <= 32 && len >> (width - 1) == 0;
    if head > 0 && len > 1 && marked {
        cell.throughput = Some(true);
        cell.passes += head;
        found(len, u8::try_from(head).unwrap_or(u8::MAX), true);
        return Ok(passes - head);
    }
    // otherwise the length is that of a block of part 1, all of whose passes share a segment
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
/// the two passes that refine it, which may continue in another layer.
fn sets(
    bits: &mut HeaderBits,
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

/// After `passes` passes: how many more the codeword segment contains, and whether it starts here (T.800 Table D.9).
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

/// The integer part of the logarithm to base 2; 0 for 0.
fn log2(value: u16) -> u8 {
    u8::try_from(value.max(1).ilog2()).unwrap_or(0)
}

/// The bits of a packet header, with a zero stuffed after each 0xff (T.800 B.10.1).
struct HeaderBits<'a, 'b> {
    from: &'a mut Cursor<'b>,
    byte: u8,
    left: u8,
}

impl<'a, 'b> HeaderBits<'a, 'b> {
    fn new(from: &'a mut Cursor<'b>) -> Self {
        HeaderBits {
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

    /// Moves to the next byte; a stuffed one after 0xff belongs to the header.
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
    /// From the leaves to the root: columns, and the index of the level's first node.
    levels: Vec<(u32, usize)>,
    nodes: Vec<Node>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Node {
    /// A lower bound of the value.
    low: u32,
    /// Whether the bound is the value.
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

    /// Whether the leaf's value is below the bound; reads as many bits as that takes.
    fn below(&mut self, leaf: (u32, u32), bound: u32, bits: &mut HeaderBits) -> Result<bool> {
        let mut low = 0;
        let mut known = false;
        for (depth, (across, start)) in self.levels.iter().enumerate().rev() {
            let (x, y) = (leaf.0 >> depth, leaf.1 >> depth);
            let index = start + y as usize * *across as usize + x as usize;
            let node = self.nodes.get_mut(index);
            let node = node.ok_or_else(gone)?;
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
