//! Decodes sequential DCT JPEG of 12 bits (T.81 Annex F with `P` = 12), which the libraries do not support.
//!
//! All components of a frame are in memory as samples, because each scan may contain only some of them. Chroma
//! upsampling and the rounding of colours follow libjpeg.

use crate::codec::jpeg::bits::BitReader;
use crate::codec::jpeg::bits::Marker;
use crate::codec::jpeg::bits::extend;
use crate::codec::jpeg::blocks;
use crate::codec::jpeg::blocks::CoefficientSink;
use crate::codec::jpeg::blocks::McuBlock;
use crate::codec::jpeg::huffman::HuffmanTables;
use crate::codec::jpeg::huffman::STANDARD;
use crate::codec::jpeg::huffman::define;
use crate::codec::jpeg::scan::CATEGORIES;
use crate::codec::jpeg::stream;
use crate::codec::jpeg::stream::DHT;
use crate::codec::jpeg::stream::DQT;
use crate::codec::jpeg::stream::DRI;
use crate::codec::jpeg::stream::Frame;
use crate::codec::jpeg::stream::MarkerSegment;
use crate::codec::jpeg::stream::MarkerSegments;
use crate::codec::jpeg::stream::SOS;
use crate::codec::jpeg::stream::StreamColour;
use crate::codec::jpeg::upsample::ComponentPlane;
use crate::codec::jpeg::upsample::upsample;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Raster;
use crate::raster::Samples;
use std::sync::LazyLock;

/// Samples per side of a block.
const SIDE: usize = 8;

/// The largest sample, and the middle one.
const MOST: i32 = 4095;
const MIDDLE: i32 = 2048;

