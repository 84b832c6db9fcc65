//! Compression schemes, one file or folder each: decode bytes to bytes or samples, and encode.
//!
//! C libraries require the feature `native`; each has a Rust replacement with the same interface. Rarely used schemes
//! require `rare`.

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

/// Checks the input of an encoder: `size.w * size.h` pixels of 8-bit samples, and at least one.
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

/// The expected shape of a block, for schemes that decode samples.
#[derive(Clone, Copy, Debug)]
pub struct BlockShape {
    /// Width and height.
    pub size: Size,
    /// Samples per pixel.
    pub channels: usize,
    /// Bits per sample.
    pub bits: u8,
    /// Sample format.
    pub kind: SampleFormat,
    /// Whether output bytes are most significant first.
    pub big: bool,
}

impl BlockShape {
    /// Converts the big-endian bytes of a sample to the output order.
    pub fn ordered<const N: usize>(&self, mut bytes: [u8; N]) -> [u8; N] {
        if !self.big {
            bytes.reverse();
        }
        bytes
    }
}
