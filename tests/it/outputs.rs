//! Answers of every format, as other libraries read them: pixels and embedded metadata.
//!
//! `tests/decode.py` decodes them.

use crate::support::pixels;
use crate::support::service;
use crate::support::text;
use crate::support::tiff;
use iipsrv::http::Http;
use iipsrv::http::Reply;
use iipsrv::raster::Samples;
use iipsrv::service::Service;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

/// A file as another reader decodes it.
struct Read {
    w: usize,
    h: usize,
    channels: usize,
    kind: String,
    tags: Value,
    samples: Vec<u8>,
}

fn read(reply: &Reply, name: &str) -> Read {
    assert_eq!(reply.status, 200, "{name}: {}", text(reply));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/readers/bin/python");
    assert!(python.exists(), "{}: tests/run makes it", python.display());
    let file = std::env::temp_dir().join(format!("iipsrv-answer-{}-{name}", std::process::id()));
    std::fs::write(&file, &reply.body).unwrap();
    let output = Command::new(python)
        .arg(root.join("tests/decode.py"))
        .arg(&file)
        .output()
        .unwrap();
    std::fs::remove_file(&file).unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {said}");
    let mut parts = output.stdout.splitn(3, |&byte| byte == b'\n');
    let mut line = || String::from_utf8(parts.next().unwrap().to_vec()).unwrap();
    let (head, tags) = (line(), line());
    let words: Vec<&str> = head.split(' ').collect();
    let number = |at: usize| words[at].parse().unwrap();
    Read {
        w: number(0),
        h: number(1),
        channels: number(2),
        kind: words[3].into(),
        tags: serde_json::from_str(&tags).unwrap(),
        samples: parts.next().unwrap().to_vec(),
    }
}

fn ask(service: &Service, query: &str) -> Reply {
    service.respond(Http::query(query))
}

/// Channels and 8-bit samples of the answer as PNG, which other tests verify.
fn reference(service: &Service, query: &str) -> (usize, Vec<u8>) {
    let raster = pixels(&ask(service, query));
    match raster.samples {
        Samples::U8(samples) => (usize::from(raster.channels), samples),
        _ => panic!("8 bits expected"),
    }
}

/// Converts samples from `from` to `to` channels: replicates grey, adds opaque alpha or drops alpha.
fn spread(samples: &[u8], from: usize, to: usize) -> Vec<u8> {
    let pixel = |p: &[u8]| -> Vec<u8> {
        match (from, to) {
            _ if from == to => p.to_vec(),
            (1, 3) => vec![p[0]; 3],
            (1, 4) => vec![p[0], p[0], p[0], 255],
            (3, 4) => vec![p[0], p[1], p[2], 255],
            (4, 3) => p[..3].to_vec(),
            _ => panic!("{from} to {to}"),
        }
    };
    samples.chunks(from).flat_map(pixel).collect()
}

/// Whether the build has the format: the Rust-only build lacks AVIF.
fn built(query: &str) -> bool {
    cfg!(avif) || !(query.contains("avif") || query.contains("ATL"))
}

fn mean(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.len() as f64
}

#[test]
fn the_crate_tiff_reads_what_is_written_without_loss() {
    let service = service(&[]);
    for image in ["rgb", "grey", "rgba"] {
        let (_, pixels) = reference(&service, &format!("FIF={image}&WID=333&CVT=png"));
        for quality in ["none:1", "lzw:1", "deflate:9"] {
            let reply = ask(&service, &format!("FIF={image}&WID=333&QLT={quality}&CVT=tiff"));
            assert!(tiff(&reply.body) == pixels, "{image} {quality}");
        }
    }
}

