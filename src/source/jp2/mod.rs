//! JPEG 2000 files: a codestream, and the boxes around it that define the meaning of its components.
//!
//! Levels are the resolutions of the wavelet transform; any window of them can be read, so `derived` cuts the tiles,
//! and those of the codestream do not matter. Samples of up to 8 bits become 8 bits, wider ones 16, both scaled to
//! the full range; signed grey of 9 to 24 bits is unscaled.

mod colour;

use crate::codec::jp2::BlockName;
pub(crate) use crate::codec::jp2::Blocks;
use crate::codec::jp2::Codestream;
use crate::codec::jp2::Component;
use crate::codec::jp2::Decoded;
use crate::codec::jp2::Planes;
use crate::codec::jp2::boxes::Boxes;
use crate::codec::jp2::boxes::Mapped;
use crate::codec::jp2::boxes::Palette;
use crate::codec::jp2::boxes::Space;
use crate::codec::read_at::FileRange;
use crate::codec::read_at::FileRanges;
use crate::codec::read_at::ReadAt;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::geometry::Size;
use crate::limits::Limits;
use crate::raster::Colour;
use crate::raster::Meaning;
use crate::raster::Metadata;
use crate::raster::Raster;
use crate::raster::SampleFormat;
use crate::raster::Samples;
use crate::raster::widened;
use crate::source::Decoding;
use crate::source::Effort;
use crate::source::Grid;
use crate::source::Header;
use crate::source::Level;
use crate::source::Piece;
use crate::source::Set;
use crate::source::Source;
use crate::source::Take;
use crate::source::Window;
use crate::source::cache::BandCache;
use crate::source::cache::NoCache;
use crate::source::cache::Part;
use crate::source::cache::TileCache;
use crate::source::jp2::colour::ColourConversion;
use crate::source::jp2::colour::choose;
use crate::source::jp2::colour::colour;
use crate::source::tiff;
use crate::store::Blob;
use crate::uninit;
use crate::work::check;
use crate::work::parallel::each;
use bytes::Bytes;
use std::sync::Arc;

/// A piece large enough that bands of pieces share few code-blocks.
const PIECE: Size = Size::new(1024, 1024);

/// Rows that are converted together: they fit a core's cache.
const BAND: u32 = 16;

/// Samples that justify another thread.
const WORTH: usize = 512 << 10;

/// The options of JPEG 2000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Jp2Options {
    /// Quality layers (`MAX_LAYERS`): 0 for half of those present, rounded up; -1 for all; otherwise at most this
    /// many.
    pub layers: i32,
    /// Whether damage is an error (`KAKADU_READMODE=1`); otherwise whatever can be decoded is shown.
    pub strict: bool,
    /// The limits of files.
    pub limits: Limits,
}

/// An open file.
pub struct Jp2 {
    stream: Codestream,
    header: Header,
    /// The output channels, in order.
    channels: Vec<Mapped>,
    palette: Option<Palette>,
    turn: ColourConversion,
    /// The most quality layers that are decoded.
    layers: u16,
}

impl Jp2Options {
    /// The number of quality layers to decode.
    fn layers_of(&self, available: u16) -> u16 {
        match self.layers {
            0 => available.div_ceil(2),
            n if n < 0 => available,
            n => available.min(u16::try_from(n).unwrap_or(u16::MAX)),
        }
    }
}

/// Channels that map to the components one by one.
fn direct(count: usize) -> Vec<Mapped> {
    let component = |component| Mapped {
        component,
        column: None,
    };
    (0..u16::try_from(count).unwrap_or(u16::MAX))
        .map(component)
        .collect()
}

/// Whether the only channel is a component of signed samples, which are output unscaled.
fn is_signed_grey(stream: &Codestream, channels: &[Mapped]) -> bool {
    let [only] = channels else {
        return false;
    };
    (stream.components().get(usize::from(only.component)))
        .is_some_and(|component| component.signed && (9..=24).contains(&component.bits))
}

