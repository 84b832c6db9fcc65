//! Converts the decompressed bytes of a block to samples: undoes predictors, expands bits, picks channels, crops,
//! converts colours.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::SampleFormat;
use crate::raster::Samples;
use crate::source::tiff::compression::Compression;
use crate::source::tiff::floats;
use crate::source::tiff::input::ByteOrder;
use crate::source::tiff::input::all_finite;
use crate::source::tiff::layout::BlockLayout;
use crate::source::tiff::layout::ColourTransform;
use crate::source::tiff::layout::Predictor;
use crate::source::tiff::sums;

/// The upper left `size` of a block `width` pixels wide, row by row, `layout.channels()` interleaved.
///
/// `plain` is the block as stored and is used as a scratch buffer. It may end after the last wanted pixel;
/// `Error::Corrupt` if it ends before. Samples of fewer than 8 and fewer than 16 bits are scaled so that all ones
/// become 255 and 65535; NaN becomes the channel's minimum, and values beyond single precision its minimum or
/// maximum.
pub fn unpack(layout: &BlockLayout, plain: &mut [u8], width: u32, size: Size) -> Result<Samples> {
    let line = usize::try_from(layout.line(width)).unwrap_or(usize::MAX);
    let row = usize::try_from(layout.line(size.w)).unwrap_or(usize::MAX);
    let rows = size.h as usize;
    let wanted = match (&layout.turn, layout.predictor) {
        (ColourTransform::Ycbcr(ycbcr), _) => {
            usize::try_from(ycbcr.bytes(width, size.h)).unwrap_or(usize::MAX)
        }
        (_, Predictor::Float) => line.saturating_mul(rows),
        _ => line.saturating_mul(rows.saturating_sub(1)).saturating_add(row),
    };
    let got = plain.len();
    let plain = plain.get_mut(..wanted).ok_or_else(|| short(got, wanted))?;
    let order = undo(layout, line, plain);
    if let ColourTransform::Ycbcr(ycbcr) = &layout.turn
        && layout.picks.len() == 3
        && layout.stored == 3
    {
        return Ok(Samples::U8(ycbcr.rgb(plain, width, size)));
    }
    let stored = plain
        .chunks(line.max(1))
        .map(|whole| whole.get(..row).unwrap_or(whole));
    let samples = StoredRows {
        layout,
        order,
        pixels: size.w as usize,
        count: size.w as usize * rows * layout.picks.len(),
    }
    .read(stored);
    Ok(turn(layout, samples))
}

/// The error for a truncated block.
pub fn short(got: usize, wanted: usize) -> Error {
    Error::Corrupt(format!("a block has {got} bytes where {wanted} are needed"))
}

/// Unpacks a whole block of a [straight](BlockLayout::is_straight) layout in place.
pub fn settle(layout: &BlockLayout, width: u32, samples: &mut Samples) {
    let line = usize::try_from(layout.line(width)).unwrap_or(usize::MAX);
    let order = undo(layout, line, samples.bytes_mut());
    let foreign = order != ByteOrder::of_machine();
    match samples {
        Samples::U8(_) => {}
        Samples::U16(v) if foreign => v.iter_mut().for_each(|v| *v = v.swap_bytes()),
        Samples::U32(v) if foreign => v.iter_mut().for_each(|v| *v = v.swap_bytes()),
        Samples::U16(_) | Samples::U32(_) => {}
        Samples::F32(v) => {
            if foreign {
                v.iter_mut()
                    .for_each(|v| *v = f32::from_bits(v.to_bits().swap_bytes()));
            }
            finite(layout, v);
        }
    }
}

/// Undoes the predictor in rows of `line` bytes; returns the resulting byte order.
fn undo(layout: &BlockLayout, line: usize, plain: &mut [u8]) -> ByteOrder {
    let bytes = usize::from(layout.bits / 8);
    let mut spare = Vec::new();
    match layout.predictor {
        Predictor::None => layout.order,
        Predictor::Difference => {
            for row in plain.chunks_mut(line.max(1)) {
                sums::sum(row, layout.stored, bytes, layout.order, &mut spare);
            }
            layout.order
        }
        Predictor::Float => {
            for row in plain.chunks_mut(line.max(1)) {
                sums::floats(row, layout.stored, bytes, &mut spare);
            }
            ByteOrder::Big
        }
    }
}

