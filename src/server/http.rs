//! HTTP/1.1 (RFC 9112), the server's side: heads and bodies in, requests with CGI variables out, and back.
//!
//! Knows no socket, no files and no images. One request is in flight at a time; pipelined ones wait in the
//! connection's input. Limits: 16 KiB of head and 64 lines (431), 1 MiB of body (413), no transfer codings (501).

use crate::http::Http;
use crate::http::Reply;
use crate::server::fastcgi::put_lines;
use crate::server::out::Last;
use crate::server::out::Out;
use crate::server::wire::Event;
use crate::server::wire::Ticket;
use crate::server::wire::Wait;
use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;
use std::sync::Arc;
use std::time::SystemTime;

/// Bytes of request line and header lines.
pub const MAX_HEAD: usize = 16 << 10;
/// Header lines.
const MAX_LINES: usize = 64;
/// Bytes of body.
const MAX_BODY: usize = 1 << 20;
/// Where IIP is spoken, as web servers in front of iipsrv have it.
pub const SCRIPT: &str = "/fcgi-bin/iipsrv.fcgi";

/// One connection's requests.
#[derive(Debug)]
pub struct Wire {
    stage: Stage,
    /// What requests say about this end; shared by the listener's connections.
    local: Arc<Local>,
    /// The peer's address, empty on a Unix socket.
    remote: String,
    /// The answer to the request in hand leaves the connection open.
    keep: bool,
    /// The request in hand is HEAD.
    headless: bool,
    /// The peer speaks HTTP/1.0 and has to be told that the connection is kept.
    old: bool,
    retired: bool,
}

/// The listener's address.
#[derive(Debug, Default)]
pub struct Local {
    /// Address without the port, as SERVER_NAME when the request names no host.
    pub name: String,
    /// Port; empty on a Unix socket.
    pub port: String,
}

#[derive(Debug)]
enum Stage {
    /// Between requests, or a head is coming.
    Head,
    /// So many bytes of the body are missing.
    Body(Http, usize),
    /// Handed out, and not yet answered.
    Running(Ticket),
}

/// What a head says about the message.
struct Message {
    http: Http,
    length: usize,
    expects: bool,
}

