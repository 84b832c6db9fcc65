//! JPEG 2000 is decoded as OpenJPEG's tools decode it: files that they write with all their options, and files of other
//! writers.

use iipsrv::codec::jp2::Codestream;
use iipsrv::codec::jp2::NoBlocks;
use iipsrv::codec::read_at::FileRange;
use iipsrv::error::Error;
use iipsrv::geometry::Rect;
use iipsrv::geometry::Size;
use iipsrv::http::Http;
use iipsrv::raster::Samples;
use iipsrv::service::Service;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::Mutex;

use crate::chart;
use crate::support::config;
use crate::support::corpus;
use crate::support::pixels;
use crate::support::text;

/// A folder, removed when dropped.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("iipsrv-it-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Extracts the codestream of a file, for which opj_decompress gives components as they are coded.
fn codestream(file: &Path, folder: &Path) -> PathBuf {
    let bytes = std::fs::read(file).unwrap();
    let start = bytes
        .windows(4)
        .position(|four| four == [0xff, 0x4f, 0xff, 0x51])
        .unwrap();
    let path = folder.join("stream.j2k");
    std::fs::write(&path, &bytes[start..]).unwrap();
    path
}

fn open(path: &Path) -> iipsrv::error::Result<Codestream> {
    let file = iipsrv::store::open(path).unwrap();
    Codestream::open(Box::new(FileRange::whole(file)), false)
}

/// A component in PGX, as opj_decompress writes it.
struct Component {
    size: Size,
    samples: Vec<i64>,
}

/// `PG ML + 8 64 56`, then big-endian samples.
fn pgx(path: &Path) -> Component {
    let bytes = std::fs::read(path).unwrap();
    let end = bytes.iter().position(|b| *b == b'\n').unwrap();
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let words: Vec<&str> = head.split_whitespace().collect();
    assert_eq!(words[..2], ["PG", "ML"], "{head}");
    let signed = head.contains('-');
    let numbers: Vec<u32> = words[2..]
        .iter()
        .filter_map(|w| w.trim_start_matches(['+', '-']).parse().ok())
        .collect();
    let [bits, w, h] = numbers[..] else {
        panic!("{head}")
    };
    let wide = match bits {
        0..=8 => 1,
        9..=16 => 2,
        _ => 4,
    };
    let value = |chunk: &[u8]| {
        let raw = chunk.iter().fold(0i64, |v, b| v << 8 | i64::from(*b));
        if signed && raw >> (wide * 8 - 1) == 1 {
            raw - (1 << (wide * 8))
        } else {
            raw
        }
    };
    Component {
        size: Size::new(w, h),
        samples: bytes[end + 1..].chunks_exact(wide).map(value).collect(),
    }
}

/// The components that opj_decompress decodes; `None` if it refuses the codestream.
fn reference(stream: &Path, reduction: u8, folder: &Path) -> Option<Vec<Component>> {
    for old in std::fs::read_dir(folder).unwrap().flatten() {
        if old.path().extension().is_some_and(|e| e == "pgx") {
            std::fs::remove_file(old.path()).unwrap();
        }
    }
    let out = folder.join("out.pgx");
    let done = Command::new("opj_decompress")
        .args(["-quiet", "-r", &reduction.to_string(), "-i"])
        .arg(stream)
        .arg("-o")
        .arg(&out)
        .output()
        .expect("opj_decompress is installed (tests/run installs libopenjp2-tools)");
    let mut all = Vec::new();
    while let Ok(true) = folder.join(format!("out_{}.pgx", all.len())).try_exists() {
        all.push(pgx(&folder.join(format!("out_{}.pgx", all.len()))));
    }
    if all.is_empty() && out.exists() {
        all.push(pgx(&out));
    }
    (done.status.success() && !all.is_empty()).then_some(all)
}

/// Compares the whole image at one reduction with the reference, and windows with the whole; the largest difference.
fn check(name: &str, stream: &Path, reduction: u8, folder: &Path) -> Option<i64> {
    let expected = reference(stream, reduction, folder)?;
    let ours = open(stream).unwrap_or_else(|error| panic!("{name}: {error}"));
    let size = ours.size(reduction);
    let whole = Rect::new(0, 0, size.w, size.h);
    let planes = ours
        .read(reduction, whole, u16::MAX, &NoBlocks)
        .unwrap_or_else(|error| panic!("{name} -r {reduction}: {error}"));
    assert_eq!(planes.len(), expected.len(), "{name}");
    let mut worst = 0;
    for (number, (plane, expected)) in planes.iter().zip(&expected).enumerate() {
        // subsampled components are compared at their sample positions
        let step = ours.components()[number].step;
        if expected.size != size && step == (1, 1) {
            panic!("{name}: {:?} {size:?}", expected.size);
        }
        for (index, want) in expected.samples.iter().enumerate() {
            let (x, y) = (
                (index % expected.size.w as usize) * step.0 as usize,
                (index / expected.size.w as usize) * step.1 as usize,
            );
            if x >= size.w as usize || y >= size.h as usize {
                continue;
            }
            let got = i64::from(plane[y * size.w as usize + x]);
            let off = (got - want).abs();
            assert!(
                off <= 1 || worst > 100,
                "{name} -r {reduction}: component {number} at {x},{y}: {got}, expected {want}"
            );
            worst = worst.max(off);
        }
    }
    for (x, y) in [(0, 0), (1, 2), (3, 5), (2, 3)] {
        let rect = Rect::new(
            size.w * x / 7,
            size.h * y / 7,
            size.w.div_ceil(5),
            size.h.div_ceil(6),
        );
        let Some(rect) = rect.meet(whole) else { continue };
        let window = ours.read(reduction, rect, u16::MAX, &NoBlocks).unwrap();
        for (plane, window) in planes.iter().zip(&window) {
            for (row, got) in window.chunks(rect.w as usize).enumerate() {
                let start = (rect.y as usize + row) * size.w as usize + rect.x as usize;
                assert_eq!(got, &plane[start..start + got.len()], "{name} {rect:?} row {row}");
            }
        }
    }
    // read in bands, as the server does
    let decoded = ours.decode(reduction, whole, u16::MAX, &NoBlocks).unwrap();
    for top in (0..size.h).step_by(7) {
        let band = decoded.rows(top..(top + 7).min(size.h)).unwrap();
        for (plane, band) in planes.iter().zip(&band) {
            let start = top as usize * size.w as usize;
            assert_eq!(band, &plane[start..start + band.len()], "{name} from row {top}");
        }
    }
    Some(worst)
}

