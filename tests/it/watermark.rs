//! The watermark: its position, its effect on pixels, and that no answer lacks it.

use crate::process::Folder;
use crate::site::needed;
use crate::support;
use iipsrv::geometry::Rect;
use iipsrv::http::Http;
use iipsrv::raster::Raster;
use iipsrv::service::Service;
use std::path::Path;
use std::process::Command;

/// Writes a TIFF of one colour with vips: strips of 8 or 16 bits, unassociated alpha; its path.
fn mark(folder: &Folder, name: &str, (w, h): (u32, u32), pixel: &[u8], bits: u8) -> String {
    let path = |name: &str| folder.join(name).into_os_string().into_string().unwrap();
    let (raw, file) = (path("raw"), path(name));
    let bytes: Vec<u8> = match bits {
        8 => pixel.to_vec(),
        _ => pixel
            .iter()
            .flat_map(|&v| (u16::from(v) * 257).to_ne_bytes())
            .collect(),
    };
    std::fs::write(&raw, bytes.repeat((w * h) as usize)).unwrap();
    let kind = match (pixel.len(), bits) {
        (1 | 2, 8) => "b-w",
        (1 | 2, _) => "grey16",
        (_, 8) => "srgb",
        _ => "rgb16",
    };
    let loaded = path("loaded.v");
    vips(&[
        "rawload",
        &raw,
        &loaded,
        &w.to_string(),
        &h.to_string(),
        &pixel.len().to_string(),
        &format!("--interpretation={kind}"),
        if bits == 8 {
            "--format=uchar"
        } else {
            "--format=ushort"
        },
    ]);
    vips(&["tiffsave", &loaded, &file]);
    file
}