#[test]
#[ignore = "needs Python with tifffile and imagecodecs"]
fn another_reader_decodes_every_tiff_compression() {
    let service = service(&[]);
    for image in ["rgb", "grey", "rgba"] {
        let (channels, pixels) = reference(&service, &format!("FIF={image}&WID=333&CVT=png"));
        for (quality, number, bound) in [
            ("none:1", 1, 0.0),
            ("lzw:1", 5, 0.0),
            ("deflate:1", 8, 0.0),
            ("deflate:9", 8, 0.0),
            ("zstd:3", 50000, 0.0),
            ("webp:-1", 50001, 0.0),
            // the picture changes with every pixel, which 4:2:0 cannot represent
            ("webp:90", 50001, 40.0),
            ("jpeg:95", 7, 40.0),
        ] {
            let name = format!("{image}-{}.tif", quality.replace(':', ""));
            let reply = ask(&service, &format!("FIF={image}&WID=333&QLT={quality}&CVT=tiff"));
            assert_eq!(reply.header("Content-Type"), Some("image/tiff"));
            let found = read(&reply, &name);
            assert_eq!(found.tags["259"].as_u64(), Some(number), "{name} {}", found.tags);
            let flat = number == 7 && image == "rgba";
            let (w, h) = if image == "rgb" { (333, 233) } else { (333, 200) };
            assert_eq!((found.w, found.h, found.kind.as_str()), (w, h, "uint8"), "{name}");
            if flat {
                assert_eq!(found.channels, 3);
                continue;
            }
            let pixels = spread(&pixels, channels, found.channels);
            let mean = mean(&found.samples, &pixels);
            assert!(mean <= bound, "{name}: {mean}");
        }
    }
}

#[test]
#[ignore = "needs Python with tifffile and imagecodecs"]
fn every_protocol_serves_tiles_in_every_format() {
    let service = service(&[]);
    let (_, pixels) = reference(&service, "FIF=rgb&PTL=2,1");
    for (ask_for, bound) in [
        ("FIF=rgb&TTL=2,1", 0.0),
        ("FIF=rgb&QLT=-1&WTL=2,1", 0.0),
        ("DeepZoom=rgb_files/10/1_0.tif", 0.0),
        ("Zoomify=rgb/TileGroup0/2-1-0.tif", 0.0),
        ("IIIF=rgb/256,0,256,256/256,/0/default.tif", 0.0),
        ("FIF=rgb&QLT=90&WTL=2,1", 40.0),
        ("DeepZoom=rgb_files/10/1_0.webp", 40.0),
        ("Zoomify=rgb/TileGroup0/2-1-0.webp", 40.0),
        ("IIIF=rgb/256,0,256,256/256,/0/default.webp", 40.0),
        ("FIF=rgb&QLT=90&ATL=2,1", 40.0),
        ("FIF=rgb&QLT=-1&ATL=2,1", 0.0),
        ("DeepZoom=rgb_files/10/1_0.avif", 40.0),
        ("IIIF=rgb/256,0,256,256/256,/0/default.avif", 40.0),
        ("DeepZoom=rgb_files/10/1_0.gif", 30.0),
        ("IIIF=rgb/256,0,256,256/256,/0/default.gif", 30.0),
    ] {
        if !built(ask_for) {
            assert_eq!(ask(&service, ask_for).status, 501, "{ask_for}");
            continue;
        }
        let name = ask_for.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
        let found = read(&ask(&service, ask_for), &name);
        assert_eq!((found.w, found.h), (256, 256));
        let mean = mean(&spread(&found.samples, found.channels, 3), &pixels);
        assert!(mean <= bound, "{ask_for}: {mean}");
    }
}

#[test]
#[ignore = "needs Python with tifffile and imagecodecs"]
fn alpha_is_kept_if_the_format_has_it() {
    let service = service(&[]);
    let (channels, pixels) = reference(&service, "FIF=rgba&CVT=png");
    assert_eq!(channels, 4);
    for (query, bound) in [
        ("FIF=rgba&CVT=tiff", 0.0),
        ("FIF=rgba&QLT=-1&CVT=webp", 0.0),
        ("FIF=rgba&QLT=90&CVT=webp", 40.0),
        ("FIF=rgba&QLT=90&CVT=avif", 40.0),
        ("FIF=rgba&QLT=-1&CVT=avif", 0.0),
    ] {
        if !built(query) {
            continue;
        }
        let found = read(&ask(&service, query), "alpha");
        assert_eq!(found.channels, 4, "{query}");
        let alpha = |samples: &[u8]| samples.iter().skip(3).step_by(4).copied().collect::<Vec<u8>>();
        // WebP and AVIF keep alpha exactly at every quality
        assert_eq!(alpha(&found.samples), alpha(&pixels), "{query}");
        // colours of transparent pixels may differ
        let shown = |samples: &[u8]| -> Vec<u8> {
            let each = samples.chunks(4).zip(pixels.chunks(4));
            each.filter(|(_, of)| of[3] > 0)
                .flat_map(|(p, _)| p.to_vec())
                .collect()
        };
        assert!(mean(&shown(&found.samples), &shown(&pixels)) <= bound, "{query}");
    }
    let gif = read(&ask(&service, "FIF=rgba&CVT=gif"), "gif");
    assert_eq!((gif.w, gif.h), (500, 300));
}

