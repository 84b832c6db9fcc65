//! JPEG files are decoded as libjpeg-turbo's djpeg decodes them, whole and in windows: files that cjpeg writes with all its
//! options, and files of other writers. PNG and WebP files, too.

use iipsrv::error::Error;
use iipsrv::geometry::Rect;
use iipsrv::geometry::Size;
use iipsrv::http::Http;
use iipsrv::limits::Limits;
use iipsrv::raster::Colour;
use iipsrv::raster::Raster;
use iipsrv::raster::Samples;
use iipsrv::source::Grid;
use iipsrv::source::Source;
use iipsrv::source::Window;
use iipsrv::source::cache::NoCache;
use iipsrv::source::jpeg;
use iipsrv::source::window::raster;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use crate::support::pixels as pixels_of;
use crate::support::service;
use crate::support::text;
use crate::tiff::Temp;

/// Levels of more pixels are not compared.
const LARGE: u64 = 64 << 20;

/// Time limit for one bad file.
const LONGEST: Duration = Duration::from_secs(120);

fn open(path: &Path) -> Result<(Box<dyn Source>, Grid), Error> {
    let source = jpeg::open(iipsrv::store::open(path).unwrap(), &Limits::default())?;
    let grid = source.header().levels[0].grid;
    Ok((source, grid))
}

fn window(source: &dyn Source, level: usize, rect: Rect) -> Result<Raster, Error> {
    raster(source, Window::new(level, rect), &NoCache)
}

/// The samples of a level as grey or RGB; CMYK is converted as djpeg does.
fn level(source: &dyn Source, level: usize) -> Result<Vec<u8>, Error> {
    let raster = window(source, level, Rect::of(source.header().levels[level].size))?;
    let Samples::U8(samples) = raster.samples else {
        panic!("8 bits expected")
    };
    if source.header().meaning.colour != Colour::Cmyk {
        return Ok(samples);
    }
    let mix = |ink: u8, black: u8| (u32::from(255 - ink) * u32::from(255 - black) + 127) / 255;
    let pixel = |p: &[u8; 4]| [p[0], p[1], p[2]].map(|ink| mix(ink, p[3]) as u8);
    Ok(samples.as_chunks().0.iter().flat_map(pixel).collect())
}

/// A PNM picture.
struct Pnm {
    size: Size,
    samples: Vec<u8>,
}

/// `P6`, width, height, 255, then samples.
fn pnm(bytes: &[u8]) -> Option<Pnm> {
    let mut fields = bytes.splitn(4, |b| b.is_ascii_whitespace());
    let number = |fields: &mut dyn Iterator<Item = &[u8]>| -> Option<u32> {
        std::str::from_utf8(fields.next()?).ok()?.parse().ok()
    };
    let channels = if fields.next()? == b"P6" { 3 } else { 1 };
    let size = Size::new(number(&mut fields)?, number(&mut fields)?);
    let (_, samples) = fields.next()?.split_at_checked(4)?;
    assert_eq!(samples.len() as u64, size.area() * channels);
    Some(Pnm {
        size,
        samples: samples.to_vec(),
    })
}

/// The picture that djpeg decodes, halved `halvings` times; `None` if it refuses the file.
fn reference(path: &Path, halvings: usize) -> Option<Pnm> {
    let done = Command::new("djpeg")
        .args(["-pnm", "-scale", &format!("1/{}", 1 << halvings)])
        .arg(path)
        .output()
        .expect("djpeg is installed (tests/run installs libjpeg-turbo-progs)");
    pnm(&done.stdout)
}

/// Cuts a rectangle out of a level.
fn cut(whole: &[u8], size: Size, rect: Rect) -> Vec<u8> {
    let channels = whole.len() / size.area() as usize;
    let line = size.w as usize * channels;
    let rows = whole.chunks(line).skip(rect.y as usize).take(rect.h as usize);
    rows.flat_map(|row| &row[rect.x as usize * channels..][..rect.w as usize * channels])
        .copied()
        .collect()
}

