//! Masters in remote stores are served like those on disk: the same pixels, few requests, no mixed versions, proper errors.

use crate::jp2::compress;
use crate::process::Folder;
use crate::process::free_port;
use crate::process::signal;
use crate::process::until;
use crate::support::config;
use crate::support::corpus;
use crate::support::fixtures;
use crate::support::http;
use crate::support::text;
use iipsrv::http::Http;
use iipsrv::service::Service;
use std::collections::HashMap;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Write;
use std::net::TcpListener;
use std::net::TcpStream;
use std::ops::Range;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

/// The URI map of these tests.
const MAP: (&str, &str) = ("URI_MAP", "iiif=>IIIF");

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures");

/// A fault of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Fault {
    #[default]
    None,
    /// Closes the connection before it answers.
    Reset,
    /// Announces the length of the body and sends half of it.
    Truncated,
    /// Ignores conditions: sends the bytes and ETag of another version.
    OtherVersion,
    /// Answers 503.
    Busy,
    /// Sends one byte every 50 ms.
    Drip,
    /// Never answers.
    Silent,
}

#[derive(Default)]
struct Held {
    objects: HashMap<String, (String, Vec<u8>)>,
    /// The fault of the next answers, and their number.
    fault: (Fault, usize),
    /// Method, path and range of every request.
    asked: Vec<(String, String, Option<Range<usize>>)>,
}

/// An HTTP store in this process with ETag, ranges, If-Match and faults.
struct Store {
    port: u16,
    held: Arc<Mutex<Held>>,
}

impl Store {
    fn start(objects: impl IntoIterator<Item = (String, Vec<u8>)>) -> Store {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let held = Arc::new(Mutex::new(Held {
            objects: objects
                .into_iter()
                .map(|(name, bytes)| (format!("/m/{name}"), ("\"1\"".to_string(), bytes)))
                .collect(),
            ..Held::default()
        }));
        let shared = held.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let held = shared.clone();
                std::thread::spawn(move || serve(&held, &stream));
            }
        });
        Store { port, held }
    }

    fn of_fixtures() -> Store {
        Store::start(masters().map(|name| {
            let bytes = std::fs::read(Path::new(FIXTURES).join(&name)).unwrap();
            (name, bytes)
        }))
    }

    fn service(&self, vars: &[(&str, &str)]) -> Service {
        let prefix = format!("http://127.0.0.1:{}/m/", self.port);
        let own = [("FILESYSTEM_PREFIX", prefix.as_str()), MAP];
        Service::new(config(&[vars, &own].concat()))
    }

    fn put(&self, name: &str, etag: &str, bytes: &[u8]) {
        let object = (etag.into(), bytes.into());
        self.held
            .lock()
            .unwrap()
            .objects
            .insert(format!("/m/{name}"), object);
    }

    fn fail(&self, fault: Fault, times: usize) {
        self.held.lock().unwrap().fault = (fault, times);
    }

    /// The ranges requested since the last call.
    fn ranges(&self) -> Vec<Range<usize>> {
        let asked = std::mem::take(&mut self.held.lock().unwrap().asked);
        asked.into_iter().filter_map(|(_, _, range)| range).collect()
    }

    /// The number of requests since the last call.
    fn requests(&self) -> usize {
        std::mem::take(&mut self.held.lock().unwrap().asked).len()
    }
}

fn serve(held: &Mutex<Held>, stream: &TcpStream) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line.trim().is_empty() {
                break;
            }
            head.push(line.trim().to_string());
        }
        let mut words = head.first()?.split(' ');
        let (method, path) = (words.next()?.to_string(), words.next()?.to_string());
        let line = |name: &str| {
            head.iter().find_map(|line| {
                let (key, value) = line.split_once(": ")?;
                key.eq_ignore_ascii_case(name).then(|| value.to_string())
            })
        };
        let range = line("range").and_then(|text| {
            let (start, end) = text.strip_prefix("bytes=")?.split_once('-')?;
            Some(start.parse::<usize>().ok()?..end.parse::<usize>().ok()? + 1)
        });
        let (fault, object) = {
            let mut held = held.lock().unwrap();
            held.asked.push((method.clone(), path.clone(), range.clone()));
            let fault = if held.fault.1 > 0 {
                held.fault.0
            } else {
                Fault::None
            };
            held.fault.1 = held.fault.1.saturating_sub(1);
            (fault, held.objects.get(&path).cloned())
        };
        answer(stream, &method, range, line("if-match"), fault, object)?;
    }
}

