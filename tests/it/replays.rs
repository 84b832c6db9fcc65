//! Replays of viewers without a package: their requests, verbatim, and their parsing of the answers. IIPMooViewer 2 and 3,
//! VisiOmatic 2, dezoomify-rs, JAI's IIP client; and addresses from public pages.
//!
//! Every tile of every level must have the size that the client expects; `seams` checks positions and pixels.

use crate::sight::PICTURES;
use crate::sight::Picture;
use crate::support::bytes;
use crate::support::fixtures;
use crate::support::pixels;
use crate::support::size;
use crate::support::text;
use iipsrv::geometry::Size;
use iipsrv::http::Http;
use iipsrv::http::Reply;
use iipsrv::service::Service;

const MAP: (&str, &str) = (
    "URI_MAP",
    "iiif/2=>IIIF2,iiif/3=>IIIF3,iiif=>IIIF,deepzoom=>DeepZoom,zoomify=>Zoomify",
);
const IIP: &str = "/fcgi-bin/iipsrv.fcgi?FIF=";

/// A service over `fixtures/` that must answer every request with 200.
struct Server(Service);

impl Server {
    fn new() -> Server {
        Server(fixtures(&[MAP]))
    }

    fn ask(&self, uri: &str) -> Reply {
        let reply = self.0.respond(Http::get(uri));
        assert_eq!(reply.status, 200, "{uri}: {}", text(&reply));
        reply
    }

    fn text(&self, uri: &str) -> String {
        text(&self.ask(uri))
    }

    /// Asserts the size of every tile of these levels. `address` takes level, column, row and index; `off` gives the tolerance
    /// in pixels for an expected size.
    fn tiles(
        &self,
        levels: &[(usize, Size)],
        tile: Size,
        off: fn(Size) -> u32,
        address: impl Fn(usize, u32, u32, u32) -> String,
    ) {
        for &(level, full) in levels {
            let grid = full.grid(tile);
            for (col, row) in (0..grid.h).flat_map(|row| (0..grid.w).map(move |col| (col, row))) {
                let uri = address(level, col, row, row * grid.w + col);
                let (w, h) = size(&self.ask(&uri));
                let expected = Size::new(
                    tile.w.min(full.w - col * tile.w),
                    tile.h.min(full.h - row * tile.h),
                );
                let near = w.abs_diff(expected.w) <= off(expected) && h.abs_diff(expected.h) <= off(expected);
                assert!(near, "{uri}: {w}x{h} for {expected:?}");
            }
        }
    }
}

/// For clients that know the sizes of levels.
fn exactly(_: Size) -> u32 {
    0
}

/// For clients that compute the sizes of levels.
fn nearly(_: Size) -> u32 {
    1
}

/// For clients that request a bounding box: one pixel on the short side is several on the long side.
fn boxed(expected: Size) -> u32 {
    expected.w.max(expected.h).div_ceil(expected.w.min(expected.h)) + 1
}

