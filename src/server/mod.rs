//! Sockets, threads and signals: FastCGI and HTTP in front of the service.
//!
//! Knows no images. [`run`] is the whole life of a server whose sockets are open.

pub mod connection;
pub mod fastcgi;
pub mod http;
pub mod inherited;
pub mod listen;
pub mod log;
pub mod memory;
pub mod out;
pub mod pages;
pub mod pool;
pub mod reactor;
mod syslog;
pub mod wire;

use crate::server::listen::Listener;
use crate::server::log::LIFE;
use crate::server::reactor::Patience;
use crate::service::Service;
use rustix::process::Resource;
use signal_hook::consts::SIGHUP;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGTERM;
use signal_hook::consts::SIGUSR1;
use signal_hook::iterator::Signals;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long a stopping server works on what has begun.
const GRACE: Duration = Duration::from_secs(30);

/// Serves until a signal says stop: SIGTERM, SIGINT and SIGUSR1 finish what has begun; SIGHUP empties the caches, reads
/// the watermark again and opens the log file again.
pub fn run(service: Arc<Service>, listeners: Vec<Listener>) -> io::Result<()> {
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGUSR1, SIGHUP])?;
    for listener in &listeners {
        ::log::info!(target: LIFE, "listening for {listener}");
    }
    let threads = service.config().threads;
    let running = reactor::start(Arc::clone(&service), listeners, threads, Patience::default())?;
    inherited::notify("READY=1");
    for signal in signals.forever() {
        if signal != SIGHUP {
            break;
        }
        let cleared = service.clear();
        log::reopen();
        if let Err(error) = cleared {
            ::log::warn!("the watermark stays as it was: {error}");
        }
        ::log::info!(target: LIFE, "caches emptied, log opened again");
    }
    inherited::notify("STOPPING=1");
    let finished = running.stop(GRACE);
    let served = service.served();
    if finished {
        ::log::info!(target: LIFE, "stopped after {served} requests");
    } else {
        ::log::warn!("stopped after {served} requests; some were still unfinished");
    }
    Ok(())
}

/// As many open files as the system allows: connections and images share them.
pub fn raise_file_limit() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);
}
