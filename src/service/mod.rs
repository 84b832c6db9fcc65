//! The server as a function: [`Service::respond`] takes a request and gives a reply.
//!
//! The only module that knows all the others. Sockets call [`Service::begin`] on their own thread: what is in the
//! cache is answered there at once; what must be made comes back as [`Work`] for a compute thread. One request is one
//! log line, written here.

pub mod access;
mod export;
mod limits;
mod make;
mod measure;
mod profiles;
mod reply;
mod tiles;

use crate::cache::Cache;
use crate::cache::Cached;
use crate::cache::memcached::Memcached;
use crate::config;
use crate::config::Compat;
use crate::config::Config;
use crate::error::Error;
use crate::http::HeaderLine;
use crate::http::Http;
use crate::http::Method;
use crate::http::Reply;
use crate::library::Library;
use crate::library::Opened;
use crate::library::Shelf;
use crate::mosaic::Mosaic;
use crate::plan::Key;
use crate::plan::Plan;
use crate::plan::View;
use crate::plan::fingerprint;
use crate::protocol;
use crate::protocol::Ask;
use crate::protocol::Failure;
use crate::protocol::Members;
use crate::protocol::Protocol;
use crate::protocol::Request;
use crate::protocol::Settings;
use crate::protocol::iiif;
use crate::protocol::iip;
use crate::protocol::iip::Measure;
use crate::service::access::Access;
use crate::service::limits::InForce;
use crate::service::profiles::Profiles;
use crate::service::tiles::Tiles;
use crate::source::Source;
use crate::source::jp2;
use crate::source::kind::Options;
use crate::source::made::Budget;
use crate::source::spool::Room;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Instant;
use std::time::SystemTime;

/// How far `begin` came.
pub enum Step {
    /// Answered.
    Done(Reply),
    /// Pixels have to be made, or a file opened.
    Work(Box<Work>),
}

/// A request that needs a compute thread.
pub struct Work {
    http: Http,
    since: Instant,
    protocol: Protocol,
    stage: Stage,
}

enum Stage {
    /// The file is not open.
    Open(String, Ask),
    /// What lies beside the image has to be read.
    Describe(Arc<Opened>, Ask),
    /// The answer is not in the cache.
    Make(Drawing),
    /// Several tiles in one answer.
    Tiles(Arc<Opened>, Tiles),
    /// Samples as numbers.
    Measure(Arc<Opened>, Measure),
}

/// A picture that was asked for.
struct Drawing {
    opened: Arc<Opened>,
    /// Of an answer: it holds the plan.
    key: Key,
    etag: String,
    /// Further header lines.
    lines: Vec<HeaderLine>,
}

/// Pixels read and written: up to about four tiles.
const QUICK: u64 = 1 << 18;

impl Work {
    /// Whether it will take no more than a few milliseconds.
    pub fn is_quick(&self) -> bool {
        let Stage::Make(drawing) = &self.stage else {
            return false;
        };
        let plan = drawing.key.plan();
        plan.is_some_and(|plan| {
            plan.cost() <= QUICK
                && plan.output.is_quick()
                && drawing.opened.source.is_quick(plan.window.level)
        })
    }

    /// How dear it will be, in pixels read and written, as far as that is known: small ones go first.
    pub fn cost(&self) -> u64 {
        let cost = |key: &Key| key.plan().map_or(0, Plan::cost);
        match &self.stage {
            Stage::Open(..) | Stage::Describe(..) | Stage::Measure(..) => 0,
            Stage::Make(drawing) => cost(&drawing.key),
            Stage::Tiles(_, tiles) => tiles.tiles.iter().map(|(_, key)| cost(key)).sum(),
        }
    }
}

/// The server.
pub struct Service {
    config: Config,
    settings: Settings,
    limits: InForce,
    library: Library,
    mosaic: Mosaic,
    cache: Cache<Key>,
    /// What other servers make, too.
    shared: Option<Memcached>,
    profiles: Profiles,
    /// Where temporary files lie.
    room: Option<Arc<Room>>,
    /// Tells the ETags of one configuration from those of another that draws otherwise.
    salt: u64,
    served: AtomicU64,
}

/// Either the reply, or what has to be done for it.
type Progress = Result<std::result::Result<Reply, Stage>, Failure>;

