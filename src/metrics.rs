//! Counters, gauges and histograms of the process, in the OpenMetrics text format that Prometheus reads.
//!
//! Each module counts its own events; gauges of state elsewhere are set when they are read. One set per process.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::family::MetricConstructor;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;
use std::sync::LazyLock;
use std::time::Duration;

/// The media type of [`Metrics::text`].
pub const MEDIA_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The labels of a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// Protocol.
    pub protocol: &'static str,
    /// The format of the answer, such as `jpeg`; `none` for an answer without a body.
    pub format: &'static str,
    /// The HTTP status.
    pub status: u32,
}

/// The stage of a request: `queue`, `open`, `read`, `process`, `encode`, `send`, or `total`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct StageLabel {
    /// Its name.
    pub stage: &'static str,
}

/// A cache tier: `memory`, `disk` or `memcached`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Tier {
    /// Its name.
    pub tier: &'static str,
}

/// The labels of a cache lookup.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Lookup {
    /// Tier.
    pub tier: &'static str,
    /// `hit`, `miss`, or `unsound`: the stored value failed its checksum.
    pub found: &'static str,
}

/// The lane of the executor: `small` or `big` jobs.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct LaneLabel {
    /// Its name.
    pub lane: &'static str,
}

/// The transport of a connection: `fastcgi`, `http` or `admin`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct WireLabel {
    /// Its name.
    pub wire: &'static str,
}

/// A histogram of seconds.
#[derive(Clone, Debug)]
pub struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        // from a cached tile to the largest export
        Histogram::new([
            0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
            10.0, 30.0,
        ])
    }
}

/// Declares [`Metrics`] by rows of a description, a field with its type, and a name.
macro_rules! metrics {
    ($(#[doc = $help:literal] $field:ident: $metric:ty = $name:literal;)*) => {
        /// All metrics.
        #[derive(Debug)]
        pub struct Metrics {
            registry: Registry,
            /// Duration of the stages of requests, seconds.
            pub stages: Family<StageLabel, Histogram, Seconds>,
            $(#[doc = $help] pub $field: $metric,)*
        }

        impl Metrics {
            fn new() -> Metrics {
                let mut registry = Registry::with_prefix("iipsrv");
                let build = vec![("version", env!("CARGO_PKG_VERSION"))];
                registry.register("build", "The program", Info::new(build));
                let stages = Family::new_with_constructor(Seconds);
                let help = "Duration of the stages of requests";
                registry.register_with_unit("stage_duration", help, Unit::Seconds, stages.clone());
                $(
                    let $field = <$metric>::default();
                    // the registry adds a full stop
                    registry.register($name, $help.trim().trim_end_matches('.'), $field.clone());
                )*
                Metrics { registry, stages, $($field),* }
            }
        }
    };
}

metrics! {
    /// Requests by protocol, format and status.
    requests: Family<RequestLabels, Counter> = "requests";
    /// Bytes of bodies.
    body_bytes: Counter = "body_bytes";
    /// Cache lookups.
    lookups: Family<Lookup, Counter> = "cache_lookups";
    /// Bytes in caches.
    cached_bytes: Family<Tier, Gauge> = "cache_bytes";
    /// Capacity of caches, bytes.
    cache_limit_bytes: Family<Tier, Gauge> = "cache_limit_bytes";
    /// Entries evicted from caches.
    evictions: Family<Tier, Counter> = "cache_evictions";
    /// Values not stored in memcached because its queue was full.
    memcached_dropped: Counter = "memcached_dropped";
    /// Memcached servers that respond.
    memcached_up: Gauge = "memcached_up";
    /// Requests to object stores.
    store_requests: Counter = "store_requests";
    /// Bytes of masters that came from object stores.
    store_bytes: Counter = "store_bytes";
    /// Requests to object stores that failed, other than for a missing object.
    store_failures: Counter = "store_failures";
    /// Jobs queued.
    queued: Family<LaneLabel, Gauge> = "jobs_queued";
    /// Jobs running.
    running: Family<LaneLabel, Gauge> = "jobs_running";
    /// Requests answered with 503.
    refused: Counter = "requests_refused";
    /// Requests abandoned by their clients.
    cancelled: Counter = "requests_cancelled";
    /// Memory leased, bytes.
    leased_bytes: Gauge = "memory_leased_bytes";
    /// Memory that can be leased, bytes.
    budget_bytes: Gauge = "memory_budget_bytes";
    /// Open connections.
    connections: Family<WireLabel, Gauge> = "connections";
    /// Open connections that are idle, sampled once a second.
    connections_idle: Gauge = "connections_idle";
    /// Times that file descriptors for new connections ran out.
    connections_starved: Counter = "connections_starved";
    /// Idle connections closed to accept new ones.
    connections_yielded: Counter = "connections_yielded";
    /// Connections refused because their address had too many.
    connections_refused: Counter = "connections_refused";
    /// Open images.
    open_images: Gauge = "open_images";
    /// The limit of file descriptors.
    descriptor_limit: Gauge = "descriptor_limit";
    /// Calls into network and user-space file systems in progress.
    looks_pending: Gauge = "file_looks_pending";
    /// Calls into file systems that timed out.
    looks_timed_out: Counter = "file_looks_timed_out";
    /// Log lines that could not be written.
    log_dropped: Counter = "log_dropped";
}

/// The metrics of this process.
pub fn get() -> &'static Metrics {
    static ALL: LazyLock<Metrics> = LazyLock::new(Metrics::new);
    &ALL
}

/// Counts a connection as open until dropped.
#[derive(Debug)]
pub struct OpenConnection(WireLabel);

/// Counts a connection as open.
pub fn opened(wire: &'static str) -> OpenConnection {
    let wire = WireLabel { wire };
    get().connections.get_or_create(&wire).inc();
    OpenConnection(wire)
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        get().connections.get_or_create(&self.0).dec();
    }
}

/// Counts a cache lookup.
pub fn lookup(tier: &'static str, found: &'static str) {
    get().lookups.get_or_create(&Lookup { tier, found }).inc();
}

/// Records the time that a stage took.
pub fn took(stage: &'static str, time: Duration) {
    get()
        .stages
        .get_or_create(&StageLabel { stage })
        .observe(time.as_secs_f64());
}

impl Metrics {
    /// All metrics in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut all = String::new();
        // writing to a String cannot fail
        let _ = text::encode(&mut all, &self.registry);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_written_with_their_labels() {
        let metrics = Metrics::new();
        let request = RequestLabels {
            protocol: "iiif",
            format: "jpeg",
            status: 200,
        };
        metrics.requests.get_or_create(&request).inc_by(2);
        let stage = "encode";
        metrics.stages.get_or_create(&StageLabel { stage }).observe(0.003);
        let text = metrics.text();
        let has = |line: &str| assert!(text.lines().any(|l| l == line), "{line} in\n{text}");
        has("iipsrv_requests_total{protocol=\"iiif\",format=\"jpeg\",status=\"200\"} 2");
        has("iipsrv_stage_duration_seconds_bucket{le=\"0.0025\",stage=\"encode\"} 0");
        has("iipsrv_stage_duration_seconds_bucket{le=\"0.005\",stage=\"encode\"} 1");
        has(&format!(
            "iipsrv_build_info{{version=\"{}\"}} 1",
            env!("CARGO_PKG_VERSION")
        ));
        assert!(text.ends_with("# EOF\n"));
    }
}
