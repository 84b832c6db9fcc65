//! Supports a height that is undefined in the frame header and given by a DNL segment after the first scan (T.81
//! B.2.5).
//!
//! Finds the height and writes it into the frame header, without decoding.

use crate::codec::jpeg::bits::BitReader;
use crate::codec::jpeg::bits::Marker;
use crate::codec::jpeg::stream::MarkerSegments;
use crate::codec::jpeg::stream::SOS;
use crate::codec::read_at::ReadAt;
use crate::error::Error;
use crate::error::Result;
use std::borrow::Cow;

/// Bytes read at a time.
const CHUNK: usize = 256 << 10;

/// `head` (the bytes of a file up to its first scan, or all of them) with the height in its frame header and not
/// after the scan. Reads through the scan if the frame header has no height. `Corrupt` if no DNL segment follows, or
/// its value is 0.
pub(crate) fn with_height<'a>(head: &'a [u8], from: &dyn ReadAt) -> Result<Cow<'a, [u8]>> {
    let Some((place, scan)) = open(head) else {
        return Ok(Cow::Borrowed(head));
    };
    let mut bits = BitReader::new(from, scan, CHUNK);
    while let Marker::Restart(_) = bits.marker() {
        bits.pass();
    }
    let (at, _) = bits.place();
    if let Some(error) = bits.failure() {
        return Err(error);
    }
    let mut segment = [0; 6];
    if from.len().saturating_sub(at) >= 6 {
        from.read(at, &mut segment)?;
    }
    let mut head = head.to_vec();
    match (segment, head.get_mut(place..place + 2)) {
        ([0xff, 0xdc, 0, 4, high, low], Some(height)) if (high, low) != (0, 0) => {
            height.copy_from_slice(&[high, low]);
            if let Some(start) = usize::try_from(at).ok().filter(|start| start + 6 <= head.len()) {
                head.drain(start..start + 6);
            }
            Ok(Cow::Owned(head))
        }
        _ => Err(Error::Corrupt("jpeg frame without a height".into())),
    }
}

/// The position of the undefined height in these bytes, and the start of the first scan.
fn open(head: &[u8]) -> Option<(usize, u64)> {
    let mut place = None;
    for segment in MarkerSegments::of(head).ok()?.filter_map(Result::ok) {
        let start = head.len() - segment.rest.len();
        match segment.marker {
            // not a frame header
            0xc4 | 0xc8 | 0xcc => {}
            0xc0..=0xcf if matches!(segment.payload, [_, 0, 0, ..]) => {
                place = place.or(Some(start - segment.payload.len() + 1));
            }
            SOS => return Some((place?, start as u64)),
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame of 5 pixels a row, and a scan with a stuffed byte, fill bytes and a restart marker.
    const HEAD: &[u8] = &[
        0xff, 0xd8, 0xff, 0xe0, 0, 3, 7, 0xff, 0xc0, 0, 11, 8, 0, 0, 0, 5, 1, 1, 0x11, 0, 0xff, 0xda, 0, 3, 1,
    ];
    const SCAN: &[u8] = &[1, 0xff, 0, 2, 0xff, 0xd0, 3, 0xff, 0xff];

    #[test]
    fn a_height_after_the_scan_is_put_into_the_frame_header() {
        let mut wanted = HEAD.to_vec();
        wanted[13] = 9;
        for tail in [&[0xff, 0xd9][..], &[]] {
            let file = [HEAD, SCAN, &[0xdc, 0, 4, 0, 9], tail].concat();
            assert_eq!(*with_height(HEAD, &file).unwrap(), wanted);
            // fill bytes may precede a marker
            let whole = [&wanted, &SCAN[..SCAN.len() - 1], tail].concat();
            assert_eq!(*with_height(&file, &file).unwrap(), whole);
        }
        assert!(matches!(
            with_height(&wanted, &HEAD.to_vec()),
            Ok(Cow::Borrowed(_))
        ));
    }

    #[test]
    fn a_frame_without_a_height_is_corrupt() {
        for end in [
            &[][..],
            &[0xd9],
            &[0xdc],
            &[0xdc, 0, 4, 0],
            &[0xdc, 0, 4, 0, 0],
            &[0xdc, 0, 5, 0, 9],
        ] {
            let file = [HEAD, SCAN, end].concat();
            assert!(
                matches!(with_height(HEAD, &file), Err(Error::Corrupt(_))),
                "{end:x?}"
            );
        }
    }
}
