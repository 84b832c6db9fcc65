//! No seams: every tile that a client requests has the size of the client's formula, and the stitched tiles equal the whole
//! region.
//!
//! Each client is implemented as its formulas: level sizes, grid, address. Tiles are exact for clients that know the sizes of
//! levels (IIIF, and IIP by `Resolutions`). Clients that compute them (DeepZoom, Zoomify, IIP by halving) get levels as
//! stored, which may differ by a pixel at the right and bottom.

use crate::process::Folder;
use crate::site::needed;
use crate::support::bytes;
use crate::support::config;
use crate::support::pixels;
use crate::support::text;
use iipsrv::error::Error;
use iipsrv::error::Result;
use iipsrv::geometry::Size;
use iipsrv::http::Http;
use iipsrv::http::Reply;
use iipsrv::raster::Raster;
use iipsrv::raster::Samples;
use iipsrv::service::Service;
use iipsrv::source::Header;
use iipsrv::source::Level;
use iipsrv::source::Source;
use iipsrv::source::Take;
use iipsrv::source::Tile;
use iipsrv::source::Window;
use iipsrv::source::cache::TileCache;
use iipsrv::source::synthetic::Synthetic;
use iipsrv::source::synthetic::sample;
use iipsrv::source::window;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::Cell;
use std::f64::consts::TAU;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;

/// A smooth picture that is the same at every level.
struct Smooth(Synthetic);

impl Smooth {
    fn tile(&self, tile: Tile) -> Result<Raster> {
        let levels = &self.header().levels;
        let rect = tile
            .rect(levels)
            .ok_or_else(|| Error::Outside("no such tile".into()))?;
        let size = levels[tile.level].size;
        let at = |n: u32, side: u32| (f64::from(n) + 0.5) / f64::from(side);
        let mut data = Vec::with_capacity(rect.size().area() as usize);
        for y in rect.y..rect.y + rect.h {
            let v = at(y, size.h);
            data.extend((rect.x..rect.x + rect.w).map(|x| Smooth::value(at(x, size.w), v)));
        }
        Ok(Raster {
            size: rect.size(),
            channels: 1,
            samples: Samples::U8(data),
        })
    }

    /// The value at a relative position, 0–1 across and down.
    fn value(u: f64, v: f64) -> u8 {
        (128.0 + 60.0 * (TAU * 0.4 * u).sin() + 60.0 * (TAU * 0.4 * v).cos()) as u8
    }
}

impl Source for Smooth {
    fn header(&self) -> &Header {
        self.0.header()
    }

    fn read(&self, window: Window, keep: &dyn TileCache, take: &mut Take) -> Result<()> {
        window::of_tiles(&self.header().levels, window, keep, take, |tile| self.tile(tile))
    }
}

/// The sizes of a pyramid's levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Halved and rounded down, as TIFF writers do.
    Down,
    /// Halved and rounded up, as JPEG 2000 does.
    Up,
    /// Rounded down, without the smaller levels.
    Few,
    /// Level 0 alone.
    One,
}

fn pyramid(full: Size, tile: u32, kind: Kind) -> Vec<Level> {
    let tile = Size::new(tile, tile);
    let most = match kind {
        Kind::Down | Kind::Up => 32,
        Kind::Few => 2,
        Kind::One => 1,
    };
    let mut levels = Vec::new();
    for s in 0..most {
        let down = Size::new((full.w >> s).max(1), (full.h >> s).max(1));
        let size = if kind == Kind::Up { full.halved_up(s) } else { down };
        levels.push(Level::tiled(size, tile));
        if size.w <= tile.w && size.h <= tile.h {
            break;
        }
    }
    levels
}

const VARS: [(&str, &str); 3] = [
    (
        "URI_MAP",
        "iiif/2=>IIIF2,iiif=>IIIF,dz=>DeepZoom,zoomify=>Zoomify",
    ),
    ("MAX_CVT", "-1"),
    ("OMP_NUM_THREADS", "1"),
];

/// An image and its service.
struct Image {
    service: Service,
    levels: Vec<Level>,
    /// The number of tiles checked.
    checked: Cell<u64>,
}

