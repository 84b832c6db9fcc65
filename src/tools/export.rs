//! `iipsrv export`: writes an image as a pyramid of files that equal the server's answers.
//!
//! Each file is written under a temporary name and then renamed, so that existing files are complete and an interrupted export
//! can continue.

use crate::config::Config;
use crate::config::Pyramid;
use crate::service::Service;
use crate::tools::answer;
use crate::tools::progress;
use serde_json::Value;
use serde_json::json;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;

/// A file of the pyramid: its relative name, and the address of its content.
struct Item {
    name: String,
    uri: String,
}

/// Maximum number of printed errors; further ones are counted.
const PRINTED: usize = 10;

/// Writes missing files. Exit status 1 if some failed.
pub fn run(file: &Path, pyramid: &Pyramid, folder: &Path, mut config: Config) -> io::Result<ExitCode> {
    let path = fs::canonicalize(file).map_err(|error| named(file, &error))?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str())) else {
        return Err(io::Error::other("an image has a name that is UTF-8"));
    };
    config.library.prefix = format!("{}/", parent.to_string_lossy().trim_end_matches('/'));
    config.library.suffix = String::new();
    let threads = config.work.threads;
    let service = Service::new(config);
    let id = crate::protocol::segment(name);
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let (description, items) = match pyramid {
        Pyramid::DeepZoom => deepzoom(&service, &id, stem)?,
        Pyramid::Zoomify => zoomify(&service, &id)?,
        Pyramid::Iiif(url) => iiif(&service, &id, url)?,
    };
    let missing: Vec<_> = items
        .into_iter()
        .map(|item| (folder.join(&item.name), item.uri))
        .filter(|(path, _)| !path.exists())
        .collect();
    let write = |(path, uri): &(PathBuf, String)| -> io::Result<()> {
        let reply = answer(&service, uri);
        if reply.status != 200 {
            let said = String::from_utf8_lossy(&reply.body);
            return Err(io::Error::other(format!(
                "{uri}: {} {}",
                reply.status,
                said.trim()
            )));
        }
        whole(path, &reply.body)
    };
    let written = progress::each("Exporting", &missing, threads, write);
    let failed: Vec<_> = written.iter().filter_map(|done| done.as_ref().err()).collect();
    for error in failed.iter().take(PRINTED) {
        eprintln!("iipsrv: {error}");
    }
    if !failed.is_empty() {
        eprintln!("iipsrv: {} of {} files failed", failed.len(), written.len());
        return Ok(ExitCode::FAILURE);
    }
    // last, so that all tiles exist when a viewer finds the description
    let (name, text) = description;
    whole(&folder.join(name), &text)?;
    println!("{} files in {}", written.len() + 1, folder.display());
    Ok(ExitCode::SUCCESS)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Writes a file atomically.
fn whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        fs::write(&part, bytes)?;
        fs::rename(&part, path)
    };
    write().map_err(|error| named(path, &error))
}

/// Name and text of the file that describes a pyramid.
type Descriptor = (String, Vec<u8>);

/// A description, answered by the service.
fn described(service: &Service, uri: &str) -> io::Result<String> {
    let reply = answer(service, uri);
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    if reply.status == 200 {
        Ok(text)
    } else {
        Err(io::Error::other(format!("{} {}", reply.status, text.trim())))
    }
}

/// The numeric value of an attribute of a description.
fn number(text: &str, name: &str) -> io::Result<u32> {
    let value = text.split(&format!("{name}=\"")).nth(1);
    let value = value
        .and_then(|rest| rest.split('"').next())
        .and_then(|value| value.parse().ok());
    value
        .filter(|value| *value > 0)
        .ok_or_else(|| io::Error::other(format!("the description lacks {name}")))
}

fn deepzoom(service: &Service, id: &str, stem: &str) -> io::Result<(Descriptor, Vec<Item>)> {
    let text = described(service, &format!("/deepzoom/{id}.dzi"))?;
    let [w, h, tile] = [
        number(&text, "Width")?,
        number(&text, "Height")?,
        number(&text, "TileSize")?,
    ];
    let top = u32::BITS - (w.max(h) - 1).leading_zeros();
    let mut items = Vec::new();
    for level in 0..=top {
        let side = |side: u32| u64::from(side).div_ceil(1 << (top - level));
        let (cols, rows) = (side(w).div_ceil(tile.into()), side(h).div_ceil(tile.into()));
        for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
            items.push(Item {
                name: format!("{stem}_files/{level}/{col}_{row}.jpg"),
                uri: format!("/deepzoom/{id}_files/{level}/{col}_{row}.jpg"),
            });
        }
    }
    Ok(((format!("{stem}.dzi"), text.into_bytes()), items))
}

