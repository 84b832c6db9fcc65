//! Reads additional properties of an image from the files `NAME.info.json` and `info.json` beside it.
//!
//! They are read once; like the image's own file, they are checked by times, length and inode.

use crate::library::Library;
use crate::library::Opened;
use crate::library::opened::Location;
use crate::library::opened::Sidecar;
use crate::source::sequence::split_view;
use crate::store::Blob;
use crate::store::Version;
use serde_json::Map;
use serde_json::Value;
use std::fs;
use std::fs::Metadata;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::UNIX_EPOCH;

/// Longest sidecar file, in bytes.
const MAX_BYTES: u64 = 65_536;

/// The age from which on a file's times distinguish it from a later write: they tick every 1 to 10 ms.
const SETTLED: Duration = Duration::from_millis(20);

/// The file at this path, if there is one.
fn file(path: &Path) -> Option<Metadata> {
    fs::metadata(path).ok().filter(Metadata::is_file)
}

/// The members of the JSON object in a file.
fn read(file: &Arc<dyn Blob>) -> Result<Map<String, Value>, String> {
    if file.len() > MAX_BYTES {
        return Err(format!("longer than {MAX_BYTES} bytes"));
    }
    let text = file.take(0, file.len()).map_err(|error| error.to_string())?;
    serde_json::from_slice(&text).map_err(|error| error.to_string())
}

impl Library {
    /// The sidecar of an image, if it is known without reading: because no file has changed, or there is none. Costs
    /// at most three calls of `stat`, and none on network and user-space file systems.
    pub fn sidecar(&self, opened: &Opened) -> Option<Arc<Sidecar>> {
        let known = opened
            .sidecar
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let age = opened.age();
        if let Some(known) = &known
            && age < known.valid.load(Ordering::Relaxed)
        {
            return Some(known.clone());
        }
        if !opened.is_local {
            return None;
        }
        let Some(known) = known else {
            let places = places(opened);
            let none = places.iter().all(|path| file(path).is_none());
            return none.then(|| self.keep_sidecar(opened, age, Sidecar::nothing(places)));
        };
        let same = |(path, version): &(PathBuf, Option<Version>)| {
            file(path).map(|found| Version::of(&found)) == *version
        };
        if !known.seen.iter().all(same) {
            return None;
        }
        known
            .valid
            .store(age.saturating_add(opened.validity()), Ordering::Relaxed);
        Some(known)
    }

    /// Reads the sidecar files again if they have changed. Files that were written a moment ago are not cached.
    pub fn read_sidecar(&self, opened: &Opened) -> Arc<Sidecar> {
        if let Some(known) = self.sidecar(opened) {
            return known;
        }
        let age = opened.age();
        let (id, _) = split_view(&opened.identity.name);
        let (mut sidecar, mut settled) = (Sidecar::default(), true);
        for path in places(opened) {
            let found = file(&path);
            sidecar.seen.push((path.clone(), found.as_ref().map(Version::of)));
            let file = found.and_then(|found| Some((found, self.blob(&path, id).ok()?)));
            let Some((found, file)) = file else {
                continue;
            };
            match read(&file) {
                Ok(members) => sidecar.members.push(members),
                Err(error) => sidecar.faults.push((path, error)),
            }
            let written = found.modified().unwrap_or(UNIX_EPOCH);
            settled &= written.elapsed().is_ok_and(|age| age > SETTLED);
            sidecar.modified = sidecar.modified.max(Some(written));
        }
        if !settled {
            return Arc::new(sidecar);
        }
        self.keep_sidecar(opened, age, sidecar)
    }

    fn keep_sidecar(&self, opened: &Opened, age: u64, sidecar: Sidecar) -> Arc<Sidecar> {
        sidecar
            .valid
            .store(age.saturating_add(opened.validity()), Ordering::Relaxed);
        let sidecar = Arc::new(sidecar);
        let mut place = opened.sidecar.lock().unwrap_or_else(PoisonError::into_inner);
        *place = Some(sidecar.clone());
        sidecar
    }
}

impl Sidecar {
    fn nothing(places: Vec<PathBuf>) -> Sidecar {
        Sidecar {
            seen: places.into_iter().map(|path| (path, None)).collect(),
            ..Sidecar::default()
        }
    }
}

/// The candidate paths: `NAME.info.json`, NAME with and without its suffix, then `info.json` for the directory.
fn places(opened: &Opened) -> Vec<PathBuf> {
    let Location::File(image) = &opened.place else {
        return Vec::new();
    };
    let mut whole = image.clone().into_os_string();
    whole.push(".info.json");
    let mut places = vec![
        PathBuf::from(whole),
        image.with_extension("info.json"),
        image.with_file_name("info.json"),
    ];
    places.dedup();
    places
}
