//! A connected socket that registers with the runtime only when it has to wait.
//!
//! Most peers have written their request when they connect, and most answers fit the socket's buffer: a connection
//! with one request that is answered at once is never watched by epoll.

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

/// The socket, non-blocking.
#[derive(Debug)]
pub struct Socket {
    fd: Arc<OwnedFd>,
    watched: Option<AsyncFd<Arc<OwnedFd>>>,
    drained: bool,
    /// Whether more was asked for than had come.
    waits: bool,
}

/// Has the runtime of this thread watch a descriptor.
pub fn watch(fd: Arc<OwnedFd>) -> io::Result<AsyncFd<Arc<OwnedFd>>> {
    // SAFETY: the descriptor is owned, so that it is open and the same one for as long as this holds it.
    #[expect(unsafe_code, reason = "the runtime takes anything that has a descriptor")]
    let watched = unsafe { AsyncFd::register(fd) };
    Ok(watched?)
}

/// Makes the kernel announce a TCP connection when its first bytes are there (TCP_DEFER_ACCEPT, tcp(7)), or after some seconds:
/// one wake-up instead of two, and who says nothing takes no descriptor. Does nothing for other sockets.
pub fn defer(listener: impl AsFd) {
    let seconds: libc::c_int = 1;
    // SAFETY: the descriptor is open for as long as it is borrowed; the kernel reads an int of this size from this address.
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
    /// Takes a non-blocking socket. To be used inside one runtime.
    pub fn new(fd: OwnedFd) -> Socket {
        Socket {
            fd: Arc::new(fd),
            watched: None,
            drained: false,
            waits: false,
        }
    }

    fn watched(&mut self) -> io::Result<&AsyncFd<Arc<OwnedFd>>> {
        let watched = match self.watched.take() {
            Some(watched) => watched,
            None => watch(Arc::clone(&self.fd))?,
        };
        Ok(self.watched.insert(watched))
    }

    /// Reads what is there, 0 at the peer's end.
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
            // a task that looks for more before the answer is written is woken again: mostly nothing has to be waited for then
            self.waits = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.watched()?;
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
                    // a short read has emptied the socket, and epoll announces what comes later
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

    /// Whether all was read that had come when it was read last.
    pub fn drained(&self) -> bool {
        self.drained
    }

    /// Does `write`, again whenever there may be room.
    pub fn poll_write(
        &mut self,
        context: &mut Context<'_>,
        mut write: impl FnMut(BorrowedFd<'_>) -> Result<usize, Errno>,
    ) -> Poll<io::Result<usize>> {
        // there is mostly room, whether epoll has said so already or not
        match write(self.fd.as_fd()) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return Poll::Ready(done.map_err(io::Error::from)),
        }
        let watched = self.watched()?;
        loop {
            let mut ready = ready!(watched.poll_write_ready(context))?;
            match write(watched.get_ref().as_fd()) {
                Err(Errno::AGAIN) => ready.clear_ready(),
                Err(Errno::INTR) => {}
                done => return Poll::Ready(done.map_err(io::Error::from)),
            }
        }
    }

    /// Tells the peer that nothing more will come.
    pub fn shut(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&self.fd, rustix::net::Shutdown::Write)?)
    }
}
