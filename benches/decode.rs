//! `cargo bench --bench decode -- FILES`: the tiles of files, decoded by this crate and by libtiff in the same run.
//!
//! Rounds are interleaved; what is printed is the median time of a tile and its ratio to libtiff's. libtiff is loaded
//! from the system (Debian: libtiff6) when the bench starts; without it there is nothing to compare, and it says so.
//!
//! There are two ratios, to libtiff as it comes, which maps the file, and to libtiff that reads it (its mode `rm`). Each tile
//! is memory of its own, as a server hands it on. libtiff decodes what is in the map; here nothing is decoded that somebody
//! else may change meanwhile. What is measured is not the first reading of a tile, when nothing is mapped yet.
//! `benches/tiles PHOTO` makes files of every compression.
#![allow(
    missing_docs,
    unsafe_code,
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::missing_transmute_annotations
)]

use iipsrv::source::Source;
use iipsrv::source::Tile;
use iipsrv::source::tiff::Limits;
use iipsrv::source::tiff::Tiff;
use std::ffi::CStr;
use std::ffi::CString;
use std::ffi::c_char;
use std::ffi::c_int;
use std::ffi::c_void;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

/// So many rounds at least, and as many as take so long.
const ROUNDS: usize = 15;
const LEAST: Duration = Duration::from_secs(1);

/// Tiles of a file that are read in a round.
const TILES: usize = 48;

/// tiff.h: TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB.
const JPEG_COLOUR_MODE: u32 = 65538;
const JPEG_RGB: c_int = 1;

/// The few functions of tiffio.h that are used.
struct Libtiff {
    open: unsafe extern "C" fn(*const c_char, *const c_char) -> *mut c_void,
    close: unsafe extern "C" fn(*mut c_void),
    set: unsafe extern "C" fn(*mut c_void, u32, ...) -> c_int,
    tile_size: unsafe extern "C" fn(*mut c_void) -> isize,
    read: unsafe extern "C" fn(*mut c_void, u32, *mut c_void, isize) -> isize,
    warnings: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
    errors: unsafe extern "C" fn(*mut c_void) -> *mut c_void,
}

impl Libtiff {
    fn load() -> Option<Libtiff> {
        let names = [c"libtiff.so.6", c"libtiff.so.5", c"libtiff.so"];
        // SAFETY: names are C strings; loading libtiff runs no code of its own.
        let library = names
            .iter()
            .map(|name| unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW) })
            .find(|library| !library.is_null())?;
        let find = |name: &CStr| {
            // SAFETY: the library is loaded and stays so.
            let symbol = unsafe { libc::dlsym(library, name.as_ptr()) };
            (!symbol.is_null()).then_some(symbol)
        };
        // SAFETY: the types are those of tiffio.h (4.0–4.7).
        unsafe {
            Some(Libtiff {
                open: std::mem::transmute::<*mut c_void, _>(find(c"TIFFOpen")?),
                close: std::mem::transmute::<*mut c_void, _>(find(c"TIFFClose")?),
                set: std::mem::transmute::<*mut c_void, _>(find(c"TIFFSetField")?),
                tile_size: std::mem::transmute::<*mut c_void, _>(find(c"TIFFTileSize")?),
                read: std::mem::transmute::<*mut c_void, _>(find(c"TIFFReadEncodedTile")?),
                warnings: std::mem::transmute::<*mut c_void, _>(find(c"TIFFSetWarningHandler")?),
                errors: std::mem::transmute::<*mut c_void, _>(find(c"TIFFSetErrorHandler")?),
            })
        }
    }
}

fn main() {
    // as the server does
    iipsrv::server::memory::keep_tiles();
    let files: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| !arg.starts_with("--"))
        .collect();
    let Some(libtiff) = Libtiff::load() else {
        eprintln!("decode: libtiff is missing: apt-get install libtiff6");
        std::process::exit(1);
    };
    if files.is_empty() {
        eprintln!("decode: name TIFF files; benches/tiles PHOTO makes some in target/tiles");
        std::process::exit(1);
    }
    // SAFETY: NULL is "no handler".
    unsafe {
        (libtiff.warnings)(std::ptr::null_mut());
        (libtiff.errors)(std::ptr::null_mut());
    }
    println!(
        "{:<28} {:>10} {:>12} {:>7} {:>12} {:>7}",
        "file", "here µs", "mapped µs", "ratio", "read µs", "ratio"
    );
    for file in &files {
        let name = Path::new(file).file_name().unwrap().to_string_lossy().to_string();
        match compare(&libtiff, file) {
            Ok([mapped, read]) => {
                let ratio = |[here, there]: [Duration; 2]| here.as_secs_f64() / there.as_secs_f64();
                let micros = |time: Duration| time.as_secs_f64() * 1e6;
                println!(
                    "{name:<28} {:>10.2} {:>12.2} {:>7.2} {:>12.2} {:>7.2}",
                    micros(mapped[0]),
                    micros(mapped[1]),
                    ratio(mapped),
                    micros(read[1]),
                    ratio(read)
                );
            }
            Err(error) => println!("{name:<28} {error}"),
        }
    }
}

