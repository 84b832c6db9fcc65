//! Zlib streams (RFC 1950): bytes in, bytes out.
//!
//! Uses libdeflate if linked. It accepts only complete, exact streams; those that it rejects are decoded in Rust, as
//! are all streams in the build without C libraries.

use crate::codec::pull::Pull;
use crate::codec::pull::Pulled;
use crate::error::Error;
use crate::error::Result;
use crate::uninit::UninitBuf;
use miniz_oxide::DataFormat;
use miniz_oxide::MZError;
use miniz_oxide::MZFlush;
use miniz_oxide::MZStatus;
use miniz_oxide::inflate;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::DecompressorOxide;
use miniz_oxide::inflate::core::decompress;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_COMPUTE_ADLER32;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_PARSE_ZLIB_HEADER;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
use miniz_oxide::inflate::stream::InflateState;
use std::cell::RefCell;
use std::io::BufRead;
use std::io::Read;

thread_local! {
    static PLAIN: RefCell<Box<DecompressorOxide>> = RefCell::default();
}

/// Inflates into the free part of the buffer.
///
/// A longer stream is cut; a shorter one yields what it contains, as does one that is truncated or lacks its checksum after
/// the buffer is full. `Error::Corrupt` for any other damage, including a wrong checksum.
pub fn decode(data: &[u8], buf: &mut UninitBuf) -> Result<()> {
    if whole(data, buf) {
        return Ok(());
    }
    PLAIN.with(|plain| buf.by(|out| decode_partial(&mut plain.borrow_mut(), data, out)))
}

/// Decodes a valid stream that fits exactly; otherwise returns `false` and fills nothing.
#[cfg(feature = "native")]
fn whole(data: &[u8], buf: &mut UninitBuf) -> bool {
    use std::ptr::NonNull;
    struct Inflater(NonNull<libdeflate_sys::libdeflate_decompressor>);
    impl Drop for Inflater {
        fn drop(&mut self) {
            // SAFETY: the pointer came from the library, is owned by this value only and is not used afterwards.
            #[expect(unsafe_code, reason = "libdeflate")]
            unsafe {
                libdeflate_sys::libdeflate_free_decompressor(self.0.as_ptr());
            }
        }
    }
    thread_local! {
        static WHOLE: Option<Inflater> = {
            // SAFETY: takes no arguments; NULL means out of memory.
            #[expect(unsafe_code, reason = "libdeflate")]
            let new = unsafe { libdeflate_sys::libdeflate_alloc_decompressor() };
            NonNull::new(new).map(Inflater)
        };
    }
    let inflate = |inflater: &Inflater| {
        let write = |out: *mut u8, len| {
            let mut got = 0;
            // SAFETY: the inflater is live and owned by this thread; the pointers are passed with the lengths of the
            // input and the output.
            #[expect(unsafe_code, reason = "libdeflate")]
            let result = unsafe {
                libdeflate_sys::libdeflate_zlib_decompress(
                    inflater.0.as_ptr(),
                    data.as_ptr().cast(),
                    data.len(),
                    out.cast(),
                    len,
                    &raw mut got,
                )
            };
            if result == libdeflate_sys::libdeflate_result_LIBDEFLATE_SUCCESS {
                Ok(got)
            } else {
                Err(())
            }
        };
        // SAFETY: the library writes from the start and returns the length, which is at most the given space.
        #[expect(unsafe_code, reason = "libdeflate")]
        unsafe {
            buf.raw(write)
        }
    };
    WHOLE.with(|whole| whole.as_ref().map(inflate)) == Some(Ok(()))
}

#[cfg(not(feature = "native"))]
fn whole(_: &[u8], _: &mut UninitBuf) -> bool {
    false
}

/// Decodes as much of the stream as fits.
fn decode_partial(plain: &mut DecompressorOxide, data: &[u8], out: &mut [u8]) -> Result<usize> {
    let flags =
        TINFL_FLAG_PARSE_ZLIB_HEADER | TINFL_FLAG_COMPUTE_ADLER32 | TINFL_FLAG_USING_NON_WRAPPING_OUTPUT_BUF;
    plain.init();
    let (status, _, got) = decompress(plain, data, out, 0, flags);
    match status {
        TINFLStatus::Done | TINFLStatus::HasMoreOutput => Ok(got),
        TINFLStatus::FailedCannotMakeProgress | TINFLStatus::NeedsMoreInput if got == out.len() => Ok(got),
        _ => Err(Error::Corrupt("deflate stream is damaged".into())),
    }
}

