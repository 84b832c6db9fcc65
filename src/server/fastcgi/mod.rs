//! FastCGI connections: passes bytes between socket and codec, and requests to the service.
//!
//! Requests of one connection are answered concurrently. When the peer aborts a request or disconnects, its future is
//! dropped.

pub mod codec;

use crate::http::Http;
use crate::http::Reply;
use crate::metrics;
use crate::server::Handler;
use crate::server::connections::Directive;
use crate::server::connections::Presence;
use crate::server::connections::Wait;
use crate::server::fastcgi::codec::Event;
use crate::server::fastcgi::codec::Wire;
use crate::server::out::Last;
use crate::server::out::Out;
use crate::server::socket::Socket;
use crate::work::Stage;
use futures_util::future::BoxFuture;
use std::cell::RefCell;
use std::future::poll_fn;
use std::task::Context;
use std::task::Poll;
use std::time::Instant;

/// Size of a thread's read buffer. Bytes of incomplete requests are kept by the connection.
const SCRATCH: usize = 128 << 10;
/// Pending output in bytes from which on no more is read from a peer.
const MAX_WAITING: usize = 1 << 20;
/// Rounds of reading and writing before other connections get their turn.
const ROUNDS: usize = 32;
/// A connection's buffer larger than this is freed when empty.
const SPARE: usize = 4 << 10;

