//! Parses the marker segments of a JPEG stream (T.81 Annex B): finds the frame, and completes abbreviated streams.
//!
//! Every length is checked; stray bytes between segments are skipped, as in other decoders.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;

pub(crate) const SOI: u8 = 0xd8;
pub(crate) const EOI: u8 = 0xd9;
pub(crate) const SOS: u8 = 0xda;
pub(crate) const APP0: u8 = 0xe0;
pub(crate) const APP1: u8 = 0xe1;
pub(crate) const APP2: u8 = 0xe2;
pub(crate) const APP14: u8 = 0xee;
pub(crate) const DHT: u8 = 0xc4;
const DAC: u8 = 0xcc;
/// The frame of JPEG-LS (T.87 C.2.2).
const SOF55: u8 = 0xf7;
pub(crate) const DQT: u8 = 0xdb;
pub(crate) const DRI: u8 = 0xdd;
pub(crate) const COM: u8 = 0xfe;

/// A JFIF header without a density.
pub(crate) const JFIF: &[u8] = b"\xff\xe0\0\x10JFIF\0\x01\x02\0\0\x01\0\x01\0\0";
/// Adobe's marker up to the colour transform, which is its last byte.
pub(crate) const ADOBE: &[u8] = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0";

/// The meaning of the components of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamColour {
    /// One component.
    Grey,
    /// Red, green, blue, without a colour transform.
    Rgb,
    /// Luma and two chroma (JFIF 1.02).
    Ycbcr,
    /// Four components, output as stored.
    Four,
}

impl StreamColour {
    /// The colour transform of Adobe's marker.
    fn transform(self) -> Option<u8> {
        match self {
            StreamColour::Grey | StreamColour::Four => None,
            StreamColour::Rgb => Some(0),
            StreamColour::Ycbcr => Some(1),
        }
    }

    /// Whether a marker contradicts it.
    fn is_denied_by(self, segment: &MarkerSegment) -> bool {
        segment.adobe().is_some_and(|said| Some(said) != self.transform())
            || self == StreamColour::Rgb && segment.is_jfif()
    }

    /// What the library assumes without markers; `None` for other numbers of components.
    pub(crate) fn guess(components: &[[u8; 3]]) -> Option<StreamColour> {
        match components {
            [_] => Some(StreamColour::Grey),
            [[b'R', ..], [b'G', ..], [b'B', ..]] => Some(StreamColour::Rgb),
            [_, _, _] => Some(StreamColour::Ycbcr),
            [_, _, _, _] => Some(StreamColour::Four),
            _ => None,
        }
    }
}

/// The frame header (SOFn) and whether the stream reaches its end marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// n in SOFn: 0 baseline, 1 extended, 2 progressive.
    pub process: u8,
    /// Bits per sample.
    pub bits: u8,
    /// Width and height, neither zero.
    pub size: Size,
    /// Components.
    pub components: u8,
    /// Approximate number of 8 x 8 blocks of all components.
    pub blocks: u64,
    /// Whether there is an end marker after the first scan header.
    pub ended: bool,
    /// Whether Huffman tables precede the scan.
    pub tables: bool,
    /// Whether the quantisation tables of all components precede the scan.
    pub quantised: bool,
}

/// A marker with its parameters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MarkerSegment<'a> {
    /// Second byte of the marker.
    pub marker: u8,
    /// Marker, length and payload.
    pub whole: &'a [u8],
    /// The part after the length.
    pub payload: &'a [u8],
    /// The bytes after the segment.
    pub rest: &'a [u8],
}

impl MarkerSegment<'_> {
    /// Identifier, sampling factors and quantisation table of each component, in a frame header.
    pub fn components(&self) -> &[[u8; 3]] {
        self.payload.get(6..).unwrap_or_default().as_chunks::<3>().0
    }

    /// Whether it is a JFIF header (JFIF 1.02 p. 5).
    pub fn is_jfif(&self) -> bool {
        self.marker == APP0 && self.payload.starts_with(b"JFIF\0")
    }

    /// The colour transform of Adobe's marker: 0 none, 1 YCbCr, 2 YCCK (T.872 §6.5.3).
    pub fn adobe(&self) -> Option<u8> {
        (self.marker == APP14 && self.payload.starts_with(b"Adobe"))
            .then(|| self.payload.get(11).copied())
            .flatten()
    }
}

/// Iterates over the segments up to and including the first scan header; ends early at EOI and at the end of the
/// bytes.
pub(crate) struct MarkerSegments<'a> {
    rest: &'a [u8],
}

