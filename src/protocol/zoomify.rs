//! Zoomify: `NAME/ImageProperties.xml` describes, `NAME/TileGroupG/LEVEL-COL-ROW.FORMAT` is a tile. The group is not
//! looked at: clients count it differently.

use crate::error::Error;
use crate::error::Result;
use crate::plan::TileName;
use crate::plan::View;
use crate::plan::zoomify_sizes;
use crate::protocol::Ask;
use crate::protocol::Description;
use crate::protocol::Request;
use crate::protocol::deepzoom;
use crate::protocol::short;
use crate::protocol::whole;
use crate::source::Header;

/// Reads a decoded path.
pub fn parse(path: &str) -> Result<Request> {
    if let Some(image) = path.strip_suffix("/ImageProperties.xml") {
        return Ok(Request {
            image: Some(image.into()),
            ask: Ask::Properties,
        });
    }
    let wrong = || {
        Error::Malformed(format!(
            "Zoomify takes NAME/ImageProperties.xml or NAME/TileGroup0/LEVEL-COL-ROW.jpg, got \"{}\"",
            short(path)
        ))
    };
    let (place, tile) = path.rsplit_once('/').ok_or_else(wrong)?;
    let (image, group) = place.rsplit_once('/').ok_or_else(wrong)?;
    if !group.starts_with("TileGroup") {
        return Err(wrong());
    }
    let (numbers, suffix) = tile.rsplit_once('.').ok_or_else(wrong)?;
    let mut numbers = numbers.split('-');
    let mut next = |what| whole(numbers.next().ok_or_else(wrong)?, what);
    let name = TileName::Zoomify {
        level: next("the level")?,
        col: next("the column")?,
        row: next("the row")?,
    };
    if numbers.next().is_some() {
        return Err(wrong());
    }
    let format = deepzoom::format(suffix)?;
    Ok(Request {
        image: Some(image.into()),
        ask: Ask::Picture(View::tile(name, format)),
    })
}

/// ImageProperties.xml. NUMTILES is the sum over the levels that a client counts; clients find the attributes by
/// their position.
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
        text,
    }
}