impl Service {
    /// A server with this configuration.
    pub fn new(config: Config) -> Self {
        let settings = Settings {
            uri_map: config.uri_map.clone(),
            mapped: config.mapped,
            base_url: config.base_url.clone(),
            trust_proxy: config.trust_proxy,
            cors: !config.cors.is_empty(),
            iiif_version: config.iiif_version,
            iiif_extra: config.iiif_extra.clone(),
            copyright: config.copyright.clone(),
            first_channel: match config.compat {
                Compat::V11 => Some(1),
                Compat::V13 => Some(0),
                Compat::Auto => None,
            },
            iiif_extensions: config.iiif_extensions,
        };
        let cache = Cache::new(config.cache_bytes);
        let room = config.room().map(Arc::new);
        let shelf = Shelf {
            prefix: config.filesystem_prefix.clone(),
            suffix: config.filesystem_suffix.clone(),
            follow_symlinks: config.follow_symlinks,
            options: Options {
                budget: Budget {
                    level_bytes: cache.large_bytes(),
                    room: room.clone(),
                },
                jp2: jp2::Options {
                    layers: config.max_layers,
                    strict: config.strict_jp2,
                },
                upright: config.orientation,
            },
            pattern: config.filename_pattern.clone(),
            delimiter: config.iiif_delimiter.clone(),
        };
        Service {
            settings,
            limits: InForce::new(&config),
            library: Library::new(
                shelf,
                config
                    .open_images
                    .unwrap_or(usize::MAX >> 8)
                    .min(config::open_files().images),
            ),
            mosaic: Mosaic::new(config.threads),
            cache,
            shared: Memcached::new(
                &config.memcached,
                config.memcached_seconds,
                |server, state| match state {
                    Ok(()) => log::warn!("memcached {server} answers again"),
                    Err(error) => log::warn!("memcached {server} is not asked for now: {error}"),
                },
            ),
            profiles: Profiles::new(config.srgb),
            room,
            salt: fingerprint(&(
                (
                    (config.max_icc, config.srgb),
                    (config.passthrough, config.recode),
                    &config.copyright,
                ),
                (config.max_layers, config.strict_jp2),
                (config.orientation, &config.filename_pattern),
            )),
            served: AtomicU64::new(0),
            config,
        }
    }

    /// The same with an image that has no file.
    pub fn with_image(mut self, id: &str, source: impl Source + 'static) -> Self {
        self.library.insert(id, source);
        self
    }

    /// Answers a request. Never blocks on anything but files and other makers of the same answer.
    pub fn respond(&self, http: Http) -> Reply {
        match self.begin(http) {
            Step::Done(reply) => reply,
            Step::Work(work) => self.finish(*work),
        }
    }

    /// As far as it goes without decoding or opening anything.
    pub fn begin(&self, http: Http) -> Step {
        let since = Instant::now();
        let fixed = match http.method() {
            Method::Options => Some(self.options()),
            Method::Other => Some(self.not_allowed()),
            Method::Get | Method::Head | Method::Post => None,
        };
        if let Some(reply) = fixed {
            return Step::Done(self.close(&http, since, "hit", reply));
        }
        let begun = protocol::parse(&http, &self.settings)
            .and_then(|(protocol, request)| Ok((protocol, self.look(&http, protocol, request)?)));
        match begun {
            Ok((protocol, Err(stage))) => Step::Work(Box::new(Work {
                http,
                since,
                protocol,
                stage,
            })),
            Ok((_, Ok(reply))) => Step::Done(self.close(&http, since, "hit", reply)),
            Err(failure) => Step::Done(self.close(&http, since, "refused", self.fail(&failure))),
        }
    }

    /// The rest of it, on a compute thread.
    pub fn finish(&self, work: Work) -> Reply {
        let Work {
            http,
            since,
            protocol,
            stage,
        } = work;
        match self.work(&http, protocol, stage) {
            Ok(reply) => self.close(&http, since, "made", reply),
            Err(failure) => self.close(&http, since, "failed", self.fail(&failure)),
        }
    }

    /// The reply for work that found the queue full: 503 with `Retry-After`.
    pub fn refuse(&self, work: Work) -> Reply {
        let failure = Failure::new(work.protocol, Error::Busy);
        self.close(&work.http, work.since, "refused", self.fail(&failure))
    }

