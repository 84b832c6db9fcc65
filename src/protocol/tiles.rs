//! What DeepZoom and Zoomify share: an address is a description, a tile by level, column, row and format, or the
//! identifier alone, which is the smallest stored picture.
//!
//! As in iipsrv, numbers are read as far as they go, and an unknown format is JPEG.

use crate::error::Error;
use crate::error::Result;
use crate::plan::TileName;
use crate::plan::View;
use crate::protocol::Ask;
use crate::protocol::Request;
use crate::protocol::numbers;
use crate::protocol::short;
use crate::raster::Format;

/// How a protocol spells addresses.
pub struct Form {
    /// What follows the identifier in the description's address.
    pub description: &'static str,
    /// What that address asks for.
    pub ask: Ask,
    /// What is between the identifier and the tile.
    pub between: &'static str,
    /// Level, column and row of what follows that, without its suffix.
    pub split: fn(&str) -> [&str; 3],
    /// The name of the tile with this level, column and row.
    pub name: fn([u32; 3]) -> TileName,
    /// Both addresses, for a message.
    pub usage: &'static str,
}

/// Reads a decoded path.
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
