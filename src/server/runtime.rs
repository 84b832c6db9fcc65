//! The I/O threads, each with its own runtime. The first one accepts connections, and passes some to the others to
//! balance the load.

use crate::config;
use crate::metrics;
use crate::server::Handler;
use crate::server::admin;
use crate::server::connections::Connections;
use crate::server::connections::Patience;
use crate::server::connections::Presence;
use crate::server::fastcgi;
use crate::server::http;
use crate::server::listen::Listener;
use crate::server::listen::Transport;
use crate::server::memory;
use crate::server::pages;
use crate::server::socket::Socket;
use crate::server::socket::defer;
use crate::server::socket::watch;
use crate::service::Service;
use crate::work::Scope;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::SocketAddrAny;
use rustix::net::SocketFlags;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use std::time::Instant;
use tokio::runtime::Builder;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::mpsc::unbounded_channel;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

/// Connections accepted in one go before other tasks get their turn.
const BUDGET: usize = 64;
/// How many more connections than another thread the accepting thread keeps.
const MARGIN: usize = 4;
/// Idle connections that are closed at once when descriptors are exhausted.
const YIELDED: usize = 8;
/// Pause before accepting again after that, unless a connection ends earlier.
const STARVED: Duration = Duration::from_millis(50);
/// Seconds without a job after which memory is returned to the kernel.
const QUIET: u32 = 5;
/// Interval of [`Connections::pass_time`].
const TICK: Duration = Duration::from_secs(1);

/// The phase of a server's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// No new connections, no new requests.
    Draining,
    Stopped,
}

/// A running server.
pub struct RunningServer {
    phase: watch::Sender<Phase>,
    connections: Arc<Connections>,
    service: Service,
    threads: Vec<JoinHandle<()>>,
    /// Number of acceptors that continue while the server stops.
    lasting: usize,
}

/// The handler of a listener: the service, and over HTTP the built-in pages.
fn handler(service: &Service, has_pages: bool) -> Handler {
    let service = service.clone();
    Arc::new(move |http| {
        let service = service.clone();
        Box::pin(async move {
            let patience = service.config().request_timeout;
            let scope = Scope::new(Some(patience).filter(|patience| !patience.is_zero()));
            if has_pages {
                pages::serve(&service, http, scope).await
            } else {
                service.serve(http, scope).await
            }
        })
    })
}

/// Starts this many I/O threads; the service has its own threads for computation.
pub fn start(
    service: Arc<Service>,
    listeners: Vec<Listener>,
    threads: usize,
    patience: Patience,
) -> io::Result<RunningServer> {
    let service = Service::clone(&service);
    let of_one = service.config().connections_of_one;
    let connections = Connections::new(patience, config::open_files().connections, of_one);
    let (phase, _) = watch::channel(Phase::Serving);
    let handled = |listener: Listener| {
        let handler = if listener.is_admin {
            admin::handler(&service)
        } else {
            handler(&service, matches!(listener.transport, Transport::Http(_)))
        };
        (Arc::new(listener), handler)
    };
    let listeners: Vec<_> = listeners.into_iter().map(handled).collect();
    let mut running = RunningServer {
        phase,
        connections,
        service,
        threads: Vec::new(),
        lasting: 0,
    };
    let (io_threads, incoming): (Vec<_>, Vec<_>) = (0..threads.max(1)).map(|_| IoThread::new()).unzip();
    let io_threads: Arc<[IoThread]> = io_threads.into();
    for (number, incoming) in incoming.into_iter().enumerate() {
        // one thread watches a listener: a new connection wakes all that do
        let own = listeners.iter().filter(|_| number == 0);
        let acceptors: Vec<_> = own
            .map(|(listener, handler)| Acceptor {
                listener: Arc::clone(listener),
                handler: Arc::clone(handler),
                connections: Arc::clone(&running.connections),
                io_threads: Arc::clone(&io_threads),
                phase: running.phase.subscribe(),
            })
            .collect();
        let lasting = acceptors.iter().filter(|acceptor| acceptor.listener.is_admin);
        running.lasting += lasting.count();
        let clock = (number == 0).then(|| (Arc::clone(&running.connections), running.service.clone()));
        let phase = running.phase.subscribe();
        running
            .threads
            .push(io_thread(incoming, acceptors, clock, phase)?);
    }
    Ok(running)
}

