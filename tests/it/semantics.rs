//! HTTP semantics of every protocol (RFC 9110): validators, conditional requests, HEAD, OPTIONS, CORS and errors.

use crate::support;
use crate::support::service;
use crate::support::text;
use iipsrv::http::HeaderLine;
use iipsrv::http::Http;
use iipsrv::http::Reply;
use iipsrv::service::Service;

const VARS: [(&str, &str); 3] = [
    (
        "URI_MAP",
        "iiif/1=>IIIF1,iiif/2=>IIIF2,iiif=>IIIF,deepzoom=>DeepZoom,zoomify=>Zoomify",
    ),
    ("CORS", "*"),
    ("CACHE_CONTROL", "max-age=60"),
];

/// Requests to an image with status 200, and the Vary header.
const ANSWERS: [(&str, Option<&str>); 14] = [
    ("/iiif/rgb/info.json", Some("Accept, X-IIIF-ID")),
    ("/iiif/2/rgb/info.json", Some("Accept, X-IIIF-ID")),
    ("/iiif/rgb/full/max/0/default.jpg", None),
    ("/iiif/rgb/0,0,256,256/max/45/gray.png", None),
    ("/iiif/1/rgb/full/100,/0/native", Some("Accept")),
    ("/deepzoom/rgb.dzi", None),
    ("/deepzoom/rgb_files/10/1_1.jpg", None),
    ("/zoomify/rgb/ImageProperties.xml", None),
    ("/zoomify/rgb/TileGroup0/2-1-1.png", None),
    ("/x.fcgi?FIF=rgb&JTL=2,1", None),
    ("/x.fcgi?FIF=rgb&WID=100&CVT=png", None),
    ("/x.fcgi?FIF=rgb&TIL=2,0-1", None),
    ("/x.fcgi?FIF=rgb&obj=Max-size&obj=Tile-size", None),
    ("/x.fcgi?IIIF=rgb/full/max/0/default.jpg", None),
];

fn ask(service: &Service, method: &str, uri: &str, lines: &[(&str, &str)]) -> Reply {
    let query = uri.split_once('?').map_or("", |(_, query)| query);
    let mut http = Http::new()
        .with("REQUEST_METHOD", method)
        .with("REQUEST_URI", uri)
        .with("QUERY_STRING", query)
        .with("HTTP_HOST", "localhost");
    for (name, value) in lines {
        http.push(name.as_bytes(), value.as_bytes());
    }
    service.respond(http)
}

/// Asserts the header lines that every answer has.
fn is_open(reply: &Reply, about: &str) {
    assert_eq!(reply.header("Access-Control-Allow-Origin"), Some("*"), "{about}");
    assert!(
        reply
            .header("Access-Control-Expose-Headers")
            .unwrap()
            .contains("Link"),
        "{about}"
    );
    assert!(reply.header("Server").unwrap().starts_with("iipsrv/"), "{about}");
    for (index, (name, value)) in reply.headers.iter().enumerate() {
        let twice = reply.headers[..index].iter().any(|(other, _)| other == name);
        assert!(!twice && !value.is_empty(), "{about}: {name}");
        assert!(
            value.bytes().all(|b| (0x20..0x7f).contains(&b)),
            "{about}: {name}: {value}"
        );
    }
}

/// The header lines without the request ID.
fn lines(reply: &Reply) -> Vec<HeaderLine> {
    let lines = reply.headers.iter().filter(|line| line.0 != "X-Request-ID");
    lines.cloned().collect()
}

