//! From an identifier to an open source: where images lie, and which of them are open.
//!
//! A file is opened once and kept; requests compare its times, length and inode with those of the open file.

mod sidecar;

use crate::error::Error;
use crate::error::Result;
use crate::failures::Failures;
use crate::file_calls;
use crate::geometry::Rect;
pub use crate::library::sidecar::Sidecar;
use crate::plan::Identity;
use crate::plan::Reading;
use crate::process::Stats;
use crate::process::colour;
use crate::raster::Alpha;
use crate::raster::Picture;
use crate::source;
use crate::source::Set;
use crate::source::Source;
use crate::source::Window;
use crate::source::cache::NoCache;
use crate::source::derived::check_worth;
use crate::source::kind::Options;
use crate::source::sequence::Member;
use crate::source::sequence::Sequence;
use crate::source::sequence::split_view;
use crate::source::tiff;
use crate::source::tiff::Tiff;
use crate::source::window;
use crate::store;
use crate::store::Blob;
use crate::store::State;
use crate::store::Version;
use crate::store::stores::Stores;
use percent_encoding::percent_decode_str;
use quick_cache::sync::Cache;
use std::cell::Cell;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// An open image.
pub struct Opened {
    /// Which image, in which version.
    pub identity: Identity,
    /// The `Last-Modified` of everything made from it.
    pub last_modified: String,
    /// Its pyramid.
    pub source: Box<dyn Source>,
    /// Statistics of all of its pixels, once a request needed them.
    pub stats: OnceLock<Arc<Stats>>,
    /// The fingerprint of its profile, once a request needed it.
    pub profile: OnceLock<u64>,
    place: Place,
    since: Instant,
    /// Whether its file lies on a file system of this machine.
    pub is_local: bool,
    /// What the files beside it say, once a request needed it.
    sidecar: Mutex<Option<Arc<Sidecar>>>,
    /// How often it was asked for.
    uses: AtomicU64,
    /// Until when its file counts as unchanged, in nanoseconds from `since`.
    valid: AtomicU64,
}

