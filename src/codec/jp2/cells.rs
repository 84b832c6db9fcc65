//! The code-blocks of a window: reads their bytes, and caches their coefficients in packed form.
//!
//! Bytes are read when the first block that needs them is decoded; neighbouring ranges are read in one call.

use crate::codec::jp2::BlockName;
use crate::codec::jp2::block::CodeBlock;
use crate::codec::jp2::block::Segment;
use crate::codec::jp2::block::style;
use crate::codec::jp2::coder;
use crate::codec::jp2::coder::BlockScratch;
use crate::codec::jp2::coding::Coding;
use crate::codec::jp2::grid::Area;
use crate::codec::jp2::grid::Band;
use crate::codec::jp2::grid::Cell;
use crate::codec::jp2::grid::Chunk;
use crate::codec::jp2::grid::Resolution;
use crate::codec::jp2::grid::halved;
use crate::codec::jp2::packed::BlockEdges;
use crate::codec::jp2::packed::is_frame;
use crate::codec::jp2::packed::pack;
use crate::codec::jp2::packed::unpack_rows;
use crate::codec::jp2::packets::PacketIndex;
use crate::codec::jp2::plane::Plane;
use crate::codec::read_at::ReadAt;
use crate::error::Error;
use crate::error::Result;
use bytes::Bytes;
use std::cell::Cell as Kept;
use std::sync::OnceLock;

/// Maximum number of bytes between two chunks that are read together.
const GAP: u64 = 4 << 10;

thread_local! {
    static SCRATCH: Kept<Option<BlockScratch>> = const { Kept::new(None) };
}

/// Calls `f` with the code-blocks of a band that touch an area: their numbers in the band, and their areas.
pub(super) fn each_cell<'a>(
    band: &'a Band,
    resolution: &Resolution,
    area: Area,
    mut f: impl FnMut(u32, &'a Cell, Area),
) {
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
            let index = index.map(|(row, column)| row * band.cells.w() + column);
            let cell = index.and_then(|index| Some((index, band.blocks.get(index as usize)?)));
            if let Some((index, cell)) = cell.filter(|_| !whole.is_empty()) {
                f(index, cell, whole);
            }
        }
    }
}

/// A code-block that a window needs.
pub(super) struct BlockJob<'a> {
    pub name: BlockName,
    /// Whether a neighbouring window is likely to need it as well.
    pub shared: bool,
    pub coding: &'a Coding,
    pub band: &'a Band,
    /// Shift of the region of interest.
    pub roi: u8,
    pub cell: &'a Cell,
    /// The area of the block.
    pub whole: Area,
    /// The part that the window needs.
    pub need: Area,
    /// The rows and columns at the edges of a block that neighbouring windows need, once a window has shown the
    /// block.
    pub edge: u32,
}

impl BlockJob<'_> {
    /// The chunks of the block in the decoded layers.
    pub fn chunks<'i>(&self, index: &'i PacketIndex) -> impl Iterator<Item = &'i Chunk> + use<'i> {
        let (mut at, layers) = (self.cell.chunks.0, self.name.layers);
        std::iter::from_fn(move || {
            let chunk = index.chunks.get(at as usize)?;
            at = chunk.next;
            Some(chunk)
        })
        .take_while(move |chunk| chunk.layer < layers)
    }

    fn frame(&self) -> BlockEdges {
        BlockEdges {
            w: self.whole.w() as usize,
            h: self.whole.h() as usize,
            edge: self.edge as usize,
        }
    }

    /// Whether the cached data suffices.
    pub fn is_in(&self, held: &[u8]) -> bool {
        let (need, whole, edge) = (self.need, self.whole, self.edge);
        let at_edge = need.x1 <= whole.x0 + edge
            || need.y1 <= whole.y0 + edge
            || need.x0 + edge >= whole.x1
            || need.y0 + edge >= whole.y1;
        at_edge || !is_frame(held)
    }

    /// The packed data to cache from now on: the whole block until a window has shown all of it, then its edges.
    /// `None` if that is cached already. `block` was decoded, or unpacked if `held` sufficed.
    pub fn worth_holding(&self, held: Option<&[u8]>, block: Option<&Plane<i32>>) -> Option<Bytes> {
        let shown = self.need == self.whole;
        if held.is_some_and(|held| !shown || held.is_empty() || is_frame(held)) {
            return None;
        }
        let values = block.map(|block| &block.data[..]).unwrap_or_default();
        let exact = self.coding.reversible;
        Some(if shown {
            self.frame().pack(values, exact)
        } else {
            pack(values, exact)
        })
    }

    /// The part that the window needs from packed coefficients; `None` if all are 0.
    pub fn unpacked(&self, packed: &[u8]) -> Option<Plane<i32>> {
        let (need, whole) = (self.need, self.whole);
        if packed.is_empty() {
            return None;
        }
        let mut block = Plane::new(need);
        let first = ((need.x0 - whole.x0) as usize, (need.y0 - whole.y0) as usize);
        unpack_rows(packed, self.frame(), first, need.w() as usize, &mut block.data);
        Some(block)
    }
}

