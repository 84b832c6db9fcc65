//! Colour conversion compared with Little CMS (through vips), and profiles embedded in answers.

use crate::list;
use crate::process::Folder;
use crate::pyramid;
use crate::site::needed;
use crate::support;
use iipsrv::http::Http;
use iipsrv::process::profile::SRGB;
use iipsrv::raster::Raster;
use iipsrv::service::Service;
use std::process::Command;

fn run(program: &str, words: &[&str]) {
    let output = Command::new(needed(program)).args(words).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn path(folder: &Folder, name: &str) -> String {
    folder.join(name).into_os_string().into_string().unwrap()
}

/// A service over the files with this prefix.
fn over(prefix: &str, vars: &[(&str, &str)]) -> Service {
    Service::new(support::config(
        &[vars, &[("FILESYSTEM_PREFIX", prefix)]].concat(),
    ))
}

fn whole(service: &Service, id: &str) -> Raster {
    support::pixels(&service.respond(Http::query(&format!("IIIF={id}/full/max/0/default.png"))))
}

/// Mean, 99.9th percentile and largest of the differences of colours.
fn compare(ours: &Raster, theirs: &Raster) -> (f64, u8, u8) {
    assert_eq!(ours.size, theirs.size);
    let colours = |raster: &Raster| -> Vec<[u8; 3]> {
        let pixels = support::bytes(raster).chunks(usize::from(raster.channels));
        pixels
            .map(|p| {
                if p.len() < 3 {
                    [p[0]; 3]
                } else {
                    [p[0], p[1], p[2]]
                }
            })
            .collect()
    };
    let (ours, theirs) = (colours(ours).into_flattened(), colours(theirs).into_flattened());
    let mut differences: Vec<u8> = ours.iter().zip(theirs).map(|(a, b)| a.abs_diff(b)).collect();
    differences.sort_unstable();
    let mean = differences.iter().map(|v| f64::from(*v)).sum::<f64>() / differences.len() as f64;
    (
        mean,
        differences[differences.len() * 999 / 1000],
        *differences.last().unwrap(),
    )
}

/// A file, converted by Little CMS from its own profile to sRGB.
fn by_lcms(folder: &Folder, file: &str) -> Raster {
    let out = path(folder, "theirs.png");
    run(
        "vips",
        &[
            "icc_transform",
            file,
            &out,
            "srgb",
            "--embedded",
            "--intent=relative",
            "--depth=8",
        ],
    );
    support::png(&std::fs::read(out).unwrap())
}

/// Writes a part of the chart as a file; its path.
fn chart(folder: &Folder) -> String {
    let chart =
        support::fixtures(&[]).respond(Http::query("IIIF=tessera.tif/900,700,600,400/max/0/default.png"));
    let file = path(folder, "chart.png");
    std::fs::write(&file, &chart.body).unwrap();
    file
}

#[test]
#[ignore = "needs vips and transicc"]
fn colours_equal_little_cms() {
    let folder = Folder::new();
    let chart = chart(&folder);
    let convert = |name: &str, words: &[&str]| {
        let (made, file) = (path(&folder, "made.v"), path(&folder, name));
        run(
            "vips",
            &[
                &["icc_transform", &chart, &made],
                words,
                &["--input-profile=srgb"],
            ]
            .concat(),
        );
        run("vips", &["tiffsave", &made, &file]);
    };
    convert("p3.tif", &["p3"]);
    convert("p3-16.tif", &["p3", "--depth=16"]);
    convert("cmyk.tif", &["cmyk"]);
    let tag = |name: &str, from: &str, profile: &str| {
        run(
            "vips",
            &[
                "tiffsave",
                from,
                &path(&folder, name),
                &format!("--profile={profile}"),
            ],
        );
    };
    let icc = path(&folder, "chart.icc");
    std::fs::write(&icc, list::icc()).unwrap();
    tag("gamma.tif", &chart, &icc);
    let grey = path(&folder, "grey.v");
    run("vips", &["colourspace", &chart, &grey, "b-w"]);
    std::fs::write(&icc, grey_profile()).unwrap();
    tag("grey.tif", &grey, &icc);
    let prefix = path(&folder, "");
    let service = over(&prefix, &[("ICC_MODE", "srgb")]);
    let plain = over(&prefix, &[]);
    for name in ["p3.tif", "p3-16.tif", "gamma.tif", "grey.tif", "cmyk.tif"] {
        let ours = whole(&service, name);
        let (mean, most, max) = compare(&ours, &by_lcms(&folder, &path(&folder, name)));
        println!("{name}: mean {mean:.2}, all but a thousandth {most}, at most {max}");
        // 16-bit samples lose their low byte, half a level on average
        let bound = if name.contains("16") { 0.9 } else { 0.6 };
        assert!(mean <= bound && most <= 3, "{name}: {mean:.2} {most} {max}");
        let before = whole(&plain, name);
        let (changed, ..) = compare(&ours, &before);
        // CMYK is always converted: its profile cannot be embedded
        assert_eq!(changed == 0.0, name == "cmyk.tif", "{name}: {changed}");
    }
    // the round trip is close; without a profile the difference would be large
    let back = support::png(&std::fs::read(&chart).unwrap());
    let (mean, ..) = compare(&whole(&service, "p3.tif"), &back);
    assert!(mean <= 1.0, "{mean}");
}

/// A grey profile of gamma 1.8.
fn grey_profile() -> Vec<u8> {
    let mut icc = list::icc()[..128].to_vec();
    icc[16..20].copy_from_slice(b"GRAY");
    icc.extend(1u32.to_be_bytes());
    icc.extend(b"kTRC");
    icc.extend([144u32, 16].map(u32::to_be_bytes).concat());
    icc.extend(b"curv\0\0\0\0\0\0\0\x01\x01\xcd\0\0");
    let len = icc.len() as u32;
    icc[..4].copy_from_slice(&len.to_be_bytes());
    icc
}

#[test]
#[ignore = "needs CORPUS"]
fn pictures_of_the_corpus_are_converted_as_by_little_cms() {
    let corpus = support::corpus();
    let prefix = format!("{}/", corpus.display());
    let folder = Folder::new();
    let service = over(&prefix, &[("ICC_MODE", "srgb"), ("MAX_IMAGE_CACHE_SIZE", "100")]);
    for (id, bound) in [
        ("tiff/sharp__fogra-0-100-100-0.tif", 3),
        ("tiff/georust__tinymarble.tif", 3),
        ("tiff/pillow__hopper.iccprofile.tif", 3),
        ("tiff/cantaloupe__tif-rgb-1res-64x56x16-striped-lzw.tif", 3),
        ("jpeg/loris__jpeg_with_p3_profile.jpg", 3),
        ("jpeg/sharp__Landscape_9.jpg", 3),
    ] {
        let ours = whole(&service, id);
        let (mean, most, max) = compare(&ours, &by_lcms(&folder, corpus.join(id).to_str().unwrap()));
        println!("{id}: mean {mean:.2}, all but a thousandth {most}, at most {max}");
        assert!(mean <= 1.0 && most <= bound, "{id}: {mean:.2} {most} {max}");
    }
}

/// The profile in a JPEG or PNG answer.
fn embedded(folder: &Folder, body: &[u8]) -> Vec<u8> {
    let file = path(folder, "answer");
    std::fs::write(&file, body).unwrap();
    let output = Command::new(needed("vipsheader"))
        .args(["-f", "icc-profile-data", &file])
        .output()
        .unwrap();
    if !output.status.success() {
        return Vec::new();
    }
    // base64, as vips writes it
    unbase(&output.stdout)
}

fn unbase(text: &[u8]) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let values: Vec<u32> = text
        .iter()
        .filter_map(|c| digits.iter().position(|d| d == c))
        .map(|v| v as u32)
        .collect();
    let groups = values.chunks(4).flat_map(|group| {
        let bits = group.iter().fold(0, |bits, v| bits << 6 | v) << (6 * (4 - group.len()));
        bits.to_be_bytes()[1..group.len()].to_vec()
    });
    groups.collect()
}

