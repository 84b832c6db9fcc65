//! The memory cache: encoded answers, decoded tiles and parts of tiles under one limit.
//!
//! One call does lookup, single flight and insertion, so that callers cannot race between them.

pub mod memcached;

use crate::error::Result;
use crate::metrics;
use crate::metrics::Tier;
use crate::raster::Raster;
use crate::recent::Recent;
use crate::work;
use bytes::Bytes;
use quick_cache::DefaultHashBuilder;
use quick_cache::Lifecycle;
use quick_cache::OptionsBuilder;
use quick_cache::Weighter;
use quick_cache::sync::GuardResult;
use std::cell::Cell;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::OnceLock;
use std::time::Duration;

/// Overhead of an entry and its key in bytes.
const ENTRY_BYTES: u64 = 400;

/// Interval at which a waiting request checks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(20);

/// A value and its weight.
#[derive(Clone, Debug)]
pub enum Cached {
    /// A complete file.
    Answer(Bytes),
    /// Decoded samples.
    Raster(Arc<Raster>),
}

#[derive(Clone)]
struct AnswerWeighter;

impl<K> Weighter<K, Cached> for AnswerWeighter {
    fn weight(&self, _key: &K, value: &Cached) -> u64 {
        let bytes = match value {
            Cached::Answer(bytes) => bytes.len(),
            Cached::Raster(raster) => raster.samples.bytes(),
        };
        ENTRY_BYTES + bytes as u64
    }
}

/// Counts evictions.
#[derive(Clone)]
struct Counting;

impl<K, V> Lifecycle<K, V> for Counting {
    type RequestState = ();

    fn on_evict(&self, _: &mut (), _: K, _: V) {
        let tier = Tier { tier: MEMORY };
        metrics::get().evictions.get_or_create(&tier).inc();
    }
}

/// The name of this cache in metrics.
const MEMORY: &str = "memory";

type CountedCache<K> = quick_cache::sync::Cache<K, Cached, AnswerWeighter, DefaultHashBuilder, Counting>;

/// A byte-weighted cache, shared by all threads.
pub struct Cache<K: Hash + Eq> {
    inner: Option<CountedCache<K>>,
    /// Values that are needed again soon or never; it takes half of the capacity once it is used.
    recent: OnceLock<Recent<K>>,
    max_bytes: u64,
}

impl<K: Hash + Eq + Clone> Cache<K> {
    /// A cache of at most `max_bytes` bytes, overhead included; 0 disables it.
    pub fn new(max_bytes: u64) -> Self {
        Cache {
            inner: (max_bytes > 0).then(|| build(max_bytes)).flatten(),
            recent: OnceLock::new(),
            max_bytes,
        }
    }

    /// The cached value. Does not wait for one that is being computed.
    pub fn find(&self, key: &K) -> Option<Cached> {
        let found = self.inner.as_ref()?.get(key)?;
        metrics::lookup(MEMORY, "hit");
        Some(found)
    }

    /// Inserts a value.
    pub fn insert(&self, key: K, value: Cached) {
        if let Some(inner) = &self.inner {
            inner.insert(key, value);
        }
    }

    /// The value, computed by `make` if it is not cached. Concurrent callers wait for the computation unless their own requests
    /// are cancelled; if it fails or panics, nothing is cached and the next caller computes the value.
    pub fn get_or_make(&self, key: &K, make: impl FnOnce() -> Result<Cached>) -> Result<Cached> {
        let Some(inner) = &self.inner else {
            return make();
        };
        loop {
            match inner.get_value_or_guard(key, Some(LOOK)) {
                GuardResult::Value(value) => {
                    metrics::lookup(MEMORY, "hit");
                    return Ok(value);
                }
                GuardResult::Guard(guard) => {
                    metrics::lookup(MEMORY, "miss");
                    let value = make()?;
                    let _ = guard.insert(value.clone());
                    return Ok(value);
                }
                GuardResult::Timeout => work::check()?,
            }
        }
    }

    /// Removes entries whose keys match; returns their number.
    pub fn purge(&self, covers: impl Fn(&K) -> bool) -> usize {
        // short-lived entries, removed whatever their keys
        if let Some(recent) = self.recent.get() {
            recent.clear();
        }
        let Some(inner) = &self.inner else { return 0 };
        let gone = Cell::new(0);
        inner.retain(|key, _| {
            let covered = covers(key);
            gone.set(gone.get() + usize::from(covered));
            !covered
        });
        gone.get()
    }

    /// Updates a short-lived value that adjacent tiles share. The most recently used ones are kept separately from all others, see
    /// [`Recent::update`].
    pub fn recent(&self, key: &K, make: impl FnOnce(Option<Bytes>) -> Result<Option<Bytes>>) -> Result<()> {
        let Some(inner) = &self.inner else {
            return make(None).map(drop);
        };
        let recent = self.recent.get_or_init(|| {
            inner.set_capacity(self.max_bytes - self.max_bytes / 2);
            Recent::new(self.max_bytes / 2)
        });
        recent.update(key, make)
    }

    /// Empties the cache.
    pub fn clear(&self) {
        if let Some(recent) = self.recent.get() {
            recent.clear();
        }
        if let Some(inner) = &self.inner {
            inner.clear();
        }
    }

