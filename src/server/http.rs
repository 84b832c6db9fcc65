//! HTTP connections: hyper implements HTTP/1.1 and HTTP/2 with prior knowledge; requests are converted to CGI
//! variables.
//!
//! Limits: 16 KiB of head (431), 1 MiB of body (413). For HTTP/2: 32 streams, whose bodies share 1 MiB of buffer; a
//! peer that resets more than 20 unprocessed streams, or sends more CONTINUATION frames than a head may take, loses
//! its connection.

use crate::http::Http;
use crate::http::Reply;
use crate::metrics;
use crate::server::Handler;
use crate::server::connections::Directive;
use crate::server::connections::Presence;
use crate::server::connections::Wait;
use crate::server::socket::Socket;
use crate::work::Stage;
use bytes::Buf;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use hyper::HeaderMap;
use hyper::Request;
use hyper::Response;
use hyper::Version;
use hyper::body::Body as _;
use hyper::body::Frame;
use hyper::body::Incoming;
use hyper::body::SizeHint;
use hyper::header::CONTENT_LENGTH;
use hyper::header::HOST;
use hyper::header::HeaderName;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::rt::ReadBufCursor;
use hyper::server::conn::http1;
use hyper::server::conn::http2;
use hyper::service::Service;
use rustix::io::Errno;
use std::borrow::Cow;
use std::cell::RefCell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;
use std::task::ready;
use std::time::Instant;

/// Maximum number of bytes of request line and header lines.
const MAX_HEAD: u32 = 16 << 10;
/// Maximum number of bytes of body.
const MAX_BODY: usize = 1 << 20;
/// Size of a thread's read buffer.
const SCRATCH: usize = 64 << 10;
/// Maximum number of concurrent requests of an HTTP/2 connection.
const MAX_STREAMS: u32 = 32;
/// Maximum number of streams that a peer may reset before they are processed (CVE-2023-44487).
const MAX_RESETS: usize = 20;
/// Maximum number of streams that are reset for errors of the peer.
const MAX_ERRORS: usize = 100;
/// Flow-control windows, in bytes: of a stream, and of a connection.
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of output buffered for each stream.
const MAX_SENDING: usize = 64 << 10;
/// The connection preface of HTTP/2 (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The path of IIP, as web servers in front of iipsrv map it.
pub const SCRIPT: &str = "/fcgi-bin/iipsrv.fcgi";

const LATE: &[u8] = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Type: text/plain\r\n\
    Content-Length: 26\r\n\r\nthe request took too long\n";

/// The listener's address.
#[derive(Debug, Default)]
pub struct Local {
    /// Address without the port, as SERVER_NAME when the request names no host.
    pub name: String,
    /// Port; empty on a Unix socket.
    pub port: String,
}

thread_local! {
    /// See [`SCRATCH`].
    static BUFFER: RefCell<Vec<u8>> = RefCell::new(vec![0; SCRATCH]);
}

/// Serves a connection until it ends. `remote` is the peer's address, empty on a Unix socket.
pub async fn serve(socket: Socket, presence: Presence, local: Arc<Local>, remote: String, handler: Handler) {
    let state = Arc::new(State {
        presence,
        flying: AtomicUsize::new(0),
        early: AtomicBool::new(false),
        late: AtomicBool::new(false),
    });
    let mut io = Io {
        socket,
        state: Arc::clone(&state),
        first: Bytes::new(),
        sending: None,
    };
    state.presence.waits(Wait::Idle, true);
    let Some(first) = poll_fn(|context| io.poll_first(context)).await else {
        return;
    };
    let second = first.starts_with(PREFACE.get(..first.len().min(PREFACE.len())).unwrap_or_default());
    io.first = first;
    let front = Front(Arc::new(Shared {
        state: Arc::clone(&state),
        local,
        remote,
        handler,
    }));
    if second {
        let mut builder = http2::Builder::new(Tasks);
        builder
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_local_error_reset_streams(MAX_ERRORS)
            .max_header_list_size(MAX_HEAD)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(MAX_SENDING);
        let connection = builder.serve_connection(io, front);
        let retire = http2::Connection::graceful_shutdown;
        run(connection, retire, &state, false).await;
    } else {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_HEAD as usize).title_case_headers(true);
        let connection = builder.serve_connection(io, front);
        let retire = http1::Connection::graceful_shutdown;
        run(connection, retire, &state, true).await;
    }
}

