//! The syntax of requests in every protocol: numbers, separators, case, suffixes, empty values, repeated commands, order.
//!
//! A row of `forms.tsv` has a request, the answers of iipsrv 1.1 and of its upstream (`-` if not tried), the answer of this
//! server, and a reason if that shows a different picture. A picture is described by media type, size and channels.

use crate::oracle::Original;
use crate::process::Folder;
use crate::pyramid;
use crate::pyramid::Compression;
use crate::pyramid::Spec;
use crate::support;
use iipsrv::geometry::Size;
use iipsrv::http::Http;
use iipsrv::http::Reply;
use iipsrv::source::Level;
use iipsrv::source::synthetic;
use iipsrv::source::synthetic::Synthetic;

/// A row of the table.
struct Row {
    query: &'static str,
    /// iipsrv 1.1.
    original: &'static str,
    upstream: &'static str,
    here: &'static str,
    why: &'static str,
}

fn table() -> Vec<Row> {
    let row = |line: &'static str| {
        let mut cells = line.split('\t');
        let mut cell = || cells.next().unwrap_or_default();
        Row {
            query: cell(),
            original: cell(),
            upstream: cell(),
            here: cell(),
            why: cell(),
        }
    };
    include_str!("forms.tsv").lines().skip(1).map(row).collect()
}

const PLAIN: [(u32, u32); 3] = [(300, 200), (150, 100), (75, 50)];

/// A folder with the files of the table, pyramids of three levels in tiles of 128 x 128, and the prefix of paths in it.
fn images() -> (Folder, String) {
    let folder = Folder::new();
    let spec = Spec {
        sizes: PLAIN.to_vec(),
        tile: (128, 128),
        ..Spec::new(PLAIN[0], 3, Compression::Deflate)
    };
    let samples: Vec<u8> = (0..300 * 200 * 3u32).map(|at| (at / 7) as u8).collect();
    let file = pyramid::pyramid(&spec, &samples).unwrap();
    for name in ["plain.tif", "a b.tif", "a+b.tif"] {
        std::fs::write(folder.join(name), &file).unwrap();
    }
    let prefix = folder.join("").display().to_string();
    (folder, prefix)
}

/// An image with the levels of a JPEG 2000 file of seven resolutions.
fn scalable() -> Synthetic {
    let level = |s: u32| {
        let size = Size::new(4096 >> s, 3000u32.div_ceil(1 << s));
        Level::tiled(size, Size::new(256, 256))
    };
    let mut image = Synthetic::new((0..7).map(level).collect(), 3, synthetic::sample);
    image.header_mut().scalable = true;
    image
}

/// Media type, size and channels of a picture; status and media type of any other answer.
fn described(status: u16, kind: &str, body: &[u8]) -> String {
    let kind = kind.split(';').next().unwrap_or_default();
    let kind = kind.rsplit('/').next().unwrap_or_default();
    let picture = match kind {
        "jpeg" => iipsrv::codec::jpeg::decode(body, Size::new(65_535, 65_535)).ok(),
        "png" => Some(support::png(body)),
        _ => None,
    };
    match picture {
        Some(raster) => {
            let mode = if raster.channels == 1 { "L" } else { "RGB" };
            format!("200 {kind} {}x{} {mode}", raster.size.w, raster.size.h)
        }
        None if status == 200 => format!("200 {kind}"),
        None => status.to_string(),
    }
}

fn here(reply: &Reply) -> String {
    described(
        reply.status,
        reply.header("Content-Type").unwrap_or_default(),
        &reply.body,
    )
}

/// The size in the description of a picture.
fn size(answer: &str) -> Option<&str> {
    answer.strip_prefix("200 ")?.split(' ').nth(1)
}

#[test]
fn every_request_of_the_table_has_its_answer() {
    let (_folder, prefix) = images();
    let vars = [("FILESYSTEM_PREFIX", prefix.as_str())];
    let service = support::service(&vars).with_image("c7.jp2", scalable());
    let mut wrong = Vec::new();
    for row in table() {
        // formats that only other tests decode
        let expected = match row.here.split(' ').nth(1) {
            Some("webp" | "avif") => row.here.split(' ').take(2).collect::<Vec<_>>().join(" "),
            _ => row.here.to_string(),
        };
        let reply = service.respond(Http::query(row.query));
        let found = here(&reply);
        // the build may lack the format
        let built = cfg!(feature = "native") || !row.query.ends_with("avif");
        if found != expected && built {
            wrong.push(format!("{}: {found}, not {expected}", row.query));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn pictures_of_iipsrv_have_the_same_size_here_or_a_reason() {
    let table = table();
    assert!(table.len() >= 350, "{} forms", table.len());
    let mut differing = 0;
    for row in &table {
        let asked = [row.original, row.upstream]
            .into_iter()
            .filter(|answer| *answer != "-");
        let shown: Vec<Option<&str>> = asked.map(size).collect();
        let same = match shown.as_slice() {
            [Some(one)] => size(row.here) == Some(one),
            [Some(_), Some(upstream)] => size(row.here) == Some(upstream),
            _ => true,
        };
        assert_eq!(same, row.why.is_empty(), "{}: {} here", row.query, row.here);
        differing += usize::from(!same);
    }
    // differences stay the exception
    assert!(
        differing * 15 < table.len(),
        "{differing} of {} differ",
        table.len()
    );
}

#[test]
#[ignore = "needs iipsrv 1.1"]
fn the_original_gives_the_answers_of_the_table() {
    let (_folder, prefix) = images();
    let original = Original::over(&prefix);
    let mut wrong = Vec::new();
    // requests that crash the original, and JPEG 2000, which `oracle` covers
    let rows = table()
        .into_iter()
        .filter(|row| row.original != "dies" && !row.query.contains("jp2"));
    for row in rows {
        let (head, body) = original.ask(row.query);
        let line = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            lines.find(|(n, _)| *n == name).map(|(_, value)| value)
        };
        let status = line("Status").map_or("200", |status| status.split(' ').next().unwrap_or(status));
        let found = described(
            status.parse().unwrap(),
            line("Content-Type").unwrap_or("-"),
            &body,
        );
        if found != row.original {
            wrong.push(format!("{}: {found}, not {}", row.query, row.original));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
