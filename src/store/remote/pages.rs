//! Fetched blocks of remote masters: the most recently used ones in memory, more of them on disk.

use crate::fingerprint;
use crate::store::DiskCache;
use crate::store::Version;
use crate::store::settings::StoreSettings;
use bytes::Bytes;
use quick_cache::DefaultHashBuilder;
use quick_cache::OptionsBuilder;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use quick_cache::sync::DefaultLifecycle;
use std::hash::Hash;
use std::sync::Arc;

/// Bytes of a block. Objects are fetched in runs of aligned blocks, so that overlapping ranges are not fetched twice.
pub const BLOCK: u64 = 64 << 10;

/// Maximum number of blocks that one reader announces.
const MOST_AHEAD: usize = 256;

/// Identifies a block by object, version and number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PageKey {
    /// Store and path of the object.
    pub object: Arc<str>,
    /// Version of the object.
    pub version: Version,
    /// Number of the block from the start of the object.
    pub number: u64,
}

#[derive(Clone, Debug)]
struct PageWeighter;

impl Weighter<PageKey, Bytes> for PageWeighter {
    fn weight(&self, _: &PageKey, block: &Bytes) -> u64 {
        block.len() as u64 + 200
    }
}

/// The cache of blocks of all masters.
#[derive(Debug)]
pub struct PageCache {
    memory: Cache<PageKey, Bytes, PageWeighter>,
    /// Number of blocks that one reader may announce, so that they are still cached when it reads them.
    pub ahead: usize,
    disk: DiskCache,
}

impl PageCache {
    /// A cache with these settings and this disk cache.
    pub fn new(settings: &StoreSettings, disk: DiskCache) -> PageCache {
        let bytes = settings.cache_bytes.max(1 << 20);
        let items = usize::try_from(bytes / BLOCK).unwrap_or(usize::MAX).max(16);
        // most of the capacity is for new blocks, however often others are read
        let options = OptionsBuilder::new()
            .estimated_items_capacity(items)
            .weight_capacity(bytes)
            .hot_allocation(0.25)
            .shards(1)
            .build();
        let memory = match options {
            Ok(options) => Cache::with_options(
                options,
                PageWeighter,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            Err(_) => Cache::with_weighter(items, bytes, PageWeighter),
        };
        PageCache {
            memory,
            ahead: (items / 8).clamp(1, MOST_AHEAD),
            disk,
        }
    }

    /// The block, if it is in memory.
    pub fn get(&self, name: &PageKey) -> Option<Bytes> {
        self.memory.get(name)
    }

    /// The block, if it is on disk; loads it into memory.
    pub async fn on_disk(&self, name: &PageKey) -> Option<Bytes> {
        if !self.disk.is_on() {
            return None;
        }
        let block = self.disk.block(name.digest()).await?;
        self.memory.insert(name.clone(), block.clone());
        Some(block)
    }

    /// Stores a block.
    pub fn put(&self, name: PageKey, block: Bytes) {
        if self.disk.is_on() {
            self.disk.put(name.digest(), block.clone());
        }
        self.memory.insert(name, block);
    }
}

impl PageKey {
    /// A 128-bit digest.
    fn digest(&self) -> u128 {
        let half = |number: u8| u128::from(fingerprint::of(&(number, self)));
        half(0) << 64 | half(1)
    }
}
