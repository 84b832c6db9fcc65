//! Headless Chromium shows pictures over every protocol; its pixels are compared with those of the service.
//!
//! Two pages: the built-in viewer of `--http`, and OpenSeadragon behind nginx, with the code that the viewer's page
//! suggests. `tests/browser/drive.mjs` drives the browser; the assertions are here.

use crate::process::Folder;
use crate::process::Group;
use crate::process::free_port;
use crate::process::until;
use crate::sight::PICTURES;
use crate::sight::Picture;
use crate::sight::Sight;
use crate::sight::seen;
use crate::sight::shows;
use crate::site::Site;
use crate::site::Text;
use crate::support;
use iipsrv::geometry::Size;
use iipsrv::raster::Raster;
use serde_json::Value;
use serde_json::json;
use std::fmt::Display;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_iipsrv");
const PROTOCOLS: [&str; 4] = ["iip", "iiif", "deepzoom", "zoomify"];
/// Time limit of one browser run in seconds, without a graphics card and beside all other tests.
const PATIENCE: u32 = 400;

// ---- The browser.

/// The steps of a browser run, in order, and the folder of its screenshots.
pub struct Job {
    folder: Folder,
    settings: Value,
    steps: Vec<Vec<String>>,
}

impl Job {
    /// A run in a window of this size, in pixels.
    pub fn new(w: u32, h: u32) -> Job {
        let settings = json!({ "width": w, "height": h });
        Job {
            folder: Folder::new(),
            settings,
            steps: Vec::new(),
        }
    }

    /// Appends a step: a command of `drive.mjs` and its arguments.
    pub fn then(&mut self, step: &[&str]) {
        self.steps
            .push(step.iter().map(|word| word.to_string()).collect());
    }

    /// Opens a page.
    pub fn open(&mut self, url: impl Display) {
        self.then(&["open", &url.to_string()]);
    }

    /// Runs this script in the page and awaits its end.
    pub fn run(&mut self, script: impl Display) {
        self.then(&["run", &script.to_string()]);
    }

    /// Waits until this expression is true in the page.
    pub fn until(&mut self, condition: impl Display) {
        self.then(&["until", &condition.to_string()]);
    }

    /// Records the value of this script.
    pub fn read(&mut self, name: &str, script: &str) {
        self.then(&["read", name, script]);
    }

    /// Records the value of this script and a screenshot of these elements.
    pub fn look(&mut self, name: &str, script: &str, selector: &str) {
        self.read(name, script);
        let file = self.folder.join(&format!("{name}.png"));
        self.then(&["shot", selector, file.to_str().unwrap()]);
    }

    /// Runs all steps; the test fails if one of them does.
    pub fn done(mut self) -> Saw {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
        assert!(
            Path::new("/usr/bin/chromium").exists(),
            "Chromium is missing: apt-get install chromium"
        );
        assert!(
            tests.join("node_modules/playwright-core").exists(),
            "what drives Chromium is missing: (cd tests/browser && npm ci)"
        );
        self.settings["timeout"] = json!((PATIENCE - 10) * 1000);
        self.settings["steps"] = json!(self.steps);
        let file = |name: &str| std::fs::File::create(self.folder.join(name)).unwrap();
        std::fs::write(self.folder.join("job"), self.settings.to_string()).unwrap();
        let ended = Command::new("timeout")
            .args(["--kill-after=5", &PATIENCE.to_string(), "node", "drive.mjs"])
            .current_dir(tests)
            // Chromium puts its profile there
            .env("TMPDIR", self.folder.join(""))
            .env("HOME", self.folder.join(""))
            .stdin(std::fs::File::open(self.folder.join("job")).unwrap())
            .stdout(file("saw"))
            .stderr(file("said"))
            .status()
            .unwrap();
        assert_ne!(
            ended.code(),
            Some(127),
            "Node.js is missing: apt-get install nodejs npm"
        );
        let said = std::fs::read_to_string(self.folder.join("said")).unwrap();
        assert!(ended.success(), "{ended}\n{said}");
        let saw = std::fs::read_to_string(self.folder.join("saw")).unwrap();
        let mut saw: Value = serde_json::from_str(&saw).unwrap();
        Saw {
            folder: self.folder,
            values: saw["values"].take(),
            complaints: json!([saw["failed"], saw["console"]]),
        }
    }
}

/// The record of a browser run.
pub struct Saw {
    folder: Folder,
    /// Recorded values by name.
    pub values: Value,
    /// Failed requests and messages on the console.
    pub complaints: Value,
}

impl Saw {
    /// Asserts that no request failed and that the console is empty.
    pub fn clean(self) -> Saw {
        assert_eq!(self.complaints, json!([[], []]));
        self
    }