fn answer(
    mut stream: &TcpStream,
    method: &str,
    range: Option<Range<usize>>,
    condition: Option<String>,
    fault: Fault,
    object: Option<(String, Vec<u8>)>,
) -> Option<()> {
    let mut plain = |status: &str| write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").ok();
    match fault {
        Fault::Reset => return None,
        Fault::Busy => return plain("503 Service Unavailable"),
        Fault::Silent => {
            std::thread::sleep(Duration::from_secs(30));
            return None;
        }
        _ => {}
    }
    let Some((mut etag, mut bytes)) = object else {
        return plain("404 Not Found");
    };
    if fault == Fault::OtherVersion {
        etag = "\"other\"".into();
        bytes.iter_mut().for_each(|byte| *byte = !*byte);
    } else if condition.is_some_and(|wanted| wanted != etag) {
        return plain("412 Precondition Failed");
    }
    let len = bytes.len();
    let (status, part) = match range {
        Some(range) if range.start >= len => return plain("416 Range Not Satisfiable"),
        Some(range) => ("206 Partial Content", range.start..range.end.min(len)),
        None => ("200 OK", 0..len),
    };
    let content_range = match status {
        "200 OK" => String::new(),
        _ => format!("Content-Range: bytes {}-{}/{len}\r\n", part.start, part.end - 1),
    };
    let modified = "Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
    write!(
        stream,
        "HTTP/1.1 {status}\r\nETag: {etag}\r\n{modified}{content_range}Content-Length: {}\r\n\r\n",
        part.len()
    )
    .ok()?;
    if method == "HEAD" {
        return Some(());
    }
    let body = &bytes[part];
    match fault {
        Fault::Truncated => {
            stream.write_all(&body[..body.len() / 2]).ok()?;
            None
        }
        Fault::Drip => {
            for byte in body {
                stream.write_all(&[*byte]).ok()?;
                std::thread::sleep(Duration::from_millis(50));
            }
            Some(())
        }
        _ => stream.write_all(body).ok(),
    }
}

/// The names of the pictures in `fixtures/`.
fn masters() -> impl Iterator<Item = String> {
    let entries = std::fs::read_dir(FIXTURES).unwrap();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| iipsrv::source::file_format::FileFormat::named(name).is_some())
        .collect();
    names.sort();
    assert!(names.len() > 3, "{names:?}");
    names.into_iter()
}

fn ask(service: &Service, uri: &str) -> (u16, Vec<u8>) {
    let reply = service.respond(Http::get(uri));
    (reply.status, reply.body.to_vec())
}

/// Requests that read all levels of a picture.
fn views(name: &str) -> [String; 5] {
    [
        "info.json",
        "full/max/0/default.png",
        "full/200,/0/default.jpg",
        "0,0,256,256/256,/0/default.jpg",
        "pct:30,30,20,20/max/90/default.png",
    ]
    .map(|view| format!("/iiif/{name}/{view}"))
}

#[track_caller]
fn same_as_on_disk(service: &Service, name: &str) {
    let local = fixtures(&[MAP]);
    for view in views(name) {
        let (status, body) = ask(&local, &view);
        assert!(status == 200 || !view.ends_with("info.json"), "{view}: {status}");
        let (remote, other) = ask(service, &view);
        assert_eq!(remote, status, "{view}: {}", String::from_utf8_lossy(&other));
        assert!(body == other, "{view} is another");
    }
}

#[test]
fn every_picture_is_the_same_from_a_store() {
    let store = Store::of_fixtures();
    let service = store.service(&[]);
    for name in masters() {
        same_as_on_disk(&service, &name);
    }
}

#[test]
fn the_first_tile_takes_few_requests_and_later_ones_at_most_one() {
    let store = Store::of_fixtures();
    let service = store.service(&[]);
    let tile = |col: u32, row: u32| {
        let uri = format!(
            "/iiif/tessera.tif/{},{},256,256/256,/0/default.jpg",
            col * 256,
            row * 256
        );
        assert_eq!(ask(&service, &uri).0, 200, "{uri}");
        store.requests()
    };
    let first = tile(0, 0);
    assert!((1..=4).contains(&first), "{first} requests");
    for (col, row) in [(1, 0), (3, 2), (2, 3), (0, 1)] {
        let more = tile(col, row);
        assert!(more <= 1, "{more} requests for {col},{row}");
    }
}

#[test]
#[ignore = "needs CORPUS"]
fn every_file_of_the_corpus_is_the_same_from_a_store() {
    let corpus = corpus();
    let store = Store::start([]);
    let far = store.service(&[]);
    let near = Service::new(config(&[
        ("FILESYSTEM_PREFIX", format!("{}/", corpus.display()).as_str()),
        MAP,
    ]));
    let mut tried = 0;
    for folder in ["tiff", "jp2", "jpeg", "photos", "reports", "bad"] {
        for entry in std::fs::read_dir(corpus.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()) else {
                continue;
            };
            if !path.is_file()
                || !name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
            {
                continue;
            }
            let id = format!("{folder}/{name}");
            store.put(&id, "\"1\"", &std::fs::read(&path).unwrap());
            let view = |view: &str| format!("/iiif/{folder}%2F{name}/{view}");
            let info = ask(&near, &view("info.json")).0;
            assert_eq!(ask(&far, &view("info.json")).0, info, "{id}");
            // names and errors of a store differ from those of files
            for uri in [
                view("full/^!700,700/0/default.png"),
                view("pct:40,40,20,20/200,/0/default.jpg"),
            ] {
                let (wanted, got) = (ask(&near, &uri), ask(&far, &uri));
                assert_eq!(got.0, wanted.0, "{uri}");
                assert!(got == wanted || wanted.0 != 200, "{uri} is another");
            }
            store.held.lock().unwrap().objects.clear();
            tried += usize::from(info == 200);
        }
    }
    assert!(tried > 100, "{tried} files");
}

