//! Resizing filters and rotation compared with vips.
//!
//! The pictures are the chart of `fixtures/` and, with CORPUS, a photograph.

use crate::process::Folder;
use crate::site::needed;
use crate::support;
use iipsrv::geometry::Num;
use iipsrv::geometry::Size;
use iipsrv::http::Http;
use iipsrv::process;
use iipsrv::process::Crop;
use iipsrv::process::Filter;
use iipsrv::process::Op;
use iipsrv::process::rotate;
use iipsrv::raster::Alpha;
use iipsrv::raster::Colour;
use iipsrv::raster::Layout;
use iipsrv::raster::Meaning;
use iipsrv::raster::Picture;
use iipsrv::raster::Raster;
use iipsrv::raster::Samples;
use iipsrv::raster::strip;
use std::path::Path;
use std::process::Command;

/// Sizes of the crop and of its reduction by 2.7.
const FROM: Size = Size::new(1080, 810);
const TO: Size = Size::new(400, 300);

/// A picture with its name in messages.
type Named = (&'static str, Picture);

/// A crop of the chart.
fn chart() -> Named {
    let chart =
        support::fixtures(&[]).respond(Http::query("IIIF=tessera.tif/900,700,1080,810/max/0/default.png"));
    let chart = support::pixels(&chart);
    let picture = Picture {
        size: chart.size,
        layout: Layout::Rgb,
        data: support::bytes(&chart).to_vec(),
    };
    ("chart", picture)
}

/// A crop of a photograph of the corpus.
fn photograph() -> Named {
    let corpus = std::env::var_os("CORPUS").expect("CORPUS names the folder");
    let file = std::fs::read(Path::new(&corpus).join("photos/elem-cc0__Rob_Bye.jpg")).unwrap();
    let whole = iipsrv::codec::jpeg::decode(&file, Size::new(65_535, 65_535)).unwrap();
    let stride = whole.size.w as usize * 3;
    let rows = support::bytes(&whole)
        .chunks_exact(stride)
        .skip(1000)
        .take(FROM.h as usize);
    let data = rows.flat_map(|row| &row[1000 * 3..][..FROM.w as usize * 3]);
    let picture = Picture {
        size: FROM,
        layout: Layout::Rgb,
        data: data.copied().collect(),
    };
    ("photograph", picture)
}

fn vips(words: &[&str]) {
    let output = Command::new(needed("vips")).args(words).output().unwrap();
    assert!(
        output.status.success(),
        "vips {words:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Writes a picture as PPM.
fn write(picture: &Picture, path: &Path) {
    let kind = match picture.layout {
        Layout::Grey => "P5",
        Layout::Rgb => "P6",
        Layout::Rgba => panic!("a PPM has no alpha"),
    };
    let mut file = format!("{kind} {} {} 255\n", picture.size.w, picture.size.h).into_bytes();
    file.extend_from_slice(&picture.data);
    std::fs::write(path, file).unwrap();
}

/// The 8-bit samples of a PNG that vips wrote.
fn read(path: &Path) -> (Size, Vec<u8>) {
    let raster = support::png(&std::fs::read(path).unwrap());
    (raster.size, support::bytes(&raster).to_vec())
}

/// Peak signal-to-noise ratio in dB.
fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let squares: f64 = a
        .iter()
        .zip(b)
        .map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2))
        .sum();
    10.0 * (255.0 * 255.0 * a.len() as f64 / squares.max(1e-9)).log10()
}

/// Resizes a whole RGB picture.
fn resize(picture: &Picture, to: Size, filter: Filter) -> Picture {
    let crop = Crop {
        x: 0,
        y: 0,
        w: i64::from(picture.size.w) << 16,
        h: i64::from(picture.size.h) << 16,
    };
    let raster = Raster {
        size: picture.size,
        channels: 3,
        samples: Samples::U8(picture.data.clone()),
    };
    let meaning = Meaning::bytes(Colour::Rgb, Alpha::None);
    let resize = Op::Resize { crop, to, filter };
    let pixels = process::run(vec![strip(raster)], &meaning, &[resize], None, || unreachable!());
    pixels.unwrap().picture().unwrap()
}

/// Asserts that every filter reduces the picture like vips.
fn reduces_like_vips((name, picture): Named) {
    let folder = Folder::new();
    let file = |name: &str| folder.join(name).into_os_string().into_string().unwrap();
    let (before, after, wide) = (file("in.ppm"), file("out.png"), file("wide.v"));
    write(&picture, Path::new(&before));
    let scale = (1.0 / 2.7).to_string();
    for (filter, kernel) in [
        (Filter::Nearest, "nearest"),
        (Filter::Bilinear, "linear"),
        (Filter::Area, ""),
        (Filter::Bicubic, "cubic"),
        (Filter::Lanczos, "lanczos3"),
    ] {
        if filter == Filter::Area {
            // the exact mean of 2.7 by 2.7 pixels equals that of 27 by 27 pixels of a picture ten times as large
            vips(&["zoom", &before, &wide, "10", "10"]);
            vips(&["shrink", &wide, &after, "27", "27"]);
        } else {
            vips(&["resize", &before, &after, &scale, "--kernel", kernel]);
        }
        let (size, theirs) = read(Path::new(&after));
        assert_eq!(size, TO);
        let ours = resize(&picture, TO, filter);
        let like = psnr(&ours.data, &theirs);
        println!("{name} {filter:?}: {like:.1} dB");
        save(&format!("filters-{name}-{filter:?}"), &ours);
        assert!(like >= 40.0, "{name} {filter:?}: {like:.1} dB");
        // two filters differ by more than the two implementations of one filter
        if filter != Filter::Bilinear {
            let other = resize(&picture, TO, Filter::Bilinear);
            assert!(psnr(&other.data, &theirs) < like, "{name} {filter:?}");
        }
    }
}