/// Compares all levels, and windows of each; the largest difference of a sample. `None` if both refuse the file or djpeg
/// does not support it.
fn compare(path: &Path) -> Option<u8> {
    let name = path.display();
    if OTHERS.iter().any(|(name, ..)| path.ends_with(name)) {
        return None;
    }
    let (source, grid) = match open(path) {
        Ok(found) => found,
        Err(Error::Unsupported(why)) => {
            println!("{name}: {why}");
            return None;
        }
        Err(error) => {
            assert!(
                reference(path, 0).is_none(),
                "{name}: {error}, but djpeg reads it"
            );
            return None;
        }
    };
    let mut worst = 0;
    let header = source.header();
    assert!(grid == Grid::Tiles || header.levels.len() == 1);
    for (index, stored) in header.levels.iter().enumerate() {
        if stored.size.area() > LARGE {
            continue;
        }
        let wanted = reference(path, index);
        let found = match level(&*source, index) {
            Ok(found) => found,
            Err(error) => {
                assert!(wanted.is_none(), "{name}: {error}, but djpeg reads it");
                return None;
            }
        };
        let wanted = wanted.unwrap_or_else(|| panic!("{name}: djpeg refuses it"));
        assert_eq!(stored.size, wanted.size, "{name}");
        assert_eq!(found.len(), wanted.samples.len(), "{name}");
        let differences = found.iter().zip(&wanted.samples).map(|(a, b)| a.abs_diff(*b));
        worst = differences.max().unwrap_or(0).max(worst);
        if grid != Grid::Tiles || header.channels == 4 {
            continue;
        }
        let Size { w, h } = stored.size;
        for (x, y, a, b) in [
            (0, 0, 300, 10),
            (w / 3, h / 2, 50, 90),
            (w - 1, h - 1, 1, 1),
            (w / 2, 0, w, 3),
        ] {
            let rect = Rect::new(x, y, a.min(w - x), b.min(h - y));
            let part = window(&*source, index, rect).unwrap();
            assert_eq!(
                part.samples,
                Samples::U8(cut(&found, stored.size, rect)),
                "{name} {index} {rect:?}"
            );
        }
    }
    Some(worst)
}

#[test]
#[ignore = "needs cjpeg and djpeg"]
fn files_of_cjpeg_are_decoded_as_by_djpeg() {
    let size = Size::new(700, 531);
    // waves of increasing frequency, and a little noise
    let value = |n: u32| {
        let (x, y, c) = (n / 3 % size.w, n / 3 / size.w, n % 3);
        let noise = n.wrapping_mul(2_654_435_761) >> 27;
        ((x * x / 90 + y * (2 + c)) % 200 / 2 + noise + c * 30 + y / 10) as u8
    };
    let pixels: Vec<u8> = (0..size.w * size.h * 3).map(value).collect();
    let head = format!("P6\n{} {}\n255\n", size.w, size.h);
    let picture = Temp::new("jpeg.ppm", &[head.as_bytes(), &pixels].concat());
    let mut ways: Vec<Vec<&str>> = Vec::new();
    for sampling in [
        "1x1",
        "2x1",
        "1x2",
        "2x2",
        "4x1",
        "1x4",
        "4x2",
        "2x4",
        "2x2,2x1,1x2",
        "3x1",
        "1x1,2x2,1x1",
    ] {
        for more in [
            &[][..],
            &["-restart", "1"],
            &["-restart", "7B", "-optimize"],
            &["-optimize"],
            &["-progressive"],
        ] {
            ways.push([&["-sample", sampling], more].concat());
        }
    }
    ways.push(vec!["-grayscale"]);
    ways.push(vec!["-grayscale", "-progressive"]);
    ways.push(vec!["-rgb", "-quality", "98"]);
    ways.push(vec!["-quality", "5"]);
    for way in ways {
        let done = Command::new("cjpeg")
            .args(&way)
            .arg(picture.path())
            .output()
            .expect("cjpeg is installed (tests/run installs libjpeg-turbo-progs)");
        assert!(
            done.status.success(),
            "{way:?}: {}",
            String::from_utf8_lossy(&done.stderr)
        );
        let file = Temp::new("jpeg.jpg", &done.stdout);
        let (_, grid) = open(file.path()).unwrap();
        assert_eq!(grid == Grid::Tiles, !way.contains(&"-progressive"), "{way:?}");
        let worst = compare(file.path()).unwrap_or_else(|| panic!("{way:?}: refused"));
        assert!(worst <= bound(), "{way:?}: off by {worst}");
    }
}

/// Largest allowed difference; the library of the Rust-only build has a different inverse transform.
fn bound() -> u8 {
    if cfg!(feature = "native") { 0 } else { 24 }
}

fn corpus(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(crate::support::corpus().join(folder)).unwrap();
    let mut all: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all
}