impl<'a> MarkerSegments<'a> {
    /// `Corrupt` without SOI at the start.
    pub fn of(stream: &'a [u8]) -> Result<Self> {
        match stream {
            [0xff, SOI, rest @ ..] => Ok(MarkerSegments { rest }),
            _ => Err(Error::Corrupt("jpeg stream has no start marker".into())),
        }
    }

    /// The segments after the data of a scan.
    pub fn after(rest: &'a [u8]) -> Self {
        MarkerSegments { rest }
    }

    /// The next segment and the rest.
    fn step(mut at: &'a [u8]) -> Result<Option<MarkerSegment<'a>>> {
        loop {
            let Some(skip) = memchr::memchr(0xff, at) else {
                return Ok(None);
            };
            at = at.get(skip..).unwrap_or_default();
            match at {
                // Stuffing or restart: part of stray data, or markers without parameters (TEM, RSTn, SOI).
                [_, 0x00 | 0x01 | 0xd0..=SOI, after @ ..] => at = after,
                // Fill bytes may precede a marker (T.81 B.1.1.2).
                [_, 0xff, ..] => at = at.get(1..).unwrap_or_default(),
                [_, EOI, ..] | [_] | [] => return Ok(None),
                [_, marker, high, low, ..] => {
                    let mut len = usize::from(u16::from_be_bytes([*high, *low]));
                    // valid within skipped data
                    if matches!(*marker, APP0..=0xef | COM) {
                        len = len.max(2);
                    }
                    let short = || Error::Corrupt(format!("jpeg segment {marker:#04x} with length {len}"));
                    let (whole, rest) = at.split_at_checked(len + 2).ok_or_else(short)?;
                    let payload = whole.get(4..).ok_or_else(short)?;
                    return Ok(Some(MarkerSegment {
                        marker: *marker,
                        whole,
                        payload,
                        rest,
                    }));
                }
                _ => return Err(Error::Corrupt("jpeg stream ends in a marker".into())),
            }
        }
    }
}

impl<'a> Iterator for MarkerSegments<'a> {
    type Item = Result<MarkerSegment<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = MarkerSegments::step(self.rest);
        self.rest = match step {
            Ok(Some(segment)) if segment.marker != SOS => segment.rest,
            _ => &[],
        };
        step.transpose()
    }
}

/// The identifier of each table of a DQT segment (precision above number) and its steps (T.81 B.2.4.1): 64 bytes, or
/// 128 for a precision other than 0; fewer if truncated.
pub(crate) fn quantisers(payload: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = payload;
    std::iter::from_fn(move || {
        let (name, more) = rest.split_first()?;
        let bytes = if name >> 4 == 0 { 64 } else { 128 };
        let (steps, after) = more.split_at(bytes.min(more.len()));
        rest = after;
        Some((*name, steps))
    })
}

/// The tables defined by a stream.
#[derive(Clone, Copy, Default)]
struct DefinedTables {
    /// Any Huffman table.
    huffman: bool,
    /// One bit for the number of each quantisation table.
    quantised: u32,
}

impl DefinedTables {
    fn note(&mut self, segment: &MarkerSegment) {
        match segment.marker {
            DHT => self.huffman = true,
            DQT => quantisers(segment.payload).for_each(|(name, _)| self.quantised |= 1 << (name & 15)),
            _ => {}
        }
    }
}

/// Reads the frame header. `Corrupt` if there is none before the first scan, or its width is 0; `Unsupported` if the
/// height is undefined ([`crate::codec::jpeg::lines`]).
pub(crate) fn frame(stream: &[u8]) -> Result<Frame> {
    frame_after(None, stream)
}

/// Reads the frame of an abbreviated stream that is decoded after `tables`.
pub(crate) fn frame_after(tables: Option<&[u8]>, stream: &[u8]) -> Result<Frame> {
    let mut defined = DefinedTables::default();
    if let Some(tables) = tables {
        for segment in MarkerSegments::of(tables)? {
            defined.note(&segment?);
        }
    }
    let (mut frame, mut wanted) = (None, 0u32);
    for segment in MarkerSegments::of(stream)? {
        let segment = segment?;
        defined.note(&segment);
        match segment.marker {
            DHT | DAC | 0xc8 => {}
            SOF55 => return Err(Error::Unsupported("jpeg-ls is not supported".into())),
            0xc0..=0xcf => {
                let [bits, h1, h0, w1, w0, components, ..] = *segment.payload else {
                    return Err(Error::Corrupt("jpeg frame header is too short".into()));
                };
                let size = Size::new(
                    u16::from_be_bytes([w1, w0]).into(),
                    u16::from_be_bytes([h1, h0]).into(),
                );
                if size.h == 0 && size.w > 0 {
                    let what = "jpeg without a height in its frame header (DNL) is not supported";
                    return Err(Error::Unsupported(what.into()));
                }
                if size.area() == 0 || frame.is_some() {
                    return Err(Error::Corrupt(format!("jpeg frame of {}x{}", size.w, size.h)));
                }
                for [.., table] in segment.components() {
                    wanted |= 1 << (table & 31);
                }
                frame = Some(Frame {
                    process: segment.marker & 0x0f,
                    bits,
                    size,
                    components,
                    blocks: blocks(size, segment.components()),
                    ended: false,
                    tables: false,
                    quantised: false,
                });
            }
            SOS => {
                let frame = frame.ok_or_else(|| Error::Corrupt("jpeg scan without a frame".into()))?;
                let ended = memchr::memmem::rfind(segment.rest, &[0xff, EOI]).is_some();
                return Ok(Frame {
                    ended,
                    tables: defined.huffman,
                    quantised: wanted & !defined.quantised == 0,
                    ..frame
                });
            }
            _ => {}
        }
    }
    Err(Error::Corrupt("jpeg stream has no scan".into()))
}

