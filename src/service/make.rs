//! From a plan to the bytes of an answer: the stored tile as it is, or read, process, encode.

use crate::encode;
use crate::encode::Tags;
use crate::error::Error;
use crate::error::Result;
use crate::geometry::Rect;
use crate::library::Opened;
use crate::plan::Plan;
use crate::process;
use crate::process::Stats;
use crate::process::colour;
use crate::raster::Colour;
use crate::raster::Layout;
use crate::raster::Picture;
use crate::service::Service;
use crate::source::Window;
use bytes::Bytes;

impl Service {
    /// The bytes of an answer.
    pub(in crate::service) fn make(&self, opened: &Opened, plan: &Plan) -> Result<Bytes> {
        let header = opened.source.header();
        let density = plan.density(header);
        let format = plan.output.format;
        if let Some(tile) = plan.as_stored(header).filter(|_| self.config().passthrough)
            && let Some(coded) = opened.source.coded(tile, format)?
            && let Some(coded) = encode::again(coded, plan.window.rect.size(), plan.output)?
        {
            let layout = if header.meaning.colour == Colour::Grey {
                Layout::Grey
            } else {
                Layout::Rgb
            };
            let tags = Tags {
                icc: self.profile(opened, layout),
                density,
            };
            return encode::tag(coded, format, &tags).map(Bytes::from);
        }
        let raster = self.mosaic.read(opened, plan.window, &self.cache)?;
        let picture = process::run(raster, &header.meaning, &plan.ops, || self.stats(opened))?;
        let tags = Tags {
            icc: self.profile(opened, picture.layout),
            density,
        };
        encode::encode(&picture, plan.output, &tags).map(Bytes::from)
    }

    /// The image's ICC profile, if it is sound, small enough and made for such pixels (ICC.1:2022 §7.2).
    fn profile<'a>(&self, opened: &'a Opened, layout: Layout) -> Option<&'a [u8]> {
        let profile = opened.source.header().metadata.icc.as_deref()?;
        let small = self.config().max_icc.is_none_or(|max| profile.len() <= max);
        let size = profile.get(..4)?.try_into().map(u32::from_be_bytes).ok()?;
        let sound = size as usize == profile.len() && profile.get(36..40) == Some(b"acsp");
        let space: &[u8] = if layout == Layout::Grey { b"GRAY" } else { b"RGB " };
        (small && sound && profile.get(16..20) == Some(space)).then_some(profile)
    }

    /// The histogram of the smallest level, averaged over channels.
    fn stats(&self, opened: &Opened) -> Result<Stats> {
        let header = opened.source.header();
        let level = header.levels.len().saturating_sub(1);
        let size = header.levels.get(level).map_or(header.size(), |level| level.size);
        if size.area() > self.limits.max_area() {
            return Err(Error::TooLarge(
                "the image has no level small enough for its histogram".into(),
            ));
        }
        let raster = self
            .mosaic
            .read(opened, Window::new(level, Rect::of(size)), &self.cache)?;
        Ok(Stats {
            histogram: histogram(&colour::picture(raster, &header.meaning)?),
        })
    }
}

/// Counts of the mean of the colour channels (alpha aside), rounded down.
fn histogram(picture: &Picture) -> [u64; 256] {
    let channels = picture.layout.channels();
    let colours = channels.min(3);
    let mut histogram = [0; 256];
    for pixel in picture.data.chunks_exact(channels) {
        let sum: usize = pixel.iter().take(colours).map(|&v| usize::from(v)).sum();
        if let Some(count) = histogram.get_mut(sum / colours) {
            *count += 1;
        }
    }
    histogram
}