/// Processor time of this thread.
fn now() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the place is that of a local variable.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// The median times of a tile here and in libtiff, that maps the file, and that reads it.
///
/// The two take turns, with equal parts of the time: who decodes the same tiles more often has them in the tables of the
/// processor that foresee branches (measured: a tile in JPEG costs a third more after 30 rounds of another decoder).
fn compare(libtiff: &Libtiff, file: &str) -> Result<[[Duration; 2]; 2], String> {
    let opened = iipsrv::store::open(file.as_ref()).map_err(|error| error.to_string())?;
    let tiff = Tiff::open(opened, &Limits::default()).map_err(|error| error.to_string())?;
    let level = &tiff.header().levels[0];
    let grid = level.size.grid(level.tile);
    // Whole tiles only: libtiff decodes the rest of an edge tile, too.
    let whole = (level.size.w / level.tile.w, level.size.h / level.tile.h);
    let all: Vec<(u32, u32)> = (0..whole.1)
        .flat_map(|row| (0..whole.0).map(move |col| (col, row)))
        .collect();
    let tiles: Vec<_> = all.iter().step_by(all.len().div_ceil(TILES).max(1)).collect();
    if tiles.is_empty() {
        return Err("no whole tile".into());
    }
    let path = CString::new(file).unwrap();
    // SAFETY: both are C strings.
    let handles = [c"r", c"rm"].map(|mode| unsafe { (libtiff.open)(path.as_ptr(), mode.as_ptr()) });
    if handles.iter().any(|handle| handle.is_null()) {
        return Err("libtiff does not open it".into());
    }
    let mut size = 0;
    for handle in handles {
        // SAFETY: the handle is live; the value of this tag is an int.
        unsafe {
            (libtiff.set)(handle, JPEG_COLOUR_MODE, JPEG_RGB);
            size = (libtiff.tile_size)(handle);
        }
    }
    let mut times = [const { [const { Vec::new() }; 2] }; 2];
    let here = || {
        for &&(col, row) in &tiles {
            let tile = Tile { level: 0, col, row };
            black_box(
                iipsrv::source::window::tile(&tiff, tile, &iipsrv::source::cache::NoCache)
                    .map_err(|error| error.to_string())?,
            );
        }
        Ok(())
    };
    let there = |handle: *mut c_void| {
        for &&(col, row) in &tiles {
            let mut tile = Vec::<u8>::with_capacity(size as usize + 32);
            // libjpeg-turbo writes round the caches to multiples of 32, which takes longer; nobody has to meet that by
            // chance
            let odd = (48 - tile.as_ptr().addr() % 32) % 32;
            let place = tile.spare_capacity_mut()[odd..].as_mut_ptr().cast();
            // SAFETY: the handle is live and the place as long as is said.
            let got = unsafe { (libtiff.read)(handle, row * grid.w + col, place, size) };
            if got < 0 {
                return Err("libtiff does not read it".to_string());
            }
            black_box(&mut tile);
        }
        Ok(())
    };
    let timed = |times: &mut Vec<Duration>, read: &dyn Fn() -> Result<(), String>| {
        let start = now();
        read()?;
        times.push((now() - start) / tiles.len() as u32);
        Ok::<(), String>(())
    };
    let begun = Instant::now();
    while times[0][0].len() < ROUNDS || begun.elapsed() < LEAST {
        for (handle, [ours, theirs]) in handles.iter().zip(&mut times) {
            // who comes first changes
            if ours.len() % 2 == 0 {
                timed(ours, &here)?;
                timed(theirs, &|| there(*handle))?;
            } else {
                timed(theirs, &|| there(*handle))?;
                timed(ours, &here)?;
            }
        }
    }
    for handle in handles {
        // SAFETY: the handle is live and not used afterwards.
        unsafe { (libtiff.close)(handle) };
    }
    Ok(times.map(|pair| {
        pair.map(|mut times| {
            times.sort();
            times[times.len() / 2]
        })
    }))
}
