//! The server as a function: [`Service::serve`] takes a request and gives a reply.
//!
//! A request is one straight line: parse, open, resolve, compare with what the client has, answer. Cached answers
//! are given without waiting; everything that waits is an `.await`. Each request is one log line, written here.

pub mod access;
mod answer;
mod cost;
mod export;
mod limits;
mod make;
mod manifest;
mod measure;
mod prepare;
mod profiles;
mod reply;
pub mod status;
mod tiles;

use crate::cache::Cache;
use crate::cache::memcached::Memcached;
use crate::config;
use crate::config::Config;
use crate::error::Error;
use crate::file_calls::FileCalls;
use crate::fingerprint;
use crate::http::Http;
use crate::http::Method;
use crate::http::Reply;
use crate::library::Library;
use crate::library::Opened;
use crate::library::Sidecar;
use crate::mosaic::Mosaic;
use crate::plan::Key;
use crate::plan::Plan;
use crate::protocol;
use crate::protocol::Ask;
use crate::protocol::Failure;
use crate::protocol::Protocol;
use crate::protocol::iiif;
use crate::protocol::iip;
use crate::service::access::Access;
use crate::service::access::Outcome;
use crate::service::answer::Answer;
use crate::service::limits::InForce;
use crate::service::profiles::Profiles;
use crate::source::Source;
use crate::source::spool::SpoolDir;
use crate::store::DiskCache;
use crate::work::Executor;
use crate::work::Flights;
use crate::work::Lease;
use crate::work::Scope;
use crate::work::Stage;
use crate::work::scope::block_on;
use crate::work::timed;
use bytes::Bytes;
use futures_util::FutureExt;
use std::ops::Deref;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// The server; clones share their state.
#[derive(Clone)]
pub struct Service(Arc<Inner>);

/// The state shared by clones.
pub struct Inner {
    config: Config,
    limits: InForce,
    library: Library,
    mosaic: Mosaic,
    cache: Cache<Key>,
    /// Persistent cache.
    disk: DiskCache,
    /// Cache shared with other servers.
    shared: Option<Memcached>,
    profiles: Profiles,
    /// Directory for temporary files.
    spool_dir: Option<Arc<SpoolDir>>,
    served: AtomicU64,
    executor: Executor,
    file_calls: FileCalls,
    opens: Flights<String, Arc<Opened>>,
    answers: Flights<Key, Answer>,
    /// Whole levels, indexes and statistics, which many answers of an image need; the result is the image they belong
    /// to.
    preparations: Flights<Key, Arc<Opened>>,
}

impl Deref for Service {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl Service {
    /// A server with this configuration.
    pub fn new(config: Config) -> Self {
        let cache = Cache::new(config.cache_bytes);
        let spool_dir = config.spool_dir().map(Arc::new);
        let mut library = config.library.clone();
        library.options.budget.level_bytes = cache.large_bytes();
        library.options.budget.spool_dir = spool_dir.clone();
        let disk = library.stores.disk().clone();
        let max_open = config::open_files().images;
        Service(Arc::new(Inner {
            limits: InForce::new(&config),
            library: Library::new(library, config.open_images.unwrap_or(max_open).min(max_open)),
            mosaic: Mosaic::new(config.work.threads).keeping(disk.clone()),
            disk,
            cache,
            shared: Memcached::new(&config.memcached, |server, state| match state {
                Ok(()) => log::warn!("memcached {server} is reachable again"),
                Err(error) => log::warn!("memcached {server} is unreachable, not queried for now: {error}"),
            }),
            profiles: Profiles::new(config.answers.finish.srgb),
            spool_dir,
            served: AtomicU64::new(0),
            executor: Executor::new(config.work),
            file_calls: FileCalls::default(),
            opens: Flights::default(),
            answers: Flights::default(),
            preparations: Flights::default(),
            config,
        }))
    }

    /// Adds an image without a file. Must be called before the service is shared.
    pub fn with_image(mut self, id: &str, source: impl Source + 'static) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.0) {
            inner.library.insert(id, source);
        }
        self
    }

