//! Decodes a block (a tile, a strip, or one plane of them): coded bytes in, samples out.
//!
//! `codec` implements the compression schemes; `layout` and `unpack` interpret the decoded bytes.

use crate::codec::ccitt;
use crate::codec::deflate;
use crate::codec::jp2;
use crate::codec::jp2::Codestream;
use crate::codec::jp2::NoBlocks;
use crate::codec::jp2::boxes::Boxes;
use crate::codec::jpeg;
use crate::codec::jxl;
use crate::codec::lerc;
use crate::codec::lzma;
use crate::codec::lzw;
use crate::codec::packbits;
use crate::codec::png;
use crate::codec::webp;
use crate::codec::zstd;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::limits::Limits;
use crate::raster::Raster;
use crate::raster::Samples;
use crate::source::tiff::compression::Compression;
use crate::source::tiff::compression::Luma;
use crate::source::tiff::compression::Packing;
use crate::source::tiff::layout::BlockLayout;
use crate::source::tiff::rare;
use crate::source::tiff::unpack::settle;
use crate::source::tiff::unpack::short;
use crate::source::tiff::unpack::unpack;
use crate::uninit;
use crate::uninit::UninitBuf;
use memchr::memmem;
use std::borrow::Cow;

/// The upper left `size` of a block of `block` pixels, `layout.channels()` interleaved. `coded` and `plain` are
/// scratch buffers; `plain` grows as needed. `Error::Corrupt` if the block holds less.
pub fn decode(
    layout: &BlockLayout,
    coded: &mut [u8],
    block: Size,
    size: Size,
    plain: &mut Vec<u8>,
) -> Result<Samples> {
    if let Some(shared) = layout.shared {
        return chroma(layout, shared, coded, block, size, plain);
    }
    if layout.reversed && !(layout.compression == Compression::Webp && coded.starts_with(b"RIFF")) {
        coded.iter_mut().for_each(|byte| *byte = byte.reverse_bits());
    }
    let plain = match layout.compression {
        Compression::Ccitt(coding) => ccitt::decode(coded, coding, block.w, block.h, plain)?,
        Compression::Lzw => {
            let bytes = usize::try_from(layout.bytes(block)).unwrap_or(usize::MAX);
            lzw::decode(coded, bytes, plain)?
        }
        Compression::Jxl => {
            jxl::decode(coded, layout.shape(block), plain)?;
            packed(layout, block.w, plain);
            plain
        }
        Compression::Lerc(packing) => {
            lerc_blob(layout, packing, coded, block, plain)?;
            plain
        }
        Compression::Jpeg => {
            let coded = match &layout.head {
                Some(head) => Cow::Owned(restarted(head, coded)),
                None => Cow::Borrowed(&*coded),
            };
            let tables = layout.tables.as_deref();
            let raster = jpeg::decode_tile(tables, &coded, jpeg_colour(layout), higher(block))?;
            return of_raster(raster, layout, size);
        }
        Compression::Png => {
            // alpha, and a depth of its own, make it at most this much larger than its samples
            let most = layout.bytes(block).saturating_mul(4).max(1 << 16);
            return of_raster(png::decode(coded, block, most)?, layout, size);
        }
        Compression::OldJpeg => {
            let old = layout
                .old_jpeg
                .as_ref()
                .ok_or_else(|| Error::Corrupt("no JPEG tables".into()))?;
            let stream = old.stream(coded, Size::new(block.w, size.h));
            let raster = jpeg::decode_tile(None, &stream, jpeg_colour(layout), higher(block))?;
            return of_raster(raster, layout, size);
        }
        Compression::Jbig
        | Compression::LogLuv(_)
        | Compression::Next
        | Compression::PixarLog
        | Compression::Thunder => return rare::decode(layout, coded, block, size, plain),
        Compression::Jpeg2000(luma) => {
            let width = codestream(layout, coded, block, luma, plain)?;
            return unpack(layout, plain, width, size);
        }
        Compression::None
        | Compression::PackBits
        | Compression::Deflate
        | Compression::Lzma
        | Compression::Webp
        | Compression::Zstd => return in_order(layout, coded, block, size, plain),
    };
    unpack(layout, plain, block.w, size)
}

