//! Does a machine that fails stop no more than it must, and are settings that do not fit it told?

use crate::process::BINARY;
use crate::process::Folder;
use crate::process::Server;
use std::process::Command;

#[test]
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
