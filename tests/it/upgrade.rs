//! A site with the configuration of Debian's iipimage-server, in which only the program is replaced: a thousand answers
//! before and after, over four protocols and every command.
//!
//! `DIFFERENCES` lists every difference; iipsrv-migration(7) documents its rows.

use crate::process::free_port;
use crate::site::Site;
use crate::support;
use crate::support::HttpAnswer;
use iipsrv::geometry::Size;
use iipsrv::raster::Raster;
use std::path::Path;

const ORIGINAL: &str = "/usr/lib/iipimage-server/iipsrv.fcgi";

const IMAGES: [&str; 7] = [
    "tessera.tif",
    "jpeg-rgb.tif",
    "deflate.tif",
    "lzw.tif",
    "grey.tif",
    "rgba.tif",
    "metadata.tif",
];

const OBJECTS: [&str; 22] = [
    "IIP,1.0",
    "Basic-info",
    "IIP-server",
    "Max-size",
    "Tile-size",
    "Resolution-number",
    "Resolutions",
    "Bits-per-channel",
    "Min-Max-sample-values",
    "Colorspace,0-4,0",
    "colorspace,*,*",
    "Horizontal-views",
    "Vertical-views",
    "IIP-opt-obj",
    "IIP-opt-comm",
    "Summary-info",
    "Copyright",
    "Title",
    "Subject",
    "Author",
    "DPI",
    "Nonexistent",
];

/// Commands that change pixels or have no effect.
const CHANGES: [&str; 26] = [
    "CNT=1.5",
    "CNT=0.5",
    "CNT=stretch",
    "CNT=EQ",
    "GAM=2.2",
    "GAM=0.5",
    "GAM=log",
    "INV",
    "CMP=jet",
    "CMP=hot",
    "CMP=cold",
    "COL=grey",
    "COL=binary",
    "ROT=90",
    "ROT=180",
    "ROT=270",
    "ROT=!0",
    "ROT=!90",
    "CTW=%5B0,0,1;0,1,0;1,0,0%5D",
    "CNV=sobel",
    "MINMAX=1:0,255",
    "QLT=20",
    "QLT=95",
    "LYR=1",
    "SDS=0,90",
    "ICC=0",
];

const EXPORTS: [&str; 9] = [
    "",
    "WID=100&",
    "WID=333&",
    "HEI=100&",
    "WID=200&HEI=50&",
    "RGN=0.25,0.25,0.5,0.5&",
    "RGN=0,0,0.5,1&",
    "RGN=0.1,0.2,0.3,0.4&WID=150&",
    "RGN=-0.1,-0.1,0.6,0.6&WID=90&",
];

const OTHERS: [&str; 8] = [
    "OBJ=IIP,1.0&OBJ=Max-size&OBJ=Tile-size&OBJ=Resolution-number",
    "TIL=1,0-0",
    "TIL=0,0",
    "PFL=1:0,0-10,0",
    "PFL=0:0,0-0,9",
    "PFL=1:3,3",
    "SPECTRA=1,0,5,5",
    "JTLS=0,1,0,90",
];

const IIIF: [&str; 19] = [
    "full/full/0/default.jpg",
    "full/max/0/native.jpg",
    "full/100,/0/default.jpg",
    "full/,50/90/default.jpg",
    "full/90,80/180/color.jpg",
    "full/!90,90/!0/gray.jpg",
    "full/pct:25/270/bitonal.jpg",
    "square/80,/0/default.jpg",
    "0,0,90,80/full/0/default.jpg",
    "10,5,90,80/45,/!90/default.jpg",
    "pct:10,10,50,50/50,/0/default.jpg",
    "0,0,64,64/64,64/0/default.jpg",
    "64,64,64,64/64,/0/default.jpg",
    "full/500,/0/default.jpg",
    "full/abc/0/default.jpg",
    "full/max/45/default.jpg",
    "full/max/0/default.png",
    "info.json",
    "info.json?x=1",
];

/// The queries; `{}` stands for the folder of images.
fn queries() -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for image in IMAGES {
        let mut ask = |text: String| all.push(text);
        let iip = format!("FIF={{}}{image}&");
        for object in OBJECTS {
            ask(format!("{iip}OBJ={object}"));
        }
        for (level, tile) in (0..5).flat_map(|level| (0..4).map(move |tile| (level, tile))) {
            ask(format!("{iip}JTL={level},{tile}"));
        }
        for change in CHANGES {
            ask(format!("{iip}{change}&JTL=1,0"));
        }
        for change in CHANGES {
            ask(format!("{iip}{change}&WID=90&CVT=jpeg"));
        }
        for size in EXPORTS {
            ask(format!("{iip}{size}CVT=jpeg"));
        }
        for other in OTHERS {
            ask(format!("{iip}{other}"));
        }
        for words in IIIF {
            ask(format!("IIIF={{}}{image}/{words}"));
        }
        ask(format!("DeepZoom={{}}{image}.dzi"));
        for level in [0, 5, 7, 8, 9, 10] {
            for tile in ["0_0", "1_0", "0_1"] {
                ask(format!("DeepZoom={{}}{image}_files/{level}/{tile}.jpg"));
            }
        }
        ask(format!("Zoomify={{}}{image}/ImageProperties.xml"));
        for level in 0..4 {
            for tile in ["0-0", "1-0"] {
                ask(format!("Zoomify={{}}{image}/TileGroup0/{level}-{tile}.jpg"));
            }
        }
    }
    for nothing in [
        "FIF={}nope.tif&JTL=0,0",
        "IIIF={}nope.tif/info.json",
        "DeepZoom={}nope.tif.dzi",
        "Zoomify={}nope.tif/ImageProperties.xml",
        "FIF=",
        "OBJ=IIP,1.0",
        "",
    ] {
        all.push(nothing.into());
    }
    all
}

