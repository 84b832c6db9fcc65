//! Answers that are pictures: from a cache, or made once for all concurrent requests.

use crate::cache::Cached;
use crate::error::Error;
use crate::error::Result;
use crate::http::HeaderLine;
use crate::http::Http;
use crate::http::Reply;
use crate::library::Opened;
use crate::plan::Key;
use crate::plan::Plan;
use crate::plan::View;
use crate::process;
use crate::service::Service;
use crate::service::access::Outcome;
use crate::service::reply::with_all;
use crate::source::Decoding;
use crate::work::Lease;
use crate::work::Scope;
use bytes::Bytes;
use std::sync::Arc;

/// Bytes up to which an answer takes no lease while it is sent.
const LIGHT: usize = 256 << 10;

/// The bytes of an answer, and the lease on their memory until they are sent.
#[derive(Clone)]
pub struct Answer {
    pub bytes: Bytes,
    lease: Option<Arc<Lease>>,
    /// How it was obtained.
    outcome: Outcome,
}

impl Service {
    /// A picture with additional header lines, and how it was obtained.
    pub(in crate::service) async fn draw(
        &self,
        http: &Http,
        opened: Arc<Opened>,
        view: &View,
        lines: impl FnOnce(&Opened, &Plan) -> Vec<HeaderLine>,
        scope: &Scope,
    ) -> Result<(Reply, Outcome)> {
        let plan = view.resolve(opened.source.header(), &self.limits.now())?;
        let lines = lines(&opened, &plan);
        let media_type = plan.output.format.media_type();
        let key = Key::answer(opened.identity.clone(), plan);
        let etag = self.etag(key.fingerprint());
        if let Some(reply) = self.unchanged(http, &etag, &opened.last_modified, &lines) {
            return Ok((reply, Outcome::Hit));
        }
        let answer = self.answer(&opened, &key, scope).await?;
        let reply = with_all(
            Reply::new(200, answer.bytes).with("Content-Type", media_type),
            lines,
        );
        let mut reply = self.stamp(reply, &etag, &opened.last_modified);
        reply.lease = answer.lease;
        Ok((reply, answer.outcome))
    }

    /// The encoded answer to a plan; made once for all concurrent requests.
    pub(in crate::service) async fn answer(
        &self,
        opened: &Arc<Opened>,
        key: &Key,
        scope: &Scope,
    ) -> Result<Answer> {
        if let Some(Cached::Answer(bytes)) = self.cache.find(key) {
            let lease = self.send_lease(&bytes)?;
            return Ok(Answer {
                bytes,
                lease,
                outcome: Outcome::Hit,
            });
        }
        let plan = key.plan().ok_or_else(mixed)?;
        if opened.is_local
            && (opened.source.header().levels.get(plan.window.level))
                .is_some_and(|level| level.decoding == Decoding::Quick)
            && let Some(bytes) = self.as_stored(opened, plan)?
        {
            self.cache.insert(key.clone(), Cached::Answer(bytes.clone()));
            return Ok(Answer {
                bytes,
                lease: None,
                outcome: Outcome::Made,
            });
        }
        let (service, image, owned) = (self.clone(), opened.clone(), key.clone());
        let make = move |scope| async move { service.make(image, &owned, &scope).await };
        self.answers.get_or_make(key, scope, make).await
    }

    /// Gets an answer from the disk cache or memcached, else computes it on the compute threads: first its preparations,
    /// then its pixels.
    async fn make(&self, mut opened: Arc<Opened>, key: &Key, scope: &Scope) -> Result<Answer> {
        let plan = key.plan().ok_or_else(mixed)?;
        let lasting = self.is_lasting(&opened, plan).then(|| self.lasting_name(key));
        let shared = self.shared.as_ref().zip(self.shared_name(&opened, key));
        let mut found = None;
        if let Some(name) = lasting {
            found = self.disk.get(name).await.map(|bytes| (bytes, Outcome::Disk));
        }
        if let (None, Some((shared, name))) = (&found, &shared) {
            found = shared.get(name).await.map(|bytes| (bytes, Outcome::Memcached));
        }
        if let Some((bytes, outcome)) = found {
            self.cache.insert(key.clone(), Cached::Answer(bytes.clone()));
            let lease = self.send_lease(&bytes)?;
            return Ok(Answer {
                bytes,
                lease,
                outcome,
            });
        }
        if process::asks_stats(&plan.ops) && opened.stats.get().is_none() {
            opened = self.measure_all(opened, scope).await?;
        }
        let (opened, effort) = self.prepared(opened, plan.window, scope).await?;
        let cost = plan
            .cost(opened.source.header(), self.config.work.threads)
            .and(effort, opened.source.header());
        let (service, owned) = (self.clone(), key.clone());
        let job = move |_: &mut Lease| service.compute(&opened, &owned);
        let (bytes, mut lease) = self.executor.run(cost, scope, job).await?;
        if let Some((shared, name)) = &shared {
            shared.set(name, &bytes);
        }
        if let Some(name) = lasting {
            self.disk.put(name, bytes.clone());
        }
        self.cache.insert(key.clone(), Cached::Answer(bytes.clone()));
        lease.shrink(bytes.len() as u64);
        let lease = (bytes.len() > LIGHT).then(|| Arc::new(lease));
        Ok(Answer {
            bytes,
            lease,
            outcome: Outcome::Made,
        })
    }

    /// The lease of a cached answer until it is sent: the cache may have evicted it by then.
    fn send_lease(&self, bytes: &Bytes) -> Result<Option<Arc<Lease>>> {
        if bytes.len() <= LIGHT {
            return Ok(None);
        }
        let lease = self.executor.lease(bytes.len() as u64);
        lease.map(|lease| Some(Arc::new(lease))).ok_or(Error::Busy)
    }
}

/// The error for a tile under an answer's key or the reverse, which cannot happen.
pub fn mixed() -> Error {
    Error::Internal("an answer's key holds a raster".into())
}