/// A TIFF pyramid in tiles of 256 x 256 grey pixels; the directory of each level follows its data, as libtiff writes it.
fn behind(side: u32) -> Vec<u8> {
    let mut file = b"II*\0\0\0\0\0".to_vec();
    let mut link = 4;
    let mut noise = 1_u32;
    let sides = std::iter::successors(Some(side), |side| Some(side / 2));
    for side in sides.take_while(|side| *side >= 256) {
        let (tile, count) = (256 * 256_u32, (side / 256).pow(2));
        let start = u32::try_from(file.len()).unwrap();
        file.extend((0..tile * count).map(|_| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (noise >> 24) as u8
        }));
        let at = u32::try_from(file.len()).unwrap();
        file[link..link + 4].copy_from_slice(&at.to_le_bytes());
        let offsets: Vec<u32> = (0..count).map(|index| start + index * tile).collect();
        let arrays = at + 2 + 11 * 12 + 4;
        let place = |value: u32, array: u32| if count == 1 { value } else { array };
        let entries = [
            (254_u16, 4_u16, 1, u32::from(link != 4)),
            (256, 4, 1, side),
            (257, 4, 1, side),
            (258, 3, 1, 8),
            (259, 3, 1, 1),
            (262, 3, 1, 1),
            (277, 3, 1, 1),
            (322, 3, 1, 256),
            (323, 3, 1, 256),
            (324, 4, count, place(start, arrays)),
            (325, 4, count, place(tile, arrays + 4 * count)),
        ];
        file.extend(11_u16.to_le_bytes());
        for (tag, kind, count, value) in entries {
            file.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
            file.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
        }
        link = file.len();
        file.extend([0; 4]);
        if count > 1 {
            offsets
                .iter()
                .for_each(|offset| file.extend(offset.to_le_bytes()));
            (0..count).for_each(|_| file.extend(tile.to_le_bytes()));
        }
    }
    file
}

#[test]
fn directories_after_each_level_take_few_requests_and_answers_report_the_number() {
    let file = behind(2048);
    let store = Store::start([("a.tif".into(), file)]);
    let service = store.service(&[("SERVER_TIMING", "1")]);
    let ask = |uri: &str| {
        store.requests();
        let reply = service.respond(Http::get(uri));
        assert_eq!(reply.status, 200, "{uri}: {}", text(&reply));
        let ranges = store.ranges();
        let bytes: usize = ranges.iter().map(ExactSizeIterator::len).sum();
        let timing = reply.header("Server-Timing").unwrap().to_string();
        let expected = format!("store;desc=\"{} requests, {bytes} bytes\", ", ranges.len());
        assert_eq!(timing.contains("store;"), !ranges.is_empty(), "{timing}");
        assert!(
            ranges.is_empty() || timing.starts_with(&expected),
            "{timing}, not {expected}"
        );
        ranges.len()
    };
    let tile = |level: u32, x: u32| {
        let side = 256 << level;
        format!("/iiif/a.tif/{},0,{side},{side}/256,/0/default.jpg", x * side)
    };
    let first = ask(&tile(0, 0));
    assert!((1..=4).contains(&first), "{first} requests");
    for (level, x) in [(0, 3), (0, 7), (1, 1), (2, 1), (3, 0)] {
        let more = ask(&tile(level, x));
        assert!(more <= 1, "{more} requests for {level},{x}");
    }
    assert_eq!(ask(&tile(0, 3)), 0, "the tile is in the cache");
}

#[test]
#[ignore = "needs opj_compress"]
fn tiles_of_jpeg_2000_take_few_requests() {
    let folder = Folder::new();
    let picture = folder.join("noise.pgm");
    let mut noise = 1_u32;
    let mut bytes = b"P5\n2048 2048\n255\n".to_vec();
    bytes.extend((0..2048 * 2048).map(|_| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    }));
    std::fs::write(&picture, bytes).unwrap();
    for (options, most) in [
        // with the length of every tile-part
        ("-t 256,256 -TLM", [3, 1]),
        // with the length of every packet
        ("-p RPCL -c [256,256] -PLT", [6, 3]),
        // without lengths, each header is read once
        ("-p RPCL -c [256,256]", [8, 0]),
    ] {
        let stream = folder.join("a.jp2");
        compress(&picture, &stream, options);
        let store = Store::start([("a.jp2".into(), std::fs::read(&stream).unwrap())]);
        let service = store.service(&[("MAX_IMAGE_CACHE_SIZE", "0")]);
        let tile = |x: u32, y: u32| {
            store.requests();
            let uri = format!("/iiif/a.jp2/{},{},256,256/256,/0/default.jpg", x * 256, y * 256);
            assert_eq!(ask(&service, &uri).0, 200, "{options}");
            store.ranges()
        };
        let first = tile(5, 5);
        assert!((1..=most[0]).contains(&first.len()), "{options}: {first:?}");
        for (x, y) in [(1, 1), (6, 2), (3, 7)] {
            let more = tile(x, y);
            assert!(more.len() <= most[1], "{options}: {x},{y}: {more:?}");
        }
    }
}