impl Image {
    fn new(full: Size, tile: u32, kind: Kind) -> Image {
        let levels = pyramid(full, tile, kind);
        let source = Smooth(Synthetic::new(levels.clone(), 1, sample));
        Image {
            service: Service::new(config(&VARS)).with_image("i", source),
            levels,
            checked: Cell::new(0),
        }
    }

    /// A file; its levels are read by IIP.
    fn of_file(path: &Path) -> Image {
        let name = path.file_name().unwrap().to_str().unwrap();
        let service = Service::new(config(&[
            VARS[0],
            VARS[1],
            VARS[2],
            (
                "FILESYSTEM_PREFIX",
                &format!("{}/", path.parent().unwrap().display()),
            ),
            (
                "FILESYSTEM_SUFFIX",
                &format!(".{}", path.extension().unwrap().display()),
            ),
        ]));
        assert!(name.starts_with("i."), "the formulas use this name");
        let mut image = Image {
            service,
            levels: Vec::new(),
            checked: Cell::new(0),
        };
        let said = text(&image.get("/x.fcgi?FIF=i&obj=Tile-size&obj=Resolutions"));
        let line = |label: &str| {
            said.split(label)
                .nth(1)
                .unwrap()
                .lines()
                .next()
                .unwrap()
                .to_string()
        };
        let size = |pair: &str| {
            let (w, h) = pair.split_once(' ').unwrap();
            Size::new(w.parse().unwrap(), h.parse().unwrap())
        };
        let tile = size(&line("Tile-size:"));
        let sizes = line("Resolutions:");
        image.levels = sizes
            .rsplit(',')
            .map(|pair| Level::tiled(size(pair), tile))
            .collect();
        image
    }

    fn full(&self) -> Size {
        self.levels[0].size
    }

    fn tile(&self) -> u32 {
        self.levels[0].tile.w
    }

    fn get(&self, uri: &str) -> Reply {
        let reply = self.service.respond(Http::get(uri));
        assert_eq!(reply.status, 200, "{uri} of {:?}: {}", self.levels, text(&reply));
        reply
    }
}

/// A client, named by protocol and formula.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// IIPMooViewer and OpenSeadragon over IIP: level sizes by `Resolutions`.
    IipByList,
    /// VisiOmatic 2 and dezoomify-rs: level sizes halved and rounded down.
    IipByHalving,
    /// OpenSeadragon, OpenLayers, Leaflet-IIIF and the implementation notes of IIIF 3.
    Iiif3,
    /// The same in version 2, which sends the width alone.
    Iiif2,
    /// IIPMooViewer over IIIF: regions beyond the edge, scaled into a box.
    IiifBoxed,
    /// OpenSeadragon over DeepZoom.
    DeepZoom,
    /// OpenSeadragon and IIPMooViewer over Zoomify: levels round down.
    Zoomify,
    /// OpenLayers over Zoomify: levels round up.
    ZoomifyUp,
}

const CLIENTS: [Client; 8] = [
    Client::IipByList,
    Client::IipByHalving,
    Client::Iiif3,
    Client::Iiif2,
    Client::IiifBoxed,
    Client::DeepZoom,
    Client::Zoomify,
    Client::ZoomifyUp,
];

/// A level as a client computes it.
struct Seen {
    /// The client's number of the level.
    number: u32,
    /// The number of halvings from level 0.
    halvings: u32,
    size: Size,
}

