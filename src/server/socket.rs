//! A connected socket that registers with the runtime only when it has to wait.
//!
//! Most peers have sent their request when they connect, and most answers fit the socket's buffer: a connection with
//! one request that is answered at once is never registered with epoll.

use rustix::fd::AsFd;
use rustix::fd::AsRawFd;
use rustix::fd::BorrowedFd;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use std::io;
use std::sync::Arc;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use tokio::io::unix::AsyncFd;

/// A non-blocking socket.
#[derive(Debug)]
pub struct Socket {
    fd: Arc<OwnedFd>,
    watched: Option<AsyncFd<Arc<OwnedFd>>>,
    drained: bool,
    /// Whether the last read found less than requested.
    waits: bool,
}

/// Registers a descriptor with the runtime of this thread.
pub fn watch(fd: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: the descriptor is owned, so it stays open and refers to the same file as long as this value exists.
    #[expect(unsafe_code, reason = "the runtime takes anything that has a descriptor")]
    let watched = unsafe { AsyncFd::register(fd) };
    Ok(watched?)
}

/// Makes the kernel announce a TCP connection when its first bytes have arrived (TCP_DEFER_ACCEPT, tcp(7)), or after
/// some seconds: one wake-up instead of two, and a silent peer takes no descriptor. Does nothing for other sockets.
pub fn defer(listener: impl AsFd) {
    let seconds: libc::c_int = 1;
    // SAFETY: the descriptor is open as long as it is borrowed; the kernel reads an int of this size from this
    // address.
    #[expect(unsafe_code, reason = "rustix does not know this option")]
    unsafe {
        libc::setsockopt(
            listener.as_fd().as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of_val(&seconds).try_into().unwrap_or_default(),
        );
    }
}

fn read(fd: impl AsFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match rustix::io::read(&fd, &mut *buffer) {
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

impl Socket {
    /// Wraps a non-blocking socket. Must be used within one runtime.
    pub fn new(fd: OwnedFd) -> Socket {
        Socket {
            fd: Arc::new(fd),
            watched: None,
            drained: false,
            waits: false,
        }
    }

    fn register(&mut self) -> io::Result<&AsyncFd<Arc<OwnedFd>>> {
        let watched = match self.watched.take() {
            Some(watched) => watched,
            None => watch(Arc::clone(&self.fd))?,
        };
        Ok(self.watched.insert(watched))
    }

    /// Reads the available bytes; 0 at the peer's end.
    pub fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.watched.is_none() && !self.drained {
            match read(&self.fd, buffer) {
                Err(Errno::AGAIN) => self.drained = true,
                Ok(count) => {
                    self.drained = count < buffer.len();
                    return Poll::Ready(Ok(count));
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
        if self.watched.is_none() && !self.waits {
            // a task that looks for more before the answer is written is woken again: usually no registration is
            // needed then
            self.waits = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.register()?;
        let (Some(watched), drained) = (&self.watched, &mut self.drained) else {
            return Poll::Pending;
        };
        loop {
            let mut ready = ready!(watched.poll_read_ready(context))?;
            match read(watched.get_ref(), buffer) {
                Err(Errno::AGAIN) => {
                    *drained = true;
                    ready.clear_ready();
                }
                Ok(count) => {
                    // a short read has emptied the socket, and epoll announces later input
                    *drained = count < buffer.len();
                    if *drained && count > 0 {
                        ready.clear_ready();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Whether the last read emptied the socket.
    pub fn drained(&self) -> bool {
        self.drained
    }

    /// Calls `write`, and again whenever the socket may accept more.
    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        mut write: impl FnMut(BorrowedFd<'_>) -> Result<usize, Errno>,
    ) -> Poll<io::Result<usize>> {
        // the socket usually accepts more, whether epoll has reported it or not
        match write(self.fd.as_fd()) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return Poll::Ready(done.map_err(io::Error::from)),
        }
        let watched = self.register()?;
        loop {
            let mut ready = ready!(watched.poll_write_ready(context))?;
            match write(watched.get_ref().as_fd()) {
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                done => return Poll::Ready(done.map_err(io::Error::from)),
            }
        }
    }

    /// Shuts down the sending side.
    pub fn shut(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.fd, rustix::net::Shutdown::Write)?)
    }
}