/// Writes the chart as PPM.
fn picture(folder: &Path, w: u32, h: u32) -> PathBuf {
    let path = folder.join("picture.ppm");
    let mut bytes = format!("P6\n{w} {h}\n255\n").into_bytes();
    for pixel in chart::Chart::new(w, h).rows(0, h).chunks(4) {
        bytes.extend_from_slice(&pixel[..3]);
    }
    std::fs::write(&path, bytes).unwrap();
    path
}

pub fn compress(picture: &Path, stream: &Path, options: &str) {
    let done = Command::new("opj_compress")
        .arg("-i")
        .arg(picture)
        .arg("-o")
        .arg(stream)
        .args(options.split_whitespace())
        .output()
        .expect("opj_compress is installed (tests/run installs libopenjp2-tools)");
    assert!(
        done.status.success(),
        "{options}: {}",
        String::from_utf8_lossy(&done.stdout)
    );
}

#[test]
#[ignore = "needs opj_compress and opj_decompress"]
fn codestreams_of_every_structure_are_read() {
    let folder = Folder::new("jp2");
    let picture = picture(&folder.0, 301, 233);
    let stream = folder.0.join("made.j2k");
    for options in [
        "",
        "-I -r 12",
        "-I -r 30,12,4 -n 4",
        "-t 128,96",
        "-t 96,80 -I -r 10",
        "-p RLCP -r 20,8,1",
        "-p RPCL -r 20,8,1 -c [64,64],[32,32]",
        "-p PCRL -r 20,8,1 -c [64,128]",
        "-p CPRL -r 20,8,1 -c [128,64],[64,64],[32,32]",
        "-n 1",
        "-n 2 -b 32,32",
        "-n 8 -b 4,256",
        "-b 1024,4",
        "-SOP -EPH -r 10,1",
        "-M 1",
        "-M 2",
        "-M 4",
        "-M 5 -r 10,1",
        "-M 8",
        "-M 32",
        "-M 47 -I -r 6",
        "-mct 0",
        "-d 37,91 -T 11,13 -t 90,80",
        "-d 1,1 -I -r 8 -T 0,1 -t 64,64",
        "-TP R -t 128,128 -p RPCL",
        "-ROI c=0,U=7",
        "-POC T1=0,0,1,3,3,LRCP/T1=0,0,1,6,3,RPCL",
        "-PLT -TLM",
    ] {
        compress(&picture, &stream, options);
        for reduction in [0, 1, 2] {
            if options.contains("-n 1") && reduction > 0 || options.contains("-n 2") && reduction > 1 {
                continue;
            }
            let worst = check(options, &stream, reduction, &folder.0).expect(options);
            let lossy = options.contains("-I");
            assert!(worst <= i64::from(lossy), "{options}: {worst}");
        }
    }
}

/// The bytes of a codestream, and the reads (offset, length).
struct Watched(Vec<u8>, Arc<Mutex<Vec<(u64, usize)>>>);

impl iipsrv::codec::read_at::ReadAt for Watched {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, at: u64, to: &mut [u8]) -> Result<(), Error> {
        self.1.lock().unwrap().push((at, to.len()));
        iipsrv::codec::read_at::ReadAt::read(&self.0, at, to)
    }
}

#[test]
#[ignore = "needs opj_compress and opj_decompress"]
fn with_packet_lengths_a_window_reads_only_its_packets() {
    let folder = Folder::new("jp2-plt");
    let picture = folder.0.join("noise.ppm");
    let size = Size::new(900, 700);
    let mut noise = 1_u32;
    let mut bytes = b"P6\n900 700\n255\n".to_vec();
    bytes.extend((0..900 * 700 * 3).map(|at| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (at / 40 % 180) as u8 + (noise >> 26) as u8
    }));
    std::fs::write(&picture, bytes).unwrap();
    let stream = folder.0.join("made.j2k");
    let compressed = |options: &str| {
        compress(&picture, &stream, options);
        std::fs::read(&stream).unwrap()
    };
    for (options, few) in [
        ("-p RPCL -c [128,128]", true),
        ("-p LRCP -c [128,128] -r 4,2,1", true),
        ("-p RLCP -r 4,2,1", false),
        ("-p PCRL -c [256,256],[128,128]", true),
        ("-p CPRL -c [128,128] -SOP -EPH", true),
        ("-p RPCL -c [128,128] -TP R", true),
        ("-p RPCL -t 512,512 -c [128,128]", true),
        ("-c [256,256] -POC T1=0,0,1,3,3,LRCP/T1=0,0,1,6,3,RPCL", false),
    ] {
        let plain = Codestream::open(Box::new(compressed(options)), false).unwrap();
        let listed = compressed(&format!("{options} -PLT"));
        let read: Arc<Mutex<Vec<(u64, usize)>>> = Arc::default();
        let lazy = Codestream::open(Box::new(Watched(listed.clone(), read.clone())), false).unwrap();
        // lengths whose sum is wrong
        let mut wrong = listed.clone();
        let mark = wrong.windows(2).position(|pair| pair == [0xff, 0x58]).unwrap();
        wrong[mark + 5] ^= 1;
        let wrong = Codestream::open(Box::new(wrong), false).unwrap();
        let mut first = true;
        for (reduction, rect) in [
            (0, Rect::new(300, 200, 100, 100)),
            (2, Rect::new(0, 0, 225, 175)),
            (0, Rect::new(0, 0, 900, 700)),
            (1, Rect::new(449, 0, 1, 350)),
        ] {
            let pixels = |stream: &Codestream| stream.read(reduction, rect, u16::MAX, &NoBlocks).unwrap();
            let expected = pixels(&plain);
            assert!(pixels(&lazy) == expected, "{options} {reduction} {rect:?}");
            assert!(
                pixels(&wrong) == expected,
                "{options} {reduction} {rect:?}: wrong lengths"
            );
            let bytes: usize = read.lock().unwrap().iter().map(|(_, len)| len).sum();
            assert!(
                !(few && first) || bytes * 3 < listed.len(),
                "{options}: {bytes} of {}",
                listed.len()
            );
            first = false;
        }
        assert_eq!(plain.size(0), size);
    }
}

