//! The listener for administrators: metrics, health, status and purge.

use crate::config::Config;
use crate::http::Http;
use crate::http::Method;
use crate::http::Reply;
use crate::metrics;
use crate::server::Handler;
use crate::service::Service;
use crate::service::status::Purge;
use percent_encoding::percent_decode_str;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// Set when the server stops: it is not ready any more.
static STOPPING: AtomicBool = AtomicBool::new(false);

/// Makes `/health/ready` report that the server is stopping.
pub fn stop() {
    STOPPING.store(true, Ordering::Relaxed);
}

/// Whether this address may be used without a token: it cannot be reached from other machines.
pub fn is_private(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let loopback = host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    address.starts_with('/') || host == "localhost" || loopback
}

/// The handler of the admin listener.
pub fn handler(service: &Service) -> Handler {
    let service = service.clone();
    Arc::new(move |http| {
        let mut reply = answer(&service, &http);
        if http.method() == Method::Head {
            reply.body = bytes::Bytes::new();
        }
        Box::pin(std::future::ready(reply))
    })
}

/// Answers a request of this listener.
fn answer(service: &Service, http: &Http) -> Reply {
    if !is_allowed(http, service.config()) {
        let reply = plain(401, "a token is needed\n");
        return reply.with("WWW-Authenticate", "Bearer");
    }
    let uri = http.text("REQUEST_URI").unwrap_or_default();
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let wanted = if path == "/purge" { "POST" } else { "GET, HEAD" };
    match (path, http.method()) {
        ("/metrics", Method::Get | Method::Head) => {
            service.set_gauges();
            Reply::new(200, metrics::get().text()).with("Content-Type", metrics::MEDIA_TYPE)
        }
        ("/health/live", Method::Get | Method::Head) => plain(200, "alive\n"),
        ("/health/ready", Method::Get | Method::Head) if STOPPING.load(Ordering::Relaxed) => {
            plain(503, "stopping\n")
        }
        ("/health/ready", Method::Get | Method::Head) => plain(200, "ready\n"),
        ("/status", Method::Get | Method::Head) => {
            let text = format!("{:#}\n", service.status());
            Reply::new(200, text).with("Content-Type", "application/json")
        }
        ("/purge", Method::Post) => match purge(query).or_else(|| purge(&body(http))) {
            Some(what) => {
                let gone = service.purge(&what);
                log::info!("{gone} cached entries are purged: {what:?}");
                Reply::new(200, format!("{{\"purged\":{gone}}}\n")).with("Content-Type", "application/json")
            }
            None => plain(400, "needs id=IDENTIFIER or prefix=START\n"),
        },
        ("/metrics" | "/health/live" | "/health/ready" | "/status" | "/purge", _) => {
            plain(405, "method not allowed\n").with("Allow", wanted)
        }
        _ => plain(404, "there is nothing under this address\n"),
    }
}

fn plain(status: u16, text: &'static str) -> Reply {
    Reply::new(status, text).with("Content-Type", "text/plain; charset=utf-8")
}

/// Whether no token is configured, or the request carries it (RFC 6750 §2.1).
fn is_allowed(http: &Http, config: &Config) -> bool {
    if config.admin_token.is_empty() {
        return true;
    }
    let given = http.var("HTTP_AUTHORIZATION").unwrap_or_default();
    let given = given.strip_prefix(b"Bearer ").unwrap_or_default();
    let wanted = config.admin_token.as_bytes();
    // compares in constant time
    let differs = given.iter().zip(wanted).fold(0, |sum, (a, b)| sum | (a ^ b));
    given.len() == wanted.len() && differs == 0
}

fn body(http: &Http) -> String {
    String::from_utf8_lossy(&http.body).trim().to_string()
}

/// `id=…` or `prefix=…`, percent-encoded.
fn purge(query: &str) -> Option<Purge> {
    let (name, value) = query.split('&').next()?.split_once('=')?;
    let value = percent_decode_str(&value.replace('+', " "))
        .decode_utf8()
        .ok()?
        .into_owned();
    match name {
        "id" if !value.is_empty() => Some(Purge::Id(value)),
        // an empty prefix covers everything
        "prefix" => Some(Purge::Prefix(value)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_and_unix_addresses_are_private() {
        for address in [
            "127.0.0.1:9",
            "127.8.0.1:9",
            "[::1]:9",
            "localhost:9",
            "/run/admin.sock",
        ] {
            assert!(is_private(address), "{address}");
        }
        for address in [":9", "0.0.0.0:9", "[::]:9", "192.0.2.1:9", "example.org:9"] {
            assert!(!is_private(address), "{address}");
        }
    }

    #[test]
    fn a_server_is_ready_until_it_stops_and_clients_without_the_token_learn_nothing() {
        let with = |token: &'static str| {
            Service::new(Config::read(|name| (name == "ADMIN_TOKEN").then(|| token.into())))
        };
        let ask = |service: &Service, uri: &str, given: &str| {
            answer(service, &Http::get(uri).with("HTTP_AUTHORIZATION", given)).status
        };
        let open = with("");
        assert_eq!(ask(&open, "/health/live", ""), 200);
        assert_eq!(ask(&open, "/health/ready", ""), 200);
        assert_eq!(ask(&open, "/purge?id=a", ""), 405);
        assert_eq!(ask(&open, "/elsewhere", ""), 404);
        let closed = with("secret");
        for given in ["", "Bearer ", "Bearer secre", "Bearer secret1", "Basic secret"] {
            assert_eq!(ask(&closed, "/metrics", given), 401, "{given}");
        }
        assert_eq!(ask(&closed, "/metrics", "Bearer secret"), 200);
        stop();
        assert_eq!(ask(&open, "/health/ready", ""), 503);
        assert_eq!(ask(&open, "/health/live", ""), 200);
    }

    #[test]
    fn a_purge_names_an_image_or_a_prefix() {
        assert_eq!(purge("id=a%2Fb+c.tif"), Some(Purge::Id("a/b c.tif".into())));
        assert_eq!(purge("prefix=a/"), Some(Purge::Prefix("a/".into())));
        assert_eq!(purge("prefix="), Some(Purge::Prefix(String::new())));
        assert_eq!((purge("id="), purge(""), purge("x=1")), (None, None, None));
    }
}
