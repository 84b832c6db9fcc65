//! Resources inherited from the parent process: listening sockets, and systemd's notification socket.

#![expect(unsafe_code, reason = "a descriptor that was passed on")]

use crate::server::listen::Listener;
use rustix::fd::AsFd;
use rustix::fd::BorrowedFd;
use rustix::fd::OwnedFd;
use rustix::fd::RawFd;
use rustix::net::sockopt;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

/// The first descriptor that systemd passes (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;

/// The inherited listening sockets: those of systemd (sd_listen_fds(3); a name that contains `http` selects HTTP),
/// else fd 0 if it listens (FCGI_LISTENSOCK_FILENO), as with spawn-fcgi, mod_fcgid and lighttpd.
pub fn listeners() -> io::Result<Vec<Listener>> {
    let number = |name| std::env::var(name).ok()?.parse::<i64>().ok();
    let mut listeners = Vec::new();
    if number("LISTEN_PID") == Some(std::process::id().into()) {
        let count = RawFd::try_from(number("LISTEN_FDS").unwrap_or(0).clamp(0, 64)).unwrap_or(0);
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        for fd in FIRST..FIRST + count {
            let http = names.next().is_some_and(|name| name.contains("http"));
            if let Some(socket) = copy_if_listening(fd)? {
                listeners.push(Listener::adopt(socket, http)?);
            }
        }
    }
    let stdin = io::stdin();
    if listeners.is_empty() && listens(stdin.as_fd()) {
        let socket = rustix::io::fcntl_dupfd_cloexec(stdin.as_fd(), FIRST)?;
        listeners.push(Listener::adopt(socket, false)?);
    }
    Ok(listeners)
}

fn listens(fd: BorrowedFd<'_>) -> bool {
    sockopt::socket_acceptconn(fd).unwrap_or(false)
}

/// A copy of this descriptor, if it listens.
fn copy_if_listening(fd: RawFd) -> io::Result<Option<OwnedFd>> {
    // SAFETY: the descriptor is borrowed only for the calls below; systemd guarantees that it is open, no code in
    // this process closes it, and if it is not open these calls fail with EBADF.
    let fd = unsafe { BorrowedFd::borrow_raw(fd) };
    if !listens(fd) {
        return Ok(None);
    }
    Ok(Some(rustix::io::fcntl_dupfd_cloexec(fd, FIRST)?))
}

/// Notifies systemd (sd_notify(3)), if requested.
pub fn notify(state: &str) {
    let Ok(name) = std::env::var("NOTIFY_SOCKET") else {
        return;
    };
    let address = match name.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(&name),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        log::warn!("systemd cannot be notified of {state}: {error}");
    }
}

/// The interval of watchdog notifications: half of what systemd allows (sd_watchdog_enabled(3)).
pub fn watchdog() -> Option<Duration> {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let other = number("WATCHDOG_PID").is_some_and(|pid| pid != u64::from(std::process::id()));
    let allowed = number("WATCHDOG_USEC").filter(|time| *time > 0 && !other)?;
    Some(Duration::from_micros(allowed / 2))
}

/// CLOCK_MONOTONIC in microseconds, for RELOADING.
pub fn monotonic() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec
        .saturating_mul(1_000_000)
        .saturating_add(now.tv_nsec / 1000)
}
