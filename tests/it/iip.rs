//! IIP: the answer of every command, and its errors.

use crate::process::Folder;
use crate::support;
use crate::support::pixels;
use crate::support::query;
use crate::support::service;
use crate::support::size;
use crate::support::text;
use iipsrv::http::Http;
use iipsrv::source::synthetic::sample;

#[test]
fn objects_that_viewers_request_are_exact() {
    let reply = query(
        "FIF=rgb&obj=IIP,1.0&obj=Max-size&obj=Tile-size&obj=Resolution-number&obj=Resolutions&obj=Bits-per-channel\
         &obj=Min-Max-sample-values&obj=Colorspace,*,*&obj=Horizontal-views&obj=Vertical-views",
    );
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("Content-Type"), Some("application/vnd.netfpx"));
    assert_eq!(
        text(&reply),
        "IIP:1.0\r\nMax-size:1000 701\r\nTile-size:256 256\r\nResolution-number:3\r\n\
         Resolutions:250 175,500 350,1000 701\r\nBits-per-channel:8\r\n\
         Min-Max-sample-values: 0  255  0  255  0  255\r\nColorspace,0-2,0:0 0 3 3 0 1 2\r\n\
         Horizontal-views:0\r\nVertical-views:90\r\n"
    );
}

#[test]
fn a_grey_image_has_one_plane_and_basic_info_is_four_lines() {
    assert_eq!(
        text(&query("FIF=grey&OBJ=Basic-info")),
        "IIP-server:3.65\r\nMax-size:500 300\r\nResolution-number:2\r\nColorspace,0-1,0:0 0 1 1 0\r\n"
    );
}

#[test]
fn a_tile_has_the_pixels_of_its_position() {
    let service = service(&[]);
    let raster = pixels(&service.respond(Http::query("FIF=rgb&PTL=2,11")));
    assert_eq!((raster.size.w, raster.size.h), (232, 189));
    let first: Vec<u8> = (0..3).map(|c| sample(768, 512, 0, c)).collect();
    assert_eq!(&crate::support::bytes(&raster)[..3], first);
}

#[test]
fn every_tile_command_gives_the_same_answer() {
    let service = service(&[]);
    let body = |query: &str| service.respond(Http::query(query)).body;
    let tile = body("FIF=rgb&JTL=2,5");
    assert!(!tile.is_empty());
    for spelling in [
        "fif=rgb&jtl=2,5",
        "FIF=rgb&JTLS=0,2,5,0",
        "FIF=rgb&SDS=0,90&JTL=2,5",
        "FIF=rgb&CNT=1.0&JTL=2,5",
        "FIF=grey&FIF=rgb&token=x&JTL=2,5",
        "FIF=rgb&JTL=2,5&JTL=2,6",
    ] {
        assert_eq!(body(spelling), tile, "{spelling}");
    }
    let mut post = Http::new()
        .with("REQUEST_METHOD", "POST")
        .with("CONTENT_LENGTH", "15");
    post.body = b"FIF=rgb&JTL=2,5".to_vec();
    assert_eq!(service.respond(post).body, tile);
    assert_ne!(body("FIF=rgb&QLT=20&JTL=2,5"), tile);
}

#[test]
fn regions_are_exported_at_the_requested_size() {
    assert_eq!(size(&query("FIF=rgb&WID=300&CVT=jpeg")), (300, 210));
    assert_eq!(size(&query("FIF=rgb&HEI=300&CVT=JPG")), (428, 300));
    assert_eq!(size(&query("FIF=rgb&WID=300&HEI=100&CVT=png")), (143, 100));
    assert_eq!(size(&query("FIF=rgb&CVT=jpeg")), (1000, 701));
    assert_eq!(
        size(&query("FIF=rgb&RGN=0.1,0.2,0.3,0.4&WID=200&CVT=jpeg")),
        (200, 187)
    );
    assert_eq!(size(&query("FIF=rgb&WID=2000&CVT=jpeg")), (2000, 1402));
    assert_eq!(
        size(&service(&[("MAX_CVT", "400")]).respond(Http::query("FIF=rgb&CVT=jpeg"))),
        (400, 280)
    );
    assert_eq!(
        size(&service(&[("ALLOW_UPSCALING", "0")]).respond(Http::query("FIF=rgb&WID=2000&CVT=jpeg"))),
        (1000, 701)
    );
    let reply = query("FIF=rgb&WID=300&CVT=jpeg");
    assert_eq!(
        reply.header("Content-Disposition"),
        Some("inline; filename=\"rgb_300x210.jpg\"")
    );
}

#[test]
fn til_labels_every_tile_in_column_order() {
    let service = service(&[]);
    let til = service.respond(Http::query("FIF=rgb&TIL=2,0-5")).body;
    let mut expected = Vec::new();
    for index in [0, 4, 1, 5] {
        let tile = service
            .respond(Http::query(&format!("FIF=rgb&JTL=2,{index}")))
            .body;
        expected.extend_from_slice(format!("Tile,2,{index},0/{}:", tile.len() + 8).as_bytes());
        expected.extend_from_slice(&[2, 0, 0, 0, 0, 0x11, 0, 0]);
        expected.extend_from_slice(&tile);
        expected.extend_from_slice(b"\r\n");
    }
    assert!(
        til == expected,
        "{} bytes, {} expected",
        til.len(),
        expected.len()
    );
}

