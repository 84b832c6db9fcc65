//! Determines which directories are pages, and which are levels of them.
//!
//! Thumbnails are skipped; a mask belongs to the preceding picture of its size; a chain that leaves the file is an
//! error, one that loops ends there.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Colour;
use crate::source::Page;
use crate::source::tiff::Limits;
use crate::source::tiff::ifd::Ifd;
use crate::source::tiff::ifd::Prologue;
use crate::source::tiff::image::Image;
use crate::source::tiff::image::is_reduced;
use crate::source::tiff::input::Input;
use crate::source::tiff::metadata;
use crate::source::tiff::writer;
use crate::source::tiff::writer::Software;
use std::collections::HashSet;

/// NewSubfileType bit: a reduced-resolution version of another picture.
const REDUCED: u64 = 1;

/// NewSubfileType bit: a transparency mask.
const MASK: u64 = 4;

/// Maximum number of bytes of the tables and palettes of all directories.
const MAX_HELD: usize = 64 << 20;

/// Bytes announced from the start of a directory: in many files, values and tile offsets follow it.
const DIRECTORY: u64 = 64 << 10;

/// Maximum number of bytes announced at the end of the file.
const MAX_END: u64 = 4 << 20;

/// Maximum number of SubIFDs that are read.
const MAX_SUBIFDS: u64 = 256;

/// A page of a file, with the list of all pages.
pub struct Pages {
    /// Its directory.
    pub first: Ifd,
    /// Its levels, the largest first.
    pub images: Vec<Image>,
    /// All pages of the file.
    pub pages: Vec<Page>,
}

/// A directory of the main chain that may be shown as a picture, with its levels and masks.
struct Found {
    ifd: Ifd,
    /// Its levels, full size first; an error if it is not supported.
    levels: Result<Vec<Image>>,
    masks: Vec<Image>,
    page: Page,
    /// Marked as a reduced-resolution version.
    reduced: bool,
    /// Not the scanned object, but the label or the like.
    auxiliary: bool,
}

impl Found {
    fn full(&self) -> Option<&Image> {
        self.levels.as_ref().ok().and_then(|levels| levels.first())
    }

    /// Pixels of the picture; 0 if it is not supported.
    fn area(&self) -> u64 {
        self.full().map_or(0, |full| full.size.area())
    }
}

/// Finds a page and its smaller levels. `Error::Missing` if the file has no such page.
///
/// Pages are in file order. If the file starts with a smaller version of another picture, and in the files of slide
/// scanners, the largest picture comes first.
pub fn page(input: &Input, prologue: Prologue, wanted: usize, limits: &Limits) -> Result<Pages> {
    let mut walk = IfdWalk {
        input,
        prologue,
        limits,
        seen: HashSet::new(),
    };
    let (mut all, more) = walk.chain()?;
    let writer = all
        .first()
        .map_or(Software::Other, |first| Software::of(&first.ifd, input));
    let begins_reduced = all.first().is_some_and(|first| first.reduced);
    if begins_reduced {
        all.extend(walk.full_of(&all, writer)?);
    }
    if begins_reduced || writer.is_of_slides() {
        first_the_largest(&mut all);
    }
    let pages = all.iter().map(|found| found.page.clone()).collect();
    let count = all.len();
    let Some(found) = (wanted < count).then(|| all.swap_remove(wanted)) else {
        return Err(if more {
            let most = limits.ifds;
            Error::Limit(format!(
                "page {wanted} is beyond the {most} directories of LIMIT_IFDS"
            ))
        } else {
            Error::Missing(format!("the file has no page {wanted}"))
        });
    };
    let mut levels = found.levels?;
    let mut masks = found.masks;
    let starts = found.ifd.numbers(input, 330, MAX_SUBIFDS)?.unwrap_or_default();
    input.prefetch_at(starts.iter().copied(), DIRECTORY)?;
    for start in starts {
        walk.below(start, writer, &mut levels, &mut masks)?;
    }
    levels.sort_by_key(|image| std::cmp::Reverse(image.size.area()));
    Ok(Pages {
        first: found.ifd,
        images: masked(levels, masks),
        pages,
    })
}

