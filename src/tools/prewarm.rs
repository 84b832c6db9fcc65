//! `iipsrv prewarm`: fills memcached, for servers with the same settings, and the disk cache with answers.
//!
//! Only one process can use DISK_CACHE: its server must not be running.

use crate::config::Config;
use crate::service::Service;
use crate::tools::answer;
use crate::tools::progress;
use percent_encoding::NON_ALPHANUMERIC;
use percent_encoding::utf8_percent_encode;
use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

/// Time limit for memcached.
const PATIENCE: Duration = Duration::from_secs(5);

/// Maximum depth of nested folders.
const MAX_DEPTH: usize = 8;

/// Requests all addresses of the list, then the tiles of the images.
pub fn run(list: Option<&Path>, images: &[String], levels: usize, config: Config) -> io::Result<ExitCode> {
    let setting = |name: &str| {
        config
            .values
            .iter()
            .any(|(known, value, _)| *known == name && !value.is_empty())
    };
    let (shared, disk) = (!config.memcached.servers.is_empty(), setting("DISK_CACHE"));
    if !shared && !disk {
        return Err(io::Error::other(
            "nothing keeps answers: prewarm fills MEMCACHED_SERVERS and DISK_CACHE",
        ));
    }
    let stores = config.stores.clone().map_err(io::Error::other)?;
    for line in stores.check().map_err(io::Error::other)? {
        eprintln!("{line}");
    }
    let threads = config.work.threads;
    let service = Service::new(config);
    // its name may have to be resolved first
    if shared && !wait(|| service.memcached().0) {
        return Err(io::Error::other("none of MEMCACHED_SERVERS answers"));
    }
    let mut addresses = match list {
        Some(path) if path == Path::new("-") => read(io::stdin().lock())?,
        Some(path) => read(BufReader::new(File::open(path)?))?,
        None => Vec::new(),
    };
    for image in images {
        for id in below(&service, image) {
            addresses.extend(tiles(&service, &id, levels));
        }
    }
    let ask = |uri: &String| {
        let status = answer(&service, uri).status;
        // answers are dropped if the queue is full
        if shared {
            wait(|| service.memcached().1);
        }
        status
    };
    let statuses = progress::each("Prewarming", &addresses, threads, ask);
    stores.disk().close();
    let failed = statuses.iter().filter(|status| **status >= 400).count();
    println!("{} answers, {failed} errors", statuses.len());
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// Polls a condition for some seconds; whether it became true.
fn wait(so: impl Fn() -> bool) -> bool {
    let since = Instant::now();
    while !so() {
        if since.elapsed() > PATIENCE {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// The distinct addresses of a list or of an access log, in order.
fn read(lines: impl BufRead) -> io::Result<Vec<String>> {
    let mut known = std::collections::HashSet::new();
    let mut all = Vec::new();
    for line in lines.lines() {
        let line = line?;
        if let Some(uri) = address(&line)
            && known.insert(uri.clone())
        {
            all.push(uri);
        }
    }
    Ok(all)
}

/// The address in a line: in common log format the target of a GET, otherwise the line itself.
fn address(line: &str) -> Option<String> {
    let line = line.trim();
    let uri = match line.split_once('"') {
        Some((_, request)) => request.strip_prefix("GET ")?.split(' ').next()?,
        None => line,
    };
    if uri.is_empty() || uri.starts_with('#') {
        return None;
    }
    Some(if uri.starts_with('/') {
        uri.to_string()
    } else {
        format!("/fcgi-bin/iipsrv.fcgi?{uri}")
    })
}

/// The images of a folder, or the single image.
fn below(service: &Service, id: &str) -> Vec<String> {
    let mut images = Vec::new();
    let mut folders = vec![(id.trim_end_matches('/').to_string(), 0)];
    while let Some((id, depth)) = folders.pop() {
        let Ok((names, _)) = service.library().folder(&id) else {
            images.push(id);
            continue;
        };
        for (name, folder) in names {
            let name = if id.is_empty() {
                name
            } else {
                format!("{id}/{name}")
            };
            if !folder {
                images.push(name);
            } else if depth < MAX_DEPTH {
                folders.push((name, depth + 1));
            }
        }
    }
    images
}

/// The IIP requests for all tiles of the smallest `levels` levels of an image.
fn tiles(service: &Service, id: &str, levels: usize) -> Vec<String> {
    let base = format!(
        "/fcgi-bin/iipsrv.fcgi?FIF={}",
        utf8_percent_encode(id, NON_ALPHANUMERIC)
    );
    let Ok(opened) = service.library().open(id) else {
        // the request will fail and be counted
        return vec![format!("{base}&obj=Max-size")];
    };
    let smallest = opened.source.header().counted().iter().rev().take(levels);
    let grids = smallest.map(|level| level.size.grid(level.tile).area());
    (grids.enumerate())
        .flat_map(|(resolution, tiles)| (0..tiles).map(move |tile| (resolution, tile)))
        .map(|(resolution, tile)| format!("{base}&JTL={resolution},{tile}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_access_logs_are_read() {
        let text = "# a list\n/iiif/a.tif/info.json\nFIF=a.tif&JTL=0,0\n\n\
            1.2.3.4 - - [30/Nov/2026:00:00:00 +0000] \"GET /x?FIF=b.tif HTTP/1.1\" 200 5 \"-\" \"Firefox\"\n\
            1.2.3.4 - - [30/Nov/2026:00:00:00 +0000] \"POST /x HTTP/1.1\" 200 5\n/iiif/a.tif/info.json\n";
        assert_eq!(
            read(text.as_bytes()).unwrap(),
            [
                "/iiif/a.tif/info.json",
                "/fcgi-bin/iipsrv.fcgi?FIF=a.tif&JTL=0,0",
                "/x?FIF=b.tif"
            ]
        );
    }
}
