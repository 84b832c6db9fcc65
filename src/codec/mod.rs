//! Compression schemes, one file each: bytes in, bytes or samples out.
//!
//! Knows no container and no image. C libraries are behind the feature `native`, each with a Rust stand-in that has
//! the same interface.

#[cfg(feature = "native")]
pub mod avif;
pub mod ccitt;
pub mod deflate;
pub mod jp2;
pub mod jpeg;
pub mod luv;
pub mod lzma;
pub mod lzw;
pub mod packbits;
pub mod webp;
pub mod zstd;