/// A walk over the directories of a file.
struct IfdWalk<'a> {
    input: &'a Input,
    prologue: Prologue,
    limits: &'a Limits,
    /// Offsets of the directories that were read.
    seen: HashSet<u64>,
}

impl IfdWalk<'_> {
    /// Whether to read a directory at `at`: the chain continues, does not loop, and is not too long.
    fn is_next(&mut self, at: u64) -> bool {
        at != 0 && self.seen.len() < self.limits.ifds && self.seen.insert(at)
    }

    fn image(&self, ifd: &Ifd, writer: Software) -> Result<Image> {
        Image::of(ifd, self.input, self.limits, writer)
    }

    /// NewSubfileType.
    fn flags(&self, ifd: &Ifd) -> u64 {
        ifd.first(self.input, 254).ok().flatten().unwrap_or(0)
    }

    /// Announces the end of a file whose first directory follows its picture: the directories of all levels but the
    /// first two are in the last sixteenth, or nearly twice as much if small levels compress worse.
    fn announce_end(&self) -> Result<()> {
        let (first, len) = (self.prologue.first, self.input.len());
        let end = (len / 8).clamp(4 * DIRECTORY, MAX_END);
        if first <= end {
            return Ok(());
        }
        let end = (len.saturating_sub(end)..).step_by(usize::try_from(DIRECTORY).unwrap_or(1));
        let end = end.take_while(|at| *at < len);
        self.input
            .prefetch_at(std::iter::once(first).chain(end), DIRECTORY)
    }

    /// The pictures of the main chain, each with its levels and masks; and whether there are more directories than
    /// are read.
    fn chain(&mut self) -> Result<(Vec<Found>, bool)> {
        self.announce_end()?;
        let input = self.input;
        let mut all: Vec<Found> = Vec::new();
        let mut of_first = None;
        let mut names: Vec<(usize, String)> = Vec::new();
        let mut at = self.prologue.first;
        let mut held = 0;
        for number in 0.. {
            if !self.is_next(at) {
                break;
            }
            input.prefetch_at([at], DIRECTORY)?;
            let ifd = Ifd::read(input, self.prologue, at)?;
            at = ifd.next;
            let own = Software::of(&ifd, input);
            if of_first.is_none() && own == Software::Leica {
                names = writer::leica(&ifd, input);
            }
            let of_first = *of_first.get_or_insert(own);
            let writer = if own == Software::Other { of_first } else { own };
            let image = self.image(&ifd, writer);
            held += image.as_ref().map_or(0, |image| image.layout.held());
            if held > MAX_HELD {
                return Err(Error::TooLarge("tables and palettes of all directories".into()));
            }
            let auxiliary = writer.auxiliary(&ifd, input).map(String::from).or_else(|| {
                let name = names.iter().find(|(index, _)| *index == number);
                name.map(|(_, name)| name.clone())
            });
            self.add(&mut all, ifd, image, writer, auxiliary);
        }
        Ok((all, at != 0 && self.seen.len() >= self.limits.ifds))
    }

    /// Adds a directory of the main chain to the preceding picture if it belongs to it, otherwise as a new picture;
    /// `auxiliary` marks one that is not the scanned object.
    fn add(
        &self,
        all: &mut Vec<Found>,
        ifd: Ifd,
        image: Result<Image>,
        writer: Software,
        auxiliary: Option<String>,
    ) {
        let flags = self.flags(&ifd);
        let image = match (all.last_mut(), image) {
            (Some(last), Ok(image)) if auxiliary.is_none() || auxiliary == last.page.name => {
                let Some(image) = last.takes(image, flags, writer) else {
                    return;
                };
                Ok(image)
            }
            (_, image) => image,
        };
        let reduced = flags & REDUCED != 0;
        let begun = all.iter().any(|found| !found.reduced);
        // masks alone, and thumbnails of the preceding picture, are not pages
        if !all.is_empty() && (flags & MASK != 0 || reduced && begun && auxiliary.is_none()) {
            return;
        }
        let mut page = metadata::page(&ifd, self.input);
        let is_auxiliary = auxiliary.is_some();
        page.name = page.name.or(auxiliary);
        all.push(Found {
            ifd,
            levels: image.map(|image| vec![image]),
            masks: Vec::new(),
            page,
            reduced,
            auxiliary: is_auxiliary,
        });
    }

    /// The largest full-size picture below the first directory, which shows it smaller.
    fn full_of(&mut self, all: &[Found], writer: Software) -> Result<Option<Found>> {
        let Some(first) = all.first() else {
            return Ok(None);
        };
        let mut best: Option<Found> = None;
        let starts = first.ifd.numbers(self.input, 330, MAX_SUBIFDS)?;
        for at in starts.unwrap_or_default() {
            if !self.is_next(at) {
                continue;
            }
            let ifd = Ifd::read(self.input, self.prologue, at)?;
            let Ok(image) = self.image(&ifd, writer) else {
                continue;
            };
            let larger = image.size.area() > best.as_ref().map_or(first.area(), Found::area);
            if self.flags(&ifd) & (REDUCED | MASK) == 0 && larger {
                best = Some(Found {
                    page: metadata::page(&ifd, self.input),
                    ifd,
                    levels: Ok(vec![image]),
                    masks: Vec::new(),
                    reduced: false,
                    auxiliary: false,
                });
            }
        }
        Ok(best)
    }

    /// Adds the levels and masks of a chain of SubIFDs.
    fn below(
        &mut self,
        start: u64,
        writer: Software,
        levels: &mut Vec<Image>,
        masks: &mut Vec<Image>,
    ) -> Result<()> {
        let mut at = start;
        while self.is_next(at) {
            self.input.prefetch_at([at], DIRECTORY)?;
            let ifd = Ifd::read(self.input, self.prologue, at)?;
            at = ifd.next;
            let (Ok(image), Some(full)) = (self.image(&ifd, writer), levels.first()) else {
                continue;
            };
            if self.flags(&ifd) & MASK != 0 {
                masks.push(image);
            } else if image.is_level_of(full) {
                add(levels, image);
            }
        }
        Ok(())
    }
}