    /// Empties every cache and reads the watermark again (SIGHUP). An error when that cannot be read: the one before stays.
    pub fn clear(&self) -> crate::error::Result<()> {
        let read = self.limits.refresh(&self.config);
        self.cache.clear();
        self.library.clear();
        if let Some(room) = &self.room {
            room.mend();
        }
        read
    }

    /// Requests answered so far.
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Bytes that the cache holds now; never more than the configuration allows.
    pub fn cached_bytes(&self) -> u64 {
        self.cache.bytes()
    }

    fn look(&self, http: &Http, protocol: Protocol, request: Request) -> Progress {
        let Some(id) = request.image else {
            return match request.ask {
                Ask::Objects(objects) => self.objects(http, &objects, None).map(Ok),
                _ => Ok(Ok(self.front_page())),
            };
        };
        if let Ask::Redirect(target) = request.ask {
            return Ok(Ok(self.redirect(target)));
        }
        match self
            .library
            .known(&id)
            .map_err(|error| Failure::new(protocol, error))?
        {
            Some(opened) => self.ask(http, protocol, opened, request.ask),
            None => Ok(Err(Stage::Open(id, request.ask))),
        }
    }

    /// What an open image can answer at once.
    fn ask(&self, http: &Http, protocol: Protocol, opened: Arc<Opened>, ask: Ask) -> Progress {
        let header = opened.source.header();
        let fail = |error| Failure::new(protocol, error);
        match ask {
            Ask::Picture(view) => self.draw(http, opened, &view, |_, _| Vec::new()).map_err(fail),
            Ask::Export(view) => {
                let name = |opened: &Opened, plan: &Plan| vec![reply::export(http, opened, plan)];
                self.draw(http, opened, &view, name).map_err(fail)
            }
            Ask::Image {
                view,
                naming,
                negotiated,
            } => {
                let links = iiif::links(&view, &naming, header, &self.limits.now()).map_err(fail)?;
                let mut lines = vec![("Link", links.into())];
                if negotiated {
                    lines.push(("Vary", "Accept".into()));
                }
                self.draw(http, opened, &view, |_, _| lines).map_err(fail)
            }
            Ask::Tiles(range) => {
                let tiles = self.tiles(&opened, &range).map_err(fail)?;
                Ok(
                    match self.unchanged(http, &tiles.etag, &opened.last_modified, &[]) {
                        Some(reply) => Ok(reply),
                        None => Err(Stage::Tiles(opened, tiles)),
                    },
                )
            }
            Ask::Objects(objects) => self.objects(http, &objects, Some(&opened)).map(Ok),
            Ask::Info { .. } => Ok(Err(Stage::Describe(opened, ask))),
            Ask::Dzi | Ask::Properties | Ask::Redirect(_) | Ask::Nothing => {
                Ok(Ok(self.describe(http, &opened, &ask, &[], None)))
            }
            Ask::Measure(measure) => Ok(Err(Stage::Measure(opened, measure))),
        }
    }

    /// A picture, if it is in the cache or the client has it.
    fn draw(
        &self,
        http: &Http,
        opened: Arc<Opened>,
        view: &View,
        lines: impl FnOnce(&Opened, &Plan) -> Vec<HeaderLine>,
    ) -> crate::error::Result<std::result::Result<Reply, Stage>> {
        let plan = view.resolve(opened.source.header(), &self.limits.now())?;
        let lines = lines(&opened, &plan);
        let key = Key::answer(opened.identity.clone(), plan);
        let drawing = Drawing {
            etag: self.etag(key.fingerprint()),
            opened,
            key,
            lines,
        };
        let modified = &drawing.opened.last_modified;
        if let Some(reply) = self.unchanged(http, &drawing.etag, modified, &drawing.lines) {
            return Ok(Ok(reply));
        }
        Ok(match self.cache.find(&drawing.key) {
            Some(Cached::Answer(bytes)) => Ok(self.picture(drawing, bytes)),
            _ => Err(Stage::Make(drawing)),
        })
    }