/// JavaScript's `parseInt`.
fn parse_int(text: &str) -> Option<u32> {
    let text = text.trim_start();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

/// The first two numbers of `text.split(label)[1].split(sign)`; None where that throws or gives NaN.
fn pair(text: &str, label: &str, sign: char) -> Option<Size> {
    let mut parts = text.split(label).nth(1)?.split(sign);
    Some(Size::new(parse_int(parts.next()?)?, parse_int(parts.next()?)?))
}

/// Sizes of levels, smallest first, each half of the next, rounded down.
fn halved_down(full: Size, levels: u32) -> Vec<(usize, Size)> {
    let side = |side: u32, times: u32| (side >> times).max(1);
    let level = |level: u32| {
        let times = levels - 1 - level;
        (
            level as usize,
            Size::new(side(full.w, times), side(full.h, times)),
        )
    };
    (0..levels).map(level).collect()
}

/// IIPMooViewer's `Protocols.IIP`.
#[test]
fn iipmooviewer_over_iip() {
    let server = Server::new();
    for Picture {
        id,
        size: full,
        tile,
        levels,
    } in &PICTURES
    {
        let objects = "obj=IIP,1.0&obj=Max-size&obj=Tile-size&obj=Resolution-number&obj=Resolutions&obj=dpi";
        let said = server.text(&format!("{IIP}{id}&{objects}"));
        assert_eq!(pair(&said, "Max-size:", ' '), Some(*full), "{said}");
        let side = pair(&said, "Tile-size:", ' ').unwrap();
        assert_eq!(side, Size::new(*tile, *tile), "{said}");
        let number = parse_int(said.split("Resolution-number:").nth(1).unwrap()).unwrap();
        assert_eq!(number, *levels, "{said}");
        // the client discards a list of another length
        let list: Vec<_> = said
            .split("Resolutions:")
            .nth(1)
            .unwrap()
            .split(',')
            .enumerate()
            .collect();
        assert_eq!(list.len() as u32, number, "{said}");
        let levels: Vec<_> = list
            .iter()
            .map(|(level, size)| {
                let mut sides = size.split(' ').map(|side| parse_int(side).unwrap());
                (*level, Size::new(sides.next().unwrap(), sides.next().unwrap()))
            })
            .collect();
        assert_eq!(levels.last().unwrap().1, *full);
        // pixels per metre
        let dpi: Vec<&str> = said.split("DPI:").nth(1).unwrap().split(' ').collect();
        assert!(dpi[0].parse::<f64>().is_ok(), "{said}");
        for command in ["JTL", "PTL"] {
            server.tiles(&levels, side, exactly, |r, _, _, t| {
                format!("{IIP}{id}&{command}={r},{t}")
            });
        }
        // the number of views: one
        server.tiles(&levels[..1], side, exactly, |r, _, _, t| {
            format!("{IIP}{id}&CNT=1.0&SDS=0,90&ROT=0&JTL={r},{t}")
        });
        let (w, _) = size(&server.ask(&format!("{IIP}{id}&WID=200&QLT=98&CVT=jpeg")));
        assert_eq!(w, 200);
        let region = format!("{IIP}{id}&WID=100&HEI=100&RGN=0.25,0.25,0.5,0.5&CVT=jpeg");
        let (w, h) = size(&server.ask(&region));
        assert!(w.max(h) == 100, "{region}: {w}x{h}");
    }
}

/// IIPMooViewer's `Protocols.IIIF`: sizes from the list if it has all levels, or all but the first; regions extend beyond the
/// edge, scaled into the box of the visible part.
#[test]
fn iipmooviewer_over_iiif() {
    let server = Server::new();
    for (
        Picture {
            id,
            size: full,
            tile,
            levels,
        },
        version,
    ) in PICTURES.iter().flat_map(|p| [(p, 2), (p, 3)])
    {
        let info: serde_json::Value =
            serde_json::from_str(&server.text(&format!("/iiif/{version}/{id}/info.json"))).unwrap();
        let number = |value: &serde_json::Value| value.as_u64().unwrap() as u32;
        assert_eq!(Size::new(number(&info["width"]), number(&info["height"])), *full);
        assert_eq!(number(&info["tiles"][0]["width"]), *tile);
        let factors = info["tiles"][0]["scaleFactors"].as_array().unwrap().len() as u32;
        assert_eq!(factors, *levels);
        let sizes = info["sizes"].as_array().unwrap();
        assert!([factors, factors - 1].contains(&(sizes.len() as u32)), "{info}");
        let seen: Vec<_> = sizes
            .iter()
            .enumerate()
            .map(|(level, size)| (level, Size::new(number(&size["width"]), number(&size["height"]))))
            .collect();
        server.tiles(&seen, Size::new(*tile, *tile), boxed, |level, col, row, _| {
            let halvings = *levels as usize - 1 - level;
            let reach = *tile << halvings;
            let (x, y) = (col * reach, row * reach);
            let full = seen[level].1;
            let (w, h) = ((full.w - col * tile).min(*tile), (full.h - row * tile).min(*tile));
            let max = if version == 3 { "max" } else { "full" };
            let size = if halvings == 0 {
                max.into()
            } else {
                format!("!{w},{h}")
            };
            format!("/iiif/{version}/{id}/{x},{y},{reach},{reach}/{size}/0/default.jpg")
        });
        assert_eq!(
            size(&server.ask(&format!("/iiif/{version}/{id}/full/100,/0/default.jpg"))).0,
            100
        );
    }
}

/// The quoted text after `name`, as `/NAME="(…)/` extracts it.
fn quoted<'a>(text: &'a str, name: &str) -> &'a str {
    let rest = text.split(&format!("{name}=\"")).nth(1).unwrap();
    rest.split('"').next().unwrap()
}