/// Decodes a block of a scheme that [`fill`] supports: a whole one directly into the result if its bytes are samples.
fn in_order(
    layout: &BlockLayout,
    coded: &mut [u8],
    block: Size,
    size: Size,
    plain: &mut Vec<u8>,
) -> Result<Samples> {
    if layout.is_straight() && size == block {
        return filled(layout, block, |buf| fill(layout, coded, block, buf));
    }
    let bytes = usize::try_from(layout.bytes(block)).unwrap_or(usize::MAX);
    let plain = match layout.compression {
        Compression::None => coded,
        _ => uninit::refilled(plain, bytes, |buf| fill(layout, coded, block, buf))?,
    };
    unpack(layout, plain, block.w, size)
}

/// Decodes a LERC blob, which may be compressed again.
fn lerc_blob(
    layout: &BlockLayout,
    packing: Packing,
    coded: &[u8],
    block: Size,
    plain: &mut Vec<u8>,
) -> Result<()> {
    // masks and ranges make a blob at most this much larger than its samples
    let bytes = usize::try_from(layout.bytes(block)).unwrap_or(usize::MAX);
    let max = bytes.saturating_mul(2).saturating_add(1 << 10);
    let mut blob = Vec::new();
    let blob = match packing {
        Packing::None => coded,
        Packing::Deflate => uninit::refilled(&mut blob, max, |buf| deflate::decode(coded, buf))?,
        Packing::Zstd => uninit::refilled(&mut blob, max, |buf| zstd::decode(coded, buf))?,
    };
    lerc::decode(blob, layout.shape(block), plain)
}

/// The most rows of a block's JPEG stream: some writers add rows to the end.
fn higher(block: Size) -> Size {
    Size::new(block.w, block.h.saturating_mul(2).saturating_add(MORE_ROWS))
}

/// Additional rows that the streams of small blocks may have.
const MORE_ROWS: u32 = 256;

/// Joins the common header and one restart interval, which may end with its marker.
fn restarted(head: &[u8], coded: &[u8]) -> Vec<u8> {
    let data = match coded {
        [data @ .., 0xff, 0xd0..=0xd9] => data,
        data => data,
    };
    [head, data, &[0xff, 0xd9]].concat()
}

/// Upsamples a plane of chroma in which one sample is `shared` by that many pixels across and down; without `shared`,
/// there is one for each pixel, as in libtiff.
fn chroma(
    layout: &BlockLayout,
    shared: (usize, usize),
    coded: &mut [u8],
    block: Size,
    size: Size,
    plain: &mut Vec<u8>,
) -> Result<Samples> {
    let own = BlockLayout {
        shared: None,
        ..layout.clone()
    };
    let whole = decode(&own, &mut coded.to_vec(), block, size, plain);
    if !matches!(whole, Err(Error::Corrupt(_))) {
        return whole;
    }
    let side = |pixels: usize| u32::try_from(pixels.max(1)).unwrap_or(1);
    let (across, down) = (side(shared.0), side(shared.1));
    let part = |size: Size| Size::new(size.w.div_ceil(across), size.h.div_ceil(down));
    let small = part(size);
    let Samples::U8(samples) = decode(&own, coded, part(block), small, plain)? else {
        return whole;
    };
    let mut out = Vec::with_capacity(usize::try_from(size.area()).unwrap_or(0));
    for y in 0..size.h {
        let row = samples
            .chunks_exact(small.w.max(1) as usize)
            .nth((y / down) as usize)
            .unwrap_or_default();
        let pixels = row
            .iter()
            .flat_map(|value| std::iter::repeat_n(*value, across as usize));
        out.extend(pixels.take(size.w as usize));
    }
    Ok(Samples::U8(out))
}

/// The samples of a whole block whose bytes `fill` writes. `Error::Corrupt` if it writes too few.
fn filled(
    layout: &BlockLayout,
    block: Size,
    fill: impl FnOnce(&mut UninitBuf) -> Result<()>,
) -> Result<Samples> {
    let bytes = usize::try_from(layout.bytes(block)).unwrap_or(usize::MAX);
    let mut samples = layout.filled(block, fill)?;
    if samples.bytes() < bytes {
        return Err(short(samples.bytes(), bytes));
    }
    settle(layout, block.w, &mut samples);
    Ok(samples)
}

/// Whether [`of_pieces`] supports the block, and reading takes about as long as decoding, so that it pays.
pub fn in_pieces(layout: &BlockLayout) -> bool {
    layout.compression == Compression::PackBits && layout.is_straight() && !layout.reversed
}

/// Decodes a whole block from coded bytes that `read` provides in pieces; the consumer of a piece returns how many
/// bytes it has used, and is told which piece is the last.
pub fn of_pieces(
    layout: &BlockLayout,
    block: Size,
    read: impl FnOnce(&mut dyn FnMut(&[u8], bool) -> usize) -> Result<()>,
) -> Result<Samples> {
    filled(layout, block, |buf| {
        read(&mut |coded, last| {
            if last {
                packbits::decode(coded, buf);
                return coded.len();
            }
            packbits::whole(coded, buf)
        })
    })
}