/// Inflates on demand, with the same result.
pub fn reader(from: impl BufRead) -> impl Read {
    let mut state = InflateState::new_boxed(DataFormat::Zlib);
    Pull::new(from, move |coded, out| {
        let result = inflate::stream::inflate(&mut state, coded, out, MZFlush::None);
        let ended = match result.status {
            Ok(status) => status == MZStatus::StreamEnd,
            // end of input
            Err(MZError::Buf) => false,
            Err(_) => return Err(Error::Corrupt("deflate stream is damaged".into())),
        };
        Ok(Pulled {
            used: result.bytes_consumed,
            made: result.bytes_written,
            ended,
        })
    })
}

/// Deflates everything; `level` 1 (fast) to 9 (small), clamped. The same bytes for the same input, in one build.
#[cfg(feature = "native")]
pub fn deflate(data: &[u8], level: u8) -> Result<Vec<u8>> {
    let failed = || Error::Unsupported("deflate failed".into());
    let level = libdeflater::CompressionLvl::new(level.clamp(1, 9).into()).map_err(|_| failed())?;
    let mut compressor = libdeflater::Compressor::new(level);
    let mut out = vec![0; compressor.zlib_compress_bound(data.len())];
    let len = compressor.zlib_compress(data, &mut out).map_err(|_| failed())?;
    out.truncate(len);
    Ok(out)
}

/// Deflates everything; `level` 1 (fast) to 9 (small), clamped. The same bytes for the same input, in one build.
#[cfg(not(feature = "native"))]
pub fn deflate(data: &[u8], level: u8) -> Result<Vec<u8>> {
    Ok(miniz_oxide::deflate::compress_to_vec_zlib(
        data,
        level.clamp(1, 9),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uninit;
    use miniz_oxide::deflate::compress_to_vec_zlib;

    fn decoded(data: &[u8], len: usize) -> Result<Vec<u8>> {
        uninit::filled(len, |buf| decode(data, buf))
    }

    fn text() -> Vec<u8> {
        (0u32..50_000).map(|i| ((i * i) >> 7) as u8).collect()
    }

    #[test]
    fn a_stream_comes_back_exactly() {
        let text = text();
        let coded = compress_to_vec_zlib(&text, 6);
        assert_eq!(decoded(&coded, text.len()).unwrap(), text);
        assert_eq!(decoded(&coded, text.len()).unwrap(), text);
    }

    #[test]
    fn deflate_round_trips_and_a_higher_level_is_not_larger() {
        let text = text();
        let coded = [0, 1, 6, 9, 200].map(|level| deflate(&text, level).unwrap());
        for coded in &coded {
            assert_eq!(decoded(coded, text.len()).unwrap(), text);
        }
        assert!(coded[1].len() >= coded[3].len() && coded[0] == coded[1] && coded[3] == coded[4]);
        assert!(deflate(&[], 1).is_ok());
    }

    #[test]
    fn a_longer_stream_is_cut_and_a_shorter_one_gives_what_it_has() {
        let text = text();
        let coded = compress_to_vec_zlib(&text, 6);
        assert_eq!(decoded(&coded, 1234).unwrap(), &text[..1234]);
        assert_eq!(decoded(&coded, 60_000).unwrap(), text);
    }

    #[test]
    fn a_missing_checksum_is_forgiven_and_a_wrong_one_is_not() {
        let text = text();
        let mut coded = compress_to_vec_zlib(&text, 6);
        assert_eq!(decoded(&coded[..coded.len() - 4], text.len()).unwrap(), text);
        *coded.last_mut().unwrap() ^= 1;
        assert!(decoded(&coded, text.len()).is_err());
    }

    #[test]
    fn damaged_streams_are_errors() {
        let coded = compress_to_vec_zlib(&text(), 6);
        assert!(decoded(&coded[..coded.len() / 2], 50_000).is_err());
        assert!(decoded(&[], 10).is_err());
        assert!(decoded(b"no zlib stream at all", 10).is_err());
    }
}