#[test]
fn errors_have_a_code_a_length_and_a_status() {
    let cases = [
        ("FIF=rgb&FOO=bar", 400, "Error/7:2 2 FOO\r\n"),
        ("foo", 400, "Error/7:2 2 foo\r\n"),
        ("FIF=rgb", 400, "Error/11:2 1 FIF=rgb\r\n"),
        ("&&&", 400, "Error/7:2 1 &&&\r\n"),
        ("FIF=rgb&OBJ=Nonexistent", 400, "Error/15:3 2 nonexistent\r\n"),
        ("FIF=rgb&OBJ=IIP,2.0", 400, "Error/11:3 2 iip,2.0\r\n"),
        ("JTL=2,5", 400, "Error/7:1 3 FIF\r\n"),
        ("OBJ=Max-size", 400, "Error/7:1 3 FIF\r\n"),
        ("FIF=nope.tif&OBJ=Max-size", 404, "Error/7:1 3 FIF\r\n"),
        ("FIF=../../etc/passwd&OBJ=Max-size", 404, "Error/7:1 3 FIF\r\n"),
        (
            "FIF=rgb&JTL=9,0",
            404,
            "Error/48:2 1 the image has no tile 0 at resolution 9\r\n",
        ),
        (
            "FIF=rgb&WID=-5&CVT=jpeg",
            400,
            "Error/38:2 1 WID takes a number from 0, got \"-5\"\r\n",
        ),
        (
            "FIF=rgb&CTW=abc&JTL=0,0",
            400,
            "Error/32:2 1 CTW takes numbers, got \"abc\"\r\n",
        ),
        (
            "FIF=rgb&SPECTRA=2,99,1,1",
            404,
            "Error/35:2 1 the image has no such pixels\r\n",
        ),
    ];
    for (asked, status, body) in cases {
        let reply = query(asked);
        let answer = text(&reply);
        let length: usize = answer["Error/".len()..]
            .split(':')
            .next()
            .unwrap()
            .parse()
            .unwrap();
        assert_eq!(
            answer.split_once(':').unwrap().1.trim_end_matches("\r\n").len(),
            length,
            "{asked}: {answer}"
        );
        let (expected, _) = (body.split_once(':').unwrap().1, ());
        assert_eq!(
            (reply.status, answer.split_once(':').unwrap().1),
            (status, expected),
            "{asked}"
        );
        assert_eq!(reply.header("Cache-Control"), Some("no-cache"));
    }
}

#[test]
fn absurd_values_are_errors() {
    for asked in ["JTL=99999999999,0", "JTL=99,0", "JTL=2,99999", "TIL=99,0"] {
        assert_eq!(query(&format!("FIF=rgb&{asked}")).status, 404, "{asked}");
    }
    for asked in [
        "JTL=-1,0",
        "JTL=2,-1",
        "SDS=-1&JTL=2,5",
        "WID=-5&CVT=jpeg",
        "HEI=-5&CVT=jpeg",
        "RGN=2,2,1,1&CVT=jpeg",
        "JTLS=0,2,5",
        "GAM=0&JTL=2,5",
        "GAM=abc&JTL=2,5",
        "CNT=abc&JTL=2,5",
        "CNT=-2&JTL=2,5",
        "CTW=abc&JTL=2,5",
    ] {
        assert_eq!(query(&format!("FIF=rgb&{asked}")).status, 400, "{asked}");
    }
}

#[test]
fn server_objects_need_no_image() {
    assert_eq!(
        text(&query("OBJ=IIP,1.0&OBJ=IIP-server")),
        "IIP:1.0\r\nIIP-server:3.65\r\n"
    );
    let page = query("");
    assert_eq!(
        (page.status, page.header("Content-Type")),
        (200, Some("text/html; charset=utf-8"))
    );
}

#[test]
fn metadata_is_answered_in_both_vocabularies() {
    use iipsrv::geometry::Size;
    use iipsrv::source::synthetic::Synthetic;
    let mut image = Synthetic::halving(Size::new(10, 10), Size::new(64, 64), 3);
    image.header_mut().metadata.texts = vec![
        ("description", "a \"quoted\"\nline".into()),
        ("rights", "ours".into()),
    ];
    let service = service(&[]).with_image("texts", image);
    let ask = |objects: &str| text(&service.respond(Http::query(&format!("FIF=texts&{objects}"))));
    assert_eq!(ask("OBJ=description"), "a \"quoted\"\nline\r\n");
    assert_eq!(ask("OBJ=subject"), "subject/15:a \"quoted\"\nline\r\n");
    assert_eq!(
        ask("OBJ=Summary-info"),
        "copyright/4:ours\r\nsubject/15:a \"quoted\"\nline\r\n"
    );
    let metadata: serde_json::Value = serde_json::from_str(&ask("OBJ=Metadata")).unwrap();
    assert_eq!(metadata["description"], "a \"quoted\"\nline");
    assert!(ask("OBJ=creator").starts_with("Error/"));
}