/// Starts an I/O thread, which serves its connections until the server has stopped, accepts if it has listeners, and
/// applies the time limits if it has the `clock`.
fn io_thread(
    mut incoming: UnboundedReceiver<Box<NewConnection>>,
    acceptors: Vec<Acceptor>,
    clock: Option<(Arc<Connections>, Service)>,
    mut phase: watch::Receiver<Phase>,
) -> io::Result<JoinHandle<()>> {
    let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
    let body = async move {
        for acceptor in acceptors {
            tokio::spawn(acceptor.run());
        }
        if let Some((connections, service)) = clock {
            tokio::spawn(pass_time(connections, service));
        }
        tokio::spawn(async move {
            while let Some(connection) = incoming.recv().await {
                connection.serve();
            }
        });
        let _ = phase.wait_for(|phase| *phase == Phase::Stopped).await;
    };
    std::thread::Builder::new()
        .name("io".into())
        .spawn(move || runtime.block_on(body))
}

impl RunningServer {
    /// Stops accepting, refuses queued requests, lets requests in progress finish for at most `grace`, and ends the
    /// threads. Returns how many connections were cut: 0 if everything was finished.
    pub fn stop(self, grace: Duration) -> usize {
        let end = Instant::now() + grace;
        let _ = self.phase.send(Phase::Draining);
        let refused = self.service.executor().drain();
        if refused > 0 {
            log::info!("{refused} queued requests are refused");
        }
        let wait = |done: &dyn Fn() -> bool| {
            while !done() && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        // each acceptor has two receivers, and each thread one
        wait(&|| self.phase.receiver_count() <= self.threads.len() + 2 * self.lasting);
        self.connections.retire();
        wait(&|| self.connections.live() == 0);
        let cut = self.connections.live();
        let _ = self.phase.send(Phase::Stopped);
        for thread in self.threads {
            let _ = thread.join();
        }
        cut
    }

    /// The connections of this server.
    pub fn connections(&self) -> &Connections {
        &self.connections
    }
}

/// Ends connections past their deadline, and returns memory to the kernel after a while without jobs.
async fn pass_time(connections: Arc<Connections>, service: Service) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let (mut done, mut quiet) = (0, 0u32);
    loop {
        ticks.tick().await;
        connections.pass_time();
        let idle = connections.live().saturating_sub(connections.busy());
        metrics::get()
            .connections_idle
            .set(i64::try_from(idle).unwrap_or(i64::MAX));
        service.executor().expire();
        let load = service.executor().load();
        quiet = if load.done == done && load.is_idle() {
            quiet.saturating_add(1)
        } else {
            0
        };
        done = load.done;
        if quiet == QUIET && done > 0 {
            tokio::task::spawn_blocking(memory::trim);
        }
    }
}

/// A thread, as seen by the accepting one.
struct IoThread {
    /// Number of its connections.
    live: AtomicUsize,
    connections: UnboundedSender<Box<NewConnection>>,
}

impl IoThread {
    fn new() -> (IoThread, UnboundedReceiver<Box<NewConnection>>) {
        let (connections, arriving) = unbounded_channel();
        let live = AtomicUsize::new(0);
        (IoThread { live, connections }, arriving)
    }
}

/// A connection that is assigned to a thread.
struct Assigned {
    io_threads: Arc<[IoThread]>,
    at: usize,
}

impl Assigned {
    /// Chooses the first thread, which is the current one, unless it has clearly more connections than another: a
    /// short connection ends before another thread has woken.
    fn choose(io_threads: &Arc<[IoThread]>) -> Assigned {
        let live = |thread: &IoThread| thread.live.load(Ordering::Relaxed);
        let least = io_threads
            .iter()
            .enumerate()
            .map(|(at, thread)| (live(thread), at))
            .min();
        let here = io_threads.first().map_or(0, live);
        let (_, at) = least
            .filter(|(least, _)| here > least + MARGIN)
            .unwrap_or_default();
        if let Some(thread) = io_threads.get(at) {
            thread.live.fetch_add(1, Ordering::Relaxed);
        }
        Assigned {
            io_threads: Arc::clone(io_threads),
            at,
        }
    }
}

