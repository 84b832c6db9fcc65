//! JPEG 2000 codestreams (ITU-T T.800, T.814): any window at any resolution.
//!
//! The cost is proportional to the window, not to the file: the packet headers of a tile are read once and give the
//! location of every code-block; then a window reads and decodes only the code-blocks that it needs.

pub mod block;
pub mod boxes;
mod cells;
pub mod coder;
mod coding;
mod coefficients;
mod contexts;
mod decoded;
mod ebcot;
#[cfg(test)]
mod examples;
mod grid;
mod ht;
mod ht_bits;
mod ht_codes;
mod markers;
mod mq;
mod packed;
mod packet_header;
mod packets;
mod parts;
mod plane;
mod segments;
mod siz;
mod wavelet;
mod window;

use crate::codec::jp2::grid::halved;
use crate::codec::jp2::markers::Main;
use crate::codec::jp2::packets::PacketIndex;
use crate::codec::jp2::packets::PrecinctPlace;
use crate::codec::read_at::ReadAt;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

pub use crate::codec::jp2::decoded::Decoded;
pub use crate::codec::jp2::siz::Component;

/// Bytes of packet indices that an open codestream caches.
const MAX_KEPT: usize = 64 << 20;

/// An open codestream.
pub struct Codestream {
    from: Box<dyn ReadAt>,
    main: Main,
    /// Packet indices, the most recently used last.
    indices: Mutex<VecDeque<(u16, Arc<PacketIndex>)>>,
    strict: bool,
    /// Whether each component is decoded.
    wanted: Vec<bool>,
}

/// Samples as coded, signed or not, of `Component::bits` bits: for each component `w * h` of them, row by row, subsampled
/// ones repeated.
pub type Planes = Vec<Vec<i32>>;

/// The key of a decoded code-block in a codestream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BlockName {
    /// Tile of the codestream.
    pub tile: u16,
    /// Component.
    pub component: u16,
    /// Sub-band of the component, counted from the smallest resolution.
    pub band: u16,
    /// Number in the sub-band, row by row.
    pub place: u32,
    /// Quality layers that were decoded.
    pub layers: u16,
}

impl BlockName {
    /// The key as three numbers.
    pub fn packed(self) -> [u32; 3] {
        let pair = |high: u16, low: u16| u32::from(high) << 16 | u32::from(low);
        [
            pair(self.tile, self.component),
            pair(self.band, self.layers),
            self.place,
        ]
    }
}

/// A cache of packed, decoded code-blocks.
pub trait Blocks: Sync {
    /// Whether it caches any.
    fn holds(&self) -> bool;

    /// Calls `make` with the cached block, or with `None`; the result replaces it in the cache, unless it is `None`.
    fn block(
        &self,
        name: BlockName,
        make: &mut dyn FnMut(Option<Bytes>) -> Result<Option<Bytes>>,
    ) -> Result<()>;
}

/// Caches nothing.
pub struct NoBlocks;

impl Blocks for NoBlocks {
    fn holds(&self) -> bool {
        false
    }

    fn block(
        &self,
        _name: BlockName,
        make: &mut dyn FnMut(Option<Bytes>) -> Result<Option<Bytes>>,
    ) -> Result<()> {
        make(None).map(drop)
    }
}

impl Codestream {
    /// Reads the main header and finds the tile-parts. With `strict`, damage is an error (`Corrupt`); otherwise
    /// whatever can be decoded is shown. `Missing` if the bytes are not a codestream, `Unsupported` for features of
    /// other parts of the standard.
    pub fn open(from: Box<dyn ReadAt>, strict: bool) -> Result<Codestream> {
        let main = Main::read(&*from)?;
        if strict && main.truncated {
            return Err(Error::Corrupt("the codestream is cut off".into()));
        }
        Ok(Codestream {
            from,
            wanted: vec![true; main.siz.components.len()],
            main,
            indices: Mutex::default(),
            strict,
        })
    }

    /// Restricts decoding to these components, and those that they are transformed with; the planes of the others are
    /// empty.
    pub fn only(&mut self, wanted: impl Fn(u16) -> bool) {
        for (number, is_wanted) in (0..).zip(&mut self.wanted) {
            // the first three may be transformed together (T.800 Annex G)
            *is_wanted = wanted(number) || number < 3 && (0..3).any(&wanted);
        }
    }

    /// The components.
    pub fn components(&self) -> &[Component] {
        &self.main.siz.components
    }

    /// How often the size can be halved by omitting resolutions: the minimum over all tiles.
    pub fn reductions(&self) -> u8 {
        self.main.levels
    }

    /// Quality layers.
    pub fn layers(&self) -> u16 {
        self.main.style.layers
    }

    /// Whether full decoding is lossless.
    pub fn is_reversible(&self) -> bool {
        self.main.style.coding.iter().all(|coding| coding.reversible)
    }

