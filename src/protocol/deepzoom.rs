//! DeepZoom: `NAME.dzi` describes, `NAME_files/LEVEL/COL_ROW.FORMAT` is a tile.

use crate::error::Error;
use crate::error::Result;
use crate::plan::TileName;
use crate::plan::View;
use crate::protocol::Ask;
use crate::protocol::Description;
use crate::protocol::Request;
use crate::protocol::short;
use crate::protocol::whole;
use crate::raster::Format;
use crate::source::Header;

/// Reads a decoded path.
pub fn parse(path: &str) -> Result<Request> {
    if let Some(image) = path.strip_suffix(".dzi") {
        return Ok(Request {
            image: Some(image.into()),
            ask: Ask::Dzi,
        });
    }
    let wrong = || {
        Error::Malformed(format!(
            "DeepZoom takes NAME.dzi or NAME_files/LEVEL/COL_ROW.jpg, got \"{}\"",
            short(path)
        ))
    };
    let (image, tile) = path.rsplit_once("_files/").ok_or_else(wrong)?;
    let (level, tile) = tile.split_once('/').ok_or_else(wrong)?;
    let (place, suffix) = tile.rsplit_once('.').ok_or_else(wrong)?;
    let (col, row) = place.split_once('_').ok_or_else(wrong)?;
    let format = format(suffix)?;
    let name = TileName::DeepZoom {
        level: whole(level, "the level")?,
        col: whole(col, "the column")?,
        row: whole(row, "the row")?,
    };
    Ok(Request {
        image: Some(image.into()),
        ask: Ask::Picture(View::tile(name, format)),
    })
}

/// The format of a tile by its suffix.
pub fn format(suffix: &str) -> Result<Format> {
    match suffix {
        "jpg" | "jpeg" => Ok(Format::Jpeg),
        "png" => Ok(Format::Png),
        "webp" => Ok(Format::Webp),
        "avif" => Ok(Format::Avif),
        other => Err(Error::Malformed(format!(
            "tiles come as jpg or png, not as \"{}\"",
            short(other)
        ))),
    }
}

/// The .dzi file. Tile sizes that differ from level 0's are not told: DeepZoom knows one.
pub fn describe(header: &Header) -> Description {
    let size = header.size();
    let tile = header.levels.first().map_or(256, |level| level.tile.w);
    let text = format!(
        concat!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n",
            "<Image xmlns=\"http://schemas.microsoft.com/deepzoom/2008\" ",
            "TileSize=\"{}\" Overlap=\"0\" Format=\"jpg\"><Size Width=\"{}\" Height=\"{}\"/></Image>"
        ),
        tile, size.w, size.h
    );
    Description {
        media_type: "application/xml",
        text,
    }
}