impl Drop for Assigned {
    fn drop(&mut self) {
        if let Some(thread) = self.io_threads.get(self.at) {
            thread.live.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

/// An accepted connection.
struct NewConnection {
    socket: OwnedFd,
    peer: Option<SocketAddrAny>,
    presence: Presence,
    assigned: Assigned,
    listener: Arc<Listener>,
    handler: Handler,
}

impl NewConnection {
    /// Serves it on the current thread.
    fn serve(self) {
        let NewConnection {
            socket,
            peer,
            mut presence,
            assigned,
            listener,
            handler,
        } = self;
        let socket = Socket::new(socket);
        match &listener.transport {
            Transport::FastCgi => {
                let open = metrics::opened("fastcgi");
                tokio::spawn(async move {
                    let _open = (open, assigned);
                    fastcgi::serve(socket, presence, handler).await;
                });
            }
            Transport::Http(local) => {
                let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                let peer = peer.map(|peer| peer.ip().to_canonical());
                if !listener.is_admin && peer.is_some_and(|peer| !presence.comes_from(peer)) {
                    metrics::get().connections_refused.inc();
                    return;
                }
                let local = Arc::clone(local);
                let remote = peer.map_or_else(String::new, |peer| peer.to_string());
                let open = metrics::opened(if listener.is_admin { "admin" } else { "http" });
                tokio::spawn(async move {
                    let _open = (open, assigned);
                    http::serve(socket, presence, local, remote, handler).await;
                });
            }
        }
    }
}

/// Accepts the connections of a listener.
struct Acceptor {
    listener: Arc<Listener>,
    handler: Handler,
    connections: Arc<Connections>,
    io_threads: Arc<[IoThread]>,
    phase: watch::Receiver<Phase>,
}

/// The result of accepting.
enum Accepted {
    /// There may be more.
    More,
    /// No connection is pending.
    Nobody,
    /// Descriptors are exhausted.
    Starved,
    /// The listener is unusable.
    Closed,
}

impl Acceptor {
    async fn run(mut self) {
        defer(&self.listener.socket);
        let watched = rustix::io::dup(&self.listener.socket)
            .map_err(io::Error::from)
            .and_then(|socket| watch(Arc::new(socket)));
        let watched = match watched {
            Ok(watched) => watched,
            Err(error) => {
                log::error!("{} cannot be watched: {error}", self.listener);
                return;
            }
        };
        let mut phase = self.phase.clone();
        // the admin listener reports that the server is stopping
        let last = if self.listener.is_admin {
            Phase::Draining
        } else {
            Phase::Serving
        };
        loop {
            let ready = tokio::select! {
                ready = watched.readable() => ready,
                _ = phase.wait_for(|phase| *phase > last) => {
                    // connections that were made before
                    while matches!(self.accept(watched.get_ref()), Accepted::More) {}
                    return;
                }
            };
            let Ok(mut ready) = ready else { return };
            let mut budget = BUDGET;
            loop {
                match self.accept(watched.get_ref()) {
                    Accepted::More => {
                        budget -= 1;
                        if budget == 0 {
                            budget = BUDGET;
                            tokio::task::yield_now().await;
                        }
                    }
                    Accepted::Nobody => {
                        ready.clear_ready();
                        break;
                    }
                    Accepted::Starved => {
                        self.starve().await;
                        break;
                    }
                    Accepted::Closed => return,
                }
            }
        }
    }

    /// Accepts a connection and has it served.
    fn accept(&mut self, listener: &OwnedFd) -> Accepted {
        let Some(presence) = self.connections.enter() else {
            return Accepted::Starved;
        };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        match rustix::net::acceptfrom_with(listener, flags) {
            Ok((socket, peer)) => {
                let connection = NewConnection {
                    socket,
                    peer,
                    presence,
                    assigned: Assigned::choose(&self.io_threads),
                    listener: Arc::clone(&self.listener),
                    handler: Arc::clone(&self.handler),
                };
                match connection.assigned.at {
                    0 => connection.serve(),
                    at => {
                        if let Some(thread) = self.io_threads.get(at) {
                            // a thread that has ended accepts none: the server is stopping
                            let _ = thread.connections.send(Box::new(connection));
                        }
                    }
                }
                Accepted::More
            }
            Err(Errno::AGAIN) => Accepted::Nobody,
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Accepted::Starved,
            Err(Errno::BADF | Errno::INVAL | Errno::NOTSOCK) => Accepted::Closed,
            // a connection that broke before it was accepted (accept(2))
            Err(_) => Accepted::More,
        }
    }

    /// Closes idle connections, and waits for a free descriptor.
    async fn starve(&self) {
        let freed = self.connections.freed().notified();
        if self.connections.starve() {
            metrics::get().connections_starved.inc();
            log::warn!(
                "no file descriptors are left for new connections: idle connections are closed ({} are open)",
                self.connections.live()
            );
        }
        let gone = self.connections.yield_idle(YIELDED);
        metrics::get().connections_yielded.inc_by(gone as u64);
        // retried in either case
        let _ = tokio::time::timeout(STARVED, freed).await;
    }
}