/// A codestream by opj_compress of four components with different subsampling.
fn subsampled(folder: &Path, size: Size, options: &str) -> PathBuf {
    let (raw, stream) = (folder.join("in.raw"), folder.join("steps.j2k"));
    let noise = |n: u32| (n.wrapping_mul(2_654_435_761) >> 24) as u8;
    // more samples than the subsampled components need
    let samples: Vec<u8> = (0..size.w * size.h * 4).map(noise).collect();
    std::fs::write(&raw, samples).unwrap();
    let format = format!("-F {},{},4,8,u@1x1:2x2:2x1:3x2", size.w, size.h);
    compress(&raw, &stream, &format!("{format} {options}"));
    stream
}

#[test]
#[ignore = "needs opj_compress and opj_decompress"]
fn subsampled_components_repeat_their_samples_across_tile_borders() {
    let folder = Folder::new("jp2-steps");
    // x, y: image offset on the reference grid. No tile is a single odd column or row, which OpenJPEG does not reproduce
    for (options, x, y) in [
        ("-n 3", 0, 0),
        ("-n 3 -t 33,25", 0, 0),
        ("-n 2 -t 11,7", 0, 0),
        ("-n 3 -t 33,25 -d 3,5 -T 1,2", 3, 5),
        ("-n 3 -t 32,31 -d 7,1 -T 5,0", 7, 1),
    ] {
        let stream = subsampled(&folder.0, Size::new(99, 77), options);
        let ours = open(&stream).unwrap();
        for reduction in 0..=ours.reductions() {
            let expected = reference(&stream, reduction, &folder.0).expect(options);
            let size = ours.size(reduction);
            let whole = Rect::new(0, 0, size.w, size.h);
            let planes = ours.read(reduction, whole, u16::MAX, &NoBlocks).unwrap();
            let parts = planes.iter().zip(&expected).zip(ours.components());
            for (number, ((plane, expected), component)) in parts.enumerate() {
                let half = |value: u32| value.div_ceil(1 << reduction);
                // the last sample at or before the pixel, or the first one
                let from = |at: u32, start: u32, step: u32| {
                    let first = half(start.div_ceil(step));
                    ((half(start) + at) / step).saturating_sub(first)
                };
                for (place, got) in (0..).zip(plane) {
                    let column = from(place % size.w, x, component.step.0);
                    let row = from(place / size.w, y, component.step.1);
                    let sample = expected.samples[(row * expected.size.w + column) as usize];
                    assert_eq!(
                        i64::from(*got),
                        sample,
                        "{options} -r {reduction}: component {number}, {} of {size:?}",
                        place
                    );
                }
            }
            // single pixels, pairs of columns, and rows
            for (w, h, every) in [(1, 1, 3), (2, size.h, 1), (size.w, 1, 1)] {
                for place in (0..size.w * size.h).step_by(every) {
                    let rect = Rect::new(place % size.w, place / size.w, w, h);
                    if rect.meet(whole) != Some(rect) {
                        continue;
                    }
                    let window = ours.read(reduction, rect, u16::MAX, &NoBlocks).unwrap();
                    for (plane, window) in planes.iter().zip(&window) {
                        for (row, got) in window.chunks(w as usize).enumerate() {
                            let start = (rect.y as usize + row) * size.w as usize + rect.x as usize;
                            assert_eq!(got, &plane[start..start + got.len()], "{options} {rect:?}");
                        }
                    }
                }
            }
        }
    }
}

/// The offset of the first tile-part of a codestream, and its tile-parts.
fn tile_parts(stream: &[u8]) -> (usize, Vec<&[u8]>) {
    let first = stream.windows(4).position(|w| w == [0xff, 0x90, 0, 10]).unwrap();
    let (mut at, mut parts) = (first, Vec::new());
    while stream[at..at + 2] == [0xff, 0x90] {
        let len = u32::from_be_bytes(stream[at + 6..at + 10].try_into().unwrap());
        parts.push(&stream[at..at + len as usize]);
        at += len as usize;
    }
    (first, parts)
}

