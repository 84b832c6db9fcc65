//! Answers in memcached, shared by all servers that use it.
//!
//! Failures never reach the client: the answer is computed instead. No caller waits for a name server or for a
//! server that is known to be down, and at most 200 ms for one that has just stopped answering.

pub mod frame;
mod server;
mod talk;

use crate::cache::memcached::server::Server;
use crate::metrics;
use bytes::Bytes;
use std::io;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;
use twox_hash::XxHash64;

/// Larger bodies are not stored.
const MAX_BODY: usize = talk::MAX_VALUE - frame::HEAD;

/// 30 days in seconds: memcached takes longer expiry times for Unix timestamps.
const SPAN: u64 = 60 * 60 * 24 * 30;

/// A callback for a server that fails or is reachable again.
pub type Report = fn(&str, Result<(), &io::Error>);

/// Servers and expiry time.
#[derive(Clone, Debug, Default)]
pub struct MemcachedSettings {
    /// Host and port, or the path of the socket, of each.
    pub servers: Vec<String>,
    /// Expiry time of answers in seconds; 0 is without limit.
    pub seconds: u32,
}

/// A client of several servers; each key belongs to one of them.
pub struct Memcached {
    servers: Vec<Server>,
    seconds: u32,
}

impl Memcached {
    /// `None` without servers.
    pub fn new(settings: &MemcachedSettings, tell: Report) -> Option<Memcached> {
        let start = |address: &String| match Server::start(address, tell) {
            Ok(server) => Some(server),
            Err(error) => {
                tell(address, Err(&error));
                None
            }
        };
        let servers: Vec<Server> = settings.servers.iter().filter_map(start).collect();
        (!servers.is_empty()).then_some(Memcached {
            servers,
            seconds: settings.seconds,
        })
    }

    /// The body stored under this key, if it exists and is valid. A key has 1 to 250 printable bytes without spaces; key and value
    /// contain the name and version of the program.
    pub async fn get(&self, key: &str) -> Option<Bytes> {
        let found = match self.server_for(key) {
            Some(server) => server.get(key).await.ok().flatten(),
            None => None,
        };
        sound(key, found)
    }

    /// Fetches a value and blocks this thread.
    pub fn get_blocking(&self, key: &str) -> Option<Bytes> {
        let server = self.server_for(key);
        let found = server.and_then(|server| server.get(key).blocking_recv().ok().flatten());
        sound(key, found)
    }

    /// Stores a body in the background, unless the queue or the server is full.
    pub fn set(&self, key: &str, body: &Bytes) {
        let Some(server) = self.server_for(key).filter(|_| body.len() <= MAX_BODY) else {
            return;
        };
        if !server.set(key, body.clone(), expiry(self.seconds)) {
            metrics::get().memcached_dropped.inc();
        }
    }

    /// Whether all queued bodies have been stored or dropped.
    pub fn is_idle(&self) -> bool {
        self.servers.iter().all(Server::is_idle)
    }

    /// Each server as configured, and whether it answers.
    pub fn servers(&self) -> impl Iterator<Item = (&str, bool)> {
        self.servers
            .iter()
            .map(|server| (server.address(), server.is_up()))
    }

    /// The server of a key. While it is down, the next one takes its keys (rendezvous hashing: no other keys move). All processes
    /// with the same list agree, whatever compiler built them.
    fn server_for(&self, key: &str) -> Option<&Server> {
        let seed = XxHash64::oneshot(0, key.as_bytes());
        let up = self.servers.iter().filter(|server| server.is_up());
        up.max_by_key(|server| XxHash64::oneshot(seed, server.address().as_bytes()))
    }
}

/// The body of a found value, if the value is valid.
fn sound(key: &str, found: Option<Bytes>) -> Option<Bytes> {
    let body = found.as_ref().map(|value| frame::unwrap(key, value));
    let outcome = match &body {
        Some(Some(_)) => "hit",
        Some(None) => "unsound",
        None => "miss",
    };
    metrics::lookup("memcached", outcome);
    body.flatten()
}

