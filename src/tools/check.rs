//! `iipsrv check`: describes masters, the cost of their tiles, and the conversion of slow ones. Reads headers only.

use crate::error::Error;
use crate::error::Result;
use crate::geometry::Size;
use crate::raster::Alpha;
use crate::raster::Colour;
use crate::raster::SampleFormat as Samples;
use crate::source::Grid;
use crate::source::Header;
use crate::source::file_format;
use crate::source::file_format::FileFormat;
use crate::source::file_format::Options;
use crate::source::file_format::Stored;
use crate::store;
use crate::tools::progress;
use serde_json::Value;
use serde_json::json;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

/// Maximum number of decoded pixels per tile for a responsive viewer.
const TILE_PIXELS: u64 = 1 << 22;
/// Maximum side of the smallest level, which should fit a screen.
const SMALLEST: u32 = 2048;
/// Recommended sides of tiles.
const TILES: std::ops::RangeInclusive<u32> = 128..=1024;
/// Width of the export whose cost is reported, in pixels.
const EXPORT: u32 = 1000;
/// Maximum depth of nested folders.
const MAX_DEPTH: usize = 32;

/// Assessment of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Good,
    Slow,
    Refused,
}

/// The report on a file.
struct Report {
    path: PathBuf,
    verdict: Verdict,
    /// One line of description.
    facts: String,
    /// Problems of the file, and their effect in viewers.
    notes: Vec<String>,
    /// The command that converts it.
    remedy: Option<String>,
    /// The report as JSON.
    members: Value,
}

/// Prints a report for each file. Exit status 1 if some are slow, 2 if some cannot be served.
pub fn run(paths: &[PathBuf], json: bool, threads: usize) -> io::Result<ExitCode> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            below(path, &mut files, 0)?;
        } else {
            files.push(path.clone());
        }
    }
    let reports = progress::each("Checking", &files, threads, |path| report(path));
    let mut out = io::stdout().lock();
    for report in &reports {
        if json {
            writeln!(out, "{}", report.members)?;
        } else {
            write!(out, "{}", text(report))?;
        }
    }
    let count = |verdict| reports.iter().filter(|report| report.verdict == verdict).count();
    let [good, slow, refused] = [Verdict::Good, Verdict::Slow, Verdict::Refused].map(count);
    if !json && reports.len() > 1 {
        writeln!(
            out,
            "{} files: {good} good, {slow} slow, {refused} not served",
            reports.len()
        )?;
    }
    let worst = reports.iter().map(|report| report.verdict).max();
    Ok(ExitCode::from(worst.map_or(0, |verdict| verdict as u8)))
}

/// Image files in and below a folder, by suffix, sorted.
fn below(folder: &Path, files: &mut Vec<PathBuf>, depth: usize) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(folder)?.flatten().collect();
    entries.sort_unstable_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        // links to folders are not followed
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if depth < MAX_DEPTH {
                below(&path, files, depth + 1)?;
            }
        } else if entry.file_name().to_str().and_then(FileFormat::named).is_some() && path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}

fn text(report: &Report) -> String {
    let verdict = match report.verdict {
        Verdict::Good => "good",
        Verdict::Slow => "slow",
        Verdict::Refused => "not served",
    };
    let mut text = format!("{}: {verdict}\n", report.path.display());
    let lines = [&report.facts].into_iter().chain(&report.notes);
    for line in lines.chain(&report.remedy).filter(|line| !line.is_empty()) {
        let _ = writeln!(text, "    {line}");
    }
    text
}

fn report(path: &Path) -> Report {
    match open(path) {
        Ok(stored) => judge(path, &stored),
        Err(error) => {
            let why = error.to_string();
            Report {
                path: path.into(),
                verdict: Verdict::Refused,
                facts: String::new(),
                members: json!({ "file": path.to_string_lossy(), "verdict": "refused", "notes": [&why] }),
                notes: vec![why],
                remedy: None,
            }
        }
    }
}

fn open(path: &Path) -> Result<Stored> {
    let file = store::File::new(fs::File::open(path)?)?;
    let stored = file_format::stored(Arc::new(file), None, &Options::default())?;
    stored.ok_or_else(|| Error::Missing("is not an image that is known here".into()))
}