/// Why a head is answered at once: status and text.
type Refusal = (u16, &'static str);

impl Wire {
    /// A fresh connection.
    pub fn new(local: Arc<Local>, remote: String) -> Self {
        Wire {
            stage: Stage::Head,
            local,
            remote,
            keep: false,
            headless: false,
            old: false,
            retired: false,
        }
    }

    /// See [`crate::server::wire::Wire::parse`].
    pub fn parse(&mut self, input: &[u8], out: &mut Out) -> (usize, Option<Event>) {
        let mut used = 0;
        if matches!(self.stage, Stage::Head) {
            let (head, message) = match self.head(input) {
                Ok(Some(found)) => found,
                Ok(None) => return (0, None),
                Err((status, text)) => {
                    self.refuse(status, text, out);
                    return (input.len(), None);
                }
            };
            used = head;
            let behind = input.len().saturating_sub(head);
            if message.expects && behind < message.length {
                out.push(&b"HTTP/1.1 100 Continue\r\n\r\n"[..]);
            }
            self.stage = Stage::Body(message.http, message.length);
        }
        if let Stage::Body(http, missing) = &mut self.stage {
            let rest = input.get(used..).unwrap_or_default();
            let (body, _) = rest.split_at(rest.len().min(*missing));
            http.body.extend_from_slice(body);
            used += body.len();
            *missing -= body.len();
            if *missing == 0 {
                let http = std::mem::take(http);
                self.stage = Stage::Running(Ticket::default());
                return (used, Some(Event::Request(0, http)));
            }
        }
        (used, None)
    }

    /// Reads a head: its length and what it says; `None` when it is not whole.
    fn head(&mut self, input: &[u8]) -> Result<Option<(usize, Message)>, Refusal> {
        let mut lines = [httparse::EMPTY_HEADER; MAX_LINES];
        let mut request = httparse::Request::new(&mut lines);
        let too_long = (431, "the head is too long\n");
        let head = match request.parse(input) {
            Ok(httparse::Status::Complete(head)) if head <= MAX_HEAD => head,
            Ok(httparse::Status::Partial) if input.len() <= MAX_HEAD => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(too_long),
            Err(httparse::Error::Version) => return Err((505, "HTTP/1.0 or HTTP/1.1 is spoken here\n")),
            Err(_) => return Err((400, "the head is malformed\n")),
        };
        let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version)
        else {
            return Err((400, "the head is malformed\n"));
        };
        let lines = &*request.headers;
        self.old = version == 0;
        self.headless = method == "HEAD";
        self.keep = if self.old {
            has_token(lines, "Connection", "keep-alive")
        } else {
            !has_token(lines, "Connection", "close")
        };
        if values(lines, "Transfer-Encoding").next().is_some() {
            return Err((501, "bodies come with Content-Length here\n"));
        }
        let hosts = values(lines, "Host").count();
        if hosts > 1 || (hosts == 0 && !self.old) {
            return Err((400, "a request names one Host\n"));
        }
        let length = length(lines)?;
        let Some(uri) = origin_form(target) else {
            return Err((400, "the request's target is malformed\n"));
        };
        let http = self.variables(method, uri, lines);
        let expects = !self.old && length > 0 && has_token(lines, "Expect", "100-continue");
        Ok(Some((
            head,
            Message {
                http,
                length,
                expects,
            },
        )))
    }

    /// The variables that a web server would pass on (RFC 3875 §4.1).
    fn variables(&self, method: &str, uri: &str, lines: &[httparse::Header<'_>]) -> Http {
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let host = values(lines, "Host").next().unwrap_or_default();
        let name = host_name(host).unwrap_or(self.local.name.as_bytes());
        let mut http = Http::new();
        http.push(b"REQUEST_METHOD", method.as_bytes());
        http.push(b"REQUEST_URI", uri.as_bytes());
        http.push(b"QUERY_STRING", query.as_bytes());
        if path == SCRIPT {
            http.push(b"SCRIPT_NAME", path.as_bytes());
        }
        http.push(b"GATEWAY_INTERFACE", b"CGI/1.1");
        http.push(
            b"SERVER_PROTOCOL",
            if self.old { b"HTTP/1.0" } else { b"HTTP/1.1" },
        );
        http.push(b"SERVER_NAME", name);
        http.push(b"SERVER_PORT", self.local.port.as_bytes());
        http.push(b"REMOTE_ADDR", self.remote.as_bytes());
        let mut text = Vec::new();
        let mut done = lines;
        for (at, line) in lines.iter().enumerate() {
            done = lines.get(..at).unwrap_or(done);
            // a blank and an underscore would be the same variable, and a peer could hide one behind the other
            if line.name.contains('_') || values(done, line.name).next().is_some() {
                continue;
            }
            let mut variable = String::with_capacity(5 + line.name.len());
            let own = ["Content-Length", "Content-Type"];
            if !own.iter().any(|name| line.name.eq_ignore_ascii_case(name)) {
                variable.push_str("HTTP_");
            }
            variable.extend(line.name.chars().map(|c| match c {
                '-' => '_',
                c => c.to_ascii_uppercase(),
            }));
            text.clear();
            for value in values(lines, line.name) {
                if !text.is_empty() {
                    text.extend_from_slice(b", ");
                }
                text.extend_from_slice(value);
            }
            http.push(variable.as_bytes(), &text);
        }
        http
    }

    /// Answers what is no request, and ends.
    fn refuse(&mut self, status: u16, text: &'static str, out: &mut Out) {
        self.keep = false;
        let reply = Reply::new(status, text).with("Content-Type", "text/plain");
        self.write(reply, Last::Linger, out);
    }

    /// The peer took too long with its head.
    pub fn late(&mut self, out: &mut Out) {
        self.refuse(408, "the request took too long\n", out);
    }

    /// See [`crate::server::wire::Wire::start`].
    pub fn start(&mut self) -> Ticket {
        match &self.stage {
            Stage::Running(ticket) => ticket.clone(),
            _ => Ticket::default(),
        }
    }

    /// Queues head and body.
    pub fn answer(&mut self, reply: Reply, out: &mut Out) {
        self.keep &= !self.retired;
        self.write(reply, Last::Close, out);
    }

    fn write(&mut self, mut reply: Reply, last: Last, out: &mut Out) {
        self.stage = Stage::Head;
        let mut head = BytesMut::with_capacity(512);
        let number = reply.status.to_string();
        let date = httpdate::fmt_http_date(SystemTime::now());
        for part in [
            "HTTP/1.1 ",
            &number,
            " ",
            reply.reason(),
            "\r\nDate: ",
            &date,
            "\r\n",
        ] {
            head.put_slice(part.as_bytes());
        }
        if !self.keep {
            head.put_slice(b"Connection: close\r\n");
        } else if self.old {
            head.put_slice(b"Connection: keep-alive\r\n");
        }
        if self.headless {
            reply.body = Bytes::new();
        }
        put_lines(&mut head, &reply);
        out.push(head);
        out.push(reply.body);
        if !self.keep {
            out.last.get_or_insert(last);
        }
        self.headless = false;
    }

    /// See [`crate::server::wire::Wire::withdraw`].
    pub fn withdraw(&mut self) {
        if let Stage::Running(ticket) = std::mem::replace(&mut self.stage, Stage::Head) {
            ticket.withdraw();
        }
    }

    /// See [`crate::server::wire::Wire::retire`].
    pub fn retire(&mut self) {
        self.retired = true;
    }

    /// See [`crate::server::wire::Wire::held`].
    pub fn held(&self) -> bool {
        matches!(self.stage, Stage::Running(_))
    }

    /// See [`crate::server::wire::Wire::idle`].
    pub fn idle(&self) -> bool {
        matches!(self.stage, Stage::Head)
    }

    /// See [`crate::server::wire::Wire::wait`].
    pub fn wait(&self, begun: bool) -> Wait {
        match self.stage {
            Stage::Head if begun => Wait::Head,
            Stage::Head => Wait::Idle,
            Stage::Body(..) => Wait::Body,
            Stage::Running(_) => Wait::Forever,
        }
    }
}

/// The values of all lines of this name.
fn values<'a>(lines: &'a [httparse::Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    lines
        .iter()
        .filter(move |line| line.name.eq_ignore_ascii_case(name))
        .map(|line| line.value)
}

/// Whether a comma-separated header has this word.
fn has_token(lines: &[httparse::Header<'_>], name: &str, token: &str) -> bool {
    values(lines, name)
        .flat_map(|value| value.split(|&b| b == b','))
        .any(|word| word.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
}

/// Content-Length: digits only, and the same number if it comes twice (RFC 9112 §6.3).
fn length(lines: &[httparse::Header<'_>]) -> Result<usize, Refusal> {
    let mut length = None;
    for value in values(lines, "Content-Length") {
        let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        if !digits || length.is_some_and(|first| first != value) {
            return Err((400, "Content-Length is malformed\n"));
        }
        length = Some(value);
    }
    let Some(digits) = length else { return Ok(0) };
    std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| digits.parse().ok())
        .filter(|&length| length <= MAX_BODY)
        .ok_or((413, "the body is too long\n"))
}

/// Path and query of a target in origin or absolute form (RFC 9112 §3.2); `*` stays.
fn origin_form(target: &str) -> Option<&str> {
    if target.starts_with('/') || target == "*" {
        return Some(target);
    }
    let (scheme, rest) = target.split_once("://")?;
    if !["http", "https"].iter().any(|s| scheme.eq_ignore_ascii_case(s)) {
        return None;
    }
    match rest.find(['/', '?']) {
        Some(at) => rest.get(at..).filter(|uri| uri.starts_with('/')),
        None => Some("/"),
    }
}

/// The host without its port; `None` when there is none.
fn host_name(host: &[u8]) -> Option<&[u8]> {
    let end = match host.first()? {
        b'[' => memchr::memchr(b']', host)? + 1,
        _ => memchr::memchr(b':', host).unwrap_or(host.len()),
    };
    host.get(..end).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wire() -> Wire {
        let local = Local {
            name: "::1".into(),
            port: "8080".into(),
        };
        Wire::new(Arc::new(local), "192.0.2.1".into())
    }

    fn request(input: &[u8]) -> Http {
        match wire().parse(input, &mut Out::default()) {
            (_, Some(Event::Request(0, http))) => http,
            other => panic!("{other:?}"),
        }
    }

    fn refused(input: &[u8]) -> (String, Option<Last>) {
        let mut out = Out::default();
        let (used, event) = wire().parse(input, &mut out);
        assert!(event.is_none());
        assert_eq!(used, input.len());
        let text = String::from_utf8(out.text()).unwrap();
        (text.get(9..12).unwrap_or_default().into(), out.last)
    }

    #[test]
    fn a_request_becomes_cgi_variables() {
        let http = request(
            b"GET http://x.org/fcgi-bin/iipsrv.fcgi?FIF=a%20b HTTP/1.1\r\nHost: [::2]:99\r\nX-Forwarded-Proto: https\r\n\
              Accept: a\r\naccept: b\r\nX_Forwarded_Proto: evil\r\nContent-Type: text/x\r\n\r\n",
        );
        for (name, value) in [
            ("REQUEST_METHOD", "GET"),
            ("REQUEST_URI", "/fcgi-bin/iipsrv.fcgi?FIF=a%20b"),
            ("QUERY_STRING", "FIF=a%20b"),
            ("SCRIPT_NAME", SCRIPT),
            ("SERVER_PROTOCOL", "HTTP/1.1"),
            ("SERVER_NAME", "[::2]"),
            ("SERVER_PORT", "8080"),
            ("REMOTE_ADDR", "192.0.2.1"),
            ("HTTP_HOST", "[::2]:99"),
            ("HTTP_X_FORWARDED_PROTO", "https"),
            ("HTTP_ACCEPT", "a, b"),
            ("CONTENT_TYPE", "text/x"),
        ] {
            assert_eq!(http.text(name), Some(value), "{name}");
        }
        assert_eq!(http.var("HTTPS"), None);
        assert_eq!(
            request(b"GET / HTTP/1.0\r\n\r\n").text("SERVER_NAME"),
            Some("::1")
        );
    }

    #[test]
    fn a_request_is_read_however_it_is_cut() {
        let input = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbodyGET";
        let mut wire = wire();
        let mut stash = Vec::new();
        let mut found = None;
        for byte in input {
            stash.push(*byte);
            let (used, event) = wire.parse(&stash, &mut Out::default());
            stash.drain(..used);
            found = event.or(found);
            if wire.held() {
                break;
            }
        }
        let Some(Event::Request(0, http)) = found else {
            panic!("{found:?}")
        };
        assert_eq!((&http.body[..], &stash[..]), (&b"body"[..], &b""[..]));
    }

    #[test]
    fn what_is_no_request_is_refused_and_the_connection_ends() {
        let long = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}", "a".repeat(MAX_HEAD));
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(70));
        let cases: [(&[u8], &str); 12] = [
            (b"\x16\x03\x01\x02\x00\x01\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\n\r\n", "400"),
            (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
            (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", "505"),
            (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            (b"GET ftp://a/b HTTP/1.1\r\nHost: a\r\n\r\n", "400"),
            (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", "400"),
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                "400",
            ),
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n",
                "413",
            ),
            (
                b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
                "501",
            ),
            (long.as_bytes(), "431"),
            (many.as_bytes(), "431"),
        ];
        for (input, status) in cases {
            assert_eq!(
                refused(input),
                (status.into(), Some(Last::Linger)),
                "{}",
                String::from_utf8_lossy(input)
            );
        }
    }

    #[test]
    fn connections_are_kept_as_the_versions_say() {
        for (input, kept) in [
            (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], true),
            (
                b"GET / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n",
                false,
            ),
            (b"GET / HTTP/1.0\r\n\r\n", false),
            (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true),
        ] {
            let mut wire = wire();
            let mut out = Out::default();
            wire.parse(input, &mut out);
            wire.answer(Reply::new(200, "x"), &mut out);
            assert_eq!(out.last.is_none(), kept);
            let text = String::from_utf8(out.text()).unwrap();
            assert_eq!(text.contains("Connection: close"), !kept);
            assert!(text.starts_with("HTTP/1.1 200 OK\r\nDate: ") && text.ends_with("\r\n\r\nx"));
        }
    }

    #[test]
    fn head_has_a_length_and_no_body() {
        let mut wire = wire();
        let mut out = Out::default();
        wire.parse(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", &mut out);
        wire.answer(Reply::new(200, "four"), &mut out);
        let text = String::from_utf8(out.text()).unwrap();
        assert!(text.ends_with("Content-Length: 4\r\n\r\n"), "{text}");
    }

    #[test]
    fn who_expects_to_be_asked_for_the_body_is_asked() {
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n";
        let mut out = Out::default();
        wire().parse(head, &mut out);
        assert!(out.text().starts_with(b"HTTP/1.1 100 Continue\r\n\r\n"));
        let mut out = Out::default();
        wire().parse(&[&head[..], b"ab"].concat(), &mut out);
        assert!(out.is_empty());
    }
}
