//! Zoomify: the description that clients parse by position, tiles whatever their group.

use crate::support::query;
use crate::support::size;
use crate::support::text;

#[test]
fn the_description_counts_the_tiles_of_all_levels() {
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
fn the_group_is_not_looked_at() {
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
fn what_does_not_exist_is_missing_and_what_cannot_be_read_is_wrong() {
    for (path, status) in [
        ("rgb/TileGroup0/2-9-9.jpg", 404),
        ("rgb/TileGroup0/9-0-0.jpg", 404),
        ("rgb/TileGroup0/99999-0-0.jpg", 404),
        ("nope/ImageProperties.xml", 404),
        ("rgb/foo", 400),
        ("rgb/TileGroup0/2-0.jpg", 400),
        ("rgb/TileGroup0/2-0-0-0.jpg", 400),
        ("rgb", 400),
    ] {
        let reply = query(&format!("Zoomify={path}"));
        assert_eq!(reply.status, status, "{path}: {}", text(&reply));
    }
}
