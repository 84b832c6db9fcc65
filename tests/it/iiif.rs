//! IIIF Image API: info.json, parameters, versions, redirects and errors.

use crate::support;
use crate::support::bytes;
use crate::support::pixels;
use crate::support::service;
use crate::support::size;
use crate::support::text;
use iipsrv::http::Http;
use iipsrv::http::Reply;
use serde_json::Value;
use serde_json::json;

const MAP: (&str, &str) = ("URI_MAP", "iiif=>IIIF");

fn ask(path: &str) -> Reply {
    service(&[MAP]).respond(Http::get(&format!("/iiif/{path}")))
}

fn info(http: Http, vars: &[(&str, &str)]) -> Value {
    let reply = service(vars).respond(http);
    assert_eq!(reply.status, 200, "{}", text(&reply));
    serde_json::from_slice(&reply.body).unwrap()
}

#[test]
fn info_json_3_describes_the_image() {
    let info = info(Http::get("/iiif/rgb/info.json"), &[MAP]);
    assert_eq!(info["@context"], "http://iiif.io/api/image/3/context.json");
    assert_eq!(info["id"], "http://localhost/iiif/rgb");
    assert_eq!((&info["width"], &info["height"]), (&json!(1000), &json!(701)));
    assert_eq!(
        info["tiles"],
        json!([{"width": 256, "height": 256, "scaleFactors": [1, 2, 4]}])
    );
    assert_eq!(
        info["sizes"],
        json!([{"width": 250, "height": 175}, {"width": 500, "height": 350}, {"width": 1000, "height": 701}])
    );
    assert_eq!(info["maxWidth"], 5000);
}

#[test]
fn the_version_follows_the_accept_header_or_the_configuration() {
    let two = Http::get("/iiif/rgb/info.json").with(
        "HTTP_ACCEPT",
        "application/ld+json;profile=\"http://iiif.io/api/image/2/context.json\"",
    );
    assert_eq!(info(two.clone(), &[MAP])["@id"], "http://localhost/iiif/rgb");
    assert_eq!(
        info(Http::get("/iiif/rgb/info.json"), &[MAP, ("IIIF_VERSION", "2")])["@id"],
        "http://localhost/iiif/rgb"
    );
    let reply = service(&[MAP]).respond(two);
    assert_eq!(reply.header("Vary"), Some("Accept, X-IIIF-ID"));
}

#[test]
fn the_id_is_the_address_that_the_client_used() {
    let id = |http: Http, vars: &[(&str, &str)]| info(http, vars)["id"].as_str().unwrap().to_string();
    let query = Http::get("/fcgi-bin/iipsrv.fcgi?IIIF=rgb/info.json");
    assert_eq!(id(query, &[]), "http://localhost/fcgi-bin/iipsrv.fcgi?IIIF=rgb");
    let rewritten = Http::query("IIIF=rgb/info.json")
        .with("REQUEST_URI", "/pictures/rgb/info.json")
        .with("HTTP_HOST", "h:8080");
    assert_eq!(id(rewritten, &[]), "http://h:8080/pictures/rgb");
    let secure = Http::get("/iiif/rgb/info.json").with("HTTPS", "on");
    assert_eq!(id(secure, &[MAP]), "https://localhost/iiif/rgb");
    assert_eq!(
        id(
            Http::get("/iiif/rgb/info.json"),
            &[MAP, ("BASE_URL", "https://x.org/img/")]
        ),
        "https://x.org/img/rgb"
    );
    let given = Http::get("/iiif/rgb/info.json").with("HTTP_X_IIIF_ID", "https://x.org/foo");
    assert_eq!(id(given, &[MAP]), "https://x.org/foo");
}

