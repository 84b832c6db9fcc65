//! Settings and URLs of stores.

use std::path::PathBuf;
use std::time::Duration;

/// Settings of stores.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Time for which a master counts as unchanged after a check (`STORE_TTL`).
    pub ttl: Duration,
    /// Time limit of a request (`STORE_TIMEOUT`).
    pub timeout: Duration,
    /// Concurrent requests per store (`STORE_CONNECTIONS`).
    pub connections: usize,
    /// Memory for fetched blocks in bytes (`STORE_CACHE_SIZE`).
    pub cache_bytes: u64,
    /// Directory and size in bytes of the disk cache (`DISK_CACHE`, `DISK_CACHE_SIZE`).
    pub disk: Option<(PathBuf, u64)>,
}

/// Whether the text names a store rather than a folder.
pub fn is_url(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    scheme.is_some_and(|scheme| !scheme.is_empty() && scheme.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// A URL for display, without user, password and query.
pub fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.into();
    };
    let rest = rest.split(['?', '#']).next().unwrap_or_default();
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}/{path}")
}

/// Rows of STORES, or one URL, for display without secrets.
pub fn redacted(rows: &str) -> String {
    let row = |row: &str| match row.split_once("=>") {
        Some((name, place)) => format!("{name}=>{}", shown(place)),
        None => shown(row),
    };
    rows.split(',').map(row).collect::<Vec<_>>().join(",")
}
