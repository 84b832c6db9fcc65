//! WebP files (RFC 9649), decoded whole: colour with or without alpha.
//!
//! Of an animation the first frame is shown; the canvas outside it is transparent.

use crate::codec::webp;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::limits::BOXES;
use crate::limits::Limits;
use crate::limits::METADATA;
use crate::raster::Alpha;
use crate::raster::Colour;
use crate::raster::Meaning;
use crate::raster::Metadata;
use crate::raster::Raster;
use crate::raster::SampleFormat;
use crate::raster::Samples;
use crate::source::Grid;
use crate::source::Header;
use crate::source::Level;
use crate::source::Set;
use crate::source::tiff;
use crate::source::whole::Whole;
use crate::source::window;
use crate::store::Blob;
use crate::uninit;
use std::sync::Arc;

/// Flags of the chunk VP8X.
const HAS_ALPHA: u8 = 0x10;
const HAS_ANIMATION: u8 = 0x02;

/// The prefix of EXIF in JPEG, which some writers keep.
const OF_JPEG: &[u8] = b"Exif\0\0";

/// Contents of a file's chunks.
#[derive(Default)]
struct WebpChunks {
    /// Size of the canvas, or of the only picture.
    size: Option<Size>,
    alpha: bool,
    animated: bool,
    metadata: Metadata,
    /// Offset and length of EXIF.
    exif: Option<(u64, u64)>,
}

/// A chunk's name, its length, and the first bytes of its content.
type ChunkHead = ([u8; 4], u64, [u8; 10]);

impl WebpChunks {
    /// Reads the headers of all chunks, and the metadata.
    fn read(file: &Arc<dyn Blob>, limits: &Limits) -> Result<WebpChunks> {
        let end = file.len();
        let mut chunks = WebpChunks::default();
        let mut at = 12;
        for number in 0.. {
            if at + 8 > end {
                break;
            }
            if number >= limits.boxes {
                chunks.metadata.left_out.push(("chunks", BOXES));
                break;
            }
            let (name, len, first) = head(file, at)?;
            match &name {
                b"ICCP" | b"XMP " | b"EXIF" => chunks.describe(file, at + 8, (name, len, first), limits),
                _ => chunks.picture(name, first),
            }
            // chunks are padded to even lengths
            at += 8 + len.next_multiple_of(2);
        }
        Ok(chunks)
    }

    /// Sets size, alpha and animation from the chunks that define them (RFC 9649 §2.7).
    fn picture(&mut self, name: [u8; 4], [a, b, c, d, e, f, g, h, i, j]: [u8; 10]) {
        match &name {
            b"VP8X" => {
                self.animated = a & HAS_ANIMATION != 0;
                // frames need not cover the canvas
                self.alpha = self.animated || a & HAS_ALPHA != 0;
                let side = |bytes| u32::from_le_bytes(bytes) + 1;
                self.size = Some(Size::new(side([e, f, g, 0]), side([h, i, j, 0])));
            }
            b"VP8L" => {
                let bits = u32::from_le_bytes([b, c, d, e]);
                let side = |bits: u32| (bits & 0x3fff) + 1;
                self.alpha |= bits >> 28 & 1 != 0;
                self.size = self.size.or(Some(Size::new(side(bits), side(bits >> 14))));
            }
            b"VP8 " => {
                let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
                self.size = self.size.or(Some(Size::new(side(g, h), side(i, j))));
            }
            _ => {}
        }
    }

    /// Sets profile, XMP and EXIF from a chunk whose content begins at `at`.
    fn describe(&mut self, file: &Arc<dyn Blob>, at: u64, (name, len, first): ChunkHead, limits: &Limits) {
        if &name == b"EXIF" {
            let skip = if first.starts_with(OF_JPEG) {
                OF_JPEG.len() as u64
            } else {
                0
            };
            self.exif = Some((at + skip, len.saturating_sub(skip)));
            return;
        }
        let fits = len <= limits.metadata && at + len <= file.len();
        let whole = fits.then(|| file.take(at, len)).and_then(Result::ok);
        let whole = whole.map(Arc::from);
        let what = if &name == b"ICCP" {
            self.metadata.icc = whole;
            "profile"
        } else {
            self.metadata.xmp = whole;
            "XMP packet"
        };
        if len > limits.metadata {
            self.metadata.left_out.push((what, METADATA));
        }
    }
}

/// The start of a chunk; bytes beyond the end of the file are 0.
fn head(file: &Arc<dyn Blob>, at: u64) -> Result<ChunkHead> {
    let mut start = [0; 18];
    let len = usize::try_from((file.len() - at).min(18)).unwrap_or(18);
    file.read_at(at, start.get_mut(..len).unwrap_or_default())?;
    let [n0, n1, n2, n3, l0, l1, l2, l3, first @ ..] = start;
    let len = u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
    Ok(([n0, n1, n2, n3], len, first))
}

