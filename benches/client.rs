//! A FastCGI load generator that measures latencies and the CPU time and memory of a server's processes.
//!
//! It connects directly, so that no web server hides the cost. One thread per core drives its share of the connections with
//! epoll, as web servers do. The generator itself takes about 10 µs of CPU per request, so on two cores the server's CPU time
//! per request is more meaningful than requests per second.

use rustix::event::epoll;
use std::io;
use std::net::TcpStream;
use std::num::NonZero;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// The load to generate.
pub struct Load<'a> {
    /// `HOST:PORT` or a path.
    pub address: &'a str,
    /// Concurrent connections.
    pub connections: usize,
    /// Keep connections open; otherwise one connection for each request.
    pub keep: bool,
    /// Query strings, sent in order over all connections.
    pub queries: &'a [String],
    /// Duration of the run.
    pub time: Duration,
    /// Index of the first query: a run continues where the last one ended, so that cached answers are not requested again soon.
    pub next: &'a AtomicUsize,
    /// The server's processes, whose CPU time is measured.
    pub pids: &'a [u32],
}

/// The result of a run.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Answers with status 200.
    pub good: usize,
    /// Answers with another status, and broken connections.
    pub bad: usize,
    /// Bytes of the answers' STDOUT.
    pub bytes: u64,
    /// Duration in seconds.
    pub seconds: f64,
    /// CPU seconds of the server's processes.
    pub cpu: f64,
    /// Latencies in ms, sorted.
    pub latencies: Vec<f32>,
}

impl Outcome {
    /// Good answers per second.
    pub fn rate(&self) -> f64 {
        self.good as f64 / self.seconds
    }

    /// The server's CPU time per answer, in ms.
    pub fn cpu_ms(&self) -> f64 {
        self.cpu * 1000.0 / (self.good + self.bad).max(1) as f64
    }

    /// The latency quantile `share` in ms.
    pub fn latency(&self, share: f64) -> f32 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (share * last as f64).round() as usize;
        self.latencies.get(at).copied().unwrap_or(f32::NAN)
    }
}

/// A connected, non-blocking socket.
struct Stream(OwnedFd);

impl Stream {
    fn connect(address: &str) -> io::Result<Stream> {
        if address.contains('/') {
            let stream = UnixStream::connect(address)?;
            stream.set_nonblocking(true)?;
            return Ok(Stream(stream.into()));
        }
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        Ok(Stream(stream.into()))
    }
}

/// Sends requests until the time is over, then waits for the last answers.
pub fn run(load: &Load) -> Outcome {
    let requests: Vec<_> = load.queries.iter().map(|q| request(q, load.keep)).collect();
    let over = AtomicBool::new(false);
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let threads = cores.min(load.connections).max(1);
    let before = cpu_seconds(load.pids);
    let start = Instant::now();
    let parts: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|i| load.connections / threads + usize::from(i < load.connections % threads))
            .map(|share| {
                let (requests, over) = (&requests, &over);
                scope.spawn(move || some_connections(share, load, requests, over))
            })
            .collect();
        std::thread::sleep(load.time);
        over.store(true, Ordering::Relaxed);
        threads
            .into_iter()
            .map(|thread| thread.join().expect("a client does not panic"))
            .collect()
    });
    let mut sum = Outcome {
        seconds: start.elapsed().as_secs_f64(),
        cpu: cpu_seconds(load.pids) - before,
        ..Outcome::default()
    };
    for part in parts {
        sum.good += part.good;
        sum.bad += part.bad;
        sum.bytes += part.bytes;
        sum.latencies.extend(part.latencies);
    }
    sum.latencies.sort_by(f32::total_cmp);
    sum
}

/// A connection and the part of its pending answer that has arrived.
struct Talk {
    stream: Option<Stream>,
    asked: Option<Instant>,
    buffer: Vec<u8>,
    filled: usize,
    first: bool,
    good: bool,
    bytes: u64,
}

