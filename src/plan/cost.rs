//! The cost of a plan, work and memory, before any tile is read.

use crate::encode::bands;
use crate::plan::Plan;
use crate::process;
use crate::raster::SampleFormat;
use crate::source::Effort;
use crate::source::Header;
use crate::work::Cost;

/// Bytes that every job takes: tables, buffers, small reads.
const LEAST: u64 = 1 << 20;

/// Bytes that a band takes per thread in addition to its input: buffers before, between and after its steps.
const BAND: u64 = 12 << 20;

impl Plan {
    /// The cost on `threads` threads, without decoding, whose cost is an [`Effort`].
    pub fn cost(&self, header: &Header, threads: usize) -> Cost {
        let read = self.window.rect.size();
        let write = self.size();
        let written = write.area();
        let pixel = pixel_bytes(header);
        let coder = self.output.coder();
        let work = self.pixels().saturating_add(written.saturating_mul(coder.work));
        let banded = bands::rows(write, self.output).is_some()
            && !self.is_deep()
            && process::needs(&self.ops, read, 0..1).is_some();
        let file = match self.is_deep() {
            true => written.saturating_mul(pixel),
            false => self.output.file_bytes(written),
        };
        let bytes = if banded {
            let tile = header
                .levels
                .get(self.window.level)
                .map_or(256, |level| level.tile.h);
            let rows = u64::from(tile.min(read.h)).saturating_mul(2);
            let band = rows.saturating_mul(u64::from(read.w)).saturating_mul(pixel);
            let whole = read.area().saturating_mul(pixel).saturating_mul(2);
            (threads as u64).saturating_mul(
                band.min(whole)
                    .saturating_add(BAND.min(written.saturating_mul(12))),
            )
        } else {
            let pixels = read.area().max(written);
            let samples = if self.is_deep() { pixel } else { 4 };
            let picture = pixels.saturating_mul(samples);
            let coder = written.saturating_mul(coder.pixel_bytes);
            read.area()
                .saturating_mul(pixel)
                .saturating_add(picture)
                .saturating_add(coder)
        };
        Cost {
            work,
            bytes: bytes.saturating_add(file).saturating_add(LEAST),
        }
    }
}

impl Cost {
    /// Adds the cost of decoding.
    pub fn and(self, effort: Effort, header: &Header) -> Cost {
        Cost {
            work: self.work.saturating_add(effort.pixels),
            bytes: self
                .bytes
                .saturating_add(effort.held.saturating_mul(pixel_bytes(header))),
        }
    }
}

/// Bytes per decoded pixel.
fn pixel_bytes(header: &Header) -> u64 {
    let sample = match (header.kind, header.bits) {
        (SampleFormat::Unsigned | SampleFormat::Signed, 0..=8) => 1,
        (SampleFormat::Unsigned | SampleFormat::Signed, 9..=16) => 2,
        _ => 4,
    };
    u64::from(header.channels) * sample
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geometry::Size;
    use crate::plan::PlanLimits;
    use crate::plan::View;
    use crate::raster::Format;
    use crate::source::Source;
    use crate::source::synthetic::Synthetic;

    fn cost(format: Format) -> Cost {
        let source = Synthetic::halving(Size::new(5000, 5000), Size::new(256, 256), 3);
        let plan = View::full(format)
            .resolve(source.header(), &PlanLimits::default())
            .unwrap();
        plan.cost(source.header(), 2)
    }

    #[test]
    fn answers_in_bands_take_less_memory_than_the_picture_and_others_more() {
        let picture = 5000 * 5000 * 3;
        assert!(cost(Format::Jpeg).bytes < picture);
        assert!(cost(Format::Webp).bytes > 2 * picture);
        assert!(cost(Format::Webp).work > 3 * cost(Format::Jpeg).work);
    }

    #[test]
    fn decoding_is_counted() {
        let source = Synthetic::halving(Size::new(100, 100), Size::new(256, 256), 3);
        let with = |effort| Cost::default().and(effort, source.header());
        assert_eq!(
            with(Effort::of(1000)),
            Cost {
                work: 1000,
                bytes: 3000
            }
        );
        assert_eq!(with(Effort::shared(1 << 30)).bytes, 3 << 23);
        // a picture of one tile is decoded as a whole
        let whole = Effort::shared(1 << 26).of_tiles(1 << 26);
        assert_eq!(with(whole).bytes, (2 * 3) << 26);
    }
}