    /// Answers a request and blocks this thread until then, for callers without a runtime.
    pub fn respond(&self, http: Http) -> Reply {
        block_on(self.serve(http, Scope::default()))
    }

    /// Answers a request. Never fails; dropping the future cancels the work that no other request waits for. A scope
    /// with a deadline requires the timer of a tokio runtime.
    pub async fn serve(&self, http: Http, scope: Scope) -> Reply {
        let since = Instant::now();
        let cancelled = status::CancelCount::default();
        let known_protocol = OnceLock::new();
        let answered = AssertUnwindSafe(self.line(&http, &scope, &known_protocol))
            .catch_unwind()
            .await;
        let (reply, outcome) = match answered {
            Ok(Ok(answered)) => answered,
            Ok(Err(failure)) => {
                let _ = known_protocol.set(failure.protocol);
                let outcome = if failure.error.status() == 500 {
                    Outcome::Failed
                } else {
                    Outcome::Refused
                };
                (self.fail(&http, &failure), outcome)
            }
            Err(_) => {
                let error = Error::Internal("a request panicked".into());
                let protocol = *known_protocol.get().unwrap_or(&Protocol::Iiif);
                (
                    self.fail(&Http::new(), &Failure::new(protocol, error)),
                    Outcome::Failed,
                )
            }
        };
        cancelled.answered();
        let protocol = known_protocol.get().map_or("none", |protocol| protocol.name());
        self.close(&http, &scope, protocol, since, outcome, reply)
    }

    /// Handles a request from top to bottom; returns the reply and how it was obtained, for the log.
    async fn line(
        &self,
        http: &Http,
        scope: &Scope,
        known_protocol: &OnceLock<Protocol>,
    ) -> Result<(Reply, Outcome), Failure> {
        match http.method() {
            Method::Options => return Ok((self.options(), Outcome::Hit)),
            Method::Other => return Ok((self.not_allowed(), Outcome::Hit)),
            Method::Get | Method::Head | Method::Post => {}
        }
        let (protocol, request) = protocol::parse(http, &self.config.protocol)?;
        let _ = known_protocol.set(protocol);
        let Some(id) = request.image else {
            return match request.ask {
                Ask::Objects(objects) => Ok((self.objects(http, &objects, None)?, Outcome::Hit)),
                _ => Ok((self.front_page(), Outcome::Hit)),
            };
        };
        if let Ask::Redirect(target) = request.ask {
            return Ok((self.redirect(target), Outcome::Hit));
        }
        let work = async {
            if let Ask::Manifest(asked) = request.ask {
                let (service, http) = (self.clone(), http.clone());
                let job = move |_: &mut Lease| service.manifest(&http, &id, &asked);
                let made = self.executor.run(cost::OPEN, scope, job).await;
                let (reply, _) = made.map_err(|error| Failure::new(protocol, error))?;
                return Ok((reply, Outcome::Made));
            }
            let known = self
                .library
                .known(&id)
                .map_err(|error| Failure::new(protocol, error))?;
            let hot = known.is_some();
            let opened = match known {
                Some(opened) => opened,
                None => self
                    .open(id, scope)
                    .await
                    .map_err(|error| Failure::new(protocol, error))?,
            };
            let (reply, outcome) = self.ask(http, protocol, opened, request.ask, scope).await?;
            Ok((
                reply,
                if hot || outcome != Outcome::Hit {
                    outcome
                } else {
                    Outcome::Made
                },
            ))
        };
        match scope.deadline() {
            None => work.await,
            Some(deadline) => tokio::time::timeout_at(deadline.into(), work)
                .await
                .unwrap_or_else(|_| Err(Failure::new(protocol, Error::TimedOut))),
        }
    }

    /// Opens an image, once for all concurrent requests.
    async fn open(&self, id: String, scope: &Scope) -> crate::error::Result<Arc<Opened>> {
        let (service, name) = (self.clone(), id.clone());
        let open = move |scope: Scope| async move {
            if service.library.is_far(&name) {
                let (toucher, own, start) = (service.clone(), name.clone(), Instant::now());
                let touched = service.file_calls.run(move || toucher.library.touch(&own)).await;
                scope.add(Stage::Open, start.elapsed());
                if let Some(known) = touched.ok_or(Error::TimedOut)?? {
                    return Ok(known);
                }
            }
            let opener = service.clone();
            let job = move |_: &mut Lease| timed(Stage::Open, || opener.library.open(&name));
            let (opened, _) = service.executor.run(cost::OPEN, &scope, job).await?;
            log_left_out(&opened);
            Ok(opened)
        };
        self.opens.get_or_make(&id, scope, open).await
    }