#[test]
fn every_answer_from_an_image_has_a_validator() {
    let service = service(&VARS);
    for (uri, vary) in ANSWERS {
        let get = |lines: &[(&str, &str)]| ask(&service, "GET", uri, lines);
        // computed, then from the cache
        let (made, reply) = (get(&[]), get(&[]));
        assert_eq!(reply.status, 200, "{uri}: {}", text(&reply));
        assert_eq!((&made.body, lines(&made)), (&reply.body, lines(&reply)), "{uri}");
        is_open(&reply, uri);
        assert_eq!(reply.length, Some(reply.body.len() as u64), "{uri}");
        assert_eq!(reply.header("Vary"), vary, "{uri}");
        assert_eq!(reply.header("Cache-Control"), Some("max-age=60"), "{uri}");
        assert_eq!(
            reply.header("Last-Modified"),
            Some("Sun, 09 Sep 2001 01:46:40 GMT"),
            "{uri}"
        );
        assert!(reply.header("Content-Type").is_some(), "{uri}");
        let etag = reply.header("ETag").unwrap();
        assert!(
            etag.starts_with('"') && etag.ends_with('"') && etag.len() > 2,
            "{uri}: strong"
        );

        let head = ask(&service, "HEAD", uri, &[]);
        assert_eq!(
            (head.status, head.body.len(), head.length),
            (200, 0, reply.length),
            "{uri}"
        );
        assert_eq!(lines(&head), lines(&reply), "{uri}");

        let same = [
            etag.to_string(),
            format!("W/{etag}"),
            format!("\"x,y\", {etag}"),
            "*".into(),
        ];
        let (early, late) = ("Sat, 08 Sep 2001 01:46:40 GMT", "Sat, 06 Nov 2094 08:49:37 GMT");
        let on_time = "Sunday, 09-Sep-01 01:46:40 GMT";
        let known: Vec<Vec<(&str, &str)>> = (same.iter())
            .map(|tags| vec![("HTTP_IF_NONE_MATCH", tags.as_str())])
            .chain([late, on_time].map(|date| vec![("HTTP_IF_MODIFIED_SINCE", date)]))
            .collect();
        for (lines, method) in known
            .iter()
            .flat_map(|lines| ["GET", "HEAD"].map(|method| (lines, method)))
        {
            let reply = ask(&service, method, uri, lines);
            assert_eq!(
                (reply.status, reply.body.len(), reply.length),
                (304, 0, None),
                "{uri} {lines:?}"
            );
            is_open(&reply, uri);
            assert_eq!(reply.header("ETag"), Some(etag), "{uri}");
            assert_eq!(reply.header("Vary"), vary, "{uri}");
            assert_eq!(reply.header("Cache-Control"), Some("max-age=60"), "{uri}");
        }
        let other = ("HTTP_IF_NONE_MATCH", "\"other\"");
        for lines in [
            vec![other],
            vec![other, ("HTTP_IF_MODIFIED_SINCE", late)],
            vec![("HTTP_IF_MODIFIED_SINCE", early)],
            vec![("HTTP_IF_MODIFIED_SINCE", "yesterday")],
        ] {
            assert_eq!(get(&lines).body, reply.body, "{uri} {lines:?}");
        }
    }
}

#[test]
fn equal_bytes_have_the_same_etag_and_different_ones_do_not() {
    let (one, two) = (service(&VARS), service(&VARS));
    let tag =
        |service: &Service, uri: &str| ask(service, "GET", uri, &[]).header("ETag").unwrap().to_string();
    let mut tags: Vec<_> = ANSWERS
        .iter()
        .map(|(uri, _)| (tag(&one, uri), ask(&one, "GET", uri, &[]).body))
        .collect();
    for ((uri, _), (known, _)) in ANSWERS.iter().zip(&tags) {
        assert_eq!(tag(&two, uri), *known, "{uri} in another process");
    }
    // two requests with one plan have one ETag
    assert_eq!(tags[2].0, tags[13].0);
    tags.sort();
    for pair in tags.windows(2) {
        // answers with the same ETag have equal bytes
        assert!(pair[0].0 != pair[1].0 || pair[0].1 == pair[1].1, "{}", pair[0].0);
    }
    tags.dedup();
    assert_eq!(tags.len(), ANSWERS.len() - 1);
    // settings that change the bytes change the ETag
    let tile = ANSWERS[6].0;
    for setting in [
        ("JPEG_QUALITY", "30"),
        ("MAX_ICC", "0"),
        ("CODEC_PASSTHROUGH", "0"),
        // settings of rotated pictures and of JPEG 2000
        ("ORIENTATION", "1"),
        ("MAX_LAYERS", "1"),
        ("KAKADU_READMODE", "1"),
    ] {
        let changed = service(&[&VARS[..], &[setting]].concat());
        assert_ne!(tag(&one, tile), tag(&changed, tile), "{setting:?}");
    }
}

