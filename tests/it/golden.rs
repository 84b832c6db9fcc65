//! Requests over the pictures of `fixtures/` and the decoded pixels of their answers.
//!
//! `golden.tsv` holds request, size, channels and a hash of the pixels. BLESS=1 rewrites it; SAVE=directory saves the
//! pictures for inspection. Lossy answers depend on the version of the system's libraries: their rows hold the mean of
//! each channel instead of a hash.

use crate::support;
use iipsrv::http::Http;
use iipsrv::raster::Raster;
use std::fmt::Write;
use std::path::Path;

/// One row each. PNG answers are compared exactly, JPEG answers by their means.
const REQUESTS: &[&str] = &[
    "FIF=tessera.tif&JTL=0,0",
    "FIF=tessera.tif&JTL=4,53",
    "FIF=tessera.tif&WID=700&CVT=jpeg",
    "FIF=jpeg-rgb.tif&JTL=0,0",
    "FIF=jpeg-whole.tif&WID=300&CVT=jpeg",
    "FIF=deflate.tif&PTL=0,0",
    "FIF=lzw.tif&PTL=1,1",
    "FIF=zstd.tif&PTL=2,3",
    "FIF=webp.tif&PTL=1,0",
    "FIF=none.tif&PTL=1,1",
    "FIF=big-subifd.tif&PTL=1,1",
    "FIF=grey.tif&PTL=1,1",
    "FIF=rgba.tif&PTL=1,1",
    "FIF=metadata.tif&PTL=0,0",
    "FIF=metadata.tif&RGN=0.2,0.3,0.4,0.3&WID=333&CVT=png",
    "FIF=rgba.tif&WID=200&CVT=png",
    "FIF=rgba.tif&WID=200&CVT=jpeg",
    "IIIF=lzw.tif/pct:10,10,33.3,33.3/90,/90/default.png",
    "IIIF=deflate.tif/full/200,/!270/gray.png",
    "IIIF=deflate.tif/full/200,/0/bitonal.png",
    "IIIF=none.tif/full/^900,/0/default.png",
    "IIIF=zstd.tif/square/128,128/180/color.png",
    "DeepZoom=deflate.tif_files/5/0_0.png",
    "DeepZoom=deflate.tif_files/0/0_0.png",
    "Zoomify=zstd.tif/TileGroup0/1-1-0.png",
];

/// FNV-1a, 64 bits.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn means(raster: &Raster) -> Vec<f64> {
    let channels = usize::from(raster.channels);
    let mean = |c: usize| {
        let values = support::bytes(raster)
            .iter()
            .skip(c)
            .step_by(channels)
            .map(|&v| f64::from(v));
        values.sum::<f64>() / raster.size.area() as f64
    };
    (0..channels).map(mean).collect()
}

#[test]
fn every_request_has_its_golden_pixels() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let service = support::fixtures(&[]);
    let table = root.join("tests/it/golden.tsv");
    let mut now = String::new();
    for request in REQUESTS {
        let reply = service.respond(Http::query(request));
        let raster = support::pixels(&reply);
        if let Some(folder) = std::env::var_os("SAVE") {
            let name: String = request
                .chars()
                .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
                .collect();
            let suffix = reply.header("Content-Type").unwrap().trim_start_matches("image/");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(Path::new(&folder).join(format!("{name}.{suffix}")), &reply.body).unwrap();
        }
        let value = if reply.header("Content-Type") == Some("image/png") {
            format!("{:016x}", hash(support::bytes(&raster)))
        } else {
            means(&raster)
                .iter()
                .map(|m| format!("{m:.1}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
        let _ = writeln!(
            now,
            "{request}\t{}x{}\t{}\t{value}",
            raster.size.w, raster.size.h, raster.channels
        );
    }
    if std::env::var_os("BLESS").is_some() {
        assert!(std::env::var_os("CI").is_none(), "CI does not bless");
        std::fs::write(&table, &now).unwrap();
    }
    let before = std::fs::read_to_string(&table).unwrap();
    assert_eq!(before.lines().count(), REQUESTS.len());
    for (before, now) in before.lines().zip(now.lines()) {
        let (a, b): (Vec<_>, Vec<_>) = (before.split('\t').collect(), now.split('\t').collect());
        assert_eq!(a[..3], b[..3]);
        let numbers = |text: &str| {
            text.split(' ')
                .map(|n| n.parse::<f64>().unwrap())
                .collect::<Vec<_>>()
        };
        if a[3].contains('.') {
            let near = numbers(a[3])
                .iter()
                .zip(numbers(b[3]))
                .all(|(a, b)| (a - b).abs() <= 1.0);
            assert!(near, "{before}\n{now}");
        } else {
            assert_eq!(a[3], b[3], "{}", a[0]);
        }
    }
}

#[test]
fn stitched_tiles_equal_the_whole_region() {
    let service = support::fixtures(&[]);
    let whole = support::pixels(&service.respond(Http::query("IIIF=deflate.tif/full/max/0/default.png")));
    let (w, h) = (whole.size.w as usize, whole.size.h as usize);
    let mut stitched = vec![0u8; w * h * 3];
    let objects = support::text(&service.respond(Http::query("FIF=deflate.tif&OBJ=Resolution-number")));
    let tile = support::text(&service.respond(Http::query("FIF=deflate.tif&OBJ=Tile-size")));
    let side: usize = tile.trim().rsplit(' ').next().unwrap().parse().unwrap();
    let top: u32 = objects.trim().rsplit(':').next().unwrap().parse::<u32>().unwrap() - 1;
    let columns = w.div_ceil(side);
    for index in 0..columns * h.div_ceil(side) {
        let tile =
            support::pixels(&service.respond(Http::query(&format!("FIF=deflate.tif&PTL={top},{index}"))));
        let (x, y) = (index % columns * side, index / columns * side);
        for (row, line) in support::bytes(&tile).chunks(tile.size.w as usize * 3).enumerate() {
            let start = ((y + row) * w + x) * 3;
            stitched[start..start + line.len()].copy_from_slice(line);
        }
    }
    assert!(stitched == support::bytes(&whole));
}

#[test]
fn parts_of_a_reduced_picture_join_without_seams() {
    // a picture reduced by 2.7 as a whole, and in four parts that a client would place side by side
    let service = support::fixtures(&[]);
    let whole = support::pixels(&service.respond(Http::query(
        "IIIF=tessera.tif/0,0,2160,1080/800,400/0/default.png",
    )));
    for (x, y) in [(0, 0), (1080, 0), (0, 540), (1080, 540)] {
        let part = format!("IIIF=tessera.tif/{x},{y},1080,540/400,200/0/default.png");
        let part = support::pixels(&service.respond(Http::query(&part)));
        let (left, top) = (x as usize * 400 / 1080, y as usize * 200 / 540);
        for (row, line) in support::bytes(&part).chunks(400 * 3).enumerate() {
            let start = ((top + row) * 800 + left) * 3;
            let expected = &support::bytes(&whole)[start..start + line.len()];
            let worst = line
                .iter()
                .zip(expected)
                .map(|(a, b)| a.abs_diff(*b))
                .max()
                .unwrap();
            assert!(worst <= 1, "part {x},{y}, row {row}: {worst}");
        }
    }
}
