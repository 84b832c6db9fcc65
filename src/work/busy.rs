//! How many threads compute now, of the permitted number.

use std::cell::Cell;
use std::sync::LazyLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread;

/// Threads that work now.
static BUSY: AtomicUsize = AtomicUsize::new(0);

/// How many may be [`BUSY`] before no more are started; 0 is as many as there are cores.
static MOST: AtomicUsize = AtomicUsize::new(0);

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

/// Bounds the threads that compute at the same time, for the whole process.
pub fn limit(threads: usize) {
    MOST.store(threads, Ordering::Relaxed);
}

/// How many threads may compute at the same time.
pub fn most() -> usize {
    match MOST.load(Ordering::Relaxed) {
        0 => cores(),
        threads => threads,
    }
}

/// One of `BUSY`, for as long as it lives.
pub struct Busy {
    /// This thread.
    own: bool,
}

impl Busy {
    /// This thread; `None` when it is counted already.
    pub fn own() -> Option<Busy> {
        (!WORKS.replace(true)).then(|| {
            BUSY.fetch_add(1, Ordering::Relaxed);
            Busy { own: true }
        })
    }

    /// Another thread, to be started; `None` when enough are at work.
    pub fn another() -> Option<Busy> {
        // gives its place back where it is one too many
        let busy = Busy { own: false };
        (BUSY.fetch_add(1, Ordering::Relaxed) < most()).then_some(busy)
    }

    /// Marks the thread that was started as the one that was counted.
    pub fn starts(&self) {
        WORKS.set(true);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_thread_leaves_no_gap() {
        let all: Vec<Busy> = (0..most()).map_while(|_| Busy::another()).collect();
        for _ in 0..10_000 {
            drop(Busy::another());
        }
        let busy = BUSY.load(Ordering::Relaxed);
        assert!((all.len()..1000).contains(&busy), "{busy}");
    }

    #[test]
    fn a_thread_is_counted_once() {
        let own = Busy::own();
        assert!(own.is_some() && Busy::own().is_none());
        drop(own);
        assert!(!WORKS.get());
    }
}
