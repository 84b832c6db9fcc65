//! Reads windows of a JPEG file at a cost proportional to the window, by an index into its only scan and small
//! streams built from it.
//!
//! Supports baseline and extended sequential Huffman coding with all components in one scan. The first window reads
//! through the scan once, without transforms, and records the position and the DC predictors of every few MCUs; the
//! MCUs of a window are then copied, coefficient by coefficient, into a small complete stream that the library
//! decodes, scaled if required. Damage is handled as in libjpeg.

use crate::codec::jpeg;
use crate::codec::jpeg::bits::BitReader;
use crate::codec::jpeg::bits::Marker;
use crate::codec::jpeg::blocks;
use crate::codec::jpeg::blocks::CoefficientSink;
use crate::codec::jpeg::blocks::CoefficientWriter;
use crate::codec::jpeg::blocks::McuBlock;
use crate::codec::jpeg::blocks::Skip;
use crate::codec::jpeg::huffman;
use crate::codec::jpeg::huffman::HuffmanTables;
use crate::codec::jpeg::huffman::WriteTables;
use crate::codec::jpeg::stream;
use crate::codec::jpeg::stream::Frame;
use crate::codec::jpeg::stream::MarkerSegments;
use crate::codec::read_at::ReadAt;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::raster::Raster;
use crate::raster::Samples;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::Mutex;
use std::sync::PoisonError;

/// How often the library can halve the size while it decodes.
pub const HALVINGS: u32 = if cfg!(feature = "native") { 3 } else { 0 };

/// Largest category of DC differences (T.81 Table F.1, for 12 bits as well).
pub const CATEGORIES: u8 = 15;

/// Approximate pixels between two entries of the index.
const STEP: u32 = 256;

/// Restart markers at most this many pixels apart serve as the index; otherwise the codes are read.
const NEAR: u32 = 1024;

/// Bytes per read when the whole scan is read.
const CHUNK: usize = 256 << 10;

/// Bytes per read for a row of a window, if the index does not give its length.
const ROW: usize = 4 << 10;

/// Maximum number of blocks of an MCU (T.81 B.2.3).
const MAX_BLOCKS: usize = 10;

static OWN: LazyLock<WriteTables> = LazyLock::new(WriteTables::new);

/// A frame with one scan.
#[derive(Debug)]
pub struct Scan {
    size: Size,
    /// Width and height of an MCU in pixels.
    mcu: Size,
    /// Columns and rows of MCUs.
    grid: Size,
    blocks: Vec<McuBlock>,
    /// A block that is added to every MCU of small streams, all zeros.
    spare: Option<McuBlock>,
    /// MCUs between restart markers; 0 for none.
    interval: u64,
    /// The start of the entropy-coded data.
    start: u64,
    /// The head of small streams: up to the size in the frame header, and the part after it.
    head: (Vec<u8>, Vec<u8>),
    index: Mutex<Option<Arc<McuIndex>>>,
}

/// The positions of MCUs.
#[derive(Debug)]
struct McuIndex {
    /// MCUs between two entries.
    step: u64,
    /// Entries end where the file ends or nothing more can be decoded.
    entries: Vec<EntryPoint>,
}

/// The decoder state at the start of an MCU.
#[derive(Clone, Copy, Debug)]
struct EntryPoint {
    /// The position of its first code: bits 0 to 2 are the bits of the byte already consumed, bit 3 marks that
    /// nothing can be decoded before the next restart marker, and from bit 4 on is the byte's offset in the file.
    at: u64,
    /// The DC predictors by component.
    dc: [i16; 4],
}

impl EntryPoint {
    fn new(bits: &BitReader, dry: bool, dc: [i16; 4]) -> EntryPoint {
        let (byte, gone) = bits.place();
        let at = byte << 4 | u64::from(dry) << 3 | u64::from(gone);
        EntryPoint { at, dc }
    }

    fn byte(self) -> u64 {
        self.at >> 4
    }

    fn is_dry(self) -> bool {
        self.at & 8 != 0
    }

    fn gone(self) -> u32 {
        u32::from(self.at.to_le_bytes()[0] & 7)
    }
}

