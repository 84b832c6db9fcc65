//! TIFF files of the fixture writer read back in every layout and compression.

use std::path::PathBuf;
use std::sync::Arc;

use iipsrv::codec::jpeg;
use iipsrv::codec::webp;
use iipsrv::geometry::Size;
use iipsrv::raster::Alpha;
use iipsrv::raster::Colour;
use iipsrv::raster::Format;
use iipsrv::raster::Samples;
use iipsrv::source::Source;
use iipsrv::source::Tile;
use iipsrv::source::cache::NoCache;
use iipsrv::source::tiff::Limits;
use iipsrv::source::tiff::Tiff;
use iipsrv::source::window;
use iipsrv::uninit;
use iipsrv::uninit::UninitBuf;

use crate::pyramid;
use crate::pyramid::Compression;
use crate::pyramid::JpegColour;
use crate::pyramid::Layout;
use crate::pyramid::Rounding;
use crate::pyramid::Spec;
use crate::pyramid::halvings;

/// A temporary file, removed when dropped.
pub struct Temp(PathBuf);

impl Temp {
    pub fn new(name: &str, bytes: &[u8]) -> Temp {
        let path = std::env::temp_dir().join(format!("iipsrv-it-{}-{name}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        Temp(path)
    }

    pub fn path(&self) -> &std::path::Path {
        &self.0
    }

    pub fn open(&self) -> iipsrv::error::Result<Tiff> {
        Tiff::open(iipsrv::store::open(&self.0)?, &Limits::default())
    }
}

impl Drop for Temp {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A gradient with texture that differs by level and channel.
fn sample(x: u32, y: u32, level: usize, channel: u16) -> u8 {
    let slope = x / 3 + y / 2 + level as u32 * 20 + u32::from(channel) * 50;
    ((slope % 400 + (x * y) % 5) / 2) as u8 + 40
}

fn picture(spec: &Spec) -> Vec<Vec<u8>> {
    let level = |(level, &(w, h)): (usize, &(u32, u32))| {
        let pixel = |i: u32| (0..spec.channels).map(move |c| sample(i % w, i / w, level, c));
        (0..w * h).flat_map(pixel).collect()
    };
    spec.sizes.iter().enumerate().map(level).collect()
}

fn specs() -> Vec<(String, Spec, u8)> {
    let mut all = Vec::new();
    let jpeg = |colour, shared| Compression::Jpeg {
        quality: 95,
        colour,
        shared,
    };
    let ways = [
        (Compression::None, 0),
        (Compression::Lzw, 0),
        (Compression::Deflate, 0),
        (Compression::Zstd, 0),
        (Compression::Webp, 0),
        (jpeg(JpegColour::Rgb, true), 12),
        (jpeg(JpegColour::Ycc444, false), 12),
        (jpeg(JpegColour::Ycc422, true), 24),
        (jpeg(JpegColour::Ycc420, true), 24),
    ];
    for (n, &(compression, bound)) in ways.iter().enumerate() {
        for channels in [1, 3, 4] {
            let lossy = matches!(compression, Compression::Jpeg { .. });
            if (lossy && channels == 4) || (compression == Compression::Webp && channels == 1) {
                continue;
            }
            for predictor in [false, true] {
                let differs = matches!(
                    compression,
                    Compression::Lzw | Compression::Deflate | Compression::Zstd
                );
                if predictor && !differs {
                    continue;
                }
                let mut spec = Spec::new((333, 205), channels, compression);
                spec.tile = if n % 2 == 0 { (64, 64) } else { (48, 80) };
                let rounding = if channels == 3 {
                    Rounding::Up
                } else {
                    Rounding::Down
                };
                spec.sizes = halvings((333, 205), spec.tile, rounding);
                spec.predictor = predictor;
                spec.big = (n + usize::from(channels)) % 2 == 0;
                spec.big_endian = n % 3 == 0;
                spec.layout = if n % 2 == 1 {
                    Layout::SubIfds
                } else {
                    Layout::Chain
                };
                all.push((format!("{n}-{channels}-{predictor}"), spec, bound));
            }
        }
    }
    all
}

#[test]
fn every_layout_and_compression_reads_back() {
    for (name, spec, bound) in specs() {
        let levels = picture(&spec);
        let file = Temp::new(&name, &pyramid::levels(&spec, &levels).unwrap());
        let tiff = file.open().unwrap();
        let header = tiff.header();
        let sizes: Vec<_> = header
            .levels
            .iter()
            .map(|level| (level.size.w, level.size.h))
            .collect();
        assert_eq!(sizes, spec.sizes, "{name}");
        assert_eq!(u16::from(header.channels), spec.channels);
        assert_eq!(header.meaning.colour == Colour::Grey, spec.channels == 1);
        assert_eq!(header.meaning.alpha == Alpha::Straight, spec.channels == 4);
        for (level, pixels) in levels.iter().enumerate() {
            let size = header.levels[level].size;
            let grid = size.grid(header.levels[level].tile);
            for (col, row) in (0..grid.h).flat_map(|row| (0..grid.w).map(move |col| (col, row))) {
                let tile = Tile { level, col, row };
                let rect = tile.rect(&header.levels).unwrap();
                let raster = window::tile(&tiff, tile, &NoCache).unwrap();
                assert_eq!(raster.size, rect.size());
                let Samples::U8(got) = raster.samples else {
                    panic!("8 bits")
                };
                let channels = usize::from(spec.channels);
                let (line, part) = (size.w as usize * channels, rect.w as usize * channels);
                let start = rect.y as usize * line + rect.x as usize * channels;
                let rows = pixels[start..].chunks(line).take(rect.h as usize);
                let expected: Vec<u8> = rows.flat_map(|row| &row[..part]).copied().collect();
                let worst = got
                    .iter()
                    .zip(&expected)
                    .map(|(a, b)| a.abs_diff(*b))
                    .max()
                    .unwrap();
                assert!(
                    got.len() == expected.len() && worst <= bound,
                    "{name} {tile:?}: off by {worst}"
                );
                same_as_coded(&tiff, tile, rect.size() == header.levels[level].tile, &got);
            }
        }
    }
}

#[test]
fn the_crate_tiff_reads_the_same_pixels() {
    for (name, spec, _) in specs() {
        if !matches!(
            spec.compression,
            Compression::None | Compression::Lzw | Compression::Deflate
        ) {
            continue;
        }
        let levels = picture(&spec);
        let file = pyramid::levels(&spec, &levels).unwrap();
        assert!(crate::support::tiff(&file) == levels[0], "{name}");
    }
}

/// Asserts that a tile that is passed through unchanged decodes to the same samples.
fn same_as_coded(tiff: &Tiff, tile: Tile, whole: bool, samples: &[u8]) {
    let header = tiff.header();
    for format in [Format::Jpeg, Format::Webp, Format::Png] {
        let coded = tiff.coded(tile, format).unwrap();
        assert_eq!(coded.is_some(), whole && header.stored == Some(format));
        let Some(coded) = coded else { continue };
        let size = header.levels[tile.level].tile;
        let decoded = match format {
            Format::Jpeg => match jpeg::decode(&coded, size).unwrap().samples {
                Samples::U8(decoded) => decoded,
                other => panic!("{other:?}"),
            },
            _ => {
                let fill = |room: &mut UninitBuf| webp::decode(&coded, size, header.channels, room);
                uninit::filled(samples.len(), fill).unwrap()
            }
        };
        assert!(decoded == samples, "{tile:?} {format:?}");
    }
}

#[test]
fn several_threads_read_one_open_file() {
    let mut spec = Spec::new((700, 500), 3, Compression::Lzw);
    spec.tile = (64, 64);
    let levels = picture(&spec);
    let file = Temp::new("threads", &pyramid::levels(&spec, &levels).unwrap());
    let tiff = Arc::new(file.open().unwrap());
    let grid = Size::new(700, 500).grid(tiff.header().levels[0].tile);
    let sums: Vec<u64> = std::thread::scope(|scope| {
        let read = || {
            let tiff = Arc::clone(&tiff);
            scope.spawn(move || {
                let tiles =
                    (0..grid.h).flat_map(|row| (0..grid.w).map(move |col| Tile { level: 0, col, row }));
                let sum = |tile| match window::tile(&*tiff, tile, &NoCache).unwrap().samples {
                    Samples::U8(samples) => samples.iter().map(|s| u64::from(*s)).sum::<u64>(),
                    other => panic!("{other:?}"),
                };
                tiles.map(sum).sum()
            })
        };
        let threads: Vec<_> = (0..4).map(|_| read()).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let expected: u64 = levels[0].iter().map(|s| u64::from(*s)).sum();
    assert_eq!(sums, [expected; 4]);
}
