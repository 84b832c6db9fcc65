//! Every TIFF of the corpus is served with the pixels that another reader finds, or refused with the expected reason.
//!
//! `corpus.tsv` has a row for each file. A served file has `served`, size, channels and depth, hash of the samples at full
//! size, size of the smallest level and hash of its samples, and the comparison with tifffile (`tests/corpus.py`): `exact`,
//! `within N` where the compression is lossy or the other reader is coarser, `unread` where the other reader fails,
//! `otherwise` for the files of `OTHERWISE`. A refused file has `refused`, status and reason. BLESS=1 rewrites the table;
//! ONLY=part tries the files whose names contain that part and prints their rows. Needs CORPUS, a folder with a folder
//! `tiff`, and the Python environment that `tests/run` prepares.

use std::fmt::Write as _;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::ChildStdout;
use std::process::Command;
use std::process::Stdio;

use crate::support::corpus;
use iipsrv::error::Error;
use iipsrv::geometry::Rect;
use iipsrv::geometry::Size;
use iipsrv::library::Library;
use iipsrv::library::LibrarySettings;
use iipsrv::raster::Alpha;
use iipsrv::raster::Raster;
use iipsrv::raster::Samples;
use iipsrv::source::Header;
use iipsrv::source::Source;
use iipsrv::source::Window;
use iipsrv::source::cache::BandCache;
use iipsrv::source::cache::NoCache;
use iipsrv::source::derived::Budget;
use iipsrv::source::file_format::Options;
use iipsrv::source::window::blank;
use iipsrv::source::window::put;
use iipsrv::source::window::raster;

/// Files for which the other reader gives different pixels, and why this server is right.
const OTHERWISE: &[(&str, &str)] = &[
    (
        "gdal-gtiff__sparse_nodata_one.tif",
        "its only tile was never written: the script reads the first byte of the file; GDAL takes GDAL_NODATA",
    ),
    (
        "gdal-gtiff__float32_minwhite.tif",
        "the script does not turn white round in floating point",
    ),
    (
        "gdal-gtiff__minimum_tiff_tags_no_warning.tif",
        "without PhotometricInterpretation it takes white for 0; libtiff takes black",
    ),
];

/// Largest difference of the means, of 255, where the other reader does not interpolate subsampled chroma.
const COARSE: f64 = 1.5;

/// Largest difference of a lossy file, of 255: decoders round and interpolate chroma differently.
const LOSSY: f64 = 12.0;

fn python() -> PathBuf {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/readers/bin/python");
    assert!(python.exists(), "{}: tests/run makes it", python.display());
    python
}

/// FNV-1a, 64 bits.
fn hash(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

const EMPTY: u64 = 0xcbf2_9ce4_8422_2325;

/// The samples as little-endian bytes.
fn bytes(raster: Raster) -> Vec<u8> {
    match raster.samples {
        Samples::U8(samples) => samples,
        Samples::U16(samples) => samples.iter().flat_map(|s| s.to_le_bytes()).collect(),
        Samples::U32(samples) => samples.iter().flat_map(|s| s.to_le_bytes()).collect(),
        Samples::F32(samples) => samples.iter().flat_map(|s| s.to_le_bytes()).collect(),
    }
}

fn depth(samples: &Samples) -> &'static str {
    match samples {
        Samples::U8(_) => "u8",
        Samples::U16(_) => "u16",
        Samples::U32(_) => "u32",
        Samples::F32(_) => "f32",
    }
}

/// Passes a level to `take` band by band, from the top.
fn bands(source: &dyn Source, level: usize, mut take: impl FnMut(Raster)) -> Result<(), Error> {
    let size = source.header().levels[level].size;
    let bands = BandCache::over(&NoCache);
    for y in (0..size.h).step_by(512) {
        let rect = Rect::new(0, y, size.w, 512.min(size.h - y));
        take(shown(
            raster(source, Window::new(level, rect), &bands)?,
            source.header(),
        ));
    }
    Ok(())
}

/// The colour channels and alpha, without additional bands of the file.
fn shown(raster: Raster, header: &Header) -> Raster {
    fn cut<T: Copy>(samples: Vec<T>, all: u8, kept: u8) -> Vec<T> {
        let pixels = samples.chunks_exact(all.into());
        pixels.flat_map(|pixel| &pixel[..kept.into()]).copied().collect()
    }
    let alpha = u8::from(header.meaning.alpha != Alpha::None);
    let (all, kept) = (raster.channels, header.meaning.colour.channels() as u8 + alpha);
    Raster {
        size: raster.size,
        channels: kept,
        samples: match raster.samples {
            Samples::U8(samples) => Samples::U8(cut(samples, all, kept)),
            Samples::U16(samples) => Samples::U16(cut(samples, all, kept)),
            Samples::U32(samples) => Samples::U32(cut(samples, all, kept)),
            Samples::F32(samples) => Samples::F32(cut(samples, all, kept)),
        },
    }
}

/// A file as the other reader decodes it.
struct Other {
    process: Child,
    head: String,
    samples: BufReader<ChildStdout>,
}

