//! One memcached server: its state, and the threads that communicate with it.
//!
//! [`WORKERS`] threads process a queue of requests. Another thread, the keeper, resolves the server's name and retries a failed
//! server until it answers. A server that is not known to answer gets no requests, so that neither a silent name server nor a
//! silent memcached delays a request.

use crate::cache::memcached::Report;
use crate::cache::memcached::frame;
use crate::cache::memcached::talk::ServerAddress;
use crate::cache::memcached::talk::ServerConnection;
use crate::cache::memcached::talk::is_late;
use bytes::Bytes;
use std::io;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::sync::mpsc::Receiver;
use std::sync::mpsc::SyncSender;
use std::thread;
use std::time::Duration;
use std::time::Instant;
use tokio::sync::oneshot;

/// Time limit of a request in the queue, and again of its exchange with the server.
const PATIENCE: Duration = Duration::from_millis(100);

/// Time limit of a trial of a failed server.
const TRIAL: Duration = Duration::from_secs(1);

/// Pause between two trials.
const REST: Duration = Duration::from_secs(1);

/// Worker threads per server.
const WORKERS: usize = 2;

/// Capacity of the queue of a server, in requests.
const QUEUE: usize = 256;

/// Capacity of the queue of a server, in bytes of values to store.
const QUEUE_BYTES: usize = 16 << 20;

/// A request.
enum Command {
    Get {
        key: String,
        answer: oneshot::Sender<Option<Bytes>>,
        until: Instant,
    },
    Set {
        key: String,
        body: Bytes,
        expiry: u64,
    },
}

/// The handle of a server. Dropping it ends the threads.
pub struct Server {
    shared: Arc<Shared>,
    jobs: SyncSender<Command>,
}

/// State shared by the threads.
struct Shared {
    /// As configured: `host:port` or a path.
    address: String,
    /// Whether it gets requests.
    up: AtomicBool,
    /// Queued bytes to store.
    waiting_bytes: AtomicUsize,
    state: Mutex<State>,
    changed: Condvar,
    tell: Report,
}

#[derive(Default)]
struct State {
    targets: Vec<ServerAddress>,
    /// Whether the failure has been logged.
    reported: bool,
    stopped: bool,
}

impl Server {
    /// Starts the threads. A server whose address needs no name resolution counts as up until it fails.
    pub fn start(address: &str, tell: Report) -> io::Result<Server> {
        let targets: Vec<ServerAddress> = literal(address).into_iter().collect();
        let shared = Arc::new(Shared {
            address: address.into(),
            up: AtomicBool::new(!targets.is_empty()),
            waiting_bytes: AtomicUsize::new(0),
            state: Mutex::new(State {
                targets,
                ..State::default()
            }),
            changed: Condvar::new(),
            tell,
        });
        let (jobs, queue) = mpsc::sync_channel(QUEUE);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..WORKERS {
            let (shared, queue) = (Arc::clone(&shared), Arc::clone(&queue));
            spawn("memcached", move || shared.work(&queue))?;
        }
        let keeper = Arc::clone(&shared);
        spawn("memcached-keeper", move || keeper.keep())?;
        Ok(Server { shared, jobs })
    }

    /// The address as configured.
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Whether it currently gets requests.
    pub fn is_up(&self) -> bool {
        self.shared.up.load(Ordering::Relaxed)
    }

    /// Queues a lookup of this key. The receiver fails at once if the queue is full.
    pub fn get(&self, key: &str) -> oneshot::Receiver<Option<Bytes>> {
        let (answer, receiver) = oneshot::channel();
        let job = Command::Get {
            key: key.into(),
            answer,
            until: Instant::now() + PATIENCE,
        };
        let _ = self.jobs.try_send(job);
        receiver
    }

    /// Queues a body; false if the queue is full.
    pub fn set(&self, key: &str, body: Bytes, expiry: u64) -> bool {
        let len = body.len();
        let waiting = &self.shared.waiting_bytes;
        if waiting.fetch_add(len, Ordering::Relaxed) + len > QUEUE_BYTES {
            waiting.fetch_sub(len, Ordering::Relaxed);
            return false;
        }
        let key = key.into();
        let queued = self.jobs.try_send(Command::Set { key, body, expiry }).is_ok();
        if !queued {
            waiting.fetch_sub(len, Ordering::Relaxed);
        }
        queued
    }

    /// Whether all queued bodies have been stored or dropped.
    pub fn is_idle(&self) -> bool {
        self.shared.waiting_bytes.load(Ordering::Relaxed) == 0
    }

