//! The cost of requests before they run, and of preparations that several requests share.

use crate::error::Result;
use crate::geometry::Rect;
use crate::library::Opened;
use crate::plan::Key;
use crate::protocol::iip::Measure;
use crate::service::Service;
use crate::service::measure;
use crate::source::Effort;
use crate::source::Window;
use crate::source::cache::Part;
use crate::source::derived::check_worth;
use crate::work::Cost;
use crate::work::Lease;
use crate::work::Scope;
use crate::work::Stage;
use crate::work::timed;
use std::sync::Arc;

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

/// Bytes up to which an answer takes no lease while it is sent.
pub const LIGHT: usize = 256 << 10;

/// How many preparations, one upon the other, are tried before the answer is made without them.
const TRIES: usize = 3;

impl Service {
    /// The remaining cost of a window, once everything shared by the windows of its level is ready: a derived level,
    /// or an index.
    pub(in crate::service) async fn prepared(
        &self,
        opened: &Arc<Opened>,
        window: Window,
        scope: &Scope,
    ) -> Result<Effort> {
        let mut effort = self.effort(opened, window)?;
        for _ in 0..TRIES {
            if !effort.shared {
                break;
            }
            let key = Key::decoded(opened.identity.clone(), Part::Level(window.level));
            let (service, image) = (self.clone(), opened.clone());
            let prepare = move |scope: Scope| async move {
                let cost = Cost::default().and(effort, image.source.header());
                let reader = service.clone();
                let job = move |_: &mut Lease| timed(Stage::Open, || reader.prepare(&image, window));
                service.executor.run(cost, &scope, job).await?;
                Ok(())
            };
            self.preparations.get_or_make(&key, scope, prepare).await?;
            let before = effort;
            effort = self.effort(opened, window)?;
            if effort == before {
                // the cache has no room for it
                break;
            }
        }
        Ok(effort)
    }

    /// The current effort of reading a window. `Error::Limit` if the size of the file does not justify it.
    fn effort(&self, opened: &Opened, window: Window) -> Result<Effort> {
        let effort = self.mosaic.effort(opened, window, &self.cache);
        let limits = &self.config().library.options.budget.limits;
        check_worth(opened.source.header(), window, effort, limits)?;
        Ok(effort)
    }

    /// Reads the last pixel of a window, which makes everything shared.
    fn prepare(&self, opened: &Opened, window: Window) -> Result<()> {
        let Rect { x, y, w, h } = window.rect;
        let last = Window {
            rect: Rect::new(x + w.saturating_sub(1), y + h.saturating_sub(1), 1, 1),
            ..window
        };
        self.mosaic.read(opened, last, &self.cache)?;
        Ok(())
    }

    /// Computes the statistics of an image, once for all concurrent requests.
    pub(in crate::service) async fn measure_all(&self, opened: &Arc<Opened>, scope: &Scope) -> Result<()> {
        let window = self.all(opened)?;
        let effort = self.prepared(opened, window, scope).await?;
        // not the number of any level
        let key = Key::decoded(opened.identity.clone(), Part::Level(usize::MAX));
        let (service, image) = (self.clone(), opened.clone());
        let make = move |scope: Scope| async move {
            let cost = Cost::default().and(effort, image.source.header());
            let reader = service.clone();
            let job = move |_: &mut Lease| reader.stats(&image);
            service.executor.run(cost, &scope, job).await?;
            Ok(())
        };
        self.preparations.get_or_make(&key, scope, make).await
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::geometry::Size;
    use crate::http::Http;
    use crate::source::Header;
    use crate::source::Source;
    use crate::source::Take;
    use crate::source::cache::TileCache;
    use crate::source::level::LevelShared;
    use crate::source::level::Parts;
    use crate::source::synthetic::Synthetic;
    use std::sync::Mutex;

    /// Writes down what is read of it.
    struct Read(Synthetic, Arc<Mutex<Vec<Rect>>>);

    impl Source for Read {
        fn header(&self) -> &Header {
            self.0.header()
        }

        fn read(&self, window: Window, keep: &dyn TileCache, take: &mut Take) -> Result<()> {
            self.1.lock().unwrap().push(window.rect);
            self.0.read(window, keep, take)
        }
    }

    #[test]
    fn what_does_not_stay_in_the_cache_is_not_prepared_again() {
        let mut image = Synthetic::halving(Size::new(64, 64), Size::new(64, 64), 3);
        image.header_mut().levels[0].parts = Parts::Shared(Arc::new(LevelShared {
            part: Some(Part::Level(0)),
            effort: Effort::shared(1 << 20),
            then: Parts::Tiles,
            otherwise: Parts::Tiles,
            progress: Default::default(),
        }));
        let reads = Arc::default();
        let service = Service::new(Config::default()).with_image("x", Read(image, Arc::clone(&reads)));
        let reply = service.respond(Http::query("FIF=x&JTL=0,0"));
        assert_eq!(reply.status, 200);
        let wanted = [Rect::new(63, 63, 1, 1), Rect::new(0, 0, 64, 64)];
        assert_eq!(*reads.lock().unwrap(), wanted);
    }
}