/// Runs a connection of either version until it ends or must end; `retire` makes it end after its current requests.
/// `answers_late`: a peer whose head is late gets an answer that says so.
async fn run<C: Future>(connection: C, retire: fn(Pin<&mut C>), state: &State, answers_late: bool) {
    let mut connection = pin!(connection);
    let mut retired = false;
    poll_fn(|context| {
        match state.presence.order(context) {
            Directive::None => {}
            Directive::Retire if retired => {}
            Directive::Retire => {
                retired = true;
                retire(connection.as_mut());
            }
            // hyper takes this for a failure of the socket, after the answer was written
            Directive::Late(Wait::Head) if answers_late => state.late.store(true, Ordering::Relaxed),
            Directive::Late(_) | Directive::Yield => return Poll::Ready(()),
        }
        connection.as_mut().poll(context).map(|_| ())
    })
    .await;
}

/// The state of a connection.
struct State {
    presence: Presence,
    /// Number of requests in progress.
    flying: AtomicUsize,
    /// An answer was sent before the end of its request.
    early: AtomicBool,
    /// A head was not received in time.
    late: AtomicBool,
}

impl State {
    /// Records what the connection waits for when it neither reads nor writes.
    fn rest(&self) {
        let flying = self.flying.load(Ordering::Relaxed) > 0;
        let wait = if flying { Wait::Answer } else { Wait::Idle };
        self.presence.waits(wait, true);
    }
}

/// Spawns hyper's tasks for HTTP/2 streams.
#[derive(Clone)]
struct Tasks;

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Tasks {
    fn execute(&self, task: F) {
        tokio::spawn(task);
    }
}

/// The socket as hyper's I/O.
struct Io {
    socket: Socket,
    state: Arc<State>,
    /// Bytes that were read to detect the version.
    first: Bytes,
    /// Since when output is pending.
    sending: Option<Instant>,
}

impl Io {
    /// The first bytes; `None` at the end of input.
    fn poll_first(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        let order = self.state.presence.order(context);
        if matches!(order, Directive::Late(_) | Directive::Yield) {
            return Poll::Ready(None);
        }
        BUFFER.with_borrow_mut(|buffer| match self.socket.poll_read(context, buffer) {
            Poll::Ready(Ok(count @ 1..)) => {
                self.state.presence.waits(Wait::Head, true);
                Poll::Ready(buffer.get(..count).map(Bytes::copy_from_slice))
            }
            // everything sent before has been received
            Poll::Pending if order == Directive::None => Poll::Pending,
            Poll::Ready(_) | Poll::Pending => Poll::Ready(None),
        })
    }
}

impl hyper::rt::Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut to: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let io = &mut *self;
        if !io.first.is_empty() {
            let count = io.first.len().min(to.remaining());
            to.put_slice(&io.first.split_to(count));
            return Poll::Ready(Ok(()));
        }
        if io.state.late.load(Ordering::Relaxed) {
            let _ = io
                .socket
                .poll_write(context, |socket| rustix::io::write(socket, LATE));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        BUFFER.with_borrow_mut(|buffer| {
            let most = buffer.len().min(to.remaining());
            let (free, _) = buffer.split_at_mut(most);
            let count = ready!(io.socket.poll_read(context, free))?;
            to.put_slice(free.get(..count).unwrap_or_default());
            if count > 0 && io.state.presence.wait() == Wait::Idle {
                io.state.presence.waits(Wait::Head, true);
            }
            Poll::Ready(Ok(()))
        })
    }
}

