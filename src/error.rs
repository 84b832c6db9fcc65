//! The error type, sorted by fault: the client's, the file's, the machine's or ours.
//!
//! Messages have two readers: `Display` is for the log, `public()` for the client. The public text never contains a
//! path of the server or a message of a library.

use std::collections::TryReserveError;
use std::fmt;
use std::io;

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure. Its message is in lower case and names the thing and the value.
#[derive(Debug)]
pub enum Error {
    /// The request is malformed: 400.
    Malformed(String),
    /// Larger than an answer, or its format, may be: 413.
    TooLarge(String),
    /// The file exceeds a limit; the text names its setting: 413.
    Limit(String),
    /// No such image: 404. Holds its identifier or the reason, never a path.
    Missing(String),
    /// The server may not read the file: 404, as if there were none.
    Unreadable {
        /// As for a missing image.
        text: String,
        /// The cause, for the log.
        why: String,
    },
    /// The image has no such tile or level: 404.
    Outside(String),
    /// Needs more memory than the server may use: 413. The text is for the log.
    TooBig(String),
    /// Too much work is queued: 503 with `Retry-After`.
    Busy,
    /// An allocation failed: 503. The text is for the log.
    NoMemory(String),
    /// Too busy: 503, with the seconds for `Retry-After`.
    Later(u32),
    /// The request exceeded its deadline: 504.
    TimedOut,
    /// All clients that waited for the answer have disconnected; none is sent.
    Cancelled,
    /// The object store failed: 502, or 504 after a time-out.
    Store {
        /// Whether it timed out.
        slow: bool,
        /// The cause, for the log.
        why: String,
    },
    /// The image changed while it was read: 503; a retry can succeed.
    Changed,
    /// Valid but not implemented: 501. Names the scheme.
    Unsupported(String),
    /// The file is inconsistent or violates its format: 500.
    Corrupt(String),
    /// A system call failed: 500.
    Io(io::Error),
    /// A bug in this program: 500.
    Internal(String),
}

impl Error {
    /// The HTTP status code.
    pub fn status(&self) -> u16 {
        match self {
            Error::Malformed(_) => 400,
            Error::TooLarge(_) | Error::Limit(_) | Error::TooBig(_) => 413,
            Error::Missing(_) | Error::Unreadable { .. } | Error::Outside(_) => 404,
            Error::Busy | Error::NoMemory(_) | Error::Changed | Error::Later(_) | Error::Cancelled => 503,
            Error::TimedOut => 504,
            Error::Store { slow: false, .. } => 502,
            Error::Store { slow: true, .. } => 504,
            Error::Unsupported(_) => 501,
            Error::Corrupt(_) | Error::Io(_) | Error::Internal(_) => 500,
        }
    }

    /// One line for the client, without paths or messages of libraries.
    pub fn public(&self) -> &str {
        match self {
            Error::Malformed(text)
            | Error::TooLarge(text)
            | Error::Limit(text)
            | Error::Missing(text)
            | Error::Unreadable { text, .. }
            | Error::Outside(text)
            | Error::Unsupported(text) => text,
            Error::TooBig(_) => "this would take more memory than the server may use",
            Error::Busy | Error::Later(_) | Error::Cancelled => "too much work is queued, try again shortly",
            Error::NoMemory(_) => "the server is short of memory, try again shortly",
            Error::TimedOut => "the request took too long",
            Error::Store { .. } => "the store of the image does not answer",
            Error::Changed => "the image has just changed, try again shortly",
            Error::Corrupt(_) | Error::Io(_) => "the image could not be read",
            Error::Internal(_) => "internal failure",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Corrupt(text) => write!(f, "corrupt file: {text}"),
            Error::Io(error) => write!(f, "{error}"),
            Error::TooBig(text) | Error::NoMemory(text) | Error::Internal(text) => f.write_str(text),
            Error::Store { why, .. } | Error::Unreadable { why, .. } => f.write_str(why),
            other => f.write_str(other.public()),
        }
    }
}

impl std::error::Error for Error {}

impl Clone for Error {
    /// Several requests may wait for one result. An I/O error keeps its kind and its text.
    fn clone(&self) -> Error {
        match self {
            Error::Malformed(text) => Error::Malformed(text.clone()),
            Error::TooLarge(text) => Error::TooLarge(text.clone()),
            Error::Limit(text) => Error::Limit(text.clone()),
            Error::Missing(text) => Error::Missing(text.clone()),
            Error::Unreadable { text, why } => Error::Unreadable {
                text: text.clone(),
                why: why.clone(),
            },
            Error::Outside(text) => Error::Outside(text.clone()),
            Error::TooBig(text) => Error::TooBig(text.clone()),
            Error::Busy => Error::Busy,
            Error::NoMemory(text) => Error::NoMemory(text.clone()),
            Error::Store { slow, why } => Error::Store {
                slow: *slow,
                why: why.clone(),
            },
            Error::Changed => Error::Changed,
            Error::Later(seconds) => Error::Later(*seconds),
            Error::TimedOut => Error::TimedOut,
            Error::Cancelled => Error::Cancelled,
            Error::Unsupported(text) => Error::Unsupported(text.clone()),
            Error::Corrupt(text) => Error::Corrupt(text.clone()),
            Error::Io(error) => Error::Io(io::Error::new(error.kind(), error.to_string())),
            Error::Internal(text) => Error::Internal(text.clone()),
        }
    }
}

impl From<TryReserveError> for Error {
    fn from(error: TryReserveError) -> Self {
        Error::NoMemory(error.to_string())
    }
}

impl From<io::Error> for Error {
    /// A failure of the machine; `library` tells which of them mean that there is no image.
    fn from(error: io::Error) -> Self {
        Error::Io(error)
    }
}