/// IIPMooViewer's `Protocols.DeepZoom`: parses the descriptor by regular expressions, skips the first level.
#[test]
fn iipmooviewer_over_deepzoom() {
    let server = Server::new();
    for Picture {
        id, size: full, tile, ..
    } in &PICTURES
    {
        for start in ["/deepzoom/", "/fcgi-bin/iipsrv.fcgi?DeepZoom="] {
            let said = server.text(&format!("{start}{id}.dzi"));
            let number = |name: &str| quoted(&said, name).parse::<u32>().unwrap();
            assert_eq!(Size::new(number("Width"), number("Height")), *full, "{said}");
            let (side, format) = (number("TileSize"), quoted(&said, "Format"));
            assert_eq!((side, format), (*tile, "jpg"), "{said}");
            let levels = f64::from(full.w.max(full.h)).log2().ceil() as u32;
            let all = halved_down(*full, levels);
            // one level is always a single tile, which serves as the thumbnail
            server.tiles(&all, Size::new(side, side), nearly, |r, x, y, _| {
                format!("{start}{id}_files/{}/{x}_{y}.{format}", r + 1)
            });
            let thumb = side.ilog2() - 1;
            server.ask(&format!("{start}{id}_files/{thumb}/0_0.{format}"));
        }
    }
}

/// IIPMooViewer's `Protocols.Zoomify`: parses the descriptor by the position of its quotes, uses one group for all tiles.
#[test]
fn iipmooviewer_over_zoomify() {
    let server = Server::new();
    for Picture {
        id,
        size: full,
        tile,
        levels,
    } in &PICTURES
    {
        for start in [
            "/zoomify/",
            "/fcgi-bin/iipsrv.fcgi?Zoomify=",
            "/fcgi-bin/iipsrv.fcgi?zoomify=",
        ] {
            let said = server.text(&format!("{start}{id}/ImageProperties.xml"));
            let parts: Vec<&str> = said.split('"').collect();
            let [w, h, side] = [1, 3, 11].map(|n| parts[n].parse::<u32>().unwrap());
            assert_eq!((Size::new(w, h), side), (*full, *tile), "{said}");
            let all = halved_down(*full, *levels);
            server.tiles(&all, Size::new(side, side), nearly, |r, x, y, _| {
                format!("{start}{id}/TileGroup0/{r}-{x}-{y}.jpg")
            });
        }
    }
}

/// VisiOmatic 2 parses values by regular expressions: the label, spaces, then numbers separated by spaces.
fn visiomatic(text: &str, label: &str) -> Vec<f64> {
    let line = text.split(label).nth(1).unwrap().lines().next().unwrap();
    line.split_whitespace()
        .map(|word| word.parse().unwrap())
        .collect()
}

