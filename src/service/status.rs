//! Reports the status of the server, and purges its caches.

use crate::cache::memcached::Memcached;
use crate::config::Origin;
use crate::http::Reply;
use crate::metrics;
use crate::metrics::LaneLabel;
use crate::metrics::RequestLabels;
use crate::metrics::Tier;
use crate::raster::Format;
use crate::service::Service;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;

/// Settings whose values are hidden.
const SECRET: &[&str] = &["ADMIN_TOKEN"];

/// Labels for media types other than those of formats.
const OTHERS: &[(&str, &str)] = &[
    ("application/json", "json"),
    ("application/ld+json", "json"),
    ("application/xml", "xml"),
    ("text/xml", "xml"),
    ("application/vnd.netfpx", "iip"),
    ("text/html", "html"),
    ("text/plain", "text"),
];

/// The images to purge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purge {
    /// The image with this identifier.
    Id(String),
    /// Images whose identifiers start with this prefix.
    Prefix(String),
}

impl Purge {
    fn covers(&self, id: &str) -> bool {
        match self {
            Purge::Id(own) => own == id,
            Purge::Prefix(start) => id.starts_with(start.as_str()),
        }
    }
}

/// Counts an answer, its bytes and its stage times.
pub fn count(protocol: &'static str, reply: &Reply, stages: &[(&'static str, Duration)], time: Duration) {
    let kind = reply.header("Content-Type").unwrap_or("none");
    let kind = kind.split(';').next().unwrap_or(kind).trim();
    let formats = Format::built().map(|format| (format.media_type(), format.name()));
    let mut names = formats.chain(OTHERS.iter().copied());
    let name = names.find(|(media_type, _)| *media_type == kind);
    let request = RequestLabels {
        protocol,
        format: name.map_or("none", |(_, name)| name),
        status: reply.status.into(),
    };
    let metrics = metrics::get();
    metrics.requests.get_or_create(&request).inc();
    metrics.body_bytes.inc_by(reply.body.len() as u64);
    for (stage, time) in stages.iter().filter(|(_, time)| !time.is_zero()) {
        metrics::took(stage, *time);
    }
    metrics::took("total", time);
    if reply.status == 503 {
        metrics.refused.inc();
    }
}

/// Counts a request as cancelled if it is dropped before it was answered.
#[derive(Debug, Default)]
pub struct CancelCount(());

impl CancelCount {
    /// Marks the request as answered.
    pub fn answered(self) {
        std::mem::forget(self);
    }
}

impl Drop for CancelCount {
    fn drop(&mut self) {
        metrics::get().cancelled.inc();
    }
}

impl Service {
    /// Whether a memcached server answers, and whether everything queued for it was stored or dropped.
    pub fn memcached(&self) -> (bool, bool) {
        let shared = self.shared.as_ref();
        (
            shared.is_some_and(|shared| shared.servers().any(|(_, up)| up)),
            shared.is_none_or(Memcached::is_idle),
        )
    }

    /// Drops answers, tiles and open files of these images. Entries in memcached remain, as their keys include the
    /// version of the file. Returns the number of entries dropped.
    pub fn purge(&self, what: &Purge) -> usize {
        let opened = self.library.purge(|id| what.covers(id));
        opened + self.cache.purge(|key| what.covers(key.image()))
    }

    /// Updates the gauges of the service's state.
    pub fn set_gauges(&self) {
        let metrics = metrics::get();
        let number = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let memory = Tier { tier: "memory" };
        metrics
            .cached_bytes
            .get_or_create(&memory)
            .set(number(self.cached_bytes()));
        metrics
            .cache_limit_bytes
            .get_or_create(&memory)
            .set(number(self.config.cache_bytes));
        let load = self.executor.load();
        for (lane, [queued, running]) in [("small", load.small), ("big", load.big)] {
            let lane = LaneLabel { lane };
            metrics.queued.get_or_create(&lane).set(number(queued as u64));
            metrics.running.get_or_create(&lane).set(number(running as u64));
        }
        let [leased, budget] = load.memory;
        metrics.leased_bytes.set(number(leased));
        metrics.budget_bytes.set(number(budget));
        let servers = self.shared.iter().flat_map(|shared| shared.servers());
        let up = servers.filter(|(_, up)| *up).count();
        metrics.memcached_up.set(number(up as u64));
        metrics
            .open_images
            .set(number(self.library.opened().len() as u64));
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        metrics.descriptor_limit.set(number(limit.unwrap_or(u64::MAX)));
    }

    /// Settings, versions, and the open images.
    pub fn status(&self) -> Value {
        let load = self.executor.load();
        let servers = self.shared.iter().flat_map(|shared| shared.servers());
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "codecs": codecs(),
            "requests": self.served(),
            "cache": {"bytes": self.cached_bytes(), "limit": self.config.cache_bytes},
            "memory": {"leased": load.memory[0], "limit": load.memory[1]},
            "jobs": {
                "small": {"queued": load.small[0], "running": load.small[1]},
                "big": {"queued": load.big[0], "running": load.big[1]},
            },
            "memcached": servers.map(|(server, up)| json!({"server": server, "up": up})).collect::<Vec<_>>(),
            "settings": self.told_settings(),
            "warnings": self.config.warnings,
            "images": self.images(),
        })
    }

    fn told_settings(&self) -> Map<String, Value> {
        let setting = |(name, value, origin): &(&'static str, String, Origin)| {
            let secret = SECRET.contains(name) && !value.is_empty();
            let from = match origin {
                Origin::Default => "default",
                Origin::Environment => "environment",
                Origin::Corrected => "corrected",
            };
            let value = if secret { "…" } else { value.as_str() };
            (String::from(*name), json!({"value": value, "from": from}))
        };
        self.config.values.iter().map(setting).collect()
    }

    fn images(&self) -> Vec<Value> {
        let mut opened = self.library.opened();
        opened.sort_by_key(|opened| std::cmp::Reverse(opened.uses()));
        let image = |opened: &std::sync::Arc<crate::library::Opened>| {
            let header = opened.source.header();
            let size = header.size();
            json!({
                "id": &*opened.identity.name,
                "width": size.w,
                "height": size.h,
                "levels": header.levels.len(),
                "bytes": opened.identity.version.bytes(),
                "uses": opened.uses(),
            })
        };
        opened.iter().map(image).collect()
    }
}

/// The codec libraries, with the versions that they were built against.
fn codecs() -> Map<String, Value> {
    let own = ("jpeg2000", concat!("iipsrv ", env!("CARGO_PKG_VERSION")));
    let system = [
        own,
        ("libjpeg-turbo", env!("TURBOJPEG_VERSION")),
        ("libavif", env!("AVIF_VERSION")),
    ];
    let crates = env!("CODEC_VERSIONS")
        .split(' ')
        .filter_map(|one| one.split_once('='));
    system
        .into_iter()
        .chain(crates)
        .filter(|(_, version)| !version.is_empty())
        .map(|(name, version)| (name.to_string(), version.into()))
        .collect()
}
