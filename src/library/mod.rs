//! Opens images by identifier, and caches open ones.
//!
//! A file is opened once; later requests compare its times, length and inode with those of the open file.

mod listing;
mod opened;
mod paths;
mod picture;
mod sidecar;

use crate::error::Error;
use crate::error::Result;
use crate::failures::Failures;
use crate::file_calls;
use crate::library::opened::Location;
pub use crate::library::opened::Opened;
pub use crate::library::opened::Sidecar;
use crate::library::paths::checked;
use crate::library::paths::decoded;
use crate::library::paths::is_file;
use crate::library::paths::missing;
use crate::library::paths::printable;
use crate::library::paths::unopened;
pub use crate::library::picture::picture;
use crate::plan::Reading;
use crate::source;
use crate::source::Set;
use crate::source::Source;
use crate::source::file_format::Options;
use crate::source::sequence::Member;
use crate::source::sequence::Sequence;
use crate::source::sequence::split_view;
use crate::store;
use crate::store::Blob;
use crate::store::Freshness;
use crate::store::Version;
use crate::store::stores::Stores;
use quick_cache::sync::Cache;
use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Where images are stored, and how they are opened.
#[derive(Clone, Debug, Default)]
pub struct LibrarySettings {
    /// Prepended to every identifier without a separator.
    pub prefix: String,
    /// Appended to every identifier.
    pub suffix: String,
    /// Object stores and other directories.
    pub stores: Arc<Stores>,
    /// Whether symbolic links may lead out of the prefix.
    pub follow_symlinks: bool,
    /// Options of the readers.
    pub options: Options,
    /// The separator between a sequence's identifier and its angles in file names; empty to disable sequences.
    pub pattern: String,
    /// The separator between an identifier and a page number; empty to disable page numbers.
    pub delimiter: String,
}

impl LibrarySettings {
    fn reading(&self) -> Reading {
        Reading {
            layers: self.options.jp2.layers,
            strict: self.options.jp2.strict,
            upright: self.options.upright,
        }
    }
}

/// The images of a server.
pub struct Library {
    settings: LibrarySettings,
    /// Open images; `None` to cache none.
    open: Option<Cache<Arc<str>, Arc<Opened>>>,
    fixed: HashMap<String, Arc<Opened>>,
    /// Files that could not be opened in this version, by page.
    failed: Failures<(String, Option<u32>, Version)>,
}

impl Library {
    /// A library that caches at most `capacity` open images.
    pub fn new(settings: LibrarySettings, capacity: usize) -> Self {
        Library {
            settings,
            open: (capacity > 0).then(|| Cache::new(capacity)),
            fixed: HashMap::new(),
            failed: Failures::default(),
        }
    }

    /// Adds an image without a file.
    pub fn insert(&mut self, id: &str, source: impl Source + 'static) {
        let opened = Opened::new(id, Location::Nowhere, Box::new(source), self.settings.reading());
        self.fixed.insert(id.into(), Arc::new(opened));
    }

    /// The image, if it is open and its file has not changed. Costs at most one `stat` and never reads; one `stat`
    /// serves all requests of the next 100 µs. `name` is an identifier, with a view or without
    /// (`sequence::with_view`). Files on a network or user-space file system count as unchanged for 100 ms after each
    /// check by [`Library::open`].
    pub fn known(&self, name: &str) -> Result<Option<Arc<Opened>>> {
        self.look(name, false)
    }

    /// Looks up an open image. File systems that can hang are touched only if `far`.
    fn look(&self, name: &str, far: bool) -> Result<Option<Arc<Opened>>> {
        let (id, _) = split_view(name);
        if let Some(fixed) = self.fixed.get(id) {
            return Ok(Some(fixed.clone()));
        }
        let Some(opened) = self.open.as_ref().and_then(|open| open.get(name)) else {
            return Ok(None);
        };
        let path = match &opened.place {
            Location::Nowhere => return Ok(Some(opened)),
            Location::Remote(blob) => return Ok((blob.state() == Freshness::Current).then_some(opened)),
            Location::File(path) => path,
        };
        let age = opened.age();
        if age >= opened.valid.load(Ordering::Relaxed) {
            if !opened.is_local && !far {
                return Ok(None);
            }
            let now = fs::metadata(self.allowed(path, id)?).map_err(|_| missing(id))?;
            if Version::of(&now) != opened.identity.version {
                return Ok(None);
            }
            opened
                .valid
                .store(age.saturating_add(opened.validity()), Ordering::Relaxed);
        }
        opened.uses.fetch_add(1, Ordering::Relaxed);
        Ok(Some(opened))
    }

    /// Whether accessing the file of this identifier can hang. Does not access it.
    pub fn is_far(&self, name: &str) -> bool {
        let far = |name: &str| {
            let path = self.path(split_view(name).0, &self.settings.suffix);
            path.is_ok_and(|path| !file_calls::is_local(&path))
        };
        far(name) || decoded(name).is_some_and(|again| far(&again))
    }

