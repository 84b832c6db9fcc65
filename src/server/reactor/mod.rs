//! Connections among threads: one epoll for all I/O threads, which answer what is cached themselves, and compute
//! threads, which write what they have made.
//!
//! Watching is edge-triggered and set once, so a request on a kept connection costs three system calls: wait, read,
//! write. A connection costs a thread nothing while it idles or waits for its pixels, and the end of its peer is
//! noticed meanwhile. An I/O thread makes a quick answer itself as long as another one waits for sockets: waking a
//! compute thread costs as much as sending a stored tile. Knows no protocol; what a request means is the service's.

mod accept;
mod clock;

use crate::config;
use crate::http::Http;
use crate::http::Reply;
use crate::server::connection::Connection;
use crate::server::connection::Inner;
use crate::server::connection::Input;
use crate::server::connection::SCRATCH;
use crate::server::connection::Watch;
use crate::server::listen::Listener;
use crate::server::pages;
use crate::server::pages::Route;
use crate::server::pool::Pool;
pub use crate::server::reactor::clock::Patience;
use crate::server::wire::Ticket;
use crate::service::Service;
use crate::service::Step;
use crate::service::Work;
use rustix::event::EventfdFlags;
use rustix::event::Timespec;
use rustix::event::epoll;
use rustix::event::epoll::EventFlags;
use rustix::fd::AsRawFd;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;

/// Jobs that may wait for a compute thread.
const QUEUE: usize = 1_024;
/// Requests of one connection, or new connections, that are handled in one go before others have their turn.
const BUDGET: usize = 64;
/// Events that one thread takes at once; few, so that the other threads have something to do.
const EVENTS: usize = 8;
/// The event that wakes every thread to stop it.
const WAKE: u64 = u64::MAX;
/// Marks the events of listeners; below it is the listener's number. Descriptors are far smaller.
const LISTENER: u64 = 1 << 31;

/// A request on its way to a compute thread.
struct Job {
    connection: Arc<Connection>,
    id: u16,
    ticket: Ticket,
    task: Task,
}

enum Task {
    Work(Box<Work>),
    /// The list of images, which walks through folders.
    Images,
}

/// What one thread has at hand.
struct Hand {
    /// [`SCRATCH`] bytes to read into.
    scratch: Vec<u8>,
    /// Whether the thread may take a job for itself.
    free: bool,
    /// The job that it took.
    job: Option<Job>,
}

impl Hand {
    /// Of a thread that takes no job.
    fn new() -> Hand {
        Hand {
            scratch: vec![0; SCRATCH],
            free: false,
            job: None,
        }
    }
}

/// Everything that the threads share.
pub struct Reactor {
    service: Arc<Service>,
    patience: Patience,
    epoll: OwnedFd,
    wake: OwnedFd,
    listeners: Mutex<Vec<Arc<Listener>>>,
    pool: Pool<Job>,
    /// I/O threads that wait for sockets.
    waiting: AtomicUsize,
    /// Connections that epoll watches, by descriptor.
    table: Mutex<HashMap<u32, Arc<Connection>>>,
    /// Connections in all.
    live: AtomicUsize,
    /// Above this many no connection is accepted.
    max_connections: usize,
    serial: AtomicU32,
    /// Connections wait in a listener that we could not accept.
    starved: AtomicBool,
    /// No new requests.
    draining: AtomicBool,
    /// No threads.
    stopped: AtomicBool,
    start: Instant,
    /// Seconds since the start, and one: 0 is no deadline.
    tick: AtomicU32,
}