/// The bits of each channel.
fn bits(stream: &Codestream, palette: Option<&Palette>, channels: &[Mapped]) -> Result<Vec<u8>> {
    let bits = |channel: &Mapped| {
        let component = stream.components().get(usize::from(channel.component))?;
        match channel.column {
            Some(column) => palette?.bits.get(usize::from(column)).copied(),
            None => Some(component.bits),
        }
    };
    let each = channels.iter().map(bits).collect::<Option<_>>();
    each.ok_or_else(|| Error::Corrupt("a channel without a component".into()))
}

/// A level for each resolution with pixels.
fn levels(stream: &Codestream) -> Vec<Level> {
    (0..=stream.reductions())
        .map(|reduction| stream.size(reduction))
        .take_while(|size| size.area() > 0)
        .map(|size| Level {
            grid: Grid::Rows,
            decoding: Decoding::Parallel,
            ..Level::tiled(size, PIECE)
        })
        .collect()
}

/// The bytes of the codestream, which consists of these pieces of the file.
fn codestream(mut file: FileRange, pieces: &[(u64, u64)]) -> Box<dyn ReadAt> {
    match pieces {
        [only] => {
            (file.start, file.len) = *only;
            Box::new(file)
        }
        pieces => Box::new(FileRanges::new(file, pieces)),
    }
}

/// The metadata of the boxes, completed by EXIF.
fn metadata(boxes: Boxes, exif: Metadata) -> Metadata {
    let own = Metadata {
        icc: boxes.icc,
        xmp: boxes.xmp,
        density: boxes.density,
        texts: boxes.xml.into_iter().map(|xml| ("xml", xml)).collect(),
        left_out: boxes.left_out,
        ..Metadata::default()
    };
    own.or(exif)
}

impl Jp2 {
    /// Opens a file. `Missing` if it is neither JP2 nor a codestream; `Unsupported` and `Corrupt` as for the codec.
    pub fn open(file: Arc<dyn Blob>, options: Jp2Options) -> Result<Jp2> {
        let version = file.version();
        let part = FileRange::whole(file);
        let mut boxes = Boxes::read(&part, &options.limits)?;
        let (exif, orientation) = (boxes.exif)
            .and_then(|(at, len)| tiff::exif(part.file.clone(), at, len))
            .unwrap_or((Metadata::default(), 1));
        let mut stream = Codestream::open(codestream(part, &boxes.codestream), options.strict)?;
        let (colour, colours, mut turn) = colour(&boxes, stream.components());
        let mapping = match boxes.mapping.is_empty() {
            true => direct(stream.components().len()),
            false => std::mem::take(&mut boxes.mapping),
        };
        let (channels, alpha) = choose(&mapping, &boxes.definitions, colours);
        stream.only(|number| channels.iter().any(|channel| channel.component == number));
        let palette = boxes.palette.take();
        let each = bits(&stream, palette.as_ref(), &channels)?;
        let mut bits = each.iter().copied().max().unwrap_or(8);
        if colour == Colour::Lab && boxes.space == Some(Space::Lab) {
            turn = ColourConversion::lab(boxes.lab, &each);
            // their steps differ from those of eight bits
            bits = bits.max(16);
        }
        let meaning = Meaning {
            colour,
            alpha,
            ranges: vec![(0.0, if bits > 8 { 65535.0 } else { 255.0 }); channels.len()],
        };
        let signed = palette.is_none() && turn == ColourConversion::Not && is_signed_grey(&stream, &channels);
        let header = Header {
            levels: levels(&stream),
            channels: u8::try_from(channels.len()).unwrap_or(u8::MAX),
            bits,
            kind: if signed {
                SampleFormat::Signed
            } else {
                SampleFormat::Unsigned
            },
            meaning,
            stored: None,
            metadata: metadata(boxes, exif),
            version,
            set: Set::default(),
            scalable: true,
            orientation,
        };
        let mut jp2 = Jp2 {
            layers: options.layers_of(stream.layers()),
            stream,
            header,
            channels,
            palette,
            turn,
        };
        if signed {
            jp2.header.meaning.ranges = vec![jp2.extent()];
        }
        if jp2.stream.is_deep() {
            jp2.probe()?;
        }
        Ok(jp2)
    }

