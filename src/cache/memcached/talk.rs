//! The text protocol of memcached (its `doc/protocol.txt`) over one connection, within a deadline.

use bytes::Bytes;
use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

/// Larger values are neither stored nor accepted: by default memcached limits a value and its key to 1 MB.
pub const MAX_VALUE: usize = 1_000_000;

/// Longer lines are invalid.
const MAX_LINE: u64 = 512;

/// The terminator of a value.
const END: &[u8] = b"\r\nEND\r\n";

/// The resolved address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

#[derive(Debug)]
enum ServerSocket {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A socket whose reads and writes end before `until`.
#[derive(Debug)]
struct Timed {
    socket: ServerSocket,
    until: Instant,
}

/// A connection to a server.
#[derive(Debug)]
pub struct ServerConnection(BufReader<Timed>);

impl ServerConnection {
    /// Connects, or fails at `until`.
    pub fn open(target: &ServerAddress, until: Instant) -> io::Result<ServerConnection> {
        let socket = match target {
            ServerAddress::Tcp(address) => {
                let stream = TcpStream::connect_timeout(address, time_left(until)?)?;
                stream.set_nodelay(true)?;
                ServerSocket::Tcp(stream)
            }
            ServerAddress::Unix(path) => {
                // connecting to a server whose backlog is full would block
                let socket = rustix::net::socket_with(
                    AddressFamily::UNIX,
                    SocketType::STREAM,
                    SocketFlags::CLOEXEC | SocketFlags::NONBLOCK,
                    None,
                )?;
                rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
                let stream = UnixStream::from(socket);
                stream.set_nonblocking(false)?;
                ServerSocket::Unix(stream)
            }
        };
        Ok(ServerConnection(BufReader::new(Timed { socket, until })))
    }

    /// The stored value of a key.
    pub fn get(&mut self, key: &str, until: Instant) -> io::Result<Option<Bytes>> {
        self.send(&[b"get ", key.as_bytes(), b"\r\n"].concat(), until)?;
        let line = self.line()?;
        if line == "END" {
            return Ok(None);
        }
        let head = line
            .strip_prefix("VALUE ")
            .and_then(|rest| rest.strip_prefix(key));
        let len = head
            .and_then(|rest| rest.strip_prefix(' '))
            .and_then(|rest| rest.split_once(' '))
            .and_then(|(_flags, len)| len.parse().ok());
        let len: usize = len.filter(|len| *len <= MAX_VALUE).ok_or_else(|| odd(&line))?;
        let mut value = vec![0; len + END.len()];
        self.0.read_exact(&mut value)?;
        if !value.ends_with(END) {
            return Err(odd("no end of a value"));
        }
        value.truncate(len);
        Ok(Some(value.into()))
    }

    /// Stores a value. Out of memory is not an error.
    pub fn set(&mut self, key: &str, expiry: u64, value: &[u8], until: Instant) -> io::Result<()> {
        let head = format!("set {key} 0 {expiry} {}\r\n", value.len());
        self.send(&[head.as_bytes(), value, b"\r\n"].concat(), until)?;
        let line = self.line()?;
        if line == "STORED" || line.starts_with("SERVER_ERROR") {
            return Ok(());
        }
        Err(odd(&line))
    }

    /// Checks that a memcached answers.
    pub fn version(&mut self, until: Instant) -> io::Result<()> {
        self.send(b"version\r\n", until)?;
        let line = self.line()?;
        if line.starts_with("VERSION ") {
            return Ok(());
        }
        Err(odd(&line))
    }

    /// Whether no unread data of the server is pending.
    pub fn is_at_rest(&self) -> bool {
        self.0.buffer().is_empty()
    }

    fn send(&mut self, bytes: &[u8], until: Instant) -> io::Result<()> {
        let timed = self.0.get_mut();
        timed.until = until;
        timed.write_all(bytes)
    }

    /// Reads a line without its terminator.
    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.0.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = Some(time_left(self.until)?);
        match &mut self.socket {
            ServerSocket::Tcp(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(buffer)),
            ServerSocket::Unix(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(buffer)),
        }
    }
}

impl Write for Timed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = Some(time_left(self.until)?);
        match &mut self.socket {
            ServerSocket::Tcp(stream) => stream.set_write_timeout(left).and_then(|()| stream.write(bytes)),
            ServerSocket::Unix(stream) => stream.set_write_timeout(left).and_then(|()| stream.write(bytes)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The time left, never zero, which a socket takes for no limit.
fn time_left(until: Instant) -> io::Result<Duration> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    Ok(left)
}

/// Whether the error is a time-out.
pub fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

fn odd(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unexpected {line:?}"))
}
