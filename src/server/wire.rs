//! What the two wire protocols have in common for a connection.
//!
//! A wire turns bytes into requests and replies into bytes. It knows no socket and no service.

use crate::http::Http;
use crate::http::Reply;
use crate::server::fastcgi;
use crate::server::http;
use crate::server::out::Out;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// What a piece of input amounted to.
#[derive(Debug)]
pub enum Event {
    /// A whole request; [`Wire::answer`] wants the number back.
    Request(u16, Http),
    /// The peer does not speak the protocol: nothing more can be read from it.
    Broken(&'static str),
}

/// Shared by a request's connection and whoever works for it.
#[derive(Clone, Debug, Default)]
pub struct Ticket(Arc<AtomicBool>);

impl Ticket {
    /// Nobody waits for the answer any more.
    pub fn withdraw(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether nobody waits for the answer.
    pub fn withdrawn(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What a connection waits for, which says how long it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// For us, or for a request for as long as the peer likes.
    Forever,
    /// For the next HTTP request.
    Idle,
    /// For the rest of an HTTP request's head.
    Head,
    /// For the rest of an HTTP request's body.
    Body,
    /// For the rest of FastCGI records; every byte starts the time again.
    Records,
    /// For the peer to take its answer; every byte starts the time again.
    Writing,
    /// For the peer to close.
    Lingering,
}

/// The protocol that a connection speaks, and how far its requests have come.
#[derive(Debug)]
pub enum Wire {
    /// FastCGI 1.0.
    FastCgi(fastcgi::Wire),
    /// HTTP/1.1.
    Http(Box<http::Wire>),
}

impl Wire {
    /// Reads from the start of `input` to the first event or as far as it goes; returns how many bytes are done
    /// with. The rest comes again, with more behind it.
    pub fn parse(&mut self, input: &[u8], out: &mut Out) -> (usize, Option<Event>) {
        match self {
            Wire::FastCgi(wire) => wire.parse(input, out),
            Wire::Http(wire) => wire.parse(input, out),
        }
    }

    /// Notes that the request is being worked on.
    pub fn start(&mut self, id: u16) -> Ticket {
        match self {
            Wire::FastCgi(wire) => wire.start(id),
            Wire::Http(wire) => wire.start(),
        }
    }

    /// Queues the answer to a request.
    pub fn answer(&mut self, id: u16, reply: Reply, out: &mut Out) {
        match self {
            Wire::FastCgi(wire) => wire.answer(id, reply, out),
            Wire::Http(wire) => wire.answer(reply, out),
        }
    }

    /// The peer is gone: whoever works for it may stop.
    pub fn withdraw(&mut self) {
        match self {
            Wire::FastCgi(wire) => wire.withdraw(),
            Wire::Http(wire) => wire.withdraw(),
        }
    }

    /// No further request after those that have begun to arrive.
    pub fn retire(&mut self) {
        match self {
            Wire::FastCgi(wire) => wire.retire(),
            Wire::Http(wire) => wire.retire(),
        }
    }

    /// Nothing more may be read before something is answered.
    pub fn held(&self) -> bool {
        match self {
            Wire::FastCgi(wire) => wire.held(),
            Wire::Http(wire) => wire.held(),
        }
    }

    /// No request has begun or is being answered.
    pub fn idle(&self) -> bool {
        match self {
            Wire::FastCgi(wire) => wire.idle(),
            Wire::Http(wire) => wire.idle(),
        }
    }

    /// What is waited for; `begun`: bytes are there that are no whole record or head yet.
    pub fn wait(&self, begun: bool) -> Wait {
        match self {
            Wire::FastCgi(wire) => wire.wait(begun),
            Wire::Http(wire) => wire.wait(begun),
        }
    }

    /// Whether the connection's requests may ask for the listener's own pages.
    pub fn has_pages(&self) -> bool {
        matches!(self, Wire::Http(_))
    }
}