#[test]
fn conditions_apply_to_get_only() {
    let service = service(&VARS);
    let mut http = Http::new()
        .with("REQUEST_METHOD", "POST")
        .with("HTTP_IF_NONE_MATCH", "*");
    http.body = b"FIF=rgb&JTL=2,1".to_vec();
    let reply = service.respond(http);
    assert_eq!(
        (reply.status, reply.header("Content-Type")),
        (200, Some("image/jpeg"))
    );
}

#[test]
fn options_are_answered() {
    let service = service(&VARS);
    for uri in ANSWERS
        .iter()
        .map(|(uri, _)| *uri)
        .chain(["/iiif/nope", "*", "/x.fcgi"])
    {
        let reply = ask(&service, "OPTIONS", uri, &[("HTTP_ORIGIN", "http://other")]);
        assert_eq!(
            (reply.status, reply.body.len(), reply.length),
            (204, 0, None),
            "{uri}"
        );
        is_open(&reply, uri);
        assert_eq!(reply.header("Allow"), Some("GET, HEAD, POST, OPTIONS"));
        assert!(
            reply
                .header("Access-Control-Allow-Methods")
                .unwrap()
                .contains("GET")
        );
        assert!(
            reply
                .header("Access-Control-Allow-Headers")
                .unwrap()
                .contains("X-Requested-With")
        );
        // scripts that show restricted pictures send this header
        assert!(
            reply
                .header("Access-Control-Allow-Headers")
                .unwrap()
                .contains("Authorization")
        );
        assert!(reply.header("Access-Control-Max-Age").is_some());
        for method in ["PUT", "DELETE", "PATCH", "TRACE"] {
            let reply = ask(&service, method, uri, &[]);
            assert_eq!(
                (reply.status, reply.header("Allow")),
                (405, Some("GET, HEAD, POST, OPTIONS"))
            );
            is_open(&reply, uri);
        }
    }
}

#[test]
fn without_cors_no_cors_headers_are_sent() {
    let service = service(&VARS[..1]);
    for uri in ANSWERS
        .iter()
        .map(|(uri, _)| *uri)
        .chain(["/iiif/rgb", "/iiif/nope/info.json"])
    {
        let reply = ask(&service, "GET", uri, &[]);
        let lines = reply
            .headers
            .iter()
            .filter(|(name, _)| name.starts_with("Access-Control"));
        assert_eq!(lines.count(), 0, "{uri}");
    }
}

#[test]
fn a_redirect_is_absolute_cacheable_and_allows_cors() {
    let service = service(&VARS);
    for uri in ["/iiif/rgb", "/iiif/a%2Fb", "/iiif/a/b/c/d/e.tif", "/iiif/2/rgb/"] {
        let reply = ask(&service, "GET", uri, &[]);
        assert_eq!((reply.status, reply.length), (303, Some(0)), "{uri}");
        is_open(&reply, uri);
        let target = format!("http://localhost{}/info.json", uri.trim_end_matches('/'));
        assert_eq!(reply.header("Location"), Some(target.as_str()));
        assert_eq!(reply.header("Cache-Control"), Some("max-age=60"));
    }
}

