//! Makes large answers in bands of rows: reads, processes and encodes a few at a time.
//!
//! Memory per thread: two rows of the window's tiles, and a band of about a million pixels before and after its
//! steps; in addition the growing file. The pixels equal those of an answer made as a whole.

use crate::encode::bands;
use crate::encode::bands::BandWriter;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::library::Opened;
use crate::plan::Plan;
use crate::process;
use crate::process::RowBand;
use crate::raster::Meaning;
use crate::raster::Raster;
use crate::raster::Strip;
use crate::service::Service;
use crate::source::Window;
use crate::work::Stage;
use crate::work::lend;
use crate::work::timed;
use std::borrow::Cow;
use std::ops::Range;

/// Pixels read and written above which an answer is made in bands.
const LARGE: u64 = 1 << 22;

impl Service {
    /// The bytes of a large answer; `None` if it is small, or must be made as a whole because of its format or a step
    /// that needs the whole picture.
    pub(in crate::service) fn export(&self, opened: &Opened, plan: &Plan) -> Result<Option<Vec<u8>>> {
        let (size, whole) = (plan.size(), plan.window.rect.size());
        let Some(high) = bands::rows(size, plan.output).filter(|_| plan.pixels() > LARGE && !plan.is_deep())
        else {
            return Ok(None);
        };
        let band = |start: u32| {
            let wanted = start..size.h.min(start.saturating_add(high));
            let needed = process::needs(&plan.ops, whole, wanted.clone())?;
            let first = needed.start;
            Some((RowBand { whole, first, wanted }, needed))
        };
        let parts: Option<Vec<_>> = (0..size.h).step_by(high as usize).map(band).collect();
        let Some(parts) = parts else { return Ok(None) };
        let stats = match process::asks_stats(&plan.ops) {
            true => Some(self.stats(opened)?),
            false => None,
        };
        let stats = || {
            stats
                .clone()
                .ok_or_else(|| Error::Unsupported("no histogram".into()))
        };

        let mut begun = None;
        let mut input = WindowRows {
            service: self,
            opened,
            window: plan.window,
            numbers: plan.chains(),
            meaning: Cow::Borrowed(&opened.source.header().meaning),
            held: Vec::new(),
            end: 0,
        };
        for group in parts.chunks(self.mosaic.threads()) {
            // no lock is held between bands
            lend()?;
            if let (Some((_, first)), Some((_, last))) = (group.first(), group.last()) {
                timed(Stage::Read, || input.read(first.start..last.end))?;
            }
            let pieces = self.mosaic.each(group.iter().collect(), |(part, needed)| {
                let strips = input.strips(needed);
                let run = || process::run(strips, &input.meaning, &plan.ops, Some(part.clone()), stats);
                let band = timed(Stage::Process, || run()?.picture())?;
                timed(Stage::Encode, || bands::code(band, plan.output))
            })?;
            for piece in pieces {
                let (writer, _) = match &mut begun {
                    Some(begun) => begun,
                    none => {
                        let tags = self.tags(opened, plan, piece.layout());
                        let writer = BandWriter::begin(size, &piece, plan.output, &tags)?;
                        none.insert((writer, tags))
                    }
                };
                timed(Stage::Encode, || writer.push(piece))?;
            }
        }
        match begun {
            Some((writer, tags)) => writer.finish(&tags).map(Some),
            None => Ok(None),
        }
    }
}

/// Reads the window's rows from the top: each row of tiles is read once.
struct WindowRows<'a> {
    service: &'a Service,
    opened: &'a Opened,
    window: Window,
    /// Whether samples of 32 bits are unchanged: see [`Service::coloured`].
    numbers: bool,
    /// The meaning of the samples after colour conversion; before the first read, that of the source.
    meaning: Cow<'a, Meaning>,
    /// The rows that were read and may still be needed, each raster with its first row, in order.
    held: Vec<(u32, Raster)>,
    /// The end of the rows that were read.
    end: u32,
}

