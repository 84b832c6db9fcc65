//! The bounded queue between callers and the log thread.

use crate::metrics;
use log::Level;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

/// Maximum number of bytes of queued lines.
const MAX_BYTES: usize = 1 << 20;

/// A task of the log thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEntry {
    /// Write a line, which ends with a line feed.
    Line(Level, String),
    /// Reopen the log.
    Reopen,
}

/// The queue.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<LogEntry>,
    bytes: usize,
    dropped: u64,
    /// The thread is processing the entries that it took.
    busy: bool,
}

impl Queue {
    /// Adds an entry. A line that does not fit is counted and dropped.
    pub fn push(&self, entry: LogEntry) {
        let mut state = self.lock();
        if let LogEntry::Line(_, text) = &entry {
            if state.bytes + text.len() > MAX_BYTES {
                drop(state);
                return self.drop_lines(1);
            }
            state.bytes += text.len();
        }
        state.entries.push(entry);
        // a busy thread checks the queue again by itself
        let sleeps = !state.busy;
        drop(state);
        if sleeps {
            self.filled.notify_one();
        }
    }

    /// Counts lines that could not be written.
    pub fn drop_lines(&self, count: u64) {
        self.lock().dropped += count;
        metrics::get().log_dropped.inc_by(count);
    }

    /// Takes all entries, after waiting at most `patience`; entries taken before count as processed.
    pub fn take(&self, patience: Duration) -> Vec<LogEntry> {
        let mut state = self.lock();
        state.busy = false;
        if state.entries.is_empty() {
            self.emptied.notify_all();
            let waited = self
                .filled
                .wait_timeout_while(state, patience, |state| state.entries.is_empty());
            (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        state.busy = true;
        state.bytes = 0;
        std::mem::take(&mut state.entries)
    }

    /// The number of lines dropped since the last call.
    pub fn take_dropped(&self) -> u64 {
        std::mem::take(&mut self.lock().dropped)
    }

    /// Waits until everything is written, but at most `patience`.
    pub fn flush(&self, patience: Duration) {
        let state = self.lock();
        let waiting = |state: &mut State| state.busy || !state.entries.is_empty();
        drop(self.emptied.wait_timeout_while(state, patience, waiting));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_that_do_not_fit_are_counted_and_other_entries_always_fit() {
        let queue = Queue::default();
        let line = || LogEntry::Line(Level::Info, "x".repeat(MAX_BYTES / 4));
        for _ in 0..6 {
            queue.push(line());
        }
        queue.push(LogEntry::Reopen);
        assert_eq!((queue.take_dropped(), queue.take_dropped()), (2, 0));
        let taken = queue.take(Duration::ZERO);
        assert_eq!((taken.len(), taken.last()), (5, Some(&LogEntry::Reopen)));
        queue.push(line());
        assert_eq!(queue.take(Duration::ZERO).len(), 1);
    }
}
