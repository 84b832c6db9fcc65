//! Builds replies and their header lines.

use crate::error::Error;
use crate::fingerprint;
use crate::http::HeaderLine;
use crate::http::Http;
use crate::http::Method;
use crate::http::Reply;
use crate::library::Opened;
use crate::library::Sidecar;
use crate::plan::Plan;
use crate::protocol;
use crate::protocol::Ask;
use crate::protocol::Description;
use crate::protocol::Failure;
use crate::protocol::Protocol;
use crate::protocol::Redirect;
use crate::protocol::iip::Fault;
use crate::service::Service;
use log::Level;
use std::time::SystemTime;

/// The media type of IIP answers.
pub const NETFPX: &str = "application/vnd.netfpx";
const SERVER: &str = concat!("iipsrv/", env!("CARGO_PKG_VERSION"));
/// The request header with a proxied identifier, by which addresses in an answer vary,
const NAMED: &str = "X-IIIF-ID";
/// and, if proxies are trusted, those with the address that the client used.
const FORWARDED: &str =
    "X-IIIF-ID, Forwarded, X-Forwarded-Proto, X-Forwarded-Host, X-Forwarded-Port, X-Forwarded-Prefix";
const METHODS: &str = "GET, HEAD, POST, OPTIONS";

impl Service {
    /// The lines of every reply: server and CORS.
    pub(in crate::service) fn common(&self, reply: Reply) -> Reply {
        let reply = reply.with("Server", SERVER);
        let cors = &self.config().cors;
        if cors.is_empty() {
            return reply;
        }
        let headers = &self.config().cors_headers;
        let headers = (!headers.is_empty()).then(|| ("Access-Control-Allow-Headers", headers.clone().into()));
        let reply = with_all(reply, headers);
        reply
            .with("Access-Control-Allow-Origin", cors.clone())
            .with("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
            .with(
                "Access-Control-Expose-Headers",
                "ETag, Link, Location, Retry-After",
            )
            .with("Access-Control-Max-Age", "86400")
    }

    /// Adds Cache-Control with the configured lifetime.
    pub(in crate::service) fn with_cache_control(&self, reply: Reply) -> Reply {
        reply.with("Cache-Control", self.config().cache_control.clone())
    }

    /// A strong ETag (RFC 9110 §8.8.3): equal bytes have equal tags in every process of the same version.
    pub(in crate::service) fn etag(&self, fingerprint: u64) -> String {
        format!("\"{fingerprint:016x}\"")
    }

    /// Adds the validators of a reply that was made from an image.
    pub(in crate::service) fn stamp(&self, reply: Reply, etag: &str, modified: &str) -> Reply {
        let reply = reply
            .with("Last-Modified", modified.to_string())
            .with("ETag", etag.to_string());
        self.common(self.with_cache_control(reply))
    }

    /// 304 for a GET or HEAD if the client's copy is current. `If-None-Match` takes precedence (RFC 9110 §13.2.2).
    /// `lines` are those of the answer: a 304 includes Vary.
    pub(in crate::service) fn unchanged(
        &self,
        http: &Http,
        etag: &str,
        modified: &str,
        lines: &[HeaderLine],
    ) -> Option<Reply> {
        if !matches!(http.method(), Method::Get | Method::Head) {
            return None;
        }
        let known = match http.text("HTTP_IF_NONE_MATCH") {
            Some(tags) => names(tags, etag),
            None => http.text("HTTP_IF_MODIFIED_SINCE").is_some_and(|since| {
                let date = |text: &str| httpdate::parse_http_date(text).ok();
                date(since)
                    .zip(date(modified))
                    .is_some_and(|(since, modified)| since >= modified)
            }),
        };
        known.then(|| {
            let vary = lines.iter().filter(|(name, _)| *name == "Vary").cloned();
            self.stamp(with_all(Reply::empty(304), vary), etag, modified)
        })
    }

    /// A description, including the members of the sidecar files.
    pub(in crate::service) fn describe(
        &self,
        http: &Http,
        opened: &Opened,
        ask: &Ask,
        sidecar: &Sidecar,
    ) -> Reply {
        let header = opened.source.header();
        let limits = self.limits.now();
        let described = protocol::describe(ask, header, &limits, &self.config.protocol, &sidecar.members);
        let Some(description) = described else {
            return self.front_page();
        };
        let lines = match ask {
            // version and media type, and the identifier
            Ask::Info { .. } => vec![("Vary", format!("Accept, {}", self.named()).into())],
            _ => Vec::new(),
        };
        self.described(http, opened, description, lines, sidecar.modified)
    }

    /// A description with these additional header lines.
    pub(in crate::service) fn described(
        &self,
        http: &Http,
        opened: &Opened,
        description: Description,
        mut lines: Vec<HeaderLine>,
        sidecar: Option<SystemTime>,
    ) -> Reply {
        let Description {
            media_type,
            links,
            text,
        } = description;
        lines.extend(links.map(|links| ("Link", links.into())));
        let own = httpdate::parse_http_date(&opened.last_modified).ok();
        let modified = match sidecar.filter(|sidecar| Some(*sidecar) > own) {
            Some(time) => httpdate::fmt_http_date(time),
            None => opened.last_modified.clone(),
        };
        let etag = self.etag(fingerprint::of(&(&opened.identity, media_type, &text)));
        if let Some(reply) = self.unchanged(http, &etag, &modified, &lines) {
            return reply;
        }
        let reply = Reply::new(200, text).with("Content-Type", media_type);
        self.stamp(with_all(reply, lines), &etag, &modified)
    }

    /// 301 or 303 to another address.
    pub(in crate::service) fn redirect(&self, target: Redirect) -> Reply {
        let status = if target.forever { 301 } else { 303 };
        let reply = Reply::new(status, "").with("Location", target.to);
        self.common(self.with_cache_control(reply.with("Vary", self.named())))
    }

    /// The request headers by which a proxy may change an address.
    pub(in crate::service) fn named(&self) -> &'static str {
        if self.config.protocol.trust_proxy {
            FORWARDED
        } else {
            NAMED
        }
    }

