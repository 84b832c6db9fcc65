//! From the coded bytes of a block (a tile, a strip, or one plane of them) to samples.
//!
//! Schemes of compression are `codec`'s business, what the bytes mean `layout`'s and `unpack`'s; knows no file.

use crate::codec::Shape;
use crate::codec::ccitt;
use crate::codec::deflate;
use crate::codec::jp2;
use crate::codec::jp2::Codestream;
use crate::codec::jp2::Fresh;
use crate::codec::jpeg;
use crate::codec::jxl;
use crate::codec::lerc;
use crate::codec::luv;
use crate::codec::lzma;
use crate::codec::lzw;
use crate::codec::next;
use crate::codec::packbits;
use crate::codec::thunder;
use crate::codec::webp;
use crate::codec::zstd;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::raster::Raster;
use crate::raster::Samples;
use crate::source::tiff::input::Order;
use crate::source::tiff::layout::Compression;
use crate::source::tiff::layout::Layout;
use crate::source::tiff::layout::Packing;
use crate::source::tiff::unpack::settle;
use crate::source::tiff::unpack::short;
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
    if let Some(fill) = filling(layout.compression) {
        if layout.is_straight() && size == block {
            // it goes where it stays
            let mut samples = layout.blank(size);
            let got = fill(coded, samples.bytes_mut())?;
            if got < bytes {
                return Err(short(got, bytes));
            }
            settle(layout, block.w, &mut samples);
            return Ok(samples);
        }
        let plain = match layout.compression {
            Compression::None => coded,
            _ => inflated(fill, coded, bytes, plain)?,
        };
        return unpack(layout, plain, block.w, size);
    }
    let plain = match layout.compression {
        Compression::Ccitt(coding) => ccitt::decode(coded, coding, block.w, block.h, plain)?,
        Compression::Lzw => lzw::decode(coded, bytes, plain)?,
        Compression::Next => {
            let out = room(plain, bytes);
            let got = next::decode(coded, block.w, out);
            out.get_mut(..got).unwrap_or_default()
        }
        Compression::Thunder => {
            let out = room(plain, bytes);
            let got = thunder::decode(coded, block.w, out);
            out.get_mut(..got).unwrap_or_default()
        }
        Compression::Webp => {
            let channels = u8::try_from(layout.stored).unwrap_or(u8::MAX);
            webp::decode(coded, block, channels, plain)?
        }
        Compression::Jxl => {
            jxl::decode(coded, shape(layout, block), plain)?;
            plain
        }
        Compression::Lerc(packing) => {
            // a blob is larger than its samples by no more than what masks and ranges take
            let most = bytes.saturating_mul(2).saturating_add(1 << 10);
            let mut blob = Vec::new();
            let blob = match packing {
                Packing::None => coded,
                Packing::Deflate => inflated(deflate::decode, coded, most, &mut blob)?,
                Packing::Zstd => inflated(zstd::decode, coded, most, &mut blob)?,
            };
            lerc::decode(blob, shape(layout, block), plain)?;
            plain
        }
        Compression::Jpeg => {
            let stream = jpeg::merge(layout.tables.as_deref(), coded, jpeg_colour(layout))?;
            return of_raster(jpeg::decode(&stream, block)?, layout, size);
        }
        Compression::OldJpeg => {
            let old = layout
                .old_jpeg
                .as_ref()
                .ok_or_else(|| Error::Corrupt("no JPEG tables".into()))?;
            let stream = old.stream(coded, Size::new(block.w, size.h));
            let stream = jpeg::merge(None, &stream, jpeg_colour(layout))?;
            return of_raster(jpeg::decode(&stream, block)?, layout, size);
        }
        Compression::LogLuv => {
            return luv::decode(coded, block.w, size, layout.stored).map(Samples::U8);
        }
        Compression::Jpeg2000 { ycbcr } => {
            let width = codestream(layout, coded, block, ycbcr, plain)?;
            return unpack(layout, plain, width, size);
        }
        // what fills a given place was seen to above
        Compression::None
        | Compression::PackBits
        | Compression::Deflate
        | Compression::Lzma
        | Compression::Zstd => coded,
    };
    unpack(layout, plain, block.w, size)
}

/// Decodes the first bytes into the second and says how many there were.
type Fill = fn(&[u8], &mut [u8]) -> Result<usize>;

/// Of a scheme that knows nothing but bytes and decodes them where they shall be.
fn filling(compression: Compression) -> Option<Fill> {
    Some(match compression {
        Compression::None => |coded, out| {
            let both = out.iter_mut().zip(coded);
            Ok(both.map(|(to, byte)| *to = *byte).count())
        },
        Compression::PackBits => |coded, out| Ok(packbits::decode(coded, out)),
        Compression::Deflate => deflate::decode,
        Compression::Lzma => lzma::decode,
        Compression::Zstd => zstd::decode,
        _ => return None,
    })
}

/// The first `len` bytes, which are made if need be.
fn room(scratch: &mut Vec<u8>, len: usize) -> &mut [u8] {
    if scratch.len() < len {
        scratch.resize(len, 0);
    }
    scratch.get_mut(..len).unwrap_or_default()
}

