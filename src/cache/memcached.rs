//! Answers in memcached, for all servers that share it.
//!
//! Speaks the text protocol (memcached's `doc/protocol.txt`). What goes wrong is never the client's concern: the answer
//! is made then, and a server that fails is left alone for some seconds. Knows nothing of what is stored.

use crate::error::Result;
use bytes::Bytes;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::net::ToSocketAddrs;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// For connecting, for each write and for each read.
const PATIENCE: Duration = Duration::from_millis(100);

/// So long a server that failed is not asked.
const REST: Duration = Duration::from_secs(5);

/// Larger values are neither stored nor taken: a memcached that nobody has told otherwise keeps 1 MB with its key.
const MOST: usize = 1_000_000;

/// Longer lines are no answers.
const LINE: u64 = 512;

/// Longer times are taken for points of time: 30 days.
const SPAN: u64 = 60 * 60 * 24 * 30;

/// A list of servers; each key has one of them.
pub struct Memcached {
    servers: Vec<Server>,
    seconds: u32,
    trouble: Trouble,
}

/// Gets to know which server failed, and how.
pub type Trouble = fn(&str, &io::Error);

/// One server.
struct Server {
    /// Host and port.
    address: String,
    idle: Mutex<Vec<Connection>>,
    /// Not asked before.
    rests: Mutex<Option<Instant>>,
}

type Connection = BufReader<TcpStream>;

impl Memcached {
    /// Servers as `host:port`, and how long they shall keep what they get: 0 for as long as they like. Connects to
    /// nothing yet. `None` without servers.
    pub fn new(servers: &[String], seconds: u32, trouble: Trouble) -> Option<Memcached> {
        let server = |address: &String| Server {
            address: address.clone(),
            idle: Mutex::default(),
            rests: Mutex::default(),
        };
        (!servers.is_empty()).then(|| Memcached {
            servers: servers.iter().map(server).collect(),
            seconds,
            trouble,
        })
    }

    /// The value of a key: the one that is stored or, if there is none or nobody to ask, the one that `make` makes, which
    /// is stored then. A key is of 1 to 250 printable bytes without blanks.
    pub fn get_or_make(&self, key: &str, make: impl FnOnce() -> Result<Bytes>) -> Result<Bytes> {
        if let Some(stored) = self.ask(key, |server| get(server, key)).flatten() {
            return Ok(stored);
        }
        let made = make()?;
        if made.len() <= MOST {
            let until = expiry(self.seconds);
            self.ask(key, |server| set(server, key, until, &made));
        }
        Ok(made)
    }

    /// What the server of this key answers; `None` when there is none or it fails.
    fn ask<T>(&self, key: &str, talk: impl Fn(&mut Connection) -> io::Result<T>) -> Option<T> {
        let server = self.of(key)?;
        server
            .ask(talk)
            .inspect_err(|error| (self.trouble)(&server.address, error))
            .ok()
    }

    /// The server of a key. The next one takes its keys while it rests (rendezvous hashing: no others move).
    fn of(&self, key: &str) -> Option<&Server> {
        let rank = |server: &&Server| {
            let mut hasher = DefaultHasher::new();
            (&server.address, key).hash(&mut hasher);
            hasher.finish()
        };
        let there = self.servers.iter().filter(|server| server.is_there());
        there.max_by_key(rank)
    }
}

impl Server {
    fn is_there(&self) -> bool {
        lock(&self.rests).is_none_or(|until| until <= Instant::now())
    }

    /// Rests when it fails.
    fn ask<T>(&self, talk: impl Fn(&mut Connection) -> io::Result<T>) -> io::Result<T> {
        let idle = lock(&self.idle).pop();
        let answer = match idle.map(|old| self.on(old, &talk)) {
            Some(Ok(answer)) => return Ok(answer),
            Some(Err(error)) if is_late(&error) => Err(error),
            // an old connection may have been closed there since
            _ => self.connect().and_then(|new| self.on(new, &talk)),
        };
        answer.inspect_err(|_| {
            lock(&self.idle).clear();
            *lock(&self.rests) = Some(Instant::now() + REST);
        })
    }

    /// A conversation; the connection is kept if all went well.
    fn on<T>(
        &self,
        mut connection: Connection,
        talk: impl Fn(&mut Connection) -> io::Result<T>,
    ) -> io::Result<T> {
        let answer = talk(&mut connection)?;
        if connection.buffer().is_empty() {
            lock(&self.idle).push(connection);
        }
        Ok(answer)
    }