/// Decodes schemes that produce bytes in order, directly into the result.
fn fill(layout: &BlockLayout, coded: &[u8], block: Size, buf: &mut UninitBuf) -> Result<()> {
    match layout.compression {
        Compression::PackBits => packbits::decode(coded, buf),
        Compression::Deflate => deflate::decode(coded, buf)?,
        Compression::Lzma => lzma::decode(coded, buf)?,
        // a single channel is stored as equal red, green and blue
        Compression::Webp if layout.stored == 1 => {
            let len = usize::try_from(block.area().saturating_mul(3)).unwrap_or(usize::MAX);
            let pixels = uninit::filled(len, |buf| webp::decode(coded, block, 3, buf))?;
            let reds: Vec<u8> = pixels.iter().step_by(3).copied().collect();
            buf.put(&reds);
        }
        Compression::Webp => {
            let channels = u8::try_from(layout.stored).unwrap_or(u8::MAX);
            webp::decode(coded, block, channels, buf)?;
        }
        Compression::Zstd => zstd::decode(coded, buf)?,
        Compression::None => buf.put(coded),
        other => return Err(Error::Internal(format!("{other:?} has no bytes in order"))),
    }
    Ok(())
}

/// The samples of a JPEG 2000 codestream or file, as bytes in the layout's order, and the width of its rows.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the bits of the layout are what is wanted"
)]
fn codestream(
    layout: &BlockLayout,
    coded: &[u8],
    block: Size,
    luma: Luma,
    plain: &mut Vec<u8>,
) -> Result<u32> {
    let boxes = Boxes::read(&coded, &Limits::default()).map_err(|error| match error {
        Error::Missing(what) => Error::Corrupt(what),
        error => error,
    })?;
    let pieces = boxes.codestream.iter().filter_map(|(at, len)| {
        let start = usize::try_from(*at).ok()?;
        coded.get(start..start.checked_add(usize::try_from(*len).ok()?)?)
    });
    let pieces: Vec<&[u8]> = pieces.collect();
    let stream = Codestream::open(Box::new(pieces.concat()), false)?;
    let size = stream.size(0);
    let components = stream.components();
    // the layout handles sign and unused bits
    if size.w > block.w
        || size.h > block.h
        || components.len() != layout.stored
        || components.iter().any(|component| component.bits > layout.bits)
    {
        return Err(Error::Corrupt(format!(
            "a JPEG 2000 block has {} components of {}x{} with {:?} bits, expected {} of {}x{} with {}",
            components.len(),
            size.w,
            size.h,
            components.first().map(|component| component.bits),
            layout.stored,
            block.w,
            block.h,
            layout.bits
        )));
    }
    // only for luma and chroma may the latter have fewer samples
    let coarse = components.get(1).is_some_and(|chroma| chroma.step != (1, 1));
    let planes = stream.read(0, Rect::of(size), stream.layers(), &NoBlocks)?;
    let wide = usize::from(layout.bits.div_ceil(8));
    let shape = layout.shape(size);
    plain.clear();
    plain.resize(layout.stored * wide * planes.first().map_or(0, Vec::len), 0);
    for (place, plane) in planes.iter().enumerate() {
        let samples = plain.chunks_exact_mut(wide).skip(place).step_by(layout.stored);
        for (to, value) in samples.zip(plane) {
            let value = *value as u16;
            match to {
                [to] => *to = value as u8,
                to => to.copy_from_slice(&shape.ordered(value.to_be_bytes())),
            }
        }
    }
    let ycbcr = match luma {
        Luma::Never | Luma::Aperio => false,
        Luma::Always => true,
        Luma::OfThree => layout.stored == 3 && memmem::find(coded, b"JJ2000").is_none(),
    };
    if (ycbcr || coarse) && layout.bits == 8 && layout.stored >= 3 {
        jp2::rgb(plain, layout.stored, 255.0, f32::from, |v| v as u8);
    }
    packed(layout, size.w, plain);
    Ok(size.w)
}