/// Blocks of a frame with these components. An empty sampling factor counts as 1.
fn blocks(size: Size, components: &[[u8; 3]]) -> u64 {
    let factors = |[_, both, _]: &[u8; 3]| (u64::from(both >> 4).max(1), u64::from(both & 15).max(1));
    let most = components
        .iter()
        .map(factors)
        .fold((1, 1), |most: (u64, u64), (w, h)| (most.0.max(w), most.1.max(h)));
    let factors_of = |component| {
        let (w, h) = factors(component);
        (u64::from(size.w) * w).div_ceil(8 * most.0) * (u64::from(size.h) * h).div_ceil(8 * most.1)
    };
    components.iter().map(factors_of).sum()
}

/// Upper bound of the number of scan headers: their bytes may also occur inside other segments.
pub(crate) fn scans(stream: &[u8]) -> u64 {
    memchr::memmem::find_iter(stream, &[0xff, SOS]).count() as u64
}

/// Whether decoding `tables` followed by `tile` gives the same result as decoding the [merged](merge) stream.
pub(crate) fn can_follow(tables: &[u8], tile: &[u8], colour: StreamColour) -> bool {
    let only =
        |segment: Result<MarkerSegment>| segment.is_ok_and(|segment| matches!(segment.marker, DQT | DHT));
    let whole = tables.ends_with(&[0xff, EOI]);
    if !whole || !MarkerSegments::of(tables).is_ok_and(|mut segments| segments.all(only)) {
        return false;
    }
    let (mut said, mut guess) = (false, None);
    for segment in MarkerSegments::of(tile).into_iter().flatten() {
        let Ok(segment) = segment else { return false };
        if colour.is_denied_by(&segment) {
            return false;
        }
        said |= segment.adobe().is_some() || segment.is_jfif();
        match segment.marker {
            0xc0..=0xc2 if segment.payload.first() == Some(&8) => {
                guess = StreamColour::guess(segment.components())
            }
            // the library does not support other processes
            DQT | DHT | DRI | COM | SOS | APP0..=0xef => {}
            _ => return false,
        }
    }
    guess.is_some_and(|guess| said || guess == colour)
}

/// Makes a complete interchange stream from an abbreviated one: `tables` (SOI, tables, EOI: the JPEGTables of a TIFF,
/// TIFF Technical Note 2) are inserted after the application segments of `tile`, whose own tables follow and override
/// them.
///
/// Decoders determine the meaning of three components from markers, and guess without them, so it is made explicit:
/// an Adobe marker is added unless the stream has a correct one, or a JFIF header for YCbCr; contradicting markers
/// are removed. Only headers are examined. `Corrupt` if a segment exceeds the stream or there is no scan.
pub fn merge(tables: Option<&[u8]>, tile: &[u8], colour: StreamColour) -> Result<Vec<u8>> {
    let transform = colour.transform();
    let mut said = transform.is_none();
    for segment in MarkerSegments::of(tile)? {
        let segment = segment?;
        said |= !colour.is_denied_by(&segment) && (segment.adobe().is_some() || segment.is_jfif());
    }

    let mut out = Vec::with_capacity(tables.map_or(0, <[u8]>::len) + tile.len() + 16);
    out.extend_from_slice(&[0xff, SOI]);
    let mut shared = false;
    for segment in MarkerSegments::of(tile)? {
        let segment = segment?;
        if !shared && !matches!(segment.marker, APP0..=0xef | COM) {
            if let (false, Some(transform)) = (said, transform) {
                out.extend_from_slice(ADOBE);
                out.push(transform);
            }
            share(tables, &mut out)?;
            shared = true;
        }
        if !colour.is_denied_by(&segment) {
            out.extend_from_slice(segment.whole);
        }
        if segment.marker == SOS {
            out.extend_from_slice(segment.rest);
            return Ok(out);
        }
    }
    Err(Error::Corrupt("jpeg stream has no scan".into()))
}