    /// The range of signed samples in the smallest level; their full range if that cannot be read.
    fn extent(&self) -> (f64, f64) {
        let last = self.header.levels.len().saturating_sub(1);
        let size = self.header.levels.get(last).map_or(PIECE, |level| level.size);
        let rect = Rect::new(0, 0, size.w.min(PIECE.w), size.h.min(PIECE.h));
        let half = f64::from(self.header.bits - 1).exp2();
        let all = (-half, half - 1.0);
        let Ok(Raster {
            samples: Samples::F32(values),
            ..
        }) = self.rectangle(Window::new(last, rect), &NoCache)
        else {
            return all;
        };
        let ends = values.iter().map(|value| f64::from(*value));
        let (low, high) = ends.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        if low < high { (low, high) } else { all }
    }

    /// Decodes a small part, so that an image without decodable tiles is not described as available.
    fn probe(&self) -> Result<()> {
        let last = self.header.levels.len().saturating_sub(1);
        let size = self.header.levels.get(last).map_or(PIECE, |level| level.size);
        let rect = Rect::new(0, 0, size.w.min(64), size.h.min(64));
        self.rectangle(Window::new(last, rect), &NoCache).map(drop)
    }

    /// The samples of a window.
    fn rectangle(&self, window: Window, keep: &dyn TileCache) -> Result<Raster> {
        self.piece(window, keep)
            .map(|piece| piece.raster(window.rect.size()))
    }