/// The segments before the scan.
struct Preamble<'a> {
    tables: HuffmanTables,
    /// MCUs between restart markers; 0 for none.
    interval: u64,
    /// Number, sampling factors and quantisation table of each component.
    components: &'a [[u8; 3]],
    /// Number and Huffman tables of each component of the scan.
    selectors: Vec<[u8; 2]>,
    /// The start of the scan.
    start: u64,
    /// The start of the stream for the library: segments that are copied.
    kept: Vec<u8>,
}

impl<'a> Preamble<'a> {
    /// Reads the segments; `None` if something is missing that would have to be guessed.
    fn read(head: &'a [u8], frame: &Frame) -> Option<Preamble<'a>> {
        let count = usize::from(frame.components);
        let mut all = Preamble {
            tables: HuffmanTables::default(),
            interval: 0,
            components: &[],
            selectors: Vec::new(),
            start: 0,
            kept: vec![0xff, stream::SOI],
        };
        if !frame.tables {
            huffman::define(huffman::STANDARD.get(4..)?, &mut all.tables, CATEGORIES)?;
        }
        for segment in MarkerSegments::of(head).ok()? {
            let segment = segment.ok()?;
            match segment.marker {
                stream::DHT => huffman::define(segment.payload, &mut all.tables, CATEGORIES)?,
                stream::DRI => all.interval = u64::from(u16::from_be_bytes(*segment.payload.first_chunk()?)),
                stream::DQT => all.kept.extend_from_slice(segment.whole),
                0xc0 | 0xc1 => all.components = segment.payload.get(6..6 + 3 * count)?.as_chunks().0,
                stream::SOS => {
                    all.start = (head.len() - segment.rest.len()) as u64;
                    let (number, rest) = segment.payload.split_first()?;
                    if usize::from(*number) != count || rest.len() < 2 * count + 3 {
                        return None;
                    }
                    all.selectors = rest.get(..2 * count)?.as_chunks::<2>().0.to_vec();
                }
                // libjpeg ignores a shorter one
                _ if segment.is_jfif() && segment.payload.len() >= 14 => {
                    all.kept.extend_from_slice(stream::JFIF);
                }
                _ => {
                    if let Some(transform) = segment.adobe() {
                        all.kept.extend_from_slice(stream::ADOBE);
                        all.kept.push(transform);
                    }
                }
            }
        }
        Some(all)
    }

    /// Blocks of a component per MCU, horizontally and vertically. A single component is coded block by block (T.81
    /// A.2.2).
    fn sampling(&self, component: &[u8; 3]) -> Size {
        if self.components.len() == 1 {
            return Size::new(1, 1);
        }
        Size::new(u32::from(component[1] >> 4), u32::from(component[1] & 15))
    }

    /// The blocks of an MCU, which has at most `most` blocks horizontally and vertically.
    fn blocks(&self, most: Size) -> Option<Vec<McuBlock>> {
        let mut blocks = Vec::new();
        for [id, selector] in &self.selectors {
            let component = self.components.iter().position(|[known, ..]| known == id)?;
            let factors = self.sampling(self.components.get(component)?);
            let table = |class: usize, number: u8| self.tables.get(class)?.get(usize::from(number))?.clone();
            let (dc, ac) = (table(0, selector >> 4)?, table(1, selector & 15)?);
            if !(1..=4).contains(&factors.w) || !(1..=4).contains(&factors.h) {
                return None;
            }
            let block = McuBlock {
                component,
                dc,
                ac,
                is_full_size: factors == most,
            };
            blocks.extend((0..factors.area()).map(|_| block.clone()));
        }
        let named = |n: usize| blocks.iter().any(|block| block.component == n);
        let complete = (0..self.components.len()).all(named) && !self.components.is_empty();
        (complete && blocks.len() <= MAX_BLOCKS).then_some(blocks)
    }

    /// The headers of the stream for the library, before and after the size of the picture: with our tables, and an
    /// empty third component after two.
    fn head(mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        let mut components = self.components.to_vec();
        if let [first, second] = self.components {
            let mut ids = 0..=u8::MAX;
            let id = ids.find(|id| ![first[0], second[0]].contains(id))?;
            components.push([id, first[1], first[2]]);
            self.selectors.push([id, 0]);
        }
        let number = u8::try_from(components.len()).ok()?;
        let mut after = vec![number];
        for component in &components {
            let Size { w, h } = self.sampling(component);
            after.extend_from_slice(&[component[0], u8::try_from(w << 4 | h).ok()?, component[2]]);
        }
        after.extend_from_slice(&[0xff, stream::SOS, 0, 6 + 2 * number, number]);
        after.extend(self.selectors.iter().flat_map(|[id, _]| [*id, 0]));
        after.extend_from_slice(&[0, 63, 0]);
        let mut before = self.kept;
        before.extend_from_slice(&OWN.segment);
        before.extend_from_slice(&[0xff, 0xc1, 0, 8 + 3 * number, 8]);
        Some((before, after))
    }
}

impl Scan {
    /// Reads the head of a stream, up to its first scan header. `None` if it uses another coding, or something is
    /// missing that would have to be guessed.
    pub fn of(head: &[u8]) -> Option<Scan> {
        let frame = stream::frame(head).ok()?;
        jpeg::check(&frame)
            .is_ok()
            .then(|| Scan::of_frame(head, &frame))?
    }