#[test]
fn sizes_are_exact() {
    let cases = [
        ("rgb/full/max/0/default.jpg", (1000, 701)),
        // larger than the image; named sizes may be up to 5000
        ("rgb/full/^max/0/default.jpg", (1000, 701)),
        ("rgb/full/300,/0/default.jpg", (300, 210)),
        ("rgb/full/,100/0/default.png", (143, 100)),
        ("rgb/full/pct:10/0/default.jpg", (100, 70)),
        ("rgb/full/100,100/0/default.jpg", (100, 100)),
        ("rgb/full/!100,100/0/default.jpg", (100, 70)),
        ("rgb/full/^2000,/0/default.jpg", (2000, 1402)),
        ("rgb/full/1,/0/default.jpg", (1, 1)),
        ("rgb/square/50,/0/default.jpg", (50, 50)),
        ("rgb/900,600,500,500/max/0/default.jpg", (100, 101)),
        ("rgb/pct:50,50,50,50/max/0/default.jpg", (500, 350)),
        ("rgb/full/100,/90/default.jpg", (70, 100)),
        ("rgb/0,0,1,1/^50,50/0/default.jpg", (50, 50)),
        ("rgb/768,512,232,189/116,95/0/default.jpg", (116, 95)),
        ("rgb/512,512,488,189/244,95/0/default.jpg", (244, 95)),
        ("rgb/512,512,488,189/244,94/0/default.jpg", (244, 94)),
    ];
    for (path, expected) in cases {
        assert_eq!(size(&ask(path)), expected, "{path}");
    }
}

#[test]
fn rotation_follows_mirroring_and_gray_has_one_channel() {
    let plain = pixels(&ask("rgb/0,0,40,20/max/0/default.png"));
    let turned = pixels(&ask("rgb/0,0,40,20/max/!90/default.png"));
    assert_eq!((turned.size.w, turned.size.h), (20, 40));
    // mirrored, then rotated clockwise: the top right corner stays at the top right
    let at = |raster: &iipsrv::raster::Raster, x: usize, y: usize| {
        bytes(raster)[(y * raster.size.w as usize + x) * 3..][..3].to_vec()
    };
    assert_eq!(at(&turned, 19, 0), at(&plain, 39, 0));
    assert_eq!(at(&turned, 0, 39), at(&plain, 0, 19));
    assert_eq!(pixels(&ask("rgb/full/100,/0/gray.png")).channels, 1);
    let bitonal = pixels(&ask("rgb/full/100,/0/bitonal.png"));
    assert!(bytes(&bitonal).iter().all(|&v| v == 0 || v == 255));
    assert!(bytes(&bitonal).contains(&0) && bytes(&bitonal).contains(&255));
}

#[test]
fn alpha_is_kept_if_the_format_has_it_and_composited_over_white_otherwise() {
    assert_eq!(pixels(&ask("rgba/full/max/0/default.png")).channels, 4);
    assert_eq!(pixels(&ask("rgba/full/max/0/default.jpg")).channels, 3);
}

#[test]
fn errors_have_the_right_status() {
    let cases = [
        ("rgb/full/max/0/default.xyz", 400),
        ("rgb/full/abc/0/default.jpg", 400),
        ("rgb/full/,/0/default.jpg", 400),
        ("rgb/full/0,/0/default.jpg", 400),
        ("rgb/full/2000,/0/default.jpg", 400),
        ("rgb/full/max/400/default.jpg", 400),
        ("rgb/full/^5000,/45/default.jpg", 413),
        ("rgb/full/!2000,2000/0/default.jpg", 400),
        ("rgb/full/-100,/0/default.jpg", 400),
        ("rgb/full/max/0/foo.jpg", 400),
        ("rgb/full/max/0/default.jp2", 400),
        ("rgb/2000,2000,10,10/10,/0/default.jpg", 400),
        ("rgb/0,0,0,10/10,/0/default.jpg", 400),
        ("nope/full/max/0/default.jpg", 404),
        ("nope/info.json", 404),
        ("..%2f..%2fetc%2fpasswd/info.json", 404),
        ("rgb%00.jpg/info.json", 400),
    ];
    for (path, status) in cases {
        let reply = ask(path);
        assert_eq!(reply.status, status, "{path}: {}", text(&reply));
        assert_eq!(text(&reply).lines().count(), 1, "{path}");
        assert_eq!(reply.header("Content-Type"), Some("text/plain; charset=utf-8"));
    }
}

#[test]
fn the_bare_identifier_redirects_to_info_json() {
    for (asked, target) in [
        ("/iiif/rgb", "http://localhost/iiif/rgb/info.json"),
        ("/iiif/a/b%20c.tif", "http://localhost/iiif/a/b%20c.tif/info.json"),
        (
            "/iiif/a/b/c/d/e/f.tif",
            "http://localhost/iiif/a/b/c/d/e/f.tif/info.json",
        ),
    ] {
        let reply = service(&[MAP, ("CORS", "*")]).respond(Http::get(asked));
        assert_eq!((reply.status, reply.header("Location")), (303, Some(target)));
        assert_eq!(reply.header("Access-Control-Allow-Origin"), Some("*"));
    }
}

