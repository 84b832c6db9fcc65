//! A FastCGI load generator: connections that ask one query after the other, and what a server's processes used
//! meanwhile.
//!
//! Speaks FastCGI itself, so that no web server hides the cost. One thread a connection; it costs about 10 µs of CPU
//! a request, so on two cores the server's own CPU per request tells more than requests per second.

use std::io;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// What to ask, and how.
pub struct Load<'a> {
    /// `HOST:PORT` or a path.
    pub address: &'a str,
    /// Connections at a time.
    pub connections: usize,
    /// Ask on kept connections; else one connection for each request.
    pub keep: bool,
    /// Query strings, asked in order, all connections together.
    pub queries: &'a [String],
    /// How long.
    pub time: Duration,
    /// How many were asked before: an answer that is kept shall not be asked again soon.
    pub next: &'a AtomicUsize,
    /// The server's processes, for CPU time.
    pub pids: &'a [u32],
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Answers with status 200.
    pub good: usize,
    /// Other answers and broken connections.
    pub bad: usize,
    /// Bytes of the answers' STDOUT.
    pub bytes: u64,
    /// Seconds.
    pub seconds: f64,
    /// CPU seconds of the server's processes.
    pub cpu: f64,
    /// Latencies in ms, sorted.
    pub latencies: Vec<f32>,
}

impl Outcome {
    /// Good answers a second.
    pub fn rate(&self) -> f64 {
        self.good as f64 / self.seconds
    }

    /// The server's CPU milliseconds for an answer.
    pub fn cpu_ms(&self) -> f64 {
        self.cpu * 1000.0 / (self.good + self.bad).max(1) as f64
    }

    /// The latency below which this share of the answers came, in ms.
    pub fn latency(&self, share: f64) -> f32 {
        let last = self.latencies.len().saturating_sub(1);
        let at = (share * last as f64).round() as usize;
        self.latencies.get(at).copied().unwrap_or(f32::NAN)
    }
}

trait Stream: Read + Write + Send {}
impl<S: Read + Write + Send> Stream for S {}

fn connect(address: &str) -> io::Result<Box<dyn Stream>> {
    if address.contains('/') {
        let stream = UnixStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        return Ok(Box::new(stream));
    }
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    Ok(Box::new(stream))
}

/// Asks until the time is over.
pub fn run(load: &Load) -> Outcome {
    let requests: Vec<_> = load.queries.iter().map(|q| request(q, load.keep)).collect();
    let over = AtomicBool::new(false);
    let before = cpu_seconds(load.pids);
    let start = Instant::now();
    let parts: Vec<Outcome> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..load.connections)
            .map(|_| scope.spawn(|| one_connection(load, &requests, load.next, &over)))
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

fn one_connection(load: &Load, requests: &[Vec<u8>], next: &AtomicUsize, over: &AtomicBool) -> Outcome {
    let mut outcome = Outcome::default();
    let mut buffer = vec![0; 256 << 10];
    let mut stream = None;
    while !over.load(Ordering::Relaxed) {
        let request = &requests[next.fetch_add(1, Ordering::Relaxed) % requests.len()];
        let start = Instant::now();
        match ask(load.address, &mut stream, request, &mut buffer) {
            Ok((good, bytes)) => {
                outcome.good += usize::from(good);
                outcome.bad += usize::from(!good);
                outcome.bytes += bytes;
                outcome.latencies.push(start.elapsed().as_secs_f32() * 1000.0);
            }
            Err(_) => {
                outcome.bad += 1;
                stream = None;
                // a server that is down must not be counted a million times
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        if !load.keep {
            stream = None;
        }
    }
    outcome
}

/// Asks once; whether the status was 200, and the bytes of STDOUT.
fn ask(
    address: &str,
    stream: &mut Option<Box<dyn Stream>>,
    request: &[u8],
    buffer: &mut [u8],
) -> io::Result<(bool, u64)> {
    let stream = match stream {
        Some(stream) => stream,
        None => stream.insert(connect(address)?),
    };
    stream.write_all(request)?;
    let mut filled = 0;
    let mut good = true;
    let mut bytes = 0;
    let mut first = true;
    loop {
        let count = stream.read(&mut buffer[filled..])?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        filled += count;
        let mut at = 0;
        while let Some(&[_, kind, _, _, len1, len0, padding, _]) = buffer[at..filled].first_chunk::<8>() {
            let length = usize::from(u16::from_be_bytes([len1, len0]));
            let end = at + 8 + length + usize::from(padding);
            if end > filled {
                break;
            }
            match kind {
                6 => {
                    let content = &buffer[at + 8..at + 8 + length];
                    if first && length > 0 {
                        first = false;
                        good = !content.starts_with(b"Status: ") || content.starts_with(b"Status: 200");
                    }
                    bytes += length as u64;
                }
                3 => return Ok((good, bytes)),
                _ => {}
            }
            at = end;
        }
        buffer.copy_within(at..filled, 0);
        filled -= at;
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

/// CPU seconds of these processes, threads that have ended included.
pub fn cpu_seconds(pids: &[u32]) -> f64 {
    let process = |pid: &u32| {
        let (mut clock, mut time) = (
            0,
            libc::timespec {
                tv_sec: 0,
                tv_nsec: 0,
            },
        );
        // SAFETY: both places live as long as the calls.
        let known = unsafe {
            libc::clock_getcpuclockid(*pid as libc::pid_t, &mut clock) == 0
                && libc::clock_gettime(clock, &mut time) == 0
        };
        known.then_some(time.tv_sec as f64 + time.tv_nsec as f64 / 1e9)
    };
    pids.iter().filter_map(process).sum()
}

/// Resident memory of these processes in MB: now, and at its highest.
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
