//! Decodes lossless JPEG (T.81 Annex H): 2 to 16 bits, each sample predicted from its neighbours.
//!
//! Supports one scan of all components without subsampling; colours are not converted.

use crate::codec::jpeg::bits::BitReader;
use crate::codec::jpeg::bits::Marker;
use crate::codec::jpeg::bits::extend;
use crate::codec::jpeg::huffman::HuffmanTable;
use crate::codec::jpeg::huffman::HuffmanTables;
use crate::codec::jpeg::huffman::define;
use crate::codec::jpeg::stream::DHT;
use crate::codec::jpeg::stream::DRI;
use crate::codec::jpeg::stream::Frame;
use crate::codec::jpeg::stream::MarkerSegments;
use crate::codec::jpeg::stream::SOS;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Raster;
use crate::raster::Samples;
use std::sync::Arc;

const SOF3: u8 = 0xc3;

/// The largest category of a difference (T.81 Table H.2).
const MOST: u8 = 16;

/// A scan header.
struct LosslessScan {
    tables: Vec<Arc<HuffmanTable>>,
    /// T.81 Table H.1.
    predictor: u8,
    /// Point transform: bits that were cut off.
    shift: u32,
    /// Pixels between restart markers; 0 for none.
    interval: usize,
}

/// Decodes a complete stream of this process with this frame header: up to 8 bits to bytes, more to 16 bits, as
/// stored. `Corrupt` if it ends early; `Unsupported` for several scans, subsampled components, and luma and chroma.
pub fn decode(stream: &[u8], frame: &Frame) -> Result<Raster> {
    let Frame {
        size,
        bits,
        components: channels,
        ..
    } = *frame;
    if !(2..=16).contains(&bits) {
        return Err(Error::Corrupt(format!(
            "lossless jpeg of {}x{} with {bits} bits",
            size.w, size.h
        )));
    }
    let other = |what: &str| Error::Unsupported(format!("lossless jpeg {what} is not supported"));
    let mut tables = HuffmanTables::default();
    let mut interval = 0;
    for segment in MarkerSegments::of(stream)? {
        let segment = segment?;
        if channels == 3 && (segment.is_jfif() || segment.adobe() == Some(1)) {
            return Err(other("of luma and chroma"));
        }
        match (segment.marker, segment.payload) {
            (DHT, payload) => define(payload, &mut tables, MOST).ok_or_else(|| wrong("table"))?,
            (DRI, [high, low, ..]) => interval = u16::from_be_bytes([*high, *low]).into(),
            (SOF3, payload) => {
                let components = payload.get(6..).unwrap_or_default().as_chunks::<3>().0;
                if components.iter().any(|[_, sampling, _]| *sampling != 0x11) {
                    return Err(other("with subsampled components"));
                }
            }
            (SOS, [count, rest @ ..]) if *count == channels && channels > 0 => {
                let scan = LosslessScan::of(rest, channels, &tables, interval)?;
                let middle = (1 << (bits - 1)) >> scan.shift;
                let samples = scan.decode(segment.rest, size, middle)?;
                let samples = if bits > 8 {
                    Samples::U16(samples)
                } else {
                    let byte = |value: u16| u8::try_from(value).unwrap_or(u8::MAX);
                    Samples::U8(samples.into_iter().map(byte).collect())
                };
                return Ok(Raster {
                    size,
                    channels,
                    samples,
                });
            }
            (SOS, _) => return Err(other("of several scans")),
            _ => {}
        }
    }
    Err(wrong("end"))
}

impl LosslessScan {
    /// Parses the part of a scan header after the number of components.
    fn of(header: &[u8], channels: u8, tables: &HuffmanTables, interval: usize) -> Result<LosslessScan> {
        let selectors = header.as_chunks::<2>().0.get(..usize::from(channels));
        let rest = header.get(2 * usize::from(channels)..).unwrap_or_default();
        let (Some(selectors), [predictor @ 1..=7, _, shift, ..]) = (selectors, rest) else {
            return Err(wrong("scan header"));
        };
        let [of_differences, _] = tables;
        let table = |[_, name]: &[u8; 2]| of_differences.get(usize::from(name >> 4)).cloned().flatten();
        let tables = selectors.iter().map(table).collect::<Option<_>>();
        Ok(LosslessScan {
            tables: tables.ok_or_else(|| wrong("table"))?,
            predictor: *predictor,
            shift: u32::from(shift & 15),
            interval,
        })
    }