/// Positions of coefficients in coding order (T.81 Figure A.6).
#[rustfmt::skip]
const ZIGZAG: [u8; 64] = [
     0,  1,  8, 16,  9,  2,  3, 10, 17, 24, 32, 25, 18, 11,  4,  5,
    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13,  6,  7, 14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// Basis functions of the inverse transform by frequency and position: C(u) / 2 · cos((2 x + 1) u π / 16) (T.81
/// A.3.3).
static BASIS: LazyLock<[[f32; SIDE]; SIDE]> = LazyLock::new(|| {
    std::array::from_fn(|u| {
        let scale = if u == 0 { 0.125f64.sqrt() } else { 0.5 };
        std::array::from_fn(|x| {
            #[expect(clippy::cast_precision_loss, reason = "small numbers")]
            let angle = ((2 * x + 1) * u) as f64 * std::f64::consts::PI / 16.0;
            #[expect(clippy::cast_possible_truncation, reason = "rounded to single precision")]
            let value = (scale * angle.cos()) as f32;
            value
        })
    })
});

/// A component of the frame.
struct FrameComponent {
    id: u8,
    /// Blocks per MCU, horizontally and vertically.
    factors: Size,
    /// Number of its quantisation table.
    quantiser: u8,
    plane: ComponentPlane,
}

/// Whether streams with this frame header are decoded here.
pub fn is_deep(frame: &Frame) -> bool {
    frame.bits == 12 && frame.process < 2 && (1..=4).contains(&frame.components)
}

/// Decodes a complete stream with this frame header to samples of 0–4095: one or two channels as stored; red, green
/// and blue; or four as stored (but YCCK as CMYK). `Corrupt` if it ends early, `Unsupported` if the sampling factors
/// of components are not multiples.
pub fn decode(stream: &[u8], frame: &Frame) -> Result<Raster> {
    let (components, is_luma) = scans(stream, frame)?;
    let count = components.len();
    let most = max_factors(components.iter().map(|component| component.factors));
    let area = usize::try_from(frame.size.area()).unwrap_or(0);
    let mut out = vec![0; area * count];
    for (channel, component) in components.into_iter().enumerate() {
        let plane = upsample(&component.plane, component.factors, most, frame.size)?;
        let places = out.iter_mut().skip(channel).step_by(count);
        places.zip(plane).for_each(|(to, sample)| *to = sample);
    }
    if is_luma {
        turn(&mut out, count);
    }
    Ok(Raster {
        size: frame.size,
        channels: frame.components,
        samples: Samples::U16(out),
    })
}

/// The components of a stream with the samples of all its scans, and whether they are luma and chroma.
fn scans(stream: &[u8], frame: &Frame) -> Result<(Vec<FrameComponent>, bool)> {
    let mut tables = HuffmanTables::default();
    if !frame.tables {
        define(STANDARD.get(4..).unwrap_or_default(), &mut tables, CATEGORIES)
            .ok_or_else(|| wrong("table"))?;
    }
    let mut quantisers = [[0; 64]; 4];
    let mut components = Vec::new();
    let mut interval = 0;
    let (mut jfif, mut adobe, mut guess) = (false, None, None);
    let mut missing = Vec::new();
    let mut segments = MarkerSegments::of(stream)?;
    while let Some(segment) = segments.next().transpose()? {
        jfif |= segment.is_jfif();
        adobe = segment.adobe().or(adobe);
        match (segment.marker, segment.payload) {
            (DHT, payload) => define(payload, &mut tables, CATEGORIES).ok_or_else(|| wrong("table"))?,
            (DQT, payload) => quantise(payload, &mut quantisers).ok_or_else(|| wrong("table"))?,
            (DRI, [high, low, ..]) => interval = u16::from_be_bytes([*high, *low]),
            (0xc0 | 0xc1, _) => {
                if !components.is_empty() {
                    return Err(wrong("frame header"));
                }
                components = frame_components(&segment, frame)?;
                guess = StreamColour::guess(segment.components());
                missing = (0..components.len()).collect();
            }
            (SOS, payload) => {
                let scan = DeepScan::of(payload, &components, &tables).ok_or_else(|| wrong("scan header"))?;
                let before = missing.len();
                missing.retain(|n| scan.members.iter().all(|member| member.component != *n));
                if before - missing.len() != scan.members.len() {
                    return Err(wrong("scan"));
                }
                scan.decode(segment.rest, interval, &quantisers, frame, &mut components)?;
                if missing.is_empty() {
                    break;
                }
                segments = MarkerSegments::after(segment.rest);
            }
            _ => {}
        }
    }
    if components.is_empty() || !missing.is_empty() {
        return Err(wrong("end"));
    }
    let is_luma = match (components.len(), adobe) {
        (3, _) if jfif => true,
        (3, Some(transform)) => transform != 0,
        (3, None) => guess == Some(StreamColour::Ycbcr),
        (4, Some(2)) => true,
        _ => false,
    };
    Ok((components, is_luma))
}

/// The components of a frame header.
fn frame_components(segment: &MarkerSegment, frame: &Frame) -> Result<Vec<FrameComponent>> {
    let found = segment.components();
    if found.len() != usize::from(frame.components) {
        return Err(wrong("frame header"));
    }
    let factors = |[_, factors, _]: &[u8; 3]| Size::new(u32::from(factors >> 4), u32::from(factors & 15));
    let all = found.iter().map(factors);
    let right = |factors: Size| (1..=4).contains(&factors.w) && (1..=4).contains(&factors.h);
    if !all.clone().all(right) || found.iter().any(|[.., quantiser]| *quantiser > 3) {
        return Err(wrong("frame header"));
    }
    let most = max_factors(all);
    let mcus = frame.size.grid(Size::new(most.w * 8, most.h * 8));
    let component = |found: &[u8; 3]| {
        let factors = factors(found);
        let side = |side: u32, factor: u32, most: u32| (side * factor).div_ceil(most);
        let size = Size::new(
            side(frame.size.w, factors.w, most.w),
            side(frame.size.h, factors.h, most.h),
        );
        let [id, _, quantiser] = *found;
        FrameComponent {
            id,
            factors,
            quantiser,
            plane: ComponentPlane::new(size, Size::new(mcus.w * factors.w * 8, mcus.h * factors.h * 8)),
        }
    };
    Ok(found.iter().map(component).collect())
}

/// The largest sampling factors of components.
fn max_factors(factors: impl Iterator<Item = Size>) -> Size {
    let larger = |max: Size, factors: Size| Size::new(max.w.max(factors.w), max.h.max(factors.h));
    factors.fold(Size::new(1, 1), larger)
}

/// Reads the tables of a DQT segment; `None` if one is truncated or has an invalid number.
fn quantise(segment: &[u8], quantisers: &mut [[u16; 64]; 4]) -> Option<()> {
    for (name, steps) in stream::quantisers(segment) {
        let table = quantisers.get_mut(usize::from(name & 15))?;
        match (name >> 4, steps.len()) {
            (0, 64) => table
                .iter_mut()
                .zip(steps)
                .for_each(|(to, step)| *to = u16::from(*step)),
            (1.., 128) => {
                let steps = steps.as_chunks::<2>().0;
                table
                    .iter_mut()
                    .zip(steps)
                    .for_each(|(to, step)| *to = u16::from_be_bytes(*step));
            }
            _ => return None,
        }
    }
    Some(())
}

/// A scan header.
struct DeepScan {
    members: Vec<McuBlock>,
}

impl DeepScan {
    /// `None` if it is invalid or names something undefined.
    fn of(payload: &[u8], components: &[FrameComponent], tables: &HuffmanTables) -> Option<DeepScan> {
        let (count, rest) = payload.split_first()?;
        let selectors = rest.as_chunks::<2>().0.get(..usize::from(*count))?;
        let member = |[id, names]: &[u8; 2]| {
            let table = |class: usize, number: u8| tables.get(class)?.get(usize::from(number))?.clone();
            Some(McuBlock {
                component: components.iter().position(|component| component.id == *id)?,
                dc: table(0, names >> 4)?,
                ac: table(1, names & 15)?,
                is_full_size: false,
            })
        };
        let members: Option<Vec<McuBlock>> = selectors.iter().map(member).collect();
        let members = members.filter(|members| !members.is_empty())?;
        Some(DeepScan { members })
    }

    /// Decodes the samples of its components into their planes. `Corrupt` if the data end early.
    fn decode(
        &self,
        data: &[u8],
        interval: u16,
        quantisers: &[[u16; 64]; 4],
        frame: &Frame,
        components: &mut [FrameComponent],
    ) -> Result<()> {
        let most = max_factors(components.iter().map(|component| component.factors));
        let mut bits = BitReader::new(&data, 0, 1 << 16);
        let mut last = [0; 4];
        let mut since = 0;
        // a scan of one component is coded block by block, only for blocks of the picture (T.81 A.2.2)
        let alone = match self.members.as_slice() {
            [member] => components.get(member.component),
            _ => None,
        };
        let is_alone = alone.is_some();
        let mcus = match alone {
            Some(component) => component.plane.size.grid(Size::new(8, 8)),
            None => frame.size.grid(Size::new(most.w * 8, most.h * 8)),
        };
        for row in 0..mcus.h {
            for col in 0..mcus.w {
                if interval > 0 && since == interval {
                    if bits.marker() == Marker::Other {
                        return Err(wrong("end"));
                    }
                    bits.pass();
                    (since, last) = (0, [0; 4]);
                }
                since += 1;
                for member in &self.members {
                    let Some(component) = components.get_mut(member.component) else {
                        return Err(wrong("scan header"));
                    };
                    let Some(steps) = quantisers.get(usize::from(component.quantiser)) else {
                        return Err(wrong("table"));
                    };
                    let factors = if is_alone {
                        Size::new(1, 1)
                    } else {
                        component.factors
                    };
                    for y in row * factors.h..(row + 1) * factors.h {
                        for x in col * factors.w..(col + 1) * factors.w {
                            let mut values = Values::new(steps);
                            blocks::read(&mut bits, member, &mut last, &mut values);
                            component.plane.put(x as usize, y as usize, &values.samples());
                        }
                    }
                }
            }
            if bits.is_dry() {
                return Err(wrong("end"));
            }
        }
        Ok(())
    }
}

/// The dequantised coefficients of a block.
struct Values<'a> {
    steps: &'a [u16; 64],
    /// Number of coefficients so far.
    count: usize,
    /// By vertical and horizontal frequency.
    values: [[f32; SIDE]; SIDE],
}

