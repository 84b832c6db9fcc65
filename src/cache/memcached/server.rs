//! One memcached server: whether it is there, and the threads that talk to it.
//!
//! Requests are queued and answered by [`WORKERS`] threads. Another thread, the keeper, resolves the server's name and
//! tries a server that failed until it answers again, so that neither a silent name server nor a silent memcached
//! delays a request: a server that is not known to answer is not asked.

use crate::cache::memcached::Tell;
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

/// For a request in the queue, and again for its conversation.
const PATIENCE: Duration = Duration::from_millis(100);

/// For the trial of a server that failed.
const TRIAL: Duration = Duration::from_secs(1);

/// Between two trials.
const REST: Duration = Duration::from_secs(1);

/// Threads for a server.
const WORKERS: usize = 2;

/// Requests that may wait for a server.
const QUEUE: usize = 256;

/// Bytes of values that may wait to be stored on a server.
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

/// The front of a server. When it is dropped the threads end.
pub struct Server {
    shared: Arc<Shared>,
    jobs: SyncSender<Command>,
}

/// What the threads know.
struct Shared {
    /// As it was configured: `host:port` or a path.
    address: String,
    /// Whether it is asked.
    up: AtomicBool,
    /// Bytes that wait to be stored.
    waiting_bytes: AtomicUsize,
    state: Mutex<State>,
    changed: Condvar,
    tell: Tell,
}

#[derive(Default)]
struct State {
    targets: Vec<ServerAddress>,
    /// It was logged that it is lost.
    reported: bool,
    stopped: bool,
}

impl Server {
    /// Starts the threads. An address that needs no name server counts as up until it fails.
    pub fn start(address: &str, tell: Tell) -> io::Result<Server> {
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

    /// As it was configured.
    pub fn address(&self) -> &str {
        &self.shared.address
    }

    /// Whether it is asked at present.
    pub fn is_up(&self) -> bool {
        self.shared.up.load(Ordering::Relaxed)
    }

    /// Queues a look for this key. The receiver fails at once when the queue is full.
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

    /// Queues a body; false when there is no room for it.
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

    /// Whether everything that was queued has been stored, or given up.
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

    /// A worker's life.
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
                    // it may be that nothing waits for it any more
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

    /// What the server answers; `None` when it is down or fails, and then it is not asked until it was tried.
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
            // it may have been closed there since
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

    /// From now on it is not asked.
    fn down(&self, error: &io::Error) {
        if self.up.swap(false, Ordering::Relaxed) {
            let mut state = self.lock();
            state.reported = true;
            drop(state);
            (self.tell)(&self.address, Err(error));
            self.changed.notify_all();
        }
    }

    /// The keeper's life: waits until the server is down, and tries it then until it is up.
    fn keep(&self) {
        let mut first = true;
        loop {
            let mut state = self.lock();
            while self.up.load(Ordering::Relaxed) && !state.stopped {
                first = false;
                state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            // a name is looked up at once when the program starts
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

    /// Resolves the name and talks to the server.
    fn trial(&self) -> io::Result<Vec<ServerAddress>> {
        let targets = match literal(&self.address) {
            Some(target) => vec![target],
            None => self.address.to_socket_addrs()?.map(ServerAddress::Tcp).collect(),
        };
        let until = Instant::now() + TRIAL;
        connect(&targets, until)?.version(until)?;
        Ok(targets)
    }

    /// What comes of a trial.
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

/// The first of the targets that can be connected to.
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

/// An address that needs no name server: a path, or numbers.
fn literal(address: &str) -> Option<ServerAddress> {
    if address.starts_with('/') {
        return Some(ServerAddress::Unix(address.into()));
    }
    address.parse().ok().map(ServerAddress::Tcp)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(work).map(drop)
}
