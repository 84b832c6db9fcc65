//! Failures of the machine stop only the affected requests; settings that do not fit the machine are reported.

use crate::process::BINARY;
use crate::process::Folder;
use crate::process::Server;
use crate::process::free_port;
use std::io::Read;
use std::io::Write;
use std::process::Command;

#[test]
#[ignore = "needs tiffcp"]
fn a_full_spool_directory_is_logged_and_not_used() {
    let folder = Folder::new();
    let converted = Command::new("tiffcp")
        .args(["-c", "lzw", "-s", "-r", "100000"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/tessera.tif,0"))
        .arg(folder.join("one.tif"))
        .status()
        .unwrap();
    assert!(converted.success());
    let small = folder.join("small");
    std::fs::create_dir(&small).unwrap();
    let start = |cache_dir: &str, inside: &[&str]| {
        let mut command = folder.command(inside.first().unwrap_or(&BINARY));
        command
            .args(inside.get(1..).unwrap_or_default())
            .env("PATH", "/usr/bin:/bin")
            .env("FILESYSTEM_PREFIX", folder.join(""))
            .env("MAX_IMAGE_CACHE_SIZE", "0")
            .env("CACHE_DIR", cache_dir);
        Server::start(&mut command)
    };
    let tile = |server: &Server| {
        let answer = server.get("/fcgi-bin/iipsrv.fcgi?FIF=one.tif&PTL=0,0", &[]);
        assert_eq!(answer.status, 200);
        answer.body
    };
    let without = start("", &[]);
    let wanted = tile(&without);
    without.stop();
    std::fs::remove_file(folder.join("log")).unwrap();

    let small = small.display().to_string();
    let script = "mount -t tmpfs -o size=16k none \"$0\" && exec \"$@\"";
    let full = start(&small, &["unshare", "-rm", "sh", "-c", script, &small, BINARY]);
    for _ in 0..3 {
        assert!(tile(&full) == wanted);
    }
    full.stop();
    let log = folder.log();
    let warnings: Vec<_> = log.lines().filter(|line| line.contains(" warning ")).collect();
    let text = format!("CACHE_DIR is not used until SIGHUP: {small}: No space left on device");
    assert!(warnings.len() == 1 && warnings[0].contains(&text), "{log}");
}

#[test]
fn settings_that_do_not_fit_the_machine_are_reported_and_strict_refuses_them() {
    let folder = Folder::new();
    let run = |arguments: &[&str]| {
        let mut command = folder.command(BINARY);
        command
            .args(arguments)
            .env("FILESYSTEM_PREFIX", "/nowhere/at/all/")
            .env("CACHE_DIR", "/nowhere/at/all")
            .env("MEMCACHED_SERVERS", "nobody.invalid")
            .env("JPEG_QUALTIY", "80");
        command.output().unwrap()
    };
    let expected = [
        "FILESYSTEM_PREFIX=/nowhere",
        "CACHE_DIR=/nowhere",
        "nobody.invalid",
        "did you mean JPEG_QUALITY",
    ];
    let checked = run(&["--check-config"]);
    let text = String::from_utf8(checked.stdout).unwrap();
    assert_eq!(checked.status.code(), Some(1));
    assert_eq!(
        text.lines().filter(|line| line.starts_with("warning: ")).count(),
        4,
        "{text}"
    );
    let refused = run(&["--strict", "--http", "127.0.0.1:0"]);
    let errors = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(
        (refused.status.code(), errors.lines().count()),
        (Some(1), 4),
        "{errors}"
    );
    for part in expected {
        assert!(text.contains(part) && errors.contains(part), "{part}");
    }
    let fine = folder.command(BINARY).arg("--check-config").output().unwrap();
    assert_eq!(
        fine.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&fine.stdout)
    );
}

#[test]
fn every_start_reports_an_empty_prefix_and_one_that_cannot_be_read() {
    for (prefix, warning) in [
        (
            "",
            "FILESYSTEM_PREFIX is empty: every image that this process may read",
        ),
        (
            "/nowhere/at/all/",
            "FILESYSTEM_PREFIX=/nowhere/at/all/: No such file",
        ),
    ] {
        let folder = Folder::new();
        let server = Server::start(folder.command(BINARY).env("FILESYSTEM_PREFIX", prefix));
        server.stop();
        let log = folder.log();
        let warnings: Vec<_> = log.lines().filter(|line| line.contains(" warning ")).collect();
        assert!(warnings.len() == 1 && warnings[0].contains(warning), "{log}");
    }
}

/// Mounts a FUSE file system that never answers at the first argument, then runs the other arguments.
const HANG: &str = r#"
import ctypes, os, sys
fuse = os.open("/dev/fuse", os.O_RDWR)
os.set_inheritable(fuse, True)
options = f"fd={fuse},rootmode=40000,user_id=0,group_id=0".encode()
libc = ctypes.CDLL(None, use_errno=True)
if libc.mount(b"hang", sys.argv[1].encode(), b"fuse", 0, options):
    sys.exit("mount: " + os.strerror(ctypes.get_errno()))
os.execv(sys.argv[2], sys.argv[2:])
"#;

#[test]
#[ignore = "needs unshare, Python and /dev/fuse"]
fn a_hanging_file_system_stops_only_requests_for_its_files() {
    let folder = Folder::new();
    let hang = folder.join("hang");
    std::fs::create_dir(&hang).unwrap();
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/");
    for name in ["tessera.tif", "deflate.tif", "webp.tif"] {
        std::fs::copy(format!("{fixtures}{name}"), folder.join(name)).unwrap();
    }
    // a symbolic link into it looks like any other file
    std::os::unix::fs::symlink("hang/other.tif", folder.join("link.tif")).unwrap();
    let mut command = folder.command("unshare");
    command
        .args(["-rm", "python3", "-c", HANG, &hang.display().to_string(), BINARY])
        .env("PATH", "/usr/bin:/bin")
        .env("OMP_NUM_THREADS", "2")
        .env("FILESYSTEM_PREFIX", folder.join(""));
    let server = Server::start(&mut command);
    let port = server.port;
    let ask = move |uri: String| crate::support::http(port, "GET", &uri, &[("Host", "localhost")], "").status;
    let stuck: Vec<_> = (0..8)
        .map(|n| {
            let name = if n == 0 {
                "link.tif".into()
            } else {
                format!("hang%2F{}.tif", n / 2)
            };
            std::thread::spawn(move || ask(format!("/iiif/{name}/info.json")))
        })
        .collect();
    for quality in 0..3 {
        for name in ["tessera.tif", "deflate.tif", "webp.tif"] {
            assert_eq!(ask(format!("/iiif/{name}/info.json")), 200);
            let tile = format!("/fcgi-bin/iipsrv.fcgi?FIF={name}&QLT={}&JTL=0,0", 50 + quality);
            assert_eq!(ask(tile), 200, "{name}");
        }
    }
    for thread in stuck {
        assert_eq!(thread.join().unwrap(), 504);
    }
    assert_eq!(ask("/iiif/tessera.tif/full/90,/0/default.jpg".into()), 200);
}

#[test]
fn the_admin_pages_show_the_state_and_clear_the_caches() {
    let folder = Folder::new();
    let admin = free_port();
    let mut command = folder.command(BINARY);
    command
        .args(["--admin", &format!("127.0.0.1:{admin}")])
        .env("SERVER_TIMING", "1");
    let server = Server::start(&mut command);
    let host = [("Host", "localhost")];
    let ask = |method: &str, uri: &str| crate::support::http(admin, method, uri, &host, "");
    let text = |uri: &str| {
        let answer = ask("GET", uri);
        assert_eq!(answer.status, 200, "{uri}");
        String::from_utf8(answer.body).unwrap()
    };
    let tile = "/fcgi-bin/iipsrv.fcgi?FIF=tessera.tif&QLT=61&GAM=1.2&JTL=3,1";
    for turn in 0..3 {
        let answer = server.get(tile, &[]);
        let timing = answer.header("Server-Timing").unwrap();
        assert!(timing.contains("total;dur="), "{timing}");
        assert_eq!(timing.contains("encode;dur="), turn == 0, "{timing}");
    }
    assert_eq!(server.get("/iiif/nothing/info.json", &[]).status, 404);
    let has = |line: &str| {
        let metrics = text("/metrics");
        assert!(metrics.lines().any(|l| l == line), "{line} in\n{metrics}");
    };
    has("iipsrv_requests_total{protocol=\"iip\",format=\"jpeg\",status=\"200\"} 3");
    has("iipsrv_requests_total{protocol=\"iiif\",format=\"text\",status=\"404\"} 1");
    has("iipsrv_stage_duration_seconds_count{stage=\"total\"} 4");
    has("iipsrv_stage_duration_seconds_count{stage=\"encode\"} 1");
    has("iipsrv_cache_lookups_total{tier=\"memory\",found=\"hit\"} 2");
    has("iipsrv_open_images 1");
    let sent = "iipsrv_stage_duration_seconds_count{stage=\"send\"} ";
    let metrics = text("/metrics");
    let sent = metrics.lines().find_map(|line| line.strip_prefix(sent)).unwrap();
    assert!(sent.parse::<u32>().unwrap() >= 4, "{sent}");
    let status = || serde_json::from_str::<serde_json::Value>(&text("/status")).unwrap();
    let before = status();
    assert_eq!(before["settings"]["SERVER_TIMING"]["value"], "1");
    assert_eq!(before["images"][0]["id"], "tessera.tif");
    for codec in ["jpeg2000", "png", "moxcms"] {
        let version = before["codecs"][codec].as_str().unwrap();
        assert!(version.contains('.'), "{codec} {version}");
    }
    assert!(before["images"][0]["uses"].as_u64().unwrap() >= 3);
    assert_eq!(
        (text("/health/live").as_str(), text("/health/ready").as_str()),
        ("alive\n", "ready\n")
    );

    assert_eq!(ask("GET", "/purge?id=tessera.tif").status, 405);
    assert_eq!(ask("POST", "/purge").status, 400);
    let purged = |uri: &str| {
        let answer = ask("POST", uri);
        let text = String::from_utf8(answer.body).unwrap();
        serde_json::from_str::<serde_json::Value>(&text).unwrap()["purged"]
            .as_u64()
            .unwrap()
    };
    assert_eq!(purged("/purge?prefix=other/"), 0);
    assert!(
        purged("/purge?id=tessera.tif") >= 2,
        "the open image and the answer"
    );
    assert_eq!(status()["images"], serde_json::json!([]));
    let again = server.get(tile, &[]);
    assert!(again.header("Server-Timing").unwrap().contains("encode;dur="));
    server.stop();

    let mut open = folder.command(BINARY);
    open.args(["--http", "127.0.0.1:0", "--admin", "0.0.0.0:0"]);
    let refused = open.output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("ADMIN_TOKEN"));
}