#[test]
#[ignore = "needs Python with tifffile and imagecodecs"]
fn clients_may_override_the_settings_for_quality_and_compression() {
    let compression = |vars: &[(&str, &str)], query: &str| {
        let found = read(&ask(&service(vars), query), "chosen");
        found.tags["259"].as_u64()
    };
    assert_eq!(compression(&[], "FIF=grey&CVT=tiff"), Some(8));
    let zstd = [("TIFF_COMPRESSION", "5"), ("TIFF_QUALITY", "9")];
    assert_eq!(compression(&zstd, "FIF=grey&CVT=tiff"), Some(50000));
    assert_eq!(compression(&zstd, "FIF=grey&QLT=lzw&CVT=tiff"), Some(5));
    assert_eq!(compression(&zstd, "FIF=grey&QLT=7&CVT=tiff"), Some(50000));
    assert_eq!(
        compression(&[("TIFF_COMPRESSION", "0")], "FIF=grey&TTL=0,0"),
        Some(1)
    );
    // an invalid quality is ignored, as in iipsrv
    for (words, scheme) in [("QLT=x", 8), ("QLT=gzip:1", 8), ("QLT=lzw:x", 5), ("QLT=", 8)] {
        assert_eq!(
            compression(&[], &format!("FIF=grey&{words}&CVT=tiff")),
            Some(scheme)
        );
    }
    let len = |quality: &str| {
        let reply = ask(&service(&[]), &format!("FIF=rgb&{quality}CVT=webp"));
        assert_eq!(reply.header("Content-Type"), Some("image/webp"));
        reply.body.len()
    };
    if cfg!(feature = "native") {
        assert!(len("QLT=10&") < len("") && len("") < len("QLT=90&"));
        assert_eq!(len(""), len("QLT=50&"));
    } else {
        assert_eq!(len("QLT=10&"), len("QLT=-1&"));
    }
}

#[test]
fn equal_requests_give_equal_bytes() {
    for format in ["tiff", "webp", "avif", "gif", "png", "jpeg"] {
        let query = format!("FIF=rgba&WID=200&CVT={format}");
        let [one, other] = [service(&[]), service(&[])].map(|service| ask(&service, &query));
        assert_eq!(one.body, other.body, "{format}");
        assert_eq!(one.header("ETag"), other.header("ETag"));
    }
}

#[test]
fn pictures_beyond_the_limits_of_a_format_are_refused() {
    let service = service(&[("MAX_CVT", "-1")]);
    for (query, side) in [
        ("FIF=grey&WID=16500&RGN=0,0,1,0.004&CVT=webp", 16383),
        ("FIF=grey&WID=16500&RGN=0,0,1,0.004&QLT=webp&CVT=tiff", 16383),
        ("FIF=grey&WID=65600&RGN=0,0,1,0.004&QLT=jpeg&CVT=tiff", 65500),
        ("FIF=grey&WID=65600&RGN=0,0,1,0.004&CVT=gif", 65535),
        ("FIF=rgb&WID=4000&CVT=avif", 8_388_608),
    ] {
        let reply = ask(&service, query);
        assert_eq!(reply.status, 413, "{query}");
        assert!(text(&reply).contains(&side.to_string()), "{query}");
    }
}

/// An RGB profile.
fn profile() -> Vec<u8> {
    iipsrv::process::profile::SRGB.to_vec()
}