fn vips(words: &[&str]) {
    let output = Command::new(needed("vips")).args(words).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn ask(service: &Service, query: &str) -> Raster {
    let reply = service.respond(Http::query(query));
    if let Some(folder) = std::env::var_os("SAVE") {
        let name: String = query
            .chars()
            .map(|c| if c.is_alphanumeric() { c } else { '-' })
            .collect();
        let id = std::thread::current()
            .name()
            .unwrap_or_default()
            .replace("::", "-");
        std::fs::write(Path::new(&folder).join(format!("{id}-{name}")), &reply.body).unwrap();
    }
    support::pixels(&reply)
}

/// Pairs of pixels, before and after.
type Changes = Vec<(Vec<u8>, Vec<u8>)>;

/// The rectangle in which two pictures differ, and its pixels before and after.
fn change(before: &Raster, after: &Raster) -> (Option<Rect>, Changes) {
    assert_eq!((before.size, before.channels), (after.size, after.channels));
    let n = usize::from(before.channels);
    let pixels =
        |raster: &Raster| -> Vec<Vec<u8>> { support::bytes(raster).chunks(n).map(<[u8]>::to_vec).collect() };
    let (before_pixels, after_pixels) = (pixels(before), pixels(after));
    let width = before.size.w;
    let differ: Vec<(u32, u32)> = (0..before_pixels.len())
        .filter(|&i| before_pixels[i] != after_pixels[i])
        .map(|i| (i as u32 % width, i as u32 / width))
        .collect();
    let Some(left) = differ.iter().map(|(x, _)| *x).min() else {
        return (None, Vec::new());
    };
    let right = differ.iter().map(|(x, _)| *x).max().unwrap() + 1;
    let top = differ.iter().map(|(_, y)| *y).min().unwrap();
    let bottom = differ.iter().map(|(_, y)| *y).max().unwrap() + 1;
    let inside = (top..bottom).flat_map(|y| (left..right).map(move |x| (y * width + x) as usize));
    let changes = inside
        .map(|i| (before_pixels[i].clone(), after_pixels[i].clone()))
        .collect();
    (Some(Rect::new(left, top, right - left, bottom - top)), changes)
}

const TILE: &str = "IIIF=rgb/0,0,256,256/256,256/0/default.png";

#[test]
#[ignore = "needs vips"]
fn every_kind_of_mark_changes_pixels_by_its_formula() {
    let folder = Folder::new();
    let plain = ask(&support::service(&[]), TILE);
    let added = |light: [f64; 3]| move |v: f64, c: usize| (v + light[c]).min(255.0);
    let laid =
        |colour: [f64; 3], weight: f64| move |v: f64, c: usize| v * (1.0 - weight) + colour[c] * weight;
    type Check = Box<dyn Fn(f64, usize) -> f64>;
    let half = 128.0 / 255.0;
    let cases: Vec<(&str, &[u8], u8, &str, Check)> = vec![
        ("rgb", &[100, 40, 9], 8, "1", Box::new(added([100.0, 40.0, 9.0]))),
        (
            "rgb faint",
            &[100, 40, 8],
            8,
            "0.5",
            Box::new(added([50.0, 20.0, 4.0])),
        ),
        (
            "rgb deep",
            &[100, 40, 9],
            16,
            "1",
            Box::new(added([100.0, 40.0, 9.0])),
        ),
        ("grey", &[90], 8, "1", Box::new(added([90.0; 3]))),
        ("grey deep", &[90], 16, "1", Box::new(added([90.0; 3]))),
        (
            "rgba",
            &[200, 40, 10, 128],
            8,
            "1",
            Box::new(laid([200.0, 40.0, 10.0], half)),
        ),
        (
            "rgba faint",
            &[200, 40, 10, 128],
            8,
            "0.5",
            Box::new(laid([200.0, 40.0, 10.0], half / 2.0)),
        ),
        (
            "rgba deep",
            &[200, 40, 10, 128],
            16,
            "1",
            Box::new(laid([200.0, 40.0, 10.0], half)),
        ),
        ("grey alpha", &[90, 128], 8, "1", Box::new(laid([90.0; 3], half))),
    ];
    let mut places = Vec::new();
    for (name, pixel, bits, opacity, after) in cases {
        let file = mark(&folder, "m.tif", (60, 33), pixel, bits);
        let service = support::service(&[("WATERMARK", &file), ("WATERMARK_OPACITY", opacity)]);
        assert!(
            service.config().warnings.is_empty(),
            "{name}: {:?}",
            service.config().warnings
        );
        let (place, changes) = change(&plain, &ask(&service, TILE));
        let place = place.unwrap();
        assert!(place.w <= 60 && place.h <= 33, "{name}: {place:?}");
        places.push((place.x, place.y));
        for (before, changed) in changes {
            for (c, (v, changed)) in before.iter().zip(changed).enumerate() {
                let wanted = after(f64::from(*v), c);
                assert!(
                    (f64::from(changed) - wanted).abs() <= 1.0,
                    "{name}: {v} became {changed}, not {wanted}"
                );
            }
        }
    }
    assert!(
        places.iter().all(|place| *place == places[0]),
        "one place for one view: {places:?}"
    );
}

#[test]
#[ignore = "needs vips"]
fn grey_and_transparent_pictures_are_marked_too() {
    let folder = Folder::new();
    let file = mark(&folder, "m.tif", (60, 33), &[200, 40, 10, 255], 8);
    let marked = support::service(&[("WATERMARK", &file)]);
    let plain = support::service(&[]);
    // the luma of the mark
    let grey = "IIIF=grey/0,0,256,256/256,256/0/default.png";
    let (place, changes) = change(&ask(&plain, grey), &ask(&marked, grey));
    assert_eq!(place.map(|place| (place.w, place.h)), Some((60, 33)));
    assert!(changes.iter().all(|(_, after)| *after == [72]), "{changes:?}");
    let rgba = "IIIF=rgba/0,0,256,256/256,256/0/default.png";
    let (place, changes) = change(&ask(&plain, rgba), &ask(&marked, rgba));
    assert_eq!(place.map(|place| (place.w, place.h)), Some((60, 33)));
    assert!(changes.iter().all(|(_, after)| *after == [200, 40, 10, 255]));
    // JPEG has the mark at the same position
    let tile = "IIIF=rgb/0,0,256,256/256,256/0/default.jpg";
    let (before, after) = (ask(&plain, tile), ask(&marked, tile));
    let place = change(&ask(&plain, TILE), &ask(&marked, TILE)).0.unwrap();
    let (x, y) = (place.x + 30, place.y + 16);
    let at = |raster: &Raster| support::bytes(raster)[((y * 256 + x) * 3) as usize..][..3].to_vec();
    assert!(
        at(&after)
            .iter()
            .zip([200u8, 40, 10])
            .all(|(a, b)| a.abs_diff(b) < 12),
        "{:?}",
        at(&after)
    );
    assert_ne!(at(&before), at(&after));
}

#[test]
#[ignore = "needs vips"]
fn a_mark_larger_than_the_tile_is_cropped() {
    let folder = Folder::new();
    let file = mark(&folder, "m.tif", (400, 300), &[1, 2, 3, 255], 8);
    let service = support::service(&[("WATERMARK", &file)]);
    let all = ask(&service, TILE);
    assert!(support::bytes(&all).chunks(3).all(|pixel| pixel == [1, 2, 3]));
    // the mark is applied after rotation
    let turned = ask(&service, "IIIF=rgb/0,0,256,100/max/30/default.png");
    assert!(
        support::bytes(&turned)
            .chunks(4)
            .all(|pixel| pixel == [1, 2, 3, 255])
    );
}

#[test]
#[ignore = "needs vips"]
fn a_large_answer_is_marked_in_every_tile() {
    let folder = Folder::new();
    let file = mark(&folder, "m.tif", (60, 33), &[255, 0, 255, 255], 8);
    let service = support::service(&[("WATERMARK", &file)]);
    let all = ask(&service, "IIIF=rgb/full/max/0/default.png");
    let marked = support::bytes(&all)
        .chunks(3)
        .filter(|pixel| **pixel == [255, 0, 255]);
    // 1000×701 is 4×3 tiles
    assert_eq!(marked.count(), 12 * 60 * 33);
}

#[test]
#[ignore = "needs vips"]
fn no_tile_is_unmarked_and_equal_requests_get_equal_bytes() {
    let folder = Folder::new();
    let file = mark(&folder, "m.tif", (60, 33), &[255, 255, 255, 255], 8);
    let tile =
        |service: &Service, n: u32| service.respond(Http::query(&format!("FIF=tessera.tif&JTL=4,{n}")));
    let plain = support::fixtures(&[]);
    let always = support::fixtures(&[("WATERMARK", &file)]);
    let again = support::fixtures(&[("WATERMARK", &file), ("MAX_IMAGE_CACHE_SIZE", "0")]);
    let never = support::fixtures(&[("WATERMARK", &file), ("WATERMARK_PROBABILITY", "0")]);
    let third = support::fixtures(&[("WATERMARK", &file), ("WATERMARK_PROBABILITY", "0.3")]);
    let other = mark(&folder, "n.tif", (60, 33), &[255, 255, 254, 255], 8);
    let other = support::fixtures(&[("WATERMARK", &other)]);
    let mut hits = 0;
    for n in 0..108 {
        let (unmarked, marked) = (tile(&plain, n), tile(&always, n));
        assert_eq!(
            unmarked.body,
            tile(&never, n).body,
            "a tile without is passed as it is stored"
        );
        assert_eq!(unmarked.header("ETag"), tile(&never, n).header("ETag"));
        assert_ne!(unmarked.body, marked.body);
        assert_ne!(unmarked.header("ETag"), marked.header("ETag"));
        assert_eq!(marked.body, tile(&again, n).body);
        assert_eq!(marked.header("ETag"), tile(&again, n).header("ETag"));
        assert_ne!(marked.header("ETag"), tile(&other, n).header("ETag"));
        let sometimes = tile(&third, n);
        hits += u32::from(sometimes.body != unmarked.body);
        assert_eq!(
            sometimes.body == unmarked.body,
            sometimes.header("ETag") == unmarked.header("ETag")
        );
    }
    // the expected number is 32.4; four standard deviations are 19
    assert!((14..=51).contains(&hits), "{hits} of 108");
    let zoomify = always.respond(Http::query("Zoomify=tessera.tif/TileGroup0/4-0-0.jpg"));
    assert_eq!(
        zoomify.body,
        tile(&always, 0).body,
        "one tile, whatever it is called"
    );
}

#[test]
fn an_unreadable_mark_prevents_the_start() {
    let folder = Folder::new();
    let broken = folder.join("broken.tif");
    std::fs::write(&broken, b"II*\0\xff\xff\xff\xff").unwrap();
    let directory = folder.join("");
    for (name, why) in [
        (broken.to_str().unwrap(), "corrupt"),
        (directory.to_str().unwrap(), "is not a file"),
        ("/nowhere/mark.tif", "is not a file"),
    ] {
        let config = support::config(&[("WATERMARK", name)]);
        let service = Service::new(config);
        let fault = service.watermark_fault().unwrap();
        assert!(fault.contains(why), "{name}: {fault}");
        let daemon = || {
            let mut command = folder.command(env!("CARGO_BIN_EXE_iipsrv"));
            command.env("WATERMARK", name);
            command
        };
        let output = daemon().args(["--http", "127.0.0.1:0"]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).contains("watermark"));
        let output = daemon().arg("--check-config").output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&output.stdout).contains("warning: WATERMARK="));
    }
    assert_eq!(Service::new(support::config(&[])).watermark_fault(), None);
    assert!(support::config(&[("WATERMARK_OPACITY", "7")]).warnings[0].contains("WATERMARK_OPACITY"));
}

#[test]
#[ignore = "needs vips"]
fn a_changed_mark_is_read_again_when_caches_are_cleared() {
    let folder = Folder::new();
    let path = mark(&folder, "mark.tif", (64, 64), &[90, 0, 0], 8);
    let service = support::service(&[("WATERMARK", &path)]);
    let tag = |service: &Service| {
        let reply = service.respond(Http::query(TILE));
        reply.header("ETag").unwrap().to_owned()
    };
    let (red, red_tag) = (ask(&service, TILE), tag(&service));
    mark(&folder, "mark.tif", (64, 64), &[0, 0, 90], 8);
    assert_eq!(ask(&service, TILE), red);
    service.clear().unwrap();
    let blue = ask(&service, TILE);
    assert!(blue != red && tag(&service) != red_tag);
    assert_eq!(blue, ask(&support::service(&[("WATERMARK", &path)]), TILE));
    std::fs::write(&path, "no picture").unwrap();
    assert!(service.clear().is_err());
    assert_eq!(ask(&service, TILE), blue);
}
