//! An open image, and how long its file counts as unchanged.

use crate::file_calls;
use crate::plan::Identity;
use crate::plan::Reading;
use crate::process::Stats;
use crate::source::Source;
use crate::store::Blob;
use crate::store::Version;
use serde_json::Map;
use serde_json::Value;
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
    pub(in crate::library) place: Location,
    since: Instant,
    /// Whether its file lies on a file system of this machine.
    pub is_local: bool,
    /// What the files beside it say, once a request needed it.
    pub(in crate::library) sidecar: Mutex<Option<Arc<Sidecar>>>,
    /// How often it was asked for.
    pub(in crate::library) uses: AtomicU64,
    /// Until when its file counts as unchanged, in nanoseconds from `since`.
    pub(in crate::library) valid: AtomicU64,
}

impl Opened {
    /// An image that was opened just now.
    pub(in crate::library) fn new(
        id: &str,
        place: Location,
        source: Box<dyn Source>,
        reading: Reading,
    ) -> Opened {
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
                Location::Nowhere => true,
                Location::File(path) => file_calls::is_local(path),
                Location::Remote(_) => false,
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

    /// How often it was asked for.
    pub fn uses(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    /// Nanoseconds since it was opened.
    pub(in crate::library) fn age(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// For how many nanoseconds a look at its files counts.
    pub(in crate::library) fn validity(&self) -> u64 {
        if self.is_local { VALID } else { VALID_FAR }
    }
}

/// Where an image was found.
pub(in crate::library) enum Location {
    /// Made by the server.
    Nowhere,
    /// A local file.
    File(PathBuf),
    /// An object in a store.
    Remote(Arc<dyn Blob>),
}

/// For how long a look at a file counts, in nanoseconds. The clock that files are stamped with ticks every 1 to 10 ms.
const VALID: u64 = 100_000;

/// How long a look at a network or user-space file system is valid, in nanoseconds.
const VALID_FAR: u64 = 100_000_000;

/// What the files beside an image say.
#[derive(Debug, Default)]
pub struct Sidecar {
    /// The members of each, those that count first in front.
    pub members: Vec<Map<String, Value>>,
    /// When the last of them was written.
    pub modified: Option<SystemTime>,
    /// Which could not be used, and why.
    pub faults: Vec<(PathBuf, String)>,
    /// Where they are looked for, and what was there.
    pub(in crate::library) seen: Vec<(PathBuf, Option<Version>)>,
    /// Until when that counts as unchanged, in nanoseconds since the image was opened.
    pub(in crate::library) valid: AtomicU64,
}