#[test]
fn a_rewritten_identifier_redirects_to_the_address_that_the_client_used() {
    let http = Http::query("IIIF=rgb")
        .with("REQUEST_URI", "/pictures/rgb")
        .with("HTTP_HOST", "h");
    assert_eq!(
        service(&[]).respond(http).header("Location"),
        Some("http://h/pictures/rgb/info.json")
    );
    let http = Http::get("/fcgi-bin/iipsrv.fcgi?IIIF=rgb");
    let target = "http://localhost/fcgi-bin/iipsrv.fcgi?IIIF=rgb/info.json";
    assert_eq!(service(&[]).respond(http).header("Location"), Some(target));
}

#[test]
fn a_query_after_the_path_is_ignored() {
    let service = service(&[MAP]);
    let body = |uri: &str| service.respond(Http::get(uri)).body;
    assert_eq!(
        body("/iiif/rgb/full/50,/0/default.jpg?t=1"),
        body("/iiif/rgb/full/50,/0/default.jpg")
    );
}

/// The target of the Link header with this relation.
fn link(reply: &Reply, relation: &str) -> String {
    let links = reply.header("Link").expect("a Link header");
    let relation = format!("rel=\"{relation}\"");
    let found = links
        .split(", <")
        .find(|link| link.contains(&relation))
        .expect(links);
    let target = found.split('>').next().unwrap();
    target.trim_start_matches('<').into()
}

#[test]
fn a_picture_links_to_its_canonical_address_and_profile() {
    // request, canonical form in version 3, in version 2
    let cases = [
        (
            "full/max/0/default.jpg",
            "full/max/0/default.jpg",
            "full/full/0/default.jpg",
        ),
        (
            "0,0,1000,701/1000,701/0/color.jpg",
            "full/max/0/default.jpg",
            "full/full/0/default.jpg",
        ),
        (
            "0,0,2000,2000/max/360/default.jpeg",
            "full/max/0/default.jpg",
            "full/full/0/default.jpg",
        ),
        (
            "square/50,/0/default.png",
            "149,0,701,701/50,50/0/default.png",
            "149,0,701,701/50,/0/default.png",
        ),
        (
            "pct:50,50,50,50/100,100/!22.50/gray.png",
            "500,351,500,350/100,100/!22.5/gray.png",
            "500,351,500,350/100,100/!22.5/gray.png",
        ),
        (
            "full/pct:10/0.50/bitonal.jpg",
            "full/100,70/0.5/bitonal.jpg",
            "full/100,/0.5/bitonal.jpg",
        ),
        (
            "full/!100,100/90.0/default.jpg",
            "full/100,70/90/default.jpg",
            "full/100,/90/default.jpg",
        ),
    ];
    for version in [3, 2] {
        let service = service(&[MAP, ("IIIF_VERSION", &version.to_string())]);
        let ask = |rest: &str| service.respond(Http::get(&format!("/iiif/rgb/{rest}")));
        for (asked, three, two) in cases {
            let reply = ask(asked);
            assert_eq!(reply.status, 200, "{asked}: {}", text(&reply));
            let canonical = if version == 3 { three } else { two };
            let address = format!("http://localhost/iiif/rgb/{canonical}");
            assert_eq!(link(&reply, "canonical"), address, "{version} {asked}");
            assert_eq!(
                link(&reply, "profile"),
                format!("http://iiif.io/api/image/{version}/level2.json")
            );
            // the canonical address gives the same bytes and is its own canonical form
            let again = ask(canonical);
            assert_eq!((again.status, &again.body), (200, &reply.body), "{canonical}");
            assert_eq!(again.header("ETag"), reply.header("ETag"));
            assert_eq!(link(&again, "canonical"), address);
        }
    }
    assert!(
        link(&ask("rgb/0,0,100,100/^200,/0/default.jpg"), "canonical").ends_with("/^200,200/0/default.jpg")
    );
    assert!(link(&ask("grey/full/max/0/gray.png"), "canonical").ends_with("/full/max/0/default.png"));
}