    /// 204 with the allowed methods.
    pub(in crate::service) fn options(&self) -> Reply {
        self.common(Reply::empty(204).with("Allow", METHODS))
    }

    /// 405 with the allowed methods.
    pub(in crate::service) fn not_allowed(&self) -> Reply {
        let reply = Reply::new(405, "method not allowed\n").with("Content-Type", "text/plain; charset=utf-8");
        self.common(reply.with("Allow", METHODS))
    }

    /// The answer to an empty request: a page that names the server.
    pub(in crate::service) fn front_page(&self) -> Reply {
        let page = concat!(
            "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>iipsrv ",
            env!("CARGO_PKG_VERSION"),
            "</title></head><body><h1>iipsrv ",
            env!("CARGO_PKG_VERSION"),
            "</h1><p>An image server: IIP, IIIF, DeepZoom, Zoomify.</p></body></html>\n"
        );
        self.common(Reply::new(200, page).with("Content-Type", "text/html; charset=utf-8"))
    }

    /// Logs an error with the image that it concerns.
    fn tell(&self, http: &Http, error: &Error) {
        let level = match error {
            Error::Corrupt(_) | Error::Io(_) | Error::Internal(_) | Error::Unreadable { .. } => Level::Error,
            Error::TooBig(_) | Error::NoMemory(_) | Error::TimedOut | Error::Limit(_) => Level::Warn,
            // a client can cause any number of these
            Error::Unsupported(_) => Level::Info,
            _ => return,
        };
        let request = protocol::parse(http, &self.config.protocol).ok();
        match request.and_then(|(_, request)| request.image) {
            Some(image) => log::log!(level, "{image:?}: {error}"),
            None => log::log!(level, "{error}"),
        }
    }

    /// The reply for an error, in the format of the protocol: one line, without internals of the server.
    pub(in crate::service) fn fail(&self, http: &Http, failure: &Failure) -> Reply {
        let Failure { protocol, error, iip } = failure;
        self.tell(http, error);
        let reply = match protocol {
            Protocol::Iip => {
                let fault = iip.clone().unwrap_or_else(|| match error {
                    Error::Missing(_) | Error::Unreadable { .. } => Fault {
                        code: "1 3",
                        argument: "FIF".into(),
                    },
                    other => Fault {
                        code: "2 1",
                        argument: other.public().into(),
                    },
                });
                Reply::new(error.status(), fault.body()).with("Content-Type", NETFPX)
            }
            Protocol::Iiif | Protocol::DeepZoom | Protocol::Zoomify => {
                let text = format!("{}\n", error.public());
                Reply::new(error.status(), text).with("Content-Type", "text/plain; charset=utf-8")
            }
        };
        let reply = self.common(reply.with("Cache-Control", "no-cache"));
        match error {
            Error::Busy | Error::NoMemory(_) | Error::Cancelled => reply.with("Retry-After", "1"),
            Error::Later(seconds) => reply.with("Retry-After", seconds.to_string()),
            _ => reply,
        }
    }
}

/// Adds header lines.
pub fn with_all(reply: Reply, lines: impl IntoIterator<Item = HeaderLine>) -> Reply {
    lines
        .into_iter()
        .fold(reply, |reply, (name, value)| reply.with(name, value))
}

/// Whether the list of entity tags contains this one, by weak comparison (RFC 9110 §13.1.2). Tags may contain commas.
fn names(tags: &str, etag: &str) -> bool {
    if tags.trim() == "*" {
        return true;
    }
    // every second part between quotes is a tag
    let mut pieces = tags.split('"').skip(1).step_by(2);
    pieces.any(|tag| tag == etag.trim_matches('"'))
}

/// The file name for an export: displayed for a GET, saved for a POST.
pub fn export(http: &Http, opened: &Opened, plan: &Plan) -> HeaderLine {
    let kind = if http.method() == Method::Post {
        "attachment"
    } else {
        "inline"
    };
    let name = file_name(&opened.identity.name, plan);
    (
        "Content-Disposition",
        format!("{kind}; filename=\"{name}\"").into(),
    )
}

/// `NAME_WxH.FORMAT`: the last part of the identifier without suffix, and the size of the answer.
fn file_name(id: &str, plan: &Plan) -> String {
    let last = id.rsplit('/').next().unwrap_or(id);
    let stem = last.rsplit_once('.').map_or(last, |(stem, _)| stem);
    let stem: String = stem
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '_'
            }
        })
        .take(100)
        .collect();
    let size = plan.size();
    format!("{stem}_{}x{}.{}", size.w, size.h, plan.output.format.suffix())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_in_a_list_however_it_is_compared() {
        for (tags, found) in [
            ("*", true),
            (" * ", true),
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("\"b\", W/\"a\"", true),
            ("\"b,c\",\"a\"", true),
            ("\"b\"", false),
            ("\"b, a\"", false),
            ("a", false),
            ("", false),
            ("\"*\"", false),
        ] {
            assert_eq!(names(tags, "\"a\""), found, "{tags}");
        }
    }
}
