//! The levels of a completed pyramid, as its header describes them.

use crate::geometry::Size;
use crate::source::Decoding;
use crate::source::Effort;
use crate::source::Header;
use crate::source::Level;
use crate::source::cache::Part;
use crate::source::cache::as_stored;
use crate::source::cache::not_tiles;
use crate::source::derived::PIECES;
use crate::source::derived::origins::Base;
use crate::source::derived::origins::LevelOrigin;
use crate::source::derived::origins::LevelShape;
use crate::source::derived::origins::pixel_bytes;
use crate::source::level::Derived;
use crate::source::level::LevelShared;
use crate::source::level::Map;
use crate::source::level::Parts;
use crate::source::level::Progress;
use crate::source::level::in_rows;
use std::sync::Arc;

/// The level for this `origin`, or for the origin `without` temporary files, from the levels of the `file` with this header
/// or the `larger` levels of the pyramid.
pub fn level(
    shape: LevelShape,
    origin: LevelOrigin,
    without: LevelOrigin,
    file: &Header,
    larger: &[Level],
) -> Level {
    let LevelShape { size, tile } = shape;
    let base = origin.base(&file.levels, larger);
    let decoding = match origin {
        LevelOrigin::Stored(_) => base.map(|level| level.decoding),
        LevelOrigin::Cut(_) | LevelOrigin::Reduced { .. } => base.map(derived_decoding),
        _ => None,
    };
    let parts = match parts(size, larger.len(), origin, file, larger) {
        Parts::Shared(shared) if origin.is_spooled() => Parts::Shared(Arc::new(LevelShared {
            part: None,
            effort: shared.effort,
            base: shared.base.clone(),
            then: Parts::Pixels,
            otherwise: parts(size, larger.len(), without, file, larger),
            progress: Progress::default(),
        })),
        parts => parts,
    };
    Level {
        decoding: decoding.unwrap_or(Decoding::Usual),
        present: base.map_or(u64::MAX, |level| level.present),
        parts,
        ..Level::tiled(size, tile)
    }
}

/// The decoding cost of a tile derived from such a level.
fn derived_decoding(from: &Level) -> Decoding {
    match from.decoding {
        Decoding::Quick => Decoding::Usual,
        other => other,
    }
}

/// The parts to decode for a window of a level of this size and number.
fn parts(size: Size, number: usize, origin: LevelOrigin, file: &Header, larger: &[Level]) -> Parts {
    let derived = |from: Option<&Level>, index, factor, name: fn(Part) -> Option<Part>| match from {
        None => Parts::Pixels,
        Some(from) => Parts::Derived(Arc::new(Derived {
            from: from.clone(),
            index,
            map: Map::Enlarged(factor),
            name,
        })),
    };
    let shared = |effort, base| {
        Parts::Shared(Arc::new(LevelShared {
            part: Some(Part::Level(number)),
            effort,
            base,
            then: Parts::Pixels,
            otherwise: Parts::Pixels,
            progress: Progress::default(),
        }))
    };
    let base = origin.base(&file.levels, larger);
    match origin {
        LevelOrigin::Stored(_) => base.map_or(Parts::Tiles, |level| level.parts.clone()),
        LevelOrigin::Cut(index) => derived(base, index, 1, as_stored),
        LevelOrigin::Reduced { from, factor } => derived(base, from, factor, not_tiles),
        LevelOrigin::Whole { from, factor, .. } => base.map_or(Parts::Pixels, |level| {
            // two strips stay cached, beside one that is decoded and the piece
            let effort = Effort::shared(in_rows(level.size)).of_tiles(level.tile.area().saturating_mul(2));
            // pieces, and as many bytes of strips
            let effort = effort.holding(2 * PIECES / pixel_bytes(file).max(1));
            let base = match from {
                Base::File(index) => derived(base, index, factor, as_stored),
                Base::Header(index) => derived(base, index, factor, Some),
            };
            shared(effort, Some(base))
        }),
        LevelOrigin::Ordered(_) => shared(Effort::shared(size.area()), None),
        LevelOrigin::Refused(_) => Parts::Pixels,
    }
}