/// Pixels decoded for one tile of a level with this layout.
fn tile_pixels(stored: &Stored, level: usize) -> u64 {
    let Some(found) = stored.source.header().levels.get(level) else {
        return 0;
    };
    match (stored.kind, found.grid) {
        // the whole file, or everything from the top
        (FileFormat::Png | FileFormat::Webp, _) | (_, Grid::Order) => found.size.area(),
        (FileFormat::Tiff, Grid::Tiles) => found.tile.area(),
        (FileFormat::Jpeg, Grid::Strips) => found.size.area(),
        (FileFormat::Tiff, Grid::Strips) => {
            // the strips that a tile of 256 rows overlaps
            let rows = found.tile.h.max(256).min(found.size.h);
            u64::from(found.tile.w.max(1)) * u64::from(rows)
        }
        // decoded in windows
        (FileFormat::Tiff | FileFormat::Jpeg, Grid::Rows)
        | (FileFormat::Jpeg, Grid::Tiles)
        | (FileFormat::Jp2, _) => 256 * 256,
    }
}

fn judge(path: &Path, stored: &Stored) -> Report {
    let header = stored.source.header();
    let worst = (0..header.levels.len())
        .map(|level| tile_pixels(stored, level))
        .max()
        .unwrap_or(0);
    let (slow, mut notes) = slowness(header, worst);
    notes.extend(meets(header));
    let size = header.size();
    let first = header.levels.first().map_or(size, |level| level.tile);
    let export = header.levels.iter().rev().find(|level| level.size.w >= EXPORT);
    let export = export.map_or(size, |level| level.size).area();
    let verdict = if slow { Verdict::Slow } else { Verdict::Good };
    let remedy = slow.then(|| vips(path, header));
    Report {
        path: path.into(),
        verdict,
        facts: facts(stored, worst, export),
        members: json!({
            "file": path.to_string_lossy(),
            "verdict": if slow { "slow" } else { "good" },
            "format": format!("{:?}", stored.kind),
            "compression": stored.scheme,
            "width": size.w,
            "height": size.h,
            "channels": header.channels,
            "bits": header.bits,
            "levels": header.levels.iter().map(|level| json!({ "width": level.size.w, "height": level.size.h })).collect::<Vec<_>>(),
            "tile": [first.w, first.h],
            "pages": header.set.stack.len().max(1),
            "profile": header.metadata.icc.as_deref().map(<[u8]>::len),
            "tilePixels": worst,
            "exportPixels": export,
            "notes": &notes,
            "remedy": &remedy,
        }),
        notes,
        remedy,
    }
}

/// Whether a file whose tiles decode up to `worst` pixels is slow to serve, and notes on the causes.
fn slowness(header: &Header, worst: u64) -> (bool, Vec<String>) {
    let (mut slow, mut notes) = (false, Vec::new());
    if worst > TILE_PIXELS {
        slow = true;
        notes.push(format!(
            "a tile decodes {}: the file is not in tiles",
            megapixels(worst)
        ));
    }
    let Size { w, h } = header.levels.last().map_or(header.size(), |level| level.size);
    if w.max(h) > SMALLEST {
        slow = true;
        notes.push(format!(
            "levels are missing: the smallest is {w} × {h}, and the first view reads all of it"
        ));
    }
    if let Some(first) = header.levels.first()
        && first.grid == Grid::Tiles
        && !(TILES.contains(&first.tile.w) && TILES.contains(&first.tile.h))
    {
        notes.push(format!(
            "tiles of {} × {}: 256 to 512 serve better",
            first.tile.w, first.tile.h
        ));
    }
    (slow, notes)
}