impl<'a> Values<'a> {
    fn new(steps: &'a [u16; 64]) -> Values<'a> {
        Values {
            steps,
            count: 0,
            values: [[0.0; SIDE]; SIDE],
        }
    }

    /// Adds the next coefficient.
    fn add(&mut self, value: i32) {
        let place = ZIGZAG.get(self.count).copied().unwrap_or(63);
        let step = self.steps.get(self.count).copied().unwrap_or(0);
        let row = self.values.get_mut(usize::from(place >> 3));
        if let Some(to) = row.and_then(|row| row.get_mut(usize::from(place & 7))) {
            #[expect(clippy::cast_precision_loss, reason = "24 bits are more than are right")]
            let value = (value * i32::from(step)) as f32;
            *to = value;
        }
        self.count += 1;
    }

    /// The inverse DCT (T.81 A.3.3, A.3.1).
    fn samples(&self) -> [[u16; SIDE]; SIDE] {
        let basis = &*BASIS;
        // sums basis functions along rows, then along columns
        let mut rows = [[0f32; SIDE]; SIDE];
        for (row, values) in rows.iter_mut().zip(&self.values) {
            for (value, function) in values.iter().zip(basis) {
                for (sum, function) in row.iter_mut().zip(function) {
                    *sum += value * function;
                }
            }
        }
        let mut sums = [[0f32; SIDE]; SIDE];
        for (row, function) in rows.iter().zip(basis) {
            for (sums, factor) in sums.iter_mut().zip(function) {
                for (sum, value) in sums.iter_mut().zip(row) {
                    *sum += value * factor;
                }
            }
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "within 0 and 4095"
        )]
        let sample = |sum: f32| (sum.round() + MIDDLE as f32).clamp(0.0, MOST as f32) as u16;
        sums.map(|row| row.map(sample))
    }
}