/// The threads of a running server.
pub struct Running {
    reactor: Arc<Reactor>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts as many I/O threads as compute threads: `threads` of each.
pub fn start(
    service: Arc<Service>,
    listeners: Vec<Listener>,
    threads: usize,
    patience: Patience,
) -> io::Result<Running> {
    let reactor = Arc::new(Reactor {
        service,
        patience,
        epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
        wake: rustix::event::eventfd(0, EventfdFlags::CLOEXEC)?,
        listeners: Mutex::new(listeners.into_iter().map(Arc::new).collect()),
        pool: Pool::new(QUEUE),
        waiting: AtomicUsize::new(0),
        table: Mutex::new(HashMap::new()),
        live: AtomicUsize::new(0),
        max_connections: config::open_files().connections,
        serial: AtomicU32::new(0),
        starved: AtomicBool::new(false),
        draining: AtomicBool::new(false),
        stopped: AtomicBool::new(false),
        start: Instant::now(),
        tick: AtomicU32::new(1),
    });
    epoll::add(
        &reactor.epoll,
        &reactor.wake,
        epoll::EventData::new_u64(WAKE),
        EventFlags::IN,
    )?;
    reactor.watch_listeners()?;
    let mut running = Running {
        reactor,
        threads: Vec::new(),
    };
    for (name, body) in [
        ("io", Reactor::wait_and_answer as fn(&Reactor)),
        ("compute", Reactor::compute),
    ] {
        for _ in 0..threads.max(1) {
            let reactor = Arc::clone(&running.reactor);
            let thread = std::thread::Builder::new().name(name.into());
            running.threads.push(thread.spawn(move || body(&reactor))?);
        }
    }
    Ok(running)
}

impl Running {
    /// Accepts nothing more, finishes what has begun for as long as `grace`, and ends the threads. True when
    /// everything was finished.
    pub fn stop(self, grace: Duration) -> bool {
        let end = Instant::now() + grace;
        let reactor = &self.reactor;
        let mut hand = Hand::new();
        reactor.drain(&mut hand);
        while reactor.live.load(Ordering::Acquire) > 0 && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
            // also those that were being accepted just then
            reactor.close_idle(&mut hand);
        }
        let finished = reactor.live.load(Ordering::Acquire) == 0;
        reactor.stopped.store(true, Ordering::Release);
        let _ = rustix::io::write(&reactor.wake, &1u64.to_ne_bytes());
        reactor.pool.stop();
        if finished {
            for thread in self.threads {
                let _ = thread.join();
            }
        }
        finished
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn internal() -> Reply {
    Reply::new(500, "internal failure\n").with("Content-Type", "text/plain")
}

impl Reactor {
    /// An I/O thread.
    fn wait_and_answer(&self) {
        let mut hand = Hand::new();
        let mut events = Vec::with_capacity(EVENTS);
        let second = Timespec {
            tv_sec: 1,
            tv_nsec: 0,
        };
        loop {
            events.clear();
            // without connections there is no deadline to look after
            let quiet = self.live.load(Ordering::Relaxed) == 0 && !self.starved.load(Ordering::Relaxed);
            let timeout = if quiet { None } else { Some(&second) };
            let buffer = rustix::buffer::spare_capacity(&mut events);
            self.waiting.fetch_add(1, Ordering::AcqRel);
            let waited = epoll::wait(&self.epoll, buffer, timeout);
            hand.free = self.waiting.fetch_sub(1, Ordering::AcqRel) > 1;
            match waited {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    log::error!("waiting for sockets failed: {error}");
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
            if self.stopped.load(Ordering::Acquire) {
                return;
            }
            // before the events: without connections time has stood still, and a new one would be late at once
            self.pass_time(&mut hand);
            for event in &events {
                let (data, flags) = (event.data, event.flags);
                self.handle(data.u64(), flags, &mut hand);
            }
            hand.free = false;
            if let Some(job) = hand.job.take() {
                self.run(job, &mut hand);
            }
        }
    }

    fn handle(&self, token: u64, flags: EventFlags, hand: &mut Hand) {
        let low = u32::try_from(token & u64::from(u32::MAX)).unwrap_or(u32::MAX);
        if token & LISTENER != 0 {
            let number = usize::try_from(token & (LISTENER - 1)).unwrap_or(usize::MAX);
            return self.accept(number, hand);
        }
        let connection = lock(&self.table).get(&low).map(Arc::clone);
        // an event may be older than the connection that now has the descriptor
        let Some(connection) = connection.filter(|c| u64::from(c.serial) == token >> 32) else {
            return;
        };
        connection.signal(flags);
        self.attend(&connection, hand);
    }

    /// Handles the events that were left for a connection.
    fn attend(&self, connection: &Arc<Connection>, hand: &mut Hand) {
        connection.attend(|inner, flags| {
            if flags.intersects(EventFlags::ERR | EventFlags::HUP) {
                return self.close(connection, inner);
            }
            if flags.intersects(EventFlags::IN | EventFlags::RDHUP) {
                inner.announce();
            }
            self.drive(connection, inner, hand);
            if flags.intersects(EventFlags::RDHUP) && inner.socket.is_some() {
                // a short read does not see the end that came with it, and a connection whose answer is being made
                // is not read
                self.end(connection, inner);
            }
        });
    }

    /// Does something with a connection, and then what others left to be done meanwhile.
    fn with(&self, connection: &Arc<Connection>, hand: &mut Hand, work: impl FnOnce(&mut Inner, &mut Hand)) {
        work(&mut connection.lock(), hand);
        self.attend(connection, hand);
    }

    /// Moves a connection on as far as it goes without waiting, and sets what is waited for.
    fn drive(&self, connection: &Arc<Connection>, inner: &mut Inner, hand: &mut Hand) {
        let mut budget = BUDGET;
        let mut begun = false;
        while budget > 0 {
            budget -= 1;
            match inner.read(&mut hand.scratch) {
                Input::Request(id, http) => {
                    begun = true;
                    self.begin(connection, inner, id, http, hand);
                    continue;
                }
                Input::Drained => {}
                Input::Paused => budget = 0,
                Input::Ended => {
                    inner.write();
                    return self.end(connection, inner);
                }
                Input::Broken => {
                    inner.write();
                    return self.close(connection, inner);
                }
            }
            // a queue that has emptied lets the connection be read again
            let waiting = !inner.out.is_empty();
            if !inner.write() {
                return self.close(connection, inner);
            }
            if !(waiting && inner.out.is_empty() && inner.has_more()) {
                break;
            }
        }
        if budget == 0 && !inner.write() {
            return self.close(connection, inner);
        }
        self.settle(connection, inner, begun, budget == 0);
    }

    /// After the peer's end.
    fn end(&self, connection: &Arc<Connection>, inner: &mut Inner) {
        if inner.end() {
            self.settle(connection, inner, false, false);
        } else {
            self.close(connection, inner);
        }
    }

    /// Sets what is waited for. `begun`: a request was read; `again`: there is more to be done at once, after others.
    fn settle(&self, connection: &Arc<Connection>, inner: &mut Inner, begun: bool, again: bool) {
        if self.draining.load(Ordering::Acquire) {
            inner.wire.retire();
            if inner.idle() {
                return self.close(connection, inner);
            }
        }
        self.set_deadline(connection, inner, begun);
        if self.watch(connection, inner, again).is_err() {
            self.close(connection, inner);
        }
    }

    /// Answers a request, keeps it for this thread, or hands it to the compute threads.
    fn begin(&self, connection: &Arc<Connection>, inner: &mut Inner, id: u16, http: Http, hand: &mut Hand) {
        let route = if inner.wire.has_pages() {
            pages::route(&http, self.service.config())
        } else {
            Route::Service
        };
        let (task, cost) = match route {
            Route::Service => match catch_unwind(AssertUnwindSafe(|| self.service.begin(http))) {
                Ok(Step::Done(reply)) => return inner.wire.answer(id, reply, &mut inner.out),
                Ok(Step::Work(work)) => {
                    let cost = work.cost();
                    (Task::Work(work), cost)
                }
                Err(_) => {
                    log::error!("a request panicked");
                    return inner.wire.answer(id, internal(), &mut inner.out);
                }
            },
            Route::Images => (Task::Images, 0),
            other => {
                let uri = String::from_utf8_lossy(http.var("REQUEST_URI").unwrap_or_default());
                log::debug!("{uri:?} is answered by the listener: {other:?}");
                return inner.wire.answer(id, pages::fixed(other), &mut inner.out);
            }
        };
        let job = Job {
            connection: Arc::clone(connection),
            id,
            ticket: inner.wire.start(id),
            task,
        };
        if hand.free && matches!(&job.task, Task::Work(work) if work.is_quick()) {
            hand.free = false;
            hand.job = Some(job);
            return;
        }
        if let Err(job) = self.pool.submit(job, cost, |job| job.ticket.withdrawn()) {
            let reply = match job.task {
                Task::Work(work) => self.service.refuse(*work),
                Task::Images => Reply::new(503, "too much work is queued\n").with("Retry-After", "1"),
            };
            inner.wire.answer(id, reply, &mut inner.out);
        }
    }

    /// A compute thread.
    fn compute(&self) {
        let mut hand = Hand::new();
        while let Some(job) = self.pool.take() {
            self.run(job, &mut hand);
        }
    }

    /// Does a job and writes its answer.
    fn run(&self, job: Job, hand: &mut Hand) {
        if job.ticket.withdrawn() {
            return;
        }
        let made = catch_unwind(AssertUnwindSafe(|| match job.task {
            Task::Work(work) => self.service.finish(*work),
            Task::Images => pages::images(self.service.config()),
        }));
        let reply = made.unwrap_or_else(|_| {
            log::error!("a request panicked");
            internal()
        });
        self.with(&job.connection, hand, |inner, hand| {
            // under the lock: a number may be in use again after an abort, a ticket never is
            if !job.ticket.withdrawn() && inner.socket.is_some() {
                inner.wire.answer(job.id, reply, &mut inner.out);
                self.drive(&job.connection, inner, hand);
            }
        });
    }

    /// Tells epoll what to watch the socket for, if that is news; `again` asks for an event about what is there.
    fn watch(&self, connection: &Arc<Connection>, inner: &mut Inner, again: bool) -> io::Result<()> {
        let Some(socket) = &inner.socket else {
            return Ok(());
        };
        let wanted = if inner.out.is_empty() {
            Watch::Input
        } else {
            Watch::Both
        };
        if wanted == inner.watch && !again {
            return Ok(());
        }
        let mut flags = EventFlags::IN | EventFlags::RDHUP | EventFlags::ET;
        if wanted == Watch::Both || again {
            // a socket with room to write makes an event even when the bytes to be handled are read already
            flags |= EventFlags::OUT;
        }
        let number = u32::try_from(socket.as_raw_fd()).unwrap_or(u32::MAX);
        let token = u64::from(connection.serial) << 32 | u64::from(number);
        let data = epoll::EventData::new_u64(token);
        if inner.watch == Watch::Nothing {
            lock(&self.table).insert(number, Arc::clone(connection));
            inner.watch = wanted;
            epoll::add(&self.epoll, socket, data, flags)?;
        } else {
            epoll::modify(&self.epoll, socket, data, flags)?;
        }
        inner.watch = if again { Watch::Both } else { wanted };
        Ok(())
    }

    /// Closes the socket; whoever works for the connection may stop.
    fn close(&self, connection: &Connection, inner: &mut Inner) {
        inner.wire.withdraw();
        let Some(socket) = inner.socket.take() else {
            return;
        };
        if inner.watch != Watch::Nothing {
            let number = u32::try_from(socket.as_raw_fd()).unwrap_or(u32::MAX);
            let mut table = lock(&self.table);
            if table
                .get(&number)
                .is_some_and(|other| other.serial == connection.serial)
            {
                table.remove(&number);
            }
        }
        drop(socket);
        self.live.fetch_sub(1, Ordering::AcqRel);
        self.feed();
    }

    /// Takes in what was sent before now, then no more.
    fn drain(&self, hand: &mut Hand) {
        let count = lock(&self.listeners).len();
        for number in 0..count {
            self.accept(number, hand);
        }
        self.draining.store(true, Ordering::Release);
        // closed by being dropped; a descriptor that others share stays watched unless epoll is told
        let listeners = std::mem::take(&mut *lock(&self.listeners));
        for listener in &listeners {
            let _ = epoll::delete(&self.epoll, &listener.socket);
        }
        drop(listeners);
        for connection in self.watched() {
            self.with(&connection, hand, |inner, hand| {
                inner.announce();
                if inner.socket.is_some() {
                    self.drive(&connection, inner, hand);
                }
            });
        }
    }

    /// Closes connections on which nothing goes on.
    fn close_idle(&self, hand: &mut Hand) {
        for connection in self.watched() {
            self.with(&connection, hand, |inner, _| {
                inner.wire.retire();
                if inner.idle() {
                    self.close(&connection, inner);
                }
            });
        }
    }

    fn watched(&self) -> Vec<Arc<Connection>> {
        lock(&self.table).values().map(Arc::clone).collect()
    }
}