/// Combines planar channels: the planes of `layout.picks`, in order, each unpacked by its [`BlockLayout::plane`].
/// `Error::Corrupt` if they differ in length or depth.
pub fn weave(layout: &BlockLayout, planes: Vec<Samples>) -> Result<Samples> {
    let unlike = || Error::Corrupt("planes of a picture differ".into());
    let channels = planes.len();
    let mut planes = planes.into_iter();
    let mut all = planes.next().ok_or_else(unlike)?;
    if channels > 1 {
        all = match all {
            Samples::U8(first) => Samples::U8(stretch(&first, channels)),
            Samples::U16(first) => Samples::U16(stretch(&first, channels)),
            Samples::U32(first) => Samples::U32(stretch(&first, channels)),
            Samples::F32(first) => Samples::F32(stretch(&first, channels)),
        };
    }
    for (index, plane) in planes.enumerate() {
        match (&mut all, &plane) {
            (Samples::U8(all), Samples::U8(plane)) => put(all, plane, channels, index + 1),
            (Samples::U16(all), Samples::U16(plane)) => put(all, plane, channels, index + 1),
            (Samples::U32(all), Samples::U32(plane)) => put(all, plane, channels, index + 1),
            (Samples::F32(all), Samples::F32(plane)) => put(all, plane, channels, index + 1),
            _ => None,
        }
        .ok_or_else(unlike)?;
    }
    Ok(turn(layout, all))
}

/// Memory for all channels, with the first one filled in.
fn stretch<T: Copy>(first: &[T], channels: usize) -> Vec<T> {
    let each = |value: &T| std::iter::repeat_n(*value, channels);
    first.iter().flat_map(each).collect()
}

fn put<T: Copy>(all: &mut [T], plane: &[T], channels: usize, index: usize) -> Option<()> {
    for (to, value) in all.iter_mut().skip(index).step_by(channels).zip(plane) {
        *to = *value;
    }
    (all.len() == plane.len() * channels).then_some(())
}

/// The samples of a block that was never written: `BlockLayout::absent` in every channel; black for luma and chroma.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "samples can have the value, and single precision is what there is"
)]
pub fn absent(layout: &BlockLayout, size: Size) -> Samples {
    if matches!(layout.compression, Compression::LogLuv(_))
        || matches!(layout.turn, ColourTransform::Ycbcr(_))
    {
        return layout.blank(size);
    }
    let len = usize::try_from(size.area()).unwrap_or(0) * layout.picks.len();
    let (bits, whole) = (layout.bits, layout.absent as u64);
    let indices = matches!(layout.turn, ColourTransform::Palette(_) | ColourTransform::Index);
    let samples = match (layout.kind, bits) {
        (SampleFormat::Unsigned, ..=8) if indices => Samples::U8(vec![whole as u8; len]),
        (SampleFormat::Unsigned, ..=16) if indices => Samples::U16(vec![whole as u16; len]),
        (SampleFormat::Unsigned, ..=8) => Samples::U8(vec![narrow(whole, bits); len]),
        (SampleFormat::Unsigned, ..=16) => Samples::U16(vec![wide(whole, bits); len]),
        (SampleFormat::Unsigned, ..=32) => Samples::U32(vec![whole as u32; len]),
        _ => {
            let mut values = vec![layout.absent as f32; len];
            finite(layout, &mut values);
            Samples::F32(values)
        }
    };
    turn(layout, samples)
}

/// Scales 1–8 bits to 8: all ones become 255.
#[expect(clippy::cast_possible_truncation, reason = "a share of 255")]
fn narrow(value: u64, bits: u8) -> u8 {
    let most = (1u64 << bits) - 1;
    ((value * 255 + most / 2) / most) as u8
}

/// Scales 9–16 bits to 16 by repeating the upper bits below: the high byte is that of the file, and all ones stay all
/// ones.
#[expect(clippy::cast_possible_truncation, reason = "so many bits")]
fn wide(value: u64, bits: u8) -> u16 {
    (value << (16 - bits) | value >> (2 * bits - 16)) as u16
}

/// A table of the `N` samples of each byte value, times `scale`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "places of the table are bytes"
)]
const fn spread_table<const N: usize>(scale: u8) -> [[u8; N]; 256] {
    let bits = 8 / N;
    let mask = u8::MAX >> (8 - bits);
    let mut table = [[0; N]; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut place = 0;
        while place < N {
            table[byte][place] = (byte as u8 >> (8 - bits * (place + 1)) & mask) * scale;
            place += 1;
        }
        byte += 1;
    }
    table
}

/// Rows of stored samples, cropped to the wanted pixels.
struct StoredRows<'a> {
    layout: &'a BlockLayout,
    order: ByteOrder,
    /// Pixels per row.
    pixels: usize,
    /// Number of output samples.
    count: usize,
}

