//! `iipsrv export`: an image as a pyramid of files, byte for byte what the server answers.
//!
//! Each file is written under a temporary name first, so that an existing one is complete: an interrupted export
//! continues.

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

/// A file of the pyramid: its name below the folder, and the address of its content.
struct Item {
    name: String,
    uri: String,
}

/// Errors that are printed; the others are counted.
const PRINTED: usize = 10;

/// Writes what is missing. Exit status 1 when some of it could not be made.
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
        eprintln!(
            "iipsrv: {} of {} files could not be made",
            failed.len(),
            written.len()
        );
        return Ok(ExitCode::FAILURE);
    }
    // last: a viewer finds all tiles as soon as it finds this
    let (name, text) = description;
    whole(&folder.join(name), &text)?;
    println!("{} files in {}", written.len() + 1, folder.display());
    Ok(ExitCode::SUCCESS)
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}

/// Writes a file that is there as a whole or not at all.
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

/// The name of the file that describes a pyramid, and its text.
type Description = (String, Vec<u8>);

/// A description as the server answers it.
fn described(service: &Service, uri: &str) -> io::Result<String> {
    let reply = answer(service, uri);
    let text = String::from_utf8_lossy(&reply.body).into_owned();
    if reply.status == 200 {
        Ok(text)
    } else {
        Err(io::Error::other(format!("{} {}", reply.status, text.trim())))
    }
}

/// The number in an attribute of a description.
fn number(text: &str, name: &str) -> io::Result<u32> {
    let value = text.split(&format!("{name}=\"")).nth(1);
    let value = value
        .and_then(|rest| rest.split('"').next())
        .and_then(|value| value.parse().ok());
    value
        .filter(|value| *value > 0)
        .ok_or_else(|| io::Error::other(format!("the description lacks {name}")))
}

fn deepzoom(service: &Service, id: &str, stem: &str) -> io::Result<(Description, Vec<Item>)> {
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

fn zoomify(service: &Service, id: &str) -> io::Result<(Description, Vec<Item>)> {
    let text = described(service, &format!("/zoomify/{id}/ImageProperties.xml"))?;
    let [w, h, tile] = [
        number(&text, "WIDTH")?,
        number(&text, "HEIGHT")?,
        number(&text, "TILESIZE")?,
    ];
    // tiers are halved and rounded down until one fits into a tile
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
            // 256 tiles go into a folder, counted through all tiers
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
fn iiif(service: &Service, id: &str, url: &str) -> io::Result<(Description, Vec<Item>)> {
    let text = described(service, &format!("/iiif/{id}/info.json"))?;
    let wrong = |what: &str| io::Error::other(format!("info.json: {what}"));
    let mut info: Value = serde_json::from_str(&text).map_err(|error| wrong(&error.to_string()))?;
    let of = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64).filter(|n| *n > 0);
    let (Some(w), Some(h)) = (of(&info, "width"), of(&info, "height")) else {
        return Err(wrong("no size"));
    };
    let sizes: Vec<(u64, u64)> = (info.get("sizes").and_then(Value::as_array).into_iter().flatten())
        .filter_map(|size| Some((of(size, "width")?, of(size, "height")?)))
        .collect();
    let tiles = info
        .get("tiles")
        .and_then(|tiles| tiles.get(0))
        .cloned()
        .unwrap_or_default();
    let Some(tw) = of(&tiles, "width") else {
        return Err(wrong("no tiles"));
    };
    let th = of(&tiles, "height").unwrap_or(tw);
    let factors = tiles
        .get("scaleFactors")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut places = Vec::new();
    for factor in factors
        .iter()
        .filter_map(Value::as_u64)
        .filter(|factor| *factor > 0)
    {
        // the size of a stored level may have been rounded either way
        let listed = sizes
            .iter()
            .find(|(lw, lh)| lw.abs_diff(w / factor) <= 1 && lh.abs_diff(h / factor) <= 1);
        let (lw, lh) = *listed.unwrap_or(&(w.div_ceil(factor), h.div_ceil(factor)));
        for (row, col) in (0..lh.div_ceil(th)).flat_map(|row| (0..lw.div_ceil(tw)).map(move |col| (row, col)))
        {
            let (x, y) = (col * tw * factor, row * th * factor);
            if x >= w || y >= h {
                continue;
            }
            let (rw, rh) = ((tw * factor).min(w - x), (th * factor).min(h - y));
            let (sw, sh) = (tw.min(lw - col * tw), th.min(lh - row * th));
            let region = if (rw, rh) == (w, h) {
                "full".to_string()
            } else {
                format!("{x},{y},{rw},{rh}")
            };
            let size = if (sw, sh) == (rw, rh) && region == "full" {
                "max".to_string()
            } else {
                format!("{sw},{sh}")
            };
            places.push(format!("{region}/{size}"));
        }
    }
    places.extend(
        sizes
            .iter()
            .filter(|size| **size != (w, h))
            .map(|(w, h)| format!("full/{w},{h}")),
    );
    places.sort_unstable();
    places.dedup();
    let items = places
        .into_iter()
        .map(|place| Item {
            name: format!("{place}/0/default.jpg"),
            uri: format!("/iiif/{id}/{place}/0/default.jpg"),
        })
        .collect();
    if let Some(members) = info.as_object_mut() {
        members.insert("id".into(), json!(url));
        members.insert("profile".into(), json!("level0"));
        for more in [
            "extraFormats",
            "extraQualities",
            "extraFeatures",
            "preferredFormats",
            "maxWidth",
            "maxHeight",
            "maxArea",
        ] {
            members.remove(more);
        }
    }
    Ok((("info.json".into(), format!("{info:#}").into_bytes()), items))
}
