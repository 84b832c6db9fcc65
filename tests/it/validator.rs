//! The IIIF validator over the real binary, behind nginx and over HTTP, for versions 1.1, 2.0 and 3.0; it does not support 2.1.
//!
//! `tests/validator/drive.py` runs it. The test draws the validation picture in the colours that the validator expects; with
//! CORPUS it uses the published pixels and JPEG 2000 file.

use crate::process::Folder;
use crate::process::free_port;
use crate::pyramid;
use crate::pyramid::Compression;
use crate::pyramid::JpegColour;
use crate::pyramid::Layout;
use crate::pyramid::Spec;
use crate::site::Site;
use crate::site::Text;
use crate::support;
use serde_json::Value;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// Tests that fail, by version, and the reason; all others must pass.
const FAILS: [(&str, &str); 3] = [
    ("format_jp2", "no JPEG 2000 is written"),
    ("format_pdf", "no PDF is written"),
    (
        "format_webp",
        "compares bytes with text, which differ in Python 3 whatever they hold",
    ),
];

/// File name, and how the picture is written to it.
type Row = (&'static str, fn(&[u8]) -> Vec<u8>);

const ROWS: [Row; 6] = [
    ("8-bit-plain.tif", |pixels| {
        tiff(pixels, Compression::None, Layout::Chain)
    }),
    ("8-bit-deflate.tif", |pixels| {
        tiff(pixels, Compression::Deflate, Layout::SubIfds)
    }),
    // The validator allows 5 of 255 in the most frequent colour of a square; JPEG of usual quality meets this for plain squares.
    ("8-bit-jpeg.tif", |pixels| {
        let jpeg = Compression::Jpeg {
            quality: 90,
            colour: JpegColour::Ycc420,
            shared: true,
        };
        tiff(pixels, jpeg, Layout::Chain)
    }),
    ("16-bit.tif", |pixels| {
        let spec = Spec {
            bits: 16,
            ..Spec::new((1000, 1000), 3, Compression::Deflate)
        };
        // squares of one colour: every pixel equals the mean of its square
        let level = |&(w, h): &(u32, u32)| {
            let step = 1000 / w as usize;
            let rows = (0..h as usize).map(|y| y * step * 1000);
            let places = rows.flat_map(|row| (0..w as usize).map(move |x| row + x * step));
            let samples = places.flat_map(|at| &pixels[at * 3..at * 3 + 3]);
            samples.flat_map(|&v| [v, v]).collect::<Vec<u8>>()
        };
        let levels: Vec<_> = spec.sizes.iter().map(level).collect();
        pyramid::levels(&spec, &levels).unwrap()
    }),
    ("jpeg.jpg", |pixels| {
        converted(pixels, "jpg", |from, to| {
            format!("cjpeg -quality 90 -outfile {to} {from}")
        })
    }),
    ("jp2.jp2", |pixels| {
        let published = corpus().map(|folder| folder.join(format!("{PUBLISHED}.jp2")));
        published.map_or_else(
            || {
                converted(pixels, "jp2", |from, to| {
                    format!("opj_compress -i {from} -o {to}")
                })
            },
            |path| std::fs::read(path).unwrap(),
        )
    }),
];

/// The published validation picture in the corpus, without its suffix.
const PUBLISHED: &str = "photos/iiifval__67352ccc-d1b0-11e1-89ae-279075081939";

fn corpus() -> Option<PathBuf> {
    std::env::var_os("CORPUS").map(PathBuf::from)
}

/// The picture as a file with this suffix, converted by an external command.
fn converted(pixels: &[u8], suffix: &str, command: fn(&str, &str) -> String) -> Vec<u8> {
    let folder = Folder::new();
    let [from, to] = ["from.ppm".into(), format!("to.{suffix}")].map(|name| folder.join(&name));
    std::fs::write(&from, [&b"P6\n1000 1000\n255\n"[..], pixels].concat()).unwrap();
    let line = command(from.to_str().unwrap(), to.to_str().unwrap());
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{line}, which tests/run installs: {said}"
    );
    std::fs::read(to).unwrap()
}

