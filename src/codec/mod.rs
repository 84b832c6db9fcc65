//! Compression schemes, a file or a folder for each: bytes in, bytes or samples out.
//!
//! C libraries are behind the feature `native`, each with a replacement in Rust that has the same interface; schemes that few
//! files have are behind `rare`.

#[cfg(avif)]
pub mod avif;
pub mod ccitt;
pub mod deflate;
#[cfg(feature = "rare")]
pub mod jbig;
pub mod jp2;
pub mod jpeg;
pub mod jxl;
pub mod lerc;
#[cfg(feature = "rare")]
pub mod luv;
pub mod lzma;
pub mod lzw;
#[cfg(feature = "rare")]
pub mod next;
pub mod packbits;
#[cfg(feature = "rare")]
pub mod pixarlog;
pub mod png;
pub mod pull;
pub mod read_at;
#[cfg(feature = "rare")]
pub mod thunder;
pub mod webp;
pub mod zstd;

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Layout;
use crate::raster::SampleFormat;

/// What every encoder asks of its input: `size.w * size.h` pixels of 8-bit samples, and at least one.
fn check_pixels(pixels: &[u8], size: Size, layout: Layout) -> Result<()> {
    let expected = size.area() * layout.channels() as u64;
    if expected == 0 || pixels.len() as u64 != expected {
        return Err(Error::Corrupt(format!(
            "{}x{} pixels take {expected} bytes, got {}",
            size.w,
            size.h,
            pixels.len()
        )));
    }
    Ok(())
}

/// What a block of a scheme that knows samples must hold.
#[derive(Clone, Copy, Debug)]
pub struct BlockShape {
    /// Width and height.
    pub size: Size,
    /// Samples a pixel.
    pub channels: usize,
    /// Of each sample.
    pub bits: u8,
    /// Of each sample.
    pub kind: SampleFormat,
    /// Whether bytes are wanted most significant first.
    pub big: bool,
}

impl BlockShape {
    /// A sample's bytes, most significant first, in the order that is wanted.
    pub fn ordered<const N: usize>(&self, mut bytes: [u8; N]) -> [u8; N] {
        if !self.big {
            bytes.reverse();
        }
        bytes
    }
}