    fn work(&self, http: &Http, protocol: Protocol, stage: Stage) -> Result<Reply, Failure> {
        let fail = |error| Failure::new(protocol, error);
        match stage {
            Stage::Open(id, ask) => {
                let opened = self.library.open(&id).map_err(fail)?;
                match self.ask(http, protocol, opened, ask)? {
                    Ok(reply) => Ok(reply),
                    Err(stage) => self.work(http, protocol, stage),
                }
            }
            Stage::Describe(opened, ask) => {
                let (notes, modified) = self.notes(&opened);
                Ok(self.describe(http, &opened, &ask, &notes, modified))
            }
            Stage::Make(drawing) => {
                let bytes = self.answer(&drawing.opened, &drawing.key).map_err(fail)?;
                Ok(self.picture(drawing, bytes))
            }
            Stage::Tiles(opened, tiles) => {
                let body = self.labelled(&opened, &tiles).map_err(fail)?;
                let reply = Reply::new(200, body).with("Content-Type", reply::NETFPX);
                Ok(self.stamp(reply, &tiles.etag, &opened.last_modified))
            }
            Stage::Measure(opened, measure) => {
                let answer = self.measure(&opened, measure).map_err(fail)?;
                Ok(self.described(http, &opened, answer, Vec::new(), None))
            }
        }
    }

    /// What lies beside an image, and when the last of it was written. What cannot be read is logged and left out.
    fn notes(&self, opened: &Opened) -> (Vec<Members>, Option<SystemTime>) {
        let mut all = Vec::new();
        let mut modified = None;
        for note in self.library.notes(opened) {
            let members = note
                .text
                .map_err(|error| error.to_string())
                .and_then(|text| serde_json::from_slice(&text).map_err(|error| error.to_string()));
            match members {
                Ok(members) => all.push(members),
                Err(error) => log::warn!("{} is left out: {error}", note.path.display()),
            }
            modified = modified.max(Some(note.modified));
        }
        (all, modified)
    }

    /// The encoded answer to a plan, made once for all who ask meanwhile.
    fn answer(&self, opened: &Opened, key: &Key) -> crate::error::Result<Bytes> {
        let plan = key.plan().ok_or_else(mixed)?;
        let make = || self.make(opened, key, plan).map(Cached::Answer);
        match self.cache.get_or_make(key, make)? {
            Cached::Answer(bytes) => Ok(bytes),
            Cached::Raster(_) => Err(mixed()),
        }
    }

    fn objects(
        &self,
        http: &Http,
        objects: &[iip::Object],
        opened: Option<&Arc<Opened>>,
    ) -> Result<Reply, Failure> {
        let header = opened.map(|opened| opened.source.header());
        let answer = iip::answer(objects, header, &self.settings).map_err(|fault| Failure {
            protocol: Protocol::Iip,
            error: Error::Malformed(fault.argument.clone()),
            iip: Some(fault),
        })?;
        let Some(opened) = opened else {
            let reply = Reply::new(200, answer.body).with("Content-Type", answer.media_type);
            return Ok(self.common(self.kept(reply)));
        };
        let etag = self.etag(fingerprint(&(&opened.identity, &answer.body)));
        if let Some(reply) = self.unchanged(http, &etag, &opened.last_modified, &[]) {
            return Ok(reply);
        }
        let reply = Reply::new(200, answer.body).with("Content-Type", answer.media_type);
        Ok(self.stamp(reply, &etag, &opened.last_modified))
    }

    /// The end of every request: counted, logged, named, and bodiless for HEAD.
    fn close(&self, http: &Http, since: Instant, how: &str, reply: Reply) -> Reply {
        self.served.fetch_add(1, Ordering::Relaxed);
        if let Some(failure) = self.room.as_ref().and_then(|room| room.untold_failure()) {
            log::warn!("CACHE_DIR is not used until SIGHUP: {failure}");
        }
        let id = access::request_id(http);
        let time = since.elapsed();
        if log::log_enabled!(target: access::TARGET, log::Level::Info) {
            let access = Access {
                http,
                reply: &reply,
                id: &id,
                trust_proxy: self.config.trust_proxy,
                time,
                how,
                stages: Vec::new(),
            };
            log::info!(target: access::TARGET, "{}", access.line(self.config.log_format));
        }
        let mut reply = reply.with("X-Request-ID", id);
        if http.method() == Method::Head {
            reply.body = Bytes::new();
        }
        reply
    }
}

/// An answer's key and a tile's never meet.
fn mixed() -> Error {
    Error::Corrupt("an answer's key holds a raster".into())
}