#[test]
#[ignore = "needs opj_compress and opj_decompress"]
fn a_tile_may_have_fewer_resolutions_than_the_image() {
    let folder = Folder::new("jp2-fewer");
    let picture = picture(&folder.0, 200, 150);
    let path = folder.0.join("made.j2k");
    let compressed = |levels: &str| {
        compress(&picture, &path, &format!("-t 64,64 -n {levels}"));
        std::fs::read(&path).unwrap()
    };
    let (many, few) = (compressed("5"), compressed("2"));
    let (first, parts) = tile_parts(&many);
    let (_, others) = tile_parts(&few);
    let cod = few.windows(2).position(|two| two == [0xff, 0x52]).unwrap();
    let cod = &few[cod..cod + 14];
    let mut mixed = many[..first].to_vec();
    for (number, (part, other)) in parts.iter().zip(&others).enumerate() {
        if number == 5 {
            let len = u32::try_from(other.len() + cod.len()).unwrap().to_be_bytes();
            mixed.extend_from_slice(&[&other[..6], &len, &other[10..12], cod, &other[12..]].concat());
        } else {
            mixed.extend_from_slice(part);
        }
    }
    mixed.extend_from_slice(&[0xff, 0xd9]);
    std::fs::write(&path, &mixed).unwrap();
    let stream = open(&path).unwrap();
    assert_eq!(stream.reductions(), 1);
    for reduction in [0, 1] {
        assert_eq!(check("mixed", &path, reduction, &folder.0), Some(0));
    }
    let prefix = format!("{}/", folder.0.display());
    let service = Service::new(config(&[("FILESYSTEM_PREFIX", &prefix)]));
    for width in [200, 100, 50, 13] {
        let query = format!("FIF=made.j2k&WID={width}&CVT=png");
        let size = pixels(&service.respond(Http::query(&query))).size;
        assert_eq!(size.w, width);
    }
}

/// Moves the packet headers of a codestream with one tile-part from between SOP and EPH into PPM segments of the main header
/// or PPT segments of the tile-part header (T.800 A.7.4, A.7.5).
fn packed(stream: &[u8], main: bool) -> Vec<u8> {
    let find = |what: &[u8], from: usize| {
        let found = stream[from..].windows(what.len()).position(|found| found == what);
        found.map(|at| from + at)
    };
    let sot = find(&[0xff, 0x90, 0, 10], 0).unwrap();
    let sod = find(&[0xff, 0x93], sot).unwrap();
    let (mut headers, mut bodies) = (Vec::new(), Vec::new());
    let mut at = sod + 2;
    while at < stream.len() - 2 {
        assert_eq!(stream[at..at + 4], [0xff, 0x91, 0, 4]);
        let end = find(&[0xff, 0x91, 0, 4], at + 6).unwrap_or(stream.len() - 2);
        let body = find(&[0xff, 0x92], at + 6).unwrap() + 2;
        headers.extend_from_slice(&stream[at + 6..body - 2]);
        bodies.extend_from_slice(&stream[body..end]);
        at = end;
    }
    if main {
        let len = u32::try_from(headers.len()).unwrap().to_be_bytes();
        headers.splice(0..0, len);
    }
    let segments: Vec<u8> = (0..)
        .zip(headers.chunks(100))
        .flat_map(|(number, piece): (u8, &[u8])| {
            let len = u16::try_from(piece.len() + 3).unwrap().to_be_bytes();
            [
                &[0xff, if main { 0x60 } else { 0x61 }][..],
                &len,
                &[number],
                piece,
            ]
            .concat()
        })
        .collect();
    let mut head = stream[..sot].to_vec();
    // clears the SOP and EPH flags
    head[find(&[0xff, 0x52], 0).unwrap() + 4] &= 1;
    let (of_main, of_part) = if main {
        (segments, Vec::new())
    } else {
        (Vec::new(), segments)
    };
    let len = u32::try_from(14 + of_part.len() + bodies.len()).unwrap();
    [
        &head,
        &of_main,
        &stream[sot..sot + 6],
        &len.to_be_bytes(),
        &stream[sot + 10..sot + 12],
        &of_part,
        &[0xff, 0x93],
        &bodies,
        &[0xff, 0xd9],
    ]
    .concat()
}

#[test]
#[ignore = "needs opj_compress and opj_decompress"]
fn packed_packet_headers_are_read() {
    let folder = Folder::new("jp2-packed");
    let picture = picture(&folder.0, 130, 97);
    let path = folder.0.join("made.j2k");
    // the last layers of the second codestream are empty
    for options in ["-n 3 -SOP -EPH", "-n 4 -r 9,8.9,8.8 -p RLCP -SOP -EPH -M 4"] {
        compress(&picture, &path, options);
        let stream = std::fs::read(&path).unwrap();
        let read = |stream: &[u8]| {
            let stream = Codestream::open(Box::new(stream.to_vec()), true).unwrap();
            stream
                .read(0, Rect::new(0, 0, 130, 97), u16::MAX, &NoBlocks)
                .unwrap()
        };
        for main in [true, false] {
            assert!(read(&packed(&stream, main)) == read(&stream), "{options} {main}");
        }
    }
}

#[test]
#[ignore = "needs opj_compress and opj_decompress"]
fn unknown_transforms_and_markers_are_refused() {
    let folder = Folder::new("jp2-refused");
    let picture = picture(&folder.0, 30, 20);
    let path = folder.0.join("made.j2k");
    compress(&picture, &path, "-n 2");
    let stream = std::fs::read(&path).unwrap();
    let refused = |stream: Vec<u8>| match Codestream::open(Box::new(stream), false) {
        Err(Error::Unsupported(what)) => what,
        other => panic!("{:?}", other.err()),
    };
    let cod = stream.windows(2).position(|two| two == [0xff, 0x52]).unwrap();
    let mut unknown_transform = stream.clone();
    unknown_transform[cod + 8] = 2;
    assert_eq!(
        refused(unknown_transform),
        "component transform 2 is not supported"
    );
    let mut unknown_marker = stream.clone();
    unknown_marker.splice(cod..cod, [0xff, 0x76, 0, 6, 0, 0, 0, 3]);
    assert_eq!(refused(unknown_marker), "marker 0xff76 is not supported");
}

