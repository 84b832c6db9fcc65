//! Runs the fuzz targets on any toolchain, without coverage: every seed and every file that was found before, then mutations.
//!
//! ```text
//! cargo run --release --example fuzz -- TARGET|all COUNT [SEED] [FOLDER…]
//! ```
//!
//! Seeds are the files of `fixtures/` and of the folders. A panic, or more CPU time or memory than the input is worth, is a
//! finding: the input is written to `target/fuzz/`, and the process fails in the end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation
)]

#[path = "targets.rs"]
mod targets;

use std::alloc::GlobalAlloc;
use std::alloc::Layout;
use std::alloc::System;
use std::path::Path;
use std::path::PathBuf;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The system's allocator, counted.
struct Counted;

static NOW: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator")]
// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = NOW.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(now, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        NOW.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counted = Counted;

/// Code that is not optimised takes so many times as long.
const SLOWER: u32 = if cfg!(debug_assertions) { 5 } else { 1 };

/// CPU time that an input may take, about twice what the slowest honest one takes: eight levels are read.
fn most_time(len: usize) -> Duration {
    (Duration::from_millis(400) + Duration::from_micros(2) * len as u32) * SLOWER
}

/// Memory that an input may take at once, in bytes.
fn most_memory(len: usize) -> usize {
    (64 << 20) + len * 1200
}

/// CPU time of this process so far.
fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// Some bytes of the input changed, inserted, left out, doubled, or taken from another one.
    fn mutate(&mut self, input: &mut Vec<u8>, other: &[u8]) {
        for _ in 0..=self.below(5) {
            let len = input.len();
            let at = if self.below(2) == 0 {
                self.below(len)
            } else {
                self.below(len.min(400))
            };
            match self.below(10) {
                0 => input.truncate(at),
                1 => input.insert(at.min(len), self.next() as u8),
                2 if len > 0 => drop(input.drain(at..(at + 1 + self.below(16)).min(len))),
                3 => {
                    let from = other.get(self.below(other.len())..).unwrap_or_default();
                    let some = from.get(..self.below(from.len().min(64))).unwrap_or(from);
                    input.splice(at..at, some.iter().copied());
                }
                4 => {
                    let value = [0, 1, 0x7f, 0x80, 0xff][self.below(5)];
                    let end = (at + [1, 2, 4, 8][self.below(4)]).min(len);
                    input
                        .get_mut(at..end)
                        .into_iter()
                        .flatten()
                        .for_each(|byte| *byte = value);
                }
                5 if len > 0 => input[at] ^= 1 << self.below(8),
                6 if len > 0 => input[at] = input[at].wrapping_add(1),
                7 if len > 0 => input[at] = input[at].wrapping_sub(1),
                _ if len > 0 => input[at] = self.next() as u8,
                _ => {}
            }
        }
    }
}

/// All files below a folder, sorted.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(below(&path))
        } else {
            found.push(path)
        }
    }
    found.sort();
    found
}

/// Words that protocols are made of.
const WORDS: [&str; 12] = [
    "FIF=a.tif&WID=100&HEI=50&RGN=0,0,0.5,0.5&QLT=75&CVT=jpeg",
    "FIF=a.tif&OBJ=IIP,1.0&OBJ=Max-size&OBJ=Tile-size&OBJ=Min-Max-sample-values&OBJ=Horizontal-views",
    "FIF=a.tif&JTL=2,5&CNT=1.5&GAM=0.8&MINMAX=1:0,255&CTW=[1,0,0;0,1,0;0,0,1]&SHD=45,30&CMP=HOT&INV",
    "FIF=a.tif&SDS=0,90&TIL=0,0-3&PFL=2:10,10-50,50&COL=gray&CNV=[1,2,1;2,4,2;1,2,1]&ROT=90&LYR=3&SPECTRA=1,5,5",
    "FIF=a.tif&FTR=1&RFM=1&ROI=0,0,1,1&AFN=1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1&RAR=1.5&CIN=1,2&BG=FF00FF",
    "IIIF=a.tif/0,0,100,100/50,/0/default.jpg",
    "DeepZoom=a.tif_files/8/0_0.jpg&Zoomify=a.tif/TileGroup0/1-0-0.jpg",
    "a%2Fb.tif/pct:10,20,30.5,40/!90,80/!22.5/gray.png",
    "a.tif/square/^max/0/bitonal.webp",
    "a.tif_files/10/1_2.jpg",
    "a.tif/TileGroup0/2-1-1.jpg",
    "\"attribution\": [\"a\", {\"b\": null}], \"rights\": 1e400",
];

/// What clients send over HTTP, of both versions (RFC 9113 §3.4, RFC 7541 §6).
const REQUESTS: [&[u8]; 6] = [
    b"GET /iiif/a.tif/full/max/0/default.jpg HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
    b"GET /fcgi-bin/iipsrv.fcgi?FIF=a&JTL=0,0 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a:80\r\nContent-Length: 4\r\n\r\nbodyHEAD / HTTP/1.1\r\nHost: [::1]:1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX: y\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\xff\xff\0\0\x06\x01\x04\0\0\0\x01\x82\x86\x84\x41\x01a\0\0\x04\0\x01\0\0\0\x01body\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
];