impl Opened {
    /// How often it was asked for.
    pub fn uses(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    /// Nanoseconds since it was opened.
    fn age(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// For how many nanoseconds a look at its files counts.
    fn validity(&self) -> u64 {
        if self.is_local { VALID } else { VALID_FAR }
    }
}

/// Where an image was found.
enum Place {
    /// Made by the server.
    Nowhere,
    /// A local file.
    File(PathBuf),
    /// An object in a store.
    Remote(Arc<dyn Blob>),
}

/// For how long a look at a file counts, in nanoseconds. The clock that files are stamped with ticks every 1 to 10 ms.
const VALID: u64 = 100_000;

/// Names of a folder that are looked at, and pictures of a set.
const FOLDER_NAMES: usize = 10_000;

/// How long a look at a network or user-space file system is valid, in nanoseconds.
const VALID_FAR: u64 = 100_000_000;

/// Where images lie.
#[derive(Clone, Debug, Default)]
pub struct LibrarySettings {
    /// Put in front of every identifier by plain concatenation.
    pub prefix: String,
    /// Appended to each identifier.
    pub suffix: String,
    /// What lies elsewhere.
    pub stores: Arc<Stores>,
    /// Whether a link may lead out of the prefix.
    pub follow_symlinks: bool,
    /// How files are read.
    pub options: Options,
    /// What is between a sequence's identifier and its angles in the names of its files; empty for no sequences.
    pub pattern: String,
    /// What is between an identifier and the number of a page; empty for no numbers.
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

/// All images.
pub struct Library {
    settings: LibrarySettings,
    /// `None` remembers nothing.
    open: Option<Cache<Arc<str>, Arc<Opened>>>,
    fixed: HashMap<String, Arc<Opened>>,
    /// Files that could not be opened in this version, by page.
    failed: Failures<(String, Option<u32>, Version)>,
}

impl Library {
    /// A library that keeps at most `capacity` images open.
    pub fn new(settings: LibrarySettings, capacity: usize) -> Self {
        Library {
            settings,
            open: (capacity > 0).then(|| Cache::new(capacity)),
            fixed: HashMap::new(),
            failed: Failures::default(),
        }
    }

    /// Puts an image without a file under an identifier.
    pub fn insert(&mut self, id: &str, source: impl Source + 'static) {
        let opened = opened(id, Place::Nowhere, Box::new(source), self.settings.reading());
        self.fixed.insert(id.into(), Arc::new(opened));
    }

    /// The image if it is open and its file has not changed. Costs a `stat` at most, never reads; one `stat` serves all
    /// requests of the next 100 µs. `name` is an identifier, with a view or without (`sequence::with_view`).
    /// What lies on a network or user-space file system is known for 100 ms after each look of [`Library::open`].
    pub fn known(&self, name: &str) -> Result<Option<Arc<Opened>>> {
        self.look(name, false)
    }

    /// FileCalls up an open image; `far`: whether it may touch file systems that can hang.
    fn look(&self, name: &str, far: bool) -> Result<Option<Arc<Opened>>> {
        let (id, _) = split_view(name);
        if let Some(fixed) = self.fixed.get(id) {
            return Ok(Some(fixed.clone()));
        }
        let Some(opened) = self.open.as_ref().and_then(|open| open.get(name)) else {
            return Ok(None);
        };
        let path = match &opened.place {
            Place::Nowhere => return Ok(Some(opened)),
            Place::Remote(blob) => return Ok((blob.state() == State::Current).then_some(opened)),
            Place::File(path) => path,
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

    /// Whether a look at the file of this identifier can hang. Does not look itself.
    pub fn is_far(&self, name: &str) -> bool {
        let far = |name: &str| {
            let path = self.path(split_view(name).0, &self.settings.suffix);
            path.is_ok_and(|path| !file_calls::is_local(&path))
        };
        far(name) || decoded(name).is_some_and(|again| far(&again))
    }

    /// FileCalls at the file of an identifier as opening it would, so that what hangs hangs here.
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

    /// Forgets the open images whose identifiers are covered; returns how many there were.
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

    /// The images that are open.
    pub fn opened(&self) -> Vec<Arc<Opened>> {
        let open = self.open.iter().flat_map(|open| open.iter());
        open.map(|(_, opened)| opened).collect()
    }

    /// The image, opened if need be. A view that a single picture is asked for is the picture. An identifier that leads
    /// nowhere is percent-decoded once more: some proxies and clients encode twice.
    pub fn open(&self, name: &str) -> Result<Arc<Opened>> {
        match self.open_as(name) {
            Err(Error::Missing(reason)) => {
                let found = decoded(name).map(|again| self.open_as(&again));
                found.and_then(Result::ok).ok_or(Error::Missing(reason))
            }
            other => other,
        }
    }

    /// The image of this very name.
    fn open_as(&self, name: &str) -> Result<Arc<Opened>> {
        if let Some(known) = self.look(name, true)? {
            return Ok(known);
        }
        if let Some(opened) = self.open.as_ref().and_then(|open| open.get(name))
            && let Place::Remote(blob) = &opened.place
            && blob.state() == State::Unknown
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
        // an image without a file has its one name
        if let Some(open) = self
            .open
            .as_ref()
            .filter(|_| !matches!(opened.place, Place::Nowhere))
        {
            open.insert(name.into(), opened.clone());
        }
    }

    /// FileCalls for the file of an identifier: itself, a page of it, or one of a sequence.
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
        Ok(opened(name, Place::File(path), source, self.settings.reading()))
    }

    /// The image of this identifier, if there is a file or an object of this name.
    fn at(&self, name: &str, id: &str, page: Option<u32>) -> Result<Option<Opened>> {
        if let Some((root, rest)) = self.settings.stores.find(id)
            && let Some(blob) = root.open(&format!("{}{}", spelt(rest)?, self.settings.suffix))
        {
            return match blob {
                Ok(blob) => {
                    let source = self.source(blob.clone(), id, page)?;
                    Ok(Some(opened(
                        name,
                        Place::Remote(blob),
                        source,
                        self.settings.reading(),
                    )))
                }
                Err(Error::Missing(_)) => Ok(None),
                Err(error) => Err(error),
            };
        }
        let path = self.path(id, &self.settings.suffix)?;
        if !is_file(&path) {
            return Ok(None);
        }
        let source = self.source(self.blob(&path, id)?, id, page)?;
        Ok(Some(opened(
            name,
            Place::File(path),
            source,
            self.settings.reading(),
        )))
    }

    /// An identifier that ends in the number of a page, taken apart.
    fn page<'a>(&self, id: &'a str) -> Option<(&'a str, u32)> {
        let delimiter = Some(self.settings.delimiter.as_str()).filter(|text| !text.is_empty())?;
        let (book, page) = id.rsplit_once(delimiter)?;
        let digits = !page.is_empty() && page.bytes().all(|b| b.is_ascii_digit());
        page.parse().ok().filter(|_| digits).map(|page| (book, page))
    }

    /// Opens the file of an identifier, unless a link on its path leads where none may.
    fn blob(&self, path: &Path, id: &str) -> Result<Arc<dyn Blob>> {
        let opened = match self.walls(id)? {
            Some(directory) => store::open_beneath(directory, path),
            None => store::open(path),
        };
        opened.map_err(|_| missing(id))
    }

    /// Reads by what the first bytes say.
    fn source(&self, blob: Arc<dyn Blob>, id: &str, page: Option<u32>) -> Result<Box<dyn Source>> {
        let key = (id.to_string(), page, blob.version());
        let source = self
            .failed
            .attempt(key, || source::open(blob, page, &self.settings.options))?;
        source.ok_or_else(|| Error::Missing(format!("{} is not an image", shown(id))))
    }

    /// What lies in a folder of images that may be asked for: names as identifiers spell them, whether each is a folder,
    /// sorted; and when that changed last. `id` is empty for FILESYSTEM_PREFIX itself. Hidden files are left out, and all
    /// beyond `FOLDER_NAMES`. `Error::Missing` when there is no such folder, or no prefix: that would list the whole
    /// machine to be listed.
    pub fn folder(&self, id: &str) -> Result<(Vec<(String, bool)>, SystemTime)> {
        let id = id.trim_end_matches('/');
        if !self.settings.prefix.ends_with('/') {
            return Err(missing(id));
        }
        let path = if id.is_empty() {
            PathBuf::from(&self.settings.prefix)
        } else {
            self.path(id, "")?
        };
        let path = self.allowed(&path, id)?;
        let found = fs::metadata(path).map_err(|_| missing(id))?;
        let entries = fs::read_dir(path).map_err(|_| missing(id))?;
        let named = |entry: fs::DirEntry| {
            let name = entry.file_name().into_string().ok()?;
            if name.starts_with('.') {
                return None;
            }
            if entry.path().is_dir() {
                return Some((name, true));
            }
            crate::source::kind::Kind::named(&name)?;
            let name = name.strip_suffix(&self.settings.suffix)?;
            (!name.is_empty()).then(|| (name.to_string(), false))
        };
        let mut names: Vec<_> = entries.flatten().take(FOLDER_NAMES).filter_map(named).collect();
        names.sort_unstable();
        Ok((names, found.modified().unwrap_or(UNIX_EPOCH)))
    }

    /// The identifiers of the pictures that are shown under one: the pages of a file where `IIIF_DELIMITER` gives them
    /// names, the files of a sequence, or the image alone. Not more than `FOLDER_NAMES`.
    pub fn members(&self, opened: &Opened) -> Vec<String> {
        let (id, _) = split_view(&opened.identity.name);
        let set = &opened.source.header().set;
        let delimiter = &self.settings.delimiter;
        if !set.stack.is_empty() && !delimiter.is_empty() && self.page(id).is_none() {
            let pages = 0..set.stack.len().min(FOLDER_NAMES);
            return pages.map(|page| format!("{id}{delimiter}{page}")).collect();
        }
        let (folder, stem) = match id.rsplit_once('/') {
            Some((folder, stem)) => (format!("{folder}/"), stem),
            None => (String::new(), id),
        };
        if !set.horizontal.is_empty()
            && !self.settings.pattern.is_empty()
            && let Ok((names, _)) = self.folder(&folder)
        {
            let start = format!("{stem}{}", self.settings.pattern);
            let files = names
                .iter()
                .filter(|(name, folder)| !folder && name.starts_with(&start));
            let files: Vec<_> = files.map(|(name, _)| format!("{folder}{name}")).collect();
            if !files.is_empty() {
                return files;
            }
        }
        vec![id.to_string()]
    }

    /// Forgets every open image, and what could not be opened.
    pub fn clear(&self) {
        self.failed.clear();
        if let Some(open) = &self.open {
            open.clear();
        }
    }

    /// Where the file of an identifier lies: under the prefix.
    fn path(&self, id: &str, suffix: &str) -> Result<PathBuf> {
        spelt(id)?;
        let (prefix, rest) = match self.settings.stores.find(id) {
            Some((root, rest)) => (root.folder().ok_or_else(|| missing(id))?, spelt(rest)?),
            None => (self.settings.prefix.as_str(), id),
        };
        Ok(PathBuf::from(format!("{prefix}{rest}{suffix}")))
    }

    /// The directory that the file of an identifier must lie in; `None` where links may lead anywhere.
    fn walls(&self, id: &str) -> Result<Option<&Path>> {
        let prefix = match self.settings.stores.find(id) {
            Some((root, _)) => root.folder().ok_or_else(|| missing(id))?,
            None => self.settings.prefix.as_str(),
        };
        let free = self.settings.follow_symlinks || prefix.is_empty();
        Ok((!free).then(|| directory(prefix)))
    }

    /// The path, unless a link on it leads where none may.
    fn allowed<'a>(&self, path: &'a Path, id: &str) -> Result<&'a Path> {
        let Some(root) = self.walls(id)? else {
            return Ok(path);
        };
        let real = fs::canonicalize(path).map_err(|_| missing(id))?;
        let root = fs::canonicalize(root).map_err(|_| missing(id))?;
        if real.starts_with(root) {
            Ok(path)
        } else {
            Err(missing(id))
        }
    }
}

/// A name without its percent signs, if that is another and text.
fn decoded(name: &str) -> Option<String> {
    let again = percent_decode_str(name).decode_utf8().ok()?;
    (again != name).then(|| again.into_owned())
}

/// Most pixels of a [`picture`].
const PICTURE_PIXELS: u64 = 1 << 24;

/// The first picture of a TIFF file, whole, in 8 bits, with straight alpha if any.
pub fn picture(path: &Path) -> Result<Picture> {
    if !is_file(path) {
        return Err(Error::Missing("is not a file".into()));
    }
    let limits = tiff::Limits::default();
    let tiff = Tiff::open(store::open(path)?, &limits)?;
    let header = tiff.header();
    let rect = Rect::of(header.size());
    if rect.size().area() * u64::from(header.channels.div_ceil(4)) > PICTURE_PIXELS {
        return Err(Error::TooLarge(format!(
            "{}x{} pixels are too many",
            rect.w, rect.h
        )));
    }
    let window = Window::new(0, rect);
    check_worth(header, window, header.effort(window, &NoCache), &limits)?;
    let meaning = header.meaning.clone();
    let raster = window::raster(&tiff, window, &NoCache)?;
    let picture = colour::picture(raster, &meaning)?;
    Ok(if meaning.alpha == Alpha::Premultiplied {
        colour::straighten(picture)
    } else {
        picture
    })
}

/// Asked before it is opened: opening a pipe would wait for its writer.
fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file())
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

