//! info.json: the features that it lists work, sidecar files extend it, and rights have the form of the version.

use crate::process::Folder;
use crate::support::service;
use crate::support::size;
use crate::support::text;
use iipsrv::geometry::Size;
use iipsrv::http::Http;
use iipsrv::service::Service;
use serde_json::Value;
use serde_json::json;

const MAP: (&str, &str) = ("URI_MAP", "iiif/1=>IIIF1,iiif/2=>IIIF2,iiif/3=>IIIF3,iiif=>IIIF");

fn read(service: &Service, http: Http) -> Value {
    let reply = service.respond(http);
    assert_eq!(reply.status, 200, "{}", text(&reply));
    serde_json::from_slice(&reply.body).unwrap()
}

/// info.json of this version, with these variables.
fn info(version: u8, vars: &[(&str, &str)]) -> Value {
    let service = service(&[&[MAP], vars].concat());
    read(&service, Http::get(&format!("/iiif/{version}/rgb/info.json")))
}

fn words(value: &Value) -> Vec<String> {
    let words = value.as_array().cloned().unwrap_or_default();
    words.iter().map(|word| word.as_str().unwrap().into()).collect()
}

#[test]
fn listed_sizes_and_tiles_are_served() {
    let service = service(&[MAP]);
    for (image, version) in ["rgb", "grey", "rgba"]
        .iter()
        .flat_map(|i| [1, 2, 3].map(|v| (i, v)))
    {
        let ask = |rest: &str| service.respond(Http::get(&format!("/iiif/{version}/{image}/{rest}")));
        let info: Value = serde_json::from_slice(&ask("info.json").body).unwrap();
        let detail = &info["profile"][1];
        let (qualities, formats, side, factors) = match version {
            1 => (
                words(&info["qualities"]),
                words(&info["formats"]),
                &info["tile_width"],
                &info["scale_factors"],
            ),
            2 => (
                words(&detail["qualities"]),
                words(&detail["formats"]),
                &info["tiles"][0]["width"],
                &info["tiles"][0]["scaleFactors"],
            ),
            _ => (
                [vec!["default".into()], words(&info["extraQualities"])].concat(),
                [vec!["jpg".into(), "png".into()], words(&info["extraFormats"])].concat(),
                &info["tiles"][0]["width"],
                &info["tiles"][0]["scaleFactors"],
            ),
        };
        assert!(qualities.len() >= 3 && formats.len() >= 2, "{info}");
        assert_eq!(
            qualities.iter().any(|word| word == "color"),
            *image != "grey",
            "{info}"
        );
        for (quality, format) in qualities.iter().flat_map(|q| formats.iter().map(move |f| (q, f))) {
            let full = if version == 3 { "max" } else { "full" };
            let reply = ask(&format!("full/{full}/0/{quality}.{format}"));
            assert_eq!(reply.status, 200, "{image} {version} {quality}.{format}");
        }
        // the last tile of every factor, with the size of the standard's implementation notes
        let (w, h) = (info["width"].as_u64().unwrap(), info["height"].as_u64().unwrap());
        for factor in factors.as_array().unwrap().iter().map(|f| f.as_u64().unwrap()) {
            let reach = side.as_u64().unwrap() * factor;
            let (x, y) = ((w - 1) / reach * reach, (h - 1) / reach * reach);
            let (rw, rh) = (reach.min(w - x), reach.min(h - y));
            let (tw, th) = (rw.div_ceil(factor), rh.div_ceil(factor));
            let reply = ask(&format!("{x},{y},{rw},{rh}/{tw},{th}/0/{}.jpg", qualities[0]));
            assert_eq!(
                size(&reply),
                (tw as u32, th as u32),
                "{image} {version} factor {factor}"
            );
        }
        for entry in info["sizes"].as_array().into_iter().flatten() {
            let reply = ask(&format!(
                "full/{},{}/0/default.jpg",
                entry["width"], entry["height"]
            ));
            assert_eq!(reply.status, 200, "{image} {version} {entry}");
        }
    }
}

