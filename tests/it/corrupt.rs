//! Malformed files give an error or are read up to the damage, within limits of time and memory.
//!
//! The tests write the files; if CORPUS has a folder `bad`, its files are tried, too.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use crate::support::corpus;
use iipsrv::error::Error;
use iipsrv::raster::Format;
use iipsrv::raster::Raster;
use iipsrv::source::Source;
use iipsrv::source::Tile;
use iipsrv::source::cache::NoCache;
use iipsrv::source::cache::Packer;
use iipsrv::source::cache::Part;
use iipsrv::source::cache::TileCache;
use iipsrv::source::derived::Budget;
use iipsrv::source::derived::DerivedLevels;
use iipsrv::source::tiff::Limits;
use iipsrv::source::tiff::Tiff;
use iipsrv::source::window;

use crate::pyramid;
use crate::pyramid::Compression;
use crate::pyramid::JpegColour;
use crate::pyramid::Spec;
use crate::tiff::Temp;

/// Time limit for one file, whatever number of tiles it claims.
const LONGEST: Duration = Duration::from_secs(120);

/// Memory limit of the whole test process, other tests included.
const MOST_BYTES: u64 = 1 << 30;

/// The first tiles of each level that are tried; the last tile is tried, too.
const TILES: u64 = 500;

/// Caches derived levels, as the server does.
#[derive(Default)]
struct Levels(Mutex<HashMap<Part, Arc<Raster>>>);

impl TileCache for Levels {
    fn keep(
        &self,
        part: Part,
        make: &mut dyn FnMut() -> Result<Raster, Error>,
    ) -> Result<Arc<Raster>, Error> {
        if let Some(raster) = self.0.lock().unwrap().get(&part) {
            return Ok(raster.clone());
        }
        let raster = Arc::new(make()?);
        if matches!(part, Part::Level(_)) {
            self.0.lock().unwrap().insert(part, raster.clone());
        }
        Ok(raster)
    }

    fn packs(&self) -> bool {
        false
    }

    fn pack(&self, _part: Part, make: &mut Packer) -> Result<(), Error> {
        make(None).map(drop)
    }
}

/// The number of tiles that could be read. A panic fails the test.
fn read_all(tiff: &dyn Source) -> usize {
    let header = tiff.header();
    let levels = Levels::default();
    assert!(!header.levels.is_empty());
    let mut good = 0;
    // deriving levels of larger images is slow, which is not a fault
    let most = if header.size().area() > 1 << 30 {
        1
    } else {
        usize::MAX
    };
    for (level, of) in header.levels.iter().enumerate().take(most) {
        let grid = of.size.grid(of.tile);
        let tile = |index: u64| Tile {
            level,
            col: (index % u64::from(grid.w)) as u32,
            row: (index / u64::from(grid.w)) as u32,
        };
        let last = grid.area() - 1;
        for tile in (0..last.min(TILES)).chain([last]).map(tile) {
            match window::tile(tiff, tile, &levels) {
                Ok(raster) => {
                    good += 1;
                    let samples = raster.size.area() * u64::from(raster.channels);
                    assert_eq!(raster.samples.len() as u64, samples);
                }
                Err(error) => assert!(
                    matches!(
                        error,
                        Error::Corrupt(_) | Error::Unsupported(_) | Error::TooLarge(_) | Error::Limit(_)
                    ),
                    "{tile:?}: {error:?}"
                ),
            }
            for format in [Format::Jpeg, Format::Webp] {
                let _ = tiff.coded(tile, format);
            }
        }
    }
    good
}

/// The number of tiles that could be read, or the error of opening.
fn attempt(path: &Path) -> Result<usize, Error> {
    let start = Instant::now();
    let tiff = Tiff::open(iipsrv::store::open(path).unwrap(), &Limits::default());
    let opened = start.elapsed();
    let found = tiff.map(|tiff| {
        let budget = Budget {
            level_bytes: 5 << 20,
            spool_dir: None,
            ..Budget::default()
        };
        read_all(&*DerivedLevels::over(Box::new(tiff), &budget))
    });
    let took = start.elapsed();
    assert!(
        took < LONGEST,
        "{} took {took:?}, {opened:?} to open",
        path.display()
    );
    let peak = most_bytes();
    assert!(
        peak < MOST_BYTES,
        "{} brought the process to {peak} bytes",
        path.display()
    );
    found
}

/// Peak memory of the process in bytes.
fn most_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