#[test]
#[ignore = "needs CORPUS"]
fn files_of_the_corpus_are_decoded_as_by_djpeg() {
    let files = corpus("jpeg");
    let mut equal = 0;
    for path in &files {
        let Some(worst) = compare(path) else { continue };
        let cmyk = open(path).unwrap().0.header().channels == 4;
        // djpeg converts CMYK to RGB differently
        let bound = if cmyk { 2.max(bound()) } else { bound() };
        assert!(worst <= bound, "{}: off by {worst}", path.display());
        equal += 1;
    }
    println!("{equal} of {} files are equal", files.len());
    assert!(
        equal * 10 > files.len() * 8,
        "{equal} of {} files were read",
        files.len()
    );
}

/// Lossless and 12-bit files: bits per sample, checksum of the stored samples (the sum of each times its index modulo 251
/// plus 1) by libjpeg-turbo 3.1, and the tolerance of a sample.
#[rustfmt::skip]
const OTHERS: [(&str, u8, u64, u64); 23] = [
    ("bad/ljt-seed/ljt-seed__random12_100x91_lossless_psv5_pt2.jpg", 12, 7_011_034_988, 0),
    ("bad/ljt-seed/ljt-seed__random12_95x96_lossless_psv3_pt0.jpg", 12, 7_089_052_310, 0),
    ("bad/ljt-seed/ljt-seed__random12_97x94_lossless_psv4_pt0.jpg", 12, 7_066_988_654, 0),
    ("bad/ljt-seed/ljt-seed__random14_98x93_lossless_psv7_pt11.jpg", 14, 24_579_819_520, 0),
    ("bad/ljt-seed/ljt-seed__random2_92x99_lossless_psv5_pt1.jpg", 2, 3_443_108, 0),
    ("bad/ljt-seed/ljt-seed__random2_93x98_lossless_psv4_pt0.jpg", 2, 5_165_878, 0),
    ("bad/ljt-seed/ljt-seed__random2_98x93_lossless_psv7_pt1.jpg", 2, 3_425_434, 0),
    ("bad/ljt-seed/ljt-seed__random7_95x96_lossless_psv3_pt6.jpg", 7, 110_913_728, 0),
    ("bad/ljt-seed/ljt-seed__random8_95x96_lossless_psv3_pt0.jpg", 8, 441_446_127, 0),
    ("bad/ljt-seed/ljt-seed__random9_91x100_lossless_psv5_pt2.jpg", 9, 867_363_948, 0),
    ("bad/ljt-seed/ljt-seed__random9_96x95_lossless_psv3_pt7.jpg", 9, 663_941_248, 0),
    ("jpeg/dcm__JPEG-LL.jpg", 16, 458_584_381, 0),
    ("jpeg/dcm__JPEG-lossy.jpg", 12, 480_211_325, 1),
    ("jpeg/dcm__RG2_JPLY_fixed.jpg", 12, 213_956_330_161, 1),
    ("jpeg/dcm__SC_rgb_jpeg_gdcm.jpg", 8, 481_785_150, 0),
    ("jpeg/dcm__bad_sequence.jpg", 16, 31_288_268_292, 0),
    ("jpeg/gdal-jpeg__12bit_rose_extract.jpg", 12, 1_130_837_243, 1),
    ("jpeg/imagecodecs__rgba.u2.jpg", 12, 1_013_685_166, 1),
    ("jpeg/jpeg-decoder__jpeg_lossless_sel1.jpg", 16, 8_960_203_471, 0),
    ("jpeg/jpeg-decoder__jpeg_lossless_sel2.jpg", 16, 8_960_203_471, 0),
    ("jpeg/jpeg-decoder__jpeg_lossless_sel3.jpg", 16, 8_960_203_471, 0),
    ("jpeg/jpeg-decoder__jpeg_lossless_sel4.jpg", 16, 8_960_203_471, 0),
    ("jpeg/jpeg-decoder__jpeg_lossless_sel5.jpg", 16, 8_960_203_471, 0),
];

#[test]
#[ignore = "needs CORPUS"]
fn lossless_and_12_bit_files_of_the_corpus_are_decoded_as_by_libjpeg_turbo_3() {
    for (name, bits, wanted, off) in OTHERS {
        let (source, _) = open(&crate::support::corpus().join(name)).unwrap();
        let header = source.header();
        assert_eq!(header.bits, bits, "{name}");
        let raster = window(&*source, 0, Rect::of(header.size())).unwrap();
        let (wide, most) = match raster.samples {
            Samples::U8(samples) => (samples.into_iter().map(u64::from).collect(), 255),
            Samples::U16(samples) => (samples.into_iter().map(u64::from).collect::<Vec<_>>(), 65535),
            other => panic!("{name}: {other:?}"),
        };
        let full = (1 << bits) - 1;
        let stored = wide.iter().map(|sample| (sample * full + most / 2) / most);
        let sum: u64 = (0..)
            .zip(stored)
            .map(|(at, sample)| (at % 251 + 1) * sample)
            .sum();
        // differences are rare and cancel out
        let bound = off * 10 * wide.len() as u64;
        assert!(sum.abs_diff(wanted) <= bound, "{name}: {sum}, not {wanted}");
    }
}

