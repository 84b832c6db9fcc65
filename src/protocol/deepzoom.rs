//! DeepZoom: `NAME.dzi` is the descriptor, `NAME_files/LEVEL/COL_ROW.FORMAT` a tile.

use crate::error::Result;
use crate::plan::TileName;
use crate::protocol::Ask;
use crate::protocol::Description;
use crate::protocol::Request;
use crate::protocol::numbers::cut;
use crate::protocol::tiles;
use crate::protocol::tiles::Form;
use crate::source::Header;

static FORM: Form = Form {
    description: ".dzi",
    ask: Ask::Dzi,
    between: "_files/",
    split: |place| {
        let (level, tile) = cut(place.trim_start_matches('/'), '/');
        let (col, row) = cut(tile, '_');
        [level, col, row]
    },
    name: |[level, col, row]| TileName::DeepZoom { level, col, row },
    usage: "DeepZoom takes NAME.dzi or NAME_files/LEVEL/COL_ROW.jpg",
};

/// Parses a decoded path.
pub fn parse(path: &str) -> Result<Request> {
    tiles::parse(path, &FORM)
}

/// The .dzi file. It has the tile size of level 0: DeepZoom supports only one.
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
        links: None,
        text,
    }
}