/// memcached's expiry parameter for a lifetime of `seconds` seconds.
fn expiry(seconds: u32) -> u64 {
    let span = u64::from(seconds);
    if span <= SPAN {
        return span;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    span + now.map_or(0, |now| now.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufRead;
    use std::io::BufReader;
    use std::io::Read;
    use std::io::Write;
    use std::net::TcpListener;
    use std::sync::Arc;
    use std::sync::Mutex;
    use std::sync::atomic::AtomicU32;
    use std::sync::atomic::Ordering;
    use std::thread;
    use std::time::Duration;
    use std::time::Instant;

    fn settings(servers: Vec<String>) -> MemcachedSettings {
        MemcachedSettings { servers, seconds: 60 }
    }

    const KEY: &str = "iipsrv:key";

    fn quiet(_: &str, _: Result<(), &io::Error>) {}

    fn connect(address: String) -> Memcached {
        Memcached::new(&settings(vec![address]), quiet).unwrap()
    }

    /// The answer of a fake server to a command: `get KEY`, `set …` with its value, or `version`.
    type Script = Box<dyn FnMut(&str) -> Vec<u8> + Send>;

    /// A fake server for any number of connections, and the commands that it has received.
    fn server(script: Script) -> (String, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (noted, script) = (asked.clone(), Arc::new(Mutex::new(script)));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (noted, script) = (noted.clone(), script.clone());
                thread::spawn(move || {
                    let mut stream = BufReader::new(stream.unwrap());
                    let mut line = String::new();
                    while stream.read_line(&mut line).is_ok_and(|n| n > 0) {
                        let command = line.trim().to_string();
                        if let Some(len) = command.strip_prefix("set ").and_then(|c| c.rsplit(' ').next()) {
                            let mut value = vec![0; len.parse::<usize>().unwrap() + 2];
                            stream.read_exact(&mut value).unwrap();
                        }
                        noted.lock().unwrap().push(command.clone());
                        let answer = script.lock().unwrap()(&command);
                        if stream.get_mut().write_all(&answer).is_err() {
                            return;
                        }
                        line.clear();
                    }
                });
            }
        });
        (address, asked)
    }

    /// The answer to a `get` of [`KEY`].
    fn value(key: &str, value: &[u8]) -> Vec<u8> {
        let head = format!("VALUE {key} 0 {}\r\n", value.len());
        [head.as_bytes(), value, b"\r\nEND\r\n"].concat()
    }

    fn until(mut holds: impl FnMut() -> bool) -> bool {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if holds() {
                return true;
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    }

    fn is_up(cache: &Memcached) -> bool {
        cache.servers().all(|(_, up)| up)
    }

    #[test]
    fn stored_values_are_found_and_others_are_missing() {
        let mut stored = None;
        let (address, asked) = server(Box::new(move |command| {
            if command.starts_with("set") {
                stored = Some(());
                return b"STORED\r\n".to_vec();
            }
            stored.map_or(b"END\r\n".to_vec(), |()| value(KEY, &frame::wrap(KEY, b"body")))
        }));
        let cache = connect(address);
        assert_eq!(cache.get_blocking(KEY), None);
        cache.set(KEY, &Bytes::from_static(b"body"));
        assert!(until(|| cache.get_blocking(KEY).as_deref() == Some(b"body")));
        let asked = asked.lock().unwrap();
        let len = frame::HEAD + 4;
        // storing is asynchronous: earlier lookups may miss
        assert_eq!(asked[0], format!("get {KEY}"));
        assert!(asked.contains(&format!("set {KEY} 0 60 {len}")), "{asked:?}");
    }

    #[test]
    fn overwritten_values_are_never_accepted() {
        let other = frame::wrap("iipsrv:other", b"another tile");
        let own = frame::wrap(KEY, b"the right tile");
        let old = [
            b"iipsrv 1.9.9\n".to_vec(),
            own[b"iipsrv 1.9.9\n".len()..].to_vec(),
        ]
        .concat();
        let mut lies: Vec<Vec<u8>> = vec![
            other,
            old,
            b"garbage".to_vec(),
            Vec::new(),
            b"the right tile".to_vec(),
        ];
        lies.extend((0..35).map(|cut| own[..cut].to_vec()));
        assert_eq!(lies.len(), 40);
        let mut next = lies.into_iter();
        let (address, asked) = server(Box::new(move |_| value(KEY, &next.next().unwrap_or_default())));
        let cache = connect(address);
        for turn in 0..40 {
            assert_eq!(cache.get_blocking(KEY), None, "{turn}");
        }
        assert_eq!(asked.lock().unwrap().len(), 40, "it was asked each time");
        assert!(is_up(&cache), "its values are no fault of the server");
    }

    #[test]
    fn after_garbage_or_silence_a_server_is_not_used_until_a_trial_succeeds() {
        let endless = "x".repeat(5000).into_bytes();
        for (answer, name) in [
            (b"ERROR\r\n".to_vec(), "an error"),
            (value("iipsrv:other", &frame::wrap(KEY, b"x")), "another key"),
            (
                b"VALUE iipsrv:key 0 5\r\nthere and more\r\nEND\r\n".to_vec(),
                "a longer value",
            ),
            (b"VALUE iipsrv:key 0 5\r\nthe".to_vec(), "a cut value"),
            (
                b"VALUE iipsrv:key 0 99999999999\r\n".to_vec(),
                "more than there is memory",
            ),
            (b"VALUE iipsrv:key 0 -1\r\n".to_vec(), "less than nothing"),
            (Vec::new(), "nothing"),
            (endless, "a line without an end"),
        ] {
            // trials by `version` fail, too: it stays down
            let (address, asked) = server(Box::new(move |_| answer.clone()));
            let cache = connect(address);
            for _ in 0..10 {
                assert_eq!(cache.get_blocking(KEY), None, "{name}");
            }
            let asked = asked.lock().unwrap();
            let gets = asked.iter().filter(|command| command.starts_with("get")).count();
            assert_eq!(gets, 1, "{name}: {asked:?}");
            assert!(!is_up(&cache), "{name}");
        }
    }

    #[test]
    fn only_the_keeper_tries_a_server_that_failed() {
        let mut broken = 1;
        let (address, asked) = server(Box::new(move |command| {
            if command == "version" {
                return b"VERSION 1.6.18\r\n".to_vec();
            }
            broken -= 1;
            if broken == 0 {
                b"ERROR\r\n".to_vec()
            } else {
                b"END\r\n".to_vec()
            }
        }));
        static LOST: AtomicU32 = AtomicU32::new(0);
        static BACK: AtomicU32 = AtomicU32::new(0);
        let tell = |_: &str, state: Result<(), &io::Error>| {
            let count = if state.is_ok() { &BACK } else { &LOST };
            count.fetch_add(1, Ordering::SeqCst);
        };
        let cache = Memcached::new(&settings(vec![address]), tell).unwrap();
        assert_eq!(cache.get_blocking(KEY), None);
        assert!(!is_up(&cache));
        assert!(until(|| is_up(&cache)));
        assert!(until(|| BACK.load(Ordering::SeqCst) == 1));
        assert_eq!(LOST.load(Ordering::SeqCst), 1);
        assert_eq!(asked.lock().unwrap()[1], "version");
    }

    #[test]
    fn an_unknown_host_name_delays_nothing() {
        let cache = connect("nobody.invalid:11211".into());
        assert_eq!(cache.get_blocking(KEY), None);
        assert!(!is_up(&cache), "it is not asked before it has an address");
        cache.set(KEY, &Bytes::from_static(b"body"));
    }

    #[test]
    fn a_connection_that_the_server_closed_is_reopened() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let cache = connect(listener.local_addr().unwrap().to_string());
        let closing = thread::spawn(move || {
            for _ in 0..5 {
                let mut stream = BufReader::new(listener.accept().unwrap().0);
                stream.read_line(&mut String::new()).unwrap();
                let answer = value(KEY, &frame::wrap(KEY, b"body"));
                stream.get_mut().write_all(&answer).unwrap();
            }
        });
        for _ in 0..5 {
            assert_eq!(cache.get_blocking(KEY).as_deref(), Some(&b"body"[..]));
        }
        closing.join().unwrap();
    }

    #[test]
    fn large_bodies_are_not_stored_and_a_full_server_stays_up() {
        let (address, asked) = server(Box::new(|command| match command.split(' ').next() {
            Some("set") => b"SERVER_ERROR object too large for cache\r\n".to_vec(),
            _ => b"END\r\n".to_vec(),
        }));
        let cache = connect(address);
        cache.set(KEY, &vec![0; MAX_BODY + 1].into());
        cache.set(KEY, &vec![0; MAX_BODY].into());
        let sets = || {
            asked
                .lock()
                .unwrap()
                .iter()
                .filter(|c| c.starts_with("set"))
                .count()
        };
        assert!(until(|| sets() == 1));
        assert_eq!(cache.get_blocking(KEY), None);
        assert_eq!((sets(), is_up(&cache)), (1, true));
    }

    #[test]
    fn keys_are_spread_over_the_servers_and_only_those_of_a_dead_one_move() {
        let servers: Vec<String> = (1..=4).map(|i| format!("127.0.0.1:{i}")).collect();
        let cache = Memcached::new(&settings(servers.clone()), quiet).unwrap();
        let keys: Vec<String> = (0..400).map(|i| format!("iipsrv:{i}")).collect();
        let address_of = |key: &str| cache.server_for(key).map(|server| server.address().to_string());
        let before: Vec<_> = keys.iter().map(|key| address_of(key)).collect();
        for server in &servers {
            let share = before.iter().flatten().filter(|at| *at == server).count();
            assert!((60..140).contains(&share), "{server} has {share} of 400");
        }
        // the assignment is the same in every build of every version
        let last = |key| address_of(key).unwrap().pop().unwrap();
        let places: String = ["a", "b", "c", "d", "e", "f", "g", "h"]
            .map(last)
            .iter()
            .collect();
        assert_eq!(places, "11223234");
        cache.servers[0].mark(false);
        for (key, before) in keys.iter().zip(&before) {
            let after = address_of(key);
            assert_ne!(after.as_ref(), Some(&servers[0]));
            assert!(after == *before || before.as_ref() == Some(&servers[0]));
        }
    }

    #[test]
    fn long_lifetimes_are_sent_as_timestamps() {
        assert_eq!([0, 1, 86_400, 2_592_000].map(expiry), [0, 1, 86_400, 2_592_000]);
        assert!(expiry(2_592_001) > 1_700_000_000);
    }
}
