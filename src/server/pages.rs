//! The pages of the HTTP listener: the viewer and the list of images.
//!
//! The list comes from walking the directory tree without opening images. All other requests under the known prefixes
//! go to the service.

use crate::config::Config;
use crate::http::Http;
use crate::http::Method;
use crate::http::Reply;
use crate::server::http::SCRIPT;
use crate::service::Service;
use crate::source::file_format::FileFormat;
use crate::work::Cost;
use crate::work::Lease;
use crate::work::Scope;
use std::path::Path;
use std::path::PathBuf;

const VIEWER: &str = include_str!("viewer.html");

/// The path of the program in Debian's package.
const DEBIAN: &str = "/iipsrv/iipsrv.fcgi";
/// Maximum number of levels of directories below the first.
const MAX_DEPTH: usize = 6;
/// Maximum number of images in the list.
const MAX_IMAGES: usize = 1_000;
/// Maximum number of names that are examined, images or not.
const MAX_NAMES: usize = 100_000;

/// The handler of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// The service.
    Service,
    /// The viewer's page.
    Viewer,
    /// The list of images, which walks the directory tree.
    Images,
    /// 405.
    Method,
    /// 404.
    Nowhere,
}

/// The handler of this request.
pub fn route(http: &Http, config: &Config) -> Route {
    let uri = http.text("REQUEST_URI").unwrap_or_default();
    let path = uri.split_once('?').map_or(uri, |(path, _)| path);
    let own = match path {
        "/" => Route::Viewer,
        "/images.json" => Route::Images,
        SCRIPT | DEBIAN | "*" => return Route::Service,
        _ => {
            let below = |prefix: &str| {
                let rest = path.strip_prefix('/').and_then(|p| p.strip_prefix(prefix));
                rest.is_some_and(|rest| prefix.is_empty() || rest.starts_with('/'))
            };
            let mapped = config.protocol.uri_map.iter().any(|mount| below(&mount.prefix));
            return if mapped { Route::Service } else { Route::Nowhere };
        }
    };
    match http.method() {
        Method::Get | Method::Head => own,
        // answered with the allowed methods, as everywhere
        Method::Options => Route::Service,
        Method::Post | Method::Other => Route::Method,
    }
}

/// Answers a request that came over HTTP.
pub async fn serve(service: &Service, http: Http, scope: Scope) -> Reply {
    let route = route(&http, service.config());
    if route == Route::Service {
        return service.serve(http, scope).await;
    }
    let head = http.method() == Method::Head;
    let uri = String::from_utf8_lossy(http.var("REQUEST_URI").unwrap_or_default()).into_owned();
    log::debug!("{uri:?} is answered by the listener: {route:?}");
    let mut reply = match route {
        Route::Images => {
            let lister = service.clone();
            let list = move |_: &mut Lease| Ok(images(lister.config()));
            match service.executor().run(LIST, &scope, list).await {
                Ok((reply, _)) => reply,
                Err(error) => page(error.status(), format!("{}\n", error.public()), "text/plain")
                    .with("Retry-After", "1"),
            }
        }
        other => fixed(other),
    };
    if head {
        reply.body = bytes::Bytes::new();
    }
    reply
}

/// The cost of walking directories.
const LIST: Cost = Cost {
    work: 1 << 20,
    bytes: 1 << 20,
};

/// The answers that need no file.
pub fn fixed(route: Route) -> Reply {
    match route {
        Route::Viewer => page(200, VIEWER, "text/html; charset=utf-8").with("Cache-Control", "no-cache"),
        Route::Method => {
            page(405, "only GET and HEAD here\n", "text/plain").with("Allow", "GET, HEAD, OPTIONS")
        }
        Route::Service | Route::Images | Route::Nowhere => {
            page(404, "there is nothing under this address\n", "text/plain")
        }
    }
}

fn page(status: u16, body: impl Into<bytes::Bytes>, kind: &'static str) -> Reply {
    Reply::new(status, body)
        .with("Content-Type", kind)
        .with("Server", concat!("iipsrv/", env!("CARGO_PKG_VERSION")))
}

/// `{"images":[{"id":"a/b.tif","kind":"TIFF","bytes":5},…],"truncated":false}`: the images under FILESYSTEM_PREFIX,
/// sorted; 404 if lists are turned off.
pub fn images(config: &Config) -> Reply {
    if !config.directory {
        return page(404, "there is no list of images\n", "text/plain");
    }
    let (found, truncated) = list(&config.library.prefix, &config.library.suffix);
    let images: Vec<_> = found
        .into_iter()
        .map(|(id, kind, bytes)| {
            let kind = format!("{kind:?}").to_uppercase();
            serde_json::json!({ "id": id, "kind": kind, "bytes": bytes })
        })
        .collect();
    let json = serde_json::json!({ "images": images, "truncated": truncated });
    page(200, json.to_string(), "application/json").with("Cache-Control", "no-cache")
}

