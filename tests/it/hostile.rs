//! Requests for malformed files cost CPU time and memory in proportion to the size of the file, measured in the real process.
//!
//! The tests write the files: headers that claim absent data, small files that inflate, mutations of valid files with a
//! fixed seed; `fixtures/corrupt` holds findings of the fuzzer. With CORPUS, its `bad` files and mutations of its valid files
//! are tried, too. Any answer is accepted, but there has to be one.

use crate::process::Folder;
use crate::process::until;
use crate::support;
use futures_util::future::join_all;
use iipsrv::http::Http;
use iipsrv::source;
use iipsrv::source::Header;
use iipsrv::source::Source;
use iipsrv::source::Take;
use iipsrv::source::Window;
use iipsrv::source::cache::TileCache;
use iipsrv::source::file_format::Options;
use iipsrv::source::spool::SpoolDir;
use iipsrv::store::Blob;
use iipsrv::store::Version;
use iipsrv::work::Scope;
use iipsrv::work::scope::block_on;
use std::future::Future;
use std::future::poll_fn;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::task::Poll;
use std::time::Duration;

/// Limits for each request to a file.
struct Bound {
    /// Applies to files of fewer bytes.
    below: u64,
    cpu: Duration,
    /// Growth of the process in bytes.
    memory: u64,
}

/// Longer files are skipped, in bytes.
const LONGEST: u64 = 1 << 20;

const BOUNDS: [Bound; 2] = [
    Bound {
        below: 4 << 10,
        cpu: Duration::from_millis(50),
        memory: 16 << 20,
    },
    Bound {
        below: LONGEST,
        cpu: Duration::from_secs(2),
        memory: 256 << 20,
    },
];

/// CPU time of [`Server::reference`] on the machine of the bounds: optimised, two cores of a server of 2023.
const REFERENCE: Duration = Duration::from_millis(70);

/// Factor on the bounds in debug builds, some of whose code is slower than the reference predicts.
const MARGIN: f64 = if cfg!(debug_assertions) { 4.0 } else { 1.0 };

/// Number of measurements of a request that exceeds the bounds.
const TRIES: usize = 3;

/// A server with one worker and without caches.
struct Server {
    child: Child,
    folder: Folder,
    port: u16,
    /// Memory of the idle process, in bytes.
    idle: u64,
    /// CPU time relative to the machine of the bounds.
    slower: f64,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start() -> Server {
        let folder = Folder::new();
        let child = folder
            .command(env!("CARGO_BIN_EXE_iipsrv"))
            .args(["--http", "127.0.0.1:0"])
            .envs([
                ("FILESYSTEM_PREFIX", format!("{}/", folder.join("").display())),
                ("OMP_NUM_THREADS", "1".into()),
                ("MAX_METADATA_CACHE_SIZE", "0".into()),
                ("MAX_IMAGE_CACHE_SIZE", "1".into()),
                ("CACHE_DIR", std::env::temp_dir().display().to_string()),
            ])
            .spawn()
            .unwrap();
        let line = folder.wait_for("HTTP on ");
        let port = line.rsplit(':').next().unwrap().trim().parse().unwrap();
        let mut server = Server {
            child,
            folder,
            port,
            idle: 0,
            slower: 1.0,
        };
        // tables that are built at first use do not count
        for name in ["tessera.tif", "viewer.webp"] {
            server.put(&std::fs::read(fixtures(name)).unwrap());
            for path in PATHS {
                server.ask(path);
            }
        }
        server.slower = (server.reference().as_secs_f64() / REFERENCE.as_secs_f64()).max(1.0) * MARGIN;
        server.idle = server.memory("VmRSS:");
        server
    }

    /// CPU time of ordinary work: a picture in a new size each time.
    fn reference(&mut self) -> Duration {
        self.put(&std::fs::read(fixtures("lzw.tif")).unwrap());
        let before = self.cpu();
        for width in 200..300 {
            let (status, _) = self.ask(&format!("/iiif/x/full/{width},/0/default.jpg"));
            assert_eq!(status, 200);
        }
        self.cpu() - before
    }

    fn put(&self, bytes: &[u8]) {
        // a new inode each time
        std::fs::write(self.folder.join("next"), bytes).unwrap();
        std::fs::rename(self.folder.join("next"), self.folder.join("x")).unwrap();
    }

