//! A server under mixed load and misuse: every answer is right or a proper refusal, and no resources leak.
//!
//! Runs for 15 seconds; the variant with memcached takes `SOAK=seconds`.

use crate::memcached::Memcached;
use crate::process::Folder;
use crate::process::Server;
use crate::process::free_port;
use crate::process::signal;
use crate::process::until;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// Requests: every protocol, formats that are encoded in bands and whole, and missing images.
const ASKED: [&str; 18] = [
    "/iiif/a.tif/info.json",
    "/iiif/a.tif/0,0,256,256/256,/0/default.jpg",
    "/iiif/a.tif/0,0,300,200/150,/90/gray.png",
    "/iiif/a.tif/full/400,/0/default.webp",
    "/iiif/a.tif/full/600,/33/default.jpg",
    "/iiif/a.tif/full/max/0/default.tif",
    "/iiif/a.tif/full/120,/0/default.gif",
    "/iiif/a.tif/full/120,/0/default.avif",
    "/iiif/a.tif/manifest.json",
    "/fcgi-bin/iipsrv.fcgi?FIF=a.tif&OBJ=IIP,1.0&OBJ=Max-size",
    "/fcgi-bin/iipsrv.fcgi?FIF=a.tif&JTL=1,0",
    "/fcgi-bin/iipsrv.fcgi?FIF=a.tif&CNT=1.5&QLT=60&JTL=1,0",
    "/fcgi-bin/iipsrv.fcgi?FIF=a.tif&PFL=2:0,0-99,50",
    "/deepzoom/a.tif.dzi",
    "/deepzoom/a.tif_files/10/1_1.jpg",
    "/zoomify/a.tif/ImageProperties.xml",
    "/zoomify/a.tif/TileGroup0/0-0-0.jpg",
    "/iiif/nothing.tif/info.json",
];

/// Size of the server's cache in MB.
const CACHE: u64 = 20;

/// Duration of the default run in seconds.
const SHORT: u64 = 15;

/// The number of clients that request large exports and do not read them.
const GREEDY: usize = 200;

fn start(folder: &Folder, memcached: Option<&Memcached>) -> Server {
    let prefix = format!("{}/", folder.join("images").display());
    let servers = memcached.map(|memcached| format!("127.0.0.1:{}", memcached.port));
    Server::start(
        folder
            .command(crate::process::BINARY)
            .env("FILESYSTEM_PREFIX", prefix)
            .env("MAX_IMAGE_CACHE_SIZE", CACHE.to_string())
            .env("QUEUE_LIMIT", "5")
            .env("MEMCACHED_SERVERS", servers.unwrap_or_default()),
    )
}

fn descriptors(server: &Server) -> u64 {
    let path = format!("/proc/{}/fd", server.child.id());
    std::fs::read_dir(path).unwrap().count() as u64
}

/// A number from /proc/PID/status.
fn status(server: &Server, name: &str) -> u64 {
    let path = format!("/proc/{}/status", server.child.id());
    let text = std::fs::read_to_string(path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
    number.unwrap().parse().unwrap()
}

/// Waits until `now` is at most `most`, and fails if it stays above.
fn comes_back(what: &str, most: u64, now: impl Fn() -> u64) {
    let back = until(|| (now() <= most).then_some(()));
    assert!(back.is_some(), "{} {what}, expected at most {most}", now());
}

/// Replaces the served file by a copy with the same pixels.
fn replace(folder: &Folder, from: &Path) {
    std::fs::copy(from, folder.join("images/new")).unwrap();
    std::fs::rename(folder.join("images/new"), folder.join("images/a.tif")).unwrap();
}

/// Sends a large request whose answer is not read, an incomplete request, or garbage.
fn misuse(port: u16, turn: usize) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request = match turn % 5 {
        0 => "GET /iiif/a.tif/full/max/0/default.tif HTTP/1.1\r\nHost: a\r\n\r\n".to_string(),
        1 | 2 => format!(
            "GET /iiif/a.tif/full/{},/7/default.webp HTTP/1.1\r\nHost: a\r\n\r\n",
            1500 + turn % 499
        ),
        3 => "GET /iiif/a.tif/info.json HTTP/1.1\r\nHo".to_string(),
        _ => "\x16\x03\x01\x02\0\x01\0".to_string(),
    };
    let _ = stream.write_all(request.as_bytes());
    Some(stream)
}

