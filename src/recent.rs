//! A small map of the most recently used values within a limit of bytes.
//!
//! Concurrent requests for a value that is being computed wait for it.

use crate::error::Result;
use bytes::Bytes;
use lru::LruCache;
use std::hash::Hash;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// Bytes of a key and its entry, without the value.
const ENTRY_BYTES: u64 = 300;

/// A value that has a size.
pub trait Weigh: Clone {
    /// Its size in bytes.
    fn weight(&self) -> u64;
}

impl Weigh for Bytes {
    fn weight(&self) -> u64 {
        self.len() as u64
    }
}

/// The most recently used values, by key.
pub struct Recent<K: Hash + Eq, V = Bytes> {
    max_bytes: u64,
    /// Most recently used values that are kept whatever their size.
    least: usize,
    held: Mutex<Held<K, V>>,
}

struct Held<K: Hash + Eq, V> {
    slots: LruCache<K, Slot<V>>,
    /// Bytes of all values and entries.
    bytes: u64,
}

/// The first request computes the value under this lock.
type Place<V> = Arc<Mutex<Option<V>>>;

struct Slot<V> {
    value: Place<V>,
    bytes: u64,
}

impl<K: Hash + Eq, V> Held<K, V> {
    /// Drops the least recently used values.
    fn trim(&mut self, max_bytes: u64, least: usize) {
        while self.bytes > max_bytes
            && self.slots.len() > least
            && let Some((_, slot)) = self.slots.pop_lru()
        {
            self.bytes = self.bytes.saturating_sub(slot.bytes);
        }
    }
}

impl<K: Hash + Eq + Clone, V: Weigh> Recent<K, V> {
    /// Holds at most `max_bytes` bytes, entries included.
    pub fn new(max_bytes: u64) -> Self {
        Recent::of_some(max_bytes, 0)
    }

    /// As [`Recent::new`], but always keeps the `least` most recently used values whatever their size.
    pub fn of_some(max_bytes: u64, least: usize) -> Self {
        Recent {
            max_bytes,
            least,
            held: Mutex::new(Held {
                slots: LruCache::unbounded(),
                bytes: 0,
            }),
        }
    }

    fn held(&self) -> MutexGuard<'_, Held<K, V>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Calls `make` with the present value, if any; it returns the new value, or `None` to leave it unchanged. Concurrent
    /// calls for the same key wait. If `make` fails or panics nothing changes.
    pub fn update(&self, key: &K, make: impl FnOnce(Option<V>) -> Result<Option<V>>) -> Result<()> {
        let value = self.slot(key);
        let mut place = value.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(content) = make(place.clone())? else {
            return Ok(());
        };
        let bytes = ENTRY_BYTES + content.weight();
        *place = Some(content);
        drop(place);
        let mut held = self.held();
        // it may have been dropped already
        if let Some(slot) = held.slots.peek_mut(key)
            && Arc::ptr_eq(&slot.value, &value)
        {
            let before = std::mem::replace(&mut slot.bytes, bytes);
            held.bytes = held.bytes.saturating_sub(before) + bytes;
            held.trim(self.max_bytes, self.least);
        }
        Ok(())
    }

    /// The slot of a value, which now counts as used.
    fn slot(&self, key: &K) -> Place<V> {
        let mut held = self.held();
        if let Some(slot) = held.slots.get(key) {
            return Arc::clone(&slot.value);
        }
        let value = Place::default();
        let slot = Slot {
            value: Arc::clone(&value),
            bytes: ENTRY_BYTES,
        };
        held.slots.push(key.clone(), slot);
        held.bytes += ENTRY_BYTES;
        held.trim(self.max_bytes, self.least);
        value
    }

    /// Drops all values.
    pub fn clear(&self) {
        let mut held = self.held();
        held.slots.clear();
        held.bytes = 0;
    }

    /// Bytes in use, entries' own cost included.
    pub fn bytes(&self) -> u64 {
        self.held().bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    fn value(len: usize) -> Result<Option<Bytes>> {
        Ok(Some(Bytes::from(vec![7; len])))
    }

    /// What is held.
    fn held<K: Hash + Eq + Clone>(recent: &Recent<K>, key: &K) -> Option<Bytes> {
        let mut found = None;
        let look = |held| {
            found = held;
            Ok(None)
        };
        recent.update(key, look).unwrap();
        found
    }

    #[test]
    fn the_last_used_ones_stay_and_the_bound_holds() {
        let recent = Recent::new(100_000);
        for i in 0..1000 {
            recent.update(&i, |_| value(2000)).unwrap();
            assert_eq!(held(&recent, &0).expect("just used").len(), 2000);
            assert!(recent.bytes() <= 100_000, "{} bytes", recent.bytes());
        }
        for i in 980..1000 {
            held(&recent, &i).expect("came last");
        }
        assert_eq!(held(&recent, &500), None, "500 was long ago");
    }

    #[test]
    fn the_most_recent_entries_stay_regardless_of_weight_if_configured() {
        let recent = Recent::of_some(1000, 2);
        for i in 0..4 {
            recent.update(&i, |_| value(2000)).unwrap();
        }
        let stay = [0, 1, 2, 3].map(|i| recent.held().slots.peek(&i).is_some());
        assert_eq!(stay, [false, false, true, true]);
    }

    #[test]
    fn one_makes_it_while_the_others_wait() {
        let (recent, made) = (Recent::new(1 << 20), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    recent.update(&1, |held| {
                        if held.is_some() {
                            return Ok(None);
                        }
                        std::thread::sleep(std::time::Duration::from_millis(50));
                        made.fetch_add(1, Ordering::Relaxed);
                        value(10)
                    })
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }

    #[test]
    fn a_failure_or_a_panic_keeps_nothing() {
        let recent: Recent<u32> = Recent::new(1 << 20);
        assert!(recent.update(&1, |_| Err(Error::Busy)).is_err());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = recent.update(&1, |_| panic!("in the maker"));
        }));
        assert!(panicked.is_err());
        assert_eq!(held(&recent, &1), None);
        recent.update(&1, |_| value(5)).unwrap();
        assert_eq!(held(&recent, &1).unwrap().len(), 5);
        recent.clear();
        assert_eq!(recent.bytes(), 0);
    }

    #[test]
    fn less_may_be_held_from_some_time_on() {
        let recent = Recent::new(1 << 20);
        recent.update(&1, |_| value(6)).unwrap();
        let before = recent.bytes();
        let less = |held: Option<Bytes>| Ok(held.map(|held| held.slice(..2)));
        recent.update(&1, less).unwrap();
        assert_eq!(held(&recent, &1).unwrap().len(), 2);
        assert_eq!(recent.bytes(), before - 4);
    }
}