#[test]
#[ignore = "needs CORPUS"]
fn bad_files_of_the_corpus_are_decoded_as_by_djpeg_or_refused() {
    let files = corpus("bad");
    let (mut shown, mut refused) = (0, 0);
    for path in files.iter().filter(|path| path.is_file()) {
        let bytes = std::fs::read(path).unwrap();
        if !bytes.starts_with(&[0xff, 0xd8, 0xff]) {
            continue;
        }
        let name = path.display();
        let start = Instant::now();
        let found = open(path).and_then(|(source, _)| {
            let size = source.header().size();
            let small = size.area() <= LARGE;
            Ok(small
                .then(|| level(&*source, 0))
                .transpose()?
                .map(|samples| (size, samples)))
        });
        let took = start.elapsed();
        assert!(took < LONGEST, "{name} took {took:?}");
        match found {
            Ok(Some((size, samples))) => {
                // this decoder shows more where djpeg gives up
                let Some(wanted) = reference(path, 0) else {
                    continue;
                };
                assert_eq!((wanted.size, wanted.samples == samples), (size, true), "{name}");
                shown += 1;
            }
            Ok(None) => {}
            Err(Error::Corrupt(_) | Error::Unsupported(_) | Error::TooLarge(_) | Error::Limit(_)) => {
                refused += 1
            }
            Err(error) => panic!("{name}: {error:?}"),
        }
    }
    println!("{shown} are shown as djpeg shows them, {refused} are refused");
    assert!(shown > 50, "{shown} are shown, {refused} refused");
}

/// A grey picture of 600 × 400 pixels by cjpeg with an EXIF block of Orientation 6.
fn turned(more: &[&str]) -> Vec<u8> {
    let pixels: Vec<u8> = (0..600 * 400)
        .map(|n| (n % 600 / 4 + n / 600 / 8) as u8)
        .collect();
    let picture = Temp::new("turned.pgm", &[b"P5\n600 400\n255\n", &pixels[..]].concat());
    let done = Command::new("cjpeg")
        .args(more)
        .arg(picture.path())
        .output()
        .unwrap();
    assert!(done.status.success());
    let mut bytes = done.stdout;
    let exif = b"\xff\xe1\x00\x22Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    bytes.splice(2..2, exif.iter().copied());
    bytes
}

#[test]
fn jpeg_ls_is_named_in_the_error_alone_and_in_tiff() {
    let stream = [
        &b"\xff\xd8\xff\xf7\0\x0b\x08\0\x10\0\x10\x01\x01\x11\0"[..],
        b"\xff\xda\0\x08\x01\x01\0\0\0\0\0\0\xff\xd9",
    ]
    .concat();
    let len = u32::try_from(stream.len()).unwrap();
    let mut tiff = [b"II*\0", &(8 + len).to_le_bytes()[..], &stream, &[9, 0]].concat();
    for (tag, value) in [
        (256, 16),
        (257, 16),
        (258, 8),
        (259, 7),
        (262, 1),
        (273, 8),
        (277, 1),
        (278, 16),
        (279, len),
    ] {
        tiff.extend_from_slice(&u16::to_le_bytes(tag));
        tiff.extend_from_slice(&[4, 0, 1, 0, 0, 0]);
        tiff.extend_from_slice(&value.to_le_bytes());
    }
    tiff.extend_from_slice(&[0; 4]);
    let service = service(&[]);
    for (name, bytes) in [("ls.jpg", stream), ("ls.tif", tiff)] {
        let file = Temp::new(name, &bytes);
        let reply = service.respond(Http::query(&format!("FIF={}&CVT=jpeg", file.path().display())));
        let body = String::from_utf8_lossy(&reply.body).into_owned();
        assert_eq!(reply.status, 501, "{name}: {body}");
        assert!(body.contains("jpeg-ls"), "{name}: {body}");
    }
}

