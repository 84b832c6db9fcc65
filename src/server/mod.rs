//! Runs the server: sockets, threads and signals; FastCGI and HTTP in front of the service.
//!
//! [`run`] is the main loop of a server whose sockets are open.

pub mod admin;
pub mod connections;
pub mod fastcgi;
pub mod http;
pub mod inherited;
pub mod listen;
pub mod log;
pub mod memory;
pub mod out;
pub mod pages;
pub mod runtime;
pub mod socket;
mod syslog;

use crate::http::Http;
use crate::http::Reply;
use crate::server::connections::Patience;
use crate::server::listen::Listener;
use crate::server::log::LIFE;
use crate::service::Service;
use futures_util::future::BoxFuture;
use rustix::process::Resource;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

/// Answers requests; the adapters over [`runtime`] call it.
pub type Handler = Arc<dyn Fn(Http) -> BoxFuture<'static, Reply> + Send + Sync>;

/// The action that a signal requests.
enum SignalAction {
    Stop,
    Reload,
    /// A watchdog notification is due.
    Sign,
}

/// Serves until a signal ends it: SIGTERM, SIGINT and SIGUSR1 finish the requests in progress; SIGHUP empties the
/// caches and reloads the watermark and the log file. Returns how many connections were cut at the end.
pub fn run(service: Arc<Service>, listeners: Vec<Listener>) -> io::Result<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()?;
    let _entered = runtime.enter();
    let mut stops = [
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::user_defined1())?,
    ];
    let mut reloads = signal(SignalKind::hangup())?;
    for listener in &listeners {
        ::log::info!(target: LIFE, "listening for {listener}");
    }
    let threads = service.config().work.threads;
    let running = runtime::start(Arc::clone(&service), listeners, threads, Patience::default())?;
    inherited::notify("READY=1");
    let watchdog = inherited::watchdog();
    loop {
        let [terminate, interrupt, user] = &mut stops;
        let asked = runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => SignalAction::Stop,
                _ = interrupt.recv() => SignalAction::Stop,
                _ = user.recv() => SignalAction::Stop,
                _ = reloads.recv() => SignalAction::Reload,
                () = pause(watchdog) => SignalAction::Sign,
            }
        });
        match asked {
            SignalAction::Stop => break,
            SignalAction::Reload => reload(&service),
            SignalAction::Sign => inherited::notify("WATCHDOG=1"),
        }
    }
    inherited::notify("STOPPING=1");
    admin::stop();
    let cut = running.stop(service.config().grace);
    let served = service.served();
    if cut == 0 {
        ::log::info!(target: LIFE, "stopped after {served} requests");
    } else {
        ::log::warn!("stopped after {served} requests; {cut} connections were cut");
    }
    Ok(cut)
}

/// Waits for this time, or forever.
async fn pause(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Reloads on SIGHUP. Requests continue meanwhile.
fn reload(service: &Service) {
    inherited::notify(&format!("RELOADING=1\nMONOTONIC_USEC={}", inherited::monotonic()));
    let cleared = service.clear();
    log::reopen();
    if let Err(error) = cleared {
        ::log::warn!("the watermark stays as it was: {error}");
    }
    ::log::info!(target: LIFE, "caches emptied, log opened again");
    inherited::notify("READY=1");
}

/// Raises the limit of open files to the system's maximum: connections and images share them.
pub fn raise_file_limit() {
    let mut limit = rustix::process::getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = rustix::process::setrlimit(Resource::Nofile, limit);
}
