//! Tracks all connections: their deadlines, which are idle, and which must be closed.
//!
//! Time advances in seconds, by [`Connections::pass_time`]; a connection only records its deadline, so waiting costs
//! no timer.

use futures_util::task::AtomicWaker;
use std::collections::HashMap;
use std::net::IpAddr;
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::time::Instant;
use tokio::sync::Notify;

/// Time limits of a connection, in seconds.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// Until the next request of an HTTP connection.
    pub idle: u32,
    /// Until the head of an HTTP request is complete.
    pub head: u32,
    /// Until the body of an HTTP request is complete.
    pub body: u32,
    /// Until the next byte of an incomplete FastCGI record.
    pub records: u32,
    /// Until the peer reads some of its answer.
    pub write: u32,
    /// Until the peer closes, after an answer that was sent before the end of its request.
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

/// What a connection waits for, which determines its time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Wait {
    /// The server.
    Answer,
    /// The next FastCGI request; no time limit.
    Request,
    /// The next HTTP request.
    Idle,
    /// The rest of an HTTP request's head.
    Head,
    /// The rest of an HTTP request's body.
    Body,
    /// The rest of FastCGI records; every byte restarts the time.
    Records,
    /// The peer reading its answer; every byte restarts the time.
    Writing,
    /// The peer closing.
    Lingering,
}

impl Wait {
    /// Whether the connection is idle.
    fn is_idle(self) -> bool {
        matches!(self, Wait::Request | Wait::Idle)
    }

    /// Whether the time counts from the start, not from the last byte.
    fn counts(self) -> bool {
        matches!(self, Wait::Head | Wait::Body | Wait::Lingering)
    }
}

/// An instruction to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Directive {
    /// Continue.
    None,
    /// End once nothing is in progress.
    Retire,
    /// End: this took too long.
    Late(Wait),
    /// End: another connection needs the descriptor.
    Yield,
}

/// A connection's entry in [`Connections`].
pub struct Presence {
    all: Arc<Connections>,
    number: u64,
    known: Arc<Known>,
    /// The peer's address, if connections are counted by address.
    address: Option<IpAddr>,
}

#[derive(Default)]
struct Known {
    /// A [`Wait`].
    wait: AtomicU8,
    /// The deadline in ticks; 0 for none.
    deadline: AtomicU32,
    /// Since when it may be closed in favour of another, in milliseconds since the start plus one; 0 while it is
    /// busy.
    idle: AtomicU64,
    /// Pending directives, as bits.
    orders: AtomicU8,
    waker: AtomicWaker,
}

const RETIRE: u8 = 1;
const LATE: u8 = 2;
const YIELD: u8 = 4;

/// Milliseconds that a new connection has for its first byte before it may be closed in favour of another; the byte
/// has usually been sent already.
const FIRST_BYTE: u64 = 50;

/// Milliseconds without a refused connection after which descriptors count as sufficient again.
const EPISODE: u64 = 10_000;

/// All connections.
pub struct Connections {
    patience: Patience,
    /// No more than this many are accepted.
    most: usize,
    /// Maximum number of connections from one address; 0 for no such limit.
    most_of_one: usize,
    addresses: Mutex<HashMap<IpAddr, usize>>,
    all: Mutex<HashMap<u64, Arc<Known>>>,
    live: AtomicUsize,
    next: AtomicU64,
    start: Instant,
    /// Seconds since the start, plus one; 0 means no time.
    tick: AtomicU32,
    retired: AtomicBool,
    /// Notified when a connection has ended while others wait to be accepted.
    freed: Notify,
    /// When descriptors were last exhausted, in milliseconds since the start plus one; 0 for never.
    starved: AtomicU64,
}

impl Connections {
    /// No connections; at most `most` in total, and `most_of_one` from one address (0: `most`).
    pub fn new(patience: Patience, most: usize, most_of_one: usize) -> Arc<Connections> {
        Arc::new(Connections {
            patience,
            most,
            most_of_one,
            addresses: Mutex::default(),
            all: Mutex::default(),
            live: AtomicUsize::new(0),
            next: AtomicU64::new(0),
            start: Instant::now(),
            tick: AtomicU32::new(1),
            retired: AtomicBool::new(false),
            freed: Notify::new(),
            starved: AtomicU64::new(0),
        })
    }