    /// The capacity in bytes.
    pub fn max_bytes(&self) -> u64 {
        self.max_bytes
    }

    /// The largest value, in bytes, that does not evict most of its shard, if half of the cache is used otherwise.
    pub fn large_bytes(&self) -> u64 {
        self.max_bytes / shards(self.max_bytes) / 4
    }

    /// Bytes in use, overhead included.
    pub fn bytes(&self) -> u64 {
        self.inner.as_ref().map_or(0, CountedCache::weight) + self.recent.get().map_or(0, Recent::bytes)
    }
}

/// The number of shards: one per 8 MB, at most 16. A shard's capacity limits the size of a value, so small caches have few.
fn shards(max_bytes: u64) -> u64 {
    (max_bytes >> 23).clamp(1, 16)
}

fn build<K: Hash + Eq + Clone>(max_bytes: u64) -> Option<CountedCache<K>> {
    let shards = usize::try_from(shards(max_bytes)).unwrap_or(1);
    let items = usize::try_from(max_bytes >> 14)
        .unwrap_or(1 << 20)
        .clamp(16, 1 << 20);
    let options = OptionsBuilder::new()
        .estimated_items_capacity(items)
        .weight_capacity(max_bytes)
        .shards(shards)
        .build()
        .ok()?;
    Some(CountedCache::with_options(
        options,
        AnswerWeighter,
        DefaultHashBuilder::default(),
        Counting,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use std::sync::Barrier;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    fn answer(len: usize) -> Cached {
        Cached::Answer(vec![0; len].into())
    }

    #[test]
    fn the_capacity_limits_answers_and_rasters_together() {
        let cache = Cache::new(1 << 20);
        for i in 0..1000u32 {
            let raster = Raster {
                size: crate::geometry::Size::new(50, 50),
                channels: 1,
                samples: crate::raster::Samples::U8(vec![0; 2500]),
            };
            cache
                .get_or_make(&(i, 0), || Ok(Cached::Raster(Arc::new(raster))))
                .unwrap();
            cache.get_or_make(&(i, 1), || Ok(answer(7000))).unwrap();
            assert!(cache.bytes() <= 1 << 20, "{} bytes", cache.bytes());
        }
        assert!(
            cache.bytes() > 1 << 19,
            "the cache is used: {} bytes",
            cache.bytes()
        );
    }

    #[test]
    fn an_answer_of_five_megabytes_is_kept_by_the_default_cache() {
        let cache = Cache::new(10 << 20);
        cache.get_or_make(&1, || Ok(answer(5 << 20))).unwrap();
        assert!(cache.find(&1).is_some());
    }

    #[test]
    fn one_caller_computes_while_the_others_wait() {
        let cache = Cache::new(1 << 20);
        let made = AtomicUsize::new(0);
        let start = Barrier::new(8);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    start.wait();
                    let make = || {
                        std::thread::sleep(std::time::Duration::from_millis(50));
                        made.fetch_add(1, Ordering::SeqCst);
                        Ok(answer(10))
                    };
                    cache.get_or_make(&1, make).unwrap();
                });
            }
        });
        assert_eq!(made.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn a_failure_or_panic_caches_nothing_and_releases_the_waiters() {
        let cache: Cache<u32> = Cache::new(1 << 20);
        assert!(cache.get_or_make(&1, || Err(Error::Busy)).is_err());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = cache.get_or_make(&1, || panic!("in the maker"));
        }));
        assert!(panicked.is_err());
        assert!(cache.get_or_make(&1, || Ok(answer(1))).is_ok());
    }

    #[test]
    fn a_waiter_ends_when_its_request_is_cancelled() {
        let cache: Cache<u32> = Cache::new(1 << 20);
        let scope = work::Scope::default();
        let (begun, ended) = (Barrier::new(2), Barrier::new(2));
        std::thread::scope(|threads| {
            threads.spawn(|| {
                let make = || {
                    begun.wait();
                    ended.wait();
                    Ok(answer(1))
                };
                cache.get_or_make(&1, make).unwrap();
            });
            begun.wait();
            let waiter = threads.spawn(|| {
                let _entered = work::scope::enter(scope.clone());
                cache.get_or_make(&1, || unreachable!("another makes it"))
            });
            scope.cancel();
            assert!(matches!(waiter.join().unwrap(), Err(Error::Cancelled)));
            ended.wait();
        });
        assert!(cache.find(&1).is_some());
    }

    #[test]
    fn a_purge_removes_exactly_the_matching_entries() {
        let cache = Cache::new(1 << 20);
        for key in 0..10 {
            cache.get_or_make(&key, || Ok(answer(1))).unwrap();
        }
        assert_eq!(cache.purge(|key| *key < 3), 3);
        let left: Vec<_> = (0..10).filter(|key| cache.find(key).is_some()).collect();
        assert_eq!(left, [3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn a_cache_of_zero_bytes_stores_nothing() {
        let cache = Cache::new(0);
        cache.get_or_make(&1, || Ok(answer(1))).unwrap();
        assert!(cache.find(&1).is_none());
    }
}
