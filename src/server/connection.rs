//! One connection: its socket, its wire, what came and was not understood yet, what waits to be written.
//!
//! Knows how bytes move and when a connection ends, not who calls it nor who answers.

use crate::server::out::Last;
use crate::server::out::Out;
use crate::server::wire::Event;
use crate::server::wire::Wait;
use crate::server::wire::Wire;
use rustix::event::epoll::EventFlags;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::Shutdown;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::TryLockError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

/// A thread's buffer for reading. What no request is made of yet is kept by the connection, at most
/// [`crate::server::http::MAX_HEAD`] bytes unless it has to wait for an answer.
pub const SCRATCH: usize = 128 << 10;
/// Bytes that may wait for the peer before no more is read from it.
const MAX_WAITING: usize = 1 << 20;
/// Reads in one go before other connections have their turn.
const READS: usize = 32;
/// A kept buffer larger than this is given back.
const SPARE: usize = 4 << 10;

/// What epoll watches a socket for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// The socket was not given to epoll yet.
    Nothing,
    /// Bytes and the peer's end.
    Input,
    /// Also room to write.
    Both,
}

/// A connection, shared by the threads that may have to do with it.
#[derive(Debug)]
pub struct Connection {
    /// Tells it from others that had the same descriptor.
    pub serial: u32,
    /// When it ends if nothing happens, in ticks; 0 is never.
    pub deadline: AtomicU32,
    /// What epoll told and nobody has looked at yet: `EventFlags`.
    signals: AtomicU32,
    /// The rest.
    inner: Mutex<Inner>,
}

impl Connection {
    /// A connection that nobody else knows yet.
    pub fn new(serial: u32, inner: Inner) -> Self {
        Connection {
            serial,
            deadline: AtomicU32::new(0),
            signals: AtomicU32::new(0),
            inner: Mutex::new(inner),
        }
    }

    /// Leaves word of an event. [`Connection::attend`] has to follow.
    pub fn signal(&self, flags: EventFlags) {
        self.signals.fetch_or(flags.bits(), Ordering::SeqCst);
    }

    /// Calls `work` with the events that were left. A thread that finds another one at work leaves the event to it
    /// instead of waiting.
    pub fn attend(&self, mut work: impl FnMut(&mut Inner, EventFlags)) {
        while self.signals.load(Ordering::SeqCst) != 0 {
            let mut inner = match self.inner.try_lock() {
                Ok(inner) => inner,
                Err(TryLockError::Poisoned(inner)) => inner.into_inner(),
                // who holds the lock comes by here after giving it back, and sees the signal
                Err(TryLockError::WouldBlock) => return,
            };
            let flags = self.signals.swap(0, Ordering::SeqCst);
            work(&mut inner, EventFlags::from_bits_retain(flags));
        }
    }

    /// Waits for the lock. [`Connection::attend`] has to follow when it has been given back.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is only touched under the lock, which is held for reads and writes that do not block.
#[derive(Debug)]
pub struct Inner {
    /// `None` once it is closed.
    pub socket: Option<OwnedFd>,
    /// The protocol.
    pub wire: Wire,
    /// What waits to be written.
    pub out: Out,
    /// What epoll was last told.
    pub watch: Watch,
    /// What was waited for when the deadline was set.
    pub wait: Wait,
    /// Bytes that were read and not understood yet.
    stash: Vec<u8>,
    /// The stash was left although it may hold a whole request.
    stalled: bool,
    /// The socket may hold bytes that epoll will not announce again.
    unread: bool,
    /// Our side is shut; what comes is thrown away.
    lingering: bool,
}

/// What came of reading.
pub enum Input {
    /// A request.
    Request(u16, crate::http::Http),
    /// All is read and understood that can be for now.
    Drained,
    /// There is more, but others are waiting.
    Paused,
    /// The peer has written its last, and waits for nothing: no FastCGI peer and no browser shuts down only half of
    /// a connection, and a lost client looks the same.
    Ended,
    /// The connection is of no more use.
    Broken,
}

impl Inner {
    /// A connection whose socket may hold bytes already.
    pub fn new(socket: OwnedFd, wire: Wire) -> Self {
        Inner {
            socket: Some(socket),
            wire,
            out: Out::default(),
            watch: Watch::Nothing,
            wait: Wait::Forever,
            stash: Vec::new(),
            stalled: false,
            unread: true,
            lingering: false,
        }
    }

