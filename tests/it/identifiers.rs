//! Every encoding of an identifier, and the public address of an image: behind proxies, in a query, from the variables of a
//! web server.

use crate::support::config;
use crate::support::service;
use crate::support::text;
use iipsrv::geometry::Size;
use iipsrv::http::Http;
use iipsrv::service::Service;
use iipsrv::source::synthetic::Synthetic;
use serde_json::Value;

/// The map of `--http`.
const MAP: (&str, &str) = (
    "URI_MAP",
    "iiif/2=>IIIF2,iiif/3=>IIIF3,iiif=>IIIF,deepzoom=>DeepZoom,zoomify=>Zoomify",
);

/// Identifiers that need escaping, and their canonical encoding in a path.
const NAMES: [(&str, &str); 12] = [
    ("a/b.tif", "a/b.tif"),
    ("a/b.tif", "a%2Fb.tif"),
    ("a/b.tif", "a%2fb%2Etif"),
    ("a b+c.tif", "a%20b+c.tif"),
    ("a b+c.tif", "a%20b%2Bc.tif"),
    ("'q\"<>&=;.tif", "'q%22%3C%3E&=;.tif"),
    ("100%.tif", "100%25.tif"),
    ("what?#.tif", "what%3F%23.tif"),
    ("ü 日本.tif", "%C3%BC%20%E6%97%A5%E6%9C%AC.tif"),
    ("info.json", "info.json"),
    ("full/max/0/default.jpg", "full/max/0/default.jpg"),
    // a folder that is named like a version of IIIF
    ("2/a.tif", "2%2Fa.tif"),
];

fn library(vars: &[(&str, &str)]) -> Service {
    let image = || Synthetic::halving(Size::new(300, 200), Size::new(256, 256), 3);
    NAMES
        .iter()
        .fold(Service::new(config(vars)), |service, (name, _)| {
            service.with_image(name, image())
        })
}

fn id(service: &Service, http: Http) -> String {
    let reply = service.respond(http);
    assert_eq!(reply.status, 200, "{}", text(&reply));
    let info: Value = serde_json::from_slice(&reply.body).unwrap();
    info["id"].as_str().unwrap().into()
}

#[test]
fn every_encoding_in_a_path_finds_the_image_and_gives_one_id() {
    let service = library(&[MAP]);
    for (name, spelt) in NAMES {
        let found = id(&service, Http::get(&format!("/iiif/{spelt}/info.json")));
        assert_eq!(found, format!("http://localhost/iiif/{spelt}"), "{name}");
        for uri in [
            format!("/iiif/{spelt}/full/max/0/default.jpg"),
            format!("/deepzoom/{spelt}.dzi"),
            format!("/deepzoom/{spelt}_files/9/0_0.jpg"),
            format!("/zoomify/{spelt}/ImageProperties.xml"),
            format!("/zoomify/{spelt}/TileGroup0/0-0-0.png"),
        ] {
            let reply = service.respond(Http::get(&uri));
            assert_eq!(reply.status, 200, "{uri}: {}", text(&reply));
            if let Some(links) = reply.header("Link") {
                assert!(
                    links.starts_with(&format!("<http://localhost/iiif/{spelt}/full/max/0/")),
                    "{links}"
                );
            }
        }
    }
}

#[test]
fn every_encoding_in_a_query_finds_the_image() {
    let service = library(&[]);
    for (name, spelt) in NAMES {
        // in a query a plus is a space, and an ampersand ends the value
        let spelt = spelt.replace('+', "%2B").replace('&', "%26");
        for query in [
            format!("FIF={spelt}&JTL=0,0"),
            format!("IIIF={spelt}/full/max/0/default.jpg"),
            format!("DeepZoom={spelt}.dzi"),
            format!("Zoomify={spelt}/TileGroup0/0-0-0.jpg"),
        ] {
            let reply = service.respond(Http::get(&format!("/fcgi-bin/iipsrv.fcgi?{query}")));
            assert_eq!(reply.status, 200, "{name} {query}: {}", text(&reply));
        }
        let found = id(&service, Http::get(&format!("/x.fcgi?IIIF={spelt}/info.json")));
        assert_eq!(found, format!("http://localhost/x.fcgi?IIIF={spelt}"));
        // the whole value encoded, including the slashes before the parameters
        let whole = format!("{spelt}/info.json").replace('/', "%2F");
        let found = id(&service, Http::get(&format!("/x.fcgi?IIIF={whole}")));
        let again = found.strip_prefix("http://localhost").unwrap();
        assert_eq!(
            id(&service, Http::get(&format!("{again}/info.json"))),
            found,
            "{name}"
        );
    }
    let blank = service.respond(Http::query("FIF=a+b%2Bc.tif&obj=Max-size"));
    assert_eq!(text(&blank), "Max-size:300 200\r\n");
}