#[test]
fn every_listed_feature_works() {
    let service = service(&[MAP, ("CORS", "*")]);
    for version in [2, 3] {
        let ask = |rest: &str| service.respond(Http::get(&format!("/iiif/{version}/rgb/{rest}")));
        let shown = |region: &str, size: &str, turn: &str| {
            crate::support::pixels(&ask(&format!("{region}/{size}/{turn}/default.png")))
        };
        let full = if version == 3 { "max" } else { "full" };
        let sized = |size: &str| {
            let raster = shown("full", size, "0");
            (raster.size.w, raster.size.h)
        };
        let link = |relation: &str| {
            let reply = ask(&format!("full/{full}/0/default.jpg"));
            reply
                .header("Link")
                .unwrap()
                .contains(&format!("rel=\"{relation}\""))
        };
        let info = ask("info.json");
        let info: Value = serde_json::from_slice(&info.body).unwrap();
        let listed = match version {
            2 => words(&info["profile"][1]["supports"]),
            _ => words(&info["extraFeatures"]),
        };
        assert!(listed.len() >= 5, "{info}");
        for feature in listed {
            let works = match feature.as_str() {
                "canonicalLinkHeader" => link("canonical"),
                "profileLinkHeader" => link("profile"),
                "mirroring" => shown("0,0,40,20", full, "!0") != shown("0,0,40,20", full, "0"),
                "rotationArbitrary" => shown("0,0,100,100", full, "45").size.w == 141,
                "rotationBy90s" => shown("0,0,40,20", full, "270").size == Size::new(20, 40),
                "sizeUpscaling" => sized("^1200,").0 == 1200,
                "sizeAboveFull" => sized("1200,").0 == 1200,
                "sizeByConfinedWh" => sized("!100,100") == (100, 70),
                "sizeByDistortedWh" | "sizeByWh" => sized("100,90") == (100, 90),
                "sizeByH" => sized(",70") == (100, 70),
                "sizeByW" => sized("100,") == (100, 70),
                "sizeByPct" => sized("pct:10") == (100, 70),
                "regionByPct" => shown("pct:10,10,10,10", full, "0") == shown("100,70,100,70", full, "0"),
                "regionByPx" => shown("100,70,100,70", full, "0").size == Size::new(100, 70),
                "regionSquare" => shown("square", full, "0") == shown("149,0,701,701", full, "0"),
                "baseUriRedirect" => ask("").status == 303,
                "cors" => ask("info.json").header("Access-Control-Allow-Origin") == Some("*"),
                "jsonldMediaType" => {
                    let http = Http::get("/iiif/2/rgb/info.json").with("HTTP_ACCEPT", "application/ld+json");
                    let reply = service.respond(http);
                    reply
                        .header("Content-Type")
                        .unwrap()
                        .starts_with("application/ld+json")
                }
                _ => panic!("{feature}: no test"),
            };
            assert!(works, "{version} {feature}");
        }
        if version == 3 {
            let preferred = words(&info["preferredFormats"]);
            assert!(!preferred.is_empty());
            for format in preferred {
                assert_eq!(
                    ask(&format!("full/max/0/default.{format}")).status,
                    200,
                    "{format}"
                );
            }
        }
    }
}

#[test]
fn every_version_has_its_own_form() {
    let one = info(1, &[]);
    assert_eq!(
        one["@context"],
        "http://library.stanford.edu/iiif/image-api/1.1/context.json"
    );
    assert_eq!(one["@id"], "http://localhost/iiif/1/rgb");
    assert_eq!(one["scale_factors"], json!([1, 2, 4]));
    assert_eq!(
        (&one["tile_width"], &one["tile_height"]),
        (&json!(256), &json!(256))
    );
    assert_eq!(one["qualities"], json!(["native", "color", "grey", "bitonal"]));
    let two = info(2, &[("CORS", "*")]);
    assert_eq!(two["@context"], "http://iiif.io/api/image/2/context.json");
    assert_eq!(two["@id"], "http://localhost/iiif/2/rgb");
    assert!(words(&two["profile"][1]["supports"]).contains(&"cors".into()));
    assert!(!words(&info(2, &[])["profile"][1]["supports"]).contains(&"cors".into()));
    let three = info(3, &[]);
    assert_eq!(
        (&three["id"], &three["type"]),
        (&json!("http://localhost/iiif/3/rgb"), &json!("ImageService3"))
    );
    assert!(words(&three["extraFeatures"]).contains(&"sizeUpscaling".into()));
    assert!(!words(&info(3, &[("ALLOW_UPSCALING", "0")])["extraFeatures"]).contains(&"sizeUpscaling".into()));
    let limits = [
        ("MAX_WIDTH", "800"),
        ("MAX_HEIGHT", "400"),
        ("MAX_AREA", "200000"),
    ];
    let limited = info(3, &limits);
    assert_eq!(
        (&limited["maxWidth"], &limited["maxHeight"], &limited["maxArea"]),
        (&json!(800), &json!(400), &json!(200_000))
    );
    let small = json!([{"width": 250, "height": 175}, {"width": 500, "height": 350}]);
    assert_eq!(limited["sizes"], small);
    assert_eq!(info(2, &limits)["profile"][1]["maxArea"], 200_000);
    let unlimited = info(3, &[("MAX_CVT", "-1")]);
    assert!(unlimited.get("maxWidth").is_none() && unlimited.get("maxArea").is_none());
}

#[test]
fn the_prefix_takes_precedence_over_the_accept_header() {
    let service = service(&[MAP]);
    let three = "application/ld+json;profile=\"http://iiif.io/api/image/3/context.json\"";
    for (path, context) in [
        ("/iiif/2/rgb", "image/2/"),
        ("/iiif/1/rgb", "1.1"),
        ("/iiif/rgb", "image/3/"),
    ] {
        let http = Http::get(&format!("{path}/info.json")).with("HTTP_ACCEPT", three);
        let context_of = read(&service, http)["@context"].as_str().unwrap().to_string();
        assert!(context_of.contains(context), "{path}: {context_of}");
    }
}

