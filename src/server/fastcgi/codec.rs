//! Decodes and encodes FastCGI 1.0 for the responder role, without I/O.
//!
//! Supports several requests on one connection, records split anywhere, padding, aborts and management records.
//! Limits: 64 KiB of parameters per request (431), 1 MiB of body (413), 4 MiB of incomplete bodies per connection
//! (413), 64 open requests per connection (FCGI_OVERLOADED), 8 KiB in a management record. A connection whose peer
//! breaks the framing is closed. Section numbers refer to the FastCGI Specification of 1996.

use crate::http::Http;
use crate::http::Reply;
use crate::server::out::Last;
use crate::server::out::Out;
use bytes::BufMut;
use bytes::Bytes;
use bytes::BytesMut;

const BEGIN_REQUEST: u8 = 1;
const ABORT_REQUEST: u8 = 2;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const GET_VALUES: u8 = 9;
const GET_VALUES_RESULT: u8 = 10;
const UNKNOWN_TYPE: u8 = 11;

/// The number of the responder role.
const RESPONDER: u16 = 1;

const REQUEST_COMPLETE: u8 = 0;
const OVERLOADED: u8 = 2;
const UNKNOWN_ROLE: u8 = 3;

/// Longest content of a record, in bytes.
const CONTENT: usize = 65_535;
/// Maximum number of bytes of parameters in a request.
const MAX_PARAMS: usize = 64 << 10;
/// Maximum number of bytes of body in a request.
const MAX_BODY: usize = 1 << 20;
/// Maximum number of bytes of incomplete bodies on a connection.
const MAX_BODIES: usize = 4 << 20;
/// Maximum number of bytes of a record that is handled as a whole.
const MAX_WHOLE: usize = 8 << 10;
/// Maximum number of open requests on a connection.
const MAX_OPEN: usize = 64;
/// Maximum number of requests of a connection that are answered at once; more are left in the socket.
const MAX_RUNNING: usize = 32;

/// The result of parsing some input.
#[derive(Debug)]
pub enum Event {
    /// A complete request; its number is passed to [`Wire::answer`].
    Request(u16, Http),
    /// A request was aborted by the peer; it has been answered.
    Abort(u16),
    /// The peer violates the protocol: nothing more can be read from it.
    Broken(&'static str),
}

/// The records and requests of a connection.
#[derive(Debug)]
pub struct Wire {
    open: Vec<OpenRequest>,
    record: Option<Record>,
    /// The connection ends after its current requests.
    retired: bool,
    /// The value of FCGI_MAX_CONNS.
    max_connections: usize,
}

/// A record whose header has been read.
#[derive(Clone, Copy, Debug)]
struct Record {
    kind: u8,
    id: u16,
    content: usize,
    padding: usize,
}

/// A request between BEGIN_REQUEST and END_REQUEST.
#[derive(Debug)]
struct OpenRequest {
    id: u16,
    stage: RequestStage,
}

#[derive(Debug)]
enum RequestStage {
    /// Name-value pairs, as far as received.
    Params(Vec<u8>),
    /// The body is being received.
    Stdin(Http),
    /// Passed on, and not answered yet.
    Running,
}

impl Wire {
    /// A new connection; `max_connections` is reported to the peer on request.
    pub fn new(max_connections: usize) -> Self {
        Wire {
            open: Vec::new(),
            record: None,
            retired: false,
            max_connections,
        }
    }

    /// Parses `input` from the start up to the first event, or as far as it goes; returns how many bytes were
    /// consumed. The caller passes the rest again, followed by more.
    pub fn parse(&mut self, input: &[u8], out: &mut Out) -> (usize, Option<Event>) {
        let mut rest = input;
        let used = |rest: &[u8]| input.len() - rest.len();
        loop {
            if let Some(record) = self.record.take() {
                if rest.is_empty() && record.content + record.padding > 0 {
                    self.record = Some(record);
                    return (used(rest), None);
                }
                rest = self.go_on(record, rest, out);
                continue;
            }
            let Some(begun) = self.begin_record(rest, out) else {
                return (used(rest), None);
            };
            let (event, after) = begun;
            rest = after;
            if event.is_some() {
                return (used(rest), event);
            }
        }
    }

