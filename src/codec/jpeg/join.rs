//! Joins the JPEG streams of bands into one without decoding them.
//!
//! All bands must be encoded with the same settings: each starts with its predictions at zero, as a restart interval
//! does (T.81 §E.1.4).

use crate::codec::jpeg::stream::DRI;
use crate::codec::jpeg::stream::EOI;
use crate::codec::jpeg::stream::MarkerSegments;
use crate::codec::jpeg::stream::SOS;
use crate::error::Error;
use crate::error::Result;

/// A stream that is built from bands.
pub struct Join {
    /// Height of the whole picture.
    height: u16,
    bands: u32,
}

impl Join {
    /// Joins the bands of a picture with `height` rows.
    pub fn new(height: u16) -> Join {
        Join { height, bands: 0 }
    }

    /// Appends a complete baseline stream with one scan to `out`, with its head only the first time. All bands have
    /// the same width and tables; all but the last have a height that is a whole number of blocks, and at most 65535
    /// of these.
    pub fn push(&mut self, stream: &[u8], out: &mut Vec<u8>) -> Result<()> {
        let broken = || Error::Unsupported("jpeg bands do not fit together".into());
        let first = self.bands == 0;
        if first {
            out.extend_from_slice(stream.get(..2).unwrap_or_default());
        } else {
            // RST0 to RST7, cyclically
            let number = u8::try_from((self.bands - 1) % 8).unwrap_or(0);
            out.extend_from_slice(&[0xff, 0xd0 | number]);
        }
        self.bands += 1;
        let mut interval = 0;
        for segment in MarkerSegments::of(stream)? {
            let segment = segment?;
            let mut whole = segment.whole.to_vec();
            if segment.marker == 0xc0 {
                interval = blocks(segment.payload).ok_or_else(broken)?;
                let place = whole.get_mut(5..7).ok_or_else(broken)?;
                place.copy_from_slice(&self.height.to_be_bytes());
            }
            if first && segment.marker == SOS {
                let [high, low] = interval.to_be_bytes();
                out.extend_from_slice(&[0xff, DRI, 0, 4, high, low]);
            }
            if first {
                out.extend_from_slice(&whole);
            }
            if segment.marker == SOS {
                let coded = segment.rest.strip_suffix(&[0xff, EOI]).ok_or_else(broken)?;
                out.extend_from_slice(coded);
                return Ok(());
            }
        }
        Err(broken())
    }

    /// Ends the stream.
    pub fn finish(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&[0xff, EOI]);
    }
}

/// The number of units of a frame that the restart interval counts: blocks of one component, or MCUs of several (T.81
/// §A.2). `None` if there are more than an interval may have.
fn blocks(frame: &[u8]) -> Option<u16> {
    let [_, h1, h0, w1, w0, _, components @ ..] = frame else {
        return None;
    };
    let factors = components
        .as_chunks::<3>()
        .0
        .iter()
        .map(|[_, factors, _]| factors);
    let (across, down) = match components.len() {
        3 => (1, 1),
        _ => factors.fold((1, 1), |(x, y), v| (x.max(v >> 4), y.max(v & 15))),
    };
    let units = |side: u16, factor: u8| u32::from(side).div_ceil(u32::from(factor) * 8);
    let count = units(u16::from_be_bytes([*w1, *w0]), across) * units(u16::from_be_bytes([*h1, *h0]), down);
    u16::try_from(count).ok().filter(|&count| count > 0)
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test pictures are small")]
mod tests {
    use super::*;
    use crate::codec::jpeg::JpegStyle;
    use crate::codec::jpeg::Sampling;
    use crate::codec::jpeg::decode;
    use crate::codec::jpeg::encode;
    use crate::geometry::Size;
    use crate::raster::Layout;

    #[test]
    fn bands_together_are_the_picture_at_once() {
        let samplings = [Sampling::Yuv420, Sampling::Yuv422, Sampling::Yuv444];
        let kinds = samplings.map(|sampling| (Layout::Rgb, sampling));
        for (layout, sampling) in kinds.into_iter().chain([(Layout::Grey, Sampling::Yuv420)]) {
            let style = JpegStyle {
                sampling,
                progressive: false,
            };
            for (w, h, band) in [(100, 200, 16), (333, 95, 32), (17, 16, 16), (64, 401, 48)] {
                let row = w as usize * layout.channels();
                let pixels: Vec<u8> = (0..row * h as usize)
                    .map(|i| (i / 13 * 3 + i % 17) as u8)
                    .collect();
                let mut join = Join::new(h as u16);
                let mut joined = Vec::new();
                for rows in pixels.chunks(row * band) {
                    let size = Size::new(w, (rows.len() / row) as u32);
                    let stream = encode(rows, size, layout, 80, style).unwrap();
                    join.push(&stream, &mut joined).unwrap();
                }
                join.finish(&mut joined);
                let size = Size::new(w, h);
                let whole = encode(&pixels, size, layout, 80, style).unwrap();
                assert!(
                    decode(&joined, size).unwrap() == decode(&whole, size).unwrap(),
                    "{layout:?} {sampling:?} {w}x{h}"
                );
            }
        }
    }

    #[test]
    fn an_incomplete_stream_is_an_error() {
        let stream = encode(
            &[0; 300],
            Size::new(10, 10),
            Layout::Rgb,
            80,
            JpegStyle::default(),
        )
        .unwrap();
        for bad in [&stream[..stream.len() - 2], &stream[..50], b""] {
            assert!(Join::new(10).push(bad, &mut Vec::new()).is_err());
        }
    }
}