impl CoefficientSink for Values<'_> {
    fn dc(&mut self, _: &McuBlock, value: i16) {
        self.add(value.into());
    }

    fn ac(&mut self, run: u32, size: u32, value: u32) {
        self.count += run as usize;
        match size {
            0 => self.count += 1,
            size => self.add(extend(u64::from(value) << (64 - size), size)),
        }
    }

    fn end(&mut self) {}
}

/// Converts luma and chroma, with or without black, to colours (JFIF 1.02 p. 3), in libjpeg's fixed-point arithmetic.
fn turn(pixels: &mut [u16], channels: usize) {
    const HALF: i32 = 1 << 15;
    for pixel in pixels.chunks_exact_mut(channels) {
        if let [first, second, third, black @ ..] = pixel {
            let y = i32::from(*first);
            let (blue, red) = (i32::from(*second) - MIDDLE, i32::from(*third) - MIDDLE);
            let rgb = [
                y + ((91_881 * red + HALF) >> 16),
                y + ((-22_554 * blue + HALF - 46_802 * red) >> 16),
                y + ((116_130 * blue + HALF) >> 16),
            ];
            let clamped = |value: i32| {
                let value = if black.is_empty() { value } else { MOST - value };
                u16::try_from(value.clamp(0, MOST)).unwrap_or(0)
            };
            [*first, *second, *third] = rgb.map(clamped);
        }
    }
}