    fn connect(&self) -> io::Result<Connection> {
        {
            // a server that was gone is tried by one thread: the others go on without it
            let mut rests = lock(&self.rests);
            if rests.is_some() {
                *rests = Some(Instant::now() + REST);
            }
        }
        let mut last = io::ErrorKind::NotFound.into();
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.set_write_timeout(Some(PATIENCE))?;
                    stream.set_nodelay(true)?;
                    *lock(&self.rests) = None;
                    return Ok(BufReader::new(stream));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_late(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock)
}

/// What memcached shall be told so that a value lasts so many seconds.
fn expiry(seconds: u32) -> u64 {
    let span = u64::from(seconds);
    if span <= SPAN {
        return span;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    span + now.map_or(0, |now| now.as_secs())
}

fn get(server: &mut Connection, key: &str) -> io::Result<Option<Bytes>> {
    server.get_mut().write_all(format!("get {key}\r\n").as_bytes())?;
    let line = line(server)?;
    if line == "END" {
        return Ok(None);
    }
    let head = line
        .strip_prefix("VALUE ")
        .and_then(|rest| rest.strip_prefix(key));
    let len = head
        .and_then(|rest| rest.strip_prefix(" 0 "))
        .and_then(|len| len.parse().ok());
    let len: usize = len.filter(|len| *len <= MOST).ok_or_else(|| odd(&line))?;
    let mut value = vec![0; len + END.len()];
    server.read_exact(&mut value)?;
    if !value.ends_with(END) {
        return Err(odd("no end of a value"));
    }
    value.truncate(len);
    Ok(Some(value.into()))
}

/// What comes behind a value.
const END: &[u8] = b"\r\nEND\r\n";

fn set(server: &mut Connection, key: &str, until: u64, value: &[u8]) -> io::Result<()> {
    let head = format!("set {key} 0 {until} {}\r\n", value.len());
    let all = [head.as_bytes(), value, b"\r\n"].concat();
    server.get_mut().write_all(&all)?;
    let line = line(server)?;
    // one that has no room for it is well all the same
    if line == "STORED" || line.starts_with("SERVER_ERROR") {
        return Ok(());
    }
    Err(odd(&line))
}

/// A line without its end.
fn line(server: &mut Connection) -> io::Result<String> {
    let mut line = Vec::new();
    server.take(LINE).read_until(b'\n', &mut line)?;
    match line.strip_suffix(b"\r\n") {
        Some(line) => Ok(String::from_utf8_lossy(line).into_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn odd(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unexpected {line:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::thread;

    const KEY: &str = "iipsrv:key";

    /// A server that answers commands by these lines, in their order, a connection for each of the lists; it notes what
    /// it was asked.
    fn server(script: &[&[&str]]) -> (String, Arc<Mutex<Vec<String>>>) {
        let own = |lines: &&[&str]| lines.iter().map(|line| String::from(*line)).collect();
        let script: Vec<Vec<String>> = script.iter().map(own).collect();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = asked.clone();
        thread::spawn(move || {
            for lines in script {
                let (stream, _) = listener.accept().unwrap();
                let mut stream = BufReader::new(stream);
                for line in lines {
                    let mut command = String::new();
                    stream.read_line(&mut command).unwrap();
                    if command.starts_with("set") {
                        stream.read_line(&mut command).unwrap();
                    }
                    lock(&noted).push(command);
                    stream.get_mut().write_all(line.as_bytes()).unwrap();
                }
            }
        });
        (address, asked)
    }

    fn made() -> Result<Bytes> {
        Ok(Bytes::from_static(b"made"))
    }

    #[test]
    fn what_is_missing_is_made_and_stored_and_what_is_there_is_taken() {
        let (address, asked) = server(&[&[
            "END\r\n",
            "STORED\r\n",
            "VALUE iipsrv:key 0 5\r\nthere\r\nEND\r\n",
        ]]);
        let cache = Memcached::new(&[address], 60, |_, _| {}).unwrap();
        assert_eq!(cache.get_or_make(KEY, made).unwrap(), "made");
        assert_eq!(cache.get_or_make(KEY, || Err(Error::Busy)).unwrap(), "there");
        let wanted = [
            "get iipsrv:key\r\n",
            "set iipsrv:key 0 60 4\r\nmade\r\n",
            "get iipsrv:key\r\n",
        ];
        assert_eq!(*lock(&asked), wanted);
    }

    #[test]
    fn a_failure_is_stored_nowhere() {
        let (address, asked) = server(&[&["END\r\n"]]);
        let cache = Memcached::new(&[address], 60, |_, _| {}).unwrap();
        assert!(cache.get_or_make(KEY, || Err(Error::Busy)).is_err());
        assert_eq!(lock(&asked).len(), 1);
    }

    #[test]
    fn a_connection_that_was_closed_meanwhile_is_opened_again() {
        let (address, asked) = server(&[
            &["END\r\n", "STORED\r\n"],
            &["VALUE iipsrv:key 0 5\r\nthere\r\nEND\r\n"],
        ]);
        let cache = Memcached::new(&[address], 60, |_, _| {}).unwrap();
        assert_eq!(cache.get_or_make(KEY, made).unwrap(), "made");
        assert_eq!(cache.get_or_make(KEY, made).unwrap(), "there");
        assert_eq!(lock(&asked).len(), 3);
    }

    #[test]
    fn who_answers_nonsense_or_nothing_is_left_alone() {
        for (answer, name) in [
            (&[&["ERROR\r\n"][..]], "an error"),
            (&[&["VALUE iipsrv:other 0 5\r\nthere\r\nEND\r\n"]], "another key"),
            (
                &[&["VALUE iipsrv:key 0 5\r\nthere and more\r\nEND\r\n"]],
                "a longer value",
            ),
            (&[&["VALUE iipsrv:key 0 5\r\nthe"]], "a cut value"),
            (
                &[&["VALUE iipsrv:key 0 99999999999\r\n"]],
                "more than there is memory",
            ),
            (&[&["VALUE iipsrv:key 0 -1\r\n"]], "less than nothing"),
            (&[&[""]], "nothing"),
        ] {
            let (address, asked) = server(answer);
            let cache = Memcached::new(&[address], 60, |_, _| {}).unwrap();
            for _ in 0..3 {
                assert_eq!(cache.get_or_make(KEY, made).unwrap(), "made", "{name}");
            }
            assert_eq!(lock(&asked).len(), 1, "{name}");
        }
        let endless = "x".repeat(5000);
        let (address, asked) = server(&[&[&endless]]);
        let cache = Memcached::new(&[address], 60, |_, _| {}).unwrap();
        for _ in 0..3 {
            assert_eq!(cache.get_or_make(KEY, made).unwrap(), "made");
        }
        assert_eq!(lock(&asked).len(), 1, "a line without an end");
    }

    #[test]
    fn who_has_no_room_is_asked_again() {
        let full = "SERVER_ERROR object too large for cache\r\n";
        let (address, asked) = server(&[&["END\r\n", full, "END\r\n", full]]);
        let cache = Memcached::new(&[address], 60, |_, _| {}).unwrap();
        for _ in 0..2 {
            assert_eq!(cache.get_or_make(KEY, made).unwrap(), "made");
        }
        assert_eq!(lock(&asked).len(), 4);
    }

    #[test]
    fn large_values_are_not_stored() {
        let (address, asked) = server(&[&["END\r\n", "STORED\r\n"]]);
        let cache = Memcached::new(&[address], 60, |_, _| {}).unwrap();
        let large = || Ok(vec![0; MOST + 1].into());
        assert_eq!(cache.get_or_make(KEY, large).unwrap().len(), MOST + 1);
        assert_eq!(lock(&asked).len(), 1);
    }

    #[test]
    fn of_several_servers_each_has_its_keys_and_those_of_one_that_rests_go_elsewhere() {
        let servers: Vec<String> = (1..=4).map(|i| format!("127.0.0.1:{i}")).collect();
        let cache = Memcached::new(&servers, 60, |_, _| {}).unwrap();
        let keys: Vec<String> = (0..400).map(|i| format!("iipsrv:{i}")).collect();
        let of = |key: &str| cache.of(key).map(|server| server.address.clone());
        let before: Vec<_> = keys.iter().map(|key| of(key)).collect();
        for server in &servers {
            let share = before.iter().flatten().filter(|at| *at == server).count();
            assert!((60..140).contains(&share), "{server} has {share} of 400");
        }
        *lock(&cache.servers[0].rests) = Some(Instant::now() + REST);
        for (key, before) in keys.iter().zip(&before) {
            let after = of(key);
            assert_ne!(after.as_ref(), Some(&servers[0]));
            assert!(after == *before || before.as_ref() == Some(&servers[0]));
        }
    }

    #[test]
    fn long_times_are_told_as_points_of_time() {
        assert_eq!([0, 1, 86_400, 2_592_000].map(expiry), [0, 1, 86_400, 2_592_000]);
        assert!(expiry(2_592_001) > 1_700_000_000);
    }
}