    /// A screenshot of the window.
    pub fn shot(&self, name: &str) -> Raster {
        let png = std::fs::read(self.folder.join(&format!("{name}.png"))).unwrap();
        if let Ok(folder) = std::env::var("SAVE") {
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(Path::new(&folder).join(format!("browser-{name}.png")), &png).unwrap();
        }
        support::png(&png)
    }
}

// ---- The viewer.

/// `iipsrv --http` over the pictures of `fixtures/`, the folder of its log, and its URL.
fn viewer() -> (Group, Folder, String) {
    let folder = Folder::new();
    let address = format!("127.0.0.1:{}", free_port());
    let group = Group::start(folder.command(BINARY).args(["--http", &address]));
    until(|| TcpStream::connect(&address).ok()).expect("it listens");
    (group, folder, format!("http://{address}"))
}

#[test]
#[ignore = "needs Chromium and Node.js"]
fn the_viewer_draws_through_every_protocol() {
    let (_server, log, root) = viewer();
    // the window below the header; overlays on the picture are hidden
    let stage = Size::new(1000, 640);
    let fixed = "header { height: 60px } #tools, #overview, #counts { visibility: hidden }";
    let mut job = Job::new(1000, 700);
    for picture in &PICTURES {
        for protocol in PROTOCOLS {
            job.open(format!("{root}/#id={}&protocol={protocol}", picture.id));
            job.then(&["style", fixed]);
            for (sight, Sight { x, y, z }) in Sight::all(picture, stage) {
                if sight != "whole" {
                    job.run(format!("viewer.goTo({x}, {y}, {z})"));
                }
                job.until("viewer.idle");
                job.look(&format!("{}-{protocol}-{sight}", picture.id), "viewer", "#canvas");
            }
        }
    }
    let saw = job.done().clean();
    for picture in &PICTURES {
        for protocol in PROTOCOLS {
            for (sight, at) in Sight::all(picture, stage) {
                let name = format!("{}-{protocol}-{sight}", picture.id);
                let (all, state) = (at.sides(picture, stage), &saw.values[&name]);
                shows(&saw.shot(&name), picture, all, 0).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
                // the smallest level that is about as large as the drawing, and its visible tiles
                let level = (0..picture.levels - 1)
                    .rev()
                    .find(|k| f64::from(1 << k) * at.z * 0.9 <= 1.0);
                let below = level.unwrap_or(0);
                let [left, top, right, bottom] = seen(all, stage);
                let tiles = |from: i64, to: i64, start: i64, side: u32| {
                    let tile = f64::from(picture.tile << below) * at.z;
                    let last = ((side >> below) - 1) / picture.tile;
                    let at = |v: i64| ((v - start) as f64 / tile) as u32;
                    at(to).min(last) - at(from) + 1
                };
                let drawn =
                    tiles(left, right, all[0], picture.size.w) * tiles(top, bottom, all[1], picture.size.h);
                let expected = json!({
                    "level": picture.levels - 1 - below, "levels": picture.levels, "tilesDrawn": drawn,
                    "tilesLoaded": state["tilesLoaded"], "tilesFailed": 0, "idle": true,
                });
                assert_eq!(state, &expected, "{name}");
            }
        }
    }
    log.log_is_clean();
}

