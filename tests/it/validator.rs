//! The IIIF's own validator over the real binary, behind nginx and by itself, for 1.1, 2.0 and 3.0: it knows no 2.1.
//!
//! `tests/validator/drive.py` runs it. The validation picture is drawn here, in the colours that the validator expects;
//! with CORPUS the original's pixels are used, and its JPEG 2000 file as it is.

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

/// What fails and why, by version: everything else passes.
const FAILS: [(&str, &str); 3] = [
    ("format_jp2", "no JPEG 2000 is written"),
    ("format_pdf", "no PDF is written"),
    (
        "format_webp",
        "compares bytes with text, which differ in Python 3 whatever they hold",
    ),
];

/// The picture in a file, by the name of the file.
type Row = (&'static str, fn(&[u8]) -> Vec<u8>);

const ROWS: [Row; 6] = [
    ("8-bit-plain.tif", |pixels| {
        tiff(pixels, Compression::None, Layout::Chain)
    }),
    ("8-bit-deflate.tif", |pixels| {
        tiff(pixels, Compression::Deflate, Layout::SubIfds)
    }),
    // The validator allows 5 of 255 in the commonest colour of a square: what a JPEG of usual quality keeps in a plain one.
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
        // squares of one colour: a pixel of every square is its mean
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

/// The validation picture in the corpus, without its suffix.
const PUBLISHED: &str = "photos/iiifval__67352ccc-d1b0-11e1-89ae-279075081939";

fn corpus() -> Option<PathBuf> {
    std::env::var_os("CORPUS").map(PathBuf::from)
}

/// The file of this kind that another program, by this command line, makes of the picture.
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

/// The validator, with these words.
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

/// Ten by ten squares of a hundred pixels, RGB.
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

/// A site with the picture in every file.
fn site() -> Site {
    let mut site = Site::new();
    let pixels = picture();
    for (name, make) in ROWS {
        std::fs::write(site.path(&format!("images/{name}")), make(&pixels)).unwrap();
    }
    site.more = "export CORS='*' URI_MAP='iiif/1=>IIIF1,iiif/2=>IIIF2,iiif/3=>IIIF3'\n";
    site
}

/// Everything passes but what is listed, which fails.
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
fn what_is_needed_here_is_installed_by_tests_run() {
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
