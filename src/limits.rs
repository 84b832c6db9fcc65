//! Limits on what a file may claim, checked before any work is done.
//!
//! An error names the limit that was exceeded, so that the log says which setting would accept the file.

use crate::error::Error;

/// Limits for a file. Every field is a setting: its name in capitals with the prefix `LIMIT_`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Pixels of level 0.
    pub pixels: u64,
    /// Samples per pixel.
    pub samples: u64,
    /// Tiles or strips of a level, planes included.
    pub tiles: u64,
    /// Directories of a TIFF file that are read to find a page; a page beyond them is an error.
    pub ifds: usize,
    /// Boxes of JPEG 2000 and chunks of PNG and WebP that are read; later ones are ignored.
    pub boxes: usize,
    /// Decompressed bytes of a profile, an XMP packet or a text; longer ones are dropped.
    pub metadata: u64,
    /// Decoded bytes of a tile or strip.
    pub tile_bytes: u64,
    /// Decoded bytes per byte of the file, of a picture that is decoded as a whole for one answer. 4 MB are always allowed,
    /// 16 MB where it is decoded in bands.
    pub expansion: u64,
}

impl Default for Limits {
    /// The default settings.
    fn default() -> Self {
        Limits {
            pixels: 1 << 42,
            samples: 256,
            tiles: 1 << 25,
            ifds: 65_536,
            boxes: 4096,
            metadata: 4 << 20,
            tile_bytes: 256 << 20,
            expansion: 8192,
        }
    }
}

/// The prefix of the settings' names.
const PREFIX: &str = "LIMIT_";

/// The setting of [`Limits::metadata`].
pub const METADATA: &str = "LIMIT_METADATA";

/// The setting of [`Limits::boxes`].
pub const BOXES: &str = "LIMIT_BOXES";

/// Decoded bytes that every file may have, however short it is.
pub const FLOOR: u64 = 4 << 20;

/// Decoded bytes per byte of the file where the decoder needs the whole picture in memory. Deflate reaches 1032, LZW and
/// Huffman-coded JPEG less. A larger `expansion` does not raise it.
const IN_MEMORY: u64 = 1100;

impl Limits {
    /// Maximum number of decoded bytes of a picture coded in `len` bytes that is decoded in bands.
    pub fn in_bands(&self, len: u64) -> u64 {
        (4 * FLOOR).saturating_add(len.saturating_mul(self.expansion))
    }

    /// Maximum number of decoded bytes of a picture or tile coded in `len` bytes that is decoded in memory.
    pub fn in_memory(&self, len: u64) -> u64 {
        FLOOR.saturating_add(len.saturating_mul(self.expansion.min(IN_MEMORY)))
    }
}

/// `Error::Limit` when `claimed` exceeds `most`; the error names the limit and the quantity.
pub fn check(what: &str, name: &str, claimed: u64, most: u64) -> Result<(), Error> {
    if claimed <= most {
        return Ok(());
    }
    Err(Error::Limit(format!(
        "{what} {claimed} is more than the {most} of {PREFIX}{name}"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_file_may_have_few_decoded_bytes_and_a_long_one_many() {
        let limits = Limits::default();
        assert!(limits.in_memory(4096) < 10 << 20);
        assert!(limits.in_bands(4096) < 50 << 20);
        // 8000 x 8000 pixels of four times 16 bits in 498 KB
        assert!(limits.in_memory(498 << 10) > 8000 * 8000 * 8);
        assert_eq!(limits.in_bands(u64::MAX), u64::MAX);
    }

    #[test]
    fn a_limit_that_is_hit_says_its_name() {
        assert!(check("pixels:", "PIXELS", 5, 5).is_ok());
        let error = check("pixels:", "PIXELS", 6, 5).unwrap_err();
        assert_eq!(error.public(), "pixels: 6 is more than the 5 of LIMIT_PIXELS");
        assert_eq!(error.status(), 413);
    }
}
