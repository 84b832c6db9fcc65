//! PackBits: decodes runs of bytes (TIFF 6.0 §9).

use crate::codec::pull::Pull;
use crate::codec::pull::Pulled;
use crate::uninit::UninitBuf;
use std::io::BufRead;
use std::io::Read;

/// Decodes into the free part of the buffer.
///
/// A longer stream is cut; a shorter one, even if truncated within a run, yields what it contains. No stream is invalid.
pub fn decode(data: &[u8], buf: &mut UninitBuf) {
    let rest = data.get(whole(data, buf)..).unwrap_or_default();
    // a truncated run
    if let Some((&head, rest)) = rest.split_first()
        && head.cast_signed() >= 0
    {
        buf.put(rest);
    }
}

/// Decodes the complete runs in `data`; returns the number of bytes consumed.
pub fn whole(data: &[u8], buf: &mut UninitBuf) -> usize {
    let mut left = data;
    while let Some((&head, rest)) = left.split_first()
        && buf.left() > 0
    {
        let count = usize::from(head.cast_signed().unsigned_abs()) + 1;
        left = match head.cast_signed() {
            -128 => rest,
            0.. => match rest.split_at_checked(count) {
                Some((run, after)) => {
                    match rest.first_chunk() {
                        Some(wide) => buf.put_some(wide, count),
                        None => buf.put(run),
                    }
                    after
                }
                None => break,
            },
            _ => match rest.split_first() {
                Some((byte, after)) => {
                    buf.repeat_some(*byte, count);
                    after
                }
                None => break,
            },
        };
    }
    data.len() - left.len()
}

/// The rest of a run.
enum Run {
    /// None: a header byte follows.
    None,
    /// This many literal bytes.
    Literal(usize),
    /// The byte to repeat follows.
    Byte(usize),
    /// This byte, this many times.
    Repeat(usize, u8),
}

/// Decodes on demand, with the same result.
pub fn reader(from: impl BufRead) -> impl Read {
    let mut run = Run::None;
    Pull::new(from, move |coded, out| {
        let (used, made) = match run {
            Run::Repeat(left, byte) => {
                let made = left.min(out.len());
                out.iter_mut().take(made).for_each(|to| *to = byte);
                run = repeat(left - made, byte);
                (0, made)
            }
            Run::Literal(left) => {
                let made = left.min(coded.len()).min(out.len());
                out.iter_mut()
                    .zip(coded)
                    .take(made)
                    .for_each(|(to, byte)| *to = *byte);
                run = literal(left - made);
                (made, made)
            }
            Run::Byte(left) => match coded.first() {
                Some(byte) => {
                    run = Run::Repeat(left, *byte);
                    (1, 0)
                }
                None => (0, 0),
            },
            Run::None => match coded.first().map(|head| head.cast_signed()) {
                Some(-128) => (1, 0),
                Some(head) => {
                    let count = usize::from(head.unsigned_abs()) + 1;
                    run = if head < 0 {
                        Run::Byte(count)
                    } else {
                        Run::Literal(count)
                    };
                    (1, 0)
                }
                None => (0, 0),
            },
        };
        Ok(Pulled {
            used,
            made,
            ended: false,
        })
    })
}

fn repeat(left: usize, byte: u8) -> Run {
    if left == 0 {
        Run::None
    } else {
        Run::Repeat(left, byte)
    }
}

fn literal(left: usize) -> Run {
    if left == 0 { Run::None } else { Run::Literal(left) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::uninit;
    use std::io::BufReader;

    #[test]
    fn a_reader_gives_the_same_however_little_is_at_hand() {
        for size in 1..6 {
            let mut out = Vec::new();
            reader(BufReader::with_capacity(size, &PACKED[..]))
                .read_to_end(&mut out)
                .unwrap();
            assert_eq!(out, PLAIN, "{size}");
        }
        let mut out = Vec::new();
        reader(&PACKED[..5]).read_to_end(&mut out).unwrap();
        assert_eq!(out, PLAIN[..5]);
    }

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
        let decoded = |data: &[u8], len: usize| {
            let fill = |buf: &mut UninitBuf| {
                decode(data, buf);
                Ok::<(), std::collections::TryReserveError>(())
            };
            uninit::filled::<u8, _>(len, fill).unwrap()
        };
        for len in 0..24 {
            assert_eq!(decoded(&PACKED, len), &PLAIN[..len]);
        }
        assert_eq!(decoded(&PACKED, 100), PLAIN);
        assert_eq!(decoded(&PACKED[..5], 100), &PLAIN[..5]);
        assert_eq!(decoded(&[0x80, 0x00, 9, 0xff], 100), [9]);
        assert!(decoded(&[], 100).is_empty());
    }
}
