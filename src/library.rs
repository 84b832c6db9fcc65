//! From an identifier to an open source: where images lie, and which of them are open.
//!
//! A file is opened once and kept; every request compares its time, length and inode with those of the open file.
//! Knows no protocol. Trusts nobody's spelling of a path.

use crate::error::Error;
use crate::error::Result;
use crate::plan::Identity;
use crate::source::Source;
use crate::source::Version;
use crate::source::jp2;
use crate::source::jp2::Jp2;
use crate::source::jpeg;
use crate::source::made::Budget;
use crate::source::made::Grid;
use crate::source::made::Made;
use crate::source::png;
use crate::source::tiff;
use crate::source::tiff::Tiff;
use crate::source::webp;
use quick_cache::sync::Cache;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::UNIX_EPOCH;

/// An open image.
pub struct Opened {
    /// Which image, in which version.
    pub identity: Identity,
    /// The `Last-Modified` of everything made from it.
    pub last_modified: String,
    /// Its pyramid.
    pub source: Box<dyn Source>,
}

/// Where images lie.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    /// Put in front of every identifier by plain concatenation.
    pub prefix: String,
    /// Put behind.
    pub suffix: String,
    /// Whether a link may lead out of the prefix.
    pub follow_symlinks: bool,
    /// What made levels may take.
    pub budget: Budget,
    /// How JPEG 2000 is read.
    pub jp2: jp2::Options,
}

/// All images.
pub struct Library {
    shelf: Shelf,
    /// `None` remembers nothing.
    open: Option<Cache<Arc<str>, Arc<Opened>>>,
    fixed: HashMap<String, Arc<Opened>>,
}

impl Library {
    /// A library that keeps at most `capacity` images open.
    pub fn new(shelf: Shelf, capacity: usize) -> Self {
        Library {
            shelf,
            open: (capacity > 0).then(|| Cache::new(capacity)),
            fixed: HashMap::new(),
        }
    }

    /// Puts an image without a file under an identifier.
    pub fn insert(&mut self, id: &str, source: impl Source + 'static) {
        self.fixed
            .insert(id.into(), Arc::new(opened(id, Box::new(source))));
    }

    /// The image if it is open and its file has not changed. Costs one `stat`, never reads.
    pub fn known(&self, id: &str) -> Result<Option<Arc<Opened>>> {
        if let Some(fixed) = self.fixed.get(id) {
            return Ok(Some(fixed.clone()));
        }
        let Some(opened) = self.open.as_ref().and_then(|open| open.get(id)) else {
            return Ok(None);
        };
        let now = fs::metadata(self.path(id)?).map_err(|_| missing(id))?;
        Ok((Version::of(&now) == opened.identity.version).then_some(opened))
    }

    /// The image, opened if need be.
    pub fn open(&self, id: &str) -> Result<Arc<Opened>> {
        if let Some(known) = self.known(id)? {
            return Ok(known);
        }
        let path = self.path(id)?;
        let opened = Arc::new(opened(id, self.read(&path, id)?));
        if let Some(open) = &self.open {
            open.insert(id.into(), opened.clone());
        }
        Ok(opened)
    }

    /// Opens a file by what its first bytes say.
    fn read(&self, path: &Path, id: &str) -> Result<Box<dyn Source>> {
        // asked before it is opened: opening a pipe would wait for whoever writes to it
        if !fs::metadata(path).map_err(|_| missing(id))?.is_file() {
            return Err(missing(id));
        }
        let file = File::open(path).map_err(|_| missing(id))?;
        let mut start = [0; 12];
        let n = file.read_at(&mut start, 0)?;
        match start.get(..n).unwrap_or_default() {
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => {
                let tiff = Tiff::open(file, &tiff::Limits::default())?;
                let grids = tiff.grids();
                Ok(Made::over(Box::new(tiff), &grids, &self.shelf.budget))
            }
            [0xFF, 0xD8, 0xFF, ..] => {
                let (jpeg, grid, _orientation) = jpeg::open(file)?;
                Ok(self.made(jpeg, grid))
            }
            [0x89, b'P', b'N', b'G', ..] => Ok(self.made(Box::new(png::open(file)?), Grid::Strips)),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P'] => {
                Ok(self.made(Box::new(webp::open(file)?), Grid::Strips))
            }
            [0, 0, 0, 12, b'j', b'P', b' ', b' ', ..] | [0xFF, 0x4F, 0xFF, 0x51, ..] => {
                let jp2 = Jp2::open(file, self.shelf.jp2)?;
                let grids = vec![Grid::Strips; jp2.header().levels.len()];
                Ok(Made::over(Box::new(jp2), &grids, &self.shelf.budget))
            }
            _ => Err(Error::Missing(format!("{} is not an image", shown(id)))),
        }
    }

    /// The source with all levels, where those that it has lie alike in the file.
    fn made(&self, source: Box<dyn Source>, grid: Grid) -> Box<dyn Source> {
        let grids = vec![grid; source.header().levels.len()];
        Made::over(source, &grids, &self.shelf.budget)
    }

    /// Forgets every open image.
    pub fn clear(&self) {
        if let Some(open) = &self.open {
            open.clear();
        }
    }

    /// The file of an identifier: a regular file, under the prefix.
    fn path(&self, id: &str) -> Result<PathBuf> {
        let climbs = id.split('/').any(|part| part == "..");
        if id.is_empty() || climbs || id.contains('\0') {
            return Err(missing(id));
        }
        let path = PathBuf::from(format!("{}{id}{}", self.shelf.prefix, self.shelf.suffix));
        if self.shelf.follow_symlinks || self.shelf.prefix.is_empty() {
            return Ok(path);
        }
        let real = fs::canonicalize(&path).map_err(|_| missing(id))?;
        let root = fs::canonicalize(directory(&self.shelf.prefix)).map_err(|_| missing(id))?;
        if real.starts_with(root) {
            Ok(path)
        } else {
            Err(missing(id))
        }
    }
}

