//! A request and its reply, independent of the wire: a request is CGI/1.1 variables (RFC 3875) and a body; a reply is
//! a status, headers and a body.
//!
//! FastCGI delivers the variables directly; the HTTP listener builds the same ones.

use crate::work::Lease;
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;

/// The methods that the server answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// GET, also when the web server passes no method.
    Get,
    /// HEAD.
    Head,
    /// POST.
    Post,
    /// OPTIONS.
    Options,
    /// Anything else.
    Other,
}

/// A request: CGI variables as bytes, and the body.
#[derive(Clone, Debug, Default)]
pub struct Http {
    /// Names and values, concatenated.
    text: Vec<u8>,
    /// End offsets of name and value in `text`; each pair starts where the previous one ends.
    ends: Vec<(u32, u32)>,
    /// The request's body.
    pub body: Vec<u8>,
}

impl Http {
    /// A request without variables.
    pub fn new() -> Self {
        Http::default()
    }

    /// A GET with this query string, as most tests need it.
    pub fn query(query: &str) -> Self {
        Http::new()
            .with("REQUEST_METHOD", "GET")
            .with("QUERY_STRING", query)
    }

    /// A GET of this path (and query, after `?`), as a web server passes it.
    pub fn get(uri: &str) -> Self {
        let query = uri.split_once('?').map_or("", |(_, query)| query);
        Http::query(query)
            .with("REQUEST_URI", uri)
            .with("HTTP_HOST", "localhost")
    }

    /// Adds a variable.
    pub fn with(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.push(name.as_ref(), value.as_ref());
        self
    }

    /// Adds a variable. The caller bounds the total (far below 4 GB).
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        let end = |len: usize| u32::try_from(len).unwrap_or(u32::MAX);
        self.text.extend_from_slice(name);
        let middle = end(self.text.len());
        self.text.extend_from_slice(value);
        self.ends.push((middle, end(self.text.len())));
    }

    /// The value of the variable with this name; the first one if it occurs twice.
    pub fn var(&self, name: &str) -> Option<&[u8]> {
        self.vars()
            .find(|(n, _)| *n == name.as_bytes())
            .map(|(_, value)| value)
    }

    /// A variable as text; `None` if it is not UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        std::str::from_utf8(self.var(name)?).ok()
    }

    /// All variables in order.
    pub fn vars(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let mut start = 0usize;
        self.ends.iter().filter_map(move |&(middle, end)| {
            let name = self.text.get(start..middle as usize);
            let value = self.text.get(middle as usize..end as usize);
            start = end as usize;
            name.zip(value)
        })
    }

    /// REQUEST_METHOD; GET when it is not set.
    pub fn method(&self) -> Method {
        match self.var("REQUEST_METHOD") {
            None | Some(b"GET" | b"") => Method::Get,
            Some(b"HEAD") => Method::Head,
            Some(b"POST") => Method::Post,
            Some(b"OPTIONS") => Method::Options,
            Some(_) => Method::Other,
        }
    }
}

/// One header line.
pub type HeaderLine = (&'static str, Cow<'static, str>);

/// A reply. `Content-Length` is the body's length, except for HEAD, where the body is removed and `length` applies.
#[derive(Clone, Debug)]
pub struct Reply {
    /// HTTP status code.
    pub status: u16,
    /// Header lines without `Content-Length`; values contain no CR or LF.
    pub headers: Vec<HeaderLine>,
    /// The body; empty for HEAD, 204 and 304.
    pub body: Bytes,
    /// The value of `Content-Length`; `None` for statuses that have none (204, 304).
    pub length: Option<u64>,
    /// The memory of a large body, until it is sent.
    pub lease: Option<Arc<Lease>>,
}

impl Reply {
    /// A reply with a body.
    pub fn new(status: u16, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let length = Some(body.len() as u64);
        Reply {
            status,
            headers: Vec::with_capacity(8),
            body,
            length,
            lease: None,
        }
    }

    /// A reply without a body or a length.
    pub fn empty(status: u16) -> Self {
        Reply {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
            length: None,
            lease: None,
        }
    }

    /// Adds a header line. CR and LF in the value are replaced by spaces.
    pub fn with(mut self, name: &'static str, value: impl Into<Cow<'static, str>>) -> Self {
        let mut value = value.into();
        if value.bytes().any(|b| b == b'\r' || b == b'\n') {
            value = value.replace(['\r', '\n'], " ").into();
        }
        self.headers.push((name, value));
        self
    }

    /// The value of a header line; the name is case-insensitive.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_ref())
    }

    /// The body, which releases its lease when it is dropped.
    pub fn into_body(self) -> Bytes {
        match self.lease {
            Some(lease) => Bytes::from_owner(Leased {
                bytes: self.body,
                _lease: lease,
            }),
            None => self.body,
        }
    }

    /// The reason phrase of the status (RFC 9110 §15).
    pub fn reason(&self) -> &'static str {
        match self.status {
            200 => "OK",
            204 => "No Content",
            303 => "See Other",
            304 => "Not Modified",
            400 => "Bad Request",
            401 => "Unauthorized",
            403 => "Forbidden",
            404 => "Not Found",
            405 => "Method Not Allowed",
            408 => "Request Timeout",
            413 => "Content Too Large",
            431 => "Request Header Fields Too Large",
            501 => "Not Implemented",
            503 => "Service Unavailable",
            504 => "Gateway Timeout",
            505 => "HTTP Version Not Supported",
            _ => "Internal Server Error",
        }
    }
}

/// Bytes with their lease.
struct Leased {
    bytes: Bytes,
    _lease: Arc<Lease>,
}

impl AsRef<[u8]> for Leased {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
