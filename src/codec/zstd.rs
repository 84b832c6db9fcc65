//! Zstandard frames (RFC 8878): bytes in, bytes out.
//!
//! libzstd where it is linked; what it declines (more bytes than asked for) is decided by the Rust decoder, which
//! does everything in the build without C libraries.

use crate::codec::pull::fill;
use crate::error::Error;
use crate::error::Result;
use crate::uninit::UninitBuf;
use ruzstd::decoding::FrameDecoder;
use ruzstd::decoding::StreamingDecoder;
use std::cell::RefCell;
use std::io;
use std::io::BufRead;
use std::io::Read;

/// Decodes into what is left of the buffer.
///
/// A frame that holds more is cut; one that ends earlier yields what it contains. `Error::Corrupt` for anything
/// else, a wrong checksum included (where the frame has one and is not cut).
pub fn decode(data: &[u8], buf: &mut UninitBuf) -> Result<()> {
    if whole(data, buf) {
        return Ok(());
    }
    buf.by(|out| decode_partial(data, out))
}

/// A frame that is right from end to end and fits; `false`, and nothing is filled, otherwise.
#[cfg(feature = "native")]
fn whole(data: &[u8], buf: &mut UninitBuf) -> bool {
    use zstd::zstd_safe::WriteBuf;
    struct Rest {
        place: *mut u8,
        len: usize,
    }
    // SAFETY: the place has as many bytes as are reported, none of which is shown.
    #[expect(unsafe_code, reason = "where libzstd writes")]
    unsafe impl WriteBuf for Rest {
        fn as_slice(&self) -> &[u8] {
            &[]
        }

        fn capacity(&self) -> usize {
            self.len
        }

        fn as_mut_ptr(&mut self) -> *mut u8 {
            self.place
        }

        unsafe fn filled_until(&mut self, _: usize) {}
    }
    thread_local! {
        static WHOLE: RefCell<Option<zstd::bulk::Decompressor<'static>>> =
            RefCell::new(zstd::bulk::Decompressor::new().ok());
    }
    WHOLE.with(|whole| {
        let mut whole = whole.borrow_mut();
        let Some(whole) = whole.as_mut() else {
            return false;
        };
        let write = |place, len| whole.decompress_to_buffer(data, &mut Rest { place, len });
        // SAFETY: the library writes from the start on and says how much; never more than there is room for.
        #[expect(unsafe_code, reason = "where libzstd writes")]
        let done = unsafe { buf.raw(write) };
        done.is_ok()
    })
}

#[cfg(not(feature = "native"))]
fn whole(_: &[u8], _: &mut UninitBuf) -> bool {
    false
}

/// As much of the frame as there is room for.
fn decode_partial(data: &[u8], out: &mut [u8]) -> Result<usize> {
    thread_local! {
        static PLAIN: RefCell<FrameDecoder> = RefCell::new(FrameDecoder::new());
    }
    let damaged = || Error::Corrupt("zstd frame is damaged".into());
    PLAIN.with(|plain| {
        let mut plain = plain.borrow_mut();
        // A window as large as the output is all that a frame of that size can use; frames declare powers of two
        // and at least 1 KiB, commonly far more than they hold, hence the generous floor.
        plain.set_max_window_size((out.len() as u64).saturating_mul(2).max(8 << 20));
        let mut stream = StreamingDecoder::new_with_decoder(data, &mut *plain).map_err(|_| damaged())?;
        let got = fill(&mut stream, out).map_err(|_| damaged())?;
        let said = stream.decoder.get_checksum_from_data();
        let ended = stream.decoder.is_finished() && stream.decoder.can_collect() == 0;
        if ended && said.is_some() && said != stream.decoder.get_calculated_checksum() {
            return Err(damaged());
        }
        Ok(got)
    })
}

/// Decodes as it is read, with the same result.
#[cfg(feature = "native")]
pub fn reader(from: impl BufRead) -> io::Result<impl Read> {
    Ok(zstd::stream::read::Decoder::with_buffer(from)?.single_frame())
}

/// Decodes as it is read, with the same result.
#[cfg(not(feature = "native"))]
pub fn reader(from: impl BufRead) -> io::Result<impl Read> {
    StreamingDecoder::<_, FrameDecoder>::new(from).map_err(io::Error::other)
}

/// Encodes everything as one frame; `level` 1 (fast) to 19 (small), clamped. The same bytes for the same input, in one
/// build. The Rust encoder has one level.
#[cfg(feature = "native")]
pub fn encode(data: &[u8], level: u8) -> Result<Vec<u8>> {
    zstd::bulk::compress(data, level.clamp(1, 19).into())
        .map_err(|_| Error::Unsupported("zstd encoding failed".into()))
}

/// Encodes everything as one frame. The Rust encoder has one level.
#[cfg(not(feature = "native"))]
pub fn encode(data: &[u8], _level: u8) -> Result<Vec<u8>> {
    let level = ruzstd::encoding::CompressionLevel::Fastest;
    Ok(ruzstd::encoding::compress_to_vec(data, level))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uninit;

    fn decoded(data: &[u8], len: usize) -> Result<Vec<u8>> {
        uninit::filled(len, |buf| decode(data, buf))
    }

    /// "Zstandard in a tile " a hundred times over, by the `zstd` tool at level 19.
    #[rustfmt::skip]
    const FRAME: &[u8] = &[
        0x28, 0xb5, 0x2f, 0xfd, 0x64, 0xd0, 0x06, 0xe5, 0x00, 0x00, 0xa0, 0x5a, 0x73, 0x74, 0x61, 0x6e,
        0x64, 0x61, 0x72, 0x64, 0x20, 0x69, 0x6e, 0x20, 0x61, 0x20, 0x74, 0x69, 0x6c, 0x65, 0x20, 0x01,
        0x00, 0x72, 0xbf, 0x7f, 0x32, 0x01, 0xe6, 0xed, 0x16, 0xe9,
    ];

    #[test]
    fn a_frame_comes_back_exactly_cut_or_short() {
        let text = b"Zstandard in a tile ".repeat(100);
        assert_eq!(decoded(FRAME, text.len()).unwrap(), text);
        assert_eq!(decoded(FRAME, 33).unwrap(), &text[..33]);
        assert_eq!(decoded(FRAME, text.len() + 5).unwrap(), text);
    }

    #[test]
    fn encoding_round_trips() {
        let data: Vec<u8> = (0..300_000u32).map(|i| (i / 7 + i % 5) as u8).collect();
        for level in [0, 1, 19, 200] {
            let coded = encode(&data, level).unwrap();
            assert!(coded.len() < data.len() / 2);
            assert_eq!(decoded(&coded, data.len()).unwrap(), data);
        }
    }

    #[test]
    fn damaged_frames_are_errors() {
        assert!(decoded(&FRAME[..FRAME.len() - 8], 2000).is_err());
        assert!(decoded(b"no frame at all", 10).is_err());
        let mut wrong = FRAME.to_vec();
        *wrong.last_mut().unwrap() ^= 1;
        assert!(decoded(&wrong, 2000).is_err());
    }
}