/// What `fill` makes of it, `len` bytes at most.
fn inflated<'a>(fill: Fill, coded: &[u8], len: usize, scratch: &'a mut Vec<u8>) -> Result<&'a mut [u8]> {
    let out = room(scratch, len);
    let got = fill(coded, out)?;
    Ok(out.get_mut(..got).unwrap_or_default())
}

/// What schemes must give that know samples.
fn shape(layout: &Layout, block: Size) -> Shape {
    Shape {
        size: block,
        channels: layout.stored,
        bits: layout.bits,
        kind: layout.kind,
        big: layout.order == Order::Big,
    }
}

/// The samples of a JPEG 2000 codestream as bytes of the layout's order, and the width of its rows.
fn codestream(layout: &Layout, coded: &[u8], block: Size, ycbcr: bool, plain: &mut Vec<u8>) -> Result<u32> {
    let stream = Codestream::open(Box::new(coded.to_vec()), false)?;
    let size = stream.size(0);
    let alike = |c: &jp2::Component| c.bits == layout.bits && !c.signed;
    if size.w > block.w
        || size.h > block.h
        || stream.components().len() != layout.stored
        || !matches!(layout.bits, 8 | 16)
        || !stream.components().iter().all(alike)
    {
        return Err(Error::Corrupt(format!(
            "a JPEG 2000 block has {} components of {}x{}, expected {} of {}x{} with {} bits",
            stream.components().len(),
            size.w,
            size.h,
            layout.stored,
            block.w,
            block.h,
            layout.bits
        )));
    }
    let planes = stream.read(0, Rect::of(size), stream.layers(), &Fresh)?;
    let wide = usize::from(layout.bits / 8);
    plain.clear();
    plain.resize(layout.stored * wide * planes.first().map_or(0, Vec::len), 0);
    for (place, plane) in planes.iter().enumerate() {
        let samples = plain.chunks_exact_mut(wide).skip(place).step_by(layout.stored);
        for (to, value) in samples.zip(plane) {
            let value = u16::try_from(*value).unwrap_or(0);
            match (to, layout.order) {
                ([to], _) => *to = u8::try_from(value).unwrap_or(u8::MAX),
                (to, Order::Little) => to.copy_from_slice(&value.to_le_bytes()),
                (to, Order::Big) => to.copy_from_slice(&value.to_be_bytes()),
            }
        }
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "inside the range"
    )]
    if ycbcr && layout.bits == 8 && layout.stored >= 3 {
        jp2::rgb(plain, layout.stored, 255.0, f32::from, |v| v as u8);
    }
    Ok(size.w)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::tiff::build::Entry;
    use crate::source::tiff::build::Temp;
    use crate::source::tiff::build::single;
    use crate::source::tiff::build::tags;
    use crate::source::tiff::build::with;
    use crate::source::tiff::ifd::Ifd;
    use crate::source::tiff::ifd::Prologue;

    const BLOCK: Size = Size::new(16, 2);

    fn read(coded: &[u8], size: Size, more: &[Entry]) -> Result<Samples> {
        let file = Temp::new(&single(&[], |at| with(tags((16, 2), 1, 1, vec![at]), more)));
        let input = file.input();
        let prologue = Prologue::read(&input)?;
        let layout = Layout::of(&Ifd::read(&input, prologue, prologue.first)?, &input)?;
        decode(&layout, &mut coded.to_vec(), BLOCK, size, &mut Vec::new())
    }

    #[test]
    fn runs_are_read_whole_cut_or_not_at_all() {
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
    fn bits_in_reverse_are_turned_before_they_are_decoded() {
        let runs = [0xe1, 0x80].map(u8::reverse_bits);
        let more = [(259, 3, vec![32773]), (266, 3, vec![2])];
        assert_eq!(read(&runs, BLOCK, &more).unwrap(), Samples::U8(vec![0x80; 32]));
        let one = [(258, 3, vec![1]), (266, 3, vec![2])];
        let black = read(&[1, 0, 0, 0x80], BLOCK, &one).unwrap();
        let wanted = (0..32).map(|i| if i == 0 || i == 31 { 255 } else { 0 }).collect();
        assert_eq!(black, Samples::U8(wanted));
    }

    #[test]
    fn deep_samples_come_through_scheme_and_predictor() {
        let differences: Vec<u8> = [100u16, 1, 0xffff].iter().flat_map(|v| v.to_le_bytes()).collect();
        let row = [differences, vec![0; 26]].concat();
        let coded = miniz_oxide::deflate::compress_to_vec_zlib(&[&row[..], &row].concat(), 6);
        let more = [(258, 3, vec![16]), (259, 3, vec![8]), (317, 3, vec![2])];
        let got = read(&coded, Size::new(4, 2), &more).unwrap();
        assert_eq!(got, Samples::U16(vec![100, 101, 100, 100, 100, 101, 100, 100]));
    }

    #[test]
    fn white_of_facsimile_is_white_unless_the_file_says_otherwise() {
        // Two rows of 16 white pixels: V0 V0.
        let g4 = [(258, 3, vec![1]), (259, 3, vec![4])];
        let read = |photometric: u64| {
            let more = [&g4[..], &[(262, 3, vec![photometric])]].concat();
            read(&[0b1100_0000], BLOCK, &more).unwrap()
        };
        assert_eq!(read(0), Samples::U8(vec![255; 32]));
        assert_eq!(read(1), Samples::U8(vec![0; 32]));
    }
}