impl StoredRows<'_> {
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        reason = "single precision is what there is"
    )]
    fn read<'b>(&self, rows: impl Iterator<Item = &'b [u8]>) -> Samples {
        let indices = matches!(
            self.layout.turn,
            ColourTransform::Palette(_) | ColourTransform::Index
        );
        let bits = self.layout.bits;
        let samples = match (self.layout.kind, bits, self.order) {
            _ if self.layout.complex => Samples::F32(self.magnitudes(rows)),
            (SampleFormat::Unsigned, 8, _) => Samples::U8(self.bytes(rows)),
            (SampleFormat::Unsigned, 1, _) if indices => Samples::U8(self.spread::<8, 1>(rows)),
            (SampleFormat::Unsigned, 2, _) if indices => Samples::U8(self.spread::<4, 1>(rows)),
            (SampleFormat::Unsigned, 4, _) if indices => Samples::U8(self.spread::<2, 1>(rows)),
            (SampleFormat::Unsigned, 1, _) => Samples::U8(self.spread::<8, 255>(rows)),
            (SampleFormat::Unsigned, 2, _) => Samples::U8(self.spread::<4, 85>(rows)),
            (SampleFormat::Unsigned, 4, _) => Samples::U8(self.spread::<2, 17>(rows)),
            (SampleFormat::Unsigned, 3..=7, _) => {
                Samples::U8(self.bits(rows, |v| if indices { v as u8 } else { narrow(v, bits) }))
            }
            (SampleFormat::Unsigned, 16, ByteOrder::Little) => {
                Samples::U16(self.gather(rows, u16::from_le_bytes))
            }
            (SampleFormat::Unsigned, 16, ByteOrder::Big) => {
                Samples::U16(self.gather(rows, u16::from_be_bytes))
            }
            (SampleFormat::Unsigned, 9..=15, _) => {
                Samples::U16(self.bits(rows, |v| if indices { v as u16 } else { wide(v, bits) }))
            }
            (SampleFormat::Unsigned, 32, ByteOrder::Little) => {
                Samples::U32(self.gather(rows, u32::from_le_bytes))
            }
            (SampleFormat::Unsigned, 32, ByteOrder::Big) => {
                Samples::U32(self.gather(rows, u32::from_be_bytes))
            }
            (SampleFormat::Unsigned, 17..=31, _) => Samples::U32(self.bits(rows, |v| v as u32)),
            (SampleFormat::Unsigned, ..) => Samples::F32(self.bits(rows, |v| v as f32)),
            (SampleFormat::Signed, ..) => {
                let spare = 64 - u32::from(bits.clamp(1, 64));
                Samples::F32(self.bits(rows, |v| ((v << spare).cast_signed() >> spare) as f32))
            }
            (SampleFormat::Float, 32, ByteOrder::Little) => {
                Samples::F32(self.gather(rows, f32::from_le_bytes))
            }
            (SampleFormat::Float, 32, ByteOrder::Big) => Samples::F32(self.gather(rows, f32::from_be_bytes)),
            (SampleFormat::Float, 16, _) => Samples::F32(self.bits(rows, |v| floats::small(v as u32, 10, 5))),
            (SampleFormat::Float, 24, _) => Samples::F32(self.bits(rows, |v| floats::small(v as u32, 16, 7))),
            (SampleFormat::Float, ..) => Samples::F32(self.bits(rows, |v| f64::from_bits(v) as f32)),
        };
        match samples {
            Samples::F32(mut values) => {
                finite(self.layout, &mut values);
                Samples::F32(values)
            }
            other => other,
        }
    }

    /// Whether every stored channel is output, in the order of storage.
    fn all(&self) -> bool {
        self.layout.picks.iter().copied().eq(0..self.layout.stored)
    }

    /// Samples of one byte.
    fn bytes<'b>(&self, rows: impl Iterator<Item = &'b [u8]>) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.count);
        rows.for_each(|row| match self.all() {
            true => out.extend_from_slice(row),
            false => self.pick(row, |byte| byte, &mut out),
        });
        out
    }

    /// Samples of whole bytes.
    fn gather<'b, const N: usize, T: Copy + Default>(
        &self,
        rows: impl Iterator<Item = &'b [u8]>,
        value: impl Fn([u8; N]) -> T + Copy,
    ) -> Vec<T> {
        let mut out = Vec::with_capacity(self.count);
        rows.for_each(|row| self.pick(row.as_chunks::<N>().0, value, &mut out));
        out
    }

    /// Samples of 1, 2 or 4 bits, `N` per byte, most significant bits first; times `SCALE`.
    fn spread<'b, const N: usize, const SCALE: u8>(&self, rows: impl Iterator<Item = &'b [u8]>) -> Vec<u8> {
        let table = const { &spread_table::<N>(SCALE) };
        let spread = |byte: &u8| table.get(usize::from(*byte)).copied().unwrap_or([0; N]);
        let wanted = self.pixels * self.layout.stored;
        if self.all() && wanted.is_multiple_of(N) {
            let mut out = Vec::with_capacity(self.count / N);
            rows.for_each(|row| out.extend(row.iter().map(spread)));
            return out.into_flattened();
        }
        let mut out = Vec::with_capacity(self.count);
        let mut line = Vec::with_capacity(wanted + N);
        for row in rows {
            line.clear();
            line.extend(row.iter().map(spread));
            let line = line.as_flattened();
            let line = line.get(..wanted).unwrap_or(line);
            match self.all() {
                true => out.extend_from_slice(line),
                false => self.pick(line, |value| value, &mut out),
            }
        }
        out
    }

    /// Samples of any number of bits, most significant first; those of whole bytes are in file order.
    fn bits<'b, T: Copy + Default>(
        &self,
        rows: impl Iterator<Item = &'b [u8]>,
        value: impl Fn(u64) -> T,
    ) -> Vec<T> {
        let bits = usize::from(self.layout.bits);
        let number = |row: &[u8], index: usize| {
            let (start, end) = (index * bits, (index + 1) * bits);
            if bits.is_multiple_of(8) {
                return self
                    .order
                    .number(row.get(start / 8..end / 8).unwrap_or_default(), 8);
            }
            let bytes = row.get(start / 8..end.div_ceil(8)).unwrap_or_default();
            let whole = bytes.iter().fold(0u128, |all, byte| all << 8 | u128::from(*byte));
            let number = whole >> (end.div_ceil(8) * 8 - end);
            u64::try_from(number & (u128::MAX >> (128 - bits))).unwrap_or(0)
        };
        let mut out = Vec::with_capacity(self.count);
        let mut line = Vec::with_capacity(self.pixels * self.layout.stored);
        for row in rows {
            line.clear();
            line.extend((0..self.pixels * self.layout.stored).map(|index| value(number(row, index))));
            self.pick(&line, |value| value, &mut out);
        }
        out
    }

    /// The magnitudes of complex samples.
    fn magnitudes<'b>(&self, rows: impl Iterator<Item = &'b [u8]>) -> Vec<f32> {
        let bytes = usize::from(self.layout.bits / 8);
        let magnitude = |sample: &[u8]| floats::magnitude(sample, self.layout.kind, self.order);
        let mut out = Vec::with_capacity(self.count);
        for row in rows {
            let line: Vec<f32> = row.chunks_exact(bytes.max(1)).map(magnitude).collect();
            self.pick(&line, |value| value, &mut out);
        }
        out
    }

    /// Appends the output channels of a row to `out`.
    #[inline(always)]
    fn pick<S: Copy, T: Copy + Default>(&self, row: &[S], value: impl Fn(S) -> T + Copy, out: &mut Vec<T>) {
        let stored = self.layout.stored;
        match *self.layout.picks {
            _ if self.all() => out.extend(row.iter().map(|sample| value(*sample))),
            [0, 1, 2] if stored == 4 => {
                let start = out.len();
                out.resize(start + row.len() / 4 * 3, T::default());
                let to = out.get_mut(start..).unwrap_or_default();
                for (to, [r, g, b, _]) in to.as_chunks_mut::<3>().0.iter_mut().zip(row.as_chunks().0) {
                    *to = [value(*r), value(*g), value(*b)];
                }
            }
            [only] => out.extend(row.iter().skip(only).step_by(stored).map(|sample| value(*sample))),
            ref picks => {
                for pixel in row.chunks_exact(stored) {
                    out.extend(
                        picks
                            .iter()
                            .filter_map(|pick| pixel.get(*pick))
                            .map(|sample| value(*sample)),
                    );
                }
            }
        }
    }
}