    /// The samples in rows; the first one is predicted as `middle`.
    fn decode(&self, data: &[u8], size: Size, middle: i32) -> Result<Vec<u16>> {
        let mut source = BitReader::new(&data, 0, 1 << 16);
        let channels = self.tables.len();
        let width = size.w as usize * channels;
        let mut all = vec![0u16; width * size.h as usize];
        let mut above: &[u16] = &[];
        let mut since = 0;
        for row in all.chunks_exact_mut(width) {
            for x in 0..size.w as usize {
                if self.interval > 0 && since == self.interval {
                    if source.marker() == Marker::Other {
                        return Err(ends());
                    }
                    source.pass();
                    since = 0;
                    above = &[];
                }
                since += 1;
                for (place, table) in (x * channels..).zip(&self.tables) {
                    let at = |row: &[u16], place: Option<usize>| {
                        place
                            .and_then(|place| row.get(place))
                            .map(|value| i32::from(*value))
                    };
                    let before = place
                        .checked_sub(channels)
                        .filter(|_| since > 1 || !above.is_empty());
                    let (a, b, c) = (at(row, before), at(above, Some(place)), at(above, before));
                    let guess = match (a, b, c) {
                        (Some(a), Some(b), Some(c)) => self.predict(a, b, c),
                        (Some(a), None, _) => a,
                        (None, Some(b), _) => b,
                        _ => middle,
                    };
                    let difference = difference(&mut source, table);
                    if let Some(sample) = row.get_mut(place) {
                        // modulo 65536 (T.81 H.1.2.1)
                        let [low, high, ..] = (guess + difference).to_le_bytes();
                        *sample = u16::from_le_bytes([low, high]);
                    }
                }
            }
            if source.is_dry() {
                return Err(ends());
            }
            above = row;
        }
        all.iter_mut().for_each(|sample| *sample <<= self.shift);
        Ok(all)
    }

    /// The prediction from the samples to the left, above, and above left.
    fn predict(&self, a: i32, b: i32, c: i32) -> i32 {
        match self.predictor {
            1 => a,
            2 => b,
            3 => c,
            4 => a + b - c,
            5 => a + ((b - c) >> 1),
            6 => b + ((a - c) >> 1),
            _ => (a + b) >> 1,
        }
    }
}

/// The next difference (T.81 F.1.2.1, H.1.2.2).
fn difference(source: &mut BitReader, table: &HuffmanTable) -> i32 {
    let (len, category) = table.look(source.peek());
    source.skip(len);
    match u32::from(category) {
        0 => 0,
        16.. => 1 << 15,
        size => {
            let value = extend(source.peek(), size);
            source.skip(size);
            value
        }
    }
}

fn wrong(what: &str) -> Error {
    Error::Corrupt(format!("lossless jpeg with a wrong {what}"))
}