impl<'a> WindowRows<'a> {
    /// Reads up to the end of these rows of the window; earlier rows must not be requested afterwards.
    fn read(&mut self, needed: Range<u32>) -> Result<()> {
        self.held
            .retain(|(first, raster)| first + raster.size.h > needed.start);
        if self.held.is_empty() {
            self.end = self.end.max(needed.start);
        }
        while self.end < needed.end {
            for (raster, meaning) in self.chunk()? {
                let first = self.end;
                self.end += raster.size.h;
                self.meaning = meaning;
                self.held.push((first, raster));
            }
        }
        Ok(())
    }

    /// These rows, which must have been read.
    fn strips(&self, needed: &Range<u32>) -> Vec<Strip<'_>> {
        let strip = |(first, raster): &'_ (u32, Raster)| {
            let from = needed.start.max(*first) - first;
            let to = needed.end.min(first + raster.size.h).saturating_sub(*first);
            from..to
        };
        let strips = self.held.iter().map(|held| (Cow::Borrowed(&held.1), strip(held)));
        strips.filter(|(_, rows)| !rows.is_empty()).collect()
    }

    /// The next unread rows: as many rows of tiles as there are threads.
    fn chunk(&self) -> Result<Vec<(Raster, Cow<'a, Meaning>)>> {
        let header = self.opened.source.header();
        let tile = header
            .levels
            .get(self.window.level)
            .map_or(1, |level| level.tile.h.max(1));
        let rect = self.window.rect;
        let y = rect.y + self.end;
        let threads = u32::try_from(self.service.mosaic.threads()).unwrap_or(1);
        let next = (y / tile).saturating_add(threads).saturating_mul(tile);
        let place = Rect::new(rect.x, y, rect.w, next - y)
            .meet(rect)
            .ok_or_else(|| Error::Internal(format!("no rows from {y} on are left to export")))?;
        let window = Window {
            rect: place,
            ..self.window
        };
        let service = self.service;
        let finish = |raster| service.coloured(self.opened, raster, self.numbers);
        service
            .mosaic
            .read_past(self.opened, window, &service.cache, finish)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::jpeg;
    use crate::config::Config;
    use crate::encode;
    use crate::encode::TiffCompression;
    use crate::geometry::Size;
    use crate::plan::PlanLimits;
    use crate::plan::Region;
    use crate::plan::Scale;
    use crate::plan::Tone;
    use crate::plan::View;
    use crate::process::Watermark;
    use crate::process::convolve::Kernel;
    use crate::raster::Format;
    use crate::raster::Layout;
    use crate::raster::Picture;
    use crate::raster::Samples;
    use crate::raster::strip;
    use crate::source::cache::NoCache;
    use crate::source::synthetic::Synthetic;
    use crate::source::tiff::Tiff;
    use crate::source::tiff::build::Temp;
    use std::sync::Arc;

    /// Decodes the pixels of a file.
    fn pixels(file: &[u8], format: Format, size: Size) -> Vec<u8> {
        let samples = match format {
            Format::Jpeg => jpeg::decode(file, size).unwrap().samples,
            Format::Png => {
                let mut reader = png::Decoder::new(std::io::Cursor::new(file)).read_info().unwrap();
                let mut data = vec![0; reader.output_buffer_size().unwrap()];
                reader.next_frame(&mut data).unwrap();
                Samples::U8(data)
            }
            _ => {
                let tiff = Tiff::open(Temp::new(file).open(), &Default::default()).unwrap();
                let rect = Rect::of(size);
                crate::source::window::raster(&tiff, Window::new(0, rect), &NoCache)
                    .unwrap()
                    .samples
            }
        };
        match samples {
            Samples::U8(data) => data,
            _ => panic!("8 bits expected"),
        }
    }

    #[test]
    fn an_answer_in_bands_has_the_pixels_of_one_in_one_piece() {
        let tile = Size::new(256, 240);
        let service = |threads: &'static str| {
            let config = Config::read(|name| match name {
                "OMP_NUM_THREADS" => Some(threads.into()),
                "MAX_IMAGE_CACHE_SIZE" => Some("1".into()),
                _ => None,
            });
            Service::new(config)
                .with_image("grey", Synthetic::halving(Size::new(3001, 2103), tile, 1))
                .with_image("rgb", Synthetic::halving(Size::new(3001, 2103), tile, 3))
                .with_image("rgba", Synthetic::halving(Size::new(3001, 2103), tile, 4))
        };
        let scales = [
            Scale::Max,
            Scale::Width(2000),
            Scale::Exact(Size::new(1600, 4000)),
            Scale::Exact(Size::new(3500, 2600)),
        ];
        let (one, three) = (service("1"), service("3"));
        let mark = Picture {
            size: Size::new(150, 170),
            layout: Layout::Grey,
            data: (0..=255).cycle().take(150 * 170).collect(),
        };
        let mark = Arc::new(Watermark::new(mark, 0.5, 0.7));
        let mut banded = 0;
        for (name, format, interpolation, threads) in [
            ("rgb", Format::Jpeg, 1, &one),
            ("rgb", Format::Jpeg, 4, &three),
            ("grey", Format::Jpeg, 2, &three),
            ("rgba", Format::Jpeg, 1, &three),
            ("rgba", Format::Png, 3, &three),
            ("grey", Format::Png, 0, &one),
            ("rgb", Format::Tiff, 1, &three),
            ("rgba", Format::Tiff, 4, &one),
        ] {
            for (turn, scale) in scales.into_iter().enumerate() {
                let limits = PlanLimits {
                    interpolation,
                    watermark: (turn > 1).then(|| mark.clone()),
                    ..PlanLimits::default()
                };
                let mut view = View {
                    region: Region::from(Rect::new(3, 5, 2990, 2090)),
                    scale,
                    ..View::full(format)
                };
                view.adjust.mirror = turn % 2 == 1;
                view.adjust.tone = [Tone::Native, Tone::Grey, Tone::Bitonal, Tone::Native][turn];
                view.adjust.samples.kernel = Kernel::named("sharpen").filter(|_| turn % 2 == 1);
                let opened = threads.library.open(name).unwrap();
                let plan = view.resolve(opened.source.header(), &limits).unwrap();
                let Some(file) = threads.export(&opened, &plan).unwrap() else {
                    panic!("{name} {plan:?} is not made in bands");
                };
                banded += 1;
                let raster = threads.mosaic.read(&opened, plan.window, &threads.cache).unwrap();
                let meaning = &opened.source.header().meaning;
                let stats = || threads.stats(&opened);
                let run = process::run(vec![strip(raster)], meaning, &plan.ops, None, stats);
                let picture = run.unwrap().picture().unwrap();
                let tags = threads.tags(&opened, &plan, picture.layout);
                let whole = encode::encode(&picture, plan.output, &tags).unwrap();
                let size = plan.size();
                assert!(
                    pixels(&file, format, size) == pixels(&whole, format, size),
                    "{name} {plan:?}"
                );
            }
        }
        assert_eq!(banded, 32);
    }

    #[test]
    fn steps_that_need_the_whole_picture_run_on_one_piece() {
        let source = Synthetic::halving(Size::new(3000, 2000), Size::new(256, 256), 3);
        let service = Service::new(Config::default()).with_image("rgb", source);
        let opened = service.library.open("rgb").unwrap();
        let is_banded = |view: View| {
            let plan = view
                .resolve(opened.source.header(), &PlanLimits::default())
                .unwrap();
            service.export(&opened, &plan).unwrap().is_some()
        };
        let full = || View::full(Format::Jpeg);
        assert!(is_banded(full()));
        assert!(is_banded(View {
            compression: Some(TiffCompression::Jpeg),
            ..View::full(Format::Tiff)
        }));
        assert!(!is_banded(View::full(Format::Webp)));
        assert!(!is_banded(View {
            scale: Scale::Width(500),
            ..full()
        }));
        for degrees in ["90", "180", "33"] {
            let mut turned = full();
            turned.adjust.degrees = crate::geometry::Num::parse(degrees).unwrap();
            assert!(!is_banded(turned), "{degrees}");
        }
    }
}