impl Client {
    /// The levels that the client requests. Empty if its formula does not fit the file: it would count columns or levels that
    /// do not exist.
    fn levels(self, image: &Image) -> Vec<Seen> {
        let (full, tile) = (image.full(), Size::new(image.tile(), image.tile()));
        let stored = image.levels.len() as u32;
        let down = |s: u32| Size::new((full.w >> s).max(1), (full.h >> s).max(1));
        let seen = |number, halvings, size| Seen {
            number,
            halvings,
            size,
        };
        match self {
            Client::IipByList => {
                let said = text(&image.get("/x.fcgi?FIF=i&obj=IIP,1.0&obj=Max-size&obj=Resolutions"));
                let list = said.split("Resolutions:").nth(1).unwrap().trim();
                let sizes: Vec<Size> = (list.split(','))
                    .map(|pair| pair.split_once(' ').unwrap())
                    .map(|(w, h)| Size::new(w.parse().unwrap(), h.parse().unwrap()))
                    .collect();
                let count = sizes.len() as u32;
                (0..count)
                    .zip(sizes)
                    .map(|(r, size)| seen(r, count - 1 - r, size))
                    .collect()
            }
            Client::IipByHalving => (0..stored)
                .filter(|&s| down(s).grid(tile) == image.levels[s as usize].size.grid(tile))
                .map(|s| seen(stored - 1 - s, s, down(s)))
                .collect(),
            // `scaleFactors` lists the stored levels
            Client::Iiif3 | Client::Iiif2 | Client::IiifBoxed => {
                (0..stored).map(|s| seen(s, s, full.halved_up(s))).collect()
            }
            Client::DeepZoom => {
                let top = (f64::from(full.w.max(full.h))).log2().ceil() as u32;
                (0..=top)
                    .map(|level| seen(level, top - level, full.halved_up(top - level)))
                    .collect()
            }
            Client::Zoomify | Client::ZoomifyUp => {
                let count = |size: &dyn Fn(u32) -> Size| {
                    let fits = |s: &u32| size(*s).w <= tile.w && size(*s).h <= tile.h;
                    (0..32).find(fits).unwrap() + 1
                };
                let up = |s: u32| full.halved_up(s);
                let (tiers, size): (u32, &dyn Fn(u32) -> Size) = match self {
                    Client::Zoomify => (count(&down), &down),
                    _ => (count(&up), &up),
                };
                if tiers != count(&down) {
                    return Vec::new();
                }
                (0..tiers)
                    .map(|z| seen(z, tiers - 1 - z, size(tiers - 1 - z)))
                    .collect()
            }
        }
    }

    /// The address of a tile, and the tolerance of its width and height in pixels.
    fn address(self, image: &Image, level: &Seen, col: u32, row: u32) -> (String, u32, u32) {
        let (full, tile, number) = (image.full(), image.tile(), level.number);
        let columns = level.size.w.div_ceil(tile);
        let s = level.halvings;
        let (x, y) = (u64::from(col * tile) << s, u64::from(row * tile) << s);
        let reach = u64::from(tile) << s;
        let (w, h) = (reach.min(u64::from(full.w) - x), reach.min(u64::from(full.h) - y));
        let (tw, th) = (w.div_ceil(1 << s), h.div_ceil(1 << s));
        let share = |side: u64, other: u64| u32::try_from(side.div_ceil(other)).unwrap() + 1;
        let iip = || format!("/x.fcgi?FIF=i&PTL={number},{}", row * columns + col);
        match self {
            Client::IipByList => (iip(), 0, 0),
            Client::IipByHalving => (iip(), 1, 1),
            Client::Iiif3 if (w, h) == (full.w.into(), full.h.into()) && s == 0 => {
                ("/iiif/i/full/max/0/default.png".into(), 0, 0)
            }
            Client::Iiif3 => (format!("/iiif/i/{x},{y},{w},{h}/{tw},{th}/0/default.png"), 0, 0),
            // the server computes the height
            Client::Iiif2 => (format!("/iiif/2/i/{x},{y},{w},{h}/{tw},/0/default.png"), 0, 1),
            Client::IiifBoxed if s == 0 => {
                (format!("/iiif/i/{x},{y},{reach},{reach}/max/0/default.png"), 0, 0)
            }
            // the largest size within the box that has the proportions of the visible part of the region
            Client::IiifBoxed => (
                format!("/iiif/i/{x},{y},{reach},{reach}/!{tw},{th}/0/default.png"),
                share(tw, th),
                share(th, tw),
            ),
            Client::DeepZoom => (format!("/dz/i_files/{number}/{col}_{row}.png"), 1, 1),
            Client::Zoomify | Client::ZoomifyUp => {
                (format!("/zoomify/i/TileGroup0/{number}-{col}-{row}.png"), 1, 1)
            }
        }
    }
}