    /// A window as one piece, vacant where the codestream has no tiles.
    fn piece(&self, window: Window, keep: &dyn TileCache) -> Result<Piece> {
        let rect = window.rect;
        let layers = window
            .layers
            .map_or(self.layers, |layers| layers.clamp(1, self.layers));
        let reduction = u8::try_from(window.level).map_err(|_| Error::Outside("no such level".into()))?;
        let decoded = self.stream.decode(reduction, rect, layers, &Kept(keep))?;
        if decoded.is_vacant() && rect.size().area() > 1 {
            let rect = Rect::new(rect.x, rect.y, 1, 1);
            let pixel = self.rectangle(Window { rect, ..window }, keep)?;
            return Ok(Piece::Vacant(pixel));
        }
        let (size, channels) = (rect.size(), self.channels.len());
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "inside the range"
        )]
        let samples = if self.header.kind == SampleFormat::Signed {
            #[expect(clippy::cast_precision_loss, reason = "at most 24 bits")]
            let scale = |value: u32, bits: u8| value as f32 - f32::from(bits - 1).exp2();
            Samples::F32(self.show(&decoded, size, scale, |_| ())?)
        } else if self.header.bits > 8 {
            let scale = |value, bits| widened(value, bits, 16);
            let colour = |pixels: &mut [u16]| {
                self.turn
                    .apply(pixels, channels, 65535.0, f32::from, |v| v as u16);
            };
            Samples::U16(self.show(&decoded, size, scale, colour)?)
        } else {
            let colour = |pixels: &mut [u8]| self.turn.apply(pixels, channels, 255.0, f32::from, |v| v as u8);
            let scale = |value, bits| u8::try_from(widened(value, bits, 8)).unwrap_or(u8::MAX);
            let as_is = |value: u32, _| value.min(255) as u8;
            let exact = (self.stream.components().iter()).all(|component| component.bits == 8);
            Samples::U8(if exact {
                self.show(&decoded, size, as_is, colour)?
            } else {
                self.show(&decoded, size, scale, colour)?
            })
        };
        Ok(Piece::Pixels(Raster {
            size,
            channels: self.header.channels,
            samples,
        }))
    }

    /// The samples of a window in bands of `rows` rows.
    fn bands(&self, window: Window, rows: u32, keep: &dyn TileCache, take: &mut Take) -> Result<()> {
        let rect = window.rect;
        for top in (0..rect.h).step_by(rows as usize) {
            check()?;
            let at = Rect::new(rect.x, rect.y + top, rect.w, rows.min(rect.h - top));
            take(self.piece(Window { rect: at, ..window }, keep)?, at)?;
        }
        Ok(())
    }

    /// Interleaves the channels, each scaled by `scale`, which gets its bits; `colour` converts the pixels of some
    /// rows; on as many threads as the samples justify.
    fn show<T: Copy + Default + Send>(
        &self,
        decoded: &Decoded,
        size: Size,
        scale: impl Fn(u32, u8) -> T + Sync,
        colour: impl Fn(&mut [T]) + Sync,
    ) -> Result<Vec<T>> {
        let row = size.w as usize * self.channels.len();
        let mut out = uninit::zeros::<T>(row * size.h as usize)?;
        let others = out.len() / WORTH;
        let bands = out.chunks_mut((row * BAND as usize).max(1));
        each(
            others,
            bands.zip((0..size.h).step_by(BAND as usize)),
            |(out, top)| {
                let planes = decoded.rows(top..(top + BAND).min(size.h))?;
                self.interleave(&planes, out, &scale);
                colour(out);
                Ok(())
            },
        )?;
        Ok(out)
    }

    /// Interleaves the channels of some rows.
    fn interleave<T: Copy>(&self, planes: &Planes, out: &mut [T], scale: impl Fn(u32, u8) -> T) {
        let count = self.channels.len().max(1);
        let plane = |channel: &Mapped| {
            let number = usize::from(channel.component);
            let (plane, component) = planes.get(number).zip(self.stream.components().get(number))?;
            let Component { bits, signed, .. } = *component;
            let lift = if signed { 1 << (bits.clamp(1, 31) - 1) } else { 0 };
            let unsigned = move |value: i32| value.wrapping_add(lift).cast_unsigned();
            Some((plane, bits, unsigned))
        };
        if let ([red, green, blue], None) = (&self.channels[..], &self.palette)
            && let (Some(red), Some(green), Some(blue)) = (plane(red), plane(green), plane(blue))
        {
            let pixels = out.as_chunks_mut().0.iter_mut();
            for ((pixel, r), (g, b)) in pixels.zip(red.0).zip(green.0.iter().zip(blue.0)) {
                *pixel = [(red, r), (green, g), (blue, b)]
                    .map(|((_, bits, unsigned), value)| scale(unsigned(*value), bits));
            }
            return;
        }
        for (place, channel) in self.channels.iter().enumerate() {
            let Some((plane, bits, unsigned)) = plane(channel) else {
                continue;
            };
            let to = out
                .chunks_exact_mut(count)
                .filter_map(|pixel| pixel.get_mut(place));
            match self.palette.as_ref().zip(channel.column) {
                None => to
                    .zip(plane)
                    .for_each(|(to, from)| *to = scale(unsigned(*from), bits)),
                Some((palette, column)) => {
                    let columns = palette.bits.len().max(1);
                    let rows: Vec<T> = (palette.values.iter().skip(usize::from(column)).step_by(columns))
                        .map(|value| {
                            scale(
                                *value,
                                palette.bits.get(usize::from(column)).copied().unwrap_or(8),
                            )
                        })
                        .collect();
                    // an index beyond the palette selects its last entry
                    let last = rows.len().saturating_sub(1);
                    for (to, from) in to.zip(plane) {
                        if let Some(value) = rows.get((unsigned(*from) as usize).min(last)) {
                            *to = *value;
                        }
                    }
                }
            }
        }
    }
}

impl Source for Jp2 {
    fn header(&self) -> &Header {
        &self.header
    }

