//! LZMA in TIFF: decodes an xz stream.

use crate::codec::pull::fill;
use crate::error::Error;
use crate::error::Result;
use crate::uninit::UninitBuf;
use lzma_rust2::XzReader;
use std::io::Read;

/// Decodes into the free part of the buffer.
///
/// A longer stream is cut; a shorter one yields what it contains. `Error::Corrupt` for a damaged stream, including a wrong
/// checksum (unless the stream is cut).
pub fn decode(data: &[u8], buf: &mut UninitBuf) -> Result<()> {
    let damaged = |_| Error::Corrupt("LZMA stream is damaged".into());
    buf.by(|out| fill(&mut XzReader::new(data, false), out).map_err(damaged))
}

/// Decodes on demand, with the same result.
pub fn reader(from: impl Read) -> impl Read {
    XzReader::new(from, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uninit;

    fn decoded(data: &[u8], len: usize) -> Result<Vec<u8>> {
        uninit::filled(len, |buf| decode(data, buf))
    }

    /// "LZMA in a tile " repeated a hundred times, by `xz`.
    #[rustfmt::skip]
    const STREAM: &[u8] = &[
        0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x01, 0x69, 0x22, 0xde, 0x36, 0x02, 0x00, 0x21, 0x01,
        0x16, 0x00, 0x00, 0x00, 0x74, 0x2f, 0xe5, 0xa3, 0xe0, 0x05, 0xdb, 0x00, 0x1f, 0x5d, 0x00, 0x26,
        0x16, 0x85, 0xbc, 0x45, 0xf0, 0xfa, 0x17, 0x35, 0xb9, 0xd3, 0x1e, 0x2d, 0xcb, 0x78, 0x42, 0x29,
        0xd8, 0xb6, 0x09, 0x79, 0x67, 0x64, 0xc2, 0x51, 0xa4, 0xe9, 0xa0, 0xd0, 0x72, 0x00, 0x00, 0x00,
        0xe6, 0x73, 0x4d, 0x06, 0x00, 0x01, 0x37, 0xdc, 0x0b, 0x00, 0x00, 0x00, 0x91, 0xf6, 0x2e, 0x41,
        0x3e, 0x30, 0x0d, 0x8b, 0x02, 0x00, 0x00, 0x00, 0x00, 0x01, 0x59, 0x5a,
    ];

    #[test]
    fn a_stream_comes_back_exactly_cut_or_short() {
        let text = b"LZMA in a tile ".repeat(100);
        assert_eq!(decoded(STREAM, text.len()).unwrap(), text);
        assert_eq!(decoded(STREAM, 33).unwrap(), &text[..33]);
        assert_eq!(decoded(STREAM, text.len() + 5).unwrap(), text);
    }

    #[test]
    fn damaged_streams_are_errors() {
        assert!(decoded(&STREAM[..STREAM.len() / 2], 2000).is_err());
        assert!(decoded(b"no stream at all", 10).is_err());
        for at in 0..STREAM.len() {
            let mut wrong = STREAM.to_vec();
            wrong[at] ^= 1;
            let _ = decoded(&wrong, 2000);
        }
    }
}
