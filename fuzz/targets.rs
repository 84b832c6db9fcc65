//! The fuzz targets: functions that take bytes and must not panic.
//!
//! The caller, `drive.rs` or libFuzzer, bounds time and memory.

use iipsrv::codec::jpeg;
use iipsrv::config::Config;
use iipsrv::error::Error;
use iipsrv::error::Result;
use iipsrv::geometry::Rect;
use iipsrv::geometry::Size;
use iipsrv::http::Http;
use iipsrv::http::Reply;
use iipsrv::plan::PlanLimits;
use iipsrv::process::Watermark;
use iipsrv::process::colour;
use iipsrv::protocol;
use iipsrv::protocol::Ask;
use iipsrv::protocol::Mount;
use iipsrv::protocol::ProtocolSettings;
use iipsrv::raster::Format;
use iipsrv::server::Handler;
use iipsrv::server::connections::Connections;
use iipsrv::server::connections::Patience;
use iipsrv::server::fastcgi::codec::Event;
use iipsrv::server::fastcgi::codec::Wire;
use iipsrv::server::out::Out;
use iipsrv::server::socket::Socket;
use iipsrv::source;
use iipsrv::source::Source;
use iipsrv::source::Tile;
use iipsrv::source::Window;
use iipsrv::source::cache::NoCache;
use iipsrv::source::file_format::FileFormat;
use iipsrv::source::file_format::Options;
use iipsrv::source::synthetic::Synthetic;
use iipsrv::source::window;
use iipsrv::store::Blob;
use iipsrv::store::Version;
use std::io::Write;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::runtime::Runtime;

/// The name of a target and its function.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: &[Target] = &[
    ("fastcgi", fastcgi),
    ("http", http),
    ("query", query),
    ("path", path),
    ("tiff", tiff),
    ("jp2", jp2),
    ("jpeg", jpeg_file),
    ("png", png),
    ("webp", webp),
    ("codec", codec),
    ("merge", merge),
    ("memcached", memcached),
    ("changing", changing),
    ("watermark", watermark),
    ("sidecar", sidecar),
];

/// A file in memory.
#[derive(Debug)]
struct Memory {
    bytes: Vec<u8>,
    /// The number of reads that succeed; later ones fail or return another file's bytes.
    good: u64,
    reads: AtomicU64,
}

impl Memory {
    fn open(bytes: &[u8]) -> Arc<dyn Blob> {
        Arc::new(Memory {
            bytes: bytes.into(),
            good: u64::MAX,
            reads: AtomicU64::new(0),
        })
    }
}

impl Blob for Memory {
    fn version(&self) -> Version {
        Version::File {
            mtime_ns: 0,
            ctime_ns: 0,
            len: self.bytes.len() as u64,
            inode: 1,
        }
    }

    fn read_at(&self, at: u64, to: &mut [u8]) -> Result<()> {
        let number = self.reads.fetch_add(1, Ordering::Relaxed);
        let end = || Error::Corrupt("the file ends early".into());
        let at = usize::try_from(at).map_err(|_| end())?;
        let from = at.checked_add(to.len()).and_then(|past| self.bytes.get(at..past));
        to.copy_from_slice(from.ok_or_else(end)?);
        if number >= self.good {
            if number.is_multiple_of(2) {
                return Err(end());
            }
            to.iter_mut().for_each(|byte| *byte = !*byte);
        }
        Ok(())
    }
}

/// The largest window in pixels.
const MOST: u64 = 1 << 20;

/// The longest that opening an image or a read of it took, in nanoseconds of CPU time: what one request waits for.
pub static LONGEST: AtomicU64 = AtomicU64::new(0);

/// CPU time of this process so far.
pub fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What a request does, whose time counts.
fn one<T>(request: impl FnOnce() -> T) -> T {
    let start = cpu();
    let done = request();
    LONGEST.fetch_max((cpu() - start).as_nanos() as u64, Ordering::Relaxed);
    done
}

/// Opens an image as the server does and reads the corner tiles of each level, the smallest level, a window across tiles, and
/// stored tiles.
fn image(blob: Arc<dyn Blob>) {
    let Ok(Some(source)) = one(|| source::open(blob, None, &Options::default())) else {
        return;
    };
    look(&*source);
}

