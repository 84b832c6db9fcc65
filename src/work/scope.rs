//! The context of a request: deadline, cancellation, and time spent by stage.
//!
//! A thread that works for a request enters its scope; code at lower levels accesses it through [`check`] and [`timed`].

use crate::error::Error;
use crate::error::Result;
use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::Wake;
use std::task::Waker;
use std::thread::Thread;
use std::time::Duration;
use std::time::Instant;

/// Stages of a request, for timing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Waiting for a thread and for memory.
    Queue,
    /// Opening the file, and building data that all its windows need.
    Open,
    /// Reading and decoding.
    Read,
    /// Pixel steps.
    Process,
    /// Encoding.
    Encode,
    /// Sending the answer.
    Send,
}

impl Stage {
    /// All stages in the order of a request.
    pub const ALL: [Stage; 6] = [
        Stage::Queue,
        Stage::Open,
        Stage::Read,
        Stage::Process,
        Stage::Encode,
        Stage::Send,
    ];

    /// The name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Queue => "queue",
            Stage::Open => "open",
            Stage::Read => "read",
            Stage::Process => "process",
            Stage::Encode => "encode",
            Stage::Send => "send",
        }
    }
}

/// The context of a request; clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Scope(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    cancelled: AtomicBool,
    deadline: Option<Instant>,
    /// Nanoseconds in the order of [`Stage::ALL`].
    stages: [AtomicU64; Stage::ALL.len()],
    /// Requests to stores, and bytes received.
    fetched: [AtomicU64; 2],
}

impl Scope {
    /// A request with the deadline `patience` from now, or without.
    pub fn new(patience: Option<Duration>) -> Scope {
        Scope(Arc::new(Inner {
            deadline: patience.map(|patience| Instant::now() + patience),
            ..Inner::default()
        }))
    }

    /// Cancels the request.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
    }

    /// Whether the request was cancelled.
    pub fn cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed)
    }

    /// Errors: `Error::Cancelled` if the request was cancelled, `Error::TimedOut` after its deadline.
    pub fn check(&self) -> Result<()> {
        if self.cancelled() {
            return Err(Error::Cancelled);
        }
        match self.0.deadline {
            Some(deadline) if deadline <= Instant::now() => Err(Error::TimedOut),
            _ => Ok(()),
        }
    }

    /// The deadline.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.deadline
    }

    /// Whether both are the scope of one request.
    pub fn is(&self, other: &Scope) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Adds to the time of a stage.
    pub fn add(&self, stage: Stage, time: Duration) {
        let time = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(sum) = self.0.stages.get(stage as usize) {
            sum.fetch_add(time, Ordering::Relaxed);
        }
    }

    /// Adds the times of another scope that worked for this one.
    pub fn add_all(&self, other: &Scope) {
        for (stage, time) in other.times() {
            self.add(stage, time);
        }
        let [requests, bytes] = other.fetched();
        self.add_fetched(requests, bytes);
    }

    /// Adds requests to stores, and bytes received.
    pub fn add_fetched(&self, requests: u64, bytes: u64) {
        for (sum, count) in self.0.fetched.iter().zip([requests, bytes]) {
            sum.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Requests to stores, and bytes received.
    pub fn fetched(&self) -> [u64; 2] {
        self.0.fetched.each_ref().map(|sum| sum.load(Ordering::Relaxed))
    }

    /// The time of each stage; times of concurrent threads add up.
    pub fn times(&self) -> impl Iterator<Item = (Stage, Duration)> {
        let duration = |sum: &AtomicU64| Duration::from_nanos(sum.load(Ordering::Relaxed));
        Stage::ALL.into_iter().zip(self.0.stages.iter().map(duration))
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Scope>> = const { RefCell::new(None) };
}

/// Makes this the current scope of the thread until the guard is dropped, which restores the previous one.
pub fn enter(scope: Scope) -> ScopeGuard {
    ScopeGuard(CURRENT.with(|current| current.replace(Some(scope))))
}

/// See [`enter`].
pub struct ScopeGuard(Option<Scope>);

impl Drop for ScopeGuard {
    fn drop(&mut self) {
        let before = self.0.take();
        CURRENT.with(|current| current.replace(before));
    }
}

/// The current scope of this thread.
pub fn current() -> Option<Scope> {
    CURRENT.with(|current| current.borrow().clone())
}

/// [`Scope::check`] of the current scope, if any.
pub fn check() -> Result<()> {
    CURRENT.with(|current| current.borrow().as_ref().map_or(Ok(()), Scope::check))
}

/// Runs `work` and adds its time to a stage of the current scope.
pub fn timed<T>(stage: Stage, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let done = work();
    let time = start.elapsed();
    CURRENT.with(|current| {
        if let Some(scope) = &*current.borrow() {
            scope.add(stage, time);
        }
    });
    done
}

/// Blocks this thread until the future is ready.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scope_entered_last_is_current() {
        assert!(current().is_none() && check().is_ok());
        let outer = enter(Scope::default());
        {
            let cancelled = Scope::default();
            cancelled.cancel();
            let _inner = enter(cancelled);
            assert!(matches!(check(), Err(Error::Cancelled)));
        }
        assert!(check().is_ok());
        drop(outer);
        assert!(current().is_none());
        let late = Scope::new(Some(Duration::ZERO));
        assert!(matches!(late.check(), Err(Error::TimedOut)));
    }

    #[test]
    fn times_add_up_by_stage() {
        let scope = Scope::default();
        scope.add(Stage::Read, Duration::from_nanos(3));
        let other = Scope::default();
        other.add(Stage::Read, Duration::from_nanos(4));
        other.add_fetched(2, 100);
        scope.add_fetched(1, 7);
        scope.add_all(&other);
        assert_eq!(scope.fetched(), [3, 107]);
        let sum: Vec<_> = scope.times().map(|(_, time)| time.as_nanos()).collect();
        assert_eq!(sum, [0, 0, 7, 0, 0, 0]);
    }
}
