//! A cache of lookup tables, keyed by the steps that they replace.

use crate::process::step::Step;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Maximum number of tables of a type, of 64 KiB each, or 192 KiB for colour maps: at most 6 MiB.
const MOST: usize = 32;

/// A table is built if its entries are at most this many times the samples: following tiles reuse it.
pub const WORTH: u64 = 4;

/// The inputs of a table.
#[derive(Clone, Debug, PartialEq)]
struct TableKey {
    steps: Vec<Step>,
    /// The range of 16-bit samples; `None` for tables by number.
    ends: Option<[u64; 2]>,
}

/// Recently used tables, the latest last.
pub struct TableCache<T>(Mutex<VecDeque<(TableKey, T)>>);

impl<T> TableCache<T> {
    /// An empty cache.
    pub const fn new() -> TableCache<T> {
        TableCache(Mutex::new(VecDeque::new()))
    }
}

impl<T: Clone> TableCache<T> {
    /// The table for these steps. A missing table is built if `worth`; threads that ask at the same time each build
    /// one.
    pub fn get(
        &self,
        steps: &[Step],
        ends: Option<[u64; 2]>,
        worth: bool,
        make: impl FnOnce() -> T,
    ) -> Option<T> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = lock();
        let found = known
            .iter()
            .rposition(|(key, _)| key.ends == ends && key.steps == steps);
        if let Some(entry) = found.and_then(|place| known.remove(place)) {
            let made = entry.1.clone();
            known.push_back(entry);
            return Some(made);
        }
        drop(known);
        if !worth {
            return None;
        }
        let made = make();
        let mut known = lock();
        while known.len() >= MOST {
            known.pop_front();
        }
        let key = TableKey {
            steps: steps.to_vec(),
            ends,
        };
        known.push_back((key, made.clone()));
        Some(made)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Num;

    #[test]
    fn the_least_recently_used_tables_are_evicted() {
        let known: TableCache<usize> = TableCache::new();
        let steps = |n: usize| vec![Step::Scale(Num::new(n as f64).unwrap())];
        assert_eq!(known.get(&steps(0), None, false, || 0), None);
        for n in 0..2 * MOST {
            assert_eq!(known.get(&steps(n), None, true, || n), Some(n));
            // in constant use, so never evicted
            assert_eq!(known.get(&steps(0), None, false, || 9), Some(0));
        }
        assert_eq!(known.0.lock().unwrap().len(), MOST);
        assert_eq!(known.get(&steps(1), None, false, || 9), None);
        assert_eq!(known.get(&steps(0), Some([1, 2]), false, || 9), None);
    }
}