impl Io {
    fn poll_out(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnMut(rustix::fd::BorrowedFd<'_>) -> Result<usize, Errno>,
    ) -> Poll<io::Result<usize>> {
        self.sending.get_or_insert_with(Instant::now);
        let written = self.socket.poll_write(context, write);
        let waits = written.is_pending();
        if waits && self.state.presence.wait() != Wait::Writing || matches!(written, Poll::Ready(Ok(_))) {
            self.state.presence.waits(Wait::Writing, true);
        }
        written
    }
}

impl hyper::rt::Write for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_out(context, |socket| rustix::io::write(socket, from))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        from: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_out(context, |socket| rustix::io::writev(socket, from))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(since) = self.sending.take() {
            metrics::took(Stage::Send.name(), since.elapsed());
        }
        if self.state.presence.wait() == Wait::Writing {
            self.state.rest();
        }
        Poll::Ready(Ok(()))
    }

    /// Closing a socket with unread input makes the kernel discard the answer (RFC 9112 §9.6), so the rest of a
    /// request that was answered early is read first.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.state.presence.wait() != Wait::Lingering {
            if self.socket.drained() && !self.state.early.load(Ordering::Relaxed) {
                // is closed at once, which shuts it down
                return Poll::Ready(Ok(()));
            }
            self.socket.shut()?;
            self.state.presence.waits(Wait::Lingering, true);
        }
        BUFFER.with_borrow_mut(|buffer| {
            loop {
                if ready!(self.socket.poll_read(context, buffer))? == 0 {
                    return Poll::Ready(Ok(()));
                }
            }
        })
    }
}

/// Answers the requests of a connection.
#[derive(Clone)]
struct Front(Arc<Shared>);

struct Shared {
    state: Arc<State>,
    local: Arc<Local>,
    remote: String,
    handler: Handler,
}

impl Service<Request<Incoming>> for Front {
    type Response = Response<WholeBody>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<WholeBody>, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        shared.state.flying.fetch_add(1, Ordering::Relaxed);
        let flight = RequestGuard(Arc::clone(&shared.state));
        shared.state.presence.waits(Wait::Answer, true);
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let head = parts.method == hyper::Method::HEAD;
            let reply = match shared.read(parts, body).await {
                Ok(http) => (shared.handler)(http).await,
                Err(reply) => reply,
            };
            Ok(response(reply, head, flight))
        })
    }
}

/// A request in progress, until its answer has been handed over.
struct RequestGuard(Arc<State>);

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.flying.fetch_sub(1, Ordering::Relaxed);
        if self.0.presence.wait() == Wait::Answer {
            self.0.rest();
        }
    }
}

fn refusal(status: u16, text: &'static str) -> Reply {
    Reply::new(status, text).with("Content-Type", "text/plain")
}

impl Shared {
    /// Converts the request to variables and a body, or to the reply that rejects it.
    async fn read(&self, parts: Parts, body: Incoming) -> Result<Http, Reply> {
        let too_long = || {
            self.state.early.store(true, Ordering::Relaxed);
            refusal(413, "the body is too long\n").with("Connection", "close")
        };
        if body.size_hint().lower() > MAX_BODY as u64 {
            return Err(too_long());
        }
        let mut http = self.variables(&parts)?;
        if body.is_end_stream() {
            return Ok(http);
        }
        self.state.presence.waits(Wait::Body, true);
        let mut body = pin!(body);
        while let Some(frame) = poll_fn(|context| body.as_mut().poll_frame(context)).await {
            let frame = frame.map_err(|_| refusal(400, "the body is malformed\n"))?;
            let Ok(data) = frame.into_data() else { continue };
            if http.body.len() + data.remaining() > MAX_BODY {
                return Err(too_long());
            }
            http.body.extend_from_slice(&data);
        }
        self.state.presence.waits(Wait::Answer, true);
        Ok(http)
    }