/// Replaces NaN and infinities.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the range of single precision is cut to"
)]
pub fn finite(layout: &BlockLayout, values: &mut [f32]) {
    if all_finite(values) {
        return;
    }
    let end = |value: f64| (value as f32).clamp(f32::MIN, f32::MAX);
    let ranges = layout.meaning.ranges.iter();
    let ranges: Vec<(f32, f32)> = ranges.map(|r| (end(r.0), end(r.1))).collect();
    for pixel in values.chunks_exact_mut(layout.picks.len().max(1)) {
        for (value, (low, high)) in pixel.iter_mut().zip(&ranges) {
            if !value.is_finite() {
                *value = if *value == f32::INFINITY { *high } else { *low };
            }
        }
    }
}

/// Applies the colour transform to interleaved output channels.
fn turn(layout: &BlockLayout, samples: Samples) -> Samples {
    let colours = layout.colour_picks();
    let channels = layout.picks.len().max(1);
    match (&layout.turn, samples) {
        (ColourTransform::Keep | ColourTransform::Index, samples) => samples,
        (ColourTransform::Invert, Samples::U8(mut v)) => {
            each(&mut v, channels, colours, |v| *v = !*v);
            Samples::U8(v)
        }
        (ColourTransform::Invert, Samples::U16(mut v)) => {
            each(&mut v, channels, colours, |v| *v = !*v);
            Samples::U16(v)
        }
        (ColourTransform::Invert, Samples::U32(mut v)) => {
            let most = u32::MAX >> (32 - u32::from(layout.bits.clamp(1, 32)));
            each(&mut v, channels, colours, |v| *v = most.saturating_sub(*v));
            Samples::U32(v)
        }
        (ColourTransform::Invert, Samples::F32(mut v)) => {
            let (low, high) = layout.meaning.ranges.first().copied().unwrap_or((0.0, 1.0));
            #[expect(
                clippy::cast_possible_truncation,
                reason = "ends of a range of single precision"
            )]
            each(&mut v, channels, colours, |v| {
                *v = (low + high - f64::from(*v)) as f32
            });
            Samples::F32(v)
        }
        (ColourTransform::Palette(table), Samples::U8(v)) => {
            paint(layout, table, v.into_iter().map(u16::from))
        }
        (ColourTransform::Palette(table), Samples::U16(v)) => paint(layout, table, v.into_iter()),
        (ColourTransform::Ycbcr(ycbcr), Samples::U8(mut v)) => {
            for pixel in v.chunks_exact_mut(channels) {
                if let Some(pixel) = pixel.first_chunk_mut::<3>() {
                    *pixel = ycbcr.pixel(*pixel);
                }
            }
            Samples::U8(v)
        }
        (ColourTransform::Lab, Samples::U8(mut v)) => {
            signed(&mut v, channels, |v| *v ^= 0x80);
            Samples::U8(v)
        }
        (ColourTransform::Lab, Samples::U16(mut v)) => {
            signed(&mut v, channels, |v| *v ^= 0x8000);
            Samples::U16(v)
        }
        (ColourTransform::IccLab, Samples::U16(mut v)) => {
            // 0xff00 and above become 0xffff
            let light =
                |v: &mut u16| *v = u16::try_from((u32::from(*v) * 257 + 128) >> 8).unwrap_or(u16::MAX);
            v.iter_mut().step_by(channels).for_each(light);
            Samples::U16(v)
        }
        (_, samples) => samples,
    }
}