    /// Indexes a scan of two components without subsampling, which the libraries reject: an empty third one is added.
    pub fn of_two(head: &[u8]) -> Option<Scan> {
        let frame = stream::frame(head).ok().filter(|frame| frame.components == 2)?;
        let three = Frame {
            components: 3,
            ..frame
        };
        jpeg::check(&three).ok()?;
        Scan::of_frame(head, &frame).filter(|scan| scan.blocks.len() == 2)
    }

    fn of_frame(head: &[u8], frame: &Frame) -> Option<Scan> {
        if frame.process > 1 || frame.bits != 8 {
            return None;
        }
        let described = Preamble::read(head, frame)?;
        let factors = described
            .components
            .iter()
            .map(|component| described.sampling(component));
        let most = factors.fold(Size::new(1, 1), |most, factors| {
            Size::new(most.w.max(factors.w), most.h.max(factors.h))
        });
        let blocks = described.blocks(most)?;
        let spare = blocks
            .first()
            .filter(|_| frame.components == 2)
            .map(|block| McuBlock {
                component: 2,
                ..block.clone()
            });
        let mcu = Size::new(most.w * 8, most.h * 8);
        Some(Scan {
            size: frame.size,
            mcu,
            grid: frame.size.grid(mcu),
            blocks,
            spare,
            interval: described.interval,
            start: described.start,
            head: described.head()?,
            index: Mutex::default(),
        })
    }

    /// The size of the picture after `halvings` halvings: sides are rounded up.
    pub fn size(&self, halvings: u32) -> Size {
        self.size.halved_up(halvings)
    }

    /// The samples of a window of the picture after `halvings` (at most [`HALVINGS`]) halvings, from the file of this
    /// scan. They equal those of [`jpeg::decode`] for the whole picture. `Outside` beyond the picture; `Io` and
    /// `Corrupt` if the file cannot be read or has become shorter.
    pub fn read(&self, from: &dyn ReadAt, rect: Rect, halvings: u32) -> Result<Raster> {
        let outside = || Error::Outside("no such window in the picture".into());
        let inside = Rect::of(self.size(halvings)).meet(rect) == Some(rect);
        if halvings > HALVINGS || !inside {
            return Err(outside());
        }
        let index = self.index(from)?;
        // one MCU around, since chroma is interpolated from its neighbours
        let range = |start: u32, end: u64, side: u32, count: u32| {
            let first = (u64::from(start) << halvings) / u64::from(side);
            let last = (end << halvings).div_ceil(u64::from(side)).saturating_add(1);
            let last = u32::try_from(last).unwrap_or(u32::MAX).min(count);
            let first = u32::try_from(first.saturating_sub(1))
                .unwrap_or(u32::MAX)
                .min(last);
            (first, last)
        };
        let (left, right) = range(rect.x, rect.right(), self.mcu.w, self.grid.w);
        let (top, bottom) = range(rect.y, rect.bottom(), self.mcu.h, self.grid.h);
        let cells = Rect::new(left, top, right - left, bottom - top);
        let (x, y) = (left * self.mcu.w, top * self.mcu.h);
        let (w, h) = (
            right.saturating_mul(self.mcu.w),
            bottom.saturating_mul(self.mcu.h),
        );
        let size = Size::new(w.min(self.size.w) - x, h.min(self.size.h) - y);
        let small = self.small(from, &index, cells, size, halvings)?;
        let raster = jpeg::decode_reduced(&small, size, halvings)?;
        // MCU sides are multiples of eight, so halvings are exact
        cut(
            raster,
            Rect::new(rect.x - (x >> halvings), rect.y - (y >> halvings), rect.w, rect.h),
        )
        .ok_or_else(outside)
    }

