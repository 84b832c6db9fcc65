//! The error type, sorted by fault: the client's, the file's, the machine's or ours.
//!
//! Messages have two readers: `Display` is for the log, `public()` for the client. The public text never contains a
//! path of the server or a message of a library.

use std::collections::TryReserveError;
use std::fmt;
use std::io;

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure, with a message in lower case that names the thing and the value.
#[derive(Debug)]
pub enum Error {
    /// The client's words cannot be understood: 400.
    Malformed(String),
    /// More than one answer, or the format, may hold: 413.
    TooLarge(String),
    /// The file asks for more than a setting allows, which the text names: 413.
    Limit(String),
    /// No such image: 404. Holds what was asked for, never where it was looked for.
    Missing(String),
    /// The image exists but not this tile or level of it: 404.
    Outside(String),
    /// What it would take is more memory than the server may use: 413. The text is for the log.
    TooBig(String),
    /// Too much work is queued: 503 with `Retry-After`.
    Busy,
    /// The system gives no more memory: 503. The text is for the log.
    NoMemory(String),
    /// Too busy (503), with the seconds after which another try is worthwhile.
    Later(u32),
    /// It took longer than a request may: 504.
    TimedOut,
    /// Nobody waits for the answer any more; it is not sent.
    Cancelled,
    /// The store of the image does not answer as it should: 502, or 504 where it is too slow.
    Store {
        /// Whether it did not answer in time.
        slow: bool,
        /// What happened, for the log.
        why: String,
    },
    /// The image changed while it was read: 503, and worth another try.
    Changed,
    /// Right, but not built: 501. Names the scheme.
    Unsupported(String),
    /// The file contradicts itself or its format: 500.
    Corrupt(String),
    /// The operating system failed: 500.
    Io(io::Error),
    /// A mistake of the program's own: 500.
    Internal(String),
}

impl Error {
    /// The HTTP status code.
    pub fn status(&self) -> u16 {
        match self {
            Error::Malformed(_) => 400,
            Error::TooLarge(_) | Error::Limit(_) | Error::TooBig(_) => 413,
            Error::Missing(_) | Error::Outside(_) => 404,
            Error::Busy | Error::NoMemory(_) | Error::Changed | Error::Later(_) | Error::Cancelled => 503,
            Error::TimedOut => 504,
            Error::Store { slow: false, .. } => 502,
            Error::Store { slow: true, .. } => 504,
            Error::Unsupported(_) => 501,
            Error::Corrupt(_) | Error::Io(_) | Error::Internal(_) => 500,
        }
    }

    /// One line for the client: nothing of the machine, nothing of a library.
    pub fn public(&self) -> &str {
        match self {
            Error::Malformed(text)
            | Error::TooLarge(text)
            | Error::Limit(text)
            | Error::Missing(text)
            | Error::Outside(text)
            | Error::Unsupported(text) => text,
            Error::TooBig(_) => "this would take more memory than the server may use",
            Error::Busy | Error::Later(_) | Error::Cancelled => "too much work is queued, try again shortly",
            Error::NoMemory(_) => "the server is short of memory, try again shortly",
            Error::TimedOut => "the request took too long",
            Error::Store { .. } => "where the image is kept does not answer",
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
            Error::Store { why, .. } => f.write_str(why),
            other => f.write_str(other.public()),
        }
    }
}

impl std::error::Error for Error {}

impl Clone for Error {
    /// For several who wait for the same; of an error of the operating system its kind and its text.
    fn clone(&self) -> Error {
        match self {
            Error::Malformed(text) => Error::Malformed(text.clone()),
            Error::TooLarge(text) => Error::TooLarge(text.clone()),
            Error::Limit(text) => Error::Limit(text.clone()),
            Error::Missing(text) => Error::Missing(text.clone()),
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
    /// A missing or unreadable file is a missing image; all else is the machine's.
    fn from(error: io::Error) -> Self {
        Error::Io(error)
    }
}
