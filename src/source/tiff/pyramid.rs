//! Which directories are levels of the first picture.
//!
//! Knows tags of sizes and tiles; what the samples are is `layout`'s business. Directories that are no levels (other
//! pages, thumbnails, masks, whatever is not tiled) are passed over; a chain that cannot be followed is an error.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::source::tiff::Limits;
use crate::source::tiff::ifd::Array;
use crate::source::tiff::ifd::Ifd;
use crate::source::tiff::ifd::Prologue;
use crate::source::tiff::input::Input;
use crate::source::tiff::layout::Compression;
use crate::source::tiff::layout::Layout;
use std::collections::HashSet;

/// The bit of NewSubfileType that says: a transparency mask.
const MASK: u64 = 4;

/// More SubIFDs than this are not looked at.
const MAX_SUBIFDS: u64 = 256;

/// One tiled picture of the file.
#[derive(Debug)]
pub struct Image {
    /// Width and height, not zero.
    pub size: Size,
    /// Of a tile, not zero.
    pub tile: Size,
    /// What a tile holds.
    pub layout: Layout,
    /// Bytes of a tile once no longer coded.
    pub tile_bytes: u64,
    offsets: Array,
    counts: Option<Array>,
}

impl Image {
    /// From a directory. `Error::Unsupported` for what is not served, `Error::Corrupt` for what contradicts itself,
    /// `Error::TooLarge` for tiles beyond the limits.
    fn of(ifd: &Ifd, input: &Input, limits: &Limits) -> Result<Image> {
        let size = size(ifd, input, 256, 257)?.ok_or_else(|| Error::Corrupt("no width or height".into()))?;
        let Some(tile) = self::size(ifd, input, 322, 323)? else {
            return Err(Error::Unsupported("striped TIFF is not served yet".into()));
        };
        let layout = Layout::of(ifd, input)?;
        let tile_bytes = layout.bytes(tile);
        if tile_bytes.max(layout.memory(tile)) > limits.max_tile_bytes {
            return Err(Error::TooLarge(format!(
                "tiles of {}x{} pixels take more than {} bytes",
                tile.w, tile.h, limits.max_tile_bytes
            )));
        }
        if layout.separate {
            return Err(Error::Unsupported(
                "channels in separate planes are not served yet".into(),
            ));
        }
        // Some writers put the tiles' places where those of strips belong.
        let array = |tag, other| Ok::<_, Error>(ifd.array(tag)?.or(ifd.array(other)?));
        let offsets = array(324, 273)?.ok_or_else(|| Error::Corrupt("no tile offsets".into()))?;
        let counts = array(325, 279)?;
        if counts.is_none() && layout.compression != Compression::None {
            return Err(Error::Corrupt("no tile byte counts".into()));
        }
        Ok(Image {
            size,
            tile,
            layout,
            tile_bytes,
            offsets,
            counts,
        })
    }

    /// Where the coded bytes of the tile lie: offset and length; `None` for a tile that was never written.
    /// `Error::Corrupt` when there are none for it in the file, or absurdly many.
    pub fn place(&self, input: &Input, col: u32, row: u32) -> Result<Option<(u64, u64)>> {
        let across = u64::from(self.size.grid(self.tile).w);
        let index = u64::from(row) * across + u64::from(col);
        let at = self.offsets.entry(input, index)?;
        let len = match &self.counts {
            Some(counts) => counts.entry(input, index)?,
            None => self.tile_bytes,
        };
        if at == 0 || len == 0 {
            return Ok(None);
        }
        if self.layout.compression == Compression::None {
            return Ok(Some((at, len.min(self.tile_bytes))));
        }
        // No scheme needs twice the bytes; a small tile may carry a profile or the like.
        if len > self.tile_bytes.saturating_mul(2).saturating_add(1 << 20) {
            return Err(Error::Corrupt(format!(
                "a tile of {} bytes is coded in {len}",
                self.tile_bytes
            )));
        }
        Ok(Some((at, len)))
    }

    /// Whether this is a smaller one of `full`: of the same shape, give or take a pixel for each rounding, with the
    /// same channels.
    fn is_level_of(&self, full: &Image) -> bool {
        self.layout.meaning.colour == full.layout.meaning.colour
            && self.layout.meaning.alpha == full.layout.meaning.alpha
            && self.layout.depth() == full.layout.depth()
            && is_reduced(self.size, full.size)
    }
}

