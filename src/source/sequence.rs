//! Sequences: many files under one identifier, distinguished by a horizontal and a vertical angle in their names.

use crate::error::Result;
use crate::raster::Format;
use crate::source::Header;
use crate::source::Set;
use crate::source::Source;
use crate::source::Take;
use crate::source::Tile;
use crate::source::Window;
use crate::source::cache::TileCache;

/// The default view of a sequence: horizontal and vertical angle.
pub const FIRST: [u32; 2] = [0, 90];

/// Joins an identifier and the requested view (SDS). Identifiers never contain NUL.
pub fn with_view(id: &str, [horizontal, vertical]: [u32; 2]) -> String {
    format!("{id}\0{horizontal},{vertical}")
}

/// Splits a name into the identifier and the requested view.
pub fn split_view(name: &str) -> (&str, Option<[u32; 2]>) {
    let Some((id, view)) = name.split_once('\0') else {
        return (name, None);
    };
    let angles = view.split_once(',').and_then(|(horizontal, vertical)| {
        let angle = |digits: &str| digits.parse().ok();
        Some([angle(horizontal)?, angle(vertical)?])
    });
    // an invalid view leaves the name whole, which no identifier matches
    if angles.is_some() {
        (id, angles)
    } else {
        (name, None)
    }
}

/// The angles in a file name `BASE` `PATTERN` `HHH_VVV.EXT`, each of three digits or more; `None` for other names.
pub fn angles(name: &str, start: &str) -> Option<[u32; 2]> {
    let (stem, _) = name.strip_prefix(start)?.split_once('.')?;
    let (horizontal, vertical) = stem.split_once('_')?;
    let angle = |digits: &str| {
        let whole = digits.len() >= 3 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse().ok().filter(|_| whole)
    };
    Some([angle(horizontal)?, angle(vertical)?])
}

/// The files of a sequence.
#[derive(Debug, Default)]
pub struct Sequence {
    views: Vec<([u32; 2], String)>,
}

impl Sequence {
    /// The files among `names` that begin with `start`; `None` if there are none.
    pub fn of(names: impl Iterator<Item = String>, start: &str) -> Option<Sequence> {
        let mut views: Vec<_> = names
            .filter_map(|name| Some((angles(&name, start)?, name)))
            .collect();
        views.sort();
        (!views.is_empty()).then_some(Sequence { views })
    }

    /// The file of this view; if missing, that of the default view, or else the first.
    pub fn file(&self, view: Option<[u32; 2]>) -> Option<&str> {
        let find = |wanted| self.views.iter().find(|(view, _)| *view == wanted);
        let found = match view {
            Some(view) => find(view),
            None => find(FIRST).or(self.views.first()),
        };
        found.map(|(_, name)| name.as_str())
    }

    /// The horizontal angles at the default vertical one, and vice versa; all angles where there are none.
    pub fn set(&self) -> Set {
        let each = |this: fn(&[u32; 2]) -> u32, other: fn(&[u32; 2]) -> u32| {
            let usual = |view: &[u32; 2]| other(view) == other(&FIRST);
            let some = self.views.iter().any(|(view, _)| usual(view));
            let views = self.views.iter().map(|(view, _)| view);
            let mut angles: Vec<u32> = views.filter(|view| !some || usual(view)).map(this).collect();
            angles.sort_unstable();
            angles.dedup();
            angles
        };
        Set {
            horizontal: each(|view| view[0], |view| view[1]),
            vertical: each(|view| view[1], |view| view[0]),
            ..Set::default()
        }
    }
}

/// A picture of a set.
pub struct Member {
    inner: Box<dyn Source>,
    header: Header,
}

impl Member {
    /// Wraps a source as a member of `set`.
    pub fn over(inner: Box<dyn Source>, set: Set) -> Box<dyn Source> {
        let header = Header {
            set,
            ..inner.header().clone()
        };
        Box::new(Member { inner, header })
    }
}

impl Source for Member {
    fn header(&self) -> &Header {
        &self.header
    }

    fn read(&self, window: Window, keep: &dyn TileCache, take: &mut Take) -> Result<()> {
        self.inner.read(window, keep, take)
    }

    fn coded(&self, tile: Tile, format: Format) -> Result<Option<Vec<u8>>> {
        self.inner.coded(tile, format)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_two_angles_of_three_digits_or_more() {
        let start = "vase_pyr_";
        assert_eq!(angles("vase_pyr_010_090.tif", start), Some([10, 90]));
        assert_eq!(angles("vase_pyr_1200_000.tif", start), Some([1200, 0]));
        for other in [
            "vase_pyr_10_090.tif",
            "vase_pyr_010.tif",
            "vase_pyr_010_090",
            "vase_pyr_+10_090.tif",
            "vases_pyr_010_090.tif",
        ] {
            assert_eq!(angles(other, start), None, "{other}");
        }
    }

    #[test]
    fn names_split_into_identifier_and_view() {
        assert_eq!(
            split_view(&with_view("a/b.tif", [10, 90])),
            ("a/b.tif", Some([10, 90]))
        );
        assert_eq!(split_view("a.tif"), ("a.tif", None));
        assert_eq!(split_view("a\0b"), ("a\0b", None));
    }

    #[test]
    fn views_are_found_and_angles_listed() {
        let names = ["a_020_090.tif", "a_000_045.tif", "a_000_090.tif", "b_000_090.tif"];
        let sequence = Sequence::of(names.iter().map(|name| name.to_string()), "a_").unwrap();
        assert_eq!(sequence.file(None), Some("a_000_090.tif"));
        assert_eq!(sequence.file(Some([20, 90])), Some("a_020_090.tif"));
        assert_eq!(sequence.file(Some([20, 45])), None);
        assert_eq!(sequence.set().horizontal, [0, 20]);
        assert_eq!(sequence.set().vertical, [45, 90]);
        assert!(Sequence::of(names.iter().map(|name| name.to_string()), "c_").is_none());
    }
}