    /// Whether windows can be read without reading the whole scan first.
    pub fn is_indexed(&self) -> bool {
        self.index.try_lock().is_ok_and(|index| index.is_some())
    }

    /// The index, built at first use; concurrent requests wait.
    fn index(&self, from: &dyn ReadAt) -> Result<Arc<McuIndex>> {
        let mut index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = &*index {
            return Ok(index.clone());
        }
        Ok(index.insert(Arc::new(self.walk(from)?)).clone())
    }

    /// Reads through the scan.
    fn walk(&self, from: &dyn ReadAt) -> Result<McuIndex> {
        let mut bits = BitReader::new(from, self.start, CHUNK);
        let near = self.interval > 0 && self.interval <= u64::from(NEAR / self.mcu.w);
        if let Some(index) = near.then(|| self.by_markers(&mut bits)).flatten() {
            return Ok(index);
        }
        bits.seek(self.start, CHUNK);
        let index = self.by_codes(&mut bits);
        bits.failure().map_or(Ok(index), Err)
    }

    /// The index from restart markers; `None` if one is not at its expected position.
    fn by_markers(&self, bits: &mut BitReader) -> Option<McuIndex> {
        let step = self.interval;
        let mut entries = vec![EntryPoint::new(bits, false, [0; 4])];
        for n in 1..self.grid.area().div_ceil(step) {
            let wanted = Marker::Restart(u8::try_from((n - 1) & 7).ok()?);
            if bits.marker() != wanted {
                return None;
            }
            bits.pass();
            entries.push(EntryPoint::new(bits, false, [0; 4]));
        }
        entries.shrink_to_fit();
        Some(McuIndex { step, entries })
    }

    /// The index from codes.
    fn by_codes(&self, bits: &mut BitReader) -> McuIndex {
        let step = u64::from(STEP / self.mcu.w);
        let mut entries = Vec::new();
        let (mut last, mut dry) = ([0; 4], false);
        for n in 0..self.grid.area() {
            if !self.between(bits, n, &mut last, &mut dry) {
                break;
            }
            if n.is_multiple_of(step) {
                entries.push(EntryPoint::new(bits, dry, last));
            }
            if !dry {
                self.mcu(bits, &mut last, &mut Skip);
                dry = bits.is_dry();
            }
        }
        entries.shrink_to_fit();
        McuIndex { step, entries }
    }

    /// Prepares for MCU `n`: skips a restart marker if one is due. False if nothing more can be decoded.
    #[inline]
    fn between(&self, bits: &mut BitReader, n: u64, last: &mut [i16; 4], dry: &mut bool) -> bool {
        if self.interval == 0 {
            return !*dry;
        }
        if n > 0 && n.is_multiple_of(self.interval) {
            *last = [0; 4];
            let wanted = u8::try_from((n / self.interval - 1) & 7).unwrap_or(0);
            loop {
                match bits.marker() {
                    Marker::Other if *dry => return false,
                    Marker::Other => break,
                    Marker::Restart(found) => match found.wrapping_sub(wanted) & 7 {
                        // of a later interval: this one is lost
                        1 | 2 => break,
                        // of an earlier one
                        6 | 7 => bits.pass(),
                        _ => {
                            bits.pass();
                            *dry = false;
                            break;
                        }
                    },
                }
            }
        }
        true
    }

    /// Reads an MCU.
    #[inline]
    fn mcu(&self, bits: &mut BitReader, last: &mut [i16; 4], sink: &mut impl CoefficientSink) {
        for of in &self.blocks {
            blocks::read(bits, of, last, sink);
        }
    }

