//! What DeepZoom and Zoomify have in common: an address is either a description's, or a tile's by level, column, row
//! and format.

use crate::encode::BUILT;
use crate::error::Error;
use crate::error::Result;
use crate::plan::TileName;
use crate::plan::View;
use crate::protocol::Ask;
use crate::protocol::Request;
use crate::protocol::short;
use crate::protocol::whole;
use crate::raster::Format;

/// How a protocol spells addresses.
pub struct Form {
    /// What follows the identifier in the description's address.
    pub description: &'static str,
    /// What that address asks for.
    pub ask: Ask,
    /// Takes a tile's address apart, without its suffix.
    pub split: fn(&str) -> Option<Parts>,
    /// The name of the tile with this level, column and row.
    pub name: fn([u32; 3]) -> TileName,
    /// Both addresses, for a message.
    pub usage: &'static str,
}

/// Identifier, and level, column and row.
pub type Parts<'a> = (&'a str, [&'a str; 3]);

/// Reads a decoded path.
pub fn parse(path: &str, form: &Form) -> Result<Request> {
    if let Some(image) = path.strip_suffix(form.description) {
        return Ok(Request {
            image: Some(image.into()),
            ask: form.ask.clone(),
        });
    }
    let wrong = || Error::Malformed(format!("{}, got \"{}\"", form.usage, short(path)));
    let (place, suffix) = path.rsplit_once('.').ok_or_else(wrong)?;
    let (image, [level, col, row]) = (form.split)(place).ok_or_else(wrong)?;
    let name = (form.name)([
        whole(level, "the level")?,
        whole(col, "the column")?,
        whole(row, "the row")?,
    ]);
    let format = Format::named(suffix).ok_or_else(|| {
        let built: Vec<_> = BUILT.iter().map(|format| format.suffix()).collect();
        Error::Malformed(format!(
            "tiles come as {}, not as \"{}\"",
            built.join(", "),
            short(suffix)
        ))
    })?;
    Ok(Request {
        image: Some(image.into()),
        ask: Ask::Picture(View::tile(name, format)),
    })
}
