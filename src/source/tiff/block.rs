//! From the coded bytes of a block (a tile, a strip, or one plane of them) to samples.
//!
//! Schemes of compression are `codec`'s business, what the bytes mean `layout`'s and `unpack`'s; knows no file.

use crate::codec::ccitt;
use crate::codec::deflate;
use crate::codec::jpeg;
use crate::codec::lzma;
use crate::codec::lzw;
use crate::codec::packbits;
use crate::codec::webp;
use crate::codec::zstd;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Raster;
use crate::raster::Samples;
use crate::source::tiff::layout::Compression;
use crate::source::tiff::layout::Layout;
use crate::source::tiff::unpack::unpack;

/// The upper left `size` of a block of `block` pixels, `layout.channels()` interleaved. `coded` and `plain` are used as
/// places to work in; `plain` grows as needed. `Error::Corrupt` when the block holds less.
pub fn decode(
    layout: &Layout,
    coded: &mut [u8],
    block: Size,
    size: Size,
    plain: &mut Vec<u8>,
) -> Result<Samples> {
    let bytes = usize::try_from(layout.bytes(block)).unwrap_or(usize::MAX);
    if layout.reversed {
        coded.iter_mut().for_each(|byte| *byte = byte.reverse_bits());
    }
    let plain = match layout.compression {
        Compression::None => coded,
        Compression::PackBits => packbits::decode(coded, bytes, plain),
        Compression::Ccitt(coding) => ccitt::decode(coded, coding, block.w, block.h, plain)?,
        Compression::Lzw => lzw::decode(coded, bytes, plain)?,
        Compression::Deflate => deflate::inflate(coded, bytes, plain)?,
        Compression::Lzma => lzma::decode(coded, bytes, plain)?,
        Compression::Zstd => zstd::decode(coded, bytes, plain)?,
        Compression::Webp => {
            let channels = u8::try_from(layout.stored).unwrap_or(u8::MAX);
            webp::decode(coded, block, channels, plain)?
        }
        Compression::Jpeg => {
            let stream = jpeg::merge(layout.tables.as_deref(), coded, jpeg_colour(layout))?;
            return of_raster(jpeg::decode(&stream, block)?, layout, size);
        }
        Compression::Jpeg2000 => {
            return Err(Error::Unsupported("JPEG 2000 in TIFF is not served yet".into()));
        }
    };
    unpack(layout, plain, block.w, size)
}

/// What a scheme that knows pixels has decoded: cut to `size`, channels picked, colours turned.
fn of_raster(raster: Raster, layout: &Layout, size: Size) -> Result<Samples> {
    let found = raster.size;
    if usize::from(raster.channels) != layout.stored || found.w < size.w || found.h < size.h {
        return Err(Error::Corrupt(format!(
            "a {:?} block has {} channels of {}x{}, expected {} of {}x{}",
            layout.compression, raster.channels, found.w, found.h, layout.stored, size.w, size.h
        )));
    }
    match raster.samples {
        samples @ Samples::U8(_) if found == size && layout.as_is() => Ok(samples),
        Samples::U8(mut samples) if layout.bits == 8 => unpack(layout, &mut samples, found.w, size),
        _ => Err(Error::Corrupt(format!(
            "a {:?} block has not {} bits",
            layout.compression, layout.bits
        ))),
    }
}

/// What the components of a JPEG stream mean to its decoder.
pub fn jpeg_colour(layout: &Layout) -> jpeg::Colour {
    match layout.stored {
        1 => jpeg::Colour::Grey,
        4 => jpeg::Colour::Four,
        _ if layout.jpeg_ycbcr => jpeg::Colour::Ycbcr,
        _ => jpeg::Colour::Rgb,
    }
}
