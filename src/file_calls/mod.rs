//! Runs file operations that may hang on a bounded set of threads, with a time-out.
//!
//! A call into a network or user-space file system may block forever and cannot be cancelled, so it runs on a
//! separate thread; the caller gets an error after [`PATIENCE`]. Local file systems ([`is_local`]) do not need this.

mod mounts;

pub use crate::file_calls::mounts::is_local;
use crate::metrics;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::thread;
use std::time::Duration;
use std::time::Instant;
use tokio::sync::oneshot;

/// Time-out of a call.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Maximum number of threads; a call that hangs occupies one.
const THREADS: usize = 32;

/// Maximum number of queued calls.
const QUEUE: usize = 1024;

type Call = Box<dyn FnOnce() + Send>;

/// The thread pool. When it is dropped, idle threads end; those with a call that hangs end with the call or the
/// process.
pub struct FileCalls(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    patience: Duration,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Call>,
    threads: usize,
    idle: usize,
    /// The callbacks for calls that do not return in time, by deadline.
    ends: VecDeque<(Instant, Call)>,
    has_clock: bool,
    closed: bool,
}

impl Default for FileCalls {
    fn default() -> FileCalls {
        FileCalls::new(PATIENCE)
    }
}

impl FileCalls {
    /// A pool without threads; they are started on demand.
    pub fn new(patience: Duration) -> FileCalls {
        FileCalls(Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            patience,
        }))
    }

    /// The result of `call`; `None` if it does not return in time, or if too many others hang.
    pub async fn run<T: Send + 'static>(&self, call: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let answer = self.start(call)?;
        answer.await.ok().flatten()
    }

    /// Runs a call and blocks this thread until it returns or times out.
    pub fn run_blocking<T: Send + 'static>(&self, call: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        self.start(call)?.blocking_recv().ok().flatten()
    }

    fn start<T: Send + 'static>(
        &self,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Option<oneshot::Receiver<Option<T>>> {
        let (sender, receiver) = oneshot::channel();
        let sender = Arc::new(Mutex::new(Some(sender)));
        let late = Arc::clone(&sender);
        let take = |sender: &Mutex<Option<oneshot::Sender<Option<T>>>>| {
            sender.lock().unwrap_or_else(PoisonError::into_inner).take()
        };
        let job = Box::new(move || {
            let pending = &metrics::get().looks_pending;
            pending.inc();
            let found = call();
            pending.dec();
            // the caller may have given up
            let _ = take(&sender).map(|sender| sender.send(Some(found)));
        });
        let end = Box::new(move || {
            if let Some(sender) = take(&late) {
                metrics::get().looks_timed_out.inc();
                let _ = sender.send(None);
            }
        });
        let mut state = self.0.lock();
        if state.jobs.len() >= QUEUE {
            return None;
        }
        state.jobs.push_back(job);
        state.ends.push_back((Instant::now() + self.0.patience, end));
        let clock = !std::mem::replace(&mut state.has_clock, true);
        let thread = state.idle < state.jobs.len() && state.threads < THREADS;
        state.threads += usize::from(thread);
        drop(state);
        if clock && !self.0.spawn(Shared::watch) {
            // without a clock thread, a caller might wait forever
            self.0.lock().has_clock = false;
            return None;
        }
        if thread && !self.0.spawn(Shared::work) {
            self.0.lock().threads -= 1;
        }
        self.0.changed.notify_all();
        Some(receiver)
    }
}

impl Drop for FileCalls {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a thread; false if the system refuses.
    fn spawn(self: &Arc<Self>, life: fn(&Shared)) -> bool {
        let shared = Arc::clone(self);
        let thread = thread::Builder::new().name("file-calls".into());
        thread.spawn(move || life(&shared)).is_ok()
    }

    /// Runs calls until the pool is dropped.
    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.lock();
                continue;
            }
            if state.closed {
                state.threads -= 1;
                return;
            }
            state.idle += 1;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
        }
    }

    /// Times out the calls whose deadline has passed.
    fn watch(&self) {
        let mut state = self.lock();
        loop {
            let now = Instant::now();
            let next = state.ends.front().map(|(end, _)| *end);
            match next {
                Some(end) if end <= now => {
                    let due = state.ends.pop_front();
                    drop(state);
                    if let Some((_, end)) = due {
                        end();
                    }
                    state = self.lock();
                }
                Some(end) => {
                    let waited = self.changed.wait_timeout(state, end - now);
                    (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
                }
                None if state.closed => return,
                None => state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[test]
    fn a_call_that_hangs_times_out_and_delays_no_other() {
        let calls = FileCalls::new(Duration::from_millis(200));
        let (hold, held) = mpsc::channel::<()>();
        let hanging = move || held.recv().is_err();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| calls.run_blocking(hanging));
            for n in 0..100 {
                assert_eq!(calls.run_blocking(move || n * 2), Some(n * 2));
            }
            assert_eq!(waiting.join().unwrap(), None);
        });
        drop(hold);
    }

    #[test]
    fn when_all_threads_hang_calls_fail_at_once() {
        let calls = FileCalls::new(Duration::from_millis(200));
        let gate = Arc::new((Mutex::new(false), Condvar::new()));
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                let gate = gate.clone();
                let calls = &calls;
                scope.spawn(move || {
                    let hang = move || drop(gate.1.wait_while(gate.0.lock().unwrap(), |open| !*open));
                    assert_eq!(calls.run_blocking(hang), None);
                });
            }
            let end = Instant::now() + Duration::from_secs(20);
            while metrics::get().looks_pending.get() < THREADS as i64 && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(1));
            }
            assert_eq!(calls.run_blocking(|| 1), None, "there is no thread for it");
        });
        *gate.0.lock().unwrap() = true;
        gate.1.notify_all();
        let end = Instant::now() + Duration::from_secs(20);
        let mut found = None;
        while found.is_none() && Instant::now() < end {
            found = calls.run_blocking(|| 2);
        }
        assert_eq!(found, Some(2), "they are used again");
    }
}
