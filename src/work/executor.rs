//! The compute threads, and the memory leases of their jobs.
//!
//! Every job has a [`Cost`] before it is queued. Small and big jobs have separate lanes; big ones leave one thread free if
//! there are at least two, and lend their thread to small ones between bands ([`lend`]). A job whose memory can never be
//! leased, or that would wait too long, is refused at once; the others wait for their lease.

use crate::error::Error;
use crate::error::Result;
use crate::work::busy;
use crate::work::busy::Busy;
use crate::work::queue::Cost;
use crate::work::queue::Job;
use crate::work::queue::Lane;
use crate::work::queue::Policy;
use crate::work::queue::Queue;
use crate::work::scope;
use crate::work::scope::Scope;
use crate::work::scope::Stage;
use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::task::Context;
use std::task::Poll;
use std::thread;
use std::time::Instant;
use tokio::sync::oneshot;

/// The number of small jobs that a big one lets pass between two bands.
const LENT: usize = 8;

/// Leases of at least this many bytes are test-allocated first, which takes a few microseconds.
const TRIED: u64 = 8 << 20;

/// The compute threads. They finish their jobs and end when it is dropped.
pub struct Executor(Arc<Shared>);

struct Shared {
    policy: Policy,
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    queue: Queue<Task>,
    /// Threads started.
    started: usize,
    /// Threads that wait for a job.
    idle: usize,
    draining: bool,
    stopped: bool,
}

impl State {
    /// Whether a thread is idle although a job waits.
    fn should_wake(&self) -> bool {
        self.idle > 0
            && [Lane::Small, Lane::Big]
                .iter()
                .any(|lane| self.queue.has_waiting(*lane))
    }
}

/// Runs a job, or reports why it is refused.
type Task = Box<dyn FnOnce(Result<Lease>) + Send>;

/// A memory lease, returned when dropped.
pub struct Lease {
    shared: Weak<Shared>,
    bytes: u64,
}

impl std::fmt::Debug for Lease {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Lease({})", self.bytes)
    }
}

impl Lease {
    /// Reduces the lease to at most `bytes` bytes.
    pub fn shrink(&mut self, bytes: u64) {
        let less = self.bytes.saturating_sub(bytes);
        self.bytes -= less;
        if let Some(shared) = self.shared.upgrade() {
            shared.give_back(less);
        }
    }

    /// The size of the lease in bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

/// The state of the queues.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Small jobs: waiting, running.
    pub small: [usize; 2],
    /// Big jobs: waiting, running.
    pub big: [usize; 2],
    /// Leased bytes, and the budget.
    pub memory: [u64; 2],
    /// Jobs completed since the start.
    pub done: u64,
}

impl Load {
    /// Whether no job waits or runs.
    pub fn is_idle(&self) -> bool {
        self.small == [0, 0] && self.big == [0, 0]
    }
}

impl Executor {
    /// Threads are started with the first jobs.
    pub fn new(policy: Policy) -> Executor {
        busy::limit(policy.threads);
        Executor(Arc::new(Shared {
            policy,
            state: Mutex::default(),
            filled: Condvar::new(),
        }))
    }