/// Identifiers, formats and lengths of the images whose path starts with `prefix`, which need not end at a directory.
/// Nothing without a prefix: the whole machine must not be listed. Links to directories are not followed.
fn list(prefix: &str, suffix: &str) -> (Vec<(String, FileFormat, u64)>, bool) {
    let Some((folder, start)) = prefix.rsplit_once('/') else {
        return (Vec::new(), false);
    };
    let mut found = Vec::new();
    let mut truncated = false;
    let mut names = 0;
    // directories still to be read: their path, and the prefix of identifiers in them
    let first = PathBuf::from(if folder.is_empty() { "/" } else { folder });
    let mut folders = vec![(first, String::new(), 0)];
    while let Some((folder, id, depth)) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else {
            continue;
        };
        for entry in entries.flatten() {
            names += 1;
            if names > MAX_NAMES {
                truncated = true;
                break;
            }
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else {
                continue;
            };
            // in the first directory, the prefix may include the start of a name
            let Some(rest) = (if depth == 0 {
                name.strip_prefix(start)
            } else {
                Some(name)
            }) else {
                continue;
            };
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if depth < MAX_DEPTH {
                    folders.push((entry.path(), format!("{id}{rest}/"), depth + 1));
                } else {
                    truncated = true;
                }
            } else if let Some((kind, bytes)) = image(name, &entry.path())
                && let Some(rest) = rest.strip_suffix(suffix).filter(|rest| !rest.is_empty())
            {
                found.push((format!("{id}{rest}"), kind, bytes));
            }
        }
    }
    found.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    truncated |= found.len() > MAX_IMAGES;
    found.truncate(MAX_IMAGES);
    (found, truncated)
}

/// The format of an image, by its name, and the length of its file in bytes.
fn image(name: &str, path: &Path) -> Option<(FileFormat, u64)> {
    let kind = FileFormat::named(name)?;
    let found = path.metadata().ok().filter(std::fs::Metadata::is_file)?;
    Some((kind, found.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_listed_sorted_and_without_loops() {
        let root = std::env::temp_dir().join(format!("iipsrv-pages-{}", std::process::id()));
        let deep = root.join("b/c");
        std::fs::create_dir_all(&deep).unwrap();
        for name in [
            "z.tif",
            "a.JPG",
            "x.txt",
            ".hidden.tif",
            "b/c/\"q\".jp2",
            "za.tif",
        ] {
            std::fs::write(root.join(name), "").unwrap();
        }
        std::os::unix::fs::symlink(&root, root.join("loop")).unwrap();
        let prefix = root.to_str().unwrap();
        let ids = |prefix: &str, suffix: &str| {
            let found = list(prefix, suffix).0;
            found.into_iter().map(|(id, _, _)| id).collect::<Vec<_>>()
        };
        assert_eq!(
            ids(&format!("{prefix}/"), ""),
            ["a.JPG", "b/c/\"q\".jp2", "z.tif", "za.tif"]
        );
        assert_eq!(ids(&format!("{prefix}/"), ".tif"), ["z", "za"]);
        assert_eq!(ids(&format!("{prefix}/z"), ""), [".tif", "a.tif"]);
        assert_eq!(ids("", ""), [""; 0]);
        let folder = format!("{prefix}/b/");
        let config = Config::read(|name| (name == "FILESYSTEM_PREFIX").then(|| folder.clone()));
        let reply = images(&config);
        let hidden = Config::read(|name| (name == "DIRECTORY").then(|| "0".into()));
        assert_eq!(images(&hidden).status, 404);
        assert_eq!(
            std::str::from_utf8(&reply.body),
            Ok(r#"{"images":[{"id":"c/\"q\".jp2","kind":"JP2","bytes":0}],"truncated":false}"#)
        );
        std::fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn only_known_paths_go_to_the_service() {
        let config = Config::read(|name| (name == "URI_MAP").then(|| "iiif=>IIIF,dz/x=>DeepZoom".into()));
        let route = |uri: &str| route(&Http::get(uri), &config);
        assert_eq!(route("/?a"), Route::Viewer);
        assert_eq!(route("/images.json"), Route::Images);
        assert_eq!(route("/fcgi-bin/iipsrv.fcgi?FIF=a"), Route::Service);
        assert_eq!(route("/iipsrv/iipsrv.fcgi?FIF=a"), Route::Service);
        assert_eq!(route("/iiif/a/info.json"), Route::Service);
        assert_eq!(route("/dz/x/a.dzi"), Route::Service);
        assert_eq!(route("/iiifa"), Route::Nowhere);
        assert_eq!(route("/favicon.ico"), Route::Nowhere);
    }
}