/// The directory that a prefix names: all of it up to the last slash.
fn directory(prefix: &str) -> &Path {
    let bytes = prefix.as_bytes();
    let end = bytes
        .iter()
        .rposition(|&b| b == b'/')
        .map_or(0, |slash| slash + 1);
    match bytes.get(..end) {
        Some(b"") | None => Path::new("."),
        Some(directory) => Path::new(OsStr::from_bytes(directory)),
    }
}

fn missing(id: &str) -> Error {
    Error::Missing(format!("no image {}", shown(id)))
}

/// An identifier as it may stand in one line of an answer.
fn shown(id: &str) -> String {
    let text: String = id
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(200)
        .collect();
    format!("\"{text}\"")
}

fn opened(id: &str, source: Box<dyn Source>) -> Opened {
    let version = source.header().version;
    let seconds = u64::try_from(version.mtime_ns / 1_000_000_000).unwrap_or(0);
    // httpdate knows years up to 9999 only
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(253_402_300_799));
    let identity = Identity {
        name: id.into(),
        version,
    };
    Opened {
        identity,
        last_modified: httpdate::fmt_http_date(time),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Size;
    use crate::source::synthetic::Synthetic;

    fn shelf(prefix: &Path, follow_symlinks: bool) -> Shelf {
        Shelf {
            prefix: format!("{}/", prefix.display()),
            suffix: String::new(),
            follow_symlinks,
            ..Shelf::default()
        }
    }

    #[test]
    fn no_spelling_leads_out_of_the_prefix() {
        let library = Library::new(shelf(Path::new("/usr"), true), 10);
        for id in [
            "../etc/passwd",
            "a/../../etc/passwd",
            "..",
            "",
            "a\0b",
            "/../etc/passwd",
        ] {
            assert!(matches!(library.open(id), Err(Error::Missing(_))), "{id}");
        }
    }

    #[test]
    fn a_link_leads_out_only_when_it_may() {
        let place = std::env::temp_dir().join(format!("iipsrv-links-{}", std::process::id()));
        let inside = place.join("inside");
        fs::create_dir_all(&inside).unwrap();
        fs::write(place.join("outside.txt"), "not an image").unwrap();
        fs::write(inside.join("own.txt"), "not an image").unwrap();
        std::os::unix::fs::symlink("../outside.txt", inside.join("link.txt")).unwrap();
        let message = |follow, id| {
            Library::new(shelf(&inside, follow), 10)
                .open(id)
                .err()
                .unwrap()
                .to_string()
        };
        assert_eq!(message(true, "link.txt"), "\"link.txt\" is not an image");
        assert_eq!(message(false, "link.txt"), "no image \"link.txt\"");
        assert_eq!(message(false, "own.txt"), "\"own.txt\" is not an image");
        fs::remove_dir_all(place).unwrap();
    }

    #[test]
    fn the_message_names_the_identifier_and_no_path() {
        let library = Library::new(shelf(Path::new("/usr/share"), true), 10);
        let error = library.open("nope\n.tif").err().unwrap();
        assert_eq!(error.public(), "no image \"nope?.tif\"");
    }

    #[test]
    fn a_directory_is_no_image() {
        let library = Library::new(shelf(Path::new("/"), true), 10);
        assert!(matches!(library.open("usr"), Err(Error::Missing(_))));
    }

    #[test]
    fn an_image_without_a_file_is_always_known() {
        let mut library = Library::new(Shelf::default(), 0);
        library.insert(
            "made",
            Synthetic::halving(Size::new(100, 100), Size::new(64, 64), 3),
        );
        let opened = library.known("made").unwrap().unwrap();
        assert_eq!(opened.last_modified, "Sun, 09 Sep 2001 01:46:40 GMT");
    }
}