    /// A stream of this size with the MCUs in these cells of the grid.
    fn small(
        &self,
        from: &dyn ReadAt,
        index: &McuIndex,
        cells: Rect,
        size: Size,
        halvings: u32,
    ) -> Result<Vec<u8>> {
        let side = |pixels: u32| u16::try_from(pixels).unwrap_or(u16::MAX).to_be_bytes();
        let (before, after) = &self.head;
        let out = [before, &side(size.h)[..], &side(size.w), after].concat();
        let mut copy = CoefficientWriter::after(out, &OWN, halvings == 3);
        let mut bits = BitReader::new(from, self.start, ROW);
        for row in cells.y..cells.y + cells.h {
            let first = u64::from(row) * u64::from(self.grid.w) + u64::from(cells.x);
            let end = first + u64::from(cells.w);
            let (mut last, mut dry) = ([0; 4], false);
            let mut chunk = index.bytes(first, end).unwrap_or(ROW);
            let mut over = false;
            for n in first / index.step * index.step..end {
                if n.is_multiple_of(index.step) {
                    let entry = index.entry(n);
                    over = entry.is_none();
                    if let Some(entry) = entry {
                        (last, dry) = (entry.dc, entry.is_dry());
                        bits.seek(entry.byte(), chunk);
                        bits.peek();
                        bits.skip(entry.gone());
                        chunk = ROW;
                    }
                } else if !over {
                    over = !self.between(&mut bits, n, &mut last, &mut dry);
                }
                dry |= over;
                if n < first {
                    if !dry {
                        self.mcu(&mut bits, &mut last, &mut Skip);
                        dry = bits.is_dry();
                    }
                } else if dry {
                    self.blocks
                        .iter()
                        .chain(&self.spare)
                        .for_each(|block| copy.grey(block));
                } else {
                    self.mcu(&mut bits, &mut last, &mut copy);
                    self.spare.iter().for_each(|block| copy.grey(block));
                    dry = bits.is_dry();
                }
            }
        }
        match bits.failure() {
            Some(error) => Err(error),
            None => Ok(copy.finish()),
        }
    }
}

impl McuIndex {
    /// The last entry at or before MCU `n`; `None` if nothing more can be decoded.
    fn entry(&self, n: u64) -> Option<EntryPoint> {
        let place = usize::try_from(n / self.step).ok()?;
        self.entries.get(place).copied()
    }

