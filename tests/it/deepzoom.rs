//! DeepZoom: the descriptor, tiles of every level, and coordinates that do not exist.

use crate::support::bytes;
use crate::support::pixels;
use crate::support::query;
use crate::support::size;
use crate::support::text;

#[test]
fn the_descriptor_has_the_form_that_clients_parse() {
    let reply = query("DeepZoom=rgb.dzi");
    assert_eq!(reply.header("Content-Type"), Some("application/xml"));
    assert!(text(&reply).contains(
        "<Image xmlns=\"http://schemas.microsoft.com/deepzoom/2008\" TileSize=\"256\" Overlap=\"0\" Format=\"jpg\">\
         <Size Width=\"1000\" Height=\"701\"/></Image>"
    ));
}

#[test]
fn every_level_has_its_tiles_down_to_one_pixel() {
    for level in 0..=10u32 {
        let halvings = 10 - level;
        let (w, h) = (1000u32.div_ceil(1 << halvings), 701u32.div_ceil(1 << halvings));
        let (columns, rows) = (w.div_ceil(256), h.div_ceil(256));
        let mut sum = (0, 0);
        for col in 0..columns {
            sum.0 += size(&query(&format!("DeepZoom=rgb_files/{level}/{col}_0.jpg"))).0;
        }
        for row in 0..rows {
            sum.1 += size(&query(&format!("DeepZoom=rgb_files/{level}/0_{row}.png"))).1;
        }
        assert!(
            sum.0.abs_diff(w) <= 1 && sum.1.abs_diff(h) <= 1,
            "level {level}: {sum:?} for {w}x{h}"
        );
    }
}

#[test]
fn missing_tiles_are_404_and_malformed_addresses_400() {
    for (path, status) in [
        ("rgb_files/10/9_9.jpg", 404),
        ("rgb_files/10/4_0.jpg", 404),
        ("nope.dzi", 404),
        ("rgb_files/10/-1_-1.jpg", 404),
        ("rgb_FILES/10/0_0.jpg", 404),
        ("rgb_files/10/4294967295_4294967295.jpg", 404),
        ("rgb_files/0/1_0.jpg", 404),
        ("rgb_files/0/0_1.jpg", 404),
        ("", 400),
    ] {
        let reply = query(&format!("DeepZoom={path}"));
        assert_eq!(reply.status, status, "{path}: {}", text(&reply));
    }
}

#[test]
fn the_suffix_selects_the_format() {
    for (suffix, kind) in [
        ("jpg", "image/jpeg"),
        ("JPG", "image/jpeg"),
        ("jpeg", "image/jpeg"),
        ("png", "image/png"),
        ("Png", "image/png"),
    ] {
        let reply = query(&format!("DeepZoom=rgb_files/9/1_1.{suffix}"));
        assert_eq!(
            (reply.status, reply.header("Content-Type")),
            (200, Some(kind)),
            "{suffix}"
        );
    }
}

#[test]
fn levels_below_the_smallest_stored_show_the_whole_picture() {
    // the smallest stored level is 250x175, level 8; smaller levels have the same mean
    let mean = |level: u32| {
        let raster = pixels(&query(&format!("DeepZoom=rgb_files/{level}/0_0.png")));
        let sum: u64 = bytes(&raster).iter().map(|&v| u64::from(v)).sum();
        sum as f64 / bytes(&raster).len() as f64
    };
    for level in 0..8 {
        assert!(
            (mean(level) - mean(8)).abs() < 6.0,
            "level {level}: {} and {}",
            mean(level),
            mean(8)
        );
    }
}
