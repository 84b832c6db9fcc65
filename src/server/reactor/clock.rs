//! Time: how long each kind of waiting may last, and the end of what has lasted too long.
//!
//! The clock ticks in seconds, and only while there are connections.

use crate::server::connection::Connection;
use crate::server::connection::Inner;
use crate::server::reactor::Hand;
use crate::server::reactor::Reactor;
use crate::server::reactor::lock;
use crate::server::wire::Wait;
use crate::server::wire::Wire;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How long a connection may keep us waiting, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For an HTTP connection's next request.
    pub idle: u32,
    /// For the head of an HTTP request.
    pub head: u32,
    /// For the body of an HTTP request.
    pub body: u32,
    /// For the next byte of FastCGI records that have begun.
    pub records: u32,
    /// For the peer to take a byte of its answer.
    pub write: u32,
    /// For the peer to close after an answer that came before its request's end.
    pub linger: u32,
}

impl Default for Patience {
    fn default() -> Self {
        Patience {
            idle: 60,
            head: 10,
            body: 30,
            records: 60,
            write: 30,
            linger: 2,
        }
    }
}

impl Patience {
    fn seconds(&self, wait: Wait) -> Option<u32> {
        match wait {
            Wait::Forever => None,
            Wait::Idle => Some(self.idle),
            Wait::Head => Some(self.head),
            Wait::Body => Some(self.body),
            Wait::Records => Some(self.records),
            Wait::Writing => Some(self.write),
            Wait::Lingering => Some(self.linger),
        }
    }
}

impl Reactor {
    pub(in crate::server::reactor) fn set_deadline(
        &self,
        connection: &Connection,
        inner: &mut Inner,
        begun: bool,
    ) {
        let wait = inner.waits();
        // a head and a body count from where they began, the others from the last byte
        let counting = matches!(wait, Wait::Head | Wait::Body | Wait::Lingering);
        if wait == inner.wait && counting && !begun {
            return;
        }
        inner.wait = wait;
        let deadline = match self.patience.seconds(wait) {
            Some(seconds) => self.tick.load(Ordering::Relaxed).saturating_add(seconds),
            None => 0,
        };
        connection.deadline.store(deadline, Ordering::Relaxed);
    }

    /// Once a second, by whichever thread comes first: ends what has waited too long.
    pub(in crate::server::reactor) fn pass_time(&self, hand: &mut Hand) {
        let now = u32::try_from(self.start.elapsed().as_secs() + 1).unwrap_or(u32::MAX);
        let before = self.tick.load(Ordering::Relaxed);
        let first = || {
            self.tick
                .compare_exchange(before, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        };
        if now == before || !first() {
            return;
        }
        self.feed();
        let late = |c: &Connection| {
            let deadline = c.deadline.load(Ordering::Relaxed);
            deadline != 0 && deadline < now
        };
        let all: Vec<_> = lock(&self.table)
            .values()
            .filter(|c| late(c))
            .map(Arc::clone)
            .collect();
        for connection in all {
            self.with(&connection, hand, |inner, _| {
                if late(&connection) {
                    if let (Wait::Head, Wire::Http(wire)) = (inner.wait, &mut inner.wire) {
                        wire.late(&mut inner.out);
                        inner.write();
                    }
                    self.close(&connection, inner);
                }
            });
        }
    }
}