/// Opens a file. Errors: `TooLarge` beyond the limits for files that are decoded whole, `Corrupt` for a damaged file.
pub fn open(file: Arc<dyn Blob>, limits: &Limits) -> Result<Whole> {
    let chunks = WebpChunks::read(&file, limits)?;
    let size = chunks.size.filter(|size| size.area() > 0);
    let size = size.ok_or_else(|| Error::Corrupt("WebP file without a picture".into()))?;
    let alpha = if chunks.alpha {
        Alpha::Straight
    } else {
        Alpha::None
    };
    let meaning = Meaning::bytes(Colour::Rgb, alpha);
    let exif = chunks
        .exif
        .and_then(|(at, len)| tiff::exif(file.clone(), at, len));
    let (exif, orientation) = exif.unwrap_or((Metadata::default(), 1));
    let mut level = Level::tiled(size, size);
    level.grid = Grid::Strips;
    let header = Header {
        levels: vec![level],
        channels: u8::try_from(meaning.ranges.len()).unwrap_or(u8::MAX),
        bits: 8,
        kind: SampleFormat::Unsigned,
        meaning,
        stored: None,
        metadata: chunks.metadata.or(exif),
        version: file.version(),
        set: Set::default(),
        scalable: false,
        orientation,
    };
    let decode = if chunks.animated { first_frame } else { decode };
    Whole::new(file, header, decode, limits)
}

/// The first frame of an animation on its canvas.
fn first_frame(bytes: &[u8], header: &Header) -> Result<Raster> {
    let gone = || Error::Corrupt("an animated WebP without a frame".into());
    let frame = chunks(bytes.get(12..).unwrap_or_default()).find(|(name, _)| *name == b"ANMF");
    let (head, parts) = frame
        .and_then(|(_, body)| body.split_at_checked(16))
        .ok_or_else(gone)?;
    let number = |at: usize| {
        let three = head
            .get(at..at + 3)
            .and_then(|three| <[u8; 3]>::try_from(three).ok());
        three.map_or(0, |[a, b, c]| u32::from_le_bytes([a, b, c, 0]))
    };
    // offsets are stored halved, sizes minus one (RFC 9649 §2.7.1.2)
    let (x, y) = (number(0).saturating_mul(2), number(3).saturating_mul(2));
    let place = Rect::new(x, y, number(6) + 1, number(9) + 1);
    let canvas = header.size();
    if place.meet(Rect::of(canvas)) != Some(place) {
        return Err(Error::Corrupt(
            "a frame of a WebP animation beyond its canvas".into(),
        ));
    }
    let still = still(place.size(), parts);
    let len = usize::try_from(place.size().area().saturating_mul(4)).unwrap_or(usize::MAX);
    let frame = Raster {
        size: place.size(),
        channels: 4,
        samples: Samples::U8(uninit::filled(len, |buf| {
            webp::decode(&still, place.size(), 4, buf)
        })?),
    };
    if place.size() == canvas {
        return Ok(frame);
    }
    let mut out = window::blank(canvas, &frame)?;
    window::put(&frame, place, &mut out, Rect::of(canvas))?;
    Ok(out)
}

/// Name and content of each chunk.
fn chunks(mut bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    std::iter::from_fn(move || {
        let (name, rest) = bytes.split_first_chunk::<4>()?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let len = usize::try_from(u32::from_le_bytes(*len)).ok()?;
        let body = rest.get(..len)?;
        bytes = rest.get(len.next_multiple_of(2)..).unwrap_or_default();
        Some((name, body))
    })
}

/// A file of one picture, made from the chunks of a frame.
fn still(size: Size, parts: &[u8]) -> Vec<u8> {
    let kept: Vec<_> = chunks(parts)
        .filter(|(name, _)| matches!(*name, b"ALPH" | b"VP8 " | b"VP8L"))
        .collect();
    let mut body = b"WEBP".to_vec();
    let mut push = |name: &[u8; 4], content: &[u8]| {
        body.extend_from_slice(name);
        body.extend(u32::try_from(content.len()).unwrap_or(u32::MAX).to_le_bytes());
        body.extend_from_slice(content);
        body.resize(body.len().next_multiple_of(2), 0);
    };
    if kept.iter().any(|(name, _)| *name == b"ALPH") {
        let [w0, w1, w2, _] = (size.w - 1).to_le_bytes();
        let [h0, h1, h2, _] = (size.h - 1).to_le_bytes();
        push(b"VP8X", &[HAS_ALPHA, 0, 0, 0, w0, w1, w2, h0, h1, h2]);
    }
    kept.iter().for_each(|(name, content)| push(name, content));
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    [b"RIFF", &len.to_le_bytes()[..], &body].concat()
}

fn decode(bytes: &[u8], header: &Header) -> Result<Raster> {
    let (size, channels) = (header.size(), header.channels);
    let len = usize::try_from(size.area()).unwrap_or(usize::MAX);
    let len = len.saturating_mul(channels.into());
    let data = uninit::filled(len, |buf| webp::decode(bytes, size, channels, buf))?;
    Ok(Raster {
        size,
        channels,
        samples: Samples::U8(data),
    })
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "test pictures are small")]
mod tests {
    use super::*;
    use crate::source::Source;
    use crate::source::Window;
    use crate::source::cache::NoCache;
    use crate::source::tiff::build::EXIF;
    use crate::source::tiff::build::Temp;
    use image_webp::ColorType;
    use image_webp::WebPEncoder;