#[test]
fn an_export_fetches_no_byte_twice() {
    for name in masters() {
        let store = Store::of_fixtures();
        let service = store.service(&[]);
        let reply = ask(&service, &format!("/iiif/{name}/full/max/0/default.jpg"));
        if reply.0 != 200 {
            continue;
        }
        let mut ranges = store.ranges();
        let length = std::fs::metadata(Path::new(FIXTURES).join(&name)).unwrap().len() as usize;
        ranges.sort_by_key(|range| range.start);
        for pair in ranges.windows(2) {
            assert!(pair[0].end <= pair[1].start, "{name}: {ranges:?}");
        }
        assert!(
            ranges.len() <= 4 + length / (256 << 10),
            "{name}: {} requests",
            ranges.len()
        );
    }
}

#[test]
fn frequently_read_blocks_do_not_evict_announced_ones() {
    let files = ["a.tif", "b.tif"].map(|name| (name.to_string(), behind(4096)));
    let store = Store::start(files);
    let service = store.service(&[("STORE_CACHE_SIZE", "8"), ("MAX_IMAGE_CACHE_SIZE", "0")]);
    let tile = |x: u32| format!("/iiif/a.tif/{},0,256,256/256,/0/default.jpg", x * 256);
    for x in (0..3).flat_map(|_| 0..16) {
        assert_eq!(ask(&service, &tile(x)).0, 200);
    }
    assert_eq!(ask(&service, "/iiif/b.tif/info.json").0, 200);
    store.requests();
    assert_eq!(ask(&service, "/iiif/b.tif/full/max/0/default.jpg").0, 200);
    let mut ranges = store.ranges();
    ranges.sort_by_key(|range| range.start);
    for pair in ranges.windows(2) {
        assert!(pair[0].end <= pair[1].start, "{ranges:?}");
    }
    assert!(ranges.len() < 100, "{} requests", ranges.len());
}

/// A JPEG that is mostly read after opening.
fn large() -> Vec<u8> {
    std::fs::read(Path::new(FIXTURES).join("tessera.tif")).unwrap()
}

const TILE: &str = "/iiif/a.tif/full/max/0/default.jpg";

#[test]
fn transient_faults_are_retried() {
    let want = ask(&fixtures(&[MAP]), "/iiif/tessera.tif/full/max/0/default.jpg");
    for fault in [Fault::Reset, Fault::Truncated, Fault::Busy] {
        let store = Store::start([("a.tif".into(), large())]);
        let service = store.service(&[]);
        store.fail(fault, 2);
        assert!(ask(&service, TILE) == want, "{fault:?}");
    }
}

#[test]
fn a_store_that_is_down_gives_a_502_and_a_slow_one_a_504_in_time() {
    let store = Store::start([("a.tif".into(), large())]);
    let vars = [("STORE_TIMEOUT", "1")];
    for (fault, wanted) in [
        (Fault::Reset, 502),
        (Fault::Truncated, 502),
        (Fault::Busy, 502),
        (Fault::Drip, 504),
        (Fault::Silent, 504),
    ] {
        store.fail(fault, usize::MAX);
        let (service, start) = (store.service(&vars), Instant::now());
        let (status, body) = ask(&service, TILE);
        let message = String::from_utf8_lossy(&body);
        // a busy store is retried until the time limit
        assert!(
            status == wanted || (wanted == 502 && status == 504),
            "{fault:?}: {status}"
        );
        assert!(
            !message.contains("127.0.0.1") && !message.contains("http"),
            "{message}"
        );
        assert!(start.elapsed() < Duration::from_secs(15), "{fault:?}");
        store.fail(Fault::None, 0);
        assert_eq!(ask(&service, TILE).0, 200, "after {fault:?}");
    }
    let nobody = format!("http://127.0.0.1:{}/", free_port());
    let gone = config(&[("FILESYSTEM_PREFIX", nobody.as_str()), vars[0], MAP]);
    let status = ask(&Service::new(gone), TILE).0;
    assert!([502, 504].contains(&status), "{status}");
}

#[test]
fn versions_are_never_mixed() {
    let store = Store::start([("a.tif".into(), large())]);
    let service = store.service(&[("STORE_TTL", "3600"), ("STORE_CACHE_SIZE", "1")]);
    let info = "/iiif/a.tif/info.json";
    assert_eq!(ask(&service, info).0, 200);
    store.requests();
    // another picture of the same name and layout
    let other = std::fs::read(Path::new(FIXTURES).join("tessera.tif")).unwrap();
    store.put("a.tif", "\"2\"", &other);
    let (status, _) = ask(&service, TILE);
    assert!([200, 503].contains(&status), "{status}");
    assert_eq!(ask(&service, TILE).0, 200, "the image was opened again");
    // a store without conditional requests
    store.fail(Fault::OtherVersion, usize::MAX);
    let service = store.service(&[]);
    store.fail(Fault::None, 0);
    assert_eq!(ask(&service, info).0, 200);
    store.fail(Fault::OtherVersion, usize::MAX);
    let (status, _) = ask(&service, TILE);
    assert!(status != 200, "an answer with bytes of two versions");
}

