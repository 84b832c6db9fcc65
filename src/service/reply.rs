//! Replies and the header lines that go with them.

use crate::error::Error;
use crate::http::Http;
use crate::http::Method;
use crate::http::Reply;
use crate::library::Opened;
use crate::plan::Plan;
use crate::process::Op;
use crate::protocol::Description;
use crate::protocol::Failure;
use crate::protocol::Protocol;
use crate::protocol::iip::Fault;
use crate::service::Drawing;
use crate::service::Service;
use bytes::Bytes;
use std::hash::DefaultHasher;
use std::hash::Hash;
use std::hash::Hasher;

/// The media type of IIP answers.
pub const NETFPX: &str = "application/vnd.netfpx";
const SERVER: &str = concat!("iipsrv/", env!("CARGO_PKG_VERSION"));
const METHODS: &str = "GET, HEAD, POST, OPTIONS";

impl Service {
    /// The lines that every reply has: server and CORS.
    pub(in crate::service) fn common(&self, reply: Reply) -> Reply {
        let reply = reply.with("Server", SERVER);
        let cors = &self.config().cors;
        if cors.is_empty() {
            return reply;
        }
        reply
            .with("Access-Control-Allow-Origin", cors.clone())
            .with("Access-Control-Allow-Methods", "GET, POST, OPTIONS")
            .with(
                "Access-Control-Allow-Headers",
                "Accept, Content-Type, X-Requested-With, If-Modified-Since",
            )
            .with("Access-Control-Max-Age", "86400")
    }

    /// The lines of a reply that was made from an image.
    pub(in crate::service) fn stamp(&self, opened: &Opened, etag: Option<String>, reply: Reply) -> Reply {
        let reply = reply
            .with("Last-Modified", opened.last_modified.clone())
            .with("Cache-Control", self.config().cache_control.clone());
        self.common(match etag {
            Some(etag) => reply.with("ETag", etag),
            None => reply,
        })
    }

    /// 304 when the client has it already. `If-None-Match` decides alone where it is given (RFC 9110 §13.2.2).
    pub(in crate::service) fn unchanged(&self, http: &Http, opened: &Opened, etag: &str) -> Option<Reply> {
        let known = match http.text("HTTP_IF_NONE_MATCH") {
            Some(tags) => tags.split(',').any(|tag| {
                let tag = tag.trim();
                tag == "*" || (!etag.is_empty() && tag.strip_prefix("W/").unwrap_or(tag) == etag)
            }),
            None => http.text("HTTP_IF_MODIFIED_SINCE").is_some_and(|since| {
                let date = |text: &str| httpdate::parse_http_date(text).ok();
                date(since)
                    .zip(date(&opened.last_modified))
                    .is_some_and(|(since, modified)| since >= modified)
            }),
        };
        let tag = (!etag.is_empty()).then(|| etag.to_string());
        known.then(|| self.stamp(opened, tag, Reply::empty(304)))
    }

    /// An image file.
    pub(in crate::service) fn picture(&self, http: &Http, drawing: Drawing, bytes: Bytes) -> Reply {
        let Drawing {
            opened,
            plan,
            etag,
            export,
        } = drawing;
        let reply = Reply::new(200, bytes).with("Content-Type", plan.output.format.media_type());
        let reply = self.stamp(&opened, Some(etag), reply);
        if !export {
            return reply;
        }
        let kind = if http.method() == Method::Post {
            "attachment"
        } else {
            "inline"
        };
        reply.with(
            "Content-Disposition",
            format!("{kind}; filename=\"{}\"", file_name(&opened.identity.name, &plan)),
        )
    }

    /// A description.
    pub(in crate::service) fn description(
        &self,
        http: &Http,
        opened: &Opened,
        description: Description,
    ) -> Reply {
        let mut hasher = DefaultHasher::new();
        (&opened.identity, &description.text).hash(&mut hasher);
        let etag = format!("\"{:016x}\"", hasher.finish());
        if let Some(reply) = self.unchanged(http, opened, &etag) {
            return reply;
        }
        let reply = Reply::new(200, description.text).with("Content-Type", description.media_type);
        let reply = self.stamp(opened, Some(etag), reply);
        if description.media_type.contains("json") {
            reply.with("Vary", "Accept")
        } else {
            reply
        }
    }

    /// 303 to another address.
    pub(in crate::service) fn redirect(&self, target: String) -> Reply {
        self.common(Reply::new(303, "").with("Location", target))
    }

    /// 204 with what may be asked.
    pub(in crate::service) fn options(&self) -> Reply {
        self.common(Reply::empty(204).with("Allow", METHODS))
    }

    /// 405 with what may be asked.
    pub(in crate::service) fn not_allowed(&self) -> Reply {
        let reply = Reply::new(405, "method not allowed\n").with("Content-Type", "text/plain; charset=utf-8");
        self.common(reply.with("Allow", METHODS))
    }

    /// The answer to nothing: the page that names the server.
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

    /// What went wrong, in the way of the protocol that was spoken: one line, nothing of the machine.
    pub(in crate::service) fn fail(&self, failure: &Failure) -> Reply {
        let Failure { protocol, error, iip } = failure;
        if error.status() >= 500 {
            log::error!("{error}");
        }
        let reply = match protocol {
            Protocol::Iip => {
                let status = if matches!(error, Error::Outside(_)) {
                    400
                } else {
                    error.status()
                };
                let fault = iip.clone().unwrap_or_else(|| match error {
                    Error::Missing(_) => Fault {
                        code: "1 3",
                        argument: "FIF".into(),
                    },
                    other => Fault {
                        code: "2 1",
                        argument: other.public().into(),
                    },
                });
                Reply::new(status, fault.body()).with("Content-Type", NETFPX)
            }
            Protocol::Iiif | Protocol::DeepZoom | Protocol::Zoomify => {
                let text = format!("{}\n", error.public());
                Reply::new(error.status(), text).with("Content-Type", "text/plain; charset=utf-8")
            }
        };
        let reply = self.common(reply.with("Cache-Control", "no-cache"));
        if matches!(error, Error::Busy) {
            reply.with("Retry-After", "1")
        } else {
            reply
        }
    }
}

/// `NAME_WxH.FORMAT`: the last part of the identifier without its suffix, and the size of the answer.
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
    let size = plan
        .ops
        .iter()
        .fold(plan.window.rect.size(), |size, op| match op {
            Op::Resize { to, .. } | Op::Fit(to) => *to,
            Op::Turn { quarters: 1 | 3, .. } => size.turned(),
            _ => size,
        });
    format!("{stem}_{}x{}.{}", size.w, size.h, plan.output.format.suffix())
}