/// Packs samples as TIFF does: in whole bytes or in pairs in the layout's order, most significant bits first; each
/// row of `width` pixels starts on a byte boundary.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the lowest byte is what is wanted"
)]
fn packed(layout: &BlockLayout, width: u32, plain: &mut Vec<u8>) {
    let bits = u32::from(layout.bits);
    if bits.is_multiple_of(8) {
        return;
    }
    let wide = bits.div_ceil(8) as usize;
    let row = width as usize * layout.stored * wide;
    let mut out = Vec::with_capacity(plain.len());
    for row in plain.chunks(row.max(1)) {
        let (mut held, mut count) = (0u64, 0);
        for sample in row.chunks(wide) {
            let value = layout.order.number(sample, wide) & ((1 << bits) - 1);
            held = held << bits | value;
            count += bits;
            while count >= 8 {
                count -= 8;
                out.push((held >> count) as u8);
            }
        }
        if count > 0 {
            out.push((held << (8 - count)) as u8);
        }
    }
    *plain = out;
}

/// Converts the raster of a scheme that decodes pixels: crops to `size`, picks channels, converts colours.
fn of_raster(raster: Raster, layout: &BlockLayout, size: Size) -> Result<Samples> {
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
        Samples::U16(samples) if (9..=16).contains(&layout.bits) => {
            let shape = layout.shape(found);
            let pair = |value: u16| shape.ordered(value.to_be_bytes());
            let mut plain = samples.into_iter().flat_map(pair).collect();
            packed(layout, found.w, &mut plain);
            unpack(layout, &mut plain, found.w, size)
        }
        _ => Err(Error::Corrupt(format!(
            "a {:?} block does not have {} bits",
            layout.compression, layout.bits
        ))),
    }
}

