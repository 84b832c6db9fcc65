//! Every limit on files: data beyond it is refused or left out, and the log names the setting.

use crate::hostile::jpeg;
use crate::hostile::png;
use crate::hostile::tiff;
use crate::process::BINARY;
use crate::process::Folder;
use crate::process::Server;
use iipsrv::config::vars::VARS;
use std::path::Path;

/// A file, a request that a limit decides, and its outcome.
struct Row {
    /// The setting; empty if the limit is fixed.
    setting: &'static str,
    value: &'static str,
    file: Vec<u8>,
    request: &'static str,
    status: u16,
    /// Part of the log or, if the limit is fixed, of the answer.
    says: &'static str,
}

const INFO: &str = "/iiif/x/info.json";
const SMALL: &str = "/iiif/x/full/64,/0/default.jpg";

/// A window of 8 x 67,108,872 pixels of a picture of 16 x 134,217,744 pixels.
const NARROW: &str = "/iiif/x/5,67108872,8,67108872/!256,256/0/default.jpg";

fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    std::fs::read(folder.join(name)).unwrap()
}

/// A grey tile of 2048 x 1024 pixels: 2 MB in runs of 128 zeros.
fn large_tile() -> Vec<u8> {
    let runs = [0x81, 0].repeat(2048 * 1024 / 128);
    let entries = [
        (256, 4, 2048),
        (257, 4, 1024),
        (258, 3, 8),
        (259, 3, 32_773),
        (262, 3, 1),
        (277, 3, 1),
        (322, 4, 2048),
        (323, 4, 1024),
        (324, 4, 8 + 2 + 10 * 12 + 4),
        (325, 4, runs.len() as u32),
    ];
    tiff(&entries, &runs)
}

fn rows() -> Vec<Row> {
    let row = |setting, value, file, request, status, says| Row {
        setting,
        value,
        file,
        request,
        status,
        says,
    };
    let solid = || {
        png(
            (3600, 3600),
            ::png::ColorType::Rgba,
            ::png::BitDepth::Sixteen,
            &[],
        )
    };
    let page = "/fcgi-bin/iipsrv.fcgi?FIF=x&SDS=3,90&OBJ=Max-size";
    vec![
        row("LIMIT_PIXELS", "10000", fixture("none.tif"), INFO, 413, "11011"),
        row("LIMIT_SAMPLES", "2", fixture("none.tif"), INFO, 413, "3"),
        row("LIMIT_TILES", "10", fixture("none.tif"), INFO, 413, "48"),
        row(
            "LIMIT_IFDS",
            "2",
            fixture("demo/atlas-pages.tif"),
            page,
            413,
            "page 3",
        ),
        row(
            "LIMIT_BOXES",
            "1",
            fixture("seeds/reversible.jp2"),
            INFO,
            413,
            "no codestream",
        ),
        row(
            "LIMIT_METADATA",
            "200",
            fixture("metadata.tif"),
            INFO,
            200,
            "profile",
        ),
        row(
            "LIMIT_TILE_BYTES",
            "1048576",
            large_tile(),
            INFO,
            413,
            "2048x1024",
        ),
        row("LIMIT_EXPANSION", "1", solid(), INFO, 413, "decoded bytes"),
        row("", "", jpeg(2, 8, (1400, 1400), 300), SMALL, 413, "scans"),
        row("", "", jpeg(2, 8, (64, 64), 501), SMALL, 413, "501 scans"),
        row(
            "",
            "",
            fixture("corrupt/slow-levels.jp2"),
            NARROW,
            413,
            "decoded bytes for a window: ",
        ),
    ]
}

#[test]
fn beyond_a_limit_data_is_refused_or_left_out_and_the_log_names_the_setting() {
    let rows = rows();
    for var in VARS.iter().filter(|var| var.name.starts_with("LIMIT_")) {
        assert!(
            rows.iter().any(|row| row.setting == var.name),
            "{} has no row",
            var.name
        );
    }
    for row in rows {
        let folder = Folder::new();
        std::fs::write(folder.join("x"), &row.file).unwrap();
        let ask = |limited: bool| {
            let mut command = folder.command(BINARY);
            command.env("FILESYSTEM_PREFIX", format!("{}/", folder.join("").display()));
            if limited {
                command.env(row.setting, row.value);
            }
            let server = Server::start(&mut command);
            let answer = server.get(row.request, &[]);
            server.stop();
            answer
        };
        let named = |log: &str| {
            log.lines()
                .any(|line| line.contains(" warning ") && line.contains(row.setting))
        };
        if row.setting.is_empty() {
            let answer = ask(false);
            assert_eq!(answer.status, row.status);
            assert!(String::from_utf8_lossy(&answer.body).contains(row.says));
            continue;
        }
        assert_eq!(ask(false).status, 200, "{} by default", row.setting);
        assert!(!named(&folder.log()), "{}", folder.log());
        assert_eq!(ask(true).status, row.status, "{}={}", row.setting, row.value);
        let log = folder.log();
        assert!(named(&log) && log.contains(row.says), "{}: {log}", row.setting);
    }
}