    /// Accesses the file of an identifier as opening it would, so that a file system that hangs does so here.
    pub fn touch(&self, name: &str) -> Result<Option<Arc<Opened>>> {
        if let Some(known) = self.look(name, true)? {
            return Ok(Some(known));
        }
        for name in [Some(name.to_string()), decoded(name)].iter().flatten() {
            let Ok(path) = self.path(split_view(name).0, &self.settings.suffix) else {
                continue;
            };
            if is_file(&path) {
                let _ = self.blob(&path, name).map(|blob| blob.read_at(0, &mut [0]));
                break;
            }
        }
        Ok(None)
    }

    /// Closes the open images whose identifiers are covered; returns their number.
    pub fn purge(&self, covers: impl Fn(&str) -> bool) -> usize {
        self.failed.clear();
        let Some(open) = &self.open else { return 0 };
        let gone = Cell::new(0);
        open.retain(|_, opened| {
            let covered = covers(&opened.identity.name);
            gone.set(gone.get() + usize::from(covered));
            !covered
        });
        gone.get()
    }

    /// All open images.
    pub fn opened(&self) -> Vec<Arc<Opened>> {
        let open = self.open.iter().flat_map(|open| open.iter());
        open.map(|(_, opened)| opened).collect()
    }

    /// The image, opened if necessary. A view of a single picture is the picture itself. If there is no such image,
    /// the identifier is percent-decoded once more: some proxies and clients encode twice.
    pub fn open(&self, name: &str) -> Result<Arc<Opened>> {
        match self.open_as(name) {
            Err(Error::Missing(reason)) => {
                let found = decoded(name).map(|again| self.open_as(&again));
                found.and_then(Result::ok).ok_or(Error::Missing(reason))
            }
            other => other,
        }
    }

    /// The image with exactly this name.
    fn open_as(&self, name: &str) -> Result<Arc<Opened>> {
        if let Some(known) = self.look(name, true)? {
            return Ok(known);
        }
        if let Some(opened) = self.open.as_ref().and_then(|open| open.get(name))
            && let Location::Remote(blob) = &opened.place
            && blob.state() == Freshness::Unknown
            && blob.verify()?
        {
            return Ok(opened);
        }
        let (id, view) = split_view(name);
        let opened = match view {
            None => Arc::new(self.find(id, id, None)?),
            Some(view) => match self.open_as(id) {
                Ok(single) if single.source.header().set == Set::default() => single,
                _ => Arc::new(self.find(name, id, Some(view))?),
            },
        };
        self.keep(name, &opened);
        Ok(opened)
    }

    fn keep(&self, name: &str, opened: &Arc<Opened>) {
        // an image without a file is in `fixed`
        if let Some(open) = self
            .open
            .as_ref()
            .filter(|_| !matches!(opened.place, Location::Nowhere))
        {
            open.insert(name.into(), opened.clone());
        }
    }

    /// Finds the file of an identifier: the file itself, a page of it, or a member of a sequence.
    fn find(&self, name: &str, id: &str, view: Option<[u32; 2]>) -> Result<Opened> {
        if let Some(found) = self.at(name, id, view.map(|[page, _]| page))? {
            return Ok(found);
        }
        if let Some((book, page)) = self.page(id)
            && let Some(found) = self.at(name, book, Some(page))?
        {
            return Ok(found);
        }
        if self.settings.pattern.is_empty() {
            return Err(missing(id));
        }
        let path = self.path(id, "")?;
        let (Some(folder), Some(stem)) = (path.parent(), path.file_name().and_then(OsStr::to_str)) else {
            return Err(missing(id));
        };
        let entries = fs::read_dir(self.allowed(folder, id)?).map_err(|_| missing(id))?;
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let sequence = Sequence::of(names, &format!("{stem}{}", self.settings.pattern));
        let sequence = sequence.ok_or_else(|| missing(id))?;
        let file = sequence.file(view).ok_or_else(|| missing(id))?;
        let path = folder.join(file);
        let source = self.source(self.blob(&path, id)?, id, None)?;
        let source = Member::over(source, sequence.set());
        Ok(Opened::new(
            name,
            Location::File(path),
            source,
            self.settings.reading(),
        ))
    }