    fn all(&self) -> MutexGuard<'_, HashMap<u64, Arc<Known>>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of connections.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Acquire)
    }

    /// The limit of connections.
    pub fn max(&self) -> usize {
        self.most
    }

    /// The number of connections with a request or an answer in progress.
    pub fn busy(&self) -> usize {
        let busy = |known: &&Arc<Known>| known.idle.load(Ordering::Relaxed) == 0;
        self.all().values().filter(busy).count()
    }

    /// Registers a new, idle connection; `None` if there are too many.
    pub fn enter(self: &Arc<Self>) -> Option<Presence> {
        if self.live.fetch_add(1, Ordering::AcqRel) >= self.most {
            self.live.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let known = Arc::new(Known::default());
        known
            .idle
            .store(self.milliseconds() + FIRST_BYTE, Ordering::Relaxed);
        if self.retired.load(Ordering::Acquire) {
            known.orders.store(RETIRE, Ordering::Release);
        }
        self.all().insert(number, Arc::clone(&known));
        Some(Presence {
            all: Arc::clone(self),
            number,
            known,
            address: None,
        })
    }

    fn addresses(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u32 {
        self.tick.load(Ordering::Relaxed)
    }

    /// Milliseconds since the start, plus one; 0 means no time.
    fn milliseconds(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX >> 1) + 1
    }

    /// Advances the time by a second, and ends connections past their deadline. To be called once a second.
    pub fn pass_time(&self) {
        let now = u32::try_from(self.start.elapsed().as_secs() + 1).unwrap_or(u32::MAX);
        self.tick.store(now, Ordering::Relaxed);
        let late = |known: &Known| {
            let deadline = known.deadline.load(Ordering::Relaxed);
            deadline != 0 && deadline < now
        };
        for known in self.all().values().filter(|known| late(known)) {
            known.order(LATE);
        }
    }

    /// Makes all connections, new ones included, end once nothing is in progress.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        for known in self.all().values() {
            known.order(RETIRE);
        }
    }

    /// Ends the connections that have been idle longest, except new ones; returns how many.
    pub fn yield_idle(&self, count: usize) -> usize {
        let now = self.milliseconds();
        let all = self.all();
        let mut idle: Vec<_> = all
            .values()
            .filter(|known| known.orders.load(Ordering::Relaxed) & YIELD == 0)
            .map(|known| (known.idle.load(Ordering::Relaxed), known))
            .filter(|(since, _)| *since != 0 && *since <= now)
            .collect();
        idle.sort_by_key(|(since, _)| *since);
        for (_, known) in idle.iter().take(count) {
            known.order(YIELD);
        }
        idle.len().min(count)
    }

    /// Records that descriptors are exhausted. True if they were sufficient for a while before.
    pub fn starve(&self) -> bool {
        let now = self.milliseconds();
        let before = self.starved.swap(now, Ordering::AcqRel);
        before == 0 || now.saturating_sub(before) > EPISODE
    }

    /// Notified when a connection has ended.
    pub fn freed(&self) -> &Notify {
        &self.freed
    }
}

impl Known {
    fn order(&self, order: u8) {
        self.orders.fetch_or(order, Ordering::AcqRel);
        self.waker.wake();
    }
}

impl Presence {
    /// Counts the connection among those of its peer's address. False if that has reached its limit.
    pub fn comes_from(&mut self, peer: IpAddr) -> bool {
        if self.all.most_of_one == 0 {
            return true;
        }
        let peer = counted_as(peer);
        let mut addresses = self.all.addresses();
        let count = addresses.entry(peer).or_default();
        if *count >= self.all.most_of_one {
            return false;
        }
        *count += 1;
        self.address = Some(peer);
        true
    }

    /// The current directive. The task is woken when it changes.
    pub fn order(&self, context: &Context<'_>) -> Directive {
        self.known.waker.register(context.waker());
        let orders = self.known.orders.load(Ordering::Acquire);
        if orders == 0 {
            return Directive::None;
        }
        let wait = self.wait();
        let now = self.all.now();
        let deadline = self.known.deadline.load(Ordering::Relaxed);
        if orders & LATE != 0 && deadline != 0 && deadline < now {
            return Directive::Late(wait);
        }
        if orders & YIELD != 0 && wait.is_idle() {
            return Directive::Yield;
        }
        self.known.orders.fetch_and(RETIRE, Ordering::AcqRel);
        if orders & RETIRE != 0 {
            Directive::Retire
        } else {
            Directive::None
        }
    }

    /// What it currently waits for.
    pub fn wait(&self) -> Wait {
        match self.known.wait.load(Ordering::Relaxed) {
            1 => Wait::Request,
            2 => Wait::Idle,
            3 => Wait::Head,
            4 => Wait::Body,
            5 => Wait::Records,
            6 => Wait::Writing,
            7 => Wait::Lingering,
            _ => Wait::Answer,
        }
    }