/// The identifier, unless it is empty or would lead elsewhere.
fn spelt(id: &str) -> Result<&str> {
    let climbs = id.split('/').any(|part| part == "..");
    if id.is_empty() || climbs || id.contains('\0') {
        return Err(missing(id));
    }
    Ok(id)
}

fn missing(id: &str) -> Error {
    Error::Missing(format!("no image {}", shown(id)))
}

/// An identifier as it may be put into one line of an answer.
fn shown(id: &str) -> String {
    let text: String = id
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(200)
        .collect();
    format!("\"{text}\"")
}

fn opened(id: &str, place: Place, source: Box<dyn Source>, reading: Reading) -> Opened {
    let version = source.header().version;
    let seconds = u64::try_from(version.mtime_ns() / 1_000_000_000).unwrap_or(0);
    // httpdate knows years up to 9999 only
    let time = UNIX_EPOCH + Duration::from_secs(seconds.min(253_402_300_799));
    let identity = Identity {
        name: id.into(),
        version,
        reading,
    };
    Opened {
        identity,
        last_modified: httpdate::fmt_http_date(time),
        source,
        is_local: match &place {
            Place::Nowhere => true,
            Place::File(path) => file_calls::is_local(path),
            Place::Remote(_) => false,
        },
        sidecar: Mutex::default(),
        uses: AtomicU64::new(1),
        stats: OnceLock::new(),
        profile: OnceLock::new(),
        place,
        since: Instant::now(),
        valid: AtomicU64::new(0),
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
    fn no_spelling_leads_out_of_the_prefix() {
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
    fn a_link_leads_out_only_when_it_may() {
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
    fn a_directory_is_no_image() {
        let library = Library::new(settings(Path::new("/"), true), 10);
        assert!(matches!(library.open("usr"), Err(Error::Missing(_))));
    }

    #[test]
    fn files_of_proc_and_sys_are_no_images_and_are_not_waited_for() {
        // links may lead anywhere, and there is no prefix to speak of
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
            // what claims more bytes than there are is as good as damaged
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