#[test]
fn a_rotated_picture_fills_its_bounding_box() {
    for (path, expected) in [
        ("rgb/0,0,100,100/max/45/default.jpg", (141, 141)),
        ("rgb/0,0,100,50/max/!30.5/default.jpg", (112, 94)),
        ("rgb/full/100,/0.25/default.png", (100, 70)),
        ("rgb/full/100,/359/gray.png", (101, 72)),
    ] {
        assert_eq!(size(&ask(path)), expected, "{path}");
    }
    let corner = |path: &str, vars: &[(&str, &str)]| {
        let reply = service(&[&[MAP], vars].concat()).respond(Http::get(&format!("/iiif/{path}")));
        let raster = pixels(&reply);
        bytes(&raster)[..usize::from(raster.channels)].to_vec()
    };
    // the corners are transparent if the format has alpha, even if the image has none
    for path in [
        "rgb/0,0,64,64/max/45/default",
        "grey/0,0,64,64/max/45/default",
        "rgba/0,0,64,64/max/45/gray",
    ] {
        assert_eq!(corner(&format!("{path}.png"), &[]), [0; 4], "{path}");
    }
    let near = |pixel: &[u8], right: &[u8]| {
        assert_eq!(pixel.len(), right.len());
        let pairs = pixel.iter().zip(right);
        assert!(
            pairs.clone().all(|(a, b)| a.abs_diff(*b) < 8),
            "{pixel:?} {right:?}"
        );
    };
    near(&corner("rgb/0,0,64,64/max/45/default.jpg", &[]), &[255; 3]);
    near(&corner("grey/0,0,64,64/max/45/default.jpg", &[]), &[255]);
    let blue = [("BACKGROUND", "#204060")];
    near(
        &corner("rgba/0,0,64,64/max/45/default.jpg", &blue),
        &[0x20, 0x40, 0x60],
    );
}

#[test]
fn mirroring_then_rotating_clockwise_is_rotating_anticlockwise_then_mirroring() {
    let right = pixels(&ask("rgb/100,100,80,60/max/!20/default.png"));
    let left = pixels(&ask("rgb/100,100,80,60/max/340/default.png"));
    assert_eq!(right.size, left.size);
    let width = right.size.w as usize;
    let row = |raster: &iipsrv::raster::Raster, y: usize| {
        bytes(raster)
            .as_chunks::<4>()
            .0
            .iter()
            .skip(y * width)
            .take(width)
            .map(|pixel| pixel.to_vec())
            .collect::<Vec<_>>()
    };
    for y in 0..right.size.h as usize {
        let mut mirrored = row(&left, y);
        mirrored.reverse();
        for (a, b) in row(&right, y).iter().zip(&mirrored) {
            assert!(
                a.iter().zip(b).all(|(a, b)| a.abs_diff(*b) <= 1),
                "{a:?} {b:?} in row {y}"
            );
        }
    }
}

#[test]
fn limits_hold_after_rotation_too() {
    let service = service(&[
        MAP,
        ("MAX_WIDTH", "800"),
        ("MAX_HEIGHT", "400"),
        ("MAX_AREA", "200000"),
    ]);
    let ask = |path: &str| service.respond(Http::get(&format!("/iiif/rgb/{path}")));
    let (w, h) = size(&ask("full/max/0/default.jpg"));
    assert!(
        w <= 800 && h <= 400 && (199_000..=200_000).contains(&(w * h)),
        "{w}x{h}"
    );
    assert!((f64::from(w) / f64::from(h) - 1000.0 / 701.0).abs() < 0.01);
    assert_eq!(
        ask("full/^max/0/default.jpg").body,
        ask("full/max/0/default.jpg").body
    );
    let strict = support::service(&[
        ("URI_MAP", "iiif=>IIIF3"),
        ("MAX_WIDTH", "800"),
        ("MAX_HEIGHT", "400"),
        ("MAX_AREA", "200000"),
    ]);
    for (path, limited) in [
        ("full/600,/0/default.jpg", (533, 374)),
        ("full/,401/0/default.jpg", (534, 374)),
        ("0,0,900,10/900,10/0/default.jpg", (800, 10)),
    ] {
        // without a version the size is limited silently, as in iipsrv
        assert_eq!(size(&ask(path)), limited, "{path}");
        let reply = strict.respond(Http::get(&format!("/iiif/rgb/{path}")));
        assert_eq!(reply.status, 400, "{path}");
        assert!(
            text(&reply).contains("limit, width 800, height 400, area 200000"),
            "{}",
            text(&reply)
        );
    }
    // `max` shrinks until its bounding box is within the limits; an explicit size does not
    let (w, h) = size(&ask("full/max/45/default.jpg"));
    assert!(
        w <= 800 && h <= 400 && (140_000..=200_000).contains(&(w * h)),
        "{w}x{h}"
    );
    assert_eq!(ask("full/500,/45/default.jpg").status, 413);
}

