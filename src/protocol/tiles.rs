//! Shared by DeepZoom and Zoomify: an address is a descriptor, a tile by level, column, row and format, or the bare
//! identifier, which gives the smallest stored level.
//!
//! As in iipsrv, numbers end at the first invalid character, and an unknown format is JPEG.

use crate::error::Error;
use crate::error::Result;
use crate::plan::TileName;
use crate::plan::View;
use crate::protocol::Ask;
use crate::protocol::Request;
use crate::protocol::numbers;
use crate::protocol::short;
use crate::raster::Format;

/// The address syntax of a protocol.
pub struct Form {
    /// The suffix of the descriptor's address.
    pub description: &'static str,
    /// The content of that address.
    pub ask: Ask,
    /// The separator between identifier and tile.
    pub between: &'static str,
    /// Parses level, column and row of a tile, without its suffix.
    pub split: fn(&str) -> [&str; 3],
    /// The name of the tile with this level, column and row.
    pub name: fn([u32; 3]) -> TileName,
    /// Both address forms, for a message.
    pub usage: &'static str,
}

/// Parses a decoded path.
pub fn parse(path: &str, form: &Form) -> Result<Request> {
    let wrong = || Error::Malformed(format!("{}, got \"{}\"", form.usage, short(path)));
    if let Some(image) = path.strip_suffix(form.description) {
        return Ok(Request {
            image: Some(image.into()),
            ask: form.ask.clone(),
        });
    }
    let (image, name, format) = match path.rsplit_once(form.between) {
        Some((image, tile)) => {
            let (place, suffix) = tile.rsplit_once('.').unwrap_or((tile, ""));
            let [level, col, row] = (form.split)(place).map(numbers::count);
            let (Some(level), Some(col), Some(row)) = (level, col, row) else {
                return Err(Error::Outside("tiles count from 0".into()));
            };
            let format = Format::named(suffix).unwrap_or(Format::Jpeg);
            (image, (form.name)([level, col, row]), format)
        }
        None => (path, TileName::Iip { level: 0, index: 0 }, Format::Jpeg),
    };
    if image.is_empty() {
        return Err(wrong());
    }
    Ok(Request {
        image: Some(image.into()),
        ask: Ask::Picture(View::tile(name, format)),
    })
}