fn files() -> Vec<(&'static str, Vec<u8>)> {
    let jpeg = |colour| Compression::Jpeg {
        quality: 75,
        colour,
        shared: true,
    };
    let ways = [
        ("none", Compression::None),
        ("lzw", Compression::Lzw),
        ("deflate", Compression::Deflate),
        ("zstd", Compression::Zstd),
        ("webp", Compression::Webp),
        ("jpeg", jpeg(JpegColour::Ycc420)),
    ];
    let file = |(name, compression): (&'static str, Compression)| {
        let mut spec = Spec::new((50, 40), 3, compression);
        spec.tile = (32, 32);
        spec.sizes = vec![(50, 40), (25, 20)];
        spec.big = name == "zstd";
        spec.big_endian = name == "lzw";
        let pixels: Vec<u8> = (0..50 * 40 * 3).map(|i| (i % 150 + i / 150) as u8).collect();
        (name, pyramid::pyramid(&spec, &pixels).unwrap())
    };
    ways.into_iter().map(file).collect()
}

#[test]
fn damaged_bytes_cause_no_panic() {
    for (name, whole) in files() {
        let step = whole.len() / 400 + 1;
        // every byte of the directories at the end of the file, some of the tiles
        let tail = whole.len().saturating_sub(700);
        for at in (0..tail).step_by(step).chain(tail..whole.len()) {
            for flip in [0x01, 0xff] {
                let mut wrong = whole.clone();
                wrong[at] ^= flip;
                let file = Temp::new(&format!("flip-{name}"), &wrong);
                if let Ok(tiff) = file.open() {
                    read_all(&tiff);
                }
            }
        }
    }
}

#[test]
fn truncated_files_are_corrupt() {
    for (name, whole) in files() {
        let step = whole.len() / 300 + 1;
        for len in (0..whole.len() - 8).step_by(step) {
            let file = Temp::new(&format!("cut-{name}"), &whole[..len]);
            let error = file
                .open()
                .err()
                .unwrap_or_else(|| panic!("{name} opened at {len}"));
            assert!(
                matches!(error, Error::Corrupt(_) | Error::Missing(_)),
                "{name} {len}: {error:?}"
            );
            assert!(!error.public().contains('/'), "{error:?}");
        }
    }
}

#[test]
fn files_truncated_after_opening_are_corrupt_from_there_on() {
    for compression in [Compression::None, Compression::Deflate] {
        let mut spec = Spec::new((1024, 1024), 3, compression);
        spec.tile = (256, 256);
        spec.sizes = vec![(1024, 1024)];
        let pixels: Vec<u8> = (0..1024 * 1024 * 3u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let whole = pyramid::pyramid(&spec, &pixels).unwrap();
        let file = Temp::new(&format!("shrinks-{compression:?}"), &whole);
        let tiff = file.open().unwrap();
        let tile = |index: u32| Tile {
            level: 0,
            col: index % 4,
            row: index / 4,
        };
        let expected: Vec<Raster> = (0..16)
            .map(|index| window::tile(&tiff, tile(index), &NoCache).unwrap())
            .collect();
        let right = |index: u32| match window::tile(&tiff, tile(index), &NoCache) {
            Ok(raster) => {
                assert!(raster == expected[index as usize], "{compression:?} {index}");
                true
            }
            Err(Error::Corrupt(_)) => false,
            Err(error) => panic!("{compression:?} {index}: {error}"),
        };
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| while (0..16).all(right) {}))
                .collect();
            std::thread::sleep(Duration::from_millis(50));
            let cut = std::fs::File::options().write(true).open(file.path()).unwrap();
            cut.set_len(whole.len() as u64 / 2).unwrap();
            threads.into_iter().for_each(|thread| thread.join().unwrap());
        });
        assert!((0..6).all(right) && !(10..16).any(right), "{compression:?}");
    }
}

#[test]
fn files_with_missing_tiles_serve_the_other_tiles() {
    for (name, whole) in files() {
        let mut holes = whole.clone();
        let half = holes.len() / 2;
        holes[16..half].fill(0);
        let file = Temp::new(&format!("hole-{name}"), &holes);
        if let Ok(tiff) = file.open() {
            read_all(&tiff);
        }
    }
}

#[test]
#[ignore = "needs CORPUS"]
fn bad_files_of_the_corpus_stay_within_limits() {
    let folder = corpus().join("bad");
    let mut tiffs = 0;
    let mut all = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_file() {
            continue;
        }
        all += 1;
        match attempt(&path) {
            Err(Error::Missing(_)) => {}
            Err(Error::Io(error)) => panic!("{}: {error}", path.display()),
            _ => tiffs += 1,
        }
    }
    assert!(
        tiffs > 10,
        "{} has {all} files, {tiffs} of them TIFF",
        folder.display()
    );
}
