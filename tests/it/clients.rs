//! Popular viewers, from their npm packages, behind nginx: every tile that they request exists, and they show the picture.
//!
//! Each has a page in `tests/browser/pages` that opens a picture over one protocol, or by the server's manifest. The
//! position after opening is checked; `sight` compares the pixels at the size of a smaller level and at the bottom right
//! corner of the largest. Between the sizes of levels each client scales in its own way: those are not compared.

use crate::browser::Job;
use crate::browser::site;
use crate::sight::PICTURES;
use crate::sight::Picture;
use crate::sight::Sides;
use crate::sight::Sight;
use crate::sight::shows;
use crate::site::Site;
use iipsrv::geometry::Size;
use serde_json::Value;
use serde_json::json;
use std::process::Command;

/// Files that are served with the pictures: the pages and the bundles of the packages.
const PAGES: &str = r#"mkdir "$www/npm"
cp pages/* "$www"
cd node_modules
cp -r --parents openseadragon/build/openseadragon leaflet/dist leaflet-iiif/leaflet-iiif.js ol/dist/ol.js \
    mirador/dist/mirador.min.js universalviewer/dist @samvera/clover-iiif/dist/web-components "$www/npm"
# Universal Viewer takes a picture in its style for the name of one
image='data:image/gif;base64,R0lGODlhAQABAIAAAP/wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw=='
mkdir -p "$(dirname "$www/images/$image")"
cp openseadragon/build/openseadragon/images/home_rest.png "$www/images/$image""#;

/// A path for each version of IIIF.
const MORE: &str =
    "export URI_MAP='iiif/1=>IIIF1,iiif/2=>IIIF2,iiif/3=>IIIF3,deepzoom=>DeepZoom,zoomify=>Zoomify'\n";

/// The numbers of a JSON array.
fn numbers(value: &Value) -> Vec<f64> {
    let list = value.as_array().unwrap();
    list.iter().map(|n| n.as_f64().unwrap()).collect()
}

/// Asserts that the client shows these pictures over these protocols. `own` lists parts of console messages that do not
/// depend on the server.
fn draws(client: &str, sources: &[&str], pictures: &[Picture], own: &[&str]) {
    let (site, root) = site(PAGES, MORE);
    draws_from((site, &root), client, sources, pictures, own);
}

/// [`draws`] from this site.
fn draws_from(
    (site, root): (Site, &str),
    client: &str,
    sources: &[&str],
    pictures: &[Picture],
    own: &[&str],
) {
    let mut job = Job::new(1000, 600);
    let all = || {
        sources
            .iter()
            .flat_map(|source| pictures.iter().map(move |picture| (source, picture)))
    };
    for (source, picture) in all() {
        let Picture {
            id,
            size: Size { w, h },
            tile,
            ..
        } = picture;
        job.open(format!(
            "{root}/{client}.html#id={id}&source={source}&width={w}&height={h}&tile={tile}"
        ));
        job.until("client?.settled()");
        let name = |sight: &str| format!("{client}-{source}-{id}-{sight}");
        job.read(&name("opened"), SIDES);
        for (sight, script) in SIGHTS {
            job.run(script);
            job.run("drawn()");
            job.until("arrived()");
            job.run("drawn()");
            job.look(&name(sight), SIDES, "#stage");
        }
    }
    let saw = job.done();
    let complaints = saw
        .complaints
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|list| list.as_array().unwrap());
    let ours: Vec<_> = complaints
        .filter(|said| !own.iter().any(|words| said.as_str().unwrap().contains(words)))
        .collect();
    assert!(ours.is_empty(), "{client}: {ours:?}");
    for (source, picture) in all() {
        let name = |sight: &str| format!("{client}-{source}-{}-{sight}", picture.id);
        let read = |sight: &str| {
            let [stage, sides] = [0, 1].map(|n| numbers(&saw.values[name(sight)][n]));
            (Size::new(stage[0] as u32, stage[1] as u32), sides)
        };
        let (stage, sides) = read("opened");
        // after opening, the client takes these rows of pixels from the picture to show its rights
        let bar = if client == "universalviewer" { 30.0 } else { 0.0 };
        assert!(
            opened(&sides, stage, bar),
            "{}: {sides:?} on {stage:?}",
            name("opened")
        );
        for (sight, _) in SIGHTS {
            let (stage, sides) = read(sight);
            let right = match sight {
                "whole" => whole(picture, stage),
                _ => Sight::all(picture, stage)[2]
                    .1
                    .sides(picture, stage)
                    .map(|n| n as f64),
            };
            // Leaflet rounds to whole pixels
            let near = sides.iter().zip(right).all(|(a, b)| (a - b).abs() < 0.501);
            assert!(near, "{}: {sides:?}, not {right:?}", name(sight));
            let all: Sides = right.map(|n| n.round() as i64);
            let shown = shows(&saw.shot(&name(sight)), picture, all, 1);
            shown.unwrap_or_else(|wrong| panic!("{}: {wrong}", name(sight)));
        }
    }
    site.stop();
}

/// Names of views, and the function of `client.js` that moves to each.
const SIGHTS: [(&str, &str); 2] = [("whole", "goToWhole()"), ("corner", "goToCorner()")];

/// A script for the size of the stage and the sides of the picture on it.
const SIDES: &str = "[stage(), sides()]";

/// Whether the whole picture is on the stage, centred, and large: some clients keep a margin or scale by powers of two.
/// `bar`: rows of pixels that the stage may have lost since.
fn opened(sides: &[f64], stage: Size, bar: f64) -> bool {
    let (w, h) = (f64::from(stage.w), f64::from(stage.h));
    let share = ((sides[2] - sides[0]) / w).max((sides[3] - sides[1]) / (h + bar));
    let middle = (sides[0] + sides[2] - w).abs() < 1.5 && (sides[1] + sides[3] - h).abs() < 1.5;
    middle && (0.4..1.001).contains(&share)
}

/// Sides of the whole picture at the size of a level, as `goToWhole` places it.
fn whole(picture: &Picture, stage: Size) -> [f64; 4] {
    let fits =
        |halvings: &u32| picture.size.w <= stage.w << halvings && picture.size.h <= stage.h << halvings;
    let share = f64::from(1 << (0..16).find(fits).unwrap());
    let [w, h] = [picture.size.w, picture.size.h].map(|side| f64::from(side) / share);
    let start = |side: f64, stage: u32| ((f64::from(stage) - side) / 2.0).floor();
    let (left, top) = (start(w, stage.w), start(h, stage.h));
    [left, top, left + w, top + h]
}

/// For clients that are built on OpenSeadragon: they request the same tiles and are slow to start.
const FEW: &[Picture] = PICTURES.split_at(2).0;

/// Console messages of Mirador that do not depend on the server.
const MIRADOR: [&str; 2] = [
    "element.ref was removed in React 19",
    "The result function returned its own inputs",
];

const ALL: [&str; 6] = ["iip", "iiif1", "iiif2", "iiif3", "deepzoom", "zoomify"];

#[test]
#[ignore = "needs Chromium, Node.js and nginx"]
fn openseadragon() {
    draws("openseadragon", &ALL, &PICTURES, &[]);
}

/// A site with the output of `iipsrv export --iiif` for these pictures at `/static/ID`, each with a manifest of one canvas.
fn exported(pictures: &[Picture]) -> (Site, String) {
    let (site, root) = site(PAGES, MORE);
    for Picture { id, size, .. } in pictures {
        let (url, folder) = (
            format!("{root}/static/{id}"),
            site.path(&format!("www/static/{id}")),
        );
        let output = Command::new(site.program())
            .args([
                "export",
                &site.path(&format!("images/{id}")),
                "--iiif",
                &url,
                &folder,
            ])
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let (w, h) = (size.w, size.h);
        let service = json!([{ "id": url, "type": "ImageService3", "profile": "level0" }]);
        let body = json!({
            "id": format!("{url}/full/max/0/default.jpg"), "type": "Image", "format": "image/jpeg", "width": w, "height": h,
            "service": service,
        });
        let page = json!([{ "id": format!("{url}/page"), "type": "AnnotationPage", "items": [{
            "id": format!("{url}/painting"), "type": "Annotation", "motivation": "painting", "target": format!("{url}/canvas"),
            "body": body,
        }] }]);
        let manifest = json!({
            "@context": "http://iiif.io/api/presentation/3/context.json",
            "id": format!("{url}/manifest.json"), "type": "Manifest", "label": { "none": [id] },
            "items": [{ "id": format!("{url}/canvas"), "type": "Canvas", "width": w, "height": h, "items": page }],
        });
        std::fs::write(format!("{folder}/manifest.json"), manifest.to_string()).unwrap();
    }
    (site, root)
}

/// The files of a level 0 service, without the server: they include every tile that these clients request.
#[test]
#[ignore = "needs Chromium, Node.js and nginx"]
fn openseadragon_opens_exported_files() {
    let (site, root) = exported(&PICTURES);
    draws_from((site, &root), "openseadragon", &["static"], &PICTURES, &[]);
}

#[test]
#[ignore = "needs Chromium, Node.js and nginx"]
fn mirador_opens_exported_files() {
    let (site, root) = exported(FEW);
    draws_from((site, &root), "mirador", &["static"], FEW, &MIRADOR);
}

#[test]
#[ignore = "needs Chromium, Node.js and nginx"]
fn openlayers() {
    draws(
        "openlayers",
        &["iip", "iiif1", "iiif2", "iiif3", "zoomify"],
        &PICTURES,
        &[],
    );
}

#[test]
#[ignore = "needs Chromium, Node.js and nginx"]
fn leaflet_iiif() {
    draws("leaflet", &["iiif1", "iiif2", "iiif3"], &PICTURES, &[]);
}

#[test]
#[ignore = "needs Chromium, Node.js and nginx"]
fn mirador() {
    draws("mirador", &["iiif2", "iiif3"], FEW, &MIRADOR);
}

#[test]
#[ignore = "needs Chromium, Node.js and nginx"]
fn universal_viewer() {
    draws("universalviewer", &["iiif2", "iiif3"], FEW, &[]);
}

#[test]
#[ignore = "needs Chromium, Node.js and nginx"]
fn clover() {
    draws(
        "clover",
        &["iiif2", "iiif3"],
        FEW,
        &["Tabs is changing from uncontrolled to controlled"],
    );
}

#[test]
fn the_readme_names_the_versions_that_are_tested() {
    let readme = include_str!("../../README.md");
    let (packages, bundles) = (
        include_str!("../browser/package.json"),
        include_str!("../browser/bundles.mjs"),
    );
    for (client, package) in [
        ("OpenSeadragon", "openseadragon"),
        ("OpenLayers", "ol"),
        ("Leaflet-IIIF", "leaflet-iiif"),
        ("Mirador", "mirador"),
        ("Universal Viewer", "universalviewer"),
        ("Clover", "clover-iiif"),
    ] {
        let after = [packages, bundles].map(|text| {
            let names = [
                format!("{package}\": \""),
                format!("{package}': ["),
                format!("{package}: ["),
            ];
            names.iter().find_map(|name| text.split(name).nth(1))
        });
        let text = after.into_iter().flatten().next().expect(package);
        let version = text
            .trim_start_matches([' ', '\n', '\''])
            .split(['"', '\''])
            .next()
            .unwrap();
        assert!(
            readme.contains(&format!("\n| {client} | {version} |")),
            "{client} {version}"
        );
        // and so does the code that the viewer suggests
        let viewer = include_str!("../../src/server/viewer.html");
        assert!(
            viewer.contains(&format!("'{client} {version}'"))
                && viewer.contains(&format!("{package}@{version}/")),
            "{client} {version}"
        );
    }
}