/// Saves a picture in the folder SAVE, if set, for inspection.
fn save(name: &str, picture: &Picture) {
    if let Some(folder) = std::env::var_os("SAVE") {
        let output = iipsrv::encode::Output {
            format: iipsrv::raster::Format::Png,
            quality: 1,
            compression: iipsrv::encode::TiffCompression::None,
            asked: false,
            style: iipsrv::codec::jpeg::JpegStyle::default(),
            full_metadata: false,
        };
        let file = iipsrv::encode::encode(picture, output, &iipsrv::encode::Tags::default()).unwrap();
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), file).unwrap();
    }
}

/// Asserts that enlarging equals vips except near the edges.
fn enlarges_like_vips((name, picture): Named) {
    let folder = Folder::new();
    let file = |name: &str| folder.join(name).into_os_string().into_string().unwrap();
    let (before, after) = (file("in.ppm"), file("out.png"));
    let small = resize(&picture, TO, Filter::Area);
    write(&small, Path::new(&before));
    let size = Size::new(800, 600);
    for (filter, name_of_vips) in [(Filter::Bilinear, "bilinear"), (Filter::Bicubic, "bicubic")] {
        let area = format!("--oarea=0 0 {} {}", size.w, size.h);
        let interpolate = format!("--interpolate={name_of_vips}");
        // vips puts coordinate 0 at the centre of the first pixel, half a pixel from the edge
        let moved = ["--idx=0.5", "--idy=0.5", "--odx=-0.5", "--ody=-0.5"];
        let words = ["affine", &before, &after, "2 0 0 2", &area, &interpolate];
        vips(&[&words[..], &moved].concat());
        let (written, theirs) = read(Path::new(&after));
        assert_eq!(written, size);
        let ours = resize(&small, size, filter);
        let inside = |data: &[u8]| -> Vec<u8> {
            let rows = data.as_chunks::<2400>().0.iter().skip(8).take(584);
            rows.flat_map(|row| &row[24..2376]).copied().collect()
        };
        let like = psnr(&inside(&ours.data), &inside(&theirs));
        println!("{name} {filter:?} enlarged: {like:.1} dB");
        assert!(like >= 40.0, "{name} {filter:?}: {like:.1} dB");
    }
}

/// Asserts that rotation equals vips.
fn rotates_like_vips((name, picture): Named) {
    let folder = Folder::new();
    let file = |name: &str| folder.join(name).into_os_string().into_string().unwrap();
    let (before, after) = (file("in.ppm"), file("out.png"));
    let background = [40, 90, 200];
    let picture = resize(&picture, TO, Filter::Area);
    write(&picture, Path::new(&before));
    for angle in [3.0, 30.0, 45.0, 137.5, 350.25] {
        let degrees = Num::new(angle).unwrap();
        let to = rotate::around(picture.size, degrees);
        let ours = rotate::rotate(&picture, degrees, to, Some(background)).unwrap();
        save(&format!("turned-{name}-{angle}"), &ours);
        // clockwise about the centre; coordinate 0 is the centre of the first pixel
        let (sin, cos) = angle.to_radians().sin_cos();
        let middle = |side: u32| f64::from(side) / 2.0 - 0.5;
        vips(&[
            "affine",
            &before,
            &after,
            // vips would take a leading negative number for an option
            &format!(" {cos} {} {sin} {cos}", -sin),
            &format!("--oarea=0 0 {} {}", to.w, to.h),
            &format!("--idx={}", -middle(TO.w)),
            &format!("--idy={}", -middle(TO.h)),
            &format!("--odx={}", middle(to.w)),
            &format!("--ody={}", middle(to.h)),
            "--extend=background",
            "--background=40 90 200",
            "--interpolate=bilinear",
        ]);
        let (size, theirs) = read(Path::new(&after));
        assert_eq!(size, to);
        let like = psnr(&ours.data, &theirs);
        println!("{name} turned by {angle}: {like:.1} dB");
        assert!(like >= 40.0, "{name} turned by {angle}: {like:.1} dB");
    }
}

#[test]
#[ignore = "needs vips"]
fn every_filter_reduces_a_picture_like_vips() {
    reduces_like_vips(chart());
}

#[test]
#[ignore = "needs CORPUS and vips"]
fn every_filter_reduces_a_photograph_of_the_corpus_like_vips() {
    reduces_like_vips(photograph());
}

#[test]
#[ignore = "needs vips"]
fn enlarging_equals_vips_except_near_the_edges() {
    enlarges_like_vips(chart());
}

#[test]
#[ignore = "needs CORPUS and vips"]
fn enlarging_equals_vips_except_near_the_edges_for_a_photograph_of_the_corpus() {
    enlarges_like_vips(photograph());
}

#[test]
#[ignore = "needs vips"]
fn rotation_equals_vips() {
    rotates_like_vips(chart());
}

#[test]
#[ignore = "needs CORPUS and vips"]
fn rotation_equals_vips_for_a_photograph_of_the_corpus() {
    rotates_like_vips(photograph());
}
