//! Preparations: work that several answers of an image need, done once for all concurrent requests.

use crate::error::Result;
use crate::geometry::Rect;
use crate::library::Opened;
use crate::plan::Key;
use crate::service::Service;
use crate::source::Effort;
use crate::source::Window;
use crate::source::cache::Part;
use crate::work::Cost;
use crate::work::Lease;
use crate::work::Scope;
use crate::work::Stage;
use crate::work::timed;
use std::sync::Arc;

/// How many preparations, one upon the other, are tried before the answer is made without them.
const TRIES: usize = 3;

impl Service {
    /// Makes everything shared by the windows of a level: a derived level, or an index. Returns the remaining effort
    /// of the window and the image to read it from. That is the image of the request that did the work: files that
    /// belong to it are not found from another open image of the same file.
    pub(in crate::service) async fn prepared(
        &self,
        mut opened: Arc<Opened>,
        window: Window,
        scope: &Scope,
    ) -> Result<(Arc<Opened>, Effort)> {
        let mut effort = self.effort(&opened, window)?;
        for _ in 0..TRIES {
            if !effort.shared {
                break;
            }
            let key = Key::decoded(opened.identity.clone(), Part::Level(window.level));
            let (service, image) = (self.clone(), opened);
            let prepare = move |scope: Scope| async move {
                let cost = Cost::default().and(effort, image.source.header());
                let (reader, prepared) = (service.clone(), image.clone());
                let job = move |_: &mut Lease| timed(Stage::Open, || reader.prepare(&image, window));
                service.executor.run(cost, &scope, job).await?;
                Ok(prepared)
            };
            opened = self.preparations.get_or_make(&key, scope, prepare).await?;
            let before = effort;
            effort = self.effort(&opened, window)?;
            if effort == before {
                // the cache has no room for it
                break;
            }
        }
        Ok((opened, effort))
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

    /// Computes the statistics of an image; returns the image that has them.
    pub(in crate::service) async fn measure_all(
        &self,
        opened: Arc<Opened>,
        scope: &Scope,
    ) -> Result<Arc<Opened>> {
        let window = self.smallest(&opened)?;
        let (opened, effort) = self.prepared(opened, window, scope).await?;
        // not the number of any level
        let key = Key::decoded(opened.identity.clone(), Part::Level(usize::MAX));
        let service = self.clone();
        let make = move |scope: Scope| async move {
            let cost = Cost::default().and(effort, opened.source.header());
            let (reader, image) = (service.clone(), opened.clone());
            let job = move |_: &mut Lease| reader.stats(&image);
            service.executor.run(cost, &scope, job).await?;
            Ok(opened)
        };
        self.preparations.get_or_make(&key, scope, make).await
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
    use crate::work::scope::block_on;
    use futures_util::future::join3;
    use std::future::poll_fn;
    use std::sync::Mutex;
    use std::sync::mpsc;
    use std::task::Poll;

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

    /// An image whose only level needs a preparation, and what is read of it.
    fn image() -> (Read, Arc<Mutex<Vec<Rect>>>) {
        let mut image = Synthetic::halving(Size::new(64, 64), Size::new(64, 64), 3);
        image.header_mut().levels[0].parts = Parts::Shared(Arc::new(LevelShared {
            part: Some(Part::Level(0)),
            effort: Effort::shared(1 << 20),
            base: None,
            then: Parts::Tiles,
            otherwise: Parts::Tiles,
            progress: Default::default(),
        }));
        let reads = Arc::default();
        (Read(image, Arc::clone(&reads)), reads)
    }

    #[test]
    fn a_level_that_does_not_stay_in_the_cache_is_prepared_once() {
        let (image, reads) = image();
        let service = Service::new(Config::default()).with_image("x", image);
        let reply = service.respond(Http::query("FIF=x&JTL=0,0"));
        assert_eq!(reply.status, 200);
        let expected = [Rect::new(63, 63, 1, 1), Rect::new(0, 0, 64, 64)];
        assert_eq!(*reads.lock().unwrap(), expected);
    }

    #[test]
    fn a_request_that_waits_for_a_preparation_goes_on_with_the_prepared_image() {
        let mut config = Config::default();
        config.work.threads = 1;
        let service = Service::new(config);
        // the same image, opened twice
        let open = || {
            let (image, reads) = image();
            let other = Service::new(Config::default()).with_image("x", image);
            (other.library.open("x").unwrap(), reads)
        };
        let ((first, _), (second, reads)) = (open(), open());
        let window = Window::new(0, Rect::new(0, 0, 64, 64));
        let scope = Scope::default();
        let (release, held) = mpsc::channel();
        let hold = service
            .executor
            .run(Cost::default(), &scope, move |_: &mut Lease| {
                let _ = held.recv();
                Ok(())
            });
        let mut all = std::pin::pin!(join3(
            hold,
            service.prepared(first.clone(), window, &scope),
            service.prepared(second, window, &scope),
        ));
        // both have asked before the only compute thread is free
        let polled = poll_fn(|context| Poll::Ready(all.as_mut().poll(context).is_pending()));
        assert!(block_on(polled), "both wait");
        release.send(()).unwrap();
        let (_, one, other) = block_on(all);
        assert!(Arc::ptr_eq(&one.unwrap().0, &first));
        assert!(Arc::ptr_eq(&other.unwrap().0, &first));
        assert!(reads.lock().unwrap().is_empty(), "the second is not read");
    }
}
