//! Maps identifiers to stores: FILESYSTEM_PREFIX if it is a URL, and the rows of STORES.

use crate::error::Result;
use crate::store::Blob;
use crate::store::DiskCache;
#[cfg(feature = "remote")]
use crate::store::remote::PageCache;
#[cfg(feature = "remote")]
use crate::store::remote::Store;
use crate::store::settings::StoreSettings;
use crate::store::settings::is_url;
use crate::store::settings::shown;
use std::sync::Arc;

/// The location of masters.
#[derive(Clone, Debug)]
pub enum Root {
    /// The prefix of paths of local files.
    Folder(String),
    /// An object store.
    #[cfg(feature = "remote")]
    Remote(Arc<Store>),
}

impl Root {
    /// The prefix of its paths, if it is local.
    pub fn folder(&self) -> Option<&str> {
        match self {
            Root::Folder(folder) => Some(folder),
            #[cfg(feature = "remote")]
            Root::Remote(_) => None,
        }
    }

    /// See [`Stores::check`].
    fn check(&self) -> std::result::Result<Option<String>, String> {
        match self {
            Root::Folder(_) => Ok(None),
            #[cfg(feature = "remote")]
            Root::Remote(store) => store.check(),
        }
    }

    /// Opens a master in an object store; `None` if this is a local folder. `Error::Missing` if the object does not exist.
    pub fn open(&self, name: &str) -> Option<Result<Arc<dyn Blob>>> {
        match self {
            Root::Folder(_) => {
                let _ = name;
                None
            }
            #[cfg(feature = "remote")]
            Root::Remote(store) => Some(store.open(name)),
        }
    }
}

/// The roots other than the folder of all images.
#[derive(Clone, Debug, Default)]
pub struct Stores {
    /// Prefixes of identifiers, longest first, with the root of the rest.
    rows: Vec<(String, Root)>,
    disk: DiskCache,
}

impl Stores {
    /// Parses FILESYSTEM_PREFIX, if it is a URL, and rows `name=>url,…`. Error, one line without secrets: a row is invalid.
    pub fn new(prefix: &str, rows: &str, settings: &StoreSettings) -> std::result::Result<Stores, String> {
        let disk = DiskCache::open(settings)?;
        let open = Opener::new(settings, &disk);
        let mut stores = Stores {
            rows: Vec::new(),
            disk: disk.clone(),
        };
        for row in rows.split(',').map(str::trim).filter(|row| !row.is_empty()) {
            let (name, place) = row
                .split_once("=>")
                .map(|(name, place)| (name.trim(), place.trim()))
                .filter(|(name, place)| !name.is_empty() && !place.is_empty())
                .ok_or_else(|| format!("STORES: {} is not NAME=>URL", shown(row)))?;
            let slash = |text: &str| format!("{}/", text.trim_end_matches('/'));
            let root = open.root(&slash(place)).map_err(|why| format!("STORES: {why}"))?;
            stores.rows.push((slash(name), root));
        }
        if is_url(prefix) {
            let root = open
                .root(prefix)
                .map_err(|why| format!("FILESYSTEM_PREFIX: {why}"))?;
            stores.rows.push((String::new(), root));
        }
        stores.rows.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        Ok(stores)
    }

    /// The root of an identifier and its name there; `None` for the folder of all images.
    pub fn find<'a>(&self, id: &'a str) -> Option<(&Root, &'a str)> {
        self.rows
            .iter()
            .find_map(|(name, root)| id.strip_prefix(name.as_str()).map(|rest| (root, rest)))
    }

    /// The disk cache.
    pub fn disk(&self) -> &DiskCache {
        &self.disk
    }

    /// Checks every store. Error, one line: a store is misconfigured. Otherwise one line for each store that does not answer
    /// now.
    pub fn check(&self) -> std::result::Result<Vec<String>, String> {
        let roots = self.rows.iter();
        roots.filter_map(|(_, root)| root.check().transpose()).collect()
    }
}

#[cfg(feature = "remote")]
struct Opener<'a> {
    settings: &'a StoreSettings,
    pages: Arc<PageCache>,
}

#[cfg(feature = "remote")]
impl<'a> Opener<'a> {
    fn new(settings: &'a StoreSettings, disk: &DiskCache) -> Opener<'a> {
        let pages = Arc::new(PageCache::new(settings, disk.clone()));
        Opener { settings, pages }
    }

    fn root(&self, place: &str) -> std::result::Result<Root, String> {
        if !is_url(place) {
            return Ok(Root::Folder(place.into()));
        }
        Store::new(place, self.settings, self.pages.clone()).map(|store| Root::Remote(Arc::new(store)))
    }
}

#[cfg(not(feature = "remote"))]
struct Opener;

#[cfg(not(feature = "remote"))]
impl Opener {
    fn new(_: &StoreSettings, _: &DiskCache) -> Opener {
        Opener
    }

    fn root(&self, place: &str) -> std::result::Result<Root, String> {
        if is_url(place) {
            return Err(format!(
                "{}: this server was built without object stores: build it with --features full",
                shown(place)
            ));
        }
        Ok(Root::Folder(place.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn settings() -> StoreSettings {
        StoreSettings {
            ttl: Duration::from_secs(60),
            timeout: Duration::from_secs(1),
            connections: 1,
            cache_bytes: 1 << 20,
            disk: None,
        }
    }

    #[test]
    fn the_longest_matching_prefix_of_an_identifier_decides() {
        let stores = Stores::new("/all/", "a=>/x, a/b=>/y/", &settings()).unwrap();
        let found = |id| match stores.find(id) {
            Some((Root::Folder(folder), rest)) => format!("{folder} {rest}"),
            _ => String::new(),
        };
        assert_eq!(found("a/1.tif"), "/x/ 1.tif");
        assert_eq!(found("a/b/1.tif"), "/y/ 1.tif");
        assert_eq!(found("ab/1.tif"), "");
    }

    #[test]
    fn unusable_stores_are_reported_without_secrets() {
        let why = |prefix, rows| Stores::new(prefix, rows, &settings()).unwrap_err();
        assert_eq!(why("", "x"), "STORES: x is not NAME=>URL");
        assert_eq!(why("", "=>/a"), "STORES: =>/a is not NAME=>URL");
        for url in [
            "ftp://user:secret@host/a/",
            "s3:///a/",
            "https://host/a/?sig=secret",
        ] {
            let message = why(url, "");
            assert!(message.starts_with("FILESYSTEM_PREFIX: "), "{message}");
            assert!(!message.contains("secret"), "{message}");
        }
        assert_eq!(shown("https://u:p@h/a/b?x=1#y"), "https://h/a/b");
    }
}