#[test]
fn a_slash_may_be_encoded_twice() {
    let service = library(&[MAP]);
    for uri in ["/iiif/a%252Fb.tif", "/iiif/a%252fb.tif"] {
        assert_eq!(
            id(&service, Http::get(&format!("{uri}/info.json"))),
            format!("http://localhost{uri}")
        );
        assert_eq!(
            service
                .respond(Http::get(&format!("{uri}/full/50,/0/default.jpg")))
                .status,
            200
        );
    }
}

#[test]
fn a_path_that_the_web_server_rewrote_to_a_query_keeps_its_address() {
    let service = library(&[]);
    let rewritten =
        |query: &str, uri: &str| Http::query(query).with("REQUEST_URI", uri).with("HTTP_HOST", "h");
    // nginx and Apache decode captured groups, lighttpd does not
    for query in ["IIIF=a%20b+c.tif/info.json", "IIIF=a b%2Bc.tif/info.json"] {
        let http = rewritten(query, "/pictures/a%20b+c.tif/info.json");
        assert_eq!(id(&service, http), "http://h/pictures/a%20b+c.tif", "{query}");
    }
    let reply = service.respond(rewritten("IIIF=a%2Fb.tif", "/pictures/a%2Fb.tif"));
    assert_eq!(
        reply.header("Location"),
        Some("http://h/pictures/a%2Fb.tif/info.json")
    );
}

#[test]
fn without_request_uri_the_address_is_script_name_and_path_info() {
    let service = library(&[MAP]);
    let http = |script: &str, info: &str| {
        Http::new()
            .with("REQUEST_METHOD", "GET")
            .with("QUERY_STRING", "")
            .with("SERVER_NAME", "h")
            .with("SERVER_PORT", "8080")
            .with("SCRIPT_NAME", script)
            .with("PATH_INFO", info)
    };
    for (script, info) in [
        ("/iiif", "/a b+c.tif/info.json"),
        ("", "/iiif/a b+c.tif/info.json"),
        ("/iiif/a b+c.tif/info.json", ""),
        ("/cgi-bin/iipsrv", "/iiif/a b+c.tif/info.json"),
    ] {
        assert_eq!(
            id(&service, http(script, info)),
            "http://h:8080/iiif/a%20b+c.tif",
            "{script} {info}"
        );
    }
    // PATH_INFO is decoded: a percent sign is literal
    assert_eq!(
        id(&service, http("/iiif", "/100%.tif/info.json")),
        "http://h:8080/iiif/100%25.tif"
    );
    let query = http("/iipsrv.fcgi", "").with("QUERY_STRING", "x");
    assert_eq!(
        service.respond(query).status,
        200,
        "the first of two variables counts, and the request is empty"
    );
}

