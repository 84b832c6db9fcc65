//! `cargo bench --bench decode -- FILES`: decodes the tiles of TIFF files by this crate and by libtiff in the same run.
//!
//! Rounds are interleaved; the output is the median time per tile and its ratio to libtiff's. libtiff is loaded from the system
//! (Debian: libtiff6) at run time; without it the bench fails.
//!
//! There are two ratios: to libtiff by default, which maps the file, and to libtiff with positioned reads (its mode `rm`).
//! Each tile is decoded into a new allocation, as in a server. This crate always copies the coded bytes first, because a
//! mapped file may change during decoding. Files are in the page cache. `benches/tiles PHOTO` makes files of every compression.
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

/// Minimum number of rounds, and minimum duration.
const ROUNDS: usize = 15;
const LEAST: Duration = Duration::from_secs(1);

/// Tiles of a file per round.
const TILES: usize = 48;

/// tiff.h: TIFFTAG_JPEGCOLORMODE, JPEGCOLORMODE_RGB.
const JPEG_COLOUR_MODE: u32 = 65538;
const JPEG_RGB: c_int = 1;

/// The functions of tiffio.h that the bench uses.
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
            // SAFETY: the library is loaded and never unloaded.
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
    // the same as the server
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
        eprintln!("decode: expected TIFF files; benches/tiles PHOTO makes some in target/tiles");
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

/// CPU time of this thread.
fn now() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a local variable.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Median times per tile: [this crate, libtiff] with libtiff mapping the file, and with libtiff reading it.
///
/// The two alternate with equal shares of the time: branch prediction favours a decoder that repeats the same tiles (measured:
/// a JPEG tile costs a third more after 30 rounds of another decoder).
fn compare(libtiff: &Libtiff, file: &str) -> Result<[[Duration; 2]; 2], String> {
    let opened = iipsrv::store::open(file.as_ref()).map_err(|error| error.to_string())?;
    let tiff = Tiff::open(opened, &Limits::default()).map_err(|error| error.to_string())?;
    let level = &tiff.header().levels[0];
    let grid = level.size.grid(level.tile);
    // whole tiles only: libtiff decodes the padding of edge tiles, too
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
        return Err("libtiff cannot open it".into());
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
            // libjpeg-turbo uses slower non-temporal stores for 32-byte aligned output; avoids that random effect
            let odd = (48 - tile.as_ptr().addr() % 32) % 32;
            let place = tile.spare_capacity_mut()[odd..].as_mut_ptr().cast();
            // SAFETY: the handle is live and the buffer has the given length.
            let got = unsafe { (libtiff.read)(handle, row * grid.w + col, place, size) };
            if got < 0 {
                return Err("libtiff cannot read it".to_string());
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
            // alternates the order
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