#[test]
fn json_ld_is_sent_on_request() {
    let service = service(&[MAP]);
    let ask = |accept: &str| service.respond(Http::get("/iiif/rgb/info.json").with("HTTP_ACCEPT", accept));
    let (plain, linked) = (ask("*/*"), ask("application/ld+json"));
    assert_eq!(plain.header("Content-Type"), Some("application/json"));
    assert_eq!(plain.header("Link"), None);
    assert_eq!(
        linked.header("Content-Type"),
        Some("application/ld+json;profile=\"http://iiif.io/api/image/3/context.json\"")
    );
    assert_ne!(
        plain.header("ETag"),
        linked.header("ETag"),
        "another representation"
    );
    let two = ask("application/json;profile=http://iiif.io/api/image/2/context.json");
    assert_eq!(two.header("Content-Type"), Some("application/json"));
    assert!(
        two.header("Link")
            .unwrap()
            .starts_with("<http://iiif.io/api/image/2/context.json>;rel=")
    );
}

#[test]
fn rights_are_written_in_the_terms_of_the_version() {
    let rights_of = |version, copyright: &str| {
        let info = info(version, &[("COPYRIGHT", copyright)]);
        ["rights", "license", "attribution"].map(|key| info[key].as_str().map(String::from))
    };
    let by = "https://creativecommons.org/licenses/by/4.0/";
    let registered = "http://creativecommons.org/licenses/by/4.0/".to_string();
    assert_eq!(rights_of(3, by), [Some(registered), None, None]);
    let in_copyright = "http://rightsstatements.org/vocab/InC/1.0/";
    assert_eq!(rights_of(3, in_copyright)[0].as_deref(), Some(in_copyright));
    assert_eq!(rights_of(3, "https://example.org/ours"), [None, None, None]);
    assert_eq!(rights_of(2, by), [None, Some(by.into()), None]);
    let words = "© \"us\" \\ <them>";
    assert_eq!(rights_of(3, words), [None, None, None]);
    assert_eq!(rights_of(2, words), [None, None, Some(words.into())]);
}

#[test]
fn sidecar_files_are_added() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.join("images")).unwrap();
    let fixture = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/metadata.tif");
    std::fs::copy(fixture, folder.join("images/a.tif")).unwrap();
    let write = |name: &str, text: &str| {
        // one check of the file is valid for 0.1 ms
        std::thread::sleep(std::time::Duration::from_millis(1));
        std::fs::write(folder.join("images").join(name), text).unwrap();
    };
    let prefix = format!("{}/", folder.join("images").display());
    let extra = "\"logo\": \"x\", \"width\": 1";
    let service = service(&[MAP, ("FILESYSTEM_PREFIX", &prefix), ("IIIF_EXTRA_INFO", extra)]);
    let ask = || service.respond(Http::get("/iiif/a.tif/info.json"));
    let info = || read(&service, Http::get("/iiif/a.tif/info.json"));
    let before = info();
    assert_eq!(before["logo"], "x");
    assert_ne!(before["width"], 1, "extra information cannot override the size");
    let physical = before["service"][0].clone();
    assert!(
        physical["id"].is_string() && physical["type"].is_string(),
        "{physical}"
    );
    let header_says = iipsrv::source::tiff::Tiff::open(
        iipsrv::store::open(fixture.as_ref()).unwrap(),
        &Default::default(),
    )
    .unwrap();
    let density = iipsrv::source::Source::header(&header_says)
        .metadata
        .density
        .unwrap();
    let scale = physical["physicalScale"].as_f64().unwrap();
    assert!(
        (scale - 100.0 / density.x.value()).abs() < 1e-9,
        "{scale} cm a pixel"
    );
    let etag = ask().header("ETag").unwrap().to_string();

    write(
        "info.json",
        r#"{"logo": "y", "partOf": [{"id": "i", "type": "t"}]}"#,
    );
    assert_eq!(info()["logo"], "y");
    assert_ne!(ask().header("ETag"), Some(etag.as_str()));
    write(
        "a.tif.info.json",
        r#"{"logo": "z", "id": 5, "service": [{"id": "s", "type": "t"}]}"#,
    );
    let after = info();
    assert_eq!((&after["logo"], &after["id"]), (&json!("z"), &before["id"]));
    assert_eq!(
        (&after["partOf"][0]["id"], &after["service"][0]),
        (&json!("i"), &physical)
    );
    assert_eq!(after["service"][1]["id"], "s");
    // the sidecar file is newer than the image: Last-Modified is its time
    let time = |text: &str| httpdate::parse_http_date(text).unwrap();
    let written = std::fs::metadata(folder.join("images/a.tif.info.json"))
        .unwrap()
        .modified()
        .unwrap();
    let said = time(ask().header("Last-Modified").unwrap());
    assert!(written.duration_since(said).unwrap().as_secs() < 1);
    // malformed and overlong files are ignored
    let long = format!("{{\"a\": \"{}\"}}", "x".repeat(70_000));
    for broken in ["{", "[1]", "null", "", long.as_str()] {
        write("a.tif.info.json", broken);
        assert_eq!(info()["logo"], "y", "{broken:.20}");
    }
    write("a.info.json", r#"{"logo": "w"}"#);
    assert_eq!(info()["logo"], "w", "a name without the image's suffix");
}