/// Width and height from a PNG's IHDR.
fn size_of(reply: &Reply) -> Size {
    let number = |at: usize| u32::from_be_bytes(reply.body[at..at + 4].try_into().unwrap());
    Size::new(number(16), number(20))
}

/// Requests a tile and asserts that it has the size of the formula.
fn tile(image: &Image, client: Client, level: &Seen, col: u32, row: u32) -> Reply {
    let side = image.tile();
    let right = Size::new(
        side.min(level.size.w - col * side),
        side.min(level.size.h - row * side),
    );
    let (uri, across, down) = client.address(image, level, col, row);
    let reply = image.get(&uri);
    image.checked.set(image.checked.get() + 1);
    let size = size_of(&reply);
    let near = size.w.abs_diff(right.w) <= across && size.h.abs_diff(right.h) <= down;
    // a strip of one pixel has the same width at two levels, so the width alone is ambiguous; a level of one tile has the
    // proportions of the image
    let single = level.size.w <= side && level.size.h <= side;
    let strip = client == Client::Iiif2 && size.w == right.w && (right.w == 1 || single);
    assert!(
        near || strip,
        "{client:?} {uri} of {:?}: {size:?} for {right:?}",
        image.full()
    );
    // tiles not at the right or bottom edge are exact in every protocol
    if (col + 1) * side < level.size.w && (row + 1) * side < level.size.h {
        assert_eq!(size, right, "{client:?} {uri}");
    }
    reply
}

/// Requests every tile of every level and compares the stitched tiles with `full/w,h` of their total width and height.
fn whole(image: &Image, client: Client) {
    for level in client.levels(image) {
        let Size { w, h } = level.size.grid(Size::new(image.tile(), image.tile()));
        let cells = (0..w).flat_map(|col| (0..h).map(move |row| (col, row)));
        let tiles: Vec<_> = cells
            .map(|(col, row)| (col, row, pixels(&tile(image, client, &level, col, row))))
            .collect();
        // a box has the proportions of the visible part of the region, not those of the level
        if client != Client::IiifBoxed {
            assert_stitched(image, client, &level, &tiles);
        }
    }
}

fn assert_stitched(image: &Image, client: Client, level: &Seen, tiles: &[(u32, u32, Raster)]) {
    let sum = |side: fn(&(u32, u32, Raster)) -> Option<u32>| tiles.iter().filter_map(side).sum::<u32>();
    let w = sum(|(_, row, tile)| (*row == 0).then_some(tile.size.w));
    let h = sum(|(col, _, tile)| (*col == 0).then_some(tile.size.h));
    let at_once = pixels(&image.get(&format!("/iiif/i/full/{w},{h}/0/default.png")));
    let right = bytes(&at_once);
    let about = || format!("{client:?} level {} of {:?}", level.number, image.levels);
    let (mut error, mut different, mut covered) = (0.0, 0u64, 0u64);
    for (col, row, tile) in tiles {
        if client == Client::Iiif2 && tile.size.w == 1 {
            covered += tile.size.area();
            continue;
        }
        // a single pixel is ambiguous, too: the answer is that of level 0
        let pixel = tile.size.w.max(tile.size.h) <= 2;
        for (index, value) in bytes(tile).iter().enumerate() {
            let x = col * image.tile() + index as u32 % tile.size.w;
            let y = row * image.tile() + index as u32 / tile.size.w;
            assert!(x < w && y < h, "{}", about());
            let right = right[(y * w + x) as usize];
            error += (f64::from(*value) - f64::from(right)).powi(2);
            different += u64::from(*value != right && !pixel);
            covered += 1;
        }
    }
    assert!(
        covered == u64::from(w) * u64::from(h) || client == Client::Iiif2,
        "{}",
        about()
    );
    let stored = image.levels.iter().any(|stored| stored.size == Size::new(w, h));
    // a client's pixel beyond the stored level comes from level 0
    let grid = |size: Size| size.grid(Size::new(image.tile(), image.tile()));
    let fits = (image.levels.get(level.halvings as usize))
        .is_some_and(|stored| grid(stored.size) == grid(level.size));
    if stored || (client == Client::Iiif3 && fits) {
        assert_eq!(different, 0, "{}: not equal", about());
    }
    let psnr = 10.0 * (255.0f64.powi(2) * covered as f64 / error.max(1e-9)).log10();
    // a picture of a few pixels consists of edges
    let small = w.min(h) < 16;
    assert!(small || psnr > 40.0, "{}: {psnr:.1} dB", about());
}

