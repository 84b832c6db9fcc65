//! Seeds of the fuzz targets: files of `fixtures/` and of other folders, and texts for targets without files.

use crate::targets::CODECS;
use iipsrv::source::file_format::FileFormat;
use std::path::Path;
use std::path::PathBuf;

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

/// Requests and fragments of the protocols.
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

/// Requests in HTTP/1.1 and HTTP/2 (RFC 9113 §3.4, RFC 7541 §6).
const REQUESTS: [&[u8]; 6] = [
    b"GET /iiif/a.tif/full/max/0/default.jpg HTTP/1.1\r\nHost: a\r\nAccept: */*\r\n\r\n",
    b"GET /fcgi-bin/iipsrv.fcgi?FIF=a&JTL=0,0 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a:80\r\nContent-Length: 4\r\n\r\nbodyHEAD / HTTP/1.1\r\nHost: [::1]:1\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nX: y\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01a",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\xff\xff\0\0\x06\x01\x04\0\0\0\x01\x82\x86\x84\x41\x01a\0\0\x04\0\x01\0\0\0\x01body\0\0\x04\x03\0\0\0\0\x01\0\0\0\x08",
];

/// Sequences of FastCGI records (FastCGI §8), each split differently.
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

/// The first tile or strip of a little-endian TIFF file.
struct Strip<'a> {
    compression: u16,
    bits: u16,
    /// Its width and height.
    sides: (u32, u32),
    predictor: u32,
    /// JPEGTables.
    tables: &'a [u8],
    bytes: &'a [u8],
}

impl Strip<'_> {
    fn of(file: &[u8]) -> Option<Strip<'_>> {
        let short = |at: usize| Some(u16::from_le_bytes(*file.get(at..)?.first_chunk()?));
        let long = |at: usize| Some(u32::from_le_bytes(*file.get(at..)?.first_chunk()?) as usize);
        let ifd = long(4).filter(|_| file.starts_with(b"II*\0"))?;
        let value = |tag: u16| {
            let entries = (0..usize::from(short(ifd)?)).map(|n| ifd + 2 + 12 * n);
            let at = entries.clone().find(|at| short(*at) == Some(tag))?;
            let bytes = long(at + 4)? * [1, 1, 1, 2, 4].get(usize::from(short(at + 2)?)).unwrap_or(&1);
            let start = if bytes > 4 { long(at + 8)? } else { at + 8 };
            file.get(start..start + bytes)
        };
        let number = |tag| {
            let bytes = value(tag)?;
            let wide = bytes.first_chunk().map(|four| u32::from_le_bytes(*four));
            let narrow = bytes.first_chunk().map(|two| u32::from(u16::from_le_bytes(*two)));
            // several values are SHORT
            if bytes.len() == 4 { wide } else { narrow }
        };
        let first = |tag| Some(u32::from_le_bytes(*value(tag)?.first_chunk()?) as usize);
        let start = first(324).or_else(|| first(273))?;
        let len = first(325).or_else(|| first(279))?;
        Some(Strip {
            compression: number(259)? as u16,
            bits: value(258)?.first_chunk().map(|two| u16::from_le_bytes(*two))?,
            sides: (
                number(322).or_else(|| number(256))?,
                number(323).or_else(|| number(257))?,
            ),
            predictor: number(317).unwrap_or(1),
            tables: value(347).unwrap_or_default(),
            bytes: file.get(start..start + len)?,
        })
    }
}

/// An input of the target `codec` from a file, if the target has its scheme.
fn coded(path: &Path, file: &[u8]) -> Option<Vec<u8>> {
    let schemes: [(&str, u16); 7] = [
        ("jpg", 7),
        ("png", 34_933),
        ("webp", 50_001),
        ("jbg", 34_661),
        ("jxl", 50_002),
        ("j2k", 34_712),
        ("jp2", 34_712),
    ];
    let suffix = path.extension()?.to_str()?;
    let strip = match schemes.iter().find(|(known, _)| *known == suffix) {
        Some((_, compression)) => Strip {
            compression: *compression,
            bits: if suffix == "jbg" { 1 } else { 8 },
            // the sizes of fixtures/seeds
            sides: (46, 32),
            predictor: 1,
            tables: &[],
            bytes: file,
        },
        None => Strip::of(file)?,
    };
    let rows = CODECS.iter();
    let row = (rows
        .clone()
        .position(|row| (row.0, row.1) == (strip.compression, strip.bits)))
    .or_else(|| rows.clone().position(|row| row.0 == strip.compression))?;
    let (w, h) = strip.sides;
    let head = [
        row as u32,
        w.saturating_sub(1) / 3,
        h.saturating_sub(1),
        strip.predictor.saturating_sub(1) << 4,
    ]
    .map(|byte| byte as u8);
    (strip.bytes.len() < 20 << 10).then(|| [&head, strip.bytes].concat())
}

/// Inputs of the target `merge` from a file: its tables and its JPEG stream.
fn jpegs(file: &[u8]) -> Vec<Vec<u8>> {
    let (tables, stream) = match Strip::of(file) {
        Some(strip) if strip.compression == 7 => (strip.tables, strip.bytes),
        _ if file.starts_with(&[0xff, 0xd8]) => (&[][..], file),
        _ => return Vec::new(),
    };
    let len = (tables.len() as u16).to_be_bytes();
    (0..4)
        .map(|colour| [&len, &[colour][..], tables, stream].concat())
        .collect()
}

/// The seeds of a target.
pub fn seeds(name: &str, folders: &[PathBuf]) -> Vec<Vec<u8>> {
    let words = || WORDS.iter().map(|word| word.as_bytes().to_vec());
    let paths = || folders.iter().flat_map(|folder| below(folder));
    let files = || {
        paths()
            .filter_map(|path| Some((std::fs::read(&path).ok()?, path)))
            .filter(|(file, _)| file.len() < 40 << 10)
    };
    let of = |wanted: &'static [FileFormat]| {
        let kind = |file: &[u8]| FileFormat::of(file.get(..12).unwrap_or(file));
        files()
            .map(|(file, _)| file)
            .filter(move |file| kind(file).is_some_and(|kind| wanted.is_empty() || wanted.contains(&kind)))
            .collect::<Vec<_>>()
    };
    match name {
        "query" | "sidecar" => words().collect(),
        "fastcgi" => records(),
        "http" => REQUESTS.iter().map(|request| request.to_vec()).collect(),
        "path" => words()
            .flat_map(|word| (0..4).map(move |n| [&[n], &*word].concat()))
            .collect(),
        "changing" => of(&[]).into_iter().map(|file| [&[20], &*file].concat()).collect(),
        "codec" => files().filter_map(|(file, path)| coded(&path, &file)).collect(),
        "merge" => files().flat_map(|(file, _)| jpegs(&file)).collect(),
        "memcached" => vec![iipsrv::cache::memcached::frame::wrap("key", b"body")],
        "jp2" => of(&[FileFormat::Jp2]),
        "jpeg" => of(&[FileFormat::Jpeg]),
        "png" => of(&[FileFormat::Png]),
        "webp" => of(&[FileFormat::Webp]),
        _ => of(&[FileFormat::Tiff]),
    }
}
