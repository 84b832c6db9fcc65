//! An open image with its identity, source and cached properties.

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
    /// Its identifier and version.
    pub identity: Identity,
    /// The `Last-Modified` of all answers made from it.
    pub last_modified: String,
    /// Its pyramid.
    pub source: Box<dyn Source>,
    /// Statistics of all pixels, computed on first use.
    pub stats: OnceLock<Arc<Stats>>,
    /// The fingerprint of its profile, computed on first use.
    pub profile: OnceLock<u64>,
    pub(in crate::library) place: Location,
    since: Instant,
    /// Whether its file is on a local file system.
    pub is_local: bool,
    /// Its sidecar, read on first use.
    pub(in crate::library) sidecar: Mutex<Option<Arc<Sidecar>>>,
    /// Number of requests for it.
    pub(in crate::library) uses: AtomicU64,
    /// Until when its file counts as unchanged, in nanoseconds since `since`.
    pub(in crate::library) valid: AtomicU64,
}

impl Opened {
    /// A newly opened image.
    pub(in crate::library) fn new(
        id: &str,
        place: Location,
        source: Box<dyn Source>,
        reading: Reading,
    ) -> Opened {
        let version = source.header().version;
        let seconds = u64::try_from(version.mtime_ns() / 1_000_000_000).unwrap_or(0);
        // httpdate supports years up to 9999 only
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

    /// The number of requests for it.
    pub fn uses(&self) -> u64 {
        self.uses.load(Ordering::Relaxed)
    }

    /// Nanoseconds since it was opened.
    pub(in crate::library) fn age(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// For how many nanoseconds a check of its file is valid.
    pub(in crate::library) fn validity(&self) -> u64 {
        if self.is_local { VALID } else { VALID_FAR }
    }
}

/// The location of an image.
pub(in crate::library) enum Location {
    /// None: the image is generated.
    Nowhere,
    /// A local file.
    File(PathBuf),
    /// An object in a store.
    Remote(Arc<dyn Blob>),
}

/// How long a check of a local file is valid, in nanoseconds. The clock of file times ticks every 1 to 10 ms.
const VALID: u64 = 100_000;

/// How long a check on a network or user-space file system is valid, in nanoseconds.
const VALID_FAR: u64 = 100_000_000;

/// The content of the sidecar files of an image.
#[derive(Debug, Default)]
pub struct Sidecar {
    /// The members of each file, in order of precedence.
    pub members: Vec<Map<String, Value>>,
    /// The latest modification time.
    pub modified: Option<SystemTime>,
    /// The files that could not be used, and why.
    pub faults: Vec<(PathBuf, String)>,
    /// The candidate paths, with the version of each file found.
    pub(in crate::library) seen: Vec<(PathBuf, Option<Version>)>,
    /// Until when they count as unchanged, in nanoseconds since the image was opened.
    pub(in crate::library) valid: AtomicU64,
}