    /// Consumes the available content and padding of a record; returns the rest.
    fn go_on<'a>(&mut self, mut record: Record, input: &'a [u8], out: &mut Out) -> &'a [u8] {
        let (content, rest) = input.split_at(record.content.min(input.len()));
        let (padding, rest) = rest.split_at(record.padding.min(rest.len()));
        record.content -= content.len();
        record.padding -= padding.len();
        if record.content + record.padding > 0 {
            self.record = Some(record);
        }
        self.stream(record.kind, record.id, content, out);
        rest
    }

    /// Consumes the header of a record, or a whole record if it is handled as a whole; returns the rest. `None` if
    /// more input is needed.
    fn begin_record<'a>(&mut self, input: &'a [u8], out: &mut Out) -> Option<(Option<Event>, &'a [u8])> {
        let broken = |why| Some((Some(Event::Broken(why)), input));
        let (&[version, kind, id1, id0, len1, len0, padding, _], rest) = input.split_first_chunk::<8>()?;
        if version != 1 {
            return broken("not a FastCGI record");
        }
        let record = Record {
            kind,
            id: u16::from_be_bytes([id1, id0]),
            content: usize::from(u16::from_be_bytes([len1, len0])),
            padding: usize::from(padding),
        };
        if !whole(kind, record.id) {
            return Some((self.begin_stream(record, out), rest));
        }
        let Some((content, rest)) = rest.split_at_checked(record.content + record.padding) else {
            return if record.content > MAX_WHOLE {
                broken("a record is too long")
            } else {
                None
            };
        };
        let content = content.get(..record.content).unwrap_or_default();
        Some((self.whole(record, content, out), rest))
    }

    /// Handles a complete record.
    fn whole(&mut self, record: Record, content: &[u8], out: &mut Out) -> Option<Event> {
        match record.kind {
            BEGIN_REQUEST => {
                let &[role1, role0, flags, _, _, _, _, _] = content else {
                    return Some(Event::Broken("a BEGIN_REQUEST record has not eight bytes"));
                };
                let role = u16::from_be_bytes([role1, role0]);
                self.begin(record.id, role, flags, out).map(Event::Broken)
            }
            ABORT_REQUEST => self.abort(record.id, out),
            _ => match pairs(content) {
                Some(asked) => {
                    out.push(self.values(&asked));
                    None
                }
                None => Some(Event::Broken("broken name-value pairs in GET_VALUES")),
            },
        }
    }

    /// BEGIN_REQUEST (§5.1).
    fn begin(&mut self, id: u16, role: u16, flags: u8, out: &mut Out) -> Option<&'static str> {
        if id == 0 || self.place(id).is_some() {
            return Some("a request number is zero or in use");
        }
        if self.retired {
            // the peer knows, or has announced, that the connection ends
            return None;
        }
        // bit 0 is FCGI_KEEP_CONN
        self.retired = flags & 1 == 0;
        if role != RESPONDER {
            self.refuse(id, UNKNOWN_ROLE, out);
        } else if self.open.len() >= MAX_OPEN {
            self.refuse(id, OVERLOADED, out);
        } else {
            self.open.push(OpenRequest {
                id,
                stage: RequestStage::Params(Vec::new()),
            });
        }
        None
    }

    /// ABORT_REQUEST (§5.4): cancels the request and frees its number.
    fn abort(&mut self, id: u16, out: &mut Out) -> Option<Event> {
        let open = self.open.swap_remove(self.place(id)?);
        self.refuse(id, REQUEST_COMPLETE, out);
        matches!(open.stage, RequestStage::Running).then_some(Event::Abort(id))
    }

    /// END_REQUEST without an answer.
    fn refuse(&mut self, id: u16, status: u8, out: &mut Out) {
        let mut record = BytesMut::with_capacity(16);
        put_end(&mut record, id, status);
        out.push(record);
        self.end(Last::Linger, out);
    }

    /// Handles the header of a stream record, whose content is handled as it arrives. An empty record ends its
    /// stream.
    fn begin_stream(&mut self, record: Record, out: &mut Out) -> Option<Event> {
        if record.id == 0 && ![END_REQUEST, STDOUT, GET_VALUES_RESULT, UNKNOWN_TYPE].contains(&record.kind) {
            let mut answer = BytesMut::with_capacity(16);
            put_header(&mut answer, UNKNOWN_TYPE, 0, 8);
            answer.put_slice(&[record.kind, 0, 0, 0, 0, 0, 0, 0]);
            out.push(answer);
        }
        if record.content + record.padding > 0 {
            self.record = Some(record);
        }
        if record.content > 0 {
            return None;
        }
        let at = self.place(record.id)?;
        let stage = &mut self.open.get_mut(at)?.stage;
        match (
            record.kind,
            std::mem::replace(stage, RequestStage::Params(Vec::new())),
        ) {
            (PARAMS, RequestStage::Params(text)) => {
                match pairs(&text) {
                    Some(http) => *stage = RequestStage::Stdin(http),
                    None => self.early(record.id, 400, "the parameters are malformed\n", out),
                }
                None
            }
            (STDIN, RequestStage::Stdin(http)) => {
                *stage = RequestStage::Running;
                Some(Event::Request(record.id, http))
            }
            (_, other) => {
                *stage = other;
                None
            }
        }
    }

    /// Handles some content of a stream.
    fn stream(&mut self, kind: u8, id: u16, content: &[u8], out: &mut Out) {
        let coming = |open: &OpenRequest| match &open.stage {
            RequestStage::Stdin(http) => http.body.len(),
            _ => 0,
        };
        let bodies: usize = self.open.iter().map(coming).sum();
        let Some(open) = self.open.iter_mut().find(|open| open.id == id) else {
            // this includes the rest of a request that was answered early (§3.3)
            return;
        };
        match (kind, &mut open.stage) {
            (PARAMS, RequestStage::Params(text)) => {
                if text.len() + content.len() > MAX_PARAMS {
                    self.early(id, 431, "the parameters are too long\n", out);
                } else {
                    text.extend_from_slice(content);
                }
            }
            (STDIN, RequestStage::Stdin(http)) => {
                if http.body.len() + content.len() > MAX_BODY || bodies + content.len() > MAX_BODIES {
                    self.early(id, 413, "the body is too long\n", out);
                } else {
                    http.body.extend_from_slice(content);
                }
            }
            _ => {}
        }
    }

    /// Answers before the request is complete; the rest of it is ignored.
    fn early(&mut self, id: u16, status: u16, text: &'static str, out: &mut Out) {
        let reply = Reply::new(status, text).with("Content-Type", "text/plain");
        self.reply(id, reply, out);
        self.end(Last::Linger, out);
    }

    /// Queues header and body as STDOUT records, the end of the stream and END_REQUEST.
    pub fn answer(&mut self, id: u16, reply: Reply, out: &mut Out) {
        self.reply(id, reply, out);
        self.end(Last::Close, out);
    }

    fn reply(&mut self, id: u16, reply: Reply, out: &mut Out) {
        if let Some(at) = self.place(id) {
            self.open.swap_remove(at);
        }
        let mut glue = BytesMut::with_capacity(512);
        put_header(&mut glue, STDOUT, id, 0);
        put_head(&mut glue, &reply);
        let head = glue.len() - 8;
        let mut body = reply.into_body();
        if head <= CONTENT {
            // the head and the start of the body share a record
            let first = body.split_to(body.len().min(CONTENT - head));
            let [len1, len0] = length(head + first.len());
            if let Some(place) = glue.get_mut(4..6) {
                place.copy_from_slice(&[len1, len0]);
            }
            out.push(glue.split());
            out.push(first);
        } else {
            let mut head = glue.split_off(8).freeze();
            glue.clear();
            put_stream(&mut glue, id, &mut head, out);
        }
        put_stream(&mut glue, id, &mut body, out);
        put_header(&mut glue, STDOUT, id, 0);
        put_end(&mut glue, id, REQUEST_COMPLETE);
        out.push(glue);
    }

    /// Ends the connection if nothing is open and nothing will follow.
    fn end(&mut self, last: Last, out: &mut Out) {
        if self.retired && self.open.is_empty() {
            out.last.get_or_insert(last);
        }
    }

    /// Drops all requests: the peer is gone.
    pub fn withdraw(&mut self) {
        self.open.clear();
    }

    /// Accepts no request beyond those that have begun to arrive.
    pub fn retire(&mut self) {
        self.retired = true;
    }

    /// Whether nothing more may be read before a request is answered.
    pub fn is_full(&self) -> bool {
        let running = |open: &&OpenRequest| matches!(open.stage, RequestStage::Running);
        self.open.len() >= MAX_RUNNING && self.open.iter().filter(running).count() >= MAX_RUNNING
    }

    /// Whether no request is open.
    pub fn idle(&self) -> bool {
        self.open.is_empty() && self.record.is_none()
    }

    /// Whether a record or a request is incomplete.
    pub fn begun(&self) -> bool {
        let running = |open: &OpenRequest| matches!(open.stage, RequestStage::Running);
        self.record.is_some() || self.open.iter().any(|open| !running(open))
    }

    fn place(&self, id: u16) -> Option<usize> {
        self.open.iter().position(|open| open.id == id)
    }

    /// GET_VALUES_RESULT (§4.1): the values of the known names among those requested.
    fn values(&self, asked: &Http) -> BytesMut {
        let mut content = BytesMut::new();
        for (name, _) in asked.vars() {
            let value = match name {
                b"FCGI_MAX_CONNS" => self.max_connections,
                b"FCGI_MAX_REQS" => self.max_connections.saturating_mul(MAX_OPEN),
                b"FCGI_MPXS_CONNS" => 1,
                _ => continue,
            };
            let value = value.to_string();
            // both are shorter than 128 bytes, so each length takes one byte
            content.put_slice(&[length(name.len())[1], length(value.len())[1]]);
            content.put_slice(name);
            content.put_slice(value.as_bytes());
        }
        content.truncate(CONTENT);
        let mut record = BytesMut::with_capacity(8 + content.len());
        put_header(&mut record, GET_VALUES_RESULT, 0, content.len());
        record.unsplit(content);
        record
    }
}