#[test]
#[ignore = "needs opj_compress and opj_decompress"]
fn a_file_is_served_completely() {
    let folder = Folder::new("jp2-served");
    let (w, h) = (1300, 900);
    let picture = picture(&folder.0, w, h);
    let whole = std::fs::read(&picture).unwrap();
    let whole = &whole[whole.len() - (w * h * 3) as usize..];
    let prefix = format!("{}/", folder.0.display());
    for (options, cache) in [
        ("-n 3", "10"),
        ("-n 4 -b 32,32", "1"),
        ("-n 6 -t 256,256", "64"),
        ("-n 6 -c [128,128]", "0"),
    ] {
        compress(&picture, &folder.0.join("made.jp2"), options);
        let service = Service::new(config(&[
            ("FILESYSTEM_PREFIX", &prefix),
            ("MAX_LAYERS", "-1"),
            ("MAX_IMAGE_CACHE_SIZE", cache),
        ]));
        let get = |query: &str| service.respond(Http::query(query));
        let reply = get("FIF=made.jp2&OBJ=Max-size&OBJ=Tile-size&OBJ=Resolutions");
        let text = text(&reply);
        assert!(
            text.contains("Max-size:1300 900\r\nTile-size:256 256\r\n"),
            "{text}"
        );
        // levels go down to one tile, whatever the file has
        assert!(text.contains("650 450,1300 900\r\n"), "{text}");
        assert!(
            text.contains("Resolutions:163 113,") || text.contains("Resolutions:41 29,"),
            "{text}"
        );
        let Samples::U8(full) = pixels(&get("IIIF=made.jp2/full/max/0/default.png")).samples else {
            panic!("8 bits")
        };
        assert!(full == whole, "{options}: the whole is what was written");
        // every tile of the full size, twice: the second time the cache may have their code-blocks
        for (column, row) in
            (0..2).flat_map(|_| (0..4).flat_map(|row| (0..6).map(move |column| (column, row))))
        {
            let (x, y) = (column * 256, row * 256);
            let (tw, th) = ((w - x).min(256), (h - y).min(256));
            let tile = pixels(&get(&format!(
                "IIIF=made.jp2/{x},{y},{tw},{th}/max/0/default.png"
            )));
            let Samples::U8(tile) = tile.samples else {
                panic!("8 bits")
            };
            for (line, got) in tile.chunks((tw * 3) as usize).enumerate() {
                let start = ((y as usize + line) * w as usize + x as usize) * 3;
                assert!(
                    got == &whole[start..start + got.len()],
                    "{options}: tile {column},{row} line {line}"
                );
            }
        }
    }
}

/// Reads every resolution of a codestream and ignores errors. A panic fails the test.
fn read_all(bytes: &[u8]) {
    let Ok(stream) = Codestream::open(Box::new(bytes.to_vec()), bytes.len().is_multiple_of(8)) else {
        return;
    };
    for reduction in 0..=stream.reductions().min(1) {
        let size = stream.size(reduction);
        let rect = Rect::new(0, 0, size.w.clamp(1, 200), size.h.clamp(1, 200));
        let _ = stream.read(reduction, rect, u16::MAX, &NoBlocks);
    }
}

#[test]
#[ignore = "needs opj_compress and opj_decompress"]
fn requests_and_settings_limit_quality_layers() {
    let folder = Folder::new("jp2-layers");
    let picture = picture(&folder.0, 400, 300);
    compress(&picture, &folder.0.join("made.jp2"), "-I -n 3 -r 80,20,5");
    let prefix = format!("{}/", folder.0.display());
    let drawn = |most: &str, query: &str| {
        let service = Service::new(config(&[("FILESYSTEM_PREFIX", &prefix), ("MAX_LAYERS", most)]));
        // the result does not depend on earlier requests
        service.respond(Http::query("FIF=made.jp2&PTL=1,0"));
        pixels(&service.respond(Http::query(&format!("FIF=made.jp2&{query}")))).samples
    };
    for ask in ["PTL=1,0", "PTL=0,0", "WID=300&CVT=png"] {
        let one = drawn("1", ask);
        let two = drawn("2", ask);
        assert!(one != two && two != drawn("3", ask), "{ask}");
        assert!(drawn("-1", &format!("LYR=1&{ask}")) == one, "{ask}");
        assert!(drawn("-1", &format!("LYR=2&{ask}")) == two, "{ask}");
        assert!(
            drawn("2", &format!("LYR=3&{ask}")) == two,
            "MAX_LAYERS limits LYR"
        );
        assert!(drawn("2", &format!("LYR=0&{ask}")) == two, "{ask}");
    }
}

#[test]
#[ignore = "needs opj_compress and opj_decompress"]
fn damaged_codestreams_cause_no_panic() {
    let folder = Folder::new("jp2-damage");
    let picture = picture(&folder.0, 61, 47);
    let stream = folder.0.join("made.j2k");
    for options in [
        "-n 3",
        "-n 3 -t 32,32 -I -r 4 -SOP -EPH",
        "-n 2 -p CPRL -r 8,1 -c [32,32]",
        "-n 3 -M 5 -d 3,5 -T 1,2 -t 40,40",
        "-POC T1=0,0,1,3,3,LRCP/T1=0,0,1,6,3,RPCL",
    ] {
        compress(&picture, &stream, options);
        let whole = std::fs::read(&stream).unwrap();
        for len in (0..whole.len()).step_by(whole.len() / 97 + 1) {
            read_all(&whole[..len]);
        }
        // every byte of the headers, some bytes of the rest
        let headers = 200.min(whole.len());
        let rest = (headers..whole.len()).step_by(whole.len() / 97 + 1);
        for at in (0..headers).chain(rest) {
            for flip in [0x01, 0xff] {
                let mut wrong = whole.clone();
                wrong[at] ^= flip;
                read_all(&wrong);
            }
        }
    }
}