#[test]
fn nothing_is_enlarged_unless_allowed() {
    let service = service(&[MAP, ("ALLOW_UPSCALING", "0")]);
    let ask = |path: &str| service.respond(Http::get(&format!("/iiif/rgb/{path}")));
    assert_eq!(ask("full/^2000,/0/default.jpg").status, 400);
    for path in ["full/!2000,2000", "full/^!2000,2000", "full/^max"] {
        assert_eq!(
            size(&ask(&format!("{path}/0/default.jpg"))),
            (1000, 701),
            "{path}"
        );
    }
    // the bounding box of a tile at the edge is no enlargement
    assert_eq!(
        size(&self::ask("rgb/768,512,256,256/!256,256/0/default.jpg")),
        (232, 189)
    );
}

#[test]
fn sizes_follow_the_rules_of_the_version() {
    let service = service(&[("URI_MAP", "iiif/1=>IIIF1,iiif/2=>iiif2,iiif/3=>IIIF3")]);
    for (path, status) in [
        ("1/rgb/full/full/0/native.jpg", 200),
        ("2/rgb/full/full/0/default.jpg", 200),
        ("3/rgb/full/full/0/default.jpg", 400),
        ("1/rgb/full/1200,/0/native.jpg", 200),
        ("2/rgb/full/1200,/0/default.jpg", 200),
        ("3/rgb/full/1200,/0/default.jpg", 400),
        ("2/rgb/full/^1200,/0/default.jpg", 400),
        ("3/rgb/full/^1200,/0/default.jpg", 200),
        ("2/rgb/full/0,/0/default", 400),
        ("1/rgb/nowhere/full/0/native", 400),
    ] {
        let reply = service.respond(Http::get(&format!("/iiif/{path}")));
        assert_eq!(reply.status, status, "{path}: {}", text(&reply));
    }
    let reply = service.respond(Http::get("/iiif/1/rgb/full/100,/0/native.jpg"));
    assert!(link(&reply, "profile").ends_with("image-api/1.1/compliance.html#level2"));
    assert!(!reply.header("Link").unwrap().contains("canonical"));
    // version 1.1 without a suffix: the Accept header selects the format
    let bare = Http::get("/iiif/1/rgb/full/100,/0/native");
    for (accept, kind) in [
        ("*/*", "image/jpeg"),
        ("image/png, image/jpeg;q=0.5", "image/png"),
    ] {
        let reply = service.respond(bare.clone().with("HTTP_ACCEPT", accept));
        assert_eq!(
            (reply.header("Content-Type"), reply.header("Vary")),
            (Some(kind), Some("Accept"))
        );
    }
}

#[test]
fn unversioned_iiif_accepts_the_syntax_of_all_versions_and_a_named_version_only_its_own() {
    let service = service(&[("URI_MAP", "iiif=>IIIF,iiif3=>IIIF3,iiif2=>IIIF2")]);
    let status = |path: &str| service.respond(Http::get(path)).status;
    for (words, plain, two, three) in [
        ("full/full/0/default.jpg", 200, 200, 400),
        ("full/full/0/native.jpg", 200, 400, 400),
        ("full/max/0/grey.jpeg", 200, 400, 400),
        ("full/^max/0/default.jpg", 200, 400, 200),
        ("Full/MAX/0/Default.JPG", 200, 400, 400),
        ("full/300.5,/0/default.jpg", 200, 400, 400),
        ("-50,-10,200,150/max/0/default.jpg", 200, 400, 400),
        ("full/max/0/gray", 200, 400, 400),
        ("full/1200,/0/default.jpg", 400, 200, 400),
        ("full/6000,/0/default.jpg", 400, 400, 400),
        ("full/^6000,/0/default.jpg", 200, 400, 400),
    ] {
        assert_eq!(
            ["iiif", "iiif2", "iiif3"].map(|prefix| status(&format!("/{prefix}/rgb/{words}"))),
            [plain, two, three],
            "{words}"
        );
    }
    let cut = service.respond(Http::get("/iiif/rgb/-50,-10,200,150/max/0/default.jpg"));
    assert_eq!(size(&cut), (150, 140));
    assert_eq!(status("/iiif/rgb/-50,-10,50,150/max/0/default.jpg"), 400);
}