/// The colours of every pixel, without alpha.
fn each<T>(samples: &mut [T], channels: usize, colours: usize, change: impl Fn(&mut T)) {
    if channels == colours {
        return samples.iter_mut().for_each(change);
    }
    for pixel in samples.chunks_exact_mut(channels) {
        pixel.iter_mut().take(colours).for_each(&change);
    }
}

/// a* and b* of every pixel.
fn signed<T>(samples: &mut [T], channels: usize, change: impl Fn(&mut T)) {
    for pixel in samples.chunks_exact_mut(channels) {
        pixel.iter_mut().skip(1).take(2).for_each(&change);
    }
}

/// Maps indices to colours; alpha, which has as many bits as an index, is scaled to 8.
fn paint(layout: &BlockLayout, table: &[[u8; 3]], indices: impl ExactSizeIterator<Item = u16>) -> Samples {
    let colour = |index: u16| table.get(usize::from(index)).copied().unwrap_or_default();
    if layout.picks.len() == 1 {
        return Samples::U8(indices.map(colour).collect::<Vec<_>>().into_flattened());
    }
    let opacity = |v: u16| match layout.bits {
        bits @ ..=8 => narrow(v.into(), bits),
        bits => wide(v.into(), bits.min(16)).to_be_bytes()[0],
    };
    let mut out = Vec::with_capacity(indices.len() * 2);
    for (place, value) in indices.enumerate() {
        if place.is_multiple_of(2) {
            out.extend(colour(value));
        } else {
            out.push(opacity(value));
        }
    }
    Samples::U8(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::Alpha;
    use crate::raster::Colour;
    use crate::raster::Meaning;

    /// Unsigned bytes, all of which are output.
    fn layout(stored: usize, colour: Colour) -> BlockLayout {
        let meaning = Meaning::bytes(colour, Alpha::None);
        BlockLayout {
            compression: Compression::None,
            reversed: false,
            order: ByteOrder::Little,
            kind: SampleFormat::Unsigned,
            bits: 8,
            complex: false,
            predictor: Predictor::None,
            stored,
            picks: (0..stored).collect(),
            turn: ColourTransform::Keep,
            meaning,
            separate: false,
            jpeg_ycbcr: false,
            tables: None,
            old_jpeg: None,
            shared: None,
            head: None,
            absent: 0.0,
            nodata: None,
            open: false,
        }
    }

    fn grey(kind: SampleFormat, bits: u8, order: ByteOrder) -> BlockLayout {
        BlockLayout {
            kind,
            bits,
            order,
            ..layout(1, Colour::Grey)
        }
    }

    fn bytes(samples: Result<Samples>) -> Vec<u8> {
        match samples.unwrap() {
            Samples::U8(v) => v,
            other => panic!("{other:?}"),
        }
    }

    fn floats(layout: &BlockLayout, plain: &[u8], width: u32) -> Vec<f32> {
        match unpack(layout, &mut plain.to_vec(), width, Size::new(width, 1)).unwrap() {
            Samples::F32(v) => v,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn differences_are_summed_by_row_and_channel() {
        for channels in 1..=6 {
            let layout = BlockLayout {
                predictor: Predictor::Difference,
                ..layout(channels, Colour::Grey)
            };
            let line = 5 * channels;
            let mut plain: Vec<u8> = (0..2 * line).map(|i| (i * 71) as u8).collect();
            let mut sums = plain.clone();
            for i in 0..sums.len() {
                if i % line >= channels {
                    sums[i] = sums[i].wrapping_add(sums[i - channels]);
                }
            }
            let got = bytes(unpack(&layout, &mut plain, 5, Size::new(3, 2)));
            let rows = [&sums[..3 * channels], &sums[line..line + 3 * channels]];
            assert_eq!(got, rows.concat());
        }
    }

    #[test]
    fn the_edge_is_cropped_and_bytes_after_it_may_be_missing() {
        let grey = layout(1, Colour::Grey);
        let mut plain: Vec<u8> = (0..12).collect();
        let got = bytes(unpack(&grey, &mut plain, 4, Size::new(2, 3)));
        assert_eq!(got, [0, 1, 4, 5, 8, 9]);
        let got = bytes(unpack(&grey, &mut plain[..10], 4, Size::new(2, 3)));
        assert_eq!(got, [0, 1, 4, 5, 8, 9]);
        assert!(matches!(
            unpack(&grey, &mut plain[..9], 4, Size::new(2, 3)),
            Err(Error::Corrupt(_))
        ));
    }

    #[test]
    fn extra_channels_are_dropped_and_alpha_is_found() {
        let unpacked = |stored, picks: &[usize], pixels: u32| {
            let layout = BlockLayout {
                picks: picks.to_vec(),
                ..layout(stored, Colour::Rgb)
            };
            let mut plain: Vec<u8> = (0..pixels as u8 * stored as u8).collect();
            bytes(unpack(&layout, &mut plain, pixels, Size::new(pixels, 1)))
        };
        assert_eq!(unpacked(5, &[0, 1, 2], 2), [0, 1, 2, 5, 6, 7]);
        assert_eq!(unpacked(5, &[0, 1, 2, 4], 2), [0, 1, 2, 4, 5, 6, 7, 9]);
        assert_eq!(unpacked(4, &[0, 1, 2], 2), [0, 1, 2, 4, 5, 6]);
        assert_eq!(unpacked(3, &[1], 3), [1, 4, 7]);
    }

    #[test]
    fn white_is_zero_is_inverted_but_alpha_is_not() {
        let turned = |stored, alpha| BlockLayout {
            turn: ColourTransform::Invert,
            meaning: Meaning::bytes(Colour::Grey, alpha),
            ..layout(stored, Colour::Grey)
        };
        let got = bytes(unpack(
            &turned(1, Alpha::None),
            &mut [0, 100, 255],
            3,
            Size::new(3, 1),
        ));
        assert_eq!(got, [255, 155, 0]);
        let alpha = turned(2, Alpha::Straight);
        let got = bytes(unpack(&alpha, &mut [0, 9, 255, 8], 2, Size::new(2, 1)));
        assert_eq!(got, [255, 9, 0, 8]);
    }

    #[test]
    fn samples_below_8_bits_are_scaled_and_rows_start_on_a_byte() {
        let unpacked = |bits, plain: &[u8], width| {
            let layout = grey(SampleFormat::Unsigned, bits, ByteOrder::Big);
            bytes(unpack(&layout, &mut plain.to_vec(), width, Size::new(width, 2)))
        };
        assert_eq!(
            unpacked(1, &[0b1010_0000, 0b0111_1111], 3),
            [255, 0, 255, 0, 255, 255]
        );
        assert_eq!(
            unpacked(2, &[0b00_01_10_11, 0b11_000000, 0, 0], 5),
            [0, 85, 170, 255, 255, 0, 0, 0, 0, 0]
        );
        assert_eq!(
            unpacked(4, &[0x0f, 0x80, 0x12, 0x30], 3),
            [0, 255, 136, 17, 34, 51]
        );
        // 3 bits: 0, 3, 7 and 1, 4, 6; 255 / 7 = 36.4.
        assert_eq!(
            unpacked(3, &[0x0f, 0x80, 0x33, 0x00], 3),
            [0, 109, 255, 36, 146, 219]
        );
    }

    #[test]
    fn nine_to_sixteen_bits_fill_two_bytes_and_keep_their_upper_eight() {
        let unpacked = |bits, order, plain: &[u8], width| {
            let layout = grey(SampleFormat::Unsigned, bits, order);
            match unpack(&layout, &mut plain.to_vec(), width, Size::new(width, 1)).unwrap() {
                Samples::U16(v) => v,
                other => panic!("{other:?}"),
            }
        };
        for order in [ByteOrder::Little, ByteOrder::Big] {
            assert_eq!(unpacked(12, order, &[0xab, 0xcf, 0xff], 2), [0xabca, 0xffff]);
            assert_eq!(unpacked(10, order, &[0xff, 0xc0], 1), [0xffff]);
        }
        assert_eq!(unpacked(16, ByteOrder::Little, &[0x34, 0x12], 1), [0x1234]);
        assert_eq!(unpacked(16, ByteOrder::Big, &[0x34, 0x12], 1), [0x3412]);
    }

    #[test]
    fn integers_of_any_width_and_sign_are_read_in_the_order_of_the_file() {
        let unpacked = |bits, order, plain: &[u8]| match unpack(
            &grey(SampleFormat::Unsigned, bits, order),
            &mut plain.to_vec(),
            1,
            Size::new(1, 1),
        ) {
            Ok(Samples::U32(v)) => v[0],
            other => panic!("{other:?}"),
        };
        assert_eq!(unpacked(32, ByteOrder::Little, &[1, 2, 3, 4]), 0x0403_0201);
        assert_eq!(unpacked(32, ByteOrder::Big, &[1, 2, 3, 4]), 0x0102_0304);
        assert_eq!(unpacked(24, ByteOrder::Little, &[1, 2, 3]), 0x0003_0201);
        assert_eq!(unpacked(24, ByteOrder::Big, &[1, 2, 3]), 0x0001_0203);
        assert_eq!(unpacked(20, ByteOrder::Big, &[0xab, 0xcd, 0xe0]), 0x000a_bcde);
        let long = grey(SampleFormat::Unsigned, 64, ByteOrder::Big);
        assert_eq!(floats(&long, &[0, 0, 0, 1, 0, 0, 0, 0], 1), [4_294_967_296.0]);
        assert_eq!(
            floats(
                &grey(SampleFormat::Unsigned, 33, ByteOrder::Little),
                &[0x80, 0, 0, 0, 0],
                1
            ),
            [4_294_967_296.0]
        );
        assert_eq!(
            floats(
                &grey(SampleFormat::Signed, 8, ByteOrder::Big),
                &[0x80, 0xff, 5],
                3
            ),
            [-128.0, -1.0, 5.0]
        );
        assert_eq!(
            floats(
                &grey(SampleFormat::Signed, 16, ByteOrder::Little),
                &[0, 0x80, 1, 0],
                2
            ),
            [-32768.0, 1.0]
        );
        assert_eq!(
            floats(&grey(SampleFormat::Signed, 32, ByteOrder::Big), &[0xff; 4], 1),
            [-1.0]
        );
        assert_eq!(
            floats(&grey(SampleFormat::Signed, 64, ByteOrder::Big), &[0xff; 8], 1),
            [-1.0]
        );
    }

    #[test]
    fn floating_point_of_any_width_is_read() {
        let half = grey(SampleFormat::Float, 16, ByteOrder::Big);
        // 1, -2, 65504, the smallest number, 1/3.
        assert_eq!(
            floats(&half, &[0x3c, 0, 0xc0, 0, 0x7b, 0xff, 0, 1, 0x35, 0x55], 5),
            [1.0, -2.0, 65504.0, 5.960_464_5e-8, 0.333_251_95]
        );
        let three = grey(SampleFormat::Float, 24, ByteOrder::Little);
        // 1.5 and the smallest number 2^-78.
        assert_eq!(
            floats(&three, &[0x00, 0x80, 0x3f, 1, 0, 0], 2),
            [1.5, 3.308_722_5e-24]
        );
        let double = grey(SampleFormat::Float, 64, ByteOrder::Little);
        assert_eq!(floats(&double, &(-0.1f64).to_le_bytes(), 1), [-0.1]);
    }

    #[test]
    fn complex_samples_are_their_magnitude() {
        let layout = BlockLayout {
            complex: true,
            ..grey(SampleFormat::Signed, 32, ByteOrder::Big)
        };
        let plain = [[3i16, -4], [-30, 40], [0, 7], [1, 1]].map(|pair| pair.map(i16::to_be_bytes));
        let found = unpack(
            &layout,
            plain.as_flattened().as_flattened().to_vec().as_mut(),
            2,
            Size::new(1, 2),
        );
        assert_eq!(found.unwrap(), Samples::F32(vec![5.0, 7.0]));
    }

    #[test]
    fn nan_and_infinity_become_the_ends_of_the_range() {
        let layout = BlockLayout {
            meaning: Meaning {
                ranges: vec![(-1.0, 2.0)],
                ..Meaning::bytes(Colour::Grey, Alpha::None)
            },
            ..grey(SampleFormat::Float, 64, ByteOrder::Big)
        };
        let values = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, 0.5];
        let plain: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
        assert_eq!(floats(&layout, &plain, 5), [-1.0, 2.0, -1.0, 2.0, 0.5]);
    }

    #[test]
    fn indices_become_colours() {
        let table: Box<[[u8; 3]]> = (0..16).map(|i| [i, i + 100, i + 200]).collect();
        let layout = BlockLayout {
            bits: 4,
            turn: ColourTransform::Palette(table.clone()),
            ..layout(1, Colour::Rgb)
        };
        let got = bytes(unpack(&layout, &mut [0x3f], 2, Size::new(2, 1)));
        assert_eq!(got, [3, 103, 203, 15, 115, 215]);
        let alpha = BlockLayout {
            stored: 2,
            picks: vec![0, 1],
            meaning: Meaning::bytes(Colour::Rgb, Alpha::Straight),
            ..layout
        };
        assert_eq!(
            bytes(unpack(&alpha, &mut [0x3f], 1, Size::new(1, 1))),
            [3, 103, 203, 255]
        );
    }

    #[test]
    fn signs_of_a_and_b_become_an_offset() {
        let lab = BlockLayout {
            turn: ColourTransform::Lab,
            ..layout(3, Colour::Lab)
        };
        assert_eq!(
            bytes(unpack(&lab, &mut [200, 0x80, 5], 1, Size::new(1, 1))),
            [200, 0, 133]
        );
        let icc = BlockLayout {
            bits: 16,
            order: ByteOrder::Big,
            turn: ColourTransform::IccLab,
            ..layout(3, Colour::Lab)
        };
        let got = unpack(&icc, &mut [0xff, 0, 0x80, 0, 0x7f, 0], 1, Size::new(1, 1));
        assert_eq!(got.unwrap(), Samples::U16(vec![0xffff, 0x8000, 0x7f00]));
    }

    #[test]
    fn planes_are_interleaved_and_then_converted() {
        let layout = BlockLayout {
            turn: ColourTransform::Lab,
            separate: true,
            ..layout(3, Colour::Lab)
        };
        let plane = |index, data: &mut [u8]| unpack(&layout.plane(index), data, 2, Size::new(2, 1)).unwrap();
        let planes = vec![
            plane(0, &mut [1, 2]),
            plane(1, &mut [3, 4]),
            plane(2, &mut [5, 6]),
        ];
        assert_eq!(bytes(weave(&layout, planes)), [1, 131, 133, 2, 132, 134]);
        let unlike = vec![Samples::U8(vec![1, 2]), Samples::U8(vec![1])];
        assert!(weave(&layout, unlike).is_err());
        assert!(weave(&layout, vec![Samples::U8(vec![1]), Samples::U16(vec![1])]).is_err());
    }
}