#[test]
fn visiomatic_2() {
    let server = Server::new();
    for Picture {
        id,
        size: full,
        tile,
        levels,
    } in &PICTURES
    {
        let objects = "obj=IIP,1.0&obj=max-size&obj=tile-size&obj=resolution-number&obj=bits-per-channel\
                       &obj=min-max-sample-values&obj=subject";
        let said = server.text(&format!("{IIP}{id}&{objects}"));
        // /IIP:(\d+\.\d*)/
        assert!(visiomatic(&said, "IIP:")[0] >= 1.0, "{said}");
        let [size, side] = ["Max-size:", "Tile-size:"].map(|label| visiomatic(&said, label));
        assert_eq!(size, [f64::from(full.w), f64::from(full.h)], "{said}");
        assert_eq!(side, [f64::from(*tile); 2], "{said}");
        assert_eq!(
            visiomatic(&said, "Resolution-number:")[0],
            f64::from(*levels),
            "{said}"
        );
        assert_eq!(visiomatic(&said, "Bits-per-channel:")[0], 8.0, "{said}");
        // /Min-Max-sample-values:\s*(.*)/, split at /\s+/: two values per channel
        let line = said
            .split("Min-Max-sample-values:")
            .nth(1)
            .unwrap()
            .split("\r\n")
            .next()
            .unwrap();
        let parts: Vec<&str> = line
            .trim_start()
            .split(' ')
            .filter(|part| !part.is_empty())
            .collect();
        assert_eq!(parts.len(), 6, "{said}");
        assert!(
            !line.ends_with(' '),
            "a trailing space counts as half a channel: {line:?}"
        );
        let all = halved_down(*full, *levels);
        server.tiles(&all, Size::new(*tile, *tile), nearly, |z, _, _, i| {
            format!("{IIP}{id}&QLT=90&JTL={z},{i}")
        });
        let deepest = levels - 1;
        let profile = server.text(&format!("{IIP}{id}&PFL={deepest}:20,20-40,20"));
        let profile: serde_json::Value = serde_json::from_str(&profile).unwrap();
        // channels interleaved
        assert_eq!(profile["profile"].as_array().unwrap().len() % 3, 0, "{profile}");
        assert!(profile["profile"].as_array().unwrap().len() >= 60, "{profile}");
        let taken = server.ask(&format!("{IIP}{id}&RGN=0.25,0.25,0.5,0.5&WID=120&CVT=jpeg"));
        assert_eq!(crate::support::size(&taken).0, 120);
    }
}

/// A tile as PNG, with these commands before it.
fn drawn(server: &Server, commands: &str) -> Vec<u8> {
    let reply = server.ask(&format!("{IIP}tessera.tif{commands}&PTL=2,4"));
    let raster = pixels(&reply);
    assert_eq!(
        (raster.size.w, raster.size.h, raster.channels),
        (256, 256, 3),
        "{commands}"
    );
    bytes(&raster).to_vec()
}

/// The commands that VisiOmatic 2 sends before a tile, in its order, and the effect of each on a sample.
#[test]
fn visiomatic_2_mixes() {
    type Change = fn(usize, f64, &[u8]) -> f64;
    let same: Change = |_, v, _| v;
    let rows: [(&str, Change); 12] = [
        // CTW is always sent, rows without brackets
        ("&CTW=1,0,0;0,1,0;0,0,1", same),
        (
            "&CTW=1.000,0.000,0.000;0.000,1.000,0.000;0.000,0.000,1.000&QLT=90",
            same,
        ),
        ("&GAM=1.0000&CTW=1,0,0;0,1,0;0,0,1", same),
        ("&CNT=1&CTW=1,0,0;0,1,0;0,0,1", same),
        ("&INV&CTW=1,0,0;0,1,0;0,0,1", |_, v, _| 255.0 - v),
        ("&CTW=0,0,1;0,1,0;1,0,0", |c, _, pixel| f64::from(pixel[2 - c])),
        ("&CTW=0.5,0,0;0,0.5,0;0,0,0.5", |_, v, _| v / 2.0),
        // channels are numbered from 1
        (
            "&MINMAX=1:0,255&MINMAX=2:0,255&MINMAX=3:0,255&CTW=1,0,0;0,1,0;0,0,1",
            same,
        ),
        ("&MINMAX=1:0,127.5&CTW=1,0,0;0,1,0;0,0,1", |c, v, _| {
            if c == 0 { v * 2.0 } else { v }
        }),
        ("&MINMAX=3:51,255&CTW=1,0,0;0,1,0;0,0,1", |c, v, _| {
            if c == 2 { (v - 51.0) * 1.25 } else { v }
        }),
        // 1/gamma
        ("&GAM=0.5000&CTW=1,0,0;0,1,0;0,0,1", |_, v, _| {
            (v / 255.0).sqrt() * 255.0
        }),
        (
            "&INV&CNT=1&GAM=1.0000&MINMAX=1:0,255&CTW=1,0,0;0,1,0;0,0,1&QLT=90",
            |_, v, _| 255.0 - v,
        ),
    ];
    let server = Server::new();
    let plain = drawn(&server, "");
    for (commands, change) in rows {
        let found = drawn(&server, commands);
        for (index, &value) in found.iter().enumerate() {
            let (pixel, channel) = (&plain[index / 3 * 3..][..3], index % 3);
            let right = change(channel, f64::from(plain[index]), pixel).clamp(0.0, 255.0);
            let off = (f64::from(value) - right).abs();
            assert!(off <= 1.01, "{commands}: {value} for {right}, out of {pixel:?}");
        }
        // the request of the client
        assert_eq!(
            size(&server.ask(&format!("{IIP}tessera.tif{commands}&JTL=2,4"))),
            (256, 256)
        );
    }
    for map in ["jet", "cold", "hot"] {
        let coloured = drawn(&server, &format!("&CMP={map}&CTW=1,0,0;0,1,0;0,0,1"));
        assert_ne!(coloured, plain, "{map}");
    }
}

