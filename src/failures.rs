//! Remembers recent failures, so that work that fails is not repeated within a minute.
//!
//! Only failures that are the file's fault are remembered; others may be temporary.

use crate::error::Error;
use crate::error::Result;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// How long a failure is remembered.
const REMEMBERED: Duration = Duration::from_secs(60);

/// Maximum number of failures remembered; the oldest are dropped first.
const MOST: usize = 1000;

/// Failures by key and version.
#[derive(Debug)]
pub struct Failures<K>(Mutex<HashMap<K, (Instant, Error)>>);

impl<K> Default for Failures<K> {
    fn default() -> Self {
        Failures(Mutex::default())
    }
}

impl<K: Hash + Eq> Failures<K> {
    /// The error of the last attempt, if it was less than a minute ago.
    pub fn recall(&self, key: &K) -> Option<Error> {
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, error) = failures.get(key)?;
        if since.elapsed() < REMEMBERED {
            return copy_if_lasting(error);
        }
        failures.remove(key);
        None
    }

    /// Remembers a failure that would recur.
    pub fn remember(&self, key: K, error: &Error) {
        let Some(error) = copy_if_lasting(error) else {
            return;
        };
        let mut failures = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MOST {
            failures.retain(|_, (since, _)| since.elapsed() < REMEMBERED);
        }
        if failures.len() >= MOST {
            failures.clear();
        }
        failures.insert(key, (Instant::now(), error));
    }

    /// Runs an operation unless it failed within the last minute.
    pub fn attempt<T>(&self, key: K, make: impl FnOnce() -> Result<T>) -> Result<T> {
        if let Some(error) = self.recall(&key) {
            return Err(error);
        }
        make().inspect_err(|error| self.remember(key, error))
    }

    /// Forgets all failures.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// A copy of the error, if it is the file's fault.
fn copy_if_lasting(error: &Error) -> Option<Error> {
    match error {
        Error::Corrupt(text) => Some(Error::Corrupt(text.clone())),
        Error::Unsupported(text) => Some(Error::Unsupported(text.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[test]
    fn only_passing_failures_are_tried_again() {
        let failures = Failures::default();
        let tried = Cell::new(0);
        let fail = |key: u32, error: fn() -> Error| {
            failures.attempt(key, || -> Result<()> {
                tried.set(tried.get() + 1);
                Err(error())
            })
        };
        for _ in 0..3 {
            let error = fail(1, || Error::Corrupt("x".into()));
            assert!(matches!(error, Err(Error::Corrupt(text)) if text == "x"));
        }
        assert_eq!(tried.take(), 1);
        for _ in 0..3 {
            assert!(fail(2, || Error::Busy).is_err());
        }
        assert_eq!(tried.take(), 3);
        failures.clear();
        assert!(fail(1, || Error::Corrupt("x".into())).is_err());
        assert_eq!(tried.take(), 1);
    }

    #[test]
    fn failures_are_bounded() {
        let failures = Failures::default();
        for key in 0..3 * MOST {
            failures.remember(key, &Error::Corrupt(String::new()));
        }
        assert!(failures.0.lock().unwrap().len() <= MOST);
    }
}