/// Whether `small` is `full` divided by some factor, each side rounded up or down (perhaps several times over).
fn is_reduced(small: Size, full: Size) -> bool {
    if small.w > full.w || small.h > full.h || small == full {
        return false;
    }
    let near = |a: u32, whole: u32, b: u32, other: u32| {
        // b should be other * a / whole; a itself is off by less than a pixel, and so is b.
        let (a, whole, b, other) = (u64::from(a), u64::from(whole), u64::from(b), u64::from(other));
        let low = (other * (a - 1) / whole).saturating_sub(1);
        let high = (other * (a + 1)).div_ceil(whole) + 1;
        (low..=high).contains(&b)
    };
    if full.w >= full.h {
        near(small.w, full.w, small.h, full.h)
    } else {
        near(small.h, full.h, small.w, full.w)
    }
}

/// Two sides from two tags; `None` when one is not there.
fn size(ifd: &Ifd, input: &Input, w: u16, h: u16) -> Result<Option<Size>> {
    let (Some(w), Some(h)) = (ifd.first(input, w)?, ifd.first(input, h)?) else {
        return Ok(None);
    };
    match (u32::try_from(w), u32::try_from(h)) {
        (Ok(w @ 1..), Ok(h @ 1..)) => Ok(Some(Size::new(w, h))),
        _ => Err(Error::Corrupt(format!("a size of {w}x{h}"))),
    }
}