    /// The byte range from the entry before one MCU to the entry after another, and a little more; `None` if unknown.
    fn bytes(&self, first: u64, end: u64) -> Option<usize> {
        let (from, to) = (self.entry(first)?, self.entry(end + self.step - 1)?);
        usize::try_from(to.byte().checked_sub(from.byte())? + 16).ok()
    }
}

/// A part of 8-bit samples; `None` if it exceeds the raster.
fn cut(raster: Raster, rect: Rect) -> Option<Raster> {
    let Samples::U8(samples) = &raster.samples else {
        return None;
    };
    if rect == Rect::of(raster.size) {
        return Some(raster);
    }
    Rect::of(raster.size)
        .meet(rect)
        .filter(|shared| *shared == rect)?;
    let channels = usize::from(raster.channels);
    let line = raster.size.w as usize * channels;
    let (left, wide) = (rect.x as usize * channels, rect.w as usize * channels);
    let mut out = Vec::with_capacity(wide * rect.h as usize);
    for row in samples
        .chunks_exact(line)
        .skip(rect.y as usize)
        .take(rect.h as usize)
    {
        out.extend_from_slice(row.get(left..left + wide)?);
    }
    Some(Raster {
        size: rect.size(),
        channels: raster.channels,
        samples: Samples::U8(out),
    })
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test pictures are small")]
mod tests {
    use super::*;
    use jpeg_encoder::ColorType;
    use jpeg_encoder::Encoder;
    use jpeg_encoder::SamplingFactor;
    use proptest::prelude::*;

    const ANY: Size = Size::new(65535, 65535);

    /// Content in every frequency, different in every channel.
    fn pixels(size: Size, channels: u32) -> Vec<u8> {
        let mut seed = 1u32;
        let value = |n: u32| {
            let (x, y, c) = (n / channels % size.w, n / channels / size.w, n % channels);
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let wave = (x * x / 40 + y * (3 + c)) % 256;
            ((wave * 3 + (x ^ y) % 64 + (seed >> 26)) / 5 + c * 20) as u8
        };
        (0..size.w * size.h * channels).map(value).collect()
    }

    struct Spec {
        size: (u32, u32),
        colours: ColorType,
        sampling: SamplingFactor,
        interval: u16,
        optimised: bool,
        quality: u8,
    }

    impl Default for Spec {
        fn default() -> Spec {
            Spec {
                size: (301, 157),
                colours: ColorType::Rgb,
                sampling: SamplingFactor::F_2_2,
                interval: 0,
                optimised: false,
                quality: 90,
            }
        }
    }

    fn encoded(kind: &Spec) -> Vec<u8> {
        let size = Size::new(kind.size.0, kind.size.1);
        let channels = match kind.colours {
            ColorType::Luma => 1,
            ColorType::Rgb => 3,
            _ => 4,
        };
        let mut stream = Vec::new();
        let mut encoder = Encoder::new(&mut stream, kind.quality);
        encoder.set_sampling_factor(kind.sampling);
        encoder.set_optimized_huffman_tables(kind.optimised);
        if kind.interval > 0 {
            encoder.set_restart_interval(kind.interval);
        }
        encoder
            .encode(
                &pixels(size, channels),
                size.w as u16,
                size.h as u16,
                kind.colours,
            )
            .unwrap();
        stream
    }

    /// The library's result for a whole stream, damaged or not.
    fn whole(stream: &[u8], halvings: u32) -> Result<Raster> {
        let ended = [stream, &[0xff, stream::EOI]].concat();
        jpeg::decode_reduced(&ended, ANY, halvings)
    }

    /// Windows of various positions and sizes, and the whole picture.
    fn windows(size: Size) -> Vec<Rect> {
        let at = |share: u32, side: u32| (side * share / 100).min(side - 1);
        let mut all = vec![Rect::of(size)];
        for (x, y, w, h) in [
            (0, 0, 20, 20),
            (13, 41, 7, 9),
            (45, 0, 55, 30),
            (77, 61, 23, 39),
            (99, 99, 1, 1),
        ] {
            let (x, y) = (at(x, size.w), at(y, size.h));
            let w = (size.w * w / 100).clamp(1, size.w - x);
            let h = (size.h * h / 100).clamp(1, size.h - y);
            all.push(Rect::new(x, y, w, h));
        }
        all
    }

    /// Whether every window equals that part of the whole picture.
    fn same(stream: &[u8]) -> std::result::Result<(), String> {
        let scan = Scan::of(stream).ok_or("cannot be indexed")?;
        for halvings in 0..=HALVINGS {
            let size = scan.size(halvings);
            if halvings > 0 && scan.size.w.max(scan.size.h) < 9 {
                continue;
            }
            let wanted = whole(stream, halvings).map_err(|e| e.to_string())?;
            for rect in windows(size) {
                let found = scan.read(&stream, rect, halvings).map_err(|e| e.to_string())?;
                if Some(&found) != cut(wanted.clone(), rect).as_ref() {
                    return Err(format!("{rect:?} of {size:?} after {halvings} halvings"));
                }
            }
        }
        Ok(())
    }

    #[test]
    fn every_window_is_as_in_the_whole() {
        // with optimised tables, this encoder writes colours in several scans
        use SamplingFactor::*;
        for sampling in [F_1_1, F_2_1, F_1_2, F_2_2] {
            for colours in [
                ColorType::Luma,
                ColorType::Rgb,
                ColorType::Cmyk,
                ColorType::CmykAsYcck,
            ] {
                // the library of the Rust build upsamples chroma of four components differently for other widths
                let four = !matches!(colours, ColorType::Luma | ColorType::Rgb);
                if cfg!(not(feature = "native")) && four && !matches!(sampling, F_1_1) {
                    continue;
                }
                let one_scan = matches!(colours, ColorType::Luma);
                for (interval, optimised, quality) in [
                    (0, false, 60),
                    (0, one_scan, 95),
                    (3, false, 80),
                    (200, one_scan, 80),
                ] {
                    let kind = Spec {
                        colours,
                        sampling,
                        interval,
                        optimised,
                        quality,
                        ..Spec::default()
                    };
                    let name = format!("{sampling:?} {colours:?} {interval} {optimised}");
                    same(&encoded(&kind)).unwrap_or_else(|error| panic!("{name}: {error}"));
                }
            }
        }
    }

    #[test]
    fn small_pictures_and_odd_edges_are_as_in_the_whole() {
        for w in [1, 2, 7, 8, 9, 16, 17, 31, 33, 600] {
            for h in [1, 8, 15, 17, 40] {
                for sampling in [
                    SamplingFactor::F_1_1,
                    SamplingFactor::F_2_1,
                    SamplingFactor::F_2_2,
                ] {
                    let kind = Spec {
                        size: (w, h),
                        sampling,
                        interval: (w % 3) as u16,
                        ..Spec::default()
                    };
                    same(&encoded(&kind)).unwrap_or_else(|error| panic!("{w}x{h} {sampling:?}: {error}"));
                }
            }
        }
    }

    // the library of the Rust build fills in different values
    #[test]
    #[cfg(feature = "native")]
    fn a_stream_cut_short_is_grey_from_there_on() {
        for interval in [0, 4, 100] {
            let stream = encoded(&Spec {
                interval,
                ..Spec::default()
            });
            for share in [10, 35, 50, 90, 99] {
                let cut = &stream[..stream.len() * share / 100];
                if Scan::of(cut).is_some() {
                    same(cut).unwrap_or_else(|error| panic!("{interval} {share}: {error}"));
                }
            }
        }
    }

    #[test]
    fn unsupported_codings_are_left_to_the_library() {
        let stream = encoded(&Spec::default());
        assert!(Scan::of(&stream).is_some());
        let at = stream.windows(2).position(|w| w == [0xff, 0xc0]).unwrap();
        for (offset, value) in [(1, 0xc2), (1, 0xc3), (1, 0xc9), (4, 12), (11, 0x51), (11, 0x44)] {
            let mut other = stream.clone();
            other[at + offset] = value;
            assert!(Scan::of(&other).is_none(), "{offset} {value}");
        }
        // each component in a scan of its own
        let scan = stream.windows(2).position(|w| w == [0xff, stream::SOS]).unwrap();
        let mut other = stream.clone();
        other.splice(scan..scan + 14, [0xff, stream::SOS, 0, 8, 1, 1, 0, 0, 63, 0]);
        assert!(Scan::of(&other).is_none());
    }

    #[test]
    fn windows_beyond_the_picture_are_outside() {
        let stream = encoded(&Spec::default());
        let scan = Scan::of(&stream).unwrap();
        let from = &stream[..];
        for (rect, halvings) in [
            (Rect::new(0, 0, 302, 1), 0),
            (Rect::new(301, 0, 1, 1), 0),
            (Rect::new(0, 0, 0, 1), 0),
            (Rect::new(u32::MAX, 0, u32::MAX, 1), 0),
            (Rect::new(0, 0, 1, 1), HALVINGS + 1),
        ] {
            assert!(matches!(scan.read(&from, rect, halvings), Err(Error::Outside(_))));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        /// Damage looks exactly as if the library had decoded the whole.
        #[test]
        #[cfg(feature = "native")]
        fn damage_is_shown_as_in_the_whole(
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            interval in prop::sample::select(vec![0u16, 40]),
            sampling in prop::sample::select(vec![SamplingFactor::F_1_1, SamplingFactor::F_2_2]),
        ) {
            let mut stream = encoded(&Spec { size: (150, 120), interval, sampling, ..Spec::default() });
            let data = stream.len() - Scan::of(&stream).unwrap().start as usize;
            for (at, value) in damage {
                let at = stream.len() - 1 - at.index(data);
                stream[at] = value;
            }
            // after a fill byte and a stuffed one, libjpeg-turbo decodes the MCU again, over coefficients of its first attempt
            let filled = stream.windows(3).any(|bytes| bytes == [0xff, 0xff, 0]);
            // an unknown marker ends the whole picture, but not a window before it
            if !filled && (0..=HALVINGS).all(|halvings| whole(&stream, halvings).is_ok()) {
                prop_assert_eq!(same(&stream), Ok(()));
            }
        }

        #[test]
        fn damaged_heads_end_in_pixels_or_in_an_error(
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            interval in prop::sample::select(vec![0u16, 2]),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut stream = encoded(&Spec { size: (50, 40), interval, ..Spec::default() });
            let head = Scan::of(&stream).unwrap().start as usize;
            for (at, value) in damage {
                stream[at.index(head)] = value;
            }
            stream.truncate(stream.len().min(cut.index(stream.len() * 2)));
            if let Some(scan) = Scan::of(&stream) {
                let size = scan.size(0);
                let rect = Rect::new(0, 0, size.w.min(100), size.h.min(100));
                let from = &stream[..];
                if let Ok(raster) = scan.read(&from, rect, 0) {
                    prop_assert_eq!(raster.size, rect.size());
                }
            }
        }
    }
}