/// The inputs for decoding blocks of one tile.
pub(super) struct TileWork<'a> {
    pub index: &'a PacketIndex,
    pub coded: &'a CodedBytes<'a>,
    /// Whether damage is an error.
    pub strict: bool,
}

impl TileWork<'_> {
    /// The coefficients of a block with one fractional bit; `None` if all are 0.
    pub fn decode(&self, job: &BlockJob) -> Result<Option<Plane<i32>>> {
        let planes = (job.band.planes.saturating_add(job.roi)).checked_sub(job.cell.zero);
        let Some(planes) = planes.filter(|planes| *planes > 0) else {
            return Ok(None);
        };
        let pieces = job
            .chunks(self.index)
            .map(|chunk| Ok((chunk, self.coded.get(chunk.at, chunk.len)?)))
            .collect::<Result<Vec<(&Chunk, &[u8])>>>()?;
        if pieces.is_empty() {
            return Ok(None);
        }
        let bytes: Vec<&[u8]> = pieces.iter().map(|(_, bytes)| *bytes).collect();
        let mut segments = Vec::new();
        let mut start = 0;
        let ends = (1..=pieces.len()).filter(|end| pieces.get(*end).is_none_or(|(chunk, _)| chunk.opens));
        for end in ends {
            let within = pieces.get(start..end).unwrap_or_default();
            let passes: u16 = within.iter().map(|(chunk, _)| u16::from(chunk.passes)).sum();
            segments.push(Segment {
                passes: u8::try_from(passes).unwrap_or(u8::MAX),
                pieces: bytes.get(start..end).unwrap_or_default(),
            });
            start = end;
        }
        let block = CodeBlock {
            w: job.whole.w(),
            h: job.whole.h(),
            band: job.band.kind,
            style: match job.cell.throughput {
                Some(false) => job.coding.style & style::PART1,
                _ => job.coding.style,
            },
            planes,
            segments: &segments,
        };
        let mut scratch = SCRATCH.take().unwrap_or_default();
        let mut plane = Plane::new(job.whole);
        let decoded = coder::decode(&block, &mut scratch, &mut plane.data);
        SCRATCH.set(Some(scratch));
        if job.roi > 0 {
            unshift(&mut plane.data, job.roi);
        }
        match decoded {
            Err(error @ Error::Unsupported(_)) => Err(error),
            Err(error) if self.strict => Err(error),
            Err(_) => Ok(None),
            Ok(()) => Ok(Some(plane)),
        }
    }
}

/// Coded bytes, read on demand.
pub(super) struct CodedBytes<'a> {
    from: &'a dyn ReadAt,
    /// Sorted by position.
    runs: Vec<ByteRun>,
}

/// Bytes that are read together.
struct ByteRun {
    start: u64,
    end: u64,
    /// `None` if they could not be read.
    bytes: OnceLock<Option<Vec<u8>>>,
}

impl<'a> CodedBytes<'a> {
    /// Prepares to read the chunks with these positions and lengths.
    pub fn new(from: &'a dyn ReadAt, mut chunks: Vec<(u64, u32)>) -> Result<CodedBytes<'a>> {
        chunks.sort_unstable();
        let mut runs: Vec<ByteRun> = Vec::new();
        for (at, len) in chunks {
            let end = at + u64::from(len);
            match runs.last_mut() {
                Some(run) if at <= run.end.saturating_add(GAP) => run.end = end.max(run.end),
                _ => runs.push(ByteRun {
                    start: at,
                    end,
                    bytes: OnceLock::new(),
                }),
            }
        }
        from.prefetch(&mut runs.iter().map(|run| run.start..run.end))?;
        Ok(CodedBytes { from, runs })
    }

    fn get(&self, at: u64, len: u32) -> Result<&[u8]> {
        let gone = || Error::Corrupt("the bytes of a code-block are gone".into());
        let after = self.runs.partition_point(|run| run.start <= at);
        let run = after.checked_sub(1).and_then(|run| self.runs.get(run));
        let run = run.ok_or_else(gone)?;
        let read = || {
            let mut bytes = vec![0; usize::try_from(run.end - run.start).unwrap_or(0)];
            self.from.read(run.start, &mut bytes).map(|()| bytes)
        };
        let Some(bytes) = run.bytes.get_or_init(|| read().ok()) else {
            // fails again, with its cause
            read()?;
            return Err(gone());
        };
        let from = usize::try_from(at - run.start).unwrap_or(usize::MAX);
        bytes
            .get(from..from.saturating_add(len as usize))
            .ok_or_else(gone)
    }
}

/// Undoes the shift of a region of interest (T.800 H.1): values above the shift belong to it. The lowest bit is
/// fractional.
fn unshift(values: &mut [i32], shift: u8) {
    for value in values {
        let magnitude = value.unsigned_abs();
        if u32::from(shift) < 30 && magnitude >> (shift + 1) != 0 {
            let less = i32::try_from(magnitude >> shift).unwrap_or(0);
            *value = if *value < 0 { -less } else { less };
        }
    }
}