fn look(source: &dyn Source) {
    let levels = &source.header().levels;
    assert!(!levels.is_empty());
    for (number, level) in levels.iter().enumerate().rev().take(8) {
        let grid = level.size.grid(level.tile);
        for (col, row) in [(0, 0), (grid.w - 1, grid.h - 1)] {
            let tile = Tile {
                level: number,
                col,
                row,
            };
            if level.tile.area() > MOST && level.size.area() > MOST {
                continue;
            }
            if let Ok(raster) = one(|| window::tile(source, tile, &NoCache)) {
                assert_eq!(Some(raster.size), tile.rect(levels).map(Rect::size));
                assert_eq!(
                    raster.samples.len() as u64,
                    raster.size.area() * u64::from(raster.channels)
                );
            }
            for format in [Format::Jpeg, Format::Webp] {
                let _ = one(|| source.coded(tile, format));
            }
        }
        let (w, h) = (level.size.w.min(300), level.size.h.min(300));
        let rect = Rect::new(
            level.size.w / 3 - level.size.w / 3 * w / level.size.w,
            level.size.h / 2,
            w,
            h,
        );
        if let Some(rect) = Rect::of(level.size).meet(rect) {
            let _ = one(|| window::raster(source, Window::new(number, rect), &NoCache));
        }
    }
}

fn of_kind(kind: FileFormat, data: &[u8]) {
    if FileFormat::of(data.get(..12).unwrap_or(data)) == Some(kind) {
        image(Memory::open(data));
    }
}

/// TIFF files.
pub fn tiff(data: &[u8]) {
    of_kind(FileFormat::Tiff, data);
}

/// JPEG 2000 and HTJ2K, boxed or bare.
pub fn jp2(data: &[u8]) {
    of_kind(FileFormat::Jp2, data);
}

/// JPEG files and their index.
pub fn jpeg_file(data: &[u8]) {
    of_kind(FileFormat::Jpeg, data);
}

/// PNG masters with corrected checksums; wrong ones would end nearly all inputs.
pub fn png(data: &[u8]) {
    let mut file = data.to_vec();
    let mut at = 8;
    while let Some(head) = file.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
        let Some(end) = (at + 8).checked_add(u32::from_be_bytes(*head) as usize) else {
            break;
        };
        let Some(sum) = file.get(at + 4..end).map(crc32fast::hash) else {
            break;
        };
        if let Some(place) = file.get_mut(end..end + 4) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
        at = end + 4;
    }
    of_kind(FileFormat::Png, &file);
}

/// WebP masters.
pub fn webp(data: &[u8]) {
    of_kind(FileFormat::Webp, data);
}

/// Files that are truncated or replaced after some reads.
pub fn changing(data: &[u8]) {
    if let Some((good, bytes)) = data.split_first() {
        image(Arc::new(Memory {
            bytes: bytes.into(),
            good: u64::from(*good),
            reads: AtomicU64::new(0),
        }));
    }
}

/// TIFF compressions with matching bits per sample and photometric interpretation.
pub const CODECS: [(u16, u16, u16, u16); 28] = [
    (1, 8, 1, 1),
    (2, 1, 0, 1),
    (3, 1, 0, 1),
    (4, 1, 0, 1),
    (5, 8, 1, 1),
    (5, 16, 2, 3),
    (7, 8, 1, 1),
    (7, 8, 6, 3),
    (8, 8, 2, 3),
    (8, 32, 1, 1),
    (32_766, 2, 1, 1),
    (32_771, 1, 0, 1),
    (32_773, 8, 1, 1),
    (32_809, 4, 1, 1),
    (32_909, 8, 2, 3),
    (33_003, 8, 2, 3),
    (34_661, 1, 0, 1),
    (34_676, 16, 32_844, 1),
    (34_676, 16, 32_845, 3),
    (34_677, 16, 32_845, 3),
    (34_712, 8, 2, 3),
    (34_887, 8, 2, 3),
    (34_887, 32, 1, 1),
    (34_925, 8, 2, 3),
    (34_933, 8, 2, 3),
    (50_000, 8, 2, 3),
    (50_001, 8, 2, 3),
    (50_002, 8, 2, 3),
];