    /// Opens the image of this identifier; `None` if there is no such file or object.
    fn at(&self, name: &str, id: &str, page: Option<u32>) -> Result<Option<Opened>> {
        if let Some((root, rest)) = self.settings.stores.find(id)
            && let Some(blob) = root.open(&format!("{}{}", checked(rest)?, self.settings.suffix))
        {
            return match blob {
                Ok(blob) => {
                    let source = self.source(blob.clone(), id, page)?;
                    Ok(Some(Opened::new(
                        name,
                        Location::Remote(blob),
                        source,
                        self.settings.reading(),
                    )))
                }
                Err(Error::Missing(_)) => Ok(None),
                Err(error) => Err(error),
            };
        }
        let path = self.path(id, &self.settings.suffix)?;
        match fs::metadata(&path) {
            Ok(found) if found.is_file() => {}
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(unopened(error.into(), id));
            }
            _ => return Ok(None),
        }
        let source = self.source(self.blob(&path, id)?, id, page)?;
        Ok(Some(Opened::new(
            name,
            Location::File(path),
            source,
            self.settings.reading(),
        )))
    }

    /// Splits an identifier that ends with a page number.
    fn page<'a>(&self, id: &'a str) -> Option<(&'a str, u32)> {
        let delimiter = Some(self.settings.delimiter.as_str()).filter(|text| !text.is_empty())?;
        let (book, page) = id.rsplit_once(delimiter)?;
        let digits = !page.is_empty() && page.bytes().all(|b| b.is_ascii_digit());
        page.parse().ok().filter(|_| digits).map(|page| (book, page))
    }

    /// Opens the file of an identifier, unless a link on its path leads out of the permitted directory.
    fn blob(&self, path: &Path, id: &str) -> Result<Arc<dyn Blob>> {
        let opened = match self.confinement(id)? {
            Some(directory) => store::open_beneath(directory, path),
            None => store::open(path),
        };
        opened.map_err(|error| unopened(error, id))
    }

    /// Opens a source by the first bytes of the blob.
    fn source(&self, blob: Arc<dyn Blob>, id: &str, page: Option<u32>) -> Result<Box<dyn Source>> {
        let key = (id.to_string(), page, blob.version());
        let source = self
            .failed
            .attempt(key, || source::open(blob, page, &self.settings.options))?;
        source.ok_or_else(|| Error::Missing(format!("{} is not an image", printable(id))))
    }

    /// Closes all images, and forgets failures.
    pub fn clear(&self) {
        self.failed.clear();
        if let Some(open) = &self.open {
            open.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Size;
    use crate::source::synthetic::Synthetic;

    fn settings(prefix: &Path, follow_symlinks: bool) -> LibrarySettings {
        LibrarySettings {
            prefix: format!("{}/", prefix.display()),
            suffix: String::new(),
            follow_symlinks,
            ..LibrarySettings::default()
        }
    }

    #[test]
    fn no_identifier_leads_out_of_the_prefix() {
        let library = Library::new(settings(Path::new("/usr"), true), 10);
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
    fn a_link_out_of_the_prefix_is_followed_only_if_allowed() {
        let place = std::env::temp_dir().join(format!("iipsrv-links-{}", std::process::id()));
        let inside = place.join("inside");
        fs::create_dir_all(&inside).unwrap();
        fs::write(place.join("outside.txt"), "not an image").unwrap();
        fs::write(inside.join("own.txt"), "not an image").unwrap();
        std::os::unix::fs::symlink("../outside.txt", inside.join("link.txt")).unwrap();
        let message = |follow, id| {
            Library::new(settings(&inside, follow), 10)
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
        let library = Library::new(settings(Path::new("/usr/share"), true), 10);
        let error = library.open("nope\n.tif").err().unwrap();
        assert_eq!(error.public(), "no image \"nope?.tif\"");
    }

    #[test]
    fn a_directory_is_not_an_image() {
        let library = Library::new(settings(Path::new("/"), true), 10);
        assert!(matches!(library.open("usr"), Err(Error::Missing(_))));
    }

    #[test]
    fn files_of_proc_and_sys_are_not_images_and_never_block() {
        // all links are allowed, and the prefix is empty
        let library = Library::new(settings(Path::new(""), true), 10);
        for id in [
            "proc/self/environ",
            "proc/self/mem",
            "proc/self/maps",
            "proc/self/fd/0",
            "proc/self/root/etc/passwd",
            "proc/kmsg",
            "dev/zero",
            "dev/stdin",
            "dev/ptmx",
            "sys/kernel/uevent_seqnum",
        ] {
            let error = library.open(id).err().unwrap();
            // a file that declares more bytes than it has counts as damaged
            let is_none = matches!(error, Error::Missing(_) | Error::Corrupt(_));
            assert!(is_none, "{id}: {error}");
        }
    }

    #[test]
    fn an_image_without_a_file_is_always_known() {
        let mut library = Library::new(LibrarySettings::default(), 0);
        library.insert(
            "made",
            Synthetic::halving(Size::new(100, 100), Size::new(64, 64), 3),
        );
        let opened = library.known("made").unwrap().unwrap();
        assert_eq!(opened.last_modified, "Sun, 09 Sep 2001 01:46:40 GMT");
    }
}
