//! Collects the pictures of an image or a folder for a manifest; `protocol::iiif` writes it.

use crate::error::Error;
use crate::error::Result;
use crate::fingerprint;
use crate::http::HeaderLine;
use crate::http::Http;
use crate::http::Reply;
use crate::library::Opened;
use crate::protocol::iiif;
use crate::protocol::iiif::Canvas;
use crate::protocol::iiif::FolderEntry;
use crate::protocol::iiif::ManifestRequest;
use crate::protocol::segment;
use crate::service::Service;

/// Maximum number of pictures of a manifest: each is opened for its size.
const MAX_CANVASES: usize = 1_000;

impl Service {
    /// The manifest of an image, or the Collection of a folder. Reads files, so it must run on a compute thread.
    pub(in crate::service) fn manifest(
        &self,
        http: &Http,
        id: &str,
        asked: &ManifestRequest,
    ) -> Result<Reply> {
        let lines: Vec<HeaderLine> = vec![("Vary", format!("Accept, {}", self.named()).into())];
        let missing = if id.is_empty() {
            Error::Missing("no folder".into())
        } else {
            match self.library.open(id) {
                Ok(opened) => {
                    let sidecar = self.read_sidecar(&opened);
                    let (header, canvases) = (opened.source.header(), self.canvases(id, &opened)?);
                    let text = iiif::manifest(
                        asked,
                        last(id),
                        header,
                        &canvases,
                        &self.config.protocol,
                        &sidecar.members,
                    );
                    return Ok(self.described(http, &opened, text, lines, sidecar.modified));
                }
                Err(missing @ Error::Missing(_)) => missing,
                Err(error) => return Err(error),
            }
        };
        if !self.config().directory {
            return Err(missing);
        }
        let (names, modified) = self.library.folder(id)?;
        let entries: Vec<_> = names
            .into_iter()
            .map(|(name, folder)| FolderEntry { name, folder })
            .collect();
        let name = Some(last(id.trim_end_matches('/'))).filter(|name| !name.is_empty());
        let text = iiif::collection(asked, name.unwrap_or("Images"), &entries);
        let etag = self.etag(fingerprint::of(&(text.media_type, &text.text)));
        let modified = httpdate::fmt_http_date(modified);
        if let Some(reply) = self.unchanged(http, &etag, &modified, &lines) {
            return Ok(reply);
        }
        let reply = Reply::new(200, text.text).with("Content-Type", text.media_type);
        let reply = lines
            .into_iter()
            .fold(reply, |reply, (name, value)| reply.with(name, value));
        Ok(self.stamp(reply, &etag, &modified))
    }

    /// A canvas for each picture of an identifier. Pictures that cannot be opened are left out and logged.
    fn canvases(&self, id: &str, opened: &Opened) -> Result<Vec<Canvas>> {
        let members = self.library.members(opened);
        let pages = &opened.source.header().set.stack;
        let mut canvases = Vec::new();
        for (n, member) in members.iter().take(MAX_CANVASES).enumerate() {
            let tail = member.strip_prefix(id).unwrap_or_default();
            let (size, label) = if tail.is_empty() {
                (opened.source.header().size(), last(id).to_string())
            } else {
                match self.library.open(member) {
                    Ok(page) => {
                        let named = pages.get(n).and_then(|page| page.name.clone());
                        (
                            page.source.header().size(),
                            named.unwrap_or_else(|| (n + 1).to_string()),
                        )
                    }
                    Err(error) => {
                        log::warn!("{member} is left out of the manifest of {id}: {error}");
                        continue;
                    }
                }
            };
            canvases.push(Canvas {
                tail: segment(tail),
                label,
                size,
            });
        }
        if canvases.is_empty() {
            return Err(Error::Corrupt(format!(
                "{id}: none of its pictures can be opened"
            )));
        }
        Ok(canvases)
    }
}

/// The name of an image without its folders.
fn last(id: &str) -> &str {
    id.rsplit('/').next().unwrap_or(id)
}