/// A single codec: the first byte selects it, the next two give the size, the rest is one strip.
pub fn codec(data: &[u8]) {
    let [choice, w, h, variant, strip @ ..] = data else {
        return;
    };
    let (compression, bits, photometric, samples) = CODECS[usize::from(*choice) % CODECS.len()];
    let mut file = b"II*\0\x08\0\0\0".to_vec();
    let entries: [(u16, u32); 13] = [
        (256, u32::from(*w) * 3 + 1),
        (257, u32::from(*h) + 1),
        (258, bits.into()),
        (259, compression.into()),
        (262, photometric.into()),
        (266, 1 + u32::from(variant & 1)),
        (273, 8 + 2 + 13 * 12 + 4),
        (277, samples.into()),
        (278, u32::from(*h) + 1),
        (279, strip.len() as u32),
        (284, 1),
        (292, u32::from(variant >> 1 & 7)),
        (
            317,
            if matches!(compression, 5 | 8 | 34_925 | 50_000) {
                1 + u32::from(variant >> 4) % 3
            } else {
                1
            },
        ),
    ];
    file.extend((entries.len() as u16).to_le_bytes());
    for (tag, value) in entries {
        file.extend(tag.to_le_bytes());
        file.extend(4u16.to_le_bytes());
        file.extend(1u32.to_le_bytes());
        file.extend(value.to_le_bytes());
    }
    file.extend([0; 4]);
    file.extend(strip);
    image(Memory::open(&file));
}

/// Pass-through of JPEG tiles: merges tables (length in the first two bytes) and tile, transcodes and decodes the result.
pub fn merge(data: &[u8]) {
    let Some(([high, low, colour], rest)) = data.split_first_chunk() else {
        return;
    };
    let at = usize::from(u16::from_be_bytes([*high, *low]));
    let (tables, tile) = rest.split_at(at.min(rest.len()));
    let tables = (!tables.is_empty()).then_some(tables);
    let colours = [
        jpeg::StreamColour::Grey,
        jpeg::StreamColour::Rgb,
        jpeg::StreamColour::Ycbcr,
        jpeg::StreamColour::Four,
    ];
    let colour = colours[usize::from(*colour) % colours.len()];
    let limit = Size::new(512, 512);
    if let Ok(merged) = jpeg::merge(tables, tile, colour) {
        let _ = jpeg::decode(&merged, limit);
        let _ = jpeg::requantise(&merged, limit, 50);
    }
    let _ = jpeg::decode_tile(tables, tile, colour, limit);
}

static SETTINGS: LazyLock<ProtocolSettings> = LazyLock::new(|| {
    let usual = Config::default().protocol;
    let mounts = [
        ("iiif", "IIIF"),
        ("dz", "DeepZoom"),
        ("zoomify", "Zoomify"),
        ("iip", "IIP"),
    ];
    ProtocolSettings {
        uri_map: mounts
            .iter()
            .filter_map(|(prefix, name)| Mount::named(prefix, name))
            .collect(),
        mapped: true,
        manifests: true,
        trust_proxy: true,
        cors: true,
        iiif_version: 3,
        first_channel: None,
        iiif_extensions: true,
        ..usual
    }
});

static SOURCE: LazyLock<Synthetic> =
    LazyLock::new(|| Synthetic::halving(Size::new(1000, 701), Size::new(256, 256), 3));

fn ask(http: &Http) {
    let Ok((_, request)) = protocol::parse(http, &SETTINGS) else {
        return;
    };
    if let Ask::Picture(view) | Ask::Export(view) | Ask::Image { view, .. } = request.ask {
        let header = SOURCE.header();
        if let Ok(plan) = view.resolve(header, &PlanLimits::default()) {
            assert!(plan.window.level < header.levels.len());
            let size = header.levels[plan.window.level].size;
            assert_eq!(Rect::of(size).meet(plan.window.rect), Some(plan.window.rect));
        }
    }
}