#[test]
#[ignore = "needs Chromium and Node.js"]
fn the_viewer_lists_pictures_and_follows_mouse_and_touch() {
    let (_server, log, root) = viewer();
    let mut job = Job::new(1200, 750);
    job.open(format!("{root}/"));
    job.until("$('list').children.length");
    job.run("for (const image of document.images) image.loading = 'eager'");
    job.until("[...document.images].every(image => image.complete && image.naturalWidth)");
    job.read(
        "list",
        "[...document.images].map(image => image.parentNode.textContent)",
    );
    job.until("$('list').querySelector('a[href$=\"tessera.tif\"] span').dataset.facts === '3072 × 2304, TIFF, 1.3 MB'");
    job.run("globalThis.near = (a, b) => Math.abs(a - b) < 0.1");
    let steps: [(&[&str], &str); 11] = [
        (
            &["click", "#list a[href$='tessera.tif']"],
            "image && whole() && $('gallery').hidden && location.hash === '#id=tessera.tif&protocol=iip'",
        ),
        (&["press", "+"], "here.z === fit() * 1.6"),
        // two notches, centred on the pointer
        (
            &["wheel", "200", "300", "-480"],
            "near(here.z, before.z * 2) && near(before.x - 400 / before.z, here.x - 400 / here.z)",
        ),
        (
            &["drag", "300", "300", "400", "350"],
            "near(here.x, before.x - 100 / here.z) && near(here.y, before.y - 50 / here.z)",
        ),
        (
            &["click", "#tools [data-key='-']"],
            "near(here.z, before.z / 1.6)",
        ),
        (
            &["press", "ArrowRight"],
            "near(here.x, before.x + canvas.clientWidth / 5 / here.z) && here.y === before.y",
        ),
        (
            &["click", "#overview"],
            "near(here.x, 1536) && near(here.y, 1152) && here.z === before.z",
        ),
        (
            &["choose", "#protocol", "zoomify"],
            "here.x === before.x && here.z === before.z && location.hash.includes('zoomify&x=')",
        ),
        (
            &["press", "0"],
            "whole() && location.hash === '#id=tessera.tif&protocol=zoomify'",
        ),
        // a view of the whole picture still shows all of it in a smaller window
        (
            &["click", "#use"],
            "whole() && here.z < before.z && $('panel').offsetWidth > 300",
        ),
        (&["click", "h1 a"], "$('view').hidden && !$('gallery').hidden"),
    ];
    for (step, then) in steps {
        job.run("globalThis.before = { ...here }");
        job.then(step);
        job.until(format!("viewer.idle && {then}"));
        if step == ["click", "#use"] {
            // the picture of the README
            job.look("page", "0", "body");
        }
    }
    let saw = job.done().clean();
    let listed: Vec<_> = crate::list::all().iter().map(|picture| picture.name).collect();
    saw.shot("page");
    let mut shown: Vec<_> = saw.values["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    assert!(shown.is_sorted());
    // the folder holds the picture of the README and a folder, too
    shown.retain(|name| !["viewer.webp", "demo", "demo/"].contains(name));
    shown.sort_by_key(|name| listed.iter().position(|listed| listed == name));
    assert_eq!(shown, listed);
    log.log_is_clean();
}

#[test]
#[ignore = "needs Chromium and Node.js"]
fn the_viewer_fits_on_a_telephone() {
    let (_server, log, root) = viewer();
    let mut job = Job::new(360, 740);
    job.open(format!("{root}/"));
    job.until("$('list').children.length");
    job.run("globalThis.fits = () => document.documentElement.scrollWidth === 360 && document.querySelector('header').offsetHeight < 70");
    job.until("fits()");
    job.then(&["click", "#list a[href$='metadata.tif']"]);
    job.until("image && viewer.idle && whole() && fits()");
    job.then(&["click", "#use"]);
    job.until(
        "image.channels && viewer.idle && whole() && fits() && $('panel').offsetWidth === 360 && canvas.clientHeight > 300",
    );
    job.done().clean();
    log.log_is_clean();
}

#[test]
#[ignore = "needs Chromium and Node.js"]
fn the_viewer_reports_an_image_that_cannot_be_opened() {
    let (_server, _log, root) = viewer();
    let mut job = Job::new(1000, 700);
    job.open(format!("{root}/#id=tessera.tif"));
    job.until("viewer.idle");
    job.run("location.hash = '#id=nothing.tif&protocol=iiif'");
    job.until("viewer.idle && id === 'nothing.tif'");
    job.read("says", "$('counts').textContent");
    job.read("shown", "[...$('stage').children].filter(part => part.checkVisibility({ visibilityProperty: true })).map(part => part.id)");
    let saw = job.done();
    let says = saw.values["says"].as_str().unwrap();
    assert!(says.starts_with("This image cannot be opened: 404"), "{says}");
    assert_eq!(saw.values["shown"], json!(["counts", "live"]));
    assert_eq!(
        saw.complaints[0],
        json!([format!("404 {root}/iiif/nothing.tif/info.json")])
    );
}

// ---- OpenSeadragon.

/// The site of the README behind nginx, with the pictures and the files that the script `pages` puts into `www`; and its URL.
pub fn site(pages: &str, more: &'static str) -> (Site, String) {
    let (mut site, back, port) = (Site::new(), free_port(), free_port());
    site.more = more;
    for picture in &PICTURES {
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("fixtures")
            .join(picture.id);
        std::fs::copy(from, site.folder.join("images").join(picture.id)).unwrap();
    }
    let script = format!("www='{}'\ncd tests/browser\n{pages}", site.path("www"));
    assert!(
        site.sh(&script).status().unwrap().success(),
        "(cd tests/browser && npm ci)"
    );
    site.bind(&format!("127.0.0.1:{back}"));
    let pages = format!("root {};\ninclude /etc/nginx/mime.types;", site.path("www"));
    let snippet = Text::nginx(&format!("127.0.0.1:{back}"), Some(port));
    site.nginx(snippet, &pages, port);
    (site, format!("http://127.0.0.1:{port}"))
}

/// The code that the viewer suggests for OpenSeadragon, for each picture and protocol.
fn lines(root: &str) -> Saw {
    let mut job = Job::new(1000, 700);
    for picture in &PICTURES {
        for protocol in PROTOCOLS {
            job.open(format!("{root}/#id={}&protocol={protocol}", picture.id));
            job.until("document.querySelector('#panel pre')");
            let name = format!("{}-{protocol}", picture.id);
            job.read(&name, "document.querySelector('#panel pre').textContent");
        }
    }
    job.done()
}

/// Appended to that code: functions that wait for a picture, move in it and report the position.
const OPENSEADRAGON: &str = "
const seadragon = OpenSeadragon.getViewer('osd'), item = () => seadragon.world.getItemAt(0), failed = [];
for (const name of ['open-failed', 'add-item-failed', 'tile-load-failed'])
  seadragon.addHandler(name, event => failed.push(`${name} ${event.message}`));
// without a graphics card a frame for every tile is slow
seadragon.addHandler('open', () => item().maxTilesPerFrame = 50);
const drawn = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
async function goTo(x, y, z) {
  seadragon.viewport.zoomTo(item().imageToViewportZoom(z), null, true);
  seadragon.viewport.panTo(item().imageToViewportCoordinates(x, y), true);
  await drawn();
}
function sides() {
  const { x: w, y: h } = item().getContentSize();
  const [leftTop, rightBottom] = [[0, 0], [w, h]].map(([x, y]) => item().imageToViewerElementCoordinates(new OpenSeadragon.Point(x, y)));
  return [leftTop.x, leftTop.y, rightBottom.x, rightBottom.y];
}
";

/// The whole picture, as OpenSeadragon opens it, and the corner of the largest level.
fn sights(picture: &Picture, stage: Size) -> [(&'static str, Sight); 2] {
    let [_, _, corner, _] = Sight::all(picture, stage);
    [("whole", Sight::whole(picture, stage, 1.0)), corner]
}

#[test]
#[ignore = "needs Chromium, Node.js and nginx"]
fn openseadragon_draws_through_every_protocol_behind_nginx() {
    let (_viewer, _log, advice) = viewer();
    let lines = lines(&advice);
    let (site, root) = site("cp -r node_modules/openseadragon \"$www\"", "");
    let package = std::fs::read_to_string(site.path("www/openseadragon/package.json")).unwrap();
    let package: Value = serde_json::from_str(&package).unwrap();
    let version = package["version"].as_str().unwrap();
    // the height of the suggested code
    let stage = Size::new(1000, 600);
    let mut job = Job::new(stage.w, stage.h);
    for picture in &PICTURES {
        for protocol in PROTOCOLS {
            let name = format!("{}-{protocol}", picture.id);
            let text = Text(lines.values[&name].as_str().unwrap().into())
                .put(
                    &format!("https://cdn.jsdelivr.net/npm/openseadragon@{version}/"),
                    "/openseadragon/",
                )
                .put(&advice, &root);
            let head = "<!DOCTYPE html><meta charset=\"utf-8\"><link rel=\"icon\" href=\"data:,\"><style>body { margin: 0 }</style>";
            let page = format!("{head}\n{}\n<script>{OPENSEADRAGON}</script>\n", text.0);
            std::fs::write(site.path(&format!("www/{name}.html")), page).unwrap();
            job.open(format!("{root}/{name}.html"));
            // the buttons of OpenSeadragon
            job.then(&["style", ".openseadragon-canvas ~ * { opacity: 0 }"]);
            for (sight, Sight { x, y, z }) in sights(picture, stage) {
                if sight != "whole" {
                    job.run(format!("goTo({x}, {y}, {z})"));
                }
                job.until("item()?.getFullyLoaded() || failed.length");
                job.run("drawn()");
                job.look(&format!("{name}-{sight}-osd"), "[sides(), failed]", "#osd");
            }
        }
    }
    let saw = job.done().clean();
    for picture in &PICTURES {
        for protocol in PROTOCOLS {
            for (sight, at) in sights(picture, stage) {
                let name = format!("{}-{protocol}-{sight}-osd", picture.id);
                let all = at.sides(picture, stage);
                let [sides, failed] = [0, 1].map(|n| &saw.values[&name][n]);
                assert_eq!(failed, &json!([]), "{name}");
                for (side, found) in all.iter().zip(sides.as_array().unwrap()) {
                    assert!(
                        (found.as_f64().unwrap() - *side as f64).abs() < 0.501,
                        "{name}: {sides}, not {all:?}"
                    );
                }
                shows(&saw.shot(&name), picture, all, 1).unwrap_or_else(|wrong| panic!("{name}: {wrong}"));
            }
        }
    }
    site.stop();
}
