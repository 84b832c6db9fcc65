//! Compression schemes, one file each: bytes in, bytes or samples out.
//!
//! Knows no container and no image. C libraries are behind the feature `native`, each with a Rust stand-in that has
//! the same interface.

#[cfg(avif)]
pub mod avif;
pub mod ccitt;
pub mod deflate;
pub mod jp2;
pub mod jpeg;
pub mod jxl;
pub mod lerc;
pub mod luv;
pub mod lzma;
pub mod lzw;
pub mod packbits;
pub mod webp;
pub mod zstd;

use crate::geometry::Size;
use crate::raster::Kind;

/// What a block of a scheme that knows samples must hold.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Width and height.
    pub size: Size,
    /// Samples a pixel.
    pub channels: usize,
    /// Of each sample.
    pub bits: u8,
    /// Of each sample.
    pub kind: Kind,
    /// Whether bytes are wanted most significant first.
    pub big: bool,
}