/// The commands that IIPMooViewer and OpenSeadragon 6 send before a tile, all together, in their order; in every tile format.
#[test]
fn commands_before_a_tile() {
    let server = Server::new();
    let all = "&SDS=0,90&CNT=1.2&GAM=1.1&INV&COL=grey&CTW=[1,0,0;0,1,0;0,0,1]&CNV=[0,0,0,0,1,0,0,0,0]&QLT=80&CMP=hot\
               &MINMAX=1:0,200";
    for commands in [
        "&CNT=1.2&SDS=0,90&ROT=90&GAM=1.2",
        "&CNT=0.9&SDS=0,90&GAM=0.8&SHD=30,30",
        all,
    ] {
        for (tile, kind) in [
            ("JTL", "image/jpeg"),
            ("PTL", "image/png"),
            ("WTL", "image/webp"),
            ("ATL", "image/avif"),
        ] {
            // AVIF needs the system's library
            let uri = format!("{IIP}tessera.tif{commands}&{tile}=2,4");
            let reply = server.0.respond(Http::get(&uri));
            let there = reply.status == 200 && reply.header("Content-Type") == Some(kind);
            assert!(
                there || (tile == "ATL" && reply.status == 501),
                "{uri}: {}",
                text(&reply)
            );
        }
    }
}

/// dezoomify-rs: parses lines of `key:value`; levels are halved and rounded down.
#[test]
fn dezoomify() {
    let server = Server::new();
    for Picture {
        id,
        size: full,
        tile,
        levels,
    } in &PICTURES
    {
        let said = server.text(&format!(
            "{IIP}{id}&OBJ=Max-size&OBJ=Tile-size&OBJ=Resolution-number"
        ));
        let value = |key: &str| {
            let mut lines = said.lines().filter_map(|line| line.split_once(':'));
            lines.find(|(name, _)| *name == key).unwrap().1.trim().to_string()
        };
        assert_eq!(value("Max-size"), format!("{} {}", full.w, full.h));
        assert_eq!(value("Tile-size"), format!("{tile} {tile}"));
        assert_eq!(value("Resolution-number"), levels.to_string());
        let all = halved_down(*full, *levels);
        server.tiles(&all, Size::new(*tile, *tile), nearly, |level, _, _, i| {
            format!("{IIP}{id}&JTL={level},{i}")
        });
    }
}