fn wrong(what: &str) -> Error {
    Error::Corrupt(format!("jpeg of 12 bits with a wrong {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::jpeg;
    use crate::codec::jpeg::blocks::CoefficientWriter;
    use crate::codec::jpeg::huffman::WriteTables;

    const SIZE: Size = Size::new(19, 9);

    /// 19x9 pixels of red 200 x + 20 y, green 4000 − 150 x, blue 100 + 400 y in 4:2:0, by libjpeg-turbo 3.1.
    #[rustfmt::skip]
    const COLOURS: &[u8] = &[
            0xff, 0xd8, 0xff, 0xe0, 0x00, 0x10, 0x4a, 0x46, 0x49, 0x46, 0x00, 0x01, 0x01, 0x00, 0x00, 0x01,
            0x00, 0x01, 0x00, 0x00, 0xff, 0xdb, 0x00, 0x43, 0x00, 0x02, 0x01, 0x01, 0x01, 0x01, 0x01, 0x02,
            0x01, 0x01, 0x01, 0x02, 0x02, 0x02, 0x02, 0x02, 0x04, 0x03, 0x02, 0x02, 0x02, 0x02, 0x05, 0x04,
            0x04, 0x03, 0x04, 0x06, 0x05, 0x06, 0x06, 0x06, 0x05, 0x06, 0x06, 0x06, 0x07, 0x09, 0x08, 0x06,
            0x07, 0x09, 0x07, 0x06, 0x06, 0x08, 0x0b, 0x08, 0x09, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x06, 0x08,
            0x0b, 0x0c, 0x0b, 0x0a, 0x0c, 0x09, 0x0a, 0x0a, 0x0a, 0xff, 0xdb, 0x00, 0x43, 0x01, 0x02, 0x02,
            0x02, 0x02, 0x02, 0x02, 0x05, 0x03, 0x03, 0x05, 0x0a, 0x07, 0x06, 0x07, 0x0a, 0x0a, 0x0a, 0x0a,
            0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a,
            0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a,
            0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0x0a, 0xff, 0xc1,
            0x00, 0x11, 0x0c, 0x00, 0x09, 0x00, 0x13, 0x03, 0x01, 0x22, 0x00, 0x02, 0x11, 0x01, 0x03, 0x11,
            0x01, 0xff, 0xc4, 0x00, 0x16, 0x00, 0x01, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x0a, 0x0b, 0x00, 0xff, 0xc4, 0x00, 0x25, 0x10, 0x00, 0x00,
            0x03, 0x06, 0x06, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01,
            0x0a, 0x03, 0x05, 0x27, 0x44, 0x61, 0x71, 0x07, 0x17, 0x35, 0x45, 0x53, 0xc1, 0x37, 0x74, 0xb1,
            0xff, 0xc4, 0x00, 0x17, 0x01, 0x00, 0x03, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x00, 0x00, 0x00, 0x00, 0x00, 0x07, 0x0a, 0x0c, 0x0d, 0xff, 0xc4, 0x00, 0x2e, 0x11, 0x00, 0x00,
            0x02, 0x04, 0x0a, 0x0b, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x01,
            0x08, 0x42, 0x45, 0x63, 0x02, 0x03, 0x04, 0x05, 0x07, 0x0a, 0x0b, 0x23, 0x26, 0x61, 0x06, 0x09,
            0x0c, 0x14, 0x15, 0x18, 0x27, 0x51, 0x52, 0x54, 0x55, 0xff, 0xda, 0x00, 0x0c, 0x03, 0x01, 0x00,
            0x02, 0x11, 0x03, 0x11, 0x00, 0x3f, 0x00, 0xb1, 0x22, 0x80, 0xd0, 0xa7, 0xad, 0xc1, 0xde, 0x49,
            0x0b, 0xd0, 0x07, 0x75, 0x01, 0xa1, 0x4f, 0x5b, 0x83, 0xbc, 0x92, 0x17, 0xa0, 0xb9, 0x4a, 0x80,
            0xf7, 0xbb, 0x34, 0xec, 0x07, 0x75, 0x01, 0xef, 0x76, 0x69, 0xd8, 0x0d, 0xea, 0xdd, 0xb0, 0x4d,
            0xa9, 0x24, 0x5b, 0x9e, 0x0d, 0xf1, 0x65, 0xc8, 0xf2, 0x78, 0x26, 0xc1, 0xd9, 0x1a, 0x13, 0x86,
            0x99, 0x7a, 0x07, 0x7d, 0xf3, 0x16, 0x37, 0x42, 0x35, 0x58, 0xe0, 0x85, 0x32, 0xcd, 0x97, 0xec,
            0x1d, 0x9e, 0x39, 0x1a, 0x15, 0x06, 0x0e, 0x8b, 0x1b, 0xfc, 0xb2, 0xfd, 0xf7, 0x8f, 0xe1, 0x0c,
            0x1a, 0x4a, 0x6e, 0xb0, 0x4d, 0xa9, 0x25, 0xc3, 0xe2, 0x70, 0x6a, 0xb0, 0x59, 0x72, 0x3e, 0xc4,
            0xf0, 0x6d, 0x1e, 0x22, 0xb2, 0x71, 0xd3, 0x2f, 0x2b, 0xfa, 0x0d, 0x7c, 0xc7, 0x9b, 0x16, 0x3f,
            0x4a, 0x23, 0x21, 0xff, 0xd9,
    ];

    fn samples(stream: &[u8]) -> Result<Vec<u16>> {
        match jpeg::decode(stream, Size::new(64, 64))?.samples {
            Samples::U16(samples) => Ok(samples),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn colours_are_those_that_libjpeg_gives() {
        let found = samples(COLOURS).unwrap();
        assert_eq!(found.len(), 19 * 9 * 3);
        for ((x, y), wanted) in [
            ((0, 0), [96, 3914, 286]),
            ((18, 0), [3498, 1321, 262]),
            ((0, 8), [286, 3958, 3183]),
            ((18, 8), [3686, 1366, 3157]),
            ((9, 4), [1879, 2650, 1700]),
            ((7, 3), [1459, 2950, 1301]),
        ] {
            let pixel = &found[(y * 19 + x) * 3..][..3];
            let near = pixel.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) <= 3);
            assert!(near, "{x},{y}: {pixel:?}, not {wanted:?}");
        }
    }

    #[test]
    fn a_stream_that_is_cut_or_damaged_is_an_error_or_a_picture() {
        for kept in 0..COLOURS.len() - 12 {
            assert!(samples(&COLOURS[..kept]).is_err(), "{kept} bytes");
        }
        for at in 2..COLOURS.len() {
            for bit in 0..8 {
                let mut stream = COLOURS.to_vec();
                stream[at] ^= 1 << bit;
                if let Ok(raster) = jpeg::decode(&stream, SIZE) {
                    assert!(raster.size.w <= SIZE.w && raster.size.h <= SIZE.h);
                }
            }
        }
    }

    /// A scan of flat blocks: its interval, its components, and for every MCU the values of its blocks, in steps of 8
    /// from the middle.
    type Flat<'a> = (u8, &'a [u8], &'a [&'a [i16]]);

    /// A head and scans.
    fn stream(size: Size, factors: &[u8], scans: &[Flat]) -> Vec<u8> {
        let own = WriteTables::new();
        let mut out = vec![0xff, 0xd8, 0xff, DQT, 0, 67, 0];
        out.extend([64; 64]);
        out.extend_from_slice(&own.segment);
        let count = factors.len() as u8;
        out.extend([
            0xff,
            0xc1,
            0,
            8 + 3 * count,
            12,
            0,
            size.h as u8,
            0,
            size.w as u8,
            count,
        ]);
        for (id, factors) in (1..).zip(factors) {
            out.extend([id, *factors, 0]);
        }
        let table = |class: usize| {
            let mut tables = HuffmanTables::default();
            define(&own.segment[4..], &mut tables, CATEGORIES).unwrap();
            tables[class][0].clone().unwrap()
        };
        for (interval, members, mcus) in scans {
            out.extend([
                0xff,
                DRI,
                0,
                4,
                0,
                *interval,
                0xff,
                SOS,
                0,
                6 + 2 * members.len() as u8,
            ]);
            out.push(members.len() as u8);
            out.extend(members.iter().flat_map(|id| [*id, 0]));
            out.extend([0, 63, 0]);
            let parts = if *interval == 0 {
                mcus.len()
            } else {
                usize::from(*interval)
            };
            for (n, part) in mcus.chunks(parts).enumerate() {
                if n > 0 {
                    out.extend([0xff, 0xd0 + (n as u8 - 1) % 8]);
                }
                let mut copy = CoefficientWriter::after(Vec::new(), &own, false);
                for mcu in part {
                    let blocks = members.iter().flat_map(|id| {
                        let factors = if members.len() == 1 {
                            0x11
                        } else {
                            factors[usize::from(*id) - 1]
                        };
                        (0..factors >> 4).flat_map(move |_| (0..factors & 15).map(move |_| *id))
                    });
                    for (id, value) in blocks.zip(*mcu) {
                        let block = McuBlock {
                            component: usize::from(id) - 1,
                            dc: table(0),
                            ac: table(1),
                            is_full_size: true,
                        };
                        copy.dc(&block, *value);
                        copy.end();
                    }
                }
                let data = copy.finish();
                out.extend_from_slice(&data[..data.len() - 2]);
            }
        }
        out.extend([0xff, 0xd9]);
        out
    }

    #[test]
    fn components_may_come_in_scans_of_their_own_and_in_intervals() {
        let size = Size::new(16, 9);
        for interval in [0, 1] {
            let one = stream(size, &[0x11], &[(interval, &[1], &[&[-1], &[2], &[-3], &[300]])]);
            let found = samples(&one).unwrap();
            let at = |x: usize, y: usize| found[y * 16 + x];
            assert_eq!([at(0, 0), at(8, 7), at(7, 8), at(8, 8)], [2040, 2064, 2024, 4095]);
        }
        // the second component is half as wide and high, and in a scan of its own has only the blocks of the picture
        let scans: [Flat; 2] = [(1, &[2], &[&[5]]), (0, &[1], &[&[1], &[2], &[3], &[4]])];
        let two = stream(size, &[0x22, 0x11], &scans);
        let found = samples(&two).unwrap();
        let at = |x: usize, y: usize| &found[(y * 16 + x) * 2..][..2];
        assert_eq!(
            [at(0, 0), at(15, 0), at(0, 8), at(15, 8)],
            [[2056, 2088], [2064, 2088], [2072, 2088], [2080, 2088]]
        );
        let both: [Flat; 1] = [(0, &[1, 2], &[&[1, 2, 3, 4, 5]])];
        assert_eq!(samples(&stream(size, &[0x22, 0x11], &both)).unwrap(), found);
        // one component is missing, or occurs twice
        assert!(samples(&stream(size, &[0x22, 0x11], &scans[..1])).is_err());
        assert!(samples(&stream(size, &[0x22, 0x11], &[scans[1], scans[1]])).is_err());
        let between = stream(size, &[0x31, 0x21], &[(0, &[1, 2], &[&[1; 5][..]; 2])]);
        assert!(matches!(samples(&between), Err(Error::Unsupported(_))));
    }

    #[test]
    fn four_components_are_inks() {
        let size = Size::new(8, 8);
        let stream = stream(size, &[0x11; 4], &[(0, &[1, 2, 3, 4], &[&[100, 10, -10, 7]])]);
        assert_eq!(samples(&stream).unwrap()[..4], [2848, 2128, 1968, 2104]);
        let marked = [&stream[..2], jpeg::stream::ADOBE, &[2], &stream[2..]].concat();
        // 4095 − (2848 + 1.402 · −80), 4095 − (2848 − 0.344136 · 80 + 0.714136 · 80), 4095 − (2848 + 1.772 · 80)
        assert_eq!(samples(&marked).unwrap()[..4], [1359, 1217, 1105, 2104]);
    }
}