    /// Whether code-blocks may have more bit-planes than are decoded.
    pub fn is_deep(&self) -> bool {
        let style = &self.main.style;
        (style.quantisation.iter().zip(&style.roi)).any(|(quantisation, roi)| {
            let most = quantisation.steps.iter().map(|step| step.0).max().unwrap_or(0);
            u32::from(quantisation.guard) + u32::from(most) + u32::from(*roi) > u32::from(block::PLANES) + 1
        })
    }

    /// The size of a tile of the codestream.
    pub fn tile(&self) -> Size {
        self.main.siz.tile
    }

    /// The size after `reduction` halvings; the sides are rounded as the standard does (B-15).
    pub fn size(&self, reduction: u8) -> Size {
        let siz = &self.main.siz;
        let side = |start: u32, end: u32| halved(end, reduction).saturating_sub(halved(start, reduction));
        Size::new(side(siz.start.0, siz.end.0), side(siz.start.1, siz.end.1))
    }

    /// Decodes a window of the image halved `reduction` times, from the first `layers` quality layers.
    ///
    /// Code-blocks that neighbouring windows need as well are cached in `blocks`: whole until a window has shown all
    /// of a block, then only its edges. `Outside` beyond the image; `Corrupt` for contradictions and, if strict, for
    /// damage.
    pub fn decode(&self, reduction: u8, rect: Rect, layers: u16, blocks: &dyn Blocks) -> Result<Decoded> {
        let size = self.size(reduction);
        let inside = Rect::new(0, 0, size.w, size.h).meet(rect) == Some(rect);
        if reduction > self.reductions() || !inside {
            return Err(Error::Outside("no such window in the codestream".into()));
        }
        window::decode(self, reduction, rect, layers, blocks)
    }

    /// The samples of such a window.
    pub fn read(&self, reduction: u8, rect: Rect, layers: u16, blocks: &dyn Blocks) -> Result<Planes> {
        self.decode(reduction, rect, layers, blocks)?.rows(0..rect.h)
    }

    /// The packet index of a tile, read at its first use.
    fn index(&self, tile: u16) -> Result<Arc<PacketIndex>> {
        let lock = || self.indices.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = lock();
        if let Some(place) = known.iter().position(|(number, _)| *number == tile)
            && let Some(found) = known.remove(place)
        {
            let index = Arc::clone(&found.1);
            known.push_back(found);
            return Ok(index);
        }
        drop(known);
        let index = Arc::new(PacketIndex::read(&*self.from, &self.main, tile, !self.strict)?);
        if self.strict && index.damaged {
            return Err(Error::Corrupt(format!("tile {tile} is damaged")));
        }
        let mut known = lock();
        if known.iter().all(|(number, _)| *number != tile) {
            remember(&mut known, tile, &index);
        }
        Ok(index)
    }

    /// The index of a tile, completed by the packets of these precincts.
    fn completed(
        &self,
        tile: u16,
        index: Arc<PacketIndex>,
        places: &BTreeSet<PrecinctPlace>,
    ) -> Result<Arc<PacketIndex>> {
        if index.unread(places).next().is_none() {
            return Ok(index);
        }
        index.announce(&*self.from, places)?;
        drop(index);
        // the known index includes what others have read meanwhile
        let mut known = self.indices.lock().unwrap_or_else(PoisonError::into_inner);
        let place = known.iter().position(|(number, _)| *number == tile);
        let mut index = match place.and_then(|place| known.remove(place)) {
            Some((_, index)) => index,
            None => Arc::new(PacketIndex::read(&*self.from, &self.main, tile, true)?),
        };
        Arc::make_mut(&mut index).complete(&*self.from, places)?;
        remember(&mut known, tile, &index);
        Ok(index)
    }
}

/// Caches an index, and evicts the least recently used ones.
fn remember(known: &mut VecDeque<(u16, Arc<PacketIndex>)>, tile: u16, index: &Arc<PacketIndex>) {
    known.push_back((tile, Arc::clone(index)));
    while known.len() > 1 && known.iter().map(|(_, index)| index.bytes()).sum::<usize>() > MAX_KEPT {
        known.pop_front();
    }
}

/// Converts luma and chroma to red, green and blue (T.800 G.3) in place: the first three of `channels` interleaved
/// channels, with values from 0 to `full`.
pub fn rgb<T: Copy>(
    samples: &mut [T],
    channels: usize,
    full: f32,
    from: impl Fn(T) -> f32,
    to: impl Fn(f32) -> T,
) {
    let middle = (full + 1.0) / 2.0;
    let fit = |value: f32| to((value + 0.5).clamp(0.0, full));
    for pixel in samples.chunks_exact_mut(channels.max(3)) {
        if let [y, b, r, ..] = pixel {
            let (luma, blue, red) = (from(*y), from(*b) - middle, from(*r) - middle);
            *y = fit(luma + 1.402 * red);
            *b = fit(luma - 0.344_136 * blue - 0.714_136 * red);
            *r = fit(luma + 1.772 * blue);
        }
    }
}
