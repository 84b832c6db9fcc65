//! Which job runs next: two lanes, the memory that is leased, and the estimated wait.

use crate::work::scope::Scope;
use std::collections::VecDeque;
use std::time::Duration;
use std::time::Instant;

/// Jobs up to this work are small: four million pixels, some tens of milliseconds.
pub const SMALL: u64 = 4 << 20;

/// Every n-th job that is picked is a waiting big one, so that small ones never starve it.
const TURN: u32 = 8;

/// Initial estimate in nanoseconds per unit of work; too low, so that it does not cause refusals.
const FIRST_RATE: f64 = 4.0;

/// The cost of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Work in pixels that are decoded and encoded as JPEG.
    pub work: u64,
    /// Peak memory in bytes.
    pub bytes: u64,
}

impl Cost {
    /// The lane of such a job.
    pub fn lane(self) -> Lane {
        if self.work <= SMALL {
            Lane::Small
        } else {
            Lane::Big
        }
    }
}

/// Jobs of similar cost, which wait for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    Small,
    Big,
}

/// Limits of an executor.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// The number of threads, at least 1.
    pub threads: usize,
    /// The memory budget for leases in bytes.
    pub memory: u64,
    /// A job whose estimated wait is longer is refused.
    pub queue: Duration,
    /// A job that has waited for longer is refused.
    pub patience: Duration,
}

/// Waiting and running jobs; `T` is what a job runs.
pub struct Queue<T> {
    small: VecDeque<Job<T>>,
    big: VecDeque<Job<T>>,
    /// Running jobs by lane.
    pub running: [usize; 2],
    /// Work of running and waiting jobs by lane.
    pending: [u64; 2],
    /// Recent nanoseconds per unit of work by lane; 0 before the first measurement.
    rate: [f64; 2],
    /// Bytes of all leases.
    pub leased: u64,
    /// Jobs completed.
    pub done: u64,
    picks: u32,
}

/// A job that waits.
pub struct Job<T> {
    pub scope: Scope,
    pub cost: Cost,
    pub since: Instant,
    pub task: T,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Queue {
            small: VecDeque::new(),
            big: VecDeque::new(),
            running: [0; 2],
            pending: [0; 2],
            rate: [0.0; 2],
            leased: 0,
            done: 0,
            picks: 0,
        }
    }
}

impl<T> Queue<T> {
    /// Appends a job to its lane.
    pub fn push(&mut self, job: Job<T>) {
        let lane = job.cost.lane();
        if let Some(pending) = self.pending.get_mut(lane as usize) {
            *pending = pending.saturating_add(job.cost.work);
        }
        self.lane(lane).push_back(job);
    }

    /// Removes the waiting jobs of a lane for which `leaves` holds.
    pub fn remove(&mut self, lane: Lane, leaves: impl Fn(&Job<T>) -> bool) -> VecDeque<Job<T>> {
        let (gone, rest): (VecDeque<_>, VecDeque<_>) = self.lane(lane).drain(..).partition(leaves);
        *self.lane(lane) = rest;
        let work: u64 = gone.iter().map(|job| job.cost.work).sum();
        if let Some(pending) = self.pending.get_mut(lane as usize) {
            *pending = pending.saturating_sub(work);
        }
        gone
    }

    /// The number of jobs that wait in a lane.
    pub fn waiting(&self, lane: Lane) -> usize {
        match lane {
            Lane::Small => self.small.len(),
            Lane::Big => self.big.len(),
        }
    }

    /// Whether no job waits.
    pub fn is_empty(&self) -> bool {
        self.small.is_empty() && self.big.is_empty()
    }

    fn lane(&mut self, lane: Lane) -> &mut VecDeque<Job<T>> {
        match lane {
            Lane::Small => &mut self.small,
            Lane::Big => &mut self.big,
        }
    }

    /// The estimated wait of a new job in this lane.
    pub fn wait(&self, lane: Lane, policy: &Policy) -> Duration {
        let at = lane as usize;
        let rate = self.rate.get(at).copied().filter(|rate| *rate > 0.0);
        let pending = self.pending.get(at).copied().unwrap_or(0);
        let threads = match lane {
            Lane::Small => policy.threads,
            Lane::Big => policy.max_big(),
        };
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let ns = rate.unwrap_or(FIRST_RATE) * pending as f64 / threads as f64;
        Duration::from_secs_f64((ns / 1e9).min(1e6))
    }

    /// The estimated wait in whole seconds, at least 1.
    pub fn seconds(&self, lane: Lane, policy: &Policy) -> u32 {
        u32::try_from(self.wait(lane, policy).as_secs().saturating_add(1)).unwrap_or(u32::MAX)
    }

    /// Takes the next job that may run now.
    pub fn pick(&mut self, policy: &Policy) -> Option<(Job<T>, Lane)> {
        self.picks = self.picks.wrapping_add(1);
        let big_first = self.picks.is_multiple_of(TURN);
        if big_first && let Some(job) = self.big_job(policy) {
            return Some((job, Lane::Big));
        }
        if let Some(job) = self.small_job(policy) {
            return Some((job, Lane::Small));
        }
        self.big_job(policy).map(|job| (job, Lane::Big))
    }

    /// Takes the next small job, if it may run now.
    pub fn small_job(&mut self, policy: &Policy) -> Option<Job<T>> {
        let bytes = self.small.front()?.cost.bytes;
        // if no other job runs it must start, even if unsent answers use the budget
        let fits = self.leased.saturating_add(bytes) <= policy.memory || self.running == [0, 0];
        let job = fits.then(|| self.small.pop_front()).flatten()?;
        self.begin(&job, Lane::Small);
        Some(job)
    }

    /// Takes the next big job, if it may run now.
    fn big_job(&mut self, policy: &Policy) -> Option<Job<T>> {
        let bytes = self.big.front()?.cost.bytes;
        // an eighth is reserved for small jobs
        let most = policy.memory - policy.memory / 8;
        let fits = self.leased.saturating_add(bytes) <= most.max(bytes);
        let may = self.running.get(Lane::Big as usize).copied() < Some(policy.max_big());
        let job = (fits && may).then(|| self.big.pop_front()).flatten()?;
        self.begin(&job, Lane::Big);
        Some(job)
    }

    /// Counts a job as running.
    fn begin(&mut self, job: &Job<T>, lane: Lane) {
        self.leased = self.leased.saturating_add(job.cost.bytes);
        if let Some(running) = self.running.get_mut(lane as usize) {
            *running += 1;
        }
    }

    /// Counts a job as completed; `took` is its time if it ran to its end.
    pub fn end(&mut self, cost: Cost, lane: Lane, took: Option<Duration>) {
        let at = lane as usize;
        self.done = self.done.wrapping_add(1);
        if let Some(running) = self.running.get_mut(at) {
            *running = running.saturating_sub(1);
        }
        if let Some(pending) = self.pending.get_mut(at) {
            *pending = pending.saturating_sub(cost.work);
        }
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        if let (Some(rate), Some(took)) = (self.rate.get_mut(at), took)
            && cost.work > 0
        {
            let now = took.as_nanos() as f64 / cost.work as f64;
            *rate = if *rate > 0.0 { *rate * 0.9 + now * 0.1 } else { now };
        }
    }
}

impl Policy {
    /// The maximum number of concurrent big jobs.
    fn max_big(&self) -> usize {
        self.threads.saturating_sub(1).max(1)
    }
}