/// The colour space that the JPEG decoder is given for the components of a stream.
pub fn jpeg_colour(layout: &BlockLayout) -> jpeg::StreamColour {
    match layout.stored {
        1 => jpeg::StreamColour::Grey,
        4 => jpeg::StreamColour::Four,
        _ if layout.jpeg_ycbcr => jpeg::StreamColour::Ycbcr,
        _ => jpeg::StreamColour::Rgb,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tiff::build::FieldEntry;
    use crate::source::tiff::build::Temp;
    use crate::source::tiff::build::single;
    use crate::source::tiff::build::tags;
    use crate::source::tiff::build::with;
    use crate::source::tiff::ifd::Ifd;
    use crate::source::tiff::ifd::Prologue;
    use crate::source::tiff::writer::Software;

    const BLOCK: Size = Size::new(16, 2);

    /// 16x2 samples of max(273 x - 5 y, 0), 12 bits, reversible, by OpenJPEG.
    #[rustfmt::skip]
    const TWELVE: &[u8] = &[
        0xff, 0x4f, 0xff, 0x51, 0x00, 0x29, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x02,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x02,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x0b, 0x01, 0x01, 0xff, 0x52, 0x00,
        0x0c, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x04, 0x04, 0x00, 0x01, 0xff, 0x5c, 0x00, 0x04, 0x40,
        0x60, 0xff, 0x64, 0x00, 0x25, 0x00, 0x01, 0x43, 0x72, 0x65, 0x61, 0x74, 0x65, 0x64, 0x20, 0x62,
        0x79, 0x20, 0x4f, 0x70, 0x65, 0x6e, 0x4a, 0x50, 0x45, 0x47, 0x20, 0x76, 0x65, 0x72, 0x73, 0x69,
        0x6f, 0x6e, 0x20, 0x32, 0x2e, 0x35, 0x2e, 0x34, 0xff, 0x90, 0x00, 0x0a, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x3e, 0x00, 0x01, 0xff, 0x93, 0xdf, 0xe0, 0xb4, 0x09, 0x57, 0x25, 0x7d, 0x11, 0xea, 0x42,
        0x2c, 0x59, 0xe2, 0x39, 0x8f, 0x3c, 0x71, 0x5d, 0xaa, 0x7e, 0x45, 0xb8, 0x0b, 0x53, 0x55, 0xcd,
        0x65, 0x77, 0x8f, 0x5d, 0x7a, 0xec, 0xe5, 0x76, 0x61, 0x00, 0xe4, 0xfa, 0xce, 0xf0, 0x72, 0xdd,
        0xc7, 0xc4, 0x45, 0x23, 0x15, 0x54, 0xff, 0xd9,
    ];

    /// The same for 4000 (x - 8) - 7 y, 16 bits, signed.
    #[rustfmt::skip]
    const SIGNED: &[u8] = &[
        0xff, 0x4f, 0xff, 0x51, 0x00, 0x29, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x02,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x02,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01, 0x8f, 0x01, 0x01, 0xff, 0x52, 0x00,
        0x0c, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x04, 0x04, 0x00, 0x01, 0xff, 0x5c, 0x00, 0x04, 0x40,
        0x80, 0xff, 0x64, 0x00, 0x25, 0x00, 0x01, 0x43, 0x72, 0x65, 0x61, 0x74, 0x65, 0x64, 0x20, 0x62,
        0x79, 0x20, 0x4f, 0x70, 0x65, 0x6e, 0x4a, 0x50, 0x45, 0x47, 0x20, 0x76, 0x65, 0x72, 0x73, 0x69,
        0x6f, 0x6e, 0x20, 0x32, 0x2e, 0x35, 0x2e, 0x34, 0xff, 0x90, 0x00, 0x0a, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x48, 0x00, 0x01, 0xff, 0x93, 0xcf, 0xfc, 0x30, 0xd8, 0x08, 0x8f, 0x73, 0x7c, 0x36, 0x2c,
        0x46, 0x03, 0x3d, 0xd3, 0xba, 0x4e, 0xba, 0xcd, 0x32, 0xb6, 0xa7, 0x9d, 0x69, 0x82, 0x36, 0xda,
        0x1f, 0xf1, 0x71, 0x43, 0xfd, 0x69, 0xb8, 0x2d, 0xb6, 0xc4, 0x9b, 0x2a, 0x4c, 0xd9, 0x12, 0x40,
        0x26, 0xa2, 0xdb, 0x45, 0xff, 0x0f, 0x05, 0x40, 0x56, 0x74, 0x54, 0xb3, 0xce, 0x89, 0x55, 0x3f,
        0xff, 0xd9,
    ];

    /// 16x2 pixels of (111, 121, 158), reversible, by OpenJPEG.
    #[rustfmt::skip]
    const THREE: &[u8] = &[
        0xff, 0x4f, 0xff, 0x51, 0x00, 0x2f, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x02,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x02,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x07, 0x01, 0x01, 0x07, 0x01, 0x01,
        0x07, 0x01, 0x01, 0xff, 0x52, 0x00, 0x0c, 0x00, 0x00, 0x00, 0x01, 0x01, 0x00, 0x04, 0x04, 0x00,
        0x01, 0xff, 0x5c, 0x00, 0x04, 0x40, 0x40, 0xff, 0x64, 0x00, 0x25, 0x00, 0x01, 0x43, 0x72, 0x65,
        0x61, 0x74, 0x65, 0x64, 0x20, 0x62, 0x79, 0x20, 0x4f, 0x70, 0x65, 0x6e, 0x4a, 0x50, 0x45, 0x47,
        0x20, 0x76, 0x65, 0x72, 0x73, 0x69, 0x6f, 0x6e, 0x20, 0x32, 0x2e, 0x35, 0x2e, 0x34, 0xff, 0x90,
        0x00, 0x0a, 0x00, 0x00, 0x00, 0x00, 0x00, 0x30, 0x00, 0x01, 0xff, 0x93, 0xc0, 0x23, 0x08, 0x91,
        0x17, 0xc7, 0xd4, 0x1e, 0x01, 0xd9, 0x03, 0xe8, 0x24, 0xd8, 0x06, 0x11, 0xe6, 0x29, 0xc4, 0x7d,
        0xca, 0x68, 0x8f, 0xc1, 0xf2, 0x08, 0x08, 0x91, 0x17, 0xba, 0x5b, 0x80, 0x06, 0x11, 0xff, 0xd9,
    ];

    /// The first picture again, lossless, by libjxl.
    #[rustfmt::skip]
    const DEEP: &[u8] = &[
        0xff, 0x0a, 0x08, 0x00, 0x1e, 0xc0, 0xa0, 0x68, 0x11, 0x08, 0x04, 0x01, 0x00, 0xb4, 0x00, 0x4b,
        0x18, 0x8b, 0x15, 0x0a, 0x25, 0x41, 0xd9, 0x05, 0x40, 0x5d, 0x6c, 0x46, 0x84, 0x08, 0x11, 0x22,
        0x44, 0x88, 0x10, 0x21, 0x42, 0x84, 0x08, 0x11, 0x22, 0x44, 0x88, 0x10, 0xf1, 0xf4, 0xd2, 0x63,
        0xf5, 0x76, 0xbb, 0xdd, 0x6e, 0xb7, 0xdb, 0xed, 0x76, 0xbb, 0x7d, 0x09,
    ];

    /// 16x2 pixels of (10, 200, 90), lossless, by libwebp.
    #[rustfmt::skip]
    const WEBP: &[u8] = &[
        0x52, 0x49, 0x46, 0x46, 0x1e, 0x00, 0x00, 0x00, 0x57, 0x45, 0x42, 0x50, 0x56, 0x50, 0x38, 0x4c,
        0x11, 0x00, 0x00, 0x00, 0x2f, 0x0f, 0x40, 0x00, 0x00, 0x07, 0x50, 0xe4, 0x2a, 0x54, 0xab, 0xff,
        0x81, 0x88, 0xe8, 0x7f, 0x00, 0x00,
    ];

    /// 16x2 pixels, 1 where (x * x + y) mod 5 is below 2, by JBIG-KIT.
    #[cfg(feature = "rare")]
    #[rustfmt::skip]
    const JBIG: &[u8] = &[
        0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x02, 0x08, 0x00,
        0x03, 0x1c, 0xec, 0x8b, 0x0e, 0x80, 0xff, 0x02,
    ];

    fn read(coded: &[u8], size: Size, more: &[FieldEntry]) -> Result<Samples> {
        read_by(Software::Other, coded, size, more)
    }

    fn read_by(writer: Software, coded: &[u8], size: Size, more: &[FieldEntry]) -> Result<Samples> {
        let file = Temp::new(&single(&[], |at| with(tags((16, 2), 1, 1, vec![at]), more)));
        let input = file.input();
        let prologue = Prologue::read(&input)?;
        let layout = BlockLayout::of(&Ifd::read(&input, prologue, prologue.first)?, &input, writer)?;
        decode(&layout, &mut coded.to_vec(), BLOCK, size, &mut Vec::new())
    }

    #[test]
    fn runs_are_read_whole_cropped_or_not_at_all() {
        let packed = [0xe5, 7, 3, 1, 2, 3, 4];
        let scheme = [(259, 3, vec![32773])];
        let wanted = [&[7; 28][..], &[1, 2, 3, 4]].concat();
        assert_eq!(read(&packed, BLOCK, &scheme).unwrap(), Samples::U8(wanted));
        let cut = read(&packed, Size::new(2, 2), &scheme).unwrap();
        assert_eq!(cut, Samples::U8(vec![7; 4]));
        for size in [BLOCK, Size::new(15, 2)] {
            assert!(matches!(
                read(&packed[..5], size, &scheme),
                Err(Error::Corrupt(_))
            ));
        }
    }

    #[test]
    fn reversed_bits_are_restored_before_decoding() {
        let runs = [0xe1, 0x80].map(u8::reverse_bits);
        let more = [(259, 3, vec![32773]), (266, 3, vec![2])];
        assert_eq!(read(&runs, BLOCK, &more).unwrap(), Samples::U8(vec![0x80; 32]));
        let one = [(258, 3, vec![1]), (266, 3, vec![2])];
        let black = read(&[1, 0, 0, 0x80], BLOCK, &one).unwrap();
        let wanted = (0..32).map(|i| if i == 0 || i == 31 { 255 } else { 0 }).collect();
        assert_eq!(black, Samples::U8(wanted));
    }

    #[test]
    fn deep_samples_pass_through_scheme_and_predictor() {
        let differences: Vec<u8> = [100u16, 1, 0xffff].iter().flat_map(|v| v.to_le_bytes()).collect();
        let row = [differences, vec![0; 26]].concat();
        let coded = miniz_oxide::deflate::compress_to_vec_zlib(&[&row[..], &row].concat(), 6);
        let more = [(258, 3, vec![16]), (259, 3, vec![8]), (317, 3, vec![2])];
        let got = read(&coded, Size::new(4, 2), &more).unwrap();
        assert_eq!(got, Samples::U16(vec![100, 101, 100, 100, 100, 101, 100, 100]));
    }

    #[test]
    fn white_facsimile_is_white_unless_the_file_says_otherwise() {
        // Two rows of 16 white pixels: V0 V0.
        let g4 = [(258, 3, vec![1]), (259, 3, vec![4])];
        let read = |photometric: u64| {
            let more = [&g4[..], &[(262, 3, vec![photometric])]].concat();
            read(&[0b1100_0000], BLOCK, &more).unwrap()
        };
        assert_eq!(read(0), Samples::U8(vec![255; 32]));
        assert_eq!(read(1), Samples::U8(vec![0; 32]));
    }

    #[cfg(feature = "rare")]
    #[test]
    fn jbig_ignores_fill_order_and_photometric_polarity() {
        let turned: Vec<u8> = JBIG.iter().map(|byte| byte.reverse_bits()).collect();
        for (photometric, one) in [(0, 0), (1, 255)] {
            let pixels = (0..32).map(|i| {
                if (i % 16 * (i % 16) + i / 16) % 5 < 2 {
                    one
                } else {
                    255 - one
                }
            });
            let wanted = Samples::U8(pixels.collect());
            for (scheme, fill, coded) in [
                (34661, 1, &turned[..]),
                (34661, 2, JBIG),
                (9, 1, JBIG),
                (9, 2, &turned),
            ] {
                let more = [
                    (258, 3, vec![1]),
                    (259, 3, vec![scheme]),
                    (262, 3, vec![photometric]),
                    (266, 3, vec![fill]),
                ];
                assert_eq!(read(coded, BLOCK, &more).unwrap(), wanted, "{scheme} {fill}");
            }
        }
        let scheme = [(258, 3, vec![1]), (259, 3, vec![34661])];
        assert!(matches!(
            read(&JBIG[..24], BLOCK, &scheme),
            Err(Error::Corrupt(_))
        ));
    }

    #[test]
    fn jpeg_2000_and_jpeg_xl_keep_signs_and_depths_between_bytes() {
        let twelve: Vec<u16> = (0..32u16)
            .map(|i| (i % 16 * 273).saturating_sub(i / 16 * 5))
            .collect();
        let wide = |v: &u16| v << 4 | v >> 8;
        let decoded = |coded, more: &[FieldEntry]| read(coded, BLOCK, more).unwrap();
        let bits = (258, 3, vec![12]);
        for (scheme, coded) in [(33004, TWELVE), (34712, TWELVE), (50002, DEEP)] {
            let found = decoded(coded, &[(259, 3, vec![scheme]), bits.clone()]);
            assert_eq!(found, Samples::U16(twelve.iter().map(wide).collect()), "{scheme}");
        }
        // more bits per sample than the codestream uses
        let found = decoded(TWELVE, &[(259, 3, vec![34712]), (258, 3, vec![16])]);
        assert_eq!(found, Samples::U16(twelve));
        let signed = [(259, 3, vec![34712]), (258, 3, vec![16]), (339, 3, vec![2])];
        let values = (0..32i16).map(|i| f32::from((i % 16 - 8) * 4000 - i / 16 * 7));
        assert_eq!(decoded(SIGNED, &signed), Samples::F32(values.collect()));
    }

    #[test]
    fn a_tile_may_contain_a_jp2_file() {
        let len = u32::try_from(TWELVE.len() + 8).unwrap();
        let parts = [
            &b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x10ftypjp2 \0\0\0\0"[..],
            &len.to_be_bytes(),
            b"jp2c",
            TWELVE,
        ];
        let more = [(259, 3, vec![34712]), (258, 3, vec![12])];
        let found = read(&parts.concat(), BLOCK, &more).unwrap();
        assert_eq!(found, read(TWELVE, BLOCK, &more).unwrap());
        let status = |coded: &[u8]| read(coded, BLOCK, &more).unwrap_err().status();
        assert_eq!(
            (status(&parts.concat()[..28]), status(b"none at all")),
            (500, 500)
        );
    }

    #[test]
    fn png_tiles_give_the_samples_declared_by_the_file() {
        let coded = |colour, depth, samples: &[u8]| {
            let mut out = Vec::new();
            let mut encoder = ::png::Encoder::new(&mut out, BLOCK.w, BLOCK.h);
            encoder.set_color(colour);
            encoder.set_depth(depth);
            let mut writer = encoder.write_header().unwrap();
            writer.write_image_data(samples).unwrap();
            writer.finish().unwrap();
            out
        };
        let scheme = (259, 3, vec![34933]);
        let bytes: Vec<u8> = (0..96).collect();
        let rgb = [
            scheme.clone(),
            (258, 3, vec![8; 3]),
            (262, 3, vec![2]),
            (277, 3, vec![3]),
        ];
        let found = coded(::png::ColorType::Rgb, ::png::BitDepth::Eight, &bytes);
        assert_eq!(read(&found, BLOCK, &rgb).unwrap(), Samples::U8(bytes));
        let wide = coded(
            ::png::ColorType::Grayscale,
            ::png::BitDepth::Sixteen,
            &[1, 2].repeat(32),
        );
        let grey = [scheme.clone(), (258, 3, vec![16])];
        assert_eq!(read(&wide, BLOCK, &grey).unwrap(), Samples::U16(vec![0x0102; 32]));
        // a different format, or truncated
        let status = |coded: &[u8], more| read(coded, BLOCK, more).unwrap_err().status();
        assert_eq!((status(&wide, &[scheme]), status(&found[..60], &rgb)), (500, 500));
    }

    #[test]
    fn webp_has_reversed_bits_where_libtiff_has_reversed_them() {
        let turned: Vec<u8> = WEBP.iter().map(|byte| byte.reverse_bits()).collect();
        let more = [
            (258, 3, vec![8; 3]),
            (259, 3, vec![50001]),
            (262, 3, vec![2]),
            (266, 3, vec![2]),
            (277, 3, vec![3]),
        ];
        for coded in [WEBP, &turned] {
            let wanted = [10, 200, 90].repeat(32);
            assert_eq!(read(coded, BLOCK, &more).unwrap(), Samples::U8(wanted));
        }
        // one channel, which the writer stored as three
        let one = [(259, 3, vec![50001]), (262, 3, vec![1])];
        assert_eq!(read(WEBP, BLOCK, &one).unwrap(), Samples::U8(vec![10; 32]));
    }

    #[test]
    fn three_components_are_luma_and_chroma_if_the_writer_means_that() {
        let by = |writer, scheme: u64, photometric: u64, coded: &[u8]| {
            let more = [
                (258, 3, vec![8; 3]),
                (259, 3, vec![scheme]),
                (262, 3, vec![photometric]),
                (277, 3, vec![3]),
            ];
            match read_by(writer, coded, BLOCK, &more).unwrap() {
                Samples::U8(v) => [v[0], v[1], v[2]],
                other => panic!("{other:?}"),
            }
        };
        // 111 + 1.402 * 30, 111 - .344 * -7 - .714 * 30, 111 + 1.772 * -7
        let (plain, turned) = ([111, 121, 158], [153, 92, 99]);
        for (scheme, photometric, by_aperio, by_bioformats, by_others) in [
            (33003, 2, turned, plain, plain),
            (33003, 6, turned, plain, turned),
            // libvips
            (33004, 2, turned, plain, turned),
            (33005, 2, plain, plain, plain),
            (34712, 2, plain, plain, plain),
            (34712, 6, turned, plain, turned),
        ] {
            for (writer, wanted) in [
                (Software::Aperio, by_aperio),
                (Software::BioFormats, by_bioformats),
                (Software::Other, by_others),
            ] {
                let found = by(writer, scheme, photometric, THREE);
                assert_eq!(found, wanted, "{scheme} {photometric} {writer:?}");
            }
        }
        let at = memmem::find(THREE, b"OpenJPEG").unwrap();
        let java = [&THREE[..at], b"JJ2000!!", &THREE[at + 8..]].concat();
        assert_eq!(by(Software::Tifffile, 33004, 2, THREE), plain);
        assert_eq!(by(Software::Tifffile, 33004, 6, THREE), turned);
        assert_eq!(by(Software::Other, 33004, 2, &java), plain);
        assert_eq!(by(Software::Other, 33003, 6, &java), plain);
    }

    #[cfg(feature = "rare")]
    #[test]
    fn logarithmic_codes_are_output_at_the_depth_of_the_file() {
        // 1250 is white, 250 steps more are a factor of e
        let row: Vec<u8> = [1250u16, 250, 2047]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let row = [row, vec![0; 26]].concat();
        let coded = miniz_oxide::deflate::compress_to_vec_zlib(&[&row[..], &row].concat(), 6);
        let decoded = |size, bits: u64, format: u64| {
            let more = [
                (258, 3, vec![bits]),
                (259, 3, vec![32909]),
                (339, 3, vec![format]),
            ];
            read(&coded, size, &more).unwrap()
        };
        let cut = Size::new(3, 2);
        assert_eq!(decoded(cut, 8, 1), Samples::U8(vec![255; 6]));
        assert_eq!(decoded(cut, 16, 1), Samples::U16(vec![65535; 6]));
        let e = std::f32::consts::E;
        let wanted = [1.0, e, (249f64 / 250.0).exp() as f32].repeat(2);
        assert_eq!(decoded(cut, 32, 3), Samples::F32(wanted.clone()));
        match decoded(BLOCK, 32, 3) {
            Samples::F32(whole) => assert_eq!((whole.len(), &whole[..3]), (32, &wanted[..3])),
            other => panic!("{other:?}"),
        }
        let short = miniz_oxide::deflate::compress_to_vec_zlib(&row, 6);
        let more = [(259, 3, vec![32909])];
        for size in [BLOCK, Size::new(15, 2)] {
            assert!(matches!(read(&short, size, &more), Err(Error::Corrupt(_))));
        }
        assert!(read(&short, Size::new(15, 1), &more).is_ok());
    }
}
