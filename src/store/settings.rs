//! How stores are configured: their settings, and the URLs that name them.

use std::path::PathBuf;
use std::time::Duration;

/// How stores are used.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// For how long a master counts as unchanged after it was seen (`STORE_TTL`).
    pub ttl: Duration,
    /// The longest that a request may take (`STORE_TIMEOUT`).
    pub timeout: Duration,
    /// Requests to one store at the same time (`STORE_CONNECTIONS`).
    pub connections: usize,
    /// Bytes of memory for what was fetched (`STORE_CACHE_SIZE`).
    pub cache_bytes: u64,
    /// A directory for it on a disk, and how many bytes may lie there (`DISK_CACHE`, `DISK_CACHE_SIZE`).
    pub disk: Option<(PathBuf, u64)>,
}

/// Whether this names a store rather than a folder.
pub fn is_url(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// A URL as it may be shown: without user, password and query.
pub fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.into();
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}/{path}")
}

/// Rows of STORES, or one place, as they may be shown.
pub fn redacted(rows: &str) -> String {
    let row = |row: &str| match row.split_once("=>") {
        Some((name, place)) => format!("{name}=>{}", shown(place)),
        None => shown(row),
    };
    rows.split(',').map(row).collect::<Vec<_>>().join(",")
}