/// The first directory, its picture and the smaller levels of it, the largest first.
pub fn levels(input: &Input, prologue: Prologue, limits: &Limits) -> Result<(Ifd, Vec<Image>)> {
    let mut seen = HashSet::from([prologue.first]);
    let first = Ifd::read(input, prologue, prologue.first)?;
    let full = Image::of(&first, input, limits)?;
    let mut starts = first.numbers(input, 330, MAX_SUBIFDS)?.unwrap_or_default();
    starts.push(first.next);
    let mut images = vec![full];
    for start in starts {
        let mut at = start;
        while at != 0 && seen.len() < limits.max_ifds {
            if !seen.insert(at) {
                return Err(Error::Corrupt(format!("the directory at {at} follows itself")));
            }
            let ifd = Ifd::read(input, prologue, at)?;
            at = ifd.next;
            if ifd.first(input, 254).ok().flatten().unwrap_or(0) & MASK != 0 {
                continue;
            }
            let (Ok(image), Some(full)) = (Image::of(&ifd, input, limits), images.first()) else {
                continue;
            };
            if image.is_level_of(full) && images.iter().all(|other| other.size != image.size) {
                images.push(image);
            }
        }
    }
    images.sort_by_key(|image| std::cmp::Reverse(image.size.area()));
    Ok((first, images))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tiff::build::Build;
    use crate::source::tiff::build::Temp;
    use crate::source::tiff::build::tags;
    use crate::source::tiff::build::with;
    use crate::source::tiff::input::Order;

    fn open(bytes: &[u8]) -> Result<Vec<(u32, u32)>> {
        let input = Temp::new(bytes).input();
        let prologue = Prologue::read(&input)?;
        let (_, images) = levels(&input, prologue, &Limits::default())?;
        Ok(images.iter().map(|image| (image.size.w, image.size.h)).collect())
    }

    fn reduced(small: (u32, u32), full: (u32, u32)) -> bool {
        is_reduced(Size::new(small.0, small.1), Size::new(full.0, full.1))
    }

    #[test]
    fn a_level_is_of_the_same_shape_within_a_pixel_of_rounding() {
        for small in [
            (5000, 3750),
            (2500, 1875),
            (1250, 937),
            (1250, 938),
            (625, 469),
            (312, 234),
            (79, 59),
        ] {
            assert!(reduced(small, (10_000, 7_500)), "{small:?}");
            assert!(reduced((small.1, small.0), (7_500, 10_000)), "{small:?}");
        }
        for small in [
            (10_000, 7_500),
            (5000, 3700),
            (256, 256),
            (7_500, 5_000),
            (10_000, 3_750),
            (20_000, 15_000),
        ] {
            assert!(!reduced(small, (10_000, 7_500)), "{small:?}");
        }
        // Long and thin: the short side stops at one pixel.
        assert!(reduced((5, 1), (10_000, 10)));
        assert!(reduced((1, 1), (10_000, 10)));
        assert!(reduced((u32::MAX / 2, 1), (u32::MAX, 2)));
    }

    #[test]
    fn rounding_over_and_over_is_still_a_level() {
        let mut state = 12345u32;
        for _ in 0..300 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let full = (state >> 12 & 0xffff | 1, state >> 4 & 0x7fff | 1);
            for up in [0, 1] {
                let mut at = full;
                while at != (1, 1) {
                    at = (((at.0 + up) / 2).max(1), ((at.1 + up) / 2).max(1));
                    assert!(at == full || reduced(at, full), "{at:?} of {full:?}");
                }
            }
        }
    }

    #[test]
    fn levels_come_from_the_chain_and_from_subifds_sorted_by_size() {
        for big in [false, true] {
            let mut build = Build::new(Order::Big, big);
            let tile = build.blob(&[0; 256]);
            let places = |n: usize| vec![tile; n];
            let last = build.ifd(&tags((25, 16), 1, 1, places(2)), 0);
            let sub = build.ifd(&tags((50, 32), 1, 1, places(8)), 0);
            let chained = build.ifd(&tags((12, 8), 1, 1, places(1)), 0);
            let other = build.ifd(&tags((6, 4), 1, 1, places(1)), chained);
            let more = [(330, if big { 18 } else { 13 }, vec![other, sub])];
            let first = build.ifd(&with(tags((100, 64), 1, 1, places(28)), &more), last);
            let sizes = open(&build.finish(first)).unwrap();
            assert_eq!(sizes, [(100, 64), (50, 32), (25, 16), (12, 8), (6, 4)]);
        }
    }

    #[test]
    fn other_pages_masks_thumbnails_and_strips_are_passed_over() {
        let mut build = Build::new(Order::Little, false);
        let grey = |size| tags(size, 1, 1, vec![16; 28]);
        let odd = [
            tags((50, 32), 3, 2, vec![16; 8]),
            with(grey((50, 32)), &[(254, 4, vec![5])]),
            with(grey((50, 32)), &[(258, 3, vec![1])]),
            with(grey((50, 32)), &[(256, 3, vec![0])]),
            with(grey((50, 32)), &[(322, 3, vec![])]),
            grey((64, 64)),
            grey((100, 64)),
            grey((200, 128)),
        ];
        let good = build.ifd(&with(grey((50, 32)), &[(254, 4, vec![1])]), 0);
        let next = odd.iter().fold(good, |next, tags| build.ifd(tags, next));
        let first = build.ifd(&grey((100, 64)), next);
        assert_eq!(open(&build.finish(first)).unwrap(), [(100, 64), (50, 32)]);
    }

    #[test]
    fn a_chain_that_bites_its_tail_is_corrupt() {
        let grey = || tags((16, 16), 1, 1, vec![16]);
        let mut build = Build::new(Order::Little, false);
        let first = build.ifd(&grey(), 16);
        assert_eq!(first, 16);
        assert!(matches!(open(&build.finish(first)), Err(Error::Corrupt(_))));
        let mut build = Build::new(Order::Little, false);
        let second = build.ifd(&grey(), 16);
        let first = build.ifd(&with(grey(), &[(330, 4, vec![second])]), 0);
        assert!(matches!(open(&build.finish(first)), Err(Error::Corrupt(_))));
    }

    #[test]
    fn a_first_picture_in_strips_is_named() {
        let mut build = Build::new(Order::Little, false);
        let first = build.ifd(&with(tags((9, 9), 1, 1, vec![16]), &[(322, 3, vec![])]), 0);
        assert!(
            matches!(open(&build.finish(first)), Err(Error::Unsupported(text)) if text == "striped TIFF is not served yet")
        );
    }

    #[test]
    fn sizes_beyond_reason_are_errors() {
        let open = |more: &[_]| {
            let mut build = Build::new(Order::Little, true);
            let first = build.ifd(&with(tags((16, 16), 1, 1, vec![16]), more), 0);
            open(&build.finish(first))
        };
        assert!(open(&[]).is_ok());
        for tag in [256, 257, 322, 323] {
            for value in [0, 1 << 32, u64::MAX] {
                assert!(
                    matches!(open(&[(tag, 16, vec![value])]), Err(Error::Corrupt(_))),
                    "{tag} {value}"
                );
            }
        }
        let huge = vec![u32::MAX.into()];
        assert!(matches!(
            open(&[(322, 4, huge.clone()), (323, 4, huge)]),
            Err(Error::TooLarge(_))
        ));
        assert!(matches!(open(&[(324, 4, vec![])]), Err(Error::Corrupt(_))));
        assert!(matches!(
            open(&[(325, 4, vec![]), (259, 3, vec![8])]),
            Err(Error::Corrupt(_))
        ));
    }
}