const TILE: &str = "FIF=metadata.tif&JTL=3,0";

#[test]
#[ignore = "needs vips and transicc"]
fn the_embedded_profile_is_that_of_the_answer() {
    let folder = Folder::new();
    let ask = |vars: &[(&str, &str)], query: &str| {
        let reply = support::fixtures(vars).respond(Http::query(query));
        assert_eq!(reply.status, 200);
        (embedded(&folder, &reply.body), reply)
    };
    let (srgb, region) = (
        ("ICC_MODE", "srgb"),
        "IIIF=metadata.tif/0,0,300,200/max/0/default.png",
    );
    for query in [TILE, region] {
        assert_eq!(ask(&[], query).0, list::icc(), "{query}");
        assert_eq!(ask(&[srgb], query).0, *SRGB, "{query}");
        assert_eq!(ask(&[srgb, ("MAX_ICC", "479")], query).0, b"", "{query}");
        assert_eq!(ask(&[("MAX_ICC", "100")], query).0, b"", "{query}");
    }
    // an RGB profile does not fit a grey answer
    assert_eq!(ask(&[], "IIIF=metadata.tif/0,0,300,200/max/0/gray.jpg").0, b"");
    assert_eq!(ask(&[srgb], "IIIF=grey.tif/full/max/0/default.png").0, b"");
    // the two modes differ in ETag and pixels
    let (own, converted) = (ask(&[], TILE).1, ask(&[srgb], TILE).1);
    assert_ne!(own.header("ETag"), converted.header("ETag"));
    assert_ne!(support::pixels(&own), support::pixels(&converted));
    // the pixels of a tile without a profile do not change, and the answer gains the sRGB profile
    let (own, converted) = (
        ask(&[], "FIF=tessera.tif&JTL=4,20").1,
        ask(&[srgb], "FIF=tessera.tif&JTL=4,20").1,
    );
    assert_eq!(support::pixels(&own), support::pixels(&converted));
    assert!(converted.body.len() > own.body.len());
}