    /// Bytes or the peer's end are to be read.
    pub fn announce(&mut self) {
        self.unread = true;
    }

    /// There is input that nobody will announce: the budget ended before it did.
    pub fn has_more(&self) -> bool {
        self.unread || self.stalled
    }

    /// Nothing has begun and nothing waits.
    pub fn idle(&self) -> bool {
        self.wire.idle() && self.stash.is_empty() && self.out.is_empty()
    }

    /// Reads until there is a request, or as far as it goes. `scratch` holds [`SCRATCH`] bytes.
    pub fn read(&mut self, scratch: &mut [u8]) -> Input {
        for _ in 0..READS {
            let shut = self.out.last.is_some() && !self.lingering;
            if shut || self.wire.held() || self.out.bytes() > MAX_WAITING {
                return Input::Drained;
            }
            if self.stalled {
                self.stalled = false;
                let stash = std::mem::take(&mut self.stash);
                if let Some(input) = self.understand(&stash) {
                    return input;
                }
                continue;
            }
            let Some(socket) = self.socket.as_ref().filter(|_| self.unread) else {
                return Input::Drained;
            };
            let (kept, room) = scratch.split_at_mut(self.stash.len().min(scratch.len()));
            match rustix::io::read(socket, &mut *room) {
                Ok(0) => return Input::Ended,
                // a short read has emptied the socket, and epoll tells of what comes later
                Ok(count) => {
                    self.unread = count == room.len();
                    if self.lingering {
                        continue;
                    }
                    kept.copy_from_slice(self.stash.get(..kept.len()).unwrap_or_default());
                    let count = kept.len() + count;
                    self.stash.clear();
                    if let Some(input) = self.understand(scratch.get(..count).unwrap_or_default()) {
                        return input;
                    }
                }
                Err(Errno::AGAIN) => self.unread = false,
                Err(Errno::INTR) => {}
                Err(_) => return Input::Broken,
            }
        }
        Input::Paused
    }

    /// Gives bytes to the wire and keeps what it leaves. `None`: more is needed.
    fn understand(&mut self, bytes: &[u8]) -> Option<Input> {
        let (used, event) = self.wire.parse(bytes, &mut self.out);
        self.stash
            .extend_from_slice(bytes.get(used..).unwrap_or_default());
        if self.stash.is_empty() && self.stash.capacity() > SPARE {
            self.stash = Vec::new();
        }
        match event? {
            Event::Request(id, http) => {
                self.stalled = !self.stash.is_empty();
                Some(Input::Request(id, http))
            }
            Event::Broken(why) => {
                log::debug!("a connection is closed: {why}");
                Some(Input::Broken)
            }
        }
    }

    /// After the peer's end: nothing is read or made for it any more. True when something is left to be written.
    pub fn end(&mut self) -> bool {
        self.wire.withdraw();
        self.unread = false;
        self.stalled = false;
        self.stash = Vec::new();
        self.out.last = Some(Last::Close);
        !self.out.is_empty()
    }

    /// Writes what waits; false when the connection has come to its end.
    pub fn write(&mut self) -> bool {
        let Some(socket) = &self.socket else { return false };
        match self.out.write(socket) {
            Ok(true) => match self.out.last {
                Some(Last::Close) if !self.unread && self.stash.is_empty() => false,
                Some(_) if !self.lingering => {
                    self.lingering = true;
                    self.stash = Vec::new();
                    self.unread = true;
                    rustix::net::shutdown(socket, Shutdown::Write).is_ok()
                }
                _ => true,
            },
            Ok(false) => true,
            Err(_) => false,
        }
    }

    /// What is waited for.
    pub fn waits(&self) -> Wait {
        if !self.out.is_empty() {
            Wait::Writing
        } else if self.lingering {
            Wait::Lingering
        } else {
            self.wire.wait(!self.stash.is_empty())
        }
    }
}