#[test]
fn the_version_decides_whether_sizes_beyond_the_image_are_served() {
    for vars in [("COMPAT", "1.1"), ("IIIF_VERSION", "2")] {
        let ask = |more: (&str, &str), path: &str| {
            support::service(&[MAP, vars, more]).respond(Http::get(&format!("/iiif/rgb/{path}")))
        };
        let usual = ("ALLOW_UPSCALING", "1");
        assert_eq!(size(&ask(usual, "full/1500,/0/default.jpg")), (1500, 1052));
        assert_eq!(size(&ask(usual, "full/9000,/0/default.jpg")), (5000, 3505));
        let never = ("ALLOW_UPSCALING", "0");
        assert_eq!(size(&ask(never, "full/9000,/0/default.jpg")), (1000, 701));
        assert!(text(&ask(usual, "info.json")).contains("http://iiif.io/api/image/2/context.json"));
    }
    let named = support::service(&[MAP, ("COMPAT", "1.1"), ("IIIF_VERSION", "3")]);
    assert!(text(&named.respond(Http::get("/iiif/rgb/info.json"))).contains("/image/3/context.json"));
}

#[test]
fn an_extra_slash_redirects_permanently_to_the_address_without_it() {
    let service = service(&[MAP]);
    for (asked, target) in [
        ("/iiif/rgb/info.json/", "http://localhost/iiif/rgb/info.json"),
        (
            "/iiif/rgb/full/100,/0/default.jpg/",
            "http://localhost/iiif/rgb/full/100,/0/default.jpg",
        ),
        (
            "/iiif/a%2Fb/full/100,/0/default.jpg//",
            "http://localhost/iiif/a%2Fb/full/100,/0/default.jpg",
        ),
        (
            "/fcgi-bin/iipsrv.fcgi?IIIF=rgb/full/%5Emax/0/default.jpg/",
            "http://localhost/fcgi-bin/iipsrv.fcgi?IIIF=rgb/full/%5Emax/0/default.jpg",
        ),
    ] {
        let reply = service.respond(Http::get(asked));
        assert_eq!(
            (reply.status, reply.header("Location")),
            (301, Some(target)),
            "{asked}"
        );
    }
    let rewritten = Http::query("IIIF=rgb/info.json/").with("REQUEST_URI", "/pictures/rgb/info.json/");
    let reply = service.respond(rewritten);
    assert_eq!(
        reply.header("Location"),
        Some("http://localhost/pictures/rgb/info.json")
    );
}

#[test]
fn declared_tiles_are_served_whatever_the_limits() {
    for limit in [
        ("MAX_CVT", "100"),
        ("MAX_AREA", "5000"),
        ("MAX_WIDTH", "7"),
        ("MAX_CVT", "5000"),
    ] {
        let service = support::service(&[("URI_MAP", "iiif=>IIIF3"), limit]);
        let info = service.respond(Http::get("/iiif/rgb/info.json"));
        let info: Value = serde_json::from_slice(&info.body).unwrap();
        let mut asked = 0;
        for grid in info["tiles"].as_array().unwrap() {
            let side = grid["width"].as_u64().unwrap();
            for factor in grid["scaleFactors"].as_array().unwrap() {
                let step = side * factor.as_u64().unwrap();
                for (x, y) in [(0, 0), (1000 / step * step, 701 / step * step)] {
                    let (w, h) = (step.min(1000 - x), step.min(701 - y));
                    if w == 0 || h == 0 {
                        continue;
                    }
                    let factor = step / side;
                    let path = format!(
                        "/iiif/rgb/{x},{y},{w},{h}/{},{}/0/default.jpg",
                        w.div_ceil(factor),
                        h.div_ceil(factor)
                    );
                    let reply = service.respond(Http::get(&path));
                    assert_eq!(reply.status, 200, "{limit:?} {path}: {}", text(&reply));
                    asked += 1;
                }
            }
        }
        assert!(asked >= 3, "{limit:?}");
        // a stored tile is sent whatever its size
        assert_eq!(service.respond(Http::query("FIF=rgb&JTL=2,0")).status, 200);
    }
}