#[test]
#[ignore = "needs vips and transicc"]
fn a_broken_profile_is_never_sent() {
    let folder = Folder::new();
    let mut spec = pyramid::Spec::new((64, 64), 3, pyramid::Compression::None);
    spec.tile = (64, 64);
    spec.sizes = vec![(64, 64)];
    let pixels: Vec<u8> = (0..64 * 64 * 3).map(|i| (i % 251) as u8).collect();
    let good = list::icc();
    let mut cases = vec![
        ("short", good[..300].to_vec()),
        ("text", b"no profile at all".to_vec()),
        ("empty", vec![0]),
    ];
    for (name, at, bytes) in [
        ("sign", 36, &b"acpp"[..]),
        ("space", 16, b"CMYK"),
        ("class", 12, b"link"),
        ("count", 128, &[0, 255, 255, 255]),
        ("offset", 136, &[127, 0, 0, 0]),
        ("length", 140, &[255, 255, 255, 255]),
    ] {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        cases.push((name, bad));
    }
    for (name, profile) in cases {
        spec.tags = vec![(34675, pyramid::Value::Undefined(profile))];
        let file = pyramid::pyramid(&spec, &pixels).unwrap();
        std::fs::write(folder.join(&format!("{name}.tif")), file).unwrap();
        for (mode, expected) in [("embed", &b""[..]), ("srgb", &SRGB)] {
            let service = over(&path(&folder, ""), &[("ICC_MODE", mode), ("MAX_ICC", "-1")]);
            let query = format!("IIIF={name}.tif/full/max/0/default.png");
            let reply = service.respond(Http::query(&query));
            assert_eq!(support::bytes(&support::pixels(&reply)), pixels, "{name} {mode}");
            assert_eq!(embedded(&folder, &reply.body), expected, "{name} {mode}");
        }
    }
}

#[test]
#[ignore = "needs vips and transicc"]
fn the_built_in_srgb_profile_equals_that_of_little_cms() {
    let folder = Folder::new();
    let file = path(&folder, "own.icc");
    std::fs::write(&file, &*SRGB).unwrap();
    // conversion from ours to that of Little CMS changes nothing
    let mut child = Command::new(needed("transicc"))
        .args(["-n", &format!("-i{file}"), "-o*sRGB", "-t1"])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let values = [
        [255, 255, 255],
        [0, 0, 0],
        [255, 0, 0],
        [10, 100, 200],
        [128, 64, 32],
    ];
    let lines: String = values.iter().map(|[r, g, b]| format!("{r} {g} {b}\n")).collect();
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let found: Vec<f64> = text
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    assert_eq!(found.len(), values.len() * 3, "{text}");
    for (found, expected) in found.iter().zip(values.as_flattened()) {
        assert!((found - f64::from(*expected)).abs() < 0.6, "{text}");
    }
}