impl Found {
    /// Adds the picture of a following directory, if it is a level, a mask or a thumbnail of this one; returns it
    /// otherwise.
    fn takes(&mut self, mut image: Image, flags: u64, writer: Software) -> Option<Image> {
        let Ok(levels) = &mut self.levels else {
            return Some(image);
        };
        let (Some(full), Some(last)) = (levels.first(), levels.last().map(|level| level.size)) else {
            return Some(image);
        };
        if flags & MASK != 0 {
            self.masks.push(image);
            return None;
        }
        let may_be_padded = flags & REDUCED != 0 || writer.is_of_slides();
        if let Some(size) = image.padded_level_of(full, last).filter(|_| may_be_padded) {
            image.size = size;
            add(levels, image);
            return None;
        }
        if image.is_level_of(full) {
            add(levels, image);
            return None;
        }
        // a thumbnail of a tiled picture is in strips, marked or not
        let thumbnail = image.strips && !full.strips && is_reduced(image.size, full.size);
        (!thumbnail).then_some(image)
    }
}

/// Moves the largest full-size picture to the front; smaller versions before it become its levels.
fn first_the_largest(all: &mut Vec<Found>) {
    let rank = |found: &Found| (found.area() > 0, !found.auxiliary && !found.reduced, found.area());
    // of equal ones, the first
    let best = (0..all.len()).rev().max_by_key(|index| all.get(*index).map(rank));
    let Some(best) = best else { return };
    let mut main = all.remove(best);
    if main.reduced {
        all.insert(0, main);
        return;
    }
    let others = std::mem::take(all);
    for found in others {
        if !found.reduced || found.auxiliary {
            all.push(found);
        } else if let (Ok(mut levels), Ok(own)) = (found.levels, &mut main.levels) {
            levels.retain(|level| own.first().is_some_and(|full| level.is_level_of(full)));
            levels.into_iter().for_each(|level| add(own, level));
        }
    }
    all.insert(0, main);
}