const XMP: &str = "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?><x:xmpmeta xmlns:x=\"adobe:ns:meta/\"><rdf:RDF \
    xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\"><rdf:Description rdf:about=\"\" \
    xmlns:tiff=\"http://ns.adobe.com/tiff/1.0/\" xmlns:dc=\"http://purl.org/dc/elements/1.1/\" tiff:Orientation=\"6\" \
    dc:source=\"shelf 7\"/></rdf:RDF></x:xmpmeta><?xpacket end=\"w\"?>";

/// EXIF tags of a camera: time, exposure, lens and position; and tags that describe only the master file.
fn details() -> iipsrv::raster::Details {
    let entry = |tag, kind, count, value: &[u8]| iipsrv::raster::Detail {
        tag,
        kind,
        count,
        value: value.to_vec(),
    };
    let fraction = |over: u32, under: u32| [over.to_le_bytes(), under.to_le_bytes()].concat();
    let degrees = [fraction(48, 1), fraction(12, 1), fraction(36, 1)].concat();
    iipsrv::raster::Details {
        taking: vec![
            entry(33434, 5, 1, &fraction(1, 125)),
            entry(34855, 3, 1, &200u16.to_le_bytes()),
            entry(36867, 2, 20, b"1999:12:31 23:59:59\0"),
            entry(37500, 7, 8, b"secrets!"),
            entry(40962, 4, 1, &600u32.to_le_bytes()),
            entry(42036, 2, 5, b"Lens\0"),
        ],
        place: vec![
            entry(0, 1, 4, &[2, 3, 0, 0]),
            entry(1, 2, 2, b"N\0"),
            entry(2, 5, 3, &degrees),
        ],
    }
}