    /// Runs `work` on a compute thread in this scope. Dropping the future cancels the scope, and the job if it has not begun.
    /// Errors: `TooLarge` if its memory exceeds the budget, `Later` if it would wait or has waited too long.
    pub fn run<T: Send + 'static>(
        &self,
        cost: Cost,
        scope: &Scope,
        work: impl FnOnce(&mut Lease) -> Result<T> + Send + 'static,
    ) -> Running<(T, Lease)> {
        let (done, waiting) = oneshot::channel();
        let task = Box::new(move |lease: Result<Lease>| {
            let outcome = lease.and_then(|mut lease| {
                let outcome = catch_unwind(AssertUnwindSafe(|| work(&mut lease)));
                let outcome = outcome.unwrap_or_else(|_| Err(Error::Internal("a request panicked".into())));
                Ok((outcome?, lease))
            });
            let _ = done.send(outcome);
        });
        self.0.submit(Job {
            scope: scope.clone(),
            cost,
            since: Instant::now(),
            task,
        });
        Running {
            scope: scope.clone(),
            waiting,
        }
    }

    /// A lease for existing data, such as an answer that waits to be sent; `None` if the budget is used up.
    pub fn lease(&self, bytes: u64) -> Option<Lease> {
        let mut state = self.0.lock();
        let leased = state.queue.leased.checked_add(bytes)?;
        (leased <= self.0.policy.memory).then(|| {
            state.queue.leased = leased;
            self.0.lent(bytes)
        })
    }

    /// Refuses waiting and future big jobs and finishes the others. Returns the number of refused jobs.
    pub fn drain(&self) -> usize {
        let mut state = self.0.lock();
        state.draining = true;
        let refused = state.queue.remove(Lane::Big, |_| true);
        drop(state);
        let count = refused.len();
        for job in refused {
            (job.task)(Err(Error::Later(1)));
        }
        count
    }

    /// Refuses jobs that have waited too long. To be called periodically.
    pub fn expire(&self) {
        let late =
            |job: &Job<Task>| job.since.elapsed() >= self.0.policy.patience || job.scope.check().is_err();
        let mut state = self.0.lock();
        let mut refused = Vec::new();
        for lane in [Lane::Small, Lane::Big] {
            let gone = state.queue.remove(lane, late);
            let seconds = state.queue.seconds(lane, &self.0.policy);
            refused.extend(gone.into_iter().map(|job| (job, seconds)));
        }
        drop(state);
        for (job, seconds) in refused {
            let why = job.scope.check().err().unwrap_or(Error::Later(seconds));
            (job.task)(Err(why));
        }
    }

    /// The state of the queues.
    pub fn load(&self) -> Load {
        let state = self.0.lock();
        let queue = &state.queue;
        Load {
            small: queue.load(Lane::Small),
            big: queue.load(Lane::Big),
            memory: [queue.leased, self.0.policy.memory],
            done: queue.done,
        }
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.stopped = true;
        let rest = std::mem::take(&mut state.queue);
        drop(state);
        drop(rest);
        self.0.filled.notify_all();
    }
}

/// The future of a job.
pub struct Running<T> {
    scope: Scope,
    waiting: oneshot::Receiver<Result<T>>,
}

impl<T> Future for Running<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let ended = |_| Err(Error::Cancelled);
        Pin::new(&mut self.waiting)
            .poll(context)
            .map(|outcome| outcome.unwrap_or_else(ended))
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        if !self.waiting.is_terminated() {
            self.scope.cancel();
        }
    }
}

thread_local! {
    /// The executor whose big job this thread runs.
    static BIG: RefCell<Option<Weak<Shared>>> = const { RefCell::new(None) };
}

