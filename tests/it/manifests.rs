//! Manifests: IIIF Presentation 3.0 and 2.1 for images, files of pages, sequences and folders.

use crate::process::Folder;
use iipsrv::config::Config;
use iipsrv::http::Http;
use iipsrv::http::Reply;
use iipsrv::service::Service;
use serde_json::Value;
use serde_json::json;
use std::path::Path;

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
}

fn service(folder: &Folder, more: &[(&str, &str)]) -> Service {
    let prefix = folder.join("").to_str().unwrap().to_string();
    let prefix = format!("{}/", prefix.trim_end_matches('/'));
    Service::new(Config::read(|name| {
        let own = [
            ("FILESYSTEM_PREFIX", prefix.as_str()),
            ("URI_MAP", "iiif=>IIIF,two=>IIIF2"),
        ];
        let mut all = more.iter().chain(&own);
        all.find(|(known, _)| *known == name)
            .map(|(_, value)| value.to_string())
    }))
}

fn ask(service: &Service, uri: &str) -> Reply {
    service.respond(Http::get(uri))
}

fn json_of(reply: &Reply) -> Value {
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    serde_json::from_slice(&reply.body).unwrap()
}

fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
    let line = reply.headers.iter().find(|(known, _)| *known == name);
    line.map_or("", |(_, value)| value)
}

#[test]
fn an_image_has_a_manifest_of_one_canvas_in_both_versions() {
    let folder = Folder::new();
    std::fs::copy(fixture("metadata.tif"), folder.join("m.tif")).unwrap();
    std::fs::write(
        folder.join("m.tif.info.json"),
        r#"{"label": "A sheet", "metadata": [{"label": "Shelfmark", "value": "X 1"}]}"#,
    )
    .unwrap();
    let service = service(&folder, &[]);
    let reply = ask(&service, "/iiif/m.tif/manifest.json");
    let three = json_of(&reply);
    assert_eq!(
        three["@context"],
        "http://iiif.io/api/presentation/3/context.json"
    );
    assert_eq!(three["id"], "http://localhost/iiif/m.tif/manifest.json");
    assert_eq!(three["label"], json!({"none": ["A sheet"]}));
    assert_eq!(three["metadata"][0]["value"], json!({"none": ["X 1"]}));
    let canvas = &three["items"][0];
    assert_eq!((&canvas["width"], &canvas["height"]), (&json!(1101), &json!(701)));
    let body = &canvas["items"][0]["items"][0]["body"];
    assert_eq!(
        body["service"],
        json!([{"id": "http://localhost/iiif/m.tif", "type": "ImageService3", "profile": "level2"}])
    );
    // every picture in the manifest is served
    for address in [&body["id"], &three["thumbnail"][0]["id"]] {
        let path = address
            .as_str()
            .unwrap()
            .strip_prefix("http://localhost")
            .unwrap();
        assert_eq!(ask(&service, path).status, 200, "{path}");
    }
    let etag = header(&reply, "ETag").to_string();
    let again = service.respond(Http::get("/iiif/m.tif/manifest.json").with("HTTP_IF_NONE_MATCH", &etag));
    assert_eq!(again.status, 304);

    let two = json_of(&ask(&service, "/two/m.tif/manifest.json"));
    assert_eq!(two["@type"], "sc:Manifest");
    assert_eq!(two["label"], "A sheet");
    let resource = &two["sequences"][0]["canvases"][0]["images"][0]["resource"];
    assert_eq!(
        resource["service"]["profile"],
        "http://iiif.io/api/image/2/level2.json"
    );
    let path = resource["@id"]
        .as_str()
        .unwrap()
        .strip_prefix("http://localhost")
        .unwrap();
    assert_eq!(ask(&service, path).status, 200, "{path}");
    let accept = "application/ld+json;profile=\"http://iiif.io/api/presentation/2/context.json\"";
    let asked = service.respond(Http::get("/iiif/m.tif/manifest.json").with("HTTP_ACCEPT", accept));
    assert_eq!(json_of(&asked)["@type"], "sc:Manifest");
}

#[test]
fn a_sequence_has_a_canvas_for_each_of_its_files() {
    let folder = Folder::new();
    std::fs::create_dir(folder.join("a b")).unwrap();
    for angle in ["000", "045", "090"] {
        std::fs::copy(
            fixture("grey.tif"),
            folder.join(&format!("a b/vase_pyr_{angle}_090.tif")),
        )
        .unwrap();
    }
    let service = service(&folder, &[]);
    let all = json_of(&ask(&service, "/iiif/a%20b/vase/manifest.json"));
    let services: Vec<_> = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|canvas| {
            canvas["items"][0]["items"][0]["body"]["service"][0]["id"]
                .as_str()
                .unwrap()
        })
        .collect();
    assert_eq!(services.len(), 3);
    for id in services {
        let path = id.strip_prefix("http://localhost").unwrap();
        assert_eq!(ask(&service, &format!("{path}/info.json")).status, 200, "{path}");
    }
}

#[test]
fn a_folder_is_a_collection_unless_listing_is_disabled() {
    let folder = Folder::new();
    std::fs::create_dir_all(folder.join("maps/old")).unwrap();
    std::fs::copy(fixture("none.tif"), folder.join("maps/a #1.tif")).unwrap();
    std::fs::write(folder.join("maps/notes.txt"), "").unwrap();
    std::fs::write(folder.join("maps/.hidden.tif"), "").unwrap();
    let open = service(&folder, &[]);
    let reply = ask(&open, "/iiif/maps/manifest.json");
    let all = json_of(&reply);
    assert_eq!(
        (&all["type"], &all["label"]),
        (&json!("Collection"), &json!({"none": ["maps"]}))
    );
    assert_eq!(
        all["items"],
        json!([
            {"id": "http://localhost/iiif/maps/a%20%231.tif/manifest.json", "type": "Manifest",
                "label": {"none": ["a #1.tif"]}},
            {"id": "http://localhost/iiif/maps/old/manifest.json", "type": "Collection", "label": {"none": ["old"]}},
        ])
    );
    assert_eq!(
        json_of(&ask(&open, "/iiif/maps/a%20%231.tif/manifest.json"))["type"],
        "Manifest"
    );
    let root = json_of(&ask(&open, "/iiif/manifest.json"));
    assert_eq!(root["items"][0]["id"], "http://localhost/iiif/maps/manifest.json");
    assert_eq!(
        json_of(&ask(&open, "/two/maps/manifest.json"))["members"][1]["@type"],
        "sc:Collection"
    );
    assert_eq!(ask(&open, "/iiif/nothing/manifest.json").status, 404);
    assert_eq!(ask(&open, "/iiif/maps/../manifest.json").status, 404);

    let hidden = service(&folder, &[("DIRECTORY", "0")]);
    assert_eq!(ask(&hidden, "/iiif/maps/manifest.json").status, 404);
    assert_eq!(ask(&hidden, "/iiif/maps/a%20%231.tif/manifest.json").status, 200);
    let off = service(&folder, &[("MANIFESTS", "0")]);
    assert_ne!(ask(&off, "/iiif/maps/a%20%231.tif/manifest.json").status, 200);
}
