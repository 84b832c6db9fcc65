//! Strips, planes, missing levels, pages, sequences and orientation: a picture has the same pixels in every layout that
//! libtiff's tools write.

use crate::support;
use iipsrv::geometry::Size;
use iipsrv::http::Http;
use iipsrv::raster::Raster;
use iipsrv::service::Service;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// A folder of images, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("iipsrv-layouts-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    /// Copies a fixture with `tiffcp` and these options.
    fn lay_out(&self, fixture: &str, name: &str, options: &[&str]) {
        self.tool("tiffcp", &[options, &[&fixture_path(fixture), name]].concat());
    }

    fn tool(&self, tool: &str, arguments: &[&str]) {
        let output = Command::new(tool)
            .args(arguments)
            .current_dir(&self.0)
            .output()
            .unwrap_or_else(|_| panic!("{tool}: apt-get install libtiff-tools"));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{tool} {arguments:?}: {text}");
    }

    fn service(&self, vars: &[(&str, &str)]) -> Service {
        let prefix = format!("{}/", self.0.display());
        Service::new(support::config(
            &[vars, &[("FILESYSTEM_PREFIX", prefix.as_str())]].concat(),
        ))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn fixture_path(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
    path.to_str().unwrap().into()
}

fn ask(service: &Service, query: &str) -> String {
    support::text(&service.respond(Http::query(query)))
}

fn whole(service: &Service, id: &str) -> Raster {
    support::pixels(&service.respond(Http::query(&format!("IIIF={id}/full/max/0/default.png"))))
}

#[test]
#[ignore = "needs tiffcp"]
fn strips_and_planes_give_the_same_pixels_as_tiles() {
    let folder = Folder::new("strips");
    let plain = support::fixtures(&[]);
    for fixture in ["deflate.tif", "grey.tif", "rgba.tif"] {
        let first = format!("{fixture},0");
        let expected = whole(&plain, fixture);
        for compression in ["none", "lzw", "zip", "packbits", "zstd"] {
            for planes in ["contig", "separate"] {
                for (n, shape) in [
                    &["-s", "-r", "1"][..],
                    &["-s", "-r", "21"],
                    &["-s", "-r", "100000"],
                    &["-t", "-w", "64", "-l", "48"],
                ]
                .iter()
                .enumerate()
                {
                    let name = format!("{compression}-{planes}-{n}-{fixture}");
                    let options = [&["-c", compression, "-p", planes][..], shape].concat();
                    folder.lay_out(&first, &name, &options);
                    // with and without a cache for strips
                    for megabytes in ["10", "0"] {
                        let service = folder.service(&[("MAX_IMAGE_CACHE_SIZE", megabytes)]);
                        let found = whole(&service, &name);
                        assert!(found == expected, "{name}");
                        let tile = format!("IIIF={name}/50,60,70,80/max/0/default.png");
                        let tile = support::pixels(&service.respond(Http::query(&tile)));
                        let same = format!("IIIF={fixture}/50,60,70,80/max/0/default.png");
                        assert!(
                            tile == support::pixels(&plain.respond(Http::query(&same))),
                            "{name}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
#[ignore = "needs tiffcp"]
fn a_file_without_levels_is_a_pyramid_in_every_protocol() {
    let folder = Folder::new("levels");
    folder.lay_out("tessera.tif,0", "strips.tif", &["-c", "lzw", "-s", "-r", "16"]);
    let service = folder.service(&[]);
    let full = ask(&service, "FIF=strips.tif&OBJ=Max-size");
    let size: Vec<u32> = full
        .trim()
        .split([':', ' '])
        .skip(1)
        .map(|n| n.parse().unwrap())
        .collect();
    let mut level = Size::new(size[0], size[1]);
    let mut sizes = vec![format!("{} {}", level.w, level.h)];
    while level.w > 256 || level.h > 256 {
        level = level.halved_up(1);
        sizes.insert(0, format!("{} {}", level.w, level.h));
    }
    assert!(sizes.len() > 2);
    let answer = ask(
        &service,
        "FIF=strips.tif&OBJ=Tile-size&OBJ=Resolution-number&OBJ=Resolutions",
    );
    let expected = format!(
        "Tile-size:256 256\r\nResolution-number:{}\r\nResolutions:{}\r\n",
        sizes.len(),
        sizes.join(",")
    );
    assert_eq!(answer, expected);
    let smallest = support::size(&service.respond(Http::query("FIF=strips.tif&PTL=0,0")));
    assert_eq!(smallest, (level.w, level.h));
    let info = ask(&service, "IIIF=strips.tif/info.json");
    assert!(
        info.contains(&format!("\"width\":{}", level.w)) || info.contains(&format!("\"width\": {}", level.w)),
        "{info}"
    );
}

#[test]
#[ignore = "needs tiffcp"]
fn pages_form_a_stack_and_are_numbered() {
    let folder = Folder::new("pages");
    let [grey, colour] = ["grey.tif", "deflate.tif"].map(|name| format!("{},0", fixture_path(name)));
    folder.tool("tiffcp", &["-c", "lzw", &grey, &colour, "book.tif"]);
    let plain = support::fixtures(&[]);
    let service = folder.service(&[("IIIF_DELIMITER", ";")]);
    let stack = ask(&service, "FIF=book.tif&OBJ=Stack");
    let stack: serde_json::Value = serde_json::from_str(&stack).unwrap();
    assert_eq!(stack.as_array().unwrap().len(), 2, "{stack}");
    assert_eq!(stack[1]["id"], "1");
    assert!(whole(&service, "book.tif") == whole(&plain, "grey.tif"));
    assert!(whole(&service, "book.tif;0") == whole(&plain, "grey.tif"));
    assert!(whole(&service, "book.tif;1") == whole(&plain, "deflate.tif"));
    let missing = service.respond(Http::query("IIIF=book.tif;2/full/max/0/default.png"));
    assert_eq!(missing.status, 404, "{}", support::text(&missing));
    let second = support::pixels(&service.respond(Http::query("FIF=book.tif&SDS=1&CVT=png")));
    assert!(second == whole(&plain, "deflate.tif"));
    // without the setting a page number is part of the name
    let missing = folder
        .service(&[])
        .respond(Http::query("IIIF=book.tif;1/full/max/0/default.png"));
    assert_eq!(missing.status, 404);
}

#[test]
fn a_sequence_has_views_profiles_and_spectra() {
    let folder = Folder::new("sequence");
    for (fixture, name) in [
        ("grey.tif", "vase_pyr_000_090.tif"),
        ("deflate.tif", "vase_pyr_400_090.tif"),
        ("grey.tif", "vase_pyr_500_090.tif"),
        ("grey.tif", "vase_pyr_000_045.tif"),
    ] {
        std::fs::copy(fixture_path(fixture), folder.0.join(name)).unwrap();
    }
    let plain = support::fixtures(&[]);
    let service = folder.service(&[("FILESYSTEM_SUFFIX", "")]);
    assert_eq!(
        ask(&service, "FIF=vase&OBJ=Horizontal-views&OBJ=Vertical-views"),
        "Horizontal-views:0 400 500\r\nVertical-views:45 90\r\n"
    );
    let picture = |query: &str| support::pixels(&service.respond(Http::query(query)));
    assert!(picture("FIF=vase&CVT=png") == whole(&plain, "grey.tif"));
    assert!(picture("FIF=vase&SDS=400,90&CVT=png") == whole(&plain, "deflate.tif"));
    assert_eq!(
        service.respond(Http::query("FIF=vase&SDS=7,90&CVT=png")).status,
        404
    );
    assert_eq!(service.respond(Http::query("FIF=vases&CVT=png")).status, 404);
    // a single picture is its only view
    let single = support::fixtures(&[]).respond(Http::query("FIF=grey.tif&SDS=400,90&CVT=png"));
    assert!(support::pixels(&single) == whole(&plain, "grey.tif"));

    let row = support::bytes(&whole(&plain, "grey.tif"))[..3].to_vec();
    let level = ask(&service, "FIF=vase&OBJ=Resolution-number");
    let top = level.trim().rsplit(':').next().unwrap().parse::<u32>().unwrap() - 1;
    let profile = ask(&service, &format!("FIF=vase&PFL={top}:0,0-3,0"));
    let profile: serde_json::Value = serde_json::from_str(&profile).unwrap();
    assert_eq!(profile["profile"]["500"], serde_json::json!(row));
    assert_eq!(profile["profile"]["400"].as_array().unwrap().len(), 9);
    let single = ask(&plain, &format!("FIF=grey.tif&PFL={top}:0,0-3,0"));
    let single: serde_json::Value = serde_json::from_str(&single).unwrap();
    assert_eq!(single["profile"], serde_json::json!(row));
    let spectra = ask(&service, &format!("FIF=vase&SPECTRA={top},0,1,0"));
    let point = format!(
        "\t<point>\n\t\t<wavelength>500</wavelength>\n\t\t<reflectance>{:.6}</reflectance>\n\t</point>\n</spectra>",
        f64::from(row[1]) / 255.0
    );
    assert!(spectra.ends_with(&point), "{spectra}");
    for outside in [
        "PFL=99:0,0-3,0",
        "PFL=0:0,0-99999,0",
        "SPECTRA=0,9,9",
        "SPECTRA=0,99,0,0",
    ] {
        let reply = service.respond(Http::query(&format!("FIF=vase&{outside}")));
        assert_eq!(reply.status, 404, "{outside}: {}", support::text(&reply));
    }
}

#[test]
#[ignore = "needs tiffcp"]
fn orientation_is_applied_in_every_protocol_if_enabled() {
    let folder = Folder::new("orientation");
    let plain = support::fixtures(&[]);
    // equals IIIF rotation
    let turns = [
        (1, "0"),
        (2, "!0"),
        (3, "180"),
        (4, "!180"),
        (5, "!270"),
        (6, "90"),
        (7, "!90"),
        (8, "270"),
    ];
    for (orientation, rotation) in turns {
        let name = format!("o{orientation}.tif");
        std::fs::copy(fixture_path("deflate.tif"), folder.0.join(&name)).unwrap();
        folder.lay_out("deflate.tif,0", &name, &["-c", "zip"]);
        folder.tool("tiffset", &["-s", "274", &orientation.to_string(), &name]);
        let turned = format!("IIIF=deflate.tif/full/max/{rotation}/default.png");
        let turned = support::pixels(&plain.respond(Http::query(&turned)));
        let upright = folder.service(&[("ORIENTATION", "1")]);
        assert!(whole(&upright, &name) == turned, "{orientation}");
        let size = format!("Max-size:{} {}\r\n", turned.size.w, turned.size.h);
        assert_eq!(ask(&upright, &format!("FIF={name}&OBJ=Max-size")), size);
        let part = format!("IIIF={name}/20,30,50,40/max/0/default.png");
        let part = support::pixels(&upright.respond(Http::query(&part)));
        let channels = usize::from(turned.channels);
        let line = turned.size.w as usize * channels;
        let rows = support::bytes(&turned).chunks(line).skip(30).take(40);
        let expected: Vec<u8> = rows
            .flat_map(|row| &row[20 * channels..70 * channels])
            .copied()
            .collect();
        assert!(support::bytes(&part) == expected, "{orientation}");
        // disabled by default
        assert!(
            whole(&folder.service(&[]), &name) == whole(&plain, "deflate.tif"),
            "{orientation}"
        );
    }
}

#[test]
#[ignore = "needs tiffcp"]
fn derived_levels_beyond_the_memory_limit_go_to_the_spool_directory() {
    let folder = Folder::new("room");
    folder.lay_out("tessera.tif,0", "one.tif", &["-c", "lzw", "-s", "-r", "100000"]);
    let room = folder.0.join("room");
    std::fs::create_dir(&room).unwrap();
    let picture = |vars: &[(&str, &str)]| {
        let service = folder.service(vars);
        support::pixels(&service.respond(Http::query("FIF=one.tif&PTL=0,0")))
    };
    let kept = picture(&[]);
    let spooled = picture(&[
        ("MAX_IMAGE_CACHE_SIZE", "0"),
        ("CACHE_DIR", room.to_str().unwrap()),
    ]);
    // in memory, levels are derived from levels, which rounds more than once
    let pairs = support::bytes(&kept).iter().zip(support::bytes(&spooled));
    let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max();
    assert!(kept.size == spooled.size && worst <= Some(3), "{worst:?}");
    assert_eq!(
        std::fs::read_dir(&room).unwrap().count(),
        0,
        "spool files have no names"
    );
}
