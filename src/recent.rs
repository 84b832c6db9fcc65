//! What was used last, within a bound of bytes: for what neighbours need soon, and nobody later.
//!
//! Whoever asks for what is being made waits for it. Knows nothing of what the keys mean.

use crate::error::Result;
use bytes::Bytes;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::hash::Hash;
use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

/// Bytes that a key and its entry cost besides the value.
const ENTRY_BYTES: u64 = 250;

/// Values by their keys, the last used ones of them.
pub struct Recent<K> {
    max_bytes: u64,
    ages: Mutex<Ages<K>>,
}

/// Generations: what is used moves to the youngest one, and when that is full the oldest one goes.
struct Ages<K> {
    young: HashMap<K, Slot>,
    /// Weight of the young ones.
    bytes: u64,
    /// The others, the oldest at the back.
    old: VecDeque<HashMap<K, Slot>>,
}

/// How many generations there are.
const AGES: u8 = 5;

/// Whoever comes first makes the value under this lock.
#[derive(Clone, Default)]
struct Slot {
    value: Arc<Mutex<Option<Bytes>>>,
    /// Once it is made.
    bytes: u64,
}

impl<K: Hash + Eq> Ages<K> {
    /// Makes place for so many bytes among the young ones.
    fn grow(&mut self, bytes: u64, max_bytes: u64) {
        self.bytes += bytes;
        if self.bytes > max_bytes / u64::from(AGES) {
            self.old.push_front(mem::take(&mut self.young));
            self.old.truncate(usize::from(AGES) - 1);
            self.bytes = bytes;
        }
    }
}

impl<K: Hash + Eq + Clone> Recent<K> {
    /// Of at most so many bytes, entries' own cost included.
    pub fn new(max_bytes: u64) -> Self {
        Recent {
            max_bytes,
            ages: Mutex::new(Ages {
                young: HashMap::new(),
                bytes: 0,
                old: VecDeque::new(),
            }),
        }
    }

    fn ages(&self) -> MutexGuard<'_, Ages<K>> {
        self.ages.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value, made by `make` if it is not here. When that fails or panics nothing is kept.
    pub fn get_or_make(&self, key: &K, make: impl FnOnce() -> Result<Bytes>) -> Result<Bytes> {
        let slot = self.slot(key);
        let mut place = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = &*place {
            return Ok(bytes.clone());
        }
        let value = make()?;
        *place = Some(value.clone());
        drop(place);
        let bytes = value.len() as u64;
        let mut ages = self.ages();
        // it was held without its value until now, and may be forgotten already
        let held = match ages.young.remove(key) {
            Some(slot) => {
                ages.bytes = ages.bytes.saturating_sub(ENTRY_BYTES);
                Some(slot)
            }
            None => ages.old.iter_mut().find_map(|age| age.remove(key)),
        };
        if let Some(slot) = held {
            ages.grow(ENTRY_BYTES + bytes, self.max_bytes);
            ages.young.insert(key.clone(), Slot { bytes, ..slot });
        }
        Ok(value)
    }

    /// The place of a value, which counts as used now.
    fn slot(&self, key: &K) -> Arc<Mutex<Option<Bytes>>> {
        let mut ages = self.ages();
        if let Some(slot) = ages.young.get(key) {
            return Arc::clone(&slot.value);
        }
        let slot = ages.old.iter_mut().find_map(|age| age.remove(key));
        let slot = slot.unwrap_or_default();
        let (value, bytes) = (Arc::clone(&slot.value), slot.bytes);
        ages.grow(ENTRY_BYTES + bytes, self.max_bytes);
        ages.young.insert(key.clone(), slot);
        value
    }

    /// Forgets everything.
    pub fn clear(&self) {
        let mut ages = self.ages();
        (ages.young, ages.old, ages.bytes) = (HashMap::new(), VecDeque::new(), 0);
    }

    /// Bytes in use, entries' own cost included.
    pub fn bytes(&self) -> u64 {
        let ages = self.ages();
        let all = ages.old.iter().chain([&ages.young]).flat_map(HashMap::values);
        all.map(|slot| ENTRY_BYTES + slot.bytes).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    fn value(len: usize) -> Result<Bytes> {
        Ok(vec![7; len].into())
    }

    #[test]
    fn the_last_used_ones_stay_and_the_bound_holds() {
        let recent = Recent::new(100_000);
        for i in 0..1000 {
            recent.get_or_make(&i, || value(2000)).unwrap();
            let used = recent.get_or_make(&0, || panic!("it was just used"));
            assert_eq!(used.unwrap().len(), 2000);
            assert!(recent.bytes() <= 100_000, "{} bytes", recent.bytes());
        }
        for i in 970..1000 {
            recent.get_or_make(&i, || panic!("{i} came last")).unwrap();
        }
        let made = AtomicUsize::new(0);
        let make = || {
            made.fetch_add(1, Ordering::Relaxed);
            value(1)
        };
        recent.get_or_make(&500, make).unwrap();
        assert_eq!(made.into_inner(), 1, "500 was long ago");
    }

    #[test]
    fn one_makes_it_while_the_others_wait() {
        let (recent, made) = (Recent::new(1 << 20), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    recent.get_or_make(&1, || {
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
        assert!(recent.get_or_make(&1, || Err(Error::Busy)).is_err());
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = recent.get_or_make(&1, || panic!("in the maker"));
        }));
        assert!(panicked.is_err());
        assert_eq!(recent.get_or_make(&1, || value(5)).unwrap().len(), 5);
        recent.clear();
        assert_eq!(recent.bytes(), 0);
    }
}