/// JAI's IIPCRIF, which follows the specification: POST requests, labels that end at `/` or `:`.
#[test]
fn jai() {
    let server = Server::new();
    let objects = "OBJ=iip,1.0&OBJ=Max-size&OBJ=Resolution-number&OBJ=Colorspace,4,0";
    let said = server.text(&format!("{IIP}tessera.tif&{objects}"));
    let mut post = Http::new()
        .with("REQUEST_METHOD", "POST")
        .with("REQUEST_URI", "/fcgi-bin/iipsrv.fcgi");
    post.body = format!("FIF=tessera.tif&{objects}").into_bytes();
    assert_eq!(text(&server.0.respond(post)), said);
    let labels: Vec<&str> = said
        .lines()
        .map(|line| line.split(['/', ':']).next().unwrap())
        .collect();
    assert_eq!(labels.len(), 4, "{said}");
    assert!(labels[0].eq_ignore_ascii_case("IIP"), "{said}");
    assert_eq!(labels[1..3], ["Max-size", "Resolution-number"], "{said}");
    assert!(labels[3].starts_with("Colorspace,"), "{said}");
    // "Tile,", position, "/", length, ":", type and subtype of four bytes each, a JPEG, end of line
    let mut rest = &server.ask(&format!("{IIP}tessera.tif&til=1,0-3,0")).body[..];
    let mut tiles = Vec::new();
    while !rest.is_empty() {
        let end = rest.iter().position(|&b| b == b':').unwrap();
        let label = std::str::from_utf8(&rest[..end]).unwrap();
        let (place, length) = label.split_once('/').unwrap();
        let data = &rest[end + 1..][..length.parse().unwrap()];
        assert_eq!(data[..4], [2, 0, 0, 0], "{label}");
        assert!(data[8..].starts_with(&[0xff, 0xd8]), "{label}");
        tiles.push(place.to_string());
        rest = rest[end + 1 + data.len()..].strip_prefix(b"\r\n").unwrap();
    }
    tiles.sort();
    // two by two tiles of 384 by 288 pixels
    assert_eq!(tiles, ["Tile,1,0,0", "Tile,1,1,0", "Tile,1,2,0", "Tile,1,3,0"]);
}

/// Addresses from public pages, some with parameters of other servers.
#[test]
fn addresses_of_public_pages() {
    let server = Server::new();
    for (uri, kind) in [
        ("fif=tessera.tif&jtl=0,0", "image/jpeg"),
        ("FIF=tessera.tif&JTL=0,0", "image/jpeg"),
        ("FIF=tessera.tif&WID=650&CVT=jpeg", "image/jpeg"),
        ("FIF=tessera.tif&WID=650&CVT=JPEG", "image/jpeg"),
        (
            "FIF=tessera.tif&SDS=0,90&CNT=1.0&WID=512&QLT=100&CVT=jpeg",
            "image/jpeg",
        ),
        ("FIF=tessera.tif&token=a.b-c&RGBGAMA=1&JTL=4,100", "image/jpeg"),
        ("DeepZoom=tessera.tif.dzi", "application/xml"),
        ("Deepzoom=tessera.tif.dzi", "application/xml"),
        ("token=a.b-c&DeepZoom=tessera.tif.dzi", "application/xml"),
        ("token=a.b-c&DeepZoom=tessera.tif_files/12/11_8.jpg", "image/jpeg"),
        ("CNT=-1&DeepZoom=tessera.tif_files/12/11_8.jpg", "image/jpeg"),
        (
            "FIF=tessera.tif&MINMAX=1:0,255&MINMAX=2:10,250&MINMAX=3:0,255&JTL=4,100",
            "image/jpeg",
        ),
        ("zoomify=tessera.tif/ImageProperties.xml", "application/xml"),
        ("Zoomify=tessera.tif/TileGroup2/4-11-8.jpg", "image/jpeg"),
        ("IIIF=tessera.tif/info.json", "application/json"),
        ("IIIF=tessera.tif/full/,200/0/default.jpg", "image/jpeg"),
        ("FIF=tessera.tif&SPECTRA=4,100,10,10", "application/xml"),
        (
            "FIF=tessera.tif&OBJ=IIP,1.0&OBJ=Basic-Info",
            "application/vnd.netfpx",
        ),
    ] {
        let uri = format!("/fcgi-bin/iipsrv.fcgi?{uri}");
        let reply = server.ask(&uri);
        let given = reply.header("Content-Type").unwrap();
        assert!(given.starts_with(kind), "{uri}: {given}");
    }
    // Universal Viewer appends the time
    let info = |uri: &str| server.text(uri);
    assert_eq!(
        info("/iiif/3/tessera.tif/info.json?t=1716239022"),
        info("/iiif/3/tessera.tif/info.json")
    );
}