/// One line of description, and one of costs.
fn facts(stored: &Stored, worst: u64, export: u64) -> String {
    let header = stored.source.header();
    let Size { w, h } = header.size();
    let mut text = format!("{:?}", stored.kind).to_uppercase();
    if stored.kind == FileFormat::Tiff {
        let _ = write!(text, ", {}", stored.scheme);
    }
    let samples = match header.kind {
        Samples::Float => "-bit floating point",
        Samples::Signed => "-bit signed",
        Samples::Unsigned => "-bit",
    };
    let _ = write!(
        text,
        ", {w} × {h}, {} of {}{samples}",
        channels(header),
        header.bits
    );
    if let Some(level) = header.levels.first().filter(|level| level.grid == Grid::Tiles) {
        let _ = write!(text, ", tiles of {} × {}", level.tile.w, level.tile.h);
    }
    let levels = header.levels.len();
    let _ = write!(text, ", {levels} level{}", if levels == 1 { "" } else { "s" });
    if header.set.stack.len() > 1 {
        let _ = write!(text, ", {} pages", header.set.stack.len());
    }
    let profile = match header.metadata.icc.as_deref() {
        Some(icc) => format!("profile of {} bytes", icc.len()),
        None => "no profile".into(),
    };
    let _ = write!(
        text,
        ", {profile}; a tile decodes {}, an export of {EXPORT} pixels {}",
        megapixels(worst),
        megapixels(export)
    );
    text
}

fn channels(header: &Header) -> String {
    let name = match header.meaning.colour {
        Colour::Grey if header.channels > 2 => return format!("{} channels", header.channels),
        Colour::Grey => "grey",
        Colour::Rgb => "RGB",
        Colour::Lab => "CIELAB",
        Colour::Cmyk => "CMYK",
    };
    let alpha = if header.meaning.alpha == Alpha::None {
        ""
    } else {
        " with alpha"
    };
    format!("{name}{alpha}")
}

/// Effects in viewers that are not obvious from the file.
fn meets(header: &Header) -> Vec<String> {
    let mut notes = Vec::new();
    if header.bits > 8 {
        notes.push("viewers see 8 bits; MINMAX or CNT=stretch in IIP choose which".into());
    }
    if header.meaning.alpha != Alpha::None {
        notes.push("JPEG has no alpha: BACKGROUND shows through, PNG and WebP keep it".into());
    }
    if header.meaning.colour == Colour::Cmyk && header.metadata.icc.is_none() {
        notes.push("CMYK without a profile: colours are converted by a plain formula".into());
    }
    if header.set.stack.len() > 1 {
        notes.push("several pages: IIIF_DELIMITER gives each an identifier".into());
    }
    notes
}

/// The vips command that converts a file to a tiled pyramid.
fn vips(path: &Path, header: &Header) -> String {
    let lossless = header.bits > 8 || header.meaning.alpha != Alpha::None || header.channels > 4;
    let compression = match (lossless, header.kind) {
        (false, _) => "--compression jpeg --Q 90",
        (true, Samples::Float) => "--compression deflate --predictor float",
        (true, _) => "--compression deflate --predictor horizontal",
    };
    let size = header.size().area() * u64::from(header.channels) * u64::from(header.bits).div_ceil(8);
    let big = if size > 2_000_000_000 { " --bigtiff" } else { "" };
    format!(
        "vips tiffsave {} {} --tile --pyramid --tile-width 256 --tile-height 256 {compression}{big}",
        quoted(path),
        quoted(&path.with_extension("pyramid.tif"))
    )
}

/// A path, quoted for the shell.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+,@%".contains(c);
    if text.chars().all(plain) && !text.starts_with('-') {
        return text.into_owned();
    }
    let start = if text.starts_with('-') { "./" } else { "" };
    format!("'{start}{}'", text.replace('\'', r"'\''"))
}

fn megapixels(pixels: u64) -> String {
    if pixels < 1_000_000 {
        format!("{} kilopixels", pixels.div_ceil(1000))
    } else {
        format!("{}.{} megapixels", pixels / 1_000_000, pixels / 100_000 % 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_the_shell() {
        assert_eq!(quoted(Path::new("/a/b-1.tif")), "/a/b-1.tif");
        assert_eq!(quoted(Path::new("it's a.tif")), r"'it'\''s a.tif'");
        assert_eq!(quoted(Path::new("-a.tif")), "'./-a.tif'");
    }
}
