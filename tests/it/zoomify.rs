//! Zoomify: the descriptor, which clients parse by position, and tiles in any group.

use crate::support::query;
use crate::support::size;
use crate::support::text;

#[test]
fn the_descriptor_counts_the_tiles_of_all_levels() {
    let reply = query("zoomify=rgb/ImageProperties.xml");
    assert_eq!(reply.header("Content-Type"), Some("application/xml"));
    assert_eq!(
        text(&reply),
        "<IMAGE_PROPERTIES WIDTH=\"1000\" HEIGHT=\"701\" NUMTILES=\"17\" NUMIMAGES=\"1\" VERSION=\"1.8\" TILESIZE=\"256\"/>"
    );
    let body = text(&reply);
    let parts: Vec<_> = body.split('"').collect();
    assert_eq!((parts[1], parts[3], parts[11]), ("1000", "701", "256"));
}

#[test]
fn the_tile_group_is_ignored() {
    for group in ["TileGroup0", "TileGroup7"] {
        assert_eq!(
            size(&query(&format!("Zoomify=rgb/{group}/2-3-2.jpg"))),
            (232, 189)
        );
        assert_eq!(
            size(&query(&format!("Zoomify=rgb/{group}/0-0-0.jpg"))),
            (250, 175)
        );
    }
}

#[test]
fn unknown_addresses_are_404_and_an_empty_identifier_is_400() {
    for (path, status) in [
        ("rgb/TileGroup0/2-9-9.jpg", 404),
        ("rgb/TileGroup0/9-0-0.jpg", 404),
        ("rgb/TileGroup0/99999-0-0.jpg", 404),
        ("nope/ImageProperties.xml", 404),
        ("rgb/foo", 404),
        ("rgb/Group0/2-0-0.jpg", 404),
        ("/TileGroup0/2-0-0.jpg", 400),
        ("rgb/TileGroup0/0-1-0.jpg", 404),
        ("rgb/TileGroup0/0-0-1.jpg", 404),
        ("rgb/TileGroup0/2-4294967295-0.jpg", 404),
    ] {
        let reply = query(&format!("Zoomify={path}"));
        assert_eq!(reply.status, status, "{path}: {}", text(&reply));
    }
}

#[test]
fn every_counted_tile_is_served_in_every_format() {
    let body = text(&query("Zoomify=rgb/ImageProperties.xml"));
    let counted: u32 = body.split('"').nth(5).unwrap().parse().unwrap();
    let mut found = 0;
    for level in 0..=2u32 {
        let (w, h) = (1000u32 >> (2 - level), 701u32 >> (2 - level));
        for (col, row) in (0..w.div_ceil(256)).flat_map(|col| (0..h.div_ceil(256)).map(move |row| (col, row)))
        {
            // the group as Zoomify's own clients compute it
            let group = found / 256;
            let tile = (256.min(w - col * 256), 256.min(h - row * 256));
            for suffix in ["jpg", "png", "PNG"] {
                let address = format!("Zoomify=rgb/TileGroup{group}/{level}-{col}-{row}.{suffix}");
                assert_eq!(size(&query(&address)), tile, "{address}");
            }
            found += 1;
        }
    }
    assert_eq!(found, counted);
}
