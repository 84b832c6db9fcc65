//! Fetched blocks of remote masters: the most recently used ones in memory, more of them on disk.

use crate::fingerprint;
use crate::store::Version;
#[cfg(feature = "disk-cache")]
use crate::store::remote::disk::Disk;
#[cfg(feature = "disk-cache")]
use crate::store::remote::runtime;
use crate::store::stores::Settings;
use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
#[cfg(feature = "disk-cache")]
#[cfg(feature = "disk-cache")]
use std::hash::Hash;
#[cfg(feature = "disk-cache")]
use std::sync::Arc;

/// Bytes of a block. Objects are fetched in runs of blocks, so that nothing is asked for twice because it straddles.
pub const BLOCK: u64 = 64 << 10;

/// Which block: object, version and number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    /// Store and path of the object.
    pub object: Arc<str>,
    /// In which version.
    pub version: Version,
    /// Counted from the start of the object.
    pub number: u64,
}

#[derive(Clone, Debug)]
struct Bytewise;

impl Weighter<Name, Bytes> for Bytewise {
    fn weight(&self, _: &Name, block: &Bytes) -> u64 {
        block.len() as u64 + 200
    }
}

/// The blocks of all masters.
#[derive(Debug)]
pub struct Pages {
    memory: Cache<Name, Bytes, Bytewise>,
    #[cfg(feature = "disk-cache")]
    disk: Option<Disk>,
}

impl Pages {
    /// As it is set up. An error in one line when the disk cannot be used.
    pub fn new(settings: &Settings) -> Result<Pages, String> {
        let bytes = settings.cache_bytes.max(1 << 20);
        let items = usize::try_from(bytes / BLOCK).unwrap_or(usize::MAX).max(16);
        Ok(Pages {
            memory: Cache::with_weighter(items, bytes, Bytewise),
            #[cfg(feature = "disk-cache")]
            disk: match &settings.disk {
                Some((directory, bytes)) => Some(disk(directory, *bytes)?),
                None => None,
            },
        })
    }

    /// The block, if it is held.
    pub fn get(&self, name: &Name) -> Option<Bytes> {
        self.memory.get(name)
    }

    /// The block, if it lies on the disk; it is held in memory then.
    #[cfg(feature = "disk-cache")]
    pub async fn on_disk(&self, name: &Name) -> Option<Bytes> {
        let block = self.disk.as_ref()?.get(name.digest()).await?;
        self.memory.insert(name.clone(), block.clone());
        Some(block)
    }

    /// There is no disk.
    #[cfg(not(feature = "disk-cache"))]
    #[expect(clippy::unused_async, reason = "as with a disk")]
    pub async fn on_disk(&self, _: &Name) -> Option<Bytes> {
        None
    }

    /// Holds a block.
    pub fn put(&self, name: Name, block: Bytes) {
        #[cfg(feature = "disk-cache")]
        if let Some(disk) = &self.disk {
            disk.put(name.digest(), &block);
        }
        self.memory.insert(name, block);
    }

    /// Writes to the disk what is on its way there.
    pub fn close(&self) {
        #[cfg(feature = "disk-cache")]
        if let (Some(disk), Ok(runtime)) = (&self.disk, runtime()) {
            runtime.block_on(disk.close());
        }
    }
}

#[cfg(feature = "disk-cache")]
fn disk(directory: &std::path::Path, bytes: u64) -> Result<Disk, String> {
    let runtime = runtime().map_err(|error| error.to_string())?;
    runtime.block_on(Disk::open(directory, bytes))
}

#[cfg(feature = "disk-cache")]
impl Name {
    /// 128 bits that tell it from others.
    fn digest(&self) -> u128 {
        let half = |number: u8| u128::from(fingerprint::of(&(number, self)));
        half(0) << 64 | half(1)
    }
}
