//! Reads one small picture from a TIFF file, such as a watermark.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::library::paths::is_file;
use crate::process::colour;
use crate::raster::Alpha;
use crate::raster::Picture;
use crate::source::Source;
use crate::source::Window;
use crate::source::cache::NoCache;
use crate::source::derived::check_worth;
use crate::source::tiff;
use crate::source::tiff::Tiff;
use crate::source::window;
use crate::store;
use std::path::Path;

/// Maximum number of pixels of a [`picture`].
const PICTURE_PIXELS: u64 = 1 << 24;

/// Decodes the first picture of a TIFF file to 8 bits, with straight alpha if present.
pub fn picture(path: &Path) -> Result<Picture> {
    if !is_file(path) {
        return Err(Error::Missing("is not a file".into()));
    }
    let limits = tiff::Limits::default();
    let tiff = Tiff::open(store::open(path)?, &limits)?;
    let header = tiff.header();
    let rect = Rect::of(header.size());
    if rect.size().area() * u64::from(header.channels.div_ceil(4)) > PICTURE_PIXELS {
        return Err(Error::TooLarge(format!(
            "{}x{} pixels are too many",
            rect.w, rect.h
        )));
    }
    let window = Window::new(0, rect);
    check_worth(header, window, header.effort(window, &NoCache), &limits)?;
    let meaning = header.meaning.clone();
    let raster = window::raster(&tiff, window, &NoCache)?;
    let picture = colour::picture(raster, &meaning)?;
    Ok(if meaning.alpha == Alpha::Premultiplied {
        colour::straighten(picture)
    } else {
        picture
    })
}