    /// The executor of this server.
    pub fn executor(&self) -> &Executor {
        &self.executor
    }

    /// Clears the memory cache, closes all images and reads the watermark again (SIGHUP). An error if the watermark
    /// cannot be read: the previous one stays.
    pub fn clear(&self) -> crate::error::Result<()> {
        let read = self.limits.refresh(&self.config);
        self.cache.clear();
        self.library.clear();
        if let Some(spool_dir) = &self.spool_dir {
            spool_dir.mend();
        }
        read
    }

    /// Why the watermark cannot be read: nothing may be served then, since it would be unmarked.
    pub fn watermark_fault(&self) -> Option<&str> {
        self.limits.fault()
    }

    /// Requests answered so far.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// The images. Opening one reads a file, so it must run on a compute thread.
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Bytes in the memory cache; never more than the configuration allows.
    pub fn cached_bytes(&self) -> u64 {
        self.cache.bytes()
    }

    /// Answers a request for an open image; returns how the answer was obtained.
    async fn ask(
        &self,
        http: &Http,
        protocol: Protocol,
        opened: Arc<Opened>,
        ask: Ask,
        scope: &Scope,
    ) -> Result<(Reply, Outcome), Failure> {
        let fail = |error| Failure::new(protocol, error);
        match ask {
            Ask::Picture(view) => {
                let lines = |_: &Opened, _: &Plan| Vec::new();
                self.draw(http, opened, &view, lines, scope).await.map_err(fail)
            }
            Ask::Export(view) => {
                let name = |opened: &Opened, plan: &Plan| vec![reply::export(http, opened, plan)];
                self.draw(http, opened, &view, name, scope).await.map_err(fail)
            }
            Ask::Image {
                view,
                naming,
                negotiated,
            } => {
                let header = opened.source.header();
                let links = iiif::links(&view, &naming, header, &self.limits.now()).map_err(fail)?;
                let mut lines = vec![("Link", links.into())];
                if negotiated {
                    lines.push(("Vary", "Accept".into()));
                }
                self.draw(http, opened, &view, |_, _| lines, scope)
                    .await
                    .map_err(fail)
            }
            Ask::Tiles(range) => {
                let tiles = self.tiles(&opened, &range).map_err(fail)?;
                if let Some(reply) = self.unchanged(http, &tiles.etag, &opened.last_modified, &[]) {
                    return Ok((reply, Outcome::Hit));
                }
                let body = self.labelled(&opened, &tiles, scope).await.map_err(fail)?;
                let reply = Reply::new(200, body).with("Content-Type", reply::NETFPX);
                Ok((
                    self.stamp(reply, &tiles.etag, &opened.last_modified),
                    Outcome::Made,
                ))
            }
            Ask::Objects(objects) => Ok((self.objects(http, &objects, Some(&opened))?, Outcome::Hit)),
            Ask::Info { .. } => {
                let (sidecar, outcome) = match self.library.sidecar(&opened) {
                    Some(known) => (known, Outcome::Hit),
                    None => (self.sidecar(&opened, scope).await.map_err(fail)?, Outcome::Made),
                };
                Ok((self.describe(http, &opened, &ask, &sidecar), outcome))
            }
            Ask::Dzi | Ask::Properties | Ask::Redirect(_) | Ask::Manifest(_) | Ask::Nothing => Ok((
                self.describe(http, &opened, &ask, &Sidecar::default()),
                Outcome::Hit,
            )),
            Ask::Measure(measure) => {
                let answer = self.measured(&opened, measure, scope).await.map_err(fail)?;
                Ok((
                    self.described(http, &opened, answer, Vec::new(), None),
                    Outcome::Made,
                ))
            }
        }
    }

