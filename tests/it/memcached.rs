//! Do servers that share a memcached share answers, and what happens when it is gone?

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
use std::time::Instant;

/// A memcached of our own.
struct Memcached {
    child: Child,
    port: u16,
}

impl Memcached {
    fn start(port: u16) -> Memcached {
        let child = Command::new("memcached")
            .args(["-l", "127.0.0.1", "-m", "16", "-u", "nobody", "-p"])
            .arg(port.to_string())
            .spawn()
            .expect("memcached is there (tests/run installs it)");
        until(|| TcpStream::connect(("127.0.0.1", port)).ok()).expect("it listens");
        Memcached { child, port }
    }

    /// What it answers, up to this end.
    fn ask(&self, command: &str, end: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(command.as_bytes()).unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(end.as_bytes()) {
            let mut more = [0; 4096];
            let got = stream.read(&mut more).unwrap();
            assert_ne!(got, 0, "it hung up after {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&more[..got]);
        }
        String::from_utf8(answer).unwrap()
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
        let _ = self.child.kill();
        let _ = self.child.wait();
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

#[test]
fn what_one_server_made_another_one_finds() {
    let memcached = Memcached::start(free_port());
    let list = format!("127.0.0.1:{}", memcached.port);
    let first = body(&server(&list, &[]), TILE);
    assert_eq!(
        (memcached.count("curr_items"), memcached.count("get_hits")),
        (1, 0)
    );
    assert_eq!(body(&server(&list, &[]), TILE), first);
    assert_eq!(
        (memcached.count("curr_items"), memcached.count("get_hits")),
        (1, 1)
    );
    assert_eq!(
        body(&fixtures(&[]), TILE),
        first,
        "and it is what is made without"
    );

    // what draws otherwise has a name of its own, and so has another tile
    let marked = body(
        &server(&list, &[("COPYRIGHT", "somebody"), ("MAX_ICC", "0")]),
        TILE,
    );
    assert_eq!(memcached.count("get_hits"), 1);
    assert!(!marked.is_empty());
    body(&server(&list, &[]), "FIF=tessera.tif&QLT=71&GAM=1.2&JTL=3,0");
    let keys = memcached.keys();
    assert_eq!(keys.len(), 3, "{keys:?}");

    // it is really what is stored that is sent
    for key in keys {
        assert_eq!(
            memcached.ask(&format!("set {key} 0 0 3\r\nxyz\r\n"), "\r\n"),
            "STORED\r\n"
        );
    }
    assert_eq!(body(&server(&list, &[]), TILE), b"xyz");
}

#[test]
fn answers_last_as_long_as_they_shall_and_large_ones_are_not_stored() {
    let memcached = Memcached::start(free_port());
    let list = format!("127.0.0.1:{}", memcached.port);
    let short = server(&list, &[("MEMCACHED_TIMEOUT", "1")]);
    let first = body(&short, TILE);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(body(&server(&list, &[]), TILE), first);
    assert_eq!(memcached.count("get_hits"), 0, "it is over");

    let stored = memcached.count("cmd_set");
    let plain = server(&list, &[("TIFF_COMPRESSION", "0")]);
    let large = body(&plain, "FIF=tessera.tif&WID=800&CVT=tiff");
    assert!(large.len() > 1_000_000, "{} bytes", large.len());
    // nor is a stored tile, which costs less than to ask for it
    body(&plain, "FIF=tessera.tif&JTL=3,1");
    assert_eq!(memcached.count("cmd_set"), stored);
}

#[test]
fn a_memcached_that_goes_away_costs_next_to_nothing_and_is_used_again_when_it_is_back() {
    let port = free_port();
    let memcached = Memcached::start(port);
    let own = server(&format!("127.0.0.1:{port}"), &[]);
    body(&own, TILE);
    drop(memcached);
    let tile = |quality: u32| format!("FIF=tessera.tif&QLT={quality}&GAM=1.2&JTL=3,1");
    let started = Instant::now();
    for quality in 1..=60 {
        body(&own, &tile(quality));
    }
    let gone = started.elapsed();
    assert!(
        gone < Duration::from_secs(4),
        "60 answers without it took {gone:?}"
    );
    let memcached = Memcached::start(port);
    let used = until(|| {
        own.clear().unwrap();
        body(&own, TILE);
        (memcached.count("cmd_set") > 0).then_some(())
    });
    assert!(used.is_some(), "it is not used again");
}

#[test]
fn a_server_that_is_silent_delays_one_answer() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let own = server(&silent.local_addr().unwrap().to_string(), &[]);
    let alone = fixtures(&[]);
    let started = Instant::now();
    for quality in 1..=20 {
        let tile = format!("FIF=tessera.tif&QLT={quality}&GAM=1.2&JTL=3,1");
        assert_eq!(body(&own, &tile), body(&alone, &tile));
    }
    let took = started.elapsed();
    assert!(took < Duration::from_secs(4), "20 answers took {took:?}");
}