/// Stops, continues or replaces the memcached, each once in a hundred turns.
fn disturb(memcached: &mut Memcached, turn: usize) {
    match turn % 100 {
        31 => signal(&memcached.child, "STOP"),
        49 => signal(&memcached.child, "CONT"),
        77 => {
            memcached.stop();
            *memcached = Memcached::start(memcached.port);
        }
        _ => {}
    }
}

#[test]
fn under_load_and_misuse_answers_stay_right_and_nothing_leaks() {
    soak(SHORT, None);
}

#[test]
#[ignore = "needs memcached"]
fn the_same_holds_while_memcached_is_stopped_and_killed() {
    let seconds = std::env::var("SOAK").map_or(SHORT, |text| text.parse().unwrap());
    soak(seconds, Some(Memcached::start(free_port())));
}

fn soak(seconds: u64, mut memcached: Option<Memcached>) {
    let end = Instant::now() + Duration::from_secs(seconds);
    let folder = Folder::new();
    std::fs::create_dir(folder.join("images")).unwrap();
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tessera.tif");
    replace(&folder, &picture);
    let fresh = start(&folder, None);
    let wanted: Vec<_> = ASKED.iter().map(|uri| fresh.get(uri, &[])).collect();
    fresh.stop();
    let server = start(&folder, memcached.as_ref());
    for (uri, wanted) in ASKED.iter().zip(&wanted) {
        assert_eq!(server.get(uri, &[]).status, wanted.status, "{uri}");
    }
    let before = (descriptors(&server), status(&server, "Threads"));
    let (asked, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let wrong: Mutex<Vec<String>> = Mutex::default();
    let over = AtomicBool::new(false);
    std::thread::scope(|threads| {
        for first in 0..8 {
            let (server, wanted, wrong, over) = (&server, &wanted, &wrong, &over);
            let (asked, refused) = (&asked, &refused);
            threads.spawn(move || {
                for turn in first.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let at = turn * 5 % ASKED.len();
                    let answer = server.get(ASKED[at], &[]);
                    asked.fetch_add(1, Ordering::Relaxed);
                    match answer.status {
                        503 | 504 => {
                            refused.fetch_add(1, Ordering::Relaxed);
                        }
                        status if status == wanted[at].status && answer.body == wanted[at].body => {}
                        status => wrong.lock().unwrap().push(format!("{status} for {}", ASKED[at])),
                    }
                }
            });
        }
        let mut held = Vec::new();
        for turn in 0.. {
            if Instant::now() >= end {
                break;
            }
            held.extend(misuse(server.port, turn));
            if held.len() > GREEDY {
                held.drain(..GREEDY / 2);
            }
            if let Some(memcached) = &mut memcached {
                disturb(memcached, turn);
            }
            match turn % 20 {
                7 => replace(&folder, &picture),
                13 => signal(&server.child, "HUP"),
                _ => std::thread::sleep(Duration::from_millis(20)),
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{wrong:?}");
    let (asked, refused) = (asked.into_inner(), refused.into_inner());
    assert!(refused < asked / 2 && asked > 20, "{refused} of {asked} refused");
    // the open image, and descriptors of the runtimes
    comes_back("descriptors", before.0 + 4, || descriptors(&server));
    comes_back("threads", before.1 + 4, || status(&server, "Threads"));
    signal(&server.child, "HUP");
    comes_back("kB", (CACHE + 60) << 10, || status(&server, "RssAnon"));
    let mut last = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    last.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut page = Vec::new();
    last.read_to_end(&mut page).unwrap();
    assert!(page.starts_with(b"HTTP/1.0 200 ") || page.starts_with(b"HTTP/1.1 200 "));
    server.stop();
    let log = folder.log();
    for line in log.lines() {
        let expected = line.contains("Z info ") || line.contains("Z warning memcached 127.0.0.1:");
        assert!(expected, "{line}");
    }
    assert_eq!(
        memcached.is_some(),
        log.contains(" is unreachable, not queried for now")
    );
}
