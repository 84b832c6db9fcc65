//! Servers that share a memcached share answers; a memcached that fails does not affect requests.

use crate::process::Folder;
use crate::process::free_port;
use crate::process::until;
use crate::support::fixtures;
use iipsrv::http::Http;
use iipsrv::service::Service;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::process::Child;
use std::process::Command;
use std::time::Duration;

/// A memcached process of the test.
pub struct Memcached {
    pub child: Child,
    pub port: u16,
}

impl Memcached {
    pub fn start(port: u16) -> Memcached {
        let child = Command::new("memcached")
            .args(["-l", "127.0.0.1", "-m", "16", "-u", "nobody", "-p"])
            .arg(port.to_string())
            .spawn()
            .expect("memcached is installed (tests/run installs it)");
        until(|| TcpStream::connect(("127.0.0.1", port)).ok()).expect("memcached listens");
        Memcached { child, port }
    }

    /// Kills the process, in any state.
    pub fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Its answer to a command, up to `end`.
    fn ask(&self, command: &str, end: &str) -> String {
        String::from_utf8(self.send(command.as_bytes(), end.as_bytes())).unwrap()
    }

    fn send(&self, command: &[u8], end: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(command).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(end) {
            let mut more = [0; 4096];
            let got = stream.read(&mut more).unwrap();
            assert_ne!(got, 0, "it hung up after {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&more[..got]);
        }
        answer
    }

    fn count(&self, name: &str) -> u32 {
        let stats = self.ask("stats\r\n", "END\r\n");
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix("STAT ")?.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    }

    fn keys(&self) -> Vec<String> {
        let all = self.ask("lru_crawler metadump all\r\n", "END\r\n");
        let key = |line: &str| Some(line.strip_prefix("key=")?.split(' ').next()?.replace("%3A", ":"));
        all.lines().filter_map(key).collect()
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        self.stop();
    }
}

fn server(list: &str, more: &[(&str, &str)]) -> Service {
    fixtures(&[&[("MEMCACHED_SERVERS", list)], more].concat())
}

fn body(service: &Service, query: &str) -> Vec<u8> {
    let reply = service.respond(Http::query(query));
    assert_eq!(reply.status, 200, "{query}");
    reply.body.to_vec()
}

const TILE: &str = "FIF=tessera.tif&QLT=71&GAM=1.2&JTL=3,1";

/// Waits until memcached holds `count` answers: they are stored after they have been sent.
fn stored(memcached: &Memcached, count: u32) {
    let all = until(|| (memcached.count("curr_items") == count).then_some(()));
    assert!(
        all.is_some(),
        "{} of {count} are stored",
        memcached.count("curr_items")
    );
}

#[test]
#[ignore = "needs memcached"]
fn a_server_finds_the_answers_that_another_one_stored() {
    let memcached = Memcached::start(free_port());
    let list = format!("127.0.0.1:{}", memcached.port);
    let first = body(&server(&list, &[]), TILE);
    stored(&memcached, 1);
    assert_eq!(memcached.count("get_hits"), 0);
    assert_eq!(body(&server(&list, &[]), TILE), first);
    assert_eq!(memcached.count("get_hits"), 1);
    assert_eq!(memcached.count("cmd_set"), 1, "the answer was not computed again");
    assert_eq!(
        body(&fixtures(&[]), TILE),
        first,
        "the answer equals that of a server without memcached"
    );

    // settings that change the pixels change the key, and so does another tile
    let marked = body(
        &server(&list, &[("COPYRIGHT", "somebody"), ("MAX_ICC", "0")]),
        TILE,
    );
    assert_eq!(memcached.count("get_hits"), 1);
    assert!(!marked.is_empty());
    body(&server(&list, &[]), "FIF=tessera.tif&QLT=71&GAM=1.2&JTL=3,0");
    stored(&memcached, 3);
    let version = format!("iipsrv-{}:", env!("CARGO_PKG_VERSION"));
    for key in memcached.keys() {
        assert!(key.starts_with(&version), "{key}");
    }
}

#[test]
#[ignore = "needs memcached"]
fn overwritten_values_are_never_sent() {
    let memcached = Memcached::start(free_port());
    let list = format!("127.0.0.1:{}", memcached.port);
    let tile = |quality: usize| format!("FIF=tessera.tif&QLT={quality}&GAM=1.2&JTL=3,1");
    let own = server(&list, &[]);
    let right: Vec<_> = (1..=40).map(|quality| body(&own, &tile(quality))).collect();
    stored(&memcached, 40);
    let keys = memcached.keys();
    let value = memcached.send(format!("get {}\r\n", keys[0]).as_bytes(), b"END\r\n");
    let start = value.windows(2).position(|pair| pair == b"\r\n").unwrap() + 2;
    let value = &value[start..value.len() - b"\r\nEND\r\n".len()];
    for (turn, key) in keys.iter().enumerate() {
        let forged = match turn % 4 {
            0 => b"garbage".to_vec(),
            1 => value[..value.len() - turn].to_vec(),
            2 => right[turn].clone(),
            // a complete value is valid only under its own key
            _ => value.to_vec(),
        };
        let head = format!("set {key} 0 0 {}\r\n", forged.len());
        let command = [head.as_bytes(), &forged, b"\r\n"].concat();
        assert_eq!(memcached.send(&command, b"\r\n"), b"STORED\r\n");
    }
    let other = server(&list, &[]);
    let hits = memcached.count("get_hits");
    let wrong = (1..=40).filter(|&quality| body(&other, &tile(quality)) != right[quality - 1]);
    assert_eq!(wrong.count(), 0);
    assert_eq!(memcached.count("get_hits") - hits, 40, "every value was fetched");
}

#[test]
#[ignore = "needs memcached"]
fn keys_are_spread_over_several_servers_on_tcp_and_unix_sockets() {
    let folder = Folder::new();
    let path = folder.join("memcached.sock");
    std::fs::set_permissions(
        folder.join(""),
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .unwrap();
    let mut child = Command::new("memcached")
        .args(["-m", "16", "-u", "nobody", "-s"])
        .arg(&path)
        .spawn()
        .unwrap();
    until(|| std::os::unix::net::UnixStream::connect(&path).ok()).expect("memcached listens");
    let memcached = Memcached::start(free_port());
    let list = format!("127.0.0.1:{},{}", memcached.port, path.display());
    let tile = |quality: u32| format!("FIF=tessera.tif&QLT={quality}&GAM=1.2&JTL=3,1");
    let own = server(&list, &[]);
    let first: Vec<_> = (1..=30).map(|quality| body(&own, &tile(quality))).collect();
    let found = until(|| {
        let other = server(&list, &[]);
        let before = lookups("hit");
        let again: Vec<_> = (1..=30).map(|quality| body(&other, &tile(quality))).collect();
        assert_eq!(again, first);
        (lookups("hit") - before == 30).then_some(())
    });
    assert!(found.is_some(), "all answers are found");
    let first_server = memcached.count("curr_items");
    assert!(
        (5..=25).contains(&first_server),
        "{first_server} of 30 on the first server"
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

/// The number of lookups by this process with this outcome.
fn lookups(found: &str) -> u32 {
    let name = format!("iipsrv_cache_lookups_total{{tier=\"memcached\",found=\"{found}\"}} ");
    let text = iipsrv::metrics::get().text();
    let line = text.lines().find_map(|line| line.strip_prefix(&name));
    line.map_or(0, |count| count.parse().unwrap())
}

#[test]
#[ignore = "needs memcached"]
fn answers_expire_as_configured_and_large_ones_are_not_stored() {
    let memcached = Memcached::start(free_port());
    let list = format!("127.0.0.1:{}", memcached.port);
    let short = server(&list, &[("MEMCACHED_TIMEOUT", "1")]);
    let first = body(&short, TILE);
    stored(&memcached, 1);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(body(&server(&list, &[]), TILE), first);
    assert_eq!(memcached.count("get_hits"), 0, "it is over");
    let twice = until(|| (memcached.count("cmd_set") == 2).then_some(()));
    assert!(twice.is_some());

    let plain = server(&list, &[("TIFF_COMPRESSION", "0")]);
    let large = body(&plain, "FIF=tessera.tif&WID=800&CVT=tiff");
    assert!(large.len() > 1_000_000, "{} bytes", large.len());
    // nor is a stored tile, which is cheaper to read than to fetch
    body(&plain, "FIF=tessera.tif&JTL=3,1");
    // once this later answer is stored, the earlier ones would have been
    body(&plain, TILE);
    body(&plain, "FIF=tessera.tif&QLT=72&GAM=1.2&JTL=3,1");
    let third = until(|| (memcached.count("cmd_set") == 3).then_some(()));
    assert!(third.is_some(), "{} were stored", memcached.count("cmd_set"));
}

#[test]
#[ignore = "needs memcached"]
fn a_dead_memcached_is_tried_once_and_used_again_after_its_restart() {
    let port = free_port();
    let memcached = Memcached::start(port);
    let own = server(&format!("127.0.0.1:{port}"), &[]);
    let first = body(&own, TILE);
    drop(memcached);
    let tile = |quality: u32| format!("FIF=tessera.tif&QLT={quality}&GAM=1.2&JTL=3,1");
    for quality in 1..=60 {
        body(&own, &tile(quality));
    }
    let memcached = Memcached::start(port);
    let used = until(|| {
        own.clear().unwrap();
        assert_eq!(body(&own, TILE), first);
        (memcached.count("cmd_set") > 0).then_some(())
    });
    assert!(used.is_some(), "memcached is not used again");
}

#[test]
fn only_one_request_tries_to_connect_to_a_silent_server() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let own = server(&silent.local_addr().unwrap().to_string(), &[]);
    let alone = fixtures(&[]);
    for quality in 1..=20 {
        let tile = format!("FIF=tessera.tif&QLT={quality}&GAM=1.2&JTL=3,1");
        assert_eq!(body(&own, &tile), body(&alone, &tile));
    }
    silent.set_nonblocking(true).unwrap();
    let mut asked = Vec::new();
    while let Ok((mut stream, _)) = silent.accept() {
        let mut line = [0; 5];
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        if stream.read_exact(&mut line).is_ok() {
            asked.push(String::from_utf8_lossy(&line).into_owned());
        }
    }
    let gets = asked.iter().filter(|line| line.starts_with("get")).count();
    assert_eq!(gets, 1, "{asked:?}");
}
