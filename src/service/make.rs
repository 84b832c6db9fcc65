//! Makes the bytes of an answer from a plan: the stored tile unchanged, or read, process, encode.

use crate::encode;
use crate::encode::Tags;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::library::Opened;
use crate::plan::Finish;
use crate::plan::Key;
use crate::plan::Plan;
use crate::process;
use crate::process::Pixels;
use crate::process::Stats;
use crate::process::colour;
use crate::process::profile::SRGB;
use crate::process::profile::sound;
use crate::raster::Colour;
use crate::raster::Layout;
use crate::raster::Meaning;
use crate::raster::Picture;
use crate::raster::Raster;
use crate::raster::SampleFormat;
use crate::raster::Samples;
use crate::raster::strip;
use crate::service::Service;
use crate::service::answer::mixed;
use crate::source::Window;
use crate::work::Stage;
use crate::work::check;
use crate::work::timed;
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;

impl Service {
    /// The stored, encoded tile, if it can be sent unchanged.
    pub(in crate::service) fn as_stored(&self, opened: &Opened, plan: &Plan) -> Result<Option<Bytes>> {
        let header = opened.source.header();
        let format = plan.output.format;
        if self.passes(opened, plan)
            && let Some(tile) = plan.as_stored(header)
            && let Some(coded) = opened.source.coded(tile, format)?
            && let Some(coded) = encode::transcode(coded, plan.window.rect.size(), plan.output)?
        {
            let tags = self.tags(opened, plan, layout(header.meaning.colour));
            return encode::tag(coded, format, &tags).map(|coded| Some(coded.into()));
        }
        Ok(None)
    }

    /// The bytes of an answer: a stored tile, or a newly encoded picture.
    pub(in crate::service) fn compute(&self, opened: &Opened, key: &Key) -> Result<Bytes> {
        let plan = key.plan().ok_or_else(mixed)?;
        if let Some(stored) = self.as_stored(opened, plan)? {
            return Ok(stored);
        }
        self.render(opened, plan)
    }

    /// The key of an answer in the cache that servers share; `None` without such a cache, or if reading is faster
    /// than asking it.
    pub(in crate::service) fn shared_name(&self, opened: &Opened, key: &Key) -> Option<String> {
        let passes = key.plan().is_some_and(|plan| self.passes(opened, plan));
        self.shared.as_ref().filter(|_| !passes)?;
        // the location of the files is not part of an identity
        let config = self.config();
        Some(key.name(&(&config.library.prefix, &config.library.suffix)))
    }

    /// Whether an answer is worth storing on disk: not if the master provides it faster.
    pub(in crate::service) fn is_lasting(&self, opened: &Opened, plan: &Plan) -> bool {
        self.disk.is_on() && !self.passes(opened, plan)
    }

    /// The key of an answer in the disk cache.
    pub(in crate::service) fn lasting_name(&self, key: &Key) -> u128 {
        let config = self.config();
        key.digest(&(&config.library.prefix, &config.library.suffix))
    }

    /// Whether the answer is a stored tile that may be sent unchanged, as far as known without reading it.
    fn passes(&self, opened: &Opened, plan: &Plan) -> bool {
        plan.finish.passthrough
            && plan.as_stored(opened.source.header()).is_some()
            && self.profiles.transform(opened, false).is_none()
    }

    /// Reads, processes and encodes.
    fn render(&self, opened: &Opened, plan: &Plan) -> Result<Bytes> {
        if let Some(file) = self.export(opened, plan)? {
            return Ok(file.into());
        }
        let (mosaic, window) = (&self.mosaic, plan.window);
        // channels that are not shown are dropped, unless a chain or the full depth needs them
        let keep_all = plan.chains() || plan.is_deep();
        let finish = |raster| {
            let (raster, meaning) = self.coloured(opened, raster, plan.chains())?;
            let seen = if keep_all {
                raster
            } else {
                colour::visible_channels(raster, &meaning)
            };
            Ok((seen, meaning))
        };
        let read = timed(Stage::Read, || match plan.recolours() {
            true => Ok(vec![finish(mosaic.read_again(opened, window, &self.cache)?)?]),
            false => mosaic.strips(opened, window, &self.cache, finish),
        })?;
        check()?;
        let (rasters, meanings): (Vec<_>, Vec<_>) = read.into_iter().unzip();
        let meaning = meanings
            .first()
            .map_or(&opened.source.header().meaning, Cow::as_ref);
        let strips = rasters.into_iter().map(strip).collect();
        let stats = || self.stats(opened);
        let run = || process::run(strips, meaning, &plan.ops, None, stats);
        let pixels = timed(Stage::Process, run)?;
        check()?;
        let encode = || self.encode(opened, plan, pixels, meaning);
        timed(Stage::Encode, encode).map(Bytes::from)
    }

