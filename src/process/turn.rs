//! Turning.
use crate::raster::Picture;

/// Mirrors, then turns.
pub fn turn(picture: Picture, _mirror: bool, _quarters: u8) -> Picture {
    picture
}