/// A picture of 600×400 pixels with all supported metadata, in its own folder.
fn annotated(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("iipsrv-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let num = |v| iipsrv::geometry::Num::new(v).unwrap();
    let texts = [
        ("description", "A hill.".to_string()),
        ("creator", "Ada".to_string()),
        ("comment", "no flash".to_string()),
    ];
    let size = iipsrv::geometry::Size::new(600, 400);
    let picture = iipsrv::raster::Picture {
        size,
        layout: iipsrv::raster::Layout::Rgb,
        data: (0..600 * 400 * 3).map(|i| (i / 900) as u8).collect(),
    };
    let output = iipsrv::encode::Output {
        format: iipsrv::raster::Format::Tiff,
        quality: 1,
        compression: iipsrv::encode::TiffCompression::Deflate,
        asked: false,
        style: iipsrv::codec::jpeg::JpegStyle::default(),
        full_metadata: true,
    };
    let tags = iipsrv::encode::Tags {
        icc: Some(&profile()),
        density: Some(iipsrv::raster::Density {
            x: num(300.0 / 0.0254),
            y: num(300.0 / 0.0254),
        }),
        xmp: Some(XMP.as_bytes()),
        texts: &texts,
        details: Some(&details()),
        rights: None,
    };
    let file = iipsrv::encode::encode(&picture, output, &tags).unwrap();
    std::fs::write(folder.join("annotated.tif"), file).unwrap();
    folder
}

/// The tags that exiftool finds in an answer.
fn exiftool(reply: &Reply, name: &str) -> Value {
    assert_eq!(reply.status, 200, "{name}: {}", text(reply));
    let file = std::env::temp_dir().join(format!("iipsrv-{}-{name}", std::process::id()));
    std::fs::write(&file, &reply.body).unwrap();
    let output = Command::new("exiftool")
        .args(["-json", "-G0", "-n"])
        .arg(&file)
        .output()
        .expect("exiftool is installed by tests/run");
    std::fs::remove_file(&file).unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let warning = found[0]["ExifTool:Warning"].as_str().unwrap_or_default();
    // the test profile has no tags
    assert!(
        warning.is_empty() || warning.contains("ICC_Profile table"),
        "{found:#}"
    );
    assert!(found[0]["ExifTool:Error"].is_null(), "{found:#}");
    found[0].clone()
}

/// Asserts that tags of exposure and position are copied, and that tags of the master file are not.
fn assert_camera_tags(found: &Value, format: &str) {
    assert_eq!(found["EXIF:ExposureTime"], 0.008, "{format}: {found:#}");
    assert_eq!(found["EXIF:ISO"], 200, "{format}");
    assert_eq!(found["EXIF:DateTimeOriginal"], "1999:12:31 23:59:59", "{format}");
    assert_eq!(found["EXIF:LensModel"], "Lens", "{format}");
    assert_eq!(found["EXIF:GPSLatitudeRef"], "N", "{format}");
    assert_eq!(found["EXIF:GPSLatitude"], 48.21, "{format}");
    let no_master_width = found["EXIF:ExifImageWidth"].is_null();
    assert!(
        no_master_width && !found.to_string().contains("secrets"),
        "{format}"
    );
}

#[test]
#[ignore = "needs exiftool"]
fn exports_carry_all_metadata_and_tiles_only_profile_and_resolution() {
    let folder = annotated("annotated");
    let prefix = format!("{}/", folder.display());
    let service = Service::new(crate::support::config(&[
        ("FILESYSTEM_PREFIX", prefix.as_str()),
        ("COPYRIGHT", "\u{a9} the house"),
    ]));
    for format in ["jpeg", "png", "webp", "avif", "tiff", "gif"] {
        let query = format!("FIF=annotated.tif&WID=300&CVT={format}");
        if !built(&query) {
            continue;
        }
        let reply = ask(&service, &query);
        let suffix = iipsrv::raster::Format::named(format).unwrap().suffix();
        assert_eq!(
            reply.header("Content-Disposition"),
            Some(format!("inline; filename=\"annotated_300x200.{suffix}\"").as_str())
        );
        let found = exiftool(&reply, &format!("annotated.{suffix}"));
        assert_eq!(found["XMP:Source"], "shelf 7", "{format}: {found:#}");
        // the answer has its final orientation: viewers must not rotate it again
        assert_eq!(found["XMP:Orientation"], 1, "{format}");
        assert!(
            found["EXIF:Orientation"].is_null() || found["EXIF:Orientation"] == 1,
            "{format}"
        );
        if format == "gif" {
            // the group name depends on the version of exiftool
            let comment = ["File:Comment", "GIF:Comment"].map(|name| found[name].as_str());
            assert!(comment.contains(&Some("\u{a9} the house")), "{found:#}");
            continue;
        }
        assert_eq!(found["ICC_Profile:ProfileClass"], "mntr", "{format}: {found:#}");
        assert_eq!(found["EXIF:Copyright"], "\u{a9} the house", "{format}");
        assert_eq!(found["EXIF:Artist"], "Ada", "{format}");
        assert_eq!(found["EXIF:ImageDescription"], "A hill.", "{format}");
        assert_eq!(found["EXIF:UserComment"], "no flash", "{format}");
        assert_eq!(found["EXIF:XResolution"], 150, "{format}");
        assert_camera_tags(&found, format);
    }
    // again, from a JPEG master
    let jpeg = ask(&service, "FIF=annotated.tif&WID=600&CVT=jpeg");
    std::fs::write(folder.join("once.jpg"), &jpeg.body).unwrap();
    let again = exiftool(&ask(&service, "FIF=once.jpg&WID=300&CVT=png"), "again.png");
    assert_camera_tags(&again, "of a jpeg");
    assert_eq!(again["EXIF:UserComment"], "no flash");
    for (query, density) in [
        (
            "IIIF=annotated.tif/0,0,256,256/256,256/0/default.jpg",
            "JFIF:XResolution",
        ),
        (
            "IIIF=annotated.tif/0,0,256,256/256,256/0/default.png",
            "PNG:PixelsPerUnitX",
        ),
    ] {
        let found = exiftool(&ask(&service, query), "tile");
        assert_eq!(found["ICC_Profile:ProfileClass"], "mntr", "{query}");
        assert!(found[density].is_number(), "{query}: {found:#}");
        assert!(
            found["XMP:Source"].is_null() && found["EXIF:Artist"].is_null(),
            "{query}"
        );
    }
    let whole = exiftool(
        &ask(&service, "IIIF=annotated.tif/full/max/0/default.jpg"),
        "whole",
    );
    assert_eq!(whole["EXIF:Artist"], "Ada");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
#[ignore = "needs Python with tifffile and imagecodecs"]
fn depth_is_kept_unless_8_bits_are_requested() {
    let folder = std::env::temp_dir().join(format!("iipsrv-{}-deep", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let size = iipsrv::geometry::Size::new(300, 200);
    let output = iipsrv::encode::Output {
        format: iipsrv::raster::Format::Tiff,
        quality: 1,
        compression: iipsrv::encode::TiffCompression::Deflate,
        asked: false,
        style: iipsrv::codec::jpeg::JpegStyle::default(),
        full_metadata: true,
    };
    let numbers: Vec<u16> = (0..60_000u32 * 3).map(|i| (i * 7 % 65_521) as u16).collect();
    let floats: Vec<f32> = (0..60_000u32).map(|i| i as f32 / 1e4 - 2.0).collect();
    for (name, channels, colour, range, samples) in [
        (
            "16.tif",
            3,
            iipsrv::raster::Colour::Rgb,
            (0.0, 65_535.0),
            Samples::U16(numbers.clone()),
        ),
        (
            "float.tif",
            1,
            iipsrv::raster::Colour::Grey,
            (-2.0, 4.0),
            Samples::F32(floats.clone()),
        ),
    ] {
        let raster = iipsrv::raster::Raster {
            size,
            channels,
            samples,
        };
        let meaning = iipsrv::raster::Meaning {
            colour,
            alpha: iipsrv::raster::Alpha::None,
            ranges: vec![range; channels.into()],
        };
        let file =
            iipsrv::encode::deep(&raster, &meaning, None, output, &iipsrv::encode::Tags::default()).unwrap();
        std::fs::write(folder.join(name), file).unwrap();
    }
    let prefix = format!("{}/", folder.display());
    let with = |depth: &str| {
        Service::new(crate::support::config(&[
            ("FILESYSTEM_PREFIX", prefix.as_str()),
            ("PNG_DEPTH", depth),
        ]))
    };
    let (plain, deep) = (with("8"), with("16"));
    let little: Vec<u8> = numbers.iter().flat_map(|v| v.to_le_bytes()).collect();
    for (service, query, kind) in [
        (&plain, "FIF=16.tif&CVT=tiff", "uint16"),
        (&plain, "FIF=16.tif&QLT=lzw&CVT=tiff", "uint16"),
        (&deep, "FIF=16.tif&CVT=png", "uint16"),
    ] {
        let found = read(&ask(service, query), "deep");
        assert_eq!((found.kind.as_str(), found.channels), (kind, 3), "{query}");
        assert!(found.samples == little, "{query}");
    }
    let found = read(&ask(&plain, "FIF=float.tif&CVT=tiff"), "float");
    assert_eq!((found.kind.as_str(), found.channels), ("float32", 1));
    assert!(found.samples == floats.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>());
    for (service, query) in [
        (&plain, "FIF=16.tif&CVT=png"),
        (&plain, "FIF=16.tif&QLT=jpeg&CVT=tiff"),
        (&plain, "FIF=16.tif&COL=grey&CVT=tiff"),
        (&deep, "FIF=16.tif&GAM=2&CVT=png"),
        (&deep, "FIF=float.tif&CVT=png"),
        (&deep, "FIF=16.tif&CVT=jpeg"),
    ] {
        assert_eq!(read(&ask(service, query), "eight").kind, "uint8", "{query}");
    }
    let half = read(&ask(&deep, "FIF=16.tif&WID=150&ROT=90&CVT=png"), "half");
    assert_eq!((half.w, half.h, half.kind.as_str()), (100, 150, "uint16"));
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_configuration_sets_progressive_and_subsampled_jpeg() {
    for (sampling, progressive, marker, luma) in [
        ("4:4:4", "0", 0xc0, 0x11),
        ("4:2:2", "1", 0xc2, 0x21),
        ("4:2:0", "0", 0xc0, 0x22),
    ] {
        let service = service(&[("JPEG_SAMPLING", sampling), ("JPEG_PROGRESSIVE", progressive)]);
        for query in ["FIF=rgb&JTL=2,5", "FIF=rgb&CVT=jpeg"] {
            let reply = ask(&service, query);
            let frame = reply.body.windows(2).position(|pair| pair == [0xff, marker]);
            // the sampling factors of luma in the frame header (T.81 §B.2.2)
            assert_eq!(reply.body[frame.unwrap() + 11], luma, "{query} {sampling}");
        }
    }
}