    fn read(source: &Whole) -> Result<Samples> {
        let window = Window::new(0, Rect::of(source.header().size()));
        window::raster(source, window, &NoCache).map(|raster| raster.samples)
    }

    /// A file of 5 × 3 pixels, with or without a profile.
    fn file(colour: ColorType, data: &[u8], profile: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = WebPEncoder::new(&mut out);
        if profile {
            encoder.set_icc_profile(b"odd".to_vec());
            encoder.set_xmp_metadata(b"<x/>".to_vec());
        }
        encoder.encode(data, 5, 3, colour).unwrap();
        out
    }

    fn whole(bytes: &[u8]) -> Result<Whole> {
        super::open(Temp::new(bytes).open(), &Limits::default())
    }

    #[test]
    fn samples_and_metadata_match_the_file() {
        for profile in [false, true] {
            for (colour, channels, alpha) in [
                (ColorType::Rgb8, 3, Alpha::None),
                (ColorType::Rgba8, 4, Alpha::Straight),
            ] {
                let data: Vec<u8> = (0..15 * channels).map(|n| (n * 5 + 30) as u8).collect();
                let found = whole(&file(colour, &data, profile)).unwrap();
                let header = found.header();
                assert_eq!(header.size(), Size::new(5, 3));
                assert_eq!(
                    (usize::from(header.channels), header.meaning.alpha),
                    (channels, alpha)
                );
                assert_eq!(header.metadata.icc.is_some(), profile);
                assert_eq!(header.metadata.xmp.as_deref(), profile.then_some(&b"<x/>"[..]));
                assert_eq!(read(&found).unwrap(), Samples::U8(data));
            }
        }
    }

    #[test]
    fn exif_is_read_with_and_without_the_prefix_of_jpeg() {
        for block in [EXIF.to_vec(), [OF_JPEG, EXIF].concat()] {
            let mut out = Vec::new();
            let mut encoder = WebPEncoder::new(&mut out);
            encoder.set_exif_metadata(block);
            encoder.encode(&[9; 45], 5, 3, ColorType::Rgb8).unwrap();
            let whole = super::open(Temp::new(&out).open(), &Limits::default()).unwrap();
            assert_eq!(
                (whole.header().orientation, whole.header().metadata.text("make")),
                (6, Some("Abc"))
            );
        }
    }

    #[test]
    fn damaged_files_are_errors() {
        let bytes = file(ColorType::Rgba8, &[77; 60], true);
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 0xff;
            for wrong in [&wrong[..], &bytes[..at]] {
                let read = whole(wrong).and_then(|found| read(&found));
                assert!(
                    !matches!(read, Err(Error::Io(_) | Error::Outside(_))),
                    "{at}: {read:?}"
                );
            }
        }
    }

    #[test]
    fn the_first_frame_of_an_animation_is_shown_on_its_canvas() {
        let animation = |frames: &[(u8, u8, &[u8])]| {
            let mut body = b"WEBP".to_vec();
            let mut push = |name: &[u8], content: &[u8]| {
                body.extend(name);
                body.extend((content.len() as u32).to_le_bytes());
                body.extend(content);
                body.resize(body.len().next_multiple_of(2), 0);
            };
            // a canvas of 9 x 7
            push(b"VP8X", &[HAS_ANIMATION, 0, 0, 0, 8, 0, 0, 6, 0, 0]);
            push(b"ANIM", &[0; 6]);
            for (x, y, still) in frames {
                let head = [*x / 2, 0, 0, *y / 2, 0, 0, 4, 0, 0, 2, 0, 0, 100, 0, 0, 0];
                // the still without its RIFF header
                push(b"ANMF", &[&head[..], &still[12..]].concat());
            }
            [b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat()
        };
        let red = file(ColorType::Rgb8, &[200, 10, 20].repeat(15), false);
        let blue = file(ColorType::Rgb8, &[0, 10, 220].repeat(15), false);
        let found = whole(&animation(&[(2, 4, &red), (0, 0, &blue)])).unwrap();
        assert_eq!(
            (found.header().size(), found.header().channels),
            (Size::new(9, 7), 4)
        );
        let Samples::U8(samples) = read(&found).unwrap() else {
            panic!("8 bits")
        };
        for (at, pixel) in samples.chunks(4).enumerate() {
            let inside = (2..7).contains(&(at % 9)) && (4..7).contains(&(at / 9));
            assert_eq!(pixel, if inside { [200, 10, 20, 255] } else { [0; 4] }, "{at}");
        }
        for (wrong, frames) in [("beyond", &[(6, 4, &red[..])][..]), ("none", &[])] {
            let found = whole(&animation(frames)).unwrap();
            assert!(matches!(read(&found), Err(Error::Corrupt(_))), "{wrong}");
        }
    }
}