/// Conversations in FastCGI records (FastCGI §8), each cut in another way.
fn records() -> Vec<Vec<u8>> {
    let record = |kind: u8, id: u8, content: &[u8], padding: u8| {
        let head = [1, kind, 0, id, 0, content.len() as u8, padding, 0];
        [&head[..], content, &vec![0; padding.into()]].concat()
    };
    let begin = |id, keep| record(1, id, &[0, 1, keep, 0, 0, 0, 0, 0], 0);
    let params = |id| {
        let pairs = b"\x0e\x03REQUEST_METHODGET\x0c\x04QUERY_STRINGFIF=";
        [record(4, id, pairs, 3), record(4, id, b"", 0)].concat()
    };
    let stdin = |id| [record(5, id, b"body", 4), record(5, id, b"", 0)].concat();
    let plain = [begin(1, 1), params(1), stdin(1), begin(1, 0), params(1), stdin(1)].concat();
    let mixed = [
        begin(1, 1),
        begin(2, 1),
        params(2),
        params(1),
        record(2, 1, b"", 0),
        stdin(2),
    ]
    .concat();
    let values = [
        record(9, 0, b"\x0e\0FCGI_MAX_CONNS", 2),
        record(77, 0, b"x", 7),
        plain.clone(),
    ]
    .concat();
    [
        (1, &plain),
        (100, &plain),
        (7, &mixed),
        (255, &mixed),
        (3, &values),
    ]
    .map(|(step, bytes)| [&[step], &bytes[..]].concat())
    .to_vec()
}

/// The seeds of a target: short files, words where no file will do.
fn seeds(name: &str, folders: &[PathBuf]) -> Vec<Vec<u8>> {
    let words = || WORDS.iter().map(|word| word.as_bytes().to_vec());
    let files = || {
        let paths = folders.iter().flat_map(|folder| below(folder));
        paths
            .filter_map(|path| std::fs::read(path).ok())
            .filter(|file| file.len() < 40 << 10)
    };
    match name {
        "query" | "sidecar" => words().collect(),
        "fastcgi" => records(),
        "http" => REQUESTS.iter().map(|request| request.to_vec()).collect(),
        "path" => words()
            .flat_map(|word| (0..4).map(move |n| [&[n], &*word].concat()))
            .collect(),
        "changing" => files().map(|file| [&[20], &*file].concat()).collect(),
        "codec" => (0..=255u8)
            .zip(files().cycle().take(240))
            .map(|(n, file)| {
                [
                    &[n, 20, 60, n],
                    file.get(file.len() / 2..file.len() / 2 + 400).unwrap_or(&file),
                ]
                .concat()
            })
            .collect(),
        "merge" => files()
            .filter(|file| file.starts_with(&[0xff, 0xd8]))
            .map(|file| [&[0, 2], &*file].concat())
            .collect(),
        "memcached" => vec![iipsrv::cache::memcached::frame::wrap("key", b"body")],
        _ => {
            let begins: fn(&[u8]) -> bool = match name {
                "jp2" => |file| file.starts_with(b"\0\0\0\x0cjP") || file.starts_with(&[0xff, 0x4f]),
                "jpeg" => |file| file.starts_with(&[0xff, 0xd8]),
                "png" => |file| file.starts_with(b"\x89PNG"),
                "webp" => |file| file.starts_with(b"RIFF"),
                _ => |file| file.starts_with(b"II") || file.starts_with(b"MM"),
            };
            files().filter(|file| begins(file)).collect()
        }
    }
}

/// Runs one input; what was wrong with it.
fn attempt(run: fn(&[u8]), input: &[u8]) -> Option<String> {
    let (before, start) = (NOW.load(Ordering::Relaxed), cpu());
    PEAK.store(before, Ordering::Relaxed);
    let panicked = std::panic::catch_unwind(|| run(input)).is_err();
    let (time, memory) = (cpu() - start, PEAK.load(Ordering::Relaxed).saturating_sub(before));
    if panicked {
        Some("a panic".into())
    } else if time > most_time(input.len()) {
        Some(format!("{time:?}"))
    } else if memory > most_memory(input.len()) {
        Some(format!("{} MB", memory >> 20))
    } else {
        None
    }
}

fn main() {
    let mut args = std::env::args().skip(1);
    let wanted = args.next().expect("a target, or all");
    let count: u64 = args
        .next()
        .and_then(|text| text.parse().ok())
        .expect("a number of inputs");
    let seed: u64 = args.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders: Vec<PathBuf> = std::iter::once(root.join("fixtures"))
        .chain(args.map(PathBuf::from))
        .collect();
    let out = root.join("target/fuzz");
    std::fs::create_dir_all(&out).unwrap();
    let mut findings = 0;
    for (name, run) in targets::TARGETS
        .iter()
        .filter(|(name, _)| wanted == "all" || wanted == *name)
    {
        let seeds = seeds(name, &folders);
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let mut found = 0;
        for number in 0..count.max(seeds.len() as u64) {
            let mut input = seeds.get(number as usize).cloned().unwrap_or_else(|| {
                let some = random.below(seeds.len());
                seeds.get(some).cloned().unwrap_or_default()
            });
            if number >= seeds.len() as u64 {
                let other = random.below(seeds.len());
                random.mutate(&mut input, seeds.get(other).map_or(&[], Vec::as_slice));
            }
            if let Some(what) = attempt(*run, &input) {
                found += 1;
                let path = out.join(format!("{name}-{seed}-{number}"));
                std::fs::write(&path, &input).unwrap();
                println!("{name}: {what} by {} bytes: {}", input.len(), path.display());
                if found > 20 {
                    break;
                }
            }
        }
        println!("{name}: {} seeds, {count} inputs, {found} findings", seeds.len());
        findings += found;
    }
    std::process::exit(i32::from(findings > 0));
}
