//! A cache of lookup tables, by the steps that they stand for.

use crate::process::step::Step;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;

/// Tables of a kind that are held, of 64 KiB each, or three times that for colour maps: at most 6 MiB.
const MOST: usize = 32;

/// A table is worth making when its entries are at most this many times the samples: the next tile finds it made.
pub const WORTH: u64 = 4;

/// What a table was made of.
#[derive(Clone, Debug, PartialEq)]
struct TableKey {
    steps: Vec<Step>,
    /// What becomes 0 and 1 of samples of 16 bits; `None` where numbers are looked up.
    ends: Option<[u64; 2]>,
}

/// The tables used last, the latest at the end.
pub struct TableCache<T>(Mutex<VecDeque<(TableKey, T)>>);

impl<T> TableCache<T> {
    /// Holds nothing yet.
    pub const fn new() -> TableCache<T> {
        TableCache(Mutex::new(VecDeque::new()))
    }
}

impl<T: Clone> TableCache<T> {
    /// The table of these steps. One that is not held is made if that is `worth` it; threads that ask at the same time
    /// each make one.
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
    fn the_last_tables_are_kept_and_the_others_go() {
        let known: TableCache<usize> = TableCache::new();
        let steps = |n: usize| vec![Step::Scale(Num::new(n as f64).unwrap())];
        assert_eq!(known.get(&steps(0), None, false, || 0), None);
        for n in 0..2 * MOST {
            assert_eq!(known.get(&steps(n), None, true, || n), Some(n));
            // used all the time, it stays
            assert_eq!(known.get(&steps(0), None, false, || 9), Some(0));
        }
        assert_eq!(known.0.lock().unwrap().len(), MOST);
        assert_eq!(known.get(&steps(1), None, false, || 9), None);
        assert_eq!(known.get(&steps(0), Some([1, 2]), false, || 9), None);
    }
}
