//! Does a machine that fails stop no more than it must, and are settings that do not fit it told?

use crate::process::BINARY;
use crate::process::Folder;
use crate::process::Server;
use crate::process::free_port;
use std::process::Command;

#[test]
#[ignore = "needs tiffcp"]
fn a_full_directory_for_temporary_files_is_told_and_done_without() {
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
    let told: Vec<_> = log.lines().filter(|line| line.contains(" warning ")).collect();
    let text = format!("CACHE_DIR is not used until SIGHUP: {small}: No space left on device");
    assert!(told.len() == 1 && told[0].contains(&text), "{log}");
}

#[test]
fn settings_that_do_not_fit_the_machine_are_told_and_strict_refuses_them() {
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
    let told = [
        "FILESYSTEM_PREFIX=/nowhere",
        "CACHE_DIR=/nowhere",
        "nobody.invalid",
        "JPEG_QUALITY meant",
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
    for part in told {
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

/// A file system in user space that answers nothing, mounted at the first argument; then runs the rest.
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
fn a_file_system_that_hangs_stops_nobody_but_those_who_ask_for_its_files() {
    let folder = Folder::new();
    let hang = folder.join("hang");
    std::fs::create_dir(&hang).unwrap();
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/");
    for name in ["tessera.tif", "deflate.tif", "webp.tif"] {
        std::fs::copy(format!("{fixtures}{name}"), folder.join(name)).unwrap();
    }
    // a link into it looks like any other file
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
fn whoever_runs_the_server_sees_what_it_does_and_makes_it_forget() {
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