fn zoomify(service: &Service, id: &str) -> io::Result<(Descriptor, Vec<Item>)> {
    let text = described(service, &format!("/zoomify/{id}/ImageProperties.xml"))?;
    let [w, h, tile] = [
        number(&text, "WIDTH")?,
        number(&text, "HEIGHT")?,
        number(&text, "TILESIZE")?,
    ];
    // tiers are halved and rounded down until one fits a tile
    let mut sizes = vec![(w, h)];
    while let Some(&(w, h)) = sizes.last()
        && w.max(h) > tile
    {
        sizes.push(((w / 2).max(1), (h / 2).max(1)));
    }
    let mut items = Vec::new();
    for (tier, (w, h)) in sizes.into_iter().rev().enumerate() {
        let (cols, rows) = (w.div_ceil(tile), h.div_ceil(tile));
        for (row, col) in (0..rows).flat_map(|row| (0..cols).map(move |col| (row, col))) {
            // 256 tiles per folder, counted over all tiers
            let name = format!("TileGroup{}/{tier}-{col}-{row}.jpg", items.len() / 256);
            items.push(Item {
                uri: format!("/zoomify/{id}/{name}"),
                name,
            });
        }
    }
    Ok((("ImageProperties.xml".into(), text.into_bytes()), items))
}

/// Level 0 (Image API 3.0 §6): the tiles and sizes that info.json lists, by their canonical addresses.
fn iiif(service: &Service, id: &str, url: &str) -> io::Result<(Descriptor, Vec<Item>)> {
    let text = described(service, &format!("/iiif/{id}/info.json"))?;
    let mut info: Value = serde_json::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
    let items = Tiling::of(&info)?
        .places()
        .into_iter()
        .map(|place| Item {
            name: format!("{place}/0/default.jpg"),
            uri: format!("/iiif/{id}/{place}/0/default.jpg"),
        })
        .collect();
    if let Some(members) = info.as_object_mut() {
        members.insert("id".into(), json!(url));
        members.insert("profile".into(), json!("level0"));
        for more in BEYOND_LEVEL_0 {
            members.remove(more);
        }
    }
    Ok((("info.json".into(), format!("{info:#}").into_bytes()), items))
}

/// Members of info.json for features that static files do not support.
const BEYOND_LEVEL_0: [&str; 7] = [
    "extraFormats",
    "extraQualities",
    "extraFeatures",
    "preferredFormats",
    "maxWidth",
    "maxHeight",
    "maxArea",
];

fn wrong(what: &str) -> io::Error {
    io::Error::other(format!("info.json: {what}"))
}

/// A positive numeric member of an object.
fn positive(value: &Value, key: &str) -> Option<u64> {
    value.get(key).and_then(Value::as_u64).filter(|n| *n > 0)
}

/// The sizes and tiles that info.json lists. Sides are width and height.
struct Tiling {
    full: (u64, u64),
    tile: (u64, u64),
    sizes: Vec<(u64, u64)>,
    /// Scale factors of the levels.
    factors: Vec<u64>,
}

impl Tiling {
    fn of(info: &Value) -> io::Result<Tiling> {
        let pair = |value| Some((positive(value, "width")?, positive(value, "height")?));
        let list = |value: Option<&Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
        let tiles = info.get("tiles").and_then(|tiles| tiles.get(0));
        let width = tiles.and_then(|tiles| positive(tiles, "width"));
        let width = width.ok_or_else(|| wrong("no tiles"))?;
        let height = tiles.and_then(|tiles| positive(tiles, "height"));
        let factors = list(tiles.and_then(|tiles| tiles.get("scaleFactors")));
        Ok(Tiling {
            full: pair(info).ok_or_else(|| wrong("no size"))?,
            tile: (width, height.unwrap_or(width)),
            sizes: list(info.get("sizes")).iter().filter_map(pair).collect(),
            factors: factors
                .iter()
                .filter_map(Value::as_u64)
                .filter(|factor| *factor > 0)
                .collect(),
        })
    }

    /// `region/size` of all tiles and sizes, each once.
    fn places(&self) -> Vec<String> {
        let tiles = self.factors.iter().flat_map(|factor| self.tiles(*factor));
        let sizes = self.sizes.iter().filter(|size| **size != self.full);
        let sizes = sizes.map(|(w, h)| format!("full/{w},{h}"));
        let mut places: Vec<String> = tiles.chain(sizes).collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    /// The tiles of the level that is smaller by `factor`.
    fn tiles(&self, factor: u64) -> Vec<String> {
        let (w, h) = self.full;
        // the size of a stored level may be rounded either way
        let near = |(lw, lh): &&(u64, u64)| lw.abs_diff(w / factor) <= 1 && lh.abs_diff(h / factor) <= 1;
        let rounded = (w.div_ceil(factor), h.div_ceil(factor));
        let level = self.sizes.iter().find(near).copied().unwrap_or(rounded);
        let (cols, rows) = (level.0.div_ceil(self.tile.0), level.1.div_ceil(self.tile.1));
        (0..rows)
            .flat_map(|row| (0..cols).map(move |col| (col, row)))
            .filter_map(|cell| self.tile(factor, level, cell))
            .collect()
    }

    /// A tile of a level; `None` if it is outside the image.
    fn tile(&self, factor: u64, level: (u64, u64), (col, row): (u64, u64)) -> Option<String> {
        let ((w, h), (tw, th)) = (self.full, self.tile);
        let (x, y) = (col * tw * factor, row * th * factor);
        if x >= w || y >= h {
            return None;
        }
        let region = ((tw * factor).min(w - x), (th * factor).min(h - y));
        let size = (tw.min(level.0 - col * tw), th.min(level.1 - row * th));
        Some(match (region == self.full, size == region) {
            (true, true) => "full/max".into(),
            (true, false) => format!("full/{},{}", size.0, size.1),
            (false, _) => format!("{x},{y},{},{}/{},{}", region.0, region.1, size.0, size.1),
        })
    }
}