/// An answer.
struct Answer {
    status: u16,
    text: String,
    picture: Option<Raster>,
    json: bool,
}

impl Answer {
    fn of(answer: &HttpAnswer) -> Answer {
        let kind = answer.header("Content-Type").unwrap_or_default();
        let picture = match kind {
            "image/jpeg" => iipsrv::codec::jpeg::decode(&answer.body, Size::new(65_535, 65_535)).ok(),
            "image/png" => Some(support::png(&answer.body)),
            _ => None,
        };
        Answer {
            status: answer.status,
            text: String::from_utf8_lossy(&answer.body).trim().into(),
            picture,
            json: kind.contains("json"),
        }
    }

    fn size(&self) -> Option<(u32, u32)> {
        self.picture.as_ref().map(|raster| (raster.size.w, raster.size.h))
    }

    /// Whether both are equivalent for a client: pictures of one size with similar samples, equal texts, or errors.
    fn is(&self, other: &Answer) -> bool {
        match (&self.picture, &other.picture) {
            (Some(one), Some(two)) => {
                one.size == two.size && one.channels == two.channels && mean_difference(one, two) < NEAR
            }
            (None, None) if self.status >= 400 => self.status == other.status,
            (None, None) => self.status == other.status && self.text == other.text,
            _ => false,
        }
    }
}

/// Mean difference of samples that a different encoder may cause.
const NEAR: f64 = 7.0;

/// Mean difference of the samples of two pictures of equal size.
fn mean_difference(one: &Raster, two: &Raster) -> f64 {
    let (one, two) = (support::bytes(one), support::bytes(two));
    let sum: u64 = one.iter().zip(two).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / one.len() as f64
}

fn sides_differ_by_one(theirs: &Answer, ours: &Answer) -> bool {
    let near = |a: u32, b: u32| a.abs_diff(b) <= 1;
    let pair = theirs.size().zip(ours.size());
    pair.is_some_and(|(a, b)| a != b && near(a.0, b.0) && near(a.1, b.1))
}

