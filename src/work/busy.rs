//! Counts the threads that compute, and limits their number.

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;

/// The number of threads that compute.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// The limit of [`BUSY`]; 0 stands for the number of cores.
static MOST: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread is counted.
    static WORKS: Cell<bool> = const { Cell::new(false) };
}

/// The number of cores, at least 1.
pub fn cores() -> usize {
    /// Cached, because the query reads files of the kernel.
    static CORES: LazyLock<usize> = LazyLock::new(|| thread::available_parallelism().map_or(1, usize::from));
    *CORES
}

/// Limits the concurrently computing threads of the process.
pub fn limit(threads: usize) {
    MOST.store(threads, Ordering::Relaxed);
}

/// The maximum number of concurrently computing threads.
pub fn max_threads() -> usize {
    match MOST.load(Ordering::Relaxed) {
        0 => cores(),
        threads => threads,
    }
}

/// A guard that counts one thread in `BUSY`.
pub struct Busy {
    /// It is the current thread, not one to be started.
    is_current: bool,
}

impl Busy {
    /// Counts this thread; `None` if it is already counted.
    pub fn this_thread() -> Option<Busy> {
        (!WORKS.replace(true)).then(|| {
            BUSY.fetch_add(1, Ordering::Relaxed);
            Busy { is_current: true }
        })
    }

    /// Reserves a thread to be started; `None` if the limit is reached.
    pub fn another() -> Option<Busy> {
        // dropping it undoes the count if the limit is exceeded
        let busy = Busy { is_current: false };
        (BUSY.fetch_add(1, Ordering::Relaxed) < max_threads()).then_some(busy)
    }

    /// Marks the started thread as counted.
    pub fn starts(&self) {
        WORKS.set(true);
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        BUSY.fetch_sub(1, Ordering::Relaxed);
        if self.is_current {
            WORKS.set(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_thread_is_not_counted() {
        let all: Vec<Busy> = (0..max_threads()).map_while(|_| Busy::another()).collect();
        for _ in 0..10_000 {
            drop(Busy::another());
        }
        let busy = BUSY.load(Ordering::Relaxed);
        assert!((all.len()..1000).contains(&busy), "{busy}");
    }

    #[test]
    fn a_thread_is_counted_once() {
        let own = Busy::this_thread();
        assert!(own.is_some() && Busy::this_thread().is_none());
        drop(own);
        assert!(!WORKS.get());
    }
}
