//! Zoomify: `NAME/ImageProperties.xml` is the descriptor, `NAME/TileGroupG/LEVEL-COL-ROW.FORMAT` a tile. The group is
//! ignored: clients compute it differently.

use crate::error::Result;
use crate::plan::TileName;
use crate::plan::zoomify_sizes;
use crate::protocol::Ask;
use crate::protocol::Description;
use crate::protocol::Request;
use crate::protocol::tiles;
use crate::protocol::tiles::Form;
use crate::source::Header;

static FORM: Form = Form {
    description: "/ImageProperties.xml",
    ask: Ask::Properties,
    between: "/TileGroup",
    split: |place| {
        let (_, tile) = place.split_once('/').unwrap_or_default();
        let mut numbers = tile
            .trim_start_matches('/')
            .split('-')
            .filter(|number| !number.is_empty());
        std::array::from_fn(|_| numbers.next().unwrap_or_default())
    },
    name: |[level, col, row]| TileName::Zoomify { level, col, row },
    usage: "Zoomify takes NAME/ImageProperties.xml or NAME/TileGroup0/LEVEL-COL-ROW.jpg",
};

/// Parses a decoded path.
pub fn parse(path: &str) -> Result<Request> {
    tiles::parse(path, &FORM)
}

/// ImageProperties.xml. NUMTILES is the sum over the levels that a client counts; clients parse the attributes by
/// position.
pub fn describe(header: &Header) -> Description {
    let size = header.size();
    let tile = header
        .levels
        .first()
        .map_or(crate::geometry::Size::new(256, 256), |level| level.tile);
    let tiles: u64 = zoomify_sizes(header)
        .iter()
        .map(|level| level.grid(tile).area())
        .sum();
    let text = format!(
        concat!(
            "<IMAGE_PROPERTIES WIDTH=\"{}\" HEIGHT=\"{}\" NUMTILES=\"{}\" NUMIMAGES=\"1\" ",
            "VERSION=\"1.8\" TILESIZE=\"{}\"/>"
        ),
        size.w, size.h, tiles, tile.w
    );
    Description {
        media_type: "application/xml",
        links: None,
        text,
    }
}