/// Whether records of this type are handled as a whole.
fn whole(kind: u8, id: u16) -> bool {
    matches!(kind, BEGIN_REQUEST | ABORT_REQUEST) || (kind == GET_VALUES && id == 0)
}

/// Name-value pairs (§3.4): lengths below 128 take one byte, others four with the top bit set.
fn pairs(mut text: &[u8]) -> Option<Http> {
    fn number(text: &mut &[u8]) -> Option<usize> {
        let (&first, rest) = text.split_first()?;
        if first < 128 {
            *text = rest;
            return Some(usize::from(first));
        }
        let (&[a, b, c, d], rest) = text.split_first_chunk::<4>()?;
        *text = rest;
        usize::try_from(u32::from_be_bytes([a & 127, b, c, d])).ok()
    }
    let mut http = Http::new();
    while !text.is_empty() {
        let name = number(&mut text)?;
        let value = number(&mut text)?;
        let (name, rest) = text.split_at_checked(name)?;
        let (value, rest) = rest.split_at_checked(value)?;
        http.push(name, value);
        text = rest;
    }
    Some(http)
}

/// A length of at most [`CONTENT`], encoded as in the record header.
fn length(len: usize) -> [u8; 2] {
    u16::try_from(len).unwrap_or(u16::MAX).to_be_bytes()
}