/// An RGB TIFF of this size in tiles of 256 x 256, all of them absent.
fn unwritten(w: u32, h: u32) -> Vec<u8> {
    let tiles = w.div_ceil(256) * h.div_ceil(256);
    let places = 8 + 2 + 11 * 12 + 4;
    let (long, short) = (4, 3);
    let entries: [(u16, u16, u32, u32); 11] = [
        (256, long, 1, w),
        (257, long, 1, h),
        (258, short, 1, 8),
        (259, short, 1, 1),
        (262, short, 1, 2),
        (277, short, 1, 3),
        (284, short, 1, 1),
        (322, long, 1, 256),
        (323, long, 1, 256),
        (324, long, tiles, places),
        (325, long, tiles, places),
    ];
    let mut file = b"II*\0\x08\0\0\0\x0b\0".to_vec();
    for (tag, kind, count, value) in entries {
        file.extend(tag.to_le_bytes());
        file.extend(kind.to_le_bytes());
        file.extend(count.to_le_bytes());
        file.extend(value.to_le_bytes());
    }
    file.resize(places as usize + tiles as usize * 4, 0);
    file
}

/// The status of an answer; reads and discards its body.
fn status(port: u16, path: &str) -> u16 {
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut start = [0; 12];
    stream.read_exact(&mut start).unwrap();
    std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    String::from_utf8_lossy(&start[9..]).parse().unwrap()
}