/// Copies the tables.
fn share(tables: Option<&[u8]>, out: &mut Vec<u8>) -> Result<()> {
    if let Some(tables) = tables {
        for segment in MarkerSegments::of(tables)? {
            let segment = segment?;
            if matches!(segment.marker, DQT | DHT | DAC | DRI) {
                out.extend_from_slice(segment.whole);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOF: &[u8] = &[
        0xff, 0xc0, 0, 17, 8, 0, 2, 0, 3, 3, 1, 0x11, 0, 2, 0x11, 0, 3, 0x11, 0,
    ];
    const SCAN: &[u8] = &[0xff, SOS, 0, 2, 1, 2, 3, 0xff, EOI];
    const RGB: &[u8] = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\0";
    const YCC: &[u8] = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x01";
    const TABLE: &[u8] = &[0xff, DQT, 0, 3, 7];
    const NOTE: &[u8] = &[0xff, COM, 0, 3, b'!'];

    fn stream(parts: &[&[u8]]) -> Vec<u8> {
        [&[&[0xff, SOI][..]], parts].concat().concat()
    }

    #[test]
    fn the_frame_is_found_after_stray_and_fill_bytes() {
        let frame = frame(&stream(&[JFIF, &[9, 0, 0xff, 0, 0xff, 0xff], &SOF[1..], SCAN])).unwrap();
        assert_eq!(
            (frame.size, frame.components, frame.bits),
            (Size::new(3, 2), 3, 8)
        );
        assert!(frame.ended && frame.process == 0 && !frame.quantised);
    }

    #[test]
    fn streams_without_start_frame_or_scan_are_corrupt() {
        for parts in [
            &[][..],
            &[SOF],
            &[SCAN],
            &[SOF, SOF, SCAN],
            &[&SOF[..9], SCAN],
            &[&[0xff, 0xc0, 0, 1], SCAN],
        ] {
            assert!(
                matches!(frame(&stream(parts)), Err(Error::Corrupt(_))),
                "{parts:?}"
            );
        }
        let whole = stream(&[SOF, SCAN]);
        assert!(frame(&whole[1..]).is_err());
        for kept in 0..whole.len() - 5 {
            assert!(frame(&whole[..kept]).is_err(), "{kept} bytes");
        }
    }

    #[test]
    fn the_tables_follow_the_application_segments() {
        let tables = stream(&[NOTE, TABLE, &[0xff, EOI]]);
        let merged = merge(
            Some(&tables),
            &stream(&[JFIF, NOTE, SOF, NOTE, SCAN]),
            StreamColour::Ycbcr,
        );
        assert_eq!(merged.unwrap(), stream(&[JFIF, NOTE, TABLE, SOF, NOTE, SCAN]));
        let open = stream(&[TABLE]);
        let merged = merge(Some(&open), &stream(&[SOF, SCAN]), StreamColour::Grey);
        assert_eq!(merged.unwrap(), stream(&[TABLE, SOF, SCAN]));
    }

    #[test]
    fn three_components_get_one_marker_of_their_colour_space() {
        type Parts<'a> = &'a [&'a [u8]];
        let cases: [(Parts, StreamColour, Parts); 8] = [
            (&[], StreamColour::Rgb, &[RGB]),
            (&[], StreamColour::Ycbcr, &[YCC]),
            (&[RGB], StreamColour::Rgb, &[RGB]),
            (&[YCC], StreamColour::Rgb, &[RGB]),
            (&[JFIF], StreamColour::Rgb, &[RGB]),
            (&[JFIF], StreamColour::Ycbcr, &[JFIF]),
            (&[JFIF, RGB], StreamColour::Ycbcr, &[JFIF]),
            (&[RGB], StreamColour::Ycbcr, &[YCC]),
        ];
        for (has, colour, wanted) in cases {
            let merged = merge(None, &stream(&[has, &[SOF, SCAN]].concat()), colour).unwrap();
            assert_eq!(
                merged,
                stream(&[wanted, &[SOF, SCAN]].concat()),
                "{has:?} {colour:?}"
            );
        }
    }

    #[test]
    fn broken_tables_are_corrupt() {
        let tile = stream(&[SOF, SCAN]);
        for tables in [
            &[][..],
            b"II",
            &[0xff, SOI, 0xff, DQT],
            &[0xff, SOI, 0xff, DQT, 0, 9, 1],
        ] {
            assert!(matches!(
                merge(Some(tables), &tile, StreamColour::Grey),
                Err(Error::Corrupt(_))
            ));
        }
    }
}
