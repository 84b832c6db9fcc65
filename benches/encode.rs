//! `cargo bench --bench encode -- PHOTOS`: encodes pictures by this crate and by the tools of the C libraries in the same run.
//!
//! Rounds are interleaved; the output is the median CPU time per picture and its ratio to the tool's, which includes reading a
//! PPM file (a few per cent). Tools: cjpeg, cwebp, vips (libpng), of Debian's libjpeg-turbo-progs, webp and libvips-tools.
#![allow(
    missing_docs,
    unsafe_code,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_precision_loss
)]

use iipsrv::encode;
use iipsrv::encode::Output;
use iipsrv::encode::Tags;
use iipsrv::encode::TiffCompression;
use iipsrv::geometry::Size;
use iipsrv::raster::Format;
use iipsrv::raster::Layout;
use iipsrv::raster::Picture;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

const ROUNDS: usize = 5;

/// An encoder and the equivalent command; IN and OUT stand for file names.
struct Row {
    name: &'static str,
    format: Format,
    quality: i16,
    tool: &'static [&'static str],
    /// The highest acceptable ratio.
    most: f64,
}

const ROWS: [Row; 5] = [
    Row {
        name: "JPEG 75",
        format: Format::Jpeg,
        quality: 75,
        tool: &["cjpeg", "-quality", "75", "-outfile", "OUT", "IN"],
        most: 1.1,
    },
    Row {
        name: "PNG 1",
        format: Format::Png,
        quality: 1,
        tool: &[
            "vips",
            "--vips-concurrency=1",
            "copy",
            "IN",
            "OUT.png[compression=1]",
        ],
        most: 0.7,
    },
    Row {
        name: "PNG 6",
        format: Format::Png,
        quality: 6,
        tool: &[
            "vips",
            "--vips-concurrency=1",
            "copy",
            "IN",
            "OUT.png[compression=6,filter=all]",
        ],
        most: 0.7,
    },
    Row {
        name: "WebP 75",
        format: Format::Webp,
        quality: 75,
        tool: &["cwebp", "-quiet", "-q", "75", "IN", "-o", "OUT"],
        most: 1.1,
    },
    Row {
        name: "WebP lossless",
        format: Format::Webp,
        quality: -1,
        tool: &["cwebp", "-quiet", "-z", "0", "IN", "-o", "OUT"],
        most: 1.1,
    },
];

/// CPU seconds of this process or of its ended children.
fn cpu(who: libc::c_int) -> f64 {
    // SAFETY: zeros are a valid value of the structure, and the pointer to it is valid.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(who, &raw mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    seconds(usage.ru_utime) + seconds(usage.ru_stime)
}

fn timed(who: libc::c_int, work: impl FnOnce()) -> f64 {
    let before = cpu(who);
    work();
    cpu(who) - before
}

fn run(command: &[String]) {
    let status = Command::new(&command[0])
        .args(&command[1..])
        .stderr(Stdio::null())
        .status()
        .unwrap_or_else(|error| panic!("{}: {error}", command[0]));
    assert!(status.success(), "{command:?}");
}

/// Reads a binary PPM file.
fn read(path: &Path) -> Picture {
    let file = std::fs::read(path).unwrap();
    let mut at = 0;
    let mut word = || {
        let mut start = at + file[at..].iter().position(|b| !b.is_ascii_whitespace()).unwrap();
        while file[start] == b'#' {
            start += file[start..].iter().position(|&b| b == b'\n').unwrap() + 1;
        }
        at = start
            + file[start..]
                .iter()
                .position(|b| b.is_ascii_whitespace())
                .unwrap();
        String::from_utf8_lossy(&file[start..at]).into_owned()
    };
    assert_eq!(word(), "P6");
    let size = Size::new(word().parse().unwrap(), word().parse().unwrap());
    assert_eq!(word(), "255");
    Picture {
        size,
        layout: Layout::Rgb,
        data: file[at + 1..].to_vec(),
    }
}

fn main() {
    let photos: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .collect();
    if photos.is_empty() {
        eprintln!("encode: expected photographs");
        std::process::exit(1);
    }
    let folder = std::env::temp_dir().join(format!("iipsrv-encode-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (ppm, out) = (folder.join("in.ppm"), folder.join("out"));
    println!(
        "{:<24} {:<14} {:>9} {:>9} {:>6} {:>7}",
        "photo", "output", "here ms", "tool ms", "ratio", "wanted"
    );
    for photo in &photos {
        run(&["vips", "copy", photo, &ppm.display().to_string()].map(String::from));
        let picture = read(&ppm);
        for row in &ROWS {
            let output = Output {
                format: row.format,
                quality: row.quality,
                compression: TiffCompression::None,
                asked: true,
                style: iipsrv::codec::jpeg::JpegStyle::default(),
                full_metadata: false,
            };
            let tool: Vec<String> = row
                .tool
                .iter()
                .map(|word| match *word {
                    "IN" => ppm.display().to_string(),
                    word => word.replace("OUT", &out.display().to_string()),
                })
                .collect();
            let (mut here, mut there) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                here.push(timed(libc::RUSAGE_SELF, || {
                    black_box(encode::encode(&picture, output, &Tags::default()).unwrap());
                }));
                there.push(timed(libc::RUSAGE_CHILDREN, || run(&tool)));
            }
            here.sort_by(f64::total_cmp);
            there.sort_by(f64::total_cmp);
            let (here, there) = (here[ROUNDS / 2], there[ROUNDS / 2]);
            let name: String = Path::new(photo)
                .file_name()
                .unwrap()
                .to_string_lossy()
                .chars()
                .take(24)
                .collect();
            println!(
                "{name:<24} {:<14} {:>9.1} {:>9.1} {:>6.2} {:>7.1}",
                row.name,
                here * 1e3,
                there * 1e3,
                here / there,
                row.most
            );
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