/// A kind of difference: its text in the man page, and a predicate over a query and its two answers.
type Difference = (&'static str, fn(&str, &Answer, &Answer) -> bool);

const DIFFERENCES: &[Difference] = &[
    ("negative RGN", |query, theirs, ours| {
        query.contains("RGN=-") && theirs.picture.is_some() && ours.picture.is_some()
    }),
    ("objects of the server without an image", |query, theirs, ours| {
        query.starts_with("OBJ=") && theirs.text.contains("Content-Type") && ours.text.starts_with("IIP:1.0")
    }),
    ("the server ends", |_, theirs, ours| {
        theirs.status >= 500 && ours.status < 500
    }),
    ("info.json of version 2", |query, theirs, ours| {
        query.contains("info.json") && theirs.json && ours.json && ours.text.contains("/image/3/")
    }),
    ("a query after info.json", |query, theirs, ours| {
        query.contains("info.json?") && theirs.status == 400 && ours.status == 200
    }),
    (
        "DeepZoom levels below the smallest stored one",
        |query, theirs, ours| query.contains("_files/") && theirs.picture.is_some() && ours.picture.is_some(),
    ),
    ("other angles and formats than JPEG", |query, theirs, ours| {
        let more = query.contains("/45/") || query.ends_with(".png");
        more && theirs.status == 400 && ours.picture.is_some()
    }),
    ("enlarged (1.1), 400 (upstream)", |query, theirs, ours| {
        query.contains("IIIF=") && theirs.picture.is_some() && ours.text.contains("requested with ^")
    }),
    ("ROT over tiles", |query, theirs, ours| {
        query.contains("ROT=") && query.contains("JTL=") && theirs.status == 200 && ours.status == 200
    }),
    ("COL=binary of a tile", |query, theirs, ours| {
        query.contains("COL=binary") && theirs.status == 200 && ours.picture.is_some()
    }),
    ("sides that are rounded", |_, theirs, ours| {
        sides_differ_by_one(theirs, ours)
    }),
    ("a matrix of three rows over grey", |query, theirs, ours| {
        query.contains("CTW=") && query.contains("grey.tif") && theirs.size() == ours.size()
    }),
    ("MINMAX on 8 bits, COL=grey", |query, theirs, ours| {
        ["MINMAX=", "COL=", "/gray.", "/bitonal."]
            .iter()
            .any(|word| query.contains(word))
            && theirs.size() == ours.size()
    }),
    ("GAM=log, CNV, CNT=EQ, CNT=stretch", |query, theirs, ours| {
        let words = ["GAM=log", "CNV=", "CNT=EQ", "CNT=stretch"];
        words.iter().any(|word| query.contains(word)) && theirs.size() == ours.size()
    }),
    ("the picture under alpha", |query, theirs, ours| {
        query.contains("rgba") && theirs.picture.is_some() && theirs.size() == ours.size()
    }),
    ("pictures between two levels", |query, theirs, ours| {
        let made = ["CVT=", "IIIF="].iter().any(|word| query.contains(word));
        let pair = theirs.picture.as_ref().zip(ours.picture.as_ref());
        // the least alike, a region of 90x80 as 45x40 turned by 90 degrees, is 15.5 apart
        made && theirs.size() == ours.size() && pair.is_some_and(|(a, b)| mean_difference(a, b) < 18.0)
    }),
    ("objects: IIP-opt-comm, DPI", |query, theirs, _| {
        query.contains("IIP-opt") || (query.contains("OBJ=") && theirs.status == 400)
    }),
    ("NUMTILES", |query, _, ours| {
        query.contains("ImageProperties") && ours.text.contains("NUMTILES")
    }),
    ("line ends inside a .dzi", |query, theirs, ours| {
        query.ends_with(".dzi") && theirs.text.replace("2008\"\r\n", "2008\" ") == ours.text
    }),
    ("TIL sends", |query, theirs, ours| {
        query.contains("TIL=") && theirs.text.starts_with("Tile,") && ours.text.starts_with("Tile,")
    }),
    ("SPECTRA, PFL", |query, theirs, ours| {
        ["SPECTRA=", "PFL="].iter().any(|word| query.contains(word))
            && theirs.status == 200
            && ours.status == 200
    }),
    ("no question at all", |query, theirs, ours| {
        query.is_empty() && theirs.status == 400 && ours.status == 200
    }),
];

/// Installs a program at the package's path.
fn install(site: &Site, program: &str) {
    let place = site.path("bin/iipsrv.fcgi");
    let _ = std::fs::remove_file(&place);
    std::fs::copy(program, place).unwrap();
}

/// The current answers of the site.
fn answers(site: &mut Site, queries: &[String]) -> Vec<Answer> {
    let port = free_port();
    site.debian(port);
    let images = format!("{}/", site.path("images"));
    let ask = |query: &String| {
        let uri = format!("/iipsrv/iipsrv.fcgi?{}", query.replace("{}", &images));
        Answer::of(&support::http(
            port,
            "GET",
            &uri,
            &[("Host", "images.example")],
            "",
        ))
    };
    let all = queries.iter().map(ask).collect();
    site.running.pop().unwrap().stop();
    all
}

#[test]
#[ignore = "needs iipsrv 1.1 and Apache"]
fn after_replacing_the_program_every_difference_is_documented() {
    assert!(Path::new(ORIGINAL).exists(), "apt-get install iipimage-server");
    let mut site = Site::new();
    std::fs::create_dir_all(site.path("bin")).unwrap();
    for image in IMAGES {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(image);
        std::fs::copy(from, site.path(&format!("images/{image}"))).unwrap();
    }
    let queries = queries();
    assert!(queries.len() >= 1000, "{}", queries.len());
    install(&site, ORIGINAL);
    let before = answers(&mut site, &queries);
    install(&site, env!("CARGO_BIN_EXE_iipsrv"));
    let after = answers(&mut site, &queries);
    let mut counts = vec![0; DIFFERENCES.len()];
    let mut unexplained = Vec::new();
    for ((query, theirs), ours) in queries.iter().zip(&before).zip(&after) {
        assert!(ours.status < 500, "{query}: {} {}", ours.status, ours.text);
        if theirs.is(ours) {
            continue;
        }
        match DIFFERENCES.iter().position(|(_, is)| is(query, theirs, ours)) {
            Some(row) => counts[row] += 1,
            None => {
                let show = |answer: &Answer| match answer.size() {
                    Some((w, h)) => format!("{w}x{h}"),
                    None => format!(
                        "{} {}",
                        answer.status,
                        answer.text.chars().take(60).collect::<String>()
                    ),
                };
                unexplained.push(format!("{query}: {}, then {}", show(theirs), show(ours)));
            }
        }
    }
    let page = include_str!("../../man/iipsrv-migration.7").replace("\\-", "-");
    let differing: usize = counts.iter().sum();
    eprintln!("{} answers, {differing} differ:", queries.len());
    for ((words, _), count) in DIFFERENCES.iter().zip(&counts) {
        eprintln!("{count:5} {words}");
    }
    assert!(
        unexplained.is_empty(),
        "{}:\n{}",
        unexplained.len(),
        unexplained.join("\n")
    );
    for ((words, _), count) in DIFFERENCES.iter().zip(&counts) {
        assert!(page.contains(words), "the man page does not list: {words}");
        assert!(*count > 0, "nothing differs any more: {words}");
    }
}
