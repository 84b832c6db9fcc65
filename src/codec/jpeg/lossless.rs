//! Lossless JPEG (T.81 Annex H): 2 to 16 bits, each sample predicted by its neighbours.
//!
//! One scan of all components, none of them subsampled. Knows no colours: components are given as they are stored.

use crate::codec::jpeg::bits::Bits;
use crate::codec::jpeg::bits::Marker;
use crate::codec::jpeg::huffman::Table;
use crate::codec::jpeg::huffman::Tables;
use crate::codec::jpeg::huffman::define;
use crate::codec::jpeg::stream::DHT;
use crate::codec::jpeg::stream::SOS;
use crate::codec::jpeg::stream::Segments;
use crate::codec::jpeg::stream::frame;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use std::sync::Arc;

const SOF3: u8 = 0xc3;
const DRI: u8 = 0xdd;

/// The largest category of a difference (T.81 Table H.2).
const MOST: u8 = 16;

/// A picture and how many of its 16 bits are in use.
#[derive(Debug, PartialEq, Eq)]
pub struct Picture {
    /// Width and height.
    pub size: Size,
    /// 1 or more.
    pub channels: u8,
    /// 2–16.
    pub bits: u8,
    /// Row by row, the channels side by side.
    pub samples: Vec<u16>,
}

/// What a scan header says.
struct Scan {
    tables: Vec<Arc<Table>>,
    /// T.81 Table H.1.
    predictor: u8,
    /// Bits that were cut off.
    shift: u32,
    /// Columns and rows of samples between restart markers; 0 without.
    interval: usize,
}

/// Decodes a complete stream. `Corrupt` when it is larger than `limit` or ends too early, `Unsupported` for several scans,
/// subsampled components and other processes.
pub fn decode(stream: &[u8], limit: Size) -> Result<Picture> {
    let frame = frame(stream)?;
    if frame.process != SOF3 & 0x0f {
        return Err(Error::Unsupported(format!(
            "jpeg (SOF{}) with {} bits is not supported",
            frame.process, frame.bits
        )));
    }
    if frame.size.w > limit.w || frame.size.h > limit.h || !(2..=16).contains(&frame.bits) {
        return Err(Error::Corrupt(format!(
            "lossless jpeg of {}x{} with {} bits",
            frame.size.w, frame.size.h, frame.bits
        )));
    }
    let bad = |what: &str| Error::Corrupt(format!("lossless jpeg with a wrong {what}"));
    let mut tables = Tables::default();
    let mut interval = 0;
    for segment in Segments::of(stream)? {
        let segment = segment?;
        match (segment.marker, segment.payload) {
            (DHT, payload) => define(payload, &mut tables, MOST).ok_or_else(|| bad("table"))?,
            (DRI, [high, low, ..]) => interval = u16::from_be_bytes([*high, *low]).into(),
            (SOF3, payload) => {
                let components = payload.get(6..).unwrap_or_default().as_chunks::<3>().0;
                if components.iter().any(|[_, sampling, _]| *sampling != 0x11) {
                    return Err(Error::Unsupported("subsampled lossless jpeg".into()));
                }
            }
            (SOS, [count, rest @ ..]) => {
                if *count != frame.components || *count == 0 {
                    return Err(Error::Unsupported("lossless jpeg of several scans".into()));
                }
                let (selectors, rest) = rest.as_chunks::<2>().0.split_at_checked((*count).into()).zip(
                    rest.get(usize::from(*count) * 2..),
                ).map(|((selectors, _), rest)| (selectors, rest)).ok_or_else(|| bad("scan"))?;
                let [predictor @ 1..=7, _, shift, ..] = *rest else {
                    return Err(bad("scan"));
                };
                let table = |[_, name]: &[u8; 2]| tables[0].get(usize::from(name >> 4)).cloned().flatten();
                let chosen: Option<Vec<_>> = selectors.iter().map(table).collect();
                let scan = Scan {
                    tables: chosen.ok_or_else(|| bad("table"))?,
                    predictor,
                    shift: u32::from(shift & 15),
                    interval,
                };
                if scan.shift >= u32::from(frame.bits) {
                    return Err(bad("scan"));
                }
                let samples = scan.decode(segment.rest, frame.size, frame.bits)?;
                return Ok(Picture {
                    size: frame.size,
                    channels: frame.components,
                    bits: frame.bits,
                    samples,
                });
            }
            _ => {}
        }
    }
    Err(bad("end"))
}

impl Scan {
    fn decode(&self, data: &[u8], size: Size, bits: u8) -> Result<Vec<u16>> {
        let mut source = Bits::new(&data, 0, 1 << 16);
        let channels = self.tables.len();
        let width = size.w as usize * channels;
        let mut all = vec![0u16; width * size.h as usize];
        let middle = 1 << (u32::from(bits) - self.shift - 1);
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
                        place.and_then(|place| row.get(place)).map(|value| i32::from(*value))
                    };
                    let before = place.checked_sub(channels).filter(|_| since > 1 || !above.is_empty());
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

    /// By the samples on the left, above, and left above.
    fn predict(&self, a: i32, b: i32, c: i32) -> i32 {
        match self.predictor {
            1 => a,
            2 => b,
            3 => c,
            4 => a + b - c,
            5 => a + (b - c >> 1),
            6 => b + (a - c >> 1),
            _ => a + b >> 1,
        }
    }
}

/// The next difference (T.81 F.1.2.1, H.1.2.2).
fn difference(source: &mut Bits, table: &Table) -> i32 {
    let (len, category) = table.look(source.peek());
    source.skip(len);
    match u32::from(category) {
        0 => 0,
        16.. => 1 << 15,
        size => {
            let value = i32::try_from(source.peek() >> (64 - size)).unwrap_or(0);
            source.skip(size);
            if value >> (size - 1) == 0 {
                value + 1 - (1 << size)
            } else {
                value
            }
        }
    }
}

fn ends() -> Error {
    Error::Corrupt("lossless jpeg ends too early".into())
}