/// Runs waiting small jobs if this thread runs a big one. The caller must not hold anything that a small job may wait for: no
/// lock, and no pending cache entry.
pub fn lend() -> Result<()> {
    scope::check()?;
    let Some(shared) = BIG.with(|big| big.borrow().as_ref().and_then(Weak::upgrade)) else {
        return Ok(());
    };
    for _ in 0..LENT {
        let mut state = shared.lock();
        if state.idle > 0 {
            break;
        }
        let Some(job) = state.queue.small_job(&shared.policy) else {
            break;
        };
        drop(state);
        BIG.with(|big| big.replace(None));
        shared.perform(job, Lane::Small);
        BIG.with(|big| big.replace(Some(Arc::downgrade(&shared))));
    }
    scope::check()
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lent(self: &Arc<Self>, bytes: u64) -> Lease {
        Lease {
            shared: Arc::downgrade(self),
            bytes,
        }
    }

    fn give_back(&self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        let mut state = self.lock();
        state.queue.leased = state.queue.leased.saturating_sub(bytes);
        let wake = state.should_wake();
        drop(state);
        if wake {
            self.filled.notify_one();
        }
    }

    fn submit(self: &Arc<Self>, job: Job<Task>) {
        let lane = job.cost.lane();
        let mut state = self.lock();
        let queued = state.queue.has_waiting(lane);
        let why = if job.cost.bytes > self.policy.memory {
            let (needed, most) = (job.cost.bytes >> 20, self.policy.memory >> 20);
            let text = format!("this would take {needed} MB, and MAX_MEMORY is {most}");
            Some(Error::TooBig(text))
        } else if (state.draining && lane == Lane::Big) || state.stopped {
            Some(Error::Later(1))
        } else if queued && state.queue.wait(lane, &self.policy) > self.policy.queue {
            Some(Error::Later(state.queue.seconds(lane, &self.policy)))
        } else {
            None
        };
        if let Some(why) = why {
            drop(state);
            return (job.task)(Err(why));
        }
        state.queue.push(job);
        if state.idle == 0 && state.started < self.policy.threads {
            state.started += 1;
            let shared = Arc::clone(self);
            let started = thread::Builder::new()
                .name("compute".into())
                .spawn(move || shared.compute());
            if started.is_err() {
                state.started -= 1;
            }
        }
        let alone = state.started == 0;
        // busy threads pick the next job themselves
        let wake = state.idle > 0;
        drop(state);
        if alone {
            // no thread can be started: this one runs the job
            self.perform_next();
        } else if wake {
            self.filled.notify_one();
        }
    }

    fn perform_next(self: &Arc<Self>) {
        let picked = self.lock().queue.pick(&self.policy);
        if let Some((job, lane)) = picked {
            self.perform(job, lane);
        }
    }

    /// The loop of a compute thread.
    fn compute(self: Arc<Self>) {
        loop {
            let mut state = self.lock();
            let (job, lane) = loop {
                if state.stopped {
                    return;
                }
                if let Some(picked) = state.queue.pick(&self.policy) {
                    break picked;
                }
                state.idle += 1;
                state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            };
            drop(state);
            let _busy = Busy::this_thread();
            if lane == Lane::Big {
                BIG.with(|big| big.replace(Some(Arc::downgrade(&self))));
            }
            self.perform(job, lane);
            BIG.with(|big| big.replace(None));
        }
    }

    /// Test-allocates the leased bytes and frees them, to get an error instead of an abort of the process if memory or address
    /// space is limited below MAX_MEMORY.
    fn try_memory(&self, bytes: u64) -> Result<()> {
        if bytes < TRIED {
            return Ok(());
        }
        let leased = usize::try_from(self.lock().queue.leased).unwrap_or(usize::MAX);
        let mut all = Vec::<u8>::new();
        let tried = all.try_reserve_exact(leased);
        std::hint::black_box(all);
        tried.map_err(|_| {
            Error::NoMemory(format!(
                "the system does not give {} MB that are leased",
                leased >> 20
            ))
        })
    }

    /// Runs a picked job.
    fn perform(self: &Arc<Self>, job: Job<Task>, lane: Lane) {
        let Job {
            scope,
            cost,
            since,
            task,
        } = job;
        let lease = self.lent(cost.bytes);
        let start = Instant::now();
        scope.add(Stage::Queue, start.duration_since(since));
        let wanted = scope.check().and_then(|()| self.try_memory(cost.bytes));
        let runs = wanted.is_ok();
        {
            let _entered = scope::enter(scope.clone());
            task(wanted.map(|()| lease));
        }
        let took = (runs && !scope.cancelled()).then(|| start.elapsed());
        let mut state = self.lock();
        state.queue.end(cost, lane, took);
        let wake = state.should_wake();
        drop(state);
        if wake {
            self.filled.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::work::queue::SMALL;
    use crate::work::scope::block_on;
    use futures_util::future::join_all;
    use std::time::Duration;

    const POLICY: Policy = Policy {
        threads: 1,
        memory: 1 << 20,
        queue: Duration::from_secs(3600),
        patience: Duration::from_secs(3600),
    };
    const SMALL_JOB: Cost = Cost { work: 1, bytes: 0 };
    const BIG_JOB: Cost = Cost {
        work: SMALL + 1,
        bytes: 0,
    };

    /// Occupies the only thread until the sender is dropped.
    fn occupy(executor: &Executor, cost: Cost) -> (std::sync::mpsc::Sender<()>, Running<((), Lease)>) {
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let (begun, begins) = std::sync::mpsc::channel::<()>();
        let running = executor.run(cost, &Scope::default(), move |_| {
            begun.send(()).unwrap();
            let _ = held.recv();
            Ok(())
        });
        begins.recv().unwrap();
        (hold, running)
    }

    #[test]
    fn small_jobs_overtake_big_ones_without_starving_them() {
        let executor = Executor::new(POLICY);
        let (hold, first) = occupy(&executor, SMALL_JOB);
        let order: Arc<Mutex<Vec<&str>>> = Arc::default();
        let note = |cost: Cost, name: &'static str| {
            let order = order.clone();
            executor.run(cost, &Scope::default(), move |_| {
                order.lock().unwrap().push(name);
                Ok(())
            })
        };
        let mut all = vec![note(BIG_JOB, "big")];
        all.extend((0..20).map(|_| note(SMALL_JOB, "small")));
        drop(hold);
        block_on(first).unwrap();
        for one in block_on(join_all(all)) {
            one.unwrap();
        }
        let order = order.lock().unwrap();
        let at = order.iter().position(|name| *name == "big").unwrap();
        assert!((5..8).contains(&at), "{order:?}");
    }

    #[test]
    fn a_big_job_leaves_a_thread_to_small_ones() {
        let policy = Policy { threads: 2, ..POLICY };
        let executor = Executor::new(policy);
        let (hold, first) = occupy(&executor, BIG_JOB);
        let second = executor.run(BIG_JOB, &Scope::default(), |_| Ok(()));
        // runs although two big jobs want both threads
        block_on(executor.run(SMALL_JOB, &Scope::default(), |_| Ok(()))).unwrap();
        assert_eq!(executor.load().big, [1, 1]);
        drop(hold);
        block_on(first).unwrap();
        block_on(second).unwrap();
    }

    #[test]
    fn a_big_job_lends_its_only_thread() {
        let executor = Arc::new(Executor::new(POLICY));
        let (hold, held) = std::sync::mpsc::channel::<()>();
        let (begun, begins) = std::sync::mpsc::channel::<()>();
        let big = executor.run(BIG_JOB, &Scope::default(), move |_| {
            begun.send(()).unwrap();
            held.recv().unwrap();
            lend()?;
            held.recv().unwrap();
            Ok(())
        });
        begins.recv().unwrap();
        let small = executor.run(SMALL_JOB, &Scope::default(), |_| Ok(()));
        hold.send(()).unwrap();
        block_on(small).unwrap();
        hold.send(()).unwrap();
        block_on(big).unwrap();
    }

    #[test]
    fn jobs_wait_for_memory_and_are_refused_if_it_never_fits() {
        let policy = Policy { threads: 3, ..POLICY };
        let executor = Executor::new(policy);
        let most = Cost {
            work: SMALL + 1,
            bytes: 700 << 10,
        };
        let (hold, first) = occupy(&executor, most);
        let second = executor.run(most, &Scope::default(), |_| Ok(()));
        assert_eq!(executor.load().big, [1, 1]);
        assert!(executor.lease(400 << 10).is_none());
        let never = Cost {
            work: 1,
            bytes: 2 << 20,
        };
        let refused = block_on(executor.run(never, &Scope::default(), |_| Ok(())));
        assert!(matches!(refused, Err(Error::TooBig(_))));
        drop(hold);
        let ((), mut lease) = block_on(first).unwrap();
        lease.shrink(100);
        drop(block_on(second).unwrap());
        assert_eq!(executor.load().memory[0], 100);
        drop(lease);
        assert_eq!(executor.load().memory[0], 0);
    }

    #[test]
    fn jobs_that_would_wait_too_long_are_refused_and_abandoned_ones_do_not_run() {
        let policy = Policy {
            queue: Duration::from_millis(20),
            ..POLICY
        };
        let executor = Executor::new(policy);
        let (hold, first) = occupy(&executor, SMALL_JOB);
        let second = Cost {
            work: SMALL,
            bytes: 0,
        };
        let waits: Vec<_> = (0..3)
            .map(|_| executor.run(second, &Scope::default(), |_| Ok(())))
            .collect();
        let refused = block_on(executor.run(second, &Scope::default(), |_| Ok(())));
        assert!(matches!(refused, Err(Error::Later(1..))), "{refused:?}");
        let scope = Scope::default();
        drop(executor.run(BIG_JOB, &scope, |_| -> Result<()> { panic!("is not run") }));
        assert!(scope.cancelled());
        drop(hold);
        block_on(first).unwrap();
        block_on(join_all(waits));
        assert_eq!(executor.load().memory[0], 0);
    }

    #[test]
    fn a_panic_ends_only_its_own_request() {
        let executor = Executor::new(POLICY);
        let failed = block_on(executor.run(SMALL_JOB, &Scope::default(), |_| -> Result<()> { panic!("x") }));
        assert!(matches!(failed, Err(Error::Internal(_))));
        block_on(executor.run(SMALL_JOB, &Scope::default(), |_| Ok(()))).unwrap();
    }

    #[test]
    fn drained_and_expired_jobs_are_refused() {
        let policy = Policy {
            patience: Duration::ZERO,
            ..POLICY
        };
        let executor = Executor::new(policy);
        let (hold, first) = occupy(&executor, SMALL_JOB);
        let small = executor.run(SMALL_JOB, &Scope::default(), |_| Ok(()));
        let big = executor.run(BIG_JOB, &Scope::default(), |_| Ok(()));
        assert_eq!(executor.drain(), 1);
        assert!(matches!(block_on(big), Err(Error::Later(_))));
        let late = executor.run(BIG_JOB, &Scope::default(), |_| Ok(()));
        assert!(matches!(block_on(late), Err(Error::Later(_))));
        executor.expire();
        assert!(matches!(block_on(small), Err(Error::Later(_))));
        drop(hold);
        block_on(first).unwrap();
    }
}
