//! The access log line of a request, and the request's identifier.

use crate::config::LogFormat;
use crate::http::Http;
use crate::http::Reply;
use serde_json::Map;
use serde_json::Value;
use std::fmt::Write;
use std::hash::BuildHasher;
use std::hash::RandomState;
use std::sync::LazyLock;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

/// The target of these lines.
pub const TARGET: &str = "access";

/// Longest accepted identifier.
const MAX_ID: usize = 128;

/// Longest text of a request in a line, in characters.
const MAX_TEXT: usize = 500;

/// How an answer was obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// From what is in memory.
    Hit,
    /// From DISK_CACHE.
    Disk,
    /// From memcached.
    Memcached,
    /// Read or computed.
    Made,
    /// The request cannot be answered.
    Refused,
    /// The server could not answer.
    Failed,
}

impl Outcome {
    /// The word in the log.
    fn name(self) -> &'static str {
        match self {
            Outcome::Hit => "hit",
            Outcome::Disk => "disk",
            Outcome::Memcached => "memcached",
            Outcome::Made => "made",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
        }
    }
}

/// The logged properties of a request.
#[derive(Debug)]
pub struct Access<'a> {
    /// The request.
    pub http: &'a Http,
    /// The reply, before the body is removed for HEAD.
    pub reply: &'a Reply,
    /// See [`request_id`].
    pub id: &'a str,
    /// Whether X-Forwarded-For is trusted.
    pub trust_proxy: bool,
    /// From the first byte read to the reply.
    pub time: Duration,
    /// How the answer was obtained.
    pub outcome: Outcome,
    /// The time of each stage.
    pub stages: &'a [(&'static str, Duration)],
}

/// The identifier that a proxy gave the request in `X-Request-ID` or, if that is not printable ASCII without spaces
/// and quotes, 16 hexadecimal digits that are unique.
pub fn request_id(http: &Http) -> String {
    static FIRST: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(()));
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let is_plain = |id: &&str| {
        let plain = |b: u8| b.is_ascii_graphic() && b != b'"' && b != b'\\';
        (1..=MAX_ID).contains(&id.len()) && id.bytes().all(plain)
    };
    match http.text("HTTP_X_REQUEST_ID").filter(is_plain) {
        Some(id) => id.into(),
        None => {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            format!("{:08x}{count:08x}", *FIRST >> 32)
        }
    }
}

/// The client's address: REMOTE_ADDR or, behind a trusted proxy, the address that this proxy saw, which it puts last.
fn client(http: &Http, trust_proxy: bool) -> String {
    let forwarded = trust_proxy.then(|| text(http, "HTTP_X_FORWARDED_FOR"));
    let last = forwarded.and_then(|list| list.rsplit(',').next().map(|last| last.trim().to_string()));
    last.filter(|last| !last.is_empty())
        .unwrap_or_else(|| text(http, "REMOTE_ADDR"))
}

impl Access<'_> {
    /// Formats the line, without a line feed.
    pub fn line(&self, format: LogFormat) -> String {
        match format {
            LogFormat::Iip => self.iip(),
            LogFormat::Combined => self.combined(),
            LogFormat::Json => self.json(),
        }
    }

    fn iip(&self) -> String {
        let method = text(self.http, "REQUEST_METHOD");
        let (status, size) = (self.reply.status, self.reply.body.len());
        let mut line = format!(
            "{method} {status} {size} B {:.2} ms {} {}",
            ms(self.time),
            self.outcome.name(),
            address(self.http)
        );
        if log::log_enabled!(target: TARGET, log::Level::Debug) {
            let _ = write!(line, " [{}]", self.id);
            for (stage, time) in self.stages.iter().filter(|(_, time)| !time.is_zero()) {
                let _ = write!(line, " {stage} {:.2} ms", ms(*time));
            }
        }
        line
    }

    /// `%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-agent}i"` of Apache's mod_log_config.
    fn combined(&self) -> String {
        let text = |name, none: &str| {
            let text = text(self.http, name);
            quoted(if text.is_empty() { none } else { &text })
        };
        // Sun, 06 Nov 1994 08:49:37 GMT
        let date = httpdate::fmt_http_date(SystemTime::now());
        let mut parts = date.split(' ').skip(1);
        let mut part = || parts.next().unwrap_or_default();
        let time = format!("{}/{}/{}:{} +0000", part(), part(), part(), part());
        let client = client(self.http, self.trust_proxy);
        let client = if client.is_empty() { "-" } else { &client };
        let bytes = match self.reply.body.len() {
            0 => "-".into(),
            bytes => bytes.to_string(),
        };
        format!(
            "{} - {} [{time}] \"{} {} {}\" {} {bytes} \"{}\" \"{}\"",
            quoted(client).replace(' ', "_"),
            text("REMOTE_USER", "-").replace(' ', "_"),
            text("REQUEST_METHOD", "GET"),
            quoted(&address(self.http)),
            text("SERVER_PROTOCOL", "HTTP/1.1"),
            self.reply.status,
            text("HTTP_REFERER", "-"),
            text("HTTP_USER_AGENT", "-"),
        )
    }

    fn json(&self) -> String {
        let text = |name| text(self.http, name);
        let stages: Map<String, Value> = self
            .stages
            .iter()
            .filter(|(_, time)| !time.is_zero())
            .map(|(stage, time)| (String::from(*stage), ms(*time).into()))
            .collect();
        serde_json::json!({
            "time": stamp(SystemTime::now()),
            "level": "info",
            "request_id": self.id,
            "client": client(self.http, self.trust_proxy),
            "method": text("REQUEST_METHOD"),
            "uri": address(self.http),
            "status": self.reply.status,
            "bytes": self.reply.body.len(),
            "ms": ms(self.time),
            "cache": self.outcome.name(),
            "stages_ms": stages,
            "referer": text("HTTP_REFERER"),
            "user_agent": text("HTTP_USER_AGENT"),
        })
        .to_string()
    }
}

