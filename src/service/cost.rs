//! The cost of requests before they run.

use crate::error::Result;
use crate::library::Opened;
use crate::protocol::iip::Measure;
use crate::service::Service;
use crate::service::measure;
use crate::source::Effort;
use crate::source::Window;
use crate::source::derived::check_worth;
use crate::work::Cost;

/// The cost of opening a file: reading its headers.
pub const OPEN: Cost = Cost {
    work: 1 << 16,
    bytes: 1 << 20,
};

/// The cost of reading the sidecar files of an image.
pub const NOTES: Cost = Cost {
    work: 1 << 13,
    bytes: 1 << 18,
};

impl Service {
    /// The current effort of reading a window. `Error::Limit` if the size of the file does not justify it.
    pub(in crate::service) fn effort(&self, opened: &Opened, window: Window) -> Result<Effort> {
        let effort = self.mosaic.effort(opened, window, &self.cache);
        let limits = &self.config().library.options.budget.limits;
        check_worth(opened.source.header(), window, effort, limits)?;
        Ok(effort)
    }

    /// The cost of a profile or a spectrum.
    pub(in crate::service) fn measure_cost(&self, opened: &Opened, measure: Measure) -> Result<Cost> {
        let header = opened.source.header();
        let window = measure::window(header, measure)?;
        let effort = self.effort(opened, window)?;
        let images = header.set.horizontal.len().max(1) as u64;
        let one = Cost::default().and(effort, header);
        Ok(Cost {
            work: one.work.saturating_mul(images),
            bytes: one.bytes,
        })
    }
}