    /// Status and body of an answer.
    fn ask(&mut self, path: &str) -> (u16, Vec<u8>) {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(300))).unwrap();
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = Vec::new();
        if stream.read_to_end(&mut answer).is_err() {
            // timed out
            return (0, Vec::new());
        }
        let status = answer
            .get(9..12)
            .map(String::from_utf8_lossy)
            .map(|text| text.parse());
        let dead = self.child.try_wait().unwrap();
        let Some(Ok(status)) = status else {
            panic!("{path}: no answer; the server: {dead:?}\n{}", self.folder.log());
        };
        let body = answer.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        (status, answer.split_off(body))
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap()
    }

    fn memory(&self, name: &str) -> u64 {
        let status = self.read("status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// CPU time of all threads since the start.
    fn cpu(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let nanoseconds = |task: std::io::Result<std::fs::DirEntry>| -> Option<u64> {
            let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse().ok()
        };
        Duration::from_nanos(tasks.filter_map(nanoseconds).sum())
    }

    /// CPU time, growth in bytes and status of one request.
    fn measure(&mut self, path: &str) -> (Duration, u64, u16) {
        // resets the high-water mark
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
        let before = self.cpu();
        let (status, _) = self.ask(path);
        let peak = self.memory("VmHWM:").saturating_sub(self.idle);
        (self.cpu() - before, peak, status)
    }
}

/// info.json, a thumbnail, the first tile and the histogram.
const PATHS: [&str; 4] = [
    "/iiif/x/info.json",
    "/iiif/x/full/!200,200/0/default.jpg",
    "/iiif/x/0,0,256,256/max/0/default.jpg",
    "/fcgi-bin/iipsrv.fcgi?FIF=x&WID=200&COL=binary&CVT=jpeg",
];

/// Asserts the bounds over files, the shortest first: memory that the allocator retains after a long file is not charged to
/// a short one.
fn assert_bounds(mut files: Vec<(String, Vec<u8>)>) {
    files.sort_by_key(|(_, bytes)| bytes.len());
    let mut server = Server::start();
    let mut wrong = Vec::new();
    for (name, bytes) in files {
        let bound = BOUNDS.iter().find(|bound| (bytes.len() as u64) < bound.below);
        let Some(bound) = bound else { continue };
        server.put(&bytes);
        for path in PATHS {
            let most = bound.cpu.mul_f64(server.slower);
            let (mut cpu, peak, status) = server.measure(path);
            for _ in 1..TRIES {
                if cpu > most && status > 0 {
                    cpu = cpu.min(server.measure(path).0);
                }
            }
            if cpu > most || peak > bound.memory || status == 0 {
                wrong.push(format!(
                    "{name} ({} bytes) {path}: {status}, {cpu:?} of {most:?}, {} KB",
                    bytes.len(),
                    peak >> 10
                ));
                server = Server::start();
                server.put(&bytes);
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} beyond the bounds:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

/// A TIFF file with one directory of these entries (tag, type, value), followed by `rest`.
pub fn tiff(entries: &[(u16, u16, u32)], rest: &[u8]) -> Vec<u8> {
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    file.extend((entries.len() as u16).to_le_bytes());
    for (tag, kind, value) in entries {
        file.extend(tag.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend(1u32.to_le_bytes());
        file.extend(value.to_le_bytes());
    }
    file.extend([0; 4]);
    file.extend(rest);
    file
}

/// A TIFF file whose only strip or tile claims this size and holds hardly any data.
fn claims(compression: u32, bits: u32, photometric: u32, (w, h): (u32, u32), tiled: bool) -> Vec<u8> {
    let at = 8 + 2 + 11 * 12 + 4;
    let (offset, count) = if tiled { (324, 325) } else { (273, 279) };
    let mut entries = vec![
        (256, 4, w),
        (257, 4, h),
        (258, 3, bits),
        (259, 3, compression),
        (262, 3, photometric),
        (277, 3, 1),
        (offset, 4, at),
        (count, 4, 60),
    ];
    if tiled {
        entries.extend([(322, 4, w), (323, 4, h), (284, 3, 1)]);
    } else {
        entries.extend([(278, 4, h), (284, 3, 1), (296, 3, 1)]);
    }
    entries.sort();
    tiff(&entries, &[0x55; 60])
}

/// A JPEG file with one component of this process and size, and hardly any data.
pub fn jpeg(process: u8, bits: u8, (w, h): (u16, u16), scans: usize) -> Vec<u8> {
    let mut file = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
    file.extend([1; 64]);
    file.extend([0xff, 0xc0 | process, 0, 11, bits]);
    file.extend(h.to_be_bytes());
    file.extend(w.to_be_bytes());
    file.extend([1, 1, 0x11, 0]);
    for class in [0, 0x10] {
        file.extend([0xff, 0xc4, 0, 20, class, 1]);
        file.extend([0; 15]);
        file.push(0);
    }
    let (start, end) = if process == 2 { (0, 0) } else { (0, 63) };
    for _ in 0..scans {
        file.extend([0xff, 0xda, 0, 8, 1, 1, 0, start, end, 0, 0x12, 0x34]);
    }
    file.extend([0xff, 0xd9]);
    file
}

/// A codestream of this size, tile size and number of decompositions, without packets.
fn codestream((w, h): (u32, u32), tile: (u32, u32), levels: u8, components: u16) -> Vec<u8> {
    let mut file = vec![0xff, 0x4f, 0xff, 0x51];
    file.extend((38 + 3 * components).to_be_bytes());
    file.extend([0, 0]);
    for side in [w, h, 0, 0, tile.0, tile.1, 0, 0] {
        file.extend(side.to_be_bytes());
    }
    file.extend(components.to_be_bytes());
    for _ in 0..components {
        file.extend([7, 1, 1]);
    }
    file.extend([0xff, 0x52, 0, 12, 0, 0, 0, 1, 0, levels, 4, 4, 0, 1]);
    let steps = 3 * u16::from(levels) + 1;
    file.extend([0xff, 0x5c]);
    file.extend((3 + steps).to_be_bytes());
    file.push(0x40);
    file.extend(std::iter::repeat_n(0x48, steps.into()));
    file.extend([
        0xff, 0x90, 0, 10, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0x93, 0, 0, 0xff, 0xd9,
    ]);
    file
}

/// A PNG file of zeros with this size, colour type and depth; `more` are chunks before the picture.
pub fn png(
    (w, h): (u32, u32),
    colour: png::ColorType,
    depth: png::BitDepth,
    more: &[(&[u8; 4], Vec<u8>)],
) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = png::Encoder::new(&mut out, w, h);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    encoder.set_compression(png::Compression::High);
    let mut writer = encoder.write_header().unwrap();
    for (name, body) in more {
        writer.write_chunk(png::chunk::ChunkType(**name), body).unwrap();
    }
    let bits = colour.samples() * if depth == png::BitDepth::Sixteen { 16 } else { 8 };
    let row = w as usize * bits / 8;
    let mut stream = writer.stream_writer().unwrap();
    for _ in 0..h {
        stream.write_all(&vec![0; row]).unwrap();
    }
    stream.finish().unwrap();
    writer.finish().unwrap();
    out
}

/// `len` zeros, deflated.
fn bomb(len: usize) -> Vec<u8> {
    miniz_oxide::deflate::compress_to_vec_zlib(&vec![b' '; len], 9)
}

fn drawn() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for (process, bits) in [(0, 8), (1, 12), (2, 8), (3, 8), (3, 16)] {
        for size in [
            (65_535, 65_535),
            (8000, 8000),
            (1, 65_535),
            (65_535, 1),
            (1500, 1000),
        ] {
            files.push((
                format!("jpeg {process} {bits} {size:?}"),
                jpeg(process, bits, size, 1),
            ));
        }
    }
    files.push(("jpeg of many scans".into(), jpeg(2, 8, (1400, 1400), 300)));
    files.push((
        "jpeg of very many scans".into(),
        jpeg(2, 8, (20_000, 20_000), 60_000),
    ));
    for compression in [
        1, 2, 3, 4, 5, 7, 8, 32_773, 32_809, 32_766, 32_771, 34_676, 34_677, 34_661, 34_887, 34_925, 50_000,
        50_001, 50_002, 33_003, 34_712,
    ] {
        let (bits, photometric) = match compression {
            2 | 3 | 4 | 34_661 => (1, 0),
            32_809 => (4, 1),
            34_676 | 34_677 => (16, 32_844),
            _ => (8, 1),
        };
        for size in [
            (u32::MAX, 1),
            (u32::MAX / 2, 2),
            (1, u32::MAX),
            (100_000, 100_000),
            (12_000, 12_000),
            (60_000, 60),
        ] {
            for tiled in [false, true] {
                let name = format!("tiff {compression} {size:?} {tiled}");
                files.push((name, claims(compression, bits, photometric, size, tiled)));
            }
        }
    }
    // a file without data: one absent strip, and strip offsets that are zeros
    files.push((
        "tiff that is all absent".into(),
        tiff(
            &[
                (256, 4, 100_000),
                (257, 4, 100_000),
                (258, 3, 8),
                (259, 3, 8),
                (262, 3, 1),
                (273, 4, 0),
                (277, 3, 1),
                (278, 4, 100_000),
                (279, 4, 0),
            ],
            &[],
        ),
    ));
    for levels in [0, 5, 32] {
        for (size, tile) in [
            ((512, 16_777_088), (512, 16_777_088)),
            ((512, 16_777_088), (512, 512)),
            ((1 << 30, 1 << 30), (1 << 30, 1 << 30)),
            ((1 << 24, 1 << 24), (1 << 17, 1 << 17)),
            ((60_000, 60_000), (1024, 1024)),
            ((3000, 3000), (3000, 3000)),
            ((1, 1 << 30), (1, 64)),
        ] {
            for components in [1, 60] {
                let name = format!("codestream {size:?} {tile:?} {levels} {components}");
                files.push((name, codestream(size, tile, levels, components)));
            }
        }
    }
    use png::BitDepth::Eight;
    use png::BitDepth::Sixteen;
    use png::ColorType::Grayscale;
    use png::ColorType::Rgba;
    let text = |packed: &[u8]| [&b"Title\0\0"[..], packed].concat();
    files.extend([
        ("png, empty".into(), png((600, 600), Rgba, Sixteen, &[])),
        (
            "png, large and empty".into(),
            png((3600, 3600), Rgba, Sixteen, &[]),
        ),
        (
            "png with a text".into(),
            png((20, 14), Grayscale, Eight, &[(b"zTXt", text(&bomb(3 << 20)))]),
        ),
        (
            "png with many texts".into(),
            png(
                (20, 14),
                Grayscale,
                Eight,
                &vec![(b"zTXt", text(&bomb(60 << 20))); 8],
            ),
        ),
        (
            "png with a profile".into(),
            png(
                (20, 14),
                Grayscale,
                Eight,
                &[(b"iCCP", [&b"a\0\0"[..], &bomb(500 << 20)].concat())],
            ),
        ),
    ]);
    files
}

/// Pseudo-random numbers (xorshift), reproducible.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

/// A copy with some bytes changed, mostly near the start or the end, or truncated.
fn mutated(file: &[u8], random: &mut Random) -> Vec<u8> {
    let mut file = file.to_vec();
    if random.below(6) == 0 {
        file.truncate(random.below(file.len()));
    }
    for _ in 0..=random.below(8) {
        let len = file.len();
        let at = match random.below(3) {
            0 => random.below(len),
            1 => random.below(len.min(600)),
            _ => len.saturating_sub(1 + random.below(len.min(600))),
        };
        let value = match random.below(4) {
            0 => 0xff,
            1 => 0,
            _ => random.below(256) as u8,
        };
        if let Some(byte) = file.get_mut(at) {
            *byte = value;
        }
    }
    file
}

/// All files below a folder, sorted by name.
fn below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(paths: Vec<PathBuf>, most: u64) -> Vec<(String, Vec<u8>)> {
    let short = |path: &PathBuf| std::fs::metadata(path).unwrap().len() <= most;
    let file = |path: PathBuf| {
        (
            path.file_name().unwrap().to_string_lossy().into(),
            std::fs::read(&path).unwrap(),
        )
    };
    paths.into_iter().filter(short).map(file).collect()
}

fn mutations(files: &[(String, Vec<u8>)], each: usize, seed: u64) -> Vec<(String, Vec<u8>)> {
    let mut random = Random(seed);
    let mut all = Vec::new();
    for (name, file) in files {
        for number in 0..each {
            all.push((format!("{name} #{number}"), mutated(file, &mut random)));
        }
    }
    all
}

fn fixtures(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fixtures")
        .join(folder)
}

#[test]
fn headers_that_claim_absent_data_stay_within_bounds() {
    assert_bounds(drawn());
}

#[test]
fn findings_of_the_fuzzer_stay_within_bounds() {
    let files = read(below(&fixtures("corrupt")), LONGEST);
    assert!(!files.is_empty());
    assert_bounds(files);
}

#[test]
fn mutations_of_the_fixtures_stay_within_bounds() {
    let mut files = read(below(&fixtures("")), LONGEST);
    files.retain(|(name, _)| name.ends_with(".tif") || name.ends_with(".webp"));
    assert!(!files.is_empty());
    assert_bounds(mutations(&files, 20, 0x1d5e_ed01));
}

#[test]
#[ignore = "needs CORPUS, a folder of files that other people made; tests/run runs it"]
fn bad_files_of_the_corpus_and_mutations_of_valid_ones_stay_within_bounds() {
    let corpus = PathBuf::from(std::env::var_os("CORPUS").expect("CORPUS is set"));
    let mut files = read(below(&corpus.join("bad")), LONGEST);
    assert!(files.len() > 100, "{} bad files", files.len());
    let good: Vec<PathBuf> = ["tiff", "jp2", "jpeg"]
        .iter()
        .flat_map(|kind| below(&corpus.join(kind)))
        .collect();
    files.extend(mutations(&read(good, 64 << 10), 4, 0x1d5e_ed02));
    assert_bounds(files);
}

#[test]
fn a_server_still_answers_after_requests_for_malformed_files() {
    let mut server = Server::start();
    for (_, bytes) in mutations(&read(below(&fixtures("")), 20 << 10), 3, 7) {
        server.put(&bytes);
        server.ask(PATHS[1]);
    }
    server.put(&std::fs::read(fixtures("tessera.tif")).unwrap());
    assert_eq!(until(|| Some(server.ask(PATHS[1]).0)), Some(200));
}

/// A file in memory that counts how often its last byte is read, and holds up the first that does.
#[derive(Debug, Default)]
struct Strip {
    bytes: Vec<u8>,
    reads: Mutex<usize>,
    is_open: Mutex<bool>,
    changed: Condvar,
}

impl Blob for Strip {
    fn version(&self) -> Version {
        Version::File {
            mtime_ns: 0,
            ctime_ns: 0,
            len: self.bytes.len() as u64,
            inode: 1,
        }
    }

    fn read_at(&self, at: u64, to: &mut [u8]) -> iipsrv::error::Result<()> {
        let at = at as usize;
        to.copy_from_slice(&self.bytes[at..at + to.len()]);
        if at + to.len() == self.bytes.len() {
            *self.reads.lock().unwrap() += 1;
            self.changed.notify_all();
            let closed = self.is_open.lock().unwrap();
            drop(self.changed.wait_while(closed, |open| !*open).unwrap());
        }
        Ok(())
    }
}

/// An image that was opened elsewhere.
struct Opened(Box<dyn Source>);

impl Source for Opened {
    fn header(&self) -> &Header {
        self.0.header()
    }

    fn read(&self, window: Window, keep: &dyn TileCache, take: &mut Take) -> iipsrv::error::Result<()> {
        self.0.read(window, keep, take)
    }
}

#[test]
fn a_strip_readable_only_in_order_is_decoded_once_for_concurrent_requests() {
    let side = 2100u32;
    let mut random = Random(5);
    let samples: Vec<u8> = (0..side * side).map(|_| random.below(4) as u8 * 64).collect();
    let packed = miniz_oxide::deflate::compress_to_vec_zlib(&samples, 1);
    let entries = [
        (256, 4, side),
        (257, 4, side),
        (258, 3, 8),
        (259, 3, 8),
        (262, 3, 1),
        (273, 4, 8 + 2 + 9 * 12 + 4),
        (277, 3, 1),
        (278, 4, side),
        (279, 4, packed.len() as u32),
    ];
    let strip = Arc::new(Strip {
        bytes: tiff(&entries, &packed),
        ..Strip::default()
    });
    let folder = Folder::new();
    let mut options = Options::default();
    options.budget.spool_dir = Some(Arc::new(SpoolDir::new(folder.join(""), 1 << 30)));
    let opened = source::open(strip.clone(), None, &options).unwrap().unwrap();
    assert_eq!(*strip.reads.lock().unwrap(), 0, "opening does not decode it");
    let service = support::service(&[("OMP_NUM_THREADS", "4")]).with_image("strip", Opened(opened));
    // three levels, and two tiles of one
    let paths = [
        "IIIF=strip/full/!200,200/0/default.jpg",
        "IIIF=strip/0,0,256,256/max/0/default.jpg",
        "IIIF=strip/1024,1024,256,256/max/0/default.jpg",
        "IIIF=strip/full/1050,/0/default.jpg",
    ];
    let ask = |query: &str| service.serve(Http::query(query), Scope::default());
    let mut all = std::pin::pin!(join_all(paths.map(ask)));
    // all have asked before the first can end
    let asked = poll_fn(|context| Poll::Ready(all.as_mut().poll(context).is_pending()));
    assert!(block_on(asked), "they wait");
    *strip.is_open.lock().unwrap() = true;
    strip.changed.notify_all();
    for (path, reply) in paths.iter().zip(block_on(all)) {
        assert_eq!(reply.status, 200, "{path}: {}", support::text(&reply));
    }
    assert_eq!(*strip.reads.lock().unwrap(), 1);
}