#[test]
fn a_change_is_noticed_after_the_time_to_live() {
    let store = Store::start([("a.tif".into(), large())]);
    let service = store.service(&[("STORE_TTL", "1")]);
    let etag = || {
        let reply = service.respond(Http::get("/iiif/a.tif/info.json"));
        assert_eq!(reply.status, 200, "{}", text(&reply));
        reply.header("ETag").unwrap().to_string()
    };
    let before = etag();
    assert_eq!(etag(), before);
    store.put("a.tif", "\"2\"", &large());
    std::thread::sleep(Duration::from_millis(1100));
    assert_ne!(etag(), before, "the first answer after that time");
    store.held.lock().unwrap().objects.clear();
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(
        ask(&service, "/iiif/a.tif/info.json").0,
        404,
        "the object was deleted"
    );
}

#[test]
fn missing_objects_and_objects_that_are_no_images_are_404() {
    let store = Store::start([
        ("text.tif".into(), b"no image at all".to_vec()),
        ("empty.tif".into(), Vec::new()),
    ]);
    let service = store.service(&[]);
    for name in ["text.tif", "empty.tif", "nothing.tif", "%2e%2e/a.tif"] {
        let (status, body) = ask(&service, &format!("/iiif/{name}/info.json"));
        assert_eq!(status, 404, "{name}: {}", String::from_utf8_lossy(&body));
    }
}

#[test]
fn prefixes_select_stores_and_all_other_names_are_files() {
    let store = Store::of_fixtures();
    let stores = format!("far=>http://127.0.0.1:{}/m, near=>{FIXTURES}", store.port);
    let service = fixtures(&[("STORES", stores.as_str()), MAP]);
    let view = |name: &str| ask(&service, &format!("/iiif/{name}/full/200,/0/default.jpg"));
    let want = view("tessera.tif");
    assert_eq!(want.0, 200);
    assert_eq!(store.requests(), 0);
    assert!(view("near%2Ftessera.tif") == want);
    assert_eq!(store.requests(), 0);
    assert!(view("far%2Ftessera.tif") == want);
    assert!(store.requests() > 0);
    store.fail(Fault::Busy, usize::MAX);
    assert_eq!(view("tessera.tif").0, 200, "names without a prefix are files");
}

#[test]
fn adjacent_blocks_are_fetched_together_and_each_block_only_once() {
    let store = Store::start([("a.tif".into(), large())]);
    let service = store.service(&[]);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(ask(&service, TILE).0, 200));
        }
    });
    let mut ranges = store.ranges();
    // up to eight requests may open the image at once, each with a HEAD request
    ranges.retain(|range| range.start > 0);
    ranges.sort_by_key(|range| range.start);
    for pair in ranges.windows(2) {
        assert!(pair[0].end <= pair[1].start, "{ranges:?}");
    }
}

/// A child process and its folder; killed and removed when dropped.
pub struct Server {
    pub child: Child,
    /// Removed with the server.
    pub folder: Option<PathBuf>,
}

impl Server {
    /// Waits until the process listens on the port.
    pub fn listening(child: Child, folder: Option<PathBuf>, port: u16) -> Server {
        let server = Server { child, folder };
        until(|| TcpStream::connect(("127.0.0.1", port)).ok()).expect("the server listens");
        server
    }