/// The value of `Server-Timing` (W3C Server Timing): milliseconds of each stage that took time, and in total;
/// requests to stores, if any, and the bytes received.
pub fn server_timing(
    stages: &[(&'static str, Duration)],
    [requests, bytes]: [u64; 2],
    time: Duration,
) -> String {
    let mut text = String::new();
    if requests > 0 {
        let _ = write!(text, "store;desc=\"{requests} requests, {bytes} bytes\", ");
    }
    for (stage, time) in stages.iter().filter(|(_, time)| !time.is_zero()) {
        let _ = write!(text, "{stage};dur={}, ", ms(*time));
    }
    let _ = write!(text, "total;dur={}", ms(time));
    text
}

/// The requested address, on one line.
fn address(http: &Http) -> String {
    let uri = text(http, "REQUEST_URI");
    if uri.is_empty() {
        text(http, "QUERY_STRING")
    } else {
        uri
    }
}

/// The start of a variable, on one line.
fn text(http: &Http, name: &str) -> String {
    let text = String::from_utf8_lossy(http.var(name).unwrap_or_default());
    let plain = |c: char| if c.is_control() { '?' } else { c };
    text.chars().map(plain).take(MAX_TEXT).collect()
}

/// Escapes text for use between quotes.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

fn ms(time: Duration) -> f64 {
    (time.as_secs_f64() * 100_000.0).round() / 100.0
}

/// `2026-01-31T12:00:00.123Z`: UTC.
pub fn stamp(now: SystemTime) -> String {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    let milli = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z")
}

/// Year, month and day `days` days after 1970-01-01, in the proleptic Gregorian calendar. Years are counted from
/// March, so that the leap day is the last; eras have 400 years or 146,097 days.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468; // from 0000-03-01
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_follows_the_calendar() {
        for (seconds, stamped) in [
            (0, "1970-01-01T00:00:00.007Z"),
            (951_782_399, "2000-02-28T23:59:59.007Z"),
            (951_782_400, "2000-02-29T00:00:00.007Z"),
            (1_709_251_200, "2024-03-01T00:00:00.007Z"),
            (4_107_542_400, "2100-03-01T00:00:00.007Z"),
        ] {
            let now = UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 7);
            assert_eq!(stamp(now), stamped);
        }
    }

    fn http() -> Http {
        Http::get("/iiif/a%20b/info.json?x=\"\n1")
            .with("SERVER_PROTOCOL", "HTTP/2.0")
            .with("REMOTE_ADDR", "192.0.2.9")
            .with("HTTP_X_FORWARDED_FOR", "203.0.113.1, 198.51.100.7")
            .with("HTTP_REFERER", "https://example.org/\\")
            .with("HTTP_USER_AGENT", "a \"b\" c")
    }

    fn line(format: LogFormat, trust_proxy: bool) -> String {
        let access = Access {
            http: &http(),
            reply: &Reply::new(200, "12345"),
            id: "abc",
            trust_proxy,
            time: Duration::from_micros(1_234),
            outcome: Outcome::Made,
            stages: &[("open", Duration::ZERO), ("read", Duration::from_micros(500))],
        };
        access.line(format)
    }

    #[test]
    fn a_combined_line_is_read_field_by_field() {
        let line = line(LogFormat::Combined, false);
        let (start, rest) = line.split_once(" [").unwrap();
        assert_eq!(start, "192.0.2.9 - -");
        let (date, rest) = rest.split_once("] ").unwrap();
        assert!(
            date.len() == 26 && date.ends_with(" +0000") && &date[2..3] == "/",
            "{date}"
        );
        let wanted =
            r#""GET /iiif/a%20b/info.json?x=\"?1 HTTP/2.0" 200 5 "https://example.org/\\" "a \"b\" c""#;
        assert_eq!(rest, wanted);
    }

    #[test]
    fn a_line_of_json_is_an_object_with_everything() {
        let line: Value = serde_json::from_str(&line(LogFormat::Json, true)).unwrap();
        for (name, wanted) in [
            ("client", Value::from("198.51.100.7")),
            ("request_id", "abc".into()),
            ("uri", "/iiif/a%20b/info.json?x=\"?1".into()),
            ("status", 200.into()),
            ("bytes", 5.into()),
            ("ms", 1.23.into()),
            ("cache", "made".into()),
            ("stages_ms", serde_json::json!({"read": 0.5})),
            ("user_agent", "a \"b\" c".into()),
        ] {
            assert_eq!(line[name], wanted, "{name}");
        }
    }

    #[test]
    fn an_identifier_is_kept_or_generated() {
        let given = |id: &str| request_id(&Http::new().with("HTTP_X_REQUEST_ID", id));
        assert_eq!(given("b8f2-77/a"), "b8f2-77/a");
        let long = "x".repeat(MAX_ID + 1);
        let made: Vec<_> = ["", "a b", "a\"", "\u{e4}", &long].map(given).into();
        for (at, id) in made.iter().enumerate() {
            assert!(id.len() == 16 && !made[..at].contains(id), "{id}");
        }
    }
}
