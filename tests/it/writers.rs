//! Files of particular writers, from the corpus, are shown as their writer intended, compared with another reader if there is
//! one. (The unit tests of the TIFF reader draw files of the same kinds.)

use std::path::PathBuf;
use std::process::Command;

use iipsrv::http::Http;
use iipsrv::raster::Raster;
use iipsrv::raster::SampleFormat;
use iipsrv::raster::Samples;
use iipsrv::service::Service;
use iipsrv::source::Source;
use iipsrv::source::tiff::Limits;
use iipsrv::source::tiff::Tiff;

use crate::jp2::Folder;
use crate::support::bytes;
use crate::support::config;
use crate::support::corpus;
use crate::support::pixels;
use crate::support::text;

/// The folder of these files.
fn reports() -> PathBuf {
    corpus().join("reports")
}

fn ask(vars: &[(&str, &str)], query: &str) -> iipsrv::http::Reply {
    let prefix = format!("{}/", reports().display());
    let service = Service::new(config(&[vars, &[("FILESYSTEM_PREFIX", &prefix)]].concat()));
    service.respond(Http::query(query))
}

fn whole(vars: &[(&str, &str)], name: &str) -> Raster {
    pixels(&ask(vars, &format!("IIIF={name}/full/max/0/default.png")))
}

fn mean(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / a.len() as f64
}

#[test]
#[ignore = "needs CORPUS"]
fn jpeg_2000_in_tiff_has_the_colours_of_its_writer() {
    let expected = whole(&[], "plain.tif");
    for name in [
        "bioformats-jpeg2000-lossless.ome.tif",
        "bioformats-jpeg2000-lossy-ok.ome.tif",
    ] {
        let off = mean(bytes(&whole(&[], name)), bytes(&expected));
        assert!(off < 3.0, "{name}: {off}");
    }
}

#[test]
#[ignore = "needs CORPUS"]
fn a_masked_picture_is_transparent_and_has_the_background_colour_in_jpeg() {
    let full = whole(&[], "cog-mask.tif");
    assert_eq!((full.size.w, full.channels), (300, 4));
    for (at, pixel) in bytes(&full).chunks(4).enumerate() {
        assert_eq!(pixel[3], if at % 300 < 100 { 0 } else { 255 }, "{at}");
    }
    let small = pixels(&ask(&[], "IIIF=cog-mask.tif/full/75,/0/default.png"));
    let alpha = |x: usize| bytes(&small)[(20 * 75 + x) * 4 + 3];
    assert_eq!((alpha(5), alpha(70)), (0, 255));
    let jpeg = pixels(&ask(
        &[("BACKGROUND", "#ff0000")],
        "IIIF=cog-mask.tif/full/max/0/default.jpg",
    ));
    let corner = &bytes(&jpeg)[..3];
    assert!(mean(corner, &[255, 0, 0]) < 4.0, "{corner:?}");
}

#[test]
#[ignore = "needs CORPUS"]
fn the_largest_picture_is_the_image_if_a_thumbnail_comes_first() {
    let found = whole(&[], "thumbnail-first.tif");
    assert!(mean(bytes(&found), bytes(&whole(&[], "plain.tif"))) < 3.0);
    assert_eq!(
        text(&ask(&[], "FIF=thumbnail-first.tif&OBJ=Stack")),
        text(&ask(&[], "FIF=plain.tif&OBJ=Stack"))
    );
}

#[test]
#[ignore = "needs CORPUS"]
fn the_orientation_of_a_jpeg_2000_file_is_that_of_its_exif_box() {
    let name = "exif-orientation6.jp2";
    let turned = pixels(&ask(&[], &format!("IIIF={name}/full/max/90/default.png")));
    assert_eq!(whole(&[("ORIENTATION", "1")], name), turned);
}

#[test]
#[ignore = "needs CORPUS"]
fn old_style_jpeg_has_the_pixels_of_libtiff() {
    let folder = reports();
    let temp = Folder::new("writers-ojpeg");
    for name in [
        "vips__ojpeg-strip.tif",
        "libtiff__ojpeg_single_strip_no_rowsperstrip.tiff",
    ] {
        let out = temp.0.join("rgba.tif");
        let done = Command::new("tiff2rgba")
            .args(["-c", "none"])
            .args([&folder.join(name), &out])
            .output()
            .expect("tiff2rgba is there (tests/run installs libtiff-tools)");
        assert!(done.status.success(), "{name}");
        let service = Service::new(config(&[(
            "FILESYSTEM_PREFIX",
            &format!("{}/", temp.0.display()),
        )]));
        let expected = pixels(&service.respond(Http::query("IIIF=rgba.tif/full/max/0/default.png")));
        let expected: Vec<u8> = bytes(&expected)
            .chunks(expected.channels.into())
            .flat_map(|p| p[..3].to_vec())
            .collect();
        // libtiff does not interpolate subsampled chroma
        let off = mean(bytes(&whole(&[], name)), &expected);
        assert!(off < 2.0, "{name}: {off}");
    }
}

#[test]
#[ignore = "needs CORPUS"]
fn elevations_are_shown_by_their_own_range_and_exported_unchanged() {
    let name = "gdal-cog__n43.tif";
    let range = text(&ask(&[], &format!("FIF={name}&OBJ=Min-Max-sample-values")));
    assert_eq!(range, "Min-Max-sample-values: 75  460\r\n");
    let shown = whole(&[], name);
    let (low, high) = (bytes(&shown).iter().min(), bytes(&shown).iter().max());
    assert_eq!((low, high), (Some(&0), Some(&255)));
    let folder = Folder::new("writers-signed");
    let file = folder.0.join("n43.tif");
    let export = ask(&[], &format!("IIIF={name}/full/max/0/default.tif"));
    assert_eq!(export.status, 200, "{}", text(&export));
    std::fs::write(&file, &export.body).unwrap();
    let open =
        |path: &std::path::Path| Tiff::open(iipsrv::store::open(path).unwrap(), &Limits::default()).unwrap();
    let (found, own) = (open(&file), open(&reports().join(name)));
    let header = found.header();
    assert_eq!((header.kind, header.bits), (SampleFormat::Signed, 16));
    assert_eq!(header.meaning.ranges, own.header().meaning.ranges);
    let samples = |tiff: &Tiff| {
        let size = iipsrv::geometry::Rect::of(tiff.header().size());
        let window = iipsrv::source::Window::new(0, size);
        let raster = iipsrv::source::window::raster(tiff, window, &iipsrv::source::cache::NoCache);
        raster.unwrap().samples
    };
    assert!(matches!(samples(&found), Samples::F32(_)));
    assert_eq!(samples(&found), samples(&own));
}

#[test]
#[ignore = "needs CORPUS"]
fn a_last_strip_may_hold_more_than_its_rows() {
    let found = whole(&[], "gdal-gtiff__tif_jpeg_too_big_last_stripe.tif");
    assert_eq!((found.size.w, found.size.h), (20, 19));
}
