//! The subcommands check, export, prewarm and get, run as processes.

use crate::process::Folder;
use crate::process::Group;
use crate::process::free_port;
use crate::process::until;
use iipsrv::config::Config;
use iipsrv::http::Http;
use iipsrv::service::Service;
use serde_json::Value;
use std::io::Read;
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

const BINARY: &str = env!("CARGO_BIN_EXE_iipsrv");

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures")
}

fn iipsrv(args: &[&str]) -> Output {
    Command::new(BINARY)
        .args(args)
        .env("FILESYSTEM_PREFIX", format!("{}/", fixtures().display()))
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A service with the settings that the subcommands get.
fn service() -> Service {
    let prefix = format!("{}/", fixtures().display());
    let map = "iiif=>IIIF,deepzoom=>DeepZoom,zoomify=>Zoomify";
    Service::new(Config::read(|name| match name {
        "FILESYSTEM_PREFIX" => Some(prefix.clone()),
        "URI_MAP" => Some(map.into()),
        _ => None,
    }))
}

#[test]
fn get_writes_what_the_server_answers() {
    let service = service();
    for uri in [
        "/iiif/tessera.tif/full/200,/0/default.jpg",
        "/deepzoom/tessera.tif.dzi",
    ] {
        let got = iipsrv(&["get", uri]);
        assert!(got.status.success(), "{uri}: {}", text(&got.stderr));
        assert!(got.stdout == service.respond(Http::get(uri)).body, "{uri}");
    }
    let got = iipsrv(&["get", "--headers", "FIF=tessera.tif&obj=Max-size"]);
    assert_eq!(text(&got.stdout), "Max-size:3072 2304\r\n");
    assert!(text(&got.stderr).starts_with("200 OK\n"), "{}", text(&got.stderr));
    let got = iipsrv(&["get", "FIF=nothing.tif&JTL=0,0"]);
    assert_eq!((got.status.code(), got.stdout.len()), (Some(1), 0));
    assert!(text(&got.stderr).starts_with("404: "));
}

#[test]
fn check_distinguishes_good_files_from_others() {
    let folder = Folder::new();
    let put = |name: &str, from: &str| {
        std::fs::copy(fixtures().join(from), folder.join(name)).unwrap();
    };
    put("a.tif", "tessera.tif");
    std::fs::create_dir(folder.join("below")).unwrap();
    std::fs::write(folder.join("below/b.tif"), "II*\0\x08\0\0\0").unwrap();
    std::fs::write(folder.join("notes.txt"), "not an image").unwrap();
    let path = folder.join("").to_str().unwrap().to_string();
    let got = iipsrv(&["check", &path]);
    let said = text(&got.stdout);
    assert_eq!(got.status.code(), Some(2), "{said}");
    assert!(
        said.contains("a.tif: good\n    TIFF, Jpeg, 3072 × 2304, RGB of 8-bit, tiles of 256 × 256, 5 levels"),
        "{said}"
    );
    assert!(said.contains("below/b.tif: not served\n"), "{said}");
    assert!(
        said.ends_with("2 files: 1 good, 0 slow, 1 not served\n"),
        "{said}"
    );
    let got = iipsrv(&[
        "check",
        "--json",
        fixtures().join("tessera.tif").to_str().unwrap(),
    ]);
    assert_eq!(got.status.code(), Some(0));
    let line: Value = serde_json::from_slice(&got.stdout).unwrap();
    assert_eq!(
        (&line["verdict"], &line["width"], &line["tilePixels"]),
        (&"good".into(), &3072.into(), &65536.into())
    );
}

#[test]
#[ignore = "needs vips"]
fn the_command_that_check_suggests_repairs_a_file() {
    let folder = Folder::new();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_string();
    let slow = path("it's slow.png");
    let drawn = Command::new("vips")
        .args([
            "resize",
            fixtures().join("tessera.tif").to_str().unwrap(),
            &slow,
            "1",
        ])
        .status();
    assert!(drawn.unwrap().success());
    let got = iipsrv(&["check", &slow]);
    assert_eq!(got.status.code(), Some(1), "{}", text(&got.stdout));
    let said = text(&got.stdout);
    let remedy = said.lines().last().unwrap().trim();
    assert!(remedy.starts_with("vips tiffsave "), "{said}");
    assert!(
        Command::new("sh")
            .args(["-c", remedy])
            .status()
            .unwrap()
            .success()
    );
    let got = iipsrv(&["check", &path("it's slow.pyramid.tif")]);
    assert_eq!(got.status.code(), Some(0), "{}", text(&got.stdout));
}

/// All files below a folder: relative path and content.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_string();
                found.push((name, std::fs::read(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn exported_files_equal_the_servers_answers() {
    let service = service();
    let image = fixtures().join("metadata.tif");
    let image = image.to_str().unwrap();
    for (form, tiles, base, description) in [
        (&["--deepzoom"][..], 33, "/deepzoom/metadata.tif", "metadata.dzi"),
        (
            &["--zoomify"],
            25,
            "/zoomify/metadata.tif/",
            "ImageProperties.xml",
        ),
        (
            &["--iiif", "https://example.org/m"],
            27,
            "/iiif/metadata.tif/",
            "info.json",
        ),
    ] {
        let folder = Folder::new();
        let out = folder.join("out");
        let run = || {
            let args = [&["export", image], form, &[out.to_str().unwrap()]].concat();
            let got = iipsrv(&args);
            assert!(got.status.success(), "{}", text(&got.stderr));
            text(&got.stdout)
        };
        run();
        let written = files(&out);
        assert_eq!(written.len(), tiles, "{form:?}");
        for (name, bytes) in &written {
            if name == description {
                continue;
            }
            let uri = format!("{base}{}", name.strip_prefix("metadata").unwrap_or(name));
            let right = service.respond(Http::get(&uri));
            assert_eq!(right.status, 200, "{uri}");
            assert!(*bytes == right.body, "{uri}");
        }
        // existing files are not written again
        std::fs::remove_file(out.join(&written[0].0)).unwrap();
        std::fs::write(out.join(&written[1].0), "kept").unwrap();
        let said = run();
        let again = files(&out);
        assert_eq!(again.len(), written.len());
        assert_eq!(again[0], written[0]);
        assert!(again[1].1 == b"kept" || again[1].0 == description, "{said}");
    }
    let info = iipsrv(&["get", "/iiif/metadata.tif/info.json"]);
    assert!(info.status.success());
}

#[test]
fn an_exported_level_0_service_lists_exactly_its_tiles_and_sizes() {
    let folder = Folder::new();
    let image = fixtures().join("metadata.tif");
    let out = folder.join("out");
    let got = iipsrv(&[
        "export",
        image.to_str().unwrap(),
        "--iiif",
        "https://example.org/m/",
        out.to_str().unwrap(),
    ]);
    assert!(got.status.success(), "{}", text(&got.stderr));
    let info: Value = serde_json::from_slice(&std::fs::read(out.join("info.json")).unwrap()).unwrap();
    assert_eq!(info["id"], "https://example.org/m");
    assert_eq!(info["profile"], "level0");
    assert_eq!(info.get("extraFeatures"), None);
    for size in info["sizes"].as_array().unwrap() {
        let (w, h) = (&size["width"], &size["height"]);
        let size = if (w, h) == (&info["width"], &info["height"]) {
            continue;
        } else {
            format!("{w},{h}")
        };
        assert!(out.join(format!("full/{size}/0/default.jpg")).exists(), "{size}");
    }
}

#[test]
fn prewarm_needs_a_persistent_cache() {
    let got = iipsrv(&["prewarm", "tessera.tif"]);
    assert_eq!(got.status.code(), Some(2));
    assert!(text(&got.stderr).contains("MEMCACHED_SERVERS"));
}

#[test]
#[cfg(feature = "disk-cache")]
fn prewarm_fills_the_disk_cache() {
    let folder = Folder::new();
    let got = Command::new(BINARY)
        .args(["prewarm", "none.tif", "seeds/throughput.j2k"])
        .env("FILESYSTEM_PREFIX", format!("{}/", fixtures().display()))
        .env("DISK_CACHE", folder.join("disk"))
        .output()
        .unwrap();
    assert!(got.status.success(), "{}", text(&got.stderr));
    let said = text(&got.stdout);
    assert!(said.ends_with(" answers, 0 errors\n"), "{said}");
}

#[test]
#[ignore = "needs memcached"]
fn prewarm_fills_memcached_from_lists_and_folders() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let _memcached = Group::start(Command::new("memcached").args([
        "-u",
        "nobody",
        "-l",
        "127.0.0.1",
        "-p",
        &port.to_string(),
    ]));
    until(|| TcpStream::connect(&address).ok()).expect("memcached");
    let folder = Folder::new();
    std::fs::create_dir(folder.join("maps")).unwrap();
    std::fs::copy(fixtures().join("none.tif"), folder.join("maps/a.tif")).unwrap();
    let list = folder.join("list");
    std::fs::write(
        &list,
        "/iiif/maps/a.tif/full/50,/0/default.jpg\nFIF=nothing.tif&JTL=0,0\n",
    )
    .unwrap();
    let run = |args: &[&str]| {
        let got = Command::new(BINARY)
            .arg("prewarm")
            .args(args)
            .env(
                "FILESYSTEM_PREFIX",
                format!("{}/", folder.join("").to_str().unwrap().trim_end_matches('/')),
            )
            .env("MEMCACHED_SERVERS", &address)
            .output()
            .unwrap();
        (got.status.code(), text(&got.stdout) + &text(&got.stderr))
    };
    let items = || {
        let mut stream = TcpStream::connect(&address).unwrap();
        stream.write_all(b"stats\r\nquit\r\n").unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        let items = said
            .lines()
            .find_map(|line| line.strip_prefix("STAT curr_items "));
        items.unwrap().trim().parse::<usize>().unwrap()
    };
    assert_eq!(
        run(&["--list", list.to_str().unwrap()]),
        (Some(1), "2 answers, 1 errors\n".into())
    );
    assert_eq!(items(), 1);
    // 121 × 91 in tiles of 16: 8 × 6, 4 × 3 and 2 × 2 tiles, and 1
    assert_eq!(
        run(&["maps", "--levels", "3"]),
        (Some(0), "17 answers, 0 errors\n".into())
    );
    assert_eq!(items(), 18);
}
