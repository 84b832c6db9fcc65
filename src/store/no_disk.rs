//! Replaces the disk cache in builds without it.

use crate::store::settings::StoreSettings;
use bytes::Bytes;

/// No cache.
#[derive(Clone, Debug, Default)]
pub struct DiskCache {}

impl DiskCache {
    /// An error if a cache is configured.
    pub fn open(settings: &StoreSettings) -> Result<DiskCache, String> {
        match settings.disk {
            Some(_) => {
                Err("DISK_CACHE: this server was built without it: build it with --features full".into())
            }
            None => Ok(DiskCache {}),
        }
    }

    /// Always false.
    pub fn is_on(&self) -> bool {
        false
    }

    /// Nothing.
    pub async fn block(&self, _: u128) -> Option<Bytes> {
        None
    }

    /// Nothing.
    pub async fn get(&self, _: u128) -> Option<Bytes> {
        None
    }

    /// Nothing.
    pub fn read(&self, _: u128) -> Option<Bytes> {
        None
    }

    /// Does nothing.
    pub fn put(&self, _: u128, _: Bytes) {}

    /// Does nothing.
    pub fn close(&self) {}

    /// None.
    pub fn unreported_failure(&self) -> Option<String> {
        None
    }
}