#[test]
fn answers_whose_allocation_fails_are_refused_and_the_others_are_served() {
    let folder = Folder::new();
    std::fs::write(folder.join("x"), unwritten(9000, 8000)).unwrap();
    let mut command = folder.command("sh");
    // the memory budget exceeds the address space
    command
        .args(["-c", "ulimit -v 1200000 && exec \"$0\" \"$@\"", BINARY])
        .env("PATH", "/usr/bin:/bin")
        .env("FILESYSTEM_PREFIX", folder.join(""))
        .env("MAX_MEMORY", "16000")
        .env("MAX_CVT", "10000")
        .env("MAX_IMAGE_CACHE_SIZE", "0")
        .env("OMP_NUM_THREADS", "8");
    let server = Server::start(&mut command);
    // 216 MB each
    let port = server.port;
    let ask = |number: u32| status(port, &format!("/iiif/x/full/{},/0/default.tif", 9000 - number));
    let answers: Vec<u16> = std::thread::scope(|scope| {
        let asked: Vec<_> = (0..8).map(|number| scope.spawn(move || ask(number))).collect();
        asked.into_iter().map(|answer| answer.join().unwrap()).collect()
    });
    assert!(
        answers.iter().all(|status| [200, 503].contains(status)),
        "{answers:?}"
    );
    assert!(answers.contains(&200) && answers.contains(&503), "{answers:?}");
    assert_eq!(status(server.port, "/iiif/x/0,0,256,256/max/0/default.jpg"), 200);
    server.stop();
    let log = folder.log();
    assert!(
        log.lines()
            .any(|line| line.contains(" warning ") && line.contains("does not give")),
        "{log}"
    );
}