thread_local! {
    /// See [`SCRATCH`].
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// Serves a connection until it ends.
pub async fn serve(socket: Socket, presence: Presence, handler: Handler) {
    let mut connection = Connection {
        wire: Wire::new(presence.max()),
        socket,
        presence,
        handler,
        out: Out::default(),
        stash: Vec::new(),
        stalled: false,
        ended: false,
        lingering: false,
        retiring: false,
        sending: None,
        running: Vec::new(),
    };
    poll_fn(|context| connection.poll(context)).await;
}

/// One connection.
struct Connection {
    socket: Socket,
    presence: Presence,
    handler: Handler,
    wire: Wire,
    out: Out,
    /// Bytes received and not parsed yet.
    stash: Vec<u8>,
    /// The stash may hold a complete request.
    stalled: bool,
    /// The peer has shut down its side and expects nothing: no FastCGI peer shuts down only half of a connection, and
    /// a lost one looks the same.
    ended: bool,
    /// Our side is shut down; further input is discarded.
    lingering: bool,
    /// No request is accepted beyond those already sent.
    retiring: bool,
    /// Since when output is pending.
    sending: Option<Instant>,
    running: Vec<(u16, BoxFuture<'static, Reply>)>,
}

/// The result of a round of reading.
enum ReadOutcome {
    /// There may be more input.
    More,
    /// There is no input, or reading must wait.
    Nothing,
    /// The connection is unusable.
    Broken,
}

impl Connection {
    /// Advances the connection as far as possible; ready when it has ended.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        match self.presence.order(context) {
            Directive::None => {}
            Directive::Retire => self.retiring = true,
            Directive::Late(_) | Directive::Yield => return Poll::Ready(()),
        }
        let mut happened = false;
        for _ in 0..ROUNDS {
            self.poll_running(context);
            let written = match self.poll_out(context) {
                Ok(written) => written,
                Err(()) => return Poll::Ready(()),
            };
            if written && self.ended {
                return Poll::Ready(());
            }
            match self.poll_in(context) {
                ReadOutcome::More => happened = true,
                ReadOutcome::Nothing => {
                    if self.retiring {
                        // everything sent before has been received
                        self.wire.retire();
                        if self.is_idle() {
                            return Poll::Ready(());
                        }
                    }
                    self.settle(happened);
                    return Poll::Pending;
                }
                ReadOutcome::Broken => {
                    let _ = self.poll_out(context);
                    return Poll::Ready(());
                }
            }
        }
        self.settle(happened);
        context.waker().wake_by_ref();
        Poll::Pending
    }

    fn poll_running(&mut self, context: &mut Context<'_>) {
        let mut at = 0;
        while let Some((id, running)) = self.running.get_mut(at) {
            match running.as_mut().poll(context) {
                Poll::Ready(reply) => {
                    self.wire.answer(*id, reply, &mut self.out);
                    drop(self.running.swap_remove(at));
                }
                Poll::Pending => at += 1,
            }
        }
    }

    /// Writes pending output; true when none is left, an error when the connection has ended.
    fn poll_out(&mut self, context: &mut Context<'_>) -> Result<bool, ()> {
        if !self.out.is_empty() && self.sending.is_none() {
            self.sending = Some(Instant::now());
        }
        while !self.out.is_empty() {
            let out = &self.out;
            match self.socket.poll_write(context, |socket| out.write(socket)) {
                Poll::Ready(Ok(written)) => {
                    self.out.advance(written);
                    self.presence.waits(Wait::Writing, true);
                }
                Poll::Ready(Err(_)) => return Err(()),
                Poll::Pending => return Ok(false),
            }
        }
        if let Some(since) = self.sending.take() {
            metrics::took(Stage::Send.name(), since.elapsed());
        }
        match self.out.last {
            Some(Last::Close) if self.stash.is_empty() && self.socket.drained() => Err(()),
            Some(_) if !self.lingering => {
                self.lingering = true;
                self.stash = Vec::new();
                self.socket.shut().map_err(|_| ())?;
                Ok(true)
            }
            _ => Ok(true),
        }
    }

    fn is_idle(&self) -> bool {
        self.wire.idle() && self.stash.is_empty() && self.out.is_empty() && self.running.is_empty()
    }

    /// Reads once, and parses what was read.
    fn poll_in(&mut self, context: &mut Context<'_>) -> ReadOutcome {
        let shut = self.out.last.is_some() && !self.lingering;
        if shut || self.ended || self.wire.is_full() || self.out.bytes() > MAX_WAITING {
            return ReadOutcome::Nothing;
        }
        if self.stalled {
            self.stalled = false;
            let stash = std::mem::take(&mut self.stash);
            return self.understand(&stash);
        }
        BUFFER.with_borrow_mut(|buffer| {
            let kept = self.stash.len().min(buffer.len());
            let (_, free) = buffer.split_at_mut(kept);
            match self.socket.poll_read(context, free) {
                Poll::Pending => ReadOutcome::Nothing,
                Poll::Ready(Err(_)) => ReadOutcome::Broken,
                Poll::Ready(Ok(0)) => {
                    self.end();
                    if self.out.is_empty() {
                        ReadOutcome::Broken
                    } else {
                        ReadOutcome::More
                    }
                }
                Poll::Ready(Ok(_)) if self.lingering => ReadOutcome::More,
                Poll::Ready(Ok(count)) => {
                    let stash = std::mem::take(&mut self.stash);
                    if let (Some(place), Some(stash)) = (buffer.get_mut(..kept), stash.get(..kept)) {
                        place.copy_from_slice(stash);
                    }
                    self.understand(buffer.get(..kept + count).unwrap_or_default())
                }
            }
        })
    }

    /// Handles the peer's end: nothing more is read or computed for it.
    fn end(&mut self) {
        self.ended = true;
        self.stalled = false;
        self.stash = Vec::new();
        self.running.clear();
        self.wire.withdraw();
    }

    /// Parses bytes, starts the requests in them, and stashes the rest.
    fn understand(&mut self, bytes: &[u8]) -> ReadOutcome {
        let (used, event) = self.wire.parse(bytes, &mut self.out);
        self.stash
            .extend_from_slice(bytes.get(used..).unwrap_or_default());
        if self.stash.is_empty() && self.stash.capacity() > SPARE {
            self.stash = Vec::new();
        }
        match event {
            None => {}
            Some(Event::Request(id, http)) => {
                self.stalled = !self.stash.is_empty();
                self.begin(id, http);
            }
            Some(Event::Abort(id)) => {
                self.stalled = !self.stash.is_empty();
                self.running.retain(|(running, _)| *running != id);
            }
            Some(Event::Broken(why)) => {
                log::debug!("a connection is closed: {why}");
                return ReadOutcome::Broken;
            }
        }
        ReadOutcome::More
    }

    fn begin(&mut self, id: u16, http: Http) {
        self.running.push((id, (self.handler)(http)));
    }

    /// Records what the connection waits for.
    fn settle(&mut self, happened: bool) {
        let wait = if !self.out.is_empty() {
            Wait::Writing
        } else if self.lingering {
            Wait::Lingering
        } else if self.wire.begun() || !self.stash.is_empty() {
            Wait::Records
        } else if self.running.is_empty() {
            Wait::Request
        } else {
            Wait::Answer
        };
        // writing has recorded this already
        if wait != Wait::Writing || self.presence.wait() != Wait::Writing {
            self.presence.waits(wait, happened);
        }
    }
}