    /// Decodes only the required code-blocks, for a large window some rows at a time; code-blocks that neighbouring
    /// windows need are cached in `keep`.
    fn read(&self, window: Window, keep: &dyn TileCache, take: &mut Take) -> Result<()> {
        let rows = Effort::PIECES / u64::from(window.rect.w.max(1));
        let rows = u32::try_from(rows).unwrap_or(u32::MAX).max(BAND);
        if window.rect.h <= rows {
            return take(self.piece(window, keep)?, window.rect);
        }
        // code-blocks shared by two bands are decoded once
        self.bands(window, rows, &BandCache::over(keep), take)
    }
}

/// Caches code-blocks as parts of the image.
struct Kept<'a>(&'a dyn TileCache);

impl Blocks for Kept<'_> {
    fn holds(&self) -> bool {
        self.0.packs()
    }

    fn block(
        &self,
        name: BlockName,
        make: &mut dyn FnMut(Option<Bytes>) -> Result<Option<Bytes>>,
    ) -> Result<()> {
        self.0.pack(Part::Coded(name.packed()), make)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raster::gather;
    use crate::raster::strip;
    use crate::source::window;
    use std::path::Path;

    fn seed(name: &str) -> Jp2 {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures/seeds")
            .join(name);
        Jp2::open(crate::store::open(&path).unwrap(), Jp2Options::default()).unwrap()
    }

    #[test]
    fn bands_join_to_the_window() {
        for name in ["reversible.jp2", "lossy.j2k", "quantised.j2k", "throughput.j2k"] {
            let jp2 = seed(name);
            for (index, level) in jp2.header.levels.iter().enumerate() {
                let inset = |side: u32| side.min(3) - 1;
                let (x, y) = (inset(level.size.w), inset(level.size.h));
                let rect = Rect::new(x, y, level.size.w - x, level.size.h - y);
                let window = Window::new(index, rect);
                let whole = window::raster(&jp2, window, &NoCache).unwrap();
                let mut bands = Vec::new();
                let mut take = |piece: Piece, at: Rect| {
                    bands.push(strip(piece.raster(at.size())));
                    Ok(())
                };
                jp2.bands(window, 5, &BandCache::over(&NoCache), &mut take)
                    .unwrap();
                assert_eq!(bands.len() as u32, rect.h.div_ceil(5), "{name}");
                assert_eq!(gather(bands).unwrap(), whole, "{name} {index}");
            }
        }
    }

    #[test]
    fn windows_without_tiles_are_vacant() {
        let jp2 = seed("../corrupt/absent-tiles-wide.j2k");
        let size = jp2.header.levels[0].size;
        let piece = |x| {
            let window = Window::new(0, Rect::new(x, 0, 1 << 20, size.h));
            window::piece(&jp2, window, &NoCache).unwrap()
        };
        // only the first of its tiles is there
        assert!(matches!(piece(0), Piece::Pixels(_)));
        let Piece::Vacant(pixel) = piece(size.w / 2) else {
            panic!("vacant expected")
        };
        assert_eq!(pixel.size, Size::new(1, 1));
        assert_eq!(pixel.samples, Samples::U8(vec![0; pixel.channels.into()]));
    }

    #[test]
    fn only_requested_components_are_decoded() {
        let mut jp2 = seed("reversible.jp2");
        let Size { w, h } = jp2.header.size();
        let rect = Rect::new(0, 0, w, h);
        let read = |jp2: &Jp2| {
            let stream = &jp2.stream;
            stream.read(0, rect, stream.layers(), &Kept(&NoCache)).unwrap()
        };
        let all = read(&jp2);
        // components of one colour transform are decoded together
        jp2.stream.only(|number| number == 1);
        assert_eq!(read(&jp2), all);
        jp2.stream.only(|_| false);
        assert!(read(&jp2).iter().all(Vec::is_empty));
    }
}