    /// Encodes at the current depth.
    fn encode(&self, opened: &Opened, plan: &Plan, pixels: Pixels, meaning: &Meaning) -> Result<Vec<u8>> {
        match pixels.layout() {
            Some(layout) => {
                let tags = self.tags(opened, plan, layout);
                encode::encode(&pixels.picture()?, plan.output, &tags)
            }
            None => {
                let tags = self.tags(opened, plan, layout(meaning.colour));
                let header = opened.source.header();
                let signed = (header.kind == SampleFormat::Signed).then_some(header.bits);
                encode::deep(&pixels.raster()?, meaning, signed, plan.output, &tags)
            }
        }
    }

    /// The metadata to embed in an answer of this layout.
    pub(in crate::service) fn tags<'a>(
        &'a self,
        opened: &'a Opened,
        plan: &'a Plan,
        layout: Layout,
    ) -> Tags<'a> {
        let header = opened.source.header();
        let lean = Tags {
            icc: profile(opened, layout, &plan.finish).filter(|_| !plan.recolours()),
            density: plan.density(header),
            ..Tags::default()
        };
        if !plan.output.full_metadata {
            return lean;
        }
        Tags {
            xmp: header.metadata.xmp.as_deref(),
            texts: &header.metadata.texts,
            details: Some(&header.metadata.details),
            rights: Some(plan.finish.rights.as_str()).filter(|rights| !rights.is_empty()),
            ..lean
        }
    }

    /// Converts samples of an image to sRGB where needed; returns them with their meaning. With `numbers`, samples of
    /// 32 bits and floating point are unchanged, since requests about them refer to stored values.
    pub(in crate::service) fn coloured<'a>(
        &self,
        opened: &'a Opened,
        raster: Raster,
        numbers: bool,
    ) -> Result<(Raster, Cow<'a, Meaning>)> {
        let header = opened.source.header();
        let transform = match raster.samples {
            Samples::U8(_) => self.profiles.transform(opened, false),
            Samples::U16(_) => self.profiles.transform(opened, true),
            _ if numbers && header.meaning.colour != Colour::Cmyk => None,
            _ => self.profiles.transform(opened, true),
        };
        match transform {
            Some(transform) => {
                let (raster, meaning) = transform.apply(raster, &header.meaning)?;
                Ok((raster, Cow::Owned(meaning)))
            }
            None => Ok((raster, Cow::Borrowed(&header.meaning))),
        }
    }

    /// The histogram of the smallest level, averaged over channels. Computed once per open image.
    pub(in crate::service) fn stats(&self, opened: &Opened) -> Result<Arc<Stats>> {
        if let Some(known) = opened.stats.get() {
            return Ok(known.clone());
        }
        let window = self.smallest(opened)?;
        let raster = self.mosaic.read(opened, window, &self.cache)?;
        let (raster, meaning) = self.coloured(opened, raster, true)?;
        let histogram = histogram(&colour::picture(raster, &meaning)?);
        // concurrent requests compute the same value
        Ok(opened.stats.get_or_init(|| Arc::new(Stats { histogram })).clone())
    }

    /// The whole smallest level.
    pub(in crate::service) fn smallest(&self, opened: &Opened) -> Result<Window> {
        let header = opened.source.header();
        let level = header.levels.len().saturating_sub(1);
        let size = header.levels.get(level).map_or(header.size(), |level| level.size);
        if size.area() > self.limits.now().max_area() {
            return Err(Error::TooLarge(
                "the image has no level small enough for its histogram".into(),
            ));
        }
        Ok(Window::new(level, Rect::of(size)))
    }
}

/// The layout for these colours without alpha.
fn layout(colour: Colour) -> Layout {
    match colour {
        Colour::Grey => Layout::Grey,
        _ => Layout::Rgb,
    }
}

/// The profile to embed, if it is small enough: that of the image, if it is valid and fits such pixels, or sRGB where
/// everything is converted to it (for grey, no profile means sRGB anyway).
fn profile<'a>(opened: &'a Opened, layout: Layout, finish: &Finish) -> Option<&'a [u8]> {
    let profile = match (finish.srgb, layout) {
        (true, Layout::Grey) => return None,
        (true, _) => &SRGB[..],
        (false, Layout::Grey) => sound(opened.source.header().metadata.icc.as_deref()?, Colour::Grey)?,
        (false, _) => sound(opened.source.header().metadata.icc.as_deref()?, Colour::Rgb)?,
    };
    let small = finish.max_icc.is_none_or(|max| profile.len() <= max);
    small.then_some(profile)
}

/// Histogram of the mean of the colour channels (without alpha), rounded to the nearest.
fn histogram(picture: &Picture) -> [u64; 256] {
    let channels = picture.layout.channels();
    let colours = channels.min(3);
    let mut histogram = [0; 256];
    for pixel in picture.data.chunks_exact(channels) {
        let sum: usize = pixel.iter().take(colours).map(|&v| usize::from(v)).sum();
        if let Some(count) = histogram.get_mut((sum + colours / 2) / colours) {
            *count += 1;
        }
    }
    histogram
}