#[test]
fn unchanged_answers_are_not_sent_again() {
    let service = service(&[]);
    let tile = || Http::query("FIF=rgb&JTL=2,5");
    let first = service.respond(tile());
    let etag = first.header("ETag").unwrap().to_string();
    let status = |name: &str, value: &str| service.respond(tile().with(name, value)).status;
    assert_eq!(status("HTTP_IF_NONE_MATCH", &etag), 304);
    assert_eq!(status("HTTP_IF_NONE_MATCH", "\"other\""), 200);
    assert_eq!(
        status("HTTP_IF_MODIFIED_SINCE", first.header("Last-Modified").unwrap()),
        304
    );
    assert_eq!(
        status("HTTP_IF_MODIFIED_SINCE", "Sat, 01 Jan 2000 00:00:00 GMT"),
        200
    );
    assert_eq!(status("HTTP_IF_MODIFIED_SINCE", "rubbish"), 200);
    let other = service.respond(Http::query("FIF=rgb&JTL=2,6"));
    assert_ne!(other.header("ETag"), Some(etag.as_str()));
}

#[test]
fn every_http_method_has_its_status() {
    let service = service(&[("CORS", "*")]);
    let ask = |method: &str| {
        service.respond(
            Http::new()
                .with("REQUEST_METHOD", method)
                .with("QUERY_STRING", "FIF=rgb&JTL=2,5"),
        )
    };
    let (get, head) = (ask("GET"), ask("HEAD"));
    assert_eq!((head.status, head.body.len(), head.length), (200, 0, get.length));
    let options = ask("OPTIONS");
    assert_eq!(
        (options.status, options.header("Access-Control-Allow-Origin")),
        (204, Some("*"))
    );
    let put = ask("PUT");
    assert_eq!(
        (put.status, put.header("Allow")),
        (405, Some("GET, HEAD, POST, OPTIONS"))
    );
    assert!(get.header("X-Powered-By").is_none());
}

#[test]
fn rot_and_col_equal_iiif_rotation_and_quality() {
    // at full size, 1000 pixels wide, tile 5 is the second of the second row
    for (iip, iiif) in [
        ("ROT=90&PTL=2,5", "90/default"),
        ("ROT=!270&PTL=2,5", "!270/default"),
        ("COL=grey&PTL=2,5", "0/gray"),
        ("COL=BINARY&ROT=180&PTL=2,5", "180/bitonal"),
    ] {
        let ours = pixels(&query(&format!("FIF=rgb&{iip}")));
        let theirs = pixels(&query(&format!("IIIF=rgb/256,256,256,256/max/{iiif}.png")));
        assert!(ours == theirs, "{iip}");
    }
    let said = text(&query("FIF=rgb&ROT=90&OBJ=Max-size"));
    assert_eq!(said, "Max-size:701 1000\r\n");
    // other angles and unknown colours change nothing, as in iipsrv
    for nothing in ["ROT=45", "ROT=x", "COL=red"] {
        let tile = query(&format!("FIF=rgb&{nothing}&JTL=2,5"));
        assert!(tile.body == query("FIF=rgb&JTL=2,5").body, "{nothing}");
    }
    let zoomed = pixels(&query("ROT=90&DeepZoom=rgb_files/10/1_1.png"));
    assert!(zoomed == pixels(&query("FIF=rgb&ROT=90&PTL=2,5")));
}

#[test]
fn in_compatibility_with_1_1_a_set_quality_applies_to_stored_tiles() {
    let tile = |vars: &[(&str, &str)]| {
        let reply = support::fixtures(vars).respond(Http::query("FIF=jpeg-whole.tif&JTL=1,0"));
        assert_eq!(reply.status, 200);
        reply.body.len()
    };
    let (stored, low) = (tile(&[]), ("JPEG_QUALITY", "10"));
    assert_eq!(tile(&[low]), stored);
    assert_eq!(tile(&[("COMPAT", "1.1")]), stored);
    assert!(tile(&[("COMPAT", "1.1"), low]) < stored / 2);
}

#[test]
fn any_identifier_may_be_encoded_twice() {
    let folder = Folder::new();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/none.tif");
    for name in ["a+b.tif", "c d.tif", "e%20f.tif"] {
        std::fs::copy(file, folder.join(name)).unwrap();
    }
    let prefix = folder.join("").display().to_string();
    let service = support::service(&[("FILESYSTEM_PREFIX", &prefix), ("URI_MAP", "iiif=>IIIF")]);
    for (spelt, status) in [
        ("a%252Bb.tif", 200),
        ("c%2520d.tif", 200),
        // a file of that literal name
        ("e%2520f.tif", 200),
        // decoded once more, not twice, whatever is open
        ("c%252520d.tif", 404),
        ("%252e%252e%252fc%2520d.tif", 404),
    ] {
        // once to open the image, once from the open image
        for _ in 0..2 {
            let reply = service.respond(Http::get(&format!("/iiif/{spelt}/full/max/0/default.jpg")));
            assert_eq!(reply.status, status, "{spelt}");
        }
    }
}