#[test]
fn forwarded_headers_count_only_from_a_trusted_proxy() {
    let lines = [
        ("HTTP_X_FORWARDED_PROTO", "https, http"),
        ("HTTP_X_FORWARDED_HOST", "images.example, inner"),
        ("HTTP_X_FORWARDED_PORT", "8443"),
        ("HTTP_X_FORWARDED_PREFIX", "/museum/"),
    ];
    let with = |lines: &[(&str, &str)]| {
        lines
            .iter()
            .fold(Http::get("/iiif/rgb/info.json"), |http, (name, value)| {
                http.with(name, value)
            })
    };
    let trusting = service(&[MAP, ("TRUST_PROXY", "1")]);
    assert_eq!(id(&service(&[MAP]), with(&lines)), "http://localhost/iiif/rgb");
    assert_eq!(
        id(&trusting, with(&lines)),
        "https://images.example:8443/museum/iiif/rgb"
    );
    for (forwarded, right) in [
        (
            "for=1.2.3.4;proto=https;host=\"a.example:8443\", proto=http;host=b",
            "https://a.example:8443/iiif/rgb",
        ),
        ("Proto=HTTPS", "https://localhost/iiif/rgb"),
        ("for=1.2.3.4", "http://localhost/iiif/rgb"),
        ("nonsense", "http://localhost/iiif/rgb"),
    ] {
        assert_eq!(
            id(&trusting, with(&[("HTTP_FORWARDED", forwarded)])),
            right,
            "{forwarded}"
        );
    }
    // the default port is omitted, and a port in the host is not replaced
    let https = ("HTTP_X_FORWARDED_PROTO", "https");
    for (host, port, right) in [
        ("h", "443", "https://h/iiif/rgb"),
        ("h:1", "8443", "https://h:1/iiif/rgb"),
        ("[::1]", "8443", "https://[::1]:8443/iiif/rgb"),
        ("h\"><script>/", "443", "https://hscript/iiif/rgb"),
    ] {
        let lines = [
            https,
            ("HTTP_X_FORWARDED_HOST", host),
            ("HTTP_X_FORWARDED_PORT", port),
        ];
        assert_eq!(id(&trusting, with(&lines)), right);
    }
    // X-IIIF-ID and BASE_URL take precedence
    let given = [&lines[..], &[("HTTP_X_IIIF_ID", "https://x.org/foo/info.json")]].concat();
    assert_eq!(id(&trusting, with(&given)), "https://x.org/foo");
    let based = service(&[MAP, ("TRUST_PROXY", "1"), ("BASE_URL", "https://base.example/")]);
    assert_eq!(id(&based, with(&lines)), "https://base.example/rgb");
    let target = trusting.respond(Http::get("/iiif/a%2Fb").with("HTTP_FORWARDED", "proto=https;host=h"));
    assert_eq!(target.header("Location"), Some("https://h/iiif/a%2Fb/info.json"));
    // the answer varies by these headers
    let info = trusting.respond(with(&lines));
    for (reply, start) in [
        (&target, "X-IIIF-ID, Forwarded, "),
        (&info, "Accept, X-IIIF-ID, Forwarded, "),
    ] {
        let vary = reply.header("Vary").unwrap();
        assert!(vary.starts_with(start), "{vary}");
        assert!(vary.contains("X-Forwarded-Prefix"), "{vary}");
    }
}

#[test]
fn characters_that_are_invalid_in_addresses_and_headers_are_escaped() {
    let service = library(&[MAP]);
    // a client that does not encode
    let raw = id(&service, Http::get("/iiif/ü 日本.tif/info.json"));
    assert_eq!(raw, "http://localhost/iiif/%C3%BC%20%E6%97%A5%E6%9C%AC.tif");
    let reply = service.respond(Http::get("/iiif/'q\"<>&=;.tif/full/max/0/default.jpg"));
    assert!(
        reply
            .header("Link")
            .unwrap()
            .starts_with("<http://localhost/iiif/'q%22%3C%3E&=;.tif/full/")
    );
    let reply = service.respond(Http::get("/iiif/x\r\nSet-Cookie: a"));
    assert_eq!(
        reply.header("Location"),
        Some("http://localhost/iiif/x%0D%0ASet-Cookie:%20a/info.json")
    );
}

#[test]
fn an_overlong_name_is_a_404_with_a_short_body() {
    let service = library(&[MAP]);
    for length in [300, 5000, 100_000] {
        let long = "x".repeat(length);
        for uri in [
            format!("/iiif/{long}/info.json"),
            format!("/iiif/{long}/full/max/0/default.jpg"),
            format!("/deepzoom/{long}.dzi"),
            format!("/x.fcgi?FIF={long}&JTL=0,0"),
        ] {
            let reply = service.respond(Http::get(&uri));
            assert_eq!(reply.status, 404, "{uri:.40}");
            assert!(reply.body.len() < 400, "{}", text(&reply));
        }
    }
}