    /// nginx with `conf` in its `http` block, listening on the port; its files are in the folder.
    pub fn nginx(folder: PathBuf, conf: &str, port: u16) -> Server {
        let conf = format!(
            "daemon off; master_process off; pid {0}/pid; error_log {0}/error.log;\nevents {{}}\nhttp {{ access_log off; \
             client_body_temp_path {0}; proxy_temp_path {0}; fastcgi_temp_path {0}; uwsgi_temp_path {0}; \
             scgi_temp_path {0};\n{conf}}}\n",
            folder.display()
        );
        std::fs::write(folder.join("conf"), conf).unwrap();
        let child = Command::new("nginx")
            .args(["-c".as_ref(), folder.join("conf").as_os_str()])
            .args(["-e".as_ref(), folder.join("error.log").as_os_str()])
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed (tests/run installs it)");
        Server::listening(child, Some(folder), port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(folder) = &self.folder {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// A new folder; tests run at the same time in one process.
fn folder(name: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("iipsrv-stores-{}-{number}-{name}", std::process::id()));
    std::fs::create_dir_all(folder.join("bucket/masters")).unwrap();
    folder
}

#[test]
#[ignore = "needs nginx"]
fn nginx_serves_as_a_store() {
    let (folder, port) = (folder("nginx"), free_port());
    for name in masters() {
        std::os::unix::fs::symlink(Path::new(FIXTURES).join(&name), folder.join("bucket").join(&name))
            .unwrap();
    }
    let conf = format!(
        "server {{ listen 127.0.0.1:{port}; root {}/bucket; }}\n",
        folder.display()
    );
    let _server = Server::nginx(folder, &conf, port);
    let prefix = format!("http://127.0.0.1:{port}/");
    let service = Service::new(config(&[("FILESYSTEM_PREFIX", prefix.as_str()), MAP]));
    for name in masters() {
        same_as_on_disk(&service, &name);
    }
}

/// An S3 server that checks signatures, with the fixtures in `bucket/masters`.
pub fn s3() -> (Server, u16) {
    let (folder, port) = (folder("s3"), free_port());
    for name in masters() {
        std::fs::copy(
            Path::new(FIXTURES).join(&name),
            folder.join("bucket/masters").join(&name),
        )
        .unwrap();
    }
    let child = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/target/s3s/bin/s3s-fs"))
        .args([
            "--host",
            "127.0.0.1",
            "--access-key",
            "known",
            "--secret-key",
            "secret",
            "--port",
        ])
        .arg(port.to_string())
        .arg(&folder)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("s3s-fs is installed (tests/run installs it)");
    (Server::listening(child, Some(folder), port), port)
}

/// The daemon over HTTP with masters at this prefix of the S3 server.
fn daemon(folder: &Folder, s3: u16, prefix: &str, key: &str) -> (Command, u16) {
    let port = free_port();
    let mut command = folder.command(env!("CARGO_BIN_EXE_iipsrv"));
    command
        .env("FILESYSTEM_PREFIX", prefix)
        .env("AWS_ENDPOINT", format!("http://127.0.0.1:{s3}"))
        .env("AWS_REGION", "us-east-1")
        .env("STORE_TIMEOUT", "5")
        .arg("--http")
        .arg(format!("127.0.0.1:{port}"));
    if !key.is_empty() {
        command
            .env("AWS_ACCESS_KEY_ID", key)
            .env("AWS_SECRET_ACCESS_KEY", "secret");
    }
    (command, port)
}

#[test]
#[ignore = "needs s3s-fs"]
fn an_s3_bucket_is_served_and_no_secret_is_logged() {
    let (_s3, s3_port) = s3();
    let files = Folder::new();
    let (mut command, port) = daemon(&files, s3_port, "s3://bucket/masters/", "known");
    // with a warning it would not start
    command.arg("--strict");
    let _daemon = Server {
        child: command.spawn().unwrap(),
        folder: None,
    };
    until(|| TcpStream::connect(("127.0.0.1", port)).ok()).expect("the server listens");
    let local = fixtures(&[MAP]);
    for name in masters() {
        let view = format!("/iiif/{name}/full/200,/0/default.jpg");
        let answer = http(port, "GET", &view, &[("Host", "x")], "");
        let (status, body) = ask(&local, &view);
        assert_eq!(answer.status, status, "{view}: {}", files.log());
        assert!(answer.body == body, "{view}");
    }
    assert_eq!(
        http(port, "GET", "/iiif/nothing.tif/info.json", &[("Host", "x")], "").status,
        404
    );
    let log = files.log();
    assert!(log.contains("FILESYSTEM_PREFIX=s3://bucket/masters/"), "{log}");
    assert!(!log.contains("secret") && !log.contains("Signature"), "{log}");
}

#[test]
#[ignore = "needs s3s-fs"]
fn an_unusable_store_prevents_the_start_with_one_line() {
    let (_s3, s3_port) = s3();
    for (prefix, key, why) in [
        ("s3://bucket/masters/", "unknown", "the credentials are refused"),
        (
            "s3://nothing/masters/",
            "known",
            "s3://nothing/masters/: no such bucket",
        ),
        ("s3://bucket/masters/", "", "no credentials were found"),
        ("s3:///masters/", "known", "should be SCHEME://BUCKET/FOLDER/"),
        ("ftp://user:secret@host/x/", "known", "not known"),
    ] {
        let files = Folder::new();
        let (mut command, _) = daemon(&files, s3_port, prefix, key);
        let output = command.output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{prefix}: {message}");
        assert!(
            message.contains(why) && message.lines().count() == 1,
            "{prefix}: {message}"
        );
        let checked = command.arg("--check-config").output().unwrap();
        let report = String::from_utf8_lossy(&checked.stdout).into_owned();
        let warnings: Vec<_> = report
            .lines()
            .filter(|line| line.starts_with("warning: "))
            .collect();
        assert_eq!(checked.status.code(), Some(1), "{prefix}: {report}");
        assert!(
            warnings.len() == 1 && warnings[0].contains(why),
            "{prefix}: {report}"
        );
        for text in [&message, &report, &files.log()] {
            assert!(!text.contains("secret"), "{text}");
        }
    }
}

#[test]
fn a_store_that_is_down_at_the_start_is_logged_and_served_once_it_is_up() {
    let (files, port, far) = (Folder::new(), free_port(), free_port());
    let mut command = files.command(env!("CARGO_BIN_EXE_iipsrv"));
    command
        .env(
            "FILESYSTEM_PREFIX",
            format!("http://user:secret@127.0.0.1:{far}/"),
        )
        .env("STORE_TIMEOUT", "2")
        .args(["--http", &format!("127.0.0.1:{port}")]);
    let _daemon = Server {
        child: command.spawn().unwrap(),
        folder: None,
    };
    until(|| TcpStream::connect(("127.0.0.1", port)).ok()).expect("the server listens");
    let message = format!("http://127.0.0.1:{far}/: cannot be reached now: ");
    files.wait_for(&message);
    assert!(!files.log().contains("secret"), "{}", files.log());
    let status = http(port, "GET", "/iiif/a.tif/info.json", &[("Host", "x")], "").status;
    assert!([502, 504].contains(&status), "{status}");
}

/// The daemon over masters in this store, with a disk cache.
#[cfg(feature = "disk-cache")]
fn with_disk(files: &Folder, store: &Store) -> (Server, u16) {
    let port = free_port();
    let mut command = files.command(env!("CARGO_BIN_EXE_iipsrv"));
    command
        .env("FILESYSTEM_PREFIX", format!("http://127.0.0.1:{}/m/", store.port))
        .env("DISK_CACHE", files.join("cache"))
        .env("DISK_CACHE_SIZE", "128")
        .env("MAX_IMAGE_CACHE_SIZE", "0")
        .arg("--http")
        .arg(format!("127.0.0.1:{port}"));
    let server = Server {
        child: command.spawn().unwrap(),
        folder: None,
    };
    until(|| TcpStream::connect(("127.0.0.1", port)).ok()).expect("the server listens");
    (server, port)
}

#[cfg(feature = "disk-cache")]
fn bytes_fetched(store: &Store) -> usize {
    store.ranges().iter().map(ExactSizeIterator::len).sum()
}

#[cfg(feature = "disk-cache")]
#[test]
fn blocks_in_the_disk_cache_are_not_fetched_again_after_a_restart() {
    let files = Folder::new();
    let store = Store::start([("a.tif".into(), large())]);
    let want = ask(&fixtures(&[MAP]), "/iiif/tessera.tif/full/max/0/default.jpg").1;
    let (mut daemon, port) = with_disk(&files, &store);
    assert!(http(port, "GET", TILE, &[("Host", "x")], "").body == want);
    let cold = bytes_fetched(&store);
    signal(&daemon.child, "TERM");
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
    let (_daemon, port) = with_disk(&files, &store);
    assert!(http(port, "GET", TILE, &[("Host", "x")], "").body == want);
    let warm = bytes_fetched(&store);
    // the first block, and one byte to check the version
    assert!(
        warm <= (256 << 10) + 1 && warm * 3 < cold,
        "{warm} bytes, {cold} before"
    );
}

#[cfg(feature = "disk-cache")]
#[test]
fn a_killed_server_leaves_a_disk_cache_that_is_valid_or_empty() {
    let files = Folder::new();
    let store = Store::start([("a.tif".into(), large())]);
    let want = ask(&fixtures(&[MAP]), "/iiif/tessera.tif/full/max/0/default.jpg").1;
    for pause in [0, 1, 5, 20, 50, 100] {
        let (mut daemon, port) = with_disk(&files, &store);
        assert!(
            http(port, "GET", TILE, &[("Host", "x")], "").body == want,
            "{pause}"
        );
        std::thread::sleep(Duration::from_millis(pause));
        daemon.child.kill().unwrap();
        daemon.child.wait().unwrap();
    }
    // a new version is not served from the cache of the old one
    let other = std::fs::read(Path::new(FIXTURES).join("rgba.tif")).unwrap();
    let other_want = ask(&fixtures(&[MAP]), "/iiif/rgba.tif/full/max/0/default.jpg").1;
    store.put("a.tif", "\"2\"", &other);
    let (_daemon, port) = with_disk(&files, &store);
    assert!(http(port, "GET", TILE, &[("Host", "x")], "").body == other_want);
}

/// The daemon over a folder, with a disk cache and metrics.
#[cfg(feature = "disk-cache")]
fn local_with_disk(files: &Folder) -> (Server, u16, u16) {
    let (port, admin) = (free_port(), free_port());
    let mut command = files.command(env!("CARGO_BIN_EXE_iipsrv"));
    command
        .env("DISK_CACHE", files.join("cache"))
        .env("DISK_CACHE_SIZE", "128")
        .env("MAX_IMAGE_CACHE_SIZE", "4000")
        .env("FILESYSTEM_PREFIX", files.join("images/"))
        .args(["--http", &format!("127.0.0.1:{port}")])
        .args(["--admin", &format!("127.0.0.1:{admin}")]);
    let server = Server {
        child: command.spawn().unwrap(),
        folder: None,
    };
    until(|| TcpStream::connect(("127.0.0.1", port)).ok()).expect("the server listens");
    (server, port, admin)
}

#[cfg(feature = "disk-cache")]
#[test]
fn answers_and_derived_levels_survive_a_restart() {
    let files = Folder::new();
    // a PNG has a single level
    let whole = ask(&fixtures(&[MAP]), "/iiif/tessera.tif/full/max/0/default.png").1;
    std::fs::create_dir(files.join("images")).unwrap();
    std::fs::write(files.join("images/a.png"), whole).unwrap();
    let view = |x: u32| format!("/iiif/a.png/{x},0,1600,1600/100,/0/default.png");
    let get = |port: u16, uri: &str| {
        let answer = http(port, "GET", uri, &[("Host", "x")], "");
        assert_eq!(answer.status, 200, "{uri}: {}", files.log());
        answer.body
    };
    let (mut daemon, port, _) = local_with_disk(&files);
    let first = get(port, &view(0));
    assert!(files.wait_for(" 200 ").contains(" made "), "{}", files.log());
    signal(&daemon.child, "TERM");
    assert_eq!(daemon.child.wait().unwrap().code(), Some(0));
    std::fs::remove_file(files.join("log")).unwrap();
    let (_daemon, port, admin) = local_with_disk(&files);
    assert!(get(port, &view(0)) == first);
    assert!(files.wait_for(" 200 ").contains(" disk "), "{}", files.log());
    let hits = || {
        let metrics = String::from_utf8(get(admin, "/metrics")).unwrap();
        let name = "iipsrv_cache_lookups_total{tier=\"disk\",found=\"hit\"} ";
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or("0").parse::<u32>().unwrap()
    };
    assert_eq!(hits(), 1, "the answer");
    let other = get(port, &view(30));
    assert_eq!(hits(), 2, "the level that another answer needs");
    let images = format!("{}/", files.join("images").display());
    let local = Service::new(config(&[("FILESYSTEM_PREFIX", images.as_str()), MAP]));
    assert!(other == ask(&local, &view(30)).1);
}

#[cfg(feature = "disk-cache")]
#[test]
#[ignore = "needs unshare and a tmpfs"]
fn a_full_disk_is_logged_once_and_requests_are_served() {
    let files = Folder::new();
    let store = Store::start([("a.tif".into(), behind(8192))]);
    let (port, cache) = (free_port(), files.join("cache"));
    std::fs::create_dir(&cache).unwrap();
    let mut command = files.command("unshare");
    // a file system smaller than the limit of the cache
    command
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("FILESYSTEM_PREFIX", format!("http://127.0.0.1:{}/m/", store.port))
        .env("DISK_CACHE", &cache)
        .env("DISK_CACHE_SIZE", "128")
        .env("STORE_CACHE_SIZE", "2")
        .env("MAX_CVT", "20000")
        .args(["-rm", "sh", "-c"])
        .arg("mount -t tmpfs -o size=20m none \"$DISK_CACHE\" && exec \"$0\" \"$@\"")
        .arg(env!("CARGO_BIN_EXE_iipsrv"))
        .args(["--http", &format!("127.0.0.1:{port}")]);
    let _daemon = Server {
        child: command.spawn().unwrap(),
        folder: None,
    };
    until(|| TcpStream::connect(("127.0.0.1", port)).ok()).expect("it listens: unshare and tmpfs are there");
    let count = || {
        files
            .log()
            .matches("DISK_CACHE is not used until the next start: ")
            .count()
    };
    let view = |turn: u32| format!("/iiif/a.tif/{},0,2048,8192/128,/0/default.jpg", turn % 4 * 2048);
    let local = store.service(&[("MAX_CVT", "20000")]);
    for turn in 0..40 {
        let (status, want) = ask(&local, &view(turn));
        let answer = http(port, "GET", &view(turn), &[("Host", "x")], "");
        assert!((answer.status, &answer.body) == (status, &want), "{turn}");
        // bypasses the cache of answers
        let other = format!("/iiif/a.tif/{},0,256,256/max/0/default.jpg", turn * 200);
        assert_eq!(http(port, "GET", &other, &[("Host", "x")], "").status, 200);
        if count() > 0 && turn > 8 {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(count(), 1, "{}", files.log());
    files.wait_for("no storage space");
}

#[cfg(feature = "disk-cache")]
#[test]
fn a_directory_with_other_files_prevents_the_start() {
    let files = Folder::new();
    std::fs::create_dir(files.join("cache")).unwrap();
    std::fs::write(files.join("cache").join("thesis.txt"), "mine").unwrap();
    let mut command = files.command(env!("CARGO_BIN_EXE_iipsrv"));
    let command = command
        .env("FILESYSTEM_PREFIX", "http://127.0.0.1:9/m/")
        .env("DISK_CACHE", files.join("cache"))
        .args(["--http", "127.0.0.1:0"]);
    let output = command.output().unwrap();
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("holds something else"), "{message}");
    assert!(files.join("cache").join("thesis.txt").exists());
}
