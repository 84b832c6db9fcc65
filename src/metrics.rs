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
use prometheus_client::registry::Metric;
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

/// All metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Answers sent.
    pub requests: Family<RequestLabels, Counter>,
    /// Duration of requests, seconds.
    pub stages: Family<StageLabel, Histogram, Seconds>,
    /// Bytes of bodies.
    pub body_bytes: Counter,
    /// Cache lookups.
    pub lookups: Family<Lookup, Counter>,
    /// Bytes in caches.
    pub cached_bytes: Family<Tier, Gauge>,
    /// Capacity of caches, bytes.
    pub cache_limit_bytes: Family<Tier, Gauge>,
    /// Entries evicted from caches.
    pub evictions: Family<Tier, Counter>,
    /// Values not stored in memcached because its queue was full.
    pub memcached_dropped: Counter,
    /// Memcached servers that respond.
    pub memcached_up: Gauge,
    /// Requests to object stores.
    pub store_requests: Counter,
    /// Bytes of masters that came from object stores.
    pub store_bytes: Counter,
    /// Requests to object stores that failed, other than for a missing object.
    pub store_failures: Counter,
    /// Jobs queued.
    pub queued: Family<LaneLabel, Gauge>,
    /// Jobs running.
    pub running: Family<LaneLabel, Gauge>,
    /// Requests answered with 503.
    pub refused: Counter,
    /// Requests abandoned by their clients.
    pub cancelled: Counter,
    /// Memory leased, bytes.
    pub leased_bytes: Gauge,
    /// Memory that can be leased, bytes.
    pub budget_bytes: Gauge,
    /// Open connections.
    pub connections: Family<WireLabel, Gauge>,
    /// Open connections that are idle, sampled once a second.
    pub connections_idle: Gauge,
    /// Times that file descriptors for new connections ran out.
    pub connections_starved: Counter,
    /// Idle connections closed to accept new ones.
    pub connections_yielded: Counter,
    /// Connections refused because their address had too many.
    pub connections_refused: Counter,
    /// Open images.
    pub open_images: Gauge,
    /// The limit of file descriptors.
    pub descriptor_limit: Gauge,
    /// Calls into network and user-space file systems in progress.
    pub looks_pending: Gauge,
    /// Calls into file systems that timed out.
    pub looks_timed_out: Counter,
    /// Log lines that could not be written.
    pub log_dropped: Counter,
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
    fn new() -> Metrics {
        let mut all = Registrar(Registry::with_prefix("iipsrv"));
        let build = vec![("version", env!("CARGO_PKG_VERSION"))];
        all.0.register("build", "The program", Info::new(build));
        Metrics {
            requests: all.add(
                "requests",
                "Requests by protocol, format and status",
                Family::default(),
            ),
            stages: all.add_in(
                "stage_duration",
                "Time of requests by stage",
                Unit::Seconds,
                Family::new_with_constructor(Seconds),
            ),
            body_bytes: all.add("body_bytes", "Bytes of the bodies of answers", Counter::default()),
            lookups: all.add("cache_lookups", "Looks into caches", Family::default()),
            cached_bytes: all.add("cache_bytes", "Bytes in caches", Family::default()),
            cache_limit_bytes: all.add(
                "cache_limit_bytes",
                "Bytes that caches may hold",
                Family::default(),
            ),
            evictions: all.add(
                "cache_evictions",
                "Entries thrown out to make room",
                Family::default(),
            ),
            memcached_dropped: all.add(
                "memcached_dropped",
                "Values not stored because too many waited",
                Counter::default(),
            ),
            memcached_up: all.add(
                "memcached_up",
                "Servers of memcached that answer",
                Gauge::default(),
            ),
            store_requests: all.add("store_requests", "Requests to object stores", Counter::default()),
            store_bytes: all.add(
                "store_bytes",
                "Bytes of masters that came from object stores",
                Counter::default(),
            ),
            store_failures: all.add(
                "store_failures",
                "Requests to object stores that failed",
                Counter::default(),
            ),
            queued: all.add("jobs_queued", "Jobs that wait for a thread", Family::default()),
            running: all.add("jobs_running", "Jobs on a thread", Family::default()),
            refused: all.add(
                "requests_refused",
                "Requests answered with 503",
                Counter::default(),
            ),
            cancelled: all.add(
                "requests_cancelled",
                "Requests whose clients went away",
                Counter::default(),
            ),
            leased_bytes: all.add("memory_leased_bytes", "Memory that is leased", Gauge::default()),
            budget_bytes: all.add(
                "memory_budget_bytes",
                "Memory that can be leased",
                Gauge::default(),
            ),
            connections: all.add("connections", "Open connections", Family::default()),
            connections_starved: all.add(
                "connections_starved",
                "Times that descriptors for new connections ran out",
                Counter::default(),
            ),
            connections_yielded: all.add(
                "connections_yielded",
                "Idle connections that gave way to new ones",
                Counter::default(),
            ),
            connections_idle: all.add(
                "connections_idle",
                "Open connections on which nothing goes on",
                Gauge::default(),
            ),
            connections_refused: all.add(
                "connections_refused",
                "Connections of addresses that had as many as they may",
                Counter::default(),
            ),
            open_images: all.add("open_images", "Open images", Gauge::default()),
            descriptor_limit: all.add("descriptor_limit", "Files that may be open", Gauge::default()),
            looks_pending: all.add(
                "file_looks_pending",
                "Looks at files on network and user-space file systems under way",
                Gauge::default(),
            ),
            looks_timed_out: all.add(
                "file_looks_timed_out",
                "Looks at files without an end",
                Counter::default(),
            ),
            log_dropped: all.add(
                "log_dropped",
                "Log lines that could not be written",
                Counter::default(),
            ),
            registry: all.0,
        }
    }

    /// All metrics in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut all = String::new();
        // writing to a String cannot fail
        let _ = text::encode(&mut all, &self.registry);
        all
    }
}

/// A registry whose methods return the registered metric.
struct Registrar(Registry);

impl Registrar {
    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    fn add_in<M: Metric + Clone>(&mut self, name: &str, help: &str, unit: Unit, metric: M) -> M {
        self.0.register_with_unit(name, help, unit, metric.clone());
        metric
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