#[test]
fn an_error_is_short_specific_and_allows_cors() {
    let service = service(&VARS);
    for (uri, status, says) in [
        ("/iiif/nope/info.json", 404, "no image \"nope\""),
        (
            "/iiif/rgb/full/2000,/0/default.jpg",
            400,
            "larger than the region 1000x701: a larger size must be requested with ^",
        ),
        (
            "/iiif/2/rgb/full/6000,/0/default.jpg",
            400,
            "beyond the limit, width 5000, height 5000",
        ),
        (
            "/iiif/rgb/1,2,3/max/0/default.jpg",
            400,
            "\"1,2,3\" is not a region: full, square, X,Y,W,H or pct:X,Y,W,H",
        ),
        (
            "/iiif/rgb/full/abc/0/default.jpg",
            400,
            "\"abc\" is not a size: max, W, or ,H",
        ),
        (
            "/iiif/2/rgb/full/abc/0/default.jpg",
            400,
            "\"abc\" is not a size: full, W, or ,H",
        ),
        (
            "/iiif/rgb/full/max/north/default.jpg",
            400,
            "not a rotation: 0 to 360 degrees",
        ),
        (
            "/iiif/rgb/full/max/0/best.jpg",
            400,
            "not a quality: default, color, gray or bitonal",
        ),
        (
            "/iiif/rgb/full/max/0/default.bmp",
            400,
            "not a format: jpg, png, webp",
        ),
        (
            "/iiif/rgb/5000,0,10,10/max/0/default.jpg",
            400,
            "region 5000,0,10,10 is empty or outside the image",
        ),
        ("/deepzoom/rgb_files/10/9_9.jpg", 404, "no tile 9,9 at level 10"),
        (
            "/deepzoom/_files/1/0_0.jpg",
            400,
            "DeepZoom takes NAME.dzi or NAME_files/LEVEL/COL_ROW.jpg",
        ),
        ("/zoomify/rgb/TileGroup0/0-9-9.jpg", 404, "no tile 9,9 at level 0"),
        ("/zoomify/rgb/x", 404, "no image \"rgb/x\""),
        (
            "/zoomify//TileGroup0/0-0-0.jpg",
            400,
            "Zoomify takes NAME/ImageProperties.xml",
        ),
        ("/x.fcgi?FIF=nope&JTL=0,0", 404, "1 3 FIF"),
        ("/x.fcgi?FIF=rgb&JTL=9,9", 404, "Error/"),
        ("/x.fcgi?FOO=1", 400, "2 2 FOO"),
    ] {
        let reply = ask(&service, "GET", uri, &[("HTTP_IF_NONE_MATCH", "*")]);
        assert_eq!(reply.status, status, "{uri}: {}", text(&reply));
        assert!(text(&reply).contains(says), "{uri}: {}", text(&reply));
        is_open(&reply, uri);
        assert_eq!(reply.header("Cache-Control"), Some("no-cache"), "{uri}");
        assert_eq!(reply.length, Some(reply.body.len() as u64), "{uri}");
        assert_eq!(reply.header("ETag"), None, "{uri}");
        let head = ask(&service, "HEAD", uri, &[]);
        assert_eq!(
            (head.status, head.length, head.body.len()),
            (status, reply.length, 0),
            "{uri}"
        );
    }
}

#[test]
fn a_setting_lists_the_headers_that_scripts_may_send() {
    for (list, header) in [("X-Token, Range", Some("X-Token, Range")), ("", None)] {
        let service = service(&[VARS[1], ("CORS_HEADERS", list)]);
        let reply = ask(&service, "OPTIONS", "/x.fcgi", &[]);
        assert_eq!(reply.header("Access-Control-Allow-Headers"), header);
    }
}

#[test]
fn an_unmapped_path_is_a_404() {
    let service = service(&[("URI_MAP", "iiif=>IIIF,x=>IIPX")]);
    for path in [
        "/iiif",
        "/iiif/",
        "/x/rgb/info.json",
        "/iiif4/rgb/info.json",
        "/nowhere",
    ] {
        let reply = ask(&service, "GET", path, &[]);
        assert_eq!(reply.status, 404, "{path}");
        assert!(
            text(&reply).contains("nothing is mapped"),
            "{path}: {}",
            text(&reply)
        );
    }
    // the root page, and queries at any path
    for path in ["/fcgi-bin/iipsrv.fcgi", "/", "/nowhere?FIF=rgb&OBJ=Max-size"] {
        assert_eq!(ask(&service, "GET", path, &[]).status, 200, "{path}");
    }
    // without a map only the root page exists
    let service = support::service(&[]);
    assert_eq!(ask(&service, "GET", "/images", &[]).status, 200);
}