#[test]
#[ignore = "needs CORPUS"]
fn bad_files_of_the_corpus_cause_no_panic() {
    let bad = corpus().join("bad");
    let service = Service::new(config(&[("FILESYSTEM_PREFIX", &format!("{}/", bad.display()))]));
    let mut tried = 0;
    for entry in std::fs::read_dir(&bad).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let suffix = path.extension().map(|s| s.to_string_lossy().into_owned());
        if !matches!(suffix.as_deref(), Some("jp2" | "j2k" | "jpx" | "j2c" | "jph")) {
            continue;
        }
        tried += 1;
        let start = std::time::Instant::now();
        for ask in [
            "full/200,/0/default.jpg",
            "0,0,64,64/max/0/default.png",
            "info.json",
        ] {
            let status = service.respond(Http::query(&format!("IIIF={name}/{ask}"))).status;
            assert!(
                matches!(status, 200 | 400 | 404 | 413 | 500 | 501),
                "{name}: {status}"
            );
        }
        assert!(
            start.elapsed().as_secs() < 120,
            "{name} took {:?}",
            start.elapsed()
        );
    }
    assert!(tried > 0);
}

/// Files that are refused, and the reason.
const REFUSED: [(&str, &str); 1] = [(
    "ojph__simple_dec_irv53_bhvhb_low_latency.jph",
    "wavelet transform 2 is not supported",
)];

#[test]
#[ignore = "needs CORPUS and opj_decompress"]
fn files_of_the_corpus_are_decoded_as_by_openjpeg() {
    let folder = Folder::new("jp2-corpus");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(corpus().join("jp2"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    assert!(paths.len() > 40);
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let stream = codestream(&path, &folder.0);
        if let Some((_, reason)) = REFUSED.iter().find(|(file, _)| *file == name) {
            let error = open(&stream).err().expect("refused");
            assert_eq!(error.to_string(), *reason, "{name}");
            continue;
        }
        // opj_decompress takes subsampled components without boxes for sYCC and converts them to RGB
        if name == "ojph__simple_dec_irv97_64x64_tiles_yuv.jph" {
            let size = open(&stream).unwrap().size(0);
            assert!(
                open(&stream)
                    .unwrap()
                    .read(0, Rect::new(0, 0, size.w, size.h), 1, &NoBlocks)
                    .is_ok()
            );
            continue;
        }
        // half a gigapixel of one colour: only small resolutions are compared
        let reduction = if name.contains("32769") { 5 } else { 0 };
        let worst = check(&name, &stream, reduction, &folder.0)
            .unwrap_or_else(|| panic!("{name}: opj_decompress refuses it"));
        let whole = open(&stream).unwrap().is_reversible();
        assert!(worst <= i64::from(!whole), "{name}: {worst}");
    }
}

/// Conformance streams of T.814 whose code-blocks have several layers or mixed coders. For each component: the largest
/// difference and mean squared error of a class 1 decoder (ISO/IEC 15444-4, values of OpenHTJ2K's tests). Streams with few
/// bits per block have less precision than the references.
const THROUGHPUT: [(&str, &[(i64, f64)]); 9] = [
    ("ht_02", &[(1, 0.001)]),
    ("ht_04", &[(7, 0.876), (6, 0.726), (8, 1.17)]),
    (
        "ht_06",
        &[(3135, 86_287.0), (403, 6124.0), (378, 3968.0), (200, 2000.0)],
    ),
    (
        "hm_06",
        &[(635, 11_287.0), (403, 6124.0), (378, 3968.0), (200, 2000.0)],
    ),
    ("ht_08", &[(40, 45.0), (40, 30.0), (40, 45.0)]),
    ("ht_10", &[(0, 0.0); 3]),
    ("ht_12", &[(0, 0.0)]),
    ("ht_14", &[(0, 0.0); 3]),
    ("ht_16", &[(0, 0.0)]),
];

#[test]
#[ignore = "needs CORPUS"]
fn high_throughput_blocks_of_the_corpus_are_decoded_within_the_tolerance_of_the_standard() {
    let folder = corpus().join("reports/ht");
    for (name, most) in THROUGHPUT {
        let ours = open(&folder.join(format!("htj2k-conf__ds0_{name}_b11.j2k"))).unwrap();
        // this reference has half the size
        let reduction = u8::from(name == "ht_08");
        let size = ours.size(reduction);
        let planes = ours
            .read(reduction, Rect::new(0, 0, size.w, size.h), u16::MAX, &NoBlocks)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(planes.len(), most.len(), "{name}");
        for (number, (plane, most)) in planes.iter().zip(most).enumerate() {
            let wanted = pgx(&folder.join(format!("htj2k-ref__c1p0_{}-{number}.pgx", &name[3..])));
            let (across, step) = (wanted.size.w as usize, ours.components()[number].step);
            let off: Vec<i64> = (wanted.samples.iter().enumerate())
                .map(|(index, want)| {
                    let (x, y) = (index % across * step.0 as usize, index / across * step.1 as usize);
                    (i64::from(plane[y * size.w as usize + x]) - want).abs()
                })
                .collect();
            let worst = off.iter().max().unwrap();
            let mean = off.iter().map(|off| (off * off) as f64).sum::<f64>() / off.len() as f64;
            assert!(
                *worst <= most.0 && mean <= most.1,
                "{name}: component {number}: largest difference {worst}, mean squared error {mean}"
            );
        }
    }
}

/// A bit writer for packet headers that stuffs a zero bit after 0xff (T.800 B.10.1).
#[derive(Default)]
struct Header(Vec<u8>, u8);

impl Header {
    fn put(&mut self, value: u32, bits: u32) {
        for bit in (0..bits).rev() {
            if self.1 == 0 {
                self.1 = if self.0.last() == Some(&0xff) { 7 } else { 8 };
                self.0.push(0);
            }
            self.1 -= 1;
            *self.0.last_mut().unwrap() |= ((value >> bit & 1) as u8) << self.1;
        }
    }

    fn bytes(mut self) -> Vec<u8> {
        if self.0.last() == Some(&0xff) {
            self.0.push(0);
        }
        self.0
    }

    /// The number of coding passes (T.800 Table B.4).
    fn passes(&mut self, passes: u32) {
        match passes {
            1 => self.put(0, 1),
            2 => self.put(0b10, 2),
            3..=5 => self.put(0b1100 | (passes - 3), 4),
            _ => self.put(0b1111 << 5 | (passes - 6), 9),
        }
    }
}

/// A layer's part of the only block: passes, and codeword segments with the number of length bits beyond `lblock`.
type Layer<'a> = (u32, Vec<(u32, &'a [u8])>);

