//! The queue in front of the compute threads: bounded, small jobs first, big ones never starved.
//!
//! Knows neither what a job is nor the threads; they call [`Pool::take`].

use std::collections::VecDeque;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;

/// A cost up to this is small: four million pixels read and written, some tens of milliseconds.
const SMALL: u64 = 4 << 20;
/// One pick in so many is a big job when one waits.
const TURN: u32 = 8;

/// Jobs by size, first come first served among equals.
#[derive(Debug)]
struct Queue<T> {
    small: VecDeque<T>,
    big: VecDeque<T>,
    picks: u32,
    stopped: bool,
}

/// The shared queue.
#[derive(Debug)]
pub struct Pool<T> {
    queue: Mutex<Queue<T>>,
    filled: Condvar,
    capacity: usize,
}

impl<T> Pool<T> {
    /// A queue for at most `capacity` jobs, of which a quarter may be big.
    pub fn new(capacity: usize) -> Self {
        Pool {
            queue: Mutex::new(Queue {
                small: VecDeque::new(),
                big: VecDeque::new(),
                picks: 0,
                stopped: false,
            }),
            filled: Condvar::new(),
            capacity,
        }
    }

    /// Queues a job; gives it back when there is no room. Jobs for which `dead` holds make room first.
    pub fn submit(&self, job: T, cost: u64, dead: impl Fn(&T) -> bool) -> Result<(), T> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let (line, room) = if cost <= SMALL {
            (&mut queue.small, self.capacity)
        } else {
            (&mut queue.big, self.capacity.div_ceil(4))
        };
        if line.len() >= room {
            line.retain(|job| !dead(job));
        }
        if line.len() >= room {
            return Err(job);
        }
        line.push_back(job);
        drop(queue);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for a job; `None` once the queue was stopped.
    pub fn take(&self) -> Option<T> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if queue.stopped {
                return None;
            }
            if let Some(job) = queue.pick() {
                return Some(job);
            }
            queue = self.filled.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Throws away what waits and sends the threads home.
    pub fn stop(&self) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.stopped = true;
        let rest = (std::mem::take(&mut queue.small), std::mem::take(&mut queue.big));
        drop(queue);
        drop(rest);
        self.filled.notify_all();
    }
}

impl<T> Queue<T> {
    fn pick(&mut self) -> Option<T> {
        self.picks = self.picks.wrapping_add(1);
        if self.picks.is_multiple_of(TURN) {
            self.big.pop_front().or_else(|| self.small.pop_front())
        } else {
            self.small.pop_front().or_else(|| self.big.pop_front())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BIG: u64 = SMALL + 1;

    #[test]
    fn small_jobs_pass_big_ones_but_not_for_ever() {
        let pool = Pool::new(100);
        pool.submit("big", BIG, |_| false).unwrap();
        for _ in 0..20 {
            pool.submit("small", SMALL, |_| false).unwrap();
        }
        let order: Vec<_> = (0..21).filter_map(|_| pool.take()).collect();
        assert_eq!(order.iter().position(|job| *job == "big"), Some(7));
    }

    #[test]
    fn a_full_queue_gives_the_job_back_unless_a_dead_one_makes_room() {
        let pool = Pool::new(4);
        for n in 0..4 {
            pool.submit(n, 0, |_| false).unwrap();
        }
        assert_eq!(pool.submit(9, 0, |_| false), Err(9));
        assert_eq!(pool.submit(9, 0, |job| *job == 2), Ok(()));
        assert_eq!(
            (0..4).filter_map(|_| pool.take()).collect::<Vec<_>>(),
            [0, 1, 3, 9]
        );
    }

    #[test]
    fn big_jobs_leave_room_for_small_ones() {
        let pool = Pool::new(4);
        assert_eq!(pool.submit(1, BIG, |_| false), Ok(()));
        assert_eq!(pool.submit(2, BIG, |_| false), Err(2));
        assert_eq!(pool.submit(3, 0, |_| false), Ok(()));
    }

    #[test]
    fn a_stopped_queue_sends_its_threads_home() {
        let pool = Pool::new(4);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| pool.take());
            std::thread::sleep(std::time::Duration::from_millis(20));
            pool.stop();
            assert_eq!(waiting.join().unwrap(), None::<u8>);
        });
    }
}
