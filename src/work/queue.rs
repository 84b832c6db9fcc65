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
    small: LaneState<T>,
    big: LaneState<T>,
    /// Bytes of all leases.
    pub leased: u64,
    /// Jobs completed.
    pub done: u64,
    picks: u32,
}

/// The jobs of a lane.
struct LaneState<T> {
    waiting: VecDeque<Job<T>>,
    /// Running jobs.
    running: usize,
    /// Work of running and waiting jobs.
    pending: u64,
    /// Recent nanoseconds per unit of work; 0 before the first measurement.
    rate: f64,
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
            small: LaneState::default(),
            big: LaneState::default(),
            leased: 0,
            done: 0,
            picks: 0,
        }
    }
}

impl<T> Default for LaneState<T> {
    fn default() -> Self {
        LaneState {
            waiting: VecDeque::new(),
            running: 0,
            pending: 0,
            rate: 0.0,
        }
    }
}

impl<T> Queue<T> {
    /// Appends a job to its lane.
    pub fn push(&mut self, job: Job<T>) {
        let lane = self.lane_mut(job.cost.lane());
        lane.pending = lane.pending.saturating_add(job.cost.work);
        lane.waiting.push_back(job);
    }

    /// Removes the waiting jobs of a lane for which `leaves` holds.
    pub fn remove(&mut self, lane: Lane, leaves: impl Fn(&Job<T>) -> bool) -> VecDeque<Job<T>> {
        let lane = self.lane_mut(lane);
        let (gone, rest): (VecDeque<_>, VecDeque<_>) = lane.waiting.drain(..).partition(leaves);
        lane.waiting = rest;
        let work: u64 = gone.iter().map(|job| job.cost.work).sum();
        lane.pending = lane.pending.saturating_sub(work);
        gone
    }

    /// The numbers of jobs of a lane: waiting, running.
    pub fn load(&self, lane: Lane) -> [usize; 2] {
        let lane = self.lane(lane);
        [lane.waiting.len(), lane.running]
    }

    /// Whether a job waits in this lane.
    pub fn has_waiting(&self, lane: Lane) -> bool {
        !self.lane(lane).waiting.is_empty()
    }

    fn lane(&self, lane: Lane) -> &LaneState<T> {
        match lane {
            Lane::Small => &self.small,
            Lane::Big => &self.big,
        }
    }

    fn lane_mut(&mut self, lane: Lane) -> &mut LaneState<T> {
        match lane {
            Lane::Small => &mut self.small,
            Lane::Big => &mut self.big,
        }
    }

    /// The estimated wait of a new job in this lane.
    pub fn wait(&self, lane: Lane, policy: &Policy) -> Duration {
        let threads = match lane {
            Lane::Small => policy.threads,
            Lane::Big => policy.max_big(),
        };
        let lane = self.lane(lane);
        let rate = if lane.rate > 0.0 { lane.rate } else { FIRST_RATE };
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        let ns = rate * lane.pending as f64 / threads as f64;
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
        let bytes = self.small.waiting.front()?.cost.bytes;
        // if no other job runs it must start, even if unsent answers use the budget
        let fits =
            self.leased.saturating_add(bytes) <= policy.memory || self.small.running + self.big.running == 0;
        let job = fits.then(|| self.small.waiting.pop_front()).flatten()?;
        self.begin(&job, Lane::Small);
        Some(job)
    }

    /// Takes the next big job, if it may run now.
    fn big_job(&mut self, policy: &Policy) -> Option<Job<T>> {
        let bytes = self.big.waiting.front()?.cost.bytes;
        // an eighth is reserved for small jobs
        let most = policy.memory - policy.memory / 8;
        let fits = self.leased.saturating_add(bytes) <= most.max(bytes);
        let may = self.big.running < policy.max_big();
        let job = (fits && may).then(|| self.big.waiting.pop_front()).flatten()?;
        self.begin(&job, Lane::Big);
        Some(job)
    }

    /// Counts a job as running.
    fn begin(&mut self, job: &Job<T>, lane: Lane) {
        self.leased = self.leased.saturating_add(job.cost.bytes);
        self.lane_mut(lane).running += 1;
    }

    /// Counts a job as completed; `took` is its time if it ran to its end.
    pub fn end(&mut self, cost: Cost, lane: Lane, took: Option<Duration>) {
        self.done = self.done.wrapping_add(1);
        let lane = self.lane_mut(lane);
        lane.running = lane.running.saturating_sub(1);
        lane.pending = lane.pending.saturating_sub(cost.work);
        #[expect(clippy::cast_precision_loss, reason = "an estimate")]
        if let Some(took) = took
            && cost.work > 0
        {
            let now = took.as_nanos() as f64 / cost.work as f64;
            lane.rate = if lane.rate > 0.0 {
                lane.rate * 0.9 + now * 0.1
            } else {
                now
            };
        }
    }
}

impl Policy {
    /// The maximum number of concurrent big jobs.
    fn max_big(&self) -> usize {
        self.threads.saturating_sub(1).max(1)
    }
}