/// A picture of 9x7 signed samples in one code-block without wavelet, with 8 bit-planes of which the first `zero` are empty.
fn one_block(style: u8, zero: u32, lblock: u32, layers: &[Layer]) -> Vec<u8> {
    let mut stream = vec![0xff, 0x4f, 0xff, 0x51, 0, 41, 0x40, 0];
    for number in [9u32, 7, 0, 0, 9, 7, 0, 0] {
        stream.extend(number.to_be_bytes());
    }
    stream.extend([0, 1, 0x87, 1, 1]);
    stream.extend([0xff, 0x50, 0, 8, 0, 2, 0, 0, 0, 0]);
    stream.extend([
        0xff,
        0x52,
        0,
        12,
        0,
        0,
        0,
        layers.len() as u8,
        0,
        0,
        4,
        4,
        style,
        1,
    ]);
    stream.extend([0xff, 0x5c, 0, 4, 0x20, 8 << 3]);
    stream.extend([0xff, 0x90, 0, 10, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0x93]);
    let mut seen = false;
    for (passes, segments) in layers {
        let mut header = Header::default();
        header.put(1, 1);
        header.put(u32::from(*passes > 0), 1);
        if *passes > 0 {
            if !seen {
                header.put(1, zero + 1);
            }
            header.passes(*passes);
            let more = if seen { 0 } else { lblock - 3 };
            header.put((1 << (more + 1)) - 2, more + 1);
            for (bits, bytes) in segments {
                header.put(bytes.len() as u32, lblock + bits);
            }
            seen = true;
        }
        stream.extend(header.bytes());
        segments.iter().for_each(|(_, bytes)| stream.extend(*bytes));
    }
    stream.extend([0xff, 0xd9]);
    stream
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap())
        .collect()
}

#[test]
fn passes_of_a_high_throughput_block_may_be_spread_over_layers() {
    // the same picture as a clean-up pass by OpenJPH, and as 22 passes of part 1 by OpenJPEG
    let cleanup = hex(
        "ff72e9efe4e9f3698b389500d0c5b9737b9b7f2fdf482f78342f4ee1f04dc65b38a14508ac0761977a48e57eea001765\
         e2ece9b9a722fe0205fefbfb9bbd7281d53c23bb3881fe4caa000031b701",
    );
    let part1 = hex(
        "122b584cd6577b9a5903e25d1512fc0b7b854acaab1008cf186a3f7603468f066d44adf7e0ef954a0c0866e51fd1\
         a6acdefc391c4ab2df50968b0ead25e2c741c57f",
    );
    let at = |x: i32, y: i32| ((x * x * 7 + y * y * 13 + x * y * 5) / 3 + (x ^ y) * 9) % 256 - 128;
    let picture: Vec<i32> = (0..7).flat_map(|y| (0..9).map(move |x| at(x, y))).collect();
    let decoded = |stream: Vec<u8>, layers| {
        let stream = Codestream::open(Box::new(stream), true).unwrap();
        stream
            .read(0, Rect::new(0, 0, 9, 7), layers, &NoBlocks)
            .unwrap()
            .remove(0)
    };
    let (c, p) = (&cleanup[..], &part1[..]);
    // a clean-up pass of other values, with its refinement passes
    let (other, refined) = (hex("3f9005111600"), hex("ff7f90ff7fc5ff7faa27ff7fff03"));
    let (o, r) = (&other[..], &refined[..]);
    let none: &[u8] = &[];
    for (style, zero, lblock, layers) in [
        (0x40, 7, 7, vec![(1, vec![(0, c)])]),
        // six empty passes first: two bit-planes
        (0x40, 5, 7, vec![(7, vec![(2, c)])]),
        (
            0x40,
            5,
            7,
            vec![(3, vec![(1, none)]), (4, vec![(2, c)]), (0, vec![])],
        ),
        (
            0x40,
            5,
            7,
            vec![(0, vec![]), (1, vec![(0, none)]), (6, vec![(2, c)])],
        ),
        // an HT set first, whole and spread over layers
        (0x40, 6, 7, vec![(3, vec![(0, o), (1, r)]), (1, vec![(0, c)])]),
        (
            0x40,
            6,
            7,
            vec![
                (1, vec![(0, o)]),
                (1, vec![(0, &r[..5])]),
                (2, vec![(0, &r[5..]), (0, c)]),
            ],
        ),
        // an empty HT set last
        (
            0x40,
            7,
            7,
            vec![(1, vec![(0, c)]), (3, vec![(1, none), (0, none)])],
        ),
        // mixed coders: the first bit of the length is 0 or 1
        (0xc0, 7, 8, vec![(1, vec![(0, c)])]),
        (0xc0, 5, 8, vec![(3, vec![(1, none)]), (4, vec![(2, c)])]),
        (0xc0, 0, 3, vec![(22, vec![(4, p)])]),
        (
            0xc0,
            0,
            3,
            vec![(10, vec![(3, &p[..30])]), (12, vec![(3, &p[30..])])],
        ),
        (0xc0, 0, 3, vec![(2, vec![(1, none)]), (20, vec![(4, p)])]),
    ] {
        let name = format!(
            "{style:#x} {zero} {:?}",
            layers.iter().map(|l| l.0).collect::<Vec<_>>()
        );
        let stream = one_block(style, zero, lblock, &layers);
        assert_eq!(decoded(stream, u16::MAX), picture, "{name}");
    }
    // the two refinement passes share a segment, in one layer or in two
    let sets = |layers: &[Layer]| one_block(0x40, 5, 7, layers);
    let whole = decoded(sets(&[(1, vec![(0, o)]), (2, vec![(1, r)])]), u16::MAX);
    let split = sets(&[
        (1, vec![(0, o)]),
        (1, vec![(0, &r[..6])]),
        (1, vec![(0, &r[6..])]),
    ]);
    assert_eq!(decoded(split.clone(), u16::MAX), whole);
    assert_ne!(decoded(split, 1), whole);
    // a clean-up pass cannot be one byte long
    let wrong = one_block(0x40, 7, 7, &[(1, vec![(0, &c[..1])])]);
    let opened = Codestream::open(Box::new(wrong), true).unwrap();
    let read = opened.read(0, Rect::new(0, 0, 9, 7), u16::MAX, &NoBlocks);
    assert!(matches!(read, Err(Error::Corrupt(_))));
}