/// Answers that take longer count as bad.
const PATIENCE: Duration = Duration::from_secs(30);

/// Runs one thread's connections; each sends at least one request.
fn some_connections(count: usize, load: &Load, requests: &[Vec<u8>], over: &AtomicBool) -> Outcome {
    let mut outcome = Outcome::default();
    let watched = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll is available");
    let mut talks: Vec<Talk> = (0..count).map(|_| Talk::new()).collect();
    let ask = |talk: &mut Talk, number: usize| {
        let request = &requests[load.next.fetch_add(1, Ordering::Relaxed) % requests.len()];
        talk.ask(load.address, request, number, &watched)
    };
    for (number, talk) in talks.iter_mut().enumerate() {
        outcome.bad += usize::from(ask(talk, number).is_err());
    }
    let mut events = Vec::with_capacity(64);
    while !over.load(Ordering::Relaxed) || talks.iter().any(Talk::waits) {
        events.clear();
        let tick = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 10_000_000,
        };
        let waited = epoll::wait(&watched, rustix::buffer::spare_capacity(&mut events), Some(&tick));
        if !matches!(waited, Ok(1..)) {
            for (number, talk) in talks.iter_mut().enumerate() {
                let late = talk.asked.is_some_and(|asked| asked.elapsed() > PATIENCE);
                if late {
                    *talk = Talk::new();
                    outcome.bad += 1;
                }
                // limits reconnecting to a server that is down to 100 times per second
                if !talk.waits() && !over.load(Ordering::Relaxed) && ask(talk, number).is_err() {
                    outcome.bad += 1;
                }
            }
        }
        for event in &events {
            let number = event.data.u64() as usize;
            let talk = &mut talks[number];
            match talk.hear() {
                Ok(false) => continue,
                Ok(true) => {
                    let asked = talk.asked.take().expect("it was asked");
                    outcome.good += usize::from(talk.good);
                    outcome.bad += usize::from(!talk.good);
                    outcome.bytes += talk.bytes;
                    outcome.latencies.push(asked.elapsed().as_secs_f32() * 1000.0);
                    if !load.keep {
                        talk.stream = None;
                    }
                    if !over.load(Ordering::Relaxed) && ask(talk, number).is_err() {
                        outcome.bad += 1;
                    }
                }
                Err(_) => {
                    *talk = Talk::new();
                    outcome.bad += 1;
                }
            }
        }
    }
    outcome
}

impl Talk {
    fn new() -> Talk {
        Talk {
            stream: None,
            asked: None,
            buffer: vec![0; 64 << 10],
            filled: 0,
            first: true,
            good: true,
            bytes: 0,
        }
    }

    fn waits(&self) -> bool {
        self.asked.is_some()
    }

    /// Sends a request, on a new connection if none is open.
    fn ask(&mut self, address: &str, request: &[u8], number: usize, watched: &OwnedFd) -> io::Result<()> {
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = Stream::connect(address)?;
                let data = epoll::EventData::new_u64(number as u64);
                epoll::add(watched, &stream.0, data, epoll::EventFlags::IN)?;
                stream
            }
        };
        (self.filled, self.first, self.good, self.bytes) = (0, true, true, 0);
        let asked = Instant::now();
        if rustix::io::write(&stream.0, request)? < request.len() {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.asked = Some(asked);
        self.stream = Some(stream);
        Ok(())
    }

    /// Reads the available data; true when the answer is complete.
    fn hear(&mut self) -> io::Result<bool> {
        let stream = self.stream.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let count = match rustix::io::read(&stream.0, &mut self.buffer[self.filled..]) {
            Err(rustix::io::Errno::AGAIN) => return Ok(false),
            count => count?,
        };
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.filled += count;
        let mut at = 0;
        while let Some(&[_, kind, _, _, len1, len0, padding, _]) =
            self.buffer[at..self.filled].first_chunk::<8>()
        {
            let length = usize::from(u16::from_be_bytes([len1, len0]));
            let end = at + 8 + length + usize::from(padding);
            if end > self.filled {
                if end - at > self.buffer.len() {
                    self.buffer.resize(end - at, 0);
                }
                break;
            }
            match kind {
                6 => {
                    let content = &self.buffer[at + 8..at + 8 + length];
                    if self.first && length > 0 {
                        self.first = false;
                        self.good = !content.starts_with(b"Status: ") || content.starts_with(b"Status: 200");
                    }
                    self.bytes += length as u64;
                }
                3 => return Ok(true),
                _ => {}
            }
            at = end;
        }
        self.buffer.copy_within(at..self.filled, 0);
        self.filled -= at;
        Ok(false)
    }
}

