//! The server as a function: [`Service::respond`] takes a request and gives a reply.
//!
//! The only module that knows all the others. Sockets call [`Service::begin`] on their own thread: what is in the
//! cache is answered there at once; what must be made comes back as [`Work`] for a compute thread.

use crate::config::Config;
use crate::http::Http;
use crate::http::Reply;

/// How far `begin` came.
pub enum Step {
    /// Answered.
    Done(Reply),
    /// Pixels have to be made, or a file opened.
    Work(Box<Work>),
}

/// A request that needs a compute thread.
pub struct Work {
    http: Http,
}

impl Work {
    /// How dear it will be, in pixels read and written: small ones go first.
    pub fn cost(&self) -> u64 {
        0
    }
}

/// The server.
pub struct Service {
    config: Config,
}

impl Service {
    /// A server with this configuration.
    pub fn new(config: Config) -> Self {
        Service { config }
    }

    /// Answers a request. Never panics, never blocks on anything but files and other makers of the same answer.
    pub fn respond(&self, http: Http) -> Reply {
        match self.begin(http) {
            Step::Done(reply) => reply,
            Step::Work(work) => self.finish(*work),
        }
    }

    /// As far as it goes without decoding or opening anything.
    pub fn begin(&self, http: Http) -> Step {
        Step::Work(Box::new(Work { http }))
    }

    /// The rest of it, on a compute thread.
    pub fn finish(&self, work: Work) -> Reply {
        let _ = work.http;
        Reply::new(404, "not built yet\n")
    }

    /// The reply for work that found the queue full: 503 with `Retry-After`; logged as every request is.
    pub fn refuse(&self, work: Work) -> Reply {
        let _ = work.http;
        Reply::new(503, "too much work is queued, try again shortly\n").with("Retry-After", "1")
    }

    /// Empties every cache (SIGHUP).
    pub fn clear(&self) {}

    /// Requests answered so far.
    pub fn served(&self) -> u64 {
        0
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }
}