/// Moves the height of a file from the frame header, which then holds 0, to a DNL marker after the first scan (T.81 B.2.5).
fn with_height_after_the_first_scan(file: &[u8]) -> Vec<u8> {
    let mut at = 2;
    let mut bytes = file.to_vec();
    let mut height = [0; 2];
    loop {
        let marker = bytes[at + 1];
        if matches!(marker, 0xc0..=0xc2) {
            height.copy_from_slice(&bytes[at + 5..at + 7]);
            bytes[at + 5..at + 7].fill(0);
        }
        at += 2 + usize::from(u16::from_be_bytes([bytes[at + 2], bytes[at + 3]]));
        if marker == 0xda {
            break;
        }
    }
    let inside = |two: &[u8]| two[0] != 0xff || matches!(two[1], 0 | 0xd0..=0xd7);
    let end = at + bytes[at..].windows(2).position(|two| !inside(two)).unwrap();
    bytes.splice(end..end, [0xff, 0xdc, 0, 4, height[0], height[1]]);
    bytes
}

#[test]
#[ignore = "needs cjpeg and djpeg"]
fn a_height_that_follows_the_first_scan_is_read() {
    for more in [&[][..], &["-restart", "1"], &["-progressive"]] {
        let plain = turned(more);
        let file = Temp::new("plain.jpg", &plain);
        let (wanted, _) = open(file.path()).unwrap();
        let late = with_height_after_the_first_scan(&plain);
        let file = Temp::new("late.jpg", &late);
        let (found, _) = open(file.path()).unwrap();
        let sizes = |source: &dyn Source| -> Vec<(Size, Size)> {
            let levels = source.header().levels.iter();
            levels.map(|level| (level.size, level.tile)).collect()
        };
        assert_eq!(sizes(&*found), sizes(&*wanted), "{more:?}");
        for index in 0..wanted.header().levels.len() {
            assert_eq!(
                level(&*found, index).unwrap(),
                level(&*wanted, index).unwrap(),
                "{more:?} {index}"
            );
        }
        let cut = Temp::new("cut.jpg", &late[..late.len() / 2]);
        assert!(
            more.contains(&"-progressive") || matches!(open(cut.path()).err(), Some(Error::Corrupt(_))),
            "{more:?}"
        );
    }
}

#[test]
#[ignore = "needs cjpeg and djpeg"]
fn the_first_bytes_of_a_file_decide_its_format() {
    let mut webp = Vec::new();
    let pixels: Vec<u8> = (0..600 * 400 * 3).map(|n| (n % 251) as u8).collect();
    image_webp::WebPEncoder::new(&mut webp)
        .encode(&pixels, 600, 400, image_webp::ColorType::Rgb8)
        .unwrap();
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, 600, 400);
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    let grey = |x: u32, y: u32| (x / 4 + y / 8) as u8;
    for (name, bytes) in [
        ("indexed", turned(&[])),
        ("progressive", turned(&["-progressive"])),
        ("webp", webp),
        ("png", png),
    ] {
        let file = Temp::new(name, &bytes);
        for (upright, jpeg) in [("0", false), ("1", bytes.starts_with(&[0xff, 0xd8]))] {
            let service = service(&[("ORIENTATION", upright)]);
            let ask =
                |query: &str| service.respond(Http::query(&format!("FIF={}&{query}", file.path().display())));
            let size = if jpeg {
                Size::new(400, 600)
            } else {
                Size::new(600, 400)
            };
            let text = text(&ask("OBJ=Max-size&OBJ=Resolution-number"));
            assert_eq!(
                text,
                format!("Max-size:{} {}\r\nResolution-number:3\r\n", size.w, size.h),
                "{name}"
            );
            let full = pixels_of(&ask("CVT=png"));
            assert_eq!(full.size, size, "{name}");
            let tile = pixels_of(&ask("PTL=2,0"));
            assert_eq!(tile.size, Size::new(256, 256));
            assert_eq!(
                tile.samples,
                Samples::U8(cut(bytes_of(&full), size, Rect::new(0, 0, 256, 256))),
                "{name}"
            );
            if jpeg {
                // the left edge of the file is at the top, its lower edge on the left
                let found = bytes_of(&full)[(500 * 400 + 100) as usize];
                assert!(found.abs_diff(grey(500, 299)) < 12, "{name}: {found}");
            }
            assert_eq!(pixels_of(&ask("PTL=0,0")).size, size.halved_up(2), "{name}");
        }
    }
}

fn bytes_of(raster: &Raster) -> &[u8] {
    let Samples::U8(samples) = &raster.samples else {
        panic!("8 bits expected")
    };
    samples
}