fn put_header(record: &mut BytesMut, kind: u8, id: u16, len: usize) {
    let [id1, id0] = id.to_be_bytes();
    let [len1, len0] = length(len);
    record.put_slice(&[1, kind, id1, id0, len1, len0, 0, 0]);
}

fn put_end(record: &mut BytesMut, id: u16, status: u8) {
    put_header(record, END_REQUEST, id, 8);
    record.put_slice(&[0, 0, 0, 0, status, 0, 0, 0]);
}

/// Full STDOUT records until `bytes` is used up.
fn put_stream(glue: &mut BytesMut, id: u16, bytes: &mut Bytes, out: &mut Out) {
    while !bytes.is_empty() {
        let piece = bytes.split_to(bytes.len().min(CONTENT));
        put_header(glue, STDOUT, id, piece.len());
        out.push(glue.split());
        out.push(piece);
    }
}

/// The CGI response's head (RFC 3875 §6.3).
fn put_head(head: &mut BytesMut, reply: &Reply) {
    let number = reply.status.to_string();
    for part in ["Status: ", &number, " ", reply.reason(), "\r\n"] {
        head.put_slice(part.as_bytes());
    }
    put_lines(head, reply);
}

/// Header lines, `Content-Length` and the empty line.
fn put_lines(head: &mut BytesMut, reply: &Reply) {
    for (name, value) in &reply.headers {
        for part in [name, ": ", value.as_ref(), "\r\n"] {
            head.put_slice(part.as_bytes());
        }
    }
    if let Some(length) = reply.length {
        head.put_slice(b"Content-Length: ");
        head.put_slice(length.to_string().as_bytes());
        head.put_slice(b"\r\n");
    }
    head.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, id: u16, content: &[u8], padding: u8) -> Vec<u8> {
        let [id1, id0] = id.to_be_bytes();
        let [len1, len0] = length(content.len());
        let mut record = vec![1, kind, id1, id0, len1, len0, padding, 0];
        record.extend_from_slice(content);
        record.extend(std::iter::repeat_n(0xee, padding.into()));
        record
    }

    fn begin(id: u16) -> Vec<u8> {
        record(BEGIN_REQUEST, id, &[0, 1, 1, 0, 0, 0, 0, 0], 3)
    }

    fn request(id: u16) -> Vec<u8> {
        [
            begin(id),
            record(PARAMS, id, b"\x01\x02ABC\x0c\x80\x00\x00\x01", 0),
            record(PARAMS, id, b"QUERY_STRING\xff", 7),
            record(PARAMS, id, b"", 1),
            record(STDIN, id, b"bo", 2),
            record(STDIN, id, b"dy", 0),
            record(STDIN, id, b"", 9),
        ]
        .concat()
    }

    /// Feeds `input` in pieces of `step` bytes, as a connection does.
    fn feed(wire: &mut Wire, input: &[u8], step: usize, out: &mut Out) -> Vec<Event> {
        let mut events = Vec::new();
        let mut stash = Vec::new();
        for piece in input.chunks(step) {
            stash.extend_from_slice(piece);
            loop {
                let (used, event) = wire.parse(&stash, out);
                stash.drain(..used);
                match event {
                    Some(event) => events.push(event),
                    None => break,
                }
            }
        }
        assert_eq!(stash, b"", "everything is used up");
        events
    }

    #[test]
    fn a_request_is_the_same_however_its_records_are_split() {
        let input = request(7);
        for step in [1, 2, 3, 5, 7, 11, 64, input.len()] {
            let mut wire = Wire::new(1);
            let mut out = Out::default();
            let events = feed(&mut wire, &input, step, &mut out);
            let [Event::Request(7, http)] = &events[..] else {
                panic!("step {step}: {events:?}")
            };
            assert_eq!(http.var("A"), Some(&b"BC"[..]));
            assert_eq!(http.var("QUERY_STRING"), Some(&b"\xff"[..]));
            assert_eq!(http.body, b"body");
            assert!(out.is_empty());
        }
    }

    #[test]
    fn an_answer_is_stdout_its_end_and_end_request() {
        let mut wire = Wire::new(1);
        let mut out = Out::default();
        feed(&mut wire, &request(258), 4096, &mut out);
        wire.answer(258, Reply::new(200, "hello").with("X", "y"), &mut out);
        let head = b"Status: 200 OK\r\nX: y\r\nContent-Length: 5\r\n\r\nhello";
        let expected = [
            record(STDOUT, 258, head, 0),
            record(STDOUT, 258, b"", 0),
            record(END_REQUEST, 258, &[0; 8], 0),
        ]
        .concat();
        assert_eq!(out.text(), expected);
        assert_eq!((out.last, wire.idle()), (None, true));
    }

    #[test]
    fn long_bodies_and_long_heads_are_split_into_full_records() {
        for (head, body) in [(0, 200_000), (70_000, 5), (0, CONTENT), (0, 0)] {
            let mut wire = Wire::new(1);
            let mut out = Out::default();
            let reply = Reply::new(200, vec![b'b'; body]).with("X", "y".repeat(head));
            wire.answer(1, reply, &mut out);
            let text = out.text();
            let mut rest = &text[..];
            let mut stream = Vec::new();
            let mut ends = 0;
            while let Some((header, after)) = rest.split_first_chunk::<8>() {
                let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
                let (content, after) = after.split_at(len);
                rest = after;
                match header[1] {
                    STDOUT => {
                        ends += u32::from(len == 0);
                        stream.extend_from_slice(content);
                    }
                    kind => assert_eq!((kind, rest), (END_REQUEST, &b""[..])),
                }
            }
            assert_eq!(ends, 1);
            let text = String::from_utf8(stream).unwrap();
            let (lines, got) = text.split_once("\r\n\r\n").unwrap();
            assert!(lines.len() > head && lines.ends_with(&format!("Content-Length: {body}")));
            assert_eq!(got, "b".repeat(body));
        }
    }

    #[test]
    fn an_abort_ends_the_request_and_cancels_its_work() {
        let mut wire = Wire::new(1);
        let mut out = Out::default();
        feed(&mut wire, &request(3), 4096, &mut out);
        let (_, event) = wire.parse(&record(ABORT_REQUEST, 3, b"", 0), &mut out);
        assert!(matches!(event, Some(Event::Abort(3))));
        assert_eq!(out.text(), record(END_REQUEST, 3, &[0; 8], 0));
        // the number is free at once
        assert_eq!(feed(&mut wire, &request(3), 4096, &mut out).len(), 1);
    }

    #[test]
    fn values_roles_and_unknown_types_are_answered() {
        let mut wire = Wire::new(10);
        let mut out = Out::default();
        let asked = b"\x0f\x00FCGI_MPXS_CONNS\x03\x00WHY\x0e\x00FCGI_MAX_CONNS";
        feed(&mut wire, &record(GET_VALUES, 0, asked, 5), 2, &mut out);
        let expected = b"\x0f\x01FCGI_MPXS_CONNS1\x0e\x02FCGI_MAX_CONNS10";
        assert_eq!(out.text(), record(GET_VALUES_RESULT, 0, expected, 0));

        let mut out = Out::default();
        feed(&mut wire, &record(77, 0, b"what", 1), 3, &mut out);
        assert_eq!(out.text(), record(UNKNOWN_TYPE, 0, &[77, 0, 0, 0, 0, 0, 0, 0], 0));

        let mut out = Out::default();
        let filter = record(BEGIN_REQUEST, 5, &[0, 3, 1, 0, 0, 0, 0, 0], 0);
        feed(&mut wire, &filter, 1, &mut out);
        assert_eq!(
            out.text(),
            record(END_REQUEST, 5, &[0, 0, 0, 0, UNKNOWN_ROLE, 0, 0, 0], 0)
        );
    }

    #[test]
    fn a_connection_without_keep_conn_ends_with_its_last_answer() {
        let mut wire = Wire::new(1);
        let mut out = Out::default();
        let mut input = request(1);
        input[10] = 0; // the flags of BEGIN_REQUEST
        feed(&mut wire, &input, 4096, &mut out);
        assert_eq!(out.last, None);
        wire.answer(1, Reply::new(200, ""), &mut out);
        assert_eq!(out.last, Some(Last::Close));
    }

    #[test]
    fn a_request_over_a_limit_is_answered_and_only_that_request_ends() {
        let big = vec![b'x'; 60_000];
        let mut wire = Wire::new(1);
        let mut out = Out::default();
        let params = [begin(1), record(PARAMS, 1, &big, 0), record(PARAMS, 1, &big, 0)].concat();
        feed(&mut wire, &params, 4096, &mut out);
        assert!(String::from_utf8_lossy(&out.text()).contains("Status: 431 "));
        let mut out = Out::default();
        let mut body = [begin(2), record(PARAMS, 2, b"", 0)].concat();
        for _ in 0..18 {
            body.extend(record(STDIN, 2, &big, 0));
        }
        feed(&mut wire, &body, 4096, &mut out);
        assert!(String::from_utf8_lossy(&out.text()).contains("Status: 413 "));
        assert_eq!(feed(&mut wire, &request(1), 4096, &mut Out::default()).len(), 1);
    }

    #[test]
    fn incomplete_bodies_are_limited_per_connection() {
        let big = vec![b'x'; 60_000];
        let mut wire = Wire::new(1);
        let mut out = Out::default();
        for id in 1..=60 {
            let mut body = [begin(id), record(PARAMS, id, b"", 0)].concat();
            for _ in 0..17 {
                body.extend(record(STDIN, id, &big, 0));
            }
            feed(&mut wire, &body, 4096, &mut out);
        }
        let held = |open: &OpenRequest| match &open.stage {
            RequestStage::Stdin(http) => http.body.len(),
            _ => 0,
        };
        let held: usize = wire.open.iter().map(held).sum();
        assert!(held > MAX_BODY && held <= MAX_BODIES, "{held}");
        let answers = String::from_utf8_lossy(&out.text())
            .matches("Status: 413 ")
            .count();
        assert_eq!(answers, 56);
    }

    #[test]
    fn broken_framing_is_detected() {
        let broken: [&[u8]; 5] = [
            b"GET / HTTP/1.1\r\n",
            &record(BEGIN_REQUEST, 0, &[0, 1, 1, 0, 0, 0, 0, 0], 0),
            &record(BEGIN_REQUEST, 1, &[0, 1, 1], 0),
            &[begin(1), begin(1)].concat(),
            &record(GET_VALUES, 0, b"\x09\x09short", 0),
        ];
        for input in broken {
            let events = {
                let mut wire = Wire::new(1);
                let (_, event) = wire.parse(input, &mut Out::default());
                event
            };
            assert!(matches!(events, Some(Event::Broken(_))), "{input:?}");
        }
        let mut wire = Wire::new(1);
        let pairs = [
            begin(1),
            record(PARAMS, 1, b"\x7f\x7fx", 0),
            record(PARAMS, 1, b"", 0),
        ]
        .concat();
        let mut out = Out::default();
        feed(&mut wire, &pairs, 1, &mut out);
        assert!(String::from_utf8_lossy(&out.text()).contains("Status: 400 "));
    }
}