impl Other {
    /// `None` if the other reader fails.
    fn read(path: &Path) -> Option<Other> {
        let mut process = Command::new(python())
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus.py"))
            .arg(path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut samples = BufReader::with_capacity(1 << 20, process.stdout.take().unwrap());
        let mut head = String::new();
        samples.read_line(&mut head).unwrap();
        let head = head.trim().to_string();
        let other = Other {
            process,
            head,
            samples,
        };
        (!other.head.is_empty()).then_some(other)
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Largest difference of two rows of samples, scaled to 255; floating point must be equal.
fn difference(a: &[u8], b: &[u8], depth: &str) -> f64 {
    if a == b {
        return 0.0;
    }
    let each = |width: usize, most: f64| {
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0f64, |n, &b| n * 256.0 + f64::from(b));
        let pairs = a.chunks_exact(width).zip(b.chunks_exact(width));
        pairs
            .map(|(a, b)| (number(a) - number(b)).abs())
            .fold(0.0, f64::max)
            * 255.0
            / most
    };
    match depth {
        "u8" => each(1, 255.0),
        "u16" => each(2, 65_535.0),
        "u32" => each(4, 4_294_967_295.0),
        _ => {
            let number = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
            let pairs = a.as_chunks::<4>().0.iter().zip(b.as_chunks::<4>().0.iter());
            // this server replaces NaN and infinity
            let unlike = |(a, b): &(&[u8; 4], &[u8; 4])| number(b).is_finite() && number(a) != number(b);
            if pairs.filter(unlike).count() == 0 {
                0.0
            } else {
                f64::INFINITY
            }
        }
    }
}

/// Whether a window of the full size, read alone, equals that part of the whole level.
fn same_in_part(source: &dyn Source) -> Result<bool, Error> {
    let Size { w, h } = source.header().levels[0].size;
    let read = |rect| raster(source, Window::new(0, rect), &NoCache);
    // at odd coordinates
    let rect = Rect::new(w / 3, h / 3, w.div_ceil(3).min(300), h.div_ceil(3).min(300));
    let around = Rect::new(0, rect.y, w, rect.h);
    let (part, whole) = (read(rect)?, read(around)?);
    let mut wanted = blank(rect.size(), &whole)?;
    put(&whole, around, &mut wanted, rect)?;
    Ok(bytes(part) == bytes(wanted))
}

/// The columns of a file's row after its name.
fn row(library: &Library, name: &str, path: &Path) -> String {
    match served(library, name, path) {
        Ok(row) => row,
        Err(error) => format!("refused\t{}\t{error}", error.status()),
    }
}

fn served(library: &Library, name: &str, path: &Path) -> Result<String, Error> {
    let opened = library.open(name)?;
    let source = &*opened.source;
    let levels = &source.header().levels;
    assert!(
        same_in_part(source)?,
        "{name}: a window differs from the whole level"
    );
    let mut other = Other::read(path);
    let (full, mut shape, mut worst) = (levels[0].size, String::new(), 0f64);
    let (mut sum, mut count) = (0u64, 0usize);
    let mut hashed = EMPTY;
    bands(source, 0, |raster| {
        let depth = depth(&raster.samples);
        if shape.is_empty() {
            shape = format!("{} {} {} {depth}", full.w, full.h, raster.channels);
        }
        let ours = bytes(raster);
        hashed = hash(hashed, &ours);
        if let Some(other) = &mut other {
            let mut theirs = vec![0; ours.len()];
            let same = other.head.starts_with(&shape) && other.samples.read_exact(&mut theirs).is_ok();
            sum += ours
                .iter()
                .zip(&theirs)
                .map(|(a, b)| u64::from(a.abs_diff(*b)))
                .sum::<u64>();
            count += ours.len();
            worst = worst.max(if same {
                difference(&ours, &theirs, depth)
            } else {
                f64::INFINITY
            });
        }
    })?;
    let (mut small, last) = (EMPTY, levels.len() - 1);
    bands(source, last, |raster| small = hash(small, &bytes(raster)))?;
    let Size { w, h } = levels[last].size;
    let mean = sum as f64 / count.max(1) as f64;
    let check = match &other {
        None => "unread".into(),
        Some(_) if worst == 0.0 => "exact".into(),
        Some(other) if other.head.ends_with("lossy") && worst <= LOSSY => format!("within {}", worst.ceil()),
        Some(other) if other.head.ends_with("coarse") && worst.is_finite() && mean <= COARSE => {
            format!("within {mean:.1} in the mean")
        }
        Some(other) => format!("otherwise: {} by {worst:.1}", other.head),
    };
    Ok(format!(
        "served\t{shape}\t{hashed:016x}\t{w} {h}\t{small:016x}\t{check}"
    ))
}

#[test]
#[ignore = "needs CORPUS"]
fn every_file_of_the_corpus_is_served_as_another_reader_sees_it_or_refused_for_a_reason() {
    let folder = corpus().join("tiff");
    let settings = LibrarySettings {
        prefix: format!("{}/", folder.display()),
        follow_symlinks: true,
        options: Options {
            budget: Budget {
                level_bytes: 5 << 20,
                spool_dir: None,
                ..Budget::default()
            },
            ..Options::default()
        },
        ..LibrarySettings::default()
    };
    let library = Library::new(settings, 0);
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let only = std::env::var("ONLY").unwrap_or_default();
    let mut table = String::new();
    let mut wrong = Vec::new();
    for name in names.iter().filter(|name| name.contains(&only)) {
        let row = row(&library, name, &folder.join(name));
        let known = OTHERWISE.iter().any(|(known, _)| known == name);
        if row.contains("\totherwise") != known {
            wrong.push(format!("{name}\t{row}"));
        }
        writeln!(table, "{name}\t{row}").unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/corpus.tsv");
    if !only.is_empty() {
        print!("{table}");
    } else if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &table).unwrap();
    } else {
        let known = std::fs::read_to_string(&path).unwrap();
        let changed: Vec<&str> = table
            .lines()
            .filter(|row| !known.lines().any(|k| k == *row))
            .collect();
        assert!(
            changed.is_empty(),
            "BLESS=1 writes it anew:\n{}",
            changed.join("\n")
        );
        assert_eq!(
            known.lines().count(),
            names.len(),
            "files without a row, or rows without a file"
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