/// Checks tiles at the corners, edges and centre of every level.
fn corners(image: &Image, client: Client) {
    for level in client.levels(image) {
        let grid = level.size.grid(Size::new(image.tile(), image.tile()));
        for col in [0, grid.w / 2, grid.w - 1] {
            for row in [0, grid.h / 2, grid.h - 1] {
                tile(image, client, &level, col, row);
            }
        }
    }
}

/// Prints the number of tiles checked.
fn report(tiles: u64, pyramids: u32) {
    let clients = CLIENTS.len();
    eprintln!("{tiles} tiles checked: {clients} clients' formulas on {pyramids} pyramids");
}

fn tiles() -> impl Strategy<Value = u32> {
    prop::sample::select(vec![64u32, 128, 256, 512, 1024])
}

/// Runs `check` on `cases` random pyramids with sides in this range for every client; reports the number of tiles.
fn many(cases: u32, sides: RangeInclusive<u32>, kinds: &'static [Kind], check: fn(&Image, Client)) {
    let checked = Cell::new(0);
    let pyramids = (sides.clone(), sides, tiles(), prop::sample::select(kinds));
    let mut runner = TestRunner::new(ProptestConfig {
        source_file: Some(file!()),
        ..ProptestConfig::with_cases(cases)
    });
    let done = runner.run(&pyramids, |(w, h, side, kind)| {
        let image = Image::new(Size::new(w, h), side, kind);
        CLIENTS.iter().for_each(|&client| check(&image, client));
        checked.set(checked.get() + image.checked.get());
        Ok(())
    });
    done.unwrap();
    report(checked.get(), cases);
}

#[test]
fn tiles_of_small_images_stitch_without_seams() {
    many(40, 1..=700, &[Kind::Down, Kind::Up, Kind::Few, Kind::One], whole);
}

#[test]
fn tiles_of_large_images_have_the_expected_size() {
    many(16, 4000..=40_000, &[Kind::Down, Kind::Up], corners);
}

#[test]
fn tiles_of_odd_images_fit_together() {
    let (mut checked, mut pyramids) = (0, 0);
    for (w, h) in [
        (1, 1),
        (1, 2),
        (2, 1),
        (1, 700),
        (700, 1),
        (63, 64),
        (64, 65),
        (65, 63),
        (255, 257),
        (256, 256),
        (257, 513),
        (513, 512),
    ] {
        for (side, kind) in [
            (64, Kind::Down),
            (64, Kind::Up),
            (256, Kind::Down),
            (256, Kind::Up),
            (1024, Kind::One),
        ] {
            let image = Image::new(Size::new(w, h), side, kind);
            CLIENTS.iter().for_each(|&client| whole(&image, client));
            checked += image.checked.get();
            pyramids += 1;
        }
    }
    for (w, h) in [(300, 200_000), (200_000, 300), (1, 100_000)] {
        for kind in [Kind::Down, Kind::Up] {
            let image = Image::new(Size::new(w, h), 256, kind);
            CLIENTS.iter().for_each(|&client| corners(&image, client));
            checked += image.checked.get();
            pyramids += 1;
        }
    }
    report(checked, pyramids);
}

