//! A server that is used and misused for a while: every answer is right or an honest refusal, and nothing is left behind.
//!
//! A quarter of a minute; `SOAK=seconds` for more.

use crate::process::Folder;
use crate::process::Server;
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

/// What is asked: every protocol, formats that are made in bands and in one piece, and what is not there.
const ASKED: [&str; 12] = [
    "/iiif/a.tif/info.json",
    "/iiif/a.tif/0,0,256,256/256,/0/default.jpg",
    "/iiif/a.tif/0,0,300,200/150,/90/gray.png",
    "/iiif/a.tif/full/400,/0/default.webp",
    "/iiif/a.tif/full/600,/33/default.jpg",
    "/iiif/a.tif/full/max/0/default.tif",
    "/fcgi-bin/iipsrv.fcgi?FIF=a.tif&OBJ=IIP,1.0&OBJ=Max-size",
    "/fcgi-bin/iipsrv.fcgi?FIF=a.tif&JTL=1,0",
    "/fcgi-bin/iipsrv.fcgi?FIF=a.tif&CNT=1.5&QLT=60&JTL=1,0",
    "/deepzoom/a.tif.dzi",
    "/zoomify/a.tif/TileGroup0/0-0-0.jpg",
    "/iiif/nothing.tif/info.json",
];

fn start(folder: &Folder) -> Server {
    let prefix = format!("{}/", folder.join("images").display());
    Server::start(
        folder
            .command(crate::process::BINARY)
            .env("FILESYSTEM_PREFIX", prefix)
            .env("QUEUE_LIMIT", "5"),
    )
}

fn descriptors(server: &Server) -> usize {
    let path = format!("/proc/{}/fd", server.child.id());
    std::fs::read_dir(path).unwrap().count()
}

/// Puts another copy of the picture, with the same pixels, in the place of the one that is served.
fn replace(folder: &Folder, from: &Path) {
    std::fs::copy(from, folder.join("images/new")).unwrap();
    std::fs::rename(folder.join("images/new"), folder.join("images/a.tif")).unwrap();
}

/// Peers that ask for much and take little of it, or say half of a request.
fn misuse(port: u16, turn: usize) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    let request: &[u8] = match turn % 4 {
        0 => b"GET /iiif/a.tif/full/max/0/default.tif HTTP/1.1\r\nHost: a\r\n\r\n",
        1 => b"GET /iiif/a.tif/full/1999,/7/default.webp HTTP/1.1\r\nHost: a\r\n\r\n",
        2 => b"GET /iiif/a.tif/info.json HTTP/1.1\r\nHo",
        _ => b"\x16\x03\x01\x02\0\x01\0",
    };
    let _ = stream.write_all(request);
    Some(stream)
}

#[test]
fn what_is_used_and_misused_stays_right_and_leaves_nothing_behind() {
    let seconds = std::env::var("SOAK").ok().and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(15));
    let folder = Folder::new();
    std::fs::create_dir(folder.join("images")).unwrap();
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/tessera.tif");
    replace(&folder, &picture);
    let fresh = start(&folder);
    let wanted: Vec<_> = ASKED.iter().map(|uri| fresh.get(uri, &[])).collect();
    fresh.stop();
    let server = start(&folder);
    let before = descriptors(&server);
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
            if held.len() > 40 {
                held.drain(..20);
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
    // the image that is open, and what the runtimes have taken since
    let back = until(|| (descriptors(&server) <= before + 4).then_some(()));
    assert!(
        back.is_some(),
        "{} descriptors, {before} before",
        descriptors(&server)
    );
    let mut last = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    last.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut page = Vec::new();
    last.read_to_end(&mut page).unwrap();
    assert!(page.starts_with(b"HTTP/1.0 200 ") || page.starts_with(b"HTTP/1.1 200 "));
    server.stop();
    for line in folder.log().lines() {
        assert!(!line.contains("Z error ") && !line.contains("panicked"), "{line}");
    }
}
