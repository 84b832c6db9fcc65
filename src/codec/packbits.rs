//! PackBits: runs of bytes (TIFF 6.0 §9). Bytes in, bytes out.
//!
//! Knows no image.

/// Decodes at most `len` bytes into `scratch`, which grows as needed, and returns them.
///
/// A stream that holds more is cut at `len`; one that ends earlier, within a run as well, gives what it has. There is no
/// stream that is wrong.
pub fn decode<'a>(mut data: &[u8], len: usize, scratch: &'a mut Vec<u8>) -> &'a mut [u8] {
    scratch.clear();
    scratch.reserve(len);
    while let Some((&head, rest)) = data.split_first()
        && scratch.len() < len
    {
        let room = len - scratch.len();
        match head.cast_signed() {
            -128 => data = rest,
            count @ 0.. => {
                let count = usize::from(count.unsigned_abs()) + 1;
                let (run, after) = rest.split_at(count.min(rest.len()));
                scratch.extend_from_slice(run.get(..room).unwrap_or(run));
                data = after;
            }
            count => {
                let count = usize::from(count.unsigned_abs()) + 1;
                let Some((byte, after)) = rest.split_first() else {
                    break;
                };
                scratch.resize(scratch.len() + count.min(room), *byte);
                data = after;
            }
        }
    }
    scratch
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Apple's example (TIFF 6.0 names it its source).
    const PACKED: [u8; 15] = [
        0xfe, 0xaa, 0x02, 0x80, 0x00, 0x2a, 0xfd, 0xaa, 0x03, 0x80, 0x00, 0x2a, 0x22, 0xf7, 0xaa,
    ];
    const PLAIN: [u8; 24] = [
        0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0xaa, 0xaa, 0xaa, 0xaa, 0x80, 0x00, 0x2a, 0x22, 0xaa, 0xaa, 0xaa,
        0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa,
    ];

    #[test]
    fn runs_and_literals_come_back_cut_or_short() {
        let mut scratch = vec![7; 3];
        for len in 0..24 {
            assert_eq!(decode(&PACKED, len, &mut scratch), &PLAIN[..len]);
        }
        assert_eq!(decode(&PACKED, 100, &mut scratch), PLAIN);
        assert_eq!(decode(&PACKED[..5], 100, &mut scratch), &PLAIN[..5]);
        assert_eq!(decode(&[0x80, 0x00, 9, 0xff], 100, &mut scratch), [9]);
        assert!(decode(&[], 100, &mut scratch).is_empty());
    }
}
