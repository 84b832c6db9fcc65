//! Runs one piece of work on several threads, up to the number of idle ones.
//!
//! Threads inherit the scope of the caller. They end with the piece, so that cores are available to other work between pieces.

use crate::error::Error;
use crate::error::Result;
use crate::work::busy::Busy;
use crate::work::scope;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::thread;

/// Runs `work` once on this thread and concurrently on up to `others` additional ones, if cores are idle. Returns when all
/// have finished.
pub fn run(others: usize, work: impl Fn() + Sync) {
    let work = &work;
    let _own = Busy::this_thread();
    let current = scope::current();
    thread::scope(|threads| {
        for busy in (0..others).map_while(|_| Busy::another()) {
            let current = current.clone();
            let body = move || {
                busy.starts();
                let _scope = current.map(scope::enter);
                work();
                drop(busy);
            };
            if thread::Builder::new()
                .name("compute-part".into())
                .spawn_scoped(threads, body)
                .is_err()
            {
                break;
            }
        }
        work();
    });
}

/// Runs `work` for each item, in order, on this thread and up to `others` additional ones. After a failure, or if the
/// request is cancelled, no further items are started; the first failure is returned.
pub fn each<T>(
    others: usize,
    items: impl Iterator<Item = T> + Send,
    work: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    let (items, failed) = (Mutex::new(items), OnceLock::new());
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    run(others, || {
        while failed.get().is_none()
            && let Some(item) = next()
        {
            if let Err(error) = scope::check().and_then(|()| work(item)) {
                let _ = failed.set(error);
            }
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}

/// Like [`each`], and returns the results of `make` in the order of the items.
pub fn map<T: Send, U: Send + Sync>(
    others: usize,
    items: Vec<T>,
    make: impl Fn(T) -> Result<U> + Sync,
) -> Result<Vec<U>> {
    let count = items.len();
    let results: Vec<OnceLock<U>> = (0..count).map(|_| OnceLock::new()).collect();
    each(
        others.min(count.saturating_sub(1)),
        items.into_iter().zip(0..count),
        |(item, at)| {
            let value = make(item)?;
            if let Some(place) = results.get(at) {
                let _ = place.set(value);
            }
            Ok(())
        },
    )?;
    let results: Option<Vec<U>> = results.into_iter().map(OnceLock::into_inner).collect();
    results.ok_or_else(|| Error::Internal("a piece of work was not made".into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::Scope;
    use std::sync::atomic::AtomicUsize;
    use std::sync::atomic::Ordering;

    #[test]
    fn every_item_is_processed_once() {
        for others in [0, 1, 100] {
            let (next, sum) = (AtomicUsize::new(0), AtomicUsize::new(0));
            run(others, || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= 1000 {
                        return;
                    }
                    sum.fetch_add(at, Ordering::Relaxed);
                }
            });
            assert_eq!(sum.into_inner(), 499_500);
        }
    }

    #[test]
    fn results_keep_the_order_of_the_items() {
        let results = map(3, (0..1000).collect(), |n: u32| Ok(n * 2)).unwrap();
        assert_eq!(results, (0..2000).step_by(2).collect::<Vec<_>>());
        assert!(
            map(3, vec![1, 2, 3], |n| if n == 2 {
                Err(Error::Busy)
            } else {
                Ok(n)
            })
            .is_err()
        );
    }

    #[test]
    fn after_a_failure_no_further_items_are_started() {
        let done = AtomicUsize::new(0);
        let failed = each(0, 0..100, |item| {
            done.fetch_add(1, Ordering::Relaxed);
            if item < 5 { Ok(()) } else { Err(Error::Busy) }
        });
        assert!(matches!(failed, Err(Error::Busy)));
        assert_eq!(done.into_inner(), 6);
    }

    #[test]
    fn a_cancelled_request_starts_no_further_items() {
        let scope = Scope::default();
        let _entered = scope::enter(scope.clone());
        let done = AtomicUsize::new(0);
        let failed = each(2, 0..100, |_| {
            done.fetch_add(1, Ordering::Relaxed);
            scope.cancel();
            Ok(())
        });
        assert!(matches!(failed, Err(Error::Cancelled)));
        assert!(done.into_inner() <= 3);
    }
}