/// FastCGI records, split into pieces of the length in the first byte.
pub fn fastcgi(data: &[u8]) {
    let Some((step, data)) = data.split_first() else {
        return;
    };
    let mut wire = Wire::new(10);
    let mut out = Out::default();
    let mut stash = Vec::new();
    for part in data.chunks(usize::from(*step).max(1)) {
        stash.extend_from_slice(part);
        loop {
            let (used, event) = wire.parse(&stash, &mut out);
            stash.drain(..used);
            match event {
                None => break,
                Some(Event::Request(id, _)) => wire.answer(id, Reply::new(200, "body"), &mut out),
                Some(Event::Abort(_)) => {}
                Some(Event::Broken(_)) => return,
            }
        }
        // a whole record with header and padding
        assert!(stash.len() <= 8 + (8 << 10) + 255 + part.len());
    }
}

/// Bytes that an HTTP client sends before it closes the connection.
pub fn http(data: &[u8]) {
    static RUNTIME: LazyLock<Option<Runtime>> = LazyLock::new(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.enable_all().build().ok()
    });
    static CONNECTIONS: LazyLock<Arc<Connections>> =
        LazyLock::new(|| Connections::new(Patience::default(), 10, 0));
    // all answers have to fit into the socket buffer: they are not read
    let data = data.get(..8 << 10).unwrap_or(data);
    let (Ok((mut client, server)), Some(runtime)) = (UnixStream::pair(), &*RUNTIME) else {
        return;
    };
    let sent = client
        .write_all(data)
        .and_then(|()| client.shutdown(Shutdown::Write))
        .and_then(|()| server.set_nonblocking(true));
    let (Ok(()), Some(presence)) = (sent, CONNECTIONS.enter()) else {
        return;
    };
    let handler: Handler = Arc::new(|http| {
        assert!(http.body.len() <= 1 << 20);
        Box::pin(std::future::ready(Reply::new(200, "")))
    });
    let _entered = runtime.enter();
    let served = iipsrv::server::http::serve(
        Socket::new(server.into()),
        presence,
        Arc::default(),
        String::new(),
        handler,
    );
    let ended = async { tokio::time::timeout(Duration::from_secs(20), served).await };
    assert!(runtime.block_on(ended).is_ok(), "the connection ends");
}

/// Query strings of each protocol.
pub fn query(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    ask(&Http::query(&text));
    ask(&Http::new()
        .with("REQUEST_METHOD", "POST")
        .with("QUERY_STRING", data));
}

/// Paths of IIIF, DeepZoom and Zoomify.
pub fn path(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let prefix = ["/iiif/", "/dz/", "/zoomify/", "/iip/"][usize::from(*choice) % 4];
    ask(&Http::get(&format!("{prefix}{}", String::from_utf8_lossy(rest))));
}

/// Values from memcached: unchanged, and as the body of a value with valid checksums.
pub fn memcached(data: &[u8]) {
    use iipsrv::cache::memcached::frame;
    let value = bytes::Bytes::copy_from_slice(data);
    if let Some(body) = frame::unwrap("key", &value) {
        assert_eq!(frame::wrap("key", &body), data);
    }
    let body = data.get(frame::HEAD..).unwrap_or_default();
    let value = frame::wrap("key", body).into();
    assert_eq!(frame::unwrap("key", &value).as_deref(), Some(body));
    assert_eq!(frame::unwrap("other", &value), None);
}

/// A watermark file, composited over a picture.
pub fn watermark(data: &[u8]) {
    let Ok(tiff) = one(|| source::tiff::Tiff::open(Memory::open(data), &Default::default())) else {
        return;
    };
    let header = tiff.header();
    let rect = Rect::of(header.size());
    if header.size().area() * u64::from(header.channels) > 4 * MOST {
        return;
    }
    let Ok(raster) = one(|| window::raster(&tiff, Window::new(0, rect), &NoCache)) else {
        return;
    };
    if let Ok(picture) = colour::picture(raster, &header.meaning) {
        let mark = Arc::new(Watermark::new(picture.clone(), 0.5, 1.0));
        if let Some(marks) = mark.marks(Size::new(500, 300), Size::new(256, 256), 1) {
            let _ = marks.lay(picture, 0);
        }
    }
}

/// Sidecar files that extend info.json.
pub fn sidecar(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let config = Config::read(|name| (name == "IIIF_EXTRA_INFO").then(|| text.clone()));
    let _ = serde_json::to_string(&config.protocol.iiif_extra);
}