    #[cfg(test)]
    pub fn mark(&self, up: bool) {
        self.shared.up.store(up, Ordering::Relaxed);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The loop of a worker thread.
    fn work(&self, queue: &Mutex<Receiver<Command>>) {
        let mut connection = None;
        loop {
            let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(job) = job else { return };
            match job {
                Command::Get { key, answer, until } => {
                    if answer.is_closed() || until <= Instant::now() {
                        continue;
                    }
                    let found = self.ask(&mut connection, |server, until| server.get(&key, until));
                    // the receiver may be gone
                    let _ = answer.send(found.flatten());
                }
                Command::Set { key, body, expiry } => {
                    let value = frame::wrap(&key, &body);
                    self.ask(&mut connection, |server, until| {
                        server.set(&key, expiry, &value, until)
                    });
                    self.waiting_bytes.fetch_sub(body.len(), Ordering::Relaxed);
                }
            }
        }
    }

    /// The server's answer; `None` if it is down or fails. After a failure it is down until a trial succeeds.
    fn ask<T>(
        &self,
        kept: &mut Option<ServerConnection>,
        talk: impl Fn(&mut ServerConnection, Instant) -> io::Result<T>,
    ) -> Option<T> {
        let old = kept.take();
        if !self.up.load(Ordering::Relaxed) {
            return None;
        }
        let until = Instant::now() + PATIENCE;
        let again = old.and_then(|mut old| match talk(&mut old, until) {
            // the server may have closed the connection since
            Err(error) if !is_late(&error) => None,
            answer => Some(answer.map(|answer| (old, answer))),
        });
        let answer = again.unwrap_or_else(|| {
            let mut new = self.connect(until)?;
            let answer = talk(&mut new, until)?;
            Ok((new, answer))
        });
        match answer {
            Ok((connection, answer)) => {
                *kept = Some(connection).filter(ServerConnection::is_at_rest);
                Some(answer)
            }
            Err(error) => {
                self.down(&error);
                None
            }
        }
    }

    fn connect(&self, until: Instant) -> io::Result<ServerConnection> {
        connect(&self.lock().targets.clone(), until)
    }

    /// Marks the server as down.
    fn down(&self, error: &io::Error) {
        if self.up.swap(false, Ordering::Relaxed) {
            let mut state = self.lock();
            state.reported = true;
            drop(state);
            (self.tell)(&self.address, Err(error));
            self.changed.notify_all();
        }
    }

    /// The loop of the keeper: waits until the server is down, then tries it until it is up.
    fn keep(&self) {
        let mut first = true;
        loop {
            let mut state = self.lock();
            while self.up.load(Ordering::Relaxed) && !state.stopped {
                first = false;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            // names are resolved at once when the program starts
            if !std::mem::take(&mut first) {
                let rested = self
                    .changed
                    .wait_timeout_while(state, REST, |state| !state.stopped);
                (state, _) = rested.unwrap_or_else(PoisonError::into_inner);
            }
            if state.stopped {
                return;
            }
            drop(state);
            self.settle(self.trial());
        }
    }

    /// Resolves the name and asks the server for its version.
    fn trial(&self) -> io::Result<Vec<ServerAddress>> {
        let targets = match literal(&self.address) {
            Some(target) => vec![target],
            None => self.address.to_socket_addrs()?.map(ServerAddress::Tcp).collect(),
        };
        let until = Instant::now() + TRIAL;
        connect(&targets, until)?.version(until)?;
        Ok(targets)
    }

    /// Applies the result of a trial.
    fn settle(&self, trial: io::Result<Vec<ServerAddress>>) {
        let mut state = self.lock();
        let reported = state.reported;
        state.reported = trial.is_err();
        match trial {
            Ok(targets) => {
                state.targets = targets;
                self.up.store(true, Ordering::Relaxed);
                drop(state);
                if reported {
                    (self.tell)(&self.address, Ok(()));
                }
            }
            Err(error) => {
                drop(state);
                if !reported {
                    (self.tell)(&self.address, Err(&error));
                }
            }
        }
    }
}

/// Connects to the first target that accepts.
fn connect(targets: &[ServerAddress], until: Instant) -> io::Result<ServerConnection> {
    let mut last = io::ErrorKind::NotFound.into();
    for target in targets {
        match ServerConnection::open(target, until) {
            Ok(connection) => return Ok(connection),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// An address that needs no name resolution: a path or a numeric address.
fn literal(address: &str) -> Option<ServerAddress> {
    if address.starts_with('/') {
        return Some(ServerAddress::Unix(address.into()));
    }
    address.parse().ok().map(ServerAddress::Tcp)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(work).map(drop)
}