    /// The variables that a web server would pass on (RFC 3875 §4.1).
    fn variables(&self, parts: &Parts) -> Result<Http, Reply> {
        let lines = &parts.headers;
        let hosts = lines.get_all(HOST).iter().count();
        if hosts > 1 || (hosts == 0 && parts.version == Version::HTTP_11) {
            return Err(refusal(400, "a request names one Host\n").with("Connection", "close"));
        }
        let uri = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let authority = parts
            .uri
            .authority()
            .map(|authority| authority.as_str().as_bytes());
        let host = lines.get(HOST).map(HeaderValue::as_bytes).or(authority);
        let name = host.and_then(host_name).unwrap_or(self.local.name.as_bytes());
        let mut http = Http::new();
        http.push(b"REQUEST_METHOD", parts.method.as_str().as_bytes());
        http.push(b"REQUEST_URI", uri.as_bytes());
        http.push(b"QUERY_STRING", query.as_bytes());
        if path == SCRIPT {
            http.push(b"SCRIPT_NAME", path.as_bytes());
        }
        http.push(b"GATEWAY_INTERFACE", b"CGI/1.1");
        let protocol: &[u8] = match parts.version {
            Version::HTTP_10 => b"HTTP/1.0",
            Version::HTTP_2 => b"HTTP/2.0",
            _ => b"HTTP/1.1",
        };
        http.push(b"SERVER_PROTOCOL", protocol);
        http.push(b"SERVER_NAME", name);
        http.push(b"SERVER_PORT", self.local.port.as_bytes());
        http.push(b"REMOTE_ADDR", self.remote.as_bytes());
        if let (None, Some(host)) = (lines.get(HOST), authority) {
            http.push(b"HTTP_HOST", host);
        }
        push_lines(&mut http, lines);
        Ok(http)
    }
}

/// Converts header lines to variables; lines of the same name are joined with commas.
fn push_lines(http: &mut Http, lines: &HeaderMap) {
    let mut text = Vec::new();
    for name in lines.keys() {
        // a hyphen and an underscore would map to the same variable, so a peer could hide one behind the other
        if name.as_str().contains('_') {
            continue;
        }
        let mut variable = String::with_capacity(5 + name.as_str().len());
        if !["content-length", "content-type"].contains(&name.as_str()) {
            variable.push_str("HTTP_");
        }
        variable.extend(name.as_str().chars().map(|c| match c {
            '-' => '_',
            c => c.to_ascii_uppercase(),
        }));
        text.clear();
        for value in lines.get_all(name) {
            if !text.is_empty() {
                text.extend_from_slice(b", ");
            }
            text.extend_from_slice(value.as_bytes());
        }
        http.push(variable.as_bytes(), &text);
    }
}

/// The host without its port; `None` if it is empty.
fn host_name(host: &[u8]) -> Option<&[u8]> {
    let end = match host.first()? {
        b'[' => memchr::memchr(b']', host)? + 1,
        _ => memchr::memchr(b':', host).unwrap_or(host.len()),
    };
    host.get(..end).filter(|name| !name.is_empty())
}

/// Converts the answer to hyper's response.
fn response(reply: Reply, head: bool, flight: RequestGuard) -> Response<WholeBody> {
    let mut response = Response::new(WholeBody {
        bytes: None,
        _flight: flight,
    });
    *response.status_mut() =
        hyper::StatusCode::from_u16(reply.status).unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
    let lines = response.headers_mut();
    for (name, value) in &reply.headers {
        let value = match value {
            Cow::Borrowed(text) => HeaderValue::from_str(text),
            Cow::Owned(text) => HeaderValue::from_str(text),
        };
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name.as_bytes()), value) {
            lines.append(name, value);
        }
    }
    if let (true, Some(length)) = (head, reply.length) {
        lines.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    response.body_mut().bytes = Some(reply.into_body()).filter(|bytes| !bytes.is_empty());
    response
}

/// A body in one piece.
struct WholeBody {
    bytes: Option<Bytes>,
    _flight: RequestGuard,
}

impl hyper::body::Body for WholeBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, Bytes::len) as u64)
    }
}