    /// Records what it waits for. `again`: something has happened since, such as a new request.
    pub fn waits(&self, wait: Wait, again: bool) {
        let before = self.known.wait.swap(wait as u8, Ordering::Relaxed);
        if before == wait as u8 && wait.counts() && !again {
            return;
        }
        let patience = &self.all.patience;
        let now = self.all.now();
        let deadline = match wait {
            Wait::Answer | Wait::Request => 0,
            Wait::Idle => now.saturating_add(patience.idle),
            Wait::Head => now.saturating_add(patience.head),
            Wait::Body => now.saturating_add(patience.body),
            Wait::Records => now.saturating_add(patience.records),
            Wait::Writing => now.saturating_add(patience.write),
            Wait::Lingering => now.saturating_add(patience.linger),
        };
        self.known.deadline.store(deadline, Ordering::Relaxed);
        if !wait.is_idle() {
            self.known.idle.store(0, Ordering::Relaxed);
        } else if self.known.idle.load(Ordering::Relaxed) == 0 {
            self.known.idle.store(self.all.milliseconds(), Ordering::Relaxed);
        }
    }

    /// The value of FCGI_MAX_CONNS.
    pub fn max(&self) -> usize {
        self.all.most
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if let Some(address) = self.address {
            let mut addresses = self.all.addresses();
            let count = addresses.get_mut(&address).map(|count| {
                *count = count.saturating_sub(1);
                *count
            });
            if count == Some(0) {
                addresses.remove(&address);
            }
        }
        self.all.all().remove(&self.number);
        self.all.live.fetch_sub(1, Ordering::AcqRel);
        self.all.freed.notify_waiters();
    }
}

/// The unit that is counted as one address: for IPv6, the /64 network of a subscriber (RFC 6177).
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn the_longest_idle_connections_are_closed_first_and_busy_ones_never() {
        let all = Connections::new(Patience::default(), 4, 0);
        let four: Vec<_> = (0..4).map(|_| all.enter().unwrap()).collect();
        assert!(all.enter().is_none());
        let context = Context::from_waker(Waker::noop());
        let orders = || -> Vec<_> { four.iter().map(|one| one.order(&context)).collect() };
        // none has had time to send a byte
        assert_eq!(all.yield_idle(9), 0);
        for presence in &four {
            presence.waits(Wait::Answer, true);
        }
        for (at, presence) in four.iter().enumerate().skip(1) {
            presence.waits(Wait::Request, true);
            presence.known.idle.store(4 - at as u64, Ordering::Relaxed);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
        // reporting the same state does not reset the idle time
        four[3].waits(Wait::Request, true);
        assert_eq!((all.yield_idle(1), all.busy()), (1, 1));
        assert_eq!(
            orders(),
            [
                Directive::None,
                Directive::None,
                Directive::None,
                Directive::Yield
            ]
        );
        // a connection that is already ending is not counted again
        assert_eq!(all.yield_idle(9), 2);
        assert_eq!(
            orders(),
            [
                Directive::None,
                Directive::Yield,
                Directive::Yield,
                Directive::Yield
            ]
        );
        drop(four);
        assert_eq!(all.live(), 0);
    }

    #[test]
    fn an_episode_without_capacity_is_logged_once() {
        let all = Connections::new(Patience::default(), 1, 0);
        let reported: Vec<_> = (0..3).map(|_| all.starve()).collect();
        assert_eq!(reported, [true, false, false]);
    }

    #[test]
    fn a_late_connection_is_ended_unless_something_has_happened_since() {
        let all = Connections::new(
            Patience {
                head: 0,
                ..Patience::default()
            },
            3,
            0,
        );
        let presence = all.enter().unwrap();
        let context = Context::from_waker(Waker::noop());
        presence.waits(Wait::Head, false);
        all.tick.store(2, Ordering::Relaxed);
        presence.known.order(LATE);
        assert_eq!(presence.order(&context), Directive::Late(Wait::Head));
        presence.waits(Wait::Answer, false);
        assert_eq!(presence.order(&context), Directive::None);
        all.retire();
        assert_eq!(presence.order(&context), Directive::Retire);
        assert_eq!(all.enter().unwrap().order(&context), Directive::Retire);
    }
    #[test]
    fn connections_are_limited_per_address() {
        let all = Connections::new(Patience::default(), 20, 2);
        let from = |address: &str| {
            let mut presence = all.enter().unwrap();
            let fits = presence.comes_from(address.parse().unwrap());
            fits.then_some(presence)
        };
        let first = from("192.0.2.1");
        let second = from("::ffff:192.0.2.1");
        assert!(first.is_some() && second.is_some());
        assert!(from("192.0.2.1").is_none() && from("192.0.2.2").is_some());
        drop(first);
        assert!(from("192.0.2.1").is_some());
        let network = [from("2001:db8::1"), from("2001:db8::2")];
        assert!(from("2001:db8::3:4").is_none() && from("2001:db8:1::1").is_some());
        drop((second, network));
        assert_eq!((all.live(), all.addresses().len()), (0, 0));
    }
}