#[test]
#[ignore = "needs opj_compress and opj_decompress"]
fn the_orientation_of_an_exif_box_is_applied_if_enabled() {
    let folder = Folder::new("jp2-exif");
    let (chart, plain) = (picture(&folder.0, 300, 200), folder.0.join("plain.jp2"));
    compress(&chart, &plain, "");
    let bytes = std::fs::read(&plain).unwrap();
    // a directory with Orientation 6 alone
    let tiff = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
    let adobe = hex("0537cdab9d0c4431a72afa561f2a113e");
    let part = |kind: &[u8], body: &[&[u8]]| {
        let body = [&[kind][..], body].concat().concat();
        [&(body.len() as u32 + 4).to_be_bytes()[..], &body].concat()
    };
    for (name, exif) in [
        ("exiftool", part(b"uuid", &[b"JpgTiffExif->JP2", tiff])),
        ("as-in-jpeg", part(b"uuid", &[b"JpgTiffExif->JP2Exif\0\0", tiff])),
        ("adobe", part(b"uuid", &[&adobe, tiff])),
        ("heif", part(b"Exif", &[&[0; 4], tiff])),
    ] {
        // after the signature and file type boxes
        let start = 12 + u32::from_be_bytes(*bytes[12..].first_chunk().unwrap()) as usize;
        let before = [&bytes[..start], &exif, &bytes[start..]].concat();
        std::fs::write(folder.0.join(format!("{name}-before.jp2")), before).unwrap();
        std::fs::write(
            folder.0.join(format!("{name}-after.jp2")),
            [&bytes[..], &exif].concat(),
        )
        .unwrap();
        for place in ["before", "after"] {
            let ask = |upright, rest: &str| {
                let prefix = format!("{}/", folder.0.display());
                let service = Service::new(config(&[
                    ("FILESYSTEM_PREFIX", &prefix),
                    ("ORIENTATION", upright),
                ]));
                pixels(&service.respond(Http::query(&format!(
                    "IIIF={name}-{place}.jp2/{rest}/default.png"
                ))))
            };
            let turned = ask("1", "full/max/0");
            assert_eq!(turned.size, Size::new(200, 300), "{name} {place}");
            assert_eq!(turned, ask("0", "full/max/90"), "{name} {place}");
            assert_eq!(ask("1", "10,20,50,70/max/0").size, Size::new(50, 70));
        }
    }
}

#[test]
#[ignore = "needs opj_compress and opj_decompress"]
fn elevations_in_jpeg_2000_are_shown_by_their_own_range_and_exported_unchanged() {
    let folder = Folder::new("jp2-signed");
    let raw = folder.0.join("dem.rawl");
    let value = |at: i16| at % 40 * 10 - 100 + at / 40;
    let values: Vec<u8> = (0..1200).flat_map(|at| value(at).to_le_bytes()).collect();
    std::fs::write(&raw, values).unwrap();
    compress(&raw, &folder.0.join("dem.jp2"), "-F 40,30,1,16,s -n 1");
    let prefix = format!("{}/", folder.0.display());
    let service = Service::new(config(&[("FILESYSTEM_PREFIX", &prefix)]));
    let ask = |query: &str| service.respond(Http::query(query));
    let range = text(&ask("FIF=dem.jp2&OBJ=Min-Max-sample-values"));
    assert_eq!(range, "Min-Max-sample-values: -100  319\r\n");
    let shown = pixels(&ask("IIIF=dem.jp2/full/max/0/default.png"));
    let Samples::U8(bytes) = &shown.samples else {
        panic!("8 bits")
    };
    assert_eq!(
        (bytes[0], bytes[1199], bytes[20]),
        (0, 255, (200u32 * 255 / 419) as u8 + 1)
    );
    let export = ask("IIIF=dem.jp2/full/max/0/default.tif");
    std::fs::write(folder.0.join("dem.tif"), &export.body).unwrap();
    let opened = iipsrv::store::open(&folder.0.join("dem.tif")).unwrap();
    let limits = iipsrv::source::tiff::Limits::default();
    let tiff = iipsrv::source::tiff::Tiff::open(opened, &limits).unwrap();
    let header = iipsrv::source::Source::header(&tiff);
    assert_eq!(
        (header.kind, header.bits),
        (iipsrv::raster::SampleFormat::Signed, 16)
    );
    assert_eq!(header.meaning.ranges, [(-100.0, 319.0)]);
}

#[test]
#[ignore = "needs opj_compress and opj_decompress"]
fn hundreds_of_components_are_read() {
    let folder = Folder::new("jp2-components");
    let raw = folder.0.join("many.raw");
    std::fs::write(&raw, [9; 257 * 12]).unwrap();
    let stream = folder.0.join("many.j2k");
    compress(&raw, &stream, "-F 4,3,257,8,u -n 1");
    let opened = open(&stream).unwrap();
    let planes = opened.read(0, Rect::new(0, 0, 4, 3), 1, &NoBlocks).unwrap();
    assert_eq!(planes, vec![vec![9; 12]; 257]);
}