/// Levels of codestreams round up or, with an image offset on the reference grid, up or down on each side.
#[test]
#[ignore = "needs vips and opj_compress"]
fn tiles_of_jpeg_2000_stitch_without_seams() {
    let (mut checked, mut pyramids) = (0, 0);
    for (w, h, options) in [
        (701, 433, "-n 6"),
        (701, 433, "-n 5 -d 13,7"),
        (520, 1300, "-n 7 -d 1,1 -t 200,300"),
        (1, 300, "-n 1"),
        (5, 3, "-n 2"),
    ] {
        let folder = Folder::new();
        let [from, to] = ["i.pgm", "i.jp2"].map(|name| folder.join(name));
        let whole_picture = Image::new(Size::new(w, h), 256, Kind::One).get("/iiif/i/full/max/0/default.png");
        let header = format!("P5\n{w} {h}\n255\n").into_bytes();
        std::fs::write(&from, [&header[..], bytes(&pixels(&whole_picture))].concat()).unwrap();
        let output = Command::new("opj_compress")
            .args(["-i".as_ref(), from.as_os_str(), "-o".as_ref(), to.as_os_str()])
            .args(options.split(' '))
            .output()
            .expect("opj_compress is installed (tests/run installs libopenjp2-tools)");
        assert!(
            to.exists(),
            "{options}: {}",
            String::from_utf8_lossy(&output.stdout)
        );
        let image = Image::of_file(&to);
        assert_eq!(image.full(), Size::new(w, h));
        CLIENTS.iter().for_each(|&client| whole(&image, client));
        checked += image.checked.get();
        pyramids += 1;
    }
    report(checked, pyramids);
}

/// Served tiles match the files of `vips dzsave`: names, sizes and pixels.
#[test]
#[ignore = "needs vips and opj_compress"]
fn served_tiles_equal_those_of_vips_dzsave() {
    for (w, h, side) in [(701, 433, 256), (513, 90, 64), (1, 300, 128)] {
        let image = Image::new(Size::new(w, h), side, Kind::Up);
        let folder = Folder::new();
        let picture = folder.join("i.png");
        std::fs::write(&picture, &image.get("/iiif/i/full/max/0/default.png").body).unwrap();
        let output = Command::new(needed("vips"))
            .args([
                "dzsave".as_ref(),
                picture.as_os_str(),
                folder.join("i").as_os_str(),
            ])
            .args([
                "--tile-size",
                &side.to_string(),
                "--overlap",
                "0",
                "--suffix",
                ".png",
                "--depth",
                "onepixel",
            ])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let written = std::fs::read_to_string(folder.join("i.dzi")).unwrap();
        let ours = text(&image.get("/dz/i.dzi"));
        for attribute in ["Width", "Height", "TileSize", "Overlap"] {
            let value = |xml: &str| {
                xml.split(&format!("{attribute}=\""))
                    .nth(1)
                    .unwrap()
                    .split('"')
                    .next()
                    .unwrap()
                    .to_string()
            };
            assert_eq!(value(&written), value(&ours), "{attribute}");
        }
        let mut names = Vec::new();
        for level in std::fs::read_dir(folder.join("i_files"))
            .unwrap()
            .flatten()
            .filter(|e| e.path().is_dir())
        {
            for file in std::fs::read_dir(level.path()).unwrap().flatten() {
                let name = format!("{}/{}", level.file_name().display(), file.file_name().display());
                let theirs = crate::support::png(&std::fs::read(file.path()).unwrap());
                let ours = pixels(&image.get(&format!("/dz/i_files/{name}")));
                assert_eq!(ours.size, theirs.size, "{name} of {w}x{h}");
                let error: u64 = bytes(&ours)
                    .iter()
                    .zip(bytes(&theirs))
                    .map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2))
                    .sum();
                let mean = error as f64 / bytes(&ours).len() as f64;
                // levels of a few pixels differ too much to compare
                let small = ours.size.w.min(ours.size.h) < 16;
                assert!(small || mean < 6.5, "{name} of {w}x{h}: {mean:.1}");
                names.push(name);
            }
        }
        names.sort();
        let mut counted = Vec::new();
        for level in Client::DeepZoom.levels(&image) {
            let grid = level.size.grid(Size::new(side, side));
            let cells = (0..grid.w).flat_map(|col| (0..grid.h).map(move |row| (col, row)));
            counted.extend(cells.map(|(col, row)| format!("{}/{col}_{row}.png", level.number)));
        }
        counted.sort();
        assert_eq!(names, counted, "exactly the tiles of the grid");
    }
}