fn tiff(pixels: &[u8], compression: Compression, layout: Layout) -> Vec<u8> {
    let spec = Spec {
        layout,
        ..Spec::new((1000, 1000), 3, compression)
    };
    pyramid::pyramid(&spec, pixels).unwrap()
}

/// Runs the validator with these arguments; its output.
fn drive(words: &[&str]) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/validator");
    let python = folder.join("venv/bin/python");
    assert!(
        python.exists(),
        "{} is missing: tests/run makes it",
        python.display()
    );
    let output = Command::new(python)
        .arg(folder.join("drive.py"))
        .args(words)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

/// RGB samples of ten by ten squares of 100 x 100 pixels.
fn picture() -> Vec<u8> {
    if let Some(corpus) = corpus() {
        let png = support::png(&std::fs::read(corpus.join(format!("{PUBLISHED}.png"))).unwrap());
        assert_eq!((png.size.w, png.size.h, png.channels), (1000, 1000, 3));
        return support::bytes(&png).to_vec();
    }
    let columns: Value = serde_json::from_str(&drive(&["colours"])).unwrap();
    let colour = |x: usize, y: usize| {
        let rgb = &columns[x / 100][y / 100];
        [0, 1, 2].map(|channel| u8::try_from(rgb[channel].as_u64().unwrap()).unwrap())
    };
    (0..1_000_000).flat_map(|i| colour(i % 1000, i / 1000)).collect()
}

/// A site with the picture in every file format.
fn site() -> Site {
    let mut site = Site::new();
    let pixels = picture();
    for (name, make) in ROWS {
        std::fs::write(site.path(&format!("images/{name}")), make(&pixels)).unwrap();
    }
    site.more = "export CORS='*' URI_MAP='iiif/1=>IIIF1,iiif/2=>IIIF2,iiif/3=>IIIF3'\n";
    site
}

/// Asserts that exactly the tests of `FAILS` fail.
fn passes(port: u16) {
    for (name, _) in ROWS {
        for (version, prefix) in [("1.1", "iiif/1"), ("2.0", "iiif/2"), ("3.0", "iiif/3")] {
            let lines = drive(&["run", &format!("127.0.0.1:{port}"), prefix, name, version]);
            let tests: Vec<Value> = lines
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            for test in &tests {
                let failing = FAILS.iter().find(|(name, _)| test["test"] == *name);
                assert_eq!(
                    test["passed"],
                    failing.is_none(),
                    "{name} {version} {failing:?}: {test}"
                );
                assert!(
                    failing.is_none() || test["level"] == 3,
                    "level 2 is whole: {test}"
                );
            }
            let passed = tests.iter().filter(|test| test["passed"] == true).count();
            eprintln!("{name} {version}: {passed} of {} pass", tests.len());
            assert!(passed >= 33, "{passed} tests have been run");
        }
    }
}

#[test]
#[ignore = "needs the validator of the IIIF and nginx"]
fn the_validator_passes_behind_nginx() {
    let (mut site, port) = (site(), free_port());
    let socket = site.path("iipsrv.sock");
    site.bind(&socket);
    site.nginx(Text::nginx(&format!("unix:{socket}"), Some(port)), "", port);
    passes(port);
    site.stop();
}

#[test]
#[ignore = "needs the validator of the IIIF and nginx"]
fn the_validator_passes_over_http() {
    let (mut site, port) = (site(), free_port());
    site.by_itself(port);
    passes(port);
    site.stop();
}

#[test]
fn tests_run_installs_every_package_that_is_needed() {
    let script = include_str!("../run");
    for words in [
        "python3-venv",
        "libmagic1",
        "tests/validator/venv",
        "tests/validator/requirements.txt",
    ] {
        assert!(script.contains(words), "{words}");
    }
}