fn ends() -> Error {
    Error::Corrupt("lossless jpeg ends too early".into())
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test pictures are small")]
mod tests {
    use super::*;
    use crate::codec::jpeg::decode;

    /// Written by libjpeg-turbo 3.1: 4 × 3 samples of 16 bits, predictor 6.
    const STREAM: &str = "ffd8ffe000104a46494600010100000100010000ffc3000b100003000401011100ffc4001600010101000000000000000000\
        000000000e0f10ffda0008010100060000c9b714552c468d1dd347a9a3d4d1e8d1d8d1d1a3a3477fffd9";

    fn stream() -> Vec<u8> {
        let hex = |at: usize| u8::from_str_radix(&STREAM[at..at + 2], 16).unwrap();
        (0..STREAM.len()).step_by(2).map(hex).collect()
    }

    #[test]
    fn reads_what_another_library_wrote() {
        let wanted = [
            0, 9948, 20358, 31692, 39484, 49432, 59842, 5640, 13432, 23380, 33790, 45124,
        ];
        let found = decode(&stream(), Size::new(4, 3)).unwrap();
        assert_eq!((found.size, found.channels), (Size::new(4, 3), 1));
        assert_eq!(found.samples, Samples::U16(wanted.to_vec()));
    }

    /// A stream of 7 × 5 pixels and its samples; every category has a code of 5 bits.
    fn drawn(bits: u8, channels: usize, predictor: u8, shift: u8, interval: usize) -> (Vec<u8>, Vec<u16>) {
        let most = if bits == 16 { u16::MAX } else { (1 << bits) - 1 };
        let (w, h) = (7, 5);
        let samples: Vec<u16> = (0..w * h * channels)
            .map(|i| ((i * i * 2029 + i * 31) as u16 & most) >> shift << shift)
            .collect();
        let mut out = vec![
            0xff,
            0xd8,
            0xff,
            0xc3,
            0,
            8 + 3 * channels as u8,
            bits,
            0,
            5,
            0,
            7,
        ];
        out.push(channels as u8);
        (0..channels).for_each(|c| out.extend([c as u8, 0x11, 0]));
        out.extend([0xff, DHT, 0, 19 + 17, 0x01, 0, 0, 0, 0, 17]);
        out.extend([0; 11]);
        out.extend(0..17);
        out.extend([0xff, DRI, 0, 4, 0, interval as u8]);
        out.extend([0xff, SOS, 0, 6 + 2 * channels as u8, channels as u8]);
        (0..channels).for_each(|c| out.extend([c as u8, 0x10]));
        out.extend([predictor, 0, shift]);
        let at = |x: usize, y: usize, c: usize| i32::from(samples[(y * w + x) * channels + c] >> shift);
        let mut bits_out = String::new();
        let flush = |text: &mut String, out: &mut Vec<u8>| {
            while !text.len().is_multiple_of(8) {
                text.push('1');
            }
            for at in (0..text.len()).step_by(8) {
                let byte = u8::from_str_radix(&text[at..at + 8], 2).unwrap();
                out.push(byte);
                if byte == 0xff {
                    out.push(0);
                }
            }
            text.clear();
        };
        for i in 0..w * h {
            let (x, y) = (i % w, i / w);
            let fresh = i == 0 || interval > 0 && i % interval == 0;
            if fresh && i > 0 {
                flush(&mut bits_out, &mut out);
                out.extend([0xff, 0xd0 + ((i / interval - 1) % 8) as u8]);
            }
            let first = i.checked_div(interval).unwrap_or(0) * interval / w;
            for c in 0..channels {
                let guess = if y == first && x == 0 {
                    1 << (bits - shift - 1)
                } else if y == first {
                    at(x - 1, y, c)
                } else if x == 0 {
                    at(x, y - 1, c)
                } else {
                    let (a, b, c) = (at(x - 1, y, c), at(x, y - 1, c), at(x - 1, y - 1, c));
                    [
                        a,
                        b,
                        c,
                        a + b - c,
                        a + ((b - c) >> 1),
                        b + ((a - c) >> 1),
                        (a + b) >> 1,
                    ][usize::from(predictor) - 1]
                };
                let mut difference = (at(x, y, c) - guess) & 0xffff;
                if difference > 0x8000 {
                    difference -= 0x1_0000;
                }
                let size = 32 - difference.unsigned_abs().leading_zeros() as usize;
                bits_out += &format!("{size:05b}");
                if size < 16 && size > 0 {
                    let value = if difference < 0 {
                        difference - 1 + (1 << size)
                    } else {
                        difference
                    };
                    bits_out += &format!("{value:0size$b}");
                }
            }
        }
        flush(&mut bits_out, &mut out);
        out.extend([0xff, 0xd9]);
        (out, samples)
    }

    #[test]
    fn every_predictor_depth_and_interval_gives_the_samples_back() {
        for predictor in 1..=7 {
            for (bits, channels, shift, interval) in [
                (16, 1, 0, 0),
                (16, 3, 0, 7),
                (12, 1, 2, 14),
                (9, 4, 0, 0),
                (8, 3, 0, 35),
                (3, 1, 1, 7),
            ] {
                let (stream, wanted) = drawn(bits, channels, predictor, shift, interval);
                let found = decode(&stream, Size::new(7, 5)).unwrap();
                let found: Vec<u16> = match found.samples {
                    Samples::U8(samples) => samples.into_iter().map(u16::from).collect(),
                    Samples::U16(samples) => samples,
                    _ => panic!("whole numbers"),
                };
                assert_eq!(
                    found, wanted,
                    "{bits} bits, {channels} channels, {predictor}, {shift}, {interval}"
                );
            }
        }
    }

    #[test]
    fn damage_is_an_error_or_another_picture() {
        let size = Size::new(7, 5);
        for (bits, channels) in [(16, 3), (8, 1)] {
            let (stream, _) = drawn(bits, channels, 4, 0, 7);
            let whole = stream.len() - 2;
            for at in 0..whole {
                assert!(
                    matches!(decode(&stream[..at], size), Err(Error::Corrupt(_))),
                    "{at}"
                );
                let mut wrong = stream.clone();
                wrong[at] ^= 0xff;
                if let Ok(found) = decode(&wrong, size) {
                    assert!(found.size.w <= 7 && found.size.h <= 5);
                }
            }
            assert!(matches!(decode(&stream, Size::new(7, 4)), Err(Error::Corrupt(_))));
        }
    }

    #[test]
    fn unsupported_streams_are_reported_as_such() {
        let (plain, _) = drawn(8, 3, 1, 0, 0);
        let mut coarse = plain.clone();
        coarse[13] = 0x21;
        let adobe = [b"\xff\xee\0\x0eAdobe".as_slice(), &[0, 100, 0, 0, 0, 0, 1]].concat();
        let luma = [&plain[..2], &adobe, &plain[2..]].concat();
        for stream in [coarse, luma] {
            assert!(matches!(
                decode(&stream, Size::new(7, 5)),
                Err(Error::Unsupported(_))
            ));
        }
    }
}