/// The levels with their masks, if the first has one: levels without a mask are then dropped.
fn masked(levels: Vec<Image>, masks: Vec<Image>) -> Vec<Image> {
    let mut masks: Vec<Image> = (masks.into_iter())
        .filter(|mask| mask.layout.channels() == 1 && mask.layout.meaning.colour == Colour::Grey)
        .collect();
    let mut take = |size: Size| {
        let place = masks.iter().position(|mask| mask.size == size)?;
        Some(Box::new(masks.swap_remove(place)))
    };
    let mut levels = levels.into_iter();
    let Some(mut full) = levels.next() else {
        return Vec::new();
    };
    full.mask = full.takes_mask().then(|| take(full.size)).flatten();
    let is_masked = full.mask.is_some();
    let rest = levels.filter_map(|mut level| {
        level.mask = is_masked.then(|| take(level.size)).flatten();
        (level.mask.is_some() == is_masked).then_some(level)
    });
    std::iter::once(full).chain(rest).collect()
}

/// Adds a level unless one of its size exists.
fn add(levels: &mut Vec<Image>, image: Image) {
    if levels.iter().all(|other| other.size != image.size) {
        levels.push(image);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tiff::build::Build;
    use crate::source::tiff::build::FieldEntry;
    use crate::source::tiff::build::Temp;
    use crate::source::tiff::build::tags;
    use crate::source::tiff::build::with;
    use crate::source::tiff::input::ByteOrder;

    fn open(bytes: &[u8]) -> Result<Vec<(u32, u32)>> {
        let input = Temp::new(bytes).input();
        let prologue = Prologue::read(&input)?;
        let found = page(&input, prologue, 0, &Limits::default())?;
        Ok(found
            .images
            .iter()
            .map(|image| (image.size.w, image.size.h))
            .collect())
    }

    #[test]
    fn levels_come_from_the_chain_and_from_subifds_sorted_by_size() {
        for big in [false, true] {
            let mut build = Build::new(ByteOrder::Big, big);
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

    /// The same picture in strips of 16 rows.
    fn strips(tags: Vec<FieldEntry>) -> Vec<FieldEntry> {
        let places = tags.iter().find(|(tag, ..)| *tag == 324).unwrap().2.clone();
        let counts = tags.iter().find(|(tag, ..)| *tag == 325).unwrap().2.clone();
        let none = |tag| (tag, 3, vec![]);
        let more = [none(322), none(323), none(324), none(325)];
        with(
            with(tags, &more),
            &[(273, 4, places), (278, 3, vec![16]), (279, 4, counts)],
        )
    }

    #[test]
    fn a_thousand_pages_are_found_and_one_beyond_the_limit_is_reported() {
        let mut build = Build::new(ByteOrder::Little, false);
        let grey = tags((100, 64), 1, 1, vec![16; 28]);
        let first = (0..1100).fold(0, |next, _| build.ifd(&grey, next));
        let input = Temp::new(&build.finish(first)).input();
        let prologue = Prologue::read(&input).unwrap();
        let found = |wanted, ifds| {
            let limits = Limits {
                ifds,
                ..Limits::default()
            };
            page(&input, prologue, wanted, &limits).map(|found| found.pages.len())
        };
        let usual = Limits::default().ifds;
        assert_eq!(found(1099, usual).unwrap(), 1100);
        assert!(matches!(found(1100, usual), Err(Error::Missing(_))));
        assert_eq!(found(4, 5).unwrap(), 5);
        let Err(Error::Limit(said)) = found(5, 5) else {
            panic!("a page beyond the limit is not simply missing");
        };
        assert!(
            said.contains("page 5 is beyond the 5 directories of LIMIT_IFDS"),
            "{said}"
        );
    }

    #[test]
    fn other_pages_masks_and_thumbnails_are_not_levels() {
        let mut build = Build::new(ByteOrder::Little, false);
        let grey = |size| tags(size, 1, 1, vec![16; 28]);
        let odd = [
            strips(grey((25, 16))),
            tags((50, 32), 3, 2, vec![16; 8]),
            with(grey((50, 32)), &[(254, 4, vec![5])]),
            with(grey((50, 32)), &[(259, 3, vec![999])]),
            with(grey((50, 32)), &[(256, 3, vec![0])]),
            with(grey((64, 64)), &[(254, 4, vec![1])]),
            grey((100, 64)),
            grey((200, 128)),
        ];
        let last = odd.iter().rev().fold(0, |next, tags| build.ifd(tags, next));
        let next = build.ifd(&with(grey((50, 32)), &[(254, 4, vec![1])]), last);
        let first = build.ifd(&grey((100, 64)), next);
        let bytes = build.finish(first);
        assert_eq!(open(&bytes).unwrap(), [(100, 64), (50, 32)]);
        let input = Temp::new(&bytes).input();
        let prologue = Prologue::read(&input).unwrap();
        let sizes = |wanted| {
            let found = page(&input, prologue, wanted, &Limits::default())?;
            let sizes: Vec<_> = found
                .images
                .iter()
                .map(|image| (image.size.w, image.size.h))
                .collect();
            Ok::<_, Error>((found.pages.len(), sizes))
        };
        // the colour page, the two broken ones, and the last two, with their levels
        assert_eq!(sizes(1).unwrap(), (6, vec![(50, 32)]));
        assert!(matches!(sizes(2), Err(Error::Unsupported(_))));
        assert_eq!(sizes(5).unwrap(), (6, vec![(200, 128)]));
        assert!(matches!(sizes(6), Err(Error::Missing(_))));
    }

    #[test]
    fn pages_have_levels_of_their_own_and_names() {
        let mut build = Build::new(ByteOrder::Little, false);
        let grey = |size| tags(size, 1, 1, vec![16; 28]);
        let name = |name: &[u8]| (285, 2, name.iter().map(|b| u64::from(*b)).collect::<Vec<_>>());
        let small = build.ifd(&grey((50, 32)), 0);
        let sub = build.ifd(&grey((48, 32)), 0);
        let second = with(
            grey((96, 64)),
            &[
                name(b"back"),
                (330, 4, vec![sub]),
                (37439, 12, vec![2.5f64.to_bits()]),
            ],
        );
        let second = build.ifd(&second, 0);
        let first = with(grey((100, 64)), &[name(b"front\0"), (330, 4, vec![small])]);
        let first = build.ifd(&first, second);
        let input = Temp::new(&build.finish(first)).input();
        let prologue = Prologue::read(&input).unwrap();
        for (wanted, sizes) in [(0, [(100, 64), (50, 32)]), (1, [(96, 64), (48, 32)])] {
            let found = page(&input, prologue, wanted, &Limits::default()).unwrap();
            let got: Vec<_> = found
                .images
                .iter()
                .map(|image| (image.size.w, image.size.h))
                .collect();
            assert_eq!(got, sizes);
            let names: Vec<_> = found.pages.iter().map(|page| page.name.as_deref()).collect();
            assert_eq!(names, [Some("front"), Some("back")]);
            let scales: Vec<_> = found.pages.iter().map(|page| page.scale).collect();
            assert_eq!(scales, [None, Some(2.5)]);
        }
    }

    #[test]
    fn a_looping_chain_ends_there() {
        let grey = || tags((16, 16), 1, 1, vec![16]);
        let mut build = Build::new(ByteOrder::Little, false);
        let first = build.ifd(&grey(), 16);
        assert_eq!(first, 16);
        assert_eq!(open(&build.finish(first)).unwrap(), [(16, 16)]);
        let mut build = Build::new(ByteOrder::Little, false);
        let second = build.ifd(&grey(), 16);
        let first = build.ifd(&with(grey(), &[(330, 4, vec![second])]), 0);
        assert_eq!(open(&build.finish(first)).unwrap(), [(16, 16)]);
    }

    #[test]
    fn absurd_sizes_are_errors() {
        let open = |more: &[_]| {
            let mut build = Build::new(ByteOrder::Little, true);
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
            Err(Error::Limit(_))
        ));
        assert!(matches!(open(&[(324, 4, vec![])]), Err(Error::Corrupt(_))));
        assert!(matches!(
            open(&[(325, 4, vec![]), (259, 3, vec![8])]),
            Err(Error::Corrupt(_))
        ));
    }
}