/// A GET as nginx would send it, in one write.
pub fn request(query: &str, keep: bool) -> Vec<u8> {
    let mut params = Vec::new();
    for (name, value) in [
        ("QUERY_STRING", query),
        ("REQUEST_METHOD", "GET"),
        ("CONTENT_TYPE", ""),
        ("CONTENT_LENGTH", ""),
        ("SCRIPT_NAME", "/fcgi-bin/iipsrv.fcgi"),
        ("REQUEST_URI", &format!("/fcgi-bin/iipsrv.fcgi?{query}")),
        ("DOCUMENT_URI", "/fcgi-bin/iipsrv.fcgi"),
        ("DOCUMENT_ROOT", "/var/www/html"),
        ("SERVER_PROTOCOL", "HTTP/1.1"),
        ("REQUEST_SCHEME", "http"),
        ("GATEWAY_INTERFACE", "CGI/1.1"),
        ("SERVER_SOFTWARE", "nginx"),
        ("REMOTE_ADDR", "127.0.0.1"),
        ("REMOTE_PORT", "50000"),
        ("SERVER_ADDR", "127.0.0.1"),
        ("SERVER_PORT", "80"),
        ("SERVER_NAME", "localhost"),
        ("HTTP_HOST", "localhost"),
        ("HTTP_ACCEPT", "image/avif,image/webp,*/*"),
        ("HTTP_ACCEPT_ENCODING", "gzip, deflate, br"),
        ("HTTP_CONNECTION", "keep-alive"),
    ] {
        for length in [name.len(), value.len()] {
            match u8::try_from(length) {
                Ok(length) if length < 128 => params.push(length),
                _ => params.extend((length as u32 | 1 << 31).to_be_bytes()),
            }
        }
        params.extend_from_slice(name.as_bytes());
        params.extend_from_slice(value.as_bytes());
    }
    let mut bytes = vec![1, 1, 0, 1, 0, 8, 0, 0, 0, 1, u8::from(keep), 0, 0, 0, 0, 0];
    bytes.extend([1, 4, 0, 1]);
    bytes.extend((params.len() as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(params);
    bytes.extend([1, 4, 0, 1, 0, 0, 0, 0, 1, 5, 0, 1, 0, 0, 0, 0]);
    bytes
}

/// CPU seconds of these processes, including ended threads.
pub fn cpu_seconds(pids: &[u32]) -> f64 {
    let process = |pid: &u32| {
        let (mut clock, mut time) = (
            0,
            libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
        );
        // SAFETY: both pointers are valid for the calls.
        let known = unsafe {
            libc::clock_getcpuclockid(*pid as libc::pid_t, &mut clock) == 0
                && libc::clock_gettime(clock, &mut time) == 0
        };
        known.then_some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
    };
    pids.iter().filter_map(process).sum()
}

/// Resident memory of these processes in MB: current and peak.
pub fn memory(pids: &[u32]) -> (f64, f64) {
    let line = |pid: &u32, name: &str| -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        let kb = value.and_then(|v| v.split_whitespace().next()?.parse::<f64>().ok());
        kb.unwrap_or(0.0) / 1024.0
    };
    let sum = |name| pids.iter().map(|pid| line(pid, name)).sum();
    (sum("VmRSS:"), sum("VmHWM:"))
}
