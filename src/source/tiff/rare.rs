//! Decodes rarely used schemes (feature `rare`): JBIG, LogLuv, NeXT, PixarLog and ThunderScan.

use crate::codec::jbig;
use crate::codec::luv;
use crate::codec::next;
use crate::codec::pixarlog;
use crate::codec::thunder;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Samples;
use crate::source::tiff::compression::Compression;
use crate::source::tiff::compression::LogCoding;
use crate::source::tiff::layout::BlockLayout;
use crate::source::tiff::unpack::unpack;
use crate::uninit;

/// The upper left `size` of a block of `block` pixels; `plain` is a scratch buffer. `Error::Corrupt` if the block
/// holds less.
pub fn decode(
    layout: &BlockLayout,
    coded: &mut [u8],
    block: Size,
    size: Size,
    plain: &mut Vec<u8>,
) -> Result<Samples> {
    let bytes = usize::try_from(layout.bytes(block)).unwrap_or(usize::MAX);
    let plain = match layout.compression {
        Compression::Jbig => jbig::decode(coded, block.w, block.h, plain)?,
        Compression::LogLuv(coding) => {
            let coding = match coding {
                LogCoding::Runs => luv::LuvCoding::Runs,
                LogCoding::Packed => luv::LuvCoding::Packed,
            };
            return luv::decode(coded, coding, block.w, size, layout.stored).map(Samples::U8);
        }
        Compression::Next => by_rows(plain, bytes, |out| next::decode(coded, block.w, out)),
        Compression::PixarLog => {
            let shape = layout.shape(block);
            uninit::refilled(plain, bytes, |out| pixarlog::decode(coded, shape, out))?
        }
        Compression::Thunder => by_rows(plain, bytes, |out| thunder::decode(coded, block.w, out)),
        other => return Err(Error::Internal(format!("{other:?} is no rare scheme"))),
    };
    unpack(layout, plain, block.w, size)
}

/// The first `len` bytes that `decode` writes.
fn by_rows(plain: &mut Vec<u8>, len: usize, decode: impl FnOnce(&mut [u8]) -> usize) -> &mut [u8] {
    if plain.len() < len {
        plain.resize(len, 0);
    }
    let out = plain.get_mut(..len).unwrap_or_default();
    let got = decode(out);
    out.get_mut(..got).unwrap_or_default()
}
