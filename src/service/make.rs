//! From a plan to the bytes of an answer: the stored tile as it is, or read, process, encode.

use crate::encode;
use crate::encode::Tags;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::library::Opened;
use crate::plan::Key;
use crate::plan::Plan;
use crate::process;
use crate::process::Stats;
use crate::process::colour;
use crate::process::profile::SRGB;
use crate::process::profile::sound;
use crate::raster::Colour;
use crate::raster::Kind;
use crate::raster::Layout;
use crate::raster::Meaning;
use crate::raster::Picture;
use crate::raster::Raster;
use crate::raster::Samples;
use crate::service::Service;
use crate::source::Window;
use bytes::Bytes;
use std::borrow::Cow;
use std::sync::Arc;

impl Service {
    /// The bytes of an answer: a stored tile, what another server has made, or its own work.
    pub(in crate::service) fn make(&self, opened: &Opened, key: &Key, plan: &Plan) -> Result<Bytes> {
        let header = opened.source.header();
        let format = plan.output.format;
        if let Some(tile) = plan.as_stored(header)
            && self.config().passthrough
            && self.profiles.of(opened, false).is_none()
            && let Some(coded) = opened.source.coded(tile, format)?
            && let Some(coded) = encode::again(coded, plan.window.rect.size(), plan.output)?
        {
            let layout = if header.meaning.colour == Colour::Grey {
                Layout::Grey
            } else {
                Layout::Rgb
            };
            let tags = self.tags(opened, plan, layout);
            return encode::tag(coded, format, &tags).map(Bytes::from);
        }
        let draw = || self.drawn(opened, plan);
        match &self.shared {
            // where the files are is not part of an identity
            Some(shared) => {
                let config = self.config();
                let place = (&config.filesystem_prefix, &config.filesystem_suffix);
                let name = key.name(&(self.salt, place));
                if let Some(stored) = shared.get_blocking(&name) {
                    return Ok(stored);
                }
                let made = draw()?;
                shared.set(&name, &made);
                Ok(made)
            }
            None => draw(),
        }
    }

    /// Read, processed and encoded.
    fn drawn(&self, opened: &Opened, plan: &Plan) -> Result<Bytes> {
        if let Some(file) = self.export(opened, plan)? {
            return Ok(file.into());
        }
        let raster = if plan.recolours() {
            self.mosaic.read_again(opened, plan.window, &self.cache)?
        } else {
            self.mosaic.read(opened, plan.window, &self.cache)?
        };
        let (raster, meaning) = self.coloured(opened, raster, plan.chains())?;
        if plan.output.deep && !matches!(raster.samples, Samples::U8(_)) {
            let layout = if meaning.colour == Colour::Grey {
                Layout::Grey
            } else {
                Layout::Rgb
            };
            let raster = process::deep::run(raster, &meaning, &plan.ops)?;
            let tags = self.tags(opened, plan, layout);
            let header = opened.source.header();
            let signed = (header.kind == Kind::Signed).then_some(header.bits);
            return encode::deep(&raster, &meaning, signed, plan.output, &tags).map(Bytes::from);
        }
        let picture = process::run(raster, &meaning, &plan.ops, || self.stats(opened))?;
        let tags = self.tags(opened, plan, picture.layout);
        encode::encode(&picture, plan.output, &tags).map(Bytes::from)
    }

    /// What is embedded in an answer of this layout.
    pub(in crate::service) fn tags<'a>(
        &'a self,
        opened: &'a Opened,
        plan: &Plan,
        layout: Layout,
    ) -> Tags<'a> {
        let header = opened.source.header();
        let lean = Tags {
            icc: self.profile(opened, layout).filter(|_| !plan.recolours()),
            density: plan.density(header),
            ..Tags::default()
        };
        if !plan.output.told {
            return lean;
        }
        Tags {
            xmp: header.metadata.xmp.as_deref(),
            texts: &header.metadata.texts,
            details: Some(&header.metadata.details),
            rights: Some(self.config().copyright.trim()).filter(|rights| !rights.is_empty()),
            ..lean
        }
    }

    /// Samples of an image and what they mean, in sRGB where they have to be. As `numbers` those of 32 bits and floating
    /// point stay as they are, for what is asked of them is in their own terms.
    pub(in crate::service) fn coloured<'a>(
        &self,
        opened: &'a Opened,
        raster: Raster,
        numbers: bool,
    ) -> Result<(Raster, Cow<'a, Meaning>)> {
        let header = opened.source.header();
        let transform = match raster.samples {
            Samples::U8(_) => self.profiles.of(opened, false),
            Samples::U16(_) => self.profiles.of(opened, true),
            _ if numbers && header.meaning.colour != Colour::Cmyk => None,
            _ => self.profiles.of(opened, true),
        };
        match transform {
            Some(transform) => {
                let (raster, meaning) = transform.apply(raster, &header.meaning)?;
                Ok((raster, Cow::Owned(meaning)))
            }
            None => Ok((raster, Cow::Borrowed(&header.meaning))),
        }
    }

    /// The profile of an answer, if it is small enough: that of the image, if it is sound and made for such pixels, or
    /// that of sRGB where everything is in it (grey without a profile is taken for that everywhere).
    fn profile<'a>(&self, opened: &'a Opened, layout: Layout) -> Option<&'a [u8]> {
        let profile = match (self.config().srgb, layout) {
            (true, Layout::Grey) => return None,
            (true, _) => &SRGB[..],
            (false, Layout::Grey) => sound(opened.source.header().metadata.icc.as_deref()?, Colour::Grey)?,
            (false, _) => sound(opened.source.header().metadata.icc.as_deref()?, Colour::Rgb)?,
        };
        let small = self.config().max_icc.is_none_or(|max| profile.len() <= max);
        small.then_some(profile)
    }

    /// The histogram of the smallest level, averaged over channels. It is made once for an open image.
    pub(in crate::service) fn stats(&self, opened: &Opened) -> Result<Arc<Stats>> {
        if let Some(known) = opened.stats.get() {
            return Ok(known.clone());
        }
        let header = opened.source.header();
        let level = header.levels.len().saturating_sub(1);
        let size = header.levels.get(level).map_or(header.size(), |level| level.size);
        if size.area() > self.limits.now().max_area() {
            return Err(Error::TooLarge(
                "the image has no level small enough for its histogram".into(),
            ));
        }
        let window = Window::new(level, Rect::of(size));
        let raster = self.mosaic.read(opened, window, &self.cache)?;
        let (raster, meaning) = self.coloured(opened, raster, true)?;
        let histogram = histogram(&colour::picture(raster, &meaning)?);
        // two that come at once find the same
        Ok(opened.stats.get_or_init(|| Arc::new(Stats { histogram })).clone())
    }
}

/// Counts of the mean of the colour channels (alpha aside), rounded to the nearest.
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