    /// The sidecar of an image, read where that delays no other request.
    async fn sidecar(&self, opened: &Arc<Opened>, scope: &Scope) -> crate::error::Result<Arc<Sidecar>> {
        let (service, image) = (self.clone(), opened.clone());
        if !opened.is_local {
            let read = self.file_calls.run(move || service.read_sidecar(&image)).await;
            return read.ok_or(Error::TimedOut);
        }
        let job = move |_: &mut Lease| Ok(service.read_sidecar(&image));
        Ok(self.executor.run(cost::NOTES, scope, job).await?.0)
    }

    /// The sidecar of an image. Files that cannot be used are logged when they are read, and ignored.
    fn read_sidecar(&self, opened: &Opened) -> Arc<Sidecar> {
        if let Some(known) = self.library.sidecar(opened) {
            return known;
        }
        let sidecar = self.library.read_sidecar(opened);
        for (path, why) in &sidecar.faults {
            log::warn!("{} is left out: {why}", path.display());
        }
        sidecar
    }

    fn objects(
        &self,
        http: &Http,
        objects: &[iip::Object],
        opened: Option<&Arc<Opened>>,
    ) -> Result<Reply, Failure> {
        let header = opened.map(|opened| opened.source.header());
        let answer = iip::answer(objects, header, &self.config.protocol).map_err(|fault| Failure {
            protocol: Protocol::Iip,
            error: Error::Malformed(fault.argument.clone()),
            iip: Some(fault),
        })?;
        let Some(opened) = opened else {
            let reply = Reply::new(200, answer.body).with("Content-Type", answer.media_type);
            return Ok(self.common(self.with_cache_control(reply)));
        };
        let etag = self.etag(fingerprint::of(&(&opened.identity, &answer.body)));
        if let Some(reply) = self.unchanged(http, &etag, &opened.last_modified, &[]) {
            return Ok(reply);
        }
        let reply = Reply::new(200, answer.body).with("Content-Type", answer.media_type);
        Ok(self.stamp(reply, &etag, &opened.last_modified))
    }

    /// Finishes every request: counts and logs it, adds its identifier, and removes the body for HEAD.
    fn close(
        &self,
        http: &Http,
        scope: &Scope,
        protocol: &'static str,
        since: Instant,
        outcome: Outcome,
        reply: Reply,
    ) -> Reply {
        self.served.fetch_add(1, Ordering::Relaxed);
        if let Some(failure) = self.spool_dir.as_ref().and_then(|dir| dir.unreported_failure()) {
            log::warn!("CACHE_DIR is not used until SIGHUP: {failure}");
        }
        if let Some(failure) = self.disk.unreported_failure() {
            log::warn!("DISK_CACHE is not used until the next start: {failure}");
        }
        let id = access::request_id(http);
        let time = since.elapsed();
        let stages: Vec<_> = scope.times().map(|(stage, time)| (stage.name(), time)).collect();
        status::count(protocol, &reply, &stages, time);
        if log::log_enabled!(target: access::TARGET, log::Level::Info) {
            let access = Access {
                http,
                reply: &reply,
                id: &id,
                trust_proxy: self.config.protocol.trust_proxy,
                time,
                outcome,
                stages: &stages,
            };
            log::info!(target: access::TARGET, "{}", access.line(self.config.log_format));
        }
        let mut reply = reply.with("X-Request-ID", id);
        if self.config.server_timing {
            reply = reply.with(
                "Server-Timing",
                access::server_timing(&stages, scope.fetched(), time),
            );
        }
        if http.method() == Method::Head {
            reply.body = Bytes::new();
        }
        reply
    }
}

/// Logs which metadata of a file exceeds the limits.
fn log_left_out(opened: &Opened) {
    let mut all = opened.source.header().metadata.left_out.clone();
    all.sort_unstable();
    all.dedup();
    if !all.is_empty() {
        let all: Vec<String> = all
            .iter()
            .map(|(what, setting)| format!("{what} ({setting})"))
            .collect();
        log::warn!(
            "{}: left out as too large: {}",
            opened.identity.name,
            all.join(", ")
        );
    }
}
