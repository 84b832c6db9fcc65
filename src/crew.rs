//! How many threads compute: work is shared out only while cores are left that have nothing to do.
//!
//! Knows no work; who asks says how many hands it is worth.

use crate::error::Result;
use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;

/// Threads that work now, as far as they came here.
static BUSY: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread is one of them.
    static WORKS: Cell<bool> = const { Cell::new(false) };
}

/// How many cores there are, 1 or more.
pub fn cores() -> usize {
    /// To ask means to read files of the kernel's.
    static CORES: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from));
    *CORES
}

/// One of [`BUSY`], for as long as it lives.
struct Busy {
    /// This thread.
    own: bool,
}

impl Busy {
    /// This thread; `None` when it is counted already.
    fn own() -> Option<Busy> {
        (!WORKS.replace(true)).then(|| {
            BUSY.fetch_add(1, Ordering::Relaxed);
            Busy { own: true }
        })
    }

    /// Another thread; `None` when every core has work already.
    fn hire() -> Option<Busy> {
        let more = |busy: usize| (busy < cores()).then_some(busy + 1);
        let hired = BUSY.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        hired.is_ok().then(|| Busy { own: false })
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.fetch_sub(1, Ordering::Relaxed);
        if self.own {
            WORKS.set(false);
        }
    }
}

/// Does `work` on this thread and, at the same time, on up to so many others, as long as cores are left and threads
/// can be had. Every thread calls it once; it ends when all have.
pub fn crew(others: usize, work: impl Fn() + Sync) {
    let work = &work;
    let _own = Busy::own();
    thread::scope(|scope| {
        for busy in (0..others).map_while(|_| Busy::hire()) {
            let hand = move || {
                WORKS.set(true);
                work();
                drop(busy);
            };
            if thread::Builder::new()
                .name("crew".into())
                .spawn_scoped(scope, hand)
                .is_err()
            {
                break;
            }
        }
        work();
    });
}

/// Does `work` with each of the items, which are taken in their order, on this thread and up to so many others. After a
/// failure no more are begun; the first one is returned.
pub fn each<T>(
    others: usize,
    items: impl Iterator<Item = T> + Send,
    work: impl Fn(T) -> Result<()> + Sync,
) -> Result<()> {
    let (items, failed) = (Mutex::new(items), OnceLock::new());
    let next = || items.lock().unwrap_or_else(PoisonError::into_inner).next();
    crew(others, || {
        while failed.get().is_none()
            && let Some(item) = next()
        {
            if let Err(error) = work(item) {
                let _ = failed.set(error);
            }
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    #[test]
    fn everything_is_done_once_whoever_does_it() {
        for others in [0, 1, 100] {
            let (next, sum) = (AtomicUsize::new(0), AtomicUsize::new(0));
            crew(others, || {
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
    fn after_a_failure_no_more_are_begun() {
        let done = AtomicUsize::new(0);
        let failed = each(0, 0..100, |item| {
            done.fetch_add(1, Ordering::Relaxed);
            if item < 5 { Ok(()) } else { Err(Error::Busy) }
        });
        assert!(matches!(failed, Err(Error::Busy)));
        assert_eq!(done.into_inner(), 6);
    }

    #[test]
    fn a_thread_counts_once_however_deep_it_calls() {
        // other tests may be at work at the same time: only what this one adds is known
        for _ in 0..100 {
            crew(0, || {
                crew(0, || assert!(Busy::own().is_none()));
                assert!(WORKS.get());
            });
            assert!(!WORKS.get());
        }
    }

    #[test]
    fn who_is_not_hired_leaves_no_gap() {
        let all: Vec<Busy> = (0..cores()).map_while(|_| Busy::hire()).collect();
        for _ in 0..10_000 {
            drop(Busy::hire());
        }
        let busy = BUSY.load(Ordering::Relaxed);
        assert!((all.len()..1000).contains(&busy), "{busy}");
    }
}
